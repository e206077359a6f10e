/*
 * bitmap.c
 *	  Bitmap scans: rows whose identities a bitmap of indexes names, block by block of these.
 *
 * A row is fetched as by an index scan, see fetch.c: so what a snapshot sees, and what a serializable transaction
 * locks, is the same.  Of a block that the bitmap knows only as a whole, all rows are.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "am/am.h"

typedef struct BitmapScan
{
	TableScanDescData base;
	MdbFetch *fetch;
	BlockNumber block;
	bool whole; /* all rows of the block */
	int noffsets;
	int next;
	OffsetNumber offsets[MaxHeapTuplesPerPage];
} BitmapScan;

/*
 * mdb_bitmap_begin, _end, _rescan - see mdb_scan_begin() and the others.
 */
TableScanDesc
mdb_bitmap_begin(Relation rel, Snapshot snapshot, uint32 flags)
{
	BitmapScan *s;

	if (!IsInParallelMode())
		mdb_buffer_flush_relation(RelationGetRelid(rel));
	RelationIncrementReferenceCount(rel);
	s = palloc0(sizeof(BitmapScan));
	s->base.rs_rd = rel;
	s->base.rs_snapshot = snapshot;
	s->base.rs_flags = flags;
	s->block = InvalidBlockNumber;
	s->fetch = mdb_fetch_begin(rel);
	mdb_fetch_keep_heaps(s->fetch);
	return &s->base;
}

void
mdb_bitmap_end(TableScanDesc scan)
{
	Relation rel = scan->rs_rd;

	mdb_fetch_end(((BitmapScan *) scan)->fetch);
	if (scan->rs_flags & SO_TEMP_SNAPSHOT)
		UnregisterSnapshot(scan->rs_snapshot);
	pfree(scan);
	RelationDecrementReferenceCount(rel);
}

void
mdb_bitmap_rescan(TableScanDesc scan)
{
	BitmapScan *s = (BitmapScan *) scan;

	s->noffsets = s->next = 0;
}

/*
 * mdb_bitmap_is_new - has the scan never had a block?
 */
bool
mdb_bitmap_is_new(TableScanDesc scan)
{
	return ((BitmapScan *) scan)->block == InvalidBlockNumber;
}

/*
 * mdb_bitmap_set_block - go on with the next block of the bitmap: rows at n offsets, or all of them if n < 0.
 */
void
mdb_bitmap_set_block(TableScanDesc scan, BlockNumber block, const OffsetNumber *offsets, int n)
{
	BitmapScan *s = (BitmapScan *) scan;

	s->block = block;
	s->next = 0;
	s->whole = n < 0;
	s->noffsets = s->whole ? MaxHeapTuplesPerPage : n;
	for (int i = 0; i < s->noffsets; i++)
		s->offsets[i] = s->whole ? (OffsetNumber) (FirstOffsetNumber + i) : offsets[i];
}

/*
 * mdb_bitmap_next_row - the next row of the block that the scan's snapshot sees.
 */
bool
mdb_bitmap_next_row(TableScanDesc scan, TupleTableSlot *slot)
{
	BitmapScan *s = (BitmapScan *) scan;
	Relation rel = scan->rs_rd;

	while (s->next < s->noffsets)
	{
		ItemPointerData tid;
		bool again = false;
		bool found;

		CHECK_FOR_INTERRUPTS();
		ItemPointerSet(&tid, s->block, s->offsets[s->next++]);
		/* What indexes name is a chain of versions, each of which has a place of its own. */
		found = s->whole ? mdb_fetch_row(s->fetch, rel, &tid, scan->rs_snapshot, slot)
						 : mdb_fetch_entry(s->fetch, rel, &tid, scan->rs_snapshot, slot, &again, NULL);
		if (found)
		{
			pgstat_count_heap_fetch(rel);
			return true;
		}
	}
	return false;
}
