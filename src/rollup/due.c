/*
 * due.c
 *	  Where an aggregate stands: which buckets are closed, and what of its source should be in by now.
 *
 * A bucket is closed once rows beyond its end have come, and the lateness has passed; or, where none come any
 * more, when another bucket's width has passed by the clock.  That is only about when rows are taken: later ones
 * are taken like any others.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "storage/lmgr.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "rollup/apply.h"

/* ---- times in the source's units ---- */

static bool
has_clock(const MdbTable *table)
{
	return table->time_type == TIMESTAMPTZOID || table->time_type == TIMESTAMPOID ||
		   table->time_type == DATEOID;
}

/* A time less an interval, whose months are long ones: a bucket may be closed later than it could be. */
static int64
minus(const MdbTable *table, int64 time, const Interval *lateness)
{
	int64 days = lateness->month * INT64CONST(31) + lateness->day;
	int64 result;

	if (!has_clock(table))
		return time;
	if (table->time_type == DATEOID)
		result = days + lateness->time / USECS_PER_DAY + (lateness->time % USECS_PER_DAY > 0);
	else if (pg_mul_s64_overflow(days, USECS_PER_DAY, &result) ||
			 pg_add_s64_overflow(result, lateness->time, &result))
		result = PG_INT64_MAX;
	return pg_sub_s64_overflow(time, result, &result) ? PG_INT64_MIN : result;
}

/* The time of the clock; PG_INT64_MAX where times are only numbers. */
static int64
clock_time(const MdbTable *table, TimestampTz now)
{
	Datum v = TimestampTzGetDatum(now);

	switch (table->time_type)
	{
		case TIMESTAMPTZOID:
			return now;
		case TIMESTAMPOID:
			return DatumGetTimestamp(DirectFunctionCall1(timestamptz_timestamp, v));
		case DATEOID:
			return DatumGetDateADT(DirectFunctionCall1(timestamptz_date, v));
		default:
			return PG_INT64_MAX;
	}
}

/* When a time is; DT_NOEND if that is far away. */
static TimestampTz
moment_of(const MdbTable *table, int64 time)
{
	int64 limit = END_TIMESTAMP - USECS_PER_DAY * 2;

	if (table->time_type == DATEOID)
	{
		if (time < (MIN_TIMESTAMP / USECS_PER_DAY) + 2 || time > limit / USECS_PER_DAY)
			return DT_NOEND;
		return DatumGetTimestampTz(DirectFunctionCall1(date_timestamptz, DateADTGetDatum((DateADT) time)));
	}
	if (time < MIN_TIMESTAMP + USECS_PER_DAY * 2 || time > limit)
		return DT_NOEND;
	if (table->time_type == TIMESTAMPTZOID)
		return time;
	return DatumGetTimestampTz(DirectFunctionCall1(timestamp_timestamptz, TimestampGetDatum(time)));
}

/* ---- closed buckets ---- */

/*
 * mdb_aggregate_closed - the time before which buckets are closed.
 */
int64
mdb_aggregate_closed(const MdbAggregate *a, const MdbTable *table, const MdbPartList *parts,
					 MdbRollupBucket *buckets, TimestampTz now)
{
	int64 newest = PG_INT64_MIN;
	int64 clock = clock_time(table, now);
	int64 end;

	for (int i = 0; i < parts->count; i++)
		if (parts->parts[i].days > 0)
			newest = Max(newest, parts->parts[i].time_max);
	if (newest == PG_INT64_MIN)
		return newest;
	/* A finer aggregate has rows once their bucket is over. */
	if (OidIsValid(a->parent) && has_clock(table) && table->time_type != DATEOID)
	{
		Snapshot snapshot = mdb_latest_snapshot();
		MdbAggregate *parent = mdb_aggregate_get(a->parent, snapshot);

		UnregisterSnapshot(snapshot);
		if (parent && pg_add_s64_overflow(newest, parent->granularity, &newest))
			newest = PG_INT64_MAX;
	}
	end = minus(table, Min(clock, newest), &a->lateness);
	if (has_clock(table))
		end = Max(end, minus(table, clock - a->granularity, &a->lateness));
	return mdb_rollup_bucket_first(buckets, end);
}

/*
 * mdb_aggregate_unfinished - the newest time of which some of an aggregate's finer ones have yet to fill back rows,
 * as far as a worker is going to; PG_INT64_MIN if there is none.
 */
int64
mdb_aggregate_unfinished(const MdbAggregate *a, const MdbTable *table, Snapshot snapshot)
{
	int64 newest = PG_INT64_MIN;
	Oid next = a->parent;

	while (OidIsValid(next))
	{
		MdbAggregate *finer = mdb_aggregate_get(next, snapshot);
		Relation source;

		if (finer == NULL)
			break;
		next = finer->parent;
		if (!finer->backfill || !finer->attached ||
			!ConditionalLockRelationOid(finer->source, AccessShareLock))
			continue;
		source = try_relation_open(finer->source, NoLock);
		if (source == NULL)
			continue;
		if (mdb_table(source)->time_type == table->time_type)
		{
			const MdbTable *t = mdb_table(source);
			MdbPieces *pieces = mdb_pieces(mdb_parts_visible(t, snapshot),
										   mdb_pending_list(t->storage_id, finer->aggregate, snapshot));

			for (int i = 0; i < pieces->count; i++)
				if (pieces->pieces[i].pending.backfill)
					newest = Max(newest, pieces->pieces[i].hi);
		}
		relation_close(source, NoLock);
	}
	return newest;
}

/* ---- what is due ---- */

/* A part that closes buckets: those that end at its newest time, less the lateness, and before. */
typedef struct Closer
{
	int64 time;
	TimestampTz at; /* when it came; once they are in order, the first that closes as much */
} Closer;

static int
closer_cmp(const void *a, const void *b)
{
	const Closer *x = a, *y = b;

	return x->time < y->time ? -1 : x->time > y->time;
}

static Closer *
closers_of(const MdbAggregate *a, const MdbTable *table, const MdbPartList *parts, int *count)
{
	Closer *list = palloc_extended(sizeof(Closer) * Max(1, parts->count), MCXT_ALLOC_HUGE);
	int n = 0;

	for (int i = 0; i < parts->count; i++)
		if (parts->parts[i].days > 0)
		{
			list[n].time = minus(table, parts->parts[i].time_max, &a->lateness);
			list[n++].at = parts->parts[i].created_at;
		}
	qsort(list, n, sizeof(Closer), closer_cmp);
	for (int i = n - 2; i >= 0; i--)
		list[i].at = Min(list[i].at, list[i + 1].at);
	*count = n;
	return list;
}

/* When the oldest rows of a piece could have been taken. */
static TimestampTz
could_be_taken(const MdbAggregate *a, const MdbTable *table, const Closer *closers, int n,
			   MdbRollupBucket *buckets, const MdbPiece *piece)
{
	int64 end = mdb_rollup_bucket_last(buckets, piece->lo);
	TimestampTz closed = DT_NOEND;
	int lo = 0, hi = n;

	/* Who closed the bucket? */
	while (lo < hi)
	{
		int middle = (lo + hi) / 2;

		if (closers[middle].time > end)
			hi = middle;
		else
			lo = middle + 1;
	}
	if (lo < n)
		closed = closers[lo].at;
	if (has_clock(table) && !pg_add_s64_overflow(end, a->granularity, &end))
		closed = Min(closed, moment_of(table, end));
	return Max(closed, piece->part->created_at);
}

/* About how many buckets a range has. */
static int64
count_buckets(const MdbDirty *dirty, int64 granularity)
{
	double width = (double) dirty->time_to - (double) dirty->time_from;

	return (int64) Min(1e15, Max(1.0, width / granularity));
}

/*
 * mdb_aggregate_due - where an aggregate stands for a snapshot.
 */
void
mdb_aggregate_due(const MdbAggregate *a, Relation source, Snapshot snapshot, MdbDue *due)
{
	const MdbTable *table = mdb_table(source);
	MdbPartList *parts = mdb_parts_visible(table, snapshot);
	MdbPieces *pieces = mdb_pieces(parts, mdb_pending_list(table->storage_id, a->aggregate, snapshot));
	MdbDirtyList *dirty = mdb_dirty_list(a->aggregate, snapshot, true);
	TimestampTz now = GetCurrentTimestamp();
	MdbRollupBucket *buckets = mdb_rollup_bucket(a);
	int64 closed = mdb_aggregate_closed(a, table, parts, buckets, now);
	int nclosers;
	Closer *closers = closers_of(a, table, parts, &nclosers);

	memset(due, 0, sizeof(*due));
	due->source_parts = parts->count;
	due->source_rows = parts->nrows;
	for (int i = 0; i < pieces->count; i++)
	{
		const MdbPiece *piece = &pieces->pieces[i];

		due->parts++;
		due->rows += piece->nrows;
		if (piece->pending.backfill)
		{
			due->old_parts++;
			due->old_rows += piece->nrows;
		}
		else if (piece->lo < closed && !piece->empty)
		{
			TimestampTz since = could_be_taken(a, table, closers, nclosers, buckets, piece);

			if (due->since == 0 || since < due->since)
				due->since = since;
		}
	}
	for (int i = 0; i < dirty->count; i++)
		*(dirty->rows[i].flagged ? &due->flagged : &due->dirty) +=
			count_buckets(&dirty->rows[i], a->granularity);
}
