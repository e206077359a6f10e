\ir begin.sql
\set ECHO all
CREATE TABLE t (time timestamptz, host text, k int PRIMARY KEY, v int);
CREATE INDEX t_v ON t (v);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, i, i % 100 FROM generate_series(1, 1000) i;
CALL settle();
CREATE VIEW state AS SELECT count(*), sum(k) AS k, sum(v) AS v, md5(string_agg(t::text, ',' ORDER BY k)) FROM t;
CREATE FUNCTION by_index() RETURNS TABLE (k_rows bigint, v_rows bigint, v_sum bigint) LANGUAGE sql SET enable_seqscan = off SET enable_bitmapscan = off SET metricsdb.enable_custom_scan = off AS
	'SELECT (SELECT count(*) FROM t WHERE k > 0), count(*), sum(k) FROM t WHERE v >= 0';
TABLE state;
-- VACUUM between changes
DELETE FROM t WHERE k % 4 = 0;
VACUUM t;
TABLE state;
SELECT * FROM by_index();
UPDATE t SET v = v + 1 WHERE k % 3 = 0;
VACUUM t;
VACUUM t;
TABLE state;
SELECT * FROM by_index();
INSERT INTO t SELECT '2024-02-01Z', 'again', i, i % 100 FROM generate_series(4, 1000, 4) i;
VACUUM (INDEX_CLEANUP on, TRUNCATE on) t;
TABLE state;
SELECT * FROM by_index();
DELETE FROM t WHERE host = 'again';
VACUUM (INDEX_CLEANUP off) t;
INSERT INTO t SELECT '2024-02-01Z', 'once more', i, i % 100 FROM generate_series(4, 1000, 4) i;
VACUUM (FREEZE, ANALYZE) t;
TABLE state;
SELECT * FROM by_index();
SELECT reltuples FROM pg_class WHERE oid = 't'::regclass;
-- VACUUM FULL keeps what is alive
BEGIN; DELETE FROM t WHERE k > 900; UPDATE t SET v = v + 1 WHERE k < 100; ROLLBACK;
DELETE FROM t WHERE k BETWEEN 101 AND 200;
UPDATE t SET v = -v WHERE k BETWEEN 201 AND 300;
VACUUM FULL t;
TABLE state;
SELECT * FROM by_index();
UPDATE t SET v = -v WHERE v < 0;
DELETE FROM t WHERE k BETWEEN 301 AND 320;
CALL settle();
VACUUM FULL t;
VACUUM (FULL, ANALYZE) t;
TABLE state;
SELECT * FROM by_index();
-- CLUSTER
CLUSTER t USING t_v;
TABLE state;
SELECT * FROM by_index();
SELECT indexrelid::regclass FROM pg_index WHERE indrelid = 't'::regclass AND indisclustered;
DELETE FROM t WHERE v = 7;
CLUSTER t;
TABLE state;
ALTER TABLE t SET WITHOUT CLUSTER;
CLUSTER t;
ALTER TABLE t CLUSTER ON t_pkey;
CLUSTER t;
SELECT * FROM by_index();
-- Rewrites and other ALTERs after changes
UPDATE t SET v = v + 1 WHERE k % 2 = 0;
DROP VIEW state;
ALTER TABLE t ALTER v TYPE bigint USING v * 10;
CREATE VIEW state AS SELECT count(*), sum(k) AS k, sum(v) AS v, md5(string_agg(t::text, ',' ORDER BY k)) FROM t;
TABLE state;
DELETE FROM t WHERE k % 10 = 3;
ALTER TABLE t ADD COLUMN r int DEFAULT 8;
UPDATE t SET r = 9 WHERE k % 10 = 5;
ALTER TABLE t SET UNLOGGED;
TABLE state;
DELETE FROM t WHERE k % 10 = 5 AND k < 500;
ALTER TABLE t SET LOGGED;
UPDATE t SET v = 0 WHERE k % 10 = 6;
CREATE TABLE kinds AS SELECT amname FROM pg_class c JOIN pg_am a ON a.oid = relam WHERE c.oid = 't'::regclass;
ALTER TABLE t SET ACCESS METHOD heap;
TABLE state;
SELECT * FROM by_index();
UPDATE t SET v = v + 1 WHERE k % 10 = 6;
SELECT 'ALTER TABLE t SET ACCESS METHOD ' || amname AS back FROM kinds \gset
\set ECHO none
:back;
\set ECHO all
TABLE state;
SELECT * FROM by_index();
CREATE TABLE copy AS SELECT * FROM t;
SELECT compare('t', 'copy');
-- ANALYZE counts what is alive
DELETE FROM t WHERE k > 500;
CALL settle();
ANALYZE t;
SELECT reltuples = (SELECT count(*) FROM t) AS counted FROM pg_class WHERE oid = 't'::regclass;
SELECT attname, n_distinct < 0 OR n_distinct >= 1 AS known FROM pg_stats WHERE schemaname = 'work' AND tablename = 't' AND attname = 'k';
SELECT (SELECT most_common_vals IS NULL FROM pg_stats WHERE tablename = 't' AND attname = 'k' AND schemaname = 'work') AS unique,
	(SELECT max(x) <= 500 FROM unnest((SELECT histogram_bounds::text::int[] FROM pg_stats WHERE tablename = 't' AND attname = 'k' AND schemaname = 'work')) x) AS no_dead_ones;
UPDATE t SET host = 'same';
ANALYZE t;
SELECT n_distinct, most_common_vals FROM pg_stats WHERE tablename = 't' AND attname = 'host' AND schemaname = 'work';
-- Samples hold no dead rows
DELETE FROM t WHERE k % 2 = 0;
SELECT count(*) = (SELECT count(*) FROM t) AS all FROM t TABLESAMPLE bernoulli (100);
SELECT count(*) = (SELECT count(*) FROM t) AS all FROM t TABLESAMPLE system (100);
SELECT count(*) FROM t TABLESAMPLE system (100) WHERE k % 2 = 0;
SELECT count(*) FROM (SELECT * FROM t TABLESAMPLE bernoulli (50) REPEATABLE (1) EXCEPT SELECT * FROM t) x;
-- Materialized views
CREATE MATERIALIZED VIEW m AS SELECT host, k, v FROM t WHERE k < 100;
CREATE UNIQUE INDEX m_k ON m (k);
CALL settle();
UPDATE t SET v = v + 1 WHERE k < 20;
DELETE FROM t WHERE k BETWEEN 30 AND 40;
INSERT INTO t SELECT NULL, 'new', i, i FROM generate_series(2, 18, 2) i;
REFRESH MATERIALIZED VIEW CONCURRENTLY m;
SELECT count(*), sum(k), sum(v) FROM m;
REFRESH MATERIALIZED VIEW m;
SELECT count(*), sum(k), sum(v) FROM m;
UPDATE m SET v = 0;
-- TRUNCATE after changes, and rolled back
BEGIN; UPDATE t SET v = 1; TRUNCATE t; INSERT INTO t VALUES (NULL, 'x', 1, 1); UPDATE t SET v = 2; SELECT count(*), sum(v) FROM t; ROLLBACK;
TABLE state;
BEGIN; UPDATE t SET v = v + 1 WHERE k < 50; SAVEPOINT s; TRUNCATE t; ROLLBACK TO s; DELETE FROM t WHERE k > 450; COMMIT;
TABLE state;
SELECT * FROM by_index();
TRUNCATE t;
DELETE FROM t;
VACUUM t;
SELECT count(*) FROM t;
-- Statistics of what was done
SELECT pg_stat_force_next_flush();
SELECT n_tup_upd > 0 AS updates, n_tup_del > 0 AS deletes, n_tup_ins > 0 AS inserts FROM pg_stat_user_tables WHERE relid = 't'::regclass;
\set ECHO none
