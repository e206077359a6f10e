/*
 * scan_internal.h
 *	  A scan as scan.c and scan_blocks.c know it.
 */
#ifndef MDB_SCAN_INTERNAL_H
#define MDB_SCAN_INTERNAL_H

#include "am/am.h"

typedef enum UnitKind
{
	UNIT_NONE,
	UNIT_BLOCK,
	UNIT_DELTA, /* read as a heap scan */
	UNIT_TUPLES /* rows in memory */
} UnitKind;

typedef struct MdbScan
{
	TableScanDescData base;
	MemoryContext mcxt;
	MdbTable *table;
	MdbPartList *parts;
	int64 *block_base; /* [count + 1] blocks before each part */
	int64 *row_base;   /* [count + 1] rows before each part */
	int ndeltas;
	MdbDeltaInfo *deltas;
	MdbSeriesCache *series_cache;
	MdbBlock *block;
	TupleDesc slot_desc; /* of the last slot that rows were stored in */

	/* where the scan is */
	int64 unit; /* -1 = before the first */
	UnitKind kind;
	uint32 row;
	uint32 nrows;
	bool on_row;        /* row was returned; else it is the next one forward */
	int part;           /* the open part */
	MdbPart *open_part; /* NULL: none, or it is damaged and to be skipped */
	bool skip;          /* metricsdb.on_corruption, where it applies */
	bool *damaged;      /* [parts], of those that could not be opened */
	MdbPart **open;     /* [parts], those that are open */
	Size open_bytes;    /* of their directories */
	int delta;          /* the open delta */
	Relation delta_rel;
	TableScanDesc delta_scan;
	TupleTableSlot *delta_slot;
	MemoryContext row_mcxt;    /* the present row of the delta */
	MemoryContext tuples_mcxt; /* rows of the delta, read into memory, or NULL */
	MinimalTuple *tuples;
	ItemPointerData *tids; /* of tuples, if they have some */

	/* parallel: the chunk being worked on */
	int64 chunk_next;
	int64 chunk_end;

	MdbSampleState sample;
	int64 *delta_slices; /* for TABLESAMPLE, once they were counted */
	uint32 *tail_rows;   /* rows of the units behind the blocks, once they were counted */

	/* rows to leave out, see MdbScanFilter */
	MdbScanFilter filter;
	bool filtered;
	bool check_time; /* of each row of the present block */
	bool check_series;
	bool masked;      /* dead holds all rows that are to be left out */
	uint8 **verdicts; /* by series id: 0 = not asked yet, VERDICT_* */
	uint32 nverdicts;
	MdbScanCounters counters;
	int64 starts;                               /* how often a filter was set */
	bool started;                               /* something was asked for since */
	int64 start_pruned, start_blocks_of_pruned; /* what that start has added to the counters */
	int64 *counted_in; /* [parts] of these, the last one in which the part was counted as read */

	/* rows of the present block that were deleted, see write/shadow.c */
	MdbShadows *shadows;
	const uint8 *dead; /* NULL = none */
	uint8 *dead_space;
	uint32 dead_capacity;
} MdbScan;

extern bool mdb_scan_part_pruned(const MdbScan *s, const MdbPartInfo *info);
extern bool mdb_scan_block_outside_series(MdbScan *s, const MdbPart *part, int block);
extern const uint8 *mdb_scan_find_dead(MdbScan *s, MdbBlock *b, uint8 **space, uint32 *capacity);
extern const uint8 *mdb_scan_mask(MdbScan *s, MdbBlock *b, bool check_time, bool check_series,
								  const uint8 *dead, uint8 **space, uint32 *capacity);
extern bool mdb_scan_next_delta_row(MdbScan *s, ScanDirection direction, TupleTableSlot *slot);
extern void mdb_scan_open_delta(MdbScan *s, int delta);
extern void mdb_scan_leave_unit(MdbScan *s);

#endif /* MDB_SCAN_INTERNAL_H */
