/*
 * agg_exec.c
 *	  MetricsAgg, execution: fills groups from all units of a scan, then returns them.
 *
 * Where the states of all groups do not fit into the memory for hashing, there are passes: each keeps the
 * groups whose numbers lie in a range, and leaves the others to the next, which goes over the table again,
 * under the same snapshot.  Partial states need no passes: they are handed on when memory is full, and core's
 * final aggregate puts together what belongs together.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "executor/nodeHash.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "exec/agg_node.h"
#include "exec/agg_own.h"
#include "exec/rollup_scan.h"

#ifdef MDB_TESTING
int mdb_agg_memory = 0;
#endif

/* ---------- begin and end ---------- */

/* Conditions came as references to the scan's list of columns; take them back to the table's. */
static Node *
to_table(Node *node, List *tlist)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *) node)->varno == INDEX_VAR)
		return copyObject((Node *) list_nth_node(TargetEntry, tlist, ((Var *) node)->varattno - 1)->expr);
	return expression_tree_mutator(node, to_table, (void *) tlist);
}

/* The entry of the range table that all is about. */
static Index
find_varno(List *tlist)
{
	ListCell *lc;

	foreach (lc, tlist)
	{
		Var *var = (Var *) lfirst_node(TargetEntry, lc)->expr;

		if (IsA(var, Var) && var->varattno == TableOidAttributeNumber)
			return var->varno;
	}
	elog(ERROR, "MetricsAgg does not know its table");
}

/* The input for an argument and filter, shared by all aggregates of the same. */
static int
find_input(MetricsAggState *state, Expr *arg, Expr *filter, Expr *by, uint8 needs)
{
	MdbAggInput *in;
	PlanState *ps = &state->css.ss.ps;
	int i;

	for (i = 0; i < state->ninputs; i++)
		if (equal(state->inputs[i].arg, arg) && equal(state->inputs[i].filter, filter) &&
			equal(state->inputs[i].by, by))
		{
			state->inputs[i].needs |= needs;
			return i;
		}
	in = &state->inputs[state->ninputs++];
	in->arg = arg;
	in->filter = filter;
	in->by = by;
	in->needs = needs;
	in->vec_type = MDB_VEC_INT;
	if (arg)
	{
		in->type = exprType((Node *) arg);
		in->value = mdb_vec_compile(state->table, state->varno, (Node *) arg, ps);
		in->vec_type = mdb_vec_type_of(in->value);
		in->arg_state = ExecInitExpr(arg, ps);
		in->column = filter ? 0 : mdb_vec_column_of(in->value);
	}
	if (filter)
	{
		in->condition = mdb_vec_compile(state->table, state->varno, (Node *) filter, ps);
		in->filter_state = ExecInitExpr(filter, ps);
	}
	if (by)
	{
		in->order = mdb_vec_compile(state->table, state->varno, (Node *) by, ps);
		in->by_state = ExecInitExpr(by, ps);
	}
	return i;
}

static void
init_calls(MetricsAggState *state, List *tlist, int nkeys, int ncalls)
{
	state->calls = palloc0(sizeof(MdbAggCall) * Max(1, ncalls));
	state->inputs = palloc0(sizeof(MdbAggInput) * Max(1, ncalls));
	state->ncalls = ncalls;
	for (int i = 0; i < ncalls; i++)
	{
		MdbAggCall *call = &state->calls[i];
		MdbAggWhat what;

		call->aggref = list_nth_node(TargetEntry, tlist, nkeys + i)->expr != NULL
						   ? castNode(Aggref, list_nth_node(TargetEntry, tlist, nkeys + i)->expr)
						   : NULL;
		call->column = nkeys + i;
		if (!mdb_agg_recognise(state->table, state->varno, call->aggref, &what))
			elog(ERROR, "MetricsAgg does not know aggregate %u", call->aggref->aggfnoid);
		call->kind = what.kind;
		if (what.kind == MDB_AGG_CALLED)
		{
			call->called = mdb_called_create(state->table, state->varno, call->aggref, &state->css.ss.ps);
			call->input =
				call->aggref->aggfilter ? find_input(state, NULL, call->aggref->aggfilter, NULL, 0) : -1;
			state->holds = state->calls_functions = true;
			continue;
		}
		call->input = what.arg == NULL && call->aggref->aggfilter == NULL
						  ? -1
						  : find_input(state, what.arg, call->aggref->aggfilter, what.by, what.needs);
		if (what.own)
		{
			call->own_agg = what.own;
			call->own =
				mdb_own_find(&state->inputs[call->input], what.own, what.constants, &state->css.ss.ps);
			state->needs_times = state->needs_times || what.own->kind->wants_times;
			state->holds = state->holds || what.own->kind->drop != NULL;
			state->can_tear = state->can_tear || what.own->kind->torn != NULL;
		}
	}
	for (int i = 0; i < state->ninputs; i++)
		state->needs_times = state->needs_times ||
							 ((state->inputs[i].needs & MDB_NEED_TIME) != 0 && state->inputs[i].by == NULL);
}

static void
init_keys(MetricsAggState *state, List *tlist, int nkeys, List *eqops, List *timed)
{
	PlanState *ps = &state->css.ss.ps;
	Oid types[2][MDB_AGG_KEYS], ops[2][MDB_AGG_KEYS], collations[2][MDB_AGG_KEYS];
	List *buckets = NIL;

	state->nkeys = nkeys;
	state->timed = palloc0(sizeof(bool) * Max(1, nkeys));
	state->series_keys = palloc0(sizeof(ExprState *) * Max(1, nkeys));
	state->bucket_keys = palloc0(sizeof(ExprState *) * Max(1, nkeys));
	for (int i = 0; i < nkeys; i++)
	{
		Expr *key = list_nth_node(TargetEntry, tlist, i)->expr;
		bool is_timed = list_nth_int(timed, i) != 0;
		int n = is_timed ? state->nbucket_keys : state->nseries_keys;

		state->timed[i] = is_timed;
		types[is_timed][n] = exprType((Node *) key);
		ops[is_timed][n] = list_nth_oid(eqops, i);
		collations[is_timed][n] = exprCollation((Node *) key);
		if (is_timed)
		{
			state->bucket_keys[state->nbucket_keys++] = ExecInitExpr(key, ps);
			buckets = lappend(buckets, key);
		}
		else
			state->series_keys[state->nseries_keys++] = ExecInitExpr(key, ps);
	}
	state->series_numbers =
		mdb_keys_create(state->mcxt, state->nseries_keys, types[0], ops[0], collations[0]);
	state->bucket_numbers =
		mdb_keys_create(state->mcxt, state->nbucket_keys, types[1], ops[1], collations[1]);
	if (buckets)
		state->bucketing = mdb_bucketing_create(state->table, state->varno, buckets, ps);
	state->times = mdb_times_create(state->mcxt, state->bucketing);
}

static const int64 *
vec_times(void *arg)
{
	MetricsAggState *state = arg;
	MdbBlock *b = state->unit.block;

	if (b->part->one_series)
		return mdb_times_of(state->times,
							mdb_times_plan(state->times, b->part, b->block, &state->push.filter));
	return mdb_block_times(b);
}

/* What the states of a group hold beside themselves. */
static void
drop_group(void *arg, char *group)
{
	MetricsAggState *state = arg;

	mdb_own_drop(state->inputs, state->ninputs, group);
	for (int i = 0; i < state->ncalls && state->calls_functions; i++)
		if (state->calls[i].called)
			mdb_called_drop(state->calls[i].called, group);
}

/* Room for a group's state: what inputs keep, then what aggregates do that call their functions. */
static void
make_groups(MetricsAggState *state)
{
	Size size = mdb_agg_place(state->inputs, state->ninputs);
	Size at = size;

	for (int i = 0; i < state->ncalls; i++)
		if (state->calls[i].called)
			size += mdb_called_size();
	state->groups = mdb_groups_create(state->mcxt, size, state->nbucket_keys > 0);
	for (int i = 0; i < state->ncalls; i++)
		if (state->calls[i].called)
		{
			mdb_called_place(state->calls[i].called, (int) at, state->groups);
			at += mdb_called_size();
		}
	if (state->holds)
		mdb_groups_on_drop(state->groups, drop_group, state);
	for (int i = 0; i < state->ninputs; i++)
		for (MdbOwn *own = state->inputs[i].owns; own; own = own->next)
			own->groups = state->groups;
}

static void
begin_agg(CustomScanState *css, EState *estate, int eflags)
{
	MetricsAggState *state = (MetricsAggState *) css;
	CustomScan *cscan = (CustomScan *) css->ss.ps.plan;
	List *tlist = cscan->custom_scan_tlist;
	List *numbers = lfourth(cscan->custom_private);
	int nkeys = lthird_int(numbers);
	List *exprs;
	int i = 0;
	ListCell *lc;
	MemoryContext old;

	state->mcxt = AllocSetContextCreate(estate->es_query_cxt, "MetricsAgg", ALLOCSET_DEFAULT_SIZES);
	state->varno = find_varno(tlist);
	state->rel = ExecOpenScanRelation(estate, state->varno, eflags);
	state->table = mdb_table(state->rel);
	state->guarded = linitial_int(numbers) != 0;
	state->partial = lsecond_int(numbers) != 0;
	state->ungrouped = list_nth_int(numbers, 6) != 0;
	state->conditions = lfourth(cscan->custom_exprs);
	state->memory_limit = get_hash_memory_limit();
#ifdef MDB_TESTING
	if (mdb_agg_memory > 0)
		state->memory_limit = (Size) mdb_agg_memory * 1024;
#endif
	state->row_slot =
		MakeSingleTupleTableSlot(RelationGetDescr(state->rel), table_slot_callbacks(state->rel));

	/* What is computed from here on is of rows of the table, whose slots are not those of the node's output. */
	css->ss.ps.scanopsfixed = false;
	css->ss.ps.scanops = NULL;
	exprs = (List *) to_table((Node *) cscan->custom_exprs, tlist);
	mdb_push_begin(&state->push, &css->ss.ps, state->rel, linitial(cscan->custom_private),
				   list_nth(cscan->custom_private, 4), linitial(exprs), lsecond(exprs), list_nth(exprs, 4));
	state->filter_clauses = lthird(exprs);
	state->filter_qual = ExecInitQual(state->filter_clauses, &css->ss.ps);
	state->filters = palloc0(sizeof(MdbVecExpr *) * Max(1, list_length(state->filter_clauses)));
	state->decided = palloc0(sizeof(bool) * Max(1, list_length(state->filter_clauses)));
	foreach (lc, state->filter_clauses)
		state->filters[state->nfilters++] =
			mdb_vec_compile(state->table, state->varno, lfirst(lc), &css->ss.ps);
	init_keys(state, tlist, nkeys, lsecond(cscan->custom_private), lthird(cscan->custom_private));
	init_calls(state, tlist, nkeys, lfourth_int(numbers));
	if (list_nth_int(numbers, 4) > 0)
	{
		state->descending = list_nth_int(numbers, 5) != 0;
		state->windows = mdb_windows_create(state, state->descending, list_nth_int(numbers, 4));
	}
	make_groups(state);

	old = MemoryContextSwitchTo(state->mcxt);
	mdb_vec_block_init(&state->vec, state->table, RelationGetDescr(state->rel), state->mcxt);
	state->vec.times = vec_times;
	state->vec.times_arg = state;
	state->mask = palloc(MDB_VECTOR_ROOM);
	state->out = palloc(MDB_VECTOR_ROOM);
	state->result_context = CreateExprContext(estate);
	state->fake = makeNode(AggState);
	state->fake->ss.ps.state = estate;
	state->fake->curaggcontext = state->result_context;
	MemoryContextSwitchTo(old);
	for (i = 0; i < state->nfilters; i++)
		if (state->filters[i] == NULL)
			elog(ERROR, "MetricsAgg does not know a condition");
}

static void
start_pass(MetricsAggState *state)
{
	mdb_groups_reset(state->groups);
	state->more = false;
	state->filled = false;
	state->counters.passes++;
}

/* At the start, or when starting over: take the values of this moment. */
static void
start(MetricsAggState *state)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;

	if (state->scan == NULL)
		state->scan = state->pscan
						  ? table_beginscan_parallel(state->rel, state->pscan)
						  : table_beginscan(state->rel, state->css.ss.ps.state->es_snapshot, 0, NULL);
	mdb_push_apply(&state->push, state->scan);
	for (int i = 0; i < state->nfilters; i++)
		mdb_vec_prepare(state->filters[i], econtext);
	for (int i = 0; i < state->ninputs; i++)
	{
		if (state->inputs[i].value)
			mdb_vec_prepare(state->inputs[i].value, econtext);
		if (state->inputs[i].condition)
			mdb_vec_prepare(state->inputs[i].condition, econtext);
		if (state->inputs[i].order)
			mdb_vec_prepare(state->inputs[i].order, econtext);
		for (MdbOwn *own = state->inputs[i].owns; own; own = own->next)
			mdb_own_start(own);
	}
	for (int i = 0; i < state->ncalls; i++)
		if (state->calls[i].called)
			mdb_called_start(state->calls[i].called, econtext);
	mdb_keys_reset(state->series_numbers);
	mdb_keys_reset(state->bucket_numbers);
	for (uint32 i = 0; i < state->nseries_pages; i++)
		if (state->series_number[i])
			pfree(state->series_number[i]);
	state->nseries_pages = 0;
	if (state->series_number)
		pfree(state->series_number);
	state->series_number = NULL;
	mdb_times_prepare(state->times, econtext);
	state->series_from = state->bucket_from = 0;
	state->series_to = state->bucket_to = MDB_NO_GROUP;
	state->empty_due = state->ungrouped;
	mdb_torn_start(state);
	if (state->windows)
		mdb_windows_start(state);
	start_pass(state);
}

static void
end_agg(CustomScanState *css)
{
	MetricsAggState *state = (MetricsAggState *) css;

	if (state->scan)
		table_endscan(state->scan);
	state->scan = NULL;
	mdb_push_end(&state->push);
	if (state->row_slot)
		ExecDropSingleTupleTableSlot(state->row_slot);
	state->row_slot = NULL;
	if (state->mcxt)
		MemoryContextDelete(state->mcxt);
	state->mcxt = NULL;
}

static void
rescan_agg(CustomScanState *css)
{
	MetricsAggState *state = (MetricsAggState *) css;

	if (state->scan)
		table_rescan(state->scan, NULL);
	state->filled = state->done = false;
	state->counters.passes = 0;
}

/* ---------- filling ---------- */

/* To aggregates that are computed by their own functions. */
static void
add_row_by_calls(MetricsAggState *state, char *group, ExprContext *econtext)
{
	for (int i = 0; i < state->ncalls && state->calls_functions; i++)
	{
		MdbAggCall *call = &state->calls[i];

		if (call->called == NULL)
			continue;
		if (call->input >= 0)
		{
			bool isnull;
			Datum pass = ExecEvalExpr(state->inputs[call->input].filter_state, econtext, &isnull);

			if (isnull || !DatumGetBool(pass))
				continue;
		}
		mdb_called_add_row(call->called, group, econtext);
	}
}

/* A row of the delta, in row_slot: everything by PostgreSQL's own evaluation. */
static void
add_row(MetricsAggState *state)
{
	TupleTableSlot *slot = state->row_slot;
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	const MdbScanFilter *filter = &state->push.filter;
	AttrNumber time_attno = state->table->time_attno;
	bool has_time;
	int64 time = 0;
	uint32 numbers[2] = {0, 0};
	MemoryContext old;
	char *group;

	slot_getallattrs(slot);
	has_time = time_attno > 0 && !slot->tts_isnull[time_attno - 1];
	if (has_time)
		time = TupleDescAttr(slot->tts_tupleDescriptor, time_attno - 1)->attlen == 4
				   ? DatumGetInt32(slot->tts_values[time_attno - 1])
				   : DatumGetInt64(slot->tts_values[time_attno - 1]);
	if (filter->has_time && (!has_time || time < filter->time_min || time > filter->time_max))
		return;
	ResetExprContext(econtext);
	econtext->ecxt_scantuple = slot;
	if (!mdb_rollup_delta_passes(state->push.rollup, econtext) ||
		!ExecQual(state->push.series_qual, econtext) || !ExecQual(state->filter_qual, econtext))
	{
		state->counters.rows_filtered++;
		return;
	}
	old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	for (int k = 0; k < 2; k++)
	{
		int n = k ? state->nbucket_keys : state->nseries_keys;
		ExprState **keys = k ? state->bucket_keys : state->series_keys;
		Datum values[MDB_AGG_KEYS];
		bool isnull[MDB_AGG_KEYS];

		for (int i = 0; i < n; i++)
			values[i] = ExecEvalExpr(keys[i], econtext, &isnull[i]);
		if (n > 0)
			numbers[k] = mdb_keys_find(k ? state->bucket_numbers : state->series_numbers, values, isnull);
	}
	if (state->windows)
		mdb_windows_note(state, numbers[1], time);
	group = mdb_agg_group(state, numbers[0], numbers[1]);
	if (group)
	{
		++*(int64 *) group;
		add_row_by_calls(state, group, econtext);
		for (int i = 0; i < state->ninputs; i++)
		{
			MdbAggInput *in = &state->inputs[i];
			Datum value = (Datum) 0;
			bool isnull = false;

			if (in->filter_state)
			{
				Datum pass = ExecEvalExpr(in->filter_state, econtext, &isnull);

				if (isnull || !DatumGetBool(pass))
					continue;
			}
			if (in->arg_state)
				value = ExecEvalExpr(in->arg_state, econtext, &isnull);
			if (in->by)
			{
				int64 order;
				bool has_order = mdb_agg_order(in, econtext, &order);

				mdb_agg_update_datum(in, group, value, isnull, has_order, order);
				continue;
			}
			mdb_agg_update_datum(in, group, value, isnull, has_time, time);
		}
	}
	MemoryContextSwitchTo(old);
}

/* Too much for one pass: keep the lower half of the groups, and leave the others to the next. */
static void
leave_some(MetricsAggState *state)
{
	uint32 n = mdb_groups_series(state->groups);

	if (state->whole)
		mdb_torn_leave_some(state);
	else if (n > state->series_from + 1)
	{
		state->series_to = state->series_from + (n - state->series_from) / 2;
		mdb_groups_drop_from(state->groups, state->series_to);
		state->more = true;
	}
	else if (state->nbucket_keys > 0)
	{
		/* Numbers are given out for rows that are left, too. */
		uint32 buckets = Min(mdb_keys_count(state->bucket_numbers), state->bucket_to);

		state->series_to = state->series_from + 1;
		if (buckets <= state->bucket_from + 1)
			return;
		state->bucket_to = state->bucket_from + (buckets - state->bucket_from) / 2;
		mdb_groups_drop_buckets(state->groups, state->series_from, state->bucket_to);
		state->more = true;
	}
}

/* Fills groups until the table ends, or for partial states, memory does. */
static void
fill(MetricsAggState *state)
{
	MdbUnit unit;

	while (mdb_scan_next_unit(state->scan, &unit))
	{
		if (unit.block)
			mdb_agg_block(state, &unit);
		else
			while (mdb_scan_unit_next_row(state->scan, state->row_slot))
			{
				CHECK_FOR_INTERRUPTS();
				add_row(state);
				if (!state->partial && mdb_groups_bytes(state->groups) > state->memory_limit)
					leave_some(state);
			}
		while (!state->partial && mdb_groups_bytes(state->groups) > state->memory_limit)
		{
			Size was = mdb_groups_bytes(state->groups);

			leave_some(state);
			if (mdb_groups_bytes(state->groups) >= was)
				break;
		}
		if (state->partial && mdb_groups_bytes(state->groups) > state->memory_limit)
		{
			state->more = true;
			break;
		}
	}
	ExecClearTuple(state->row_slot);
	state->filled = true;
}

/* ---------- returning ---------- */

/* The next range of groups, if there is one. */
static bool
next_pass(MetricsAggState *state)
{
	bool more = state->more;

	if (!more)
		return false;
	if (!state->partial)
	{
		if (state->bucket_to != MDB_NO_GROUP)
		{
			state->bucket_from = state->bucket_to;
			state->bucket_to = MDB_NO_GROUP;
		}
		else
		{
			state->bucket_from = 0;
			state->series_from = state->series_to;
			state->series_to = MDB_NO_GROUP;
		}
		table_rescan(state->scan, NULL);
	}
	start_pass(state);
	return true;
}

static void
store_group(MetricsAggState *state, uint32 series, uint32 bucket, const char *group)
{
	TupleTableSlot *slot = state->css.ss.ss_ScanTupleSlot;
	int natts = slot->tts_tupleDescriptor->natts;
	const Datum *values[2] = {NULL, NULL};
	const bool *isnull[2] = {NULL, NULL};
	int at[2] = {0, 0};
	MemoryContext old;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, natts);
	if (state->nseries_keys > 0)
		values[0] = mdb_keys_values(state->series_numbers, series, &isnull[0]);
	if (state->nbucket_keys > 0)
		values[1] = mdb_keys_values(state->bucket_numbers, bucket, &isnull[1]);
	for (int i = 0; i < state->nkeys; i++)
	{
		int k = state->timed[i];

		slot->tts_values[i] = values[k][at[k]];
		slot->tts_isnull[i] = isnull[k][at[k]++];
	}
	old = MemoryContextSwitchTo(state->result_context->ecxt_per_tuple_memory);
	for (int i = 0; i < state->ncalls; i++)
	{
		MdbAggCall *call = &state->calls[i];
		const MdbAggInput *in = call->input < 0 ? NULL : &state->inputs[call->input];

		slot->tts_values[call->column] =
			state->partial ? mdb_agg_partial(call, in, group, &slot->tts_isnull[call->column])
						   : mdb_agg_result(call, in, group, state->fake, &slot->tts_isnull[call->column]);
	}
	MemoryContextSwitchTo(old);
	ExecStoreVirtualTuple(slot);
}

/* Brings the next group into the scan slot; false at the end. */
static bool
next_group(MetricsAggState *state)
{
	uint32 series, bucket;
	char *group;

	for (;;)
	{
		if (state->done)
			return false;
		if (state->counters.passes == 0)
			start(state);
		if (!state->filled)
		{
			fill(state);
			if (state->windows && !mdb_windows_filled(state))
			{
				start_pass(state);
				continue;
			}
		}
		ResetExprContext(state->result_context);
		if (state->windows ? mdb_windows_next(state, &series, &bucket, &group)
						   : mdb_groups_next(state->groups, &series, &bucket, &group))
		{
			if (mdb_torn_note(state, series, bucket, group))
				continue;
			state->empty_due = false;
			store_group(state, series, bucket, group);
			return true;
		}
		if (mdb_torn_next(state) || next_pass(state))
			continue;
		if (state->windows && mdb_windows_advance(state))
		{
			start_pass(state);
			continue;
		}
		state->done = true;
		if (state->empty_due)
		{
			/* No row at all, and so one group of nothing. */
			state->empty_due = false;
			store_group(state, 0, 0, mdb_groups_state(state->groups, 0, 0));
			return true;
		}
	}
}

static TupleTableSlot *
exec_agg(CustomScanState *css)
{
	MetricsAggState *state = (MetricsAggState *) css;
	ExprContext *econtext = css->ss.ps.ps_ExprContext;
	ProjectionInfo *project = css->ss.ps.ps_ProjInfo;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		ResetExprContext(econtext);
		if (!next_group(state))
			return project ? ExecClearTuple(project->pi_state.resultslot) : NULL;
		econtext->ecxt_scantuple = css->ss.ss_ScanTupleSlot;
		if (ExecQual(css->ss.ps.qual, econtext))
			return project ? ExecProject(project) : css->ss.ss_ScanTupleSlot;
		InstrCountFiltered1(css, 1);
	}
}

/* ---------- parallel ---------- */

static Size
scan_size(MetricsAggState *state)
{
	return MAXALIGN(table_parallelscan_estimate(state->rel, state->css.ss.ps.state->es_snapshot));
}

static Size
estimate_dsm(CustomScanState *css, ParallelContext *pcxt)
{
	return add_size(scan_size((MetricsAggState *) css), sizeof(MdbSharedCounters));
}

static void
initialize_dsm(CustomScanState *css, ParallelContext *pcxt, void *coordinate)
{
	MetricsAggState *state = (MetricsAggState *) css;

	state->pscan = coordinate;
	table_parallelscan_initialize(state->rel, state->pscan, css->ss.ps.state->es_snapshot);
	state->shared = (MdbSharedCounters *) ((char *) coordinate + scan_size(state));
	mdb_counters_init(state->shared);
}

static void
reinitialize_dsm(CustomScanState *css, ParallelContext *pcxt, void *coordinate)
{
	MetricsAggState *state = (MetricsAggState *) css;

	table_parallelscan_reinitialize(state->rel, state->pscan);
}

static void
initialize_worker(CustomScanState *css, shm_toc *toc, void *coordinate)
{
	MetricsAggState *state = (MetricsAggState *) css;

	state->pscan = coordinate;
	state->shared = (MdbSharedCounters *) ((char *) coordinate + scan_size(state));
}

static void
shutdown_agg(CustomScanState *css)
{
	mdb_agg_share_counters((MetricsAggState *) css);
}

static const CustomExecMethods exec_methods = {.CustomName = "MetricsAgg",
											   .BeginCustomScan = begin_agg,
											   .ExecCustomScan = exec_agg,
											   .EndCustomScan = end_agg,
											   .ReScanCustomScan = rescan_agg,
											   .EstimateDSMCustomScan = estimate_dsm,
											   .InitializeDSMCustomScan = initialize_dsm,
											   .ReInitializeDSMCustomScan = reinitialize_dsm,
											   .InitializeWorkerCustomScan = initialize_worker,
											   .ShutdownCustomScan = shutdown_agg,
											   .ExplainCustomScan = mdb_agg_explain};

static Node *
create_state(CustomScan *cscan)
{
	MetricsAggState *state = (MetricsAggState *) newNode(sizeof(MetricsAggState), T_CustomScanState);

	state->css.flags = cscan->flags;
	state->css.methods = &exec_methods;
	return (Node *) state;
}

const CustomScanMethods mdb_agg_scan_methods = {.CustomName = "MetricsAgg",
												.CreateCustomScanState = create_state};
