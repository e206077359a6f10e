\ir begin.sql
\set ECHO all
CREATE TABLE t (time timestamptz, host text, v int);
-- Rollback
BEGIN;
INSERT INTO t SELECT '2024-01-01Z', 'a', i FROM generate_series(1, 5) i;
INSERT INTO t SELECT '2024-01-01Z', 'b', i FROM generate_series(1, 2000) i;
SELECT host, count(*), sum(v) FROM t GROUP BY host ORDER BY host;
ROLLBACK;
SELECT count(*) FROM t;
BEGIN;
INSERT INTO t VALUES ('2024-01-01Z', 'c', 1);
INSERT INTO t VALUES ('2024-01-01Z', 'c', 1 / 0);
SELECT count(*) FROM t;
ROLLBACK;
SELECT count(*) FROM t;
-- A statement that fails in the middle leaves nothing
INSERT INTO t SELECT '2024-01-01Z', 'd', 10 / (1500 - i) FROM generate_series(1, 3000) i;
SELECT count(*) FROM t;

-- Savepoints, with reads after the writes
BEGIN;
INSERT INTO t SELECT '2024-01-01Z', 'a', i FROM generate_series(1, 20) i;
SAVEPOINT one;
INSERT INTO t SELECT '2024-01-01Z', 'b', i FROM generate_series(1, 20) i;
SELECT host, count(*) FROM t GROUP BY host ORDER BY host;
SAVEPOINT two;
INSERT INTO t VALUES ('2024-01-01Z', 'c', 1);
SELECT host, count(*) FROM t GROUP BY host ORDER BY host;
ROLLBACK TO two;
SELECT host, count(*) FROM t GROUP BY host ORDER BY host;
INSERT INTO t VALUES ('2024-01-01Z', 'e', 1);
RELEASE two;
ROLLBACK TO one;
INSERT INTO t SELECT '2024-01-01Z', 'b', i FROM generate_series(1, 3) i;
RELEASE one;
SELECT host, count(*) FROM t GROUP BY host ORDER BY host;
COMMIT;
SELECT host, count(*) FROM t GROUP BY host ORDER BY host;

-- The same series, first named in what is rolled back
BEGIN;
SAVEPOINT s;
INSERT INTO t SELECT '2024-01-02Z', 'new', i FROM generate_series(1, 20) i;
ROLLBACK TO s;
INSERT INTO t SELECT '2024-01-02Z', 'new', i FROM generate_series(1, 15) i;
COMMIT;
BEGIN;
INSERT INTO t SELECT '2024-01-02Z', 'newer', i FROM generate_series(1, 20) i;
ROLLBACK;
INSERT INTO t SELECT '2024-01-02Z', 'newer', i FROM generate_series(1, 15) i;
\c
\ir again.sql
SELECT host, count(*) FROM t WHERE host LIKE 'new%' GROUP BY host ORDER BY host;

-- Functions with exception blocks: they read and write within one statement
CREATE FUNCTION try(i int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
BEGIN
	INSERT INTO t VALUES ('2024-01-03Z', 'outer', i);
	BEGIN
		INSERT INTO t VALUES ('2024-01-03Z', 'inner', i);
		SELECT count(*) INTO n FROM t WHERE host IN ('outer', 'inner');
		IF i % 3 = 0 THEN
			RAISE EXCEPTION 'no';
		END IF;
	EXCEPTION WHEN raise_exception THEN
		SELECT -count(*) INTO n FROM t WHERE host IN ('outer', 'inner');
	END;
	RETURN n;
END $$;
SELECT i, try(i) FROM generate_series(1, 7) i;
SELECT host, count(*), sum(v) FROM t WHERE time = '2024-01-03Z' GROUP BY host ORDER BY host;
-- ... called from a statement that itself inserts into the table
INSERT INTO t SELECT '2024-01-04Z', 'try', try(i) FROM generate_series(1, 30) i;
SELECT host, count(*), sum(v) FROM t WHERE time >= '2024-01-03Z' GROUP BY host ORDER BY host;
INSERT INTO t SELECT '2024-01-05Z', 'try', try(i) FROM generate_series(1, 1200) i;
SELECT host, count(*), sum(v) FROM t WHERE time >= '2024-01-03Z' GROUP BY host ORDER BY host;
-- A subtransaction that fails after the outer statement has buffered rows
CREATE FUNCTION fail(i int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		INSERT INTO t SELECT '2024-01-06Z', 'lost', k FROM generate_series(1, 12) k;
		PERFORM 1 / (i % 2);
		RETURN i;
	EXCEPTION WHEN division_by_zero THEN
		RETURN -i;
	END;
END $$;
INSERT INTO t SELECT '2024-01-06Z', 'kept', fail(i) FROM generate_series(1, 40) i;
SELECT host, count(*), sum(v) FROM t WHERE time = '2024-01-06Z' GROUP BY host ORDER BY host;
-- A volatile function sees the rows of the statements before, a stable one those of the snapshot
CREATE FUNCTION seen() RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT count(*) FROM t';
CREATE FUNCTION seen_stable() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM t';
TRUNCATE t;
INSERT INTO t SELECT '2024-01-07Z', 'x', seen() FROM generate_series(1, 5) i;
INSERT INTO t SELECT '2024-01-07Z', 'y', seen_stable() FROM generate_series(1, 5) i;
INSERT INTO t SELECT '2024-01-07Z', 'z', count(*) FROM t;
SELECT host, v, count(*) FROM t GROUP BY host, v ORDER BY host, v;

-- DO blocks with COMMIT and ROLLBACK
DO $$
BEGIN
	FOR i IN 1 .. 6 LOOP
		INSERT INTO t SELECT '2024-01-08Z', 'do', i FROM generate_series(1, 4 * i);
		IF i % 2 = 0 THEN COMMIT; ELSE ROLLBACK; END IF;
	END LOOP;
END $$;
SELECT v, count(*) FROM t WHERE host = 'do' GROUP BY v ORDER BY v;
-- Repeatable read
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM t;
INSERT INTO t SELECT '2024-01-09Z', 'rr', i FROM generate_series(1, 11) i;
SELECT count(*) FROM t;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
INSERT INTO t SELECT '2024-01-09Z', 'ser', i FROM generate_series(1, 11) i;
SELECT count(*) FROM t;
COMMIT;
BEGIN READ ONLY;
INSERT INTO t VALUES ('2024-01-09Z', 'ro', 1);
ROLLBACK;
-- Prepared transactions, where they are allowed
SELECT current_setting('max_prepared_transactions')::int > 0 AS can_prepare \gset
\if :can_prepare
BEGIN;
INSERT INTO t SELECT '2024-01-10Z', 'prep', i FROM generate_series(1, 5) i;
INSERT INTO t SELECT '2024-01-10Z', 'prep', i FROM generate_series(1, 50) i;
PREPARE TRANSACTION 'mdb_one';
BEGIN;
INSERT INTO t SELECT '2024-01-10Z', 'gone', i FROM generate_series(1, 50) i;
PREPARE TRANSACTION 'mdb_two';
SELECT count(*) FROM t WHERE time = '2024-01-10Z';
COMMIT PREPARED 'mdb_one';
ROLLBACK PREPARED 'mdb_two';
\else
INSERT INTO t SELECT '2024-01-10Z', 'prep', i FROM generate_series(1, 55) i;
\endif
SELECT host, count(*) FROM t WHERE time = '2024-01-10Z' GROUP BY host;
INSERT INTO t SELECT '2024-01-11Z', 'gone', i FROM generate_series(1, 50) i;
SELECT host, count(*) FROM t WHERE time = '2024-01-11Z' GROUP BY host;
\set ECHO none
