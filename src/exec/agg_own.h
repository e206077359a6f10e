/*
 * agg_own.h
 *	  MetricsAgg: the extension's own aggregates, computed by callbacks from runs of rows.
 *
 * An aggregate's file has an array of MdbOwnAgg, which agg_own.c lists.  Each says which arguments it takes: one
 * of values, perhaps the table's time, and others that are fixed while a query runs.  Its kind says what a group
 * keeps.  Aggregates of one kind with the same values, FILTER and fixed arguments share what is kept.
 */
#ifndef MDB_AGG_OWN_H
#define MDB_AGG_OWN_H

#include "nodes/execnodes.h"

#include "exec/agg.h"

#define MDB_OWN_ARGS 5

/*
 * Rows of one group, of one block or one row of the delta.  Arrays go by the row's number; only rows from begin
 * to end - 1 are the group's, and of those, the valid ones count: these pass all conditions, and their value is
 * not NULL.
 */
typedef struct MdbOwnRun
{
	const void *values; /* int64, uint8 of booleans, else double: as MdbVec has them */
	const uint8 *valid; /* NULL = all */
	const int64 *times; /* NULL: the rows have none */
	uint32 begin, end;
	bool sorted; /* the times do not fall from row to row; if false they may do so or not */
} MdbOwnRun;

/* What a group keeps. */
typedef struct MdbOwnKind
{
	Size state_size;  /* in each group; zeros at first, aligned to eight bytes */
	Size held_size;   /* a guess, for the planner, of what a group holds beyond it */
	bool wants_times; /* rows' times are to be decoded */
	/* Looks at own->constants, raises errors, returns what the others want of them; NULL: nothing to do. */
	void *(*prepare)(MdbOwn *own);
	/* Adds rows, of which at least one is valid.  Must not keep pointers to them. */
	void (*add)(MdbOwn *own, char *state, const MdbOwnRun *run);
	/* Frees what a state holds in memory of mdb_own_alloc, with mdb_own_free; NULL: it holds nothing. */
	void (*drop)(MdbOwn *own, char *state);
	/* Does the state need all rows after all?  They are added once more then, own->whole being true.  NULL: no. */
	bool (*torn)(const char *state);
} MdbOwnKind;

/* An aggregate: a function of schema metricsdb, by name and types of arguments. */
typedef struct MdbOwnAgg
{
	const char *name;
	int nargs;
	Oid types[MDB_OWN_ARGS]; /* InvalidOid: any */
	int value_arg;
	int time_arg; /* -1: it takes none */
	const MdbOwnKind *kind;
	/* The result for a group, in the current memory context; the state may be all zeros.  Leaves the state as it is. */
	Datum (*result)(MdbOwn *own, const char *state, bool *isnull);
	/* The state as the aggregate's deserialising function takes it.  NULL: it is not computed in workers. */
	Datum (*partial)(MdbOwn *own, const char *state, bool *isnull);
} MdbOwnAgg;

/* What is kept for one or several aggregates of a query. */
struct MdbOwn
{
	const MdbOwnKind *kind;
	MdbOwn *next; /* of the same input */
	MdbVecType vec_type;
	Oid value_type;
	MdbGroups *groups;
	int offset;  /* in a group's state */
	List *exprs; /* fixed arguments, in their order */
	List *states;
	ExprContext *econtext;
	bool
		whole; /* states are to keep what any further rows may need: they will not be asked whether they are torn */

	/* while it runs, once the first row has come */
	bool ready;
	Datum *constants;
	bool *nulls;
	void *prepared;     /* what kind->prepare has returned */
	MemoryContext mcxt; /* of these three; lasts until the node starts over */
};

extern const MdbOwnAgg *mdb_own_recognise(const MdbTable *table, Index varno, const Aggref *aggref,
										  Expr **value, List **constants);
extern MdbOwn *mdb_own_find(MdbAggInput *in, const MdbOwnAgg *agg, List *constants, PlanState *ps);
extern void mdb_own_start(MdbOwn *own);
extern void mdb_own_add(const MdbAggInput *in, char *group, uint32 begin, uint32 end, const int64 *times);
extern void mdb_own_drop(const MdbAggInput *inputs, int ninputs, char *group);
extern Datum mdb_own_result(const MdbAggCall *call, const char *group, bool *isnull);
extern Datum mdb_own_partial(const MdbAggCall *call, const char *group, bool *isnull);

/* Memory that a group's state points to: counts as the groups' does, and goes when they do. */
extern void *mdb_own_alloc(MdbOwn *own, Size size);
extern void *mdb_own_realloc(MdbOwn *own, void *p, Size size);
extern void mdb_own_free(MdbOwn *own, void *p);

/* ---------- the tables ---------- */

extern const MdbOwnAgg mdb_own_counter[];
extern const MdbOwnAgg mdb_own_over_time[];
extern const MdbOwnAgg mdb_own_sketch[];
extern const MdbOwnAgg mdb_own_histogram[];

#endif /* MDB_AGG_OWN_H */
