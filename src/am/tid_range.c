/*
 * tid_range.c
 *	  Scans of ranges of identities: parts, blocks and pages that lie outside of them are not read.
 *
 * The order is that of any scan, not that of identities.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"

#include "am/scan_internal.h"

static bool
inside(const MdbScan *s, ItemPointer tid)
{
	return ItemPointerCompare(tid, (ItemPointer) &s->tid_min) >= 0 &&
		   ItemPointerCompare(tid, (ItemPointer) &s->tid_max) <= 0;
}

/*
 * mdb_scan_rows_outside_range - has the scan a range of identities, and are these n rows of a part outside of it?
 */
bool
mdb_scan_rows_outside_range(const MdbScan *s, int64 first, int64 n)
{
	ItemPointerData lo, hi;

	if (!s->ranged)
		return false;
	mdb_tid_of_row(first, &lo);
	mdb_tid_of_row(first + n - 1, &hi);
	return ItemPointerCompare(&hi, (ItemPointer) &s->tid_min) < 0 ||
		   ItemPointerCompare(&lo, (ItemPointer) &s->tid_max) > 0;
}

/*
 * mdb_scan_begin_delta_range - a scan of the open heap of the delta, of pages that rows of the range may be on.
 */
TableScanDesc
mdb_scan_begin_delta_range(MdbScan *s)
{
	BlockNumber most = (1u << MDB_TID_SLOT_SHIFT) - 1;
	ItemPointerData heap_min, heap_max;
	ItemPointerData first, last;

	ItemPointerSet(&heap_min, 0, FirstOffsetNumber);
	ItemPointerSet(&heap_max, most, MaxOffsetNumber);
	mdb_tid_of_delta(s->deltas[s->delta].slot, &heap_min, &first);
	mdb_tid_of_delta(s->deltas[s->delta].slot, &heap_max, &last);
	if (ItemPointerCompare(&last, &s->tid_min) < 0 || ItemPointerCompare(&first, &s->tid_max) > 0)
		ItemPointerSet(&heap_max, 0, InvalidOffsetNumber);
	else
	{
		if (ItemPointerCompare(&s->tid_min, &first) > 0)
			mdb_tid_in_heap(&s->tid_min, &heap_min);
		if (ItemPointerCompare(&s->tid_max, &last) < 0)
			mdb_tid_in_heap(&s->tid_max, &heap_max);
	}
	return table_beginscan_tidrange(s->delta_rel, s->base.rs_snapshot, &heap_min, &heap_max);
}

/*
 * mdb_scan_set_tidrange - from now on, rows whose identities lie in a range.
 */
void
mdb_scan_set_tidrange(TableScanDesc scan, ItemPointer min, ItemPointer max)
{
	MdbScan *s = (MdbScan *) scan;

	s->tid_min = *min;
	s->tid_max = *max;
	s->ranged = s->filtered = true;
}

/*
 * mdb_scan_getnextslot_tidrange - the next of them.
 */
bool
mdb_scan_getnextslot_tidrange(TableScanDesc scan, ScanDirection direction, TupleTableSlot *slot)
{
	while (mdb_scan_getnextslot(scan, direction, slot))
		if (inside((MdbScan *) scan, &slot->tts_tid))
			return true;
	return false;
}
