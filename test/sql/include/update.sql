\ir begin.sql
\set ECHO all
CREATE TABLE t (time timestamptz NOT NULL, host text, region text, v float8, n int);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '7 min'::interval, 'h' || i % 7, 'r' || i % 3, i % 10, i FROM generate_series(1, 600) i;
INSERT INTO t SELECT '2024-01-05Z'::timestamptz + i * '1 min'::interval, 'h' || i % 7, NULL, NULL, 600 + i FROM generate_series(1, 5) i;
CREATE TABLE hosts (host text, owner text, factor int);
INSERT INTO hosts SELECT 'h' || i, 'o' || i % 2, i FROM generate_series(0, 6) i;
CALL settle();
CREATE VIEW state AS SELECT count(*), count(v) AS vs, sum(v) AS v, sum(n) AS n, md5(string_agg(t::text, ',' ORDER BY n, t::text COLLATE "C")) FROM t;
TABLE state;
-- One row, some, all, none
UPDATE t SET v = 100 WHERE n = 17;
SELECT * FROM t WHERE n = 17;
TABLE state;
UPDATE t SET v = v + 1, region = 'x' WHERE host = 'h3';
TABLE state;
UPDATE t SET n = n + 1000;
TABLE state;
UPDATE t SET v = 0 WHERE n < 0;
UPDATE t SET v = 0 WHERE false;
UPDATE t SET v = v;
TABLE state;
-- ... how many each was
DO $$
DECLARE
	k int;
BEGIN
	UPDATE t SET v = v WHERE host = 'h1'; GET DIAGNOSTICS k = ROW_COUNT; RAISE NOTICE 'h1: %', k;
	UPDATE t SET v = v; GET DIAGNOSTICS k = ROW_COUNT; RAISE NOTICE 'all: %', k;
	UPDATE t SET v = v WHERE n = -1; GET DIAGNOSTICS k = ROW_COUNT; RAISE NOTICE 'none: % %', k, FOUND;
END $$;
-- Again and again
UPDATE t SET n = n - 1000;
UPDATE t SET v = v * 2 WHERE n % 2 = 0;
UPDATE t SET v = v * 2 WHERE n % 3 = 0;
UPDATE t SET v = v * 2 WHERE n % 5 = 0;
TABLE state;
CALL settle();
TABLE state;
UPDATE t SET v = v + 0.5 WHERE n BETWEEN 100 AND 200;
TABLE state;
-- Defaults, subqueries, several columns at once, expressions that refer to others
ALTER TABLE t ALTER region SET DEFAULT 'default';
UPDATE t SET region = DEFAULT, v = DEFAULT WHERE n IN (3, 4);
UPDATE t SET (v, n) = (SELECT max(v), max(n) FROM t) WHERE n = 5;
UPDATE t SET (v, n) = (n, v) WHERE n = 6;
UPDATE t SET v = (SELECT count(*) FROM t u WHERE u.host = t.host) WHERE n = 7;
UPDATE t SET v = (SELECT factor FROM hosts WHERE hosts.host = t.host) WHERE n BETWEEN 8 AND 12;
SELECT time, host, region, v, n FROM t WHERE time < '2024-01-01 01:30Z' ORDER BY time;
-- FROM, with itself, with more than one match, with a subquery, with VALUES
UPDATE t SET v = v * factor FROM hosts WHERE hosts.host = t.host AND owner = 'o1';
TABLE state;
UPDATE t SET v = p.v FROM t p WHERE p.n = t.n - 1 AND t.n BETWEEN 300 AND 400;
TABLE state;
UPDATE t SET region = 'many' FROM t p WHERE p.host = t.host AND t.n > 590;
SELECT count(*) FROM t WHERE region = 'many';
UPDATE t SET v = a.avg FROM (SELECT host, round(avg(v)) AS avg FROM t GROUP BY host) a WHERE a.host = t.host AND t.n % 50 = 0;
UPDATE t SET region = x.r FROM (VALUES ('h1', 'v1'), ('h2', 'v2')) x (h, r) WHERE x.h = t.host AND n < 30;
TABLE state;
UPDATE t a SET v = b.v + 1 FROM t b LEFT JOIN hosts USING (host) WHERE a.time = b.time + '7 min' AND b.n IN (200, 201, 202);
TABLE state;
SET enable_hashjoin = off; SET enable_mergejoin = off;
UPDATE t SET v = p.v + 3 FROM t p WHERE p.n = t.n + 1 AND t.n BETWEEN 300 AND 320;
SET enable_nestloop = off; SET enable_mergejoin = on;
UPDATE t SET v = p.v + 3 FROM t p WHERE p.n = t.n + 1 AND t.n BETWEEN 300 AND 320;
RESET enable_hashjoin; RESET enable_mergejoin; RESET enable_nestloop;
TABLE state;
-- RETURNING
UPDATE t SET v = -1 WHERE n = 18 RETURNING *;
UPDATE t SET v = -1 WHERE n = 18 RETURNING t, t.host || '!', (SELECT max(n) < 10000 FROM t), tableoid::regclass;
UPDATE t SET v = factor FROM hosts WHERE n = 19 AND hosts.host = t.host RETURNING t.n, t.v, hosts.*;
WITH u AS (UPDATE t SET v = v + 1 WHERE host = 'h2' AND n < 60 RETURNING n, v, region) SELECT * FROM u ORDER BY n;
WITH u AS (UPDATE t SET n = n + 1 WHERE n > 598 RETURNING n), i AS (INSERT INTO t SELECT '2024-02-01Z', 'copied', NULL, 0, n FROM u RETURNING n) SELECT (SELECT sum(n) FROM u), (SELECT sum(n) FROM i), (SELECT count(*) FROM t);
TABLE state;
-- Two in one command: each sees the table of before
WITH a AS (UPDATE t SET v = 1000 WHERE n = 50 RETURNING n), b AS (UPDATE t SET v = 2000 WHERE n = 51 RETURNING n) SELECT (SELECT n FROM a), (SELECT n FROM b), (SELECT count(*) FROM t WHERE v >= 1000);
SELECT n, v FROM t WHERE v >= 1000 ORDER BY n;
-- Constraints
UPDATE t SET time = NULL WHERE n = 20;
ALTER TABLE t ADD CONSTRAINT small CHECK (v < 1e6);
UPDATE t SET v = 1e7 WHERE n = 20;
\set VERBOSITY terse
UPDATE t SET v = 1e7 WHERE n % 2 = 0;
\set VERBOSITY default
UPDATE t SET v = 1 / (n - 300) WHERE n BETWEEN 250 AND 350;
TABLE state;
-- Through views, with and without a check
CREATE VIEW low AS SELECT * FROM t WHERE n < 100 WITH CHECK OPTION;
UPDATE low SET v = 77 WHERE n = 30;
UPDATE low SET n = n + 1000 WHERE n = 30;
SELECT n, v FROM low WHERE n = 30;
CREATE VIEW barrier WITH (security_barrier) AS SELECT * FROM t WHERE region = 'x';
UPDATE barrier SET v = 78 WHERE n = 31;
SELECT n, v FROM t WHERE n IN (30, 31) ORDER BY n;
-- Rules
CREATE TABLE audit (was float8, new float8);
CREATE RULE r AS ON UPDATE TO t DO ALSO INSERT INTO audit VALUES (old.v, new.v);
UPDATE t SET v = 79 WHERE n = 40;
DROP RULE r ON t;
CREATE RULE r AS ON UPDATE TO t WHERE new.n = 41 DO INSTEAD NOTHING;
UPDATE t SET v = 80 WHERE n IN (41, 42);
SELECT n, v FROM t WHERE n IN (41, 42) ORDER BY n;
DROP RULE r ON t;
-- Prepared statements
PREPARE u (float8, int) AS UPDATE t SET v = $1 WHERE n = $2 RETURNING n, v;
EXECUTE u (1, 60); EXECUTE u (2, 60); EXECUTE u (3, 61); EXECUTE u (4, 62); EXECUTE u (5, 63); EXECUTE u (6, 64); EXECUTE u (7, 60);
DEALLOCATE u;
-- Large values, shorter and longer ones
ALTER TABLE t ADD COLUMN note text;
UPDATE t SET note = repeat('n' || n, 3000) WHERE n BETWEEN 70 AND 90;
UPDATE t SET note = (SELECT string_agg(md5((n * 1000 + i)::text), '') FROM generate_series(1, 1000) i) WHERE n BETWEEN 85 AND 95;
UPDATE t SET v = v + 1 WHERE n BETWEEN 60 AND 100;
CALL settle();
UPDATE t SET v = v + 1, note = note || 'x' WHERE n BETWEEN 60 AND 100 AND n % 2 = 0;
SELECT count(note), sum(length(note)), md5(string_agg(note, ',' ORDER BY n)) FROM t;
-- A plan that is parallel below an update, and one that is not
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
UPDATE t SET v = (SELECT count(*) FROM t) WHERE n = 100;
CREATE TABLE summary AS SELECT host, sum(v) AS v FROM t GROUP BY host;
RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size;
UPDATE summary SET v = -v;
SELECT * FROM summary ORDER BY host;
TABLE state;
-- Rolled back
BEGIN;
UPDATE t SET v = NULL;
TABLE state;
ROLLBACK;
TABLE state;
BEGIN; UPDATE t SET v = 5; UPDATE t SET v = v + 1; UPDATE t SET v = v + 1 WHERE n % 2 = 0; TABLE state; COMMIT;
TABLE state;
CALL settle();
TABLE state;
\set ECHO none
