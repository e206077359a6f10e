-- Options of tables.

CREATE FUNCTION set_options("table" regclass, "time" text DEFAULT NULL, series text[] DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'mdb_set_options' LANGUAGE C;
COMMENT ON FUNCTION set_options(regclass, text, text[]) IS
	'set the time column and the series columns of an empty table: NULL = to be inferred, '''' and ''{}'' = none';

CREATE FUNCTION version() RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS $$ SELECT extversion FROM pg_extension WHERE extname = 'metricsdb' $$;
COMMENT ON FUNCTION metricsdb.version() IS 'version of the extension as installed in this database';

-- What a table is, and where its bytes go.  These check the caller's privileges themselves.

CREATE FUNCTION describe("table" regclass,
	OUT "column" name, OUT type text, OUT role text, OUT storage text, OUT declared bool) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'mdb_describe' LANGUAGE C STRICT STABLE;
COMMENT ON FUNCTION describe(regclass) IS
	'columns of a metricsdb table: role (time, series, value), how they are kept, and whether options said so';

CREATE FUNCTION relation_size("table" regclass) RETURNS int8
	AS 'MODULE_PATHNAME', 'mdb_relation_size' LANGUAGE C STRICT;
COMMENT ON FUNCTION relation_size(regclass) IS
	'bytes that a metricsdb table takes on disk: its file, its delta heaps, its part of the series dictionary';

CREATE FUNCTION relation_stats("table" regclass,
	OUT rows int8, OUT samples int8, OUT series int8, OUT parts int8, OUT delta_rows int8,
	OUT total_bytes int8, OUT main_bytes int8, OUT delta_bytes int8, OUT dictionary_bytes int8,
	OUT bytes_per_sample float8, OUT bytes_per_row float8) RETURNS record
	AS 'MODULE_PATHNAME', 'mdb_relation_stats' LANGUAGE C STRICT;
COMMENT ON FUNCTION relation_stats(regclass) IS
	'figures of a metricsdb table; a sample is a value that is not NULL in a column other than the time and the series; '
	'series are those of the dictionary, also ones whose rows were rolled back or are gone';

CREATE FUNCTION column_stats("table" regclass,
	OUT "column" name, OUT role text, OUT bytes int8, OUT "values" int8, OUT bytes_per_value float8,
	OUT share float8, OUT codecs jsonb) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'mdb_column_stats' LANGUAGE C STRICT;
COMMENT ON FUNCTION column_stats(regclass) IS
	'bytes of a metricsdb table by column, with the codecs of its chunks; all bytes add up to relation_size()';

CREATE FUNCTION all_parts(
	OUT "table" regclass, OUT part_id int8, OUT level int4,
	OUT partition_from timestamptz, OUT partition_to timestamptz, OUT time_min timestamptz, OUT time_max timestamptz,
	OUT rows int8, OUT blocks int4, OUT series int8, OUT bytes int8, OUT pages int4, OUT format int4,
	OUT created_at timestamptz, OUT source_id int4, OUT epoch int8) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'mdb_parts_sql' LANGUAGE C STABLE;
COMMENT ON FUNCTION all_parts() IS 'rows of the view metricsdb.parts';

-- "check" is a word of SQL's own: it is called with its schema.
CREATE FUNCTION metricsdb.check("table" regclass, decode bool DEFAULT true, free bool DEFAULT false,
	OUT severity text, OUT kind text, OUT part int8, OUT block int4, OUT "column" name, OUT page int8,
	OUT message text) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'mdb_check_sql' LANGUAGE C;
COMMENT ON FUNCTION metricsdb.check(regclass, bool, bool) IS
	'look for damage in a metricsdb table: a row for each finding, none if all is well. decode: also decode every block. '
	'free: also list free pages. For the table''s owner';
