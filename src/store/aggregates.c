/*
 * aggregates.c
 *	  The only code that reads and writes metricsdb.continuous_aggregate.
 *
 * Changes of a row wait for whoever has locked it, as who applies an aggregate does for his transaction, and
 * are made to its last version.  They are seen by the next command of the transaction, which this begins.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "store/aggregates.h"
#include "store/store.h"

MdbFloorRaised mdb_floor_raised = NULL;

enum
{
	Anum_aggregate_aggregate = 1,
	Anum_aggregate_view,
	Anum_aggregate_source,
	Anum_aggregate_raw,
	Anum_aggregate_parent,
	Anum_aggregate_granularity,
	Anum_aggregate_materialized_only,
	Anum_aggregate_backfill,
	Anum_aggregate_lateness,
	Anum_aggregate_attached,
	Anum_aggregate_floor,
	Anum_aggregate_failures,
	Anum_aggregate_last_error,
	Anum_aggregate_last_error_at,
	Anum_aggregate_retry_at,
	Anum_aggregate_last_applied_at,
	Anum_aggregate_created_at,
	Anum_aggregate_kept_from,
	Natts_aggregate = Anum_aggregate_kept_from
};

/* What a row says; its strings in CurrentMemoryContext. */
static void
from_tuple(MdbAggregate *a, HeapTuple tuple, TupleDesc desc)
{
	Datum v[Natts_aggregate];
	bool n[Natts_aggregate];

	heap_deform_tuple(tuple, desc, v, n);
	memset(a, 0, sizeof(*a));
	a->tid = tuple->t_self;
	a->aggregate = DatumGetObjectId(v[Anum_aggregate_aggregate - 1]);
	a->view = DatumGetObjectId(v[Anum_aggregate_view - 1]);
	a->source = DatumGetObjectId(v[Anum_aggregate_source - 1]);
	a->raw = DatumGetObjectId(v[Anum_aggregate_raw - 1]);
	a->parent = DatumGetObjectId(v[Anum_aggregate_parent - 1]);
	a->granularity = DatumGetInt64(v[Anum_aggregate_granularity - 1]);
	a->materialized_only = DatumGetBool(v[Anum_aggregate_materialized_only - 1]);
	a->backfill = DatumGetBool(v[Anum_aggregate_backfill - 1]);
	a->lateness = *DatumGetIntervalP(v[Anum_aggregate_lateness - 1]);
	a->attached = DatumGetBool(v[Anum_aggregate_attached - 1]);
	a->floor = DatumGetInt64(v[Anum_aggregate_floor - 1]);
	a->failures = DatumGetInt32(v[Anum_aggregate_failures - 1]);
	if (!n[Anum_aggregate_last_error - 1])
		a->last_error = TextDatumGetCString(v[Anum_aggregate_last_error - 1]);
	if (!n[Anum_aggregate_last_error_at - 1])
		a->last_error_at = DatumGetTimestampTz(v[Anum_aggregate_last_error_at - 1]);
	if (!n[Anum_aggregate_retry_at - 1])
		a->retry_at = DatumGetTimestampTz(v[Anum_aggregate_retry_at - 1]);
	if (!n[Anum_aggregate_last_applied_at - 1])
		a->last_applied_at = DatumGetTimestampTz(v[Anum_aggregate_last_applied_at - 1]);
	a->created_at = DatumGetTimestampTz(v[Anum_aggregate_created_at - 1]);
	a->kept_from = DatumGetInt64(v[Anum_aggregate_kept_from - 1]);
}

/*
 * mdb_aggregate_get - the aggregate with this table of states as a snapshot sees it, in CurrentMemoryContext;
 * NULL if there is none.
 */
MdbAggregate *
mdb_aggregate_get(Oid aggregate, Snapshot snapshot)
{
	Relation rel = mdb_catalog_open("continuous_aggregate", AccessShareLock);
	MdbAggregate *a = NULL;
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_aggregate_aggregate, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(aggregate));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 1, &key);
	if (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		a = palloc(sizeof(MdbAggregate));
		from_tuple(a, tuple, RelationGetDescr(rel));
	}
	mdb_catalog_scan_end(&scan);
	table_close(rel, AccessShareLock);
	return a;
}

/* What MdbTable.feeds says. */
enum
{
	FEEDS_UNKNOWN = 0,
	FEEDS_NONE,
	FEEDS_SOME
};

/*
 * mdb_has_aggregates - is the table the source of some aggregate?
 *
 * Remembered with the relation, so that it costs nothing where there is none: mdb_aggregate_insert() and
 * mdb_aggregate_delete() tell those who remember.  The caller has a lock that keeps aggregates from being made, RowExclusiveLock
 * or another one that conflicts with ShareRowExclusiveLock; so what is true now is so for as long as he has it.
 */
bool
mdb_has_aggregates(Relation rel)
{
	uint8 feeds = mdb_table_peek(rel)->feeds;

	if (unlikely(feeds == FEEDS_UNKNOWN))
	{
		Snapshot snapshot = mdb_latest_snapshot();
		int count;
		MdbAggregate *list = mdb_aggregates_by(MDB_AGGREGATE_SOURCE, RelationGetRelid(rel), snapshot, &count);

		UnregisterSnapshot(snapshot);
		if (list)
			pfree(list);
		feeds = count > 0 ? FEEDS_SOME : FEEDS_NONE;
		/* What was cached may have gone meanwhile. */
		if (mdb_table_peek(rel) == rel->rd_amcache)
			((MdbTable *) rel->rd_amcache)->feeds = feeds;
	}
	return feeds == FEEDS_SOME;
}

static int
aggregate_cmp(const void *a, const void *b)
{
	const MdbAggregate *x = a, *y = b;

	return x->aggregate < y->aggregate ? -1 : x->aggregate > y->aggregate;
}

/* The rows of a scan, by OID of the states. */
static MdbAggregate *
collect(MdbCatalogScan *scan, bool backward, TupleDesc desc, int *count)
{
	int capacity = 4;
	MdbAggregate *list = palloc(capacity * sizeof(MdbAggregate));
	HeapTuple tuple;

	*count = 0;
	while (HeapTupleIsValid(tuple = backward ? mdb_catalog_scan_back(scan) : mdb_catalog_scan_next(scan)))
	{
		if (*count == capacity)
		{
			capacity *= 2;
			list = repalloc_huge(list, capacity * sizeof(MdbAggregate));
		}
		from_tuple(&list[(*count)++], tuple, desc);
	}
	qsort(list, *count, sizeof(MdbAggregate), aggregate_cmp);
	return list;
}

/*
 * mdb_aggregates_by - the aggregates of a source or of a raw table, or that of a view, as a snapshot sees them;
 * by OID of their states.  None while the extension is being dropped.
 */
MdbAggregate *
mdb_aggregates_by(MdbAggregateKey by, Oid relid, Snapshot snapshot, int *count)
{
	static const struct
	{
		AttrNumber attno;
		const char *index;
	} keys[] = {
		[MDB_AGGREGATE_VIEW] = {Anum_aggregate_view, "continuous_aggregate_view_idx"},
		[MDB_AGGREGATE_SOURCE] = {Anum_aggregate_source, "continuous_aggregate_source_idx"},
		[MDB_AGGREGATE_RAW] = {Anum_aggregate_raw, "continuous_aggregate_raw_idx"},
	};
	Oid catalog = mdb_catalog_relid("continuous_aggregate", true);
	Oid indexid = mdb_catalog_relid(keys[by].index, true);
	Relation rel, index;
	MdbAggregate *list;
	ScanKeyData key;
	MdbCatalogScan scan;

	*count = 0;
	if (!OidIsValid(catalog) || !OidIsValid(indexid))
		return NULL;
	rel = table_open(catalog, AccessShareLock);
	index = index_open(indexid, AccessShareLock);
	ScanKeyInit(&key, keys[by].attno, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	mdb_catalog_scan_begin_at(&scan, rel, index, snapshot, false, 1, &key);
	list = collect(&scan, true, RelationGetDescr(rel), count);
	mdb_catalog_scan_end_at(&scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return list;
}

/*
 * mdb_aggregates_all - all aggregates of the database.
 */
MdbAggregate *
mdb_aggregates_all(Snapshot snapshot, int *count)
{
	Relation rel = mdb_catalog_open("continuous_aggregate", AccessShareLock);
	MdbAggregate *list;
	MdbCatalogScan scan;

	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 0, NULL);
	list = collect(&scan, false, RelationGetDescr(rel), count);
	mdb_catalog_scan_end(&scan);
	table_close(rel, AccessShareLock);
	return list;
}

/* Lock an aggregate's row; slot gets its last version.  False if there is none, or somebody has it. */
static bool
lock_row(Relation rel, Oid aggregate, LockWaitPolicy wait, TupleTableSlot *slot)
{
	Snapshot snapshot = mdb_latest_snapshot();
	MdbAggregate *a = mdb_aggregate_get(aggregate, snapshot);

	UnregisterSnapshot(snapshot);
	return a != NULL && mdb_catalog_lock(rel, &a->tid, LockTupleNoKeyExclusive, wait, slot);
}

/*
 * mdb_aggregate_lock - lock an aggregate FOR NO KEY UPDATE until the transaction's end, as who applies it does;
 * what its row says now, in CurrentMemoryContext.
 *
 * NULL if it is not there, or, with LockWaitSkip, if somebody else has it.  With LockWaitError raises
 * ERRCODE_LOCK_NOT_AVAILABLE.
 */
MdbAggregate *
mdb_aggregate_lock(Oid aggregate, LockWaitPolicy wait)
{
	Relation rel = mdb_catalog_open("continuous_aggregate", RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	MdbAggregate *a = NULL;

	if (lock_row(rel, aggregate, wait, slot))
	{
		a = palloc(sizeof(MdbAggregate));
		from_tuple(a, ExecFetchSlotHeapTuple(slot, false, NULL), RelationGetDescr(rel));
		a->tid = slot->tts_tid;
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	return a;
}

/*
 * mdb_aggregate_insert - a new aggregate.  Whoever has cached whether the source has some is told.
 */
void
mdb_aggregate_insert(const MdbAggregate *a)
{
	Relation rel = mdb_catalog_open("continuous_aggregate", RowExclusiveLock);
	Interval lateness = a->lateness;
	Datum v[Natts_aggregate];
	bool n[Natts_aggregate] = {0};

	v[Anum_aggregate_aggregate - 1] = ObjectIdGetDatum(a->aggregate);
	v[Anum_aggregate_view - 1] = ObjectIdGetDatum(a->view);
	v[Anum_aggregate_source - 1] = ObjectIdGetDatum(a->source);
	v[Anum_aggregate_raw - 1] = ObjectIdGetDatum(a->raw);
	v[Anum_aggregate_parent - 1] = ObjectIdGetDatum(a->parent);
	v[Anum_aggregate_granularity - 1] = Int64GetDatum(a->granularity);
	v[Anum_aggregate_materialized_only - 1] = BoolGetDatum(a->materialized_only);
	v[Anum_aggregate_backfill - 1] = BoolGetDatum(a->backfill);
	v[Anum_aggregate_lateness - 1] = IntervalPGetDatum(&lateness);
	v[Anum_aggregate_attached - 1] = BoolGetDatum(a->attached);
	v[Anum_aggregate_floor - 1] = Int64GetDatum(a->floor);
	v[Anum_aggregate_failures - 1] = Int32GetDatum(a->failures);
	v[Anum_aggregate_last_error - 1] = a->last_error ? CStringGetTextDatum(a->last_error) : (Datum) 0;
	n[Anum_aggregate_last_error - 1] = a->last_error == NULL;
	v[Anum_aggregate_last_error_at - 1] = TimestampTzGetDatum(a->last_error_at);
	n[Anum_aggregate_last_error_at - 1] = a->last_error_at == 0;
	v[Anum_aggregate_retry_at - 1] = TimestampTzGetDatum(a->retry_at);
	n[Anum_aggregate_retry_at - 1] = a->retry_at == 0;
	v[Anum_aggregate_last_applied_at - 1] = TimestampTzGetDatum(a->last_applied_at);
	n[Anum_aggregate_last_applied_at - 1] = a->last_applied_at == 0;
	v[Anum_aggregate_created_at - 1] = TimestampTzGetDatum(a->created_at);
	v[Anum_aggregate_kept_from - 1] = Int64GetDatum(PG_INT64_MIN);
	mdb_catalog_insert(rel, v, n, GetCurrentCommandId(true), 0);
	CacheInvalidateRelcacheByRelid(a->source);
	/* Queries on it may be answered by this one from now on. */
	CacheInvalidateRelcacheByRelid(a->raw);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* An aggregate's row says something else in some columns; false if there is none. */
static bool
change(Oid aggregate, const Datum *v, const bool *n, const bool *replace)
{
	Relation rel = mdb_catalog_open("continuous_aggregate", RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	bool found = lock_row(rel, aggregate, LockWaitBlock, slot);

	if (found)
	{
		ItemPointerData tid = slot->tts_tid;

		CatalogTupleUpdate(rel, &tid,
						   heap_modify_tuple(ExecFetchSlotHeapTuple(slot, false, NULL), RelationGetDescr(rel),
											 unconstify(Datum *, v), unconstify(bool *, n),
											 unconstify(bool *, replace)));
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return found;
}

/*
 * mdb_aggregate_delete - the aggregate is no more; nor what it has not taken.  Waits for those who write to its source.
 */
void
mdb_aggregate_delete(Oid aggregate)
{
	Oid catalog = mdb_catalog_relid("continuous_aggregate", true);

	if (OidIsValid(catalog))
	{
		Relation rel = table_open(catalog, RowExclusiveLock);
		TupleTableSlot *slot = table_slot_create(rel, NULL);

		if (lock_row(rel, aggregate, LockWaitBlock, slot))
		{
			bool isnull;
			Oid source = DatumGetObjectId(slot_getattr(slot, Anum_aggregate_source, &isnull));

			/* Nobody is to make parts pending that has not heard of it. */
			LockRelationOid(source, ShareRowExclusiveLock);
			simple_heap_delete(rel, &slot->tts_tid);
			/* The source may be on its way out, too. */
			if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(source)))
				CacheInvalidateRelcacheByRelid(source);
		}
		ExecDropSingleTupleTableSlot(slot);
		table_close(rel, NoLock);
	}
	mdb_pending_forget_aggregate(aggregate);
	mdb_dirty_forget_aggregate(aggregate);
	CommandCounterIncrement();
}

/*
 * mdb_aggregate_set_attached - is the aggregate to be kept up to date?  If so, earlier failures do not count.
 */
void
mdb_aggregate_set_attached(Oid aggregate, bool attached)
{
	Datum v[Natts_aggregate] = {0};
	bool n[Natts_aggregate] = {0};
	bool replace[Natts_aggregate] = {0};

	v[Anum_aggregate_attached - 1] = BoolGetDatum(attached);
	replace[Anum_aggregate_attached - 1] = true;
	v[Anum_aggregate_failures - 1] = Int32GetDatum(0);
	n[Anum_aggregate_retry_at - 1] = true;
	replace[Anum_aggregate_failures - 1] = replace[Anum_aggregate_retry_at - 1] = attached;
	(void) change(aggregate, v, n, replace);
}

/*
 * mdb_aggregate_set_options - what the user may choose.
 */
void
mdb_aggregate_set_options(Oid aggregate, bool materialized_only, bool backfill, const Interval *lateness)
{
	Interval copy = *lateness;
	Datum v[Natts_aggregate] = {0};
	bool n[Natts_aggregate] = {0};
	bool replace[Natts_aggregate] = {0};

	v[Anum_aggregate_materialized_only - 1] = BoolGetDatum(materialized_only);
	v[Anum_aggregate_backfill - 1] = BoolGetDatum(backfill);
	v[Anum_aggregate_lateness - 1] = IntervalPGetDatum(&copy);
	replace[Anum_aggregate_materialized_only - 1] = replace[Anum_aggregate_backfill - 1] =
		replace[Anum_aggregate_lateness - 1] = true;
	(void) change(aggregate, v, n, replace);
}

/*
 * mdb_aggregate_raise_floor - raw has all its rows only from this time on; true if it had more before.  Then
 * mdb_floor_raised hears of it.
 */
bool
mdb_aggregate_raise_floor(Oid aggregate, int64 floor)
{
	MdbAggregate *a = mdb_aggregate_lock(aggregate, LockWaitBlock);
	Datum v[Natts_aggregate] = {0};
	bool n[Natts_aggregate] = {0};
	bool replace[Natts_aggregate] = {0};

	if (a == NULL || a->floor >= floor)
		return false;
	v[Anum_aggregate_floor - 1] = Int64GetDatum(floor);
	replace[Anum_aggregate_floor - 1] = true;
	if (!change(aggregate, v, n, replace))
		return false;
	if (mdb_floor_raised)
		mdb_floor_raised(aggregate, floor);
	return true;
}

/*
 * mdb_aggregate_raise_kept - retention has removed states with earlier buckets.  Does nothing if there is no such
 * aggregate.
 */
void
mdb_aggregate_raise_kept(Oid aggregate, int64 kept_from)
{
	MdbAggregate *a = mdb_aggregate_lock(aggregate, LockWaitBlock);
	Datum v[Natts_aggregate] = {0};
	bool n[Natts_aggregate] = {0};
	bool replace[Natts_aggregate] = {0};

	if (a == NULL || a->kept_from >= kept_from)
		return;
	v[Anum_aggregate_kept_from - 1] = Int64GetDatum(kept_from);
	replace[Anum_aggregate_kept_from - 1] = true;
	(void) change(aggregate, v, n, replace);
}

/*
 * mdb_aggregate_forget_floor - the source was emptied, and so were the states: nothing is missing any more.
 */
void
mdb_aggregate_forget_floor(Oid aggregate)
{
	Datum v[Natts_aggregate] = {0};
	bool n[Natts_aggregate] = {0};
	bool replace[Natts_aggregate] = {0};

	v[Anum_aggregate_floor - 1] = Int64GetDatum(PG_INT64_MIN);
	replace[Anum_aggregate_floor - 1] = true;
	if (change(aggregate, v, n, replace) && mdb_floor_raised)
		mdb_floor_raised(aggregate, PG_INT64_MIN);
}

/*
 * mdb_aggregate_note_applied - something was applied; earlier failures do not count any more.
 */
void
mdb_aggregate_note_applied(Oid aggregate, TimestampTz at)
{
	Datum v[Natts_aggregate] = {0};
	bool n[Natts_aggregate] = {0};
	bool replace[Natts_aggregate] = {0};

	v[Anum_aggregate_last_applied_at - 1] = TimestampTzGetDatum(at);
	v[Anum_aggregate_failures - 1] = Int32GetDatum(0);
	n[Anum_aggregate_retry_at - 1] = true;
	replace[Anum_aggregate_last_applied_at - 1] = replace[Anum_aggregate_failures - 1] =
		replace[Anum_aggregate_retry_at - 1] = true;
	(void) change(aggregate, v, n, replace);
}

/*
 * mdb_aggregate_note_failure - to apply it failed so many times in a row, and is tried again later.
 */
void
mdb_aggregate_note_failure(Oid aggregate, int failures, const char *message, TimestampTz retry_at)
{
	Datum v[Natts_aggregate] = {0};
	bool n[Natts_aggregate] = {0};
	bool replace[Natts_aggregate] = {0};

	v[Anum_aggregate_failures - 1] = Int32GetDatum(failures);
	v[Anum_aggregate_last_error - 1] = CStringGetTextDatum(message);
	v[Anum_aggregate_last_error_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	v[Anum_aggregate_retry_at - 1] = TimestampTzGetDatum(retry_at);
	replace[Anum_aggregate_failures - 1] = replace[Anum_aggregate_last_error - 1] =
		replace[Anum_aggregate_last_error_at - 1] = replace[Anum_aggregate_retry_at - 1] = true;
	(void) change(aggregate, v, n, replace);
}
