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

#define GROUP	256
#define LANES	8
#define ROWS	(GROUP / LANES)

/* Words in a chunk stand at any address. */
typedef uint32_t __attribute__((aligned(1), may_alias)) unaligned32;

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
	uint64_t	acc = 0;
	unsigned	used = 0;

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

/* Values that lie close to the end of the stream, where a whole word cannot be loaded. */
static uint64_t
stream_get_careful(const uint8_t *in, size_t size, size_t bit, unsigned width)
{
	uint8_t		buf[16] = {0};
	size_t		at = bit >> 3;
	unsigned	shift = bit & 7;
	uint64_t	x;

	memcpy(buf, in + at, size - at < 9 ? size - at : 9);
	x = mdb_load64(buf) >> shift;
	if (shift != 0)
		x |= (uint64_t) buf[8] << (64 - shift);
	return width == 64 ? x : x & (((uint64_t) 1 << width) - 1);
}

void
mdb_stream_unpack(const uint8_t *in, uint32_t n, unsigned width, uint64_t *out)
{
	size_t		size = mdb_stream_size(n, width);
	uint32_t	i = 0;

	if (width == 0)
	{
		memset(out, 0, n * sizeof(*out));
		return;
	}
	/* a word at any bit offset holds 57 bits */
	if (width <= 57 && size >= 8)
	{
		uint64_t	mask = ((uint64_t) 1 << width) - 1;
		size_t		whole = ((size - 8) * 8 + 7) / width + 1;
		uint32_t	fast = whole < n ? (uint32_t) whole : n;
		size_t		bit = 0;

		for (; i < fast; i++, bit += width)
			out[i] = (mdb_load64(in + (bit >> 3)) >> (bit & 7)) & mask;
	}
	for (; i < n; i++)
		out[i] = stream_get_careful(in, size, (size_t) i * width, width);
}

/* Pack the low 32 bits of 256 values, shifted right by drop, to width 1..32. */
static MDB_CLONES void
pack_group(const uint64_t *v, unsigned drop, unsigned width, unaligned32 *out)
{
	uint32_t	words[LANES * (ROWS + 1)];

	memset(words, 0, LANES * (width + 1) * sizeof(uint32_t));
	for (unsigned row = 0; row < ROWS; row++)
	{
		unsigned	shift = (row * width) & 31;
		uint32_t   *w = words + LANES * ((row * width) >> 5);

		for (unsigned lane = 0; lane < LANES; lane++)
		{
			uint32_t	x = (uint32_t) (v[row * LANES + lane] >> drop);

			w[lane] |= x << shift;
			w[LANES + lane] |= (x >> 1) >> (31 - shift);
		}
	}
	memcpy(out, words, LANES * width * sizeof(uint32_t));
}

/* The inverse: 256 values of width 1..32. */
static MDB_CLONES void
unpack_group(const unaligned32 *in, unsigned width, uint32_t *restrict out)
{
	uint32_t	mask = (uint32_t) (((uint64_t) 1 << width) - 1);

	for (unsigned row = 0; row < ROWS; row++)
	{
		unsigned	shift = (row * width) & 31;
		unsigned	word = (row * width) >> 5;
		unsigned	next = word + 1 < width ? word + 1 : word;
		const unaligned32 *lo = in + LANES * word;
		const unaligned32 *hi = in + LANES * next;

		for (unsigned lane = 0; lane < LANES; lane++)
			out[row * LANES + lane] =
				((lo[lane] >> shift) | ((hi[lane] << 1) << (31 - shift))) & mask;
	}
}

static MDB_CLONES void
widen_group(const uint32_t *restrict lo, uint64_t base, uint64_t *restrict out)
{
	for (unsigned i = 0; i < GROUP; i++)
		out[i] = base + lo[i];
}

static MDB_CLONES void
widen2_group(const uint32_t *restrict lo, const uint32_t *restrict hi, uint64_t base,
				 uint64_t *restrict out)
{
	for (unsigned i = 0; i < GROUP; i++)
		out[i] = base + (lo[i] | (uint64_t) hi[i] << 32);
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
		unsigned	low = width < 32 ? width : 32;

		pack_group(v, 0, low, (unaligned32 *) out);
		out += low * (GROUP / 8);
		if (width > 32)
		{
			pack_group(v, 32, width - 32, (unaligned32 *) out);
			out += (width - 32) * (GROUP / 8);
		}
	}
	mdb_stream_pack(v, n, width, out);
}

/* mdb_unpack - n values of the given width, base added to each (modulo 2^64). */
void
mdb_unpack(const uint8_t *in, uint32_t n, unsigned width, uint64_t base, uint64_t *out)
{
	uint32_t	lo[GROUP];
	uint32_t	hi[GROUP];

	if (width == 0)
	{
		fill(out, n, base);
		return;
	}
	for (; n >= GROUP; n -= GROUP, out += GROUP)
	{
		if (width <= 32)
		{
			unpack_group((const unaligned32 *) in, width, lo);
			widen_group(lo, base, out);
		}
		else
		{
			unpack_group((const unaligned32 *) in, 32, lo);
			unpack_group((const unaligned32 *) (in + 32 * (GROUP / 8)), width - 32, hi);
			widen2_group(lo, hi, base, out);
		}
		in += (size_t) width * (GROUP / 8);
	}
	mdb_stream_unpack(in, n, width, out);
	for (uint32_t i = 0; i < n; i++)
		out[i] += base;
}
