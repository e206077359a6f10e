-- needs: preload
-- CREATE TABLE ... WITH (metricsdb.*): the library must be loaded before the statement.
CREATE TABLE cpu (time timestamptz NOT NULL, host text, region text, note text, usage float8)
	USING metricsdb WITH (metricsdb.time = 'time', metricsdb.series = 'host, region');
SELECT * FROM metricsdb.describe('cpu');
SELECT label FROM pg_seclabels WHERE objoid = 'cpu'::regclass;
SELECT reloptions FROM pg_class WHERE relname = 'cpu';
-- Names by the rules of SQL; a bare word is a name as it is; other options stay
CREATE TABLE named ("Time" timestamptz, "a b" text, "C" text, d text)
	USING metricsdb WITH (metricsdb.time = "Time", metricsdb.series = '"a b", D', autovacuum_enabled = off);
SELECT "column", role FROM metricsdb.describe('named');
SELECT reloptions FROM pg_class WHERE relname = 'named';
CREATE TABLE none (time timestamptz, host text) USING metricsdb WITH (metricsdb.time = '', metricsdb.series = '');
SELECT "column", role, declared FROM metricsdb.describe('none');
-- CREATE TABLE AS, materialized views, EXPLAIN ANALYZE, IF NOT EXISTS
CREATE TABLE ctas USING metricsdb WITH (metricsdb.series = 'host') AS SELECT '2024-01-01Z'::timestamptz AS time, 'h' || i % 2 AS host, 'n' || i AS note FROM generate_series(1, 2000) i;
SELECT "column", role FROM metricsdb.describe('ctas');
SELECT host, count(*) FROM ctas GROUP BY host ORDER BY host;
CREATE MATERIALIZED VIEW mv USING metricsdb WITH (metricsdb.series = 'note') AS SELECT * FROM ctas;
SELECT "column", role FROM metricsdb.describe('mv');
REFRESH MATERIALIZED VIEW mv;
SELECT "column", role FROM metricsdb.describe('mv');
SELECT count(*), count(DISTINCT note) FROM mv;
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) CREATE TABLE explained USING metricsdb WITH (metricsdb.time = '') AS SELECT now() AS time, 1 AS v \g /dev/null
SELECT "column", role FROM metricsdb.describe('explained');
EXPLAIN (COSTS off) CREATE TABLE not_made USING metricsdb WITH (metricsdb.time = '') AS SELECT now() AS time, 1 AS v;
CREATE TABLE IF NOT EXISTS explained (time timestamptz, v int) USING metricsdb WITH (metricsdb.series = 'v');
CREATE TABLE IF NOT EXISTS explained USING metricsdb WITH (metricsdb.series = 'v') AS SELECT now() AS time, 1 AS v;
SELECT label FROM pg_seclabels WHERE objoid = 'explained'::regclass;
PREPARE made(int) AS SELECT now() AS time, 'h' AS host, $1 AS v;
CREATE TABLE executed USING metricsdb WITH (metricsdb.series = 'v') AS EXECUTE made(5);
SELECT "column", role FROM metricsdb.describe('executed');
-- Twice by one plan, in a function
DO $$
BEGIN
	FOR i IN 1 .. 2 LOOP
		CREATE TEMP TABLE again (time timestamptz, host text, note text) USING metricsdb WITH (metricsdb.series = 'note');
		RAISE NOTICE '%', (SELECT string_agg("column", ',') FROM metricsdb.describe('again') WHERE role = 'series');
		DROP TABLE again;
	END LOOP;
END $$;
-- Partitions, LIKE, a schema's elements, the default access method
CREATE TABLE m (time timestamptz, host text, note text) PARTITION BY RANGE (time);
CREATE TABLE m_1 PARTITION OF m DEFAULT USING metricsdb WITH (metricsdb.series = 'note');
SELECT "column", role FROM metricsdb.describe('m_1');
CREATE SCHEMA elements CREATE TABLE e (time timestamptz, host text, note text) USING metricsdb WITH (metricsdb.series = 'host');
SELECT "column", role FROM metricsdb.describe('elements.e');
SET default_table_access_method = metricsdb;
CREATE TABLE by_default (LIKE cpu) WITH (metricsdb.series = 'note');
RESET default_table_access_method;
SELECT "column", role FROM metricsdb.describe('by_default');
CREATE UNLOGGED TABLE u (time timestamptz, host text, note text) USING metricsdb WITH (metricsdb.series = 'note');
ALTER TABLE u SET LOGGED;
SELECT "column", role FROM metricsdb.describe('u');
-- Refused
CREATE TABLE x (time timestamptz, v int) WITH (metricsdb.time = 'time');
CREATE TABLE x (time timestamptz, v int) USING heap WITH (metricsdb.time = 'time');
CREATE TABLE x (time timestamptz, v int) USING metricsdb WITH (metricsdb.tyme = 'time');
CREATE TABLE x (time timestamptz, v int) USING metricsdb WITH (metricsdb.time = 'nope');
CREATE TABLE x (time timestamptz, v int) USING metricsdb WITH (metricsdb.time = 'time, v');
CREATE TABLE x (time timestamptz, v int) USING metricsdb WITH (metricsdb.time = 'time', metricsdb.time = 'time');
CREATE TABLE x (time timestamptz, v int) USING metricsdb WITH (metricsdb.time = 'time', metricsdb.series = 'time');
CREATE TABLE x (time timestamptz, v int) USING metricsdb WITH (metricsdb.series = 'a,,b');
CREATE TABLE x (time timestamptz, v int) USING metricsdb WITH (metricsdb.series);
CREATE TABLE x (time timestamptz, v float8) USING metricsdb WITH (metricsdb.time = 'v');
CREATE TABLE x (time timestamptz, v int) PARTITION BY RANGE (time) WITH (metricsdb.time = 'time');
CREATE TABLE x WITH (metricsdb.time = 'time') AS SELECT now() AS time;
CREATE TABLE x USING metricsdb WITH (metricsdb.time = 'nope') AS SELECT now() AS time;
CREATE TABLE m_2 PARTITION OF m FOR VALUES FROM ('2024-01-01') TO ('2024-02-01') USING heap WITH (metricsdb.series = 'note');
CREATE TABLE x (time timestamptz, v int) USING metricsdb WITH (metrics.time = 'time');
CREATE VIEW x WITH (metricsdb.time = 'time') AS SELECT now() AS time;
ALTER TABLE cpu SET (metricsdb.time = 'time');
SELECT to_regclass('x');
SET client_min_messages = warning;
DROP SCHEMA elements CASCADE;
DROP MATERIALIZED VIEW mv;
DROP TABLE cpu, named, none, ctas, explained, executed, m, by_default, u;
