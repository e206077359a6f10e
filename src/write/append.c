/*
 * append.c
 *	  Rows collected in columns, and written as parts.
 *
 * Whoever has many rows at once ends here: the Kafka worker, COPY, INSERT ... SELECT, rewrites,
 * and the compaction of a delta heap.
 */
#include "postgres.h"

#include "access/xact.h"
#include "pgstat.h"
#include "utils/memutils.h"

#include "stop.h"
#include "write/tap.h"
#include "write/write.h"

/* Encoded bytes after which a part is closed and another begun. */
#define PART_BYTES_MAX ((Size) 256 * 1024 * 1024)

/* A partition with fewer rows than this, beside a larger one, goes to the delta. */
#define PARTITION_DELTA_ROWS 64

struct MdbAppend
{
	MemoryContext mcxt;
	Relation rel;
	MdbTable *table; /* in mcxt; that of the last open */
	MdbDict *dict;
	MdbBatch *batch;
	StringInfoData key;
	uint32 last_series; /* of the key that was looked up last */
	StringInfoData last_key;
	MdbPlaced placed;
	void *placed_arg;
};

/*
 * mdb_append_create - see append.h.
 */
MdbAppend *
mdb_append_create(void)
{
	MemoryContext mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb append", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	MdbAppend *a = palloc0(sizeof(MdbAppend));

	a->mcxt = mcxt;
	initStringInfo(&a->key);
	initStringInfo(&a->last_key);
	MemoryContextSwitchTo(old);
	return a;
}

/*
 * mdb_append_free - free it and its rows.
 */
void
mdb_append_free(MdbAppend *a)
{
	MemoryContextDelete(a->mcxt);
}

/*
 * mdb_append_open - see append.h.
 */
uint64
mdb_append_open(MdbAppend *a, Relation rel)
{
	MemoryContext old = MemoryContextSwitchTo(a->mcxt);
	MdbTable *table = mdb_table(rel);

	/* The columns' vectors are kept while the table looks the same. */
	if (a->table != NULL &&
		(a->table->size != table->size || a->table->storage_id != table->storage_id ||
		 memcmp(a->table->columns, table->columns, sizeof(MdbColumn) * table->natts) != 0))
	{
		MemoryContextDelete(a->batch->mcxt);
		a->batch = NULL;
	}
	if (a->table != NULL)
		pfree(a->table);
	a->table = table;
	if (a->batch == NULL)
		a->batch = mdb_batch_create(table, 1024);
	mdb_batch_reset(a->batch);
	a->rel = rel;
	a->dict = mdb_dict_open(table);
	a->last_key.len = 0;
	MemoryContextSwitchTo(old);
	/* A new epoch of the dictionary is a new generation, too. */
	return ((uint64) table->storage_id << 24) + (uint64) mdb_dict_sync(a->dict, rel);
}

/*
 * mdb_append_rebind - the relation was closed and opened again while rows are collected.
 */
void
mdb_append_rebind(MdbAppend *a, Relation rel)
{
	a->rel = rel;
}

/*
 * mdb_append_series - see append.h.
 */
uint32
mdb_append_series(MdbAppend *a, const Datum *values, const bool *isnull)
{
	StringInfoData swap;

	if (a->table->nseries_columns == 0)
		return 0;
	resetStringInfo(&a->key);
	mdb_key_build(a->table, values, isnull, &a->key);
	if (a->last_key.len > 0 && a->key.len == a->last_key.len &&
		memcmp(a->key.data, a->last_key.data, a->key.len) == 0)
		return a->last_series;
	a->last_series = mdb_dict_intern(a->dict, a->rel, a->key.data, a->key.len);
	swap = a->key;
	a->key = a->last_key;
	a->last_key = swap;
	return a->last_series;
}

/*
 * mdb_append_key, mdb_append_registered - see append.h.
 */
uint32
mdb_append_key(MdbAppend *a, const char *key, uint32 len)
{
	return mdb_dict_intern(a->dict, a->rel, key, len);
}

bool
mdb_append_registered(MdbAppend *a, const char *key, uint32 len)
{
	return mdb_dict_registered(a->dict, key, len);
}

static void
set_time_null(MdbBatch *batch, uint32 row)
{
	if (batch->time_nulls == NULL)
		batch->time_nulls = MemoryContextAllocExtended(batch->mcxt, (Size) batch->capacity + MDB_DECODE_SLACK,
													   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	batch->time_nulls[row] = 1;
	batch->times[row] = 0;
}

/* The times of rows that were given in slots. */
static void
append_times(MdbAppend *a, TupleTableSlot **slots, int nslots)
{
	MdbBatch *batch = a->batch;
	int i = a->table->time_attno - 1;
	const MdbColumn *column;

	if (i < 0)
	{
		memset(batch->times + batch->nrows, 0, sizeof(int64) * nslots);
		return;
	}
	column = &a->table->columns[i];
	for (int k = 0; k < nslots; k++)
	{
		uint32 row = batch->nrows + k;
		Datum v = slots[k]->tts_values[i];

		if (slots[k]->tts_isnull[i] || column->role != MDB_ROLE_TIME)
			set_time_null(batch, row);
		else
			batch->times[row] = column->attlen == 8   ? DatumGetInt64(v)
								: column->attlen == 4 ? DatumGetInt32(v)
													  : DatumGetInt16(v);
	}
}

/*
 * mdb_append_slots - add the rows of some slots, column by column.
 */
void
mdb_append_slots(MdbAppend *a, TupleTableSlot **slots, int nslots)
{
	MdbBatch *batch = a->batch;
	uint32 first = batch->nrows;

	mdb_batch_reserve(batch, first + nslots);
	for (int k = 0; k < nslots; k++)
	{
		slot_getallattrs(slots[k]);
		batch->series[first + k] = mdb_append_series(a, slots[k]->tts_values, slots[k]->tts_isnull);
	}
	append_times(a, slots, nslots);
	for (int c = 0; c < batch->ncolumns; c++)
	{
		MdbVector *vec = &batch->columns[c];
		int i = vec->attno - 1;

		if (vec->phys == MDB_F64 || (vec->phys == MDB_I64 && vec->attlen == 8))
		{
			int64 *v = (int64 *) vec->values + first;

			for (int k = 0; k < nslots; k++)
			{
				if (unlikely(slots[k]->tts_isnull[i]))
					mdb_vector_set_null(batch, vec, first + k);
				else
					v[k] = (int64) slots[k]->tts_values[i];
			}
		}
		else
			for (int k = 0; k < nslots; k++)
				mdb_vector_append_datum(batch, vec, first + k, slots[k]->tts_values[i],
										slots[k]->tts_isnull[i]);
	}
	batch->nrows = first + nslots;
}

/*
 * mdb_append_rows - see append.h.
 */
void
mdb_append_rows(MdbAppend *a, uint32 n, const uint32 *series, const int64 *times, int ncolumns,
				const MdbAppendColumn *columns)
{
	MdbBatch *batch = a->batch;
	uint32 row = batch->nrows;

	mdb_batch_reserve(batch, row + n);
	memcpy(batch->series + row, series, n * sizeof(uint32));
	if (times)
		memcpy(batch->times + row, times, n * sizeof(int64));
	else
		for (uint32 i = 0; i < n; i++)
		{
			batch->times[row + i] = 0;
			if (a->table->time_attno > 0)
				set_time_null(batch, row + i);
		}
	for (int c = 0; c < batch->ncolumns; c++)
	{
		MdbVector *vec = &batch->columns[c];
		const MdbAppendColumn *in = NULL;

		for (int i = 0; i < ncolumns; i++)
			if (columns[i].attno == vec->attno)
				in = &columns[i];
		if (in == NULL)
			mdb_vector_copy_run(batch, vec, row, NULL, 0, n);
		else if (vec->phys == MDB_BYTES || vec->phys == MDB_F32)
			for (uint32 i = 0; i < n; i++)
				mdb_vector_append_datum(batch, vec, row + i, ((const Datum *) in->values)[i],
										in->isnull != NULL && in->isnull[i]);
		else
		{
			memcpy((int64 *) vec->values + row, in->values, n * sizeof(int64));
			if (in->isnull)
				for (uint32 i = 0; i < n; i++)
					if (in->isnull[i])
						mdb_vector_set_null(batch, vec, row + i);
		}
	}
	batch->nrows += n;
}

/*
 * mdb_append_nrows, mdb_append_bytes, mdb_append_batch, mdb_append_table - what is collected.
 */
uint32
mdb_append_nrows(const MdbAppend *a)
{
	return a->batch ? a->batch->nrows : 0;
}

Size
mdb_append_bytes(const MdbAppend *a)
{
	return mdb_batch_bytes(a->batch);
}

const MdbBatch *
mdb_append_batch(const MdbAppend *a)
{
	return a->batch;
}

const MdbTable *
mdb_append_table(const MdbAppend *a)
{
	return a->table;
}

/* Rows, sorted, as one part, or more where one would be too large. */
static void
write_partition(MdbAppend *a, const MdbPartition *p, const uint32 *rows, CommandId cid, int options,
				int32 source_id, int64 epoch)
{
	const MdbBatch *batch = a->batch;
	uint32 nseries = mdb_count_series(batch, rows, p->nrows);
	bool one_series = p->nrows / nseries >= MDB_ONE_SERIES_MIN_ROWS;
	Size row_bytes = mdb_batch_bytes(batch) / batch->nrows + 1;
	uint32 block_rows = one_series ? MDB_SERIES_BLOCK_ROWS : MDB_BLOCK_ROWS_MAX;
	MdbBatch *block = mdb_batch_create(a->table, block_rows);
	MdbPartWriter *writer = NULL;
	MdbPartInfo info = {0};
	uint32 part_first = 0;

	block_rows = Max(1, Min(block_rows, MDB_BLOCK_BYTES_MAX / row_bytes));
	info.storage_id = a->table->storage_id;
	info.class = p->class;
	info.day = p->day;
	info.days = p->days;
	info.source_id = source_id;
	info.epoch = epoch;
	info.overlaps = true; /* not known to be otherwise */
	for (uint32 at = 0; at < p->nrows;)
	{
		uint32 n = Min(block_rows, p->nrows - at);

		CHECK_FOR_INTERRUPTS();
		if (one_series)
		{
			uint32 same = 1;

			while (same < n && batch->series[rows[at + same]] == batch->series[rows[at]])
				same++;
			n = same;
		}
		if (writer == NULL)
			writer = mdb_writer_begin(a->table, one_series, false);
		mdb_batch_reset(block);
		mdb_batch_gather(block, batch, rows + at, n);
		if (p->days == 0 && a->table->time_attno > 0)
			set_time_null(block, 0);
		mdb_writer_add(writer, block);
		at += n;
		if (mdb_writer_bytes(writer) > PART_BYTES_MAX)
		{
			mdb_writer_finish(writer, a->rel, &info, cid, options);
			mdb_feed_part(a->rel, &info, cid, options);
			if (a->placed)
				a->placed(a->placed_arg, rows + part_first, at - part_first, &info);
			part_first = at;
			writer = NULL;
		}
	}
	if (writer)
	{
		mdb_writer_finish(writer, a->rel, &info, cid, options);
		mdb_feed_part(a->rel, &info, cid, options);
		if (a->placed)
			a->placed(a->placed_arg, rows + part_first, p->nrows - part_first, &info);
	}
	MemoryContextDelete(block->mcxt);
}

/*
 * mdb_append_on_placed - have it told where rows went that are written.
 */
void
mdb_append_on_placed(MdbAppend *a, MdbPlaced placed, void *arg)
{
	a->placed = placed;
	a->placed_arg = arg;
}

/*
 * mdb_append_write - write what is collected, as of command cid, and forget it.
 *
 * options are those of heap_insert for the catalog rows.  allow_delta: partitions of only some
 * rows, beside a larger one, go to the delta.
 */
void
mdb_append_write(MdbAppend *a, CommandId cid, int options, bool allow_delta, int32 source_id, int64 epoch)
{
	MdbBatch *batch = a->batch;
	MemoryContext tmp;
	MemoryContext old;
	uint32 *rows;
	MdbPartition *partitions;
	MdbRetention *retention;
	int count;

	if (batch->nrows == 0)
		return;
	tmp = AllocSetContextCreate(CurrentMemoryContext, "metricsdb write", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(tmp);

	/* The dictionary first: no part may be visible without its series. */
	mdb_dict_flush(a->dict, cid, options);
	MDB_STOP("append.dictionary");
	rows = palloc_extended((Size) batch->nrows * sizeof(uint32), MCXT_ALLOC_HUGE);
	retention = mdb_retention_load(a->rel);
	partitions = mdb_partition_rows(a->table, batch, rows, retention ? retention->days : 0,
									mdb_retention_days(retention), &count);
	for (int i = 0; retention && i < count; i++)
		partitions[i].class = (int16) retention->base;
	if (retention && retention->nclasses > 0)
		partitions = mdb_partition_classes(mdb_classifier(a->rel, a->table, retention), batch, rows,
										   partitions, &count);
	for (int i = 0; i < count; i++)
	{
		MdbPartition *p = &partitions[i];

		if (allow_delta && count > 1 && p->nrows < PARTITION_DELTA_ROWS)
		{
			mdb_delta_insert_batch(a->rel, a->table, a->dict, batch, rows + p->first, p->nrows, cid, options);
			continue;
		}
		mdb_sort_rows(batch, rows + p->first, p->nrows);
		write_partition(a, p, rows + p->first, cid, options, source_id, epoch);
		MDB_STOP("append.part");
	}
	MDB_STOP("append.written");
	mdb_batch_reset(batch);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(tmp);
}

/*
 * mdb_append_tap - what is collected comes from outside: show it to who watches the table.
 */
void
mdb_append_tap(MdbAppend *a)
{
	mdb_tap_batch(a->rel, a->table, a->dict, a->batch);
}

/*
 * mdb_append_finish - see append.h.
 */
void
mdb_append_finish(MdbAppend *a, int32 source_id, int64 epoch)
{
	pgstat_count_heap_insert(a->rel, a->batch->nrows);
	mdb_append_tap(a);
	mdb_append_write(a, GetCurrentCommandId(true), 0, true, source_id, epoch);
}

/*
 * mdb_append_close, mdb_append_reset - see append.h.
 */
void
mdb_append_close(MdbAppend *a)
{
	mdb_append_reset(a);
}

void
mdb_append_reset(MdbAppend *a)
{
	if (a->batch)
	{
		/* An error may have come between a row's columns: forget beyond the last whole row. */
		a->batch->nrows = a->batch->capacity;
		mdb_batch_reset(a->batch);
	}
	a->rel = NULL;
	a->dict = NULL;
}
