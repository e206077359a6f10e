/*
 * fuzz_hll.c
 *	  Any bytes as a HyperLogLog: what is read is written again as the same bytes, can be asked,
 *	  and merges with itself.
 */
#include "func/hll.h"

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
end(MdbHll *h)
{
	free(h->dense);
	free(h->sparse);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	MdbHll h = {.grow = grow}, twice = {.grow = grow};
	uint8_t *in = malloc(size > 0 ? size : 1);

	REQUIRE(in != NULL);
	memcpy(in, data, size);
	if (mdb_hll_read(&h, in, size))
	{
		uint8_t *out = malloc(mdb_hll_bound(&h));
		double n = mdb_hll_estimate(&h);

		REQUIRE(out != NULL && mdb_hll_write(&h, out) == size && memcmp(in, out, size) == 0);
		REQUIRE(n >= 0);
		mdb_hll_init(&twice, h.bits);
		mdb_hll_merge(&twice, &h);
		mdb_hll_merge(&twice, &h);
		REQUIRE(mdb_hll_write(&twice, out) == size && memcmp(in, out, size) == 0);
		free(out);
		end(&twice);
	}
	end(&h);
	free(in);
	return 0;
}
