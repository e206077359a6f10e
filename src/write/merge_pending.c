/*
 * merge_pending.c
 *	  What a merge owes to continuous aggregates that have not taken all of its inputs.
 *
 * The rows of the output that an aggregate has not taken must be those of one interval of time (fit.c).  Of data
 * that come in order they are: older parts are applied, newer ones are not, and one is in between.  Parts that
 * do not fit together wait until more of them was applied.  For an aggregate that is detached nobody waits,
 * nor where nothing else is left to be merged (merge_policy.c): what it has not taken becomes dirty, so
 * that its buckets are made from all rows again, and all of the output counts as taken.
 *
 * Who applies an aggregate has the rows of metricsdb.pending locked that he is at.  A merge locks those of its inputs
 * when it claims these, and does not wait; from then on they stay what they are until the output's take their
 * places.
 *
 * Rows without a time are never taken.  Their parts are a partition of their own, and their rows of
 * metricsdb.pending have no bounds.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/aggregates.h"
#include "write/fit.h"
#include "write/merge.h"

struct MdbFits
{
	int naggregates;
	MdbAggregate *aggregates;
	MdbPendingList *pending;
};

/*
 * mdb_fits_load - what the aggregates of a table have not taken of its parts by now, in CurrentMemoryContext; NULL
 * if there are none.
 */
MdbFits *
mdb_fits_load(Relation rel, const MdbTable *table)
{
	MdbFits *f;
	Snapshot snapshot;

	if (!mdb_has_aggregates(rel))
		return NULL;
	f = palloc(sizeof(MdbFits));
	snapshot = mdb_latest_snapshot();
	f->aggregates = mdb_aggregates_by(MDB_AGGREGATE_SOURCE, RelationGetRelid(rel), snapshot, &f->naggregates);
	f->pending = mdb_pending_list(table->storage_id, InvalidOid, snapshot);
	UnregisterSnapshot(snapshot);
	return f;
}

/* What an aggregate will not have taken of a merge's output. */
typedef struct OfOutput
{
	bool any;
	MdbPending pending;
} OfOutput;

struct MdbMergePending
{
	int count;
	OfOutput *of; /* for each aggregate */
};

/* What an aggregate has not taken of a part. */
static MdbFitPart
fit_part(const MdbFits *f, const MdbPartInfo *part, Oid aggregate)
{
	const MdbPending *p = mdb_pending_find(f->pending, part->part_id, aggregate);
	MdbFitPart fit = {.time_min = part->time_min, .time_max = part->time_max, .pending = p != NULL};

	if (p)
	{
		fit.from = p->time_from;
		fit.to = p->time_to;
	}
	return fit;
}

/*
 * Do parts fit together for an aggregate?  result gets what is pending of all.  Those that were there before it
 * do not fit with new ones: it takes them in another order, or does not before it is told to.
 */
static bool
fit_for(const MdbFits *f, const MdbPartInfo *parts, int n, Oid aggregate, OfOutput *result)
{
	MdbFitPart *fits = palloc(sizeof(MdbFitPart) * n);
	MdbFitPart all;
	bool live = false;
	bool fit;

	result->pending.aggregate = aggregate;
	result->pending.backfill = false;
	for (int i = 0; i < n; i++)
	{
		const MdbPending *p = mdb_pending_find(f->pending, parts[i].part_id, aggregate);
		int64 first, last;

		fits[i] = fit_part(f, &parts[i], aggregate);
		if (!mdb_fit_cut(&fits[i], &first, &last))
			continue;
		live |= !p->backfill;
		result->pending.backfill |= p->backfill;
	}
	fit = mdb_fit(fits, n, &all) && !(live && result->pending.backfill);
	result->any = all.pending;
	result->pending.time_from = all.from;
	result->pending.time_to = all.to;
	pfree(fits);
	return fit;
}

/*
 * mdb_fits - may parts be merged as far as aggregates are concerned for which one waits?
 */
bool
mdb_fits(const MdbFits *f, const MdbPartInfo *parts, int n)
{
	OfOutput ignored;

	for (int i = 0; f && i < f->naggregates; i++)
		if (f->aggregates[i].attached && !fit_for(f, parts, n, f->aggregates[i].aggregate, &ignored))
			return false;
	return true;
}

/*
 * mdb_fits_prefix - how many from the first one on may be.
 */
int
mdb_fits_prefix(const MdbFits *f, const MdbPartInfo *parts, int n)
{
	int lo = Min(n, 1), hi = n;

	if (f == NULL || mdb_fits(f, parts, n))
		return n;
	/* Of parts that fit any fit. */
	while (hi - lo > 1)
	{
		int mid = (lo + hi) / 2;

		if (mdb_fits(f, parts, mid))
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

static int
range_cmp(const void *a, const void *b)
{
	const MdbDirty *x = a, *y = b;

	return x->time_from < y->time_from ? -1 : x->time_from > y->time_from;
}

/* What an aggregate has not taken of parts is dirty for it. */
static void
make_dirty(const MdbFits *f, const MdbPartInfo *parts, int n, Oid aggregate)
{
	MdbDirty *ranges = palloc(sizeof(MdbDirty) * n);
	CommandId cid = GetCurrentCommandId(true);
	int count = 0;

	for (int i = 0; i < n; i++)
	{
		MdbFitPart fit = fit_part(f, &parts[i], aggregate);

		/* last, which is in, for time_to */
		if (mdb_fit_cut(&fit, &ranges[count].time_from, &ranges[count].time_to))
			count++;
	}
	qsort(ranges, count, sizeof(MdbDirty), range_cmp);
	for (int i = 0, j; i < count; i = j)
	{
		int64 last = ranges[i].time_to;

		for (j = i + 1; j < count && ranges[j].time_from <= last; j++)
			last = Max(last, ranges[j].time_to);
		mdb_dirty_insert(aggregate, ranges[i].time_from, last == PG_INT64_MAX ? last : last + 1, false, cid);
	}
	pfree(ranges);
}

/* Lock the rows of the inputs; false if somebody else is at one of them. */
static bool
lock_rows(MdbFits *f, const MdbMergeSet *set)
{
	for (int i = 0; i < set->count; i++)
		for (int a = 0; a < f->naggregates; a++)
		{
			MdbPending *p = mdb_pending_find(f->pending, set->parts[i].part_id, f->aggregates[a].aggregate);

			if (p && !mdb_pending_lock(p, LockWaitSkip))
				return false;
		}
	return true;
}

/*
 * mdb_merge_pending_claim - the inputs of a merge go, as far as aggregates are concerned, and what the output will
 * be for them is known; in CurrentMemoryContext, NULL if there are none.
 *
 * False if somebody is at the inputs' rows of metricsdb.pending, or if the inputs do not fit together any more, and
 * the merge is to end with nothing done.  The caller has claimed the inputs.
 */
bool
mdb_merge_pending_claim(Relation rel, const MdbTable *table, const MdbMergeSet *set, MdbMergePending **result)
{
	MdbFits *f = mdb_fits_load(rel, table);
	MdbMergePending *m;
	bool *fit;

	*result = NULL;
	if (f == NULL)
		return true;
	if (!lock_rows(f, set))
		return false;
	m = palloc(sizeof(MdbMergePending));
	m->count = f->naggregates;
	m->of = palloc0(sizeof(OfOutput) * f->naggregates);
	fit = palloc(sizeof(bool) * f->naggregates);
	for (int a = 0; a < f->naggregates; a++)
	{
		fit[a] = fit_for(f, set->parts, set->count, f->aggregates[a].aggregate, &m->of[a]);
		if (!fit[a] && f->aggregates[a].attached && !set->forced)
			return false;
	}
	for (int a = 0; a < f->naggregates; a++)
	{
		Oid aggregate = f->aggregates[a].aggregate;

		if (!fit[a] && set->parts[0].days > 0)
		{
			make_dirty(f, set->parts, set->count, aggregate);
			m->of[a].any = false;
		}
		for (int i = 0; i < set->count; i++)
		{
			const MdbPending *p = mdb_pending_find(f->pending, set->parts[i].part_id, aggregate);

			if (p)
				mdb_pending_delete(p);
		}
	}
	*result = m;
	return true;
}

/*
 * mdb_merge_pending_placed - a part of the output was inserted.
 */
void
mdb_merge_pending_placed(const MdbMergePending *m, const MdbPartInfo *part)
{
	for (int a = 0; m && a < m->count; a++)
	{
		MdbPending p = m->of[a].pending;
		MdbFitPart fit = {.time_min = part->time_min,
						  .time_max = part->time_max,
						  .pending = true,
						  .from = p.time_from,
						  .to = p.time_to};
		int64 first, last;

		p.storage_id = part->storage_id;
		p.part_id = part->part_id;
		if (m->of[a].any && mdb_fit_cut(&fit, &first, &last))
			mdb_pending_insert(&p, GetCurrentCommandId(true));
	}
}
