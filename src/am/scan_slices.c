/*
 * scan_slices.c
 *	  What TABLESAMPLE takes for the blocks of a table: slices of a scan's units.
 *
 * Sampling methods choose among the rows of a block by offsets, of which there are no more than MaxOffsetNumber; our
 * blocks have more rows, and heaps of the delta any number.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "storage/bufmgr.h"
#include "storage/off.h"
#include "utils/rel.h"

#include "am/am.h"
#include "am/scan_internal.h"

#define SLICE_ROWS      MaxOffsetNumber
#define SLICES_OF_BLOCK ((MDB_BLOCK_ROWS_MAX + SLICE_ROWS - 1) / SLICE_ROWS)

/* Slices of a delta's heap, such as it was when the scan first asked: no row that it sees is behind that. */
static int64
delta_slices(MdbScan *s, int delta)
{
	if (s->delta_slices == NULL)
	{
		s->delta_slices = MemoryContextAlloc(s->mcxt, sizeof(int64) * s->ndeltas);
		for (int i = 0; i < s->ndeltas; i++)
		{
			Relation rel = table_open(s->deltas[i].relid, AccessShareLock);
			int64 rows = (int64) RelationGetNumberOfBlocks(rel) * MaxHeapTuplesPerPage;

			s->delta_slices[i] = (rows + SLICE_ROWS - 1) / SLICE_ROWS;
			table_close(rel, NoLock);
		}
	}
	return s->delta_slices[delta];
}

/*
 * mdb_scan_slice_count - how many slices there are to sample from.  A slice is a stretch of a unit's rows, no more
 * of them than sampling methods can count in a block; many are empty.
 */
int64
mdb_scan_slice_count(TableScanDesc scan)
{
	MdbScan *s = (MdbScan *) scan;
	int64 n = s->parts->nblocks * SLICES_OF_BLOCK;

	for (int i = 0; i < s->ndeltas; i++)
		n += delta_slices(s, i);
	return n;
}

/*
 * mdb_scan_open_slice - go to a slice; returns how many rows it has, and the number of the first in the unit.
 */
uint32
mdb_scan_open_slice(TableScanDesc scan, int64 slice, uint32 *first)
{
	MdbScan *s = (MdbScan *) scan;
	int64 blocks = s->parts->nblocks * SLICES_OF_BLOCK;
	int64 unit = slice / SLICES_OF_BLOCK;
	uint32 n;

	if (slice < blocks)
		slice %= SLICES_OF_BLOCK;
	else
	{
		unit = s->parts->nblocks;
		for (slice -= blocks; slice >= delta_slices(s, (int) (unit - s->parts->nblocks)); unit++)
			slice -= delta_slices(s, (int) (unit - s->parts->nblocks));
	}
	n = mdb_scan_open_unit(scan, unit);
	*first = (uint32) slice * SLICE_ROWS;
	return n > *first ? Min(n - *first, SLICE_ROWS) : 0;
}
