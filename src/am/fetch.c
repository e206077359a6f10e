/*
 * fetch.c
 *	  Rows by their identity: for index scans, TID scans, triggers, and whoever is about to change one.
 *
 * Neighbouring rows are mostly asked for one after the other, so the part and the block of the last
 * one are kept decoded.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "am/am.h"
#include "metricsdb.h"

/* Rows of parts that are not of the part of the last one: so many are looked up before the list is read. */
#define LOOK_UPS_MAX 8

/*
 * What makes two MVCC snapshots see the same.  Of the transactions below xmax that run none is ever added: if they
 * are as many, they are the same.  On a standby all of them are among the subtransactions, also if these are too many.
 */
typedef struct SnapshotId
{
	TransactionId xmin;
	TransactionId xmax;
	uint32 xcnt;
	int32 subxcnt;
	uint32 overflowed;
	CommandId curcid;
} SnapshotId;

struct MdbFetch
{
	MemoryContext mcxt; /* this */
	Oid relid;
	MdbTable *table;
	TupleDesc desc;

	/* what a snapshot sees, in a context of its own */
	MemoryContext view_mcxt;
	bool has_view;
	SnapshotId view;
	MdbPartInfo one; /* the part that was looked up last; nrows = 0: none */
	int nlook_ups;
	MdbPartInfo *parts; /* all, by row number; NULL: not read yet */
	int nparts;
	bool has_shadows;
	MdbSeriesCache *series_cache;

	/* the part and the block of the last row */
	MdbPart *part;
	MdbBlock *block;
	int64 block_first; /* row number */
	uint32 block_rows;
	MemoryContext row_mcxt;

	/* heaps of the delta that are kept open, if the fetch ends with its resource owner */
	bool keeps_heaps;
	Relation heaps[MDB_DELTA_SLOTS];

	/* the page of a chain of versions of which others may be asked for; so it is not pruned */
	Buffer chain_page;
};

/*
 * mdb_fetch_begin - in CurrentMemoryContext.
 */
MdbFetch *
mdb_fetch_begin(Relation rel)
{
	MemoryContext mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb fetch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	MdbFetch *f = palloc0(sizeof(MdbFetch));
	MdbTable *table = mdb_table(rel);

	f->mcxt = mcxt;
	f->relid = RelationGetRelid(rel);
	f->table = table;
	f->desc = RelationGetDescr(rel);
	f->view_mcxt = AllocSetContextCreate(mcxt, "metricsdb fetch view", ALLOCSET_DEFAULT_SIZES);
	f->row_mcxt = AllocSetContextCreate(mcxt, "metricsdb fetch row", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(old);
	return f;
}

/*
 * mdb_fetch_keep_heaps - what begins and ends in one portal, as index scans do, need not open the heaps of
 * the delta anew for each row.
 */
void
mdb_fetch_keep_heaps(MdbFetch *f)
{
	f->keeps_heaps = true;
}

/*
 * mdb_fetch_reset - no more versions of the row that was fetched last are asked for.
 */
void
mdb_fetch_reset(MdbFetch *f)
{
	if (BufferIsValid(f->chain_page))
		ReleaseBuffer(f->chain_page);
	f->chain_page = InvalidBuffer;
}

/*
 * mdb_fetch_end - free it.
 */
void
mdb_fetch_end(MdbFetch *f)
{
	mdb_fetch_reset(f);
	for (int slot = 0; slot < MDB_DELTA_SLOTS; slot++)
		if (f->heaps[slot])
			table_close(f->heaps[slot], NoLock);
	MemoryContextDelete(f->mcxt);
}

static void
forget_view(MdbFetch *f)
{
	MemoryContextReset(f->view_mcxt);
	f->has_view = false;
	f->one.nrows = 0;
	f->nlook_ups = 0;
	f->parts = NULL;
	f->part = NULL;
	f->block = NULL;
	f->block_rows = 0;
}

static int
row_cmp(const void *a, const void *b)
{
	const MdbPartInfo *x = a, *y = b;

	return x->row_first < y->row_first ? -1 : x->row_first > y->row_first;
}

/* See to it that what is known of parts is what an MVCC snapshot sees. */
static void
use_view(MdbFetch *f, Snapshot snapshot)
{
	SnapshotId id = {0};

	id.xmin = snapshot->xmin;
	id.xmax = snapshot->xmax;
	id.xcnt = snapshot->xcnt;
	id.subxcnt = snapshot->subxcnt;
	id.overflowed = snapshot->suboverflowed;
	id.curcid = snapshot->curcid;
	if (f->has_view && memcmp(&id, &f->view, sizeof(id)) == 0)
		return;
	forget_view(f);
	f->has_shadows = mdb_shadows_exist(f->table->storage_id);
	f->view = id;
	f->has_view = true;
}

static void
read_parts(MdbFetch *f, Snapshot snapshot)
{
	MemoryContext old = MemoryContextSwitchTo(f->view_mcxt);
	MdbPartList *list = mdb_parts_visible(f->table, snapshot);

	qsort(list->parts, list->count, sizeof(MdbPartInfo), row_cmp);
	f->parts = list->parts;
	f->nparts = list->count;
	MemoryContextSwitchTo(old);
}

/* The part that holds a row for the snapshot of the view. */
static const MdbPartInfo *
part_in_view(MdbFetch *f, int64 row, Snapshot snapshot)
{
	int lo = 0, hi;

	if (f->parts == NULL)
	{
		if (f->one.nrows > 0 && row >= f->one.row_first && row < f->one.row_first + f->one.nrows)
			return &f->one;
		if (f->nlook_ups++ < LOOK_UPS_MAX)
		{
			if (mdb_part_covering(f->table, row, snapshot, &f->one))
				return &f->one;
			f->one.nrows = 0;
			return NULL;
		}
		read_parts(f, snapshot);
	}
	hi = f->nparts;
	while (lo < hi)
	{
		int mid = (lo + hi) / 2;

		if (f->parts[mid].row_first + f->parts[mid].nrows <= row)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < f->nparts && f->parts[lo].row_first <= row ? &f->parts[lo] : NULL;
}

/* Let f->block be the block of a part that holds a row. */
static void
use_block(MdbFetch *f, Relation rel, const MdbPartInfo *info, int64 row, Snapshot snapshot)
{
	MemoryContext old;
	int lo = 0, hi = info->nblocks;

	/* A part that was moved for space is the same, but elsewhere. */
	if (f->part && (f->part->info.part_id != info->part_id || f->part->info.page_first != info->page_first))
	{
		mdb_part_close(f->part);
		f->part = NULL;
		f->block_rows = 0;
	}
	if (f->part)
	{
		f->part->rel = rel;
		if (f->block_rows > 0 && row >= f->block_first && row < f->block_first + f->block_rows)
			return;
	}
	old = MemoryContextSwitchTo(f->view_mcxt);
	if (f->part == NULL)
		f->part = mdb_part_open_cached(rel, info);
	if (f->block == NULL)
	{
		f->series_cache = mdb_series_cache_create(f->table, NULL);
		f->block = mdb_block_create(f->table, f->desc, f->series_cache);
	}
	while (hi - lo > 1)
	{
		int mid = (lo + hi) / 2;

		if (f->part->block_first[mid] <= row)
			lo = mid;
		else
			hi = mid;
	}
	mdb_block_set(f->block, f->part, lo);
	f->block_first = f->part->block_first[lo];
	f->block_rows = f->block->nrows;
	MemoryContextSwitchTo(old);
}

/*
 * Is a slot of the ring one that the snapshot reads?  Its rows may be in parts by now.  Who asks what
 * is true now, and not at some time before, gets them from there.
 */
static bool
slot_is_live(MdbFetch *f, Relation rel, int16 slot, Snapshot snapshot)
{
	bool now = snapshot->snapshot_type == SNAPSHOT_DIRTY || snapshot->snapshot_type == SNAPSHOT_SELF;
	MdbDeltaInfo *deltas;
	MdbMeta meta;
	int count;
	bool live = false;

	if (slot == MDB_ROWS_SLOT)
		return true;
	mdb_meta_read(rel, &meta);
	if (meta.delta_slot == slot)
		return true;
	mdb_delta_live(f->table, IsMVCCSnapshot(snapshot) || now ? snapshot : GetActiveSnapshot(), &deltas,
				   &count);
	for (int i = 0; i < count; i++)
		live |= deltas[i].slot == slot;
	pfree(deltas);
	return live;
}

static Relation
open_heap(MdbFetch *f, int16 slot)
{
	Relation heap = f->heaps[slot];

	if (heap)
		return heap;
	heap = table_open(mdb_delta_relid(f->table->storage_id, slot), AccessShareLock);
	if (f->keeps_heaps)
		f->heaps[slot] = heap;
	return heap;
}

static void
close_heap(MdbFetch *f, Relation heap)
{
	if (!f->keeps_heaps)
		table_close(heap, NoLock);
}

/*
 * A serializable transaction has read a row.  If the row moves, who changes it then knows another identity: the
 * mover turns locks on identities into locks on the table, once its map can be seen (mdb_moved_locks).  Who
 * comes too late for that sees the map.
 */
static void
lock_read(MdbFetch *f, Relation rel, ItemPointer tid, Snapshot snapshot)
{
	if (!IsolationIsSerializable() || !IsMVCCSnapshot(snapshot))
		return;
	PredicateLockTID(rel, tid, snapshot, InvalidTransactionId);
	if (mdb_moved_or_moving(f->table->storage_id, mdb_identity(tid)))
		PredicateLockRelation(rel, snapshot);
}

/*
 * A row of the delta by its identity.  chain: by that of a chain of HOT updates, as entries of indexes have it,
 * which becomes that of the version; again: the one after the one that was found last.
 */
static bool
fetch_delta(MdbFetch *f, Relation rel, ItemPointer tid, bool chain, bool again, Snapshot snapshot,
			TupleTableSlot *slot, bool *all_dead)
{
	int16 delta_slot = mdb_tid_slot(tid);
	MemoryContext old = MemoryContextSwitchTo(f->row_mcxt);
	HeapTupleData tuple;
	Buffer buf = InvalidBuffer;
	bool found = false;
	Relation heap;

	if (!slot_is_live(f, rel, delta_slot, snapshot))
	{
		MemoryContextSwitchTo(old);
		return false;
	}
	heap = open_heap(f, delta_slot);
	mdb_tid_in_heap(tid, &tuple.t_self);
	if (ItemPointerGetBlockNumber(&tuple.t_self) < RelationGetNumberOfBlocks(heap))
	{
		if (chain)
		{
			ItemPointerData at = tuple.t_self;

			if (again)
				buf = f->chain_page;
			else
			{
				buf = ReadBuffer(heap, ItemPointerGetBlockNumber(&at));
				heap_page_prune_opt(heap, buf);
			}
			f->chain_page = InvalidBuffer;
			LockBuffer(buf, BUFFER_LOCK_SHARE);
			found = heap_hot_search_buffer(&at, heap, buf, snapshot, &tuple, all_dead, !again);
			LockBuffer(buf, BUFFER_LOCK_UNLOCK);
			tuple.t_self = at;
			if (found)
				mdb_tid_of_delta(delta_slot, &at, tid);
		}
		else
			found = heap_fetch(heap, snapshot, &tuple, &buf, true);
		if (found)
		{
			bool isnull;
			Datum row = heap_getattr(&tuple, Anum_delta_row, RelationGetDescr(heap), &isnull);

			found = !isnull;
			if (found && slot)
			{
				mdb_slot_store_tuple(slot, mdb_delta_row(row));
				mdb_slot_set_header(slot, tuple.t_data);
			}
		}
		else if (!chain && tuple.t_data)
		{
			LockBuffer(buf, BUFFER_LOCK_SHARE);
			*all_dead = HeapTupleIsSurelyDead(&tuple, GlobalVisTestFor(heap));
			LockBuffer(buf, BUFFER_LOCK_UNLOCK);
		}
		else if (!chain)
			*all_dead = true;
		if (found && chain && !IsMVCCSnapshot(snapshot))
			f->chain_page = buf;
		else if (BufferIsValid(buf))
			ReleaseBuffer(buf);
	}
	close_heap(f, heap);
	MemoryContextSwitchTo(old);
	if (found)
		lock_read(f, rel, tid, snapshot);
	return found;
}

/*
 * The versions of a row that one entry of an index stands for: how many.
 *
 * The caller may hold a page of the index, for which who empties the heap waits: so it does not wait for
 * that.  If the heap is being emptied nobody's snapshot is older than the move of its rows, and who looks for
 * them meets their new entries.
 */
static int
chain_of(MdbFetch *f, ItemPointer tid, ItemPointerData *versions)
{
	Oid relid = mdb_delta_relid(f->table->storage_id, mdb_tid_slot(tid));
	TransactionId xmax = InvalidTransactionId;
	ItemPointerData at;
	OffsetNumber off;
	int n = 0;
	Relation heap;
	Buffer buf;
	Page page;

	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return 0;
	heap = table_open(relid, NoLock);
	mdb_tid_in_heap(tid, &at);
	if (ItemPointerGetBlockNumber(&at) >= RelationGetNumberOfBlocks(heap))
	{
		table_close(heap, AccessShareLock);
		return 0;
	}
	buf = ReadBuffer(heap, ItemPointerGetBlockNumber(&at));
	LockBuffer(buf, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buf);
	off = ItemPointerGetOffsetNumber(&at);
	while (!PageIsNew(page) && off >= FirstOffsetNumber && off <= PageGetMaxOffsetNumber(page) &&
		   n < MaxHeapTuplesPerPage)
	{
		ItemId item = PageGetItemId(page, off);
		HeapTupleHeader tuple;

		if (n == 0 && ItemIdIsRedirected(item))
		{
			off = ItemIdGetRedirect(item);
			item = PageGetItemId(page, off);
		}
		if (!ItemIdIsNormal(item))
			break;
		tuple = (HeapTupleHeader) PageGetItem(page, item);
		if (TransactionIdIsValid(xmax) && !TransactionIdEquals(HeapTupleHeaderGetXmin(tuple), xmax))
			break;
		ItemPointerSetOffsetNumber(&at, off);
		mdb_tid_of_delta(mdb_tid_slot(tid), &at, &versions[n++]);
		if (!HeapTupleHeaderIsHotUpdated(tuple))
			break;
		xmax = HeapTupleHeaderGetUpdateXid(tuple);
		off = ItemPointerGetOffsetNumber(&tuple->t_ctid);
	}
	UnlockReleaseBuffer(buf);
	table_close(heap, AccessShareLock);
	return n;
}

/* Is a row of a part that the snapshot, of whatever kind, sees alive for it? */
static bool
row_alive(MdbFetch *f, Relation rel, int64 row, Snapshot snapshot, bool *gone)
{
	Relation heap;
	bool alive;

	if (snapshot->snapshot_type == SNAPSHOT_ANY)
		return true;
	/* Who comes to have a shadow after the view was made is deleted later than that. */
	if (IsMVCCSnapshot(snapshot) && !f->has_shadows)
		return true;
	heap = open_heap(f, MDB_ROWS_SLOT);
	alive = mdb_shadow_alive(rel, heap, f->table->storage_id, row, snapshot, gone);
	close_heap(f, heap);
	return alive;
}

static bool
fetch_cold(MdbFetch *f, Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot,
		   bool *all_dead)
{
	int64 row = mdb_row_of_tid(tid);
	const MdbPartInfo *info = NULL;
	MdbPartInfo other;

	if (IsMVCCSnapshot(snapshot) || (snapshot->snapshot_type == SNAPSHOT_ANY && ActiveSnapshotSet()))
	{
		Snapshot view = IsMVCCSnapshot(snapshot) ? snapshot : GetActiveSnapshot();

		use_view(f, view);
		info = part_in_view(f, row, view);
		if (info == NULL && IsMVCCSnapshot(snapshot))
			return false;
	}
	if (info == NULL)
	{
		if (!mdb_part_covering(f->table, row, snapshot, &other))
			return false;
		/* Who waits for its maker or remover needs no more. */
		info = &other;
	}
	if (snapshot->snapshot_type == SNAPSHOT_DIRTY)
	{
		TransactionId xmin = snapshot->xmin;
		TransactionId xmax = snapshot->xmax;

		if (!row_alive(f, rel, row, snapshot, all_dead))
			return false;
		if (TransactionIdIsValid(xmin))
			snapshot->xmin = xmin;
		if (TransactionIdIsValid(xmax))
			snapshot->xmax = xmax;
	}
	else if (!row_alive(f, rel, row, snapshot, all_dead))
		return false;
	lock_read(f, rel, tid, snapshot);
	if (slot)
	{
		use_block(f, rel, info, row, snapshot);
		mdb_slot_store_row(slot, f->block, (uint32) (row - f->block_first));
	}
	return true;
}

/*
 * Is a row elsewhere by now?  Who checks uniqueness reads an index without a snapshot: it may have gone
 * past the place of the row's new entry before that was made, and come to the old one after the row had
 * moved.  So to it either entry stands for the row.
 *
 * Not if rows cannot move meanwhile: who checks a constraint that is new must find each of them once.
 *
 * *tid becomes the identity under which the active snapshot knows the row.
 */
static bool
fetch_moved(MdbFetch *f, Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot)
{
	ItemPointerData versions[MaxHeapTuplesPerPage];
	int n = 1;

	if (CheckRelationLockedByMe(rel, ShareUpdateExclusiveLock, true))
		return false;
	if (mdb_tid_is_delta(tid))
		n = chain_of(f, tid, versions);
	else
		versions[0] = *tid;
	for (int i = 0; i < n; i++)
	{
		ItemPointerData now = versions[i];
		ItemPointerData known = now;
		TransactionId by;
		int64 row;

		while ((row = mdb_moved_find(f->table->storage_id, mdb_identity(&now), &by)) >= 0)
		{
			mdb_tid_of_row(row, &now);
			if (mdb_moved_seen(by))
				known = now;
			if (fetch_cold(f, rel, &now, snapshot, slot, NULL))
			{
				*tid = known;
				return true;
			}
		}
	}
	return false;
}

static void
fetch_begin(MdbFetch *f, TupleTableSlot *slot)
{
	if (slot)
		ExecClearTuple(slot);
	MemoryContextReset(f->row_mcxt);
}

static bool
fetched(Relation rel, ItemPointer tid, TupleTableSlot *slot)
{
	if (slot)
	{
		slot->tts_tid = *tid;
		slot->tts_tableOid = RelationGetRelid(rel);
	}
	return true;
}

/*
 * mdb_fetch_row - the row with this identity, if a snapshot of whatever kind sees it.
 *
 * slot, one of ours, may be NULL; what is stored in it lasts until the next fetch.
 */
bool
mdb_fetch_row(MdbFetch *f, Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot)
{
	bool gone = false;

	fetch_begin(f, slot);
	if (mdb_superseded_any() && mdb_superseded(f->table->storage_id, mdb_identity(tid), snapshot))
		return false;
	if (mdb_tid_is_delta(tid) ? fetch_delta(f, rel, tid, false, false, snapshot, slot, &gone)
							  : fetch_cold(f, rel, tid, snapshot, slot, &gone))
		return fetched(rel, tid, slot);
	if (!gone && snapshot->snapshot_type == SNAPSHOT_DIRTY)
	{
		ItemPointerData at = *tid;

		return fetch_moved(f, rel, &at, snapshot, slot) && fetched(rel, &at, slot);
	}
	return false;
}

/*
 * mdb_fetch_entry - the same for the row that an entry of an index stands for, of which there may be several
 * versions: *tid becomes the identity of the one that is found.  *again: the one after the one that was found
 * last is asked for; set if there may be others.  *all_dead, unless all_dead is NULL, is set if nobody can
 * see any of them any more.
 */
bool
mdb_fetch_entry(MdbFetch *f, Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot,
				bool *again, bool *all_dead)
{
	bool is_delta = mdb_tid_is_delta(tid);
	bool gone = false;
	bool found;

	fetch_begin(f, slot);
	if (!*again)
		mdb_fetch_reset(f);
	if (all_dead)
		*all_dead = false;
	if (is_delta)
		found = fetch_delta(f, rel, tid, true, *again, snapshot, slot, &gone);
	else
		found = !*again && fetch_cold(f, rel, tid, snapshot, slot, &gone);
	if (found && mdb_superseded_any() && mdb_superseded(f->table->storage_id, mdb_identity(tid), snapshot))
	{
		if (slot)
			ExecClearTuple(slot);
		*again = false;
		return false;
	}
	if (!found && !gone && !*again && snapshot->snapshot_type == SNAPSHOT_DIRTY)
	{
		*again = false;
		return fetch_moved(f, rel, tid, snapshot, slot) && fetched(rel, tid, slot);
	}
	*again = found && is_delta && !IsMVCCSnapshot(snapshot);
	if (all_dead)
		*all_dead = gone;
	return found && fetched(rel, tid, slot);
}

/* The one that mdb_fetch_row_version uses, as long as the transaction lasts. */
static MdbFetch *current = NULL;

/* Its table may have changed: another description of columns need not have another address. */
static bool current_changed = false;

static void
relcache_callback(Oid relid)
{
	if (current && (!OidIsValid(relid) || relid == current->relid))
		current_changed = true;
}

static void
forget_current(void)
{
	if (current)
		mdb_fetch_end(current);
	current = NULL;
}

static MdbFetch *
get_current(Relation rel)
{
	if (!IsInParallelMode())
		mdb_buffer_flush_relation(RelationGetRelid(rel));
	if (current && (current_changed || current->relid != RelationGetRelid(rel) ||
					current->desc != RelationGetDescr(rel) ||
					current->table->storage_id != mdb_table_peek(rel)->storage_id))
		forget_current();
	if (current == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

		current = mdb_fetch_begin(rel);
		current_changed = false;
		MemoryContextSwitchTo(old);
	}
	return current;
}

/*
 * mdb_row_visible - does a snapshot see the row with this identity?
 */
bool
mdb_row_visible(Relation rel, ItemPointer tid, Snapshot snapshot)
{
	return mdb_fetch_row(get_current(rel), rel, tid, snapshot, NULL);
}

/*
 * mdb_fetch_row_version - the row with this identity, if the snapshot sees it.  The slot's values are
 * its own.
 */
bool
mdb_fetch_row_version(Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot)
{
	MdbFetch *f = get_current(rel);
	ItemPointerData now = *tid;

	if (snapshot->snapshot_type == SNAPSHOT_ANY)
		mdb_require_tid(rel, tid);
	while (!mdb_fetch_row(f, rel, &now, snapshot, slot))
	{
		int64 row;

		/* Who takes a row in any state takes it also from where it was moved to. */
		if (snapshot->snapshot_type != SNAPSHOT_ANY)
			return false;
		row = mdb_moved_find(f->table->storage_id, mdb_identity(&now), NULL);
		if (row < 0)
			return false;
		mdb_tid_of_row(row, &now);
	}
	tid = &now;
	slot_getallattrs(slot);
	ExecMaterializeSlot(slot);
	/* Who asks for a row whatever its state has mostly just changed it: xmax is its shadow's. */
	if (!mdb_tid_is_delta(tid) && snapshot->snapshot_type == SNAPSHOT_ANY)
	{
		Relation heap = table_open(mdb_delta_relid(f->table->storage_id, MDB_ROWS_SLOT), AccessShareLock);
		HeapTupleHeaderData header;

		if (mdb_shadow_header(heap, f->table->storage_id, mdb_row_of_tid(tid), &header))
			mdb_slot_set_xmax(slot, &header);
		table_close(heap, NoLock);
	}
	return true;
}

/*
 * mdb_tid_valid - could there be a row with this identity?
 */
bool
mdb_tid_valid(TableScanDesc scan, ItemPointer tid)
{
	int64 storage_id = mdb_table_peek(scan->rs_rd)->storage_id;
	ItemPointerData in_heap;
	Snapshot snapshot;
	MdbDeltaInfo *deltas;
	int count;
	bool valid = false;

	if (!ItemPointerIsValid(tid))
		return false;
	if (!mdb_tid_is_delta(tid))
		return true;
	mdb_tid_in_heap(tid, &in_heap);
	snapshot = mdb_latest_snapshot();
	mdb_delta_list(storage_id, snapshot, &deltas, &count);
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < count && !valid; i++)
	{
		Relation heap;

		if (deltas[i].slot != mdb_tid_slot(tid))
			continue;
		/* Rows of a heap that has been emptied may be known elsewhere by now. */
		heap = table_open(deltas[i].relid, AccessShareLock);
		valid = !deltas[i].live || ItemPointerGetBlockNumber(&in_heap) < RelationGetNumberOfBlocks(heap);
		table_close(heap, NoLock);
	}
	pfree(deltas);
	return valid;
}

static void
xact_callback(XactEvent event, void *arg)
{
	/* Its memory goes with the transaction's. */
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		current = NULL;
}

static void
subxact_callback(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	/* An error may have left it half done. */
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_current();
}

/*
 * mdb_fetch_init - at load: follow transactions.
 */
void
mdb_fetch_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
	mdb_on_relation_change(relcache_callback);
}
