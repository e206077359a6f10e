/*
 * agg_histogram.c
 *	  MetricsAgg: the aggregate of func/histogram.c.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "compat.h"
#include "exec/agg_own.h"
#include "func/histogram.h"

typedef struct Counts
{
	int64 *n; /* NULL: no row has come */
} Counts;

/* The bounds, or NULL if one of them is: then no row counts. */
static void *
prepare(MdbOwn *own)
{
	MdbHistogramBounds *b = palloc(sizeof(MdbHistogramBounds));

	if (own->nulls[0] || own->nulls[1] || own->nulls[2])
		return NULL;
	b->min = DatumGetFloat8(own->constants[0]);
	b->max = DatumGetFloat8(own->constants[1]);
	b->nbuckets = DatumGetInt32(own->constants[2]);
	mdb_histogram_check(b);
	return b;
}

static void
add(MdbOwn *own, char *state, const MdbOwnRun *run)
{
	const MdbHistogramBounds *b = own->prepared;
	Counts *counts = (Counts *) state;
	const double *v = run->values;

	if (b == NULL)
		return;
	if (counts->n == NULL)
	{
		counts->n = mdb_own_alloc(own, sizeof(int64) * (b->nbuckets + 2));
		memset(counts->n, 0, sizeof(int64) * (b->nbuckets + 2));
	}
	for (uint32 i = run->begin; i < run->end; i++)
	{
		if (run->valid && !run->valid[i])
			continue;
		if (isnan(v[i]))
			mdb_histogram_nan();
		counts->n[mdb_histogram_place(b, v[i])]++;
	}
}

static void
drop(MdbOwn *own, char *state)
{
	Counts *counts = (Counts *) state;

	if (counts->n)
		mdb_own_free(own, counts->n);
	counts->n = NULL;
}

static Datum
result(MdbOwn *own, const char *state, bool *isnull)
{
	const Counts *counts = (const Counts *) state;

	*isnull = counts->n == NULL;
	return *isnull ? (Datum) 0
				   : mdb_histogram_array(counts->n, ((const MdbHistogramBounds *) own->prepared)->nbuckets);
}

static Datum
partial(MdbOwn *own, const char *state, bool *isnull)
{
	const Counts *counts = (const Counts *) state;

	*isnull = counts->n == NULL;
	return *isnull ? (Datum) 0
				   : PointerGetDatum(mdb_histogram_serialize(
						 counts->n, ((const MdbHistogramBounds *) own->prepared)->nbuckets));
}

static const MdbOwnKind kind = {
	.state_size = sizeof(Counts), .held_size = 256, .prepare = prepare, .add = add, .drop = drop};

const MdbOwnAgg mdb_own_histogram[] = {{.name = "histogram",
										.nargs = 4,
										.types = {FLOAT8OID, FLOAT8OID, FLOAT8OID, INT4OID},
										.value_arg = 0,
										.time_arg = -1,
										.kind = &kind,
										.result = result,
										.partial = partial},
									   {NULL}};
