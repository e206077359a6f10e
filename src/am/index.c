/*
 * index.c
 *	  What indexes of a table need of it: rows by the identities that entries name, all rows to build
 *	  one from, and which entries nobody needs.
 *
 * Entries name rows as tid.h tells.  An entry of a row of the delta is removed when VACUUM of its heap
 * removes the row (proxy.c), one of a row of a part by VACUUM of the table (maintain.c).
 *
 * A build reads the blocks of parts as they are, and the heaps of the delta as any heap is read to
 * build an index: rows that are not dead to all get an entry, also those that have gone elsewhere but
 * are where they were to an older snapshot.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "commands/defrem.h"
#include "commands/progress.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/tuplesort.h"

#include "am/am.h"
#include "stop.h"

/* Blocks of parts that a process of a parallel build takes at a time. */
#define BUILD_CHUNK 8

/*
 * mdb_index_check_am - refuse to index a table by an access method that we do not know to work: those
 * of extensions, and BRIN, which goes through all blocks from the first one to the last of the file.
 */
void
mdb_index_check_am(const char *table_name, Oid am)
{
	HeapTuple tuple = SearchSysCache1(AMOID, ObjectIdGetDatum(am));
	Oid handler = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		handler = ((Form_pg_am) GETSTRUCT(tuple))->amhandler;
		ReleaseSysCache(tuple);
	}
	if (handler == F_BTHANDLER || handler == F_HASHHANDLER || handler == F_GISTHANDLER ||
		handler == F_SPGHANDLER || handler == F_GINHANDLER)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("access method \"%s\" does not support metricsdb tables", get_am_name(am)),
			 errdetail("Table \"%s\" can have indexes of access methods btree, hash, gist, spgist and gin.",
					   table_name),
			 errhint("Rows are kept in order of series and time; queries on these need no index.")));
}

/* ---- fetching ---- */

typedef struct IndexFetch
{
	IndexFetchTableData base;
	MdbFetch *fetch;
} IndexFetch;

/*
 * mdb_index_fetch_begin, _reset, _end, _tuple - see table_index_fetch_begin() and the others.
 */
IndexFetchTableData *
mdb_index_fetch_begin(Relation rel)
{
	IndexFetch *f = palloc0(sizeof(IndexFetch));

	f->base.rel = rel;
	f->fetch = mdb_fetch_begin(rel);
	mdb_fetch_keep_heaps(f->fetch);
	return &f->base;
}

void
mdb_index_fetch_reset(IndexFetchTableData *data)
{
	/* The decoded block is good for what comes next, too. */
	mdb_fetch_reset(((IndexFetch *) data)->fetch);
}

void
mdb_index_fetch_end(IndexFetchTableData *data)
{
	mdb_fetch_end(((IndexFetch *) data)->fetch);
	pfree(data);
}

bool
mdb_index_fetch_tuple(IndexFetchTableData *data, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot,
					  bool *call_again, bool *all_dead)
{
	bool found =
		mdb_fetch_entry(((IndexFetch *) data)->fetch, data->rel, tid, snapshot, slot, call_again, all_dead);

	if (found && !IsMVCCSnapshot(snapshot))
	{
		/* Who checks uniqueness looks at the row after the end of the scan. */
		slot_getallattrs(slot);
		ExecMaterializeSlot(slot);
	}
	return found;
}

/* ---- entries that nobody needs ---- */

/* The heap of a slot unless somebody is about to take it away: a page of an index is locked. */
static Relation
open_heap(const MdbDeltaInfo *deltas, int ndeltas, int16 slot, bool *live)
{
	for (int i = 0; i < ndeltas; i++)
		if (deltas[i].slot == slot && ConditionalLockRelationOid(deltas[i].relid, AccessShareLock))
		{
			*live = deltas[i].live;
			return table_open(deltas[i].relid, NoLock);
		}
	*live = false;
	return NULL;
}

static TransactionId
later_xid(TransactionId a, TransactionId b)
{
	if (!TransactionIdIsValid(a))
		return b;
	return TransactionIdIsValid(b) && TransactionIdFollows(b, a) ? b : a;
}

/* Entries of one slot of the delta, see below: those that may go are added to kept; returns their horizon. */
static TransactionId
delete_of_slot(const TM_IndexDeleteOp *delstate, const MdbDeltaInfo *deltas, int ndeltas, int16 slot,
			   TM_IndexDelete *kept, int *nkept)
{
	TM_IndexDeleteOp op = *delstate;
	TransactionId horizon = InvalidTransactionId;
	bool wanted = false;
	bool live;
	BlockNumber nblocks;
	Relation heap;

	for (int i = 0; i < delstate->ndeltids && !wanted; i++)
	{
		TM_IndexDelete *d = &delstate->deltids[i];

		wanted = mdb_tid_is_delta(&d->tid) && mdb_tid_slot(&d->tid) == slot &&
				 (delstate->bottomup || delstate->status[d->id].knowndeletable);
	}
	if (!wanted)
		return InvalidTransactionId;
	heap = open_heap(deltas, ndeltas, slot, &live);
	nblocks = heap ? RelationGetNumberOfBlocks(heap) : 0;
	op.bottomup = delstate->bottomup && live;
	op.deltids = palloc(sizeof(TM_IndexDelete) * delstate->ndeltids);
	op.ndeltids = 0;
	wanted = op.bottomup;
	for (int i = 0; i < delstate->ndeltids; i++)
	{
		TM_IndexDelete *from = &delstate->deltids[i];
		bool known = delstate->status[from->id].knowndeletable;
		ItemPointerData tid;

		if (!mdb_tid_is_delta(&from->tid) || mdb_tid_slot(&from->tid) != slot || !(live || known))
			continue;
		mdb_tid_in_heap(&from->tid, &tid);
		if (ItemPointerGetBlockNumber(&tid) < nblocks)
		{
			op.deltids[op.ndeltids].tid = tid;
			op.deltids[op.ndeltids++].id = from->id;
			wanted |= known;
		}
		else if (known)
		{
			/* Nobody can be asked any more: whatever the row was, no later transaction has removed it. */
			TransactionId latest = XidFromFullTransactionId(ReadNextFullTransactionId());

			TransactionIdRetreat(latest);
			horizon = later_xid(horizon, latest);
			kept[(*nkept)++] = *from;
		}
	}
	if (op.ndeltids > 0 && wanted)
	{
		horizon = later_xid(horizon, table_index_delete_tuples(heap, &op));
		for (int i = 0; i < op.ndeltids; i++)
		{
			kept[*nkept].id = op.deltids[i].id;
			mdb_tid_of_delta(slot, &op.deltids[i].tid, &kept[(*nkept)++].tid);
		}
	}
	pfree(op.deltids);
	if (heap)
		table_close(heap, NoLock);
	return horizon;
}

/*
 * mdb_index_delete_tuples - see table_index_delete_tuples().  Each delta heap tells of its own rows.
 *
 * Entries that are known to be deletable are all kept, also those of a slot that is retired: hash and GiST
 * indexes delete all of them whatever we say, and tell standbys no more than the horizon.  Those of rows of
 * parts were found dead, which they are only once their shadow was pruned (mdb_fetch_entry): standbys were told
 * then.  The others stay until VACUUM.
 */
TransactionId
mdb_index_delete_tuples(Relation rel, TM_IndexDeleteOp *delstate)
{
	MdbTable *table = mdb_table(rel);
	Snapshot snapshot = mdb_latest_snapshot();
	TransactionId horizon = InvalidTransactionId;
	TM_IndexDelete *kept = palloc(sizeof(TM_IndexDelete) * Max(1, delstate->ndeltids));
	int nkept = 0;
	MdbDeltaInfo *deltas;
	int ndeltas;

	mdb_delta_list(table->storage_id, snapshot, &deltas, &ndeltas);
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < delstate->ndeltids; i++)
		if (!mdb_tid_is_delta(&delstate->deltids[i].tid) &&
			delstate->status[delstate->deltids[i].id].knowndeletable)
			kept[nkept++] = delstate->deltids[i];
	for (int16 slot = 0; slot < MDB_DELTA_SLOTS; slot++)
		horizon = later_xid(horizon, delete_of_slot(delstate, deltas, ndeltas, slot, kept, &nkept));
	memcpy(delstate->deltids, kept, sizeof(TM_IndexDelete) * nkept);
	delstate->ndeltids = nkept;
	pfree(kept);
	pfree(deltas);
	return horizon;
}

/* ---- all rows, in order of their identities ---- */

typedef struct Walk
{
	Relation rel;
	MdbTable *table;
	Snapshot snapshot; /* NULL: whatever is not dead to all */
	TransactionId oldest_xmin;
	bool left;   /* rows of the present part or heap are elsewhere now */
	bool broken; /* versions were left out whose chain's entry has other keys */
	MdbShadows *shadows;
	MdbBlock *block;
	uint8 *fates;
	uint32 fates_capacity;
	TupleTableSlot *slot;       /* the present row */
	TupleTableSlot *tuple_slot; /* if it is one of the delta, and nothing but columns is asked of it */
	bool columns_only;
	MdbBlock *in_block; /* if it is one of a part: where it is */
	uint32 in_row;
	MemoryContext row_mcxt;
	bool progress;
	int64 blocks_done;
	void (*row)(struct Walk *w, ItemPointer tid, bool alive);
} Walk;

static void
walk_begin(Walk *w, Relation rel, Snapshot snapshot, TransactionId oldest_xmin)
{
	mdb_buffer_flush_relation(RelationGetRelid(rel));
	w->rel = rel;
	w->table = mdb_table(rel);
	w->snapshot = snapshot;
	w->oldest_xmin = oldest_xmin;
	w->shadows = mdb_shadows_open(rel, w->table);
	w->block = mdb_block_create(w->table, RelationGetDescr(rel), mdb_series_cache_create(w->table, snapshot));
	w->slot = table_slot_create(rel, NULL);
	w->tuple_slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
	w->row_mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb indexed row", ALLOCSET_DEFAULT_SIZES);
}

static void
walk_end(Walk *w)
{
	ExecDropSingleTupleTableSlot(w->slot);
	ExecDropSingleTupleTableSlot(w->tuple_slot);
	mdb_shadows_close(w->shadows);
}

static void
block_done(Walk *w, int64 n)
{
	w->blocks_done += n;
	if (w->progress)
		pgstat_progress_update_param(PROGRESS_SCAN_BLOCKS_DONE, w->blocks_done);
}

static void
walk_block(Walk *w, MdbPart *part, int block)
{
	MdbBlock *b = w->block;
	int64 first = part->block_first[block];
	bool fates;

	mdb_block_set(b, part, block);
	if (w->fates_capacity < b->nrows)
	{
		w->fates_capacity = Max(b->nrows, MDB_BLOCK_ROWS_MAX);
		w->fates = w->fates ? repalloc(w->fates, w->fates_capacity) : palloc(w->fates_capacity);
	}
	fates = w->snapshot ? mdb_shadows_dead(w->shadows, first, b->nrows, w->snapshot, w->fates)
						: mdb_shadows_fates(w->shadows, first, b->nrows, w->oldest_xmin, w->fates);
	w->in_block = b;
	for (uint32 i = 0; i < b->nrows; i++)
	{
		ItemPointerData tid;

		CHECK_FOR_INTERRUPTS();
		if (fates && w->fates[i] == MDB_ROW_DEAD)
			continue;
		mdb_tid_of_row(first + i, &tid);
		mdb_require_tid(w->rel, &tid);
		ExecClearTuple(w->slot);
		mdb_slot_store_row(w->slot, b, i);
		w->slot->tts_tid = tid;
		w->slot->tts_tableOid = RelationGetRelid(w->rel);
		w->in_row = i;
		w->row(w, &tid, !w->left && !(fates && w->fates[i] == MDB_ROW_LEAVING));
	}
	ExecClearTuple(w->slot);
	block_done(w, 1);
}

static void
walk_part(Walk *w, const MdbPartInfo *info, int from, int to)
{
	MdbPart *part = mdb_part_open(w->rel, info);

	for (int block = from; block < Min(to, info->nblocks); block++)
		walk_block(w, part, block);
	mdb_part_close(part);
}

/*
 * Does a tuple of a delta heap, whose page is locked, get an entry?  As for any heap: of a chain of HOT
 * updates the last version does.  What came before may differ in the new index's columns, so snapshots
 * that see that do not get to use the index.
 */
static bool
wanted(Walk *w, HeapTuple tuple, Buffer buf, bool *alive)
{
	HTSV_Result state;

	*alive = true;
	if (w->snapshot)
		return HeapTupleSatisfiesVisibility(tuple, w->snapshot, buf);
	state = HeapTupleSatisfiesVacuum(tuple, w->oldest_xmin, buf);
	*alive = !w->left && (state == HEAPTUPLE_LIVE || state == HEAPTUPLE_INSERT_IN_PROGRESS);
	if ((state == HEAPTUPLE_RECENTLY_DEAD || state == HEAPTUPLE_DELETE_IN_PROGRESS) &&
		HeapTupleIsHotUpdated(tuple))
	{
		w->broken = true;
		return false;
	}
	return state != HEAPTUPLE_DEAD;
}

/* A tuple of a delta heap, whose entry is that of the chain's root. */
static void
walk_tuple(Walk *w, Relation heap, int16 slot, HeapTuple tuple, OffsetNumber root, bool alive)
{
	MemoryContext old;
	ItemPointerData entry;
	ItemPointerData tid;
	Datum row;
	bool isnull;

	row = heap_getattr(tuple, Anum_delta_row, RelationGetDescr(heap), &isnull);
	if (isnull)
		return;
	MemoryContextReset(w->row_mcxt);
	old = MemoryContextSwitchTo(w->row_mcxt);
	mdb_tid_of_delta(slot, &tuple->t_self, &tid);
	entry = tid;
	ItemPointerSetOffsetNumber(&entry, root);
	if (w->columns_only)
		ExecStoreMinimalTuple(mdb_delta_row(row), w->tuple_slot, false);
	else
	{
		ExecClearTuple(w->slot);
		mdb_slot_store_tuple(w->slot, mdb_delta_row(row));
		w->slot->tts_tid = tid;
		w->slot->tts_tableOid = RelationGetRelid(w->rel);
	}
	MemoryContextSwitchTo(old);
	w->row(w, &entry, alive);
}

/* A tuple of a page, and where its chain of HOT updates begins. */
typedef struct Member
{
	HeapTupleData tuple;
	OffsetNumber root;
	bool alive;
} Member;

static int
member_cmp(const void *a, const void *b)
{
	const Member *x = a, *y = b;

	return (int) x->root - (int) y->root;
}

/* The tuples of a page of a delta heap that get an entry, in order of these. */
static void
walk_page(Walk *w, Relation heap, int16 slot, BlockNumber block, BufferAccessStrategy strategy)
{
	Buffer buf = ReadBufferExtended(heap, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
	Member members[MaxHeapTuplesPerPage];
	OffsetNumber roots[MaxHeapTuplesPerPage];
	int n = 0;
	Page page;
	OffsetNumber max;

	LockBuffer(buf, BUFFER_LOCK_SHARE);
	page = BufferGetPage(buf);
	max = PageIsNew(page) ? 0 : PageGetMaxOffsetNumber(page);
	if (max > 0)
		heap_get_root_tuples(page, roots);
	for (OffsetNumber off = FirstOffsetNumber; off <= max; off++)
	{
		ItemId item = PageGetItemId(page, off);
		Member *m = &members[n];

		if (!ItemIdIsNormal(item))
			continue;
		m->tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
		m->tuple.t_len = ItemIdGetLength(item);
		m->tuple.t_tableOid = RelationGetRelid(heap);
		ItemPointerSet(&m->tuple.t_self, block, off);
		m->root = HeapTupleIsHeapOnly(&m->tuple) ? roots[off - 1] : off;
		if (!wanted(w, &m->tuple, buf, &m->alive))
			continue;
		if (!OffsetNumberIsValid(m->root))
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
							errmsg_internal(
								"failed to find parent tuple for heap-only tuple at (%u,%u) in table \"%s\"",
								block, off, RelationGetRelationName(heap))));
		n++;
	}
	/* The pin keeps them where they are. */
	LockBuffer(buf, BUFFER_LOCK_UNLOCK);
	qsort(members, n, sizeof(Member), member_cmp);
	for (int i = 0; i < n; i++)
		walk_tuple(w, heap, slot, &members[i].tuple, members[i].root, members[i].alive);
	ReleaseBuffer(buf);
}

static void
walk_heap(Walk *w, const MdbDeltaInfo *delta)
{
	/* Kept to the end of the transaction: nobody truncates it before. */
	Relation heap = table_open(delta->relid, AccessShareLock);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	BlockNumber nblocks = RelationGetNumberOfBlocks(heap);

	w->in_block = NULL;
	for (BlockNumber block = 0; block < nblocks; block++)
	{
		CHECK_FOR_INTERRUPTS();
		walk_page(w, heap, delta->slot, block, strategy);
		block_done(w, 1);
	}
	FreeAccessStrategy(strategy);
	ExecClearTuple(w->slot);
	ExecClearTuple(w->tuple_slot);
	table_close(heap, NoLock);
}

static int
row_cmp(const void *a, const void *b)
{
	const MdbPartInfo *x = a, *y = b;

	return x->row_first < y->row_first ? -1 : x->row_first > y->row_first;
}

static int
slot_cmp(const void *a, const void *b)
{
	const MdbDeltaInfo *x = a, *y = b;

	return y->slot - x->slot;
}

/* What there is to walk through, in order of identities; true to all processes of a parallel build. */
typedef struct Units
{
	MdbPartList *parts;
	MdbDeltaInfo *deltas;
	int ndeltas;
} Units;

static void
list_units(Walk *w, Units *u)
{
	if (w->snapshot)
	{
		u->parts = mdb_parts_visible(w->table, w->snapshot);
		mdb_delta_live(w->table, w->snapshot, &u->deltas, &u->ndeltas);
	}
	else
	{
		/* The table is locked against whoever could change them. */
		Snapshot now = mdb_latest_snapshot();
		int n = 0;

		u->parts = mdb_parts_visible(w->table, now);
		mdb_delta_list(w->table->storage_id, now, &u->deltas, &u->ndeltas);
		UnregisterSnapshot(now);
		for (int i = 0; i < u->ndeltas; i++)
			if (u->deltas[i].live)
				u->deltas[n++] = u->deltas[i];
		u->ndeltas = n;
	}
	qsort(u->parts->parts, u->parts->count, sizeof(MdbPartInfo), row_cmp);
	qsort(u->deltas, u->ndeltas, sizeof(MdbDeltaInfo), slot_cmp);
	if (w->progress)
	{
		int64 total = u->parts->nblocks;

		for (int i = 0; i < u->ndeltas; i++)
		{
			Relation heap = table_open(u->deltas[i].relid, AccessShareLock);

			total += RelationGetNumberOfBlocks(heap);
			table_close(heap, NoLock);
		}
		pgstat_progress_update_param(PROGRESS_SCAN_BLOCKS_TOTAL, total);
	}
}

/* Parts and heaps whose rows are elsewhere by now, but not for the oldest snapshots. */
static void
walk_left(Walk *w, const Units *u)
{
	MdbPartList *left = mdb_parts_leaving(w->table, w->oldest_xmin);
	Snapshot now = mdb_latest_snapshot();
	MdbDeltaInfo *deltas;
	int ndeltas;

	w->left = true;
	for (int i = 0; i < left->count; i++)
	{
		bool again = false;

		/* A part that was moved has its row numbers still. */
		for (int k = 0; k < u->parts->count && !again; k++)
			again = u->parts->parts[k].row_first == left->parts[i].row_first;
		for (int k = 0; k < i && !again; k++)
			again = left->parts[k].row_first == left->parts[i].row_first;
		if (!again)
			walk_part(w, &left->parts[i], 0, left->parts[i].nblocks);
	}
	mdb_delta_list(w->table->storage_id, now, &deltas, &ndeltas);
	UnregisterSnapshot(now);
	for (int i = 0; i < ndeltas; i++)
		if (!deltas[i].live && TransactionIdIsNormal(deltas[i].xmin) &&
			!TransactionIdPrecedes(deltas[i].xmin, w->oldest_xmin))
			walk_heap(w, &deltas[i]);
	w->left = false;
}

static void
walk_serial(Walk *w)
{
	Units u;

	list_units(w, &u);
	for (int i = 0; i < u.ndeltas; i++)
		walk_heap(w, &u.deltas[i]);
	for (int i = 0; i < u.parts->count; i++)
		walk_part(w, &u.parts->parts[i], 0, u.parts->parts[i].nblocks);
	if (w->snapshot == NULL)
		walk_left(w, &u);
}

/* The share of this process.  Units: chunks of blocks of a part, the heaps, and what has left. */
static void
walk_parallel(Walk *w, MdbParallelScan *shared)
{
	uint64 mine = pg_atomic_fetch_add_u64(&shared->next, 1);
	uint64 unit = 0;
	Units u;

	list_units(w, &u);
	for (int i = 0; i < u.parts->count; i++)
	{
		MdbPartInfo *info = &u.parts->parts[i];

		for (int from = 0; from < info->nblocks; from += BUILD_CHUNK)
			if (unit++ == mine)
			{
				walk_part(w, info, from, from + BUILD_CHUNK);
				mine = pg_atomic_fetch_add_u64(&shared->next, 1);
			}
	}
	for (int i = 0; i < u.ndeltas; i++)
		if (unit++ == mine)
		{
			walk_heap(w, &u.deltas[i]);
			mine = pg_atomic_fetch_add_u64(&shared->next, 1);
		}
	if (unit == mine && w->snapshot == NULL)
		walk_left(w, &u);
}

/* ---- building ---- */

typedef struct Build
{
	Walk walk; /* must be first */
	Relation index;
	IndexInfo *info;
	bool plain; /* all keys are columns */
	EState *estate;
	ExprContext *econtext;
	ExprState *predicate;
	double reltuples;
	IndexBuildCallback callback;
	void *callback_state;

	/* validation: identities that are in the index, in order */
	ValidateIndexState *validate;
	bool begun;
	bool at_end;
	ItemPointerData cursor;
} Build;

static void
build_begin(Build *b, Relation rel, Relation index, IndexInfo *info, Snapshot snapshot,
			TransactionId oldest_xmin)
{
	b->index = index;
	b->info = info;
	b->plain = true;
	for (int i = 0; i < info->ii_NumIndexAttrs; i++)
		b->plain &= info->ii_IndexAttrNumbers[i] > 0;
	b->estate = CreateExecutorState();
	b->econtext = GetPerTupleExprContext(b->estate);
	walk_begin(&b->walk, rel, snapshot, oldest_xmin);
	b->econtext->ecxt_scantuple = b->walk.slot;
	b->predicate = ExecPrepareQual(info->ii_Predicate, b->estate);
	b->walk.columns_only = b->plain && b->predicate == NULL;
}

static void
build_end(Build *b)
{
	walk_end(&b->walk);
	FreeExecutorState(b->estate);
	b->info->ii_BrokenHotChain |= b->walk.broken;
	/* These pointed into it. */
	b->info->ii_ExpressionsState = NIL;
	b->info->ii_PredicateState = NULL;
}

/* The keys of the present row; false if the index does not want it. */
static bool
form_keys(Build *b, Datum *values, bool *isnull)
{
	Walk *w = &b->walk;

	MemoryContextReset(b->econtext->ecxt_per_tuple_memory);
	if (b->predicate && !ExecQual(b->predicate, b->econtext))
		return false;
	if (b->plain && w->in_block)
		for (int i = 0; i < b->info->ii_NumIndexAttrs; i++)
			values[i] =
				mdb_block_value(w->in_block, w->in_row, b->info->ii_IndexAttrNumbers[i] - 1, &isnull[i]);
	else
		FormIndexDatum(b->info, w->in_block || !w->columns_only ? w->slot : w->tuple_slot, b->estate, values,
					   isnull);
	return true;
}

static void
build_row(Walk *w, ItemPointer tid, bool alive)
{
	Build *b = (Build *) w;
	Datum values[INDEX_MAX_KEYS];
	bool isnull[INDEX_MAX_KEYS];

	if (alive)
		b->reltuples++;
	if (form_keys(b, values, isnull))
		b->callback(b->index, tid, values, isnull, alive, b->callback_state);
}

/*
 * mdb_index_build_range_scan - see table_index_build_scan().
 */
double
mdb_index_build_range_scan(Relation rel, Relation index, IndexInfo *info, bool allow_sync, bool anyvisible,
						   bool progress, BlockNumber start_blockno, BlockNumber numblocks,
						   IndexBuildCallback callback, void *callback_state, TableScanDesc scan)
{
	Build b = {.walk = {.row = build_row, .progress = progress}};
	TransactionId oldest_xmin = InvalidTransactionId;
	Snapshot snapshot = NULL;

	mdb_index_check_am(RelationGetRelationName(rel), index->rd_rel->relam);
	if (start_blockno != 0 || numblocks != InvalidBlockNumber)
		elog(ERROR, "an index of a metricsdb table cannot be built from a range of blocks");
	if (!info->ii_Concurrent)
		oldest_xmin = GetOldestNonRemovableTransactionId(rel);
	else
		snapshot = RegisterSnapshot(scan ? scan->rs_snapshot : GetTransactionSnapshot());

	b.callback = callback;
	b.callback_state = callback_state;
	build_begin(&b, rel, index, info, snapshot, oldest_xmin);
	/* Who verifies an index comes with a serial scan, for its snapshot. */
	if (scan && scan->rs_parallel)
		walk_parallel(&b.walk, (MdbParallelScan *) scan->rs_parallel);
	else
		walk_serial(&b.walk);
	build_end(&b);
	if (scan)
		table_endscan(scan);
	if (snapshot)
		UnregisterSnapshot(snapshot);
	return b.reltuples;
}

/* Insert the present row, which the snapshot sees, unless the index has it. */
static void
validate_row(Walk *w, ItemPointer tid, bool alive)
{
	Build *b = (Build *) w;
	Datum values[INDEX_MAX_KEYS];
	bool isnull[INDEX_MAX_KEYS];

	b->validate->htups += 1;
	while (!b->at_end && (!b->begun || ItemPointerCompare(&b->cursor, tid) < 0))
	{
		Datum encoded;
		bool encoded_null;

		b->begun = true;
		b->at_end = !mdb_sorted_datum(b->validate->tuplesort, &encoded, &encoded_null);
		if (!b->at_end)
			itemptr_decode(&b->cursor, DatumGetInt64(encoded));
	}
	if (!b->at_end && ItemPointerEquals(&b->cursor, tid))
		return;
	if (!form_keys(b, values, isnull))
		return;
	index_insert(b->index, values, isnull, tid, w->rel,
				 b->info->ii_Unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO, false, b->info);
	b->validate->tups_inserted += 1;
}

/*
 * mdb_index_validate_scan - see table_index_validate_scan().
 */
void
mdb_index_validate_scan(Relation rel, Relation index, IndexInfo *info, Snapshot snapshot,
						ValidateIndexState *state)
{
	Build b = {.walk = {.row = validate_row, .progress = true}, .validate = state};

	build_begin(&b, rel, index, info, snapshot, InvalidTransactionId);
	walk_serial(&b.walk);
	build_end(&b);
}

/* ---- parts that rows were moved to ---- */

typedef struct PartIndexer
{
	Walk walk; /* must be first */
	MdbIndexWriter *writer;
} PartIndexer;

static void
index_row(Walk *w, ItemPointer tid, bool alive)
{
	mdb_index_writer_insert(((PartIndexer *) w)->writer, w->slot);
}

/* See mdb_index_new_part(): nobody else sees the part yet. */
static void
index_part(Relation rel, const MdbPartInfo *part)
{
	MemoryContext mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb part being indexed", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	PartIndexer p = {.walk = {.row = index_row}};

	p.writer = mdb_index_writer_begin(rel);
	if (p.writer)
	{
		walk_begin(&p.walk, rel, NULL, InvalidTransactionId);
		mdb_shadows_close(p.walk.shadows);
		p.walk.shadows = NULL;
		walk_part(&p.walk, part, 0, part->nblocks);
		walk_end(&p.walk);
	}
	mdb_index_writer_end(p.writer);
	MDB_STOP("index.part");
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
}

/*
 * mdb_index_init - at load.
 */
void
mdb_index_init(void)
{
	mdb_part_indexer = index_part;
}
