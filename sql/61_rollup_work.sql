-- Keeping continuous aggregates up to date, and what is told about that.

CREATE PROCEDURE refresh(view regclass, "from" "any" DEFAULT NULL, "to" "any" DEFAULT NULL)
	AS 'MODULE_PATHNAME', 'mdb_refresh_sql' LANGUAGE C;
COMMENT ON PROCEDURE refresh(regclass, "any", "any") IS
	'bring a continuous aggregate up to date for times from the first on and before the second, NULL for no bound, and before it '
	'the finer ones that it is made of: what it has not taken of its source, in open buckets, too, and buckets whose rows have '
	'changed. Commits after each batch. For the owner';

CREATE FUNCTION attach_aggregate(view regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'mdb_attach_aggregate' LANGUAGE C STRICT;
COMMENT ON FUNCTION attach_aggregate(regclass) IS
	'let the worker keep a continuous aggregate up to date again, which was detached, or whose states were restored by COPY. For the owner';

CREATE FUNCTION detach_aggregate(view regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'mdb_detach_aggregate' LANGUAGE C STRICT;
COMMENT ON FUNCTION detach_aggregate(regclass) IS
	'do not keep a continuous aggregate up to date for now; what it has not taken is read from its source, and merges of that do '
	'not wait for it. A worker does so by itself after metricsdb.rollup_max_failures failures in a row. For the owner';

CREATE FUNCTION all_aggregates(
	OUT view regclass, OUT source regclass, OUT states regclass, OUT attached bool, OUT lag interval,
	OUT pending_parts int8, OUT pending_rows int8, OUT dirty_buckets int8, OUT inexact_buckets int8,
	OUT rows int8, OUT bytes int8, OUT last_applied_at timestamptz,
	OUT failures int4, OUT last_error text, OUT last_error_at timestamptz, OUT retry_at timestamptz,
	OUT fills_back bool, OUT created_at timestamptz, OUT source_parts int8, OUT source_rows int8,
	OUT old_parts int8, OUT old_rows int8, OUT batch_rows int4) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'mdb_all_aggregates' LANGUAGE C;
COMMENT ON FUNCTION all_aggregates() IS 'rows of the views metricsdb.aggregate_status and metricsdb.aggregate_progress';

CREATE FUNCTION all_inexact(OUT view regclass, OUT bucket timestamptz) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'mdb_all_inexact' LANGUAGE C;
COMMENT ON FUNCTION all_inexact() IS 'rows of the view metricsdb.aggregate_inexact';

CREATE VIEW aggregate_status AS
	SELECT view, source, states, attached, lag, pending_parts, pending_rows, dirty_buckets, inexact_buckets, rows, bytes,
		last_applied_at, failures, last_error, last_error_at, retry_at
	FROM all_aggregates();
COMMENT ON VIEW aggregate_status IS
	'where the continuous aggregates that you may read stand: lag is for how long rows of closed buckets have been waiting; '
	'pending_parts have about pending_rows rows that are read from the source, of open buckets, too; rows and bytes are those of '
	'the states';
GRANT SELECT ON aggregate_status TO PUBLIC;

CREATE VIEW aggregate_progress AS
	SELECT view, CASE WHEN NOT attached THEN 'detached' WHEN fills_back THEN 'filling back' ELSE 'waiting for refresh' END AS phase,
		source_parts AS parts_total, source_parts - old_parts AS parts_done,
		source_rows AS rows_total, source_rows - old_rows AS rows_done, batch_rows, created_at AS since
	FROM all_aggregates() WHERE old_parts > 0;
COMMENT ON VIEW aggregate_progress IS
	'continuous aggregates that have not yet taken all of what their source had before them, newest first, about batch_rows rows '
	'at a time: how far they are';
GRANT SELECT ON aggregate_progress TO PUBLIC;

CREATE VIEW aggregate_inexact AS SELECT * FROM all_inexact();
COMMENT ON VIEW aggregate_inexact IS
	'buckets of continuous aggregates of which rows were deleted or updated when the source had lost others to retention: they '
	'cannot be made again, and stay as they were';
GRANT SELECT ON aggregate_inexact TO PUBLIC;

CREATE FUNCTION create_rollups("table" regclass, raw_keep interval DEFAULT '30 days',
	levels interval[] DEFAULT '{10 s,1 min,1 h,1 day}', keep interval[] DEFAULT NULL, timezone text DEFAULT 'UTC') RETURNS SETOF regclass
	AS 'MODULE_PATHNAME', 'mdb_create_rollups' LANGUAGE C;
COMMENT ON FUNCTION create_rollups(regclass, interval, interval[], interval[], text) IS
	'make the usual continuous aggregates of a table of metrics, TABLE_10s, TABLE_1min, TABLE_1h and TABLE_1day, or those of other '
	'widths: of each series and each value that is a number count, sum, avg, min, max, first and last, and how many rows there are. Rows of the table are kept '
	'for raw_keep, NULL for as long as they are; buckets as keep says level by level, if it is NULL those below a minute for 7 days, '
	'below an hour for 90 days, others for a year. Days begin at midnight of a zone. What is there already stays. For the owner';

CREATE FUNCTION drop_rollups("table" regclass) RETURNS void
	AS 'MODULE_PATHNAME', 'mdb_drop_rollups' LANGUAGE C STRICT;
COMMENT ON FUNCTION drop_rollups(regclass) IS
	'drop the continuous aggregates of a table that have names such as create_rollups() gives. For the owner';
