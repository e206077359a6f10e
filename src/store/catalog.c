/*
 * catalog.c
 *	  The only code that reads and writes metricsdb.storage, .part and .delta.
 *
 * The catalogs are ordinary heaps, so their MVCC gives parts their visibility, and they are read
 * under the snapshot of whoever asks.  Rows are inserted with the command id of the statement
 * that made the rows they stand for, which may be an earlier one than the present: a cursor
 * opened between the two must see neither, a later command both.
 *
 * Callers are trusted: privileges are checked on the user's table, never on the catalogs.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "metricsdb.h"
#include "store/store.h"

enum
{
	Anum_delta_storage_id = 1,
	Anum_delta_slot,
	Anum_delta_relid,
	Anum_delta_live,
	Natts_delta = Anum_delta_live
};

enum
{
	Anum_storage_storage_id = 1,
	Anum_storage_relid,
	Anum_storage_created_at,
	Natts_storage = Anum_storage_created_at
};

/*
 * mdb_latest_snapshot - a registered snapshot of what is committed by now, for the catalogs.
 *
 * During a parallel operation only catalog snapshots may be taken; this one is as new as any.
 */
Snapshot
mdb_latest_snapshot(void)
{
	return RegisterSnapshot(IsInParallelMode() ? GetCatalogSnapshot(InvalidOid) : GetLatestSnapshot());
}

/*
 * mdb_full_xid - the whole number of a transaction that has begun, of which the low half is known.
 */
uint64
mdb_full_xid(TransactionId xid)
{
	uint64 next = U64FromFullTransactionId(ReadNextFullTransactionId());
	uint64 full = (next & ~(uint64) PG_UINT32_MAX) | xid;

	return full > next ? full - (UINT64CONST(1) << 32) : full;
}

/*
 * mdb_catalog_relid - OID of one of our catalogs.
 *
 * Raises ERRCODE_UNDEFINED_TABLE unless missing_ok: while the extension is being dropped some
 * of them may be gone before the tables that they describe.
 */
Oid
mdb_catalog_relid(const char *name, bool missing_ok)
{
	Oid nsp = get_namespace_oid(MDB_SCHEMA, true);
	Oid relid = OidIsValid(nsp) ? get_relname_relid(name, nsp) : InvalidOid;

	if (!OidIsValid(relid) && !missing_ok)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("catalog \"%s.%s\" does not exist", MDB_SCHEMA, name),
						errhint("Run CREATE EXTENSION metricsdb in this database.")));
	return relid;
}

/*
 * mdb_catalog_open - open one of our catalogs.
 */
Relation
mdb_catalog_open(const char *name, LOCKMODE lockmode)
{
	return table_open(mdb_catalog_relid(name, false), lockmode);
}

/*
 * mdb_catalog_index - the catalog's primary key, or its only index.  What a REINDEX CONCURRENTLY that failed has
 * left beside it does not count.
 */
Oid
mdb_catalog_index(Relation rel)
{
	List *indexes = RelationGetIndexList(rel);
	Oid index = rel->rd_pkindex;
	ListCell *lc;

	foreach (lc, indexes)
		if (!OidIsValid(index) && (list_length(indexes) == 1 || get_index_isvalid(lfirst_oid(lc))))
			index = lfirst_oid(lc);
	list_free(indexes);
	return index;
}

/*
 * mdb_catalog_insert - insert a row, with index entries, as of the given command; where it is.
 *
 * options are heap_insert's; HEAP_INSERT_FROZEN makes a row that every snapshot sees, for the
 * parts of a file that no relation refers to before this transaction commits.
 */
ItemPointerData
mdb_catalog_insert(Relation rel, Datum *values, bool *nulls, CommandId cid, int options)
{
	HeapTuple tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	List *indexes = RelationGetIndexList(rel);
	ItemPointerData tid;
	ListCell *lc;

	heap_insert(rel, tuple, cid, options, NULL);
	tid = tuple->t_self;
	foreach (lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), RowExclusiveLock);
		IndexInfo *info = BuildIndexInfo(index);
		Datum ivalues[INDEX_MAX_KEYS];
		bool inulls[INDEX_MAX_KEYS];

		for (int i = 0; i < info->ii_NumIndexAttrs; i++)
		{
			AttrNumber attno = info->ii_IndexAttrNumbers[i];

			ivalues[i] = values[attno - 1];
			inulls[i] = nulls[attno - 1];
		}
		index_insert(index, ivalues, inulls, &tuple->t_self, rel,
					 info->ii_Unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO, false, info);
		index_close(index, RowExclusiveLock);
		pfree(info);
	}
	list_free(indexes);
	heap_freetuple(tuple);
	return tid;
}

static int
part_cmp(const void *a, const void *b)
{
	const MdbPartInfo *x = a, *y = b;

	return x->part_id < y->part_id ? -1 : x->part_id > y->part_id;
}

/*
 * mdb_part_from_tuple - what a row of metricsdb.part says.
 */
void
mdb_part_from_tuple(MdbPartInfo *p, HeapTuple tuple, TupleDesc desc)
{
	Datum v[Natts_part];
	bool n[Natts_part];

	heap_deform_tuple(tuple, desc, v, n);
	p->tid = tuple->t_self;
	p->xmin = HeapTupleHeaderGetRawXmin(tuple->t_data);
	p->storage_id = DatumGetInt64(v[Anum_part_storage_id - 1]);
	p->part_id = DatumGetInt64(v[Anum_part_part_id - 1]);
	p->incarnation = DatumGetInt32(v[Anum_part_incarnation - 1]);
	p->format = DatumGetInt16(v[Anum_part_format - 1]);
	p->level = DatumGetInt16(v[Anum_part_level - 1]);
	p->class = DatumGetInt16(v[Anum_part_class - 1]);
	p->day = DatumGetInt32(v[Anum_part_day - 1]);
	p->days = DatumGetInt32(v[Anum_part_days - 1]);
	p->row_first = DatumGetInt64(v[Anum_part_row_first - 1]);
	p->nrows = DatumGetInt64(v[Anum_part_nrows - 1]);
	p->nblocks = DatumGetInt32(v[Anum_part_nblocks - 1]);
	p->page_first = DatumGetInt64(v[Anum_part_page_first - 1]);
	p->npages = DatumGetInt32(v[Anum_part_npages - 1]);
	p->nbytes = DatumGetInt64(v[Anum_part_nbytes - 1]);
	p->series_min = DatumGetInt64(v[Anum_part_series_min - 1]);
	p->series_max = DatumGetInt64(v[Anum_part_series_max - 1]);
	p->nseries = DatumGetInt64(v[Anum_part_nseries - 1]);
	p->time_min = DatumGetInt64(v[Anum_part_time_min - 1]);
	p->time_max = DatumGetInt64(v[Anum_part_time_max - 1]);
	p->checksum = DatumGetInt64(v[Anum_part_checksum - 1]);
	p->overlaps = DatumGetBool(v[Anum_part_overlaps - 1]);
	p->created_at = DatumGetTimestampTz(v[Anum_part_created_at - 1]);
	p->source_id = n[Anum_part_source_id - 1] ? 0 : DatumGetInt32(v[Anum_part_source_id - 1]);
	p->epoch = n[Anum_part_epoch - 1] ? 0 : DatumGetInt64(v[Anum_part_epoch - 1]);
}

/* Rows of a storage's parts that a snapshot sees, of one incarnation or of all, by rising part id. */
static MdbPartList *
list_parts(const MdbTable *table, Snapshot snapshot, bool by_index, bool all)
{
	Relation rel = mdb_catalog_open("part", AccessShareLock);
	MdbPartList *list = palloc0(sizeof(MdbPartList));
	int capacity = 64;
	ScanKeyData key;
	MdbCatalogScan scan;
	SysScanDesc plain = NULL;
	HeapTuple tuple;

	list->parts = palloc(capacity * sizeof(MdbPartInfo));
	ScanKeyInit(&key, Anum_part_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(table->storage_id));
	if (by_index)
		mdb_catalog_scan_begin(&scan, rel, snapshot, true, 1, &key);
	else
		plain = systable_beginscan(rel, InvalidOid, false, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = plain ? systable_getnext(plain) : mdb_catalog_scan_next(&scan)))
	{
		MdbPartInfo *p;

		if (list->count == capacity)
		{
			capacity *= 2;
			list->parts = repalloc_huge(list->parts, capacity * sizeof(MdbPartInfo));
		}
		p = &list->parts[list->count];
		mdb_part_from_tuple(p, tuple, RelationGetDescr(rel));
		/* What an unlogged file held before a crash is gone, though its rows are still here. */
		if (p->incarnation != table->incarnation && !all)
			continue;
		/* So that scans come to it, and report it, whatever numbers it has. */
		if (mdb_part_implausible(p) != NULL && !all)
		{
			p->nrows = 0;
			p->nblocks = 1;
		}
		list->nrows += p->nrows;
		list->nblocks += p->nblocks;
		list->count++;
	}
	if (plain)
		systable_endscan(plain);
	else
		mdb_catalog_scan_end(&scan);
	table_close(rel, AccessShareLock);
	qsort(list->parts, list->count, sizeof(MdbPartInfo), part_cmp);
	return list;
}

/*
 * mdb_part_covering - the part that holds a row number, if a snapshot of whatever kind sees it.  A dirty
 * snapshot is told who is making or removing it.
 */
bool
mdb_part_covering(const MdbTable *table, int64 row, Snapshot snapshot, MdbPartInfo *info)
{
	Relation rel = mdb_catalog_open("part", AccessShareLock);
	Relation index = index_open(mdb_catalog_relid("part_row_first_idx", false), AccessShareLock);
	bool found = false;
	ScanKeyData keys[2];
	MdbCatalogScan scan;
	HeapTuple tuple;

	ScanKeyInit(&keys[0], Anum_part_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(table->storage_id));
	ScanKeyInit(&keys[1], Anum_part_row_first, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(row));
	mdb_catalog_scan_begin_at(&scan, rel, index, snapshot, true, 2, keys);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_back(&scan)))
	{
		mdb_part_from_tuple(info, tuple, RelationGetDescr(rel));
		if (info->incarnation != table->incarnation)
			continue;
		/* No two parts share row numbers. */
		found = row < info->row_first + info->nrows;
		break;
	}
	mdb_catalog_scan_end_at(&scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * mdb_parts_visible - the parts of a table that a snapshot sees, by rising part id.
 *
 * One whose row cannot be true has no rows and one block; to open it is an error.
 */
MdbPartList *
mdb_parts_visible(const MdbTable *table, Snapshot snapshot)
{
	return list_parts(table, snapshot, true, false);
}

/*
 * mdb_parts_recorded - the same, but with the rows as they are, and those of other incarnations of
 * the file; with or without help of the catalog's index, which may be damaged itself.
 */
MdbPartList *
mdb_parts_recorded(const MdbTable *table, Snapshot snapshot, bool by_index)
{
	return list_parts(table, snapshot, by_index, true);
}

/*
 * mdb_part_is_live - is the part's row there for whoever looks at this moment?
 */
bool
mdb_part_is_live(int64 storage_id, int64 part_id)
{
	Relation rel = mdb_catalog_open("part", AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	bool live;

	ScanKeyInit(&keys[0], Anum_part_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	ScanKeyInit(&keys[1], Anum_part_part_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(part_id));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, SnapshotSelf, 2, keys);
	live = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return live;
}

/*
 * mdb_parts_leaving - the parts of a table that were deleted, but not for all whose snapshots may be as
 * old as oldest_xmin.
 */
MdbPartList *
mdb_parts_leaving(const MdbTable *table, TransactionId oldest_xmin)
{
	Relation rel = mdb_catalog_open("part", AccessShareLock);
	MdbPartList *list = palloc0(sizeof(MdbPartList));
	int capacity = 0;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_part_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(table->storage_id));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, SnapshotAny, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Buffer buf = ((BufferHeapTupleTableSlot *) scan->slot)->buffer;
		HTSV_Result state;

		LockBuffer(buf, BUFFER_LOCK_SHARE);
		state = HeapTupleSatisfiesVacuum(tuple, oldest_xmin, buf);
		LockBuffer(buf, BUFFER_LOCK_UNLOCK);
		if (state != HEAPTUPLE_RECENTLY_DEAD && state != HEAPTUPLE_DELETE_IN_PROGRESS)
			continue;
		if (list->count == capacity)
		{
			capacity = Max(16, capacity * 2);
			list->parts = list->parts ? repalloc_huge(list->parts, capacity * sizeof(MdbPartInfo))
									  : palloc(capacity * sizeof(MdbPartInfo));
		}
		mdb_part_from_tuple(&list->parts[list->count], tuple, RelationGetDescr(rel));
		if (list->parts[list->count].incarnation == table->incarnation)
			list->count++;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return list;
}

/*
 * mdb_parts_in_any_state - the parts of a table whose bytes are there, also of those that were deleted.  NULL if
 * there is one that only snapshots on standbys may see: it has to be pruned first.
 */
MdbPartList *
mdb_parts_in_any_state(const MdbTable *table)
{
	Relation rel = mdb_catalog_open("part", AccessShareLock);
	TransactionId oldest = GetOldestNonRemovableTransactionId(rel);
	MdbPartList *list = palloc0(sizeof(MdbPartList));
	int capacity = 0;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_part_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(table->storage_id));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, SnapshotAny, 1, &key);
	/* An entry that is known to be dead may still name a tuple that was not pruned. */
	if (scan->iscan)
		scan->iscan->ignore_killed_tuples = false;
	while (list && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Buffer buf = ((BufferHeapTupleTableSlot *) scan->slot)->buffer;
		TransactionId xmin = HeapTupleHeaderGetRawXmin(tuple->t_data);
		HTSV_Result state;

		LockBuffer(buf, BUFFER_LOCK_SHARE);
		state = HeapTupleSatisfiesVacuum(tuple, oldest, buf);
		LockBuffer(buf, BUFFER_LOCK_UNLOCK);
		/* Rolled back, or not written yet: by whoever began after the ids were marked. */
		if (state == HEAPTUPLE_INSERT_IN_PROGRESS ||
			(!HeapTupleHeaderXminFrozen(tuple->t_data) && !TransactionIdDidCommit(xmin)))
			continue;
		if (state == HEAPTUPLE_DEAD)
		{
			list = NULL;
			continue;
		}
		if (list->count == capacity)
		{
			capacity = Max(64, capacity * 2);
			list->parts = list->parts ? repalloc_huge(list->parts, capacity * sizeof(MdbPartInfo))
									  : palloc(capacity * sizeof(MdbPartInfo));
		}
		mdb_part_from_tuple(&list->parts[list->count], tuple, RelationGetDescr(rel));
		if (list->parts[list->count].incarnation == table->incarnation)
			list->count++;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return list;
}

/*
 * mdb_row_range_cmp - ranges by first number, for qsort.
 */
int
mdb_row_range_cmp(const void *a, const void *b)
{
	const MdbRowRange *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

/*
 * mdb_part_ranges - the row numbers that some row of part covers, in whatever state it is; rising.
 */
void
mdb_part_ranges(const MdbTable *table, MdbRowRange **ranges, int *count)
{
	Relation rel = mdb_catalog_open("part", AccessShareLock);
	int capacity = 64;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	*count = 0;
	*ranges = palloc(sizeof(MdbRowRange) * capacity);
	ScanKeyInit(&key, Anum_part_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(table->storage_id));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, SnapshotAny, 1, &key);
	/* An entry that is known to be dead may still name a tuple that was not pruned. */
	if (scan->iscan)
		scan->iscan->ignore_killed_tuples = false;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		MdbRowRange *r;
		bool isnull;

		if (*count == capacity)
		{
			capacity *= 2;
			*ranges = repalloc_huge(*ranges, sizeof(MdbRowRange) * capacity);
		}
		r = &(*ranges)[(*count)++];
		r->first = DatumGetInt64(heap_getattr(tuple, Anum_part_row_first, RelationGetDescr(rel), &isnull));
		r->end =
			r->first + DatumGetInt64(heap_getattr(tuple, Anum_part_nrows, RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	qsort(*ranges, *count, sizeof(MdbRowRange), mdb_row_range_cmp);
}

/*
 * mdb_part_insert - the row that makes a part exist.
 */
void
mdb_part_insert(Relation partrel, const MdbPartInfo *p, CommandId cid, int options)
{
	Datum v[Natts_part];
	bool n[Natts_part] = {0};

	v[Anum_part_storage_id - 1] = Int64GetDatum(p->storage_id);
	v[Anum_part_part_id - 1] = Int64GetDatum(p->part_id);
	v[Anum_part_incarnation - 1] = Int32GetDatum(p->incarnation);
	v[Anum_part_format - 1] = Int16GetDatum(p->format);
	v[Anum_part_level - 1] = Int16GetDatum(p->level);
	v[Anum_part_class - 1] = Int16GetDatum(p->class);
	v[Anum_part_day - 1] = Int32GetDatum(p->day);
	v[Anum_part_days - 1] = Int32GetDatum(p->days);
	v[Anum_part_row_first - 1] = Int64GetDatum(p->row_first);
	v[Anum_part_nrows - 1] = Int64GetDatum(p->nrows);
	v[Anum_part_nblocks - 1] = Int32GetDatum(p->nblocks);
	v[Anum_part_page_first - 1] = Int64GetDatum(p->page_first);
	v[Anum_part_npages - 1] = Int32GetDatum(p->npages);
	v[Anum_part_nbytes - 1] = Int64GetDatum(p->nbytes);
	v[Anum_part_series_min - 1] = Int64GetDatum(p->series_min);
	v[Anum_part_series_max - 1] = Int64GetDatum(p->series_max);
	v[Anum_part_nseries - 1] = Int64GetDatum(p->nseries);
	v[Anum_part_time_min - 1] = Int64GetDatum(p->time_min);
	v[Anum_part_time_max - 1] = Int64GetDatum(p->time_max);
	v[Anum_part_checksum - 1] = Int64GetDatum(p->checksum);
	v[Anum_part_overlaps - 1] = BoolGetDatum(p->overlaps);
	v[Anum_part_merged_into - 1] = (Datum) 0;
	n[Anum_part_merged_into - 1] = true;
	v[Anum_part_created_at - 1] = TimestampTzGetDatum(p->created_at);
	v[Anum_part_source_id - 1] = Int32GetDatum(p->source_id);
	n[Anum_part_source_id - 1] = p->source_id == 0;
	v[Anum_part_epoch - 1] = Int64GetDatum(p->epoch);
	n[Anum_part_epoch - 1] = p->source_id == 0;
	mdb_catalog_insert(partrel, v, n, cid, options);
}

/*
 * mdb_part_delete - newer snapshots see the part no more; older ones keep it.
 */
void
mdb_part_delete(const MdbPartInfo *info)
{
	mdb_catalog_delete_row("part", &info->tid);
}

/*
 * mdb_delta_list - the delta heaps of a storage, as a snapshot sees them.
 */
void
mdb_delta_list(int64 storage_id, Snapshot snapshot, MdbDeltaInfo **deltas, int *count)
{
	Relation rel = mdb_catalog_open("delta", AccessShareLock);
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;
	int capacity = 4;

	*count = 0;
	*deltas = palloc(capacity * sizeof(MdbDeltaInfo));
	ScanKeyInit(&key, Anum_delta_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 1, &key);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		Datum v[Natts_delta];
		bool n[Natts_delta];
		MdbDeltaInfo *d;

		if (*count == capacity)
		{
			capacity *= 2;
			*deltas = repalloc(*deltas, capacity * sizeof(MdbDeltaInfo));
		}
		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		d = &(*deltas)[(*count)++];
		d->tid = tuple->t_self;
		d->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
		d->slot = DatumGetInt16(v[Anum_delta_slot - 1]);
		d->relid = DatumGetObjectId(v[Anum_delta_relid - 1]);
		d->live = DatumGetBool(v[Anum_delta_live - 1]);
	}
	mdb_catalog_scan_end(&scan);
	table_close(rel, AccessShareLock);
}

/*
 * mdb_delta_register - a new delta heap, live from the start.
 */
void
mdb_delta_register(int64 storage_id, int16 slot, Oid relid)
{
	Relation rel = mdb_catalog_open("delta", RowExclusiveLock);
	Datum v[Natts_delta];
	bool n[Natts_delta] = {0};

	v[Anum_delta_storage_id - 1] = Int64GetDatum(storage_id);
	v[Anum_delta_slot - 1] = Int16GetDatum(slot);
	v[Anum_delta_relid - 1] = ObjectIdGetDatum(relid);
	v[Anum_delta_live - 1] = BoolGetDatum(true);
	mdb_catalog_insert(rel, v, n, GetCurrentCommandId(true), 0);
	table_close(rel, NoLock);
	if (get_rel_persistence(relid) == RELPERSISTENCE_PERMANENT)
		mdb_decoding_hide(relid);
}

/*
 * mdb_delta_set_live - retire a slot of the ring, or take it into use again.
 */
void
mdb_delta_set_live(const MdbDeltaInfo *delta, bool live)
{
	Relation rel = mdb_catalog_open("delta", RowExclusiveLock);
	Snapshot snapshot = mdb_latest_snapshot();
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ItemPointerData tid = delta->tid;

	if (table_tuple_fetch_row_version(rel, &tid, snapshot, slot))
	{
		HeapTuple old = ExecFetchSlotHeapTuple(slot, false, NULL);
		Datum v[Natts_delta] = {0};
		bool n[Natts_delta] = {0};
		bool replace[Natts_delta] = {0};
		HeapTuple new;

		v[Anum_delta_live - 1] = BoolGetDatum(live);
		replace[Anum_delta_live - 1] = true;
		new = heap_modify_tuple(old, RelationGetDescr(rel), v, n, replace);
		CatalogTupleUpdate(rel, &tid, new);
	}
	else
		elog(ERROR, "delta slot %d is gone", delta->slot);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
}

/*
 * mdb_delta_history_gone - make sure that no older version is left of a slot's row.
 *
 * Versions that nobody here can see are pruned, if nobody is in the way.  The WAL record of that
 * is what cancels queries on standbys that still see the slot in an older state; what follows
 * from the newer one may be done only after it.
 */
bool
mdb_delta_history_gone(int64 storage_id, const MdbDeltaInfo *delta)
{
	Relation rel = mdb_catalog_open("delta", AccessShareLock);
	ItemPointerData tid = delta->tid;
	bool gone = false;

	for (int attempt = 0; attempt < 2 && !gone; attempt++)
	{
		ScanKeyData keys[2];
		SysScanDesc scan;
		HeapTuple tuple;
		BlockNumber block = InvalidBlockNumber;

		gone = true;
		ScanKeyInit(&keys[0], Anum_delta_storage_id, BTEqualStrategyNumber, F_INT8EQ,
					Int64GetDatum(storage_id));
		ScanKeyInit(&keys[1], Anum_delta_slot, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(delta->slot));
		scan = systable_beginscan(rel, mdb_catalog_index(rel), true, SnapshotAny, 2, keys);
		/* An entry that is known to be dead may still name a tuple that was not pruned. */
		if (scan->iscan)
			scan->iscan->ignore_killed_tuples = false;
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			if (ItemPointerEquals(&tuple->t_self, &tid))
				continue;
			gone = false;
			block = ItemPointerGetBlockNumber(&tuple->t_self);
			if (attempt > 0)
				break;
		}
		systable_endscan(scan);
		if (attempt == 0 && BlockNumberIsValid(block))
		{
			Buffer buf = ReadBuffer(rel, block);

			mdb_heap_prune_page(rel, buf);
			ReleaseBuffer(buf);
		}
	}
	table_close(rel, AccessShareLock);
	return gone;
}

/*
 * mdb_storage_register - note that a file exists.  relid is the table it was made for.
 */
void
mdb_storage_register(int64 storage_id, Oid relid, CommandId cid)
{
	Relation rel = mdb_catalog_open("storage", RowExclusiveLock);
	Datum v[Natts_storage];
	bool n[Natts_storage] = {0};

	v[Anum_storage_storage_id - 1] = Int64GetDatum(storage_id);
	v[Anum_storage_relid - 1] = ObjectIdGetDatum(relid);
	v[Anum_storage_created_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	mdb_catalog_insert(rel, v, n, cid, 0);
	table_close(rel, NoLock);
}

/*
 * mdb_storage_list - the ids of all storages that are committed by now.
 */
void
mdb_storage_list(int64 **ids, int *count)
{
	Relation rel = mdb_catalog_open("storage", AccessShareLock);
	Snapshot snapshot = mdb_latest_snapshot();
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple tuple;
	int capacity = 64;

	*ids = palloc(capacity * sizeof(int64));
	*count = 0;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;

		if (*count == capacity)
		{
			capacity *= 2;
			*ids = repalloc(*ids, capacity * sizeof(int64));
		}
		(*ids)[(*count)++] =
			DatumGetInt64(heap_getattr(tuple, Anum_storage_storage_id, RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
}

static int
id_cmp(const void *a, const void *b)
{
	const int64 *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The storage ids in a catalog's first column, sorted, each once. */
static int64 *
storage_ids(const char *catalog, Snapshot snapshot, int *count)
{
	Relation rel = mdb_catalog_open(catalog, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple tuple;
	int capacity = 64;
	int64 *ids = palloc(capacity * sizeof(int64));
	int n = 0;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;
		int64 id = DatumGetInt64(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));

		CHECK_FOR_INTERRUPTS();
		if (n > 0 && ids[n - 1] == id)
			continue;
		if (n == capacity)
		{
			capacity *= 2;
			ids = repalloc_huge(ids, capacity * sizeof(int64));
		}
		ids[n++] = id;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	qsort(ids, n, sizeof(int64), id_cmp);
	*count = 0;
	for (int i = 0; i < n; i++)
		if (*count == 0 || ids[*count - 1] != ids[i])
			ids[(*count)++] = ids[i];
	return ids;
}

/*
 * Has a storage a row of its own, committed or not?
 *
 * A scan that sees what is not committed may come to both versions of a row that is being updated at a wrong time:
 * to the new one before it is there, to the old one when it is no more.  Then the update's transaction has ended,
 * and a snapshot that is taken afterwards sees the row.
 */
static bool
is_registered(int64 storage_id)
{
	Relation rel = mdb_catalog_open("storage", AccessShareLock);
	SnapshotData dirty;
	Snapshot later = NULL;
	bool found = false;

	InitDirtySnapshot(dirty);
	for (int i = 0; i < 2 && !found; i++)
	{
		ScanKeyData key;
		SysScanDesc scan;

		if (i == 1)
			later = mdb_latest_snapshot();
		ScanKeyInit(&key, Anum_storage_storage_id, BTEqualStrategyNumber, F_INT8EQ,
					Int64GetDatum(storage_id));
		scan = systable_beginscan(rel, mdb_catalog_index(rel), true, later ? later : &dirty, 1, &key);
		found = HeapTupleIsValid(systable_getnext(scan));
		systable_endscan(scan);
	}
	if (later)
		UnregisterSnapshot(later);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * mdb_storage_is_seen - was a storage made before a snapshot?  Not if the table was rewritten later.
 */
bool
mdb_storage_is_seen(int64 storage_id, Snapshot snapshot)
{
	Relation rel = mdb_catalog_open("storage", AccessShareLock);
	MdbCatalogScan scan;
	ScanKeyData key;
	bool seen;

	ScanKeyInit(&key, Anum_storage_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 1, &key);
	seen = HeapTupleIsValid(mdb_catalog_scan_next(&scan));
	mdb_catalog_scan_end(&scan);
	table_close(rel, AccessShareLock);
	return seen;
}

/*
 * mdb_storage_orphans - the ids of storages that have rows in the catalogs, but no transaction
 * that has made one or is about to.
 *
 * Rows of a rewrite, and of shadows, are frozen: they survive its abort.  Its storage's row is not, and was there
 * before them, so it is looked for after them, and also if it is not committed yet.
 */
void
mdb_storage_orphans(int64 **ids, int *count)
{
	static const char *const catalogs[] = {"part", "series", "posting", "shadow", "pending"};
	int64 *found[lengthof(catalogs)];
	int nfound[lengthof(catalogs)];
	Snapshot snapshot = mdb_latest_snapshot();
	SnapshotData dirty;
	int64 *known;
	int nknown;
	int total = 0;

	for (int c = 0; c < (int) lengthof(catalogs); c++)
		found[c] = storage_ids(catalogs[c], snapshot, &nfound[c]);
	UnregisterSnapshot(snapshot);
	InitDirtySnapshot(dirty);
	known = storage_ids("storage", &dirty, &nknown);

	for (int c = 0; c < (int) lengthof(catalogs); c++)
		total += nfound[c];
	*ids = palloc(sizeof(int64) * (total + 1));
	*count = 0;
	for (int c = 0; c < (int) lengthof(catalogs); c++)
		for (int i = 0; i < nfound[c]; i++)
			if (bsearch(&found[c][i], known, nknown, sizeof(int64), id_cmp) == NULL &&
				!is_registered(found[c][i]))
				(*ids)[(*count)++] = found[c][i];
}

/* The row of a storage, found by one of its columns; a copy, or NULL. */
static HeapTuple
find_storage(Relation rel, AttrNumber attno, Datum value)
{
	bool by_id = attno == Anum_storage_storage_id;
	Snapshot snapshot = mdb_latest_snapshot();
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, attno, BTEqualStrategyNumber, by_id ? F_INT8EQ : F_OIDEQ, value);
	scan = systable_beginscan(rel, by_id ? mdb_catalog_index(rel) : InvalidOid, by_id, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	return tuple;
}

/*
 * mdb_storage_find - the storage that belongs to a table, by the catalog, or 0.
 */
int64
mdb_storage_find(Oid relid)
{
	Relation rel = mdb_catalog_open("storage", AccessShareLock);
	HeapTuple tuple = find_storage(rel, Anum_storage_relid, ObjectIdGetDatum(relid));
	bool isnull;
	int64 result = 0;

	if (HeapTupleIsValid(tuple))
		result = DatumGetInt64(heap_getattr(tuple, Anum_storage_storage_id, RelationGetDescr(rel), &isnull));
	table_close(rel, AccessShareLock);
	return result;
}

/*
 * mdb_storage_relid - the table that a storage belongs to, by the catalog, or InvalidOid.
 */
Oid
mdb_storage_relid(int64 storage_id)
{
	Relation rel = mdb_catalog_open("storage", AccessShareLock);
	HeapTuple tuple = find_storage(rel, Anum_storage_storage_id, Int64GetDatum(storage_id));
	bool isnull;
	Oid result = InvalidOid;

	if (HeapTupleIsValid(tuple))
		result = DatumGetObjectId(heap_getattr(tuple, Anum_storage_relid, RelationGetDescr(rel), &isnull));
	table_close(rel, AccessShareLock);
	return result;
}

/*
 * mdb_storage_set_relid - a storage belongs to another table now.
 */
void
mdb_storage_set_relid(int64 storage_id, Oid relid)
{
	Relation rel = mdb_catalog_open("storage", RowExclusiveLock);
	HeapTuple tuple = find_storage(rel, Anum_storage_storage_id, Int64GetDatum(storage_id));
	Datum v[Natts_storage] = {0};
	bool n[Natts_storage] = {0};
	bool replace[Natts_storage] = {0};

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "storage %lld is not in the catalog", (long long) storage_id);
	v[Anum_storage_relid - 1] = ObjectIdGetDatum(relid);
	replace[Anum_storage_relid - 1] = true;
	CatalogTupleUpdate(rel, &tuple->t_self, heap_modify_tuple(tuple, RelationGetDescr(rel), v, n, replace));
	table_close(rel, NoLock);
}

/*
 * mdb_catalog_delete - delete a storage's rows of a catalog whose first column says whose they are.
 */
void
mdb_catalog_delete(const char *catalog, int64 storage_id)
{
	Oid relid = mdb_catalog_relid(catalog, true);
	Relation rel;
	Snapshot snapshot;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	if (!OidIsValid(relid))
		return;
	rel = table_open(relid, RowExclusiveLock);
	snapshot = mdb_latest_snapshot();
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		simple_heap_delete(rel, &tuple->t_self);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
}

/*
 * Keep out others who change a storage's rows of metricsdb.cardinality, to the end of
 * the transaction.  See src/series/guard.c, where the lock is had for less.
 */
static void
cardinality_lock(int64 storage_id)
{
	Oid relid = mdb_catalog_relid("cardinality", true);
	Relation rel;

	if (!OidIsValid(relid))
		return;
	rel = table_open(relid, RowExclusiveLock);
	LockPage(rel, (BlockNumber) storage_id, ExclusiveLock);
	table_close(rel, NoLock);
}

/*
 * mdb_storage_forget - delete all that the catalogs know of a file; transactional.  The delta
 * heaps themselves are dropped by the caller.  Catalogs that are gone already are skipped.
 */
void
mdb_storage_forget(int64 storage_id)
{
	CommandCounterIncrement();
	mdb_catalog_delete("storage", storage_id);
	mdb_catalog_delete("part", storage_id);
	mdb_catalog_delete("delta", storage_id);
	mdb_catalog_delete("shadow", storage_id);
	mdb_catalog_delete("moved", storage_id);
	mdb_catalog_delete("pending", storage_id);
	mdb_catalog_delete("series", storage_id);
	mdb_catalog_delete("posting", storage_id);
	mdb_catalog_delete("leaving_series", storage_id);
	mdb_catalog_delete("compaction", storage_id);
	cardinality_lock(storage_id);
	mdb_catalog_delete("cardinality", storage_id);
	CommandCounterIncrement();
}
