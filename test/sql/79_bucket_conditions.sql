-- Conditions on buckets of the time: parts and blocks are pruned, MetricsAgg and MetricsScan decide them by blocks, and the answers are a heap's.
\set VERBOSITY terse
CREATE SCHEMA bc;
SET search_path = bc, public;
SET metricsdb.direct_rows = 100;
SET timezone = 'UTC';
SET max_parallel_workers_per_gather = 0;
CREATE TABLE h (time timestamptz, host text, v float8) USING heap;
CREATE TABLE m (time timestamptz, host text, v float8) USING metricsdb;
INSERT INTO h SELECT '2024-01-01Z'::timestamptz + i * interval '30 minutes', 'h' || h, i FROM generate_series(0, 60 * 48) i, generate_series(1, 3) h;
INSERT INTO h SELECT '2024-10-26Z'::timestamptz + i * interval '7 minutes', 'h' || h, i FROM generate_series(0, 600) i, generate_series(1, 3) h;
INSERT INTO h SELECT NULL, 'h1', i FROM generate_series(1, 200) i;
INSERT INTO m SELECT * FROM h;
CALL metricsdb.compact('m');
INSERT INTO h VALUES (NULL, 'h1', 7), ('-infinity', 'h1', 8), ('infinity', 'h2', 9), ('2024-02-20', 'h2', 10);
INSERT INTO m VALUES (NULL, 'h1', 7), ('-infinity', 'h1', 8), ('infinity', 'h2', 9), ('2024-02-20', 'h2', 10);
CREATE FUNCTION told(q text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) ' || q LOOP
		IF line ~ 'Custom Scan|Seq Scan|Parts|Blocks|Value Filter' THEN RETURN NEXT regexp_replace(line, ' \(actual.*\)', ''); END IF;
	END LOOP;
END $$;
SELECT told('SELECT host, sum(v) FROM m WHERE metricsdb.time_bucket(''1 hour'', time) >= ''2024-02-20Z'' GROUP BY host');
SELECT told('SELECT * FROM m WHERE date_trunc(''month'', time) = ''2024-02-01Z'' AND v > 5');
SELECT told('SELECT count(*) FROM m WHERE date_bin(''6 hours'', time, ''2000-01-01'') BETWEEN ''2024-01-20Z'' AND ''2024-01-20 12:00Z''');
-- Nothing is known of these.
SELECT told('SELECT count(*) FROM m WHERE extract(dow FROM time) = 1');
SELECT told('SELECT count(*) FROM m WHERE date_trunc(''day'', time) = date_trunc(''hour'', time)');

CREATE TABLE buckets (e text) USING heap;
INSERT INTO buckets VALUES ('metricsdb.time_bucket(''1 hour'', time)'), ('metricsdb.time_bucket(''1 month'', time)'), ('metricsdb.time_bucket(''2 days'', time, ''2024-01-05 03:00Z''::timestamptz)'),
	('metricsdb.time_bucket(''1 day'', time, interval ''5 hours'')'), ('metricsdb.time_bucket(''1 day'', time, ''Europe/Berlin'')'), ('metricsdb.time_bucket(''3 hours'', time, ''Europe/Berlin'', null, interval ''1 hour'')'),
	('metricsdb.time_bucket(''1 mon'', time, interval ''1 mon'')'), ('metricsdb.time_bucket(''1 week'', time, interval ''-3 days'')'), ('date_bin(''15 min'', time, ''2000-01-01'')'),
	('date_trunc(''month'', time)'), ('date_trunc(''day'', time, ''America/New_York'')'), ('date_trunc(''week'', time)'), ('date_trunc(''hour'', time)'), ('date_trunc(''quarter'', time)'), ('time::date::timestamptz');
CREATE FUNCTION differ(OUT compared int, OUT wrong text[]) LANGUAGE plpgsql AS $$
DECLARE
	r record; zone text; a text; b text; agg text;
BEGIN
	compared := 0;
	FOREACH zone IN ARRAY '{UTC,Europe/Berlin}'::text[] LOOP
		PERFORM set_config('timezone', zone, true);
		FOR r IN SELECT format(' WHERE %s %s %L', e, op, c) AS cond FROM buckets, unnest('{<,<=,=,>=,>,<>}'::text[]) op,
			unnest('{2024-02-01Z,2024-01-31 23:00Z,2024-02-05 03:00Z,infinity,-infinity,2024-10-27 00:30Z}'::text[]) c
		LOOP
			EXECUTE 'SELECT array_agg(x ORDER BY x) FROM (SELECT host, count(*), sum(v) FROM h' || r.cond || ' GROUP BY host) x' INTO a;
			FOREACH agg IN ARRAY '{off,on}'::text[] LOOP
				PERFORM set_config('metricsdb.enable_vector_agg', agg, true);
				EXECUTE 'SELECT array_agg(x ORDER BY x) FROM (SELECT host, count(*), sum(v) FROM m' || r.cond || ' GROUP BY host) x' INTO b;
				compared := compared + 1;
				IF a IS DISTINCT FROM b THEN wrong := wrong || format('%s, %s:%s', zone, agg, r.cond); END IF;
			END LOOP;
		END LOOP;
	END LOOP;
END $$;
SELECT * FROM differ();
-- As arguments and in FILTER, too.
SELECT count(*) FILTER (WHERE date_part('hour', time) < 3), sum(date_part('day', time)), max(date_trunc('day', time)) FILTER (WHERE time < 'infinity'), count(date_trunc('day', time)) FROM m;
SELECT count(*) FILTER (WHERE date_part('hour', time) < 3), sum(date_part('day', time)), max(date_trunc('day', time)) FILTER (WHERE time < 'infinity'), count(date_trunc('day', time)) FROM h;
SELECT told('SELECT count(*) FILTER (WHERE date_part(''hour'', time) < 3) FROM m');
-- Errors are those of rows that come so far.
SELECT count(*) FROM m WHERE metricsdb.time_bucket('0 s', time) > '2024-01-01';
SELECT count(*) FROM m WHERE metricsdb.time_bucket('0 s', time) > '2024-01-01' AND v < 0;
SELECT count(*) FROM h WHERE metricsdb.time_bucket('0 s', time) > '2024-01-01' AND v < 0;
-- Values of another table's rows.
SELECT d.day, (SELECT count(*) FROM m WHERE metricsdb.time_bucket('1 day', time) = d.day) AS n FROM generate_series(timestamptz '2024-02-28', '2024-03-02', '1 day') d(day);

SET client_min_messages = warning;
DROP SCHEMA bc CASCADE;
