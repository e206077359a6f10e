-- Picks: the highest and lowest values, and points that show the shape of a series.

CREATE TYPE labelled_value AS (value double precision, label text);
COMMENT ON TYPE labelled_value IS 'what topk and bottomk pick';
CREATE TYPE time_value AS ("time" timestamptz, value double precision);
COMMENT ON TYPE time_value IS 'what lttb picks';

CREATE FUNCTION topk_transition(internal, integer, double precision) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_topk_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION topk_transition(internal, integer, double precision) IS 'transition function of the aggregate topk';
CREATE FUNCTION topk_transition(internal, integer, double precision, text) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_topk_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION topk_transition(internal, integer, double precision, text) IS 'transition function of the aggregate topk';
CREATE FUNCTION bottomk_transition(internal, integer, double precision) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_bottomk_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION bottomk_transition(internal, integer, double precision) IS 'transition function of the aggregate bottomk';
CREATE FUNCTION bottomk_transition(internal, integer, double precision, text) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_bottomk_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION bottomk_transition(internal, integer, double precision, text) IS 'transition function of the aggregate bottomk';
CREATE FUNCTION picks_combine(internal, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_picks_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION picks_combine(internal, internal) IS 'combines states of the aggregates topk and bottomk';
CREATE FUNCTION picks_final(internal) RETURNS double precision[]
	AS 'MODULE_PATHNAME', 'mdb_picks_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION picks_final(internal) IS 'final function of the aggregates topk and bottomk';
CREATE FUNCTION picks_labelled_final(internal) RETURNS labelled_value[]
	AS 'MODULE_PATHNAME', 'mdb_picks_labelled_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION picks_labelled_final(internal) IS 'final function of the aggregates topk and bottomk with labels';
CREATE FUNCTION picks_serial(internal) RETURNS bytea
	AS 'MODULE_PATHNAME', 'mdb_picks_serial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION picks_serial(internal) IS 'serialises a state of the aggregates topk and bottomk';
CREATE FUNCTION picks_deserial(bytea, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_picks_deserial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION picks_deserial(bytea, internal) IS 'reads what picks_serial has written';
CREATE FUNCTION lttb_transition(internal, timestamptz, double precision, integer) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_lttb_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION lttb_transition(internal, timestamptz, double precision, integer) IS 'transition function of the aggregate lttb';
CREATE FUNCTION lttb_combine(internal, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_lttb_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION lttb_combine(internal, internal) IS 'combines states of the aggregate lttb';
CREATE FUNCTION lttb_final(internal) RETURNS time_value[]
	AS 'MODULE_PATHNAME', 'mdb_lttb_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION lttb_final(internal) IS 'final function of the aggregate lttb';
CREATE FUNCTION lttb_serial(internal) RETURNS bytea
	AS 'MODULE_PATHNAME', 'mdb_lttb_serial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION lttb_serial(internal) IS 'serialises a state of the aggregate lttb';
CREATE FUNCTION lttb_deserial(bytea, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_lttb_deserial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION lttb_deserial(bytea, internal) IS 'reads what lttb_serial has written';

CREATE AGGREGATE topk(k integer, value double precision) (SFUNC = topk_transition, STYPE = internal, FINALFUNC = picks_final,
	COMBINEFUNC = picks_combine, SERIALFUNC = picks_serial, DESERIALFUNC = picks_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE topk(integer, double precision) IS
	'the k highest values, highest first; NaN are behind all others';
CREATE AGGREGATE topk(k integer, value double precision, label text) (SFUNC = topk_transition, STYPE = internal, FINALFUNC = picks_labelled_final,
	COMBINEFUNC = picks_combine, SERIALFUNC = picks_serial, DESERIALFUNC = picks_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE topk(integer, double precision, text) IS
	'the k highest values with their labels, highest first';
CREATE AGGREGATE bottomk(k integer, value double precision) (SFUNC = bottomk_transition, STYPE = internal, FINALFUNC = picks_final,
	COMBINEFUNC = picks_combine, SERIALFUNC = picks_serial, DESERIALFUNC = picks_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE bottomk(integer, double precision) IS
	'the k lowest values, lowest first; NaN are behind all others';
CREATE AGGREGATE bottomk(k integer, value double precision, label text) (SFUNC = bottomk_transition, STYPE = internal, FINALFUNC = picks_labelled_final,
	COMBINEFUNC = picks_combine, SERIALFUNC = picks_serial, DESERIALFUNC = picks_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE bottomk(integer, double precision, text) IS
	'the k lowest values with their labels, lowest first';
CREATE AGGREGATE lttb("time" timestamptz, value double precision, resolution integer) (SFUNC = lttb_transition, STYPE = internal, FINALFUNC = lttb_final,
	COMBINEFUNC = lttb_combine, SERIALFUNC = lttb_serial, DESERIALFUNC = lttb_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE lttb(timestamptz, double precision, integer) IS
	'so many of the points as show the shape of the series best: largest triangle, three buckets';
