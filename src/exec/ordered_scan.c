/*
 * ordered_scan.c
 *	  MetricsScan in order of time: the rows of windows of time, one window after the other.
 *
 * A window is as wide as holds about so many rows: few at first, as a LIMIT may end the scan, then as many
 * as fit into work_mem.  Only parts and blocks that have rows in the window are opened.  Of a small window
 * the rows' times alone are read and sorted, and a row's other columns when it is asked for; of a larger
 * one the rows are read, block by block, and sorted.
 *
 * Invariants:
 *	1. Windows follow each other without a gap and do not overlap; no row of a part lies before the present
 *	   one that was not returned.  So a block may be read again, but a row is returned once.
 *	2. Keys are the times, or for descending order their complements, so that all here is ascending.
 *	3. Rows of the delta, which are in no order, are sorted by themselves, and merged in.
 *	4. Parts whose rows have no time come before or after all windows.
 *	5. Memory is bounded by work_mem: sorts spill to disk, decoded blocks are given up.  What is not bounded
 *	   by it is an entry for each block of the parts that are open, and their directories.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplesort.h"
#include "utils/typcache.h"

#include "exec/metrics_scan.h"

#define SMALL_WINDOW   16384 /* rows of which only the times are sorted at first */
#define FIRST_WINDOW   256
#define WINDOW_GROWTH  4
#define SAMPLED_BLOCKS 2048 /* entries that the width of a window is guessed from */
#define CACHED_BLOCKS  1024

/* A block that was not passed yet. */
typedef struct Entry
{
	int64 lo; /* keys of its rows */
	int64 hi;
	int32 part;
	int32 block;
	uint32 rows;
	int32 cached; /* where in the cache it may be */
} Entry;

/* A row of a small window. */
typedef struct Ref
{
	int64 key;
	int32 entry;
	uint32 row;
} Ref;

/* A block that was decoded, at least in part. */
typedef struct Cached
{
	MdbHeldBlock *held;
	int32 part; /* -1 = none */
	int32 block;
	bool used;  /* since the hand of the clock was here */
	Size bytes; /* that it took when last weighed */
} Cached;

typedef enum Stage
{
	STAGE_NULLS_BEFORE,
	STAGE_WINDOWS,
	STAGE_NULLS_AFTER,
	STAGE_END
} Stage;

struct MdbOrdered
{
	MetricsScanState *state;
	TableScanDesc scan;
	MemoryContext mcxt;
	TupleDesc desc;
	AttrNumber time_attno;
	int64 flip; /* times to keys and back: -1 = their complements, 0 = as they are */
	Stage stage;

	/* parts without times, and where the scan is in them */
	int *null_parts;
	int nnull_parts;
	int null_part;
	int null_block;
	uint32 null_row;
	bool in_null_block;

	/* parts with times by their lowest key; those before next_part were opened */
	int *parts;
	int nparts;
	int next_part;
	int *live;      /* [parts of the scan] entries of each */
	Entry *entries; /* by lo */
	int nentries;
	int capacity;
	bool passed; /* the window ends with the last key there is */
	int64 begin; /* first key of the next window */

	double target; /* rows of the next window */
	double target_max;
	double first_rows;

	/* the present window: small, or sorted */
	Ref *refs;
	int nrefs;
	int next_ref;
	Tuplesortstate *sorted;
	TupleTableSlot *sorted_slot;
	bool sorted_ready; /* sorted_slot holds the next row */
	bool sorted_taken; /* and it was returned */

	/* the delta */
	Tuplesortstate *delta;
	TupleTableSlot *delta_slot;
	bool delta_ready;
	bool delta_taken;

	MdbHeldBlock *held; /* for rows that are read in passing */
	Cached *cache;
	int ncache;
	int hand;
	Cached *last;      /* the block of the last row: more of it may have been decoded since */
	Size cached_bytes; /* of all as last weighed */
	TupleTableSlot *row_slot;
};

static inline int64
key_of(const MdbOrdered *o, int64 time)
{
	return time ^ o->flip;
}

static int
part_cmp(const void *a, const void *b, void *arg)
{
	MdbOrdered *o = arg;
	int n;
	const MdbPartInfo *parts = mdb_scan_parts(o->scan, &n);
	const MdbPartInfo *x = &parts[*(const int *) a], *y = &parts[*(const int *) b];
	int64 p = o->flip ? key_of(o, x->time_max) : x->time_min;
	int64 q = o->flip ? key_of(o, y->time_max) : y->time_min;

	return p < q ? -1 : p > q;
}

static int64
part_lo(const MdbOrdered *o, int part)
{
	int n;
	const MdbPartInfo *info = &mdb_scan_parts(o->scan, &n)[part];

	return o->flip ? key_of(o, info->time_max) : info->time_min;
}

static int64
part_hi(const MdbOrdered *o, int part)
{
	int n;
	const MdbPartInfo *info = &mdb_scan_parts(o->scan, &n)[part];

	return o->flip ? key_of(o, info->time_min) : info->time_max;
}

/* A sort by time, of rows of the table's form. */
static Tuplesortstate *
begin_sort(MdbOrdered *o)
{
	Form_pg_attribute att = TupleDescAttr(o->desc, o->time_attno - 1);
	TypeCacheEntry *type = lookup_type_cache(getBaseType(att->atttypid), TYPECACHE_LT_OPR | TYPECACHE_GT_OPR);
	Oid op = o->flip ? type->gt_opr : type->lt_opr;
	Oid collation = InvalidOid;

	return tuplesort_begin_heap(o->desc, 1, &o->time_attno, &op, &collation, &o->state->nulls_first, work_mem,
								NULL, TUPLESORT_NONE);
}

/*
 * mdb_ordered_begin - make ready for a scan; mdb_ordered_start() goes to its beginning.
 */
MdbOrdered *
mdb_ordered_begin(MetricsScanState *state)
{
	MemoryContext mcxt = AllocSetContextCreate(state->css.ss.ps.state->es_query_cxt, "metricsdb ordered scan",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	MdbOrdered *o = palloc0(sizeof(MdbOrdered));
	Size row_bytes;
	int n;

	o->state = state;
	o->scan = state->scan;
	o->mcxt = mcxt;
	o->desc = RelationGetDescr(state->css.ss.ss_currentRelation);
	o->time_attno = state->push.table->time_attno;
	o->flip = state->descending ? -1 : 0;
	(void) mdb_scan_parts(o->scan, &n);
	o->parts = palloc(sizeof(int) * Max(1, n));
	o->null_parts = palloc(sizeof(int) * Max(1, n));
	o->live = palloc0(sizeof(int) * Max(1, n));
	o->refs = palloc(sizeof(Ref) * SMALL_WINDOW);

	/* A row in a sort: itself, its header, and what points to it. */
	row_bytes = 64 + sizeof(Datum) * state->nwanted;
	o->target_max = Max(1000.0, work_mem * 1024.0 / row_bytes);
	o->ncache = (int) Min(CACHED_BLOCKS, Max(4, work_mem * 1024.0 / (MDB_SERIES_BLOCK_ROWS * row_bytes)));
	o->cache = palloc0(sizeof(Cached) * o->ncache);
	o->held = mdb_scan_hold_block(o->scan);
	o->row_slot = MakeSingleTupleTableSlot(o->desc, &TTSOpsMetricsDB);
	o->sorted_slot = MakeSingleTupleTableSlot(o->desc, &TTSOpsMinimalTuple);
	o->delta_slot = MakeSingleTupleTableSlot(o->desc, &TTSOpsMinimalTuple);
	MemoryContextSwitchTo(old);
	return o;
}

static void
end_sorts(MdbOrdered *o)
{
	ExecClearTuple(o->sorted_slot);
	ExecClearTuple(o->delta_slot);
	if (o->sorted)
		tuplesort_end(o->sorted);
	if (o->delta)
		tuplesort_end(o->delta);
	o->sorted = o->delta = NULL;
	o->sorted_ready = o->sorted_taken = o->delta_ready = o->delta_taken = false;
}

/*
 * mdb_ordered_start - start, or start over, with the filter that the scan has now.
 */
void
mdb_ordered_start(MdbOrdered *o)
{
	MemoryContext old = MemoryContextSwitchTo(o->mcxt);
	int n;
	const MdbPartInfo *parts = mdb_scan_parts(o->scan, &n);

	end_sorts(o);
	o->begin = PG_INT64_MIN;
	o->passed = false;
	o->nrefs = o->next_ref = 0;
	o->nentries = 0;
	o->nparts = o->nnull_parts = o->next_part = 0;
	o->null_part = o->null_block = 0;
	o->in_null_block = false;
	for (int i = 0; i < n; i++)
	{
		o->live[i] = 0;
		if (!mdb_scan_part_wanted(o->scan, i))
			continue;
		/* A part whose row in the catalog cannot be true is opened, to say so. */
		if (parts[i].days == 0 || parts[i].nrows == 0)
			o->null_parts[o->nnull_parts++] = i;
		else
			o->parts[o->nparts++] = i;
	}
	qsort_arg(o->parts, o->nparts, sizeof(int), part_cmp, o);
	/* What was left out of them was another filter's choice. */
	for (int i = 0; i < o->ncache; i++)
		o->cache[i].part = -1;
	o->first_rows = o->state->first_rows;
	o->target = o->first_rows > 0 ? Min(Max(o->first_rows, FIRST_WINDOW), o->target_max) : o->target_max;

	while (mdb_scan_next_delta(o->scan, o->row_slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (!mdb_scan_qualifies(o->state, o->row_slot))
			continue;
		if (o->delta == NULL)
			o->delta = begin_sort(o);
		tuplesort_puttupleslot(o->delta, o->row_slot);
	}
	if (o->delta)
	{
		tuplesort_performsort(o->delta);
		o->delta_ready = tuplesort_gettupleslot(o->delta, true, false, o->delta_slot, NULL);
	}
	o->stage = o->state->nulls_first ? STAGE_NULLS_BEFORE : STAGE_WINDOWS;
	MemoryContextSwitchTo(old);
}

/*
 * mdb_ordered_end - let go of what is not memory, and of that.
 */
void
mdb_ordered_end(MdbOrdered *o)
{
	end_sorts(o);
	ExecDropSingleTupleTableSlot(o->row_slot);
	ExecDropSingleTupleTableSlot(o->sorted_slot);
	ExecDropSingleTupleTableSlot(o->delta_slot);
	MemoryContextDelete(o->mcxt);
}

/* ---------- windows ---------- */

static int
entry_cmp(const void *a, const void *b)
{
	const Entry *x = a, *y = b;

	if (x->lo != y->lo)
		return x->lo < y->lo ? -1 : 1;
	if (x->part != y->part)
		return x->part < y->part ? -1 : 1;
	return x->block < y->block ? -1 : x->block > y->block;
}

/* Entries for the blocks of a part. */
static void
add_part(MdbOrdered *o, int p)
{
	MdbPart *part = mdb_scan_hold_part(o->scan, p);

	if (part == NULL)
		return;
	if (!part->has_time)
		mdb_part_damaged(part, "It has no times, although its row in the catalog says so.");
	for (int b = 0; (b = mdb_scan_next_block(o->scan, part, b)) < part->nblocks; b++)
	{
		Entry *e;

		if (!mdb_scan_block_wanted(o->scan, part, b))
			continue;
		if (o->nentries == o->capacity)
		{
			o->capacity = Max(256, o->capacity * 2);
			o->entries = o->entries ? repalloc_huge(o->entries, sizeof(Entry) * o->capacity)
									: MemoryContextAlloc(o->mcxt, sizeof(Entry) * o->capacity);
		}
		e = &o->entries[o->nentries++];
		e->lo = key_of(o, o->flip ? part->time_last[b] : part->time_first[b]);
		e->hi = key_of(o, o->flip ? part->time_first[b] : part->time_last[b]);
		e->part = p;
		e->block = b;
		e->rows = (uint32) part->block_rows[b];
		e->cached = 0;
		o->live[p]++;
	}
	if (o->live[p] == 0)
		mdb_scan_let_part_go(o->scan, p);
}

static void
forget_cached(MdbOrdered *o, int part)
{
	for (int i = 0; i < o->ncache; i++)
		if (o->cache[i].part == part)
			o->cache[i].part = -1;
}

/* Entries that lie before the next window are done with, and so are parts that have no others. */
static void
drop_passed(MdbOrdered *o)
{
	int n = 0;

	for (int i = 0; i < o->nentries; i++)
	{
		Entry *e = &o->entries[i];

		if (e->hi >= o->begin)
		{
			o->entries[n++] = *e;
			continue;
		}
		if (--o->live[e->part] == 0)
		{
			forget_cached(o, e->part);
			mdb_scan_let_part_go(o->scan, e->part);
		}
	}
	o->nentries = n;
}

/* How much of lo to hi lies between begin and end, all inclusive? */
static double
share(int64 lo, int64 hi, int64 begin, int64 end)
{
	int64 a = Max(lo, begin), b = Min(hi, end);

	if (a > b)
		return 0;
	return ((double) b - (double) a + 1) / ((double) hi - (double) lo + 1);
}

/* Rows from begin to end, if those of a block are spread evenly. */
static double
rows_until(const MdbOrdered *o, int64 begin, int64 end)
{
	int n;
	const MdbPartInfo *parts = mdb_scan_parts(o->scan, &n);
	int step = 1 + o->nentries / SAMPLED_BLOCKS;
	double rows = 0;

	for (int i = 0; i < o->nentries && o->entries[i].lo <= end; i += step)
		rows += o->entries[i].rows * share(o->entries[i].lo, o->entries[i].hi, begin, end);
	rows *= step;
	for (int i = o->next_part; i < o->nparts && part_lo(o, o->parts[i]) <= end; i++)
		rows +=
			parts[o->parts[i]].nrows * share(part_lo(o, o->parts[i]), part_hi(o, o->parts[i]), begin, end);
	return rows;
}

/* The last key of a window that begins there.  Parts that it comes to are opened. */
static int64
choose_end(MdbOrdered *o, int64 begin)
{
	for (;;)
	{
		int64 lo = begin;
		int64 hi = begin;
		bool opened = false;

		for (int i = 0; i < o->nentries; i++)
			hi = Max(hi, o->entries[i].hi);
		for (int i = o->next_part; i < o->nparts; i++)
			hi = Max(hi, part_hi(o, o->parts[i]));
		/* The lowest end that is enough; all there is if none is. */
		while (lo < hi)
		{
			int64 mid = (lo & hi) + ((lo ^ hi) >> 1);

			if (rows_until(o, begin, mid) >= o->target)
				hi = mid;
			else
				lo = mid + 1;
		}
		while (o->next_part < o->nparts && part_lo(o, o->parts[o->next_part]) <= hi)
		{
			add_part(o, o->parts[o->next_part++]);
			opened = true;
		}
		if (!opened)
			return hi;
		qsort(o->entries, o->nentries, sizeof(Entry), entry_cmp);
	}
}

static int
ref_cmp(const void *a, const void *b)
{
	const Ref *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	if (x->entry != y->entry)
		return x->entry < y->entry ? -1 : 1;
	return x->row < y->row ? -1 : x->row > y->row;
}

/* Stand for the block of an entry.  False if it is damaged and to be skipped. */
static bool
set_block(MdbOrdered *o, MdbHeldBlock *held, const Entry *e)
{
	return mdb_scan_set_block(o->scan, held, mdb_scan_hold_part(o->scan, e->part), e->block);
}

/* The times of a window's rows.  False if there are more than expected. */
static bool
read_refs(MdbOrdered *o, int64 begin, int64 end)
{
	o->nrefs = o->next_ref = 0;
	for (int i = 0; i < o->nentries && o->entries[i].lo <= end; i++)
	{
		Entry *e = &o->entries[i];
		const int64 *times;
		bool sorted;

		CHECK_FOR_INTERRUPTS();
		if (e->hi < begin || !set_block(o, o->held, e))
			continue;
		times = mdb_block_times(o->held->block);
		sorted = o->held->block->part->one_series;
		for (uint32 n = 0; n < o->held->block->nrows; n++)
		{
			/* In the order of keys, if those of a series. */
			uint32 row = o->flip ? o->held->block->nrows - 1 - n : n;
			int64 key = key_of(o, times[row]);

			if (sorted && key > end)
				break;
			if (key < begin || key > end || (o->held->out && o->held->out[row]))
				continue;
			if (o->nrefs == SMALL_WINDOW)
			{
				o->nrefs = 0;
				return false;
			}
			o->refs[o->nrefs].key = key;
			o->refs[o->nrefs].entry = i;
			o->refs[o->nrefs].row = row;
			o->nrefs++;
		}
	}
	qsort(o->refs, o->nrefs, sizeof(Ref), ref_cmp);
	return true;
}

/* The rows of a window, all of them. */
static void
sort_rows(MdbOrdered *o, int64 begin, int64 end)
{
	ExecClearTuple(o->sorted_slot);
	if (o->sorted)
		tuplesort_end(o->sorted);
	o->sorted = begin_sort(o);
	for (int i = 0; i < o->nentries && o->entries[i].lo <= end; i++)
	{
		Entry *e = &o->entries[i];
		const int64 *times;

		if (e->hi < begin || !set_block(o, o->held, e))
			continue;
		times = mdb_block_times(o->held->block);
		for (uint32 row = 0; row < o->held->block->nrows; row++)
		{
			int64 key = key_of(o, times[row]);

			if (key < begin || key > end || (o->held->out && o->held->out[row]))
				continue;
			CHECK_FOR_INTERRUPTS();
			mdb_scan_store(o->scan, o->held, row, o->row_slot);
			if (mdb_scan_qualifies(o->state, o->row_slot))
				tuplesort_puttupleslot(o->sorted, o->row_slot);
		}
	}
	ExecClearTuple(o->row_slot);
	tuplesort_performsort(o->sorted);
	o->sorted_ready = tuplesort_gettupleslot(o->sorted, true, false, o->sorted_slot, NULL);
	o->sorted_taken = false;
}

/* Go to the next window.  False if there is none. */
static bool
next_window(MdbOrdered *o)
{
	MemoryContext old = MemoryContextSwitchTo(o->mcxt);
	int64 begin, end;
	double expected;
	int blocks = 0;
	bool found = false;

	o->nrefs = o->next_ref = 0;
	drop_passed(o);
	if (!o->passed && (o->nentries > 0 || o->next_part < o->nparts))
	{
		begin = o->nentries > 0 ? o->entries[0].lo : PG_INT64_MAX;
		if (o->next_part < o->nparts)
			begin = Min(begin, part_lo(o, o->parts[o->next_part]));
		begin = Max(begin, o->begin);
		end = choose_end(o, begin);
		expected = rows_until(o, begin, end);
		for (int i = 0; i < o->nentries && o->entries[i].lo <= end; i++)
			blocks += o->entries[i].hi >= begin;
		/*
		 * Rows one by one cost a block each, at worst: then there must be few, or they may never be asked
		 * for.
		 */
		if (expected > SMALL_WINDOW ||
			(blocks > o->ncache && expected > 2.0 * blocks && expected > 4 * o->first_rows) ||
			!read_refs(o, begin, end))
			sort_rows(o, begin, end);
		o->passed = end == PG_INT64_MAX;
		o->begin = o->passed ? end : end + 1;
		o->target = Min(o->target * WINDOW_GROWTH, o->target_max);
		found = true;
	}
	MemoryContextSwitchTo(old);
	return found;
}

/* ---------- rows ---------- */

/* What a block in the cache takes now. */
static void
weigh(MdbOrdered *o, Cached *c)
{
	Size now = mdb_block_memory(c->held->block);

	o->cached_bytes += now - c->bytes;
	c->bytes = now;
}

/* The hand of the clock goes on: to a block of which no row was returned since it was here last, else NULL. */
static Cached *
tick(MdbOrdered *o)
{
	Cached *c = &o->cache[o->hand];

	o->hand = (o->hand + 1) % o->ncache;
	if (!c->used)
		return c;
	c->used = false;
	return NULL;
}

/* Room for one more block in the cache: as long as they take more than work_mem, others are given up. */
static Cached *
room_in_cache(MdbOrdered *o)
{
	Cached *c;

	if (o->last)
		weigh(o, o->last);
	for (int i = 0; i < 2 * o->ncache && o->cached_bytes > work_mem * (Size) 1024; i++)
	{
		c = tick(o);
		if (c == NULL || c->held == NULL)
			continue;
		mdb_block_clear(c->held->block);
		c->part = -1;
		weigh(o, c);
	}
	do
		c = tick(o);
	while (c == NULL);
	if (c->held == NULL)
	{
		c->held = mdb_scan_hold_block(o->scan);
		c->held->block->sparse = true;
	}
	c->part = -1;
	return c;
}

/* The block of a row of a small window: often one that was decoded before.  NULL if it is to be skipped. */
static MdbHeldBlock *
cached_block(MdbOrdered *o, Entry *e)
{
	Cached *c = &o->cache[e->cached];

	if (c->part != e->part || c->block != e->block)
	{
		c = room_in_cache(o);
		e->cached = (int32) (c - o->cache);
		if (!set_block(o, c->held, e))
			return NULL;
		c->part = e->part;
		c->block = e->block;
	}
	c->used = true;
	o->last = c;
	return c->held;
}

/* Of a slot whose row is next in a sort: the key, or false if its time is NULL. */
static bool
slot_key(MdbOrdered *o, TupleTableSlot *slot, int64 *key)
{
	bool isnull;
	Datum value = slot_getattr(slot, o->time_attno, &isnull);

	if (!isnull)
		*key = key_of(o, mdb_push_time(o->state->push.table, value));
	return !isnull;
}

/* Return the row of a sort; it stays where it is until the next one is asked for. */
static void
store_sorted(TupleTableSlot *from, TupleTableSlot *slot)
{
	bool should_free;

	ExecClearTuple(slot);
	mdb_slot_store_tuple(slot, ExecFetchSlotMinimalTuple(from, &should_free));
	Assert(!should_free);
}

/* The next row of the windows: its key is looked up, but it is not taken yet. */
static bool
peek_window(MdbOrdered *o, int64 *key)
{
	for (;;)
	{
		if (o->sorted_ready && o->sorted_taken)
		{
			o->sorted_ready = tuplesort_gettupleslot(o->sorted, true, false, o->sorted_slot, NULL);
			o->sorted_taken = false;
		}
		if (o->sorted_ready)
			return slot_key(o, o->sorted_slot, key);
		if (o->next_ref < o->nrefs)
		{
			*key = o->refs[o->next_ref].key;
			return true;
		}
		if (!next_window(o))
			return false;
	}
}

static bool
peek_delta(MdbOrdered *o)
{
	if (o->delta_ready && o->delta_taken)
	{
		o->delta_ready = tuplesort_gettupleslot(o->delta, true, false, o->delta_slot, NULL);
		o->delta_taken = false;
	}
	return o->delta_ready;
}

/* The next row of parts that have no times. */
static bool
next_without_time(MdbOrdered *o, TupleTableSlot *slot)
{
	while (o->null_part < o->nnull_parts)
	{
		int p = o->null_parts[o->null_part];
		MdbPart *part = mdb_scan_hold_part(o->scan, p);

		while (part != NULL && o->null_block < part->nblocks)
		{
			CHECK_FOR_INTERRUPTS();
			if (!o->in_null_block)
			{
				o->null_row = 0;
				o->in_null_block = mdb_scan_block_wanted(o->scan, part, o->null_block) &&
								   mdb_scan_set_block(o->scan, o->held, part, o->null_block);
			}
			while (o->in_null_block && o->null_row < o->held->block->nrows)
			{
				uint32 row = o->null_row++;

				if (o->held->out && o->held->out[row])
					continue;
				mdb_scan_store(o->scan, o->held, row, slot);
				return true;
			}
			o->in_null_block = false;
			o->null_block++;
		}
		mdb_scan_let_part_go(o->scan, p);
		o->null_part++;
		o->null_block = 0;
	}
	return false;
}

/*
 * mdb_ordered_next - the next row, into a slot of ours.  *qualified tells whether it was asked already if it
 * passes the plan's conditions.
 */
bool
mdb_ordered_next(MdbOrdered *o, TupleTableSlot *slot, bool *qualified)
{
	for (;;)
	{
		int64 key = 0, delta_key = 0;
		bool in_window, in_delta;

		*qualified = false;
		if (o->stage == STAGE_NULLS_BEFORE || o->stage == STAGE_NULLS_AFTER)
		{
			if (next_without_time(o, slot))
				return true;
			if (peek_delta(o) && !slot_key(o, o->delta_slot, &delta_key))
			{
				*qualified = o->delta_taken = true;
				store_sorted(o->delta_slot, slot);
				return true;
			}
			o->stage = o->stage == STAGE_NULLS_BEFORE ? STAGE_WINDOWS : STAGE_END;
			continue;
		}
		if (o->stage == STAGE_END)
			return false;

		in_window = peek_window(o, &key);
		in_delta = peek_delta(o) && slot_key(o, o->delta_slot, &delta_key);
		if (in_delta && (!in_window || delta_key < key))
		{
			*qualified = o->delta_taken = true;
			store_sorted(o->delta_slot, slot);
			return true;
		}
		if (!in_window)
		{
			o->stage = o->state->nulls_first ? STAGE_END : STAGE_NULLS_AFTER;
			continue;
		}
		if (o->sorted_ready)
		{
			*qualified = o->sorted_taken = true;
			store_sorted(o->sorted_slot, slot);
			return true;
		}
		else
		{
			Ref *ref = &o->refs[o->next_ref++];
			MdbHeldBlock *held = cached_block(o, &o->entries[ref->entry]);

			if (held == NULL)
				continue;
			mdb_scan_store(o->scan, held, ref->row, slot);
			return true;
		}
	}
}
