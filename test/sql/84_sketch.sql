-- Sketches of quantiles: the type, its aggregates, what is asked of them.
\set ECHO queries
CREATE SCHEMA sketch;
SET search_path = sketch, public, metricsdb;
SET extra_float_digits = 0;

-- The type
SELECT sketch_agg(v) FROM (VALUES (1), (2), (3), (100), (NULL)) x(v);
SELECT sketch_agg(v) FROM (VALUES ('NaN'::float8), ('-inf'), ('inf'), ('inf'), (0), ('-0'), (-3), (1e300)) x(v);
SELECT sketch_agg(v, 8) FROM generate_series(-10, 10) v;
SELECT sketch_agg(v, 0.1) FROM generate_series(1, 5) v;
SELECT uddsketch(20, 0.001, v) FROM generate_series(1, 5) v;
SELECT sketch_agg(v) IS NULL AS none FROM generate_series(1, 0) v;
SELECT sketch_agg(NULL) IS NULL AS none;
SELECT s::text::quantile_sketch::text = s::text AS text, quantile_sketch_send(s) = quantile_sketch_send(s::text::quantile_sketch) AS bytes
FROM (SELECT sketch_agg(v * 0.37 - 50) AS s FROM generate_series(1, 1000) v UNION ALL SELECT sketch_agg('NaN')) x;
SELECT 'v1 scale 3'::quantile_sketch, '  v1   scale -10 buckets 8 '::quantile_sketch, 'v1 scale 0 zero 2 min 0 max 4 pos 1 1'::quantile_sketch;
SELECT 'v2 scale 3'::quantile_sketch;
SELECT ''::quantile_sketch;
SELECT 'v1 scale 21'::quantile_sketch;
SELECT 'v1 scale x'::quantile_sketch;
SELECT 'v1 scale 3 buckets 7'::quantile_sketch;
SELECT 'v1 scale 3 buckets 8 min 1 max 2 pos -1 1,0*9,1'::quantile_sketch;
SELECT 'v1 scale 3 zero 0'::quantile_sketch;
SELECT 'v1 scale 3 zero 1'::quantile_sketch;
SELECT 'v1 scale 0 min 1 max 4 pos 1 1'::quantile_sketch;
SELECT 'v1 scale 0 min 4 max 4 pos 1 0,1'::quantile_sketch;
SELECT 'v1 scale 0 min 4 max 4 pos 1 1,0'::quantile_sketch;
SELECT 'v1 scale 0 min 4 max 4 pos 1 9223372036854775807,1'::quantile_sketch;
SELECT 'v1 scale 0 min 4 max 4 pos 1 9223372036854775808'::quantile_sketch;
SELECT 'v1 scale 0 min x max 4 pos 1 1'::quantile_sketch;
SELECT 'v1 scale 0 min 4 max 4 pos 1 1 and more'::quantile_sketch;
SELECT 'v1 scale 0 min 4 max 4 pos 99999 1'::quantile_sketch;

-- The same values in any order, in any pieces, are the same sketch.
CREATE TABLE numbers AS SELECT i, (CASE i % 7 WHEN 0 THEN -1 ELSE 1 END) * exp(sin(i * 12.9898) * 5) AS v, i % 13 AS g FROM generate_series(1, 20000) i;
INSERT INTO numbers VALUES (0, 'NaN', 1), (0, 'inf', 2), (0, 0, 3), (0, NULL, 4);
CREATE TABLE told AS SELECT sketch_agg(v) AS s FROM numbers;
SELECT (SELECT s FROM told)::text = sketch_agg(v ORDER BY i DESC)::text AS backwards,
	(SELECT s FROM told)::text = sketch_agg(v ORDER BY v)::text AS sorted, (SELECT s FROM told)::text = percentile_agg(v)::text AS name FROM numbers;
SELECT (SELECT s FROM told)::text = rollup(s)::text AS rolled_up FROM (SELECT sketch_agg(v) AS s FROM numbers GROUP BY g) x;
SELECT (SELECT s FROM told)::text = rollup(s)::text AS twice FROM (SELECT rollup(s) AS s FROM (SELECT g, sketch_agg(v) AS s FROM numbers GROUP BY g, i % 100) x GROUP BY g % 3) y;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT sketch_agg(v) FROM numbers;
SELECT (SELECT s FROM told)::text = sketch_agg(v)::text AS parallel FROM numbers;
SELECT sum(((SELECT sketch_agg(v) FROM numbers n WHERE n.g = x.g AND n.i % 2 = 0)::text <> s::text)::int) AS differ FROM (SELECT g, sketch_agg(v) AS s FROM numbers WHERE i % 2 = 0 GROUP BY g) x;
RESET min_parallel_table_scan_size;
-- As a moving window
SELECT i, num_vals(s), approx_percentile(0.5, s) FROM (SELECT i, sketch_agg(i) OVER (ORDER BY i ROWS 2 PRECEDING) AS s FROM generate_series(1, 4) i) x ORDER BY i;
SELECT i, num_vals(s), max_val(s) FROM (SELECT i, sketch_agg(i) OVER (ORDER BY i) AS s FROM generate_series(1, 100) i) x WHERE i % 33 = 0 ORDER BY i;

-- Percentiles are within the error that is told, of percentile_disc().
WITH p AS (SELECT i / 200.0::float8 AS p FROM generate_series(0, 200) i), exact AS (
	SELECT array_agg(p ORDER BY p) AS ps, (SELECT percentile_disc((SELECT array_agg(p ORDER BY p) FROM p)) WITHIN GROUP (ORDER BY v) FROM numbers WHERE v <> 'NaN') AS values FROM p)
SELECT shape, max(abs(a - e) / abs(e)) FILTER (WHERE e <> 0 AND abs(e) <> 'inf') <= max(error(s)) + 1e-15 AS within, bool_and(a = e) FILTER (WHERE e = 0 OR abs(e) = 'inf') AS others, max(error(s))::numeric(8, 5) AS error
FROM (SELECT 'default' AS shape, sketch_agg(v) AS s FROM numbers UNION ALL SELECT '20 buckets', sketch_agg(v, 20) FROM numbers UNION ALL SELECT '1 %', sketch_agg(v, 0.01) FROM numbers
	UNION ALL SELECT '0.1 %', sketch_agg(v, 0.001) FROM numbers) x, exact, unnest(values, approx_percentile_array(ps, s)) u(e, a) GROUP BY shape ORDER BY shape;
SELECT approx_percentile(0.5, s) AS median, approx_percentile_array('{{0,0.25},{1,NULL}}', s), approx_percentile_array('{}', s), approx_percentile_rank(50, s), approx_percentile_rank(0, s), approx_percentile_rank(1000, s), approx_percentile_rank('NaN', s)
FROM (SELECT sketch_agg(v, 0.001) AS s FROM generate_series(1, 100) v) x;
SELECT num_vals(s), num_nan(s), mean(s), min_val(s), max_val(s), scale(s), error(s) FROM (SELECT sketch_agg(v) AS s FROM (VALUES (1), (2), (4), ('NaN'::float8)) x(v)) x;
SELECT abs(mean(s) - m) / m <= error(s) AS mean, num_vals(s) = n AS n FROM (SELECT sketch_agg(abs(v)) AS s, avg(abs(v)) AS m, count(*) AS n FROM numbers WHERE v < 'inf') x;
SELECT num_vals(s), num_nan(s), mean(s), min_val(s), approx_percentile(0.5, s), approx_percentile_array('{0.5}', s), approx_percentile_rank(1, s) FROM (SELECT sketch_agg('NaN') AS s) x;
SELECT mean(sketch_agg(v)) FROM (VALUES ('inf'::float8), (1)) x(v);
SELECT sketch_error(0), sketch_error(6), sketch_error(20);
SELECT * FROM sketch_buckets((SELECT sketch_agg(v, 8) FROM (VALUES (-10), (-9), (-1), (0), (1), (7), (8), (9), ('inf'::float8)) x(v)));
SELECT sum(count) FROM told, sketch_buckets(s);

-- One by one
CREATE TABLE daily (day int PRIMARY KEY, s quantile_sketch);
INSERT INTO daily VALUES (1, sketch_add(NULL, 5)) ON CONFLICT (day) DO UPDATE SET s = sketch_add(daily.s, 7);
INSERT INTO daily VALUES (1, sketch_add(NULL, 5)) ON CONFLICT (day) DO UPDATE SET s = sketch_add(daily.s, 7);
INSERT INTO daily SELECT 1, sketch_agg(i) FROM generate_series(1, 3) i ON CONFLICT (day) DO UPDATE SET s = sketch_merge(daily.s, excluded.s);
SELECT s, num_vals(s) FROM daily;
SELECT sketch_add(sketch_add(NULL, 3, 70000), 3, 5000000000), num_vals(sketch_add(NULL, 3, 9223372036854775807)), sketch_add(NULL, NULL) IS NULL, num_vals(sketch_add(sketch_add(NULL, 1), NULL)), sketch_add(NULL, 1, 0) IS NULL;
SELECT sketch_merge(NULL, sketch_add(NULL, 1)), sketch_merge(sketch_add(NULL, 1), NULL), sketch_merge(NULL, NULL) IS NULL;
SELECT sketch_merge(sketch_agg(v, 8), sketch_agg(v)) FROM generate_series(1, 100) v;

-- OpenTelemetry
SELECT * FROM sketch_to_otel((SELECT sketch_agg(v, 8) FROM (VALUES (-10), (-9), (-1), (0), (1), (7), (8), (9)) x(v)));
SELECT * FROM sketch_to_otel((SELECT sketch_agg(v) FROM (VALUES ('NaN'::float8), ('inf'), (3)) x(v)));
SELECT sketch_from_otel(3, 2, 5, '{1,2,3}'), sketch_from_otel(3, 0, 5, '{1,0,0}', -7, '{0,9}', -0.56, 1.6);
SELECT sketch_from_otel(3, 0, 5, '{1,2,3}', min => 1, max => 100) AS min_and_max_of_the_outer_buckets;
SELECT sketch_from_otel(20, 0, 1, (SELECT array_agg(1) FROM generate_series(1, 1000))) AS more_buckets_than_fit;
SELECT sketch_from_otel(5, 0, 0, '{}'), sketch_from_otel(20, 0, -1126170624 + 5, '{1}'), sketch_from_otel(NULL, 0, 0, '{1}') IS NULL;
SELECT count(*) FROM (SELECT sketch_agg(v) AS s FROM numbers WHERE abs(v) < 'inf' GROUP BY g) x, sketch_to_otel(s) o
WHERE sketch_from_otel(scale, zero_count, positive_offset, positive_counts, negative_offset, negative_counts, min, max)::text = s::text;

-- What makes no sense
SELECT approx_percentile(1.5, sketch_agg(1));
SELECT approx_percentile('NaN', sketch_agg(1));
SELECT approx_percentile_array('{0.5,-1}', sketch_agg(1));
SELECT sketch_agg(1, 7);
SELECT sketch_agg(1, 16385);
SELECT sketch_agg(1, 0.0);
SELECT sketch_agg(1, 1.0);
SELECT sketch_add(NULL, 1, -1);
SELECT sketch_add(sketch_add(NULL, 1, 9223372036854775807), 2);
SELECT rollup(s) FROM (VALUES (sketch_add(NULL, 1, 9223372036854775807)), (sketch_add(NULL, 1))) x(s);
SELECT sketch_error(21);
SELECT sketch_from_otel(21, 0, 0, '{1}');
SELECT sketch_from_otel(3, -1, 0, '{1}');
SELECT sketch_from_otel(3, 0, 0, '{1,-1}');
SELECT sketch_from_otel(3, 0, 0, '{1,NULL}');
SELECT sketch_from_otel(3, 0, 0, '{{1},{2}}');
SELECT sketch_from_otel(3, 0, 2147483647, '{1,1}');
SELECT sketch_from_otel(3, 0, 0, '{1}', min => 5, max => 4);
SELECT sketch_from_otel(3, 0, 0, '{1}', max_buckets => 3);

-- A sketch of thirty values is small; on metricsdb tables, too, it is a value like others.
CREATE TABLE m (time timestamptz NOT NULL, host text, s quantile_sketch) USING metricsdb;
INSERT INTO m SELECT '2026-01-01'::timestamptz + g * interval '5 min', 'h' || g % 3, sketch_agg(50 + 10 * sin(i * g)) FROM generate_series(0, 99) g, generate_series(1, 30) i GROUP BY g;
CALL metricsdb.compact('m');
SELECT max(pg_column_size(s)) < 100 AS small, sum(num_vals(s)), num_vals(rollup(s)) FROM m;
SELECT rollup(s)::text = (SELECT sketch_agg(50 + 10 * sin(i * g)) FROM generate_series(0, 99) g, generate_series(1, 30) i)::text AS same FROM m;

-- MetricsAgg: from vectors, from the delta, with conditions, in workers: the same sketches as of a heap table, to the byte.
SET max_parallel_workers_per_gather = 0;
SET metricsdb.direct_rows = 50;
CREATE TABLE h AS SELECT timestamptz '2026-01-01' + i * interval '10 s' AS time, 'h' || i % 3 AS host, CASE WHEN i % 11 = 0 THEN NULL WHEN i % 101 = 0 THEN 'NaN' WHEN i % 301 = 0 THEN 'inf' ELSE (i % 37 - 5) * sin(i) END::float8 AS a, i % 1000 AS n FROM generate_series(0, 29999) i;
CREATE TABLE v (time timestamptz NOT NULL, host text, a float8, n int) USING metricsdb;
INSERT INTO v SELECT * FROM h WHERE time < '2026-01-03 12:00';
CALL metricsdb.compact('v');
INSERT INTO v SELECT * FROM h WHERE time >= '2026-01-03 12:00' AND time < '2026-01-04';
CALL metricsdb.compact('v');
SET metricsdb.direct_rows = 100000;
INSERT INTO v SELECT * FROM h WHERE time >= '2026-01-04';
ANALYZE h;
ANALYZE v;
EXPLAIN (COSTS OFF) SELECT time_bucket('5 min', time), host, sketch_agg(a), percentile_agg(a), sketch_agg(a, 20), sketch_agg(a, 0.05), uddsketch(30, 0.05, a) FROM v GROUP BY 1, 2;
CREATE FUNCTION differ(width interval, hosts bool, condition text) RETURNS TABLE (groups bigint, differ bigint) LANGUAGE plpgsql AS $$
DECLARE
	q text := format('SELECT time_bucket(%L, time) AS b, %s AS g, sketch_agg(a)::text AS s1, percentile_agg(a)::text AS s2, sketch_agg(a, 20)::text AS s3, sketch_agg(a, 0.05)::text AS s4, uddsketch(30, 0.05, a)::text AS s5,
		(sketch_agg(a) FILTER (WHERE n > 500))::text AS s6, sketch_agg(a, NULL::int)::text AS s7, approx_percentile(0.9, sketch_agg(a * 2)) AS p FROM %%s WHERE %s GROUP BY 1, 2', width, CASE WHEN hosts THEN 'host' ELSE '1' END, condition);
BEGIN
	RETURN QUERY EXECUTE format('SELECT count(*), count(*) FILTER (WHERE h IS NULL OR v IS NULL OR h::text <> v::text) FROM (%s) h FULL JOIN (%s) v USING (b, g)', format(q, 'h'), format(q, 'v'));
END $$;
SELECT width, hosts, condition, groups, differ FROM unnest(ARRAY['1 min', '5 min', '1 hour', '30 days']::interval[]) width, unnest(ARRAY[true, false]) hosts,
	unnest(ARRAY['true', 'a > 3 AND n <> 2', 'host <> ''h1'' AND n < 900']) condition, differ(width, hosts, condition) ORDER BY width, hosts, condition;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SELECT width, groups, differ FROM unnest(ARRAY['5 min', '1 day']::interval[]) width, differ(width, true, 'true') ORDER BY width;
SELECT sketch_agg(a)::text = (SELECT sketch_agg(a) FROM h)::text AS same FROM v;
RESET min_parallel_table_scan_size;
RESET max_parallel_workers_per_gather;
-- Limits are looked at where there is a value, as without MetricsAgg.
SELECT sketch_agg(a, 3) FROM v;
SELECT sketch_agg(a, 2.0) FROM v;
SELECT sketch_agg(a, 3) FROM v WHERE n > 5000;
SET client_min_messages = warning;
DROP SCHEMA sketch CASCADE;
