/*
 * agg_over_time.c
 *	  MetricsAgg: the aggregates of func/over_time.c.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "exec/agg_own.h"
#include "func/over_time.h"

static inline bool
counts(const MdbOwnRun *run, uint32 i)
{
	return (run->valid == NULL || run->valid[i]) && !mdb_is_stale(((const double *) run->values)[i]);
}

/* ---------- moments ---------- */

static void
add_moments(MdbOwn *own, char *state, const MdbOwnRun *run)
{
	const double *v = run->values;

	for (uint32 i = run->begin; i < run->end; i++)
		if (run->valid == NULL || run->valid[i])
			mdb_moments_add((MdbMoments *) state, v[i]);
}

static const MdbOwnKind moments_kind = {.state_size = sizeof(MdbMoments), .add = add_moments};

static Datum
partial_moments(MdbOwn *own, const char *state, bool *isnull)
{
	const MdbMoments *m = (const MdbMoments *) state;

	*isnull = m->n == 0;
	return *isnull ? (Datum) 0 : PointerGetDatum(mdb_moments_serialize(m));
}

#define MOMENT(function, which)                                         \
	static Datum function(MdbOwn *own, const char *state, bool *isnull) \
	{                                                                   \
		const MdbMoments *m = (const MdbMoments *) state;               \
                                                                        \
		*isnull = m->n == 0;                                            \
		return *isnull ? (Datum) 0 : mdb_moments_result(m, which);      \
	}

MOMENT(avg_result, MDB_MOMENT_AVG)
MOMENT(sum_result, MDB_MOMENT_SUM)
MOMENT(count_result, MDB_MOMENT_COUNT)
MOMENT(min_result, MDB_MOMENT_MIN)
MOMENT(max_result, MDB_MOMENT_MAX)
MOMENT(stdvar_result, MDB_MOMENT_STDVAR)
MOMENT(stddev_result, MDB_MOMENT_STDDEV)
MOMENT(present_result, MDB_MOMENT_PRESENT)

/* ---------- quantiles ---------- */

static void
add_values(MdbOwn *own, char *state, const MdbOwnRun *run)
{
	MdbValues *to = (MdbValues *) state;
	const double *v = run->values;

	/* A row without q is no sample. */
	if (own->exprs && own->nulls[0])
		return;
	if (to->n + (run->end - run->begin) > to->room)
	{
		to->room = Max(to->room + to->room / 2, to->n + (run->end - run->begin));
		to->v = to->v ? mdb_own_realloc(own, to->v, sizeof(double) * to->room)
					  : mdb_own_alloc(own, sizeof(double) * to->room);
	}
	for (uint32 i = run->begin; i < run->end; i++)
		if (counts(run, i))
			to->v[to->n++] = v[i];
}

static void
drop_values(MdbOwn *own, char *state)
{
	MdbValues *values = (MdbValues *) state;

	if (values->v)
		mdb_own_free(own, values->v);
	values->v = NULL;
}

static const MdbOwnKind values_kind = {
	.state_size = sizeof(MdbValues), .held_size = 512, .add = add_values, .drop = drop_values};

static Datum
quantile_result(MdbOwn *own, const char *state, bool *isnull)
{
	const MdbValues *values = (const MdbValues *) state;

	*isnull = values->n == 0;
	return *isnull ? (Datum) 0
				   : Float8GetDatum(mdb_values_quantile(values, DatumGetFloat8(own->constants[0])));
}

static Datum
mad_result(MdbOwn *own, const char *state, bool *isnull)
{
	const MdbValues *values = (const MdbValues *) state;

	*isnull = values->n == 0;
	return *isnull ? (Datum) 0 : Float8GetDatum(mdb_values_mad(values));
}

static Datum
partial_values(MdbOwn *own, const char *state, bool *isnull)
{
	const MdbValues *values = (const MdbValues *) state;
	double q = own->exprs ? DatumGetFloat8(own->constants[0]) : 0.5;

	*isnull = values->n == 0;
	return *isnull ? (Datum) 0 : PointerGetDatum(mdb_values_serialize(values, q));
}

/* ---------- the table ---------- */

#define OF_VALUE(n, f)                                                                                   \
	{                                                                                                    \
		.name = n, .nargs = 1, .types = {FLOAT8OID}, .time_arg = -1, .kind = &moments_kind, .result = f, \
		.partial = partial_moments                                                                       \
	}

const MdbOwnAgg mdb_own_over_time[] = {OF_VALUE("avg_over_time", avg_result),
									   OF_VALUE("sum_over_time", sum_result),
									   OF_VALUE("count_over_time", count_result),
									   OF_VALUE("min_over_time", min_result),
									   OF_VALUE("max_over_time", max_result),
									   OF_VALUE("stdvar_over_time", stdvar_result),
									   OF_VALUE("stddev_over_time", stddev_result),
									   OF_VALUE("present_over_time", present_result),
									   {.name = "quantile_over_time",
										.nargs = 2,
										.types = {FLOAT8OID, FLOAT8OID},
										.value_arg = 1,
										.time_arg = -1,
										.kind = &values_kind,
										.result = quantile_result,
										.partial = partial_values},
									   {.name = "mad_over_time",
										.nargs = 1,
										.types = {FLOAT8OID},
										.time_arg = -1,
										.kind = &values_kind,
										.result = mad_result,
										.partial = partial_values},
									   {NULL}};
