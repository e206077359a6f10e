\ir begin.sql
\set ECHO all
-- Partitions of both kinds, of several levels, with columns in another order
CREATE TABLE p (time timestamptz NOT NULL, host text, v int, note text) PARTITION BY RANGE (time);
CREATE TABLE p_jan PARTITION OF p FOR VALUES FROM ('2024-01-01Z') TO ('2024-02-01Z');
CREATE TABLE p_feb PARTITION OF p FOR VALUES FROM ('2024-02-01Z') TO ('2024-03-01Z') USING heap;
CREATE TABLE p_mar (note text, gone int, v int, host text, time timestamptz NOT NULL);
ALTER TABLE p_mar DROP COLUMN gone;
ALTER TABLE p ATTACH PARTITION p_mar FOR VALUES FROM ('2024-03-01Z') TO ('2024-04-01Z');
CREATE TABLE p_later PARTITION OF p FOR VALUES FROM ('2024-04-01Z') TO ('2025-01-01Z') PARTITION BY LIST (host);
CREATE TABLE p_later_a PARTITION OF p_later FOR VALUES IN ('h0', 'h1');
CREATE TABLE p_later_b PARTITION OF p_later FOR VALUES IN ('h2', 'h3') USING heap;
INSERT INTO p SELECT '2024-01-01Z'::timestamptz + i * '6 hours'::interval, 'h' || i % 4, i, 'old' FROM generate_series(1, 600) i;
CALL settle();
CREATE VIEW state AS SELECT tableoid::regclass AS part, count(*), sum(v), md5(string_agg(p::text, ',' ORDER BY v, p::text COLLATE "C")) FROM p GROUP BY 1 ORDER BY 1;
TABLE state;
-- Changes that stay in the partition
UPDATE p SET note = 'changed' WHERE v % 7 = 0;
UPDATE p SET v = -v WHERE time BETWEEN '2024-01-30Z' AND '2024-02-02Z';
UPDATE p_mar SET note = note || '!' WHERE v < 270;
TABLE state;
DELETE FROM p WHERE v % 11 = 0;
DELETE FROM p WHERE time >= '2024-03-30Z' AND time < '2024-04-02Z';
TABLE state;
-- Rows that move: metricsdb to heap, heap to metricsdb, metricsdb to metricsdb, over levels
UPDATE p SET time = '2024-02-15Z' WHERE v = 13;
UPDATE p SET time = '2024-01-15Z' WHERE v = 150;
UPDATE p SET time = '2024-03-15Z', note = 'moved' WHERE v BETWEEN 14 AND 20;
UPDATE p SET host = 'h1' WHERE host = 'h2' AND time > '2024-04-10Z' AND time < '2024-04-20Z';
UPDATE p SET host = 'h3' WHERE host = 'h0' AND time > '2024-05-10Z' AND time < '2024-05-20Z';
UPDATE p SET time = time + '3 months'::interval WHERE v BETWEEN 1 AND 40 AND v % 3 = 0;
UPDATE p SET time = time - '3 months'::interval WHERE v BETWEEN 380 AND 420;
TABLE state;
WITH u AS (UPDATE p SET time = time + '1 month'::interval WHERE v BETWEEN 30 AND 36 RETURNING v, time, tableoid::regclass) SELECT * FROM u ORDER BY v;
WITH d AS (DELETE FROM p WHERE v BETWEEN 30 AND 36 RETURNING v, note, tableoid::regclass) SELECT * FROM d ORDER BY v;
-- ... nowhere to go
UPDATE p SET time = '2030-01-01Z' WHERE v = 50;
UPDATE p SET host = 'unknown' WHERE v = 500;
UPDATE p_jan SET time = '2024-02-02Z' WHERE v = 50;
UPDATE p_later SET time = '2024-01-01Z' WHERE v = 500;
UPDATE p SET time = NULL WHERE v = 50;
TABLE state;
-- All rows, forth and back
BEGIN;
UPDATE p SET time = time + '1 month'::interval WHERE time < '2024-05-01Z';
TABLE state;
UPDATE p SET v = v + 10000;
UPDATE p SET time = time - '1 month'::interval WHERE time >= '2024-02-01Z' AND time < '2024-06-01Z' AND v % 2 = 0;
TABLE state;
SAVEPOINT s;
UPDATE p SET time = '2024-01-05Z';
TABLE state;
ROLLBACK TO s;
COMMIT;
TABLE state;
CALL settle();
TABLE state;
-- With joins, from itself
UPDATE p SET time = q.time FROM p q WHERE q.v = p.v + 1 AND p.v BETWEEN 10100 AND 10120;
CREATE TABLE moves (v int, time timestamptz);
INSERT INTO moves SELECT v, '2024-02-20Z' FROM p WHERE v % 50 = 0;
UPDATE p SET time = moves.time, note = 'join' FROM moves WHERE moves.v = p.v;
TABLE state;
SELECT count(*), count(DISTINCT v) FROM p;
-- Rows that move meet triggers on both sides
CREATE TABLE log (what text, part text, n bigint) USING heap;
CREATE FUNCTION logged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_LEVEL = 'STATEMENT' THEN
		INSERT INTO log VALUES (TG_WHEN || ' ' || TG_OP || ' statement', TG_TABLE_NAME, NULL);
		RETURN NULL;
	END IF;
	INSERT INTO log VALUES (TG_WHEN || ' ' || TG_OP, TG_TABLE_NAME, CASE TG_OP WHEN 'DELETE' THEN OLD.v ELSE NEW.v END);
	RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE TRIGGER a BEFORE INSERT OR UPDATE OR DELETE ON p FOR EACH ROW EXECUTE FUNCTION logged();
CREATE TRIGGER b AFTER INSERT OR UPDATE OR DELETE ON p FOR EACH ROW EXECUTE FUNCTION logged();
CREATE TRIGGER c BEFORE INSERT OR UPDATE OR DELETE ON p FOR EACH STATEMENT EXECUTE FUNCTION logged();
CREATE TRIGGER d AFTER INSERT OR UPDATE OR DELETE ON p FOR EACH STATEMENT EXECUTE FUNCTION logged();
UPDATE p SET time = time + '1 month'::interval WHERE v BETWEEN 10090 AND 10099;
UPDATE p SET note = 'x' WHERE v BETWEEN 10090 AND 10099;
DELETE FROM p WHERE v BETWEEN 10090 AND 10092;
INSERT INTO p VALUES ('2024-01-02Z', 'h0', 1, 'ins'), ('2024-02-02Z', 'h0', 2, 'ins');
SELECT what, part, count(*), sum(n) FROM log GROUP BY 1, 2 ORDER BY 1, 2;
TRUNCATE log;
-- ... with transition tables
CREATE FUNCTION transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO log SELECT 'old', host, sum(v) FROM old_rows GROUP BY host;
	INSERT INTO log SELECT 'new', host, sum(v) FROM new_rows GROUP BY host;
	RETURN NULL;
END $$;
DROP TRIGGER a ON p; DROP TRIGGER b ON p; DROP TRIGGER c ON p; DROP TRIGGER d ON p;
CREATE TRIGGER t AFTER UPDATE ON p REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION transition();
UPDATE p SET time = time + '1 month'::interval, v = v + 1 WHERE v BETWEEN 10200 AND 10220;
SELECT * FROM log ORDER BY what, part;
-- Keys over partitions
CREATE TABLE k (id int PRIMARY KEY, time timestamptz DEFAULT '2024-01-01Z', v int) PARTITION BY HASH (id);
CREATE TABLE k0 PARTITION OF k FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE k1 PARTITION OF k FOR VALUES WITH (MODULUS 2, REMAINDER 1) USING heap;
INSERT INTO k (id, v) SELECT i, i FROM generate_series(1, 300) i;
CALL settle();
UPDATE k SET id = id + 1000 WHERE id % 2 = 0;
UPDATE k SET id = 1 WHERE id = 3;
UPDATE k SET id = id - 999 WHERE id = 1204;
UPDATE k SET id = -id WHERE id > 1200;
SELECT count(*), sum(id), sum(v), count(DISTINCT id) FROM k;
-- DETACH, ATTACH, and a partition that changes its kind
ALTER TABLE p DETACH PARTITION p_jan;
UPDATE p_jan SET time = '2024-01-20Z' WHERE v % 5 = 0;
DELETE FROM p_jan WHERE v % 9 = 0;
ALTER TABLE p ATTACH PARTITION p_jan FOR VALUES FROM ('2024-01-01Z') TO ('2024-02-01Z');
TABLE state;
ALTER TABLE p_feb SET ACCESS METHOD heap;
ALTER TABLE p_mar ADD CHECK (v <> 123456);
UPDATE p SET v = 123456 WHERE v = 10300;
UPDATE p SET v = v + 1;
CALL settle();
TABLE state;
-- Inheritance without partitions
CREATE TABLE base (time timestamptz, v int);
CREATE TABLE child (more text) INHERITS (base);
CREATE TABLE child_heap (even_more text) INHERITS (base) USING heap;
INSERT INTO base SELECT '2024-01-01Z', i FROM generate_series(1, 120) i;
INSERT INTO child SELECT '2024-01-01Z', i, 'm' FROM generate_series(1, 120) i;
INSERT INTO child_heap SELECT '2024-01-01Z', i, 'e' FROM generate_series(1, 120) i;
CALL settle();
UPDATE base SET v = v + 1000 WHERE v % 2 = 0;
UPDATE ONLY base SET v = v + 5000 WHERE v % 3 = 0;
DELETE FROM base WHERE v % 7 = 0;
UPDATE base b SET v = -b.v FROM base c WHERE c.v = b.v + 1 AND c.tableoid <> b.tableoid AND b.v BETWEEN 50 AND 60;
SELECT tableoid::regclass, count(*), sum(v) FROM base GROUP BY 1 ORDER BY 1;
\set ECHO none
