/*
 * merge.c
 *	  Several parts of one partition to a bigger one.
 *
 * The inputs are sorted by (series, time), and are merged as sorted streams: of each no more than
 * one block is in memory, and of the output the block that is being filled, so that what a merge
 * takes does not depend on how many rows a series has, or how long the values are (README.md states
 * the bound).  Equal (series, time) keep the order in which the inputs are given.
 *
 * Rows go from the inputs to the output in runs: which rows is known from series and times alone;
 * the other columns are then copied one by one.  They are decoded when they are first needed, and
 * thrown away, to be decoded again, if the inputs' blocks together are too large.
 *
 * Input rows' deletion and the output's insertion are one transaction: every snapshot sees the one
 * or the other.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "stop.h"
#include "write/merge.h"

/* How long somebody waits for our lock until a merge gives way, and how often we look. */
#define GIVE_WAY_US      (1 * USECS_PER_SEC)
#define GIVE_WAY_LOOK_US (200 * 1000)

/* How large a part's directory may become; tests have smaller ones. */
#ifdef MDB_TESTING
int mdb_merge_directory = -1;
#define DIRECTORY_MAX (mdb_merge_directory >= 0 ? (Size) mdb_merge_directory : MDB_MERGE_DIRECTORY_MAX)
#else
#define DIRECTORY_MAX MDB_MERGE_DIRECTORY_MAX
#endif

/* One input, and the block of it that is being merged. */
typedef struct Input
{
	MdbPart *part;
	int order; /* among equal rows, and of the input in the set */
	int block;
	int64 block_first; /* row number */
	const uint8 *dead; /* rows of the block that were deleted; NULL = none */
	uint32 row;
	uint32 nrows;
	uint32 *series;
	int64 *times;
	uint32 last_series; /* of the block before */
	int64 last_time;
	uint32 *row_bytes;   /* of the values by reference; NULL if the table has none */
	int16 *column_index; /* of the output's columns in this part, or -1 */
	MemoryContext values_mcxt;
	MdbVector *columns; /* decoded if loaded says so */
	bool *loaded;
	uint64 used; /* when a column was last asked for */
	Size bytes;  /* of the decoded columns */
} Input;

/* Rows that are to be copied. */
typedef struct Run
{
	Input *in;
	uint32 first;
	uint32 n;
} Run;

typedef struct Merge
{
	Relation rel;
	const MdbTable *table;
	int ninputs;
	Input *inputs;
	Input **heap; /* those with rows left; the first has the least */
	int nheap;
	bool has_bytes; /* columns by reference */
	Size value_bytes;
	uint64 clock;
	/* the output */
	bool one_series;
	bool has_time;
	uint32 block_rows;
	MdbPartWriter *writer;
	MdbBatch *block;
	Run *runs; /* pending: not copied to the block yet */
	uint32 nruns;
	uint32 npending;
	Size block_bytes; /* by reference, of the block's and the pending rows */
	MdbPartInfo info; /* of the output */
	MdbMergeResult *result;
	const MdbMergeSet *set;
	MdbMergeRows *rows;
	bool claimed;
	MdbMergePending *pending;
	bool lost; /* somebody is at rows of the inputs */
	/* giving way */
	bool may_give_way;
	TimestampTz look_at;
	TimestampTz waited_since;
} Merge;

/* ---- inputs ---- */

static void
drop_values(Merge *m, Input *in)
{
	MemoryContextReset(in->values_mcxt);
	memset(in->loaded, 0, sizeof(bool) * m->block->ncolumns);
	mdb_part_release(in->part);
	m->value_bytes -= in->bytes;
	in->bytes = 0;
}

/* The least recently used other input gives its decoded columns back.  False if there is none. */
static bool
evict(Merge *m, const Input *keep)
{
	Input *oldest = NULL;

	for (int i = 0; i < m->ninputs; i++)
	{
		Input *in = &m->inputs[i];

		if (in != keep && in->bytes > 0 && (oldest == NULL || in->used < oldest->used))
			oldest = in;
	}
	if (oldest)
		drop_values(m, oldest);
	return oldest != NULL;
}

/* A column of the input's block, by index of the output's columns; NULL if the part does not have it. */
static const MdbVector *
input_column(Merge *m, Input *in, int column)
{
	MdbVector *vec = &in->columns[column];
	Size bytes;

	if (in->column_index[column] < 0)
		return NULL;
	in->used = ++m->clock;
	if (in->loaded[column])
		return vec;
	CHECK_FOR_INTERRUPTS();
	while (m->value_bytes > MDB_MERGE_VALUES_MAX && evict(m, in))
		;
	mdb_part_read_column(in->part, in->column_index[column], in->block, vec, in->values_mcxt);
	mdb_part_release(in->part);
	in->loaded[column] = true;
	bytes = vec->phys == MDB_BYTES ? vec->datalen + in->nrows * sizeof(uint32) : in->nrows * sizeof(int64);
	bytes += vec->nulls ? in->nrows : 0;
	in->bytes += bytes;
	m->value_bytes += bytes;
	while (m->value_bytes > MDB_MERGE_VALUES_MAX && evict(m, in))
		;
	return vec;
}

static void
check_order(Input *in)
{
	uint32 s = in->last_series;
	int64 t = in->last_time;

	for (uint32 i = 0; i < in->nrows; i++)
	{
		if (in->series[i] < s || (in->series[i] == s && in->times[i] < t))
			mdb_part_damaged(in->part, "Its rows are not in order.");
		s = in->series[i];
		t = in->times[i];
	}
	in->last_series = s;
	in->last_time = t;
}

/* Go to the input's block: decode what says where its rows belong.  False after the last one. */
static bool
load_block(Merge *m, Input *in)
{
	if (in->bytes > 0)
		drop_values(m, in);
	in->block_first += in->nrows;
	in->row = in->nrows = 0;
	if (in->block >= in->part->nblocks)
		return false;
	in->nrows = (uint32) in->part->block_rows[in->block];
	mdb_part_read_series(in->part, in->block, in->series);
	if (in->part->has_time)
		mdb_part_read_times(in->part, in->block, in->times);
	check_order(in);
	in->dead = mdb_merge_rows_dead(m->rows, in->block_first, in->nrows, in->order);
	if (m->has_bytes)
	{
		memset(in->row_bytes, 0, sizeof(uint32) * in->nrows);
		for (int c = 0; c < m->block->ncolumns; c++)
		{
			const MdbVector *vec;
			uint32 begin = 0;

			if (m->block->columns[c].phys != MDB_BYTES || (vec = input_column(m, in, c)) == NULL)
				continue;
			for (uint32 i = 0; i < in->nrows; i++)
			{
				in->row_bytes[i] =
					(uint32) Min((uint64) in->row_bytes[i] + vec->ends[i] - begin, PG_UINT32_MAX);
				begin = vec->ends[i];
			}
		}
	}
	return true;
}

static void
open_input(Merge *m, Input *in, const MdbPartInfo *info, int order)
{
	Size room = MDB_DECODE_SLACK;
	int ncolumns = m->block->ncolumns;

	in->part = mdb_part_open(m->rel, info);
	in->order = order;
	in->block_first = info->row_first;
	for (int b = 0; b < in->part->nblocks; b++)
		room = Max(room, (Size) in->part->block_rows[b] + MDB_DECODE_SLACK);
	in->series = palloc(sizeof(uint32) * room);
	in->times = palloc0(sizeof(int64) * room);
	in->last_time = PG_INT64_MIN;
	if (m->has_bytes)
		in->row_bytes = palloc(sizeof(uint32) * room);
	in->columns = palloc0(sizeof(MdbVector) * Max(1, ncolumns));
	in->loaded = palloc0(sizeof(bool) * Max(1, ncolumns));
	in->column_index = palloc(sizeof(int16) * Max(1, ncolumns));
	for (int c = 0; c < ncolumns; c++)
		in->column_index[c] = mdb_part_column_index(in->part, m->block->columns[c].attno);
	in->values_mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb merge block", ALLOCSET_DEFAULT_SIZES);
	m->has_time |= in->part->has_time;
}

/* ---- the heap ---- */

/* Does row a of x go before row b of y? */
static inline bool
row_before(const Input *x, uint32 a, const Input *y, uint32 b)
{
	if (x->series[a] != y->series[b])
		return x->series[a] < y->series[b];
	if (x->times[a] != y->times[b])
		return x->times[a] < y->times[b];
	return x->order < y->order;
}

static void
sift_down(Merge *m, int at)
{
	Input *in = m->heap[at];

	for (;;)
	{
		int child = 2 * at + 1;

		if (child >= m->nheap)
			break;
		if (child + 1 < m->nheap &&
			row_before(m->heap[child + 1], m->heap[child + 1]->row, m->heap[child], m->heap[child]->row))
			child++;
		if (!row_before(m->heap[child], m->heap[child]->row, in, in->row))
			break;
		m->heap[at] = m->heap[child];
		at = child;
	}
	m->heap[at] = in;
}

/* How many rows of the first input go before all of the others'. */
static uint32
first_run(const Merge *m)
{
	const Input *in = m->heap[0];
	const Input *next = m->nheap > 1 ? m->heap[1] : NULL;
	uint32 lo = in->row;
	uint32 hi = in->nrows;
	uint32 step = 1;

	if (m->nheap > 2 && row_before(m->heap[2], m->heap[2]->row, next, next->row))
		next = m->heap[2];
	if (next == NULL || row_before(in, hi - 1, next, next->row))
		return hi - lo;
	/* Row lo goes before next's, row hi - 1 does not. */
	while (lo + step < hi && row_before(in, lo + step, next, next->row))
	{
		lo += step;
		step *= 2;
	}
	hi = Min(hi, lo + step);
	while (hi - lo > 1)
	{
		uint32 mid = lo + (hi - lo) / 2;

		if (row_before(in, mid, next, next->row))
			lo = mid;
		else
			hi = mid;
	}
	return lo + 1 - in->row;
}

/* ---- the output ---- */

/* Values of a column that rows of a part have which is older than the column: ADD COLUMN's default. */
static void
copy_missing(Merge *m, MdbVector *to, uint32 row, uint32 n)
{
	bool isnull;
	Datum value = getmissingattr(RelationGetDescr(m->rel), to->attno, &isnull);

	for (uint32 i = 0; i < n; i++)
		mdb_vector_append_datum(m->block, to, row + i, value, isnull);
}

/* Copy the pending runs to the end of the block. */
static void
copy_runs(Merge *m)
{
	MdbBatch *block = m->block;
	uint32 at = block->nrows;

	if (m->nruns == 0)
		return;
	mdb_batch_reserve(block, at + m->npending);
	for (uint32 r = 0, row = at; r < m->nruns; row += m->runs[r++].n)
	{
		Run *run = &m->runs[r];

		memcpy(block->series + row, run->in->series + run->first, run->n * sizeof(uint32));
		memcpy(block->times + row, run->in->times + run->first, run->n * sizeof(int64));
	}
	for (int c = 0; c < block->ncolumns; c++)
	{
		MdbVector *to = &block->columns[c];

		for (uint32 r = 0, row = at; r < m->nruns; row += m->runs[r++].n)
		{
			Run *run = &m->runs[r];
			const MdbVector *from = input_column(m, run->in, c);

			if (from == NULL)
				copy_missing(m, to, row, run->n);
			else if (run->n == 1 && to->phys != MDB_BYTES && to->phys != MDB_F32 && from->nnulls == 0)
				((int64 *) to->values)[row] = ((const int64 *) from->values)[run->first];
			else
				mdb_vector_copy_run(block, to, row, from, run->first, run->n);
		}
	}
	block->nrows += m->npending;
	m->nruns = m->npending = 0;
}

/* If what is pending is just one block of one input: that block, as a batch of borrowed vectors. */
static bool
whole_block(Merge *m, MdbBatch *view, MdbVector *vectors)
{
	Input *in;

	if (m->block->nrows > 0 || m->nruns != 1 || m->runs[0].n != m->runs[0].in->nrows)
		return false;
	in = m->runs[0].in;
	for (int c = 0; c < m->block->ncolumns; c++)
		if (in->column_index[c] < 0)
			return false;
	*view = *m->block;
	view->nrows = in->nrows;
	view->series = in->series;
	view->times = in->times;
	view->time_nulls = NULL;
	view->columns = vectors;
	for (int c = 0; c < view->ncolumns; c++)
		vectors[c] = *input_column(m, in, c);
	return true;
}

/*
 * The output, or a part of it, is complete.  Nothing of it may be seen, nor written to the file, before
 * the inputs are claimed.
 */
static void
finish_part(Merge *m)
{
	MdbMergeResult *r = m->result;
	int64 *taken_to = palloc(sizeof(int64) * m->ninputs);

	for (int i = 0; i < m->ninputs; i++)
		taken_to[i] = m->inputs[i].block_first + m->inputs[i].row;
	m->lost = !mdb_merge_rows_claim(m->rows, m->set->parts, taken_to) ||
			  (!m->claimed && !mdb_merge_pending_claim(m->rel, m->table, m->set, &m->pending));
	pfree(taken_to);
	if (m->lost)
		return;
	m->claimed = true;
	MDB_STOP("merge.claimed");
	/* Blocks that are open were looked at with an older snapshot. */
	for (int i = 0; i < m->ninputs; i++)
	{
		Input *in = &m->inputs[i];

		if (in->nrows > 0)
			in->dead = mdb_merge_rows_dead(m->rows, in->block_first, in->nrows, in->order);
	}
	if (m->writer == NULL)
		return;
	mdb_writer_finish(m->writer, m->rel, &m->info, GetCurrentCommandId(true), 0);
	m->writer = NULL;
	MDB_STOP("merge.output");
	mdb_merge_pending_placed(m->pending, &m->info);
	mdb_merge_rows_placed(m->rows, m->info.row_first);
	mdb_index_new_part(m->rel, &m->info);
	r->nrows += m->info.nrows;
	r->nbytes += m->info.nbytes;
	r->parts = r->parts ? repalloc(r->parts, sizeof(int64) * (r->nparts + 1))
						: MemoryContextAlloc(r->mcxt, sizeof(int64));
	r->parts[r->nparts++] = m->info.part_id;
}

/* Write the block with what is pending. */
static void
write_block(Merge *m)
{
	MdbVector *vectors;
	MdbBatch view;
	MdbBatch *block = m->block;

	if (m->block->nrows + m->npending == 0)
		return;
	CHECK_FOR_INTERRUPTS();
	vectors = palloc(sizeof(MdbVector) * Max(1, block->ncolumns));
	if (m->has_time && whole_block(m, &view, vectors))
	{
		block = &view;
		m->nruns = m->npending = 0;
	}
	else
		copy_runs(m);
	if (!m->has_time && m->table->time_attno > 0)
	{
		if (block->time_nulls == NULL)
			block->time_nulls = MemoryContextAllocZero(block->mcxt, block->capacity + MDB_DECODE_SLACK);
		block->time_nulls[0] = 1;
	}
	if (m->writer == NULL)
		m->writer = mdb_writer_begin(m->table, m->one_series, m->set->cold);
	mdb_writer_add(m->writer, block);
	MDB_STOP("merge.middle");
	pfree(vectors);
	mdb_batch_reset(m->block);
	m->block_bytes = 0;
	/* A directory is built in memory. */
	if (mdb_writer_directory(m->writer) > DIRECTORY_MAX || mdb_merge_rows_full(m->rows))
		finish_part(m);
}

/* The rows of an input's block have all been taken, and it will be replaced: what is pending must be copied. */
static void
end_block(Merge *m, const Input *in)
{
	/* One that is large is passed on as it is. */
	if (m->block->nrows == 0 && m->nruns == 1 && m->runs[0].n == in->nrows && m->runs[0].in == in &&
		(in->nrows >= m->block_rows / 2 || m->block_bytes >= MDB_BLOCK_BYTES_MAX / 2))
		write_block(m);
	else
		copy_runs(m);
}

/*
 * The next n rows of an input go to the output; or fewer, if a part of the output was completed: which rows
 * are dead is looked at anew then.
 */
static void
take_rows(Merge *m, Input *in, uint32 n)
{
	int nparts = m->result->nparts;

	while (n > 0 && !m->lost && m->result->nparts == nparts)
	{
		uint32 have = m->block->nrows + m->npending;
		uint32 fit = Min(n, m->block_rows - have);

		if (m->one_series && have > 0)
		{
			Run *last = m->nruns > 0 ? &m->runs[m->nruns - 1] : NULL;
			uint32 s = last ? last->in->series[last->first] : m->block->series[m->block->nrows - 1];

			if (s != in->series[in->row])
			{
				write_block(m);
				continue;
			}
		}
		if (m->one_series && !in->part->one_series)
		{
			uint32 same = 1;

			while (same < fit && in->series[in->row + same] == in->series[in->row])
				same++;
			fit = Min(fit, same);
		}
		if (m->has_bytes)
		{
			uint32 i;

			for (i = 0; i < fit; i++)
			{
				if (have + i > 0 && m->block_bytes + in->row_bytes[in->row + i] > MDB_BLOCK_BYTES_MAX)
					break;
				m->block_bytes += in->row_bytes[in->row + i];
			}
			fit = i;
		}
		if (fit == 0)
		{
			write_block(m);
			continue;
		}
		m->runs[m->nruns].in = in;
		m->runs[m->nruns].first = in->row;
		m->runs[m->nruns++].n = fit;
		mdb_merge_rows_taken(m->rows, in->order, in->block_first + in->row, fit);
		m->npending += fit;
		in->row += fit;
		n -= fit;
		if (m->block->nrows + m->npending == m->block_rows)
			write_block(m);
	}
}

/* Does a row belong to another output than the one that is being made? */
static inline bool
is_of_other_class(const Merge *m, const Input *in, uint32 row)
{
	MdbClassifier *classifier = m->set->classifier;

	return classifier && mdb_class_of_series(classifier, in->series[row]) != m->info.class;
}

/* The same without those that were deleted, or are of other classes, which are passed over. */
static void
take_living_rows(Merge *m, Input *in, uint32 n)
{
	uint32 end = in->row + n;

	while (in->row < end && !m->lost)
	{
		uint32 living = 0;

		if (is_of_other_class(m, in, in->row))
		{
			in->row++;
			continue;
		}
		if (in->dead && in->dead[in->row])
		{
			in->row++;
			m->result->ndropped++;
			continue;
		}
		while (in->row + living < end && !(in->dead && in->dead[in->row + living]) &&
			   !is_of_other_class(m, in, in->row + living))
			living++;
		take_rows(m, in, living);
	}
}

/*
 * Has somebody been waiting for long for a lock that ours is in the way of?  So far nothing has been
 * written but to a temporary file, so a merge can simply end.
 */
static bool
should_give_way(Merge *m)
{
	TimestampTz now;

	if (!m->may_give_way || (now = GetCurrentTimestamp()) < m->look_at)
		return false;
	m->look_at = now + GIVE_WAY_LOOK_US;
	if (!LockHasWaitersRelation(m->rel, ShareUpdateExclusiveLock))
		m->waited_since = 0;
	else if (m->waited_since == 0)
		m->waited_since = now;
	else
		return now - m->waited_since >= GIVE_WAY_US;
	return false;
}

/* To the beginning of all inputs. */
static void
rewind_inputs(Merge *m)
{
	m->nheap = 0;
	for (int i = 0; i < m->ninputs; i++)
	{
		Input *in = &m->inputs[i];

		if (in->bytes > 0)
			drop_values(m, in);
		in->block = 0;
		in->block_first = in->part->info.row_first;
		in->row = in->nrows = 0;
		in->last_series = 0;
		in->last_time = PG_INT64_MIN;
		if (load_block(m, in))
			m->heap[m->nheap++] = in;
	}
	for (int i = m->nheap / 2; i-- > 0;)
		sift_down(m, i);
}

static void
begin_merge(Merge *m, const MdbMergeSet *set)
{
	int64 nrows = 0;
	int64 nseries = 1;
	Size row_bytes = sizeof(uint32) + sizeof(int64);

	m->block = mdb_batch_create(m->table, 64);
	for (int c = 0; c < m->block->ncolumns; c++)
	{
		m->has_bytes |= m->block->columns[c].phys == MDB_BYTES;
		row_bytes += sizeof(int64);
	}
	m->set = set;
	m->rows = mdb_merge_rows_begin(m->rel, m->table, set->count);
	m->ninputs = set->count;
	m->inputs = palloc0(sizeof(Input) * set->count);
	m->heap = palloc(sizeof(Input *) * set->count);
	for (int i = 0; i < set->count; i++)
	{
		open_input(m, &m->inputs[i], &set->parts[i], i);
		nrows += set->parts[i].nrows;
		nseries = Max(nseries, set->parts[i].nseries);
		m->info.overlaps |= set->parts[i].overlaps;
	}
	m->one_series = nrows / nseries >= MDB_ONE_SERIES_MIN_ROWS;
	m->block_rows = m->one_series && !set->cold ? MDB_SERIES_BLOCK_ROWS : MDB_BLOCK_ROWS_MAX;
	m->block_rows = Max(1, Min(m->block_rows, MDB_BLOCK_BYTES_MAX / row_bytes));
	m->runs = palloc(sizeof(Run) * m->block_rows);
	m->info.storage_id = m->table->storage_id;
	m->info.level = set->level;
	m->info.class = set->parts[0].class;
	m->info.day = set->parts[0].day;
	m->info.days = set->parts[0].days;
}

/* Merge the inputs' rows, or those of one class.  False if it gave way to somebody who waits. */
static bool
merge_rows(Merge *m)
{
	rewind_inputs(m);
	while (m->nheap > 0)
	{
		Input *in = m->heap[0];

		take_living_rows(m, in, first_run(m));
		if (m->lost)
			return true;
		if (in->row == in->nrows)
		{
			end_block(m, in);
			in->block++;
			if (!load_block(m, in))
				m->heap[0] = m->heap[--m->nheap];
			if (m->result->nparts == 0 && should_give_way(m))
				return false;
		}
		if (m->nheap > 0)
			sift_down(m, 0);
	}
	write_block(m);
	if (!m->lost)
		finish_part(m);
	return true;
}

/*
 * mdb_merge_parts - merge the parts of a set into one, or more where one's directory would be too
 * large, or one for each class of rows.
 *
 * False if it gave way to somebody who waits for a lock on the table, or is at rows of the inputs;
 * nothing was done then.
 * Otherwise result tells what was.  The caller holds ShareUpdateExclusiveLock.
 */
bool
mdb_merge_parts(Relation rel, const MdbTable *table, const MdbMergeSet *set, bool may_give_way,
				MdbMergeResult *result)
{
	MemoryContext mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb merge", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	Merge m = {.rel = rel, .table = table, .result = result, .may_give_way = may_give_way};
	int64 nrows = 0;
	bool gave_way = false;

	result->mcxt = old;
	begin_merge(&m, set);
	MDB_STOP("merge.start");
	if (set->classifier == NULL)
		gave_way = !merge_rows(&m);
	/* Once for each class: series' classes lie in no order. */
	for (int i = 0; set->classifier && i < set->nclasses && !gave_way && !m.lost; i++)
	{
		m.info.class = set->classes[i];
		gave_way = !merge_rows(&m);
	}
	gave_way |= m.lost;
	mdb_merge_rows_end(m.rows);
	if (gave_way)
	{
		if (m.writer)
			mdb_writer_free(m.writer);
	}
	else
	{
		for (int i = 0; i < set->count; i++)
		{
			nrows += set->parts[i].nrows;
			mdb_part_delete(&set->parts[i]);
		}
		if (result->nrows + result->ndropped != nrows)
			elog(ERROR, "merge of table \"%s\" got %lld rows from parts of %lld rows, %lld of them deleted",
				 RelationGetRelationName(rel), (long long) result->nrows, (long long) nrows,
				 (long long) result->ndropped);
		CommandCounterIncrement();
		MDB_STOP("merge.end");
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
	return !gave_way;
}
