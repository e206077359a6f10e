/*
 * scan_exec.c
 *	  MetricsNodes for the executor: one query to a node of each shard at once, and their rows as they come, or merged.
 *
 * A node that fails before anything was used of it is replaced by another one of its shard; later the query fails, as
 * the rows of two snapshots, or some rows twice, would be told.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/executor.h"
#include "lib/binaryheap.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "pgstat.h"
#include "storage/latch.h"
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
	TupleDesc sent;
	ListCell *lc;

	state->query = list_nth_node(Query, private, MDB_DIST_QUERY);
	state->ncolumns = list_nth_int(numbers, MDB_DIST_COLUMNS);
	state->whole = list_nth_int(numbers, MDB_DIST_WHOLE);
	state->tableoid = list_nth_int(numbers, MDB_DIST_TABLEOID);
	state->sort = list_nth(private, MDB_DIST_SORT);
	state->sortops = list_nth(private, MDB_DIST_SORTOPS);
	state->collations = list_nth(private, MDB_DIST_COLLATIONS);
	state->user = linitial_oid(list_nth(private, MDB_DIST_USER));
	if (!OidIsValid(state->user))
		state->user = GetUserId();
	state->values = ExecInitExprList(cscan->custom_exprs, (PlanState *) node);
	foreach (lc, cscan->custom_exprs)
		state->plain = lappend_int(state->plain, !finds_param(lfirst(lc), NULL));
	sent = CreateTemplateTupleDesc(state->ncolumns);
	for (int i = 1; i <= state->ncolumns; i++)
		TupleDescCopyEntry(sent, i, all, i);
	state->reader = mdb_row_reader(sent);
	state->mcxt =
		AllocSetContextCreate(estate->es_query_cxt, "metricsdb scan of nodes", ALLOCSET_DEFAULT_SIZES);
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

/* ---------- a node for each shard ---------- */

pg_noreturn static void
no_node(const MdbShard *shard, const MdbStream *stream, const char *sql)
{
	mdb_node_error(stream->session->node, shard->name, stream->session->error, sql);
}

/*
 * Let a piece be answered by the next node that may be asked; false if there is none.  What this one had against it is
 * in the stream's session.
 */
static bool
choose_node(MdbDistState *state, MdbPiece *piece)
{
	MdbSession *s = mdb_session_of_shard(state->reading, piece->shard->name, state->user);

	if (s == NULL)
	{
		/* A connection that was kept may have died long ago. */
		if (piece->tried > 0 && piece->stream.session && piece->stream.session->kept && !piece->fresh)
		{
			piece->tried--;
			piece->fresh = true;
		}
		else
			piece->fresh = false;
		if (piece->tried >= list_length(piece->shard->nodes))
			return false;
		s = mdb_session_take(state->reading, list_nth(piece->shard->nodes, piece->tried), state->user,
							 piece->fresh);
		piece->tried++;
	}
	piece->stream.session = s;
	piece->node = s->node;
	return true;
}

/* Send the query to the node that was chosen, once it is connected. */
static void
send_query(MdbDistState *state, MdbPiece *piece)
{
	mdb_stream_start(&piece->stream, piece->stream.session, state->sql, state->reader->binary_safe);
}

static void count_piece(MdbPiece *piece);

/* A piece whose node has failed: another one, or an error, or none. */
static void
replace_node(MdbDistState *state, MdbPiece *piece)
{
	for (;;)
	{
		MdbSession *s = piece->stream.session;

		if (!s->error->lost || s->told || piece->stream.rows > 0)
			no_node(piece->shard, &piece->stream, state->sql);
		mdb_node_note(s->node, s->kept && !piece->fresh);
		if (!choose_node(state, piece))
		{
			if (!mdb_partial_results)
				no_node(piece->shard, &piece->stream, state->sql);
			mdb_missing_note(piece->shard->name);
			piece->finished = true;
			return;
		}
		mdb_sessions_establish(list_make1(piece->stream.session));
		send_query(state, piece);
		if (piece->stream.state != MDB_STREAM_FAILED)
			return;
	}
}

static int
compare_pieces(Datum a, Datum b, void *arg)
{
	MdbDistState *state = arg;
	const MdbPiece *x = &state->pieces[DatumGetInt32(a)], *y = &state->pieces[DatumGetInt32(b)];

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
	state->heap = binaryheap_allocate(state->npieces, compare_pieces, state);
}

/* The query has failed: sessions that outlive it must not know of its streams. */
static void
forget_streams(void *arg)
{
	MdbDistState *state = arg;

	for (int i = 0; state->started && i < state->npieces; i++)
	{
		MdbStream *stream = &state->pieces[i].stream;

		if (stream->session && stream->session->stream == stream)
			mdb_session_orphan(stream->session);
	}
}

/* Ask a node of each shard. */
static void
start(MdbDistState *state)
{
	MemoryContext old;
	List *shards, *chosen = NIL;
	ListCell *lc;
	int n = 0;

	MemoryContextReset(state->mcxt);
	old = MemoryContextSwitchTo(state->mcxt);
	state->reading = mdb_reading_of(state->css.ss.ps.state);
	if (!state->registered)
	{
		/* Behind the reading's own, so that it is called first. */
		state->callback.func = forget_streams;
		state->callback.arg = state;
		MemoryContextRegisterResetCallback(state->css.ss.ps.state->es_query_cxt, &state->callback);
		state->registered = true;
	}
	state->sql = mdb_remote_sql(state->query, evaluate(state, true));
	shards = mdb_shards();
	if (shards == NIL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("there are no nodes"),
						errhint("Add one with metricsdb.add_node().")));
	/* Figures of earlier starts are kept. */
	if (state->pieces == NULL || state->npieces != list_length(shards))
	{
		state->npieces = list_length(shards);
		state->pieces =
			MemoryContextAllocZero(state->css.ss.ps.state->es_query_cxt, sizeof(MdbPiece) * state->npieces);
	}
	foreach (lc, shards)
	{
		MdbPiece *piece = &state->pieces[n++];
		uint64 rows = piece->rows, bytes = piece->bytes;
		double milliseconds = piece->milliseconds;

		memset(piece, 0, sizeof(*piece));
		piece->rows = rows;
		piece->bytes = bytes;
		piece->milliseconds = milliseconds;
		piece->shard = lfirst(lc);
		piece->values = palloc(sizeof(Datum) * Max(1, state->ncolumns));
		piece->isnull = palloc(sizeof(bool) * Max(1, state->ncolumns));
		piece->row_mcxt = AllocSetContextCreate(state->mcxt, "metricsdb row of a node", ALLOCSET_SMALL_SIZES);
		if (!choose_node(state, piece))
			elog(ERROR, "shard \"%s\" has no nodes", piece->shard->name);
		chosen = lappend(chosen, piece->stream.session);
	}
	mdb_sessions_establish(chosen);
	for (int i = 0; i < state->npieces; i++)
		send_query(state, &state->pieces[i]);
	prepare_merge(state);
	MemoryContextSwitchTo(old);
	state->started = true;
	state->next = 0;
	state->top = -1;
}

/* ---------- rows ---------- */

static void
count_piece(MdbPiece *piece)
{
	piece->rows += piece->stream.rows;
	piece->bytes += piece->stream.bytes;
	piece->milliseconds += INSTR_TIME_GET_MILLISEC(piece->stream.took);
	piece->stream.rows = piece->stream.bytes = 0;
	INSTR_TIME_SET_ZERO(piece->stream.took);
	INSTR_TIME_SET_ZERO(piece->stream.began);
}

/* The piece's next row into its values, if there is one. */
static MdbStreamEvent
next_row(MdbDistState *state, MdbPiece *piece)
{
	const char *row;
	int len;

	while (!piece->finished)
	{
		MemoryContext old;
		MdbStreamEvent event = MDB_STREAM_ERROR;

		/* Memory of the stream is that of the start. */
		old = MemoryContextSwitchTo(state->mcxt);
		if (piece->stream.state != MDB_STREAM_FAILED || piece->stream.drained)
			event = mdb_stream_next(&piece->stream, &row, &len);
		if (event == MDB_STREAM_ERROR)
			replace_node(state, piece);
		MemoryContextSwitchTo(old);
		switch (event)
		{
			case MDB_STREAM_ROW:
				piece->stream.session->told = true;
				MemoryContextReset(piece->row_mcxt);
				old = MemoryContextSwitchTo(piece->row_mcxt);
				mdb_row_read(state->reader, &piece->stream, row, len, piece->values, piece->isnull);
				MemoryContextSwitchTo(old);
				return MDB_STREAM_ROW;
			case MDB_STREAM_WAIT:
				return MDB_STREAM_WAIT;
			case MDB_STREAM_END:
				piece->stream.session->told = true;
				mdb_node_note(piece->node, true);
				piece->finished = true;
				break;
			case MDB_STREAM_ERROR:
				break;
		}
	}
	return MDB_STREAM_END;
}

/* Wait until one of the pieces that are not finished has something to read. */
static void
wait_for_any(MdbDistState *state)
{
	WaitEventSet *set = mdb_wait_set(state->npieces + 2);
	WaitEvent event;

	for (int i = 0; i < state->npieces; i++)
	{
		MdbPiece *piece = &state->pieces[i];

		if (!piece->finished)
			AddWaitEventToSet(set, WL_SOCKET_READABLE, PQsocket(piece->stream.session->conn), NULL, piece);
	}
	(void) WaitEventSetWait(set, -1, &event, 1, PG_WAIT_EXTENSION);
	FreeWaitEventSet(set);
	if (event.events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* The next row of whichever node has one. */
static MdbPiece *
next_of_any(MdbDistState *state)
{
	for (;;)
	{
		bool waits = false;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < state->npieces; i++)
		{
			MdbPiece *piece = &state->pieces[state->next];
			MdbStreamEvent event = next_row(state, piece);

			if (event == MDB_STREAM_ROW)
				return piece;
			waits = waits || event == MDB_STREAM_WAIT;
			state->next = (state->next + 1) % state->npieces;
		}
		if (!waits)
			return NULL;
		wait_for_any(state);
	}
}

/* The piece's next row, however long that takes. */
static bool
await_row(MdbDistState *state, MdbPiece *piece)
{
	for (;;)
	{
		switch (next_row(state, piece))
		{
			case MDB_STREAM_ROW:
				return true;
			case MDB_STREAM_WAIT:
				mdb_session_wait(piece->stream.session, -1);
				break;
			default:
				return false;
		}
	}
}

/* The first of the nodes' next rows. */
static MdbPiece *
next_merged(MdbDistState *state)
{
	if (state->top < 0)
	{
		for (int i = 0; i < state->npieces; i++)
			if (await_row(state, &state->pieces[i]))
				binaryheap_add_unordered(state->heap, Int32GetDatum(i));
		binaryheap_build(state->heap);
	}
	else if (await_row(state, &state->pieces[state->top]))
		binaryheap_replace_first(state->heap, Int32GetDatum(state->top));
	else
		(void) binaryheap_remove_first(state->heap);
	state->top = 0;
	if (binaryheap_empty(state->heap))
		return NULL;
	state->top = DatumGetInt32(binaryheap_first(state->heap));
	return &state->pieces[state->top];
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
	if (!state->started)
		start(state);
	piece = state->nkeys > 0 ? next_merged(state) : next_of_any(state);
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

/*
 * Stop reading.  Of a query that goes on the rest is read and forgotten, since the snapshot would go with the
 * connection; at its end only as much as is likely to be here already.
 */
static void
stop(MdbDistState *state, bool goes_on)
{
	if (!state->started)
		return;
	goes_on = goes_on || state->reading->whole;
	for (int i = 0; i < state->npieces; i++)
	{
		MdbPiece *piece = &state->pieces[i];

		count_piece(piece);
		(void) mdb_stream_discard(&piece->stream, goes_on ? -1 : 1000, goes_on ? -1 : 20);
		mdb_stream_end(&piece->stream);
	}
	state->started = false;
}

static void
rescan(CustomScanState *node)
{
	MdbDistState *state = (MdbDistState *) node;

	stop(state, true);
	state->keys = NULL;
	state->nkeys = 0;
	ExecScanReScan(&node->ss);
}

static void
end_scan(CustomScanState *node)
{
	stop((MdbDistState *) node, false);
}
