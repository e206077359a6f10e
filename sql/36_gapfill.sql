-- Buckets without gaps.  These mean something only where they stand in a query: locf and interpolate are stable, so
-- that they are not computed beforehand; buckets are volatile, so that the planner, which knows nothing of the rows
-- that will be made, concludes nothing from conditions on them.

CREATE FUNCTION gapfill_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_gapfill_support' LANGUAGE C IMMUTABLE STRICT;
COMMENT ON FUNCTION gapfill_support(internal) IS 'lets the planner load the library before it plans a query that fills gaps';

CREATE FUNCTION time_bucket_gapfill(bucket_width smallint, ts smallint, start smallint DEFAULT NULL, finish smallint DEFAULT NULL)
	RETURNS smallint AS 'MODULE_PATHNAME', 'mdb_gapfill_bucket' LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT gapfill_support;
COMMENT ON FUNCTION time_bucket_gapfill(smallint, smallint, smallint, smallint) IS
	'time_bucket; as a key of GROUP BY also makes rows for buckets that have none, from start to before finish or as WHERE says';
CREATE FUNCTION time_bucket_gapfill(bucket_width integer, ts integer, start integer DEFAULT NULL, finish integer DEFAULT NULL)
	RETURNS integer AS 'MODULE_PATHNAME', 'mdb_gapfill_bucket' LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT gapfill_support;
COMMENT ON FUNCTION time_bucket_gapfill(integer, integer, integer, integer) IS 'the same for integer';
CREATE FUNCTION time_bucket_gapfill(bucket_width bigint, ts bigint, start bigint DEFAULT NULL, finish bigint DEFAULT NULL)
	RETURNS bigint AS 'MODULE_PATHNAME', 'mdb_gapfill_bucket' LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT gapfill_support;
COMMENT ON FUNCTION time_bucket_gapfill(bigint, bigint, bigint, bigint) IS 'the same for bigint';
CREATE FUNCTION time_bucket_gapfill(bucket_width interval, ts date, start date DEFAULT NULL, finish date DEFAULT NULL)
	RETURNS date AS 'MODULE_PATHNAME', 'mdb_gapfill_bucket' LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT gapfill_support;
COMMENT ON FUNCTION time_bucket_gapfill(interval, date, date, date) IS 'the same for date';
CREATE FUNCTION time_bucket_gapfill(bucket_width interval, ts timestamp, start timestamp DEFAULT NULL, finish timestamp DEFAULT NULL)
	RETURNS timestamp AS 'MODULE_PATHNAME', 'mdb_gapfill_bucket' LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT gapfill_support;
COMMENT ON FUNCTION time_bucket_gapfill(interval, timestamp, timestamp, timestamp) IS 'the same for timestamp';
CREATE FUNCTION time_bucket_gapfill(bucket_width interval, ts timestamptz, start timestamptz DEFAULT NULL, finish timestamptz DEFAULT NULL)
	RETURNS timestamptz AS 'MODULE_PATHNAME', 'mdb_gapfill_bucket' LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT gapfill_support;
COMMENT ON FUNCTION time_bucket_gapfill(interval, timestamptz, timestamptz, timestamptz) IS 'the same for timestamptz';
CREATE FUNCTION time_bucket_gapfill(bucket_width interval, ts timestamptz, timezone text, start timestamptz DEFAULT NULL,
	finish timestamptz DEFAULT NULL)
	RETURNS timestamptz AS 'MODULE_PATHNAME', 'mdb_gapfill_bucket' LANGUAGE C VOLATILE PARALLEL SAFE SUPPORT gapfill_support;
COMMENT ON FUNCTION time_bucket_gapfill(interval, timestamptz, text, timestamptz, timestamptz) IS
	'the same for timestamptz, in the local time of a zone';

CREATE FUNCTION locf(value anyelement, prev anyelement DEFAULT NULL, treat_null_as_missing boolean DEFAULT false)
	RETURNS anyelement AS 'MODULE_PATHNAME', 'mdb_gapfill_marker' LANGUAGE C STABLE PARALLEL SAFE SUPPORT gapfill_support;
COMMENT ON FUNCTION locf(anyelement, anyelement, boolean) IS
	'in a query with time_bucket_gapfill: fills gaps with the value before, at the beginning with prev';
CREATE FUNCTION interpolate(value smallint, prev record DEFAULT NULL, next record DEFAULT NULL)
	RETURNS smallint AS 'MODULE_PATHNAME', 'mdb_gapfill_marker' LANGUAGE C STABLE PARALLEL SAFE SUPPORT gapfill_support;
COMMENT ON FUNCTION interpolate(smallint, record, record) IS
	'in a query with time_bucket_gapfill: fills gaps along a line between the values around; prev and next are (time, value) outside of the range';
CREATE FUNCTION interpolate(value integer, prev record DEFAULT NULL, next record DEFAULT NULL)
	RETURNS integer AS 'MODULE_PATHNAME', 'mdb_gapfill_marker' LANGUAGE C STABLE PARALLEL SAFE SUPPORT gapfill_support;
COMMENT ON FUNCTION interpolate(integer, record, record) IS 'the same for integer';
CREATE FUNCTION interpolate(value bigint, prev record DEFAULT NULL, next record DEFAULT NULL)
	RETURNS bigint AS 'MODULE_PATHNAME', 'mdb_gapfill_marker' LANGUAGE C STABLE PARALLEL SAFE SUPPORT gapfill_support;
COMMENT ON FUNCTION interpolate(bigint, record, record) IS 'the same for bigint';
CREATE FUNCTION interpolate(value real, prev record DEFAULT NULL, next record DEFAULT NULL)
	RETURNS real AS 'MODULE_PATHNAME', 'mdb_gapfill_marker' LANGUAGE C STABLE PARALLEL SAFE SUPPORT gapfill_support;
COMMENT ON FUNCTION interpolate(real, record, record) IS 'the same for real';
CREATE FUNCTION interpolate(value double precision, prev record DEFAULT NULL, next record DEFAULT NULL)
	RETURNS double precision AS 'MODULE_PATHNAME', 'mdb_gapfill_marker' LANGUAGE C STABLE PARALLEL SAFE SUPPORT gapfill_support;
COMMENT ON FUNCTION interpolate(double precision, record, record) IS 'the same for double precision';

CREATE FUNCTION hist_transition(internal, double precision, double precision, double precision, integer) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_hist_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION hist_transition(internal, double precision, double precision, double precision, integer) IS
	'transition function of the aggregate histogram';
CREATE FUNCTION hist_combine(internal, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_hist_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION hist_combine(internal, internal) IS 'combines states of the aggregate histogram';
CREATE FUNCTION hist_final(internal) RETURNS integer[]
	AS 'MODULE_PATHNAME', 'mdb_hist_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION hist_final(internal) IS 'final function of the aggregate histogram';
CREATE FUNCTION hist_serial(internal) RETURNS bytea
	AS 'MODULE_PATHNAME', 'mdb_hist_serial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hist_serial(internal) IS 'serialises a state of the aggregate histogram';
CREATE FUNCTION hist_deserial(bytea, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_hist_deserial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hist_deserial(bytea, internal) IS 'reads what hist_serial has written';
CREATE AGGREGATE histogram(value double precision, min double precision, max double precision, nbuckets integer) (
	SFUNC = hist_transition, STYPE = internal, FINALFUNC = hist_final, COMBINEFUNC = hist_combine,
	SERIALFUNC = hist_serial, DESERIALFUNC = hist_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE histogram(double precision, double precision, double precision, integer) IS
	'how many values are below min, in each of nbuckets equal parts of the range, and from max on; NULLs do not count';

CREATE FUNCTION approximate_row_count(relation regclass) RETURNS bigint
	AS 'MODULE_PATHNAME', 'mdb_approximate_row_count' LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION approximate_row_count(regclass) IS
	'about how many rows a table has, with its partitions and children, without reading them; NULL where row-level security hides some';
