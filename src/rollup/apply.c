/*
 * apply.c
 *	  One transaction's work on a continuous aggregate: what it takes of its source, or makes again.
 *
 * What is pending is put into the table of states by the aggregate's own definition: INSERT ... SELECT over
 * just those rows, run as the owner.  What was put in is not pending any more, in the same transaction: so each
 * row is taken once, whatever dies when.
 *
 * Invariants:
 *	1. Whoever works on an aggregate holds its row of the catalog FOR NO KEY UPDATE: there is one at a time.
 *	2. The snapshot of the statement is newer than the locks on the rows of metricsdb.pending or metricsdb.dirty that it
 *	   is for.  So parts that are pending are there, and what made a range dirty is seen; what comes later leaves
 *	   rows of its own.  A transaction that keeps its snapshot takes only what has not changed since.
 *	3. A range that is made again loses its states and gets those of all rows that are not pending, by the same snapshot
 *	   which says what is.  It consists of whole buckets.
 *	4. Live rows go first, the oldest of them first; then what is to be made again; then history, the newest first.
 *	5. A bucket that begins before the time from which on the source has all its rows keeps its states, and is flagged.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "rollup/apply.h"
#include "rollup/statement.h"
#include "stop.h"

int mdb_rollup_batch_rows = 2 * 1024 * 1024;

/* One transaction's work. */
typedef struct Apply
{
	MdbAggregate *a;
	Relation source;
	Relation states;
	const MdbTable *table;
	MdbStatement *statement;
	MdbRollupBucket *buckets;
	Snapshot snapshot; /* for what there is; another one is taken for the statement */
	MdbPartList *parts;
	MdbPieces *pieces;
	bool trying; /* only whether there is something to do is asked */
} Apply;

/* ---- beginning and end ---- */

/* The newest snapshot that the transaction may use. */
static Snapshot
fresh_snapshot(void)
{
	return IsolationUsesXactSnapshot() ? RegisterSnapshot(GetTransactionSnapshot()) : mdb_latest_snapshot();
}

static bool
lock_relation(Oid relid, LOCKMODE mode, bool wait)
{
	if (wait)
	{
		LockRelationOid(relid, mode);
		return true;
	}
	return ConditionalLockRelationOid(relid, mode);
}

/*
 * Lock an aggregate's tables, before its row, as who truncates or drops them does.  False if somebody is in the way, or
 * it is gone.
 */
static bool
apply_open(Apply *w, Oid aggregate, bool wait)
{
	Snapshot snapshot = mdb_latest_snapshot();

	memset(w, 0, sizeof(*w));
	w->a = mdb_aggregate_get(aggregate, snapshot);
	UnregisterSnapshot(snapshot);
	/* The view first, whose definition is read: who changes or drops it comes to the states from there. */
	if (w->a == NULL || !lock_relation(w->a->view, AccessShareLock, wait) ||
		!lock_relation(w->a->source, AccessShareLock, wait) ||
		!lock_relation(aggregate, RowExclusiveLock, wait))
		return false;
	w->source = try_relation_open(w->a->source, NoLock);
	w->states = try_relation_open(aggregate, NoLock);
	if (w->source == NULL || w->states == NULL || !mdb_is_metricsdb(w->source))
		return false;
	w->table = mdb_table(w->source);
	return true;
}

static void
apply_close(Apply *w)
{
	if (w->snapshot)
		UnregisterSnapshot(w->snapshot);
	if (w->source)
		relation_close(w->source, NoLock);
	if (w->states)
		relation_close(w->states, NoLock);
}

/* What there is, and what of it is pending. */
static void
look(Apply *w)
{
	if (w->snapshot)
		UnregisterSnapshot(w->snapshot);
	mdb_catalog_keep("pending");
	mdb_catalog_keep("dirty");
	w->snapshot = fresh_snapshot();
	w->parts = mdb_parts_visible(w->table, w->snapshot);
	w->pieces = mdb_pieces(w->parts, mdb_pending_list(w->table->storage_id, w->a->aggregate, w->snapshot));
}

/* The first time behind a bucket; PG_INT64_MAX if there is none. */
static int64
bucket_end(const Apply *w, int64 time)
{
	int64 last = mdb_rollup_bucket_last(w->buckets, time);

	return last == PG_INT64_MAX ? last : last + 1;
}

/* ---- taking what is pending ---- */

/* Lock what is pending of a piece; false if somebody is at the part, or has been. */
static bool
lock_piece(MdbPiece *piece)
{
	MdbPending now = piece->pending;

	return mdb_pending_lock(&now, LockWaitSkip) && now.time_from == piece->pending.time_from &&
		   now.time_to == piece->pending.time_to;
}

/* That of a piece from lo to hi is in. */
static void
piece_taken(const MdbPiece *piece, int64 lo, int64 hi)
{
	MdbPending pending = piece->pending;

	if (lo <= piece->lo && hi >= piece->hi)
		mdb_pending_delete(&pending);
	else
	{
		if (lo <= piece->lo)
			pending.time_from = hi + 1;
		else
			pending.time_to = lo;
		mdb_pending_update(&pending);
	}
}

static int
part_cmp(const void *a, const void *b)
{
	const MdbPartInterval *x = a, *y = b;

	return x->part_id < y->part_id ? -1 : x->part_id > y->part_id;
}

/*
 * Take of all pieces what lies in a window, both ends included, which at least one end of each piece lies in.
 * False if nothing could be taken because somebody is at the parts.
 */
static bool
take(Apply *w, const MdbPieces *pieces, int64 first, int64 last)
{
	MdbPartInterval *parts =
		palloc_extended(sizeof(MdbPartInterval) * Max(1, pieces->count), MCXT_ALLOC_HUGE);
	MdbPiece **taken = palloc_extended(sizeof(MdbPiece *) * Max(1, pieces->count), MCXT_ALLOC_HUGE);
	Snapshot snapshot;
	int nparts = 0;
	int n = 0;

	for (int i = 0; i < pieces->count; i++)
	{
		MdbPiece *piece = &pieces->pieces[i];

		CHECK_FOR_INTERRUPTS();
		if (piece->hi < first || piece->lo > last)
			continue;
		if (w->trying)
			return true;
		if (!lock_piece(piece))
			continue;
		taken[n++] = piece;
		if (piece->empty)
			continue;
		parts[nparts].part_id = piece->pending.part_id;
		parts[nparts].time_from = Max(piece->lo, first);
		parts[nparts].time_to = Min(piece->hi, last);
		if (parts[nparts].time_to < PG_INT64_MAX)
			parts[nparts].time_to++;
		nparts++;
	}
	if (n == 0)
		return false;
	MDB_STOP("rollup.pending");
	snapshot = fresh_snapshot();
	qsort(parts, nparts, sizeof(MdbPartInterval), part_cmp);
	mdb_statement_take(w->statement, parts, nparts, snapshot);
	UnregisterSnapshot(snapshot);
	MDB_STOP("rollup.states");
	for (int i = 0; i < n; i++)
		piece_taken(taken[i], first, last);
	MDB_STOP("rollup.taken");
	return true;
}

/*
 * Those of the pieces that are live, or that are not, and lie in a range.
 */
static MdbPieces *
choose(const MdbPieces *all, bool live, bool history, int64 from, int64 last)
{
	MdbPieces *some = palloc(sizeof(MdbPieces));

	some->pieces = palloc_extended(sizeof(MdbPiece) * Max(1, all->count), MCXT_ALLOC_HUGE);
	some->count = 0;
	for (int i = 0; i < all->count; i++)
	{
		const MdbPiece *piece = &all->pieces[i];

		if ((piece->pending.backfill ? history : live) && piece->hi >= from && piece->lo <= last)
			some->pieces[some->count++] = *piece;
	}
	return some;
}

/*
 * From when on the source has what it will have: as long as its own history is filled back, newest first, a bucket
 * of ours that it has not come to would get its rows by and by.
 */
static int64
finished_from(const Apply *w)
{
	int64 time = mdb_aggregate_unfinished(w->a, w->table, w->snapshot);

	return time > PG_INT64_MIN ? bucket_end(w, time) : time;
}

/* The pieces that lie behind a time as a whole: what is pending of a part has no holes. */
static void
leave_older(MdbPieces *pieces, int64 from)
{
	int n = 0;

	for (int i = 0; i < pieces->count; i++)
		if (pieces->pieces[i].lo >= from || pieces->pieces[i].empty)
			pieces->pieces[n++] = pieces->pieces[i];
	pieces->count = n;
}

/*
 * A bucket that is taken in two has two states for each of its groups.  Where a window is few buckets long, which that
 * would be much of, it consists of whole ones; where it is many, of whole parts, which otherwise would be decoded
 * twice.  A bucket of more rows than so many windows is cut all the same.
 */
#define SHORT_WINDOW 16
#define WHOLE_BUCKET 32

static bool
is_short(const Apply *w, int64 first, int64 last)
{
	return (double) last - (double) first < (double) w->a->granularity * SHORT_WINDOW;
}

static bool
fits(const MdbPieces *pieces, int64 lo, int64 hi)
{
	return mdb_pieces_rows(pieces, lo, hi) <= (double) mdb_rollup_batch_rows * WHOLE_BUCKET;
}

/* Take live rows of closed buckets, the oldest first. */
static MdbStep
take_live(Apply *w)
{
	MdbPieces *live = choose(w->pieces, true, false, PG_INT64_MIN, PG_INT64_MAX);
	int64 closed, end, whole;

	leave_older(live, finished_from(w));
	if (live->count == 0)
		return MDB_STEP_NOTHING;
	closed = mdb_aggregate_closed(w->a, w->table, w->parts, w->buckets, GetCurrentTimestamp());
	if (live->pieces[0].lo >= closed)
		return MDB_STEP_NOTHING;
	end = mdb_window_end(live, closed, mdb_rollup_batch_rows);
	if (end < closed && is_short(w, live->pieces[0].lo, end))
	{
		whole = mdb_rollup_bucket_first(w->buckets, end);
		if (whole <= live->pieces[0].lo)
			whole = Min(closed, bucket_end(w, live->pieces[0].lo));
		if (whole < end || fits(live, end, whole - 1))
			end = whole;
	}
	return take(w, live, PG_INT64_MIN, end - 1) ? MDB_STEP_DONE : MDB_STEP_GAVE_WAY;
}

/* Take the newest rows that are not older than first. */
static MdbStep
take_back(Apply *w, const MdbPieces *pieces, int64 first)
{
	int64 newest = PG_INT64_MIN;
	int64 start, whole;

	for (int i = 0; i < pieces->count; i++)
		newest = Max(newest, pieces->pieces[i].hi);
	start = mdb_window_start(pieces, first, mdb_rollup_batch_rows);
	if (start > first && is_short(w, start, newest))
	{
		whole = mdb_rollup_bucket_first(w->buckets, start);
		if (whole < start && bucket_end(w, start) <= newest)
			whole = bucket_end(w, start);
		if (whole > start || fits(pieces, whole, start - 1))
			start = Max(first, whole);
	}
	return take(w, pieces, start, PG_INT64_MAX) ? MDB_STEP_DONE : MDB_STEP_GAVE_WAY;
}

/* Fill back, the newest first. */
static MdbStep
take_history(Apply *w)
{
	int64 from = finished_from(w);
	MdbPieces *history = choose(w->pieces, false, true, from, PG_INT64_MAX);

	return history->count > 0 ? take_back(w, history, from) : MDB_STEP_NOTHING;
}

/*
 * Take all that is pending of a range.  What is pending of a part has no holes: if it has rows behind the range, too,
 * these are taken with the others.
 */
static MdbStep
take_asked(Apply *w, const MdbApplyGoal *goal)
{
	int64 from = goal->from;
	int64 last = goal->to == PG_INT64_MAX ? goal->to : goal->to - 1;
	MdbPieces *pieces;

	if (from > PG_INT64_MIN)
		from = mdb_rollup_bucket_first(w->buckets, from);
	if (last < PG_INT64_MAX)
		last = mdb_rollup_bucket_last(w->buckets, last);
	pieces = choose(w->pieces, true, true, from, last);
	return pieces->count > 0 ? take_back(w, pieces, from) : MDB_STEP_NOTHING;
}

/* ---- making again ---- */

/* A range of whole buckets; from a dirty one. */
typedef struct Range
{
	MdbDirty dirty;
	int64 from;
	int64 to; /* not included, but if it is PG_INT64_MAX */
} Range;

/* About how many rows of the source there are in a range. */
static double
range_rows(const Apply *w, int64 from, int64 to)
{
	double rows = 0;

	for (int i = 0; i < w->parts->count; i++)
		rows += mdb_piece_rows(&w->parts->parts[i], from, to == PG_INT64_MAX ? to : to - 1);
	return rows;
}

static bool
lock_dirty(MdbDirty *dirty)
{
	MdbDirty now = *dirty;

	return mdb_dirty_lock(&now, LockWaitSkip) && now.time_from == dirty->time_from &&
		   now.time_to == dirty->time_to && now.flagged == dirty->flagged;
}

static void
widen(Apply *w, const MdbDirty *dirty, Range *range)
{
	range->dirty = *dirty;
	range->from = dirty->time_from;
	range->to = dirty->time_to;
	if (range->from > PG_INT64_MIN)
		range->from = mdb_rollup_bucket_first(w->buckets, range->from);
	if (range->to < PG_INT64_MAX)
		range->to = bucket_end(w, range->to - 1);
}

/* Does a range begin before the source's rows are all there? */
static bool
lacks_rows(const Apply *w, const Range *range)
{
	return w->a->floor > PG_INT64_MIN && range->from < w->a->floor;
}

/* Flag the buckets of a range that do; the rest stays dirty.  The caller has locked it. */
static void
flag(Apply *w, const Range *range)
{
	int64 whole = w->a->floor; /* from here on buckets have all their rows */

	if (mdb_rollup_bucket_first(w->buckets, whole) < whole)
		whole = bucket_end(w, whole);
	if (range->to <= whole)
		mdb_dirty_flag(&range->dirty);
	else
	{
		mdb_dirty_delete(&range->dirty);
		mdb_dirty_insert(w->a->aggregate, range->from, whole, true, GetCurrentCommandId(true));
		mdb_dirty_insert(w->a->aggregate, whole, range->to, false, GetCurrentCommandId(true));
	}
	CommandCounterIncrement();
	MDB_STOP("rollup.flagged");
}

/* Of a range that is too much for once, as many buckets as may be, at least one; the rest stays dirty. */
static void
shorten(const Apply *w, Range *range)
{
	int64 lo = PG_INT64_MAX;
	int64 hi = PG_INT64_MIN;
	int64 cut;

	/* Where there are rows. */
	for (int i = 0; i < w->parts->count; i++)
	{
		lo = Min(lo, w->parts->parts[i].time_min);
		hi = Max(hi, w->parts->parts[i].time_max);
	}
	lo = Max(lo, range->from);
	hi = Min(hi, range->to);
	cut = lo;
	while (hi > cut && hi - 1 > cut)
	{
		int64 middle = cut + (int64) (((uint64) hi - (uint64) cut) / 2);

		if (range_rows(w, range->from, middle) > mdb_rollup_batch_rows)
			hi = middle;
		else
			cut = middle;
	}
	cut = mdb_rollup_bucket_first(w->buckets, cut);
	if (cut <= lo)
		cut = bucket_end(w, lo);
	if (cut > range->from && cut < range->to)
		range->to = cut;
}

static int
range_cmp(const void *a, const void *b)
{
	const Range *x = a, *y = b;

	return x->from < y->from ? -1 : x->from > y->from;
}

/* The states of some ranges go, and are made anew. */
static void
make_again(Apply *w, Range *ranges, int n)
{
	MdbTimeRange *times = palloc(sizeof(MdbTimeRange) * n);
	Snapshot snapshot = fresh_snapshot();
	int count = 0;

	/* In order, and those that overlap or touch as one. */
	qsort(ranges, n, sizeof(Range), range_cmp);
	for (int i = 0; i < n; i++)
	{
		int64 last = ranges[i].to == PG_INT64_MAX ? ranges[i].to : ranges[i].to - 1;

		if (count > 0 &&
			(times[count - 1].last == PG_INT64_MAX || ranges[i].from <= times[count - 1].last + 1))
			times[count - 1].last = Max(times[count - 1].last, last);
		else
			times[count++] = (MdbTimeRange){.first = ranges[i].from, .last = last};
	}
	mdb_statement_again(w->statement, w->buckets, times, count, snapshot);
	UnregisterSnapshot(snapshot);
	MDB_STOP("rollup.again");
	for (int i = 0; i < n; i++)
	{
		const MdbDirty *dirty = &ranges[i].dirty;

		mdb_dirty_delete(dirty);
		if (ranges[i].to < dirty->time_to)
			mdb_dirty_insert(w->a->aggregate, ranges[i].to, dirty->time_to, false, GetCurrentCommandId(true));
	}
	MDB_STOP("rollup.clean");
}

/* Make buckets again of which rows have changed, in a range. */
static MdbStep
take_dirty(Apply *w, int64 from, int64 to)
{
	MdbDirtyList *list = mdb_dirty_list(w->a->aggregate, w->snapshot, false);
	Range *ranges = palloc_extended(sizeof(Range) * Max(1, list->count), MCXT_ALLOC_HUGE);
	double rows = 0;
	bool any = false;
	int n = 0;

	for (int i = 0; i < list->count && rows < mdb_rollup_batch_rows; i++)
	{
		Range *range = &ranges[n];

		CHECK_FOR_INTERRUPTS();
		if (list->rows[i].time_to <= from || list->rows[i].time_from >= to)
			continue;
		if (w->trying)
			return MDB_STEP_DONE;
		any = true;
		widen(w, &list->rows[i], range);
		if (!lock_dirty(&range->dirty))
			continue;
		if (lacks_rows(w, range))
		{
			flag(w, range);
			return MDB_STEP_DONE;
		}
		if (range_rows(w, range->from, range->to) > mdb_rollup_batch_rows)
			shorten(w, range);
		rows += range_rows(w, range->from, range->to);
		n++;
	}
	if (n == 0)
		return any ? MDB_STEP_GAVE_WAY : MDB_STEP_NOTHING;
	MDB_STOP("rollup.dirty");
	make_again(w, ranges, n);
	return MDB_STEP_DONE;
}

/* ---- one transaction ---- */

/* The first kind of work that there is. */
static MdbStep
work(Apply *w, const MdbApplyGoal *goal)
{
	MdbStep step = MDB_STEP_NOTHING;

	switch (goal->what)
	{
		case MDB_APPLY_DUE:
			step = take_live(w);
			if (step == MDB_STEP_NOTHING)
				step = take_dirty(w, PG_INT64_MIN, PG_INT64_MAX);
			break;
		case MDB_APPLY_HISTORY:
			if (w->a->backfill)
				step = take_history(w);
			break;
		case MDB_APPLY_ASKED:
			step = take_dirty(w, goal->from, goal->to);
			if (step == MDB_STEP_NOTHING)
				step = take_asked(w, goal);
			break;
	}
	return step;
}

/* The same, with the aggregate's row locked: only who has something to do locks it. */
static MdbStep
work_locked(Apply *w, const MdbApplyGoal *goal, bool wait)
{
	Oid source = w->a->source;
	MdbStep step;

	w->a = mdb_aggregate_lock(w->a->aggregate, wait ? LockWaitBlock : LockWaitSkip);
	if (w->a == NULL || w->a->source != source)
		return MDB_STEP_GAVE_WAY;
	MDB_STOP("rollup.locked");
	w->statement = mdb_statement_open(w->a);
	look(w);
	step = work(w, goal);
	if (step == MDB_STEP_DONE)
		mdb_aggregate_note_applied(w->a->aggregate, GetCurrentTimestamp());
	return step;
}

/*
 * mdb_aggregate_apply - do some of what there is to be done for an aggregate: MDB_STEP_NOTHING if there is nothing.
 *
 * Called in a transaction, whose end is up to the caller.  wait: for locks on its tables and for who else works on it;
 * without, and if others are at the parts, MDB_STEP_GAVE_WAY.  Raises whatever the definition does.
 */
MdbStep
mdb_aggregate_apply(Oid aggregate, const MdbApplyGoal *goal, bool wait)
{
	MdbStep step = MDB_STEP_GAVE_WAY;
	MdbBefore before;
	Apply w;

	if (apply_open(&w, aggregate, wait))
	{
		look(&w);
		step = MDB_STEP_NOTHING;
		if (w.pieces->count > 0 || mdb_dirty_list(aggregate, w.snapshot, false)->count > 0)
		{
			mdb_owner_begin(w.states, &before);
			w.buckets = mdb_rollup_bucket(w.a);
			w.trying = true;
			step = work(&w, goal);
			w.trying = false;
			if (step == MDB_STEP_DONE)
				step = work_locked(&w, goal, wait);
			mdb_owner_end(&before);
		}
	}
	apply_close(&w);
	return step;
}
