/*
 * dirty.c
 *	  The only code that reads and writes metricsdb.dirty: times whose buckets an aggregate has to make again.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/aggregates.h"
#include "store/store.h"

enum
{
	Anum_dirty_aggregate = 1,
	Anum_dirty_time_from,
	Anum_dirty_time_to,
	Anum_dirty_flagged,
	Natts_dirty = Anum_dirty_flagged
};

static void
from_tuple(MdbDirty *d, HeapTuple tuple, TupleDesc desc)
{
	Datum v[Natts_dirty];
	bool n[Natts_dirty];

	heap_deform_tuple(tuple, desc, v, n);
	d->tid = tuple->t_self;
	d->aggregate = DatumGetObjectId(v[Anum_dirty_aggregate - 1]);
	d->time_from = DatumGetInt64(v[Anum_dirty_time_from - 1]);
	d->time_to = DatumGetInt64(v[Anum_dirty_time_to - 1]);
	d->flagged = DatumGetBool(v[Anum_dirty_flagged - 1]);
}

static int
dirty_cmp(const void *a, const void *b)
{
	const MdbDirty *x = a, *y = b;

	if (x->time_from != y->time_from)
		return x->time_from < y->time_from ? -1 : 1;
	return x->time_to < y->time_to ? -1 : x->time_to > y->time_to;
}

/*
 * mdb_dirty_list - what an aggregate has to make again, as a snapshot sees it; by time, in CurrentMemoryContext.
 * Ranges may overlap.  flagged_too: also what it cannot make again.  Nothing while the extension is being dropped.
 */
MdbDirtyList *
mdb_dirty_list(Oid aggregate, Snapshot snapshot, bool flagged_too)
{
	MdbDirtyList *list = palloc0(sizeof(MdbDirtyList));
	Oid relid = mdb_catalog_relid("dirty", true);
	int capacity = 16;
	Relation rel;
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;

	list->rows = palloc(capacity * sizeof(MdbDirty));
	if (!OidIsValid(relid))
		return list;
	rel = table_open(relid, AccessShareLock);
	ScanKeyInit(&key, Anum_dirty_aggregate, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(aggregate));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 1, &key);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		CHECK_FOR_INTERRUPTS();
		if (list->count == capacity)
		{
			capacity *= 2;
			list->rows = repalloc_huge(list->rows, capacity * sizeof(MdbDirty));
		}
		from_tuple(&list->rows[list->count], tuple, RelationGetDescr(rel));
		if (flagged_too || !list->rows[list->count].flagged)
			list->count++;
	}
	mdb_catalog_scan_end(&scan);
	table_close(rel, AccessShareLock);
	qsort(list->rows, list->count, sizeof(MdbDirty), dirty_cmp);
	return list;
}

/*
 * mdb_dirty_insert - buckets that touch a range of times are to be made again, as of a command.
 */
void
mdb_dirty_insert(Oid aggregate, int64 time_from, int64 time_to, bool flagged, CommandId cid)
{
	Relation rel = mdb_catalog_open("dirty", RowExclusiveLock);
	Datum v[Natts_dirty];
	bool n[Natts_dirty] = {0};

	v[Anum_dirty_aggregate - 1] = ObjectIdGetDatum(aggregate);
	v[Anum_dirty_time_from - 1] = Int64GetDatum(time_from);
	v[Anum_dirty_time_to - 1] = Int64GetDatum(time_to);
	v[Anum_dirty_flagged - 1] = BoolGetDatum(flagged);
	mdb_catalog_insert(rel, v, n, cid, 0);
	table_close(rel, NoLock);
}

/*
 * mdb_dirty_lock - lock a row FOR UPDATE until the transaction's end; d is what it says now.
 *
 * False if it is gone, or, with LockWaitSkip, if somebody else has it.  With LockWaitError raises
 * ERRCODE_LOCK_NOT_AVAILABLE.
 */
bool
mdb_dirty_lock(MdbDirty *d, LockWaitPolicy wait)
{
	Relation rel = mdb_catalog_open("dirty", RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ItemPointerData tid = d->tid;
	bool locked = mdb_catalog_lock(rel, &tid, LockTupleExclusive, wait, slot);

	if (locked)
	{
		from_tuple(d, ExecFetchSlotHeapTuple(slot, false, NULL), RelationGetDescr(rel));
		d->tid = tid;
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	return locked;
}

/*
 * mdb_dirty_flag - the range cannot be made again: the source is gone there.  The caller has locked the row.
 */
void
mdb_dirty_flag(const MdbDirty *d)
{
	Relation rel = mdb_catalog_open("dirty", RowExclusiveLock);
	ItemPointerData tid = d->tid;
	Datum v[Natts_dirty];
	bool n[Natts_dirty] = {0};

	v[Anum_dirty_aggregate - 1] = ObjectIdGetDatum(d->aggregate);
	v[Anum_dirty_time_from - 1] = Int64GetDatum(d->time_from);
	v[Anum_dirty_time_to - 1] = Int64GetDatum(d->time_to);
	v[Anum_dirty_flagged - 1] = BoolGetDatum(true);
	CatalogTupleUpdate(rel, &tid, heap_form_tuple(RelationGetDescr(rel), v, n));
	table_close(rel, NoLock);
}

/*
 * mdb_dirty_delete - the range was made again.  The caller has locked the row.
 */
void
mdb_dirty_delete(const MdbDirty *d)
{
	mdb_catalog_delete_row("dirty", &d->tid);
}

/*
 * mdb_dirty_forget_aggregate - an aggregate is no more, or has nothing to make again.
 */
void
mdb_dirty_forget_aggregate(Oid aggregate)
{
	Snapshot snapshot;
	MdbDirtyList *list;

	mdb_catalog_keep("dirty");
	snapshot = mdb_latest_snapshot();
	list = mdb_dirty_list(aggregate, snapshot, true);
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < list->count; i++)
		if (mdb_dirty_lock(&list->rows[i], LockWaitBlock))
			mdb_dirty_delete(&list->rows[i]);
}
