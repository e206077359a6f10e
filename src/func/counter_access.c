/*
 * counter_access.c
 *	  What is told of a countersummary or gaugesummary.  Names and results are those of TimescaleDB's Toolkit.
 */
#include "postgres.h"

#include <math.h>

#include "common/int.h"
#include "utils/builtins.h"
#include "utils/rangetypes.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "compat.h"
#include "func/counter.h"

#define SUMMARY(n) ((MdbSummary *) PG_DETOAST_DATUM(PG_GETARG_DATUM(n)))

static double
delta_of(const MdbSummary *s)
{
	return s->c.last.value - s->c.first.value + (s->counter ? s->c.reset_sum : 0);
}

/* FUNCTION: what of c or s is returned, NULL unless there are so many samples. */
#define ACCESSOR(name, samples, result)    \
	PGDLLEXPORT PG_FUNCTION_INFO_V1(name); \
	Datum name(PG_FUNCTION_ARGS)           \
	{                                      \
		MdbSummary *s = SUMMARY(0);        \
		const MdbCounter *c = &s->c;       \
                                           \
		if (c->n < (samples))              \
			PG_RETURN_NULL();              \
		return result;                     \
	}

ACCESSOR(mdb_summary_delta, 1, Float8GetDatum(delta_of(s)))
ACCESSOR(mdb_summary_rate, 2, Float8GetDatum(delta_of(s) / mdb_seconds_between(c->first.time, c->last.time)))
ACCESSOR(mdb_summary_idelta_left, 1,
		 Float8GetDatum(c->n == 1 ? 0 : mdb_counter_step(c->first, c->second, s->counter)))
ACCESSOR(mdb_summary_idelta_right, 1,
		 Float8GetDatum(c->n == 1 ? 0 : mdb_counter_step(c->penultimate, c->last, s->counter)))
ACCESSOR(mdb_summary_irate_left, 2,
		 Float8GetDatum(mdb_counter_step(c->first, c->second, s->counter) /
						mdb_seconds_between(c->first.time, c->second.time)))
ACCESSOR(mdb_summary_irate_right, 2,
		 Float8GetDatum(mdb_counter_step(c->penultimate, c->last, s->counter) /
						mdb_seconds_between(c->penultimate.time, c->last.time)))
ACCESSOR(mdb_summary_num_resets, 1, Int64GetDatum(c->resets))
ACCESSOR(mdb_summary_num_changes, 1, Int64GetDatum(c->changes))
ACCESSOR(mdb_summary_num_elements, 1, Int64GetDatum(c->n))
ACCESSOR(mdb_summary_time_delta, 1, Float8GetDatum(mdb_seconds_between(c->first.time, c->last.time)))
ACCESSOR(mdb_summary_first_time, 1, TimestampTzGetDatum(c->first.time))
ACCESSOR(mdb_summary_last_time, 1, TimestampTzGetDatum(c->last.time))
ACCESSOR(mdb_summary_first_val, 1, Float8GetDatum(c->first.value))
ACCESSOR(mdb_summary_last_val, 1, Float8GetDatum(c->last.value))
ACCESSOR(mdb_summary_slope, 2, Float8GetDatum(mdb_counter_slope(c)))
/* At the beginning of 2000, as the Toolkit has it. */
ACCESSOR(mdb_summary_intercept, 2, Float8GetDatum(mdb_counter_predict(c, 0)))

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_summary_corr);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_summary_zero_time);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_summary_with_bounds);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_summary_extrapolated_delta);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_summary_extrapolated_rate);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_summary_interpolated_delta);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_summary_interpolated_rate);

/* NULL where values do not differ, as corr() of PostgreSQL. */
Datum
mdb_summary_corr(PG_FUNCTION_ARGS)
{
	MdbCounter *c = &SUMMARY(0)->c;

	if (c->n < 2 || c->changes == 0 || c->value_squares == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(c->products / (sqrt(c->time_squares) * sqrt(c->value_squares)));
}

/* When the line through the samples was at zero; NULL if it never is. */
Datum
mdb_summary_zero_time(PG_FUNCTION_ARGS)
{
	MdbCounter *c = &SUMMARY(0)->c;
	double from;
	int64 t;

	if (c->n < 2 || c->changes == 0 || c->products == 0)
		PG_RETURN_NULL();
	from = rint((c->mean_time - c->mean_value / mdb_counter_slope(c)) * USECS_PER_SEC);
	if (!(fabs(from) < 9e18) || pg_add_s64_overflow(c->first.time, (int64) from, &t) ||
		!IS_VALID_TIMESTAMP(t))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(t);
}

/* ---------- bounds ---------- */

static void
set_bounds(MdbSummary *s, TimestampTz start, TimestampTz end)
{
	if (TIMESTAMP_NOT_FINITE(start) || TIMESTAMP_NOT_FINITE(end))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("bounds of a summary must be finite")));
	if (s->c.first.time < start || s->c.last.time > end)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("samples of a summary lie outside of its bounds"),
						errdetail("Its first sample is of %s, its last of %s.",
								  pstrdup(timestamptz_to_str(s->c.first.time)),
								  pstrdup(timestamptz_to_str(s->c.last.time)))));
	s->bounded = true;
	s->start = start;
	s->end = end;
}

/* A copy with the bounds that arguments give: a range, or a beginning and an end. */
static MdbSummary *
bounded_copy(FunctionCallInfo fcinfo, int arg)
{
	MdbSummary *s = (MdbSummary *) PG_DETOAST_DATUM_COPY(PG_GETARG_DATUM(0));

	if (PG_NARGS() == arg + 2)
		set_bounds(s, PG_GETARG_TIMESTAMPTZ(arg), PG_GETARG_TIMESTAMPTZ(arg + 1));
	else if (PG_NARGS() == arg + 1)
	{
		RangeType *range = PG_GETARG_RANGE_P(arg);
		TypeCacheEntry *type = lookup_type_cache(RangeTypeGetOid(range), TYPECACHE_RANGE_INFO);
		RangeBound lower, upper;
		bool empty;

		range_deserialize(type, range, &lower, &upper, &empty);
		if (empty || lower.infinite || upper.infinite)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("bounds of a summary must be finite")));
		set_bounds(s, DatumGetTimestampTz(lower.val), DatumGetTimestampTz(upper.val));
	}
	return s;
}

Datum
mdb_summary_with_bounds(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(bounded_copy(fcinfo, 1));
}

/* (summary, method [, bounds, or their beginning and end]) */
static Datum
extrapolated(FunctionCallInfo fcinfo, bool rate)
{
	char *method = text_to_cstring(PG_GETARG_TEXT_PP(1));
	MdbSummary *s = bounded_copy(fcinfo, 2);
	double v;

	if (pg_strcasecmp(method, "prometheus") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("unknown method of extrapolation \"%s\"", method),
						errhint("The method that there is is \"prometheus\".")));
	if (!s->bounded)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("summary has no bounds"),
						errdetail("They say where to extrapolate to."),
						errhint("Give them as a further argument, or by with_bounds().")));
	if (s->c.n < 2)
		PG_RETURN_NULL();
	v = mdb_counter_extrapolate(&s->c, s->counter, s->start, s->end);
	PG_RETURN_FLOAT8(rate ? v / mdb_seconds_between(s->start, s->end) : v);
}

Datum
mdb_summary_extrapolated_delta(PG_FUNCTION_ARGS)
{
	return extrapolated(fcinfo, false);
}

Datum
mdb_summary_extrapolated_rate(PG_FUNCTION_ARGS)
{
	return extrapolated(fcinfo, true);
}

/* ---------- interpolation ---------- */

/* What lies between two samples at a time; a counter that was reset in between has counted from zero. */
static double
value_between(MdbSample a, MdbSample b, int64 time, bool counter)
{
	double part = mdb_seconds_between(a.time, time) / mdb_seconds_between(a.time, b.time);

	if (counter && b.value < a.value)
		return b.value * part;
	return a.value + (b.value - a.value) * part;
}

/*
 * (summary, start, interval, prev, next): the summary of [start, start + interval], to whose ends values are
 * interpolated between the summary's samples and those of its neighbours, where these are given.
 */
static Datum
interpolated(FunctionCallInfo fcinfo, bool rate)
{
	MdbSummary result = {0};
	MdbSummary *s;
	TimestampTz start, end;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	s = SUMMARY(0);
	start = PG_GETARG_TIMESTAMPTZ(1);
	/* A month is one of UTC's, so that the result is the same in all time zones. */
	end =
		DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval, PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)));
	result.counter = s->counter;
	if (start >= end)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("interval to interpolate to must be positive")));
	if (s->c.first.time < start || s->c.last.time > end)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("samples of a summary lie outside of the interval"),
						errdetail("Its first sample is of %s, its last of %s.",
								  pstrdup(timestamptz_to_str(s->c.first.time)),
								  pstrdup(timestamptz_to_str(s->c.last.time)))));
	if (!PG_ARGISNULL(3))
	{
		MdbSample last = SUMMARY(3)->c.last;

		if (last.time > start)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("previous summary ends after the interval has begun")));
		if (s->c.first.time > start)
			mdb_counter_add(&result.c, start, value_between(last, s->c.first, start, s->counter), MDB_ENDS);
	}
	mdb_counter_append(&result.c, &s->c, MDB_ENDS);
	if (!PG_ARGISNULL(4))
	{
		MdbSample first = SUMMARY(4)->c.first;

		if (first.time < end)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("next summary begins before the interval ends")));
		if (s->c.last.time < end)
			mdb_counter_add(&result.c, end, value_between(s->c.last, first, end, s->counter), MDB_ENDS);
	}
	if (!rate)
		PG_RETURN_FLOAT8(delta_of(&result));
	if (result.c.n < 2)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(delta_of(&result) / mdb_seconds_between(result.c.first.time, result.c.last.time));
}

Datum
mdb_summary_interpolated_delta(PG_FUNCTION_ARGS)
{
	return interpolated(fcinfo, false);
}

Datum
mdb_summary_interpolated_rate(PG_FUNCTION_ARGS)
{
	return interpolated(fcinfo, true);
}
