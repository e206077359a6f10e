SET default_table_access_method = :am;
SET metricsdb.direct_rows = :direct_rows;
\ir begin.sql
\set ECHO all
-- Rows move into parts, and parts into others, while indexes follow.
CREATE TABLE t (id int PRIMARY KEY, time timestamptz, host text, v int, note text);
CREATE INDEX t_host ON t (host, time);
CREATE INDEX t_part ON t (v) WHERE v % 3 = 0;
CREATE INDEX t_expr ON t (lower(note), (id / 10));
CREATE INDEX t_hash ON t USING hash (host);
CREATE FUNCTION grow(a int, b int) RETURNS void LANGUAGE sql AS
	$$INSERT INTO t SELECT i, '2024-01-01Z'::timestamptz + i * '7 min'::interval, 'h' || i % 7, i * 31 % 997, 'N' || i % 50 FROM generate_series(a, b) i$$;
-- each index, and no index
CREATE FUNCTION ways() RETURNS TABLE (way text, n bigint, ids bigint) LANGUAGE plpgsql SET enable_bitmapscan = off SET metricsdb.enable_custom_scan = off AS $$
DECLARE q text;
BEGIN
	FOR way, q IN VALUES ('key', 'id BETWEEN 300 AND 4200'), ('host', $q$host = 'h3' AND time > '2024-01-03Z'$q$),
		('part', 'v % 3 = 0 AND v > 100'), ('expr', $q$lower(note) = 'n7' AND id / 10 > 4$q$), ('hash', $q$host = 'h5'$q$)
	LOOP
		PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_indexscan', 'on', true);
		EXECUTE 'SELECT count(*), sum(id) FROM t WHERE ' || q INTO n, ids;
		RETURN NEXT;
		PERFORM set_config('enable_seqscan', 'on', true), set_config('enable_indexscan', 'off', true);
		EXECUTE 'SELECT count(*), sum(id) FROM t WHERE ' || q INTO n, ids;
		RETURN NEXT;
	END LOOP;
END $$;
SELECT grow(1, 2000);
CALL settle();
SELECT * FROM ways();
SELECT grow(2001, 5000);
CALL settle();
SELECT * FROM ways();
-- a snapshot of before the move
BEGIN ISOLATION LEVEL REPEATABLE READ;
SET LOCAL enable_seqscan = off;
SELECT id, host, v FROM t WHERE id IN (17, 3000) ORDER BY id;
DECLARE c CURSOR FOR SELECT id, v FROM t WHERE id BETWEEN 40 AND 44 ORDER BY id;
FETCH 2 FROM c;
UPDATE t SET v = v + 1 WHERE id = 42;
UPDATE t SET v = v + 1 WHERE CURRENT OF c;
FETCH ALL FROM c;
SELECT id, v FROM t WHERE id BETWEEN 40 AND 44 ORDER BY id;
COMMIT;
-- uniqueness of rows that moved
INSERT INTO t VALUES (17);
INSERT INTO t VALUES (4999);
INSERT INTO t VALUES (17, now(), 'x', 1, 'x') ON CONFLICT DO NOTHING;
INSERT INTO t VALUES (17, now(), 'x', 1, 'x'), (6000, '2024-05-05Z', 'x', 1, 'x') ON CONFLICT (id) DO UPDATE SET note = 'again', v = t.v + 1;
SELECT id, host, v, note FROM t WHERE id IN (17, 6000) ORDER BY id;
UPDATE t SET id = 18 WHERE id = 17;
UPDATE t SET id = 7000 WHERE id = 17;
INSERT INTO t VALUES (17, '2024-01-01Z', 'h3', 5, 'new');
CALL settle();
SELECT id, host, v, note FROM t WHERE id IN (17, 6000, 7000) ORDER BY id;
SELECT * FROM ways();
-- many dead rows
DELETE FROM t WHERE id % 3 = 1;
UPDATE t SET v = v + 3, note = upper(note) WHERE id % 5 = 0;
CALL settle();
SELECT * FROM ways();
VACUUM (INDEX_CLEANUP on) t;
SELECT * FROM ways();
SELECT relname, reltuples FROM pg_class WHERE oid IN ('t_pkey'::regclass, 't_host'::regclass) ORDER BY 1;
SELECT count(grow(i, i)) FROM generate_series(1, 5000, 3) i;
CALL settle();
VACUUM (INDEX_CLEANUP on) t;
VACUUM (INDEX_CLEANUP on) t;
SELECT * FROM ways();
-- foreign keys and deferred constraints
CREATE TABLE child (id int PRIMARY KEY, t int REFERENCES t ON DELETE CASCADE ON UPDATE CASCADE, n int UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO child SELECT i, i, i FROM generate_series(1, 300) i;
CALL settle();
INSERT INTO child VALUES (301, 9999, 301);
INSERT INTO child VALUES (301, 301, 7);
BEGIN;
UPDATE child SET n = n + 1;
SELECT sum(n) FROM child;
COMMIT;
DELETE FROM t WHERE id = 30;
UPDATE t SET id = 8001 WHERE id = 31;
CALL settle();
SELECT * FROM child WHERE id IN (29, 30, 31) ORDER BY id;
SELECT count(*) FROM child WHERE n BETWEEN 5 AND 50;
SELECT conname, convalidated FROM pg_constraint WHERE conrelid = 'child'::regclass AND contype <> 'n' ORDER BY 1;
-- concurrently, and again
REINDEX TABLE CONCURRENTLY t;
REINDEX TABLE t;
SELECT * FROM ways();
\set ECHO none
