-- MetricsAgg: arguments and keys of odd kinds.
\set ECHO queries
CREATE SCHEMA agg_odd;
SET search_path = agg_odd, public;
SET metricsdb.direct_rows = 50;
SET max_parallel_workers_per_gather = 0;
SET jit = off;

-- What a query says of a table in place of T: its rows, or its error; and the node that it uses.
CREATE FUNCTION answer(query text, tab text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
	EXECUTE format('SELECT count(*) || '' rows '' || coalesce(string_agg(x::text, '' '' ORDER BY x::text), '''') FROM (%s) x', regexp_replace(query, '\mT\M', tab, 'g')) INTO result;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLERRM;
END $$;
CREATE FUNCTION uses_agg(query text, tab text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || regexp_replace(query, '\mT\M', tab, 'g') LOOP
		IF line ~ 'MetricsAgg' THEN RETURN true; END IF;
	END LOOP;
	RETURN false;
END $$;
-- Those that differ from heap.
CREATE FUNCTION different(query text, heap text, VARIADIC tabs text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE tab text; expected text := answer(query, heap); got text;
BEGIN
	FOREACH tab IN ARRAY tabs LOOP
		got := answer(query, tab);
		IF got IS DISTINCT FROM expected THEN
			RETURN NEXT format('%s: %s: %s instead of %s', tab, query, left(got, 200), left(expected, 200));
		END IF;
	END LOOP;
END $$;

-- Arguments that are NULL for the whole scan.
CREATE TABLE odd_h (time timestamptz, host text, tags jsonb, a float8, n int, ok bool);
INSERT INTO odd_h SELECT timestamptz '2026-01-01' + i * interval '10 s', 'host_' || i % 5, jsonb_build_object('h', i % 5, 'r', 'r' || i % 3), i, i, i % 2 = 0 FROM generate_series(1, 2000) i;
CREATE TABLE odd (LIKE odd_h) USING metricsdb;
SELECT metricsdb.set_options('odd', "time" => 'time', series => '{host,tags}');
INSERT INTO odd SELECT * FROM odd_h;
CALL metricsdb.compact('odd');
ANALYZE odd, odd_h;
SELECT metricsdb.last(NULL::float8, time), metricsdb.first(NULL::bool, time), metricsdb.first(NULL::int, time) FILTER (WHERE ok), metricsdb.last(a, time) FROM odd;
SELECT host, metricsdb.last(NULL::float8, time), metricsdb.last(1.5::float8, time), metricsdb.first(a + NULL, time), metricsdb.avg_over_time(NULL), metricsdb.quantile_over_time(0.5, NULL), count(NULL::int), sum(NULL::int)
	FROM odd GROUP BY host ORDER BY host LIMIT 2;
SET plan_cache_mode = force_generic_plan;
PREPARE p(float8) AS SELECT metricsdb.last(a * $1, time), metricsdb.first(a * $1, time) FILTER (WHERE n > 7), metricsdb.sum_over_time(a * $1), metricsdb.rate(time, a * $1), sum(a * $1) FROM odd;
EXECUTE p(NULL);
EXECUTE p(2);
EXECUTE p(NULL);
RESET plan_cache_mode;

-- Keys that return sets, and what an outer join makes of constants.
SELECT q, uses_agg(q, 'odd') AS agg, (SELECT string_agg(d, E'\n') FROM different(q, 'odd_h', 'odd') d) AS different FROM (VALUES
	('SELECT jsonb_object_keys(tags) AS k, count(*) FROM T GROUP BY 1'),
	('SELECT unnest(string_to_array(host, ''_'')) AS k, count(*) FROM T GROUP BY 1'),
	('SELECT host, generate_series(1, 2) AS k, count(*) FROM T GROUP BY host'),
	('SELECT host, generate_series(1, 2) AS k, count(*) FROM T GROUP BY 1, 2'),
	('SELECT host, count(*) FROM T m LEFT JOIN (SELECT ''host_1'' AS x) s ON true WHERE m.host = s.x GROUP BY host'),
	('SELECT host, count(*) FROM T m LEFT JOIN (SELECT ''host_1'' AS x) s ON true WHERE m.host = coalesce(s.x, ''u'') GROUP BY host'),
	('SELECT host, count(*) FROM T m LEFT JOIN (SELECT ''host_1'' AS x) s ON true WHERE m.host = s.x AND m.n > 5 GROUP BY host'),
	('SELECT host, count(*) FROM T m LEFT JOIN (SELECT 5 AS x) s ON true WHERE m.n > coalesce(s.x, 1) GROUP BY host'),
	('SELECT host, sum(n + s.x) FROM T m LEFT JOIN (SELECT 5 AS x) s ON true GROUP BY host'),
	('SELECT host, sum(n) FILTER (WHERE n > s.x) FROM T m LEFT JOIN (SELECT 5 AS x) s ON true GROUP BY host'),
	('SELECT host || s.x AS k, count(*) FROM T m LEFT JOIN (SELECT 5 AS x) s ON true GROUP BY 1'),
	('SELECT host, count(*) FROM T m LEFT JOIN (SELECT now() - interval ''1000 years'' AS x) s ON true WHERE m.time > s.x GROUP BY host'),
	('SELECT host, count(*) FROM T m LEFT JOIN (SELECT timestamptz ''2026-01-01 01:00'' AS x) s ON true WHERE m.time > s.x GROUP BY host HAVING count(*) > min(n)'),
	('SELECT s.x AS k, count(*) FROM T m LEFT JOIN LATERAL (SELECT m.host || ''!'' AS x) s ON true GROUP BY 1'),
	('SELECT s.x AS k, count(*) FROM T m LEFT JOIN LATERAL (SELECT date_trunc(''hour'', m.time) AS x) s ON true WHERE s.x > ''2026-01-01 02:00'' GROUP BY 1'),
	('SELECT m.n FROM T m LEFT JOIN (SELECT ''host_1'' AS x, 7 AS y) s ON true WHERE m.host = s.x AND m.n < s.y * 10 ORDER BY m.time LIMIT 5')) v (q);

-- Groups whose keys the planner leaves out, as they are constant: of no rows there is no group.
CREATE FUNCTION constant_keys() RETURNS TABLE (q text, different text) LANGUAGE sql AS $$
	SELECT q, (SELECT string_agg(d, E'\n') FROM different(q, 'odd_h', 'odd') d) FROM (VALUES
		('SELECT ''all'' AS k, count(*) FROM T WHERE host = ''nobody'' GROUP BY 1'),
		('SELECT ''all'' AS k, count(*) FROM T GROUP BY 1'),
		('SELECT host, count(*), sum(n) FROM T WHERE host = ''nobody'' GROUP BY host'),
		('SELECT host, count(*), sum(n) FROM T WHERE host = ''host_1'' GROUP BY host'),
		('SELECT host, max(n) FROM T WHERE host = ''nobody'' GROUP BY host HAVING count(*) = 0'),
		('SELECT count(*), sum(n) FROM T WHERE host = ''nobody'''),
		('SELECT host FROM T WHERE host = ''nobody'' GROUP BY host'),
		('SELECT host, count(*) FROM T WHERE host = ''nobody'' GROUP BY host ORDER BY host LIMIT 1')) v (q)
$$;
SELECT * FROM constant_keys();
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT * FROM constant_keys();
SET client_min_messages = warning;
DROP SCHEMA agg_odd CASCADE;
