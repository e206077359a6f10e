/*
 * mover.c
 *	  Rows of the delta's heaps on their way into parts.
 *
 * A heap of the ring moves as a whole, once nobody writes to it any more, and is truncated later.
 * Rows of the row heap, which nobody else's transaction is at work on, move some at a time and are
 * deleted there.  Both leave a map of the new row numbers (moved.c).
 *
 * Indexes get entries for the new row numbers in the same transaction, before the old rows go.  Old
 * entries stay for those whose snapshots are older, until VACUUM, or until the heap is emptied.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "stop.h"
#include "write/write.h"

/* Rows that are made parts of at a time, out of a heap of the ring. */
#define RING_ROWS_MAX (1024 * 1024)

/* Rows that leave the row heap in one transaction: writers wait for it. */
#define ROWS_MAX (64 * 1024)

/* Fewer rows than this, and fewer pages, stay in the row heap until someone asks. */
#define ROWS_MIN  4096
#define PAGES_MIN 64

/* Where a row came from and went. */
typedef struct Pair
{
	int64 from;
	int64 to;
} Pair;

typedef struct Mover
{
	MemoryContext mcxt; /* of what is here */
	Relation rel;
	MdbAppend *append;
	int64 *from; /* identities of the rows that were appended and not yet written */
	uint32 nfrom;
	uint32 from_capacity;
	Pair *pairs;
	uint64 npairs;
	uint64 pairs_capacity;
} Mover;

static void
placed(void *arg, const uint32 *rows, uint32 n, const MdbPartInfo *part)
{
	Mover *m = arg;

	if (m->npairs + n > m->pairs_capacity)
	{
		m->pairs_capacity = Max(m->npairs + n, m->pairs_capacity * 2);
		m->pairs = m->pairs ? repalloc_huge(m->pairs, sizeof(Pair) * m->pairs_capacity)
							: MemoryContextAllocHuge(m->mcxt, sizeof(Pair) * m->pairs_capacity);
	}
	for (uint32 i = 0; i < n; i++)
	{
		m->pairs[m->npairs].from = m->from[rows[i]];
		m->pairs[m->npairs++].to = part->row_first + i;
	}
	mdb_index_new_part(m->rel, part);
}

static void
write_rows(Mover *m)
{
	mdb_append_write(m->append, GetCurrentCommandId(true), 0, false, 0, 0);
	m->nfrom = 0;
}

static int
pair_cmp(const void *a, const void *b)
{
	const Pair *x = a, *y = b;

	return x->from < y->from ? -1 : x->from > y->from;
}

/*
 * Write the rows of a heap that a snapshot taken now sees as parts, at most limit of them, and the map.
 * *tids gets their places, in order.
 */
static uint64
move(Relation rel, const MdbTable *table, Relation heap, int16 slot, uint64 limit, uint64 least,
	 ItemPointerData **tids)
{
	MemoryContext tmp =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb delta rows", ALLOCSET_DEFAULT_SIZES);
	Snapshot snapshot = mdb_latest_snapshot();
	TableScanDesc scan = table_beginscan(heap, snapshot, 0, NULL);
	TupleTableSlot *heapslot = table_slot_create(heap, NULL);
	TupleTableSlot *rowslot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
	Mover m = {.mcxt = CurrentMemoryContext, .rel = rel};
	MdbMoves *moves;
	uint64 n = 0;
	uint64 capacity = 0;

	*tids = NULL;
	m.append = mdb_append_create();
	mdb_append_open(m.append, rel);
	mdb_append_on_placed(m.append, placed, &m);
	while (n < limit && table_scan_getnextslot(scan, ForwardScanDirection, heapslot))
	{
		MemoryContext old = MemoryContextSwitchTo(tmp);
		MinimalTuple tuple = mdb_delta_tuple(heapslot);

		CHECK_FOR_INTERRUPTS();
		if (tuple == NULL)
		{
			MemoryContextSwitchTo(old);
			continue;
		}
		ExecStoreMinimalTuple(tuple, rowslot, false);
		MemoryContextSwitchTo(old);
		mdb_append_slots(m.append, &rowslot, 1);
		ExecClearTuple(rowslot);
		MemoryContextReset(tmp);
		MDB_STOP("retire.middle");

		if (m.nfrom == m.from_capacity)
		{
			m.from_capacity = Max(1024, m.from_capacity * 2);
			m.from = m.from ? repalloc_huge(m.from, sizeof(int64) * m.from_capacity)
							: palloc(sizeof(int64) * m.from_capacity);
		}
		m.from[m.nfrom++] = mdb_moved_identity(slot, &heapslot->tts_tid);
		if (n == capacity)
		{
			capacity = Max(1024, capacity * 2);
			*tids = *tids ? repalloc_huge(*tids, sizeof(ItemPointerData) * capacity)
						  : palloc(sizeof(ItemPointerData) * capacity);
		}
		(*tids)[n++] = heapslot->tts_tid;
		/* What few rows there are stays, and nothing was done. */
		if (n >= least && (mdb_append_nrows(m.append) >= RING_ROWS_MAX ||
						   mdb_append_bytes(m.append) > (Size) mdb_write_buffer * 1024))
			write_rows(&m);
	}
	table_endscan(scan);
	if (n >= least)
	{
		write_rows(&m);
		if (m.npairs > 0)
			qsort(m.pairs, m.npairs, sizeof(Pair), pair_cmp);
		moves = mdb_moves_begin(table->storage_id);
		for (uint64 i = 0; i < m.npairs; i++)
			mdb_moves_add(moves, m.pairs[i].from, m.pairs[i].to, 1);
		mdb_moves_write(moves, 0);
		mdb_moved_locks(rel);
	}
	else
		n = 0;
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(heapslot);
	ExecDropSingleTupleTableSlot(rowslot);
	mdb_append_free(m.append);
	if (m.from)
		pfree(m.from);
	if (m.pairs)
		pfree(m.pairs);
	MemoryContextDelete(tmp);
	return n;
}

/*
 * mdb_retire_slot - move the rows of a heap of the ring that nobody writes to any more into parts, and
 * retire it.  False if somebody's transaction is in the way: come back later.
 */
bool
mdb_retire_slot(Relation rel, const MdbDeltaInfo *info)
{
	MdbTable *table = mdb_table(rel);
	ItemPointerData *tids;
	Relation heap;

	if (!ConditionalLockRelationOid(info->relid, ShareLock))
		return false;
	heap = table_open(info->relid, NoLock);
	MDB_STOP("retire.start");
	/* Only a snapshot taken now, under the lock, is sure to see all that was committed. */
	(void) move(rel, table, heap, info->slot, PG_UINT64_MAX, 0, &tids);
	if (tids)
		pfree(tids);
	MDB_STOP("retire.parts");
	mdb_delta_set_live(info, false);
	CommandCounterIncrement();
	MDB_STOP("retire.end");
	table_close(heap, NoLock);
	return true;
}

/* Row heaps that hold too few rows: not looked into again before they grow, or some time has passed. */
#define QUIET_MAX   64
#define QUIET_PAUSE (600 * USECS_PER_SEC)

static struct
{
	Oid relid;
	BlockNumber pages;
	TimestampTz until;
} quiet[QUIET_MAX];
static int next_quiet = 0;

static bool
is_quiet(Oid relid, BlockNumber pages)
{
	for (int i = 0; i < QUIET_MAX; i++)
		if (quiet[i].relid == relid && pages <= quiet[i].pages + PAGES_MIN &&
			quiet[i].until > GetCurrentTimestamp())
			return true;
	return false;
}

static void
remember_quiet(Oid relid, BlockNumber pages)
{
	quiet[next_quiet].relid = relid;
	quiet[next_quiet].pages = pages;
	quiet[next_quiet].until = GetCurrentTimestamp() + QUIET_PAUSE;
	next_quiet = (next_quiet + 1) % QUIET_MAX;
}

/*
 * mdb_move_rows - move some rows of the row heap into parts.
 *
 * With a goal all there are, else only if there are enough.  True if some were moved, and there may be
 * more.
 */
bool
mdb_move_rows(Relation rel, const MdbTable *table, MdbCompactGoal *goal)
{
	Oid relid = mdb_delta_relid(table->storage_id, MDB_ROWS_SLOT);
	ItemPointerData *tids;
	BlockNumber pages;
	Relation heap;
	uint64 n;

	if (goal && goal->rows_done)
		return false;
	heap = table_open(relid, AccessShareLock);
	pages = RelationGetNumberOfBlocks(heap);
	table_close(heap, AccessShareLock);
	if (pages == 0 || (!goal && (pages < mdb_indexes_worth(rel, PAGES_MIN) || is_quiet(relid, pages))))
		return false;
	/* Nobody changes, or locks, rows of it meanwhile. */
	if (!ConditionalLockRelationOid(relid, ShareLock))
		return false;
	heap = table_open(relid, NoLock);
	n = move(rel, table, heap, MDB_ROWS_SLOT, ROWS_MAX, goal ? 1 : ROWS_MIN, &tids);
	for (uint64 i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		MDB_STOP("rows.middle");
		simple_heap_delete(heap, &tids[i]);
	}
	if (n > 0)
		MDB_STOP("rows.end");
	if (tids)
		pfree(tids);
	CommandCounterIncrement();
	if (n < ROWS_MAX)
	{
		if (goal)
			goal->rows_done = true;
		else
			remember_quiet(relid, pages);
	}
	table_close(heap, NoLock);
	if (n == 0)
		UnlockRelationOid(relid, ShareLock);
	return n > 0;
}
