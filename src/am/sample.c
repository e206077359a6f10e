/*
 * sample.c
 *	  ANALYZE and TABLESAMPLE: rows by their number.
 *
 * What is sampled are the blocks of the parts, then the pages of the heaps of the delta, as many as there are when
 * the sample begins.  These are the units here.  A row of a block has an offset as one of a page has: 1 for the
 * first.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tsmapi.h"
#include "common/pg_prng.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "am/scan_internal.h"
#include "store/elsewhere.h"

/* Rows that ANALYZE looks at: several times what it keeps, read in order. */
#define ANALYZE_ROWS 150000
/* and that it is sent by nodes: as many as it keeps */
#define ANALYZE_ROWS_OF_NODES 30000

/* Pages of the delta's heaps, and what is on the present one. */
struct MdbSamplePages
{
	int64 *base; /* [ndeltas + 1] pages before each heap */
	int64 *rows; /* [pages + 1] rows before each page; NULL: not counted */
	MemoryContext mcxt;
	MinimalTuple tuples[MaxHeapTuplesPerPage];
	ItemPointerData tids[MaxHeapTuplesPerPage];
	HeapTupleHeaderData headers[MaxHeapTuplesPerPage];
	int16 at[MaxHeapTuplesPerPage + 1]; /* by offset: which of these, or -1 */
	OffsetNumber max_offset;
};

/* The heaps of the delta, and how many pages they have by now. */
static struct MdbSamplePages *
pages_of(MdbScan *s)
{
	struct MdbSamplePages *pages = s->pages;

	if (pages)
		return pages;
	pages = MemoryContextAllocZero(s->mcxt, sizeof(struct MdbSamplePages));
	pages->base = MemoryContextAllocZero(s->mcxt, sizeof(int64) * (s->ndeltas + 1));
	pages->mcxt = AllocSetContextCreate(s->mcxt, "metricsdb sample", ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < s->ndeltas; i++)
	{
		Relation heap = table_open(s->deltas[i].relid, AccessShareLock);

		pages->base[i + 1] = pages->base[i] + RelationGetNumberOfBlocks(heap);
		table_close(heap, NoLock);
	}
	s->pages = pages;
	return pages;
}

static int64
unit_count(MdbScan *s)
{
	return s->parts->nblocks + pages_of(s)->base[s->ndeltas];
}

/* Is the tuple of the delta that was read last a row? */
static bool
is_row(MdbScan *s)
{
	bool isnull;

	(void) slot_getattr(s->delta_slot, Anum_delta_row, &isnull);
	return !isnull && !mdb_scan_delta_superseded(s);
}

/* Read the rows of a page. */
static void
open_page(MdbScan *s, int64 page)
{
	struct MdbSamplePages *pages = pages_of(s);
	int delta = (int) mdb_scan_find_base(pages->base, s->ndeltas, page);
	BlockNumber block = (BlockNumber) (page - pages->base[delta]);
	MemoryContext old = MemoryContextSwitchTo(s->mcxt);
	ItemPointerData first, last;
	uint32 n = 0;

	ItemPointerSet(&first, block, FirstOffsetNumber);
	ItemPointerSet(&last, block, MaxOffsetNumber);
	if (s->kind != UNIT_PAGE || s->delta != delta)
	{
		mdb_scan_leave_unit(s);
		s->delta = delta;
		s->delta_rel = table_open(s->deltas[delta].relid, AccessShareLock);
		s->delta_slot = table_slot_create(s->delta_rel, NULL);
		s->delta_scan = table_beginscan_tidrange(s->delta_rel, s->base.rs_snapshot, &first, &last);
	}
	else
		table_rescan_tidrange(s->delta_scan, &first, &last);

	MemoryContextReset(pages->mcxt);
	MemoryContextSwitchTo(pages->mcxt);
	memset(pages->at, -1, sizeof(pages->at));
	pages->max_offset = InvalidOffsetNumber;
	while (n < MaxHeapTuplesPerPage &&
		   table_scan_getnextslot_tidrange(s->delta_scan, ForwardScanDirection, s->delta_slot))
	{
		OffsetNumber offset = ItemPointerGetOffsetNumber(&s->delta_slot->tts_tid);
		bool should_free;

		if (!is_row(s) || offset > MaxHeapTuplesPerPage)
			continue;
		pages->tuples[n] = mdb_delta_tuple(s->delta_slot);
		memcpy(&pages->headers[n], ExecFetchSlotHeapTuple(s->delta_slot, false, &should_free)->t_data,
			   SizeofHeapTupleHeader);
		mdb_tid_of_delta(s->deltas[delta].slot, &s->delta_slot->tts_tid, &pages->tids[n]);
		pages->at[offset] = (int16) n++;
		pages->max_offset = offset;
	}
	s->kind = UNIT_PAGE;
	s->nrows = n;
	MemoryContextSwitchTo(old);
}

static void
open_unit(MdbScan *s, int64 unit)
{
	if (unit == s->unit && s->kind != UNIT_NONE)
		return;
	if (unit >= s->parts->nblocks)
		open_page(s, unit - s->parts->nblocks);
	else
		mdb_scan_enter_unit(s, unit, false);
	s->unit = unit;
}

/* Store a row of the open unit; false if it was deleted. */
static bool
unit_row(MdbScan *s, uint32 row, TupleTableSlot *slot)
{
	ExecClearTuple(slot);
	if (s->kind == UNIT_PAGE)
	{
		mdb_slot_store_tuple(slot, s->pages->tuples[row]);
		mdb_slot_set_header(slot, &s->pages->headers[row]);
		slot->tts_tid = s->pages->tids[row];
		slot->tts_tableOid = RelationGetRelid(s->base.rs_rd);
		return true;
	}
	if (s->dead && s->dead[row])
		return false;
	mdb_scan_store_row(s, row, slot);
	return true;
}

/* How many rows the scan sees: those of the delta are counted, page by page. */
static int64
count_rows(MdbScan *s)
{
	struct MdbSamplePages *pages = pages_of(s);
	int64 npages = pages->base[s->ndeltas];

	pages->rows =
		MemoryContextAllocExtended(s->mcxt, sizeof(int64) * (npages + 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < s->ndeltas; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(s->mcxt);

		mdb_scan_open_delta(s, i);
		MemoryContextSwitchTo(old);
		while (table_scan_getnextslot(s->delta_scan, ForwardScanDirection, s->delta_slot))
		{
			int64 page = pages->base[i] + ItemPointerGetBlockNumber(&s->delta_slot->tts_tid);

			CHECK_FOR_INTERRUPTS();
			if (page < pages->base[i + 1] && is_row(s))
				pages->rows[page + 1]++;
		}
		mdb_scan_leave_unit(s);
	}
	for (int64 p = 0; p < npages; p++)
		pages->rows[p + 1] += pages->rows[p];
	return s->parts->nrows + pages->rows[npages];
}

/* The unit that holds a row, numbered among all that were counted; which one it is there comes back in *in_unit. */
static int64
unit_of_row(MdbScan *s, int64 row, uint32 *in_unit)
{
	int64 page;

	if (row < s->parts->nrows)
	{
		int p = (int) mdb_scan_find_base(s->row_base, s->parts->count, row);
		int block = 0;

		if (s->open_part == NULL || s->part != p)
			mdb_scan_enter_unit(s, s->block_base[p], false);
		row -= s->row_base[p];
		while (row >= s->open_part->block_rows[block])
			row -= s->open_part->block_rows[block++];
		*in_unit = (uint32) row;
		return s->block_base[p] + block;
	}
	row -= s->parts->nrows;
	page = mdb_scan_find_base(s->pages->rows, s->pages->base[s->ndeltas], row);
	*in_unit = (uint32) (row - s->pages->rows[page]);
	return s->parts->nblocks + page;
}

/* ---------- rows of nodes ---------- */

/* The first block of a distributed table's file, which has its metapage alone, stands for what nodes have. */
typedef struct MdbTold
{
	double total;
	MinimalTuple *rows;
	int64 n;
	int64 room;
	TupleDesc desc;
} MdbTold;

static void
keep_row(void *arg, Datum *values, bool *isnull)
{
	MdbScan *s = arg;
	MdbTold *told = s->sample.told;
	MemoryContext old = MemoryContextSwitchTo(s->mcxt);

	if (told->n == told->room)
	{
		told->room *= 2;
		told->rows = repalloc_huge(told->rows, sizeof(MinimalTuple) * told->room);
	}
	told->rows[told->n++] = mdb_form_minimal_tuple(told->desc, values, isnull, 0);
	MemoryContextSwitchTo(old);
}

static void
ask_nodes(MdbScan *s)
{
	MdbTold *told = MemoryContextAllocZero(s->mcxt, sizeof(MdbTold));

	told->room = 1024;
	told->rows = MemoryContextAlloc(s->mcxt, sizeof(MinimalTuple) * told->room);
	told->desc = RelationGetDescr(s->base.rs_rd);
	s->sample.told = told;
	told->total = mdb_elsewhere->sample(s->base.rs_rd, ANALYZE_ROWS_OF_NODES, keep_row, s);
}

static bool
next_told(MdbScan *s, double *liverows, TupleTableSlot *slot)
{
	MdbSampleState *st = &s->sample;

	if (st->next >= st->end)
	{
		if (!st->reported)
			*liverows += st->covered;
		st->reported = true;
		return false;
	}
	ExecClearTuple(slot);
	mdb_slot_store_tuple(slot, st->told->rows[st->next]);
	slot->tts_tableOid = RelationGetRelid(s->base.rs_rd);
	/* Rows are put in the order of their places. */
	ItemPointerSet(&slot->tts_tid, (BlockNumber) (st->next / MaxHeapTuplesPerPage),
				   (OffsetNumber) (st->next % MaxHeapTuplesPerPage + 1));
	st->next++;
	return true;
}

/* ---------- ANALYZE ---------- */

/*
 * mdb_analyze_next_block - one of the file's blocks was chosen: it stands for an equal share of
 * the table's rows, in order.
 *
 * ANALYZE chooses among the physical blocks, of which a compressed table has few; so of each
 * share only some rows, evenly spaced, are read where there are many.
 */
bool
mdb_analyze_next_block(TableScanDesc scan, BlockNumber blockno, BufferAccessStrategy bstrategy)
{
	MdbScan *s = (MdbScan *) scan;
	MdbSampleState *st = &s->sample;
	int64 total;
	int64 lo, hi;

	if (st->nblocks == 0)
	{
		st->nblocks = Max(1, RelationGetNumberOfBlocks(scan->rs_rd));
		if (mdb_is_distributed(RelationGetRelid(scan->rs_rd)) && mdb_elsewhere)
			ask_nodes(s);
		else
			st->total = count_rows(s);
	}
	st->reported = false;
	if (st->told)
	{
		st->next = 0;
		st->end = blockno == 0 ? st->told->n : 0;
		st->covered = blockno == 0 ? (int64) st->told->total : 0;
		return true;
	}
	total = st->total;
	lo = (int64) ((int128) total * blockno / st->nblocks);
	hi = (int64) ((int128) total * (blockno + 1) / st->nblocks);
	st->step = Max(1, total / ANALYZE_ROWS);
	st->next = lo + (st->step > 1 ? (int64) pg_prng_uint64_range(&pg_global_prng_state, 0, st->step - 1) : 0);
	st->end = hi;
	st->covered = hi - lo;
	st->looked_at = st->found_dead = 0;
	return true;
}

/*
 * mdb_analyze_next_tuple - the next row of the share.
 */
bool
mdb_analyze_next_tuple(TableScanDesc scan, TransactionId oldest_xmin, double *liverows, double *deadrows,
					   TupleTableSlot *slot)
{
	MdbScan *s = (MdbScan *) scan;
	MdbSampleState *st = &s->sample;
	int64 unit;
	uint32 row;

	if (st->told)
		return next_told(s, liverows, slot);
	for (;;)
	{
		bool alive;

		if (st->next >= st->end)
		{
			/* The share's rows, and of them as many dead as among those that were looked at. */
			if (!st->reported && st->looked_at > 0)
			{
				double dead = (double) st->covered * st->found_dead / st->looked_at;

				*deadrows += dead;
				*liverows += st->covered - dead;
			}
			st->reported = true;
			return false;
		}
		unit = unit_of_row(s, st->next, &row);
		open_unit(s, unit);
		alive = row < s->nrows && unit_row(s, row, slot);
		st->next += st->step;
		st->looked_at++;
		if (alive)
			return true;
		st->found_dead++;
	}
}

/*
 * mdb_sample_next_block, mdb_sample_next_tuple - TABLESAMPLE: the units are its blocks.
 */
bool
mdb_sample_next_block(TableScanDesc scan, struct SampleScanState *state)
{
	MdbScan *s = (MdbScan *) scan;
	MdbSampleState *st = &s->sample;
	TsmRoutine *tsm = state->tsmroutine;
	int64 units = unit_count(s);

	if (tsm->NextSampleBlock)
	{
		BlockNumber b = tsm->NextSampleBlock(state, (BlockNumber) Min(units, (int64) MaxBlockNumber));

		if (!BlockNumberIsValid(b))
		{
			st->unit = 0;
			return false;
		}
		st->unit = (int64) b + 1;
	}
	else
		st->unit++;
	if (st->unit > units)
	{
		st->unit = 0;
		return false;
	}
	open_unit(s, st->unit - 1);
	/* Of blocks all rows, more than a heap's page can have: no more than fit into an offset. */
	StaticAssertStmt(MDB_BLOCK_ROWS_MAX < PG_UINT16_MAX, "rows of a block have no offsets");
	st->max_offset = s->kind == UNIT_PAGE ? s->pages->max_offset : (OffsetNumber) s->nrows;
	return true;
}

bool
mdb_sample_next_tuple(TableScanDesc scan, struct SampleScanState *state, TupleTableSlot *slot)
{
	MdbScan *s = (MdbScan *) scan;
	MdbSampleState *st = &s->sample;

	for (;;)
	{
		OffsetNumber offset =
			state->tsmroutine->NextSampleTuple(state, (BlockNumber) (st->unit - 1), st->max_offset);
		int row = offset - 1;

		CHECK_FOR_INTERRUPTS();
		/* Not OffsetNumberIsValid(), which is about pages. */
		if (offset == InvalidOffsetNumber)
		{
			ExecClearTuple(slot);
			return false;
		}
		if (s->kind == UNIT_PAGE)
			row = s->pages->at[offset];
		if (row >= 0 && unit_row(s, (uint32) row, slot))
			return true;
	}
}
