/*
 * evict.c
 *	  Nodes that are out of reach: nothing of them counts any more.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

#include "dist/admin.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(mdb_evict_node);

/* The node of that name, while nobody else changes nodes. */
static MdbNode *
lock_node(const char *name)
{
	ListCell *lc;

	if (!superuser())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be superuser to change which nodes there are")));
	LockRelationOid(mdb_catalog_relid("node", false), ShareRowExclusiveLock);
	foreach (lc, mdb_nodes())
		if (strcmp(((MdbNode *) lfirst(lc))->name, name) == 0)
			return lfirst(lc);
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("node \"%s\" does not exist", name)));
}

static void
set_state(const char *name, const char *state)
{
	(void) mdb_run_sql(psprintf("UPDATE metricsdb.node SET state = %s WHERE name OPERATOR(pg_catalog.=) %s",
								quote_literal_cstr(state), quote_literal_cstr(name)));
}

/*
 * mdb_evict_node - evict_node(name, force).
 */
Datum
mdb_evict_node(PG_FUNCTION_ARGS)
{
	MdbNode *node = lock_node(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	bool is_last = true;
	ListCell *lc;

	if (mdb_node_is(node, MDB_NODE_EVICTED))
		PG_RETURN_BOOL(false);
	foreach (lc, mdb_nodes())
	{
		const MdbNode *other = lfirst(lc);

		is_last = is_last && (strcmp(other->name, node->name) == 0 ||
							  strcmp(other->shard, node->shard) != 0 || !mdb_node_is(other, MDB_NODE_WHOLE));
	}
	if (is_last && mdb_node_is(node, MDB_NODE_WHOLE) && !PG_GETARG_BOOL(1))
		ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
						errmsg("node \"%s\" is the last one that has the rows of shard \"%s\"", node->name,
							   node->shard),
						errdetail("Queries would answer without them, and say nothing of it."),
						errhint("If it will not come back, call metricsdb.evict_node('%s', force => true).",
								node->name)));
	set_state(node->name, MDB_NODE_EVICTED);
	PG_RETURN_BOOL(true);
}
