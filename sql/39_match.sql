-- Selectors of Prometheus as conditions.  Conditions on series columns of metricsdb tables are resolved by the index
-- over series.

CREATE FUNCTION match(tags jsonb, selector text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'mdb_match_tags' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10;
COMMENT ON FUNCTION match(jsonb, text) IS
	'do tags meet a selector of Prometheus: {job=~"api.*",env!="dev"}? Regular expressions match all of a value; what is absent is empty';

CREATE FUNCTION match(metric_name text, tags jsonb, selector text) RETURNS boolean
	AS 'MODULE_PATHNAME', 'mdb_match_metric' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10;
COMMENT ON FUNCTION match(text, jsonb, text) IS
	'the same with the name of the metric, which is the label __name__: http_requests_total{job="api"}';

CREATE FUNCTION match(selector text, VARIADIC labels text[]) RETURNS boolean
	AS 'MODULE_PATHNAME', 'mdb_match_labels' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10;
COMMENT ON FUNCTION match(text, text[]) IS
	'the same with labels as names and values in turn: match(selector, ''host'', host, ''region'', region)';
