/*
 * postings_test.c
 *	  Unit and property tests of the postings' bytes; needs no server.
 */
#include "series/postings.h"

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

typedef struct Item
{
	uint8_t term[MDB_TERM_MAX];
	uint32_t len;
	uint32_t n;
	uint32_t *ids;
} Item;

static int
item_cmp(const void *a, const void *b)
{
	const Item *x = a, *y = b;

	return mdb_term_cmp(x->term, x->len, y->term, y->len);
}

/* Rising ids of some shape. */
static void
make_ids(Item *item, int shape)
{
	uint64_t id = dice(shape == 3 ? 1U << 31 : 1000);

	item->n = 1 + dice(dice(2) ? 5 : dice(8) ? 600 : MDB_POSTING_IDS_MAX);
	item->ids = malloc(item->n * sizeof(uint32_t));
	for (uint32_t i = 0; i < item->n; i++)
	{
		item->ids[i] = (uint32_t) id;
		id += shape == 0 ? 1 : shape == 1 ? 10 : shape == 2 ? 1 + dice(100) : 1 + dice(400000);
		if (id > UINT32_MAX)
			item->n = i + 1;
	}
	if (dice(20) == 0 && item->ids[item->n - 1] < UINT32_MAX)
		item->ids[item->n - 1] = UINT32_MAX;
}

/* Is one of an entry's ids among some others?  Said as it is, for ids that are there and ids beside them. */
static bool
finds_any(const MdbPostingReader *r, const uint32_t *ids)
{
	uint32_t base = ids[dice(r->n)] - dice(3), span = dice(1000);
	uint32_t last = span > UINT32_MAX - base ? UINT32_MAX : base + span;
	uint64_t bits[1000 / 64 + 1] = {0};
	bool any = false;

	for (int i = 0; i < 3; i++)
	{
		uint32_t at = dice(last - base + 1);

		bits[at / 64] |= UINT64_C(1) << at % 64;
	}
	for (uint32_t i = 0; i < r->n; i++)
		any |= ids[i] >= base && ids[i] <= last && (bits[(ids[i] - base) / 64] >> (ids[i] - base) % 64 & 1);
	return mdb_posting_any(r, bits, base, last) == any;
}

static void
round_trip(void)
{
	int count = 1 + (int) dice(60);
	Item *items = calloc((size_t) count, sizeof(Item));
	size_t room = 0, len = 0;
	uint8_t *page, *cut;
	MdbPostingReader *r = malloc(sizeof(MdbPostingReader));
	uint32_t *ids = malloc(MDB_POSTING_IDS_MAX * sizeof(uint32_t));
	bool same = true;

	for (int i = 0; i < count; i++)
	{
		items[i].len = dice(dice(10) == 0 ? MDB_TERM_MAX + 1 : 20);
		for (uint32_t k = 0; k < items[i].len; k++)
			items[i].term[k] = (uint8_t) dice(dice(2) ? 2 : 256);
		make_ids(&items[i], (int) dice(4));
		room += mdb_posting_bound(items[i].len, items[i].n);
	}
	qsort(items, (size_t) count, sizeof(Item), item_cmp);
	page = malloc(room);
	for (int i = 0; i < count; i++)
	{
		const Item *prev = i > 0 ? &items[i - 1] : NULL;
		size_t n = mdb_posting_put(page + len, prev ? prev->term : NULL, prev ? prev->len : 0, items[i].term,
								   items[i].len, items[i].ids, items[i].n);

		CHECK(n <= mdb_posting_bound(items[i].len, items[i].n));
		len += n;
	}
	/* In memory of just its length, so that a sanitizer sees what is read beyond. */
	cut = malloc(len);
	memcpy(cut, page, len);
	mdb_posting_begin(r, cut, len);
	for (int i = 0; i < count && same; i++)
	{
		same = mdb_posting_next(r) == 1 && r->term_len == items[i].len &&
			   memcmp(r->term, items[i].term, r->term_len) == 0 && r->n == items[i].n &&
			   mdb_posting_ids(r, ids) && memcmp(ids, items[i].ids, r->n * sizeof(uint32_t)) == 0 &&
			   finds_any(r, ids) && finds_any(r, ids);
	}
	CHECK(same);
	CHECK(mdb_posting_next(r) == 0);
	free(cut);

	/* Cut short, or changed, it is read to its end or found damaged. */
	for (int i = 0; i < 20; i++)
	{
		size_t part = dice((uint32_t) len + 1);
		int more;

		cut = malloc(part ? part : 1);
		memcpy(cut, page, part);
		if (part > 0 && dice(2))
			cut[dice((uint32_t) part)] ^= (uint8_t) (1 << dice(8));
		mdb_posting_begin(r, cut, part);
		while ((more = mdb_posting_next(r)) == 1)
			if (mdb_posting_ids(r, ids))
				for (uint32_t k = 1; k < r->n; k++)
					same &= ids[k] > ids[k - 1];
		CHECK(same && more <= 0);
		free(cut);
	}
	for (int i = 0; i < count; i++)
		free(items[i].ids);
	free(items);
	free(page);
	free(ids);
	free(r);
}

static void
sizes(void)
{
	uint32_t ids[1000];
	uint8_t out[8192];

	for (uint32_t i = 0; i < 1000; i++)
		ids[i] = 7 + i;
	CHECK(mdb_posting_put(out, NULL, 0, (const uint8_t *) "abc", 3, ids, 1000) == 2 + 3 + 2 + 1 + 8 * 2);
	for (uint32_t i = 0; i < 1000; i++)
		ids[i] = 7 + 300 * i;
	CHECK(mdb_posting_put(out, NULL, 0, (const uint8_t *) "abc", 3, ids, 1000) == 2 + 3 + 2 + 1 + 8 * 3);
	CHECK(mdb_posting_put(out, (const uint8_t *) "abd", 3, (const uint8_t *) "abc", 3, ids, 1) ==
		  2 + 1 + 1 + 1);
	CHECK(mdb_term_cmp("a", 1, "ab", 2) < 0 && mdb_term_cmp("b", 1, "ab", 2) > 0 &&
		  mdb_term_cmp("ab", 2, "ab", 2) == 0 && mdb_term_cmp("\xff", 1, "a", 1) > 0);
}

int
main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 400;

	sizes();
	for (int i = 0; i < rounds; i++)
		round_trip();
	printf("%d passed, %d failed\n", passed, failed);
	return failed != 0;
}
