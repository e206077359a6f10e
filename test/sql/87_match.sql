-- metricsdb.match(): selectors of Prometheus say by the index what they say one by one, and what SQL says.
\set ECHO queries
CREATE SCHEMA matching;
SET search_path = matching, public, metricsdb;
SET timezone = 'UTC';
SET metricsdb.direct_rows = 1;

-- What they mean
CREATE FUNCTION meant(selector text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(CASE WHEN match(name, tags::jsonb, selector) THEN n::text ELSE '-' END, '' ORDER BY n) FROM (VALUES
		(1, 'up', '{"job": "api", "env": "prod"}'), (2, 'up', '{"job": "api-2", "env": "dev"}'), (3, 'down', '{"job": "API", "env": ""}'),
		(4, NULL, '{"job": null, "n": 1.50, "b": true, "c": {"x": [1]}}'), (5, 'up', NULL), (6, '', '{"job": "ä\nb", "__name__": "x"}'), (7, 'up', '["job"]')) v(n, name, tags) $$;
\pset format unaligned
SELECT s, meant(s) FROM unnest(ARRAY['{}', 'up', 'up{}', '{__name__="up"}', '{__name__!="up"}', '{__name__=~"u.|down"}', '{"up"}', '{job="api"}', '{job!="api"}', '{job=~"api"}', '{job=~"api.*"}', '{job=~"api.+"}', '{job!~"api.*"}',
	'{job=~"(?i)api.*"}', '{job=""}', '{job!=""}', '{job=~""}', '{job=~".*"}', '{job=~".+"}', '{job!~".+"}', '{job=~"|api"}', '{job=~"api|"}', '{env=~"(prod|dev)?"}', '{env=~"prod|dev"}', '{env!~"prod|dev"}', '{env!="dev",env!="prod"}', '{env!="",env!="dev"}',
	'{env=~".*d.*",env!~".*v"}', '{n="1.50"}', '{n="1.5"}', '{n=~"1.*"}', '{b="true"}', '{c=~".*1.*"}', '{c="{\"x\": [1]}"}', '{job="ä\nb"}', '{job="\u00e4\x0ab"}', '{job=~"ä.b"}', '{job=~".\\nb"}', '{job=~`.\nb`}', '{job=~"(?-s)ä.b"}', '{job=~"[^a-z].*"}', '{job=~"\\w+"}', '{job=~"api(-\\d)?"}', '{job=~"^api$"}',
	'{none=""}', '{none!="x"}', '{none="x"}', '{none=~"x?"}', 'up{job="api",}', ' up { job = "api" , # all
	env != ''dev'' } ', '{job=~"api|api-2",job!="api"}', '{"job"="api"}', '{job="api",job="API"}', '{job=~"a{1,2}p[hi]"}']) s;
SELECT s, meant(s) FROM unnest(ARRAY[NULL]::text[]) s;
\pset format aligned
SELECT match('{"a": "x"}'::jsonb, '{a="x"}'), match('{"__name__": "up"}'::jsonb, 'up'), match(NULL::jsonb, '{a=""}'), match('{}'::jsonb, NULL);
SELECT match('{a="x",b=""}', 'a', 'x'), match('{a="x"}', 'a', NULL), match('{a=""}', 'a', NULL), match('up{a=~"x|y"}', 'a', 'y', '__name__', 'up'), match('{a="1"}', 'a', '1', 'a', '2'), match('{a="x"}', VARIADIC '{a,x}'::text[]), match('{a="x"}', VARIADIC NULL::text[]);
-- PL/pgSQL evaluates an expression of its own again and again, with other values of its variables.
DO $$
DECLARE s text; told text := '';
BEGIN
	FOREACH s IN ARRAY ARRAY['{a="1"}', '{a="2"}', '{a="3"}', '{a="2"}'] LOOP
		told := told || match('{"a": "2"}'::jsonb, s)::int || match('up', '{"a": "2"}'::jsonb, s)::int || match(s, 'a', '2')::int || ' ';
	END LOOP;
	RAISE NOTICE '%', told;
END $$;
SELECT provolatile, proparallel, proisstrict, proleakproof FROM pg_proc WHERE proname = 'match' AND pronamespace = 'metricsdb'::regnamespace;

-- What is wrong, and where
CREATE FUNCTION error_of(selector text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE state text; msg text; hint text;
BEGIN
	PERFORM match('{}'::jsonb, selector);
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, msg = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', state, msg, nullif(hint, ''));
END $$;
\pset format unaligned
SELECT s, error_of(s) FROM unnest(ARRAY['', '1', '{a=b}', '{a="b"', '{ä="b"}', '{a="ä",b=="c"}', '{a="b}', '{a="ä\d"}', '{a="\xff"}', '{a="\u0000"}', '{,}', '{a="b" c="d"}', 'up{__name__="x"}', 'up[5m]', 'rate(up[5m])', '{a=~"ä("}', '{a=~"*"}', '{a=~"\\pL"}', '{a=~"(a)\\1"}', '{a=~"a(?=b)"}', '{a=~"[b-a]"}', '{a=~"a{1001}"}', '{a=~"((a{99}){99}){99}"}', '{a=~"a**"}', '{a=~"[[:nix:]]"}', '{a=~"\\y"}']) s;
\pset format aligned
SELECT match('{"a": "b"}'::jsonb, '{a=~"x[y"}');
SELECT match('{a="b"}', 'a');
SELECT match('{a="b"}', NULL, 'a');
SELECT length(repeat('((', 300)) AS parentheses, error_of('{a=~"' || repeat('(', 300) || '"}');

-- By the index, one by one, and as SQL says it
CREATE TABLE h (metric_name text, tags jsonb, host text, zone varchar(20), note char(5), time timestamptz, v float8);
INSERT INTO h SELECT CASE WHEN k % 17 > 0 THEN 'metric_' || k % 12 END,
	CASE k % 31 WHEN 0 THEN NULL WHEN 1 THEN '{}' WHEN 2 THEN '[1]' WHEN 3 THEN '"job"'
		WHEN 4 THEN jsonb_build_object('job', repeat('api', 200) || k % 3, repeat('key', 90), 'x' || k % 2)
		WHEN 5 THEN jsonb_build_object('job', k % 3, 'env', k % 2 = 0, 'dc', null, 'rack', '{"x": [1]}'::jsonb)
		ELSE jsonb_strip_nulls(jsonb_build_object('job', (ARRAY['api', 'api-1', 'API', 'web', '', 'ä'])[k % 6 + 1], 'env', (ARRAY['dev', 'prod', NULL])[k % 3 + 1], 'dc', 'dc' || k % 11, 'rack', CASE WHEN k % 2 = 0 THEN 'r' || k % 5 END)) END,
	CASE WHEN k % 13 > 0 THEN 'host_' || k % 40 END, CASE WHEN k % 7 > 0 THEN repeat('z', k % 4) END, 'n' || k % 2, timestamptz '2026-01-01' + k * interval '1 min', k
	FROM generate_series(1, 4000) k;
CREATE TABLE m (LIKE h) USING metricsdb;
SELECT set_options('m', series => '{metric_name,tags,host,zone,note}');
INSERT INTO m SELECT * FROM h WHERE v <= 1500;
INSERT INTO m SELECT * FROM h WHERE v > 1500 AND v <= 3000;
SET metricsdb.direct_rows = 100000;
INSERT INTO m SELECT * FROM h WHERE v > 3000;
-- Matchers: of labels, operators and values, of each the next by a hash.
CREATE TABLE matchers AS SELECT n, label, op, value, label || op || to_json(value) AS text,
		'coalesce(' || CASE label WHEN '__name__' THEN 'metric_name' ELSE format('tags->>%L', label) END || ', '''')' ||
		CASE op WHEN '=' THEN format(' = %L', value) WHEN '!=' THEN format(' <> %L', value) WHEN '=~' THEN format(' ~ %L', '^(?:' || value || ')$') ELSE format(' !~ %L', '^(?:' || value || ')$') END AS sql
	FROM (SELECT row_number() OVER (ORDER BY label COLLATE "C", op COLLATE "C", value COLLATE "C") AS n, label, op, value FROM unnest(ARRAY['__name__', 'job', 'env', 'dc', 'rack', 'none', repeat('key', 90)]) label, unnest('{=,!=,=~,!~}'::text[]) op,
		unnest(ARRAY['', 'api', 'metric_3', 'true', '1', 'dc3', 'x1', repeat('api', 200) || '1', 'api.*', '.*1', 'r[12]|', 'prod|dev', '.+', '.*', 'metric_(1|2).?', '(api)+1?', 'd(c)?[^5-9]*', '{.*', '[^a-z]+']) value WHERE op LIKE '%~' OR value !~ '[.|+*]') x;
CREATE FUNCTION differing(selectors int, OUT selector text, OUT by_sql int8, OUT by_index int8, OUT one_by_one int8, OUT told int8) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE condition text; total int := (SELECT count(*) FROM matchers); tested int := 0; hits int := 0;
BEGIN
	FOR i IN 1 .. selectors LOOP
		SELECT '{' || string_agg(text, ',') || '}', string_agg(sql, ' AND ') INTO selector, condition FROM matchers WHERE n IN (SELECT 1 + abs(hashint4(i * 4 + j)::int8) % total FROM generate_series(0, i % 4) j);
		EXECUTE 'SELECT count(*) FROM h WHERE ' || condition INTO by_sql;
		EXECUTE format('SELECT count(*) FROM h WHERE match(metric_name, tags, %L)', selector) INTO one_by_one;
		EXECUTE format('SELECT count(*) FROM m WHERE match(metric_name, tags, %L)', selector) INTO by_index;
		tested := tested + 1;
		hits := hits + (by_sql > 0)::int;
		IF by_sql <> by_index OR by_sql <> one_by_one THEN RETURN NEXT; END IF;
		IF i % 5 = 0 THEN
			EXECUTE format('SELECT count(*) FROM (SELECT DISTINCT metric_name, tags, host, zone, note FROM h WHERE %s) x', condition) INTO by_sql;
			SELECT count(*) INTO told FROM series('m', NULL, format('match(metric_name, tags, %L)', selector));
			IF by_sql <> told THEN RETURN NEXT; END IF;
		END IF;
	END LOOP;
	selector := format('%s selectors', tested); by_sql := hits; by_index := NULL; one_by_one := NULL; told := NULL;
	RETURN NEXT;
END $$;
SELECT * FROM differing(400);
CALL compact('m');
SELECT * FROM differing(400);
CREATE FUNCTION same(condition text, OUT same bool, OUT rows int8) LANGUAGE plpgsql AS $$
DECLARE a text; b text;
BEGIN
	EXECUTE 'SELECT count(*), count(*) || '' '' || coalesce(sum(v), 0) FROM h WHERE ' || condition INTO rows, a;
	EXECUTE 'SELECT count(*) || '' '' || coalesce(sum(v), 0) FROM m WHERE ' || condition INTO b;
	same := a = b;
END $$;
\pset format unaligned
SELECT c, same.* FROM unnest(ARRAY[$$match('{host=~"host_1.*",zone!="zz"}', 'host', host, 'zone', zone)$$, $$match('{zone=""}', 'host', host, 'zone', zone)$$, $$match('{zone!~"z+",host!=""}', 'host', host, 'zone', zone)$$, $$match('{host="host_7",note="n1"}', 'host', host, 'note', note)$$,
	$$match('{host="host_7",v="7"}', 'host', host, 'v', v::text)$$, $$match('{none="x"}', 'host', host)$$, $$match('{none!="x",host="host_3"}', 'host', host)$$, $$match('{a=~"host_3.?"}', 'a', host, 'a', zone)$$, $$match('metric_3{host="host_3"}', '__name__', metric_name, 'host', host)$$,
	$$match('{h="HOST_7"}', 'h', upper(host))$$, $$match(tags, '{job="api"}') AND host = 'host_7'$$, $$match(tags, '{job="api"}') OR match(tags, '{env!="dev",dc=~"dc1.*"}')$$, $$NOT match(tags, '{job=~"api.*"}')$$, $$match(tags, '{job="' || 'web' || '"}')$$, $$match(tags, '{job="' || host || '"}')$$,
	$$match(tags, NULL)$$, $$match(zone, tags, 'zz{job!=""}')$$, $$match('x', tags, '{__name__="x",job="web"}')$$, $$match(tags, '{job="web"}') IS NOT TRUE$$, $$match(tags || '{"a": "b"}', '{a="b",job="web"}')$$]) c, same(c);
\pset format aligned
PREPARE p(text) AS SELECT (SELECT count(*) FROM h WHERE match(tags, $1)) = count(*) AS same, count(*) FROM m WHERE match(tags, $1);
SET plan_cache_mode = force_generic_plan;
EXECUTE p('{job="web"}');
EXECUTE p('{job!="web"}');
EXECUTE p(NULL);
EXECUTE p('{job="web"');
RESET plan_cache_mode;
CREATE TABLE wanted (i int, s text);
INSERT INTO wanted VALUES (1, '{job="web"}'), (2, '{job!="web"}'), (3, '{job=~"api.*",rack=""}'), (4, '{job="web"}');
SELECT i, (SELECT count(*) FROM h WHERE match(tags, s)) = n AS same, n FROM wanted, LATERAL (SELECT count(*) AS n FROM m WHERE match(tags, s)) x ORDER BY i;

-- How they are resolved
CREATE FUNCTION explain(condition text) RETURNS TABLE (resolved text, looked_at int8, series int8) LANGUAGE sql AS
	$$ SELECT e.resolved, e.looked_at, e.series FROM metricsdb.explain_series('m', condition) e $$;
SELECT * FROM explain($$match(tags, '{dc="dc3"}')$$);
SELECT * FROM explain($$match(tags, '{dc=~"dc3|dc4"}')$$);
SELECT * FROM explain($$match(tags, '{dc=~"dc1.*"}')$$);
SELECT * FROM explain($$match(tags, '{dc!="dc3"}')$$);
SELECT * FROM explain($$match(tags, '{dc!~"dc.*"}')$$);
SELECT * FROM explain($$match(tags, '{dc=""}')$$);
SELECT * FROM explain($$match(metric_name, tags, 'metric_3{dc="dc3"}')$$);
SELECT * FROM explain($$match('{host="host_3"}', 'host', host)$$);
SELECT * FROM explain($$match(tags, '{none="x"}')$$);
SELECT * FROM explain($$match('{none="x"}', 'host', host)$$);
SELECT * FROM explain($$match(tags, '{}')$$);
SELECT * FROM explain($$match(tags || '{}', '{dc="dc3"}')$$);

-- Policies come first: what they hide is not matched, and no selector is read that no row comes to.
CREATE ROLE mdb_reader;
GRANT USAGE ON SCHEMA matching TO mdb_reader;
GRANT SELECT ON m, h TO mdb_reader;
ALTER TABLE m ENABLE ROW LEVEL SECURITY;
ALTER TABLE h ENABLE ROW LEVEL SECURITY;
CREATE POLICY dev ON m TO mdb_reader USING (tags->>'env' = 'dev');
CREATE POLICY dev ON h TO mdb_reader USING (tags->>'env' = 'dev');
CREATE FUNCTION shown(tags jsonb) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN IF tags->>'env' IS DISTINCT FROM 'dev' THEN RAISE 'shown: %', tags; END IF; RETURN true; END $$;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA matching TO mdb_reader;
SET ROLE mdb_reader;
SELECT (SELECT count(*) FROM h WHERE match(tags, '{dc=~"dc1.*"}')) AS heap, (SELECT count(*) FROM m WHERE match(tags, '{dc=~"dc1.*"}')) AS metricsdb;
SELECT (SELECT count(*) FROM h WHERE match(tags, '{env!="dev"}')) AS heap, (SELECT count(*) FROM m WHERE match(tags, '{env!="dev"}')) AS metricsdb;
SELECT count(*) FROM m WHERE match(tags, '{dc=~"dc1.*"}') AND shown(tags);
SELECT count(*) FROM series('m', NULL, $$match(tags, '{dc=~"dc1.*"}')$$);
SELECT * FROM explain($$match(tags, '{dc="dc3"}')$$);
RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA matching CASCADE;
DROP ROLE mdb_reader;
