-- Rules: defining them.

-- Who defines rules has the server run them, again and again: who may is for the administrator to say.

CREATE FUNCTION create_alert(
	name              text,
	query             text     DEFAULT NULL,
	every             interval DEFAULT NULL,
	hold              interval DEFAULT NULL,
	keep_firing_for   interval DEFAULT NULL,
	labels            jsonb    DEFAULT NULL,
	annotations       jsonb    DEFAULT NULL,
	targets           text[]   DEFAULT NULL,
	op                text     DEFAULT NULL,
	threshold         float8   DEFAULT NULL,
	recover           float8   DEFAULT NULL,
	source            regclass DEFAULT NULL,
	metric            text     DEFAULT NULL,
	matchers          text     DEFAULT NULL,
	value_column      text     DEFAULT NULL,
	aggregate         text     DEFAULT NULL,
	"window"          interval DEFAULT NULL,
	by                text[]   DEFAULT NULL,
	without           text[]   DEFAULT NULL,
	silent_for        interval DEFAULT NULL,
	forget_after      interval DEFAULT NULL,
	expression        text     DEFAULT NULL,
	record            text     DEFAULT NULL,
	into_table        regclass DEFAULT NULL,
	absent            text     DEFAULT NULL,
	absent_for        interval DEFAULT NULL,
	nodata            text     DEFAULT NULL,
	error             text     DEFAULT NULL,
	holds_of          int4     DEFAULT NULL,
	of                int4     DEFAULT NULL,
	max_new_instances int4     DEFAULT NULL,
	timeout           interval DEFAULT NULL,
	max_rows          int4     DEFAULT NULL,
	search_path       text     DEFAULT NULL,
	enabled           bool     DEFAULT NULL) RETURNS int4
	LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'mdb_create_alert';
COMMENT ON FUNCTION create_alert IS
	'create a rule, owned and run by the current user, of one of these kinds: a query whose rows are the instances; a threshold '
	'(source, metric, matchers, aggregate, window, op, threshold, by or without); silence of series (source, metric, matchers, silent_for, forget_after); '
	'an expression over other rules; or a query whose result is recorded (record, into_table). Its id';
REVOKE ALL ON FUNCTION create_alert FROM PUBLIC;

CREATE FUNCTION alter_alert(
	name              text,
	query             text     DEFAULT NULL,
	every             interval DEFAULT NULL,
	hold              interval DEFAULT NULL,
	keep_firing_for   interval DEFAULT NULL,
	labels            jsonb    DEFAULT NULL,
	annotations       jsonb    DEFAULT NULL,
	targets           text[]   DEFAULT NULL,
	op                text     DEFAULT NULL,
	threshold         float8   DEFAULT NULL,
	recover           float8   DEFAULT NULL,
	source            regclass DEFAULT NULL,
	metric            text     DEFAULT NULL,
	matchers          text     DEFAULT NULL,
	value_column      text     DEFAULT NULL,
	aggregate         text     DEFAULT NULL,
	"window"          interval DEFAULT NULL,
	by                text[]   DEFAULT NULL,
	without           text[]   DEFAULT NULL,
	silent_for        interval DEFAULT NULL,
	forget_after      interval DEFAULT NULL,
	expression        text     DEFAULT NULL,
	record            text     DEFAULT NULL,
	into_table        regclass DEFAULT NULL,
	absent            text     DEFAULT NULL,
	absent_for        interval DEFAULT NULL,
	nodata            text     DEFAULT NULL,
	error             text     DEFAULT NULL,
	holds_of          int4     DEFAULT NULL,
	of                int4     DEFAULT NULL,
	max_new_instances int4     DEFAULT NULL,
	timeout           interval DEFAULT NULL,
	max_rows          int4     DEFAULT NULL,
	search_path       text     DEFAULT NULL,
	enabled           bool     DEFAULT NULL,
	new_name          text     DEFAULT NULL,
	new_owner         regrole  DEFAULT NULL,
	reset             text[]   DEFAULT NULL) RETURNS void
	LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'mdb_alter_alert';
COMMENT ON FUNCTION alter_alert IS
	'change what is given of a rule; what reset names is as if it had never been given. What fires goes on to, unless the name or '
	'labels change, or it has to hold for longer by now. For the owner';

CREATE FUNCTION enable_alert(name text) RETURNS void
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_enable_alert';
COMMENT ON FUNCTION enable_alert(text) IS 'let a rule that was disabled be evaluated again. For the owner';

CREATE FUNCTION disable_alert(name text) RETURNS void
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_disable_alert';
COMMENT ON FUNCTION disable_alert(text) IS
	'do not evaluate a rule for now; what it had firing is told as resolved. For the owner';

CREATE FUNCTION drop_alert(name text) RETURNS void
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_drop_alert';
COMMENT ON FUNCTION drop_alert(text) IS 'drop a rule; what it had firing is told as resolved. For the owner';

CREATE FUNCTION expand_template(template text, labels jsonb DEFAULT '{}', value float8 DEFAULT NULL) RETURNS text
	LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'mdb_expand_template';
COMMENT ON FUNCTION expand_template(text, jsonb, float8) IS
	'a template as labels and annotations of rules have them, expanded: to try it';

-- What is told about rules and alerts.  These views show each user the rules of his own; pg_monitor sees all.

CREATE VIEW alert_rules WITH (security_barrier) AS
	SELECT r.name AS rule, r.kind, r.owner, r.source, r.definition, r.every, r.hold, r.keep_firing_for, r.labels, r.annotations,
		r.options, r.max_new_instances,
		ARRAY(SELECT t.name FROM metricsdb.alert_target t WHERE t.target_id = ANY (r.targets) ORDER BY t.name) AS targets,
		r.enabled, r.version, r.created_at, r.rule_id
	FROM metricsdb.alert_rule r
	WHERE pg_catalog.pg_has_role(r.owner::oid, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW alert_rules IS 'how rules are defined: those of the user, all for pg_monitor';

CREATE VIEW alerts WITH (security_barrier) AS
	SELECT r.name AS rule, i.labels, i.state, i.value, i.active_since, i.starts_at, i.keep_since AS recovering_since, i.ends_at,
		(SELECT pg_catalog.max(s.sent_at) FROM metricsdb.alert_sent s WHERE s.rule_id = i.rule_id AND s.key = i.key) AS last_sent_at,
		i.annotations, i.last_seen, i.updated_at, r.owner, r.rule_id
	FROM metricsdb.alert_instance i JOIN metricsdb.alert_rule r USING (rule_id)
	WHERE i.state <> 'inactive'
		AND (pg_catalog.pg_has_role(r.owner::oid, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE'));
COMMENT ON VIEW alerts IS
	'what is pending, firing, recovering, without data, in error, or was resolved a short time ago, of the user''s rules, of all for '
	'pg_monitor: since when the condition has held, since when it fires, when a target was told of it last';

CREATE VIEW alert_history WITH (security_barrier) AS
	SELECT e.at, e.rule, e.labels, e.from_state, e.to_state, e.value, e.happened_at, e.owner, e.rule_id, e.event_id
	FROM metricsdb.alert_event e
	WHERE pg_catalog.pg_has_role(e.owner::oid, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE');
COMMENT ON VIEW alert_history IS
	'changes of the states of alerts, also of rules that are gone: at of the data, happened_at by the clock; kept for metricsdb.alert_history_retention';

-- For Grafana's annotations, which are what a query says is from time to timeend.
CREATE VIEW alert_annotations WITH (security_barrier) AS
	SELECT e.at AS "time", e.until AS timeend, e.rule || coalesce(': ' || e.what, '') AS text,
		(SELECT pg_catalog.string_agg(l.key || '=' || l.value, ',' ORDER BY l.key) FROM pg_catalog.jsonb_each_text(e.labels) l) AS tags,
		e.rule, e.labels, e.value, e.owner
	FROM (
		SELECT v.*, coalesce(i.annotations ->> 'summary', i.annotations ->> 'description') AS what,
			v.to_state IN ('firing', 'nodata', 'error') AND v.from_state NOT IN ('firing', 'recovering', 'nodata', 'error') AS begins,
			(SELECT pg_catalog.min(n.at) FROM metricsdb.alert_event n WHERE n.rule_id = v.rule_id AND n.labels = v.labels
				AND n.event_id > v.event_id AND n.to_state NOT IN ('firing', 'recovering', 'nodata', 'error')) AS until
		FROM metricsdb.alert_event v
			LEFT JOIN metricsdb.alert_instance i ON i.rule_id = v.rule_id AND i.labels = v.labels) e
	WHERE e.begins
		AND (pg_catalog.pg_has_role(e.owner::oid, 'USAGE') OR pg_catalog.pg_has_role('pg_monitor', 'USAGE'));
COMMENT ON VIEW alert_annotations IS
	'each time that an alert has fired, from when to when (NULL: it still does), as Grafana''s annotations want it: time, timeend, text, tags';

GRANT SELECT ON alert_rules, alerts, alert_history, alert_annotations TO PUBLIC;
