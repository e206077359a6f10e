/*
 * vector.h
 *	  Expressions over the columns of a block, evaluated for all of its rows at once.
 */
#ifndef MDB_VECTOR_H
#define MDB_VECTOR_H

#include "nodes/execnodes.h"

#include "am/am.h"

#define MDB_VECTOR_ROOM (MDB_BLOCK_ROWS_MAX + MDB_DECODE_SLACK)

/* How values of an expression are kept: int64, double, double with the precision of a float, a byte. */
typedef enum MdbVecType
{
	MDB_VEC_INT,
	MDB_VEC_F64,
	MDB_VEC_F32,
	MDB_VEC_BOOL,
	MDB_VEC_OTHER /* only whether it is NULL */
} MdbVecType;

/*
 * Values of the rows of a block.  Those of NULLs may be anything, but of BOOL they are 0.  A constant has
 * one value, or none if it is NULL.
 */
typedef struct MdbVec
{
	const void *values;
	const uint8 *nulls; /* NULL = none */
	bool constant;
	bool isnull; /* the constant NULL */
} MdbVec;

/* The columns of the present block, each decoded once. */
typedef struct MdbVecColumn
{
	uint64 serial; /* of the block that they are of; 0 = none */
	void *values;
	uint8 *null_space;
	const uint8 *nulls;
} MdbVecColumn;

typedef struct MdbVecBlock
{
	const MdbTable *table;
	TupleDesc desc;
	MemoryContext mcxt;
	uint64 serial;
	MdbBlock *block;
	uint32 begin, end; /* rows that are looked at */
	const int64 *(*times)(void *arg);
	void *times_arg;
	MdbVecColumn *columns; /* [natts] */
	float *f32_space;
	int64 decoded; /* columns that were decoded, of all blocks */
} MdbVecBlock;

typedef struct MdbVecExpr MdbVecExpr;

extern MdbVecType mdb_vec_type(Oid type);
extern MdbVecExpr *mdb_vec_compile(const MdbTable *table, Index varno, Node *node, PlanState *ps);
extern MdbVecType mdb_vec_type_of(const MdbVecExpr *expr);
extern AttrNumber mdb_vec_column_of(const MdbVecExpr *expr);
extern bool mdb_vec_cannot_fail(const MdbVecExpr *expr);
extern void mdb_vec_prepare(MdbVecExpr *expr, ExprContext *econtext);
extern void mdb_vec_block_init(MdbVecBlock *b, const MdbTable *table, TupleDesc desc, MemoryContext mcxt);
extern void mdb_vec_block_set(MdbVecBlock *b, MdbBlock *block, uint32 begin, uint32 end);
extern void mdb_vec_eval(MdbVecExpr *expr, MdbVecBlock *b, const uint8 *active, MdbVec *out);
extern void mdb_vec_spread(MdbVecExpr *expr, MdbVecBlock *b, MdbVec *vec);

/* What is known of a block's values of a column, without reading them: for pruning. */
typedef struct MdbVecRange
{
	bool known;
	bool some_null;
	bool all_null;
	bool some_nan;
	bool only_nan; /* of those that are not NULL */
	union
	{
		int64 i;
		double d;
	} min, max;
} MdbVecRange;

typedef void (*MdbVecRangeOf)(void *arg, AttrNumber attno, MdbVecRange *range);

/* What a condition comes to for all rows of a block. */
typedef enum MdbVerdict
{
	MDB_SOME,
	MDB_NONE, /* true for no row */
	MDB_ALL   /* true for every row */
} MdbVerdict;

extern void mdb_range_of(const MdbTable *table, MdbPart *part, int block, AttrNumber attno,
						 MdbVecRange *range);
extern MdbVerdict mdb_vec_verdict(const MdbVecExpr *expr, MdbVecRangeOf range_of, void *arg);

#endif /* MDB_VECTOR_H */
