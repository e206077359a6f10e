/*
 * counters.c
 *	  What scans count, across processes, and how EXPLAIN tells it.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "commands/explain.h"

#include "compat.h"
#include "exec/counters.h"

/*
 * mdb_counters_init - make shared memory ready.
 */
void
mdb_counters_init(MdbSharedCounters *shared)
{
	for (int i = 0; i < lengthof(shared->counts); i++)
		pg_atomic_init_u64(&shared->counts[i], 0);
}

/*
 * mdb_counters_share - a worker leaves its figures for the leader; the leader adds those of all workers to its
 * own.
 */
void
mdb_counters_share(MdbSharedCounters *shared, MdbScanCounters *counters)
{
	int64 *mine = (int64 *) counters;

	for (int i = 0; i < lengthof(shared->counts); i++)
	{
		pg_atomic_uint64 *theirs = &shared->counts[i];

		if (i < MDB_SCAN_TOTALS)
		{
			/* Alike in all who have begun, which the leader need not have. */
			if (IsParallelWorker())
				pg_atomic_write_u64(theirs, Max(pg_atomic_read_u64(theirs), (uint64) mine[i]));
			else
				mine[i] = Max(mine[i], (int64) pg_atomic_read_u64(theirs));
		}
		else if (IsParallelWorker())
			pg_atomic_fetch_add_u64(theirs, mine[i]);
		else
			mine[i] += pg_atomic_read_u64(theirs);
	}
	/* Several may have read the same part. */
	if (!IsParallelWorker())
		counters->parts_read = Min(counters->parts_read, counters->parts - counters->parts_pruned);
}

/*
 * mdb_counters_explain - tell them.
 */
void
mdb_counters_explain(const MdbScanCounters *c, bool aggregated, bool by_series, ExplainState *es)
{
	ExplainPropertyInteger("Parts Total", NULL, c->parts, es);
	ExplainPropertyInteger("Parts Pruned", NULL, c->parts_pruned, es);
	ExplainPropertyInteger("Parts Read", NULL, c->parts_read, es);
	ExplainPropertyInteger("Blocks Total", NULL, c->blocks, es);
	ExplainPropertyInteger("Blocks Pruned", NULL, c->blocks_of_pruned + c->blocks_pruned, es);
	if (aggregated)
		ExplainPropertyInteger("Blocks Answered from Headers", NULL, c->blocks_headers, es);
	ExplainPropertyInteger("Blocks Read", NULL, c->blocks_read, es);
	ExplainPropertyInteger("Rows Decoded", NULL, c->rows_decoded, es);
	ExplainPropertyInteger("Rows Filtered", NULL, c->rows_filtered, es);
	ExplainPropertyInteger("Rows of Delta", NULL, c->rows_delta, es);
	if (by_series)
	{
		ExplainPropertyInteger("Series Asked", NULL, c->series_asked, es);
		ExplainPropertyInteger("Series Matched", NULL, c->series_matched, es);
	}
	ExplainPropertyInteger("Encoded Bytes Read", NULL, c->bytes_read, es);
}
