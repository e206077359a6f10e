/*
 * sketch_agg.c
 *	  Making sketches of quantiles: aggregates, single values, OpenTelemetry's exponential histograms.
 *
 * The state of the aggregates is an MdbSketch; serialised it is the value that the aggregate would return.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"

#include "compat.h"
#include "func/func.h"

static MdbSketch *
new_state(MemoryContext mcxt, int scale, uint32 max_buckets)
{
	MdbSketch *s = MemoryContextAlloc(mcxt, sizeof(MdbSketch));

	mdb_sketch_begin(s, mcxt, scale, max_buckets);
	return s;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_transition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_transition_buckets);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_transition_error);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_transition_both);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_rollup);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_combine);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_final);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_serial);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_deserial);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_add_value);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_merge_two);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_from_otel);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_to_otel);

/* ---------- aggregates ---------- */

/* The argument that has the value, and those that have limits, or -1; limits that are NULL are the default. */
static Datum
transition(FunctionCallInfo fcinfo, int value, int buckets, int error)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	MdbSketch *s = PG_ARGISNULL(0) ? NULL : (MdbSketch *) PG_GETARG_POINTER(0);

	if (PG_ARGISNULL(value))
	{
		if (s == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(s);
	}
	if (s == NULL)
	{
		int32 n = buckets >= 0 && !PG_ARGISNULL(buckets) ? PG_GETARG_INT32(buckets) : -1;
		float8 e = error >= 0 && !PG_ARGISNULL(error) ? PG_GETARG_FLOAT8(error) : -1;
		MdbSketchLimits limits = mdb_sketch_limits(buckets >= 0 && !PG_ARGISNULL(buckets) ? &n : NULL,
												   error >= 0 && !PG_ARGISNULL(error) ? &e : NULL);

		s = new_state(mcxt, limits.scale, limits.max_buckets);
	}
	if (!mdb_sketch_add(s, PG_GETARG_FLOAT8(value), 1))
		mdb_sketch_full();
	PG_RETURN_POINTER(s);
}

Datum
mdb_sketch_transition(PG_FUNCTION_ARGS)
{
	return transition(fcinfo, 1, -1, -1);
}

/* (state, value, buckets) */
Datum
mdb_sketch_transition_buckets(PG_FUNCTION_ARGS)
{
	return transition(fcinfo, 1, 2, -1);
}

/* (state, value, relative error) */
Datum
mdb_sketch_transition_error(PG_FUNCTION_ARGS)
{
	return transition(fcinfo, 1, -1, 2);
}

/* (state, buckets, relative error, value) */
Datum
mdb_sketch_transition_both(PG_FUNCTION_ARGS)
{
	return transition(fcinfo, 3, 1, 2);
}

/* (state, sketch) */
Datum
mdb_sketch_rollup(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	MdbSketch *s = PG_ARGISNULL(0) ? NULL : (MdbSketch *) PG_GETARG_POINTER(0);
	MdbSketch other;

	if (PG_ARGISNULL(1))
	{
		if (s == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(s);
	}
	mdb_sketch_of_datum(&other, CurrentMemoryContext, PG_GETARG_DATUM(1));
	if (s == NULL)
		s = new_state(mcxt, other.scale, other.max_buckets);
	if (!mdb_sketch_merge(s, &other))
		mdb_sketch_full();
	PG_RETURN_POINTER(s);
}

Datum
mdb_sketch_combine(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	MdbSketch *a = PG_ARGISNULL(0) ? NULL : (MdbSketch *) PG_GETARG_POINTER(0);
	MdbSketch *b = PG_ARGISNULL(1) ? NULL : (MdbSketch *) PG_GETARG_POINTER(1);

	if (b == NULL)
	{
		if (a == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(a);
	}
	if (a == NULL)
		a = new_state(mcxt, b->scale, b->max_buckets);
	if (!mdb_sketch_merge(a, b))
		mdb_sketch_full();
	PG_RETURN_POINTER(a);
}

/* A state stays good: values in buckets are the same values. */
Datum
mdb_sketch_final(PG_FUNCTION_ARGS)
{
	(void) mdb_aggregate_context(fcinfo);
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	return mdb_datum_of_sketch((MdbSketch *) PG_GETARG_POINTER(0));
}

Datum
mdb_sketch_serial(PG_FUNCTION_ARGS)
{
	(void) mdb_aggregate_context(fcinfo);
	return mdb_datum_of_sketch((MdbSketch *) PG_GETARG_POINTER(0));
}

Datum
mdb_sketch_deserial(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	MdbSketch *s = MemoryContextAlloc(mcxt, sizeof(MdbSketch));

	mdb_sketch_of_datum(s, mcxt, PG_GETARG_DATUM(0));
	PG_RETURN_POINTER(s);
}

/* ---------- one by one ---------- */

/* (sketch, value, count): a NULL for a sketch is one of nothing, a NULL for a value changes nothing. */
Datum
mdb_sketch_add_value(PG_FUNCTION_ARGS)
{
	MdbSketch s;
	int64 count = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);

	if (count < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("number of values must not be negative"),
				 errdetail("Nothing can be taken out of a quantile_sketch.")));
	if (PG_ARGISNULL(0))
	{
		if (PG_ARGISNULL(1) || count == 0)
			PG_RETURN_NULL();
		mdb_sketch_begin(&s, CurrentMemoryContext, MDB_SKETCH_SCALE_MAX, MDB_SKETCH_BUCKETS_DEFAULT);
	}
	else
	{
		if (PG_ARGISNULL(1) || count == 0)
			PG_RETURN_DATUM(PG_GETARG_DATUM(0));
		mdb_sketch_of_datum(&s, CurrentMemoryContext, PG_GETARG_DATUM(0));
	}
	if (!mdb_sketch_add(&s, PG_GETARG_FLOAT8(1), (uint64) count))
		mdb_sketch_full();
	PG_RETURN_DATUM(mdb_datum_of_sketch(&s));
}

/* (sketch, sketch): that which is not NULL, if one is */
Datum
mdb_sketch_merge_two(PG_FUNCTION_ARGS)
{
	MdbSketch a, b;

	if (PG_ARGISNULL(0) && PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_DATUM(PG_GETARG_DATUM(PG_ARGISNULL(0) ? 1 : 0));
	mdb_sketch_of_datum(&a, CurrentMemoryContext, PG_GETARG_DATUM(0));
	mdb_sketch_of_datum(&b, CurrentMemoryContext, PG_GETARG_DATUM(1));
	if (!mdb_sketch_merge(&a, &b))
		mdb_sketch_full();
	PG_RETURN_DATUM(mdb_datum_of_sketch(&a));
}

/* ---------- OpenTelemetry ---------- */

pg_noreturn static void
bad_histogram(const char *detail)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid exponential histogram"),
					errdetail("%s", detail)));
}

static void
add_counts(MdbSketch *s, bool negative, int scale, int64 offset, ArrayType *counts)
{
	int64 first = mdb_sketch_first_index(scale), last = mdb_sketch_last_index(scale);
	Datum *values;
	bool *nulls;
	int n;

	if (ARR_NDIM(counts) > 1)
		bad_histogram("Arrays of counts must have one dimension.");
	deconstruct_array(counts, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		int64 count = nulls[i] ? -1 : DatumGetInt64(values[i]);

		if (count < 0)
			bad_histogram("Counts must not be negative or NULL.");
		if (count > 0 && (offset + i < first || offset + i > last))
			bad_histogram("Values of a bucket would be beyond the range of double precision.");
		if (count > 0 && !mdb_sketch_add_bucket(s, negative, (int32) (offset + i), scale, (uint64) count))
			mdb_sketch_full();
	}
}

static double
clamped(double v, double lo, double hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

/* (scale, zero count, positive offset, counts, negative offset, counts, min, max, buckets) */
Datum
mdb_sketch_from_otel(PG_FUNCTION_ARGS)
{
	MdbSketch s;
	MdbSketchWalk walk;
	MdbSketchStep step;
	bool any = false;
	int32 scale;
	int64 zeros = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	double min, max;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	scale = PG_GETARG_INT32(0);
	if (scale < MDB_SKETCH_SCALE_MIN || scale > MDB_SKETCH_SCALE_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid exponential histogram"),
						errdetail("The scale is %d, but must be between %d and %d.", scale,
								  MDB_SKETCH_SCALE_MIN, MDB_SKETCH_SCALE_MAX)));
	if (zeros < 0)
		bad_histogram("Counts must not be negative or NULL.");
	mdb_sketch_begin(
		&s, CurrentMemoryContext, scale,
		mdb_sketch_checked_buckets(PG_ARGISNULL(8) ? MDB_SKETCH_BUCKETS_DEFAULT : PG_GETARG_INT32(8)));
	if (!mdb_sketch_add(&s, 0, (uint64) zeros))
		mdb_sketch_full();
	if (!PG_ARGISNULL(3))
		add_counts(&s, false, scale, PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2), PG_GETARG_ARRAYTYPE_P(3));
	if (!PG_ARGISNULL(5))
		add_counts(&s, true, scale, PG_ARGISNULL(4) ? 0 : PG_GETARG_INT32(4), PG_GETARG_ARRAYTYPE_P(5));
	mdb_sketch_settle(&s);

	/* What was measured is known better than by the bounds, but lies in the same buckets. */
	min = PG_ARGISNULL(6) ? s.min : PG_GETARG_FLOAT8(6);
	max = PG_ARGISNULL(7) ? s.max : PG_GETARG_FLOAT8(7);
	if (isnan(min) || isnan(max) || (s.total > 0 && min > max))
		bad_histogram("The minimum is greater than the maximum, or one of them is no number.");
	mdb_sketch_walk(&walk, &s);
	while (mdb_sketch_step(&walk, &step))
	{
		if (!any)
			s.min = clamped(min, step.lower, step.upper);
		s.max = clamped(max, step.lower, step.upper);
		any = true;
	}
	PG_RETURN_DATUM(mdb_datum_of_sketch(&s));
}

static Datum
counts_of(const MdbSketch *s, const MdbSketchSide *side)
{
	Datum *counts = palloc(sizeof(Datum) * (side->n + 1));

	for (uint32 i = 0; i < side->n; i++)
		counts[i] = Int64GetDatum((int64) mdb_sketch_count(s, side, i));
	return PointerGetDatum(
		construct_array(counts, (int) side->n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* (sketch): one row, whose columns are as the SQL function has them */
Datum
mdb_sketch_to_otel(PG_FUNCTION_ARGS)
{
	TupleDesc desc;
	MdbSketch s;
	uint64 infinite;
	Datum values[10];
	bool nulls[10] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	mdb_sketch_of_datum(&s, CurrentMemoryContext, PG_GETARG_DATUM(0));
	infinite = s.neg_inf + s.pos_inf;
	values[0] = Int32GetDatum(s.scale);
	values[1] = Int64GetDatum((int64) (s.total - infinite));
	values[2] = Int64GetDatum((int64) s.zero);
	values[3] = Int32GetDatum(s.pos.first);
	values[4] = counts_of(&s, &s.pos);
	values[5] = Int32GetDatum(s.neg.first);
	values[6] = counts_of(&s, &s.neg);
	values[7] = Float8GetDatum(s.min);
	values[8] = Float8GetDatum(s.max);
	/* Of infinities no more is known than that they are there. */
	nulls[7] = s.total == 0 || isinf(s.min);
	nulls[8] = s.total == 0 || isinf(s.max);
	values[9] = Int64GetDatum((int64) (infinite + s.nan));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
