-- Read by alerts.sh: notes when what is visible, up to when data is complete, and when what was told.
CREATE SCHEMA bench;
CREATE UNLOGGED TABLE bench.seen (at timestamptz, watermark timestamptz, newest timestamptz[]);
CREATE UNLOGGED TABLE bench.told (rule text, host text, state text, starts_at timestamptz, at timestamptz);
CREATE UNLOGGED TABLE bench.high (metric text, host text, first float8, last float8);
CREATE UNLOGGED TABLE bench.request (line text);
CREATE UNLOGGED TABLE bench.stopped ();

CREATE PROCEDURE bench.watch() LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		INSERT INTO bench.seen SELECT clock_timestamp(), metricsdb.watermark('metrics'),
			(SELECT array_agg(newest_time ORDER BY partition) FROM metricsdb.kafka_offset);
		COMMIT;
		PERFORM pg_sleep(0.02);
		EXIT WHEN to_regclass('bench.stopped') IS NULL;
	END LOOP;
END $$;
CREATE FUNCTION bench.stop() RETURNS void LANGUAGE sql AS 'DROP TABLE bench.stopped';

-- The sender writes down what was answered.
CREATE FUNCTION bench.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO bench.told SELECT o.rule, o.labels->>'host', new.state, new.starts_at, clock_timestamp()
		FROM metricsdb.alert_outbox o WHERE (o.target_id, o.rule_id, o.key) = (new.target_id, new.rule_id, new.key);
	RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE ON metricsdb.alert_sent FOR EACH ROW EXECUTE FUNCTION bench.note();
SELECT FROM metricsdb.create_alert_target('am', 'alertmanager', ARRAY[:'url']);
