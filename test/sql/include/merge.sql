\ir begin.sql
\set ECHO all
CREATE TABLE t (time timestamptz, host text, v int, note text);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, i, 'old' FROM generate_series(1, 300) i;
CREATE TABLE s (host text, v int, delta int);
INSERT INTO s SELECT 'h' || i % 5, i, i * 10 FROM generate_series(200, 400) i;
CALL settle();
CREATE VIEW state AS SELECT count(*), sum(v), count(note) AS noted, count(DISTINCT note) AS notes, md5(string_agg(t::text, ',' ORDER BY v, t::text COLLATE "C")) FROM t;
TABLE state;
-- Each action alone
BEGIN;
MERGE INTO t USING s ON t.v = s.v WHEN MATCHED THEN UPDATE SET v = t.v + delta, note = 'updated';
TABLE state;
ROLLBACK;
BEGIN;
MERGE INTO t USING s ON t.v = s.v WHEN MATCHED THEN DELETE;
TABLE state;
ROLLBACK;
BEGIN;
MERGE INTO t USING s ON t.v = s.v WHEN NOT MATCHED THEN INSERT VALUES ('2024-02-01Z', s.host, s.v, 'inserted');
TABLE state;
ROLLBACK;
BEGIN;
MERGE INTO t USING s ON t.v = s.v WHEN MATCHED THEN DO NOTHING WHEN NOT MATCHED THEN DO NOTHING;
TABLE state;
ROLLBACK;
TABLE state;
-- All of them, under conditions; the first that holds is done
MERGE INTO t USING s ON t.v = s.v AND t.host = s.host
	WHEN MATCHED AND t.v % 10 = 0 THEN DELETE
	WHEN MATCHED AND t.v % 10 = 1 THEN DO NOTHING
	WHEN MATCHED AND t.note = 'old' AND s.delta > 2500 THEN UPDATE SET note = 'many', v = t.v + 1000
	WHEN MATCHED THEN UPDATE SET note = s.host || '!'
	WHEN NOT MATCHED AND s.v % 2 = 0 THEN INSERT (time, host, v) VALUES ('2024-02-01Z', s.host, -s.v)
	WHEN NOT MATCHED AND s.v > 390 THEN INSERT DEFAULT VALUES;
TABLE state;
SELECT note, count(*), sum(v) FROM t GROUP BY note ORDER BY note;
DO $$
DECLARE
	k int;
BEGIN
	MERGE INTO t USING s ON t.v = -s.v WHEN MATCHED THEN UPDATE SET note = 'again' WHEN NOT MATCHED AND s.v < 205 THEN INSERT VALUES (NULL, NULL, -s.v, 'late');
	GET DIAGNOSTICS k = ROW_COUNT;
	RAISE NOTICE '% rows', k;
END $$;
TABLE state;
CALL settle();
TABLE state;
-- A row that is met twice is an error, but to delete it, or to do nothing, may be met again
MERGE INTO t USING (SELECT 1 FROM generate_series(1, 2)) x ON t.v = 10 WHEN MATCHED THEN UPDATE SET note = 'twice';
MERGE INTO t USING (SELECT 1 FROM generate_series(1, 2)) x ON t.v = 10 WHEN MATCHED THEN DELETE;
MERGE INTO t USING (SELECT 1 FROM generate_series(1, 2)) x ON t.v = 10 WHEN MATCHED THEN DO NOTHING;
TABLE state;
-- Sources: a subquery, a join, itself, VALUES, one that is changed too
MERGE INTO t USING (SELECT host, max(v) AS v FROM t GROUP BY host) m ON m.v = t.v AND m.host = t.host WHEN MATCHED THEN UPDATE SET note = 'max';
SELECT host, v, note FROM t WHERE note = 'max' ORDER BY host, v;
MERGE INTO t a USING t b ON a.v = b.v + 1 AND b.v BETWEEN 100 AND 120 WHEN MATCHED AND a.v % 2 = 0 THEN UPDATE SET note = 'self ' || b.v WHEN MATCHED THEN DELETE;
TABLE state;
MERGE INTO t USING (VALUES (101, 'a'), (102, 'b'), (9999, 'c')) x (v, n) ON x.v = t.v WHEN MATCHED THEN UPDATE SET note = n WHEN NOT MATCHED THEN INSERT (v, note) VALUES (x.v, n);
SELECT time, host, v, note FROM t WHERE v IN (101, 102, 9999) ORDER BY v;
WITH d AS (DELETE FROM s WHERE v > 380 RETURNING *) SELECT count(*) FROM d;
MERGE INTO t USING (SELECT s.v, s.host FROM s JOIN t u USING (v)) x ON t.v = x.v WHEN MATCHED THEN UPDATE SET host = x.host || '+';
TABLE state;
WITH x AS (SELECT 9999 AS v) MERGE INTO t USING x ON t.v = x.v WHEN MATCHED THEN DELETE;
TABLE state;
-- The other kinds of joins
SET enable_hashjoin = off;
MERGE INTO t USING s ON t.v = s.v WHEN MATCHED THEN UPDATE SET note = note || 'm' WHEN NOT MATCHED THEN INSERT VALUES ('2024-03-01Z', s.host, s.v, 'm');
TABLE state;
SET enable_mergejoin = off;
MERGE INTO t USING s ON t.v = s.v AND s.v < 220 WHEN MATCHED THEN UPDATE SET note = note || 'n' WHEN NOT MATCHED AND s.v < 210 THEN INSERT VALUES ('2024-03-01Z', s.host, s.v, 'n');
TABLE state;
RESET enable_hashjoin; RESET enable_mergejoin;
-- Its own rows: inserted, changed and merged in one transaction
BEGIN;
INSERT INTO t SELECT '2024-04-01Z', 'own', i, 'own' FROM generate_series(5000, 5150) i;
UPDATE t SET v = v + 1 WHERE v = 5150;
MERGE INTO t USING generate_series(5140, 5160) i ON t.v = i WHEN MATCHED THEN UPDATE SET note = 'merged' WHEN NOT MATCHED THEN INSERT VALUES ('2024-04-02Z', 'own', i, 'fresh');
MERGE INTO t USING generate_series(5140, 5160) i ON t.v = i WHEN MATCHED AND note = 'fresh' THEN DELETE WHEN MATCHED THEN UPDATE SET note = note || ' twice';
SELECT note, count(*), sum(v) FROM t WHERE host = 'own' GROUP BY note ORDER BY note;
SAVEPOINT a;
MERGE INTO t USING generate_series(5000, 5160) i ON t.v = i WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (v) VALUES (i);
SELECT note, count(*), sum(v) FROM t WHERE v BETWEEN 5000 AND 5200 GROUP BY note ORDER BY note;
ROLLBACK TO a;
SELECT note, count(*), sum(v) FROM t WHERE v BETWEEN 5000 AND 5200 GROUP BY note ORDER BY note;
COMMIT;
TABLE state;
-- Constraints and generated columns
CREATE TABLE g (k int NOT NULL CHECK (k < 1000), twice int GENERATED ALWAYS AS (k * 2) STORED, time timestamptz DEFAULT '2024-01-01Z');
MERGE INTO g USING generate_series(1, 100) i ON k = i WHEN NOT MATCHED THEN INSERT (k) VALUES (i);
CALL settle();
MERGE INTO g USING generate_series(51, 150) i ON k = i WHEN MATCHED THEN UPDATE SET k = k + 500 WHEN NOT MATCHED THEN INSERT (k) VALUES (i);
SELECT count(*), sum(k), sum(twice), count(DISTINCT time) FROM g;
\set VERBOSITY terse
MERGE INTO g USING generate_series(990, 1010) i ON k = i WHEN NOT MATCHED THEN INSERT (k) VALUES (i);
MERGE INTO g USING generate_series(1, 5) i ON k = i WHEN MATCHED THEN UPDATE SET k = NULL;
\set VERBOSITY default
SELECT count(*), sum(k), sum(twice), count(DISTINCT time) FROM g;
-- Triggers
CREATE TABLE log (what text, n bigint) USING heap;
CREATE FUNCTION logged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO log VALUES (TG_WHEN || ' ' || TG_OP || ' ' || TG_LEVEL, CASE WHEN TG_LEVEL = 'ROW' THEN CASE TG_OP WHEN 'DELETE' THEN OLD.k ELSE NEW.k END END);
	RETURN CASE WHEN TG_LEVEL = 'ROW' THEN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END END;
END $$;
CREATE TRIGGER a BEFORE INSERT OR UPDATE OR DELETE ON g FOR EACH ROW EXECUTE FUNCTION logged();
CREATE TRIGGER b AFTER INSERT OR UPDATE OR DELETE ON g FOR EACH ROW EXECUTE FUNCTION logged();
CREATE TRIGGER c BEFORE INSERT OR UPDATE OR DELETE ON g FOR EACH STATEMENT EXECUTE FUNCTION logged();
CREATE TRIGGER d AFTER INSERT OR UPDATE OR DELETE ON g FOR EACH STATEMENT EXECUTE FUNCTION logged();
MERGE INTO g USING generate_series(45, 55) i ON k = i WHEN MATCHED AND i % 2 = 0 THEN UPDATE SET k = -k WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (k) VALUES (i);
SELECT what, count(*), sum(n) FROM log GROUP BY what ORDER BY what;
SELECT count(*), sum(k), sum(twice), count(DISTINCT time) FROM g;
-- Partitions, with rows that move
CREATE TABLE p (time timestamptz, k int, note text) PARTITION BY RANGE (k);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200) USING heap;
CREATE TABLE p3 PARTITION OF p DEFAULT;
INSERT INTO p SELECT '2024-01-01Z', i, 'old' FROM generate_series(1, 250) i;
CALL settle();
MERGE INTO p USING generate_series(90, 260) i ON k = i
	WHEN MATCHED AND i % 5 = 0 THEN DELETE
	WHEN MATCHED AND i % 5 = 1 THEN UPDATE SET k = 300 - k, note = 'moved'
	WHEN MATCHED THEN UPDATE SET note = 'stayed'
	WHEN NOT MATCHED THEN INSERT VALUES ('2024-01-02Z', i - 200, 'new');
SELECT tableoid::regclass, note, count(*), sum(k) FROM p GROUP BY 1, 2 ORDER BY 1, 2;
\set ECHO none
