/*
 * agg.h
 *	  MetricsAgg: what its files share.
 */
#ifndef MDB_AGG_H
#define MDB_AGG_H

#include "nodes/execnodes.h"
#include "nodes/extensible.h"
#include "nodes/pathnodes.h"
#include "port/atomics.h"

#include "am/am.h"
#include "exec/bucket.h"
#include "exec/kernels.h"
#include "exec/pushdown.h"
#include "exec/vector.h"

/* ---------- agg_kind.c, agg_state.c: which aggregates, and what is kept for them ---------- */

typedef enum MdbAggKind
{
	MDB_AGG_COUNT,
	MDB_AGG_SUM,
	MDB_AGG_AVG,
	MDB_AGG_MIN,
	MDB_AGG_MAX,
	MDB_AGG_VAR_POP,
	MDB_AGG_VAR_SAMP,
	MDB_AGG_STDDEV_POP,
	MDB_AGG_STDDEV_SAMP,
	MDB_AGG_BOOL_AND,
	MDB_AGG_BOOL_OR,
	MDB_AGG_FIRST,
	MDB_AGG_LAST,
	MDB_AGG_OWN,   /* of the extension's own, see agg_own.h */
	MDB_AGG_CALLED /* by its own functions, see agg_called.c */
} MdbAggKind;

/* What an input keeps of its values in each group, beside their number. */
#define MDB_NEED_SUM     0x01
#define MDB_NEED_AVG     0x02 /* of floats, as float8_accum does: its errors, too */
#define MDB_NEED_SQUARES 0x04
#define MDB_NEED_MIN     0x08
#define MDB_NEED_MAX     0x10
#define MDB_NEED_TRUE    0x20 /* how many are true */
#define MDB_NEED_FIRST   0x40
#define MDB_NEED_LAST    0x80
#define MDB_NEED_TIME    (MDB_NEED_FIRST | MDB_NEED_LAST)

/* Of MDB_NEED_FIRST and _LAST. */
typedef struct MdbEnd
{
	int64 time;
	int64 value; /* its bits, as MdbVec has them */
	bool set;
	bool isnull;
} MdbEnd;

/* Sum of squares of int8. */
typedef struct MdbSquares
{
	uint64 lo;
	uint64 mid;
	uint64 hi;
} MdbSquares;

typedef struct MdbCalled MdbCalled;
typedef struct MdbOwn MdbOwn;
typedef struct MdbOwnAgg MdbOwnAgg;

/* An argument, with its FILTER, that one or more aggregates ask for. */
typedef struct MdbAggInput
{
	Expr *arg; /* NULL: rows alone are counted */
	Expr *filter;
	Expr *by; /* of MDB_NEED_FIRST and _LAST: what rows are ordered by; NULL: their time */
	Oid type;
	MdbVecType vec_type;
	uint8 needs;
	MdbVecExpr *value;
	MdbVecExpr *condition;
	MdbVecExpr *order;    /* of by */
	ExprState *arg_state; /* for rows of the delta */
	ExprState *filter_state;
	ExprState *by_state;
	AttrNumber column; /* if the argument is one and there is no filter */
	MdbOwn *owns;      /* what aggregates of our own keep of it */

	/* where in a group's state it lies */
	int off_n, off_sum, off_squares, off_min, off_max, off_true, off_first, off_last;

	/* of the present block */
	const void *values;
	const uint8 *valid;    /* rows that pass all conditions and are not NULL; NULL = all */
	const uint8 *selected; /* rows that pass all conditions; NULL = all */
	const uint8 *nulls;
	const int64 *by_values; /* NULL: there is none */
	const uint8 *by_nulls;
	uint8 *valid_space;
	uint8 *selected_space;
	bool none;   /* not one row is valid */
	bool sorted; /* rows of a group are in order of time */
	bool ready;
} MdbAggInput;

/* An aggregate of the query. */
typedef struct MdbAggCall
{
	MdbAggKind kind;
	Aggref *aggref;
	int input; /* -1: count(*), rows of the group; of MDB_AGG_CALLED that of its FILTER, -1: it has none */
	Oid arg_type;
	int column;        /* of the output */
	FmgrInfo final_fn; /* of those that core finishes, see agg_state.c */
	FmgrInfo deserial_fn;
	MdbCalled *called; /* of MDB_AGG_CALLED */
	MdbOwn *own;       /* of MDB_AGG_OWN */
	const MdbOwnAgg *own_agg;
} MdbAggCall;

/* What mdb_agg_recognise has found. */
typedef struct MdbAggWhat
{
	MdbAggKind kind;
	Expr *arg; /* NULL: count(*) */
	Expr *by;  /* of first and last, see MdbAggInput */
	uint8 needs;
	const MdbOwnAgg *own;
	List *constants; /* its fixed arguments */
	bool in_workers; /* of MDB_AGG_CALLED: it can be computed in parts */
} MdbAggWhat;

extern bool mdb_agg_recognise(const MdbTable *table, Index varno, Aggref *aggref, MdbAggWhat *what);
extern int mdb_agg_place(MdbAggInput *inputs, int ninputs);
extern void mdb_agg_update_run(const MdbAggInput *in, char *state, uint32 begin, uint32 end,
							   const int64 *times);
extern void mdb_agg_update_datum(const MdbAggInput *in, char *state, Datum value, bool isnull, bool has_time,
								 int64 time);
extern void mdb_agg_update_end(const MdbAggInput *in, char *state, int64 time, int64 value, bool isnull);
extern bool mdb_agg_add_stats(const MdbAggInput *in, char *state, const MdbBlockStats *stats, int block,
							  int64 nvalues, int64 first_time, int64 last_time);
extern bool mdb_agg_order(const MdbAggInput *in, ExprContext *econtext, int64 *order);
extern Datum mdb_agg_datum(Oid type, const void *values, uint32 i);
extern Datum mdb_agg_result(MdbAggCall *call, const MdbAggInput *in, const char *state, AggState *fake,
							bool *isnull);
extern Datum mdb_agg_partial(const MdbAggCall *call, const MdbAggInput *in, const char *state, bool *isnull);

/* ---------- agg_group.c: from series and times to the state of a group ---------- */

#define MDB_NO_GROUP PG_UINT32_MAX
#define MDB_AGG_KEYS 64 /* more are left to core */

typedef struct MdbKeys MdbKeys;

extern MdbKeys *mdb_keys_create(MemoryContext mcxt, int nkeys, const Oid *types, const Oid *eqops,
								const Oid *collations);
extern uint32 mdb_keys_find(MdbKeys *keys, const Datum *values, const bool *isnull);
extern const Datum *mdb_keys_values(const MdbKeys *keys, uint32 number, const bool **isnull);
extern uint32 mdb_keys_count(const MdbKeys *keys);
extern Size mdb_keys_bytes(const MdbKeys *keys);
extern void mdb_keys_reset(MdbKeys *keys);

typedef struct MdbGroups MdbGroups;

extern MdbGroups *mdb_groups_create(MemoryContext mcxt, Size state_size, bool bucketed);
extern char *mdb_groups_state(MdbGroups *g, uint32 series, uint32 bucket);
extern Size mdb_groups_bytes(const MdbGroups *g);
extern void mdb_groups_on_drop(MdbGroups *g, void (*drop)(void *arg, char *state), void *arg);
extern MemoryContext mdb_groups_child(MdbGroups *g);
extern void mdb_groups_count(MdbGroups *g, Size was, Size now);
extern void *mdb_groups_alloc(MdbGroups *g, void *p, Size size);
extern void mdb_groups_free(MdbGroups *g, void *p);
extern void mdb_groups_reset(MdbGroups *g);
extern void mdb_groups_drop(MdbGroups *g, uint32 series, uint32 bucket);
extern void mdb_groups_drop_from(MdbGroups *g, uint32 series);
extern void mdb_groups_drop_buckets(MdbGroups *g, uint32 series, uint32 bucket);
extern uint32 mdb_groups_series(const MdbGroups *g);
extern bool mdb_groups_next(MdbGroups *g, uint32 *series, uint32 *bucket, char **state);

#endif /* MDB_AGG_H */
