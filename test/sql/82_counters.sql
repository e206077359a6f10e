-- Aggregates of samples, as Prometheus has them: alike on heap and on metricsdb, whatever the order of rows.
CREATE SCHEMA samples;
SET search_path = samples, public, metricsdb;
SET timezone = 'UTC';
SET extra_float_digits = 0;
SELECT count_over_time(v), sum_over_time(v), avg_over_time(v), min_over_time(v), max_over_time(v), stdvar_over_time(v),
	stddev_over_time(v), present_over_time(v), quantile_over_time(0.5, v), mad_over_time(v)
	FROM unnest('{1, 2, NULL, 4, 9}'::float8[]) v;
SELECT count_over_time(v), sum_over_time(v), avg_over_time(v), min_over_time(v), max_over_time(v), quantile_over_time(0, v), quantile_over_time(1, v)
	FROM unnest('{NaN, 3, Infinity, 1}'::float8[]) v;
SELECT q, quantile_over_time(q, v) FROM unnest('{3, 1, 2, 10}'::float8[]) v, unnest('{-1, 0, 0.25, 0.5, 0.9, 1, 2, NaN, NULL}'::float8[]) WITH ORDINALITY q(q, n) GROUP BY q, n ORDER BY n;
SELECT quantile_over_time(v, v) FROM unnest('{0.1, 0.2}'::float8[]) v;
-- Of nothing.
SELECT count_over_time(v), sum_over_time(v), present_over_time(v), quantile_over_time(0.5, v), rate('2026-01-01', v), changes('2026-01-01', v), counter_agg('2026-01-01', v)
	FROM unnest('{NULL}'::float8[]) v;

CREATE TABLE one (time timestamptz, v float8);
INSERT INTO one VALUES ('2026-01-01 00:00:10', 10), ('2026-01-01 00:00:20', 30), ('2026-01-01 00:00:30', 5), ('2026-01-01 00:01:10', 25);
SELECT rate(time, v), increase(time, v), delta(time, v), irate(time, v), idelta(time, v), resets(time, v), changes(time, v), deriv(time, v), last_over_time(time, v) FROM one;
SELECT predict_linear(time, v, 60), predict_linear(time, v, 60, '2026-01-01 00:01:10'), predict_linear(time, v, 0, '2026-01-01') FROM one;
-- Over time buckets and ranges: that is, extrapolated.
SELECT rate(time, v, '2 min'), increase(time, v, '2 min'), delta(time, v, '2 min') FROM one;
SELECT rate(time, v, '2026-01-01', '2026-01-01 00:02'), increase(time, v, '2026-01-01', '2026-01-01 00:02'), delta(time, v, '2026-01-01', '2026-01-01 00:02') FROM one;
SELECT time_bucket('30 s', time) AS bucket, increase(time, v, '30 s'), count(*) FROM one GROUP BY bucket ORDER BY bucket;
SELECT increase(time, v, '1 month') FROM one;
-- What lies outside of a range does not count; its ends do.
SELECT increase(time, v, '2026-01-01 00:00:20', '2026-01-01 00:00:30'), increase(time, v, '2026-01-01 00:00:21', '2026-01-01 00:00:30') FROM one;
SELECT rate(time, v, NULL::interval), rate(time, v, NULL, '2026-01-02'), predict_linear(time, v, NULL) FROM one;
-- A sample alone is not enough for most.
SELECT rate(time, v), increase(time, v), delta(time, v), irate(time, v), deriv(time, v), predict_linear(time, v, 1), resets(time, v), changes(time, v), last_over_time(time, v) FROM one WHERE v = 10;
-- Several samples at one time: the highest, and NaN only alone.  Marks of a series' end, NULL and infinite times: none.
SELECT changes(time, v), last_over_time(time, v), increase(time, v), num_elements(counter_agg(time, v)) FROM
	(VALUES ('2026-01-01 00:00'::timestamptz, 1::float8), ('2026-01-01 00:01', 4), ('2026-01-01 00:01', 3), ('2026-01-01 00:01', 'NaN'), ('2026-01-01 00:02', 'NaN'),
		('2026-01-01 00:03', NULL), (NULL, 7), ('infinity', 8), ('-infinity', 9)) s(time, v);
SELECT last_over_time(time, v), delta(time, v) FROM (SELECT * FROM one UNION ALL SELECT '2026-01-01 01:00', 'NaN') s;
-- Integers and reals, too.
SELECT increase(time, v::int), increase(time, v::real), increase(time, v::bigint), increase(time, v::numeric) FROM one;
-- Nonsense.
SELECT rate(time, v, '-1 min') FROM one;
SELECT rate(time, v, '0 s') FROM one;
SELECT rate(time, v, '30 s') FROM one;
SELECT rate(time, v, '2026-01-02', '2026-01-01') FROM one;
SELECT rate(time, v, '-infinity', '2026-01-01') FROM one;
SELECT rate(time, v, v * interval '1 s') FROM one;
SELECT predict_linear(time, v, 1, 'infinity') FROM one;

-- Rows out of order, parts that overlap, rows of the delta, deleted ones: as on heap, in every way.
CREATE FUNCTION vary(n int) RETURNS TABLE ("time" timestamptz, host text, v float8) LANGUAGE sql AS $$
	SELECT '2026-01-01Z'::timestamptz + (i * 7919 % 3600) * interval '1 s', 'h' || i % 4,
		CASE WHEN i % 50 = 7 THEN NULL WHEN i % 211 = 0 THEN 'NaN'::float8 ELSE (i * 7919 % 3600) % 97 + i % 3 END
	FROM generate_series(1, n) i $$;
CREATE TABLE h (time timestamptz, host text, v float8) USING heap;
CREATE TABLE m (time timestamptz, host text, v float8) USING metricsdb;
SET metricsdb.direct_rows = 100;
DO $$
BEGIN
	FOR part IN 0 .. 4 LOOP
		INSERT INTO m SELECT * FROM vary(5000) OFFSET part * 1000 LIMIT 1000;
	END LOOP;
END $$;
INSERT INTO m SELECT * FROM vary(5040) OFFSET 5000;
INSERT INTO h SELECT * FROM vary(5040);
DELETE FROM m WHERE v = 13;
DELETE FROM h WHERE v = 13;
ANALYZE m, h;
CREATE FUNCTION ask(rel text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format($q$SELECT row(host, time_bucket('5 min', time), rate(time, v)::real, increase(time, v, '5 min')::real, delta(time, v)::real, irate(time, v)::real,
		resets(time, v), changes(time, v) FILTER (WHERE v > 5), deriv(time, v)::real, predict_linear(time, v, 60)::real, slope(counter_agg(time, v))::real, last_over_time(time, v),
		increase(time, v * 2 + 1, '2026-01-01 00:01Z', '2026-01-01 00:30Z')::real, quantile_over_time(0.9, v), count(*))::text
		FROM %s GROUP BY host, time_bucket('5 min', time) ORDER BY 1$q$, rel);
END $$;
CREATE TABLE expected AS SELECT * FROM ask('h') a;
SELECT count(*) FROM expected;
EXPLAIN (COSTS OFF) SELECT host, time_bucket('5 min', time), rate(time, v) FROM m GROUP BY 1, 2;
SELECT count(*) AS differ FROM (SELECT * FROM ask('m') EXCEPT SELECT * FROM expected) d;
SET metricsdb.enable_vector_agg = off;
SELECT count(*) AS differ FROM (SELECT * FROM ask('m') EXCEPT SELECT * FROM expected) d;
RESET metricsdb.enable_vector_agg;
-- Torn groups took a pass of their own.
CREATE FUNCTION passes(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, FORMAT json) ' || query INTO plan;
	RETURN (plan -> 0 -> 'Plan' ->> 'Custom Plan Provider') || ': ' || coalesce(plan -> 0 -> 'Plan' ->> 'Passes', '1');
END $$;
SELECT passes('SELECT host, time_bucket(''5 min'', time), rate(time, v) FROM m GROUP BY 1, 2');
SELECT passes('SELECT host, time_bucket(''5 min'', time), avg(v) FROM m GROUP BY 1, 2');
-- Of little memory: torn groups in several passes.
SET work_mem = '64kB';
SET hash_mem_multiplier = 1;
SELECT split_part(passes('SELECT host, rate(time, v) FROM m GROUP BY 1'), ': ', 2)::int > 2 AS several;
SELECT count(*) AS differ FROM (SELECT host, rate(time, v)::real, changes(time, v), slope(gauge_agg(time, v))::real FROM m GROUP BY 1
	EXCEPT SELECT host, rate(time, v)::real, changes(time, v), slope(gauge_agg(time, v))::real FROM h GROUP BY 1) d;
SELECT count(*) AS differ FROM (SELECT host, quantile_over_time(0.3, v), mad_over_time(v) FROM m GROUP BY 1 EXCEPT SELECT host, quantile_over_time(0.3, v), mad_over_time(v) FROM h GROUP BY 1) d;
RESET work_mem;
RESET hash_mem_multiplier;
-- Compacted.
CALL metricsdb.compact('m');
SELECT passes('SELECT host, time_bucket(''5 min'', time), rate(time, v) FROM m GROUP BY 1, 2');
SELECT count(*) AS differ FROM (SELECT * FROM ask('m') EXCEPT SELECT * FROM expected) d;
-- Series that share a group.
SELECT (SELECT increase(time, v) FROM m) = (SELECT increase(time, v) FROM h) AS same, (SELECT changes(time, v) FROM m) = (SELECT changes(time, v) FROM h) AS same;
-- Of those before each row; a median by PostgreSQL's own.
SELECT time, increase(time, v) OVER (ORDER BY time), changes(time, v) OVER (ORDER BY time DESC), quantile_over_time(0.5, v) OVER (ORDER BY time ROWS 1 PRECEDING) FROM one ORDER BY time;
SELECT mad_over_time(v) = (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY abs(v - m)) FROM h, (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v) AS m FROM h WHERE v <> 'NaN') m WHERE v <> 'NaN') AS same
	FROM h WHERE v <> 'NaN';
-- In order, by windows.
SELECT count(*) AS differ FROM ((SELECT time_bucket('5 min', time) AS b, changes(time, v) FROM m WHERE time < '2027-01-01' GROUP BY b ORDER BY b LIMIT 5) EXCEPT
	(SELECT time_bucket('5 min', time) AS b, changes(time, v) FROM h GROUP BY b ORDER BY b LIMIT 5)) d;
-- In workers, whose shares interleave.
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET metricsdb.enable_custom_scan = off;
EXPLAIN (COSTS OFF) SELECT increase(time, v), counter_agg(time, v) FROM h;
SELECT count(*) AS differ FROM (SELECT * FROM ask('h') EXCEPT SELECT * FROM expected) d;
SELECT count(*) AS differ FROM (SELECT * FROM ask('m') EXCEPT SELECT * FROM expected) d;
RESET metricsdb.enable_custom_scan;
-- Prepared, with the arguments of each execution; for each row of another table.
SET plan_cache_mode = force_generic_plan;
PREPARE over(interval, float8) AS SELECT sum(increase)::numeric(12, 3), sum(q)::numeric(12, 3) FROM (SELECT increase(time, v, $1), quantile_over_time($2, v) AS q FROM m GROUP BY host, time_bucket($1, time)) s;
EXECUTE over('5 min', 0.5);
EXECUTE over('10 min', 0.9);
EXECUTE over('-10 min', 0.9);
SELECT w, (SELECT sum(i)::numeric(12, 3) FROM (SELECT increase(time, v, w.w, w.w + interval '10 min') AS i FROM m GROUP BY host) s) FROM generate_series('2026-01-01 00:00Z'::timestamptz, '2026-01-01 00:50Z', interval '20 min') w(w);
SET client_min_messages = warning;
DROP SCHEMA samples CASCADE;
