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

-- Aggregates of samples: a time and a value.
CREATE FUNCTION counter_transition(internal, timestamptz, float8) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_counter_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION counter_transition(internal, timestamptz, float8) IS 'transition function of aggregates of samples';
CREATE FUNCTION counter_transition(internal, timestamptz, float8, interval) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_counter_transition_width' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION counter_transition(internal, timestamptz, float8, interval) IS 'the same, over time buckets';
CREATE FUNCTION counter_transition(internal, timestamptz, float8, timestamptz, timestamptz) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_counter_transition_range' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION counter_transition(internal, timestamptz, float8, timestamptz, timestamptz) IS 'the same, over a range of time';
CREATE FUNCTION counter_transition(internal, timestamptz, float8, float8) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_counter_transition_ahead' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION counter_transition(internal, timestamptz, float8, float8) IS 'transition function of predict_linear';
CREATE FUNCTION counter_transition(internal, timestamptz, float8, float8, timestamptz) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_counter_transition_ahead' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION counter_transition(internal, timestamptz, float8, float8, timestamptz) IS 'the same, from a given time';
CREATE FUNCTION counter_combine(internal, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_counter_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION counter_combine(internal, internal) IS 'combines states of aggregates of samples';
CREATE FUNCTION counter_serial(internal) RETURNS bytea
	AS 'MODULE_PATHNAME', 'mdb_counter_serial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION counter_serial(internal) IS 'serialises a state of aggregates of samples';
CREATE FUNCTION counter_deserial(bytea, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_counter_deserial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION counter_deserial(bytea, internal) IS 'reads what counter_serial has written';

CREATE FUNCTION rate_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_rate_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION rate_final(internal) IS 'final function of the aggregate rate';
CREATE AGGREGATE rate("time" timestamptz, value float8) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = rate_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE rate(timestamptz, float8) IS 'increase per second of a counter, from the first sample to the last; what goes down was reset to zero';
CREATE AGGREGATE rate("time" timestamptz, value float8, width interval) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = rate_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE rate(timestamptz, float8, interval) IS 'the same, extrapolated as in Prometheus to the time bucket of that width in which the samples lie';
CREATE AGGREGATE rate("time" timestamptz, value float8, range_start timestamptz, range_end timestamptz) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = rate_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE rate(timestamptz, float8, timestamptz, timestamptz) IS 'the same, extrapolated as in Prometheus to a range of time; samples outside of it do not count';
CREATE FUNCTION increase_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_increase_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION increase_final(internal) IS 'final function of the aggregate increase';
CREATE AGGREGATE increase("time" timestamptz, value float8) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = increase_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE increase(timestamptz, float8) IS 'increase of a counter, from the first sample to the last; what goes down was reset to zero';
CREATE AGGREGATE increase("time" timestamptz, value float8, width interval) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = increase_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE increase(timestamptz, float8, interval) IS 'the same, extrapolated as in Prometheus to the time bucket of that width in which the samples lie';
CREATE AGGREGATE increase("time" timestamptz, value float8, range_start timestamptz, range_end timestamptz) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = increase_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE increase(timestamptz, float8, timestamptz, timestamptz) IS 'the same, extrapolated as in Prometheus to a range of time; samples outside of it do not count';
CREATE FUNCTION delta_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_delta_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION delta_final(internal) IS 'final function of the aggregate delta';
CREATE AGGREGATE delta("time" timestamptz, value float8) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = delta_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE delta(timestamptz, float8) IS 'difference between the last sample of a gauge and the first';
CREATE AGGREGATE delta("time" timestamptz, value float8, width interval) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = delta_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE delta(timestamptz, float8, interval) IS 'the same, extrapolated as in Prometheus to the time bucket of that width in which the samples lie';
CREATE AGGREGATE delta("time" timestamptz, value float8, range_start timestamptz, range_end timestamptz) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = delta_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE delta(timestamptz, float8, timestamptz, timestamptz) IS 'the same, extrapolated as in Prometheus to a range of time; samples outside of it do not count';
CREATE FUNCTION irate_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_irate_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION irate_final(internal) IS 'final function of the aggregate irate';
CREATE AGGREGATE irate("time" timestamptz, value float8) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = irate_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE irate(timestamptz, float8) IS 'increase per second of a counter from the last sample but one to the last';
CREATE FUNCTION idelta_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_idelta_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION idelta_final(internal) IS 'final function of the aggregate idelta';
CREATE AGGREGATE idelta("time" timestamptz, value float8) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = idelta_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE idelta(timestamptz, float8) IS 'difference between the last two samples of a gauge';
CREATE FUNCTION resets_final(internal) RETURNS bigint
	AS 'MODULE_PATHNAME', 'mdb_resets_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION resets_final(internal) IS 'final function of the aggregate resets';
CREATE AGGREGATE resets("time" timestamptz, value float8) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = resets_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE resets(timestamptz, float8) IS 'number of samples of a counter that are less than the one before';
CREATE FUNCTION changes_final(internal) RETURNS bigint
	AS 'MODULE_PATHNAME', 'mdb_changes_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION changes_final(internal) IS 'final function of the aggregate changes';
CREATE AGGREGATE changes("time" timestamptz, value float8) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = changes_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE changes(timestamptz, float8) IS 'number of samples that differ from the one before';
CREATE FUNCTION deriv_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_deriv_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION deriv_final(internal) IS 'final function of the aggregate deriv';
CREATE AGGREGATE deriv("time" timestamptz, value float8) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = deriv_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE deriv(timestamptz, float8) IS 'slope per second of the line through the samples of a gauge, by least squares';
CREATE FUNCTION last_over_time_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_last_over_time_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION last_over_time_final(internal) IS 'final function of the aggregate last_over_time';
CREATE AGGREGATE last_over_time("time" timestamptz, value float8) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = last_over_time_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE last_over_time(timestamptz, float8) IS 'value of the last sample';
CREATE FUNCTION predict_linear_final(internal) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_predict_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION predict_linear_final(internal) IS 'final function of the aggregate predict_linear';
CREATE AGGREGATE predict_linear("time" timestamptz, value float8, seconds float8) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = predict_linear_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE predict_linear(timestamptz, float8, float8) IS 'where the line through the samples of a gauge is so many seconds after the last';
CREATE AGGREGATE predict_linear("time" timestamptz, value float8, seconds float8, at timestamptz) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = predict_linear_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE predict_linear(timestamptz, float8, float8, timestamptz) IS 'the same, so many seconds after a given time';

-- Summaries of samples, which are kept in tables and rolled up.

CREATE TYPE countersummary;
CREATE FUNCTION countersummary_in(cstring) RETURNS countersummary
	AS 'MODULE_PATHNAME', 'mdb_countersummary_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION countersummary_in(cstring) IS 'text to countersummary';
CREATE FUNCTION countersummary_out(countersummary) RETURNS cstring
	AS 'MODULE_PATHNAME', 'mdb_summary_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION countersummary_out(countersummary) IS 'countersummary to text';
CREATE FUNCTION countersummary_recv(internal) RETURNS countersummary
	AS 'MODULE_PATHNAME', 'mdb_countersummary_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION countersummary_recv(internal) IS 'binary form to countersummary';
CREATE FUNCTION countersummary_send(countersummary) RETURNS bytea
	AS 'MODULE_PATHNAME', 'mdb_summary_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION countersummary_send(countersummary) IS 'countersummary to its binary form';
CREATE TYPE countersummary (INPUT = countersummary_in, OUTPUT = countersummary_out, RECEIVE = countersummary_recv, SEND = countersummary_send,
	INTERNALLENGTH = VARIABLE, ALIGNMENT = double, STORAGE = plain);
COMMENT ON TYPE countersummary IS 'summary of the samples of a counter: ends, changes, line through them';
CREATE FUNCTION counter_agg_final(internal) RETURNS countersummary
	AS 'MODULE_PATHNAME', 'mdb_counter_agg_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION counter_agg_final(internal) IS 'final function of the aggregate counter_agg';
CREATE AGGREGATE counter_agg("time" timestamptz, value float8) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = counter_agg_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE counter_agg(timestamptz, float8) IS 'summary of the samples of a counter';
CREATE FUNCTION rollup_transition(internal, countersummary) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_rollup_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION rollup_transition(internal, countersummary) IS 'transition function of the aggregate rollup';
CREATE FUNCTION rollup_combine(internal, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_rollup_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION rollup_combine(internal, internal) IS 'combines states of the aggregate rollup of summaries';
CREATE FUNCTION rollup_serial(internal) RETURNS bytea
	AS 'MODULE_PATHNAME', 'mdb_rollup_serial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION rollup_serial(internal) IS 'serialises a state of the aggregate rollup of summaries';
CREATE FUNCTION rollup_deserial(bytea, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_rollup_deserial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION rollup_deserial(bytea, internal) IS 'reads what rollup_serial has written';
CREATE FUNCTION rollup_countersummary_final(internal) RETURNS countersummary
	AS 'MODULE_PATHNAME', 'mdb_rollup_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION rollup_countersummary_final(internal) IS 'final function of the aggregate rollup';
CREATE AGGREGATE rollup(countersummary) (SFUNC = rollup_transition, STYPE = internal, FINALFUNC = rollup_countersummary_final,
	COMBINEFUNC = rollup_combine, SERIALFUNC = rollup_serial, DESERIALFUNC = rollup_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE rollup(countersummary) IS 'one summary of summaries whose times do not interleave';
CREATE FUNCTION delta(summary countersummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_delta' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION delta(countersummary) IS 'increase from the first sample to the last';
CREATE FUNCTION rate(summary countersummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_rate' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION rate(countersummary) IS 'the same per second; NULL of one sample';
CREATE FUNCTION idelta_left(summary countersummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_idelta_left' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION idelta_left(countersummary) IS 'difference between the first two samples';
CREATE FUNCTION idelta_right(summary countersummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_idelta_right' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION idelta_right(countersummary) IS 'difference between the last two samples';
CREATE FUNCTION irate_left(summary countersummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_irate_left' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION irate_left(countersummary) IS 'the first two samples difference per second';
CREATE FUNCTION irate_right(summary countersummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_irate_right' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION irate_right(countersummary) IS 'the last two samples difference per second';
CREATE FUNCTION num_changes(summary countersummary) RETURNS bigint
	AS 'MODULE_PATHNAME', 'mdb_summary_num_changes' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION num_changes(countersummary) IS 'number of samples that differ from the one before';
CREATE FUNCTION num_elements(summary countersummary) RETURNS bigint
	AS 'MODULE_PATHNAME', 'mdb_summary_num_elements' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION num_elements(countersummary) IS 'number of samples';
CREATE FUNCTION time_delta(summary countersummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_time_delta' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_delta(countersummary) IS 'seconds between the first sample and the last';
CREATE FUNCTION first_time(summary countersummary) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'mdb_summary_first_time' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION first_time(countersummary) IS 'time of the first sample';
CREATE FUNCTION last_time(summary countersummary) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'mdb_summary_last_time' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION last_time(countersummary) IS 'time of the last sample';
CREATE FUNCTION first_val(summary countersummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_first_val' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION first_val(countersummary) IS 'value of the first sample';
CREATE FUNCTION last_val(summary countersummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_last_val' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION last_val(countersummary) IS 'value of the last sample';
CREATE FUNCTION slope(summary countersummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_slope' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION slope(countersummary) IS 'slope per second of the line through the samples, by least squares';
CREATE FUNCTION intercept(summary countersummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_intercept' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION intercept(countersummary) IS 'where that line is at the beginning of 2000, UTC';
CREATE FUNCTION corr(summary countersummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_corr' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION corr(countersummary) IS 'correlation of times and values';
CREATE FUNCTION counter_zero_time(summary countersummary) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'mdb_summary_zero_time' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION counter_zero_time(countersummary) IS 'when the line through the samples is at zero';
CREATE FUNCTION increase(summary countersummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_delta' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION increase(countersummary) IS 'increase from the first sample to the last';
CREATE FUNCTION num_resets(summary countersummary) RETURNS bigint
	AS 'MODULE_PATHNAME', 'mdb_summary_num_resets' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION num_resets(countersummary) IS 'number of samples that are less than the one before';
CREATE FUNCTION with_bounds(summary countersummary, bounds tstzrange) RETURNS countersummary
	AS 'MODULE_PATHNAME', 'mdb_summary_with_bounds' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION with_bounds(countersummary, tstzrange) IS 'the summary, with the range of time that it is of';
CREATE FUNCTION extrapolated_delta(summary countersummary, method text) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_extrapolated_delta' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extrapolated_delta(countersummary, text) IS 'increase, extrapolated to the bounds; method: prometheus';
CREATE FUNCTION extrapolated_delta(summary countersummary, method text, bounds tstzrange) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_extrapolated_delta' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extrapolated_delta(countersummary, text, tstzrange) IS 'the same, with bounds';
CREATE FUNCTION extrapolated_delta(summary countersummary, method text, range_start timestamptz, range_end timestamptz) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_extrapolated_delta' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extrapolated_delta(countersummary, text, timestamptz, timestamptz) IS 'the same, with the beginning and end of bounds';
CREATE FUNCTION interpolated_delta(summary countersummary, start timestamptz, "interval" interval, prev countersummary DEFAULT NULL, next countersummary DEFAULT NULL) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_interpolated_delta' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION interpolated_delta(countersummary, timestamptz, interval, countersummary, countersummary) IS 'increase over an interval, interpolated between the samples of neighbours';
CREATE FUNCTION extrapolated_rate(summary countersummary, method text) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_extrapolated_rate' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extrapolated_rate(countersummary, text) IS 'increase per second, extrapolated to the bounds; method: prometheus';
CREATE FUNCTION extrapolated_rate(summary countersummary, method text, bounds tstzrange) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_extrapolated_rate' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extrapolated_rate(countersummary, text, tstzrange) IS 'the same, with bounds';
CREATE FUNCTION extrapolated_rate(summary countersummary, method text, range_start timestamptz, range_end timestamptz) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_extrapolated_rate' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extrapolated_rate(countersummary, text, timestamptz, timestamptz) IS 'the same, with the beginning and end of bounds';
CREATE FUNCTION interpolated_rate(summary countersummary, start timestamptz, "interval" interval, prev countersummary DEFAULT NULL, next countersummary DEFAULT NULL) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_interpolated_rate' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION interpolated_rate(countersummary, timestamptz, interval, countersummary, countersummary) IS 'increase per second over an interval, interpolated between the samples of neighbours';

CREATE TYPE gaugesummary;
CREATE FUNCTION gaugesummary_in(cstring) RETURNS gaugesummary
	AS 'MODULE_PATHNAME', 'mdb_gaugesummary_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION gaugesummary_in(cstring) IS 'text to gaugesummary';
CREATE FUNCTION gaugesummary_out(gaugesummary) RETURNS cstring
	AS 'MODULE_PATHNAME', 'mdb_summary_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION gaugesummary_out(gaugesummary) IS 'gaugesummary to text';
CREATE FUNCTION gaugesummary_recv(internal) RETURNS gaugesummary
	AS 'MODULE_PATHNAME', 'mdb_gaugesummary_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION gaugesummary_recv(internal) IS 'binary form to gaugesummary';
CREATE FUNCTION gaugesummary_send(gaugesummary) RETURNS bytea
	AS 'MODULE_PATHNAME', 'mdb_summary_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION gaugesummary_send(gaugesummary) IS 'gaugesummary to its binary form';
CREATE TYPE gaugesummary (INPUT = gaugesummary_in, OUTPUT = gaugesummary_out, RECEIVE = gaugesummary_recv, SEND = gaugesummary_send,
	INTERNALLENGTH = VARIABLE, ALIGNMENT = double, STORAGE = plain);
COMMENT ON TYPE gaugesummary IS 'summary of the samples of a gauge: ends, changes, line through them';
CREATE FUNCTION gauge_agg_final(internal) RETURNS gaugesummary
	AS 'MODULE_PATHNAME', 'mdb_gauge_agg_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION gauge_agg_final(internal) IS 'final function of the aggregate gauge_agg';
CREATE AGGREGATE gauge_agg("time" timestamptz, value float8) (SFUNC = counter_transition, STYPE = internal, FINALFUNC = gauge_agg_final,
	COMBINEFUNC = counter_combine, SERIALFUNC = counter_serial, DESERIALFUNC = counter_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE gauge_agg(timestamptz, float8) IS 'summary of the samples of a gauge';
CREATE FUNCTION rollup_transition(internal, gaugesummary) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_rollup_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION rollup_transition(internal, gaugesummary) IS 'transition function of the aggregate rollup';
CREATE FUNCTION rollup_gaugesummary_final(internal) RETURNS gaugesummary
	AS 'MODULE_PATHNAME', 'mdb_rollup_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION rollup_gaugesummary_final(internal) IS 'final function of the aggregate rollup';
CREATE AGGREGATE rollup(gaugesummary) (SFUNC = rollup_transition, STYPE = internal, FINALFUNC = rollup_gaugesummary_final,
	COMBINEFUNC = rollup_combine, SERIALFUNC = rollup_serial, DESERIALFUNC = rollup_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE rollup(gaugesummary) IS 'one summary of summaries whose times do not interleave';
CREATE FUNCTION delta(summary gaugesummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_delta' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION delta(gaugesummary) IS 'difference between the last sample and the first';
CREATE FUNCTION rate(summary gaugesummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_rate' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION rate(gaugesummary) IS 'the same per second; NULL of one sample';
CREATE FUNCTION idelta_left(summary gaugesummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_idelta_left' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION idelta_left(gaugesummary) IS 'difference between the first two samples';
CREATE FUNCTION idelta_right(summary gaugesummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_idelta_right' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION idelta_right(gaugesummary) IS 'difference between the last two samples';
CREATE FUNCTION irate_left(summary gaugesummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_irate_left' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION irate_left(gaugesummary) IS 'the first two samples difference per second';
CREATE FUNCTION irate_right(summary gaugesummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_irate_right' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION irate_right(gaugesummary) IS 'the last two samples difference per second';
CREATE FUNCTION num_changes(summary gaugesummary) RETURNS bigint
	AS 'MODULE_PATHNAME', 'mdb_summary_num_changes' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION num_changes(gaugesummary) IS 'number of samples that differ from the one before';
CREATE FUNCTION num_elements(summary gaugesummary) RETURNS bigint
	AS 'MODULE_PATHNAME', 'mdb_summary_num_elements' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION num_elements(gaugesummary) IS 'number of samples';
CREATE FUNCTION time_delta(summary gaugesummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_time_delta' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION time_delta(gaugesummary) IS 'seconds between the first sample and the last';
CREATE FUNCTION first_time(summary gaugesummary) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'mdb_summary_first_time' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION first_time(gaugesummary) IS 'time of the first sample';
CREATE FUNCTION last_time(summary gaugesummary) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'mdb_summary_last_time' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION last_time(gaugesummary) IS 'time of the last sample';
CREATE FUNCTION first_val(summary gaugesummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_first_val' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION first_val(gaugesummary) IS 'value of the first sample';
CREATE FUNCTION last_val(summary gaugesummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_last_val' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION last_val(gaugesummary) IS 'value of the last sample';
CREATE FUNCTION slope(summary gaugesummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_slope' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION slope(gaugesummary) IS 'slope per second of the line through the samples, by least squares';
CREATE FUNCTION intercept(summary gaugesummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_intercept' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION intercept(gaugesummary) IS 'where that line is at the beginning of 2000, UTC';
CREATE FUNCTION corr(summary gaugesummary) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_corr' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION corr(gaugesummary) IS 'correlation of times and values';
CREATE FUNCTION gauge_zero_time(summary gaugesummary) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'mdb_summary_zero_time' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION gauge_zero_time(gaugesummary) IS 'when the line through the samples is at zero';
CREATE FUNCTION with_bounds(summary gaugesummary, bounds tstzrange) RETURNS gaugesummary
	AS 'MODULE_PATHNAME', 'mdb_summary_with_bounds' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION with_bounds(gaugesummary, tstzrange) IS 'the summary, with the range of time that it is of';
CREATE FUNCTION extrapolated_delta(summary gaugesummary, method text) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_extrapolated_delta' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extrapolated_delta(gaugesummary, text) IS 'difference, extrapolated to the bounds; method: prometheus';
CREATE FUNCTION extrapolated_delta(summary gaugesummary, method text, bounds tstzrange) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_extrapolated_delta' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extrapolated_delta(gaugesummary, text, tstzrange) IS 'the same, with bounds';
CREATE FUNCTION extrapolated_delta(summary gaugesummary, method text, range_start timestamptz, range_end timestamptz) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_extrapolated_delta' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extrapolated_delta(gaugesummary, text, timestamptz, timestamptz) IS 'the same, with the beginning and end of bounds';
CREATE FUNCTION interpolated_delta(summary gaugesummary, start timestamptz, "interval" interval, prev gaugesummary DEFAULT NULL, next gaugesummary DEFAULT NULL) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_interpolated_delta' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION interpolated_delta(gaugesummary, timestamptz, interval, gaugesummary, gaugesummary) IS 'difference over an interval, interpolated between the samples of neighbours';
CREATE FUNCTION extrapolated_rate(summary gaugesummary, method text) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_extrapolated_rate' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extrapolated_rate(gaugesummary, text) IS 'difference per second, extrapolated to the bounds; method: prometheus';
CREATE FUNCTION extrapolated_rate(summary gaugesummary, method text, bounds tstzrange) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_extrapolated_rate' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extrapolated_rate(gaugesummary, text, tstzrange) IS 'the same, with bounds';
CREATE FUNCTION extrapolated_rate(summary gaugesummary, method text, range_start timestamptz, range_end timestamptz) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_extrapolated_rate' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extrapolated_rate(gaugesummary, text, timestamptz, timestamptz) IS 'the same, with the beginning and end of bounds';
CREATE FUNCTION interpolated_rate(summary gaugesummary, start timestamptz, "interval" interval, prev gaugesummary DEFAULT NULL, next gaugesummary DEFAULT NULL) RETURNS float8
	AS 'MODULE_PATHNAME', 'mdb_summary_interpolated_rate' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION interpolated_rate(gaugesummary, timestamptz, interval, gaugesummary, gaugesummary) IS 'difference per second over an interval, interpolated between the samples of neighbours';
