/*
 * reader.c
 *	  A part's directory, and chunks of its columns decoded on demand.
 *
 * Everything read is checked before it is used: the directory's crc against the one in the
 * catalog, a chunk's crc behind it, and each length against what it must fit in.  What does not
 * hold is ERRCODE_DATA_CORRUPTED and names the part; nothing is read out of bounds on the way.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "store/layout.h"
#include "store/store.h"

pg_noreturn static void
damaged(const MdbPart *part, MdbFault fault, const char *what)
{
	mdb_last_fault = fault;
	mdb_last_part = part->info.part_id;
	if (part->shared)
		mdb_directory_forget(part->shared);
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("part %lld of table \"%s\" is damaged", (long long) part->info.part_id,
					RelationGetRelationName(part->rel)),
			 errdetail("%s", what), errhint("Restore the table from a backup, or from its Kafka topic.")));
}

static void
need_as(const MdbPart *part, bool ok, MdbFault fault, const char *what)
{
	if (!ok)
		damaged(part, fault, what);
}

static void
need(const MdbPart *part, bool ok, const char *what)
{
	need_as(part, ok, MDB_FAULT_FORMAT, what);
}

/*
 * mdb_part_readable - is a part of a format that we know?
 */
bool
mdb_part_readable(const MdbPartInfo *info)
{
	return info->format == MDB_PART_FORMAT || info->format == MDB_PART_FORMAT_COLD;
}

/*
 * mdb_part_implausible - why a part's catalog row cannot be true, or NULL if it can.
 */
const char *
mdb_part_implausible(const MdbPartInfo *info)
{
	if (info->nrows <= 0 || info->row_first < 0 || info->row_first > PG_INT64_MAX - info->nrows)
		return "Its row numbers are not plausible.";
	if (info->nblocks <= 0 || info->nblocks > info->nrows ||
		info->nrows > (int64) info->nblocks * MDB_BLOCK_ROWS_MAX)
		return "Its number of blocks is not plausible.";
	if (info->nseries <= 0 || info->nseries > info->nrows)
		return "Its number of series is not plausible.";
	if (info->page_first <= MDB_META_BLOCK || info->npages <= 0 ||
		info->page_first > (int64) MaxBlockNumber - info->npages)
		return "Its extent is not plausible.";
	if (info->nbytes < (int64) (sizeof(MdbPartTrailer) + sizeof(MdbDirHeader)) ||
		info->nbytes > (int64) info->npages * BLCKSZ || mdb_pages_for(info->nbytes) != info->npages)
		return "Its size is not plausible.";
	return NULL;
}

/* Read one vector of nblocks values at *at; moves *at behind it. */
static int64 *
get_vec(MdbPart *part, uint32 *at, uint32 end, bool is_float)
{
	uint32 n = part->nblocks;
	int64 *v = MemoryContextAllocExtended(part->directory_mcxt, sizeof(int64) * ((Size) n + MDB_DECODE_SLACK),
										  MCXT_ALLOC_HUGE);

	for (uint32 done = 0; done < n; done += MDB_DIR_GROUP)
	{
		uint32 count = Min(MDB_DIR_GROUP, n - done);
		uint32 len;
		int rc;

		CHECK_FOR_INTERRUPTS();
		need(part, end - *at >= sizeof(uint32), "A vector of its directory is cut short.");
		memcpy(&len, part->directory + *at, sizeof(len));
		*at += sizeof(uint32);
		need(part, len <= end - *at, "A vector of its directory is cut short.");
		rc = is_float ? mdb_f64_decode((uint8 *) part->directory + *at, len, count, (double *) (v + done))
					  : mdb_i64_decode((uint8 *) part->directory + *at, len, count, v + done);
		need(part, rc == MDB_CODEC_OK, "A vector of its directory cannot be decoded.");
		*at += len;
	}
	return v;
}

/* Lengths to ends; they must add up to no more than limit. */
static void
lengths_to_ends(MdbPart *part, int64 *v, int64 limit)
{
	int64 sum = 0;

	for (int i = 0; i < part->nblocks; i++)
	{
		need(part, v[i] >= 0 && v[i] <= limit - sum, "Its chunks are longer than its payload.");
		sum += v[i];
		v[i] = sum;
	}
}

/*
 * mdb_part_open - read a part's directory.  rel must stay open as long as the part.
 *
 * The part lives in a child of CurrentMemoryContext until mdb_part_close.
 */
MdbPart *
mdb_part_open(Relation rel, const MdbPartInfo *info)
{
	MemoryContext mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb part", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	MdbPart *part = palloc0(sizeof(MdbPart));
	MdbPartTrailer trailer;
	MdbDirHeader head;
	pg_crc32c crc;
	int64 payload;
	uint32 at;
	uint32 end;
	int64 nrows = 0;
	const char *implausible = mdb_part_implausible(info);

	part->mcxt = part->directory_mcxt = mcxt;
	part->rel = rel;
	part->info = *info;
	mdb_last_part = info->part_id;
	if (!mdb_part_readable(info))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("part %lld of table \"%s\" has format %d, this library reads formats up to %d",
							   (long long) info->part_id, RelationGetRelationName(rel), info->format,
							   MDB_PART_FORMAT_COLD),
						errhint("Install a newer release of metricsdb.")));

	need_as(part, implausible == NULL, MDB_FAULT_CATALOG, implausible);
	mdb_pages_read(rel, info, info->nbytes - sizeof(trailer), sizeof(trailer), (char *) &trailer);
	payload = info->nbytes - sizeof(trailer) - trailer.directory_len;
	need(part,
		 payload >= 0 && trailer.directory_len >= sizeof(head) && AllocSizeIsValid(trailer.directory_len),
		 "Its directory has an impossible length.");
	part->directory_len = trailer.directory_len;
	part->directory = palloc(trailer.directory_len);
	mdb_pages_read(rel, info, payload, trailer.directory_len, part->directory);
	part->bytes_read += sizeof(trailer) + trailer.directory_len;
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, part->directory, part->directory_len);
	FIN_CRC32C(crc);
	need_as(part, crc == trailer.directory_crc && (int64) crc == info->checksum, MDB_FAULT_CHECKSUM,
			"The checksum of its directory does not match.");

	memcpy(&head, part->directory, sizeof(head));
	need_as(part, head.nblocks == (uint32) info->nblocks, MDB_FAULT_COUNT,
			"Its number of blocks is not that of its directory.");
	need(part,
		 head.magic == MDB_DIR_MAGIC && head.format == info->format &&
			 head.nblocks / MDB_DIR_GROUP < part->directory_len && head.time_offset >= 0 &&
			 head.time_offset <= payload && head.series_offset >= 0 && head.series_offset <= payload &&
			 head.columns_offset >= sizeof(head) && head.ncolumns <= MaxHeapAttributeNumber &&
			 head.columns_offset <= part->directory_len &&
			 part->directory_len - head.columns_offset == head.ncolumns * sizeof(MdbDirColumn),
		 "The head of its directory is not plausible.");
	part->nblocks = head.nblocks;
	part->ncolumns = head.ncolumns;
	part->one_series = (head.flags & MDB_DIR_ONE_SERIES) != 0;
	part->has_time = (head.flags & MDB_DIR_HAS_TIME) != 0;
	part->time_offset = head.time_offset;
	part->series_offset = head.series_offset;

	at = sizeof(head);
	end = head.columns_offset;
	part->block_rows = get_vec(part, &at, end, false);
	part->series_first = get_vec(part, &at, end, false);
	if (part->one_series)
		part->series_last = part->series_first;
	else
	{
		part->series_last = get_vec(part, &at, end, false);
		part->series_end = get_vec(part, &at, end, false);
		lengths_to_ends(part, part->series_end, payload - part->series_offset);
	}
	if (part->has_time)
	{
		part->time_first = get_vec(part, &at, end, false);
		part->time_last = get_vec(part, &at, end, false);
		part->time_source = get_vec(part, &at, end, false);
		part->time_end = get_vec(part, &at, end, false);
		lengths_to_ends(part, part->time_end, payload - part->time_offset);
	}
	part->block_first = MemoryContextAllocHuge(mcxt, sizeof(int64) * part->nblocks);
	for (int i = 0; i < part->nblocks; i++)
	{
		part->block_first[i] = info->row_first + nrows;
		need_as(part, part->block_rows[i] > 0 && part->block_rows[i] <= MDB_BLOCK_ROWS_MAX, MDB_FAULT_COUNT,
				"A block has an impossible number of rows.");
		nrows += part->block_rows[i];
		need(part,
			 part->series_first[i] >= 0 && part->series_first[i] <= (int64) PG_UINT32_MAX &&
				 part->series_last[i] >= 0 && part->series_last[i] <= (int64) PG_UINT32_MAX,
			 "A block names an impossible series.");
		if (part->has_time)
			need(part, part->time_source[i] >= 0 && part->time_source[i] <= i,
				 "A block shares the times of one that is not there.");
	}

	need_as(part, nrows == info->nrows, MDB_FAULT_COUNT, "Its number of rows is not that of its blocks.");

	part->columns = palloc0(sizeof(MdbPartColumn) * Max(1, part->ncolumns));
	for (int i = 0; i < part->ncolumns; i++)
	{
		MdbDirColumn d;
		MdbPartColumn *c = &part->columns[i];

		memcpy(&d, part->directory + head.columns_offset + i * sizeof(d), sizeof(d));
		need(part,
			 d.attno > 0 && d.phys <= MDB_BYTES && d.offset >= 0 && d.nbytes >= 0 && d.nbytes <= payload &&
				 d.offset <= payload - d.nbytes && d.dir_offset <= head.columns_offset &&
				 d.dir_len <= head.columns_offset - d.dir_offset,
			 "The description of a column is not plausible.");
		c->attno = d.attno;
		c->attlen = d.attlen;
		c->phys = d.phys;
		c->offset = d.offset;
		c->nbytes = d.nbytes;
		c->dir_offset = d.dir_offset;
		c->dir_len = d.dir_len;
	}
	MemoryContextSwitchTo(old);
	return part;
}

/*
 * mdb_part_close - free it.
 */
void
mdb_part_close(MdbPart *part)
{
	MemoryContextDelete(part->mcxt);
}

/*
 * mdb_part_release - give back what reading a large chunk has left.
 */
void
mdb_part_release(MdbPart *part)
{
	if (part->scratch_size <= MDB_SCRATCH_KEEP)
		return;
	pfree(part->scratch);
	part->scratch = NULL;
	part->scratch_size = 0;
}

/*
 * mdb_directory_bytes - memory that the directory of a part with so many blocks and columns takes
 * once its vectors are decoded, roughly.
 */
Size
mdb_directory_bytes(int64 nblocks, int ncolumns)
{
	return (Size) nblocks * sizeof(int64) * (8 + 8 * (Size) ncolumns);
}

/*
 * mdb_part_damaged - report that a part's bytes are not what they must be.
 */
void
mdb_part_damaged(const MdbPart *part, const char *what)
{
	damaged(part, MDB_FAULT_FORMAT, what);
}

/*
 * mdb_part_column_index - index of a table's column in the part, or -1 if it came later.
 */
int
mdb_part_column_index(const MdbPart *part, AttrNumber attno)
{
	for (int i = 0; i < part->ncolumns; i++)
		if (part->columns[i].attno == attno)
			return i;
	return -1;
}

/* Read a chunk, check its crc, and return its bytes without it. */
static const uint8 *
read_chunk(MdbPart *part, int64 offset, int64 len, Size *out_len)
{
	pg_crc32c crc, stored;

	need(part, len > MDB_CHUNK_CRC, "A chunk is too short.");
	if ((Size) len > part->scratch_size)
	{
		Size size = Max((Size) len, 16384);

		if (part->scratch)
			pfree(part->scratch);
		part->scratch = MemoryContextAllocExtended(part->mcxt, size, MCXT_ALLOC_HUGE);
		part->scratch_size = size;
	}
	mdb_pages_read(part->rel, &part->info, offset, len, part->scratch);
	part->bytes_read += len;
	*out_len = len - MDB_CHUNK_CRC;
	memcpy(&stored, part->scratch + *out_len, sizeof(stored));
	INIT_CRC32C(crc);
	COMP_CRC32C(crc, part->scratch, *out_len);
	FIN_CRC32C(crc);
	need_as(part, crc == stored, MDB_FAULT_CHECKSUM, "The checksum of a chunk does not match.");
	return (const uint8 *) part->scratch;
}

/*
 * mdb_part_read_series - series ids of a block's rows.  The output has room for the block's
 * rows.
 */
void
mdb_part_read_series(MdbPart *part, int block, uint32 *series)
{
	uint32 n = (uint32) part->block_rows[block];

	if (part->one_series)
	{
		for (uint32 i = 0; i < n; i++)
			series[i] = (uint32) part->series_first[block];
	}
	else
	{
		int64 begin = block > 0 ? part->series_end[block - 1] : 0;
		int64 ids[MDB_BLOCK_ROWS_MAX + MDB_DECODE_SLACK];
		Size len;
		const uint8 *in =
			read_chunk(part, part->series_offset + begin, part->series_end[block] - begin, &len);

		need(part, mdb_i64_decode(in, len, n, ids) == MDB_CODEC_OK, "Series ids cannot be decoded.");
		for (uint32 i = 0; i < n; i++)
		{
			need(part, ids[i] >= 0 && ids[i] <= (int64) PG_UINT32_MAX, "A row names an impossible series.");
			series[i] = (uint32) ids[i];
		}
	}
}

/*
 * mdb_part_read_times - times of a block's rows.  The output has MDB_DECODE_SLACK to spare.
 */
void
mdb_part_read_times(MdbPart *part, int block, int64 *times)
{
	int source = block - (int) part->time_source[block];
	int64 begin = source > 0 ? part->time_end[source - 1] : 0;
	Size len;
	const uint8 *in;

	need_as(part, part->block_rows[source] == part->block_rows[block], MDB_FAULT_COUNT,
			"A block shares times that do not fit.");
	in = read_chunk(part, part->time_offset + begin, part->time_end[source] - begin, &len);
	need(part, mdb_time_decode(in, len, (uint32) part->block_rows[block], times) == MDB_CODEC_OK,
		 "Times cannot be decoded.");
}

/*
 * mdb_part_read_steps - times of a block's rows, where they are a first one and a step: those two, and
 * true.  Else as mdb_part_read_times, and false.
 */
bool
mdb_part_read_steps(MdbPart *part, int block, int64 *first, int64 *step, int64 *times)
{
	int source = block - (int) part->time_source[block];
	int64 begin = source > 0 ? part->time_end[source - 1] : 0;
	uint32 n = (uint32) part->block_rows[block];
	Size len;
	const uint8 *in;

	need_as(part, part->block_rows[source] == n, MDB_FAULT_COUNT, "A block shares times that do not fit.");
	in = read_chunk(part, part->time_offset + begin, part->time_end[source] - begin, &len);
	if (mdb_time_const_step(in, len, n, first, step))
		return true;
	need(part, mdb_time_decode(in, len, n, times) == MDB_CODEC_OK, "Times cannot be decoded.");
	return false;
}

/*
 * mdb_part_load_column - read the column's vectors of the directory, unless they are there.
 */
void
mdb_part_load_column(MdbPart *part, int column)
{
	MdbPartColumn *c = &part->columns[column];
	uint32 at = c->dir_offset;
	uint32 end = c->dir_offset + c->dir_len;

	if (c->loaded)
		return;
	c->chunk_end = get_vec(part, &at, end, false);
	c->nnulls = get_vec(part, &at, end, false);
	lengths_to_ends(part, c->chunk_end, c->nbytes);
	for (int i = 0; i < part->nblocks; i++)
		need_as(part, c->nnulls[i] >= 0 && c->nnulls[i] <= part->block_rows[i], MDB_FAULT_COUNT,
				"A block has more NULLs than rows.");
	c->loaded = true;
}

/*
 * mdb_part_stats - the block statistics of a column, NULL if its type has none.  They last as long as the part.
 */
const MdbBlockStats *
mdb_part_stats(MdbPart *part, int column)
{
	MdbPartColumn *c = &part->columns[column];
	uint32 at = c->dir_offset;
	uint32 end = c->dir_offset + c->dir_len;
	MdbBlockStats *stats;

	if (c->phys == MDB_BYTES)
		return NULL;
	if (c->stats)
		return c->stats;
	stats = MemoryContextAllocZero(part->directory_mcxt, sizeof(MdbBlockStats));
	(void) get_vec(part, &at, end, false); /* chunk lengths */
	(void) get_vec(part, &at, end, false); /* NULLs */
	if (c->phys == MDB_I64)
	{
		stats->imin = get_vec(part, &at, end, false);
		stats->imax = get_vec(part, &at, end, false);
		stats->isum_lo = get_vec(part, &at, end, false);
		stats->ifirst = get_vec(part, &at, end, false);
		stats->ilast = get_vec(part, &at, end, false);
		stats->isum_hi = get_vec(part, &at, end, false);
	}
	else
	{
		stats->fmin = (double *) get_vec(part, &at, end, true);
		stats->fmax = (double *) get_vec(part, &at, end, true);
		stats->fsum = (double *) get_vec(part, &at, end, true);
		stats->ffirst = (double *) get_vec(part, &at, end, true);
		stats->flast = (double *) get_vec(part, &at, end, true);
		stats->nnans = get_vec(part, &at, end, false);
	}
	c->stats = stats;
	return stats;
}

/* Values without the NULLs to values with room for them, from the end so that it works in place. */
static void
expand_nulls(MdbVector *vec, uint32 n)
{
	uint32 from = n - vec->nnulls;

	if (vec->phys == MDB_BYTES)
	{
		for (uint32 i = n; i-- > 0;)
		{
			vec->ends[i] = from > 0 ? vec->ends[from - 1] : 0;
			if (!vec->nulls[i])
				from--;
		}
	}
	else if (vec->phys == MDB_F32)
	{
		uint32 *v = vec->values;

		for (uint32 i = n; i-- > 0;)
			v[i] = vec->nulls[i] ? 0 : v[--from];
	}
	else
	{
		int64 *v = vec->values;

		for (uint32 i = n; i-- > 0;)
			v[i] = vec->nulls[i] ? 0 : v[--from];
	}
}

/* The chunk of a column's block, and the flags of NULLs taken off its front if there are any. */
static const uint8 *
column_chunk(MdbPart *part, int column, int block, uint8 *nulls, Size *len)
{
	MdbPartColumn *c = &part->columns[column];
	int64 begin = block > 0 ? c->chunk_end[block - 1] : 0;
	uint32 n = (uint32) part->block_rows[block];
	const uint8 *in = read_chunk(part, c->offset + begin, c->chunk_end[block] - begin, len);

	if (c->nnulls[block] > 0)
	{
		uint32 bits_len;
		uint32 count = 0;

		need_as(part, *len >= sizeof(bits_len), MDB_FAULT_COUNT,
				"A chunk has no room for its flags of NULLs.");
		memcpy(&bits_len, in, sizeof(bits_len));
		need_as(part, bits_len <= *len - sizeof(bits_len), MDB_FAULT_COUNT,
				"A chunk has no room for its flags of NULLs.");
		if (nulls)
		{
			need(part, mdb_bits_decode(in + sizeof(bits_len), bits_len, n, nulls) == MDB_CODEC_OK,
				 "Flags of NULLs cannot be decoded.");
			for (uint32 i = 0; i < n; i++)
				count += nulls[i];
			need_as(part, count == c->nnulls[block], MDB_FAULT_COUNT,
					"A block's number of NULLs is not that of its flags.");
		}
		in += sizeof(bits_len) + bits_len;
		*len -= sizeof(bits_len) + bits_len;
	}
	return in;
}

/*
 * mdb_part_decode_numbers - decode a column of a form other than bytes into the caller's arrays.
 *
 * values (int64[], double[] or float[]) and nulls have room for the block's rows and MDB_DECODE_SLACK
 * more.  Returns the number of NULLs; nulls is set if there are some, and their values are 0.
 */
uint32
mdb_part_decode_numbers(MdbPart *part, int column, int block, void *values, uint8 *nulls)
{
	MdbPartColumn *c = &part->columns[column];
	uint32 n = (uint32) part->block_rows[block];
	MdbVector vec = {.phys = c->phys, .values = values, .nulls = nulls};
	const uint8 *in;
	Size len;
	int rc;

	mdb_part_load_column(part, column);
	vec.nnulls = (uint32) c->nnulls[block];
	if (vec.nnulls == n)
	{
		memset(nulls, 1, n);
		memset(values, 0, n * sizeof(int64));
		return n;
	}
	in = column_chunk(part, column, block, nulls, &len);
	switch (c->phys)
	{
		case MDB_F64:
			rc = mdb_f64_decode(in, len, n - vec.nnulls, values);
			break;
		case MDB_F32:
			rc = mdb_f32_decode(in, len, n - vec.nnulls, values);
			break;
		default:
			rc = mdb_i64_decode(in, len, n - vec.nnulls, values);
			break;
	}
	need(part, rc == MDB_CODEC_OK, "A chunk cannot be decoded.");
	if (vec.nnulls > 0)
		expand_nulls(&vec, n);
	return vec.nnulls;
}

/*
 * mdb_part_read_column - decode one column of one block into a vector made in mcxt.
 */
void
mdb_part_read_column(MdbPart *part, int column, int block, MdbVector *vec, MemoryContext mcxt)
{
	MdbPartColumn *c = &part->columns[column];
	uint32 n = (uint32) part->block_rows[block];
	uint32 nvalues;
	Size room = (Size) n + MDB_DECODE_SLACK;
	MemoryContext old;

	mdb_part_load_column(part, column);
	memset(vec, 0, sizeof(*vec));
	vec->phys = c->phys;
	vec->attlen = c->attlen;
	vec->attno = c->attno;
	vec->nnulls = (uint32) c->nnulls[block];
	nvalues = n - vec->nnulls;

	old = MemoryContextSwitchTo(mcxt);
	if (vec->nnulls > 0)
		vec->nulls = palloc(room);
	if (vec->phys == MDB_BYTES)
		vec->ends = palloc(room * sizeof(uint32));
	else
		vec->values = palloc(room * sizeof(int64));

	if (nvalues == 0)
	{
		memset(vec->nulls, 1, n);
		if (vec->phys == MDB_BYTES)
		{
			memset(vec->ends, 0, n * sizeof(uint32));
			vec->data = palloc(MDB_DECODE_SLACK);
		}
		else
			memset(vec->values, 0, n * sizeof(int64));
	}
	else
	{
		Size len;
		const uint8 *in = column_chunk(part, column, block, vec->nulls, &len);
		int rc;

		switch (vec->phys)
		{
			case MDB_F64:
				rc = mdb_f64_decode(in, len, nvalues, vec->values);
				break;
			case MDB_F32:
				rc = mdb_f32_decode(in, len, nvalues, vec->values);
				break;
			case MDB_I64:
				rc = mdb_i64_decode(in, len, nvalues, vec->values);
				break;
			default:
			{
				size_t total = 0;

				rc = mdb_bytes_size(in, len, nvalues, &total);
				need(part, rc == MDB_CODEC_OK && total <= PG_UINT32_MAX / 2,
					 "A chunk of strings has an impossible size.");
				vec->data = MemoryContextAllocExtended(mcxt, total + MDB_DECODE_SLACK, MCXT_ALLOC_HUGE);
				vec->datalen = total;
				rc = mdb_bytes_decode(in, len, nvalues, vec->data, total, vec->ends);
				break;
			}
		}
		need(part, rc == MDB_CODEC_OK, "A chunk cannot be decoded.");
		if (vec->nnulls > 0)
			expand_nulls(vec, n);
	}
	MemoryContextSwitchTo(old);
}

/*
 * mdb_part_chunk_place - where in the payload a chunk lies; *len is 0 if the block has none.
 *
 * column is MDB_CHUNK_TIMES, MDB_CHUNK_SERIES or a column's index, whose vectors are loaded.
 */
void
mdb_part_chunk_place(const MdbPart *part, int column, int block, int64 *offset, int64 *len)
{
	const int64 *end = NULL;
	int64 begin = 0;

	if (column == MDB_CHUNK_TIMES)
	{
		if (part->has_time)
			block -= (int) part->time_source[block];
		end = part->time_end;
		*offset = part->time_offset;
	}
	else if (column == MDB_CHUNK_SERIES)
	{
		end = part->series_end;
		*offset = part->series_offset;
	}
	else
	{
		end = part->columns[column].chunk_end;
		*offset = part->columns[column].offset;
	}
	*len = 0;
	if (end == NULL)
		return;
	if (block > 0)
		begin = end[block - 1];
	*offset += begin;
	*len = end[block] - begin;
}

/*
 * mdb_part_chunk_codec - name of the codec of a chunk, for statistics.
 */
const char *
mdb_part_chunk_codec(MdbPart *part, int column, int block)
{
	MdbPartColumn *c = &part->columns[column];
	Size len;
	const uint8 *in;

	mdb_part_load_column(part, column);
	if (c->nnulls[block] == part->block_rows[block])
		return "null";
	in = column_chunk(part, column, block, NULL, &len);
	return mdb_codec_name(in, len);
}
