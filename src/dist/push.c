/*
 * push.c
 *	  Queries that group a distributed table: its nodes group, and the coordinator puts their groups together.
 *
 * Before a query is planned a subquery takes the table's place,
 *
 *		SELECT keys, partials FROM table WHERE conditions GROUP BY keys
 *
 * and the query's aggregates become what combines partials; aggregates are taken apart as continuous aggregates take them
 * apart (rollup/language.c), and joins stay above, as in routing (rollup/route.c).  The keys are all that the query uses
 * of the table outside of aggregates, or within aggregates of DISTINCT values.  If one of the query's aggregates cannot be
 * taken apart, or something cannot be sent, the query stays as it is, and rows are fetched.
 *
 * So each group of the subquery may come more than once, which is what its table's entry says
 * (mdb_is_group_of_nodes()): then scan_plan.c has each node answer it.  Were it planned otherwise, with rows that are
 * fetched and each group once, the result would be the same.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_class.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "dist/dist.h"
#include "metricsdb.h"
#include "rollup/route.h"
#include "store/store.h"

#define MARK "metricsdb.groups_of_nodes" /* in a table's entry, in the place of a tuplestore's name */

typedef struct Pushing
{
	MdbRoute *r;
	bool ok;
} Pushing;

static bool push_enabled = true;

/*
 * mdb_is_group_of_nodes - is it the table of a query each of whose groups may come more than once?
 */
bool
mdb_is_group_of_nodes(const RangeTblEntry *rte)
{
	return rte->rtekind == RTE_RELATION && rte->enrname != NULL && strcmp(rte->enrname, MARK) == 0;
}

/* ---------- the query in terms of the subquery's columns ---------- */

/* Before planning parameters and the like are no Params yet, so this is not the last word. */
static bool
ships(const MdbRoute *r, Node *expr)
{
	MdbShipping s = {.rti = r->rti};

	return mdb_ship(&s, expr) != NULL;
}

static Node *
no_answer(Pushing *p, Node *node)
{
	p->ok = false;
	return node;
}

/* A column of the subquery for an expression that is grouped by. */
static Node *
key(Pushing *p, Node *node, const SortGroupClause *sgc)
{
	Var *var = ships(p->r, node) ? mdb_route_column(p->r, node, sgc) : NULL;

	return var ? (Node *) var : no_answer(p, node);
}

static Node *push_mutator(Node *node, Pushing *p);

/* An aggregate of different values: those are keys, and it does not matter how often they come. */
static Node *
push_distinct(Aggref *agg, Pushing *p)
{
	ListCell *lc;

	agg = copyObject(agg);
	if (AGGKIND_IS_ORDERED_SET(agg->aggkind))
		return no_answer(p, (Node *) agg);
	foreach (lc, agg->args)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		SortGroupClause *sgc = NULL;
		ListCell *ld;

		foreach (ld, agg->aggdistinct)
			if (lfirst_node(SortGroupClause, ld)->tleSortGroupRef == tle->ressortgroupref)
				sgc = lfirst(ld);
		if (sgc && mdb_route_is_of_table(p->r, (Node *) tle->expr))
			tle->expr = (Expr *) key(p, (Node *) tle->expr, sgc);
		else
			tle->expr = (Expr *) push_mutator((Node *) tle->expr, p);
	}
	agg->aggfilter = (Expr *) push_mutator((Node *) agg->aggfilter, p);
	return (Node *) agg;
}

/* The value of an aggregate of combined partials. */
static Node *
push_aggregate(Aggref *agg, Pushing *p)
{
	MdbRoute *r = p->r;
	MdbReason reason;
	MdbSplit *split;
	List *states = NIL, *combined = NIL;
	Node *result;
	ListCell *lc;

	if (agg->aggdistinct != NIL)
		return push_distinct(agg, p);
	split = mdb_split_aggregate(agg, &reason);
	if (split == NULL)
		return no_answer(p, (Node *) agg);
	foreach (lc, split->partials)
	{
		Node *partial = lfirst(lc);
		Bitmapset *varnos = pull_varnos(NULL, partial);

		/* Summaries cannot be combined where samples of a series are on several nodes. */
		if (mdb_partial_is_ordered((Aggref *) partial) || !ships(r, partial) ||
			!bms_is_subset(varnos, bms_make_singleton(r->rti)))
			return no_answer(p, (Node *) agg);
		states = lappend(states, mdb_route_column(r, partial, NULL));
	}
	foreach (lc, split->partials)
	{
		Node *node = mdb_combine_partial(lfirst(lc), split->partials, states);

		if (node == NULL)
			return no_answer(p, (Node *) agg);
		combined = lappend(combined, node);
	}
	result = mdb_split_finish(split, combined);
	return exprType(result) == agg->aggtype ? result : no_answer(p, (Node *) agg);
}

static bool
finds_key(Node *node, MdbRoute *r)
{
	if (node == NULL)
		return false;
	if (!IsA(node, List) && mdb_find_equal(r->group_keys, node) >= 0)
		return true;
	return expression_tree_walker(node, finds_key, r);
}

static Node *
push_mutator(Node *node, Pushing *p)
{
	MdbRoute *r = p->r;
	int n;

	if (node == NULL || !p->ok)
		return node;
	if (IsA(node, Query))
		return rangeTableEntry_used(node, r->rti, 1) ? no_answer(p, node) : node;
	if (IsA(node, Aggref) && ((Aggref *) node)->agglevelsup == 0)
		return push_aggregate((Aggref *) node, p);
	if (IsA(node, GroupingFunc))
		return no_answer(p, node);
	/* What holds expressions. */
	if (IsA(node, TargetEntry) || IsA(node, List) || IsA(node, FromExpr) || IsA(node, JoinExpr) ||
		IsA(node, CaseWhen) || IsA(node, RangeTblRef) || IsA(node, SubLink))
		return expression_tree_mutator(node, push_mutator, p);
	if ((n = mdb_find_equal(r->group_keys, node)) >= 0)
		return key(p, node, list_nth(r->group_clauses, n));
	if (IsA(node, Var) && ((Var *) node)->varlevelsup == 0 && ((Var *) node)->varno == r->rti)
		return mdb_is_equal_alike(node) ? key(p, node, NULL) : no_answer(p, node);
	/* As a whole, if groups do not go by a part of it. */
	if (mdb_route_is_of_table(r, node) && !contain_aggs_of_level(node, 0) && !finds_key(node, r) &&
		mdb_is_equal_alike(node) && ships(r, node))
		return key(p, node, NULL);
	return expression_tree_mutator(node, push_mutator, p);
}

/* ---------- HAVING, and the first groups ---------- */

/* Conditions of HAVING on the table's keys alone are conditions on its rows.  Those that remain. */
static List *
take_having(MdbRoute *r)
{
	List *rest = NIL;
	ListCell *lc;

	foreach (lc, make_ands_implicit((Expr *) r->query->havingQual))
	{
		Node *clause = mdb_flatten_groups(r->query, copyObject(lfirst(lc)));

		if (r->query->groupClause != NIL && !contain_aggs_of_level(clause, 0) &&
			mdb_route_is_of_table(r, clause) && ships(r, clause))
			r->conditions = lappend(r->conditions, clause);
		else
			rest = lappend(rest, lfirst(lc));
	}
	return rest;
}

/* Is each group of the query one of the subquery, and of the table alone? */
static bool
has_same_groups(const MdbRoute *r)
{
	ListCell *lc;

	foreach (lc, r->columns)
	{
		Node *expr = ((MdbRouteColumn *) lfirst(lc))->expr;

		if (!IsA(expr, Aggref) && mdb_find_equal(r->group_keys, expr) < 0)
			return false;
	}
	return !r->joined && ((FromExpr *) r->jointree)->quals == NULL && r->query->groupClause != NIL &&
		   list_length(r->group_keys) == list_length(r->query->groupClause);
}

/*
 * The one aggregate of the query, if it is the first value in the order of *sortop: max() and the like; NULL otherwise.
 *
 * Some node has a group's extreme, and no other node has more of the group.  So it is no matter whether a node tells of a
 * group of which it has too little, as long as nothing else of the group is asked for.
 */
static Aggref *
extreme_of(const MdbRoute *r, Oid *sortop)
{
	Aggref *agg = NULL;
	HeapTuple tuple;
	ListCell *lc;

	foreach (lc, r->columns)
	{
		Node *expr = ((MdbRouteColumn *) lfirst(lc))->expr;

		if (!IsA(expr, Aggref))
			continue;
		if (agg != NULL)
			return NULL;
		agg = (Aggref *) expr;
	}
	if (agg == NULL || agg->aggcollid != agg->inputcollid)
		return NULL;
	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(agg->aggfnoid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", agg->aggfnoid);
	*sortop = ((Form_pg_aggregate) GETSTRUCT(tuple))->aggsortop;
	ReleaseSysCache(tuple);
	return OidIsValid(*sortop) ? agg : NULL;
}

/* max(x) > value: if it holds on a node it holds for the group. */
static bool
is_bound_of(const Aggref *extreme, Oid sortop, Node *clause)
{
	OpExpr *op = (OpExpr *) clause;
	Node *value;
	Oid opno, family, type;
	MdbOrdering ordering;
	int strategy;

	if (!IsA(clause, OpExpr) || list_length(op->args) != 2 || op->inputcollid != extreme->inputcollid ||
		!get_ordering_op_properties(sortop, &family, &type, &ordering))
		return false;
	opno = op->opno;
	value = lsecond(op->args);
	if (!equal(linitial(op->args), extreme))
	{
		if (!equal(value, extreme))
			return false;
		opno = get_commutator(opno);
		value = linitial(op->args);
	}
	if (!OidIsValid(opno) || contain_aggs_of_level(value, 0) || !bms_is_empty(pull_varnos(NULL, value)) ||
		contain_volatile_functions(value) || contain_subplans(value))
		return false;
	strategy = get_op_opfamily_strategy(opno, family);
	return mdb_is_descending(ordering)
			   ? strategy == BTGreaterStrategyNumber || strategy == BTGreaterEqualStrategyNumber
			   : strategy == BTLessStrategyNumber || strategy == BTLessEqualStrategyNumber;
}

/* Can a group's extreme be NULL?  Then a node may have a NULL that is none. */
static bool
may_be_null(const MdbRoute *r, const Aggref *extreme)
{
	Node *arg = (Node *) linitial_node(TargetEntry, extreme->args)->expr;
	Relation rel;
	bool result = true;

	if (extreme->aggfilter != NULL || !IsA(arg, Var) || ((Var *) arg)->varattno <= 0)
		return true;
	rel = table_open(r->rte->relid, NoLock);
	result = !TupleDescAttr(RelationGetDescr(rel), ((Var *) arg)->varattno - 1)->attnotnull;
	table_close(rel, NoLock);
	return result;
}

/*
 * Where HAVING asks for groups whose extreme is beyond something, nodes need not send those of which they have none.
 *
 * True if that is all of it.
 */
static bool
push_having(const MdbRoute *r, Query *subquery, List *having, const Aggref *extreme, Oid sortop)
{
	List *sent = NIL;
	ListCell *lc;

	if (extreme != NULL)
		foreach (lc, having)
			if (is_bound_of(extreme, sortop, lfirst(lc)))
				sent = lappend(sent, copyObject(lfirst(lc)));
	if (sent != NIL)
	{
		subquery->havingQual = (Node *) make_ands_explicit(sent);
		ChangeVarNodes(subquery->havingQual, r->rti, 1, 0);
		IncrementVarSublevelsUp(subquery->havingQual, 1, 1);
	}
	return list_length(sent) == list_length(having);
}

/*
 * Where groups are wanted in the order of their keys, or of an extreme, and a LIMIT ends them, the first of all are among
 * the first of each node, or of one that has the extreme; those that come equal with the last one included.
 */
static void
push_limit(MdbRoute *r, Query *subquery, const Aggref *extreme, Oid sortop)
{
	Query *q = r->query;
	List *clauses = NIL;
	Node *limit;
	ListCell *lc, *lt, *lf;

	if (q->limitCount == NULL || q->sortClause == NIL || q->distinctClause != NIL || q->hasWindowFuncs ||
		q->hasTargetSRFs || q->limitOption != LIMIT_OPTION_COUNT ||
		contain_volatile_functions(q->limitCount) || contain_volatile_functions(q->limitOffset) ||
		checkExprHasSubLink(q->limitCount) || checkExprHasSubLink(q->limitOffset))
		return;
	limit = eval_const_expressions(r->root, mdb_limit_and_offset(q));
	if (!IsA(limit, Const) || ((Const *) limit)->constisnull)
		return;
	foreach (lc, q->sortClause)
	{
		SortGroupClause *sgc = copyObject(lfirst_node(SortGroupClause, lc));
		Node *expr = mdb_group_expr(q, get_sortgroupclause_expr(sgc, q->targetList));
		TargetEntry *tle = NULL;

		forboth (lt, subquery->targetList, lf, r->columns)
			if (equal(((MdbRouteColumn *) lfirst(lf))->expr, expr))
				tle = lfirst_node(TargetEntry, lt);
		if (tle == NULL)
			return;
		if (IsA(tle->expr, Aggref))
		{
			if (extreme == NULL || sgc->sortop != sortop ||
				(sgc->nulls_first && subquery->havingQual == NULL && may_be_null(r, extreme)))
				return;
			tle->ressortgroupref = tle->resno;
		}
		sgc->tleSortGroupRef = tle->ressortgroupref;
		clauses = lappend(clauses, sgc);
	}
	subquery->sortClause = clauses;
	subquery->limitCount = limit;
	subquery->limitOption = LIMIT_OPTION_WITH_TIES;
}

/* ---------- which queries ---------- */

/* Keys of SELECT DISTINCT are like those of GROUP BY. */
static void
add_distinct_keys(MdbRoute *r)
{
	ListCell *lc;

	foreach (lc, r->query->distinctClause)
	{
		SortGroupClause *sgc = lfirst_node(SortGroupClause, lc);
		Node *expr = get_sortgroupclause_expr(sgc, r->query->targetList);

		if (!mdb_route_is_of_table(r, expr) || mdb_find_equal(r->group_keys, expr) >= 0)
			continue;
		r->group_keys = lappend(r->group_keys, expr);
		r->group_clauses = lappend(r->group_clauses, sgc);
	}
}

static bool
push_table(PlannerInfo *root, Query *query, Index rti)
{
	MdbRoute r = {.root = root, .query = query, .rti = rti, .rte = rt_fetch(rti, query->rtable)};
	Pushing p = {.r = &r, .ok = true};
	List **group_exprs = mdb_group_exprs(query);
	List *targets, *conditions, *groups = NIL;
	Node *having, *jointree;
	Query *subquery;
	Aggref *extreme;
	Oid sortop;
	ListCell *lc;

	if (!mdb_route_read_table(&r))
		return false;
	/* Rows without a time are like others here. */
	r.may_lack = false;
	mdb_route_flatten(query);
	if (!mdb_route_find(&r) || mdb_route_is_referred_to(&r))
		return false;
	if (query->groupClause == NIL && !query->hasAggs)
		add_distinct_keys(&r);
	foreach (lc, r.conditions)
		if (!ships(&r, lfirst(lc)))
			return false;
	conditions = take_having(&r);
	/* Columns in the order of targets also where PostgreSQL 18 keeps groups apart. */
	foreach (lc, query->targetList)
		(void) push_mutator(mdb_group_expr(query, (Node *) lfirst_node(TargetEntry, lc)->expr), &p);
	targets = (List *) push_mutator((Node *) query->targetList, &p);
	having = conditions ? push_mutator((Node *) make_ands_explicit(list_copy(conditions)), &p) : NULL;
	jointree = push_mutator(r.jointree, &p);
	if (group_exprs)
		groups = (List *) push_mutator((Node *) *group_exprs, &p);
	if (!p.ok || r.columns == NIL || !mdb_route_may_be_ungrouped(&r))
		return false;
	subquery = mdb_route_over_table(&r, NULL, NULL, 1);
	linitial_node(RangeTblEntry, subquery->rtable)->enrname = pstrdup(MARK);
	/*
	 * A group comes once from each node, but the planner takes what GROUP BY groups for unique, and an aggregate
	 * without it for one row; a join would then stop at the first match.  It does not where functions that return
	 * sets may give one group several rows, see query_supports_distinctness().
	 */
	subquery->hasTargetSRFs = true;
	if (has_same_groups(&r))
	{
		extreme = extreme_of(&r, &sortop);
		if (push_having(&r, subquery, conditions, extreme, sortop))
			push_limit(&r, subquery, extreme, sortop);
	}
	query->targetList = targets;
	query->havingQual = having;
	query->jointree = castNode(FromExpr, jointree);
	if (group_exprs)
		*group_exprs = groups;
	mdb_route_forget_aliases(&r);
	mdb_route_replace(&r, subquery);
	return true;
}

static void
push_query(PlannerInfo *root, Query *query)
{
	Index rti = 0;
	ListCell *lc;

	if (query->commandType != CMD_SELECT || query->groupingSets != NIL || query->rowMarks != NIL ||
		query->setOperations != NULL || query->jointree == NULL || query->hasModifyingCTE)
		return;
	/* Something must make it indifferent how often a group comes. */
	if (query->groupClause == NIL && !query->hasAggs &&
		(query->distinctClause == NIL || query->hasDistinctOn || query->hasWindowFuncs ||
		 query->hasTargetSRFs))
		return;
	foreach (lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		rti++;
		if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_RELATION && rte->tablesample == NULL &&
			rte->inFromCl && mdb_is_metricsdb_oid(rte->relid) && mdb_is_distributed(rte->relid) &&
			push_table(root, query, rti))
			return;
	}
}

static bool
push_walker(Node *node, PlannerInfo *root)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query *query = (Query *) node;
		ListCell *lc;

		foreach (lc, query->rtable)
		{
			RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

			/* Of a table that is changed or locked there are no rows here.  Those that are inserted find their way. */
			if (rte->rtekind == RTE_RELATION && query->resultRelation == foreach_current_index(lc) + 1 &&
				query->commandType != CMD_SELECT &&
				(query->commandType != CMD_INSERT || query->onConflict != NULL) &&
				mdb_is_metricsdb_oid(rte->relid))
				mdb_refuse_distributed(rte->relid);
		}
		(void) query_tree_walker(query, push_walker, root, 0);
		mdb_dist_narrow(query);
		if (push_enabled)
			push_query(root, query);
		return false;
	}
	return expression_tree_walker(node, push_walker, root);
}

/*
 * mdb_dist_push - have nodes group what a query, or a part of it, groups of distributed tables.
 */
void
mdb_dist_push(Query *query, ParamListInfo params)
{
	PlannerInfo *root = makeNode(PlannerInfo);

	root->glob = makeNode(PlannerGlobal);
	root->glob->boundParams = params;
	(void) push_walker((Node *) query, root);
}
