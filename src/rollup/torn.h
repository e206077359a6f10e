/*
 * torn.h
 *	  Buckets whose states cannot be combined.
 */
#ifndef MDB_ROLLUP_TORN_H
#define MDB_ROLLUP_TORN_H

#include "exec/rollup_scan.h"
#include "rollup/language.h"
#include "store/aggregates.h"

extern char *mdb_torn_query(const MdbDefinition *def, const char *states);
extern void mdb_torn_mark(const MdbAggregate *a, MdbRollupBucket *buckets, Oid type);

#endif /* MDB_ROLLUP_TORN_H */
