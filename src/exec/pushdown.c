/*
 * pushdown.c
 *	  Conditions on the time and series columns of a table: found in a query, told to a scan.
 *
 * Conditions "time op value", where op is one of the time type's own B-tree operators and the value is
 * fixed during a scan, become a range of times, exactly.  Of conditions "bucket of the time op value" comes one, too,
 * but rows in it are still to be asked.  Conditions on series columns alone are evaluated
 * once for each series.  Both hold for the rows of parts; rows of the delta are the caller's to check.
 *
 * See README.md for the invariants: what may be evaluated out of turn, and when values are taken.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/restrictinfo.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "exec/bucket.h"
#include "exec/pushdown.h"
#include "exec/rollup_scan.h"
#include "exec/series_turn.h"
#include "exec/value_filter.h"

/*
 * mdb_strip_relabel - an expression without casts that change nothing but the type's name.
 */
Node *
mdb_strip_relabel(Node *node)
{
	while (node && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node;
}

/*
 * mdb_btree_family - the operators that order a type if nobody says otherwise; InvalidOid if there are none.
 */
Oid
mdb_btree_family(Oid type)
{
	return lookup_type_cache(type, TYPECACHE_BTREE_OPFAMILY)->btree_opf;
}

static bool
is_time(RelOptInfo *rel, const MdbTable *table, Node *node)
{
	Var *var = (Var *) mdb_strip_relabel(node);

	return var && IsA(var, Var) && var->varno == rel->relid && var->varattno == table->time_attno &&
		   var->varlevelsup == 0;
}

/*
 * Is this a comparison of an expression over the time, of the time's type, with something that is fixed during a
 * scan?  Returns the expression, else NULL.
 */
static Node *
compared_time(RelOptInfo *rel, const MdbTable *table, Node *clause, int *strategy, Expr **value)
{
	OpExpr *op = (OpExpr *) clause;
	Node *left, *right;
	Oid opno;
	Oid ltype, rtype;
	Oid opfamily;

	if (!IsA(clause, OpExpr) || list_length(op->args) != 2)
		return NULL;
	opno = op->opno;
	/* Of most conditions it is known by that. */
	op_input_types(opno, &ltype, &rtype);
	if (ltype != table->time_type || rtype != table->time_type)
		return NULL;
	left = linitial(op->args);
	right = lsecond(op->args);
	if (bms_is_member(rel->relid, pull_varnos(NULL, right)))
	{
		Node *swap = left;

		left = right;
		right = swap;
		opno = get_commutator(opno);
	}
	if (!OidIsValid(opno))
		return NULL;
	opfamily = mdb_btree_family(table->time_type);
	*strategy = OidIsValid(opfamily) ? get_op_opfamily_strategy(opno, opfamily) : 0;
	if (*strategy == 0)
		return NULL;
	/* Columns of other tables are fixed for a scan that is started over for each of their rows. */
	if (bms_is_member(rel->relid, pull_varnos(NULL, right)) || contain_volatile_functions(right) ||
		contain_subplans(right))
		return NULL;
	*value = (Expr *) right;
	return left;
}

/* The same of the time column itself. */
static bool
time_clause(RelOptInfo *rel, const MdbTable *table, Node *clause, int *strategy, Expr **value)
{
	Node *compared = compared_time(rel, table, clause, strategy, value);

	return compared != NULL && is_time(rel, table, compared);
}

/* Of the columns of this table, does an expression use those of this role alone, at least one? */
static bool
uses_only(Node *node, Index relid, const MdbTable *table, MdbRole role)
{
	Bitmapset *attnos = NULL;
	int x = -1;
	bool any = false;

	if (contain_volatile_functions(node) || contain_subplans(node))
		return false;
	pull_varattnos(node, relid, &attnos);
	while ((x = bms_next_member(attnos, x)) >= 0)
	{
		AttrNumber attno = x + FirstLowInvalidHeapAttributeNumber;

		if (attno <= 0 || attno > table->natts || table->columns[attno - 1].role != role)
			return false;
		any = true;
	}
	bms_free(attnos);
	return any;
}

/*
 * mdb_uses_only - does an expression use columns of this role alone, at least one, and is it the same
 * whenever it is evaluated?
 */
bool
mdb_uses_only(Node *node, Index relid, const MdbTable *table, MdbRole role)
{
	return uses_only(node, relid, table, role) && bms_membership(pull_varnos(NULL, node)) == BMS_SINGLETON;
}

/*
 * mdb_clause_may_move - may a condition be evaluated out of turn?  Row-level security lets it if it is of
 * the lowest security level of the table, or leakproof.
 */
bool
mdb_clause_may_move(RelOptInfo *rel, const RestrictInfo *rinfo)
{
	return rinfo->security_level <= rel->baserestrict_min_security || rinfo->leakproof;
}

/*
 * mdb_push_clause - can a scan of the table use a condition: of the table alone, or of a join whose other side
 * is given?  Then *strategy is 0 if it is one of series columns, else that of a comparison of the time with
 * *value.
 */
bool
mdb_push_clause(RelOptInfo *rel, const MdbTable *table, const RestrictInfo *rinfo, int *strategy,
				Expr **value)
{
	*strategy = 0;
	if (rinfo->pseudoconstant || !mdb_clause_may_move(rel, rinfo))
		return false;
	if (table->time_attno > 0 && time_clause(rel, table, (Node *) rinfo->clause, strategy, value))
		return true;
	*strategy = 0;
	return table->nseries_columns > 0 &&
		   uses_only((Node *) rinfo->clause, rel->relid, table, MDB_ROLE_SERIES) &&
		   !mdb_turn_clause_may_fail((Node *) rinfo->clause, rel->relid);
}

static void
add_time(MdbPushed *pushed, int strategy, Expr *value, int64 before, int64 behind)
{
	pushed->strategies = lappend_int(pushed->strategies, strategy);
	pushed->values = lappend(pushed->values, value);
	for (int i = 0; i < 2; i++)
		pushed->slacks =
			lappend(pushed->slacks, makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
											  Int64GetDatum(i ? behind : before), false, FLOAT8PASSBYVAL));
}

/*
 * What a condition on a bucket says of the times: rows have to be asked for it, but only parts and blocks that may
 * hold some are read.
 */
static void
add_implied(MdbPushed *pushed, RelOptInfo *rel, const MdbTable *table, RestrictInfo *rinfo)
{
	int strategy;
	Expr *value;
	Node *bucket;
	int64 ahead, behind;
	bool rises;

	if (table->time_attno <= 0 || rinfo->pseudoconstant || !mdb_clause_may_move(rel, rinfo))
		return;
	bucket = compared_time(rel, table, (Node *) rinfo->clause, &strategy, &value);
	if (bucket == NULL || !mdb_bucket_truncates(table, rel->relid, bucket, &ahead, &behind, &rises))
		return;
	add_time(pushed, strategy, value, ahead, behind);
	pushed->implied = lappend(pushed->implied, rinfo);
}

/*
 * mdb_push_selective - RestrictInfos whose selectivity tells how much is read.
 */
List *
mdb_push_selective(const MdbPushed *pushed)
{
	return list_concat_copy(pushed->rinfos, pushed->implied);
}

/*
 * mdb_find_pushed - sort a table's conditions into those that a scan can use, and the rest.
 */
MdbPushed *
mdb_find_pushed(RelOptInfo *rel, const MdbTable *table)
{
	return mdb_find_pushed_in(rel, table, rel->baserestrictinfo);
}

/*
 * mdb_find_pushed_in - the same with conditions of a list of RestrictInfos, which may be of joins.
 */
MdbPushed *
mdb_find_pushed_in(RelOptInfo *rel, const MdbTable *table, List *rinfos)
{
	MdbPushed *pushed = palloc0(sizeof(MdbPushed));
	ListCell *lc;

	foreach (lc, rinfos)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		int strategy;
		Expr *value;

		if (mdb_rollup_takes(rel, table, (Node *) rinfo->clause))
		{
			pushed->markers = lappend(pushed->markers, rinfo->clause);
			pushed->rinfos = lappend(pushed->rinfos, rinfo);
			continue;
		}
		if (!mdb_push_clause(rel, table, rinfo, &strategy, &value))
		{
			pushed->rest = lappend(pushed->rest, rinfo);
			add_implied(pushed, rel, table, rinfo);
			continue;
		}
		if (strategy != 0)
			add_time(pushed, strategy, value, 0, 0);
		else
			pushed->series = lappend(pushed->series, rinfo->clause);
		pushed->rinfos = lappend(pushed->rinfos, rinfo);
	}
	return pushed;
}

/*
 * mdb_wants_special_columns - does the query want system columns or whole rows?  They come from core's scan.
 */
bool
mdb_wants_special_columns(RelOptInfo *rel)
{
	for (AttrNumber attno = rel->min_attr; attno <= 0; attno++)
		if (!bms_is_empty(rel->attr_needed[attno - rel->min_attr]))
			return true;
	return false;
}

/*
 * mdb_rows_are_hidden - does row-level security, or a view that is a security barrier, hide rows of this table?
 *
 * A barrier's query is planned as a subquery, into which only leakproof conditions come.
 */
bool
mdb_rows_are_hidden(PlannerInfo *root, RelOptInfo *rel)
{
	ListCell *lc;

	if (rel->baserestrict_min_security < root->qual_security_level)
		return true;
	for (root = root->parent_root; root != NULL; root = root->parent_root)
		foreach (lc, root->parse->rtable)
			if (lfirst_node(RangeTblEntry, lc)->security_barrier)
				return true;
	return false;
}

/* ---------- execution ---------- */

static bool
series_matches(void *arg, const Datum *values, const bool *isnull)
{
	MdbPushState *state = arg;
	ExprContext *econtext = state->econtext;
	TupleTableSlot *slot = state->series_slot;
	TupleTableSlot *scan_tuple = econtext->ecxt_scantuple;
	MemoryContext old;
	bool result;

	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, sizeof(Datum) * state->table->natts);
	memcpy(slot->tts_isnull, isnull, sizeof(bool) * state->table->natts);
	ExecStoreVirtualTuple(slot);
	econtext->ecxt_scantuple = slot;
	old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	result = ExecQual(state->series_qual, econtext);
	MemoryContextSwitchTo(old);
	econtext->ecxt_scantuple = scan_tuple;
	return result;
}

/*
 * mdb_push_time - a value of the time column's type, as times are kept.
 */
int64
mdb_push_time(const MdbTable *table, Datum value)
{
	return table->time_type == DATEOID ? DatumGetInt32(value) : DatumGetInt64(value);
}

/*
 * mdb_push_begin - make conditions ready to run, in the current memory context.
 *
 * strategies, slacks and values are those of MdbPushed, series and markers lists of clauses with implicit AND.
 */
void
mdb_push_begin(MdbPushState *push, PlanState *ps, Relation rel, List *strategies, List *slacks, List *values,
			   List *series, List *markers)
{
	ListCell *lc;

	push->table = mdb_table(rel);
	push->econtext = ps->ps_ExprContext;
	push->strategies = strategies;
	push->slacks = slacks;
	push->values = NIL;
	foreach (lc, values)
		push->values = lappend(push->values, ExecInitExpr(lfirst(lc), ps));
	push->rollup = mdb_rollup_begin(markers, ps);
	push->series_clauses = series;
	if (series)
	{
		push->series_qual = ExecInitQual(series, ps);
		push->series_filter = mdb_series_filter_begin(series, ps, push->econtext, push->table);
		push->series_slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), table_slot_callbacks(rel));
	}
}

/* A constant of MdbPushed's slacks. */
static int64
slack(const MdbPushState *push, int i)
{
	return DatumGetInt64(list_nth_node(Const, push->slacks, i)->constvalue);
}

/*
 * mdb_push_apply - take the values of this moment and tell the scan.
 */
void
mdb_push_apply(MdbPushState *push, TableScanDesc scan)
{
	MdbScanFilter *filter = &push->filter;
	ListCell *lv, *ls;
	int n = 0;

	memset(filter, 0, sizeof(*filter));
	filter->has_time = push->strategies != NIL;
	filter->time_min = PG_INT64_MIN;
	filter->time_max = PG_INT64_MAX;
	forboth (lv, push->values, ls, push->strategies)
	{
		bool isnull;
		Datum value = ExecEvalExprSwitchContext(lfirst(lv), push->econtext, &isnull);
		int64 t = isnull ? 0 : mdb_push_time(push->table, value);
		int64 lo = PG_INT64_MIN, hi = PG_INT64_MAX;
		int strategy = lfirst_int(ls);

		/* What is never true leaves no time over. */
		if (isnull || (strategy == BTLessStrategyNumber && t == PG_INT64_MIN) ||
			(strategy == BTGreaterStrategyNumber && t == PG_INT64_MAX))
		{
			lo = PG_INT64_MAX;
			hi = PG_INT64_MIN;
		}
		else
			switch (strategy)
			{
				case BTLessStrategyNumber:
					hi = t - 1;
					break;
				case BTLessEqualStrategyNumber:
					hi = t;
					break;
				case BTEqualStrategyNumber:
					lo = hi = t;
					break;
				case BTGreaterEqualStrategyNumber:
					lo = t;
					break;
				case BTGreaterStrategyNumber:
					lo = t + 1;
					break;
			}
		if (lo <= hi)
		{
			if (lo != PG_INT64_MIN && pg_sub_s64_overflow(lo, slack(push, n), &lo))
				lo = PG_INT64_MIN;
			if (hi != PG_INT64_MAX && pg_add_s64_overflow(hi, slack(push, n + 1), &hi))
				hi = PG_INT64_MAX;
		}
		n += 2;
		filter->time_min = Max(filter->time_min, lo);
		filter->time_max = Min(filter->time_max, hi);
	}
	if (push->series_qual)
	{
		mdb_series_filter_resolve(push->series_filter);
		filter->series_ids = push->series_filter->ids;
		filter->series_exact = push->series_filter->ids != NULL && push->series_filter->exact;
		filter->series_matches = series_matches;
		filter->arg = push;
	}
	if (push->rollup)
		mdb_rollup_apply(push->rollup, scan, filter);
	if (push->value_filter)
		mdb_value_filter_prepare(push->value_filter, push->econtext, filter);
	mdb_scan_set_filter(scan, filter);
}

/*
 * mdb_push_end - let go of what is not memory.
 */
void
mdb_push_end(MdbPushState *push)
{
	if (push->series_slot)
		ExecDropSingleTupleTableSlot(push->series_slot);
	push->series_slot = NULL;
	if (push->series_filter)
		mdb_series_filter_end(push->series_filter);
}
