\ir begin.sql
\getenv out PG_ABS_BUILDDIR
\set file :out '/results/copy_changed.data'
\set ECHO all
CREATE TABLE t (time timestamptz, host text, v int PRIMARY KEY);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 3, i FROM generate_series(1, 150) i;
CALL settle();
DELETE FROM t WHERE v % 3 = 0;
UPDATE t SET host = 'changed' WHERE v % 10 = 0;
INSERT INTO t VALUES ('2024-02-01Z', 'late', 1000);
-- Out: what is alive
COPY (SELECT * FROM t WHERE v % 10 < 2 ORDER BY v) TO stdout;
COPY t TO :'file';
CREATE TABLE copy (LIKE t);
COPY copy FROM :'file';
SELECT compare('t', 'copy');
COPY t (v, host) TO :'file' (FORMAT binary);
TRUNCATE copy;
COPY copy (v, host) FROM :'file' (FORMAT binary);
SELECT count(*), sum(v), count(time), count(DISTINCT host) FROM copy;
-- Out of a statement that changes
COPY (UPDATE t SET host = 'copied' WHERE v = 1 RETURNING *) TO stdout;
COPY (DELETE FROM t WHERE v = 2 RETURNING v) TO stdout;
COPY (INSERT INTO t VALUES (NULL, 'i', 2) RETURNING v, host) TO stdout;
-- In: with keys, triggers and conditions
COPY t FROM stdin;
2024-03-01 00:00:00+00	in	2000
2024-03-01 00:00:00+00	in	2001
\.
COPY t FROM stdin;
2024-03-01 00:00:00+00	in	2002
2024-03-01 00:00:00+00	in	1
\.
COPY t FROM stdin WHERE v > 2003;
2024-03-01 00:00:00+00	in	2003
2024-03-01 00:00:00+00	in	2004
\.
SELECT v FROM t WHERE v >= 2000 ORDER BY v;
CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.v % 2 = 0 THEN
		DELETE FROM t WHERE v = NEW.v;
	ELSE
		UPDATE t SET host = 'seen' WHERE v = NEW.v - 1;
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER b BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION twice();
COPY t FROM stdin;
2024-04-01 00:00:00+00	trigger	2000
2024-04-01 00:00:00+00	trigger	2010
2024-04-01 00:00:00+00	trigger	2011
2024-04-01 00:00:00+00	trigger	2010
2024-04-01 00:00:00+00	trigger	2004
\.
SELECT host, v FROM t WHERE v >= 2000 ORDER BY v;
DROP TRIGGER b ON t;
-- Many rows beside indexes
COPY (SELECT '2024-05-01Z'::timestamptz + i * '1 s'::interval, 'many', i FROM generate_series(10000, 12500) i) TO :'file';
COPY t FROM :'file';
SELECT count(*), sum(v) FROM t;
COPY t FROM :'file' WHERE v < 10005;
DELETE FROM t WHERE host = 'many' AND v % 2 = 0;
CALL settle();
SET enable_seqscan = off;
SELECT count(*) FROM t WHERE v BETWEEN 11000 AND 11100;
RESET enable_seqscan;
-- FREEZE
BEGIN;
TRUNCATE t;
COPY t FROM :'file' (FREEZE);
SELECT count(*), sum(v) FROM t;
DELETE FROM t WHERE v > 12000;
UPDATE t SET host = 'after' WHERE v < 10100;
COMMIT;
SELECT host, count(*), sum(v) FROM t GROUP BY host ORDER BY host;
COPY t FROM :'file' (FREEZE);
BEGIN;
CREATE TABLE frozen (LIKE t INCLUDING ALL);
COPY frozen FROM :'file' (FREEZE);
SAVEPOINT s;
DELETE FROM frozen WHERE v % 2 = 0;
ROLLBACK TO s;
DELETE FROM frozen WHERE v % 3 = 0;
COMMIT;
UPDATE frozen SET v = -v WHERE v % 3 = 1;
SELECT count(*), sum(v) FROM frozen;
CALL settle();
SELECT count(*), sum(v) FROM frozen;
-- A row in the wrong place undoes all of it
COPY frozen FROM :'file';
SELECT count(*), sum(v) FROM frozen;
-- Partitions
CREATE TABLE p (time timestamptz, host text, v int) PARTITION BY RANGE (v);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (11000);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (11000) TO (20000) USING heap;
CREATE TABLE log (part text, n bigint) USING heap;
CREATE FUNCTION logged() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (TG_TABLE_NAME, NEW.v); RETURN NULL; END $$;
CREATE TRIGGER l AFTER INSERT ON p FOR EACH ROW WHEN (NEW.v % 100 = 0) EXECUTE FUNCTION logged();
COPY p FROM :'file';
SELECT part, count(*), sum(n) FROM log GROUP BY part ORDER BY part;
UPDATE p SET v = v + 1000 WHERE v BETWEEN 10500 AND 10600;
SELECT tableoid::regclass, count(*), sum(v) FROM p GROUP BY 1 ORDER BY 1;
\set ECHO none
