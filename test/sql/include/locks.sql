\ir begin.sql
\set ECHO all
CREATE TABLE t (time timestamptz, host text, v int);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, i FROM generate_series(1, 300) i;
CREATE TABLE hosts (host text, owner text);
INSERT INTO hosts SELECT 'h' || i, 'o' || i % 2 FROM generate_series(0, 6) i;
CALL settle();
-- All strengths, and what may be said with them
SELECT * FROM t WHERE v = 17 FOR UPDATE;
SELECT * FROM t WHERE v = 17 FOR NO KEY UPDATE;
SELECT * FROM t WHERE v = 17 FOR SHARE;
SELECT * FROM t WHERE v = 17 FOR KEY SHARE;
SELECT * FROM t WHERE v = 18 FOR UPDATE NOWAIT;
SELECT * FROM t WHERE v = 19 FOR SHARE SKIP LOCKED;
SELECT v FROM t WHERE v BETWEEN 20 AND 23 ORDER BY v FOR UPDATE;
SELECT v FROM t WHERE v BETWEEN 20 AND 29 ORDER BY v DESC LIMIT 3 FOR UPDATE SKIP LOCKED;
SELECT count(*), sum(v) FROM (SELECT v FROM t FOR UPDATE) x;
SELECT count(*), sum(v) FROM (SELECT v FROM t FOR KEY SHARE) x;
SELECT count(*), sum(v) FROM t;
-- A row is the same before and after
CREATE TEMP TABLE was USING heap AS SELECT ctid AS id, v FROM t;
SELECT count(*) FROM (SELECT v FROM t FOR NO KEY UPDATE) x;
SELECT count(*), count(*) FILTER (WHERE t.v = was.v) AS same FROM was JOIN t ON t.ctid = was.id;
DROP TABLE was;
-- Joins: one side, the other, both
SELECT t.v, owner FROM t JOIN hosts USING (host) WHERE v BETWEEN 30 AND 33 ORDER BY v FOR UPDATE;
SELECT t.v, owner FROM t JOIN hosts USING (host) WHERE v BETWEEN 30 AND 33 ORDER BY v FOR UPDATE OF t;
SELECT t.v, owner FROM t JOIN hosts USING (host) WHERE v BETWEEN 30 AND 33 ORDER BY v FOR SHARE OF hosts;
SELECT t.v, owner FROM t JOIN hosts USING (host) WHERE v BETWEEN 30 AND 33 ORDER BY v FOR UPDATE OF t FOR KEY SHARE OF hosts;
SELECT t.v, owner FROM hosts LEFT JOIN t USING (host) WHERE v BETWEEN 30 AND 33 OR v IS NULL ORDER BY v, owner FOR UPDATE OF hosts;
SELECT t.v, u.v FROM t JOIN t u ON t.v = u.v + 1 WHERE t.v BETWEEN 40 AND 42 ORDER BY t.v FOR UPDATE;
SELECT v FROM t WHERE host IN (SELECT host FROM hosts WHERE owner = 'o1') AND v < 10 ORDER BY v FOR UPDATE;
SELECT v FROM t, LATERAL (SELECT owner FROM hosts WHERE hosts.host = t.host FOR UPDATE) x WHERE v < 5 ORDER BY v;
-- What cannot be locked
SELECT count(*) FROM t FOR UPDATE;
SELECT DISTINCT host FROM t FOR UPDATE;
SELECT host FROM t GROUP BY host FOR UPDATE;
SELECT v FROM t UNION SELECT v FROM t FOR UPDATE;
-- Locked, and then changed, in all orders
BEGIN;
SELECT v FROM t WHERE v = 50 FOR KEY SHARE;
SELECT v FROM t WHERE v = 50 FOR SHARE;
SELECT v FROM t WHERE v = 50 FOR NO KEY UPDATE;
SELECT v FROM t WHERE v = 50 FOR UPDATE;
UPDATE t SET v = -50 WHERE v = 50;
SELECT v FROM t WHERE v = -50 FOR UPDATE;
UPDATE t SET v = v - 1 WHERE v = -50;
SELECT v FROM t WHERE v IN (50, -50, -51) FOR SHARE;
DELETE FROM t WHERE v = -51;
SELECT v FROM t WHERE v IN (50, -50, -51) FOR UPDATE;
COMMIT;
SELECT count(*), sum(v) FROM t;
BEGIN;
SELECT v FROM t WHERE v = 51 FOR UPDATE;
SAVEPOINT a;
UPDATE t SET host = 'locked' WHERE v = 51;
SELECT host FROM t WHERE v = 51 FOR UPDATE;
ROLLBACK TO a;
SELECT host FROM t WHERE v = 51 FOR NO KEY UPDATE;
SAVEPOINT b;
SELECT host FROM t WHERE v = 52 FOR UPDATE;
DELETE FROM t WHERE v = 52;
ROLLBACK TO b;
UPDATE t SET host = 'then' WHERE v IN (51, 52);
COMMIT;
SELECT host, v FROM t WHERE v IN (51, 52) ORDER BY v;
BEGIN; SELECT count(*) FROM (SELECT v FROM t WHERE v < 100 FOR UPDATE) x; ROLLBACK;
UPDATE t SET v = v WHERE v < 100;
SELECT count(*), sum(v) FROM t;
-- A queue
CREATE TABLE queue (time timestamptz, job int, done bool DEFAULT false);
INSERT INTO queue SELECT '2024-01-01Z', i FROM generate_series(1, 120) i;
CALL settle();
DO $$
DECLARE
	j int;
	n int := 0;
BEGIN
	LOOP
		DELETE FROM queue WHERE ctid = (SELECT ctid FROM queue ORDER BY job LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING job INTO j;
		EXIT WHEN NOT FOUND OR n = 60;
		n := n + 1;
		IF n <> j THEN RAISE NOTICE 'out of order: % %', n, j; END IF;
		COMMIT;
	END LOOP;
END $$;
SELECT count(*), min(job), max(job) FROM queue;
UPDATE queue SET done = true WHERE job IN (SELECT job FROM queue WHERE NOT done ORDER BY job LIMIT 5 FOR UPDATE SKIP LOCKED) RETURNING done;
SELECT done, count(*), sum(job) FROM queue GROUP BY done ORDER BY done;
-- Rows of the transaction's own, and of its own savepoints
BEGIN;
INSERT INTO t VALUES ('2024-02-01Z', 'own', 1000), ('2024-02-01Z', 'own', 1001);
INSERT INTO t SELECT '2024-02-01Z', 'own', i FROM generate_series(1100, 1220) i;
SELECT v FROM t WHERE v IN (1000, 1100) ORDER BY v FOR UPDATE;
SAVEPOINT a;
INSERT INTO t SELECT '2024-02-01Z', 'sub', i FROM generate_series(1300, 1420) i;
SELECT count(*) FROM (SELECT v FROM t WHERE v >= 1000 FOR SHARE) x;
UPDATE t SET v = v + 5000 WHERE v >= 1000;
SELECT count(*) FROM (SELECT v FROM t WHERE v >= 6000 FOR SHARE) x;
ROLLBACK TO a;
SELECT count(*) FROM (SELECT v FROM t WHERE v >= 1000 FOR NO KEY UPDATE) x;
COMMIT;
-- Cursors that lock as they go
BEGIN;
DECLARE c CURSOR FOR SELECT v FROM t WHERE v BETWEEN 60 AND 70 ORDER BY v FOR UPDATE;
FETCH 3 FROM c;
UPDATE t SET v = -v WHERE v BETWEEN 60 AND 66;
FETCH ALL FROM c;
COMMIT;
SELECT v FROM t WHERE abs(v) BETWEEN 60 AND 70 ORDER BY v;
-- Views, and functions
CREATE VIEW w AS SELECT v, host FROM t WHERE v > 290;
SELECT v FROM w WHERE v < 294 ORDER BY v FOR UPDATE;
CREATE FUNCTION take(a int) RETURNS int LANGUAGE sql AS 'SELECT v FROM t WHERE v = a FOR UPDATE';
SELECT take(80), take(81), take(-12345);
-- LOCK TABLE
BEGIN; LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE; UPDATE t SET v = v WHERE v = 90; LOCK TABLE t; ROLLBACK;
CALL settle();
SELECT count(*), sum(v) FROM t;
\set ECHO none
