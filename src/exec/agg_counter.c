/*
 * agg_counter.c
 *	  MetricsAgg: rate(time, value) and the other aggregates of func/counter.c.
 *
 * Each run of rows is summed up; the summaries of runs that follow each other in time are put together.  A group
 * whose runs interleave is torn (see agg_torn.c), and its samples are kept and put in order when it is collected
 * once more.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "utils/float.h"
#include "utils/timestamp.h"

#include "exec/agg_own.h"
#include "func/counter.h"

typedef struct CounterGroup
{
	bool torn;
	bool whole; /* samples are kept */
	union
	{
		MdbSamples samples;
		MdbCounter c; /* only as much of it as the kind wants */
	};
} CounterGroup;

/* What is known of the call. */
typedef struct CounterCall
{
	bool none; /* an argument is NULL, so that there are no samples */
	MdbCounterArgs args;
	MdbSamples scratch;
} CounterCall;

static void *
prepare(MdbOwn *own)
{
	CounterCall *call = palloc0(sizeof(CounterCall));
	int n = list_length(own->exprs);
	Oid type = n > 0 ? exprType(linitial(own->exprs)) : InvalidOid;

	for (int i = 0; i < n; i++)
		if (own->nulls[i])
		{
			call->none = true;
			return call;
		}
	if (type == INTERVALOID)
	{
		call->args.has_width = true;
		call->args.width = *DatumGetIntervalP(own->constants[0]);
	}
	else if (type == TIMESTAMPTZOID)
	{
		call->args.has_range = true;
		call->args.start = DatumGetTimestampTz(own->constants[0]);
		call->args.end = DatumGetTimestampTz(own->constants[1]);
	}
	else if (type == FLOAT8OID)
	{
		call->args.ahead = DatumGetFloat8(own->constants[0]);
		call->args.has_at = n > 1;
		if (n > 1)
			call->args.at = DatumGetTimestampTz(own->constants[1]);
	}
	mdb_counter_check_args(&call->args);
	return call;
}

/* ---------- runs ---------- */

/* The regression of rows of a run; of a counter with what was counted before resets added to each value. */
static void
add_line(MdbCounter *c, const double *v, const int64 *t, uint32 n, bool resets)
{
	double sum_time = 0, sum_value = 0, before = 0;

	for (uint32 i = 0; i < n; i++)
	{
		if (resets && i > 0 && v[i] < v[i - 1])
			before += v[i - 1];
		sum_time += (double) (t[i] - t[0]);
		sum_value += v[i] + before;
	}
	c->mean_time = sum_time / n / USECS_PER_SEC;
	c->mean_value = sum_value / n;
	c->time_squares = c->value_squares = c->products = 0;
	if (n > 1 && !isfinite(c->mean_value))
		c->mean_value = get_float8_nan();
	before = 0;
	for (uint32 i = 0; i < n && n > 1; i++)
	{
		double dt, dv;

		if (resets && i > 0 && v[i] < v[i - 1])
			before += v[i - 1];
		dt = (double) (t[i] - t[0]) / USECS_PER_SEC - c->mean_time;
		dv = v[i] + before - c->mean_value;
		c->time_squares += dt * dt;
		c->value_squares += dv * dv;
		c->products += dt * dv;
	}
}

/* The rows of a run to a summary, if they are in order, all count, and are nothing out of the ordinary. */
static bool
sum_up(const MdbCounterArgs *args, const MdbOwnRun *run, MdbCounterMode mode, MdbCounter *c)
{
	const double *v = (const double *) run->values + run->begin;
	const int64 *t = run->times + run->begin;
	uint32 n = run->end - run->begin;
	MdbSteps steps;

	if (run->valid != NULL || TIMESTAMP_NOT_FINITE(t[0]) || TIMESTAMP_NOT_FINITE(t[n - 1]) ||
		(args->has_range && (t[0] < args->start || t[n - 1] > args->end)))
		return false;
	mdb_steps(v, t, n, &steps);
	if (steps.nans > 0 || steps.stuck > 0)
		return false;
	c->n = n;
	c->first = (MdbSample){.time = t[0], .value = v[0]};
	c->last = (MdbSample){.time = t[n - 1], .value = v[n - 1]};
	c->second = n > 1 ? (MdbSample){.time = t[1], .value = v[1]} : c->first;
	c->penultimate = n > 1 ? (MdbSample){.time = t[n - 2], .value = v[n - 2]} : c->first;
	c->resets = steps.resets;
	c->changes = steps.changes;
	c->reset_sum = 0;
	for (uint32 i = 1; i < n && steps.resets > 0; i++)
		if (v[i] < v[i - 1])
			c->reset_sum += v[i - 1];
	if (mode != MDB_ENDS)
		add_line(c, v, t, n, mode == MDB_COUNTER && steps.resets > 0);
	return true;
}

static inline bool
counts(const MdbCounterArgs *args, const MdbOwnRun *run, uint32 i)
{
	return (run->valid == NULL || run->valid[i]) &&
		   mdb_is_sample(run->times[i], ((const double *) run->values)[i]) &&
		   (!args->has_range || (run->times[i] >= args->start && run->times[i] <= args->end));
}

static void
put_all(const MdbCounterArgs *args, const MdbOwnRun *run, MdbSamples *to)
{
	for (uint32 i = run->begin; i < run->end; i++)
		if (counts(args, run, i))
			mdb_samples_put(to, run->times[i], ((const double *) run->values)[i]);
}

/* The same for any rows. */
static void
sum_up_any(CounterCall *call, MdbOwn *own, const MdbOwnRun *run, MdbCounterMode mode, MdbCounter *c)
{
	MdbSamples *s = &call->scratch;

	if (s->room < run->end - run->begin)
	{
		s->room = Max(run->end - run->begin, s->room * 2);
		if (s->s)
			pfree(s->s);
		s->s = MemoryContextAllocHuge(own->mcxt, sizeof(MdbSample) * s->room);
	}
	s->n = 0;
	put_all(&call->args, run, s);
	mdb_samples_summarise(s, mode, c);
}

static pg_attribute_always_inline void
add(MdbOwn *own, char *state, const MdbOwnRun *run, MdbCounterMode mode)
{
	CounterGroup *g = (CounterGroup *) state;
	CounterCall *call = own->prepared;
	Size size = mode == MDB_ENDS ? MDB_COUNTER_NO_REGRESSION : sizeof(MdbCounter);
	MdbCounter c;

	if (call->none || run->times == NULL || g->torn)
		return;
	if (own->whole)
	{
		MdbSamples *s = &g->samples;

		if (s->n + (run->end - run->begin) > s->room)
		{
			s->room = Max(s->room + s->room / 2, s->n + (run->end - run->begin));
			s->s = s->s ? mdb_own_realloc(own, s->s, sizeof(MdbSample) * s->room)
						: mdb_own_alloc(own, sizeof(MdbSample) * s->room);
		}
		g->whole = true;
		put_all(&call->args, run, s);
		return;
	}
	if (!sum_up(&call->args, run, mode, &c))
		sum_up_any(call, own, run, mode, &c);
	if (c.n == 0)
		return;
	if (g->c.n == 0)
		memcpy(&g->c, &c, size);
	else if (c.first.time > g->c.last.time)
		mdb_counter_append(&g->c, &c, mode);
	else if (c.last.time < g->c.first.time)
	{
		mdb_counter_append(&c, &g->c, mode);
		memcpy(&g->c, &c, size);
	}
	else
		g->torn = true;
}

static void
add_ends(MdbOwn *own, char *state, const MdbOwnRun *run)
{
	add(own, state, run, MDB_ENDS);
}

static void
add_gauge(MdbOwn *own, char *state, const MdbOwnRun *run)
{
	add(own, state, run, MDB_GAUGE);
}

static void
add_counter(MdbOwn *own, char *state, const MdbOwnRun *run)
{
	add(own, state, run, MDB_COUNTER);
}

static void
drop(MdbOwn *own, char *state)
{
	CounterGroup *g = (CounterGroup *) state;

	if (g->whole && g->samples.s)
		mdb_own_free(own, g->samples.s);
}

static bool
is_torn(const char *state)
{
	return ((const CounterGroup *) state)->torn;
}

#define ENDS_SIZE (offsetof(CounterGroup, c) + MDB_COUNTER_NO_REGRESSION)

static const MdbOwnKind ends_kind = {.state_size = ENDS_SIZE,
									 .wants_times = true,
									 .prepare = prepare,
									 .add = add_ends,
									 .drop = drop,
									 .torn = is_torn};
static const MdbOwnKind gauge_kind = {.state_size = sizeof(CounterGroup),
									  .wants_times = true,
									  .prepare = prepare,
									  .add = add_gauge,
									  .drop = drop,
									  .torn = is_torn};
static const MdbOwnKind counter_kind = {.state_size = sizeof(CounterGroup),
										.wants_times = true,
										.prepare = prepare,
										.add = add_counter,
										.drop = drop,
										.torn = is_torn};

StaticAssertDecl(ENDS_SIZE >= sizeof(CounterGroup) - sizeof(MdbCounter) + sizeof(MdbSamples) &&
					 ENDS_SIZE % 8 == 0,
				 "samples fit into the smallest state");

/* ---------- results ---------- */

/* The summary of a group. */
static void
summary_of(MdbOwn *own, const char *state, MdbCounter *c)
{
	const CounterGroup *g = (const CounterGroup *) state;

	if (g->whole)
	{
		/* Putting samples in order changes nothing of what they are. */
		mdb_samples_summarise(&((CounterGroup *) g)->samples,
							  own->kind == &ends_kind    ? MDB_ENDS
							  : own->kind == &gauge_kind ? MDB_GAUGE
														 : MDB_COUNTER,
							  c);
	}
	else
		memcpy(c, &g->c, own->kind == &ends_kind ? MDB_COUNTER_NO_REGRESSION : sizeof(MdbCounter));
}

static Datum
result(MdbOwn *own, const char *state, bool *isnull, MdbCounterWhat what)
{
	CounterCall *call = own->prepared;
	MdbCounter c;

	*isnull = call->none;
	if (call->none)
		return (Datum) 0;
	summary_of(own, state, &c);
	return mdb_counter_result(&c, what, &call->args, isnull);
}

static Datum
summary(MdbOwn *own, const char *state, bool *isnull)
{
	MdbCounter c;

	summary_of(own, state, &c);
	*isnull = c.n == 0;
	return *isnull ? (Datum) 0 : PointerGetDatum(mdb_summary_make(&c, own->kind == &counter_kind));
}

#define RESULT(function, what)                                          \
	static Datum function(MdbOwn *own, const char *state, bool *isnull) \
	{                                                                   \
		return result(own, state, isnull, what);                        \
	}

RESULT(rate_result, MDB_RATE)
RESULT(increase_result, MDB_INCREASE)
RESULT(delta_result, MDB_DELTA)
RESULT(irate_result, MDB_IRATE)
RESULT(idelta_result, MDB_IDELTA)
RESULT(resets_result, MDB_RESETS)
RESULT(changes_result, MDB_CHANGES)
RESULT(deriv_result, MDB_DERIV)
RESULT(predict_result, MDB_PREDICT)
RESULT(last_result, MDB_LAST)

/* ---------- the table ---------- */

#define OF_SAMPLES(n, k, f, count, ...)                                                               \
	{                                                                                                 \
		.name = n, .nargs = count, .types = {TIMESTAMPTZOID, FLOAT8OID, __VA_ARGS__}, .value_arg = 1, \
		.time_arg = 0, .kind = k, .result = f                                                         \
	}
#define OF_RANGES(n, f)                                                                        \
	OF_SAMPLES(n, &ends_kind, f, 2, InvalidOid), OF_SAMPLES(n, &ends_kind, f, 3, INTERVALOID), \
		OF_SAMPLES(n, &ends_kind, f, 4, TIMESTAMPTZOID, TIMESTAMPTZOID)

/* Without partial: workers would have to hand on all samples. */
const MdbOwnAgg mdb_own_counter[] = {
	OF_RANGES("rate", rate_result),
	OF_RANGES("increase", increase_result),
	OF_RANGES("delta", delta_result),
	OF_SAMPLES("irate", &ends_kind, irate_result, 2, InvalidOid),
	OF_SAMPLES("idelta", &ends_kind, idelta_result, 2, InvalidOid),
	OF_SAMPLES("resets", &ends_kind, resets_result, 2, InvalidOid),
	OF_SAMPLES("changes", &ends_kind, changes_result, 2, InvalidOid),
	OF_SAMPLES("last_over_time", &ends_kind, last_result, 2, InvalidOid),
	OF_SAMPLES("deriv", &gauge_kind, deriv_result, 2, InvalidOid),
	OF_SAMPLES("predict_linear", &gauge_kind, predict_result, 3, FLOAT8OID),
	OF_SAMPLES("predict_linear", &gauge_kind, predict_result, 4, FLOAT8OID, TIMESTAMPTZOID),
	OF_SAMPLES("counter_agg", &counter_kind, summary, 2, InvalidOid),
	OF_SAMPLES("gauge_agg", &gauge_kind, summary, 2, InvalidOid),
	{NULL}};
