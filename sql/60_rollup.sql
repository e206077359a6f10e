-- Continuous aggregates: what their views are made of.

CREATE FUNCTION variance_transition(double precision[], bigint, double precision, double precision) RETURNS double precision[]
	AS 'MODULE_PATHNAME', 'mdb_variance_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION variance_transition(double precision[], bigint, double precision, double precision) IS
	'transition function of the aggregate combine_variance';
CREATE AGGREGATE combine_variance(n bigint, sum double precision, variance double precision) (
	SFUNC = variance_transition, STYPE = double precision[], INITCOND = '{0,0,0}',
	FINALFUNC = pg_catalog.float8_var_pop, COMBINEFUNC = pg_catalog.float8_combine, PARALLEL = SAFE);
COMMENT ON AGGREGATE combine_variance(bigint, double precision, double precision) IS
	'variance of the population of all values of groups, of each group''s number and sum of values and its var_pop';

CREATE FUNCTION variance_of_sums(n bigint, sum numeric, squares numeric, sample boolean) RETURNS numeric
	AS 'MODULE_PATHNAME', 'mdb_variance_of_sums' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION variance_of_sums(bigint, numeric, numeric, boolean) IS
	'var_samp, or var_pop, of values of which the number, the sum and the sum of the squares are known';
CREATE FUNCTION stddev_of_sums(n bigint, sum numeric, squares numeric, sample boolean) RETURNS numeric
	AS 'MODULE_PATHNAME', 'mdb_stddev_of_sums' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION stddev_of_sums(bigint, numeric, numeric, boolean) IS
	'stddev_samp, or stddev_pop, of values of which the number, the sum and the sum of the squares are known';

CREATE FUNCTION hist_sum_transition(internal, integer[]) RETURNS internal
	AS 'MODULE_PATHNAME', 'mdb_hist_sum_transition' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION hist_sum_transition(internal, integer[]) IS 'transition function of the aggregate sum_histograms';
CREATE AGGREGATE sum_histograms(histogram integer[]) (SFUNC = hist_sum_transition, STYPE = internal, FINALFUNC = hist_final,
	COMBINEFUNC = hist_combine, SERIALFUNC = hist_serial, DESERIALFUNC = hist_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE sum_histograms(integer[]) IS 'histograms added up: the same as one of all their values';

CREATE FUNCTION combine_countersummary_final(internal) RETURNS countersummary
	AS 'MODULE_PATHNAME', 'mdb_combine_summaries_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION combine_countersummary_final(internal) IS 'final function of the aggregate combine_summaries';
CREATE AGGREGATE combine_summaries(countersummary) (SFUNC = rollup_transition, STYPE = internal,
	FINALFUNC = combine_countersummary_final, COMBINEFUNC = rollup_combine, SERIALFUNC = rollup_serial,
	DESERIALFUNC = rollup_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE combine_summaries(countersummary) IS 'what rollup() says, or NULL if times interleave';
CREATE FUNCTION combine_gaugesummary_final(internal) RETURNS gaugesummary
	AS 'MODULE_PATHNAME', 'mdb_combine_summaries_final' LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION combine_gaugesummary_final(internal) IS 'final function of the aggregate combine_summaries';
CREATE AGGREGATE combine_summaries(gaugesummary) (SFUNC = rollup_transition, STYPE = internal,
	FINALFUNC = combine_gaugesummary_final, COMBINEFUNC = rollup_combine, SERIALFUNC = rollup_serial,
	DESERIALFUNC = rollup_deserial, PARALLEL = SAFE);
COMMENT ON AGGREGATE combine_summaries(gaugesummary) IS 'what rollup() says, or NULL if times interleave';

-- The trigger on aggregates' views.

CREATE FUNCTION continuous_view() RETURNS trigger
	AS 'MODULE_PATHNAME', 'mdb_continuous_view' LANGUAGE C;
COMMENT ON FUNCTION continuous_view() IS
	'trigger on the view of a continuous aggregate: keeps writers off; that it is made registers a restored aggregate';

CREATE FUNCTION add_aggregate(view regclass, aggregate text, name name) RETURNS void
	AS 'MODULE_PATHNAME', 'mdb_add_aggregate' LANGUAGE C STRICT;
COMMENT ON FUNCTION add_aggregate(regclass, text, name) IS
	'adds a column to a continuous aggregate; NULL in buckets of which the rows are gone';
