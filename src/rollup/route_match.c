/*
 * route_match.c
 *	  Does an aggregate answer a query?  What the query asks of raw, in the terms of the aggregate's columns.
 *
 * Of raw a query may use keys of the aggregate, anything that is computed of them, expressions over the time that
 * are constant within buckets, bounds of the time, and aggregates whose partials are kept.  Each of these becomes a
 * column of a subquery that takes raw's place; the rest of the query stays as it is, with its joins, HAVING and
 * ORDER BY.  A column, a condition or an aggregate that is none of these, and the answer is no.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_oper.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "exec/pushdown.h"
#include "rollup/route.h"

/* ---------- where raw stands in the query ---------- */

/* Are columns of raw used, at the query's own level? */
static bool
uses_raw(const MdbRoute *r, Node *node)
{
	return bms_is_member(r->rti, pull_varnos(NULL, node));
}

/*
 * mdb_route_is_of_table - is it of raw alone, and the same whenever it is computed?
 */
bool
mdb_route_is_of_table(const MdbRoute *r, Node *node)
{
	return bms_membership(pull_varnos(NULL, node)) == BMS_SINGLETON && uses_raw(r, node) &&
		   !contain_subplans(node) && !contain_volatile_functions(node);
}

static void
flatten_ands(Node *node, List **list)
{
	ListCell *lc;

	if (node == NULL)
		return;
	if (is_andclause(node))
		foreach (lc, ((BoolExpr *) node)->args)
			flatten_ands(lfirst(lc), list);
	else
		*list = lappend(*list, node);
}

/* Conditions on raw alone go into the subquery; those that remain. */
static Node *
take_conditions(MdbRoute *r, Node *quals)
{
	List *all = NIL, *rest = NIL;
	ListCell *lc;

	flatten_ands(quals, &all);
	foreach (lc, all)
		if (mdb_route_is_of_table(r, lfirst(lc)))
			r->conditions = lappend(r->conditions, lfirst(lc));
		else
			rest = lappend(rest, lfirst(lc));
	return rest == NIL ? NULL : (Node *) make_ands_explicit(rest);
}

/*
 * The joins without the conditions that are taken.  Each of raw's rows must come out of them as often as others say,
 * at least in the rows that are grouped: it must not be on a side where there may be NULLs instead of it.
 */
static Node *
take_joins(MdbRoute *r, Node *node, bool *has_raw, bool *ok)
{
	*has_raw = false;
	if (IsA(node, RangeTblRef))
	{
		*has_raw = ((RangeTblRef *) node)->rtindex == r->rti;
		r->joined = r->joined || !*has_raw;
		return node;
	}
	if (IsA(node, FromExpr))
	{
		FromExpr *from = makeNode(FromExpr);
		ListCell *lc;

		from->quals = ((FromExpr *) node)->quals;
		foreach (lc, ((FromExpr *) node)->fromlist)
		{
			bool in_this;

			from->fromlist = lappend(from->fromlist, take_joins(r, lfirst(lc), &in_this, ok));
			*has_raw = *has_raw || in_this;
		}
		if (*has_raw)
			from->quals = take_conditions(r, from->quals);
		return (Node *) from;
	}
	if (IsA(node, JoinExpr))
	{
		JoinExpr *join = makeNode(JoinExpr);
		bool left, right;

		*join = *(JoinExpr *) node;
		join->larg = take_joins(r, join->larg, &left, ok);
		join->rarg = take_joins(r, join->rarg, &right, ok);
		*has_raw = left || right;
		if (*has_raw && join->jointype == JOIN_INNER)
			join->quals = take_conditions(r, join->quals);
		else if (*has_raw && !(join->jointype == JOIN_LEFT && left) &&
				 !(join->jointype == JOIN_RIGHT && right))
			*ok = false;
		return (Node *) join;
	}
	*ok = false;
	return node;
}

/* ---------- bounds of the time ---------- */

static bool
is_time(const MdbRoute *r, Node *node)
{
	Var *var = (Var *) mdb_strip_relabel(node);

	return var && IsA(var, Var) && var->varno == r->rti && var->varattno == r->table->time_attno &&
		   var->varlevelsup == 0;
}

/* Types that times are compared with as if they were cast to theirs. */
static bool
is_compared_as(Oid type, Oid time_type)
{
	switch (time_type)
	{
		case TIMESTAMPTZOID:
			return type == TIMESTAMPOID || type == DATEOID;
		case TIMESTAMPOID:
			return type == DATEOID;
		case INT8OID:
			return type == INT4OID || type == INT2OID;
		case INT4OID:
			return type == INT2OID;
		default:
			return false;
	}
}

/*
 * mdb_route_bound - a condition as a bound of the time; NULL if it is none.
 */
MdbRouteBound *
mdb_route_bound(const MdbRoute *r, Node *clause)
{
	OpExpr *op = (OpExpr *) clause;
	Oid opfamily = mdb_btree_family(r->table->time_type);
	MdbRouteBound *b;
	Node *left, *right;
	Oid opno, ltype, rtype;
	int strategy;

	if (!IsA(clause, OpExpr) || list_length(op->args) != 2 || !OidIsValid(opfamily))
		return NULL;
	left = linitial(op->args);
	right = lsecond(op->args);
	opno = op->opno;
	if (!is_time(r, left))
	{
		Node *swap = left;

		left = right;
		right = swap;
		opno = get_commutator(opno);
	}
	if (!OidIsValid(opno) || !is_time(r, left) || uses_raw(r, right))
		return NULL;
	strategy = get_op_opfamily_strategy(opno, opfamily);
	if (strategy == 0 || strategy == BTEqualStrategyNumber)
		return NULL;
	op_input_types(opno, &ltype, &rtype);
	if (ltype != r->table->time_type || (rtype != ltype && !is_compared_as(rtype, ltype)))
		return NULL;
	b = palloc0(sizeof(MdbRouteBound));
	b->strategy = strategy;
	b->value = rtype == ltype ? right
							  : coerce_to_target_type(NULL, copyObject(right), rtype, ltype, -1,
													  COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
	return b->value ? b : NULL;
}

/*
 * mdb_route_flatten - columns of joins as what they stand for, as the planner would do, too.
 */
void
mdb_route_flatten(Query *query)
{
	ListCell *lc;
	bool joins = false;

	foreach (lc, query->rtable)
		joins = joins || lfirst_node(RangeTblEntry, lc)->rtekind == RTE_JOIN;
	if (!joins)
		return;
	query->targetList = (List *) mdb_flatten_joins(query, (Node *) query->targetList);
	query->havingQual = mdb_flatten_joins(query, query->havingQual);
	query->jointree = (FromExpr *) mdb_flatten_joins(query, (Node *) query->jointree);
	if (mdb_group_exprs(query))
		*mdb_group_exprs(query) = (List *) mdb_flatten_joins(query, (Node *) *mdb_group_exprs(query));
}

/*
 * mdb_route_find - look at what is the same for all aggregates: where raw stands, conditions, bounds, keys.
 *
 * False if the query cannot be routed at all.
 */
bool
mdb_route_find(MdbRoute *r)
{
	bool has_raw, ok = true;
	bool bounded = false;
	ListCell *lc;

	r->jointree = take_joins(r, (Node *) r->query->jointree, &has_raw, &ok);
	/* What is volatile is to be asked of each row. */
	if (!has_raw || !ok || contain_volatile_functions((Node *) r->query->jointree))
		return false;
	foreach (lc, r->conditions)
	{
		MdbRouteBound *b = mdb_route_bound(r, lfirst(lc));

		/* Of rows that a marker lets through only some are wanted. */
		if (IsA(lfirst(lc), FuncExpr) && mdb_without_markers(lfirst(lc)) == NIL)
			return false;
		r->bounds = b ? lappend(r->bounds, b) : r->bounds;
		bounded = bounded || b;
	}
	if (r->may_lack && !bounded)
		return false;
	foreach (lc, r->query->groupClause)
	{
		SortGroupClause *sgc = lfirst_node(SortGroupClause, lc);
		Node *key = mdb_group_expr(r->query, get_sortgroupclause_expr(sgc, r->query->targetList));

		if (expression_returns_set(key) || contain_volatile_functions(key))
			return false;
		if (!mdb_route_is_of_table(r, key))
			continue;
		r->group_keys = lappend(r->group_keys, key);
		r->group_clauses = lappend(r->group_clauses, sgc);
	}
	return true;
}

/* ---------- keys ---------- */

/*
 * mdb_is_equal_alike - do values that are equal look alike, so that nothing that is computed of them differs?
 *
 * Those of jsonb do but for the digits of numbers, 1 and 1.0.
 */
bool
mdb_is_equal_alike(Node *key)
{
	TypeCacheEntry *type = lookup_type_cache(getBaseType(exprType(key)), TYPECACHE_BTREE_OPFAMILY);
	Oid proc;

	if (type->type_id == JSONBOID)
		return true;
	if (!OidIsValid(type->btree_opf))
		return false;
	proc = get_opfamily_proc(type->btree_opf, type->btree_opintype, type->btree_opintype, BTEQUALIMAGE_PROC);
	return OidIsValid(proc) && DatumGetBool(OidFunctionCall1Coll(proc, exprCollation(key),
																 ObjectIdGetDatum(type->btree_opintype)));
}

/* Is an expression over the time constant within buckets? */
static bool
is_over_buckets(MdbRoute *r, Node *node)
{
	List *stretches = mdb_stretches_of(r->root, r->table, r->rti, node);
	List *bucket = mdb_stretches_of(NULL, r->table, 1, r->def->bucket);
	ListCell *lc;

	if (stretches == NIL || list_length(bucket) != 1)
		return false;
	foreach (lc, stretches)
	{
		int64 from, to;
		bool session;

		if (!mdb_stretch_covers(linitial(bucket), lfirst(lc), &from, &to, &session))
			return false;
	}
	r->stretches = list_concat(r->stretches, stretches);
	return true;
}

/* Finds what the aggregate's columns do not tell. */
static bool
find_unknown(Node *node, MdbRoute *r)
{
	if (node == NULL)
		return false;
	if (mdb_find_equal(r->def_keys, node) >= 0)
		return !mdb_is_equal_alike(node);
	if (!IsA(node, List) && !IsA(node, CaseWhen) && mdb_uses_only(node, r->rti, r->table, MDB_ROLE_TIME) &&
		is_over_buckets(r, node))
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varno == r->rti && ((Var *) node)->varlevelsup == 0;
	if (IsA(node, Query) || IsA(node, Aggref))
		return true;
	return expression_tree_walker(node, find_unknown, r);
}

/* Can it be computed of the aggregate's columns? */
static bool
is_known(MdbRoute *r, Node *node)
{
	return !find_unknown(node, r);
}

/* The equality that the aggregate's rows were grouped by, unless it says otherwise. */
static Oid
default_equality(Node *node)
{
	Oid eqop;

	get_sort_group_operators(exprType(node), false, true, false, NULL, &eqop, NULL, NULL);
	return eqop;
}

/* ---------- the query in terms of columns ---------- */

typedef struct Rewriting
{
	MdbRoute *r;
	bool ok;
} Rewriting;

/*
 * mdb_route_column - a column of the subquery, which expr over raw becomes if it is none yet; sgc: how it groups, NULL is
 * the type's default.  NULL if there is one like it that groups otherwise.
 */
Var *
mdb_route_column(MdbRoute *r, Node *expr, const SortGroupClause *sgc)
{
	MdbRouteColumn *c = NULL;
	int attno = 0;
	ListCell *lc;

	foreach (lc, r->columns)
	{
		attno++;
		if (equal(((MdbRouteColumn *) lfirst(lc))->expr, expr))
		{
			c = lfirst(lc);
			break;
		}
	}
	if (c == NULL)
	{
		c = palloc0(sizeof(MdbRouteColumn));
		c->expr = expr;
		if (sgc)
		{
			c->eqop = sgc->eqop;
			c->sortop = sgc->sortop;
			c->hashable = sgc->hashable;
		}
		else if (!IsA(expr, Aggref))
			get_sort_group_operators(exprType(expr), false, true, false, &c->sortop, &c->eqop, NULL,
									 &c->hashable);
		r->columns = lappend(r->columns, c);
		attno = list_length(r->columns);
	}
	else if (sgc && c->eqop != sgc->eqop)
		return NULL;
	return makeVar(r->rti, attno, exprType(expr), exprTypmod(expr), exprCollation(expr), 0);
}

/* Does each group of the query have rows of one group of the aggregate, in each bucket, once? */
static bool
groups_by_keys(const MdbRoute *r)
{
	ListCell *lc;

	if (list_length(r->query->jointree->fromlist) != 1 ||
		!IsA(linitial(r->query->jointree->fromlist), RangeTblRef))
		return false;
	foreach (lc, r->def_keys)
		if (mdb_find_equal(r->group_keys, lfirst(lc)) < 0)
			return false;
	return true;
}

/* The value of an aggregate of combined partials. */
static Node *
rewrite_aggregate(MdbRoute *r, Aggref *agg)
{
	MdbReason reason;
	MdbSplit *split = mdb_split_aggregate(agg, &reason);
	List *states = NIL, *combined = NIL;
	Node *result;
	ListCell *lc;

	if (split == NULL)
		return NULL;
	foreach (lc, split->partials)
	{
		Node *partial = lfirst(lc);
		Var *var;

		if (mdb_find_equal(r->def_partials, partial) < 0)
			return NULL;
		/* Summaries that interleave cannot be combined. */
		if (mdb_partial_is_ordered((Aggref *) partial) && !groups_by_keys(r))
			return NULL;
		var = mdb_route_column(r, partial, NULL);
		states = lappend(states, var);
	}
	foreach (lc, split->partials)
	{
		Node *node = mdb_combine_partial(lfirst(lc), split->partials, states);

		if (node == NULL)
			return NULL;
		combined = lappend(combined, node);
	}
	result = mdb_split_finish(split, combined);
	return exprType(result) == agg->aggtype ? result : NULL;
}

static Node *rewrite_mutator(Node *node, Rewriting *w);

static Node *
no_answer(Rewriting *w, Node *node)
{
	w->ok = false;
	return node;
}

/* A key of the query's grouping; NULL if it is to be taken apart. */
static Node *
rewrite_group_key(MdbRoute *r, Node *node)
{
	int n = mdb_find_equal(r->group_keys, node);
	SortGroupClause *sgc = n < 0 ? NULL : list_nth(r->group_clauses, n);

	if (sgc == NULL)
		return NULL;
	if (!(mdb_find_equal(r->def_keys, node) >= 0 && sgc->eqop == default_equality(node)) &&
		!is_known(r, node))
		return NULL;
	return (Node *) mdb_route_column(r, node, sgc);
}

static Node *
rewrite_mutator(Node *node, Rewriting *w)
{
	MdbRoute *r = w->r;
	Node *result;

	if (node == NULL || !w->ok)
		return node;
	if (IsA(node, Query))
	{
		/* A subquery, of which raw is no part. */
		if (rangeTableEntry_used(node, r->rti, 1))
			return no_answer(w, node);
		return node;
	}
	if (IsA(node, Aggref) && ((Aggref *) node)->agglevelsup == 0)
	{
		result = rewrite_aggregate(r, (Aggref *) node);
		return result ? result : no_answer(w, node);
	}
	if (IsA(node, GroupingFunc))
		return no_answer(w, node);
	/* What holds expressions. */
	if (IsA(node, TargetEntry) || IsA(node, List) || IsA(node, FromExpr) || IsA(node, JoinExpr) ||
		IsA(node, CaseWhen) || IsA(node, RangeTblRef))
		return expression_tree_mutator(node, rewrite_mutator, w);
	if ((result = rewrite_group_key(r, node)) != NULL)
		return result;
	if ((mdb_find_equal(r->def_keys, node) >= 0 && mdb_is_equal_alike(node)) ||
		(mdb_uses_only(node, r->rti, r->table, MDB_ROLE_TIME) && is_over_buckets(r, node)))
	{
		result = (Node *) mdb_route_column(r, node, NULL);
		return result ? result : no_answer(w, node);
	}
	if (IsA(node, Var) && ((Var *) node)->varno == r->rti && ((Var *) node)->varlevelsup == 0)
		return no_answer(w, node);
	return expression_tree_mutator(node, rewrite_mutator, w);
}

/*
 * mdb_route_rewrite - an expression of the query, with columns of the subquery in place of raw's.
 *
 * *ok becomes false if that cannot be.
 */
Node *
mdb_route_rewrite(MdbRoute *r, Node *node, bool *ok)
{
	Rewriting w = {.r = r, .ok = true};

	node = rewrite_mutator(node, &w);
	*ok = *ok && w.ok;
	return node;
}

/* ---------- one aggregate ---------- */

static List *
in_terms_of(List *exprs, Index rti)
{
	exprs = copyObject(exprs);
	ChangeVarNodes((Node *) exprs, 1, rti, 0);
	return exprs;
}

/*
 * mdb_route_match - are the query's conditions such as an aggregate knows?  From now on it is the one that is tried.
 */
bool
mdb_route_match(MdbRoute *r, MdbDefinition *def)
{
	List *where = in_terms_of(def->where, r->rti);
	ListCell *lc;

	r->def = def;
	r->def_keys = in_terms_of(def->keys, r->rti);
	r->def_partials = in_terms_of(def->partials, r->rti);
	r->stretches = r->columns = NIL;
	if (exprType(def->bucket) != r->table->time_type)
		return false;
	/* All of its rows, and no others. */
	foreach (lc, where)
		if (mdb_find_equal(r->conditions, lfirst(lc)) < 0)
			return false;
	foreach (lc, r->conditions)
		if (mdb_find_equal(where, lfirst(lc)) < 0 && mdb_route_bound(r, lfirst(lc)) == NULL &&
			!is_known(r, lfirst(lc)))
			return false;
	return true;
}
