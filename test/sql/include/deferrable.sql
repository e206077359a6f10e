\ir begin.sql
\set ECHO all
-- Checked row by row, at the end of the statement, at commit
CREATE TABLE at_once (time timestamptz DEFAULT '2024-01-01Z', k int UNIQUE, v int);
CREATE TABLE statement (time timestamptz DEFAULT '2024-01-01Z', k int, v int, CONSTRAINT statement_key PRIMARY KEY (k) DEFERRABLE);
CREATE TABLE at_commit (time timestamptz DEFAULT '2024-01-01Z', k int, v int, CONSTRAINT commit_key UNIQUE (k) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO at_once (k, v) SELECT i, i FROM generate_series(1, 150) i;
INSERT INTO statement (k, v) SELECT i, i FROM generate_series(1, 150) i;
INSERT INTO at_commit (k, v) SELECT i, i FROM generate_series(1, 150) i;
CALL settle();
CREATE VIEW state AS SELECT 'at_once' AS what, count(*), count(DISTINCT k) AS ks, sum(k), sum(v) AS v, sum(k::bigint * v) AS product FROM at_once UNION ALL SELECT 'statement', count(*), count(DISTINCT k), sum(k), sum(v), sum(k::bigint * v) FROM statement
	UNION ALL SELECT 'at_commit', count(*), count(DISTINCT k), sum(k), sum(v), sum(k::bigint * v) FROM at_commit;
TABLE state;
UPDATE statement SET k = k + 1;
UPDATE at_commit SET k = k + 1;
UPDATE statement SET k = 152 - k WHERE k > 1;
UPDATE at_commit SET k = CASE k WHEN 5 THEN 6 WHEN 6 THEN 5 END WHERE k IN (5, 6);
TABLE state;
UPDATE at_once SET k = 5 WHERE k = 6;
UPDATE at_once SET k = 5 WHERE k IN (5, 6);
UPDATE statement SET k = 5 WHERE k = 6;
UPDATE at_commit SET k = 5 WHERE k = 6;
INSERT INTO at_once (k) VALUES (7);
INSERT INTO statement (k) VALUES (7);
INSERT INTO at_commit (k) VALUES (7);
TABLE state;
-- A key that was deleted or changed is free, at once and for later
DELETE FROM at_once WHERE k BETWEEN 10 AND 20;
INSERT INTO at_once (k, v) SELECT i, 1000 FROM generate_series(10, 20) i;
UPDATE at_once SET k = k + 1000 WHERE k BETWEEN 30 AND 40;
INSERT INTO at_once (k, v) SELECT i, 1001 FROM generate_series(30, 40) i;
UPDATE at_once SET k = k WHERE k < 60;
UPDATE at_once SET v = v + 1 WHERE k < 60;
INSERT INTO at_once (k) VALUES (15);
INSERT INTO at_once (k) VALUES (1035);
TABLE state;
CALL settle();
INSERT INTO at_once (k) VALUES (15);
INSERT INTO at_once (k) VALUES (1035);
INSERT INTO at_once (k) VALUES (100);
UPDATE at_once SET k = 15 WHERE k = 1035;
-- NULLs are no conflict, unless they are said to be
INSERT INTO at_once (k, v) VALUES (NULL, 1), (NULL, 2);
UPDATE at_once SET k = NULL WHERE k = 50;
SELECT count(*) FROM at_once WHERE k IS NULL;
CREATE TABLE nulls (k int, v int, UNIQUE NULLS NOT DISTINCT (k));
INSERT INTO nulls SELECT i, i FROM generate_series(1, 110) i;
INSERT INTO nulls VALUES (NULL, 1);
CALL settle();
INSERT INTO nulls VALUES (NULL, 2);
UPDATE nulls SET k = NULL WHERE k = 5;
SELECT count(*), count(k) FROM nulls;
-- Deferred: broken for a while, and mended
BEGIN;
INSERT INTO at_commit (k, v) VALUES (7, 7), (8, 8), (2000, 0), (2000, 0);
SELECT count(*) FROM at_commit WHERE k IN (7, 8, 2000);
DELETE FROM at_commit WHERE k IN (7, 8) AND v IN (7, 8);
UPDATE at_commit SET k = 2001 WHERE ctid = (SELECT max(ctid) FROM at_commit WHERE k = 2000);
COMMIT;
TABLE state;
BEGIN;
UPDATE at_commit SET k = 20 WHERE k = 21;
SAVEPOINT s;
SET CONSTRAINTS commit_key IMMEDIATE;
ROLLBACK TO s;
UPDATE at_commit SET k = 21 WHERE ctid = (SELECT min(ctid) FROM at_commit WHERE k = 20);
SET CONSTRAINTS commit_key IMMEDIATE;
INSERT INTO at_commit (k) VALUES (20);
ROLLBACK;
BEGIN;
SET CONSTRAINTS statement_key DEFERRED;
INSERT INTO statement (k, v) SELECT i, 0 FROM generate_series(140, 160) i;
DELETE FROM statement WHERE v = 0 AND k <= 151;
COMMIT;
TABLE state;
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO statement (k, v) SELECT i, 0 FROM generate_series(150, 170) i;
COMMIT;
TABLE state;
-- Under savepoints
BEGIN;
INSERT INTO at_once (k, v) VALUES (3000, 1);
SAVEPOINT a;
DELETE FROM at_once WHERE k = 3000;
INSERT INTO at_once (k, v) VALUES (3000, 2);
ROLLBACK TO a;
SAVEPOINT b;
INSERT INTO at_once (k, v) VALUES (3000, 3);
ROLLBACK TO b;
DELETE FROM at_once WHERE k = 3000;
INSERT INTO at_once (k, v) VALUES (3000, 4);
COMMIT;
SELECT k, v FROM at_once WHERE k = 3000;
-- Many of its own keys, in one statement and more
BEGIN;
INSERT INTO at_once (k, v) SELECT i, 0 FROM generate_series(4000, 4200) i;
DELETE FROM at_once WHERE k BETWEEN 4000 AND 4100;
INSERT INTO at_once (k, v) SELECT i, 1 FROM generate_series(4000, 4100) i;
UPDATE at_once SET k = k + 1000 WHERE k >= 4000;
INSERT INTO at_once (k, v) SELECT i, 2 FROM generate_series(4000, 4200) i;
COMMIT;
INSERT INTO at_once (k) VALUES (5100);
TABLE state;
-- No foreign key to, and no arbiter of, a deferrable one; a plain one serves both
CREATE TABLE child (k int REFERENCES statement (k));
INSERT INTO statement (k) VALUES (1) ON CONFLICT (k) DO NOTHING;
INSERT INTO at_once (k) VALUES (100) ON CONFLICT (k) DO NOTHING;
-- Constraints added and dropped
ALTER TABLE statement DROP CONSTRAINT statement_key;
INSERT INTO statement (k, v) VALUES (100, -1);
ALTER TABLE statement ADD PRIMARY KEY (k);
DELETE FROM statement WHERE v = -1;
ALTER TABLE statement ADD PRIMARY KEY (k);
INSERT INTO statement (k) VALUES (100);
INSERT INTO statement (k) VALUES (NULL);
CREATE UNIQUE INDEX statement_v ON statement (v, k);
ALTER TABLE statement ADD CONSTRAINT from_index UNIQUE USING INDEX statement_v;
INSERT INTO statement (k, v) SELECT k + 10000, v FROM statement;
CALL settle();
TABLE state;
-- Exclusion by an operator of btree or hash is a unique constraint in other words
CREATE TABLE excl (k int, v int, EXCLUDE USING btree (k WITH =));
INSERT INTO excl SELECT i, i FROM generate_series(1, 110) i;
CALL settle();
INSERT INTO excl VALUES (50, 0);
INSERT INTO excl VALUES (50, 0), (111, 0) ON CONFLICT DO NOTHING;
UPDATE excl SET k = 51 WHERE k = 50;
DELETE FROM excl WHERE k = 50;
INSERT INTO excl VALUES (50, 0);
SELECT count(*), sum(k) FROM excl;
\set ECHO none
