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
SELECT count(*) FROM t WHERE ctid = '(2147483648,2047)' OR ctid = '(2147483648,2048)' OR ctid = '(2147495993,1)';
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
