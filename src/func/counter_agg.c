/*
 * counter_agg.c
 *	  The aggregates of counter.c as PostgreSQL's executor calls them.
 *
 * Rows may come in any order, and workers' shares may interleave, so that the state has to be all samples; they are
 * put in order at the end.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "func/counter.h"
#include "func/func.h"

typedef struct CounterState
{
	MdbSamples samples;
	MdbCounterArgs args;
} CounterState;

static CounterState *
new_state(MemoryContext mcxt, const MdbCounterArgs *args)
{
	CounterState *s = MemoryContextAllocZero(mcxt, sizeof(CounterState));

	mdb_counter_check_args(args);
	s->args = *args;
	return s;
}

static void
make_room(MdbSamples *to, MemoryContext mcxt, int64 n)
{
	if (to->n + n <= to->room)
		return;
	to->room = Max(Max(8, to->room * 2), to->n + n);
	to->s = to->s ? repalloc_huge(to->s, sizeof(MdbSample) * to->room)
				  : MemoryContextAllocHuge(mcxt, sizeof(MdbSample) * to->room);
}

/* Not memcmp: there is padding, and NaN. */
static void
check_same_args(const MdbCounterArgs *a, const MdbCounterArgs *b)
{
	if (a->width.month != b->width.month || a->width.day != b->width.day || a->width.time != b->width.time ||
		a->start != b->start || a->end != b->end || a->has_at != b->has_at || a->at != b->at ||
		(a->ahead != b->ahead && !(isnan(a->ahead) && isnan(b->ahead))))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("arguments beside time and value differ among rows of a group"),
						errhint("Group by them.")));
}

/* A row; args are NULL if one of them is, so that it is no sample. */
static Datum
take(FunctionCallInfo fcinfo, const MdbCounterArgs *args)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	CounterState *s = PG_ARGISNULL(0) ? NULL : (CounterState *) PG_GETARG_POINTER(0);
	int64 time;
	double value;

	if (args && !PG_ARGISNULL(1) && !PG_ARGISNULL(2))
	{
		time = PG_GETARG_TIMESTAMPTZ(1);
		value = PG_GETARG_FLOAT8(2);
		if (s == NULL)
			s = new_state(mcxt, args);
		else
			check_same_args(&s->args, args);
		if (mdb_is_sample(time, value) && (!args->has_range || (time >= args->start && time <= args->end)))
		{
			make_room(&s->samples, mcxt, 1);
			mdb_samples_put(&s->samples, time, value);
		}
	}
	if (s == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(s);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_counter_transition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_counter_transition_width);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_counter_transition_range);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_counter_transition_ahead);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_counter_combine);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_counter_serial);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_counter_deserial);

/* (state, time, value) */
Datum
mdb_counter_transition(PG_FUNCTION_ARGS)
{
	MdbCounterArgs args = {0};

	return take(fcinfo, &args);
}

/* (state, time, value, width) */
Datum
mdb_counter_transition_width(PG_FUNCTION_ARGS)
{
	MdbCounterArgs args = {.has_width = true};

	if (PG_ARGISNULL(3))
		return take(fcinfo, NULL);
	args.width = *PG_GETARG_INTERVAL_P(3);
	return take(fcinfo, &args);
}

/* (state, time, value, start, end) */
Datum
mdb_counter_transition_range(PG_FUNCTION_ARGS)
{
	MdbCounterArgs args = {.has_range = true};

	if (PG_ARGISNULL(3) || PG_ARGISNULL(4))
		return take(fcinfo, NULL);
	args.start = PG_GETARG_TIMESTAMPTZ(3);
	args.end = PG_GETARG_TIMESTAMPTZ(4);
	return take(fcinfo, &args);
}

/* (state, time, value, seconds [, at]) */
Datum
mdb_counter_transition_ahead(PG_FUNCTION_ARGS)
{
	MdbCounterArgs args = {.has_at = PG_NARGS() > 4};

	if (PG_ARGISNULL(3) || (args.has_at && PG_ARGISNULL(4)))
		return take(fcinfo, NULL);
	args.ahead = PG_GETARG_FLOAT8(3);
	if (args.has_at)
		args.at = PG_GETARG_TIMESTAMPTZ(4);
	return take(fcinfo, &args);
}

Datum
mdb_counter_combine(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	CounterState *a = PG_ARGISNULL(0) ? NULL : (CounterState *) PG_GETARG_POINTER(0);
	CounterState *b = PG_ARGISNULL(1) ? NULL : (CounterState *) PG_GETARG_POINTER(1);

	if (b)
	{
		if (a == NULL)
			a = new_state(mcxt, &b->args);
		else
			check_same_args(&a->args, &b->args);
		make_room(&a->samples, mcxt, b->samples.n);
		for (int64 i = 0; i < b->samples.n; i++)
			mdb_samples_put(&a->samples, b->samples.s[i].time, b->samples.s[i].value);
	}
	if (a == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(a);
}

/* The arguments, then the samples, as they are in memory: both ends are processes of one server. */
Datum
mdb_counter_serial(PG_FUNCTION_ARGS)
{
	CounterState *s = (CounterState *) PG_GETARG_POINTER(0);
	Size samples = sizeof(MdbSample) * s->samples.n;
	Size size = VARHDRSZ + sizeof(MdbCounterArgs) + samples;
	bytea *b;

	(void) mdb_aggregate_context(fcinfo);
	if (!AllocSizeIsValid(size))
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many samples in a group"),
						errdetail("A worker has %lld of them.", (long long) s->samples.n),
						errhint("Set max_parallel_workers_per_gather to 0, or make smaller groups.")));
	b = palloc0(size);
	SET_VARSIZE(b, size);
	memcpy(VARDATA(b), &s->args, sizeof(MdbCounterArgs));
	if (samples > 0)
		memcpy(VARDATA(b) + sizeof(MdbCounterArgs), s->samples.s, samples);
	PG_RETURN_BYTEA_P(b);
}

Datum
mdb_counter_deserial(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	bytea *b = PG_GETARG_BYTEA_PP(0);
	int64 n = (VARSIZE_ANY_EXHDR(b) - sizeof(MdbCounterArgs)) / sizeof(MdbSample);
	const char *p = VARDATA_ANY(b) + sizeof(MdbCounterArgs);
	MdbCounterArgs args;
	CounterState *s;

	memcpy(&args, VARDATA_ANY(b), sizeof(args));
	s = new_state(mcxt, &args);
	make_room(&s->samples, mcxt, n);
	for (int64 i = 0; i < n; i++)
	{
		MdbSample one;

		memcpy(&one, p + i * sizeof(one), sizeof(one));
		mdb_samples_put(&s->samples, one.time, one.value);
	}
	PG_RETURN_POINTER(s);
}

/* ---------- results ---------- */

static Datum
finish(FunctionCallInfo fcinfo, MdbCounterWhat what)
{
	CounterState *s = PG_ARGISNULL(0) ? NULL : (CounterState *) PG_GETARG_POINTER(0);
	MdbCounterMode mode = what == MDB_DERIV || what == MDB_PREDICT ? MDB_GAUGE : MDB_ENDS;
	MdbCounter c;
	Datum result;

	(void) mdb_aggregate_context(fcinfo);
	if (s == NULL)
		PG_RETURN_NULL();
	mdb_samples_summarise(&s->samples, mode, &c);
	result = mdb_counter_result(&c, what, &s->args, &fcinfo->isnull);
	return result;
}

static Datum
finish_summary(FunctionCallInfo fcinfo, MdbCounterMode mode)
{
	CounterState *s = PG_ARGISNULL(0) ? NULL : (CounterState *) PG_GETARG_POINTER(0);
	MdbCounter c;

	(void) mdb_aggregate_context(fcinfo);
	if (s == NULL || s->samples.n == 0)
		PG_RETURN_NULL();
	mdb_samples_summarise(&s->samples, mode, &c);
	PG_RETURN_POINTER(mdb_summary_make(&c, mode == MDB_COUNTER));
}

#define FINAL(name, call)                  \
	PGDLLEXPORT PG_FUNCTION_INFO_V1(name); \
	Datum name(PG_FUNCTION_ARGS)           \
	{                                      \
		return call;                       \
	}

FINAL(mdb_rate_final, finish(fcinfo, MDB_RATE))
FINAL(mdb_increase_final, finish(fcinfo, MDB_INCREASE))
FINAL(mdb_delta_final, finish(fcinfo, MDB_DELTA))
FINAL(mdb_irate_final, finish(fcinfo, MDB_IRATE))
FINAL(mdb_idelta_final, finish(fcinfo, MDB_IDELTA))
FINAL(mdb_resets_final, finish(fcinfo, MDB_RESETS))
FINAL(mdb_changes_final, finish(fcinfo, MDB_CHANGES))
FINAL(mdb_deriv_final, finish(fcinfo, MDB_DERIV))
FINAL(mdb_predict_final, finish(fcinfo, MDB_PREDICT))
FINAL(mdb_last_over_time_final, finish(fcinfo, MDB_LAST))
FINAL(mdb_counter_agg_final, finish_summary(fcinfo, MDB_COUNTER))
FINAL(mdb_gauge_agg_final, finish_summary(fcinfo, MDB_GAUGE))
