/*
 * cardinality_test.c
 *	  The arithmetic of the cardinality guard, without a server.
 */
#include "series/cardinality.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed;
static long allocated; /* pieces that are not freed */
static size_t bytes;

#define CHECK(condition)                                           \
	do                                                             \
	{                                                              \
		if (condition)                                             \
			passed++;                                              \
		else                                                       \
		{                                                          \
			failed++;                                              \
			printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
		}                                                          \
	} while (0)

static void *
get(void *arg, size_t size)
{
	allocated++;
	bytes += size;
	return calloc(1, size ? size : 1);
}

static void
drop(void *arg, void *p)
{
	allocated--;
	free(p);
}

static const MdbCardMemory memory = {get, drop, NULL};

static MdbCardBytes
text(const char *s)
{
	return (MdbCardBytes){s, strlen(s)};
}

/* The metric of that name, limited when it is made. */
static MdbCardMetric *
metric(MdbCard *card, const char *name, int64_t limit, MdbCardAction action)
{
	bool made;
	MdbCardMetric *m = mdb_card_metric(card, text(name), &made);

	if (made)
	{
		m->rule.limit = limit;
		m->rule.action = action;
	}
	return m;
}

static void
look(MdbCard *card, MdbCardMetric *m, long i, long hosts)
{
	char host[32], id[32];
	MdbCardTag tags[3] = {{text("dc"), text("eu")}, {text("host"), {host, 0}}, {text("id"), {id, 0}}};

	tags[1].value.len = (size_t) sprintf(host, "h%ld", i % hosts);
	tags[2].value.len = (size_t) sprintf(id, "%ld", i);
	mdb_card_look(card, m, 3, tags);
}

static void
limits(void)
{
	MdbCard *card = mdb_card_create(&memory);
	MdbCardMetric *m = metric(card, "m", 10, MDB_CARD_REJECT);
	MdbCardMetric *d = metric(card, "d", 10, MDB_CARD_DROP_TAG);
	MdbCardMetric *u = metric(card, "u", MDB_CARD_UNLIMITED, MDB_CARD_REJECT);
	int admitted = 0;
	bool made;

	CHECK(mdb_card_metric(card, text("m"), &made) == m && !made);
	for (int i = 0; i < 25; i++)
		admitted += mdb_card_admit(m) == MDB_CARD_ADMITTED;
	CHECK(admitted == 10 && m->pending == 10 && m->refused == 15 && mdb_card_closed(m));
	/* Those of others count. */
	m->pending = 0;
	m->used = 7;
	CHECK(mdb_card_left(m) == 3);
	for (int i = 0; i < 3; i++)
		CHECK(mdb_card_admit(m) == MDB_CARD_ADMITTED);
	CHECK(mdb_card_admit(m) == MDB_CARD_REFUSED);
	/* Without the tag as many again, and no more. */
	for (int i = 0; i < 10; i++)
		CHECK(mdb_card_admit(d) == MDB_CARD_ADMITTED);
	CHECK(mdb_card_admit(d) == MDB_CARD_REDUCE);
	for (int i = 0; i < 10; i++)
		CHECK(mdb_card_admit_reduced(d));
	CHECK(!mdb_card_admit_reduced(d) && d->pending == 20 && d->refused == 1);
	for (int i = 0; i < 1000; i++)
		CHECK(mdb_card_admit(u) == MDB_CARD_ADMITTED);
	CHECK(mdb_card_left(u) == INT64_MAX);
	/* 0 lets none in. */
	CHECK(mdb_card_admit(metric(card, "zero", 0, MDB_CARD_REJECT)) == MDB_CARD_REFUSED);
	mdb_card_reset(card);
	CHECK(mdb_card_admit(metric(card, "m", 1, MDB_CARD_REJECT)) == MDB_CARD_ADMITTED);
}

/* Names without end: bounded memory, and a limit that all together share. */
static void
names(void)
{
	MdbCard *card = mdb_card_create(&memory);
	long admitted = 0, seen = 0;
	uint32_t at = 0;
	size_t before;
	MdbCardMetric *m;

	for (long i = 0; i < MDB_CARD_METRICS; i++)
	{
		char name[32];

		sprintf(name, "metric %ld", i);
		m = metric(card, name, 5, MDB_CARD_REJECT);
		look(card, m, i, 1);
		admitted += mdb_card_admit(m) == MDB_CARD_ADMITTED;
	}
	CHECK(admitted == MDB_CARD_METRICS);
	before = bytes;
	admitted = 0;
	for (long i = 0; i < 1000000; i++)
	{
		char name[32];

		sprintf(name, "further %ld", i);
		m = metric(card, name, 5, MDB_CARD_REJECT);
		look(card, m, i, 1);
		admitted += mdb_card_admit(m) == MDB_CARD_ADMITTED;
	}
	CHECK(admitted == 5);
	CHECK(bytes - before < 4000000);
	while ((m = mdb_card_next(card, &at)) != NULL)
		seen++;
	CHECK(seen == MDB_CARD_METRICS + 1);
	mdb_card_reset(card);
	CHECK(allocated < 20000);
}

static int
near(int64_t is, double should, double by)
{
	return is > should * (1 - by) && is < should * (1 + by);
}

static void
estimates(void)
{
	MdbCard *card = mdb_card_create(&memory);
	MdbCard *other = mdb_card_create(&memory);
	static uint8_t saved[MDB_CARD_SKETCH_MAX];
	MdbCardBytes tag;

	for (long n = 1; n <= 1000000; n *= 10)
	{
		char name[32];
		MdbCardMetric *m;
		MdbCardMetric *half;
		size_t len;

		sprintf(name, "m%ld", n);
		m = metric(card, name, MDB_CARD_UNLIMITED, MDB_CARD_REJECT);
		half = metric(other, name, MDB_CARD_UNLIMITED, MDB_CARD_REJECT);
		CHECK(mdb_card_top(m, &tag) == 0 && tag.data == NULL);
		for (long i = 0; i < n; i++)
		{
			look(card, m, i, 10);
			/* What two have seen, apart */
			look(other, half, i + n / 2, 10);
		}
		CHECK(near(mdb_card_top(m, &tag), (double) n, n < 100 ? 0.02 : 0.15));
		CHECK(n < 100 || (tag.len == 2 && memcmp(tag.data, "id", 2) == 0));
		len = mdb_card_save(m, saved);
		CHECK(len <= sizeof(saved));
		CHECK(mdb_card_merge(other, half, saved, len));
		CHECK(near(mdb_card_top(half, &tag), (double) (n + n / 2), n < 100 ? 0.02 : 0.15));
		/* Once more changes nothing. */
		len = (size_t) mdb_card_top(half, &tag);
		CHECK(mdb_card_merge(other, half, saved, mdb_card_save(m, saved)));
		CHECK((size_t) mdb_card_top(half, &tag) == len);
	}
	/* After very many refusals only the tag that grew most is looked at; it goes on. */
	{
		MdbCardMetric *m = metric(card, "flood", 0, MDB_CARD_REJECT);

		for (long i = 0; i < 1000000; i++)
		{
			mdb_card_admit(m);
			look(card, m, i, 10);
		}
		CHECK(near(mdb_card_top(m, &tag), 1000000, 0.15) && memcmp(tag.data, "id", 2) == 0);
	}
	/* The names of tags explode. */
	{
		MdbCardMetric *m = metric(card, "tags", MDB_CARD_UNLIMITED, MDB_CARD_REJECT);

		for (long i = 0; i < 5000; i++)
		{
			char name[32];
			MdbCardTag one = {{name, 0}, text("x")};

			one.key.len = (size_t) sprintf(name, "tag %ld", i);
			mdb_card_look(card, m, 1, &one);
		}
		CHECK(near(mdb_card_top(m, &tag), 4969, 0.15) && memcmp(tag.data, "(further tags)", tag.len) == 0);
	}
	/* Few grow much among many that grow little: those get the sketches. */
	{
		MdbCard *many = mdb_card_create(&memory);
		MdbCardMetric *m;

		for (long i = 0; i < 2000; i++)
		{
			char name[32];

			sprintf(name, "small %ld", i);
			m = metric(many, name, 100, MDB_CARD_REJECT);
			mdb_card_admit(m);
			look(many, m, i, 1);
		}
		m = metric(many, "large", 100000, MDB_CARD_REJECT);
		for (long i = 0; i < 10000; i++)
		{
			mdb_card_admit(m);
			look(many, m, i, 1);
		}
		CHECK(near(mdb_card_top(m, &tag), 10000, 0.15));
	}
}

/* Bytes that make no sense are not believed, and do no harm. */
static void
damage(void)
{
	MdbCard *card = mdb_card_create(&memory);
	MdbCardMetric *m = metric(card, "m", MDB_CARD_UNLIMITED, MDB_CARD_REJECT);
	static uint8_t good[MDB_CARD_SKETCH_MAX], bad[MDB_CARD_SKETCH_MAX];
	size_t len;
	int refused = 0;

	for (long i = 0; i < 100; i++)
		look(card, m, i, 10);
	len = mdb_card_save(m, good);
	for (size_t cut = 0; cut < len; cut++)
	{
		uint8_t *copy = malloc(cut ? cut : 1);

		memcpy(copy, good, cut);
		refused += !mdb_card_merge(card, m, copy, cut);
		free(copy);
	}
	CHECK(refused == (int) len);
	srand(1);
	for (int i = 0; i < 200000; i++)
	{
		memcpy(bad, good, len);
		for (int k = rand() % 4; k >= 0; k--)
			bad[(size_t) rand() % len] = (uint8_t) rand();
		mdb_card_merge(card, m, bad, len);
	}
	CHECK(!mdb_card_merge(card, m, (const uint8_t *) "\2\1", 2));
}

/* What was saved and is taken by another has the same tags, whatever they are called. */
static void
tag_names(void)
{
	MdbCard *card = mdb_card_create(&memory);
	MdbCard *other = mdb_card_create(&memory);
	static uint8_t saved[MDB_CARD_SKETCH_MAX], again[MDB_CARD_SKETCH_MAX];
	char name[200];
	size_t len;

	for (int kind = 0; kind < 4; kind++)
	{
		MdbCardMetric *m, *n;

		sprintf(name, "m%d", kind);
		m = metric(card, name, MDB_CARD_UNLIMITED, MDB_CARD_REJECT);
		n = metric(other, name, MDB_CARD_UNLIMITED, MDB_CARD_REJECT);
		for (int i = 0; i < 40; i++)
		{
			char value[32];
			MdbCardTag tag = {{name, 0}, {value, 0}};

			tag.value.len = (size_t) sprintf(value, "value %d", i);
			switch (kind)
			{
				case 0: /* differ after what is kept of them */
					tag.key.len = (size_t) sprintf(name, "%0*d%d", 70, 0, i);
					break;
				case 1: /* nothing is kept of them */
					memset(name, 0x80, 100);
					name[99] = (char) i;
					tag.key.len = 100;
					break;
				case 2: /* one bears the name that others share */
					tag.key.len =
						(size_t) (i == 3 ? sprintf(name, "(further tags)") : sprintf(name, "tag %d", i));
					break;
				default:
					tag.key.len = (size_t) (i % 7);
					memset(name, 'x', tag.key.len);
			}
			mdb_card_look(card, m, 1, &tag);
		}
		len = mdb_card_save(m, saved);
		CHECK(mdb_card_merge(other, n, saved, len));
		CHECK(mdb_card_save(n, again) == len && memcmp(saved, again, len) == 0);
	}
}

static void
clips(void)
{
	CHECK(mdb_card_clip("abc", 3, 10) == 3);
	CHECK(mdb_card_clip("abcdef", 6, 4) == 4);
	CHECK(mdb_card_clip("ab\xc3\xa4", 4, 3) == 2);
	CHECK(mdb_card_clip("a\xe2\x82\xac", 4, 3) == 1);
	CHECK(mdb_card_clip("\x80\x80\x80", 3, 2) == 0);
}

int
main(void)
{
	limits();
	names();
	estimates();
	damage();
	tag_names();
	clips();
	printf("%d passed, %d failed\n", passed, failed);
	return failed > 0;
}
