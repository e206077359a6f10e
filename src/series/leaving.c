/*
 * leaving.c
 *	  Series on their way out of the dictionary: the catalogs' part of it.  See src/write/collect.c.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "series/index.h"

/* Rows with fewer pairs are put together. */
#define FEW_PAIRS (MDB_SEGMENT_PAIRS / 4)

/*
 * mdb_leaving_read - the epoch of a dictionary; the ids that must not be used any more are added to ids, which
 * may be NULL.
 */
int64
mdb_leaving_read(int64 storage_id, Snapshot snapshot, MdbIds *ids)
{
	Relation rel = mdb_catalog_open("leaving_series", AccessShareLock);
	MdbPostingReader reader;
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;
	int64 epoch = 0;
	int more = 0;

	ScanKeyInit(&key, Anum_leaving_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 1, &key);
	if (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		Datum v[Natts_leaving];
		bool n[Natts_leaving];

		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		epoch = DatumGetInt64(v[Anum_leaving_epoch - 1]);
		if (ids)
		{
			bytea *page = DatumGetByteaPP(v[Anum_leaving_ids - 1]);

			mdb_posting_begin(&reader, VARDATA_ANY(page), VARSIZE_ANY_EXHDR(page));
			while ((more = mdb_posting_next(&reader)) == 1)
			{
				mdb_ids_reserve(ids, reader.n);
				if (!mdb_posting_ids(&reader, ids->v + ids->n))
					mdb_posting_damaged();
				ids->n += reader.n;
			}
			if (more < 0)
				mdb_posting_damaged();
		}
	}
	mdb_catalog_scan_end(&scan);
	table_close(rel, AccessShareLock);
	return epoch;
}

/*
 * mdb_leaving_write - a new epoch with these ids, of which all processes hear at commit.
 */
void
mdb_leaving_write(Relation table_rel, int64 storage_id, const MdbIds *ids)
{
	Relation rel = mdb_catalog_open("leaving_series", RowExclusiveLock);
	Snapshot snapshot = mdb_latest_snapshot();
	Datum v[Natts_leaving];
	bool n[Natts_leaving] = {0};
	StringInfoData page;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple old;
	bytea *payload;

	initStringInfo(&page);
	for (uint32 at = 0, count; at < ids->n; at += count)
	{
		count = Min(ids->n - at, MDB_POSTING_IDS_MAX);
		enlargeStringInfo(&page, (int) mdb_posting_bound(0, count));
		page.len +=
			(int) mdb_posting_put((uint8 *) page.data + page.len, NULL, 0, NULL, 0, ids->v + at, count);
	}
	payload = palloc(VARHDRSZ + page.len);
	SET_VARSIZE(payload, VARHDRSZ + page.len);
	memcpy(VARDATA(payload), page.data, page.len);
	v[Anum_leaving_storage_id - 1] = Int64GetDatum(storage_id);
	v[Anum_leaving_epoch - 1] = Int64GetDatum(mdb_leaving_read(storage_id, snapshot, NULL) + 1);
	v[Anum_leaving_ids - 1] = PointerGetDatum(payload);

	ScanKeyInit(&key, Anum_leaving_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, snapshot, 1, &key);
	old = systable_getnext(scan);
	if (HeapTupleIsValid(old))
		CatalogTupleUpdate(rel, &old->t_self, heap_form_tuple(RelationGetDescr(rel), v, n));
	else
		mdb_catalog_insert(rel, v, n, GetCurrentCommandId(true), 0);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	CacheInvalidateRelcache(table_rel);
	pfree(page.data);
}

/* Pairs that are to be written again. */
typedef struct Pending
{
	MemoryContext mcxt;
	const MdbIds *removed;
	bool any_removed; /* of the row that was read last */
	int n;
	int cap;
	MdbSegmentEntry *entries;
} Pending;

static void
look_for_removed(void *arg, uint32 id, const char *key, uint32 len)
{
	Pending *p = arg;

	p->any_removed |= mdb_ids_has(p->removed, id);
}

static void
take_pair(void *arg, uint32 id, const char *key, uint32 len)
{
	Pending *p = arg;
	MemoryContext old;
	char *copy;

	if (mdb_ids_has(p->removed, id))
		return;
	old = MemoryContextSwitchTo(p->mcxt);
	if (p->n == p->cap)
	{
		p->cap = Max(MDB_SEGMENT_PAIRS, p->cap * 2);
		p->entries = p->entries ? repalloc(p->entries, p->cap * sizeof(MdbSegmentEntry))
								: palloc(p->cap * sizeof(MdbSegmentEntry));
	}
	copy = memcpy(palloc(Max(len, 1)), key, len);
	p->entries[p->n++] = (MdbSegmentEntry){id, len, copy};
	MemoryContextSwitchTo(old);
}

static int
entry_cmp(const void *a, const void *b)
{
	uint32 x = ((const MdbSegmentEntry *) a)->id, y = ((const MdbSegmentEntry *) b)->id;

	return x < y ? -1 : x > y;
}

static void
write_pending(Pending *p, Relation rel, int64 storage_id, CommandId cid)
{
	int n = 0;

	qsort(p->entries, p->n, sizeof(MdbSegmentEntry), entry_cmp);
	/* An id may have had several rows. */
	for (int i = 0; i < p->n; i++)
		if (n == 0 || p->entries[n - 1].id != p->entries[i].id)
			p->entries[n++] = p->entries[i];
	mdb_segments_write(rel, storage_id, p->entries, n, NULL, cid, 0);
	MemoryContextReset(p->mcxt);
	p->n = p->cap = 0;
	p->entries = NULL;
}

/*
 * mdb_dict_remove - remove ids from the dictionary, and put small rows together.
 */
void
mdb_dict_remove(int64 storage_id, const MdbIds *ids)
{
	Relation rel = mdb_catalog_open("series", RowExclusiveLock);
	Snapshot snapshot = mdb_latest_snapshot();
	MemoryContext tmp =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb removal of series", ALLOCSET_DEFAULT_SIZES);
	Pending pending = {.removed = ids};
	CommandId cid = GetCurrentCommandId(true);
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;

	pending.mcxt = AllocSetContextCreate(tmp, "metricsdb pairs", ALLOCSET_DEFAULT_SIZES);
	ScanKeyInit(&key, Anum_series_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 1, &key);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		Datum v[Natts_series];
		bool n[Natts_series];
		MemoryContext old;
		MemoryContext row = AllocSetContextCreate(tmp, "metricsdb dictionary row", ALLOCSET_DEFAULT_SIZES);
		bytea *payload;
		uint32 id_min;

		CHECK_FOR_INTERRUPTS();
		old = MemoryContextSwitchTo(row);
		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		payload = DatumGetByteaPP(v[Anum_series_payload - 1]);
		id_min = (uint32) DatumGetInt64(v[Anum_series_id_min - 1]);
		pending.any_removed = false;
		if (mdb_ids_any_between(ids, id_min, DatumGetInt64(v[Anum_series_id_max - 1])))
			mdb_segment_decode(payload, id_min, look_for_removed, &pending);
		if (pending.any_removed || DatumGetInt32(v[Anum_series_nseries - 1]) < FEW_PAIRS)
		{
			mdb_segment_decode(payload, id_min, take_pair, &pending);
			simple_heap_delete(rel, &tuple->t_self);
		}
		MemoryContextSwitchTo(old);
		MemoryContextDelete(row);
		if (pending.n >= MDB_SEGMENT_PAIRS)
			write_pending(&pending, rel, storage_id, cid);
	}
	mdb_catalog_scan_end(&scan);
	write_pending(&pending, rel, storage_id, cid);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	MemoryContextDelete(tmp);
}
