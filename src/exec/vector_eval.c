/*
 * vector_eval.c
 *	  Expressions evaluated for all rows of a block.
 *
 * Results are those of PostgreSQL's own operators, errors included; but an error is raised only for rows
 * that are active, as the others would not have come that far.  Rows that are not active get any value.  What is
 * the same for all rows, but may be an error, is evaluated for the first that is active.
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "utils/float.h"
#include "utils/memutils.h"

#include "compat.h"
#include "exec/kernels.h"
#include "exec/vector_internal.h"

/* ---------- columns ---------- */

/*
 * mdb_vec_block_init - room for the columns of blocks, in mcxt, which outlives the scan.
 */
void
mdb_vec_block_init(MdbVecBlock *b, const MdbTable *table, TupleDesc desc, MemoryContext mcxt)
{
	memset(b, 0, sizeof(*b));
	b->table = table;
	b->desc = desc;
	b->mcxt = mcxt;
	b->columns = MemoryContextAllocZero(mcxt, sizeof(MdbVecColumn) * Max(1, table->natts));
}

/*
 * mdb_vec_block_set - from now on stand for rows begin to end of another block.
 */
void
mdb_vec_block_set(MdbVecBlock *b, MdbBlock *block, uint32 begin, uint32 end)
{
	b->serial++;
	b->block = block;
	b->begin = begin;
	b->end = end;
}

static void *
room(MdbVecBlock *b, void **space, Size width)
{
	if (*space == NULL)
		*space = MemoryContextAlloc(b->mcxt, MDB_VECTOR_ROOM * width);
	return *space;
}

/* A column that came after the part: one value for all rows. */
static void
fill_missing(MdbVecBlock *b, MdbVecColumn *c, int att)
{
	Form_pg_attribute attr = TupleDescAttr(b->desc, att);
	bool isnull;
	Datum value = getmissingattr(b->desc, att + 1, &isnull);
	MdbVecType type = mdb_vec_type(attr->atttypid);

	if (isnull)
	{
		memset(c->null_space, 1, b->block->nrows);
		c->nulls = c->null_space;
		/* What is NULL is not true. */
		if (type == MDB_VEC_BOOL)
			memset(c->values, 0, b->block->nrows);
		return;
	}
	for (uint32 i = 0; i < b->block->nrows; i++)
	{
		if (type == MDB_VEC_F64)
			((double *) c->values)[i] = DatumGetFloat8(value);
		else if (type == MDB_VEC_F32)
			((double *) c->values)[i] = DatumGetFloat4(value);
		else if (type == MDB_VEC_BOOL)
			((uint8 *) c->values)[i] = DatumGetBool(value);
		else if (type == MDB_VEC_INT)
			((int64 *) c->values)[i] = attr->attlen == 2   ? DatumGetInt16(value)
									   : attr->attlen == 4 ? DatumGetInt32(value)
														   : DatumGetInt64(value);
	}
}

/* Only which values are NULL. */
static void
read_other(MdbVecBlock *b, MdbVecColumn *c, int column)
{
	MdbPart *part = b->block->part;
	MdbVector vec;
	MemoryContext tmp;

	mdb_part_load_column(part, column);
	if (part->columns[column].nnulls[b->block->block] == 0)
		return;
	tmp = AllocSetContextCreate(CurrentMemoryContext, "metricsdb NULLs", ALLOCSET_DEFAULT_SIZES);
	mdb_part_read_column(part, column, b->block->block, &vec, tmp);
	memcpy(c->null_space, vec.nulls, b->block->nrows);
	c->nulls = c->null_space;
	MemoryContextDelete(tmp);
	b->decoded++;
}

static void
read_column(MdbVecBlock *b, int att, MdbVecType type)
{
	MdbVecColumn *c = &b->columns[att];
	MdbPart *part = b->block->part;
	uint32 n = b->block->nrows;
	int column;
	uint32 nnulls;

	c->serial = b->serial;
	c->nulls = NULL;
	room(b, (void **) &c->values, sizeof(int64));
	room(b, (void **) &c->null_space, 1);
	if (b->table->columns[att].role == MDB_ROLE_TIME)
	{
		if (part->has_time)
			memcpy(c->values, b->times(b->times_arg), n * sizeof(int64));
		else
		{
			memset(c->null_space, 1, n);
			c->nulls = c->null_space;
		}
		return;
	}
	column = mdb_part_column_index(part, att + 1);
	if (column < 0)
	{
		fill_missing(b, c, att);
		return;
	}
	if (part->columns[column].phys != b->table->columns[att].phys)
		mdb_part_damaged(part, "It keeps a column in another form.");
	if (type == MDB_VEC_OTHER)
	{
		read_other(b, c, column);
		return;
	}
	b->decoded++;
	if (type == MDB_VEC_F32)
	{
		room(b, (void **) &b->f32_space, sizeof(int64));
		nnulls = mdb_part_decode_numbers(part, column, b->block->block, b->f32_space, c->null_space);
		mdb_widen_f32(b->f32_space, n, c->values);
	}
	else
	{
		nnulls = mdb_part_decode_numbers(part, column, b->block->block, c->values, c->null_space);
		if (type == MDB_VEC_BOOL)
		{
			/* From eight bytes to one, forwards in place. */
			for (uint32 i = 0; i < n; i++)
				((uint8 *) c->values)[i] = ((int64 *) c->values)[i] != 0;
		}
	}
	if (nnulls > 0)
	{
		c->nulls = c->null_space;
		if (type == MDB_VEC_BOOL)
			for (uint32 i = 0; i < n; i++)
				((uint8 *) c->values)[i] &= !c->nulls[i];
	}
}

/* ---------- operators ---------- */

static void
set_null(MdbVec *out)
{
	static const int64 zero = 0;

	out->values = &zero;
	out->nulls = NULL;
	out->constant = true;
	out->isnull = true;
}

/* Is the value there of what is fixed?  If a row needs it, it is by now. */
static bool
is_known(MdbVecExpr *e, const MdbVecBlock *b, const uint8 *active)
{
	if (likely(e->pending == NULL))
		return true;
	if (active && memchr(active + b->begin, 1, b->end - b->begin) == NULL)
		return false;
	mdb_vec_take(e, e->pending);
	return true;
}

/* NULL where one of two is. */
static const uint8 *
either_null(MdbVecExpr *e, MdbVecBlock *b, const MdbVec *x, const MdbVec *y)
{
	uint8 *nulls;

	if (x->nulls == NULL)
		return y->nulls;
	if (y->nulls == NULL)
		return x->nulls;
	nulls = room(b, (void **) &e->null_space, 1);
	for (uint32 i = b->begin; i < b->end; i++)
		nulls[i] = x->nulls[i] | y->nulls[i];
	return nulls;
}

/* x op y for all rows, either of which may be a constant; result is the expression's value. */
#define FOR_ROWS(T, R, result)                    \
	do                                            \
	{                                             \
		const T *xs = vx.values, *ys = vy.values; \
		R *rs = out_values;                       \
		if (vy.constant)                          \
		{                                         \
			T y = ys[0];                          \
			for (uint32 i = begin; i < end; i++)  \
			{                                     \
				T x = xs[i];                      \
				rs[i] = (result);                 \
			}                                     \
		}                                         \
		else if (vx.constant)                     \
		{                                         \
			T x = xs[0];                          \
			for (uint32 i = begin; i < end; i++)  \
			{                                     \
				T y = ys[i];                      \
				rs[i] = (result);                 \
			}                                     \
		}                                         \
		else                                      \
			for (uint32 i = begin; i < end; i++)  \
			{                                     \
				T x = xs[i], y = ys[i];           \
				rs[i] = (result);                 \
			}                                     \
	} while (0)

static inline bool
counts(const uint8 *active, const uint8 *nulls, uint32 i)
{
	return (active == NULL || active[i]) && (nulls == NULL || !nulls[i]);
}

/* Have PostgreSQL's own functions look at results that may be an error. */
static void
check_floats(const MdbVecExpr *e, const MdbVec *x, const MdbVec *y, const double *r, const uint8 *nulls,
			 const uint8 *active, uint32 begin, uint32 end)
{
	for (uint32 i = begin; i < end; i++)
	{
		double a, b;

		if ((isfinite(r[i]) && r[i] != 0) || !counts(active, nulls, i))
			continue;
		a = ((const double *) x->values)[x->constant ? 0 : i];
		b = ((const double *) y->values)[y->constant ? 0 : i];
		if (e->type == MDB_VEC_F32)
			switch (e->sub)
			{
				case ARITHMETIC_PLUS:
					(void) float4_pl((float4) a, (float4) b);
					break;
				case ARITHMETIC_MINUS:
					(void) float4_mi((float4) a, (float4) b);
					break;
				case ARITHMETIC_TIMES:
					(void) float4_mul((float4) a, (float4) b);
					break;
				default:
					(void) float4_div((float4) a, (float4) b);
					break;
			}
		else
			switch (e->sub)
			{
				case ARITHMETIC_PLUS:
					(void) float8_pl(a, b);
					break;
				case ARITHMETIC_MINUS:
					(void) float8_mi(a, b);
					break;
				case ARITHMETIC_TIMES:
					(void) float8_mul(a, b);
					break;
				default:
					(void) float8_div(a, b);
					break;
			}
	}
}

static void
float_arithmetic(const MdbVecExpr *e, MdbVec vx, MdbVec vy, double *out_values, const uint8 *nulls,
				 const uint8 *active, uint32 begin, uint32 end)
{
	int odd = 0;

	switch (e->sub)
	{
		case ARITHMETIC_PLUS:
			FOR_ROWS(double, double, x + y);
			break;
		case ARITHMETIC_MINUS:
			FOR_ROWS(double, double, x - y);
			break;
		case ARITHMETIC_TIMES:
			FOR_ROWS(double, double, x *y);
			break;
		default:
			FOR_ROWS(double, double, x / y);
			break;
	}
	/* Of two floats the result is a float: it was computed with enough digits to be rounded again. */
	if (e->type == MDB_VEC_F32)
		for (uint32 i = begin; i < end; i++)
			out_values[i] = (float) out_values[i];
	for (uint32 i = begin; i < end; i++)
		odd |= !(fabs(out_values[i]) <= DBL_MAX) | (out_values[i] == 0);
	if (odd)
		check_floats(e, &vx, &vy, out_values, nulls, active, begin, end);
}

pg_noreturn static void
int_out_of_range(const MdbVecExpr *e)
{
	ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					errmsg("%s out of range", e->base_type == INT2OID   ? "smallint"
											  : e->base_type == INT4OID ? "integer"
																		: "bigint")));
}

static void
int_arithmetic(const MdbVecExpr *e, MdbVec vx, MdbVec vy, int64 *r, const uint8 *nulls, const uint8 *active,
			   uint32 begin, uint32 end)
{
	int64 min = e->base_type == INT2OID   ? PG_INT16_MIN
				: e->base_type == INT4OID ? PG_INT32_MIN
										  : PG_INT64_MIN;
	int64 max = e->base_type == INT2OID   ? PG_INT16_MAX
				: e->base_type == INT4OID ? PG_INT32_MAX
										  : PG_INT64_MAX;

	for (uint32 i = begin; i < end; i++)
	{
		int64 x = ((const int64 *) vx.values)[vx.constant ? 0 : i];
		int64 y = ((const int64 *) vy.values)[vy.constant ? 0 : i];
		bool bad = false;

		switch (e->sub)
		{
			case ARITHMETIC_PLUS:
				bad = pg_add_s64_overflow(x, y, &r[i]);
				break;
			case ARITHMETIC_MINUS:
				bad = pg_sub_s64_overflow(x, y, &r[i]);
				break;
			case ARITHMETIC_TIMES:
				bad = pg_mul_s64_overflow(x, y, &r[i]);
				break;
			default:
				if (y == 0)
				{
					if (counts(active, nulls, i))
						ereport(ERROR, (errcode(ERRCODE_DIVISION_BY_ZERO), errmsg("division by zero")));
					r[i] = 0;
				}
				else if (y == -1)
					bad = pg_sub_s64_overflow(0, x, &r[i]);
				else
					r[i] = x / y;
				break;
		}
		if (bad)
			r[i] = 0;
		if ((bad || r[i] < min || r[i] > max) && counts(active, nulls, i))
			int_out_of_range(e);
	}
}

static void
eval_arithmetic(MdbVecExpr *e, MdbVecBlock *b, const uint8 *active, MdbVec *out)
{
	MdbVec x, y;

	mdb_vec_eval(e->args[0], b, active, &x);
	mdb_vec_eval(e->args[1], b, active, &y);
	if (x.isnull || y.isnull)
	{
		set_null(out);
		return;
	}
	if (x.constant && y.constant)
		mdb_vec_spread(e->args[0], b, &x);
	out->values = room(b, &e->space, sizeof(int64));
	out->nulls = either_null(e, b, &x, &y);
	if (e->type == MDB_VEC_INT)
		int_arithmetic(e, x, y, e->space, out->nulls, active, b->begin, b->end);
	else
		float_arithmetic(e, x, y, e->space, out->nulls, active, b->begin, b->end);
}

/* A NaN equals itself and is greater than all else. */
#define LT(x, y) (((x) < (y)) | (((x) == (x)) & ((y) != (y))))
#define LE(x, y) (((x) <= (y)) | ((y) != (y)))
#define EQ(x, y) (((x) == (y)) | (((x) != (x)) & ((y) != (y))))

static MDB_CLONES void
compare_floats(uint8 sub, MdbVec vx, MdbVec vy, uint8 *out_values, uint32 begin, uint32 end)
{
	switch (sub)
	{
		case MDB_COMPARE_LT:
			FOR_ROWS(double, uint8, LT(x, y));
			break;
		case MDB_COMPARE_LE:
			FOR_ROWS(double, uint8, LE(x, y));
			break;
		case MDB_COMPARE_EQ:
			FOR_ROWS(double, uint8, EQ(x, y));
			break;
		case MDB_COMPARE_GE:
			FOR_ROWS(double, uint8, LE(y, x));
			break;
		case MDB_COMPARE_GT:
			FOR_ROWS(double, uint8, LT(y, x));
			break;
		default:
			FOR_ROWS(double, uint8, !EQ(x, y));
			break;
	}
}

#define COMPARE_WHOLE(T)                \
	switch (sub)                        \
	{                                   \
		case MDB_COMPARE_LT:            \
			FOR_ROWS(T, uint8, x < y);  \
			break;                      \
		case MDB_COMPARE_LE:            \
			FOR_ROWS(T, uint8, x <= y); \
			break;                      \
		case MDB_COMPARE_EQ:            \
			FOR_ROWS(T, uint8, x == y); \
			break;                      \
		case MDB_COMPARE_GE:            \
			FOR_ROWS(T, uint8, x >= y); \
			break;                      \
		case MDB_COMPARE_GT:            \
			FOR_ROWS(T, uint8, x > y);  \
			break;                      \
		default:                        \
			FOR_ROWS(T, uint8, x != y); \
			break;                      \
	}

static MDB_CLONES void
compare_ints(uint8 sub, MdbVec vx, MdbVec vy, uint8 *out_values, uint32 begin, uint32 end)
{
	COMPARE_WHOLE(int64)
}

static MDB_CLONES void
compare_bools(uint8 sub, MdbVec vx, MdbVec vy, uint8 *out_values, uint32 begin, uint32 end)
{
	COMPARE_WHOLE(uint8)
}

/* What is NULL is not true. */
static void
nulls_are_false(MdbVecBlock *b, uint8 *values, const uint8 *nulls)
{
	if (nulls)
		for (uint32 i = b->begin; i < b->end; i++)
			values[i] &= !nulls[i];
}

static void
eval_compare(MdbVecExpr *e, MdbVecBlock *b, const uint8 *active, MdbVec *out)
{
	MdbVec x, y;
	uint8 *values;

	mdb_vec_eval(e->args[0], b, active, &x);
	mdb_vec_eval(e->args[1], b, active, &y);
	if (x.isnull || y.isnull)
	{
		set_null(out);
		return;
	}
	if (x.constant && y.constant)
		mdb_vec_spread(e->args[0], b, &x);
	values = room(b, &e->space, 1);
	if (e->args[0]->type == MDB_VEC_INT)
		compare_ints(e->sub, x, y, values, b->begin, b->end);
	else if (e->args[0]->type == MDB_VEC_BOOL)
		compare_bools(e->sub, x, y, values, b->begin, b->end);
	else
		compare_floats(e->sub, x, y, values, b->begin, b->end);
	out->values = values;
	out->nulls = either_null(e, b, &x, &y);
	nulls_are_false(b, values, out->nulls);
}

static void
eval_cast(MdbVecExpr *e, MdbVecBlock *b, const uint8 *active, MdbVec *out)
{
	MdbVec x;
	double *values;

	mdb_vec_eval(e->args[0], b, active, &x);
	if (x.isnull)
	{
		set_null(out);
		return;
	}
	mdb_vec_spread(e->args[0], b, &x);
	*out = x;
	if (e->type == e->args[0]->type || e->args[0]->type == MDB_VEC_F32)
		return;
	values = room(b, &e->space, sizeof(double));
	for (uint32 i = b->begin; i < b->end; i++)
	{
		int64 v = ((const int64 *) x.values)[i];

		values[i] = e->type == MDB_VEC_F32 ? (float) v : (double) v;
	}
	out->values = values;
}

static void
eval_negate(MdbVecExpr *e, MdbVecBlock *b, const uint8 *active, MdbVec *out)
{
	MdbVec x;

	mdb_vec_eval(e->args[0], b, active, &x);
	if (x.isnull)
	{
		set_null(out);
		return;
	}
	mdb_vec_spread(e->args[0], b, &x);
	out->values = room(b, &e->space, sizeof(int64));
	out->nulls = x.nulls;
	if (e->type == MDB_VEC_INT)
	{
		int64 min = e->base_type == INT2OID   ? PG_INT16_MIN
					: e->base_type == INT4OID ? PG_INT32_MIN
											  : PG_INT64_MIN;

		for (uint32 i = b->begin; i < b->end; i++)
		{
			int64 v = ((const int64 *) x.values)[i];

			if (v == min && counts(active, x.nulls, i))
				int_out_of_range(e);
			((int64 *) e->space)[i] = (int64) (0 - (uint64) v);
		}
	}
	else
		for (uint32 i = b->begin; i < b->end; i++)
			((double *) e->space)[i] = -((const double *) x.values)[i];
}

/* AND and OR: the next argument is asked only for rows that are not decided yet. */
static void
eval_and_or(MdbVecExpr *e, MdbVecBlock *b, const uint8 *active, MdbVec *out)
{
	bool is_and = e->op == VEC_AND;
	uint8 *values = room(b, &e->space, 1);
	uint8 *nulls = room(b, (void **) &e->null_space, 1);
	uint8 *mask = room(b, (void **) &e->mask, 1);

	for (uint32 i = b->begin; i < b->end; i++)
	{
		values[i] = is_and;
		nulls[i] = 0;
		mask[i] = active == NULL || active[i];
	}
	for (int a = 0; a < e->nargs; a++)
	{
		MdbVec x;
		const uint8 *v;

		mdb_vec_eval(e->args[a], b, mask, &x);
		if (x.constant)
		{
			uint8 c = !x.isnull && *(const uint8 *) x.values;

			for (uint32 i = b->begin; i < b->end; i++)
			{
				nulls[i] |= x.isnull;
				values[i] = is_and ? values[i] & (c | x.isnull) : values[i] | c;
				mask[i] &= is_and ? values[i] : !values[i];
			}
			continue;
		}
		/* values here: nothing was false so far, or something was true. */
		v = x.values;
		if (x.nulls == NULL)
			for (uint32 i = b->begin; i < b->end; i++)
			{
				values[i] = is_and ? values[i] & v[i] : values[i] | v[i];
				mask[i] &= is_and ? values[i] : !values[i];
			}
		else
			for (uint32 i = b->begin; i < b->end; i++)
			{
				values[i] = is_and ? values[i] & (v[i] | x.nulls[i]) : values[i] | v[i];
				nulls[i] |= x.nulls[i];
				mask[i] &= is_and ? values[i] : !values[i];
			}
	}
	for (uint32 i = b->begin; i < b->end; i++)
	{
		nulls[i] &= is_and ? values[i] : !values[i];
		values[i] &= !nulls[i];
	}
	out->values = values;
	out->nulls = nulls;
}

static void
eval_logic(MdbVecExpr *e, MdbVecBlock *b, const uint8 *active, MdbVec *out)
{
	MdbVec x;
	uint8 *values = room(b, &e->space, 1);

	mdb_vec_eval(e->args[0], b, active, &x);
	if (e->op == VEC_IS_NULL)
	{
		for (uint32 i = b->begin; i < b->end; i++)
			values[i] = (x.constant ? x.isnull : x.nulls != NULL && x.nulls[i]) != e->negated;
		out->values = values;
		return;
	}
	if (x.isnull && e->op == VEC_NOT)
	{
		set_null(out);
		return;
	}
	for (uint32 i = b->begin; i < b->end; i++)
	{
		bool null = x.isnull || (x.nulls != NULL && x.nulls[i]);
		uint8 v = ((const uint8 *) x.values)[x.constant ? 0 : i];

		if (e->op == VEC_NOT)
			values[i] = !v && !null;
		else
			values[i] = (e->want == 2 ? null : !null && v == e->want) != e->negated;
	}
	out->values = values;
	out->nulls = e->op == VEC_NOT ? x.nulls : NULL;
}

static inline bool
int_in(const MdbVecExpr *e, int64 v)
{
	int at = mdb_vec_list_int(e, v);

	return at < e->nlist && e->ints[at] == v;
}

static inline bool
double_in(const MdbVecExpr *e, double v)
{
	int at = mdb_vec_list_double(e, v);

	return at < e->nlist && float8_eq(e->doubles[at], v);
}

static void
eval_in(MdbVecExpr *e, MdbVecBlock *b, const uint8 *active, MdbVec *out)
{
	MdbVec x;
	uint8 *values = room(b, &e->space, 1);
	uint8 *nulls = room(b, (void **) &e->null_space, 1);

	/* Of an empty list the answer is known whatever is asked about. */
	if (!is_known(e, b, active) || e->isnull)
	{
		set_null(out);
		return;
	}
	mdb_vec_eval(e->args[0], b, active, &x);
	if (!x.isnull)
		mdb_vec_spread(e->args[0], b, &x);
	for (uint32 i = b->begin; i < b->end; i++)
	{
		bool null = x.isnull || (x.nulls != NULL && x.nulls[i]);
		bool in = false;

		if (e->nlist == 0 && !e->list_null)
			null = false;
		else if (!null)
		{
			in = e->args[0]->type == MDB_VEC_INT ? int_in(e, ((const int64 *) x.values)[i])
												 : double_in(e, ((const double *) x.values)[i]);
			null = !in && e->list_null;
		}
		nulls[i] = null;
		values[i] = in != e->negated && !null;
	}
	out->values = values;
	out->nulls = nulls;
}

static void
eval_case(MdbVecExpr *e, MdbVecBlock *b, const uint8 *active, MdbVec *out)
{
	Size width = e->type == MDB_VEC_BOOL ? 1 : sizeof(int64);
	char *values = room(b, &e->space, width);
	uint8 *nulls = room(b, (void **) &e->null_space, 1);
	/* Rows still to be decided, and those of the present branch. */
	uint8 *left = palloc(MDB_VECTOR_ROOM);
	uint8 *mine = palloc(MDB_VECTOR_ROOM);

	for (uint32 i = b->begin; i < b->end; i++)
		left[i] = active == NULL || active[i];
	memset(values + b->begin * width, 0, (b->end - b->begin) * width);
	memset(nulls + b->begin, 1, b->end - b->begin);
	for (int a = 0; a < e->nargs; a += 2)
	{
		bool last = a == e->nargs - 1;
		MdbVec when, then;

		if (last)
			memcpy(mine + b->begin, left + b->begin, b->end - b->begin);
		else
		{
			mdb_vec_eval(e->args[a], b, left, &when);
			for (uint32 i = b->begin; i < b->end; i++)
			{
				mine[i] = left[i] && !when.isnull && ((const uint8 *) when.values)[when.constant ? 0 : i];
				left[i] &= !mine[i];
			}
		}
		mdb_vec_eval(e->args[last ? a : a + 1], b, mine, &then);
		for (uint32 i = b->begin; i < b->end; i++)
			if (mine[i])
			{
				nulls[i] = then.isnull || (then.nulls != NULL && then.nulls[i]);
				if (width == 1)
					values[i] = !nulls[i] && ((const uint8 *) then.values)[then.constant ? 0 : i];
				else if (!then.isnull)
					((int64 *) values)[i] = ((const int64 *) then.values)[then.constant ? 0 : i];
			}
	}
	pfree(left);
	pfree(mine);
	out->values = values;
	out->nulls = nulls;
}

/*
 * mdb_vec_spread - a constant that is not NULL as values of rows.
 */
void
mdb_vec_spread(MdbVecExpr *e, MdbVecBlock *b, MdbVec *vec)
{
	if (!vec->constant || vec->isnull)
		return;
	room(b, &e->space, sizeof(int64));
	if (e->type == MDB_VEC_BOOL)
		memset(e->space, *(const uint8 *) vec->values, b->block->nrows);
	else
		for (uint32 i = b->begin; i < b->end; i++)
			((int64 *) e->space)[i] = *(const int64 *) vec->values;
	vec->values = e->space;
	vec->constant = false;
}

/*
 * mdb_vec_eval - the values of an expression for rows begin to end of a block.
 *
 * active tells which rows matter, NULL = all.  The result is good until the expression is evaluated again,
 * or the block is left.
 */
void
mdb_vec_eval(MdbVecExpr *e, MdbVecBlock *b, const uint8 *active, MdbVec *out)
{
	memset(out, 0, sizeof(*out));
	switch (e->op)
	{
		case VEC_COLUMN:
		{
			MdbVecColumn *c = &b->columns[e->attno - 1];

			if (c->serial != b->serial)
				read_column(b, e->attno - 1, e->type);
			out->values = c->values;
			out->nulls = c->nulls;
			break;
		}
		case VEC_FIXED:
			if (!is_known(e, b, active))
			{
				set_null(out);
				break;
			}
			out->constant = true;
			out->isnull = e->isnull;
			out->values = &e->fixed;
			break;
		case VEC_SERIES:
			mdb_vec_series_eval(e, b, active, room(b, &e->space, sizeof(int64)),
								room(b, (void **) &e->null_space, 1), out);
			break;
		case VEC_ARITHMETIC:
			eval_arithmetic(e, b, active, out);
			break;
		case VEC_NEGATE:
			eval_negate(e, b, active, out);
			break;
		case VEC_CAST:
			eval_cast(e, b, active, out);
			break;
		case VEC_COMPARE:
			eval_compare(e, b, active, out);
			break;
		case VEC_AND:
		case VEC_OR:
			eval_and_or(e, b, active, out);
			break;
		case VEC_NOT:
		case VEC_IS_NULL:
		case VEC_IS_TRUE:
			eval_logic(e, b, active, out);
			break;
		case VEC_IN:
			eval_in(e, b, active, out);
			break;
		case VEC_CASE:
			eval_case(e, b, active, out);
			break;
		case VEC_OF_TIME:
			mdb_vec_of_time_eval(e, b, active, out);
			break;
	}
}
