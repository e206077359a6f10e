\ir begin.sql
\set ECHO all
CREATE TABLE t (time timestamptz, host text, k int, v int);
CREATE INDEX t_k ON t (k);
CREATE INDEX t_host ON t (host, time);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, (i * 7919) % 400, i FROM generate_series(1, 400) i;
CALL settle();
INSERT INTO t SELECT '2024-01-03Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, 1000 + i, i FROM generate_series(1, 20) i;
UPDATE t SET k = k + 2000 WHERE k % 50 = 0 AND k < 400;
DELETE FROM t WHERE k % 40 = 1;
SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SET metricsdb.enable_custom_scan = off;
EXPLAIN (COSTS off) SELECT k, v FROM t WHERE k BETWEEN 30 AND 45 ORDER BY k;
SELECT k, v FROM t WHERE k BETWEEN 30 AND 45 ORDER BY k;
SELECT k FROM t ORDER BY k DESC LIMIT 12;
SELECT k FROM t WHERE k IN (5, 6, 7, 1003, 2050) ORDER BY k DESC;
SELECT host, time FROM t WHERE host = 'h3' ORDER BY host DESC, time DESC LIMIT 4;
SELECT max(k), min(k) FROM t;
SELECT count(*), sum(k), sum(v) FROM t WHERE k >= 0;
-- Index only, as far as the plan goes
VACUUM t;
SELECT count(*), sum(k) FROM t WHERE k BETWEEN 100 AND 300;
-- Every row once, forward and backward
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT k FROM t WHERE k >= 0 ORDER BY k;
FETCH 3 FROM c;
MOVE FORWARD 100 FROM c;
FETCH 2 FROM c;
FETCH BACKWARD 4 FROM c;
MOVE FORWARD ALL FROM c;
FETCH BACKWARD 3 FROM c;
FETCH ABSOLUTE 200 FROM c;
FETCH ABSOLUTE -1 FROM c;
-- not disturbed by what comes after it
UPDATE t SET k = k + 1 WHERE k > 1000;
DELETE FROM t WHERE k < 10;
INSERT INTO t VALUES (NULL, 'new', 3000, 0), (NULL, 'new', 0, 0);
FETCH BACKWARD 2 FROM c;
FETCH FIRST FROM c;
FETCH LAST FROM c;
CLOSE c;
SELECT k FROM t WHERE k < 15 OR k > 2300 ORDER BY k;
ROLLBACK;
-- WHERE CURRENT OF an index scan
BEGIN;
DECLARE c CURSOR FOR SELECT k, v FROM t WHERE k BETWEEN 10 AND 20 ORDER BY k FOR UPDATE;
FETCH 2 FROM c;
UPDATE t SET k = k + 5000 WHERE CURRENT OF c RETURNING k;
FETCH 1 FROM c;
DELETE FROM t WHERE CURRENT OF c RETURNING k;
FETCH ALL FROM c;
ROLLBACK;
-- As the inner side of a nested loop, of a merge join; with parameters that change
CREATE TABLE probe (k int);
INSERT INTO probe SELECT i * 3 FROM generate_series(1, 130) i;
ANALYZE t; ANALYZE probe;
SET enable_hashjoin = off; SET enable_mergejoin = off;
SELECT count(*), sum(t.v) FROM probe JOIN t USING (k);
SELECT probe.k, t.v FROM probe LEFT JOIN t ON t.k = probe.k WHERE probe.k < 30 ORDER BY probe.k;
SELECT count(*) FROM probe WHERE EXISTS (SELECT FROM t WHERE t.k = probe.k);
SELECT count(*) FROM probe WHERE NOT EXISTS (SELECT FROM t WHERE t.k = probe.k);
SELECT probe.k, x.v FROM probe, LATERAL (SELECT v FROM t WHERE t.k > probe.k ORDER BY t.k LIMIT 1) x WHERE probe.k < 20 ORDER BY 1;
SET enable_nestloop = off; SET enable_mergejoin = on; SET enable_sort = on;
SELECT count(*), sum(t.v) FROM probe JOIN t USING (k);
SELECT count(*), sum(a.v) FROM t a JOIN t b ON a.k = b.k;
CREATE INDEX probe_k ON probe (k);
SET enable_sort = off;
SELECT count(*), sum(t.v) FROM probe JOIN t USING (k);
SELECT count(*), count(t.k) FROM probe FULL JOIN t USING (k);
-- equal keys: the merge join marks and restores
INSERT INTO t SELECT '2024-05-01Z', 'dup', 30 + i % 3, i FROM generate_series(1, 150) i;
INSERT INTO probe SELECT 30 + i % 3 FROM generate_series(1, 4) i;
CALL settle();
SELECT count(*), sum(t.v) FROM probe JOIN t USING (k) WHERE k BETWEEN 25 AND 40;
RESET enable_hashjoin; RESET enable_mergejoin; RESET enable_nestloop; RESET enable_sort;
-- Changes that an index finds the rows of, and that move them within it
UPDATE t SET k = k + 1 WHERE k BETWEEN 100 AND 110;
SELECT k, count(*) FROM t WHERE k BETWEEN 98 AND 112 GROUP BY k ORDER BY k;
UPDATE t SET k = k + 1 WHERE k >= 30 AND k < 33 AND host = 'dup';
SELECT k, count(*), sum(v) FROM t WHERE k BETWEEN 28 AND 35 GROUP BY k ORDER BY k;
DELETE FROM t USING probe WHERE t.k = probe.k AND probe.k > 300;
SELECT count(*), sum(k), sum(v) FROM t WHERE k IS NOT NULL;
SELECT v FROM t WHERE k = 123 FOR UPDATE;
SELECT count(*) FROM (SELECT FROM t WHERE host = 'h2' ORDER BY time LIMIT 10 FOR UPDATE SKIP LOCKED) x;
-- A prepared statement that keeps its plan
PREPARE q (int) AS SELECT k, v FROM t WHERE k = $1;
EXECUTE q (125); EXECUTE q (126); EXECUTE q (127); EXECUTE q (128); EXECUTE q (129); EXECUTE q (130);
UPDATE t SET v = -v WHERE k = 130;
EXECUTE q (130);
DELETE FROM t WHERE k = 130;
EXECUTE q (130);
DEALLOCATE q;
-- Rows of the statement itself are not met by its scan
INSERT INTO t SELECT time, 'copied', k + 1, v FROM t WHERE k BETWEEN 150 AND 170 ORDER BY k;
SELECT count(*), sum(k) FROM t WHERE host = 'copied';
BEGIN;
INSERT INTO t SELECT NULL, 'sub', i, i FROM generate_series(4000, 4150) i;
SELECT count(*) FROM t WHERE k >= 4000;
SAVEPOINT s;
UPDATE t SET k = k + 1000 WHERE k >= 4100;
SELECT count(*), min(k), max(k) FROM t WHERE k >= 4000;
ROLLBACK TO s;
SELECT count(*), min(k), max(k) FROM t WHERE k >= 4000;
COMMIT;
CALL settle();
SELECT count(*), min(k), max(k) FROM t WHERE k >= 4000;
VACUUM t;
SELECT count(*), sum(k), sum(v) FROM t WHERE k IS NOT NULL;
SET enable_seqscan = on; SET enable_indexscan = off; SET enable_indexonlyscan = off;
SELECT count(*), sum(k), sum(v) FROM t WHERE k IS NOT NULL;
RESET ALL;
\set ECHO none
