-- Counters and gauges: what Prometheus and TimescaleDB's Toolkit make of samples.

CREATE FUNCTION over_time_transition(internal, float8) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_over_time_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION over_time_transition(internal, float8) IS 'transition function of avg_over_time and the like';
CREATE FUNCTION over_time_combine(internal, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_over_time_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION over_time_combine(internal, internal) IS 'combines states of avg_over_time and the like';
CREATE FUNCTION over_time_serial(internal) RETURNS bytea
	AS 'MODULE_PATHNAME', 'mdb_over_time_serial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION over_time_serial(internal) IS 'serialises a state of avg_over_time and the like';
CREATE FUNCTION over_time_deserial(bytea, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_over_time_deserial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION over_time_deserial(bytea, internal) IS 'reads what over_time_serial has written';

CREATE FUNCTION avg_over_time_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_avg_over_time' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION avg_over_time_final(internal) IS 'final function of the aggregate avg_over_time';
CREATE AGGREGATE avg_over_time(value float8) (SFUNC = over_time_transition, STYPE = internal,
	FINALFUNC = avg_over_time_final, COMBINEFUNC = over_time_combine, SERIALFUNC = over_time_serial,
	DESERIALFUNC = over_time_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE avg_over_time(float8) IS 'mean of samples as in Prometheus, whose markers of ended series do not count';

CREATE FUNCTION sum_over_time_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_sum_over_time' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION sum_over_time_final(internal) IS 'final function of the aggregate sum_over_time';
CREATE AGGREGATE sum_over_time(value float8) (SFUNC = over_time_transition, STYPE = internal,
	FINALFUNC = sum_over_time_final, COMBINEFUNC = over_time_combine, SERIALFUNC = over_time_serial,
	DESERIALFUNC = over_time_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE sum_over_time(float8) IS 'sum of samples as in Prometheus, whose markers of ended series do not count';

CREATE FUNCTION count_over_time_final(internal) RETURNS bigint
	AS 'MODULE_PATHNAME', 'mdb_count_over_time' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION count_over_time_final(internal) IS 'final function of the aggregate count_over_time';
CREATE AGGREGATE count_over_time(value float8) (SFUNC = over_time_transition, STYPE = internal,
	FINALFUNC = count_over_time_final, COMBINEFUNC = over_time_combine, SERIALFUNC = over_time_serial,
	DESERIALFUNC = over_time_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE count_over_time(float8) IS 'number of samples as in Prometheus, whose markers of ended series do not count';

CREATE FUNCTION min_over_time_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_min_over_time' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION min_over_time_final(internal) IS 'final function of the aggregate min_over_time';
CREATE AGGREGATE min_over_time(value float8) (SFUNC = over_time_transition, STYPE = internal,
	FINALFUNC = min_over_time_final, COMBINEFUNC = over_time_combine, SERIALFUNC = over_time_serial,
	DESERIALFUNC = over_time_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE min_over_time(float8) IS 'least of samples as in Prometheus, whose markers of ended series do not count';

CREATE FUNCTION max_over_time_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_max_over_time' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION max_over_time_final(internal) IS 'final function of the aggregate max_over_time';
CREATE AGGREGATE max_over_time(value float8) (SFUNC = over_time_transition, STYPE = internal,
	FINALFUNC = max_over_time_final, COMBINEFUNC = over_time_combine, SERIALFUNC = over_time_serial,
	DESERIALFUNC = over_time_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE max_over_time(float8) IS 'greatest of samples as in Prometheus, whose markers of ended series do not count';

CREATE FUNCTION stdvar_over_time_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_stdvar_over_time' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION stdvar_over_time_final(internal) IS 'final function of the aggregate stdvar_over_time';
CREATE AGGREGATE stdvar_over_time(value float8) (SFUNC = over_time_transition, STYPE = internal,
	FINALFUNC = stdvar_over_time_final, COMBINEFUNC = over_time_combine, SERIALFUNC = over_time_serial,
	DESERIALFUNC = over_time_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE stdvar_over_time(float8) IS 'variance, of the population, of samples as in Prometheus, whose markers of ended series do not count';

CREATE FUNCTION stddev_over_time_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_stddev_over_time' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION stddev_over_time_final(internal) IS 'final function of the aggregate stddev_over_time';
CREATE AGGREGATE stddev_over_time(value float8) (SFUNC = over_time_transition, STYPE = internal,
	FINALFUNC = stddev_over_time_final, COMBINEFUNC = over_time_combine, SERIALFUNC = over_time_serial,
	DESERIALFUNC = over_time_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE stddev_over_time(float8) IS 'standard deviation, of the population, of samples as in Prometheus, whose markers of ended series do not count';

CREATE FUNCTION present_over_time_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_present_over_time' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION present_over_time_final(internal) IS 'final function of the aggregate present_over_time';
CREATE AGGREGATE present_over_time(value float8) (SFUNC = over_time_transition, STYPE = internal,
	FINALFUNC = present_over_time_final, COMBINEFUNC = over_time_combine, SERIALFUNC = over_time_serial,
	DESERIALFUNC = over_time_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE present_over_time(float8) IS '1 if there are samples as in Prometheus, whose markers of ended series do not count';

CREATE FUNCTION quantile_over_time_transition(internal, float8, float8) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_quantile_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION quantile_over_time_transition(internal, float8, float8) IS 'transition function of the aggregate quantile_over_time';
CREATE FUNCTION mad_over_time_transition(internal, float8) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_mad_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION mad_over_time_transition(internal, float8) IS 'transition function of the aggregate mad_over_time';
CREATE FUNCTION quantile_over_time_combine(internal, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_quantile_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION quantile_over_time_combine(internal, internal) IS 'combines states of quantile_over_time and mad_over_time';
CREATE FUNCTION quantile_over_time_serial(internal) RETURNS bytea
	AS 'MODULE_PATHNAME', 'mdb_quantile_serial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION quantile_over_time_serial(internal) IS 'serialises a state of quantile_over_time and mad_over_time';
CREATE FUNCTION quantile_over_time_deserial(bytea, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_quantile_deserial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION quantile_over_time_deserial(bytea, internal) IS 'reads what quantile_over_time_serial has written';
CREATE FUNCTION quantile_over_time_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_quantile_over_time' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION quantile_over_time_final(internal) IS 'final function of the aggregate quantile_over_time';
CREATE FUNCTION mad_over_time_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_mad_over_time' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION mad_over_time_final(internal) IS 'final function of the aggregate mad_over_time';
CREATE AGGREGATE quantile_over_time(q float8, value float8) (SFUNC = quantile_over_time_transition, STYPE = internal,
	FINALFUNC = quantile_over_time_final, COMBINEFUNC = quantile_over_time_combine,
	SERIALFUNC = quantile_over_time_serial, DESERIALFUNC = quantile_over_time_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE quantile_over_time(float8, float8) IS
	'a quantile of samples, interpolated as in Prometheus; q below 0 is -Infinity, above 1 Infinity';
CREATE AGGREGATE mad_over_time(value float8) (SFUNC = mad_over_time_transition, STYPE = internal,
	FINALFUNC = mad_over_time_final, COMBINEFUNC = quantile_over_time_combine,
	SERIALFUNC = quantile_over_time_serial, DESERIALFUNC = quantile_over_time_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE mad_over_time(float8) IS 'median of the distances of samples from their median';
