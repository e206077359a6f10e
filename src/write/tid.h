/*
 * tid.h
 *	  Identities of rows, as commands and indexes know them.
 */
#ifndef MDB_TID_H
#define MDB_TID_H

#include "storage/itemptr.h"

#include "store/store.h"

/*
 * The top bit of the block number tells rows of parts, which are known by their row number in the
 * storage.  For a row of the delta two bits tell the slot, counted from the row heap's down, so that
 * rows of the row heap have the ctid that they have in it.  Blocks of rows of parts are narrow, then wide: see
 * store.h.
 */
#define MDB_TID_PART       0x80000000u
#define MDB_TID_SLOT_SHIFT 29
#define MDB_TID_SLOTS      4

static inline void
mdb_tid_of_row(int64 row, ItemPointer tid)
{
	const int64 narrow = mdb_narrow_blocks();
	const int64 wide = row - narrow * MDB_NARROW_ROWS;

	if (unlikely(row >= MDB_ROWS_END))
		ItemPointerSetInvalid(tid); /* of a damaged part */
	else if (wide < 0)
		ItemPointerSet(tid, MDB_TID_PART | (BlockNumber) (row / MDB_NARROW_ROWS),
					   (OffsetNumber) (1 + row % MDB_NARROW_ROWS));
	else
		ItemPointerSet(tid, MDB_TID_PART | (BlockNumber) (narrow + wide / MDB_WIDE_ROWS),
					   (OffsetNumber) (1 + wide % MDB_WIDE_ROWS));
}

static inline int64
mdb_row_of_tid(ItemPointer tid)
{
	const int64 narrow = mdb_narrow_blocks();
	const int64 block = ItemPointerGetBlockNumberNoCheck(tid) & ~MDB_TID_PART;
	const int64 at = ItemPointerGetOffsetNumberNoCheck(tid) - 1;

	if (block < narrow)
		return block * MDB_NARROW_ROWS + at;
	return narrow * MDB_NARROW_ROWS + (block - narrow) * MDB_WIDE_ROWS + at;
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
