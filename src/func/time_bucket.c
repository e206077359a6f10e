/*
 * time_bucket.c
 *	  time_bucket(width, time, ...): the beginning of the bucket that a time lies in.
 *
 * Names and results are TimescaleDB's.  Buckets of days and less are counted from Monday, 3 January 2000,
 * or from an origin; those of months from January 2000, or the month that the origin lies in.  Without a time
 * zone a day is 24 hours and begins at midnight UTC.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "func/func.h"

#define MONDAY (2 * USECS_PER_DAY)

pg_noreturn static void
out_of_range(void)
{
	ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
}

pg_noreturn static void
bad_width(const char *detail)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid width of time buckets"),
					errdetail("%s", detail)));
}

static int64
bucket_int(int64 width, int64 value, int64 origin)
{
	int64 from, q;

	if (width <= 0)
		bad_width("The width must be greater than 0.");
	/* Any boundary will do, so take one near zero. */
	origin %= width;
	if (pg_sub_s64_overflow(value, origin, &from))
		out_of_range();
	q = from / width - (from % width < 0);
	if (pg_mul_s64_overflow(q, width, &from) || pg_add_s64_overflow(from, origin, &from))
		out_of_range();
	return from;
}

/* Months from January 2000, of the year and month of a time. */
static int64
month_of(Timestamp t)
{
	int year, month, day;

	j2date((int) (t / USECS_PER_DAY - (t % USECS_PER_DAY < 0)) + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	return ((int64) year - 2000) * 12 + month - 1;
}

/* The beginning of a month that is counted from January 2000; false if there is no such time. */
static bool
begin_of_month(int64 m, Timestamp *result)
{
	int64 year = 2000 + m / 12 - (m % 12 < 0);
	int month = (int) (m - (year - 2000) * 12) + 1;

	if (!IS_VALID_JULIAN((int) year, month, 1))
		return false;
	*result = ((int64) date2j((int) year, month, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;
	return IS_VALID_TIMESTAMP(*result);
}

static Timestamp
bucket_months(int32 months, Timestamp t, Timestamp origin)
{
	Timestamp result;

	if (!begin_of_month(bucket_int(months, month_of(t), month_of(origin)), &result))
		out_of_range();
	return result;
}

/* A time without zone, or in UTC, to the beginning of its bucket. */
static Timestamp
bucket(const Interval *width, Timestamp t, bool has_origin, Timestamp origin)
{
	int64 size;

	if (TIMESTAMP_NOT_FINITE(t))
		return t;
	if (has_origin && TIMESTAMP_NOT_FINITE(origin))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid origin of time buckets"),
						errdetail("The origin must be finite.")));
	if (width->month != 0)
	{
		if (width->day != 0 || width->time != 0)
			bad_width("Months cannot be combined with days or times.");
		if (width->month < 0)
			bad_width("The width must be greater than 0.");
		return bucket_months(width->month, t, has_origin ? origin : 0);
	}
	if (pg_mul_s64_overflow(width->day, USECS_PER_DAY, &size) ||
		pg_add_s64_overflow(size, width->time, &size))
		bad_width("The width is too large.");
	t = bucket_int(size, t, has_origin ? origin : MONDAY);
	if (!IS_VALID_TIMESTAMP(t))
		out_of_range();
	return t;
}

/*
 * mdb_time_bucket - time_bucket(width, time), for other functions.
 */
Timestamp
mdb_time_bucket(const Interval *width, Timestamp t)
{
	return bucket(width, t, false, 0);
}

static Timestamp
move(Timestamp t, Interval *by, bool back)
{
	return DatumGetTimestamp(DirectFunctionCall2(back ? timestamp_mi_interval : timestamp_pl_interval,
												 TimestampGetDatum(t), IntervalPGetDatum(by)));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_bucket_timestamp);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_bucket_timestamp_offset);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_bucket_zone);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_bucket_date);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_bucket_date_offset);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_bucket_int2);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_bucket_int4);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_bucket_int8);

/* (width, timestamp[tz] [, origin]) */
Datum
mdb_bucket_timestamp(PG_FUNCTION_ARGS)
{
	bool has_origin = PG_NARGS() > 2;

	PG_RETURN_TIMESTAMP(bucket(PG_GETARG_INTERVAL_P(0), PG_GETARG_TIMESTAMP(1), has_origin,
							   has_origin ? PG_GETARG_TIMESTAMP(2) : 0));
}

/* (width, timestamp[tz], offset) */
Datum
mdb_bucket_timestamp_offset(PG_FUNCTION_ARGS)
{
	Timestamp t = PG_GETARG_TIMESTAMP(1);
	Interval *offset = PG_GETARG_INTERVAL_P(2);

	if (TIMESTAMP_NOT_FINITE(t))
		PG_RETURN_TIMESTAMP(t);
	t = bucket(PG_GETARG_INTERVAL_P(0), move(t, offset, true), false, 0);
	PG_RETURN_TIMESTAMP(move(t, offset, false));
}

/*
 * The bucket of a time in the local time of a zone.
 *
 * Where clocks are set back a local time stands for two times, and PostgreSQL takes the later: a bucket that
 * begins in such an hour could begin after the time.  Then it is an earlier one.
 */
static TimestampTz
bucket_in_zone(const Interval *width, TimestampTz t, Datum zone, bool has_origin, Timestamp origin)
{
	Timestamp local = DatumGetTimestamp(DirectFunctionCall2(timestamptz_zone, zone, TimestampTzGetDatum(t)));
	TimestampTz result;

	local = bucket(width, local, has_origin, origin);
	result = DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone, zone, TimestampGetDatum(local)));
	if (result > t && width->day == 0 && width->month == 0)
	{
		/* Of microseconds there are billions in an hour. */
		int64 past = result - t;

		return result - (past / width->time + (past % width->time > 0)) * width->time;
	}
	while (result > t)
	{
		CHECK_FOR_INTERRUPTS();
		local = move(local, unconstify(Interval *, width), true);
		result = DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone, zone, TimestampGetDatum(local)));
	}
	return result;
}

/*
 * (width, timestamptz, zone, origin, offset): in local time of the zone; the last two may be NULL.  The offset
 * moves times, not clocks: a day of it is 24 hours.
 */
Datum
mdb_bucket_zone(PG_FUNCTION_ARGS)
{
	TimestampTz t;
	Timestamp origin = 0;
	Interval *offset = PG_ARGISNULL(4) ? NULL : PG_GETARG_INTERVAL_P(4);
	bool has_origin = !PG_ARGISNULL(3);

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();
	t = PG_GETARG_TIMESTAMPTZ(1);
	if (TIMESTAMP_NOT_FINITE(t))
		PG_RETURN_TIMESTAMPTZ(t);
	if (has_origin)
		origin =
			DatumGetTimestamp(DirectFunctionCall2(timestamptz_zone, PG_GETARG_DATUM(2), PG_GETARG_DATUM(3)));
	if (offset)
		t = move(t, offset, true);
	t = bucket_in_zone(PG_GETARG_INTERVAL_P(0), t, PG_GETARG_DATUM(2), has_origin, origin);
	if (offset)
		t = move(t, offset, false);
	PG_RETURN_TIMESTAMPTZ(t);
}

static Timestamp
timestamp_of_date(DateADT d)
{
	return DatumGetTimestamp(DirectFunctionCall1(date_timestamp, DateADTGetDatum(d)));
}

static Datum
date_of_timestamp(Timestamp t)
{
	return DirectFunctionCall1(timestamp_date, TimestampGetDatum(t));
}

/* (width, date [, origin]) */
Datum
mdb_bucket_date(PG_FUNCTION_ARGS)
{
	bool has_origin = PG_NARGS() > 2;
	Interval *width = PG_GETARG_INTERVAL_P(0);

	if (width->month == 0 && width->time % USECS_PER_DAY != 0 && !DATE_NOT_FINITE(PG_GETARG_DATEADT(1)))
		bad_width("Buckets of dates must be whole days.");
	return date_of_timestamp(bucket(width, timestamp_of_date(PG_GETARG_DATEADT(1)), has_origin,
									has_origin ? timestamp_of_date(PG_GETARG_DATEADT(2)) : 0));
}

/* (width, date, offset) */
Datum
mdb_bucket_date_offset(PG_FUNCTION_ARGS)
{
	Timestamp t = timestamp_of_date(PG_GETARG_DATEADT(1));
	Interval *offset = PG_GETARG_INTERVAL_P(2);

	if (TIMESTAMP_NOT_FINITE(t))
		return date_of_timestamp(t);
	t = bucket(PG_GETARG_INTERVAL_P(0), move(t, offset, true), false, 0);
	return date_of_timestamp(move(t, offset, false));
}

/* (width, value [, offset]) of integers */
Datum
mdb_bucket_int2(PG_FUNCTION_ARGS)
{
	int64 v = bucket_int(PG_GETARG_INT16(0), PG_GETARG_INT16(1), PG_NARGS() > 2 ? PG_GETARG_INT16(2) : 0);

	if (v < PG_INT16_MIN || v > PG_INT16_MAX)
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("smallint out of range")));
	PG_RETURN_INT16((int16) v);
}

Datum
mdb_bucket_int4(PG_FUNCTION_ARGS)
{
	int64 v = bucket_int(PG_GETARG_INT32(0), PG_GETARG_INT32(1), PG_NARGS() > 2 ? PG_GETARG_INT32(2) : 0);

	if (v < PG_INT32_MIN || v > PG_INT32_MAX)
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("integer out of range")));
	PG_RETURN_INT32((int32) v);
}

Datum
mdb_bucket_int8(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(
		bucket_int(PG_GETARG_INT64(0), PG_GETARG_INT64(1), PG_NARGS() > 2 ? PG_GETARG_INT64(2) : 0));
}

/* ---------- from one bucket to the next ---------- */

/*
 * mdb_buckets_init - buckets of a width and a type of times; zone may be NULL.
 *
 * Errors: the width is not greater than 0, or one that time_bucket refuses.
 */
void
mdb_buckets_init(MdbBuckets *b, Oid type, Datum width, text *zone)
{
	b->type = type;
	b->zone = zone;
	b->size = 0;
	switch (type)
	{
		case INT2OID:
			b->size = DatumGetInt16(width);
			break;
		case INT4OID:
			b->size = DatumGetInt32(width);
			break;
		case INT8OID:
			b->size = DatumGetInt64(width);
			break;
		default:
			b->width = *DatumGetIntervalP(width);
			if (b->width.month == 0 && (pg_mul_s64_overflow(b->width.day, USECS_PER_DAY, &b->size) ||
										pg_add_s64_overflow(b->size, b->width.time, &b->size)))
				bad_width("The width is too large.");
			if (type == DATEOID && b->width.time % USECS_PER_DAY != 0)
				bad_width("Buckets of dates must be whole days.");
			break;
	}
	if (b->size < 0 || (b->size == 0 && b->width.month <= 0))
		bad_width("The width must be greater than 0.");
}

/* The range of integers, timestamps or dates, which are counted as days. */
static bool
in_range(const MdbBuckets *b, int64 t)
{
	switch (b->type)
	{
		case INT2OID:
			return t >= PG_INT16_MIN && t <= PG_INT16_MAX;
		case INT4OID:
			return t >= PG_INT32_MIN && t <= PG_INT32_MAX;
		case INT8OID:
			return true;
		case DATEOID:
			return IS_VALID_DATE(t);
		default:
			return IS_VALID_TIMESTAMP(t);
	}
}

/*
 * mdb_bucket_begin - what time_bucket says of a time: an integer, microseconds from 2000, days from 2000.
 */
int64
mdb_bucket_begin(const MdbBuckets *b, int64 t)
{
	switch (b->type)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			t = bucket_int(b->size, t, 0);
			break;
		case DATEOID:
			t = bucket(&b->width, timestamp_of_date((DateADT) t), false, 0) / USECS_PER_DAY;
			break;
		default:
			t = b->zone ? bucket_in_zone(&b->width, t, PointerGetDatum(b->zone), false, 0)
						: bucket(&b->width, t, false, 0);
			break;
	}
	if (!in_range(b, t))
		out_of_range();
	return t;
}

/* In a zone: where clocks change a bucket may be longer or shorter than its width, so look for the next. */
static TimestampTz
next_in_zone(const MdbBuckets *b, TimestampTz t)
{
	Datum zone = PointerGetDatum(b->zone);
	int64 step = 15 * USECS_PER_MINUTE;
	TimestampTz probe, next;

	if (b->width.day == 0 && b->width.month == 0)
	{
		probe = t + b->size;
		step = Min(step, b->size);
	}
	else
	{
		Timestamp local =
			DatumGetTimestamp(DirectFunctionCall2(timestamptz_zone, zone, TimestampTzGetDatum(t)));

		local = move(local, unconstify(Interval *, &b->width), false);
		probe = DatumGetTimestampTz(DirectFunctionCall2(timestamp_zone, zone, TimestampGetDatum(local)));
	}
	for (; (next = bucket_in_zone(&b->width, probe, zone, false, 0)) <= t; probe += step)
		CHECK_FOR_INTERRUPTS();
	return next;
}

/*
 * mdb_bucket_next - the bucket behind the one that begins at *t; false if there is none.
 */
bool
mdb_bucket_next(const MdbBuckets *b, int64 *t)
{
	if (b->zone)
		*t = next_in_zone(b, *t);
	else if (b->size == 0)
	{
		int64 day = b->type == DATEOID ? 1 : USECS_PER_DAY;

		if (!begin_of_month(month_of(*t * (USECS_PER_DAY / day)) + b->width.month, t))
			return false;
		*t /= USECS_PER_DAY / day;
	}
	else if (pg_add_s64_overflow(*t, b->type == DATEOID ? b->size / USECS_PER_DAY : b->size, t))
		return false;
	return in_range(b, *t);
}
