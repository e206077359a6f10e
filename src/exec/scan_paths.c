/*
 * scan_paths.c
 *	  MetricsScan as the planner sees it: which paths there are, what they cost, and the plan they become.
 *
 * Beside a sequential scan that prunes there are paths in order of time, a path with the first row in order
 * of time of each series for SELECT DISTINCT ON of series columns, and paths whose conditions on series
 * columns and times take values of another table's rows.
 */
#include "postgres.h"

#include <math.h>

#include "access/stratnum.h"
#include "access/table.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/appendinfo.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/prep.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
#include "parser/parsetree.h"
#include "storage/bufmgr.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/selfuncs.h"

#include "metricsdb.h"
#include "exec/agg_node.h"
#include "exec/gapfill.h"
#include "exec/metrics_scan.h"
#include "exec/rollup_scan.h"
#include "exec/value_filter.h"

#define PARAMETERISED_MAX 8 /* paths with values of other tables, of one table */

bool mdb_enable_custom_scan = true;
static set_rel_pathlist_hook_type prev_set_rel_pathlist = NULL;

static Plan *plan_metrics_scan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
							   List *clauses, List *custom_plans);
static Node *create_state(CustomScan *cscan);

static List *for_child(PlannerInfo *root, List *custom_private, RelOptInfo *child);

static const CustomPathMethods path_methods = {.CustomName = "MetricsScan",
											   .ReparameterizeCustomPathByChild = for_child,
											   .PlanCustomPath = plan_metrics_scan};

static const CustomScanMethods scan_methods = {.CustomName = "MetricsScan",
											   .CreateCustomScanState = create_state};

/* What the paths of a table have in common. */
typedef struct Planning
{
	PlannerInfo *root;
	RelOptInfo *rel;
	const MdbTable *table;
	Form_pg_attribute time; /* NULL = no time column */
	bool guarded;
	const Path *seq; /* core's sequential scan */
	int nwanted;     /* columns that are asked for */
	double width;    /* which part of the columns these are */
} Planning;

/* ---------- paths ---------- */

/*
 * A path beside core's sequential scan, with its conditions and those of param_info.  What is read is a share
 * of the blocks, and of each the columns that are wanted; blocks hold rows of other times, and of other series
 * at level 0, so some are read in vain.
 */
static CustomPath *
make_path(const Planning *p, const Path *seq, ParamPathInfo *param_info, MdbScanMode mode, bool descending,
		  bool nulls_first, int first_rows)
{
	RelOptInfo *rel = p->rel;
	CustomPath *path = makeNode(CustomPath);
	List *rinfos =
		param_info ? list_concat_copy(rel->baserestrictinfo, param_info->ppi_clauses) : rel->baserestrictinfo;
	MdbPushed *pushed = mdb_find_pushed_in(rel, p->table, rinfos);
	List *filters = mdb_find_value_filters(rel, p->table, pushed);
	double run = seq->total_cost - seq->startup_cost;
	double sel = clauselist_selectivity(p->root, mdb_push_selective(pushed), 0, JOIN_INNER, NULL);
	double blocks = rel->tuples / MDB_SERIES_BLOCK_ROWS;
	double pages = Min(seq_page_cost * rel->pages, run);
	Cost cpu;

	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.param_info = param_info;
	path->path.parallel_aware = seq->parallel_aware;
	mdb_path_disabled_like(&path->path, seq);
	path->path.parallel_safe = seq->parallel_safe;
	path->path.parallel_workers = seq->parallel_workers;
	path->path.rows = param_info && param_info != seq->param_info ? param_info->ppi_rows : seq->rows;
	path->path.startup_cost = seq->startup_cost;

	sel = pushed->rinfos == NIL && pushed->implied == NIL ? 1.0 : Min(0.99, sel * 1.2);
	/* A block is read as a whole. */
	if (blocks > 1)
		sel = Min(1.0, Max(sel, 1.0 / blocks));
	path->path.total_cost = seq->startup_cost + pages * sel * p->width;
	cpu = (run - pages) * sel * (0.9 + 0.1 * p->width);
	/* Rows that do not pass conditions on values are not made. */
	if (filters != NIL)
		cpu *= 0.1 + 0.9 * clauselist_selectivity(p->root, filters, rel->relid, JOIN_INNER, NULL);
	path->path.total_cost += cpu;
	/* Directories are looked through for each scan, which counts where there are many. */
	path->path.total_cost += blocks * cpu_operator_cost * 0.2;
	path->path.total_cost = Min(path->path.total_cost, seq->startup_cost + run * 0.99);

	path->flags =
		CUSTOMPATH_SUPPORT_PROJECTION | (mode == MDB_SCAN_PLAIN ? CUSTOMPATH_SUPPORT_BACKWARD_SCAN : 0);
	path->custom_private = list_make5(
		list_concat(list_make3_int(p->guarded, mode, descending), list_make2_int(nulls_first, first_rows)),
		pushed->strategies, pushed->values, pushed->series,
		list_make4(filters, extract_actual_clauses(pushed->rinfos, false), pushed->markers, pushed->slacks));
	path->methods = &path_methods;
	return path;
}

/* ---------- order of time ---------- */

static Var *
time_var(const Planning *p)
{
	return makeVar(p->rel->relid, p->table->time_attno, p->time->atttypid, p->time->atttypmod,
				   p->time->attcollation, 0);
}

/* Does the operator family order times as we do? */
static bool
is_time_opfamily(const Planning *p, Oid opfamily)
{
	return OidIsValid(opfamily) && mdb_btree_family(p->table->time_type) == opfamily;
}

/*
 * Rows in order of time, if the query's order begins with it: so a LIMIT has to read little.  Core sorts the
 * rest of the order within equal times.
 */
static void
add_ordered_path(const Planning *p)
{
	PlannerInfo *root = p->root;
	PathKey *key;
	CustomPath *path;
	double rows, limit, window;

	if (p->time == NULL || root->query_pathkeys == NIL)
		return;
	key = linitial_node(PathKey, root->query_pathkeys);
	if (key->pk_eclass->ec_has_volatile || !is_time_opfamily(p, key->pk_opfamily) ||
		find_ec_member_matching_expr(key->pk_eclass, (Expr *) time_var(p), p->rel->relids) == NULL)
		return;

	/* How many rows will be asked for?  If this table is not the only one, or for a cursor, who knows. */
	rows = Max(1.0, p->rel->rows);
	limit = root->limit_tuples;
	if (limit > 0 && bms_membership(root->all_baserels) != BMS_SINGLETON)
		limit = Max(limit, 1000);
	if (limit <= 0)
		limit = root->tuple_fraction >= 1  ? root->tuple_fraction
				: root->tuple_fraction > 0 ? root->tuple_fraction * rows
										   : 0;
	path = make_path(p, p->seq, p->seq->param_info, MDB_SCAN_ORDERED,
					 mdb_is_descending(mdb_pathkey_ordering(key)), key->pk_nulls_first,
					 (int) Min(limit, 1000000));
	path->path.pathkeys = list_make1(key);
	path->path.parallel_aware = false;
	path->path.parallel_workers = 0;
	/* A window of about so many rows is read and sorted before the first one is returned. */
	window = Min(rows, Max(1000.0, limit > 0 ? limit : 100000.0));
	path->path.startup_cost += (path->path.total_cost - path->path.startup_cost) * (window / rows) * 0.5 + 1;
	path->path.total_cost += rows * 2.0 * cpu_operator_cost * log2(Max(2.0, window)) + 1;
	path->path.total_cost = Max(path->path.total_cost, path->path.startup_cost);
	add_path(p->rel, (Path *) path);
}

/* ---------- the latest row of each series ---------- */

/* An expression of the query as one of this table, which may be a child of the one that the query names. */
static Node *
translate(const Planning *p, Node *expr)
{
	if (p->rel->reloptkind == RELOPT_OTHER_MEMBER_REL)
	{
		int n;
		AppendRelInfo **infos = find_appinfos_by_relids(p->root, p->rel->relids, &n);
		Node *result = expr;

		/* Only children of the query's own table are asked. */
		result = adjust_appendrel_attrs(p->root, expr, n, infos);
		pfree(infos);
		return result;
	}
	return expr;
}

/* Is this table, or the one whose child it is, all that the query reads? */
static bool
is_all_of_query(const Planning *p)
{
	Index relid;

	if (!bms_get_singleton_member(p->root->all_baserels, (int *) &relid))
		return false;
	if (p->rel->reloptkind == RELOPT_BASEREL)
		return relid == p->rel->relid;
	return p->root->append_rel_array != NULL && p->root->append_rel_array[p->rel->relid] != NULL &&
		   p->root->append_rel_array[p->rel->relid]->parent_relid == relid;
}

/*
 * SELECT DISTINCT ON (of series columns) ... ORDER BY the same, time: the first row in order of time of each
 * series is enough, whatever of the series columns the query goes by.
 */
static void
add_latest_path(const Planning *p)
{
	PlannerInfo *root = p->root;
	Query *parse = root->parse;
	List *exprs = NIL;
	CustomPath *path;
	SortGroupClause *by_time;
	ListCell *lc;
	Oid opfamily, opcintype;
	MdbOrdering ordering;
	double nseries, run;

	if (p->time == NULL || p->table->nseries_columns == 0 || !parse->hasDistinctOn ||
		parse->commandType != CMD_SELECT || parse->groupClause != NIL || parse->groupingSets != NIL ||
		parse->hasAggs || parse->hasWindowFuncs || parse->hasTargetSRFs || parse->setOperations != NULL ||
		parse->havingQual != NULL || parse->rowMarks != NIL || p->seq->param_info != NULL ||
		!is_all_of_query(p) || list_length(parse->sortClause) != list_length(parse->distinctClause) + 1 ||
		contain_volatile_functions((Node *) parse->targetList))
		return;
	foreach (lc, p->rel->baserestrictinfo)
		if (contain_volatile_functions((Node *) lfirst_node(RestrictInfo, lc)->clause))
			return;
	foreach (lc, parse->distinctClause)
	{
		Node *expr = translate(p, get_sortgroupclause_expr(lfirst(lc), root->processed_tlist));

		if (!mdb_uses_only(expr, p->rel->relid, p->table, MDB_ROLE_SERIES))
			return;
		exprs = lappend(exprs, expr);
	}
	by_time = llast(parse->sortClause);
	if (!equal(mdb_strip_relabel(translate(p, get_sortgroupclause_expr(by_time, root->processed_tlist))),
			   time_var(p)) ||
		list_member(parse->distinctClause, by_time) ||
		!get_ordering_op_properties(by_time->sortop, &opfamily, &opcintype, &ordering) ||
		!is_time_opfamily(p, opfamily))
		return;

	nseries = estimate_num_groups(root, exprs, Max(1.0, p->rel->rows), NULL, NULL);
	path = make_path(p, p->seq, NULL, MDB_SCAN_LATEST, mdb_is_descending(ordering), by_time->nulls_first, 0);
	path->path.parallel_aware = false;
	path->path.parallel_workers = 0;
	path->path.rows = clamp_row_est(Min(nseries, p->rel->rows));
	/* A block for each series, of which a row is taken; and the directories. */
	run = path->path.total_cost - path->path.startup_cost;
	path->path.total_cost =
		path->path.startup_cost +
		run * Min(0.9, 0.01 + path->path.rows * MDB_SERIES_BLOCK_ROWS * 0.1 / Max(1.0, p->rel->tuples));
	add_path(p->rel, (Path *) path);
}

/* ---------- values of other tables' rows ---------- */

/* Is this member of an equivalence class one that a scan could compare with a value? */
static bool
is_searchable(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec, EquivalenceMember *em, void *arg)
{
	const Planning *p = arg;
	Node *expr = mdb_strip_relabel((Node *) em->em_expr);

	if (!bms_equal(em->em_relids, rel->relids))
		return false;
	if (p->time && IsA(expr, Var) && ((Var *) expr)->varattno == p->table->time_attno)
		return true;
	return p->table->nseries_columns > 0 && mdb_uses_only(expr, rel->relid, p->table, MDB_ROLE_SERIES);
}

static List *
add_set(List *sets, Relids set)
{
	ListCell *lc;

	if (bms_is_empty(set))
		return sets;
	foreach (lc, sets)
		if (bms_equal(lfirst(lc), set))
			return sets;
	return lappend(sets, set);
}

/* Sets of other tables whose rows give values to conditions that we can use: a few of them, each once. */
static List *
collect_outer(const Planning *p, List *outers, List *rinfos)
{
	ListCell *lc;

	foreach (lc, rinfos)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		int strategy;
		Expr *value;
		Relids outer;

		if (list_length(outers) >= PARAMETERISED_MAX)
			break;
		if (!join_clause_is_movable_to(rinfo, p->rel) ||
			!mdb_push_clause(p->rel, p->table, rinfo, &strategy, &value))
			continue;
		outer = bms_union(rinfo->clause_relids, p->rel->lateral_relids);
		outer = bms_del_member(outer, p->rel->relid);
		outers = add_set(outers, outer);
	}
	return outers;
}

/*
 * Paths for the inner side of nested loops: m.host = d.host, m.time BETWEEN e.start AND e.stop.
 */
static void
add_parameterised_paths(const Planning *p)
{
	List *outers;
	ListCell *lc;

	if (p->rel->joininfo == NIL && !p->rel->has_eclass_joins)
		return;
	outers = collect_outer(p, NIL, p->rel->joininfo);
	if (p->rel->has_eclass_joins)
		outers = collect_outer(p, outers,
							   generate_implied_equalities_for_column(
								   p->root, p->rel, is_searchable, (void *) p, p->rel->lateral_referencers));
	if (list_length(outers) > 1 && list_length(outers) < PARAMETERISED_MAX)
	{
		Relids all = NULL;

		foreach (lc, outers)
			all = bms_add_members(all, lfirst(lc));
		outers = add_set(outers, all);
	}
	foreach (lc, outers)
	{
		ParamPathInfo *param_info = get_baserel_parampathinfo(p->root, p->rel, lfirst(lc));
		CustomPath *path = make_path(p, p->seq, param_info, MDB_SCAN_PLAIN, false, false, 0);

		path->path.parallel_aware = false;
		path->path.parallel_workers = 0;
		add_path(p->rel, (Path *) path);
	}
}

/* The same path with values of rows of a child of the other table, for a join of partitions. */
static List *
for_child(PlannerInfo *root, List *custom_private, RelOptInfo *child)
{
	List *result = list_make2(linitial(custom_private), lsecond(custom_private));

	for (int i = list_length(result); i < list_length(custom_private); i++)
		result = lappend(result, mdb_adjust_for_child(root, list_nth(custom_private, i), child));
	return result;
}

/* ---------- the hook ---------- */

/* Which columns does the query use?  Returns how many values there are in a row, and the share wanted. */
static void
find_width(Planning *p)
{
	int values = 0, wanted = 0;

	for (int i = 0; i < p->table->natts; i++)
	{
		AttrNumber attno = i + 1;

		if (p->table->columns[i].role != MDB_ROLE_VALUE)
			continue;
		values++;
		if (attno <= p->rel->max_attr && !bms_is_empty(p->rel->attr_needed[attno - p->rel->min_attr]))
			wanted++;
	}
	/* Conditions use columns, too. */
	if (p->rel->baserestrictinfo != NIL)
	{
		Bitmapset *used = NULL;
		ListCell *lc;
		int x = -1;

		foreach (lc, p->rel->baserestrictinfo)
			pull_varattnos((Node *) lfirst_node(RestrictInfo, lc)->clause, p->rel->relid, &used);
		while ((x = bms_next_member(used, x)) >= 0)
		{
			AttrNumber attno = x + FirstLowInvalidHeapAttributeNumber;

			if (attno > 0 && attno <= p->table->natts &&
				p->table->columns[attno - 1].role == MDB_ROLE_VALUE &&
				bms_is_empty(p->rel->attr_needed[attno - p->rel->min_attr]))
				wanted++;
		}
	}
	p->nwanted = wanted;
	/* Times and series ids are read in any case. */
	p->width = (1.0 + wanted) / (1.0 + Max(values, wanted));
}

/* Is one of the conditions that the scan sees to is_pending()? */
static bool
is_pending_pushed(const MdbPushed *pushed)
{
	ListCell *lc;

	foreach (lc, pushed->markers)
	{
		Oid aggregate;
		Node *time;

		if (mdb_marker_of(lfirst(lc), &aggregate, &time) == MDB_MARKER_PENDING)
			return true;
	}
	return false;
}

/* A query wants the pending rows of a table in a way that only core's scan could do. */
static void
refuse_marked(const RangeTblEntry *rte, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("is_pending() is not supported in this query of table \"%s\"", get_rel_name(rte->relid)),
			 errdetail("%s", detail), errhint("Ask the view of the continuous aggregate.")));
}

/*
 * Of a table of which the pending rows alone are wanted no paths of core's are left: they would not know which these
 * are.  Whoever applies them himself does so without workers, who would not know what he means.
 */
static void
take_over(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte, bool overridden)
{
	if (rte->tablesample != NULL)
		refuse_marked(rte, "The query takes a sample.");
	if (bms_is_member(rti, root->all_result_relids) || get_plan_rowmark(root->rowMarks, rti) != NULL)
		refuse_marked(rte, "The query changes or locks rows.");
	rel->pathlist = NIL;
	if (overridden)
	{
		rel->consider_parallel = false;
		rel->partial_pathlist = NIL;
	}
}

/* The table's path of core's that ours go by; false if there is none. */
static bool
find_seq_path(Planning *p, Path *copy, bool marked)
{
	ListCell *lc;
	bool found = false;

	foreach (lc, p->rel->pathlist)
		if (((Path *) lfirst(lc))->pathtype == T_SeqScan)
		{
			/* One that costs more than ours may be freed. */
			*copy = *(Path *) lfirst(lc);
			found = true;
		}
	if (!found && marked)
		*copy = *create_seqscan_path(p->root, p->rel, p->rel->lateral_relids, 0);
	p->seq = found || marked ? copy : NULL;
	return p->seq != NULL;
}

/* The table as it is planned for: the relation's own may go while we estimate.  NULL if there are none of our paths. */
static MdbTable *
table_of(Oid relid, bool marked, FormData_pg_attribute *time)
{
	Relation relation = table_open(relid, NoLock);
	MdbTable *table = NULL;

	/* Without parts there is nothing to leave out; the first one invalidates plans. */
	if (mdb_is_metricsdb(relation) && (marked || RelationGetNumberOfBlocks(relation) > MDB_META_BLOCK + 1))
	{
		table = mdb_table(relation);
		if (table->time_attno > 0)
			*time = *TupleDescAttr(RelationGetDescr(relation), table->time_attno - 1);
	}
	table_close(relation, NoLock);
	return table;
}

/* The plain path, and one for workers. */
static void
add_plain_paths(const Planning *p, bool marked)
{
	List *seqs = p->rel->partial_pathlist;
	List *partial = NIL;
	ListCell *lc;

	foreach (lc, seqs)
	{
		Path *seq = lfirst(lc);

		if (seq->pathtype == T_SeqScan)
			partial = lappend(partial, make_path(p, seq, seq->param_info, MDB_SCAN_PLAIN, false, false, 0));
	}
	if (marked)
		p->rel->partial_pathlist = NIL;
	add_path(p->rel, (Path *) make_path(p, p->seq, p->seq->param_info, MDB_SCAN_PLAIN, false, false, 0));
	foreach (lc, partial)
		add_partial_path(p->rel, lfirst(lc));
}

static void
set_rel_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	Planning p = {.root = root, .rel = rel};
	FormData_pg_attribute time;
	Path seq_path;
	MdbPushed *pushed;
	bool marked, overridden;

	if (prev_set_rel_pathlist)
		prev_set_rel_pathlist(root, rel, rti, rte);

	if (rte->rtekind != RTE_RELATION || rte->inh || IS_DUMMY_REL(rel) ||
		(rel->reloptkind != RELOPT_BASEREL && rel->reloptkind != RELOPT_OTHER_MEMBER_REL))
		return;
	marked = mdb_rollup_is_marked(rel, &overridden);
	if (!marked &&
		(!mdb_enable_custom_scan || rte->tablesample != NULL || bms_is_member(rti, root->all_result_relids) ||
		 get_plan_rowmark(root->rowMarks, rti) != NULL || mdb_wants_special_columns(rel)))
		return;
	if (!find_seq_path(&p, &seq_path, marked))
		return;
	p.table = table_of(rte->relid, marked, &time);
	if (p.table == NULL)
		return;
	if (p.table->time_attno > 0)
		p.time = &time;
	p.guarded = mdb_rows_are_hidden(root, rel);
	find_width(&p);

	pushed = mdb_find_pushed(rel, p.table);
	marked = marked && is_pending_pushed(pushed);
	if (marked)
		take_over(root, rel, rti, rte, overridden);
	if (marked || pushed->strategies != NIL || pushed->rinfos != NIL || p.width < 1 ||
		mdb_find_value_filters(rel, p.table, pushed) != NIL)
		add_plain_paths(&p, marked);
	if (!marked || !mdb_wants_special_columns(rel))
	{
		add_ordered_path(&p);
		add_latest_path(&p);
	}
	add_parameterised_paths(&p);
}

/* ---------- plans ---------- */

/* Conditions but for those that only the scan can decide, rows of the delta included. */
static List *
without_pending(List *clauses, List *markers)
{
	List *result = NIL;
	ListCell *lc;

	foreach (lc, clauses)
	{
		Oid aggregate;
		Node *time;

		if (mdb_marker_of(lfirst(lc), &aggregate, &time) != MDB_MARKER_PENDING ||
			!list_member(markers, lfirst(lc)))
			result = lappend(result, lfirst(lc));
	}
	return result;
}

static Plan *
plan_metrics_scan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses,
				  List *custom_plans)
{
	CustomScan *cscan = makeNode(CustomScan);
	List *private = path->custom_private;
	List *filters = linitial(llast(private));
	List *pushed = lsecond(llast(private));
	List *markers = lthird(llast(private));
	List *in_order = NIL, *rest = NIL;
	ListCell *lc;

	cscan->scan.plan.targetlist = tlist;
	cscan->scan.plan.qual = without_pending(extract_actual_clauses(clauses, false), markers);
	/* Value filters in the order in which the plan would ask; and what the scan does not decide by itself. */
	foreach (lc, cscan->scan.plan.qual)
	{
		if (list_member(filters, lfirst(lc)))
			in_order = lappend(in_order, lfirst(lc));
		else if (!list_member(pushed, lfirst(lc)))
			rest = lappend(rest, lfirst(lc));
	}
	cscan->scan.scanrelid = rel->relid;
	cscan->flags = path->flags;
	cscan->custom_exprs = list_make5(lthird(private), lfourth(private), in_order, rest, markers);
	cscan->custom_private = list_make3(lsecond(private), linitial(private), lfourth(llast(private)));
	cscan->methods = &scan_methods;
	return (Plan *) cscan;
}

static Node *
create_state(CustomScan *cscan)
{
	MetricsScanState *state = (MetricsScanState *) newNode(sizeof(MetricsScanState), T_CustomScanState);

	state->css.flags = cscan->flags;
	state->css.methods = &mdb_metrics_scan_exec;
	return (Node *) state;
}

/*
 * mdb_exec_init - at load: the setting, the node, the planner's hook.
 */
void
mdb_exec_init(void)
{
	DefineCustomBoolVariable("metricsdb.enable_custom_scan",
							 "Lets the planner use MetricsScan for metricsdb tables.", NULL,
							 &mdb_enable_custom_scan, true, PGC_USERSET, 0, NULL, NULL, NULL);
	RegisterCustomScanMethods(&scan_methods);
	prev_set_rel_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = set_rel_pathlist;
	mdb_index_cost_init();
	mdb_agg_init();
	mdb_gapfill_init();
	mdb_markers_init();
}
