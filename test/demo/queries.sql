-- The demo's five questions; each is shown, answered and timed.
\set QUIET on
\pset footer off
\pset null '-'
\set ECHO queries
\timing on

\echo '-- 1. What does the CPU of this machine do?  (last minute)'
SELECT tags->>'mode' AS mode, round(avg(value)::numeric, 1) AS percent, round(max(value)::numeric, 1) AS peak
FROM metrics
WHERE metric_name = 'cpu_percent' AND tags->>'cpu' = 'all' AND time > now() - interval '1 minute'
GROUP BY 1 ORDER BY 2 DESC;

\echo '-- 2. And which of its processes do it?'
SELECT tags->>'command' AS command, tags->>'pid' AS pid, round(avg(value)::numeric, 1) AS cpu_percent
FROM metrics
WHERE metric_name = 'process_cpu_percent' AND time > now() - interval '1 minute'
GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 5;

\echo '-- 3. How busy is each region of the fleet?  (all of the history)'
SELECT tags->>'region' AS region, count(*) AS points, round(avg(value)::numeric, 2) AS usage_user,
	round(max(value)::numeric, 2) AS peak
FROM metrics
WHERE metric_name = 'usage_user'
GROUP BY 1 ORDER BY 1;

\echo '-- 4. Which hosts are the hottest?  (last five minutes)'
SELECT tags->>'hostname' AS host, tags->>'team' AS team, round(avg(value)::numeric, 2) AS usage_user
FROM metrics
WHERE metric_name = 'usage_user' AND time > now() - interval '5 minutes'
GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 5;

\echo '-- 5. What did one of them do in the last hour?'
SELECT date_bin('10 minutes', time, '2000-01-01') AS bucket, round(min(value)::numeric, 2) AS low,
	round(avg(value)::numeric, 2) AS mean, round(max(value)::numeric, 2) AS high
FROM metrics
WHERE metric_name = 'usage_system' AND tags @> '{"hostname": "host_7"}'
GROUP BY 1 ORDER BY 1;

\echo '-- 6. How busy was the fleet, an hour each?  (asked of the table, answered from its roll-ups, as EXPLAIN says)'
EXPLAIN (COSTS OFF) SELECT metricsdb.time_bucket('1 hour', time) AS hour, count(*) AS points, avg(value) AS mean, max(value) AS peak
FROM metrics
WHERE metric_name = 'usage_user'
GROUP BY 1 ORDER BY 1;
SELECT metricsdb.time_bucket('1 hour', time) AS hour, count(*) AS points, round(avg(value)::numeric, 2) AS mean, max(value) AS peak
FROM metrics
WHERE metric_name = 'usage_user'
GROUP BY 1 ORDER BY 1;

\echo '-- 7. The roll-ups themselves'
SELECT view, rows AS states, pg_size_pretty(bytes) AS size, pending_parts, lag FROM metricsdb.aggregate_status;
