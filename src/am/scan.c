/*
 * scan.c
 *	  Sequential scans: the blocks of the visible parts, then the live delta heaps.
 *
 * These are the scan's units, numbered in that order.  A serial scan walks them in either
 * direction; a parallel one takes chunks of them from a shared counter.  The list of parts is
 * read under the scan's own snapshot when it begins, and never again.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/predicate.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "am/scan_internal.h"
#include "series/index.h"

#define PARALLEL_CHUNK 8                        /* blocks handed out at a time */
#define OPEN_BYTES_MAX ((Size) 8 * 1024 * 1024) /* of directories of parts that stay open */

#define VERDICT_PAGE   4096
#define VERDICT_YES    1
#define VERDICT_NO     2

static int64
unit_count(MdbScan *s)
{
	return s->parts->nblocks + s->ndeltas;
}

static void
close_delta(MdbScan *s)
{
	if (s->delta_scan)
		table_endscan(s->delta_scan);
	if (s->delta_slot)
		ExecDropSingleTupleTableSlot(s->delta_slot);
	/* The lock stays to the end of the transaction: it keeps the heap from being truncated. */
	if (s->delta_rel)
		table_close(s->delta_rel, NoLock);
	s->delta_scan = NULL;
	s->delta_slot = NULL;
	s->delta_rel = NULL;
}

void
mdb_scan_leave_unit(MdbScan *s)
{
	close_delta(s);
	s->kind = UNIT_NONE;
	s->nrows = 0;
}

/* Does the filter let rows of this series through?  Asked once a series. */
static bool
series_matches(MdbScan *s, uint32 id)
{
	uint32 page = id / VERDICT_PAGE;
	uint8 *verdict;

	if (page >= s->nverdicts)
	{
		uint32 n = Max(page + 1, s->nverdicts * 2);

		s->verdicts = s->verdicts ? repalloc(s->verdicts, n * sizeof(uint8 *))
								  : MemoryContextAlloc(s->mcxt, n * sizeof(uint8 *));
		memset(s->verdicts + s->nverdicts, 0, (n - s->nverdicts) * sizeof(uint8 *));
		s->nverdicts = n;
	}
	if (s->verdicts[page] == NULL)
		s->verdicts[page] = MemoryContextAllocZero(s->mcxt, VERDICT_PAGE);
	verdict = &s->verdicts[page][id % VERDICT_PAGE];
	if (*verdict == 0)
	{
		const bool *isnull;
		bool passes = s->filter.series_ids == NULL || mdb_ids_has(s->filter.series_ids, id);

		if (passes && !s->filter.series_exact)
		{
			const Datum *values = mdb_series_values(s->series_cache, id, &isnull);

			passes = s->filter.series_matches(s->filter.arg, values, isnull);
		}
		*verdict = passes ? VERDICT_YES : VERDICT_NO;
		s->counters.series_asked++;
		s->counters.series_matched += *verdict == VERDICT_YES;
	}
	return *verdict == VERDICT_YES;
}

/* Can no row of the part pass the filter?  By its catalog row alone. */
bool
mdb_scan_part_pruned(const MdbScan *s, const MdbPartInfo *info)
{
	if (!s->filtered)
		return false;
	if (mdb_scan_rows_outside_range(s, info->row_first, info->nrows))
		return true;
	if (s->filter.series_ids != NULL &&
		!mdb_ids_any_between(s->filter.series_ids, info->series_min, info->series_max))
		return true;
	return mdb_filter_outside_time(&s->filter, info->part_id, info->days != 0, info->time_min, info->time_max,
								   NULL);
}

/* Can no row of a block of the open part pass it, by its times?  Else: are they to be checked? */
static bool
block_outside_time(MdbScan *s, int block)
{
	const MdbPart *part = s->open_part;

	return s->filtered &&
		   mdb_filter_outside_time(&s->filter, part->info.part_id, part->has_time,
								   part->has_time ? part->time_first[block] : 0,
								   part->has_time ? part->time_last[block] : 0, &s->check_time);
}

/*
 * mdb_scan_block_outside_series - can no row of a block of a part pass the filter, by its series?
 */
bool
mdb_scan_block_outside_series(MdbScan *s, const MdbPart *part, int block)
{
	if (!s->filtered || s->filter.series_matches == NULL)
		return false;
	if (part->one_series)
		return !series_matches(s, (uint32) part->series_first[block]);
	return s->filter.series_ids != NULL &&
		   !mdb_ids_any_between(s->filter.series_ids, part->series_first[block], part->series_last[block]);
}

/* The same, of the open part; else: are they to be checked? */
static bool
block_outside_series(MdbScan *s, int block)
{
	const MdbPart *part = s->open_part;

	s->check_series = s->filtered && s->filter.series_matches != NULL && !part->one_series;
	return mdb_scan_block_outside_series(s, part, block);
}

/* The same, by what else the caller knows of its columns. */
static bool
block_unwanted(MdbScan *s, int block)
{
	return s->filtered && !s->skip && s->filter.block_wanted != NULL &&
		   !s->filter.block_wanted(s->filter.values_arg, s->open_part, block);
}

/* Is a block to be passed over because it is damaged?  Asked of those only that may be wanted. */
static bool
block_skipped(MdbScan *s, int block)
{
	return s->skip &&
		   !mdb_skip_load_block(s->block, s->open_part, block, (MdbParallelScan *) s->base.rs_parallel);
}

/*
 * mdb_scan_find_dead - which rows of a block of a part does the scan not see any more?  NULL if it sees all;
 * else *space, of *capacity bytes, which is made larger when it has to be.
 */
const uint8 *
mdb_scan_find_dead(MdbScan *s, MdbBlock *b, uint8 **space, uint32 *capacity)
{
	bool any;

	if (s->shadows == NULL && !mdb_superseded_any())
		return NULL;
	if (*capacity < b->nrows)
	{
		if (*space)
			pfree(*space);
		*capacity = Max(b->nrows, MDB_BLOCK_ROWS_MAX);
		*space = MemoryContextAlloc(s->mcxt, *capacity);
	}
	any =
		mdb_rows_dead(s->shadows, s->table->storage_id, b->row_first, b->nrows, s->base.rs_snapshot, *space);
	return any ? *space : NULL;
}

/*
 * mdb_scan_delta_superseded - is the tuple of the delta that was read last one that this transaction has changed
 * elsewhere?
 */
bool
mdb_scan_delta_superseded(MdbScan *s)
{
	return mdb_superseded_any() &&
		   mdb_superseded(s->table->storage_id,
						  mdb_moved_identity(s->deltas[s->delta].slot, &s->delta_slot->tts_tid),
						  s->base.rs_snapshot);
}

/*
 * mdb_scan_find_base - which of some, the last one of those that begin at or before a number.
 */
int64
mdb_scan_find_base(const int64 *base, int64 count, int64 number)
{
	int64 lo = 0, hi = count - 1;

	while (lo < hi)
	{
		int64 mid = (lo + hi + 1) / 2;

		if (base[mid] <= number)
			lo = mid;
		else
			hi = mid - 1;
	}
	return lo;
}

/* The part that a unit is a block of: most likely the one of the unit before. */
static int
part_of_unit(const MdbScan *s, int64 unit)
{
	int p = s->part;

	if (unit >= s->block_base[p] && unit < s->block_base[p + 1])
		return p;
	return (int) mdb_scan_find_base(s->block_base, s->parts->count, unit);
}

void
mdb_scan_open_delta(MdbScan *s, int delta)
{
	s->delta = delta;
	s->delta_rel = table_open(s->deltas[delta].relid, AccessShareLock);
	s->delta_slot = table_slot_create(s->delta_rel, NULL);
	s->delta_scan = s->ranged ? mdb_scan_begin_delta_range(s)
							  : table_beginscan(s->delta_rel, s->base.rs_snapshot, 0, NULL);
}

/*
 * mdb_scan_hold_part - open a part of the scan's list, unless it is open; NULL if it is damaged and to be
 * skipped.  It stays open until it is let go, or the scan ends.
 */
MdbPart *
mdb_scan_hold_part(TableScanDesc scan, int p)
{
	MdbScan *s = (MdbScan *) scan;
	const MdbPartInfo *info = &s->parts->parts[p];
	MdbPart *part = s->open[p];
	MemoryContext old;

	s->started = true;
	if (s->counted_in[p] != s->starts)
	{
		s->counted_in[p] = s->starts;
		s->counters.parts_read++;
		mdb_reads.parts++;
	}
	if (part != NULL || s->damaged[p])
		return part;
	old = MemoryContextSwitchTo(s->mcxt);
	if (!s->skip)
		part = mdb_part_open_cached(s->base.rs_rd, info);
	else
		part = mdb_skip_open_part(s->base.rs_rd, info, (MdbParallelScan *) s->base.rs_parallel);
	MemoryContextSwitchTo(old);
	s->open[p] = part;
	s->damaged[p] = part == NULL;
	if (part)
		s->open_bytes += mdb_directory_bytes(part->nblocks, part->ncolumns);
	return part;
}

/*
 * mdb_scan_let_part_go - close a part that is held.
 */
void
mdb_scan_let_part_go(TableScanDesc scan, int p)
{
	MdbScan *s = (MdbScan *) scan;
	MdbPart *part = s->open[p];

	if (part == NULL)
		return;
	s->open_bytes -= mdb_directory_bytes(part->nblocks, part->ncolumns);
	s->counters.bytes_read += part->bytes_read;
	mdb_part_close(part);
	s->open[p] = NULL;
	if (s->open_part == part)
		s->open_part = NULL;
}

/* Of the parts that the scan has been in some stay open: a scan that is started over comes again. */
static void
open_part(MdbScan *s, int p)
{
	if (s->open_part != NULL && s->part == p)
		return;
	if (s->open_part && s->open_bytes > OPEN_BYTES_MAX)
		mdb_scan_let_part_go(&s->base, s->part);
	s->part = p;
	s->open_part = mdb_scan_hold_part(&s->base, p);
}

/*
 * mdb_scan_enter_unit - go to a unit: before its first row, or behind its last one.
 */
void
mdb_scan_enter_unit(MdbScan *s, int64 unit, bool at_end)
{
	MemoryContext old = MemoryContextSwitchTo(s->mcxt);

	mdb_scan_leave_unit(s);
	s->started = true;
	s->unit = unit;
	s->check_time = s->check_series = false;
	if (unit < s->parts->nblocks)
	{
		int p = part_of_unit(s, unit);
		int block = (int) (unit - s->block_base[p]);

		if (mdb_scan_part_pruned(s, &s->parts->parts[p]))
		{
			/* No block of it is entered; serial scans do not even come here. */
			MemoryContextSwitchTo(old);
			return;
		}
		open_part(s, p);
		if (s->open_part == NULL || block_outside_time(s, block) ||
			mdb_scan_rows_outside_range(s, s->open_part->block_first[block],
										s->open_part->block_rows[block]) ||
			block_skipped(s, block) || block_outside_series(s, block) || block_unwanted(s, block))
		{
			s->counters.blocks_pruned++;
			MemoryContextSwitchTo(old);
			return;
		}
		s->counters.blocks_read++;
		mdb_reads.blocks++;
		if (!s->skip)
			mdb_block_set(s->block, s->open_part, block);
		s->kind = UNIT_BLOCK;
		s->masked = false;
		s->nrows = s->block->nrows;
		s->dead = mdb_scan_find_dead(s, s->block, &s->dead_space, &s->dead_capacity);
	}
	else if (!s->filtered || !s->filter.no_delta)
	{
		mdb_scan_open_delta(s, (int) (unit - s->parts->nblocks));
		s->kind = UNIT_DELTA;
	}
	s->row = at_end ? s->nrows : 0;
	s->on_row = false;
	MemoryContextSwitchTo(old);
}

/*
 * mdb_scan_store_row - a row of the present block into a slot.
 */
void
mdb_scan_store_row(MdbScan *s, uint32 row, TupleTableSlot *slot)
{
	mdb_slot_store_row(slot, s->block, row);
	mdb_tid_of_row(s->block->row_first + row, &slot->tts_tid);
	slot->tts_tableOid = RelationGetRelid(s->base.rs_rd);
}

bool
mdb_scan_next_delta_row(MdbScan *s, ScanDirection direction, TupleTableSlot *slot)
{
	for (;;)
	{
		MemoryContext old;
		MinimalTuple tuple;
		bool should_free;

		if (!table_scan_getnextslot(s->delta_scan, direction, s->delta_slot))
			return false;
		MemoryContextReset(s->row_mcxt);
		old = MemoryContextSwitchTo(s->row_mcxt);
		tuple = mdb_scan_delta_superseded(s) ? NULL : mdb_delta_tuple(s->delta_slot);
		if (tuple)
		{
			mdb_slot_store_tuple(slot, tuple);
			mdb_slot_set_header(slot, ExecFetchSlotHeapTuple(s->delta_slot, false, &should_free)->t_data);
		}
		MemoryContextSwitchTo(old);
		if (tuple)
			break;
		CHECK_FOR_INTERRUPTS();
	}
	s->counters.rows_delta++;
	mdb_tid_of_delta(s->deltas[s->delta].slot, &s->delta_slot->tts_tid, &slot->tts_tid);
	slot->tts_tableOid = RelationGetRelid(s->base.rs_rd);
	return true;
}

/* Next unit for this process, or -1. */
static int64
next_unit(MdbScan *s, bool forward)
{
	MdbParallelScan *shared = (MdbParallelScan *) s->base.rs_parallel;
	int64 nblocks = s->parts->nblocks;
	int64 nchunks = (nblocks + PARALLEL_CHUNK - 1) / PARALLEL_CHUNK;

	if (shared == NULL)
	{
		int64 unit = forward ? s->unit + 1 : s->unit - 1;

		/* Who begins backwards begins at the end, as with a heap. */
		if (!forward && s->fresh)
			unit = unit_count(s) - 1;
		s->fresh = false;
		/* Over parts of which nothing is wanted at once, and over blocks of other series. */
		while (s->filtered && unit >= 0 && unit < nblocks)
		{
			int p = part_of_unit(s, unit);
			int64 base = s->block_base[p];

			if (!mdb_scan_part_pruned(s, &s->parts->parts[p]))
			{
				if (!forward || s->open[p] == NULL)
					break;
				unit = base + mdb_scan_next_block(&s->base, s->open[p], (int) (unit - base));
				if (unit < s->block_base[p + 1])
					break;
				continue;
			}
			unit = forward ? s->block_base[p + 1] : base - 1;
		}
		return unit >= 0 && unit < unit_count(s) ? unit : -1;
	}
	if (s->chunk_next == s->chunk_end)
	{
		int64 chunk = (int64) pg_atomic_fetch_add_u64(&shared->next, 1);

		if (chunk < nchunks)
		{
			s->chunk_next = chunk * PARALLEL_CHUNK;
			s->chunk_end = Min(s->chunk_next + PARALLEL_CHUNK, nblocks);
		}
		else if (chunk < nchunks + s->ndeltas)
		{
			s->chunk_next = nblocks + chunk - nchunks;
			s->chunk_end = s->chunk_next + 1;
		}
		else
			return -1;
	}
	return s->chunk_next++;
}

/*
 * ALTER COLUMN TYPE scans with a slot of the old types, when the relation has the new ones.
 */
static void
use_desc(MdbScan *s, TupleDesc desc)
{
	MemoryContext old;
	TupleDesc present = s->block->desc;
	bool same = desc->natts == present->natts;

	s->slot_desc = desc;
	for (int i = 0; i < desc->natts && same; i++)
	{
		Form_pg_attribute x = TupleDescAttr(desc, i);
		Form_pg_attribute y = TupleDescAttr(present, i);

		same = x->atttypid == y->atttypid && x->attisdropped == y->attisdropped &&
			   x->atthasmissing == y->atthasmissing;
	}
	if (same || s->unit >= 0)
		return;
	mdb_feeds_note_types(s->base.rs_rd, desc);
	old = MemoryContextSwitchTo(s->mcxt);
	s->table = mdb_table_described(s->base.rs_rd, desc);
	s->series_cache = mdb_series_cache_create(s->table, s->base.rs_snapshot);
	s->block = mdb_block_create(s->table, desc, s->series_cache);
	MemoryContextSwitchTo(old);
}

/*
 * mdb_scan_getnextslot - the next row in the direction, into a slot of ours.
 */
bool
mdb_scan_getnextslot(TableScanDesc scan, ScanDirection direction, TupleTableSlot *slot)
{
	MdbScan *s = (MdbScan *) scan;
	bool forward = !ScanDirectionIsBackward(direction);

	ExecClearTuple(slot);
	if (unlikely(slot->tts_tupleDescriptor != s->slot_desc))
		use_desc(s, slot->tts_tupleDescriptor);
	for (;;)
	{
		int64 unit;

		if (s->kind == UNIT_DELTA)
		{
			if (mdb_scan_next_delta_row(s, direction, slot))
				break;
		}
		else if (s->kind != UNIT_NONE)
		{
			if (s->kind == UNIT_BLOCK && !s->masked)
			{
				s->dead = mdb_scan_mask(s, s->block, s->check_time, s->check_series, s->dead, &s->dead_space,
										&s->dead_capacity);
				s->masked = true;
				s->counters.rows_decoded += s->nrows;
				mdb_reads.rows += s->nrows;
			}
			/* s->row is the row between whose ends the scan stands, see on_row. */
			if (forward)
			{
				uint32 row = s->on_row ? s->row + 1 : s->row;

				if (s->dead && row < s->nrows)
				{
					const uint8 *next = memchr(s->dead + row, 0, s->nrows - row);

					row = next ? (uint32) (next - s->dead) : s->nrows;
				}
				if (row < s->nrows)
				{
					s->row = row;
					s->on_row = true;
					mdb_scan_store_row(s, row, slot);
					break;
				}
			}
			else
			{
				while (s->row > 0 && s->dead && s->dead[s->row - 1])
					s->row--;
				if (s->row > 0)
				{
					s->row--;
					s->on_row = true;
					mdb_scan_store_row(s, s->row, slot);
					break;
				}
			}
		}
		CHECK_FOR_INTERRUPTS();
		unit = next_unit(s, forward);
		if (unit < 0)
		{
			/* Stand behind the end, so that the other direction finds its way back. */
			mdb_scan_leave_unit(s);
			if (s->base.rs_parallel == NULL)
				s->unit = forward ? unit_count(s) : -1;
			return false;
		}
		mdb_scan_enter_unit(s, unit, !forward);
	}
	pgstat_count_heap_getnext(s->base.rs_rd);
	return true;
}

/*
 * mdb_scan_next_unit - go forward to the next unit of which something may be wanted: the columns of a
 * block, or a heap of the delta whose rows mdb_scan_unit_next_row returns.  False at the end.
 *
 * What the scan leaves to its caller: rows that are dead; where check_time is set, rows whose times
 * the filter does not let through; where check_series is, rows whose series do not match.  A scan is read
 * this way or by mdb_scan_getnextslot, not by both.
 */
bool
mdb_scan_next_unit(TableScanDesc scan, MdbUnit *unit)
{
	MdbScan *s = (MdbScan *) scan;

	for (;;)
	{
		int64 next;

		CHECK_FOR_INTERRUPTS();
		next = next_unit(s, true);
		if (next < 0)
		{
			mdb_scan_leave_unit(s);
			return false;
		}
		mdb_scan_enter_unit(s, next, false);
		if (s->kind == UNIT_NONE)
			continue;
		unit->block = s->kind == UNIT_BLOCK ? s->block : NULL;
		unit->dead = s->kind == UNIT_BLOCK ? s->dead : NULL;
		unit->check_time = s->check_time;
		unit->check_series = s->check_series;
		return true;
	}
}

/*
 * mdb_scan_unit_next_row - the next row of a unit without a block.
 */
bool
mdb_scan_unit_next_row(TableScanDesc scan, TupleTableSlot *slot)
{
	ExecClearTuple(slot);
	return mdb_scan_next_delta_row((MdbScan *) scan, ForwardScanDirection, slot);
}

/*
 * mdb_scan_series_passes - does the filter let rows of this series through?
 */
bool
mdb_scan_series_passes(TableScanDesc scan, uint32 id)
{
	MdbScan *s = (MdbScan *) scan;

	return !s->filtered || s->filter.series_matches == NULL || series_matches(s, id);
}

static void
init_parts(MdbScan *s)
{
	MdbParallelScan *shared = (MdbParallelScan *) s->base.rs_parallel;

	s->parts = mdb_parts_visible(s->table, s->base.rs_snapshot);
	s->damaged = palloc0(sizeof(bool) * Max(1, s->parts->count));
	s->open = palloc0(sizeof(MdbPart *) * Max(1, s->parts->count));
	s->counted_in = palloc0(sizeof(int64) * Max(1, s->parts->count));
	s->block_base = palloc(sizeof(int64) * (s->parts->count + 1));
	s->row_base = palloc(sizeof(int64) * (s->parts->count + 1));
	s->block_base[0] = s->row_base[0] = 0;
	for (int i = 0; i < s->parts->count; i++)
	{
		s->block_base[i + 1] = s->block_base[i] + s->parts->parts[i].nblocks;
		s->row_base[i + 1] = s->row_base[i] + s->parts->parts[i].nrows;
	}
	if (shared)
	{
		/* All processes must number the units alike. */
		s->ndeltas = shared->ndeltas;
		s->deltas = shared->deltas;
	}
	else
	{
		mdb_delta_live(s->table, s->base.rs_snapshot, &s->deltas, &s->ndeltas);
	}
}

/*
 * mdb_scan_begin - start a scan.  Rows of this transaction that are still in the write buffer
 * are written first, where that is possible.
 */
TableScanDesc
mdb_scan_begin(Relation rel, Snapshot snapshot, int nkeys, struct ScanKeyData *key,
			   ParallelTableScanDesc pscan, uint32 flags)
{
	MemoryContext mcxt;
	MemoryContext old;
	MdbScan *s;

	if (flags & SO_TYPE_BITMAPSCAN)
		return mdb_bitmap_begin(rel, snapshot, flags);
	if (!IsInParallelMode())
		mdb_buffer_flush_relation(RelationGetRelid(rel));

	RelationIncrementReferenceCount(rel);
	mcxt = AllocSetContextCreate(CurrentMemoryContext, "metricsdb scan", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(mcxt);
	s = palloc0(sizeof(MdbScan));
	s->mcxt = mcxt;
	s->base.rs_rd = rel;
	/* ANALYZE brings no snapshot, index builds bring one that sees dead parts, too. */
	s->skip = snapshot != NULL && snapshot->snapshot_type != SNAPSHOT_ANY && mdb_skip_applies(rel);
	if (snapshot == NULL || snapshot->snapshot_type == SNAPSHOT_ANY)
	{
		snapshot = mdb_latest_snapshot();
		flags |= SO_TEMP_SNAPSHOT;
	}
	s->base.rs_snapshot = snapshot;
	s->base.rs_nkeys = nkeys;
	s->base.rs_key = key;
	s->base.rs_flags = flags;
	s->base.rs_parallel = pscan;
	s->table = mdb_table(rel);
	s->row_mcxt = AllocSetContextCreate(mcxt, "metricsdb delta row", ALLOCSET_DEFAULT_SIZES);
	/* Who looks for single rows has them locked one by one, see fetch.c. */
	if (IsMVCCSnapshot(snapshot) && !(flags & SO_TYPE_TIDSCAN))
		PredicateLockRelation(rel, snapshot);
	init_parts(s);
	s->shadows = s->parts->count > 0 ? mdb_shadows_open(rel, s->table) : NULL;
	s->series_cache = mdb_series_cache_create(s->table, snapshot);
	s->slot_desc = RelationGetDescr(rel);
	s->block = mdb_block_create(s->table, s->slot_desc, s->series_cache);
	s->unit = -1;
	s->fresh = true;
	if (flags & (SO_TYPE_SEQSCAN | SO_TYPE_SAMPLESCAN))
		pgstat_count_heap_scan(rel);
	MemoryContextSwitchTo(old);
	return (TableScanDesc) s;
}

/*
 * mdb_scan_end - finish it.
 */
void
mdb_scan_end(TableScanDesc scan)
{
	MdbScan *s = (MdbScan *) scan;
	Relation rel = s->base.rs_rd;

	if (scan->rs_flags & SO_TYPE_BITMAPSCAN)
	{
		mdb_bitmap_end(scan);
		return;
	}
	mdb_scan_leave_unit(s);
	mdb_shadows_close(s->shadows);
	if (s->base.rs_flags & SO_TEMP_SNAPSHOT)
		UnregisterSnapshot(s->base.rs_snapshot);
	MemoryContextDelete(s->mcxt);
	RelationDecrementReferenceCount(rel);
}

/*
 * mdb_scan_rescan - start over, with the same snapshot and so the same parts.
 */
void
mdb_scan_rescan(TableScanDesc scan, struct ScanKeyData *key, bool set_params, bool allow_strat,
				bool allow_sync, bool allow_pagemode)
{
	MdbScan *s = (MdbScan *) scan;

	if (scan->rs_flags & SO_TYPE_BITMAPSCAN)
	{
		mdb_bitmap_rescan(scan);
		return;
	}
	mdb_scan_leave_unit(s);
	s->unit = -1;
	s->fresh = true;
	s->sample.unit = 0;
	s->chunk_next = s->chunk_end = 0;
}

/*
 * mdb_scan_set_filter - from now on, leave out rows that the filter does not let through.  What
 * it lets through may still not be wanted: the caller checks.  Rows of the delta are all returned, or none.
 */
void
mdb_scan_set_filter(TableScanDesc scan, const MdbScanFilter *filter)
{
	MdbScan *s = (MdbScan *) scan;

	s->filter = *filter;
	s->filtered = filter->has_time || filter->part_times != NULL || filter->no_delta ||
				  filter->series_matches != NULL || filter->block_wanted != NULL || filter->leave_out != NULL;
	for (uint32 i = 0; i < s->nverdicts; i++)
		if (s->verdicts[i])
			memset(s->verdicts[i], 0, VERDICT_PAGE);
	/* Of a start that nothing came of nothing is counted. */
	if (s->starts > 0 && !s->started)
	{
		s->counters.parts -= s->parts->count;
		s->counters.blocks -= s->parts->nblocks;
		s->counters.parts_pruned -= s->start_pruned;
		s->counters.blocks_of_pruned -= s->start_blocks_of_pruned;
	}
	s->starts++;
	s->started = false;
	s->start_pruned = s->start_blocks_of_pruned = 0;
	for (int i = 0; i < s->parts->count; i++)
		if (mdb_scan_part_pruned(s, &s->parts->parts[i]))
		{
			s->start_pruned++;
			s->start_blocks_of_pruned += s->parts->parts[i].nblocks;
		}
	s->counters.parts += s->parts->count;
	s->counters.blocks += s->parts->nblocks;
	s->counters.parts_pruned += s->start_pruned;
	s->counters.blocks_of_pruned += s->start_blocks_of_pruned;
}

/*
 * mdb_scan_counters - what was read and what was left out so far.
 */
void
mdb_scan_counters(TableScanDesc scan, MdbScanCounters *counters)
{
	MdbScan *s = (MdbScan *) scan;

	*counters = s->counters;
	for (int i = 0; i < s->parts->count; i++)
		if (s->open[i])
			counters->bytes_read += s->open[i]->bytes_read;
}

/*
 * mdb_parallelscan_estimate, _initialize, _reinitialize - what the processes of a parallel scan
 * share.
 */
Size
mdb_parallelscan_estimate(Relation rel)
{
	return sizeof(MdbParallelScan);
}

Size
mdb_parallelscan_initialize(Relation rel, ParallelTableScanDesc pscan)
{
	MdbParallelScan *shared = (MdbParallelScan *) pscan;
	MdbDeltaInfo *deltas;

	mdb_parallel_scan_set(&shared->base, rel);
	shared->base.phs_syncscan = false;
	pg_atomic_init_u64(&shared->next, 0);
	for (int i = 0; i < MDB_SKIP_SHARED; i++)
		pg_atomic_init_u64(&shared->warned[i], 0);
	mdb_delta_live(mdb_table(rel), GetActiveSnapshot(), &deltas, &shared->ndeltas);
	memcpy(shared->deltas, deltas, sizeof(MdbDeltaInfo) * shared->ndeltas);
	return sizeof(MdbParallelScan);
}

void
mdb_parallelscan_reinitialize(Relation rel, ParallelTableScanDesc pscan)
{
	pg_atomic_write_u64(&((MdbParallelScan *) pscan)->next, 0);
}
