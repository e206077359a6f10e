/*
 * sketch_bucket.c
 *	  Which bucket of a sketch a number lies in, and what a bucket's bounds are.
 *
 * Both are exact: a number's bucket does not depend on how the machine's log2() rounds.  Scales up to
 * FINE need a table of the bounds within an octave; at higher ones log2() decides, except near a bound,
 * where the digits of the logarithm are found by squaring.
 */
#include "func/sketch.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define MANTISSA    52
#define MANTISSA_OF ((UINT64_C(1) << MANTISSA) - 1)
#define FINE        10
#define PER_OCTAVE  (1 << FINE)
#define CELL_BITS   (FINE + 1) /* a cell is narrower than a bucket, so it has one bound at most */
#define CELLS       (1 << CELL_BITS)

/* Mantissas, without the leading 1. */
static bool ready;
static uint64_t bound[PER_OCTAVE + 1]; /* the greatest double that is not above 2^(i/PER_OCTAVE) */
static uint16_t cell[CELLS];           /* the bucket that the first number of a cell is in, or follows */

static uint64_t
bits_of(double v)
{
	uint64_t bits;

	memcpy(&bits, &v, sizeof(bits));
	return bits;
}

static double
double_of(uint64_t bits)
{
	double v;

	memcpy(&v, &bits, sizeof(v));
	return v;
}

/* The upper half of the square of a number of 128 bits. */
static unsigned __int128
square_high(unsigned __int128 x)
{
	uint64_t hi = (uint64_t) (x >> 64), lo = (uint64_t) x;
	unsigned __int128 cross = (unsigned __int128) hi * lo;
	unsigned __int128 low = (unsigned __int128) lo * lo;
	unsigned __int128 mid = (low >> 64) + ((cross & UINT64_MAX) << 1);

	return (unsigned __int128) hi * hi + ((cross >> 64) << 1) + (mid >> 64);
}

/*
 * floor(log2(m) * 2^scale) of a mantissa that is not 0, where m is in (1, 2).
 *
 * Squaring doubles a logarithm: if the square is 2 or more, the next binary digit is 1.  What is cut off
 * at 128 bits grows to 2^-105 in 20 steps, while no double is as near as 2^-80 to a bound: these are
 * irrational, and unit tests look at the neighbours of each.
 */
static uint32_t
log_digits(uint64_t mantissa, int scale)
{
	unsigned __int128 x = (unsigned __int128) (mantissa | (UINT64_C(1) << MANTISSA)) << (127 - MANTISSA);
	uint32_t digits = 0;

	for (int i = 0; i < scale; i++)
	{
		x = square_high(x);
		digits <<= 1;
		if (x >> 127)
			digits |= 1;
		else
			x <<= 1;
	}
	return digits;
}

/* The greatest mantissa not above 2^(i/2^scale), where i is neither 0 nor 2^scale. */
static uint64_t
find_bound(uint32_t i, int scale)
{
	uint64_t m = bits_of(exp2(ldexp(i, -scale))) & MANTISSA_OF;

	while (log_digits(m, scale) >= i)
		m--;
	while (log_digits(m + 1, scale) < i)
		m++;
	return m;
}

static void
make_tables(void)
{
	uint32_t at = 0;

	for (uint32_t i = 1; i < PER_OCTAVE; i++)
		bound[i] = find_bound(i, FINE);
	bound[PER_OCTAVE] = MANTISSA_OF;
	for (uint32_t i = 0; i < CELLS; i++)
	{
		while (at + 1 < PER_OCTAVE && bound[at + 1] < (uint64_t) i << (MANTISSA - CELL_BITS))
			at++;
		cell[i] = (uint16_t) at;
	}
	ready = true;
}

/* At the scale FINE.  Numbers of an octave are (1, 2], so that powers of two end the one below. */
static inline int32_t
index_fine(int32_t exponent, uint64_t mantissa)
{
	uint32_t at = cell[mantissa >> (MANTISSA - CELL_BITS)];

	at += mantissa > bound[at + 1];
	return (int32_t) ((uint32_t) exponent * PER_OCTAVE + at - (mantissa == 0));
}

/*
 * mdb_sketch_index - the bucket that a number lies in, which is greater than 0 and finite.
 */
int32_t
mdb_sketch_index(double magnitude, int scale)
{
	uint64_t bits = bits_of(magnitude);
	uint64_t mantissa = bits & MANTISSA_OF;
	int32_t exponent = (int32_t) (bits >> MANTISSA) - 1023;
	double place, whole;
	uint32_t at;

	if (!ready)
		make_tables();
	if (exponent == -1023) /* below what has a leading 1 */
	{
		bits = bits_of(magnitude * 0x1p64);
		mantissa = bits & MANTISSA_OF;
		exponent = (int32_t) (bits >> MANTISSA) - 1023 - 64;
	}
	if (scale <= FINE)
		return index_fine(exponent, mantissa) >> (FINE - scale);
	if (mantissa == 0)
		return (int32_t) ((uint32_t) exponent << scale) - 1;
	place = ldexp(log2(double_of(mantissa | bits_of(1.0))), scale);
	whole = floor(place);
	/* log2() errs by some 2^-52, so that this is a thousand times what is needed. */
	if (place - whole < 0x1p-20 || place - whole > 1 - 0x1p-20)
		at = log_digits(mantissa, scale);
	else
		at = (uint32_t) whole;
	return (int32_t) (((uint32_t) exponent << scale) + at);
}

/* The greatest double not above base^index; 0 if there is none but that. */
static double
bound_of(int64_t index, int scale)
{
	int64_t octave;
	uint32_t at;
	uint64_t mantissa = 0;
	double v;

	if (!ready)
		make_tables();
	if (scale <= 0)
		octave = index * (INT64_C(1) << -scale);
	else
	{
		octave = index >> scale;
		at = (uint32_t) (index & ((INT64_C(1) << scale) - 1));
		if (at != 0)
			mantissa = scale <= FINE ? bound[at << (FINE - scale)] : find_bound(at, scale);
	}
	if (octave > 1023)
		return DBL_MAX;
	if (octave >= -1022)
		return double_of(((uint64_t) (octave + 1023) << MANTISSA) | mantissa);
	if (octave < -1074)
		return 0;
	/* Fewer digits: cut off, not rounded. */
	mantissa |= UINT64_C(1) << MANTISSA;
	v = double_of(mantissa >> (-1022 - octave));
	return v;
}

/*
 * mdb_sketch_lower - the lowest double of a bucket.
 */
double
mdb_sketch_lower(int32_t index, int scale)
{
	return double_of(bits_of(bound_of(index, scale)) + 1);
}

/*
 * mdb_sketch_upper - the highest double of a bucket.
 */
double
mdb_sketch_upper(int32_t index, int scale)
{
	double v = bound_of((int64_t) index + 1, scale);

	return v > 0 ? v : DBL_TRUE_MIN;
}

/*
 * mdb_sketch_error - by what share of it a value differs from the middle of its bucket, at most.
 *
 * With middle = 2 lower upper / (lower + upper) that is (base - 1) / (base + 1).
 */
double
mdb_sketch_error(int scale)
{
	return tanh(ldexp(0.34657359027997264, -scale)); /* ln 2 / 2 */
}

/*
 * mdb_sketch_scale_for - the lowest scale with an error of no more than this, or else the highest.
 */
int
mdb_sketch_scale_for(double error)
{
	int scale = MDB_SKETCH_SCALE_MIN;

	while (scale < MDB_SKETCH_SCALE_MAX && mdb_sketch_error(scale) > error)
		scale++;
	return scale;
}

/*
 * mdb_sketch_first_index, mdb_sketch_last_index - the buckets of the smallest and the greatest double.
 */
int32_t
mdb_sketch_first_index(int scale)
{
	return mdb_sketch_index(DBL_TRUE_MIN, scale);
}

int32_t
mdb_sketch_last_index(int scale)
{
	return mdb_sketch_index(DBL_MAX, scale);
}
