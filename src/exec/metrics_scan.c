/*
 * metrics_scan.c
 *	  MetricsScan: a scan that leaves out what the query's conditions exclude, and that may return rows in order
 *	  of time, or only the latest row of each series.
 *
 * Here is what the executor calls; scan_paths.c offers the node to the planner, ordered_scan.c and latest.c
 * run the scans that are not plain.
 *
 * Conditions "time op value" become a range of times, by which parts and blocks are pruned.
 * Conditions on series columns alone are evaluated once for each series that is met, those on values for
 * whole blocks.  What the scan returns of a block has passed these, exactly, and is only asked for the rest;
 * rows of the delta are asked for everything.
 *
 * See README.md for the invariants.
 */
#include "postgres.h"

#include "access/relscan.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "executor/nodeCustom.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "metricsdb.h"
#include "exec/metrics_scan.h"
#include "exec/rollup_scan.h"
#include "exec/value_filter.h"

/*
 * mdb_scan_qualifies - does a row pass the plan's conditions?  Of a row of a block those are not asked again
 * that the scan itself decides.
 */
bool
mdb_scan_qualifies(MetricsScanState *state, TupleTableSlot *slot)
{
	PlanState *ps = &state->css.ss.ps;
	ExprContext *econtext = ps->ps_ExprContext;
	ExprState *qual = mdb_slot_is_of_block(slot) ? state->rest : ps->qual;

	if (qual == NULL)
		return true;
	ResetExprContext(econtext);
	econtext->ecxt_scantuple = slot;
	if (ExecQual(qual, econtext))
		return true;
	InstrCountFiltered1(ps, 1);
	return false;
}

/* Start the scan, or start it over with the values of this moment. */
static void
make_ready(MetricsScanState *state)
{
	ScanState *ss = &state->css.ss;

	if (state->scan == NULL)
	{
		state->scan = state->pscan
						  ? table_beginscan_parallel(ss->ss_currentRelation, state->pscan)
						  : table_beginscan(ss->ss_currentRelation, ss->ps.state->es_snapshot, 0, NULL);
		mdb_scan_want(state->scan, state->wanted);
	}
	mdb_push_apply(&state->push, state->scan);
	if (state->mode == MDB_SCAN_ORDERED)
	{
		if (state->ordered == NULL)
			state->ordered = mdb_ordered_begin(state);
		mdb_ordered_start(state->ordered);
	}
	else if (state->mode == MDB_SCAN_LATEST)
	{
		if (state->latest == NULL)
			state->latest = mdb_latest_begin(state);
		mdb_latest_start(state->latest);
	}
	state->ready = true;
}

/* The next row, false at the end; *qualified if it was asked already whether it passes. */
static bool
next_row(MetricsScanState *state, TupleTableSlot *slot, bool *qualified)
{
	*qualified = false;
	switch (state->mode)
	{
		case MDB_SCAN_ORDERED:
			return mdb_ordered_next(state->ordered, slot, qualified);
		case MDB_SCAN_LATEST:
			*qualified = true;
			return mdb_latest_next(state->latest, slot);
		default:
			return table_scan_getnextslot(state->scan, state->css.ss.ps.state->es_direction, slot);
	}
}

static TupleTableSlot *
exec_scan(CustomScanState *css)
{
	MetricsScanState *state = (MetricsScanState *) css;
	TupleTableSlot *slot = css->ss.ss_ScanTupleSlot;
	ProjectionInfo *projection = css->ss.ps.ps_ProjInfo;
	bool qualified;

	if (!state->ready)
		make_ready(state);
	ResetExprContext(css->ss.ps.ps_ExprContext);
	while (next_row(state, slot, &qualified))
	{
		CHECK_FOR_INTERRUPTS();
		if (!qualified && !mdb_scan_qualifies(state, slot))
			continue;
		if (projection == NULL)
			return slot;
		css->ss.ps.ps_ExprContext->ecxt_scantuple = slot;
		return ExecProject(projection);
	}
	ExecClearTuple(slot);
	return projection ? ExecClearTuple(projection->pi_state.resultslot) : slot;
}

/* Which value columns do the plan's output and the conditions that are left to it use? */
static void
find_wanted(MetricsScanState *state, CustomScan *cscan, TupleDesc desc)
{
	Bitmapset *used = NULL;

	pull_varattnos((Node *) cscan->scan.plan.targetlist, cscan->scan.scanrelid, &used);
	pull_varattnos(lfourth(cscan->custom_exprs), cscan->scan.scanrelid, &used);
	state->nwanted = desc->natts;
	if (bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, used) || state->css.ss.ps.ps_ProjInfo == NULL)
		return;
	state->wanted = palloc0(sizeof(bool) * Max(1, desc->natts));
	state->nwanted = 0;
	for (int i = 0; i < desc->natts; i++)
	{
		state->wanted[i] = bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, used);
		state->nwanted += state->wanted[i];
	}
}

static void
begin_scan(CustomScanState *css, EState *estate, int eflags)
{
	MetricsScanState *state = (MetricsScanState *) css;
	CustomScan *cscan = (CustomScan *) css->ss.ps.plan;
	Relation rel = css->ss.ss_currentRelation;
	List *private = lsecond(cscan->custom_private);

	/* Core made a virtual slot and compiled for it; ours fetches columns when they are wanted. */
	ExecInitScanTupleSlot(estate, &css->ss, RelationGetDescr(rel), table_slot_callbacks(rel));
	ExecAssignScanProjectionInfoWithVarno(&css->ss, cscan->scan.scanrelid);
	css->ss.ps.qual = ExecInitQual(cscan->scan.plan.qual, (PlanState *) css);
	state->filter_clauses = lthird(cscan->custom_exprs);
	state->rest = ExecInitQual(lfourth(cscan->custom_exprs), (PlanState *) css);

	find_wanted(state, cscan, RelationGetDescr(rel));
	state->guarded = list_nth_int(private, MDB_SCAN_PRIVATE_GUARDED);
	state->mode = list_nth_int(private, MDB_SCAN_PRIVATE_MODE);
	state->descending = list_nth_int(private, MDB_SCAN_PRIVATE_DESCENDING);
	state->nulls_first = list_nth_int(private, MDB_SCAN_PRIVATE_NULLS_FIRST);
	state->first_rows = list_nth_int(private, MDB_SCAN_PRIVATE_FIRST_ROWS);
	mdb_push_begin(&state->push, &css->ss.ps, rel, linitial(cscan->custom_private),
				   lthird(cscan->custom_private), linitial(cscan->custom_exprs), lsecond(cscan->custom_exprs),
				   llast(cscan->custom_exprs));
	if (state->filter_clauses)
		state->push.value_filter =
			mdb_value_filter_create(&css->ss.ps, state->push.table, RelationGetDescr(rel),
									cscan->scan.scanrelid, state->filter_clauses);
}

/* The scan's figures, unless those of all processes were taken already. */
static void
take_counters(MetricsScanState *state)
{
	if (state->scan && !state->is_shared)
		mdb_scan_counters(state->scan, &state->counters);
}

static void
end_scan(CustomScanState *css)
{
	MetricsScanState *state = (MetricsScanState *) css;

	ExecClearTuple(css->ss.ss_ScanTupleSlot);
	if (state->ordered)
		mdb_ordered_end(state->ordered);
	if (state->latest)
		mdb_latest_end(state->latest);
	state->ordered = NULL;
	state->latest = NULL;
	if (state->scan)
		table_endscan(state->scan);
	state->scan = NULL;
	mdb_push_end(&state->push);
}

static void
rescan(CustomScanState *css)
{
	MetricsScanState *state = (MetricsScanState *) css;

	ExecClearTuple(css->ss.ss_ScanTupleSlot);
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
		sizeof(MdbSharedCounters));
}

static MdbSharedCounters *
counters_in(CustomScanState *css, void *coordinate)
{
	return (MdbSharedCounters *) ((char *) coordinate +
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
	mdb_counters_init(state->shared);
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
	if (state->shared)
		mdb_counters_share(state->shared, &state->counters);
	state->is_shared = state->shared != NULL;
	state->shared = NULL;
}

/* "time DESC NULLS LAST", as a query would say it. */
static char *
order_text(MetricsScanState *state)
{
	Form_pg_attribute att =
		TupleDescAttr(RelationGetDescr(state->css.ss.ss_currentRelation), state->push.table->time_attno - 1);

	return psprintf("%s%s%s", quote_identifier(NameStr(att->attname)), state->descending ? " DESC" : "",
					state->nulls_first == state->descending ? ""
					: state->nulls_first                    ? " NULLS FIRST"
															: " NULLS LAST");
}

static void
explain_clauses(MetricsScanState *state, const char *label, List *clauses, List *ancestors, ExplainState *es)
{
	List *context;

	if (clauses == NIL)
		return;
	context = set_deparse_context_plan(es->deparse_cxt, state->css.ss.ps.plan, ancestors);
	ExplainPropertyText(label,
						deparse_expression((Node *) make_ands_explicit(clauses), context,
										   es->verbose || mdb_explained_tables(es) > 1, false),
						es);
}

static void
explain_scan(CustomScanState *css, List *ancestors, ExplainState *es)
{
	MetricsScanState *state = (MetricsScanState *) css;

	mdb_rollup_explain_name(css->ss.ss_currentRelation, es);
	if (state->mode != MDB_SCAN_PLAIN)
		ExplainPropertyText(state->mode == MDB_SCAN_ORDERED ? "Order" : "First of Each Series",
							order_text(state), es);
	explain_clauses(state, "Series Filter", state->push.series_clauses, ancestors, es);
	explain_clauses(state, "Value Filter", state->filter_clauses, ancestors, es);
	explain_clauses(state, "Rollup Filter", llast(((CustomScan *) css->ss.ps.plan)->custom_exprs), ancestors,
					es);
	if (!es->analyze || state->guarded)
		return;
	mdb_rollup_explain(state->push.rollup, es);
	take_counters(state);
	mdb_counters_explain(&state->counters, false, state->push.series_clauses != NIL, es);
}

const CustomExecMethods mdb_metrics_scan_exec = {.CustomName = "MetricsScan",
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
