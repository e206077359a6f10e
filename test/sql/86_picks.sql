-- Picks: topk, bottomk, lttb.
\set ECHO queries
CREATE SCHEMA picks;
SET search_path = picks, public, metricsdb;
SET timezone = 'UTC';

SELECT topk(3, v), bottomk(3, v) FROM (VALUES (1), (5), (3), (NULL), (4), (2)) x(v);
SELECT topk(3, v), bottomk(3, v) FROM (VALUES ('NaN'::float8), (5), ('inf'), ('-inf')) x(v);
SELECT topk(9, v), bottomk(2, v) FROM (VALUES ('NaN'::float8), (5), (5), ('NaN')) x(v);
SELECT topk(2, v, l), bottomk(2, v, l) FROM (VALUES (1, 'a'), (5, 'b'), (5, 'c'), (NULL, 'd'), (1, NULL), (5, 'a'), (1, '')) x(v, l);
SELECT topk(2, v) IS NULL AS none, topk(2, v, 'x') IS NULL AS labelled, topk(NULL, 1) IS NULL AS no_k FROM (VALUES (NULL::float8)) x(v);
CREATE TABLE h AS SELECT timestamptz '2026-01-01' + i * interval '10 s' AS time, 'h' || i % 7 AS host, ((i * 7919) % 10007)::float8 AS v FROM generate_series(0, 19999) i;
CREATE TABLE m (time timestamptz NOT NULL, host text, v float8) USING metricsdb;
INSERT INTO m SELECT * FROM h;
CALL metricsdb.compact('m');
SELECT host, p.* FROM (SELECT host, topk(2, v, to_char(time, 'DD HH24:MI:SS')) AS t FROM m GROUP BY host) x, unnest(t) p ORDER BY host, value DESC, label;
SELECT topk(500, v) = (SELECT array_agg(v) FROM (SELECT v FROM h ORDER BY v DESC LIMIT 500) x) AS top, bottomk(500, v) = (SELECT array_agg(v) FROM (SELECT v FROM h ORDER BY v LIMIT 500) x) AS bottom FROM m;
SELECT (SELECT topk(500, v, host)::text FROM h) = topk(500, v, host ORDER BY time DESC)::text AS in_any_order FROM h;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT topk(5, v), bottomk(5, v, host), lttb(time, v, 5) FROM h;
SELECT topk(5, v), bottomk(5, v, host), lttb(time, v, 5) FROM h;
SET max_parallel_workers_per_gather = 0;
SELECT topk(5, v), bottomk(5, v, host), lttb(time, v, 5) FROM h;
SELECT i, topk(2, i) OVER (ORDER BY i) FROM generate_series(1, 4) i;
SELECT topk(0, v) FROM h;
SELECT bottomk(100001, v) FROM h;
SELECT topk(i, i) FROM generate_series(1, 2) i;

-- lttb: all points if they are few, else the first, the last, and those that make the largest triangles
SELECT lttb(t, v, 5) FROM (VALUES ('2026-01-01 00:02'::timestamptz, 2), ('2026-01-01 00:01', 1), (NULL, 3), ('2026-01-01 00:03', NULL), ('2026-01-01 00:04', 'NaN'::float8)) x(t, v);
SELECT lttb(t, v, 5) IS NULL AS none FROM (VALUES (NULL::timestamptz, 3)) x(t, v);
CREATE TABLE peaks AS SELECT timestamptz '2026-01-01' + i * interval '1 min' AS time, CASE i WHEN 37 THEN 100 WHEN 71 THEN -50 ELSE sin(i / 10.0) END::float8 AS v FROM generate_series(0, 99) i;
SELECT time, round(value::numeric, 6) AS value FROM unnest((SELECT lttb(time, v, 10) FROM peaks));
SELECT lttb(time, v, 10) = (SELECT lttb(time, v, 10 ORDER BY v) FROM peaks) AS in_any_order, cardinality(lttb(time, v, 3)), cardinality(lttb(time, v, 99)), cardinality(lttb(time, v, 100)), cardinality(lttb(time, v, 1000)) FROM peaks;
-- The same by the book, in SQL
CREATE FUNCTION by_the_book(resolution int) RETURNS time_value[] LANGUAGE plpgsql AS $$
DECLARE
	ts float8[] := (SELECT array_agg(extract(epoch FROM time - '2026-01-01')::float8 ORDER BY time) FROM peaks);
	vs float8[] := (SELECT array_agg(peaks.v ORDER BY time) FROM peaks);
	n int := cardinality(ts);
	every float8 := (n - 2)::float8 / (resolution - 2);
	a int := 0;
	result time_value[] := ARRAY[(timestamptz '2026-01-01', vs[1])::time_value];
BEGIN
	FOR i IN 0 .. resolution - 3 LOOP
		a := (WITH behind AS (SELECT avg(ts[k + 1]) AS t, avg(vs[k + 1]) AS v FROM generate_series(floor((i + 1) * every)::int + 1, least(floor((i + 2) * every)::int + 1, n) - 1) k)
			SELECT j FROM behind b, generate_series(floor(i * every)::int + 1, floor((i + 1) * every)::int) j
			ORDER BY abs((ts[a + 1] - b.t) * (vs[j + 1] - vs[a + 1]) - (ts[a + 1] - ts[j + 1]) * (b.v - vs[a + 1])) DESC, j LIMIT 1);
		result := result || (timestamptz '2026-01-01' + ts[a + 1] * interval '1 s', vs[a + 1])::time_value;
	END LOOP;
	RETURN result || (timestamptz '2026-01-01' + ts[n] * interval '1 s', vs[n])::time_value;
END $$;
SELECT resolution, lttb(time, v, resolution) = by_the_book(resolution) AS equal FROM peaks, unnest(ARRAY[3, 4, 7, 10, 50, 98, 99]) resolution GROUP BY resolution ORDER BY resolution;
SELECT lttb(time, v, 2) FROM peaks;
SELECT lttb(time, v, 3 + (v > 50)::int) FROM peaks;
SELECT time_bucket('30 min', time) AS bucket, cardinality(lttb(time, v, 5)) FROM peaks GROUP BY 1 ORDER BY 1;
SET client_min_messages = warning;
DROP SCHEMA picks CASCADE;
