-- How many different values there are, about.

CREATE TYPE hyperloglog;
CREATE FUNCTION hyperloglog_in(cstring) RETURNS hyperloglog
	AS 'MODULE_PATHNAME', 'mdb_hll_in' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hyperloglog_in(cstring) IS 'I/O';
CREATE FUNCTION hyperloglog_out(hyperloglog) RETURNS cstring
	AS 'MODULE_PATHNAME', 'mdb_hll_out' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hyperloglog_out(hyperloglog) IS 'I/O';
CREATE FUNCTION hyperloglog_recv(internal) RETURNS hyperloglog
	AS 'MODULE_PATHNAME', 'mdb_hll_recv' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hyperloglog_recv(internal) IS 'I/O';
CREATE FUNCTION hyperloglog_send(hyperloglog) RETURNS bytea
	AS 'MODULE_PATHNAME', 'mdb_hll_send' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hyperloglog_send(hyperloglog) IS 'I/O';
CREATE TYPE hyperloglog (INPUT = hyperloglog_in, OUTPUT = hyperloglog_out, RECEIVE = hyperloglog_recv,
	SEND = hyperloglog_send, INTERNALLENGTH = VARIABLE, STORAGE = extended);
COMMENT ON TYPE hyperloglog IS 'which values there were, as far as to tell how many different ones, about; merged without loss';

CREATE FUNCTION hyperloglog_transition(internal, integer, anyelement) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_hll_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION hyperloglog_transition(internal, integer, anyelement) IS 'transition function of the aggregate hyperloglog';
CREATE FUNCTION hyperloglog_transition(internal, anyelement) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_hll_transition_default' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION hyperloglog_transition(internal, anyelement) IS 'transition function of the aggregate approx_count_distinct';
CREATE FUNCTION hyperloglog_rollup(internal, hyperloglog) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_hll_rollup' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION hyperloglog_rollup(internal, hyperloglog) IS 'transition function of the aggregate rollup of hyperloglogs';
CREATE FUNCTION hyperloglog_combine(internal, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_hll_combine' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION hyperloglog_combine(internal, internal) IS 'combines states of aggregates that make hyperloglogs';
CREATE FUNCTION hyperloglog_final(internal) RETURNS hyperloglog
	AS 'MODULE_PATHNAME', 'mdb_hll_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION hyperloglog_final(internal) IS 'final function of aggregates that make hyperloglogs';
CREATE FUNCTION hyperloglog_serial(internal) RETURNS bytea
	AS 'MODULE_PATHNAME', 'mdb_hll_final' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hyperloglog_serial(internal) IS 'serialises a state of aggregates that make hyperloglogs';
CREATE FUNCTION hyperloglog_deserial(bytea, internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_hll_deserial' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hyperloglog_deserial(bytea, internal) IS 'reads what hyperloglog_serial has written';

CREATE AGGREGATE hyperloglog(size integer, value anyelement) (SFUNC = hyperloglog_transition, STYPE = internal, SSPACE = 1000, FINALFUNC = hyperloglog_final,
	COMBINEFUNC = hyperloglog_combine, SERIALFUNC = hyperloglog_serial, DESERIALFUNC = hyperloglog_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE hyperloglog(integer, anyelement) IS
	'hyperloglog of the values, of so many registers, a power of two, or the next; NULLs do not count';
CREATE AGGREGATE approx_count_distinct(value anyelement) (SFUNC = hyperloglog_transition, STYPE = internal, SSPACE = 1000, FINALFUNC = hyperloglog_final,
	COMBINEFUNC = hyperloglog_combine, SERIALFUNC = hyperloglog_serial, DESERIALFUNC = hyperloglog_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE approx_count_distinct(anyelement) IS
	'hyperloglog of the values, of 32,768 registers';
CREATE AGGREGATE rollup(hll hyperloglog) (SFUNC = hyperloglog_rollup, STYPE = internal, SSPACE = 1000, FINALFUNC = hyperloglog_final,
	COMBINEFUNC = hyperloglog_combine, SERIALFUNC = hyperloglog_serial, DESERIALFUNC = hyperloglog_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE rollup(hyperloglog) IS
	'hyperloglogs merged: the same as one of all their values';

CREATE FUNCTION distinct_count(hll hyperloglog) RETURNS bigint
	AS 'MODULE_PATHNAME', 'mdb_hll_count' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION distinct_count(hyperloglog) IS 'how many different values there were, about: within stderror(hyperloglog) in two of three cases';
CREATE FUNCTION stderror(hll hyperloglog) RETURNS double precision
	AS 'MODULE_PATHNAME', 'mdb_hll_stderror' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION stderror(hyperloglog) IS 'the standard error of distinct_count, as a share of it';
