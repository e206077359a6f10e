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
	'(source, metric, matchers, aggregate, window, op, threshold, by or without); silence of series (source, metric, matchers, silent_for); '
	'an expression over other rules; or a query whose result is recorded (record, into_table). Its id';
REVOKE ALL ON FUNCTION create_alert FROM PUBLIC;

CREATE FUNCTION drop_alert(name text) RETURNS void
	LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'mdb_drop_alert';
COMMENT ON FUNCTION drop_alert(text) IS 'drop a rule; what it had firing is told as resolved. For the owner';

CREATE FUNCTION expand_template(template text, labels jsonb DEFAULT '{}', value float8 DEFAULT NULL) RETURNS text
	LANGUAGE C STABLE AS 'MODULE_PATHNAME', 'mdb_expand_template';
COMMENT ON FUNCTION expand_template(text, jsonb, float8) IS
	'a template as labels and annotations of rules have them, expanded: to try it';
