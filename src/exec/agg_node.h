/*
 * agg_node.h
 *	  MetricsAgg: the node's state, and what its files call of each other.
 */
#ifndef MDB_AGG_NODE_H
#define MDB_AGG_NODE_H

#include "exec/agg.h"
#include "exec/counters.h"

extern bool mdb_enable_custom_scan;
extern bool mdb_enable_vector_agg;
extern const CustomScanMethods mdb_agg_scan_methods;

#ifdef MDB_TESTING
extern int mdb_agg_memory; /* metricsdb.agg_memory, in kB */
#endif

struct ExplainState;

extern void mdb_agg_init(void);

/* What became of the blocks and rows that the scan has handed out. */
typedef struct MdbAggCounters
{
	int64 blocks_pruned;  /* by ranges of values */
	int64 blocks_headers; /* answered without decoding a column */
	int64 rows_decoded;
	int64 rows_filtered;
	int64 passes;
} MdbAggCounters;

typedef struct MdbTimes MdbTimes;
typedef struct MdbWindows MdbWindows;
typedef struct MdbTorn MdbTorn;

typedef struct MetricsAggState
{
	CustomScanState css;
	Relation rel;
	const MdbTable *table;
	Index varno;
	bool guarded;
	bool partial;
	MdbPushState push;
	TableScanDesc scan;
	ParallelTableScanDesc pscan;
	MdbSharedCounters *shared;
	MdbScanCounters gathered; /* of all processes, once they have ended */
	bool is_gathered;
	MdbAggCounters counters;

	/* what is asked for */
	List *conditions;     /* all, as shown */
	List *filter_clauses; /* on values, in terms of the table */
	int nfilters;
	MdbVecExpr **filters;
	bool *decided;          /* [nfilters], of the present block: true for all rows */
	ExprState *filter_qual; /* for rows of the delta */
	int nkeys;
	bool *timed; /* [nkeys] */
	int nseries_keys;
	ExprState **series_keys;
	int nbucket_keys;
	ExprState **bucket_keys;
	int ncalls;
	MdbAggCall *calls;
	int ninputs;
	MdbAggInput *inputs;
	bool needs_times;     /* some input does */
	bool holds;           /* states of groups may hold memory beside themselves */
	bool can_tear;        /* or may need all rows after all */
	bool calls_functions; /* some aggregate is computed by its own */

	/* while it runs */
	MemoryContext mcxt;
	bool filled;              /* groups are complete, and are being returned */
	bool done;                /* and there are no more behind them */
	bool ungrouped;           /* no GROUP BY: there is one group, even of no rows */
	bool empty_due;           /* it is to be shown yet */
	TupleTableSlot *row_slot; /* rows of the delta, series, times: to evaluate keys on */
	MdbKeys *series_numbers;
	MdbKeys *bucket_numbers;
	MdbGroups *groups;
	uint32 **series_number; /* by id, in pages: number + 1, 0 = not known yet */
	uint32 nseries_pages;
	MdbBucketing *bucketing; /* NULL: the time is no key */
	MdbTimes *times;
	MdbWindows *windows; /* NULL: groups in no order */
	bool descending;
	MdbVecBlock vec;
	MdbUnit unit;
	uint8 *mask;
	uint8 *out; /* rows whose times do not pass */
	AggState *fake;
	ExprContext *result_context;
	Size memory_limit;

	/* the groups of this pass, see agg_exec.c */
	uint32 series_from, series_to;
	uint32 bucket_from, bucket_to;
	bool more;     /* some rows were left for another pass */
	bool whole;    /* the pass is one over torn groups */
	MdbTorn *torn; /* NULL: there were none */
} MetricsAggState;

/* ---------- agg_time.c: stretches of time, and the runs of rows that lie in them ---------- */

typedef struct MdbRun
{
	uint32 begin;
	uint32 end;
	uint32 stretch;
} MdbRun;

/* What is known of the times of a block of one series; others of the part may share it. */
typedef struct MdbTimePlan
{
	int64 part_id;
	int source;
	uint32 begin, end; /* rows within the filter */
	bool gaps;         /* but not all of them */
	bool stepped;
	int64 first, step;
	int64 *times; /* NULL if stepped, until somebody wants them */
	uint32 nrows;
	uint32 nruns;
	MdbRun *runs;
} MdbTimePlan;

#define MDB_NO_TIME 0 /* the stretch of rows without one */

extern MdbTimes *mdb_times_create(MemoryContext mcxt, MdbBucketing *bucketing);
extern void mdb_times_prepare(MdbTimes *t, ExprContext *econtext);
extern uint32 mdb_times_stretch(MdbTimes *t, int64 time);
extern int64 mdb_times_in(const MdbTimes *t, uint32 stretch, int64 *last);
extern int64 mdb_times_seen(const MdbTimes *t, uint32 stretch);
extern uint32 *mdb_times_number(MdbTimes *t, uint32 stretch);
extern MdbTimePlan *mdb_times_plan(MdbTimes *t, MdbPart *part, int block, const MdbScanFilter *filter);
extern const int64 *mdb_times_of(MdbTimes *t, MdbTimePlan *plan);
extern Size mdb_times_bytes(const MdbTimes *t);

/* ---------- agg_block.c ---------- */

extern void mdb_agg_block(MetricsAggState *state, const MdbUnit *unit);
extern uint32 mdb_agg_bucket_number(MetricsAggState *state, uint32 stretch);
extern char *mdb_agg_group(MetricsAggState *state, uint32 series, uint32 bucket);

/* ---------- agg_window.c ---------- */

extern MdbWindows *mdb_windows_create(MetricsAggState *state, bool descending, int first_stretches);
extern void mdb_windows_note(MetricsAggState *state, uint32 bucket, int64 time);
extern void mdb_windows_start(MetricsAggState *state);
extern bool mdb_windows_filled(MetricsAggState *state);
extern bool mdb_windows_next(MetricsAggState *state, uint32 *series, uint32 *bucket, char **group);
extern bool mdb_windows_advance(MetricsAggState *state);

/* ---------- agg_torn.c ---------- */

extern void mdb_torn_start(MetricsAggState *state);
extern bool mdb_torn_note(MetricsAggState *state, uint32 series, uint32 bucket, const char *group);
extern bool mdb_torn_has(const MetricsAggState *state, uint32 series, uint32 bucket);
extern bool mdb_torn_next(MetricsAggState *state);
extern void mdb_torn_leave_some(MetricsAggState *state);

/* ---------- agg_called.c ---------- */

extern bool mdb_called_recognise(const MdbTable *table, Index varno, const Aggref *aggref, bool *in_workers);
extern Size mdb_called_size(void);
extern Size mdb_called_held(void);
extern MdbCalled *mdb_called_create(const MdbTable *table, Index varno, const Aggref *aggref, PlanState *ps);
extern void mdb_called_place(MdbCalled *c, int offset, MdbGroups *groups);
extern void mdb_called_start(MdbCalled *c, ExprContext *econtext);
extern void mdb_called_add(MdbCalled *c, MetricsAggState *state, char *group, uint32 begin, uint32 end,
						   const uint8 *mask);
extern void mdb_called_add_row(MdbCalled *c, char *group, ExprContext *econtext);
extern void mdb_called_drop(MdbCalled *c, char *group);
extern Datum mdb_called_result(MdbCalled *c, const char *group, bool *isnull);
extern Datum mdb_called_partial(MdbCalled *c, const char *group, bool *isnull);

/* ---------- agg_explain.c ---------- */

extern void mdb_agg_explain(CustomScanState *css, List *ancestors, struct ExplainState *es);
extern void mdb_agg_share_counters(MetricsAggState *state);

#endif /* MDB_AGG_NODE_H */
