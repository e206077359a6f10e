-- MetricsAgg: what is taken and what is left to core, policies, odd columns; time_bucket, first, last.
\set ECHO queries
CREATE SCHEMA agg;
SET search_path = agg, public;
SET metricsdb.direct_rows = 50;
SET timezone = 'UTC';
SET max_parallel_workers_per_gather = 0;

SELECT metricsdb.time_bucket('1 week', timestamptz '2026-01-01 12:34+00'), metricsdb.time_bucket('5 min', timestamptz '1999-12-31 23:58+00'),
	metricsdb.time_bucket('1 month', timestamptz '2026-02-28 12:34+00'), metricsdb.time_bucket('5 months', timestamptz '1999-12-31 23:58+00');
SELECT metricsdb.time_bucket('1 day', timestamptz '2026-03-29 12:00+00', 'Europe/Berlin'), metricsdb.time_bucket('1 day', timestamptz '2026-03-29 12:00+00', interval '6 hours'),
	metricsdb.time_bucket('1 day', timestamptz '2026-03-29 12:00+00', timestamptz '2000-01-01 13:00+00'), metricsdb.time_bucket('1 hour', timestamptz 'infinity');
SELECT metricsdb.time_bucket('2 days', date '2026-01-02'), metricsdb.time_bucket('1 hour', timestamp '2026-01-02 03:04'), metricsdb.time_bucket(10, -3), metricsdb.time_bucket(10::bigint, 17::bigint, 5::bigint);
SELECT metricsdb.time_bucket('0 s', now());
SELECT metricsdb.time_bucket('1 month 1 day', now());
SELECT metricsdb.time_bucket(NULL, now()) IS NULL AS strict;
SELECT metricsdb.first(v, t), metricsdb.last(v, t), metricsdb.last(w, t) FROM (VALUES (1, 'a', 3), (2, 'b', 1), (3, NULL, 9), (4, 'd', NULL)) x(v, w, t);
SELECT metricsdb.first(v, t) IS NULL AS none FROM (VALUES (1, NULL::int)) x(v, t);

CREATE DOMAIN percent AS float8 CHECK (VALUE >= 0);
CREATE TABLE m (time timestamptz, host text, a float8, p percent, n int, g int GENERATED ALWAYS AS (n * 2) STORED) USING metricsdb;
INSERT INTO m SELECT timestamptz '2026-01-01' + i * interval '10 s', 'host_' || i % 4, i % 100, i % 10, i FROM generate_series(0, 7999) i;
CALL metricsdb.compact('m');
INSERT INTO m SELECT timestamptz '2026-01-02' + i * interval '10 s', 'late', i, i, i FROM generate_series(0, 9) i;
ANALYZE m;

EXPLAIN (COSTS OFF) SELECT host, date_trunc('hour', time), avg(a) FROM m WHERE time >= '2026-01-01 02:00' AND host <> 'host_2' AND n > 5 GROUP BY 1, 2 HAVING count(*) > 1;
SELECT host, date_trunc('day', time) AS day, count(*), sum(n), avg(n), min(a), max(p), sum(g) FILTER (WHERE a > 50) FROM m GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*), sum(p), metricsdb.first(n, time), metricsdb.last(n, time), bool_and(a >= 0), stddev(n), variance(p) FROM m;
EXPLAIN (COSTS OFF) SELECT sum(p), sum(g) FROM m;
-- Left to core.
EXPLAIN (COSTS OFF) SELECT count(m) FROM m;
EXPLAIN (COSTS OFF) SELECT max(ctid) FROM m;
EXPLAIN (COSTS OFF) SELECT sum(n % 3) FROM m;
-- PostgreSQL 16 sorts before it.
CREATE FUNCTION takes_agg(query text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN ' || query LOOP
		IF line ~ 'MetricsAgg' THEN RETURN true; END IF;
	END LOOP;
	RETURN false;
END $$;
SELECT takes_agg('SELECT count(DISTINCT n) FROM m'), takes_agg('SELECT count(n) FROM m');
DROP FUNCTION takes_agg;
EXPLAIN (COSTS OFF) SELECT n, count(*) FROM m GROUP BY n;
SELECT count(m), count(m.*) FROM m;
SET metricsdb.enable_vector_agg = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM m;
RESET metricsdb.enable_vector_agg;

-- Errors are those of rows that come so far.
SELECT sum(1 / (n - 5)) FROM m;
SELECT sum(1 / (n - 5)) FROM m WHERE n <> 5;
SELECT sum(CASE WHEN n <> 5 THEN 1 / (n - 5) END) FROM m;
SELECT sum(n * 1000000) FROM m;

-- Without columns, and without rows.
CREATE TABLE z () USING metricsdb;
INSERT INTO z SELECT FROM generate_series(1, 200);
SELECT count(*) FROM z;
SELECT count(*), sum(n), max(a) FROM m WHERE time < '2000-01-01';
SELECT host, count(*) FROM m WHERE time < '2000-01-01' GROUP BY host;

-- Changed and deleted rows count once; values come at run time.
BEGIN;
DELETE FROM m WHERE n % 10 = 3;
UPDATE m SET a = -1 WHERE n % 10 = 4;
SELECT count(*), count(*) FILTER (WHERE a = -1), sum(n) FROM m;
ROLLBACK;
SELECT count(*), count(*) FILTER (WHERE a = -1), sum(n) FROM m;
SELECT h, (SELECT count(*) FROM m WHERE host = h AND n < k) FROM (VALUES ('host_1', 10), ('host_2', 20), (NULL, 5)) v(h, k);

-- Policies: nothing leaks, and EXPLAIN is silent.
CREATE FUNCTION leak(text) RETURNS text LANGUAGE plpgsql COST 0.0001 AS $$
BEGIN RAISE NOTICE 'saw %', $1; RETURN $1; END $$;
ALTER TABLE m ENABLE ROW LEVEL SECURITY;
CREATE POLICY only_one ON m USING (host = 'host_1' AND n < 10);
CREATE ROLE regress_metricsdb_reader;
GRANT USAGE ON SCHEMA agg TO regress_metricsdb_reader;
GRANT SELECT (time, host, n) ON m TO regress_metricsdb_reader;
-- PostgreSQL 18 counts rows with decimals, and buffers unasked.
CREATE FUNCTION told(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
		RETURN NEXT regexp_replace(line, 'rows=(\d+)\.00', 'rows=\1');
	END LOOP;
END $$;
SET ROLE regress_metricsdb_reader;
SELECT leak(host), count(*), max(n) FROM m GROUP BY 1;
SELECT count(*) FROM m WHERE leak(host) <> '';
SELECT sum(a) FROM m;
SELECT told($$SELECT count(*) FROM m WHERE time > '2026-01-01'$$);
RESET ROLE;

\set ECHO none
SET client_min_messages = warning;
DROP SCHEMA agg CASCADE;
DROP ROLE regress_metricsdb_reader;
