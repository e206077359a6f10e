/*
 * gapfill.h
 *	  MetricsGapFill: what its planner tells its executor.
 */
#ifndef MDB_GAPFILL_H
#define MDB_GAPFILL_H

#include "nodes/extensible.h"
#include "nodes/pathnodes.h"

/* How a column of the grouping is filled in a gap. */
typedef enum MdbGapColumn
{
	MDB_GAP_TIME,    /* the bucket */
	MDB_GAP_CARRIED, /* is the same in all rows of a group */
	MDB_GAP_EMPTY,   /* NULL */
	MDB_GAP_HIDDEN   /* the argument of locf or interpolate: not in the output */
} MdbGapColumn;

/*
 * custom_private of the plan, each of them a list of integers or of OIDs.  custom_exprs are the width and the zone,
 * the bounds, and for each call of locf and interpolate prev and next.
 */
typedef enum MdbGapPrivate
{
	MDB_GAP_COLUMNS,    /* MdbGapColumn of each column of the grouping */
	MDB_GAP_KEYS,       /* columns that tell groups apart */
	MDB_GAP_EQUAL,      /* their equality */
	MDB_GAP_COLLATIONS, /* and collations */
	MDB_GAP_STRATEGIES, /* of the bounds: btree's, of time op bound */
	MDB_GAP_CALLS, /* for each: the column of its argument, whether it is locf, whether NULL is missing */
	MDB_GAP_ALONE  /* one number: is the bucket the only key? */
} MdbGapPrivate;

extern const CustomScanMethods mdb_gapfill_scan_methods;

/* The times to be filled, lo <= t < hi, as mdb_time_units() has them. */
typedef struct MdbGapRange
{
	int64 lo, hi;
	bool has_lo, has_hi;
} MdbGapRange;

extern void mdb_gapfill_init(void);
extern void mdb_gapfill_narrow(MdbGapRange *range, Oid time_type, Datum bound, Oid type, int strategy);

#endif /* MDB_GAPFILL_H */
