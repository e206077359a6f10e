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
