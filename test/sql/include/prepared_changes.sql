\ir begin.sql
\set ECHO all
CREATE TABLE t (time timestamptz, host text, v int);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, i FROM generate_series(1, 200) i;
CREATE TABLE k (id int PRIMARY KEY, time timestamptz, v int);
INSERT INTO k SELECT i, NULL, i FROM generate_series(1, 150) i;
CALL settle();
CREATE VIEW state AS SELECT (SELECT count(*) FROM k) AS k, (SELECT sum(v) FROM k) AS k_sum, count(*), sum(v), md5(string_agg(t::text, ',' ORDER BY v, t::text COLLATE "C")) FROM t;
TABLE state;
-- Changes of all kinds, committed
BEGIN;
UPDATE t SET v = v + 1000 WHERE v <= 20;
DELETE FROM t WHERE v BETWEEN 21 AND 40;
INSERT INTO t VALUES ('2024-02-01Z', 'p', 500);
INSERT INTO t SELECT '2024-02-01Z', 'p', i FROM generate_series(501, 650) i;
UPDATE t SET v = v + 1 WHERE v > 640 AND v < 1000;
INSERT INTO k SELECT i, NULL, 0 FROM generate_series(140, 160) i ON CONFLICT (id) DO UPDATE SET v = -1;
SELECT count(*) FROM (SELECT FROM t WHERE v BETWEEN 41 AND 50 FOR UPDATE) x;
PREPARE TRANSACTION 'one';
TABLE state;
-- ... another cannot have what it holds, and can have the rest
SET lock_timeout = '100ms';
\set SHOW_CONTEXT never
UPDATE t SET v = 0 WHERE v = 30;
UPDATE t SET v = 0 WHERE v = 45;
DELETE FROM t WHERE v = 10;
INSERT INTO k VALUES (155, NULL, 9);
SELECT v FROM t WHERE v = 46 FOR UPDATE NOWAIT;
SELECT v FROM t WHERE v BETWEEN 39 AND 52 ORDER BY v FOR UPDATE SKIP LOCKED;
SELECT v FROM t WHERE v BETWEEN 46 AND 47 ORDER BY v FOR KEY SHARE SKIP LOCKED;
RESET lock_timeout;
\set SHOW_CONTEXT errors
UPDATE t SET host = 'other' WHERE v = 60;
TABLE state;
COMMIT PREPARED 'one';
TABLE state;
CALL settle();
TABLE state;
-- Rolled back
BEGIN;
UPDATE t SET v = v + 5000 WHERE v BETWEEN 100 AND 120;
DELETE FROM t WHERE v > 1000 AND v < 1010;
UPDATE k SET id = id + 1000 WHERE id <= 10;
DELETE FROM k WHERE id = 20;
PREPARE TRANSACTION 'two';
CALL settle();
TABLE state;
ROLLBACK PREPARED 'two';
TABLE state;
UPDATE t SET v = v + 1 WHERE v BETWEEN 100 AND 120;
INSERT INTO k VALUES (20, NULL, 0);
DELETE FROM k WHERE id = 20;
TABLE state;
-- With savepoints
BEGIN;
DELETE FROM t WHERE v = 130;
SAVEPOINT a;
DELETE FROM t WHERE v BETWEEN 131 AND 140;
UPDATE t SET v = -v WHERE v BETWEEN 141 AND 150;
ROLLBACK TO a;
UPDATE t SET v = -v WHERE v BETWEEN 151 AND 155;
SAVEPOINT b;
DELETE FROM t WHERE v BETWEEN -153 AND -151;
RELEASE b;
PREPARE TRANSACTION 'three';
SELECT count(*) FROM t WHERE v BETWEEN 130 AND 160;
COMMIT PREPARED 'three';
SELECT count(*), sum(v) FROM t WHERE abs(v) BETWEEN 130 AND 160;
-- Deferred constraints are checked at PREPARE; triggers and held cursors
CREATE TABLE child (id int REFERENCES k DEFERRABLE INITIALLY DEFERRED);
BEGIN;
INSERT INTO child VALUES (9999);
PREPARE TRANSACTION 'four';
BEGIN;
INSERT INTO child VALUES (5);
PREPARE TRANSACTION 'five';
SET lock_timeout = '100ms';
\set SHOW_CONTEXT never
DELETE FROM k WHERE id = 5;
UPDATE k SET v = v + 1 WHERE id = 5;
RESET lock_timeout;
\set SHOW_CONTEXT errors
COMMIT PREPARED 'five';
DELETE FROM k WHERE id = 5;
-- A table that was made and dropped in it
BEGIN;
CREATE TABLE made (time timestamptz, v int);
INSERT INTO made SELECT NULL, i FROM generate_series(1, 120) i;
DELETE FROM made WHERE v > 100;
PREPARE TRANSACTION 'six';
COMMIT PREPARED 'six';
SELECT count(*) FROM made;
BEGIN;
UPDATE made SET v = v + 1;
DROP TABLE made;
PREPARE TRANSACTION 'seven';
ROLLBACK PREPARED 'seven';
SELECT count(*), sum(v) FROM made;
SELECT count(*) FROM pg_prepared_xacts;
CALL settle();
TABLE state;
\set ECHO none
