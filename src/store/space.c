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

#include <math.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/relscan.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/storage.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "stop.h"
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

/*
 * mdb_space_covered - all extents that some row of part covers, whatever its state, by first page.
 */
MdbExtent *
mdb_space_covered(const MdbTable *table, int *count)
{
	Relation partrel = mdb_catalog_open("part", AccessShareLock);
	MdbExtent *extents = covered_extents(partrel, table->storage_id, table->incarnation, count);

	table_close(partrel, AccessShareLock);
	return extents;
}

/* First page of the smallest gap that holds npages below the end, or 0. */
static int64
find_gap(Relation partrel, const MdbPartInfo *info, int64 end)
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

/* Prune the pages of metricsdb.part on which a storage has rows; false if it has none that is dead. */
static bool
prune(Relation partrel, int64 storage_id)
{
	BlockNumber nblocks = RelationGetNumberOfBlocks(partrel);
	bool *dirty = palloc0(nblocks);
	bool any = false;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	scan = systable_beginscan(partrel, mdb_catalog_index(partrel), true, SnapshotAny, 1, &key);
	if (scan->iscan)
		scan->iscan->ignore_killed_tuples = false;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		HeapTupleHeader t = tuple->t_data;
		BlockNumber block = ItemPointerGetBlockNumber(&tuple->t_self);

		if (block < nblocks && (!HeapTupleHeaderXminCommitted(t) || !(t->t_infomask & HEAP_XMAX_INVALID)))
			any = dirty[block] = true;
	}
	systable_endscan(scan);
	for (BlockNumber b = 0; b < nblocks && any; b++)
	{
		Buffer buf;

		if (!dirty[b])
			continue;
		CHECK_FOR_INTERRUPTS();
		buf = ReadBuffer(partrel, b);
		mdb_heap_prune_page(partrel, buf);
		ReleaseBuffer(buf);
		MDB_STOP("prune.page");
	}
	pfree(dirty);
	return any;
}

/*
 * mdb_space_prune - prune the rows of a table's parts, so that those which no snapshot can see any
 * more stop covering their pages.  Standbys learn of it by the WAL records of pruning.
 */
void
mdb_space_prune(const MdbTable *table)
{
	Relation partrel = mdb_catalog_open("part", RowExclusiveLock);

	prune(partrel, table->storage_id);
	table_close(partrel, NoLock);
}

/*
 * mdb_space_place_part - give a part its id, row numbers and pages, and insert its row.
 *
 * info comes with all but these filled in.  Raises ERRCODE_PROGRAM_LIMIT_EXCEEDED when the file is
 * full, or when there are no row numbers.
 */
void
mdb_space_place_part(Relation rel, MdbPartInfo *info, CommandId cid, int options)
{
	Relation partrel = mdb_catalog_open("part", RowExclusiveLock);
	MdbMeta meta;

	mdb_storage_revive(rel);
	mdb_space_lock(rel);
	mdb_meta_read(rel, &meta);
	info->incarnation = meta.incarnation;
	info->page_first = 0;
	if (meta.next_page >= MDB_REUSE_MIN_PAGES)
	{
		info->page_first = find_gap(partrel, info, meta.next_page);
		/* Before the file grows: may dead rows be all that is in the way? */
		if (info->page_first == 0 && prune(partrel, info->storage_id))
			info->page_first = find_gap(partrel, info, meta.next_page);
	}
	if (info->page_first != 0)
		MDB_STOP("place.gap");
	mdb_rows_demand(rel, info->nrows);
	mdb_meta_place_part(rel, info);
	MDB_STOP("place.counters");
	mdb_part_insert(partrel, info, cid, options);
	MDB_STOP("place.row");
	mdb_space_unlock(rel);
	/* The first one: plans were made for a table without parts. */
	if (info->page_first == MDB_META_BLOCK + 1)
		CacheInvalidateRelcache(rel);
	table_close(partrel, NoLock);
}

/* The gaps between extents, in place; there is one before each of them at most. */
static int
extents_to_gaps(MdbExtent *extents, int count)
{
	int64 at = MDB_META_BLOCK + 1;
	int ngaps = 0;

	for (int i = 0; i < count; i++)
	{
		MdbExtent e = extents[i];

		if (e.first > at)
		{
			extents[ngaps].first = at;
			extents[ngaps++].npages = e.first - at;
		}
		at = Max(at, e.first + e.npages);
	}
	return ngaps;
}

/* Sizes of parts for which the first gap to look at is remembered. */
#define SIZES_REMEMBERED 256

/*
 * mdb_space_move_parts - new places, nearer to the front, for parts that are given by falling page:
 * for the first of them, as far as each finds a gap.
 *
 * Returns how many; their rows say the new places, which are in targets, and the caller writes the
 * pages in the same transaction.  Takes the parts in the order given and gaps from the front, so
 * that the time for n parts and m gaps is of the order of n + m for each size of part.
 */
int
mdb_space_move_parts(Relation rel, const MdbPartInfo *parts, int count, int64 *targets)
{
	Relation partrel = mdb_catalog_open("part", RowExclusiveLock);
	MdbExtent *gaps;
	int ngaps;
	int from[SIZES_REMEMBERED] = {0};
	int moved = 0;

	mdb_space_lock(rel);
	gaps = covered_extents(partrel, parts[0].storage_id, parts[0].incarnation, &ngaps);
	ngaps = extents_to_gaps(gaps, ngaps);
	for (; moved < count; moved++)
	{
		const MdbPartInfo *p = &parts[moved];
		int g = p->npages < SIZES_REMEMBERED ? from[p->npages] : 0;

		while (g < ngaps && gaps[g].first < p->page_first && gaps[g].npages < p->npages)
			g++;
		if (p->npages < SIZES_REMEMBERED)
			from[p->npages] = g;
		if (g == ngaps || gaps[g].first >= p->page_first)
			break;
		targets[moved] = gaps[g].first;
		gaps[g].first += p->npages;
		gaps[g].npages -= p->npages;
		mdb_part_set_place(p, targets[moved]);
	}
	mdb_space_unlock(rel);
	pfree(gaps);
	table_close(partrel, NoLock);
	return moved;
}

/*
 * mdb_space_clear_parts - make room for a part that is too large for each single gap before it:
 * move the parts between some neighbouring gaps to the end of the file.
 *
 * parts are all of the table's, by falling page; the room is for the first.  Chosen are those gaps
 * which hold it together with the fewest pages of parts between them, and no more pages than it has
 * itself.  Once these pages are free the part and those that were moved out of the way fit there
 * together, so the file ends before where the part is now.  Returns the index of the first that is
 * to be moved; *count says how many, 0 = there is no such place, and targets where to.
 */
int
mdb_space_clear_parts(Relation rel, const MdbPartInfo *parts, int nparts, int64 *targets, int *count)
{
	Relation partrel = mdb_catalog_open("part", RowExclusiveLock);
	MdbExtent *extents;
	int nextents;
	int n = 0;
	int first = 0;
	int best_first = -1; /* parts, counted from the front of the file */
	int best_end = -1;
	int64 free_pages = 0;
	int64 between = 0;
	int64 best = parts[0].npages;

	*count = 0;
	mdb_space_lock(rel);
	extents = covered_extents(partrel, parts[0].storage_id, parts[0].incarnation, &nextents);
	/*
	 * While pages of other rows than those are covered (of dead ones, which will be free soon, or of
	 * new ones) nothing is moved to the end: it could go on and on.
	 */
#define PART(i)       (parts[nparts - 1 - (i)])
#define PART_END(i)   (PART(i).page_first + PART(i).npages)
#define GAP_BEFORE(i) (PART(i).page_first - ((i) > 0 ? PART_END((i) -1) : MDB_META_BLOCK + 1))
	for (int i = 0; i < nparts && nextents == nparts; i++)
	{
		/* Parts first .. i - 1 lie between the gaps before first and before i. */
		free_pages += GAP_BEFORE(i);
		if (i > first)
			between += PART(i - 1).npages;
		while (first < i && free_pages - GAP_BEFORE(first) >= parts[0].npages)
		{
			free_pages -= GAP_BEFORE(first);
			between -= PART(first).npages;
			first++;
		}
		if (first < i && free_pages >= parts[0].npages && between <= best)
		{
			best = between;
			best_first = first;
			best_end = i;
		}
	}
	if (best_first >= 0)
	{
		n = best_end - best_first;
		for (int i = 0; i < n; i++)
		{
			const MdbPartInfo *p = &parts[nparts - best_end + i];

			targets[i] = mdb_meta_take_pages(rel, p->npages);
			mdb_part_set_place(p, targets[i]);
		}
	}
	mdb_space_unlock(rel);
	pfree(extents);
	table_close(partrel, NoLock);
	*count = n;
	return nparts - best_end;
}

/*
 * mdb_space_truncate - cut free pages off the end of the file, if nobody is using the table.
 */
bool
mdb_space_truncate(Relation rel, const MdbTable *table)
{
	BlockNumber end, pages;
	bool done = false;

	if (RelationGetNumberOfBlocks(rel) <= mdb_space_end(rel, table))
		return false;
	if (!ConditionalLockRelation(rel, AccessExclusiveLock))
		return false;
	end = mdb_space_end(rel, table);
	if (RelationGetNumberOfBlocks(rel) > end)
	{
		MDB_STOP("cut.before");
		mdb_meta_lower_end(rel, end);
		MDB_STOP("cut.counters");
		pages = RelationGetNumberOfBlocks(rel);
		RelationTruncate(rel, end);
		MDB_STOP("cut.after");
		/* What the planner takes a page for: the pages that went had no rows. */
		if (rel->rd_rel->reltuples > 0 && rel->rd_rel->relpages > 0)
			mdb_update_relstats(rel, Max(1, (BlockNumber) rint((double) rel->rd_rel->relpages * end / pages)),
								rel->rd_rel->reltuples, rel->rd_rel->relhasindex, InvalidTransactionId,
								InvalidMultiXactId);
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
