/*
 * postings.c
 *	  Terms and the series that have them, as bytes.
 *
 *		page  = entries, by rising term; those of one term by rising ids
 *		entry = bytes shared with the term before, varint | bytes that follow, varint | those |
 *				number of ids, varint | the lowest, varint | blocks of up to 128 of the others
 *		block = bits of a step (1) | lowest step - 1, varint | steps less the lowest, packed
 *
 * A step is the difference to the id before.  Equal steps, those of ids in a row above all, take no bits.
 */
#include "series/postings.h"

#include <string.h>

#define BLOCK 128

static uint8_t *
put_varint(uint8_t *p, uint32_t v)
{
	while (v >= 0x80)
	{
		*p++ = (uint8_t) (v | 0x80);
		v >>= 7;
	}
	*p++ = (uint8_t) v;
	return p;
}

static bool
get_varint(const uint8_t **p, const uint8_t *end, uint32_t *v)
{
	uint64_t result = 0;

	for (int shift = 0; shift < 35 && *p < end; shift += 7)
	{
		uint8_t c = *(*p)++;

		result |= (uint64_t) (c & 0x7f) << shift;
		if (c < 0x80)
		{
			*v = (uint32_t) result;
			return result <= UINT32_MAX;
		}
	}
	return false;
}

/*
 * mdb_term_cmp - terms are ordered as bytes.
 */
int
mdb_term_cmp(const void *a, uint32_t alen, const void *b, uint32_t blen)
{
	uint32_t n = alen < blen ? alen : blen;
	int c = n > 0 ? memcmp(a, b, n) : 0;

	return c != 0 ? c : alen < blen ? -1 : alen > blen;
}

/*
 * mdb_posting_bound - an entry takes no more bytes.
 */
size_t
mdb_posting_bound(uint32_t term_len, uint32_t n)
{
	return 20 + (size_t) term_len + (size_t) n * 4 + ((size_t) n / BLOCK + 1) * 7;
}

/*
 * mdb_posting_put - write an entry; returns its length.
 *
 * prev is the term of the entry before in the page, ids rise, and there are between 1 and
 * MDB_POSTING_IDS_MAX.
 */
size_t
mdb_posting_put(uint8_t *dst, const uint8_t *prev, uint32_t prev_len, const uint8_t *term, uint32_t term_len,
				const uint32_t *ids, uint32_t n)
{
	uint8_t *p = dst;
	uint32_t shared = 0;

	while (shared < prev_len && shared < term_len && prev[shared] == term[shared])
		shared++;
	p = put_varint(p, shared);
	p = put_varint(p, term_len - shared);
	if (term_len > shared)
		memcpy(p, term + shared, term_len - shared);
	p += term_len - shared;
	p = put_varint(p, n);
	p = put_varint(p, ids[0]);
	for (uint32_t at = 1; at < n; at += BLOCK)
	{
		uint32_t count = n - at < BLOCK ? n - at : BLOCK;
		uint32_t lo = UINT32_MAX, hi = 0;
		uint64_t bits = 0;
		int nbits = 0, width = 0;

		for (uint32_t i = at; i < at + count; i++)
		{
			uint32_t step = ids[i] - ids[i - 1] - 1;

			lo = step < lo ? step : lo;
			hi = step > hi ? step : hi;
		}
		while (width < 32 && (hi - lo) >> width != 0)
			width++;
		*p++ = (uint8_t) width;
		p = put_varint(p, lo);
		if (width == 0)
			continue;
		for (uint32_t i = at; i < at + count; i++)
		{
			bits |= (uint64_t) (ids[i] - ids[i - 1] - 1 - lo) << nbits;
			for (nbits += width; nbits >= 8; nbits -= 8)
			{
				*p++ = (uint8_t) bits;
				bits >>= 8;
			}
		}
		if (nbits > 0)
			*p++ = (uint8_t) bits;
	}
	return (size_t) (p - dst);
}

/*
 * mdb_posting_begin - read a page from its first entry on.
 */
void
mdb_posting_begin(MdbPostingReader *r, const void *page, size_t len)
{
	r->p = page;
	r->end = r->p + len;
	r->term_len = 0;
	r->n = 0;
}

/* Bytes of the packed steps of a block. */
static size_t
packed_bytes(uint32_t count, int width)
{
	return ((size_t) count * (size_t) width + 7) / 8;
}

/*
 * mdb_posting_next - go to the next entry: 1 = there is one, 0 = there is none, -1 = the page is damaged.
 * Its ids are not decoded.
 */
int
mdb_posting_next(MdbPostingReader *r)
{
	uint32_t shared, rest, n, first;

	if (r->p == r->end)
		return 0;
	if (!get_varint(&r->p, r->end, &shared) || !get_varint(&r->p, r->end, &rest) || shared > r->term_len ||
		rest > MDB_TERM_MAX - shared || rest > (size_t) (r->end - r->p))
		return -1;
	memcpy(r->term + shared, r->p, rest);
	r->term_len = shared + rest;
	r->p += rest;
	if (!get_varint(&r->p, r->end, &n) || n == 0 || n > MDB_POSTING_IDS_MAX)
		return -1;
	r->n = n;
	r->list = r->p;
	if (!get_varint(&r->p, r->end, &first))
		return -1;
	for (uint32_t left = n - 1; left > 0;)
	{
		uint32_t count = left < BLOCK ? left : BLOCK;
		uint32_t lo;
		int width;
		size_t bytes;

		if (r->p == r->end || (width = *r->p++) > 32 || !get_varint(&r->p, r->end, &lo))
			return -1;
		bytes = packed_bytes(count, width);
		if (bytes > (size_t) (r->end - r->p))
			return -1;
		r->p += bytes;
		left -= count;
	}
	r->list_end = r->p;
	return 1;
}

/* Bytes from p on as a number, low ones first; those beyond the end are 0. */
static uint64_t
eight_bytes(const uint8_t *p, const uint8_t *end)
{
	uint64_t v = 0;

	if (end - p >= 8)
		memcpy(&v, p, 8);
	else
		memcpy(&v, p, (size_t) (end - p));
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	return v;
}

/* Decode a block of ids behind *id, which becomes the last of them. */
static bool
read_block(const uint8_t **p, const uint8_t *end, uint64_t *id, uint32_t *ids, uint32_t count)
{
	/* mdb_posting_next() has seen that all of it lies in the page. */
	int width = *(*p)++;
	uint64_t mask = (UINT64_C(1) << width) - 1;
	uint64_t last = *id;
	const uint8_t *q;
	uint32_t lo;

	if (!get_varint(p, end, &lo))
		return false;
	q = *p;
	*p += packed_bytes(count, width);
	for (uint32_t i = 0; i < count; i++)
	{
		size_t bit = (size_t) i * (size_t) width;

		if (width > 0)
			last += (eight_bytes(q + bit / 8, end) >> bit % 8) & mask;
		last += (uint64_t) lo + 1;
		ids[i] = (uint32_t) last;
	}
	*id = last;
	return last <= UINT32_MAX;
}

/*
 * mdb_posting_ids - the ids of the entry that was read last, r->n of them, rising.  False if they are damaged.
 */
bool
mdb_posting_ids(const MdbPostingReader *r, uint32_t *ids)
{
	const uint8_t *p = r->list;
	uint64_t id;

	if (!get_varint(&p, r->list_end, &ids[0]))
		return false;
	id = ids[0];
	for (uint32_t at = 1; at < r->n; at += BLOCK)
		if (!read_block(&p, r->list_end, &id, ids + at, r->n - at < BLOCK ? r->n - at : BLOCK))
			return false;
	return true;
}

/*
 * mdb_posting_any - is one of the ids of the entry marked?  bits has a bit for each from base to last.
 * 1 = yes, 0 = no, -1 = they are damaged.  Reads no more of them than that takes.
 */
int
mdb_posting_any(const MdbPostingReader *r, const uint64_t *bits, uint32_t base, uint32_t last)
{
	const uint8_t *p = r->list;
	uint32_t ids[BLOCK];
	uint64_t id;

	if (!get_varint(&p, r->list_end, &ids[0]))
		return -1;
	id = ids[0];
	for (uint32_t at = 0, count = 1; at < r->n; at += count)
	{
		if (at > 0)
		{
			count = r->n - at < BLOCK ? r->n - at : BLOCK;
			if (!read_block(&p, r->list_end, &id, ids, count))
				return -1;
		}
		for (uint32_t i = 0; i < count; i++)
			if (ids[i] - base <= last - base && (bits[(ids[i] - base) / 64] >> (ids[i] - base) % 64) & 1)
				return 1;
		if (id >= last)
			return 0;
	}
	return 0;
}
