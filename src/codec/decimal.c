/*
 * decimal.c
 *	  Decimals: v = d / 10^k by one correctly rounded division, d an integer below 2^53.
 *
 * Since d and 10^k (k <= 22) are exact doubles and IEEE division rounds correctly, every decimal
 * of at most 15 digits comes back to the bit; k = 0 is the integers.  In cold chunks k above 22 stands for
 * multiples of 512, 1024, 4096, 2^16 or 2^20, which are exact, too.  Whatever does not (NaN,
 * -0.0, infinities, true doubles) is an exception kept beside, or, when most values miss by a few
 * units in the last place as averages do, the distance in ulps is a second column.
 *
 * Decimal chunk				Ulp chunk
 *	id		MDB_ID_INT | 7 << 5		id		MDB_ID_ULP
 *	byte	k + 0x80 if exceptions	byte	k
 *	[varint	count					varint	bytes of the next chunk
 *	 varint	bytes of the next		chunk	d, integers
 *	 chunk	gaps, integers			chunk	bits(v) - bits(d / 10^k), integers
 *	 varint	bytes of the next
 *	 chunk	exceptions, values]
 *	chunk	d, integers
 *
 * Floats divide in double precision and round once more; the encoder tests that very sequence.
 *
 * Invariants
 *	1. The encoder tests each value by the decoder's own operations, compared by bits.
 *	2. Under an exception d repeats its predecessor, so that it costs the packing nothing.
 *	3. Exceptions stand in a chunk of their own kind at the next depth: a column of stale NaNs
 *	   is a constant there.
 *	4. Needs strict IEEE arithmetic: no -ffast-math, no contraction, no x87.
 */
#include "codec_internal.h"

#define K_MAX          22
#define D_LIMIT        9007199254740992.0 /* 2^53 */
#define SAMPLES        32
#define ULPS_NEAR      64 /* what averages miss by */
#define K_LAST         27 /* K_MAX + 1 and above: d times a power of two */
#define K_NONE         0xff
#define K_EXCEPTIONS   0x80
#define EXCEPTIONS_MAX (MDB_BLOCK_ROWS_MAX * 3 / 4 + 1) /* of a cold chunk; of others n / 8 */

/* What d is divided by; behind the powers of ten those of two by which sectors, kilobytes and pages come. */
static const double power10[K_LAST + 1] = {
	1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,    1e10,    1e11,    1e12,    1e13,
	1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22, 0x1p-9, 0x1p-10, 0x1p-12, 0x1p-16, 0x1p-20};
static const uint8_t factor_bits[K_LAST - K_MAX] = {9, 10, 12, 16, 20};

/*
 * The integer nearest to v * p, or 0 where that is no integer below 2^53.  Above 2^52 a double has
 * no fraction left, and adding a half would round it away.
 */
static inline int64_t
nearest(double v, double p)
{
	double x = v * p;
	double magnitude = __builtin_fabs(x);
	double half = magnitude < D_LIMIT / 2 ? 0.5 : 0.0;

	x += x < 0 ? -half : half;
	return magnitude < D_LIMIT ? (int64_t) x : 0;
}

static inline uint64_t
quotient(MdbKind kind, int64_t d, double p)
{
	double q = (double) d / p;

	return kind == MDB_KIND_F32 ? mdb_float_bits((float) q) : mdb_double_bits(q);
}

static inline double
value_of(MdbKind kind, uint64_t bits)
{
	return kind == MDB_KIND_F32 ? (double) mdb_float((uint32_t) bits) : mdb_double(bits);
}

/*
 * The exponent that most values spread over the block need: for each its least k, and of these
 * the one that all but a sixteenth stay within.  tolerance is in ulps; K_NONE if under three
 * quarters of the sample have any.
 */
static unsigned
find_exponent(MdbKind kind, const uint64_t *v, uint32_t n, uint64_t tolerance, bool cold)
{
	uint32_t need[K_MAX + 1] = {0};
	uint32_t count = n < SAMPLES ? n : SAMPLES;
	uint32_t found = 0;
	uint32_t seen = 0;
	unsigned k_from = 0;

	for (uint32_t i = 0; i < count; i++)
	{
		uint64_t bits = v[(uint64_t) i * n / count];
		double value = value_of(kind, bits);

		/* most values of a block agree: begin where the last one ended */
		for (unsigned tried = 0, k = k_from; tried <= K_MAX; tried++)
		{
			uint64_t q = quotient(kind, nearest(value, power10[k]), power10[k]);
			uint64_t off = bits - q;

			if (off + tolerance <= 2 * tolerance)
			{
				/* found above the least: see whether less will do */
				while (k > 0)
				{
					q = quotient(kind, nearest(value, power10[k - 1]), power10[k - 1]);
					if (bits - q + tolerance > 2 * tolerance)
						break;
					k--;
				}
				need[k]++;
				found++;
				if (k > k_from)
					k_from = k;
				break;
			}
			if (__builtin_fabs(value * power10[k]) >= D_LIMIT || value != value)
				break;
			k = k == K_MAX ? 0 : k + 1;
		}
	}
	if (found < (cold ? count / 4 : count - count / 4))
		return K_NONE;
	for (unsigned k = 0; k <= K_MAX; k++)
	{
		seen += need[k];
		if (seen + found / 16 >= found)
			return k;
	}
	return K_NONE;
}

/* d of each value; bad[] lists those that do not come back.  Returns their number. */
static MDB_CLONES uint32_t
decimal_split64(const uint64_t *v, uint32_t n, double p, uint64_t *d, uint16_t *bad)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		int64_t x = nearest(mdb_double(v[i]), p);

		d[i] = (uint64_t) x;
		bad[count] = (uint16_t) i;
		count += mdb_double_bits((double) x / p) != v[i];
	}
	return count;
}

static uint32_t
split32(const uint64_t *v, uint32_t n, double p, uint64_t *d, uint16_t *bad)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		int64_t x = nearest((double) mdb_float((uint32_t) v[i]), p);

		d[i] = (uint64_t) x;
		bad[count] = (uint16_t) i;
		count += quotient(MDB_KIND_F32, x, p) != v[i];
	}
	return count;
}

static uint32_t
split(MdbKind kind, const uint64_t *v, uint32_t n, unsigned k, uint64_t *d, uint16_t *bad)
{
	return kind == MDB_KIND_F32 ? split32(v, n, power10[k], d, bad)
								: decimal_split64(v, n, power10[k], d, bad);
}

/* The exceptions' part of a decimal chunk; returns the byte behind it, NULL if it does not fit. */
static uint8_t *
put_exceptions(MdbKind kind, const uint64_t *v, uint64_t *d, const uint16_t *bad, uint32_t count, MdbAim aim,
			   uint8_t *p, uint8_t *end)
{
	uint64_t gaps[EXCEPTIONS_MAX];
	uint64_t values[EXCEPTIONS_MAX];

	for (uint32_t j = 0; j < count; j++)
	{
		uint32_t at = bad[j];

		gaps[j] = j == 0 ? at : at - bad[j - 1] - 1u;
		values[j] = v[at];
	}
	if ((size_t) (end - p) < mdb_varint_size(count))
		return NULL;
	p = mdb_put_varint(p, count);
	p = mdb_put_sized(MDB_KIND_INT, gaps, count, mdb_within(aim), p, end);
	if (p != NULL)
		p = mdb_put_sized(kind, values, count, (MdbAim){MDB_DEPTH_DECIMAL + 1, aim.cold}, p, end);
	if (p == NULL)
		return NULL;

	/* d repeats its predecessor; the first ones their first good successor */
	for (uint32_t j = 0; j < count; j++)
	{
		if (bad[j] > 0)
			d[bad[j]] = d[bad[j] - 1];
		else
		{
			uint32_t good = 1;

			while (good < count && bad[good] == good)
				good++;
			d[0] = d[good];
		}
	}
	return p;
}

static size_t
encode_exact(MdbKind kind, const uint64_t *v, uint32_t n, unsigned k, uint64_t *d, const uint16_t *bad,
			 uint32_t count, MdbAim aim, uint8_t *out, size_t cap)
{
	uint8_t *p = out, *end = out + cap;
	size_t size;

	if (cap < 3)
		return 0;
	*p++ = MDB_ID_INT | MDB_INT_DECIMAL << MDB_VARIANT_SHIFT;
	*p++ = (uint8_t) (k | (count > 0 ? K_EXCEPTIONS : 0));
	if (count > 0)
	{
		p = put_exceptions(kind, v, d, bad, count, aim, p, end);
		if (p == NULL || p >= end)
			return 0;
	}
	size = mdb_chunk_encode(MDB_KIND_INT, d, n, mdb_within(aim), p, (size_t) (end - p), NULL);
	return size == 0 ? 0 : (size_t) (p - out) + size;
}

static size_t
encode_ulps(MdbKind kind, const uint64_t *v, uint32_t n, unsigned k, uint64_t *d, MdbAim aim, uint8_t *out,
			size_t cap)
{
	uint64_t ulps[MDB_BLOCK_ROWS_MAX];
	uint8_t *p = out, *end = out + cap;
	size_t size;

	if (cap < 2 + MDB_VARINT_MAX)
		return 0;
	for (uint32_t i = 0; i < n; i++)
		ulps[i] = v[i] - quotient(kind, (int64_t) d[i], power10[k]);
	*p++ = MDB_ID_ULP;
	*p++ = (uint8_t) k;
	p = mdb_put_sized(MDB_KIND_INT, d, n, mdb_within(aim), p, end);
	if (p == NULL)
		return 0;
	size = mdb_chunk_encode(MDB_KIND_INT, ulps, n, mdb_within(aim), p, (size_t) (end - p), NULL);
	return size == 0 ? 0 : (size_t) (p - out) + size;
}

/*
 * Integers that are all multiples of some power of two, as bytes of memory are, become as many times
 * smaller: returns the k that says so, or 0.
 */
static unsigned
take_factor(uint64_t *d, uint32_t n)
{
	uint64_t all = 0;
	unsigned k = K_LAST;

	for (uint32_t i = 0; i < n; i++)
		all |= d[i];
	while (k > K_MAX && (all & ((UINT64_C(1) << factor_bits[k - K_MAX - 1]) - 1)) != 0)
		k--;
	if (k == K_MAX || all == 0)
		return 0;
	for (uint32_t i = 0; i < n; i++)
		d[i] = (uint64_t) ((int64_t) d[i] >> factor_bits[k - K_MAX - 1]);
	return k;
}

/*
 * mdb_decimal_encode - as decimals, exact or with ulps, whichever the values suit.
 *
 * The exponent of the block before is tried first, others only if too many values fail; a column
 * whose last block had ulps is not tried without them.
 */
size_t
mdb_decimal_encode(MdbKind kind, const uint64_t *v, uint32_t n, MdbAim aim, uint8_t *out, size_t cap,
				   const MdbCodecHint *hint)
{
	uint64_t d[MDB_BLOCK_ROWS_MAX];
	uint16_t bad[MDB_BLOCK_ROWS_MAX + 1];
	unsigned known = hint != NULL && hint->exponent <= K_MAX ? hint->exponent : K_NONE;
	bool ulps = known != K_NONE && hint->codec == MDB_ID_ULP;
	unsigned k = K_NONE;

	if (!ulps)
	{
		uint32_t count = n;

		if (known != K_NONE && hint->codec == MDB_ID_INT)
		{
			k = known;
			count = split(kind, v, n, k, d, bad);
		}
		if (count > n / 32)
		{
			unsigned found = find_exponent(kind, v, n, 0, aim.cold);

			if (found != K_NONE && found != k)
			{
				k = found;
				count = split(kind, v, n, k, d, bad);
			}
		}
		if (count <= n / 8 || (aim.cold && aim.depth == MDB_DEPTH_COMPOSITE && count <= n * 3 / 4))
		{
			/* under an exception is anything: 0 is a multiple of all */
			for (uint32_t j = 0; aim.cold && k == 0 && j < count; j++)
				d[bad[j]] = 0;
			if (aim.cold && k == 0)
				k = take_factor(d, n);
			return encode_exact(kind, v, n, k, d, bad, count, aim, out, cap);
		}
	}
	if (aim.depth > MDB_DEPTH_COMPOSITE)
		return 0;
	k = ulps ? known : find_exponent(kind, v, n, ULPS_NEAR, false);
	if (k == K_NONE)
		return 0;
	(void) split(kind, v, n, k, d, bad);
	return encode_ulps(kind, v, n, k, d, aim, out, cap);
}

/*
 * Integers to quotients in place.  (double) of a 64-bit integer in vector form: the halves become
 * doubles by pasting exponents, and one rounding joins them, as the conversion would round.
 */
static inline double
to_double(uint64_t d)
{
	double hi = mdb_double((d >> 32) ^ UINT64_C(0x4530000080000000));
	double lo = mdb_double((d & 0xffffffff) | UINT64_C(0x4330000000000000));

	return (hi - 0x1.00000801p84) + lo;
}

static MDB_CLONES void
integers_to_quotients(uint64_t *v, uint32_t n, double p)
{
	if (p == 1)
	{
		for (uint32_t i = 0; i < n; i++)
			v[i] = mdb_double_bits(to_double(v[i]));
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		v[i] = mdb_double_bits(to_double(v[i]) / p);
}

static MDB_CLONES void
integers_to_floats(uint64_t *v, uint32_t n, double p)
{
	for (uint32_t i = 0; i < n; i++)
		v[i] = mdb_float_bits((float) (to_double(v[i]) / p));
}

/* From small integers above a start, the sum of which is exact as a double. */
static MDB_CLONES void
small_to_quotients(const int32_t *restrict x, uint32_t n, double start, double p, uint64_t *restrict out)
{
	if (p == 1)
	{
		for (uint32_t i = 0; i < n; i++)
			out[i] = mdb_double_bits(start + (double) x[i]);
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		out[i] = mdb_double_bits((start + (double) x[i]) / p);
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(MDB_NO_CLONES)
#define HAVE_FMA (__builtin_cpu_supports("fma") && __builtin_cpu_supports("avx2"))
#define WITH_FMA __attribute__((target("avx2,fma")))

/*
 * The same quotients without the divider, which is the slowest unit of a core: q = d * (1/p) is
 * within an ulp, its remainder d - q * p is exact in one fused operation, and adding remainder
 * times reciprocal rounds to the very quotient (Markstein 1990; the reciprocal must be correctly
 * rounded and p's mantissa not all ones).  Nothing here is near the ends of the exponent range.
 */
static inline WITH_FMA double
fused_quotient(double d, double p, double reciprocal)
{
	double q = d * reciprocal;

	return __builtin_fma(__builtin_fma(-q, p, d), reciprocal, q);
}

static WITH_FMA void
integers_to_quotients_fma(uint64_t *v, uint32_t n, double p)
{
	for (uint32_t i = 0; i < n; i++)
		v[i] = mdb_double_bits(fused_quotient(to_double(v[i]), p, 1 / p));
}

static WITH_FMA void
small_to_quotients_fma(const int32_t *restrict x, uint32_t n, double start, double p, uint64_t *restrict out)
{
	double reciprocal = 1 / p;

	for (uint32_t i = 0; i < n; i++)
		out[i] = mdb_double_bits(fused_quotient(start + (double) x[i], p, reciprocal));
}
#else
#define HAVE_FMA                  false
#define integers_to_quotients_fma integers_to_quotients
#define small_to_quotients_fma    small_to_quotients
#endif

/* mdb_quotients - (start + x[i]) / p, for a |start| of at most 2^52. */
void
mdb_quotients(const int32_t *x, uint32_t n, int64_t start, double p, uint64_t *out)
{
	if (p != 1 && HAVE_FMA)
		small_to_quotients_fma(x, n, (double) start, p, out);
	else
		small_to_quotients(x, n, (double) start, p, out);
}

static void
divide(MdbKind kind, uint64_t *v, uint32_t n, unsigned k)
{
	if (kind == MDB_KIND_F32)
		integers_to_floats(v, n, power10[k]);
	else if (k > 0 && HAVE_FMA)
		integers_to_quotients_fma(v, n, power10[k]);
	else
		integers_to_quotients(v, n, power10[k]);
}

/* The d of a decimal, divided; a plain integer chunk does most of it as it unpacks. */
static bool
decode_quotients(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, unsigned k, int depth,
				 uint64_t *out)
{
	uint32_t divided = 0;

	if (kind == MDB_KIND_F64 && len > 0 && (in[0] & (MDB_ID_MASK | MDB_ID_ZSTD)) == MDB_ID_INT &&
		(in[0] >> MDB_VARIANT_SHIFT) != MDB_INT_GRID)
	{
		if (!mdb_int_decode(in, len, n, power10[k], &divided, out))
			return false;
	}
	else if (!mdb_chunk_decode(MDB_KIND_INT, in, len, n, depth + 1, out))
		return false;
	divide(kind, out + divided, n - divided, k);
	return true;
}

static bool
patch_exceptions(MdbKind kind, const uint8_t *gaps_in, size_t gaps_size, const uint8_t *values_in,
				 size_t values_size, uint32_t count, int depth, uint32_t n, uint64_t *out)
{
	uint64_t gaps[MDB_WORDS_MAX];
	uint64_t values[MDB_WORDS_MAX];
	uint64_t at = UINT64_MAX;

	if (!mdb_chunk_decode(MDB_KIND_INT, gaps_in, gaps_size, count, depth + 1, gaps) ||
		!mdb_chunk_decode(kind, values_in, values_size, count, MDB_DEPTH_DECIMAL + 1, values))
		return false;
	for (uint32_t j = 0; j < count; j++)
	{
		if (gaps[j] >= n)
			return false;
		at += gaps[j] + 1;
		if (at >= n)
			return false;
		out[at] = values[j];
	}
	return true;
}

bool
mdb_decimal_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, int depth, uint64_t *out)
{
	const uint8_t *p = in + 2, *end = in + len, *gaps = NULL, *values = NULL;
	size_t gaps_size = 0, values_size = 0;
	uint32_t count = 0;
	unsigned k;

	if (len < 3 || kind == MDB_KIND_INT)
		return false;
	k = in[1] & ~K_EXCEPTIONS;
	if (k > K_LAST)
		return false;
	if (in[1] & K_EXCEPTIONS)
	{
		p = mdb_get_bounded(p, end, n, &count);
		if (p == NULL || count == 0)
			return false;
		p = mdb_get_sized(p, end, &gaps, &gaps_size);
		if (p == NULL)
			return false;
		p = mdb_get_sized(p, end, &values, &values_size);
		if (p == NULL)
			return false;
	}
	if (!decode_quotients(kind, p, (size_t) (end - p), n, k, depth, out))
		return false;
	return count == 0 || patch_exceptions(kind, gaps, gaps_size, values, values_size, count, depth, n, out);
}

bool
mdb_ulp_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, int depth, uint64_t *out)
{
	uint64_t ulps[MDB_WORDS_MAX];
	const uint8_t *p, *end = in + len, *part;
	size_t size;

	if (len < 4 || kind == MDB_KIND_INT || in[1] > K_MAX)
		return false;
	p = mdb_get_sized(in + 2, end, &part, &size);
	if (p == NULL || !decode_quotients(kind, part, size, n, in[1], depth, out) ||
		!mdb_chunk_decode(MDB_KIND_INT, p, (size_t) (end - p), n, depth + 1, ulps))
		return false;
	for (uint32_t i = 0; i < n; i++)
		out[i] += ulps[i];
	if (kind == MDB_KIND_F32)
	{
		for (uint32_t i = 0; i < n; i++)
			out[i] = (uint32_t) out[i];
	}
	return true;
}
