-- Conditions on series that may be errors are asked of the rows that come to them, and of no others.
\set ECHO queries
CREATE SCHEMA series_errors;
SET search_path = series_errors, public;
SET metricsdb.direct_rows = 50;
SET max_parallel_workers_per_gather = 0;

CREATE FUNCTION answer(query text, tab text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
	EXECUTE format('SELECT coalesce(string_agg(x::text, '' '' ORDER BY x::text), '''') FROM (%s) x', replace(query, '~T~', tab)) INTO result;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLERRM;
END $$;
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query;
END $$;

CREATE TABLE h (time timestamptz, host text, tags jsonb, code int, n int);
INSERT INTO h SELECT timestamptz '2026-01-01' + i * interval '10 s', 'host_' || i % 5, jsonb_build_object('h', i % 5, 'port', CASE WHEN i % 4 = 0 THEN 'none' ELSE (i % 4)::text END), i % 4, i
	FROM generate_series(1, 4000) i;
CREATE TABLE m (LIKE h) USING metricsdb;
SELECT metricsdb.set_options('m', "time" => 'time', series => '{host,tags,code}');
INSERT INTO m SELECT * FROM h;
CALL metricsdb.compact('m');
ANALYZE m, h;
CREATE TABLE queries (q text);
INSERT INTO queries VALUES
	('SELECT count(*), sum(n) FROM ~T~ WHERE 100 / code > 50'),
	('SELECT count(*) FROM (SELECT * FROM ~T~ WHERE 100 / code > 50 OFFSET 0) x'),
	('SELECT count(*), sum(n) FROM ~T~ WHERE n % 4 = 1 AND 100 / code > 1'),
	('SELECT count(*), sum(n) FROM ~T~ WHERE n < 3 AND 100 / code > 1'),
	('SELECT count(*), sum(n) FROM ~T~ WHERE code <> 0 AND 100 / code > 1'),
	('SELECT host, count(*) FROM ~T~ WHERE (tags->>''port'')::int > 1 GROUP BY host'),
	('SELECT count(*) FROM ~T~ WHERE time < ''2025-01-01'' AND 100 / code > 1'),
	('SELECT count(*) FROM ~T~ WHERE time < ''2025-01-01'' AND host LIKE ''host_1\'''),
	('SELECT count(*) FROM ~T~ WHERE n < 0 AND host LIKE ''host_1\'''),
	('SELECT count(*) FROM ~T~ WHERE n < 0 AND host LIKE ANY (''{host_1\\,x}'')'),
	('SELECT count(*) FROM ~T~ WHERE host LIKE ''host_1\'''),
	('SELECT count(*) FROM ~T~ WHERE host LIKE ''host\_1'''),
	('SELECT count(*) FROM ~T~ WHERE host = ''x'' AND tags->>''port'' ~ ''('''),
	('SELECT count(*) FROM ~T~ WHERE CASE WHEN code = 0 THEN false ELSE 100 / code > 50 END'),
	('SELECT count(*) FROM ~T~ WHERE substr(host, code - 1, code) = ''h''');
SELECT q, answer(q, 'm') = answer(q, 'h') AS equal, left(answer(q, 'h'), 60) AS answer FROM queries;
DELETE FROM m WHERE code = 0;
DELETE FROM h WHERE code = 0;
SELECT q, answer(q, 'm') = answer(q, 'h') AS equal, left(answer(q, 'h'), 60) AS answer FROM queries;

-- Those that cannot fail are asked of series, so that MetricsAgg can have the query.
SELECT c, bool_or(p ~ 'MetricsAgg') AS of_series, answer('SELECT count(*) FROM ~T~ WHERE ' || c, 'm') = answer('SELECT count(*) FROM ~T~ WHERE ' || c, 'h') AS equal
	FROM (VALUES (1, 'host = ''host_1'''), (2, 'host IN (''host_1'', ''host_2'')'), (3, 'host LIKE ''host_1%'''), (4, 'host ~ ''_[12]$'''), (5, 'host !~* ''_[12]$'''), (6, 'tags->>''port'' = ''2'''),
		(7, 'tags @> ''{"port": "2"}'''), (8, 'tags ? ''port'''), (9, 'code > 1'), (10, 'code <> 2'), (11, 'code BETWEEN 1 AND 2'), (12, 'host IS NOT NULL'), (13, 'lower(host) = ''host_3'''),
		(14, 'host || (tags->>''port'') = ''host_12'''), (15, 'code % 2 = 1'), (16, 'code / 2 = 1'), (17, 'coalesce(host, '''') > ''host_2'''), (18, 'host = ''host_1'' OR NOT code = 2'),
		(19, 'host LIKE ANY (''{%1,%2}'')'), (20, 'code::text = ''2'''), (21, 'host = lower(''HOST_1'')'), (22, 'code::float8 > 1.5'), (23, 'code > 1.5'), (24, 'host = current_setting(''server_version'')'),
		(25, 'code / 0 = 1'), (26, '100 / code = 1'), (27, 'code + 1 > 2'), (28, '(tags->>''port'')::int = 1'), (29, 'host LIKE host || ''\''')) v (i, c), plan('SELECT count(*) FROM m WHERE ' || c) p GROUP BY i, c ORDER BY i;
SELECT clause, resolved FROM metricsdb.explain_series('m', 'host = ''host_1'' AND code + 1 > 1 AND code <> 0');
SET client_min_messages = warning;
DROP SCHEMA series_errors CASCADE;
