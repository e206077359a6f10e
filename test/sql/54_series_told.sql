-- What is told of series when rows were deleted, when columns were dropped, and of partitioned tables.
\set ECHO queries
CREATE SCHEMA told;
SET search_path = told, public;
SET timezone = 'UTC';
SET metricsdb.direct_rows = 1;

-- With a time range a series is told if a row in it is left: here, and as other snapshots see it.
CREATE TABLE m (metric_name text, tags jsonb, time timestamptz, value float8) USING metricsdb;
INSERT INTO m SELECT 'metric_' || k % 3, jsonb_build_object('host', 'host_' || k % 30, 'only_' || k % 30, k % 3), timestamptz '2026-01-01' + k * interval '1 min', k FROM generate_series(1, 3000) k;
CREATE FUNCTION told(lo timestamptz, hi timestamptz, OUT names bigint, OUT keys bigint, OUT hosts bigint, OUT series bigint, OUT counted bigint) LANGUAGE sql AS
	$$ SELECT (SELECT count(*) FROM metricsdb.metric_names('m', lo, hi)), (SELECT count(*) FROM metricsdb.tag_keys('m', NULL, lo, hi)), (SELECT count(*) FROM metricsdb.tag_values('m', NULL, 'host', lo, hi)),
		(SELECT count(*) FROM metricsdb.series('m', NULL, NULL, lo, hi)), metricsdb.cardinality('m', NULL, lo, hi) $$;
CREATE FUNCTION asked(lo timestamptz, hi timestamptz, OUT names bigint, OUT keys bigint, OUT hosts bigint, OUT series bigint, OUT counted bigint) LANGUAGE sql AS
	$$ WITH s AS (SELECT DISTINCT metric_name, tags FROM m WHERE time >= lo AND time < hi)
		SELECT (SELECT count(DISTINCT metric_name) FROM s), (SELECT count(DISTINCT k) FROM s, jsonb_object_keys(tags) k), (SELECT count(DISTINCT tags->>'host') FROM s), (SELECT count(*) FROM s), (SELECT count(*) FROM s) $$;
SELECT told = asked AS same, told.* FROM told('2026-01-01', '2026-02-01') told, asked('2026-01-01', '2026-02-01') asked;
DELETE FROM m WHERE metric_name = 'metric_1' AND time < '2026-01-02';
DELETE FROM m WHERE tags->>'host' = 'host_5';
SELECT told = asked AS same, told.* FROM told('2026-01-01', '2026-02-01') told, asked('2026-01-01', '2026-02-01') asked;
SELECT told = asked AS same, told.* FROM told('2026-01-01', '2026-01-02') told, asked('2026-01-01', '2026-01-02') asked;
SELECT told = asked AS same, told.* FROM told('2026-01-01 10:00:30', '2026-01-01 10:12:00') told, asked('2026-01-01 10:00:30', '2026-01-01 10:12:00') asked;
BEGIN;
DELETE FROM m WHERE tags->>'host' < 'host_2';
SELECT told = asked AS same, told.* FROM told('2026-01-01', '2026-02-01') told, asked('2026-01-01', '2026-02-01') asked;
ROLLBACK;
SELECT told = asked AS same, told.* FROM told('2026-01-01', '2026-02-01') told, asked('2026-01-01', '2026-02-01') asked;
CALL metricsdb.compact('m', full => true);
DELETE FROM m WHERE time >= '2026-01-02' AND tags->>'host' = 'host_7';
SELECT told = asked AS same, told.* FROM told('2026-01-02', '2026-02-01') told, asked('2026-01-02', '2026-02-01') asked;
UPDATE m SET value = -1 WHERE tags->>'host' = 'host_8';
SELECT told = asked AS same, told.* FROM told('2026-01-02', '2026-02-01') told, asked('2026-01-02', '2026-02-01') asked;
DELETE FROM m;
SELECT told = asked AS same, told.* FROM told('2026-01-01', '2026-02-01') told, asked('2026-01-01', '2026-02-01') asked;

-- Series that differ in a column that was dropped are one, in parts, in the delta, and in both.
CREATE TABLE d (time timestamptz, host text, rack text, pod text, v float8) USING metricsdb;
INSERT INTO d SELECT '2026-01-01', 'h' || k % 5, 'r' || k % 3, 'p' || k % 4, k FROM generate_series(1, 1000) k;
SET metricsdb.direct_rows = 1000;
INSERT INTO d SELECT '2026-01-01', 'h' || k % 6, 'r' || k % 3, 'p' || k % 4, k FROM generate_series(1, 100) k;
SELECT metricsdb.cardinality('d'), (SELECT count(*) FROM metricsdb.series('d'));
ALTER TABLE d DROP pod;
SELECT metricsdb.cardinality('d'), (SELECT count(*) FROM metricsdb.series('d')), (SELECT count(*) FROM (SELECT DISTINCT host, rack FROM d) x);
ALTER TABLE d DROP rack;
SELECT metricsdb.cardinality('d'), metricsdb.cardinality('d', NULL, '2026-01-01', '2026-01-02'), metricsdb.cardinality('d', 'other');
SELECT tags FROM metricsdb.series('d', NULL, $$host > 'h2'$$) ORDER BY 1;
SELECT metricsdb.tag_keys('d');
CALL metricsdb.compact('d');
INSERT INTO d SELECT '2026-01-01', 'h' || k % 7, k FROM generate_series(1, 100) k;
SELECT metricsdb.cardinality('d'), (SELECT string_agg(tags->>'host', ' ' ORDER BY tags) FROM metricsdb.series('d'));

-- A partitioned table has the series of its partitions, of whatever access method, each once.
CREATE ROLE mdb_reader;
CREATE ROLE mdb_eu_only;
GRANT USAGE ON SCHEMA told TO mdb_reader, mdb_eu_only;
CREATE TABLE p (time timestamptz, host text, region text, v float8) PARTITION BY RANGE (time);
SELECT metricsdb.metric_names('p'), metricsdb.cardinality('p');
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2026-01-02') USING metricsdb;
CREATE TABLE p2 (v float8, gone int, region text, host text, time timestamptz) USING metricsdb;
ALTER TABLE p2 DROP gone;
ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM ('2026-01-02') TO ('2026-01-03');
CREATE TABLE p3 PARTITION OF p FOR VALUES FROM ('2026-01-03') TO ('2026-01-05') PARTITION BY LIST (region);
CREATE TABLE p3_eu PARTITION OF p3 FOR VALUES IN ('eu') USING metricsdb;
CREATE TABLE p3_more PARTITION OF p3 DEFAULT USING heap;
INSERT INTO p SELECT timestamptz '2026-01-01' + k * interval '1 hour', 'host_' || k % 7 + k / 24, CASE k % 4 WHEN 0 THEN 'eu' WHEN 1 THEN NULL ELSE 'us' END, k FROM generate_series(0, 95) k;
CREATE FUNCTION told_of_p(lo timestamptz, hi timestamptz, OUT names text, OUT keys text, OUT hosts text, OUT series text, OUT chosen text, OUT counted text) LANGUAGE sql AS
	$$ SELECT (SELECT string_agg(x, ',') FROM metricsdb.metric_names('p', lo, hi) x), (SELECT string_agg(x, ',') FROM metricsdb.tag_keys('p', NULL, lo, hi) x), (SELECT string_agg(x, ',') FROM metricsdb.tag_values('p', 'p', 'host', lo, hi) x),
		(SELECT string_agg(s.tags::text, ',' ORDER BY tags) FROM metricsdb.series('p', 'p', NULL, lo, hi) s),
		(SELECT string_agg(s.tags::text, ',' ORDER BY tags) FROM metricsdb.series('p', NULL, 'region IS NULL OR host LIKE $q$%3$q$', lo, hi) s), metricsdb.cardinality('p', 'p', lo, hi)::text $$;
CREATE FUNCTION asked_of_p(lo timestamptz, hi timestamptz, OUT names text, OUT keys text, OUT hosts text, OUT series text, OUT chosen text, OUT counted text) LANGUAGE sql AS
	$$ WITH r AS (SELECT * FROM p WHERE time >= lo AND time < hi), s AS (SELECT DISTINCT host, jsonb_strip_nulls(jsonb_build_object('host', host, 'region', region)) AS tags FROM r)
		SELECT (SELECT 'p' FROM s LIMIT 1), (SELECT string_agg(DISTINCT x COLLATE "C", ',') FROM s, jsonb_object_keys(tags) x), (SELECT string_agg(DISTINCT host COLLATE "C", ',') FROM s),
			(SELECT string_agg(tags::text, ',' ORDER BY tags) FROM s), (SELECT string_agg(tags::text, ',' ORDER BY tags) FROM s WHERE tags->>'region' IS NULL OR host LIKE '%3'), (SELECT count(*)::text FROM s) $$;
CREATE FUNCTION compared(OUT range tstzrange, OUT same bool, OUT counted text, OUT chars int) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT r, told IS NOT DISTINCT FROM asked, told.counted, length(told::text) FROM unnest(ARRAY['[2026-01-01,2026-02-01)', '[2026-01-01 20:30,2026-01-02 03:00)', '[2026-01-03,2026-01-04)', '[2026-02-01,2026-02-02)']::tstzrange[]) r,
		told_of_p(lower(r), upper(r)) told, asked_of_p(lower(r), upper(r)) asked $$;
SELECT * FROM compared();
SELECT metricsdb.cardinality('p') = (SELECT counted::int FROM asked_of_p('-infinity', 'infinity')) AS same;
CALL metricsdb.compact('p1');
CALL metricsdb.compact('p2');
SELECT * FROM compared();
DELETE FROM p WHERE host = 'host_4';
SELECT * FROM compared();
SELECT metricsdb.cardinality('p', NULL, 'infinity'), metricsdb.cardinality('p', 'p1');
SELECT metricsdb.tag_values('p', NULL, 'region');
SELECT * FROM metricsdb.series('p', NULL, 'v > 1');
SELECT * FROM metricsdb.series('p1', 'p') UNION ALL SELECT * FROM metricsdb.series('p1', 'p1', $$region = 'eu'$$) ORDER BY 1, 2;

-- Rights and policies are those of what was named.
GRANT SELECT ON p TO mdb_reader, mdb_eu_only;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA told TO mdb_reader, mdb_eu_only;
ALTER TABLE p1 ENABLE ROW LEVEL SECURITY;
SET ROLE mdb_reader;
SELECT * FROM compared();
SELECT metricsdb.cardinality('p1');
RESET ROLE;
CREATE POLICY eu ON p TO mdb_eu_only USING (region = 'eu' AND v < 60);
CREATE POLICY all_rows ON p TO mdb_reader USING (true);
ALTER TABLE p ENABLE ROW LEVEL SECURITY;
SET ROLE mdb_eu_only;
SELECT * FROM compared();
SELECT metricsdb.tag_values('p', NULL, 'region');
SET ROLE mdb_reader;
SELECT * FROM compared();
RESET ROLE;
REVOKE SELECT ON p FROM mdb_reader;
SET ROLE mdb_reader;
SELECT metricsdb.cardinality('p');
RESET ROLE;

-- What cannot be told
CREATE TABLE heaps (time timestamptz, host text) PARTITION BY RANGE (time);
CREATE TABLE heap1 PARTITION OF heaps DEFAULT USING heap;
SELECT metricsdb.cardinality('heaps');
SELECT * FROM metricsdb.explain_series('p', 'true');
SET client_min_messages = warning;
DROP SCHEMA told CASCADE;
DROP ROLE mdb_reader, mdb_eu_only;
