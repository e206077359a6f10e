-- histogram_quantile: as Prometheus 2.42 tells quantiles of histograms.
\set ECHO queries
CREATE SCHEMA histogram;
SET search_path = histogram, public, metricsdb;
SET extra_float_digits = 0;

SELECT q, histogram_quantile(q, ARRAY[0.1, 0.5, 1, 'inf'], ARRAY[10, 20, 25, 30]::float8[])
FROM unnest(ARRAY['-inf', -0.1, 0, 0.1, 1/3.0, 0.5, 0.75, 0.8, 0.9, 1, 1.1, 'inf', 'NaN']::float8[]) q;
-- Bounds as text, in no order, twice
SELECT histogram_quantile(0.5, ARRAY['+Inf', '1', '0.1', '0.5'], ARRAY[30, 25, 10, 20]::float8[]) AS text, histogram_quantile(0.5, ARRAY['0.1', '1e+00', '0.1', '0.5', '+Inf', '+Inf'], ARRAY[4, 25, 6, 20, 10, 20]::float8[]) AS twice;
-- No bucket up to infinity, nothing but that, no values, no buckets
SELECT histogram_quantile(0.5, ARRAY[1, 2]::float8[], ARRAY[1, 2]::float8[]) AS no_inf, histogram_quantile(0.5, ARRAY['inf']::float8[], ARRAY[1]::float8[]) AS inf_alone,
	histogram_quantile(0.5, ARRAY[1, 'inf']::float8[], ARRAY[0, 0]::float8[]) AS no_values, histogram_quantile(0.5, '{}'::float8[], '{}') AS none;
-- One that has less than those below it
SELECT histogram_quantile(0.5, ARRAY[1, 2, 3, 'inf']::float8[], ARRAY[10, 8, 20, 20]::float8[]) AS repaired, histogram_quantile(0.9, ARRAY[1, 2, 3, 'inf']::float8[], ARRAY[10, 12, 20, 19]::float8[]) AS last;
-- The lowest bucket begins at zero, or is its bound
SELECT histogram_quantile(0.1, ARRAY[2, 3, 'inf']::float8[], ARRAY[10, 20, 30]::float8[]) AS from_zero, histogram_quantile(0.1, ARRAY[-2, 3, 'inf']::float8[], ARRAY[10, 20, 30]::float8[]) AS below_zero,
	histogram_quantile(0.5, ARRAY[-2, 3, 'inf']::float8[], ARRAY[10, 20, 30]::float8[]) AS across, histogram_quantile(0.9, ARRAY[-2, 3, 'inf']::float8[], ARRAY[10, 20, 30]::float8[]) AS beyond;
-- Rates are counts; NULLs do not count; NaN are no number
SELECT histogram_quantile(0.5, ARRAY[1, 2, 'inf']::float8[], ARRAY[0.1, 0.3, 0.4]) AS rates, histogram_quantile(0.5, ARRAY[1, NULL, 2, 'inf']::float8[], ARRAY[0.1, 7, 0.3, 0.4]) AS nulls,
	histogram_quantile(0.5, ARRAY[1, 2, 'inf']::float8[], ARRAY['NaN', 'NaN', 'NaN']::float8[]) AS nan, histogram_quantile(NULL, ARRAY[1]::float8[], ARRAY[1]::float8[]) IS NULL AS strict;
SELECT histogram_quantile(0.5, ARRAY[1, 2]::float8[], ARRAY[1]::float8[]);
SELECT histogram_quantile(0.5, ARRAY[1, 'NaN']::float8[], ARRAY[1, 2]::float8[]);
SELECT histogram_quantile(0.5, ARRAY['1', 'many'], ARRAY[1, 2]::float8[]);

-- As an aggregate, of buckets that are rows
CREATE TABLE buckets (host text, le text, bound float8, n float8);
INSERT INTO buckets SELECT 'h' || h, le, le::float8, n * h FROM generate_series(1, 3) h, unnest(ARRAY['0.1', '0.5', '1', '+Inf'], ARRAY[10, 20, 25, 30]) b(le, n);
SELECT host, histogram_quantile(0.5, le, n) AS text, histogram_quantile(0.5, bound, n) AS number FROM buckets GROUP BY host ORDER BY host;
SELECT histogram_quantile(0.75, le, n) AS of_all, histogram_quantile(0.75, ARRAY['0.1', '0.5', '1', '+Inf'], ARRAY[60, 120, 150, 180]::float8[]) AS is FROM buckets;
SELECT histogram_quantile(0.5, le, n) IS NULL AS none FROM buckets WHERE false;
SELECT histogram_quantile(0.5, NULL::text, n) IS NULL AS none FROM buckets;
SELECT histogram_quantile(n / 30, le, n) FROM buckets;
SELECT histogram_quantile(0.5, 'NaN'::float8, n) FROM buckets;
-- In any order, in workers, and of many rows
CREATE TABLE many AS SELECT i, (i % 50)::float8 AS le, 1.0::float8 AS n FROM generate_series(0, 19999) i UNION ALL SELECT i, 'inf', 1 FROM generate_series(0, 399) i;
UPDATE many SET n = n * (SELECT count(*) FROM generate_series(0, 50) k WHERE k <= least(le, 50));
SELECT q, histogram_quantile(q, le, n) = histogram_quantile(q, le, n ORDER BY i DESC) AS same, histogram_quantile(q, le, n) FROM many, unnest(ARRAY[0, 0.3, 0.99]::float8[]) q GROUP BY q ORDER BY q;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT histogram_quantile(0.3, le, n) FROM many;
SELECT histogram_quantile(0.3, le, n) FROM many;
RESET min_parallel_table_scan_size;
SELECT i, histogram_quantile(0.5, le, n) OVER (ORDER BY i) FROM (VALUES (1, 'inf'::float8, 10), (2, 1, 5), (3, 2, 8)) x(i, le, n);

-- Of exponential histograms
SELECT q, histogram_quantile(q, s) FROM (SELECT sketch_from_otel(0, 2, 0, '{1,2,3}', 0, '{2}') AS s) x, unnest(ARRAY[-1, 0, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 'NaN']::float8[]) q;
SELECT histogram_quantile(0.5, sketch_agg('NaN')) AS none, histogram_quantile(NULL, sketch_agg(1)) IS NULL AS strict;
SELECT abs(histogram_quantile(0.9, sketch_agg(v, 0.001)) - 900) < 2 AS about FROM generate_series(1, 1000) v;
SET client_min_messages = warning;
DROP SCHEMA histogram CASCADE;
