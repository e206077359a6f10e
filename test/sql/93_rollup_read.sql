-- needs: preload
-- What continuous aggregates have taken and what not: is_pending(), is_clean(), by themselves and in views.
-- The catalogs and the states are written by hand here, at random, so that nothing depends on who applies them.
\set VERBOSITY terse
CREATE SCHEMA rr;
SET search_path = rr, public;
SET timezone = 'UTC';
SET metricsdb.direct_rows = 20;
SET max_parallel_workers_per_gather = 0;

CREATE TABLE raw (time timestamptz NOT NULL, host text, v float8, n int) USING metricsdb;
-- The same rows, and in which part they are; 0 is the delta.
CREATE TABLE copy (part int, time timestamptz NOT NULL, host text, v float8, n int) USING heap;
CREATE MATERIALIZED VIEW hourly WITH (metricsdb.continuous) AS
	SELECT metricsdb.time_bucket('1 hour', time) AS bucket, host, count(*), sum(v), avg(n), max(v), metricsdb.last(n, time), stddev(n)
	FROM raw GROUP BY 1, 2;
CREATE MATERIALIZED VIEW daily WITH (metricsdb.continuous) AS
	SELECT metricsdb.time_bucket('1 day', time) AS bucket, host, count(*), sum(v), avg(n), max(v), metricsdb.last(n, time), stddev(n)
	FROM raw GROUP BY 1, 2;
SELECT aggregate::regclass, view::regclass, source::regclass, parent::regclass FROM metricsdb.continuous_aggregate WHERE raw = 'raw'::regclass ORDER BY 1;

CREATE FUNCTION us(t timestamptz) RETURNS int8 LANGUAGE sql STABLE AS $$ SELECT (extract(epoch FROM t) * 1000000)::int8 - 946684800000000 $$;
-- Rows of a day as one part, of times that no other row of its host has.
CREATE FUNCTION fill(p int, day date, first_hour int, hours int, hosts int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO copy SELECT p, day + first_hour * interval '1 hour' + i * interval '5 minutes' + p * interval '1 second', 'h' || h, (i * 7 + h) % 31, CASE WHEN i % 9 > 0 THEN i * h END
		FROM generate_series(0, hours * 12 - 1) i, generate_series(1, hosts) h;
	INSERT INTO raw SELECT time, host, v, n FROM copy WHERE part = p;
END $$;
SELECT fill(1, '2024-01-01', 0, 12, 3), fill(2, '2024-01-01', 8, 14, 2), fill(3, '2024-01-02', 0, 24, 4), fill(4, '2024-01-02', 20, 3, 1), fill(5, '2024-01-03', 2, 20, 3), fill(6, '2024-01-03', 3, 1, 5);
-- Many rows of many hosts make blocks across series, and blocks of one.
SELECT fill(7, '2024-01-04', 0, 2, 100), fill(8, '2024-01-05', 0, 24, 8);
INSERT INTO copy VALUES (0, '2024-01-02 05:30', 'h1', 3, 5), (0, '2024-01-03 05:30', 'late', 4, NULL), (0, '2024-01-09 05:30', 'h2', 5, 6);
INSERT INTO raw SELECT time, host, v, n FROM copy WHERE part = 0;
SELECT part_id, nrows, (SELECT count(*) FROM copy WHERE part = part_id) AS rows_of_copy
	FROM metricsdb.part JOIN metricsdb.storage USING (storage_id) WHERE relid = 'raw'::regclass ORDER BY 1;

-- Chosen intervals of parts that are pending, and times that are dirty.
CREATE TABLE pend (part int, t_from timestamptz, t_to timestamptz);
CREATE TABLE dirt (t_from timestamptz, t_to timestamptz);
CREATE TABLE dirty_hours (h timestamptz) USING heap;
CREATE TABLE want (time timestamptz, host text, v float8, n int) USING heap;
CREATE VIEW got AS SELECT * FROM raw WHERE metricsdb.is_pending('hourly_states', time);
CREATE TABLE want_hourly USING heap AS SELECT metricsdb.time_bucket('1 hour', time) AS bucket, host, count(*), sum(v), avg(n), max(v), metricsdb.last(n, time), stddev(n) FROM copy GROUP BY 1, 2;
CREATE TABLE want_daily USING heap AS SELECT metricsdb.time_bucket('1 day', time) AS bucket, host, count(*), sum(v), avg(n), max(v), metricsdb.last(n, time), stddev(n) FROM copy GROUP BY 1, 2;

-- What the days have taken of the hours.
CREATE VIEW taken AS SELECT * FROM hourly_states WHERE NOT (bucket >= '2024-01-02 09:00' AND bucket < '2024-01-04 01:00');

-- The catalogs and the states say so.  What the states have of dirty hours is wrong.
CREATE FUNCTION apply() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	storage int8;
BEGIN
	DELETE FROM dirty_hours;
	INSERT INTO dirty_hours SELECT h FROM generate_series(timestamptz '2024-01-01', '2024-01-10', '1 hour') h WHERE EXISTS (SELECT FROM dirt WHERE t_from < h + interval '1 hour' AND t_to > h);
	DELETE FROM want;
	INSERT INTO want SELECT time, host, v, n FROM copy c WHERE part = 0 OR EXISTS (SELECT FROM pend p WHERE p.part = c.part AND time >= t_from AND time < t_to)
		OR metricsdb.time_bucket('1 hour', time) IN (SELECT h FROM dirty_hours);
	DELETE FROM metricsdb.pending WHERE aggregate IN ('hourly_states'::regclass, 'daily_states'::regclass);
	SELECT storage_id INTO storage FROM metricsdb.storage WHERE relid = 'raw'::regclass;
	INSERT INTO metricsdb.pending SELECT storage, part, 'hourly_states'::regclass, CASE WHEN t_from = '-infinity' THEN -9223372036854775808 ELSE us(t_from) END,
		CASE WHEN t_to = 'infinity' THEN 9223372036854775807 ELSE us(t_to) END, false FROM pend;
	DELETE FROM hourly_states;
	DELETE FROM daily_states;
	EXECUTE $e$INSERT INTO hourly_states SELECT metricsdb.time_bucket('1 hour', time), host, count(*), sum(v) + CASE WHEN min(h) IS NULL THEN 0 ELSE 1000 END, sum(n), count(n), max(v), metricsdb.last(n, time), max(time), sum(n::numeric * n)
		FROM copy c LEFT JOIN dirty_hours ON metricsdb.time_bucket('1 hour', time) = h
		WHERE part > 0 AND NOT EXISTS (SELECT FROM pend p WHERE p.part = c.part AND time >= t_from AND time < t_to) GROUP BY 1, 2, part$e$;
	UPDATE metricsdb.pending SET time_from = us('2024-01-02 09:00'), time_to = us('2024-01-04 01:00') WHERE aggregate = 'daily_states'::regclass;
	EXECUTE $e$INSERT INTO daily_states SELECT metricsdb.time_bucket('1 day', bucket), host, sum(count), sum(sum_v), sum(sum_n)::int8, sum(count_n), max(max_v), metricsdb.last(last_n_time, max_time), max(max_time), sum(sum_n_n) FROM taken GROUP BY 1, 2$e$;
	DELETE FROM metricsdb.dirty WHERE aggregate IN ('hourly_states'::regclass, 'daily_states'::regclass);
	INSERT INTO metricsdb.dirty SELECT 'hourly_states'::regclass, us(t_from), us(t_to), false FROM dirt;
	-- Flagged: nobody is to look at it.
	INSERT INTO metricsdb.dirty SELECT 'hourly_states'::regclass, us('2024-01-05 10:00'), us('2024-01-05 11:00'), true;
END $$;

-- Queries of what is pending; @ is the table.
CREATE TABLE queries (q text);
INSERT INTO queries VALUES
	('SELECT * FROM @'), ('SELECT count(*), min(time), max(time), sum(n), min(v), metricsdb.first(n, time), metricsdb.last(v, time) FROM @'),
	('SELECT host, count(*), sum(v), max(n), avg(n) FROM @ GROUP BY host'),
	('SELECT metricsdb.time_bucket(''1 hour'', time) AS b, host, count(n), sum(n), metricsdb.last(n, time) FROM @ GROUP BY 1, 2'),
	('SELECT metricsdb.time_bucket(''1 day'', time) AS b, count(*), stddev(n), sum(n::numeric) FROM @ WHERE host IN (''h1'', ''h3'') GROUP BY 1'),
	('SELECT date_trunc(''hour'', time) AS b, count(*) FILTER (WHERE n > 40), sum(v) FROM @ WHERE time >= ''2024-01-02 04:30'' AND time < ''2024-01-03 06:10'' GROUP BY 1'),
	('SELECT * FROM @ WHERE v > 20 AND n IS NOT NULL AND host <> ''h2'''), ('SELECT host, n FROM @ WHERE time BETWEEN ''2024-01-01 09:00'' AND ''2024-01-01 12:30'' AND host LIKE ''h%'''),
	('SELECT time, host, n FROM @ ORDER BY time DESC, host LIMIT 7'), ('SELECT time, host FROM @ WHERE n > 10 ORDER BY time, host LIMIT 40 OFFSET 5'), ('SELECT time, host, v FROM @ ORDER BY time, host'),
	('SELECT DISTINCT ON (host) host, time, n FROM @ ORDER BY host, time DESC'), ('SELECT DISTINCT ON (host) host, time, v FROM @ WHERE v < 9 ORDER BY host, time'),
	('SELECT host, metricsdb.rate(time, v), metricsdb.delta(time, v), metricsdb.changes(time, v) FROM @ GROUP BY host'),
	('SELECT metricsdb.time_bucket(''3 hours'', time) AS b, host, metricsdb.increase(time, v), metricsdb.percentile_agg(v)::text FROM @ GROUP BY 1, 2'),
	('SELECT metricsdb.time_bucket(''2 hours'', time) AS b, sum(n) FROM @ GROUP BY 1 ORDER BY 1 DESC LIMIT 3'), ('SELECT metricsdb.time_bucket(''30 minutes'', time) AS b, host, min(n) FROM @ GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 5'),
	('SELECT metricsdb.time_bucket_gapfill(''6 hours'', time, start => ''2024-01-01'', finish => ''2024-01-06'') AS b, host, metricsdb.locf(sum(n)) FROM @ WHERE host IN (''h1'', ''late'') GROUP BY 1, 2'),
	('SELECT e.name, t.* FROM (VALUES (''a'', timestamptz ''2024-01-01 10:00'', ''h1''), (''b'', ''2024-01-03 05:00'', ''late''), (''c'', ''2024-01-05 11:00'', ''h2'')) e(name, at, of) JOIN @ t ON t.host = e.of AND t.time BETWEEN e.at AND e.at + interval ''40 minutes'''),
	('SELECT e.at, x.n FROM generate_series(timestamptz ''2024-01-01'', ''2024-01-06'', ''7 hours'') e(at), LATERAL (SELECT count(*) AS n FROM @ t WHERE t.time >= e.at AND t.time < e.at + interval ''7 hours'') x'),
	('SELECT a.time, count(*) FROM @ a JOIN @ b ON a.time = b.time AND a.host < b.host GROUP BY 1'), ('SELECT * FROM @ WHERE time IN (SELECT max(time) FROM @ GROUP BY host)'),
	('SELECT metricsdb.time_bucket(''1 day'', time) AS b, count(*) FROM @ WHERE metricsdb.time_bucket(''1 hour'', time) >= ''2024-01-02 13:00'' AND date_trunc(''day'', time) < ''2024-01-05'' GROUP BY 1'),
	('SELECT count(*) FROM @ WHERE n % 2 = 1 AND random() >= 0'), ('SELECT host FROM @ UNION SELECT ''x''');
CREATE FUNCTION settings(i int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('metricsdb.enable_vector_agg', CASE WHEN i = 2 THEN 'off' ELSE 'on' END, true), set_config('metricsdb.enable_custom_scan', CASE WHEN i = 3 THEN 'off' ELSE 'on' END, true),
		set_config('max_parallel_workers_per_gather', CASE WHEN i IN (4, 5) THEN '2' ELSE '0' END, true), set_config('enable_hashjoin', CASE WHEN i IN (1, 5) THEN 'off' ELSE 'on' END, true),
		set_config('parallel_leader_participation', CASE WHEN i = 5 THEN 'off' ELSE 'on' END, true), set_config('cpu_operator_cost', CASE WHEN i IN (4, 5) THEN '10' ELSE '0.0025' END, true),
		set_config('work_mem', CASE WHEN i = 6 THEN '64kB' ELSE '4MB' END, true);
END $$;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
CREATE FUNCTION answer(q text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE a text;
BEGIN
	EXECUTE 'SELECT count(*) || '' '' || md5(string_agg(x::text, ''|'' ORDER BY x::text)) FROM (' || q || ') x' INTO a;
	RETURN a;
END $$;
-- Of all queries those whose answer is another than that of the copy, under some settings; and how many were compared.
CREATE FUNCTION differ(settings int[], OUT compared int, OUT wrong text[]) LANGUAGE plpgsql AS $$
DECLARE
	r record; a text; b text; s int;
BEGIN
	compared := 0;
	FOR r IN SELECT replace(q, '@', 'got') AS got, replace(q, '@', 'want') AS want FROM queries
		UNION ALL SELECT 'SELECT * FROM ' || v || c, 'SELECT * FROM want_' || v || c FROM unnest('{hourly,daily}'::text[]) v, unnest(ARRAY['', ' WHERE bucket >= ''2024-01-02 07:00'' AND host <> ''h3''', ' WHERE bucket = ''2024-01-03''', ' WHERE host = ''h1'' ORDER BY bucket DESC LIMIT 3']) c
	LOOP
		PERFORM settings(0);
		b := answer(r.want);
		FOREACH s IN ARRAY settings LOOP
			PERFORM settings(s);
			a := answer(r.got);
			compared := compared + 1;
			IF a IS DISTINCT FROM b THEN wrong := wrong || format('%s: %s, %s; %s', s, a, b, r.got); END IF;
		END LOOP;
	END LOOP;
	PERFORM settings(0);
END $$;
-- Everything is pending; nothing is; some of it, with something dirty.
INSERT INTO pend SELECT p, '-infinity', 'infinity' FROM generate_series(1, 8) p;
SELECT apply();
SELECT * FROM differ('{1,2,3,6}');
TRUNCATE pend;
SELECT apply();
SELECT * FROM differ('{1,2,3,6}');
INSERT INTO pend VALUES (2, '2024-01-01 15:07', 'infinity'), (3, '-infinity', '2024-01-02 06:00'), (5, '2024-01-03 07:00', '2024-01-03 07:20'), (7, '-infinity', 'infinity'), (8, '2024-01-04', '2024-01-05');
INSERT INTO dirt VALUES ('2024-01-01 10:59', '2024-01-01 11:01'), ('2024-01-02 23:00', '2024-01-03 00:00'), ('2024-01-05 10:00', '2024-01-05 10:00:01'), ('2024-01-08', '2024-01-08 01:00');
SELECT apply();
SELECT * FROM differ('{1,2,3,4,5,6}');
-- At random.
CREATE FUNCTION throw_dice() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM pend;
	DELETE FROM dirt;
	INSERT INTO pend SELECT part, CASE WHEN random() < 0.3 THEN '-infinity' ELSE a END, CASE WHEN random() < 0.3 THEN 'infinity' ELSE a + random() * interval '12 hours' END
		FROM (SELECT part, min(time) - interval '1 hour' + random() * (max(time) - min(time) + interval '2 hours') AS a FROM copy WHERE part > 0 GROUP BY 1) x WHERE random() < 0.7;
	INSERT INTO dirt SELECT a, a + random() * interval '3 hours' FROM (SELECT timestamptz '2024-01-01' + random() * interval '5 days' AS a FROM generate_series(1, (random() * 12)::int)) x;
END $$;
SELECT setseed(0.25);
SELECT i, d.* FROM generate_series(1, 8) i, LATERAL (SELECT throw_dice() IS NULL AS a, apply() IS NULL AS b WHERE i > 0) x, LATERAL differ(CASE WHEN x.a IS NULL OR x.b IS NULL THEN '{}'::int[] ELSE '{1,2,3,6}' END) d;

-- What EXPLAIN tells.
DELETE FROM pend;
DELETE FROM dirt;
INSERT INTO pend VALUES (2, '2024-01-01 15:07', 'infinity'), (7, '-infinity', 'infinity'), (8, '2024-01-04', '2024-01-05');
INSERT INTO dirt VALUES ('2024-01-02 22:59', '2024-01-02 23:01');
SELECT apply();
CREATE FUNCTION told(q text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) ' || q LOOP
		IF line ~ 'Custom Scan|Seq Scan|Rollup|Parts|Blocks|Order' THEN RETURN NEXT regexp_replace(line, ' \(actual.*\)', ''); END IF;
	END LOOP;
END $$;
SELECT told('SELECT * FROM raw WHERE metricsdb.is_pending(''hourly_states'', time)');
SELECT told('SELECT host, count(*) FROM raw WHERE metricsdb.is_pending(''hourly_states'', time) AND time >= ''2024-01-02'' GROUP BY 1');
SELECT told('SELECT * FROM raw WHERE metricsdb.is_pending(''hourly_states'', time) ORDER BY time DESC LIMIT 1');
-- PostgreSQL 18 counts rows with decimals, and tells of what settings disable.
CREATE FUNCTION all_told(options text, q text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE format('EXPLAIN (COSTS OFF, %s) %s', options, q) LOOP
		IF line !~ '^ *Disabled: true' THEN RETURN NEXT regexp_replace(line, 'rows=(\d+)\.00', 'rows=\1'); END IF;
	END LOOP;
END $$;
-- Neither settings nor cheaper plans keep ours away.
SET metricsdb.enable_custom_scan = off;
SET enable_seqscan = off;
CREATE INDEX ON raw (n);
SELECT all_told('VERBOSE OFF', 'SELECT count(*) FROM raw WHERE metricsdb.is_pending(''hourly_states'', time) AND n = 5');
RESET enable_seqscan;
RESET metricsdb.enable_custom_scan;
SELECT count(*) FROM raw WHERE metricsdb.is_pending('hourly_states', time) AND n = 5;
SELECT count(*) FROM want WHERE n = 5;
EXPLAIN (COSTS OFF) SELECT bucket FROM hourly_states WHERE metricsdb.is_clean('hourly_states', bucket);
EXPLAIN (COSTS OFF) SELECT host, sum(count) FROM hourly_states WHERE metricsdb.is_clean('hourly_states', bucket) GROUP BY host;
SELECT count(*) FILTER (WHERE metricsdb.is_clean('hourly_states', bucket)) AS clean, count(*) FILTER (WHERE NOT metricsdb.is_clean('hourly_states', bucket)) AS dirty FROM hourly_states;
SELECT count(*) AS clean FROM hourly_states WHERE metricsdb.is_clean('hourly_states', bucket);
-- Whole rows and system columns are there, too.
SELECT tableoid::regclass, xmin::text::int8 > 0 AS xmin, ctid IS NOT NULL AS ctid, raw FROM raw WHERE metricsdb.is_pending('hourly_states', time) AND host = 'late';
-- A plan that was made before, cursors in both directions, and a snapshot that is older than what was applied since.
PREPARE pending AS SELECT count(*) FROM raw WHERE metricsdb.is_pending('hourly_states', time);
EXECUTE pending;
BEGIN;
DECLARE before CURSOR FOR SELECT count(*), (SELECT sum(count) FROM hourly) FROM raw WHERE metricsdb.is_pending('hourly_states', time);
DECLARE back SCROLL CURSOR FOR SELECT time, host FROM raw WHERE metricsdb.is_pending('hourly_states', time) AND host IN ('h1', 'late') AND time < '2024-01-04';
FETCH 2 FROM back;
DELETE FROM pend WHERE part = 7;
SELECT apply();
EXECUTE pending;
SELECT (SELECT count(*) FROM want) AS want, (SELECT sum(count) FROM hourly) AS of_hours;
FETCH before;
MOVE FORWARD ALL FROM back;
FETCH BACKWARD 2 FROM back;
SAVEPOINT a;
UPDATE metricsdb.dirty SET flagged = true;
SELECT count(*) FROM hourly_states WHERE metricsdb.is_clean('hourly_states', bucket) IS FALSE;
ROLLBACK TO a;
SELECT count(*) FROM hourly_states WHERE metricsdb.is_clean('hourly_states', bucket) IS FALSE;
COMMIT;
-- PL/pgSQL keeps calls: each sees what the catalogs say by then.
DO $$
DECLARE t timestamptz := '2024-01-02 23:00';
BEGIN
	FOR i IN 1 .. 3 LOOP
		RAISE NOTICE 'clean: %, %', metricsdb.is_clean('hourly_states', t), metricsdb.is_clean('daily_states', t::date::timestamptz);
		UPDATE metricsdb.dirty SET flagged = NOT flagged WHERE aggregate = 'hourly_states'::regclass;
	END LOOP;
END $$;
UPDATE metricsdb.dirty SET flagged = time_from <> us('2024-01-02 22:59') WHERE aggregate = 'hourly_states'::regclass;
-- Of states that nothing is known of all buckets are clean, and nothing is pending; NULL is no dirty bucket.
CREATE TABLE unknown (bucket timestamptz, n int) USING metricsdb;
SELECT count(*) FROM raw WHERE metricsdb.is_pending('unknown', time);
SELECT metricsdb.is_pending('unknown', now()), metricsdb.is_clean('unknown', now()), metricsdb.is_clean('hourly_states', NULL::timestamptz);
-- Bounds without an end: all buckets, or all from some on.
BEGIN;
INSERT INTO metricsdb.dirty VALUES ('hourly_states'::regclass, us('2024-01-03 05:30'), 9223372036854775807, false);
SELECT count(*) FROM hourly_states WHERE metricsdb.is_clean('hourly_states', bucket);
SELECT count(*) FROM hourly_states WHERE bucket < '2024-01-03 05:00' AND bucket NOT IN (SELECT h FROM dirty_hours);
SELECT count(*) AS pending, (SELECT count(*) FROM copy WHERE time >= '2024-01-03 05:00') AS of FROM raw WHERE metricsdb.is_pending('hourly_states', time) AND time >= '2024-01-03 05:00';
INSERT INTO metricsdb.dirty VALUES ('hourly_states'::regclass, -9223372036854775808, 9223372036854775807, false);
SELECT count(*) FROM daily_states WHERE metricsdb.is_clean('daily_states', bucket);
SELECT metricsdb.is_clean('daily_states', timestamptz 'infinity'), metricsdb.is_clean('daily_states', timestamptz '-infinity');
SELECT count(*) AS pending, (SELECT count(*) FROM copy) AS of FROM raw WHERE metricsdb.is_pending('hourly_states', time);
ROLLBACK;
-- Buckets of months, of a zone's days where clocks change, of other origins: one time that is dirty, and all of its bucket is read.
CREATE TABLE clocks (time timestamptz NOT NULL, n int) USING metricsdb;
INSERT INTO clocks SELECT timestamptz '2023-12-31' + i * interval '50 minutes', i FROM generate_series(0, 11000) i;
CREATE FUNCTION widened(bucket text, OUT wrong text[], OUT clean int) LANGUAGE plpgsql AS $$
DECLARE d timestamptz; got text; want text; c int;
BEGIN
	EXECUTE 'CREATE MATERIALIZED VIEW w WITH (metricsdb.continuous, metricsdb.stack = off) AS SELECT ' || bucket || ' AS bucket, count(*) FROM clocks GROUP BY 1';
	DELETE FROM metricsdb.pending WHERE aggregate = 'w_states'::regclass;
	EXECUTE 'INSERT INTO w_states SELECT ' || bucket || ', count(*) FROM clocks GROUP BY 1';
	FOREACH d IN ARRAY '{2024-01-01Z,2024-02-29 23:59:59.999999Z,2024-03-31 00:30Z,2024-03-31 22:30Z,2024-07-07 12:00Z,2024-10-26 22:00Z,2024-10-27 00:30Z,2024-10-27 22:59Z,2024-12-31 23:30Z}'::timestamptz[] LOOP
		DELETE FROM metricsdb.dirty WHERE aggregate = 'w_states'::regclass;
		INSERT INTO metricsdb.dirty VALUES ('w_states'::regclass, us(d), us(d) + 1, false);
		EXECUTE 'SELECT count(*) || '' '' || coalesce(sum(n), 0) FROM clocks WHERE metricsdb.is_pending(''w_states'', time)' INTO got;
		EXECUTE 'SELECT count(*) || '' '' || coalesce(sum(n), 0) FROM (SELECT *, ' || bucket || ' AS b FROM clocks) x WHERE b = (SELECT ' || bucket || ' FROM (SELECT $1 AS time) y)' INTO want USING d;
		IF got <> want THEN wrong := wrong || format('%s: %s, not %s', d, got, want); END IF;
		EXECUTE 'SELECT count(*) FROM w_states WHERE NOT metricsdb.is_clean(''w_states'', bucket)' INTO c;
		clean := coalesce(clean, 0) + 1 - c;
	END LOOP;
	DROP VIEW w;
END $$;
SELECT bucket, w.wrong, w.clean AS none FROM unnest(ARRAY['metricsdb.time_bucket(''1 month'', time)', 'metricsdb.time_bucket(''3 months'', time, timestamptz ''2000-02-01'')', 'metricsdb.time_bucket(''1 day'', time, ''Europe/Berlin'')',
	'metricsdb.time_bucket(''1 hour'', time, ''America/New_York'')', 'metricsdb.time_bucket(''1 week'', time, ''Europe/Berlin'')', 'metricsdb.time_bucket(''1 month'', time, ''America/New_York'')', 'date_trunc(''quarter'', time, ''Europe/Berlin'')',
	'date_trunc(''hour'', time, ''Australia/Lord_Howe'')', 'date_trunc(''year'', time, ''UTC'')', 'date_bin(''5 hours'', time, ''2001-01-01 02:30Z'')', 'metricsdb.time_bucket(''36 hours'', time, interval ''5 hours'')']) bucket, LATERAL widened(bucket) w;
-- Refused.
SELECT metricsdb.is_pending('hourly_states', now());
SELECT count(*) FROM raw WHERE metricsdb.is_pending('hourly_states', time) OR host = 'h1';
SELECT count(*) FROM raw WHERE metricsdb.is_pending('hourly_states', time + interval '1 hour');
SELECT count(*) FROM copy WHERE metricsdb.is_pending('hourly_states', time);
SELECT count(*) FROM raw WHERE metricsdb.is_pending('daily_states', time);
SELECT * FROM raw WHERE metricsdb.is_pending('hourly_states', time) FOR UPDATE;
UPDATE raw SET n = 1 WHERE metricsdb.is_pending('hourly_states', time);
SELECT * FROM raw TABLESAMPLE system (10) WHERE metricsdb.is_pending('hourly_states', time);
SELECT metricsdb.is_clean('hourly_states', 'now'::text);
-- Who must not see rows does not learn from it what was pruned.
CREATE ROLE rollup_reader;
GRANT USAGE ON SCHEMA rr TO rollup_reader;
GRANT SELECT ON raw TO rollup_reader;
ALTER TABLE raw ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON raw FOR SELECT TO rollup_reader USING (host = 'h2');
SET ROLE rollup_reader;
SELECT host, count(*) FROM raw WHERE metricsdb.is_pending('hourly_states', time) GROUP BY 1;
SELECT all_told('ANALYZE, TIMING OFF, SUMMARY OFF, BUFFERS OFF', 'SELECT count(*) FROM raw WHERE metricsdb.is_pending(''hourly_states'', time)');
RESET ROLE;
SELECT host, count(*) FROM want WHERE host = 'h2' GROUP BY 1;

SET client_min_messages = warning;
DROP SCHEMA rr CASCADE;
DROP ROLE rollup_reader;
