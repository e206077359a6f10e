/*
 * metrics_scan.h
 *	  MetricsScan: what its paths say of a scan, and what runs it.
 */
#ifndef MDB_METRICS_SCAN_H
#define MDB_METRICS_SCAN_H

#include "nodes/extensible.h"

#include "exec/counters.h"
#include "exec/pushdown.h"

/* In which order rows are wanted, and which of them. */
typedef enum MdbScanMode
{
	MDB_SCAN_PLAIN,   /* as they lie */
	MDB_SCAN_ORDERED, /* in order of time */
	MDB_SCAN_LATEST   /* of each series at least the first in order of time */
} MdbScanMode;

/* Members of the list of integers in custom_private. */
enum
{
	MDB_SCAN_PRIVATE_GUARDED,
	MDB_SCAN_PRIVATE_MODE,
	MDB_SCAN_PRIVATE_DESCENDING,
	MDB_SCAN_PRIVATE_NULLS_FIRST,
	MDB_SCAN_PRIVATE_FIRST_ROWS /* rows that are likely to be asked for; 0 = all */
};

typedef struct MdbOrdered MdbOrdered;
typedef struct MdbLatest MdbLatest;

typedef struct MetricsScanState
{
	CustomScanState css;
	MdbPushState push;
	TableScanDesc scan;
	ParallelTableScanDesc pscan;
	MdbSharedCounters *shared;
	MdbScanCounters counters;
	bool is_shared; /* they are those of all processes */
	bool *wanted;   /* [natts] value columns that are asked for; NULL = all */
	int nwanted;
	List *filter_clauses; /* on values, which the scan decides */
	ExprState *rest;      /* conditions that it does not decide, for rows of blocks */
	bool ready;           /* the filter is set */
	bool guarded;         /* see MdbPushed */
	MdbScanMode mode;
	bool descending;
	bool nulls_first;
	int first_rows;
	MdbOrdered *ordered;
	MdbLatest *latest;
} MetricsScanState;

extern const CustomExecMethods mdb_metrics_scan_exec;

/* ---- metrics_scan.c ---- */

extern bool mdb_scan_qualifies(MetricsScanState *state, TupleTableSlot *slot);

/* ---- ordered_scan.c, latest.c: rows that are next, false at the end; *qualified if the quals were asked ---- */

extern MdbOrdered *mdb_ordered_begin(MetricsScanState *state);
extern void mdb_ordered_start(MdbOrdered *o);
extern bool mdb_ordered_next(MdbOrdered *o, TupleTableSlot *slot, bool *qualified);
extern void mdb_ordered_end(MdbOrdered *o);

extern MdbLatest *mdb_latest_begin(MetricsScanState *state);
extern void mdb_latest_start(MdbLatest *l);
extern bool mdb_latest_next(MdbLatest *l, TupleTableSlot *slot);
extern void mdb_latest_end(MdbLatest *l);

/* ---- index_cost.c ---- */

extern void mdb_index_cost_init(void);

#endif /* MDB_METRICS_SCAN_H */
