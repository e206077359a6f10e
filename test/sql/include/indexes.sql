\ir begin.sql
\set ECHO all
CREATE TABLE t (time timestamptz, host text, v int, f float8, note text);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 7, i, i / 4.0, 'n' || i % 10 FROM generate_series(1, 500) i;
CALL settle();
INSERT INTO t SELECT '2024-02-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 7, i, i / 4.0, NULL FROM generate_series(501, 510) i;
-- Found by an index: what a sequential scan finds
CREATE FUNCTION find(condition text) RETURNS TABLE (plan text, rows bigint, sum bigint, same boolean) LANGUAGE plpgsql AS $$
DECLARE
	line text;
	rows_seq bigint;
	sum_seq bigint;
BEGIN
	SET LOCAL enable_seqscan = off;
	SET LOCAL enable_bitmapscan = off;
	SET LOCAL metricsdb.enable_custom_scan = off;
	FOR line IN EXECUTE 'EXPLAIN (COSTS off) SELECT * FROM t WHERE ' || condition LOOP
		plan := coalesce(plan, substring(line FROM '(Index Scan|Index Only Scan|Seq Scan)'));
	END LOOP;
	EXECUTE 'SELECT count(*), sum(v) FROM (SELECT * FROM t WHERE ' || condition || ' OFFSET 0) x' INTO rows, sum;
	SET LOCAL enable_seqscan = on;
	SET LOCAL enable_indexscan = off;
	SET LOCAL enable_indexonlyscan = off;
	EXECUTE 'SELECT count(*), sum(v) FROM (SELECT * FROM t WHERE ' || condition || ' OFFSET 0) x' INTO rows_seq, sum_seq;
	SET LOCAL enable_indexscan = on;
	SET LOCAL enable_indexonlyscan = on;
	same := rows = rows_seq AND sum IS NOT DISTINCT FROM sum_seq;
	RETURN NEXT;
END $$;
CREATE INDEX t_v ON t (v);
SELECT * FROM find('v = 17');
SELECT * FROM find('v BETWEEN 490 AND 505');
SELECT * FROM find('v > 1000');
-- Rows that come and go after it was made
INSERT INTO t SELECT '2024-03-01Z'::timestamptz + i * '1 min'::interval, 'late', i, i, 'x' FROM generate_series(601, 750) i;
INSERT INTO t VALUES ('2024-03-02Z', 'late', 760, 1, 'x'), ('2024-03-02Z', 'late', NULL, 1, 'x');
SELECT * FROM find('v BETWEEN 495 AND 760');
DELETE FROM t WHERE v BETWEEN 10 AND 20;
UPDATE t SET v = v + 10000 WHERE v BETWEEN 30 AND 40;
UPDATE t SET note = 'not the key' WHERE v BETWEEN 50 AND 60;
SELECT * FROM find('v < 70');
SELECT * FROM find('v >= 10000');
SELECT * FROM find('v IS NULL');
SELECT * FROM find('v = ANY (''{1,2,15,50,605,10030}'')');
CALL settle();
SELECT * FROM find('v < 70');
SELECT * FROM find('v >= 10000');
SELECT * FROM find('v BETWEEN 495 AND 760');
-- Hash, GiST, SP-GiST, several columns, expressions, INCLUDE, partial, descending, of time and series
CREATE INDEX t_note ON t USING hash (note);
CREATE INDEX t_two ON t (host, v DESC NULLS LAST);
CREATE INDEX t_expr ON t ((v % 100), lower(host));
CREATE INDEX t_part ON t (f) WHERE host = 'h3';
CREATE INDEX t_incl ON t (time) INCLUDE (v, host);
CREATE INDEX t_gist ON t USING gist (int8range(v, v + 2));
CREATE INDEX t_spgist ON t USING spgist (note);
SELECT * FROM find('note = ''n3''');
SELECT * FROM find('host = ''h2'' AND v BETWEEN 100 AND 200');
SELECT * FROM find('v % 100 = 7 AND lower(host) = ''h2''');
SELECT * FROM find('host = ''h3'' AND f < 50');
SELECT * FROM find('time >= ''2024-03-01Z''');
SELECT * FROM find('int8range(v, v + 2) && ''[107,120)''');
SELECT * FROM find('note ^@ ''n3''');
SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass AND indisvalid AND indisready;
UPDATE t SET host = 'h3' WHERE v BETWEEN 100 AND 110;
UPDATE t SET host = 'H9', note = 'n3', f = -f WHERE v BETWEEN 105 AND 115;
DELETE FROM t WHERE v BETWEEN 200 AND 210;
INSERT INTO t SELECT '2024-04-01Z', 'h3', i, i, 'n3' FROM generate_series(100, 250, 3) i;
SELECT * FROM find('note = ''n3''');
SELECT * FROM find('host = ''h2'' AND v BETWEEN 100 AND 250');
SELECT * FROM find('v % 100 = 7 AND lower(host) = ''h9''');
SELECT * FROM find('host = ''h3'' AND f < 50');
SELECT * FROM find('time >= ''2024-03-01Z''');
SELECT * FROM find('int8range(v, v + 2) && ''[107,120)''');
SELECT * FROM find('note ^@ ''n3''');
CALL settle();
SELECT * FROM find('note = ''n3''');
SELECT * FROM find('host = ''h3'' AND f < 50');
SELECT * FROM find('v % 100 = 7 AND lower(host) = ''h9''');
SELECT * FROM find('int8range(v, v + 2) && ''[107,120)''');
SELECT * FROM find('note ^@ ''n3''');
-- REINDEX, and indexes made beside others
REINDEX INDEX t_v;
REINDEX TABLE t;
SELECT * FROM find('v < 70');
SELECT * FROM find('note = ''n3''');
CREATE INDEX CONCURRENTLY t_f ON t (f, v);
SELECT * FROM find('f BETWEEN 100 AND 102');
CREATE UNIQUE INDEX CONCURRENTLY t_unique ON t (v) WHERE host = 'late';
REINDEX INDEX CONCURRENTLY t_f;
REINDEX TABLE CONCURRENTLY t;
SELECT * FROM find('f BETWEEN 100 AND 102');
SELECT * FROM find('v < 70');
SELECT relname FROM pg_class JOIN pg_index ON indexrelid = pg_class.oid WHERE indrelid = 't'::regclass ORDER BY 1;
DROP INDEX CONCURRENTLY t_f;
-- Unique: found at once, found while it is made
INSERT INTO t VALUES (now(), 'late', 605, 1, 'x');
INSERT INTO t VALUES (now(), 'other', 605, 1, 'other');
UPDATE t SET host = 'late' WHERE host = 'other';
-- (which of the keys that are there twice is found first depends on the order of rows)
\set VERBOSITY terse
CREATE UNIQUE INDEX t_bad ON t (v);
CREATE UNIQUE INDEX CONCURRENTLY t_bad ON t (note);
SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('t_bad');
DROP INDEX t_bad;
DELETE FROM t WHERE host = 'other';
\set VERBOSITY default
-- In the transaction that filled the table, and with rows that others of its commands deleted
BEGIN;
CREATE TABLE own (time timestamptz, k int);
INSERT INTO own SELECT '2024-01-01Z', i FROM generate_series(1, 200) i;
DELETE FROM own WHERE k % 2 = 0;
UPDATE own SET k = k + 1 WHERE k < 100;
CREATE UNIQUE INDEX ON own (k);
INSERT INTO own SELECT '2024-01-01Z', i FROM generate_series(1, 99, 2) i;
SAVEPOINT s;
INSERT INTO own VALUES (NULL, 2);
ROLLBACK TO s;
SET LOCAL enable_seqscan = off;
SELECT k FROM own WHERE k BETWEEN 95 AND 105 ORDER BY k;
COMMIT;
SELECT count(*), sum(k) FROM own;
-- Indexes and the columns below them
ALTER TABLE t ALTER v TYPE bigint;
SELECT * FROM find('v < 70');
ALTER TABLE t ADD COLUMN added int DEFAULT 5;
CREATE INDEX t_added ON t (added);
UPDATE t SET added = 6 WHERE v = 1;
SELECT * FROM find('added = 6');
ALTER TABLE t DROP COLUMN note;
SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass;
TRUNCATE t;
SELECT * FROM find('v < 70');
INSERT INTO t (time, host, v, f) SELECT '2024-01-01Z', 'h3', i, i FROM generate_series(1, 130) i;
SELECT * FROM find('v < 70');
SELECT * FROM find('host = ''h3'' AND f < 50');
-- The kinds that are made with a table; on partitions
CREATE TABLE made (id int PRIMARY KEY, name text UNIQUE, time timestamptz);
INSERT INTO made SELECT i, 'n' || i FROM generate_series(1, 120) i;
CREATE TABLE liked (LIKE made INCLUDING ALL);
INSERT INTO liked SELECT * FROM made;
INSERT INTO liked SELECT * FROM made WHERE id = 5;
CREATE TABLE p (time timestamptz, v int) PARTITION BY RANGE (v);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
CREATE INDEX p_v ON p (v);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200) USING heap;
CREATE TABLE p3 PARTITION OF p DEFAULT;
INSERT INTO p SELECT '2024-01-01Z', i FROM generate_series(1, 300) i;
CALL settle();
REINDEX TABLE p;
SET enable_seqscan = off;
SELECT count(*), sum(v) FROM p WHERE v BETWEEN 90 AND 210;
SELECT name FROM made WHERE id = 77;
SELECT id FROM liked WHERE name = 'n78';
RESET enable_seqscan;
-- Temporary and unlogged ones
CREATE TEMP TABLE tmp (k int PRIMARY KEY, time timestamptz);
INSERT INTO tmp SELECT i FROM generate_series(1, 150) i;
CREATE UNLOGGED TABLE u (k int PRIMARY KEY, time timestamptz);
INSERT INTO u SELECT i FROM generate_series(1, 150) i;
CALL settle();
INSERT INTO tmp VALUES (5);
INSERT INTO u VALUES (5);
DELETE FROM tmp WHERE k = 5;
UPDATE u SET k = 1000 WHERE k = 5;
INSERT INTO tmp VALUES (5);
INSERT INTO u VALUES (5);
SELECT (SELECT sum(k) FROM tmp), (SELECT sum(k) FROM u);
DROP TABLE tmp;
\set ECHO none
