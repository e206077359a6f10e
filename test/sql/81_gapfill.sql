-- time_bucket_gapfill, locf, interpolate: what users of TimescaleDB know, plans, what is refused.
\set ECHO queries
CREATE SCHEMA gaps;
SET search_path = gaps, public, metricsdb;
SET timezone = 'UTC';
SET max_parallel_workers_per_gather = 0;

SELECT proname, pg_get_function_arguments(oid) AS arguments, prorettype::regtype FROM pg_proc WHERE proname IN ('time_bucket_gapfill', 'locf', 'interpolate') ORDER BY 1, 2;

-- All types
SELECT time_bucket_gapfill(2::int2, t::int2, 0::int2, 6::int2) AS b, count(*) FROM (VALUES (1), (4)) v(t) GROUP BY 1 ORDER BY 1;
SELECT time_bucket_gapfill(10, t, 5, 40) AS b, count(*) FROM (VALUES (11), (22)) v(t) GROUP BY 1 ORDER BY 1;
SELECT time_bucket_gapfill(1::int8, t, 9223372036854775805, 9223372036854775807) AS b, count(*) FROM (VALUES (9223372036854775806)) v(t) GROUP BY 1 ORDER BY 1;
SELECT time_bucket_gapfill(100::int2, t::int2, 32600::int2, 32767::int2) AS b, count(*) FROM (VALUES (32766)) v(t) GROUP BY 1 ORDER BY 1;
SELECT time_bucket_gapfill('1 week', t, date '2000-01-01', date '2000-02-10') AS b, min(t) FROM (VALUES (date '2000-01-08'), (date '2000-01-22')) v(t) GROUP BY 1 ORDER BY 1;
SELECT time_bucket_gapfill('1 month', t, date '2000-01-31', date '2000-04-02') AS b, min(t) FROM (VALUES (date '2000-03-08')) v(t) GROUP BY 1 ORDER BY 1;
SELECT time_bucket_gapfill('6 hours', t, timestamp '2000-01-01', timestamp '2000-01-02') AS b, min(t) FROM (VALUES (timestamp '2000-01-01 09:00')) v(t) GROUP BY 1 ORDER BY 1;
SELECT time_bucket_gapfill('3 months', t, timestamptz '1999-12-01', timestamptz '2000-12-01') AS b, min(t) FROM (VALUES (timestamptz '2000-05-01 09:00')) v(t) GROUP BY 1 ORDER BY 1;
SELECT time_bucket_gapfill('1 hour', t, 'Europe/Berlin', '2026-10-24 22:30Z', '2026-10-25 02:00Z') AS b FROM (SELECT NULL::timestamptz AS t WHERE false) v GROUP BY 1;
SELECT time_bucket_gapfill('7 hours', t, 'Europe/Berlin', '2026-03-28 12:00Z', '2026-03-30 00:00Z') AS b FROM (SELECT NULL::timestamptz AS t WHERE false) v GROUP BY 1;
-- Rows outside of the range pass; rows without a time come last
SELECT time_bucket_gapfill(10, t, 0, 50) AS b, min(v), locf(min(v)), interpolate(min(v)) FROM (VALUES (-10, 1), (10, 2), (11, 3), (22, 5), (30, 6), (66, 7), (NULL, 8)) x(t, v) GROUP BY 1 ORDER BY 1;
SELECT time_bucket_gapfill(10, t, 20, 0) AS b, count(*) FROM (VALUES (-10), (10), (70)) x(t) GROUP BY 1 ORDER BY 1;
-- Ranges in WHERE: the narrowest counts
SELECT time_bucket_gapfill(1, t) AS b FROM (VALUES (1), (2)) v(t) WHERE -1 < t AND t <= 3 AND t < 9 AND t > -4 GROUP BY 1;
SELECT time_bucket_gapfill(1, t) AS b FROM (VALUES (1), (2)) v(t) WHERE t >= 0::bigint AND 3::smallint >= t GROUP BY 1;
SELECT time_bucket_gapfill('1 day', t) AS b FROM (VALUES (date '2000-01-01'), ('2000-01-02')) v(t) WHERE t > timestamp '1999-12-30 12:00' AND t < timestamptz '2000-01-02 12:00' GROUP BY 1;
SELECT time_bucket_gapfill(5, t + 1) AS b, count(*) FROM (VALUES (1), (2)) v(t) WHERE t + 1 >= 0 AND t + 1 < 20 GROUP BY 1;
SELECT time_bucket_gapfill(5, a.t) AS b, count(*) FROM (VALUES (1), (2)) a(t) JOIN (VALUES (1), (7)) v(t) ON a.t = v.t AND a.t >= 0 WHERE a.t < 15 GROUP BY 1 ORDER BY 1;
-- Expressions of what is missing, and of what is not
SELECT time_bucket_gapfill(1, t, 0, 3) AS b, count(*), coalesce(min(v), -1), CASE WHEN min(v) IS NULL THEN 'none' ELSE 'some' END, 4 AS four, time_bucket_gapfill(1, t, 0, 3) * 10 AS ten, coalesce(sum(v), 0), locf(coalesce(sum(v), 0)), coalesce(locf(sum(v)), 9)
FROM (VALUES (1, 5), (1, NULL)) x(t, v) GROUP BY 1 ORDER BY 1;
SELECT time_bucket_gapfill(1, t, 0, 4) AS b, locf(4), locf(4 + min(v)), locf(min(x)), locf(min(a)), locf(count(*) > 1) FROM (VALUES (1, 1, 'foo', ARRAY[1, 2]), (3, 2, 'bar', ARRAY[3])) x(t, v, x, a) GROUP BY 1 ORDER BY 1;
-- NULL is carried on, unless it counts as missing
SELECT time_bucket_gapfill(10, t, 0, 60) AS b, locf(min(v)), locf(min(v), treat_null_as_missing => true) AS missing, locf(min(v), 100) AS prev, locf(min(v), 100, true) AS both, locf(min(v), NULL, NULL) AS unknown
FROM (VALUES (0, NULL), (20, 3), (30, NULL), (50, 6)) x(t, v) GROUP BY 1 ORDER BY 1 DESC;
-- Lines
SELECT time_bucket_gapfill(1, t, 0, 8) AS b, interpolate(min(v)) AS i, interpolate(min(v)::int2) AS s, interpolate(min(v)::int8) AS l, interpolate(min(v)::real) AS r, interpolate(min(v)::float8) AS d, interpolate(avg(v)) AS n
FROM (VALUES (1, 10), (5, -3), (6, NULL), (7, 2)) x(t, v) GROUP BY 1 ORDER BY 1;
SELECT time_bucket_gapfill(1, t, 0, 6) AS b, interpolate(min(v), (SELECT (-2, 0)), (SELECT (10, 100))), interpolate(min(v), (-1, 7)), interpolate(min(v), NULL, (6, NULL::int)), interpolate(min(v), (-1, 7), (SELECT (1, 2) WHERE false))
FROM (VALUES (2, 10), (3, 11)) x(t, v) GROUP BY 1 ORDER BY 1;
SELECT time_bucket_gapfill(1, t, 0, 4) AS b, interpolate(min(v)), interpolate(max(w)) FROM (VALUES (0, 9223372036854775807, 1.7e308::float8), (3, -9223372036854775808, 1.6e308)) x(t, v, w) GROUP BY 1 ORDER BY 1;
SELECT g, time_bucket_gapfill(1, t, 0, 3) AS b, interpolate(min(v), (SELECT (-1, x.g)), (SELECT (3, x.g * 10))) FROM (VALUES (1, 0, 5), (2, 1, 6), (NULL, 2, 7)) x(g, t, v) GROUP BY 1, 2 ORDER BY 1, 2;
-- Without GROUP BY it is time_bucket; columns twice, keys that are not shown, more keys, functions that return sets
SELECT time_bucket_gapfill(5, t, 0, 20), sum(t) OVER () FROM (VALUES (7), (12)) v(t) ORDER BY 1;
SELECT g, g AS again, time_bucket_gapfill(1, t, 0, 2) AS b, count(*) FROM (VALUES (1, 0), (2, 1)) x(g, t) GROUP BY 1, 2, 3, g + 1 ORDER BY g DESC, b;
SELECT count(*) FROM (VALUES (1, 0), (2, 1)) x(g, t) GROUP BY time_bucket_gapfill(1, t, 0, 2), g ORDER BY g, time_bucket_gapfill(1, t, 0, 2);
SELECT time_bucket_gapfill(1, t, 0, 3) AS b, locf(sum(t)), generate_series(1, 2) AS n FROM (VALUES (1)) x(t) GROUP BY 1 ORDER BY 1, n;
SELECT x.*, y.c FROM (SELECT time_bucket_gapfill(1, t, 0, 3) AS b, count(*) AS c FROM (VALUES (1)) v(t) GROUP BY 1) x JOIN (SELECT time_bucket_gapfill(1, t, 1, 4) AS b, count(*) AS c FROM (VALUES (2)) v(t) GROUP BY 1) y USING (b) ORDER BY 1;
SELECT g, (SELECT string_agg(coalesce(c::text, '-'), ',' ORDER BY b) FROM (SELECT time_bucket_gapfill(g, t, 0, 6) AS b, count(*) AS c FROM (VALUES (1), (4)) v(t) GROUP BY 1) x) FROM generate_series(1, 3) g;

-- Plans
CREATE TABLE m (time timestamptz NOT NULL, host text, v float8) USING metricsdb;
INSERT INTO m SELECT timestamptz '2026-01-01' + i * interval '10 s', 'host_' || i % 4, i % 100 FROM generate_series(0, 19999) i WHERE i % 1000 < 500;
CALL metricsdb.compact('m');
ANALYZE m;
CREATE TABLE p (LIKE m) PARTITION BY LIST (host);
CREATE TABLE p_0 PARTITION OF p FOR VALUES IN ('host_0') USING metricsdb;
CREATE TABLE p_rest PARTITION OF p DEFAULT USING heap;
INSERT INTO p SELECT * FROM m;
CALL metricsdb.compact('p_0');
ANALYZE p;
-- The names of plans' nodes: how other lines look differs among versions.
CREATE FUNCTION nodes(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		IF line ~ '->|^[A-Z]' AND line !~ '^ *(Workers|Group|Sort|Presorted) ' THEN
			RETURN NEXT regexp_replace(regexp_replace(line, '^( *->)? *', ''), 'Incremental Sort', 'Sort');
		END IF;
	END LOOP;
END $$;
SELECT nodes($$SELECT time_bucket_gapfill('1 hour', time) AS b, host, locf(avg(v)) FROM m WHERE time >= '2026-01-01' AND time < '2026-01-02' GROUP BY 1, 2 ORDER BY 2, 1$$);
SELECT nodes($$SELECT time_bucket_gapfill('1 hour', time) AS b, interpolate(avg(v)) FROM m WHERE time >= '2026-01-01' AND time < '2026-01-02' GROUP BY 1 ORDER BY 1 DESC LIMIT 3$$);
SET enable_hashagg = off;
SELECT nodes($$SELECT time_bucket_gapfill('1 hour', time) AS b, host, locf(avg(v)) FROM p WHERE time >= '2026-01-01' AND time < '2026-01-02' GROUP BY 1, 2 ORDER BY 2, 1$$);
SET enable_partitionwise_aggregate = on;
SELECT nodes($$SELECT time_bucket_gapfill('1 hour', time) AS b, host, locf(avg(v)) FROM p WHERE time >= '2026-01-01' AND time < '2026-01-02' GROUP BY 1, 2 ORDER BY 2, 1$$);
RESET enable_hashagg;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SELECT count(*), count(a), round(sum(l)) FROM (SELECT time_bucket_gapfill('10 minutes', time) AS b, host, avg(v) AS a, locf(avg(v)) AS l FROM m WHERE time >= '2026-01-01' AND time < '2026-01-03' GROUP BY 1, 2) x;
SELECT count(*), count(a), round(sum(l)) FROM (SELECT time_bucket_gapfill('10 minutes', time) AS b, host, avg(v) AS a, locf(avg(v)) AS l FROM p WHERE time >= '2026-01-01' AND time < '2026-01-03' GROUP BY 1, 2) x;
SET enable_partitionwise_aggregate = off;
SET metricsdb.enable_vector_agg = off;
SELECT string_agg(n, ', ') ~ 'GapFill.*Gather' AS above_workers FROM nodes($$SELECT time_bucket_gapfill('1 hour', time) AS b, host, locf(avg(v)) FROM m WHERE time >= '2026-01-01' AND time < '2026-01-03' GROUP BY 1, 2$$) n;
SELECT count(*), count(a), round(sum(l)) FROM (SELECT time_bucket_gapfill('10 minutes', time) AS b, host, avg(v) AS a, locf(avg(v)) AS l FROM m WHERE time >= '2026-01-01' AND time < '2026-01-03' GROUP BY 1, 2) x;
RESET metricsdb.enable_vector_agg;
SET max_parallel_workers_per_gather = 0;
CREATE FUNCTION told(query text, what text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
		IF line ~ what THEN RETURN trim(line); END IF;
	END LOOP;
	RETURN 'nothing';
END $$;
SELECT told($$SELECT time_bucket_gapfill('1 hour', time) AS b, host, locf(avg(v)) FROM m WHERE time >= '2026-01-01' AND time < '2026-01-02' GROUP BY 1, 2$$, 'Gaps');
-- Conditions on the bucket; a bucket of a constant
SELECT time_bucket_gapfill('12 hours', time) AS b, count(*) FROM m WHERE time >= '2026-01-01' AND time < '2026-01-03' AND time_bucket_gapfill('12 hours', time) = '2026-01-01 12:00' GROUP BY 1 ORDER BY 1 DESC;
SELECT time_bucket_gapfill('12 hours', time) AS b, count(*) FROM m WHERE time >= '2026-01-01' AND time < '2026-01-03' GROUP BY 1 HAVING time_bucket_gapfill('12 hours', time) > '2026-01-01 12:00' ORDER BY 1 DESC;
SELECT time_bucket_gapfill(1, t, 0, 3) AS b, generate_series(1, 2) AS n FROM (SELECT 1 AS t) x GROUP BY 1 ORDER BY 1 DESC, n;
-- Any number of empty buckets ends when it is told to
SET statement_timeout = '200ms';
SELECT count(*) FROM (SELECT time_bucket_gapfill('1 us', time) FROM m WHERE time >= '2000-01-01' AND time < '2026-01-02' GROUP BY 1) x;
RESET statement_timeout;

-- What is refused
SELECT locf(1);
SELECT interpolate(sum(v)) FROM m GROUP BY host;
SELECT time_bucket_gapfill('1 hour', time) AS b, max(locf(v)) FROM m WHERE time > '2026-01-01' AND time < '2026-01-02' GROUP BY 1;
SELECT time_bucket_gapfill('1 hour', time) AS b, locf(interpolate(max(v))) FROM m WHERE time > '2026-01-01' AND time < '2026-01-02' GROUP BY 1;
SELECT time_bucket_gapfill('1 hour', time) AS b, locf(sum(max(v)) OVER ()) FROM m WHERE time > '2026-01-01' AND time < '2026-01-02' GROUP BY 1;
SELECT time_bucket_gapfill('1 hour', time) AS b FROM m WHERE time > '2026-01-01' AND time < '2026-01-02' GROUP BY 1 HAVING locf(max(v)) > 1;
SELECT time_bucket_gapfill('1 hour', time) AS b, time_bucket_gapfill('2 hours', time) AS c FROM m WHERE time > '2026-01-01' AND time < '2026-01-02' GROUP BY 1, 2;
SELECT date(time_bucket_gapfill('1 day', time)) AS b FROM m WHERE time > '2026-01-01' AND time < '2026-01-02' GROUP BY 1;
SELECT time_bucket_gapfill('1 hour', time) AS b, host FROM m WHERE time > '2026-01-01' AND time < '2026-01-02' GROUP BY ROLLUP (1, 2);
SELECT time_bucket_gapfill('1 hour', time) AS b FROM m GROUP BY 1;
SELECT time_bucket_gapfill('1 hour', time) AS b FROM m WHERE time > '2026-01-01' GROUP BY 1;
SELECT time_bucket_gapfill('1 hour', time) AS b FROM m WHERE time > '2026-01-01' OR time < '2026-01-02' GROUP BY 1;
SELECT time_bucket_gapfill('1 hour', time) AS b FROM m WHERE time > time - interval '1 h' AND time < '2026-01-02' GROUP BY 1;
SELECT time_bucket_gapfill('1 hour', time + interval '1 h') AS b FROM m WHERE time > '2026-01-01' AND time < '2026-01-02' GROUP BY 1;
SELECT time_bucket_gapfill('1 hour', time, time, now()) AS b FROM m GROUP BY 1;
SELECT time_bucket_gapfill(interval '1 hour' * random(), time) AS b FROM m WHERE time > '2026-01-01' AND time < '2026-01-02' GROUP BY 1;
SELECT time_bucket_gapfill('1 hour', time, host) AS b FROM m WHERE time > '2026-01-01' AND time < '2026-01-02' GROUP BY 1;
SELECT time_bucket_gapfill('1 hour', time, (SELECT now() WHERE false), now()) AS b FROM m GROUP BY 1;
SELECT time_bucket_gapfill('1 hour', time, '-infinity'::timestamptz, now()) AS b FROM m GROUP BY 1;
SELECT time_bucket_gapfill(NULL, time) AS b FROM m WHERE time > '2026-01-01' AND time < '2026-01-02' GROUP BY 1;
SELECT time_bucket_gapfill('1 hour', time, NULL::text) AS b FROM m WHERE time > '2026-01-01' AND time < '2026-01-02' GROUP BY 1;
SELECT time_bucket_gapfill('0', time) AS b FROM m WHERE time > '2026-01-01' AND time < '2026-01-02' GROUP BY 1;
SELECT time_bucket_gapfill('1 month 1 day', time) AS b FROM m WHERE time > '2026-01-01' AND time < '2026-01-02' GROUP BY 1;
SELECT time_bucket_gapfill('1 hour', time::date) AS b FROM m WHERE time::date > '2026-01-01' AND time::date < '2026-01-02' GROUP BY 1;
SELECT time_bucket_gapfill(1, t, 0, 3) AS b, locf(min(t), 1, min(t) > 1) FROM (VALUES (1)) v(t) GROUP BY 1;
SELECT time_bucket_gapfill(1, t, 0, 3) AS b, interpolate(min(t), ROW(1)) FROM (VALUES (1)) v(t) GROUP BY 1;
SELECT time_bucket_gapfill(1, t, 0, 3) AS b, interpolate(min(t), (1::int8, 1)) FROM (VALUES (1)) v(t) GROUP BY 1;
SELECT time_bucket_gapfill(1, t, 0, 3) AS b, interpolate(min(t), NULL, (1, 1.5)) FROM (VALUES (1)) v(t) GROUP BY 1;
SELECT interpolate('a'::text);
SET client_min_messages = warning;
DROP SCHEMA gaps CASCADE;
