/*
 * route_build.c
 *	  The subquery that takes raw's place in a query that is routed.
 *
 *		SELECT keys, combined partials FROM S_k WHERE conditions AND bucket inside AND is_clean(S_k, bucket) GROUP BY keys
 *		UNION ALL
 *		... of each finer aggregate: its rows that S_k has not taken, or that are not inside of what is taken of S_k
 *		UNION ALL
 *		SELECT keys, partials FROM raw WHERE the same of the finest one GROUP BY keys
 *
 * So each row of raw is in one branch, whatever is pending or dirty, and however the bounds lie.  Branches are grouped
 * by all that the query uses of raw, each a grouping of one table.  They are read under the query's one snapshot.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/stratnum.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_func.h"
#include "parser/parse_oper.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "storage/lockdefs.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "exec/pushdown.h"
#include "metricsdb.h"
#include "rollup/route.h"

/* ---------- expressions over raw as expressions over states ---------- */

typedef struct ToStates
{
	const MdbDefinition *def;
	const MdbTable *table;
	Index rti;
	bool times;
	int depth; /* of subqueries */
	bool ok;
} ToStates;

static Var *
column_var(const MdbDefinition *def, int n, Index rti)
{
	AttrNumber attno = list_nth_int(def->columns, n);
	Oid type, collation;
	int32 typmod;

	get_atttypetypmodcoll(def->states, attno, &type, &typmod, &collation);
	return makeVar(rti, attno, type, typmod, collation, 0);
}

static Node *to_states_mutator(Node *node, ToStates *c);

/* In a subquery: only columns of their own are known as keys. */
static Node *
to_states_below(Node *node, ToStates *c)
{
	Var *var = (Var *) node;
	Var key;
	int n;

	if (!IsA(node, Var) || var->varno != 1 || var->varlevelsup != c->depth)
		return expression_tree_mutator(node, to_states_mutator, c);
	key = *var;
	key.varlevelsup = 0;
	n = mdb_find_equal(c->def->keys, (Node *) &key);
	c->ok = n >= 0 && mdb_is_equal_alike((Node *) &key);
	if (!c->ok)
		return node;
	var = column_var(c->def, 1 + n, c->rti);
	var->varlevelsup = c->depth;
	return (Node *) var;
}

static Node *
to_states_mutator(Node *node, ToStates *c)
{
	Var *var = (Var *) node;
	int n;

	if (node == NULL || !c->ok)
		return node;
	if (IsA(node, Query))
	{
		/* Policies have subqueries, which may refer to the row. */
		c->depth++;
		node = (Node *) query_tree_mutator((Query *) node, to_states_mutator, c, 0);
		c->depth--;
		return node;
	}
	if (c->depth > 0)
		return to_states_below(node, c);
	if ((n = mdb_find_equal(c->def->keys, node)) >= 0)
	{
		c->ok = c->times || mdb_is_equal_alike(node);
		return (Node *) column_var(c->def, 1 + n, c->rti);
	}
	if (IsA(node, Aggref))
	{
		Node *combined = mdb_find_equal(c->def->partials, node) < 0
							 ? NULL
							 : mdb_combine_partial((Aggref *) node, c->def->partials,
												   mdb_definition_states(c->def, c->rti));

		c->ok = combined != NULL && exprType(combined) == exprType(node);
		return combined;
	}
	if (IsA(node, Var) && var->varno == 1 && var->varlevelsup == 0)
	{
		if (c->times && var->varattno == c->table->time_attno)
			return (Node *) column_var(c->def, 0, c->rti);
		c->ok = false;
		return node;
	}
	return expression_tree_mutator(node, to_states_mutator, c);
}

/*
 * mdb_route_to_states - an expression over raw, which is varno 1, as one over the states, varno rti; NULL if it is none.
 *
 * With times the time becomes the bucket's: for expressions that are known to be constant within buckets.  Without, it
 * is for policies, which must not go by anything but what is the same in all rows of a bucket.
 */
Node *
mdb_route_to_states(const MdbDefinition *def, const MdbTable *table, Index rti, Node *expr, bool times)
{
	ToStates c = {.def = def, .table = table, .rti = rti, .times = times, .ok = true};

	expr = to_states_mutator(expr, &c);
	return c.ok ? expr : NULL;
}

/* The same of one in the query's terms. */
static Node *
to_states(const MdbRoute *r, const MdbDefinition *def, Node *expr)
{
	expr = copyObject(expr);
	ChangeVarNodes(expr, r->rti, 1, 0);
	return mdb_route_to_states(def, r->table, 1, expr, true);
}

/* ---------- conditions of a branch ---------- */

static Node *
call_marker(char *name, List *args, Oid third, Oid fourth)
{
	Oid types[4] = {REGCLASSOID, ANYELEMENTOID, third, fourth};
	Oid function =
		LookupFuncName(list_make2(makeString(MDB_SCHEMA), makeString(name)), list_length(args), types, false);

	return (Node *) makeFuncExpr(function, BOOLOID, args, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

static Node *
regclass_const(Oid relid)
{
	return (Node *) makeConst(REGCLASSOID, -1, InvalidOid, sizeof(Oid), ObjectIdGetDatum(relid), false, true);
}

/* left op right, of the time's type */
static Node *
comparison(Oid type, Node *left, int strategy, Node *right)
{
	Oid opfamily = mdb_btree_family(type);
	OpExpr *op = (OpExpr *) make_opclause(get_opfamily_member(opfamily, type, type, strategy), BOOLOID, false,
										  (Expr *) left, (Expr *) copyObject(right), InvalidOid, InvalidOid);

	set_opfuncid(op);
	return (Node *) op;
}

/* The greatest, or the least, of boundaries; NULL if there are none. */
static Node *
extreme(Oid type, List *boundaries, bool greatest)
{
	MinMaxExpr *m = makeNode(MinMaxExpr);

	if (boundaries == NIL)
		return (Node *) makeNullConst(type, -1, InvalidOid);
	if (list_length(boundaries) == 1)
		return copyObject(linitial(boundaries));
	m->minmaxtype = type;
	m->minmaxcollid = InvalidOid;
	m->inputcollid = InvalidOid;
	m->op = greatest ? IS_GREATEST : IS_LEAST;
	m->args = copyObject(boundaries);
	m->location = -1;
	return (Node *) m;
}

/* Rows that are not taken from the states of an aggregate: is_pending(states, time, from, to). */
static Node *
not_taken(const MdbRoute *r, const MdbDefinition *def, const MdbRouteInside *inside, Node *time)
{
	Oid type = r->table->time_type;

	return call_marker("is_pending",
					   list_make4(regclass_const(def->states), time, extreme(type, inside->from, true),
								  extreme(type, inside->to, false)),
					   ANYELEMENTOID, ANYELEMENTOID);
}

static bool
is_bound(const MdbRoute *r, Node *condition, int *strategy)
{
	MdbRouteBound *b = mdb_route_bound(r, condition);

	*strategy = b ? b->strategy : 0;
	return b != NULL;
}

/* The query's own conditions, for a branch over states. */
static bool
states_conditions(const MdbRoute *r, const MdbDefinition *def, List **result)
{
	ListCell *lc;

	foreach (lc, r->conditions)
	{
		Node *condition, *mapped;
		int strategy;

		if (is_bound(r, lfirst(lc), &strategy))
		{
			/* The beginning of time is not behind itself. */
			if (strategy != BTGreaterStrategyNumber)
				continue;
		}
		condition = copyObject(lfirst(lc));
		ChangeVarNodes(condition, r->rti, 1, 0);
		mapped = mdb_route_to_states(def, r->table, 1, condition, true);
		/* Those of the definition hold already. */
		if (mapped == NULL || mdb_find_equal(def->where, condition) >= 0)
		{
			if (mdb_find_equal(def->where, condition) < 0)
				return false;
			continue;
		}
		*result = lappend(*result, mapped);
	}
	return true;
}

static List *
add_inside(const MdbRoute *r, const MdbDefinition *def, const MdbRouteInside *inside, List *conditions)
{
	Oid type = r->table->time_type;
	Node *bucket = (Node *) column_var(def, 0, 1);
	ListCell *lc;

	foreach (lc, inside->from)
		conditions = lappend(conditions,
							 comparison(type, copyObject(bucket), BTGreaterEqualStrategyNumber, lfirst(lc)));
	foreach (lc, inside->to)
		conditions =
			lappend(conditions, comparison(type, copyObject(bucket), BTLessStrategyNumber, lfirst(lc)));
	return lappend(conditions,
				   call_marker("is_clean",
							   list_make3(regclass_const(def->states), bucket, makeBoolConst(true, false)),
							   BOOLOID, InvalidOid));
}

/* ---------- branches ---------- */

static RangeTblEntry *
states_entry(const MdbDefinition *def)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	Relation rel = relation_open(def->states, NoLock);
	List *names = NIL;

	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		names = lappend(names, makeString(att->attisdropped ? pstrdup("") : pstrdup(NameStr(att->attname))));
	}
	relation_close(rel, NoLock);
	rte->rtekind = RTE_RELATION;
	rte->relid = def->states;
	rte->relkind = RELKIND_RELATION;
	rte->rellockmode = AccessShareLock;
	rte->alias = makeAlias(get_rel_name(def->view), NIL);
	rte->eref = makeAlias(get_rel_name(def->view), names);
	rte->inFromCl = true;
	return rte;
}

/* Policies of raw that go by keys, in the same order. */
static bool
states_policies(const MdbRoute *r, const MdbDefinition *def, RangeTblEntry *rte)
{
	List *quals = copyObject(r->rte->securityQuals);

	ChangeVarNodes((Node *) quals, r->rti, 1, 0);
	return mdb_policies_translate(def, quals, 1, &rte->securityQuals);
}

/*
 * Summaries of counters must not interleave, and what other branches have lies between this one's buckets: so these are
 * kept apart.
 */
static void
keep_apart(Query *q, const MdbRoute *r, Node *bucket)
{
	SortGroupClause *sgc = makeNode(SortGroupClause);
	TargetEntry *tle;
	bool ordered = false;
	ListCell *lc;

	foreach (lc, r->columns)
	{
		Node *expr = ((MdbRouteColumn *) lfirst(lc))->expr;

		ordered = ordered || (IsA(expr, Aggref) && mdb_partial_is_ordered((Aggref *) expr));
	}
	if (!ordered)
		return;
	tle = makeTargetEntry((Expr *) bucket, list_length(q->targetList) + 1, NULL, true);
	tle->ressortgroupref = tle->resno;
	sgc->tleSortGroupRef = tle->resno;
	get_sort_group_operators(exprType(bucket), false, true, false, &sgc->sortop, &sgc->eqop, NULL,
							 &sgc->hashable);
	q->targetList = lappend(q->targetList, tle);
	q->groupClause = lappend(q->groupClause, sgc);
}

static Query *
grouped_query(const MdbRoute *r, RangeTblEntry *rte, List *conditions, List *exprs, Node *bucket)
{
	Query *q = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);
	ListCell *lc, *le;
	int n = 0;

	ref->rtindex = 1;
	q->commandType = CMD_SELECT;
	q->querySource = QSRC_ORIGINAL;
	q->canSetTag = true;
	q->rtable = list_make1(rte);
	q->jointree = makeFromExpr(list_make1(ref), conditions ? (Node *) make_ands_explicit(conditions) : NULL);
	q->hasRowSecurity = r->query->hasRowSecurity;
	q->hasSubLinks = r->query->hasSubLinks && checkExprHasSubLink((Node *) rte->securityQuals);
	forboth (lc, r->columns, le, exprs)
	{
		MdbRouteColumn *c = lfirst(lc);
		TargetEntry *tle = makeTargetEntry(lfirst(le), n + 1, psprintf("c%d", n + 1), false);

		n++;
		q->targetList = lappend(q->targetList, tle);
		if (IsA(c->expr, Aggref))
			q->hasAggs = true;
		else
		{
			SortGroupClause *sgc = makeNode(SortGroupClause);

			tle->ressortgroupref = n;
			sgc->tleSortGroupRef = n;
			sgc->eqop = c->eqop;
			sgc->sortop = c->sortop;
			sgc->hashable = c->hashable;
			q->groupClause = lappend(q->groupClause, sgc);
		}
	}
	keep_apart(q, r, bucket);
	return q;
}

/* A branch over the states of an aggregate, of what the coarser one above has not taken; NULL if there is none. */
static Query *
states_branch(const MdbRoute *r, const MdbDefinition *def, const MdbRouteInside *inside,
			  const MdbDefinition *above, const MdbRouteInside *above_inside)
{
	RangeTblEntry *rte = states_entry(def);
	List *conditions = NIL, *exprs = NIL;
	Query *q;
	ListCell *lc;

	if (!states_policies(r, def, rte) || !states_conditions(r, def, &conditions))
		return NULL;
	conditions = add_inside(r, def, inside, conditions);
	if (above)
		conditions = lappend(conditions, not_taken(r, above, above_inside, (Node *) column_var(def, 0, 1)));
	foreach (lc, r->columns)
	{
		Node *expr = to_states(r, def, ((MdbRouteColumn *) lfirst(lc))->expr);

		if (expr == NULL)
			return NULL;
		exprs = lappend(exprs, expr);
	}
	q = grouped_query(r, rte, conditions, exprs, (Node *) column_var(def, 0, 1));
	mdb_set_unchecked(q, rte);
	IncrementVarSublevelsUp((Node *) q, 2, 1);
	return q;
}

/*
 * mdb_route_over_table - a query over raw itself, grouped by the columns: SELECT columns FROM raw WHERE the query's
 * conditions AND more GROUP BY those that are no aggregates.
 *
 * bucket keeps states apart that must not interleave; it may be NULL where there are none.  The result is levels below
 * the query.
 */
Query *
mdb_route_over_table(const MdbRoute *r, Node *more, Node *bucket, int levels)
{
	RangeTblEntry *rte = copyObject(r->rte);
	List *conditions = copyObject(r->conditions);
	List *exprs = NIL;
	Query *q;
	ListCell *lc;

	if (more)
		conditions = lappend(conditions, more);
	foreach (lc, r->columns)
		exprs = lappend(exprs, copyObject(((MdbRouteColumn *) lfirst(lc))->expr));
	ChangeVarNodes((Node *) conditions, r->rti, 1, 0);
	ChangeVarNodes((Node *) exprs, r->rti, 1, 0);
	ChangeVarNodes((Node *) rte->securityQuals, r->rti, 1, 0);
	rte->inh = false;
	rte->lateral = false;
	q = grouped_query(r, rte, conditions, exprs, bucket);
	mdb_copy_permissions(r->query, q, rte);
	/* What the query's own subqueries, and those around it, have it refer to is further away now. */
	IncrementVarSublevelsUp((Node *) q, levels, 1);
	return q;
}

static Query *
raw_branch(const MdbRoute *r, const MdbDefinition *above, const MdbRouteInside *above_inside)
{
	Relation rel = relation_open(r->rte->relid, NoLock);
	Form_pg_attribute time = TupleDescAttr(RelationGetDescr(rel), r->table->time_attno - 1);
	Node *var = (Node *) makeVar(r->rti, r->table->time_attno, time->atttypid, time->atttypmod,
								 time->attcollation, 0);

	relation_close(rel, NoLock);
	return mdb_route_over_table(r, not_taken(r, above, above_inside, var), copyObject(above->bucket), 2);
}

/* ---------- all of them ---------- */

static SetOperationStmt *
union_all(const MdbRoute *r, Node *left, Node *right)
{
	SetOperationStmt *s = makeNode(SetOperationStmt);
	ListCell *lc;

	s->op = SETOP_UNION;
	s->all = true;
	s->larg = left;
	s->rarg = right;
	foreach (lc, r->columns)
	{
		Node *expr = ((MdbRouteColumn *) lfirst(lc))->expr;

		s->colTypes = lappend_oid(s->colTypes, exprType(expr));
		s->colTypmods = lappend_int(s->colTypmods, exprTypmod(expr));
		s->colCollations = lappend_oid(s->colCollations, exprCollation(expr));
	}
	return s;
}

static List *
column_names(const MdbRoute *r)
{
	List *names = NIL;

	for (int i = 1; i <= list_length(r->columns); i++)
		names = lappend(names, makeString(psprintf("c%d", i)));
	return names;
}

static Query *
unite(const MdbRoute *r, List *branches)
{
	Query *q = makeNode(Query);
	Node *tree = NULL;
	ListCell *lc;
	int n = 0;

	q->commandType = CMD_SELECT;
	q->querySource = QSRC_ORIGINAL;
	q->canSetTag = true;
	q->jointree = makeFromExpr(NIL, NULL);
	foreach (lc, branches)
	{
		RangeTblEntry *rte = makeNode(RangeTblEntry);
		RangeTblRef *ref = makeNode(RangeTblRef);

		rte->rtekind = RTE_SUBQUERY;
		rte->subquery = lfirst(lc);
		rte->eref = makeAlias(psprintf("*SELECT* %d", ++n), column_names(r));
		q->rtable = lappend(q->rtable, rte);
		ref->rtindex = n;
		tree = tree ? (Node *) union_all(r, tree, (Node *) ref) : (Node *) ref;
	}
	q->setOperations = tree;
	n = 0;
	foreach (lc, r->columns)
	{
		Node *expr = ((MdbRouteColumn *) lfirst(lc))->expr;
		Var *var = makeVar(1, n + 1, exprType(expr), exprTypmod(expr), exprCollation(expr), 0);

		n++;
		q->targetList = lappend(q->targetList, makeTargetEntry((Expr *) var, n, psprintf("c%d", n), false));
	}
	return q;
}

/*
 * mdb_route_build - the subquery, of definitions from the coarsest to the finest, each the source of that before it.
 *
 * NULL if one of them does not know a column, or if there is no telling which of its buckets are inside.
 */
Query *
mdb_route_build(MdbRoute *r, List *levels)
{
	MdbDefinition *above = NULL;
	MdbRouteInside above_inside = {NIL};
	List *branches = NIL;
	ListCell *lc;

	foreach (lc, levels)
	{
		MdbDefinition *def = lfirst(lc);
		MdbRouteInside inside;
		Query *branch;

		if (!mdb_route_inside(r, def, &inside))
			return NULL;
		branch = states_branch(r, def, &inside, above, &above_inside);
		if (branch == NULL)
			return NULL;
		branches = lappend(branches, branch);
		above = def;
		above_inside = inside;
	}
	branches = lappend(branches, raw_branch(r, above, &above_inside));
	return unite(r, branches);
}

/*
 * mdb_route_replace - put the subquery in raw's place in the range table.
 */
void
mdb_route_replace(MdbRoute *r, Query *subquery)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = subquery;
	rte->alias = r->rte->alias;
	rte->eref = makeAlias(r->rte->eref->aliasname, column_names(r));
	rte->inFromCl = r->rte->inFromCl;
	*r->rte = *rte;
}
