-- Functions for queries.

CREATE FUNCTION time_bucket(bucket_width interval, ts timestamptz) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'mdb_bucket_timestamp' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_bucket(interval, timestamptz) IS
	'beginning of the bucket that a time lies in; weeks and less from Monday, 3 January 2000, UTC; months from January 2000';
CREATE FUNCTION time_bucket(bucket_width interval, ts timestamptz, origin timestamptz) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'mdb_bucket_timestamp' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_bucket(interval, timestamptz, timestamptz) IS 'the same, buckets counted from an origin';
CREATE FUNCTION time_bucket(bucket_width interval, ts timestamptz, "offset" interval) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'mdb_bucket_timestamp_offset' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_bucket(interval, timestamptz, interval) IS 'the same, buckets moved by an offset';
CREATE FUNCTION time_bucket(bucket_width interval, ts timestamptz, timezone text, origin timestamptz DEFAULT NULL,
	"offset" interval DEFAULT NULL) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'mdb_bucket_zone' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION time_bucket(interval, timestamptz, text, timestamptz, interval) IS
	'the same in the local time of a zone: days begin at its midnight';

CREATE FUNCTION time_bucket(bucket_width interval, ts timestamp) RETURNS timestamp
	AS 'MODULE_PATHNAME', 'mdb_bucket_timestamp' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_bucket(interval, timestamp) IS 'beginning of the bucket that a time without zone lies in';
CREATE FUNCTION time_bucket(bucket_width interval, ts timestamp, origin timestamp) RETURNS timestamp
	AS 'MODULE_PATHNAME', 'mdb_bucket_timestamp' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_bucket(interval, timestamp, timestamp) IS 'the same, buckets counted from an origin';
CREATE FUNCTION time_bucket(bucket_width interval, ts timestamp, "offset" interval) RETURNS timestamp
	AS 'MODULE_PATHNAME', 'mdb_bucket_timestamp_offset' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_bucket(interval, timestamp, interval) IS 'the same, buckets moved by an offset';

CREATE FUNCTION time_bucket(bucket_width interval, ts date) RETURNS date
	AS 'MODULE_PATHNAME', 'mdb_bucket_date' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_bucket(interval, date) IS 'beginning of the bucket that a date lies in';
CREATE FUNCTION time_bucket(bucket_width interval, ts date, origin date) RETURNS date
	AS 'MODULE_PATHNAME', 'mdb_bucket_date' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_bucket(interval, date, date) IS 'the same, buckets counted from an origin';
CREATE FUNCTION time_bucket(bucket_width interval, ts date, "offset" interval) RETURNS date
	AS 'MODULE_PATHNAME', 'mdb_bucket_date_offset' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_bucket(interval, date, interval) IS 'the same, buckets moved by an offset';

CREATE FUNCTION time_bucket(bucket_width smallint, ts smallint) RETURNS smallint
	AS 'MODULE_PATHNAME', 'mdb_bucket_int2' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_bucket(smallint, smallint) IS 'beginning of the bucket that an integer lies in';
CREATE FUNCTION time_bucket(bucket_width smallint, ts smallint, "offset" smallint) RETURNS smallint
	AS 'MODULE_PATHNAME', 'mdb_bucket_int2' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_bucket(smallint, smallint, smallint) IS 'the same, buckets moved by an offset';
CREATE FUNCTION time_bucket(bucket_width integer, ts integer) RETURNS integer
	AS 'MODULE_PATHNAME', 'mdb_bucket_int4' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_bucket(integer, integer) IS 'beginning of the bucket that an integer lies in';
CREATE FUNCTION time_bucket(bucket_width integer, ts integer, "offset" integer) RETURNS integer
	AS 'MODULE_PATHNAME', 'mdb_bucket_int4' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_bucket(integer, integer, integer) IS 'the same, buckets moved by an offset';
CREATE FUNCTION time_bucket(bucket_width bigint, ts bigint) RETURNS bigint
	AS 'MODULE_PATHNAME', 'mdb_bucket_int8' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_bucket(bigint, bigint) IS 'beginning of the bucket that an integer lies in';
CREATE FUNCTION time_bucket(bucket_width bigint, ts bigint, "offset" bigint) RETURNS bigint
	AS 'MODULE_PATHNAME', 'mdb_bucket_int8' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_bucket(bigint, bigint, bigint) IS 'the same, buckets moved by an offset';

CREATE FUNCTION first_transition(internal, anyelement, "any") RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_first_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION first_transition(internal, anyelement, "any") IS 'transition function of the aggregate first';
CREATE FUNCTION last_transition(internal, anyelement, "any") RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_last_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION last_transition(internal, anyelement, "any") IS 'transition function of the aggregate last';
CREATE FUNCTION first_combine(internal, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_first_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION first_combine(internal, internal) IS 'combines states of the aggregate first';
CREATE FUNCTION last_combine(internal, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_last_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION last_combine(internal, internal) IS 'combines states of the aggregate last';
CREATE FUNCTION end_final(internal, anyelement, "any") RETURNS anyelement
	AS 'MODULE_PATHNAME', 'mdb_end_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION end_final(internal, anyelement, "any") IS 'final function of the aggregates first and last';
CREATE FUNCTION end_serial(internal) RETURNS bytea
	AS 'MODULE_PATHNAME', 'mdb_end_serial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION end_serial(internal) IS 'serialises a state of the aggregates first and last';
CREATE FUNCTION end_deserial(bytea, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_end_deserial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION end_deserial(bytea, internal) IS 'reads what end_serial has written';

CREATE AGGREGATE first(value anyelement, "time" "any") (SFUNC = first_transition, STYPE = internal,
	FINALFUNC = end_final, FINALFUNC_EXTRA, COMBINEFUNC = first_combine, SERIALFUNC = end_serial,
	DESERIALFUNC = end_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE first(anyelement, "any") IS 'the value of the row with the lowest time; rows without a time do not count';
CREATE AGGREGATE last(value anyelement, "time" "any") (SFUNC = last_transition, STYPE = internal,
	FINALFUNC = end_final, FINALFUNC_EXTRA, COMBINEFUNC = last_combine, SERIALFUNC = end_serial,
	DESERIALFUNC = end_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE last(anyelement, "any") IS 'the value of the row with the highest time; rows without a time do not count';
