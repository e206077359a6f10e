-- Queries on tables that are answered by their continuous aggregates.

CREATE FUNCTION rollup_valid_from(timezone text, bucket_width bigint, bucket_begin bigint) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'mdb_rollup_valid_from' LANGUAGE C STABLE PARALLEL SAFE;
COMMENT ON FUNCTION rollup_valid_from(text, bigint, bigint) IS
	'from when on do local times of the session''s zone change where buckets begin? The width in microseconds, the beginning of one from 2000 on; for queries that are routed';
