/*
 * fuzz_sketch.c
 *	  Any bytes as a sketch of quantiles: what is read is written again as the same bytes, can be asked,
 *	  and merges with itself.
 */
#include "func/sketch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(x)                                                  \
	do                                                              \
	{                                                               \
		if (!(x))                                                   \
		{                                                           \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			abort();                                                \
		}                                                           \
	} while (0)

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *
grow(void *arg, void *old, size_t old_size, size_t size)
{
	void *p = malloc(size);

	(void) arg;
	REQUIRE(p != NULL && old_size <= size);
	if (old)
		memcpy(p, old, old_size);
	free(old);
	return p;
}

static void
end(MdbSketch *s)
{
	free(s->pos.counts);
	free(s->neg.counts);
	free(s->raw);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	MdbSketch s = {.grow = grow}, twice = {.grow = grow};
	uint8_t *in = malloc(size > 0 ? size : 1);

	REQUIRE(in != NULL);
	memcpy(in, data, size);
	if (mdb_sketch_read(&s, in, size))
	{
		uint8_t *out = malloc(mdb_sketch_bound(&s));

		REQUIRE(out != NULL && mdb_sketch_write(&s, out) == size && memcmp(in, out, size) == 0);
		free(out);
		if (s.total > 0)
		{
			double last = s.min;

			for (int i = 0; i <= 8; i++)
			{
				double v = mdb_sketch_quantile(&s, i / 8.0);

				REQUIRE(v >= last && v <= s.max);
				last = v;
				REQUIRE(mdb_sketch_rank(&s, v) >= 0 && mdb_sketch_rank(&s, v) <= 1 + 1e-9);
			}
			(void) mdb_sketch_mean(&s);
		}
		mdb_sketch_init(&twice, MDB_SKETCH_SCALE_MAX, MDB_SKETCH_BUCKETS_MAX);
		REQUIRE(mdb_sketch_merge(&twice, &s));
		REQUIRE(twice.total == s.total && twice.nan == s.nan && twice.scale <= s.scale);
		if (mdb_sketch_merge(&twice, &s))
			REQUIRE(twice.total == 2 * s.total && twice.pos.n == s.pos.n && twice.neg.n == s.neg.n);
		end(&twice);
	}
	end(&s);
	free(in);
	return 0;
}
