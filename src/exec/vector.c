/*
 * vector.c
 *	  Which expressions can be evaluated for whole blocks.
 *
 * Taken are columns, constants and what is fixed during a scan; whatever uses series columns alone; + - * / and minus
 * of integers and floats; casts between them that lose nothing; comparisons, IN, IS NULL, IS TRUE and their kin; AND,
 * OR, NOT; CASE; what is constant for stretches of time.  An expression that has anything else is not taken at all,
 * and the query is left to core.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/array.h"
#include "utils/date.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "exec/pushdown.h"
#include "exec/series_turn.h"
#include "exec/vector_internal.h"

/*
 * mdb_vec_type - how values of a type are kept; MDB_VEC_OTHER if they are not.
 */
MdbVecType
mdb_vec_type(Oid type)
{
	switch (getBaseType(type))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return MDB_VEC_INT;
		case FLOAT8OID:
			return MDB_VEC_F64;
		case FLOAT4OID:
			return MDB_VEC_F32;
		case BOOLOID:
			return MDB_VEC_BOOL;
	}
	return MDB_VEC_OTHER;
}

MdbVecType
mdb_vec_type_of(const MdbVecExpr *expr)
{
	return expr->type;
}

/*
 * mdb_vec_column_of - the column, if the expression is one; else 0.
 */
AttrNumber
mdb_vec_column_of(const MdbVecExpr *expr)
{
	return expr->op == VEC_COLUMN ? expr->attno : 0;
}

/*
 * mdb_vec_cannot_fail - is there no value for which evaluating the expression is an error?
 */
bool
mdb_vec_cannot_fail(const MdbVecExpr *expr)
{
	if (expr->op == VEC_ARITHMETIC || expr->op == VEC_NEGATE || expr->op == VEC_OF_TIME || expr->may_fail)
		return false;
	for (int i = 0; i < expr->nargs; i++)
		if (!mdb_vec_cannot_fail(expr->args[i]))
			return false;
	return true;
}

/* ---------- from a tree of PostgreSQL's to one of ours ---------- */

typedef struct Compiling
{
	const MdbTable *table;
	Index varno;
	PlanState *ps; /* NULL: it is only asked whether it works */
} Compiling;

static MdbVecExpr *compile(Compiling *c, Node *node);

static MdbVecExpr *
make_expr(MdbVecOp op, Oid type, int nargs)
{
	MdbVecExpr *e = palloc0(sizeof(MdbVecExpr));

	e->op = op;
	e->base_type = getBaseType(type);
	e->type = mdb_vec_type(type);
	e->nargs = nargs;
	e->args = palloc0(sizeof(MdbVecExpr *) * Max(1, nargs));
	return e;
}

static bool
compile_args(Compiling *c, MdbVecExpr *e, List *args)
{
	ListCell *lc;
	int i = 0;

	foreach (lc, args)
		if ((e->args[i++] = compile(c, lfirst(lc))) == NULL)
			return false;
	return true;
}

/* + - * / of which types?  Returns ARITHMETIC_*, -1 if it is none of those that can be done. */
static int
arithmetic_of(Oid function)
{
	switch (function)
	{
		case F_FLOAT8PL:
		case F_FLOAT4PL:
		case F_FLOAT48PL:
		case F_FLOAT84PL:
		case F_INT2PL:
		case F_INT4PL:
		case F_INT8PL:
		case F_INT24PL:
		case F_INT42PL:
		case F_INT28PL:
		case F_INT82PL:
		case F_INT48PL:
		case F_INT84PL:
			return ARITHMETIC_PLUS;
		case F_FLOAT8MI:
		case F_FLOAT4MI:
		case F_FLOAT48MI:
		case F_FLOAT84MI:
		case F_INT2MI:
		case F_INT4MI:
		case F_INT8MI:
		case F_INT24MI:
		case F_INT42MI:
		case F_INT28MI:
		case F_INT82MI:
		case F_INT48MI:
		case F_INT84MI:
			return ARITHMETIC_MINUS;
		case F_FLOAT8MUL:
		case F_FLOAT4MUL:
		case F_FLOAT48MUL:
		case F_FLOAT84MUL:
		case F_INT2MUL:
		case F_INT4MUL:
		case F_INT8MUL:
		case F_INT24MUL:
		case F_INT42MUL:
		case F_INT28MUL:
		case F_INT82MUL:
		case F_INT48MUL:
		case F_INT84MUL:
			return ARITHMETIC_TIMES;
		case F_FLOAT8DIV:
		case F_FLOAT4DIV:
		case F_FLOAT48DIV:
		case F_FLOAT84DIV:
		case F_INT2DIV:
		case F_INT4DIV:
		case F_INT8DIV:
		case F_INT24DIV:
		case F_INT42DIV:
		case F_INT28DIV:
		case F_INT82DIV:
		case F_INT48DIV:
		case F_INT84DIV:
			return ARITHMETIC_OVER;
	}
	return -1;
}

/* Casts of numbers that keep every value, or round as our reading of int64 as a float does. */
static bool
is_cast(Oid function)
{
	switch (function)
	{
		case F_FLOAT8_FLOAT4:
		case F_FLOAT8_INT2:
		case F_FLOAT8_INT4:
		case F_FLOAT8_INT8:
		case F_FLOAT4_INT2:
		case F_FLOAT4_INT4:
		case F_FLOAT4_INT8:
		case F_INT4_INT2:
		case F_INT8_INT2:
		case F_INT8_INT4:
			return true;
	}
	return false;
}

/* Which comparison, among types that are kept alike?  COMPARE_*, or -1. */
static int
comparison_of(Oid opno)
{
	Oid left, right, negator, family;

	op_input_types(opno, &left, &right);
	/* A date and a timestamp are of one family, but counted in different units. */
	if (mdb_vec_type(left) == MDB_VEC_OTHER || mdb_vec_type(right) == MDB_VEC_OTHER ||
		(left != right && (left == DATEOID || right == DATEOID || left == TIMESTAMPOID ||
						   right == TIMESTAMPOID || left == TIMESTAMPTZOID || right == TIMESTAMPTZOID)))
		return -1;
	family = lookup_type_cache(left, TYPECACHE_BTREE_OPFAMILY)->btree_opf;
	switch (get_op_opfamily_strategy(opno, family))
	{
		case BTLessStrategyNumber:
			return MDB_COMPARE_LT;
		case BTLessEqualStrategyNumber:
			return MDB_COMPARE_LE;
		case BTEqualStrategyNumber:
			return MDB_COMPARE_EQ;
		case BTGreaterEqualStrategyNumber:
			return MDB_COMPARE_GE;
		case BTGreaterStrategyNumber:
			return MDB_COMPARE_GT;
	}
	negator = get_negator(opno);
	if (OidIsValid(negator) && get_op_opfamily_strategy(negator, family) == BTEqualStrategyNumber)
		return MDB_COMPARE_NE;
	return -1;
}

static bool
function_may_fail(Oid function, void *context)
{
	return !get_func_leakproof(function) && function != F_NOW && function != F_TIMESTAMPTZ_PL_INTERVAL &&
		   function != F_TIMESTAMPTZ_MI_INTERVAL;
}

/* May evaluating an expression be an error? */
static bool
may_fail(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, CoerceToDomain) || check_functions_in_node(node, function_may_fail, NULL))
		return true;
	return expression_tree_walker(node, may_fail, context);
}

/*
 * Does an expression not depend on the row, and have the same value all through a scan?  Columns of other
 * tables are fixed for a scan that is started over for each of their rows.
 */
static bool
is_fixed(const Compiling *c, Node *node)
{
	return !bms_is_member(c->varno, pull_varnos(NULL, node)) && !contain_volatile_functions(node) &&
		   !contain_subplans(node) && !contain_agg_clause(node);
}

static MdbVecExpr *
compile_fixed(Compiling *c, Node *node, Oid type)
{
	MdbVecExpr *e;

	if (!is_fixed(c, node))
		return NULL;
	e = make_expr(VEC_FIXED, type, 0);
	if (e->type == MDB_VEC_OTHER)
		return NULL;
	e->fixed_type = type;
	e->may_fail = may_fail(node, NULL);
	if (c->ps)
		e->state = ExecInitExpr((Expr *) node, c->ps);
	return e;
}

/* What is the same for all rows of a series. */
static MdbVecExpr *
compile_series(Compiling *c, Node *node)
{
	MdbVecExpr *e;

	if (!mdb_vec_series_fits(c->table, c->varno, node))
		return NULL;
	e = make_expr(VEC_SERIES, exprType(node), 0);
	e->fixed_type = exprType(node);
	e->may_fail = mdb_turn_clause_may_fail(node, c->varno);
	if (c->ps)
	{
		e->state = ExecInitExpr((Expr *) node, c->ps);
		e->series = mdb_vec_series_begin();
	}
	return e;
}

static MdbVecExpr *
compile_call(Compiling *c, Oid function, Oid opno, Oid result, List *args)
{
	MdbVecExpr *e;
	int which;

	if (list_length(args) == 2 && (which = arithmetic_of(function)) >= 0)
	{
		e = make_expr(VEC_ARITHMETIC, result, 2);
		e->sub = which;
		return compile_args(c, e, args) ? e : NULL;
	}
	if (list_length(args) == 2 && OidIsValid(opno) && (which = comparison_of(opno)) >= 0)
	{
		e = make_expr(VEC_COMPARE, BOOLOID, 2);
		e->sub = which;
		return compile_args(c, e, args) ? e : NULL;
	}
	if (list_length(args) == 1 && is_cast(function))
	{
		e = make_expr(VEC_CAST, result, 1);
		return compile_args(c, e, args) ? e : NULL;
	}
	if (list_length(args) == 1 && (function == F_FLOAT8UM || function == F_FLOAT4UM || function == F_INT2UM ||
								   function == F_INT4UM || function == F_INT8UM))
	{
		e = make_expr(VEC_NEGATE, result, 1);
		return compile_args(c, e, args) ? e : NULL;
	}
	return NULL;
}

/* An expression over the time alone that is constant for stretches of it. */
static MdbVecExpr *
compile_of_time(Compiling *c, Node *node)
{
	MdbVecExpr *e = make_expr(VEC_OF_TIME, exprType(node), 0);

	return e->type != MDB_VEC_OTHER && mdb_vec_of_time(e, c->table, c->varno, node, c->ps) ? e : NULL;
}

static MdbVecExpr *
compile_in(Compiling *c, ScalarArrayOpExpr *in)
{
	MdbVecExpr *e;
	Node *list = lsecond(in->args);
	int which = comparison_of(in->opno);
	Oid element = get_element_type(getBaseType(exprType(list)));

	if (!((in->useOr && which == MDB_COMPARE_EQ) || (!in->useOr && which == MDB_COMPARE_NE)) ||
		!is_fixed(c, list) || mdb_vec_type(element) == MDB_VEC_OTHER)
		return NULL;
	e = make_expr(VEC_IN, BOOLOID, 1);
	e->negated = !in->useOr;
	e->fixed_type = element;
	e->may_fail = may_fail(list, NULL);
	if ((e->args[0] = compile(c, linitial(in->args))) == NULL || e->args[0]->type == MDB_VEC_BOOL)
		return NULL;
	if (c->ps)
		e->state = ExecInitExpr((Expr *) list, c->ps);
	return e;
}

static MdbVecExpr *
compile_case(Compiling *c, CaseExpr *expr)
{
	MdbVecExpr *e = make_expr(VEC_CASE, expr->casetype, 2 * list_length(expr->args) + 1);
	ListCell *lc;
	int i = 0;

	if (expr->arg != NULL || e->type == MDB_VEC_OTHER)
		return NULL;
	foreach (lc, expr->args)
	{
		CaseWhen *when = lfirst_node(CaseWhen, lc);

		if ((e->args[i++] = compile(c, (Node *) when->expr)) == NULL ||
			(e->args[i++] = compile(c, (Node *) when->result)) == NULL)
			return NULL;
	}
	e->args[i] = expr->defresult ? compile(c, (Node *) expr->defresult)
								 : compile_fixed(c, (Node *) makeNullConst(expr->casetype, -1, InvalidOid),
												 expr->casetype);
	if (e->args[i] == NULL)
		return NULL;
	for (i = 0; i < e->nargs; i++)
		if (i % 2 == 0 && i < e->nargs - 1 ? e->args[i]->type != MDB_VEC_BOOL : e->args[i]->type != e->type)
			return NULL;
	return e;
}

static MdbVecExpr *
compile(Compiling *c, Node *node)
{
	MdbVecExpr *e;

	check_stack_depth();
	if (!IsA(node, Var) && (e = compile_fixed(c, node, exprType(node))) != NULL)
		return e;
	if ((e = compile_series(c, node)) != NULL)
		return e;
	switch (nodeTag(node))
	{
		case T_Var:
		{
			Var *var = (Var *) node;

			if (var->varno != c->varno)
				return compile_fixed(c, node, var->vartype);
			if (var->varlevelsup != 0 || var->varattno <= 0 || var->varattno > c->table->natts)
				return NULL;
			if (c->table->columns[var->varattno - 1].role != MDB_ROLE_VALUE &&
				c->table->columns[var->varattno - 1].role != MDB_ROLE_TIME)
				return NULL;
			e = make_expr(VEC_COLUMN, var->vartype, 0);
			e->attno = var->varattno;
			return e;
		}
		case T_RelabelType:
		{
			RelabelType *relabel = (RelabelType *) node;

			/* Only to another name of the same type. */
			if (getBaseType(relabel->resulttype) != getBaseType(exprType((Node *) relabel->arg)))
				return NULL;
			return compile(c, (Node *) relabel->arg);
		}
		case T_OpExpr:
		{
			OpExpr *op = (OpExpr *) node;

			e = compile_call(c, OidIsValid(op->opfuncid) ? op->opfuncid : get_opcode(op->opno), op->opno,
							 op->opresulttype, op->args);
			return e ? e : compile_of_time(c, node);
		}
		case T_FuncExpr:
		{
			FuncExpr *f = (FuncExpr *) node;

			e = compile_call(c, f->funcid, InvalidOid, f->funcresulttype, f->args);
			return e ? e : compile_of_time(c, node);
		}
		case T_BoolExpr:
		{
			BoolExpr *b = (BoolExpr *) node;

			e = make_expr(b->boolop == AND_EXPR  ? VEC_AND
						  : b->boolop == OR_EXPR ? VEC_OR
												 : VEC_NOT,
						  BOOLOID, list_length(b->args));
			if (!compile_args(c, e, b->args))
				return NULL;
			for (int i = 0; i < e->nargs; i++)
				if (e->args[i]->type != MDB_VEC_BOOL)
					return NULL;
			return e;
		}
		case T_NullTest:
		{
			NullTest *t = (NullTest *) node;

			if (t->argisrow)
				return NULL;
			e = make_expr(VEC_IS_NULL, BOOLOID, 1);
			e->negated = t->nulltesttype == IS_NOT_NULL;
			return (e->args[0] = compile(c, (Node *) t->arg)) ? e : NULL;
		}
		case T_BooleanTest:
		{
			BooleanTest *t = (BooleanTest *) node;

			e = make_expr(VEC_IS_TRUE, BOOLOID, 1);
			e->want = t->booltesttype == IS_TRUE || t->booltesttype == IS_NOT_TRUE     ? 1
					  : t->booltesttype == IS_FALSE || t->booltesttype == IS_NOT_FALSE ? 0
																					   : 2;
			e->negated = t->booltesttype == IS_NOT_TRUE || t->booltesttype == IS_NOT_FALSE ||
						 t->booltesttype == IS_NOT_UNKNOWN;
			return (e->args[0] = compile(c, (Node *) t->arg)) && e->args[0]->type == MDB_VEC_BOOL ? e : NULL;
		}
		case T_ScalarArrayOpExpr:
			return compile_in(c, (ScalarArrayOpExpr *) node);
		case T_CaseExpr:
			return compile_case(c, (CaseExpr *) node);
		default:
			return NULL;
	}
}

/* Operands but for those of IS NULL are of kinds that operators were written for. */
static bool
operands_fit(const MdbVecExpr *e)
{
	for (int i = 0; i < e->nargs; i++)
		if (!operands_fit(e->args[i]) || (e->args[i]->type == MDB_VEC_OTHER && e->op != VEC_IS_NULL))
			return false;
	if (e->op == VEC_COMPARE || e->op == VEC_ARITHMETIC)
	{
		bool a = e->args[0]->type == MDB_VEC_F64 || e->args[0]->type == MDB_VEC_F32;
		bool b = e->args[1]->type == MDB_VEC_F64 || e->args[1]->type == MDB_VEC_F32;

		return a == b && (e->args[0]->type == MDB_VEC_BOOL) == (e->args[1]->type == MDB_VEC_BOOL);
	}
	return true;
}

/*
 * mdb_vec_compile - an expression over the columns of range table entry varno, to be evaluated by blocks.
 *
 * NULL if it cannot be.  With ps NULL that is all that the result is good for.  The result lives in the
 * current memory context.
 */
MdbVecExpr *
mdb_vec_compile(const MdbTable *table, Index varno, Node *node, PlanState *ps)
{
	Compiling c = {.table = table, .varno = varno, .ps = ps};
	MdbVecExpr *e = compile(&c, node);

	return e != NULL && operands_fit(e) ? e : NULL;
}

/* ---------- before a scan ---------- */

static int
compare_ints(const void *a, const void *b)
{
	int64 x = *(const int64 *) a, y = *(const int64 *) b;

	return x < y ? -1 : x > y;
}

static int
compare_doubles(const void *a, const void *b)
{
	return float8_cmp_internal(*(const double *) a, *(const double *) b);
}

/*
 * mdb_vec_int_of - a value of a type that is kept as MDB_VEC_INT.
 */
int64
mdb_vec_int_of(Oid type, Datum value)
{
	switch (getBaseType(type))
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
		case DATEOID:
			return DatumGetInt32(value);
		default:
			return DatumGetInt64(value);
	}
}

/* The list may be another, and of another length, each time. */
static void
prepare_list(MdbVecExpr *e, Datum value, bool isnull)
{
	ArrayType *array;
	Datum *values;
	bool *nulls;
	int n = 0;
	int16 len;
	bool byval;
	char align;

	e->nlist = 0;
	e->list_null = false;
	e->isnull = isnull;
	if (isnull)
		return;
	array = DatumGetArrayTypeP(value);
	get_typlenbyvalalign(ARR_ELEMTYPE(array), &len, &byval, &align);
	deconstruct_array(array, ARR_ELEMTYPE(array), len, byval, align, &values, &nulls, &n);
	if (n > e->list_room)
	{
		if (e->list_room > 0)
		{
			pfree(e->ints);
			pfree(e->doubles);
		}
		e->list_room = n;
		e->ints = MemoryContextAllocHuge(GetMemoryChunkContext(e), sizeof(int64) * n);
		e->doubles = MemoryContextAllocHuge(GetMemoryChunkContext(e), sizeof(double) * n);
	}
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			e->list_null = true;
		else if (mdb_vec_type(e->fixed_type) == MDB_VEC_F64)
			e->doubles[e->nlist++] = DatumGetFloat8(values[i]);
		else if (mdb_vec_type(e->fixed_type) == MDB_VEC_F32)
			e->doubles[e->nlist++] = DatumGetFloat4(values[i]);
		else
			e->ints[e->nlist++] = mdb_vec_int_of(e->fixed_type, values[i]);
	}
	pfree(values);
	pfree(nulls);
	if (e->nlist == 0)
		return;
	if (e->args[0]->type == MDB_VEC_INT)
		qsort(e->ints, e->nlist, sizeof(int64), compare_ints);
	else
		qsort(e->doubles, e->nlist, sizeof(double), compare_doubles);
}

/*
 * mdb_vec_take - take the value of this moment of what is fixed during a scan.
 */
void
mdb_vec_take(MdbVecExpr *e, ExprContext *econtext)
{
	bool isnull;
	Datum value = ExecEvalExprSwitchContext(e->state, econtext, &isnull);

	e->pending = NULL;
	if (e->op == VEC_IN)
	{
		MemoryContext old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);

		prepare_list(e, value, isnull);
		MemoryContextSwitchTo(old);
		return;
	}
	e->isnull = isnull;
	memset(&e->fixed, 0, sizeof(e->fixed));
	if (isnull)
		return;
	switch (e->type)
	{
		case MDB_VEC_F64:
			e->fixed.d = DatumGetFloat8(value);
			break;
		case MDB_VEC_F32:
			e->fixed.d = DatumGetFloat4(value);
			break;
		case MDB_VEC_BOOL:
			e->fixed.b = DatumGetBool(value);
			break;
		default:
			e->fixed.i = mdb_vec_int_of(e->fixed_type, value);
			break;
	}
}

/*
 * mdb_vec_prepare - from now on what is fixed during a scan has the values of this moment.
 *
 * What may be an error waits for a row that needs it, as core would evaluate it then; econtext is that of the
 * scan, and is there as long.
 */
void
mdb_vec_prepare(MdbVecExpr *e, ExprContext *econtext)
{
	for (int i = 0; i < e->nargs; i++)
		mdb_vec_prepare(e->args[i], econtext);
	if (e->op == VEC_OF_TIME)
		mdb_vec_of_time_prepare(e, econtext);
	else if (e->op == VEC_SERIES)
		mdb_vec_series_prepare(e->series, econtext);
	else if (e->state && e->may_fail)
		e->pending = econtext;
	else if (e->state)
		mdb_vec_take(e, econtext);
}
