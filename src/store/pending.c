/*
 * pending.c
 *	  The only code that reads and writes metricsdb.pending: what of a part an aggregate has not taken yet.
 *
 * A row is inserted with the part's, so both are there for the same snapshots.  Who applies an aggregate locks
 * the rows before he takes the snapshot that he reads with; who merges parts locks those of his inputs.
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
	Anum_pending_storage_id = 1,
	Anum_pending_part_id,
	Anum_pending_aggregate,
	Anum_pending_time_from,
	Anum_pending_time_to,
	Anum_pending_backfill,
	Natts_pending = Anum_pending_backfill
};

static void
from_tuple(MdbPending *p, HeapTuple tuple, TupleDesc desc)
{
	Datum v[Natts_pending];
	bool n[Natts_pending];

	heap_deform_tuple(tuple, desc, v, n);
	p->tid = tuple->t_self;
	p->storage_id = DatumGetInt64(v[Anum_pending_storage_id - 1]);
	p->part_id = DatumGetInt64(v[Anum_pending_part_id - 1]);
	p->aggregate = DatumGetObjectId(v[Anum_pending_aggregate - 1]);
	p->time_from = DatumGetInt64(v[Anum_pending_time_from - 1]);
	p->time_to = DatumGetInt64(v[Anum_pending_time_to - 1]);
	p->backfill = DatumGetBool(v[Anum_pending_backfill - 1]);
}

static void
to_values(const MdbPending *p, Datum *v)
{
	v[Anum_pending_storage_id - 1] = Int64GetDatum(p->storage_id);
	v[Anum_pending_part_id - 1] = Int64GetDatum(p->part_id);
	v[Anum_pending_aggregate - 1] = ObjectIdGetDatum(p->aggregate);
	v[Anum_pending_time_from - 1] = Int64GetDatum(p->time_from);
	v[Anum_pending_time_to - 1] = Int64GetDatum(p->time_to);
	v[Anum_pending_backfill - 1] = BoolGetDatum(p->backfill);
}

static int
pending_cmp(const void *a, const void *b)
{
	const MdbPending *x = a, *y = b;

	if (x->part_id != y->part_id)
		return x->part_id < y->part_id ? -1 : 1;
	return x->aggregate < y->aggregate ? -1 : x->aggregate > y->aggregate;
}

/* The rows that keys find, of one aggregate or of all. */
static MdbPendingList *
list_rows(int nkeys, ScanKeyData *keys, Oid aggregate, Snapshot snapshot)
{
	MdbPendingList *list = palloc0(sizeof(MdbPendingList));
	Oid relid = mdb_catalog_relid("pending", true);
	int capacity = 16;
	Relation rel;
	MdbCatalogScan scan;
	HeapTuple tuple;

	list->rows = palloc(capacity * sizeof(MdbPending));
	if (!OidIsValid(relid))
		return list;
	rel = table_open(relid, AccessShareLock);
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, nkeys, keys);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		CHECK_FOR_INTERRUPTS();
		if (list->count == capacity)
		{
			capacity *= 2;
			list->rows = repalloc_huge(list->rows, capacity * sizeof(MdbPending));
		}
		from_tuple(&list->rows[list->count], tuple, RelationGetDescr(rel));
		if (!OidIsValid(aggregate) || list->rows[list->count].aggregate == aggregate)
			list->count++;
	}
	mdb_catalog_scan_end(&scan);
	table_close(rel, AccessShareLock);
	qsort(list->rows, list->count, sizeof(MdbPending), pending_cmp);
	return list;
}

/*
 * mdb_pending_list - what of a storage's parts an aggregate, or with InvalidOid any, has not taken for a snapshot;
 * by part id and aggregate, in CurrentMemoryContext.  Nothing while the extension is being dropped.
 */
MdbPendingList *
mdb_pending_list(int64 storage_id, Oid aggregate, Snapshot snapshot)
{
	ScanKeyData key;

	ScanKeyInit(&key, Anum_pending_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	return list_rows(1, &key, aggregate, snapshot);
}

/*
 * mdb_pending_of_part - the same of one part, for all aggregates.
 */
MdbPendingList *
mdb_pending_of_part(int64 storage_id, int64 part_id, Snapshot snapshot)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], Anum_pending_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(storage_id));
	ScanKeyInit(&keys[1], Anum_pending_part_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(part_id));
	return list_rows(2, keys, InvalidOid, snapshot);
}

/*
 * mdb_pending_find - the row of a part and an aggregate in a list, or NULL: all of the part is applied.
 */
MdbPending *
mdb_pending_find(const MdbPendingList *list, int64 part_id, Oid aggregate)
{
	MdbPending key = {.part_id = part_id, .aggregate = aggregate};

	return bsearch(&key, list->rows, list->count, sizeof(MdbPending), pending_cmp);
}

/*
 * mdb_pending_insert - a part has rows that an aggregate has not taken, as of a command.
 */
void
mdb_pending_insert(const MdbPending *p, CommandId cid)
{
	mdb_pending_insert_as(p, cid, 0);
}

/*
 * mdb_pending_insert_as - the same with heap_insert's options, which are those of the part's row.
 */
void
mdb_pending_insert_as(const MdbPending *p, CommandId cid, int options)
{
	Relation rel = mdb_catalog_open("pending", RowExclusiveLock);
	Datum v[Natts_pending];
	bool n[Natts_pending] = {0};

	to_values(p, v);
	mdb_catalog_insert(rel, v, n, cid, options);
	table_close(rel, NoLock);
}

/*
 * mdb_pending_lock - lock a row FOR UPDATE until the transaction's end; p is what it says now.
 *
 * False if it is gone, or, with LockWaitSkip, if somebody else has it.  With LockWaitError raises
 * ERRCODE_LOCK_NOT_AVAILABLE.
 */
bool
mdb_pending_lock(MdbPending *p, LockWaitPolicy wait)
{
	Relation rel = mdb_catalog_open("pending", RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ItemPointerData tid = p->tid;
	bool locked = mdb_catalog_lock(rel, &tid, LockTupleExclusive, wait, slot);

	if (locked)
	{
		from_tuple(p, ExecFetchSlotHeapTuple(slot, false, NULL), RelationGetDescr(rel));
		p->tid = tid;
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	return locked;
}

/*
 * mdb_pending_update - a row that the caller has locked says what p does now; tid is where it went.
 */
void
mdb_pending_update(MdbPending *p)
{
	Relation rel = mdb_catalog_open("pending", RowExclusiveLock);
	Datum v[Natts_pending];
	bool n[Natts_pending] = {0};
	HeapTuple tuple;

	to_values(p, v);
	tuple = heap_form_tuple(RelationGetDescr(rel), v, n);
	CatalogTupleUpdate(rel, &p->tid, tuple);
	p->tid = tuple->t_self;
	heap_freetuple(tuple);
	table_close(rel, NoLock);
}

/*
 * mdb_pending_delete - all of the part is applied, or it is gone.  The caller has locked the row.
 */
void
mdb_pending_delete(const MdbPending *p)
{
	mdb_catalog_delete_row("pending", &p->tid);
}

/*
 * mdb_pending_forget_part - a part goes.  False if somebody has locked a row of it: then none went.
 */
bool
mdb_pending_forget_part(int64 storage_id, int64 part_id)
{
	Snapshot snapshot;
	MdbPendingList *list;
	bool locked = true;

	mdb_catalog_keep("pending");
	snapshot = mdb_latest_snapshot();
	list = mdb_pending_of_part(storage_id, part_id, snapshot);
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < list->count && locked; i++)
		locked = mdb_pending_lock(&list->rows[i], LockWaitSkip);
	for (int i = 0; i < list->count && locked; i++)
		mdb_pending_delete(&list->rows[i]);
	pfree(list->rows);
	pfree(list);
	return locked;
}

/*
 * mdb_pending_forget_aggregate - an aggregate is no more.  Reads the whole catalog.
 */
void
mdb_pending_forget_aggregate(Oid aggregate)
{
	Snapshot snapshot;
	MdbPendingList *list;

	mdb_catalog_keep("pending");
	snapshot = mdb_latest_snapshot();
	list = list_rows(0, NULL, aggregate, snapshot);
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < list->count; i++)
		if (mdb_pending_lock(&list->rows[i], LockWaitBlock))
			mdb_pending_delete(&list->rows[i]);
}
