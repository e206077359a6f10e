/*
 * posting_cache.c
 *	  Many look-ups in the index over series: its rows are read and inflated once.
 *
 * All look-ups are of one snapshot.  A row is remembered as a page in which terms are searched for by halving; those
 * of the row's first and last term are not, as other rows may have more of their ids.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "series/index.h"

typedef struct Entry
{
	const uint8 *term;
	uint32 len;
	uint32 n; /* ids */
	const uint8 *list;
	const uint8 *list_end;
} Entry;

typedef struct TermPage
{
	int n;
	Entry *entries; /* by rising term */
} TermPage;

/* The pages of a run that were read, by rising terms. */
typedef struct Run
{
	int64 run;
	int n;
	int cap;
	TermPage **pages;
} Run;

struct MdbPostingCache
{
	int64 storage_id;
	Snapshot snapshot;
	Size limit;
	MemoryContext mcxt;  /* of this */
	MemoryContext pages; /* of what was read */
	int nruns;           /* -1 = not known yet */
	Run *runs;
};

/*
 * mdb_posting_cache_create - in CurrentMemoryContext.  The snapshot has to last as long.  limit: bytes that it may
 * hold between two look-ups.
 */
MdbPostingCache *
mdb_posting_cache_create(int64 storage_id, Snapshot snapshot, Size limit)
{
	MdbPostingCache *c = palloc0(sizeof(MdbPostingCache));

	c->storage_id = storage_id;
	c->snapshot = snapshot;
	c->limit = limit;
	c->mcxt = CurrentMemoryContext;
	c->pages = AllocSetContextCreate(CurrentMemoryContext, "metricsdb postings", ALLOCSET_DEFAULT_SIZES);
	c->nruns = -1;
	return c;
}

/* Which runs there are. */
static void
find_runs(MdbPostingCache *c)
{
	MdbTerm all = {0};
	MdbPostingScan s;
	int cap = 0;

	c->nruns = 0;
	mdb_posting_scan_begin(&s, c->storage_id, c->snapshot, &all);
	s.names_only = true;
	while (mdb_posting_scan_next(&s))
	{
		if (c->nruns == cap)
		{
			cap = Max(8, cap * 2);
			c->runs = c->runs ? repalloc(c->runs, cap * sizeof(Run)) : palloc(cap * sizeof(Run));
		}
		c->runs[c->nruns++] = (Run){.run = s.run};
		mdb_posting_scan_leave(&s);
	}
	mdb_posting_scan_end(&s);
}

static int
compare(const Entry *e, const MdbTerm *term)
{
	return mdb_term_cmp(e->term, e->len, term->bytes, term->len);
}

/* All entries of a row. */
static TermPage *
read_page(MdbPostingCache *c, Datum payload)
{
	TermPage *page = palloc0(sizeof(TermPage));
	MdbPostingReader *reader = palloc(sizeof(MdbPostingReader));
	int cap = 0;
	int more;

	mdb_posting_page(datumCopy(payload, false, -1), reader);
	while ((more = mdb_posting_next(reader)) == 1)
	{
		if (page->n == cap)
		{
			cap = Max(64, cap * 2);
			page->entries =
				page->entries ? repalloc(page->entries, cap * sizeof(Entry)) : palloc(cap * sizeof(Entry));
		}
		page->entries[page->n++] =
			(Entry){memcpy(palloc(Max(reader->term_len, 1)), reader->term, reader->term_len),
					reader->term_len, reader->n, reader->list, reader->list_end};
	}
	if (more < 0 || page->n == 0)
		mdb_posting_damaged();
	pfree(reader);
	return page;
}

static void
keep(MdbPostingCache *c, Run *run, int at, TermPage *page)
{
	if (run->n == run->cap)
	{
		run->cap = Max(8, run->cap * 2);
		run->pages = run->pages ? repalloc(run->pages, run->cap * sizeof(TermPage *))
								: palloc(run->cap * sizeof(TermPage *));
	}
	memmove(run->pages + at + 1, run->pages + at, (run->n - at) * sizeof(TermPage *));
	run->pages[at] = page;
	run->n++;
}

/*
 * The row of a run that may have a term.  NULL: there is none, or *edge, it is the first or last of a row.
 */
static TermPage *
fetch_page(MdbPostingCache *c, Run *run, int at, const MdbTerm *term, bool *edge)
{
	Relation rel = mdb_catalog_open("posting", AccessShareLock);
	bytea *key = (bytea *) cstring_to_text_with_len((const char *) term->bytes, (int) term->len);
	ScanKeyData keys[3];
	MdbCatalogScan scan;
	HeapTuple tuple;
	TermPage *page = NULL;

	*edge = false;
	ScanKeyInit(&keys[0], Anum_posting_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(c->storage_id));
	ScanKeyInit(&keys[1], Anum_posting_run, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(run->run));
	ScanKeyInit(&keys[2], Anum_posting_last_term, BTGreaterEqualStrategyNumber, F_BYTEAGE,
				PointerGetDatum(key));
	mdb_catalog_scan_begin(&scan, rel, c->snapshot, false, 3, keys);
	tuple = mdb_catalog_scan_next(&scan);
	if (HeapTupleIsValid(tuple))
	{
		Datum v[Natts_posting];
		bool n[Natts_posting];
		const bytea *first, *last;
		int below, above;

		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		first = DatumGetByteaPP(v[Anum_posting_first_term - 1]);
		last = DatumGetByteaPP(v[Anum_posting_last_term - 1]);
		below = mdb_term_cmp(VARDATA_ANY(first), VARSIZE_ANY_EXHDR(first), term->bytes, term->len);
		above = mdb_term_cmp(VARDATA_ANY(last), VARSIZE_ANY_EXHDR(last), term->bytes, term->len);
		*edge = below == 0 || above == 0;
		if (below < 0 && above > 0)
		{
			MemoryContext old = MemoryContextSwitchTo(c->pages);

			page = read_page(c, v[Anum_posting_payload - 1]);
			keep(c, run, at, page);
			MemoryContextSwitchTo(old);
		}
	}
	mdb_catalog_scan_end(&scan);
	table_close(rel, AccessShareLock);
	pfree(key);
	return page;
}

/* The page of a run that has been read and surrounds a term, or NULL; *at: where it is, or would be. */
static TermPage *
known_page(const Run *run, const MdbTerm *term, int *at)
{
	int lo = 0, hi = run->n;

	while (lo < hi)
	{
		int mid = lo + (hi - lo) / 2;

		if (compare(&run->pages[mid]->entries[run->pages[mid]->n - 1], term) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*at = lo;
	return lo < run->n && compare(&run->pages[lo]->entries[0], term) < 0 ? run->pages[lo] : NULL;
}

static void
add_ids(const TermPage *page, const MdbTerm *term, MdbIds *ids)
{
	int lo = 0, hi = page->n;

	while (lo < hi)
	{
		int mid = lo + (hi - lo) / 2;

		if (compare(&page->entries[mid], term) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < page->n && compare(&page->entries[lo], term) == 0; lo++)
	{
		const Entry *e = &page->entries[lo];
		MdbPostingReader reader;

		reader.n = e->n;
		reader.list = e->list;
		reader.list_end = e->list_end;
		mdb_ids_reserve(ids, e->n);
		if (!mdb_posting_ids(&reader, ids->v + ids->n))
			mdb_posting_damaged();
		ids->n += e->n;
	}
}

/* Look a term up in the rows themselves. */
static void
find_in_rows(MdbPostingCache *c, int64 run, const MdbTerm *term, MdbIds *ids)
{
	MdbPostingScan s;

	mdb_posting_scan_begin(&s, c->storage_id, c->snapshot, term);
	s.whole = true;
	s.only = run;
	while (mdb_posting_scan_next(&s))
		mdb_posting_scan_ids(&s, ids);
	mdb_posting_scan_end(&s);
}

/*
 * mdb_posting_cache_find - add the ids that have a term, as mdb_postings_find does.
 */
void
mdb_posting_cache_find(MdbPostingCache *c, const MdbTerm *term, MdbIds *ids)
{
	if (MemoryContextMemAllocated(c->pages, true) > c->limit)
	{
		MemoryContextReset(c->pages);
		for (int i = 0; i < c->nruns; i++)
			c->runs[i] = (Run){.run = c->runs[i].run};
	}
	if (c->nruns < 0)
	{
		MemoryContext old = MemoryContextSwitchTo(c->mcxt);

		find_runs(c);
		MemoryContextSwitchTo(old);
	}
	for (int i = 0; i < c->nruns; i++)
	{
		int at;
		bool edge = false;
		TermPage *page = known_page(&c->runs[i], term, &at);

		CHECK_FOR_INTERRUPTS();
		if (page == NULL)
			page = fetch_page(c, &c->runs[i], at, term, &edge);
		if (page)
			add_ids(page, term, ids);
		else if (edge)
			find_in_rows(c, c->runs[i].run, term, ids);
	}
}
