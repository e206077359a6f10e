/*
 * write_send.c
 *	  Rows for nodes are sent, and committed on all of them or on none.
 *
 *	1. Before this transaction commits, rows go to each replica of their shards by COPY, all nodes at once, and each node
 *	   prepares its transaction.
 *	2. A row in metricsdb.dist_transaction names them.  It is part of this transaction, whose commit so is the decision:
 *	   what is prepared and has no row was rolled back (recover.c).
 *	3. After the commit nodes are told.  One that does not answer soon is told by recovery.
 *
 * All replicas of a shard must be there: one that has missed rows could not be told from one that has them.  A node that is
 * evicted is none of them.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "dist/together.h"
#include "dist/write.h"
#include "metricsdb.h"
#include "stop.h"
#include "store/store.h"

#define BATCH_BYTES (64 * 1024)

/*
 * How long a node waits for a lock, unless lock_timeout says so here: two transactions that wait for each other's keys on
 * two nodes would wait for ever, as neither node sees more than one of the waits.
 */
#define LOCK_MS 10000

/* How long the end of a transaction waits for nodes. */
#define FINISH_MS 5000

/* A shard that rows go to. */
typedef struct Target
{
	MdbShard *shard;
	uint32 hash;
	List *sessions; /* one for each node; NIL: no rows yet */
	bool copying;
	StringInfoData lines;
} Target;

/* What the transaction that ends has sent; in TopTransactionContext. */
typedef struct Sending
{
	MdbReading *reading;
	Oid user;
	int ntargets;
	Target *targets;
	List *sessions; /* all that have begun, in order */
	List *gids;     /* what each is to prepare, and has if it is prepared */
	bool prepared;  /* some have, maybe */
} Sending;

static Sending *sending = NULL;

/* ---------- targets ---------- */

/* Do the nodes of a shard take rows: is none drained, or about to join? */
static bool
takes_rows(List *nodes, const char *shard)
{
	ListCell *lc;

	foreach (lc, nodes)
	{
		const MdbNode *node = lfirst(lc);

		if (strcmp(node->shard, shard) == 0 && (node->draining || mdb_node_is(node, MDB_NODE_JOINING)))
			return false;
	}
	return true;
}

/* Shards that take rows. */
static List *
taking_shards(void)
{
	List *nodes = mdb_nodes(), *shards = NIL;
	ListCell *lc;

	foreach (lc, mdb_all_shards())
		if (takes_rows(nodes, ((MdbShard *) lfirst(lc))->name))
			shards = lappend(shards, lfirst(lc));
	return shards;
}

/*
 * mdb_write_check - is there where rows could go?  So that a statement says so, not only the commit.
 */
void
mdb_write_check(const char *table)
{
	mdb_refuse_changed();
	if (taking_shards() == NIL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("cannot insert rows into the distributed table \"%s\" here", table),
						errdetail("Each shard has nodes that are drained, joining or evicted."),
						errhint("See metricsdb.nodes.")));
}

/* The shard for a hash: the same as long as there are the same shards, and for most if one comes or goes. */
static Target *
target_of(uint64 hash)
{
	Target *best = NULL;
	uint64 most = 0;

	for (int i = 0; i < sending->ntargets; i++)
	{
		Target *t = &sending->targets[i];
		uint64 weight = hash_combine64(hash, DatumGetUInt64(hash_uint32_extended(t->hash, hash)));

		if (best == NULL || weight > most)
		{
			best = t;
			most = weight;
		}
	}
	return best;
}

static void
begin_sending(Oid user)
{
	List *shards = taking_shards();
	ListCell *lc;
	int i = 0;

	if (shards == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("no shard takes rows any more")));
	sending = palloc0(sizeof(Sending));
	sending->user = user;
	sending->reading = mdb_reading_begin(TopTransactionContext);
	sending->targets = palloc0(sizeof(Target) * list_length(shards));
	foreach (lc, shards)
	{
		Target *t = &sending->targets[i++];

		t->shard = lfirst(lc);
		t->hash = DatumGetUInt32(hash_any((unsigned char *) t->shard->name, strlen(t->shard->name)));
		initStringInfo(&t->lines);
	}
	sending->ntargets = i;
}

/* Connect to nodes, MdbNode, and begin; a list of sessions. */
static List *
open_nodes(List *nodes)
{
	List *sessions = NIL;
	ListCell *lc;

	foreach (lc, nodes)
		sessions = lappend(sessions, mdb_session_take(sending->reading, lfirst(lc), sending->user, true));
	mdb_sessions_establish(sessions);
	foreach (lc, sessions)
	{
		MdbSession *s = lfirst(lc);

		if (s->state != MDB_SESSION_READY)
		{
			mdb_session_blame(s);
			ereport(
				ERROR,
				(errcode(s->error->sqlstate), errmsg("node \"%s\": %s", s->node, s->error->message),
				 errdetail(
					 "All replicas of shard \"%s\" must get its rows: one that has missed some could not be told "
					 "from the others.",
					 s->shard),
				 errhint("Wait until it is back, or call metricsdb.evict_node('%s').", s->node)));
		}
	}
	mdb_together_writing(sessions, true);
	mdb_together_same(
		sessions,
		psprintf("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL synchronous_commit = on; "
				 "SET LOCAL idle_in_transaction_session_timeout = '10min'; SET LOCAL lock_timeout = %d",
				 LockTimeout > 0 ? LockTimeout : LOCK_MS));
	sending->sessions = list_concat(sending->sessions, sessions);
	return sessions;
}

/*
 * mdb_sending_join - a session with a node, in the transaction that all commit together.
 */
MdbSession *
mdb_sending_join(const MdbNode *node)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	MdbSession *s;

	mdb_refuse_changed();
	if (sending == NULL)
		begin_sending(GetUserId());
	s = linitial(open_nodes(list_make1(unconstify(MdbNode *, node))));
	/* It waits while others are written to. */
	mdb_together_same(list_make1(s),
					  "SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL lock_timeout = 0");
	MemoryContextSwitchTo(old);
	return s;
}

/* ---------- rows ---------- */

pg_noreturn static void
lost(MdbSession *s)
{
	mdb_session_fail(s, NULL);
	mdb_node_error(s->node, s->shard, s->error, NULL);
}

/* Wait until a node takes more, or says something. */
static void
wait_for_room(MdbSession *s)
{
	int events = WaitLatchOrSocket(
		MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE | WL_EXIT_ON_PM_DEATH,
		PQsocket(s->conn), -1, PG_WAIT_EXTENSION);

	if (events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if ((events & WL_SOCKET_READABLE) && !PQconsumeInput(s->conn))
		lost(s);
}

/* Send what libpq has. */
static void
flush(MdbSession *s)
{
	int rc;

	while ((rc = PQflush(s->conn)) > 0)
		wait_for_room(s);
	if (rc < 0)
		lost(s);
}

static void
put(MdbSession *s, const char *data, int len)
{
	int rc;

	while ((rc = PQputCopyData(s->conn, data, len)) == 0)
		wait_for_room(s);
	if (rc < 0)
		lost(s);
	flush(s);
}

/* Send a shard's lines to its nodes. */
static void
put_lines(Target *t, const MdbWritten *w)
{
	ListCell *lc;

	if (t->sessions == NIL)
		t->sessions = open_nodes(t->shard->nodes);
	if (!t->copying)
	{
		mdb_together_same(t->sessions, w->copy);
		foreach (lc, t->sessions)
			(void) PQsetnonblocking(((MdbSession *) lfirst(lc))->conn, 1);
		t->copying = true;
	}
	foreach (lc, t->sessions)
		put(lfirst(lc), t->lines.data, t->lines.len);
	resetStringInfo(&t->lines);
}

/* The end of a table's rows for a shard. */
static void
end_lines(Target *t, const MdbWritten *w)
{
	ListCell *lc;

	if (t->lines.len > 0)
		put_lines(t, w);
	if (!t->copying)
		return;
	foreach (lc, t->sessions)
	{
		MdbSession *s = lfirst(lc);
		int rc;

		while ((rc = PQputCopyEnd(s->conn, NULL)) == 0)
			wait_for_room(s);
		if (rc < 0)
			lost(s);
		flush(s);
		(void) PQsetnonblocking(s->conn, 0);
	}
	foreach (lc, t->sessions)
	{
		MdbSession *s = lfirst(lc);
		PGresult *res;
		bool well = mdb_together_receive(s, &res);

		PQclear(res);
		if (!well && s->error->sqlstate == ERRCODE_LOCK_NOT_AVAILABLE)
			s->error->hint = MemoryContextStrdup(
				s->mcxt, "Another transaction may wait for a row of this one on another node. Try again.");
		if (!well)
			mdb_node_error(s->node, s->shard, s->error, w->copy);
	}
	t->copying = false;
}

/*
 * mdb_sending_line - a row for the shard that its hash says; of one table after the other.
 */
void
mdb_sending_line(const MdbWritten *w, uint64 hash, const char *line, int len)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Target *t = target_of(hash);

	appendBinaryStringInfo(&t->lines, line, len);
	if (t->lines.len >= BATCH_BYTES)
		put_lines(t, w);
	MemoryContextSwitchTo(old);
}

/*
 * mdb_sending_end - the end of a table's rows.
 */
void
mdb_sending_end(const MdbWritten *w)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	for (int i = 0; i < sending->ntargets; i++)
		end_lines(&sending->targets[i], w);
	MemoryContextSwitchTo(old);
}

static void
send_rows(MdbWritten *w)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(w->desc, &TTSOpsMinimalTuple);

	tuplestore_rescan(w->rows);
	while (tuplestore_gettupleslot(w->rows, true, false, slot))
	{
		bool isnull;
		uint64 hash = DatumGetUInt64(slot_getattr(slot, 1, &isnull));
		text *line = DatumGetTextPP(slot_getattr(slot, 2, &isnull));

		CHECK_FOR_INTERRUPTS();
		mdb_sending_line(w, hash, VARDATA_ANY(line), VARSIZE_ANY_EXHDR(line));
	}
	ExecDropSingleTupleTableSlot(slot);
	/* Files of a transaction that commits must be closed. */
	tuplestore_end(w->rows);
	w->rows = NULL;
	mdb_sending_end(w);
}

/* ---------- two phases ---------- */

/* Have all nodes prepare, and note that they have. */
static void
prepare(void)
{
	uint32 random[2];
	char *gid;
	List *sqls = NIL, *nodes = NIL;
	ListCell *lc;

	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values")));
	gid = psprintf("%s" UINT64_FORMAT "/%08x%08x", mdb_dist_gid_prefix(),
				   U64FromFullTransactionId(GetTopFullTransactionId()), random[0], random[1]);
	foreach (lc, sending->sessions)
	{
		/* Nodes may be databases of one cluster. */
		char *own = psprintf("%s/%d", gid, foreach_current_index(lc));

		sending->gids = lappend(sending->gids, own);
		sqls = lappend(sqls, psprintf("PREPARE TRANSACTION %s", quote_literal_cstr(own)));
		nodes = lappend(nodes, ((MdbSession *) lfirst(lc))->node);
	}
	MDB_STOP("dist.sent");
	sending->prepared = true;
#ifdef MDB_TESTING
	/* One after the other, so that a test comes between them. */
	foreach (lc, sending->sessions)
	{
		mdb_together_same(list_make1(lfirst(lc)), list_nth(sqls, foreach_current_index(lc)));
		MDB_STOP("dist.prepared");
	}
#else
	mdb_together_clear(mdb_together(sending->sessions, sqls, true), list_length(sqls));
#endif
	mdb_dist_log(gid, nodes);
	MDB_STOP("dist.logged");
	/* Nodes must not be told of what a crash could take back. */
	ForceSyncCommit();
}

/*
 * mdb_write_send - send all rows, and prepare: before commit.
 */
void
mdb_write_send(MdbWritten *list)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

	for (MdbWritten *w = list; w; w = w->next)
	{
		if (sending == NULL)
			begin_sending(w->user);
		if (sending->user != w->user)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("several users have inserted rows into distributed tables in one transaction")));
		send_rows(w);
	}
	if (sending && sending->sessions != NIL)
		prepare();
	MemoryContextSwitchTo(old);
}

/*
 * mdb_write_pending - has something been sent that is not prepared?
 */
bool
mdb_write_pending(void)
{
	return sending != NULL;
}

/* Tell all nodes, and wait for a while: no error is raised, nor an interrupt served.  A list of those that did not answer. */
static List *
finish(const char *command)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), FINISH_MS);
	List *silent = NIL;
	ListCell *ls, *lg;

	forboth (ls, sending->sessions, lg, sending->gids)
	{
		MdbSession *s = lfirst(ls);

		if (s->conn && PQstatus(s->conn) == CONNECTION_OK && PQtransactionStatus(s->conn) == PQTRANS_IDLE)
			(void) PQsendQuery(s->conn, psprintf("%s %s", command, quote_literal_cstr(lfirst(lg))));
		MDB_STOP("dist.told");
	}
	foreach (ls, sending->sessions)
	{
		MdbSession *s = lfirst(ls);
		bool done = false;

		while (s->conn && PQtransactionStatus(s->conn) == PQTRANS_ACTIVE &&
			   PQstatus(s->conn) == CONNECTION_OK)
		{
			long left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
			PGresult *res;

			if (PQisBusy(s->conn))
			{
				/* Whoever cancels has his way, and the connection ends. */
				if (left <= 0 || QueryCancelPending || ProcDiePending)
					break;
				if (WaitLatchOrSocket(MyLatch,
									  WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
									  PQsocket(s->conn), left, PG_WAIT_EXTENSION) &
					WL_LATCH_SET)
					ResetLatch(MyLatch);
				if (!PQconsumeInput(s->conn))
					break;
				continue;
			}
			res = PQgetResult(s->conn);
			if (res == NULL)
				break;
			/* Recovery may have been faster. */
			done = done || PQresultStatus(res) == PGRES_COMMAND_OK ||
				   (PQresultErrorField(res, PG_DIAG_SQLSTATE) != NULL &&
					strcmp(PQresultErrorField(res, PG_DIAG_SQLSTATE), "42704") == 0);
			PQclear(res);
		}
		if (done)
			s->writes = false;
		else
			silent = lappend(silent, s->node);
	}
	SetLatch(MyLatch);
	return silent;
}

/*
 * mdb_write_committed - this transaction is: so are the nodes'.
 */
void
mdb_write_committed(void)
{
	MemoryContext old;
	ListCell *lc;

	if (sending == NULL)
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	MDB_STOP("dist.committed");
	foreach (lc, finish("COMMIT PREPARED"))
		ereport(WARNING,
				(errmsg("node \"%s\" has not confirmed yet that it has committed", (char *) lfirst(lc)),
				 errdetail("Its rows are seen as soon as it has been told again.")));
	sending = NULL;
	MemoryContextSwitchTo(old);
}

/*
 * mdb_write_aborted - what is not prepared ends with its connection; what is, is rolled back here or by recovery.
 */
void
mdb_write_aborted(void)
{
	MemoryContext old;

	if (sending == NULL)
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	if (sending->prepared && !proc_exit_inprogress)
		(void) finish("ROLLBACK PREPARED");
	sending = NULL;
	MemoryContextSwitchTo(old);
}
