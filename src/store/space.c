/*
 * space.c
 *	  Which pages of a file a new part gets.
 *
 * Invariants:
 *	1. A page is free iff no tuple of metricsdb.part, in whatever state, covers it.  So what an
 *	   old snapshot may still read, and what an aborted transaction wrote, is never reused before
 *	   the tuple that names it was pruned, whose WAL record has by then cancelled the standby
 *	   queries that could need it.
 *	2. Freedom is computed, and the row that ends it inserted, under one lock on the table.
 *	3. The row is inserted first, the pages are written afterwards, by the same transaction.
 *
 * The lock is an object lock of our own on the table: inserting the row takes extension locks,
 * which forbids holding the file's extension lock, and lightweight locks may not be held that long.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/storage.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/store.h"

#define MDB_SPACE_LOCK 0x4d44 /* objsubid of the lock tag */

/* Below this many pages a file is not searched for gaps: it grows. */
#define MDB_REUSE_MIN_PAGES 16

/*
 * mdb_space_lock, mdb_space_unlock - the allocation lock of a table.  Held for the moment of an
 * allocation, not to the end of the transaction.
 */
void
mdb_space_lock(Relation rel)
{
	LockDatabaseObject(RelationRelationId, RelationGetRelid(rel), MDB_SPACE_LOCK, ExclusiveLock);
}

void
mdb_space_unlock(Relation rel)
{
	UnlockDatabaseObject(RelationRelationId, RelationGetRelid(rel), MDB_SPACE_LOCK, ExclusiveLock);
}

static int
extent_cmp(const void *a, const void *b)
{
	const MdbExtent *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

/* All extents that some tuple of part covers, sorted. */
static MdbExtent *
covered_extents(Relation partrel, int64 storage_id, int32 incarnation, int *count)
{
	TupleDesc desc = RelationGetDescr(partrel);
	int capacity = 64;
	MdbExtent *extents = palloc(capacity * sizeof(MdbExtent));
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	*count = 0;
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	scan = systable_beginscan(partrel, mdb_catalog_index(partrel), true, SnapshotAny, 1, &key);
	/* An entry that is known to be dead may still name a tuple that was not pruned. */
	if (scan->iscan)
		scan->iscan->ignore_killed_tuples = false;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;

		if (DatumGetInt32(heap_getattr(tuple, Anum_part_incarnation, desc, &isnull)) != incarnation)
			continue;
		if (*count == capacity)
		{
			capacity *= 2;
			extents = repalloc_huge(extents, capacity * sizeof(MdbExtent));
		}
		extents[*count].first = DatumGetInt64(heap_getattr(tuple, Anum_part_page_first, desc, &isnull));
		extents[*count].npages = DatumGetInt32(heap_getattr(tuple, Anum_part_npages, desc, &isnull));
		(*count)++;
	}
	systable_endscan(scan);
	qsort(extents, *count, sizeof(MdbExtent), extent_cmp);
	return extents;
}

/* First page of the smallest gap that holds npages below the end, or 0. */
static int64
find_gap(Relation rel, Relation partrel, const MdbPartInfo *info, int64 end)
{
	MdbExtent *extents;
	int count;
	int64 at = MDB_META_BLOCK + 1;
	int64 best = 0;
	int64 best_size = PG_INT64_MAX;

	extents = covered_extents(partrel, info->storage_id, info->incarnation, &count);
	for (int i = 0; i <= count; i++)
	{
		int64 next = i < count ? extents[i].first : end;
		int64 gap = next - at;

		if (gap >= info->npages && gap < best_size)
		{
			best = at;
			best_size = gap;
		}
		if (i < count)
			at = Max(at, extents[i].first + extents[i].npages);
	}
	pfree(extents);
	return best;
}

/*
 * mdb_space_place_part - give a part its id, row numbers and pages, and insert its row.
 *
 * info comes with all but these filled in.  With below, only pages before that one will do, and
 * the result is false if there are none.  Raises ERRCODE_PROGRAM_LIMIT_EXCEEDED when the file is
 * full.
 */
bool
mdb_space_place_part(Relation rel, MdbPartInfo *info, int64 below, CommandId cid, int options)
{
	Relation partrel = mdb_catalog_open("part", RowExclusiveLock);
	MdbMeta meta;

	mdb_storage_revive(rel);
	mdb_space_lock(rel);
	mdb_meta_read(rel, &meta);
	info->incarnation = meta.incarnation;
	info->page_first = 0;
	if (below > 0 || meta.next_page >= MDB_REUSE_MIN_PAGES)
		info->page_first = find_gap(rel, partrel, info, below > 0 ? below : meta.next_page);
	if (below > 0 && info->page_first == 0)
	{
		mdb_space_unlock(rel);
		table_close(partrel, NoLock);
		return false;
	}
	mdb_meta_place_part(rel, info);
	mdb_part_insert(partrel, info, cid, options);
	mdb_space_unlock(rel);
	table_close(partrel, NoLock);
	return true;
}

/*
 * mdb_space_prune - prune the pages of metricsdb.part, so that rows which no snapshot can see
 * any more stop covering their pages.  Standbys learn of it by the WAL records of pruning.
 */
void
mdb_space_prune(void)
{
	Relation partrel = mdb_catalog_open("part", RowExclusiveLock);
	BlockNumber nblocks = RelationGetNumberOfBlocks(partrel);

	for (BlockNumber b = 0; b < nblocks; b++)
	{
		Buffer buf = ReadBuffer(partrel, b);

		mdb_heap_prune_page(partrel, buf);
		ReleaseBuffer(buf);
	}
	table_close(partrel, NoLock);
}

/*
 * mdb_space_truncate - cut free pages off the end of the file, if nobody is using the table.
 */
bool
mdb_space_truncate(Relation rel, const MdbTable *table)
{
	BlockNumber end;
	bool done = false;

	if (RelationGetNumberOfBlocks(rel) <= mdb_space_end(rel, table))
		return false;
	if (!ConditionalLockRelation(rel, AccessExclusiveLock))
		return false;
	end = mdb_space_end(rel, table);
	if (RelationGetNumberOfBlocks(rel) > end)
	{
		mdb_meta_lower_end(rel, end);
		RelationTruncate(rel, end);
		done = true;
	}
	UnlockRelation(rel, AccessExclusiveLock);
	return done;
}

/*
 * mdb_space_end - the page after the last one that any tuple of part covers.  The caller holds
 * the allocation lock, or a lock that keeps writers out.
 */
BlockNumber
mdb_space_end(Relation rel, const MdbTable *table)
{
	Relation partrel = mdb_catalog_open("part", AccessShareLock);
	int count;
	MdbExtent *extents = covered_extents(partrel, table->storage_id, table->incarnation, &count);
	int64 end = MDB_META_BLOCK + 1;

	for (int i = 0; i < count; i++)
		end = Max(end, extents[i].first + extents[i].npages);
	table_close(partrel, AccessShareLock);
	return (BlockNumber) end;
}
