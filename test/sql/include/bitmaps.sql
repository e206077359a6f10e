\ir begin.sql
\set ECHO all
SET enable_indexscan = off; SET enable_indexonlyscan = off; SET metricsdb.enable_custom_scan = off;
CREATE TABLE t (time timestamptz, host text, k int, l int, tags int[], doc jsonb, words tsvector);
CREATE INDEX t_k ON t (k);
CREATE INDEX t_l ON t USING hash (l);
CREATE INDEX t_tags ON t USING gin (tags);
CREATE INDEX t_doc ON t USING gin (doc jsonb_path_ops);
CREATE INDEX t_words ON t USING gin (words) WITH (fastupdate = off);
CREATE FUNCTION put(first int, last int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 min'::interval, 'h' || i % 5, (i * 7919) % 500, i % 37, ARRAY[i % 11, i % 13, 100 + i % 7],
		jsonb_build_object('a', i % 17, 'b', jsonb_build_array(i % 3, 'x' || i % 29)), to_tsvector('simple', 'word' || i % 19 || ' and other' || i % 23)
	FROM generate_series(first, last) i
$$;
-- What bitmaps say, and what reading all rows does; are there bitmaps?
CREATE FUNCTION ways(condition text) RETURNS TABLE (n bigint, sum bigint, same bool, bitmap bool) LANGUAGE plpgsql AS $$
DECLARE
	query text := 'SELECT count(*), coalesce(sum(k * 3 + l), 0) FROM t WHERE ' || condition;
	others bigint[];
	line text;
BEGIN
	SET LOCAL enable_seqscan = off;
	SET LOCAL enable_bitmapscan = on;
	bitmap := false;
	FOR line IN EXECUTE 'EXPLAIN (COSTS off) ' || query LOOP
		bitmap := bitmap OR line LIKE '%Bitmap Heap Scan on t%';
	END LOOP;
	EXECUTE query INTO n, sum;
	SET LOCAL enable_seqscan = on;
	SET LOCAL enable_bitmapscan = off;
	EXECUTE 'SELECT ARRAY[count(*), coalesce(sum(k * 3 + l), 0)] FROM t WHERE ' || condition INTO others;
	same := others = ARRAY[n, sum];
	RETURN NEXT;
END $$;
CREATE VIEW conditions AS SELECT * FROM unnest(ARRAY['k = 7', 'k BETWEEN 100 AND 199', 'k < 100 AND l = 5', 'k < 20 OR l = 5', 'k IN (1, 2, 3) OR k > 490 AND l = 3', 'tags @> ARRAY[3, 5]', 'tags && ARRAY[3, 5]', 'tags <@ ARRAY[1, 1, 101]', 'tags = ARRAY[3, 5, 103]',
	'tags @> ARRAY[102] AND k < 250', 'doc @> ''{"a": 4}''', 'doc @> ''{"b": [2]}''', 'doc @@ ''$.a == 4 || $.b[*] == "x5"''', 'words @@ ''word3''', 'words @@ ''word3 & other4 | word5''', 'words @@ ''word3 & !other4''', 'words @@ ''oth:*'' AND tags @> ARRAY[4]']) WITH ORDINALITY c (condition, nr);
SELECT put(1, 2000);
CALL settle();
ANALYZE t;
SELECT condition, b.* FROM conditions, ways(condition) b ORDER BY nr;
SET enable_seqscan = off;
EXPLAIN (COSTS off) SELECT * FROM t WHERE k < 20 OR l = 5;
EXPLAIN (COSTS off) SELECT * FROM t WHERE tags @> ARRAY[3, 5];
RESET enable_seqscan;
-- Some rows here and some there; HOT updates, others, deletes
SELECT put(2001, 2400);
UPDATE t SET host = 'g' WHERE k % 10 = 3;
UPDATE t SET k = k + 1000 WHERE k % 50 = 4;
UPDATE t SET tags = tags || 77, doc = doc || '{"a": 4}' WHERE k % 50 = 5;
DELETE FROM t WHERE k % 20 = 7;
SELECT condition, b.* FROM conditions, ways(condition) b ORDER BY nr;
SELECT b.* FROM ways('tags @> ARRAY[77]') b;
VACUUM t;
SELECT condition, b.* FROM conditions, ways(condition) b ORDER BY nr;
CALL settle();
SELECT condition, b.* FROM conditions, ways(condition) b ORDER BY nr;
-- Places and row numbers are taken again
DELETE FROM t WHERE l % 2 = 0;
VACUUM t;
SELECT put(2401, 3600);
UPDATE t SET l = l + 1 WHERE k < 40;
CALL settle();
SELECT condition, b.* FROM conditions, ways(condition) b ORDER BY nr;
-- What an open transaction did, and took back
BEGIN;
DELETE FROM t WHERE k < 5;
UPDATE t SET k = 7 WHERE k = 8;
SELECT b.* FROM ways('k <= 8') b;
SAVEPOINT s;
DELETE FROM t WHERE k = 7;
SELECT b.* FROM ways('k <= 8') b;
ROLLBACK TO s;
SELECT b.* FROM ways('k <= 8') b;
ROLLBACK;
SELECT b.* FROM ways('k <= 8') b;
-- Cursors do not see what comes after them
BEGIN;
SET LOCAL enable_seqscan = off;
DECLARE c CURSOR FOR SELECT tags @> ARRAY[3] AS has FROM t WHERE tags @> ARRAY[3];
FETCH 2 FROM c;
INSERT INTO t (k, tags) VALUES (1, '{3}'), (2, '{3}');
DELETE FROM t WHERE tags @> ARRAY[3];
SELECT count(*) FROM t WHERE tags @> ARRAY[3];
MOVE FORWARD ALL FROM c;
COMMIT;
-- Again and again, with values of another table's rows
CREATE TABLE wanted AS SELECT i AS w FROM generate_series(1, 12) i;
SET enable_seqscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_memoize = off;
SELECT w, count(k), sum(k) FROM wanted LEFT JOIN t ON t.tags @> ARRAY[w] GROUP BY w ORDER BY w;
SELECT w, (SELECT sum(k) FROM t WHERE t.k BETWEEN w * 10 AND w * 20) FROM wanted ORDER BY w;
UPDATE t SET l = (SELECT count(*) FROM t u WHERE u.tags @> ARRAY[t.l % 11]) FROM wanted WHERE t.k = w;
SELECT k, count(*), min(l), max(l) FROM t WHERE k BETWEEN 1 AND 12 GROUP BY k ORDER BY k;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_memoize;
-- Locks, and what goes by the rows found
SELECT k FROM t WHERE tags @> ARRAY[4, 6] ORDER BY k LIMIT 3 FOR UPDATE;
DELETE FROM t WHERE tags @> ARRAY[4, 6] RETURNING k > 0 AS deleted;
-- An index that is built of rows in all places, and built anew
CREATE INDEX CONCURRENTLY t_again ON t USING gin (tags, doc) WHERE k > 10;
SELECT count(*) FROM t WHERE tags @> ARRAY[5] AND doc @> '{"a": 4}' AND k > 10;
DROP INDEX t_tags, t_doc;
SELECT count(*) FROM t WHERE tags @> ARRAY[5] AND doc @> '{"a": 4}' AND k > 10;
REINDEX INDEX t_again;
SELECT count(*) FROM t WHERE tags @> ARRAY[5] AND doc @> '{"a": 4}' AND k > 10;
REINDEX INDEX CONCURRENTLY t_again;
SELECT count(*) FROM t WHERE tags @> ARRAY[5] AND doc @> '{"a": 4}' AND k > 10;
-- Lists of entries that are pending are worked off by VACUUM
INSERT INTO t (k, tags, doc) SELECT i, ARRAY[5], '{"a": 4}' FROM generate_series(1001, 1100) i;
VACUUM t;
SELECT gin_clean_pending_list('t_again');
SELECT count(*) FROM t WHERE tags @> ARRAY[5] AND doc @> '{"a": 4}' AND k > 10;
DROP TABLE t CASCADE;
-- Bitmaps that have no room for each row know of blocks that they hold some
CREATE TABLE t (time timestamptz, k int, l int);
INSERT INTO t SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, i * 7 % 10, i FROM generate_series(1, 340000) i;
CREATE INDEX t_k ON t (k);
CALL settle();
INSERT INTO t SELECT '2024-02-01Z'::timestamptz + i * '1 s'::interval, i * 7 % 10, i FROM generate_series(1, 50) i;
UPDATE t SET l = l + 1 WHERE l % 10000 = 1;
DELETE FROM t WHERE l % 10000 = 11;
SET work_mem = '64kB';
CREATE FUNCTION lossy(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) ' || query LOOP
		IF line ~ 'Heap Blocks: .*lossy=' THEN RETURN true; END IF;
	END LOOP;
	RETURN false;
END $$;
SELECT lossy('SELECT count(l) FROM t WHERE k = 7');
SELECT count(*), sum(l) FROM t WHERE k = 7;
SELECT count(*), sum(l) FROM t WHERE k = 7 AND l > 330000 OR k = 3;
-- in parallel, too
RESET work_mem;
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET min_parallel_index_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SELECT count(*), sum(l) FROM t WHERE k = 7;
SET work_mem = '64kB';
SELECT count(*), sum(l) FROM t WHERE k = 7;
-- and again and again by the same workers' leader
RESET work_mem;
SET enable_material = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
CREATE TABLE few (n int) WITH (parallel_workers = 0);
INSERT INTO few VALUES (1), (2), (3);
SELECT count(*), sum(l) FROM few, t WHERE k = 7;
SET enable_seqscan = on;
SELECT count(*), sum(l) FROM few, t WHERE k = 7;
RESET enable_material; RESET enable_hashjoin; RESET enable_mergejoin;
DROP TABLE few;
DROP TABLE t, wanted;
DROP FUNCTION lossy, ways, put;
RESET work_mem; RESET parallel_setup_cost; RESET parallel_tuple_cost; RESET min_parallel_table_scan_size; RESET min_parallel_index_scan_size; RESET max_parallel_workers_per_gather;
RESET enable_seqscan; RESET enable_indexscan; RESET enable_indexonlyscan; RESET metricsdb.enable_custom_scan;
\set ECHO none
