/*
 * maintain.c
 *	  VACUUM, and how large the planner thinks a table is.
 */
#include "postgres.h"

#include <math.h>

#include "access/heapam.h"
#include "access/multixact.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/progress.h"
#include "commands/vacuum.h"
#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "am/am.h"

static bool
is_gone(ItemPointer tid, void *arg)
{
	return !mdb_tid_is_delta(tid) && mdb_gone_has(arg, mdb_row_of_tid(tid));
}

/* Remove index entries of rows of parts that nobody can need any more. */
static void
vacuum_indexes(Relation rel, struct VacuumParams *params, MdbGone *gone, BufferAccessStrategy bstrategy)
{
	pgstat_progress_start_command(PROGRESS_COMMAND_VACUUM, RelationGetRelid(rel));
	pgstat_progress_update_param(PROGRESS_VACUUM_PHASE, PROGRESS_VACUUM_PHASE_VACUUM_INDEX);
	mdb_indexes_delete(rel, is_gone, gone, params->options & VACOPT_VERBOSE ? INFO : DEBUG2, bstrategy);
	pgstat_progress_end_command();
}

/* As far as the statistics know: are there entries of dead rows? */
static int64
dead_rows(Relation rel)
{
	PgStat_StatTabEntry *entry = pgstat_fetch_stat_tabentry(RelationGetRelid(rel));

	return entry ? mdb_stat_dead_rows(entry) : 0;
}

/*
 * mdb_vacuum - work on what no snapshot needs any more.  Merging is not VACUUM's: see
 * src/write/README.md.
 */
void
mdb_vacuum(Relation rel, struct VacuumParams *params, BufferAccessStrategy bstrategy)
{
	MdbTable *table = mdb_table(rel);
	Snapshot snapshot = mdb_latest_snapshot();
	MdbPartList *list = mdb_parts_visible(table, snapshot);
	MdbDeltaInfo *deltas;
	int ndeltas;
	double live = list->nrows;
	double dead = 0;
	uint64 passes = mdb_proxy_passes();
	TimestampTz started = GetCurrentTimestamp();
	MdbGone *gone;
	bool low = mdb_rows_low(rel);

	mdb_delta_list(table->storage_id, snapshot, &deltas, &ndeltas);
	UnregisterSnapshot(snapshot);

	for (int i = 0; i < ndeltas; i++)
	{
		Relation delta;
		VacuumParams one;

		if (!ConditionalLockRelationOid(deltas[i].relid, ShareUpdateExclusiveLock))
			continue;
		delta = table_open(deltas[i].relid, NoLock);
		one = *params;
		/* Places of shadows that were given up are taken again by whole pages: none is left for later. */
		if (deltas[i].slot == MDB_ROWS_SLOT && mdb_shadows_free(rel, table, delta, bstrategy) > 0 &&
			one.index_cleanup == VACOPTVALUE_AUTO)
			one.index_cleanup = VACOPTVALUE_ENABLED;
		table_relation_vacuum(delta, &one, bstrategy);
		if (deltas[i].live)
			live += Max(delta->rd_rel->reltuples, 0);
		table_close(delta, NoLock);
	}
	/* Shadows were pruned with the row heap; if it had rows to remove, entries of these went, too. */
	gone = mdb_gone_collect(rel, table);
	live = Max(0, live - mdb_gone_count(gone) - mdb_gone_shadows(gone));
	if (rel->rd_rel->relhasindex && (passes == mdb_proxy_passes() || low))
	{
		if (params->index_cleanup == VACOPTVALUE_DISABLED)
			dead = dead_rows(rel);
		else if (params->index_cleanup == VACOPTVALUE_ENABLED || dead_rows(rel) > 0 || low)
			vacuum_indexes(rel, params, gone, bstrategy);
		else
			mdb_indexes_delete(rel, NULL, NULL, params->options & VACOPT_VERBOSE ? INFO : DEBUG2, bstrategy);
		if (low && params->index_cleanup != VACOPTVALUE_DISABLED)
			mdb_gone_renew_window(gone, rel, table);
	}
	mdb_gone_free(gone);
	/* What ANALYZE has been told by nodes stays. */
	if (mdb_is_distributed(RelationGetRelid(rel)))
		live = rel->rd_rel->reltuples;
	if (params->truncate != VACOPTVALUE_DISABLED && !RELATION_IS_OTHER_TEMP(rel))
		mdb_space_truncate(rel, table);

	/* A rewrite by core gives the table a frozen xid; as the file has none, ours is now. */
	mdb_update_relstats(
		rel, RelationGetNumberOfBlocks(rel), live, RelationGetIndexList(rel) != NIL,
		TransactionIdIsValid(rel->rd_rel->relfrozenxid) ? GetOldestNonRemovableTransactionId(rel)
														: InvalidTransactionId,
		MultiXactIdIsValid(rel->rd_rel->relminmxid) ? GetOldestMultiXactId() : InvalidMultiXactId);
	mdb_report_vacuum(rel, live, dead, started);
}

/* What a row in a heap of the delta takes more than in one of its own: the header of a minimal tuple, and a length. */
#define DELTA_ROW_BYTES 7

/* Rows of a page of a heap, as the planner guesses them of columns' widths. */
static double
heap_density(int32 width)
{
	return (BLCKSZ - SizeOfPageHeaderData) / (width + MAXALIGN(SizeofHeapTupleHeader) + sizeof(ItemIdData));
}

/*
 * mdb_estimate_size - for the planner.  The file is estimated by the density that ANALYZE or VACUUM saw;
 * if they saw no part, by the catalog.  The delta is estimated as a heap is.
 */
void
mdb_estimate_size(Relation rel, int32 *attr_widths, BlockNumber *pages, double *tuples, double *allvisfrac)
{
	BlockNumber file_pages = RelationGetNumberOfBlocks(rel);
	double known = rel->rd_rel->reltuples;
	int32 width = get_rel_data_width(rel, attr_widths);
	double density = heap_density(width + DELTA_ROW_BYTES);
	MdbTable *table;
	Snapshot snapshot;
	double in_delta = 0;
	BlockNumber delta_pages = 0;
	bool counted = true;
	MdbDeltaInfo *deltas;
	int n;

	*allvisfrac = 0;
	if (known >= 0 && rel->rd_rel->relpages > MDB_META_BLOCK + 1)
	{
		*pages = file_pages;
		*tuples = rint(known / rel->rd_rel->relpages * file_pages);
		return;
	}

	table = mdb_table(rel);
	snapshot = mdb_latest_snapshot();
	mdb_delta_list(table->storage_id, snapshot, &deltas, &n);
	for (int i = 0; i < n; i++)
	{
		Relation delta;
		Form_pg_class class;
		BlockNumber now;

		if (!deltas[i].live)
			continue;
		delta = table_open(deltas[i].relid, AccessShareLock);
		class = delta->rd_rel;
		now = RelationGetNumberOfBlocks(delta);
		if (class->reltuples >= 0 && class->relpages > 0)
			in_delta += class->reltuples / class->relpages * now;
		else
		{
			in_delta += density * now;
			counted &= now == 0;
		}
		delta_pages += now;
		table_close(delta, NoLock);
	}
	pfree(deltas);

	if (file_pages > MDB_META_BLOCK + 1)
	{
		MdbPartList *list = mdb_parts_visible(table, snapshot);

		*pages = file_pages + delta_pages;
		*tuples = rint(list->nrows + in_delta);
		pfree(list->parts);
		pfree(list);
	}
	/* A new table may be about to be filled: what core assumes of heaps. */
	else if (delta_pages < 10 && known < 0 && !rel->rd_rel->relhassubclass)
	{
		*pages = 10;
		*tuples = heap_density(width) * 10;
	}
	else
	{
		/* All was in the delta when the table was counted, if most of it is not newer. */
		*pages = delta_pages;
		*tuples = rint(!counted && known >= 0 && in_delta < known * 8 + density ? known : in_delta);
	}
	UnregisterSnapshot(snapshot);
}
