-- Evaluation of rules.

CREATE FUNCTION eval_time() RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'mdb_eval_time' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION eval_time() IS
	'the time at which a rule is evaluated, for its query to read instead of now(); outside of an evaluation it is now()';

-- Up to where the rules of each source (0 = the clock) have been evaluated, but for what alert_tick says: written now and then, so
-- that rules of which there is nothing new need no row written for each tick.  Of a restored copy it says nothing.
CREATE TABLE alert_progress (
	source    oid         NOT NULL PRIMARY KEY,
	watermark timestamptz NOT NULL
) USING heap WITH (fillfactor = 50, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE alert_progress IS 'up to where the rules of each source have been evaluated';
REVOKE ALL ON alert_progress FROM PUBLIC;

-- Whoever changes a rule, and be it by hand or by a restore, the worker hears of it.
CREATE FUNCTION alert_rules_changed() RETURNS trigger
	AS 'MODULE_PATHNAME', 'mdb_alert_rules_changed' LANGUAGE C;
COMMENT ON FUNCTION alert_rules_changed() IS 'tells the alert worker that metricsdb.alert_rule has changed';
REVOKE ALL ON FUNCTION alert_rules_changed() FROM PUBLIC;
CREATE TRIGGER alert_rules_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON alert_rule
	FOR EACH STATEMENT EXECUTE FUNCTION alert_rules_changed();

-- An alert that begins to fire looks for what a rule of the same name has left.
CREATE INDEX alert_outbox_rule ON alert_outbox (rule);

CREATE FUNCTION alert_live(
	OUT rule_id int4, OUT last_tick timestamptz, OUT evaluated_at timestamptz, OUT duration interval, OUT lag interval,
	OUT missed int8, OUT instances int4, OUT health text) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'mdb_alert_live' LANGUAGE C;
COMMENT ON FUNCTION alert_live() IS 'how the evaluations of each rule go at this moment, if a worker evaluates it';
REVOKE ALL ON FUNCTION alert_live() FROM PUBLIC;
