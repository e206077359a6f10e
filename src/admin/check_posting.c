/*
 * check_posting.c
 *	  metricsdb.check(): the index over series.
 *
 * Every row of metricsdb.posting must decode and state what it has; each series of the dictionary must be
 * found by all of its terms and by no others.  Terms are not kept but summed up: a series that was
 * registered n times is in the index up to n times, each time with all of its terms.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "admin/check.h"
#include "series/index.h"

static uint64
term_hash(const uint8 *term, uint32 len)
{
	return hash_bytes_extended(term, (int) len, 0);
}

/* Of a column that was dropped nobody knows any more whether it was jsonb, which has other terms. */
static bool
is_dropped(const MdbTable *table, const uint8 *term)
{
	int attno = term[0] << 8 | term[1];

	return attno < 1 || attno > table->natts || table->columns[attno - 1].role != MDB_ROLE_SERIES;
}

typedef struct Expected
{
	const MdbTable *table;
	MdbKnownTerms *terms;
} Expected;

static void
expect_term(void *arg, const MdbTerm *term)
{
	Expected *expected = arg;
	MdbKnownTerms *terms = expected->terms;

	if (is_dropped(expected->table, term->bytes))
		return;
	terms->sum += term_hash(term->bytes, term->len);
	terms->count++;
}

/*
 * mdb_check_expect_terms - a series with this key was found in the dictionary.
 */
void
mdb_check_expect_terms(MdbCheck *c, MdbKnownTerms *terms, const char *key, uint32 len)
{
	Expected expected = {c->table, terms};

	mdb_terms_of_key(c->known->jsonb, key, len, expect_term, &expected);
}

/* A row, and what was found of it. */
typedef struct Row
{
	MdbCheck *check;
	Datum v[Natts_posting];
	int64 nentries;
	int64 strangers; /* ids that the dictionary does not have */
	uint32 stranger;
	const char *wrong;
} Row;

static bool
is_term(const MdbPostingReader *r, Datum term)
{
	bytea *b = DatumGetByteaPP(term);

	return mdb_term_cmp(r->term, r->term_len, VARDATA_ANY(b), VARSIZE_ANY_EXHDR(b)) == 0;
}

static void
read_row(void *arg)
{
	Row *row = arg;
	MdbPostingReader r;
	MdbTerm before = {0};
	MdbIds *ids = mdb_ids_create();
	int more;

	mdb_posting_page(row->v[Anum_posting_payload - 1], &r);
	while ((more = mdb_posting_next(&r)) == 1)
	{
		uint64 hash = term_hash(r.term, r.term_len);
		bool dropped = r.term_len >= 2 && is_dropped(row->check->table, r.term);

		ids->n = 0;
		mdb_ids_reserve(ids, r.n);
		if (!mdb_posting_ids(&r, ids->v))
			mdb_posting_damaged();
		if (row->nentries++ == 0 ? !is_term(&r, row->v[Anum_posting_first_term - 1])
								 : mdb_term_cmp(r.term, r.term_len, before.bytes, before.len) < 0)
			row->wrong = "are not in order";
		before.len = r.term_len;
		memcpy(before.bytes, r.term, r.term_len);
		for (uint32 i = 0; i < r.n; i++)
		{
			MdbKnownTerms *terms = mdb_check_series_terms(row->check->known, ids->v[i]);

			if (terms == NULL)
			{
				row->strangers++;
				row->stranger = ids->v[i];
				continue;
			}
			if (dropped)
				continue;
			terms->found_sum += hash;
			terms->found++;
		}
	}
	if (more < 0)
		mdb_posting_damaged();
	if (row->nentries == 0 || !is_term(&r, row->v[Anum_posting_last_term - 1]))
		row->wrong = "do not end as the row says";
}

typedef struct Reading
{
	MdbCheck *check;
	bool damaged;
	int64 missing;
	uint32 example;
} Reading;

static void
check_row(Reading *reading, HeapTuple tuple, TupleDesc desc)
{
	MdbCheck *c = reading->check;
	bool n[Natts_posting];
	Row row = {.check = c};
	ErrorData *error;
	long long run;

	heap_deform_tuple(tuple, desc, row.v, n);
	run = (long long) DatumGetInt64(row.v[Anum_posting_run - 1]);
	error = mdb_guard(read_row, &row);
	reading->damaged |= error != NULL;
	if (error)
		mdb_check_found(c, "error", "postings", MDB_PLACE_TABLE,
						"A row of run %lld of the index over series cannot be decoded: %s.", run,
						error->message);
	else if (row.wrong || row.nentries != DatumGetInt32(row.v[Anum_posting_nentries - 1]))
		mdb_check_found(c, "error", "postings", MDB_PLACE_TABLE,
						"The terms of a row of run %lld of the index over series %s.", run,
						row.wrong ? row.wrong : "are not as many as the row says");
	else if (row.strangers > 0)
		mdb_check_found(
			c, "error", "dictionary", MDB_PLACE_TABLE,
			"A row of run %lld of the index over series names %lld series that the dictionary does not "
			"have, among them %u.",
			run, (long long) row.strangers, row.stranger);
}

static void
read_rows(void *arg)
{
	Reading *reading = arg;
	MdbCheck *c = reading->check;
	Relation rel = mdb_catalog_open("posting", AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_posting_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(c->table->storage_id));
	scan = systable_beginscan(rel, InvalidOid, false, c->snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		MemoryContext old = MemoryContextSwitchTo(c->tmp);

		CHECK_FOR_INTERRUPTS();
		check_row(reading, tuple, RelationGetDescr(rel));
		MemoryContextSwitchTo(old);
		MemoryContextReset(c->tmp);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

static void
compare(void *arg, uint32 id, const MdbKnownTerms *terms)
{
	Reading *reading = arg;
	uint32 times = terms->count > 0 ? terms->found / terms->count : 1;

	if (times > 0 && terms->found == times * terms->count && terms->found_sum == times * terms->sum)
		return;
	reading->missing++;
	reading->example = id;
}

/*
 * mdb_check_postings - check the index, after the dictionary.
 */
void
mdb_check_postings(MdbCheck *c)
{
	Reading reading = {.check = c};
	ErrorData *error;

	if (c->table->nseries_columns == 0 || c->dictionary_damaged)
		return;
	error = mdb_guard(read_rows, &reading);
	if (error)
		mdb_check_found(c, "error", "postings", MDB_PLACE_TABLE, "metricsdb.posting cannot be read: %s.",
						error->message);
	else if (!reading.damaged)
		mdb_check_series_each(c->known, compare, &reading);
	if (reading.missing > 0)
		mdb_check_found(c, "error", "postings", MDB_PLACE_TABLE,
						"The index over series has not all terms, or others, of %lld series, among them %u.",
						(long long) reading.missing, reading.example);
}
