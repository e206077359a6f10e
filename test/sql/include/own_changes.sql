\ir begin.sql
\set ECHO all
CREATE TABLE t (time timestamptz, host text, v int);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h', i FROM generate_series(1, 200) i;
CALL settle();
-- A cursor sees what was there when it was opened
\set QUIET off
BEGIN;
DECLARE a SCROLL CURSOR FOR SELECT v FROM t;
MOVE 1 FROM a;
UPDATE t SET v = v + 1000 WHERE v <= 100;
DECLARE b SCROLL CURSOR FOR SELECT v FROM t WHERE v > 1000;
DELETE FROM t WHERE v BETWEEN 101 AND 150;
DECLARE c SCROLL CURSOR FOR SELECT v FROM t;
INSERT INTO t SELECT now(), 'new', i FROM generate_series(5000, 5120) i;
UPDATE t SET v = v + 1 WHERE v >= 5000;
DELETE FROM t WHERE v > 1090 AND v < 2000;
MOVE ALL FROM a;
MOVE BACKWARD ALL FROM a;
MOVE ALL FROM b;
MOVE ALL FROM c;
FETCH ABSOLUTE 120 FROM a;
SAVEPOINT s;
DELETE FROM t;
DECLARE d CURSOR FOR SELECT v FROM t;
MOVE ALL FROM d;
MOVE BACKWARD ALL FROM c;
ROLLBACK TO s;
DECLARE d CURSOR FOR SELECT v FROM t;
MOVE ALL FROM d;
MOVE ALL FROM c;
ROLLBACK;
BEGIN;
DECLARE h CURSOR WITH HOLD FOR SELECT v FROM t WHERE v > 150;
DELETE FROM t WHERE v > 160;
COMMIT;
MOVE ALL FROM h;
CLOSE h;
\set QUIET on
SELECT count(*), sum(v) FROM t;
-- A statement sees the table of before, whatever it does itself
INSERT INTO t SELECT time, 'copy', v + 200 FROM t;
SELECT count(*), sum(v) FROM t;
UPDATE t SET v = v + (SELECT count(*) FROM t) WHERE v < 10;
SELECT v FROM t WHERE v BETWEEN 200 AND 340 AND host = 'h' ORDER BY v;
WITH i AS (INSERT INTO t SELECT time, 'w', v FROM t WHERE v < 20 RETURNING v), u AS (UPDATE t SET host = 'u' WHERE v < 20 RETURNING v), d AS (DELETE FROM t WHERE v BETWEEN 20 AND 30 RETURNING v)
SELECT (SELECT count(*) FROM i), (SELECT count(*) FROM u), (SELECT count(*) FROM d), (SELECT count(*) FROM t WHERE v <= 30), (SELECT count(*) FROM t WHERE host IN ('u', 'w'));
SELECT host, count(*), sum(v) FROM t GROUP BY host ORDER BY host;
-- One row by two parts of a statement: done once
WITH a AS (UPDATE t SET v = v + 10000 WHERE v = 50 RETURNING 1) UPDATE t SET host = 'both' WHERE v = 50;
SELECT count(*) FROM t WHERE host = 'both' OR v = 10050;
DELETE FROM t WHERE host = 'both' OR v = 10050;
WITH a AS (DELETE FROM t WHERE v = 51 RETURNING v) DELETE FROM t WHERE v = 51;
SELECT count(*) FROM t WHERE v = 51;
-- Functions: volatile ones see the changes so far, stable ones do not
CREATE FUNCTION now_there() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT count(*) FROM t WHERE v > 100000';
CREATE FUNCTION before_there() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM t WHERE v > 100000';
CREATE TABLE seen (v int, now bigint, before bigint) USING heap;
WITH u AS (UPDATE t SET v = v + 100000 WHERE v BETWEEN 60 AND 64 RETURNING v, now_there() AS now, before_there() AS before) INSERT INTO seen SELECT * FROM u;
SELECT array_agg(now ORDER BY now) AS now, array_agg(DISTINCT before) AS before FROM seen;
TRUNCATE seen;
WITH d AS (DELETE FROM t WHERE v > 100000 RETURNING v, now_there() AS now, before_there() AS before) INSERT INTO seen SELECT * FROM d;
SELECT array_agg(now ORDER BY now) AS now, array_agg(DISTINCT before) AS before FROM seen;
-- A function that changes other rows while the statement runs
CREATE FUNCTION bump(i int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN UPDATE t SET v = v + 1 WHERE host = 'counter'; RETURN (SELECT v FROM t WHERE host = 'counter'); END $$;
INSERT INTO t VALUES (NULL, 'counter', 0);
SELECT max(bump(v)) FROM t WHERE v BETWEEN 70 AND 80;
UPDATE t SET host = 'bumped' WHERE v BETWEEN 70 AND 80 AND bump(v) > 0;
SELECT host, count(*) FROM t WHERE host = 'bumped' GROUP BY host;
SELECT v FROM t WHERE host = 'counter';
INSERT INTO t SELECT NULL, 'from bump', bump(i) FROM generate_series(1, 5) i;
SELECT v FROM t WHERE host = 'from bump' ORDER BY v;
-- ... and the very rows it is about to change
CREATE FUNCTION steal(i int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN DELETE FROM t WHERE host = 'victim' AND v <> i; RETURN true; END $$;
INSERT INTO t SELECT NULL, 'victim', i FROM generate_series(1, 3) i;
UPDATE t SET v = 100 WHERE host = 'victim' AND steal(v);
SELECT count(*) FROM t WHERE host = 'victim';
CREATE FUNCTION overtake(i int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN UPDATE t SET v = v + 500 WHERE host = 'overtaken'; RETURN true; END $$;
INSERT INTO t VALUES (NULL, 'overtaken', 1);
UPDATE t SET v = 100 WHERE host = 'overtaken' AND overtake(v);
SELECT v FROM t WHERE host = 'overtaken';
DELETE FROM t WHERE host = 'overtaken' AND overtake(v);
SELECT v FROM t WHERE host = 'overtaken';
-- Commands of one transaction, one after the other
BEGIN;
INSERT INTO t VALUES (NULL, 'chain', 1);
UPDATE t SET v = v + 1 WHERE host = 'chain';
INSERT INTO t SELECT NULL, 'chain', v + 1 FROM t WHERE host = 'chain';
UPDATE t SET v = v * 10 WHERE host = 'chain';
DELETE FROM t WHERE host = 'chain' AND v = 20;
INSERT INTO t SELECT NULL, 'chain', i FROM generate_series(1, 130) i;
DELETE FROM t WHERE host = 'chain' AND v % 2 = 1;
UPDATE t SET v = v + 1 WHERE host = 'chain' AND v < 20;
SELECT count(*), sum(v) FROM t WHERE host = 'chain';
CREATE TABLE inside (time timestamptz, v int);
INSERT INTO inside SELECT NULL, i FROM generate_series(1, 150) i;
UPDATE inside SET v = v + 1;
DELETE FROM inside WHERE v % 2 = 0;
TRUNCATE inside;
INSERT INTO inside SELECT NULL, i FROM generate_series(1, 120) i;
DELETE FROM inside WHERE v > 100;
SELECT count(*), sum(v) FROM inside;
COMMIT;
SELECT count(*), sum(v) FROM t WHERE host = 'chain';
SELECT count(*), sum(v) FROM inside;
-- REPEATABLE READ and SERIALIZABLE, alone
BEGIN ISOLATION LEVEL REPEATABLE READ;
UPDATE t SET v = v + 1 WHERE host = 'chain';
DELETE FROM t WHERE host = 'chain' AND v > 100;
SELECT count(*), sum(v) FROM t WHERE host = 'chain';
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
UPDATE t SET v = v + 1 WHERE host = 'chain';
INSERT INTO t SELECT time, host, v FROM t WHERE host = 'chain';
DELETE FROM t WHERE host = 'chain' AND v % 4 = 0;
SELECT v FROM t WHERE host = 'chain' AND v < 20 ORDER BY v FOR UPDATE;
COMMIT;
CALL settle();
SELECT host, count(*), sum(v) FROM t GROUP BY host ORDER BY host;
\set ECHO none
