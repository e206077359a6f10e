/*
 * histogram.c
 *	  The aggregate histogram(value, min, max, nbuckets).
 *
 * An array of nbuckets + 2 counts: of values below min, in each of nbuckets parts of the range, from max on.  Rows
 * with a NULL do not count.  The number of buckets must be the same in all rows of a group.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "compat.h"
#include "func/func.h"
#include "func/histogram.h"

typedef struct Histogram
{
	int32 nbuckets;
	int64 counts[FLEXIBLE_ARRAY_MEMBER]; /* nbuckets + 2 */
} Histogram;

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hist_transition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hist_sum_transition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hist_combine);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hist_final);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hist_serial);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_hist_deserial);

/*
 * mdb_histogram_check - errors of the arguments that are not the value.
 */
void
mdb_histogram_check(const MdbHistogramBounds *b)
{
	if (b->nbuckets <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_ARGUMENT_FOR_WIDTH_BUCKET_FUNCTION),
						errmsg("number of buckets must be greater than zero")));
	if (b->nbuckets > MDB_HISTOGRAM_MAX)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many buckets in a histogram"),
						errdetail("There can be %d at most.", MDB_HISTOGRAM_MAX)));
	if (isnan(b->min) || isnan(b->max))
		mdb_histogram_nan();
	if (isinf(b->min) || isinf(b->max))
		ereport(ERROR, (errcode(ERRCODE_INVALID_ARGUMENT_FOR_WIDTH_BUCKET_FUNCTION),
						errmsg("lower and upper bounds must be finite")));
	if (b->min > b->max)
		ereport(ERROR, (errcode(ERRCODE_INVALID_ARGUMENT_FOR_WIDTH_BUCKET_FUNCTION),
						errmsg("lower bound cannot exceed upper bound")));
	if (b->min == b->max)
		ereport(ERROR, (errcode(ERRCODE_INVALID_ARGUMENT_FOR_WIDTH_BUCKET_FUNCTION),
						errmsg("lower bound cannot equal upper bound")));
}

/*
 * mdb_histogram_nan - the error about a value or bound that is no number.
 */
void
mdb_histogram_nan(void)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_ARGUMENT_FOR_WIDTH_BUCKET_FUNCTION),
					errmsg("value, lower bound, and upper bound of a histogram cannot be NaN"),
					errhint("Leave such values out: FILTER (WHERE value <> 'NaN').")));
}

/*
 * mdb_histogram_array - the result.
 */
Datum
mdb_histogram_array(const int64 *counts, int32 nbuckets)
{
	Datum *d = palloc(sizeof(Datum) * (nbuckets + 2));

	for (int32 i = 0; i < nbuckets + 2; i++)
	{
		if (counts[i] > PG_INT32_MAX)
			ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("integer out of range"),
							errdetail("A bucket of a histogram has " INT64_FORMAT " values.", counts[i])));
		d[i] = Int32GetDatum((int32) counts[i]);
	}
	return PointerGetDatum(construct_array(d, nbuckets + 2, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

/*
 * mdb_histogram_serialize - the state as workers hand it on: the number of buckets, and the counts.
 */
bytea *
mdb_histogram_serialize(const int64 *counts, int32 nbuckets)
{
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendint32(&buf, nbuckets);
	for (int32 i = 0; i < nbuckets + 2; i++)
		pq_sendint64(&buf, counts[i]);
	return pq_endtypsend(&buf);
}

static Histogram *
make_histogram(MemoryContext mcxt, int32 nbuckets)
{
	Histogram *h = MemoryContextAllocZero(mcxt, offsetof(Histogram, counts) + sizeof(int64) * (nbuckets + 2));

	h->nbuckets = nbuckets;
	return h;
}

pg_noreturn static void
changed(void)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("number of buckets must not change between calls")));
}

/* (state, value, min, max, nbuckets) */
Datum
mdb_hist_transition(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	Histogram *h = PG_ARGISNULL(0) ? NULL : (Histogram *) PG_GETARG_POINTER(0);
	MdbHistogramBounds b;
	double value;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3) || PG_ARGISNULL(4))
	{
		if (h == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(h);
	}
	value = PG_GETARG_FLOAT8(1);
	b.min = PG_GETARG_FLOAT8(2);
	b.max = PG_GETARG_FLOAT8(3);
	b.nbuckets = PG_GETARG_INT32(4);
	mdb_histogram_check(&b);
	if (isnan(value))
		mdb_histogram_nan();
	if (h == NULL)
		h = make_histogram(mcxt, b.nbuckets);
	else if (h->nbuckets != b.nbuckets)
		changed();
	h->counts[mdb_histogram_place(&b, value)]++;
	PG_RETURN_POINTER(h);
}

/* (state, histogram): of histograms that are there already the sum, element by element */
Datum
mdb_hist_sum_transition(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	Histogram *h = PG_ARGISNULL(0) ? NULL : (Histogram *) PG_GETARG_POINTER(0);
	ArrayType *a;
	int32 n;

	if (PG_ARGISNULL(1))
	{
		if (h == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(h);
	}
	a = PG_GETARG_ARRAYTYPE_P(1);
	n = ARR_NDIM(a) == 1 ? ARR_DIMS(a)[0] - 2 : 0;
	if (n <= 0 || n > MDB_HISTOGRAM_MAX || array_contains_nulls(a))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("array is not a histogram"),
						errdetail("It has at least three counts in one dimension, none of them NULL.")));
	if (h == NULL)
		h = make_histogram(mcxt, n);
	else if (h->nbuckets != n)
		changed();
	for (int32 i = 0; i < n + 2; i++)
		h->counts[i] += ((int32 *) ARR_DATA_PTR(a))[i];
	PG_RETURN_POINTER(h);
}

Datum
mdb_hist_combine(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	Histogram *a = PG_ARGISNULL(0) ? NULL : (Histogram *) PG_GETARG_POINTER(0);
	Histogram *b = PG_ARGISNULL(1) ? NULL : (Histogram *) PG_GETARG_POINTER(1);

	if (b == NULL)
	{
		if (a == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(a);
	}
	if (a == NULL)
		a = make_histogram(mcxt, b->nbuckets);
	if (a->nbuckets != b->nbuckets)
		changed();
	for (int32 i = 0; i < a->nbuckets + 2; i++)
		a->counts[i] += b->counts[i];
	PG_RETURN_POINTER(a);
}

Datum
mdb_hist_final(PG_FUNCTION_ARGS)
{
	Histogram *h = PG_ARGISNULL(0) ? NULL : (Histogram *) PG_GETARG_POINTER(0);

	(void) mdb_aggregate_context(fcinfo);
	if (h == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(mdb_histogram_array(h->counts, h->nbuckets));
}

Datum
mdb_hist_serial(PG_FUNCTION_ARGS)
{
	Histogram *h = (Histogram *) PG_GETARG_POINTER(0);

	(void) mdb_aggregate_context(fcinfo);
	PG_RETURN_BYTEA_P(mdb_histogram_serialize(h->counts, h->nbuckets));
}

Datum
mdb_hist_deserial(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	bytea *state = PG_GETARG_BYTEA_PP(0);
	StringInfoData buf;
	Histogram *h;
	int32 nbuckets;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(state), VARSIZE_ANY_EXHDR(state));
	nbuckets = (int32) pq_getmsgint(&buf, 4);
	if (nbuckets <= 0 || nbuckets > MDB_HISTOGRAM_MAX)
		elog(ERROR, "invalid state of a histogram");
	h = make_histogram(mcxt, nbuckets);
	for (int32 i = 0; i < nbuckets + 2; i++)
		h->counts[i] = pq_getmsgint64(&buf);
	pq_getmsgend(&buf);
	pfree(buf.data);
	PG_RETURN_POINTER(h);
}
