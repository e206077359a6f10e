\ir begin.sql
\set ECHO all
CREATE TABLE t (time timestamptz, host text, v int);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, i FROM generate_series(1, 200) i;
CALL settle();
CREATE VIEW state AS SELECT count(*), sum(v), count(*) FILTER (WHERE host LIKE 's%') AS s, md5(string_agg(t::text, ',' ORDER BY v, t::text COLLATE "C")) FROM t;
TABLE state;
-- Several levels, released and rolled back
BEGIN;
UPDATE t SET v = v + 1000 WHERE v <= 50;
SAVEPOINT a;
DELETE FROM t WHERE v > 1040;
INSERT INTO t VALUES ('2024-02-01Z', 's1', 5000);
SAVEPOINT b;
UPDATE t SET host = 's2' WHERE v >= 1030;
INSERT INTO t SELECT '2024-02-01Z', 's3', i FROM generate_series(6000, 6150) i;
TABLE state;
SAVEPOINT c;
DELETE FROM t;
TABLE state;
ROLLBACK TO c;
TABLE state;
RELEASE b;
TABLE state;
ROLLBACK TO a;
TABLE state;
DELETE FROM t WHERE v > 1045;
SAVEPOINT d;
UPDATE t SET v = v + 1 WHERE v >= 1000;
RELEASE d;
RELEASE a;
TABLE state;
COMMIT;
TABLE state;
-- The same rows changed at each level, and rolled back to each
BEGIN;
UPDATE t SET v = -1 WHERE v = 100;
SAVEPOINT a;
UPDATE t SET v = -2 WHERE v = -1;
SAVEPOINT b;
UPDATE t SET v = -3 WHERE v = -2;
SAVEPOINT c;
DELETE FROM t WHERE v = -3;
SELECT v FROM t WHERE v < 0;
ROLLBACK TO c;
SELECT v FROM t WHERE v < 0;
ROLLBACK TO b;
SELECT v FROM t WHERE v < 0;
ROLLBACK TO a;
SELECT v FROM t WHERE v < 0;
DELETE FROM t WHERE v = -1;
INSERT INTO t VALUES ('2024-01-01Z', 'back', -1);
COMMIT;
SELECT host, v FROM t WHERE v < 0;
-- Rolled back, and done again: a row that a subtransaction deleted in vain is there for the next
BEGIN;
SAVEPOINT a;
DELETE FROM t WHERE v BETWEEN 101 AND 110;
ROLLBACK TO a;
DELETE FROM t WHERE v BETWEEN 101 AND 110;
ROLLBACK TO a;
UPDATE t SET v = v + 2000 WHERE v BETWEEN 101 AND 110;
ROLLBACK TO a;
UPDATE t SET v = v + 3000 WHERE v BETWEEN 101 AND 110;
COMMIT;
TABLE state;
BEGIN; DELETE FROM t WHERE v = 120; ROLLBACK;
BEGIN; DELETE FROM t WHERE v = 120; ROLLBACK;
UPDATE t SET v = -120 WHERE v = 120;
BEGIN; UPDATE t SET v = 1 WHERE v = -120; ROLLBACK;
DELETE FROM t WHERE v = -120;
TABLE state;
CALL settle();
TABLE state;
-- Errors in the middle of a statement
BEGIN;
UPDATE t SET v = v + 1 WHERE v BETWEEN 130 AND 140;
SAVEPOINT a;
UPDATE t SET v = 1 / (v - 150) WHERE v > 100;
ROLLBACK TO a;
DELETE FROM t WHERE v = 131 OR 1 / (v - 160) > 5;
ROLLBACK TO a;
UPDATE t SET v = v + 1 WHERE v BETWEEN 130 AND 141;
COMMIT;
TABLE state;
-- Exception blocks
CREATE FUNCTION attempts(n int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	failed int := 0;
BEGIN
	FOR i IN 1 .. n LOOP
		BEGIN
			UPDATE t SET v = v + 1 WHERE v = 150 + i;
			INSERT INTO t VALUES ('2024-03-01Z', 'attempt', i);
			IF i % 3 = 0 THEN RAISE division_by_zero; END IF;
			DELETE FROM t WHERE host = 'attempt' AND v = i - 1;
			BEGIN
				UPDATE t SET host = 'inner' WHERE host = 'attempt' AND v = i;
				IF i % 2 = 0 THEN RAISE unique_violation; END IF;
			EXCEPTION WHEN unique_violation THEN
				UPDATE t SET v = -i WHERE host = 'attempt' AND v = i;
			END;
		EXCEPTION WHEN division_by_zero THEN
			failed := failed + 1;
		END;
	END LOOP;
	RETURN failed;
END $$;
SELECT attempts(20);
SELECT host, count(*), sum(v) FROM t WHERE host IN ('attempt', 'inner') GROUP BY host ORDER BY host;
TABLE state;
-- In the middle of a statement that writes to the same table
CREATE FUNCTION meddle(i int, fail boolean) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	k int;
BEGIN
	BEGIN
		UPDATE t SET v = v + 100000 WHERE host = 'meddle' AND v < 100000;
		GET DIAGNOSTICS k = ROW_COUNT;
		DELETE FROM t WHERE host = 'meddle' AND v % 10 = 5;
		IF fail AND i % 2 = 0 THEN RAISE division_by_zero; END IF;
	EXCEPTION WHEN division_by_zero THEN
		RETURN -k;
	END;
	RETURN k;
END $$;
INSERT INTO t SELECT '2024-04-01Z', 'meddle', 10 * i + abs(meddle(i, false)) FROM generate_series(1, 12) i;
SELECT v FROM t WHERE host = 'meddle' ORDER BY v;
DELETE FROM t WHERE host = 'meddle';
INSERT INTO t SELECT '2024-04-01Z', 'meddle', 10 * i + abs(meddle(i, true)) FROM generate_series(1, 12) i;
SELECT v FROM t WHERE host = 'meddle' ORDER BY v;
INSERT INTO t SELECT '2024-04-01Z', 'bulk', i FROM generate_series(1, 150) i WHERE i <> 75 OR meddle(i, true) < 100000;
SELECT host, count(*), sum(v) FROM t WHERE host IN ('meddle', 'bulk') GROUP BY host ORDER BY host;
-- Many subtransactions in one transaction
DO $$
BEGIN
	FOR i IN 1 .. 150 LOOP
		BEGIN
			IF i % 2 = 0 THEN UPDATE t SET v = v + 1 WHERE host = 'bulk' AND v = i; ELSE DELETE FROM t WHERE host = 'bulk' AND v = i; END IF;
			IF i % 5 = 0 THEN RAISE division_by_zero; END IF;
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP;
END $$;
SELECT count(*), sum(v) FROM t WHERE host = 'bulk';
-- Locks under savepoints
BEGIN;
SAVEPOINT a;
SELECT count(*) FROM (SELECT FROM t WHERE host = 'bulk' FOR UPDATE) x;
ROLLBACK TO a;
SELECT count(*) FROM (SELECT FROM t WHERE host = 'bulk' FOR KEY SHARE) x;
SAVEPOINT b;
UPDATE t SET v = v + 1 WHERE host = 'bulk';
SELECT count(*) FROM (SELECT FROM t WHERE host = 'bulk' FOR UPDATE) x;
ROLLBACK TO b;
DELETE FROM t WHERE host = 'bulk' AND v < 50;
COMMIT;
SELECT count(*), sum(v) FROM t WHERE host = 'bulk';
-- Procedures that commit on the way
CREATE PROCEDURE steps() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 10 LOOP
		UPDATE t SET v = v + 1 WHERE host = 'bulk';
		INSERT INTO t VALUES ('2024-05-01Z', 'step', i);
		IF i % 3 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
		DELETE FROM t WHERE host = 'step' AND v = i - 1;
	END LOOP;
END $$;
CALL steps();
SELECT host, count(*), sum(v) FROM t WHERE host IN ('bulk', 'step') GROUP BY host ORDER BY host;
CALL settle();
TABLE state;
\set ECHO none
