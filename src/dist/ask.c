/*
 * ask.c
 *	  One statement to a node of each shard, all at once, and their rows as they come.
 *
 * A node that fails before anything was used of it is replaced by another one of its shard; later the statement fails, as
 * the rows of two snapshots, or some rows twice, would be told.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "dist/dist.h"
#include "dist/health.h"

#define HURRY_MS   1500 /* for a connection, if there is another node */
#define NO_NEWS_MS 500  /* a dead connection says so at once */

/* ---------- a node for each shard ---------- */

pg_noreturn static void
no_node(const MdbAsking *a, const MdbPiece *piece)
{
	const MdbSession *s = piece->stream.session;

	mdb_node_error(s->node, piece->shard->name, s->error, a->sql);
}

/* Was it dead before it was asked, which is nothing against the node? */
static bool
died_before(const MdbSession *s, const MdbPiece *piece)
{
	return s->kept && !piece->fresh &&
		   !TimestampDifferenceExceeds(s->asked_at, GetCurrentTimestamp(), NO_NEWS_MS);
}

/*
 * Let a piece be answered by the next node that may be asked; false if there is none.  What this one had against it is
 * in the stream's session.
 */
static bool
choose_node(MdbAsking *a, MdbPiece *piece)
{
	MdbSession *s = mdb_session_of_shard(a->reading, piece->shard->name, a->user);

	if (s == NULL)
	{
		/* A connection that was kept may have died long ago. */
		if (piece->tried > 0 && piece->stream.session && died_before(piece->stream.session, piece))
		{
			piece->tried--;
			piece->fresh = true;
		}
		else
			piece->fresh = false;
		if (piece->tried >= list_length(piece->shard->nodes))
			return false;
		s = mdb_session_take(a->reading, list_nth(piece->shard->nodes, piece->tried), a->user, piece->fresh);
		piece->tried++;
		if (piece->tried < list_length(piece->shard->nodes))
			mdb_session_hurry(s, HURRY_MS); /* where others have the shard */
	}
	piece->stream.session = s;
	piece->node = s->node;
	return true;
}

/* Send the statement to the node that was chosen, once it is connected. */
static void
send_statement(MdbAsking *a, MdbPiece *piece)
{
	mdb_stream_start(&piece->stream, piece->stream.session, a->sql, a->reader->binary_safe);
}

/* A piece whose node has failed: another one, or an error, or none. */
static void
replace_node(MdbAsking *a, MdbPiece *piece)
{
	for (;;)
	{
		MdbSession *s = piece->stream.session;

		if (!s->error->lost || s->told || piece->stream.rows > 0)
			no_node(a, piece);
		if (!died_before(s, piece))
			mdb_session_blame(s);
		if (!choose_node(a, piece))
		{
			if (!mdb_partial_results)
				no_node(a, piece);
			mdb_missing_note(piece->shard->name);
			piece->finished = true;
			return;
		}
		mdb_sessions_establish(list_make1(piece->stream.session));
		send_statement(a, piece);
		if (piece->stream.state != MDB_STREAM_FAILED)
			return;
	}
}

/* It has failed: sessions that outlive it must not know of its streams. */
static void
forget_streams(void *arg)
{
	MdbAsking *a = arg;

	for (int i = 0; a->started && i < a->npieces; i++)
	{
		MdbStream *stream = &a->pieces[i].stream;

		if (stream->session && stream->session->stream == stream)
			mdb_session_orphan(stream->session);
	}
}

/*
 * mdb_asking_init - make ready to ask, as a user, for rows of such columns.
 *
 * It lasts as long as mcxt, which is CurrentMemoryContext.  estate: of the query that asks, or NULL.
 */
void
mdb_asking_init(MdbAsking *a, EState *estate, Oid user, TupleDesc desc)
{
	a->keep = CurrentMemoryContext;
	a->mcxt = AllocSetContextCreate(a->keep, "metricsdb asking nodes", ALLOCSET_DEFAULT_SIZES);
	a->estate = estate;
	a->user = user;
	a->reader = mdb_row_reader(desc);
}

/* What it is read with.  Without a query, and with a snapshot for each statement, it is a reading of its own. */
static MdbReading *
find_reading(MdbAsking *a)
{
	if (a->estate || IsolationUsesXactSnapshot())
		return mdb_reading_of(a->estate);
	return a->reading ? a->reading : mdb_reading_begin(a->keep);
}

/*
 * mdb_asking_start - send a statement to a node of each shard.  Memory of this start is a->mcxt, in which sql is.
 */
void
mdb_asking_start(MdbAsking *a, const char *sql)
{
	MemoryContext old = MemoryContextSwitchTo(a->mcxt);
	int ncolumns = Max(1, a->reader->desc->natts);
	List *shards, *chosen = NIL;
	ListCell *lc;
	int n = 0;

	mdb_refuse_changed();
	mdb_dist_refuse_unsent();
	mdb_limit_queries();
	a->reading = find_reading(a);
	if (!a->registered)
	{
		/* Behind the reading's own, so that it is called first. */
		a->callback.func = forget_streams;
		a->callback.arg = a;
		MemoryContextRegisterResetCallback(a->keep, &a->callback);
		a->registered = true;
	}
	a->sql = sql;
	shards = mdb_shards();
	if (shards == NIL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("there are no nodes"),
						errhint("Add one with metricsdb.add_node().")));
	/* Figures of earlier starts are kept. */
	if (a->pieces == NULL || a->npieces != list_length(shards))
	{
		a->npieces = list_length(shards);
		a->pieces = MemoryContextAllocZero(a->keep, sizeof(MdbPiece) * a->npieces);
	}
	foreach (lc, shards)
	{
		MdbPiece *piece = &a->pieces[n++];
		uint64 rows = piece->rows, bytes = piece->bytes;
		double milliseconds = piece->milliseconds;

		memset(piece, 0, sizeof(*piece));
		piece->rows = rows;
		piece->bytes = bytes;
		piece->milliseconds = milliseconds;
		piece->shard = lfirst(lc);
		piece->values = palloc(sizeof(Datum) * ncolumns);
		piece->isnull = palloc(sizeof(bool) * ncolumns);
		piece->row_mcxt = AllocSetContextCreate(a->mcxt, "metricsdb row of a node", ALLOCSET_SMALL_SIZES);
		if (!choose_node(a, piece))
			elog(ERROR, "shard \"%s\" has no nodes", piece->shard->name);
		chosen = lappend(chosen, piece->stream.session);
	}
	mdb_sessions_establish(chosen);
	/* Sessions know of streams from here on: see forget_streams(). */
	a->started = true;
	a->next = 0;
	for (int i = 0; i < a->npieces; i++)
		send_statement(a, &a->pieces[i]);
	MemoryContextSwitchTo(old);
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
next_row(MdbAsking *a, MdbPiece *piece)
{
	const char *row;
	int len;

	while (!piece->finished)
	{
		MemoryContext old;
		MdbStreamEvent event = MDB_STREAM_ERROR;

		/* Memory of the stream is that of the start. */
		old = MemoryContextSwitchTo(a->mcxt);
		if (piece->stream.state != MDB_STREAM_FAILED || piece->stream.drained)
			event = mdb_stream_next(&piece->stream, &row, &len);
		if (event == MDB_STREAM_ERROR)
			replace_node(a, piece);
		MemoryContextSwitchTo(old);
		switch (event)
		{
			case MDB_STREAM_ROW:
				piece->stream.session->told = true;
				MemoryContextReset(piece->row_mcxt);
				old = MemoryContextSwitchTo(piece->row_mcxt);
				mdb_row_read(a->reader, &piece->stream, row, len, piece->values, piece->isnull);
				MemoryContextSwitchTo(old);
				return MDB_STREAM_ROW;
			case MDB_STREAM_WAIT:
				return MDB_STREAM_WAIT;
			case MDB_STREAM_END:
				piece->stream.session->told = true;
				mdb_node_answered(piece->node);
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
wait_for_any(MdbAsking *a)
{
	WaitEventSet *set = mdb_wait_set(a->npieces + 2);
	WaitEvent event;

	for (int i = 0; i < a->npieces; i++)
	{
		MdbPiece *piece = &a->pieces[i];

		if (!piece->finished)
			AddWaitEventToSet(set, WL_SOCKET_READABLE, PQsocket(piece->stream.session->conn), NULL, piece);
	}
	(void) WaitEventSetWait(set, -1, &event, 1, PG_WAIT_EXTENSION);
	FreeWaitEventSet(set);
	if (event.events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * mdb_asking_next - the next row of whichever node has one; NULL if none has another one.
 */
MdbPiece *
mdb_asking_next(MdbAsking *a)
{
	for (;;)
	{
		bool waits = false;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < a->npieces; i++)
		{
			MdbPiece *piece = &a->pieces[a->next];
			MdbStreamEvent event = next_row(a, piece);

			if (event == MDB_STREAM_ROW)
				return piece;
			waits = waits || event == MDB_STREAM_WAIT;
			a->next = (a->next + 1) % a->npieces;
		}
		if (!waits)
			return NULL;
		wait_for_any(a);
	}
}

/*
 * mdb_asking_await - a piece's next row, however long that takes; false if there is no other.
 */
bool
mdb_asking_await(MdbAsking *a, MdbPiece *piece)
{
	for (;;)
	{
		switch (next_row(a, piece))
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

/* ---------- ending ---------- */

/*
 * mdb_asking_stop - stop reading; memory of the start goes.
 *
 * Where the snapshot is wanted further on the rest is read and forgotten, since it would go with the connection; else
 * only as much as is likely to be here already.
 */
void
mdb_asking_stop(MdbAsking *a, bool goes_on)
{
	if (!a->started)
		return;
	goes_on = goes_on || a->reading->whole;
	for (int i = 0; i < a->npieces; i++)
	{
		MdbPiece *piece = &a->pieces[i];

		count_piece(piece);
		(void) mdb_stream_discard(&piece->stream, goes_on ? -1 : 1000, goes_on ? -1 : 20);
		mdb_stream_end(&piece->stream);
	}
	a->started = false;
	if (a->estate == NULL && !a->reading->whole && !goes_on)
	{
		mdb_reading_end(a->reading);
		a->reading = NULL;
	}
}

/*
 * mdb_ask_nodes - a query that a node of each shard answers as the current user; calls back with each row.
 */
void
mdb_ask_nodes(const char *sql, TupleDesc desc, MdbRowCallback callback, void *arg)
{
	MemoryContext mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb question for nodes", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	MdbAsking *a = palloc0(sizeof(MdbAsking));
	MdbPiece *piece;

	mdb_asking_init(a, NULL, GetUserId(), desc);
	mdb_asking_start(a, MemoryContextStrdup(a->mcxt, sql));
	MemoryContextSwitchTo(old);
	while ((piece = mdb_asking_next(a)) != NULL)
		callback(arg, piece->values, piece->isnull);
	mdb_asking_stop(a, false);
	MemoryContextDelete(mcxt);
}
