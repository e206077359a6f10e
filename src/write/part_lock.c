/*
 * part_lock.c
 *	  Locks on parts, which whoever deletes, updates or locks rows of them takes first.
 *
 * The lock is one FOR KEY SHARE on the part's row in metricsdb.part, to the end of the (sub)transaction;
 * it survives PREPARE and costs no shared memory, however many parts are touched.  A merge deletes
 * the rows of its inputs, which conflicts; it does not wait, but leaves such parts for later
 * (mdb_part_claim).
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "metricsdb.h"
#include "write/write.h"

typedef struct LockKey
{
	int64 storage_id;
	int64 part_id;
} LockKey;

typedef struct PartLock
{
	LockKey key;
	SubTransactionId subid; /* its lock is gone when this one aborts */
} PartLock;

static HTAB *locks = NULL;

/* The parts of the table that was last asked for, by row number; and the one of the last row. */
static MemoryContext list_mcxt = NULL;
static int64 list_storage = 0;
static CommandId list_cid;
static MdbPartInfo *list = NULL;
static int list_count = 0;
static const MdbPartInfo *last = NULL; /* locked */

/* Commands that touch few rows look their parts up one by one. */
#define LOOK_UPS_MAX 8

static int64 one_storage = 0;
static CommandId one_cid;
static int one_count; /* look-ups of this command */
static MdbPartInfo one;

static int
row_cmp(const void *a, const void *b)
{
	const MdbPartInfo *x = a, *y = b;

	return x->row_first < y->row_first ? -1 : x->row_first > y->row_first;
}

static void
forget_list(void)
{
	if (list_mcxt)
		MemoryContextReset(list_mcxt);
	list_storage = 0;
	list = NULL;
	list_count = 0;
	last = NULL;
}

static void
read_list(const MdbTable *table, CommandId cid)
{
	MemoryContext old;
	Snapshot snapshot;
	MdbPartList *parts;

	forget_list();
	mdb_catalog_keep("part");
	if (list_mcxt == NULL)
		list_mcxt =
			AllocSetContextCreate(TopMemoryContext, "metricsdb parts being changed", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(list_mcxt);
	snapshot = mdb_latest_snapshot();
	parts = mdb_parts_visible(table, snapshot);
	UnregisterSnapshot(snapshot);
	qsort(parts->parts, parts->count, sizeof(MdbPartInfo), row_cmp);
	list = parts->parts;
	list_count = parts->count;
	list_storage = table->storage_id;
	list_cid = cid;
	MemoryContextSwitchTo(old);
}

/* The part that holds a row now, found by itself; NULL if there is none, or if the list is to be read. */
static const MdbPartInfo *
look_up(const MdbTable *table, int64 row, CommandId cid)
{
	Snapshot snapshot;
	bool found;

	if (one_storage != table->storage_id || one_cid != cid)
		one_count = 0;
	one_storage = table->storage_id;
	one_cid = cid;
	if (one_count++ >= LOOK_UPS_MAX)
		return NULL;
	mdb_catalog_keep("part");
	snapshot = mdb_latest_snapshot();
	found = mdb_part_covering(table, row, snapshot, &one);
	UnregisterSnapshot(snapshot);
	if (!found)
		return NULL;
	forget_list();
	list_storage = table->storage_id;
	list_cid = InvalidCommandId;
	return &one;
}

static const MdbPartInfo *
find_part(int64 row)
{
	int lo = 0, hi = list_count;

	while (lo < hi)
	{
		int mid = (lo + hi) / 2;

		if (list[mid].row_first + list[mid].nrows <= row)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < list_count && list[lo].row_first <= row ? &list[lo] : NULL;
}

/* Lock a part's row; false if it is not there any more. */
static bool
lock_row(const MdbPartInfo *info, CommandId cid)
{
	Relation rel = mdb_catalog_open("part", RowShareLock);
	HeapTupleData tuple;
	TM_FailureData tmfd;
	TM_Result result;
	Buffer buf;
	bool same = false;

	tuple.t_self = info->tid;
	/* Also in versions to come: a part that is being moved for space gets another row. */
	result = heap_lock_tuple(rel, &tuple, cid, LockTupleKeyShare, LockWaitBlock, true, &buf, &tmfd);
	if (result == TM_Ok)
	{
		bool isnull;

		/* Row and place may be another's by now. */
		same = DatumGetInt64(heap_getattr(&tuple, Anum_part_storage_id, RelationGetDescr(rel), &isnull)) ==
				   info->storage_id &&
			   DatumGetInt64(heap_getattr(&tuple, Anum_part_part_id, RelationGetDescr(rel), &isnull)) ==
				   info->part_id;
	}
	if (BufferIsValid(buf))
		ReleaseBuffer(buf);
	table_close(rel, NoLock);
	return result == TM_Ok && same;
}

/*
 * mdb_part_lock - lock the part that holds a row of a table, as of command cid.
 *
 * False if none does any more: it was merged, and the row has another number, or is dead.  Waits for
 * a merge that is just about to commit.
 */
bool
mdb_part_lock(Relation rel, const MdbTable *table, int64 row, CommandId cid)
{
	bool fresh = false;

	if (last && list_storage == table->storage_id && row >= last->row_first &&
		row < last->row_first + last->nrows)
		return true;
	for (;;)
	{
		const MdbPartInfo *info = NULL;
		LockKey key = {0};
		PartLock *lock;
		bool found;

		/* While a command runs, its snapshot keeps the rows that the list points to from going. */
		if (list_storage != table->storage_id || list_cid != cid)
		{
			info = look_up(table, row, cid);
			if (info == NULL)
			{
				read_list(table, cid);
				fresh = true;
			}
		}
		if (info == NULL)
			info = find_part(row);
		if (info == NULL)
		{
			if (fresh)
				return false;
			list_storage = 0;
			continue;
		}
		if (locks == NULL)
		{
			HASHCTL ctl = {.keysize = sizeof(LockKey), .entrysize = sizeof(PartLock)};

			ctl.hcxt = TopTransactionContext;
			locks = hash_create("metricsdb locked parts", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		}
		key.storage_id = info->storage_id;
		key.part_id = info->part_id;
		lock = hash_search(locks, &key, HASH_FIND, NULL);
		if (lock == NULL)
		{
			/* Not found: merged, or moved, after the list was read. */
			if (!lock_row(info, cid))
			{
				CHECK_FOR_INTERRUPTS();
				list_storage = 0;
				continue;
			}
			lock = hash_search(locks, &key, HASH_ENTER, &found);
			lock->subid = GetCurrentSubTransactionId();
		}
		last = info;
		return true;
	}
}

/*
 * mdb_part_claim - lock a part that is to be merged against everybody who would change rows of it, to the
 * end of the transaction.  False if somebody's transaction is at it.
 */
bool
mdb_part_claim(const MdbPartInfo *info)
{
	Relation rel = mdb_catalog_open("part", RowExclusiveLock);
	HeapTupleData tuple;
	TM_FailureData tmfd;
	TM_Result result;
	Buffer buf;

	tuple.t_self = info->tid;
	result = heap_lock_tuple(rel, &tuple, GetCurrentCommandId(true), LockTupleExclusive, LockWaitSkip, false,
							 &buf, &tmfd);
	if (BufferIsValid(buf))
		ReleaseBuffer(buf);
	table_close(rel, NoLock);
	return result == TM_Ok;
}

/*
 * mdb_part_busy - is somebody's transaction at rows of a part, so that a claim would fail now?
 */
bool
mdb_part_busy(const MdbPartInfo *info)
{
	Relation rel = mdb_catalog_open("part", AccessShareLock);
	bool busy = true;
	Buffer buf = ReadBuffer(rel, ItemPointerGetBlockNumber(&info->tid));
	Page page;
	ItemId item;

	LockBuffer(buf, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buf);
	if (ItemPointerGetOffsetNumber(&info->tid) <= PageGetMaxOffsetNumber(page) &&
		ItemIdIsNormal(item = PageGetItemId(page, ItemPointerGetOffsetNumber(&info->tid))))
	{
		HeapTupleData tuple;

		tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
		tuple.t_len = ItemIdGetLength(item);
		tuple.t_tableOid = RelationGetRelid(rel);
		tuple.t_self = info->tid;
		busy = HeapTupleSatisfiesUpdate(&tuple, GetCurrentCommandId(false), buf) != TM_Ok;
	}
	UnlockReleaseBuffer(buf);
	table_close(rel, AccessShareLock);
	return busy;
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		/* The table went with the transaction's memory. */
		locks = NULL;
		forget_list();
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	HASH_SEQ_STATUS seq;
	PartLock *lock;

	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	last = NULL;
	/* The lock that keeps rows where the list says may be gone. */
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_list();
	if (locks == NULL)
		return;
	hash_seq_init(&seq, locks);
	while ((lock = hash_seq_search(&seq)) != NULL)
	{
		if (lock->subid != subid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			lock->subid = parent;
		else
			hash_search(locks, &lock->key, HASH_REMOVE, NULL);
	}
}

/*
 * mdb_write_init - at load: follow transactions.
 */
void
mdb_write_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
