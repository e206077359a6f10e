-- What compaction did to each storage: one row, made by the first merge or the first failure.
CREATE TABLE compaction (
	storage_id      int8        NOT NULL PRIMARY KEY,
	since           timestamptz NOT NULL,
	merges          int8        NOT NULL,
	merged_rows     int8        NOT NULL,
	merged_bytes    int8        NOT NULL,	-- encoded, as written by merges
	level0_bytes    int8        NOT NULL,	-- encoded, of inputs that no merge had written
	moved_bytes     int8        NOT NULL,	-- encoded, of parts moved to the front of the file
	last_merge_at   timestamptz,
	last_seconds    float8,
	last_inputs     int4,
	last_rows       int8,
	last_bytes      int8,
	failures        int4        NOT NULL,	-- in a row
	last_error      text,
	last_error_at   timestamptz,
	retry_at        timestamptz
) USING heap WITH (fillfactor = 50);
COMMENT ON TABLE compaction IS 'what compaction did to the files of metricsdb tables';
REVOKE ALL ON compaction FROM PUBLIC;

CREATE FUNCTION all_compaction(
	OUT "table" regclass, OUT parts int8, OUT parts_by_level jsonb, OUT bytes int8,
	OUT delta_rows int8, OUT delta_bytes int8, OUT sealed_deltas oid[],
	OUT bytes_waiting int8, OUT file_pages int8, OUT free_pages int8,
	OUT merges int8, OUT last_merge_at timestamptz, OUT last_merge_seconds float8, OUT last_merge_inputs int4,
	OUT last_merge_rows int8, OUT last_merge_bytes int8, OUT merged_bytes int8, OUT moved_bytes int8,
	OUT failures int4, OUT last_error text, OUT last_error_at timestamptz, OUT retry_at timestamptz,
	OUT write_amplification float8, OUT cold_parts int8, OUT cold_bytes int8) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'mdb_all_compaction' LANGUAGE C;
COMMENT ON FUNCTION all_compaction() IS 'rows of the view metricsdb.compaction_status, but for what is in the way';

-- Transaction ids of other sessions are hidden from most users; here only the oldest is told, and whose it is.
CREATE FUNCTION oldest_snapshot(OUT xmin xid, OUT holder text) RETURNS record
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
		SELECT x, what FROM (
			SELECT backend_xmin, 'pid ' || pid FROM pg_stat_activity
				WHERE backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
					AND (datname = current_database() OR datname IS NULL)
			UNION ALL SELECT transaction, 'prepared transaction ' || quote_literal(gid) FROM pg_prepared_xacts
				WHERE database = current_database()
			UNION ALL SELECT s.xmin, 'replication slot ' || quote_ident(slot_name) FROM pg_replication_slots s
				WHERE s.xmin IS NOT NULL) h (x, what)
		ORDER BY age(x) DESC, what LIMIT 1
	$$;
COMMENT ON FUNCTION oldest_snapshot() IS
	'the oldest transaction id that a session, prepared transaction or replication slot may still look back to, and which one that is';
