/*
 * buffer.c
 *	  The write buffer: rows of the running statement, until there are enough for a part.
 *
 * Rows that come one by one or by thousands are collected here.  Few of them are kept as tuples,
 * bound for the delta; from metricsdb.direct_rows on they are turned into columns, bound for a
 * part.
 *
 * Invariants:
 *	1. A buffer holds rows of one table, one subtransaction and one command.  What is written is
 *	   stamped with that command, whenever it is written, so that cursors do not see it and later
 *	   commands do.
 *	2. No command ends with rows in a buffer; none starts with them, but where a subtransaction
 *	   was begun in the middle of the command (an exception block in a function).  Rows of the
 *	   outer one that must be visible then are written by the inner one, and kept: if it aborts
 *	   they are still to be written.
 *	3. Nothing survives an abort of the buffer's subtransaction.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "pgstat.h"
#include "storage/predicate.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "am/am.h"
#include "write/tap.h"

typedef struct WriteBuffer
{
	struct WriteBuffer *next;
	Oid relid;
	SubTransactionId subid;
	CommandId cid;
	int options;
	MemoryContext mcxt;
	MinimalTuple *tuples;
	int ntuples;
	int capacity;
	Size bytes;
	MdbAppend *append; /* NULL as long as rows are kept as tuples */
	MemoryContext row_mcxt;
	Size accounted;              /* of total_bytes */
	SubTransactionId written_by; /* an inner subtransaction that has written the rows, or invalid */
} WriteBuffer;

static WriteBuffer *buffers = NULL;

void (*mdb_insert_elsewhere)(Relation rel, TupleTableSlot **slots, int nslots) = NULL;

/* Bytes in all buffers: a statement may write to thousands of partitions. */
static Size total_bytes = 0;

static Size
buffer_bytes(const WriteBuffer *b)
{
	return b->append ? mdb_append_bytes(b->append) : b->bytes;
}

static void
buffer_account(WriteBuffer *b)
{
	Size now = buffer_bytes(b);

	total_bytes += now - b->accounted;
	b->accounted = now;
}

static void
buffer_free(WriteBuffer *b)
{
	for (WriteBuffer **p = &buffers; *p; p = &(*p)->next)
		if (*p == b)
		{
			*p = b->next;
			break;
		}
	total_bytes -= b->accounted;
	MemoryContextDelete(b->mcxt);
}

static void
buffer_reset(WriteBuffer *b)
{
	MemoryContextReset(b->row_mcxt);
	b->ntuples = 0;
	b->bytes = 0;
}

/* Write a buffer's rows.  It stays in the list, empty. */
static void
buffer_write(WriteBuffer *b, Relation rel)
{
	int options = b->options & HEAP_INSERT_FROZEN;

	if (b->append)
	{
		mdb_append_rebind(b->append, rel);
		mdb_append_tap(b->append);
		mdb_append_write(b->append, b->cid, options, true, 0, 0);
	}
	else if (b->ntuples > 0)
	{
		MdbTable *table = mdb_table(rel);

		mdb_delta_insert(rel, table, b->tuples, b->ntuples, b->cid, options);
		mdb_tap_tuples(rel, table, b->tuples, b->ntuples);
		pfree(table);
	}
	/* Who has read the table is asked for now that others can see the rows, see modify.c. */
	CheckForSerializableConflictIn(rel, NULL, InvalidBlockNumber);
	buffer_reset(b);
	buffer_account(b);
}

static void
buffer_flush(WriteBuffer *b)
{
	/* The table is open and locked by whoever filled the buffer, or was until just now. */
	Relation rel = table_open(b->relid, RowExclusiveLock);

	buffer_write(b, rel);
	table_close(rel, NoLock);
	buffer_free(b);
}

/* Columns back to tuples. */
static void
become_tuples(WriteBuffer *b, Relation rel)
{
	const MdbTable *table = mdb_append_table(b->append);
	uint32 n = mdb_append_nrows(b->append);
	MemoryContext old = MemoryContextSwitchTo(b->row_mcxt);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMetricsDB);
	MdbBlock *block = mdb_block_create(table, RelationGetDescr(rel), mdb_series_cache_create(table, NULL));

	b->tuples = MemoryContextAllocHuge(b->mcxt, sizeof(MinimalTuple) * Max(1, n));
	b->capacity = Max(1, n);
	mdb_block_set_batch(block, mdb_append_batch(b->append), n);
	for (uint32 i = 0; i < n; i++)
	{
		mdb_slot_store_row(slot, block, i);
		b->tuples[i] = ExecCopySlotMinimalTuple(slot);
		b->bytes += b->tuples[i]->t_len;
		ExecClearTuple(slot);
	}
	b->ntuples = n;
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextSwitchTo(old);
	mdb_append_free(b->append);
	b->append = NULL;
	buffer_account(b);
}

/* Write an outer subtransaction's rows in this one, and keep them. */
static void
buffer_lend(WriteBuffer *b)
{
	Relation rel = table_open(b->relid, RowExclusiveLock);
	MdbTable *table;

	if (b->append)
		become_tuples(b, rel);
	table = mdb_table(rel);
	mdb_delta_insert(rel, table, b->tuples, b->ntuples, b->cid, 0);
	mdb_tap_tuples(rel, table, b->tuples, b->ntuples);
	CheckForSerializableConflictIn(rel, NULL, InvalidBlockNumber);
	b->written_by = GetCurrentSubTransactionId();
	pfree(table);
	table_close(rel, NoLock);
}

/*
 * mdb_buffer_flush_relation - write what has been collected for a table, so that it can be read.
 */
void
mdb_buffer_flush_relation(Oid relid)
{
	SubTransactionId subid;

	if (buffers == NULL)
		return;
	subid = GetCurrentSubTransactionId();
	for (WriteBuffer *b = buffers, *next; b; b = next)
	{
		next = b->next;
		if (b->relid != relid)
			continue;
		if (b->subid == subid)
			buffer_flush(b);
		else if (b->written_by == InvalidSubTransactionId)
			buffer_lend(b);
	}
}

/*
 * mdb_buffer_flush_all - write what this subtransaction has collected.
 */
void
mdb_buffer_flush_all(void)
{
	SubTransactionId subid;

	if (buffers == NULL)
		return;
	subid = GetCurrentSubTransactionId();
	for (WriteBuffer *b = buffers, *next; b; b = next)
	{
		next = b->next;
		if (b->subid == subid)
			buffer_flush(b);
	}
}

/*
 * mdb_buffer_discard - forget what was collected for a table that is being emptied or dropped.
 */
void
mdb_buffer_discard(Oid relid)
{
	for (WriteBuffer *b = buffers, *next; b; b = next)
	{
		next = b->next;
		if (b->relid == relid)
			buffer_free(b);
	}
}

/*
 * mdb_buffer_pending - are there rows that could not be written?
 */
bool
mdb_buffer_pending(void)
{
	return buffers != NULL;
}

/* The buffer for rows of a table; NULL if they are not to be stored here. */
static WriteBuffer *
buffer_for(Relation rel, CommandId cid, int options)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	MemoryContext mcxt;
	WriteBuffer *b;

	for (b = buffers; b; b = b->next)
	{
		if (b->relid != RelationGetRelid(rel) || b->subid != subid)
			continue;
		if (b->cid == cid && b->options == options)
			return b;
		buffer_write(b, rel);
		buffer_free(b);
		break;
	}
	mdb_check_published(rel, CMD_INSERT);
	if (unlikely(mdb_is_distributed(RelationGetRelid(rel))))
		return NULL;
	mcxt = AllocSetContextCreate(TopTransactionContext, "metricsdb write buffer", ALLOCSET_DEFAULT_SIZES);
	b = MemoryContextAllocZero(mcxt, sizeof(WriteBuffer));
	b->relid = RelationGetRelid(rel);
	b->subid = subid;
	b->cid = cid;
	b->options = options;
	b->mcxt = mcxt;
	b->row_mcxt = AllocSetContextCreate(mcxt, "metricsdb buffered rows", ALLOCSET_DEFAULT_SIZES);
	b->next = buffers;
	buffers = b;
	return b;
}

/* From now on columns: what was collected as tuples, too. */
static void
become_columns(WriteBuffer *b, Relation rel)
{
	MemoryContext old = MemoryContextSwitchTo(b->mcxt);
	TupleTableSlot *slot;

	b->append = mdb_append_create();
	mdb_append_open(b->append, rel);
	MemoryContextSwitchTo(old);

	slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
	for (int i = 0; i < b->ntuples; i++)
	{
		ExecStoreMinimalTuple(b->tuples[i], slot, false);
		mdb_append_slots(b->append, &slot, 1);
	}
	ExecDropSingleTupleTableSlot(slot);
	buffer_reset(b);
}

/* Beyond what all buffers together may hold, write the largest that can be written. */
static void
bound_total(void)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	WriteBuffer *largest = NULL;

	if (total_bytes <= (Size) mdb_write_buffer * 1024)
		return;
	for (WriteBuffer *b = buffers; b; b = b->next)
		if (b->subid == subid && (largest == NULL || b->accounted > largest->accounted))
			largest = b;
	if (largest != NULL && largest->accounted > 0)
		buffer_flush(largest);
}

/*
 * mdb_buffer_insert - take rows of command cid.  options are those of table_tuple_insert.
 */
void
mdb_buffer_insert(Relation rel, TupleTableSlot **slots, int nslots, CommandId cid, int options)
{
	WriteBuffer *b = buffer_for(rel, cid, options);

	if (unlikely(b == NULL))
	{
		mdb_insert_elsewhere(rel, slots, nslots);
		return;
	}
	pgstat_count_heap_insert(rel, nslots);
	if (b->append == NULL &&
		(b->ntuples + nslots >= mdb_direct_rows || b->bytes > (Size) mdb_write_buffer * 1024))
		become_columns(b, rel);

	if (b->append)
	{
		MemoryContext old = MemoryContextSwitchTo(b->row_mcxt);

		mdb_append_rebind(b->append, rel);
		mdb_append_slots(b->append, slots, nslots);
		MemoryContextSwitchTo(old);
		MemoryContextReset(b->row_mcxt);
		buffer_account(b);
		bound_total();
		return;
	}

	for (int i = 0; i < nslots; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(b->row_mcxt);

		slot_getallattrs(slots[i]);
		if (b->ntuples == b->capacity)
		{
			b->capacity = Max(16, b->capacity * 2);
			b->tuples = b->tuples ? repalloc(b->tuples, b->capacity * sizeof(MinimalTuple))
								  : MemoryContextAlloc(b->mcxt, b->capacity * sizeof(MinimalTuple));
		}
		b->tuples[b->ntuples] =
			mdb_delta_form(RelationGetDescr(rel), slots[i]->tts_values, slots[i]->tts_isnull);
		b->bytes += b->tuples[b->ntuples]->t_len;
		b->ntuples++;
		MemoryContextSwitchTo(old);
	}
	buffer_account(b);
	bound_total();
}

/* The statement's snapshot is gone by then; who writes rows, and looks up series, may want one. */
static void
flush_at_commit(void)
{
	bool push = buffers != NULL && !ActiveSnapshotSet();

	if (push)
		PushActiveSnapshot(GetTransactionSnapshot());
	mdb_buffer_flush_all();
	if (push)
		PopActiveSnapshot();
}

static void
xact_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			flush_at_commit();
			mdb_tap_before_commit();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			/* Their memory went with the transaction's. */
			buffers = NULL;
			total_bytes = 0;
			break;
		default:
			break;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_PRE_COMMIT_SUB)
		flush_at_commit();
	else if (event == SUBXACT_EVENT_COMMIT_SUB || event == SUBXACT_EVENT_ABORT_SUB)
		for (WriteBuffer *b = buffers, *next; b; b = next)
		{
			next = b->next;
			if (b->subid == subid)
				buffer_free(b);
			else if (b->written_by != subid)
				continue;
			else if (event == SUBXACT_EVENT_ABORT_SUB)
				b->written_by = InvalidSubTransactionId;
			else if (parent == b->subid)
				buffer_free(b);
			else
				b->written_by = parent;
		}
}

/*
 * mdb_buffer_init - at load: follow transactions.
 */
void
mdb_buffer_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
