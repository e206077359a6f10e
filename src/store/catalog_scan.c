/*
 * catalog_scan.c
 *	  Reading the catalogs without that counting as reading them.
 *
 * All tables' rows are together in one catalog.  A serializable transaction that reads some would take
 * predicate locks on pages of its index, and others that insert there, for tables of their own, would
 * be taken for writers of what it has read.  What is read and written in truth is the user's table, and
 * the access method has its own locks for that (am/scan.c).  So in such transactions the catalogs
 * are read with SnapshotAny, which takes none, and each row is looked at for whether the snapshot sees
 * it; of the rows of metricsdb.part also for whether it is one that the transaction should have seen.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/xact.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/store.h"

static void
set_up(MdbCatalogScan *s, Relation rel, Snapshot snapshot, bool conflicts)
{
	s->rel = rel;
	s->snapshot = snapshot;
	s->conflicts = conflicts;
	/* Without one it is that of the system's catalogs. */
	s->by_hand = snapshot != NULL && IsolationIsSerializable() && IsMVCCSnapshot(snapshot);
}

static void
begin_scan(MdbCatalogScan *s, int nkeys, struct ScanKeyData *keys)
{
	s->scan = systable_beginscan(s->rel, mdb_catalog_index(s->rel), true,
								 s->by_hand ? SnapshotAny : s->snapshot, nkeys, keys);
}

/*
 * mdb_catalog_scan_begin - as systable_beginscan() with the catalog's own index.  conflicts: rows that
 * the snapshot does not see are conflicts of serializable transactions.
 */
void
mdb_catalog_scan_begin(MdbCatalogScan *s, Relation rel, Snapshot snapshot, bool conflicts, int nkeys,
					   struct ScanKeyData *keys)
{
	set_up(s, rel, snapshot, conflicts);
	if (!IgnoreSystemIndexes)
	{
		begin_scan(s, nkeys, keys);
		return;
	}
	/* Their rows come in order, on which who reads them relies.  They are none of the system's. */
	IgnoreSystemIndexes = false;
	PG_TRY();
	{
		begin_scan(s, nkeys, keys);
	}
	PG_FINALLY();
	{
		IgnoreSystemIndexes = true;
	}
	PG_END_TRY();
}

/*
 * mdb_catalog_scan_begin_at - the same in the order of another index.
 */
void
mdb_catalog_scan_begin_at(MdbCatalogScan *s, Relation rel, Relation index, Snapshot snapshot, bool conflicts,
						  int nkeys, struct ScanKeyData *keys)
{
	set_up(s, rel, snapshot, conflicts);
	s->scan = systable_beginscan_ordered(rel, index, s->by_hand ? SnapshotAny : snapshot, nkeys, keys);
}

/* The next row in a direction, if there is an order. */
static HeapTuple
next_tuple(MdbCatalogScan *s, bool backward)
{
	return backward ? systable_getnext_ordered(s->scan, BackwardScanDirection) : systable_getnext(s->scan);
}

static HeapTuple
next_seen(MdbCatalogScan *s, bool backward)
{
	HeapTuple tuple;

	while (HeapTupleIsValid(tuple = next_tuple(s, backward)))
	{
		Buffer buf;
		bool visible;

		if (!s->by_hand)
			return tuple;
		buf = ((BufferHeapTupleTableSlot *) s->scan->slot)->buffer;
		LockBuffer(buf, BUFFER_LOCK_SHARE);
		visible = HeapTupleSatisfiesVisibility(tuple, s->snapshot, buf);
		if (s->conflicts)
			HeapCheckForSerializableConflictOut(visible, s->rel, tuple, buf, s->snapshot);
		LockBuffer(buf, BUFFER_LOCK_UNLOCK);
		if (visible)
			return tuple;
	}
	return NULL;
}

/*
 * mdb_catalog_scan_next - the next row that the snapshot sees, or NULL.
 */
HeapTuple
mdb_catalog_scan_next(MdbCatalogScan *s)
{
	return next_seen(s, false);
}

/*
 * mdb_catalog_scan_back - of one in the order of an index, the next one from its end.
 */
HeapTuple
mdb_catalog_scan_back(MdbCatalogScan *s)
{
	return next_seen(s, true);
}

/*
 * mdb_catalog_scan_end, mdb_catalog_scan_end_at - finish it.
 */
void
mdb_catalog_scan_end(MdbCatalogScan *s)
{
	systable_endscan(s->scan);
}

void
mdb_catalog_scan_end_at(MdbCatalogScan *s)
{
	systable_endscan_ordered(s->scan);
}

/*
 * mdb_catalog_find - the first row that a snapshot sees with these values of the catalog's own index, copied; or NULL.
 */
HeapTuple
mdb_catalog_find(Relation rel, Snapshot snapshot, int nkeys, struct ScanKeyData *keys)
{
	MdbCatalogScan scan;
	HeapTuple tuple;

	mdb_catalog_scan_begin(&scan, rel, snapshot, false, nkeys, keys);
	tuple = mdb_catalog_scan_next(&scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	mdb_catalog_scan_end(&scan);
	return tuple;
}
