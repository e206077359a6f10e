/*
 * feed.c
 *	  What is new in a table is pending for its continuous aggregates.
 *
 * A part of new rows comes with a row of metricsdb.pending for each aggregate that is made of the table, in the
 * same transaction and as of the same command.  CREATE of an aggregate has a lock on the table that writers
 * conflict with, and makes the rows of the parts that are there: so each part that the aggregate has not taken has
 * one.  Merges, and moves within the file, take care of the rows themselves (merge_pending.c).
 *
 * A rewrite fills a transient table, which has no aggregates: what becomes of the pending rows of the old file is
 * seen to when that goes (src/am/feeds.c).
 */
#include "postgres.h"

#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/aggregates.h"
#include "write/write.h"

/*
 * mdb_feed_part - a part of new rows was inserted, as of a command and with options of heap_insert.
 */
void
mdb_feed_part(Relation rel, const MdbPartInfo *part, CommandId cid, int options)
{
	Snapshot snapshot;
	MdbAggregate *aggregates;
	int count;

	if (part->nrows == 0 || !mdb_has_aggregates(rel))
		return;
	snapshot = mdb_latest_snapshot();
	aggregates = mdb_aggregates_by(MDB_AGGREGATE_SOURCE, RelationGetRelid(rel), snapshot, &count);
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < count; i++)
	{
		MdbPending p = {.storage_id = part->storage_id,
						.part_id = part->part_id,
						.aggregate = aggregates[i].aggregate,
						.time_from = PG_INT64_MIN,
						.time_to = PG_INT64_MAX};

		mdb_pending_insert_as(&p, cid, options);
	}
	if (aggregates)
		pfree(aggregates);
}
