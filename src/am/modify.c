/*
 * modify.c
 *	  Rows that are inserted one by one, changed, deleted and locked.
 *
 * All of it happens in the delta's heaps, by the functions of heaps: to the row itself if it lives
 * there, else to its shadow (write/shadow.c).  So who waits for whom, who sees what, and what is an
 * error are those of a heap.  What is ours is to find the heap tuple that stands for a row, and to
 * translate identities on the way back.
 *
 * Invariants:
 *	1. The heap that holds the tuple is locked RowExclusiveLock to the end of the transaction, and the
 *	   part of a row of a part is locked (write/part_lock.c).  So neither is taken away.
 *	2. All versions of a row from its first change on are in the same heap.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "am/am.h"
#include "stop.h"
#include "write/tap.h"

/* The heap tuple that stands for a row. */
typedef struct Target
{
	Relation heap;
	int16 slot;
	ItemPointerData tid;
	int64 row;  /* of a part, for which a shadow stands; -1 = it is in the delta */
	bool moved; /* the row has another identity by now than it was asked for by */
	TransactionId moved_by;
} Target;

/* Is a slot of the ring still read, or have its rows moved into parts? */
static bool
slot_is_live(Relation rel, int64 storage_id, int16 slot)
{
	MdbMeta meta;
	MdbDeltaInfo *deltas;
	Snapshot snapshot;
	int count;
	bool live = false;

	if (slot == MDB_ROWS_SLOT)
		return true;
	mdb_meta_read(rel, &meta);
	if (meta.delta_slot == slot)
		return true;
	snapshot = mdb_latest_snapshot();
	mdb_delta_list(storage_id, snapshot, &deltas, &count);
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < count; i++)
		live |= deltas[i].slot == slot && deltas[i].live;
	pfree(deltas);
	return live;
}

/* Where is a row now that is not where its identity says, and by whom?  False if nowhere. */
static bool
moved(const MdbTable *table, ItemPointer tid, TransactionId *by)
{
	ItemPointerData heap;
	int64 row;

	if (mdb_tid_is_delta(tid))
	{
		mdb_tid_in_heap(tid, &heap);
		row = mdb_moved_find(table->storage_id, mdb_moved_identity(mdb_tid_slot(tid), &heap), by);
	}
	else
		row = mdb_moved_find(table->storage_id, mdb_row_of_tid(tid), by);
	if (row < 0)
		return false;
	mdb_tid_of_row(row, tid);
	return true;
}

static bool
heap_tuple_alive(Relation heap, ItemPointer tid)
{
	HeapTupleData tuple;
	Buffer buf;
	bool alive;

	tuple.t_self = *tid;
	alive = heap_fetch(heap, SnapshotSelf, &tuple, &buf, false);
	if (alive)
		ReleaseBuffer(buf);
	return alive;
}

/*
 * mdb_require_tid - raise an error unless a row has an identity.
 */
void
mdb_require_tid(Relation rel, ItemPointer tid)
{
	if (likely(ItemPointerIsValid(tid)))
		return;
	ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					errmsg("table \"%s\" has run out of row numbers", RelationGetRelationName(rel)),
					errdetail("Its rows can be read and added to, but those written last cannot be changed, "
							  "locked or indexed."),
					errhint("Rewrite the table with VACUUM FULL, or drop old partitions of it.")));
}

/* Find it, under the first invariant.  False if the row has gone elsewhere, or is dead to all. */
static bool
target_open(Relation rel, ItemPointer tid, CommandId cid, Target *t)
{
	MdbTable table = *mdb_table_peek(rel);
	ItemPointerData now = *tid;

	mdb_require_tid(rel, tid);
	t->moved = false;
	for (;;)
	{
		if (mdb_tid_is_delta(&now))
		{
			t->slot = mdb_tid_slot(&now);
			t->row = -1;
			t->heap = table_open(mdb_delta_relid(table.storage_id, t->slot), RowExclusiveLock);
			mdb_tid_in_heap(&now, &t->tid);
			if (slot_is_live(rel, table.storage_id, t->slot) &&
				ItemPointerGetBlockNumber(&t->tid) < RelationGetNumberOfBlocks(t->heap))
				return true;
			/* Who has changed it before it moved is asked there. */
			if (ItemPointerGetBlockNumber(&t->tid) < RelationGetNumberOfBlocks(t->heap) &&
				!heap_tuple_alive(t->heap, &t->tid))
				return true;
			table_close(t->heap, NoLock);
		}
		else
		{
			int64 row = mdb_row_of_tid(&now);
			bool locked = mdb_part_lock(rel, &table, row, cid);

			t->slot = MDB_ROWS_SLOT;
			t->row = row;
			t->heap = table_open(mdb_delta_relid(table.storage_id, t->slot), RowExclusiveLock);
			if (mdb_shadow_tid(t->heap, table.storage_id, row, locked, &t->tid) &&
				(locked || !mdb_shadow_alive(rel, t->heap, table.storage_id, row, SnapshotSelf, NULL)))
				return true;
			table_close(t->heap, NoLock);
		}
		if (!moved(&table, &now, t->moved ? NULL : &t->moved_by))
			return false;
		t->moved = true;
	}
}

/* Was a tuple that is found deleted only moved into a part?  Its shadows never are. */
static bool
target_moved(Relation rel, Target *t, ItemPointer now)
{
	MdbTable table = *mdb_table_peek(rel);
	ItemPointerData heap = t->tid;

	mdb_tid_of_delta(t->slot, &heap, now);
	if (!moved(&table, now, t->moved ? NULL : &t->moved_by))
		return false;
	t->moved = true;
	return true;
}

/*
 * The version of a tuple that an update, committed or not, has made of it.  False if there is none.
 * *key_changed is set if a key was updated.
 */
static bool
next_version(Relation heap, ItemPointer tid, bool *key_changed)
{
	HeapTupleData tuple;
	ItemPointerData next;
	TransactionId xmax = InvalidTransactionId;
	Buffer buf;

	if (ItemPointerGetBlockNumber(tid) >= RelationGetNumberOfBlocks(heap))
		return false;
	tuple.t_self = *tid;
	if (!heap_fetch(heap, SnapshotAny, &tuple, &buf, false))
		return false;
	LockBuffer(buf, BUFFER_LOCK_SHARE);
	next = tuple.t_data->t_ctid;
	if (!(tuple.t_data->t_infomask & HEAP_XMAX_INVALID) &&
		!HEAP_XMAX_IS_LOCKED_ONLY(tuple.t_data->t_infomask) &&
		!HeapTupleHeaderIndicatesMovedPartitions(tuple.t_data))
		xmax = HeapTupleHeaderGetUpdateXid(tuple.t_data);
	if (key_changed && (tuple.t_data->t_infomask2 & HEAP_KEYS_UPDATED))
		*key_changed = true;
	UnlockReleaseBuffer(buf);
	if (!TransactionIdIsValid(xmax) || ItemPointerEquals(&next, tid))
		return false;
	tuple.t_self = next;
	if (!heap_fetch(heap, SnapshotAny, &tuple, &buf, false))
		return false;
	if (!TransactionIdEquals(HeapTupleHeaderGetXmin(tuple.t_data), xmax))
		next = *tid;
	ReleaseBuffer(buf);
	if (ItemPointerEquals(&next, tid))
		return false;
	*tid = next;
	return true;
}

/* What the heap says of its tuple, said of the row. */
static void
translate(const Target *t, ItemPointer tid, TM_FailureData *tmfd)
{
	if (ItemPointerIndicatesMovedPartitions(&tmfd->ctid) || !ItemPointerIsValid(&tmfd->ctid))
		return;
	if (ItemPointerEquals(&tmfd->ctid, (ItemPointer) &t->tid))
		tmfd->ctid = *tid;
	else
	{
		ItemPointerData heap = tmfd->ctid;

		mdb_tid_of_delta(t->slot, &heap, &tmfd->ctid);
	}
}

static TM_Result
gone(ItemPointer tid, TM_FailureData *tmfd)
{
	tmfd->ctid = *tid;
	tmfd->xmax = InvalidTransactionId;
	tmfd->cmax = InvalidCommandId;
	tmfd->traversed = false;
	return TM_Deleted;
}

/* The row in a slot, as a tuple for a delta heap; in CurrentMemoryContext. */
static HeapTuple
form_tuple(Relation rel, Relation heap, TupleTableSlot *slot)
{
	MinimalTuple tuple;

	slot_getallattrs(slot);
	tuple = mdb_delta_form(RelationGetDescr(rel), slot->tts_values, slot->tts_isnull);
	mdb_delta_check(rel, mdb_table_peek(rel), tuple);
	return mdb_delta_heap_tuple(heap, tuple);
}

/* A memory context for one row, kept from one to the next. */
static MemoryContext
row_context(void)
{
	static MemoryContext mcxt = NULL;

	return mdb_row_context(&mcxt);
}

/*
 * Conflicts of serializable transactions: who has read what is changed here.  Asked when the change can be seen
 * by who reads, not before, as nothing keeps readers away in between: one that comes later sees it.
 */
static void
conflicts_in(Relation rel, ItemPointer tid)
{
	CheckForSerializableConflictIn(rel, tid,
								   tid ? ItemPointerGetBlockNumberNoCheck(tid) : InvalidBlockNumber);
}

static void
insert_begin(Relation rel, int nrows)
{
	mdb_check_published(rel, CMD_INSERT);
	pgstat_count_heap_insert(rel, nrows);
}

/*
 * mdb_insert_row - insert a row that needs its identity at once.
 */
void
mdb_insert_row(Relation rel, TupleTableSlot *slot, CommandId cid, int options)
{
	MemoryContext old = MemoryContextSwitchTo(row_context());
	MdbTable table;
	int16 delta_slot;
	Relation heap;
	HeapTuple tuple;

	insert_begin(rel, 1);
	table = *mdb_table_peek(rel);
	heap = mdb_delta_open_for_write(rel, &table, &delta_slot);
	tuple = form_tuple(rel, heap, slot);
	heap_insert(heap, tuple, cid, options & HEAP_INSERT_FROZEN, NULL);
	conflicts_in(rel, NULL);
	slot->tts_tableOid = RelationGetRelid(rel);
	mdb_tid_of_delta(delta_slot, &tuple->t_self, &slot->tts_tid);
	mdb_slot_set_header(slot, tuple->t_data);
	table_close(heap, NoLock);
	mdb_tap_slots(rel, &slot, 1);
	MemoryContextSwitchTo(old);
}

/*
 * mdb_insert_rows - the same for many.
 */
void
mdb_insert_rows(Relation rel, TupleTableSlot **slots, int nslots, CommandId cid, int options)
{
	MemoryContext old = MemoryContextSwitchTo(row_context());
	MdbTable table;
	int16 delta_slot;
	Relation heap;
	TupleTableSlot **heapslots = palloc(sizeof(TupleTableSlot *) * nslots);

	insert_begin(rel, nslots);
	table = *mdb_table_peek(rel);
	heap = mdb_delta_open_for_write(rel, &table, &delta_slot);
	for (int i = 0; i < nslots; i++)
	{
		heapslots[i] = MakeSingleTupleTableSlot(RelationGetDescr(heap), &TTSOpsHeapTuple);
		ExecStoreHeapTuple(form_tuple(rel, heap, slots[i]), heapslots[i], false);
	}
	heap_multi_insert(heap, heapslots, nslots, cid, options & HEAP_INSERT_FROZEN, NULL);
	conflicts_in(rel, NULL);
	for (int i = 0; i < nslots; i++)
	{
		slots[i]->tts_tableOid = RelationGetRelid(rel);
		mdb_tid_of_delta(delta_slot, &heapslots[i]->tts_tid, &slots[i]->tts_tid);
		ExecDropSingleTupleTableSlot(heapslots[i]);
	}
	table_close(heap, NoLock);
	mdb_tap_slots(rel, slots, nslots);
	MemoryContextSwitchTo(old);
}

/*
 * mdb_insert_speculative, mdb_complete_speculative - INSERT ... ON CONFLICT: a row that goes again if
 * an index has another one like it.
 */
void
mdb_insert_speculative(Relation rel, TupleTableSlot *slot, CommandId cid, int options,
					   struct BulkInsertStateData *bistate, uint32 token)
{
	MemoryContext old = MemoryContextSwitchTo(row_context());
	MdbTable table;
	int16 delta_slot;
	Relation heap;
	HeapTuple tuple;

	insert_begin(rel, 1);
	mdb_guard_rows(rel, &slot, 1);
	table = *mdb_table_peek(rel);
	heap = mdb_delta_open_for_write(rel, &table, &delta_slot);
	tuple = form_tuple(rel, heap, slot);
	HeapTupleHeaderSetSpeculativeToken(tuple->t_data, token);
	heap_insert(heap, tuple, cid, HEAP_INSERT_SPECULATIVE, NULL);
	conflicts_in(rel, NULL);
	slot->tts_tableOid = RelationGetRelid(rel);
	mdb_tid_of_delta(delta_slot, &tuple->t_self, &slot->tts_tid);
	mdb_slot_set_header(slot, tuple->t_data);
	table_close(heap, NoLock);
	MemoryContextSwitchTo(old);
}

void
mdb_complete_speculative(Relation rel, TupleTableSlot *slot, uint32 token, bool succeeded)
{
	ItemPointerData tid;
	Relation heap = table_open(mdb_delta_relid(mdb_table_peek(rel)->storage_id, mdb_tid_slot(&slot->tts_tid)),
							   RowExclusiveLock);

	mdb_tid_in_heap(&slot->tts_tid, &tid);
	if (succeeded)
		heap_finish_speculative(heap, &tid);
	else
		heap_abort_speculative(heap, &tid);
	table_close(heap, NoLock);
	if (succeeded)
		mdb_tap_slots(rel, &slot, 1);
}

/* Could a snapshot that a referential action must see with not see the row? */
static bool
crosscheck_fails(Relation rel, ItemPointer tid, Snapshot crosscheck)
{
	return crosscheck != InvalidSnapshot && !mdb_tid_is_delta(tid) && !mdb_row_visible(rel, tid, crosscheck);
}

/*
 * mdb_delete_row - see table_tuple_delete().
 */
TM_Result
mdb_delete_row(Relation rel, ItemPointer tid, CommandId cid, Snapshot snapshot, Snapshot crosscheck,
			   bool wait, TM_FailureData *tmfd, bool changing_part)
{
	Target t;
	TM_Result result;
	ItemPointerData now;

	mdb_check_published(rel, CMD_DELETE);
	if (!target_open(rel, tid, cid, &t))
		return gone(tid, tmfd);
	if (crosscheck_fails(rel, tid, crosscheck))
		result = TM_Updated;
	else
	{
		MDB_STOP("delete.before");
		result = heap_delete(t.heap, &t.tid, cid, crosscheck, wait, tmfd, changing_part);
		MDB_STOP("delete.after");
	}
	table_close(t.heap, NoLock);
	if (result == TM_Ok)
	{
		pgstat_count_heap_delete(rel);
		mdb_mark_row_gone(rel, t.row, cid);
	}
	else if (result == TM_Deleted && target_moved(rel, &t, &now))
		result = mdb_delete_row(rel, &now, cid, snapshot, crosscheck, wait, tmfd, changing_part);
	else
		translate(&t, tid, tmfd);
	if (result == TM_Ok)
		conflicts_in(rel, tid);
	if (result == TM_Ok && t.moved)
		mdb_supersede(mdb_table_peek(rel)->storage_id, tid, t.moved_by, cid);
	return result;
}

/* What the new version of a row differs in. */
typedef struct Changes
{
	bool key;     /* a column that a foreign key may refer to */
	bool indexed; /* a column that some index needs */
} Changes;

static Changes
find_changes(Relation rel, ItemPointer tid, TupleTableSlot *new)
{
	Changes changes = {false, false};
	Bitmapset *indexed;
	Bitmapset *keys;
	TupleTableSlot *old;
	int i = -1;

	if (!rel->rd_rel->relhasindex)
		return changes;
	keys = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_KEY);
	/* Of a row of a part the new version is on another page in any case. */
	if (mdb_tid_is_delta(tid))
		indexed = RelationGetIndexAttrBitmap(rel, MDB_HOT_BLOCKING);
	else
	{
		changes.indexed = true;
		indexed = bms_copy(keys);
	}
	if (bms_is_empty(indexed))
		return changes;
	old = table_slot_create(rel, NULL);
	if (!mdb_fetch_row_version(rel, tid, SnapshotAny, old))
		changes.key = changes.indexed = true;
	while (!changes.key && (i = bms_next_member(indexed, i)) >= 0)
	{
		AttrNumber attno = i + FirstLowInvalidHeapAttributeNumber;
		bool differs = attno <= 0;

		if (!differs)
		{
			Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attno - 1);
			bool isnull1, isnull2;
			Datum v1 = slot_getattr(old, attno, &isnull1);
			Datum v2 = slot_getattr(new, attno, &isnull2);

			differs = isnull1 != isnull2 || (!isnull1 && !datum_image_eq(v1, v2, att->attbyval, att->attlen));
		}
		changes.indexed |= differs;
		changes.key |= differs && bms_is_member(i, keys);
	}
	ExecDropSingleTupleTableSlot(old);
	bms_free(keys);
	bms_free(indexed);
	return changes;
}

/* A number that no other version of a row has. */
static int64
new_version(void)
{
	static uint32 counter = 0;

	return (int64) (((uint64) GetCurrentTransactionId() << 32) | ++counter);
}

/*
 * What tells the heap whether the new version of a tuple may be HOT: it is not if the number differs from
 * that of the old one.  A shadow has none.
 */
static Datum
version_number(const Target *t, bool may_be_hot, bool *isnull)
{
	HeapTupleData tuple;
	Buffer buf;
	Datum version = (Datum) 0;
	bool keep = false;

	*isnull = false;
	if (!may_be_hot)
		return Int64GetDatum(new_version());
	tuple.t_self = t->tid;
	if (heap_fetch(t->heap, SnapshotAny, &tuple, &buf, false))
	{
		keep = mdb_shadow_of(tuple.t_data) < 0;
		version = heap_getattr(&tuple, Anum_delta_version, RelationGetDescr(t->heap), isnull);
		ReleaseBuffer(buf);
	}
	if (keep)
		return version;
	*isnull = false;
	return Int64GetDatum(new_version());
}

/*
 * mdb_update_row - see table_tuple_update().
 */
TM_Result
mdb_update_row(Relation rel, ItemPointer otid, TupleTableSlot *slot, CommandId cid, Snapshot snapshot,
			   Snapshot crosscheck, bool wait, TM_FailureData *tmfd, LockTupleMode *lockmode,
			   MdbUpdateIndexes *update_indexes)
{
	MemoryContext old;
	TM_Result result = TM_Ok;
	ItemPointerData now;
	Changes changes;
	Target t;

	mdb_check_published(rel, CMD_UPDATE);
	slot_getallattrs(slot);
	mdb_guard_rows(rel, &slot, 1);
	changes = find_changes(rel, otid, slot);
	*lockmode = changes.key ? LockTupleExclusive : LockTupleNoKeyExclusive;
	*update_indexes = MDB_UPDATE_ALL_INDEXES;
	if (!target_open(rel, otid, cid, &t))
		return gone(otid, tmfd);

	old = MemoryContextSwitchTo(row_context());
	if (crosscheck_fails(rel, otid, crosscheck))
		result = TM_Updated;
	else if (*lockmode == LockTupleExclusive)
	{
		/* The heap knows nothing of our keys: have it take the stronger lock. */
		HeapTupleData locked;
		Buffer buf;

		locked.t_self = t.tid;
		result = heap_lock_tuple(t.heap, &locked, cid, LockTupleExclusive,
								 wait ? LockWaitBlock : LockWaitSkip, false, &buf, tmfd);
		if (BufferIsValid(buf))
			ReleaseBuffer(buf);
	}
	if (result == TM_Ok)
	{
		MinimalTuple tuple;
		Datum values[Natts_delta_row] = {0};
		bool isnull[Natts_delta_row] = {false, true, false};
		TupleTableSlot *heapslot = MakeSingleTupleTableSlot(RelationGetDescr(t.heap), &TTSOpsHeapTuple);
		LockTupleMode heap_mode;

		tuple = mdb_delta_form(RelationGetDescr(rel), slot->tts_values, slot->tts_isnull);
		mdb_delta_check(rel, mdb_table_peek(rel), tuple);
		values[Anum_delta_row - 1] = mdb_delta_bytes(tuple);
		values[Anum_delta_version - 1] =
			version_number(&t, !changes.indexed, &isnull[Anum_delta_version - 1]);
		ExecStoreHeapTuple(heap_form_tuple(RelationGetDescr(t.heap), values, isnull), heapslot, false);
		MDB_STOP("update.before");
		result = table_tuple_update(t.heap, &t.tid, heapslot, cid, snapshot, crosscheck, wait, tmfd,
									&heap_mode, update_indexes);
		MDB_STOP("update.after");
		if (result == TM_Ok)
		{
			slot->tts_tableOid = RelationGetRelid(rel);
			mdb_tid_of_delta(t.slot, &heapslot->tts_tid, &slot->tts_tid);
			mdb_slot_set_header(slot, ExecFetchSlotHeapTuple(heapslot, false, NULL)->t_data);
			mdb_count_update(rel, *update_indexes == MDB_UPDATE_NO_INDEXES);
			mdb_mark_row_gone(rel, t.row, cid);
		}
		ExecDropSingleTupleTableSlot(heapslot);
	}
	table_close(t.heap, NoLock);
	MemoryContextSwitchTo(old);
	if (result == TM_Deleted && target_moved(rel, &t, &now))
		result =
			mdb_update_row(rel, &now, slot, cid, snapshot, crosscheck, wait, tmfd, lockmode, update_indexes);
	else if (result != TM_Ok)
		translate(&t, otid, tmfd);
	if (result == TM_Ok)
		conflicts_in(rel, otid);
	if (result == TM_Ok && t.moved)
		mdb_supersede(mdb_table_peek(rel)->storage_id, otid, t.moved_by, cid);
	return result;
}

/*
 * A heap lets FOR KEY SHARE have a row that was updated, but not in its keys, also under an older
 * snapshot.  Here the latest version may have been moved into a part since, which looks like a deletion
 * to the heap: lock it there.
 */
static bool
lock_key_share(Relation rel, const Target *t, Snapshot snapshot, TupleTableSlot *slot, CommandId cid,
			   LockWaitPolicy wait_policy, uint8 flags, TM_FailureData *tmfd)
{
	Target last = *t;
	TM_FailureData ignored = *tmfd;
	ItemPointerData now;
	bool key_changed = false;

	while (next_version(last.heap, &last.tid, &key_changed))
		if (key_changed)
			return false;
	if (ItemPointerEquals(&last.tid, (ItemPointer) &t->tid) || !target_moved(rel, &last, &now))
		return false;
	return mdb_lock_row(rel, &now, snapshot, slot, cid, LockTupleKeyShare, wait_policy, flags, &ignored) ==
		   TM_Ok;
}

/*
 * mdb_lock_row - see table_tuple_lock().  Follows the chain of versions as a heap does.
 */
TM_Result
mdb_lock_row(Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot, CommandId cid,
			 LockTupleMode mode, LockWaitPolicy wait_policy, uint8 flags, TM_FailureData *tmfd)
{
	TupleTableSlot *heapslot;
	TM_Result result;
	ItemPointerData now;
	Target t;
	Target last;

	ExecClearTuple(slot);
	if (!target_open(rel, tid, cid, &t))
		return gone(tid, tmfd);
	last = t;
	heapslot = table_slot_create(t.heap, NULL);
	last.tid = t.tid;
	/* NOWAIT's error is to name the table, not the heap. */
	result = table_tuple_lock(t.heap, &last.tid, snapshot, heapslot, cid, mode,
							  wait_policy == LockWaitError ? LockWaitSkip : wait_policy, flags, tmfd);
	if (result == TM_WouldBlock && wait_policy == LockWaitError)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not obtain lock on row in relation \"%s\"", RelationGetRelationName(rel))));
	if (result == TM_Deleted && target_moved(rel, &last, &now))
	{
		/* It, or the version of it that the chain of updates led to, was moved by compaction. */
		bool traversed = !ItemPointerEquals(&last.tid, &t.tid);

		ExecDropSingleTupleTableSlot(heapslot);
		table_close(t.heap, NoLock);
		result = mdb_lock_row(rel, &now, snapshot, slot, cid, mode, wait_policy, flags, tmfd);
		if (result == TM_Ok && traversed)
			tmfd->traversed = true;
		if (result != TM_Ok || tmfd->traversed || mdb_moved_seen(last.moved_by))
			*tid = now;
		else
			slot->tts_tid = *tid;
		return result;
	}
	if ((result == TM_Updated || result == TM_Deleted) && mode == LockTupleKeyShare &&
		lock_key_share(rel, &t, snapshot, slot, cid, wait_policy, flags, tmfd))
	{
		/* What was locked is the latest version; what is returned is the one that was asked for. */
		result = mdb_fetch_row_version(rel, tid, SnapshotAny, slot) ? TM_Ok : result;
		if (result == TM_Ok)
		{
			ExecDropSingleTupleTableSlot(heapslot);
			table_close(t.heap, NoLock);
			return result;
		}
	}
	if (!TTS_EMPTY(heapslot))
	{
		bool should_free;
		HeapTuple tuple = ExecFetchSlotHeapTuple(heapslot, false, &should_free);
		int64 row = mdb_shadow_of(tuple->t_data);
		ItemPointerData found;

		if (row >= 0)
		{
			mdb_tid_of_row(row, &found);
			mdb_fetch_row_version(rel, &found, SnapshotAny, slot);
		}
		else
		{
			MemoryContext old = MemoryContextSwitchTo(row_context());

			mdb_slot_store_tuple(slot, mdb_delta_tuple(heapslot));
			mdb_slot_set_header(slot, tuple->t_data);
			MemoryContextSwitchTo(old);
			ExecMaterializeSlot(slot);
			mdb_tid_of_delta(t.slot, &heapslot->tts_tid, &found);
		}
		/*
		 * Who goes on to change it must come with the identity that his snapshot has it under.  As long as
		 * there is such a snapshot, that is not given to another row.
		 */
		if (result == TM_Ok && t.moved && !tmfd->traversed && !mdb_moved_seen(t.moved_by))
			found = *tid;
		slot->tts_tid = found;
		slot->tts_tableOid = RelationGetRelid(rel);
		if (result == TM_Ok)
			*tid = found;
	}
	if (result != TM_Ok)
		translate(&t, tid, tmfd);
	ExecDropSingleTupleTableSlot(heapslot);
	table_close(t.heap, NoLock);
	return result;
}

/*
 * mdb_latest_tid - the latest version of a row that the scan's snapshot sees, if it sees one: through
 * updates, and through moves by compaction.
 */
void
mdb_latest_tid(TableScanDesc scan, ItemPointer tid)
{
	Relation rel = scan->rs_rd;
	MdbTable table = *mdb_table_peek(rel);
	ItemPointerData now = *tid;

	for (;;)
	{
		int16 slot = mdb_tid_is_delta(&now) ? mdb_tid_slot(&now) : MDB_ROWS_SLOT;
		Relation heap;
		ItemPointerData at;
		bool any = true;

		CHECK_FOR_INTERRUPTS();
		if (mdb_row_visible(rel, &now, scan->rs_snapshot))
			*tid = now;
		if (moved(&table, &now, NULL))
			continue;
		heap = table_open(mdb_delta_relid(table.storage_id, slot), AccessShareLock);
		if (mdb_tid_is_delta(&now))
			mdb_tid_in_heap(&now, &at);
		else
			any = mdb_shadow_tid(heap, table.storage_id, mdb_row_of_tid(&now), false, &at);
		any = any && next_version(heap, &at, NULL);
		table_close(heap, NoLock);
		if (!any)
			return;
		mdb_tid_of_delta(slot, &at, &now);
	}
}

/*
 * mdb_row_satisfies - does a snapshot see the row that was fetched into a slot?  Also if it sees it under
 * another identity, which it had before it was moved.
 */
bool
mdb_row_satisfies(Relation rel, TupleTableSlot *slot, Snapshot snapshot)
{
	MdbTable table = *mdb_table_peek(rel);
	ItemPointerData tid = slot->tts_tid;

	while (!mdb_row_visible(rel, &tid, snapshot))
	{
		int64 origin;

		if (mdb_tid_is_delta(&tid) || !IsMVCCSnapshot(snapshot))
			return false;
		origin = mdb_moved_origin(table.storage_id, mdb_row_of_tid(&tid));
		if (origin < 0)
			return false;
		mdb_tid_of_identity(origin, &tid);
	}
	return true;
}
