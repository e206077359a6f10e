-- What series a table has: the functions say what queries of a heap say.
\set ECHO queries
SET client_min_messages = warning;
CREATE ROLE mdb_reader;
CREATE ROLE mdb_eu_only;
RESET client_min_messages;
CREATE SCHEMA info;
GRANT USAGE ON SCHEMA info TO mdb_reader, mdb_eu_only;
SET search_path = info, public;
SET timezone = 'UTC';
SELECT metricsdb.create_metrics_table('m');
CREATE TABLE h AS SELECT * FROM m;
CREATE TABLE src AS
	SELECT CASE k % 50 WHEN 0 THEN repeat('name', 200 + k % 3) ELSE 'metric_' || k % 12 END AS metric_name,
		CASE k % 29 WHEN 0 THEN '{}' WHEN 1 THEN jsonb_build_object(repeat('key', 90), repeat('value', 90))
			WHEN 2 THEN jsonb_build_object('n', k % 3, 'b', true, 'z', null, 'c', '{"x": [1]}'::jsonb)
			ELSE jsonb_build_object('host', 'host_' || k % 97, 'region', CASE WHEN k % 3 = 0 THEN 'eu' ELSE 'us' END, 'm' || k % 12, 'ä') END AS tags,
		timestamptz '2026-01-01' + k * interval '1 min' AS "time", k::float8 AS value
	FROM generate_series(1, 6000) k;
SET metricsdb.direct_rows = 1;
INSERT INTO m SELECT * FROM src WHERE value <= 2000;
INSERT INTO m SELECT * FROM src WHERE value > 2000 AND value <= 4000;
CALL metricsdb.compact('m');
INSERT INTO m SELECT * FROM src WHERE value > 4000;
SET metricsdb.direct_rows = 10000;
INSERT INTO m SELECT * FROM src WHERE value < 40;
INSERT INTO m VALUES ('delta', '{"only": "there"}', '2026-03-01', 1), ('delta', '{}', '2026-03-01', 1);
INSERT INTO h SELECT * FROM m;

-- Both ways, as texts
CREATE FUNCTION by_function(what text, metric text, key text, lo timestamptz, hi timestamptz) RETURNS text LANGUAGE sql AS $$
	SELECT CASE what
		WHEN 'names' THEN (SELECT string_agg(x, ',') FROM metricsdb.metric_names('m', lo, hi) x)
		WHEN 'keys' THEN (SELECT string_agg(x, ',') FROM metricsdb.tag_keys('m', metric, lo, hi) x)
		WHEN 'values' THEN (SELECT string_agg(x, ',') FROM metricsdb.tag_values('m', metric, key, lo, hi) x)
		WHEN 'series' THEN (SELECT string_agg(s::text, ',' ORDER BY s::text COLLATE "C") FROM metricsdb.series('m', metric, NULL, lo, hi) s)
		WHEN 'some' THEN (SELECT string_agg(s::text, ',' ORDER BY s::text COLLATE "C") FROM metricsdb.series('m', metric, $q$tags->>'host' LIKE '%_1%' AND tags->>'region' = 'eu'$q$, lo, hi) s)
		WHEN 'count' THEN metricsdb.cardinality('m', metric, lo, hi)::text END
$$;
CREATE FUNCTION by_query(what text, metric text, key text, lo timestamptz, hi timestamptz) RETURNS text LANGUAGE sql AS $$
	WITH s AS (SELECT DISTINCT metric_name, tags FROM h WHERE (metric IS NULL OR metric_name = metric) AND (lo IS NULL OR "time" >= lo) AND (hi IS NULL OR "time" < hi))
	SELECT CASE what
		WHEN 'names' THEN (SELECT string_agg(DISTINCT metric_name COLLATE "C", ',') FROM s)
		WHEN 'keys' THEN (SELECT string_agg(DISTINCT k COLLATE "C", ',') FROM s, jsonb_object_keys(tags) k)
		WHEN 'values' THEN (SELECT string_agg(DISTINCT (tags->>key) COLLATE "C", ',') FROM s)
		WHEN 'series' THEN (SELECT string_agg(s::text, ',' ORDER BY s::text COLLATE "C") FROM s)
		WHEN 'some' THEN (SELECT string_agg(s::text, ',' ORDER BY s::text COLLATE "C") FROM s WHERE tags->>'host' LIKE '%_1%' AND tags->>'region' = 'eu')
		WHEN 'count' THEN (SELECT count(*)::text FROM s) END
$$;
CREATE FUNCTION compared(OUT what text, OUT metric text, OUT key text, OUT range text, OUT same bool, OUT chars int) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT what, left(metric, 20) AS metric, left(key, 20) AS key, range::text, coalesce(f, '') = coalesce(q, '') AS same, length(f) AS chars
	FROM (SELECT 'names' AS what, NULL AS metric, NULL AS key UNION ALL
			SELECT what, metric, NULL FROM unnest('{keys,series,some,count}'::text[]) what, unnest(ARRAY[NULL, 'metric_3', repeat('name', 201), 'delta', 'none']) metric UNION ALL
			SELECT 'values', metric, key FROM unnest(ARRAY[NULL, 'metric_3', 'delta']) metric, unnest(ARRAY['host', 'region', 'n', 'b', 'z', 'c', 'only', 'none', repeat('key', 90)]) key) x
		CROSS JOIN unnest(ARRAY['(,)', '[2026-01-02 00:00:30,2026-01-02 12:00)', '[2026-01-04 12:00,)', '[,2026-01-01 00:20)', '[2027-01-01,)']::tstzrange[]) range
		CROSS JOIN LATERAL by_function(what, metric, key, lower(range), upper(range)) f
		CROSS JOIN LATERAL by_query(what, metric, key, lower(range), upper(range)) q
$$;
SELECT what, count(*), count(*) FILTER (WHERE same) AS same, sum(chars) FROM compared() GROUP BY what ORDER BY what;
SELECT * FROM compared() WHERE NOT same;
SELECT left(k, 20) FROM metricsdb.tag_keys('m', 'metric_3') k;
SELECT * FROM metricsdb.tag_values('m', NULL, 'n');
SELECT * FROM metricsdb.series('m', 'delta') ORDER BY tags;

-- What this transaction wrote is there; what it rolled back is not.
SET metricsdb.direct_rows = 1;
BEGIN;
INSERT INTO m SELECT 'new', jsonb_build_object('k', k), now(), k FROM generate_series(1, 600) k;
SELECT count(*) FROM metricsdb.metric_names('m') n WHERE n = 'new';
SELECT metricsdb.cardinality('m', 'new');
ROLLBACK;
SELECT count(*) FROM metricsdb.metric_names('m') n WHERE n = 'new';
SELECT metricsdb.cardinality('m', 'new');

-- A table without columns of names and tags is one metric; its series columns are the tags.
CREATE TABLE wide (d date, host text, up bool, more jsonb, uid uuid, v float8, u float8) USING metricsdb;
SELECT metricsdb.metric_names('wide');
INSERT INTO wide SELECT date '2026-01-01' + k % 3, 'h' || k % 5, k % 2 = 0, jsonb_build_object('rack', k % 4), CASE WHEN k % 10 < 0 THEN md5('x')::uuid END, k, k FROM generate_series(1, 1000) k;
SELECT metricsdb.metric_names('wide');
SELECT metricsdb.tag_keys('wide');
SELECT metricsdb.tag_keys('wide', 'wide');
SELECT metricsdb.tag_keys('wide', 'other');
SELECT metricsdb.tag_values('wide', NULL, 'host');
SELECT metricsdb.tag_values('wide', NULL, 'up');
SELECT metricsdb.tag_values('wide', NULL, 'rack', '2026-01-02 00:00', '2026-01-02 00:01');
SELECT metricsdb.cardinality('wide'), metricsdb.cardinality('wide', NULL, '2026-01-02 01:00'), metricsdb.cardinality('wide', NULL, '2026-01-01 01:00', '2026-01-02 00:00');
SELECT * FROM metricsdb.series('wide', condition => $$host = 'h1' AND more->>'rack' = '2' AND up$$);
CREATE TABLE numbers (a int, b int) USING metricsdb;
INSERT INTO numbers SELECT k, k FROM generate_series(1, 600) k;
SELECT metricsdb.cardinality('numbers'), (SELECT count(*) FROM metricsdb.tag_keys('numbers'));

-- How conditions are resolved
CREATE FUNCTION explain(condition text) RETURNS TABLE (clause text, resolved text, looked_at bool, series int8) LANGUAGE sql AS
	$$ SELECT left(e.clause, 60), e.resolved, e.looked_at > 0, e.series FROM metricsdb.explain_series('m', condition) e $$;
CALL metricsdb.compact('m');
SELECT * FROM explain($$metric_name = 'metric_3'$$);
SELECT * FROM explain($$metric_name IN ('metric_3', 'metric_4') AND tags->>'host' = 'host_7'$$);
SELECT * FROM explain($$tags->>'host' LIKE '%_7%' AND tags @> '{"region": "eu"}'$$);
SELECT * FROM explain($$metric_name || (tags->>'host') = 'metric_3host_7'$$);
SELECT * FROM explain($$metric_name = 'metric_3' OR tags ? 'n'$$);
SELECT * FROM explain($$metric_name = 'metric_3' AND length(tags::text) > 10$$);
SELECT * FROM explain('true');
SELECT * FROM explain('false');

-- What is no condition on series columns
SELECT * FROM metricsdb.explain_series('m', 'value > 1');
SELECT * FROM metricsdb.explain_series('m', $$metric_name = (SELECT 'x')$$);
SELECT * FROM metricsdb.explain_series('m', $$metric_name = random()::text$$);
SELECT * FROM metricsdb.explain_series('m', $$true FROM pg_class$$);
SELECT * FROM metricsdb.explain_series('m', $$true; DROP TABLE m$$);
SELECT * FROM metricsdb.explain_series('m', $$metric_name$$);
SELECT * FROM metricsdb.explain_series('m', $$nothing = 1$$);
SELECT * FROM metricsdb.explain_series('m', $$count(*) > 1$$);
SELECT * FROM metricsdb.explain_series('m', NULL);
SELECT * FROM metricsdb.series('m', NULL, 'metric_name = $1');
SELECT * FROM metricsdb.metric_names(NULL);
SELECT * FROM metricsdb.metric_names('h');
SELECT * FROM metricsdb.metric_names('numbers', now());

-- Upkeep
BEGIN;
CALL metricsdb.collect_series('m');
ROLLBACK;
CALL metricsdb.collect_series('h');
CALL metricsdb.collect_series(NULL);
SET ROLE mdb_reader;
CALL metricsdb.collect_series('m');
SELECT metricsdb.rebuild_series_index('m');
RESET ROLE;
SELECT metricsdb.rebuild_series_index('m');
SELECT * FROM metricsdb.check('m');
SELECT * FROM explain($$tags->>'host' LIKE '%_7%' AND tags @> '{"region": "eu"}'$$);
CALL metricsdb.compact('m');
SELECT count(DISTINCT run) FROM metricsdb.posting p JOIN metricsdb.storage s USING (storage_id) WHERE s.relid = 'm'::regclass;
SELECT * FROM explain($$tags->>'host' LIKE '%_7%' AND tags @> '{"region": "eu"}'$$);

-- Who may see what: privileges, and policies that hide rows.
GRANT SELECT ON h TO mdb_reader, mdb_eu_only;
GRANT SELECT (metric_name) ON m TO mdb_reader;
SET ROLE mdb_reader;
SELECT * FROM metricsdb.metric_names('m');
SELECT * FROM metricsdb.explain_series('m', 'true');
RESET ROLE;
GRANT SELECT ON m TO mdb_reader, mdb_eu_only;
SET ROLE mdb_reader;
SELECT metricsdb.cardinality('m', 'metric_3');
RESET ROLE;
ALTER TABLE m ENABLE ROW LEVEL SECURITY;
ALTER TABLE h ENABLE ROW LEVEL SECURITY;
CREATE POLICY eu ON m TO mdb_eu_only USING (tags->>'region' = 'eu' AND value < 5000);
CREATE POLICY eu ON h TO mdb_eu_only USING (tags->>'region' = 'eu' AND value < 5000);
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA info TO mdb_eu_only;
SET ROLE mdb_eu_only;
SELECT what, count(*), count(*) FILTER (WHERE same) AS same, sum(chars) FROM compared() GROUP BY what ORDER BY what;
SELECT * FROM compared() WHERE NOT same;
SELECT * FROM metricsdb.tag_values('m', NULL, 'region');
SELECT left(n, 20) FROM metricsdb.metric_names('m') n;
SELECT * FROM metricsdb.explain_series('m', $$tags->>'region' = 'us'$$);
RESET ROLE;
SELECT metricsdb.tag_values('m', NULL, 'region');
ALTER TABLE m FORCE ROW LEVEL SECURITY;
CREATE ROLE mdb_owns_m;
GRANT ALL ON SCHEMA info TO mdb_owns_m;
ALTER TABLE m OWNER TO mdb_owns_m;
SET ROLE mdb_owns_m;
SELECT metricsdb.cardinality('m'), (SELECT count(*) FROM metricsdb.metric_names('m'));
RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA info CASCADE;
DROP ROLE mdb_reader, mdb_eu_only, mdb_owns_m;
