/*
 * drop.c
 *	  A continuous aggregate goes when its view goes, by whatever command: its row in the catalogs at once, its states
 *	  when the command ends.
 *
 * The states are not made to depend on the view: it depends on them, and pg_dump would have to break the circle.
 * A coarser aggregate's view reads the states, so that they cannot be dropped without CASCADE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/objectaccess.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "rollup/define.h"
#include "store/store.h"

static object_access_hook_type prev_object_access = NULL;

/* States whose views were dropped in this transaction; perhaps in a subtransaction that was rolled back. */
static List *orphans = NIL;

/*
 * mdb_rollup_forget - nothing is known of an aggregate any more.
 */
void
mdb_rollup_forget(Oid aggregate)
{
	mdb_pending_forget_aggregate(aggregate);
	mdb_dirty_forget_aggregate(aggregate);
	mdb_aggregate_delete(aggregate);
	CommandCounterIncrement();
}

static void
view_dropped(Oid relid)
{
	int n;
	MdbAggregate *list = mdb_aggregates_by(MDB_AGGREGATE_VIEW, relid, NULL, &n);
	MemoryContext before;

	for (int i = 0; i < n; i++)
	{
		mdb_rollup_forget(list[i].aggregate);
		before = MemoryContextSwitchTo(TopTransactionContext);
		orphans = lappend_oid(orphans, list[i].aggregate);
		MemoryContextSwitchTo(before);
	}
}

static void
object_access(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classId, objectId, subId, arg);
	if (access == OAT_DROP && classId == RelationRelationId && subId == 0 &&
		get_rel_relkind(objectId) == RELKIND_VIEW &&
		OidIsValid(mdb_catalog_relid("continuous_aggregate", true)))
		view_dropped(objectId);
}

/*
 * mdb_rollup_has_orphans - are there states whose views this transaction has dropped?
 */
bool
mdb_rollup_has_orphans(void)
{
	return orphans != NIL;
}

/*
 * mdb_rollup_drop_states - drop the states of views that were dropped, and, with CASCADE, the coarser aggregates that
 * are made of these.
 */
void
mdb_rollup_drop_states(DropBehavior behavior)
{
	while (orphans != NIL)
	{
		Oid states = linitial_oid(orphans);
		ObjectAddress address;

		orphans = list_delete_first(orphans);
		LockRelationOid(states, AccessExclusiveLock);
		/* It went with its schema or owner; or the view's going was rolled back. */
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(states)) ||
			mdb_aggregate_get(states, NULL) != NULL)
			continue;
		ObjectAddressSet(address, RelationRelationId, states);
		performDeletion(&address, behavior, 0);
		CommandCounterIncrement();
	}
}

/* Of a command that no hook has seen the end of. */
static void
at_transaction_end(XactEvent event, void *arg)
{
	if (orphans == NIL)
		return;
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		mdb_rollup_drop_states(DROP_RESTRICT);
		PopActiveSnapshot();
	}
	else if (event == XACT_EVENT_ABORT)
		orphans = NIL;
}

/*
 * mdb_rollup_drop_init - at load: see views go.
 */
void
mdb_rollup_drop_init(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
	RegisterXactCallback(at_transaction_end, NULL);
}
