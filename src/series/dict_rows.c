/*
 * dict_rows.c
 *	  What all rows of a dictionary are read for: its ids, its size.
 */
#include "postgres.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "access/detoast.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "series/index.h"

static void
add_id(void *arg, uint32 id, const char *key, uint32 len)
{
	mdb_ids_add(arg, &id, 1);
}

/*
 * mdb_dict_ids - all ids of a dictionary, in CurrentMemoryContext.
 */
MdbIds *
mdb_dict_ids(int64 storage_id, Snapshot snapshot)
{
	Relation rel = mdb_catalog_open("series", AccessShareLock);
	MemoryContext tmp =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb dictionary ids", ALLOCSET_DEFAULT_SIZES);
	MdbIds *ids = mdb_ids_create();
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_series_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 1, &key);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		Datum v[Natts_series];
		bool n[Natts_series];
		MemoryContext old = MemoryContextSwitchTo(tmp);

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		mdb_segment_decode(DatumGetByteaPP(v[Anum_series_payload - 1]),
						   (uint32) DatumGetInt64(v[Anum_series_id_min - 1]), add_id, ids);
		MemoryContextSwitchTo(old);
		MemoryContextReset(tmp);
	}
	mdb_catalog_scan_end(&scan);
	table_close(rel, AccessShareLock);
	MemoryContextDelete(tmp);
	mdb_ids_sort(ids);
	return ids;
}

static void
count_key(void *arg, uint32 id, const char *key, uint32 len)
{
	uint64 hash = XXH3_64bits(key, len);

	hash_search(arg, &hash, HASH_ENTER, NULL);
}

/*
 * mdb_dict_bytes - bytes of the rows of the dictionary and its index that a snapshot sees, and, unless nseries is
 * NULL, how many different keys they hold: a key may have several ids, an id several rows.
 */
int64
mdb_dict_bytes(const MdbTable *table, Snapshot snapshot, int64 *nseries)
{
	Relation rel = mdb_catalog_open("series", AccessShareLock);
	MemoryContext tmp =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb dictionary size", ALLOCSET_DEFAULT_SIZES);
	MemoryContext segment =
		AllocSetContextCreate(tmp, "metricsdb dictionary segment", ALLOCSET_DEFAULT_SIZES);
	HTAB *keys = NULL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	int64 bytes = 0;

	if (nseries != NULL)
	{
		HASHCTL ctl = {0};

		ctl.keysize = ctl.entrysize = sizeof(uint64);
		ctl.hcxt = tmp;
		keys = hash_create("metricsdb different keys", 1024, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	ScanKeyInit(&key, Anum_series_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(table->storage_id));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Datum v[Natts_series];
		bool n[Natts_series];

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		bytes += tuple->t_len;
		if (VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(v[Anum_series_payload - 1])))
			bytes += toast_datum_size(v[Anum_series_payload - 1]);
		if (keys != NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(segment);

			mdb_segment_decode(DatumGetByteaPP(v[Anum_series_payload - 1]),
							   (uint32) DatumGetInt64(v[Anum_series_id_min - 1]), count_key, keys);
			MemoryContextSwitchTo(old);
			MemoryContextReset(segment);
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	bytes += mdb_postings_bytes(table->storage_id, snapshot);
	if (nseries != NULL)
		*nseries = hash_get_num_entries(keys);
	MemoryContextDelete(tmp);
	return bytes;
}
