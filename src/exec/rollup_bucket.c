/*
 * rollup_bucket.c
 *	  Buckets of a continuous aggregate, and which of them are dirty.
 *
 * What a bucket is, the view knows: the query behind it has a branch that groups rows of the source, and its column
 * in the place of the states' time is the bucket.  Values of that expression are only ever computed by
 * PostgreSQL; how far one holds, bucket.c tells in part, and asking for values of other times does the rest.
 *
 * Invariants:
 *	1. The bucket does not fall when the time rises.
 *	2. Times of a source that are dirty are those of whole buckets, so a bucket of the states and the rows of the
 *	   source that it is made of are dirty together.
 *	3. Dirty buckets of the states that an aggregate is made of are dirty times of its source.
 *	4. No bucket is dirty of which rows of the source may be gone for good.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"
#include "rewrite/prs2lock.h"
#include "utils/date.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "exec/bucket.h"
#include "exec/pushdown.h"
#include "exec/rollup_scan.h"
#include "func/func.h"
#include "metricsdb.h"

struct MdbRollupBucket
{
	const MdbTable *table; /* the source */
	Oid type;              /* of the bucket */
	ExprState *state;
	ExprContext *econtext;
	TupleTableSlot *slot;
	MdbBucketing *bucketing; /* NULL: nothing is known of stretches */
	int64 min, max;          /* times that are finite */
	int64 low, high;         /* the least and the greatest value of a bucket's type */
};

/* ---------- the expression ---------- */

typedef struct Finding
{
	Oid source;
	AttrNumber resno; /* of the column that is the bucket */
	Expr *expr;
} Finding;

/* Is this query the branch that groups rows of the source?  Its bucket, the source being entry 1 of the range table. */
static Expr *
bucket_in(Query *query, const Finding *f)
{
	int rti = 0, i = 0;
	ListCell *lc;

	foreach (lc, query->rtable)
	{
		i++;
		if (lfirst_node(RangeTblEntry, lc)->rtekind == RTE_RELATION &&
			lfirst_node(RangeTblEntry, lc)->relid == f->source)
			rti = i;
	}
	if (rti == 0 || query->groupClause == NIL)
		return NULL;
	foreach (lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Node *expr;

		if (tle->resno != f->resno || tle->resjunk)
			continue;
		expr = copyObject(mdb_group_expr(query, (Node *) tle->expr));
		if (rti != 1)
			ChangeVarNodes(expr, rti, 1, 0);
		return (Expr *) expr;
	}
	return NULL;
}

static bool
find_branch(Node *node, Finding *f)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		f->expr = bucket_in((Query *) node, f);
		return f->expr != NULL || query_tree_walker((Query *) node, find_branch, f, 0);
	}
	return expression_tree_walker(node, find_branch, f);
}

/* A function whose code no user has written. */
static bool
is_known(Oid function, void *context)
{
	bool *immutable = context;
	char *name;

	if (function < FirstNormalObjectId)
	{
		char volatility = func_volatile(function);

		/* date_trunc() in a zone depends on the zone's rules. */
		if (volatility != PROVOLATILE_IMMUTABLE && function != F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT)
			*immutable = false;
		return volatility != PROVOLATILE_VOLATILE;
	}
	if (get_func_namespace(function) != get_namespace_oid(MDB_SCHEMA, true))
		return false;
	name = get_func_name(function);
	return name != NULL && strcmp(name, "time_bucket") == 0;
}

static bool
is_unknown(Oid function, void *context)
{
	return !is_known(function, context);
}

static bool
has_foreign_code(Node *node, bool *immutable)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_List:
		case T_Const:
		case T_Var:
		case T_FuncExpr:
		case T_OpExpr:
		case T_RelabelType:
		case T_NamedArgExpr:
			break;
		default: /* what may have code of a type or a domain in it, or rows of a table */
			return true;
	}
	return check_functions_in_node(node, is_unknown, immutable) ||
		   expression_tree_walker(node, has_foreign_code, immutable);
}

/*
 * mdb_bucket_is_safe - may everybody evaluate this expression?  A view's owner may have written a function, and who
 * deletes rows of the table, or asks for the state of aggregates, must not run it.
 *
 * With immutable: it may be evaluated for any row, else only what is constant of it.
 */
bool
mdb_bucket_is_safe(Node *expr, bool immutable)
{
	bool is_immutable = true;

	return !has_foreign_code(expr, &is_immutable) && (is_immutable || !immutable);
}

/* The time column of a table of states. */
static AttrNumber
time_of_states(Oid states)
{
	Relation rel = try_relation_open(states, AccessShareLock);
	AttrNumber attno = 0;

	if (rel == NULL)
		return 0;
	if (mdb_is_metricsdb(rel))
		attno = mdb_table(rel)->time_attno;
	relation_close(rel, AccessShareLock);
	return attno;
}

/*
 * mdb_rollup_bucket_expr - the bucket as an expression over the source, which is varno 1; in CurrentMemoryContext.
 *
 * Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if the view does not have it, or has somebody's own code in it.
 */
Expr *
mdb_rollup_bucket_expr(const MdbAggregate *a)
{
	Finding f = {.source = a->source, .resno = time_of_states(a->aggregate)};
	Relation view = f.resno > 0 ? try_relation_open(a->view, AccessShareLock) : NULL;

	if (view)
	{
		for (int i = 0; view->rd_rules && i < view->rd_rules->numLocks && f.expr == NULL; i++)
			if (view->rd_rules->rules[i]->event == CMD_SELECT)
				(void) find_branch((Node *) view->rd_rules->rules[i]->actions, &f);
		relation_close(view, AccessShareLock);
	}
	if (f.expr == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the bucket of a continuous aggregate is not to be found"),
				 errdetail("The view %u of the states \"%s\" does not group rows of the source \"%s\".",
						   a->view, get_rel_name(a->aggregate) ? get_rel_name(a->aggregate) : "?",
						   get_rel_name(a->source) ? get_rel_name(a->source) : "?"),
				 errhint("Drop the view and create it again.")));
	if (!mdb_bucket_is_safe((Node *) f.expr, true))
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the bucket of a continuous aggregate is not to be found"),
			 errdetail("In the view %u it is an expression of other functions than time_bucket(), date_bin() "
					   "and date_trunc().",
					   a->view),
			 errhint("Drop the view and create it again.")));
	return f.expr;
}

static bool
is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

/* The least and the greatest value of a type of times; false if it is none. */
static bool
limits_of(Oid type, int64 *low, int64 *high)
{
	bool is_time = type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == DATEOID;
	int len = type == INT2OID ? 2 : type == INT4OID || type == DATEOID ? 4 : 8;

	*low = len == 2 ? PG_INT16_MIN : len == 4 ? PG_INT32_MIN : PG_INT64_MIN;
	*high = len == 2 ? PG_INT16_MAX : len == 4 ? PG_INT32_MAX : PG_INT64_MAX;
	return is_time || is_integer(type);
}

/*
 * mdb_rollup_bucket - buckets of an aggregate, ready to be asked for; in CurrentMemoryContext, and as long as that.
 *
 * Errors: as mdb_rollup_bucket_expr; the source is gone, or is not ours any more.
 */
MdbRollupBucket *
mdb_rollup_bucket(const MdbAggregate *a)
{
	MdbRollupBucket *b = palloc0(sizeof(MdbRollupBucket));
	Expr *expr = expression_planner(mdb_rollup_bucket_expr(a));
	Relation source = table_open(a->source, AccessShareLock);

	if (!mdb_is_metricsdb(source) || mdb_table(source)->time_attno <= 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("table \"%s\" is not one that has a time and uses metricsdb",
							   RelationGetRelationName(source)),
						errdetail("A continuous aggregate is made of it.")));
	b->table = mdb_table(source);
	b->slot = MakeSingleTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(source)), &TTSOpsVirtual);
	table_close(source, AccessShareLock);
	b->type = getBaseType(exprType((Node *) expr));
	if (!limits_of(b->type, &b->low, &b->high))
		elog(ERROR, "the bucket of continuous aggregate %u is of type %u", a->aggregate, b->type);
	b->state = ExecInitExpr(expr, NULL);
	b->econtext = CreateStandaloneExprContext();
	if (mdb_bucket_supported(b->table, 1, (Node *) expr))
	{
		b->bucketing = mdb_bucketing_create(b->table, 1, list_make1(expr), NULL);
		mdb_bucketing_prepare(b->bucketing, b->econtext);
	}
	(void) limits_of(b->table->time_type, &b->min, &b->max);
	if (b->table->time_type == DATEOID)
	{
		b->min = DATETIME_MIN_JULIAN - POSTGRES_EPOCH_JDATE;
		b->max = DATE_END_JULIAN - POSTGRES_EPOCH_JDATE - 1;
	}
	else if (!is_integer(b->table->time_type))
	{
		b->min = MIN_TIMESTAMP;
		b->max = END_TIMESTAMP - 1;
	}
	else
		/* The least int8 stands for what has no bound: its bucket is never asked for. */
		b->min = Max(b->min, PG_INT64_MIN + 1);
	return b;
}

/*
 * mdb_rollup_bucket_value - the bucket of a time, as times of the states are kept.  Infinite times, and what lies
 * beyond finite ones, are buckets of their own.
 */
int64
mdb_rollup_bucket_value(MdbRollupBucket *b, int64 time)
{
	bool isnull;
	Datum value;

	if (time < b->min)
		return b->low;
	if (time > b->max)
		return b->high;
	ExecClearTuple(b->slot);
	memset(b->slot->tts_isnull, true, b->slot->tts_tupleDescriptor->natts);
	b->slot->tts_values[b->table->time_attno - 1] = mdb_time_datum(b->table, time);
	b->slot->tts_isnull[b->table->time_attno - 1] = false;
	ExecStoreVirtualTuple(b->slot);
	b->econtext->ecxt_scantuple = b->slot;
	ResetExprContext(b->econtext);
	value = ExecEvalExprSwitchContext(b->state, b->econtext, &isnull);
	if (isnull)
		elog(ERROR, "the bucket of a time is NULL");
	return mdb_time_units(value, b->type);
}

/* From a time on, in steps that grow: the last one in this direction that has the same bucket. */
static int64
go_on(MdbRollupBucket *b, int64 time, int64 bucket, int64 step, bool down)
{
	int64 end = down ? b->min : b->max;
	int64 other;

	if (time == end || mdb_rollup_bucket_value(b, down ? time - 1 : time + 1) != bucket)
		return time;
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (down ? pg_sub_s64_overflow(time, step, &other) : pg_add_s64_overflow(time, step, &other))
			other = end;
		other = down ? Max(other, end) : Min(other, end);
		if (mdb_rollup_bucket_value(b, other) != bucket)
			break;
		time = other;
		if (time == end)
			return time;
		if (step < PG_INT64_MAX / 2)
			step *= 2;
	}
	while ((down ? time - other : other - time) > 1)
	{
		int64 middle = other + (time - other) / 2;

		if (mdb_rollup_bucket_value(b, middle) == bucket)
			time = middle;
		else
			other = middle;
	}
	return time;
}

/*
 * mdb_rollup_bucket_first, _last - the first and the last time of the bucket that a time lies in.
 */
int64
mdb_rollup_bucket_first(MdbRollupBucket *b, int64 time)
{
	int64 first = time, last = time;

	if (time < b->min)
		return PG_INT64_MIN;
	if (time > b->max)
		return time;
	if (b->bucketing)
		mdb_bucket_of(b->bucketing, time, &first, &last);
	first = Max(first, b->min);
	return go_on(b, first, mdb_rollup_bucket_value(b, time), Max(1, last - first + 1), true);
}

int64
mdb_rollup_bucket_last(MdbRollupBucket *b, int64 time)
{
	int64 first = time, last = time;

	if (time > b->max)
		return PG_INT64_MAX;
	if (time < b->min)
		return time;
	if (b->bucketing)
		mdb_bucket_of(b->bucketing, time, &first, &last);
	last = Min(last, b->max);
	return go_on(b, last, mdb_rollup_bucket_value(b, time), Max(1, last - first + 1), false);
}

/* ---------- what is dirty ---------- */

/* Was the source rewritten after the snapshot? */
static bool
is_rewritten(const MdbAggregate *a, Snapshot snapshot)
{
	Relation source = try_relation_open(a->source, AccessShareLock);
	bool result = false;

	if (source == NULL)
		return false;
	if (mdb_is_metricsdb(source))
		result = !mdb_storage_is_seen(mdb_table(source)->storage_id, snapshot);
	relation_close(source, NoLock);
	return result;
}

/*
 * Times of the source, of which nothing is known yet but that they are within dirty buckets.
 *
 * If the source was rewritten its parts are others than those of which the snapshot knows what was pending.  So all that
 * it has is taken from it.
 */
static MdbTimeSet
dirty_in_source(const MdbAggregate *a, Snapshot snapshot)
{
	MdbDirtyList *list = mdb_dirty_list(a->aggregate, snapshot, false);
	MdbTimeRange *ranges = palloc(sizeof(MdbTimeRange) * (list->count + 1));
	MdbTimeSet dirty, ordered, inherited = {0};
	int n = 0;

	check_stack_depth();
	for (int i = 0; i < list->count; i++)
	{
		const MdbDirty *d = &list->rows[i];

		if (d->time_from < d->time_to)
			ranges[n++] = (MdbTimeRange){.first = d->time_from,
										 .last = d->time_to == PG_INT64_MAX ? d->time_to : d->time_to - 1};
	}
	if (is_rewritten(a, snapshot))
		ranges[n++] = (MdbTimeRange){.first = a->floor, .last = PG_INT64_MAX};
	dirty = mdb_time_set_make(ranges, n, false);
	if (OidIsValid(a->parent))
	{
		MdbAggregate *parent = mdb_aggregate_get(a->parent, snapshot);

		if (parent)
			inherited = mdb_rollup_dirty_buckets(parent, snapshot);
	}
	if (inherited.n > 0)
		dirty = mdb_time_set_or(&dirty, &inherited);
	ordered = mdb_rollup_ordered_times(a, snapshot);
	return ordered.n > 0 ? mdb_time_set_or(&dirty, &ordered) : dirty;
}

/*
 * The first time of a bucket, or of the next one of which all rows are there: others cannot be made of the source any
 * more, and their states are all that is known of them.
 */
static int64
first_whole(const MdbAggregate *a, MdbRollupBucket *b, int64 time)
{
	int64 first = mdb_rollup_bucket_first(b, time);
	int64 last;

	if (first >= a->floor)
		return first;
	if (time < a->floor && mdb_rollup_bucket_first(b, a->floor) >= a->floor)
		return a->floor;
	last = mdb_rollup_bucket_last(b, Max(time, a->floor));
	return last == PG_INT64_MAX ? last : last + 1;
}

/* Dirty times of the source, widened to whole buckets; *b can tell of these, if there are some. */
static MdbTimeSet
dirty_whole(const MdbAggregate *a, Snapshot snapshot, MdbRollupBucket **b)
{
	MdbTimeSet dirty = dirty_in_source(a, snapshot);
	MdbTimeRange *ranges = unconstify(MdbTimeRange *, dirty.ranges);

	*b = dirty.n > 0 ? mdb_rollup_bucket(a) : NULL;
	for (int i = 0; i < dirty.n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		ranges[i].first = first_whole(a, *b, ranges[i].first);
		ranges[i].last = mdb_rollup_bucket_last(*b, ranges[i].last);
	}
	return mdb_time_set_make(ranges, dirty.n, false);
}

/*
 * mdb_rollup_dirty_times - times of an aggregate's source whose buckets are dirty, as a snapshot sees it: the whole
 * buckets.  In CurrentMemoryContext.  Errors: as mdb_rollup_bucket, if there are some.
 */
MdbTimeSet
mdb_rollup_dirty_times(const MdbAggregate *a, Snapshot snapshot)
{
	MdbRollupBucket *b;

	return dirty_whole(a, snapshot, &b);
}

/*
 * mdb_rollup_dirty_buckets - the same buckets as times of the states: from the first one to the last of each range.
 */
MdbTimeSet
mdb_rollup_dirty_buckets(const MdbAggregate *a, Snapshot snapshot)
{
	MdbRollupBucket *b;
	MdbTimeSet dirty = dirty_whole(a, snapshot, &b);
	MdbTimeRange *ranges = unconstify(MdbTimeRange *, dirty.ranges);

	for (int i = 0; i < dirty.n; i++)
	{
		ranges[i].first = mdb_rollup_bucket_value(b, ranges[i].first);
		ranges[i].last = mdb_rollup_bucket_value(b, ranges[i].last);
	}
	return mdb_time_set_make(ranges, dirty.n, false);
}

/* Times before a first one. */
static MdbTimeSet
before(int64 first)
{
	MdbTimeRange *range = palloc(sizeof(MdbTimeRange));

	range->first = PG_INT64_MIN;
	range->last = first - 1;
	return (MdbTimeSet){.n = first > PG_INT64_MIN ? 1 : 0, .ranges = range};
}

/*
 * mdb_rollup_gone_buckets - buckets of which retention may have removed states.
 */
MdbTimeSet
mdb_rollup_gone_buckets(const MdbAggregate *a)
{
	return before(a->kept_from);
}

/*
 * mdb_rollup_gone_times - the same as times of the source: whole buckets.  Errors: as mdb_rollup_bucket, if there are
 * some.
 */
MdbTimeSet
mdb_rollup_gone_times(const MdbAggregate *a)
{
	MdbRollupBucket *b;

	if (a->kept_from == PG_INT64_MIN)
		return (MdbTimeSet){0};
	b = mdb_rollup_bucket(a);
	if (mdb_rollup_bucket_value(b, a->kept_from) >= a->kept_from)
		return before(a->kept_from);
	return before(mdb_rollup_bucket_last(b, a->kept_from) + 1);
}
