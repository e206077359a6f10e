/*
 * shadow_free.c
 *	  Shadows that nobody can come to any more, and their pages: VACUUM gives them free.
 *
 * There are two kinds.  A run whose rows' parts are gone for all, and a page that no run names: a crash or an
 * error came between the page and its row in metricsdb.shadow.  Compaction gives up runs of the
 * first kind, too (mdb_shadows_collect), but who has rolled back much may not wait for it.
 *
 * VACUUM cannot delete: snapshots ignore its transaction id.  It makes the shadows what an aborted
 * transaction has inserted, and then removes them as such.  Nobody has been told of them, so nobody
 * misses them.  Tuples do not move on their pages here, so who is reading these is not disturbed, on standbys
 * neither; what moves them is the heap's own pruning.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/visibilitymap.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/lmgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "stop.h"
#include "write/write.h"

/* Make a tuple on a locked page one that was never there. */
static void
set_aborted(HeapTupleHeader tuple)
{
	tuple->t_infomask &= ~HEAP_XMIN_FROZEN;
	tuple->t_infomask |= HEAP_XMIN_INVALID;
	HeapTupleHeaderSetXmin(tuple, InvalidTransactionId);
}

/* The shadow at a place of a locked page, or NULL. */
static HeapTupleHeader
shadow_at(Page page, OffsetNumber off)
{
	ItemId item = PageGetItemId(page, off);
	HeapTupleHeader tuple;

	if (!ItemIdIsNormal(item))
		return NULL;
	tuple = (HeapTupleHeader) PageGetItem(page, item);
	return mdb_shadow_of(tuple) < 0 ? NULL : tuple;
}

/* The run whose shadows a page has, of those that are not given up yet; -1 if there are none. */
static int64
run_on_page(Buffer buf)
{
	Page page = BufferGetPage(buf);
	int64 run = -1;

	LockBuffer(buf, BUFFER_LOCK_SHARE);
	if (!PageIsNew(page))
		for (OffsetNumber off = FirstOffsetNumber; off <= PageGetMaxOffsetNumber(page) && run < 0; off++)
		{
			HeapTupleHeader tuple = shadow_at(page, off);

			if (tuple && !HeapTupleHeaderXminInvalid(tuple))
				run = mdb_shadow_of(tuple) / MDB_RUN_ROWS;
		}
	LockBuffer(buf, BUFFER_LOCK_UNLOCK);
	return run;
}

/* Give up the shadows of a run on a page. */
static void
free_page(Relation heap, Buffer buf, Buffer *map, int64 run)
{
	Page page = BufferGetPage(buf);

	visibilitymap_pin(heap, BufferGetBlockNumber(buf), map);
	mdb_heap_change_begin(heap, buf, *map);
	for (OffsetNumber off = FirstOffsetNumber; off <= PageGetMaxOffsetNumber(page); off++)
	{
		HeapTupleHeader tuple = shadow_at(page, off);

		if (tuple && mdb_shadow_of(tuple) / MDB_RUN_ROWS == run)
			set_aborted(tuple);
	}
	mdb_heap_change_end(heap, buf);
}

/* Take runs of which no row is in a part any more, in whatever state, out of the catalog. */
static void
free_runs(Relation rel, const MdbTable *table)
{
	Relation catalog = mdb_catalog_open("shadow", RowExclusiveLock);
	Buffer map = InvalidBuffer;
	MdbShadowRun *runs;
	MdbRowRange *ranges;
	MdbMeta meta;
	int n, nranges;
	int at = 0;

	mdb_space_prune(table);
	/* Runs first: one that comes later may be of a part in a window that is opened later. */
	n = mdb_shadow_runs(table->storage_id, SnapshotSelf, &runs);
	/* Under this lock numbers are given out and the rows of their parts inserted. */
	mdb_space_lock(rel);
	mdb_meta_read(rel, &meta);
	mdb_part_ranges(table, &ranges, &nranges);
	mdb_space_unlock(rel);
	MDB_STOP("shadow.ranges");
	for (int i = 0; i < n; i++)
	{
		int64 first = runs[i].run * MDB_RUN_ROWS;
		Buffer buf;

		CHECK_FOR_INTERRUPTS();
		/* Both rise.  Ranges overlap only where a part was moved and kept its numbers. */
		while (at < nranges && ranges[at].end <= first)
			at++;
		if ((first < meta.row_limit && first + MDB_RUN_ROWS > meta.next_row) ||
			(at < nranges && ranges[at].first < first + MDB_RUN_ROWS))
			continue;
		buf = ReadBuffer(catalog, ItemPointerGetBlockNumber(&runs[i].tid));
		visibilitymap_pin(catalog, ItemPointerGetBlockNumber(&runs[i].tid), &map);
		mdb_heap_change_begin(catalog, buf, map);
		set_aborted((HeapTupleHeader) PageGetItem(
			BufferGetPage(buf), PageGetItemId(BufferGetPage(buf), ItemPointerGetOffsetNumber(&runs[i].tid))));
		mdb_heap_change_end(catalog, buf);
		ReleaseBuffer(buf);
		pgstat_count_heap_delete(catalog);
		MDB_STOP("shadow.free");
	}
	if (BufferIsValid(map))
		ReleaseBuffer(map);
	table_close(catalog, NoLock);
	pfree(ranges);
	pfree(runs);
}

static int
block_cmp(const void *a, const void *b)
{
	const MdbShadowRun *x = a, *y = b;

	return x->block < y->block ? -1 : x->block > y->block;
}

/*
 * mdb_shadows_free - make shadows that nobody can come to any more dead, before VACUUM of the row heap; that is
 * locked against others.  The caller holds ShareUpdateExclusiveLock on the table.  How many pages there are.
 */
int
mdb_shadows_free(Relation rel, const MdbTable *table, Relation heap, BufferAccessStrategy strategy)
{
	BlockNumber nblocks;
	MdbShadowRun *runs;
	Buffer map = InvalidBuffer;
	int n;
	int at = 0;
	int freed = 0;

	if (mdb_shadows_exist(table->storage_id))
		free_runs(rel, table);
	nblocks = RelationGetNumberOfBlocks(heap);
	n = mdb_shadow_runs(table->storage_id, SnapshotSelf, &runs);
	qsort(runs, n, sizeof(MdbShadowRun), block_cmp);
	for (BlockNumber block = 0; block < nblocks; block++)
	{
		Buffer buf;
		int64 run;

		while (at < n && runs[at].block < (int64) block)
			at++;
		if (at < n && runs[at].block == (int64) block)
			continue;
		mdb_vacuum_delay();
		buf = ReadBufferExtended(heap, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
		run = run_on_page(buf);
		/* Who is about to name the page holds this lock.  He has done so if we get it. */
		if (run >= 0 && mdb_shadow_lock_run(heap, run))
		{
			if (mdb_shadow_block(table->storage_id, run) != block)
			{
				free_page(heap, buf, &map, run);
				freed++;
			}
			mdb_shadow_unlock_run(heap, run);
		}
		ReleaseBuffer(buf);
	}
	if (BufferIsValid(map))
		ReleaseBuffer(map);
	pfree(runs);
	return freed;
}
