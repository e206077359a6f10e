\ir begin.sql
\set ECHO all
-- From a metricsdb table to one, to a heap, from a heap to one
CREATE TABLE device (id int PRIMARY KEY, name text, time timestamptz DEFAULT '2024-01-01Z');
CREATE TABLE site (name text PRIMARY KEY) USING heap;
INSERT INTO device SELECT i, 'd' || i FROM generate_series(1, 150) i;
INSERT INTO site SELECT 's' || i FROM generate_series(0, 4) i;
CREATE TABLE t (time timestamptz, device int REFERENCES device, site text REFERENCES site ON UPDATE CASCADE, v int);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 1 + i % 100, 's' || i % 5, i FROM generate_series(1, 300) i;
CREATE TABLE note (device int REFERENCES device ON DELETE CASCADE, note text) USING heap;
INSERT INTO note SELECT i, 'n' FROM generate_series(101, 150) i;
CALL settle();
CREATE VIEW state AS SELECT (SELECT count(*) FROM device) AS devices, count(*), sum(v), sum(device), count(DISTINCT site) AS sites, (SELECT count(*) FROM note) AS notes FROM t;
TABLE state;
-- No row without its device
INSERT INTO t VALUES ('2024-02-01Z', 999, 's1', 0);
INSERT INTO t SELECT '2024-02-01Z', i, 's1', 0 FROM generate_series(90, 200) i;
INSERT INTO t VALUES ('2024-02-01Z', 1, 'nowhere', 0);
INSERT INTO t VALUES ('2024-02-01Z', NULL, NULL, 0), ('2024-02-01Z', 150, 's1', 0);
UPDATE t SET device = 999 WHERE v = 1;
UPDATE t SET device = 149 WHERE v = 1;
INSERT INTO note VALUES (999, 'x');
UPDATE note SET device = 1000 WHERE device = 101;
COPY t FROM stdin;
2024-02-01 00:00:00+00	151	s1	0
\.
TABLE state;
-- No device goes that a row names
DELETE FROM device WHERE id = 5;
DELETE FROM device WHERE id > 149;
UPDATE device SET id = 1005 WHERE id = 5;
UPDATE device SET name = 'renamed', id = id WHERE id = 5;
DELETE FROM device WHERE id BETWEEN 101 AND 120;
UPDATE device SET id = 1121 WHERE id = 121;
TRUNCATE device;
TABLE state;
UPDATE site SET name = 'S1' WHERE name = 's1';
SELECT site, count(*), sum(v) FROM t GROUP BY site ORDER BY site;
DELETE FROM site WHERE name = 'S1';
CALL settle();
DELETE FROM t WHERE site = 'S1';
DELETE FROM site WHERE name = 'S1';
TABLE state;
-- Every action, of columns that are key or not
CREATE TABLE parent (id int PRIMARY KEY, time timestamptz DEFAULT '2024-01-01Z', note text);
CREATE TABLE del_cascade (id int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE, v int);
CREATE TABLE del_null (id int REFERENCES parent ON DELETE SET NULL ON UPDATE SET NULL, v int);
CREATE TABLE del_default (id int DEFAULT 1 REFERENCES parent ON DELETE SET DEFAULT ON UPDATE SET DEFAULT, v int);
CREATE TABLE del_restrict (id int REFERENCES parent ON DELETE RESTRICT ON UPDATE RESTRICT, v int);
INSERT INTO parent (id) SELECT i FROM generate_series(1, 140) i;
INSERT INTO del_cascade SELECT 1 + i % 140, i FROM generate_series(1, 280) i;
INSERT INTO del_null SELECT 1 + i % 140, i FROM generate_series(1, 280) i;
INSERT INTO del_default SELECT 1 + i % 140, i FROM generate_series(1, 280) i;
INSERT INTO del_restrict SELECT 120 + i % 10, i FROM generate_series(1, 120) i;
CALL settle();
CREATE VIEW children AS SELECT (SELECT count(*) FROM parent) AS parents, (SELECT count(*) FROM del_cascade) AS cascade, (SELECT sum(id) FROM del_cascade) AS cascade_sum,
	(SELECT count(id) FROM del_null) AS nulls, (SELECT count(*) FROM del_default WHERE id = 1) AS defaults, (SELECT count(*) FROM del_restrict) AS restrict;
TABLE children;
DELETE FROM parent WHERE id = 7;
DELETE FROM parent WHERE id BETWEEN 10 AND 30;
TABLE children;
UPDATE parent SET id = id + 1000 WHERE id BETWEEN 40 AND 60;
TABLE children;
DO $$ BEGIN DELETE FROM parent WHERE id = 125; EXCEPTION WHEN integrity_constraint_violation THEN RAISE NOTICE 'restricted'; END $$; -- 18 has an error of its own for that
DO $$ BEGIN UPDATE parent SET id = 2000 WHERE id = 125; EXCEPTION WHEN integrity_constraint_violation THEN RAISE NOTICE 'restricted'; END $$;
UPDATE parent SET note = 'changed' WHERE id BETWEEN 100 AND 140;
DELETE FROM parent WHERE id = 1;
TABLE children;
CALL settle();
DELETE FROM parent WHERE id > 1000;
TABLE children;
BEGIN; DELETE FROM parent WHERE id BETWEEN 70 AND 80; SAVEPOINT s; DELETE FROM parent WHERE id BETWEEN 81 AND 90; TABLE children; ROLLBACK TO s; TABLE children; ROLLBACK;
TABLE children;
-- Deferred
CREATE TABLE late (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED, v int);
BEGIN;
INSERT INTO late SELECT i, i FROM generate_series(5000, 5130) i;
INSERT INTO parent (id) SELECT i FROM generate_series(5000, 5130) i;
COMMIT;
BEGIN;
INSERT INTO late VALUES (6000, 1);
COMMIT;
CALL settle();
BEGIN;
DELETE FROM parent WHERE id BETWEEN 5000 AND 5010;
UPDATE late SET id = id + 20 WHERE id BETWEEN 5000 AND 5005;
SAVEPOINT s;
SET CONSTRAINTS ALL IMMEDIATE;
ROLLBACK TO s;
DELETE FROM late WHERE id BETWEEN 5000 AND 5010;
SET CONSTRAINTS ALL IMMEDIATE;
COMMIT;
BEGIN;
DELETE FROM parent WHERE id = 5050;
INSERT INTO parent (id) VALUES (5050);
COMMIT;
SELECT count(*), sum(id), sum(v) FROM late;
-- A table that names itself; several columns, MATCH FULL
CREATE TABLE tree (id int PRIMARY KEY, up int REFERENCES tree ON DELETE CASCADE, time timestamptz DEFAULT '2024-01-01Z');
INSERT INTO tree SELECT i, nullif(i / 3, 0) FROM generate_series(1, 200) i;
CALL settle();
DELETE FROM tree WHERE id = 4;
SELECT count(*), sum(id) FROM tree;
INSERT INTO tree VALUES (300, 301), (301, 300);
UPDATE tree SET up = 4 WHERE id = 1;
UPDATE tree SET up = 1 WHERE id = 1;
CREATE TABLE two (a int, b text, time timestamptz, UNIQUE (a, b));
INSERT INTO two SELECT i, 'b' || i % 3, '2024-01-01Z' FROM generate_series(1, 120) i;
CREATE TABLE two_full (a int, b text, FOREIGN KEY (a, b) REFERENCES two (a, b) MATCH FULL ON DELETE CASCADE);
CREATE TABLE two_simple (a int, b text, FOREIGN KEY (a, b) REFERENCES two (a, b) ON DELETE SET NULL (b));
INSERT INTO two_full SELECT a, b FROM two WHERE a <= 60;
INSERT INTO two_simple SELECT a, b FROM two WHERE a <= 60;
CALL settle();
INSERT INTO two_full VALUES (1, NULL);
INSERT INTO two_simple VALUES (1, NULL), (9999, NULL);
INSERT INTO two_simple VALUES (1, 'b2');
DELETE FROM two WHERE a BETWEEN 50 AND 70;
SELECT (SELECT count(*) FROM two_full), count(*), count(b) FROM two_simple;
-- Added to tables that hold rows: checked, and not valid
CREATE TABLE unchecked (id int, v int);
INSERT INTO unchecked SELECT i, i FROM generate_series(90, 210) i;
CALL settle();
\set VERBOSITY terse
ALTER TABLE unchecked ADD FOREIGN KEY (id) REFERENCES parent;
\set VERBOSITY default
ALTER TABLE unchecked ADD CONSTRAINT fk FOREIGN KEY (id) REFERENCES parent NOT VALID;
INSERT INTO unchecked VALUES (9999, 1);
UPDATE unchecked SET v = v + 1 WHERE id = 200;
UPDATE unchecked SET id = 201 WHERE id = 200;
\set VERBOSITY terse
ALTER TABLE unchecked VALIDATE CONSTRAINT fk;
\set VERBOSITY default
DELETE FROM unchecked WHERE id NOT IN (SELECT id FROM parent);
ALTER TABLE unchecked VALIDATE CONSTRAINT fk;
SELECT count(*) FROM unchecked;
-- Partitions on either side
CREATE TABLE pk (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
CREATE TABLE pk1 PARTITION OF pk FOR VALUES FROM (0) TO (100);
CREATE TABLE pk2 PARTITION OF pk FOR VALUES FROM (100) TO (300) USING heap;
CREATE TABLE fk (time timestamptz, id int REFERENCES pk ON DELETE CASCADE ON UPDATE CASCADE, v int) PARTITION BY LIST (v);
CREATE TABLE fk0 PARTITION OF fk FOR VALUES IN (0) USING heap;
CREATE TABLE fk1 PARTITION OF fk FOR VALUES IN (1);
INSERT INTO pk SELECT i, i FROM generate_series(1, 199) i;
INSERT INTO fk SELECT '2024-01-01Z', 1 + i % 150, i % 2 FROM generate_series(1, 400) i;
CALL settle();
INSERT INTO fk VALUES (NULL, 250, 1);
DELETE FROM pk WHERE id BETWEEN 95 AND 105;
UPDATE pk SET id = id + 5 WHERE id = 93;
UPDATE pk SET id = id + 150 WHERE id BETWEEN 50 AND 52;
UPDATE fk SET v = 1 - v WHERE id < 10;
SELECT tableoid::regclass, count(*), sum(id), sum(v) FROM fk GROUP BY 1 ORDER BY 1;
SELECT tableoid::regclass, count(*), sum(id), sum(v) FROM pk GROUP BY 1 ORDER BY 1;
\set ECHO none
