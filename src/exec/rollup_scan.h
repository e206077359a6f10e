/*
 * rollup_scan.h
 *	  What readers of continuous aggregates ask of scans: which rows of a source the states have not taken yet, and
 *	  which buckets of the states are not to be relied on.
 */
#ifndef MDB_ROLLUP_SCAN_H
#define MDB_ROLLUP_SCAN_H

#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"

#include "am/am.h"
#include "store/aggregates.h"

struct ExplainState;

/* ---- rollup_bucket.c: buckets of an aggregate, and those that are dirty ---- */

typedef struct MdbRollupBucket MdbRollupBucket;

extern bool mdb_bucket_is_safe(Node *expr, bool immutable);
extern Expr *mdb_rollup_bucket_expr(const MdbAggregate *a);
extern MdbRollupBucket *mdb_rollup_bucket(const MdbAggregate *a);
extern int64 mdb_rollup_bucket_value(MdbRollupBucket *b, int64 time);
extern int64 mdb_rollup_bucket_first(MdbRollupBucket *b, int64 time);
extern int64 mdb_rollup_bucket_last(MdbRollupBucket *b, int64 time);
extern MdbTimeSet mdb_rollup_dirty_times(const MdbAggregate *a, Snapshot snapshot);
extern MdbTimeSet mdb_rollup_dirty_buckets(const MdbAggregate *a, Snapshot snapshot);
extern MdbTimeSet mdb_rollup_gone_buckets(const MdbAggregate *a);
extern MdbTimeSet mdb_rollup_gone_times(const MdbAggregate *a);

/* ---- rollup_ordered.c: those that cannot be combined with what is pending ---- */

extern MdbTimeSet mdb_rollup_ordered_times(const MdbAggregate *a, Snapshot snapshot);

/* ---- rollup_markers.c: is_clean(), is_pending() ---- */

typedef enum MdbMarker
{
	MDB_MARKER_NONE,
	MDB_MARKER_CLEAN,
	MDB_MARKER_PENDING
} MdbMarker;

/* Times of a part, half-open as in metricsdb.pending. */
typedef struct MdbPartInterval
{
	int64 part_id;
	int64 time_from;
	int64 time_to;
} MdbPartInterval;

/* What is_pending() means to this backend for one aggregate. */
typedef struct MdbPendingOverride
{
	Oid aggregate;
	bool applied; /* rows that are not pending, of these times; else those of parts */
	int nparts;
	MdbPartInterval *parts; /* by part id */
	MdbTimeSet times;
} MdbPendingOverride;

extern MdbMarker mdb_marker_of(const Node *clause, Oid *aggregate, Node **time);
extern void mdb_pending_override(Oid aggregate, const MdbPartInterval *parts, int n);
extern void mdb_pending_override_applied(Oid aggregate, const MdbTimeRange *ranges, int n);
extern void mdb_pending_override_clear(void);
extern const MdbPendingOverride *mdb_pending_override_of(Oid aggregate);
extern void mdb_markers_init(void);

/* ---- rollup_scan.c: scans with such conditions ---- */

typedef struct MdbRollup MdbRollup;

extern bool mdb_rollup_is_marked(const RelOptInfo *rel, bool *overridden);
extern bool mdb_rollup_takes(const RelOptInfo *rel, const MdbTable *table, const Node *clause);
extern MdbRollup *mdb_rollup_begin(List *markers, PlanState *ps);
extern void mdb_rollup_apply(MdbRollup *r, TableScanDesc scan, MdbScanFilter *filter);
extern bool mdb_rollup_delta_passes(MdbRollup *r, ExprContext *econtext);
extern void mdb_rollup_explain_name(Relation rel, struct ExplainState *es);
extern void mdb_rollup_explain(const MdbRollup *r, struct ExplainState *es);

#endif /* MDB_ROLLUP_SCAN_H */
