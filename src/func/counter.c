/*
 * counter.c
 *	  What is told of the samples of a counter or gauge: rates, increases, changes, regressions.
 *
 * Follows Prometheus 2.42 (promql/functions.go: extrapolatedRate, instantValue, linearRegression and the like).
 * A sample is a time and a value; of several at one time the one with the highest value counts, NaN only where
 * there is no other, so that the order of rows does not matter.  The marker of a series' end is no sample, nor is
 * what has no finite time.
 */
#include "postgres.h"

#include <math.h>

#include "common/int.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "func/counter.h"
#include "func/func.h"

/*
 * mdb_seconds_between - from one time to another.
 */
double
mdb_seconds_between(int64 from, int64 to)
{
	int64 d;

	if (pg_sub_s64_overflow(to, from, &d))
		return ((double) to - (double) from) / USECS_PER_SEC;
	return (double) d / USECS_PER_SEC;
}

/* ---------- making summaries ---------- */

static inline bool
differs(double a, double b)
{
	return a != b && !(isnan(a) && isnan(b));
}

/*
 * mdb_counter_append - to a summary, that of samples all of which are later.
 *
 * The sums of squares as by Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm for computing sample
 * variances (1979).
 */
void
mdb_counter_append(MdbCounter *c, const MdbCounter *later, MdbCounterMode mode)
{
	Size size = mode == MDB_ENDS ? MDB_COUNTER_NO_REGRESSION : sizeof(MdbCounter);
	bool reset;

	if (later->n == 0)
		return;
	if (c->n == 0)
	{
		memcpy(c, later, size);
		return;
	}
	Assert(later->first.time > c->last.time);
	reset = later->first.value < c->last.value;
	if (mode != MDB_ENDS)
	{
		double n = (double) c->n + (double) later->n;
		double part = (double) c->n * ((double) later->n / n);
		double before = mode == MDB_COUNTER ? c->reset_sum + (reset ? c->last.value : 0) : 0;
		double dt = later->mean_time + mdb_seconds_between(c->first.time, later->first.time) - c->mean_time;
		double dv = later->mean_value + before - c->mean_value;

		/* Infinity less infinity: no line, whichever came first. */
		if (!isfinite(dv))
			dv = get_float8_nan();
		c->time_squares += later->time_squares + dt * dt * part;
		c->value_squares += later->value_squares + dv * dv * part;
		c->products += later->products + dt * dv * part;
		c->mean_time += dt * ((double) later->n / n);
		c->mean_value += dv * ((double) later->n / n);
	}
	c->resets += later->resets + reset;
	c->changes += later->changes + differs(c->last.value, later->first.value);
	c->reset_sum += (reset ? c->last.value : 0) + later->reset_sum;
	if (c->n == 1)
		c->second = later->first;
	c->penultimate = later->n == 1 ? c->last : later->penultimate;
	c->last = later->last;
	c->n += later->n;
}

/*
 * mdb_counter_add - to a summary, a sample that is later.
 */
void
mdb_counter_add(MdbCounter *c, int64 time, double value, MdbCounterMode mode)
{
	MdbCounter one = {.n = 1};

	one.first = one.last = one.second = one.penultimate = (MdbSample){.time = time, .value = value};
	one.mean_value = value;
	mdb_counter_append(c, &one, mode);
}

static int
sample_cmp(const void *a, const void *b, void *arg)
{
	const MdbSample *x = a, *y = b;

	/* There may be millions. */
	CHECK_FOR_INTERRUPTS();
	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	/* What counts comes first: the highest number, and of two zeros the positive one. */
	if (isnan(x->value) || isnan(y->value))
		return isnan(x->value) - isnan(y->value);
	if (x->value != y->value)
		return x->value > y->value ? -1 : 1;
	return (signbit(x->value) != 0) - (signbit(y->value) != 0);
}

/*
 * mdb_samples_sort - put samples in order, and leave out what does not count of several at one time.
 */
void
mdb_samples_sort(MdbSamples *samples)
{
	int64 n = 0;

	if (samples->rising)
		return;
	qsort_interruptible(samples->s, samples->n, sizeof(MdbSample), sample_cmp, NULL);
	for (int64 i = 0; i < samples->n; i++)
		if (n == 0 || samples->s[i].time != samples->s[n - 1].time)
			samples->s[n++] = samples->s[i];
	samples->n = n;
	samples->rising = true;
}

/*
 * mdb_samples_summarise - the summary of samples, which are put in order.
 */
void
mdb_samples_summarise(MdbSamples *samples, MdbCounterMode mode, MdbCounter *c)
{
	mdb_samples_sort(samples);
	memset(c, 0, sizeof(*c));
	for (int64 i = 0; i < samples->n; i++)
		mdb_counter_add(c, samples->s[i].time, samples->s[i].value, mode);
}

/* ---------- what is told ---------- */

/*
 * mdb_counter_step - how much a counter or gauge has gained from one sample to the next.
 */
double
mdb_counter_step(MdbSample a, MdbSample b, bool counter)
{
	return counter && b.value < a.value ? b.value : b.value - a.value;
}

/*
 * mdb_counter_extrapolate - the gain over a range of time, of at least two samples in it, as Prometheus tells it.
 *
 * Where the first or last sample is near the range's end, by less than 1.1 times the average distance of samples,
 * the gain is taken on to it, else by half such a distance.  A counter is not taken back below zero.
 */
double
mdb_counter_extrapolate(const MdbCounter *c, bool counter, int64 start, int64 end)
{
	double gain = c->last.value - c->first.value + (counter ? c->reset_sum : 0);
	double sampled = mdb_seconds_between(c->first.time, c->last.time);
	double average = sampled / (double) (c->n - 1);
	double to_start = mdb_seconds_between(start, c->first.time);
	double to_end = mdb_seconds_between(c->last.time, end);
	double over = sampled;

	if (counter && gain > 0 && c->first.value >= 0)
		to_start = Min(to_start, sampled * (c->first.value / gain));
	over += to_start < average * 1.1 ? to_start : average / 2;
	over += to_end < average * 1.1 ? to_end : average / 2;
	return gain * (over / sampled);
}

/*
 * mdb_counter_slope - of the line through at least two samples, per second.
 */
double
mdb_counter_slope(const MdbCounter *c)
{
	/* Exactly so, whatever rounding makes of the mean. */
	if (c->changes == 0)
		return isfinite(c->first.value) ? 0 : get_float8_nan();
	return c->products / c->time_squares;
}

/*
 * mdb_counter_predict - where that line is at a time.
 */
double
mdb_counter_predict(const MdbCounter *c, int64 time)
{
	double slope = mdb_counter_slope(c);

	if (c->changes == 0)
		return isfinite(c->first.value) ? c->mean_value : get_float8_nan();
	return c->mean_value + slope * (mdb_seconds_between(c->first.time, time) - c->mean_time);
}

/* The time bucket that samples lie in. */
static void
bucket_of(const MdbCounter *c, const MdbCounterArgs *args, int64 *start, int64 *end)
{
	*start = mdb_time_bucket(&args->width, c->first.time);
	if (args->width.month == 0)
		*end = *start + args->width.day * USECS_PER_DAY + args->width.time;
	else
		*end = DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval, TimestampGetDatum(*start),
													 IntervalPGetDatum(&args->width)));
	if (c->last.time >= *end)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("samples of a group lie in several time buckets"),
				 errdetail("The first is of %s, the last of %s.", pstrdup(timestamptz_to_str(c->first.time)),
						   pstrdup(timestamptz_to_str(c->last.time))),
				 errhint("Group by time_bucket() of the same width, or give the beginning and end of the "
						 "range.")));
}

/*
 * mdb_counter_check_args - raises an error for arguments that make no sense.
 */
void
mdb_counter_check_args(const MdbCounterArgs *args)
{
	if (args->has_width)
		(void) mdb_time_bucket(&args->width, 0);
	if (args->has_range && args->start > args->end)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("range of time ends before it begins"),
				 errdetail("It is from %s to %s.", pstrdup(timestamptz_to_str(args->start)),
						   pstrdup(timestamptz_to_str(args->end)))));
	if ((args->has_range && (TIMESTAMP_NOT_FINITE(args->start) || TIMESTAMP_NOT_FINITE(args->end))) ||
		(args->has_at && TIMESTAMP_NOT_FINITE(args->at)))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("time must be finite")));
}

/*
 * mdb_counter_result - what an aggregate of samples is.
 *
 * Without a range, increases are those from the first sample to the last; with one, or with the width of time
 * buckets, they are extrapolated to it.
 */
Datum
mdb_counter_result(const MdbCounter *c, MdbCounterWhat what, const MdbCounterArgs *args, bool *isnull)
{
	bool counter = what == MDB_RATE || what == MDB_INCREASE || what == MDB_IRATE;
	int64 start = args->start, end = args->end;
	double v;

	*isnull = c->n < (what == MDB_RESETS || what == MDB_CHANGES || what == MDB_LAST ? 1 : 2);
	if (*isnull)
		return (Datum) 0;
	switch (what)
	{
		case MDB_RATE:
		case MDB_INCREASE:
		case MDB_DELTA:
			if (args->has_width)
				bucket_of(c, args, &start, &end);
			if (args->has_width || args->has_range)
				v = mdb_counter_extrapolate(c, counter, start, end);
			else
			{
				v = c->last.value - c->first.value + (counter ? c->reset_sum : 0);
				start = c->first.time;
				end = c->last.time;
			}
			return Float8GetDatum(what == MDB_RATE ? v / mdb_seconds_between(start, end) : v);
		case MDB_IRATE:
			v = mdb_counter_step(c->penultimate, c->last, true);
			return Float8GetDatum(v / mdb_seconds_between(c->penultimate.time, c->last.time));
		case MDB_IDELTA:
			return Float8GetDatum(mdb_counter_step(c->penultimate, c->last, false));
		case MDB_RESETS:
			return Int64GetDatum(c->resets);
		case MDB_CHANGES:
			return Int64GetDatum(c->changes);
		case MDB_DERIV:
			return Float8GetDatum(mdb_counter_slope(c));
		case MDB_PREDICT:
			v = mdb_counter_predict(c, args->has_at ? args->at : c->last.time);
			return Float8GetDatum(v + mdb_counter_slope(c) * args->ahead);
		default:
			return Float8GetDatum(c->last.value);
	}
}
