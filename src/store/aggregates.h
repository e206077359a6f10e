/*
 * aggregates.h
 *	  The catalogs of continuous aggregates: which there are, and what of their sources they have not taken yet.
 *
 * An aggregate is named by the OID of its table of states.  Times are in the source's time column's own
 * units, intervals half-open; PG_INT64_MIN and PG_INT64_MAX are for "without a bound".  Nothing here knows
 * of buckets.
 */
#ifndef MDB_STORE_AGGREGATES_H
#define MDB_STORE_AGGREGATES_H

#include "datatype/timestamp.h"
#include "nodes/lockoptions.h"
#include "storage/itemptr.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

/* ---- aggregates.c ---- */

/* A row of metricsdb.continuous_aggregate. */
typedef struct MdbAggregate
{
	ItemPointerData tid;
	Oid aggregate; /* its table of states */
	Oid view;
	Oid source; /* raw, or the states of parent */
	Oid raw;
	Oid parent; /* InvalidOid = none */
	int64 granularity;
	bool materialized_only;
	bool backfill;
	Interval lateness;
	bool attached;
	int64 floor; /* PG_INT64_MIN: nothing of raw was ever removed */
	int32 failures;
	char *last_error;          /* NULL = none */
	TimestampTz last_error_at; /* 0 = never, as those that follow */
	TimestampTz retry_at;
	TimestampTz last_applied_at;
	TimestampTz created_at;
	int64 kept_from; /* states have all buckets from here on; PG_INT64_MIN: they never lost any */
} MdbAggregate;

/*
 * Told when the source has lost rows from before floor, or with PG_INT64_MIN was emptied, in the transaction in which
 * it has; set by src/rollup.
 */
typedef void (*MdbFloorRaised)(Oid aggregate, int64 floor);
extern PGDLLIMPORT MdbFloorRaised mdb_floor_raised;

/* By which of its columns aggregates are looked for. */
typedef enum MdbAggregateKey
{
	MDB_AGGREGATE_VIEW,
	MDB_AGGREGATE_SOURCE,
	MDB_AGGREGATE_RAW
} MdbAggregateKey;

extern bool mdb_has_aggregates(Relation rel);
extern MdbAggregate *mdb_aggregate_get(Oid aggregate, Snapshot snapshot);
extern MdbAggregate *mdb_aggregates_by(MdbAggregateKey by, Oid relid, Snapshot snapshot, int *count);
extern MdbAggregate *mdb_aggregates_all(Snapshot snapshot, int *count);
extern MdbAggregate *mdb_aggregate_lock(Oid aggregate, LockWaitPolicy wait);
extern void mdb_aggregate_insert(const MdbAggregate *a);
extern void mdb_aggregate_delete(Oid aggregate);
extern void mdb_aggregate_set_attached(Oid aggregate, bool attached);
extern void mdb_aggregate_set_options(Oid aggregate, bool materialized_only, bool backfill,
									  const Interval *lateness);
extern void mdb_aggregate_raise_kept(Oid aggregate, int64 kept_from);
extern bool mdb_aggregate_raise_floor(Oid aggregate, int64 floor);
extern void mdb_aggregate_forget_floor(Oid aggregate);
extern void mdb_aggregate_note_applied(Oid aggregate, TimestampTz at);
extern void mdb_aggregate_note_failure(Oid aggregate, int failures, const char *message,
									   TimestampTz retry_at);

/* ---- pending.c ---- */

/* A row of metricsdb.pending. */
typedef struct MdbPending
{
	ItemPointerData tid;
	int64 storage_id;
	int64 part_id;
	Oid aggregate;
	int64 time_from;
	int64 time_to;
	bool backfill;
} MdbPending;

typedef struct MdbPendingList
{
	int count;
	MdbPending *rows; /* by part id, then by aggregate */
} MdbPendingList;

extern MdbPendingList *mdb_pending_list(int64 storage_id, Oid aggregate, Snapshot snapshot);
extern MdbPendingList *mdb_pending_of_part(int64 storage_id, int64 part_id, Snapshot snapshot);
extern MdbPending *mdb_pending_find(const MdbPendingList *list, int64 part_id, Oid aggregate);
extern void mdb_pending_insert(const MdbPending *p, CommandId cid);
extern void mdb_pending_insert_as(const MdbPending *p, CommandId cid, int options);
extern bool mdb_pending_lock(MdbPending *p, LockWaitPolicy wait);
extern void mdb_pending_update(MdbPending *p);
extern void mdb_pending_delete(const MdbPending *p);
extern bool mdb_pending_forget_part(int64 storage_id, int64 part_id);
extern void mdb_pending_forget_aggregate(Oid aggregate);

/* ---- dirty.c ---- */

/* A row of metricsdb.dirty. */
typedef struct MdbDirty
{
	ItemPointerData tid;
	Oid aggregate;
	int64 time_from;
	int64 time_to;
	bool flagged;
} MdbDirty;

typedef struct MdbDirtyList
{
	int count;
	MdbDirty *rows; /* by time_from */
} MdbDirtyList;

extern MdbDirtyList *mdb_dirty_list(Oid aggregate, Snapshot snapshot, bool flagged_too);
extern void mdb_dirty_insert(Oid aggregate, int64 time_from, int64 time_to, bool flagged, CommandId cid);
extern bool mdb_dirty_lock(MdbDirty *d, LockWaitPolicy wait);
extern void mdb_dirty_flag(const MdbDirty *d);
extern void mdb_dirty_delete(const MdbDirty *d);
extern void mdb_dirty_forget_aggregate(Oid aggregate);

#endif
