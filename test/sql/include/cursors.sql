\ir begin.sql
\set QUIET off
\set ECHO all
CREATE TABLE t (time timestamptz, host text, v int);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h', i FROM generate_series(1, 40) i;
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h', i FROM generate_series(41, 45) i;
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h', i FROM generate_series(46, 80) i;
-- A cursor sees what was there when it was opened, whatever comes later
BEGIN;
DECLARE c CURSOR FOR SELECT v FROM t;
MOVE 1 FROM c;
INSERT INTO t SELECT now(), 'h', 1000 + i FROM generate_series(1, 30) i;
INSERT INTO t SELECT now(), 'h', 2000 + i FROM generate_series(1, 3) i;
MOVE ALL FROM c;
DECLARE d CURSOR FOR SELECT v FROM t;
MOVE ALL FROM d;
SAVEPOINT s;
INSERT INTO t VALUES (now(), 'h', 3000);
DECLARE e CURSOR FOR SELECT v FROM t;
MOVE ALL FROM e;
ROLLBACK TO s;
DECLARE f CURSOR FOR SELECT v FROM t;
MOVE ALL FROM f;
ROLLBACK;
-- Scrolling over units of all kinds: every row once, and back again
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT v FROM t;
MOVE FORWARD ALL FROM c;
MOVE BACKWARD ALL FROM c;
MOVE FORWARD 45 FROM c;
MOVE BACKWARD 10 FROM c;
MOVE BACKWARD ALL FROM c;
MOVE FORWARD ALL FROM c;
MOVE ABSOLUTE 80 FROM c;
MOVE ABSOLUTE 81 FROM c;
MOVE RELATIVE -1 FROM c;
MOVE ABSOLUTE 0 FROM c;
CLOSE c;
-- forward and backward give the same rows in the opposite order
CREATE TEMP TABLE seen (pos serial, dir text, v int) USING heap;
DO $$
DECLARE
	c SCROLL CURSOR FOR SELECT v FROM t;
	r int;
BEGIN
	OPEN c;
	LOOP FETCH NEXT FROM c INTO r; EXIT WHEN NOT FOUND; INSERT INTO seen (dir, v) VALUES ('f', r); END LOOP;
	LOOP FETCH PRIOR FROM c INTO r; EXIT WHEN NOT FOUND; INSERT INTO seen (dir, v) VALUES ('b', r); END LOOP;
	LOOP FETCH NEXT FROM c INTO r; EXIT WHEN NOT FOUND; INSERT INTO seen (dir, v) VALUES ('f2', r); END LOOP;
	FETCH ABSOLUTE 17 FROM c INTO r; INSERT INTO seen (dir, v) VALUES ('a17', r);
	FETCH RELATIVE 0 FROM c INTO r; INSERT INTO seen (dir, v) VALUES ('r0', r);
	FETCH RELATIVE 30 FROM c INTO r; INSERT INTO seen (dir, v) VALUES ('a47', r);
	FETCH PRIOR FROM c INTO r; INSERT INTO seen (dir, v) VALUES ('a46', r);
	FETCH NEXT FROM c INTO r; INSERT INTO seen (dir, v) VALUES ('a47', r);
	FETCH LAST FROM c INTO r; INSERT INTO seen (dir, v) VALUES ('a80', r);
	FETCH FIRST FROM c INTO r; INSERT INTO seen (dir, v) VALUES ('a1', r);
END $$;
SELECT dir, count(*), count(DISTINCT v), sum(v) FROM seen WHERE dir IN ('f', 'b', 'f2') GROUP BY dir ORDER BY dir;
WITH f AS (SELECT array_agg(v ORDER BY pos) AS v FROM seen WHERE dir = 'f'),
	b AS (SELECT array_agg(v ORDER BY pos DESC) AS v FROM seen WHERE dir = 'b'),
	f2 AS (SELECT array_agg(v ORDER BY pos) AS v FROM seen WHERE dir = 'f2')
SELECT f.v = b.v AS back, f.v = f2.v AS again,
	(SELECT bool_and(seen.v = f.v[substr(dir, 2)::int]) FROM seen WHERE dir ~ '^a') AS absolute,
	(SELECT seen.v = f.v[17] FROM seen WHERE dir = 'r0') AS relative FROM f, b, f2;
ROLLBACK;
-- WITH HOLD outlives its transaction, and the table's data
BEGIN;
DECLARE h SCROLL CURSOR WITH HOLD FOR SELECT v FROM t ORDER BY v;
FETCH 2 FROM h;
COMMIT;
INSERT INTO t VALUES (now(), 'h', 0);
FETCH 2 FROM h;
TRUNCATE t;
FETCH LAST FROM h;
FETCH BACKWARD 2 FROM h;
CLOSE h;
-- TRUNCATE and DROP are refused while a cursor is open
BEGIN;
DECLARE c CURSOR FOR SELECT v FROM t;
TRUNCATE t;
ROLLBACK;
-- A loop over the table that inserts into it
INSERT INTO t SELECT '2024-01-01Z', 'h', i FROM generate_series(1, 25) i;
DO $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT v FROM t LOOP
		INSERT INTO t VALUES ('2024-01-02Z', 'loop', -r.v);
	END LOOP;
END $$;
SELECT host, count(*), sum(v) FROM t GROUP BY host ORDER BY host;
-- A cursor over two scans of the table, one inside the other
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT a.v, b.v FROM t a CROSS JOIN t b WHERE a.host = 'h' AND b.host = 'loop';
MOVE ALL FROM c;
MOVE BACKWARD ALL FROM c;
COMMIT;
-- Nothing to be seen
TRUNCATE t;
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT v FROM t;
FETCH NEXT FROM c;
FETCH PRIOR FROM c;
FETCH LAST FROM c;
COMMIT;
\set QUIET on
\set ECHO none
