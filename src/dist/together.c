/*
 * together.c
 *	  Statements for several nodes at once, each with its own: for what changes nodes.
 *
 * All are sent before the first answer is waited for.  Waiting can be interrupted; then, and after an error, the sessions'
 * connections end with their reading, and what nodes have not committed is undone there.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "dist/dist.h"
#include "dist/together.h"

/*
 * mdb_together_receive - the last result of what was sent to a session; false, with the session failed, if there was an error.
 */
bool
mdb_together_receive(MdbSession *s, PGresult **last)
{
	*last = NULL;
	for (;;)
	{
		PGresult *res;
		ExecStatusType status;

		while (PQisBusy(s->conn))
		{
			mdb_session_wait(s, -1);
			if (!PQconsumeInput(s->conn))
			{
				mdb_session_fail(s, NULL);
				return false;
			}
		}
		res = PQgetResult(s->conn);
		if (res == NULL)
			return s->state != MDB_SESSION_FAILED;
		PQclear(*last);
		*last = res;
		status = PQresultStatus(res);
		/* The caller sends rows now. */
		if (status == PGRES_COPY_IN)
			return true;
		if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && s->state != MDB_SESSION_FAILED)
			mdb_session_fail(s, res);
	}
}

/*
 * mdb_together - run one or more statements on each session of a list; sqls: a list of the same length, NULL: nothing for
 * that one.  Returns the last results, which the caller clears with mdb_together_clear().
 *
 * Raises the error of the first session that has one, after all have answered; tell: with the statement.
 */
PGresult **
mdb_together(List *sessions, List *sqls, bool tell)
{
	PGresult **results = palloc0(sizeof(PGresult *) * Max(1, list_length(sessions)));
	MdbSession *failed = NULL;
	const char *failed_sql = NULL;
	ListCell *ls, *lq;

	forboth (ls, sessions, lq, sqls)
	{
		MdbSession *s = lfirst(ls);

		if (lfirst(lq) == NULL)
			continue;
		if (s->state != MDB_SESSION_READY)
			mdb_node_error(s->node, s->shard, s->error, NULL);
		if (!mdb_session_settle(s) || !PQsendQuery(s->conn, lfirst(lq)))
		{
			mdb_session_fail(s, NULL);
			mdb_node_error(s->node, s->shard, s->error, NULL);
		}
	}
	forboth (ls, sessions, lq, sqls)
	{
		MdbSession *s = lfirst(ls);

		if (lfirst(lq) == NULL || mdb_together_receive(s, &results[foreach_current_index(ls)]) || failed)
			continue;
		failed = s;
		failed_sql = lfirst(lq);
	}
	if (failed)
	{
		mdb_together_clear(results, list_length(sessions));
		mdb_node_error(failed->node, failed->shard, failed->error, tell ? failed_sql : NULL);
	}
	return results;
}

/*
 * mdb_together_clear - forget results.
 */
void
mdb_together_clear(PGresult **results, int n)
{
	for (int i = 0; i < n; i++)
		PQclear(results[i]);
	pfree(results);
}

/*
 * mdb_together_same - the same for each, without a result.
 */
void
mdb_together_same(List *sessions, const char *sql)
{
	List *sqls = NIL;

	for (int i = 0; i < list_length(sessions); i++)
		sqls = lappend(sqls, unconstify(char *, sql));
	mdb_together_clear(mdb_together(sessions, sqls, true), list_length(sessions));
}

/*
 * mdb_together_writing - whether sessions are in a transaction that writes: if it does not commit it ends with the connection.
 */
void
mdb_together_writing(List *sessions, bool writing)
{
	ListCell *lc;

	foreach (lc, sessions)
		((MdbSession *) lfirst(lc))->writes = writing;
}
