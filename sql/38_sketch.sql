-- Sketches of quantiles: buckets are those of OpenTelemetry's exponential histograms.

CREATE TYPE quantile_sketch;
CREATE FUNCTION quantile_sketch_in(cstring) RETURNS quantile_sketch
	AS 'MODULE_PATHNAME', 'mdb_sketch_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION quantile_sketch_in(cstring) IS 'I/O';
CREATE FUNCTION quantile_sketch_out(quantile_sketch) RETURNS cstring
	AS 'MODULE_PATHNAME', 'mdb_sketch_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION quantile_sketch_out(quantile_sketch) IS 'I/O';
CREATE FUNCTION quantile_sketch_recv(internal) RETURNS quantile_sketch
	AS 'MODULE_PATHNAME', 'mdb_sketch_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION quantile_sketch_recv(internal) IS 'I/O';
CREATE FUNCTION quantile_sketch_send(quantile_sketch) RETURNS bytea
	AS 'MODULE_PATHNAME', 'mdb_sketch_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION quantile_sketch_send(quantile_sketch) IS 'I/O';
CREATE TYPE quantile_sketch (INPUT = quantile_sketch_in, OUTPUT = quantile_sketch_out, RECEIVE = quantile_sketch_recv,
	SEND = quantile_sketch_send, INTERNALLENGTH = VARIABLE, STORAGE = extended);
COMMENT ON TYPE quantile_sketch IS
	'how many values lie in each bucket of a logarithmic scale: quantiles within a relative error, merged without loss';

-- Making them

CREATE FUNCTION sketch_transition(internal, double precision) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_sketch_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION sketch_transition(internal, double precision) IS 'transition function of the aggregate sketch_agg';
CREATE FUNCTION sketch_transition(internal, double precision, integer) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_sketch_transition_buckets' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION sketch_transition(internal, double precision, integer) IS 'transition function of the aggregate sketch_agg';
CREATE FUNCTION sketch_transition(internal, double precision, double precision) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_sketch_transition_error' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION sketch_transition(internal, double precision, double precision) IS 'transition function of the aggregate sketch_agg';
CREATE FUNCTION sketch_transition(internal, integer, double precision, double precision) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_sketch_transition_both' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION sketch_transition(internal, integer, double precision, double precision) IS 'transition function of the aggregate uddsketch';
CREATE FUNCTION sketch_rollup(internal, quantile_sketch) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_sketch_rollup' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION sketch_rollup(internal, quantile_sketch) IS 'transition function of the aggregate rollup of sketches';
CREATE FUNCTION sketch_combine(internal, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_sketch_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION sketch_combine(internal, internal) IS 'combines states of aggregates that make sketches';
CREATE FUNCTION sketch_final(internal) RETURNS quantile_sketch
	AS 'MODULE_PATHNAME', 'mdb_sketch_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION sketch_final(internal) IS 'final function of aggregates that make sketches';
CREATE FUNCTION sketch_serial(internal) RETURNS bytea
	AS 'MODULE_PATHNAME', 'mdb_sketch_serial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION sketch_serial(internal) IS 'serialises a state of aggregates that make sketches';
CREATE FUNCTION sketch_deserial(bytea, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_sketch_deserial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION sketch_deserial(bytea, internal) IS 'reads what sketch_serial has written';

CREATE AGGREGATE sketch_agg(value double precision) (SFUNC = sketch_transition, STYPE = internal, SSPACE = 700,
	FINALFUNC = sketch_final, COMBINEFUNC = sketch_combine, SERIALFUNC = sketch_serial, DESERIALFUNC = sketch_deserial,
	PARALLEL = SAFE);
COMMENT ON AGGREGATE sketch_agg(double precision) IS
	'sketch of the values, of up to 160 buckets a side; NULLs do not count';
CREATE AGGREGATE sketch_agg(value double precision, max_buckets integer) (SFUNC = sketch_transition, STYPE = internal,
	SSPACE = 700, FINALFUNC = sketch_final, COMBINEFUNC = sketch_combine, SERIALFUNC = sketch_serial,
	DESERIALFUNC = sketch_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE sketch_agg(double precision, integer) IS 'the same, of up to so many buckets a side';
CREATE AGGREGATE sketch_agg(value double precision, relative_error double precision) (SFUNC = sketch_transition,
	STYPE = internal, SSPACE = 2000, FINALFUNC = sketch_final, COMBINEFUNC = sketch_combine, SERIALFUNC = sketch_serial,
	DESERIALFUNC = sketch_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE sketch_agg(double precision, double precision) IS
	'the same, no finer than a relative error needs, of up to 16384 buckets a side';
CREATE AGGREGATE percentile_agg(value double precision) (SFUNC = sketch_transition, STYPE = internal, SSPACE = 700,
	FINALFUNC = sketch_final, COMBINEFUNC = sketch_combine, SERIALFUNC = sketch_serial, DESERIALFUNC = sketch_deserial,
	PARALLEL = SAFE);
COMMENT ON AGGREGATE percentile_agg(double precision) IS 'the same as sketch_agg(value)';
CREATE AGGREGATE uddsketch(max_buckets integer, relative_error double precision, value double precision) (
	SFUNC = sketch_transition, STYPE = internal, SSPACE = 700, FINALFUNC = sketch_final, COMBINEFUNC = sketch_combine,
	SERIALFUNC = sketch_serial, DESERIALFUNC = sketch_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE uddsketch(integer, double precision, double precision) IS
	'sketch of the values, of so many buckets a side and no finer than a relative error needs';
CREATE AGGREGATE rollup(sketch quantile_sketch) (SFUNC = sketch_rollup, STYPE = internal, SSPACE = 700,
	FINALFUNC = sketch_final, COMBINEFUNC = sketch_combine, SERIALFUNC = sketch_serial, DESERIALFUNC = sketch_deserial,
	PARALLEL = SAFE);
COMMENT ON AGGREGATE rollup(quantile_sketch) IS 'sketches merged: the same as one of all their values';

CREATE FUNCTION sketch_add(sketch quantile_sketch, value double precision, count bigint DEFAULT 1) RETURNS quantile_sketch
	AS 'MODULE_PATHNAME', 'mdb_sketch_add_value' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION sketch_add(quantile_sketch, double precision, bigint) IS
	'a sketch with a value more, or that value count times; NULL is a sketch of nothing';
CREATE FUNCTION sketch_merge(a quantile_sketch, b quantile_sketch) RETURNS quantile_sketch
	AS 'MODULE_PATHNAME', 'mdb_sketch_merge_two' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION sketch_merge(quantile_sketch, quantile_sketch) IS 'two sketches as one';

-- Asking them

CREATE FUNCTION approx_percentile(percentile double precision, sketch quantile_sketch) RETURNS double precision
	AS 'MODULE_PATHNAME', 'mdb_approx_percentile' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION approx_percentile(double precision, quantile_sketch) IS
	'the value to which this share of the values is equal or below, within error(sketch)';
CREATE FUNCTION approx_percentile_array(percentiles double precision[], sketch quantile_sketch) RETURNS double precision[]
	AS 'MODULE_PATHNAME', 'mdb_approx_percentile_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION approx_percentile_array(double precision[], quantile_sketch) IS 'approx_percentile of each';
CREATE FUNCTION approx_percentile_rank(value double precision, sketch quantile_sketch) RETURNS double precision
	AS 'MODULE_PATHNAME', 'mdb_approx_percentile_rank' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION approx_percentile_rank(double precision, quantile_sketch) IS
	'the share of the values that is equal to a value or below';
CREATE FUNCTION num_vals(sketch quantile_sketch) RETURNS bigint
	AS 'MODULE_PATHNAME', 'mdb_sketch_num_vals' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION num_vals(quantile_sketch) IS 'how many values a sketch has, without NaN';
CREATE FUNCTION num_nan(sketch quantile_sketch) RETURNS bigint
	AS 'MODULE_PATHNAME', 'mdb_sketch_num_nan' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION num_nan(quantile_sketch) IS 'how many NaN came to a sketch';
CREATE FUNCTION mean(sketch quantile_sketch) RETURNS double precision
	AS 'MODULE_PATHNAME', 'mdb_sketch_mean_value' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION mean(quantile_sketch) IS 'the mean, within error(sketch) where all values have the same sign';
CREATE FUNCTION min_val(sketch quantile_sketch) RETURNS double precision
	AS 'MODULE_PATHNAME', 'mdb_sketch_min' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION min_val(quantile_sketch) IS 'the lowest value, exactly';
CREATE FUNCTION max_val(sketch quantile_sketch) RETURNS double precision
	AS 'MODULE_PATHNAME', 'mdb_sketch_max' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION max_val(quantile_sketch) IS 'the highest value, exactly';
CREATE FUNCTION scale(sketch quantile_sketch) RETURNS integer
	AS 'MODULE_PATHNAME', 'mdb_sketch_scale' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION scale(quantile_sketch) IS 'the scale of the buckets: their bounds are powers of 2^(2^-scale)';
CREATE FUNCTION error(sketch quantile_sketch) RETURNS double precision
	AS 'MODULE_PATHNAME', 'mdb_sketch_relative_error' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION error(quantile_sketch) IS 'by what share of it a percentile may be off at most';
CREATE FUNCTION sketch_error(scale integer) RETURNS double precision
	AS 'MODULE_PATHNAME', 'mdb_sketch_error_of_scale' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION sketch_error(integer) IS 'the same of any sketch of a scale';
CREATE FUNCTION sketch_buckets(sketch quantile_sketch, OUT lower double precision, OUT upper double precision, OUT count bigint)
	RETURNS SETOF record AS 'MODULE_PATHNAME', 'mdb_sketch_buckets' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 100;
COMMENT ON FUNCTION sketch_buckets(quantile_sketch) IS
	'the buckets that have values, low ones first: lowest and highest value that may be in it, and how many are';

-- OpenTelemetry

CREATE FUNCTION sketch_from_otel(scale integer, zero_count bigint, positive_offset integer, positive_counts bigint[],
	negative_offset integer DEFAULT 0, negative_counts bigint[] DEFAULT '{}', min double precision DEFAULT NULL,
	max double precision DEFAULT NULL, max_buckets integer DEFAULT 160) RETURNS quantile_sketch
	AS 'MODULE_PATHNAME', 'mdb_sketch_from_otel' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION sketch_from_otel(integer, bigint, integer, bigint[], integer, bigint[], double precision, double precision, integer) IS
	'sketch of a data point of an exponential histogram';
CREATE FUNCTION sketch_to_otel(sketch quantile_sketch, OUT scale integer, OUT count bigint, OUT zero_count bigint,
	OUT positive_offset integer, OUT positive_counts bigint[], OUT negative_offset integer, OUT negative_counts bigint[],
	OUT min double precision, OUT max double precision, OUT not_finite bigint) RETURNS record
	AS 'MODULE_PATHNAME', 'mdb_sketch_to_otel' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION sketch_to_otel(quantile_sketch) IS
	'data point of an exponential histogram; values that it cannot have are counted in not_finite';
