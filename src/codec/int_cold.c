/*
 * int_cold.c
 *	  Windows for residuals of cold integers: the low bits are packed as they are, the high ones are a
 *	  symbol from a small alphabet, which is entropy-coded.
 *
 * Low bits of a residual are as good as random wherever its distribution is wide, and packing random
 * bits loses nothing.  So where the steps of a full double have an entropy of 49 bits, 46 of them are
 * packed, and a table of a dozen symbols stands for the others; the steps of a slow walk of integers
 * are symbols altogether.  Where to cut is found by cost: the symbols are counted at the finest cut,
 * and neighbours are added up for each coarser one.
 */
#include "codec_internal.h"

#define SAMPLE       256 /* values that are sorted to find where most are */
#define ALPHABET_MAX 256
#define LEAST        64 /* values from which on a table may pay */
#define LOW_MAX      55 /* low bits, so that symbol and low bits are less than 64 together */

/* Shell sort: a few hundred values, in place. */
static void
sort_sample(int64_t *v, uint32_t n)
{
	static const uint32_t steps[] = {301, 132, 57, 23, 10, 4, 1};

	for (unsigned s = 0; s < sizeof(steps) / sizeof(steps[0]); s++)
	{
		uint32_t step = steps[s];

		for (uint32_t i = step; i < n; i++)
		{
			int64_t x = v[i];
			uint32_t j = i;

			for (; j >= step && v[j - step] > x; j -= step)
				v[j] = v[j - step];
			v[j] = x;
		}
	}
}

/* How wide an exception is outside of a window, if the residuals go from min to max: what is above low bits. */
static unsigned
exception_width(uint64_t base, unsigned alphabet, unsigned low, int64_t min, int64_t max)
{
	uint64_t above = ((uint64_t) max - base) >> low;
	uint64_t under = (base - (uint64_t) min) >> low;
	unsigned width = 0;

	if (max >= (int64_t) base && above >= alphabet)
		width = mdb_width(above - alphabet) + 1;
	if (min < (int64_t) base && mdb_width(under) + 1 > width)
		width = mdb_width(under) + 1;
	return width > 64 ? 64 : width;
}

/* The best cut for a window from lo to hi, if it is better than the best so far. */
static void
try_window(const uint64_t *x, uint32_t n, int64_t lo, int64_t hi, int64_t min, int64_t max, MdbWindow *best)
{
	uint32_t count[2][ALPHABET_MAX + 1];
	uint64_t range = (uint64_t) hi - (uint64_t) lo;
	unsigned low = mdb_width(range) > 8 ? mdb_width(range) - 8 : 0;
	unsigned alphabet;
	uint32_t outside;
	size_t before = SIZE_MAX;

	if (low > LOW_MAX)
		return;
	alphabet = (unsigned) (range >> low) + 1;
	memset(count, 0, sizeof(count));
	for (uint32_t i = 0; i < n; i++)
	{
		uint64_t y = (x[i] - (uint64_t) lo) >> low;

		count[i & 1][y < alphabet ? y : ALPHABET_MAX]++;
	}
	for (unsigned a = 0; a <= ALPHABET_MAX; a++)
		count[0][a] += count[1][a];
	outside = count[0][ALPHABET_MAX];
	if (outside > n / 4)
		return;
	for (; alphabet >= 2 && low <= LOW_MAX; low++)
	{
		unsigned exc = exception_width((uint64_t) lo, alphabet, low, min, max);
		unsigned mode = 0;
		size_t bytes;

		for (unsigned a = 1; a < alphabet; a++)
			mode = count[0][a] > count[0][mode] ? a : mode;
		/* what is outside is counted where its row says nothing */
		count[0][mode] += outside;
		bytes =
			mdb_packed_size(n, low) + mdb_patch_bytes(n, outside, exc) + mdb_tans_cost(count[0], alphabet, n);
		count[0][mode] -= outside;
		if (bytes < best->bytes)
			*best = (MdbWindow){low, alphabet, (uint64_t) lo, outside, bytes};
		/* coarser cuts lose more and more once they have begun to */
		if (bytes > before)
			break;
		before = bytes;
		for (unsigned a = 0; a < alphabet; a += 2)
			count[0][a / 2] = count[0][a] + (a + 1 < alphabet ? count[0][a + 1] : 0);
		alphabet = (alphabet + 1) / 2;
	}
}

/*
 * mdb_cold_window - a window with an alphabet for n residuals, if one takes less than *best does, which
 * it replaces then.
 */
void
mdb_cold_window(const uint64_t *x, uint32_t n, MdbWindow *best)
{
	int64_t sample[SAMPLE];
	uint32_t count = n < SAMPLE ? n : SAMPLE;
	int64_t min, max;
	uint64_t range;

	if (n < LEAST)
		return;
	mdb_value_range(x, n, &min, &max);
	if (min == max)
		return;
	for (uint32_t i = 0; i < count; i++)
		sample[i] = (int64_t) x[(uint64_t) i * n / count];
	sort_sample(sample, count);
	try_window(x, n, min, max, min, max, best);
	/* a few far ones would make the cut coarse: also without the 0.4, 1.6 and 6 % on either side */
	range = (uint64_t) max - (uint64_t) min;
	for (uint32_t trim = 1; trim <= count / 8; trim *= 4)
	{
		int64_t lo = sample[trim], hi = sample[count - 1 - trim];

		if (lo < hi && (uint64_t) hi - (uint64_t) lo < range / 2)
		{
			try_window(x, n, lo, hi, min, max, best);
			range = (uint64_t) hi - (uint64_t) lo;
		}
	}
}
