/*
 * narrow.c
 *	  Joins of a distributed table with small tables of the coordinator: nodes are told which values of the other side's
 *	  column there are, so that they send, and group, only what has a partner.
 *
 *		FROM t JOIN h ON h.b = t.a WHERE h.c				WHERE t.a IN (SELECT b FROM h)
 *
 * get one more condition that follows from those that they have, before they are planned:
 *
 *		t.a = ANY (ARRAY(SELECT DISTINCT b FROM h WHERE h.c LIMIT 1001)) OR cardinality(ARRAY(...)) > 1000
 *
 * The subqueries are run once, by the coordinator, as any query of h would be: with its policies and privileges.  The
 * table joined is looked at again then, so it must have few pages.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "dist/dist.h"
#include "metricsdb.h"
#include "rollup/route.h"
#include "store/store.h"

#define MOST_VALUES 1000
#define MOST_PAGES  1000

typedef struct Narrowing
{
	Query *query;
	Bitmapset *inner; /* tables whose rows must meet the conditions */
	List *quals;
	List *more; /* conditions that are found */
} Narrowing;

/* ---------- which tables ---------- */

static bool
is_spread(const RangeTblEntry *rte)
{
	return rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_RELATION && rte->tablesample == NULL &&
		   mdb_is_metricsdb_oid(rte->relid) && mdb_is_distributed(rte->relid);
}

static bool
is_small(const RangeTblEntry *rte)
{
	Relation rel;
	BlockNumber pages;

	if (rte->rtekind != RTE_RELATION || rte->tablesample != NULL ||
		(rte->relkind != RELKIND_RELATION && rte->relkind != RELKIND_MATVIEW) || is_spread(rte))
		return false;
	rel = table_open(rte->relid, AccessShareLock);
	pages = RelationGetNumberOfBlocks(rel);
	table_close(rel, NoLock);
	return pages <= MOST_PAGES && !mdb_is_metricsdb_oid(rte->relid);
}

static void
collect(Narrowing *n, Node *node)
{
	ListCell *lc;

	if (IsA(node, RangeTblRef))
		n->inner = bms_add_member(n->inner, ((RangeTblRef *) node)->rtindex);
	else if (IsA(node, FromExpr))
	{
		foreach (lc, ((FromExpr *) node)->fromlist)
			collect(n, lfirst(lc));
		n->quals = list_concat(n->quals, make_ands_implicit((Expr *) ((FromExpr *) node)->quals));
	}
	else if (IsA(node, JoinExpr))
	{
		JoinExpr *join = (JoinExpr *) node;

		if (join->jointype == JOIN_INNER || join->jointype == JOIN_LEFT)
			collect(n, join->larg);
		if (join->jointype == JOIN_INNER || join->jointype == JOIN_RIGHT)
			collect(n, join->rarg);
		if (join->jointype == JOIN_INNER)
			n->quals = list_concat(n->quals, make_ands_implicit((Expr *) join->quals));
	}
}

static Node *
strip(Node *node)
{
	while (node && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node;
}

/* Of which table is a column that all rows must have a partner for?  0: none. */
static Index
table_of(const Narrowing *n, Node *node)
{
	Var *var = (Var *) strip(node);

	if (!IsA(var, Var) || var->varlevelsup != 0 || var->varattno <= 0 || !bms_is_member(var->varno, n->inner))
		return 0;
	return var->varno;
}

/* ---------- values ---------- */

static Node *
array_of(Query *subquery)
{
	SubLink *link = makeNode(SubLink);

	link->subLinkType = ARRAY_SUBLINK;
	link->subselect = (Node *) subquery;
	link->location = -1;
	return (Node *) link;
}

static void
limit_values(Query *q)
{
	q->limitCount = (Node *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(MOST_VALUES + 1),
									   false, FLOAT8PASSBYVAL);
	q->limitOption = LIMIT_OPTION_COUNT;
}

/* Are there columns of outer queries, whichever?  There are no subqueries in it. */
static bool
is_correlated(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varlevelsup > 0;
	return expression_tree_walker(node, is_correlated, context);
}

/* SELECT DISTINCT column FROM table WHERE the query's conditions on it LIMIT so many. */
static Query *
values_of_table(Narrowing *n, Index rti, Node *column)
{
	Query *q = makeNode(Query);
	RangeTblEntry *rte = copyObject(rt_fetch(rti, n->query->rtable));
	RangeTblRef *ref = makeNode(RangeTblRef);
	SortGroupClause *sgc = makeNode(SortGroupClause);
	List *conditions = NIL;
	TargetEntry *tle;
	bool hashable;
	ListCell *lc;

	foreach (lc, n->quals)
	{
		Node *qual = lfirst(lc);
		int only;

		if (bms_get_singleton_member(pull_varnos(NULL, qual), &only) && only == rti &&
			!contain_subplans(qual) && !contain_volatile_functions(qual) && !is_correlated(qual, NULL))
			conditions = lappend(conditions, copyObject(qual));
	}
	tle = makeTargetEntry(copyObject((Expr *) column), 1, pstrdup("value"), false);
	tle->ressortgroupref = sgc->tleSortGroupRef = 1;
	get_sort_group_operators(exprType(column), false, true, false, &sgc->sortop, &sgc->eqop, NULL, &hashable);
	sgc->hashable = hashable;
	ref->rtindex = 1;
	q->commandType = CMD_SELECT;
	q->querySource = QSRC_ORIGINAL;
	q->canSetTag = true;
	q->rtable = list_make1(rte);
	q->targetList = list_make1(tle);
	q->distinctClause = list_make1(sgc);
	q->jointree = makeFromExpr(list_make1(ref), conditions ? (Node *) make_ands_explicit(conditions) : NULL);
	q->limitOption = LIMIT_OPTION_COUNT;
	limit_values(q);
	ChangeVarNodes((Node *) q->targetList, rti, 1, 0);
	ChangeVarNodes((Node *) q->jointree, rti, 1, 0);
	ChangeVarNodes((Node *) rte->securityQuals, rti, 1, 0);
	rte->lateral = false;
	q->hasRowSecurity = n->query->hasRowSecurity;
	q->hasSubLinks = checkExprHasSubLink((Node *) rte->securityQuals);
	mdb_copy_permissions(n->query, q, rte);
	return q;
}

/* What a subquery of IN returns; NULL if that is not cheap to have twice, or may be something else the second time. */
static Query *
values_of_subquery(const SubLink *link)
{
	Query *q = castNode(Query, link->subselect);
	ListCell *lc;

	if (q->commandType != CMD_SELECT || q->cteList != NIL || q->setOperations != NULL || q->hasSubLinks ||
		q->limitCount != NULL || q->limitOffset != NULL || q->hasDistinctOn || q->hasWindowFuncs ||
		q->hasAggs || list_length(q->targetList) != 1 || contain_volatile_functions((Node *) q) ||
		contain_vars_of_level((Node *) q, 1))
		return NULL;
	foreach (lc, q->rtable)
		if (lfirst_node(RangeTblEntry, lc)->rtekind != RTE_JOIN && !is_small(lfirst(lc)))
			return NULL;
	q = copyObject(q);
	limit_values(q);
	return q;
}

/* The condition that a column is among values, or that these are too many. */
static void
add_condition(Narrowing *n, Oid op, Oid collation, Node *column, Query *values)
{
	Oid type = exprType((Node *) linitial_node(TargetEntry, values->targetList)->expr);
	ScalarArrayOpExpr *any = makeNode(ScalarArrayOpExpr);
	Node *count, *many;

	if (!OidIsValid(op) || !OidIsValid(get_array_type(type)))
		return;
	any->opno = op;
	any->opfuncid = get_opcode(op);
	any->useOr = true;
	any->inputcollid = collation;
	any->args = list_make2(copyObject(column), array_of(values));
	any->location = -1;
	count = (Node *) makeFuncExpr(F_CARDINALITY, INT4OID, list_make1(array_of(copyObject(values))),
								  InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	many = (Node *) makeFuncExpr(
		F_INT4GT, BOOLOID,
		list_make2(count, makeConst(INT4OID, -1, InvalidOid, 4, Int32GetDatum(MOST_VALUES), false, true)),
		InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	n->more = lappend(n->more, makeBoolExpr(OR_EXPR, list_make2(any, many), -1));
}

/* ---------- conditions ---------- */

/* t.a = h.b */
static void
narrow_join(Narrowing *n, const OpExpr *op)
{
	Node *left = linitial(op->args), *right = lsecond(op->args);
	Index l = table_of(n, left), r = table_of(n, right);
	const List *rtable = n->query->rtable;

	if (l == 0 || r == 0 || l == r || !op_hashjoinable(op->opno, exprType(left)))
		return;
	if (is_spread(rt_fetch(l, rtable)) && is_small(rt_fetch(r, rtable)))
		add_condition(n, op->opno, op->inputcollid, left, values_of_table(n, r, right));
	else if (is_spread(rt_fetch(r, rtable)) && is_small(rt_fetch(l, rtable)))
		add_condition(n, get_commutator(op->opno), op->inputcollid, right, values_of_table(n, l, left));
}

/* t.a IN (SELECT ...) */
static void
narrow_in(Narrowing *n, const SubLink *link)
{
	OpExpr *op = (OpExpr *) link->testexpr;
	Query *values;
	Index l;

	if (link->subLinkType != ANY_SUBLINK || op == NULL || !IsA(op, OpExpr) || list_length(op->args) != 2 ||
		!IsA(lsecond(op->args), Param) || !op_hashjoinable(op->opno, exprType(linitial(op->args))))
		return;
	l = table_of(n, linitial(op->args));
	if (l == 0 || !is_spread(rt_fetch(l, n->query->rtable)))
		return;
	values = values_of_subquery(link);
	if (values)
		add_condition(n, op->opno, op->inputcollid, linitial(op->args), values);
}

/*
 * mdb_dist_narrow - give a query conditions that nodes can be asked, where others follow from joins.
 */
void
mdb_dist_narrow(Query *query)
{
	Narrowing n = {.query = query};
	bool any = false;
	ListCell *lc;

	foreach (lc, query->rtable)
		any = any || is_spread(lfirst_node(RangeTblEntry, lc));
	if (!any || query->commandType != CMD_SELECT || query->jointree == NULL || query->rowMarks != NIL ||
		(list_length(query->rtable) == 1 && !query->hasSubLinks))
		return;
	mdb_route_flatten(query);
	collect(&n, (Node *) query->jointree);
	foreach (lc, n.quals)
	{
		Node *qual = lfirst(lc);

		if (IsA(qual, OpExpr) && list_length(((OpExpr *) qual)->args) == 2)
			narrow_join(&n, (OpExpr *) qual);
		else if (IsA(qual, SubLink))
			narrow_in(&n, (SubLink *) qual);
	}
	if (n.more == NIL)
		return;
	query->hasSubLinks = true;
	query->jointree->quals =
		(Node *) make_ands_explicit(list_concat(make_ands_implicit((Expr *) query->jointree->quals), n.more));
}
