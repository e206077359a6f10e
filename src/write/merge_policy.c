/*
 * merge_policy.c
 *	  Which parts are merged next.
 *
 * Within a partition of time parts have levels: 0 as written, one more than its inputs' after each
 * merge.  Once a level has enough parts, the oldest of them become one of the next level, so that a
 * row is written once a level, and so that whatever is in a level was written before what is in the
 * one below.  Behind a writer that is faster than we are, more are taken at once.
 *
 * A part of half of what a merge may make is full, and is merged no more.  Below that, parts of the
 * level that would together exceed a merge's bounds are merged when they fill one, not only when they
 * are enough.
 *
 * In a partition that rests the newest parts are merged as long as the next older one is not much
 * larger than they are together; the longer it rests, the larger it may be.  So late rows do not have
 * a day written anew each time that some come, and a day that is over becomes one part, or some full
 * ones.
 *
 * Cold parts are those that were written as small as can be.  A partition to which nothing was added for
 * metricsdb.cold_after, and a full part as old as that, become so, once: merges that take in a cold part
 * make one, and in a partition that rests none is merged again for the sake of much smaller ones.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "write/merge.h"

/* Parts of a level that become one of the next. */
#define FANIN_LEVEL_0 16
#define FANIN         12

/* So many times that many wait for aggregates that have not taken the same of them. */
#define WAIT_FACTOR 2

/* So many times as large as the newer ones together may the next older part be after one MDB_REST_US. */
#define REST_RATIO 4

/* All that can be merged, however large. */
#define ANY_RATIO 1e18

static int
value_columns(const MdbTable *table)
{
	int n = 0;

	for (int i = 0; i < table->natts; i++)
		n += table->columns[i].role == MDB_ROLE_VALUE;
	return n;
}

/* What has been taken into a set so far. */
typedef struct Sum
{
	int ncolumns;
	int count;
	int64 nrows;
	int64 nbytes;
	Size directory;
	Size values; /* of one block of each */
} Sum;

static Sum
add_part(Sum sum, const MdbPartInfo *p)
{
	sum.count++;
	sum.nrows += p->nrows;
	sum.nbytes += p->nbytes;
	sum.directory += mdb_directory_bytes(p->nblocks, sum.ncolumns);
	sum.values += (Size) (p->nrows / Max(1, p->nblocks)) * sizeof(int64) * sum.ncolumns;
	return sum;
}

static bool
within_bounds(const Sum *sum)
{
	return sum->count <= MDB_MERGE_INPUTS_MAX && sum->nrows <= MDB_MERGE_ROWS_MAX &&
		   sum->nbytes <= MDB_MERGE_BYTES_MAX &&
		   (sum->count <= 2 ||
			(sum->directory <= MDB_MERGE_DIRECTORY_MAX && sum->values <= MDB_MERGE_VALUES_MAX));
}

static bool
is_full(const Sum *nothing, const MdbPartInfo *p)
{
	Sum one = add_part(*nothing, p);

	return one.nrows > MDB_MERGE_ROWS_MAX / 2 || one.nbytes > MDB_MERGE_BYTES_MAX / 2 ||
		   one.directory > MDB_MERGE_DIRECTORY_MAX / 2;
}

/*
 * mdb_written_cmp - order in which partitions lie together, and within one the parts as they were written.
 */
int
mdb_written_cmp(const void *a, const void *b)
{
	const MdbPartInfo *x = a, *y = b;

	if (x->class != y->class)
		return x->class < y->class ? -1 : 1;
	if (x->days != y->days)
		return x->days < y->days ? -1 : 1;
	if (x->day != y->day)
		return x->day < y->day ? -1 : 1;
	if (x->level != y->level)
		return x->level > y->level ? -1 : 1;
	return x->part_id < y->part_id ? -1 : x->part_id > y->part_id;
}

static bool
is_cold(const MdbPartInfo *p)
{
	return p->format >= MDB_PART_FORMAT_COLD;
}

/*
 * mdb_same_partition - may parts be merged?
 */
bool
mdb_same_partition(const MdbPartInfo *x, const MdbPartInfo *y)
{
	return x->class == y->class && x->days == y->days && x->day == y->day;
}

/* The longest set from the first part on that is within the bounds. */
static int
oldest_that_fit(const MdbPartInfo *parts, int n, Sum sum)
{
	for (int i = 0; i < n; i++)
	{
		sum = add_part(sum, &parts[i]);
		if (!within_bounds(&sum))
			return i;
	}
	return n;
}

/*
 * mdb_newest_that_fit - how many of the newest parts of a partition are within the bounds of one merge; one is
 * if any is there.
 */
int
mdb_newest_that_fit(const MdbTable *table, const MdbPartInfo *parts, int n)
{
	Sum sum = {.ncolumns = value_columns(table)};
	int count = 0;

	while (count < n)
	{
		sum = add_part(sum, &parts[n - 1 - count]);
		if (count > 0 && !within_bounds(&sum))
			break;
		count++;
	}
	return count;
}

/*
 * Of the oldest parts of a level that are to be merged, those that are to be so now.
 *
 * Aggregates that have not taken the same times of them are waited for until twice as many parts wait.  Then those are
 * merged that fit; if there are no two, all, and the aggregates have to make the buckets again (*forced).
 */
static int
take_that_fit(const MdbPartInfo *parts, int take, int waiting, int enough, const MdbFits *fits, bool *forced)
{
	int fit = mdb_fits_prefix(fits, parts, take);

	*forced = false;
	if (fit == take || fit >= enough)
		return fit;
	if (waiting < WAIT_FACTOR * enough)
		return 0;
	if (fit >= 2)
		return fit;
	*forced = true;
	return Min(take, enough);
}

/* A set from one level of a partition, the lowest first. */
static bool
choose_level(MdbPartInfo *parts, int n, const Sum *nothing, const MdbFits *fits, MdbMergeSet *set)
{
	for (int end = n; end > 0;)
	{
		int begin = end - 1;
		int16 level = parts[begin].level;
		int enough = level == 0 ? FANIN_LEVEL_0 : FANIN;
		int take;

		while (begin > 0 && parts[begin - 1].level == level)
			begin--;
		take = oldest_that_fit(&parts[begin], end - begin, *nothing);
		if (take >= 2 && (end - begin >= enough || take < end - begin))
			take = take_that_fit(&parts[begin], take, end - begin, enough, fits, &set->forced);
		else
			take = 0;
		if (take > 0)
		{
			set->parts = &parts[begin];
			set->count = take;
			set->level = level + 1;
			return true;
		}
		end = begin;
	}
	return false;
}

/*
 * A set of the newest parts of a partition that rests.  The next older part may be so many times as large
 * as the newer ones together: ratio, cold_ratio if it is cold.  Cold ones alone are not merged unless all is.
 *
 * Its level must keep it behind the parts that are older, and before those that are newer.
 */
static bool
choose_resting(MdbPartInfo *parts, int n, const Sum *nothing, const MdbFits *fits, double ratio,
			   double cold_ratio, MdbMergeSet *set)
{
	for (int end = n; end >= 2; end--)
	{
		Sum sum = add_part(*nothing, &parts[end - 1]);
		int begin = end - 1;
		bool hot = !is_cold(&parts[begin]);

		while (begin > 0 &&
			   parts[begin - 1].nbytes <= sum.nbytes * (is_cold(&parts[begin - 1]) ? cold_ratio : ratio))
		{
			Sum more = add_part(sum, &parts[begin - 1]);

			if (!within_bounds(&more) || !mdb_fits(fits, &parts[begin - 1], end - begin + 1))
				break;
			sum = more;
			begin--;
			hot |= !is_cold(&parts[begin]);
		}
		if (!hot && cold_ratio < ANY_RATIO)
			continue;
		set->parts = &parts[begin];
		set->count = end - begin;
		set->level = parts[begin].level;
		if (begin == 0 || parts[begin - 1].level > set->level)
			set->level = Min(set->level, MDB_LEVEL_MAX - 1) + 1;
		if (set->count >= 2 && (end == n || parts[end].level < set->level))
			return true;
	}
	return false;
}

/* What was written last before that time is to be cold. */
static TimestampTz
cold_since(TimestampTz now)
{
	return mdb_cold_after < 0 ? PG_INT64_MIN : now - mdb_cold_after * USECS_PER_SEC;
}

/* The merges of a partition, whose parts are given but for full ones. */
static bool
choose_merge(MdbPartInfo *parts, int n, const Sum *nothing, const MdbFits *fits, MdbCompactHow how,
			 TimestampTz now, MdbMergeSet *set)
{
	TimestampTz newest = 0;
	double ratio = ANY_RATIO;

	for (int i = 0; i < n; i++)
		newest = Max(newest, parts[i].created_at);
	set->cold = how == MDB_COMPACT_COLD;
	if (how != MDB_COMPACT_DUE)
		return choose_resting(parts, n, nothing, fits, ANY_RATIO, ANY_RATIO, set);
	if (choose_level(parts, n, nothing, fits, set))
		return true;
	if (newest <= cold_since(now))
		set->cold = true;
	else if (newest < now - MDB_REST_US)
		ratio = REST_RATIO * (double) (now - newest) / MDB_REST_US;
	else
		return false;
	return choose_resting(parts, n, nothing, fits, ratio, Min(ratio, REST_RATIO), set);
}

/*
 * A part of a partition, of which all are given, that is to become cold by itself: the oldest that can.
 *
 * Its level must keep it where it is in the order, though its new number is the highest: above that of
 * the next newer part, and not above that of the next older one.
 */
static bool
choose_cold(MdbPartInfo *parts, int n, const Sum *nothing, MdbCompactHow how, TimestampTz now,
			MdbMergeSet *set)
{
	TimestampTz due = cold_since(now);
	TimestampTz newest = 0;

	if (how == MDB_COMPACT_FULL)
		return false;
	for (int i = 0; i < n; i++)
		newest = Max(newest, parts[i].created_at);
	for (int i = 0; i < n; i++)
	{
		int level = Min(parts[i].level + 1, MDB_LEVEL_MAX);

		if (is_cold(&parts[i]))
			continue;
		/* one that is not full may be merged with what comes, and would be written twice */
		if (how == MDB_COMPACT_DUE && (is_full(nothing, &parts[i]) ? parts[i].created_at : newest) > due)
			continue;
		if (i > 0)
			level = Min(level, parts[i - 1].level);
		if (i + 1 < n && parts[i + 1].level >= level)
			continue;
		set->parts = &parts[i];
		set->count = 1;
		set->level = (int16) level;
		return true;
	}
	return false;
}

/*
 * mdb_merge_choose - the next set of parts to merge, if there is one that should be; or a part to be
 * written anew, as a cold one.
 *
 * The set's parts are in memory of the caller's context.
 */
bool
mdb_merge_choose(const MdbTable *table, const MdbPartList *list, const MdbFits *fits, MdbCompactHow how,
				 TimestampTz now, MdbMergeSet *set)
{
	Size bytes = sizeof(MdbPartInfo) * Max(1, list->count);
	MdbPartInfo *all = palloc_extended(bytes, MCXT_ALLOC_HUGE);
	MdbPartInfo *parts = palloc_extended(bytes, MCXT_ALLOC_HUGE);
	Sum nothing = {.ncolumns = value_columns(table)};
	int count = 0;
	bool found = false;

	set->forced = false;
	memcpy(all, list->parts, sizeof(MdbPartInfo) * list->count);
	qsort(all, list->count, sizeof(MdbPartInfo), mdb_written_cmp);
	for (int i = 0; i < list->count; i++)
		if (!is_full(&nothing, &all[i]))
			parts[count++] = all[i];
	for (int i = 0, n; i < count && !found; i += n)
	{
		for (n = 1; i + n < count && mdb_same_partition(&parts[i], &parts[i + n]); n++)
			;
		found = choose_merge(&parts[i], n, &nothing, fits, how, now, set);
	}
	for (int i = 0, n; i < list->count && !found; i += n)
	{
		for (n = 1; i + n < list->count && mdb_same_partition(&all[i], &all[i + n]); n++)
			;
		found = choose_cold(&all[i], n, &nothing, how, now, set);
		set->cold = true;
	}
	if (!found)
	{
		pfree(all);
		pfree(parts);
		return false;
	}
	for (int i = 0; i < set->count; i++)
		set->cold |= is_cold(&set->parts[i]);
	return true;
}
