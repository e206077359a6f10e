-- Queries on a table that its continuous aggregates answer; those that they do not; row-level security of both.
\set VERBOSITY terse
\pset format unaligned
SET metricsdb.direct_rows = 10;
SET timezone = 'UTC';
SET max_parallel_workers_per_gather = 0;
SET metricsdb.rollup_routing = exact;
CREATE SCHEMA route;
SET search_path = route, metricsdb, public;
CREATE TABLE cpu (time timestamptz NOT NULL, host text, core int, usage float8, n int) USING metricsdb WITH (metricsdb.time = 'time', metricsdb.series = 'host, core');
INSERT INTO cpu SELECT '2026-01-01'::timestamptz + i * interval '10 minutes', 'h' || h, c, (i * 7 + h * 3 + c) % 100, i % 1000
	FROM generate_series(0, 20 * 144 - 1) i, generate_series(1, 3) h, generate_series(0, 1) c;

-- The coarsest aggregate that answers a query, and whether it makes a difference.
CREATE FUNCTION routed(q text) RETURNS text LANGUAGE plpgsql SET search_path = route, metricsdb AS $$
DECLARE results text[]; r text; line text; answer text := 'the table';
BEGIN
	FOR mode IN 0 .. 1 LOOP
		PERFORM set_config('metricsdb.rollup_routing', CASE mode WHEN 0 THEN 'off' ELSE 'exact' END, true);
		EXECUTE format('SELECT md5(string_agg(t::text, E''\n'' ORDER BY t::text COLLATE "C")) FROM (%s) t', q) INTO r;
		results := results || r;
	END LOOP;
	EXECUTE 'EXPLAIN (FORMAT JSON) ' || q INTO line;
	answer := coalesce(substring(line FROM '"Relation Name": "(\w+)_states"'), answer);
	RETURN answer || CASE WHEN results[1] IS DISTINCT FROM results[2] THEN ', WRONG' ELSE '' END;
END $$;

-- A plan that was made before there was an aggregate is made again.
PREPARE by_host AS SELECT host, count(*) FROM cpu GROUP BY host;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE by_host;
CREATE MATERIALIZED VIEW cpu_1h WITH (metricsdb.continuous) AS
	SELECT time_bucket('1 hour', time) AS bucket, host, core, count(*), avg(usage), max(usage), sum(n), avg(n) AS avg_n,
		last(usage, time), count(*) FILTER (WHERE usage > 90) AS high, counter_agg(time, n::float8) AS counter FROM cpu GROUP BY 1, 2, 3;
CREATE MATERIALIZED VIEW cpu_1d WITH (metricsdb.continuous) AS
	SELECT time_bucket('1 day', time) AS bucket, host, count(*), avg(usage), max(usage), sum(n), avg(n) AS avg_n,
		last(usage, time), count(*) FILTER (WHERE usage > 90) AS high FROM cpu GROUP BY 1, 2;
EXPLAIN (COSTS OFF) EXECUTE by_host;

-- Applied but for the last days; late rows; rows that were deleted; rows of the delta.
CALL refresh('cpu_1d', NULL, '2026-01-16'::timestamptz);
INSERT INTO cpu SELECT '2026-01-05 03:00'::timestamptz + i * interval '1 minute', 'h1', 0, i, i FROM generate_series(0, 500) i;
DELETE FROM cpu WHERE host = 'h2' AND time >= '2026-01-08 10:10' AND time < '2026-01-08 14:30';
INSERT INTO cpu VALUES ('2026-01-21', 'h1', 0, 1, 1), ('2026-01-03 05:05', 'h9', 0, 5, 5);
CALL compact('cpu_1h_states');
CALL compact('cpu_1d_states');
ANALYZE cpu, cpu_1h_states, cpu_1d_states;
EXPLAIN (COSTS OFF) SELECT time_bucket('1 day', time), host, avg(n), max(usage) FROM cpu
	WHERE time >= '2026-01-03 04:30' AND time < '2026-01-20 10:15' AND host LIKE 'h%' GROUP BY 1, 2 HAVING count(*) > 10 ORDER BY 1, 2 LIMIT 3;
SELECT time_bucket('1 day', time), host, avg(n), max(usage) FROM cpu
	WHERE time >= '2026-01-03 04:30' AND time < '2026-01-20 10:15' AND host LIKE 'h%' GROUP BY 1, 2 HAVING count(*) > 10 ORDER BY 1, 2 LIMIT 3;

-- Buckets
SELECT b, routed(format('SELECT %s, host, count(*), avg(usage) FROM cpu GROUP BY 1, 2', b)) FROM unnest(ARRAY[
	$$time_bucket('1 day', time)$$, $$time_bucket('1 hour', time)$$, $$time_bucket('3 hours', time)$$, $$time_bucket('30 minutes', time)$$,
	$$time_bucket('1 week', time)$$, $$time_bucket('1 month', time)$$, $$time_bucket('1 day', time, '12:00'::interval)$$,
	$$time_bucket('1 day', time, '00:30'::interval)$$, $$time_bucket('1 day', time, '2026-01-01 06:00+00'::timestamptz)$$,
	$$time_bucket('1 day', time, 'Europe/Berlin')$$, $$time_bucket('1 day', time, 'Asia/Kolkata')$$, $$time_bucket('1 month', time, 'UTC')$$,
	$$date_trunc('hour', time)$$, $$date_trunc('day', time)$$, $$date_trunc('week', time)$$, $$date_trunc('quarter', time)$$, $$date_trunc('minute', time)$$,
	$$date_trunc('day', time, 'America/St_Johns')$$, $$date_trunc('day', time AT TIME ZONE 'Europe/Berlin')$$,
	$$date_bin('12 hours', time, '2000-01-01')$$, $$date_bin('12 hours', time, '2000-01-01 00:15')$$, $$date_bin('7 days', time, '2000-01-03')$$,
	$$floor(extract(epoch from time) / 3600) * 3600$$, $$floor(extract(epoch from time) / 86400)$$, $$floor(extract(epoch from time) / 5400) * 5400$$,
	$$floor(date_part('epoch', time) / 7200)$$, $$extract(hour from time)$$, $$extract(dow from time)$$, $$extract(minute from time)$$,
	$$time::date$$, $$(time AT TIME ZONE 'Asia/Tokyo')::date$$, $$to_char(time_bucket('1 day', time), 'DD')$$, $$time$$, $$to_char(time, 'DD')$$,
	$$time_bucket('1 day', time) + interval '1 hour'$$, $$now() - time_bucket('1 day', time)$$, $$CASE WHEN extract(hour from time) > 11 THEN 'pm' END$$]) WITH ORDINALITY AS u(b, i) ORDER BY i;
-- The session's zone is asked when a plan runs: of these two, half an hour from UTC, days are not whole hours.
PREPARE local_days AS SELECT date_trunc('day', time) AS day, count(*) FROM cpu GROUP BY 1 ORDER BY 1 LIMIT 2;
EXPLAIN (COSTS OFF) EXECUTE local_days;
EXECUTE local_days;
SET timezone = 'Asia/Kolkata';
EXECUTE local_days;
SET metricsdb.rollup_routing = off;
SELECT date_trunc('day', time) AS day, count(*) FROM cpu GROUP BY 1 ORDER BY 1 LIMIT 2;
SET metricsdb.rollup_routing = exact;
SET timezone = 'UTC';

-- Bounds
SELECT w, routed(format('SELECT host, count(*), sum(n) FROM cpu WHERE %s GROUP BY 1', w)) FROM unnest(ARRAY[
	$$true$$, $$time >= '2026-01-05'$$, $$time > '2026-01-05'$$, $$time < '2026-01-05'$$, $$time <= '2026-01-05'$$, $$'2026-01-05 07:03' <= time$$,
	$$time BETWEEN '2026-01-04 23:59:59' AND '2026-01-17 00:00:00'$$, $$time > now() - interval '100 years'$$, $$time >= '2026-01-05'::date$$,
	$$time >= '2026-01-05 05:00'::timestamp AND time < '2026-01-06 04:00'$$, $$time >= '2026-01-05 05:00' AND time < '2026-01-05 06:30'$$,
	$$time > '-infinity' AND time <= 'infinity'$$, $$time >= NULL::timestamptz$$, $$time = '2026-01-05'$$, $$time IN ('2026-01-05', '2026-01-06')$$,
	$$time >= '2026-01-05' AND time >= '2026-01-07 12:34' AND time < '2026-01-10' AND time <= '2026-01-20'$$, $$time >= '2026-01-05' OR time < '2026-01-02'$$,
	$$time + interval '1 day' > '2026-01-05'$$, $$date_trunc('day', time) = '2026-01-05'$$, $$extract(hour from time) BETWEEN 9 AND 17$$,
	$$time >= '2026-01-05' AND time < '2026-01-01'$$, $$time >= '294276-12-31'$$, $$time < '4713-01-02 BC'$$, $$time >= clock_timestamp() - interval '100 years'$$]) WITH ORDINALITY AS u(w, i) ORDER BY i;

-- Aggregates, keys, conditions
SELECT a, routed(format('SELECT host, %s FROM cpu GROUP BY 1', a)) FROM unnest(ARRAY[
	'count(*)', 'avg(usage)', 'round(avg(n), 2)', 'sum(n) + 1', 'max(usage) - avg(usage)', 'last(usage, time)', 'count(usage)', 'sum(usage)', 'count(*) FILTER (WHERE usage > 90)',
	'(array_agg(host ORDER BY host))[1]', 'min(usage)', 'sum(usage + 1)', 'count(*) FILTER (WHERE usage > 80)', 'count(DISTINCT n)', 'stddev(usage)',
	'sum(n) OVER ()', 'sum(sum(n)) OVER ()', 'first(usage, time)', 'last(usage, usage)', 'max(time)', '1']) WITH ORDINALITY AS u(a, i)
	WHERE a <> 'sum(n) OVER ()' ORDER BY i;
SELECT k, routed(format('SELECT %s AS k, count(*) FROM cpu GROUP BY 1', k)) FROM unnest(ARRAY[
	'host', 'core', 'upper(host)', 'host || core', 'usage', 'random() > 2', 'host = ''h1''', 'CASE WHEN host = ''h1'' THEN time_bucket(''1 day'', time) END', 'cpu', 'tableoid', 'NULL::int']) WITH ORDINALITY AS u(k, i) ORDER BY i;
SELECT w, routed(format('SELECT count(*), sum(n) FROM cpu WHERE %s', w)) FROM unnest(ARRAY[
	$$host = 'h1'$$, $$host IN ('h1', 'h3') AND core = 1$$, $$NOT (host LIKE 'h1%' OR core = 0)$$, $$usage > 5$$, $$host = current_user$$, $$random() < 2$$,
	$$host IN (SELECT 'h' || i FROM generate_series(1, 2) i)$$, $$EXISTS (SELECT FROM generate_series(1, 2) i WHERE host = 'h' || i)$$, $$ctid IS NOT NULL$$, $$host = 'h1' OR usage > 5$$]) WITH ORDINALITY AS u(w, i) ORDER BY i;

-- The rest of a query
CREATE TABLE rack (host text, rack text);
INSERT INTO rack VALUES ('h1', 'a'), ('h2', 'a'), ('h2', 'b'), ('h8', 'c');
SELECT q, routed(q) FROM unnest(ARRAY[
	'SELECT rack, count(*), avg(usage) FROM cpu JOIN rack USING (host) GROUP BY 1',
	'SELECT rack, count(*), avg(usage) FROM cpu LEFT JOIN rack USING (host) GROUP BY 1',
	'SELECT rack, count(*), avg(usage) FROM rack LEFT JOIN cpu USING (host) GROUP BY 1',
	'SELECT rack, count(*), avg(usage) FROM rack RIGHT JOIN cpu USING (host) GROUP BY 1',
	'SELECT rack, count(*), avg(usage) FROM rack FULL JOIN cpu USING (host) GROUP BY 1',
	'SELECT rack, count(*) FROM cpu, rack WHERE cpu.host = rack.host AND time >= ''2026-01-03 04:00'' GROUP BY 1',
	'SELECT rack, count(*) FROM cpu, rack WHERE cpu.host = rack.host AND cpu.n > length(rack) GROUP BY 1',
	'SELECT rack, count(rack) FROM cpu, rack WHERE cpu.host = rack.host GROUP BY 1',
	'SELECT a.host, count(*) FROM cpu a JOIN cpu b ON a.host = b.host AND b.time < ''2026-01-01 00:30'' AND a.time > ''2026-01-15'' GROUP BY 1',
	'SELECT r.host, (SELECT sum(n) FROM cpu WHERE host = r.host AND time > ''2026-01-02'') FROM rack r',
	'SELECT r.host, c.* FROM rack r, LATERAL (SELECT core, sum(n) FROM cpu WHERE host = r.host GROUP BY 1) c',
	'WITH c AS (SELECT host, max(usage) FROM cpu GROUP BY 1) SELECT * FROM c JOIN rack USING (host)',
	'SELECT host, count(*) FROM cpu GROUP BY 1 UNION ALL SELECT rack, 1 FROM rack',
	'SELECT host, rank() OVER (ORDER BY sum(n)), lag(count(*)) OVER (ORDER BY host) FROM cpu GROUP BY host',
	'SELECT DISTINCT ON (core) core, host, sum(n) FROM cpu GROUP BY 1, 2 ORDER BY 1, 2 DESC',
	'SELECT host, count(*) FROM cpu GROUP BY ROLLUP (1)',
	'SELECT host, count(*) FROM cpu TABLESAMPLE system (100) GROUP BY 1',
	'SELECT host, count(*) FROM ONLY cpu GROUP BY 1',
	'SELECT host, generate_series(1, count(*)::int / 2000) FROM cpu GROUP BY 1',
	'SELECT count(*) FROM (SELECT * FROM cpu WHERE n > 5) c',
	'SELECT host, count(*) FROM (SELECT * FROM cpu) c GROUP BY 1',
	'SELECT host, core, rate(counter_agg(time, n::float8)) FROM cpu GROUP BY 1, 2',
	'SELECT host, rate(counter_agg(time, n::float8)) FROM cpu GROUP BY 1',
	'SELECT c.host, c.core, num_elements(counter_agg(time, n::float8)) FROM cpu c JOIN rack USING (host) GROUP BY 1, 2'])
	WITH ORDINALITY AS u(q, i) ORDER BY i;
-- Groups by nothing of the table: no row, no group.
SELECT 'all' AS k, count(*) FROM cpu WHERE host = 'nobody' GROUP BY 1;
SELECT rack, count(*) FROM cpu, rack WHERE cpu.host = 'nobody' GROUP BY 1;
SELECT max(rack), count(*) FROM cpu, rack WHERE cpu.host = 'nobody';
SELECT count(*), max(n) FROM cpu WHERE host = 'nobody';

-- An aggregate with a condition answers queries that have it.
CREATE MATERIALIZED VIEW h1_1d WITH (metricsdb.continuous) AS SELECT time_bucket('1 day', time) AS bucket, sum(usage + 1), min(n) FROM cpu WHERE host = 'h1' GROUP BY 1;
SELECT w, routed(format('SELECT sum(usage + 1), min(n) FROM cpu WHERE %s', w)) FROM unnest(ARRAY[
	$$host = 'h1'$$, $$host = 'h1' AND time >= '2026-01-02'$$, $$host = 'h2'$$, $$host = 'h1' AND core = 1$$, $$true$$, $$host IN ('h1')$$]) WITH ORDINALITY AS u(w, i) ORDER BY i;
DROP VIEW h1_1d;
-- Snapshots: who does not see the aggregate yet reads the table; what is deleted meanwhile is seen as ever.
SELECT routed('SELECT host, count(*), max(usage) FROM cpu GROUP BY 1');
BEGIN;
DELETE FROM cpu WHERE time < '2026-01-02 03:04';
SELECT routed('SELECT host, count(*), max(usage) FROM cpu GROUP BY 1');
ROLLBACK;

-- What retention has removed of the states is read from the table, which still has it.
CREATE TABLE old (time timestamptz NOT NULL, host text, v int) USING metricsdb;
CREATE MATERIALIZED VIEW old_6h WITH (metricsdb.continuous) AS SELECT time_bucket('6 hours', time) AS bucket, host, count(*), sum(v), max(v) FROM old GROUP BY 1, 2;
\o /dev/null
\set ECHO none
SELECT format('INSERT INTO old SELECT now() - i * interval ''15 minutes'', ''h'' || i %% 2, i FROM generate_series(%s, %s) i', d * 96, d * 96 + 95),
	'CALL refresh(''old_6h'')' FROM generate_series(40, 0, -1) d \gexec
\set ECHO all
\o
SELECT routed('SELECT host, count(*), sum(v) FROM old GROUP BY 1');
SELECT set_retention('old_6h', '10 days');
CALL apply_retention('old_6h');
SELECT min(bucket) > now() - interval '15 days' AS fewer FROM old_6h_states;
SELECT routed('SELECT host, count(*), sum(v) FROM old GROUP BY 1');
SELECT routed('SELECT date_trunc(''day'', time, ''UTC''), max(v) FROM old WHERE time > now() - interval ''35 days'' GROUP BY 1');
SET metricsdb.enable_custom_scan = off;
SELECT routed('SELECT host, count(*), sum(v) FROM old GROUP BY 1');
RESET metricsdb.enable_custom_scan;
-- But what it has removed of the table is still in the states.
SELECT set_retention('old', '5 days');
CALL apply_retention('old');
SELECT (SELECT min(time) FROM old) > now() - interval '9 days' AS fewer, (SELECT sum(n) FROM (SELECT count(*) AS n FROM old GROUP BY host) c) > 9 * 96 AS still_counted;
DROP TABLE old CASCADE;

-- ---- row-level security ----
-- PostgreSQL 17 says more of subplans, 18 counts rows with decimals.
CREATE FUNCTION told(options text, q text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE format('EXPLAIN (COSTS OFF, %s) %s', options, q) LOOP
		line := regexp_replace(line, '\(ANY \(host = (\(hashed SubPlan \d+\))\.col1\)\)', '\1', 'g');
		line := regexp_replace(line, 'EXISTS(\(SubPlan \d+\))', '\1', 'g');
		line := regexp_replace(line, 'rows=(\d+)\.00', 'rows=\1');
		IF line !~ 'Sort Method' THEN RETURN NEXT line; END IF;
	END LOOP;
END $$;
CREATE ROLE route_alice;
CREATE ROLE route_bob;
CREATE ROLE route_carol;
GRANT USAGE ON SCHEMA route, metricsdb TO route_alice, route_bob, route_carol;
GRANT SELECT ON cpu, cpu_1h, cpu_1d, rack TO route_alice, route_bob;
-- Privileges are those that the query demands of the table.
SET ROLE route_carol;
SELECT host, count(*) FROM cpu GROUP BY 1;
SELECT count(*) FROM cpu_1d;
RESET ROLE;
GRANT SELECT (host, time) ON cpu TO route_carol;
SET ROLE route_carol;
SELECT routed('SELECT host, count(*) FROM cpu GROUP BY 1');
SELECT host, max(usage) FROM cpu GROUP BY 1;
SELECT count(*) FROM cpu_1h_states;
RESET ROLE;
-- Who may not use the schema of the functions that a routed query calls reads the table.
REVOKE USAGE ON SCHEMA metricsdb FROM route_carol, PUBLIC;
SET ROLE route_carol;
SELECT host, count(*) FROM cpu GROUP BY 1 ORDER BY 1;
RESET ROLE;
GRANT USAGE ON SCHEMA metricsdb TO PUBLIC;

ALTER TABLE cpu ENABLE ROW LEVEL SECURITY;
CREATE POLICY a ON cpu TO route_alice USING (host IN (SELECT host FROM rack WHERE rack = 'a') AND EXISTS (SELECT FROM rack r WHERE r.host = cpu.host));
CREATE POLICY b ON cpu TO route_bob USING (usage < 50);
PREPARE days AS SELECT host, sum(count), max(max) FROM cpu_1d GROUP BY 1 ORDER BY 1;
PREPARE hours AS SELECT host, sum(count), max(max) FROM cpu_1h GROUP BY 1 ORDER BY 1;
PREPARE rows AS SELECT host, count(*), max(usage) FROM cpu GROUP BY 1 ORDER BY 1;
EXECUTE days;
SET ROLE route_alice;
EXECUTE days;
EXECUTE hours;
EXECUTE rows;
SELECT told('VERBOSE OFF', 'EXECUTE rows');
SELECT routed('SELECT host, count(*), max(usage) FROM cpu GROUP BY 1');
SELECT routed('SELECT time_bucket(''1 day'', time), count(*) FROM cpu WHERE time > ''2026-01-03 03:00'' GROUP BY 1');
RESET ROLE;
SET ROLE route_bob;
EXECUTE days;
EXECUTE hours;
EXECUTE rows;
SELECT routed('SELECT host, count(*), max(usage) FROM cpu GROUP BY 1');
EXPLAIN SELECT * FROM cpu_1h;
RESET ROLE;
SET ROLE route_carol;
SELECT host, count(*) FROM cpu GROUP BY 1;
RESET ROLE;
EXECUTE days;
-- With row_security off those whom policies concern get an error, as of a table.
SET ROLE route_alice;
SET row_security = off;
SELECT count(*) FROM cpu_1d;
SELECT host, count(*) FROM cpu GROUP BY 1;
RESET row_security;
-- Nothing is evaluated for rows that the policy hides.
CREATE FUNCTION pg_temp.tell(text) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN IF $1 NOT IN ('h1', 'h2') THEN RAISE NOTICE 'seen: %', $1; END IF; RETURN true; END $$;
SELECT sum(count) FROM cpu_1d WHERE pg_temp.tell(host);
SELECT sum(count) FROM cpu_1h WHERE pg_temp.tell(host);
SELECT count(*) FROM cpu WHERE pg_temp.tell(host);
SELECT host, count(*) FROM cpu GROUP BY 1 HAVING pg_temp.tell(host) ORDER BY 1;
SELECT told('ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF', 'SELECT host, count(*) FROM cpu GROUP BY 1 HAVING pg_temp.tell(host) ORDER BY 1');
RESET ROLE;
-- In views and functions it is as of a table: who owns the view, or whose rights the function has.
CREATE VIEW by_day AS SELECT host, sum(count) FROM cpu_1d GROUP BY 1;
CREATE VIEW by_day_invoker WITH (security_invoker) AS SELECT host, sum(count) FROM cpu_1d GROUP BY 1;
CREATE FUNCTION definer() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = route, metricsdb AS 'SELECT sum(count)::int8 FROM cpu_1d';
CREATE FUNCTION invoker() RETURNS bigint LANGUAGE sql AS 'SELECT sum(count)::int8 FROM cpu_1d';
CREATE VIEW alices AS SELECT host, sum(count) FROM cpu_1d GROUP BY 1;
GRANT SELECT ON by_day, by_day_invoker, alices TO route_alice, route_bob;
ALTER VIEW alices OWNER TO route_alice;
SET ROLE route_alice;
SELECT (SELECT sum(sum) FROM by_day) AS by_owner, (SELECT sum(sum) FROM by_day_invoker) AS by_invoker, (SELECT sum(sum) FROM alices) AS alices, definer(), invoker();
RESET ROLE;
SET ROLE route_bob;
SELECT (SELECT sum(sum) FROM by_day) AS by_owner, (SELECT sum(sum) FROM alices) AS alices, definer();
SELECT sum(sum) FROM by_day_invoker;
RESET ROLE;
SELECT sum(sum) FROM alices;
-- Who bypasses policies, and the owner, unless they are forced upon him.
ALTER ROLE route_bob BYPASSRLS;
SET ROLE route_bob;
EXECUTE days;
RESET ROLE;
ALTER ROLE route_bob NOBYPASSRLS;
ALTER VIEW cpu_1d SET (security_barrier);
SET ROLE route_alice;
EXECUTE days;
RESET ROLE;
-- Only what is kept is read; the table's policies are those of the moment.
ALTER MATERIALIZED VIEW cpu_1d SET (metricsdb.materialized_only);
SET ROLE route_alice;
EXECUTE days;
RESET ROLE;
ALTER POLICY a ON cpu USING (host = 'h3');
SET ROLE route_alice;
EXECUTE days;
RESET ROLE;
ALTER TABLE cpu DISABLE ROW LEVEL SECURITY;
SET ROLE route_alice;
EXECUTE days;
RESET ROLE;

-- Forced upon the owner, too: he sees of the aggregate what he sees of the table, but what is kept are all rows.
GRANT CREATE ON SCHEMA route TO route_carol;
SET ROLE route_carol;
CREATE TABLE own (time timestamptz NOT NULL, host text, v int) USING metricsdb;
INSERT INTO own SELECT '2026-01-01'::timestamptz + i * interval '1 hour', 'h' || i % 3, i FROM generate_series(0, 999) i;
CREATE MATERIALIZED VIEW own_6h WITH (metricsdb.continuous) AS SELECT time_bucket('6 hours', time) AS bucket, host, count(*) FROM own GROUP BY 1, 2;
CREATE MATERIALIZED VIEW own_1d WITH (metricsdb.continuous) AS SELECT time_bucket('1 day', time) AS bucket, host, count(*) FROM own GROUP BY 1, 2;
ALTER TABLE own ENABLE ROW LEVEL SECURITY;
ALTER TABLE own FORCE ROW LEVEL SECURITY;
CREATE POLICY o ON own USING (host <> 'h1');
CALL refresh('own_1d');
SELECT sum(count) FROM own_1d;
SELECT sum(count) FROM own_6h;
SELECT count(*) FROM own;
SELECT sum(count) FROM own_1d_states;
RESET ROLE;
SELECT sum(count) FROM own_1d;
SELECT sum(count) FROM own_6h_states;
DROP TABLE own CASCADE;

-- An aggregate that goes takes its plans along.
EXPLAIN (COSTS OFF) EXECUTE by_host;
DROP VIEW cpu_1d CASCADE;
EXPLAIN (COSTS OFF) EXECUTE by_host;
DROP VIEW cpu_1h;
EXPLAIN (COSTS OFF) EXECUTE by_host;
RESET plan_cache_mode;
DROP SCHEMA route CASCADE;
DROP OWNED BY route_alice, route_bob, route_carol;
DROP ROLE route_alice, route_bob, route_carol;
