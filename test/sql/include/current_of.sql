\ir begin.sql
\set QUIET off
\set ECHO all
CREATE TABLE t (time timestamptz, host text, v int);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h', i FROM generate_series(1, 200) i;
CALL settle();
-- The row under the cursor, and no other
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM t WHERE v > 20;
FETCH 3 FROM c;
UPDATE t SET v = -v WHERE CURRENT OF c;
FETCH 1 FROM c;
DELETE FROM t WHERE CURRENT OF c;
FETCH 1 FROM c;
SELECT v FROM t WHERE v BETWEEN -30 AND 0 OR v BETWEEN 20 AND 28 ORDER BY v;
-- a second time: the same row, in its new version; then it is gone
UPDATE t SET v = -v WHERE CURRENT OF c RETURNING v;
UPDATE t SET v = v - 1000 WHERE CURRENT OF c RETURNING v;
DELETE FROM t WHERE CURRENT OF c RETURNING v;
DELETE FROM t WHERE CURRENT OF c RETURNING v;
UPDATE t SET v = v WHERE CURRENT OF c;
-- the cursor goes on as if nothing had happened
FETCH 2 FROM c;
MOVE 50 FROM c;
FETCH 1 FROM c;
UPDATE t SET host = 'moved' WHERE CURRENT OF c RETURNING *;
CLOSE c;
COMMIT;
SELECT count(*), sum(v), count(DISTINCT host) FROM t;
-- Before the first row, after the last, without such a cursor, of another table
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM t WHERE v BETWEEN 100 AND 101;
SAVEPOINT s;
UPDATE t SET v = 0 WHERE CURRENT OF c;
ROLLBACK TO s;
FETCH ALL FROM c;
SAVEPOINT s;
UPDATE t SET v = 0 WHERE CURRENT OF c;
ROLLBACK TO s;
UPDATE t SET v = 0 WHERE CURRENT OF no_such_cursor;
ROLLBACK;
-- Back and forth
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT v FROM t WHERE v BETWEEN 40 AND 60;
FETCH ABSOLUTE 10 FROM c;
UPDATE t SET v = v + 1000 WHERE CURRENT OF c;
FETCH PRIOR FROM c;
DELETE FROM t WHERE CURRENT OF c;
FETCH PRIOR FROM c;
FETCH NEXT FROM c;
DELETE FROM t WHERE CURRENT OF c;
FETCH NEXT FROM c;
UPDATE t SET v = v + 1000 WHERE CURRENT OF c RETURNING v;
FETCH FIRST FROM c;
UPDATE t SET v = v + 1000 WHERE CURRENT OF c RETURNING v;
FETCH LAST FROM c;
DELETE FROM t WHERE CURRENT OF c RETURNING v;
FETCH RELATIVE -3 FROM c;
DELETE FROM t WHERE CURRENT OF c RETURNING v;
MOVE BACKWARD ALL FROM c;
FETCH ALL FROM c;
SELECT v FROM t WHERE v BETWEEN 40 AND 60 OR v > 1000 ORDER BY v;
COMMIT;
-- FOR UPDATE, in an order; rows of the transaction's own
BEGIN;
INSERT INTO t VALUES ('2024-02-01Z', 'own', 1500), ('2024-02-01Z', 'own', 1501);
INSERT INTO t SELECT '2024-02-02Z', 'own', i FROM generate_series(1600, 1650) i;
UPDATE t SET v = v + 100 WHERE v BETWEEN 1640 AND 1650;
DECLARE c CURSOR FOR SELECT host, v FROM t WHERE v > 100 ORDER BY v DESC FOR UPDATE;
FETCH 2 FROM c;
UPDATE t SET host = 'first' WHERE CURRENT OF c RETURNING *;
MOVE 10 FROM c;
FETCH 1 FROM c;
DELETE FROM t WHERE CURRENT OF c RETURNING *;
MOVE 37 FROM c;
FETCH 3 FROM c;
UPDATE t SET host = 'second' WHERE CURRENT OF c RETURNING *;
MOVE 10 FROM c;
FETCH 1 FROM c;
UPDATE t SET host = 'third' WHERE CURRENT OF c RETURNING *;
CLOSE c;
COMMIT;
SELECT host, v FROM t WHERE host IN ('first', 'second', 'third') ORDER BY v;
-- Of a join, with FOR UPDATE OF
CREATE TABLE hosts (host text, owner text);
INSERT INTO hosts VALUES ('h', 'o1'), ('own', 'o2');
BEGIN;
DECLARE c CURSOR FOR SELECT t.v, owner FROM t JOIN hosts USING (host) WHERE owner = 'o2' ORDER BY v FOR UPDATE OF t;
FETCH 2 FROM c;
UPDATE t SET v = v + 1 WHERE CURRENT OF c RETURNING v;
UPDATE hosts SET owner = 'x' WHERE CURRENT OF c;
ROLLBACK;
-- Of a function's loop
DO $$
DECLARE
	c CURSOR FOR SELECT * FROM t FOR UPDATE;
	r record;
	updated int := 0;
	deleted int := 0;
BEGIN
	FOR r IN c LOOP
		IF r.v % 3 = 0 THEN
			UPDATE t SET v = r.v + 10000 WHERE CURRENT OF c;
			updated := updated + 1;
		ELSIF r.v % 3 = 1 THEN
			DELETE FROM t WHERE CURRENT OF c;
			deleted := deleted + 1;
		END IF;
	END LOOP;
	RAISE NOTICE '% updated, % deleted', updated, deleted;
END $$;
SELECT count(*), sum(v), count(*) FILTER (WHERE v > 10000) FROM t;
CALL settle();
-- The same without FOR UPDATE
DO $$
DECLARE
	c CURSOR FOR SELECT * FROM t WHERE v % 2 = 0;
	r record;
BEGIN
	OPEN c;
	LOOP
		FETCH c INTO r;
		EXIT WHEN NOT FOUND;
		UPDATE t SET host = 'even' WHERE CURRENT OF c;
	END LOOP;
END $$;
SELECT host, count(*), sum(v) FROM t GROUP BY host ORDER BY host;
-- A cursor that is held is no place to change from
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT v FROM t WHERE v > 0;
FETCH 1 FROM c \g /dev/null
UPDATE t SET host = host WHERE CURRENT OF c;
COMMIT;
SELECT count(*), sum(v) > 0 AS some FROM t;
DELETE FROM t WHERE CURRENT OF c;
MOVE ALL FROM c;
CLOSE c;
-- A row that others of the transaction changed meanwhile
BEGIN;
DECLARE c CURSOR FOR SELECT v FROM t WHERE v = 131;
FETCH 1 FROM c;
UPDATE t SET v = 77777 WHERE v = 131;
UPDATE t SET v = v + 1 WHERE CURRENT OF c RETURNING v;
DELETE FROM t WHERE v = 77778;
UPDATE t SET v = v + 1 WHERE CURRENT OF c RETURNING v;
ROLLBACK;
-- Under savepoints
BEGIN;
DECLARE c CURSOR FOR SELECT v FROM t WHERE host IN ('even', 'h') AND v > 0 ORDER BY v FOR UPDATE;
FETCH 1 FROM c;
SAVEPOINT a;
DELETE FROM t WHERE CURRENT OF c;
ROLLBACK TO a;
UPDATE t SET host = 'saved' WHERE CURRENT OF c RETURNING *;
SAVEPOINT b;
UPDATE t SET host = 'lost' WHERE CURRENT OF c RETURNING *;
ROLLBACK TO b;
UPDATE t SET v = v + 1 WHERE CURRENT OF c RETURNING *;
COMMIT;
SELECT * FROM t WHERE host IN ('saved', 'lost');
-- Partitions and inheritance
CREATE TABLE p (time timestamptz, host text, v int) PARTITION BY RANGE (v);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200) USING heap;
INSERT INTO p SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h', i FROM generate_series(1, 199) i;
CALL settle();
BEGIN;
DECLARE c CURSOR FOR SELECT v FROM p;
MOVE 50 FROM c;
FETCH 1 FROM c;
UPDATE p SET host = 'x' WHERE CURRENT OF c RETURNING *;
FETCH 1 FROM c;
UPDATE p SET v = v + 100 WHERE CURRENT OF c RETURNING *;
FETCH 1 FROM c;
DELETE FROM p WHERE CURRENT OF c RETURNING *;
MOVE 60 FROM c;
FETCH 1 FROM c;
UPDATE p SET v = v - 100 WHERE CURRENT OF c RETURNING *;
COMMIT;
SELECT tableoid::regclass, count(*), sum(v), count(DISTINCT host) FROM p GROUP BY 1 ORDER BY 1;
\set QUIET on
\set ECHO none
