/*
 * rollup_ordered.c
 *	  Aggregates whose states depend on the order of samples: those of counters and gauges.
 *
 * Their states of a bucket can be combined with what is pending of it only if all of that comes before or after, which
 * nobody knows who has not read it.  So such a bucket is taken from its source as a whole until all of it is in the
 * states: it is dirty for its readers.  Buckets that are open have no states, and for them nothing changes.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "exec/rollup_scan.h"
#include "metricsdb.h"

static Oid
type_of_ours(const char *name)
{
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(name),
						   ObjectIdGetDatum(get_namespace_oid(MDB_SCHEMA, true)));
}

/* Does a table of states have some that depend on the order? */
static bool
is_ordered(Oid states)
{
	Oid counter = type_of_ours("countersummary"), gauge = type_of_ours("gaugesummary");
	Relation rel = try_relation_open(states, AccessShareLock);
	bool found = false;

	if (rel == NULL)
		return false;
	for (int i = 0; i < RelationGetDescr(rel)->natts && !found; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		found = !att->attisdropped && (att->atttypid == counter || att->atttypid == gauge);
	}
	relation_close(rel, AccessShareLock);
	return found;
}

/* Pending intervals, each cut to the times of its part. */
static MdbTimeSet
pending_of_parts(const MdbAggregate *a, const MdbTable *table, Snapshot snapshot)
{
	MdbPartList *parts = mdb_parts_visible(table, snapshot);
	MdbPendingList *pending = mdb_pending_list(table->storage_id, a->aggregate, snapshot);
	MdbTimeRange *ranges = palloc(sizeof(MdbTimeRange) * Max(1, parts->count));
	int n = 0;

	for (int i = 0; i < parts->count; i++)
	{
		const MdbPartInfo *part = &parts->parts[i];
		const MdbPending *p = mdb_pending_find(pending, part->part_id, a->aggregate);

		if (p != NULL && part->days != 0 && p->time_to > PG_INT64_MIN)
			ranges[n++] = (MdbTimeRange){
				.first = Max(part->time_min, p->time_from),
				.last = p->time_to == PG_INT64_MAX ? part->time_max : Min(part->time_max, p->time_to - 1)};
	}
	return mdb_time_set_make(ranges, n, false);
}

/*
 * mdb_rollup_ordered_times - times of an aggregate's source of which something is pending, if its states depend on the
 * order; none else.  Not yet those of whole buckets.  In CurrentMemoryContext.
 */
MdbTimeSet
mdb_rollup_ordered_times(const MdbAggregate *a, Snapshot snapshot)
{
	Relation source;
	MdbTimeSet set = {0};

	if (!is_ordered(a->aggregate))
		return set;
	source = try_relation_open(a->source, AccessShareLock);
	if (source == NULL)
		return set;
	if (mdb_is_metricsdb(source) && mdb_table(source)->time_attno > 0)
	{
		MdbTimeSet parts = pending_of_parts(a, mdb_table(source), snapshot);
		MdbTimeSet delta = mdb_delta_times(source, Max(a->granularity, 1), snapshot);

		set = mdb_time_set_or(&parts, &delta);
	}
	relation_close(source, AccessShareLock);
	return set;
}
