/*
 * tid.h
 *	  Identities of rows, as commands and indexes know them.
 */
#ifndef MDB_TID_H
#define MDB_TID_H

#include "access/htup_details.h"
#include "storage/itemptr.h"

/*
 * The top bit of the block number tells rows of parts, which are known by their row number in the
 * storage.  For a row of the delta two bits tell the slot, counted from the row heap's down, so that
 * rows of the row heap have the ctid that they have in it.  A block has as many rows as one of a heap may have:
 * PostgreSQL's bitmaps have room for no more.
 */
#define MDB_TID_PART           0x80000000u
#define MDB_TID_SLOT_SHIFT     29
#define MDB_TID_SLOTS          4
#define MDB_TID_ROWS_PER_BLOCK MaxHeapTuplesPerPage

/* Row numbers from here on have no identity: such rows can be read, but not be changed or indexed. */
#define MDB_TID_ROWS_MAX ((int64) (MDB_TID_PART - 1) * MDB_TID_ROWS_PER_BLOCK)

static inline void
mdb_tid_of_row(int64 row, ItemPointer tid)
{
	if (unlikely(row >= MDB_TID_ROWS_MAX))
	{
		ItemPointerSetInvalid(tid);
		return;
	}
	ItemPointerSet(tid, MDB_TID_PART | (BlockNumber) (row / MDB_TID_ROWS_PER_BLOCK),
				   (OffsetNumber) (1 + row % MDB_TID_ROWS_PER_BLOCK));
}

static inline int64
mdb_row_of_tid(ItemPointer tid)
{
	return (int64) (ItemPointerGetBlockNumberNoCheck(tid) & ~MDB_TID_PART) * MDB_TID_ROWS_PER_BLOCK +
		   ItemPointerGetOffsetNumberNoCheck(tid) - 1;
}

static inline bool
mdb_tid_is_delta(ItemPointer tid)
{
	return (ItemPointerGetBlockNumberNoCheck(tid) & MDB_TID_PART) == 0;
}

static inline int16
mdb_tid_slot(ItemPointer tid)
{
	return (int16) (MDB_TID_SLOTS - 1 - (ItemPointerGetBlockNumberNoCheck(tid) >> MDB_TID_SLOT_SHIFT));
}

/* Where a row of the delta is in its heap. */
static inline void
mdb_tid_in_heap(ItemPointer tid, ItemPointer heap)
{
	ItemPointerSet(heap, ItemPointerGetBlockNumberNoCheck(tid) & ((1u << MDB_TID_SLOT_SHIFT) - 1),
				   ItemPointerGetOffsetNumberNoCheck(tid));
}

static inline void
mdb_tid_of_delta(int16 slot, ItemPointer heap, ItemPointer tid)
{
	ItemPointerSet(
		tid, (BlockNumber) (MDB_TID_SLOTS - 1 - slot) << MDB_TID_SLOT_SHIFT | ItemPointerGetBlockNumber(heap),
		ItemPointerGetOffsetNumber(heap));
}

#endif /* MDB_TID_H */
