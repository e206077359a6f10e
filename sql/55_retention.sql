-- How long tables keep their rows.

CREATE FUNCTION set_retention("table" regclass, keep interval, metric text DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'mdb_set_retention' LANGUAGE C;
COMMENT ON FUNCTION set_retention(regclass, interval, text) IS
	'let rows of a metricsdb table go that are older than keep; with metric only those of metrics that match it, where * '
	'stands for any characters and ? for one: of several patterns that match the one with the most other characters counts. '
	'NULL removes that, without metric with all its classes. Of a continuous aggregate''s view, it is for how long its buckets are '
	'kept. For the table''s owner';

CREATE PROCEDURE apply_retention("table" regclass DEFAULT NULL)
	AS 'MODULE_PATHNAME', 'mdb_apply_retention' LANGUAGE C;
COMMENT ON PROCEDURE apply_retention(regclass) IS
	'remove the rows of a metricsdb table, or of all that you own, that are older than set_retention() says: whole parts, '
	'and single rows of the delta. Commits after each table';

CREATE FUNCTION all_retention(
	OUT "table" regclass, OUT metric text, OUT keep interval, OUT horizon timestamptz,
	OUT parts int8, OUT rows int8, OUT bytes int8, OUT due_parts int8, OUT needed_parts int8, OUT unsorted_parts int8) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'mdb_all_retention' LANGUAGE C STABLE;
COMMENT ON FUNCTION all_retention() IS 'rows of the view metricsdb.retention_policies';

CREATE VIEW retention_policies AS SELECT * FROM all_retention();
COMMENT ON VIEW retention_policies IS
	'how long the tables that you may read keep their rows: a row for each class of metrics, and one for all other rows (metric '
	'is NULL), with the parts that it has, and how many are old enough to go; needed_parts of these stay until continuous aggregates have '
	'taken them. unsorted_parts were written before the classes '
	'were as they are, and are kept as long as the class that is kept for longest, until compaction has sorted them';
GRANT SELECT ON retention_policies TO PUBLIC;
