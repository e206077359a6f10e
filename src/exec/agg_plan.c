/*
 * agg_plan.c
 *	  MetricsAgg, planning: which grouped queries of a metricsdb table can be answered from vectors.
 *
 * The planner's hook looks at the grouping of one table.  Where all of it is of the kinds that README.md
 * lists, a path of ours is put beside core's, and one for parallel workers below core's final aggregate.
 * What is not of these kinds, be it one condition or one column, leaves the query to core.
 */
#include "postgres.h"

#include <math.h>

#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_am.h"
#include "catalog/pg_statistic.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "executor/nodeAgg.h"
#include "executor/nodeHash.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planner.h"
#include "optimizer/prep.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"
#include "utils/syscache.h"

#include "exec/agg_node.h"
#include "exec/agg_own.h"
#include "exec/rollup_scan.h"
#include "metricsdb.h"

bool mdb_enable_vector_agg = true;

static create_upper_paths_hook_type prev_create_upper_paths = NULL;

/* A grouping that can be done. */
typedef struct Grouping
{
	PlannerInfo *root;
	RelOptInfo *input;
	const MdbTable *table;
	MdbPushed *pushed;
	List *filters; /* clauses on values */
	List *group_clause;
	List *keys;    /* expressions */
	List *eqops;   /* their equality */
	List *timed;   /* which of them are over the time: 0 or 1 */
	List *series;  /* expressions over series columns */
	List *buckets; /* and over the time */
	Size state_size;
	bool in_workers;   /* all aggregates have partial states */
	int ncolumns;      /* that have to be read */
	bool from_headers; /* most blocks are likely to be answered from their headers */
	bool time_not_null;
	double groups;
	double rows; /* that come to be looked at */
} Grouping;

static Plan *plan_metrics_agg(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
							  List *clauses, List *custom_plans);

static const CustomPathMethods path_methods = {.CustomName = "MetricsAgg",
											   .PlanCustomPath = plan_metrics_agg};

/* ---------- can it be done? ---------- */

typedef struct Covered
{
	const Grouping *grouping;
	List *aggrefs;
} Covered;

/* Does an expression use anything but the grouping's keys and aggregates?  Collects the latter. */
static bool
find_uncovered(Node *node, Covered *c)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref))
	{
		c->aggrefs = list_append_unique(c->aggrefs, node);
		return false;
	}
	if (list_member(c->grouping->keys, node))
		return false;
	if (IsA(node, Var) || IsA(node, PlaceHolderVar) || IsA(node, GroupingFunc))
		return true;
	return expression_tree_walker(node, find_uncovered, c);
}

/* Aggregates of expressions; *ok tells whether there is anything else that only a row has. */
static List *
aggregates_of(const Grouping *g, List *exprs, Node *having, bool *ok)
{
	Covered c = {.grouping = g};

	*ok = !find_uncovered((Node *) exprs, &c) && !find_uncovered(having, &c);
	return c.aggrefs;
}

typedef struct Ordered
{
	RestrictInfo *rinfo;
	Index security_level;
	Cost cost;
} Ordered;

/* Conditions in the order in which a plan of core's asks them: as order_qual_clauses() does. */
static List *
in_order(PlannerInfo *root, List *rinfos)
{
	Ordered *sorted = palloc(sizeof(Ordered) * Max(1, list_length(rinfos)));
	List *result = NIL;
	ListCell *lc;
	int n = 0;

	foreach (lc, rinfos)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		Ordered item = {.rinfo = rinfo};
		QualCost cost;
		int at = n++;

		cost_qual_eval_node(&cost, (Node *) rinfo, root);
		item.cost = cost.per_tuple;
		item.security_level =
			rinfo->leakproof && item.cost < 10 * cpu_operator_cost ? 0 : rinfo->security_level;
		for (; at > 0; at--)
		{
			const Ordered *before = &sorted[at - 1];

			if (before->security_level < item.security_level ||
				(before->security_level == item.security_level && before->cost <= item.cost))
				break;
			sorted[at] = *before;
		}
		sorted[at] = item;
	}
	for (int i = 0; i < n; i++)
		result = lappend(result, sorted[i].rinfo);
	return result;
}

static bool
conditions_fit(Grouping *g)
{
	ListCell *lc;

	foreach (lc, in_order(g->root, g->pushed->rest))
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		MdbVecExpr *e;

		if (rinfo->pseudoconstant || !mdb_clause_may_move(g->input, rinfo))
			return false;
		e = mdb_vec_compile(g->table, g->input->relid, (Node *) rinfo->clause, NULL);
		if (e == NULL || mdb_vec_type_of(e) != MDB_VEC_BOOL)
			return false;
		g->filters = lappend(g->filters, rinfo->clause);
	}
	return true;
}

static bool
keys_fit(Grouping *g, List *tlist)
{
	ListCell *lc;

	if (list_length(g->group_clause) > MDB_AGG_KEYS)
		return false;
	foreach (lc, g->group_clause)
	{
		SortGroupClause *sgc = lfirst_node(SortGroupClause, lc);
		Node *key = get_sortgroupclause_expr(sgc, tlist);
		bool timed;

		/* A key that returns a set is many rows, which core makes below its aggregate. */
		if (!sgc->hashable || expression_returns_set(key))
			return false;
		if (mdb_uses_only(key, g->input->relid, g->table, MDB_ROLE_SERIES))
			timed = false;
		else if (g->table->time_attno > 0 && mdb_bucket_supported(g->table, g->input->relid, key))
			timed = true;
		else
			return false;
		g->keys = lappend(g->keys, key);
		g->eqops = lappend_oid(g->eqops, sgc->eqop);
		g->timed = lappend_int(g->timed, timed);
		if (timed)
			g->buckets = lappend(g->buckets, key);
		else
			g->series = lappend(g->series, key);
	}
	return true;
}

static bool
aggregates_fit(Grouping *g, List *aggrefs)
{
	MdbAggInput *inputs = palloc0(sizeof(MdbAggInput) * Max(1, list_length(aggrefs)));
	Bitmapset *columns = NULL;
	ListCell *lc;
	Size own_size = 0;
	int n = 0;

	g->in_workers = true;
	g->from_headers = g->buckets == NIL && g->filters == NIL;
	foreach (lc, aggrefs)
	{
		Aggref *aggref = lfirst_node(Aggref, lc);
		MdbAggWhat what;

		if (!mdb_agg_recognise(g->table, g->input->relid, aggref, &what))
			return false;
		inputs[n].needs = what.needs;
		inputs[n].vec_type = what.arg ? mdb_vec_type(exprType((Node *) what.arg)) : MDB_VEC_INT;
		n++;
		if (what.kind == MDB_AGG_CALLED)
		{
			own_size += mdb_called_size() + mdb_called_held();
			g->in_workers = g->in_workers && what.in_workers;
			g->from_headers = false;
		}
		if (what.own)
		{
			own_size += what.own->kind->state_size + what.own->kind->held_size;
			g->in_workers = g->in_workers && what.own->partial != NULL;
		}
		if (aggref->aggfilter != NULL || (what.needs & (MDB_NEED_SQUARES | MDB_NEED_TRUE)) != 0 ||
			what.own != NULL || (what.arg != NULL && !IsA(what.arg, Var)))
			g->from_headers = false;
		pull_varattnos((Node *) aggref, g->input->relid, &columns);
	}
	pull_varattnos((Node *) g->filters, g->input->relid, &columns);
	g->state_size = mdb_agg_place(inputs, n) + own_size;
	g->ncolumns = bms_num_members(columns);
	return true;
}

/* ---------- how much is it? ---------- */

/* Bounds of the times that are looked at, as far as statistics and constants tell. */
static bool
time_range(const Grouping *g, double *lo, double *hi)
{
	VariableStatData stats;
	AttStatsSlot slot;
	Var *var = makeVar(g->input->relid, g->table->time_attno, g->table->time_type, -1, InvalidOid, 0);
	bool found = false;
	ListCell *lv, *ls;

	examine_variable(g->root, (Node *) var, 0, &stats);
	if (HeapTupleIsValid(stats.statsTuple) &&
		get_attstatsslot(&slot, stats.statsTuple, STATISTIC_KIND_HISTOGRAM, InvalidOid, ATTSTATSSLOT_VALUES))
	{
		if (slot.nvalues > 0)
		{
			found = true;
			*lo = g->table->time_type == DATEOID ? DatumGetInt32(slot.values[0])
												 : DatumGetInt64(slot.values[0]);
			*hi = g->table->time_type == DATEOID ? DatumGetInt32(slot.values[slot.nvalues - 1])
												 : DatumGetInt64(slot.values[slot.nvalues - 1]);
		}
		free_attstatsslot(&slot);
	}
	ReleaseVariableStats(stats);
	if (!found)
	{
		*lo = (double) PG_INT64_MIN;
		*hi = (double) PG_INT64_MAX;
	}
	forboth (lv, g->pushed->values, ls, g->pushed->strategies)
	{
		Const *c = (Const *) estimate_expression_value(g->root, lfirst(lv));
		double t;

		if (!IsA(c, Const) || c->constisnull)
			continue;
		t = g->table->time_type == DATEOID ? DatumGetInt32(c->constvalue) : DatumGetInt64(c->constvalue);
		if (lfirst_int(ls) >= BTEqualStrategyNumber)
			*lo = Max(*lo, t);
		if (lfirst_int(ls) <= BTEqualStrategyNumber)
			*hi = Min(*hi, t);
	}
	return *lo > (double) PG_INT64_MIN && *hi < (double) PG_INT64_MAX;
}

static void
estimate(Grouping *g)
{
	double groups = 1;
	ListCell *lc;

	g->rows = clamp_row_est(g->input->tuples * clauselist_selectivity(g->root, mdb_push_selective(g->pushed),
																	  0, JOIN_INNER, NULL));
	if (g->series)
		groups = estimate_num_groups(g->root, g->series, Max(1, g->input->rows), NULL, NULL);
	foreach (lc, g->buckets)
	{
		double width = mdb_bucket_width(g->table, g->input->relid, lfirst(lc));
		double lo, hi;
		double n = g->input->rows;

		if (time_range(g, &lo, &hi))
			n = Min(n, Max(0, hi - lo) / width + 1);
		groups *= Max(1, n);
	}
	g->groups = clamp_row_est(Min(groups, Max(1, g->input->rows)));
}

/* Fill in what both kinds of paths share. */
static CustomPath *
make_path(Grouping *g, RelOptInfo *rel, List *aggrefs, Node *having, bool partial, int workers)
{
	CustomPath *path = makeNode(CustomPath);
	double share =
		workers > 0 ? workers + (parallel_leader_participation ? Max(0, 1 - 0.3 * workers) : 0) : 1;
	double wanted = g->input->tuples > 0 ? g->rows / g->input->tuples : 1;
	Cost cost;

	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.parallel_aware = partial;
	path->path.parallel_safe = rel->consider_parallel;
	path->path.parallel_workers = workers;
	path->path.rows = g->groups;
	/* A value takes about a nanosecond, less than a tenth of an operator; a page is only partly wanted. */
	if (g->from_headers)
		cost = cpu_operator_cost * g->rows / MDB_SERIES_BLOCK_ROWS * (10 + g->ncolumns);
	else
	{
		cost = seq_page_cost * g->input->pages * Min(1, wanted * 1.2) *
			   Min(1, (g->ncolumns + 1.0) / Max(1, g->table->natts));
		cost += cpu_operator_cost * g->rows * (0.05 + 0.1 * g->ncolumns);
	}
	cost = cost / share + cpu_operator_cost * g->groups * (1 + list_length(aggrefs));
	path->path.startup_cost = cost;
	path->path.total_cost = cost + cpu_tuple_cost * g->groups;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->custom_private = list_make5(
		list_make5(g->pushed->strategies, g->pushed->values, g->pushed->series, g->filters,
				   g->pushed->markers),
		list_make4(g->keys, g->eqops, g->timed, aggrefs),
		list_make3(having, g->group_clause, extract_actual_clauses(g->input->baserestrictinfo, false)),
		lappend_int(list_make5_int(g->pushed->guarded, partial, g->input->relid, 0, false),
					g->root->parse->groupClause == NIL),
		g->pushed->slacks);
	path->methods = &path_methods;
	return path;
}

/* LIMIT and OFFSET, if they are given; else 0. */
static double
rows_wanted(const Query *parse)
{
	Const *count = (Const *) parse->limitCount, *offset = (Const *) parse->limitOffset;

	if (count == NULL || !IsA(count, Const) || count->constisnull ||
		(offset != NULL && (!IsA(offset, Const) || offset->constisnull)))
		return 0;
	return Max(0.0, (double) DatumGetInt64(count->constvalue) +
						(offset ? (double) DatumGetInt64(offset->constvalue) : 0));
}

/*
 * Groups in the order of a bucket of time, window by window, where the query's order begins with it and a LIMIT
 * makes that worth while.
 */
static void
add_windowed_path(Grouping *g, RelOptInfo *grouped, List *aggrefs, Node *having)
{
	double limit = rows_wanted(g->root->parse);
	double width, lo, hi, per_bucket, stretches, share;
	PathKey *key;
	CustomPath *path;
	List *numbers;
	Oid opclass;

	if (limit <= 0 || g->root->sort_pathkeys == NIL || list_length(g->buckets) != 1 ||
		!mdb_bucket_rises(g->table, g->input->relid, linitial(g->buckets)))
		return;
	/* Rows without a time have a group of their own, which is in no window. */
	if (g->pushed->strategies == NIL && !g->time_not_null)
		return;
	key = linitial_node(PathKey, g->root->sort_pathkeys);
	opclass = GetDefaultOpClass(exprType(linitial(g->buckets)), BTREE_AM_OID);
	if (key->pk_eclass->ec_has_volatile || !OidIsValid(opclass) ||
		get_opclass_family(opclass) != key->pk_opfamily ||
		find_ec_member_matching_expr(key->pk_eclass, linitial(g->buckets), g->input->relids) == NULL)
		return;

	path = make_path(g, grouped, aggrefs, having, false, 0);
	path->path.pathkeys = list_make1(key);
	/* How much of the time is the first window? */
	width = mdb_bucket_width(g->table, g->input->relid, linitial(g->buckets));
	per_bucket = time_range(g, &lo, &hi) ? g->groups / Max(1, Max(0, hi - lo) / width + 1) : 1;
	stretches = ceil(limit / Max(1, per_bucket));
	share = Min(1, Max(1, per_bucket) * (stretches + 1) / g->groups);
	path->path.total_cost = path->path.total_cost * 1.2 + 1;
	path->path.startup_cost = path->path.total_cost * share;
	numbers = lfourth(path->custom_private);
	lfirst_int(list_nth_cell(numbers, 3)) = (int) Min(stretches, 1000000);
	lfirst_int(list_nth_cell(numbers, 4)) = mdb_is_descending(mdb_pathkey_ordering(key));
	add_path(grouped, &path->path);
}

/* Aggregates in workers, finished by core's node above them. */
static void
add_parallel_path(Grouping *g, RelOptInfo *grouped, GroupPathExtraData *extra, Node *having)
{
	RelOptInfo *partial_rel;
	CustomPath *path;
	Path *gather;
	List *aggrefs;
	double rows;
	bool ok;
	int workers;

	if (!grouped->consider_parallel || !g->in_workers || g->input->partial_pathlist == NIL ||
		!extra->partial_costs_set || (extra->flags & GROUPING_CAN_PARTIAL_AGG) == 0)
		return;
	partial_rel = fetch_upper_rel(g->root, UPPERREL_PARTIAL_GROUP_AGG, grouped->relids);
	if (partial_rel->reltarget == NULL || partial_rel->reltarget->exprs == NIL)
		return;
	aggrefs = aggregates_of(g, partial_rel->reltarget->exprs, NULL, &ok);
	if (!ok)
		return;
	workers = ((Path *) linitial(g->input->partial_pathlist))->parallel_workers;
	path = make_path(g, partial_rel, aggrefs, NULL, true, workers);
	rows = g->groups * workers;
	gather =
		(Path *) create_gather_path(g->root, partial_rel, &path->path, partial_rel->reltarget, NULL, &rows);
	add_path(grouped, (Path *) create_agg_path(g->root, grouped, gather, grouped->reltarget,
											   g->group_clause                      ? AGG_HASHED
											   : g->root->parse->groupClause == NIL ? AGG_PLAIN
																					: AGG_SORTED,
											   AGGSPLIT_FINAL_DESERIAL, g->group_clause, (List *) having,
											   &extra->agg_final_costs, g->groups));
}

static void
try_grouping(PlannerInfo *root, RelOptInfo *input, RelOptInfo *grouped, GroupPathExtraData *extra,
			 const MdbTable *table, bool time_not_null)
{
	Grouping g = {.root = root, .input = input, .table = table, .time_not_null = time_not_null};
	List *aggrefs;
	bool ok, overridden;

	g.group_clause = mdb_group_clause(root);
	g.pushed = mdb_find_pushed(input, table);
	if (!conditions_fit(&g) || !keys_fit(&g, extra->targetList))
		return;
	aggrefs = aggregates_of(&g, grouped->reltarget->exprs, extra->havingQual, &ok);
	if (!ok || !aggregates_fit(&g, aggrefs))
		return;
	g.pushed->guarded = mdb_rows_are_hidden(root, input);
	estimate(&g);
	/*
	 * Core's can spill; ours goes over the table again, which is only good if it comes as a surprise.  Who applies a
	 * continuous aggregate asks for few rows at a time, of which the planner thinks more than there are.
	 */
	(void) mdb_rollup_is_marked(input, &overridden);
	if (g.groups * g.state_size > get_hash_memory_limit() && !overridden)
		return;
	add_path(grouped, &make_path(&g, grouped, aggrefs, extra->havingQual, false, 0)->path);
	add_windowed_path(&g, grouped, aggrefs, extra->havingQual);
	add_parallel_path(&g, grouped, extra, extra->havingQual);
}

static void
create_upper_paths(PlannerInfo *root, UpperRelationKind stage, RelOptInfo *input, RelOptInfo *output,
				   void *extra)
{
	Query *parse = root->parse;
	RangeTblEntry *rte;
	Relation relation;

	if (prev_create_upper_paths)
		prev_create_upper_paths(root, stage, input, output, extra);
	if (stage != UPPERREL_GROUP_AGG || !mdb_enable_vector_agg || !mdb_enable_custom_scan ||
		parse->groupingSets != NIL || (!parse->hasAggs && parse->groupClause == NIL) || IS_DUMMY_REL(input) ||
		(input->reloptkind != RELOPT_BASEREL && input->reloptkind != RELOPT_OTHER_MEMBER_REL) ||
		input->rtekind != RTE_RELATION || !bms_is_empty(input->lateral_relids))
		return;
	rte = planner_rt_fetch(input->relid, root);
	if (rte->inh || rte->tablesample != NULL || bms_is_member(input->relid, root->all_result_relids) ||
		get_plan_rowmark(root->rowMarks, input->relid) != NULL || mdb_wants_special_columns(input))
		return;
	relation = table_open(rte->relid, NoLock);
	if (mdb_is_metricsdb(relation) && RelationGetNumberOfBlocks(relation) > MDB_META_BLOCK + 1)
	{
		const MdbTable *table = mdb_table(relation);

		try_grouping(root, input, output, extra, table,
					 table->time_attno > 0 &&
						 TupleDescAttr(RelationGetDescr(relation), table->time_attno - 1)->attnotnull);
	}
	table_close(relation, NoLock);
}

/* ---------- path to plan ---------- */

/* What the node can show: keys and aggregates, and behind them the columns that conditions use. */
static List *
make_scan_tlist(List *keys, List *aggrefs, List *group_clause, List *exprs, Index relid)
{
	List *tlist = NIL;
	ListCell *lc, *ls;
	int n = 0;

	forboth (lc, keys, ls, group_clause)
	{
		TargetEntry *tle = makeTargetEntry(copyObject(lfirst(lc)), ++n, NULL, false);

		tle->ressortgroupref = lfirst_node(SortGroupClause, ls)->tleSortGroupRef;
		tlist = lappend(tlist, tle);
	}
	foreach (lc, aggrefs)
		tlist = lappend(tlist, makeTargetEntry(copyObject(lfirst(lc)), ++n, NULL, false));
	/* This one tells which entry of the range table it is. */
	tlist = lappend(
		tlist, makeTargetEntry((Expr *) makeVar(relid, TableOidAttributeNumber, OIDOID, -1, InvalidOid, 0),
							   ++n, NULL, false));
	foreach (lc, pull_var_clause((Node *) exprs, PVC_RECURSE_PLACEHOLDERS))
		if (tlist_member(lfirst(lc), tlist) == NULL)
			tlist = lappend(tlist, makeTargetEntry(copyObject(lfirst(lc)), ++n, NULL, false));
	return tlist;
}

static Plan *
plan_metrics_agg(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses,
				 List *custom_plans)
{
	CustomScan *cscan = makeNode(CustomScan);
	List *conditions = linitial(path->custom_private);
	List *grouping = lsecond(path->custom_private);
	List *more = lthird(path->custom_private);
	List *numbers = lfourth(path->custom_private);
	List *keys = linitial(grouping);
	List *aggrefs = lfourth(grouping);

	cscan->scan.plan.targetlist = tlist;
	cscan->scan.plan.qual = linitial(more);
	cscan->scan.scanrelid = 0;
	cscan->flags = path->flags;
	cscan->custom_scan_tlist = make_scan_tlist(
		keys, aggrefs, lsecond(more), list_make3(lthird(conditions), lfourth(conditions), lthird(more)),
		lthird_int(numbers));
	/* Values of conditions on time; conditions on series, on values; all conditions, to be shown; and markers. */
	cscan->custom_exprs = list_make5(lsecond(conditions), lthird(conditions), lfourth(conditions),
									 lthird(more), llast(conditions));
	cscan->custom_private = list_make5(
		linitial(conditions), lsecond(grouping), lthird(grouping),
		list_concat(list_make4_int(linitial_int(numbers), lsecond_int(numbers), list_length(keys),
								   list_length(aggrefs)),
					list_make3_int(lfourth_int(numbers), list_nth_int(numbers, 4), list_nth_int(numbers, 5))),
		llast(path->custom_private));
	cscan->methods = &mdb_agg_scan_methods;
	return (Plan *) cscan;
}

/*
 * mdb_agg_init - at load: the setting, the node, the planner's hook.
 */
void
mdb_agg_init(void)
{
	DefineCustomBoolVariable("metricsdb.enable_vector_agg",
							 "Lets the planner use MetricsAgg for metricsdb tables.",
							 "Needs metricsdb.enable_custom_scan, too.", &mdb_enable_vector_agg, true,
							 PGC_USERSET, 0, NULL, NULL, NULL);
#ifdef MDB_TESTING
	DefineCustomBoolVariable("metricsdb.kernel_fault", "Makes sums of MetricsAgg wrong, for tests of tests.",
							 NULL, &mdb_kernel_fault, false, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("metricsdb.agg_memory",
							"Memory for groups of MetricsAgg, for tests; 0: as for any hash table.", NULL,
							&mdb_agg_memory, 0, 0, MAX_KILOBYTES, PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
#endif
	RegisterCustomScanMethods(&mdb_agg_scan_methods);
	prev_create_upper_paths = create_upper_paths_hook;
	create_upper_paths_hook = create_upper_paths;
}
