-- Threshold and dead-man rules: what those who write samples and those who evaluate rules know of each other.
--   alert_watch    the alert worker
--   alert_window   the alert worker

CREATE INDEX alert_rule_source ON alert_rule (source);

CREATE TABLE alert_watch (
	source oid         NOT NULL PRIMARY KEY,	-- the table
	until  timestamptz NOT NULL,			-- who writes samples writes them down for rules until then
	ticked timestamptz NOT NULL				-- no rule has a tick before
) USING heap WITH (fillfactor = 50);
COMMENT ON TABLE alert_watch IS 'tables whose threshold and dead-man rules are evaluated';

CREATE TABLE alert_window (
	rule_id    int4        NOT NULL REFERENCES alert_rule ON DELETE CASCADE,
	piece      int4        NOT NULL,
	version    int8        NOT NULL,		-- of the rule
	storage_id int8        NOT NULL,
	width      int8        NOT NULL,		-- of buckets, in microseconds
	at         timestamptz NOT NULL,		-- the first tick
	covers     timestamptz NOT NULL,		-- no sample is later
	seen       bytea       NOT NULL,		-- the snapshot
	states     bytea       NOT NULL,
	PRIMARY KEY (rule_id, piece)
) USING heap;
ALTER TABLE alert_window ALTER states SET STORAGE EXTERNAL;
COMMENT ON TABLE alert_window IS 'samples of each threshold rule''s window when it began';

REVOKE ALL ON alert_watch, alert_window FROM PUBLIC;

-- Who writes to a table is told that its rules have changed.
CREATE FUNCTION alert_rule_changed() RETURNS trigger
	AS 'MODULE_PATHNAME', 'mdb_alert_rule_changed' LANGUAGE C;
COMMENT ON FUNCTION alert_rule_changed() IS 'trigger of metricsdb.alert_rule: tells those who write to the table of a rule';
REVOKE ALL ON FUNCTION alert_rule_changed() FROM PUBLIC;

CREATE TRIGGER alert_rule_changed AFTER INSERT OR UPDATE OR DELETE ON alert_rule
	FOR EACH ROW EXECUTE FUNCTION alert_rule_changed();

CREATE FUNCTION threshold_observe(rule_id int4, at timestamptz, OUT labels jsonb, OUT value float8, OUT holds text, OUT error text)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'mdb_threshold_observe' LANGUAGE C STRICT VOLATILE;
COMMENT ON FUNCTION threshold_observe(int4, timestamptz) IS
	'what a threshold or dead-man rule observes at a time, evaluated in this session; for tests, while no worker evaluates';
REVOKE ALL ON FUNCTION threshold_observe(int4, timestamptz) FROM PUBLIC;

CREATE FUNCTION threshold_counters(OUT evaluations int8, OUT batches int8, OUT samples int8, OUT histories int8, OUT history_rows int8)
	AS 'MODULE_PATHNAME', 'mdb_threshold_counters' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION threshold_counters() IS 'what this session has evaluated of threshold and dead-man rules, and read for them';
REVOKE ALL ON FUNCTION threshold_counters() FROM PUBLIC;
