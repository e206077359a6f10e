-- Read by alerts.sh: what was produced, compared with what was told; how long it took.
SET timezone = UTC;
\pset border 2
CREATE TABLE bench.expected AS
	SELECT row_number() OVER () AS id, metric || '_c' || (substr(host, 2)::int % (SELECT count(*) / 10 FROM metricsdb.alert_rule)) AS rule, host,
		to_timestamp(first) AS first, to_timestamp(last) AS last
	FROM bench.high;
CREATE TABLE bench.heard AS
	SELECT to_timestamp((line::jsonb->>'at')::float8) AS at, a->>'status' AS status, a->'labels'->>'alertname' AS rule, a->'labels'->>'host' AS host,
		(a->>'startsAt')::timestamptz AS starts_at, (a->>'endsAt')::timestamptz AS ends_at
	FROM bench.request, jsonb_array_elements((line::jsonb->>'body')::jsonb->'alerts') a;
CREATE INDEX ON bench.seen (watermark);
CREATE INDEX ON bench.heard (rule, host);
CREATE INDEX ON bench.told (rule, host);
ANALYZE bench.expected, bench.heard, bench.seen;

-- A sample is in the windows that begin before it: the first tick at or after it fires, the first 10 s after the last resolves; later ones if ticks
-- are missed.
CREATE TABLE bench.firing AS
	SELECT x.*, e.at AS tick, e.happened_at AS evaluated, h.at AS received,
		(SELECT min(s.at) FROM bench.seen s WHERE x.first <= ALL (s.newest)) AS visible,
		(SELECT s.at FROM bench.seen s WHERE s.watermark >= e.at ORDER BY s.watermark, s.at LIMIT 1) AS complete,
		(SELECT min(t.at) FROM bench.told t WHERE t.rule = x.rule AND t.host = x.host AND t.state = 'firing' AND t.starts_at = e.at) AS sent,
		EXISTS (SELECT FROM metricsdb.alert_rule r WHERE r.name = x.rule AND r.kind = 'query') AS by_query
	FROM bench.expected x
		LEFT JOIN metricsdb.alert_event e ON e.rule = x.rule AND e.labels->>'host' = x.host AND e.to_state = 'firing' AND e.at >= x.first AND e.at < x.last + interval '10 s'
		LEFT JOIN LATERAL (SELECT min(at) AS at FROM bench.heard h WHERE h.rule = x.rule AND h.host = x.host AND h.status = 'firing' AND h.starts_at = e.at) h ON true;
CREATE TABLE bench.resolved AS
	SELECT x.*, e.at AS tick, h.at AS received
	FROM bench.expected x
		LEFT JOIN metricsdb.alert_event e ON e.rule = x.rule AND e.labels->>'host' = x.host AND e.to_state = 'resolved'
			AND e.at >= x.last + interval '10 s' AND e.at < x.last + interval '40 s'
		LEFT JOIN LATERAL (SELECT min(at) AS at FROM bench.heard h WHERE h.rule = x.rule AND h.host = x.host AND h.status = 'resolved' AND h.ends_at = e.at) h ON true;

CREATE TEMP VIEW stages AS
	-- A rule that is a query has a tick each 5 s.
	SELECT v.*, first AS produced, by_query FROM bench.firing, LATERAL (VALUES
		(1, 'visible to SQL', visible - first), (2, 'watermark passes the tick', complete - first), (3, 'evaluated', evaluated - first),
		(4, 'sent to Alertmanager', sent - first), (5, 'received', received - first)) v(n, stage, took) WHERE NOT by_query
	UNION ALL
	SELECT 6.1, 'received since the tick, ' || CASE WHEN by_query THEN 'rules that are queries' ELSE 'threshold rules' END, received - tick, first, by_query FROM bench.firing
	UNION ALL
	SELECT 6, 'received since the tick', received - tick, first, by_query FROM bench.firing
	UNION ALL
	SELECT 7, 'resolved, received since the tick', received - tick, first, NULL FROM bench.resolved;
SELECT CASE WHEN n < 6 THEN 'threshold rules: produced -> ' ELSE '' END || stage AS seconds, took AS samples,
	p[1] AS p50, p[2] AS p90, p[3] AS p99, p[4] AS max
FROM (SELECT n, stage, count(took) AS took,
		(SELECT array_agg(round(x::numeric, 2)) FROM unnest(percentile_cont(ARRAY[0.5, 0.9, 0.99, 1]) WITHIN GROUP (ORDER BY extract(epoch FROM took)::float8)) x) AS p
	FROM stages GROUP BY n, stage) s
GROUP BY n, stage, took, p ORDER BY n, stage;

\pset border 0
\pset tuples_only on
SELECT format('crossings %s; firing lost %s (in history %s), resolved lost %s (in history %s); false: in history %s, told %s; told more than once %s',
	(SELECT count(*) FROM bench.expected),
	(SELECT count(*) FROM bench.firing WHERE received IS NULL), (SELECT count(*) FROM bench.firing WHERE tick IS NULL),
	(SELECT count(*) FROM bench.resolved WHERE received IS NULL), (SELECT count(*) FROM bench.resolved WHERE tick IS NULL),
	(SELECT count(*) FROM metricsdb.alert_event e WHERE to_state IN ('firing', 'resolved')
		AND NOT EXISTS (SELECT FROM bench.firing x WHERE x.rule = e.rule AND x.host = e.labels->>'host' AND x.tick = e.at AND e.to_state = 'firing')
		AND NOT EXISTS (SELECT FROM bench.resolved x WHERE x.rule = e.rule AND x.host = e.labels->>'host' AND x.tick = e.at AND e.to_state = 'resolved')),
	(SELECT count(*) FROM bench.heard h WHERE NOT EXISTS (SELECT FROM bench.firing x WHERE x.rule = h.rule AND x.host = h.host AND x.tick = h.starts_at)),
	(SELECT count(*) FROM (SELECT FROM bench.heard GROUP BY rule, host, starts_at, status HAVING count(*) > 1) x));
SELECT format('ticks missed in that time %s; firing at a later tick than the first %s; rules with errors %s', sum(missed) - :missed,
	(SELECT count(*) FROM bench.firing WHERE tick >= first + CASE WHEN by_query THEN interval '5 s' ELSE '1 s' END), count(*) FILTER (WHERE health = 'error')) FROM metricsdb.alert_status;
