/*
 * policies.c
 *	  Row-level security of a raw table, for readers of its continuous aggregates.
 *
 * A view's tables are read as the view's owner, whom policies of raw do not concern.  A continuous aggregate is to
 * users what a table is, with the rows of raw in it.  So the policies that raw has for whoever reads the view are put
 * on the tables that the view is made of: on raw as they are, on states if they go by keys alone, so that a group is
 * visible or it is not.  With others the groups would have to be divided, so that the view cannot be read.
 *
 * Conditions of policies are put where those of tables are, so that the planner evaluates nothing before them that
 * might leak.  Who has which policies is core's to say: a SELECT on raw is rewritten, as that user's, and its
 * conditions taken.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "rollup/route.h"
#include "store/aggregates.h"

typedef struct Policies
{
	const MdbDefinition *def; /* of the view that is being gone through; NULL: of none */
	Oid user;                 /* who reads it; InvalidOid is the current user */
	List *quals;              /* of raw, varno 1 */
	bool has_sublinks;
	bool depend; /* on who the user is */
	List *raws;
} Policies;

/* ---------- whose, and which ---------- */

/* What core makes of SELECT FROM raw, read by a user. */
static void
ask_core(Policies *p)
{
	Query *q = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	Query *rewritten;

	LockRelationOid(p->def->raw, AccessShareLock);
	rte->rtekind = RTE_RELATION;
	rte->relid = p->def->raw;
	rte->relkind = get_rel_relkind(p->def->raw);
	rte->rellockmode = AccessShareLock;
	rte->eref = makeAlias(get_rel_name(p->def->raw), NIL);
	rte->inh = true;
	rte->inFromCl = true;
	ref->rtindex = 1;
	q->commandType = CMD_SELECT;
	q->querySource = QSRC_ORIGINAL;
	q->canSetTag = true;
	q->rtable = list_make1(rte);
	q->jointree = makeFromExpr(list_make1(ref), NULL);
	mdb_set_permissions(q, rte, p->user);
	rewritten = linitial_node(Query, QueryRewrite(q));
	p->quals = linitial_node(RangeTblEntry, rewritten->rtable)->securityQuals;
	p->has_sublinks = rewritten->hasSubLinks;
	p->depend = p->depend || rewritten->hasRowSecurity;
	p->raws = list_append_unique_oid(p->raws, p->def->raw);
}

pg_noreturn static void
not_readable(const Policies *p)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("continuous aggregate \"%s\" cannot be read under the row-level security of table \"%s\"",
					get_rel_name(p->def->view), get_rel_name(p->def->raw)),
			 errdetail("A policy goes by columns that are not among the keys of its groups, so that a group "
					   "may have both rows that the user may see and others."),
			 errhint("Query the table instead, or let the policy go by columns that the continuous aggregate "
					 "groups by.")));
}

/*
 * mdb_policies_translate - conditions of policies on raw, which is varno 1, as conditions on states; false if one goes
 * by anything but keys.
 */
bool
mdb_policies_translate(const MdbDefinition *def, List *quals, Index rti, List **result)
{
	ListCell *lc;

	*result = NIL;
	foreach (lc, quals)
	{
		Node *qual = mdb_route_to_states(def, NULL, rti, copyObject(lfirst(lc)), false);

		if (qual == NULL)
			return false;
		*result = lappend(*result, qual);
	}
	return true;
}

/* ---------- where ---------- */

/* Keys in a branch over states, the view's own or those of finer ones: they come behind the bucket. */
static bool
read_columns(const Policies *p, Query *branch, Index rti, MdbDefinition *states)
{
	ListCell *lc;
	int n = 0;

	*states = *p->def;
	states->states = rt_fetch(rti, branch->rtable)->relid;
	states->columns = NIL;
	foreach (lc, branch->targetList)
	{
		Var *var = (Var *) mdb_group_expr(branch, (Node *) lfirst_node(TargetEntry, lc)->expr);

		if (n > list_length(p->def->keys))
			break;
		if (n++ > 0 && (!IsA(var, Var) || var->varno != rti))
			return false;
		states->columns = lappend_int(states->columns, IsA(var, Var) ? var->varattno : 0);
	}
	return list_length(states->columns) == 1 + list_length(p->def->keys);
}

static void
put_on(Policies *p, Query *query, Index rti, bool within)
{
	RangeTblEntry *rte = rt_fetch(rti, query->rtable);
	MdbDefinition states = *p->def;
	List *quals;

	if (rte->relid == p->def->raw)
	{
		quals = copyObject(p->quals);
		ChangeVarNodes((Node *) quals, 1, rti, 0);
		rte->securityQuals = quals;
	}
	else
	{
		if (p->quals == NIL)
			return;
		if ((within && !read_columns(p, query, rti, &states)) ||
			!mdb_policies_translate(&states, p->quals, rti, &quals))
			not_readable(p);
		rte->securityQuals = list_concat(rte->securityQuals, quals);
	}
	query->hasSubLinks = query->hasSubLinks || p->has_sublinks;
	query->hasRowSecurity = query->hasRowSecurity || p->depend;
}

/* Tables within the view that is being gone through, and states that are read without one. */
static void
look_at_table(Policies *p, Query *query, Index rti)
{
	RangeTblEntry *rte = rt_fetch(rti, query->rtable);
	MdbAggregate *a;
	Policies alone = {.raws = p->raws, .depend = p->depend};

	if (rte->rtekind != RTE_RELATION || rte->relkind != RELKIND_RELATION || !mdb_is_metricsdb_oid(rte->relid))
		return;
	if (p->def)
	{
		put_on(p, query, rti, true);
		return;
	}
	a = mdb_aggregate_get(rte->relid, GetActiveSnapshot());
	if (a == NULL)
		return;
	LockRelationOid(a->view, AccessShareLock);
	alone.def = mdb_definition_find(a->view);
	if (alone.def == NULL)
		return;
	alone.user = mdb_read_as(query, rte);
	ask_core(&alone);
	put_on(&alone, query, rti, false);
	p->raws = alone.raws;
	p->depend = alone.depend;
}

static bool
policies_walker(Node *node, Policies *p)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query *query = (Query *) node;
		ListCell *lc;
		Index rti = 0;

		foreach (lc, query->rtable)
		{
			RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);
			Oid view, user;
			int n;

			rti++;
			if (rte->rtekind == RTE_RELATION)
				look_at_table(p, query, rti);
			if (rte->rtekind != RTE_SUBQUERY)
				continue;
			view = p->def ? InvalidOid : mdb_view_of_subquery(query, rte, &user);
			if (OidIsValid(view) && mdb_aggregates_by(MDB_AGGREGATE_VIEW, view, GetActiveSnapshot(), &n) &&
				n > 0)
			{
				Policies within = {.user = user, .raws = p->raws, .depend = p->depend};

				within.def = mdb_definition_find(view);
				if (within.def)
				{
					ask_core(&within);
					(void) policies_walker((Node *) rte->subquery, &within);
					p->raws = within.raws;
					p->depend = within.depend;
					continue;
				}
			}
			(void) policies_walker((Node *) rte->subquery, p);
		}
		foreach (lc, query->cteList)
			(void) policies_walker(lfirst_node(CommonTableExpr, lc)->ctequery, p);
		return query->hasSubLinks ? query_tree_walker(query, policies_walker, p,
													  QTW_IGNORE_RT_SUBQUERIES | QTW_IGNORE_CTE_SUBQUERIES)
								  : false;
	}
	return expression_tree_walker(node, policies_walker, p);
}

/*
 * mdb_policies_apply - put the policies of raw tables on what a statement reads of their continuous aggregates.
 *
 * True if the plan will depend on who is asking.  *raws: tables whose policies it depends on.
 *
 * Raises ERRCODE_INSUFFICIENT_PRIVILEGE if a continuous aggregate cannot be read under them, or as core does with
 * row_security off.
 */
bool
mdb_policies_apply(Query *query, List **raws)
{
	Policies p = {NULL};

	if (ActiveSnapshotSet())
		(void) policies_walker((Node *) query, &p);
	*raws = p.raws;
	return p.depend;
}
