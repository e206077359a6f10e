/*
 * route.c
 *	  Queries on raw tables that continuous aggregates answer: the planner's hook, and which aggregate it is.
 *
 * Each query that groups a raw table, at any level of a statement, is looked at before it is planned.  The first of
 * the table's aggregates, from the coarsest on, that answers it exactly is taken; see route_match.c for what that
 * means.  Nothing of this is in a plan that was made while there was no such aggregate; aggregates that come and go
 * invalidate their raw table.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "metricsdb.h"
#include "rollup/route.h"
#include "store/aggregates.h"

typedef enum Routing
{
	ROUTING_OFF,
	ROUTING_EXACT
} Routing;

static const struct config_enum_entry routing_options[] = {
	{"off", ROUTING_OFF, false}, {"exact", ROUTING_EXACT, false}, {NULL, 0, false}};

static int rollup_routing = ROUTING_EXACT;
static planner_hook_type prev_planner = NULL;

/* ---------- what is known of tables ---------- */

static MdbTable *
copy_table(const MdbTable *table)
{
	MdbTable *copy = palloc(table->size);

	memcpy(copy, table, table->size);
	copy->series_attnos = (AttrNumber *) ((char *) copy + ((char *) table->series_attnos - (char *) table));
	copy->columns = (MdbColumn *) ((char *) copy + ((char *) table->columns - (char *) table));
	return copy;
}

/*
 * mdb_route_read_table - the table's roles of columns, which outlive what the relation caches; false if they do not do.
 */
bool
mdb_route_read_table(MdbRoute *r)
{
	Relation rel = table_open(r->rte->relid, NoLock);
	const MdbTable *table = mdb_table(rel);
	bool ok = table->time_attno > 0 && !rel->rd_rel->relhassubclass;

	if (ok)
	{
		r->table = copy_table(table);
		r->may_lack = !TupleDescAttr(RelationGetDescr(rel), table->time_attno - 1)->attnotnull;
	}
	table_close(rel, NoLock);
	return ok;
}

/* ---------- which aggregate ---------- */

/* A definition, with locks that keep it; NULL if somebody is about to change it. */
static MdbDefinition *
read_definition(const MdbAggregate *a)
{
	MdbDefinition *def;

	if (!ConditionalLockRelationOid(a->view, AccessShareLock))
		return NULL;
	if (!ConditionalLockRelationOid(a->aggregate, AccessShareLock))
		return NULL;
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(a->view)) ||
		!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(a->aggregate)))
		return NULL;
	def = mdb_definition_find(a->view);
	return def && def->states == a->aggregate && def->raw == a->raw ? def : NULL;
}

static const MdbAggregate *
find_aggregate(const MdbAggregate *all, int n, Oid oid)
{
	for (int i = 0; i < n; i++)
		if (all[i].aggregate == oid)
			return &all[i];
	return NULL;
}

/* Definitions from an aggregate to the one that is fed from raw; NIL if one cannot be had. */
static List *
read_levels(const MdbAggregate *all, int n, const MdbAggregate *a)
{
	List *levels = NIL;

	for (; a; a = OidIsValid(a->parent) ? find_aggregate(all, n, a->parent) : NULL)
	{
		MdbDefinition *def = read_definition(a);

		if (def == NULL || list_length(levels) > n)
			return NIL;
		levels = lappend(levels, def);
		if (!OidIsValid(a->parent))
			return levels;
	}
	return NIL;
}

/* Coarser ones first, of these those with fewer groups. */
static int
aggregate_cmp(const void *x, const void *y)
{
	const MdbAggregate *a = x, *b = y;

	if (a->granularity != b->granularity)
		return a->granularity < b->granularity ? 1 : -1;
	return a->aggregate < b->aggregate ? -1 : a->aggregate > b->aggregate;
}

/*
 * mdb_route_is_referred_to - does anything but expressions that are rewritten refer to raw?
 */
bool
mdb_route_is_referred_to(const MdbRoute *r)
{
	ListCell *lc;

	foreach (lc, r->query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte != r->rte && rte->rtekind == RTE_SUBQUERY &&
			rangeTableEntry_used((Node *) rte->subquery, r->rti, 1))
			return true;
		if (rte->rtekind == RTE_FUNCTION || rte->rtekind == RTE_TABLEFUNC || rte->rtekind == RTE_VALUES ||
			rte->tablesample != NULL)
		{
			if (rangeTableEntry_used((Node *) rte->functions, r->rti, 0) ||
				rangeTableEntry_used((Node *) rte->tablefunc, r->rti, 0) ||
				rangeTableEntry_used((Node *) rte->values_lists, r->rti, 0) ||
				rangeTableEntry_used((Node *) rte->tablesample, r->rti, 0))
				return true;
		}
	}
	foreach (lc, r->query->cteList)
		if (rangeTableEntry_used(lfirst_node(CommonTableExpr, lc)->ctequery, r->rti, 1))
			return true;
	return false;
}

/*
 * mdb_route_forget_aliases - what joins say of raw's columns is said in the query's expressions by now.
 */
void
mdb_route_forget_aliases(MdbRoute *r)
{
	ListCell *lc, *la;

	foreach (lc, r->query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind != RTE_JOIN)
			continue;
		foreach (la, rte->joinaliasvars)
			if (lfirst(la) && rangeTableEntry_used(lfirst(la), r->rti, 0))
				lfirst(la) =
					makeNullConst(exprType(lfirst(la)), exprTypmod(lfirst(la)), exprCollation(lfirst(la)));
	}
}

/*
 * Columns in the order of targets also where PostgreSQL 18 keeps groups apart, so that no branch needs a node which puts
 * them in another.
 */
static void
order_columns(MdbRoute *r, bool *ok)
{
	ListCell *lc;

	foreach (lc, r->query->targetList)
	{
		Node *expr = (Node *) lfirst_node(TargetEntry, lc)->expr;

		(void) mdb_route_rewrite(r, mdb_group_expr(r->query, expr), ok);
	}
}

/*
 * mdb_route_may_be_ungrouped - may a subquery have the columns that were found?
 *
 * Branches that group by nothing have a row even if there is none to be aggregated.  So has a query that is not grouped
 * either; but one that is, by constants or by others' columns, or that joins, would see a row too many.
 */
bool
mdb_route_may_be_ungrouped(const MdbRoute *r)
{
	ListCell *lc;

	foreach (lc, r->columns)
		if (!IsA(((MdbRouteColumn *) lfirst(lc))->expr, Aggref))
			return true;
	return r->query->groupClause == NIL && list_length(r->query->jointree->fromlist) == 1 &&
		   IsA(linitial(r->query->jointree->fromlist), RangeTblRef);
}

static bool
try_aggregate(MdbRoute *r, List *levels)
{
	List **group_exprs = mdb_group_exprs(r->query);
	Query *q = r->query;
	bool ok = true;
	List *targets, *groups = NIL;
	Node *having, *jointree;
	Query *subquery;

	if (!mdb_route_match(r, linitial(levels)))
		return false;
	if (group_exprs)
		order_columns(r, &ok);
	targets = (List *) mdb_route_rewrite(r, (Node *) q->targetList, &ok);
	having = mdb_route_rewrite(r, q->havingQual, &ok);
	jointree = mdb_route_rewrite(r, r->jointree, &ok);
	if (group_exprs)
		groups = (List *) mdb_route_rewrite(r, (Node *) *group_exprs, &ok);
	if (!ok || r->columns == NIL || !mdb_route_may_be_ungrouped(r))
		return false;
	subquery = mdb_route_build(r, levels);
	if (subquery == NULL)
		return false;
	q->targetList = targets;
	q->havingQual = having;
	q->jointree = castNode(FromExpr, jointree);
	if (group_exprs)
		*group_exprs = groups;
	mdb_route_forget_aliases(r);
	mdb_route_replace(r, subquery);
	return true;
}

/* Let an aggregate of a table answer the query, if there is one that can. */
static bool
route_table(PlannerInfo *root, Query *query, Index rti)
{
	MdbRoute r = {.root = root, .query = query, .rti = rti, .rte = rt_fetch(rti, query->rtable)};
	MdbAggregate *all;
	int n;
	double range;

	all = mdb_aggregates_by(MDB_AGGREGATE_RAW, r.rte->relid, GetActiveSnapshot(), &n);
	if (n == 0 || !mdb_route_read_table(&r))
		return false;
	mdb_route_flatten(query);
	if (!mdb_route_find(&r) || mdb_route_is_referred_to(&r))
		return false;
	range = mdb_route_range(&r);
	qsort(all, n, sizeof(MdbAggregate), aggregate_cmp);
	for (int i = 0; i < n; i++)
	{
		List *levels;

		/* Less than two buckets need not have one inside. */
		if (range < 2.0 * all[i].granularity)
			continue;
		levels = read_levels(all, n, &all[i]);
		if (levels != NIL && try_aggregate(&r, levels))
			return true;
	}
	return false;
}

/* ---------- which queries ---------- */

typedef struct Walk
{
	PlannerInfo *root;
	bool routed;
} Walk;

static void
route_query(Walk *walk, Query *query)
{
	Index rti = 0;
	ListCell *lc;

	if (query->commandType != CMD_SELECT || (query->groupClause == NIL && !query->hasAggs) ||
		query->groupingSets != NIL || query->rowMarks != NIL || query->setOperations != NULL ||
		query->jointree == NULL)
		return;
	foreach (lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		rti++;
		if (rte->rtekind != RTE_RELATION || rte->relkind != RELKIND_RELATION || rte->tablesample != NULL ||
			!rte->inFromCl || !mdb_is_metricsdb_oid(rte->relid) || mdb_is_sharded(rte->relid))
			continue;
		if (route_table(walk->root, query, rti))
		{
			walk->routed = true;
			return;
		}
	}
}

static bool
route_walker(Node *node, Walk *walk)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query *query = (Query *) node;

		/* Only expressions with subqueries need to be gone through. */
		if (query->hasSubLinks)
			(void) query_tree_walker(query, route_walker, walk, 0);
		else
		{
			(void) range_table_walker(query->rtable, route_walker, walk, 0);
			(void) route_walker((Node *) query->cteList, walk);
		}
		route_query(walk, query);
		return false;
	}
	return expression_tree_walker(node, route_walker, walk);
}

/* What a query becomes calls functions of ours, which are looked up by name. */
static bool
may_use_functions(void)
{
	Oid schema = get_namespace_oid(MDB_SCHEMA, true);

	return OidIsValid(schema) && mdb_may_use_schema(schema);
}

static PlannedStmt *
plan_query(Query *parse, const char *query_string, int cursor_options, ParamListInfo params)
{
	List *raws = NIL;
	Walk walk = {NULL};
	PlannedStmt *result;

	if (IsNormalProcessingMode() && OidIsValid(mdb_am_oid(true)))
	{
		if (mdb_policies_apply(parse, &raws))
			parse->hasRowSecurity = true;
		if (rollup_routing == ROUTING_EXACT && ActiveSnapshotSet() && may_use_functions())
		{
			walk.root = makeNode(PlannerInfo);
			walk.root->glob = makeNode(PlannerGlobal);
			walk.root->glob->boundParams = params;
			(void) route_walker((Node *) parse, &walk);
		}
	}
	result = prev_planner ? prev_planner(parse, query_string, cursor_options, params)
						  : standard_planner(parse, query_string, cursor_options, params);
	if (walk.routed)
		mdb_forget_unchecked(result);
	result->relationOids = list_concat(result->relationOids, raws);
	return result;
}

/*
 * mdb_route_init - at load: the setting and the planner's hook.
 */
void
mdb_route_init(void)
{
	DefineCustomEnumVariable("metricsdb.rollup_routing",
							 "Lets continuous aggregates answer queries on their raw tables.",
							 "With \"exact\" they do where the result is the same.", &rollup_routing,
							 ROUTING_EXACT, routing_options, PGC_USERSET, 0, NULL, NULL, NULL);
	prev_planner = planner_hook;
	planner_hook = plan_query;
}
