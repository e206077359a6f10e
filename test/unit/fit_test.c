/*
 * fit_test.c
 *	  Which parts may be merged, by every case of three parts of a few times, and by those at the ends.
 */
#include "write/fit.h"

#include <stdio.h>

#define TIMES 4 /* 0 .. TIMES - 1 */

static long passed, failed;

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

static bool
is_pending(const MdbFitPart *p, int64_t time)
{
	return p->pending && time >= p->from && (time < p->to || p->to == INT64_MAX);
}

/* Does an interval say of each part what the part's own does? */
static bool
agrees(const MdbFitPart *parts, int n, const MdbFitPart *with)
{
	for (int i = 0; i < n; i++)
		for (int64_t t = parts[i].time_min; t <= parts[i].time_max; t++)
			if (is_pending(&parts[i], t) != is_pending(with, t))
				return false;
	return true;
}

/* All intervals there are, tried one by one. */
static bool
some_agrees(const MdbFitPart *parts, int n)
{
	for (int from = -1; from <= TIMES; from++)
		for (int to = from; to <= TIMES + 1; to++)
		{
			MdbFitPart with = {.pending = from < to, .from = from, .to = to};

			if (agrees(parts, n, &with))
				return true;
		}
	return false;
}

/* The nth part of all that are possible; false if there are no more. */
static bool
part_number(int n, MdbFitPart *part)
{
	for (int min = 0; min < TIMES; min++)
		for (int max = min; max < TIMES; max++)
			for (int from = -1; from <= TIMES; from++)
				for (int to = from; to <= TIMES; to++)
				{
					if (n-- > 0)
						continue;
					part->time_min = min;
					part->time_max = max;
					part->pending = to >= 0;
					part->from = from < 0 ? INT64_MIN : from;
					part->to = to == TIMES ? INT64_MAX : to;
					return true;
				}
	return false;
}

static void
every_case(void)
{
	MdbFitPart parts[3];

	for (int i = 0; part_number(i, &parts[0]); i++)
		for (int j = 0; part_number(j, &parts[1]); j++)
			for (int k = i % 7; part_number(k, &parts[2]); k += 7)
			{
				MdbFitPart result = {0};
				bool fit = mdb_fit(parts, 3, &result);

				CHECK(fit == some_agrees(parts, 3));
				CHECK(!fit || agrees(parts, 3, &result));
			}
}

static void
live_data(void)
{
	/* applied, the one that is being applied, pending: as data come in order */
	MdbFitPart parts[] = {
		{.time_min = 100, .time_max = 199},
		{.time_min = 200, .time_max = 299, .pending = true, .from = 240, .to = INT64_MAX},
		{.time_min = 300, .time_max = 399, .pending = true, .from = INT64_MIN, .to = INT64_MAX},
		/* and one that came late */
		{.time_min = 150, .time_max = 399, .pending = true, .from = INT64_MIN, .to = INT64_MAX},
	};
	MdbFitPart r;

	CHECK(mdb_fit(parts, 3, &r) && r.pending && r.from == 240 && r.to == INT64_MAX);
	CHECK(!mdb_fit(parts, 4, &r));
	CHECK(mdb_fit(&parts[2], 2, &r) && r.pending && r.from == INT64_MIN && r.to == INT64_MAX);
	CHECK(mdb_fit(parts, 1, &r) && !r.pending);
	CHECK(!mdb_fit(&parts[1], 3, &r));
}

static void
ends_of_time(void)
{
	/* 'infinity' and '-infinity' are times like others. */
	MdbFitPart all = {
		.time_min = INT64_MIN, .time_max = INT64_MAX, .pending = true, .from = INT64_MIN, .to = INT64_MAX};
	MdbFitPart last = {.time_min = INT64_MAX, .time_max = INT64_MAX};
	MdbFitPart parts[2];
	MdbFitPart r;
	int64_t a, b;

	CHECK(mdb_fit(&all, 1, &r) && r.pending && r.from == INT64_MIN && r.to == INT64_MAX);
	CHECK(mdb_fit_cut(&all, &a, &b) && a == INT64_MIN && b == INT64_MAX);
	all.to = INT64_MIN;
	CHECK(!mdb_fit_cut(&all, &a, &b));
	/* All but the last time is pending. */
	parts[0] =
		(MdbFitPart){.time_min = 0, .time_max = INT64_MAX - 1, .pending = true, .from = 0, .to = INT64_MAX};
	parts[1] = last;
	CHECK(!mdb_fit(parts, 2, &r) || !is_pending(&r, INT64_MAX));
	parts[1].pending = true;
	parts[1].from = INT64_MAX;
	parts[1].to = INT64_MAX;
	CHECK(mdb_fit(parts, 2, &r) && is_pending(&r, INT64_MAX) && is_pending(&r, 0));
}

int
main(void)
{
	every_case();
	live_data();
	ends_of_time();
	printf("fit: %ld passed, %ld failed\n", passed, failed);
	return failed ? 1 : 0;
}
