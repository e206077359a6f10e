-- histogram, by rows and from columns; approximate_row_count.
\set ECHO queries
CREATE SCHEMA hist;
SET search_path = hist, public, metricsdb;
SET timezone = 'UTC';
SET max_parallel_workers_per_gather = 0;

SELECT histogram(i, 10, 90, 5), histogram(i, 10, 90, 1), histogram(i, 0.5, 100.5, 4), histogram(-i, -50, 0, 5), histogram(i, 1000, 2000, 3) FROM generate_series(1, 100) i;
SELECT histogram(v, 0, 10, 2), count(*) FROM unnest('{0,5,10,-0,-1e-300,9.999999999999999,Infinity,-Infinity,1e308,-1e308,NULL}'::float8[]) v;
SELECT histogram(v, -1.7e308, 1.7e308, 4) FROM unnest('{-1.7e308,-1e308,0,1e308,1.69e308,1.7e308}'::float8[]) v;
-- NULLs do not count; of none it is NULL
SELECT histogram(NULL, 0, 10, 2), histogram(1, NULL, 10, 2), histogram(1, 0, NULL, 2), histogram(1, 0, 10, NULL), histogram(i, 0, 10, 2) FILTER (WHERE i < 0) FROM generate_series(1, 3) i;
SELECT histogram(i, 0, 10, 2) FROM generate_series(1, 0) i;
SELECT i % 3 AS g, histogram(CASE WHEN i % 5 > 0 THEN i END, 0, 30, 3) FROM generate_series(1, 30) i GROUP BY 1 ORDER BY 1;
-- As width_bucket counts
SELECT count(*) AS unequal FROM (SELECT histogram(v, lo, hi, n) AS h, min(width_bucket(v, lo, hi, n)) AS place FROM generate_series(1, 2000) i,
	LATERAL (SELECT sin(i) * 1e3 / (i % 7 + 1) AS v, (i % 13) * 0.1 - 300 AS lo, (i % 17) * 0.37 + 100 AS hi, i % 50 + 1 AS n) x GROUP BY i) y WHERE h[place + 1] IS DISTINCT FROM 1;
-- What is refused
SELECT histogram(i, 90, 10, 5) FROM generate_series(1, 3) i;
SELECT histogram(i, 10, 10, 5) FROM generate_series(1, 3) i;
SELECT histogram(i, 10, 90, 0) FROM generate_series(1, 3) i;
SELECT histogram(i, 10, 90, -1) FROM generate_series(1, 3) i;
SELECT histogram(i, 10, 90, 2147483647) FROM generate_series(1, 3) i;
SELECT histogram(i, 10, 'Infinity', 5) FROM generate_series(1, 3) i;
SELECT histogram(i, 'NaN', 90, 5) FROM generate_series(1, 3) i;
SELECT histogram('NaN', 10, 90, 5) FROM generate_series(1, 3) i;
SELECT histogram(i, 10, 90, i) FROM generate_series(1, 3) i;

-- From columns, in workers and not: as by rows
CREATE TABLE m (time timestamptz NOT NULL, host text, v float8, n int, bound float8) USING metricsdb;
INSERT INTO m SELECT timestamptz '2026-01-01' + i * interval '10 s', 'host_' || i % 4, CASE WHEN i % 11 > 0 THEN (i * 7919) % 1000 / 7.0 END, i % 100, 5 FROM generate_series(0, 29999) i;
CALL metricsdb.compact('m');
INSERT INTO m SELECT timestamptz '2026-01-05' + i * interval '10 s', 'late', i, i, 5 FROM generate_series(0, 9) i;
ANALYZE m;
CREATE TABLE h (LIKE m) USING heap;
INSERT INTO h SELECT * FROM m;
ANALYZE h;
EXPLAIN (COSTS OFF) SELECT host, time_bucket('1 day', time) AS day, histogram(v, 0, 140, 7) FROM m GROUP BY 1, 2;
SELECT host, histogram(v, 0, 140, 7), histogram(v, 20, 100, 3) FILTER (WHERE n > 50), histogram(v, 0, 140, 7) FILTER (WHERE n > 98), histogram(v + n, 0, 200, 4), histogram(v, 0, NULL, 7), avg(v) FROM m GROUP BY 1 ORDER BY 1;
CREATE FUNCTION unequal(aggregate text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
	q text := format('SELECT host, time_bucket(''7 hours'', time) AS b, %s FROM ', aggregate);
BEGIN
	EXECUTE format('SELECT count(*) FROM ((SELECT * FROM (%1$s m GROUP BY 1, 2) a EXCEPT SELECT * FROM (%1$s h GROUP BY 1, 2) b)
		UNION ALL (SELECT * FROM (%1$s h GROUP BY 1, 2) a EXCEPT SELECT * FROM (%1$s m GROUP BY 1, 2) b)) x', q) INTO n;
	RETURN n;
END $$;
SELECT a, unequal(a) FROM unnest('{"histogram(v, 0, 140, 7)","histogram(n, 0, 100, 9), count(*)","histogram(v, 10.5, 99.25, 1000) FILTER (WHERE n < 20)","histogram(v * 2, -5, 5, 2), histogram(v, 0, 140, 7)","histogram(v, bound, 50, 3)"}'::text[]) a;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SET parallel_leader_participation = off;
SELECT a, unequal(a) FROM unnest('{"histogram(v, 0, 140, 7)","histogram(n, 0, 100, 9), count(*)","histogram(v, bound, 50, 3)"}'::text[]) a;
SET metricsdb.enable_vector_agg = off;
SELECT a, unequal(a) FROM unnest('{"histogram(v, 0, 140, 7)","histogram(n, 0, 100, 9), count(*)"}'::text[]) a;
SELECT histogram(v, 0, 140, 7) FROM m;
RESET metricsdb.enable_vector_agg;
SELECT histogram(v, 0, 140, 7) FROM m;
SET max_parallel_workers_per_gather = 0;
SELECT histogram(v, 140, 0, 7) FROM m;
SELECT histogram(v, 0, 140, n) FROM m;
INSERT INTO m VALUES ('2026-01-06', 'nan', 'NaN', 1, 1);
SELECT histogram(v, 0, 140, 7) FROM m;
SELECT histogram(v, 0, 140, 7) FROM m WHERE host <> 'nan';

-- About how many rows
CREATE TABLE p (LIKE m) PARTITION BY RANGE (time);
CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2026-01-03') USING metricsdb;
CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM ('2026-01-03') TO ('2026-02-01') USING heap;
INSERT INTO p SELECT * FROM m;
ANALYZE p;
CREATE TABLE parent (a int) USING heap;
CREATE TABLE child (b int) INHERITS (parent) USING heap;
INSERT INTO parent SELECT generate_series(1, 1000);
INSERT INTO child SELECT generate_series(1, 5000);
ANALYZE parent;
ANALYZE child;
CREATE TABLE none (a int) USING heap;
CREATE TABLE none_of_ours (time timestamptz, v int) USING metricsdb;
CREATE MATERIALIZED VIEW mat USING metricsdb AS SELECT * FROM m WHERE host = 'late';
SELECT approximate_row_count('m') AS m, approximate_row_count('h') AS h, approximate_row_count('p') AS p, approximate_row_count('p_1') AS p_1, approximate_row_count('parent') AS parent, approximate_row_count('child') AS child,
	approximate_row_count('none') AS none, approximate_row_count('none_of_ours') AS ours, approximate_row_count('mat') AS mat, approximate_row_count(NULL) AS nothing;
INSERT INTO parent SELECT generate_series(1, 1000);
SELECT approximate_row_count('parent') BETWEEN 6500 AND 7500 AS grown;
CREATE VIEW v AS SELECT 1;
SELECT approximate_row_count('v');
SELECT approximate_row_count('m_nowhere');
SELECT approximate_row_count(0);
CREATE ROLE mdb_counter;
GRANT USAGE ON SCHEMA hist TO mdb_counter;
SET ROLE mdb_counter;
SELECT approximate_row_count('m');
RESET ROLE;
GRANT SELECT ON p, m TO mdb_counter;
ALTER TABLE m ENABLE ROW LEVEL SECURITY;
SET ROLE mdb_counter;
SELECT approximate_row_count('m') IS NULL AS hidden, approximate_row_count('p') AS p;
RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA hist CASCADE;
DROP ROLE mdb_counter;
