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

#define RUNS_DUE 8  /* so many are merged some of, */
#define RUNS_MAX 64 /* so many at once at most, */
#define GROWTH   4  /* and none that has more ids than so many times those of all smaller ones */

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
	if (n > 0)
		merge_runs(rel, storage_id, runs, n, leave_out, snapshot);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	return n > 0;
}
