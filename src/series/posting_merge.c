/*
 * posting_merge.c
 *	  Runs of the index over series to one.
 *
 * A look-up costs the same for a small run as for a large one, so small ones are merged soon, and those that
 * are merged are of about one size: an id is written again only about as often as the index has grown tenfold.
 * The caller holds ShareUpdateExclusiveLock on the table: nobody else merges.  Who registers series writes
 * runs of his own meanwhile.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "series/index.h"
#include "stop.h"

#define RUNS_DUE      8  /* so many are merged some of, */
#define RUNS_PILED    32 /* and so many before all other work */
#define RUNS_MAX      64 /* so many at once at most, */
#define GROWTH        4  /* and none that has more ids than so many times those of all smaller ones */

#define REBUILD_PAIRS (128 * 1024) /* as many at a time as a run is made of */

typedef struct Run
{
	int64 run;
	int64 ids;
} Run;

static int
run_cmp(const void *a, const void *b)
{
	const Run *x = a, *y = b;

	return x->ids < y->ids ? -1 : x->ids > y->ids ? 1 : x->run < y->run ? -1 : x->run > y->run;
}

/* The runs of a storage, the smallest first. */
static Run *
list_runs(Relation rel, int64 storage_id, Snapshot snapshot, int *count)
{
	int cap = 16;
	Run *runs = palloc(cap * sizeof(Run));
	int64 last = -1;

	for (*count = 0;; (*count)++)
	{
		ScanKeyData keys[2];
		MdbCatalogScan scan;
		HeapTuple tuple;
		bool isnull;

		CHECK_FOR_INTERRUPTS();
		ScanKeyInit(&keys[0], Anum_posting_storage_id, BTEqualStrategyNumber, F_INT8EQ,
					Int64GetDatum(storage_id));
		ScanKeyInit(&keys[1], Anum_posting_run, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(last));
		mdb_catalog_scan_begin(&scan, rel, snapshot, false, 2, keys);
		tuple = mdb_catalog_scan_next(&scan);
		if (HeapTupleIsValid(tuple))
		{
			if (*count == cap)
			{
				cap *= 2;
				runs = repalloc(runs, cap * sizeof(Run));
			}
			last = DatumGetInt64(heap_getattr(tuple, Anum_posting_run, RelationGetDescr(rel), &isnull));
			runs[*count].run = last;
			runs[*count].ids =
				DatumGetInt64(heap_getattr(tuple, Anum_posting_run_ids, RelationGetDescr(rel), &isnull));
		}
		mdb_catalog_scan_end(&scan);
		if (!HeapTupleIsValid(tuple))
			break;
	}
	qsort(runs, *count, sizeof(Run), run_cmp);
	return runs;
}

/* How many of the runs, from the smallest on, are worth to be merged? */
static int
choose(const Run *runs, int count)
{
	int64 sum;
	int n = 1;

	if (count < RUNS_DUE)
		return 0;
	for (sum = runs[0].ids; n < count && n < RUNS_MAX; n++)
	{
		if (n >= RUNS_DUE / 2 && runs[n].ids > GROWTH * sum)
			break;
		sum += runs[n].ids;
	}
	return n;
}

static void
delete_run(Relation rel, int64 storage_id, int64 run, Snapshot snapshot)
{
	ScanKeyData keys[2];
	MdbCatalogScan scan;
	HeapTuple tuple;

	ScanKeyInit(&keys[0], Anum_posting_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(storage_id));
	ScanKeyInit(&keys[1], Anum_posting_run, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(run));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 2, keys);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
		simple_heap_delete(rel, &tuple->t_self);
	mdb_catalog_scan_end(&scan);
}

/* The ids of a term, without those to be left out. */
static void
add_term(MdbPostingWriter *w, const MdbTerm *term, MdbIds *ids, const MdbIds *leave_out)
{
	uint32 n = 0;

	mdb_ids_sort(ids);
	for (uint32 i = 0; leave_out && i < ids->n; i++)
		if (!mdb_ids_has(leave_out, ids->v[i]))
			ids->v[n++] = ids->v[i];
	if (leave_out)
		ids->n = n;
	if (ids->n > 0)
		mdb_posting_add(w, term->bytes, term->len, ids->v, ids->n);
}

static void
merge_runs(Relation rel, int64 storage_id, const Run *runs, int n, const MdbIds *leave_out, Snapshot snapshot)
{
	MdbPostingScan *scans = palloc(n * sizeof(MdbPostingScan));
	bool *more = palloc(n * sizeof(bool));
	MdbIds *ids = mdb_ids_create();
	MdbPostingWriter *w;
	MdbTerm term = {0};
	int64 sum = 0;

	for (int i = 0; i < n; i++)
	{
		sum += runs[i].ids;
		mdb_posting_scan_begin(&scans[i], storage_id, snapshot, &term);
		scans[i].only = runs[i].run;
		more[i] = mdb_posting_scan_next(&scans[i]);
	}
	w = mdb_posting_writer(storage_id, sum, GetCurrentCommandId(true), 0);
	for (;;)
	{
		int lowest = -1;

		for (int i = 0; i < n; i++)
			if (more[i] &&
				(lowest < 0 || mdb_term_cmp(scans[i].reader.term, scans[i].reader.term_len,
											scans[lowest].reader.term, scans[lowest].reader.term_len) < 0))
				lowest = i;
		if (lowest < 0)
			break;
		term.len = scans[lowest].reader.term_len;
		memcpy(term.bytes, scans[lowest].reader.term, term.len);
		ids->n = 0;
		for (int i = lowest; i < n; i++)
			while (more[i] &&
				   mdb_term_cmp(scans[i].reader.term, scans[i].reader.term_len, term.bytes, term.len) == 0)
			{
				mdb_posting_scan_ids(&scans[i], ids);
				more[i] = mdb_posting_scan_next(&scans[i]);
			}
		add_term(w, &term, ids, leave_out);
	}
	mdb_posting_finish(w);
	for (int i = 0; i < n; i++)
	{
		mdb_posting_scan_end(&scans[i]);
		delete_run(rel, storage_id, runs[i].run, snapshot);
	}
	MDB_STOP("series.merged");
}

/*
 * mdb_postings_pile - are there so many runs that they should be merged before anything else is done?
 */
bool
mdb_postings_pile(int64 storage_id)
{
	Relation rel = mdb_catalog_open("posting", AccessShareLock);
	Snapshot snapshot = mdb_latest_snapshot();
	int count;

	pfree(list_runs(rel, storage_id, snapshot, &count));
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	return count >= RUNS_PILED;
}

/*
 * mdb_postings_merge - merge some runs if there are many, or all of them if there are several; or all in any
 * case, to leave out some ids.  True if something was done.
 */
bool
mdb_postings_merge(int64 storage_id, bool all, const MdbIds *leave_out)
{
	Relation rel = mdb_catalog_open("posting", RowExclusiveLock);
	Snapshot snapshot = mdb_latest_snapshot();
	MemoryContext mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb merge of postings", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	int count, n;
	Run *runs = list_runs(rel, storage_id, snapshot, &count);

	if (leave_out == NULL)
		n = all ? (count > 1 ? Min(count, RUNS_MAX) : 0) : choose(runs, count);
	else
		n = count;
	for (int at = 0; at < n; at += RUNS_MAX)
		merge_runs(rel, storage_id, runs + at, Min(n - at, RUNS_MAX), leave_out, snapshot);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	return n > 0;
}

/* Pairs of the dictionary, some at a time. */
typedef struct Rebuilding
{
	MemoryContext mcxt;
	int64 storage_id;
	Bitmapset *jsonb;
	CommandId cid;
	uint32 n;
	MdbSegmentEntry *entries;
} Rebuilding;

static void
take_pair(void *arg, uint32 id, const char *key, uint32 len)
{
	Rebuilding *r = arg;
	char *copy = MemoryContextAlloc(r->mcxt, Max(len, 1));

	if (r->n == REBUILD_PAIRS)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("a segment of the series dictionary has more pairs than its row says")));
	r->entries[r->n++] = (MdbSegmentEntry){id, len, memcpy(copy, key, len)};
}

static int
entry_cmp(const void *a, const void *b)
{
	uint32 x = ((const MdbSegmentEntry *) a)->id, y = ((const MdbSegmentEntry *) b)->id;

	return x < y ? -1 : x > y;
}

static void
write_pairs(Rebuilding *r)
{
	qsort(r->entries, r->n, sizeof(MdbSegmentEntry), entry_cmp);
	mdb_postings_write(r->storage_id, r->jsonb, r->entries, r->n, r->cid, 0);
	MemoryContextReset(r->mcxt);
	r->n = 0;
}

/*
 * mdb_postings_rebuild - make the index anew from the dictionary.
 */
void
mdb_postings_rebuild(const MdbTable *table)
{
	Relation rel = mdb_catalog_open("series", AccessShareLock);
	Snapshot snapshot;
	MemoryContext tmp =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb new postings", ALLOCSET_DEFAULT_SIZES);
	MemoryContext row = AllocSetContextCreate(tmp, "metricsdb dictionary row", ALLOCSET_DEFAULT_SIZES);
	Rebuilding r = {.storage_id = table->storage_id, .cid = GetCurrentCommandId(true)};
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;

	/* What is registered from here on, and seen in the dictionary, will be in the index twice. */
	mdb_catalog_delete("posting", table->storage_id);
	snapshot = mdb_latest_snapshot();
	r.mcxt = AllocSetContextCreate(tmp, "metricsdb pairs", ALLOCSET_DEFAULT_SIZES);
	r.jsonb = mdb_terms_jsonb(table);
	r.entries = palloc(sizeof(MdbSegmentEntry) * REBUILD_PAIRS);
	ScanKeyInit(&key, Anum_series_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(table->storage_id));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 1, &key);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		Datum v[Natts_series];
		bool n[Natts_series];
		MemoryContext old = MemoryContextSwitchTo(row);

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		if (r.n + DatumGetInt32(v[Anum_series_nseries - 1]) > REBUILD_PAIRS)
			write_pairs(&r);
		mdb_segment_decode(DatumGetByteaPP(v[Anum_series_payload - 1]),
						   (uint32) DatumGetInt64(v[Anum_series_id_min - 1]), take_pair, &r);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row);
	}
	write_pairs(&r);
	mdb_catalog_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	MemoryContextDelete(tmp);
}
