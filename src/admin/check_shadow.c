/*
 * check_shadow.c
 *	  metricsdb.check(): shadows, by which rows of parts are deleted, updated and locked.
 *
 * A row of metricsdb.shadow names a run of row numbers and a page of the row heap.  The run must be
 * of row numbers that were given out, the page no other run's, and every shadow that is still on
 * it must have the number of its place.  No finding: places without a shadow, and pages behind the
 * heap's end (rows that are dead to everybody, whose shadows VACUUM has removed); runs of parts that
 * were merged since; pages of shadows that no run names (a crash came between the two; VACUUM frees them).
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "admin/check.h"

typedef struct Shadows
{
	MdbCheck *c;
	Oid heap;
	MdbShadowRun *runs;
	int count;
	int at;         /* the run being looked at */
	int wrong;      /* shadows on its page that have another number */
	int64 number;   /* of one of them */
	int64 expected; /* where it is */
} Shadows;

static void
list_runs(void *arg)
{
	Shadows *s = arg;
	MdbDeltaInfo *deltas;
	int count;

	s->count = mdb_shadow_runs(s->c->table->storage_id, s->c->snapshot, &s->runs);
	mdb_delta_list(s->c->table->storage_id, s->c->snapshot, &deltas, &count);
	for (int i = 0; i < count; i++)
		if (deltas[i].slot == MDB_ROWS_SLOT && get_rel_relkind(deltas[i].relid) == RELKIND_RELATION)
			s->heap = deltas[i].relid;
}

/* The row number of a shadow, or -1: of a tuple that may be damaged. */
static int64
number_of(Page page, ItemId item)
{
	HeapTupleHeader tuple = (HeapTupleHeader) PageGetItem(page, item);

	if (tuple->t_hoff + sizeof(int64) > ItemIdGetLength(item))
		return -1;
	return mdb_shadow_of(tuple);
}

static void
check_page(void *arg)
{
	Shadows *s = arg;
	const MdbShadowRun *run = &s->runs[s->at];
	Relation heap = table_open(s->heap, AccessShareLock);

	s->wrong = 0;
	if (run->block < (int64) RelationGetNumberOfBlocks(heap))
	{
		Buffer buf = ReadBuffer(heap, (BlockNumber) run->block);
		Page page = BufferGetPage(buf);
		OffsetNumber maxoff;

		LockBuffer(buf, BUFFER_LOCK_SHARE);
		maxoff = PageIsNew(page) ? 0 : Min(PageGetMaxOffsetNumber(page), MaxHeapTuplesPerPage);
		for (OffsetNumber off = FirstOffsetNumber; off <= maxoff; off++)
		{
			ItemId item = PageGetItemId(page, off);
			int64 expected = run->run * MDB_RUN_ROWS + off - FirstOffsetNumber;
			int64 number;

			if (!ItemIdIsNormal(item) || ItemIdGetOffset(item) > BLCKSZ - ItemIdGetLength(item) ||
				ItemIdGetLength(item) < MAXALIGN(SizeofHeapTupleHeader) + sizeof(int64))
				continue;
			number = number_of(page, item);
			if (number < 0 || (number == expected && off <= MDB_RUN_ROWS))
				continue;
			s->wrong++;
			s->number = number;
			s->expected = expected;
		}
		UnlockReleaseBuffer(buf);
	}
	table_close(heap, AccessShareLock);
}

static int
block_cmp(const void *a, const void *b)
{
	const MdbShadowRun *x = a, *y = b;

	if (x->block != y->block)
		return x->block < y->block ? -1 : 1;
	return x->run < y->run ? -1 : x->run > y->run;
}

/*
 * mdb_check_shadows - the runs of the catalog and the shadows on their pages.
 */
void
mdb_check_shadows(MdbCheck *c)
{
	Shadows s = {.c = c};
	bool unlogged;
	ErrorData *error = mdb_guard(list_runs, &s);

	if (error)
	{
		mdb_check_found(c, "error", "shadow", MDB_PLACE_TABLE, "Shadows cannot be read: %s.", error->message);
		return;
	}
	/* That its heap is gone is told with the delta. */
	if (!OidIsValid(s.heap))
		return;
	/* Row numbers of parts that came later than the snapshot have shadows, too. */
	mdb_meta_read(c->rel, &c->meta);
	/* Of an unlogged table: what a crash has left of runs whose numbers are not used again. */
	unlogged = c->rel->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED;
	qsort(s.runs, s.count, sizeof(MdbShadowRun), block_cmp);
	for (s.at = 0; s.at < s.count; s.at++)
	{
		const MdbShadowRun *run = &s.runs[s.at];

		CHECK_FOR_INTERRUPTS();
		if (run->run < 0 || run->run > PG_INT64_MAX / MDB_RUN_ROWS - 1 || run->block < 0 ||
			run->block >= (int64) MaxBlockNumber ||
			(c->meta.incarnation != 0 && run->run * MDB_RUN_ROWS >= c->meta.next_row &&
			 (run->run + 1) * MDB_RUN_ROWS <= c->meta.row_limit))
		{
			mdb_check_found(
				c, "error", "shadow", MDB_PLACE_TABLE,
				"There is a page (%lld) for the shadows of run %lld of row numbers, which are free: those "
				"from %lld to %lld are.",
				(long long) run->block, (long long) run->run, (long long) c->meta.next_row,
				(long long) c->meta.row_limit - 1);
			continue;
		}
		if (unlogged)
			continue;
		if (s.at > 0 && s.runs[s.at - 1].block == run->block)
		{
			mdb_check_found(c, "error", "shadow", MDB_PLACE_TABLE,
							"Runs %lld and %lld of row numbers have the same page %lld for their shadows.",
							(long long) s.runs[s.at - 1].run, (long long) run->run, (long long) run->block);
			continue;
		}
		error = mdb_guard(check_page, &s);
		if (error)
			mdb_check_found(c, "error", "shadow", MDB_PLACE_TABLE,
							"Page %lld, with the shadows of run %lld of row numbers, cannot be read: %s.",
							(long long) run->block, (long long) run->run, error->message);
		else if (s.wrong > 0)
			mdb_check_found(
				c, "error", "shadow", MDB_PLACE_TABLE,
				"%d shadows on page %lld are not of their place: one is of row number %lld, where "
				"that of %lld should be.",
				s.wrong, (long long) run->block, (long long) s.number, (long long) s.expected);
	}
}
