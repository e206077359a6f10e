-- MetricsAgg: times at the ends of what there is, and buckets that are moved by months.
\set ECHO queries
CREATE SCHEMA agg_times;
SET search_path = agg_times, public;
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

-- Times at both ends of the range, and beyond, among others; in parts across series and in such of one each.
CREATE TABLE times_h (time timestamptz, host text, many int, n int);
INSERT INTO times_h SELECT CASE i % 5 WHEN 0 THEN timestamptz '294276-12-31 23:59:59.999999+00' - (i + i % 7) * interval '40 s'
		WHEN 1 THEN timestamptz '4713-01-01 00:00+00 BC' + (i + i % 7) * interval '40 s' WHEN 2 THEN timestamptz '2026-03-28 00:00+00' + (i + i % 7) * interval '30 s'
		WHEN 3 THEN timestamptz '2026-11-01 00:00+00' + (i + i % 7) * interval '5 s'
		ELSE (ARRAY['infinity', '-infinity', NULL, '294276-07-01 03:00+00', '0001-01-01 BC', '1883-11-18 12:00+00', '2500-11-01 06:30+00', '294276-12-31 23:59:59.999999+00']::timestamptz[])[1 + i / 5 % 8] END, 'host_' || i % 2, i % 499, i FROM generate_series(1, 6000) i;
CREATE TABLE times_mixed (LIKE times_h) USING metricsdb;
SELECT metricsdb.set_options('times_mixed', "time" => 'time', series => '{many}');
INSERT INTO times_mixed SELECT * FROM times_h;
CREATE TABLE times_own (LIKE times_h) USING metricsdb;
SELECT metricsdb.set_options('times_own', "time" => 'time', series => '{host}');
INSERT INTO times_own SELECT * FROM times_h;
CALL metricsdb.compact('times_own');
CREATE TABLE steps_h AS SELECT timestamptz '294276-12-31 23:59+00' - i * interval '1 minute' AS time, 'a' AS host, i AS n FROM generate_series(0, 2800) i;
CREATE TABLE times_steps (LIKE steps_h) USING metricsdb;
SELECT metricsdb.set_options('times_steps', "time" => 'time', series => '{host}');
INSERT INTO times_steps SELECT * FROM steps_h;
CALL metricsdb.compact('times_steps');
ANALYZE times_h, times_mixed, times_own, steps_h, times_steps;

ALTER TABLE times_steps ALTER time SET NOT NULL;
CREATE TABLE of_time AS SELECT * FROM unnest('{
	"date_trunc(''day'', time)", "date_trunc(''hour'', time)", "date_trunc(''month'', time)", "date_trunc(''week'', time)", "date_trunc(''minute'', time)",
	"date_trunc(''day'', time, ''America/New_York'')", "date_trunc(''day'', time AT TIME ZONE ''Europe/Berlin'')", "time::date", "(time AT TIME ZONE ''America/New_York'')::date",
	"extract(hour FROM time)", "extract(dow FROM time)", "extract(year FROM time)", "date_part(''day'', time)", "extract(month FROM time AT TIME ZONE ''Asia/Kolkata'')",
	"metricsdb.time_bucket(''1 hour'', time)", "metricsdb.time_bucket(''1 day'', time)", "metricsdb.time_bucket(''1 month'', time)", "metricsdb.time_bucket(''100000 years'', time)",
	"metricsdb.time_bucket(''100000000 days'', time)", "metricsdb.time_bucket(''2147483647 days'', time)",
	"metricsdb.time_bucket(''1 day'', time, ''America/New_York'')", "metricsdb.time_bucket(''1 day'', time, ''Europe/Berlin'', ''2026-01-01'', ''3 hours'')",
	"metricsdb.time_bucket(''1 day'', time, timestamptz ''294276-12-31'')", "metricsdb.time_bucket(''1 day'', time, interval ''100000000 days'')", "metricsdb.time_bucket(''10 days'', time, interval ''2 days'')", "metricsdb.time_bucket(''1 month'', time, interval ''-5 days'')",
	"date_bin(''15 minutes'', time, ''2000-01-01'')", "date_bin(''1 day'', time, ''4713-01-02 BC'')", "date_bin(''1000000 days'', time, ''294276-12-30'')",
	"floor(extract(epoch FROM time) / 3600)", "time"}'::text[]) WITH ORDINALITY e (expr, n);
CREATE TABLE limits (bounds text, n int);
INSERT INTO limits VALUES ('true', 1), ('time < ''infinity'' AND time > ''-infinity''', 2), ('time BETWEEN ''0001-01-01'' AND ''294276-10-01''', 3), ('time > ''294276-06-01''', 4);
CREATE FUNCTION ends(zone text) RETURNS TABLE (expressions bigint, of_which_agg bigint, different text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('TimeZone', zone, true);
	RETURN QUERY WITH q AS MATERIALIZED (SELECT format('SELECT %s AS k, count(*), sum(n), min(time) FROM T WHERE %s GROUP BY 1', expr, bounds) AS q FROM of_time, limits)
		SELECT count(*), count(*) FILTER (WHERE uses_agg(q, 'times_own') AND uses_agg(q, 'times_mixed')), (SELECT string_agg(d, E'\n') FROM q, different(q, 'times_h', 'times_mixed', 'times_own') d) FROM q;
	RETURN QUERY WITH q AS MATERIALIZED (SELECT format('SELECT %s AS k, count(*), sum(n) FROM T GROUP BY 1', expr) AS q FROM of_time)
		SELECT count(*), count(*) FILTER (WHERE uses_agg(q, 'times_steps')), (SELECT string_agg(d, E'\n') FROM q, different(q, 'steps_h', 'times_steps') d) FROM q;
	RETURN QUERY WITH q AS MATERIALIZED (SELECT format('SELECT %s AS k, count(*), sum(n) FROM T GROUP BY 1 ORDER BY 1 %s LIMIT 2', expr, o) AS q FROM of_time, unnest('{ASC,DESC}'::text[]) o)
		SELECT count(*), count(*) FILTER (WHERE uses_agg(q, 'times_steps')), (SELECT string_agg(d, E'\n') FROM q, different(q, 'steps_h', 'times_steps') d) FROM q;
END $$;
SELECT z, e.* FROM unnest('{UTC,America/New_York,Europe/Berlin,Australia/Lord_Howe,Asia/Kolkata,<+14>-14}'::text[]) z, ends(z) e;

-- Buckets that are moved by months are not in order of time.
CREATE TABLE moved_h AS SELECT timestamptz '2025-12-01 00:00+00' + i * interval '7 hours' AS time, 'host_' || i % 2 AS host, i AS n FROM generate_series(1, 1500) i;
CREATE TABLE moved (LIKE moved_h) USING metricsdb;
SELECT metricsdb.set_options('moved', "time" => 'time', series => '{host}');
INSERT INTO moved SELECT * FROM moved_h;
CALL metricsdb.compact('moved');
ALTER TABLE moved ALTER time SET NOT NULL;
ANALYZE moved, moved_h;
SET timezone = 'UTC';
SELECT o, w, (SELECT string_agg(d, E'\n') FROM different(format('SELECT metricsdb.time_bucket(%L, time, interval %L), count(*), sum(n) FROM T GROUP BY 1', w, o), 'moved_h', 'moved') d) AS all,
	(SELECT string_agg(d, E'\n') FROM different(format('SELECT metricsdb.time_bucket(%L, time, interval %L), count(*), sum(n) FROM T GROUP BY 1 ORDER BY 1 DESC LIMIT 7', w, o), 'moved_h', 'moved') d) AS last
	FROM unnest('{1 month,-1 month,1 month 3 days,3 days,-5 hours,1 year}'::text[]) o, unnest('{1 day,3 days,1 month,1 hour}'::text[]) w;
SELECT string_agg(d, E'\n') FROM different('SELECT metricsdb.time_bucket(''1 day'', time, ''Europe/Berlin'', NULL, ''1 month''), count(*) FROM T GROUP BY 1', 'moved_h', 'moved') d;
EXPLAIN (COSTS OFF) SELECT metricsdb.time_bucket('1 hour', time, interval '2 days') AS b, count(*) FROM moved GROUP BY 1 ORDER BY 1 LIMIT 3;
EXPLAIN (COSTS OFF) SELECT metricsdb.time_bucket('1 hour', time, interval '1 month') AS b, count(*) FROM moved GROUP BY 1 ORDER BY 1 LIMIT 3;

SET client_min_messages = warning;
DROP SCHEMA agg_times CASCADE;
