/*
 * feeds.c
 *	  What becomes of continuous aggregates when their source gets another file, or goes.
 *
 * TRUNCATE empties the states of the aggregates that are made of the table, and of those that are made of these.
 *
 * A rewrite makes new parts of all rows, and of some, of partitions that have few, rows of the delta.  Nobody can tell
 * any more which of the new parts' rows were pending, so none is, and what was pending is dirty.  So are the times of
 * rows of the delta, of the old one, as aggregates have not taken them and they are in parts now, and of
 * the new one, as aggregates may have taken them, but count as if they had not.  Rows without a time, which are
 * never taken, are pending anew.
 *
 * This is done when the transient table is dropped which has the old file by then.  ALTER TYPE has changed the
 * table's columns before; the scan that reads the old file by the types of before notes the times of the
 * delta's rows meanwhile.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/heap.h"
#include "catalog/index.h"
#include "commands/tablecmds.h"
#include "common/int.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "am/am.h"
#include "store/aggregates.h"
#include "write/fit.h"

/* An aggregate gets so many dirty ranges of a rewrite at most; neighbours become one. */
#define RANGES_MAX 64

/* Times that have to be made again: first .. last, both in. */
typedef struct Range
{
	int64 first;
	int64 last;
} Range;

typedef struct Ranges
{
	int count;
	int capacity;
	Range *v;
} Ranges;

/* The times of the rows of a delta that were read by other types than the table has now; for the transaction. */
static int64 noted_storage = 0;
static Ranges noted;

static void
add_range(Ranges *r, int64 first, int64 last)
{
	/* Rows of a delta come in order mostly. */
	if (r->count > 0 && first >= r->v[r->count - 1].first && last <= r->v[r->count - 1].last)
		return;
	if (r->count == r->capacity)
	{
		r->capacity = Max(64, r->capacity * 2);
		r->v = r->v ? repalloc_huge(r->v, sizeof(Range) * r->capacity) : palloc(sizeof(Range) * r->capacity);
	}
	r->v[r->count].first = first;
	r->v[r->count++].last = last;
}

static int
range_cmp(const void *a, const void *b)
{
	const Range *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

/* In order, and those in one that are no more than gap apart. */
static void
join_ranges(Ranges *r, int64 gap)
{
	int n = 0;

	qsort(r->v, r->count, sizeof(Range), range_cmp);
	for (int i = 0; i < r->count; i++)
	{
		int64 reach;

		if (n > 0 && pg_add_s64_overflow(r->v[n - 1].last, gap, &reach))
			reach = PG_INT64_MAX;
		if (n > 0 && r->v[i].first <= reach)
			r->v[n - 1].last = Max(r->v[n - 1].last, r->v[i].last);
		else
			r->v[n++] = r->v[i];
	}
	r->count = n;
}

static void
add_time(int64 time, void *arg)
{
	add_range(arg, time, time);
}

/* The times of rows of a table's delta, whose columns are as desc says. */
static void
add_delta_times(const MdbTable *table, TupleDesc desc, Ranges *r)
{
	Snapshot snapshot = mdb_latest_snapshot();

	mdb_delta_each_time(table, desc, snapshot, add_time, r);
	UnregisterSnapshot(snapshot);
}

/*
 * mdb_feeds_note_types - a table that is being rewritten is read by the types of before.
 */
void
mdb_feeds_note_types(Relation rel, TupleDesc desc)
{
	MdbTable *table;
	MemoryContext old;

	if (!mdb_has_aggregates(rel))
		return;
	table = mdb_table_described(rel, desc);
	noted_storage = 0;
	memset(&noted, 0, sizeof(noted));
	old = MemoryContextSwitchTo(TopTransactionContext);
	add_delta_times(table, desc, &noted);
	MemoryContextSwitchTo(old);
	noted_storage = table->storage_id;
	pfree(table);
}

/* What is pending of parts for an aggregate. */
static void
add_pending(const MdbPartList *parts, const MdbPendingList *pending, Oid aggregate, Ranges *r)
{
	for (int i = 0; i < parts->count; i++)
	{
		const MdbPartInfo *part = &parts->parts[i];
		const MdbPending *p = mdb_pending_find(pending, part->part_id, aggregate);
		MdbFitPart fit = {.time_min = part->time_min, .time_max = part->time_max, .pending = true};
		int64 first, last;

		if (p == NULL || part->days == 0)
			continue;
		fit.from = p->time_from;
		fit.to = p->time_to;
		if (mdb_fit_cut(&fit, &first, &last))
			add_range(r, first, last);
	}
}

/* They are dirty for an aggregate. */
static void
make_dirty(const MdbAggregate *a, Ranges *r)
{
	int each;

	join_ranges(r, Max(1, a->granularity));
	each = (r->count + RANGES_MAX - 1) / RANGES_MAX;
	for (int i = 0; i < r->count; i += each)
	{
		int64 last = r->v[Min(i + each, r->count) - 1].last;

		mdb_dirty_insert(a->aggregate, r->v[i].first, last == PG_INT64_MAX ? last : last + 1, false,
						 GetCurrentCommandId(true));
	}
}

/* Rows without a time are pending for an aggregate. */
static void
untimed_pending(const MdbPartList *parts, Oid aggregate)
{
	for (int i = 0; i < parts->count; i++)
	{
		MdbPending p = {.storage_id = parts->parts[i].storage_id,
						.part_id = parts->parts[i].part_id,
						.aggregate = aggregate,
						.time_from = PG_INT64_MIN,
						.time_to = PG_INT64_MAX};

		if (parts->parts[i].days == 0)
			mdb_pending_insert(&p, GetCurrentCommandId(true));
	}
}

/*
 * mdb_feeds_rewritten - a table has got a new file, and old, which is about to go, has the one from before.
 */
void
mdb_feeds_rewritten(Relation old, Oid owner)
{
	Snapshot snapshot = mdb_latest_snapshot();
	MdbAggregate *aggregates;
	MdbTable *old_table, *new_table;
	MdbPartList *old_parts, *new_parts;
	MdbPendingList *pending;
	Ranges delta = {0};
	Relation rel;
	int count;

	aggregates = mdb_aggregates_by(MDB_AGGREGATE_SOURCE, owner, snapshot, &count);
	if (count == 0 || !mdb_is_metricsdb_oid(owner))
	{
		UnregisterSnapshot(snapshot);
		return;
	}
	rel = table_open(owner, AccessShareLock);
	old_table = mdb_table(old);
	new_table = mdb_table(rel);
	old_parts = mdb_parts_visible(old_table, snapshot);
	new_parts = mdb_parts_visible(new_table, snapshot);
	pending = mdb_pending_list(old_table->storage_id, InvalidOid, snapshot);
	UnregisterSnapshot(snapshot);
	if (noted_storage == old_table->storage_id)
		for (int i = 0; i < noted.count; i++)
			add_range(&delta, noted.v[i].first, noted.v[i].last);
	else if (old_table->time_attno > 0)
		add_delta_times(old_table, RelationGetDescr(old), &delta);
	if (new_table->time_attno > 0)
		add_delta_times(new_table, RelationGetDescr(rel), &delta);
	for (int i = 0; i < count; i++)
	{
		Ranges ranges = {0};

		for (int k = 0; k < delta.count; k++)
			add_range(&ranges, delta.v[k].first, delta.v[k].last);
		add_pending(old_parts, pending, aggregates[i].aggregate, &ranges);
		make_dirty(&aggregates[i], &ranges);
		untimed_pending(new_parts, aggregates[i].aggregate);
	}
	table_close(rel, NoLock);
}

/*
 * mdb_feeds_lock_truncated - a table is about to be locked for TRUNCATE: before it the states of its aggregates, as
 * whoever reads their view comes to these first.  If the user may not, he hears of that later.
 */
void
mdb_feeds_lock_truncated(Oid relid)
{
	MdbAggregate *aggregates;
	Snapshot snapshot;
	int count;

	if (!mdb_is_metricsdb_oid(relid) || pg_class_aclcheck(relid, GetUserId(), ACL_TRUNCATE) != ACLCHECK_OK)
		return;
	snapshot = mdb_latest_snapshot();
	aggregates = mdb_aggregates_by(MDB_AGGREGATE_SOURCE, relid, snapshot, &count);
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < count; i++)
	{
		mdb_feeds_lock_truncated(aggregates[i].aggregate);
		LockRelationOid(aggregates[i].aggregate, AccessExclusiveLock);
	}
}

/* Empty a table of states as TRUNCATE does, without a question to the user. */
static void
truncate_states(Oid relid)
{
	Relation rel = try_table_open(relid, AccessExclusiveLock);
	SubTransactionId subid = GetCurrentSubTransactionId();
	ReindexParams params = {0};

	if (rel == NULL)
		return;
	CheckTableNotInUse(rel, "TRUNCATE");
	if (rel->rd_createSubid == subid || mdb_new_file_subid(rel) == subid)
	{
		heap_truncate_one_rel(rel);
		table_close(rel, NoLock);
		return;
	}
	CheckTableForSerializableConflictIn(rel);
	mdb_new_file(rel);
	table_close(rel, NoLock);
	mdb_reindex_relation(relid, &params);
}

/*
 * mdb_feeds_truncated - a table was emptied.
 */
void
mdb_feeds_truncated(Relation rel)
{
	Snapshot snapshot = mdb_latest_snapshot();
	int count;
	MdbAggregate *aggregates =
		mdb_aggregates_by(MDB_AGGREGATE_SOURCE, RelationGetRelid(rel), snapshot, &count);

	UnregisterSnapshot(snapshot);
	for (int i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		truncate_states(aggregates[i].aggregate);
		mdb_dirty_forget_aggregate(aggregates[i].aggregate);
		if (aggregates[i].floor != PG_INT64_MIN)
			mdb_aggregate_forget_floor(aggregates[i].aggregate);
	}
	if (count > 0)
		CommandCounterIncrement();
}

/*
 * mdb_feeds_dropped - a table of ours was dropped: it may have been an aggregate's states.
 */
void
mdb_feeds_dropped(Oid relid)
{
	Snapshot snapshot;
	MdbAggregate *a = NULL;

	if (!OidIsValid(mdb_catalog_relid("continuous_aggregate", true)))
		return;
	snapshot = mdb_latest_snapshot();
	a = mdb_aggregate_get(relid, snapshot);
	UnregisterSnapshot(snapshot);
	if (a)
		mdb_aggregate_delete(relid);
}

/*
 * mdb_feeds_refuse_leaving - raise ERRCODE_OBJECT_IN_USE if a table that is to get another access method is an
 * aggregate's source or its states.
 */
void
mdb_feeds_refuse_leaving(Oid relid)
{
	Snapshot snapshot = mdb_latest_snapshot();
	int count;
	MdbAggregate *own = mdb_aggregate_get(relid, snapshot);

	(void) mdb_aggregates_by(MDB_AGGREGATE_SOURCE, relid, snapshot, &count);
	UnregisterSnapshot(snapshot);
	if (own == NULL && count == 0)
		return;
	ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("cannot change the access method of table \"%s\"", get_rel_name(relid)),
					own ? errdetail("A continuous aggregate keeps its states in it.")
						: errdetail_plural("%d continuous aggregate is made of it.",
										   "%d continuous aggregates are made of it.", count, count),
					errhint("Drop the continuous aggregates before.")));
}

static void
xact_callback(XactEvent event, void *arg)
{
	/* What was noted went with the transaction's memory. */
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		noted_storage = 0;
}

/*
 * mdb_feeds_init - at load: follow transactions.
 */
void
mdb_feeds_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
}
