/*
 * statement.h
 *	  The statements that bring a table of states up to date.
 */
#ifndef MDB_ROLLUP_STATEMENT_H
#define MDB_ROLLUP_STATEMENT_H

#include "rollup/apply.h"

typedef struct MdbStatement MdbStatement;

extern MdbStatement *mdb_statement_open(const MdbAggregate *a);
extern uint64 mdb_statement_take(MdbStatement *s, const MdbPartInterval *parts, int n, Snapshot snapshot);
extern uint64 mdb_statement_again(MdbStatement *s, MdbRollupBucket *buckets, const MdbTimeRange *ranges,
								  int n, Snapshot snapshot);

#endif /* MDB_ROLLUP_STATEMENT_H */
