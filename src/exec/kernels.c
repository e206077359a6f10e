/*
 * kernels.c
 *	  Sums and ranges of runs of values, written so that the compiler makes vector code of them.
 *
 * Sums of doubles run in eight lanes that are added in a fixed order, so they are the same with and without
 * AVX2; they differ from those of another order by rounding, see README.md for the bound.
 */
#include "postgres.h"

#include <math.h>

#include "exec/kernels.h"

#define LANES 8

#ifdef MDB_TESTING
bool mdb_kernel_fault = false;
#define PLANTED_FAULT(n) ((n) -= mdb_kernel_fault && (n) > LANES)
#else
#define PLANTED_FAULT(n) ((void) 0)
#endif

/*
 * mdb_count_valid - how many rows count.
 */
MDB_CLONES uint32
mdb_count_valid(const uint8 *valid, uint32 n)
{
	uint32 count = 0;

	for (uint32 i = 0; i < n; i++)
		count += valid[i];
	return count;
}

static inline double
sum_lanes(const double *s)
{
	return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

/*
 * mdb_sum_f64 - sum, and the largest magnitude: below 1e140 nothing has overflowed on the way, nor have
 * the squares.
 */
MDB_CLONES void
mdb_sum_f64(const double *v, const uint8 *valid, uint32 n, MdbSumF64 *out)
{
	double s[LANES] = {0};
	double m[LANES] = {0};
	double sum, largest = 0;
	uint32 i = 0;

	PLANTED_FAULT(n);
	if (valid == NULL)
	{
		for (; i + LANES <= n; i += LANES)
			for (int k = 0; k < LANES; k++)
			{
				double a = fabs(v[i + k]);

				s[k] += v[i + k];
				m[k] = a > m[k] ? a : m[k];
			}
		for (int k = 0; i < n; i++, k++)
		{
			double a = fabs(v[i]);

			s[k] += v[i];
			m[k] = a > m[k] ? a : m[k];
		}
	}
	else
	{
		for (; i + LANES <= n; i += LANES)
			for (int k = 0; k < LANES; k++)
			{
				double x = valid[i + k] ? v[i + k] : 0;
				double a = fabs(x);

				s[k] += x;
				m[k] = a > m[k] ? a : m[k];
			}
		for (int k = 0; i < n; i++, k++)
		{
			double x = valid[i] ? v[i] : 0;
			double a = fabs(x);

			s[k] += x;
			m[k] = a > m[k] ? a : m[k];
		}
	}
	sum = sum_lanes(s);
	for (int k = 0; k < LANES; k++)
		largest = m[k] > largest ? m[k] : largest;
	out->sum = sum;
	out->largest = largest;
}

/*
 * mdb_sum_squares_f64 - sum of squared distances from a mean.
 */
MDB_CLONES double
mdb_sum_squares_f64(const double *v, const uint8 *valid, uint32 n, double mean)
{
	double s[LANES] = {0};
	uint32 i = 0;

	for (; i + LANES <= n; i += LANES)
		for (int k = 0; k < LANES; k++)
		{
			double d = valid == NULL || valid[i + k] ? v[i + k] - mean : 0;

			s[k] += d * d;
		}
	for (int k = 0; i < n; i++, k++)
	{
		double d = valid == NULL || valid[i] ? v[i] - mean : 0;

		s[k] += d * d;
	}
	return sum_lanes(s);
}

/*
 * mdb_range_f64 - minimum and maximum of what is not NaN, infinities the wrong way round if nothing is;
 * and how many are NaN.
 */
MDB_CLONES void
mdb_range_f64(const double *v, const uint8 *valid, uint32 n, MdbRangeF64 *out)
{
	double lo[LANES], hi[LANES];
	uint64 nans = 0;
	double min, max;
	uint32 i = 0;

	for (int k = 0; k < LANES; k++)
	{
		lo[k] = INFINITY;
		hi[k] = -INFINITY;
	}
	if (valid == NULL)
	{
		for (; i + LANES <= n; i += LANES)
			for (int k = 0; k < LANES; k++)
			{
				double x = v[i + k];

				lo[k] = x < lo[k] ? x : lo[k];
				hi[k] = x > hi[k] ? x : hi[k];
				nans += x != x;
			}
		for (; i < n; i++)
		{
			lo[0] = v[i] < lo[0] ? v[i] : lo[0];
			hi[0] = v[i] > hi[0] ? v[i] : hi[0];
			nans += v[i] != v[i];
		}
	}
	else
		for (; i < n; i++)
		{
			double x = v[i];
			bool take = valid[i] != 0;

			lo[0] = take && x < lo[0] ? x : lo[0];
			hi[0] = take && x > hi[0] ? x : hi[0];
			nans += take && x != x;
		}
	min = lo[0];
	max = hi[0];
	for (int k = 1; k < LANES; k++)
	{
		min = lo[k] < min ? lo[k] : min;
		max = hi[k] > max ? hi[k] : max;
	}
	out->min = min;
	out->max = max;
	out->nans = (uint32) nans;
}

/*
 * mdb_sum_int - sum of integers, of up to MDB_BLOCK_ROWS_MAX rows.  High and low halves are added apart,
 * so that neither overflows.
 */
MDB_CLONES int128
mdb_sum_int(const int64 *v, const uint8 *valid, uint32 n)
{
	int64 hi = 0;
	uint64 lo = 0;

	PLANTED_FAULT(n);
	if (valid == NULL)
		for (uint32 i = 0; i < n; i++)
		{
			hi += v[i] >> 32;
			lo += (uint32) v[i];
		}
	else
		for (uint32 i = 0; i < n; i++)
		{
			int64 x = valid[i] ? v[i] : 0;

			hi += x >> 32;
			lo += (uint32) x;
		}
	return ((int128) hi << 32) + lo;
}

/*
 * mdb_range_int - minimum and maximum; those of int64 the wrong way round if no row counts.
 */
MDB_CLONES void
mdb_range_int(const int64 *v, const uint8 *valid, uint32 n, int64 *min, int64 *max)
{
	int64 lo = PG_INT64_MAX, hi = PG_INT64_MIN;

	if (valid == NULL)
		for (uint32 i = 0; i < n; i++)
		{
			lo = v[i] < lo ? v[i] : lo;
			hi = v[i] > hi ? v[i] : hi;
		}
	else
		for (uint32 i = 0; i < n; i++)
		{
			int64 x = valid[i] ? v[i] : PG_INT64_MAX;
			int64 y = valid[i] ? v[i] : PG_INT64_MIN;

			lo = x < lo ? x : lo;
			hi = y > hi ? y : hi;
		}
	*min = lo;
	*max = hi;
}

/*
 * mdb_steps - what becomes of a counter or gauge from each value to the next, and whether times rise.  Of n values,
 * at least one, all of which count.
 */
MDB_CLONES void
mdb_steps(const double *v, const int64 *t, uint32 n, MdbSteps *out)
{
	/* As wide as values, so that comparisons of them can be added up as they are. */
	uint64 resets = 0, changes = 0, nans = v[0] != v[0], stuck = 0;

	for (uint32 i = 1; i < n; i++)
	{
		resets += v[i] < v[i - 1];
		changes += v[i] != v[i - 1];
		nans += v[i] != v[i];
		stuck += t[i] <= t[i - 1];
	}
	*out = (MdbSteps){.resets = resets, .changes = changes, .nans = nans, .stuck = stuck};
}

/*
 * mdb_widen_f32 - floats to doubles.
 */
MDB_CLONES void
mdb_widen_f32(const float *v, uint32 n, double *out)
{
	for (uint32 i = 0; i < n; i++)
		out[i] = v[i];
}

/*
 * mdb_and - take rows out of a mask: those that are not in another, or with negate, those that are.
 * Returns how many are left.
 */
MDB_CLONES uint32
mdb_and(uint8 *mask, const uint8 *other, bool negate, uint32 n)
{
	uint32 count = 0;

	for (uint32 i = 0; i < n; i++)
	{
		mask[i] &= negate ? other[i] == 0 : other[i] != 0;
		count += mask[i];
	}
	return count;
}
