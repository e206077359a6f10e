-- Cold parts: as small as can be, and the same rows.
SET timezone = 'UTC';
CREATE TABLE c (time timestamptz, host text, f float8, two float8, g float4, i int, counter bigint, n numeric, note text, j jsonb, flag bool) USING metricsdb;
SELECT metricsdb.set_options('c', series => '{host}');
CREATE TABLE c_heap (LIKE c) USING heap;
INSERT INTO c_heap SELECT '2024-01-01Z'::timestamptz + k * '1 s'::interval + CASE WHEN k % 9 = 0 THEN '3 ms' ELSE '0' END::interval, 'h' || s,
	CASE WHEN k % 500 = 0 THEN 'NaN' WHEN k % 501 = 0 THEN '-0' WHEN k % 502 = 0 THEN 'Infinity' ELSE sin(k / 100.0 + s) * k END,
	round((50 + 40 * sin(k / 300.0 + s) + (k * 7919 % 13) / 10.0)::numeric, 2), (k * 31 % 1000) / 7.0, CASE WHEN k % 3 > 0 THEN 40 + (k * k) % 7 END,
	k * 1000 + (k * 7919) % 100 + s, CASE WHEN k % 5 = 0 THEN k / 3.0 END, CASE k % 4 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'note ' || k % 20 END,
	jsonb_build_object('s', s, 'k', k % 50), k % 3 = 0
FROM generate_series(0, 9) s, generate_series(1, 9000) k;
INSERT INTO c SELECT * FROM c_heap;
CREATE VIEW formats AS SELECT format, count(*) AS parts, sum(rows) AS rows, max(rows / blocks) > 1024 AS long_blocks FROM metricsdb.parts WHERE "table" = 'c'::regclass GROUP BY 1 ORDER BY 1;
CALL metricsdb.compact('c');
TABLE formats;
SELECT metricsdb.relation_size('c') AS hot \gset
SELECT compare('c', 'c_heap');
-- The old way to call it says what it said; full makes them cold
CALL metricsdb.compact("table" => 'c', "full" => false);
TABLE formats;
CALL metricsdb.compact('c', full => true);
TABLE formats;
SELECT metricsdb.relation_size('c') < :hot AS smaller;
SELECT compare('c', 'c_heap');
SELECT * FROM metricsdb.check('c');
-- Once
SELECT max(part_id) AS part FROM metricsdb.parts WHERE "table" = 'c'::regclass \gset
CALL metricsdb.compact('c', full => true);
CALL metricsdb.compact('c');
SELECT max(part_id) = :part AS same FROM metricsdb.parts WHERE "table" = 'c'::regclass;
SELECT "column", codecs ? 'decimal+tans' AS decimals, codecs ? 'bits-delta+tans' AS bits, codecs ? 'zstd' AS frames FROM metricsdb.column_stats('c') WHERE "column" IN ('two', 'f', 'counter') ORDER BY 1;
SELECT cold_parts, cold_bytes = bytes AS all_cold, write_amplification > 1.5 AS counted FROM metricsdb.compaction_status WHERE "table" = 'c'::regclass;
-- Aggregates, conditions, order
SELECT host, count(*), sum(i), max(counter), min(two), count(note) FROM c WHERE time < '2024-01-01 01:00Z' AND host IN ('h1', 'h7') GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM (SELECT host, avg(f) a FROM c WHERE f = f AND f < 'Infinity' GROUP BY 1 EXCEPT SELECT host, avg(f) FROM c_heap WHERE f = f AND f < 'Infinity' GROUP BY 1) d WHERE abs(a) > 1e100;
-- Rows of cold parts change, and later ones come: both formats in one table
DELETE FROM c WHERE i = 41;
DELETE FROM c_heap WHERE i = 41;
UPDATE c SET two = two + 1, note = 'changed' WHERE host = 'h3' AND i = 42;
UPDATE c_heap SET two = two + 1, note = 'changed' WHERE host = 'h3' AND i = 42;
INSERT INTO c SELECT time + '1 day', host, f FROM c_heap WHERE host < 'h3';
INSERT INTO c_heap SELECT time + '1 day', host, f FROM c_heap WHERE host < 'h3';
SELECT compare('c', 'c_heap');
SELECT format, parts > 0 AS parts FROM formats;
SELECT * FROM metricsdb.check('c');
-- What takes in a cold part is cold
CALL metricsdb.compact('c');
SELECT format, parts FROM formats;
SELECT compare('c', 'c_heap');
CALL metricsdb.compact('c', full => true);
SELECT format, parts FROM formats;
SELECT compare('c', 'c_heap');
SELECT * FROM metricsdb.check('c');
-- Indexes follow; a rewrite is hot again
CREATE INDEX ON c (host, time);
CREATE UNIQUE INDEX ON c (counter) WHERE time < '2024-01-02Z' AND counter IS NOT NULL AND note IS DISTINCT FROM 'changed';
SET enable_seqscan = off;
SET metricsdb.enable_custom_scan = off;
SELECT count(*), sum(counter) FROM c WHERE host = 'h5' AND time BETWEEN '2024-01-01 00:10Z' AND '2024-01-01 00:20Z';
RESET enable_seqscan;
RESET metricsdb.enable_custom_scan;
INSERT INTO c SELECT time + '2 day', host, f FROM c_heap WHERE host = 'h4' LIMIT 2000;
CALL metricsdb.compact('c', full => true);
SET enable_seqscan = off;
SET metricsdb.enable_custom_scan = off;
SELECT count(*), sum(counter) FROM c WHERE host = 'h5' AND time BETWEEN '2024-01-01 00:10Z' AND '2024-01-01 00:20Z';
RESET enable_seqscan;
RESET metricsdb.enable_custom_scan;
VACUUM FULL c;
SELECT format FROM formats;
-- Tables without a time, with few rows, with none
CREATE TABLE c_none (a int, b text) USING metricsdb;
CALL metricsdb.compact('c_none', full => true);
INSERT INTO c_none VALUES (1, 'x');
CALL metricsdb.compact('c_none', full => true);
TABLE c_none;
CREATE TABLE c_few (a int, b float8) USING metricsdb;
INSERT INTO c_few SELECT k, k / 10.0 FROM generate_series(1, 5000) k;
CALL metricsdb.compact('c_few', full => true);
SELECT format, rows FROM metricsdb.parts WHERE "table" = 'c_few'::regclass;
SELECT count(*), sum(a), round(sum(b)::numeric, 3) FROM c_few;
SHOW metricsdb.cold_after;
SET metricsdb.cold_after = '1h';
DROP VIEW formats;
DROP TABLE c_none, c_few, c, c_heap;
