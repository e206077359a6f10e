-- Threshold rules by what is written: windows in memory against the same in SQL, over inserts of all kinds in any order.
\getenv srcdir PG_ABS_SRCDIR
\set dir :srcdir '/sql/include'
\cd :dir
\ir no_alert_worker.sql
\set VERBOSITY terse
\pset format unaligned
SET timezone = 'UTC';
SET client_min_messages = warning;
SET metricsdb.direct_rows = 40;
CREATE SCHEMA windows;
SET search_path = windows, metricsdb, public;
SELECT create_metrics_table('m');
CREATE TABLE wide (time timestamptz NOT NULL, host text, core int, busy float8, n int, d numeric)
	USING metricsdb WITH (metricsdb.time = 'time', metricsdb.series = 'host, core');
CREATE TABLE keyed (time timestamptz NOT NULL, host text, v float8, UNIQUE (host, time)) USING metricsdb;

-- Each rule, and what it is to observe at $1.
CREATE TABLE rules (id int, kind text, source regclass, every interval, definition jsonb, sql text);
INSERT INTO rules VALUES
(1, 'threshold', 'm', '10 s', '{"metric": "cpu", "aggregate": "avg", "window": "1 min", "op": ">", "threshold": 50}',
 $$SELECT tags, avg(value) FROM m WHERE metric_name = 'cpu' AND time > $1 - interval '1 min' AND time <= $1 GROUP BY tags$$),
(2, 'threshold', 'm', '10 s', '{"metric": "cpu", "matchers": "{host=~\"h[12]\"}", "aggregate": "sum", "window": "45 s", "by": ["zone"], "op": ">", "threshold": 50}',
 $$SELECT jsonb_build_object('zone', tags ->> 'zone'), sum(value) FROM m WHERE metric_name = 'cpu' AND tags ->> 'host' IN ('h1', 'h2') AND time > $1 - interval '45 s' AND time <= $1 GROUP BY 1$$),
(3, 'threshold', 'm', '10 s', '{"matchers": "{__name__=~\"cpu|mem\", zone!=\"b\"}", "aggregate": "max", "window": "2 min", "by": [], "op": ">", "threshold": 50}',
 $$SELECT '{}'::jsonb, max(value) FROM m WHERE metric_name IN ('cpu', 'mem') AND tags ->> 'zone' IS DISTINCT FROM 'b' AND time > $1 - interval '2 min' AND time <= $1 HAVING count(*) > 0$$),
(4, 'threshold', 'm', '10 s', '{"metric": "cpu", "aggregate": "min", "window": "30 s", "without": ["host"], "op": "<", "threshold": 5}',
 $$SELECT tags - 'host', min(value) FROM m WHERE metric_name = 'cpu' AND time > $1 - interval '30 s' AND time <= $1 GROUP BY 1$$),
(5, 'threshold', 'm', '10 s', '{"metric": "req", "aggregate": "rate", "window": "90 s", "op": ">", "threshold": 0.5}',
 $$SELECT tags, rate(time, value, $1 - interval '90 s', $1) FROM m WHERE metric_name = 'req' AND time > $1 - interval '90 s' AND time <= $1 GROUP BY tags$$),
(6, 'threshold', 'm', '10 s', '{"metric": "req", "aggregate": "increase", "window": "90 s", "by": ["zone"], "op": ">", "threshold": 0.5}',
 $$SELECT jsonb_build_object('zone', zone), sum(v) FROM (SELECT tags, tags ->> 'zone' AS zone, increase(time, value, $1 - interval '90 s', $1) AS v FROM m WHERE metric_name = 'req' AND time > $1 - interval '90 s' AND time <= $1 GROUP BY tags) x GROUP BY zone$$),
(7, 'threshold', 'm', '10 s', '{"metric": "mem", "aggregate": "last", "window": "5 min", "op": ">=", "threshold": 50, "recover": 40}',
 $$SELECT tags, last(value, time) FROM m WHERE metric_name = 'mem' AND time > $1 - interval '5 min' AND time <= $1 GROUP BY tags$$),
(8, 'threshold', 'm', '10 s', '{"metric": "mem", "aggregate": "first", "window": "100 s", "by": ["host"], "op": ">", "threshold": 50}',
 $$SELECT jsonb_build_object('host', tags ->> 'host'), first(value, time) FROM m WHERE metric_name = 'mem' AND time > $1 - interval '100 s' AND time <= $1 GROUP BY 1$$),
(9, 'threshold', 'm', '10 s', '{"metric": "mem", "aggregate": "delta", "window": "100 s", "op": ">", "threshold": 10}',
 $$SELECT tags, delta(time, value, $1 - interval '100 s', $1) FROM m WHERE metric_name = 'mem' AND time > $1 - interval '100 s' AND time <= $1 GROUP BY tags$$),
(10, 'threshold', 'm', '10 s', '{"matchers": "{zone=\"a\"}", "aggregate": "count", "window": "20 min", "by": ["host", "__name__"], "op": ">", "threshold": 10}',
 $$SELECT jsonb_build_object('host', tags ->> 'host', '__name__', metric_name), count(value) FROM m WHERE tags ->> 'zone' = 'a' AND time > $1 - interval '20 min' AND time <= $1 GROUP BY 1$$),
(11, 'threshold', 'wide', '10 s', '{"column": "busy", "aggregate": "stddev", "window": "1 min", "op": ">", "threshold": 10}',
 $$SELECT jsonb_build_object('host', host, 'core', core::text), stddev(busy) FROM wide WHERE time > $1 - interval '1 min' AND time <= $1 GROUP BY host, core HAVING count(busy) > 0$$),
(12, 'threshold', 'wide', '10 s', '{"metric": "n", "matchers": "{host=\"h1\"}", "aggregate": "avg", "window": "1 min", "by": ["core"], "op": ">", "threshold": 10}',
 $$SELECT jsonb_build_object('core', core::text), avg(n) FROM wide WHERE host = 'h1' AND time > $1 - interval '1 min' AND time <= $1 GROUP BY core HAVING count(n) > 0$$),
(13, 'threshold', 'wide', '10 s', '{"column": "d", "aggregate": "stddev_pop", "window": "70 s", "without": ["core"], "op": ">", "threshold": 10}',
 $$SELECT jsonb_build_object('host', host), stddev_pop(d) FROM wide WHERE time > $1 - interval '70 s' AND time <= $1 GROUP BY host HAVING count(d) > 0$$),
(14, 'threshold', 'keyed', '10 s', '{"metric": "v", "aggregate": "sum", "window": "1 min", "op": ">", "threshold": 10}',
 $$SELECT jsonb_build_object('host', host), sum(v) FROM keyed WHERE time > $1 - interval '1 min' AND time <= $1 GROUP BY host$$),
(15, 'deadman', 'm', '10 s', '{"metric": "cpu", "silent_for": "40 s"}',
 $$SELECT tags, extract(epoch FROM $1 - max(time))::float8 FROM m WHERE metric_name = 'cpu' AND time <= $1 GROUP BY tags$$),
(16, 'deadman', 'wide', '10 s', '{"column": "n", "by": ["host"], "silent_for": "40 s"}',
 $$SELECT jsonb_build_object('host', host), extract(epoch FROM $1 - max(time))::float8 FROM wide WHERE n IS NOT NULL AND time <= $1 GROUP BY host$$);
INSERT INTO metricsdb.alert_rule (rule_id, name, owner, kind, source, definition, every)
	SELECT id, 'rule ' || id, current_user::regrole, kind, source, definition, every FROM rules;

-- The tick, and whatever else goes on from one call to the next.
CREATE TABLE clock (t timestamptz, step int);
INSERT INTO clock VALUES ('2026-01-01 00:10:00', 0);
CREATE TABLE differences (step int, rule int, t timestamptz, what text);
CREATE TABLE looked (step int, rule int, rows int, holds int);

-- A row of m or wide at about the tick, some minutes late now and then, or early.
CREATE FUNCTION at() RETURNS timestamptz LANGUAGE sql AS $$
	SELECT t - random() * CASE WHEN random() < 0.1 THEN interval '4 min' ELSE interval '15 s' END
		+ CASE WHEN random() < 0.05 THEN interval '20 min' ELSE interval '0' END FROM clock $$;
CREATE FUNCTION value_of(metric text, at timestamptz) RETURNS float8 LANGUAGE sql AS $$
	SELECT CASE WHEN metric = 'req' THEN floor(extract(epoch FROM at)::numeric % 170) ELSE round((random() * 100)::numeric * 4) / 4 END $$;
CREATE FUNCTION put_m(n int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO m SELECT metric, jsonb_strip_nulls(jsonb_build_object('host', host, 'zone', zone)), at, value_of(metric, at)
		FROM (SELECT (ARRAY['cpu', 'mem', 'req', 'other'])[1 + floor(random() * 4)] AS metric, 'h' || floor(random() * 3 + 1) AS host,
			(ARRAY['a', 'b', NULL])[1 + floor(random() * 3)] AS zone, at() AS at FROM generate_series(1, n)) x $$;
CREATE FUNCTION put_wide(n int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO wide SELECT at(), 'h' || floor(random() * 3 + 1), floor(random() * 2), CASE WHEN random() < 0.8 THEN floor(random() * 400) / 4 END,
		CASE WHEN random() < 0.5 THEN floor(random() * 100) END, CASE WHEN random() < 0.7 THEN floor(random() * 1000) / 8 END FROM generate_series(1, n) $$;
CREATE FUNCTION put_keyed(n int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO keyed SELECT date_trunc('second', t - random() * interval '70 s'), 'h' || floor(random() * 2 + 1), floor(random() * 100)
		FROM clock, generate_series(1, n) ON CONFLICT DO NOTHING $$;

CREATE FUNCTION put_some() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	CASE floor(random() * 8)
		WHEN 0 THEN PERFORM put_m(1);
		WHEN 1 THEN PERFORM put_m(20), put_wide(3);
		WHEN 2 THEN PERFORM put_m(100), put_wide(60);
		WHEN 3 THEN PERFORM put_wide(1), put_keyed(3);
		WHEN 4 THEN
			BEGIN
				PERFORM put_m(70), put_wide(10), put_keyed(2);
				BEGIN
					PERFORM put_m(7);
				EXCEPTION WHEN division_by_zero THEN NULL;
				END;
				RAISE division_by_zero;
			EXCEPTION WHEN division_by_zero THEN PERFORM put_m(2);
			END;
		WHEN 5 THEN
			PERFORM put_m(2);
			BEGIN
				PERFORM put_m(3), put_keyed(3);
				BEGIN
					PERFORM put_m(90), put_wide(5);
					RAISE division_by_zero;
				EXCEPTION WHEN division_by_zero THEN NULL;
				END;
				PERFORM put_wide(2);
			EXCEPTION WHEN unique_violation THEN NULL;
			END;
		WHEN 6 THEN
			FOR i IN 1 .. 20 LOOP
				BEGIN
					PERFORM put_m(1);
					IF i % 3 = 0 THEN RAISE division_by_zero; END IF;
				EXCEPTION WHEN division_by_zero THEN NULL;
				END;
			END LOOP;
		ELSE NULL;
	END CASE;
END $$;

-- Of each rule, what it observes and what it should; both are kept where they differ.
CREATE FUNCTION compare_all() RETURNS void LANGUAGE plpgsql AS $$
DECLARE c clock; r rules; n int; h int; e text;
BEGIN
	SELECT * INTO c FROM clock;
	CREATE TEMP TABLE IF NOT EXISTS observed (labels jsonb, value numeric);
	CREATE TEMP TABLE IF NOT EXISTS expected (labels jsonb, value numeric);
	FOR r IN SELECT * FROM rules ORDER BY id LOOP
		TRUNCATE observed, expected;
		INSERT INTO observed SELECT labels - 'alertname', round(value::numeric, 9) FROM metricsdb.threshold_observe(r.id, c.t) WHERE error IS NULL;
		EXECUTE 'INSERT INTO expected SELECT jsonb_strip_nulls(l), round(v::numeric, 9) FROM (' || r.sql || ') x (l, v)' USING c.t;
		INSERT INTO differences SELECT c.step, r.id, c.t, 'observed ' || t::text FROM (TABLE observed EXCEPT ALL TABLE expected) t
			UNION ALL SELECT c.step, r.id, c.t, 'expected ' || t::text FROM (TABLE expected EXCEPT ALL TABLE observed) t;
		INSERT INTO looked SELECT c.step, r.id, count(*) FROM expected;
	END LOOP;
END $$;
CREATE PROCEDURE go(steps int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. steps LOOP
		PERFORM put_some();
		COMMIT;
		PERFORM put_some();
		COMMIT;
		UPDATE clock SET t = t + CASE WHEN random() < 0.1 THEN interval '70 s' ELSE interval '10 s' END, step = step + 1;
		COMMIT;
		PERFORM compare_all();
		COMMIT;
	END LOOP;
END $$;
SELECT setseed(0.5);
-- Some history first.
SELECT put_m(300), put_wide(100), put_keyed(20);
-- Rules begin with the second look: by the first, writers are told.
SELECT DISTINCT holds, error FROM rules, threshold_observe(id, (SELECT t FROM clock));
SELECT compare_all();
SELECT * FROM differences LIMIT 10;
SELECT histories, batches FROM threshold_counters();
CALL go(60);
SELECT * FROM differences ORDER BY step, rule LIMIT 10;
SELECT histories FROM threshold_counters();

-- Another session goes on: from what was written down, not from the table.
\c
SET timezone = 'UTC';
SET client_min_messages = warning;
SET metricsdb.direct_rows = 40;
SET search_path = windows, metricsdb, public;
SELECT setseed(0.25);
CALL go(20);
SELECT * FROM differences ORDER BY step, rule LIMIT 10;
SELECT histories, batches > 0 AS batches FROM threshold_counters();

-- Parts are merged; a file is new; rows are gone.
CALL compact('m', full => true);
CALL go(5);
VACUUM FULL m;
VACUUM FULL wide;
CALL go(5);
TRUNCATE m;
CALL go(15);
BEGIN;
TRUNCATE wide;
SELECT put_wide(5);
ROLLBACK;
CALL go(5);
BEGIN;
SELECT put_wide(50);
TRUNCATE wide;
SELECT put_wide(50);
COMMIT;
CALL go(5);
SELECT * FROM differences ORDER BY step, rule LIMIT 10;

-- COPY; prepared transactions are in tests of their own, as installations may have none.
COPY m FROM STDIN (FORMAT csv, QUOTE '|');
cpu,|{"host": "h1", "zone": "a"}|,2026-01-01 00:09:00,12
cpu,|{"host": "h9"}|,2026-01-01 00:29:50,77
\.
CALL go(5);
SELECT * FROM differences ORDER BY step, rule LIMIT 10;
SELECT rule, min(rows) > 0 OR max(rows) > 0 AS looked, count(*) FROM looked GROUP BY rule ORDER BY rule;

-- What is old is gone; there are no rows for tables that nobody watches.
SELECT bool_and(covers > (SELECT t - interval '60 min' FROM clock)) AS new FROM alert_batch;
CREATE TABLE unwatched (time timestamptz NOT NULL, host text, v float8) USING metricsdb;
INSERT INTO unwatched SELECT now(), 'h', i FROM generate_series(1, 100) i;
SELECT count(*) FROM alert_batch WHERE source = 'unwatched'::regclass;
DELETE FROM alert_rule;
SELECT count(*) AS windows FROM alert_window;
CREATE TEMP TABLE batches AS SELECT max(batch_id) AS newest FROM alert_batch;
SELECT put_m(100), put_wide(100);
SELECT count(*) AS written FROM alert_batch, batches WHERE batch_id > newest;
DROP SCHEMA windows CASCADE;
ALTER SYSTEM RESET metricsdb.alert_interval;
SELECT pg_reload_conf();
