-- time_bucket in all its forms: months, origins, offsets, zones whose clocks change, infinities, errors.
\set ECHO queries
CREATE SCHEMA buckets;
SET search_path = buckets, public, metricsdb;
SET timezone = 'UTC';
SET max_parallel_workers_per_gather = 0;

SELECT pg_get_function_arguments(oid) AS arguments, prorettype::regtype, provolatile, proisstrict FROM pg_proc WHERE proname = 'time_bucket' ORDER BY 1;

-- Weeks from Monday, days, hours; before 2000, too
SELECT w, time_bucket(w::interval, timestamptz '2026-02-28 12:34:56.789') AS b, time_bucket(w::interval, timestamp '1999-12-31 23:58') AS before
FROM unnest('{1 us,100 ms,7 s,5 min,1 hour,36 hours,1 day,1 week,10 days,1 day -1 hour}'::text[]) w;
SELECT w, time_bucket(w::interval, date '2026-02-28') AS b, time_bucket(w::interval, date '1999-12-31') AS before FROM unnest('{1 day,1 week,24 hours,10 days}'::text[]) w;
-- Months, quarters, years; from the month that an origin lies in
SELECT w, time_bucket(w::interval, timestamptz '2026-02-28 12:34') AS b, time_bucket(w::interval, timestamp '1999-12-31 23:58') AS before,
	time_bucket(w::interval, date '2026-02-28') AS d, time_bucket(w::interval, timestamptz '2026-02-28 12:34', timestamptz '2001-06-15 09:00') AS from_june,
	time_bucket(w::interval, timestamp '2026-02-28 12:34', timestamp '1998-02-28') AS from_february, time_bucket(w::interval, date '2026-02-28', date '2030-12-31') AS from_december
FROM unnest('{1 month,2 months,3 months,5 months,1 year,18 months,100 years}'::text[]) w;
-- Origins and offsets
SELECT time_bucket('1 day', timestamptz '2026-03-29 12:00', timestamptz '2000-01-01 13:00') AS a, time_bucket('1 week', timestamp '2026-03-29 12:00', timestamp '2000-01-02') AS b,
	time_bucket('2 weeks', date '2026-03-29', date '2030-01-01') AS c, time_bucket('1 day', timestamptz '2026-03-29 12:00', interval '13 hours') AS d,
	time_bucket('1 month', timestamp '2026-03-29 12:00', interval '14 days') AS e, time_bucket('1 month', timestamp '2026-03-31', interval '1 month') AS f,
	time_bucket('1 week', date '2026-03-29', interval '-1 day') AS g, time_bucket('6 hours', date '2026-03-29', interval '2 hours') AS h;
-- Integers
SELECT v, time_bucket(10, v) AS i, time_bucket(10, v, 3) AS moved, time_bucket(10, v, -13) AS back, time_bucket(10::smallint, v::smallint, 3::smallint) AS s, time_bucket(10::bigint, v::bigint, 1000003) AS b
FROM unnest('{-21,-20,-11,-10,-1,0,1,9,10,19}'::int[]) v;
SELECT time_bucket(10::smallint, (-32768)::smallint);
SELECT time_bucket(10, (-2147483648));
SELECT time_bucket(10::bigint, (-9223372036854775808)::bigint);
SELECT time_bucket(3000000000, 9223372036854775807, 5000000000) AS far;
-- Days and months of a zone; its offset counts hours, not what clocks show
SELECT w, time_bucket(w::interval, timestamptz '2026-03-29 12:00', 'Europe/Berlin') AS spring, time_bucket(w::interval, timestamptz '2026-10-25 12:00', 'Europe/Berlin') AS autumn,
	time_bucket(w::interval, timestamptz '2026-03-29 12:00', 'Asia/Kolkata') AS india, time_bucket(w::interval, timestamptz '2026-03-29 12:00', 'Europe/Berlin', timestamptz '2026-01-15 11:00') AS from_noon,
	time_bucket(w::interval, timestamptz '2026-03-29 12:00', 'Europe/Berlin', "offset" => interval '1 day 2 hours') AS later
FROM unnest('{1 hour,6 hours,1 day,1 week,1 month,1 year}'::text[]) w;
-- An hour that comes twice
SELECT t, time_bucket('1 hour', t, 'Europe/Berlin') AS hour, time_bucket('20 min', t, 'Europe/Berlin') AS third, time_bucket('2 hours', t, 'Europe/Berlin') AS two
FROM generate_series(timestamptz '2026-10-24 23:10', '2026-10-25 02:10', '30 min') t;
-- Short ones in that hour, which takes no longer than in any other.
SELECT w, count(*), bool_and(b <= t AND b > t - w AND (b = t OR w > '1 us')) AS good FROM unnest('{1 us,1 ms,7 ms}'::interval[]) w,
	generate_series(timestamptz '2026-10-25 00:00:00.000003+00', '2026-10-25 00:59:59.999+00', '2 s') t, time_bucket(w, t, 'Europe/Berlin') b GROUP BY w ORDER BY w;
-- Which of the two midnights is meant differs with the version of the time zones.
SELECT t, t - day >= '0' AND t - day <= '25 hours' AS of_the_day, hour
FROM generate_series(timestamptz '2026-11-01 03:30', '2026-11-01 05:30', '30 min') t,
	LATERAL (SELECT time_bucket('1 day', t, 'America/Havana') AS day, time_bucket('1 hour', t, 'America/Havana') AS hour) b;
-- No bucket begins behind its times, and none is a stranger to itself where it is a whole number of hours
SELECT zone, w, count(*) FILTER (WHERE b > t) AS behind, count(*) FILTER (WHERE t - b > w::interval + interval '2 hours') AS long_before, count(*) FILTER (WHERE time_bucket(w::interval, b, zone) <> b) AS strange
FROM unnest('{Europe/Berlin,America/New_York,Australia/Lord_Howe,America/Sao_Paulo,Asia/Kathmandu}'::text[]) zone, unnest('{15 min,1 hour,1 day}'::text[]) w,
	generate_series(timestamptz '2017-10-01', '2018-03-31', '7 min') t, LATERAL (SELECT time_bucket(w::interval, t, zone) AS b) x
GROUP BY 1, 2 ORDER BY 1, 2;
-- What is without an end, or NULL
SELECT time_bucket('1 day', timestamptz 'infinity') AS a, time_bucket('1 month', timestamp '-infinity') AS b, time_bucket('1 day', date 'infinity') AS c,
	time_bucket('1 day', timestamptz '-infinity', 'Europe/Berlin') AS d, time_bucket('1 hour', date '-infinity') AS e, time_bucket('1 day', timestamptz 'infinity', interval '1 hour') AS f;
SELECT time_bucket(NULL, now()) AS a, time_bucket('1 day', NULL::timestamptz) AS b, time_bucket('1 day', now(), NULL::text) AS c, time_bucket(10, NULL) AS d,
	time_bucket('1 day', timestamptz '2026-01-01 10:00', 'UTC', NULL, NULL) AS e, time_bucket('1 day', now(), NULL::timestamptz) AS f;
-- What is refused
SELECT time_bucket('0 s', now());
SELECT time_bucket('-1 day', now());
SELECT time_bucket('-1 month', now());
SELECT time_bucket('1 month 1 day', now());
SELECT time_bucket('1 month 1 hour', date '2026-01-01');
SELECT time_bucket('1 hour', date '2026-01-01');
SELECT time_bucket('36 hours', date '2026-01-01');
SELECT time_bucket(0, 1);
SELECT time_bucket(-5::bigint, 1::bigint);
SELECT time_bucket('1 day', now(), timestamptz 'infinity');
SELECT time_bucket('1 month', now(), timestamptz '-infinity');
SELECT time_bucket('1 day', now(), 'Nowhere');
SELECT time_bucket('1000000000 days', now());
SELECT time_bucket('100 years', timestamp '4713-01-01 BC');

-- Columns and core agree where clocks change
CREATE TABLE m (time timestamptz NOT NULL, host text, v float8) USING metricsdb;
INSERT INTO m SELECT timestamptz '2026-10-20' + i * interval '53 s', 'h' || i % 3, i FROM generate_series(0, 16000) i;
INSERT INTO m SELECT timestamptz '2026-03-26' + i * interval '97 s', 'h' || i % 3, i FROM generate_series(0, 6000) i;
CALL metricsdb.compact('m');
CREATE TABLE h (LIKE m) USING heap;
INSERT INTO h SELECT * FROM m;
ANALYZE m;
ANALYZE h;
EXPLAIN (COSTS OFF) SELECT time_bucket('7 min', time, 'Europe/Berlin') AS b, count(*) FROM m GROUP BY 1;
CREATE FUNCTION unequal(bucket text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
	q text := format('SELECT %s AS b, host, count(*), min(v), max(v) FROM ', bucket);
BEGIN
	EXECUTE format('SELECT count(*) FROM ((SELECT * FROM (%1$s m GROUP BY 1, 2) a EXCEPT SELECT * FROM (%1$s h GROUP BY 1, 2) b)
		UNION ALL (SELECT * FROM (%1$s h GROUP BY 1, 2) a EXCEPT SELECT * FROM (%1$s m GROUP BY 1, 2) b)) x', q) INTO n;
	RETURN n;
END $$;
SELECT b, unequal(b) FROM unnest(ARRAY[$$time_bucket('7 min', time, 'Europe/Berlin')$$, $$time_bucket('1 hour', time, 'Europe/Berlin')$$, $$time_bucket('1 day', time, 'Europe/Berlin')$$,
	$$time_bucket('1 month', time, 'Europe/Berlin')$$, $$time_bucket('1 hour', time, 'Australia/Lord_Howe')$$, $$time_bucket('1 day', time, 'Europe/Berlin', "offset" => interval '90 min')$$,
	$$time_bucket('5 hours', time, 'Europe/Berlin', timestamptz '2026-10-25 00:30')$$, $$time_bucket('1 month', time, interval '1 month 3 days')$$, $$time_bucket('1 month', time, timestamptz '2020-02-20')$$,
	$$time_bucket('1 day', time, interval '7 hours')$$, $$time_bucket_gapfill('7 min', time, 'Europe/Berlin', '2026-10-25', '2026-10-25')$$, $$time_bucket_gapfill('1 hour', time, '2026-10-25'::timestamptz, '2026-10-25')$$]) b;
SET client_min_messages = warning;
DROP SCHEMA buckets CASCADE;
