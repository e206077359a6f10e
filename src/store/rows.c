/*
 * rows.c
 *	  Which row numbers a new part gets.
 *
 * They are taken one after the other from a window of free ones, which the metapage names: from next_row to
 * row_limit.  The first window of a storage is all there are.  A table that takes a million rows a second, and
 * merges them some times, comes to its end in weeks; then another window is opened, the longest range of
 * numbers that are free again.  As long as a table has not come to numbers of wide blocks (store.h), without which
 * bitmap scans work, long enough a range below them is preferred.
 *
 * Invariants:
 *	1. No row of metricsdb.part, .shadow or .moved, in whatever state, names a number of the window, but for
 *	   runs of shadows that reach into it, whose shadows there say that nothing is dead.  So who knows a row
 *	   by its number, in a snapshot that sees it or by a map that leads to it, never meets another: who needs
 *	   that map keeps the row of metricsdb.part that covers the number (write/moved.c).
 *	2. No entry of an index names one.  So in a table with indexes VACUUM alone opens windows, after it has
 *	   removed all entries of rows that were gone when it began, and of numbers that were free then.
 *	3. A window is opened under the allocation lock.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "store/store.h"

#define Anum_shadow_run  2
#define Anum_moved_first 2
#define Anum_moved_last  3

/* Where the numbers end; tests have fewer. */
#ifdef MDB_TESTING
int mdb_rows_end_kilo = 0;
#define ROWS_END (mdb_rows_end_kilo > 0 ? mdb_rows_end_kilo * INT64CONST(1000) : MDB_ROWS_END)
#else
#define ROWS_END MDB_ROWS_END
#endif

typedef struct Ranges
{
	int count;
	int capacity;
	MdbRowRange *r;
} Ranges;

static void
add(Ranges *ranges, int64 first, int64 end)
{
	if (ranges->count == ranges->capacity)
	{
		ranges->capacity *= 2;
		ranges->r = repalloc_huge(ranges->r, sizeof(MdbRowRange) * ranges->capacity);
	}
	ranges->r[ranges->count].first = first;
	ranges->r[ranges->count++].end = end;
}

/* What the rows of a catalog name, in whatever state they are: the columns first and, unless 0, last. */
static void
add_named(Ranges *ranges, const char *catalog, int64 storage_id, AttrNumber first, AttrNumber last,
		  int64 unit)
{
	Relation rel = mdb_catalog_open(catalog, AccessShareLock);
	TupleDesc desc = RelationGetDescr(rel);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, SnapshotAny, 1, &key);
	/* An entry that is known to be dead may still name a tuple that was not pruned. */
	if (scan->iscan)
		scan->iscan->ignore_killed_tuples = false;
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;
		int64 from = DatumGetInt64(heap_getattr(tuple, first, desc, &isnull));
		int64 to = last == 0 ? from : DatumGetInt64(heap_getattr(tuple, last, desc, &isnull));

		/* Old places in heaps are beyond all row numbers. */
		if (from >= 0 && from < MDB_ROWS_END / unit)
			add(ranges, from * unit, (to + 1) * unit);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/*
 * mdb_rows_end - the number after the highest that there is.
 */
int64
mdb_rows_end(void)
{
	return ROWS_END;
}

/*
 * mdb_rows_open_window - let a new window be the longest range of free numbers, if it has more than are left
 * of the present one; true if it now has at least nrows.
 *
 * also are further ranges to take for used.  The caller holds the allocation lock, and
 * knows that no entry of an index names any other number that looks free.
 */
bool
mdb_rows_open_window(Relation rel, const MdbTable *table, int64 nrows, const MdbRowRange *also, int nalso)
{
	Ranges used = {0};
	MdbRowRange *parts;
	int nparts;
	MdbMeta meta;
	const int64 narrow = mdb_narrow_blocks() * MDB_NARROW_ROWS;
	int64 at = 0;
	int64 first = 0, end = 0;
	int64 narrow_first = 0, narrow_end = 0;
	int64 left;

	mdb_meta_read(rel, &meta);
	used.capacity = 256;
	used.r = palloc(sizeof(MdbRowRange) * used.capacity);
	mdb_part_ranges(table, &parts, &nparts);
	for (int i = 0; i < nparts; i++)
		add(&used, parts[i].first, parts[i].end);
	for (int i = 0; i < nalso; i++)
		add(&used, also[i].first, also[i].end);
	add_named(&used, "shadow", table->storage_id, Anum_shadow_run, 0, MDB_RUN_ROWS);
	add_named(&used, "moved", table->storage_id, Anum_moved_first, Anum_moved_last, 1);
	qsort(used.r, used.count, sizeof(MdbRowRange), mdb_row_range_cmp);
	for (int i = 0; i <= used.count; i++)
	{
		int64 next = i < used.count ? used.r[i].first : mdb_rows_end();

		if (next - at > end - first)
		{
			first = at;
			end = next;
		}
		if (Min(next, narrow) - at > narrow_end - narrow_first)
		{
			narrow_first = at;
			narrow_end = Min(next, narrow);
		}
		if (i < used.count)
			at = Max(at, used.r[i].end);
	}
	pfree(used.r);
	pfree(parts);
	left = meta.row_limit - meta.next_row;
	if (!meta.has_wide && narrow_end - narrow_first >= Max(nrows, narrow / 8))
	{
		first = narrow_first;
		end = narrow_end;
		left = Min(meta.row_limit, narrow) - meta.next_row;
	}
	if (end - first > left)
	{
		mdb_meta_set_window(rel, first, end);
		meta.next_row = first;
		meta.row_limit = end;
	}
	return meta.row_limit - meta.next_row >= nrows;
}

/*
 * mdb_rows_low - is it time that VACUUM opens a new window?
 */
bool
mdb_rows_low(Relation rel)
{
	MdbMeta meta;

	mdb_meta_read(rel, &meta);
	if (!meta.has_wide)
	{
		const int64 narrow = mdb_narrow_blocks() * MDB_NARROW_ROWS;

		return Min(meta.row_limit, narrow) - meta.next_row < narrow / 4;
	}
	return meta.row_limit - meta.next_row < mdb_rows_end() / 8;
}

/*
 * mdb_rows_fit_bitmaps - have all rows identities that PostgreSQL's bitmaps have room for?
 */
bool
mdb_rows_fit_bitmaps(Relation rel)
{
	MdbMeta meta;

	mdb_meta_read(rel, &meta);
	return !meta.has_wide;
}

/*
 * mdb_rows_demand - see to it that the window has room for a part; under the allocation lock.
 *
 * Raises ERRCODE_PROGRAM_LIMIT_EXCEEDED if it has not.
 */
void
mdb_rows_demand(Relation rel, int64 nrows)
{
	bool indexed;
	List *indexes;
	MdbMeta meta;

	mdb_meta_read(rel, &meta);
	if (nrows <= meta.row_limit - meta.next_row)
		return;
	/* One that is built now waits for this transaction, and begins with rows that there are. */
	indexes = RelationGetIndexList(rel);
	indexed = indexes != NIL;
	list_free(indexes);
	if (!indexed)
	{
		MdbTable *table = mdb_table(rel);

		mdb_space_prune(table);
		if (mdb_rows_open_window(rel, table, nrows, NULL, 0))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("table \"%s\" has no " INT64_FORMAT " row numbers left for a part",
					RelationGetRelationName(rel), nrows),
			 indexed ? errhint("Run VACUUM (INDEX_CLEANUP ON) on the table: it frees the numbers of rows "
							   "that are gone.")
					 : errhint("Partition the table, or drop old data.")));
}
