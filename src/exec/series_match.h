/*
 * series_match.h
 *	  Selectors of Prometheus to sets of series, by the inverted index over series.
 */
#ifndef MDB_SERIES_MATCH_H
#define MDB_SERIES_MATCH_H

#include "nodes/execnodes.h"

#include "series/index.h"

/* Of so few series each is looked at rather than each distinct value. */
#define MDB_FEW_SERIES 2000

typedef struct MdbSeriesMatch MdbSeriesMatch;

extern MdbSeriesMatch *mdb_series_match_begin(const MdbTable *table, Node *clause, PlanState *ps);
extern MdbIds *mdb_series_match_resolve(MdbSeriesMatch *m, ExprContext *econtext, Snapshot snapshot,
										bool *exact, int64 *terms);

#endif /* MDB_SERIES_MATCH_H */
