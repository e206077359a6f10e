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

-- They are evaluated once for each series, when the first row of it comes to them; in the order of core's plans.
CREATE SEQUENCE calls;
CREATE FUNCTION seen(host text, code int) RETURNS int IMMUTABLE COST 100 LANGUAGE plpgsql AS $$
BEGIN
	PERFORM nextval('calls');
	IF host = 'host_4' THEN RAISE 'no more of %', host; END IF;
	RETURN right(host, 1)::int + code;
END $$;
CREATE FUNCTION calls(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE on_heap text := answer(query, 'h'); result text;
BEGIN
	PERFORM setval('calls', 1, false);
	result := answer(query, 'm');
	-- Those of a statement that has failed count, too.
	RETURN format('%s calls: %s', nextval('calls') - 1, CASE WHEN result = on_heap THEN result ELSE result || ' <> ' || on_heap END);
END $$;
SELECT q, calls(q), (SELECT string_agg(DISTINCT substring(p, 'Metrics[A-Z][a-z]+|Seq Scan'), ' ') FROM plan(replace(q, '~T~', 'm')) p) AS plan FROM (VALUES
	(1, 'SELECT count(*), sum(n) FROM ~T~ WHERE host <> ''host_4'' AND seen(host, code) = 3'),
	(2, 'SELECT n FROM ~T~ WHERE host <> ''host_4'' AND seen(host, code) = 3 AND n < 40'),
	(3, 'SELECT n FROM ~T~ WHERE n < 4 AND seen(host, code) = 3'),
	(4, 'SELECT count(*) FROM ~T~ WHERE seen(host, code) = 3 AND n < 4'),
	(5, 'SELECT count(*) FROM ~T~ WHERE seen(host, code) = 3'),
	(6, 'SELECT count(*) FROM ~T~ WHERE n < 0 AND seen(host, code) = 3'),
	(7, 'SELECT count(*) FILTER (WHERE seen(host, code) = 3), sum(n) FILTER (WHERE n > 3900 AND seen(host, code) > 2) FROM ~T~ WHERE host < ''host_4'''),
	(8, 'SELECT host, sum(seen(host, code)), max(n * seen(host, code)), min(n / (seen(host, code) - 1)) FROM ~T~ WHERE host IN (''host_0'', ''host_3'') AND code = 3 GROUP BY 1'),
	(9, 'SELECT sum(n / (seen(host, code) - 3)) FROM ~T~ WHERE host < ''host_4'''),
	(10, 'SELECT count(*) FROM ~T~ WHERE n > 4 AND (n > 5 OR seen(host, code) = 3)'),
	(11, 'SELECT count(*) FROM ~T~ WHERE CASE WHEN n > 3 THEN false ELSE seen(host, code) > 2 END'),
	(12, 'SELECT i, (SELECT count(*) FROM ~T~ WHERE host < ''host_3'' AND n < 100 AND seen(host, code) = i) FROM generate_series(1, 3) i'),
	(13, 'SELECT n FROM ~T~ WHERE host < ''host_4'' AND seen(host, code) = 3 ORDER BY time DESC LIMIT 2'),
	(14, 'SELECT count(*), sum(code), max(code::float8), min(code + n), bool_or(code > n) FROM ~T~'),
	(15, 'SELECT count(*) FROM ~T~ WHERE nullif(host, ''host_1'') IS NULL OR n > 3990 AND (nullif(code, 1) > 2) IS UNKNOWN'),
	(16, 'SELECT count(*) FROM ~T~ WHERE n < (tags->>''h'')::int * 100 AND n::float8 > nullif(tags->>''h'', ''3'')::float8 * 10'),
	(17, 'SELECT count(*) FROM ~T~ WHERE time - interval ''1 s'' > ''2026-01-01'' AND seen(host, code) = 3 AND host < ''host_4''')) v (i, q) ORDER BY i;
-- The same with rows of the delta beside them, by rows, and as parameters change.
SET metricsdb.direct_rows = 1000;
INSERT INTO h SELECT timestamptz '2026-02-01' + i * interval '10 s', 'host_' || i % 4, jsonb_build_object('h', i % 4, 'port', i % 4), i % 4, i FROM generate_series(1, 40) i;
INSERT INTO m SELECT * FROM h WHERE time >= '2026-02-01';
SET metricsdb.enable_vector_agg = off;
SELECT answer(q, 'm') = answer(q, 'h') AS equal, answer(q, 'm') FROM (VALUES
	('SELECT count(*), sum(n) FROM ~T~ WHERE host <> ''host_4'' AND seen(host, code) = 3'),
	('SELECT count(*), sum(n) FROM ~T~ WHERE n < 3 AND seen(host, code) > 1'),
	('SELECT count(*) FROM ~T~ WHERE n < (tags->>''h'')::int * 100')) v (q);
RESET metricsdb.enable_vector_agg;
PREPARE p(int) AS SELECT count(*), sum(n) FROM m WHERE host < 'host_4' AND seen(host, code) = $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE p(3);
EXECUTE p(4);
SELECT count(*), sum(n) FROM h WHERE host < 'host_4' AND seen(host, code) = 4;
SET client_min_messages = warning;
DROP SCHEMA series_errors CASCADE;
