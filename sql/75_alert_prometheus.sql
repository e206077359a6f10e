-- Prometheus' expressions, asked of tables; what SQL made of them calls.

CREATE FUNCTION promql_op(a float8, operator text, b float8) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_promql_op' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION promql_op(float8, text, float8) IS
	'+, -, *, /, %, ^ or atan2 as Prometheus has them: infinities and NaN instead of errors';

CREATE FUNCTION promql_compare(a float8, operator text, b float8) RETURNS boolean
	AS 'MODULE_PATHNAME', 'mdb_promql_compare' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION promql_compare(float8, text, float8) IS
	'==, !=, <, <=, > or >= as Prometheus has them: NaN is neither equal to, nor less or more than anything';

CREATE FUNCTION promql_math(function text, value float8, a float8 DEFAULT 0, b float8 DEFAULT 0) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_promql_math' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION promql_math(text, float8, float8, float8) IS
	'a function of Prometheus of one value: abs, ceil, clamp, hour, ln, round and the like';

CREATE FUNCTION promql_stale(value float8) RETURNS boolean
	AS 'MODULE_PATHNAME', 'mdb_promql_stale' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION promql_stale(float8) IS 'is this the NaN by which Prometheus marks a series'' end?';

CREATE FUNCTION promql_one(count bigint, message text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'mdb_promql_one' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION promql_one(bigint, text) IS 'true, or an error if there are several of the same labels';

CREATE FUNCTION promql_labels(tags jsonb) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'mdb_promql_labels' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION promql_labels(jsonb) IS 'tags as labels: values are texts, none is empty or null';

CREATE FUNCTION promql_by(labels jsonb, VARIADIC names text[]) RETURNS jsonb
	AS 'MODULE_PATHNAME', 'mdb_promql_by' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION promql_by(jsonb, text[]) IS 'those of the labels that have these names';

CREATE FUNCTION promql_to_sql(expression text, source regclass, at timestamptz DEFAULT NULL,
		lookback interval DEFAULT '5 min', step interval DEFAULT '1 min') RETURNS text
	AS 'MODULE_PATHNAME', 'mdb_promql_to_sql' LANGUAGE C STABLE;
COMMENT ON FUNCTION promql_to_sql(text, regclass, timestamptz, interval, interval) IS
	'an expression of Prometheus as a query of a table at a time, NULL: at metricsdb.eval_time()';

CREATE FUNCTION promql(expression text, source regclass, at timestamptz DEFAULT pg_catalog.now(),
		lookback interval DEFAULT '5 min', step interval DEFAULT '1 min')
	RETURNS TABLE (metric text, labels jsonb, value float8)
	AS 'MODULE_PATHNAME', 'mdb_promql' LANGUAGE C STABLE SET search_path = pg_catalog, metricsdb;
COMMENT ON FUNCTION promql(text, regclass, timestamptz, interval, interval) IS
	'what an expression of Prometheus is at a time, asked of a table';

-- Who may create rules is said by the privilege on create_alert(), which this calls.
CREATE FUNCTION import_prometheus_rules(rules text, source regclass, targets text[] DEFAULT NULL, prefix text DEFAULT '',
		every interval DEFAULT '1 min', incremental boolean DEFAULT false, replace boolean DEFAULT false)
	RETURNS TABLE ("group" text, rule text, kind text, status text, reason text)
	AS 'MODULE_PATHNAME', 'mdb_import_prometheus_rules' LANGUAGE C VOLATILE;
COMMENT ON FUNCTION import_prometheus_rules(text, regclass, text[], text, interval, boolean, boolean) IS
	'create rules from a rule file of Prometheus, over a table, or with replace change those that are there: a row for each, with '
	'the reason if it was refused; with incremental those that can be are of kind threshold';

CREATE FUNCTION run_alert_tests(tests text, rules text DEFAULT NULL)
	RETURNS TABLE (test text, ok boolean, message text)
	AS 'MODULE_PATHNAME', 'mdb_run_alert_tests' LANGUAGE C VOLATILE SET search_path = pg_catalog, metricsdb;
COMMENT ON FUNCTION run_alert_tests(text, text) IS
	'run unit tests in the format of promtool on the rules of a rule file: a row for each check, and each rule that fails';
