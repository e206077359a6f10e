/*
 * gone.c
 *	  Which row numbers nobody can need any more: for VACUUM of indexes.
 *
 * A row number has gone if no row of metricsdb.part, in whatever state, covers it, or if its shadow was
 * pruned.  Both are physical facts, of which standbys were told by the WAL records of pruning before.
 * So who removes index entries for such rows takes them from no query.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "write/write.h"

#define RUN_BYTES ((MDB_RUN_ROWS + 7) / 8)

/* Rows of a run that have gone. */
typedef struct GoneRun
{
	int64 run;
	uint8 rows[RUN_BYTES];
} GoneRun;

struct MdbGone
{
	MdbRowRange window; /* of row numbers that may have been given out after we looked */
	MdbRowRange *parts;
	int nparts;
	GoneRun *runs; /* rising */
	int64 nruns;
	int64 count;
	int64 shadows; /* that are still there */
};

static bool
covered(const MdbGone *g, int64 row)
{
	int lo = 0, hi = g->nparts;

	/* Ranges overlap only where they are the same. */
	while (lo < hi)
	{
		int mid = (lo + hi) / 2;

		if (g->parts[mid].end <= row)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < g->nparts && g->parts[lo].first <= row;
}

/*
 * mdb_gone_collect - find them, in CurrentMemoryContext.  The caller holds ShareUpdateExclusiveLock on the
 * table, so that no rows move.
 */
MdbGone *
mdb_gone_collect(Relation rel, const MdbTable *table)
{
	MdbGone *g = palloc0(sizeof(MdbGone));
	MdbShadowRun *runs;
	MdbShadows *shadows;
	uint8 *gone;
	int64 capacity = 0;
	MdbMeta meta;
	int n;

	mdb_space_prune(table);
	/* Under this lock numbers are given out and the rows of their parts inserted. */
	mdb_space_lock(rel);
	mdb_meta_read(rel, &meta);
	g->window.first = meta.next_row;
	g->window.end = meta.row_limit;
	mdb_part_ranges(table, &g->parts, &g->nparts);
	mdb_space_unlock(rel);
	shadows = mdb_shadows_open(rel, table);
	if (shadows == NULL)
		return g;
	gone = palloc(MDB_RUN_ROWS);
	n = mdb_shadow_runs(table->storage_id, SnapshotSelf, &runs);
	for (int i = 0; i < n; i++)
	{
		GoneRun *run;

		CHECK_FOR_INTERRUPTS();
		g->shadows += MDB_RUN_ROWS;
		if (!mdb_shadows_gone(shadows, runs[i].run * MDB_RUN_ROWS, MDB_RUN_ROWS, gone))
			continue;
		if (g->nruns == capacity)
		{
			capacity = Max(64, capacity * 2);
			g->runs = g->runs ? repalloc_huge(g->runs, sizeof(GoneRun) * capacity)
							  : palloc(sizeof(GoneRun) * capacity);
		}
		run = &g->runs[g->nruns++];
		memset(run, 0, sizeof(GoneRun));
		run->run = runs[i].run;
		for (int k = 0; k < MDB_RUN_ROWS; k++)
			if (gone[k] == MDB_ROW_DEAD)
			{
				run->rows[k / 8] |= 1 << (k % 8);
				g->count += covered(g, runs[i].run * MDB_RUN_ROWS + k);
				g->shadows--;
			}
	}
	mdb_shadows_close(shadows);
	pfree(runs);
	pfree(gone);
	return g;
}

/*
 * mdb_gone_count - how many rows of parts have gone.
 */
int64
mdb_gone_count(const MdbGone *g)
{
	return g->count;
}

/*
 * mdb_gone_shadows - how many tuples of the row heap are shadows, which stand for rows of parts.
 */
int64
mdb_gone_shadows(const MdbGone *g)
{
	return g->shadows;
}

/*
 * mdb_gone_has - has a row gone?
 */
bool
mdb_gone_has(const MdbGone *g, int64 row)
{
	int64 run = row / MDB_RUN_ROWS;
	int64 lo = 0, hi = g->nruns;

	if (row >= g->window.first && row < g->window.end)
		return false;
	if (!covered(g, row))
		return true;
	while (lo < hi)
	{
		int64 mid = (lo + hi) / 2;

		if (g->runs[mid].run < run)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < g->nruns && g->runs[lo].run == run &&
		   (g->runs[lo].rows[row % MDB_RUN_ROWS / 8] & (1 << (row % MDB_RUN_ROWS % 8)));
}

/*
 * mdb_gone_renew_window - all entries of rows that have gone were removed from all indexes: if few numbers are
 * left, open a window of others, which nothing names now.  ShareUpdateExclusiveLock was held since
 * mdb_gone_collect().
 */
void
mdb_gone_renew_window(const MdbGone *g, Relation rel, const MdbTable *table)
{
	MdbRowRange *also = palloc(sizeof(MdbRowRange) * (g->nparts + 1));

	/* Parts that were gone since, and numbers that were given out since, may still have entries. */
	memcpy(also, g->parts, sizeof(MdbRowRange) * g->nparts);
	also[g->nparts] = g->window;
	mdb_space_lock(rel);
	(void) mdb_rows_open_window(rel, table, 0, also, g->nparts + 1);
	mdb_space_unlock(rel);
	pfree(also);
}

/*
 * mdb_gone_free - forget them.
 */
void
mdb_gone_free(MdbGone *g)
{
	if (g->runs)
		pfree(g->runs);
	pfree(g->parts);
	pfree(g);
}
