/*
 * gorilla.c
 *	  XOR of each value with the one before it (Pelkonen et al., VLDB 2015), with a code of its
 *	  own for Prometheus' staleness marker.
 *
 * A bit stream, most significant bit first:
 *
 *	first value				all its bits (W = 64, or 32 for floats)
 *	0						the value before it again
 *	10 xor[length]			the XOR lies within the last window
 *	110 lead[5] len[L] xor	a new window: leading zeros (at most 31), length - 1 (L = 6 or 5)
 *	111						a stale NaN; the next XOR is still against the value before it,
 *							so that a gap in a series does not cost its window twice
 *
 * Invariants
 *	1. Reuse of a window before the first one, and lead + length > W, are corrupt.
 *	2. The stream ends in the last byte, and the bits left in that byte are zero.
 *	3. The reader refills from within the input only; at its end it feeds zeros and notices.
 */
#include "codec_internal.h"

#define STALE_NAN UINT64_C(0x7ff0000000000002)
#define LEAD_BITS 5
#define LEAD_MAX  31

static inline unsigned
kind_bits(MdbKind kind)
{
	return kind == MDB_KIND_F32 ? 32 : 64;
}

typedef struct BitWriter
{
	uint8_t *p;
	uint64_t acc;  /* pending bits, left-aligned */
	unsigned used; /* how many: 0..63 */
} BitWriter;

/* Append the low n bits of x, n = 1..64, nothing above them set. */
static inline void
put_bits(BitWriter *w, uint64_t x, unsigned n)
{
	unsigned room = 64 - w->used;

	if (n < room)
	{
		w->acc |= x << (room - n);
		w->used += n;
		return;
	}
	w->acc |= x >> (n - room);
	mdb_store64(w->p, __builtin_bswap64(w->acc));
	w->p += 8;
	w->used = n - room;
	w->acc = w->used == 0 ? 0 : x << (64 - w->used);
}

size_t
mdb_gorilla_encode(MdbKind kind, const uint64_t *v, uint32_t n, uint8_t *out, size_t cap)
{
	const unsigned bits = kind_bits(kind);
	const unsigned len_bits = bits == 64 ? 6 : 5;
	BitWriter w = {out + 1, 0, 0};
	uint64_t prev = v[0];
	unsigned lead = 0, length = 0; /* of the window; length 0 = none yet */

	out[0] = MDB_ID_GORILLA;
	put_bits(&w, prev, bits);
	for (uint32_t i = 1; i < n; i++)
	{
		uint64_t x = v[i] ^ prev;
		unsigned l, t;

		/* a value takes 78 bits at most: within the slack if we stop here */
		if (unlikely_((size_t) (w.p - out) > cap))
			return 0;
		if (x == 0)
		{
			put_bits(&w, 0, 1);
			continue;
		}
		if (v[i] == STALE_NAN && bits == 64)
		{
			put_bits(&w, 7, 3);
			continue;
		}
		l = (unsigned) __builtin_clzll(x) - (64 - bits);
		t = (unsigned) __builtin_ctzll(x);
		if (l > LEAD_MAX)
			l = LEAD_MAX;
		if (length != 0 && l >= lead && t >= bits - lead - length)
		{
			put_bits(&w, 2, 2);
			put_bits(&w, x >> (bits - lead - length), length);
		}
		else
		{
			lead = l;
			length = bits - l - t;
			put_bits(&w, (uint64_t) 6 << (LEAD_BITS + len_bits) | (uint64_t) lead << len_bits | (length - 1),
					 3 + LEAD_BITS + len_bits);
			put_bits(&w, x >> t, length);
		}
		prev = v[i];
	}
	mdb_store64(w.p, __builtin_bswap64(w.acc));
	w.p += (w.used + 7) / 8;
	return (size_t) (w.p - out) <= cap ? (size_t) (w.p - out) : 0;
}

typedef struct BitReader
{
	const uint8_t *p;
	const uint8_t *end;
	uint64_t acc;    /* bits to come, left-aligned, zeros below */
	unsigned have;   /* how many of acc are input: after a refill at least 56 */
	unsigned beyond; /* zero bytes fed past the end */
} BitReader;

static inline void
refill(BitReader *r)
{
	if (likely_(r->end - r->p >= 8))
	{
		r->acc |= __builtin_bswap64(mdb_load64(r->p)) >> r->have;
		r->p += (63 - r->have) >> 3;
		r->have |= 56;
		return;
	}
	while (r->have <= 56)
	{
		if (r->p < r->end)
			r->acc |= (uint64_t) *r->p++ << (56 - r->have);
		else
			r->beyond++;
		r->have += 8;
	}
}

/* Take n = 1..56 bits that a refill has provided. */
static inline uint64_t
take(BitReader *r, unsigned n)
{
	uint64_t x = r->acc >> (64 - n);

	r->acc <<= n;
	r->have -= n;
	return x;
}

static inline uint64_t
take_long(BitReader *r, unsigned n)
{
	uint64_t high = 0;

	refill(r);
	if (n > 32)
	{
		high = take(r, n - 32) << 32;
		n = 32;
		refill(r);
	}
	return high | take(r, n);
}

bool
mdb_gorilla_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, uint64_t *out)
{
	const unsigned bits = kind_bits(kind);
	const unsigned len_bits = bits == 64 ? 6 : 5;
	BitReader r = {in + 1, in + len, 0, 0, 0};
	uint64_t prev;
	unsigned lead = 0, length = 0;

	prev = out[0] = take_long(&r, bits);
	for (uint32_t i = 1; i < n; i++)
	{
		refill(&r);
		if ((r.acc >> 63) == 0)
		{
			(void) take(&r, 1);
			out[i] = prev;
			continue;
		}
		if ((r.acc >> 62) == 2)
		{
			(void) take(&r, 2);
			if (length == 0)
				return false;
		}
		else if ((r.acc >> 61) == 7)
		{
			if (bits != 64)
				return false;
			(void) take(&r, 3);
			out[i] = STALE_NAN;
			continue;
		}
		else
		{
			(void) take(&r, 3);
			lead = (unsigned) take(&r, LEAD_BITS);
			length = (unsigned) take(&r, len_bits) + 1;
			if (lead + length > bits)
				return false;
		}
		prev ^= take_long(&r, length) << (bits - lead - length);
		out[i] = prev;
		/* feeding zeros for ever is harmless but pointless */
		if (unlikely_(r.beyond > 8))
			return false;
	}

	/* Exactly the last byte must have been reached, and its rest be zero. */
	{
		size_t given = (size_t) (r.p - (in + 1)) + r.beyond;
		size_t consumed = given * 8 - r.have;
		size_t last = 1 + consumed / 8;

		if (consumed % 8 == 0)
			return last == len;
		return last + 1 == len && (uint8_t) (in[last] << (consumed % 8)) == 0;
	}
}
