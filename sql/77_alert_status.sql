-- How the evaluations of rules go.

-- A view's user calls its functions himself.  Times and counts of rules by their ids are no secret.
GRANT EXECUTE ON FUNCTION alert_live() TO PUBLIC;

CREATE VIEW alert_status WITH (security_barrier) AS
	SELECT r.name AS rule, r.kind, r.owner, r.enabled,
		CASE WHEN r.enabled THEN coalesce(l.health, t.health, 'unknown') WHEN t.health = 'error' THEN 'error' ELSE 'disabled' END AS health,
		r.source, r.every, greatest(l.last_tick, t.last_tick) AS last_tick, l.lag, greatest(l.evaluated_at, t.evaluated_at) AS evaluated_at,
		coalesce(l.duration, t.duration) AS duration, greatest(l.missed, t.missed, 0) AS missed,
		n.pending, n.firing, n.nodata, n.error, t.last_error, t.last_error_at, r.rule_id, w.watermark,
		CASE WHEN r.enabled THEN w.reason END AS waits_for
	FROM metricsdb.alert_rule r
		LEFT JOIN metricsdb.alert_tick t USING (rule_id)
		LEFT JOIN metricsdb.alert_live() l USING (rule_id)
		LEFT JOIN metricsdb.watermarks w ON w."table" = r.source
		CROSS JOIN LATERAL (
			SELECT pg_catalog.count(*) FILTER (WHERE i.state = 'pending') AS pending,
				pg_catalog.count(*) FILTER (WHERE i.state IN ('firing', 'recovering')) AS firing,
				pg_catalog.count(*) FILTER (WHERE i.state = 'nodata') AS nodata,
				pg_catalog.count(*) FILTER (WHERE i.state = 'error') AS error
			FROM metricsdb.alert_instance i WHERE i.rule_id = r.rule_id) n
	WHERE pg_catalog.pg_has_role(r.owner::oid, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW alert_status IS
	'how the evaluations of the user''s rules go, of all for pg_monitor: up to which time of the data, how far behind the clock that is, how '
	'long the last one took, how many were missed, how many instances are in which state, what went wrong last; up to when its data is complete now, and what holds that up';
GRANT SELECT ON alert_status TO PUBLIC;

CREATE FUNCTION alert_counts(OUT counter text, OUT kind text, OUT value int8) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'mdb_alert_counts' LANGUAGE C;
COMMENT ON FUNCTION alert_counts() IS 'what the evaluation and the delivery of alerts have done in this database since the server started';

CREATE VIEW alert_counters AS
	SELECT c.counter, c.kind, c.value FROM metricsdb.alert_counts() c
	UNION ALL
	SELECT 'outbox', NULL, pg_catalog.count(*) FROM metricsdb.alert_outbox
	UNION ALL
	SELECT 'queued', NULL, pg_catalog.count(*)
	FROM metricsdb.alert_outbox o JOIN metricsdb.alert_target t USING (target_id)
		CROSS JOIN LATERAL pg_catalog.unnest(t.urls) u(url)
		LEFT JOIN metricsdb.alert_sent s ON s.target_id = o.target_id AND s.rule_id = o.rule_id AND s.key = o.key AND s.url = u.url
	WHERE t.enabled AND (s.sent_at IS NULL OR s.state <> o.state OR s.starts_at <> o.starts_at);
COMMENT ON VIEW alert_counters IS
	'what the evaluation (by the kind of rule) and the delivery of alerts have done in this database since the server started; and how '
	'many alerts are in the outbox, and of these are still to be told, for each URL';
GRANT SELECT ON alert_counters TO PUBLIC;

CREATE FUNCTION backtest(rule text, "from" timestamptz, "to" timestamptz,
	OUT at timestamptz, OUT labels jsonb, OUT from_state text, OUT to_state text, OUT value float8, OUT annotations jsonb)
	RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_backtest';
COMMENT ON FUNCTION backtest(text, timestamptz, timestamptz) IS
	'what a rule would have done, evaluated at its ticks between two times over the rows that there are: changes of the states of its '
	'instances, of which nothing is stored or told. For the owner';
