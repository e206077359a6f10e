/*
 * analyse.c
 *	  What the SELECT of a continuous aggregate says, taken apart; or why it cannot be kept.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "rollup/define.h"
#include "store/store.h"

/*
 * mdb_refuse - raise an error: a SELECT cannot be that of a continuous aggregate.
 */
void
mdb_refuse(const char *name, int code, const char *detail, const char *hint)
{
	ereport(ERROR, (errcode(code), errmsg("cannot create continuous aggregate \"%s\"", name),
					errdetail("%s", detail), hint ? errhint("%s", hint) : 0));
}

#define unsupported(plan_name, detail, hint) \
	mdb_refuse(plan_name, ERRCODE_FEATURE_NOT_SUPPORTED, detail, hint)

/* ---------- clauses ---------- */

/* Clauses that there is no way to keep. */
static void
check_clauses(const Query *q, const char *name)
{
	const char *nest = "Create the aggregate without it, and an ordinary view over it.";

	if (q->setOperations)
		unsupported(name, "Its query has UNION, INTERSECT or EXCEPT.",
					"Create an aggregate for each SELECT.");
	if (q->cteList)
		unsupported(name, "Its query has WITH.", "Write what it names into the query.");
	if (q->hasSubLinks)
		unsupported(name, "Its query has a subquery.", nest);
	if (q->hasWindowFuncs)
		unsupported(name, "Its query has window functions.", nest);
	if (q->hasTargetSRFs)
		unsupported(name, "Its query has functions that return sets.", nest);
	if (q->distinctClause)
		unsupported(name, "Its query has DISTINCT.", "GROUP BY makes each group once.");
	if (q->limitCount || q->limitOffset)
		unsupported(name, "Its query has LIMIT or OFFSET.", nest);
	if (q->sortClause)
		unsupported(name, "Its query has ORDER BY.", "Give the order when reading the aggregate.");
	if (q->groupingSets)
		unsupported(name, "Its query has grouping sets.", "Create an aggregate for each of them.");
	if (q->rowMarks || q->hasForUpdate)
		unsupported(name, "Its query has FOR UPDATE or FOR SHARE.", NULL);
	if (q->groupClause == NIL)
		mdb_refuse(name, ERRCODE_INVALID_TABLE_DEFINITION, "Its query has no GROUP BY.",
				   "Group by metricsdb.time_bucket('1 hour', time), or another width.");
}

/* The table that is read. */
static RangeTblEntry *
check_from(const Query *q, const char *name, Index *varno)
{
	RangeTblEntry *rte;
	RangeTblRef *ref;

	if (list_length(q->jointree->fromlist) != 1 || !IsA(linitial(q->jointree->fromlist), RangeTblRef))
		unsupported(name, "Its query joins tables, or reads none.",
					"Aggregate one table, and join the result when reading it.");
	ref = linitial(q->jointree->fromlist);
	rte = rt_fetch(ref->rtindex, q->rtable);
	if (rte->rtekind != RTE_RELATION)
		unsupported(name, "Its query does not read a table.",
					"Aggregate a metricsdb table, or another continuous aggregate.");
	if (rte->tablesample)
		unsupported(name, "Its query has TABLESAMPLE.", NULL);
	*varno = ref->rtindex;
	return rte;
}

/* May an aggregate be made of this relation?  It is locked. */
static void
check_source(const char *name, Oid relid)
{
	Relation rel = table_open(relid, NoLock);
	const char *relname = RelationGetRelationName(rel);
	char kind = rel->rd_rel->relkind;
	const char *hint = "Create the aggregate on a table USING metricsdb.";

	if (kind == RELKIND_PARTITIONED_TABLE)
		mdb_refuse(name, ERRCODE_WRONG_OBJECT_TYPE, psprintf("\"%s\" is a partitioned table.", relname),
				   "metricsdb divides tables by time itself: use one table, or create an aggregate on each "
				   "partition.");
	if (kind != RELKIND_RELATION || !mdb_is_metricsdb(rel))
		mdb_refuse(name, ERRCODE_WRONG_OBJECT_TYPE, psprintf("\"%s\" is not a metricsdb table.", relname),
				   hint);
	if (IsCatalogRelation(rel))
		mdb_refuse(name, ERRCODE_WRONG_OBJECT_TYPE, psprintf("\"%s\" is a system catalog.", relname), hint);
	if (mdb_is_distributed(relid))
		mdb_refuse(name, ERRCODE_WRONG_OBJECT_TYPE, psprintf("Rows of \"%s\" are on its nodes.", relname),
				   "Create it by a statement of its own, with the table in FROM.");
	if (mdb_is_sharded(relid))
		mdb_refuse(
			name, ERRCODE_WRONG_OBJECT_TYPE, psprintf("Rows of \"%s\" are in shards of Citus.", relname),
			"Create an aggregate on each shard, by run_command_on_shards(): queries on the table find it.");
	if (rel->rd_rel->relispartition)
		mdb_refuse(name, ERRCODE_WRONG_OBJECT_TYPE, psprintf("\"%s\" is a partition.", relname),
				   "Detach it, or use a table that is not partitioned.");
	if (has_subclass(relid))
		mdb_refuse(name, ERRCODE_WRONG_OBJECT_TYPE,
				   psprintf("\"%s\" has tables that inherit from it.", relname), hint);
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		mdb_refuse(name, ERRCODE_WRONG_OBJECT_TYPE, psprintf("\"%s\" is a temporary table.", relname),
				   "The background worker cannot see it.");
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED)
		mdb_refuse(name, ERRCODE_WRONG_OBJECT_TYPE, psprintf("\"%s\" is an unlogged table.", relname),
				   "A crash empties it: ALTER TABLE ... SET LOGGED.");
	if (mdb_table(rel)->time_attno == 0)
		mdb_refuse(name, ERRCODE_WRONG_OBJECT_TYPE, psprintf("Table \"%s\" has no time column.", relname),
				   "Set one by metricsdb.set_options(), in a table that is empty.");
	if (mdb_aggregate_get(relid, NULL) != NULL)
		mdb_refuse(name, ERRCODE_WRONG_OBJECT_TYPE,
				   psprintf("\"%s\" has the states of a continuous aggregate.", relname),
				   "Create it on that aggregate's view.");
	if (!mdb_owns_table(relid))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, relname);
	table_close(rel, NoLock);
}

/* ---------- expressions ---------- */

static Node *
ungroup_mutator(Node *node, void *query)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Node *expr = mdb_group_expr(query, node);

		return expr == node ? copyObject(node) : ungroup_mutator(expr, query);
	}
	return expression_tree_mutator(node, ungroup_mutator, query);
}

/*
 * mdb_ungroup - a copy of an expression of a query, without columns of PostgreSQL 18's groups.
 */
Node *
mdb_ungroup(Query *query, Node *node)
{
	return ungroup_mutator(node, query);
}

/* A query's expression over the table alone, which becomes varno 1. */
static Node *
over_raw(Index varno, Node *node)
{
	node = copyObject(node);
	ChangeVarNodes(node, varno, 1, 0);
	return node;
}

/* A column of states, from 1. */
static Node *
states_column(int column, Node *like)
{
	return (Node *) makeVar(1, column, exprType(like), exprTypmod(like), exprCollation(like), 0);
}

static List *
states_columns(const MdbPlan *plan)
{
	int first = 2 + list_length(plan->keys);
	List *vars = NIL;
	ListCell *lc;

	foreach (lc, plan->partials)
		vars = lappend(vars, states_column(first + foreach_current_index(lc), lfirst(lc)));
	return vars;
}

/* The value of an aggregate, of combined states; what it keeps is put to the plan's partials. */
static Node *
take_aggregate(MdbPlan *plan, Aggref *agg)
{
	MdbReason reason;
	MdbSplit *split;
	List *combined = NIL;
	List *states;
	ListCell *lc;

	split = mdb_split_aggregate(agg, &reason);
	if (split == NULL)
		unsupported(
			plan->name,
			psprintf("The aggregate %s() cannot be kept: %s", get_func_name(agg->aggfnoid), reason.detail),
			reason.hint);
	foreach (lc, split->partials)
		plan->partials = list_append_unique(plan->partials, lfirst(lc));
	states = states_columns(plan);
	foreach (lc, split->partials)
		combined = lappend(combined, mdb_combine_partial(lfirst(lc), plan->partials, states));
	return mdb_split_finish(split, combined);
}

static Node *
over_states_mutator(Node *node, void *context)
{
	MdbPlan *plan = context;
	int at;

	if (node == NULL)
		return NULL;
	if (equal(node, plan->bucket))
		return states_column(1, node);
	at = mdb_find_equal(plan->keys, node);
	if (at >= 0)
		return states_column(2 + at, node);
	if (IsA(node, Aggref))
		return take_aggregate(plan, (Aggref *) node);
	if (IsA(node, Var))
		unsupported(plan->name,
					psprintf("Its query uses column \"%s\" outside of GROUP BY and aggregates.",
							 get_attname(plan->raw, ((Var *) node)->varattno, false)),
					"Add it to GROUP BY.");
	return expression_tree_mutator(node, over_states_mutator, context);
}

/*
 * mdb_plan_add_output - a column of the view, of an expression over raw.
 *
 * Raises ERRCODE_FEATURE_NOT_SUPPORTED if what it needs cannot be kept.
 */
void
mdb_plan_add_output(MdbPlan *plan, Node *expr, const char *name)
{
	int n = list_length(plan->outputs) + 1;
	Node *over_states;

	if (contain_volatile_functions(expr))
		unsupported(plan->name, psprintf("The expression of column \"%s\" is volatile.", name),
					"Compute it when reading the aggregate.");
	over_states = over_states_mutator(expr, plan);
	plan->outputs = lappend(plan->outputs, makeTargetEntry((Expr *) over_states, n, pstrdup(name), false));
}

static bool
uses_time(Node *expr, AttrNumber time_attno)
{
	List *vars = pull_var_clause(expr, PVC_RECURSE_AGGREGATES);
	ListCell *lc;

	foreach (lc, vars)
		if (((Var *) lfirst(lc))->varattno == time_attno)
			return true;
	return false;
}

/* No system columns, no whole rows: a merge changes the first, the second are not of this table's columns alone. */
static void
check_columns(const MdbPlan *plan, Node *expr)
{
	List *vars = pull_var_clause(expr, PVC_RECURSE_AGGREGATES);
	ListCell *lc;

	foreach (lc, vars)
	{
		Var *var = lfirst(lc);

		if (var->varattno == InvalidAttrNumber)
			unsupported(plan->name, "Its query uses a whole row as a value.", "Name the columns.");
		if (var->varattno < 0)
			unsupported(plan->name, "Its query uses a system column.", NULL);
	}
}

/* ---------- the plan ---------- */

static void
take_groups(MdbPlan *plan, Query *query, Index varno)
{
	ListCell *lc;

	foreach (lc, query->groupClause)
	{
		TargetEntry *tle =
			get_sortgroupref_tle(lfirst_node(SortGroupClause, lc)->tleSortGroupRef, query->targetList);
		Node *expr = over_raw(varno, (Node *) tle->expr);
		MdbReason reason;

		check_columns(plan, expr);
		if (!uses_time(expr, plan->time_attno))
		{
			if (contain_mutable_functions(expr))
				unsupported(plan->name, "An expression of GROUP BY depends on settings or on the time.",
							"Use functions that are IMMUTABLE.");
			plan->keys = lappend(plan->keys, expr);
			plan->key_names = lappend(plan->key_names, tle->resjunk ? NULL : tle->resname);
			continue;
		}
		if (plan->bucket)
			unsupported(plan->name, "GROUP BY has several expressions of the time column.",
						"Group by one bucket of time; coarser ones can be made of it when reading.");
		if (!mdb_bucket_rule(expr, 1, plan->time_attno, &plan->rule, &reason))
			mdb_refuse(plan->name, ERRCODE_INVALID_TABLE_DEFINITION,
					   psprintf("The bucket of time in GROUP BY is none that can be kept: %s", reason.detail),
					   reason.hint);
		plan->bucket = expr;
		plan->bucket_name = tle->resjunk || tle->resname == NULL ? "bucket" : tle->resname;
	}
	if (plan->bucket == NULL)
		mdb_refuse(plan->name, ERRCODE_INVALID_TABLE_DEFINITION,
				   psprintf("GROUP BY has no bucket of the time column, \"%s\".",
							get_attname(plan->raw, plan->time_attno, false)),
				   "Group by metricsdb.time_bucket('1 hour', time), or another width.");
	if (exprType(plan->bucket) != get_atttype(plan->raw, plan->time_attno))
		mdb_refuse(plan->name, ERRCODE_INVALID_TABLE_DEFINITION,
				   psprintf("The bucket is of type %s, the time column of type %s.",
							format_type_be(exprType(plan->bucket)),
							format_type_be(get_atttype(plan->raw, plan->time_attno))),
				   "Use metricsdb.time_bucket() of the column itself, with the zone as an argument.");
}

static void
take_where(MdbPlan *plan, Query *query, Index varno)
{
	Node *quals = query->jointree->quals;

	if (quals == NULL)
		return;
	quals = over_raw(varno, quals);
	check_columns(plan, quals);
	if (contain_mutable_functions(quals))
		unsupported(
			plan->name, "WHERE depends on settings or on the time when it is evaluated.",
			"Use functions that are IMMUTABLE, and constants; give ranges like the last day when reading.");
	plan->where = make_ands_implicit((Expr *) quals);
}

/*
 * mdb_plan_make - what an analysed SELECT says.
 *
 * Its table is locked.  Raises ERRCODE_FEATURE_NOT_SUPPORTED or ERRCODE_INVALID_TABLE_DEFINITION with the reason
 * if it cannot be kept, ERRCODE_WRONG_OBJECT_TYPE if its source is nothing to aggregate, and
 * ERRCODE_INSUFFICIENT_PRIVILEGE if that is not the user's.
 */
MdbPlan *
mdb_plan_make(Query *query, const char *name)
{
	MdbPlan *plan = palloc0(sizeof(MdbPlan));
	RangeTblEntry *rte;
	Relation raw;
	Index varno;
	ListCell *lc;

	plan->name = pstrdup(name);
	check_clauses(query, name);
	query->targetList = (List *) mdb_ungroup(query, (Node *) query->targetList);
	query->havingQual = mdb_ungroup(query, query->havingQual);
	rte = check_from(query, name, &varno);
	if (get_rel_relkind(rte->relid) == RELKIND_VIEW)
	{
		if (!mdb_translate(query, name, &plan->given))
			mdb_refuse(name, ERRCODE_WRONG_OBJECT_TYPE,
					   psprintf("\"%s\" is a view, and no continuous aggregate.", get_rel_name(rte->relid)),
					   "Create the aggregate on the table itself.");
		rte = check_from(query, name, &varno);
	}
	check_source(name, rte->relid);
	plan->raw = rte->relid;
	raw = table_open(rte->relid, NoLock);
	plan->time_attno = mdb_table(raw)->time_attno;
	table_close(raw, NoLock);
	take_groups(plan, query, varno);
	take_where(plan, query, varno);
	foreach (lc, query->targetList)
	{
		TargetEntry *tle = lfirst(lc);
		Node *expr = over_raw(varno, (Node *) tle->expr);

		check_columns(plan, expr);
		if (!tle->resjunk)
			mdb_plan_add_output(plan, expr, tle->resname);
	}
	if (query->havingQual)
	{
		Node *having = over_raw(varno, query->havingQual);

		check_columns(plan, having);
		if (contain_volatile_functions(having))
			unsupported(name, "HAVING is volatile.", NULL);
		plan->having = over_states_mutator(having, plan);
	}
	if (plan->partials == NIL)
		mdb_refuse(name, ERRCODE_INVALID_TABLE_DEFINITION, "Its query has no aggregates.",
				   "Add count(*), avg(value) or the like.");
	return plan;
}
