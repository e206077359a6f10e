-- Filters on series columns by the index over series: the same answers as of a heap.
\set ECHO queries
CREATE SCHEMA series;
SET search_path = series, public;
SET timezone = 'UTC';
SET metricsdb.direct_rows = 1;
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN labels AS jsonb;

CREATE TABLE h (time timestamptz, name text, tags jsonb, more labels, v varchar(20), c char(6), n name, i int, b bool, u uuid, e mood, f float8, x numeric, val float8) USING heap;
CREATE TABLE m (LIKE h) USING metricsdb;
SELECT metricsdb.set_options('m', series => '{name,tags,more,v,c,n,i,b,u,e,f,x}');

-- All kinds of values: long, empty, with all types of jsonb, and what is no object.
CREATE TABLE src AS
	SELECT timestamptz '2026-01-01' + k * interval '1 min' AS time,
		CASE k % 10 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN repeat('long', 200 + k % 3) ELSE 'name_' || k % 37 END AS name,
		CASE k % 23 WHEN 0 THEN NULL WHEN 1 THEN '{}' WHEN 2 THEN '["dc", 1]' WHEN 3 THEN '"dc"' WHEN 4 THEN '7'
			WHEN 5 THEN jsonb_build_object('dc', 5, 'host', 'h' || k % 50)
			WHEN 6 THEN jsonb_build_object('dc', 5.0, 'rack', true)
			WHEN 7 THEN jsonb_build_object('dc', null, 'rack', 'true')
			WHEN 8 THEN jsonb_build_object('dc', '{"a": [1, 2]}'::jsonb, 'rack', '[1]'::jsonb)
			WHEN 9 THEN jsonb_build_object('dc', repeat('ä', 300 + k % 2), repeat('key', 100), 'x')
			WHEN 10 THEN jsonb_build_object('dc', '5', 'rack', '', '', 'empty key')
			WHEN 11 THEN jsonb_build_object('dc', '{"a": [1, 2]}', 'rack', 'ä' || chr(127) || chr(1))
			ELSE jsonb_build_object('dc', 'dc' || k % 4, 'host', 'host_' || k % 211, 'rack', k % 3 = 0) END AS tags,
		CASE k % 5 WHEN 0 THEN NULL ELSE jsonb_build_object('team', 't' || k % 7) END AS more,
		CASE k % 6 WHEN 0 THEN NULL ELSE 'v' || k % 13 END AS v, ('c' || k % 11)::char(6) AS c, ('n' || k % 3)::name AS n,
		k % 17 - 8 AS i, CASE k % 3 WHEN 0 THEN NULL ELSE k % 3 = 1 END AS b, md5((k % 5)::text)::uuid AS u,
		CASE k % 4 WHEN 0 THEN 'sad'::mood WHEN 1 THEN 'ok' END AS e,
		CASE k % 4 WHEN 0 THEN '-0' WHEN 1 THEN '0' WHEN 2 THEN 'NaN' ELSE '1' END::float8 AS f,
		CASE k % 3 WHEN 0 THEN 1.0 WHEN 1 THEN 1.00 ELSE 2 END AS x, k::float8 AS val
	FROM generate_series(1, 4000) k;
INSERT INTO m SELECT * FROM src WHERE val <= 1300;
INSERT INTO m SELECT * FROM src WHERE val > 1300 AND val <= 2600;
CALL metricsdb.compact('m');
INSERT INTO m SELECT * FROM src WHERE val > 2600;
SET metricsdb.direct_rows = 1000;
INSERT INTO m SELECT * FROM src WHERE val < 30;
INSERT INTO h SELECT * FROM src;
INSERT INTO h SELECT * FROM src WHERE val < 30;
SELECT * FROM metricsdb.check('m');

CREATE FUNCTION answer(tab text, cond text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text; counted int;
BEGIN
	EXECUTE format('SELECT count(*) || '' rows, '' || coalesce(md5(string_agg(r::text, '','' ORDER BY r::text COLLATE "C")), ''none'')
		FROM (SELECT ROW(time, name, tags, n, i, b, u, e, f, x, val) AS r FROM %s t WHERE %s OFFSET 0) t', tab, cond) INTO result;
	EXECUTE format('SELECT count(*) FROM %s t WHERE %s', tab, cond) INTO counted;
	RETURN CASE WHEN result LIKE counted || ' rows,%' THEN result ELSE 'counted ' || counted || ', not ' || result END;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLERRM;
END $$;
-- Both ways take the index: a plan of core's own would prove nothing.
CREATE FUNCTION takes(cond text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	line text;
	found int := 0;
	query text;
BEGIN
	FOREACH query IN ARRAY ARRAY['SELECT ROW(time, name, tags, n, i, b, u, e, f, x, val) FROM m t WHERE ', 'SELECT count(*) FROM m t WHERE '] LOOP
		FOR line IN EXECUTE 'EXPLAIN ' || query || cond LOOP
			found := found + (line ~ 'Custom Scan')::int;
		END LOOP;
	END LOOP;
	RETURN found = 2;
EXCEPTION WHEN OTHERS THEN
	RETURN NULL;
END $$;
CREATE FUNCTION same(cond text) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN answer('h', cond) IS NOT DISTINCT FROM answer('m', cond) THEN split_part(answer('m', cond), ',', 1)
		ELSE 'DIFFERENT: ' || answer('h', cond) || ' <> ' || answer('m', cond) END
$$;

\pset format unaligned
SELECT left(cond, 70) AS cond, same(cond), takes(cond) FROM unnest(ARRAY[
	-- terms
	$$name = 'name_7'$$, $$'name_7' = name$$, $$name = ''$$, $$name = repeat('long', 200)$$, $$name = repeat('long', 203)$$, $$name IS NULL$$, $$name IS NOT NULL$$,
	$$name = NULL$$, $$name IN ('name_1', 'name_30', NULL)$$, $$name = ANY ('{name_4,name_5,nobody}')$$, $$name = ANY (NULL::text[])$$, $$name NOT IN ('name_1', 'name_3')$$, $$name = ALL ('{name_4,name_4}')$$,
	$$v = 'v3'$$, $$v IN ('v3', 'v4')$$, $$c = 'c3'$$, $$c = 'c3    '$$, $$c IN ('c3', 'c4  ')$$, $$c = ANY ('{c3,c5}')$$, $$c <> 'c3'$$, $$c = 'c3'::text$$, $$name::bpchar = 'name_7  '$$, $$(tags->>'dc')::bpchar = 'dc1 '$$, $$c::text = 'c3'$$, $$n = 'n1'$$, $$n = 'n1'::text$$, $$i = -3$$, $$i = -3::int8$$, $$i IN (1, 2, -8)$$, $$i BETWEEN -2 AND 2$$,
	$$b$$, $$NOT b$$, $$b = true$$, $$b IS TRUE$$, $$b IS NOT TRUE$$, $$b IS UNKNOWN$$, $$b IS NULL$$, $$u = md5('3')::uuid$$, $$e = 'sad'$$, $$e IS NULL$$, $$e > 'sad'$$,
	$$f = 0$$, $$f = 'NaN'$$, $$f < 1$$, $$x = 1$$, $$x = 1.000$$, $$x > 1$$,
	-- jsonb
	$$tags->>'dc' = 'dc1'$$, $$'dc1' = tags->>'dc'$$, $$tags->>'dc' = '5'$$, $$tags->>'dc' = '5.0'$$, $$tags->>'rack' = 'true'$$, $$tags->>'rack' = ''$$, $$tags->>'' = 'empty key'$$, $$tags->>'dc' IS NULL$$, $$tags->>'dc' IS NOT NULL$$,
	$$tags->>'dc' = '{"a": [1, 2]}'$$, $$tags->>'rack' = '[1]'$$, $$tags->>'dc' = repeat('ä', 300)$$, $$tags->>'dc' LIKE 'ää%'$$, format('tags->>%L = %L', repeat('key', 100), 'x'), format('tags->>%L LIKE %L', repeat('key', 100), '%y'), format('tags ? %L', repeat('key', 100)),
	$$tags->>'none' = 'x'$$, $$tags->>'dc' IN ('dc1', '5')$$, $$tags->'dc' = '"dc1"'$$, $$tags->'dc' = '5'$$, $$tags['dc'] = '"dc1"'$$, $$tags->>0 = 'dc'$$, $$tags->>'rack' = 'ä' || chr(127) || chr(1)$$,
	$$tags @> '{"dc": "dc1"}'$$, $$tags @> '{"dc": 5}'$$, $$tags @> '{"dc": null}'$$, $$tags @> '{"rack": true}'$$, $$tags @> '{"dc": {"a": [1]}}'$$, $$tags @> '{"dc": "dc1", "rack": false}'$$, $$tags @> '{}'$$, $$tags @> '["dc"]'$$, $$tags @> '"dc"'$$, $$tags @> NULL$$, $$'{"dc": "dc1", "x": 1}' @> tags$$, $$tags <@ '{"dc": 5.0, "rack": true}'$$,
	format('tags @> %L', jsonb_build_object('dc', repeat('ä', 301))), format('tags @> %L', jsonb_build_object(repeat('key', 100), 'x')),
	$$tags ? 'dc'$$, $$tags ? 'rack'$$, $$tags ?| '{dc,x}'$$, $$tags ?& '{dc,host}'$$, $$tags = '{}'$$, $$tags = '7'$$, $$tags = '{"dc": 5, "rack": true}'$$, $$tags = '{"dc": null, "rack": "true"}'$$, $$tags IS NULL$$, $$tags <> '{}'$$,
	$$more->>'team' = 't3'$$, $$more @> '{"team": "t3"}'$$, $$more ? 'team'$$, $$more IS NULL$$,
	-- values
	$$name LIKE 'name_3%'$$, $$name LIKE 'name\_3_'$$, $$name LIKE '%3'$$, $$name NOT LIKE 'name_3%'$$, $$name ILIKE 'NAME_3%'$$, $$name ~ '^name_3'$$, $$name ~ '3$'$$, $$name ~* '^NAME_3'$$, $$name !~ '^name_3'$$, $$name ~ '^(name_3|long)'$$, $$name LIKE NULL$$, $$name LIKE 'long%'$$, $$name ~ 'longlong'$$, $$starts_with(name, 'name_2')$$, $$name ^@ 'name_2'$$, $$name LIKE coalesce(name, 'zzz')$$, $$starts_with(name, coalesce(name, 'x'))$$, $$name ~ coalesce(name, 'x')$$,
	$$tags->>'host' LIKE 'host_1%'$$, $$tags->>'host' ~ '_19'$$, $$tags->>'host' <> 'host_1'$$, $$tags->>'dc' NOT LIKE 'dc%'$$, $$tags->>'dc' LIKE '5%'$$, $$tags->>'rack' LIKE 't%'$$, $$coalesce(tags->>'dc', 'dc1') = 'dc1'$$, $$tags->>'dc' IS DISTINCT FROM 'dc1'$$, $$tags->>'dc' IS NOT DISTINCT FROM NULL$$, $$lower(name) = 'name_3'$$, $$length(name) = 0$$, $$name > 'name_3'$$, $$name COLLATE "C" >= 'name_3'$$, $$name BETWEEN 'name_2' AND 'name_3'$$, $$coalesce(name, 'x') = 'x'$$, $$c LIKE 'c1%'$$, $$n LIKE 'n%1'$$, $$v LIKE 'v1%'$$,
	-- several
	$$name = 'name_7' AND tags->>'dc' = 'dc1'$$, $$name = 'name_7' OR tags->>'dc' = 'dc1'$$, $$(name = 'name_7' OR i = 3) AND b$$, $$NOT (name = 'name_7' OR i = 3)$$, $$name = 'name_7' AND tags->>'dc' <> 'dc1' AND v || c > 'v1'$$, $$name = 'name_7' OR v || c > 'v8'$$, $$name = 'name_7' OR name IS NULL$$, $$name = 'a' AND name LIKE 'b%'$$, $$i > 0 AND i < 5 AND tags ? 'host'$$, $$(tags->>'dc' = 'dc1') IS NOT TRUE$$,
	$$CASE WHEN i = 0 THEN false ELSE 10 / i > 2 END$$, $$i <> 0 AND 10 / i > 2$$, $$name || v IS NULL$$, $$name = v$$, $$tags->>'dc' = v$$, $$tags->>'dc' = tags->>'rack'$$, $$tags->>v = 'x'$$, $$name = 'name_7' AND val < 1000$$, $$name = 'name_7' AND time < '2026-01-02'$$,
	-- what cannot be
	$$i = 1 / 0$$, $$name ~ '('$$, $$name::int = 5$$, $$name LIKE 'name\'$$]) cond;
\pset format aligned

-- Parameters, and rows of other tables
SET plan_cache_mode = force_generic_plan;
PREPARE p(text, text[], jsonb, text) AS SELECT (SELECT count(*) FROM h WHERE name = $1 OR name = ANY ($2) OR tags @> $3 OR name LIKE $4) = count(*) AS same, count(*) FROM m WHERE name = $1 OR name = ANY ($2) OR tags @> $3 OR name LIKE $4;
EXECUTE p('name_7', '{name_8}', '{"dc": "dc1"}', 'name_3%');
EXECUTE p(NULL, NULL, NULL, 'name_3%');
EXECUTE p('name_7', '{}', '{"dc": "none"}', NULL);
RESET plan_cache_mode;
CREATE TABLE want AS SELECT 'name_' || g AS name, 'dc' || g % 4 AS dc FROM generate_series(3, 9) g;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT w.name, (SELECT count(*) FROM h WHERE name = w.name AND tags->>'dc' = w.dc), (SELECT count(*) FROM m WHERE name = w.name AND tags->>'dc' = w.dc) FROM want w ORDER BY 1;
SELECT w.name, count(*), sum(val) FROM want w JOIN h USING (name) WHERE h.tags->>'dc' = w.dc GROUP BY 1 ORDER BY 1;
SELECT w.name, count(*), sum(val) FROM want w JOIN m USING (name) WHERE m.tags->>'dc' = w.dc GROUP BY 1 ORDER BY 1;
RESET enable_hashjoin;
RESET enable_mergejoin;
SELECT count(*) FROM m WHERE name = (SELECT 'name_' || 7);

-- What this transaction has written is found; what was rolled back is not.
SET metricsdb.direct_rows = 1;
BEGIN;
INSERT INTO m (time, name, val) SELECT now(), 'new_' || k, k FROM generate_series(1, 600) k;
SELECT count(*) FROM m WHERE name LIKE 'new%';
SAVEPOINT s;
INSERT INTO m (time, name, val) SELECT now(), 'newer_' || k, k FROM generate_series(1, 600) k;
SELECT count(*) FROM m WHERE name LIKE 'new%';
ROLLBACK TO s;
SELECT count(*) FROM m WHERE name LIKE 'new%';
INSERT INTO m (time, name, val) SELECT now(), 'newer_' || k, k FROM generate_series(1, 5) k;
SELECT count(*) FROM m WHERE name LIKE 'newer%';
ROLLBACK;
SELECT count(*) FROM m WHERE name LIKE 'new%';
INSERT INTO m (time, name, val) SELECT now(), 'newer_' || k, k FROM generate_series(1, 600) k;
SELECT count(*) FROM m WHERE name = 'newer_3';
SELECT * FROM metricsdb.check('m');
DELETE FROM m WHERE name LIKE 'newer%';

-- Blocks and parts without the series are not read.
CREATE FUNCTION reads(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) ' || query LOOP
		IF line ~ 'Parts (Total|Pruned)|Series M' THEN RETURN NEXT regexp_replace(line, '^ *', ''); END IF;
	END LOOP;
END $$;
CREATE TABLE parts (time timestamptz, host text, v float8) USING metricsdb;
INSERT INTO parts SELECT '2026-01-01', 'a' || k, k FROM generate_series(1, 600) k;
INSERT INTO parts SELECT '2026-01-02', 'b' || k, k FROM generate_series(1, 600) k;
INSERT INTO parts SELECT '2026-01-03', 'b' || k, k FROM generate_series(1, 600) k;
SELECT reads('SELECT * FROM parts WHERE host = $$b7$$');
SELECT reads('SELECT * FROM parts WHERE host = $$c$$');
SELECT reads('SELECT sum(v) FROM parts WHERE host LIKE $$a%$$');
SELECT * FROM parts WHERE host = 'b7' ORDER BY time;

-- Columns come and go; files, too.
ALTER TABLE m DROP more;
ALTER TABLE h DROP more;
SELECT * FROM metricsdb.check('m');
ALTER TABLE m DROP c, ADD note text, ALTER i TYPE int8;
ALTER TABLE h DROP c, ADD note text, ALTER i TYPE int8;
SELECT same($$i = 3$$), same($$v = 'v3'$$), same($$tags ? 'dc'$$);
ALTER TABLE m RENAME v TO w;
ALTER TABLE h RENAME v TO w;
SELECT same($$w = 'v3'$$);
VACUUM FULL m;
SELECT same($$w = 'v3'$$), same($$tags->>'dc' = 'dc1'$$);
SELECT * FROM metricsdb.check('m');
TRUNCATE m;
SELECT count(*) FROM m WHERE w = 'v3';
SELECT count(*) FROM metricsdb.posting p JOIN metricsdb.storage s USING (storage_id) WHERE s.relid = 'm'::regclass;
INSERT INTO m SELECT * FROM h;
SELECT same($$w = 'v3'$$);
SELECT set_config('series.id', storage_id::text, false) <> '' AS kept FROM metricsdb.storage WHERE relid = 'm'::regclass;
SELECT count(*) > 0 AS some FROM metricsdb.posting WHERE storage_id = current_setting('series.id')::int8;
SET client_min_messages = warning;
DROP SCHEMA series CASCADE;
RESET client_min_messages;
SELECT count(*) FROM metricsdb.posting WHERE storage_id = current_setting('series.id')::int8;
