/*
 * agg_block.c
 *	  MetricsAgg, a block: which of its rows count, which groups they belong to, and what they add.
 *
 * The order is that of a plan of core's: rows that are seen, conditions, then keys and arguments, so that
 * nothing is evaluated for rows that do not come that far.
 */
#include "postgres.h"

#include <math.h>

#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "exec/agg_node.h"

#define SERIES_PAGE 4096

/* What the directory tells of the present block's values. */
static void
range_of(void *arg, AttrNumber attno, MdbVecRange *range)
{
	MetricsAggState *state = arg;

	mdb_range_of(state->table, state->unit.block->part, state->unit.block->block, attno, range);
}

/* ---------- keys ---------- */

/* Let the row's slot hold one set of values, all others NULL. */
static ExprContext *
set_row(MetricsAggState *state, const Datum *values, const bool *isnull)
{
	TupleTableSlot *slot = state->row_slot;
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;

	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, sizeof(Datum) * state->table->natts);
	memcpy(slot->tts_isnull, isnull, sizeof(bool) * state->table->natts);
	ExecStoreVirtualTuple(slot);
	econtext->ecxt_scantuple = slot;
	return econtext;
}

/* The number that keys have, as they are evaluated on econtext's row. */
static uint32
number_of(MdbKeys *numbers, int nkeys, ExprState **keys, ExprContext *econtext)
{
	Datum values[MDB_AGG_KEYS];
	bool isnull[MDB_AGG_KEYS];
	MemoryContext old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	uint32 number;

	for (int i = 0; i < nkeys; i++)
		values[i] = ExecEvalExpr(keys[i], econtext, &isnull[i]);
	number = mdb_keys_find(numbers, values, isnull);
	MemoryContextSwitchTo(old);
	return number;
}

/* The number of the group of a series. */
static uint32
series_number(MetricsAggState *state, uint32 id)
{
	uint32 page = id / SERIES_PAGE;
	uint32 *place;

	if (state->nseries_keys == 0)
		return 0;
	if (page >= state->nseries_pages)
	{
		uint32 n = Max(page + 1, state->nseries_pages * 2);

		state->series_number = state->series_number
								   ? repalloc_huge(state->series_number, n * sizeof(uint32 *))
								   : MemoryContextAllocHuge(state->mcxt, n * sizeof(uint32 *));
		memset(state->series_number + state->nseries_pages, 0, (n - state->nseries_pages) * sizeof(uint32 *));
		state->nseries_pages = n;
	}
	if (state->series_number[page] == NULL)
		state->series_number[page] = MemoryContextAllocZero(state->mcxt, SERIES_PAGE * sizeof(uint32));
	place = &state->series_number[page][id % SERIES_PAGE];
	if (*place == 0)
	{
		const bool *isnull;
		const Datum *values = mdb_series_values(state->unit.block->series_cache, id, &isnull);
		ExprContext *econtext = set_row(state, values, isnull);

		*place = number_of(state->series_numbers, state->nseries_keys, state->series_keys, econtext) + 1;
		ResetExprContext(econtext);
	}
	return *place - 1;
}

/* Of a series that was met before; MDB_NO_GROUP if it was not. */
static uint32
known_number(const MetricsAggState *state, uint32 id)
{
	uint32 page = id / SERIES_PAGE;

	if (page >= state->nseries_pages || state->series_number[page] == NULL)
		return MDB_NO_GROUP;
	return state->series_number[page][id % SERIES_PAGE] - 1;
}

/*
 * mdb_agg_bucket_number - the number of the group of a stretch of time.
 */
uint32
mdb_agg_bucket_number(MetricsAggState *state, uint32 stretch)
{
	uint32 *place = mdb_times_number(state->times, stretch);

	if (state->nbucket_keys == 0)
		return 0;
	if (*place == 0)
	{
		int natts = state->table->natts;
		Datum *values = palloc0(sizeof(Datum) * natts);
		bool *isnull = palloc(sizeof(bool) * natts);
		ExprContext *econtext;

		memset(isnull, true, natts);
		if (stretch != MDB_NO_TIME)
		{
			values[state->table->time_attno - 1] =
				mdb_time_datum(state->table, mdb_times_seen(state->times, stretch));
			isnull[state->table->time_attno - 1] = false;
		}
		econtext = set_row(state, values, isnull);
		*place = number_of(state->bucket_numbers, state->nbucket_keys, state->bucket_keys, econtext) + 1;
		ResetExprContext(econtext);
		if (state->windows)
			mdb_windows_note(state, *place - 1, mdb_times_seen(state->times, stretch));
		pfree(values);
		pfree(isnull);
	}
	return *place - 1;
}

/*
 * mdb_agg_group - the state of a group, or NULL if it is left to another pass.
 */
char *
mdb_agg_group(MetricsAggState *state, uint32 series, uint32 bucket)
{
	if (unlikely(state->whole) && !mdb_torn_has(state, series, bucket))
		return NULL;
	if (unlikely(series < state->series_from))
		return NULL;
	/* Before the range of buckets is looked at, which is that of the last series of this pass. */
	if (unlikely(series >= state->series_to))
	{
		state->more = true;
		return NULL;
	}
	if (unlikely(bucket < state->bucket_from))
		return NULL;
	if (unlikely(bucket >= state->bucket_to))
	{
		state->more = true;
		return NULL;
	}
	return mdb_groups_state(state->groups, series, bucket);
}

/* ---------- conditions ---------- */

/* Make a mask of rows that count, if there is none yet. */
static uint8 *
mask_of(MetricsAggState *state, uint8 *mask)
{
	if (mask == NULL)
	{
		mask = state->mask;
		memset(mask + state->vec.begin, 1, state->vec.end - state->vec.begin);
	}
	return mask;
}

/*
 * Rows of the present block that count: NULL = all from begin to end.  *count is how many there are.  Others
 * that are seen are counted as filtered.
 */
static uint8 *
find_rows(MetricsAggState *state, MdbTimePlan *plan, uint32 *count)
{
	const MdbUnit *unit = &state->unit;
	MdbBlock *b = unit->block;
	uint32 begin = state->vec.begin, end = state->vec.end;
	const MdbScanFilter *filter = &state->push.filter;
	uint8 *mask = NULL;
	uint32 seen;

	*count = end - begin;
	if (unit->dead)
	{
		mask = mask_of(state, mask);
		*count = mdb_and(mask + begin, unit->dead + begin, true, end - begin);
	}
	seen = *count;
	if (unit->check_time && filter->part_times && (!b->part->one_series || plan->gaps))
	{
		const int64 *times = b->part->one_series ? mdb_times_of(state->times, plan) : mdb_block_times(b);
		uint8 *out = state->out;

		memset(out + begin, 0, end - begin);
		mdb_time_set_leave_out(mdb_part_times_find(filter->part_times, b->part->info.part_id), times + begin,
							   end - begin, out + begin);
		mask = mask_of(state, mask);
		*count = mdb_and(mask + begin, out + begin, true, end - begin);
	}
	if (!b->part->one_series && unit->check_time && filter->has_time)
	{
		const int64 *times = mdb_block_times(b);

		mask = mask_of(state, mask);
		for (uint32 i = begin; i < end; i++)
			mask[i] &= (times[i] >= filter->time_min) & (times[i] <= filter->time_max);
		*count = mdb_count_valid(mask + begin, end - begin);
	}
	if (!b->part->one_series && unit->check_series && *count > 0)
	{
		mask = mask_of(state, mask);
		mdb_scan_mark_series(state->scan, b, begin, end, mask, 0);
		*count = mdb_count_valid(mask + begin, end - begin);
	}
	for (int f = 0; f<state->nfilters && * count> 0; f++)
	{
		MdbVec v;

		if (state->decided[f])
			continue;
		mdb_vec_eval(state->filters[f], &state->vec, mask, &v);
		if (v.constant)
		{
			if (v.isnull || *(const uint8 *) v.values == 0)
				*count = 0;
			continue;
		}
		mask = mask_of(state, mask);
		*count = mdb_and(mask + begin, (const uint8 *) v.values + begin, false, end - begin);
	}
	state->counters.rows_filtered += seen - *count;
	return *count == end - begin ? NULL : mask;
}

/* ---------- inputs ---------- */

static uint8 *
copy_mask(MetricsAggState *state, uint8 **space, const uint8 *from)
{
	uint32 begin = state->vec.begin, end = state->vec.end;

	if (*space == NULL)
		*space = MemoryContextAlloc(state->mcxt, MDB_VECTOR_ROOM);
	if (from)
		memcpy(*space + begin, from + begin, end - begin);
	else
		memset(*space + begin, 1, end - begin);
	return *space;
}

/* Evaluate an input for the rows that count. */
static void
make_ready(MetricsAggState *state, MdbAggInput *in, const uint8 *mask)
{
	uint32 begin = state->vec.begin, end = state->vec.end;
	MdbVec v;

	in->ready = true;
	in->none = false;
	in->selected = mask;
	in->nulls = NULL;
	in->by_values = NULL;
	in->sorted = state->unit.block->part->one_series;
	if (in->condition)
	{
		mdb_vec_eval(in->condition, &state->vec, mask, &v);
		if (v.constant)
			in->none = v.isnull || *(const uint8 *) v.values == 0;
		else
		{
			uint8 *space = copy_mask(state, &in->selected_space, mask);

			in->none = mdb_and(space + begin, (const uint8 *) v.values + begin, false, end - begin) == 0;
			in->selected = space;
		}
		if (in->none)
		{
			in->selected = copy_mask(state, &in->selected_space, NULL);
			memset(in->selected_space + begin, 0, end - begin);
			in->valid = in->selected;
			return;
		}
	}
	in->valid = in->selected;
	if (in->order)
	{
		mdb_vec_eval(in->order, &state->vec, in->selected, &v);
		mdb_vec_spread(in->order, &state->vec, &v);
		in->by_values = v.isnull ? NULL : v.values;
		in->by_nulls = v.nulls;
	}
	if (in->value == NULL)
		return;
	mdb_vec_eval(in->value, &state->vec, in->selected, &v);
	mdb_vec_spread(in->value, &state->vec, &v);
	in->values = v.values;
	in->nulls = v.nulls;
	if (v.isnull)
	{
		in->none = true;
		in->values = NULL;
	}
	else if (v.nulls)
	{
		uint8 *space = copy_mask(state, &in->valid_space, in->selected);

		in->none = mdb_and(space + begin, v.nulls + begin, true, end - begin) == 0;
		in->valid = space;
	}
}

/* ---------- answers from headers ---------- */

/* All rows of the block are of one group: can the directory tell what they add to an input? */
static bool
add_header(MetricsAggState *state, MdbAggInput *in, char *group)
{
	MdbBlock *b = state->unit.block;
	MdbPart *part = b->part;
	MdbAggInput one = *in;
	const MdbBlockStats *s;
	int64 nvalues;
	int64 *n = (int64 *) (group + in->off_n);
	int column;

	if (in->arg == NULL && in->filter == NULL)
	{
		*n += b->nrows;
		return true;
	}
	if (in->column == 0 || in->owns != NULL || in->by != NULL ||
		(in->needs & (MDB_NEED_SQUARES | MDB_NEED_TRUE)))
		return false;
	if (in->column == state->table->time_attno)
	{
		int64 range[2];

		if (!part->has_time)
			return (in->needs & MDB_NEED_TIME) == 0;
		if (in->needs & ~(MDB_NEED_MIN | MDB_NEED_MAX))
			return false;
		range[0] = part->time_first[b->block];
		range[1] = part->time_last[b->block];
		one.values = range;
		one.valid = NULL;
		one.none = false;
		mdb_agg_update_run(&one, group, 0, 2, NULL);
		*n += (int64) b->nrows - 2;
		return true;
	}
	column = mdb_part_column_index(part, in->column);
	if (column < 0)
		return false;
	mdb_part_load_column(part, column);
	nvalues = part->block_rows[b->block] - part->columns[column].nnulls[b->block];
	if (in->needs == 0)
	{
		*n += nvalues;
		return true;
	}
	s = part->columns[column].phys == state->table->columns[in->column - 1].phys
			? mdb_part_stats(part, column)
			: NULL;
	if (s == NULL)
		return false;
	if ((in->needs & MDB_NEED_TIME) && (nvalues != b->nrows || !part->one_series || !part->has_time))
		return false;
	return mdb_agg_add_stats(in, group, s, b->block, nvalues, part->has_time ? part->time_first[b->block] : 0,
							 part->has_time ? part->time_last[b->block] : 0);
}

/* ---------- a block ---------- */

/* Rows of one group, to aggregates that are computed by their own functions; all inputs are ready. */
static void
add_by_calls(MetricsAggState *state, char *group, uint32 begin, uint32 end, const uint8 *mask)
{
	for (int i = 0; i < state->ncalls; i++)
	{
		MdbAggCall *call = &state->calls[i];
		const MdbAggInput *in = call->input < 0 ? NULL : &state->inputs[call->input];

		if (call->called && (in == NULL || !in->none))
			mdb_called_add(call->called, state, group, begin, end, in ? in->selected : mask);
	}
}

/* Rows of one group; returns false if it is another pass's. */
static bool
add_run(MetricsAggState *state, char *group, uint32 begin, uint32 end, uint32 rows, const uint8 *mask,
		const int64 *times)
{
	*(int64 *) group += rows;
	for (int i = 0; i < state->ninputs; i++)
	{
		MdbAggInput *in = &state->inputs[i];

		if (!in->ready)
			make_ready(state, in, mask);
		mdb_agg_update_run(in, group, begin, end, times);
	}
	if (state->calls_functions)
		add_by_calls(state, group, begin, end, mask);
	return true;
}

/* All of a block belongs to one group. */
static void
add_whole(MetricsAggState *state, char *group, const int64 *times)
{
	MdbBlock *b = state->unit.block;
	int64 decoded = state->vec.decoded;

	*(int64 *) group += b->nrows;
	for (int i = 0; i < state->ninputs; i++)
	{
		MdbAggInput *in = &state->inputs[i];

		if (add_header(state, in, group))
			continue;
		if (!in->ready)
			make_ready(state, in, NULL);
		mdb_agg_update_run(in, group, 0, b->nrows, times);
	}
	if (state->calls_functions)
		add_by_calls(state, group, 0, b->nrows, NULL);
	if (state->vec.decoded == decoded)
		state->counters.blocks_headers++;
}

/* A block of one series. */
static void
add_series_block(MetricsAggState *state, MdbTimePlan *plan, const uint8 *mask, uint32 count)
{
	MdbBlock *b = state->unit.block;
	uint32 series = series_number(state, (uint32) b->part->series_first[b->block]);
	uint32 begin = state->vec.begin, end = state->vec.end;
	const int64 *times = state->needs_times && b->part->has_time ? state->vec.times(state) : NULL;
	uint32 stretch = MDB_NO_TIME;
	char *group;

	if (state->nbucket_keys == 0 || plan == NULL || plan->nruns == 1)
	{
		if (plan && plan->nruns == 1)
			stretch = plan->runs[0].stretch;
		group = mdb_agg_group(state, series, mdb_agg_bucket_number(state, stretch));
		if (group == NULL)
			return;
		if (mask == NULL && begin == 0 && end == b->nrows)
			add_whole(state, group, times);
		else
			(void) add_run(state, group, begin, end, count, mask, times);
		return;
	}
	for (uint32 r = 0; r < plan->nruns; r++)
	{
		const MdbRun *run = &plan->runs[r];
		uint32 rows =
			mask ? mdb_count_valid(mask + run->begin, run->end - run->begin) : run->end - run->begin;

		if (rows == 0)
			continue;
		group = mdb_agg_group(state, series, mdb_agg_bucket_number(state, run->stretch));
		if (group)
			(void) add_run(state, group, run->begin, run->end, rows, mask, times);
	}
}

/* A block across series: runs of rows of the same series and stretch. */
static void
add_mixed_block(MetricsAggState *state, const uint8 *mask, uint32 count)
{
	MdbBlock *b = state->unit.block;
	uint32 end = state->vec.end;
	bool timed = b->part->has_time && (state->nbucket_keys > 0 || state->needs_times);
	const int64 *times = timed ? mdb_block_times(b) : NULL;
	bool by_series = state->nseries_keys > 0;

	if (!by_series && state->nbucket_keys == 0)
	{
		char *group = mdb_agg_group(state, 0, 0);

		if (group == NULL)
			return;
		if (mask == NULL && state->vec.begin == 0 && end == b->nrows)
			add_whole(state, group, times);
		else
			(void) add_run(state, group, state->vec.begin, end, count, mask, times);
		return;
	}
	for (uint32 row = state->vec.begin; row < end;)
	{
		uint32 begin = row;
		uint32 id = by_series ? mdb_block_series(b, row) : 0;
		uint32 stretch = MDB_NO_TIME;
		int64 first = PG_INT64_MIN, last = PG_INT64_MAX;
		uint32 rows = 0;
		char *group;

		if (mask && !mask[row])
		{
			row++;
			continue;
		}
		if (times && state->nbucket_keys > 0)
		{
			stretch = mdb_times_stretch(state->times, times[row]);
			first = mdb_times_in(state->times, stretch, &last);
		}
		do
		{
			rows += mask == NULL || mask[row];
			row++;
		} while (row < end && (!by_series || mdb_block_series(b, row) == id) &&
				 (times == NULL || (times[row] >= first && times[row] <= last)));
		group = mdb_agg_group(state, by_series ? series_number(state, id) : 0,
							  mdb_agg_bucket_number(state, stretch));
		if (group)
			(void) add_run(state, group, begin, row, rows, mask, times);
	}
}

/*
 * mdb_agg_block - add the rows of a block.
 */
void
mdb_agg_block(MetricsAggState *state, const MdbUnit *unit)
{
	MdbBlock *b = unit->block;
	MdbTimePlan *plan = NULL;
	uint32 begin = 0, end = b->nrows;
	uint32 count;
	const uint8 *mask;

	state->unit = *unit;
	/* Left for another pass? */
	if (b->part->one_series && state->nseries_keys > 0 &&
		(state->series_from > 0 || state->series_to < MDB_NO_GROUP))
	{
		uint32 number = known_number(state, (uint32) b->part->series_first[b->block]);

		if (number != MDB_NO_GROUP && (number < state->series_from || number >= state->series_to))
		{
			state->more = state->more || number >= state->series_to;
			return;
		}
	}
	for (int f = 0; f < state->nfilters; f++)
	{
		MdbVerdict v = mdb_vec_verdict(state->filters[f], range_of, state);

		if (v == MDB_NONE)
		{
			state->counters.blocks_pruned++;
			return;
		}
		state->decided[f] = v == MDB_ALL;
	}
	if (b->part->one_series && b->part->has_time && (state->nbucket_keys > 0 || unit->check_time))
	{
		plan = mdb_times_plan(state->times, b->part, b->block, &state->push.filter);
		begin = plan->begin;
		end = plan->end;
		if (begin == end)
			return;
	}
	mdb_vec_block_set(&state->vec, b, begin, end);
	for (int i = 0; i < state->ninputs; i++)
		state->inputs[i].ready = false;
	mask = find_rows(state, plan, &count);
	if (count > 0)
	{
		int64 headers = state->counters.blocks_headers;

		if (b->part->one_series)
			add_series_block(state, plan, mask, count);
		else
			add_mixed_block(state, mask, count);
		if (headers != state->counters.blocks_headers)
			return;
	}
	state->counters.rows_decoded += end - begin;
	mdb_reads.rows += end - begin;
}
