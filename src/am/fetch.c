/*
 * fetch.c
 *	  A row by its identity.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "am/am.h"

static bool
fetch_delta(Relation rel, const MdbTable *table, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot)
{
	int16 delta_slot =
		(int16) ((ItemPointerGetBlockNumberNoCheck(tid) & ~MDB_TID_DELTA) >> MDB_TID_SLOT_SHIFT);
	MdbDeltaInfo *deltas;
	int count;
	bool found = false;

	mdb_delta_live(table, snapshot, &deltas, &count);
	for (int i = 0; i < count && !found; i++)
	{
		Relation delta;
		TupleTableSlot *heapslot;
		ItemPointerData heap_tid;

		if (deltas[i].slot != delta_slot)
			continue;
		ItemPointerSet(&heap_tid, ItemPointerGetBlockNumberNoCheck(tid) & ((1u << MDB_TID_SLOT_SHIFT) - 1),
					   ItemPointerGetOffsetNumberNoCheck(tid));
		delta = table_open(deltas[i].relid, AccessShareLock);
		if (ItemPointerGetBlockNumber(&heap_tid) < RelationGetNumberOfBlocks(delta))
		{
			heapslot = table_slot_create(delta, NULL);
			found = table_tuple_fetch_row_version(delta, &heap_tid, snapshot, heapslot);
			if (found)
			{
				mdb_slot_store_tuple(slot, mdb_delta_tuple(heapslot));
				slot_getallattrs(slot);
				ExecMaterializeSlot(slot);
			}
			ExecDropSingleTupleTableSlot(heapslot);
		}
		table_close(delta, NoLock);
	}
	pfree(deltas);
	return found;
}

/*
 * mdb_fetch_row_version - the row with this identity, if the snapshot sees it.
 */
bool
mdb_fetch_row_version(Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot)
{
	MdbTable *table = mdb_table(rel);
	bool found = false;

	ExecClearTuple(slot);
	if (!IsInParallelMode())
		mdb_buffer_flush_relation(RelationGetRelid(rel));
	if (mdb_tid_is_delta(tid))
		found = fetch_delta(rel, table, tid, snapshot, slot);
	else
	{
		int64 row = mdb_row_of_tid(tid);
		MdbPartList *list = mdb_parts_visible(table, snapshot);

		for (int i = 0; i < list->count && !found; i++)
		{
			MdbPartInfo *info = &list->parts[i];
			MdbPart *part;
			MdbBlock *block;
			int64 at = row - info->row_first;
			int b = 0;

			if (at < 0 || at >= info->nrows)
				continue;
			part = mdb_part_open(rel, info);
			while (at >= part->block_rows[b])
				at -= part->block_rows[b++];
			block = mdb_block_create(table, RelationGetDescr(rel), mdb_series_cache_create(table, snapshot));
			mdb_block_set(block, part, b);
			mdb_slot_store_row(slot, block, (uint32) at);
			ExecMaterializeSlot(slot);
			MemoryContextDelete(block->mcxt);
			mdb_part_close(part);
			found = true;
		}
	}
	if (found)
	{
		slot->tts_tid = *tid;
		slot->tts_tableOid = RelationGetRelid(rel);
	}
	return found;
}
