/*
 * change.c
 *	  Changes of what all nodes have, as part of the transaction here.
 *
 * A node's part is a transaction there that begins with the first change and commits just before ours does; if ours is rolled
 * back, or anything fails before, connections end, and nodes undo it.  If a node fails when others have committed already
 * the rest is done by metricsdb.distribute() of the table: each change does nothing where it was made before.
 *
 * Until then other transactions of the nodes wait for its locks, one's own queries of distributed tables, too: so they are
 * refused.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "dist/admin.h"

typedef struct Changes
{
	MdbReading *reading;
	List *sessions;
	int level;   /* the deepest subtransaction that has changed something */
	bool broken; /* of which something was rolled back here alone */
} Changes;

static Changes *changes = NULL; /* in TopTransactionContext */

/* ---------- the end of the transaction ---------- */

static void
commit_changes(void)
{
	ListCell *lc;

	if (changes->broken)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("what was changed on nodes cannot be rolled back to a savepoint"),
						errhint("Roll back the whole transaction, and change them without the savepoint.")));
	foreach (lc, changes->sessions)
	{
		MdbSession *s = lfirst(lc);

		PQclear(mdb_session_run(s, "COMMIT"));
		s->writes = false;
	}
	mdb_reading_end(changes->reading);
	changes = NULL;
}

static void
at_end(XactEvent event, void *arg)
{
	if (changes == NULL)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			commit_changes();
			break;
		case XACT_EVENT_PRE_PREPARE:
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("cannot PREPARE a transaction that has changed tables on nodes")));
			break;
		default:
			/* Sessions go with the transaction's memory. */
			changes = NULL;
			break;
	}
}

static void
at_subxact_end(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int level = GetCurrentTransactionNestLevel();

	if (changes == NULL || changes->level < level)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		changes->broken = true;
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		changes->level = level - 1;
}

/* ---------- changes ---------- */

static MdbSession *
find_session(const MdbNode *node)
{
	ListCell *lc;

	foreach (lc, changes->sessions)
		if (strcmp(((MdbSession *) lfirst(lc))->node, node->name) == 0)
			return lfirst(lc);
	return NULL;
}

/* Begin a transaction on each of the nodes that has none yet. */
static void
begin(List *nodes)
{
	static bool registered = false;
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	List *fresh = NIL;
	ListCell *lc;

	if (!registered)
	{
		RegisterXactCallback(at_end, NULL);
		RegisterSubXactCallback(at_subxact_end, NULL);
		registered = true;
	}
	if (changes == NULL)
	{
		Changes *c = palloc0(sizeof(Changes));

		c->reading = mdb_reading_begin(TopTransactionContext);
		c->reading->insists = true;
		changes = c;
	}
	foreach (lc, nodes)
	{
		const MdbNode *node = lfirst(lc);
		MdbSession *s;

		if ((s = find_session(node)) != NULL)
		{
			/* Nobody acts on nodes as somebody else; and two sessions would wait for each other. */
			if (s->user != GetUserId())
				ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
								errmsg("several users have changed tables on nodes in one transaction")));
			continue;
		}
		s = mdb_session_take(changes->reading, node, GetUserId(), true);
		fresh = lappend(fresh, s);
		changes->sessions = lappend(changes->sessions, s);
	}
	mdb_sessions_establish(fresh);
	foreach (lc, fresh)
	{
		MdbSession *s = lfirst(lc);

		s->writes = true;
		PQclear(mdb_session_run(s, "BEGIN READ WRITE"));
	}
	changes->level = Max(changes->level, GetCurrentTransactionNestLevel());
	MemoryContextSwitchTo(old);
}

/*
 * mdb_change_nodes - call back with a session for each of some nodes, in a transaction there that ends with ours.
 *
 * Raises errors that name the node.
 */
void
mdb_change_nodes(List *nodes, MdbNodeChange change, void *arg)
{
	ListCell *lc;

	if (nodes == NIL)
		return;
	mdb_dist_refuse_unsent();
	begin(nodes);
	foreach (lc, nodes)
		change(find_session(lfirst(lc)), arg);
}

static void
run(MdbSession *s, void *sql)
{
	PQclear(mdb_session_run(s, sql));
}

/*
 * mdb_changing_nodes - the nodes that changes reach: not those that were evicted, which come back empty.
 */
List *
mdb_changing_nodes(void)
{
	List *nodes = NIL;
	ListCell *lc;

	foreach (lc, mdb_nodes())
		if (!mdb_node_is(lfirst(lc), MDB_NODE_EVICTED))
			nodes = lappend(nodes, lfirst(lc));
	return nodes;
}

/*
 * mdb_change_all - run statements on all nodes, likewise.
 */
void
mdb_change_all(const char *sql)
{
	mdb_change_nodes(mdb_changing_nodes(), run, unconstify(char *, sql));
}

/*
 * mdb_refuse_changed - raise an error if this transaction has changed nodes, for who would wait for itself.
 */
void
mdb_refuse_changed(void)
{
	if (changes)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot read from nodes, or write to them, in the transaction that has changed their "
						"tables"),
				 errhint("Commit it first.")));
}
