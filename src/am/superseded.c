/*
 * superseded.c
 *	  Rows that this transaction has changed under another identity than the one its snapshot shows.
 *
 * While a transaction keeps its snapshot, compaction may give a row a new identity.  When the
 * transaction then changes the row, it does so under the new one (modify.c), but goes on reading the
 * part, or the heap, where the row is under the old one.  So it remembers here, for itself, that the
 * row is gone from there.
 *
 * That is of no interest to snapshots that see the move, and must not be: the place in a heap that the row
 * had may be another row's by then.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "am/am.h"

typedef struct SupersededKey
{
	int64 storage_id;
	int64 identity;
} SupersededKey;

typedef struct Superseded
{
	SupersededKey key;
	SubTransactionId subid;
	CommandId cid;          /* the command that changed the row */
	TransactionId moved_by; /* who had given it another identity */
} Superseded;

static HTAB *superseded = NULL;

/*
 * mdb_identity - a row's identity as one number, see write/moved.c.
 */
int64
mdb_identity(ItemPointer tid)
{
	ItemPointerData heap;

	if (!mdb_tid_is_delta(tid))
		return mdb_row_of_tid(tid);
	mdb_tid_in_heap(tid, &heap);
	return mdb_moved_identity(mdb_tid_slot(tid), &heap);
}

/*
 * mdb_tid_of_identity - the reverse.
 */
void
mdb_tid_of_identity(int64 identity, ItemPointer tid)
{
	int16 slot;
	ItemPointerData heap;

	if (mdb_moved_in_heap(identity, &slot, &heap))
		mdb_tid_of_delta(slot, &heap, tid);
	else
		mdb_tid_of_row(identity, tid);
}

/*
 * mdb_supersede - command cid of this transaction has changed a row that another one had moved away from
 * this identity.
 */
void
mdb_supersede(int64 storage_id, ItemPointer tid, TransactionId moved_by, CommandId cid)
{
	SupersededKey key = {.storage_id = storage_id, .identity = mdb_identity(tid)};
	Superseded *s;
	bool found;

	if (superseded == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(SupersededKey), .entrysize = sizeof(Superseded)};

		ctl.hcxt = TopTransactionContext;
		superseded =
			hash_create("metricsdb superseded rows", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	s = hash_search(superseded, &key, HASH_ENTER, &found);
	if (found)
		return;
	s->subid = GetCurrentSubTransactionId();
	s->cid = cid;
	s->moved_by = moved_by;
}

/*
 * mdb_superseded_any - has this transaction changed any row in that way?
 */
bool
mdb_superseded_any(void)
{
	return superseded != NULL && hash_get_num_entries(superseded) > 0;
}

/*
 * mdb_superseded - has it changed this row before the snapshot's command?
 */
bool
mdb_superseded(int64 storage_id, int64 identity, Snapshot snapshot)
{
	SupersededKey key = {.storage_id = storage_id, .identity = identity};
	Superseded *s;

	if (superseded == NULL || !IsMVCCSnapshot(snapshot))
		return false;
	s = hash_search(superseded, &key, HASH_FIND, NULL);
	return s != NULL && s->cid < snapshot->curcid && XidInMVCCSnapshot(s->moved_by, snapshot);
}

/*
 * mdb_rows_dead - which of the rows first .. first + n - 1 of a storage does a snapshot not see any more, by their
 * shadows, which may be NULL, and by what this transaction has changed elsewhere?  dead[i] is 1 or 0; false if none,
 * dead is not touched then.
 */
bool
mdb_rows_dead(MdbShadows *shadows, int64 storage_id, int64 first, uint32 n, Snapshot snapshot, uint8 *dead)
{
	bool any = mdb_shadows_dead(shadows, first, n, snapshot, dead);

	if (!mdb_superseded_any())
		return any;
	if (!any)
		memset(dead, 0, n);
	for (uint32 i = 0; i < n; i++)
		dead[i] |= mdb_superseded(storage_id, first + i, snapshot);
	return true;
}

static void
xact_callback(XactEvent event, void *arg)
{
	/* Its memory goes with the transaction's. */
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		superseded = NULL;
}

static void
subxact_callback(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	HASH_SEQ_STATUS seq;
	Superseded *s;

	if (superseded == NULL || (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB))
		return;
	hash_seq_init(&seq, superseded);
	while ((s = hash_seq_search(&seq)) != NULL)
	{
		if (s->subid != subid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			s->subid = parent;
		else
			hash_search(superseded, &s->key, HASH_REMOVE, NULL);
	}
}

/*
 * mdb_superseded_init - at load: follow transactions.
 */
void
mdb_superseded_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
