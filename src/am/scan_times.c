/*
 * scan_times.c
 *	  Sets of times, and which times of each part a scan lets through.
 *
 * A set is an array of ranges in order that neither overlap nor touch.  Both ends are inclusive, as infinity is a
 * time, too.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "am/am.h"

static int
range_cmp(const void *a, const void *b)
{
	const MdbTimeRange *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

/*
 * mdb_time_set_make - the set of the times in some ranges, which are put in order and joined where they lie.  Those
 * that end before they begin are empty.
 */
MdbTimeSet
mdb_time_set_make(MdbTimeRange *ranges, int n, bool no_time)
{
	int count = 0;

	if (n > 1)
		qsort(ranges, n, sizeof(MdbTimeRange), range_cmp);
	for (int i = 0; i < n; i++)
	{
		MdbTimeRange *end = count > 0 ? &ranges[count - 1] : NULL;

		if (ranges[i].first > ranges[i].last)
			continue;
		if (end && (end->last == PG_INT64_MAX || ranges[i].first <= end->last + 1))
			end->last = Max(end->last, ranges[i].last);
		else
			ranges[count++] = ranges[i];
	}
	return (MdbTimeSet){.n = count, .ranges = ranges, .no_time = no_time};
}

/*
 * mdb_time_set_and, _or, _not - what is in both sets, in one of them, not in it.  In CurrentMemoryContext.
 */
MdbTimeSet
mdb_time_set_and(const MdbTimeSet *a, const MdbTimeSet *b)
{
	MdbTimeRange *ranges = palloc(sizeof(MdbTimeRange) * (Max(1, a->n + b->n)));
	int n = 0;

	for (int i = 0, j = 0; i < a->n && j < b->n;)
	{
		int64 first = Max(a->ranges[i].first, b->ranges[j].first);
		int64 last = Min(a->ranges[i].last, b->ranges[j].last);

		if (first <= last)
			ranges[n++] = (MdbTimeRange){.first = first, .last = last};
		if (a->ranges[i].last < b->ranges[j].last)
			i++;
		else
			j++;
	}
	return (MdbTimeSet){.n = n, .ranges = ranges, .no_time = a->no_time && b->no_time};
}

MdbTimeSet
mdb_time_set_or(const MdbTimeSet *a, const MdbTimeSet *b)
{
	MdbTimeRange *ranges = palloc(sizeof(MdbTimeRange) * (Max(1, a->n + b->n)));

	memcpy(ranges, a->ranges, sizeof(MdbTimeRange) * a->n);
	memcpy(ranges + a->n, b->ranges, sizeof(MdbTimeRange) * b->n);
	return mdb_time_set_make(ranges, a->n + b->n, a->no_time || b->no_time);
}

MdbTimeSet
mdb_time_set_not(const MdbTimeSet *a)
{
	MdbTimeRange *ranges = palloc(sizeof(MdbTimeRange) * (a->n + 1));
	int64 next = PG_INT64_MIN;
	bool over = false;
	int n = 0;

	for (int i = 0; i < a->n; i++)
	{
		if (a->ranges[i].first > next)
			ranges[n++] = (MdbTimeRange){.first = next, .last = a->ranges[i].first - 1};
		over = a->ranges[i].last == PG_INT64_MAX;
		next = over ? PG_INT64_MAX : a->ranges[i].last + 1;
	}
	if (!over)
		ranges[n++] = (MdbTimeRange){.first = next, .last = PG_INT64_MAX};
	return (MdbTimeSet){.n = n, .ranges = ranges, .no_time = !a->no_time};
}

/* The first range that does not end before a time; n if there is none. */
static inline int
first_range(const MdbTimeSet *set, int64 time)
{
	int lo = 0, hi = set->n;

	while (lo < hi)
	{
		int mid = lo + (hi - lo) / 2;

		if (set->ranges[mid].last < time)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/*
 * mdb_time_set_near - of a set, the ranges that some of the times from first to last are in.  Shares their memory.
 */
MdbTimeSet
mdb_time_set_near(const MdbTimeSet *a, int64 first, int64 last)
{
	int begin = first_range(a, first), end = first_range(a, last);

	if (end < a->n && a->ranges[end].first <= last)
		end++;
	return (MdbTimeSet){.n = Max(0, end - begin), .ranges = a->ranges + begin, .no_time = a->no_time};
}

/*
 * mdb_time_set_touches - is a time from first to last in the set?
 */
bool
mdb_time_set_touches(const MdbTimeSet *set, int64 first, int64 last)
{
	int i = first_range(set, first);

	return first <= last && i < set->n && set->ranges[i].first <= last;
}

/*
 * mdb_time_set_covers - are all of them?
 */
bool
mdb_time_set_covers(const MdbTimeSet *set, int64 first, int64 last)
{
	int i = first_range(set, first);

	return i < set->n && set->ranges[i].first <= first && set->ranges[i].last >= last;
}

/*
 * mdb_time_set_has - is a time in the set?
 */
bool
mdb_time_set_has(const MdbTimeSet *set, int64 time)
{
	return mdb_time_set_covers(set, time, time);
}

/*
 * mdb_time_set_leave_out - set out[i] to 1 for times that are not in the set, and leave it as it is for others.
 */
void
mdb_time_set_leave_out(const MdbTimeSet *set, const int64 *times, uint32 n, uint8 *out)
{
	/* Times for which the answer is the same as for the last one. */
	int64 lo = PG_INT64_MAX, hi = PG_INT64_MIN;
	uint8 outside = 1;

	if (set->n == 1)
	{
		int64 first = set->ranges[0].first, last = set->ranges[0].last;

		for (uint32 i = 0; i < n; i++)
			out[i] |= (times[i] < first) | (times[i] > last);
		return;
	}
	for (uint32 i = 0; i < n; i++)
	{
		if (times[i] < lo || times[i] > hi)
		{
			int r = first_range(set, times[i]);

			outside = r == set->n || set->ranges[r].first > times[i];
			if (outside)
			{
				lo = r > 0 ? set->ranges[r - 1].last + 1 : PG_INT64_MIN;
				hi = r < set->n ? set->ranges[r].first - 1 : PG_INT64_MAX;
			}
			else
			{
				lo = set->ranges[r].first;
				hi = set->ranges[r].last;
			}
		}
		out[i] |= outside;
	}
}

/*
 * mdb_part_times_find - what of a part is let through; nothing of one that is not listed.
 */
const MdbTimeSet *
mdb_part_times_find(MdbPartTimes *times, int64 part_id)
{
	static const MdbTimeSet nothing = {0};
	int lo = 0, hi = times->count;

	if (times->last < times->count && times->part_ids[times->last] == part_id)
		return &times->sets[times->last];
	while (lo < hi)
	{
		int mid = lo + (hi - lo) / 2;

		if (times->part_ids[mid] < part_id)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == times->count || times->part_ids[lo] != part_id)
		return &nothing;
	times->last = lo;
	return &times->sets[lo];
}

/*
 * mdb_filter_outside_time - can no row of a part, or of one of its blocks, pass a filter by its time?  Their times
 * are from first to last, or they have none.  *check, unless NULL: else some may not.
 */
bool
mdb_filter_outside_time(const MdbScanFilter *filter, int64 part_id, bool has_time, int64 first, int64 last,
						bool *check)
{
	const MdbTimeSet *set;

	if (check)
		*check = false;
	if (filter->has_time)
	{
		if (!has_time || last < filter->time_min || first > filter->time_max)
			return true;
		if (check)
			*check = first < filter->time_min || last > filter->time_max;
		first = Max(first, filter->time_min);
		last = Min(last, filter->time_max);
	}
	if (filter->part_times == NULL)
		return false;
	set = mdb_part_times_find(filter->part_times, part_id);
	if (!has_time)
		return !set->no_time;
	if (!mdb_time_set_touches(set, first, last))
		return true;
	if (check)
		*check = *check || !mdb_time_set_covers(set, first, last);
	return false;
}
