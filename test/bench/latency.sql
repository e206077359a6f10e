-- Watches for the probes and says how old each was when a query first saw it.
CREATE TEMP TABLE seen (latency float8);
DO $$
DECLARE
	newest timestamptz := '-infinity';
	began timestamptz := clock_timestamp();
	saw timestamptz;
	n bigint := 0;
BEGIN
	WHILE n < 300 AND clock_timestamp() < began + interval '45 s' LOOP
		WITH fresh AS (
			SELECT value, time FROM metrics
			WHERE metric_name = 'probe' AND time > newest AND time > began - interval '10 s'),
		noted AS (
			INSERT INTO seen SELECT extract(epoch FROM clock_timestamp()) - value FROM fresh RETURNING 1)
		SELECT greatest(newest, (SELECT max(time) FROM fresh)), n + (SELECT count(*) FROM noted) INTO newest, n;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT format('%s of 300 probes: median %s s, 99th percentile %s s, longest %s s', count(*),
	round(percentile_cont(0.5) WITHIN GROUP (ORDER BY latency)::numeric, 3),
	round(percentile_cont(0.99) WITHIN GROUP (ORDER BY latency)::numeric, 3), round(max(latency)::numeric, 3))
FROM seen;
