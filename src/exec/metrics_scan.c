/*
 * metrics_scan.c
 *	  MetricsScan: a sequential scan that leaves out what the query's conditions on the time and
 *	  series columns exclude.
 *
 * Conditions "time op value" become a range of times, by which parts and blocks are pruned.
 * Conditions on series columns alone are evaluated once for each series that is met, not for
 * each row.  All conditions are evaluated again on the rows that remain, so the scan is right as
 * long as it leaves out no row that passes them: it never decides that a row does.
 *
 * Invariants:
 *	1. Core's own paths stay; ours only cost less.  Rows whose system columns or whole-row value
 *	   the query wants are left to them.
 *	2. A condition may be evaluated out of turn only if row-level security lets it: it is of the
 *	   lowest security level of the table, or leakproof.
 *	3. Where rows are hidden from the user, EXPLAIN does not tell what was pruned: from that and
 *	   conditions of his choice he could learn the times and series of hidden rows.
 *	4. Values are taken when the scan starts or is started over, so that now(), parameters and
 *	   outer rows have their effect.
 */
#include "postgres.h"

#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "executor/nodeCustom.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/prep.h"
#include "optimizer/restrictinfo.h"
#include "port/atomics.h"
#include "storage/bufmgr.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "metricsdb.h"
#include "am/am.h"
#include "exec/agg_node.h"
#include "exec/pushdown.h"

bool mdb_enable_custom_scan = true;
static set_rel_pathlist_hook_type prev_set_rel_pathlist = NULL;

/* What parallel processes share beside the scan itself. */
typedef struct SharedCounters
{
	pg_atomic_uint64 blocks_read;
	pg_atomic_uint64 rows_skipped;
	pg_atomic_uint64 bytes_read;
} SharedCounters;

typedef struct MetricsScanState
{
	CustomScanState css;
	MdbPushState push;
	TableScanDesc scan;
	ParallelTableScanDesc pscan;
	SharedCounters *shared;
	MdbScanCounters counters;
	bool ready;   /* the filter is set */
	bool guarded; /* see MdbPushed */
} MetricsScanState;

/* ---------- planning ---------- */

static Plan *plan_metrics_scan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist,
							   List *clauses, List *custom_plans);
static Node *create_state(CustomScan *cscan);

static const CustomPathMethods path_methods = {.CustomName = "MetricsScan",
											   .PlanCustomPath = plan_metrics_scan};

static const CustomScanMethods scan_methods = {.CustomName = "MetricsScan",
											   .CreateCustomScanState = create_state};

/* A path of ours beside one of core's. */
static CustomPath *
make_path(PlannerInfo *root, RelOptInfo *rel, const Path *seq, const MdbPushed *pushed)
{
	CustomPath *path = makeNode(CustomPath);
	double sel = clauselist_selectivity(root, pushed->rinfos, 0, JOIN_INNER, NULL);

	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.param_info = seq->param_info;
	path->path.parallel_aware = seq->parallel_aware;
	path->path.parallel_safe = seq->parallel_safe;
	path->path.parallel_workers = seq->parallel_workers;
	path->path.rows = seq->rows;
	mdb_path_disabled_like(&path->path, seq);
	path->path.startup_cost = seq->startup_cost;
	/* Blocks hold rows of other times, and of other series at level 0: some are read in vain. */
	path->path.total_cost =
		seq->startup_cost + (seq->total_cost - seq->startup_cost) * Min(0.99, Max(sel * 1.2, 0.001));
	path->flags = CUSTOMPATH_SUPPORT_BACKWARD_SCAN | CUSTOMPATH_SUPPORT_PROJECTION;
	path->custom_private =
		list_make4(pushed->strategies, pushed->values, pushed->series, makeInteger(pushed->guarded));
	path->methods = &path_methods;
	return path;
}

static void
set_rel_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	Relation relation;
	MdbTable *table;
	MdbPushed *pushed = NULL;
	ListCell *lc;
	List *paths = NIL;
	List *partial = NIL;

	if (prev_set_rel_pathlist)
		prev_set_rel_pathlist(root, rel, rti, rte);

	if (!mdb_enable_custom_scan || rte->rtekind != RTE_RELATION || rte->inh || rte->tablesample != NULL ||
		(rel->reloptkind != RELOPT_BASEREL && rel->reloptkind != RELOPT_OTHER_MEMBER_REL) ||
		rel->baserestrictinfo == NIL || IS_DUMMY_REL(rel) || bms_is_member(rti, root->all_result_relids) ||
		get_plan_rowmark(root->rowMarks, rti) != NULL || mdb_wants_special_columns(rel))
		return;
	relation = table_open(rte->relid, NoLock);
	/* Without parts there is nothing to leave out; the first one invalidates plans. */
	if (mdb_is_metricsdb(relation) && RelationGetNumberOfBlocks(relation) > MDB_META_BLOCK + 1)
	{
		table = mdb_table(relation);
		pushed = mdb_find_pushed(rel, table);
	}
	table_close(relation, NoLock);
	if (pushed == NULL || pushed->rinfos == NIL)
		return;
	pushed->guarded = mdb_rows_are_hidden(root, rel);

	foreach (lc, rel->pathlist)
	{
		Path *path = lfirst(lc);

		if (path->pathtype == T_SeqScan)
			paths = lappend(paths, make_path(root, rel, path, pushed));
	}
	foreach (lc, rel->partial_pathlist)
	{
		Path *path = lfirst(lc);

		if (path->pathtype == T_SeqScan)
			partial = lappend(partial, make_path(root, rel, path, pushed));
	}
	foreach (lc, paths)
		add_path(rel, lfirst(lc));
	foreach (lc, partial)
		add_partial_path(rel, lfirst(lc));
}

static Plan *
plan_metrics_scan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses,
				  List *custom_plans)
{
	CustomScan *cscan = makeNode(CustomScan);
	List *strategies = linitial(path->custom_private);
	List *values = lsecond(path->custom_private);
	List *series = lthird(path->custom_private);

	cscan->scan.plan.targetlist = tlist;
	cscan->scan.plan.qual = extract_actual_clauses(clauses, false);
	cscan->scan.scanrelid = rel->relid;
	cscan->flags = path->flags;
	cscan->custom_exprs = list_make2(values, series);
	cscan->custom_private = list_make2(strategies, lfourth(path->custom_private));
	cscan->methods = &scan_methods;
	return (Plan *) cscan;
}

/* ---------- execution ---------- */

static TupleTableSlot *
scan_next(ScanState *ss)
{
	MetricsScanState *state = (MetricsScanState *) ss;
	EState *estate = ss->ps.state;

	if (state->scan == NULL)
		state->scan = state->pscan ? table_beginscan_parallel(ss->ss_currentRelation, state->pscan)
								   : table_beginscan(ss->ss_currentRelation, estate->es_snapshot, 0, NULL);
	if (!state->ready)
	{
		mdb_push_apply(&state->push, state->scan);
		state->ready = true;
	}
	if (table_scan_getnextslot(state->scan, estate->es_direction, ss->ss_ScanTupleSlot))
		return ss->ss_ScanTupleSlot;
	return NULL;
}

static bool
scan_recheck(ScanState *ss, TupleTableSlot *slot)
{
	/* Nothing was decided that the quals do not decide again. */
	return true;
}

static void
begin_scan(CustomScanState *css, EState *estate, int eflags)
{
	MetricsScanState *state = (MetricsScanState *) css;
	CustomScan *cscan = (CustomScan *) css->ss.ps.plan;
	Relation rel = css->ss.ss_currentRelation;

	/* Core made a virtual slot and compiled for it; ours fetches columns when they are wanted. */
	ExecInitScanTupleSlot(estate, &css->ss, RelationGetDescr(rel), table_slot_callbacks(rel));
	ExecAssignScanProjectionInfoWithVarno(&css->ss, cscan->scan.scanrelid);
	css->ss.ps.qual = ExecInitQual(cscan->scan.plan.qual, (PlanState *) css);

	state->guarded = intVal(lsecond(cscan->custom_private)) != 0;
	mdb_push_begin(&state->push, &css->ss.ps, rel, linitial(cscan->custom_private),
				   linitial(cscan->custom_exprs), lsecond(cscan->custom_exprs));
}

static TupleTableSlot *
exec_scan(CustomScanState *css)
{
	return ExecScan(&css->ss, scan_next, scan_recheck);
}

/* Fold the scan's figures into the node's; the scan may be about to end. */
static void
take_counters(MetricsScanState *state)
{
	if (state->scan)
		mdb_scan_counters(state->scan, &state->counters);
}

static void
end_scan(CustomScanState *css)
{
	MetricsScanState *state = (MetricsScanState *) css;

	if (state->scan)
		table_endscan(state->scan);
	state->scan = NULL;
	mdb_push_end(&state->push);
}

static void
rescan(CustomScanState *css)
{
	MetricsScanState *state = (MetricsScanState *) css;

	if (state->scan)
		table_rescan(state->scan, NULL);
	state->ready = false;
	ExecScanReScan(&css->ss);
}

static Size
estimate_dsm(CustomScanState *css, ParallelContext *pcxt)
{
	return add_size(
		MAXALIGN(table_parallelscan_estimate(css->ss.ss_currentRelation, css->ss.ps.state->es_snapshot)),
		sizeof(SharedCounters));
}

static SharedCounters *
counters_in(CustomScanState *css, void *coordinate)
{
	return (SharedCounters *) ((char *) coordinate +
							   MAXALIGN(table_parallelscan_estimate(css->ss.ss_currentRelation,
																	css->ss.ps.state->es_snapshot)));
}

static void
initialize_dsm(CustomScanState *css, ParallelContext *pcxt, void *coordinate)
{
	MetricsScanState *state = (MetricsScanState *) css;

	state->pscan = coordinate;
	table_parallelscan_initialize(css->ss.ss_currentRelation, state->pscan, css->ss.ps.state->es_snapshot);
	state->shared = counters_in(css, coordinate);
	pg_atomic_init_u64(&state->shared->blocks_read, 0);
	pg_atomic_init_u64(&state->shared->rows_skipped, 0);
	pg_atomic_init_u64(&state->shared->bytes_read, 0);
}

static void
reinitialize_dsm(CustomScanState *css, ParallelContext *pcxt, void *coordinate)
{
	table_parallelscan_reinitialize(css->ss.ss_currentRelation, ((MetricsScanState *) css)->pscan);
}

static void
initialize_worker(CustomScanState *css, shm_toc *toc, void *coordinate)
{
	MetricsScanState *state = (MetricsScanState *) css;

	state->pscan = coordinate;
	state->shared = counters_in(css, coordinate);
}

/* Workers leave their figures for the leader, which takes all of them before the memory goes. */
static void
shutdown_scan(CustomScanState *css)
{
	MetricsScanState *state = (MetricsScanState *) css;

	take_counters(state);
	/* How many rows the conditions have thrown out depends on where rows that are hidden lie. */
	if (state->guarded && css->ss.ps.instrument)
		css->ss.ps.instrument->nfiltered1 = 0;
	if (state->shared == NULL)
		return;
	if (IsParallelWorker())
	{
		pg_atomic_fetch_add_u64(&state->shared->blocks_read, state->counters.blocks_read);
		pg_atomic_fetch_add_u64(&state->shared->rows_skipped, state->counters.rows_skipped);
		pg_atomic_fetch_add_u64(&state->shared->bytes_read, state->counters.bytes_read);
	}
	else
	{
		state->counters.blocks_read += pg_atomic_read_u64(&state->shared->blocks_read);
		state->counters.rows_skipped += pg_atomic_read_u64(&state->shared->rows_skipped);
		state->counters.bytes_read += pg_atomic_read_u64(&state->shared->bytes_read);
	}
	state->shared = NULL;
}

static void
explain_scan(CustomScanState *css, List *ancestors, ExplainState *es)
{
	MetricsScanState *state = (MetricsScanState *) css;
	CustomScan *cscan = (CustomScan *) css->ss.ps.plan;
	MdbScanCounters *c = &state->counters;

	if (state->push.series_clauses)
	{
		List *context = set_deparse_context_plan(es->deparse_cxt, (Plan *) cscan, ancestors);

		ExplainPropertyText("Series Filter",
							deparse_expression((Node *) make_ands_explicit(state->push.series_clauses),
											   context, es->verbose || list_length(es->rtable) > 1, false),
							es);
	}
	if (!es->analyze || state->guarded)
		return;
	if (state->scan && state->pscan == NULL)
		take_counters(state);
	ExplainPropertyInteger("Parts Total", NULL, c->parts, es);
	ExplainPropertyInteger("Parts Pruned", NULL, c->parts_pruned, es);
	ExplainPropertyInteger("Blocks Total", NULL, c->blocks, es);
	ExplainPropertyInteger("Blocks Read", NULL, c->blocks_read, es);
	ExplainPropertyInteger("Rows Skipped", NULL, c->rows_skipped, es);
	if (state->push.series_clauses && state->pscan == NULL)
	{
		ExplainPropertyInteger("Series Asked", NULL, c->series_asked, es);
		ExplainPropertyInteger("Series Matched", NULL, c->series_matched, es);
	}
	ExplainPropertyInteger("Encoded Bytes Read", NULL, c->bytes_read, es);
}

static const CustomExecMethods exec_methods = {.CustomName = "MetricsScan",
											   .BeginCustomScan = begin_scan,
											   .ExecCustomScan = exec_scan,
											   .EndCustomScan = end_scan,
											   .ReScanCustomScan = rescan,
											   .EstimateDSMCustomScan = estimate_dsm,
											   .InitializeDSMCustomScan = initialize_dsm,
											   .ReInitializeDSMCustomScan = reinitialize_dsm,
											   .InitializeWorkerCustomScan = initialize_worker,
											   .ShutdownCustomScan = shutdown_scan,
											   .ExplainCustomScan = explain_scan};

static Node *
create_state(CustomScan *cscan)
{
	MetricsScanState *state = (MetricsScanState *) newNode(sizeof(MetricsScanState), T_CustomScanState);

	state->css.flags = cscan->flags;
	state->css.methods = &exec_methods;
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
	mdb_agg_init();
}
