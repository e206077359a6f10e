-- What series a table has.  The functions check the caller's privileges, and row-level security, by themselves.
-- "from" <= time < "to"; NULL = no bound.  Of a partitioned table the partitions' are told, each series once.

CREATE FUNCTION metric_names("table" regclass, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL)
	RETURNS SETOF text AS 'MODULE_PATHNAME', 'mdb_metric_names' LANGUAGE C STABLE;
COMMENT ON FUNCTION metric_names(regclass, timestamptz, timestamptz) IS
	'names of the metrics of a table, with a time range those that have rows in it; a table without a column of names is one metric, called as itself';

CREATE FUNCTION tag_keys("table" regclass, metric text DEFAULT NULL, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL)
	RETURNS SETOF text AS 'MODULE_PATHNAME', 'mdb_tag_keys' LANGUAGE C STABLE;
COMMENT ON FUNCTION tag_keys(regclass, text, timestamptz, timestamptz) IS
	'keys of the tags of a metric, or of all; of a table without a column of tags the series columns are the tags';

CREATE FUNCTION tag_values("table" regclass, metric text, key text, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL)
	RETURNS SETOF text AS 'MODULE_PATHNAME', 'mdb_tag_values' LANGUAGE C STABLE;
COMMENT ON FUNCTION tag_values(regclass, text, text, timestamptz, timestamptz) IS
	'values of a tag of a metric, or with metric NULL of all, as text';

CREATE FUNCTION series("table" regclass, metric text DEFAULT NULL, condition text DEFAULT NULL, "from" timestamptz DEFAULT NULL,
	"to" timestamptz DEFAULT NULL, OUT metric_name text, OUT tags jsonb)
	RETURNS SETOF record AS 'MODULE_PATHNAME', 'mdb_series_sql' LANGUAGE C STABLE;
COMMENT ON FUNCTION series(regclass, text, text, timestamptz, timestamptz) IS
	'series of a metric, or of all; condition: an expression on series columns as behind WHERE, which they must meet';

CREATE FUNCTION cardinality("table" regclass, metric text DEFAULT NULL, "from" timestamptz DEFAULT NULL, "to" timestamptz DEFAULT NULL)
	RETURNS int8 AS 'MODULE_PATHNAME', 'mdb_cardinality_sql' LANGUAGE C STABLE;
COMMENT ON FUNCTION cardinality(regclass, text, timestamptz, timestamptz) IS
	'how many series a metric has, or all; of a distributed table each once, whichever nodes have it';

CREATE FUNCTION explain_series("table" regclass, condition text, OUT clause text, OUT resolved text, OUT looked_at int8, OUT series int8)
	RETURNS SETOF record AS 'MODULE_PATHNAME', 'mdb_explain_series' LANGUAGE C STABLE;
COMMENT ON FUNCTION explain_series(regclass, text) IS
	'how conditions on series columns are resolved: by the index, by it for each value, for each series that is met, or, if they may be errors, for each of which a row comes to its turn; '
	'how many terms or values are looked at, and how many registered series are left; of a distributed table the sums of its nodes';

CREATE PROCEDURE collect_series("table" regclass, INOUT removed int8 DEFAULT NULL)
	AS 'MODULE_PATHNAME', 'mdb_collect_series_sql' LANGUAGE C;
COMMENT ON PROCEDURE collect_series(regclass, int8) IS
	'remove series that have no rows in parts any more from the dictionary; commits in between. For the table''s owner';

CREATE FUNCTION rebuild_series_index("table" regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'mdb_rebuild_series_index' LANGUAGE C;
COMMENT ON FUNCTION rebuild_series_index(regclass) IS
	'make the index over the series of a table anew, should metricsdb.check() find it damaged. For the table''s owner';
