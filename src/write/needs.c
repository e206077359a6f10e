/*
 * needs.c
 *	  Which parts continuous aggregates need, so that retention leaves them; and what aggregates are told of those that go.
 *
 * An aggregate needs a part of which it has not taken all, and one with rows of buckets that it has to make again.  Not
 * one that was there before it, if it was told not to take these by itself.  What goes raises the
 * aggregate's floor: buckets that begin before it can be made from the source no more.
 *
 * The aggregates' rows are locked meanwhile, so nobody applies them.  Who does is waited for: he takes some rows in a
 * transaction, and waits for nobody.  Parts are claimed before, so no rows of them are deleted any more; what
 * was deleted is dirty by then.
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/aggregates.h"
#include "write/fit.h"
#include "write/write.h"

struct MdbNeeds
{
	int count;
	MdbAggregate *aggregates;
	MdbDirtyList **dirty; /* of each, but for what cannot be made again */
	MdbPendingList *pending;
	bool any;
	int64 newest; /* time that went */
};

/* What the aggregates of a table need, as a snapshot sees it; lock: they are locked before it is taken. */
static MdbNeeds *
read_needs(Relation rel, const MdbTable *table, bool lock)
{
	MdbNeeds *n;
	Snapshot snapshot;

	if (!mdb_has_aggregates(rel))
		return NULL;
	n = palloc0(sizeof(MdbNeeds));
	snapshot = mdb_latest_snapshot();
	n->aggregates = mdb_aggregates_by(MDB_AGGREGATE_SOURCE, RelationGetRelid(rel), snapshot, &n->count);
	UnregisterSnapshot(snapshot);
	for (int i = 0; lock && i < n->count; i++)
	{
		MdbAggregate *locked = mdb_aggregate_lock(n->aggregates[i].aggregate, LockWaitBlock);

		if (locked)
			n->aggregates[i] = *locked;
	}
	/* Newer than the locks. */
	snapshot = mdb_latest_snapshot();
	n->pending = mdb_pending_list(table->storage_id, InvalidOid, snapshot);
	n->dirty = palloc(sizeof(MdbDirtyList *) * Max(1, n->count));
	for (int i = 0; i < n->count; i++)
		n->dirty[i] = mdb_dirty_list(n->aggregates[i].aggregate, snapshot, false);
	UnregisterSnapshot(snapshot);
	return n;
}

/*
 * mdb_needs_begin - what the aggregates of a table need, in CurrentMemoryContext; NULL if it has none.
 *
 * They are locked to the end of the transaction.
 */
MdbNeeds *
mdb_needs_begin(Relation rel, const MdbTable *table)
{
	return read_needs(rel, table, true);
}

/*
 * mdb_needs_look - the same for who only wants to know.
 */
MdbNeeds *
mdb_needs_look(Relation rel, const MdbTable *table)
{
	return read_needs(rel, table, false);
}

/* Does a bucket that is to be made again have rows of a part?  It may be as much wider than the range at both ends. */
static bool
is_dirty(const MdbDirtyList *list, int64 width, const MdbPartInfo *part)
{
	for (int i = 0; i < list->count; i++)
	{
		int64 from, to;

		if (pg_sub_s64_overflow(list->rows[i].time_from, width, &from))
			from = PG_INT64_MIN;
		if (pg_add_s64_overflow(list->rows[i].time_to, width, &to))
			to = PG_INT64_MAX;
		if (part->time_max >= from && part->time_min <= to)
			return true;
	}
	return false;
}

/*
 * mdb_needs_part - does an aggregate need a part that has times?
 */
bool
mdb_needs_part(const MdbNeeds *n, const MdbPartInfo *part)
{
	for (int i = 0; n && i < n->count; i++)
	{
		const MdbAggregate *a = &n->aggregates[i];
		const MdbPending *p = mdb_pending_find(n->pending, part->part_id, a->aggregate);
		int64 first, last;

		if (p && (a->backfill || !p->backfill))
		{
			MdbFitPart fit = {.time_min = part->time_min,
							  .time_max = part->time_max,
							  .pending = true,
							  .from = p->time_from,
							  .to = p->time_to};

			if (mdb_fit_cut(&fit, &first, &last))
				return true;
		}
		if (is_dirty(n->dirty[i], a->granularity, part))
			return true;
	}
	return false;
}

/*
 * mdb_needs_drop - a part that no aggregate needs goes.  False if somebody is at its rows of metricsdb.pending.
 */
bool
mdb_needs_drop(MdbNeeds *n, const MdbPartInfo *part)
{
	if (n == NULL)
		return true;
	if (!mdb_pending_forget_part(part->storage_id, part->part_id))
		return false;
	n->newest = n->any ? Max(n->newest, part->time_max) : part->time_max;
	n->any = true;
	return true;
}

/*
 * mdb_needs_end - aggregates are told what went.
 */
void
mdb_needs_end(const MdbNeeds *n)
{
	for (int i = 0; n && n->any && i < n->count; i++)
		mdb_aggregate_raise_floor(n->aggregates[i].aggregate,
								  n->newest == PG_INT64_MAX ? n->newest : n->newest + 1);
}
