/*
 * block.c
 *	  A block of rows whose columns are decoded when a value of them is first asked for.
 *
 * So a scan that looks at no column decodes none.  The memory of a block lasts until the next
 * one is set; values of series columns last as long as the scan.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "utils/memutils.h"

#include "am/am.h"

enum
{
	COLUMN_UNREAD = 0,
	COLUMN_READ,
	COLUMN_MISSING /* the part is older than the column */
};

#define CACHE_PAGE 1024

typedef struct SeriesValues
{
	Datum *values;
	bool *isnull;
} SeriesValues;

struct MdbSeriesCache
{
	const MdbTable *table;
	Snapshot snapshot;
	MemoryContext mcxt;
	SeriesValues **pages;
	uint32 npages;
};

/*
 * mdb_series_cache_create - in CurrentMemoryContext.
 */
MdbSeriesCache *
mdb_series_cache_create(const MdbTable *table, Snapshot snapshot)
{
	MdbSeriesCache *cache = palloc0(sizeof(MdbSeriesCache));

	cache->table = table;
	cache->snapshot = snapshot;
	cache->mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb series values", ALLOCSET_DEFAULT_SIZES);
	return cache;
}

/*
 * mdb_series_values - the values of the series columns of a series, indexed by attno - 1.
 */
const Datum *
mdb_series_values(MdbSeriesCache *cache, uint32 id, const bool **isnull)
{
	uint32 page = id / CACHE_PAGE;
	SeriesValues *v;

	if (page >= cache->npages)
	{
		uint32 n = Max(16, cache->npages);

		while (n <= page)
			n *= 2;
		cache->pages = cache->pages ? repalloc_huge(cache->pages, n * sizeof(SeriesValues *))
									: MemoryContextAlloc(cache->mcxt, n * sizeof(SeriesValues *));
		memset(cache->pages + cache->npages, 0, (n - cache->npages) * sizeof(SeriesValues *));
		cache->npages = n;
	}
	if (cache->pages[page] == NULL)
		cache->pages[page] = MemoryContextAllocZero(cache->mcxt, CACHE_PAGE * sizeof(SeriesValues));
	v = &cache->pages[page][id % CACHE_PAGE];
	if (v->values == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(cache->mcxt);
		int natts = cache->table->natts;
		Datum *values = palloc0(sizeof(Datum) * natts);

		v->isnull = palloc(sizeof(bool) * natts);
		memset(v->isnull, true, natts);
		if (cache->table->nseries_columns > 0)
		{
			uint32 len;
			const char *key = mdb_dict_key(mdb_dict_open(cache->table), id, cache->snapshot, &len);

			mdb_key_decode(cache->table, key, len, values, v->isnull);
		}
		v->values = values;
		MemoryContextSwitchTo(old);
	}
	*isnull = v->isnull;
	return v->values;
}

/*
 * mdb_block_create - an empty block, in CurrentMemoryContext.
 */
MdbBlock *
mdb_block_create(const MdbTable *table, TupleDesc desc, MdbSeriesCache *cache)
{
	MdbBlock *b = palloc0(sizeof(MdbBlock));

	b->table = table;
	b->desc = desc;
	b->series_cache = cache;
	b->mcxt = AllocSetContextCreate(CurrentMemoryContext, "metricsdb block", ALLOCSET_DEFAULT_SIZES);
	b->vectors = palloc0(sizeof(MdbVector) * Max(1, table->natts));
	b->datums = palloc0(sizeof(Datum *) * Max(1, table->natts));
	b->state = palloc0(Max(1, table->natts));
	return b;
}

/*
 * mdb_block_clear - stand for nothing, and keep no memory for it.
 */
void
mdb_block_clear(MdbBlock *b)
{
	MemoryContextReset(b->mcxt);
	memset(b->state, COLUMN_UNREAD, b->table->natts);
	b->series = NULL;
	b->times = NULL;
	b->part = NULL;
	b->row_first = -1;
	b->batch = NULL;
}

/*
 * mdb_block_set - stand for a block of a part.
 */
void
mdb_block_set(MdbBlock *b, MdbPart *part, int block)
{
	mdb_block_clear(b);
	b->part = part;
	b->block = block;
	b->nrows = (uint32) part->block_rows[block];
	b->row_first = part->block_first[block];
}

/*
 * mdb_block_memory - bytes that what was decoded of it takes.
 */
Size
mdb_block_memory(const MdbBlock *b)
{
	return MemoryContextMemAllocated(b->mcxt, true);
}

/*
 * mdb_block_set_batch - stand for the first nrows rows of a batch.
 */
void
mdb_block_set_batch(MdbBlock *b, const MdbBatch *batch, uint32 nrows)
{
	mdb_block_clear(b);
	b->batch = batch;
	b->nrows = nrows;
}

/* By-reference values of a vector, laid out as datums. */
static void
make_datums(MdbBlock *b, int att)
{
	const MdbVector *vec = &b->vectors[att];
	const MdbColumn *column = &b->table->columns[att];
	Datum *d = MemoryContextAllocHuge(b->mcxt, sizeof(Datum) * b->nrows);
	Size total = 0;
	char *p;
	uint32 begin = 0;

	for (uint32 i = 0; i < b->nrows; i++)
	{
		total += MAXALIGN(vec->ends[i] - begin + VARHDRSZ);
		begin = vec->ends[i];
	}
	p = MemoryContextAllocHuge(b->mcxt, total + MAXIMUM_ALIGNOF);
	begin = 0;
	for (uint32 i = 0; i < b->nrows; i++)
	{
		uint32 len = vec->ends[i] - begin;

		d[i] = PointerGetDatum(p);
		if (column->attlen == -1)
		{
			SET_VARSIZE(p, len + VARHDRSZ);
			memcpy(VARDATA(p), vec->data + begin, len);
		}
		else
		{
			if (column->attlen > 0 && len != (uint32) column->attlen && !(vec->nulls && vec->nulls[i]))
				ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
								errmsg("a value of column %d has %u bytes instead of %d", att + 1, len,
									   column->attlen)));
			memcpy(p, vec->data + begin, len);
			p[len] = '\0';
		}
		p += MAXALIGN(len + VARHDRSZ);
		begin = vec->ends[i];
	}
	b->datums[att] = d;
}

static void
read_column(MdbBlock *b, int att)
{
	int column;

	if (b->batch)
	{
		b->vectors[att] = b->batch->columns[b->batch->column_of[att]];
		b->state[att] = COLUMN_READ;
	}
	else
	{
		column = mdb_part_column_index(b->part, att + 1);
		if (column < 0)
		{
			b->state[att] = COLUMN_MISSING;
			return;
		}
		if (b->part->columns[column].phys != b->table->columns[att].phys)
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
							errmsg("part %lld of table \"%s\" keeps column %d in another form",
								   (long long) b->part->info.part_id, RelationGetRelationName(b->part->rel),
								   att + 1)));
		mdb_part_read_column(b->part, column, b->block, &b->vectors[att], b->mcxt);
		b->state[att] = COLUMN_READ;
	}
	if (b->vectors[att].phys == MDB_BYTES)
		make_datums(b, att);
}

/*
 * mdb_block_series - id of a row's series.
 */
uint32
mdb_block_series(MdbBlock *b, uint32 row)
{
	if (b->batch)
		return b->batch->series[row];
	if (b->part->one_series)
		return (uint32) b->part->series_first[b->block];
	if (b->series == NULL)
	{
		b->series = MemoryContextAlloc(b->mcxt, sizeof(uint32) * (b->nrows + MDB_DECODE_SLACK));
		mdb_part_read_series(b->part, b->block, b->series);
	}
	return b->series[row];
}

/*
 * mdb_block_ids - those of all rows, which rise, of a block that has several series.
 */
const uint32 *
mdb_block_ids(MdbBlock *b)
{
	(void) mdb_block_series(b, 0);
	return b->series;
}

/*
 * mdb_block_times - times of the rows of a block of a part that has them.
 */
const int64 *
mdb_block_times(MdbBlock *b)
{
	if (b->times == NULL)
	{
		b->times = MemoryContextAlloc(b->mcxt, sizeof(int64) * (b->nrows + MDB_DECODE_SLACK));
		mdb_part_read_times(b->part, b->block, b->times);
	}
	return b->times;
}

/*
 * mdb_block_time - the time of one row of a block of a part that has them.  Of the first and the last row of a
 * block that others of are not likely to be asked for, the directory tells.
 */
int64
mdb_block_time(MdbBlock *b, uint32 row)
{
	if (b->sparse && b->times == NULL && b->part->one_series)
	{
		if (row == 0)
			return b->part->time_first[b->block];
		if (row == b->nrows - 1)
			return b->part->time_last[b->block];
	}
	return mdb_block_times(b)[row];
}

/*
 * A value that the directory tells, without the column being decoded: the first or the last of a block none
 * of whose values is NULL.
 */
static bool
value_in_directory(MdbBlock *b, uint32 row, int att, Datum *value)
{
	MdbPart *part = b->part;
	int column;
	const MdbBlockStats *stats;
	MdbVector one = {0};
	double as_float;
	float as_real;
	int64 as_int;

	if (part == NULL || (row != 0 && row != b->nrows - 1))
		return false;
	column = mdb_part_column_index(part, att + 1);
	if (column < 0 || part->columns[column].phys != b->table->columns[att].phys)
		return false;
	mdb_part_load_column(part, column);
	if (part->columns[column].nnulls[b->block] > 0 || (stats = mdb_part_stats(part, column)) == NULL)
		return false;
	one.phys = part->columns[column].phys;
	switch (one.phys)
	{
		case MDB_I64:
			as_int = row == 0 ? stats->ifirst[b->block] : stats->ilast[b->block];
			one.values = &as_int;
			break;
		case MDB_F64:
			as_float = row == 0 ? stats->ffirst[b->block] : stats->flast[b->block];
			one.values = &as_float;
			break;
		default:
			as_float = row == 0 ? stats->ffirst[b->block] : stats->flast[b->block];
			/* Bits of a NaN may have changed on the way. */
			if (isnan(as_float))
				return false;
			as_real = (float) as_float;
			one.values = &as_real;
			break;
	}
	*value = mdb_vector_datum(&one, &b->table->columns[att], 0);
	return true;
}

/*
 * mdb_block_value - value of attribute att (from 0) in a row.  By-reference values belong to the
 * block.  A value column that is not wanted is NULL, so that it is not decoded on the way to one that is.
 */
Datum
mdb_block_value(MdbBlock *b, uint32 row, int att, bool *isnull)
{
	const MdbColumn *column = &b->table->columns[att];

	switch (column->role)
	{
		case MDB_ROLE_DROPPED:
			*isnull = true;
			return (Datum) 0;

		case MDB_ROLE_SERIES:
		{
			const bool *nulls;
			const Datum *values = mdb_series_values(b->series_cache, mdb_block_series(b, row), &nulls);

			*isnull = nulls[att];
			return values[att];
		}

		case MDB_ROLE_TIME:
			if (b->batch)
			{
				*isnull = b->batch->time_nulls && b->batch->time_nulls[row];
				return mdb_time_datum(b->table, b->batch->times[row]);
			}
			if (!b->part->has_time)
			{
				*isnull = true;
				return (Datum) 0;
			}
			*isnull = false;
			return mdb_time_datum(b->table, mdb_block_time(b, row));

		default:
			if (b->wanted != NULL && !b->wanted[att])
			{
				*isnull = true;
				return (Datum) 0;
			}
			if (b->state[att] == COLUMN_UNREAD)
			{
				Datum value;

				if (b->sparse && value_in_directory(b, row, att, &value))
				{
					*isnull = false;
					return value;
				}
				read_column(b, att);
			}
			if (b->state[att] == COLUMN_MISSING)
				return getmissingattr(b->desc, att + 1, isnull);
			*isnull = b->vectors[att].nulls != NULL && b->vectors[att].nulls[row];
			if (*isnull)
				return (Datum) 0;
			if (column->phys == MDB_BYTES)
				return b->datums[att][row];
			return mdb_vector_datum(&b->vectors[att], column, row);
	}
}

/*
 * mdb_block_load - decode all that a query may ask of a block of a part, and look up its series.
 */
void
mdb_block_load(MdbBlock *b)
{
	const MdbTable *table = b->table;
	const bool *nulls;

	if (b->part->has_time)
		(void) mdb_block_times(b);
	for (int att = 0; att < table->natts; att++)
		if (table->columns[att].role == MDB_ROLE_VALUE && b->state[att] == COLUMN_UNREAD)
			read_column(b, att);
	for (uint32 row = 0; row < b->nrows; row++)
	{
		uint32 id = mdb_block_series(b, row);

		if (row == 0 || id != mdb_block_series(b, row - 1))
			(void) mdb_series_values(b->series_cache, id, &nulls);
	}
}
