/*
 * latest.c
 *	  MetricsScan for the first row of each series in order of time, which for descending order is its latest.
 *
 * Returned is at least the row that is wanted of each series, and as few others as come cheaply; a sort and
 * PostgreSQL's Unique above choose among them.  Parts are visited by their first times.  A series is found
 * when a row of it passes the conditions; from then on only blocks matter that may hold an earlier one.
 *
 * Invariants:
 *	1. A block is passed over only if each series that may be in it was found with a time that is not later
 *	   than the block's first.
 *	2. Rows without a time come first or last, as the query says.  They are not remembered as found: one
 *	   of each block and series is returned, and so are all rows of the delta.
 *	3. Keys are the times, or for descending order their complements: earlier is smaller.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "exec/metrics_scan.h"

#define FOUND_PAGE      4096
#define FOUND_NONE      PG_INT64_MAX
#define RANGE_MAX_BLOCK 65536 /* series ids that are looked at to pass a block over */
#define RANGE_MAX_PART  2000000

struct MdbLatest
{
	MetricsScanState *state;
	TableScanDesc scan;
	MemoryContext mcxt;
	int64 flip; /* times to keys: -1 = their complements, 0 = as they are */
	int *parts; /* by their first keys; those without times come first */
	int nparts;
	int next_part; /* those before it are done with, or open */
	int part;      /* the one that is open; -1 = none */
	int visited;   /* its blocks that are done with */
	MdbHeldBlock *held;
	bool in_block;
	bool has_time;
	uint32 run_begin, run_end; /* rows of the present series in the block */
	uint32 run_next;           /* of these, how many were looked at */
	bool in_delta;

	int64 **found; /* by series id: key of the row that was found */
	uint32 npages;

	/* a range of series ids that were all found, and the last of their keys */
	int64 done_first, done_last, done_key;
};

static int64
first_key(const MdbLatest *l, int part)
{
	int n;
	const MdbPartInfo *info = &mdb_scan_parts(l->scan, &n)[part];

	if (info->days == 0 || info->nrows == 0)
		return PG_INT64_MIN;
	return l->flip ? ~info->time_max : info->time_min;
}

static int
part_cmp(const void *a, const void *b, void *arg)
{
	int64 x = first_key(arg, *(const int *) a), y = first_key(arg, *(const int *) b);

	return x < y ? -1 : x > y;
}

/*
 * mdb_latest_begin - make ready for a scan; mdb_latest_start() goes to its beginning.
 */
MdbLatest *
mdb_latest_begin(MetricsScanState *state)
{
	MemoryContext mcxt = AllocSetContextCreate(state->css.ss.ps.state->es_query_cxt, "metricsdb latest rows",
											   ALLOCSET_DEFAULT_SIZES);
	MdbLatest *l = MemoryContextAllocZero(mcxt, sizeof(MdbLatest));
	int n;

	l->mcxt = mcxt;
	l->state = state;
	l->scan = state->scan;
	l->flip = state->descending ? -1 : 0;
	(void) mdb_scan_parts(l->scan, &n);
	l->parts = MemoryContextAlloc(mcxt, sizeof(int) * Max(1, n));
	l->held = mdb_scan_hold_block(l->scan);
	l->held->block->sparse = true;
	return l;
}

/*
 * mdb_latest_start - start, or start over, with the filter that the scan has now.
 */
void
mdb_latest_start(MdbLatest *l)
{
	int n;

	(void) mdb_scan_parts(l->scan, &n);
	l->nparts = l->next_part = 0;
	l->part = -1;
	l->in_block = false;
	l->in_delta = false;
	for (int i = 0; i < n; i++)
		if (mdb_scan_part_wanted(l->scan, i))
			l->parts[l->nparts++] = i;
	qsort_arg(l->parts, l->nparts, sizeof(int), part_cmp, l);
	for (uint32 p = 0; p < l->npages; p++)
		for (int i = 0; l->found[p] != NULL && i < FOUND_PAGE; i++)
			l->found[p][i] = FOUND_NONE;
	l->done_first = 0;
	l->done_last = -1;
}

/*
 * mdb_latest_end - free it.
 */
void
mdb_latest_end(MdbLatest *l)
{
	MemoryContextDelete(l->mcxt);
}

/* ---------- what was found ---------- */

static int64
found_key(const MdbLatest *l, uint32 id)
{
	uint32 page = id / FOUND_PAGE;

	return page < l->npages && l->found[page] != NULL ? l->found[page][id % FOUND_PAGE] : FOUND_NONE;
}

static void
set_found(MdbLatest *l, uint32 id, int64 key)
{
	uint32 page = id / FOUND_PAGE;

	if (page >= l->npages)
	{
		uint32 n = Max(page + 1, l->npages * 2);

		l->found = l->found ? repalloc_huge(l->found, n * sizeof(int64 *))
							: MemoryContextAlloc(l->mcxt, n * sizeof(int64 *));
		memset(l->found + l->npages, 0, (n - l->npages) * sizeof(int64 *));
		l->npages = n;
	}
	if (l->found[page] == NULL)
	{
		l->found[page] = MemoryContextAlloc(l->mcxt, FOUND_PAGE * sizeof(int64));
		for (int i = 0; i < FOUND_PAGE; i++)
			l->found[page][i] = FOUND_NONE;
	}
	l->found[page][id % FOUND_PAGE] = key;
}

/* May one of the series have a row that is wanted, among rows whose keys begin here? */
static bool
may_be_wanted(MdbLatest *l, int64 first, int64 last, int64 key, int64 max_range)
{
	int64 latest = PG_INT64_MIN;

	/* A key that equals that of "not found" says nothing. */
	if (key == FOUND_NONE || last - first >= max_range)
		return true;
	if (first >= l->done_first && last <= l->done_last && l->done_key <= key)
		return false;
	for (int64 id = first; id <= last; id++)
	{
		int64 found = found_key(l, (uint32) id);

		if (found > key)
			return true;
		latest = Max(latest, found);
	}
	if (last - first > l->done_last - l->done_first)
	{
		l->done_first = first;
		l->done_last = last;
		l->done_key = latest;
	}
	return false;
}

/* ---------- from part to part, from block to block ---------- */

/* Open the next part of which something may be wanted. */
static bool
next_part(MdbLatest *l)
{
	int n;
	const MdbPartInfo *parts = mdb_scan_parts(l->scan, &n);

	if (l->part >= 0)
		mdb_scan_let_part_go(l->scan, l->part);
	l->part = -1;
	while (l->next_part < l->nparts)
	{
		int p = l->parts[l->next_part++];
		const MdbPartInfo *info = &parts[p];

		CHECK_FOR_INTERRUPTS();
		if (info->days != 0 && info->nrows != 0 &&
			!may_be_wanted(l, info->series_min, info->series_max, first_key(l, p), RANGE_MAX_PART))
			continue;
		if (mdb_scan_hold_part(l->scan, p) == NULL)
			continue;
		l->part = p;
		l->visited = 0;
		return true;
	}
	return false;
}

/* Go to the next block of the open part of which something may be wanted: first those with the first keys. */
static bool
next_block(MdbLatest *l)
{
	MdbPart *part = mdb_scan_hold_part(l->scan, l->part);

	while (l->visited < part->nblocks)
	{
		int b = l->flip ? part->nblocks - 1 - l->visited : l->visited;

		l->visited++;
		CHECK_FOR_INTERRUPTS();
		if (part->has_time &&
			!may_be_wanted(l, part->series_first[b], part->series_last[b],
						   l->flip ? ~part->time_last[b] : part->time_first[b], RANGE_MAX_BLOCK))
			continue;
		if (!mdb_scan_block_wanted(l->scan, part, b) || !mdb_scan_set_block(l->scan, l->held, part, b))
			continue;
		l->has_time = part->has_time;
		l->run_begin = l->run_end = l->run_next = 0;
		l->in_block = true;
		return true;
	}
	return false;
}

/* The rows of the next series of the block. */
static bool
next_run(MdbLatest *l)
{
	MdbBlock *b = l->held->block;
	uint32 id;

	while (l->run_end < b->nrows)
	{
		l->run_begin = l->run_end;
		l->run_next = 0;
		if (b->part->one_series)
			l->run_end = b->nrows;
		else
		{
			id = mdb_block_series(b, l->run_begin);
			while (++l->run_end < b->nrows && mdb_block_series(b, l->run_end) == id)
				;
		}
		id = mdb_block_series(b, l->run_begin);
		if (mdb_scan_series_passes(l->scan, id))
			return true;
		set_found(l, id, PG_INT64_MIN);
	}
	return false;
}

/* The first row of the present series that is wanted, into the slot. */
static bool
next_in_run(MdbLatest *l, TupleTableSlot *slot)
{
	MdbBlock *b = l->held->block;
	uint32 id = mdb_block_series(b, l->run_begin);
	uint32 n = l->run_end - l->run_begin;

	while (l->run_next < n)
	{
		uint32 row = l->flip ? l->run_end - 1 - l->run_next : l->run_begin + l->run_next;
		int64 key = 0;

		l->run_next++;
		if (l->held->out && l->held->out[row])
			continue;
		if (l->has_time)
		{
			key = mdb_block_time(b, row) ^ l->flip;
			if (key >= found_key(l, id) && key != FOUND_NONE)
				break;
		}
		CHECK_FOR_INTERRUPTS();
		mdb_scan_store(l->scan, l->held, row, slot);
		if (!mdb_scan_qualifies(l->state, slot))
			continue;
		if (l->has_time)
			set_found(l, id, key);
		l->run_next = n;
		return true;
	}
	return false;
}

/*
 * mdb_latest_next - the next row, one that passes the plan's conditions, into a slot of ours.
 */
bool
mdb_latest_next(MdbLatest *l, TupleTableSlot *slot)
{
	while (!l->in_delta)
	{
		if (l->in_block)
		{
			if (l->run_next < l->run_end - l->run_begin && next_in_run(l, slot))
				return true;
			if (next_run(l))
				continue;
			l->in_block = false;
		}
		if (l->part >= 0 && next_block(l))
			continue;
		if (!next_part(l))
			l->in_delta = true;
	}
	while (mdb_scan_next_delta(l->scan, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (mdb_scan_qualifies(l->state, slot))
			return true;
	}
	return false;
}
