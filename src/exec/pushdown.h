/*
 * pushdown.h
 *	  Conditions on time and series columns: which of a query's they are, and what a scan is told of them.
 */
#ifndef MDB_PUSHDOWN_H
#define MDB_PUSHDOWN_H

#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"

#include "am/am.h"
#include "exec/series_filter.h"

/* Conditions that a scan can use. */
typedef struct MdbPushed
{
	List *strategies; /* of the conditions on time: btree strategy numbers */
	List *values;     /* what the time is compared with */
	List
		*slacks; /* by how much times may lie before and behind what that says: two Consts of int8 for each */
	List *implied; /* RestrictInfos that some of these came of, although rows have to be asked for them */
	List *series;  /* clauses on series columns */
	List *markers; /* calls of is_clean() and is_pending() */
	List *rinfos;  /* where all of these come from, for their selectivity */
	List *rest;    /* RestrictInfos of all other conditions */
	bool guarded;  /* row-level security or a security barrier hides rows */
} MdbPushed;

/* The same while a query runs. */
typedef struct MdbPushState
{
	const MdbTable *table;
	ExprContext *econtext;
	List *strategies;
	List *values; /* ExprStates */
	List *slacks;
	List *series_clauses;
	ExprState *series_qual;
	MdbSeriesFilter *series_filter;
	TupleTableSlot *series_slot;
	struct MdbValueFilter *value_filter; /* NULL = none */
	struct MdbRollup *rollup;            /* NULL = none */
	MdbScanFilter filter;                /* as it was told last */
} MdbPushState;

extern Oid mdb_btree_family(Oid type);
extern Node *mdb_strip_relabel(Node *node);
extern bool mdb_clause_may_move(RelOptInfo *rel, const RestrictInfo *rinfo);
extern bool mdb_uses_only(Node *node, Index relid, const MdbTable *table, MdbRole role);
extern MdbPushed *mdb_find_pushed(RelOptInfo *rel, const MdbTable *table);
extern MdbPushed *mdb_find_pushed_in(RelOptInfo *rel, const MdbTable *table, List *rinfos);
extern List *mdb_push_selective(const MdbPushed *pushed);
extern bool mdb_push_clause(RelOptInfo *rel, const MdbTable *table, const RestrictInfo *rinfo, int *strategy,
							Expr **value);
extern bool mdb_wants_special_columns(RelOptInfo *rel);
extern bool mdb_rows_are_hidden(PlannerInfo *root, RelOptInfo *rel);

extern int64 mdb_push_time(const MdbTable *table, Datum value);
extern void mdb_push_begin(MdbPushState *push, PlanState *ps, Relation rel, List *strategies, List *slacks,
						   List *values, List *series, List *markers);
extern void mdb_push_apply(MdbPushState *push, TableScanDesc scan);
extern void mdb_push_end(MdbPushState *push);

#endif /* MDB_PUSHDOWN_H */
