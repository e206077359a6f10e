/*
 * batch.c
 *	  Rows held in columns: what is collected for a part, and what a block is decoded into.
 *
 * A batch grows by doubling; all its arrays live in its own memory context.  Arrays of numbers
 * have MDB_DECODE_SLACK elements to spare, so that decoders may write into them.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/memutils.h"

#include "store/store.h"

static Size
phys_width(uint8 phys)
{
	return phys == MDB_F32 ? sizeof(float) : phys == MDB_BYTES ? 0 : sizeof(int64);
}

static void *
grow(MemoryContext mcxt, void *old, Size bytes)
{
	if (old == NULL)
		return MemoryContextAllocExtended(mcxt, bytes, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	return repalloc_huge(old, bytes);
}

static void
need_data(MdbBatch *batch, MdbVector *vec, Size len)
{
	Size cap = Max(vec->datacap, 1024);

	/* Even where nothing is to be stored there is a place to point to. */
	if (vec->data != NULL && vec->datalen + len <= vec->datacap)
		return;
	if (vec->datalen + len > PG_UINT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many bytes in one batch of rows"),
				 errhint("Insert the rows in smaller batches.")));
	while (cap < vec->datalen + len)
		cap *= 2;
	vec->data = grow(batch->mcxt, vec->data, cap);
	vec->datacap = cap;
}

/*
 * mdb_batch_create - an empty batch with a vector for each value column of the table.
 */
MdbBatch *
mdb_batch_create(const MdbTable *table, uint32 capacity)
{
	MemoryContext mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	MdbBatch *batch = palloc0(sizeof(MdbBatch));

	batch->mcxt = mcxt;
	batch->columns = palloc0(sizeof(MdbVector) * Max(table->natts, 1));
	batch->column_of = palloc(sizeof(int16) * Max(table->natts, 1));
	for (int i = 0; i < table->natts; i++)
	{
		MdbVector *vec;

		batch->column_of[i] = -1;
		if (table->columns[i].role != MDB_ROLE_VALUE)
			continue;
		batch->column_of[i] = batch->ncolumns;
		vec = &batch->columns[batch->ncolumns++];
		vec->phys = table->columns[i].phys;
		vec->attlen = table->columns[i].attlen;
		vec->attno = i + 1;
	}
	MemoryContextSwitchTo(old);
	mdb_batch_reserve(batch, Max(capacity, 64));
	return batch;
}

/*
 * mdb_batch_reset - no rows; keeps the memory.
 */
void
mdb_batch_reset(MdbBatch *batch)
{
	for (int c = 0; c < batch->ncolumns; c++)
	{
		MdbVector *vec = &batch->columns[c];

		vec->nnulls = 0;
		vec->datalen = 0;
		if (vec->nulls)
			memset(vec->nulls, 0, batch->nrows);
	}
	if (batch->time_nulls)
		memset(batch->time_nulls, 0, batch->nrows);
	batch->nrows = 0;
}

/*
 * mdb_batch_reserve - room for nrows rows in all.
 */
void
mdb_batch_reserve(MdbBatch *batch, uint32 nrows)
{
	uint32 cap = Max(batch->capacity, 64);
	Size n;

	if (nrows <= batch->capacity)
		return;
	while (cap < nrows)
		cap *= 2;
	n = (Size) cap + MDB_DECODE_SLACK;
	batch->series = grow(batch->mcxt, batch->series, n * sizeof(uint32));
	batch->times = grow(batch->mcxt, batch->times, n * sizeof(int64));
	if (batch->time_nulls)
	{
		batch->time_nulls = grow(batch->mcxt, batch->time_nulls, n);
		memset(batch->time_nulls + batch->capacity, 0, n - batch->capacity);
	}
	for (int c = 0; c < batch->ncolumns; c++)
	{
		MdbVector *vec = &batch->columns[c];

		if (vec->phys == MDB_BYTES)
		{
			vec->ends = grow(batch->mcxt, vec->ends, n * sizeof(uint32));
			need_data(batch, vec, 0);
		}
		else
			vec->values = grow(batch->mcxt, vec->values, n * phys_width(vec->phys));
		if (vec->nulls)
		{
			vec->nulls = grow(batch->mcxt, vec->nulls, n);
			memset(vec->nulls + batch->capacity, 0, n - batch->capacity);
		}
	}
	batch->capacity = cap;
}

/*
 * mdb_batch_bytes - raw bytes of the rows held, for deciding when to write them.
 */
Size
mdb_batch_bytes(const MdbBatch *batch)
{
	Size bytes = (Size) batch->nrows * (sizeof(uint32) + sizeof(int64));

	for (int c = 0; c < batch->ncolumns; c++)
	{
		const MdbVector *vec = &batch->columns[c];

		bytes += vec->phys == MDB_BYTES ? vec->datalen + (Size) batch->nrows * sizeof(uint32)
										: (Size) batch->nrows * phys_width(vec->phys);
	}
	return bytes;
}

static void
need_nulls(MdbBatch *batch, MdbVector *vec)
{
	if (vec->nulls == NULL)
		vec->nulls = MemoryContextAllocExtended(batch->mcxt, (Size) batch->capacity + MDB_DECODE_SLACK,
												MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

/*
 * mdb_vector_set_null - row is NULL.  Rows are filled in order.
 */
void
mdb_vector_set_null(MdbBatch *batch, MdbVector *vec, uint32 row)
{
	need_nulls(batch, vec);
	vec->nulls[row] = 1;
	vec->nnulls++;
	if (vec->phys == MDB_BYTES)
		vec->ends[row] = (uint32) vec->datalen;
	else if (vec->phys == MDB_F32)
		((float *) vec->values)[row] = 0;
	else
		((int64 *) vec->values)[row] = 0;
}

/*
 * mdb_vector_append_bytes - row is a string of bytes.
 */
void
mdb_vector_append_bytes(MdbBatch *batch, MdbVector *vec, uint32 row, const void *data, Size len)
{
	need_data(batch, vec, len);
	if (len > 0)
		memcpy(vec->data + vec->datalen, data, len);
	vec->datalen += len;
	vec->ends[row] = (uint32) vec->datalen;
}

/*
 * mdb_vector_append_datum - row is a value of the column's type.  The batch has room for it.
 */
void
mdb_vector_append_datum(MdbBatch *batch, MdbVector *vec, uint32 row, Datum value, bool isnull)
{
	if (isnull)
	{
		mdb_vector_set_null(batch, vec, row);
		return;
	}
	switch (vec->phys)
	{
		case MDB_I64:
		{
			int64 v;

			switch (vec->attlen)
			{
				case 1:
					v = (int8) DatumGetChar(value);
					break;
				case 2:
					v = DatumGetInt16(value);
					break;
				case 4:
					v = DatumGetInt32(value);
					break;
				default:
					v = DatumGetInt64(value);
					break;
			}
			((int64 *) vec->values)[row] = v;
			break;
		}
		case MDB_F64:
			/* Copied as bits: a signalling NaN must stay one. */
			((int64 *) vec->values)[row] = (int64) value;
			break;
		case MDB_F32:
		{
			uint32 bits = (uint32) DatumGetInt32(value);

			memcpy((float *) vec->values + row, &bits, sizeof(bits));
			break;
		}
		case MDB_BYTES:
			if (vec->attlen == -1)
			{
				struct varlena *v = PG_DETOAST_DATUM_PACKED(value);

				mdb_vector_append_bytes(batch, vec, row, VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
				if ((Pointer) v != DatumGetPointer(value))
					pfree(v);
			}
			else if (vec->attlen == -2)
				mdb_vector_append_bytes(batch, vec, row, DatumGetCString(value),
										strlen(DatumGetCString(value)));
			else
				mdb_vector_append_bytes(batch, vec, row, DatumGetPointer(value), vec->attlen);
			break;
	}
}

/*
 * mdb_vector_copy_run - rows [first, first + n) of one vector to rows from `row` on of another.
 *
 * from may be NULL: the rows are NULL then, as of a column that their part does not know.
 */
void
mdb_vector_copy_run(MdbBatch *dst, MdbVector *to, uint32 row, const MdbVector *from, uint32 first, uint32 n)
{
	if (from == NULL)
	{
		for (uint32 i = 0; i < n; i++)
			mdb_vector_set_null(dst, to, row + i);
		return;
	}
	if (from->nnulls > 0)
	{
		need_nulls(dst, to);
		for (uint32 i = 0; i < n; i++)
		{
			to->nulls[row + i] = from->nulls[first + i];
			to->nnulls += from->nulls[first + i];
		}
	}
	if (to->phys == MDB_BYTES)
	{
		uint32 begin = first > 0 ? from->ends[first - 1] : 0;
		uint32 len = from->ends[first + n - 1] - begin;
		uint32 base;

		need_data(dst, to, len);
		base = (uint32) to->datalen;
		if (len > 0)
			memcpy(to->data + base, from->data + begin, len);
		for (uint32 i = 0; i < n; i++)
			to->ends[row + i] = base + (from->ends[first + i] - begin);
		to->datalen += len;
	}
	else
	{
		Size w = phys_width(to->phys);

		memcpy((char *) to->values + row * w, (char *) from->values + first * w, n * w);
	}
}

/* Values of the given rows of one vector, appended to another that has room. */
static void
vector_gather(MdbBatch *dst, MdbVector *to, uint32 at, const MdbVector *from, const uint32 *rows, uint32 n)
{
	if (from->nnulls > 0)
	{
		need_nulls(dst, to);
		for (uint32 i = 0; i < n; i++)
		{
			uint8 isnull = from->nulls[rows[i]];

			to->nulls[at + i] = isnull;
			to->nnulls += isnull;
		}
	}
	if (to->phys == MDB_BYTES)
	{
		for (uint32 i = 0; i < n; i++)
		{
			uint32 begin = rows[i] > 0 ? from->ends[rows[i] - 1] : 0;

			mdb_vector_append_bytes(dst, to, at + i, from->data + begin, from->ends[rows[i]] - begin);
		}
	}
	else if (to->phys == MDB_F32)
	{
		const uint32 *src = from->values;
		uint32 *out = (uint32 *) to->values + at;

		for (uint32 i = 0; i < n; i++)
			out[i] = src[rows[i]];
	}
	else
	{
		const int64 *src = from->values;
		int64 *out = (int64 *) to->values + at;

		for (uint32 i = 0; i < n; i++)
			out[i] = src[rows[i]];
	}
}

/*
 * mdb_batch_gather - append the given rows of src, in that order, to dst.  Both batches are of
 * the same table.
 */
void
mdb_batch_gather(MdbBatch *dst, const MdbBatch *src, const uint32 *rows, uint32 n)
{
	uint32 at = dst->nrows;

	mdb_batch_reserve(dst, at + n);
	for (uint32 i = 0; i < n; i++)
	{
		dst->series[at + i] = src->series[rows[i]];
		dst->times[at + i] = src->times[rows[i]];
	}
	for (int c = 0; c < dst->ncolumns; c++)
		vector_gather(dst, &dst->columns[c], at, &src->columns[c], rows, n);
	dst->nrows = at + n;
}

/*
 * mdb_vector_datum - row of a vector as a value of the column's type, which it must not be NULL.
 * By-reference values are made in CurrentMemoryContext.
 */
Datum
mdb_vector_datum(const MdbVector *vec, const MdbColumn *column, uint32 row)
{
	switch (vec->phys)
	{
		case MDB_I64:
			switch (column->attlen)
			{
				case 1:
					return CharGetDatum((char) ((const int64 *) vec->values)[row]);
				case 2:
					return Int16GetDatum((int16) ((const int64 *) vec->values)[row]);
				case 4:
					return Int32GetDatum((int32) ((const int64 *) vec->values)[row]);
				default:
					return Int64GetDatum(((const int64 *) vec->values)[row]);
			}
		case MDB_F64:
			return (Datum) ((const int64 *) vec->values)[row];
		case MDB_F32:
			return Int32GetDatum((int32) ((const uint32 *) vec->values)[row]);
		default:
		{
			uint32 begin = row > 0 ? vec->ends[row - 1] : 0;
			uint32 len = vec->ends[row] - begin;
			char *p;

			if (column->attlen == -1)
			{
				p = palloc(len + VARHDRSZ);
				SET_VARSIZE(p, len + VARHDRSZ);
				memcpy(VARDATA(p), vec->data + begin, len);
			}
			else
			{
				p = palloc(len + 1);
				memcpy(p, vec->data + begin, len);
				p[len] = '\0';
			}
			return PointerGetDatum(p);
		}
	}
}

/*
 * mdb_time_datum - a time as a value of the time column's type.
 */
Datum
mdb_time_datum(const MdbTable *table, int64 time)
{
	switch (table->columns[table->time_attno - 1].attlen)
	{
		case 2:
			return Int16GetDatum((int16) time);
		case 4:
			return Int32GetDatum((int32) time);
		default:
			return Int64GetDatum(time);
	}
}
