/*
 * recover.c
 *	  Transactions on several nodes of which the end is not known everywhere: who decides is this coordinator.
 *
 * A row in metricsdb.dist_transaction is written by the transaction that has sent rows to nodes, so it is there if and only
 * if that has committed.  What nodes have prepared by names of ours is committed if there is a row, rolled back if there is
 * none and the transaction has ended, and left alone as long as it has not.  Rows are removed when no node that they name
 * has anything of them prepared any more.
 *
 * Names have the database's own (mdb_home()) and random digits: a transaction's number may be given again after a crash.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/procarray.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "dist/admin.h"
#include "dist/health.h"
#include "dist/write.h"
#include "metricsdb.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(mdb_recover_transactions);

/* The maintainer has other things to do than to wait for a node. */
#define CONNECT_MS 3000

/* metricsdb.dist_recovery_interval, in seconds */
static int recovery_interval = 60;

/*
 * mdb_dist_gid_prefix - how the names of all transactions of this coordinator begin.
 */
char *
mdb_dist_gid_prefix(void)
{
	return psprintf("metricsdb/%s/", mdb_home());
}

/*
 * mdb_dist_log - note in this transaction that nodes, a list of names, have prepared it.
 */
void
mdb_dist_log(const char *gid, List *nodes)
{
	Relation rel = mdb_catalog_open("dist_transaction", RowExclusiveLock);
	Datum *names = palloc(sizeof(Datum) * list_length(nodes));
	Datum values[3];
	bool nulls[3] = {false};
	ListCell *lc;

	foreach (lc, nodes)
		names[foreach_current_index(lc)] = CStringGetTextDatum(lfirst(lc));
	values[0] = CStringGetTextDatum(gid);
	values[1] = PointerGetDatum(construct_array(names, list_length(nodes), TEXTOID, -1, false, TYPALIGN_INT));
	values[2] = TimestampTzGetDatum(GetCurrentTimestamp());
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) mdb_catalog_insert(rel, values, nulls, GetCurrentCommandId(true), 0);
	PopActiveSnapshot();
	table_close(rel, NoLock);
}

/*
 * mdb_refuse_prepared - raise an error if a node has rows that it may get when it hears of the end of their transaction, a
 * coordinator's: nobody can tell whether it has all its rows.
 */
void
mdb_refuse_prepared(MdbSession *s)
{
	PGresult *res =
		mdb_session_run(s, "SELECT FROM pg_catalog.pg_prepared_xacts WHERE database = "
						   "pg_catalog.current_database() AND pg_catalog.starts_with(gid, 'metricsdb/')");
	bool waits = PQntuples(res) > 0;

	PQclear(res);
	if (waits)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("node \"%s\" has transactions of which it has not heard the end", s->node),
						errhint("Call metricsdb.recover_transactions(), and try again.")));
}

/* The transaction's name without the node's number. */
static char *
transaction_of(const char *gid)
{
	const char *slash = strrchr(gid, '/');

	return slash ? pnstrdup(gid, slash - gid) : pstrdup(gid);
}

/* Is the transaction that a name is of under way? */
static bool
is_under_way(const char *gid, const char *prefix)
{
	uint64 number = strtou64(gid + strlen(prefix), NULL, 10);
	uint64 next = U64FromFullTransactionId(ReadNextFullTransactionId());

	/* What is so old has ended, and its number may be another's by now.  What is to come was lost in a crash. */
	if (number + PG_INT32_MAX < next || number >= next)
		return false;
	return TransactionIdIsInProgress(XidFromFullTransactionId(FullTransactionIdFromU64(number)));
}

/* Has it committed?  By a snapshot that is taken now, not the transaction's, which may be of before that. */
static bool
has_committed(const char *gid)
{
	Oid type = TEXTOID;
	Datum arg = CStringGetTextDatum(transaction_of(gid));
	bool found;

	SPI_connect();
	found = mdb_query_own_now("SELECT FROM metricsdb.dist_transaction WHERE gid = $1", 1, &type, &arg) > 0;
	SPI_finish();
	return found;
}

/* What the mapped user of a session may end, of what all have prepared there. */
typedef struct Prepared
{
	char *gid;
	bool own;
} Prepared;

/* Names that a node has prepared, a list of Prepared; false if it does not tell. */
static bool
prepared_on(MdbSession *s, const char *prefix, List **list)
{
	MemoryContext old = CurrentMemoryContext;
	volatile bool told = false;

	PG_TRY();
	{
		PGresult *res = mdb_session_run(
			s, psprintf("SELECT gid, owner = current_user OR (SELECT rolsuper FROM pg_catalog.pg_roles WHERE "
						"rolname = current_user) FROM pg_catalog.pg_prepared_xacts WHERE database = "
						"pg_catalog.current_database() AND pg_catalog.starts_with(gid, %s)",
						quote_literal_cstr(prefix)));

		for (int i = 0; i < PQntuples(res); i++)
		{
			Prepared *p = palloc(sizeof(Prepared));

			p->gid = pstrdup(PQgetvalue(res, i, 0));
			p->own = PQgetvalue(res, i, 1)[0] == 't';
			*list = lappend(*list, p);
		}
		PQclear(res);
		told = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		if (s->error == NULL || QueryCancelPending || ProcDiePending)
			PG_RE_THROW();
		FlushErrorState();
	}
	PG_END_TRY();
	return told;
}

/* End one.  False if the node refuses. */
static bool
resolve(MdbSession *s, const char *gid, bool commit)
{
	MemoryContext old = CurrentMemoryContext;
	volatile bool done = false;

	PG_TRY();
	{
		PQclear(mdb_session_run(
			s, psprintf("%s PREPARED %s", commit ? "COMMIT" : "ROLLBACK", quote_literal_cstr(gid))));
		done = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		if (s->error == NULL || QueryCancelPending || ProcDiePending)
			PG_RE_THROW();
		ereport(LOG, (errmsg("node \"%s\": could not end transaction \"%s\": %s", s->node, gid,
							 s->error->message)));
		FlushErrorState();
	}
	PG_END_TRY();
	if (done)
		ereport(LOG, (errmsg("transaction \"%s\" on node \"%s\" was %s", gid, s->node,
							 commit ? "committed" : "rolled back")));
	return done;
}

/* As whom a node can be reached, a list of OIDs. */
static List *
users_of(Oid server)
{
	List *users = NIL;
	Oid type = OIDOID;
	Datum arg = ObjectIdGetDatum(server);
	MemoryContext caller = CurrentMemoryContext;

	SPI_connect();
	(void) mdb_execute_own(
		"SELECT umuser FROM pg_catalog.pg_user_mapping WHERE umserver = $1 ORDER BY umuser", 1, &type, &arg,
		NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;
		Oid user = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		MemoryContext spi = MemoryContextSwitchTo(caller);

		/* That of all who have none of their own. */
		users = list_append_unique_oid(users, OidIsValid(user) ? user : BOOTSTRAP_SUPERUSERID);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return users;
}

static MdbSession *
take(MdbReading *r, const MdbNode *node, Oid user)
{
	MemoryContext old = CurrentMemoryContext;
	MdbSession *volatile s = NULL;

	PG_TRY();
	{
		s = mdb_session_take(r, node, user, true);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old);
		FlushErrorState();
		s = NULL;
	}
	PG_END_TRY();
	if (s)
		mdb_session_hurry(s, CONNECT_MS);
	return s;
}

/* A node whose transactions are to be ended. */
typedef struct Recovered
{
	MdbNode *node;
	List *users;         /* as whom it has not been asked yet */
	MdbSession *session; /* NULL: none */
	bool told;
	List *left; /* names that stay, if it has told */
} Recovered;

/* End what the session's user can. */
static void
recover_node(Recovered *n, const char *prefix, int *resolved)
{
	MdbSession *s = n->session;
	List *list = NIL;
	ListCell *lc;

	if (s->state != MDB_SESSION_READY || !prepared_on(s, prefix, &list))
	{
		/* It would not answer others either. */
		if (s->error->lost)
			n->users = NIL;
		mdb_session_blame(s);
		return;
	}
	mdb_node_answered(s->node);
	n->told = true;
	n->left = NIL;
	foreach (lc, list)
	{
		const Prepared *p = lfirst(lc);

		if (p->own && !is_under_way(p->gid, prefix) && s->state == MDB_SESSION_READY &&
			resolve(s, p->gid, has_committed(p->gid)))
			(*resolved)++;
		else
			n->left = lappend(n->left, transaction_of(p->gid));
	}
	if (n->left == NIL)
		n->users = NIL;
}

/* Ask all nodes at once, each as the first user that is left; false if there is nobody to ask. */
static bool
recover_round(MdbReading *r, Recovered *nodes, int n, const char *prefix, int *resolved)
{
	List *sessions = NIL;
	bool any = false;

	for (int i = 0; i < n; i++)
	{
		nodes[i].session = NULL;
		if (nodes[i].users == NIL)
			continue;
		any = true;
		nodes[i].session = take(r, nodes[i].node, linitial_oid(nodes[i].users));
		nodes[i].users = list_delete_first(nodes[i].users);
		if (nodes[i].session)
			sessions = lappend(sessions, nodes[i].session);
	}
	/* Of errors it raises those of who waits: he has cancelled. */
	mdb_sessions_establish(sessions);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (nodes[i].session)
			recover_node(&nodes[i], prefix, resolved);
	}
	return any;
}

/* Forget transactions of which no node has anything left; nodes: all there are, and what they said. */
static void
forget_done(const Recovered *nodes, int nnodes)
{
	List *done = NIL;
	MemoryContext caller = CurrentMemoryContext;
	ListCell *lc;

	SPI_connect();
	(void) mdb_execute_own("SELECT gid, nodes FROM metricsdb.dist_transaction WHERE since < "
						   "pg_catalog.statement_timestamp()",
						   0, NULL, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);
		char *gid = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		bool isnull, is_done = true;
		ArrayType *array =
			DatumGetArrayTypeP(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
		Datum *names;
		int n;

		deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &names, NULL, &n);
		for (int j = 0; j < n; j++)
			for (int k = 0; k < nnodes; k++)
			{
				if (strcmp(nodes[k].node->name, TextDatumGetCString(names[j])) != 0)
					continue;
				is_done = is_done && nodes[k].told;
				foreach (lc, nodes[k].left)
					is_done = is_done && strcmp(lfirst(lc), gid) != 0;
			}
		if (is_done)
			done = lappend(done, pstrdup(gid));
		MemoryContextSwitchTo(spi);
	}
	foreach (lc, done)
	{
		Oid type = TEXTOID;
		Datum arg = CStringGetTextDatum(lfirst(lc));

		(void) mdb_execute_own("DELETE FROM metricsdb.dist_transaction WHERE gid = $1", 1, &type, &arg, NULL);
	}
	SPI_finish();
}

/* End all that can be ended; how many. */
static int
recover(void)
{
	MdbReading *r = mdb_reading_begin(CurrentMemoryContext);
	List *all = mdb_nodes();
	int n = list_length(all), resolved = 0;
	Recovered *nodes = palloc0(sizeof(Recovered) * Max(1, n));
	char *prefix = mdb_dist_gid_prefix();

	for (int i = 0; i < n; i++)
	{
		nodes[i].node = list_nth(all, i);
		if (OidIsValid(nodes[i].node->server))
			nodes[i].users = users_of(nodes[i].node->server);
	}
	/* Rows that are read now were written before nodes are asked: so what they name is prepared or done by then. */
	while (recover_round(r, nodes, n, prefix, &resolved))
		;
	forget_done(nodes, n);
	mdb_reading_end(r);
	return resolved;
}

/*
 * mdb_recover_transactions - metricsdb.recover_transactions()
 */
Datum
mdb_recover_transactions(PG_FUNCTION_ARGS)
{
	if (!superuser())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be superuser to end transactions on nodes")));
	PG_RETURN_INT32(recover());
}

/*
 * mdb_dist_recover_step - in the maintainer, outside of transactions: if it is time, end what was left undone.
 *
 * At first, as this server may have crashed; after a transaction that has written; and else now and then, as one that was
 * aborted may not have reached its nodes.
 */
void
mdb_dist_recover_step(void)
{
	static TimestampTz next_at = 0;
	TimestampTz now = GetCurrentTimestamp();
	bool due = now >= next_at;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (!due)
	{
		SPI_connect();
		due = mdb_execute_own(
				  "SELECT FROM metricsdb.dist_transaction WHERE since < pg_catalog.statement_timestamp() - "
				  "interval '1 s' LIMIT 1",
				  0, NULL, NULL, NULL) > 0;
		SPI_finish();
	}
	if (due && mdb_nodes() != NIL)
	{
		(void) recover();
		next_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), recovery_interval * 1000);
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/*
 * mdb_dist_recover_init - at load.
 */
void
mdb_dist_recover_init(void)
{
	DefineCustomIntVariable("metricsdb.dist_recovery_interval",
							"How often nodes are asked for prepared transactions that were left undone.",
							"Those of transactions that have committed are looked for each second.",
							&recovery_interval, 60, 1, 86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}
