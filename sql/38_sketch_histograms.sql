-- Histograms: quantiles as Prometheus tells them.

CREATE FUNCTION histogram_quantile(q double precision, le double precision[], counts double precision[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'mdb_histogram_quantile_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION histogram_quantile(double precision, double precision[], double precision[]) IS
	'the q-th quantile of a histogram, of upper bounds and how many values are up to them, as Prometheus 2.42 tells it';
CREATE FUNCTION histogram_quantile(q double precision, le text[], counts double precision[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'mdb_histogram_quantile_array' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION histogram_quantile(double precision, text[], double precision[]) IS 'the same of bounds that are text, like +Inf';
CREATE FUNCTION histogram_quantile(q double precision, sketch quantile_sketch) RETURNS double precision
	AS 'MODULE_PATHNAME', 'mdb_histogram_quantile_sketch' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION histogram_quantile(double precision, quantile_sketch) IS
	'the q-th quantile of an exponential histogram, as Prometheus 2.42 tells it';

CREATE FUNCTION histogram_transition(internal, double precision, double precision, double precision) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_histogram_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION histogram_transition(internal, double precision, double precision, double precision) IS
	'transition function of the aggregate histogram_quantile';
CREATE FUNCTION histogram_transition(internal, double precision, text, double precision) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_histogram_transition_text' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION histogram_transition(internal, double precision, text, double precision) IS
	'transition function of the aggregate histogram_quantile';
CREATE FUNCTION histogram_combine(internal, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_histogram_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION histogram_combine(internal, internal) IS 'combines states of the aggregate histogram_quantile';
CREATE FUNCTION histogram_final(internal) RETURNS double precision
	AS 'MODULE_PATHNAME', 'mdb_histogram_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION histogram_final(internal) IS 'final function of the aggregate histogram_quantile';
CREATE FUNCTION histogram_serial(internal) RETURNS bytea
	AS 'MODULE_PATHNAME', 'mdb_histogram_serial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION histogram_serial(internal) IS 'serialises a state of the aggregate histogram_quantile';
CREATE FUNCTION histogram_deserial(bytea, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_histogram_deserial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION histogram_deserial(bytea, internal) IS 'reads what histogram_serial has written';

CREATE AGGREGATE histogram_quantile(q double precision, le double precision, count double precision) (
	SFUNC = histogram_transition, STYPE = internal, SSPACE = 500, FINALFUNC = histogram_final,
	COMBINEFUNC = histogram_combine, SERIALFUNC = histogram_serial, DESERIALFUNC = histogram_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE histogram_quantile(double precision, double precision, double precision) IS
	'the q-th quantile of a histogram whose buckets are rows; counts of the same bound are added up';
CREATE AGGREGATE histogram_quantile(q double precision, le text, count double precision) (
	SFUNC = histogram_transition, STYPE = internal, SSPACE = 500, FINALFUNC = histogram_final,
	COMBINEFUNC = histogram_combine, SERIALFUNC = histogram_serial, DESERIALFUNC = histogram_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE histogram_quantile(double precision, text, double precision) IS 'the same of bounds that are text, like +Inf';
