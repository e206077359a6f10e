/*
 * distributed.c
 *	  Which tables are distributed: their rows are on nodes, and their own storage is empty.  Or Citus has them in shards,
 *	  which are tables of their own, and plans what reads and writes them before we are asked.
 *
 * The only code that reads and writes metricsdb.distributed.  Asked for each table of each query, so that answers are
 * remembered until the relation is invalidated; a trigger on the catalog does that, whoever writes it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_namespace.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "metricsdb.h"
#include "store/elsewhere.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(mdb_distributed_changed);

enum
{
	Anum_distributed_table = 1,
	Anum_distributed_since,
	Natts_distributed = Anum_distributed_since
};

typedef struct Known
{
	Oid relid; /* key */
	bool distributed;
	bool by_citus;
} Known;

static HTAB *known = NULL;

const MdbElsewhere *mdb_elsewhere = NULL;

static void
forget(Oid relid)
{
	HASH_SEQ_STATUS seq;
	Known *k;

	if (OidIsValid(relid))
	{
		(void) hash_search(known, &relid, HASH_REMOVE, NULL);
		return;
	}
	hash_seq_init(&seq, known);
	while ((k = hash_seq_search(&seq)) != NULL)
		(void) hash_search(known, &k->relid, HASH_REMOVE, NULL);
}

/* The catalog's row, a copy; NULL if there is none. */
static HeapTuple
find_row(Relation rel, Oid relid)
{
	Snapshot snapshot = mdb_latest_snapshot();
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_distributed_table, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 1, &key);
	tuple = mdb_catalog_scan_next(&scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	mdb_catalog_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	return tuple;
}

/* Citus' catalog says so: a row whose column logicalrelid is the table. */
static bool
has_shards(Oid relid)
{
	Oid catalog = get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE);
	AttrNumber attno = OidIsValid(catalog) ? get_attnum(catalog, "logicalrelid") : InvalidAttrNumber;
	Relation rel;
	ScanKeyData key;
	SysScanDesc scan;
	bool found;

	if (attno == InvalidAttrNumber)
		return false;
	rel = table_open(catalog, AccessShareLock);
	ScanKeyInit(&key, attno, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

/* What is known of a table; NULL while the extension is being made or dropped. */
static Known *
look_up(Oid relid)
{
	Oid catalog;
	Relation rel;
	HeapTuple tuple;
	Known new = {.relid = relid};
	Known *k;

	if (known == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Known)};

		known = hash_create("metricsdb distributed tables", 64, &ctl, HASH_ELEM | HASH_BLOBS);
		mdb_on_relation_change(forget);
	}
	k = hash_search(known, &relid, HASH_FIND, NULL);
	if (k)
		return k;
	catalog = mdb_catalog_relid("distributed", true);
	if (!OidIsValid(catalog))
		return NULL;
	rel = table_open(catalog, AccessShareLock);
	tuple = find_row(rel, relid);
	table_close(rel, AccessShareLock);
	new.distributed = HeapTupleIsValid(tuple);
	if (HeapTupleIsValid(tuple))
		heap_freetuple(tuple);
	new.by_citus = !new.distributed &&has_shards(relid);
	k = hash_search(known, &relid, HASH_ENTER, NULL);
	*k = new;
	return k;
}

/*
 * mdb_is_distributed - are the rows of a table on nodes?  The caller has a lock on the table.
 */
bool
mdb_is_distributed(Oid relid)
{
	Known *k = look_up(relid);

	return k && k->distributed;
}

/*
 * mdb_is_sharded - are the rows of a table in shards of Citus, of which this is the name?
 */
bool
mdb_is_sharded(Oid relid)
{
	Known *k = look_up(relid);

	return k && k->by_citus;
}

/*
 * mdb_refuse_distributed - raise ERRCODE_FEATURE_NOT_SUPPORTED for a table that cannot be written here.
 */
void
mdb_refuse_distributed(Oid relid)
{
	if (unlikely(mdb_is_distributed(relid)))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot change rows of the distributed table \"%s\"", get_rel_name(relid)),
						errdetail("Its rows are on the nodes."), errhint("Write to the table on a node.")));
}

/*
 * mdb_refuse_elsewhere - raise ERRCODE_FEATURE_NOT_SUPPORTED for a table whose rows are elsewhere, where only its own
 * storage would be looked at.  hint: what to do if they are on nodes.
 */
void
mdb_refuse_elsewhere(Oid relid, const char *hint)
{
	Known *k = look_up(relid);

	if (likely(k == NULL || (!k->distributed && !k->by_citus)))
		return;
	if (k->distributed)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("rows of the distributed table \"%s\" are on its nodes", get_rel_name(relid)),
						errhint("%s", hint)));
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("rows of the distributed table \"%s\" are in shards of Citus", get_rel_name(relid)),
			 errhint("Shards are tables USING metricsdb, too: use run_command_on_shards().")));
}

/* Delete the rows of a catalog of which a column has a value; each one's first column, a text, is added to names. */
static void
delete_rows(const char *name, AttrNumber attno, RegProcedure eq, Datum value, List **names)
{
	Oid catalog = mdb_catalog_relid(name, true);
	Relation rel;
	Snapshot snapshot;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple tuple;

	if (!OidIsValid(catalog))
		return;
	rel = table_open(catalog, RowExclusiveLock);
	snapshot = mdb_latest_snapshot();
	ScanKeyInit(&key, attno, BTEqualStrategyNumber, eq, value);
	/* Not by an index, which may be gone before it when the extension is dropped. */
	scan = systable_beginscan(rel, InvalidOid, false, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;

		*names = lappend(*names, DatumGetTextPCopy(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull)));
		simple_heap_delete(rel, &tuple->t_self);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
}

/* Kafka sources of a table that is distributed no more are its nodes' alone. */
static void
forget_sources(Oid relid)
{
	List *sources = NIL, *ignored = NIL;
	ListCell *lc;

	delete_rows("distributed_source", 2, F_OIDEQ, ObjectIdGetDatum(relid), &sources);
	foreach (lc, sources)
		delete_rows("distributed_epoch", 1, F_TEXTEQ, PointerGetDatum(lfirst(lc)), &ignored);
}

/*
 * mdb_distributed_set - make a table distributed, or not.  The caller has locked it, and checked who may.
 */
void
mdb_distributed_set(Oid relid, bool distributed)
{
	Relation rel = mdb_catalog_open("distributed", RowExclusiveLock);
	HeapTuple tuple = find_row(rel, relid);

	if (distributed && !HeapTupleIsValid(tuple))
	{
		Datum values[Natts_distributed] = {ObjectIdGetDatum(relid),
										   TimestampTzGetDatum(GetCurrentTimestamp())};
		bool nulls[Natts_distributed] = {false};

		(void) mdb_catalog_insert(rel, values, nulls, GetCurrentCommandId(true), 0);
	}
	else if (!distributed && HeapTupleIsValid(tuple))
	{
		simple_heap_delete(rel, &tuple->t_self);
		forget_sources(relid);
	}
	table_close(rel, RowExclusiveLock);
	CacheInvalidateRelcacheByRelid(relid);
	CommandCounterIncrement();
}

/*
 * mdb_distributed_forget - a table is being dropped.
 */
void
mdb_distributed_forget(Oid relid)
{
	Oid catalog = mdb_catalog_relid("distributed", true);
	Relation rel;
	HeapTuple tuple;

	if (!OidIsValid(catalog) || !mdb_is_distributed(relid))
		return;
	rel = table_open(catalog, RowExclusiveLock);
	tuple = find_row(rel, relid);
	if (HeapTupleIsValid(tuple))
		simple_heap_delete(rel, &tuple->t_self);
	table_close(rel, RowExclusiveLock);
	forget_sources(relid);
}

/*
 * mdb_distributed_tables - all of them, a list of OIDs.
 */
List *
mdb_distributed_tables(void)
{
	Relation rel = mdb_catalog_open("distributed", AccessShareLock);
	Snapshot snapshot = mdb_latest_snapshot();
	MdbCatalogScan scan;
	HeapTuple tuple;
	List *list = NIL;

	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 0, NULL);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		bool isnull;

		list = lappend_oid(list, DatumGetObjectId(heap_getattr(tuple, Anum_distributed_table,
															   RelationGetDescr(rel), &isnull)));
	}
	mdb_catalog_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return list;
}

/*
 * mdb_distributed_changed - the trigger on the catalog: sessions forget what they know of the table.
 */
Datum
mdb_distributed_changed(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	HeapTuple rows[2];

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		RelationGetRelid(data->tg_relation) != mdb_catalog_relid("distributed", true))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function \"%s\" was not called by its trigger", "distributed_changed")));
	rows[0] = data->tg_trigtuple;
	rows[1] = data->tg_newtuple;
	for (int i = 0; i < 2; i++)
		if (rows[i])
		{
			bool isnull;
			Oid relid = DatumGetObjectId(
				heap_getattr(rows[i], Anum_distributed_table, RelationGetDescr(data->tg_relation), &isnull));

			if (get_rel_name(relid) != NULL)
				CacheInvalidateRelcacheByRelid(relid);
		}
	return PointerGetDatum(NULL);
}
