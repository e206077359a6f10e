/*
 * scan_plan.c
 *	  MetricsNodes as the planner sees it: rows of a distributed table, and groups of them, from its nodes.
 *
 * Rows: conditions and columns are pushed down; where the table is all that a query reads, its ORDER BY, its LIMIT and
 * DISTINCT ON, too, and rows of nodes are merged in that order.
 *
 * Groups: of queries that push.c has made, of which each group may come more than once.
 *
 * A distributed table has no other paths: its own storage is empty.
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planner.h"
#include "optimizer/prep.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"

#include "compat.h"
#include "dist/admin.h"
#include "dist/dist.h"
#include "dist/health.h"
#include "dist/write.h"
#include "metricsdb.h"
#include "store/store.h"

#define ROWS_ASSUMED 1000000.0 /* of a table that was not analysed */
#define COST_START   100.0     /* a round trip */
#define COST_ROW     0.05      /* sending a row, and reading it */

static set_rel_pathlist_hook_type prev_set_rel_pathlist = NULL;
static create_upper_paths_hook_type prev_create_upper_paths = NULL;
static planner_hook_type prev_planner = NULL;

static Plan *plan_rows(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses,
					   List *custom_plans);
static Plan *plan_groups(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses,
						 List *custom_plans);

static const CustomPathMethods rows_methods = {.CustomName = "MetricsNodes", .PlanCustomPath = plan_rows};
static const CustomPathMethods groups_methods = {.CustomName = "MetricsNodes", .PlanCustomPath = plan_groups};

/* Which parts of the query a path for rows has nodes do: bits of an int in custom_private. */
#define PUSH_SORT     1
#define PUSH_LIMIT    2
#define PUSH_DISTINCT 4

/* ---------- rows ---------- */

static CustomPath *
make_path(RelOptInfo *rel, PathTarget *target, double rows, Cost per_row, const CustomPathMethods *methods,
		  List *private)
{
	CustomPath *path = makeNode(CustomPath);

	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = target;
	path->path.rows = clamp_row_est(rows);
	path->path.startup_cost = COST_START;
	path->path.total_cost = COST_START + path->path.rows * per_row;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->methods = methods;
	path->custom_private = private;
	return path;
}

/* Is the table all that the query reads, with nothing between its rows and their order? */
static bool
is_plain_query(PlannerInfo *root, RelOptInfo *rel)
{
	Query *parse = root->parse;

	return parse->commandType == CMD_SELECT && rel->reloptkind == RELOPT_BASEREL &&
		   bms_equal(root->all_baserels, rel->relids) && parse->groupClause == NIL &&
		   parse->groupingSets == NIL && !parse->hasAggs && !parse->hasWindowFuncs && !parse->hasTargetSRFs &&
		   parse->havingQual == NULL && parse->setOperations == NULL && parse->rowMarks == NIL &&
		   root->rowMarks == NIL && bms_is_empty(rel->lateral_relids);
}

/* Can all expressions of a list of SortGroupClauses be sent? */
static bool
ships_clauses(MdbShipping *s, List *clauses)
{
	ListCell *lc;

	foreach (lc, clauses)
		if (!mdb_ship(s, get_sortgroupclause_expr(lfirst(lc), s->root->processed_tlist)))
			return false;
	return true;
}

/* What else than conditions nodes can be asked to do. */
static int
find_push(MdbShipping *s, RelOptInfo *rel, bool all_shipped)
{
	PlannerInfo *root = s->root;
	Query *parse = root->parse;
	int push = 0;

	if (!is_plain_query(root, rel))
		return 0;
	if (parse->sortClause != NIL && ships_clauses(s, parse->sortClause))
		push |= PUSH_SORT;
	if (parse->distinctClause != NIL)
	{
		/* The first row of each node's, of which Unique takes the first; that needs an order. */
		if (!parse->hasDistinctOn || !all_shipped || !(push & PUSH_SORT) ||
			list_length(parse->sortClause) < list_length(parse->distinctClause) ||
			!ships_clauses(s, parse->distinctClause))
			return 0;
		return push | PUSH_DISTINCT;
	}
	if (all_shipped && parse->limitCount && (parse->sortClause == NIL || (push & PUSH_SORT)) &&
		mdb_ship_limit(s, parse))
		push |= PUSH_LIMIT;
	return push;
}

static void
add_paths(PlannerInfo *root, RelOptInfo *rel, Index rti)
{
	MdbShipping s = {.root = root, .rti = rti};
	List *shipped, *kept;
	bool all = mdb_ship_conditions(&s, rel, &shipped, &kept);
	double rows;
	int push;

	rel->pathlist = rel->partial_pathlist = NIL;
	rel->consider_parallel = false;
	rel->tuples = mdb_known_rows(planner_rt_fetch(rti, root)->relid);
	if (rel->tuples <= 0)
		rel->tuples = ROWS_ASSUMED;
	rel->rows = rows =
		clamp_row_est(rel->tuples * clauselist_selectivity(root, rel->baserestrictinfo, 0, JOIN_INNER, NULL));
	add_path(rel, (Path *) make_path(rel, rel->reltarget, rows, COST_ROW, &rows_methods, list_make1_int(0)));
	push = find_push(&s, rel, all);
	if (push != 0)
	{
		CustomPath *path;

		if ((push & PUSH_LIMIT) && root->limit_tuples > 0)
			rows = Min(rows, root->limit_tuples);
		if (push & PUSH_DISTINCT)
			rows = Min(rows, 10000);
		path = make_path(rel, rel->reltarget, rows, COST_ROW * (push & PUSH_SORT ? 1.05 : 0.99),
						 &rows_methods, list_make1_int(push));
		if (push & PUSH_SORT)
			path->path.pathkeys = push & PUSH_DISTINCT ? root->query_pathkeys : root->sort_pathkeys;
		add_path(rel, (Path *) path);
	}
}

static void
set_rel_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	if (prev_set_rel_pathlist)
		prev_set_rel_pathlist(root, rel, rti, rte);
	if (rte->rtekind != RTE_RELATION || rte->relkind != RELKIND_RELATION || IS_DUMMY_REL(rel) ||
		!mdb_is_metricsdb_oid(rte->relid) || !mdb_is_distributed(rte->relid))
		return;
	if (rte->tablesample)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot take a sample of the distributed table \"%s\"", get_rel_name(rte->relid)),
				 errhint("Take it on a node.")));
	if (get_plan_rowmark(root->rowMarks, rti) != NULL || bms_is_member(rti, root->all_result_relids))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot lock or change rows of the distributed table \"%s\"",
							   get_rel_name(rte->relid)),
						errdetail("Its rows are on the nodes."), errhint("Do it on a node.")));
	add_paths(root, rel, rti);
}

/* A column that nodes send, once; its number. */
static int
add_column(List **tlist, Node *expr)
{
	TargetEntry *tle = tlist_member((Expr *) expr, *tlist);

	if (tle == NULL)
	{
		tle = makeTargetEntry((Expr *) copyObject(expr), list_length(*tlist) + 1, NULL, false);
		*tlist = lappend(*tlist, tle);
	}
	return tle->resno;
}

/* Columns of the table that expressions use, and which of them are no column of its own. */
static void
add_table_columns(PlannerInfo *root, Index rti, List *exprs, List **tlist, Var **whole, Var **tableoid)
{
	Oid relid = planner_rt_fetch(rti, root)->relid;
	Relation rel;
	ListCell *lc;

	*whole = *tableoid = NULL;
	foreach (lc, pull_var_clause((Node *) exprs, PVC_RECURSE_PLACEHOLDERS))
	{
		Var *var = lfirst_node(Var, lc);

		if (var->varno != rti)
			continue;
		if (var->varattno > 0)
			(void) add_column(tlist, (Node *) var);
		else if (var->varattno == 0)
			*whole = var;
		else if (var->varattno == TableOidAttributeNumber)
			*tableoid = var;
		else
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("rows of the distributed table \"%s\" have no system columns",
								   get_rel_name(relid))));
	}
	if (*whole == NULL)
		return;
	rel = table_open(relid, NoLock);
	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		if (!att->attisdropped)
			(void) add_column(tlist, (Node *) makeVar(rti, att->attnum, att->atttypid, att->atttypmod,
													  att->attcollation, 0));
	}
	table_close(rel, NoLock);
}

/* Targets in the form in which they are sent. */
static List *
ship_targets(MdbShipping *s, List *tlist)
{
	List *result = NIL;
	ListCell *lc;

	foreach (lc, tlist)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		/* A column is sent whatever its type: it need not mean anything on the node. */
		Node *expr = IsA(tle->expr, Var) ? copyObject((Node *) tle->expr) : mdb_ship(s, (Node *) tle->expr);

		if (expr == NULL)
			elog(ERROR, "expression cannot be sent to nodes");
		result = lappend(result, makeTargetEntry((Expr *) expr, list_length(result) + 1, NULL, false));
	}
	return result;
}

/* Give a query clauses on columns that are among its targets; their numbers in *columns. */
static List *
remote_clauses(PlannerInfo *root, Query *q, List *scan_tlist, List *clauses, List **columns)
{
	List *result = NIL;
	ListCell *lc;

	foreach (lc, clauses)
	{
		SortGroupClause *sgc = copyObject(lfirst_node(SortGroupClause, lc));
		TargetEntry *mine =
			tlist_member((Expr *) get_sortgroupclause_expr(sgc, root->processed_tlist), scan_tlist);

		/* Twice the same expression is one column, and one reference. */
		sgc->tleSortGroupRef = mine->resno;
		list_nth_node(TargetEntry, q->targetList, mine->resno - 1)->ressortgroupref = mine->resno;
		result = lappend(result, sgc);
		if (columns)
			*columns = lappend_int(*columns, mine->resno);
	}
	return result;
}

static CustomScan *
make_scan(List *tlist, List *qual, Index scanrelid, List *scan_tlist, uint32 flags)
{
	CustomScan *cscan = makeNode(CustomScan);

	cscan->scan.plan.targetlist = tlist;
	cscan->scan.plan.qual = qual;
	cscan->scan.scanrelid = scanrelid;
	cscan->flags = flags;
	cscan->custom_scan_tlist = scan_tlist;
	cscan->methods = &mdb_dist_scan_methods;
	return cscan;
}

/* By what rows of nodes are merged: custom_private's lists. */
static void
sort_lists(Query *q, List *columns, List **numbers, List **ops, List **collations)
{
	ListCell *lc, *ln;

	*numbers = *ops = *collations = NIL;
	forboth (lc, q->sortClause, ln, columns)
	{
		SortGroupClause *sgc = lfirst_node(SortGroupClause, lc);
		TargetEntry *tle = list_nth_node(TargetEntry, q->targetList, lfirst_int(ln) - 1);

		*numbers = lappend(*numbers, list_make2_int(lfirst_int(ln), sgc->nulls_first));
		*ops = lappend_oid(*ops, sgc->sortop);
		*collations = lappend_oid(*collations, exprCollation((Node *) tle->expr));
	}
}

static Plan *
plan_rows(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses,
		  List *custom_plans)
{
	MdbShipping s = {.root = root, .rti = rel->relid};
	Query *parse = root->parse;
	int push = linitial_int(path->custom_private);
	int ncolumns, whole_number = 0, tableoid_number = 0;
	List *shipped, *kept, *quals, *scan_tlist = NIL, *columns = NIL;
	List *sorts, *ops, *collations;
	Var *whole, *tableoid;
	Query *q;
	CustomScan *cscan;
	ListCell *lc;

	(void) mdb_ship_conditions(&s, rel, &shipped, &kept);
	quals = extract_actual_clauses(kept, false);
	/* Where a projection is put upon this there is no tlist yet. */
	add_table_columns(root, rel->relid, list_make2(path->path.pathtarget->exprs, quals), &scan_tlist, &whole,
					  &tableoid);
	if (push & PUSH_SORT)
		foreach (lc, parse->sortClause)
			(void) add_column(&scan_tlist, get_sortgroupclause_expr(lfirst(lc), root->processed_tlist));
	if (push & PUSH_DISTINCT)
		foreach (lc, parse->distinctClause)
			(void) add_column(&scan_tlist, get_sortgroupclause_expr(lfirst(lc), root->processed_tlist));
	/* Rows must have something. */
	if (scan_tlist == NIL)
		scan_tlist = list_make1(makeTargetEntry((Expr *) makeBoolConst(true, false), 1, NULL, false));
	ncolumns = list_length(scan_tlist);
	q = mdb_remote_query(&s, ship_targets(&s, scan_tlist), shipped);
	if (push & PUSH_SORT)
		q->sortClause = remote_clauses(root, q, scan_tlist, parse->sortClause, &columns);
	if (push & PUSH_DISTINCT)
	{
		q->distinctClause = remote_clauses(root, q, scan_tlist, parse->distinctClause, NULL);
		q->hasDistinctOn = true;
	}
	if (push & PUSH_LIMIT)
	{
		q->limitCount = mdb_ship_limit(&s, parse);
		q->limitOption = parse->limitOption;
	}
	sort_lists(q, columns, &sorts, &ops, &collations);
	if (whole)
		whole_number = add_column(&scan_tlist, (Node *) whole);
	if (tableoid)
		tableoid_number = add_column(&scan_tlist, (Node *) tableoid);
	cscan = make_scan(tlist, quals, rel->relid, scan_tlist, path->flags);
	cscan->custom_exprs = s.folded;
	cscan->custom_private =
		list_make5(q, list_make3_int(ncolumns, whole_number, tableoid_number), sorts, ops, collations);
	cscan->custom_private = lappend(cscan->custom_private, list_make1_oid(rel->userid));
	return (Plan *) cscan;
}

/* ---------- groups ---------- */

/*
 * The query for the groups of one table; NULL if something cannot be sent.  With final what comes behind grouping is
 * done, too.
 */
static Query *
groups_query(MdbShipping *s, PathTarget *target, RelOptInfo *table, bool final)
{
	Query *parse = s->root->parse;
	List *shipped, *kept, *targets = NIL;
	Node *having = NULL;
	ListCell *lc;
	Query *q;
	int n = 0;

	if (!mdb_ship_conditions(s, table, &shipped, &kept))
		return NULL;
	if (parse->havingQual != NULL)
	{
		having = mdb_ship(s, (Node *) make_ands_explicit((List *) parse->havingQual));
		if (having == NULL)
			return NULL;
		having = copyObject(having);
		ChangeVarNodes(having, s->rti, 1, 0);
	}
	foreach (lc, target->exprs)
	{
		Node *expr = mdb_ship(s, lfirst(lc));
		TargetEntry *tle;

		if (expr == NULL)
			return NULL;
		tle = makeTargetEntry((Expr *) expr, ++n, NULL, false);
		tle->ressortgroupref = get_pathtarget_sortgroupref(target, n - 1);
		targets = lappend(targets, tle);
	}
	q = mdb_remote_query(s, targets, shipped);
	foreach (lc, parse->groupClause)
		if (get_sortgroupref_tle(lfirst_node(SortGroupClause, lc)->tleSortGroupRef, targets) == NULL)
			return NULL;
	q->groupClause = copyObject(parse->groupClause);
	q->havingQual = having;
	q->hasAggs = q->hasAggs || having != NULL;
	if (final)
	{
		q->sortClause = copyObject(parse->sortClause);
		q->limitCount = mdb_ship_limit(s, parse);
		q->limitOption = parse->limitOption;
		if (q->limitCount == NULL)
			return NULL;
	}
	return q;
}

/* How many groups nodes send: each may send all of them, of all shards none more than it has rows. */
static double
estimate_groups(PlannerInfo *root, RelOptInfo *table)
{
	Query *parse = root->parse;
	List *exprs = get_sortgrouplist_exprs(parse->groupClause, root->processed_tlist);
	int shards = Max(1, list_length(mdb_shards()));
	double groups = 1;

	if (exprs != NIL)
		groups = estimate_num_groups(root, exprs, table->rows / shards, NULL, NULL);
	if (root->limit_tuples > 0)
		groups = Min(groups, root->limit_tuples);
	return clamp_row_est(Min(groups * shards, Max(table->rows, shards)));
}

/* Of a query whose groups may come from each node, the table; NULL if it is none.  It has no functions that return sets. */
static RelOptInfo *
find_grouped_table(PlannerInfo *root)
{
	Query *parse = root->parse;
	int rti;

	if (parse->commandType != CMD_SELECT || parse->groupingSets != NIL || parse->hasWindowFuncs ||
		parse->distinctClause != NIL || !bms_get_singleton_member(root->all_baserels, &rti) ||
		!mdb_is_group_of_nodes(planner_rt_fetch(rti, root)))
		return NULL;
	return find_base_rel(root, rti);
}

static void
create_upper_paths(PlannerInfo *root, UpperRelationKind stage, RelOptInfo *input, RelOptInfo *output,
				   void *extra)
{
	bool final = root->parse->limitCount != NULL;
	MdbShipping s = {.root = root};
	RelOptInfo *table;
	PathTarget *target;

	if (prev_create_upper_paths)
		prev_create_upper_paths(root, stage, input, output, extra);
	if (stage != (final ? UPPERREL_FINAL : UPPERREL_GROUP_AGG) || (table = find_grouped_table(root)) == NULL)
		return;
	s.rti = table->relid;
	target = final ? root->upper_targets[UPPERREL_FINAL] : output->reltarget;
	if (IS_DUMMY_REL(table) || groups_query(&s, target, table, final) == NULL)
		return;
	/* Whatever else there was has fetched rows. */
	output->pathlist = output->partial_pathlist = NIL;
	add_path(output, (Path *) make_path(output, target, estimate_groups(root, table), COST_ROW,
										&groups_methods, list_make1(list_make2_int(table->relid, final))));
}

static Plan *
plan_groups(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses,
			List *custom_plans)
{
	List *numbers = linitial(path->custom_private);
	RelOptInfo *table = find_base_rel(root, linitial_int(numbers));
	MdbShipping s = {.root = root, .rti = table->relid};
	Query *q = groups_query(&s, path->path.pathtarget, table, lsecond_int(numbers) != 0);
	List *scan_tlist = NIL;
	CustomScan *cscan;
	ListCell *lc;

	foreach (lc, path->path.pathtarget->exprs)
		scan_tlist = lappend(
			scan_tlist, makeTargetEntry(copyObject(lfirst(lc)), list_length(scan_tlist) + 1, NULL, false));
	/* EXPLAIN finds the table's name by this one. */
	scan_tlist = lappend(scan_tlist, makeTargetEntry((Expr *) makeVar(table->relid, TableOidAttributeNumber,
																	  OIDOID, -1, InvalidOid, 0),
													 list_length(scan_tlist) + 1, NULL, false));
	cscan = make_scan(tlist, NIL, 0, scan_tlist, path->flags);
	cscan->custom_relids = bms_copy(table->relids);
	cscan->custom_exprs = s.folded;
	cscan->custom_private = list_make5(q, list_make3_int(list_length(q->targetList), 0, 0), NIL, NIL, NIL);
	cscan->custom_private = lappend(cscan->custom_private, list_make1_oid(table->userid));
	return (Plan *) cscan;
}

/* ---------- the planner's hook ---------- */

static PlannedStmt *
plan_query(Query *parse, const char *query_string, int cursor_options, ParamListInfo params)
{
	if (IsNormalProcessingMode() && OidIsValid(mdb_am_oid(true)))
		mdb_dist_push(parse, params);
	return prev_planner ? prev_planner(parse, query_string, cursor_options, params)
						: standard_planner(parse, query_string, cursor_options, params);
}

static const MdbElsewhere elsewhere = {.ask = mdb_ask_nodes,
									   .condition = mdb_remote_condition,
									   .options = mdb_dist_options,
									   .is_view = mdb_is_view_of_nodes,
									   .change = mdb_change_all,
									   .sample = mdb_dist_sample};

/*
 * mdb_dist_init - at load: hooks of the planner, the node, settings.
 */
void
mdb_dist_init(void)
{
	mdb_health_init();
	mdb_missing_init();
	mdb_schema_init();
	mdb_elsewhere = &elsewhere;
	mdb_dist_write_init();
	mdb_dist_sample_init();
	mdb_limits_init();
	RegisterCustomScanMethods(&mdb_dist_scan_methods);
	prev_planner = planner_hook;
	planner_hook = plan_query;
	prev_set_rel_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = set_rel_pathlist;
	prev_create_upper_paths = create_upper_paths_hook;
	create_upper_paths_hook = create_upper_paths;
}
