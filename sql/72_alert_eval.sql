-- Evaluation of rules.

CREATE FUNCTION eval_time() RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'mdb_eval_time' LANGUAGE C STABLE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION eval_time() IS
	'the time at which a rule is evaluated, for its query to read instead of now(); outside of an evaluation it is now()';
