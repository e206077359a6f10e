/*
 * books.c
 *	  The books of compaction: metricsdb.compaction, a row for each storage that was worked on.
 *
 * What succeeded is entered by the transaction that did it, under the lock that keeps other
 * compactions of the table away.  What failed is entered by the next one.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "write/merge.h"

/* Bytes of parts moved in the background: a share of those written, and so many beyond that. */
#define MOVE_SHARE      8
#define MOVE_FREE_BYTES (INT64CONST(16) * 1024 * 1024)

/* The row of a storage, to be changed. */
typedef struct Entry
{
	Relation rel;
	Snapshot snapshot;
	SysScanDesc scan;
	HeapTuple old; /* NULL = there is none yet */
	Datum v[Natts_compaction];
	bool n[Natts_compaction];
} Entry;

static void
open_entry(Entry *e, int64 storage_id)
{
	ScanKeyData key;

	e->rel = mdb_catalog_open("compaction", RowExclusiveLock);
	e->snapshot = mdb_latest_snapshot();
	ScanKeyInit(&key, Anum_compaction_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	e->scan = systable_beginscan(e->rel, mdb_catalog_index(e->rel), true, e->snapshot, 1, &key);
	e->old = systable_getnext(e->scan);
	if (HeapTupleIsValid(e->old))
	{
		heap_deform_tuple(e->old, RelationGetDescr(e->rel), e->v, e->n);
		return;
	}
	for (int i = 0; i < Natts_compaction; i++)
	{
		/* counters are 0, what is not known yet is NULL */
		e->v[i] = (Datum) 0;
		e->n[i] = !TupleDescAttr(RelationGetDescr(e->rel), i)->attnotnull;
	}
	e->v[Anum_compaction_storage_id - 1] = Int64GetDatum(storage_id);
	e->v[Anum_compaction_since - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
}

static void
leave_entry(Entry *e)
{
	systable_endscan(e->scan);
	UnregisterSnapshot(e->snapshot);
	table_close(e->rel, NoLock);
}

static void
close_entry(Entry *e)
{
	HeapTuple tuple = heap_form_tuple(RelationGetDescr(e->rel), e->v, e->n);

	if (HeapTupleIsValid(e->old))
		CatalogTupleUpdate(e->rel, &e->old->t_self, tuple);
	else
		mdb_catalog_insert(e->rel, e->v, e->n, GetCurrentCommandId(true), 0);
	leave_entry(e);
}

static void
set(Entry *e, int attno, Datum value)
{
	e->v[attno - 1] = value;
	e->n[attno - 1] = false;
}

static void
add(Entry *e, int attno, int64 value)
{
	e->v[attno - 1] = Int64GetDatum(DatumGetInt64(e->v[attno - 1]) + value);
}

static void
forget_failures(Entry *e)
{
	set(e, Anum_compaction_failures, Int32GetDatum(0));
	e->n[Anum_compaction_retry_at - 1] = true;
}

/*
 * mdb_books_merge - a merge was done.
 */
void
mdb_books_merge(int64 storage_id, const MdbMergeSet *inputs, const MdbMergeResult *result, TimestampTz began)
{
	TimestampTz now = GetCurrentTimestamp();
	Entry e;

	open_entry(&e, storage_id);
	add(&e, Anum_compaction_merges, 1);
	add(&e, Anum_compaction_merged_rows, result->nrows);
	add(&e, Anum_compaction_merged_bytes, result->nbytes);
	for (int i = 0; i < inputs->count; i++)
		if (inputs->parts[i].level == 0)
			add(&e, Anum_compaction_level0_bytes, inputs->parts[i].nbytes);
	set(&e, Anum_compaction_last_merge_at, TimestampTzGetDatum(now));
	set(&e, Anum_compaction_last_seconds, Float8GetDatum((double) (now - began) / USECS_PER_SEC));
	set(&e, Anum_compaction_last_inputs, Int32GetDatum(inputs->count));
	set(&e, Anum_compaction_last_rows, Int64GetDatum(result->nrows));
	set(&e, Anum_compaction_last_bytes, Int64GetDatum(result->nbytes));
	forget_failures(&e);
	close_entry(&e);
}

/*
 * mdb_books_moved - parts of so many bytes were moved to the front.
 */
void
mdb_books_moved(int64 storage_id, int64 nbytes)
{
	Entry e;

	open_entry(&e, storage_id);
	add(&e, Anum_compaction_moved_bytes, nbytes);
	close_entry(&e);
}

/*
 * mdb_books_may_move - have moves been but a part of what flushes and merges have written?
 */
bool
mdb_books_may_move(int64 storage_id, const MdbPartList *list)
{
	int64 written = MOVE_FREE_BYTES;
	Entry e;

	open_entry(&e, storage_id);
	for (int i = 0; i < list->count; i++)
		if (list->parts[i].level == 0)
			written += list->parts[i].nbytes;
	written += DatumGetInt64(e.v[Anum_compaction_level0_bytes - 1]);
	written += DatumGetInt64(e.v[Anum_compaction_merged_bytes - 1]);
	leave_entry(&e);
	return DatumGetInt64(e.v[Anum_compaction_moved_bytes - 1]) <= written / MOVE_SHARE;
}

/*
 * mdb_books_failure - compaction failed so many times in a row, and is tried again later; 0 times:
 * it did not this time.
 */
void
mdb_books_failure(int64 storage_id, int failures, const char *message, TimestampTz retry_at)
{
	Entry e;

	open_entry(&e, storage_id);
	forget_failures(&e);
	if (failures > 0)
	{
		set(&e, Anum_compaction_failures, Int32GetDatum(failures));
		set(&e, Anum_compaction_last_error, CStringGetTextDatum(message));
		set(&e, Anum_compaction_last_error_at, TimestampTzGetDatum(GetCurrentTimestamp()));
		set(&e, Anum_compaction_retry_at, TimestampTzGetDatum(retry_at));
	}
	close_entry(&e);
}
