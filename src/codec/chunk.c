/*
 * chunk.c
 *	  Arrays of numbers: the choice of a codec when encoding, the dispatch when decoding, and the
 *	  public functions for int64, double and float.
 *
 * Choosing: a constant is seen at once; otherwise the candidates are tried from the likeliest on,
 * each under a cap one byte below the best so far, so that most that lose notice it from their
 * header alone.  What won is decoded and compared by bits; raw takes over if it ever differs.
 *
 * Constant chunks are the id and the value, stripped: an integer of its high bytes that sign
 * extension restores, a float of its low zero bytes.  Raw chunks are the id and the values.
 *
 * Invariants
 *	1. No chunk is longer than 1 + n * size of the type: that is the public bound.
 *	2. What leaves mdb_*_encode decodes to its input, whatever the codecs do.
 *	3. Composite codecs only at the depths codec_internal.h allows, so the stack is bounded.
 */
#include "codec_internal.h"

/* Hint bytes beyond the public ones. */
#define HINT_AGE     0 /* blocks, to try everything now and then */
#define HINT_DENSITY 1 /* two bytes: what the last block took, see density() */

#define RETRY_EVERY  16 /* blocks after which losers get another chance */

/* zstd around cold chunks. */
#define FRAME_LEAST 48 /* bytes of the chunk from which on it is tried */
#define FRAME_SAVES 16 /* a frame must save so much of the size */
#define FRAME_PROBE 1
#define FRAME_LEVEL 9

static size_t
const_encode(MdbKind kind, uint64_t value, uint8_t *out)
{
	unsigned bytes = mdb_kind_bytes(kind);
	unsigned drop;

	out[0] = MDB_ID_CONST;
	if (kind == MDB_KIND_INT)
	{
		bytes = value == 0 ? 0 : (mdb_width(mdb_zigzag(value)) + 7) / 8;
		memcpy(out + 1, &value, bytes);
		return 1 + bytes;
	}
	if (value == 0)
		return 1;
	drop = (unsigned) __builtin_ctzll(value) / 8;
	value >>= 8 * drop;
	memcpy(out + 1, &value, bytes - drop);
	return 1 + bytes - drop;
}

static bool
const_value(MdbKind kind, const uint8_t *in, size_t len, uint64_t *value)
{
	unsigned full = mdb_kind_bytes(kind);
	size_t bytes = len - 1;
	uint64_t x = 0;

	if (bytes > full)
		return false;
	if (bytes > 0)
		memcpy(&x, in + 1, bytes);
	if (kind != MDB_KIND_INT)
		x = bytes == 0 ? 0 : x << (8 * (full - bytes));
	else if (bytes > 0 && bytes < 8 && (in[len - 1] & 0x80))
		x |= UINT64_MAX << (8 * bytes);
	*value = x;
	return true;
}

static size_t
raw_encode(MdbKind kind, const uint64_t *v, uint32_t n, uint8_t *out, size_t cap)
{
	size_t size = 1 + (size_t) n * mdb_kind_bytes(kind);

	if (size > cap)
		return 0;
	out[0] = MDB_ID_RAW;
	if (kind != MDB_KIND_F32)
		memcpy(out + 1, v, (size_t) n * 8);
	else
	{
		for (uint32_t i = 0; i < n; i++)
			memcpy(out + 1 + 4 * (size_t) i, &v[i], 4);
	}
	return size;
}

static bool
raw_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, uint64_t *out)
{
	if (len != 1 + (size_t) n * mdb_kind_bytes(kind))
		return false;
	if (kind != MDB_KIND_F32)
		memcpy(out, in + 1, (size_t) n * 8);
	else
	{
		for (uint32_t i = 0; i < n; i++)
		{
			uint32_t x;

			memcpy(&x, in + 1 + 4 * (size_t) i, 4);
			out[i] = x;
		}
	}
	return true;
}

/* The values, the best chunk so far, and the room in which the next candidate is tried. */
typedef struct Contest
{
	MdbKind kind;
	const uint64_t *v;
	uint32_t n;
	uint32_t nruns;
	MdbAim aim;
	MdbCodecHint *hint; /* may be NULL */
	bool afresh;        /* do not let the hint narrow what is tried */
	uint8_t *out;
	size_t best; /* bytes, 0 = none yet */
	size_t cap;
	size_t most;    /* of any chunk */
	unsigned tried; /* set of ids */
	uint8_t trial[MDB_CHUNK_MAX];
} Contest;

/* Let a codec try for less than the best so far, if it applies and has not had its turn. */
static void
try_codec(Contest *c, unsigned id)
{
	size_t limit = c->best == 0 ? c->cap : c->best - 1;
	size_t size = 0;

	if (c->tried & 1u << id)
		return;
	c->tried |= 1u << id;
	switch (id)
	{
		case MDB_ID_INT:
		case MDB_ID_ULP:
			c->tried |= 1u << MDB_ID_INT | 1u << MDB_ID_ULP;
			if (c->kind == MDB_KIND_INT)
				size = mdb_int_encode(c->v, c->n, c->aim.cold, c->trial, limit);
			else if (c->aim.depth <= MDB_DEPTH_DECIMAL)
				size = mdb_decimal_encode(c->kind, c->v, c->n, c->aim, c->trial, limit,
										  c->afresh ? NULL : c->hint);
			break;
		case MDB_ID_BITS:
			if (c->kind != MDB_KIND_INT)
				size = mdb_orderbits_encode(c->kind, c->v, c->n, c->aim.cold, c->trial, limit);
			break;
		case MDB_ID_GORILLA:
			if (c->kind != MDB_KIND_INT)
				size = mdb_gorilla_encode(c->kind, c->v, c->n, c->trial, limit);
			break;
		case MDB_ID_RLE:
			if (c->aim.depth <= MDB_DEPTH_COMPOSITE && c->nruns <= c->n / 4)
				size = mdb_rle_encode(c->kind, c->v, c->n, c->nruns, c->aim, c->trial, limit);
			break;
		case MDB_ID_DICT:
			if (c->aim.depth <= MDB_DEPTH_COMPOSITE && c->n >= 16)
				size = mdb_dict_encode(c->kind, c->v, c->n, c->aim, c->trial, limit);
			break;
		case MDB_ID_RAW:
			size = raw_encode(c->kind, c->v, c->n, c->trial, limit);
			break;
	}
	if (size == 0)
		return;
	memcpy(c->out, c->trial, size);
	c->best = size;
}

/* Sixteenths of a byte a value, the measure by which a sticky choice is judged. */
static uint32_t
density(size_t size, uint32_t n)
{
	return (uint32_t) (size * 16 / n);
}

/*
 * Try what the column's last block took.  If that packs about as well again nothing else is
 * tried, but for every RETRY_EVERY blocks.
 */
static bool
settled_by_hint(Contest *c)
{
	uint32_t last;

	if (c->hint == NULL || c->hint->codec == MDB_ID_CONST || c->hint->codec >= MDB_ID_RAW)
		return false;
	if (++c->hint->opaque[HINT_AGE] % RETRY_EVERY == 0)
	{
		c->afresh = true;
		return false;
	}
	try_codec(c, c->hint->codec);
	/* on true doubles these lie too close together for one to be settled on */
	if (c->hint->codec == MDB_ID_BITS)
		try_codec(c, MDB_ID_ULP);
	else if (c->hint->codec == MDB_ID_GORILLA)
		try_codec(c, MDB_ID_BITS);
	if (c->best == 0)
		return false;
	last = c->hint->opaque[HINT_DENSITY] | (uint32_t) c->hint->opaque[HINT_DENSITY + 1] << 8;
	if (density(c->best, c->n) <= last + last / 8 + 1)
		return true;
	if (c->hint->misses < UINT8_MAX)
		c->hint->misses++;
	return false;
}

static void
remember(Contest *c)
{
	uint32_t d = density(c->best, c->n);

	c->hint->codec = c->out[0] & MDB_ID_MASK;
	if (c->kind != MDB_KIND_INT && (c->hint->codec == MDB_ID_INT || c->hint->codec == MDB_ID_ULP))
		c->hint->exponent = c->out[1] & 0x1f;
	c->hint->opaque[HINT_DENSITY] = (uint8_t) d;
	c->hint->opaque[HINT_DENSITY + 1] = (uint8_t) (d >> 8);
}

static void
try_likely(Contest *c)
{
	try_codec(c, MDB_ID_INT);
	try_codec(c, MDB_ID_RLE);
	/* true doubles take more than two bytes, a dictionary of interest less than decimals */
	if (c->best == 0 || c->best > c->n)
		try_codec(c, MDB_ID_DICT);
	if (c->best == 0 || c->best > c->most / 4)
	{
		try_codec(c, MDB_ID_BITS);
		try_codec(c, MDB_ID_GORILLA);
	}
	try_codec(c, MDB_ID_RAW);
}

/*
 * A frame around a chunk, if it saves enough to be worth inflating.  At the lowest level it is quick, and
 * tells whether another is worth its time.
 */
static void
try_frame(Contest *c, const uint8_t *chunk, size_t size)
{
	size_t limit = c->best - c->best / FRAME_SAVES;
	size_t frame = mdb_frame_encode(chunk, size, FRAME_PROBE, c->trial, c->best + c->best / 8);

	if (frame != 0)
		frame = mdb_frame_encode(chunk, size, FRAME_LEVEL, c->trial, limit);
	if (frame == 0)
		return;
	memcpy(c->out, c->trial, frame);
	c->best = frame;
}

/* Do values come again, other than in runs?  Of some that follow each other every fourth. */
static bool
values_recur(const uint64_t *v, uint32_t n)
{
	uint64_t seen[512] = {0};
	uint32_t count = n < 512 ? n : 512;
	uint32_t again = 0;

	v += (n - count) / 2;
	for (uint32_t i = 1; i < count; i++)
	{
		uint64_t *slot = &seen[(v[i] * UINT64_C(0x9e3779b97f4a7c15)) >> 55];

		again += *slot == v[i] && v[i] != v[i - 1];
		*slot = v[i];
	}
	return again >= count / 4;
}

/*
 * Cold chunks: codecs without symbols as for hot ones, then those that symbols may help, and frames around
 * the best of the first and around the plain values: zstd finds nothing in what is entropy-coded already.
 */
static void
try_all(Contest *c)
{
	uint8_t plain[MDB_CHUNK_MAX];
	unsigned first = MDB_ID_INT;
	size_t size;

	c->afresh = true;
	c->aim.cold = false;
	try_likely(c);
	size = c->best;
	/* none may fit where a chunk around it has been made without symbols */
	if (size != 0)
	{
		first = c->out[0] & MDB_ID_MASK;
		memcpy(plain, c->out, size);
	}

	c->aim.cold = true;
	c->tried = 1u << MDB_ID_RAW | 1u << MDB_ID_GORILLA;
	try_codec(c, first);
	try_codec(c, MDB_ID_INT);
	if (size == 0 || size > c->most / 4)
		try_codec(c, MDB_ID_BITS);
	if (c->nruns <= c->n / 8)
		try_codec(c, MDB_ID_RLE);
	if (c->best > c->n / 2)
		try_codec(c, MDB_ID_DICT);
	if (c->aim.depth > MDB_DEPTH_COMPOSITE || size < FRAME_LEAST)
		return;
	try_frame(c, plain, size);
	if (first != MDB_ID_RAW && c->best > c->n / 4 && (c->best > 2 * c->n || values_recur(c->v, c->n)))
		try_frame(c, plain, raw_encode(c->kind, c->v, c->n, plain, sizeof(plain)));
}

/*
 * mdb_chunk_encode - the smallest chunk found for v, or 0 if none fits into cap.
 */
size_t
mdb_chunk_encode(MdbKind kind, const uint64_t *v, uint32_t n, MdbAim aim, uint8_t *out, size_t cap,
				 MdbCodecHint *hint)
{
	Contest c;
	size_t most = 1 + (size_t) n * mdb_kind_bytes(kind);

	if (cap == 0)
		return 0;
	c.kind = kind;
	c.v = v;
	c.n = n;
	c.nruns = mdb_count_runs(v, n);
	c.aim = aim;
	c.hint = hint;
	c.afresh = hint == NULL;
	c.out = out;
	c.best = 0;
	c.cap = cap < most ? cap : most;
	c.most = most;
	c.tried = 0;
	if (c.nruns == 1)
	{
		uint8_t buf[9];
		size_t size = const_encode(kind, v[0], buf);

		if (size > cap)
			return 0;
		memcpy(out, buf, size);
		return size;
	}

	if (aim.cold)
		try_all(&c);
	else if (!settled_by_hint(&c))
		try_likely(&c);
	if (hint != NULL && c.best != 0)
		remember(&c);
	return c.best;
}

/*
 * mdb_put_sized - a chunk within a chunk: its size, and the chunk.  Returns the byte behind it, or
 * NULL if it does not fit before end.
 */
uint8_t *
mdb_put_sized(MdbKind kind, const uint64_t *v, uint32_t n, MdbAim aim, uint8_t *p, const uint8_t *end)
{
	/* the size is known last: leave room for the longest, then close the gap */
	const size_t room = mdb_varint_size(MDB_CHUNK_MAX);
	uint8_t *chunk = p + room;
	size_t size;

	if (end - p <= (ptrdiff_t) room)
		return NULL;
	size = mdb_chunk_encode(kind, v, n, aim, chunk, (size_t) (end - chunk), NULL);
	if (size == 0)
		return NULL;
	p = mdb_put_varint(p, size);
	memmove(p, chunk, size);
	return p + size;
}

/* mdb_get_sized - the inverse: where the chunk is; returns the byte behind it, NULL if corrupt. */
const uint8_t *
mdb_get_sized(const uint8_t *p, const uint8_t *end, const uint8_t **chunk, size_t *size)
{
	uint32_t x;

	p = mdb_get_bounded(p, end, UINT32_MAX, &x);
	if (p == NULL || x > (size_t) (end - p))
		return NULL;
	*chunk = p;
	*size = x;
	return p + x;
}

/*
 * mdb_chunk_decode - n values (1..MDB_BLOCK_ROWS_MAX) of the kind into out; false if corrupt.
 */
bool
mdb_chunk_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, int depth, uint64_t *out)
{
	unsigned variant;
	uint32_t divided;

	if (len == 0)
		return false;
	if (in[0] == (MDB_ID_RAW | MDB_ID_ZSTD))
		return depth <= MDB_DEPTH_COMPOSITE && mdb_frame_decode(kind, in, len, n, out);
	variant = in[0] >> MDB_VARIANT_SHIFT;
	if ((in[0] & MDB_ID_MASK) != MDB_ID_INT && variant != 0)
		return false;
	if ((in[0] & MDB_ID_ZSTD) ||
		((in[0] & MDB_ID_ENTROPY) &&
		 ((in[0] & MDB_ID_MASK) != MDB_ID_INT || variant == MDB_INT_GRID || variant == MDB_INT_DECIMAL)))
		return false;
	switch (in[0] & MDB_ID_MASK)
	{
		case MDB_ID_CONST:
		{
			uint64_t value;

			if (!const_value(kind, in, len, &value))
				return false;
			for (uint32_t i = 0; i < n; i++)
				out[i] = value;
			return true;
		}
		case MDB_ID_RLE:
			return depth <= MDB_DEPTH_COMPOSITE && mdb_rle_decode(kind, in, len, n, depth, out);
		case MDB_ID_INT:
			if (variant == MDB_INT_DECIMAL)
				return depth <= MDB_DEPTH_DECIMAL && mdb_decimal_decode(kind, in, len, n, depth, out);
			if (kind != MDB_KIND_INT)
				return false;
			if (variant == MDB_INT_GRID)
				return depth <= MDB_DEPTH_COMPOSITE && mdb_grid_decode(in, len, n, out);
			return mdb_int_decode(in, len, n, 0, &divided, out);
		case MDB_ID_ULP:
			return depth <= MDB_DEPTH_COMPOSITE && mdb_ulp_decode(kind, in, len, n, depth, out);
		case MDB_ID_DICT:
			return depth <= MDB_DEPTH_COMPOSITE && mdb_dict_decode(kind, in, len, n, depth, out);
		case MDB_ID_BITS:
			return kind != MDB_KIND_INT && mdb_orderbits_decode(kind, in, len, n, out);
		case MDB_ID_GORILLA:
			return kind != MDB_KIND_INT && mdb_gorilla_decode(kind, in, len, n, out);
		case MDB_ID_RAW:
			return raw_decode(kind, in, len, n, out);
	}
	return false;
}

/* Encode and verify.  A chunk that does not decode to its input would be a bug: raw is right. */
static size_t
encode_verified(MdbKind kind, const uint64_t *v, uint32_t n, uint8_t *out, MdbCodecHint *hint)
{
	uint64_t back[MDB_WORDS_MAX];
	size_t most = 1 + (size_t) n * mdb_kind_bytes(kind);
	size_t size;

	if (n == 0 || n > MDB_BLOCK_ROWS_MAX)
		return 0;
	size = mdb_chunk_encode(kind, v, n, (MdbAim){0, hint != NULL && hint->cold}, out, most, hint);
	if (size == 0 || !mdb_chunk_decode(kind, out, size, n, 0, back) || memcmp(back, v, (size_t) n * 8) != 0)
	{
		MDB_BUG();
		size = raw_encode(kind, v, n, out, most);
	}
	return size;
}

static int
decode_checked(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, uint64_t *out)
{
	if (n == 0)
		return len == 0 ? MDB_CODEC_OK : MDB_CODEC_CORRUPT;
	if (n > MDB_BLOCK_ROWS_MAX || !mdb_chunk_decode(kind, in, len, n, 0, out))
		return MDB_CODEC_CORRUPT;
	return MDB_CODEC_OK;
}

/* mdb_i64_bound - room mdb_i64_encode and mdb_time_encode need for n values. */
size_t
mdb_i64_bound(uint32_t n)
{
	return 1 + (size_t) n * 8 + MDB_OUT_SLACK;
}

/* mdb_i64_encode - n integers (at most MDB_BLOCK_ROWS_MAX); hint may be NULL. */
size_t
mdb_i64_encode(const int64_t *v, uint32_t n, uint8_t *out, MdbCodecHint *hint)
{
	return encode_verified(MDB_KIND_INT, (const uint64_t *) v, n, out, hint);
}

/* mdb_i64_decode - the n integers of a chunk. */
int
mdb_i64_decode(const uint8_t *in, size_t len, uint32_t n, int64_t *out)
{
	return decode_checked(MDB_KIND_INT, in, len, n, (uint64_t *) out);
}

/* mdb_f64_bound - room mdb_f64_encode needs for n values. */
size_t
mdb_f64_bound(uint32_t n)
{
	return 1 + (size_t) n * 8 + MDB_OUT_SLACK;
}

/* mdb_f64_encode - n doubles by their bits; hint may be NULL. */
size_t
mdb_f64_encode(const double *v, uint32_t n, uint8_t *out, MdbCodecHint *hint)
{
	return encode_verified(MDB_KIND_F64, (const uint64_t *) v, n, out, hint);
}

/* mdb_f64_decode - the n doubles of a chunk. */
int
mdb_f64_decode(const uint8_t *in, size_t len, uint32_t n, double *out)
{
	return decode_checked(MDB_KIND_F64, in, len, n, (uint64_t *) out);
}

/* mdb_f32_bound - room mdb_f32_encode needs for n values. */
size_t
mdb_f32_bound(uint32_t n)
{
	return 1 + (size_t) n * 4 + MDB_OUT_SLACK;
}

/* mdb_f32_encode - n floats by their bits; hint may be NULL. */
size_t
mdb_f32_encode(const float *v, uint32_t n, uint8_t *out, MdbCodecHint *hint)
{
	uint64_t words[MDB_WORDS_MAX];

	for (uint32_t i = 0; i < n && i < MDB_BLOCK_ROWS_MAX; i++)
	{
		uint32_t x;

		memcpy(&x, v + i, 4);
		words[i] = x;
	}
	return encode_verified(MDB_KIND_F32, words, n, out, hint);
}

/* mdb_f32_decode - the n floats of a chunk. */
int
mdb_f32_decode(const uint8_t *in, size_t len, uint32_t n, float *out)
{
	uint64_t words[MDB_WORDS_MAX];

	if (decode_checked(MDB_KIND_F32, in, len, n, words) != MDB_CODEC_OK)
		return MDB_CODEC_CORRUPT;
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t x = (uint32_t) words[i];

		memcpy(out + i, &x, 4);
	}
	return MDB_CODEC_OK;
}

/* Is the chunk that the values are in, within a decimal or an ordered one, entropy-coded? */
static bool
has_symbols(const uint8_t *in, size_t len)
{
	const uint8_t *p = in, *end = in + len, *part;
	size_t size;
	uint64_t count;

	if ((*p & MDB_ID_MASK) == MDB_ID_BITS)
		p++;
	else if (*p >> MDB_VARIANT_SHIFT == MDB_INT_DECIMAL && len > 2)
	{
		bool exceptions = (p[1] & 0x80) != 0;

		p += 2;
		if (exceptions)
			p = mdb_get_varint(p, end, &count);
		for (int i = 0; i < 2 && exceptions && p != NULL; i++)
			p = mdb_get_sized(p, end, &part, &size);
	}
	return p != NULL && p < end && (*p & MDB_ID_ENTROPY);
}

/* mdb_codec_name - for statistics; an unknown or empty chunk has a name too. */
const char *
mdb_codec_name(const uint8_t *in, size_t len)
{
	static const char *const integers[8] = {"for", "delta", "delta2", "grid",
											"for", "delta", "delta2", "decimal"};
	static const char *const symbols[8] = {"for+tans", "delta+tans", "delta2+tans", "grid",
										   "for+tans", "delta+tans", "delta2+tans", "decimal+tans"};

	if (len == 0)
		return "empty";
	if (in[0] & MDB_ID_ZSTD)
		return (in[0] & MDB_ID_MASK) == MDB_ID_DICT ? "dict+zstd" : "zstd";
	switch (in[0] & MDB_ID_MASK)
	{
		case MDB_ID_CONST:
			return "const";
		case MDB_ID_RLE:
			return "rle";
		case MDB_ID_INT:
			if (in[0] == (MDB_ID_INT | MDB_INT_DELTA << MDB_VARIANT_SHIFT) && len > 1 && in[1] == 0)
				return "const-step";
			return (has_symbols(in, len) ? symbols : integers)[in[0] >> MDB_VARIANT_SHIFT];
		case MDB_ID_ULP:
			return "decimal+ulp";
		case MDB_ID_DICT:
			return "dict";
		case MDB_ID_BITS:
			return has_symbols(in, len) ? "bits-delta+tans" : "bits-delta";
		case MDB_ID_GORILLA:
			return "gorilla";
	}
	return "raw";
}
