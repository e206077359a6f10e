-- complain if the script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION metricsdb" to load this file. \quit

-- Everything lives in one fixed schema, so that the C code and the users find it by one name.
GRANT USAGE ON SCHEMA metricsdb TO PUBLIC;
COMMENT ON SCHEMA metricsdb IS 'metricsdb: functions, views and catalogs of the metrics store';
