/*
 * histogram_quantile.c
 *	  histogram_quantile(q, ...): quantiles of histograms as Prometheus tells them.
 *
 * Of classic histograms, whose buckets have an upper bound, le, and count all values up to it; and of
 * exponential ones.  Results are those of Prometheus 2.42:
 *
 *	- q NaN gives NaN, q < 0 -Infinity, q > 1 Infinity
 *	- without a bucket up to Infinity, or without another, or without values: NaN
 *	- buckets of the same bound are added up; one that has less than those below it has as much as they
 *	- values are spread evenly within a bucket; the lowest begins at 0, or is its bound if that is not
 *	  above 0; the highest is the bound below it
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"

#include "compat.h"
#include "func/func.h"

typedef struct Bucket
{
	float8 le;
	float8 count;
	int64 number; /* in order of arrival: sums do not depend on how the sort treats equals */
} Bucket;

/* State of the aggregate. */
typedef struct Histogram
{
	float8 q;
	uint32 n;
	uint32 room;
	int64 seen;
	Bucket *buckets;
} Histogram;

static int
bucket_cmp(const void *a, const void *b)
{
	const Bucket *x = a, *y = b;

	if (x->le != y->le)
		return x->le < y->le ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

/* Sort, and add up buckets of the same bound; returns how many are left. */
static uint32
coalesce(Bucket *buckets, uint32 n)
{
	uint32 to = 0;

	if (n == 0)
		return 0;
	qsort(buckets, n, sizeof(Bucket), bucket_cmp);
	for (uint32 i = 1; i < n; i++)
	{
		if (buckets[i].le == buckets[to].le)
			buckets[to].count += buckets[i].count;
		else
			buckets[++to] = buckets[i];
	}
	return to + 1;
}

/* The rule that is the same for all histograms; false if they are to be looked at. */
static bool
odd_quantile(float8 q, float8 *result)
{
	if (isnan(q))
		*result = q;
	else if (q < 0)
		*result = -get_float8_infinity();
	else if (q > 1)
		*result = get_float8_infinity();
	else
		return false;
	return true;
}

/* The q-th quantile of buckets, which are changed. */
static float8
quantile(float8 q, Bucket *buckets, uint32 n)
{
	float8 result, rank, start, count, most;
	uint32 lo = 0, hi;

	if (odd_quantile(q, &result))
		return result;
	n = coalesce(buckets, n);
	if (n < 2 || buckets[n - 1].le != get_float8_infinity())
		return get_float8_nan();
	/* NaN are neither more nor less. */
	most = buckets[0].count;
	for (uint32 i = 1; i < n; i++)
	{
		if (buckets[i].count > most)
			most = buckets[i].count;
		else if (buckets[i].count < most)
			buckets[i].count = most;
	}
	if (buckets[n - 1].count == 0)
		return get_float8_nan();
	rank = q * buckets[n - 1].count;

	/* The first bucket, other than the last, that comes up to it. */
	hi = n - 1;
	while (lo < hi)
	{
		uint32 mid = (lo + hi) / 2;

		if (buckets[mid].count >= rank)
			hi = mid;
		else
			lo = mid + 1;
	}
	if (lo == n - 1)
		return buckets[n - 2].le;
	if (lo == 0 && buckets[0].le <= 0)
		return buckets[0].le;
	start = 0;
	count = buckets[lo].count;
	if (lo > 0)
	{
		start = buckets[lo - 1].le;
		count -= buckets[lo - 1].count;
		rank -= buckets[lo - 1].count;
	}
	return start + (buckets[lo].le - start) * (rank / count);
}

static float8
checked_le(float8 le)
{
	if (isnan(le))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("upper bound of a bucket must not be NaN")));
	return le;
}

/* A bound as Prometheus writes them: 0.5, 1e+06, +Inf. */
static float8
le_of_text(char *text)
{
	return checked_le(DatumGetFloat8(DirectFunctionCall1(float8in, CStringGetDatum(text))));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_histogram_quantile_array);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_histogram_quantile_sketch);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_histogram_transition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_histogram_transition_text);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_histogram_combine);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_histogram_final);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_histogram_serial);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_histogram_deserial);

/* (q, le[], counts[]): le are numbers or texts; pairs of which one is NULL do not count */
Datum
mdb_histogram_quantile_array(PG_FUNCTION_ARGS)
{
	ArrayType *les = PG_GETARG_ARRAYTYPE_P(1), *counts = PG_GETARG_ARRAYTYPE_P(2);
	bool as_text = ARR_ELEMTYPE(les) == TEXTOID;
	Datum *le, *count;
	bool *le_null, *count_null;
	int n, ncounts;
	uint32 used = 0;
	Bucket *buckets;

	if (as_text)
		deconstruct_array(les, TEXTOID, -1, false, TYPALIGN_INT, &le, &le_null, &n);
	else
		deconstruct_array(les, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &le, &le_null,
						  &n);
	deconstruct_array(counts, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &count,
					  &count_null, &ncounts);
	if (n != ncounts)
		ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
						errmsg("upper bounds and counts of buckets must be equally many"),
						errdetail("There are %d upper bounds and %d counts.", n, ncounts)));
	buckets = palloc(sizeof(Bucket) * (n + 1));
	for (int i = 0; i < n; i++)
	{
		if (le_null[i] || count_null[i])
			continue;
		buckets[used].le =
			as_text ? le_of_text(TextDatumGetCString(le[i])) : checked_le(DatumGetFloat8(le[i]));
		buckets[used].count = DatumGetFloat8(count[i]);
		buckets[used].number = i;
		used++;
	}
	PG_RETURN_FLOAT8(quantile(PG_GETARG_FLOAT8(0), buckets, used));
}

/* (q, sketch): of an exponential histogram, where values are spread evenly within a bucket, too */
Datum
mdb_histogram_quantile_sketch(PG_FUNCTION_ARGS)
{
	float8 q = PG_GETARG_FLOAT8(0), result, rank;
	MdbSketch s;
	MdbSketchWalk walk;
	MdbSketchStep step;

	if (odd_quantile(q, &result))
		PG_RETURN_FLOAT8(result);
	mdb_sketch_of_datum(&s, CurrentMemoryContext, PG_GETARG_DATUM(1));
	if (s.total == 0)
		PG_RETURN_FLOAT8(get_float8_nan());
	rank = q * (float8) s.total;
	result = s.max;
	mdb_sketch_walk(&walk, &s);
	while (mdb_sketch_step(&walk, &step))
	{
		if ((float8) step.count >= rank)
		{
			/* infinities and zeros have no width */
			result = step.lower == step.upper
						 ? step.lower
						 : step.lower + (step.upper - step.lower) * (rank / (float8) step.count);
			break;
		}
		rank -= (float8) step.count;
	}
	PG_RETURN_FLOAT8(result);
}

/* ---------- the aggregate ---------- */

static Histogram *
new_histogram(MemoryContext mcxt, float8 q, uint32 room)
{
	Histogram *h = MemoryContextAlloc(mcxt, sizeof(Histogram));

	h->q = q;
	h->n = 0;
	h->room = room;
	h->seen = 0;
	h->buckets = MemoryContextAlloc(mcxt, sizeof(Bucket) * room);
	return h;
}

/* Buckets of the same bound are added up before more room is made, so there is room for bounds, not rows. */
static void
add_bucket(Histogram *h, float8 le, float8 count)
{
	if (h->n == h->room)
	{
		h->n = coalesce(h->buckets, h->n);
		if (h->n > h->room / 2)
		{
			h->room *= 2;
			h->buckets = repalloc_huge(h->buckets, sizeof(Bucket) * h->room);
		}
	}
	h->buckets[h->n].le = le;
	h->buckets[h->n].count = count;
	h->buckets[h->n].number = h->seen++;
	h->n++;
}

static void
check_q(const Histogram *h, float8 q)
{
	if (float8_ne(h->q, q))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("quantile must be the same for all rows of a histogram"),
						errdetail("It is %g in one and %g in another.", h->q, q)));
}

static Datum
transition(FunctionCallInfo fcinfo, bool as_text)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	Histogram *h = PG_ARGISNULL(0) ? NULL : (Histogram *) PG_GETARG_POINTER(0);
	float8 le;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
	{
		if (h == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(h);
	}
	le = as_text ? le_of_text(text_to_cstring(PG_GETARG_TEXT_PP(2))) : checked_le(PG_GETARG_FLOAT8(2));
	if (h == NULL)
		h = new_histogram(mcxt, PG_GETARG_FLOAT8(1), 16);
	check_q(h, PG_GETARG_FLOAT8(1));
	add_bucket(h, le, PG_GETARG_FLOAT8(3));
	PG_RETURN_POINTER(h);
}

/* (state, q, le, count); rows that have a NULL do not count */
Datum
mdb_histogram_transition(PG_FUNCTION_ARGS)
{
	return transition(fcinfo, false);
}

Datum
mdb_histogram_transition_text(PG_FUNCTION_ARGS)
{
	return transition(fcinfo, true);
}

Datum
mdb_histogram_combine(PG_FUNCTION_ARGS)
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
		a = new_histogram(mcxt, b->q, 16);
	check_q(a, b->q);
	for (uint32 i = 0; i < b->n; i++)
		add_bucket(a, b->buckets[i].le, b->buckets[i].count);
	PG_RETURN_POINTER(a);
}

Datum
mdb_histogram_final(PG_FUNCTION_ARGS)
{
	Histogram *h = PG_ARGISNULL(0) ? NULL : (Histogram *) PG_GETARG_POINTER(0);
	Bucket *buckets;

	(void) mdb_aggregate_context(fcinfo);
	if (h == NULL)
		PG_RETURN_NULL();
	/* A copy: a window may go on with the state. */
	h->n = coalesce(h->buckets, h->n);
	buckets = palloc(sizeof(Bucket) * h->n);
	memcpy(buckets, h->buckets, sizeof(Bucket) * h->n);
	PG_RETURN_FLOAT8(quantile(h->q, buckets, h->n));
}

/* q, then bounds and counts */
Datum
mdb_histogram_serial(PG_FUNCTION_ARGS)
{
	Histogram *h = (Histogram *) PG_GETARG_POINTER(0);
	StringInfoData buf;

	(void) mdb_aggregate_context(fcinfo);
	h->n = coalesce(h->buckets, h->n);
	pq_begintypsend(&buf);
	pq_sendfloat8(&buf, h->q);
	for (uint32 i = 0; i < h->n; i++)
	{
		pq_sendfloat8(&buf, h->buckets[i].le);
		pq_sendfloat8(&buf, h->buckets[i].count);
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

Datum
mdb_histogram_deserial(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	bytea *bytes = PG_GETARG_BYTEA_PP(0);
	StringInfoData buf;
	Histogram *h;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), (int) VARSIZE_ANY_EXHDR(bytes));
	h = new_histogram(mcxt, pq_getmsgfloat8(&buf), Max(16, (uint32) (buf.len / 16)));
	while (buf.cursor < buf.len)
	{
		float8 le = pq_getmsgfloat8(&buf);

		add_bucket(h, le, pq_getmsgfloat8(&buf));
	}
	pfree(buf.data);
	PG_RETURN_POINTER(h);
}
