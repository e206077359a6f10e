/*
 * int.c
 *	  Integers: a predictor (none, previous value, previous step), a window of w bits for the
 *	  residuals, and a patch list for those outside it.
 *
 * Bytes of the chunk
 *
 *	id			MDB_ID_INT | variant << 5; variant = order (0, 1, 2) + 4 if patched;
 *				+ MDB_ID_ENTROPY if the high bits are entropy-coded
 *	width		0..64
 *	varint		zigzag of base, the window's lower edge
 *	[varint]	order >= 1: zigzag of v[0]
 *	[varint]	order 2: zigzag of v[1] - v[0]
 *	[patches]	varint count (>= 1), byte gap width, byte exception width,
 *				stream of gaps (distance to the patch before, less one),
 *				stream of exceptions
 *	packed		n residuals, less base
 *	[symbols	with MDB_ID_ENTROPY: what is left of each residual, r >> width, see tans.c]
 *
 * The residual x[i] is v[i], the step, or the step's change; those before the predictor has
 * started are stored as base itself (zero bits).  With r = x - base modulo 2^64 read as signed, a
 * residual within the window has 0 <= r < 2^w; outside, the exception is (r - 2^w) * 2 above and
 * (-r - 1) * 2 + 1 below, so that near misses take few bits.  With symbols A << w, A the size of their
 * alphabet, takes the place of 2^w, and an exception is the part of r above the low w bits, which are packed
 * as ever: (r >> w) for r, A for 2^w.  The symbols of patched and of leading rows mean nothing.
 *
 * Invariants
 *	1. The length is exactly what the header says; after that check the unpack loops need none.
 *	2. order <= n - 1; patch positions ascend and lie below n.
 *	3. Nothing is lost for any input: all arithmetic wraps, and base is any 64-bit number.
 */
#include "codec_internal.h"

#define SAMPLES       31  /* values whose median is a window's centre */
#define SMALL_RANGE   256 /* residuals spread less than this are counted one by one */
#define PATCHES_MAX   (MDB_BLOCK_ROWS_MAX / 2 + 1) /* a window holds half of the values */
#define GAP_WIDTH_MAX 14                           /* a gap is below MDB_BLOCK_ROWS_MAX */
#define SUM_WIDTH_MAX 21                           /* residuals that mdb_unpack_sums may add in 32 bits */
#define LOW_WIDTH_MAX 55                           /* below an entropy-coded symbol of 8 bits */

/* How many residuals from base on are within a window; 0 = all there are. */
static inline uint64_t
span_of(unsigned width, unsigned alphabet)
{
	return alphabet != 0 ? (uint64_t) alphabet << width : width >= 64 ? 0 : (uint64_t) 1 << width;
}

/* mdb_patch_bytes - what a patch list costs: gaps about as wide as the mean gap and a little. */
size_t
mdb_patch_bytes(uint32_t n, uint32_t patches, unsigned exc_width)
{
	unsigned gap_width;

	if (patches == 0)
		return 0;
	gap_width = mdb_width(n / patches) + 2;
	if (gap_width > mdb_width(n))
		gap_width = mdb_width(n);
	return 3 + (patches >> 7) + ((size_t) patches * gap_width + 7) / 8 +
		   ((size_t) patches * exc_width + 7) / 8;
}

/* Median of a few values spread over x, as signed numbers. */
static uint64_t
sample_median(const uint64_t *x, uint32_t n)
{
	int64_t s[SAMPLES];
	uint32_t count = n < SAMPLES ? n : SAMPLES;

	for (uint32_t i = 0; i < count; i++)
	{
		int64_t y = (int64_t) x[(uint64_t) i * n / count];
		uint32_t j = i;

		for (; j > 0 && s[j - 1] > y; j--)
			s[j] = s[j - 1];
		s[j] = y;
	}
	return (uint64_t) s[count / 2];
}

/* Residuals of the predictor; the first `order` are left to the caller. */
static MDB_CLONES void
residuals(const uint64_t *restrict v, uint32_t n, unsigned order, uint64_t *restrict x)
{
	if (order == 0)
		memcpy(x, v, n * sizeof(*x));
	else if (order == 1)
	{
		for (uint32_t i = 1; i < n; i++)
			x[i] = v[i] - v[i - 1];
	}
	else
	{
		for (uint32_t i = 2; i < n; i++)
			x[i] = v[i] - 2 * v[i - 1] + v[i - 2];
	}
}

/* mdb_value_range - least and greatest of n values, as signed numbers. */
MDB_CLONES void
mdb_value_range(const uint64_t *x, uint32_t n, int64_t *min, int64_t *max)
{
	int64_t lo = (int64_t) x[0], hi = lo;

	for (uint32_t i = 1; i < n; i++)
	{
		int64_t y = (int64_t) x[i];

		lo = y < lo ? y : lo;
		hi = y > hi ? y : hi;
	}
	*min = lo;
	*max = hi;
}

/*
 * Best width by a histogram of widths: hist[b] residuals need b bits.  exc_extra bits are what an
 * exception takes above the widest residual.
 */
static MdbWindow
best_width(const uint32_t *hist, uint32_t n)
{
	MdbWindow best = {64, 0, 0, 0, SIZE_MAX};
	uint32_t outside = 0;
	unsigned top = 64;

	while (top > 0 && hist[top] == 0)
		top--;
	for (unsigned w = top + 1; w-- > 0;)
	{
		size_t bytes = mdb_packed_size(n, w) + mdb_patch_bytes(n, outside, top + 1);

		if (bytes < best.bytes)
			best = (MdbWindow){w, 0, 0, outside, bytes};
		outside += hist[w];
		if (outside > n / 2)
			break;
	}
	return best;
}

/* MdbWindow around a centre: widths of the zigzagged distance. */
static MdbWindow
centred_window(const uint64_t *x, uint32_t n, uint64_t centre)
{
	uint32_t hist[2][65] = {{0}};
	MdbWindow w;

	for (uint32_t i = 0; i < n; i++)
		hist[i & 1][mdb_width(mdb_zigzag(x[i] - centre))]++;
	for (unsigned b = 0; b <= 64; b++)
		hist[0][b] += hist[1][b];
	w = best_width(hist[0], n);
	w.base = w.width == 0 ? centre : centre - ((uint64_t) 1 << (w.width - 1));
	return w;
}

/* MdbWindow that starts at the minimum: widths of the distance above it. */
static MdbWindow
lowest_window(const uint64_t *x, uint32_t n, uint64_t min)
{
	uint32_t hist[2][65] = {{0}};
	MdbWindow w;

	for (uint32_t i = 0; i < n; i++)
		hist[i & 1][mdb_width(x[i] - min)]++;
	for (unsigned b = 0; b <= 64; b++)
		hist[0][b] += hist[1][b];
	w = best_width(hist[0], n);
	w.base = min;
	return w;
}

/*
 * Exact search when most residuals lie in [lo, lo + SMALL_RANGE): count every value, slide each
 * width over the counts.  min and max are those of all residuals, so that the exceptions' width is
 * known.  This is what finds w = 2 for the steps of a slow random walk, where w = 3 wastes much.
 */
static MdbWindow
counted_window(const uint64_t *x, uint32_t n, uint64_t lo, int64_t min, int64_t max)
{
	uint32_t count[2][SMALL_RANGE + 1] = {{0}};
	uint32_t below[SMALL_RANGE + 1];
	MdbWindow best = {64, 0, 0, 0, SIZE_MAX};
	uint32_t inside = 0;
	unsigned first = 0, last = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		uint64_t y = x[i] - lo;

		count[i & 1][y < SMALL_RANGE ? y : SMALL_RANGE]++;
	}
	for (unsigned b = 0; b < SMALL_RANGE; b++)
	{
		uint32_t c = count[0][b] + count[1][b];

		if (c != 0)
		{
			if (inside == 0)
				first = b;
			last = b;
		}
		below[b] = inside;
		inside += c;
	}
	below[SMALL_RANGE] = inside;
	if (inside == 0)
		return best;

	for (unsigned w = 0; w <= mdb_width(last - first); w++)
	{
		unsigned span = 1u << w;
		unsigned stop = last - first + 1 > span ? last + 1 - span : first;
		uint32_t most = 0;
		unsigned at = first;
		uint64_t base, above, under;
		unsigned exc_width = 0;
		size_t bytes;

		for (unsigned b = first; b <= stop; b++)
		{
			unsigned end = b + span < SMALL_RANGE ? b + span : SMALL_RANGE;
			uint32_t covered = below[end] - below[b];

			if (covered > most)
			{
				most = covered;
				at = b;
			}
		}
		if (most < n / 2)
			continue;
		base = lo + at;
		above = (uint64_t) max - base;
		under = base - (uint64_t) min;
		if ((int64_t) above >= (int64_t) span)
			exc_width = mdb_width(above - span) + 1;
		if ((int64_t) under > 0 && mdb_width(under - 1) + 1 > exc_width)
			exc_width = mdb_width(under - 1) + 1;
		bytes = mdb_packed_size(n, w) + mdb_patch_bytes(n, n - most, exc_width);
		if (bytes < best.bytes)
			best = (MdbWindow){w, 0, base, n - most, bytes};
	}
	return best;
}

static MdbWindow
choose_window(const uint64_t *x, uint32_t n)
{
	int64_t min, max;
	unsigned range_width;
	MdbWindow best, w;
	uint64_t centre;

	mdb_value_range(x, n, &min, &max);
	range_width = mdb_width((uint64_t) max - (uint64_t) min);
	best = (MdbWindow){range_width, 0, (uint64_t) min, 0, mdb_packed_size(n, range_width)};
	if (range_width == 0)
		return best;
	if (range_width <= 8)
	{
		w = counted_window(x, n, (uint64_t) min, min, max);
		return w.bytes < best.bytes ? w : best;
	}
	centre = sample_median(x, n);
	w = centred_window(x, n, centre);
	if (w.bytes < best.bytes)
		best = w;
	if (w.width <= 7)
	{
		w = counted_window(x, n, centre - SMALL_RANGE / 2, min, max);
		if (w.bytes < best.bytes)
			best = w;
	}
	else
	{
		w = lowest_window(x, n, (uint64_t) min);
		if (w.bytes < best.bytes)
			best = w;
	}
	return best;
}

/* What the header spends on base and on where the predictor starts. */
static size_t
header_bytes(const uint64_t *v, unsigned order, uint64_t base)
{
	size_t bytes = 2 + mdb_varint_size(mdb_zigzag(base));

	if (order >= 1)
		bytes += mdb_varint_size(mdb_zigzag(v[0]));
	if (order == 2)
		bytes += mdb_varint_size(mdb_zigzag(v[1] - v[0]));
	return bytes;
}

/*
 * Which predictor: by its cost for the whole of a short array, else for a few stretches of the
 * block, enough to tell a walk from a counter from unrelated values.  cost[] are the figures compared.
 */
static unsigned
choose_order(const uint64_t *v, uint32_t n, size_t *cost)
{
	enum
	{
		STRETCH = 34,
		STRETCHES = 4
	};
	uint64_t x[STRETCH * STRETCHES];
	unsigned best = 0;
	size_t best_bytes = SIZE_MAX;

	for (unsigned order = 0; order <= 2 && order < n; order++)
	{
		uint32_t m = 0;
		MdbWindow w;
		size_t bytes;

		if (n <= STRETCH * STRETCHES)
		{
			residuals(v, n, order, x);
			m = n - order;
			memmove(x, x + order, m * sizeof(*x));
		}
		else
		{
			uint64_t part[STRETCH];

			for (uint32_t s = 0; s < STRETCHES; s++)
			{
				residuals(v + (uint64_t) s * (n - STRETCH) / (STRETCHES - 1), STRETCH, order, part);
				memcpy(x + m, part + 2, (STRETCH - 2) * sizeof(*x));
				m += STRETCH - 2;
			}
		}
		w = choose_window(x, m);
		bytes = w.bytes;
		if (n <= STRETCH * STRETCHES)
			bytes += header_bytes(v, order, w.base);
		cost[order] = bytes;
		if (bytes < best_bytes)
		{
			best_bytes = bytes;
			best = order;
		}
	}
	return best;
}

/* Positions of the residuals outside the window. */
static uint32_t
find_patches(const uint64_t *x, uint32_t n, const MdbWindow *w, uint16_t *at)
{
	uint64_t last = span_of(w->width, w->alphabet) - 1;
	uint32_t count = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		at[count] = (uint16_t) i;
		count += x[i] - w->base > last;
	}
	return count;
}

/*
 * Cold chunks: the predictors that come into question have their turn with all residuals, whose high bits
 * may be entropy-coded.  x is room for them.
 */
static unsigned
choose_cold(const uint64_t *v, uint32_t n, unsigned hot_order, const size_t *cost, MdbWindow *w, uint64_t *x)
{
	unsigned best = hot_order;

	for (unsigned order = 0; order <= 2 && order < n; order++)
	{
		size_t before = w->bytes;

		if (cost[order] > cost[hot_order] + cost[hot_order] / 8)
			continue;
		residuals(v, n, order, x);
		mdb_cold_window(x + order, n - order, w);
		if (w->bytes < before)
			best = order;
	}
	return best;
}

/* Residuals within the window, less base, to symbols; low bits stay.  Returns the most frequent one. */
static unsigned
take_symbols(uint64_t *x, uint32_t n, const MdbWindow *w, uint8_t *symbols, uint32_t *count)
{
	uint64_t mask = ((uint64_t) 1 << w->width) - 1;
	unsigned mode = 0;

	memset(count, 0, sizeof(*count) * w->alphabet);
	for (uint32_t i = 0; i < n; i++)
	{
		symbols[i] = (uint8_t) (x[i] >> w->width);
		count[symbols[i]]++;
		x[i] &= mask;
	}
	for (unsigned a = 1; a < w->alphabet; a++)
		mode = count[a] > count[mode] ? a : mode;
	return mode;
}

/*
 * mdb_int_encode - n integers; cold: as small as can be found, at several times the price.
 */
size_t
mdb_int_encode(const uint64_t *v, uint32_t n, bool cold, uint8_t *out, size_t cap)
{
	uint64_t x[MDB_BLOCK_ROWS_MAX];
	uint64_t gaps[PATCHES_MAX];
	uint64_t excs[PATCHES_MAX];
	uint16_t at[MDB_BLOCK_ROWS_MAX + 1];
	uint8_t symbols[MDB_BLOCK_ROWS_MAX];
	uint8_t header[3 * MDB_VARINT_MAX + MDB_VARINT_MAX + 4];
	uint8_t *p = header;
	size_t cost[3];
	unsigned order = choose_order(v, n, cost);
	unsigned gap_width = 0, exc_width = 0;
	uint32_t patches;
	uint64_t inner;
	size_t size;
	MdbWindow w;

	residuals(v, n, order, x);
	w = choose_window(x + order, n - order);
	if (cold)
	{
		order = choose_cold(v, n, order, cost, &w, x);
		residuals(v, n, order, x);
	}
	for (unsigned i = 0; i < order; i++)
		x[i] = w.base;
	if (w.bytes > cap + cap / 8 + 16)
		return 0; /* not even near */

	inner = w.alphabet ? w.alphabet : span_of(w.width, 0);
	patches = find_patches(x, n, &w, at);
	for (uint32_t j = 0; j < patches; j++)
	{
		uint64_t r = x[at[j]] - w.base;
		/* with symbols only what takes the place of one */
		uint64_t outer = w.alphabet ? (uint64_t) ((int64_t) r >> w.width) : r;
		uint64_t exc = (int64_t) r < 0 ? (0 - outer - 1) * 2 + 1 : (outer - inner) * 2;

		gaps[j] = j == 0 ? at[0] : (uint64_t) at[j] - at[j - 1] - 1;
		excs[j] = exc;
		x[at[j]] = w.base + (w.alphabet ? r & (((uint64_t) 1 << w.width) - 1) : 0);
		if (mdb_width(gaps[j]) > gap_width)
			gap_width = mdb_width(gaps[j]);
		if (mdb_width(exc) > exc_width)
			exc_width = mdb_width(exc);
	}

	*p++ = (uint8_t) (MDB_ID_INT | (w.alphabet ? MDB_ID_ENTROPY : 0) |
					  (order + (patches ? MDB_INT_PATCHED : 0)) << MDB_VARIANT_SHIFT);
	*p++ = (uint8_t) w.width;
	p = mdb_put_varint(p, mdb_zigzag(w.base));
	if (order >= 1)
		p = mdb_put_varint(p, mdb_zigzag(v[0]));
	if (order == 2)
		p = mdb_put_varint(p, mdb_zigzag(v[1] - v[0]));
	if (patches > 0)
	{
		p = mdb_put_varint(p, patches);
		*p++ = (uint8_t) gap_width;
		*p++ = (uint8_t) exc_width;
	}
	size = (size_t) (p - header) + mdb_stream_size(patches, gap_width) + mdb_stream_size(patches, exc_width) +
		   mdb_packed_size(n, w.width);
	if (size > cap)
		return 0;

	memcpy(out, header, (size_t) (p - header));
	out += p - header;
	mdb_stream_pack(gaps, patches, gap_width, out);
	out += mdb_stream_size(patches, gap_width);
	mdb_stream_pack(excs, patches, exc_width, out);
	out += mdb_stream_size(patches, exc_width);
	for (uint32_t i = 0; i < n; i++)
		x[i] -= w.base;
	if (w.alphabet != 0)
	{
		uint32_t count[256];
		unsigned mode = take_symbols(x, n, &w, symbols, count);
		size_t coded;

		/* under a patch, and before the predictor has started, stands what costs least */
		for (uint32_t j = 0; j < patches + order; j++)
		{
			uint32_t row = j < patches ? at[j] : j - patches;

			count[symbols[row]]--;
			symbols[row] = (uint8_t) mode;
			count[mode]++;
		}
		coded = mdb_tans_encode(symbols, n, count, w.alphabet, out + mdb_packed_size(n, w.width), cap - size);
		if (coded == 0)
			return 0;
		size += coded;
	}
	mdb_pack(x, n, w.width, out);
	return size;
}

/* A chunk's patches, taken apart. */
typedef struct Patches
{
	uint32_t count;
	unsigned gap_width;
	unsigned exc_width;
	uint16_t at[PATCHES_MAX];
	uint64_t exc[PATCHES_MAX + 1];
} Patches;

/* Positions from gaps; the exceptions stay as they are stored. */
static bool
read_patches(const uint8_t *gaps_in, const uint8_t *excs_in, const uint8_t *end, uint32_t n, Patches *p)
{
	uint64_t gaps[PATCHES_MAX];
	uint32_t at = 0;

	mdb_stream_unpack(gaps_in, end, p->count, p->gap_width, gaps);
	mdb_stream_unpack(excs_in, end, p->count, p->exc_width, p->exc);
	for (uint32_t j = 0; j < p->count; j++)
	{
		at += (uint32_t) gaps[j];
		if (at >= n)
			return false;
		p->at[j] = (uint16_t) at++;
	}
	return true;
}

/* A residual relative to base from its stored exception; or the part of it above the low bits. */
static inline uint64_t
patched_residual(uint64_t exc, uint64_t inner)
{
	uint64_t half = exc >> 1;

	return (exc & 1) ? ~half : inner + half;
}

/*
 * Positions and residuals of patches that are to be summed up in 32 bits: the two streams side by side,
 * a word for each value, where eight bytes can still be read at the end of the longer one.  low: bits
 * below them that are packed.
 */
static bool
read_small_patches(const uint8_t *gaps_in, const uint8_t *excs_in, const uint8_t *end, uint32_t n,
				   uint64_t inner, unsigned low, Patches *p, int32_t *patch)
{
	uint64_t gap_mask = ((uint64_t) 1 << p->gap_width) - 1;
	uint64_t exc_mask = ((uint64_t) 1 << p->exc_width) - 1;
	uint32_t at = 0, last = 0;

	if (mdb_stream_size(p->count, p->exc_width) + 8 > (size_t) (end - excs_in))
	{
		if (!read_patches(gaps_in, excs_in, end, n, p))
			return false;
		for (uint32_t j = 0; j < p->count; j++)
			patch[j] = (int32_t) ((uint32_t) patched_residual(p->exc[j], inner) << low);
		return true;
	}
	for (uint32_t j = 0; j < p->count; j++)
	{
		size_t gap_bit = (size_t) j * p->gap_width, exc_bit = (size_t) j * p->exc_width;
		uint64_t gap = mdb_load64(gaps_in + (gap_bit >> 3)) >> (gap_bit & 7) & gap_mask;
		uint64_t exc = mdb_load64(excs_in + (exc_bit >> 3)) >> (exc_bit & 7) & exc_mask;

		last = at + (uint32_t) gap;
		p->at[j] = (uint16_t) last;
		at = last + 1;
		/* patched_residual() without a branch */
		patch[j] = (int32_t) ((uint32_t) ((exc >> 1 ^ (0 - (exc & 1))) + (inner & ((exc & 1) - 1))) << low);
	}
	/* they ascend: 4097 gaps of 14 bits do not overflow */
	return p->count == 0 || last < n;
}

static const uint8_t *
get_zigzag(const uint8_t *p, const uint8_t *end, uint64_t *x)
{
	p = mdb_get_varint(p, end, x);
	if (p != NULL)
		*x = mdb_unzigzag(*x);
	return p;
}

/* Running sums, from sum on. */
static void
int_prefix(uint64_t *v, uint32_t n, uint64_t sum)
{
	for (uint32_t i = 0; i < n; i++)
		v[i] = sum += v[i];
}

/*
 * mdb_int_decode - n integers; or, if p10 is not 0, the first *divided of them as doubles already
 * divided by p, which spares a decimal two passes over its values.
 */
bool
mdb_int_decode(const uint8_t *in, size_t len, uint32_t n, double p10, uint32_t *divided, uint64_t *out)
{
	const uint8_t *p = in + 2, *end = in + len;
	unsigned variant, order, width;
	uint64_t base, first = 0, step = 0;
	size_t gap_bytes, exc_bytes, low_bytes;
	uint8_t symbols[MDB_WORDS_MAX];
	const uint8_t *high = NULL, *gaps;
	unsigned alphabet = 0, low;
	uint64_t span, inner;
	Patches patches;

	*divided = 0;
	if (len < 3)
		return false;
	variant = in[0] >> MDB_VARIANT_SHIFT;
	order = variant & 3;
	width = in[1];
	if (order > 2 || order > n - 1 || width > ((in[0] & MDB_ID_ENTROPY) ? LOW_WIDTH_MAX : 64))
		return false;
	p = get_zigzag(p, end, &base);
	if (p != NULL && order >= 1)
		p = get_zigzag(p, end, &first);
	if (p != NULL && order == 2)
		p = get_zigzag(p, end, &step);
	if (p == NULL)
		return false;
	patches.count = 0;
	patches.gap_width = patches.exc_width = 0;
	if (variant >= MDB_INT_PATCHED)
	{
		p = mdb_get_bounded(p, end, n, &patches.count);
		if (p == NULL || patches.count == 0 || patches.count > PATCHES_MAX || width == 64 || end - p < 2)
			return false;
		patches.gap_width = *p++;
		patches.exc_width = *p++;
		if (patches.gap_width > GAP_WIDTH_MAX || patches.exc_width > 64)
			return false;
	}
	gap_bytes = mdb_stream_size(patches.count, patches.gap_width);
	exc_bytes = mdb_stream_size(patches.count, patches.exc_width);
	low_bytes = mdb_packed_size(n, width);
	if ((size_t) (end - p) < gap_bytes + exc_bytes + low_bytes)
		return false;
	gaps = p;
	p += gap_bytes + exc_bytes;
	if (in[0] & MDB_ID_ENTROPY)
	{
		if (!mdb_tans_decode(p + low_bytes, (size_t) (end - p) - low_bytes, n, &alphabet, symbols))
			return false;
		/* the leading residuals count for nothing, see below */
		memset(symbols, 0, order);
		high = symbols;
	}
	else if ((size_t) (end - p) != low_bytes)
		return false;
	span = span_of(width, alphabet);
	inner = alphabet != 0 ? alphabet : span;
	low = alphabet != 0 ? width : 0;

	/*
	 * The sums start so that the leading residuals, which are all base, come out as the values
	 * the header holds.
	 */
	if (order == 1 && span == 1 && patches.count == 0)
		mdb_ramp(out, n, first, base);
	else if (order == 1 && span - 1 < UINT64_C(1) << SUM_WIDTH_MAX &&
			 patches.exc_width + low <= SUM_WIDTH_MAX)
	{
		int32_t patch[PATCHES_MAX];

		if (!read_small_patches(gaps, gaps + gap_bytes, end, n, inner, low, &patches, patch))
			return false;
		for (uint32_t j = 0; high != NULL && j < patches.count; j++)
			symbols[patches.at[j]] = 0;
		*divided = mdb_unpack_sums(p, high, n, width, base, first - base, patches.at, patch, patches.count,
								   p10, out);
	}
	else
	{
		if (!read_patches(gaps, gaps + gap_bytes, end, n, &patches))
			return false;
		if (p10 != 0 && order == 0 && patches.count == 0 && span - 1 <= INT32_MAX)
		{
			uint32_t done = mdb_unpack_quotients(p, high, n, width, base, p10, out);

			*divided = done;
			p += mdb_packed_size(done, width);
			high = high == NULL ? NULL : high + done;
			out += done;
			n -= done;
		}
		mdb_unpack(p, high, n, width, base, out);
		for (uint32_t j = 0; j < patches.count; j++)
		{
			uint64_t r = patched_residual(patches.exc[j], inner) << low;

			/* the symbol there means nothing, and the low bits are right */
			if (high != NULL)
				r += out[patches.at[j]] - ((uint64_t) high[patches.at[j]] << low) - base;
			out[patches.at[j]] = base + r;
		}
		if (order == 2)
		{
			int_prefix(out, n, step - 2 * base);
			int_prefix(out, n, first - (step - base));
		}
		else if (order == 1)
			int_prefix(out, n, first - base);
	}
	return true;
}
