/*
 * gapfill.c
 *	  time_bucket_gapfill, locf and interpolate as functions.
 *
 * The first is time_bucket with arguments that only exec/gapfill_plan.c looks at, which finds the calls in
 * grouped queries and puts a node above the grouping.  The others are never called where they belong: the node
 * fills in their results.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "func/func.h"

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_gapfill_bucket);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_gapfill_marker);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_gapfill_support);

/* (width, time [, zone], start, finish) */
Datum
mdb_gapfill_bucket(PG_FUNCTION_ARGS)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 1);
	bool zoned = PG_NARGS() == 5;
	MdbBuckets b;
	int64 t;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid time_bucket_gapfill argument: bucket_width cannot be NULL")));
	if (zoned && PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid time_bucket_gapfill argument: timezone cannot be NULL")));
	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	mdb_buckets_init(&b, type, PG_GETARG_DATUM(0), zoned ? PG_GETARG_TEXT_PP(2) : NULL);
	t = mdb_time_units(PG_GETARG_DATUM(1), type);
	if (!mdb_time_is_finite(t, type))
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));
	PG_RETURN_DATUM(mdb_units_time(mdb_bucket_begin(&b, t), type));
}

/* locf and interpolate, where there are no gaps to be filled */
Datum
mdb_gapfill_marker(PG_FUNCTION_ARGS)
{
	mdb_gapfill_misplaced(fcinfo->flinfo->fn_oid);
}

/* The planner's support function of all of them: it is enough that it is called, see mdb_gapfill_init(). */
Datum
mdb_gapfill_support(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(NULL);
}

/*
 * mdb_gapfill_misplaced - the error about locf or interpolate in a query that fills no gaps.
 */
void
mdb_gapfill_misplaced(Oid function)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("%s can only be used in an aggregation query with time_bucket_gapfill",
					get_func_name(function)),
			 errhint("Group by time_bucket_gapfill, and call %s in the same SELECT, outside of aggregates.",
					 get_func_name(function))));
}

/*
 * mdb_time_units - an integer, a timestamp or a date as int64: itself, microseconds, days.
 */
int64
mdb_time_units(Datum value, Oid type)
{
	switch (type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case DATEOID:
			return DatumGetDateADT(value);
		default:
			return DatumGetInt64(value);
	}
}

/*
 * mdb_units_time - and back.
 */
Datum
mdb_units_time(int64 t, Oid type)
{
	switch (type)
	{
		case INT2OID:
			return Int16GetDatum((int16) t);
		case INT4OID:
			return Int32GetDatum((int32) t);
		case DATEOID:
			return DateADTGetDatum((DateADT) t);
		default:
			return Int64GetDatum(t);
	}
}

/*
 * mdb_time_is_finite - is it none of the infinities of timestamps and dates?
 */
bool
mdb_time_is_finite(int64 t, Oid type)
{
	if (type == DATEOID)
		return !DATE_NOT_FINITE((DateADT) t);
	return (type != TIMESTAMPOID && type != TIMESTAMPTZOID) || !TIMESTAMP_NOT_FINITE(t);
}
