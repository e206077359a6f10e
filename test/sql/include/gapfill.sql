\ir begin.sql
\set ECHO all
SET search_path = work, public, metricsdb;
SET max_parallel_workers_per_gather = 0;
CREATE TABLE m (time timestamptz NOT NULL, host text, v float8, n int);
INSERT INTO m SELECT '2026-03-28 20:00Z'::timestamptz + i * interval '25 min', CASE i % 4 WHEN 0 THEN 'a' WHEN 1 THEN 'b' WHEN 2 THEN 'c' END,
	CASE WHEN i % 5 > 0 THEN i END, i FROM generate_series(0, 30) i WHERE i % 9 < 6;
CALL settle();
CREATE TABLE hosts (host text PRIMARY KEY, room text) USING heap;
INSERT INTO hosts VALUES ('a', 'cellar'), ('b', 'roof'), ('z', 'none');
-- Where the range comes from
SELECT time_bucket_gapfill('2 hours', time) AS b, count(*), avg(v) FROM m WHERE time >= '2026-03-28 18:30Z' AND time < '2026-03-29 02:00Z' GROUP BY b ORDER BY b;
SELECT time_bucket_gapfill('2 hours', time) AS b, count(*) FROM m WHERE time BETWEEN '2026-03-29 06:00Z' AND '2026-03-29 12:00Z' GROUP BY b ORDER BY b DESC;
SELECT time_bucket_gapfill('2 hours', time, timestamptz '2026-03-29 06:00Z', '2026-03-29 12:00Z') AS b, count(*) FROM m WHERE time > '2026-03-29 03:00Z' GROUP BY b ORDER BY b;
SELECT time_bucket_gapfill('2 hours', time, finish => '2026-03-29 12:00Z') AS b, count(*) FROM m WHERE time > '2026-03-29 05:00Z' AND '2026-03-29 06:00Z' <= time GROUP BY b ORDER BY b;
SELECT time_bucket_gapfill('6 hours', time) AS b, count(*) FROM m WHERE time >= (SELECT min(time) - interval '6 hours' FROM m) AND time <= (SELECT max(time) FROM m) GROUP BY b ORDER BY b;
SELECT time_bucket_gapfill('1 day', time) AS b, count(*) FROM m WHERE time >= date '2026-03-27' AND time < timestamp '2026-03-31 00:00' GROUP BY b ORDER BY b;
SELECT time_bucket_gapfill('1 hour', time) AS b, count(*) FROM m WHERE time = '2026-03-28 20:00Z' GROUP BY b ORDER BY b;
SELECT time_bucket_gapfill('1 day', now() - interval '1 hour' * n, now() - interval '12 hours', now() + interval '1 us') IS NOT NULL AS b, count(*) > 0 FROM m GROUP BY time_bucket_gapfill('1 day', now() - interval '1 hour' * n, now() - interval '12 hours', now() + interval '1 us') LIMIT 1;
-- Groups, one of them NULL
SELECT host, time_bucket_gapfill('2 hours', time) AS b, avg(v), locf(avg(v)), locf(avg(v), treat_null_as_missing => true), interpolate(avg(v)), interpolate(max(n)), coalesce(locf(min(n)), 0) + 1 AS more
FROM m WHERE time >= '2026-03-28 18:00Z' AND time < '2026-03-29 06:00Z' GROUP BY 1, 2 ORDER BY 1, 2;
-- Values from outside of the range, looked up for each group
SELECT host, time_bucket_gapfill('2 hours', time) AS b, locf(avg(n), (SELECT min(x.n)::numeric FROM m x WHERE x.host = m.host)),
	interpolate(avg(n), (SELECT (x.time - interval '1 day', -100::float8) FROM m x WHERE x.host = m.host ORDER BY x.time LIMIT 1), (SELECT ('2026-03-30Z'::timestamptz, 1000::float8)))
FROM m WHERE time >= '2026-03-28 18:00Z' AND time < '2026-03-29 06:00Z' GROUP BY 1, 2 ORDER BY 1, 2;
-- They are not asked where they are not needed
SELECT time_bucket_gapfill('2 hours', time) AS b, locf(avg(n), (SELECT 1 / (count(*) - count(*))::numeric FROM m x)) FROM m WHERE time >= '2026-03-28 20:00Z' AND time < '2026-03-29 06:00Z' GROUP BY 1 ORDER BY 1;
SELECT time_bucket_gapfill('2 hours', time) AS b, locf(avg(n), (SELECT 1 / (count(*) - count(*))::numeric FROM m x)) FROM m WHERE time >= '2026-03-28 18:00Z' AND time < '2026-03-29 06:00Z' GROUP BY 1 ORDER BY 1;
-- No rows: all buckets, or no groups
SELECT time_bucket_gapfill('6 hours', time) AS b, count(*), locf(min(n), 7) FROM m WHERE time >= '2027-01-01' AND time < '2027-01-02' GROUP BY 1 ORDER BY 1;
SELECT time_bucket_gapfill('6 hours', time) AS b, host, count(*) FROM m WHERE time >= '2027-01-01' AND time < '2027-01-02' GROUP BY 1, 2 ORDER BY 1;
SELECT time_bucket_gapfill('6 hours', time) AS b, host, count(*) FROM m WHERE time >= '2027-01-01' AND time < '2027-01-02' AND host = 'a' GROUP BY 1, 2 ORDER BY 1;
SELECT time_bucket_gapfill('6 hours', time) AS b, count(*) FROM m WHERE time >= '2027-01-02' AND time < '2027-01-01' GROUP BY 1 ORDER BY 1;
-- Above it
SELECT time_bucket_gapfill('2 hours', time) AS b, host, max(v) FROM m WHERE time >= '2026-03-28 20:00Z' AND time < '2026-03-29 04:00Z' GROUP BY 1, 2 HAVING max(v) > 3 ORDER BY 3 DESC NULLS LAST, 1, 2 LIMIT 8;
SELECT time_bucket_gapfill('2 hours', time) AS b, locf(avg(v)), sum(avg(v)) OVER w, lag(locf(avg(v))) OVER w, row_number() OVER w + interpolate(avg(v)) AS more, rank() OVER (ORDER BY locf(avg(v)))
FROM m WHERE host = 'a' AND time >= '2026-03-28 18:00Z' AND time < '2026-03-29 06:00Z' GROUP BY 1 WINDOW w AS (ORDER BY time_bucket_gapfill('2 hours', time)) ORDER BY 1;
SELECT DISTINCT locf(max(n)) AS n FROM m WHERE time >= '2026-03-28 18:00Z' AND time < '2026-03-29 02:00Z' GROUP BY time_bucket_gapfill('1 hour', time) ORDER BY 1;
SELECT * FROM (SELECT time_bucket_gapfill('2 hours', time) AS b, host, avg(v) AS a FROM m WHERE time >= '2026-03-28 18:00Z' AND time < '2026-03-29 00:00Z' GROUP BY 1, 2) x WHERE a IS NULL AND host < 'c' AND b > '2026-03-28 18:00Z' ORDER BY 1, 2;
SELECT count(*), count(a) FROM (SELECT time_bucket_gapfill('2 hours', time) AS b, avg(v) AS a FROM m WHERE time >= '2026-03-28 18:00Z' AND time < '2026-03-29 06:00Z' GROUP BY 1) x WHERE a > 3 OR a IS NULL;
WITH g AS (SELECT time_bucket_gapfill('2 hours', time) AS b, count(*) AS c FROM m WHERE time >= '2026-03-28 18:00Z' AND time < '2026-03-29 00:00Z' GROUP BY 1) SELECT b FROM g WHERE c IS NULL UNION ALL SELECT b FROM g WHERE c > 0 ORDER BY 1;
CREATE VIEW filled AS SELECT time_bucket_gapfill('3 hours', time) AS b, locf(sum(n)) AS n FROM m WHERE time >= '2026-03-28 18:00Z' AND time < '2026-03-29 06:00Z' GROUP BY 1;
SELECT * FROM filled WHERE n IS NULL OR n > 20 ORDER BY b;
CREATE TABLE copied AS SELECT * FROM filled;
INSERT INTO copied SELECT b + interval '1 day', n FROM filled;
SELECT count(*), sum(n) FROM copied;
-- Joins; what a primary key determines is the same in gaps
SELECT time_bucket_gapfill('3 hours', time) AS b, h.host, room, upper(room) AS loud, avg(v) FROM m JOIN hosts h USING (host) WHERE time >= '2026-03-28 18:00Z' AND time < '2026-03-29 03:00Z' GROUP BY 1, h.host ORDER BY 2, 1;
SELECT h.host, x.* FROM hosts h, LATERAL (SELECT time_bucket_gapfill(interval '1 hour' * length(room), time) AS b, locf(avg(v)) FROM m WHERE m.host = h.host AND time >= '2026-03-28 18:00Z' AND time < '2026-03-29 03:00Z' GROUP BY 1) x ORDER BY 1, 2;
-- In the time of a zone, where clocks were set forward
SELECT time_bucket_gapfill('1 day', time, 'Europe/Berlin') AS b, count(*) FROM m WHERE time >= '2026-03-27 23:00Z' AND time < '2026-03-31 22:00Z' GROUP BY 1 ORDER BY 1;
SELECT time_bucket_gapfill('1 hour', time, 'Europe/Berlin') AS b, count(*) FROM m WHERE time >= '2026-03-28 23:00Z' AND time < '2026-03-29 03:00Z' GROUP BY 1 ORDER BY 1;
SELECT time_bucket_gapfill('1 month', time, 'Europe/Berlin', '2026-01-10', '2026-06-10') AS b, count(*) FROM m GROUP BY 1 ORDER BY 1;
-- Prepared
SET plan_cache_mode = force_generic_plan;
PREPARE filling(interval, timestamptz, timestamptz, text) AS SELECT time_bucket_gapfill($1, time, $4) AS b, count(*), interpolate(avg(v)) FROM m WHERE time >= $2 AND time < $3 GROUP BY 1 ORDER BY 1;
EXECUTE filling('3 hours', '2026-03-28 18:00Z', '2026-03-29 06:00Z', 'UTC');
EXECUTE filling('6 hours', '2026-03-28 18:00Z', '2026-03-30 00:00Z', 'Asia/Kolkata');
EXECUTE filling('3 hours', NULL, '2026-03-29 06:00Z', 'UTC');
EXECUTE filling('3 hours', '2026-03-28 18:00Z', 'infinity', 'UTC');
EXECUTE filling(NULL, '2026-03-28 18:00Z', '2026-03-29 06:00Z', 'UTC');
EXECUTE filling('-1 hours', '2026-03-28 18:00Z', '2026-03-29 06:00Z', 'UTC');
EXECUTE filling('1 hours', '2026-03-28 18:00Z', '2026-03-29 06:00Z', 'Nowhere');
DEALLOCATE filling;
RESET plan_cache_mode;
-- A cursor, back and forth
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT time_bucket_gapfill('2 hours', time) AS b, locf(avg(v)) FROM m WHERE time >= '2026-03-28 18:00Z' AND time < '2026-03-29 02:00Z' GROUP BY 1 ORDER BY 1;
FETCH 2 FROM c;
FETCH PRIOR FROM c;
FETCH ALL FROM c;
COMMIT;
RESET max_parallel_workers_per_gather;
RESET search_path;
\set ECHO none
