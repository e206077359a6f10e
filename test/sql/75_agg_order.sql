-- MetricsAgg in order of buckets of time: a LIMIT reads no more of the history than it needs.
\set ECHO queries
CREATE SCHEMA ao;
SET search_path = ao, public;
SET metricsdb.direct_rows = 50;
SET timezone = 'UTC';

CREATE TABLE h (time timestamptz NOT NULL, host text, v float8, n int) USING heap;
CREATE TABLE m (LIKE h) USING metricsdb;
CREATE TABLE src AS SELECT timestamptz '2026-01-01' + i * interval '10 s' AS time, 'host_' || i % 5 AS host, i % 101 AS v, i AS n FROM generate_series(1, 40000) i;
INSERT INTO h SELECT * FROM src;
INSERT INTO m SELECT * FROM src;
CALL metricsdb.compact('m');
-- Late ones in a part of their own; and in the delta, before and behind all parts.
INSERT INTO h SELECT time + interval '1 s', host, v, n FROM src WHERE n BETWEEN 100 AND 400;
INSERT INTO m SELECT time + interval '1 s', host, v, n FROM src WHERE n BETWEEN 100 AND 400;
INSERT INTO h VALUES ('2026-02-01', 'host_1', 1, 1), ('2025-12-01', 'host_1', 1, 2), ('2026-01-03', NULL, 1, 3);
INSERT INTO m VALUES ('2026-02-01', 'host_1', 1, 1), ('2025-12-01', 'host_1', 1, 2), ('2026-01-03', NULL, 1, 3);
ANALYZE h, m;

CREATE FUNCTION same(query text, OUT windows boolean, OUT equal boolean, OUT read_less boolean) LANGUAGE plpgsql AS $$
DECLARE
	expected text[]; got text[]; doc jsonb;
BEGIN
	EXECUTE 'SELECT array_agg(x::text) FROM (' || replace(query, '@', 'h') || ') x' INTO expected;
	EXECUTE 'SELECT array_agg(x::text) FROM (' || replace(query, '@', 'm') || ') x' INTO got;
	equal := expected IS NOT DISTINCT FROM got;
	EXECUTE 'EXPLAIN (ANALYZE, FORMAT JSON) ' || replace(query, '@', 'm') INTO doc;
	windows := jsonb_path_exists(doc, '$.** ? (@."Custom Plan Provider" == "MetricsAgg" && exists(@.Order))');
	read_less := (jsonb_path_query_array(doc, '$.** ? (exists(@."Rows Decoded"))."Rows Decoded"')->>0)::int < 20000;
END $$;
SELECT row_number() OVER (), (same(q)).* FROM unnest(ARRAY[
	$$SELECT metricsdb.time_bucket('1 min', time) AS b, max(v) FROM @ GROUP BY b ORDER BY b DESC LIMIT 5$$,
	$$SELECT metricsdb.time_bucket('1 min', time) AS b, max(v) FROM @ WHERE time < '2026-01-03 07:08:09' GROUP BY b ORDER BY b DESC LIMIT 5$$,
	$$SELECT metricsdb.time_bucket('1 min', time) AS b, max(v) FROM @ GROUP BY b ORDER BY b LIMIT 5$$,
	$$SELECT date_bin('7 min', time, '2001-01-01') AS b, count(*) FROM @ WHERE time > '2026-01-02 01:02:03' GROUP BY b ORDER BY b LIMIT 3 OFFSET 2$$,
	$$SELECT metricsdb.time_bucket('1 hour', time) AS b, host, sum(n) FROM @ WHERE time < '2026-01-04' GROUP BY b, host ORDER BY b DESC, host LIMIT 12$$,
	$$SELECT metricsdb.time_bucket('1 hour', time) AS b, sum(n) FROM @ WHERE v > 50 GROUP BY b HAVING count(*) > 100 ORDER BY b DESC LIMIT 3$$,
	$$SELECT metricsdb.time_bucket('1 hour', time) AS b, sum(n) FROM @ GROUP BY b HAVING sum(n) < 30000 ORDER BY b DESC LIMIT 3$$,
	$$SELECT metricsdb.time_bucket('1 hour', time) AS b, sum(n) FROM @ WHERE time > '2027-01-01' GROUP BY b ORDER BY b DESC LIMIT 3$$,
	$$SELECT metricsdb.time_bucket('1 day', time) AS b, count(*) FROM @ GROUP BY b ORDER BY b DESC LIMIT 100$$,
	$$SELECT metricsdb.time_bucket('1 month', time) AS b, count(*) FROM @ GROUP BY b ORDER BY b DESC LIMIT 1$$,
	$$SELECT x.host, y.* FROM (VALUES ('host_1'), ('host_2'), ('none')) x(host), LATERAL (SELECT metricsdb.time_bucket('10 min', time) AS b, count(*) FROM @ t WHERE t.host = x.host GROUP BY 1 ORDER BY 1 DESC LIMIT 2) y ORDER BY 1, 2$$
]) q;
EXPLAIN (COSTS OFF) SELECT metricsdb.time_bucket('1 min', time) AS b, max(v) FROM m GROUP BY b ORDER BY b DESC LIMIT 5;
-- A cursor that goes on after the LIMIT would have ended it.
SET cursor_tuple_fraction = 0.01;
BEGIN;
DECLARE c CURSOR FOR SELECT metricsdb.time_bucket('6 hours', time) AS b, count(*) FROM m GROUP BY b ORDER BY b DESC LIMIT 1000;
FETCH 3 FROM c;
FETCH ALL FROM c;
COMMIT;
-- Rows without a time are in no window.
ALTER TABLE m ALTER time DROP NOT NULL;
ALTER TABLE h ALTER time DROP NOT NULL;
INSERT INTO m SELECT NULL, host, v, n FROM src LIMIT 100;
INSERT INTO h SELECT NULL, host, v, n FROM src LIMIT 100;
SELECT row_number() OVER (), (same(q)).* FROM unnest(ARRAY[
	$$SELECT metricsdb.time_bucket('1 min', time) AS b, max(v) FROM @ GROUP BY b ORDER BY b DESC LIMIT 5$$,
	$$SELECT metricsdb.time_bucket('1 min', time) AS b, max(v) FROM @ WHERE time <= 'infinity' GROUP BY b ORDER BY b DESC LIMIT 5$$
]) q;
INSERT INTO m SELECT 'infinity', host, v, n FROM src LIMIT 100;
INSERT INTO h SELECT 'infinity', host, v, n FROM src LIMIT 100;
INSERT INTO m SELECT '-infinity', host, v, n FROM src LIMIT 100;
INSERT INTO h SELECT '-infinity', host, v, n FROM src LIMIT 100;
SELECT row_number() OVER (), (same(q)).* FROM unnest(ARRAY[
	$$SELECT metricsdb.time_bucket('1 min', time) AS b, max(v) FROM @ WHERE time <= 'infinity' GROUP BY b ORDER BY b DESC LIMIT 5$$,
	$$SELECT metricsdb.time_bucket('1 min', time) AS b, max(v) FROM @ WHERE time > '-infinity' GROUP BY b ORDER BY b LIMIT 5$$,
	$$SELECT metricsdb.time_bucket('1 min', time) AS b, max(v) FROM @ WHERE time < 'infinity' GROUP BY b ORDER BY b DESC LIMIT 5$$
]) q;

\set ECHO none
SET client_min_messages = warning;
DROP SCHEMA ao CASCADE;
