-- MetricsScan in order of time, the latest row of each series, and joins whose rows give the conditions:
-- the same answers as on heap.
\set ECHO queries
CREATE SCHEMA ordered;
SET search_path = ordered, public;
SET metricsdb.direct_rows = 50;
SET jit = off;
SELECT setseed(0.7);

CREATE TABLE h (time timestamptz, host text, dc text, v float8, w int, n int) USING heap;
CREATE TABLE m (LIKE h) USING metricsdb;
CREATE TABLE src AS
	SELECT CASE WHEN random() < 0.002 THEN NULL WHEN random() < 0.002 THEN 'infinity' WHEN random() < 0.002 THEN '-infinity'
			ELSE timestamptz '2026-01-01' + (i / 3000) * interval '9 hours' + random() * interval '10 hours' END AS time,
		CASE WHEN random() < 0.02 THEN NULL ELSE 'host_' || (random() * 12)::int END AS host, 'dc' || (random() * 2)::int AS dc,
		CASE WHEN random() < 0.05 THEN NULL WHEN random() < 0.02 THEN 'NaN' WHEN random() < 0.02 THEN 'infinity'
			ELSE round((random() * 100)::numeric, 1) END::float8 AS v,
		CASE WHEN random() < 0.1 THEN NULL ELSE (random() * 1000)::int END AS w, i AS n
	FROM generate_series(1, 30000) i;
INSERT INTO h SELECT * FROM src;
DO $$
BEGIN
	FOR b IN 0 .. 9 LOOP
		INSERT INTO m SELECT * FROM src WHERE n > b * 3000 AND n <= (b + 1) * 3000;
	END LOOP;
END $$;
INSERT INTO m SELECT time + interval '1 hour', host, dc, v, w, -n FROM src WHERE n % 1000 = 0;
INSERT INTO h SELECT time + interval '1 hour', host, dc, v, w, -n FROM src WHERE n % 1000 = 0;
DELETE FROM m WHERE n % 17 = 3;
DELETE FROM h WHERE n % 17 = 3;
UPDATE m SET v = -v, time = time - interval '3 hours' WHERE n % 503 = 1;
UPDATE h SET v = -v, time = time - interval '3 hours' WHERE n % 503 = 1;
CREATE TABLE hosts AS SELECT 'host_' || i AS host, i % 3 AS rack, timestamptz '2026-01-01' + i * interval '7 hours' AS start FROM generate_series(0, 14) i;

-- A query's rows, in order: as text of those columns that must agree.
CREATE FUNCTION answer(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
	EXECUTE format('SELECT count(*) || md5(coalesce(string_agg(q::text, '';'' ORDER BY o), '''')) FROM (SELECT row_number() OVER () AS o, q FROM (%s) q) x', query) INTO result;
	RETURN result;
END $$;

CREATE FUNCTION moment() RETURNS text LANGUAGE sql AS $$
	SELECT quote_literal((timestamptz '2026-01-01' + random() * interval '5 days')::text) || '::timestamptz' $$;

CREATE FUNCTION condition() RETURNS text LANGUAGE plpgsql AS $$
DECLARE c text := '';
BEGIN
	IF random() < 0.4 THEN c := c || ' AND time ' || (ARRAY['<', '<=', '>', '>='])[1 + (random() * 3)::int] || ' ' || moment(); END IF;
	IF random() < 0.3 THEN c := c || ' AND time > ' || moment(); END IF;
	IF random() < 0.3 THEN c := c || (ARRAY[' AND host = ''host_3''', ' AND host IN (''host_1'', ''host_5'', ''x'')', ' AND dc = ''dc1''', ' AND host IS NULL', ' AND host < ''host_5'' AND dc <> ''dc0'''])[1 + (random() * 4)::int]; END IF;
	IF random() < 0.4 THEN c := c || (ARRAY[' AND v > 90', ' AND v = ''NaN''', ' AND w BETWEEN 100 AND 200', ' AND v IS NULL', ' AND n % 7 = 0', ' AND w IN (1, 2, 3)', ' AND v < 0', ' AND v > 1e9'])[1 + (random() * 7)::int]; END IF;
	RETURN 'true' || c;
END $$;

-- Ties in time may come in any order, so it is times that are compared where a limit cuts through them; who
-- of each series is the latest is compared by its time, too.
CREATE FUNCTION query() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	nulls text := (ARRAY['', ' NULLS FIRST', ' NULLS LAST'])[1 + (random() * 2)::int];
	dir text := (ARRAY['', ' DESC'])[1 + (random() * 1)::int];
	ord text := 'time' || dir || nulls;
	c text := condition();
	lim text := ' LIMIT ' || (ARRAY['1', '10', '500', '7000', 'ALL'])[1 + (random() * 4)::int] || CASE WHEN random() < 0.2 THEN ' OFFSET 5' ELSE '' END;
BEGIN
	RETURN format((ARRAY[
		'SELECT time FROM TAB WHERE %1$s ORDER BY %2$s%3$s',
		'SELECT time, n, v, w, host, dc FROM TAB WHERE %1$s ORDER BY %2$s, n%3$s',
		'SELECT time, n, v, w, host, dc FROM TAB WHERE %1$s ORDER BY %2$s, n%3$s',
		'SELECT * FROM (SELECT * FROM TAB WHERE %1$s ORDER BY %2$s) x ORDER BY n',
		'SELECT DISTINCT ON (host, dc) host, dc, time FROM TAB WHERE %1$s ORDER BY host, dc, %2$s',
		'SELECT DISTINCT ON (host) host, time FROM TAB WHERE %1$s ORDER BY host, %2$s%3$s',
		'SELECT DISTINCT ON (lower(dc)) lower(dc), time FROM TAB WHERE %1$s ORDER BY lower(dc) DESC, %2$s',
		'SELECT DISTINCT ON (host, dc) host, dc, time, n FROM TAB WHERE %1$s ORDER BY host, dc, %2$s, n',
		'SELECT h.host, x.time FROM hosts h, LATERAL (SELECT * FROM TAB t WHERE t.host = h.host AND %1$s ORDER BY %2$s LIMIT 2) x ORDER BY 1, 2',
		'SELECT h.rack, t.n FROM hosts h JOIN TAB t ON t.host = h.host WHERE h.rack = 1 AND %4$s ORDER BY 2',
		'SELECT h.host, t.n FROM hosts h JOIN TAB t ON t.time BETWEEN h.start AND h.start + interval ''1 hour'' AND t.host = h.host WHERE %4$s ORDER BY 1, 2',
		'SELECT h.host, t.n FROM hosts h LEFT JOIN TAB t ON t.host = h.host AND h.start < t.time AND t.time < h.start + interval ''20 min'' ORDER BY 1, 2',
		'SELECT n FROM TAB WHERE host IN (SELECT host FROM hosts WHERE rack = 2) AND %1$s ORDER BY 1',
		'SELECT n FROM TAB WHERE host = ANY (ARRAY(SELECT host FROM hosts WHERE rack = 0)) AND %1$s ORDER BY 1',
		'SELECT n FROM TAB a WHERE %1$s AND time = (SELECT max(time) FROM TAB WHERE host = ''host_2'') ORDER BY 1',
		'SELECT a.n FROM TAB a JOIN TAB b ON a.time = b.time AND a.n = b.n WHERE a.w < 20 ORDER BY a.time, 1%3$s'
	])[1 + (random() * 15)::int], c, ord, lim, replace(replace(replace(replace(c, ' time ', ' t.time '), 'host ', 't.host '), 'dc', 't.dc'), '''t.dc', '''dc'));
END $$;

CREATE FUNCTION differences(rounds int, at_least numeric DEFAULT 0) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	q text; expected text; plan text; line text; used int := 0;
BEGIN
	FOR i IN 1 .. rounds LOOP
		q := query();
		expected := answer(replace(q, 'TAB', 'h'));
		FOREACH line IN ARRAY ARRAY['off', 'on'] LOOP
			PERFORM set_config('metricsdb.enable_custom_scan', line, false);
			IF answer(replace(q, 'TAB', 'm')) <> expected THEN
				RETURN NEXT format('custom scan %s: %s', line, q);
			END IF;
		END LOOP;
		FOR line IN EXECUTE 'EXPLAIN ' || replace(q, 'TAB', 'm') LOOP
			IF line LIKE '%MetricsScan%' THEN used := used + 1; EXIT; END IF;
		END LOOP;
	END LOOP;
	IF used < rounds * at_least THEN RETURN NEXT format('only %s of %s use MetricsScan', used, rounds); END IF;
END $$;

ANALYZE h, m, hosts;
SELECT * FROM differences(150, 0.6);
SET work_mem = '64kB';
SELECT * FROM differences(60);
-- Whatever the costs say: nested loops, and orders that are not sorted.
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_sort = off;
SELECT * FROM differences(100);
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT * FROM differences(40);
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;
RESET work_mem;
CALL metricsdb.compact('m');
SELECT * FROM differences(100);
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_sort;
SELECT * FROM differences(100);

-- The plans.
EXPLAIN (COSTS OFF) SELECT * FROM m ORDER BY time DESC LIMIT 10;
EXPLAIN (COSTS OFF) SELECT * FROM m WHERE time >= '2026-01-02' AND host = 'host_3' ORDER BY time NULLS FIRST LIMIT 10;
EXPLAIN (COSTS OFF) SELECT DISTINCT ON (host) * FROM m ORDER BY host, time DESC;
EXPLAIN (COSTS OFF) SELECT DISTINCT ON (w) * FROM m ORDER BY w, time DESC;
-- PostgreSQL 16 writes equalities the other way around.
CREATE FUNCTION plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		RETURN NEXT regexp_replace(line, '(m\.)?host = h\.host|h\.host = (m\.)?host', 'm.host = h.host');
	END LOOP;
END $$;
SELECT plan($$SELECT * FROM hosts h JOIN m ON m.host = h.host AND m.time BETWEEN h.start AND h.start + interval '1 hour' WHERE h.rack = 1$$);
DROP FUNCTION plan;

-- A limit and the latest rows read little.
CREATE FUNCTION blocks_read(query text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, FORMAT JSON) ' || query INTO plan;
	RETURN substring(plan::text FROM '"Blocks Read": ([0-9]+)');
END $$;
SELECT blocks_read('SELECT * FROM m WHERE time < ''2026-02-01'' ORDER BY time DESC LIMIT 1') * 2 < blocks_read('SELECT * FROM m WHERE time < ''2026-02-01''') AS few;

-- Generic plans, and cursors.
PREPARE p(timestamptz, text, int) AS SELECT time, n FROM m WHERE time >= $1 AND host = $2 ORDER BY time, n LIMIT $3;
PREPARE ph(timestamptz, text, int) AS SELECT time, n FROM h WHERE time >= $1 AND host = $2 ORDER BY time, n LIMIT $3;
SET plan_cache_mode = force_generic_plan;
EXECUTE p('2026-01-02', 'host_3', 2);
EXECUTE ph('2026-01-02', 'host_3', 2);
EXECUTE p('2026-01-03', 'host_4', 1);
EXECUTE ph('2026-01-03', 'host_4', 1);
EXECUTE p(NULL, 'host_4', 1);
RESET plan_cache_mode;
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT n, time FROM m WHERE w > 5 ORDER BY time DESC NULLS LAST;
MOVE FORWARD 3 FROM c;
MOVE FORWARD 2000 FROM c;
FETCH ABSOLUTE 3 FROM c \gset b_
FETCH ABSOLUTE 2003 FROM c \gset c_
FETCH RELATIVE -2000 FROM c \gset d_
SELECT :b_n = :d_n AS same;
COMMIT;

-- Rows that are hidden: equal answers, and EXPLAIN tells nothing.
ALTER TABLE m ENABLE ROW LEVEL SECURITY;
ALTER TABLE h ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON m USING (host <> 'host_2' AND w < 500);
CREATE POLICY visible ON h USING (host <> 'host_2' AND w < 500);
CREATE ROLE regress_metricsdb_ordered;
GRANT USAGE ON SCHEMA ordered TO regress_metricsdb_ordered;
GRANT SELECT ON ALL TABLES IN SCHEMA ordered TO regress_metricsdb_ordered;
-- PostgreSQL 18 counts rows with decimals, and buffers unasked.
CREATE FUNCTION told(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
		RETURN NEXT regexp_replace(line, 'rows=(\d+)\.00', 'rows=\1');
	END LOOP;
END $$;
SET ROLE regress_metricsdb_ordered;
SELECT * FROM differences(60);
SELECT told('SELECT host FROM m WHERE v > 1e12 ORDER BY time DESC LIMIT 1');
RESET ROLE;

-- Partitions.
CREATE TABLE pm (LIKE h) PARTITION BY RANGE (time);
CREATE TABLE pm1 PARTITION OF pm FOR VALUES FROM ('2026-01-01') TO ('2026-01-03') USING metricsdb;
CREATE TABLE pm2 (n int, w int, v float8, dc text, host text, time timestamptz) USING metricsdb;
ALTER TABLE pm ATTACH PARTITION pm2 FOR VALUES FROM ('2026-01-03') TO ('2026-01-06');
CREATE TABLE pm0 PARTITION OF pm DEFAULT USING heap;
INSERT INTO pm SELECT * FROM h;
ANALYZE pm;
EXPLAIN (COSTS OFF) SELECT * FROM pm WHERE time >= '2026-01-02' AND time < '2026-01-05' ORDER BY time LIMIT 5;
SELECT answer('SELECT time FROM pm ORDER BY time DESC LIMIT 900') = answer('SELECT time FROM h ORDER BY time DESC LIMIT 900') AS equal;
SELECT answer('SELECT DISTINCT ON (host) host, time FROM pm ORDER BY host, time DESC') = answer('SELECT DISTINCT ON (host) host, time FROM h ORDER BY host, time DESC') AS equal;
SELECT answer('SELECT DISTINCT ON (host) host, time FROM pm WHERE time < ''infinity'' AND v > 50 ORDER BY host, time') = answer('SELECT DISTINCT ON (host) host, time FROM h WHERE time < ''infinity'' AND v > 50 ORDER BY host, time') AS equal;

\set ECHO none
SET client_min_messages = warning;
DROP SCHEMA ordered CASCADE;
DROP ROLE regress_metricsdb_ordered;
