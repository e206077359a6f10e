/*
 * combine.c
 *	  Variances that are put together later: of floats, and of exact sums.
 *
 * What PostgreSQL's own aggregates keep is of type internal, or is told to nobody.  So continuous aggregates keep
 * results, of which the same can be computed: to the digit for exact numbers, within rounding for floats.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "compat.h"
#include "func/func.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_variance_transition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_variance_of_sums);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_stddev_of_sums);

/* ---------- variances of floats ---------- */

/* (state, n, sum, var_pop): the state is that of var_pop() itself, number, sum and sum of squared deviations */
Datum
mdb_variance_transition(PG_FUNCTION_ARGS)
{
	Datum values[3];
	double n;

	(void) mdb_aggregate_context(fcinfo);
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3) || PG_GETARG_INT64(1) <= 0)
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	n = (double) PG_GETARG_INT64(1);
	values[0] = Float8GetDatum(n);
	values[1] = PG_GETARG_DATUM(2);
	values[2] = Float8GetDatum(PG_GETARG_FLOAT8(3) * n);
	return DirectFunctionCall2(float8_combine, PG_GETARG_DATUM(0),
							   PointerGetDatum(construct_array(values, 3, FLOAT8OID, sizeof(float8),
															   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)));
}

/* ---------- variances of exact numbers ---------- */

#define NUMERIC2(function, a, b) DirectFunctionCall2(function, a, b)

static bool
is_less(Datum a, Datum b)
{
	return DatumGetBool(NUMERIC2(numeric_lt, a, b));
}

static Datum
number(int64 n)
{
	return NumericGetDatum(int64_to_numeric(n));
}

static int32
scale_of(Datum n)
{
	return DatumGetInt32(DirectFunctionCall1(numeric_scale, n));
}

/*
 * The square root to as many digits as the number has, as stddev() gives it.  sqrt() gives more of them, and what
 * is rounded twice may be off by one in the last.
 */
static Datum
root_of(Datum n)
{
	int32 scale = scale_of(n);
	Datum root = NUMERIC2(numeric_round, DirectFunctionCall1(numeric_sqrt, n), Int32GetDatum(scale));
	Datum unit, half, edge;

	/* 10^-scale, and half of that, exactly */
	unit = DirectFunctionCall3(numeric_in, CStringGetDatum(psprintf("1e-%d", scale)),
							   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	half = DirectFunctionCall3(numeric_in, CStringGetDatum(psprintf("5e-%d", scale + 1)),
							   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	edge = NUMERIC2(numeric_sub, root, half);
	if (is_less(n, NUMERIC2(numeric_mul, edge, edge)))
		return NUMERIC2(numeric_sub, root, unit);
	return root;
}

/* (n, sum, sum of squares, of a sample?); step by step what numeric_stddev_internal() of PostgreSQL does */
static Datum
of_sums(FunctionCallInfo fcinfo, bool root)
{
	int64 n;
	bool sample;
	Datum sum, squares, result;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		PG_RETURN_NULL();
	n = PG_GETARG_INT64(0);
	sum = PG_GETARG_DATUM(1);
	squares = PG_GETARG_DATUM(2);
	sample = PG_GETARG_BOOL(3);
	if (n < (sample ? 2 : 1))
		PG_RETURN_NULL();
	if (numeric_is_nan(DatumGetNumeric(squares)) || numeric_is_inf(DatumGetNumeric(squares)))
		return DirectFunctionCall3(numeric_in, CStringGetDatum("NaN"), ObjectIdGetDatum(InvalidOid),
								   Int32GetDatum(-1));
	result =
		NUMERIC2(numeric_sub, NUMERIC2(numeric_mul, number(n), squares), NUMERIC2(numeric_mul, sum, sum));
	if (!is_less(number(0), result))
		return number(0);
	result = NUMERIC2(numeric_div, result, NUMERIC2(numeric_mul, number(n), number(sample ? n - 1 : n)));
	return root ? root_of(result) : result;
}

Datum
mdb_variance_of_sums(PG_FUNCTION_ARGS)
{
	return of_sums(fcinfo, false);
}

Datum
mdb_stddev_of_sums(PG_FUNCTION_ARGS)
{
	return of_sums(fcinfo, true);
}
