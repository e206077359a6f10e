/*
 * check_space.c
 *	  metricsdb.check(): rows of the catalogs, the pages of the file, the delta's heaps.
 *
 * A page of the file is one of these:
 *
 *		the metapage
 *		used	covered by some row of metricsdb.part, dead or alive; its tail names that part
 *		free	before the metapage's end of the file, covered by no row.  It keeps the bytes of the
 *				part that had it last (merged, rolled back or lost: nothing tells which), and the
 *				next part that fits takes it: freedom is computed from the rows, never recorded, so
 *				such a page cannot leak, and is no finding
 *		spare	behind that end, and empty: a crash came between the growth of the file and its use
 *		orphan	behind that end, with bytes of a part.  Either the metapage has lost its count or a
 *				crash came while the file was being cut
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "admin/check.h"
#include "store/layout.h"

#define ALL_DAYS PG_INT32_MAX

/* ---- rows of metricsdb.part ---- */

static void
check_row(MdbCheck *c, const MdbPartInfo *p)
{
	MdbPlace at = MDB_PLACE_PART(p->part_id);
	const char *why = mdb_part_implausible(p);
	bool counters = c->meta.incarnation != 0;

	if (p->incarnation != c->table->incarnation)
	{
		/* Of an unlogged table they are what a crash has left behind. */
		if (c->rel->rd_rel->relpersistence != RELPERSISTENCE_UNLOGGED)
			mdb_check_found(c, "error", "catalog", at,
							"It is of incarnation %d of the file, which has %d: its rows are not read.",
							p->incarnation, c->table->incarnation);
		return;
	}
	if (why != NULL)
	{
		mdb_check_found(c, "error", "catalog", at, "%s", why);
		return;
	}
	if (p->part_id >= c->meta.next_part && counters)
		mdb_check_found(c, "error", "counter", at, "The metapage would give out part id %lld next.",
						(long long) c->meta.next_part);
	if ((p->row_first + p->nrows > c->meta.next_row && p->row_first < c->meta.row_limit) && counters)
		mdb_check_found(
			c, "error", "counter", at,
			"It has row numbers from %lld to %lld, but the metapage would give out those from %lld to %lld.",
			(long long) p->row_first, (long long) (p->row_first + p->nrows - 1), (long long) c->meta.next_row,
			(long long) c->meta.row_limit - 1);
	if (p->row_first + p->nrows > MDB_ROWS_END)
		mdb_check_found(c, "error", "catalog", at, "It has row numbers up to %lld, beyond the highest, %lld.",
						(long long) (p->row_first + p->nrows - 1), (long long) MDB_ROWS_END - 1);
	if (p->page_first + p->npages > (int64) c->meta.next_page)
		mdb_check_found(c, "error", "counter", at,
						"It has pages up to %lld, but the metapage says that the file ends before page %u.",
						(long long) (p->page_first + p->npages - 1), c->meta.next_page);
	if (p->series_max >= c->meta.next_series && counters && c->table->nseries_columns > 0)
		mdb_check_found(c, "error", "counter", at,
						"It has series up to %lld, but the metapage would give out %lld next.",
						(long long) p->series_max, (long long) c->meta.next_series);
	if (p->days < 0 || p->level < 0 || p->series_min > p->series_max || p->time_min > p->time_max ||
		p->nseries < 1 || p->nseries > p->nrows)
		mdb_check_found(c, "error", "catalog", at,
						"Its level, partition, or range of series or times is not plausible.");
	else if (p->days > 0 && p->days != ALL_DAYS && c->table->time_attno > 0 &&
			 c->table->columns[c->table->time_attno - 1].role == MDB_ROLE_TIME &&
			 (mdb_day_of(c->table, p->time_min) < p->day ||
			  mdb_day_of(c->table, p->time_max) >= (int64) p->day + p->days))
		mdb_check_found(c, "error", "partition", at,
						"It has times of days %d to %d, outside of its partition of days %d to %lld.",
						mdb_day_of(c->table, p->time_min), mdb_day_of(c->table, p->time_max), p->day,
						(long long) p->day + p->days - 1);
}

/*
 * mdb_check_catalog - read the rows of the table's parts into c->list, by the heap, and check each,
 * and that the index finds them; and the row of the storage.
 */
void
mdb_check_catalog(MdbCheck *c)
{
	MdbPartList *list = mdb_parts_recorded(c->table, c->snapshot, false);
	MdbPartList *indexed;
	Oid owner = mdb_storage_relid(c->table->storage_id);
	int at = 0;

	c->list = list;
	if (owner != RelationGetRelid(c->rel))
		mdb_check_found(c, "error", "catalog", MDB_PLACE_TABLE,
						OidIsValid(owner) ? "metricsdb.storage has storage %lld for another table."
										  : "metricsdb.storage has no row for storage %lld.",
						(long long) c->table->storage_id);
	for (int i = 0; i < list->count; i++)
		check_row(c, &list->parts[i]);

	indexed = mdb_parts_recorded(c->table, c->snapshot, true);
	for (int i = 0; i < list->count; i++)
	{
		while (at < indexed->count && indexed->parts[at].part_id < list->parts[i].part_id)
			at++;
		if (at == indexed->count || indexed->parts[at].part_id != list->parts[i].part_id)
			mdb_check_found(c, "error", "index", MDB_PLACE_PART(list->parts[i].part_id),
							"The index of metricsdb.part does not find it, so its rows are not read and its "
							"pages are free: REINDEX it at once.");
	}
}

/* ---- what two parts lay claim to ---- */

static int
row_cmp(const void *a, const void *b)
{
	const MdbPartInfo *x = *(MdbPartInfo *const *) a, *y = *(MdbPartInfo *const *) b;

	return x->row_first < y->row_first ? -1 : x->row_first > y->row_first;
}

static int
page_cmp(const void *a, const void *b)
{
	const MdbPartInfo *x = *(MdbPartInfo *const *) a, *y = *(MdbPartInfo *const *) b;

	return x->page_first < y->page_first ? -1 : x->page_first > y->page_first;
}

/*
 * mdb_check_overlaps - no two parts that one snapshot sees share row numbers or pages.
 */
void
mdb_check_overlaps(MdbCheck *c)
{
	int n = c->list->count;
	MdbPartInfo **by = palloc(sizeof(MdbPartInfo *) * Max(1, n));
	const MdbPartInfo *far = NULL; /* of those before, the one that reaches farthest */

	for (int i = 0; i < n; i++)
		by[i] = &c->list->parts[i];
	qsort(by, n, sizeof(MdbPartInfo *), row_cmp);
	for (int i = 0; i < n; i++)
	{
		if (far && by[i]->row_first < far->row_first + far->nrows)
			mdb_check_found(c, "error", "row_overlap", MDB_PLACE_PART(by[i]->part_id),
							"Row numbers %lld to %lld are those of part %lld, too.",
							(long long) by[i]->row_first,
							(long long) Min(far->row_first + far->nrows, by[i]->row_first + by[i]->nrows) - 1,
							(long long) far->part_id);
		if (far == NULL || by[i]->row_first + by[i]->nrows > far->row_first + far->nrows)
			far = by[i];
	}

	far = NULL;
	c->shared = palloc(sizeof(MdbExtent) * Max(1, n));
	qsort(by, n, sizeof(MdbPartInfo *), page_cmp);
	for (int i = 0; i < n; i++)
	{
		if (far && by[i]->page_first < far->page_first + far->npages)
		{
			MdbExtent *shared = &c->shared[c->nshared++];

			shared->first = by[i]->page_first;
			shared->npages =
				Min(far->page_first + far->npages, by[i]->page_first + by[i]->npages) - shared->first;
			mdb_check_found(c, "error", "shared_extent", MDB_PLACE_PAGE(by[i]->part_id, shared->first),
							"Pages %lld to %lld are those of part %lld, too.", (long long) shared->first,
							(long long) (shared->first + shared->npages - 1), (long long) far->part_id);
		}
		if (far == NULL || by[i]->page_first + by[i]->npages > far->page_first + far->npages)
			far = by[i];
	}
	pfree(by);
}

static bool
is_shared(const MdbCheck *c, int64 page)
{
	for (int i = 0; i < c->nshared; i++)
		if (page >= c->shared[i].first && page < c->shared[i].first + c->shared[i].npages)
			return true;
	return false;
}

/* ---- pages ---- */

typedef struct PageRead
{
	Relation rel;
	BlockNumber block;
	BufferAccessStrategy strategy;
	MdbPageState state;
} PageRead;

static void
read_page(void *arg)
{
	PageRead *r = arg;

	mdb_page_state(r->rel, r->block, r->strategy, &r->state);
}

/* What is wrong with page i of a part, or NULL; alike for neighbours that are wrong alike. */
static char *
page_fault(MdbCheck *c, const MdbPartInfo *info, int32 i, BlockNumber npages, PageRead *r)
{
	ErrorData *error;

	r->block = (BlockNumber) (info->page_first + i);
	if (r->block >= npages)
		return pstrdup("lies behind the end of the file");
	error = mdb_guard(read_page, r);
	if (error)
		return psprintf("cannot be read: %s", error->message);
	if (r->state.zero)
		return pstrdup("is empty");
	if (!r->state.part)
		return pstrdup("is not a page of a part");
	if (r->state.part_id != info->part_id)
		return psprintf("belongs to part %lld", (long long) r->state.part_id);
	if (r->state.page_no != (uint32) i)
		return psprintf("lies %lld pages from its place in the part", (long long) i - r->state.page_no);
	if (r->state.payload != mdb_page_payload(info, i))
		return pstrdup("is not filled as its header says");
	return NULL;
}

/*
 * mdb_check_pages - the pages of a part's extent say that they are its own.
 *
 * The result has those that do not, by their number in the part.
 */
Bitmapset *
mdb_check_pages(MdbCheck *c, const MdbPartInfo *info)
{
	BlockNumber npages = RelationGetNumberOfBlocks(c->rel);
	Bitmapset *bad = NULL;
	PageRead r = {.rel = c->rel, .strategy = GetAccessStrategy(BAS_BULKREAD)};
	char *run = NULL;
	int32 run_first = 0;

	for (int32 i = 0; i <= info->npages; i++)
	{
		char *fault = NULL;

		CHECK_FOR_INTERRUPTS();
		if (i < info->npages)
		{
			fault = page_fault(c, info, i, npages, &r);
			if (fault)
				bad = bms_add_member(bad, i);
			/* Of the parts that share it at most one can be right: that is the finding. */
			if (fault && is_shared(c, info->page_first + i))
				fault = NULL;
		}
		if (run && (fault == NULL || strcmp(fault, run) != 0))
		{
			if (i - run_first > 1)
				mdb_check_found(c, "error", "page",
								MDB_PLACE_PAGE(info->part_id, info->page_first + run_first),
								"Pages %lld to %lld: each %s.", (long long) info->page_first + run_first,
								(long long) info->page_first + i - 1, run);
			else
				mdb_check_found(c, "error", "page",
								MDB_PLACE_PAGE(info->part_id, info->page_first + run_first), "Page %lld %s.",
								(long long) info->page_first + run_first, run);
			run = NULL;
		}
		if (fault && run == NULL)
		{
			run = fault;
			run_first = i;
		}
	}
	FreeAccessStrategy(r.strategy);
	return bad;
}

/* Consecutive pages of one part. */
typedef struct PageRun
{
	int64 first;
	int64 npages;
	int64 part_id; /* 0 = empty or unreadable */
} PageRun;

typedef struct Covered
{
	const MdbTable *table;
	MdbExtent *extents;
	int count;
} Covered;

static void
list_covered(void *arg)
{
	Covered *cov = arg;

	cov->extents = mdb_space_covered(cov->table, &cov->count);
}

/* Does some row cover the page?  Few pages are asked about. */
static bool
is_covered(const Covered *cov, int64 page)
{
	for (int i = 0; i < cov->count && cov->extents[i].first <= page; i++)
		if (page < cov->extents[i].first + cov->extents[i].npages)
			return true;
	return false;
}

/*
 * mdb_check_file - pages behind the metapage's end of the file, and, if asked for, free ones.
 *
 * npages is the length of the file before the metapage was read.
 */
void
mdb_check_file(MdbCheck *c, BlockNumber npages, bool list_free)
{
	PageRead r = {.rel = c->rel, .strategy = GetAccessStrategy(BAS_BULKREAD)};
	BlockNumber first = list_free ? MDB_META_BLOCK + 1 : c->meta.next_page;
	PageRun *runs = palloc(64 * sizeof(PageRun));
	int nruns = 0;
	int capacity = 64;
	Covered covered = {.table = c->table};
	ErrorData *error;

	for (BlockNumber b = first; b < npages; b++)
	{
		PageRun *last = nruns > 0 ? &runs[nruns - 1] : NULL;
		int64 part_id;

		CHECK_FOR_INTERRUPTS();
		r.block = b;
		error = mdb_guard(read_page, &r);
		part_id = error == NULL && r.state.part ? r.state.part_id : 0;
		if (error)
			FreeErrorData(error);
		if (b >= c->meta.next_page && error == NULL && r.state.zero)
			continue;
		if (last && last->part_id == part_id && last->first + last->npages == b && b != c->meta.next_page)
		{
			last->npages++;
			continue;
		}
		if (nruns == capacity)
		{
			capacity *= 2;
			runs = repalloc_huge(runs, capacity * sizeof(PageRun));
		}
		runs[nruns++] = (PageRun){b, 1, part_id};
	}
	FreeAccessStrategy(r.strategy);

	/* Only now: who takes pages inserts the row before he writes to them. */
	error = nruns > 0 ? mdb_guard(list_covered, &covered) : NULL;
	if (error)
	{
		mdb_check_found(c, "error", "catalog", MDB_PLACE_TABLE, "metricsdb.part cannot be read: %s.",
						error->message);
		return;
	}
	for (int i = 0; i < nruns; i++)
	{
		const PageRun *run = &runs[i];

		if (run->first >= (int64) c->meta.next_page)
		{
			/* Part of the list's: "counter" is the finding for those. */
			if (!is_covered(&covered, run->first))
				mdb_check_found(
					c, "warning", "orphan", MDB_PLACE_PAGE(run->part_id, run->first),
					"Pages %lld to %lld hold data, but are behind the metapage's end of the file, "
					"and no part's: CALL metricsdb.compact() cuts them off.",
					(long long) run->first, (long long) (run->first + run->npages - 1));
			continue;
		}
		for (int64 at = run->first; at < run->first + run->npages;)
		{
			int64 end = at;

			while (end < run->first + run->npages && !is_covered(&covered, end))
				end++;
			if (end > at && run->part_id > 0)
				mdb_check_found(c, "info", "free", MDB_PLACE_PAGE(run->part_id, at),
								"Pages %lld to %lld are free, and hold what part %lld has left there.",
								(long long) at, (long long) end - 1, (long long) run->part_id);
			else if (end > at)
				mdb_check_found(c, "info", "free", MDB_PLACE_PAGE(0, at), "Pages %lld to %lld are free.",
								(long long) at, (long long) end - 1);
			at = end + 1;
		}
	}
}

/* ---- the delta ---- */

typedef struct DeltaRead
{
	MdbCheck *check;
	Oid relid;
	int64 bad_rows;
	bool foreign; /* it is no heap of ours */
} DeltaRead;

/* Read all of a heap, and the head of each row in it. */
static void
read_delta(void *arg)
{
	DeltaRead *r = arg;
	Relation delta = table_open(r->relid, AccessShareLock);
	TupleDesc desc = RelationGetDescr(delta);
	TupleTableSlot *slot;
	TableScanDesc scan;
	MemoryContext row;

	if (delta->rd_rel->relam != HEAP_TABLE_AM_OID || desc->natts != Natts_delta_row ||
		TupleDescAttr(desc, Anum_delta_row - 1)->atttypid != BYTEAOID)
	{
		r->foreign = true;
		table_close(delta, AccessShareLock);
		return;
	}
	slot = table_slot_create(delta, NULL);
	scan = table_beginscan(delta, r->check->snapshot, 0, NULL);
	row = AllocSetContextCreate(CurrentMemoryContext, "metricsdb check delta", ALLOCSET_DEFAULT_SIZES);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(row);
		bool isnull;
		Datum d;

		CHECK_FOR_INTERRUPTS();
		d = slot_getattr(slot, Anum_delta_row, &isnull);
		if (!isnull &&
			VARSIZE_ANY_EXHDR(DatumGetByteaPP(d)) < SizeofMinimalTupleHeader - MINIMAL_TUPLE_DATA_OFFSET)
			r->bad_rows++;
		MemoryContextSwitchTo(old);
		MemoryContextReset(row);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(row);
	table_close(delta, AccessShareLock);
}

typedef struct DeltaList
{
	int64 storage_id;
	MdbDeltaInfo *deltas;
	int count;
} DeltaList;

static void
list_deltas(void *arg)
{
	DeltaList *l = arg;
	Snapshot snapshot = mdb_latest_snapshot();

	mdb_delta_list(l->storage_id, snapshot, &l->deltas, &l->count);
	UnregisterSnapshot(snapshot);
}

/*
 * mdb_check_delta - the delta's heaps are there and can be read, and writers go to a live one.
 */
void
mdb_check_delta(MdbCheck *c)
{
	DeltaList list = {.storage_id = c->table->storage_id};
	MdbMeta after;
	bool live;

	/* Writers may be directed elsewhere, and the slot retired, while we look. */
	do
	{
		ErrorData *error;

		CHECK_FOR_INTERRUPTS();
		mdb_meta_read(c->rel, &c->meta);
		error = mdb_guard(list_deltas, &list);
		if (error)
		{
			mdb_check_found(c, "error", "catalog", MDB_PLACE_TABLE, "metricsdb.delta cannot be read: %s.",
							error->message);
			return;
		}
		mdb_meta_read(c->rel, &after);
	} while (after.delta_slot != c->meta.delta_slot);

	live = c->meta.incarnation == 0;
	for (int i = 0; i < list.count; i++)
	{
		const MdbDeltaInfo *d = &list.deltas[i];
		DeltaRead r = {c, d->relid, 0, false};
		ErrorData *error;

		live |= d->live && d->slot == c->meta.delta_slot;
		if (get_rel_relkind(d->relid) != RELKIND_RELATION)
		{
			mdb_check_found(c, "error", "delta", MDB_PLACE_TABLE,
							"The heap of delta slot %d, with OID %u, is gone.", d->slot, d->relid);
			continue;
		}
		error = mdb_guard(read_delta, &r);
		if (error)
			mdb_check_found(c, "error", "delta", MDB_PLACE_TABLE,
							"The heap of delta slot %d cannot be read: %s.", d->slot, error->message);
		if (r.foreign)
			mdb_check_found(c, "error", "delta", MDB_PLACE_TABLE,
							"Delta slot %d has another table, with OID %u, for its heap.", d->slot, d->relid);
		if (r.bad_rows > 0)
			mdb_check_found(c, "error", "delta", MDB_PLACE_TABLE,
							"The heap of delta slot %d has %lld rows that are too short.", d->slot,
							(long long) r.bad_rows);
	}
	if (!live)
		mdb_check_found(c, "error", "delta", MDB_PLACE_TABLE,
						"Small writes would go to delta slot %d, which is not in use.", c->meta.delta_slot);
}
