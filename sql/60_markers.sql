-- Conditions by which the views of continuous aggregates divide rows between the states and their source.

CREATE FUNCTION marker_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_marker_support' LANGUAGE C STRICT;
COMMENT ON FUNCTION marker_support(internal) IS 'tells the planner how many rows is_pending() and is_clean() let through';

CREATE FUNCTION is_clean(states regclass, bucket anyelement) RETURNS bool
	AS 'MODULE_PATHNAME', 'mdb_is_clean' LANGUAGE C STABLE LEAKPROOF PARALLEL SAFE SUPPORT marker_support;
COMMENT ON FUNCTION is_clean(regclass, anyelement) IS
	'may rows of a bucket be taken from these states? Not if rows of the source were deleted or changed since';

CREATE FUNCTION is_pending(states regclass, "time" anyelement) RETURNS bool
	AS 'MODULE_PATHNAME', 'mdb_is_pending' LANGUAGE C STABLE LEAKPROOF PARALLEL SAFE SUPPORT marker_support;
COMMENT ON FUNCTION is_pending(regclass, anyelement) IS
	'in WHERE of a query on the table that a continuous aggregate is made of: is a row one that its states do not have?';

CREATE FUNCTION is_pending(states regclass, "time" anyelement, taken_from anyelement, taken_to anyelement) RETURNS bool
	AS 'MODULE_PATHNAME', 'mdb_is_pending' LANGUAGE C STABLE LEAKPROOF PARALLEL SAFE SUPPORT marker_support;
COMMENT ON FUNCTION is_pending(regclass, anyelement, anyelement, anyelement) IS
	'the same, or does its time lie outside of what is taken from the states, or in what retention has removed of them? NULL is no bound; for queries that are routed';

CREATE FUNCTION is_clean(states regclass, bucket anyelement, kept bool) RETURNS bool
	AS 'MODULE_PATHNAME', 'mdb_is_clean' LANGUAGE C STABLE LEAKPROOF PARALLEL SAFE SUPPORT marker_support;
COMMENT ON FUNCTION is_clean(regclass, anyelement, bool) IS
	'the same, and has retention left all of its states? For queries that are routed';
