/*
 * vector_range.c
 *	  What the directory of a part tells of the values in a block, and what that says of conditions.
 */
#include "postgres.h"

#include <math.h>

#include "exec/vector_internal.h"

/*
 * mdb_range_of - the values of a column in a block, as far as the part's directory tells.
 */
void
mdb_range_of(const MdbTable *table, MdbPart *part, int block, AttrNumber attno, MdbVecRange *r)
{
	const MdbBlockStats *s;
	int column;
	int64 nnulls, nvalues;

	memset(r, 0, sizeof(*r));
	if (attno == table->time_attno)
	{
		r->known = true;
		r->all_null = r->some_null = !part->has_time;
		if (part->has_time)
		{
			r->min.i = part->time_first[block];
			r->max.i = part->time_last[block];
		}
		return;
	}
	column = mdb_part_column_index(part, attno);
	if (column < 0 || part->columns[column].phys != table->columns[attno - 1].phys)
		return;
	mdb_part_load_column(part, column);
	nnulls = part->columns[column].nnulls[block];
	nvalues = part->block_rows[block] - nnulls;
	r->known = true;
	r->some_null = nnulls > 0;
	r->all_null = nvalues == 0;
	/* Of what is kept as bytes it is only asked whether it is NULL. */
	s = mdb_part_stats(part, column);
	if (s == NULL)
		return;
	if (part->columns[column].phys == MDB_I64)
	{
		r->min.i = s->imin[block];
		r->max.i = s->imax[block];
	}
	else
	{
		r->min.d = s->fmin[block];
		r->max.d = s->fmax[block];
		r->some_nan = s->nnans[block] > 0;
		r->only_nan = s->nnans[block] == nvalues;
	}
}

/* a op b for a range of values of a; NULLs and NaN are the caller's. */
#define RANGE_VERDICT(op, min, max, b)                                     \
	((op) == MDB_COMPARE_LT   ? ((max) < (b)    ? MDB_ALL                  \
								 : (min) >= (b) ? MDB_NONE                 \
												: MDB_SOME)                \
	 : (op) == MDB_COMPARE_LE ? ((max) <= (b)  ? MDB_ALL                   \
								 : (min) > (b) ? MDB_NONE                  \
											   : MDB_SOME)                 \
	 : (op) == MDB_COMPARE_GT ? ((min) > (b)    ? MDB_ALL                  \
								 : (max) <= (b) ? MDB_NONE                 \
												: MDB_SOME)                \
	 : (op) == MDB_COMPARE_GE ? ((min) >= (b)  ? MDB_ALL                   \
								 : (max) < (b) ? MDB_NONE                  \
											   : MDB_SOME)                 \
	 : (op) == MDB_COMPARE_EQ ? ((min) == (b) && (max) == (b) ? MDB_ALL    \
								 : (b) < (min) || (b) > (max) ? MDB_NONE   \
															  : MDB_SOME)  \
							  : ((b) < (min) || (b) > (max)     ? MDB_ALL  \
								 : (min) == (b) && (max) == (b) ? MDB_NONE \
																: MDB_SOME))

static MdbVerdict
verdict_of_comparison(const MdbVecExpr *e, MdbVecRangeOf range_of, void *arg)
{
	static const uint8 turned[] = {MDB_COMPARE_GT, MDB_COMPARE_GE, MDB_COMPARE_EQ,
								   MDB_COMPARE_LE, MDB_COMPARE_LT, MDB_COMPARE_NE};
	const MdbVecExpr *column = e->args[0];
	const MdbVecExpr *value = e->args[1];
	uint8 op = e->sub;
	MdbVecRange r;
	MdbVerdict v;

	if (column->op != VEC_COLUMN && column->op != VEC_OF_TIME)
	{
		column = e->args[1];
		value = e->args[0];
		op = turned[op];
	}
	if ((column->op != VEC_COLUMN && column->op != VEC_OF_TIME) || value->op != VEC_FIXED || value->pending ||
		column->type == MDB_VEC_BOOL)
		return MDB_SOME;
	if (value->isnull)
		return MDB_NONE;
	range_of(arg, column->attno, &r);
	if (!r.known)
		return MDB_SOME;
	if (r.all_null)
		return MDB_NONE;
	if (column->op == VEC_OF_TIME && !mdb_vec_of_time_range(column, &r))
		return MDB_SOME;
	if (column->type == MDB_VEC_INT)
		v = RANGE_VERDICT(op, r.min.i, r.max.i, value->fixed.i);
	else if (isnan(value->fixed.d) || r.only_nan)
		v = MDB_SOME;
	else
	{
		v = RANGE_VERDICT(op, r.min.d, r.max.d, value->fixed.d);
		/* A NaN is greater than all others. */
		if (r.some_nan && v == MDB_NONE &&
			(op == MDB_COMPARE_GT || op == MDB_COMPARE_GE || op == MDB_COMPARE_NE))
			v = MDB_SOME;
		if (r.some_nan && v == MDB_ALL &&
			(op == MDB_COMPARE_LT || op == MDB_COMPARE_LE || op == MDB_COMPARE_EQ))
			v = MDB_SOME;
	}
	return v == MDB_ALL && r.some_null ? MDB_SOME : v;
}

static MdbVerdict
verdict_of_list(const MdbVecExpr *e, MdbVecRangeOf range_of, void *arg)
{
	const MdbVecExpr *column = e->args[0];
	MdbVecRange r;
	int at;

	if (e->negated || e->pending || column->op != VEC_COLUMN)
		return MDB_SOME;
	if (e->isnull || e->nlist == 0)
		return MDB_NONE;
	range_of(arg, column->attno, &r);
	if (!r.known)
		return MDB_SOME;
	if (r.all_null)
		return MDB_NONE;
	if (column->type == MDB_VEC_INT)
	{
		at = mdb_vec_list_int(e, r.min.i);
		return at < e->nlist && e->ints[at] <= r.max.i ? MDB_SOME : MDB_NONE;
	}
	/* A NaN comes last. */
	if (r.only_nan || isnan(e->doubles[e->nlist - 1]))
		return MDB_SOME;
	at = mdb_vec_list_double(e, r.min.d);
	return at < e->nlist && e->doubles[at] <= r.max.d ? MDB_SOME : MDB_NONE;
}

/* Of a column of booleans, or of its negation. */
static MdbVerdict
verdict_of_flag(const MdbVecExpr *column, bool wanted, MdbVecRangeOf range_of, void *arg)
{
	MdbVecRange r;

	range_of(arg, column->attno, &r);
	if (!r.known)
		return MDB_SOME;
	if (r.all_null || (wanted ? r.max.i == 0 : r.min.i != 0))
		return MDB_NONE;
	return !r.some_null && (wanted ? r.min.i != 0 : r.max.i == 0) ? MDB_ALL : MDB_SOME;
}

/*
 * mdb_vec_verdict - what a condition comes to for all rows of a block, as far as ranges of values tell.
 *
 * MDB_NONE: it is true for no row; MDB_ALL: it is true for every row; MDB_SOME: they have to be looked at.
 */
MdbVerdict
mdb_vec_verdict(const MdbVecExpr *e, MdbVecRangeOf range_of, void *arg)
{
	MdbVecRange r;
	bool all = true, none = true;

	switch (e->op)
	{
		case VEC_COLUMN:
			return verdict_of_flag(e, true, range_of, arg);
		case VEC_NOT:
			return e->args[0]->op == VEC_COLUMN ? verdict_of_flag(e->args[0], false, range_of, arg)
												: MDB_SOME;
		case VEC_FIXED:
			return e->pending ? MDB_SOME : e->isnull || !e->fixed.b ? MDB_NONE : MDB_ALL;
		case VEC_COMPARE:
			return verdict_of_comparison(e, range_of, arg);
		case VEC_IN:
			return verdict_of_list(e, range_of, arg);
		case VEC_IS_NULL:
			if (e->args[0]->op != VEC_COLUMN)
				return MDB_SOME;
			range_of(arg, e->args[0]->attno, &r);
			if (!r.known || (r.some_null && !r.all_null))
				return MDB_SOME;
			return r.all_null != e->negated ? MDB_ALL : MDB_NONE;
		case VEC_AND:
			for (int i = 0; i < e->nargs; i++)
			{
				MdbVerdict v = mdb_vec_verdict(e->args[i], range_of, arg);

				if (v == MDB_NONE)
					return MDB_NONE;
				all = all && v == MDB_ALL;
			}
			return all ? MDB_ALL : MDB_SOME;
		case VEC_OR:
			for (int i = 0; i < e->nargs; i++)
			{
				MdbVerdict v = mdb_vec_verdict(e->args[i], range_of, arg);

				if (v == MDB_ALL)
					return MDB_ALL;
				none = none && v == MDB_NONE;
			}
			return none ? MDB_NONE : MDB_SOME;
		default:
			return MDB_SOME;
	}
}
