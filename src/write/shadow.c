/*
 * shadow.c
 *	  Shadows: how rows of parts, which never change, are deleted, updated and locked.
 *
 * A row of a part that somebody wants to change or lock gets a shadow: a tuple in the row heap that
 * stands for it, whose columns but one are NULL: the row's number.  Whoever deletes, updates or locks
 * the row does that to its shadow, by the heap's own functions; so conflicts, waits, update chains
 * and everything that snapshots see of them are those of a heap.  A row without a shadow is one that
 * nobody has touched.
 *
 * Shadows come by runs: a page of the row heap holds those of MDB_RUN_ROWS consecutive row numbers,
 * made at once, and metricsdb.shadow says which page that is.
 *
 * Invariants:
 *	1. Shadows and the rows of metricsdb.shadow are frozen at once: everybody sees them,
 *	   also if their maker aborts.  That changes nothing for anybody: a shadow says "not deleted".
 *	   So the catalog is read with SnapshotSelf, which takes no predicate locks either.
 *	2. The shadow of row r is item 1 + r % MDB_RUN_ROWS of its page and has the number r.  If that item
 *	   is anything else, the shadow was deleted and removed: the row is dead to everybody.
 *	3. Nobody touches a shadow but under a lock on its part (part_lock.c), which keeps merges away.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/generic_xlog.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/freespace.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "stop.h"
#include "write/write.h"

enum
{
	Anum_shadow_storage_id = 1,
	Anum_shadow_run,
	Anum_shadow_block,
	Natts_shadow = Anum_shadow_block
};

struct MdbShadows
{
	Relation rel;  /* the table */
	Relation heap; /* the row heap */
	int64 storage_id;
	int64 first; /* runs first .. last are known: */
	int64 last;
	int nruns;
	int capacity;
	int64 *runs; /* those that have a page, rising */
	BlockNumber *blocks;
};

/*
 * mdb_shadow_of - the row number that a tuple of a delta heap stands for, or -1 if it is a row.
 */
int64
mdb_shadow_of(HeapTupleHeader tuple)
{
	int64 row;

	if (!(tuple->t_infomask & HEAP_HASNULL) || HeapTupleHeaderGetNatts(tuple) < Anum_delta_shadow ||
		(tuple->t_bits[0] & 0x03) != 0x02)
		return -1;
	memcpy(&row, (char *) tuple + tuple->t_hoff, sizeof(row));
	return row;
}

/*
 * mdb_shadow_runs - the runs of a storage that have a page, by the catalog, by rising number.
 */
int
mdb_shadow_runs(int64 storage_id, Snapshot snapshot, MdbShadowRun **runs)
{
	Relation catalog = mdb_catalog_open("shadow", AccessShareLock);
	Relation index = index_open(mdb_catalog_index(catalog), AccessShareLock);
	int capacity = 64;
	int n = 0;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	*runs = palloc(capacity * sizeof(MdbShadowRun));
	ScanKeyInit(&key, Anum_shadow_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	scan = systable_beginscan_ordered(catalog, index, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		bool isnull;

		if (n == capacity)
		{
			capacity *= 2;
			*runs = repalloc_huge(*runs, capacity * sizeof(MdbShadowRun));
		}
		(*runs)[n].tid = tuple->t_self;
		(*runs)[n].run =
			DatumGetInt64(heap_getattr(tuple, Anum_shadow_run, RelationGetDescr(catalog), &isnull));
		(*runs)[n++].block =
			DatumGetInt64(heap_getattr(tuple, Anum_shadow_block, RelationGetDescr(catalog), &isnull));
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(catalog, AccessShareLock);
	return n;
}

/* Read which runs between two there are. */
static void
load_runs(MdbShadows *s, int64 first, int64 last)
{
	Relation catalog = mdb_catalog_open("shadow", AccessShareLock);
	Relation index = index_open(mdb_catalog_index(catalog), AccessShareLock);
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple tuple;

	s->nruns = 0;
	s->first = first;
	s->last = last;
	ScanKeyInit(&keys[0], Anum_shadow_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(s->storage_id));
	ScanKeyInit(&keys[1], Anum_shadow_run, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(first));
	ScanKeyInit(&keys[2], Anum_shadow_run, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(last));
	scan = systable_beginscan_ordered(catalog, index, SnapshotSelf, 3, keys);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		bool isnull;

		if (s->nruns == s->capacity)
		{
			MemoryContext cxt = GetMemoryChunkContext(s);

			s->capacity = Max(16, s->capacity * 2);
			s->runs = s->runs ? repalloc_huge(s->runs, s->capacity * sizeof(int64))
							  : MemoryContextAlloc(cxt, s->capacity * sizeof(int64));
			s->blocks = s->blocks ? repalloc_huge(s->blocks, s->capacity * sizeof(BlockNumber))
								  : MemoryContextAlloc(cxt, s->capacity * sizeof(BlockNumber));
		}
		s->runs[s->nruns] =
			DatumGetInt64(heap_getattr(tuple, Anum_shadow_run, RelationGetDescr(catalog), &isnull));
		s->blocks[s->nruns++] = (BlockNumber) DatumGetInt64(
			heap_getattr(tuple, Anum_shadow_block, RelationGetDescr(catalog), &isnull));
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(catalog, AccessShareLock);
}

/*
 * mdb_shadows_exist - has any row of a storage a shadow by now?
 */
bool
mdb_shadows_exist(int64 storage_id)
{
	Relation catalog = mdb_catalog_open("shadow", AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	bool any;

	ScanKeyInit(&key, Anum_shadow_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	scan = systable_beginscan(catalog, mdb_catalog_index(catalog), true, SnapshotSelf, 1, &key);
	any = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return any;
}

/*
 * mdb_shadows_open - the shadows of a table as they are now, in CurrentMemoryContext; NULL if no
 * row of it has one.
 *
 * For a scan that is enough: who comes to have a shadow later is deleted later.
 */
MdbShadows *
mdb_shadows_open(Relation rel, const MdbTable *table)
{
	MdbShadows *s;

	if (!mdb_shadows_exist(table->storage_id))
		return NULL;
	s = palloc0(sizeof(MdbShadows));
	s->rel = rel;
	s->storage_id = table->storage_id;
	s->first = 0;
	s->last = -1;
	s->heap = table_open(mdb_delta_relid(table->storage_id, MDB_ROWS_SLOT), AccessShareLock);
	return s;
}

/*
 * mdb_shadows_close - the lock on the row heap stays to the end of the transaction.
 */
void
mdb_shadows_close(MdbShadows *s)
{
	if (s == NULL)
		return;
	table_close(s->heap, NoLock);
	if (s->runs)
		pfree(s->runs);
	if (s->blocks)
		pfree(s->blocks);
	pfree(s);
}

/* What has become of a row, by its shadow, on a locked page. */
static uint8
fate_of(MdbShadows *s, Page page, Buffer buf, OffsetNumber off, int64 row, Snapshot snapshot,
		TransactionId oldest_xmin)
{
	ItemId item;
	HeapTupleData tuple;
	bool alive;

	if (PageIsNew(page) || off > PageGetMaxOffsetNumber(page))
		return MDB_ROW_DEAD;
	item = PageGetItemId(page, off);
	if (!ItemIdIsNormal(item))
		return MDB_ROW_DEAD;
	tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
	tuple.t_len = ItemIdGetLength(item);
	tuple.t_tableOid = RelationGetRelid(s->heap);
	ItemPointerSet(&tuple.t_self, BufferGetBlockNumber(buf), off);
	if (mdb_shadow_of(tuple.t_data) != row)
		return MDB_ROW_DEAD;
	if ((tuple.t_data->t_infomask & (HEAP_XMAX_INVALID | HEAP_XMIN_FROZEN)) ==
		(HEAP_XMAX_INVALID | HEAP_XMIN_FROZEN))
		return MDB_ROW_LIVE;
	if (snapshot == NULL && !TransactionIdIsValid(oldest_xmin))
		return MDB_ROW_LIVE;
	if (snapshot == NULL)
		switch (HeapTupleSatisfiesVacuum(&tuple, oldest_xmin, buf))
		{
			case HEAPTUPLE_LIVE:
				return MDB_ROW_LIVE;
			case HEAPTUPLE_DEAD:
				return MDB_ROW_DEAD;
			default:
				return MDB_ROW_LEAVING;
		}
	alive = HeapTupleSatisfiesVisibility(&tuple, snapshot, buf);
	HeapCheckForSerializableConflictOut(alive, s->rel, &tuple, buf, snapshot);
	return alive ? MDB_ROW_LIVE : MDB_ROW_DEAD;
}

/* Note what has become of rows [from, to) of a run, from the page of their shadows, in fate[row - base]. */
static bool
read_run(MdbShadows *s, BlockNumber block, int64 from, int64 to, int64 base, Snapshot snapshot,
		 TransactionId oldest_xmin, uint8 *fate)
{
	bool any = false;
	Buffer buf;

	if (block >= RelationGetNumberOfBlocks(s->heap))
	{
		memset(fate + (from - base), MDB_ROW_DEAD, to - from);
		return true;
	}
	buf = ReadBuffer(s->heap, block);
	LockBuffer(buf, BUFFER_LOCK_SHARE);
	for (int64 row = from; row < to; row++)
	{
		OffsetNumber off = (OffsetNumber) (FirstOffsetNumber + row % MDB_RUN_ROWS);

		fate[row - base] = fate_of(s, BufferGetPage(buf), buf, off, row, snapshot, oldest_xmin);
		any |= fate[row - base] != MDB_ROW_LIVE;
	}
	UnlockReleaseBuffer(buf);
	return any;
}

static bool
read_fates(MdbShadows *s, int64 first, uint32 n, Snapshot snapshot, TransactionId oldest_xmin, uint8 *fate)
{
	int64 run = first / MDB_RUN_ROWS;
	int64 last_run = (first + n - 1) / MDB_RUN_ROWS;
	bool any = false;
	int lo = 0, hi;

	if (s == NULL || n == 0)
		return false;
	/* Blocks are mostly read one after the other: know some way ahead. */
	if (run < s->first || last_run > s->last)
		load_runs(s, run, last_run + 4096);
	hi = s->nruns;
	while (lo < hi)
	{
		int mid = (lo + hi) / 2;

		if (s->runs[mid] < run)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < s->nruns && s->runs[lo] <= last_run; lo++)
	{
		int64 from = Max(first, s->runs[lo] * MDB_RUN_ROWS);
		int64 to = Min(first + n, (s->runs[lo] + 1) * MDB_RUN_ROWS);

		if (!any)
			memset(fate, MDB_ROW_LIVE, n);
		any |= read_run(s, s->blocks[lo], from, to, first, snapshot, oldest_xmin, fate);
	}
	return any;
}

/*
 * mdb_shadows_dead - which of the rows first .. first + n - 1 of the storage the snapshot does not
 * see any more: dead[i] is 1 or 0.  False if none, dead is not touched then.
 */
bool
mdb_shadows_dead(MdbShadows *s, int64 first, uint32 n, Snapshot snapshot, uint8 *dead)
{
	return read_fates(s, first, n, snapshot, InvalidTransactionId, dead);
}

/*
 * mdb_shadows_fates - what has become of these rows, MDB_ROW_*, for whoever may have a snapshot that is
 * not older than oldest_xmin.  False if they are all alive, fate is not touched then.
 */
bool
mdb_shadows_fates(MdbShadows *s, int64 first, uint32 n, TransactionId oldest_xmin, uint8 *fate)
{
	return read_fates(s, first, n, NULL, oldest_xmin, fate);
}

/*
 * mdb_shadows_gone - which of these rows have a shadow that was pruned, gone[i] is MDB_ROW_DEAD then.
 * False if none, gone is not touched then.
 */
bool
mdb_shadows_gone(MdbShadows *s, int64 first, uint32 n, uint8 *gone)
{
	return read_fates(s, first, n, NULL, InvalidTransactionId, gone);
}

/* The page of a run, or InvalidBlockNumber. */
static BlockNumber
find_run(Relation catalog, int64 storage_id, int64 run)
{
	BlockNumber block = InvalidBlockNumber;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&keys[0], Anum_shadow_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	ScanKeyInit(&keys[1], Anum_shadow_run, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(run));
	scan = systable_beginscan(catalog, mdb_catalog_index(catalog), true, SnapshotSelf, 2, keys);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;

		block = (BlockNumber) DatumGetInt64(
			heap_getattr(tuple, Anum_shadow_block, RelationGetDescr(catalog), &isnull));
	}
	systable_endscan(scan);
	return block;
}

/*
 * mdb_shadow_block - the page that the catalog names for a run now, or InvalidBlockNumber.
 */
BlockNumber
mdb_shadow_block(int64 storage_id, int64 run)
{
	Relation catalog = mdb_catalog_open("shadow", AccessShareLock);
	BlockNumber block = find_run(catalog, storage_id, run);

	table_close(catalog, AccessShareLock);
	return block;
}

/* What is locked while a run's page is made: some page of the row heap, which need not be there. */
static BlockNumber
lock_of_run(int64 run)
{
	return (BlockNumber) (run % MaxBlockNumber);
}

/*
 * mdb_shadow_lock_run, mdb_shadow_unlock_run - keep others from making a run's page; false, without
 * waiting, if somebody is at it.
 */
bool
mdb_shadow_lock_run(Relation heap, int64 run)
{
	return ConditionalLockPage(heap, lock_of_run(run), ExclusiveLock);
}

void
mdb_shadow_unlock_run(Relation heap, int64 run)
{
	UnlockPage(heap, lock_of_run(run), ExclusiveLock);
}

/* Has VACUUM left nothing on a page? */
static bool
page_is_free(Page page)
{
	if (PageIsNew(page))
		return false;
	for (OffsetNumber off = FirstOffsetNumber; off <= PageGetMaxOffsetNumber(page); off++)
		if (ItemIdIsUsed(PageGetItemId(page, off)))
			return false;
	return true;
}

/* A page of the row heap for shadows, locked: an empty one if the free space map knows one, else a new one. */
static Buffer
take_page(Relation heap, bool *reused)
{
	Buffer buf;

	*reused = false;
	for (int attempt = 0; attempt < 3; attempt++)
	{
		BlockNumber block = GetPageWithFreeSpace(heap, MaxHeapTupleSize);

		if (!BlockNumberIsValid(block) || block >= RelationGetNumberOfBlocks(heap))
			break;
		buf = ReadBuffer(heap, block);
		LockBuffer(buf, BUFFER_LOCK_EXCLUSIVE);
		*reused = page_is_free(BufferGetPage(buf));
		RecordPageWithFreeSpace(heap, block, *reused ? 0 : PageGetHeapFreeSpace(BufferGetPage(buf)));
		if (*reused)
			return buf;
		UnlockReleaseBuffer(buf);
	}
	LockRelationForExtension(heap, ExclusiveLock);
	buf = ReadBufferExtended(heap, MAIN_FORKNUM, P_NEW, RBM_ZERO_AND_LOCK, NULL);
	UnlockRelationForExtension(heap, ExclusiveLock);
	return buf;
}

/* A page of the row heap with the shadows of a run. */
static BlockNumber
make_page(Relation heap, int64 run)
{
	BlockNumber block;
	Buffer buf;
	Page page;
	bool reused;
	Datum values[Natts_delta_row] = {0};
	bool isnull[Natts_delta_row] = {true, false, true};
	HeapTuple tuples[MDB_RUN_ROWS];

	for (int i = 0; i < MDB_RUN_ROWS; i++)
	{
		HeapTupleHeader header;

		values[Anum_delta_shadow - 1] = Int64GetDatum(run * MDB_RUN_ROWS + i);
		tuples[i] = heap_form_tuple(RelationGetDescr(heap), values, isnull);
		header = tuples[i]->t_data;
		/* As heap_insert() leaves a frozen row. */
		header->t_infomask &= ~HEAP_XACT_MASK;
		header->t_infomask2 &= ~HEAP2_XACT_MASK;
		HeapTupleHeaderSetXmin(header, GetTopTransactionId());
		HeapTupleHeaderSetXminFrozen(header);
		HeapTupleHeaderSetCmin(header, FirstCommandId);
		HeapTupleHeaderSetXmax(header, InvalidTransactionId);
		header->t_infomask |= HEAP_XMAX_INVALID;
	}

	buf = take_page(heap, &reused);
	block = BufferGetBlockNumber(buf);
	page = BufferGetPage(buf);

	START_CRIT_SECTION();
	PageInit(page, BLCKSZ, 0);
	/* The visibility map may say so of the empty page, and it is true of what comes on it now. */
	if (reused)
		PageSetAllVisible(page);
	for (int i = 0; i < MDB_RUN_ROWS; i++)
	{
		HeapTupleHeader header = tuples[i]->t_data;

		ItemPointerSet(&header->t_ctid, block, (OffsetNumber) (FirstOffsetNumber + i));
		if (PageAddItem(page, (Item) header, tuples[i]->t_len, FirstOffsetNumber + i, false, true) !=
			FirstOffsetNumber + i)
			elog(PANIC, "could not add a shadow to a new page");
	}
	MarkBufferDirty(buf);
	if (RelationNeedsWAL(heap))
		log_newpage_buffer(buf, true);
	END_CRIT_SECTION();
	UnlockReleaseBuffer(buf);
	for (int i = 0; i < MDB_RUN_ROWS; i++)
		heap_freetuple(tuples[i]);
	return block;
}

/*
 * Insert the row that names the page of a run.  It is frozen when its index entries are made: what a crash
 * in between leaves is a row of an aborted transaction, which names nothing, by no way.
 */
static void
name_page(Relation catalog, int64 storage_id, int64 run, BlockNumber block)
{
	Datum values[Natts_shadow];
	bool nulls[Natts_shadow] = {0};
	ItemPointerData tid;
	GenericXLogState *state;
	Buffer buf;
	Page page;

	values[Anum_shadow_storage_id - 1] = Int64GetDatum(storage_id);
	values[Anum_shadow_run - 1] = Int64GetDatum(run);
	values[Anum_shadow_block - 1] = Int64GetDatum(block);
	tid = mdb_catalog_insert(catalog, values, nulls, GetCurrentCommandId(true), 0);

	buf = ReadBuffer(catalog, ItemPointerGetBlockNumber(&tid));
	LockBuffer(buf, BUFFER_LOCK_EXCLUSIVE);
	state = GenericXLogStart(catalog);
	page = GenericXLogRegisterBuffer(state, buf, 0);
	HeapTupleHeaderSetXminFrozen(
		(HeapTupleHeader) PageGetItem(page, PageGetItemId(page, ItemPointerGetOffsetNumber(&tid))));
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buf);
}

/*
 * Neighbours are touched one after the other: the run of the last one.  Not for longer than a statement, as
 * numbers come round.
 */
static int64 last_storage = 0;
static LocalTransactionId last_lxid;
static TimestampTz last_statement;
static int64 last_run;
static BlockNumber last_block;

/*
 * mdb_shadows_forget - the row heap was emptied by the transaction that made it.
 */
void
mdb_shadows_forget(int64 storage_id)
{
	last_storage = 0;
	mdb_catalog_delete("shadow", storage_id);
}

/*
 * mdb_shadow_tid - where the shadow of a row is in the row heap.  If its run has none yet: made if
 * make is set, else false is returned.  heap is the row heap, locked for writing if make is set.
 */
bool
mdb_shadow_tid(Relation heap, int64 storage_id, int64 row, bool make, ItemPointer tid)
{
	int64 run = row / MDB_RUN_ROWS;

	if (storage_id != last_storage || run != last_run || mdb_my_lxid() != last_lxid ||
		GetCurrentStatementStartTimestamp() != last_statement)
	{
		Relation catalog = mdb_catalog_open("shadow", make ? RowExclusiveLock : AccessShareLock);
		BlockNumber block = find_run(catalog, storage_id, run);

		if (!BlockNumberIsValid(block) && make)
		{
			/* One of those who want it makes it. */
			LockPage(heap, lock_of_run(run), ExclusiveLock);
			block = find_run(catalog, storage_id, run);
			if (!BlockNumberIsValid(block))
			{
				block = make_page(heap, run);
				MDB_STOP("shadow.page");
				name_page(catalog, storage_id, run, block);
				MDB_STOP("shadow.row");
			}
			mdb_shadow_unlock_run(heap, run);
		}
		table_close(catalog, NoLock);
		if (!BlockNumberIsValid(block))
			return false;
		last_storage = storage_id;
		last_run = run;
		last_block = block;
		last_lxid = mdb_my_lxid();
		last_statement = GetCurrentStatementStartTimestamp();
	}
	ItemPointerSet(tid, last_block, (OffsetNumber) (FirstOffsetNumber + row % MDB_RUN_ROWS));
	return true;
}

/*
 * mdb_shadow_header - a copy of the header of a row's shadow; false if it has none.
 */
bool
mdb_shadow_header(Relation heap, int64 storage_id, int64 row, HeapTupleHeader header)
{
	HeapTupleData tuple;
	Buffer buf;
	bool found = false;

	if (!mdb_shadow_tid(heap, storage_id, row, false, &tuple.t_self) ||
		ItemPointerGetBlockNumber(&tuple.t_self) >= RelationGetNumberOfBlocks(heap) ||
		!heap_fetch(heap, SnapshotAny, &tuple, &buf, false))
		return false;
	LockBuffer(buf, BUFFER_LOCK_SHARE);
	found = mdb_shadow_of(tuple.t_data) == row;
	memcpy(header, tuple.t_data, SizeofHeapTupleHeader);
	UnlockReleaseBuffer(buf);
	return found;
}

/*
 * mdb_shadow_alive - does a snapshot of whatever kind see a row of a part that it sees?
 *
 * A dirty snapshot is told who is deleting it.  *gone, unless it is NULL, is set if its shadow was pruned.
 */
bool
mdb_shadow_alive(Relation rel, Relation heap, int64 storage_id, int64 row, Snapshot snapshot, bool *gone)
{
	bool found = false;
	ItemPointerData tid;
	Buffer buf;
	Page page;
	bool alive = false;

	if (!mdb_shadow_tid(heap, storage_id, row, false, &tid))
		return true;
	if (ItemPointerGetBlockNumber(&tid) >= RelationGetNumberOfBlocks(heap))
	{
		if (gone)
			*gone = true;
		return false;
	}
	buf = ReadBuffer(heap, ItemPointerGetBlockNumber(&tid));
	LockBuffer(buf, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buf);
	if (!PageIsNew(page) && ItemPointerGetOffsetNumber(&tid) <= PageGetMaxOffsetNumber(page))
	{
		ItemId item = PageGetItemId(page, ItemPointerGetOffsetNumber(&tid));

		if (ItemIdIsNormal(item))
		{
			HeapTupleData tuple;

			tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
			tuple.t_len = ItemIdGetLength(item);
			tuple.t_tableOid = RelationGetRelid(heap);
			tuple.t_self = tid;
			if (mdb_shadow_of(tuple.t_data) == row)
			{
				found = true;
				alive = HeapTupleSatisfiesVisibility(&tuple, snapshot, buf);
				HeapCheckForSerializableConflictOut(alive, rel, &tuple, buf, snapshot);
			}
		}
	}
	UnlockReleaseBuffer(buf);
	if (gone)
		*gone = !found;
	return alive;
}

/*
 * mdb_shadows_collect - give up the shadows of rows whose parts are gone for all.  True if there were
 * some.
 *
 * Nobody comes to touch them any more, as there is no part to lock.
 */
bool
mdb_shadows_collect(Relation rel, const MdbTable *table)
{
	Relation catalog;
	Relation heap;
	Snapshot snapshot;
	MdbShadowRun *runs;
	MdbRowRange *ranges;
	int nruns, n;
	int at = 0;
	int64 next_run;
	bool used = false;
	bool any = false;
	MdbMeta meta;

	if (!mdb_shadows_exist(table->storage_id))
		return false;
	heap = table_open(mdb_delta_relid(table->storage_id, MDB_ROWS_SLOT), RowExclusiveLock);
	catalog = mdb_catalog_open("shadow", RowExclusiveLock);
	/* Runs first: one that comes later may be of a part in a window that is opened later. */
	nruns = mdb_shadow_runs(table->storage_id, SnapshotSelf, &runs);
	/* Under this lock numbers are given out and the rows of their parts inserted. */
	mdb_space_lock(rel);
	mdb_meta_read(rel, &meta);
	mdb_part_ranges(table, &ranges, &n);
	next_run = meta.next_row / MDB_RUN_ROWS;
	for (int i = 0; i < n; i++)
		used |= ranges[i].first < (next_run + 1) * MDB_RUN_ROWS && ranges[i].end > next_run * MDB_RUN_ROWS;
	/* Of the run whose last numbers are still to come these are given up if the others are unused. */
	if (meta.next_row % MDB_RUN_ROWS != 0 && meta.next_row < meta.row_limit && !used &&
		BlockNumberIsValid(find_run(catalog, table->storage_id, next_run)))
	{
		mdb_meta_skip_rows(rel, (next_run + 1) * MDB_RUN_ROWS);
		mdb_meta_read(rel, &meta);
	}
	mdb_space_unlock(rel);
	MDB_STOP("shadow.ranges");
	snapshot = mdb_latest_snapshot();
	for (int i = 0; i < nruns; i++)
	{
		int64 run = runs[i].run;
		BlockNumber block = (BlockNumber) runs[i].block;

		CHECK_FOR_INTERRUPTS();
		/* Runs come in order.  Ranges overlap only where a part was moved and kept its numbers. */
		while (at < n && ranges[at].end <= run * MDB_RUN_ROWS)
			at++;
		if ((run * MDB_RUN_ROWS < meta.row_limit && (run + 1) * MDB_RUN_ROWS > meta.next_row) ||
			(at < n && ranges[at].first < (run + 1) * MDB_RUN_ROWS))
			continue;
		for (int64 row = run * MDB_RUN_ROWS; row < (run + 1) * MDB_RUN_ROWS; row++)
		{
			HeapTupleData shadow;
			Buffer buf;
			TM_FailureData tmfd;
			bool ours;

			ItemPointerSet(&shadow.t_self, block, (OffsetNumber) (FirstOffsetNumber + row % MDB_RUN_ROWS));
			if (block >= RelationGetNumberOfBlocks(heap) || !heap_fetch(heap, snapshot, &shadow, &buf, false))
				continue;
			ours = mdb_shadow_of(shadow.t_data) == row;
			ReleaseBuffer(buf);
			if (ours)
				(void) heap_delete(heap, &shadow.t_self, GetCurrentCommandId(true), InvalidSnapshot, false,
								   &tmfd, false);
		}
		MDB_STOP("shadow.collect");
		simple_heap_delete(catalog, &runs[i].tid);
		any = true;
	}
	UnregisterSnapshot(snapshot);
	table_close(catalog, NoLock);
	table_close(heap, NoLock);
	pfree(ranges);
	pfree(runs);
	last_storage = 0;
	return any;
}
