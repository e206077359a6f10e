/*
 * source_drop.c
 *	  A rule whose table is dropped is disabled, and says why: it must neither hinder the drop nor vanish with the table.
 *
 * The rules are looked for at the end of the transaction: until then the table may be there again, by a rollback to a
 * savepoint.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "alert/define.h"
#include "metricsdb.h"
#include "store/store.h"

typedef struct Dropped
{
	Oid relid;
	char *name;
} Dropped;

static object_access_hook_type prev_object_access = NULL;

/* Tables that this transaction has dropped, perhaps in a subtransaction that was rolled back. */
static List *dropped = NIL;

static void
object_access(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classId, objectId, subId, arg);
	if (access == OAT_DROP && classId == RelationRelationId && subId == 0 &&
		get_rel_relkind(objectId) == RELKIND_RELATION && mdb_is_metricsdb_oid(objectId))
	{
		MemoryContext before = MemoryContextSwitchTo(TopTransactionContext);
		Dropped *d = palloc(sizeof(Dropped));

		d->relid = objectId;
		d->name = pstrdup(get_rel_name(objectId));
		dropped = lappend(dropped, d);
		MemoryContextSwitchTo(before);
	}
}

static void
disable_rule(int32 rule_id, const char *rule, const char *table)
{
	Oid types[] = {INT4OID, TEXTOID};
	Datum args[2];

	mdb_rule_lock_exclusive(rule_id);
	mdb_rule_end_instances(rule_id);
	args[0] = Int32GetDatum(rule_id);
	args[1] = CStringGetTextDatum(psprintf("table \"%s\" was dropped", table));
	mdb_execute_own("UPDATE metricsdb.alert_rule SET enabled = false, source = NULL,"
					" version = version OPERATOR(pg_catalog.+) 1 WHERE rule_id OPERATOR(pg_catalog.=) $1",
					1, types, args, NULL);
	mdb_execute_own("INSERT INTO metricsdb.alert_tick AS t (rule_id, health, last_error, last_error_at)"
					" SELECT rule_id, 'error', $2, pg_catalog.clock_timestamp() FROM metricsdb.alert_rule"
					" WHERE rule_id OPERATOR(pg_catalog.=) $1"
					" ON CONFLICT (rule_id) DO UPDATE SET health = excluded.health,"
					" last_error = excluded.last_error, last_error_at = excluded.last_error_at",
					2, types, args, NULL);
	ereport(WARNING, (errmsg("alert rule \"%s\" is disabled, as its table \"%s\" was dropped", rule, table),
					  errhint("Give it another \"source\" by %s.alter_alert(), or drop it.", MDB_SCHEMA)));
}

static void
disable_rules_of(const Dropped *d)
{
	Oid type = OIDOID;
	Datum arg = ObjectIdGetDatum(d->relid);
	SPITupleTable *found;
	uint64 n;

	SPI_connect();
	n = mdb_execute_own("SELECT rule_id, name FROM metricsdb.alert_rule"
						" WHERE source::pg_catalog.oid OPERATOR(pg_catalog.=) $1",
						1, &type, &arg, NULL);
	found = SPI_tuptable;
	for (uint64 i = 0; i < n; i++)
	{
		bool isnull;

		disable_rule(DatumGetInt32(SPI_getbinval(found->vals[i], found->tupdesc, 1, &isnull)),
					 SPI_getvalue(found->vals[i], found->tupdesc, 2), d->name);
	}
	SPI_finish();
	if (n > 0)
		mdb_rules_changed();
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (dropped == NIL)
		return;
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
	{
		List *tables = dropped;
		ListCell *lc;

		dropped = NIL;
		if (!OidIsValid(mdb_catalog_relid("alert_rule", true)))
			return;
		PushActiveSnapshot(GetTransactionSnapshot());
		foreach (lc, tables)
			if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(((Dropped *) lfirst(lc))->relid)))
				disable_rules_of(lfirst(lc));
		PopActiveSnapshot();
	}
	else
		/* Also what ON COMMIT DROP has added since: a temporary table. */
		dropped = NIL;
}

/*
 * mdb_alert_init - at load: see tables go.
 */
void
mdb_alert_init(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
	RegisterXactCallback(at_transaction_end, NULL);
}
