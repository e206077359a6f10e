/*
 * reset.c
 *	  What is left of an unlogged table after a crash, and how it goes on from there.
 *
 * The file is empty then, and its metapage that of a new one: incarnation 0.  The catalogs are
 * permanent and know nothing of it: they still have the rows of parts that are gone, of series,
 * and of delta heaps, whose number may have moved on from slot 0.  So before anything is written
 * to such a file its counters are raised beyond all that the catalogs know, the slot to write to
 * is set to a live one, and a new incarnation begins, which makes the old parts' rows void.
 * The dictionary's rows stay true: what they say of an id is not in the file.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "stop.h"
#include "store/aggregates.h"
#include "store/store.h"

#define Anum_shadow_run 2

/* The highest of first + more (0: nothing more) over all rows of a storage, whatever their state. */
static int64
highest(const char *catalog, int64 storage_id, AttrNumber first, AttrNumber more)
{
	Relation rel = mdb_catalog_open(catalog, AccessShareLock);
	TupleDesc desc = RelationGetDescr(rel);
	int64 result = 0;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, SnapshotAny, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;
		int64 n = DatumGetInt64(heap_getattr(tuple, first, desc, &isnull));

		if (more > 0)
			n += DatumGetInt64(heap_getattr(tuple, more, desc, &isnull));
		result = Max(result, n);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

/*
 * mdb_storage_revive - make a file that a crash has reset fit to be written to.
 *
 * To be called before anything is taken from the metapage for a write; the caller holds no lock
 * on it.  Does nothing to other files.
 */
void
mdb_storage_revive(Relation rel)
{
	MdbMeta meta;

	if (rel->rd_rel->relpersistence != RELPERSISTENCE_UNLOGGED)
		return;
	mdb_meta_read(rel, &meta);
	if (meta.incarnation != 0)
		return;

	mdb_space_lock(rel);
	mdb_meta_read(rel, &meta);
	if (meta.incarnation == 0)
	{
		Snapshot snapshot = mdb_latest_snapshot();
		MdbDeltaInfo *deltas;
		int count;

		mdb_delta_list(meta.storage_id, snapshot, &deltas, &count);
		UnregisterSnapshot(snapshot);
		for (int i = 0; i < count; i++)
			if (deltas[i].live)
				meta.delta_slot = deltas[i].slot;
		pfree(deltas);
		meta.next_part = highest("part", meta.storage_id, Anum_part_part_id, 0) + 1;
		meta.next_row = highest("part", meta.storage_id, Anum_part_row_first, Anum_part_nrows);
		/* Their heap is empty now, too: a number in a run that has a page would be taken for a dead row. */
		meta.next_row =
			Max(meta.next_row, (highest("shadow", meta.storage_id, Anum_shadow_run, 0) + 1) * MDB_RUN_ROWS);
		meta.next_row = Min(meta.next_row, mdb_rows_end());
		meta.row_limit = mdb_rows_end();
		meta.next_series = highest("series", meta.storage_id, Anum_series_id_max, 0) + 1;
		meta.incarnation = (int32) (GetCurrentTimestamp() / 1000 & 0x7ffffffe) + 1;
		MDB_STOP("revive.before");
		mdb_meta_restart(rel, &meta);
		MDB_STOP("revive.after");
	}
	mdb_space_unlock(rel);
}

/*
 * mdb_storage_forget_void - delete the rows of parts that went with an earlier incarnation of
 * the file.  True if there were any.
 */
bool
mdb_storage_forget_void(Relation rel)
{
	MdbMeta meta;
	Relation partrel;
	Snapshot snapshot;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool any = false;

	if (rel->rd_rel->relpersistence != RELPERSISTENCE_UNLOGGED)
		return false;
	mdb_meta_read(rel, &meta);
	partrel = mdb_catalog_open("part", RowExclusiveLock);
	snapshot = mdb_latest_snapshot();
	ScanKeyInit(&key, Anum_part_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(meta.storage_id));
	scan = systable_beginscan(partrel, mdb_catalog_index(partrel), true, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;

		if (DatumGetInt32(heap_getattr(tuple, Anum_part_incarnation, RelationGetDescr(partrel), &isnull)) ==
			meta.incarnation)
			continue;
		if (!mdb_pending_forget_part(
				meta.storage_id,
				DatumGetInt64(heap_getattr(tuple, Anum_part_part_id, RelationGetDescr(partrel), &isnull))))
			continue;
		simple_heap_delete(partrel, &tuple->t_self);
		MDB_STOP("revive.forget");
		any = true;
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(partrel, NoLock);
	return any;
}
