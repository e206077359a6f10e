/*
 * series_filter.h
 *	  Conditions on series columns to sets of ids, by the inverted index over series.
 */
#ifndef MDB_SERIES_FILTER_H
#define MDB_SERIES_FILTER_H

#include "nodes/execnodes.h"

#include "series/index.h"

/* How a condition is resolved. */
typedef enum MdbSeriesHow
{
	MDB_SERIES_EACH,     /* not by the index: evaluated for each series that is met */
	MDB_SERIES_TERMS,    /* some terms are looked up */
	MDB_SERIES_VALUES,   /* evaluated for each distinct value of a column or key */
	MDB_SERIES_SELECTOR, /* of Prometheus: by these two */
	MDB_SERIES_AND,
	MDB_SERIES_OR
} MdbSeriesHow;

typedef struct MdbSeriesCond MdbSeriesCond;

typedef struct MdbSeriesFilter
{
	const MdbTable *table;
	ExprContext *econtext;
	MemoryContext mcxt; /* of what was resolved */
	List *conds;        /* MdbSeriesCond, with implicit AND */
	bool fixed;         /* their values are the same whenever they are taken */
	bool resolved;
	MdbPostingCache *cache; /* where it is resolved again and again; and its snapshot */
	Snapshot snapshot;
	ResourceOwner owner;
	MdbIds *ids; /* series that may match; NULL = any */
	bool exact;  /* they all do */
} MdbSeriesFilter;

extern MdbSeriesFilter *mdb_series_filter_begin(List *clauses, PlanState *ps, ExprContext *econtext,
												const MdbTable *table);
extern void mdb_series_filter_resolve(MdbSeriesFilter *f);
extern void mdb_series_filter_end(MdbSeriesFilter *f);
extern MdbSeriesHow mdb_series_cond_how(const MdbSeriesCond *cond);
extern MdbIds *mdb_series_cond_resolve(MdbSeriesFilter *f, MdbSeriesCond *cond, Snapshot snapshot,
									   bool *exact);
extern int64 mdb_series_cond_terms(const MdbSeriesCond *cond);

#endif /* MDB_SERIES_FILTER_H */
