-- MetricsScan: pruning by time and series never changes an answer.
\set ECHO queries
CREATE SCHEMA scan;
SET search_path = scan, public;
SET metricsdb.direct_rows = 50;
SELECT setseed(0.42);

CREATE TABLE h (time timestamptz, host text, tags jsonb, up boolean, v float8, n int) USING heap;
CREATE TABLE m (LIKE h) USING metricsdb;

-- Parts of several days, across series and of one series each, NULLs, infinities, late rows, a delta.
CREATE TABLE src AS
	SELECT CASE WHEN random() < 0.01 THEN NULL WHEN random() < 0.01 THEN 'infinity' WHEN random() < 0.01 THEN '-infinity'
			ELSE timestamptz '2026-01-01' + (i / 3000) * interval '9 hours' + random() * interval '10 hours' END AS time,
		CASE WHEN random() < 0.02 THEN NULL ELSE 'host_' || (random() * 12)::int END AS host,
		CASE WHEN random() < 0.02 THEN NULL ELSE jsonb_build_object('dc', 'dc' || (random() * 3)::int) END AS tags,
		CASE WHEN random() < 0.1 THEN NULL ELSE random() < 0.5 END AS up,
		CASE WHEN random() < 0.05 THEN NULL WHEN random() < 0.02 THEN 'NaN' ELSE round((random() * 100)::numeric, 1) END::float8 AS v,
		i AS n
	FROM generate_series(1, 30000) i;
INSERT INTO h SELECT * FROM src;
DO $$
BEGIN
	FOR b IN 0 .. 9 LOOP
		INSERT INTO m SELECT * FROM src WHERE n > b * 3000 AND n <= (b + 1) * 3000;
	END LOOP;
END $$;
INSERT INTO m SELECT * FROM src LIMIT 40;
INSERT INTO h SELECT * FROM src LIMIT 40;

CREATE FUNCTION condition() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	t text := quote_literal((timestamptz '2026-01-01' + random() * interval '5 days')::text) || '::timestamptz';
	u text := quote_literal((timestamptz '2026-01-01' + random() * interval '5 days')::text) || '::timestamptz';
BEGIN
	RETURN (ARRAY[
		'time > ' || t, 'time >= ' || t, 'time < ' || t, 'time <= ' || t, t || ' < time',
		'time BETWEEN ' || t || ' AND ' || u, 'time = ' || t, 'time IS NULL', 'time = ''infinity''',
		'time < ''-infinity''', 'time >= ' || t || ' - interval ''3 hours'' AND time < ' || t,
		'host = ''host_3''', 'host IN (''host_1'', ''host_7'', ''none'')', 'host IS NULL', 'host LIKE ''host_1%''',
		'host <> ''host_2''', 'tags->>''dc'' = ''dc1''', 'tags @> ''{"dc": "dc2"}''', 'up', 'NOT up', 'up IS NULL',
		'host = ''host_3'' OR tags->>''dc'' = ''dc0''', 'coalesce(host, ''x'') || coalesce(tags->>''dc'', ''y'') > ''host_5dc1''',
		'v > 50', 'n % 7 = 0', 'host = ''host_4'' OR n < 1000', 'time > NULL', 'v = ''NaN'''
	])[1 + (random() * 27)::int];
END $$;

CREATE FUNCTION answer(tab text, cond text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
	EXECUTE format('SELECT count(*) || '':'' || coalesce(sum(n), 0) || '':'' || coalesce(sum(hashtext(coalesce(time::text, ''-'') || coalesce(host, ''-'') || coalesce(tags::text, ''-'') || coalesce(up::text, ''-'') || coalesce(v::text, ''-''))::bigint), 0) FROM %s WHERE %s', tab, cond) INTO result;
	RETURN result;
END $$;

-- Each random condition must give one answer: heap, core's scan, MetricsScan, serial and parallel.
CREATE FUNCTION differences(rounds int) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	cond text; expected text; got text;
BEGIN
	FOR i IN 1 .. rounds LOOP
		cond := condition();
		WHILE random() < 0.5 LOOP cond := cond || ' AND (' || condition() || ')'; END LOOP;
		expected := answer('h', cond);
		FOREACH got IN ARRAY ARRAY['off', 'on'] LOOP
			PERFORM set_config('metricsdb.enable_custom_scan', got, false);
			IF answer('m', cond) <> expected THEN
				RETURN NEXT format('custom scan %s: %s', got, cond);
			END IF;
		END LOOP;
	END LOOP;
END $$;
SELECT * FROM differences(300);
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT * FROM differences(60);
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
SET metricsdb.enable_custom_scan = on;
CALL metricsdb.compact('m');
SELECT * FROM differences(300);

-- The plan, and that it is used where it should be.
SET metricsdb.enable_vector_agg = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM m WHERE time > '2026-01-02' AND host = 'host_3' AND v > 5;
EXPLAIN (COSTS OFF) SELECT count(*) FROM m WHERE v > 5;
EXPLAIN (COSTS OFF) SELECT ctid FROM m WHERE host = 'host_3';
EXPLAIN (COSTS OFF) SELECT m FROM m WHERE host = 'host_3';
SET metricsdb.enable_custom_scan = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM m WHERE host = 'host_3';
RESET metricsdb.enable_custom_scan;
RESET metricsdb.enable_vector_agg;

-- Values that come at run time.
SELECT (SELECT count(*) FROM m WHERE time < now()) = (SELECT count(*) FROM h WHERE time < now()) AS now;
PREPARE q(timestamptz, text) AS SELECT count(*) FROM m WHERE time >= $1 AND host = $2;
SET plan_cache_mode = force_generic_plan;
EXECUTE q('2026-01-02', 'host_3');
EXECUTE q('2026-01-04', 'host_4');
EXECUTE q(NULL, 'host_4');
RESET plan_cache_mode;
SELECT count(*) FROM h WHERE time >= '2026-01-02' AND host = 'host_3';
SELECT count(*) FROM h WHERE time >= '2026-01-04' AND host = 'host_4';
SELECT t, (SELECT count(*) FROM m WHERE time >= t AND host = 'host_1') = (SELECT count(*) FROM h WHERE time >= t AND host = 'host_1') AS equal
	FROM (VALUES (timestamptz '2026-01-01 12:00+00'), ('2026-01-03 12:00+00'), (NULL)) v(t);

-- Cursors go both ways.
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT n FROM m WHERE host = 'host_3' AND time < '2026-01-01 06:00+00' AND n < 300;
CREATE TEMP TABLE there AS SELECT 0 AS n WHERE false;
MOVE FORWARD ALL FROM c;
FETCH BACKWARD 1 FROM c \gset last_
MOVE ABSOLUTE 0 FROM c;
FETCH LAST FROM c \gset again_
SELECT :last_n = :again_n AS same;
COMMIT;

-- Policies: a condition that leaks is not evaluated on rows that the policy hides.
CREATE FUNCTION leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$
BEGIN RAISE NOTICE 'saw %', $1; RETURN true; END $$;
ALTER TABLE m ENABLE ROW LEVEL SECURITY;
CREATE POLICY only_one ON m USING (host = 'host_1' AND n < 100);
CREATE ROLE regress_metricsdb_reader;
GRANT USAGE ON SCHEMA scan TO regress_metricsdb_reader;
GRANT SELECT ON m TO regress_metricsdb_reader;
SET ROLE regress_metricsdb_reader;
SELECT DISTINCT host FROM m WHERE leak(host) AND n % 50 = 1;
SELECT count(*) > 0 AS some, count(*) = count(*) FILTER (WHERE host = 'host_1' AND n < 100) AS allowed FROM m WHERE time > '2026-01-01';
RESET ROLE;

-- Partitions and inheritance.
CREATE TABLE p (LIKE h) PARTITION BY RANGE (time);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2026-01-01') TO ('2026-01-03') USING metricsdb;
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM ('2026-01-03') TO ('2026-01-06') USING metricsdb;
CREATE TABLE p0 PARTITION OF p DEFAULT USING heap;
INSERT INTO p SELECT * FROM src;
SELECT (SELECT count(*) FROM p WHERE host = 'host_3' AND time > '2026-01-02 12:00') = (SELECT count(*) FROM src WHERE host = 'host_3' AND time > '2026-01-02 12:00') AS equal;

\set ECHO none
SET client_min_messages = warning;
DROP SCHEMA scan CASCADE;
DROP ROLE regress_metricsdb_reader;
