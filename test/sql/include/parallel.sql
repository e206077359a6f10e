\ir begin.sql
\set ECHO all
CREATE TABLE t (time timestamptz, host text, v int, f float8, note text);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h' || i % 50, i, i / 10.0, CASE WHEN i % 3 = 0 THEN 'n' || i % 100 END FROM generate_series(1, 60000) i;
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'd' || i % 5, i, i / 10.0, 'delta' FROM generate_series(1, 9) i;
CREATE TABLE hosts AS SELECT DISTINCT host, 'o' || length(host) AS owner FROM t;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SELECT count(*), sum(v), sum(f)::numeric(20,1), count(note) FROM t;
SELECT left(host, 1) AS kind, count(*), sum(v) FROM t GROUP BY 1 ORDER BY 1;
SELECT owner, count(*), sum(v) FROM t JOIN hosts USING (host) GROUP BY owner ORDER BY owner;
SELECT host, v FROM t WHERE note = 'n99' AND v < 3000 ORDER BY v;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT count(*) FROM hosts h WHERE EXISTS (SELECT 1 FROM t WHERE t.host = h.host AND v = 77);
RESET enable_hashjoin;
SET enable_hashjoin = off;
RESET enable_mergejoin;
SELECT count(*) FROM t a JOIN t b ON a.v = b.v AND a.host = b.host;
RESET enable_hashjoin;
-- A rescanned parallel scan
SELECT h.owner, x.n FROM (SELECT DISTINCT owner FROM hosts) h, LATERAL (SELECT count(*) AS n FROM t WHERE 'o' || length(t.host) = h.owner) x ORDER BY 1;
-- Rows of the present transaction are seen by the workers, those of its aborted parts are not
BEGIN;
INSERT INTO t SELECT '2024-02-01Z', 'mine', i, i, NULL FROM generate_series(1, 1500) i;
INSERT INTO t VALUES ('2024-02-01Z', 'mine', 0, 0, NULL);
SAVEPOINT s;
INSERT INTO t SELECT '2024-02-01Z', 'lost', i, i, NULL FROM generate_series(1, 1500) i;
SELECT left(host, 1) AS kind, count(*), sum(v) FROM t GROUP BY 1 ORDER BY 1;
ROLLBACK TO s;
SELECT left(host, 1) AS kind, count(*), sum(v) FROM t GROUP BY 1 ORDER BY 1;
DECLARE c CURSOR FOR SELECT count(*) FROM t;
INSERT INTO t VALUES ('2024-02-01Z', 'mine', 0, 0, NULL);
FETCH ALL FROM c;
ROLLBACK;
-- Into another table
CREATE TABLE copy AS SELECT host, count(*), sum(v) FROM t GROUP BY host;
CREATE TABLE copy2 AS SELECT * FROM t;
INSERT INTO copy2 SELECT * FROM t;
SELECT (SELECT sum(count) FROM copy), (SELECT count(*) FROM copy2);
-- A function in a parallel plan
CREATE FUNCTION par(i int) RETURNS int LANGUAGE plpgsql PARALLEL SAFE STABLE AS 'BEGIN RETURN i % 4; END';
SELECT par(v), count(*) FROM t GROUP BY 1 ORDER BY 1;
INSERT INTO t SELECT time, host, par(v), f, 'again' FROM t WHERE v < 2000;
SELECT v, count(*) FROM t WHERE note = 'again' GROUP BY v ORDER BY v;
\set ECHO none
