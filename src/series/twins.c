/*
 * twins.c
 *	  Ids of one key: two sessions that register it at once give it two.
 *
 * To find them all keys have to be read.  So what was found is remembered by the process as long as the catalog has
 * the same rows.
 */
#include "postgres.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplesort.h"

#include "series/index.h"

/* Of so many dictionaries it is remembered. */
#define KNOWN_MAX 256

typedef struct Known
{
	int64 storage_id; /* hash key */
	uint64 signature; /* of the catalog's rows */
	MdbTwins twins;
} Known;

static HTAB *known = NULL;

/* What the rows of a dictionary are; they never change. */
static uint64
signature_of(Relation rel, int64 storage_id, Snapshot snapshot)
{
	struct
	{
		ItemPointerData tid;
		uint16 zero;
		TransactionId xmin;
		uint64 before;
	} row = {0};
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_series_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 1, &key);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		row.tid = tuple->t_self;
		row.xmin = HeapTupleHeaderGetRawXmin(tuple->t_data);
		row.before = XXH3_64bits(&row, sizeof(row));
	}
	mdb_catalog_scan_end(&scan);
	return row.before;
}

/* Half of a key's hash, and its id. */
static void
put_pair(void *arg, uint32 id, const char *key, uint32 len)
{
	uint64 hash = XXH3_64bits(key, len);

	tuplesort_putdatum(arg, Int64GetDatum((int64) ((hash & ~(uint64) PG_UINT32_MAX) | id)), false);
}

/* All pairs of a dictionary, in order of that. */
static Tuplesortstate *
sort_pairs(Relation rel, int64 storage_id, Snapshot snapshot)
{
	Tuplesortstate *sort =
		tuplesort_begin_datum(INT8OID, Int8LessOperator, InvalidOid, false, work_mem, NULL, TUPLESORT_NONE);
	MemoryContext segment =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb dictionary segment", ALLOCSET_DEFAULT_SIZES);
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_series_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 1, &key);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		MemoryContext old = MemoryContextSwitchTo(segment);
		Datum v[Natts_series];
		bool n[Natts_series];

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		mdb_segment_decode(DatumGetByteaPP(v[Anum_series_payload - 1]),
						   (uint32) DatumGetInt64(v[Anum_series_id_min - 1]), put_pair, sort);
		MemoryContextSwitchTo(old);
		MemoryContextReset(segment);
	}
	mdb_catalog_scan_end(&scan);
	MemoryContextDelete(segment);
	tuplesort_performsort(sort);
	return sort;
}

static bool
same_key(MdbDict *dict, Snapshot snapshot, uint32 a, uint32 b)
{
	uint32 alen, blen;
	const char *akey = mdb_dict_key(dict, a, snapshot, &alen);
	const char *bkey = mdb_dict_key(dict, b, snapshot, &blen);

	return alen == blen && memcmp(akey, bkey, alen) == 0;
}

/* Add an id to the firsts of its hash, or to the twins if it has the key of one of these. */
static void
add_id(MdbDict *dict, Snapshot snapshot, MdbIds *firsts, uint32 id, MdbTwins *twins)
{
	for (uint32 i = 0; i < firsts->n; i++)
	{
		if (!same_key(dict, snapshot, firsts->v[i], id))
			continue;
		if (twins->n % 64 == 0)
			twins->v = twins->v ? repalloc_huge(twins->v, (twins->n + 64) * sizeof(MdbTwin))
								: palloc(64 * sizeof(MdbTwin));
		twins->v[twins->n++] = (MdbTwin){.id = id, .first = firsts->v[i]};
		return;
	}
	mdb_ids_add(firsts, &id, 1);
}

static int
twin_cmp(const void *a, const void *b)
{
	const MdbTwin *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static void
find(Relation rel, MdbDict *dict, int64 storage_id, Snapshot snapshot, MdbTwins *twins)
{
	Tuplesortstate *sort = sort_pairs(rel, storage_id, snapshot);
	MdbIds *firsts = mdb_ids_create();
	uint64 last = 0;
	bool isnull;
	Datum value;

	while (mdb_sorted_datum(sort, &value, &isnull))
	{
		uint64 pair = (uint64) DatumGetInt64(value);

		/* An id may have several rows. */
		if (twins->nids > 0 && pair == last)
			continue;
		if (twins->nids == 0 || pair >> 32 != last >> 32)
			firsts->n = 0;
		add_id(dict, snapshot, firsts, (uint32) pair, twins);
		last = pair;
		twins->nids++;
	}
	tuplesort_end(sort);
	if (twins->n > 0)
		qsort(twins->v, twins->n, sizeof(MdbTwin), twin_cmp);
}

static void
forget_all(void)
{
	HASH_SEQ_STATUS seq;
	Known *k;

	hash_seq_init(&seq, known);
	while ((k = hash_seq_search(&seq)) != NULL)
		if (k->twins.v)
			pfree(k->twins.v);
	hash_destroy(known);
	known = NULL;
}

/*
 * mdb_twins - the ids of a dictionary, as the latest snapshot has it, that have the key of another; the result is good
 * until the next call.  Sorts within work_mem.
 */
const MdbTwins *
mdb_twins(MdbDict *dict, int64 storage_id, Snapshot latest)
{
	Relation rel = mdb_catalog_open("series", AccessShareLock);
	uint64 signature = signature_of(rel, storage_id, latest);
	MdbTwins twins = {0};
	bool found;
	Known *k;

	if (known && hash_get_num_entries(known) >= KNOWN_MAX)
		forget_all();
	if (known == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(int64), .entrysize = sizeof(Known), .hcxt = CacheMemoryContext};

		known = hash_create("metricsdb twins", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	k = hash_search(known, &storage_id, HASH_FIND, NULL);
	if (k == NULL || k->signature != signature)
	{
		find(rel, dict, storage_id, latest, &twins);
		if (twins.n > 0)
			twins.v = memcpy(MemoryContextAllocHuge(CacheMemoryContext, twins.n * sizeof(MdbTwin)), twins.v,
							 twins.n * sizeof(MdbTwin));
		k = hash_search(known, &storage_id, HASH_ENTER, &found);
		if (found && k->twins.v)
			pfree(k->twins.v);
		k->signature = signature;
		k->twins = twins;
	}
	table_close(rel, AccessShareLock);
	return &k->twins;
}

/*
 * mdb_twins_among - so many ids of a set have the key of another of the set.
 */
int64
mdb_twins_among(const MdbTwins *twins, const MdbIds *ids)
{
	int64 count = 0;

	for (uint32 i = 0, end; i < twins->n; i = end)
	{
		int64 there = mdb_ids_has(ids, twins->v[i].first);

		for (end = i; end < twins->n && twins->v[end].first == twins->v[i].first; end++)
			there += mdb_ids_has(ids, twins->v[end].id);
		count += Max(there - 1, 0);
	}
	return count;
}
