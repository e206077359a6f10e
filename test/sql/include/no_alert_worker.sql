-- Rules are evaluated by the session alone: the alert worker, where there is one, ends.
SET client_min_messages = error;
SELECT count(*) >= 0 AS loaded FROM metricsdb.threshold_counters();
ALTER SYSTEM SET metricsdb.alert_interval = -1;
SELECT pg_reload_conf();
DO $$
BEGIN
	FOR i IN 1 .. 600 LOOP
		PERFORM pg_stat_clear_snapshot();
		EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type ~ 'alert worker' AND datname = current_database());
		PERFORM pg_sleep(0.1);
	END LOOP;
END $$;
RESET client_min_messages;
