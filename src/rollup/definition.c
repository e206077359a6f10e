/*
 * definition.c
 *	  A continuous aggregate's definition, read back from its view's rule.
 *
 * The rule is the only place where it is kept, so that renames, dumps and restores keep it true.  create.c writes it:
 *
 *		SELECT finals FROM (SELECT bucket, keys, states FROM S WHERE is_clean(...)
 *							UNION ALL SELECT ... of a finer aggregate's states, if it has one, as often as there are
 *							UNION ALL SELECT bucket, keys, partials FROM raw WHERE is_pending(...) GROUP BY ...) s
 *		GROUP BY bucket, keys
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "metricsdb.h"
#include "rollup/language.h"
#include "store/aggregates.h"
#include "store/store.h"

pg_noreturn static void
not_one(Oid view)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_WRONG_OBJECT_TYPE),
		 errmsg("\"%s\" is not a continuous aggregate", get_rel_name(view)),
		 errdetail("Its query is not one that CREATE MATERIALIZED VIEW WITH (metricsdb.continuous) makes."),
		 errhint("Do not replace the view.  Drop it and create it anew, or use "
				 "metricsdb.add_aggregate().")));
}

static bool
is_marker(Node *node)
{
	FuncExpr *f = (FuncExpr *) node;
	char *name;

	if (!IsA(f, FuncExpr) || get_func_namespace(f->funcid) != get_namespace_oid(MDB_SCHEMA, true))
		return false;
	name = get_func_name(f->funcid);
	return name != NULL && (strcmp(name, "is_clean") == 0 || strcmp(name, "is_pending") == 0);
}

static bool
is_false(Node *node)
{
	Const *c = (Const *) node;

	return IsA(c, Const) && c->consttype == BOOLOID && !c->constisnull && !DatumGetBool(c->constvalue);
}

/*
 * mdb_without_markers - the conditions of WHERE as a list, without is_clean(), is_pending() and false.
 */
List *
mdb_without_markers(Node *quals)
{
	List *rest = NIL;
	ListCell *lc;

	foreach (lc, make_ands_implicit((Expr *) quals))
		if (!is_marker(lfirst(lc)) && !is_false(lfirst(lc)))
			rest = lappend(rest, lfirst(lc));
	return rest;
}

static bool
has_false(Node *quals)
{
	ListCell *lc;

	foreach (lc, make_ands_implicit((Expr *) quals))
		if (is_false(lfirst(lc)))
			return true;
	return false;
}

/* The subqueries of UNION ALL, from left to right. */
static List *
branches_of(Query *query, Node *setop)
{
	SetOperationStmt *s = (SetOperationStmt *) setop;

	if (IsA(setop, RangeTblRef))
	{
		RangeTblEntry *rte = rt_fetch(((RangeTblRef *) setop)->rtindex, query->rtable);

		return rte->rtekind == RTE_SUBQUERY ? list_make1(rte->subquery) : NIL;
	}
	if (!IsA(s, SetOperationStmt) || s->op != SETOP_UNION || !s->all)
		return NIL;
	return list_concat(branches_of(query, s->larg), branches_of(query, s->rarg));
}

/* The one table or subquery that a query reads. */
static RangeTblEntry *
only_source(Query *query)
{
	RangeTblRef *ref;

	if (query->jointree == NULL || list_length(query->jointree->fromlist) != 1)
		return NULL;
	ref = linitial(query->jointree->fromlist);
	if (!IsA(ref, RangeTblRef))
		return NULL;
	return rt_fetch(ref->rtindex, query->rtable);
}

static Oid
only_table(Query *query)
{
	RangeTblEntry *rte = only_source(query);

	return rte && rte->rtekind == RTE_RELATION ? rte->relid : InvalidOid;
}

/* The expressions of a branch's targets; without PostgreSQL 18's detour over the groups. */
static List *
targets_of(Query *branch)
{
	List *list = NIL;
	ListCell *lc;

	foreach (lc, branch->targetList)
	{
		TargetEntry *tle = lfirst(lc);

		if (!tle->resjunk)
			list = lappend(list, mdb_group_expr(branch, (Node *) tle->expr));
	}
	return list;
}

static bool
read_states(MdbDefinition *def, Query *branch)
{
	ListCell *lc;

	def->states = only_table(branch);
	foreach (lc, targets_of(branch))
	{
		Var *var = lfirst(lc);

		if (!IsA(var, Var) || var->varattno <= 0 || list_member_int(def->columns, var->varattno))
			return false;
		def->columns = lappend_int(def->columns, var->varattno);
	}
	return OidIsValid(def->states);
}

static bool
read_raw(MdbDefinition *def, Query *branch)
{
	List *targets = targets_of(branch);
	MdbReason reason;
	Relation raw;
	const MdbTable *table;
	AttrNumber time_attno;
	ListCell *lc;

	def->raw = only_table(branch);
	def->materialized_only = has_false(branch->jointree->quals);
	def->where = mdb_without_markers(branch->jointree->quals);
	if (!OidIsValid(def->raw) || targets == NIL || list_length(targets) != list_length(def->columns))
		return false;
	def->bucket = linitial(targets);
	for_each_from(lc, targets, 1)
	{
		Node *node = lfirst(lc);

		if (IsA(node, Aggref))
			def->partials = lappend(def->partials, node);
		else if (def->partials == NIL)
			def->keys = lappend(def->keys, node);
		else
			return false;
	}
	raw = table_open(def->raw, AccessShareLock);
	table = mdb_is_metricsdb(raw) ? mdb_table(raw) : NULL;
	time_attno = table ? table->time_attno : 0;
	table_close(raw, NoLock);
	return mdb_bucket_rule(def->bucket, 1, time_attno, &def->rule, &reason);
}

/* A branch that keeps apart what is not in its columns (text.c) does so for its readers alone. */
static void
group_by_columns(Query *branch)
{
	ListCell *lc;

	foreach (lc, branch->targetList)
	{
		TargetEntry *tle = lfirst(lc);
		ListCell *lg;

		if (!tle->resjunk)
			continue;
		foreach (lg, branch->groupClause)
			if (lfirst_node(SortGroupClause, lg)->tleSortGroupRef == tle->ressortgroupref)
				branch->groupClause = foreach_delete_current (branch->groupClause, lg);
		branch->targetList = foreach_delete_current (branch->targetList, lc);
	}
}

/*
 * Are the columns of all branches of the same types?  UNION would convert them, but who takes states instead of rows of
 * the table takes the values as they are.
 */
static bool
types_agree(List *branches)
{
	List *wanted = targets_of(llast(branches));
	ListCell *lb, *lt, *lw;

	foreach (lb, branches)
	{
		List *targets = targets_of(lfirst(lb));

		if (list_length(targets) != list_length(wanted))
			return false;
		forboth (lt, targets, lw, wanted)
			if (exprType(lfirst(lt)) != exprType(lfirst(lw)) ||
				exprCollation(lfirst(lt)) != exprCollation(lfirst(lw)))
				return false;
	}
	return true;
}

/* Are its tables those that the aggregate has, if it is one?  An owner can give a view another rule. */
static bool
is_as_registered(const MdbDefinition *def)
{
	int n;
	MdbAggregate *a = mdb_aggregates_by(MDB_AGGREGATE_VIEW, def->view, NULL, &n);

	for (int i = 0; i < n; i++)
		if (a[i].aggregate != def->states || a[i].source != def->source || a[i].raw != def->raw)
			return false;
	return true;
}

/*
 * mdb_definition_find - of a view, on which the caller has a lock; NULL if it is not that of a continuous aggregate.
 */
MdbDefinition *
mdb_definition_find(Oid view)
{
	MdbDefinition *def = palloc0(sizeof(MdbDefinition));
	Relation rel = relation_open(view, AccessShareLock);
	RangeTblEntry *rte;
	List *branches;
	ListCell *lc;

	def->view = view;
	def->query = rel->rd_rel->relkind == RELKIND_VIEW ? copyObject(get_view_query(rel)) : NULL;
	relation_close(rel, NoLock);
	rte = def->query ? only_source(def->query) : NULL;
	if (rte == NULL || rte->rtekind != RTE_SUBQUERY || rte->subquery->setOperations == NULL)
		return NULL;
	branches = branches_of(rte->subquery, rte->subquery->setOperations);
	if (list_length(branches) < 2 || !read_states(def, linitial(branches)) ||
		!read_raw(def, llast(branches)) || !types_agree(branches))
		return NULL;
	for_each_from(lc, branches, 1) def->sources = lappend_oid(def->sources, only_table(lfirst(lc)));
	def->feed = copyObject(lsecond(branches));
	group_by_columns(def->feed);
	def->source = only_table(def->feed);
	if (def->materialized_only)
	{
		List *quals = make_ands_implicit((Expr *) def->feed->jointree->quals);

		foreach (lc, quals)
			if (is_false(lfirst(lc)))
				quals = foreach_delete_current (quals, lc);
		def->feed->jointree->quals = (Node *) make_ands_explicit(quals);
	}
	return OidIsValid(def->source) && is_as_registered(def) ? def : NULL;
}

/*
 * mdb_definition_read - the same.
 *
 * Raises ERRCODE_WRONG_OBJECT_TYPE if it is not that of a continuous aggregate.
 */
MdbDefinition *
mdb_definition_read(Oid view)
{
	MdbDefinition *def = mdb_definition_find(view);

	if (def == NULL)
		not_one(view);
	return def;
}

/*
 * mdb_definition_column - the attribute number of the column of states that keeps a partial, from 0.
 */
AttrNumber
mdb_definition_column(const MdbDefinition *def, int partial)
{
	return (AttrNumber) list_nth_int(def->columns, 1 + list_length(def->keys) + partial);
}

/*
 * mdb_definition_states - Vars of the columns of states that keep the partials, in their order.
 */
List *
mdb_definition_states(const MdbDefinition *def, Index varno)
{
	List *vars = NIL;

	for (int i = 0; i < list_length(def->partials); i++)
	{
		AttrNumber attno = mdb_definition_column(def, i);
		Oid type, collation;
		int32 typmod;

		get_atttypetypmodcoll(def->states, attno, &type, &typmod, &collation);
		Assert(type == list_nth_node(Aggref, def->partials, i)->aggtype);
		vars = lappend(vars, makeVar(varno, attno, type, typmod, collation, 0));
	}
	return vars;
}
