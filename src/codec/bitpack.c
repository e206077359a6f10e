/*
 * bitpack.c
 *	  Fixed-width packing of unsigned words.
 *
 * Two layouts.  A "stream" is the plain one: value i occupies bits [i * w, (i + 1) * w) counted
 * from the low bit of the first byte.  The "packed" layout interleaves each full group of 256
 * values over eight 32-bit lanes (value 8 * r + l of the group is number r of lane l), so that
 * one vector load, two shifts and a mask yield eight values; what is left over after the full
 * groups is a stream.  So no array pays for padding and a block of 256, 512 or 1024 values is
 * unpacked without a scalar tail.
 *
 *	group of width w <= 32:	w rows of eight little-endian 32-bit words
 *	group of width w > 32:	a group of the low 32 bits, then one of the high w - 32
 *
 * Invariants
 *	1. Exactly mdb_packed_size(n, w) bytes are written, and not one more is read.
 *	2. width is 0..64; values have no bits above it (encoders' duty).
 */
#include "codec_internal.h"

#define GROUP 256
#define LANES 8
#define ROWS  (GROUP / LANES)

/*
 * A row of a group.  Compilers that know vectors of this size keep it in a register, others split
 * it; loads and stores go by memcpy as rows stand at any address.
 */
typedef uint32_t Row __attribute__((vector_size(LANES * 4)));

size_t
mdb_stream_size(uint32_t n, unsigned width)
{
	return ((size_t) n * width + 7) / 8;
}

size_t
mdb_packed_size(uint32_t n, unsigned width)
{
	return (size_t) (n / GROUP) * (GROUP / 8) * width + mdb_stream_size(n % GROUP, width);
}

void
mdb_stream_pack(const uint64_t *v, uint32_t n, unsigned width, uint8_t *out)
{
	uint64_t acc = 0;
	unsigned used = 0;

	if (width == 0)
		return;
	for (uint32_t i = 0; i < n; i++)
	{
		acc |= v[i] << used;
		used += width;
		if (used >= 64)
		{
			mdb_store64(out, acc);
			out += 8;
			used -= 64;
			/* the bits of v[i] that did not fit; a shift by 64 would be undefined */
			acc = used == 0 ? 0 : v[i] >> (width - used);
		}
	}
	for (; used > 0; used -= used < 8 ? used : 8)
	{
		*out++ = (uint8_t) acc;
		acc >>= 8;
	}
}

/*
 * mdb_stream_unpack - n values of a stream.  Bytes up to end may be read: where more input follows
 * the stream, even its last values can be loaded as whole words.
 */
void
mdb_stream_unpack(const uint8_t *in, const uint8_t *end, uint32_t n, unsigned width, uint64_t *out)
{
	size_t readable = (size_t) (end - in);
	uint64_t mask = width == 64 ? UINT64_MAX : ((uint64_t) 1 << width) - 1;
	uint32_t i = 0;
	size_t bit = 0;

	if (width == 0)
	{
		memset(out, 0, n * sizeof(*out));
		return;
	}
	/* a word at any bit offset holds 57 bits */
	if (width <= 57 && readable >= 8)
	{
		size_t whole = ((readable - 8) * 8 + 7) / width + 1;
		uint32_t fast = whole < n ? (uint32_t) whole : n;

		for (; i < fast; i++, bit += width)
			out[i] = (mdb_load64(in + (bit >> 3)) >> (bit & 7)) & mask;
	}
	for (; i < n; i++, bit += width)
	{
		uint8_t buf[16] = {0};
		size_t at = bit >> 3;
		unsigned shift = bit & 7;

		memcpy(buf, in + at, readable - at < 9 ? readable - at : 9);
		out[i] = mdb_load64(buf) >> shift;
		if (shift != 0)
			out[i] |= (uint64_t) buf[8] << (64 - shift);
		out[i] &= mask;
	}
}

/* Pack the low 32 bits of 256 values, shifted right by drop, to width 1..32. */
static MDB_CLONES void
pack_group(const uint64_t *v, unsigned drop, unsigned width, uint8_t *out)
{
	uint32_t narrow[GROUP];
	Row acc = {0};
	unsigned used = 0;

	for (unsigned i = 0; i < GROUP; i++)
		narrow[i] = (uint32_t) (v[i] >> drop);
	for (unsigned row = 0; row < ROWS; row++)
	{
		Row x;

		memcpy(&x, narrow + row * LANES, sizeof(x));
		acc |= x << used;
		used += width;
		if (used >= 32)
		{
			memcpy(out, &acc, sizeof(acc));
			out += sizeof(acc);
			used -= 32;
			/* what did not fit: the shift is 1..32, in two steps to stay below 32 */
			acc = (x >> 1) >> (width - used - 1);
		}
	}
}

/* The inverse.  With a width known to the compiler every shift and every offset is a constant. */
static inline __attribute__((always_inline)) void
unpack_rows(const uint8_t *in, unsigned width, uint32_t *restrict out)
{
	uint32_t mask = (uint32_t) (((uint64_t) 1 << width) - 1);

#pragma GCC unroll 32
	for (unsigned row = 0; row < ROWS; row++)
	{
		unsigned shift = (row * width) & 31;
		unsigned word = (row * width) >> 5;
		Row x;

		memcpy(&x, in + word * sizeof(Row), sizeof(Row));
		x >>= shift;
		if (shift + width > 32)
		{
			Row rest;

			memcpy(&rest, in + (word + 1) * sizeof(Row), sizeof(Row));
			x |= rest << (32 - shift);
		}
		x &= mask;
		memcpy(out + row * LANES, &x, sizeof(Row));
	}
}

/* 256 values of width 0..32. */
static MDB_CLONES void
unpack_group(const uint8_t *in, unsigned width, uint32_t *restrict out)
{
#define CASE(w)                  \
	case w:                      \
		unpack_rows(in, w, out); \
		break
#define CASES(w) \
	CASE(w);     \
	CASE(w + 1); \
	CASE(w + 2); \
	CASE(w + 3)
	switch (width)
	{
		case 0:
			memset(out, 0, GROUP * sizeof(*out));
			break;
			CASES(1);
			CASES(5);
			CASES(9);
			CASES(13);
			CASES(17);
			CASES(21);
			CASES(25);
			CASES(29);
	}
#undef CASES
#undef CASE
}

static MDB_CLONES void
widen_group(const uint32_t *restrict lo, uint64_t base, uint64_t *restrict out)
{
	for (unsigned i = 0; i < GROUP; i++)
		out[i] = base + lo[i];
}

static MDB_CLONES void
widen2_group(const uint32_t *restrict lo, const uint32_t *restrict hi, uint64_t base, uint64_t *restrict out)
{
	for (unsigned i = 0; i < GROUP; i++)
		out[i] = base + (lo[i] | (uint64_t) hi[i] << 32);
}

/* Symbols that stand above the low bits, into 32-bit values or into whole ones. */
static MDB_CLONES void
raise_group(uint32_t *restrict lo, const uint8_t *restrict high, unsigned width)
{
	for (unsigned i = 0; i < GROUP; i++)
		lo[i] |= (uint32_t) high[i] << width;
}

static MDB_CLONES void
add_high(uint64_t *restrict out, const uint8_t *restrict high, uint32_t n, unsigned width)
{
	for (uint32_t i = 0; i < n; i++)
		out[i] += (uint64_t) high[i] << width;
}

static MDB_CLONES void
fill(uint64_t *out, uint32_t n, uint64_t x)
{
	for (uint32_t i = 0; i < n; i++)
		out[i] = x;
}

void
mdb_pack(const uint64_t *v, uint32_t n, unsigned width, uint8_t *out)
{
	if (width == 0)
		return;
	for (; n >= GROUP; n -= GROUP, v += GROUP)
	{
		unsigned low = width < 32 ? width : 32;

		pack_group(v, 0, low, out);
		out += low * (GROUP / 8);
		if (width > 32)
		{
			pack_group(v, 32, width - 32, out);
			out += (width - 32) * (GROUP / 8);
		}
	}
	mdb_stream_pack(v, n, width, out);
}

/*
 * mdb_unpack - n values of the given width, base added to each (modulo 2^64).  Here and below: high, if it
 * is not NULL, holds what stands above the packed bits of each value.
 */
void
mdb_unpack(const uint8_t *in, const uint8_t *high, uint32_t n, unsigned width, uint64_t base, uint64_t *out)
{
	uint32_t lo[GROUP];
	uint32_t hi[GROUP];

	if (width == 0)
	{
		fill(out, n, base);
		if (high != NULL)
			add_high(out, high, n, 0);
		return;
	}
	for (; n >= GROUP; n -= GROUP, out += GROUP)
	{
		if (width <= 32)
		{
			unpack_group(in, width, lo);
			widen_group(lo, base, out);
		}
		else
		{
			unpack_group(in, 32, lo);
			unpack_group(in + 32 * (GROUP / 8), width - 32, hi);
			widen2_group(lo, hi, base, out);
		}
		in += (size_t) width * (GROUP / 8);
		if (high != NULL)
		{
			add_high(out, high, GROUP, width);
			high += GROUP;
		}
	}
	mdb_stream_unpack(in, in + mdb_stream_size(n, width), n, width, out);
	for (uint32_t i = 0; i < n; i++)
		out[i] += base;
	if (high != NULL)
		add_high(out, high, n, width);
}

#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
#define SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, (Quad){i, j, k, l})
#endif

typedef uint32_t Quad __attribute__((vector_size(16)));
typedef uint64_t Wide __attribute__((vector_size(32)));

/*
 * Running sums of a group in place, step added to each value, modulo 2^32: within a vector by two
 * shifted additions, from vector to vector by the sum of each, so that only one addition waits for
 * its predecessor.
 */
static MDB_CLONES void
sum_group(uint32_t *v, uint32_t step)
{
	const Quad zero = {0};
	Quad carry = {0};

	for (unsigned i = 0; i < GROUP; i += 4)
	{
		Quad x, sum;

		memcpy(&x, v + i, sizeof(x));
		x += step;
		x += SHUFFLE(zero, x, 3, 4, 5, 6);
		x += SHUFFLE(zero, x, 2, 3, 4, 5);
		sum = x + carry;
		carry += SHUFFLE(x, x, 3, 3, 3, 3);
		memcpy(v + i, &sum, sizeof(sum));
	}
}

/* out[i] = start + (i + 1) * step + the signed sum[i] */
static MDB_CLONES void
widen_sums(const uint32_t *restrict sum, uint64_t start, uint64_t step, uint64_t *restrict out)
{
	if (step == 0)
	{
		for (unsigned i = 0; i < GROUP; i++)
			out[i] = start + (uint64_t) (int64_t) (int32_t) sum[i];
		return;
	}
	for (unsigned i = 0; i < GROUP; i++)
		out[i] = (uint64_t) (int64_t) (int32_t) sum[i];
	for (unsigned i = 0; i < GROUP; i++)
		out[i] += start += step;
}

/*
 * mdb_ramp - out[i] = first + i * step.  The vectors are spelt out: a multiplication of 64-bit lanes
 * is several instructions, and the plain loop over an array of four counters, each stepped after
 * its use, is miscompiled by gcc 12.2 at -O3 (the property tests caught it; keep it this way).
 */
MDB_CLONES void
mdb_ramp(uint64_t *out, uint32_t n, uint64_t first, uint64_t step)
{
	Wide line = {first, first + step, first + 2 * step, first + 3 * step};
	uint32_t i = 0;

	for (; i + 4 <= n; i += 4, line += 4 * step)
		memcpy(out + i, &line, sizeof(line));
	for (; i < n; i++)
		out[i] = first + i * step;
}

/* mdb_add_line - v[i] += first + i * step. */
MDB_CLONES void
mdb_add_line(uint64_t *v, uint32_t n, uint64_t first, uint64_t step)
{
	Wide line = {first, first + step, first + 2 * step, first + 3 * step};
	uint32_t i = 0;

	for (; i + 4 <= n; i += 4, line += 4 * step)
	{
		Wide x;

		memcpy(&x, v + i, sizeof(x));
		x += line;
		memcpy(v + i, &x, sizeof(x));
	}
	for (; i < n; i++)
		v[i] += first + i * step;
}

/* Does base + any 32-bit number convert to a double without rounding? */
static inline bool
exact_base(uint64_t base)
{
	return base + (UINT64_C(1) << 52) < UINT64_C(1) << 53;
}

/*
 * mdb_unpack_quotients - as mdb_unpack, but doubles: (base + value) / p.  Returns how many were
 * done, a number of whole groups; the rest is the caller's, by the long way.
 */
uint32_t
mdb_unpack_quotients(const uint8_t *in, const uint8_t *high, uint32_t n, unsigned width, uint64_t base,
					 double p, uint64_t *out)
{
	uint32_t lo[GROUP];
	uint32_t done = 0;

	if (width > 31 || !exact_base(base))
		return 0;
	for (; n - done >= GROUP; done += GROUP)
	{
		unpack_group(in, width, lo);
		in += (size_t) width * (GROUP / 8);
		if (high != NULL)
			raise_group(lo, high + done, width);
		mdb_quotients((const int32_t *) lo, GROUP, (int64_t) base, p, out + done);
	}
	return done;
}

/*
 * mdb_unpack_sums - running sums of n packed values, base added to each, patches put in.
 *
 *	out[i] = start + sum over j <= i of (base + value[j])
 *
 * value[j] is what is packed, or patch[] at the ascending positions at[], which are below n; with high, whose
 * symbols are 0 there, patch[] is added to what is packed.  All must be less than 2^22 in magnitude, so that 256 of them add up in 32 bits: that is what makes
 * this faster than unpacking, patching and adding in turn.
 *
 * If p is not 0 the sums of whole groups are divided by it as they come, as far as they are exact
 * doubles.  Returns how many were.
 */
uint32_t
mdb_unpack_sums(const uint8_t *in, const uint8_t *high, uint32_t n, unsigned width, uint64_t base,
				uint64_t start, const uint16_t *at, const int32_t *patch, uint32_t patches, double p,
				uint64_t *out)
{
	uint32_t lo[GROUP];
	uint32_t next = 0;
	uint32_t done = 0;
	uint32_t divided = 0;
	bool narrow = base + (1 << 22) < 1 << 23;

	for (; n - done >= GROUP; done += GROUP)
	{
		unpack_group(in, width, lo);
		in += (size_t) width * (GROUP / 8);
		if (high != NULL)
			raise_group(lo, high + done, width);
		for (; next < patches && at[next] < done + GROUP; next++)
			lo[at[next] - done] = (uint32_t) patch[next] + (high != NULL ? lo[at[next] - done] : 0);
		sum_group(lo, narrow ? (uint32_t) base : 0);
		if (p != 0 && narrow && divided == done && exact_base(start))
		{
			mdb_quotients((const int32_t *) lo, GROUP, (int64_t) start, p, out + done);
			divided += GROUP;
		}
		else
			widen_sums(lo, start, narrow ? 0 : base, out + done);
		start += (uint64_t) (int64_t) (int32_t) lo[GROUP - 1] + (narrow ? 0 : GROUP * base);
	}
	if (done == n)
		return divided;
	mdb_stream_unpack(in, in + mdb_stream_size(n - done, width), n - done, width, out + done);
	if (high != NULL)
		add_high(out + done, high + done, n - done, width);
	for (; next < patches; next++)
		out[at[next]] = (uint64_t) (int64_t) patch[next] + (high != NULL ? out[at[next]] : 0);
	for (; done < n; done++)
		out[done] = start += base + out[done];
	return divided;
}
