/*
 * fuzz_cardinality.c
 *	  libFuzzer target for what the cardinality guard reads of its books: any bytes for a sketch.  What was taken,
 *	  saved and taken again is the same.
 */
#include <stdlib.h>
#include <string.h>

#include "series/cardinality.h"

#define REQUIRE(cond) \
	do                \
	{                 \
		if (!(cond))  \
			abort();  \
	} while (0)

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *
get(void *arg, size_t size)
{
	(void) arg;
	return calloc(1, size);
}

static void
drop(void *arg, void *p)
{
	(void) arg;
	free(p);
}

static MdbCardMetric *
metric_of(MdbCard **card)
{
	const MdbCardMemory memory = {get, drop, NULL};
	bool made;

	if (*card == NULL)
		*card = mdb_card_create(&memory);
	mdb_card_reset(*card);
	return mdb_card_metric(*card, (MdbCardBytes){"m", 1}, &made);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static MdbCard *one, *other;
	static uint8_t saved[MDB_CARD_SKETCH_MAX], again[MDB_CARD_SKETCH_MAX];
	MdbCardMetric *a = metric_of(&one), *b = metric_of(&other);
	MdbCardBytes tag;
	size_t n;

	/* What makes no sense may have been taken in part. */
	(void) mdb_card_merge(one, a, data, size);
	n = mdb_card_save(a, saved);
	REQUIRE(n <= sizeof(saved));
	REQUIRE(mdb_card_merge(other, b, saved, n));
	REQUIRE(mdb_card_save(b, again) == n && memcmp(saved, again, n) == 0);
	REQUIRE(mdb_card_top(a, &tag) >= 0);
	return 0;
}
