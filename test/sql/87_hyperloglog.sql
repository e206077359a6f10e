-- How many different values: the type hyperloglog, its aggregates.
\set ECHO queries
CREATE SCHEMA hll;
SET search_path = hll, public, metricsdb;

SELECT hyperloglog(64, v), approx_count_distinct(v), distinct_count(hyperloglog(64, v)) FROM generate_series(1, 3) v;
SELECT distinct_count(hyperloglog(64, v)), distinct_count(approx_count_distinct(v)) FROM unnest(ARRAY['a', 'b', NULL, 'a']) v;
SELECT hyperloglog(64, v) IS NULL AS none, approx_count_distinct(v) IS NULL AS none, hyperloglog(NULL, 1) IS NULL AS none FROM (VALUES (NULL::int)) x(v);
SELECT stderror(hyperloglog(16, 1)), stderror(hyperloglog(17, 1)), stderror(approx_count_distinct(1))::numeric(8, 6);
-- Of all sorts of values; those that a type's = says are equal are one
SELECT distinct_count(approx_count_distinct(v)) AS numerics, distinct_count(approx_count_distinct(v::float8)) AS floats, distinct_count(approx_count_distinct(v > 1)) AS bools,
	distinct_count(approx_count_distinct(timestamptz '2026-01-01' + v * interval '1 day')) AS times, distinct_count(approx_count_distinct(ARRAY[v])) AS arrays, distinct_count(approx_count_distinct(jsonb_build_object('a', v))) AS jsons
FROM (VALUES (1.0), (1.00), (2), (3)) x(v);
SELECT approx_count_distinct(point(v, v)) FROM generate_series(1, 3) v;

CREATE TABLE numbers AS SELECT i, (i * 7919) % 50021 AS v, i % 13 AS g FROM generate_series(1, 100000) i;
SELECT size, abs(distinct_count(hyperloglog(size, v)) / 50021.0 - 1) < 4 * stderror(hyperloglog(size, v)) AS near FROM numbers, unnest(ARRAY[64, 1024, 32768]) size GROUP BY size ORDER BY size;
-- The same values in any order, in any pieces, are the same
CREATE TABLE told AS SELECT hyperloglog(256, v) AS big, hyperloglog(32768, v) FILTER (WHERE v < 500) AS small FROM numbers;
SELECT big::text = hyperloglog(256, v ORDER BY v)::text AS big, small::text = (hyperloglog(32768, v ORDER BY v) FILTER (WHERE v < 500))::text AS small FROM numbers, told GROUP BY big::text, small::text;
SELECT (SELECT big FROM told)::text = rollup(big)::text AS big, (SELECT small FROM told)::text = rollup(small)::text AS small
FROM (SELECT hyperloglog(256, v) AS big, hyperloglog(32768, v) FILTER (WHERE v < 500) AS small FROM numbers GROUP BY g) x;
SELECT pg_column_size(big) AS big, pg_column_size(small) AS small FROM told;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT hyperloglog(256, v), approx_count_distinct(v) FROM numbers;
SELECT hyperloglog(256, v)::text = (SELECT big FROM told)::text AS parallel FROM numbers;
RESET min_parallel_table_scan_size;

-- Text, bytes, and what is neither
SELECT big::text::hyperloglog::text = big::text AS big, hyperloglog_send(small::text::hyperloglog) = hyperloglog_send(small) AS small FROM told;
SELECT '\x010400'::hyperloglog, distinct_count('\x010400');
SELECT ''::hyperloglog;
SELECT '\x020400'::hyperloglog;
SELECT '\x011300'::hyperloglog;
SELECT '\x010402'::hyperloglog;
SELECT '\x01040040'::hyperloglog;
SELECT '\x0104004101'::hyperloglog;
SELECT '\x010401000000000000000000000000'::hyperloglog;
SELECT 'x'::hyperloglog;
SELECT hyperloglog(15, 1);
SELECT hyperloglog(262145, 1);
SELECT rollup(h ORDER BY n) FROM (SELECT 16, hyperloglog(16, 1) UNION ALL SELECT 32, hyperloglog(32, 1)) x(n, h);
SELECT i, distinct_count(approx_count_distinct(i) OVER (ORDER BY i)) FROM generate_series(1, 3) i;
SET client_min_messages = warning;
DROP SCHEMA hll CASCADE;
