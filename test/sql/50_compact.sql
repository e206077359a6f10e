-- Many parts, merged again and again: at every point the rows are those of a heap table.
SET timezone = 'UTC';
CREATE TABLE m (time timestamptz, host text, region text, f float8, i int, b bigint, n numeric, note text, flag bool) USING metricsdb;
CREATE TABLE h (LIKE m) USING heap;
-- Rows of the kinds that fleets send, in batches of all sizes
CREATE FUNCTION batch(seed int, size int) RETURNS SETOF h LANGUAGE sql AS $$
	SELECT '2024-01-01Z'::timestamptz + seed * '7 min'::interval + (k * 37 % 4000) * '1 s'::interval + CASE WHEN k % 97 = 0 THEN '-3 days'::interval ELSE '0' END,
		CASE WHEN k % 50 > 0 THEN 'h' || (k * seed) % 23 END, 'r' || k % 3, CASE WHEN k % 11 > 0 THEN round((sin(seed + k / 50.0) * 100)::numeric, 2) ELSE 'NaN' END,
		CASE WHEN k % 7 > 0 THEN k END, (seed::bigint << 33) + k, CASE WHEN k % 5 = 0 THEN k / 3.0 END, CASE k % 4 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'note ' || k % 20 END, k % 3 = 0
	FROM generate_series(1, size) k
$$;
CREATE PROCEDURE load(from_seed int, to_seed int, direct int) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('metricsdb.direct_rows', direct::text, false);
	FOR seed IN from_seed .. to_seed LOOP
		INSERT INTO m SELECT * FROM batch(seed, 1 + (seed * 53) % 400);
		INSERT INTO h SELECT * FROM batch(seed, 1 + (seed * 53) % 400);
		IF seed % 5 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
	END LOOP;
END $$;
CALL load(1, 30, 10);
SELECT compare('m', 'h');
CALL metricsdb.compact('m');
SELECT compare('m', 'h');
SELECT delta_rows, parts < 10 AS few, rows = (SELECT count(*) FROM h) AS rows FROM metricsdb.relation_stats('m');
CALL load(31, 60, 150);
SELECT compare('m', 'h');
CALL metricsdb.compact('m');
SELECT compare('m', 'h');
CALL metricsdb.compact('m');
SELECT compare('m', 'h');
-- Columns come and go between the parts
ALTER TABLE m ADD COLUMN late int DEFAULT 7;
ALTER TABLE h ADD COLUMN late int DEFAULT 7;
ALTER TABLE m ADD COLUMN text_late text DEFAULT 'missing';
ALTER TABLE h ADD COLUMN text_late text DEFAULT 'missing';
ALTER TABLE m DROP COLUMN flag;
ALTER TABLE h DROP COLUMN flag;
ALTER TABLE m ALTER late SET DEFAULT 8;
ALTER TABLE h ALTER late SET DEFAULT 8;
INSERT INTO m (time, host, i) SELECT '2024-01-01Z'::timestamptz + k * '1 s'::interval, 'h' || k % 5, k FROM generate_series(1, 500) k;
INSERT INTO h (time, host, i) SELECT '2024-01-01Z'::timestamptz + k * '1 s'::interval, 'h' || k % 5, k FROM generate_series(1, 500) k;
INSERT INTO m (time, host, i, late) VALUES ('2024-01-01Z', 'h1', 1, NULL), ('2024-01-01Z', 'h1', 1, 9);
INSERT INTO h (time, host, i, late) VALUES ('2024-01-01Z', 'h1', 1, NULL), ('2024-01-01Z', 'h1', 1, 9);
SELECT compare('m', 'h');
CALL metricsdb.compact('m');
SELECT compare('m', 'h');
ALTER TABLE m DROP COLUMN region;
ALTER TABLE h DROP COLUMN region;
ALTER TABLE m ADD COLUMN region text DEFAULT 'new';
ALTER TABLE h ADD COLUMN region text DEFAULT 'new';
SELECT compare('m', 'h');
INSERT INTO m (time, host, i) SELECT '2024-01-01Z'::timestamptz + k * '1 s'::interval, 'h' || k % 5, k FROM generate_series(1, 1500) k;
INSERT INTO h (time, host, i) SELECT '2024-01-01Z'::timestamptz + k * '1 s'::interval, 'h' || k % 5, k FROM generate_series(1, 1500) k;
CALL metricsdb.compact('m');
SELECT compare('m', 'h');
VACUUM m;
SELECT compare('m', 'h');
-- Rows that share a time keep the order in which they came
CREATE TABLE same (time timestamptz, host text, v int) USING metricsdb;
SET metricsdb.direct_rows = 1;
INSERT INTO same SELECT '2024-01-01Z', 'h', i FROM generate_series(1, 300) i;
INSERT INTO same SELECT '2024-01-01Z', 'h', i FROM generate_series(301, 310) i;
INSERT INTO same SELECT '2024-01-01Z', 'h', i FROM generate_series(311, 700) i;
CALL metricsdb.compact('same');
SELECT bool_and(v = row_number) AS in_order, count(*) FROM (SELECT v, row_number() OVER () FROM same) x;
-- Merged into one-series blocks, and back to what was asked
CREATE TABLE fleet (time timestamptz, host text, v float8) USING metricsdb;
SET metricsdb.direct_rows = 100;
DO $$
BEGIN
	FOR s IN 1 .. 120 LOOP
		INSERT INTO fleet SELECT '2024-01-01Z'::timestamptz + s * '10 s'::interval, 'h' || i, (s * i) % 100 FROM generate_series(1, 200) i;
		COMMIT;
	END LOOP;
END $$;
CALL metricsdb.compact('fleet');
SELECT count(*) AS parts, sum(rows) AS rows, sum(series) AS series, sum(blocks) AS blocks FROM metricsdb.parts WHERE "table" = 'fleet'::regclass;
SELECT count(*), count(DISTINCT (time, host)), sum(v) FROM fleet;
SELECT (SELECT sum((s * i) % 100) FROM generate_series(1, 120) s, generate_series(1, 200) i) AS expected;
SELECT time, v FROM fleet WHERE host = 'h77' ORDER BY time LIMIT 3;
-- A snapshot from before a merge reads what was there
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM fleet;
COMMIT;
-- Tables without a time, of one column, of no column, empty ones, temporary and unlogged ones
CREATE TABLE untimed (host text, v int) USING metricsdb;
CREATE TABLE nothing () USING metricsdb;
CREATE TEMP TABLE tmp (time timestamptz, v int) USING metricsdb;
CREATE UNLOGGED TABLE u (time timestamptz, v int) USING metricsdb;
DO $$
BEGIN
	FOR s IN 1 .. 15 LOOP
		INSERT INTO untimed SELECT 'h' || i % 3, i FROM generate_series(1, 110) i;
		INSERT INTO nothing SELECT FROM generate_series(1, 110);
		INSERT INTO tmp SELECT '2024-01-01Z', i FROM generate_series(1, 110) i;
		INSERT INTO u SELECT '2024-01-01Z', i FROM generate_series(1, 110) i;
		INSERT INTO untimed VALUES ('x', s);
		INSERT INTO nothing DEFAULT VALUES;
		INSERT INTO tmp VALUES (NULL, s);
		INSERT INTO u VALUES ('infinity', s);
		COMMIT;
	END LOOP;
END $$;
CALL metricsdb.compact('untimed');
CALL metricsdb.compact('nothing');
CALL metricsdb.compact('tmp');
CALL metricsdb.compact('u');
SELECT (SELECT count(*) FROM untimed), (SELECT count(*) FROM nothing), (SELECT count(*) FROM tmp), (SELECT count(*) FROM u), (SELECT sum(v) FROM untimed), (SELECT sum(v) FROM tmp), (SELECT sum(v) FROM u);
SELECT "table", count(*) FROM metricsdb.parts WHERE "table"::text IN ('untimed', 'nothing', 'tmp', 'u') GROUP BY 1 ORDER BY "table"::text;
TRUNCATE untimed;
CALL metricsdb.compact('untimed');
-- Wide values
CREATE TABLE wide (time timestamptz, host text, t text) USING metricsdb;
INSERT INTO wide SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h', repeat(md5(i::text), 3000) FROM generate_series(1, 120) i;
INSERT INTO wide SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h', repeat(md5(i::text), 3000) FROM generate_series(121, 240) i;
INSERT INTO wide SELECT '2024-01-01Z'::timestamptz + i * '1 s'::interval, 'h', repeat(md5(i::text), 30000) FROM generate_series(241, 244) i;
CALL metricsdb.compact('wide');
SELECT count(*), count(*) FILTER (WHERE t = repeat(md5(extract(epoch FROM time - '2024-01-01Z')::int::text), length(t) / 32)) AS right FROM wide;
DROP FUNCTION batch;
DROP TABLE m, h, same, fleet, untimed, nothing, tmp, u, wide;
DROP PROCEDURE load;
