/*
 * rollup_scan.c
 *	  Scans of which the rows are asked for that a continuous aggregate has not taken, or buckets that are clean.
 *
 * is_pending(states, time) on the table that the states are made of comes to a set of times for each part: that of its
 * row in metricsdb.pending, and those of dirty buckets.  is_clean(states, bucket) on the states comes to one set
 * of times.  Both are read under the scan's snapshot, once: neither a scan that is started over nor a worker of a
 * parallel one can find another.  Rows of the delta are always pending.
 */
#include "postgres.h"

#include "access/relscan.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "exec/pushdown.h"
#include "exec/rollup_scan.h"

/* What is taken from the states of an aggregate: times in [from, to). */
typedef struct Taken
{
	ExprState *from_state; /* NULL: everything that it has */
	ExprState *to_state;
	int64 from;
	int64 to;
} Taken;

struct MdbRollup
{
	List *markers;
	Taken *taken; /* of each of them */
	ExprContext *econtext;
	ExprState *clean; /* conditions that rows of the delta have to pass */
	MemoryContext mcxt;
	bool ready;
	bool pending;        /* some marker is is_pending() */
	MdbPartTimes *times; /* NULL: all */
	bool no_delta;
	int64 pending_parts;
	int64 dirty_ranges;
};

/* ---------- planning ---------- */

static bool
is_column_of(const RelOptInfo *rel, Node *node, AttrNumber attno)
{
	Var *var = (Var *) mdb_strip_relabel(node);

	return IsA(var, Var) && var->varno == rel->relid && var->varlevelsup == 0 &&
		   (attno == 0 || var->varattno == attno);
}

/*
 * mdb_rollup_is_marked - are only those rows of a table wanted that are pending?  *overridden: in the sense of who
 * applies them in this backend.
 */
bool
mdb_rollup_is_marked(const RelOptInfo *rel, bool *overridden)
{
	bool marked = false;
	ListCell *lc;

	*overridden = false;
	foreach (lc, rel->baserestrictinfo)
	{
		Oid aggregate;
		Node *time;

		if (mdb_marker_of((Node *) lfirst_node(RestrictInfo, lc)->clause, &aggregate, &time) ==
				MDB_MARKER_PENDING &&
			is_column_of(rel, time, 0))
		{
			marked = true;
			*overridden = *overridden || mdb_pending_override_of(aggregate) != NULL;
		}
	}
	return marked;
}

/*
 * mdb_rollup_takes - is a condition one that a scan of the table sees to?
 */
bool
mdb_rollup_takes(const RelOptInfo *rel, const MdbTable *table, const Node *clause)
{
	Oid aggregate;
	Node *time;

	return table->time_attno > 0 && mdb_marker_of(clause, &aggregate, &time) != MDB_MARKER_NONE &&
		   is_column_of(rel, time, table->time_attno);
}

/* ---------- execution ---------- */

/*
 * mdb_rollup_begin - make conditions ready to run, in CurrentMemoryContext; NULL if there are none.
 */
MdbRollup *
mdb_rollup_begin(List *markers, PlanState *ps)
{
	MdbRollup *r;
	List *clean = NIL;
	ListCell *lc;

	if (markers == NIL)
		return NULL;
	r = palloc0(sizeof(MdbRollup));
	r->markers = markers;
	r->taken = palloc0(sizeof(Taken) * list_length(markers));
	r->econtext = ps->ps_ExprContext;
	foreach (lc, markers)
	{
		List *args = lfirst_node(FuncExpr, lc)->args;
		Taken *taken = &r->taken[foreach_current_index(lc)];
		Oid aggregate;
		Node *time;

		if (list_length(args) == 4)
		{
			taken->from_state = ExecInitExpr(lthird(args), ps);
			taken->to_state = ExecInitExpr(lfourth(args), ps);
		}
		if (mdb_marker_of(lfirst(lc), &aggregate, &time) == MDB_MARKER_CLEAN)
			clean = lappend(clean, lfirst(lc));
		else
			r->pending = true;
	}
	r->clean = ExecInitQual(clean, ps);
	r->mcxt = AllocSetContextCreate(CurrentMemoryContext, "metricsdb pending times", ALLOCSET_DEFAULT_SIZES);
	return r;
}

/* What of the scan's parts passes one condition. */
typedef struct Passing
{
	const MdbPartInfo *parts;
	int nparts;
	MdbTimeSet *sets; /* [nparts] */
	bool delta;
} Passing;

/* An interval that is half-open, as far as a part has times in it. */
static MdbTimeSet
interval_of(const MdbPartInfo *part, int64 from, int64 to, bool no_time)
{
	MdbTimeRange *range = palloc(sizeof(MdbTimeRange));

	range->first = from;
	range->last = to == PG_INT64_MAX || to == PG_INT64_MIN ? to : to - 1;
	if (part->days != 0 && range->first <= part->time_min)
		range->first = PG_INT64_MIN;
	if (part->days != 0 && range->last >= part->time_max)
		range->last = PG_INT64_MAX;
	return (MdbTimeSet){.n = from < to ? 1 : 0, .ranges = range, .no_time = no_time};
}

/* What is pending of each part by the catalog. */
static MdbPendingList *
pending_of(TableScanDesc scan, Oid aggregate)
{
	return mdb_pending_list(mdb_table(scan->rs_rd)->storage_id, aggregate, scan->rs_snapshot);
}

/* Who applies them has named parts. */
static void
pass_named(Passing *p, const MdbPendingOverride *o)
{
	int next = 0;

	for (int i = 0; i < p->nparts && next < o->nparts; i++)
	{
		const MdbPartInterval *named = &o->parts[next];

		if (p->parts[i].part_id != named->part_id)
			continue;
		p->sets[i] = interval_of(&p->parts[i], named->time_from, named->time_to,
								 named->time_from == PG_INT64_MIN && named->time_to == PG_INT64_MAX);
		next++;
	}
	if (next < o->nparts)
		elog(ERROR, "part %lld, which aggregate %u is to take, is not there",
			 (long long) o->parts[next].part_id, o->aggregate);
}

/* Or he wants what was taken before, of some times. */
static void
pass_applied(Passing *p, const MdbPendingOverride *o, const MdbPendingList *pending)
{
	for (int i = 0; i < p->nparts; i++)
	{
		const MdbPending *row = mdb_pending_find(pending, p->parts[i].part_id, o->aggregate);

		p->sets[i] = o->times;
		if (row)
		{
			MdbTimeSet set = interval_of(&p->parts[i], row->time_from, row->time_to, true);

			set = mdb_time_set_not(&set);
			p->sets[i] = mdb_time_set_and(&p->sets[i], &set);
		}
	}
}

/* Times that are not taken from the states, whether they have them or not. */
static MdbTimeSet
outside_of(const Taken *taken)
{
	MdbTimeRange *inside = palloc(sizeof(MdbTimeRange));
	MdbTimeSet set = {.n = taken->from < taken->to ? 1 : 0, .ranges = inside, .no_time = true};

	if (taken->from_state == NULL)
		return (MdbTimeSet){0};
	inside->first = taken->from;
	inside->last = taken->to == PG_INT64_MAX ? PG_INT64_MAX : taken->to - 1;
	return mdb_time_set_not(&set);
}

/* What a view wants. */
static void
pass_pending(MdbRollup *r, Passing *p, const MdbAggregate *a, const MdbPendingList *pending,
			 const Taken *taken, Snapshot snapshot)
{
	MdbTimeSet dirty = mdb_rollup_dirty_times(a, snapshot);
	MdbTimeSet outside = outside_of(taken);
	int dirty_ranges = dirty.n;

	if (outside.n > 0)
		dirty = mdb_time_set_or(&dirty, &outside);
	if (taken->from_state)
	{
		MdbTimeSet gone = mdb_rollup_gone_times(a);

		if (gone.n > 0)
			dirty = mdb_time_set_or(&dirty, &gone);
	}

	for (int i = 0; i < p->nparts; i++)
	{
		const MdbPartInfo *part = &p->parts[i];
		const MdbPending *row = mdb_pending_find(pending, part->part_id, a->aggregate);

		if (part->days != 0)
			p->sets[i] = mdb_time_set_near(&dirty, part->time_min, part->time_max);
		if (row)
		{
			MdbTimeSet set = interval_of(part, row->time_from, row->time_to, true);

			if (part->days == 0 || mdb_time_set_touches(&set, part->time_min, part->time_max))
				r->pending_parts++;
			p->sets[i] = p->sets[i].n == 0 ? set : mdb_time_set_or(&set, &p->sets[i]);
		}
	}
	r->dirty_ranges += dirty_ranges;
	p->delta = true;
}

/* Errors: the aggregate is made of another table. */
static void
check_source(const MdbAggregate *a, Relation rel)
{
	if (a->source != RelationGetRelid(rel))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("the continuous aggregate with the states \"%s\" is not made of table \"%s\"",
							   get_rel_name(a->aggregate) ? get_rel_name(a->aggregate) : "?",
							   RelationGetRelationName(rel)),
						errhint("is_pending() can be asked of rows of the table that it is made of.")));
}

/* What passes one of the conditions; false: everything. */
static bool
pass_marker(MdbRollup *r, TableScanDesc scan, const Node *clause, const Taken *taken, Passing *p)
{
	Oid aggregate = InvalidOid;
	Node *time;
	MdbMarker marker = mdb_marker_of(clause, &aggregate, &time);
	const MdbPendingOverride *o = mdb_pending_override_of(aggregate);
	MdbAggregate *a = mdb_aggregate_get(aggregate, scan->rs_snapshot);

	p->sets = palloc0(sizeof(MdbTimeSet) * Max(1, p->nparts));
	p->delta = false;
	if (marker == MDB_MARKER_CLEAN)
	{
		MdbTimeSet dirty = a ? mdb_rollup_dirty_buckets(a, scan->rs_snapshot) : (MdbTimeSet){0};
		MdbTimeSet clean;

		if (a && list_length(((const FuncExpr *) clause)->args) == 3)
		{
			MdbTimeSet gone = mdb_rollup_gone_buckets(a);

			if (gone.n > 0)
				dirty = mdb_time_set_or(&dirty, &gone);
		}
		if (dirty.n == 0)
			return false;
		clean = mdb_time_set_not(&dirty);
		for (int i = 0; i < p->nparts; i++)
			p->sets[i] = clean;
		r->dirty_ranges += dirty.n;
		p->delta = true;
		return true;
	}
	/* Of states that nothing is known of nothing is pending, but for those who do not see them. */
	if (a == NULL)
		return taken->from_state == NULL;
	check_source(a, scan->rs_rd);
	if (o == NULL)
		pass_pending(r, p, a, pending_of(scan, aggregate), taken, scan->rs_snapshot);
	else if (o->applied)
		pass_applied(p, o, pending_of(scan, aggregate));
	else
		pass_named(p, o);
	return true;
}

static void
make_ready(MdbRollup *r, TableScanDesc scan)
{
	MemoryContext old = MemoryContextSwitchTo(r->mcxt);
	Passing all = {0};
	ListCell *lc;

	MemoryContextReset(r->mcxt);
	r->times = NULL;
	r->no_delta = false;
	all.parts = mdb_scan_parts(scan, &all.nparts);
	r->pending_parts = r->dirty_ranges = 0;
	foreach (lc, r->markers)
	{
		Passing one = {.parts = all.parts, .nparts = all.nparts};

		if (!pass_marker(r, scan, lfirst(lc), &r->taken[foreach_current_index(lc)], &one))
			continue;
		r->no_delta = r->no_delta || !one.delta;
		for (int i = 0; i < all.nparts && all.sets; i++)
			one.sets[i] = mdb_time_set_and(&all.sets[i], &one.sets[i]);
		all.sets = one.sets;
	}
	if (all.sets)
	{
		int64 *ids = palloc(sizeof(int64) * Max(1, all.nparts));

		for (int i = 0; i < all.nparts; i++)
			ids[i] = all.parts[i].part_id;
		r->times = palloc0(sizeof(MdbPartTimes));
		*r->times = (MdbPartTimes){.count = all.nparts, .part_ids = ids, .sets = all.sets};
	}
	r->ready = true;
	MemoryContextSwitchTo(old);
}

/* What is taken from the states, by the values of this moment; true if it is something else than before. */
static bool
take_bounds(MdbRollup *r, const MdbTable *table)
{
	bool changed = false;

	for (int i = 0; i < list_length(r->markers); i++)
	{
		Taken *taken = &r->taken[i];
		Taken old = *taken;
		bool isnull;
		Datum value;

		if (taken->from_state == NULL)
			continue;
		value = ExecEvalExprSwitchContext(taken->from_state, r->econtext, &isnull);
		taken->from = isnull ? PG_INT64_MIN : mdb_push_time(table, value);
		value = ExecEvalExprSwitchContext(taken->to_state, r->econtext, &isnull);
		taken->to = isnull ? PG_INT64_MAX : mdb_push_time(table, value);
		changed = changed || taken->from != old.from || taken->to != old.to;
	}
	return changed;
}

/*
 * mdb_rollup_apply - let a scan's filter let through only what passes.
 *
 * Errors: the aggregate is made of another table; a part that somebody applies is not seen; as mdb_rollup_bucket.
 */
void
mdb_rollup_apply(MdbRollup *r, TableScanDesc scan, MdbScanFilter *filter)
{
	if (take_bounds(r, mdb_table(scan->rs_rd)))
		r->ready = false;
	if (!r->ready)
		make_ready(r, scan);
	filter->part_times = r->times;
	filter->no_delta = r->no_delta;
}

/*
 * mdb_rollup_delta_passes - does a row of the delta pass, in econtext's scan tuple?
 */
bool
mdb_rollup_delta_passes(MdbRollup *r, ExprContext *econtext)
{
	return r == NULL || ExecQual(r->clean, econtext);
}

/*
 * mdb_rollup_explain_name - the continuous aggregate whose states a table keeps, if it does.
 */
void
mdb_rollup_explain_name(Relation rel, ExplainState *es)
{
	MdbAggregate *a =
		ActiveSnapshotSet() ? mdb_aggregate_get(RelationGetRelid(rel), GetActiveSnapshot()) : NULL;
	char *name = a ? get_rel_name(a->view) : NULL;

	if (name)
		ExplainPropertyText("Roll-up", quote_identifier(name), es);
}

/*
 * mdb_rollup_explain - what it came to.
 */
void
mdb_rollup_explain(const MdbRollup *r, ExplainState *es)
{
	if (r == NULL || !r->ready)
		return;
	if (es->format != EXPLAIN_FORMAT_TEXT)
	{
		if (r->pending)
			ExplainPropertyInteger("Pending Parts", NULL, r->pending_parts, es);
		ExplainPropertyInteger("Dirty Ranges", NULL, r->dirty_ranges, es);
	}
	else if (r->pending)
		ExplainPropertyText("Rollup",
							psprintf("pending parts %lld, dirty ranges %lld", (long long) r->pending_parts,
									 (long long) r->dirty_ranges),
							es);
	else
		ExplainPropertyText("Rollup", psprintf("dirty ranges %lld", (long long) r->dirty_ranges), es);
}
