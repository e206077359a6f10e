\ir begin.sql
\set ECHO all
CREATE TABLE t (time timestamptz, host text, v int);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '10 min'::interval, 'h' || i % 6, i FROM generate_series(1, 800) i;
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '10 min'::interval, 'h' || i % 6, i FROM generate_series(801, 806) i;
CREATE TABLE gone (host text, v int);
INSERT INTO gone SELECT 'h' || i % 6, i FROM generate_series(100, 130) i;
CALL settle();
CREATE VIEW state AS SELECT count(*), count(DISTINCT host) AS hosts, sum(v), md5(string_agg(t::text, ',' ORDER BY v, t::text COLLATE "C")) FROM t;
TABLE state;
-- One row, none, some, by all kinds of conditions
DELETE FROM t WHERE v = 17;
DELETE FROM t WHERE v = 17;
DELETE FROM t WHERE false;
TABLE state;
DELETE FROM t WHERE host = 'h3' AND time < '2024-01-02Z';
DELETE FROM t WHERE v BETWEEN 700 AND 710 OR v > 804;
TABLE state;
SELECT count(*) FROM t WHERE host = 'h3';
SELECT v FROM t WHERE v BETWEEN 695 AND 715 ORDER BY v;
-- Joins, subqueries
DELETE FROM t USING gone WHERE t.v = gone.v AND gone.host = 'h4';
TABLE state;
DELETE FROM t WHERE v IN (SELECT v FROM gone);
TABLE state;
DELETE FROM t USING t u WHERE t.v = u.v + 1 AND u.v BETWEEN 200 AND 210;
TABLE state;
DELETE FROM t WHERE NOT EXISTS (SELECT FROM t u WHERE u.v = t.v + 1) AND v BETWEEN 300 AND 500;
DELETE FROM t WHERE v = (SELECT max(v) FROM t);
DELETE FROM t USING generate_series(600, 605) i WHERE v = i;
DELETE FROM t a USING t b LEFT JOIN gone USING (host) WHERE a.v = b.v AND b.v BETWEEN 610 AND 612;
TABLE state;
-- RETURNING
DELETE FROM t WHERE v = 20 RETURNING *;
DELETE FROM t WHERE v = 21 RETURNING t, v * 2, tableoid::regclass, (SELECT count(*) FROM t WHERE v = 21);
DELETE FROM t USING gone WHERE t.v = 22 AND gone.v = 101 RETURNING t.*, gone.*;
WITH d AS (DELETE FROM t WHERE v BETWEEN 23 AND 28 RETURNING *) SELECT * FROM d ORDER BY v;
-- Moved to another table, and back
CREATE TABLE archive (LIKE t);
WITH d AS (DELETE FROM t WHERE v < 100 RETURNING *) INSERT INTO archive SELECT * FROM d;
SELECT count(*), sum(v) FROM archive;
TABLE state;
WITH d AS (DELETE FROM archive RETURNING *) INSERT INTO t SELECT * FROM d;
TABLE state;
SELECT count(*) FROM archive;
WITH d AS (DELETE FROM t WHERE v < 50 RETURNING *) INSERT INTO t SELECT time, host, -v FROM d;
TABLE state;
-- Rows that occur twice: one of them stays
INSERT INTO t SELECT * FROM t WHERE v BETWEEN 150 AND 160;
INSERT INTO t SELECT * FROM t WHERE v BETWEEN 150 AND 155;
CALL settle();
SELECT count(*), count(DISTINCT t) FROM t WHERE v BETWEEN 150 AND 160;
DELETE FROM t a USING t b WHERE a.v BETWEEN 150 AND 160 AND a = b AND a.ctid < b.ctid;
SELECT count(*), count(DISTINCT t) FROM t WHERE v BETWEEN 150 AND 160;
DELETE FROM t WHERE ctid IN (SELECT ctid FROM t WHERE v BETWEEN 160 AND 199 ORDER BY v LIMIT 10);
TABLE state;
-- In portions, as an old table is emptied
DO $$
DECLARE
	k int;
	n int := 0;
BEGIN
	LOOP
		DELETE FROM t WHERE ctid = ANY (ARRAY(SELECT ctid FROM t WHERE v > 750 LIMIT 7));
		GET DIAGNOSTICS k = ROW_COUNT;
		EXIT WHEN k = 0;
		n := n + k;
		COMMIT;
	END LOOP;
	RAISE NOTICE '% rows', n;
END $$;
TABLE state;
-- Deleted rows do not come back, and do not count
CALL settle();
TABLE state;
DELETE FROM t WHERE v % 2 = 0;
TABLE state;
UPDATE t SET v = v + 1;
TABLE state;
DELETE FROM t WHERE v % 10 = 0;
TABLE state;
CALL settle();
TABLE state;
ANALYZE t;
SELECT reltuples = (SELECT count(*) FROM t) AS counted FROM pg_class WHERE oid = 't'::regclass;
SELECT min(v), max(v), min(time), max(time) FROM t;
-- Rolled back; and all of them
BEGIN; DELETE FROM t; SELECT count(*) FROM t; INSERT INTO t VALUES ('2024-03-01Z', 'x', 1); SELECT count(*) FROM t; ROLLBACK;
TABLE state;
BEGIN; DELETE FROM t WHERE v < 400; DELETE FROM t WHERE v < 500; TABLE state; COMMIT;
TABLE state;
DELETE FROM t;
SELECT count(*) FROM t;
CALL settle();
SELECT count(*) FROM t;
DELETE FROM t;
INSERT INTO t SELECT '2024-01-01Z', 'again', i FROM generate_series(1, 150) i;
TABLE state;
DELETE FROM ONLY t WHERE v > 100;
TABLE state;
-- A big one, over many blocks and series
CREATE TABLE big (time timestamptz, host text, v int);
INSERT INTO big SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h' || i % 50, i FROM generate_series(1, 40000) i;
CALL settle();
DELETE FROM big WHERE v % 4 > 0;
SELECT count(*), sum(v) FROM big;
DELETE FROM big WHERE host = 'h8';
SELECT count(*), sum(v), count(DISTINCT host) FROM big;
CALL settle();
SELECT count(*), sum(v), count(DISTINCT host) FROM big;
BEGIN; DELETE FROM big WHERE v > 1000; SELECT count(*), sum(v) FROM big; ROLLBACK;
SELECT count(*), sum(v) FROM big;
DELETE FROM big WHERE v > 1000;
SELECT count(*), sum(v) FROM big;
VACUUM big;
SELECT count(*), sum(v) FROM big;
-- Inherited and temporary tables
CREATE TABLE child (more int) INHERITS (t);
INSERT INTO child SELECT '2024-01-01Z', 'child', i, i FROM generate_series(1, 120) i;
CALL settle();
DELETE FROM t WHERE v BETWEEN 90 AND 110;
SELECT tableoid::regclass, count(*), sum(v) FROM t GROUP BY 1 ORDER BY 1;
DELETE FROM ONLY t;
SELECT tableoid::regclass, count(*), sum(v) FROM t GROUP BY 1 ORDER BY 1;
CREATE TEMP TABLE tmp (time timestamptz, v int);
INSERT INTO tmp SELECT '2024-01-01Z', i FROM generate_series(1, 200) i;
CALL settle();
DELETE FROM tmp WHERE v % 3 = 0;
UPDATE tmp SET v = -v WHERE v % 3 = 1;
SELECT count(*), sum(v) FROM tmp;
CREATE UNLOGGED TABLE u (time timestamptz, v int);
INSERT INTO u SELECT '2024-01-01Z', i FROM generate_series(1, 200) i;
CALL settle();
DELETE FROM u WHERE v % 3 = 0;
UPDATE u SET v = -v WHERE v % 3 = 1;
SELECT count(*), sum(v) FROM u;
DROP TABLE tmp;
\set ECHO none
