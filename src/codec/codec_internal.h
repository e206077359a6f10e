/*
 * codec_internal.h
 *	  What the codecs share: chunk ids, small helpers, and the calls between them.
 *
 * Every numeric array travels inside the codecs as 64-bit words, whatever its type: an int64 as
 * itself, a double as its bits, a float as its 32 bits in the low half.  MdbKind says which.
 * One encoder and one decoder (chunk.c) serve all three, and the composite codecs (runs,
 * dictionary, decimals) call them again for their parts.
 *
 * Conventions
 *	1. An encoder mdb_x_encode(..., out, cap, ...) returns the bytes written, or 0 if the chunk
 *	   does not fit into cap (or the codec does not apply).  It may scribble up to
 *	   MDB_OUT_SLACK bytes behind cap.  n is never 0.
 *	2. A decoder returns true only if it consumed the input exactly.
 *	3. Arithmetic on values is modulo 2^64 on uint64_t; nothing may rely on a value's range.
 *	4. Built with -fno-strict-aliasing, as PostgreSQL is: a caller's double[] is written as words.
 */
#ifndef MDB_CODEC_INTERNAL_H
#define MDB_CODEC_INTERNAL_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "codec.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "chunks are little-endian and the codecs copy words as they are"
#endif

/*
 * Hot loops are compiled twice, for AVX2 and for plain x86-64, and bound when the library is
 * loaded.  Sanitizers instrument the resolvers, which run before the sanitizer is ready, and
 * clang builds are for fuzzing and for bitcode: both take the plain loop, with equal results.
 */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__) && \
	!defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(MDB_NO_CLONES)
#define MDB_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define MDB_CLONES
#endif

/*
 * An encoder's own mistake, found by decoding: a server goes on with a chunk that is right, if
 * larger; tests and fuzzers are built with MDB_CODEC_STRICT and stop.
 */
#ifdef MDB_CODEC_STRICT
#define MDB_BUG() abort()
#else
#define MDB_BUG() ((void) 0)
#endif

#define likely_(x)   __builtin_expect((x) != 0, 1)
#define unlikely_(x) __builtin_expect((x) != 0, 0)

/* Low three bits of a chunk's first byte. */
enum
{
	MDB_ID_CONST = 0,
	MDB_ID_RLE = 1,
	MDB_ID_INT = 2,
	MDB_ID_ULP = 3,
	MDB_ID_DICT = 4,
	MDB_ID_BITS = 5,
	MDB_ID_GORILLA = 6,
	MDB_ID_RAW = 7
};

#define MDB_ID_MASK       0x07
#define MDB_ID_ENTROPY    0x08 /* of MDB_ID_INT: the residuals' high bits are entropy-coded */
#define MDB_ID_ZSTD       0x10
#define MDB_VARIANT_SHIFT 5 /* top three bits: a variant of the codec */

/* Variants of MDB_ID_INT. */
enum
{
	MDB_INT_FOR = 0,
	MDB_INT_DELTA = 1,
	MDB_INT_DELTA2 = 2,
	MDB_INT_GRID = 3,    /* timestamps near a grid */
	MDB_INT_PATCHED = 4, /* added to the first three: has exceptions */
	MDB_INT_DECIMAL = 7  /* d / 10^k around an integer chunk */
};

typedef enum MdbKind
{
	MDB_KIND_INT,
	MDB_KIND_F64,
	MDB_KIND_F32
} MdbKind;

#define MDB_OUT_SLACK 64 /* bytes an encoder may scribble behind its cap */

/* Room for any chunk of n values, and for an array of words with slack. */
#define MDB_CHUNK_MAX (8 * MDB_BLOCK_ROWS_MAX + 1 + MDB_OUT_SLACK)
#define MDB_WORDS_MAX (MDB_BLOCK_ROWS_MAX + MDB_DECODE_SLACK)

static inline uint32_t
mdb_kind_bytes(MdbKind kind)
{
	return kind == MDB_KIND_F32 ? 4 : 8;
}

static inline uint64_t
mdb_zigzag(uint64_t x)
{
	return (x << 1) ^ (0 - (x >> 63));
}

static inline uint64_t
mdb_unzigzag(uint64_t x)
{
	return (x >> 1) ^ (0 - (x & 1));
}

/* Number of significant bits: 0 for 0, 64 for the largest. */
static inline unsigned
mdb_width(uint64_t x)
{
	return x == 0 ? 0 : 64 - (unsigned) __builtin_clzll(x);
}

static inline uint64_t
mdb_load64(const uint8_t *p)
{
	uint64_t x;

	memcpy(&x, p, 8);
	return x;
}

static inline void
mdb_store64(uint8_t *p, uint64_t x)
{
	memcpy(p, &x, 8);
}

static inline double
mdb_double(uint64_t bits)
{
	double d;

	memcpy(&d, &bits, 8);
	return d;
}

static inline uint64_t
mdb_double_bits(double d)
{
	uint64_t bits;

	memcpy(&bits, &d, 8);
	return bits;
}

static inline float
mdb_float(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, 4);
	return f;
}

static inline uint32_t
mdb_float_bits(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, 4);
	return bits;
}

/* Little-endian base-128 numbers: at most 10 bytes. */
#define MDB_VARINT_MAX 10

static inline size_t
mdb_varint_size(uint64_t x)
{
	return x == 0 ? 1 : (mdb_width(x) + 6) / 7;
}

static inline uint8_t *
mdb_put_varint(uint8_t *p, uint64_t x)
{
	while (x >= 0x80)
	{
		*p++ = (uint8_t) (x | 0x80);
		x >>= 7;
	}
	*p++ = (uint8_t) x;
	return p;
}

/* Returns the byte behind the number, or NULL if it runs past end or is longer than 64 bits. */
static inline const uint8_t *
mdb_get_varint(const uint8_t *p, const uint8_t *end, uint64_t *x)
{
	uint64_t value = 0;
	unsigned shift;

	for (shift = 0; shift < 64; shift += 7)
	{
		uint8_t b;

		if (p >= end)
			return NULL;
		b = *p++;
		if (shift == 63 && b > 1)
			return NULL;
		value |= (uint64_t) (b & 0x7f) << shift;
		if (b < 0x80)
		{
			*x = value;
			return p;
		}
	}
	return NULL;
}

/* As above for a number that must not exceed max. */
static inline const uint8_t *
mdb_get_bounded(const uint8_t *p, const uint8_t *end, uint64_t max, uint32_t *x)
{
	uint64_t value;

	p = mdb_get_varint(p, end, &value);
	if (p == NULL || value > max)
		return NULL;
	*x = (uint32_t) value;
	return p;
}

/* bitpack.c */
extern size_t mdb_packed_size(uint32_t n, unsigned width);
extern void mdb_pack(const uint64_t *v, uint32_t n, unsigned width, uint8_t *out);
extern void mdb_unpack(const uint8_t *in, const uint8_t *high, uint32_t n, unsigned width, uint64_t base,
					   uint64_t *out);
extern uint32_t mdb_unpack_quotients(const uint8_t *in, const uint8_t *high, uint32_t n, unsigned width,
									 uint64_t base, double p, uint64_t *out);
extern uint32_t mdb_unpack_sums(const uint8_t *in, const uint8_t *high, uint32_t n, unsigned width,
								uint64_t base, uint64_t start, const uint16_t *at, const int32_t *patch,
								uint32_t patches, double p, uint64_t *out);
extern void mdb_ramp(uint64_t *out, uint32_t n, uint64_t first, uint64_t step);
extern void mdb_add_line(uint64_t *v, uint32_t n, uint64_t first, uint64_t step);
extern size_t mdb_stream_size(uint32_t n, unsigned width);
extern void mdb_stream_pack(const uint64_t *v, uint32_t n, unsigned width, uint8_t *out);
extern void mdb_stream_unpack(const uint8_t *in, const uint8_t *end, uint32_t n, unsigned width,
							  uint64_t *out);

/* tans.c */
extern uint32_t mdb_log2(uint32_t x);
extern size_t mdb_tans_cost(const uint32_t *count, unsigned alphabet, uint32_t n);
extern size_t mdb_tans_encode(const uint8_t *symbols, uint32_t n, const uint32_t *count, unsigned alphabet,
							  uint8_t *out, size_t cap);
extern bool mdb_tans_decode(const uint8_t *in, size_t len, uint32_t n, unsigned *alphabet, uint8_t *symbols);

/*
 * Which residuals an integer chunk packs: those from base on that fit into width bits or, with an
 * alphabet, into so many symbols above width bits.
 */
typedef struct MdbWindow
{
	unsigned width;
	unsigned alphabet; /* 0 = no symbols */
	uint64_t base;
	uint32_t patches; /* residuals outside, estimated until they are gathered */
	size_t bytes;     /* packed area, symbols and patches */
} MdbWindow;

/* int_cold.c */
extern void mdb_cold_window(const uint64_t *x, uint32_t n, MdbWindow *best);

/* int.c */
extern size_t mdb_patch_bytes(uint32_t n, uint32_t patches, unsigned exc_width);
extern void mdb_value_range(const uint64_t *x, uint32_t n, int64_t *min, int64_t *max);
extern size_t mdb_int_encode(const uint64_t *v, uint32_t n, bool cold, uint8_t *out, size_t cap);
extern bool mdb_int_decode(const uint8_t *in, size_t len, uint32_t n, double p, uint32_t *divided,
						   uint64_t *out);

/*
 * Composite codecs nest: runs of decimals of packed integers is the deepest.  Depth 0 is the
 * caller's array; runs, dictionaries and ulp columns stand at depth 0 only, decimals at 0 and 1.
 */
#define MDB_DEPTH_COMPOSITE 0
#define MDB_DEPTH_DECIMAL   1

/* How deep a chunk that is made stands, and whether it is to be as small as can be found. */
typedef struct MdbAim
{
	int depth;
	bool cold;
} MdbAim;

/* The aim of a chunk within the chunk. */
static inline MdbAim
mdb_within(MdbAim aim)
{
	aim.depth++;
	return aim;
}

/* time.c */
extern bool mdb_grid_decode(const uint8_t *in, size_t len, uint32_t n, uint64_t *out);

/* decimal.c */
extern void mdb_quotients(const int32_t *x, uint32_t n, int64_t start, double p, uint64_t *out);
extern size_t mdb_decimal_encode(MdbKind kind, const uint64_t *v, uint32_t n, MdbAim aim, uint8_t *out,
								 size_t cap, const MdbCodecHint *hint);
extern bool mdb_decimal_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, int depth,
							   uint64_t *out);
extern bool mdb_ulp_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, int depth, uint64_t *out);

/* rle.c */
extern uint32_t mdb_count_runs(const uint64_t *v, uint32_t n);
extern size_t mdb_rle_encode(MdbKind kind, const uint64_t *v, uint32_t n, uint32_t nruns, MdbAim aim,
							 uint8_t *out, size_t cap);
extern bool mdb_rle_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, int depth, uint64_t *out);

/* dict.c */
extern size_t mdb_dict_encode(MdbKind kind, const uint64_t *v, uint32_t n, MdbAim aim, uint8_t *out,
							  size_t cap);
extern bool mdb_dict_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, int depth,
							uint64_t *out);

/* orderbits.c */
extern size_t mdb_orderbits_encode(MdbKind kind, const uint64_t *v, uint32_t n, bool cold, uint8_t *out,
								   size_t cap);
extern bool mdb_orderbits_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, uint64_t *out);

/* gorilla.c */
extern size_t mdb_gorilla_encode(MdbKind kind, const uint64_t *v, uint32_t n, uint8_t *out, size_t cap);
extern bool mdb_gorilla_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, uint64_t *out);

/* zstd.c */
struct ZSTD_CCtx_s;

extern struct ZSTD_CCtx_s *mdb_compressor(int level);
extern size_t mdb_frame_encode(const uint8_t *chunk, size_t size, int level, uint8_t *out, size_t cap);
extern bool mdb_frame_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, uint64_t *out);

/* chunk.c */
extern size_t mdb_chunk_encode(MdbKind kind, const uint64_t *v, uint32_t n, MdbAim aim, uint8_t *out,
							   size_t cap, MdbCodecHint *hint);
extern uint8_t *mdb_put_sized(MdbKind kind, const uint64_t *v, uint32_t n, MdbAim aim, uint8_t *p,
							  const uint8_t *end);
extern const uint8_t *mdb_get_sized(const uint8_t *p, const uint8_t *end, const uint8_t **chunk,
									size_t *size);
extern bool mdb_chunk_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, int depth,
							 uint64_t *out);

#endif /* MDB_CODEC_INTERNAL_H */
