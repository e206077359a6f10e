/*
 * rewrite.c
 *	  VACUUM FULL and CLUSTER: all rows into a new file, and for each snapshot those that it saw.
 *
 * A transaction whose snapshot is older than the rewrite may come to the table afterwards.  So not only
 * the rows are written that are there now, but all that are not dead to everybody, and each keeps the
 * time from when on, and until when, it is there: its life (store/life.c).
 *
 *	- Rows that were always there, as far as any snapshot knows, become rows of parts or of the delta as
 *	  those of a large INSERT do, but frozen.
 *	- Rows of parts that came lately become parts whose rows in metricsdb.part have the xmin of the old
 *	  ones.
 *	- Rows that were deleted or updated lately, and those of the delta that came lately, go to the new row
 *	  heap as a rewrite of a heap writes them, with xmin and xmax, and chains of versions.
 *
 * Moves by compaction are undone: a row that was moved lately is written once, with the life that it had
 * before and has since.  So to whoever comes later it is as if it had never been moved, and maps of moved
 * rows (write/moved.c) are not needed.  Where a row ended up is found by following it from where it was
 * first; there it is marked as reached.  Places are gone through in order of age: delta, then parts by their
 * ids, as rows move to younger parts only.
 *
 * There are three passes, as the new row heap is written past the buffers by the first: what goes there
 * with its life; what the others have left of places that rows have left, and of new parts; and a scan
 * of the rest.  All must come to the same of each row, whoever ends his snapshot between them, and VACUUM may
 * be at work on the delta's heaps and on our catalogs.  So the horizon is held where it was at the start: what
 * somebody could see then is neither pruned nor frozen.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/multixact.h"
#include "access/rewriteheap.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "am/am.h"
#include "stop.h"

/* Moves are looked up for so many identities at a time, of so many places. */
#define WINDOW_BITS 13
#define WINDOWS     16

typedef struct Window
{
	int64 number; /* identity >> WINDOW_BITS; -1 = none */
	MemoryContext mcxt;
	MdbMovedRuns runs;
} Window;

typedef struct Rewrite
{
	Relation old;
	Relation new;
	MdbTable *table; /* the old one's */
	TransactionId oldest_xmin;
	CommandId cid;
	bool raw;           /* this is the first pass */
	MdbPartLife *parts; /* by row number */
	int nparts;
	int *by_age;     /* the same by id */
	uint8 **reached; /* of parts that came lately: bits of rows that others became */
	MdbDeltaInfo *deltas;
	int ndeltas;
	Relation row_heap;
	MdbShadows *shadows;
	RewriteState state; /* first pass: the new row heap */
	Relation new_heap;
	MdbAppend *append; /* second pass */
	MdbLife part_life;
	MdbBlock *block;
	uint8 *fates;
	TupleTableSlot *slot;
	MemoryContext row_mcxt;
	MdbMovedMaps *maps;
	Window windows[WINDOWS];
	int next_window;
	double ntuples;
	double nrecently_dead;
} Rewrite;

/* The version of a row that is being followed. */
typedef struct Version
{
	MdbLife life;
	ItemPointerData self; /* where older versions lead to */
	ItemPointerData next; /* the newer version, or self */
	bool updated;         /* it is the newer version of another one */
} Version;

static bool
came_lately(const MdbLife *life)
{
	return TransactionIdIsNormal(life->xmin);
}

static bool
ends(const MdbLife *life)
{
	return TransactionIdIsValid(life->xmax);
}

/* ---- where rows went ---- */

static Window *
window_of(Rewrite *w, int64 identity)
{
	int64 number = identity >> WINDOW_BITS;
	MemoryContext old;
	Window *window;

	for (int i = 0; i < WINDOWS; i++)
		if (w->windows[i].number == number)
			return &w->windows[i];
	window = &w->windows[w->next_window];
	w->next_window = (w->next_window + 1) % WINDOWS;
	MemoryContextReset(window->mcxt);
	window->number = -1;
	old = MemoryContextSwitchTo(window->mcxt);
	mdb_moved_runs(w->maps, number << WINDOW_BITS,
				   (number << WINDOW_BITS) + (INT64CONST(1) << WINDOW_BITS) - 1, &window->runs);
	MemoryContextSwitchTo(old);
	window->number = number;
	return window;
}

/* The row number that a transaction gave to a row which had another identity; -1 if it did not move it. */
static int64
moved_to(Rewrite *w, int64 identity, TransactionId by)
{
	return mdb_moved_to(&window_of(w, identity)->runs, identity, by);
}

/* The part that a row is of, or -1. */
static int
part_of(const Rewrite *w, int64 row)
{
	int lo = 0, hi = w->nparts;

	while (lo < hi)
	{
		int mid = (lo + hi) / 2;

		if (w->parts[mid].info.row_first + w->parts[mid].info.nrows <= row)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < w->nparts && w->parts[lo].info.row_first <= row ? lo : -1;
}

/* The shadow of a row of a part: what it says of the row's end goes to *v. */
static void
end_as_shadow(Rewrite *w, int64 row, Version *v)
{
	HeapTupleHeaderData shadow;
	ItemPointerData tid;

	if (!mdb_shadow_header(w->row_heap, w->table->storage_id, row, &shadow) ||
		!mdb_shadow_tid(w->row_heap, w->table->storage_id, row, false, &tid))
		elog(ERROR, "the shadow of row %lld is gone", (long long) row);
	mdb_life_end(&v->life, &shadow);
	if (!HeapTupleHeaderIndicatesMovedPartitions(&shadow) && !ItemPointerEquals(&shadow.t_ctid, &tid))
		mdb_tid_of_delta(MDB_ROWS_SLOT, &shadow.t_ctid, &v->next);
}

/*
 * A row was moved to this number: what became of it there, and thereafter.  False if it is dead to all by now:
 * then everybody also sees the moves that came before its end, however young their transactions are.
 */
static bool
follow(Rewrite *w, int64 row, Version *v)
{
	while (row >= 0)
	{
		int p = part_of(w, row);
		uint8 fate;

		if (p < 0 || w->reached[p] == NULL)
			elog(ERROR, "row %lld of storage %lld was moved into a part that is gone", (long long) row,
				 (long long) w->table->storage_id);
		w->reached[p][(row - w->parts[p].info.row_first) / 8] |= 1 << (row - w->parts[p].info.row_first) % 8;
		v->life.xmax = InvalidTransactionId;
		if (!mdb_shadows_fates(w->shadows, row, 1, w->oldest_xmin, &fate))
			fate = MDB_ROW_LIVE;
		if (fate == MDB_ROW_DEAD)
			return false;
		if (fate == MDB_ROW_LEAVING)
		{
			end_as_shadow(w, row, v);
			return true;
		}
		if (!ends(&w->parts[p].life))
			return true;
		v->life.xmax = w->parts[p].life.xmax;
		row = moved_to(w, row, v->life.xmax);
	}
	return true;
}

/* ---- what is written ---- */

static void
put_raw(Rewrite *w, const Version *v, TupleTableSlot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(w->row_mcxt);
	HeapTupleHeaderData header = {0};
	HeapTupleData before = {0};

	slot_getallattrs(slot);
	before.t_data = &header;
	before.t_len = SizeofHeapTupleHeader;
	before.t_tableOid = RelationGetRelid(w->row_heap);
	before.t_self = v->self;
	header.t_ctid = v->next;
	if (v->updated)
		header.t_infomask |= HEAP_UPDATED;
	mdb_life_put(&v->life, &header);
	rewrite_heap_tuple(w->state, &before,
					   mdb_delta_heap_tuple(w->new_heap, mdb_delta_form(RelationGetDescr(w->new),
																		slot->tts_values, slot->tts_isnull)));
	MemoryContextSwitchTo(old);
	w->ntuples++;
	w->nrecently_dead += ends(&v->life);
}

static void
put_frozen(Rewrite *w, TupleTableSlot *slot)
{
	mdb_buffer_insert(w->new, &slot, 1, w->cid, HEAP_INSERT_FROZEN);
	w->ntuples++;
}

static void
placed(void *arg, const uint32 *rows, uint32 n, const MdbPartInfo *part)
{
	Rewrite *w = arg;

	if (came_lately(&w->part_life))
		mdb_part_set_life(part, &w->part_life);
}

static void
end_part(Rewrite *w)
{
	mdb_append_write(w->append, w->cid, HEAP_INSERT_FROZEN, false, 0, 0);
}

static void
put_in_part(Rewrite *w, TupleTableSlot *slot)
{
	mdb_append_slots(w->append, &slot, 1);
	if (mdb_append_bytes(w->append) > (Size) mdb_write_buffer * 1024)
		end_part(w);
	w->ntuples++;
}

/* ---- places ---- */

/* A row of a part: is it to be written in this pass, and as what? */
static bool
row_version(Rewrite *w, const MdbPartLife *part, int64 row, uint8 fate, Version *v)
{
	v->life = part->life;
	v->life.xmax = InvalidTransactionId;
	v->updated = false;
	/* The number is that of no tuple of the delta: no older version leads here. */
	mdb_tid_of_row(row, &v->self);
	v->next = v->self;
	if (fate == MDB_ROW_LEAVING)
		end_as_shadow(w, row, v);
	else if (ends(&part->life))
	{
		v->life.xmax = part->life.xmax;
		if (!follow(w, moved_to(w, row, part->life.xmax), v))
			return false;
	}
	return ends(&v->life) ? w->raw && !mdb_life_is_empty(&v->life) : !w->raw;
}

static void
rewrite_block(Rewrite *w, int p, MdbPart *part, int block, int64 first)
{
	const MdbPartLife *of = &w->parts[p];
	uint32 nrows = part->block_rows[block];
	bool leaving = ends(&of->life);
	bool fates = mdb_shadows_fates(w->shadows, first, nrows, w->oldest_xmin, w->fates);
	bool decoded = false;

	/* Nothing but what was deleted lately is of interest in the first pass, unless all of it has left. */
	if (w->raw && !fates && !leaving)
		return;
	for (uint32 i = 0; i < nrows; i++)
	{
		uint8 fate = fates ? w->fates[i] : MDB_ROW_LIVE;
		int64 at = first + i - of->info.row_first;
		Version v;

		CHECK_FOR_INTERRUPTS();
		if (fate == MDB_ROW_DEAD || (w->reached[p] && (w->reached[p][at / 8] & (1 << at % 8))) ||
			!row_version(w, of, first + i, fate, &v))
			continue;
		/* The scan takes the others of parts that were always there. */
		if (!w->raw && !came_lately(&of->life) && !leaving)
			continue;
		if (!decoded)
			mdb_block_set(w->block, part, block);
		decoded = true;
		ExecClearTuple(w->slot);
		mdb_slot_store_row(w->slot, w->block, i);
		if (w->raw)
			put_raw(w, &v, w->slot);
		else
		{
			slot_getallattrs(w->slot);
			if (came_lately(&of->life))
				put_in_part(w, w->slot);
			else
				put_frozen(w, w->slot);
		}
		MemoryContextReset(w->row_mcxt);
	}
	ExecClearTuple(w->slot);
}

static void
rewrite_part(Rewrite *w, int p)
{
	const MdbPartLife *of = &w->parts[p];
	int64 first = of->info.row_first;
	MdbPart *part;

	if (!came_lately(&of->life) && !ends(&of->life) && (!w->raw || w->shadows == NULL))
		return;
	w->part_life = of->life;
	w->part_life.xmax = InvalidTransactionId;
	part = mdb_part_open(w->old, &of->info);
	for (int block = 0; block < of->info.nblocks; block++)
	{
		rewrite_block(w, p, part, block, first);
		first += part->block_rows[block];
	}
	mdb_part_close(part);
	if (!w->raw)
		end_part(w);
}

/* A tuple of a delta heap that is not dead to all.  left_by: who made the heap's rows rows of parts, if so. */
static void
rewrite_tuple(Rewrite *w, Relation heap, int16 slot, TransactionId left_by, HeapTuple tuple, Version *v)
{
	MemoryContext old;
	bool isnull;
	Datum row = heap_getattr(tuple, Anum_delta_row, RelationGetDescr(heap), &isnull);
	bool stays = !TransactionIdIsValid(left_by);

	if (isnull)
		return;
	v->updated = (tuple->t_data->t_infomask & HEAP_UPDATED) != 0;
	mdb_tid_of_delta(slot, &tuple->t_self, &v->self);
	v->next = v->self;
	if (ends(&v->life) && !HeapTupleHeaderIndicatesMovedPartitions(tuple->t_data) &&
		!ItemPointerEquals(&tuple->t_data->t_ctid, &tuple->t_self))
		mdb_tid_of_delta(slot, &tuple->t_data->t_ctid, &v->next);
	else if (ends(&v->life) || !stays)
	{
		TransactionId by = ends(&v->life) ? v->life.xmax : left_by;
		int64 to = moved_to(w, mdb_moved_identity(slot, &tuple->t_self), by);

		v->life.xmax = by;
		stays &= to < 0;
		if (!follow(w, to, v))
			return;
	}

	/* The scan takes what was always there, and still is. */
	if (ends(&v->life) || came_lately(&v->life) ? !w->raw || mdb_life_is_empty(&v->life) : w->raw || stays)
		return;
	old = MemoryContextSwitchTo(w->row_mcxt);
	ExecClearTuple(w->slot);
	mdb_slot_store_tuple(w->slot, mdb_delta_row(row));
	MemoryContextSwitchTo(old);
	if (w->raw)
		put_raw(w, v, w->slot);
	else
		put_frozen(w, w->slot);
	ExecClearTuple(w->slot);
	MemoryContextReset(w->row_mcxt);
}

static void
rewrite_page(Rewrite *w, Relation heap, int16 slot, TransactionId left_by, BlockNumber block,
			 BufferAccessStrategy strategy)
{
	Buffer buf = ReadBufferExtended(heap, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
	HeapTupleData tuples[MaxHeapTuplesPerPage];
	Version versions[MaxHeapTuplesPerPage];
	int n = 0;
	Page page = BufferGetPage(buf);
	OffsetNumber max;

	LockBuffer(buf, BUFFER_LOCK_SHARE);
	max = PageIsNew(page) ? 0 : PageGetMaxOffsetNumber(page);
	for (OffsetNumber off = FirstOffsetNumber; off <= max; off++)
	{
		ItemId item = PageGetItemId(page, off);
		HTSV_Result state;

		if (!ItemIdIsNormal(item))
			continue;
		tuples[n].t_data = (HeapTupleHeader) PageGetItem(page, item);
		tuples[n].t_len = ItemIdGetLength(item);
		tuples[n].t_tableOid = RelationGetRelid(heap);
		ItemPointerSet(&tuples[n].t_self, block, off);
		state = HeapTupleSatisfiesVacuum(&tuples[n], w->oldest_xmin, buf);
		if (state == HEAPTUPLE_DEAD)
			continue;
		mdb_life_of(tuples[n].t_data,
					state == HEAPTUPLE_RECENTLY_DEAD || state == HEAPTUPLE_DELETE_IN_PROGRESS, w->oldest_xmin,
					&versions[n].life);
		n++;
	}
	/* The pin keeps them where they are. */
	LockBuffer(buf, BUFFER_LOCK_UNLOCK);
	for (int i = 0; i < n; i++)
		rewrite_tuple(w, heap, slot, left_by, &tuples[i], &versions[i]);
	ReleaseBuffer(buf);
}

static void
rewrite_heap(Rewrite *w, const MdbDeltaInfo *delta)
{
	TransactionId left_by = delta->live ? InvalidTransactionId : delta->xmin;
	BufferAccessStrategy strategy;
	BlockNumber nblocks;
	Relation heap;

	/* Nobody can see it live any more. */
	if (!delta->live && (!TransactionIdIsNormal(left_by) || TransactionIdPrecedes(left_by, w->oldest_xmin)))
		return;
	heap = table_open(delta->relid, AccessShareLock);
	strategy = GetAccessStrategy(BAS_BULKREAD);
	nblocks = RelationGetNumberOfBlocks(heap);
	for (BlockNumber block = 0; block < nblocks; block++)
	{
		CHECK_FOR_INTERRUPTS();
		rewrite_page(w, heap, delta->slot, left_by, block, strategy);
	}
	FreeAccessStrategy(strategy);
	table_close(heap, NoLock);
}

/* One of the first two passes. */
static void
rewrite_places(Rewrite *w)
{
	for (int i = 0; i < w->ndeltas; i++)
		rewrite_heap(w, &w->deltas[i]);
	for (int i = 0; i < w->nparts; i++)
		rewrite_part(w, w->by_age[i]);
}

/* The new row heap is about to get transaction ids that are older than it. */
static void
lower_frozen_xid(Relation heap, TransactionId xid)
{
	Relation rel = table_open(RelationRelationId, RowExclusiveLock);
	HeapTuple tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(RelationGetRelid(heap)));
	Form_pg_class class;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", RelationGetRelid(heap));
	class = (Form_pg_class) GETSTRUCT(tuple);
	if (TransactionIdIsNormal(class->relfrozenxid) && TransactionIdPrecedes(xid, class->relfrozenxid))
	{
		class->relfrozenxid = xid;
		CatalogTupleUpdate(rel, &tuple->t_self, tuple);
		CommandCounterIncrement();
	}
	heap_freetuple(tuple);
	table_close(rel, RowExclusiveLock);
}

/* Rows of places that rows have left, and of those where some have come or gone lately. */
static void
rewrite_lately(Rewrite *w)
{
	MdbTable *new_table = mdb_table(w->new);

	w->new_heap = table_open(mdb_delta_relid(new_table->storage_id, MDB_ROWS_SLOT), RowExclusiveLock);
	lower_frozen_xid(w->new_heap, w->oldest_xmin);
	w->state = begin_heap_rewrite(w->row_heap, w->new_heap, w->oldest_xmin, w->oldest_xmin,
								  w->row_heap->rd_rel->relminmxid);
	w->raw = true;
	rewrite_places(w);
	end_heap_rewrite(w->state);
	table_close(w->new_heap, NoLock);
	MDB_STOP("file.lives");

	w->raw = false;
	w->append = mdb_append_create();
	mdb_append_open(w->append, w->new);
	mdb_append_on_placed(w->append, placed, w);
	rewrite_places(w);
	mdb_append_free(w->append);
}

static int
age_cmp(const void *a, const void *b, void *arg)
{
	const MdbPartLife *parts = arg;
	int64 x = parts[*(const int *) a].info.part_id, y = parts[*(const int *) b].info.part_id;

	return x < y ? -1 : x > y;
}

/*
 * Advertise an xmin that keeps the horizon of this database where it is, and return that.  An active snapshot sees
 * to it that it stays so.
 *
 * Our own snapshot holds it only if no other is older.  An older one need not be there any more when the horizon
 * has been computed, and then somebody may have got a later one.  So we look for it under the lock that nobody
 * holds who gets one: then nobody has, and once our xmin is there nobody will.  A slot cannot be looked at under it,
 * but does not go back: if it holds the horizon afterwards it did so then.
 */
static TransactionId
hold_horizon(Relation rel)
{
	for (;;)
	{
		TransactionId horizon = GetOldestNonRemovableTransactionId(rel);
		TransactionId own = MyProc->xmin;
		TransactionId slot;
		TransactionId catalog_slot;
		bool held = false;

		if (!TransactionIdPrecedes(horizon, mdb_xmin_horizon(own)))
			return horizon;
		LWLockAcquire(ProcArrayLock, LW_EXCLUSIVE);
		for (uint32 i = 0; i < ProcGlobal->allProcCount && !held; i++)
		{
			volatile PGPROC *proc = &ProcGlobal->allProcs[i];
			TransactionId xmin = proc->xmin;

			held = proc != MyProc && TransactionIdIsNormal(xmin) &&
				   (proc->databaseId == MyDatabaseId || (proc->statusFlags & PROC_AFFECTS_ALL_HORIZONS)) &&
				   !(proc->statusFlags & (PROC_IN_VACUUM | PROC_IN_LOGICAL_DECODING)) &&
				   TransactionIdPrecedesOrEquals(mdb_xmin_horizon(xmin), horizon);
		}
		MyProc->xmin = horizon;
		LWLockRelease(ProcArrayLock);
		if (held)
			return horizon;
		ProcArrayGetReplicationSlotXmin(&slot, &catalog_slot);
		if (TransactionIdIsNormal(slot) && TransactionIdPrecedesOrEquals(slot, horizon))
			return horizon;
		/* Nobody is known to have held it: what holds now? */
		MyProc->xmin = own;
	}
}

static void
rewrite_begin(Rewrite *w, Relation old, Relation new)
{
	Snapshot now = mdb_latest_snapshot();
	TransactionId oldest_xmin;

	PushActiveSnapshot(now);
	oldest_xmin = hold_horizon(old);
	mdb_buffer_flush_relation(RelationGetRelid(old));
	memset(w, 0, sizeof(*w));
	w->old = old;
	w->new = new;
	w->table = mdb_table(old);
	w->oldest_xmin = oldest_xmin;
	w->cid = GetCurrentCommandId(true);
	w->parts = mdb_part_lives(w->table, oldest_xmin, &w->nparts);
	w->by_age = palloc(sizeof(int) * Max(1, w->nparts));
	for (int p = 0; p < w->nparts; p++)
		w->by_age[p] = p;
	qsort_arg(w->by_age, w->nparts, sizeof(int), age_cmp, w->parts);
	w->reached = palloc0(sizeof(uint8 *) * Max(1, w->nparts));
	for (int p = 0; p < w->nparts; p++)
		if (came_lately(&w->parts[p].life))
			w->reached[p] =
				palloc_extended(w->parts[p].info.nrows / 8 + 1, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	mdb_delta_list(w->table->storage_id, now, &w->deltas, &w->ndeltas);
	UnregisterSnapshot(now);
	w->shadows = mdb_shadows_open(old, w->table);
	w->row_heap = table_open(mdb_delta_relid(w->table->storage_id, MDB_ROWS_SLOT), AccessShareLock);
	w->block = mdb_block_create(w->table, RelationGetDescr(old), mdb_series_cache_create(w->table, NULL));
	w->fates = palloc(MDB_BLOCK_ROWS_MAX);
	w->slot = table_slot_create(old, NULL);
	w->row_mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb rewritten row", ALLOCSET_DEFAULT_SIZES);
	w->maps = mdb_moved_maps_open(w->table->storage_id);
	for (int i = 0; i < WINDOWS; i++)
	{
		w->windows[i].number = -1;
		w->windows[i].mcxt =
			AllocSetContextCreate(CurrentMemoryContext, "metricsdb moves", ALLOCSET_DEFAULT_SIZES);
	}
}

static void
rewrite_end(Rewrite *w)
{
	ExecDropSingleTupleTableSlot(w->slot);
	mdb_shadows_close(w->shadows);
	mdb_moved_maps_close(w->maps);
	table_close(w->row_heap, NoLock);
	PopActiveSnapshot();
}

/* Is a row that is there now one that was always there? */
static bool
always_there(const Rewrite *w, TupleTableSlot *slot)
{
	bool isnull;
	TransactionId xmin;
	int p;

	if (!mdb_tid_is_delta(&slot->tts_tid))
	{
		p = part_of(w, mdb_row_of_tid(&slot->tts_tid));
		return p < 0 || !came_lately(&w->parts[p].life);
	}
	xmin = DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &isnull));
	return TransactionIdPrecedes(xmin, w->oldest_xmin);
}

/*
 * mdb_copy_for_cluster - see table_relation_copy_for_cluster().  The order of rows is ours, whatever the index.
 *
 * Nobody else has the table open.  oldest_xmin, which the caller has computed but does not hold, is of no use.
 */
void
mdb_copy_for_cluster(Relation old, Relation new, Relation index, bool use_sort, TransactionId oldest_xmin,
					 TransactionId *xid_cutoff, MultiXactId *multi_cutoff, double *num_tuples,
					 double *tups_vacuumed, double *tups_recently_dead)
{
	MemoryContext mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb rewrite", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(mcxt);
	Snapshot snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;
	Rewrite w;

	/* That removes what somebody can see, in the delta's heaps and our catalogs, between one pass and the next. */
	if (mdb_old_snapshots_expire())
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("table \"%s\" cannot be rewritten while \"old_snapshot_threshold\" is set",
							   RelationGetRelationName(old)),
						errdetail("Rows that others still see could be removed while they are copied."),
						errhint("Set it to -1 and restart the server, or run CALL metricsdb.compact('%s', "
								"full => true), which rewrites parts one by one.",
								RelationGetRelationName(old))));
	rewrite_begin(&w, old, new);
	rewrite_lately(&w);

	snapshot = mdb_latest_snapshot();
	scan = table_beginscan(old, snapshot, 0, NULL);
	slot = table_slot_create(old, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		if (always_there(&w, slot))
			put_frozen(&w, slot);
	}
	mdb_buffer_flush_relation(RelationGetRelid(new));
	MDB_STOP("file.rewritten");
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	rewrite_end(&w);

	/* The file has no transaction ids, but the cutoffs become those of the TOAST table, too: they stay. */
	*num_tuples = w.ntuples;
	*tups_vacuumed = 0;
	*tups_recently_dead = w.nrecently_dead;
	MemoryContextSwitchTo(before);
	MemoryContextDelete(mcxt);
}
