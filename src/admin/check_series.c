/*
 * check_series.c
 *	  metricsdb.check(): the series dictionary.
 *
 * Every row of metricsdb.series must decode, lie within the ids that it states and that the
 * metapage has given out, and agree with the others: an id never means two keys.  What is read is
 * remembered, so that the parts' ids can be looked up.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "admin/check.h"
#include "series/index.h"

#define KNOWN_PAGE 1024

typedef struct KnownPage
{
	uint32 number;             /* id / KNOWN_PAGE */
	uint64 hashes[KNOWN_PAGE]; /* of the keys; 0 = not known */
	MdbKnownTerms terms[KNOWN_PAGE];
} KnownPage;

static KnownPage *
known_page(const MdbKnownSeries *known, uint32 id, HASHACTION action)
{
	uint32 number = id / KNOWN_PAGE;
	bool found;
	KnownPage *page = hash_search(known->pages, &number, action, &found);

	if (page != NULL && !found)
	{
		memset(page->hashes, 0, sizeof(page->hashes));
		memset(page->terms, 0, sizeof(page->terms));
	}
	return page;
}

/*
 * mdb_check_series_known - is there a row for this id?
 */
bool
mdb_check_series_known(const MdbKnownSeries *known, uint32 id)
{
	KnownPage *page = known_page(known, id, HASH_FIND);

	return page != NULL && page->hashes[id % KNOWN_PAGE] != 0;
}

/*
 * mdb_check_series_terms - what is known of the terms of an id, NULL if there is no row for it.
 */
MdbKnownTerms *
mdb_check_series_terms(const MdbKnownSeries *known, uint32 id)
{
	KnownPage *page = known_page(known, id, HASH_FIND);

	return page != NULL && page->hashes[id % KNOWN_PAGE] != 0 ? &page->terms[id % KNOWN_PAGE] : NULL;
}

/*
 * mdb_check_series_each - call back with each id that has a row.
 */
void
mdb_check_series_each(const MdbKnownSeries *known,
					  void (*callback)(void *arg, uint32 id, const MdbKnownTerms *terms), void *arg)
{
	HASH_SEQ_STATUS status;
	KnownPage *page;

	hash_seq_init(&status, known->pages);
	while ((page = hash_seq_search(&status)) != NULL)
		for (uint32 i = 0; i < KNOWN_PAGE; i++)
			if (page->hashes[i] != 0)
				callback(arg, page->number * KNOWN_PAGE + i, &page->terms[i]);
}

/* One row of the catalog, and what was found of it. */
typedef struct Segment
{
	MdbCheck *check;
	Datum payload;
	int64 id_min;
	int64 id_max;
	int64 count;
	int64 conflict; /* an id with two keys, -1 = none */
	int64 invalid;  /* an id whose key makes no sense */
	int64 outside;  /* an id that the row does not state */
} Segment;

static void
take_pair(void *arg, uint32 id, const char *key, uint32 len)
{
	Segment *s = arg;
	uint64 hash = hash_bytes_extended((const unsigned char *) key, (int) len, 0) | 1;
	KnownPage *page = known_page(s->check->known, id, HASH_ENTER);
	uint64 *slot = &page->hashes[id % KNOWN_PAGE];

	s->count++;
	if (*slot != 0 && *slot != hash)
		s->conflict = id;
	if (!mdb_key_is_valid(s->check->table, key, len))
		s->invalid = id;
	else if (*slot == 0)
		mdb_check_expect_terms(s->check, &page->terms[id % KNOWN_PAGE], key, len);
	if (id < s->id_min || id > s->id_max)
		s->outside = id;
	*slot = hash;
}

static void
decode_segment(void *arg)
{
	Segment *s = arg;

	mdb_segment_decode(DatumGetByteaPP(s->payload), (uint32) s->id_min, take_pair, s);
}

static void
check_row(MdbCheck *c, HeapTuple tuple, TupleDesc desc)
{
	Datum v[Natts_series];
	bool n[Natts_series];
	Segment s = {.check = c, .conflict = -1, .invalid = -1, .outside = -1};
	ErrorData *error;
	int stated;

	heap_deform_tuple(tuple, desc, v, n);
	s.payload = v[Anum_series_payload - 1];
	s.id_min = DatumGetInt64(v[Anum_series_id_min - 1]);
	s.id_max = DatumGetInt64(v[Anum_series_id_max - 1]);
	stated = DatumGetInt32(v[Anum_series_nseries - 1]);
	error = mdb_guard(decode_segment, &s);
	if (error)
	{
		c->dictionary_damaged = true;
		mdb_check_found(c, "error", "dictionary", MDB_PLACE_TABLE,
						"The keys of series %lld to %lld cannot be decoded: %s.", (long long) s.id_min,
						(long long) s.id_max, error->message);
		return;
	}
	if (s.conflict >= 0)
		mdb_check_found(c, "error", "dictionary", MDB_PLACE_TABLE, "Series %lld has two different keys.",
						(long long) s.conflict);
	if (s.invalid >= 0)
		mdb_check_found(c, "error", "dictionary", MDB_PLACE_TABLE,
						"The key of series %lld does not fit the table's columns.", (long long) s.invalid);
	if (s.outside >= 0 || s.count != stated)
		mdb_check_found(c, "error", "dictionary", MDB_PLACE_TABLE,
						"A row for %d series, %lld to %lld, holds %lld, among them %lld.", stated,
						(long long) s.id_min, (long long) s.id_max, (long long) s.count,
						(long long) (s.outside >= 0 ? s.outside : s.id_min));
	if (c->meta.incarnation != 0 && s.id_max >= c->meta.next_series)
		mdb_check_found(c, "error", "counter", MDB_PLACE_TABLE,
						"The metapage would give out series id %lld next, but %lld is in use.",
						(long long) c->meta.next_series, (long long) s.id_max);
}

typedef struct Reading
{
	MdbCheck *check;
	bool by_index;
	int64 nrows;
} Reading;

/* All rows, by the heap; or their number, by the index. */
static void
read_rows(void *arg)
{
	Reading *r = arg;
	MdbCheck *c = r->check;
	Relation rel = mdb_catalog_open("series", AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_series_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(c->table->storage_id));
	scan = systable_beginscan(rel, r->by_index ? mdb_catalog_index(rel) : InvalidOid, r->by_index,
							  c->snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		MemoryContext old = MemoryContextSwitchTo(c->tmp);

		CHECK_FOR_INTERRUPTS();
		r->nrows++;
		if (!r->by_index)
			check_row(c, tuple, RelationGetDescr(rel));
		MemoryContextSwitchTo(old);
		MemoryContextReset(c->tmp);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * mdb_check_series - check the dictionary and fill c->known.
 */
void
mdb_check_series(MdbCheck *c)
{
	HASHCTL ctl = {0};
	Reading heap = {c, false, 0};
	Reading index = {c, true, 0};
	ErrorData *error;

	if (c->table->nseries_columns == 0)
		return;
	c->known = palloc0(sizeof(MdbKnownSeries));
	c->known->jsonb = mdb_terms_jsonb(c->table);
	ctl.keysize = sizeof(uint32);
	ctl.entrysize = sizeof(KnownPage);
	ctl.hcxt = CurrentMemoryContext;
	c->known->pages = hash_create("metricsdb known series", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	error = mdb_guard(read_rows, &heap);
	if (error == NULL)
		error = mdb_guard(read_rows, &index);
	if (error)
	{
		c->dictionary_damaged = true;
		mdb_check_found(c, "error", "dictionary", MDB_PLACE_TABLE, "metricsdb.series cannot be read: %s.",
						error->message);
	}
	else if (heap.nrows != index.nrows)
		mdb_check_found(
			c, "error", "index", MDB_PLACE_TABLE,
			"The index of metricsdb.series finds %lld of the %lld rows of this table: REINDEX it.",
			(long long) index.nrows, (long long) heap.nrows);
}
