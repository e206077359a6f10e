-- MetricsScan: conditions on value columns, decided block by block, never change an answer.
\set ECHO queries
CREATE SCHEMA vf;
SET search_path = vf, public;
SET metricsdb.direct_rows = 50;
SET metricsdb.enable_vector_agg = off;
SET timezone = 'UTC';
SELECT setseed(0.73);

CREATE TABLE h (time timestamptz, host text, a float8, f real, s int2, n int, k int8, ok boolean, seen timestamptz, plain timestamp, day date, note text, id int) USING heap;
CREATE TABLE m (LIKE h) USING metricsdb;
SELECT metricsdb.set_options('m', "time" => 'time', series => '{host}');

-- Values that rise, so that ranges of blocks differ; NULLs, NaN, infinities, -0; whole runs of each.
CREATE TABLE src AS
	SELECT timestamptz '2026-01-01' + i * interval '13 s' AS time, 'host_' || i % 3 AS host,
		CASE WHEN i % 8000 < 700 THEN NULL WHEN i % 8000 < 1400 THEN 'NaN' WHEN random() < 0.02 THEN (ARRAY['NaN', 'Infinity', '-Infinity', '-0'])[1 + (random() * 3)::int]::float8 ELSE i / 300 END::float8 AS a,
		CASE WHEN random() < 0.1 THEN NULL ELSE i / 300.0 END::real AS f, CASE WHEN random() < 0.1 THEN NULL ELSE i / 10 END::int2 AS s,
		i / 10 AS n, CASE WHEN i % 6000 > 3000 THEN NULL ELSE i * 1000000000::int8 END AS k, CASE WHEN i % 9000 < 3000 THEN true WHEN i % 9000 < 6000 THEN NULL ELSE random() < 0.5 END AS ok,
		timestamptz '2020-01-01' + i * interval '1 min' AS seen, timestamp '2020-01-01' + i * interval '1 min' AS plain, date '2020-01-01' + i / 100 AS day,
		CASE WHEN i % 5000 > 2000 THEN 'note ' || i END AS note, i AS id
	FROM generate_series(1, 24000) i;
INSERT INTO h SELECT * FROM src;
DO $$
BEGIN
	FOR b IN 0 .. 7 LOOP
		INSERT INTO m SELECT * FROM src WHERE id > b * 3000 AND id <= (b + 1) * 3000;
	END LOOP;
END $$;
INSERT INTO m SELECT * FROM src LIMIT 40;
INSERT INTO h SELECT * FROM src LIMIT 40;
DELETE FROM m WHERE id % 97 = 5;
DELETE FROM h WHERE id % 97 = 5;
ALTER TABLE m ADD later float8 DEFAULT 7.5;
ALTER TABLE h ADD later float8 DEFAULT 7.5;
INSERT INTO m SELECT *, id FROM src WHERE id % 50 = 7;
INSERT INTO h SELECT *, id FROM src WHERE id % 50 = 7;
ANALYZE m, h;

CREATE FUNCTION condition() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	c int := random() * 80;
	d int := c + random() * 20;
	op text := (ARRAY['=', '<>', '<', '<=', '>', '>='])[1 + (random() * 5)::int];
BEGIN
	RETURN (ARRAY[
		format('a %s %s', op, c), format('f %s %s', op, c), format('f %s %s::real', op, c), format('s %s %s', op, c * 30), format('n %s %s', op, c * 30),
		format('n %s %s::int8', op, c * 30), format('k %s %s', op, c * 300000000000), format('a %s ''NaN''', op), format('a %s ''Infinity''', op), format('a %s -0.0::float8', op),
		format('%s %s a', c, op), format('a %s f', op), format('n %s id', op), format('later %s 7.5', op), format('a %s NULL', op),
		format('a BETWEEN %s AND %s', c, d), format('n NOT BETWEEN %s AND %s', c * 30, d * 30), format('n IN (%s, %s, NULL)', c * 30, d * 30), format('a IN (%s, ''NaN'', 0)', c), format('s NOT IN (%s, %s)', c, d),
		format('n <> ALL (ARRAY[%s, NULL])', c), format('k = ANY (ARRAY[%s])', c * 1000000000000), 'n = ANY (''{}''::int[])', 'a IS NULL', 'a IS NOT NULL', 'k IS NULL', 'note IS NULL', 'note IS NOT NULL', 'later IS NULL',
		'ok', 'NOT ok', 'ok IS TRUE', 'ok IS NOT TRUE', 'ok IS FALSE', 'ok IS UNKNOWN', 'ok IS NOT UNKNOWN', 'ok = false',
		format('seen %s ''2020-01-01''::timestamptz + %s * interval ''200 min''', op, c), format('plain %s ''2020-01-01''::timestamp + %s * interval ''200 min''', op, c), format('day %s ''2020-01-01''::date + %s', op, c * 2),
		format('day %s ''2020-01-01''::timestamp + %s * interval ''5 hours''', op, c), format('seen %s plain', op), format('time <> ''2026-01-01''::timestamptz + %s * interval ''13 s''', c * 30),
		format('(time < ''2026-01-01''::timestamptz + %s * interval ''13 s'' OR a > %s)', c * 30, c), format('a + f > %s', c), format('n / 7 %s %s', op, c), format('-n < -%s', c * 30),
		format('CASE WHEN ok THEN a ELSE f END > %s', c), format('note LIKE ''%%%s''', c % 10), format('host = ''host_%s''', c % 4), format('n %% 7 = %s', c % 7), format('a::numeric > %s', c)
	])[1 + (random() * 50)::int];
END $$;

CREATE FUNCTION answer(tab text, cond text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
	EXECUTE format('SELECT count(*) || '':'' || coalesce(sum(hashtext(x.*::text)::bigint), 0) FROM (SELECT time, host, a, f, s, n, k, ok, seen, plain, day, note, id, later FROM %s WHERE %s) x', tab, cond) INTO result;
	RETURN result;
EXCEPTION WHEN division_by_zero OR numeric_value_out_of_range OR feature_not_supported THEN
	RETURN sqlerrm;
END $$;

CREATE FUNCTION differences(rounds int) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	cond text; expected text; got text;
BEGIN
	FOR i IN 1 .. rounds LOOP
		cond := condition();
		WHILE random() < 0.5 LOOP
			cond := CASE WHEN random() < 0.6 THEN cond || ' AND (' ELSE '(' || cond || ') OR (' END || condition() || ')';
		END LOOP;
		IF random() < 0.1 THEN cond := 'NOT (' || cond || ')'; END IF;
		expected := answer('h', cond);
		FOREACH got IN ARRAY ARRAY['off', 'on'] LOOP
			PERFORM set_config('metricsdb.enable_custom_scan', got, false);
			IF answer('m', cond) <> expected THEN
				RETURN NEXT format('custom scan %s: %s', got, cond);
			END IF;
		END LOOP;
	END LOOP;
END $$;
SELECT * FROM differences(120);
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT * FROM differences(30);
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
CALL metricsdb.compact('m');
SELECT * FROM differences(120);
SET metricsdb.on_corruption = skip;
SELECT * FROM differences(20);
RESET metricsdb.on_corruption;

-- What is decided by blocks, what is left to the plan; a condition that may fail is not taken out of its turn.
EXPLAIN (COSTS OFF) SELECT id FROM m WHERE a > 5 AND n BETWEEN 10 AND 20 AND note LIKE 'n%';
EXPLAIN (COSTS OFF) SELECT id FROM m WHERE (a > 5 OR k IS NULL) AND host = 'host_1' AND time > '2026-01-02';
EXPLAIN (COSTS OFF) SELECT id FROM m WHERE note LIKE 'n%' AND 100 / n > 3;
EXPLAIN (COSTS OFF) SELECT id FROM m WHERE n > 0 AND 100 / n > 3;
SELECT count(*) FROM m WHERE n > 0 AND 100 / n > 3;
SELECT count(*) FROM h WHERE n > 0 AND 100 / n > 3;
SELECT count(*) FROM m WHERE 100 / n > 3;

-- Values that come at run time.
PREPARE q(float8, int[]) AS SELECT count(*), sum(id) FROM m WHERE a > $1 AND n = ANY ($2);
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE q(10, '{}');
EXECUTE q(10, '{500, 1000, NULL, 7000}');
EXECUTE q(NULL, '{1}');
EXECUTE q(10, '{}');
EXECUTE q(10, NULL);
RESET plan_cache_mode;
SELECT count(*), sum(id) FROM h WHERE a > 10 AND n = ANY ('{500, 1000, NULL, 7000}');
SELECT count(*) FROM m WHERE seen < now() AND n = ANY (ARRAY(SELECT i FROM generate_series(1, 300) i)) AND a < (SELECT 7);
SELECT count(*) FROM h WHERE seen < now() AND n = ANY (ARRAY(SELECT i FROM generate_series(1, 300) i)) AND a < (SELECT 7);

-- As the inner side of a nested loop, with values of the outer rows.
CREATE TABLE limits (host text, lo float8, hi float8) USING heap;
INSERT INTO limits SELECT 'host_' || i % 4, i * 3, i * 3 + 4 FROM generate_series(1, 12) i;
INSERT INTO limits VALUES ('host_1', NULL, 3), ('host_1', 'NaN', 'NaN');
ANALYZE limits;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
-- PostgreSQL 16 writes equalities the other way around.
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		RETURN NEXT regexp_replace(line, '(m\.)?host = l\.host|l\.host = (m\.)?host', 'm.host = l.host');
	END LOOP;
END $$;
SELECT plan('SELECT count(*), sum(id) FROM limits l JOIN m ON m.host = l.host AND m.a BETWEEN l.lo AND l.hi');
SELECT count(*), sum(id) FROM limits l JOIN m ON m.host = l.host AND m.a BETWEEN l.lo AND l.hi;
SELECT count(*), sum(id) FROM limits l JOIN h ON h.host = l.host AND h.a BETWEEN l.lo AND l.hi;
SELECT l.lo, x.id FROM limits l, LATERAL (SELECT id FROM m WHERE m.host = l.host AND m.a >= l.lo ORDER BY time DESC LIMIT 1) x ORDER BY 1, 2;
SELECT l.lo, x.id FROM limits l, LATERAL (SELECT id FROM h WHERE h.host = l.host AND h.a >= l.lo ORDER BY time DESC LIMIT 1) x ORDER BY 1, 2;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_material;

-- In order of time, and the latest of each series.
SELECT id FROM m WHERE a > 5 AND a < 30 AND ok ORDER BY time DESC LIMIT 5;
SELECT id FROM h WHERE a > 5 AND a < 30 AND ok ORDER BY time DESC LIMIT 5;
SELECT DISTINCT ON (host) host, id FROM m WHERE a < 12 ORDER BY host, time DESC;
SELECT DISTINCT ON (host) host, id FROM h WHERE a < 12 ORDER BY host, time DESC;

-- Without directories that are known from queries before.
SET metricsdb.directory_cache = 0;
-- Figures: of all blocks each was pruned or read; of the rows of those that were read each was filtered or returned.
CREATE FUNCTION figures(query text, OUT node text, OUT parallel boolean, OUT sums boolean, OUT pruned boolean, OUT filtered boolean, OUT bytes boolean) LANGUAGE plpgsql AS $$
DECLARE
	doc json; n json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) ' || query INTO doc;
	n := doc->0->'Plan';
	parallel := (jsonb_path_query_array(doc::jsonb, '$.**."Workers Planned"')->>0)::int > 0;
	WHILE n->>'Custom Plan Provider' IS NULL LOOP n := n->'Plans'->0; END LOOP;
	node := n->>'Custom Plan Provider';
	sums := (n->>'Parts Total')::int >= (n->>'Parts Pruned')::int + (n->>'Parts Read')::int
		AND (n->>'Blocks Total')::int = (n->>'Blocks Pruned')::int + (n->>'Blocks Read')::int + coalesce((n->>'Blocks Answered from Headers')::int, 0)
		AND (n->>'Rows Decoded')::int >= (n->>'Rows Filtered')::int - (n->>'Rows of Delta')::int;
	pruned := (n->>'Blocks Pruned')::int > 0;
	filtered := (n->>'Rows Filtered')::int > 0;
	bytes := (n->>'Encoded Bytes Read')::int > 0 AND n->'Shared Hit Blocks' IS NOT NULL;
END $$;
SELECT * FROM figures('SELECT id FROM m WHERE a > 70');
SELECT * FROM figures('SELECT id FROM m WHERE n < 0');
SELECT * FROM figures('SELECT id FROM m WHERE time > ''2026-01-03'' AND host = ''host_1'' AND k IS NULL');
SET metricsdb.enable_vector_agg = on;
SELECT * FROM figures('SELECT max(n) FROM m WHERE a > 70');
SELECT * FROM figures('SELECT host, sum(n) FROM m GROUP BY host');
SELECT * FROM figures('SELECT host, sum(n) FROM m WHERE time > ''2026-01-03 01:02:03'' GROUP BY host');
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
SELECT * FROM figures('SELECT id FROM m WHERE a > 70');
SELECT * FROM figures('SELECT host, sum(n) FROM m WHERE a > 30 GROUP BY host');
RESET parallel_leader_participation;
-- Each process decodes its share: all together, what one would alone.
CREATE FUNCTION decoded(query text, workers int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	doc jsonb;
BEGIN
	PERFORM set_config('max_parallel_workers_per_gather', workers::text, true);
	EXECUTE 'EXPLAIN (ANALYZE, FORMAT JSON) ' || query INTO doc;
	RETURN jsonb_path_query_array(doc, '$.** ? (exists(@."Rows Decoded"))."Rows Decoded"')->>0 || ' ' || (jsonb_path_query_array(doc, '$.** ? (exists(@."Rows Decoded"))."Blocks Read"')->>0);
END $$;
SELECT q, decoded(q, 0) = decoded(q, 2) AS shared FROM unnest(ARRAY['SELECT id FROM m WHERE a > 70', 'SELECT host, sum(n) FROM m WHERE a > 30 GROUP BY host', 'SELECT stddev(a) FROM m']) q;
SELECT * FROM figures('SELECT id FROM m WHERE a > 70');
SELECT * FROM figures('SELECT host, sum(n) FROM m WHERE a > 30 GROUP BY host');
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- The same as text, on a table of which they are known.
CREATE TABLE one (time timestamptz, host text, v float8, n int) USING metricsdb;
SELECT metricsdb.set_options('one', "time" => 'time', series => '{host}');
INSERT INTO one SELECT timestamptz '2026-01-01' + i * interval '1 s', 'host', i / 1000, i FROM generate_series(0, 9999) i;
INSERT INTO one VALUES ('2026-01-02', 'host', 3, 1);
CREATE FUNCTION told(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
		RETURN NEXT regexp_replace(regexp_replace(line, 'Bytes Read: \d+', 'Bytes Read: N'), 'rows=(\d+)\.00', 'rows=\1');
	END LOOP;
END $$;
SELECT told('SELECT n FROM one WHERE v = 3');
SET metricsdb.enable_vector_agg = on;
SELECT told('SELECT max(n), count(*) FROM one');
SELECT told('SELECT max(n) FROM one WHERE v < 3.5 AND host = ''host''');

-- Columns that a part lacks, and guards.
CREATE TABLE late (time timestamptz, host text, v float8) USING metricsdb;
INSERT INTO late SELECT timestamptz '2026-01-01' + i * interval '1 s', 'a', i FROM generate_series(1, 5000) i;
ALTER TABLE late ADD b bool;
INSERT INTO late SELECT timestamptz '2026-01-02' + i * interval '1 s', 'a', i, true FROM generate_series(1, 5000) i;
SELECT count(*), count(b) FROM (SELECT time, b FROM late WHERE b ORDER BY time DESC LIMIT 20000) t;
SELECT count(*), count(b) FROM (SELECT time, b FROM late WHERE b OR v > 4990 ORDER BY time DESC LIMIT 20000) t;
SELECT count(*) FILTER (WHERE b), sum(CASE WHEN b THEN 1 ELSE 0 END) FROM late;
SET plan_cache_mode = force_generic_plan;
PREPARE guarded(int) AS SELECT count(*) FROM late WHERE $1 = 0 OR v > 100 / $1;
EXECUTE guarded(0);
EXECUTE guarded(2);
PREPARE cased(int) AS SELECT count(*), sum(v) FROM late WHERE CASE WHEN $1 <> 0 THEN v > 100 / $1 ELSE false END;
EXECUTE cased(0);
EXECUTE cased(2);
-- What is the same for all rows is evaluated when the first row needs it, and not before.
CREATE TABLE heap_late (LIKE late) USING heap;
INSERT INTO heap_late SELECT * FROM late;
CREATE FUNCTION same(query text, VARIADIC args text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found text[];
	r text;
	tab text;
BEGIN
	FOREACH tab IN ARRAY ARRAY['heap_late', 'late', 'none'] LOOP
		BEGIN
			EXECUTE 'PREPARE same(int, int[]) AS ' || replace(query, 'TAB', tab);
			EXECUTE format('EXECUTE same(%s)', array_to_string(args, ', ')) INTO r;
		EXCEPTION WHEN division_by_zero OR invalid_text_representation THEN
			r := SQLERRM;
		END;
		IF EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'same') THEN
			DEALLOCATE same;
		END IF;
		found := found || coalesce(r, 'NULL');
	END LOOP;
	RETURN CASE WHEN found[1] = found[2] THEN 'same: ' ELSE 'heap: ' || found[1] || ', metricsdb: ' END || found[2] || '; without rows: ' || found[3];
END $$;
CREATE TABLE none (LIKE late) USING metricsdb;
SELECT same('SELECT sum(1 / $1) FROM TAB', '0', 'NULL');
SELECT same('SELECT sum(1 / $1) FROM TAB WHERE v < 0', '0', 'NULL');
SELECT same('SELECT sum(1 / $1) FROM TAB WHERE v + 1 < 0', '0', 'NULL');
SELECT same('SELECT sum(1 / $1) FROM TAB WHERE v = 7', '0', 'NULL');
SELECT same('SELECT sum(1 / $1) FILTER (WHERE v < 0), count(*) FROM TAB', '0', 'NULL');
SELECT same('SELECT sum(1 / $1) FILTER (WHERE v = 7), count(*) FROM TAB', '0', 'NULL');
SELECT same('SELECT sum(v) FILTER (WHERE v > 1 / $1), count(*) FROM TAB WHERE v < 0', '0', 'NULL');
SELECT same('SELECT sum(v) FILTER (WHERE v > 1 / $1), count(*) FROM TAB WHERE v < 5', '0', 'NULL');
SELECT same('SELECT sum(CASE WHEN v > 9000 THEN 1 / $1 ELSE 2 END) FROM TAB', '0', 'NULL');
SELECT same('SELECT sum(CASE WHEN v > 4999 THEN 1 / $1 ELSE 2 END) FROM TAB', '0', 'NULL');
SELECT same('SELECT count(*) FROM TAB WHERE v > 1 / $1', '0', 'NULL');
SELECT same('SELECT count(*) FROM TAB WHERE v < 0 AND v > 1 / $1', '0', 'NULL');
SELECT same('SELECT count(*) FROM TAB WHERE v > 0 OR v > 1 / $1', '0', 'NULL');
SELECT same('SELECT count(*) FROM TAB WHERE v > 1 OR v > 1 / $1', '0', 'NULL');
SELECT same('SELECT count(*) FROM TAB WHERE v < 0 AND v::int = ANY (array_append($2, 1 / $1))', '0', '''{1,2}''');
SELECT same('SELECT count(*) FROM TAB WHERE v = ANY (array_append($2, 1 / $1)::float8[])', '1', '''{5,6,7000}''');
SELECT same('SELECT count(*) FROM TAB WHERE v = ANY (array_append($2, 1 / $1)::float8[])', '0', '''{5,6}''');
SELECT same('SELECT count(*) FROM TAB WHERE v > 8 / $1 AND v < 20 / $1', '2', 'NULL');
SELECT same('SELECT count(*) FROM (SELECT metricsdb.time_bucket(make_interval(secs => 60 / $1), time) FROM TAB WHERE v < 0 GROUP BY 1) t', '0', 'NULL');
SET metricsdb.enable_vector_agg = off;
SELECT same('SELECT count(*) FROM TAB WHERE v > 1 / $1', '0', 'NULL');
SELECT same('SELECT count(*) FROM TAB WHERE v < 0 AND v > 1 / $1', '0', 'NULL');
SELECT same('SELECT count(*) FROM TAB WHERE v > 0 OR v > 1 / $1', '0', 'NULL');
SELECT same('SELECT count(*) FROM TAB WHERE v > 8 / $1 AND v < 20 / $1', '2', 'NULL');
SET metricsdb.enable_vector_agg = on;
RESET plan_cache_mode;

-- Long lists: a block is left out if none of them lies in its range.
SELECT told('SELECT n FROM one WHERE v = ANY (''{20, -3, 3, 50}'')');
SELECT told('SELECT v FROM one WHERE n = ANY (''{-20, 9999, 20000}'')');
CREATE FUNCTION by_list(tab text, list text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r text;
BEGIN
	EXECUTE format('SELECT format(''%%s rows, sum %%s'', count(*), sum(id)) FROM %I WHERE %s', tab, list) INTO r;
	RETURN r;
END $$;
SELECT list, by_list('h', list) AS answer, by_list('h', list) = by_list('m', list) AS same FROM unnest(ARRAY[
	'n = ANY (ARRAY(SELECT g * 50 FROM generate_series(-1000, 1000) g))', 'n = ANY (ARRAY(SELECT -g FROM generate_series(1, 1000) g))', 'n = ANY (ARRAY(SELECT g + 100000 FROM generate_series(1, 1000) g))',
	'n = ANY (ARRAY(SELECT g + 2400 FROM generate_series(0, 1000) g))', 'a = ANY (ARRAY(SELECT (g * 7)::float8 FROM generate_series(-1000, 1000) g))', 'a = ANY (ARRAY(SELECT (-g)::float8 FROM generate_series(1, 1000) g))',
	'a = ANY (ARRAY(SELECT g + 1000::float8 FROM generate_series(1, 1000) g) || ''NaN''::float8)', 'a = ANY (ARRAY(SELECT g + 1000::float8 FROM generate_series(1, 1000) g) || ''Infinity''::float8)', 'a = ANY (ARRAY[''-Infinity'', -1]::float8[])'
]) list;

-- Policies: what leaks stays behind them, and no figure tells of rows that are hidden.
CREATE FUNCTION leak(float8) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$;
CREATE FUNCTION my_gt(float8, float8) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
BEGIN RAISE NOTICE 'compared %', $1; RETURN $1 > $2; END $$;
CREATE OPERATOR ># (FUNCTION = my_gt, LEFTARG = float8, RIGHTARG = float8);
ALTER TABLE one ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON one USING (n BETWEEN 100 AND 101);
ALTER TABLE h ENABLE ROW LEVEL SECURITY;
ALTER TABLE m ENABLE ROW LEVEL SECURITY;
CREATE POLICY part_of_it ON h USING (n % 3 = 0 OR a > 20 OR host = 'host_1');
CREATE POLICY part_of_it ON m USING (n % 3 = 0 OR a > 20 OR host = 'host_1');
CREATE ROLE regress_metricsdb_reader;
GRANT USAGE ON SCHEMA vf TO regress_metricsdb_reader;
GRANT SELECT ON one, h, m TO regress_metricsdb_reader;
SET ROLE regress_metricsdb_reader;
SELECT * FROM differences(60);
RESET metricsdb.enable_custom_scan;
RESET ROLE;
SET ROLE regress_metricsdb_reader;
SET metricsdb.enable_vector_agg = off;
SELECT n FROM one WHERE leak(v) ORDER BY n;
SELECT n FROM one WHERE v ># -1 ORDER BY n;
-- A division by zero of a hidden row is none.
SELECT n FROM one WHERE 1 / (n - 5) = 0 ORDER BY n;
SELECT told('SELECT n FROM one WHERE v < 3');
SELECT told('SELECT n FROM one WHERE 1 / n = 0');
SET metricsdb.enable_vector_agg = on;
SELECT told('SELECT max(n) FROM one WHERE v < 3');
RESET ROLE;

\set ECHO none
SET client_min_messages = warning;
DROP SCHEMA vf CASCADE;
DROP ROLE regress_metricsdb_reader;
