/*
 * vector_internal.h
 *	  What vector.c makes of an expression and vector_eval.c runs.
 */
#ifndef MDB_VECTOR_INTERNAL_H
#define MDB_VECTOR_INTERNAL_H

#include "utils/float.h"

#include "exec/vector.h"

typedef enum MdbVecOp
{
	VEC_COLUMN,
	VEC_FIXED,  /* the same for all rows of a scan */
	VEC_SERIES, /* and for all of a series */
	VEC_ARITHMETIC,
	VEC_NEGATE,
	VEC_CAST,
	VEC_COMPARE,
	VEC_AND,
	VEC_OR,
	VEC_NOT,
	VEC_IS_NULL,
	VEC_IS_TRUE, /* and its kin, see negated and want */
	VEC_IN,
	VEC_OF_TIME, /* anything that is constant for stretches of time, see vector_time.c */
	VEC_CASE     /* condition, value, condition, value, ..., else */
} MdbVecOp;

enum
{
	ARITHMETIC_PLUS,
	ARITHMETIC_MINUS,
	ARITHMETIC_TIMES,
	ARITHMETIC_OVER
};

enum
{
	MDB_COMPARE_LT,
	MDB_COMPARE_LE,
	MDB_COMPARE_EQ,
	MDB_COMPARE_GE,
	MDB_COMPARE_GT,
	MDB_COMPARE_NE
};

/* Values that are known of series, see vector_series.c. */
typedef struct MdbVecSeries MdbVecSeries;

struct MdbVecExpr
{
	uint8 op;      /* MdbVecOp */
	uint8 sub;     /* which ARITHMETIC_ or COMPARE_ */
	uint8 type;    /* MdbVecType of the result */
	bool negated;  /* IS NOT NULL, NOT IN */
	uint8 want;    /* of VEC_IS_TRUE: 1 true, 0 false, 2 unknown */
	Oid base_type; /* of the result, below domains */
	int nargs;
	MdbVecExpr **args;
	AttrNumber attno; /* VEC_COLUMN; of VEC_OF_TIME the time's */
	struct MdbVecOfTime *of_time;

	/* VEC_FIXED, VEC_SERIES, and the list of VEC_IN */
	ExprState *state;
	MdbVecSeries *series;
	Oid fixed_type;
	bool may_fail;        /* evaluating it may be an error: it waits until a row needs it */
	ExprContext *pending; /* of what is still to be evaluated; NULL: the value is known */
	bool isnull;
	union
	{
		int64 i;
		double d;
		uint8 b;
	} fixed;
	int nlist; /* values of VEC_IN that are not NULL, in order */
	bool list_null;
	int list_room;
	int64 *ints;
	double *doubles;

	/* results, made when first needed */
	void *space;
	uint8 *null_space;
	uint8 *mask; /* rows still to be decided */
};

/* ---- vector.c ---- */

extern void mdb_vec_take(MdbVecExpr *e, ExprContext *econtext);
extern int64 mdb_vec_int_of(Oid type, Datum value);

/* ---- vector_series.c ---- */

extern bool mdb_vec_series_fits(const MdbTable *table, Index varno, Node *node);
extern MdbVecSeries *mdb_vec_series_begin(void);
extern void mdb_vec_series_prepare(MdbVecSeries *s, ExprContext *econtext);
extern void mdb_vec_series_eval(MdbVecExpr *e, MdbVecBlock *b, const uint8 *active, void *values,
								uint8 *nulls, MdbVec *out);

/* ---- vector_time.c ---- */

extern bool mdb_vec_of_time(MdbVecExpr *e, const MdbTable *table, Index varno, Node *node, PlanState *ps);
extern void mdb_vec_of_time_prepare(MdbVecExpr *e, ExprContext *econtext);
extern void mdb_vec_of_time_eval(MdbVecExpr *e, MdbVecBlock *b, const uint8 *active, MdbVec *out);
extern bool mdb_vec_of_time_range(const MdbVecExpr *e, MdbVecRange *range);

/* The first value of a list that is not below v. */
static inline int
mdb_vec_list_int(const MdbVecExpr *e, int64 v)
{
	int lo = 0, hi = e->nlist;

	while (lo < hi)
	{
		int mid = (lo + hi) / 2;

		if (e->ints[mid] < v)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The same of doubles; NaN is above all others. */
static inline int
mdb_vec_list_double(const MdbVecExpr *e, double v)
{
	int lo = 0, hi = e->nlist;

	while (lo < hi)
	{
		int mid = (lo + hi) / 2;

		if (float8_lt(e->doubles[mid], v))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

#endif /* MDB_VECTOR_INTERNAL_H */
