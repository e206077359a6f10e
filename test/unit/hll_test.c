/*
 * hll_test.c
 *	  Unit and property tests of HyperLogLog; needs no server.
 */
#include "func/hll.h"

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

static uint32_t
dice(uint32_t n)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t) (state >> 20) % n;
}

/* A hash of a number that is as good as random. */
static uint64_t
mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static void *
grow(void *arg, void *old, size_t old_size, size_t size)
{
	void *p = malloc(size);

	(void) arg;
	if (old)
		memcpy(p, old, old_size);
	free(old);
	return p;
}

static void
end(MdbHll *h)
{
	free(h->dense);
	free(h->sparse);
}

/* Of the numbers from first to first + n - 1, each some times, by a random tree of merges. */
static void
build(MdbHll *h, int bits, uint64_t first, uint32_t n)
{
	h->grow = grow;
	mdb_hll_init(h, bits);
	if (n < 2 || dice(3) == 0)
	{
		for (uint32_t i = 0; i < n; i++)
			for (uint32_t k = dice(10) ? 1 : 3; k > 0; k--)
				mdb_hll_add(h, mix(first + n - 1 - i));
	}
	else
	{
		uint32_t cut = dice(n + 1), shared = dice(cut + 1);
		MdbHll other;

		build(h, bits, first, cut);
		build(&other, bits, first + shared, n - shared);
		mdb_hll_merge(h, &other);
		end(&other);
	}
	if (dice(3) == 0)
	{
		uint8_t *p = malloc(mdb_hll_bound(h));
		size_t len = mdb_hll_write(h, p);

		end(h);
		CHECK(mdb_hll_read(h, p, len));
		free(p);
	}
}

static void
trees(void)
{
	for (int round = 0; round < 1000; round++)
	{
		int bits = MDB_HLL_BITS_MIN + (int) dice(10);
		uint32_t n = dice(dice(3) ? 100 : 20000);
		uint64_t first = (uint64_t) round << 32;
		MdbHll a = {.grow = grow}, b;
		uint8_t *abytes = malloc(((size_t) 1 << bits) + 16), *bbytes = malloc(((size_t) 1 << bits) + 16);
		size_t alen, blen;

		mdb_hll_init(&a, bits);
		for (uint32_t i = 0; i < n; i++)
			mdb_hll_add(&a, mix(first + i));
		build(&b, bits, first, n);
		alen = mdb_hll_write(&a, abytes);
		blen = mdb_hll_write(&b, bbytes);
		CHECK(alen == blen && memcmp(abytes, bbytes, alen) == 0);
		CHECK(alen <= mdb_hll_bound(&a) && (n > 10 || alen <= 3 + 4 * n));
		CHECK(mdb_hll_estimate(&a) == mdb_hll_estimate(&b));
		/* Six standard errors, and what two values in one register cost among few. */
		CHECK(fabs(mdb_hll_estimate(&a) - n) <= 6 * 1.04 / sqrt(1 << bits) * n + 3);
		end(&b);
		for (size_t cut = 0; cut < 3; cut++)
		{
			CHECK(!mdb_hll_read(&b, abytes, cut));
		}
		free(abytes);
		free(bbytes);
		end(&a);
	}
}

/* Over many sets the error is what it is said to be. */
static void
error(void)
{
	static const uint32_t sizes[] = {10, 300, 3000, 100000};

	for (int k = 0; k < 4; k++)
	{
		double squares = 0, sum = 0;

		for (int round = 0; round < 200; round++)
		{
			MdbHll h = {.grow = grow};
			double off;

			mdb_hll_init(&h, 10);
			for (uint32_t i = 0; i < sizes[k]; i++)
				mdb_hll_add(&h, mix(((uint64_t) (k * 200 + round) << 40) + i));
			off = mdb_hll_estimate(&h) / sizes[k] - 1;
			squares += off * off;
			sum += off;
			end(&h);
		}
		CHECK(sqrt(squares / 200) < 1.2 * 1.04 / 32);
		CHECK(fabs(sum / 200) < 0.01);
	}
}

int
main(void)
{
	trees();
	error();
	printf("%d passed, %d failed\n", passed, failed);
	return failed > 0;
}
