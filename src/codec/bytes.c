/*
 * bytes.c
 *	  Byte strings: text, jsonb, any datum: constant, dictionary or plain, each but the constant
 *	  with zstd where it pays.
 *
 *	constant	id MDB_ID_CONST, the bytes of each value
 *	plain		id MDB_ID_RAW [+ MDB_ID_ZSTD], varint bytes of the lengths, integer chunk of
 *				lengths, [varint total,] bytes or zstd frame
 *	dictionary	id MDB_ID_DICT [+ MDB_ID_ZSTD], varint number of entries (1..n), varint bytes of
 *				the indexes, integer chunk of indexes, varint bytes of the lengths, integer chunk
 *				of the entries' lengths, [varint total,] the entries' bytes or zstd frame
 *
 * Entries stand in the order of first appearance, and each appears.
 *
 * Invariants
 *	1. The lengths add up to the total, and a frame inflates to exactly that.
 *	2. mdb_bytes_size tells the total without inflating anything; it never exceeds 1 GiB.
 *	3. Where memory for zstd is lacking the encoder stores plainly.
 */
#include "codec_internal.h"

#include <zstd.h>

#define TOTAL_MAX  ((uint64_t) 1 << 30)
#define LEVEL_HOT  3
#define LEVEL_COLD 9
#define ZSTD_LEAST 64    /* bytes below which zstd is not tried */
#define SLOTS      16384 /* of the hash table: a power of two, at most half full */

/* The head of a chunk, up to the strings themselves. */
typedef struct Layout
{
	unsigned id;    /* with MDB_ID_ZSTD */
	uint32_t count; /* strings stored: n, or entries of the dictionary */
	const uint8_t *index;
	size_t index_size;
	const uint8_t *lengths;
	size_t lengths_size;
	const uint8_t *body;
	size_t body_size; /* as stored */
	size_t total;     /* inflated */
} Layout;

static inline uint32_t
start_of(const uint32_t *ends, uint32_t i)
{
	return i == 0 ? 0 : ends[i - 1];
}

static inline uint32_t
length_of(const uint32_t *ends, uint32_t i)
{
	return ends[i] - start_of(ends, i);
}

static uint32_t
hash_bytes(const uint8_t *p, size_t len)
{
	uint64_t h = len * UINT64_C(0x9e3779b97f4a7c15);
	uint64_t tail = 0;

	for (; len >= 8; p += 8, len -= 8)
	{
		h = (h ^ mdb_load64(p)) * UINT64_C(0x9fb21c651e98df25);
		h ^= h >> 32;
	}
	if (len > 0)
		memcpy(&tail, p, len);
	h = (h ^ tail) * UINT64_C(0x9fb21c651e98df25);
	return (uint32_t) (h >> 32);
}

/* mdb_bytes_bound - room mdb_bytes_encode needs for n values of total bytes together. */
size_t
mdb_bytes_bound(uint32_t n, size_t total)
{
	/* lengths, indexes, heads, strings; a frame that would not be smaller is never finished */
	return 2 * mdb_i64_bound(n) + total + 5 * MDB_VARINT_MAX;
}

/*
 * Distinct values: index[] per value, first[] the value that an entry stands for.  Returns how
 * many, or 0 if more than most.
 */
static uint32_t
find_distinct(const uint8_t *data, const uint32_t *ends, uint32_t n, uint32_t most, uint64_t *index,
			  uint16_t *first)
{
	uint16_t slots[SLOTS] = {0}; /* entry + 1, 0 = free */
	uint32_t count = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		const uint8_t *s = data + start_of(ends, i);
		uint32_t len = length_of(ends, i);
		uint32_t slot;

		/* rows of a series come together */
		if (i > 0 && length_of(ends, i - 1) == len && memcmp(s - len, s, len) == 0)
		{
			index[i] = index[i - 1];
			continue;
		}
		slot = hash_bytes(s, len) % SLOTS;
		for (; slots[slot] != 0; slot = (slot + 1) % SLOTS)
		{
			uint32_t at = first[slots[slot] - 1];

			if (length_of(ends, at) == len && memcmp(data + start_of(ends, at), s, len) == 0)
				break;
		}
		if (slots[slot] == 0)
		{
			if (count == most)
				return 0;
			first[count] = (uint16_t) i;
			slots[slot] = (uint16_t) ++count;
		}
		index[i] = slots[slot] - 1u;
	}
	return count;
}

static uint8_t *
put_numbers(const uint64_t *v, uint32_t n, bool cold, uint8_t *p)
{
	/* integer chunks always fit into their bound, and mdb_bytes_bound provides for two */
	return mdb_put_sized(MDB_KIND_INT, v, n, (MdbAim){MDB_DEPTH_COMPOSITE, cold}, p, p + mdb_i64_bound(n));
}

/* One zstd frame of the stored strings; its size, or 0 if it does not fit into cap. */
static size_t
compress(const uint8_t *data, const uint32_t *ends, const uint16_t *first, uint32_t count, size_t total,
		 int level, uint8_t *out, size_t cap)
{
	ZSTD_CCtx *cctx = mdb_compressor(level);
	ZSTD_outBuffer dst = {out, cap, 0};
	ZSTD_inBuffer src = {data, total, 0};

	if (cctx == NULL)
		return 0;
	if (first != NULL)
	{
		ZSTD_CCtx_setPledgedSrcSize(cctx, total);
		for (uint32_t j = 0; j < count; j++)
		{
			src = (ZSTD_inBuffer){data + start_of(ends, first[j]), length_of(ends, first[j]), 0};
			while (src.pos < src.size)
			{
				size_t before = src.pos + dst.pos;
				size_t left = ZSTD_compressStream2(cctx, &dst, &src, ZSTD_e_continue);

				if (ZSTD_isError(left) || src.pos + dst.pos == before)
					return 0;
			}
		}
		src = (ZSTD_inBuffer){NULL, 0, 0};
	}
	return ZSTD_compressStream2(cctx, &dst, &src, ZSTD_e_end) == 0 ? dst.pos : 0;
}

/*
 * The stored strings: all n in place if first is NULL, else the entries that first[] names.
 * *id learns whether they were compressed.
 */
static uint8_t *
put_body(const uint8_t *data, const uint32_t *ends, const uint16_t *first, uint32_t count, size_t total,
		 bool cold, uint8_t *p, uint8_t *id)
{
	if (total >= ZSTD_LEAST)
	{
		/* a frame must save a sixteenth to be worth inflating */
		uint8_t *frame = p + mdb_varint_size(total);
		size_t size = compress(data, ends, first, count, total, cold ? LEVEL_COLD : LEVEL_HOT, frame,
							   total - total / 16 - mdb_varint_size(total));

		if (size != 0)
		{
			*id |= MDB_ID_ZSTD;
			(void) mdb_put_varint(p, total);
			return frame + size;
		}
	}
	if (first == NULL)
	{
		if (total > 0)
			memcpy(p, data, total);
		return p + total;
	}
	for (uint32_t j = 0; j < count; j++)
	{
		size_t len = length_of(ends, first[j]);

		if (len > 0)
			memcpy(p, data + start_of(ends, first[j]), len);
		p += len;
	}
	return p;
}

static size_t
encode_plain(const uint8_t *data, const uint32_t *ends, uint32_t n, bool cold, uint8_t *out)
{
	uint64_t lengths[MDB_BLOCK_ROWS_MAX];
	uint8_t *p = out + 1;

	for (uint32_t i = 0; i < n; i++)
		lengths[i] = length_of(ends, i);
	out[0] = MDB_ID_RAW;
	p = put_numbers(lengths, n, cold, p);
	p = put_body(data, ends, NULL, n, ends[n - 1], cold, p, out);
	return (size_t) (p - out);
}

static size_t
encode_dict(const uint8_t *data, const uint32_t *ends, uint32_t n, const uint64_t *index,
			const uint16_t *first, uint32_t count, bool cold, uint8_t *out)
{
	uint64_t lengths[MDB_BLOCK_ROWS_MAX];
	uint8_t *p = out + 1;
	size_t total = 0;

	for (uint32_t j = 0; j < count; j++)
	{
		lengths[j] = length_of(ends, first[j]);
		total += lengths[j];
	}
	out[0] = MDB_ID_DICT;
	p = mdb_put_varint(p, count);
	p = put_numbers(index, n, cold, p);
	p = put_numbers(lengths, count, cold, p);
	p = put_body(data, ends, first, count, total, cold, p, out);
	return (size_t) (p - out);
}

/*
 * mdb_bytes_encode - n byte strings, at most MDB_BLOCK_ROWS_MAX.
 *
 * The dictionary comes first; where it is not plainly good the strings as they are get their
 * chance in the same place, and if they lose the dictionary is built once more.
 */
size_t
mdb_bytes_encode(const uint8_t *data, const uint32_t *ends, uint32_t n, uint8_t *out, MdbCodecHint *hint)
{
	uint64_t index[MDB_BLOCK_ROWS_MAX];
	uint16_t first[MDB_BLOCK_ROWS_MAX];
	uint32_t count;
	size_t total, dict, plain;
	bool cold = hint != NULL && hint->cold;

	if (n == 0 || n > MDB_BLOCK_ROWS_MAX)
		return 0;
	total = ends[n - 1];
	count = find_distinct(data, ends, n, n / 2 + 1, index, first);
	if (count == 1 && ends[0] < ZSTD_LEAST)
	{
		out[0] = MDB_ID_CONST;
		if (ends[0] > 0)
			memcpy(out + 1, data, ends[0]);
		plain = 1 + ends[0];
	}
	else
	{
		dict = count == 0 ? SIZE_MAX : encode_dict(data, ends, n, index, first, count, cold, out);
		plain = dict;
		if (dict > total / 8)
		{
			plain = encode_plain(data, ends, n, cold, out);
			if (plain > dict)
				plain = encode_dict(data, ends, n, index, first, count, cold, out);
		}
	}
	if (hint != NULL)
		hint->codec = out[0] & MDB_ID_MASK;
	return plain;
}

/* Take the head of a chunk apart; nothing of the parts is looked at but their lengths. */
static bool
read_layout(const uint8_t *in, size_t len, uint32_t n, Layout *l)
{
	const uint8_t *p = in + 1, *end = in + len;

	if (len == 0 || n > MDB_BLOCK_ROWS_MAX)
		return false;
	memset(l, 0, sizeof(*l));
	l->id = in[0];
	l->count = n;
	switch (l->id & ~(unsigned) MDB_ID_ZSTD)
	{
		case MDB_ID_CONST:
			if (l->id & MDB_ID_ZSTD)
				return false;
			l->count = 1;
			break;
		case MDB_ID_DICT:
			p = mdb_get_bounded(p, end, n, &l->count);
			if (p == NULL || l->count == 0)
				return false;
			p = mdb_get_sized(p, end, &l->index, &l->index_size);
			if (p == NULL)
				return false;
			/* FALLTHROUGH */
		case MDB_ID_RAW:
			p = mdb_get_sized(p, end, &l->lengths, &l->lengths_size);
			if (p == NULL)
				return false;
			break;
		default:
			return false;
	}
	if (l->id & MDB_ID_ZSTD)
	{
		uint32_t total;

		p = mdb_get_bounded(p, end, TOTAL_MAX, &total);
		if (p == NULL)
			return false;
		l->total = total;
	}
	l->body = p;
	l->body_size = (size_t) (end - p);
	if (!(l->id & MDB_ID_ZSTD))
		l->total = l->body_size;
	return l->total <= TOTAL_MAX;
}

/* Lengths of the stored strings, which must add up to the total. */
static bool
read_lengths(const Layout *l, uint64_t *lengths)
{
	uint64_t sum = 0;

	if (!mdb_chunk_decode(MDB_KIND_INT, l->lengths, l->lengths_size, l->count, MDB_DEPTH_COMPOSITE, lengths))
		return false;
	for (uint32_t j = 0; j < l->count; j++)
	{
		if (lengths[j] > l->total - sum)
			return false;
		sum += lengths[j];
	}
	return sum == l->total;
}

/* The indexes of a dictionary chunk, and what their strings take together. */
static bool
read_index(const Layout *l, uint32_t n, const uint64_t *lengths, uint64_t *index, size_t *total)
{
	uint64_t sum = 0;

	if (!mdb_chunk_decode(MDB_KIND_INT, l->index, l->index_size, n, MDB_DEPTH_COMPOSITE, index))
		return false;
	for (uint32_t i = 0; i < n; i++)
	{
		if (index[i] >= l->count)
			return false;
		sum += lengths[index[i]];
	}
	*total = sum;
	return sum <= TOTAL_MAX;
}

/* mdb_bytes_size - bytes that mdb_bytes_decode will write to data. */
int
mdb_bytes_size(const uint8_t *in, size_t len, uint32_t n, size_t *total)
{
	uint64_t lengths[MDB_WORDS_MAX];
	uint64_t index[MDB_WORDS_MAX];
	Layout l;

	if (n == 0)
	{
		*total = 0;
		return len == 0 ? MDB_CODEC_OK : MDB_CODEC_CORRUPT;
	}
	if (!read_layout(in, len, n, &l))
		return MDB_CODEC_CORRUPT;
	if (l.id == MDB_ID_CONST)
	{
		if (l.total > TOTAL_MAX / n)
			return MDB_CODEC_CORRUPT;
		*total = l.total * n;
		return MDB_CODEC_OK;
	}
	if (l.index == NULL)
		*total = l.total;
	else if (!read_lengths(&l, lengths) || !read_index(&l, n, lengths, index, total))
		return MDB_CODEC_CORRUPT;
	return MDB_CODEC_OK;
}

/*
 * A dictionary's strings.  Compressed entries are inflated to the end of the output and copied
 * down from there, without room of their own.  Entry j's first use overwrites only entries before
 * it: what is still to be written holds at least every entry not yet seen.  An entry's later uses
 * copy from its first one.
 */
static bool
decode_dict(const Layout *l, uint32_t n, uint8_t *data, size_t cap, uint32_t *ends)
{
	uint64_t lengths[MDB_WORDS_MAX];
	uint64_t index[MDB_WORDS_MAX];
	uint32_t used_at[MDB_BLOCK_ROWS_MAX];
	const uint8_t *entry = l->body; /* the next one not yet seen */
	uint32_t seen = 0;
	uint32_t at = 0;
	size_t total;

	if (!read_lengths(l, lengths) || !read_index(l, n, lengths, index, &total) || total > cap)
		return false;
	if (l->id & MDB_ID_ZSTD)
	{
		if (l->total > total)
			return false;
		entry = data + (total - l->total);
		if (!mdb_inflate(l->body, l->body_size, data + (total - l->total), l->total))
			return false;
	}
	for (uint32_t i = 0; i < n; i++)
	{
		uint64_t j = index[i];
		size_t len = lengths[j];

		if (j < seen)
			memcpy(data + at, data + used_at[j], len);
		else
		{
			if (j != seen)
				return false;
			memmove(data + at, entry, len);
			entry += len;
			used_at[seen++] = at;
		}
		at += (uint32_t) len;
		ends[i] = at;
	}
	return seen == l->count;
}

static bool
decode_plain(const Layout *l, uint32_t n, uint8_t *data, size_t cap, uint32_t *ends)
{
	uint64_t lengths[MDB_WORDS_MAX];
	uint32_t at = 0;

	if (l->total > cap || !read_lengths(l, lengths))
		return false;
	if (l->id & MDB_ID_ZSTD)
	{
		if (!mdb_inflate(l->body, l->body_size, data, l->total))
			return false;
	}
	else if (l->total > 0)
		memcpy(data, l->body, l->total);
	for (uint32_t i = 0; i < n; i++)
		ends[i] = at += (uint32_t) lengths[i];
	return true;
}

/* mdb_bytes_decode - the n strings, cap being the room in data (mdb_bytes_size or more). */
int
mdb_bytes_decode(const uint8_t *in, size_t len, uint32_t n, uint8_t *data, size_t cap, uint32_t *ends)
{
	Layout l;
	bool ok;

	if (n == 0)
		return len == 0 ? MDB_CODEC_OK : MDB_CODEC_CORRUPT;
	if (!read_layout(in, len, n, &l))
		return MDB_CODEC_CORRUPT;
	if (l.id == MDB_ID_CONST)
	{
		if (l.total > cap / n || l.total > TOTAL_MAX / n)
			return MDB_CODEC_CORRUPT;
		for (uint32_t i = 0; i < n; i++)
		{
			if (l.total > 0)
				memcpy(data + i * l.total, l.body, l.total);
			ends[i] = (uint32_t) ((i + 1) * l.total);
		}
		return MDB_CODEC_OK;
	}
	ok = l.index != NULL ? decode_dict(&l, n, data, cap, ends) : decode_plain(&l, n, data, cap, ends);
	return ok ? MDB_CODEC_OK : MDB_CODEC_CORRUPT;
}
