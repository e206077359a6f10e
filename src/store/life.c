/*
 * life.c
 *	  From when to when a row is there, as headers of heap tuples say it: for rewrites, which keep it.
 *
 * Rows of a part are there from the time on that the part's row in metricsdb.part is.  A part that was
 * moved within the file has several of these, one after the other, and is one part to us.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/visibilitymap.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "store/store.h"

/*
 * mdb_life_of - that of a tuple, which ends if it has been deleted or is being deleted.  Who was there
 * before oldest_xmin was there for ever.
 */
void
mdb_life_of(HeapTupleHeader tuple, bool ends, TransactionId oldest_xmin, MdbLife *life)
{
	TransactionId xmin = HeapTupleHeaderGetXmin(tuple);

	memset(life, 0, sizeof(*life));
	life->xmin = TransactionIdPrecedes(xmin, oldest_xmin) ? FrozenTransactionId : xmin;
	if (TransactionIdIsCurrentTransactionId(life->xmin))
		life->cmin = HeapTupleHeaderGetCmin(tuple);
	if (ends)
		mdb_life_end(life, tuple);
}

/*
 * mdb_life_end - it ends as that of a tuple.
 */
void
mdb_life_end(MdbLife *life, HeapTupleHeader tuple)
{
	life->xmax = HeapTupleHeaderGetUpdateXid(tuple);
	if (TransactionIdIsCurrentTransactionId(life->xmax))
		life->cmax = HeapTupleHeaderGetCmax(tuple);
}

/*
 * mdb_life_is_empty - was it over before anybody else could see it?
 */
bool
mdb_life_is_empty(const MdbLife *life)
{
	return TransactionIdIsValid(life->xmax) &&
		   (TransactionIdEquals(life->xmin, life->xmax) || (TransactionIdIsCurrentTransactionId(life->xmin) &&
															TransactionIdIsCurrentTransactionId(life->xmax)));
}

/*
 * mdb_life_put - let it be that of a tuple.
 */
void
mdb_life_put(const MdbLife *life, HeapTupleHeader tuple)
{
	tuple->t_infomask &= ~(HEAP_XACT_MASK & ~HEAP_UPDATED);
	tuple->t_infomask2 &= ~HEAP2_XACT_MASK;
	HeapTupleHeaderSetXmin(tuple, life->xmin);
	HeapTupleHeaderSetXmax(tuple, life->xmax);
	HeapTupleHeaderSetCmin(tuple, life->cmin);
	if (!TransactionIdIsNormal(life->xmin))
		HeapTupleHeaderSetXminFrozen(tuple);
	if (!TransactionIdIsValid(life->xmax))
		tuple->t_infomask |= HEAP_XMAX_INVALID;
	else if (!TransactionIdIsCurrentTransactionId(life->xmin))
		HeapTupleHeaderSetCmax(tuple, life->cmax, false);
}

static int
life_cmp(const void *a, const void *b)
{
	const MdbPartLife *x = a, *y = b;

	return x->info.row_first < y->info.row_first ? -1 : x->info.row_first > y->info.row_first;
}

/* Make one of two that follow each other, if they do. */
static bool
join_lives(MdbPartLife *a, const MdbPartLife *b)
{
	if (TransactionIdIsValid(a->life.xmax) && TransactionIdEquals(a->life.xmax, b->life.xmin))
	{
		a->info = b->info;
		a->life.xmax = b->life.xmax;
		a->life.cmax = b->life.cmax;
		return true;
	}
	if (TransactionIdIsValid(b->life.xmax) && TransactionIdEquals(b->life.xmax, a->life.xmin))
	{
		a->life.xmin = b->life.xmin;
		a->life.cmin = b->life.cmin;
		return true;
	}
	return false;
}

/*
 * mdb_part_lives - all parts that are not dead to all whose snapshots may be as old as oldest_xmin, by
 * rising row number.  In CurrentMemoryContext.
 */
MdbPartLife *
mdb_part_lives(const MdbTable *table, TransactionId oldest_xmin, int *count)
{
	Relation rel = mdb_catalog_open("part", AccessShareLock);
	int capacity = 64;
	MdbPartLife *lives = palloc(sizeof(MdbPartLife) * capacity);
	int n = 0;
	int kept = 0;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_part_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(table->storage_id));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, SnapshotAny, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Buffer buf = ((BufferHeapTupleTableSlot *) scan->slot)->buffer;
		HTSV_Result state;

		if (n == capacity)
		{
			capacity *= 2;
			lives = repalloc_huge(lives, sizeof(MdbPartLife) * capacity);
		}
		LockBuffer(buf, BUFFER_LOCK_SHARE);
		state = HeapTupleSatisfiesVacuum(tuple, oldest_xmin, buf);
		if (state != HEAPTUPLE_DEAD)
			mdb_life_of(tuple->t_data,
						state == HEAPTUPLE_RECENTLY_DEAD || state == HEAPTUPLE_DELETE_IN_PROGRESS,
						oldest_xmin, &lives[n].life);
		LockBuffer(buf, BUFFER_LOCK_UNLOCK);
		if (state == HEAPTUPLE_DEAD)
			continue;
		mdb_part_from_tuple(&lives[n].info, tuple, RelationGetDescr(rel));
		if (lives[n].info.incarnation == table->incarnation)
			n++;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	qsort(lives, n, sizeof(MdbPartLife), life_cmp);
	for (int i = 0; i < n; i++)
	{
		MdbPartLife one = lives[i];

		/* Those of the same part come in any order. */
		for (int k = i + 1; k < n && lives[k].info.part_id == one.info.part_id;)
			if (join_lives(&one, &lives[k]))
			{
				memmove(&lives[k], &lives[k + 1], sizeof(MdbPartLife) * (--n - k));
				k = i + 1;
			}
			else
				k++;
		lives[kept++] = one;
	}
	*count = kept;
	return lives;
}

/*
 * mdb_heap_change_begin, mdb_heap_change_end - change tuples on a page of a heap in place.  In between it is locked,
 * and a critical section; it does not hold what everybody sees any more.  map is a pinned page of the
 * visibility map, the one for this page.
 */
void
mdb_heap_change_begin(Relation heap, Buffer buf, Buffer map)
{
	LockBuffer(buf, BUFFER_LOCK_EXCLUSIVE);
	START_CRIT_SECTION();
	if (visibilitymap_clear(heap, BufferGetBlockNumber(buf), map, VISIBILITYMAP_VALID_BITS) &&
		RelationNeedsWAL(heap))
	{
		LockBuffer(map, BUFFER_LOCK_EXCLUSIVE);
		log_newpage_buffer(map, false);
		LockBuffer(map, BUFFER_LOCK_UNLOCK);
	}
	PageClearAllVisible(BufferGetPage(buf));
}

void
mdb_heap_change_end(Relation heap, Buffer buf)
{
	MarkBufferDirty(buf);
	if (RelationNeedsWAL(heap))
		log_newpage_buffer(buf, true);
	END_CRIT_SECTION();
	LockBuffer(buf, BUFFER_LOCK_UNLOCK);
}

/*
 * mdb_part_set_life - give it to a part that this transaction has made, and that nobody knows of before its end.
 *
 * The part's row was inserted frozen, and VACUUM may have marked its page since: the marks go.  The caller
 * keeps the horizon of VACUUM from passing life->xmin; so VACUUM has not frozen that, nor has it made
 * relfrozenxid of the catalog later, and finds the row as one that came lately.
 */
void
mdb_part_set_life(const MdbPartInfo *part, const MdbLife *life)
{
	Relation rel = mdb_catalog_open("part", RowExclusiveLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tuple;
	Buffer buf;
	Buffer map = InvalidBuffer;

	ScanKeyInit(&keys[0], Anum_part_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(part->storage_id));
	ScanKeyInit(&keys[1], Anum_part_part_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(part->part_id));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, SnapshotSelf, 2, keys);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "part %lld of storage %lld is not in the catalog", (long long) part->part_id,
			 (long long) part->storage_id);
	buf = ReadBuffer(rel, ItemPointerGetBlockNumber(&tuple->t_self));
	visibilitymap_pin(rel, BufferGetBlockNumber(buf), &map);
	mdb_heap_change_begin(rel, buf, map);
	mdb_life_put(life, (HeapTupleHeader) PageGetItem(
						   BufferGetPage(buf),
						   PageGetItemId(BufferGetPage(buf), ItemPointerGetOffsetNumber(&tuple->t_self))));
	mdb_heap_change_end(rel, buf);
	ReleaseBuffer(map);
	ReleaseBuffer(buf);
	systable_endscan(scan);
	table_close(rel, NoLock);
}
