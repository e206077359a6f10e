/*
 * counters.h
 *	  What scans count, across processes, and how EXPLAIN tells it.
 */
#ifndef MDB_COUNTERS_H
#define MDB_COUNTERS_H

#include "port/atomics.h"

#include "am/am.h"

struct ExplainState;

#define MDB_SCAN_COUNTERS (sizeof(MdbScanCounters) / sizeof(int64))

/* What parallel processes share beside the scan itself. */
typedef struct MdbSharedCounters
{
	pg_atomic_uint64 counts[MDB_SCAN_COUNTERS];
} MdbSharedCounters;

extern void mdb_counters_init(MdbSharedCounters *shared);
extern void mdb_counters_share(MdbSharedCounters *shared, MdbScanCounters *counters);
extern void mdb_counters_explain(const MdbScanCounters *c, bool aggregated, bool by_series,
								 struct ExplainState *es);

#endif /* MDB_COUNTERS_H */
