/*
 * inval.c
 *	  Who wants to know of relations that change.
 *
 * PostgreSQL has ten places for relation cache callbacks in a backend, of which it uses three or four itself, and ends
 * a session with FATAL when there is none left.  So all modules share one, lest the other extensions find none.
 */
#include "postgres.h"

#include "utils/inval.h"

#include "metricsdb.h"

#define MAX_CALLBACKS 16

static MdbRelationChanged callbacks[MAX_CALLBACKS];
static int ncallbacks;

static void
relation_changed(Datum arg, Oid relid)
{
	for (int i = 0; i < ncallbacks; i++)
		callbacks[i](relid);
}

void
mdb_on_relation_change(MdbRelationChanged callback)
{
	if (ncallbacks == MAX_CALLBACKS)
		elog(FATAL, "too many callbacks of relations");
	if (ncallbacks == 0)
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	callbacks[ncallbacks++] = callback;
}
