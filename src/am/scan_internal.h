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
	UNIT_PAGE   /* rows of a page of the delta in memory, for samples */
} UnitKind;

/* Where a sample stands. */
typedef struct MdbSampleState
{
	int64 nblocks; /* of the file, as ANALYZE sees them */
	int64 total;   /* rows of the scan */
	int64 next;    /* next row number to return */
	int64 end;
	int64 step;
	int64 covered; /* rows that the present block stands for */
	int64 looked_at;
	int64 found_dead;
	bool reported;
	struct MdbTold *told;    /* ANALYZE: what nodes have told; NULL: the table is not distributed */
	int64 unit;              /* TABLESAMPLE: behind the present unit */
	OffsetNumber max_offset; /* of its rows */
} MdbSampleState;

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
	bool fresh; /* not asked for a unit since it began */
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
	MemoryContext row_mcxt; /* the present row of the delta */

	/* parallel: the chunk being worked on */
	int64 chunk_next;
	int64 chunk_end;

	MdbSampleState sample;
	struct MdbSamplePages *pages; /* see sample.c */

	/* rows to leave out, see MdbScanFilter */
	MdbScanFilter filter;
	bool filtered;
	bool ranged; /* by identities, see tid_range.c */
	ItemPointerData tid_min, tid_max;
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

extern void mdb_scan_enter_unit(MdbScan *s, int64 unit, bool at_end);
extern void mdb_scan_store_row(MdbScan *s, uint32 row, TupleTableSlot *slot);
extern bool mdb_scan_delta_superseded(MdbScan *s);
extern int64 mdb_scan_find_base(const int64 *base, int64 count, int64 number);
extern bool mdb_scan_part_pruned(const MdbScan *s, const MdbPartInfo *info);
extern bool mdb_scan_block_outside_series(MdbScan *s, const MdbPart *part, int block);
extern const uint8 *mdb_scan_find_dead(MdbScan *s, MdbBlock *b, uint8 **space, uint32 *capacity);
extern const uint8 *mdb_scan_mask(MdbScan *s, MdbBlock *b, bool check_time, bool check_series,
								  const uint8 *dead, uint8 **space, uint32 *capacity);
extern bool mdb_scan_next_delta_row(MdbScan *s, ScanDirection direction, TupleTableSlot *slot);
extern void mdb_scan_open_delta(MdbScan *s, int delta);
extern void mdb_scan_leave_unit(MdbScan *s);
extern bool mdb_scan_rows_outside_range(const MdbScan *s, int64 first, int64 n);
extern TableScanDesc mdb_scan_begin_delta_range(MdbScan *s);

#endif /* MDB_SCAN_INTERNAL_H */
