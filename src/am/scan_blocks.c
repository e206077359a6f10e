/*
 * scan_blocks.c
 *	  The blocks of a scan in any order, several at a time: for those who merge them or choose among them.
 *
 * Who reads a scan in this way does not call mdb_scan_getnextslot.  The scan's filter holds as it does
 * there: parts and blocks that it excludes are not wanted, rows that it excludes do not pass.
 */
#include "postgres.h"

#include "pgstat.h"

#include "am/scan_internal.h"
#include "series/index.h"

/*
 * mdb_scan_parts - the parts that the scan sees, by number from 0.
 */
const MdbPartInfo *
mdb_scan_parts(TableScanDesc scan, int *count)
{
	MdbScan *s = (MdbScan *) scan;

	*count = s->parts->count;
	return s->parts->parts;
}

/*
 * mdb_scan_next_block - the first block of a part, from this one on, that the set of series does not rule out;
 * nblocks if there is none.  In a part of blocks of one series these are in order.
 */
int
mdb_scan_next_block(TableScanDesc scan, const MdbPart *part, int block)
{
	MdbScan *s = (MdbScan *) scan;
	const MdbIds *ids = s->filtered ? s->filter.series_ids : NULL;
	int64 id;
	uint32 lo = 0, hi;
	int next;

	if (ids == NULL || !part->one_series || block >= part->nblocks)
		return block;
	/* The next id of the set, then its first block: most of the time it is this one. */
	for (hi = ids->n; lo < hi;)
	{
		uint32 mid = lo + (hi - lo) / 2;

		if (ids->v[mid] < part->series_first[block])
			lo = mid + 1;
		else
			hi = mid;
	}
	next = lo < ids->n ? block : part->nblocks;
	id = lo < ids->n ? ids->v[lo] : 0;
	if (next == block && part->series_first[block] < id)
	{
		int end = part->nblocks;

		while (next < end)
		{
			int mid = next + (end - next) / 2;

			if (part->series_first[mid] < id)
				next = mid + 1;
			else
				end = mid;
		}
	}
	s->counters.blocks_pruned += next - block;
	return next;
}

/*
 * mdb_scan_part_wanted - may a row of a part pass the filter, as far as the catalog tells?
 */
bool
mdb_scan_part_wanted(TableScanDesc scan, int part)
{
	MdbScan *s = (MdbScan *) scan;

	return !mdb_scan_part_pruned(s, &s->parts->parts[part]);
}

static bool
block_wanted(MdbScan *s, const MdbPart *part, int block)
{
	if (!s->filtered)
		return true;
	if (mdb_filter_outside_time(&s->filter, part->info.part_id, part->has_time,
								part->has_time ? part->time_first[block] : 0,
								part->has_time ? part->time_last[block] : 0, NULL))
		return false;
	if (mdb_scan_block_outside_series(s, part, block))
		return false;
	return s->skip || s->filter.block_wanted == NULL ||
		   s->filter.block_wanted(s->filter.values_arg, (MdbPart *) part, block);
}

/*
 * mdb_scan_block_wanted - may a row of a block of a part that is held pass the filter, as far as the
 * directory tells?
 */
bool
mdb_scan_block_wanted(TableScanDesc scan, const MdbPart *part, int block)
{
	MdbScan *s = (MdbScan *) scan;
	bool wanted = block_wanted(s, part, block);

	s->counters.blocks_pruned += !wanted;
	return wanted;
}

static uint32
count_out(const uint8 *out, uint32 n)
{
	uint32 count = 0;

	for (uint32 i = 0; i < n; i++)
		count += out[i];
	return count;
}

/*
 * mdb_scan_mark_series - mark those of rows begin to end of a block of several series whose series do not pass the
 * filter.  No others are asked about than those of rows that are not marked yet.
 */
void
mdb_scan_mark_series(TableScanDesc scan, MdbBlock *b, uint32 begin, uint32 end, uint8 *marks, uint8 mark)
{
	const MdbIds *ids = ((MdbScan *) scan)->filter.series_ids;
	const uint32 *series = mdb_block_ids(b);
	uint32 at = 0;

	for (uint32 row = begin, next; row < end; row = next)
	{
		/* From one series that may pass to the next: mostly there are few. */
		if (ids)
		{
			at = mdb_ids_from(ids->v, ids->n, at, series[row]);
			next = at < ids->n ? mdb_ids_from(series, end, row, ids->v[at]) : end;
			if (next > row)
			{
				memset(marks + row, mark, next - row);
				continue;
			}
		}
		next = row + 1;
		while (next < end && series[next] == series[row])
			next++;
		if (memchr(marks + row, !mark, next - row) != NULL && !mdb_scan_series_passes(scan, series[row]))
			memset(marks + row, mark, next - row);
	}
}

/*
 * mdb_scan_mask - dead, or with what the filter leaves out of a block, in *space, where dead is if there is
 * any.
 */
const uint8 *
mdb_scan_mask(MdbScan *s, MdbBlock *b, bool check_time, bool check_series, const uint8 *dead, uint8 **space,
			  uint32 *capacity)
{
	uint32 n = b->nrows;
	uint32 ndead;
	uint8 *out;

	if (!check_time && !check_series && (!s->filtered || s->filter.leave_out == NULL))
		return dead;
	if (*capacity < n)
	{
		Assert(dead == NULL);
		if (*space)
			pfree(*space);
		*capacity = Max(n, MDB_BLOCK_ROWS_MAX);
		*space = MemoryContextAlloc(s->mcxt, *capacity);
	}
	out = *space;
	if (dead == NULL)
		memset(out, 0, n);
	ndead = dead ? count_out(out, n) : 0;
	if (check_time)
	{
		const int64 *times = mdb_block_times(b);
		int64 lo = s->filter.time_min, hi = s->filter.time_max;

		for (uint32 i = 0; i < n && s->filter.has_time; i++)
			out[i] |= (times[i] < lo) | (times[i] > hi);
		if (s->filter.part_times != NULL)
			mdb_time_set_leave_out(mdb_part_times_find(s->filter.part_times, b->part->info.part_id), times, n,
								   out);
	}
	if (check_series)
		mdb_scan_mark_series(&s->base, b, 0, n, out, 1);
	if (s->filter.leave_out != NULL)
		s->filter.leave_out(s->filter.values_arg, b, out);
	s->counters.rows_filtered += count_out(out, n) - ndead;
	return out;
}

/*
 * mdb_scan_hold_block - room for a block of the scan, which lasts as long as the scan.
 */
MdbHeldBlock *
mdb_scan_hold_block(TableScanDesc scan)
{
	MdbScan *s = (MdbScan *) scan;
	MemoryContext old = MemoryContextSwitchTo(s->mcxt);
	MdbHeldBlock *h = palloc0(sizeof(MdbHeldBlock));

	h->block = mdb_block_create(s->table, s->slot_desc, s->series_cache);
	h->block->wanted = s->block->wanted;
	MemoryContextSwitchTo(old);
	return h;
}

/*
 * mdb_scan_set_block - let it stand for a block of a part that is held.  False if the block is damaged and to
 * be skipped.
 */
bool
mdb_scan_set_block(TableScanDesc scan, MdbHeldBlock *h, MdbPart *part, int block)
{
	MdbScan *s = (MdbScan *) scan;
	bool check_time, check_series;

	if (s->skip)
	{
		if (!mdb_skip_load_block(h->block, part, block, NULL))
			return false;
	}
	else
		mdb_block_set(h->block, part, block);
	s->counters.blocks_read++;
	s->counters.rows_decoded += h->block->nrows;
	mdb_reads.blocks++;
	mdb_reads.rows += h->block->nrows;
	check_time = false;
	if (s->filtered && part->has_time)
		(void) mdb_filter_outside_time(&s->filter, part->info.part_id, true, part->time_first[block],
									   part->time_last[block], &check_time);
	check_series = s->filtered && s->filter.series_matches != NULL && !part->one_series;
	h->out = mdb_scan_find_dead(s, h->block, &h->out_space, &h->out_capacity);
	h->out = mdb_scan_mask(s, h->block, check_time, check_series, h->out, &h->out_space, &h->out_capacity);
	return true;
}

/*
 * mdb_scan_store - store a row of a block into a slot of ours.
 */
void
mdb_scan_store(TableScanDesc scan, const MdbHeldBlock *h, uint32 row, TupleTableSlot *slot)
{
	ExecClearTuple(slot);
	mdb_slot_store_row(slot, h->block, row);
	mdb_tid_of_row(h->block->row_first + row, &slot->tts_tid);
	slot->tts_tableOid = RelationGetRelid(scan->rs_rd);
	pgstat_count_heap_getnext(scan->rs_rd);
}

/*
 * mdb_scan_next_delta - the next row of all heaps of the delta, which the filter does not look at, unless it wants
 * none of them; false after the last one.
 */
bool
mdb_scan_next_delta(TableScanDesc scan, TupleTableSlot *slot)
{
	MdbScan *s = (MdbScan *) scan;

	ExecClearTuple(slot);
	if (s->filtered && s->filter.no_delta)
		return false;
	for (;;)
	{
		if (s->kind == UNIT_DELTA && mdb_scan_next_delta_row(s, ForwardScanDirection, slot))
		{
			pgstat_count_heap_getnext(scan->rs_rd);
			return true;
		}
		s->unit = s->kind == UNIT_DELTA ? s->unit + 1 : s->parts->nblocks;
		mdb_scan_leave_unit(s);
		if (s->unit >= s->parts->nblocks + s->ndeltas)
			return false;
		mdb_scan_open_delta(s, (int) (s->unit - s->parts->nblocks));
		s->kind = UNIT_DELTA;
	}
}

/*
 * mdb_scan_want - value columns that are asked for, by attno - 1; the others are NULL from now on.  The array
 * lasts as long as the scan.
 */
void
mdb_scan_want(TableScanDesc scan, const bool *wanted)
{
	((MdbScan *) scan)->block->wanted = wanted;
}
