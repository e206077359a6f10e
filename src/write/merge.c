/*
 * merge.c
 *	  Several parts of one partition to a bigger one.
 *
 * The inputs are read side by side, series by series; rows of a series are brought into order of
 * time and encoded anew, so that with enough rows a series gets blocks of its own.  Equal times
 * keep the order in which the parts were written.  Input rows' deletion and the output's
 * insertion are one transaction: every snapshot sees the one or the other.
 *
 * Which parts: a level holds up to MERGE_FANIN parts of a partition, then all of them become one
 * of the next level, so that a row is written once a level.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "write/write.h"

#define MERGE_FANIN       10 /* parts of one level that make one of the next */
#define MERGE_INPUTS_MAX  64
#define MERGE_ROWS_MAX    (INT64CONST(128) * 1024 * 1024)
#define MERGE_BYTES_MAX   (INT64CONST(512) * 1024 * 1024) /* encoded: a part is built in memory */
#define MERGE_IDLE_US     (INT64CONST(600) * 1000000)     /* a partition that rests is merged to one part */

#define SPACE_SLACK_PAGES 256 /* free pages of a file that are not worth moving parts for */

/* One input: the block it is at, decoded. */
typedef struct Cursor
{
	MdbPart *part;
	MemoryContext block_mcxt;
	int block;
	uint32 row;
	uint32 nrows;
	uint32 *series;
	int64 *times;
	MdbVector *columns; /* by index of the output batch */
	bool *present;
} Cursor;

static void
load_block(Cursor *c, const MdbBatch *out)
{
	MemoryContext old;

	MemoryContextReset(c->block_mcxt);
	if (c->block >= c->part->nblocks)
	{
		c->nrows = 0;
		return;
	}
	old = MemoryContextSwitchTo(c->block_mcxt);
	c->row = 0;
	c->nrows = (uint32) c->part->block_rows[c->block];
	c->series = palloc(sizeof(uint32) * (c->nrows + MDB_DECODE_SLACK));
	c->times = palloc0(sizeof(int64) * (c->nrows + MDB_DECODE_SLACK));
	c->columns = palloc0(sizeof(MdbVector) * Max(1, out->ncolumns));
	c->present = palloc0(sizeof(bool) * Max(1, out->ncolumns));
	mdb_part_read_series(c->part, c->block, c->series);
	if (c->part->has_time)
		mdb_part_read_times(c->part, c->block, c->times);
	for (int i = 0; i < out->ncolumns; i++)
	{
		int column = mdb_part_column_index(c->part, out->columns[i].attno);

		if (column < 0)
			continue;
		mdb_part_read_column(c->part, column, c->block, &c->columns[i], c->block_mcxt);
		c->present[i] = true;
	}
	MemoryContextSwitchTo(old);
}

/*
 * Value that rows of a part have in a column which came later: ADD COLUMN's stored default.
 * Copied as a run of n rows.
 */
static void
copy_missing(MdbBatch *acc, MdbVector *to, TupleDesc desc, uint32 row, uint32 n)
{
	bool isnull;
	Datum value = getmissingattr(desc, to->attno, &isnull);

	for (uint32 i = 0; i < n; i++)
		mdb_vector_append_datum(acc, to, row + i, value, isnull);
}

/* Move the rows of series s at the front of the cursor to the end of acc. */
static void
take_series(Cursor *c, uint32 s, MdbBatch *acc, TupleDesc desc)
{
	while (c->nrows > 0 && c->series[c->row] == s)
	{
		uint32 n = 1;
		uint32 at = acc->nrows;

		if (c->part->one_series)
			n = c->nrows - c->row;
		else
			while (c->row + n < c->nrows && c->series[c->row + n] == s)
				n++;
		mdb_batch_reserve(acc, at + n);
		for (uint32 i = 0; i < n; i++)
			acc->series[at + i] = s;
		memcpy(acc->times + at, c->times + c->row, n * sizeof(int64));
		for (int i = 0; i < acc->ncolumns; i++)
		{
			if (c->present[i])
				mdb_vector_copy_run(acc, &acc->columns[i], at, &c->columns[i], c->row, n);
			else
				copy_missing(acc, &acc->columns[i], desc, at, n);
		}
		acc->nrows += n;
		c->row += n;
		if (c->row == c->nrows)
		{
			c->block++;
			load_block(c, acc);
		}
	}
}

/* Rows [first, first + n) of src, appended to dst. */
static void
append_range(MdbBatch *dst, const MdbBatch *src, uint32 first, uint32 n)
{
	uint32 at = dst->nrows;

	mdb_batch_reserve(dst, at + n);
	memcpy(dst->series + at, src->series + first, n * sizeof(uint32));
	memcpy(dst->times + at, src->times + first, n * sizeof(int64));
	for (int i = 0; i < dst->ncolumns; i++)
		mdb_vector_copy_run(dst, &dst->columns[i], at, &src->columns[i], first, n);
	dst->nrows += n;
}

typedef struct Output
{
	const MdbTable *table;
	bool one_series;
	bool has_time;
	uint32 block_rows;
	MdbPartWriter *writer;
	MdbBatch *block;
} Output;

/* Of n rows from first on, as many as a block may hold by their raw bytes. */
static uint32
rows_that_fit(const MdbBatch *acc, uint32 first, uint32 n)
{
	for (; n > 1; n /= 2)
	{
		Size bytes = 0;

		for (int i = 0; i < acc->ncolumns; i++)
			if (acc->columns[i].phys == MDB_BYTES)
				bytes +=
					acc->columns[i].ends[first + n - 1] - (first > 0 ? acc->columns[i].ends[first - 1] : 0);
		if (bytes <= MDB_BLOCK_BYTES_MAX)
			break;
	}
	return n;
}

/* Rows [first, first + n) of acc as a block, or as several if they are wide. */
static void
emit(Output *out, const MdbBatch *acc, uint32 first, uint32 n)
{
	while (n > 0)
	{
		uint32 fit = rows_that_fit(acc, first, n);

		CHECK_FOR_INTERRUPTS();
		mdb_batch_reset(out->block);
		append_range(out->block, acc, first, fit);
		if (!out->has_time && out->table->time_attno > 0)
		{
			if (out->block->time_nulls == NULL)
				out->block->time_nulls =
					MemoryContextAllocZero(out->block->mcxt, out->block->capacity + MDB_DECODE_SLACK);
			out->block->time_nulls[0] = 1;
		}
		mdb_writer_add(out->writer, out->block);
		first += fit;
		n -= fit;
	}
}

static bool
times_in_order(const int64 *t, uint32 n)
{
	for (uint32 i = 1; i < n; i++)
		if (t[i - 1] > t[i])
			return false;
	return true;
}

/* A part that a call with this goal has made. */
static void
goal_add(MdbCompactGoal *goal, int64 part_id)
{
	if (goal == NULL)
		return;
	if (goal->own == NULL)
		goal->own = MemoryContextAlloc(goal->mcxt, sizeof(int64));
	else
		goal->own = repalloc(goal->own, sizeof(int64) * (goal->nown + 1));
	goal->own[goal->nown++] = part_id;
}

static bool
goal_owns(const MdbCompactGoal *goal, int64 part_id)
{
	for (int i = 0; i < goal->nown; i++)
		if (goal->own[i] == part_id)
			return true;
	return false;
}

/* Merge the parts, of one partition, into one. */
static void
merge_parts(Relation rel, const MdbTable *table, const MdbPartInfo *infos, int count, int16 level,
			MdbCompactGoal *goal)
{
	MemoryContext mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb merge", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	Cursor *cursors = palloc0(sizeof(Cursor) * count);
	MdbBatch *acc = mdb_batch_create(table, 2 * MDB_BLOCK_ROWS_MAX);
	MdbBatch *sorted = mdb_batch_create(table, MDB_SERIES_BLOCK_ROWS);
	MdbBatch *spare = mdb_batch_create(table, 2 * MDB_BLOCK_ROWS_MAX);
	Output out = {0};
	MdbPartInfo info = {0};
	int64 nrows = 0;
	int64 nseries = 0;
	int64 nbytes = 0;

	for (int i = 0; i < count; i++)
	{
		cursors[i].part = mdb_part_open(rel, &infos[i]);
		cursors[i].block_mcxt = AllocSetContextCreate(mcxt, "metricsdb merge block", ALLOCSET_DEFAULT_SIZES);
		load_block(&cursors[i], acc);
		nrows += infos[i].nrows;
		nbytes += infos[i].nbytes;
		nseries = Max(nseries, infos[i].nseries);
		out.has_time |= cursors[i].part->has_time;
		info.overlaps |= infos[i].overlaps;
	}
	out.table = table;
	out.one_series = nrows / nseries >= MDB_ONE_SERIES_MIN_ROWS;
	out.block_rows = out.one_series ? MDB_SERIES_BLOCK_ROWS : MDB_BLOCK_ROWS_MAX;
	/* Encoded bytes are fewer than raw ones, so be careful with wide rows. */
	out.block_rows = Max(1, Min(out.block_rows, MDB_BLOCK_BYTES_MAX / 2 / (nbytes / nrows + 1)));
	out.block = mdb_batch_create(table, out.block_rows);
	out.writer = mdb_writer_begin(table, out.one_series);

	for (;;)
	{
		uint32 s = PG_UINT32_MAX;
		uint32 first = acc->nrows;
		uint32 n;
		bool any = false;

		for (int i = 0; i < count; i++)
			if (cursors[i].nrows > 0)
			{
				s = Min(s, cursors[i].series[cursors[i].row]);
				any = true;
			}
		if (!any)
			break;
		for (int i = 0; i < count; i++)
			if (cursors[i].nrows > 0 && cursors[i].series[cursors[i].row] == s)
				take_series(&cursors[i], s, acc, RelationGetDescr(rel));
		n = acc->nrows - first;

		if (!times_in_order(acc->times + first, n))
		{
			uint32 *rows = palloc_extended(sizeof(uint32) * (Size) (first + n), MCXT_ALLOC_HUGE);
			MdbBatch *swap;

			for (uint32 i = 0; i < first + n; i++)
				rows[i] = i;
			mdb_sort_rows(acc, rows + first, n);
			mdb_batch_reset(sorted);
			mdb_batch_gather(sorted, acc, rows, first + n);
			pfree(rows);
			swap = acc;
			acc = sorted;
			sorted = swap;
		}

		if (out.one_series)
		{
			for (uint32 at = 0; at < acc->nrows; at += out.block_rows)
				emit(&out, acc, at, Min(out.block_rows, acc->nrows - at));
			mdb_batch_reset(acc);
		}
		else if (acc->nrows >= out.block_rows)
		{
			uint32 at = 0;
			MdbBatch *swap;

			for (; acc->nrows - at >= out.block_rows; at += out.block_rows)
				emit(&out, acc, at, out.block_rows);
			mdb_batch_reset(spare);
			if (acc->nrows > at)
				append_range(spare, acc, at, acc->nrows - at);
			swap = acc;
			acc = spare;
			spare = swap;
		}
	}
	if (acc->nrows > 0)
		for (uint32 at = 0; at < acc->nrows; at += out.block_rows)
			emit(&out, acc, at, Min(out.block_rows, acc->nrows - at));

	info.storage_id = table->storage_id;
	info.level = level;
	info.class = infos[0].class;
	info.day = infos[0].day;
	info.days = infos[0].days;
	mdb_writer_finish(out.writer, rel, &info, GetCurrentCommandId(true), 0);
	if (info.nrows != nrows)
		elog(ERROR, "merge of table \"%s\" got %lld rows from parts of %lld rows",
			 RelationGetRelationName(rel), (long long) info.nrows, (long long) nrows);
	for (int i = 0; i < count; i++)
		mdb_part_delete(&infos[i]);
	goal_add(goal, info.part_id);
	CommandCounterIncrement();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
}

/* Copy a part, as it is, to pages further to the front. */
static bool
move_part(Relation rel, const MdbPartInfo *from, MdbCompactGoal *goal)
{
	MdbPartInfo to = *from;
	StringInfoData payload;
	StringInfo piece = &payload;

	/* Anywhere else it would only be moved again, and its old pages are not free before long. */
	if (!mdb_space_place_part(rel, &to, from->page_first, GetCurrentCommandId(true), 0))
		return false;
	payload.data = palloc_extended(from->nbytes, MCXT_ALLOC_HUGE);
	payload.len = payload.maxlen = (int) from->nbytes;
	payload.cursor = 0;
	mdb_pages_read(rel, from, 0, from->nbytes, payload.data);
	mdb_pages_write(rel, &to, &piece, 1);
	mdb_part_delete(from);
	if (goal && goal->part_limit > 0 && (from->part_id < goal->part_limit || goal_owns(goal, from->part_id)))
		goal_add(goal, to.part_id);
	CommandCounterIncrement();
	pfree(payload.data);
	return true;
}

/*
 * mdb_space_step - give pages back that merges left behind: move the last part into a gap before
 * it, or cut the free end of the file.
 *
 * With a goal as far as possible, else only once a good part of the file is free.  The caller holds
 * ShareUpdateExclusiveLock.  True if something was done.
 */
bool
mdb_space_step(Relation rel, MdbCompactGoal *goal)
{
	MdbTable *table = mdb_table(rel);
	Snapshot snapshot = mdb_latest_snapshot();
	MdbPartList *list = mdb_parts_visible(table, snapshot);
	int64 live = 1;
	int64 pages = RelationGetNumberOfBlocks(rel);
	MdbPartInfo *last = NULL;

	UnregisterSnapshot(snapshot);
	for (int i = 0; i < list->count; i++)
	{
		live += list->parts[i].npages;
		if (last == NULL || list->parts[i].page_first > last->page_first)
			last = &list->parts[i];
	}
	if (pages <= (goal ? live : live + live / 4 + SPACE_SLACK_PAGES))
		return false;
	if (goal && !goal->moves_counted)
	{
		goal->moves_left = list->count;
		goal->moves_counted = true;
	}
	mdb_space_prune();
	if (mdb_space_truncate(rel, table))
		return true;
	if (last == NULL || (goal && goal->moves_left == 0) || !move_part(rel, last, goal))
		return false;
	if (goal)
		goal->moves_left--;
	return true;
}

/* Order of parts in which groups to merge lie together: by partition, level, age. */
static int
group_cmp(const void *a, const void *b)
{
	const MdbPartInfo *x = a, *y = b;

	if (x->class != y->class)
		return x->class < y->class ? -1 : 1;
	if (x->days != y->days)
		return x->days < y->days ? -1 : 1;
	if (x->day != y->day)
		return x->day < y->day ? -1 : 1;
	if (x->level != y->level)
		return x->level < y->level ? -1 : 1;
	return x->part_id < y->part_id ? -1 : x->part_id > y->part_id;
}

static bool
same_partition(const MdbPartInfo *x, const MdbPartInfo *y)
{
	return x->class == y->class && x->days == y->days && x->day == y->day;
}

static int
part_id_cmp(const void *a, const void *b)
{
	const MdbPartInfo *x = a, *y = b;

	return x->part_id < y->part_id ? -1 : x->part_id > y->part_id;
}

/*
 * mdb_merge_step - merge one set of parts, if there is one that should be.
 *
 * With a goal a partition is to be one part (or as few as the bounds allow).  The caller holds
 * ShareUpdateExclusiveLock.  True if something was merged.
 */
bool
mdb_merge_step(Relation rel, MdbCompactGoal *goal)
{
	MdbTable *table = mdb_table(rel);
	Snapshot snapshot = mdb_latest_snapshot(); /* newer than our lock */
	MdbPartList *list = mdb_parts_visible(table, snapshot);
	TimestampTz now = GetCurrentTimestamp();

	UnregisterSnapshot(snapshot);
	/* Rows that were deleted must not come back: merges do not know of them yet. */
	if (mdb_shadows_exist(table->storage_id))
		return false;
	if (goal)
	{
		int n = 0;

		if (goal->part_limit == 0)
			goal->part_limit = list->count > 0 ? list->parts[list->count - 1].part_id + 1 : 1;
		for (int i = 0; i < list->count; i++)
			if (list->parts[i].part_id < goal->part_limit || goal_owns(goal, list->parts[i].part_id))
				list->parts[n++] = list->parts[i];
		list->count = n;
	}
	qsort(list->parts, list->count, sizeof(MdbPartInfo), group_cmp);
	for (int i = 0; i < list->count;)
	{
		MdbPartInfo *group = &list->parts[i];
		int n = 0;      /* parts of the partition */
		int nlevel = 0; /* of them, of the lowest level */
		int take;
		int64 nrows = 0;
		int64 nbytes = 0;
		int16 level = 0;
		TimestampTz newest = 0;

		while (i + n < list->count && same_partition(group, &list->parts[i + n]))
		{
			newest = Max(newest, group[n].created_at);
			n++;
		}
		i += n;

		if (goal || (n > 1 && newest < now - MERGE_IDLE_US))
			nlevel = n;
		else
		{
			/* The lowest level that is full. */
			for (int k = 0; k < n; k += nlevel)
			{
				nlevel = 1;
				while (k + nlevel < n && group[k + nlevel].level == group[k].level)
					nlevel++;
				if (nlevel >= MERGE_FANIN)
				{
					group += k;
					n = nlevel;
					break;
				}
				if (k + nlevel >= n)
				{
					nlevel = 0;
					break;
				}
			}
		}
		if (nlevel < 2)
			continue;
		for (take = 0; take < nlevel && take < MERGE_INPUTS_MAX; take++)
		{
			if (take >= 2 &&
				(nrows + group[take].nrows > MERGE_ROWS_MAX || nbytes + group[take].nbytes > MERGE_BYTES_MAX))
				break;
			nrows += group[take].nrows;
			nbytes += group[take].nbytes;
			level = Max(level, group[take].level);
		}
		if (nrows > MERGE_ROWS_MAX || nbytes > MERGE_BYTES_MAX)
			continue;
		qsort(group, take, sizeof(MdbPartInfo), part_id_cmp);
		merge_parts(rel, table, group, take, level + 1, goal);
		return true;
	}
	return false;
}
