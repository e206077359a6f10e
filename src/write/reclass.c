/*
 * reclass.c
 *	  Parts that were written before the retention classes of their table were as they are now.
 *
 * Rows of several classes may be in such a part; until it is sorted it is kept as if all were of the class
 * that is kept for longest, and is not merged with others.  If all its rows are of one class now, its row in
 * metricsdb.part says so and nothing is written.  Else it is merged, with its neighbours, into one part for
 * each class.
 *
 * The newest parts of a partition come first.  What becomes of them gets a level above all parts of the same
 * time that are sorted already: so whatever was written earlier stays before what was written later, as
 * merges want it (merge_policy.c).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "series/index.h"
#include "stop.h"
#include "write/merge.h"

/* Parts whose rows are updated in one transaction. */
#define STEP_PARTS 64

/*
 * mdb_reclass_split - take parts off a list whose class is not one of the policy's.
 */
void
mdb_reclass_split(const MdbRetention *r, MdbPartList *list, MdbPartList *stale)
{
	int n = 0;

	stale->count = 0;
	stale->parts = palloc_extended(sizeof(MdbPartInfo) * Max(1, list->count), MCXT_ALLOC_HUGE);
	for (int i = 0; i < list->count; i++)
		if (mdb_retention_is_current(r, list->parts[i].class))
			list->parts[n++] = list->parts[i];
		else
			stale->parts[stale->count++] = list->parts[i];
	list->count = n;
}

/*
 * Mark the classes of a part's rows in seen[], by their number less base; how many there are.  ids is room that is
 * used again and again.
 */
static int
classes_of(Relation rel, const MdbPartInfo *part, MdbClassifier *classifier, const MdbRetention *r,
		   MdbIds *ids, bool *seen)
{
	int n = 0;

	if (r->nclasses == 0)
	{
		seen[0] = true;
		return 1;
	}
	ids->n = 0;
	mdb_part_add_ids(rel, part, NULL, ids);
	for (uint32 i = 0; i < ids->n; i++)
	{
		int16 class = mdb_class_of_series(classifier, ids->v[i]);

		n += !seen[class - r->base];
		seen[class - r->base] = true;
	}
	return n;
}

/* Where it spares tables, and has found nothing to do, it does not look again for some time. */
#define LOOKED_AT  64
#define LOOK_PAUSE (600 * USECS_PER_SEC)

static struct
{
	int64 storage_id;
	int base;
	TimestampTz until;
} looked_at[LOOKED_AT];
static int next_looked_at = 0;

static bool
looked_at_lately(int64 storage_id, int base)
{
	for (int i = 0; i < LOOKED_AT; i++)
		if (looked_at[i].storage_id == storage_id && looked_at[i].base == base &&
			looked_at[i].until > GetCurrentTimestamp())
			return true;
	return false;
}

static void
remember_looked_at(int64 storage_id, int base)
{
	looked_at[next_looked_at].storage_id = storage_id;
	looked_at[next_looked_at].base = base;
	looked_at[next_looked_at].until = GetCurrentTimestamp() + LOOK_PAUSE;
	next_looked_at = (next_looked_at + 1) % LOOKED_AT;
}

static int
part_id_cmp(const void *a, const void *b)
{
	const MdbPartInfo *x = a, *y = b;

	return x->part_id < y->part_id ? -1 : x->part_id > y->part_id;
}

static bool
is_among(const MdbPartList *list, const MdbPartInfo *part)
{
	return bsearch(part, list->parts, list->count, sizeof(MdbPartInfo), part_id_cmp) != NULL;
}

/*
 * mdb_reclass_choose - sort parts of a table by class: those that need not be written are (*done, if there was
 * one), or there is a set to be merged.
 *
 * all are the table's parts, stale those to choose from, both by rising part id.  One of more rows than rows_max is not written anew, which is
 * how the background spares tables with indexes.  The set is in CurrentMemoryContext.
 */
bool
mdb_reclass_choose(Relation rel, const MdbTable *table, const MdbRetention *r, const MdbFits *fits,
				   const MdbPartList *all, const MdbPartList *stale, int64 rows_max, MdbMergeSet *set,
				   bool *done)
{
	bool sparing = rows_max < PG_INT64_MAX;
	MdbClassifier *classifier = mdb_classifier(rel, table, r);
	MdbPartList every = *all, rest;
	MdbPartInfo *parts;
	MdbIds *ids = mdb_ids_create();
	bool *seen = palloc(sizeof(bool) * (r->nclasses + 1));
	int nsorted = 0;

	/* Without a column with the metric's name they cannot be sorted. */
	if ((r->nclasses > 0 && mdb_retention_column(rel, table) == 0) ||
		(sparing && looked_at_lately(table->storage_id, r->base)))
		return false;
	every.parts = palloc_extended(sizeof(MdbPartInfo) * Max(1, all->count), MCXT_ALLOC_HUGE);
	memcpy(every.parts, all->parts, sizeof(MdbPartInfo) * all->count);
	mdb_reclass_split(r, &every, &rest);
	parts = rest.parts;
	qsort(parts, rest.count, sizeof(MdbPartInfo), mdb_written_cmp);
	for (int end = rest.count, begin; end > 0 && nsorted < STEP_PARTS; end = begin)
	{
		int level = 0;

		begin = end - 1;
		while (begin > 0 && mdb_same_partition(&parts[begin - 1], &parts[end - 1]))
			begin--;
		for (int i = 0; i < all->count; i++)
			if (all->parts[i].day == parts[begin].day && all->parts[i].days == parts[begin].days &&
				mdb_retention_is_current(r, all->parts[i].class))
				level = Max(level, all->parts[i].level + 1);
		for (int i = end; i-- > begin && nsorted < STEP_PARTS; nsorted++)
		{
			int n;

			CHECK_FOR_INTERRUPTS();
			/* Older ones must not overtake one that is left for later. */
			if (!is_among(stale, &parts[i]))
				break;
			memset(seen, 0, sizeof(bool) * (r->nclasses + 1));
			n = classes_of(rel, &parts[i], classifier, r, ids, seen);
			if (n == 1)
			{
				int16 class = (int16) r->base;

				while (!seen[class - r->base])
					class ++;
				mdb_part_set_class(&parts[i], class, (int16) Min(level + parts[i].level, MDB_LEVEL_MAX));
				MDB_STOP("reclass.part");
				*done = true;
				continue;
			}
			/* What was decided so far is to be seen first. */
			if (*done)
				return false;
			if (parts[i].nrows > rows_max)
				break;
			set->count = mdb_newest_that_fit(table, &parts[begin], i + 1 - begin);
			for (int p = 1; p < set->count; p++)
				if (parts[i - p].nrows > rows_max || !is_among(stale, &parts[i - p]))
					set->count = p;
			while (!mdb_fits(fits, &parts[i + 1 - set->count], set->count))
				set->count--;
			set->parts = &parts[i + 1 - set->count];
			set->level = (int16) Min(level, MDB_LEVEL_MAX);
			set->classifier = classifier;
			set->classes = palloc(sizeof(int16) * (r->nclasses + 1));
			for (int p = 0; p + 1 < set->count; p++)
				(void) classes_of(rel, &set->parts[p], classifier, r, ids, seen);
			for (int p = 0; p < set->count; p++)
				set->cold |= set->parts[p].format >= MDB_PART_FORMAT_COLD;
			for (int c = 0; c <= r->nclasses; c++)
				if (seen[c])
					set->classes[set->nclasses++] = (int16) (r->base + c);
			return true;
		}
	}
	if (sparing && !*done)
		remember_looked_at(table->storage_id, r->base);
	return false;
}
