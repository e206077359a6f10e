/*
 * agg_explain.c
 *	  MetricsAgg, what it tells of itself.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "commands/explain.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "exec/agg_node.h"

/* What is counted by each process for itself. */
static void
collect(MetricsAggState *state, int64 *counts)
{
	if (state->scan)
		mdb_scan_counters(state->scan, &state->scanned);
	counts[0] = state->scanned.blocks_read;
	counts[1] = state->scanned.bytes_read;
	counts[2] = state->counters.blocks_pruned;
	counts[3] = state->counters.blocks_headers;
	counts[4] = state->counters.rows_decoded;
	counts[5] = state->counters.rows_filtered;
	counts[6] = state->counters.rows_delta;
}

/*
 * mdb_agg_share_counters - workers leave their figures for the leader, which takes all of them before the
 * memory goes.
 */
void
mdb_agg_share_counters(MetricsAggState *state)
{
	int64 counts[8] = {0};

	collect(state, counts);
	/* How many groups a condition has thrown out tells of rows that are hidden, too. */
	if (state->guarded && state->css.ss.ps.instrument)
		state->css.ss.ps.instrument->nfiltered1 = 0;
	if (state->shared == NULL)
		return;
	for (int i = 0; i < lengthof(counts); i++)
		if (IsParallelWorker())
			pg_atomic_fetch_add_u64(&state->shared->counts[i], counts[i]);
		else
			counts[i] += pg_atomic_read_u64(&state->shared->counts[i]);
	state->shared = NULL;
	if (IsParallelWorker())
		return;
	memcpy(state->gathered, counts, sizeof(counts));
	state->is_gathered = true;
}

static char *
deparse(MetricsAggState *state, List *exprs, bool conditions, List *ancestors, ExplainState *es)
{
	List *context = set_deparse_context_plan(es->deparse_cxt, state->css.ss.ps.plan, ancestors);

	return deparse_expression(conditions ? (Node *) make_ands_explicit(exprs) : linitial(exprs), context,
							  es->verbose || list_length(es->rtable) > 1, false);
}

/*
 * mdb_agg_explain - for EXPLAIN.
 */
void
mdb_agg_explain(CustomScanState *css, List *ancestors, ExplainState *es)
{
	MetricsAggState *state = (MetricsAggState *) css;
	CustomScan *cscan = (CustomScan *) css->ss.ps.plan;
	int64 counts[8] = {0};
	List *keys = NIL;

	ExplainPropertyText("Relation Name", RelationGetRelationName(state->rel), es);
	for (int i = 0; i < state->nkeys; i++)
	{
		TargetEntry *tle = list_nth_node(TargetEntry, cscan->custom_scan_tlist, i);
		Var *var = makeVar(INDEX_VAR, i + 1, exprType((Node *) tle->expr), exprTypmod((Node *) tle->expr),
						   exprCollation((Node *) tle->expr), 0);

		keys = lappend(keys, deparse(state, list_make1(var), false, ancestors, es));
	}
	if (keys)
		ExplainPropertyList("Group Key", keys, es);
	if (state->conditions)
		ExplainPropertyText("Condition", deparse(state, state->conditions, true, ancestors, es), es);
	if (!es->analyze || state->guarded)
		return;
	if (state->is_gathered)
		memcpy(counts, state->gathered, sizeof(counts));
	else
		collect(state, counts);
	ExplainPropertyInteger("Parts Total", NULL, state->scanned.parts, es);
	ExplainPropertyInteger("Parts Pruned", NULL, state->scanned.parts_pruned, es);
	ExplainPropertyInteger("Blocks Total", NULL, state->scanned.blocks, es);
	ExplainPropertyInteger("Blocks Read", NULL, counts[0] - counts[2], es);
	ExplainPropertyInteger("Blocks Pruned by Values", NULL, counts[2], es);
	ExplainPropertyInteger("Blocks Answered from Headers", NULL, counts[3], es);
	ExplainPropertyInteger("Rows Decoded", NULL, counts[4], es);
	ExplainPropertyInteger("Rows Filtered", NULL, counts[5], es);
	ExplainPropertyInteger("Rows of Delta", NULL, counts[6], es);
	if (state->push.series_clauses && state->pscan == NULL)
	{
		ExplainPropertyInteger("Series Asked", NULL, state->scanned.series_asked, es);
		ExplainPropertyInteger("Series Matched", NULL, state->scanned.series_matched, es);
	}
	if (state->counters.passes > 1)
		ExplainPropertyInteger("Passes", NULL, state->counters.passes, es);
	ExplainPropertyInteger("Encoded Bytes Read", NULL, counts[1], es);
}
