/*
 * catalog_change.c
 *	  Changes of rows of the catalogs: locks on them; what changes in the row of a part, which is immutable
 *	  itself: where its pages are, its class, its level.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "storage/lmgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/store.h"

/*
 * mdb_catalog_keep - rows of a catalog stay where they are, to the end of the transaction: for who is about to read
 * some and remembers their places.  VACUUM FULL and CLUSTER of the catalog, which move them, wait for him.
 *
 * Does nothing if it is not there, as while the extension is being dropped.
 */
void
mdb_catalog_keep(const char *catalog)
{
	Oid relid = mdb_catalog_relid(catalog, true);

	if (OidIsValid(relid))
		LockRelationOid(relid, AccessShareLock);
}

/*
 * mdb_catalog_delete_row - delete a row of a catalog, which nobody else is deleting.
 */
void
mdb_catalog_delete_row(const char *catalog, const ItemPointerData *tid)
{
	Relation rel = mdb_catalog_open(catalog, RowExclusiveLock);
	ItemPointerData row = *tid;

	simple_heap_delete(rel, &row);
	table_close(rel, NoLock);
}

/*
 * mdb_catalog_lock - lock a row of a catalog, or the last version of it; slot gets that, and tid where it is.
 *
 * False if it is gone, or, with LockWaitSkip, if somebody else has it.  With LockWaitError that raises
 * ERRCODE_LOCK_NOT_AVAILABLE.
 */
bool
mdb_catalog_lock(Relation rel, ItemPointer tid, LockTupleMode mode, LockWaitPolicy wait, TupleTableSlot *slot)
{
	TM_FailureData tmfd;

	if (table_tuple_lock(rel, tid, SnapshotAny, slot, GetCurrentCommandId(false), mode, wait,
						 TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &tmfd) != TM_Ok)
		return false;
	ItemPointerCopy(&slot->tts_tid, tid);
	return true;
}

/*
 * A part's row says something else in some columns, of which the key has none: so whoever has locked the row
 * FOR KEY SHARE is not waited for.
 */
static void
change_part(const MdbPartInfo *info, const Datum *v, const bool *replace)
{
	Relation rel = mdb_catalog_open("part", RowExclusiveLock);
	Snapshot snapshot = mdb_latest_snapshot();
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ItemPointerData tid = info->tid;
	bool n[Natts_part] = {0};

	if (!table_tuple_fetch_row_version(rel, &tid, snapshot, slot))
		elog(ERROR, "part %lld of storage %lld is gone", (long long) info->part_id,
			 (long long) info->storage_id);
	CatalogTupleUpdate(rel, &tid,
					   heap_modify_tuple(ExecFetchSlotHeapTuple(slot, false, NULL), RelationGetDescr(rel),
										 unconstify(Datum *, v), n, unconstify(bool *, replace)));
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
}

/*
 * mdb_part_set_place - the part's pages are elsewhere now; older snapshots keep it where it was.
 */
void
mdb_part_set_place(const MdbPartInfo *info, int64 page_first)
{
	Datum v[Natts_part] = {0};
	bool replace[Natts_part] = {0};

	v[Anum_part_page_first - 1] = Int64GetDatum(page_first);
	replace[Anum_part_page_first - 1] = true;
	change_part(info, v, replace);
}

/*
 * mdb_part_set_class - the part's rows are of another retention class; and its level with that.
 */
void
mdb_part_set_class(const MdbPartInfo *info, int16 class, int16 level)
{
	Datum v[Natts_part] = {0};
	bool replace[Natts_part] = {0};

	v[Anum_part_class - 1] = Int16GetDatum(class);
	v[Anum_part_level - 1] = Int16GetDatum(level);
	replace[Anum_part_class - 1] = replace[Anum_part_level - 1] = true;
	change_part(info, v, replace);
}
