-- Aggregates over states: numeric, summaries, sketches, several arguments, first and last by another column than the time.
\set VERBOSITY terse
CREATE SCHEMA sa;
SET search_path = sa, public;
SET timezone = 'UTC';
SET metricsdb.direct_rows = 100;
SET max_parallel_workers_per_gather = 0;
CREATE TABLE h USING heap AS
	SELECT metricsdb.time_bucket('1 hour', t) AS bucket, host, count(v) AS n, sum(v) AS s, var_pop(v) AS var, sum(v::numeric / 7) FILTER (WHERE v > 3) AS total, metricsdb.first(v, t) AS first_value,
		CASE WHEN max(i) % 5 > 0 THEN min(t) END AS first_time, CASE WHEN max(i) % 3 > 0 THEN metricsdb.last(v::int2, t) END AS last_value, max(t) AS last_time, max(i) AS last_int, max(t)::date AS last_day, metricsdb.counter_agg(t, v) AS cs,
		metricsdb.sketch_agg(v) AS sk, metricsdb.histogram(v, 0, 10, 5) AS hi, metricsdb.hyperloglog(64, v) AS hl, max(tx) AS tx
	FROM (SELECT i, '2024-01-01Z'::timestamptz + i * interval '7 minutes' AS t, 'h' || h AS host, ((i * 37 + h) % 19)::float8 AS v, 'x' || i % 100 AS tx FROM generate_series(0, 6000) i, generate_series(1, 3) h) x GROUP BY 1, 2;
CREATE TABLE m (LIKE h) USING metricsdb;
SELECT metricsdb.set_options('m', 'bucket', '{host}');
INSERT INTO m SELECT * FROM h WHERE bucket < '2024-01-20';
INSERT INTO m SELECT * FROM h WHERE bucket >= '2024-01-20' AND bucket < '2024-01-29';
INSERT INTO m SELECT * FROM h WHERE bucket >= '2024-01-29';
DELETE FROM h WHERE n = 8 AND last_int % 7 = 0;
DELETE FROM m WHERE n = 8 AND last_int % 7 = 0;
ALTER TABLE h ADD later numeric DEFAULT 1.5;
ALTER TABLE m ADD later numeric DEFAULT 1.5;
ANALYZE m, h;
CREATE TABLE calls (expr text) USING heap;
INSERT INTO calls VALUES ('sum(n)::int8'), ('round(sum(s)::numeric, 6)'), ('round(metricsdb.combine_variance(n, s, var)::numeric, 6)'), ('sum(total)'), ('avg(total)'), ('min(total)'), ('max(total) FILTER (WHERE n > 8)'), ('sum(total) FILTER (WHERE n > 100)'),
	('metricsdb.first(first_value, first_time)'), ('metricsdb.last(last_value, last_time)'), ('metricsdb.last(first_value, last_int) FILTER (WHERE n > 8)'), ('metricsdb.first(n, last_int)'), ('metricsdb.last(first_value, first_time) FILTER (WHERE n > 100)'),
	('metricsdb.last(tx, last_time)'), ('metricsdb.first(total, first_time)'), ('metricsdb.rollup(cs)::text'), ('metricsdb.rollup(sk)::text'), ('metricsdb.sum_histograms(hi) FILTER (WHERE n > 3)'), ('metricsdb.rollup(hl)::text'), ('coalesce(sum(n), 0)::int8 * 2'),
	('sum(later)'), ('metricsdb.sketch_agg(s, 20)::text'), ('metricsdb.first(last_value, bucket)'), ('metricsdb.last(first_value, last_day) IS NULL'), ('avg(n)'), ('min(first_time)'), ('max(last_time)');
CREATE FUNCTION query(keys text, t text) RETURNS text LANGUAGE sql AS $$ SELECT format('SELECT %s %s FROM %s %s', keys, string_agg(expr || ' AS c' || i, ', ' ORDER BY i), t, CASE WHEN keys <> '' THEN 'GROUP BY ' || rtrim(keys, ', ') END) FROM (SELECT row_number() OVER (ORDER BY expr) AS i, expr FROM calls) x WHERE keys <> '' OR expr !~ 'rollup\(cs' $$;
CREATE FUNCTION answer(q text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE a text;
BEGIN
	EXECUTE 'SELECT count(*) || '' '' || md5(string_agg(x::text, ''|'' ORDER BY x::text)) FROM (' || q || ') x' INTO a;
	RETURN a;
END $$;
CREATE FUNCTION takes(q text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE line text; found text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || q LOOP
		IF line ~ 'Custom Scan|Seq Scan' THEN found := coalesce(found || ', ', '') || regexp_replace(line, '^[ >-]*', ''); END IF;
	END LOOP;
	RETURN found;
END $$;
-- Each by itself is one that MetricsAgg takes.
SELECT expr FROM calls WHERE takes('SELECT host, ' || expr || ' FROM m GROUP BY host') <> 'Custom Scan (MetricsAgg)';
SELECT k, takes(query(k, 'm')), answer(query(k, 'm')) = answer(query(k, 'h')) AS equal FROM unnest('{"","host, ","metricsdb.time_bucket(''1 day'', bucket), host, "}'::text[]) k;
SELECT k, answer(query(k, 'm') || ' HAVING sum(total) > 20') = answer(query(k, 'h') || ' HAVING sum(total) > 20') AS equal FROM unnest('{"host, "}'::text[]) k;
SELECT answer(query('host, ', 'm WHERE n > 100')) IS NOT DISTINCT FROM answer(query('host, ', 'h WHERE n > 100')) AS none, answer(query('', 'm WHERE n > 100')) = answer(query('', 'h WHERE n > 100')) AS no_rows;
-- In workers.
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET cpu_operator_cost = 1;
SET max_parallel_workers_per_gather = 2;
SELECT k, takes(query(k, 'm')), answer(query(k, 'm')) = answer(query(k, 'h')) AS equal FROM unnest('{"","host, "}'::text[]) k;
RESET cpu_operator_cost;
SET max_parallel_workers_per_gather = 0;
-- With less memory than was planned with: there are passes.
SET plan_cache_mode = force_generic_plan;
\set ECHO none
SELECT 'PREPARE p AS ' || query('metricsdb.time_bucket(''1 day'', bucket), host, ', 'm') \gexec
\set ECHO all
EXPLAIN (COSTS OFF) EXECUTE p;
CREATE TABLE a USING heap AS EXECUTE p;
SET work_mem = '64kB';
SET hash_mem_multiplier = 1;
CREATE TABLE b USING heap AS EXECUTE p;
SELECT count(*), (SELECT count(*) FROM (SELECT x::text FROM a x EXCEPT SELECT x::text FROM b x) y) AS differ FROM b;
-- Errors, and what is left to core.
SELECT metricsdb.rollup(cs) FROM m;
SELECT takes('SELECT sum(DISTINCT total) FROM m'), takes('SELECT string_agg(tx, '','') FROM m'), takes('SELECT sum(total + 1) FROM m'), takes('SELECT sum(total) FILTER (WHERE host = ''h1'') FROM m');
SET client_min_messages = warning;
DROP SCHEMA sa CASCADE;
