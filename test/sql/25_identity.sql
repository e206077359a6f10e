-- Row identity (ctid), scans by it, samples.
SET metricsdb.direct_rows = 10;
CREATE TABLE t (time timestamptz, host text, v int) USING metricsdb;
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h' || i % 3, i FROM generate_series(1, 3000) i;
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h' || i % 3, 3000 + i FROM generate_series(1, 5) i;
SELECT count(DISTINCT ctid), count(DISTINCT tableoid) FROM t;
-- A row that is looked up by its ctid is that row
CREATE TABLE ids USING heap AS SELECT ctid AS id, v FROM t;
SELECT count(*), count(*) FILTER (WHERE t.v = ids.v) AS same FROM ids JOIN t ON t.ctid = ids.id;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT count(*), count(*) FILTER (WHERE t.v = ids.v) AS same FROM (SELECT * FROM ids WHERE v % 50 = 0 OR v > 3000) ids JOIN t ON t.ctid = ids.id;
RESET enable_hashjoin;
RESET enable_mergejoin;
EXPLAIN (COSTS off) SELECT * FROM t WHERE ctid = '(0,1)';
SELECT v FROM t WHERE ctid = (SELECT id FROM ids WHERE v = 1500);
SELECT v FROM t WHERE ctid = ANY (ARRAY(SELECT id FROM ids WHERE v IN (7, 3004))) ORDER BY v;
SELECT count(*) FROM t WHERE ctid = '(0,0)';
SELECT count(*) FROM t WHERE ctid = '(2147483648,291)' OR ctid = '(2147483648,292)' OR ctid = '(2147570444,1)';
SELECT count(*) FROM t WHERE ctid = '(4294967295,1)' OR ctid = '(4294967294,65535)' OR ctid = '(2147483648,1)' OR ctid = '(2147483648,9999)';
SELECT count(*) FROM t WHERE ctid >= '(2147483648,1)' AND ctid < '(2147483649,1)';
SELECT count(*) FROM t WHERE ctid > '(4000000000,1)';
SELECT count(*) > 0 AS some FROM t WHERE ctid <= '(4294967295,65535)';
SELECT currtid2('t', id) = id AS latest FROM ids WHERE v = 10;
-- of a slot that has no heap, and of none
SELECT currtid2('t', '(1610612735,3)');
SELECT currtid2('t', '(1073741823,3)');
SELECT currtid2('t', '(536870911,3)');
-- System columns
SELECT DISTINCT tableoid::regclass, xmax, cmin, cmax FROM t;
SELECT count(*) FROM t WHERE xmin IS NULL;
-- Identity lasts while the row does
BEGIN;
INSERT INTO t VALUES ('2024-02-01Z', 'x', -1) RETURNING ctid IS NOT NULL AS has;
SELECT v FROM t WHERE ctid = (SELECT ctid FROM t WHERE v = -1);
ROLLBACK;
SELECT count(*) FROM t WHERE v = -1;
-- TABLESAMPLE
SELECT count(*) FROM t TABLESAMPLE system (100);
SELECT count(*) FROM t TABLESAMPLE bernoulli (100);
SELECT count(*) FROM t TABLESAMPLE system (0);
SELECT count(*) FROM t TABLESAMPLE bernoulli (0);
SELECT count(*) BETWEEN 1000 AND 2000 AS half FROM t TABLESAMPLE bernoulli (50) REPEATABLE (1);
SELECT (SELECT sum(v) FROM t TABLESAMPLE bernoulli (30) REPEATABLE (7)) = (SELECT sum(v) FROM t TABLESAMPLE bernoulli (30) REPEATABLE (7)) AS repeatable;
SELECT count(*) FROM (SELECT * FROM t TABLESAMPLE system (50) REPEATABLE (3) EXCEPT SELECT * FROM t) x;
SELECT count(DISTINCT v) = count(*) AS once FROM t TABLESAMPLE bernoulli (40);
SELECT i, (SELECT count(*) FROM t TABLESAMPLE bernoulli (i * 50)) FROM generate_series(0, 2, 2) i;
-- It counts rows of a block in 11 bits: of larger ones, and of the delta, all are sampled; also where a scan begins anew before its end
SET metricsdb.direct_rows = 1;
CREATE TABLE wide_blocks (time timestamptz, v int) USING metricsdb;
INSERT INTO wide_blocks SELECT timestamptz '2024-01-01Z' + i * interval '1 s', i FROM generate_series(1, 20000) i;
INSERT INTO wide_blocks SELECT timestamptz '2024-01-01Z' + i * interval '1 s', i FROM generate_series(20001, 20100) i;
SET metricsdb.direct_rows = 100000;
INSERT INTO wide_blocks SELECT timestamptz '2024-01-01Z' + i * interval '1 s', i FROM generate_series(20101, 30000) i;
SELECT count(*), count(DISTINCT v), sum(v) FROM wide_blocks TABLESAMPLE system (100);
SELECT count(*), count(DISTINCT v), sum(v) FROM wide_blocks TABLESAMPLE bernoulli (100);
SELECT (v - 1) / 2000 AS part, count(*) BETWEEN 850 AND 1150 AS half FROM wide_blocks TABLESAMPLE bernoulli (50) REPEATABLE (1) GROUP BY 1 ORDER BY 1;
SELECT i, n FROM generate_series(1, 5) i, LATERAL (SELECT count(*) AS n FROM (SELECT FROM wide_blocks TABLESAMPLE bernoulli (100) REPEATABLE (i) LIMIT 5000 + i) x) y;
DROP TABLE wide_blocks;
RESET metricsdb.direct_rows;
DROP TABLE t, ids;
-- Of blocks with more rows than a heap's page can have, and of a large delta, page by page
CREATE TABLE s (v int) USING metricsdb;
INSERT INTO s SELECT generate_series(1, 20000);
SET metricsdb.direct_rows = 1000000;
INSERT INTO s SELECT generate_series(20001, 90000);
SELECT count(*), count(DISTINCT v), count(DISTINCT ctid), count(xmin), count(tableoid) FROM s TABLESAMPLE bernoulli (100);
SELECT count(*), count(DISTINCT v), count(DISTINCT ctid), count(xmin), count(tableoid) FROM s TABLESAMPLE system (100);
SELECT count(*) FILTER (WHERE v <= 20000) BETWEEN 9000 AND 11000 AS half, count(*) FILTER (WHERE v > 20000) BETWEEN 33000 AND 37000 AS half FROM s TABLESAMPLE bernoulli (50) REPEATABLE (1);
SELECT count(*) FILTER (WHERE v > 20000) BETWEEN 25000 AND 45000 AS half FROM s TABLESAMPLE system (50) REPEATABLE (1);
SELECT count(*) FROM (SELECT ctid, xmin, * FROM s TABLESAMPLE system (20) REPEATABLE (1) EXCEPT SELECT ctid, xmin, * FROM s) x;
ANALYZE s;
SELECT reltuples FROM pg_class WHERE relname = 's';
SELECT n_distinct, array_length(histogram_bounds, 1), (histogram_bounds::text::int[])[1] < 100 AS lowest, (histogram_bounds::text::int[])[101] > 89900 AS highest FROM pg_stats WHERE tablename = 's';
DELETE FROM s WHERE v % 2 = 0;
SELECT count(*), count(*) FILTER (WHERE v % 2 = 0) AS dead FROM s TABLESAMPLE bernoulli (100);
SELECT count(*), count(*) FILTER (WHERE v % 2 = 0) AS dead FROM s TABLESAMPLE system (100);
RESET metricsdb.direct_rows;

-- Ranges of ctids: of parts, the row heap and others of the delta
CREATE TABLE t (time timestamptz, host text, v int) USING metricsdb;
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h' || i % 3, i FROM generate_series(1, 30000) i;
INSERT INTO t SELECT '2024-01-05Z'::timestamptz + i * '1 s'::interval, 'h' || i % 3, 30000 + i FROM generate_series(1, 20000) i;
SET metricsdb.direct_rows = 1000000;
INSERT INTO t SELECT '2024-01-05Z'::timestamptz + i * '1 s'::interval, 'h' || i % 3, 50000 + i FROM generate_series(1, 20000) i;
CALL metricsdb.compact('t');
INSERT INTO t SELECT '2024-01-07Z'::timestamptz + i * '1 s'::interval, 'h' || i % 3, 80000 + i FROM generate_series(1, 900) i;
UPDATE t SET v = -v WHERE v % 100 = 7;
DELETE FROM t WHERE v % 100 = 9;
RESET metricsdb.direct_rows;
-- whatever the background does
BEGIN ISOLATION LEVEL REPEATABLE READ;
CREATE TABLE ids USING heap AS SELECT ctid AS id, v FROM t;
SELECT count(DISTINCT (id::text::point)[0]::int8 >> 29) AS places FROM ids;
EXPLAIN (COSTS off) SELECT count(*), sum(v) FROM t WHERE ctid > '(0,5)' AND ctid <= '(2147483648,7)';
CREATE FUNCTION ranges(n int) RETURNS TABLE (lo tid, hi tid, own text, heap text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM setseed(0.3);
	CREATE TEMP TABLE bounds USING heap AS SELECT id FROM ids ORDER BY random() LIMIT 30;
	INSERT INTO bounds VALUES ('(0,0)'), ('(0,65535)'), ('(536870911,65535)'), ('(536870912,0)'), ('(1073741824,1)'), ('(2147483647,65535)'), ('(2147483648,0)'), ('(2147483648,1)'), ('(2147483648,291)'), ('(2147483648,292)'), ('(4294967295,65535)');
	FOR lo, hi IN SELECT a.id, b.id FROM bounds a, bounds b ORDER BY random() LIMIT n LOOP
		SELECT count(*) || ' ' || coalesce(sum(v), 0) INTO own FROM t WHERE ctid >= lo AND ctid <= hi;
		SELECT count(*) || ' ' || coalesce(sum(v), 0) INTO heap FROM ids WHERE id >= lo AND id <= hi;
		RETURN NEXT;
		SELECT count(*) || ' ' || coalesce(sum(v), 0) INTO own FROM t WHERE ctid > lo AND ctid < hi;
		SELECT count(*) || ' ' || coalesce(sum(v), 0) INTO heap FROM ids WHERE id > lo AND id < hi;
		RETURN NEXT;
		SELECT count(*) || ' ' || coalesce(sum(v), 0) INTO own FROM t WHERE ctid < lo;
		SELECT count(*) || ' ' || coalesce(sum(v), 0) INTO heap FROM ids WHERE id < lo;
		RETURN NEXT;
	END LOOP;
END $$;
SELECT count(*), count(*) FILTER (WHERE own <> heap) AS wrong, count(*) FILTER (WHERE own = '0 0') BETWEEN 10 AND 100 AS empty FROM ranges(60);
-- both ways, and again and again
DECLARE c SCROLL CURSOR FOR SELECT v FROM t WHERE ctid > '(0,3)' AND ctid < '(2147483648,9)';
MOVE FORWARD ALL IN c;
MOVE BACKWARD ALL IN c;
FETCH FORWARD 2 FROM c;
FETCH BACKWARD 1 FROM c;
DECLARE d SCROLL CURSOR FOR SELECT ctid = (SELECT max(id) FROM ids WHERE id < '(2147483648,9)') AS last FROM t WHERE ctid >= '(2147483648,3)' AND ctid < '(2147483648,9)';
FETCH LAST FROM d;
SELECT lo, (SELECT count(*) FROM t WHERE ctid >= lo AND ctid < '(2147483650,1)') = (SELECT count(*) FROM ids WHERE id >= lo AND id < '(2147483650,1)') AS same FROM (VALUES ('(2147483649,1)'::tid), ('(2147483649,2000)'), ('(2147483650,1)'), ('(2147483649,1)')) x(lo);
-- changes
DELETE FROM t WHERE ctid >= '(2147483648,1)' AND ctid < '(2147483650,1)';
SELECT count(*) + (SELECT count(*) FROM ids WHERE id >= '(2147483648,1)' AND id < '(2147483650,1)') = (SELECT count(*) FROM ids) AS deleted FROM t;
COMMIT;
-- Serializable transactions that look for a row lock that alone, those that look for a range the table
SELECT min(ctid) AS one FROM t \gset
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM t WHERE ctid = :'one';
SELECT DISTINCT locktype FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'SIReadLock' AND relation = 't'::regclass;
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) > 0 AS some FROM t WHERE ctid > '(2147483648,1)';
SELECT DISTINCT locktype FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'SIReadLock' AND relation = 't'::regclass;
ROLLBACK;
DROP TABLE t, s, ids;
DROP FUNCTION ranges(int);
