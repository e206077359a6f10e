/*
 * fuzz_postings.c
 *	  Fuzz target: a page of postings from any bytes.  What could be read is written again and must read alike.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "series/postings.h"

#define REQUIRE(x)   \
	do               \
	{                \
		if (!(x))    \
			abort(); \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *page = malloc(size ? size : 1);
	MdbPostingReader *r = malloc(sizeof(MdbPostingReader));
	MdbPostingReader *again = malloc(sizeof(MdbPostingReader));

	REQUIRE(page != NULL && r != NULL && again != NULL);
	memcpy(page, data, size);
	mdb_posting_begin(r, page, size);
	while (mdb_posting_next(r) == 1)
	{
		const uint64_t none = 0;
		uint32_t *ids = malloc(r->n * sizeof(uint32_t));
		uint32_t *back = malloc(r->n * sizeof(uint32_t));
		uint8_t *out = malloc(mdb_posting_bound(r->term_len, r->n));
		size_t len;

		REQUIRE(ids != NULL && back != NULL && out != NULL);
		REQUIRE(r->term_len <= MDB_TERM_MAX && r->n >= 1 && r->n <= MDB_POSTING_IDS_MAX);
		/* Reads as far as it has to: it may not see that what follows is damaged. */
		(void) mdb_posting_any(r, &none, UINT32_MAX - 63, UINT32_MAX);
		if (mdb_posting_ids(r, ids))
		{
			uint64_t bit = UINT64_C(1) << 5;

			REQUIRE(mdb_posting_any(r, &bit, ids[r->n - 1] - 5, ids[r->n - 1]) == 1);
			for (uint32_t i = 1; i < r->n; i++)
				REQUIRE(ids[i] > ids[i - 1]);
			len = mdb_posting_put(out, NULL, 0, r->term, r->term_len, ids, r->n);
			REQUIRE(len <= mdb_posting_bound(r->term_len, r->n));
			mdb_posting_begin(again, out, len);
			REQUIRE(mdb_posting_next(again) == 1 && again->n == r->n && again->term_len == r->term_len);
			REQUIRE(memcmp(again->term, r->term, r->term_len) == 0);
			REQUIRE(mdb_posting_ids(again, back) && memcmp(ids, back, r->n * sizeof(uint32_t)) == 0);
			REQUIRE(mdb_posting_next(again) == 0);
		}
		free(out);
		free(back);
		free(ids);
	}
	free(again);
	free(r);
	free(page);
	return 0;
}
