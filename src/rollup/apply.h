/*
 * apply.h
 *	  Bringing continuous aggregates up to date: what there is to take, taking it, and when.
 */
#ifndef MDB_ROLLUP_APPLY_H
#define MDB_ROLLUP_APPLY_H

#include "datatype/timestamp.h"
#include "exec/rollup_scan.h"
#include "store/aggregates.h"
#include "store/store.h"
#include "write/write.h"

/* ---- window.c ---- */

/* What an aggregate has not taken of a part. */
typedef struct MdbPiece
{
	MdbPending pending;
	const MdbPartInfo *part;
	bool empty; /* nothing is left of it */
	int64 lo;   /* of times, both included; the least there is if it is empty */
	int64 hi;
	int64 nrows; /* about so many */
} MdbPiece;

typedef struct MdbPieces
{
	int count;
	MdbPiece *pieces;
} MdbPieces;

extern double mdb_pieces_rows(const MdbPieces *pieces, int64 lo, int64 hi);
extern MdbPieces *mdb_pieces(const MdbPartList *parts, const MdbPendingList *pending);
extern int64 mdb_piece_rows(const MdbPartInfo *part, int64 lo, int64 hi);
extern int64 mdb_window_end(const MdbPieces *pieces, int64 bound, int64 rows_max);
extern int64 mdb_window_start(const MdbPieces *pieces, int64 bound, int64 rows_max);

/* ---- apply.c ---- */

/* What is to be done of what there is to be done. */
typedef enum MdbApplyWhat
{
	MDB_APPLY_DUE,     /* rows of closed buckets, and what is to be made again */
	MDB_APPLY_HISTORY, /* what was there before the aggregate */
	MDB_APPLY_ASKED    /* whatever touches a range */
} MdbApplyWhat;

typedef struct MdbApplyGoal
{
	MdbApplyWhat what;
	int64 from; /* the range */
	int64 to;
} MdbApplyGoal;

extern int mdb_rollup_batch_rows; /* metricsdb.rollup_batch_rows */

extern MdbStep mdb_aggregate_apply(Oid aggregate, const MdbApplyGoal *goal, bool wait);

/* ---- due.c ---- */

/* Where an aggregate stands. */
typedef struct MdbDue
{
	TimestampTz since; /* when the oldest row that should be in, and is not, could have been; 0 = none */
	int64 parts;       /* that have rows which are not in, */
	int64 rows;        /* about so many */
	int64 old_parts;   /* of these, what was there before the aggregate */
	int64 old_rows;
	int64 source_parts;
	int64 source_rows;
	int64 dirty; /* buckets, as far as they are of fixed width */
	int64 flagged;
} MdbDue;

extern int64 mdb_aggregate_closed(const MdbAggregate *a, const MdbTable *table, const MdbPartList *parts,
								  MdbRollupBucket *buckets, TimestampTz now);
extern int64 mdb_aggregate_unfinished(const MdbAggregate *a, const MdbTable *table, Snapshot snapshot);
extern void mdb_aggregate_due(const MdbAggregate *a, Relation source, Snapshot snapshot, MdbDue *due);

/* ---- turns.c ---- */

extern int mdb_rollup_max_failures; /* metricsdb.rollup_max_failures */
extern int mdb_rollup_interval;     /* metricsdb.rollup_interval, in milliseconds */

extern bool mdb_rollup_wanted(void);
extern long mdb_rollup_step(void);

/* ---- refresh.c ---- */

extern MdbAggregate *mdb_aggregate_of_view(Oid view);
extern void mdb_refresh_view(Oid view, bool top_level);

#endif /* MDB_ROLLUP_APPLY_H */
