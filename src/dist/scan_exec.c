/*
 * scan_exec.c
 *	  MetricsNodes for the executor: one query to a node of each shard at once, and their rows as they come, or merged.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/sortsupport.h"

#include "compat.h"
#include "dist/dist.h"

static Node *create_state(CustomScan *cscan);
static void begin_scan(CustomScanState *node, EState *estate, int eflags);
static TupleTableSlot *exec_scan(CustomScanState *node);
static void end_scan(CustomScanState *node);
static void rescan(CustomScanState *node);

const CustomScanMethods mdb_dist_scan_methods = {.CustomName = "MetricsNodes",
												 .CreateCustomScanState = create_state};

static const CustomExecMethods exec_methods = {.CustomName = "MetricsNodes",
											   .BeginCustomScan = begin_scan,
											   .ExecCustomScan = exec_scan,
											   .EndCustomScan = end_scan,
											   .ReScanCustomScan = rescan,
											   .ExplainCustomScan = mdb_dist_explain};

/* ---------- beginning ---------- */

static Node *
create_state(CustomScan *cscan)
{
	MdbDistState *state = palloc0(sizeof(MdbDistState));

	NodeSetTag(state, T_CustomScanState);
	state->css.methods = &exec_methods;
	return (Node *) state;
}

static bool
finds_param(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXEC)
		return true;
	return expression_tree_walker(node, finds_param, context);
}

static void
begin_scan(CustomScanState *node, EState *estate, int eflags)
{
	MdbDistState *state = (MdbDistState *) node;
	CustomScan *cscan = (CustomScan *) node->ss.ps.plan;
	List *private = cscan->custom_private;
	List *numbers = list_nth(private, MDB_DIST_NUMBERS);
	TupleDesc all = node->ss.ss_ScanTupleSlot->tts_tupleDescriptor;
	MemoryContext old;
	TupleDesc sent;
	ListCell *lc;
	Oid user;

	state->query = list_nth_node(Query, private, MDB_DIST_QUERY);
	state->ncolumns = list_nth_int(numbers, MDB_DIST_COLUMNS);
	state->whole = list_nth_int(numbers, MDB_DIST_WHOLE);
	state->tableoid = list_nth_int(numbers, MDB_DIST_TABLEOID);
	state->sort = list_nth(private, MDB_DIST_SORT);
	state->sortops = list_nth(private, MDB_DIST_SORTOPS);
	state->collations = list_nth(private, MDB_DIST_COLLATIONS);
	user = linitial_oid(list_nth(private, MDB_DIST_USER));
	state->values = ExecInitExprList(cscan->custom_exprs, (PlanState *) node);
	foreach (lc, cscan->custom_exprs)
		state->plain = lappend_int(state->plain, !finds_param(lfirst(lc), NULL));
	sent = CreateTemplateTupleDesc(state->ncolumns);
	for (int i = 1; i <= state->ncolumns; i++)
		TupleDescCopyEntry(sent, i, all, i);
	old = MemoryContextSwitchTo(estate->es_query_cxt);
	mdb_asking_init(&state->ask, estate, OidIsValid(user) ? user : GetUserId(), sent);
	MemoryContextSwitchTo(old);
	state->top = -1;
}

/* What the coordinator evaluates, as Consts; NULL for what cannot be told before the query runs. */
static List *
evaluate(MdbDistState *state, bool running)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	List *exprs = ((CustomScan *) state->css.ss.ps.plan)->custom_exprs;
	List *result = NIL;
	ListCell *le, *lv, *lp;

	forthree(le, exprs, lv, state->values, lp, state->plain)
	{
		Oid type = exprType(lfirst(le));
		bool isnull, byval;
		int16 len;
		Datum value;

		if (!running && !lfirst_int(lp))
		{
			result = lappend(result, NULL);
			continue;
		}
		value = ExecEvalExprSwitchContext(lfirst(lv), econtext, &isnull);
		get_typlenbyval(type, &len, &byval);
		/* What is detoasted has only to last until it is written. */
		if (!isnull)
			value = len == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(value)) : datumCopy(value, byval, len);
		result = lappend(result, makeConst(type, exprTypmod(lfirst(le)), exprCollation(lfirst(le)), len,
										   value, isnull, byval));
	}
	return result;
}

/*
 * mdb_dist_shown_sql - the nodes' query for EXPLAIN.
 */
char *
mdb_dist_shown_sql(MdbDistState *state)
{
	return state->sql ? state->sql : mdb_remote_sql(state->query, evaluate(state, false));
}

/* ---------- merging ---------- */

static int
compare_pieces(Datum a, Datum b, void *arg)
{
	MdbDistState *state = arg;
	const MdbPiece *x = &state->ask.pieces[DatumGetInt32(a)], *y = &state->ask.pieces[DatumGetInt32(b)];

	for (int i = 0; i < state->nkeys; i++)
	{
		SortSupport key = &state->keys[i];
		int at = key->ssup_attno - 1;
		int c = ApplySortComparator(x->values[at], x->isnull[at], y->values[at], y->isnull[at], key);

		if (c != 0)
			return -c; /* the heap's first is its greatest */
	}
	return 0;
}

static void
prepare_merge(MdbDistState *state)
{
	ListCell *ls, *lo, *lc;
	int n = 0;

	state->nkeys = list_length(state->sort);
	if (state->nkeys == 0)
		return;
	state->keys = palloc0(sizeof(SortSupportData) * state->nkeys);
	forthree(ls, state->sort, lo, state->sortops, lc, state->collations)
	{
		SortSupport key = &state->keys[n++];

		key->ssup_cxt = CurrentMemoryContext;
		key->ssup_attno = linitial_int(lfirst(ls));
		key->ssup_nulls_first = lsecond_int(lfirst(ls)) != 0;
		key->ssup_collation = lfirst_oid(lc);
		PrepareSortSupportFromOrderingOp(lfirst_oid(lo), key);
	}
	state->heap = binaryheap_allocate(state->ask.npieces, compare_pieces, state);
}

/* Ask a node of each shard. */
static void
start(MdbDistState *state)
{
	MemoryContext old;

	MemoryContextReset(state->ask.mcxt);
	old = MemoryContextSwitchTo(state->ask.mcxt);
	state->sql = mdb_remote_sql(state->query, evaluate(state, true));
	mdb_asking_start(&state->ask, state->sql);
	prepare_merge(state);
	MemoryContextSwitchTo(old);
	state->top = -1;
}

/* The first of the nodes' next rows. */
static MdbPiece *
next_merged(MdbDistState *state)
{
	if (state->top < 0)
	{
		for (int i = 0; i < state->ask.npieces; i++)
			if (mdb_asking_await(&state->ask, &state->ask.pieces[i]))
				binaryheap_add_unordered(state->heap, Int32GetDatum(i));
		binaryheap_build(state->heap);
	}
	else if (mdb_asking_await(&state->ask, &state->ask.pieces[state->top]))
		binaryheap_replace_first(state->heap, Int32GetDatum(state->top));
	else
		(void) binaryheap_remove_first(state->heap);
	state->top = 0;
	if (binaryheap_empty(state->heap))
		return NULL;
	state->top = DatumGetInt32(binaryheap_first(state->heap));
	return &state->ask.pieces[state->top];
}

/* The row as one value of the table's type. */
static Datum
make_whole(MdbDistState *state, const MdbPiece *piece)
{
	CustomScan *cscan = (CustomScan *) state->css.ss.ps.plan;
	TupleDesc desc = RelationGetDescr(state->css.ss.ss_currentRelation);
	Datum *values = palloc0(sizeof(Datum) * Max(1, desc->natts));
	bool *isnull = palloc(sizeof(bool) * Max(1, desc->natts));
	ListCell *lc;

	memset(isnull, true, sizeof(bool) * desc->natts);
	foreach (lc, cscan->custom_scan_tlist)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Var *var = (Var *) tle->expr;

		if (tle->resno > state->ncolumns || !IsA(var, Var) || var->varattno <= 0)
			continue;
		values[var->varattno - 1] = piece->values[tle->resno - 1];
		isnull[var->varattno - 1] = piece->isnull[tle->resno - 1];
	}
	return heap_copy_tuple_as_datum(heap_form_tuple(desc, values, isnull), desc);
}

static TupleTableSlot *
next_slot(ScanState *ss)
{
	MdbDistState *state = (MdbDistState *) ss;
	TupleTableSlot *slot = ss->ss_ScanTupleSlot;
	MdbPiece *piece;

	ExecClearTuple(slot);
	if (!state->ask.started)
		start(state);
	piece = state->nkeys > 0 ? next_merged(state) : mdb_asking_next(&state->ask);
	if (piece == NULL)
		return slot;
	memcpy(slot->tts_values, piece->values, sizeof(Datum) * state->ncolumns);
	memcpy(slot->tts_isnull, piece->isnull, sizeof(bool) * state->ncolumns);
	for (int i = state->ncolumns; i < slot->tts_tupleDescriptor->natts; i++)
		slot->tts_isnull[i] = true;
	if (state->whole > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(piece->row_mcxt);

		slot->tts_values[state->whole - 1] = make_whole(state, piece);
		slot->tts_isnull[state->whole - 1] = false;
		MemoryContextSwitchTo(old);
	}
	if (state->tableoid > 0)
	{
		slot->tts_values[state->tableoid - 1] = ObjectIdGetDatum(RelationGetRelid(ss->ss_currentRelation));
		slot->tts_isnull[state->tableoid - 1] = false;
	}
	return ExecStoreVirtualTuple(slot);
}

static bool
recheck(ScanState *ss, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *
exec_scan(CustomScanState *node)
{
	return ExecScan(&node->ss, next_slot, recheck);
}

/* ---------- ending ---------- */

static void
rescan(CustomScanState *node)
{
	MdbDistState *state = (MdbDistState *) node;

	mdb_asking_stop(&state->ask, true);
	state->keys = NULL;
	state->nkeys = 0;
	ExecScanReScan(&node->ss);
}

static void
end_scan(CustomScanState *node)
{
	mdb_asking_stop(&((MdbDistState *) node)->ask, false);
}
