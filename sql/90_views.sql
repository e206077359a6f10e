-- Views for operators.  What they show is decided by the functions below them, by the caller's
-- privileges: the catalogs themselves are not readable.

CREATE VIEW parts AS SELECT * FROM all_parts();
COMMENT ON VIEW parts IS
	'the immutable parts of the metricsdb tables that you may read; what row-level security hides is NULL';
GRANT SELECT ON parts TO PUBLIC;

CREATE VIEW compaction_status AS
	SELECT c."table", c.parts, c.parts_by_level, c.bytes, c.cold_parts, c.cold_bytes, c.delta_rows, c.delta_bytes, c.bytes_waiting,
		c.file_pages, c.free_pages, c.merges, c.last_merge_at, c.last_merge_seconds, c.last_merge_inputs,
		c.last_merge_rows, c.last_merge_bytes, c.merged_bytes, c.moved_bytes, c.write_amplification,
		o.xmin AS oldest_blocking_xmin, o.holder AS oldest_blocker, l.blocked_by,
		c.failures, c.last_error, c.last_error_at, c.retry_at
	FROM all_compaction() c CROSS JOIN oldest_snapshot() o
	CROSS JOIN LATERAL (
		SELECT array_agg(DISTINCT coalesce('pid ' || k.pid, 'prepared transaction ' || quote_literal(x.gid))
				|| ': ' || k.mode) AS blocked_by
		FROM pg_catalog.pg_locks k
		LEFT JOIN pg_catalog.pg_locks kx ON k.pid IS NULL AND kx.virtualtransaction = k.virtualtransaction
			AND kx.locktype = 'transactionid' AND kx.mode = 'ExclusiveLock'
		LEFT JOIN pg_catalog.pg_prepared_xacts x ON x.transaction = kx.transactionid
		WHERE k.granted AND k.locktype = 'relation'
			AND k.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
			AND (k.relation = c."table" AND k.mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
					'ExclusiveLock', 'AccessExclusiveLock')
				OR k.relation = ANY (c.sealed_deltas) AND k.mode = 'RowExclusiveLock')
			AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.pid = k.pid AND a.backend_type = 'metricsdb maintainer')
	) l;
COMMENT ON VIEW compaction_status IS
	'what compaction has to do and has done, table by table, and what is in its way; for the tables'' owners and for pg_monitor';
GRANT SELECT ON compaction_status TO PUBLIC;
