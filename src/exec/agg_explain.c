/*
 * agg_explain.c
 *	  MetricsAgg, what it tells of itself.
 */
#include "postgres.h"

#include "commands/explain.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "exec/agg_node.h"
#include "exec/rollup_scan.h"

/* What this process has counted. */
static void
collect(MetricsAggState *state, MdbScanCounters *c)
{
	memset(c, 0, sizeof(*c));
	if (state->scan == NULL)
		return;
	mdb_scan_counters(state->scan, c);
	c->blocks_pruned += state->counters.blocks_pruned;
	c->blocks_headers = state->counters.blocks_headers;
	c->blocks_read -= state->counters.blocks_pruned + state->counters.blocks_headers;
	c->rows_decoded = state->counters.rows_decoded;
	c->rows_filtered = state->counters.rows_filtered;
}

/*
 * mdb_agg_share_counters - workers leave their figures for the leader, which takes all of them before the
 * memory goes.
 */
void
mdb_agg_share_counters(MetricsAggState *state)
{
	/* How many groups a condition has thrown out tells of rows that are hidden, too. */
	if (state->guarded && state->css.ss.ps.instrument)
		state->css.ss.ps.instrument->nfiltered1 = 0;
	if (state->shared == NULL)
		return;
	collect(state, &state->gathered);
	mdb_counters_share(state->shared, &state->gathered);
	state->shared = NULL;
	state->is_gathered = true;
}

static char *
deparse(MetricsAggState *state, List *exprs, bool conditions, List *ancestors, ExplainState *es)
{
	List *context = set_deparse_context_plan(es->deparse_cxt, state->css.ss.ps.plan, ancestors);

	return deparse_expression(conditions ? (Node *) make_ands_explicit(exprs) : linitial(exprs), context,
							  es->verbose || mdb_explained_tables(es) > 1, false);
}

/*
 * mdb_agg_explain - for EXPLAIN.
 */
void
mdb_agg_explain(CustomScanState *css, List *ancestors, ExplainState *es)
{
	MetricsAggState *state = (MetricsAggState *) css;
	CustomScan *cscan = (CustomScan *) css->ss.ps.plan;
	List *keys = NIL;

	ExplainPropertyText("Relation Name", RelationGetRelationName(state->rel), es);
	mdb_rollup_explain_name(state->rel, es);
	for (int i = 0; i < state->nkeys; i++)
	{
		TargetEntry *tle = list_nth_node(TargetEntry, cscan->custom_scan_tlist, i);
		Var *var = makeVar(INDEX_VAR, i + 1, exprType((Node *) tle->expr), exprTypmod((Node *) tle->expr),
						   exprCollation((Node *) tle->expr), 0);

		keys = lappend(keys, deparse(state, list_make1(var), false, ancestors, es));
	}
	if (keys)
		ExplainPropertyList("Group Key", keys, es);
	for (int i = 0; i < state->nkeys && state->windows; i++)
		if (state->timed[i])
			ExplainPropertyText(
				"Order", psprintf("%s%s", (char *) list_nth(keys, i), state->descending ? " DESC" : ""), es);
	if (state->conditions)
		ExplainPropertyText("Condition", deparse(state, state->conditions, true, ancestors, es), es);
	if (!es->analyze || state->guarded)
		return;
	mdb_rollup_explain(state->push.rollup, es);
	if (!state->is_gathered)
		collect(state, &state->gathered);
	mdb_counters_explain(&state->gathered, true, state->push.series_clauses != NIL, es);
	if (state->counters.passes > 1)
		ExplainPropertyInteger("Passes", NULL, state->counters.passes, es);
}
