-- Options of tables.

CREATE FUNCTION set_options("table" regclass, "time" text DEFAULT NULL, series text[] DEFAULT NULL) RETURNS void
	AS 'MODULE_PATHNAME', 'mdb_set_options' LANGUAGE C;
COMMENT ON FUNCTION set_options(regclass, text, text[]) IS
	'set the time column and the series columns of an empty table: NULL = to be inferred, '''' and ''{}'' = none';

CREATE FUNCTION version() RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS $$ SELECT extversion FROM pg_extension WHERE extname = 'metricsdb' $$;
COMMENT ON FUNCTION version() IS 'version of the extension as installed in this database';
