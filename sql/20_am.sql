-- The table access method and what is done to tables by hand.

CREATE FUNCTION handler(internal) RETURNS table_am_handler
	AS 'MODULE_PATHNAME', 'mdb_handler' LANGUAGE C STRICT;
COMMENT ON FUNCTION handler(internal) IS 'handler of the table access method metricsdb';

CREATE ACCESS METHOD metricsdb TYPE TABLE HANDLER handler;
COMMENT ON ACCESS METHOD metricsdb IS 'compressed columnar tables for time series';

CREATE FUNCTION proxy_handler(internal) RETURNS index_am_handler
	AS 'MODULE_PATHNAME', 'mdb_proxy_handler' LANGUAGE C STRICT;
COMMENT ON FUNCTION proxy_handler(internal) IS 'handler of the index access method metricsdb_proxy';

CREATE ACCESS METHOD metricsdb_proxy TYPE INDEX HANDLER proxy_handler;
COMMENT ON ACCESS METHOD metricsdb_proxy IS
	'for the delta heaps of metricsdb tables alone: lets VACUUM of them reach the indexes of the table';
CREATE OPERATOR CLASS proxy_ops DEFAULT FOR TYPE int8 USING metricsdb_proxy AS STORAGE int8;
COMMENT ON OPERATOR CLASS proxy_ops USING metricsdb_proxy IS 'for the access method metricsdb_proxy';

CREATE PROCEDURE compact("table" regclass, "full" boolean DEFAULT false)
	AS 'MODULE_PATHNAME', 'mdb_compact_sql' LANGUAGE C;
COMMENT ON PROCEDURE compact(regclass, boolean) IS
	'move the delta of a metricsdb table into parts and merge the parts of each partition, committing after each step; full: as small as can be, which takes longer';

CREATE FUNCTION load_library() RETURNS event_trigger
	AS 'MODULE_PATHNAME', 'mdb_load_library' LANGUAGE C;
COMMENT ON FUNCTION load_library() IS 'loads the library of metricsdb before a table is dropped; does nothing else';
CREATE EVENT TRIGGER metricsdb_load_library ON ddl_command_start EXECUTE FUNCTION load_library();
COMMENT ON EVENT TRIGGER metricsdb_load_library IS 'lets metricsdb notice dropped tables where it is not preloaded';
