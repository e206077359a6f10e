-- Conditions on series columns that the index resolves: no error that core would not come to; many look-ups, whose rows
-- are remembered; and an index that is used whatever ignore_system_indexes says.
\set ECHO queries
CREATE SCHEMA turn;
SET search_path = turn, public, metricsdb;
SET metricsdb.direct_rows = 1;
CREATE TABLE h (time timestamptz, host text, tags jsonb, v float8);
INSERT INTO h SELECT timestamptz '2026-01-01' + k * interval '1 s', 'a', '{"host": "a"}', k FROM generate_series(1, 100) k;
CREATE TABLE m (LIKE h) USING metricsdb;
CREATE TABLE empty (LIKE h) USING metricsdb;
INSERT INTO m SELECT * FROM h;
-- Statements that are prepared keep their parameters.
CREATE FUNCTION prepared(condition text, a text, OUT heap text, OUT metricsdb text, OUT no_rows text) LANGUAGE plpgsql AS $$
DECLARE t text; result text; results text[] := '{}';
BEGIN
	FOREACH t IN ARRAY '{h,m,empty}'::text[] LOOP
		EXECUTE format('PREPARE turn_%s(text) AS SELECT count(*) FROM %s WHERE %s', t, t, condition);
		BEGIN
			EXECUTE format('EXECUTE turn_%s(%L)', t, a) INTO result;
		EXCEPTION WHEN OTHERS THEN result := SQLSTATE; END;
		EXECUTE 'DEALLOCATE turn_' || t;
		results := results || result;
	END LOOP;
	heap := results[1]; metricsdb := results[2]; no_rows := results[3];
END $$;
SET plan_cache_mode = force_generic_plan;
\pset format unaligned
SELECT c, a, p.* FROM (VALUES ($$host = 'a' OR host = (1 / $1::int)::text$$, '0'), ($$host = 'b' OR host = (1 / $1::int)::text$$, '0'), ($$host = 'a' OR host IN ('x', (1 / $1::int)::text)$$, '0'), ($$host = 'a' OR host <> (1 / $1::int)::text$$, '0'), ($$host = 'a' OR tags @> $1::jsonb$$, '{'), ($$host = 'b' OR (host = 'c' AND tags @> $1::jsonb)$$, '{'),
	($$host = 'a' OR host ~ $1$$, '('), ($$host = 'b' OR host ~ $1$$, '('), ($$host ~ $1$$, '('), ($$host ~ $1$$, 'a'), ($$host !~ $1$$, '('), ($$host ~* $1$$, '['), ($$host ~* $1$$, 'A'), ($$host LIKE $1$$, 'a\'), ($$host LIKE $1$$, 'a%'), ($$host LIKE $1$$, 'a\\'), ($$host NOT LIKE $1$$, 'b\'), ($$coalesce(host ~ $1, true)$$, '('), ($$tags->>'host' ~ $1$$, '('), ($$tags->>'host' ~ $1$$, '^a'), ($$host ~ ANY (ARRAY['b', $1])$$, '('), ($$host ~ ANY (ARRAY['b', $1])$$, 'a'),
	($$match(tags, $1)$$, '{host="a"}'), ($$match(tags, $1)$$, '{host='), ($$host = 'a' OR match(tags, $1)$$, '{host='), ($$host = 'b' OR match(tags, $1)$$, '{host='), ($$match(tags, $1)$$, '{host=~"("}')) v(c, a), prepared(c, a) p;
\pset format aligned
RESET plan_cache_mode;

-- Many look-ups: in several runs, of the first and last terms of rows, of terms with many ids, of none.
TRUNCATE h, m;
INSERT INTO h SELECT timestamptz '2026-01-01' + k * interval '1 s', 'host_' || k % 1500, jsonb_build_object('host', 'host_' || k % 1500, 'dc', 'dc' || k % 3, 'n', k % 1500), k FROM generate_series(1, 6000) k;
INSERT INTO h SELECT timestamptz '2026-01-02' + k * interval '1 s', 'host_' || k, jsonb_build_object('host', 'host_' || k, 'dc', repeat('long', 200) || k % 5, 'n', k), k FROM generate_series(1400, 2600) k;
INSERT INTO h SELECT timestamptz '2026-01-03' + k * interval '1 s', 'host_' || k % 9, jsonb_build_object('host', 'host_' || k % 9, 'pod', k, 'dc', 'dc1'), k FROM generate_series(1, 9000) k;
INSERT INTO m SELECT * FROM h WHERE time < '2026-01-02';
INSERT INTO m SELECT * FROM h WHERE time >= '2026-01-02' AND time < '2026-01-03';
INSERT INTO m SELECT * FROM h WHERE time >= '2026-01-03';
CREATE TABLE wanted AS SELECT 'host_' || k AS host, 'dc' || k % 4 AS dc, k AS n FROM generate_series(0, 2700, 7) k;
INSERT INTO wanted SELECT 'host_' || k, repeat('long', 200) || k, k FROM generate_series(1, 5) k;
INSERT INTO wanted VALUES (NULL, 'dc1', 1), ('', '', 1), ('host_9999', 'dc1', 1), ('zzz', 'zzz', 1);
CREATE INDEX ON h (host, time);
CREATE FUNCTION compared(OUT same bool, OUT rows int8, OUT what text) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE a text; b text; q text;
BEGIN
	FOREACH q IN ARRAY ARRAY['SELECT w.n, l.* FROM wanted w, LATERAL (SELECT * FROM %s x WHERE x.host = w.host ORDER BY time DESC LIMIT 1) l',
		'SELECT w.n, l.* FROM wanted w, LATERAL (SELECT count(*), sum(v) FROM %s x WHERE x.host = w.host) l', 'SELECT w.n, l.* FROM wanted w, LATERAL (SELECT count(*), sum(v) FROM %s x WHERE x.tags->>''dc'' = w.dc AND x.host = w.host) l',
		'SELECT w.n, l.* FROM (SELECT * FROM wanted ORDER BY n LIMIT 40) w, LATERAL (SELECT count(*), sum(v) FROM %s x WHERE x.tags @> jsonb_build_object(''dc'', w.dc)) l', 'SELECT w.n, l.* FROM wanted w, LATERAL (SELECT count(*), sum(v) FROM %s x WHERE x.host IN (w.host, ''host_1'', ''host_'' || w.n + 1, ''x'')) l',
		'SELECT count(*), sum(v) FROM %s WHERE host = ANY (ARRAY(SELECT host FROM wanted))', 'SELECT count(*), sum(v) FROM %s WHERE tags->>''n'' = ANY (ARRAY(SELECT n::text FROM wanted))'] LOOP
		EXECUTE format('SELECT count(*), string_agg(r::text, chr(10) ORDER BY r::text COLLATE "C") FROM (' || q || ') r', 'h') INTO rows, a;
		EXECUTE format('SELECT string_agg(r::text, chr(10) ORDER BY r::text COLLATE "C") FROM (' || q || ') r', 'm') INTO b;
		same := a = b;
		what := substring(q FROM 'WHERE (.*)');
		RETURN NEXT;
	END LOOP;
END $$;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT * FROM compared();
SET work_mem = '64kB';
SELECT * FROM compared();
CALL compact('m');
SELECT * FROM compared();
RESET work_mem;
SELECT * FROM compared();
-- What the query's own snapshot does not see does not come in between: rows of one that is open.
BEGIN;
DECLARE c CURSOR FOR SELECT w.host, l.n FROM (VALUES (1, 'host_1'), (2, 'new_1'), (3, 'host_1'), (4, 'new_2')) w(i, host), LATERAL (SELECT count(*) AS n FROM m x WHERE x.host = w.host) l;
FETCH 2 FROM c;
INSERT INTO m SELECT '2026-01-04', 'new_' || k, '{}', k FROM generate_series(1, 700) k;
FETCH ALL FROM c;
ROLLBACK;
-- Without indexes on system catalogs ours are used all the same.
\set without 'dbname=' :DBNAME ' options=-cignore_system_indexes=on'
\c -reuse-previous=on :without
SET search_path = turn, public, metricsdb;
SET client_min_messages = error;
SHOW ignore_system_indexes;
SELECT (SELECT count(*) FROM h WHERE host = 'host_77') AS heap, (SELECT count(*) FROM m WHERE host = 'host_77') AS metricsdb;
SELECT (SELECT count(*) FROM h WHERE host LIKE 'host_7%') AS heap, (SELECT count(*) FROM m WHERE host LIKE 'host_7%') AS metricsdb;
SELECT (SELECT count(*) FROM h WHERE match(tags, '{dc="dc1",n=~"1.*"}')) AS heap, (SELECT count(*) FROM m WHERE match(tags, '{dc="dc1",n=~"1.*"}')) AS metricsdb;
SELECT (SELECT count(DISTINCT host) FROM h) AS heap, (SELECT count(*) FROM tag_values('m', NULL, 'dc')) > 5 AS metricsdb;
DROP SCHEMA turn CASCADE;
