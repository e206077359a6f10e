-- The cardinality guard: how many new series a metric may get in an hour.

-- "table" and metric say what for; metric '' is every metric of the table that has no row of its own.
CREATE TABLE cardinality_limit (
	"table"      regclass NOT NULL,
	metric       text     NOT NULL,
	new_per_hour int8     CHECK (new_per_hour >= 0),	-- NULL = any number
	action       text     NOT NULL CHECK (action IN ('reject', 'drop_tag')),
	drop_tag     text     CHECK ((action = 'drop_tag') = (drop_tag IS NOT NULL)),
	home         text     NOT NULL,	-- system identifier/database: SQL is limited only there
	PRIMARY KEY ("table", metric)
) USING heap;
COMMENT ON TABLE cardinality_limit IS
	'limits of new series; written by metricsdb.set_cardinality_limit() and drop_cardinality_limit()';
SELECT pg_catalog.pg_extension_config_dump('metricsdb.cardinality_limit', '');

-- The books of new series: a row for each metric in each transaction that registered some, or more
-- transactions put together.
CREATE TABLE cardinality (
	storage_id   int8        NOT NULL,
	hour         timestamptz NOT NULL,	-- when it began
	metric_hash  int8        NOT NULL,
	metric       text        NOT NULL,	-- its first bytes
	new_series   int8        NOT NULL,
	refused      int8        NOT NULL,	-- points from Kafka
	sketch       bytea					-- of the tags' values, see src/series/cardinality.c
) USING heap WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX cardinality_idx ON cardinality (storage_id, hour, metric_hash);
COMMENT ON TABLE cardinality IS 'new series by table, hour and metric: the present hour and the one before';

-- Of a node's table the share of a coordinator's metricsdb.max_new_series: src/dist/assign.c.
CREATE TABLE cardinality_share (
	"table"      regclass NOT NULL PRIMARY KEY,
	new_per_hour int8     CHECK (new_per_hour >= 0)	-- NULL = any number
) USING heap;
COMMENT ON TABLE cardinality_share IS
	'how many new series an hour of each metric a table gets from Kafka, instead of metricsdb.max_new_series; written by '
	'metricsdb.set_cardinality_share()';
SELECT pg_catalog.pg_extension_config_dump('metricsdb.cardinality_share', '');

REVOKE ALL ON cardinality_limit, cardinality_share, cardinality FROM PUBLIC;

CREATE FUNCTION set_cardinality_share("table" regclass, new_per_hour int8, shared bool DEFAULT true) RETURNS bool
	AS 'MODULE_PATHNAME', 'mdb_set_cardinality_share' LANGUAGE C;
COMMENT ON FUNCTION set_cardinality_share(regclass, int8, bool) IS
	'let a table have so many new series an hour of each metric from Kafka, NULL = any number, instead of '
	'metricsdb.max_new_series, or with shared false that setting again; true if that is a change. Limits of '
	'set_cardinality_limit() come first. Called by a coordinator''s metricsdb.assign_partitions(). For the table''s owner';

CREATE FUNCTION set_cardinality_limit(
	"table"      regclass,
	metric       text,
	new_per_hour int8,
	action       text DEFAULT 'reject',
	drop_tag     text DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'mdb_set_cardinality_limit' LANGUAGE C;
COMMENT ON FUNCTION set_cardinality_limit(regclass, text, int8, text, text) IS
	'limit the new series an hour of a metric, or with metric NULL of each metric of the table, for Kafka and SQL; '
	'new_per_hour NULL = any number; action reject, or drop_tag with the name of the tag. For the table''s owner';

CREATE FUNCTION drop_cardinality_limit("table" regclass, metric text DEFAULT NULL) RETURNS bool
	AS 'MODULE_PATHNAME', 'mdb_drop_cardinality_limit' LANGUAGE C;
COMMENT ON FUNCTION drop_cardinality_limit(regclass, text) IS
	'remove what set_cardinality_limit() has set for that table and metric; false if there was nothing';

CREATE FUNCTION all_cardinality(
	OUT "table" regclass, OUT metric text, OUT hour timestamptz, OUT "limit" int8, OUT new_series int8,
	OUT refused int8, OUT action text, OUT drop_tag text, OUT tag text, OUT tag_values int8,
	OUT active bool, OUT sql_limit int8) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'mdb_all_cardinality' LANGUAGE C;
COMMENT ON FUNCTION all_cardinality() IS 'rows of the view metricsdb.cardinality_status';

CREATE VIEW cardinality_status AS SELECT * FROM all_cardinality();
COMMENT ON VIEW cardinality_status IS
	'new series of each metric in this hour and the last, its limit, points refused, the tag that grows most with the '
	'estimated number of its values, and whether new series are refused now; for the tables'' owners and for pg_monitor';
GRANT SELECT ON cardinality_status TO PUBLIC;
