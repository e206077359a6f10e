/*
 * sketch_test.c
 *	  Unit and property tests of the sketches of quantiles; needs no server.
 */
#include "func/sketch.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed;
static uint64_t state = 88172645463325252ULL;

#define CHECK(x)                                                     \
	do                                                               \
	{                                                                \
		if (x)                                                       \
			passed++;                                                \
		else                                                         \
		{                                                            \
			failed++;                                                \
			printf("%s:%d: not true: %s\n", __FILE__, __LINE__, #x); \
		}                                                            \
	} while (0)

static uint64_t
random_bits(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static uint32_t
dice(uint32_t n)
{
	return (uint32_t) (random_bits() >> 20) % n;
}

static double
as_double(uint64_t bits)
{
	double v;

	memcpy(&v, &bits, sizeof(v));
	return v;
}

/* In [0, 1). */
static double
share(void)
{
	return (double) (random_bits() >> 11) * 0x1p-53;
}

static void *
grow(void *arg, void *old, size_t old_size, size_t size)
{
	void *p = malloc(size);

	(void) arg;
	if (old)
		memcpy(p, old, old_size);
	free(old);
	memset((char *) p + old_size, 0x5a, size - old_size);
	return p;
}

static void
begin(MdbSketch *s, int scale, uint32_t max_buckets)
{
	s->grow = grow;
	s->arg = NULL;
	mdb_sketch_init(s, scale, max_buckets);
}

static void
end(MdbSketch *s)
{
	free(s->pos.counts);
	free(s->neg.counts);
	free(s->raw);
	s->pos.counts = s->neg.counts = s->raw = NULL;
}

/* ---- buckets ---- */

/*
 * The bucket of m in (1, 2) in arithmetic of 62 bits a word with all that is cut off accounted for: the
 * square of the lower end rounded down, that of the upper end rounded up, must have the same digits.
 */
static int64_t
exact_index(double m, int scale)
{
	unsigned __int128 lo = (unsigned __int128) (uint64_t) ldexp(m, 52) << 70; /* 2^122 is 1 */
	unsigned __int128 hi = lo;
	int64_t digits = 0;

	for (int i = 0; i < scale; i++)
	{
		unsigned __int128 *x[2] = {&lo, &hi};

		for (int k = 0; k < 2; k++)
		{
			uint64_t a = (uint64_t) (*x[k] >> 61), b = (uint64_t) *x[k] & ((UINT64_C(1) << 61) - 1);
			unsigned __int128 ab = (unsigned __int128) a * b, bb = (unsigned __int128) b * b;
			/* (a 2^61 + b)^2 / 2^122 = a^2 + 2ab / 2^61 + b^2 / 2^122 */
			unsigned __int128 square = (unsigned __int128) a * a + ((2 * ab) >> 61);

			(void) bb;
			*x[k] = square + (k == 0 ? 0 : 2);
		}
		if ((lo >> 123) != (hi >> 123))
			return -1;
		digits <<= 1;
		if (lo >> 123)
		{
			digits |= 1;
			lo >>= 1;
			hi = (hi >> 1) + 1;
		}
	}
	return digits;
}

static void
bounds(void)
{
	int wrong = 0, undecided = 0;

	/* Both neighbours of every bound of the finest scale; bounds of others are among them. */
	for (int32_t i = 1; i < 1 << 20; i++)
	{
		double below = mdb_sketch_upper(i - 1, 20);
		double above = nextafter(below, 2);
		int64_t b = exact_index(below, 20), a = exact_index(above, 20);

		undecided += a < 0 || b < 0;
		wrong += b != i - 1 || a != i;
		wrong += mdb_sketch_index(below, 20) != i - 1 || mdb_sketch_index(above, 20) != i;
		if (i % 1024 == 0)
			wrong += mdb_sketch_index(below, 10) != i / 1024 - 1 || mdb_sketch_index(above, 10) != i / 1024;
		if (i % 16 == 0)
			wrong += mdb_sketch_index(below, 16) != i / 16 - 1 || mdb_sketch_index(above, 16) != i / 16;
	}
	CHECK(undecided == 0);
	CHECK(wrong == 0);

	/* OpenTelemetry's own examples, and the ends of the doubles. */
	CHECK(mdb_sketch_index(1, 0) == -1 && mdb_sketch_index(2, 0) == 0 &&
		  mdb_sketch_index(nextafter(2, 3), 0) == 1);
	CHECK(mdb_sketch_index(1, 3) == -1 && mdb_sketch_index(4, 1) == 3 && mdb_sketch_index(16, -1) == 1);
	CHECK(mdb_sketch_index(DBL_MAX, 0) == 1023 && mdb_sketch_index(DBL_MIN, 0) == -1023);
	CHECK(mdb_sketch_first_index(0) == -1075 && mdb_sketch_first_index(20) == -1074 * 1048576 - 1);
	CHECK(mdb_sketch_last_index(20) == 1024 * 1048576 - 1);
	CHECK(mdb_sketch_first_index(-10) == -2 && mdb_sketch_last_index(-10) == 0);
	CHECK(fabs(mdb_sketch_error(0) - 1.0 / 3) < 1e-15 && mdb_sketch_error(20) < 3.4e-7);
	CHECK(mdb_sketch_scale_for(0.01) == 6 && mdb_sketch_error(6) < 0.01 && mdb_sketch_error(5) > 0.01);

	wrong = 0;
	for (int i = 0; i < 300000; i++)
	{
		double v = fabs(as_double(random_bits()));
		int scale = MDB_SKETCH_SCALE_MIN + (int) dice(31);
		int32_t index;
		double lower, upper;

		if (dice(20) == 0)
			v = ldexp(1 + (dice(2) ? share() : 0), (int) dice(60) - 1080);
		if (!(v > 0 && v <= DBL_MAX))
			continue;
		index = mdb_sketch_index(v, scale);
		lower = mdb_sketch_lower(index, scale);
		upper = mdb_sketch_upper(index, scale);
		wrong += index != mdb_sketch_index(v, 20) >> (20 - scale);
		wrong += !(lower <= v && v <= upper);
		wrong += mdb_sketch_index(lower, scale) != index || mdb_sketch_index(upper, scale) != index;
		if (lower > DBL_TRUE_MIN)
			wrong += mdb_sketch_index(nextafter(lower, 0), scale) >= index;
		if (upper < DBL_MAX)
			wrong += mdb_sketch_index(nextafter(upper, INFINITY), scale) <= index;
	}
	CHECK(wrong == 0);
}

/* ---- the same values in any order, by any tree ---- */

static double
some_value(int shape)
{
	switch (shape)
	{
		case 0:
			return share() * 100;
		case 1:
			return 50 + share() * 1e-4;
		case 2:
			return (double) dice(5) - 2;
		case 3:
			return exp(share() * 40 - 20) * (dice(3) == 0 ? -1 : 1);
		case 4:
			return as_double(random_bits()); /* of any size, NaN, too */
		case 5:
			return -exp(share() * 3);
		case 6:
			return 42;
		default:
		{
			static const double odd[] = {INFINITY, -INFINITY, NAN, 0, -0.0, DBL_MAX, -DBL_TRUE_MIN, 1, -1};

			return odd[dice(9)];
		}
	}
}

static uint8_t *
bytes_of(MdbSketch *s, size_t *len)
{
	uint8_t *p = malloc(mdb_sketch_bound(s) + 1024);

	mdb_sketch_settle(s);
	p = realloc(p, mdb_sketch_bound(s));
	*len = mdb_sketch_write(s, p);
	CHECK(*len <= mdb_sketch_bound(s));
	return p;
}

/* By a random tree of merges; some of its nodes go through bytes. */
static void
build(MdbSketch *s, const double *values, uint32_t n, uint32_t max_buckets, int scale)
{
	begin(s, scale, max_buckets);
	if (n < 2 || dice(4) == 0)
	{
		uint32_t at = 0;
		uint8_t *valid = malloc(n + 1);

		while (at < n)
		{
			uint32_t run = 1 + dice(dice(2) ? 3 : n - at);

			run = run > n - at ? n - at : run;
			switch (dice(4))
			{
				case 0:
					CHECK(mdb_sketch_add_run(s, values + at, NULL, run));
					break;
				case 1: /* every other one, then the others */
					for (uint32_t i = 0; i < run; i++)
						valid[i] = i % 2;
					CHECK(mdb_sketch_add_run(s, values + at, valid, run));
					for (uint32_t i = 0; i < run; i++)
						valid[i] = !valid[i];
					CHECK(mdb_sketch_add_run(s, values + at, valid, run));
					break;
				case 2:
					for (uint32_t i = at; i < at + run; i++)
					{
						uint32_t same = 1;

						while (i + 1 < at + run && values[i + 1] == values[i] && dice(3))
						{
							same++;
							i++;
						}
						CHECK(mdb_sketch_add(s, values[i], same));
					}
					break;
				default:
					for (uint32_t i = at; i < at + run; i++)
						CHECK(mdb_sketch_add(s, values[i], 1));
					break;
			}
			at += run;
		}
		free(valid);
	}
	else
	{
		uint32_t cut = dice(n + 1);
		MdbSketch other;

		end(s);
		build(s, values, cut, dice(3) || max_buckets > 1000 ? max_buckets : max_buckets * 2, scale);
		build(&other, values + cut, n - cut, max_buckets, dice(3) || scale == 20 ? scale : scale + 1);
		CHECK(mdb_sketch_merge(s, &other));
		end(&other);
	}
	if (dice(3) == 0)
	{
		size_t len;
		uint8_t *p = bytes_of(s, &len);

		end(s);
		CHECK(mdb_sketch_read(s, p, len));
		free(p);
	}
}

static int
double_cmp(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;

	return x < y ? -1 : x > y;
}

/* The scale is the highest at which all values find room. */
static void
least_scale(const MdbSketch *s, const double *values, uint32_t n, int scale)
{
	int expected = scale;

	for (int side = 0; side < 2; side++)
	{
		int32_t lo = INT32_MAX, hi = INT32_MIN;

		for (uint32_t i = 0; i < n; i++)
			if (isfinite(values[i]) && (side == 0 ? values[i] > 0 : values[i] < 0))
			{
				int32_t index = mdb_sketch_index(fabs(values[i]), 20);

				lo = index < lo ? index : lo;
				hi = index > hi ? index : hi;
			}
		while (lo <= hi && (int64_t) (hi >> (20 - expected)) - (lo >> (20 - expected)) >= s->max_buckets)
			expected--;
	}
	CHECK(s->scale == expected);
}

static void
asking(const MdbSketch *s, double *values, uint32_t n)
{
	uint32_t m = 0;
	int wrong = 0;
	double error = mdb_sketch_error(s->scale);
	double last = -INFINITY;

	for (uint32_t i = 0; i < n; i++)
		if (!isnan(values[i]))
			values[m++] = values[i];
	CHECK(s->total == m && s->nan == n - m);
	if (m == 0)
		return;
	qsort(values, m, sizeof(double), double_cmp);
	CHECK(s->min == values[0] && s->max == values[m - 1] && !(s->min == 0 && signbit(s->min)));
	for (int i = 0; i <= 40; i++)
	{
		double p = i / 40.0;
		double place = ceil(p * m);
		double exact = values[place < 1 ? 0 : (uint32_t) place - 1];
		double told = mdb_sketch_quantile(s, p);

		/* Beside rounding, of the smallest numbers above all. */
		wrong += !(told == exact || fabs(told - exact) <= (error + 0x1p-51) * fabs(exact) + DBL_TRUE_MIN);
		wrong += told < last;
		last = told;
		if (isfinite(exact))
		{
			double rank = mdb_sketch_rank(s, exact);
			uint32_t below = 0, upto = 0;

			/* Only values of the same bucket are in doubt: those within twice the error and some. */
			for (uint32_t k = 0; k < m; k++)
			{
				below += values[k] < exact - fabs(exact) * 2.0001 * error / (1 - error) - DBL_TRUE_MIN;
				upto += values[k] <= exact + fabs(exact) * 2.0001 * error / (1 - error) + DBL_TRUE_MIN;
			}
			wrong += error < 0.3 && !(rank * m >= below - 1e-6 && rank * m <= upto + 1e-6);
		}
	}
	CHECK(wrong == 0);
}

static void
trees(void)
{
	for (int round = 0; round < 3000; round++)
	{
		uint32_t n = dice(dice(3) ? 40 : 3000);
		double *values = malloc((n + 1) * sizeof(double));
		uint32_t max_buckets = dice(3) == 0 ? MDB_SKETCH_BUCKETS_DEFAULT : 8 + dice(400);
		int scale = dice(2) ? MDB_SKETCH_SCALE_MAX : (int) dice(20);
		int shape = (int) dice(9);
		MdbSketch a, b;
		size_t alen, blen;
		uint8_t *abytes, *bbytes;

		for (uint32_t i = 0; i < n; i++)
			values[i] = some_value(shape == 8 ? (int) dice(8) : shape);
		begin(&a, scale, max_buckets);
		CHECK(mdb_sketch_add_run(&a, values, NULL, n));
		abytes = bytes_of(&a, &alen);
		for (uint32_t i = n; i > 1; i--)
		{
			uint32_t k = dice(i);
			double v = values[k];

			values[k] = values[i - 1];
			values[i - 1] = v;
		}
		build(&b, values, n, max_buckets, scale);
		/* A tree may have no node with the limits that it was to have in the end. */
		mdb_sketch_reduce(&b, scale);
		{
			MdbSketch limits;

			begin(&limits, scale, max_buckets);
			CHECK(mdb_sketch_merge(&b, &limits));
		}
		bbytes = bytes_of(&b, &blen);
		CHECK(alen == blen && memcmp(abytes, bbytes, alen) == 0);
		least_scale(&b, values, n, scale);
		asking(&b, values, n);
		CHECK(mdb_sketch_bytes(&a) <= 4 * 2 * max_buckets + 2 * MDB_SKETCH_RAW * sizeof(double));
		free(abytes);
		free(bbytes);
		free(values);
		end(&a);
		end(&b);
	}
}

/* ---- counts, limits, bytes ---- */

static void
counts(void)
{
	MdbSketch s, t;
	size_t len;
	uint8_t *p;

	begin(&s, 20, 160);
	CHECK(mdb_sketch_add(&s, 1, 65535) && s.width == 2);
	CHECK(mdb_sketch_add(&s, 1, 1) && s.width == 4 && mdb_sketch_count(&s, &s.pos, 0) == 65536);
	CHECK(mdb_sketch_add(&s, 2, UINT32_MAX) && s.width == 8 &&
		  mdb_sketch_count(&s, &s.pos, s.pos.n - 1) == UINT32_MAX);
	CHECK(mdb_sketch_add(&s, NAN, 7) && s.nan == 7);
	CHECK(!mdb_sketch_add(&s, 3, INT64_MAX) && !mdb_sketch_add(&s, 3, UINT64_MAX) &&
		  s.total == 65536 + (uint64_t) UINT32_MAX);
	CHECK(mdb_sketch_add(&s, 0, (uint64_t) INT64_MAX - s.total - s.nan) && s.total + s.nan == INT64_MAX);
	CHECK(!mdb_sketch_add(&s, 1, 1) && !mdb_sketch_add(&s, NAN, 1));
	begin(&t, 20, 160);
	CHECK(mdb_sketch_add(&t, 5, 1) && !mdb_sketch_merge(&s, &t) && !mdb_sketch_merge(&t, &s));
	CHECK(t.total == 1);
	p = bytes_of(&s, &len);
	end(&t);
	CHECK(mdb_sketch_read(&t, p, len) && t.total == s.total && t.zero == s.zero && t.nan == 7);
	for (size_t cut = 0; cut < len; cut++)
	{
		end(&t);
		CHECK(!mdb_sketch_read(&t, p, cut));
	}
	free(p);
	end(&s);
	end(&t);

	/* Thirty values are few bytes. */
	begin(&s, 20, 160);
	for (int i = 0; i < 30; i++)
		mdb_sketch_add(&s, 50 + 10 * sin(i), 1);
	p = bytes_of(&s, &len);
	CHECK(len < 90);
	printf("30 values: %zu bytes, scale %d\n", len, s.scale);
	free(p);
	end(&s);

	/* Buckets from elsewhere, those among the smallest numbers that have no double, too. */
	begin(&s, 20, 160);
	CHECK(mdb_sketch_add_bucket(&s, false, mdb_sketch_first_index(20) + 5, 20, 3));
	CHECK(mdb_sketch_add_bucket(&s, true, mdb_sketch_last_index(s.scale), s.scale, 2));
	p = bytes_of(&s, &len);
	CHECK(mdb_sketch_read(&t, p, len) && t.total == 5 && t.max == DBL_TRUE_MIN && t.min == -DBL_MAX);
	free(p);
	end(&s);
	end(&t);
}

int
main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	bounds();
	trees();
	counts();
	printf("%d passed, %d failed\n", passed, failed);
	return failed > 0;
}
