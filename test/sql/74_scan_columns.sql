-- Whole rows, system columns, no columns, domains, generated columns: through MetricsScan and MetricsAgg as on heap.
\set ECHO queries
CREATE SCHEMA sc;
SET search_path = sc, public;
SET metricsdb.direct_rows = 50;
SET timezone = 'UTC';

CREATE DOMAIN percent AS float8 CHECK (VALUE BETWEEN 0 AND 100);
CREATE DOMAIN hostname AS text CHECK (VALUE <> '');
CREATE DOMAIN moment AS timestamptz NOT NULL;
CREATE TABLE h (time moment, host hostname, v percent, n int, twice int GENERATED ALWAYS AS (n * 2) STORED, label text GENERATED ALWAYS AS (host || ':' || n) STORED, gone int) USING heap;
CREATE TABLE m (LIKE h INCLUDING GENERATED) USING metricsdb;
SELECT metricsdb.set_options('m', "time" => 'time', series => '{host}');
INSERT INTO h SELECT timestamptz '2026-01-01' + i * interval '10 s', 'host_' || i % 3, i % 101, CASE WHEN i % 10 > 0 THEN i END FROM generate_series(1, 6000) i;
INSERT INTO m SELECT timestamptz '2026-01-01' + i * interval '10 s', 'host_' || i % 3, i % 101, CASE WHEN i % 10 > 0 THEN i END FROM generate_series(1, 6000) i;
ALTER TABLE h DROP gone;
ALTER TABLE m DROP gone;
ALTER TABLE h ADD later percent DEFAULT 50;
ALTER TABLE m ADD later percent DEFAULT 50;
-- Some in the delta.
INSERT INTO h SELECT timestamptz '2026-01-01' + i * interval '10 s', 'host_1', 7, i FROM generate_series(6001, 6020) i;
INSERT INTO m SELECT timestamptz '2026-01-01' + i * interval '10 s', 'host_1', 7, i FROM generate_series(6001, 6020) i;
ANALYZE h, m;

-- A query in which @ is the table, on heap, and with everything off and on: one answer, and the nodes it took.
CREATE FUNCTION same(query text, OUT nodes text, OUT equal boolean) LANGUAGE plpgsql AS $$
DECLARE
	expected text[]; got text[]; doc json; q text;
BEGIN
	q := 'SELECT coalesce(array_agg(x::text ORDER BY x::text), ''{}'') FROM (' || query || ') x';
	EXECUTE replace(q, '@', 'h') INTO expected;
	equal := array_length(expected, 1) > 0;
	FOR i IN 0 .. 1 LOOP
		PERFORM set_config('metricsdb.enable_custom_scan', (ARRAY['off', 'on'])[i + 1], false);
		EXECUTE replace(q, '@', 'm') INTO got;
		equal := equal AND got = expected;
	END LOOP;
	EXECUTE 'EXPLAIN (FORMAT JSON) ' || replace(query, '@', 'm') INTO doc;
	SELECT string_agg(DISTINCT coalesce(p->>'Custom Plan Provider', p->>'Node Type'), ', ') INTO nodes
		FROM jsonb_path_query(doc::jsonb, '$.**.Plan') a, jsonb_path_query(doc::jsonb, '$.** ? (@."Node Type" == "Custom Scan" || @."Node Type" == "Seq Scan")') p;
END $$;

-- Whole rows and system columns are core's.
SELECT * FROM same('SELECT t FROM @ t WHERE host = ''host_1'' AND v > 50');
SELECT * FROM same('SELECT (t.*)::text, row_to_json(t) ->> ''twice'' FROM @ t WHERE v > 90');
SELECT * FROM same('SELECT count(t), count(t.*) FROM @ t WHERE v > 90');
SELECT * FROM same('SELECT tableoid = ''@''::regclass AS mine, n FROM @ WHERE n < 50');
SELECT * FROM same('SELECT count(DISTINCT ctid) FROM @ WHERE host = ''host_2''');
SELECT * FROM same('SELECT n FROM @ WHERE ctid IS NOT NULL AND host = ''host_2''');
-- No columns.
SELECT * FROM same('SELECT FROM @ WHERE host = ''host_1'' AND v > 50');
SELECT * FROM same('SELECT 1 FROM @');
SELECT * FROM same('SELECT count(*) FROM @');
SELECT * FROM same('SELECT count(*) FROM (SELECT FROM @ WHERE v > 50 OFFSET 0) x');
SELECT * FROM same('SELECT EXISTS (SELECT FROM @ WHERE v > 200), EXISTS (SELECT FROM @ WHERE v > 99)');
-- Domains.
SELECT * FROM same('SELECT time, host, v FROM @ WHERE v > 50 AND host = ''host_1'' AND time < ''2026-01-01 05:00''');
SELECT * FROM same('SELECT v, later FROM @ WHERE v = 7::percent AND later = 50');
SELECT * FROM same('SELECT v FROM @ WHERE v IN (7, 8) AND v::float8 + 1 > 3');
SELECT * FROM same('SELECT host, max(v), avg(v::float8), sum(later), min(time) FROM @ WHERE v < 50 GROUP BY host');
SELECT * FROM same('SELECT metricsdb.time_bucket(''1 hour'', time) AS b, count(v) FROM @ GROUP BY 1');
SELECT * FROM same('SELECT (max(v)::percent)::text FROM @');
-- Generated columns.
SELECT * FROM same('SELECT n, twice, label FROM @ WHERE twice BETWEEN 100 AND 400 OR twice IS NULL');
SELECT * FROM same('SELECT label FROM @ WHERE label LIKE ''host_1:5%'' AND v > 10');
SELECT * FROM same('SELECT host, sum(twice), count(label), max(twice) FROM @ WHERE twice > 1000 GROUP BY host');
SELECT * FROM same('SELECT a.n, b.twice FROM @ a JOIN @ b ON b.time = a.time AND b.twice = a.twice WHERE a.n < 300');
-- Views, aliases, columns renamed.
CREATE VIEW hv AS SELECT host AS machine, n AS number, later FROM h WHERE v > 20;
CREATE VIEW mv AS SELECT host AS machine, n AS number, later FROM m WHERE v > 20;
SELECT * FROM same('SELECT machine, sum(number) FROM @v x(machine) WHERE number > 100 GROUP BY 1');
ALTER TABLE h RENAME twice TO double;
ALTER TABLE m RENAME twice TO double;
SELECT * FROM same('SELECT n, double FROM @ WHERE double > 11000');

-- Policies, as somebody who does not own the tables: the same rows, and no figures.
CREATE POLICY p ON h USING (host <> 'host_2' AND coalesce(n, 1) % 7 <> 0);
CREATE POLICY p ON m USING (host <> 'host_2' AND coalesce(n, 1) % 7 <> 0);
CREATE POLICY q ON h AS RESTRICTIVE USING (v < 90 AND time < '2026-01-01 16:00');
CREATE POLICY q ON m AS RESTRICTIVE USING (v < 90 AND time < '2026-01-01 16:00');
ALTER TABLE h ENABLE ROW LEVEL SECURITY;
ALTER TABLE m ENABLE ROW LEVEL SECURITY;
CREATE ROLE regress_metricsdb_reader;
GRANT USAGE ON SCHEMA sc TO regress_metricsdb_reader;
GRANT SELECT ON h, m TO regress_metricsdb_reader;
CREATE FUNCTION figures(query text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	line text; n bigint := 0;
BEGIN
	FOREACH line IN ARRAY ARRAY['TEXT', 'JSON'] LOOP
		FOR line IN EXECUTE format('EXPLAIN (ANALYZE, FORMAT %s) %s', line, replace(query, '@', 'm')) LOOP
			n := n + (line ~ 'Parts|Blocks (Total|Pruned|Read|Answered)|Rows (Decoded|Filtered|of)|Removed by Filter"?: [1-9]|Series (Asked|Matched)|Bytes Read')::int;
		END LOOP;
	END LOOP;
	RETURN n;
END $$;
SET ROLE regress_metricsdb_reader;
SELECT q, (same(q)).equal, figures(q) FROM unnest(ARRAY[
	'SELECT n, v FROM @', 'SELECT n, v FROM @ WHERE v > 50', 'SELECT n FROM @ WHERE host = ''host_1'' AND v BETWEEN 10 AND 20', 'SELECT n FROM @ WHERE n / 2 > 1000',
	'SELECT n FROM @ WHERE time > ''2026-01-01 10:00''', 'SELECT n FROM @ WHERE label LIKE ''%5'' AND v < 30', 'SELECT host, count(*), sum(n), max(v) FROM @ GROUP BY host',
	'SELECT host, max(v) FROM @ WHERE v > 30 GROUP BY host', 'SELECT count(*) FROM @', 'SELECT max(time) FROM @', 'SELECT DISTINCT ON (host) host, n FROM @ WHERE n IS NOT NULL ORDER BY host, time DESC',
	'SELECT n FROM @ ORDER BY time DESC LIMIT 3', 'SELECT metricsdb.time_bucket(''1 hour'', time) AS b, avg(v::float8)::numeric(10, 4) FROM @ WHERE v > 10 GROUP BY 1', 'SELECT a.n FROM @ a JOIN @ b USING (time, host) WHERE a.v > 60']) q;
RESET ROLE;

\set ECHO none
SET client_min_messages = warning;
DROP SCHEMA sc CASCADE;
DROP ROLE regress_metricsdb_reader;
