/*
 * writer.c
 *	  Sorted blocks of rows to an immutable part.
 *
 * The payload is built column by column, so that a query for one column of all series reads
 * neighbouring pages, and is written out when its length, and so its place, is known.  What is
 * beyond SPILL_BYTES until then waits in a temporary file; the directory stays in memory.
 *
 *		times | series ids | column 1 | column 2 | ... | directory | trailer
 *
 * Every chunk (one column of one block) is followed by its crc32c.  A time chunk that equals an
 * earlier one is not written again: the series of one scrape share their timestamps.
 */
#include "postgres.h"

#include <math.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/buffile.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "store/layout.h"
#include "store/store.h"

/* A growing array of 64-bit values, integers or doubles by their bits. */
typedef struct Vec
{
	int64 *v;
	uint32 n;
	uint32 cap;
} Vec;

/* Encoded bytes that are kept in memory; more go to a temporary file. */
#define SPILL_BYTES ((Size) 32 * 1024 * 1024)

/* A buffer larger than this is given back when its bytes have gone to the file. */
#define BUFFER_KEEP (1024 * 1024)

/* A part of the payload: its end, and before it what is in the file. */
typedef struct Region
{
	StringInfoData buf;
	int64 spilled;
} Region;

/* A piece of a region in the temporary file. */
typedef struct Piece
{
	Region *region;
	int fileno;
	off_t offset;
	int64 len;
} Piece;

enum
{
	STAT_MIN,
	STAT_MAX,
	STAT_SUM, /* of integers: the low half of 128 bits */
	STAT_FIRST,
	STAT_LAST,
	STAT_EXTRA, /* NaNs, or the high half */
	NSTATS
};

typedef struct WriterColumn
{
	AttrNumber attno;
	int16 attlen;
	uint8 phys;
	Region region;
	MdbCodecHint hint;
	Vec chunk_len;
	Vec nnulls;
	Vec stats[NSTATS];
} WriterColumn;

typedef struct TimeKey
{
	uint64 hash;
	uint32 block;
} TimeKey;

struct MdbPartWriter
{
	MemoryContext mcxt;
	const MdbTable *table;
	bool one_series;
	bool cold;
	bool has_time;
	uint32 nblocks;
	int64 nrows;
	int64 nseries;
	uint32 last_series;
	int64 series_min;
	int64 series_max;
	int64 time_min;
	int64 time_max;
	Region times;
	Region series;
	BufFile *file; /* NULL = nothing was spilled yet */
	Piece *pieces; /* in order within each region */
	int npieces;
	int pieces_cap;
	MdbCodecHint time_hint;
	MdbCodecHint series_hint;
	Vec block_rows;
	Vec series_first;
	Vec series_last;
	Vec series_len;
	Vec time_first;
	Vec time_last;
	Vec time_source;
	Vec time_len;
	Vec time_begin; /* not stored: where in the buffer a block's own chunk is */
	HTAB *time_chunks;
	int ncolumns;
	WriterColumn *columns;
	int64 *scratch; /* compacted non-NULL values */
	uint32 *scratch_ends;
};

static void
vec_add(Vec *vec, int64 value)
{
	if (vec->n == vec->cap)
	{
		vec->cap = Max(64, vec->cap * 2);
		vec->v = vec->v ? repalloc_huge(vec->v, (Size) vec->cap * sizeof(int64))
						: palloc((Size) vec->cap * sizeof(int64));
	}
	vec->v[vec->n++] = value;
}

static int64
f64_bits(double d)
{
	int64 bits;

	memcpy(&bits, &d, sizeof(bits));
	return bits;
}

/* Forget the time chunks that later ones could share. */
static void
remember_no_times(MdbPartWriter *w)
{
	HASHCTL ctl = {.keysize = sizeof(uint64), .entrysize = sizeof(TimeKey), .hcxt = w->mcxt};

	if (w->time_chunks)
		hash_destroy(w->time_chunks);
	w->time_chunks = hash_create("metricsdb time chunks", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * mdb_writer_begin - start a part.  one_series: every block handed in holds one series.  cold: its
 * chunks are to be as small as can be found, whatever it takes.
 *
 * has_time is found from the first block: a part has times for all its rows or for none.
 */
MdbPartWriter *
mdb_writer_begin(const MdbTable *table, bool one_series, bool cold)
{
	MemoryContext mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb part writer", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	MdbPartWriter *w = palloc0(sizeof(MdbPartWriter));

	w->mcxt = mcxt;
	w->table = table;
	w->one_series = one_series;
	w->cold = cold;
	w->time_hint.cold = w->series_hint.cold = cold;
	w->series_min = PG_INT64_MAX;
	w->series_max = PG_INT64_MIN;
	w->time_min = PG_INT64_MAX;
	w->time_max = PG_INT64_MIN;
	initStringInfo(&w->times.buf);
	initStringInfo(&w->series.buf);
	w->columns = palloc0(sizeof(WriterColumn) * Max(1, table->natts));
	for (int i = 0; i < table->natts; i++)
	{
		WriterColumn *c;

		if (table->columns[i].role != MDB_ROLE_VALUE)
			continue;
		c = &w->columns[w->ncolumns++];
		c->attno = i + 1;
		c->attlen = table->columns[i].attlen;
		c->phys = table->columns[i].phys;
		c->hint.cold = cold;
		initStringInfo(&c->region.buf);
	}
	w->scratch = palloc(sizeof(int64) * (MDB_BLOCK_ROWS_MAX + MDB_DECODE_SLACK));
	w->scratch_ends = palloc(sizeof(uint32) * (MDB_BLOCK_ROWS_MAX + MDB_DECODE_SLACK));
	remember_no_times(w);
	MemoryContextSwitchTo(old);
	return w;
}

static void
append_crc(StringInfo region, int start)
{
	pg_crc32c crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, region->data + start, region->len - start);
	FIN_CRC32C(crc);
	appendBinaryStringInfo(region, (char *) &crc, MDB_CHUNK_CRC);
}

static void
add_times(MdbPartWriter *w, const MdbBatch *b)
{
	StringInfo buf = &w->times.buf;
	int start = buf->len;
	uint64 hash;
	TimeKey *entry;
	bool found;
	int len;

	enlargeStringInfo(buf, (int) mdb_i64_bound(b->nrows) + MDB_CHUNK_CRC);
	len = (int) mdb_time_encode(b->times, b->nrows, (uint8 *) buf->data + start, &w->time_hint);
	buf->len += len;
	append_crc(buf, start);
	len += MDB_CHUNK_CRC;

	hash = hash_bytes_extended((unsigned char *) buf->data + start, len, b->nrows);
	entry = hash_search(w->time_chunks, &hash, HASH_ENTER, &found);
	if (found && w->time_len.v[entry->block] == len && w->block_rows.v[entry->block] == b->nrows &&
		memcmp(buf->data + w->time_begin.v[entry->block], buf->data + start, len) == 0)
	{
		buf->len = start;
		vec_add(&w->time_source, (int64) w->nblocks - entry->block);
		vec_add(&w->time_len, 0);
		vec_add(&w->time_begin, 0);
		return;
	}
	entry->block = w->nblocks;
	vec_add(&w->time_source, 0);
	vec_add(&w->time_len, len);
	vec_add(&w->time_begin, start);
}

static void
stats_f64(WriterColumn *c, const double *v, uint32 n)
{
	double min = INFINITY, max = -INFINITY, sum = 0;
	int64 nans = 0;

	for (uint32 i = 0; i < n; i++)
	{
		nans += v[i] != v[i];
		min = v[i] < min ? v[i] : min;
		max = v[i] > max ? v[i] : max;
		sum += v[i] == v[i] ? v[i] : 0;
	}
	vec_add(&c->stats[STAT_MIN], f64_bits(min));
	vec_add(&c->stats[STAT_MAX], f64_bits(max));
	vec_add(&c->stats[STAT_SUM], f64_bits(sum));
	vec_add(&c->stats[STAT_FIRST], n > 0 ? f64_bits(v[0]) : 0);
	vec_add(&c->stats[STAT_LAST], n > 0 ? f64_bits(v[n - 1]) : 0);
	vec_add(&c->stats[STAT_EXTRA], nans);
}

static void
stats_f32(WriterColumn *c, const float *v, uint32 n)
{
	double wide[MDB_BLOCK_ROWS_MAX];

	for (uint32 i = 0; i < n; i++)
		wide[i] = v[i];
	stats_f64(c, wide, n);
}

static void
stats_i64(WriterColumn *c, const int64 *v, uint32 n)
{
	int64 min = PG_INT64_MAX, max = PG_INT64_MIN;
	int128 sum = 0;

	for (uint32 i = 0; i < n; i++)
	{
		min = v[i] < min ? v[i] : min;
		max = v[i] > max ? v[i] : max;
		sum += v[i];
	}
	vec_add(&c->stats[STAT_MIN], min);
	vec_add(&c->stats[STAT_MAX], max);
	vec_add(&c->stats[STAT_SUM], (int64) (uint64) sum);
	vec_add(&c->stats[STAT_FIRST], n > 0 ? v[0] : 0);
	vec_add(&c->stats[STAT_LAST], n > 0 ? v[n - 1] : 0);
	vec_add(&c->stats[STAT_EXTRA], (int64) (sum >> 64));
}

/* One column of one block: [flags of NULLs, with a length before them] values crc. */
static void
add_column(MdbPartWriter *w, WriterColumn *c, const MdbVector *vec, uint32 nrows)
{
	StringInfo buf = &c->region.buf;
	int start = buf->len;
	uint32 n = nrows - vec->nnulls;
	const void *values = vec->values;
	uint8 *out;

	vec_add(&c->nnulls, vec->nnulls);
	if (vec->nnulls > 0 && n > 0)
	{
		uint32 len;

		enlargeStringInfo(buf, (int) (sizeof(uint32) + mdb_bits_bound(nrows)));
		len = (uint32) mdb_bits_encode(vec->nulls, nrows, (uint8 *) buf->data + start + sizeof(uint32));
		memcpy(buf->data + start, &len, sizeof(len));
		buf->len += sizeof(uint32) + len;

		if (vec->phys == MDB_BYTES)
		{
			for (uint32 i = 0, j = 0; i < nrows; i++)
				if (!vec->nulls[i])
					w->scratch_ends[j++] = vec->ends[i];
		}
		else if (vec->phys == MDB_F32)
		{
			for (uint32 i = 0, j = 0; i < nrows; i++)
				if (!vec->nulls[i])
					((uint32 *) w->scratch)[j++] = ((const uint32 *) vec->values)[i];
		}
		else
		{
			for (uint32 i = 0, j = 0; i < nrows; i++)
				if (!vec->nulls[i])
					w->scratch[j++] = ((const int64 *) vec->values)[i];
		}
		values = w->scratch;
	}
	if (n > 0)
	{
		Size bound = vec->phys == MDB_BYTES ? mdb_bytes_bound(n, vec->datalen)
					 : vec->phys == MDB_F64 ? mdb_f64_bound(n)
					 : vec->phys == MDB_F32 ? mdb_f32_bound(n)
											: mdb_i64_bound(n);

		if (bound > (Size) (MaxAllocSize - 1) - buf->len)
			ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
							errmsg("part of table would need more than 1 GB for one column"),
							errhint("Insert the rows in smaller batches.")));
		enlargeStringInfo(buf, (int) bound + MDB_CHUNK_CRC);
		out = (uint8 *) buf->data + buf->len;
		switch (vec->phys)
		{
			case MDB_F64:
				buf->len += (int) mdb_f64_encode(values, n, out, &c->hint);
				break;
			case MDB_F32:
				buf->len += (int) mdb_f32_encode(values, n, out, &c->hint);
				break;
			case MDB_I64:
				buf->len += (int) mdb_i64_encode(values, n, out, &c->hint);
				break;
			default:
				buf->len += (int) mdb_bytes_encode(vec->data, vec->nnulls > 0 ? w->scratch_ends : vec->ends,
												   n, out, &c->hint);
				break;
		}
		append_crc(buf, start);
	}
	if (vec->phys == MDB_F64)
		stats_f64(c, values, n);
	else if (vec->phys == MDB_F32)
		stats_f32(c, values, n);
	else if (vec->phys == MDB_I64)
		stats_i64(c, values, n);
	vec_add(&c->chunk_len, buf->len - start);
}

static Size
buffered_bytes(const MdbPartWriter *w)
{
	Size bytes = w->times.buf.len + w->series.buf.len;

	for (int c = 0; c < w->ncolumns; c++)
		bytes += w->columns[c].region.buf.len;
	return bytes;
}

static void
spill_region(MdbPartWriter *w, Region *region)
{
	StringInfo buf = &region->buf;
	Piece *piece;

	if (buf->len == 0)
		return;
	if (w->npieces == w->pieces_cap)
	{
		w->pieces_cap = Max(64, w->pieces_cap * 2);
		w->pieces = w->pieces ? repalloc(w->pieces, w->pieces_cap * sizeof(Piece))
							  : palloc(w->pieces_cap * sizeof(Piece));
	}
	piece = &w->pieces[w->npieces++];
	piece->region = region;
	piece->len = buf->len;
	BufFileTell(w->file, &piece->fileno, &piece->offset);
	for (int at = 0; at < buf->len; at += BUFFER_KEEP)
	{
		CHECK_FOR_INTERRUPTS();
		BufFileWrite(w->file, buf->data + at, Min(BUFFER_KEEP, buf->len - at));
	}
	region->spilled += buf->len;
	if (buf->maxlen > BUFFER_KEEP)
	{
		pfree(buf->data);
		initStringInfo(buf);
	}
	resetStringInfo(buf);
}

/* Move what is encoded so far to the temporary file. */
static void
spill(MdbPartWriter *w)
{
	if (w->file == NULL)
		w->file = BufFileCreateTemp(false);
	spill_region(w, &w->times);
	spill_region(w, &w->series);
	for (int c = 0; c < w->ncolumns; c++)
		spill_region(w, &w->columns[c].region);
	/* Chunks that are not in memory can not be compared with. */
	remember_no_times(w);
}

/*
 * mdb_writer_add - append one block: 1 .. MDB_BLOCK_ROWS_MAX rows, sorted by (series, time), not
 * before the last row of the block added last.  If one_series, all of one series.
 */
void
mdb_writer_add(MdbPartWriter *w, const MdbBatch *b)
{
	MemoryContext old = MemoryContextSwitchTo(w->mcxt);
	uint32 n = b->nrows;

	Assert(n > 0 && n <= MDB_BLOCK_ROWS_MAX);
	if (w->nblocks == 0)
		w->has_time = b->times != NULL && w->table->time_attno > 0 && !(b->time_nulls && b->time_nulls[0]);
	for (uint32 i = 0; i < n;)
	{
		uint32 s = b->series[i];

		if (w->nseries == 0 || s != w->last_series)
		{
			w->nseries++;
			w->last_series = s;
			w->series_min = Min(w->series_min, (int64) s);
			w->series_max = Max(w->series_max, (int64) s);
		}
		if (w->one_series)
			break;
		while (i < n && b->series[i] == s)
			i++;
	}
	vec_add(&w->block_rows, n);
	vec_add(&w->series_first, b->series[0]);
	if (!w->one_series)
	{
		int64 ids[MDB_BLOCK_ROWS_MAX];
		StringInfo buf = &w->series.buf;
		int start = buf->len;

		vec_add(&w->series_last, b->series[n - 1]);
		for (uint32 i = 0; i < n; i++)
			ids[i] = b->series[i];
		enlargeStringInfo(buf, (int) mdb_i64_bound(n) + MDB_CHUNK_CRC);
		buf->len += (int) mdb_i64_encode(ids, n, (uint8 *) buf->data + start, &w->series_hint);
		append_crc(buf, start);
		vec_add(&w->series_len, buf->len - start);
	}
	if (w->has_time)
	{
		int64 min = b->times[0], max = b->times[0];

		for (uint32 i = 1; i < n; i++)
		{
			min = Min(min, b->times[i]);
			max = Max(max, b->times[i]);
		}
		vec_add(&w->time_first, min);
		vec_add(&w->time_last, max);
		w->time_min = Min(w->time_min, min);
		w->time_max = Max(w->time_max, max);
		add_times(w, b);
	}
	for (int c = 0; c < w->ncolumns; c++)
	{
		CHECK_FOR_INTERRUPTS();
		add_column(w, &w->columns[c], &b->columns[c], n);
	}
	w->nrows += n;
	w->nblocks++;
	if (buffered_bytes(w) > SPILL_BYTES)
		spill(w);
	MemoryContextSwitchTo(old);
}

static int64
region_bytes(const Region *region)
{
	return region->spilled + region->buf.len;
}

/*
 * mdb_writer_rows, mdb_writer_bytes - what the part holds so far, encoded; mdb_writer_directory -
 * memory that its directory takes until it is written.
 */
int64
mdb_writer_rows(const MdbPartWriter *w)
{
	return w->nrows;
}

Size
mdb_writer_bytes(const MdbPartWriter *w)
{
	Size bytes = region_bytes(&w->times) + region_bytes(&w->series);

	for (int c = 0; c < w->ncolumns; c++)
		bytes += region_bytes(&w->columns[c].region);
	return bytes;
}

Size
mdb_writer_directory(const MdbPartWriter *w)
{
	return mdb_directory_bytes(w->nblocks, w->ncolumns);
}

static int16
format_of(const MdbPartWriter *w)
{
	return w->cold ? MDB_PART_FORMAT_COLD : MDB_PART_FORMAT;
}

/* Append a vector: groups of a length and a chunk.  Doubles are encoded as such. */
static void
put_vec(StringInfo dir, const Vec *vec, bool is_float, bool cold)
{
	MdbCodecHint hint = {.cold = cold};

	for (uint32 at = 0; at < vec->n; at += MDB_DIR_GROUP)
	{
		uint32 n = Min(MDB_DIR_GROUP, vec->n - at);
		uint32 len;
		uint8 *out;

		CHECK_FOR_INTERRUPTS();
		enlargeStringInfo(dir, (int) (sizeof(uint32) + (is_float ? mdb_f64_bound(n) : mdb_i64_bound(n))));
		out = (uint8 *) dir->data + dir->len + sizeof(uint32);
		len = is_float ? (uint32) mdb_f64_encode((const double *) (vec->v + at), n, out, &hint)
					   : (uint32) mdb_i64_encode(vec->v + at, n, out, &hint);
		memcpy(dir->data + dir->len, &len, sizeof(len));
		dir->len += sizeof(uint32) + len;
	}
}

static void
build_directory(MdbPartWriter *w, StringInfo dir)
{
	MdbDirHeader head = {0};
	MdbDirColumn *descs = palloc0(sizeof(MdbDirColumn) * Max(1, w->ncolumns));
	int64 offset;

	head.magic = MDB_DIR_MAGIC;
	head.format = format_of(w);
	head.flags = (w->one_series ? MDB_DIR_ONE_SERIES : 0) | (w->has_time ? MDB_DIR_HAS_TIME : 0);
	head.nblocks = w->nblocks;
	head.ncolumns = w->ncolumns;
	head.time_offset = 0;
	head.series_offset = region_bytes(&w->times);
	offset = head.series_offset + region_bytes(&w->series);

	appendBinaryStringInfo(dir, (char *) &head, sizeof(head));
	put_vec(dir, &w->block_rows, false, w->cold);
	put_vec(dir, &w->series_first, false, w->cold);
	if (!w->one_series)
	{
		put_vec(dir, &w->series_last, false, w->cold);
		put_vec(dir, &w->series_len, false, w->cold);
	}
	if (w->has_time)
	{
		put_vec(dir, &w->time_first, false, w->cold);
		put_vec(dir, &w->time_last, false, w->cold);
		put_vec(dir, &w->time_source, false, w->cold);
		put_vec(dir, &w->time_len, false, w->cold);
	}
	for (int i = 0; i < w->ncolumns; i++)
	{
		WriterColumn *c = &w->columns[i];

		descs[i].attno = c->attno;
		descs[i].attlen = c->attlen;
		descs[i].phys = c->phys;
		descs[i].offset = offset;
		descs[i].nbytes = region_bytes(&c->region);
		offset += descs[i].nbytes;
		descs[i].dir_offset = dir->len;
		put_vec(dir, &c->chunk_len, false, w->cold);
		put_vec(dir, &c->nnulls, false, w->cold);
		if (c->phys != MDB_BYTES)
		{
			bool is_float = c->phys != MDB_I64;

			for (int s = 0; s < NSTATS; s++)
				put_vec(dir, &c->stats[s], is_float && s != STAT_EXTRA, w->cold);
		}
		descs[i].dir_len = dir->len - descs[i].dir_offset;
	}
	((MdbDirHeader *) dir->data)->columns_offset = dir->len;
	appendBinaryStringInfo(dir, (char *) descs, sizeof(MdbDirColumn) * w->ncolumns);
	pfree(descs);
}

/* Where the payload of a finished part comes from, piece by piece. */
typedef struct Payload
{
	MdbPartWriter *w;
	StringInfo dir;
	int region; /* times, series, columns, directory */
	int piece;  /* in the file; npieces = the region's end, which is in memory */
	int64 at;   /* within the piece */
} Payload;

static void
payload_read(void *state, char *dst, int64 n)
{
	Payload *p = state;
	MdbPartWriter *w = p->w;

	while (n > 0)
	{
		Region *region = p->region == 0                ? &w->times
						 : p->region == 1              ? &w->series
						 : p->region - 2 < w->ncolumns ? &w->columns[p->region - 2].region
													   : NULL;
		StringInfo buf = region ? &region->buf : p->dir;
		int64 len;

		while (p->piece < w->npieces && w->pieces[p->piece].region != region)
			p->piece++;
		len = Min(n, (p->piece < w->npieces ? w->pieces[p->piece].len : buf->len) - p->at);
		if (p->piece < w->npieces)
		{
			Piece *piece = &w->pieces[p->piece];

			if ((p->at == 0 && BufFileSeek(w->file, piece->fileno, piece->offset, SEEK_SET) != 0) ||
				BufFileRead(w->file, dst, len) != len)
				ereport(ERROR, (errcode_for_file_access(),
								errmsg("could not read a part back from a temporary file: %m")));
		}
		else
			memcpy(dst, buf->data + p->at, len);
		dst += len;
		n -= len;
		p->at += len;
		if (p->piece < w->npieces && p->at == w->pieces[p->piece].len)
		{
			p->piece++;
			p->at = 0;
		}
		else if (p->piece == w->npieces && p->at == buf->len)
		{
			p->region++;
			p->piece = p->at = 0;
		}
	}
}

/*
 * mdb_writer_finish - write the part into rel's file and insert its row as of command cid.
 *
 * info comes with storage_id, level, class, day, days, overlaps, source_id and epoch; the rest
 * is filled in.  Nothing is written if no block was added.  Frees the writer.
 */
void
mdb_writer_finish(MdbPartWriter *w, Relation rel, MdbPartInfo *info, CommandId cid, int options)
{
	MemoryContext old = MemoryContextSwitchTo(w->mcxt);
	StringInfoData dir;
	MdbPartTrailer trailer;
	pg_crc32c crc;

	info->nrows = mdb_writer_rows(w);
	if (info->nrows > 0)
	{
		Payload payload = {.w = w, .dir = &dir};

		initStringInfo(&dir);
		build_directory(w, &dir);
		INIT_CRC32C(crc);
		COMP_CRC32C(crc, dir.data, dir.len);
		FIN_CRC32C(crc);
		trailer.directory_len = dir.len;
		trailer.directory_crc = crc;
		appendBinaryStringInfo(&dir, (char *) &trailer, sizeof(trailer));

		info->format = format_of(w);
		info->nblocks = w->nblocks;
		info->nbytes = mdb_writer_bytes(w) + dir.len;
		info->npages = (int32) mdb_pages_for(info->nbytes);
		info->series_min = w->series_min;
		info->series_max = w->series_max;
		info->nseries = w->nseries;
		info->time_min = w->has_time ? w->time_min : 0;
		info->time_max = w->has_time ? w->time_max : 0;
		info->checksum = crc;
		info->created_at = GetCurrentTimestamp();
		mdb_space_place_part(rel, info, cid, options);
		mdb_pages_write(rel, info, payload_read, &payload);
	}
	MemoryContextSwitchTo(old);
	mdb_writer_free(w);
}

/*
 * mdb_writer_free - give up a part.
 */
void
mdb_writer_free(MdbPartWriter *w)
{
	if (w->file)
		BufFileClose(w->file);
	MemoryContextDelete(w->mcxt);
}
