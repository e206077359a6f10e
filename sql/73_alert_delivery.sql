-- Delivery of alerts: targets, and how they do.

-- What of an alert was told last, by which targets that want to hear of changes alone are not told twice.
ALTER TABLE alert_sent
	ADD COLUMN state text,
	ADD COLUMN starts_at timestamptz,
	ADD COLUMN refused bool NOT NULL DEFAULT false;	-- for what it says

CREATE TABLE alert_receiver (
	target_id     int4        NOT NULL REFERENCES alert_target ON DELETE CASCADE,
	url           text        NOT NULL,
	failures      int4        NOT NULL DEFAULT 0,	-- in a row
	retry_at      timestamptz,
	last_error    text,
	last_error_at timestamptz,
	last_sent_at  timestamptz,
	PRIMARY KEY (target_id, url)
) USING heap WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE alert_receiver IS 'how each URL of each target of alerts does; written by the sender';
REVOKE ALL ON alert_receiver FROM PUBLIC;

-- Targets.  A target makes the server connect to other hosts, and shows what they answer to its owner: who may create
-- one is for the administrator to say.

CREATE FUNCTION create_alert_target(
	name    text,
	kind    text,
	urls    text[] DEFAULT '{}',
	options jsonb  DEFAULT '{}',
	secrets jsonb  DEFAULT NULL) RETURNS int4
	LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'mdb_create_alert_target';
COMMENT ON FUNCTION create_alert_target(text, text, text[], jsonb, jsonb)
	IS 'create a target of alerts, owned by the current user: alertmanager, webhook or notify';
REVOKE ALL ON FUNCTION create_alert_target(text, text, text[], jsonb, jsonb) FROM PUBLIC;

-- Who has a target has it from who may create one; a new URL is as much as a new target.
CREATE FUNCTION alter_alert_target(
	name    text,
	urls    text[] DEFAULT NULL,
	options jsonb  DEFAULT NULL,
	enabled bool   DEFAULT NULL,
	secrets jsonb  DEFAULT NULL) RETURNS void
	LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'mdb_alter_alert_target';
COMMENT ON FUNCTION alter_alert_target(text, text[], jsonb, bool, jsonb)
	IS 'change a target of alerts: what is null stays; options are put over those it has, one that is null goes; secrets replace those it has';
REVOKE ALL ON FUNCTION alter_alert_target(text, text[], jsonb, bool, jsonb) FROM PUBLIC;

CREATE FUNCTION drop_alert_target(name text) RETURNS void
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_drop_alert_target';
COMMENT ON FUNCTION drop_alert_target(text) IS 'drop a target of alerts that no rule has, with what is still to be told to it';

CREATE FUNCTION set_alert_secrets(name text, secrets jsonb) RETURNS void
	LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'mdb_set_alert_secrets';
COMMENT ON FUNCTION set_alert_secrets(text, jsonb) IS 'replace the passwords and keys of a target of alerts';
REVOKE ALL ON FUNCTION set_alert_secrets(text, jsonb) FROM PUBLIC;

CREATE FUNCTION alert_secrets(name text) RETURNS jsonb
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_alert_secrets';
COMMENT ON FUNCTION alert_secrets(text) IS 'the passwords and keys of a target of alerts, for its owner';

CREATE FUNCTION resume_alert_targets() RETURNS int4
	LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'mdb_resume_alert_targets';
COMMENT ON FUNCTION resume_alert_targets()
	IS 'in a restored copy, send alerts to the user''s targets from here; returns how many did not do so';

CREATE FUNCTION test_alert_target(name text, OUT url text, OUT ok bool, OUT answer text, OUT seconds float8)
	RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_test_alert_target';
COMMENT ON FUNCTION test_alert_target(text) IS 'send a test to each URL of a target of alerts, and tell what was answered';

CREATE FUNCTION alert_outbox_wake() RETURNS trigger
	LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'mdb_alert_outbox_wake';
COMMENT ON FUNCTION alert_outbox_wake() IS 'trigger: the sender of alerts looks when the transaction has committed';
REVOKE ALL ON FUNCTION alert_outbox_wake() FROM PUBLIC;
CREATE TRIGGER alert_outbox_wake AFTER INSERT OR UPDATE ON alert_outbox
	FOR EACH STATEMENT EXECUTE FUNCTION alert_outbox_wake();

CREATE VIEW alert_targets WITH (security_barrier) AS
	SELECT t.name, t.owner, t.kind, u.url, t.options, t.enabled,
		CASE WHEN NOT t.enabled THEN 'disabled'
			WHEN t.home <> metricsdb.kafka_home() THEN 'restored copy'
			WHEN r.failures > 0 THEN 'failing'
			ELSE 'ok' END AS state,
		coalesce(q.queued, 0) AS queued,
		q.oldest_queued_at,
		coalesce(q.refused, 0) AS refused,
		r.last_sent_at,
		r.failures,
		r.retry_at,
		coalesce(CASE WHEN t.home <> metricsdb.kafka_home()
			THEN 'this database is a copy; metricsdb.resume_alert_targets() makes it send alerts' END,
			r.last_error) AS last_error,
		r.last_error_at,
		t.created_at
	FROM metricsdb.alert_target t
		CROSS JOIN LATERAL pg_catalog.unnest(t.urls) u(url)
		LEFT JOIN metricsdb.alert_receiver r ON r.target_id = t.target_id AND r.url = u.url
		LEFT JOIN (
			SELECT a.target_id, w.url,
				pg_catalog.count(*) FILTER (WHERE NOT coalesce(s.refused, false)) AS queued,
				pg_catalog.min(o.queued_at) FILTER (WHERE NOT coalesce(s.refused, false)) AS oldest_queued_at,
				pg_catalog.count(*) FILTER (WHERE s.refused) AS refused
			FROM metricsdb.alert_target a
				CROSS JOIN LATERAL pg_catalog.unnest(a.urls) w(url)
				JOIN metricsdb.alert_outbox o ON o.target_id = a.target_id
				LEFT JOIN metricsdb.alert_sent s
					ON s.target_id = o.target_id AND s.rule_id = o.rule_id AND s.key = o.key AND s.url = w.url
			WHERE s.sent_at IS NULL OR s.state <> o.state OR s.starts_at <> o.starts_at
			GROUP BY a.target_id, w.url) q ON q.target_id = t.target_id AND q.url = u.url
	WHERE pg_catalog.pg_has_role(t.owner::oid, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW alert_targets IS 'one row for each URL of each target of alerts: how it does, and what is still to be told to it';
GRANT SELECT ON alert_targets TO PUBLIC;
