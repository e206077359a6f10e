/*
 * value_filter.h
 *	  Conditions on value columns that a scan decides by itself, block by block.
 */
#ifndef MDB_VALUE_FILTER_H
#define MDB_VALUE_FILTER_H

#include "nodes/pathnodes.h"

#include "exec/pushdown.h"

typedef struct MdbValueFilter MdbValueFilter;

extern List *mdb_find_value_filters(RelOptInfo *rel, const MdbTable *table, const MdbPushed *pushed);
extern MdbValueFilter *mdb_value_filter_create(PlanState *ps, const MdbTable *table, TupleDesc desc,
											   Index varno, List *clauses);
extern void mdb_value_filter_prepare(MdbValueFilter *f, ExprContext *econtext, MdbScanFilter *filter);

#endif /* MDB_VALUE_FILTER_H */
