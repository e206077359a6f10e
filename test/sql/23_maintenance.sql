-- VACUUM, ANALYZE and what the planner then believes.
SET metricsdb.direct_rows = 10;
CREATE TABLE m (time timestamptz, host text, v int, f float8, n text) USING metricsdb;
CREATE TABLE h (LIKE m) USING heap;
INSERT INTO h SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h' || i % 40, i % 1000, i / 7.0, CASE WHEN i % 4 > 0 THEN 'n' || i % 10 END FROM generate_series(1, 20000) i;
INSERT INTO m SELECT * FROM h;
INSERT INTO m SELECT * FROM h WHERE v < 1 LIMIT 5;
INSERT INTO h SELECT * FROM h WHERE v < 1 LIMIT 5;
SELECT compare('m', 'h');
VACUUM m;
VACUUM (FREEZE, ANALYZE) m;
VACUUM (VERBOSE off, TRUNCATE off, INDEX_CLEANUP on, SKIP_LOCKED, DISABLE_PAGE_SKIPPING) m;
SELECT compare('m', 'h');
SELECT reltuples, relallvisible FROM pg_class WHERE relname = 'm';

-- ANALYZE sees all rows here, so it must find exactly what it finds of a heap
SET default_statistics_target = 100;
ANALYZE m;
ANALYZE h;
SELECT reltuples FROM pg_class WHERE relname = 'm';
SELECT attname, m.null_frac = h.null_frac AS nulls, abs(m.n_distinct - h.n_distinct) < 0.001 AS distinct, m.avg_width = h.avg_width AS width,
	(SELECT array_agg(x ORDER BY x) FROM unnest(m.most_common_vals::text::text[]) x) IS NOT DISTINCT FROM (SELECT array_agg(x ORDER BY x) FROM unnest(h.most_common_vals::text::text[]) x) AS common,
	m.histogram_bounds::text IS NOT DISTINCT FROM h.histogram_bounds::text AS histogram
FROM pg_stats m JOIN pg_stats h USING (attname) WHERE m.tablename = 'm' AND h.tablename = 'h' ORDER BY attname;
-- A sample of a large table
SET metricsdb.direct_rows = 1000;
CREATE TABLE big (time timestamptz, host text, v int) USING metricsdb;
INSERT INTO big SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h' || i % 100, i % 500 FROM generate_series(1, 200000) i;
SET default_statistics_target = 20;
ANALYZE big;
RESET default_statistics_target;
SELECT attname, null_frac, CASE WHEN attname = 'time' THEN n_distinct < -0.9 ELSE n_distinct BETWEEN 80 AND 520 END AS plausible FROM pg_stats WHERE tablename = 'big' ORDER BY attname;
SELECT reltuples BETWEEN 199000 AND 201000 AS about_200000 FROM pg_class WHERE relname = 'big';
-- The planner knows the number of rows before anybody analyzed
CREATE TABLE fresh (time timestamptz, host text, v int) USING metricsdb;
INSERT INTO fresh SELECT * FROM big;
CREATE FUNCTION estimate(query text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
	RETURN plan -> 0 -> 'Plan' ->> 'Plan Rows';
END $$;
SELECT estimate('SELECT * FROM fresh') BETWEEN 100000 AND 400000 AS fresh, estimate('SELECT * FROM big') BETWEEN 190000 AND 210000 AS big, estimate('SELECT * FROM big WHERE v = 7') BETWEEN 100 AND 1200 AS one_value;
CREATE TABLE empty (time timestamptz, host text, v int) USING metricsdb;
ANALYZE empty;
VACUUM empty;
SELECT count(*) FROM empty;
-- Expression and extended statistics, inherited statistics
CREATE STATISTICS m_stats (ndistinct, mcv) ON host, v FROM m;
ANALYZE m;
SELECT jsonb_object_keys(s.n_distinct::text::jsonb) IS NOT NULL AS ndistinct FROM pg_stats_ext s WHERE statistics_name = 'm_stats';

-- VACUUM FULL and CLUSTER rewrite
VACUUM FULL m;
SELECT compare('m', 'h');
VACUUM FULL ANALYZE m;
SELECT compare('m', 'h'), (SELECT delta_rows FROM metricsdb.relation_stats('m'));
SELECT relfrozenxid::text::bigint >= 0 AS frozen FROM pg_class WHERE relname = 'm';
VACUUM FULL empty;
-- ... also with values that a domain or a missing attribute gives
ALTER TABLE m ADD COLUMN late int DEFAULT 6;
ALTER TABLE h ADD COLUMN late int DEFAULT 6;
ALTER TABLE m DROP COLUMN f;
ALTER TABLE h DROP COLUMN f;
VACUUM FULL m;
SELECT compare('m', 'h');

-- Free space comes back: what was merged is removed, and the file shrinks
CREATE TABLE s (time timestamptz, host text, v float8) USING metricsdb;
DO $$
BEGIN
	FOR i IN 1 .. 40 LOOP
		INSERT INTO s SELECT '2024-01-01Z'::timestamptz + k * '1 s'::interval, 'h' || k % 10, random() FROM generate_series(1, 2000) k;
		COMMIT;
	END LOOP;
END $$;
CREATE TABLE s2 USING heap AS SELECT * FROM s;
CALL metricsdb.compact('s');
SELECT count(*) AS parts, sum(rows) AS rows FROM metricsdb.parts WHERE "table" = 's'::regclass;
VACUUM s;
SELECT compare('s', 's2');
-- Sizes and monitoring functions work
SELECT pg_table_size('s') > 0 AS size, pg_total_relation_size('s') > 0 AS total, pg_relation_size('s', 'fsm') AS fsm, metricsdb.relation_size('s') >= pg_table_size('s') AS more;
SELECT pg_relation_filenode('s') IS NOT NULL AS node, pg_relation_is_publishable('s') AS publishable;
SELECT relname, relkind, relhasindex, amname FROM pg_class JOIN pg_am a ON a.oid = relam WHERE relname = 's';
-- CHECKPOINT, and the pages are good
CHECKPOINT;
SELECT count(*), count(DISTINCT host) FROM s;
DROP TABLE m, h, big, fresh, empty, s, s2;
DROP FUNCTION estimate;
