/*
 * bytes.c
 *	  Samples of watched series as bytes.
 *
 * version, 1 (1) | number of keys (4) | number of samples (4) | for each key: its length (4), its bytes |
 * for each up to 8,192 samples four chunks of src/codec: series, columns, times, values; before each its length (4)
 *
 * A series by key is in its chunk as -1 less its number.  Integers have the machine's order of bytes: rows are read by
 * the server that wrote them, or by its standbys.
 */
#include "postgres.h"


#include "alert/bytes.h"
#include "codec/codec.h"
#include "lib/stringinfo.h"

#define BYTES_VERSION 1

static void
put_u32(StringInfo s, uint32 v)
{
	appendBinaryStringInfo(s, (const char *) &v, sizeof(v));
}

/* Room for a chunk of so many bytes at most, behind its length. */
static uint8 *
chunk_begin(StringInfo s, size_t bound)
{
	enlargeStringInfo(s, (int) (sizeof(uint32) + bound));
	return (uint8 *) s->data + s->len + sizeof(uint32);
}

static void
chunk_end(StringInfo s, size_t len)
{
	uint32 n = (uint32) len;

	memcpy(s->data + s->len, &n, sizeof(n));
	s->len += sizeof(n) + n;
}

static void
put_block(StringInfo s, const MdbTapped *samples, uint32 n, int64 *ints, double *values, MdbCodecHint *hints)
{
	for (uint32 i = 0; i < n; i++)
		ints[i] = samples[i].series & MDB_SERIES_BY_KEY ? -1 - (int64) (uint32) samples[i].series
														: (int64) samples[i].series;
	chunk_end(s, mdb_i64_encode(ints, n, chunk_begin(s, mdb_i64_bound(n)), &hints[0]));
	for (uint32 i = 0; i < n; i++)
		ints[i] = samples[i].column;
	chunk_end(s, mdb_i64_encode(ints, n, chunk_begin(s, mdb_i64_bound(n)), &hints[1]));
	for (uint32 i = 0; i < n; i++)
		ints[i] = samples[i].time;
	chunk_end(s, mdb_time_encode(ints, n, chunk_begin(s, mdb_i64_bound(n)), &hints[2]));
	for (uint32 i = 0; i < n; i++)
		values[i] = samples[i].value;
	chunk_end(s, mdb_f64_encode(values, n, chunk_begin(s, mdb_f64_bound(n)), &hints[3]));
}

/*
 * mdb_tapped_encode - see bytes.h.  Keys that no sample names are left out.
 */
bytea *
mdb_tapped_encode(const MdbTapped *samples, uint32 n, const MdbTappedKey *keys)
{
	StringInfoData s;
	uint32 room = Min(n, MDB_BLOCK_ROWS_MAX);
	int64 *ints = palloc(sizeof(int64) * (room + MDB_DECODE_SLACK));
	double *values = palloc(sizeof(double) * (room + MDB_DECODE_SLACK));
	MdbTapped *block = palloc(sizeof(MdbTapped) * Max(room, 1));
	MdbCodecHint hints[4];
	uint32 nkeys = 0;
	uint32 highest = 0;
	uint32 *number = NULL;

	memset(hints, 0, sizeof(hints));
	initStringInfo(&s);
	appendStringInfoSpaces(&s, VARHDRSZ);
	appendStringInfoChar(&s, BYTES_VERSION);
	for (uint32 i = 0; i < n; i++)
		if (samples[i].series & MDB_SERIES_BY_KEY)
			highest = Max(highest, (uint32) samples[i].series + 1);
	if (highest > 0)
		number = palloc0(sizeof(uint32) * highest);
	for (uint32 i = 0; i < n; i++)
		if ((samples[i].series & MDB_SERIES_BY_KEY) && number[(uint32) samples[i].series] == 0)
			number[(uint32) samples[i].series] = ++nkeys;
	put_u32(&s, nkeys);
	put_u32(&s, n);
	/* Numbers were given in this order. */
	nkeys = 0;
	for (uint32 i = 0; i < n; i++)
	{
		uint32 key = (uint32) samples[i].series;

		if (!(samples[i].series & MDB_SERIES_BY_KEY) || number[key] != nkeys + 1)
			continue;
		put_u32(&s, keys[key].len);
		appendBinaryStringInfo(&s, keys[key].bytes, (int) keys[key].len);
		nkeys++;
	}
	for (uint32 at = 0; at < n; at += room)
	{
		uint32 m = Min(room, n - at);

		memcpy(block, samples + at, sizeof(MdbTapped) * m);
		for (uint32 i = 0; i < m && highest > 0; i++)
			if (block[i].series & MDB_SERIES_BY_KEY)
				block[i].series = MDB_SERIES_BY_KEY | (number[(uint32) block[i].series] - 1);
		put_block(&s, block, m, ints, values, hints);
	}
	pfree(ints);
	pfree(values);
	pfree(block);
	if (number)
		pfree(number);
	SET_VARSIZE(s.data, s.len);
	return (bytea *) s.data;
}

pg_noreturn static void
damaged(void)
{
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("samples for rules are damaged")));
}

typedef struct Reader
{
	const char *p;
	const char *end;
} Reader;

static const char *
get_bytes(Reader *r, uint32 n)
{
	const char *p = r->p;

	if (n > (size_t) (r->end - r->p))
		damaged();
	r->p += n;
	return p;
}

static uint32
get_u32(Reader *r)
{
	uint32 v;

	memcpy(&v, get_bytes(r, sizeof(v)), sizeof(v));
	return v;
}

typedef int (*Decoder)(const uint8_t *in, size_t len, uint32_t n, int64_t *out);

static void
get_chunk(Reader *r, Decoder decode, uint32 n, int64 *out)
{
	uint32 len = get_u32(r);

	if (decode((const uint8_t *) get_bytes(r, len), len, n, out) != MDB_CODEC_OK)
		damaged();
}

/*
 * mdb_tapped_decode - see bytes.h.
 */
uint32
mdb_tapped_decode(const bytea *bytes, MdbTapped **samples, uint32 *nkeys, MdbTappedKey **keys)
{
	Reader r = {VARDATA_ANY(bytes), VARDATA_ANY(bytes) + VARSIZE_ANY_EXHDR(bytes)};
	int64 *ints = palloc(sizeof(int64) * (MDB_BLOCK_ROWS_MAX + MDB_DECODE_SLACK));
	MdbTapped *s;
	uint32 n;

	if (*get_bytes(&r, 1) != BYTES_VERSION)
		damaged();
	*nkeys = get_u32(&r);
	n = get_u32(&r);
	/* A key has at least its length; of samples there are as many as chunks can have. */
	if (*nkeys > (r.end - r.p) / sizeof(uint32) || n / MDB_BLOCK_ROWS_MAX > r.end - r.p)
		damaged();
	*keys = palloc(sizeof(MdbTappedKey) * Max(*nkeys, 1));
	for (uint32 i = 0; i < *nkeys; i++)
	{
		(*keys)[i].len = get_u32(&r);
		(*keys)[i].bytes = get_bytes(&r, (*keys)[i].len);
	}
	s = *samples = palloc_extended(sizeof(MdbTapped) * (Size) Max(n, 1), MCXT_ALLOC_HUGE);
	for (uint32 at = 0; at < n;)
	{
		uint32 m = Min(n - at, MDB_BLOCK_ROWS_MAX);
		uint32 len;

		get_chunk(&r, mdb_i64_decode, m, ints);
		for (uint32 i = 0; i < m; i++)
		{
			if (ints[i] < -(int64) *nkeys || ints[i] > PG_UINT32_MAX)
				damaged();
			s[at + i].series = ints[i] < 0 ? MDB_SERIES_BY_KEY | (uint64) (-1 - ints[i]) : (uint64) ints[i];
		}
		get_chunk(&r, mdb_i64_decode, m, ints);
		for (uint32 i = 0; i < m; i++)
			s[at + i].column = (AttrNumber) ints[i];
		get_chunk(&r, mdb_time_decode, m, ints);
		for (uint32 i = 0; i < m; i++)
			s[at + i].time = ints[i];
		len = get_u32(&r);
		if (mdb_f64_decode((const uint8_t *) get_bytes(&r, len), len, m, (double *) ints) != MDB_CODEC_OK)
			damaged();
		for (uint32 i = 0; i < m; i++)
			memcpy(&s[at + i].value, &ints[i], sizeof(double));
		at += m;
	}
	pfree(ints);
	return n;
}
