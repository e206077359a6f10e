/*
 * agg_kind.c
 *	  Aggregates of MetricsAgg: which are known.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_aggregate.h"
#include "nodes/nodeFuncs.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "exec/agg_node.h"
#include "exec/agg_own.h"
#include "metricsdb.h"

static bool
aggregate_kind(Oid function, MdbAggKind *kind)
{
	char *name;

	switch (function)
	{
		case F_COUNT_:
		case F_COUNT_ANY:
			*kind = MDB_AGG_COUNT;
			return true;
		case F_SUM_INT2:
		case F_SUM_INT4:
		case F_SUM_INT8:
		case F_SUM_FLOAT4:
		case F_SUM_FLOAT8:
			*kind = MDB_AGG_SUM;
			return true;
		case F_AVG_INT2:
		case F_AVG_INT4:
		case F_AVG_INT8:
		case F_AVG_FLOAT4:
		case F_AVG_FLOAT8:
			*kind = MDB_AGG_AVG;
			return true;
		case F_MIN_INT2:
		case F_MIN_INT4:
		case F_MIN_INT8:
		case F_MIN_FLOAT4:
		case F_MIN_FLOAT8:
		case F_MIN_DATE:
		case F_MIN_TIMESTAMP:
		case F_MIN_TIMESTAMPTZ:
			*kind = MDB_AGG_MIN;
			return true;
		case F_MAX_INT2:
		case F_MAX_INT4:
		case F_MAX_INT8:
		case F_MAX_FLOAT4:
		case F_MAX_FLOAT8:
		case F_MAX_DATE:
		case F_MAX_TIMESTAMP:
		case F_MAX_TIMESTAMPTZ:
			*kind = MDB_AGG_MAX;
			return true;
		case F_VAR_POP_INT2:
		case F_VAR_POP_INT4:
		case F_VAR_POP_INT8:
		case F_VAR_POP_FLOAT4:
		case F_VAR_POP_FLOAT8:
			*kind = MDB_AGG_VAR_POP;
			return true;
		case F_VAR_SAMP_INT2:
		case F_VAR_SAMP_INT4:
		case F_VAR_SAMP_INT8:
		case F_VAR_SAMP_FLOAT4:
		case F_VAR_SAMP_FLOAT8:
		case F_VARIANCE_INT2:
		case F_VARIANCE_INT4:
		case F_VARIANCE_INT8:
		case F_VARIANCE_FLOAT4:
		case F_VARIANCE_FLOAT8:
			*kind = MDB_AGG_VAR_SAMP;
			return true;
		case F_STDDEV_POP_INT2:
		case F_STDDEV_POP_INT4:
		case F_STDDEV_POP_INT8:
		case F_STDDEV_POP_FLOAT4:
		case F_STDDEV_POP_FLOAT8:
			*kind = MDB_AGG_STDDEV_POP;
			return true;
		case F_STDDEV_SAMP_INT2:
		case F_STDDEV_SAMP_INT4:
		case F_STDDEV_SAMP_INT8:
		case F_STDDEV_SAMP_FLOAT4:
		case F_STDDEV_SAMP_FLOAT8:
		case F_STDDEV_INT2:
		case F_STDDEV_INT4:
		case F_STDDEV_INT8:
		case F_STDDEV_FLOAT4:
		case F_STDDEV_FLOAT8:
			*kind = MDB_AGG_STDDEV_SAMP;
			return true;
		case F_BOOL_AND:
		case F_EVERY:
			*kind = MDB_AGG_BOOL_AND;
			return true;
		case F_BOOL_OR:
			*kind = MDB_AGG_BOOL_OR;
			return true;
	}
	/* Ours. */
	name = function >= FirstNormalObjectId ? get_func_name(function) : NULL;
	if (name == NULL || (strcmp(name, "first") != 0 && strcmp(name, "last") != 0) ||
		get_func_namespace(function) != get_namespace_oid(MDB_SCHEMA, true))
		return false;
	*kind = name[0] == 'f' ? MDB_AGG_FIRST : MDB_AGG_LAST;
	return true;
}

/* Can rows be put in order by this for first() and last(): the time, or a column of times or integers? */
static bool
ordered_by(const MdbTable *table, Index varno, Expr *expr, Expr **by)
{
	Var *var = (Var *) mdb_strip_relabel((Node *) expr);
	MdbVecExpr *e;

	if (!IsA(var, Var) || var->varno != varno || var->varattno <= 0)
		return false;
	*by = NULL;
	if (var->varattno == table->time_attno)
		return true;
	e = mdb_vec_compile(table, varno, (Node *) var, NULL);
	*by = (Expr *) var;
	return e != NULL && mdb_vec_type_of(e) == MDB_VEC_INT;
}

/* Is it one that is computed from a vector of values? */
static bool
has_vectors(const MdbTable *table, Index varno, Aggref *aggref, MdbAggWhat *what)
{
	List *args = aggref->args;
	MdbVecType type;

	if (!aggregate_kind(aggref->aggfnoid, &what->kind))
		return false;
	if (args == NIL)
		return aggref->aggstar;
	what->arg = linitial_node(TargetEntry, args)->expr;
	if (what->kind == MDB_AGG_FIRST || what->kind == MDB_AGG_LAST)
	{
		if (list_length(args) != 2 ||
			!ordered_by(table, varno, lsecond_node(TargetEntry, args)->expr, &what->by))
			return false;
	}
	else if (list_length(args) != 1)
		return false;
	if (mdb_vec_compile(table, varno, (Node *) what->arg, NULL) == NULL)
		return false;
	type = mdb_vec_type(exprType((Node *) what->arg));
	switch (what->kind)
	{
		case MDB_AGG_COUNT:
			return true;
		case MDB_AGG_SUM:
			what->needs = MDB_NEED_SUM;
			break;
		case MDB_AGG_AVG:
			what->needs = type == MDB_VEC_INT ? MDB_NEED_SUM : MDB_NEED_AVG;
			break;
		case MDB_AGG_MIN:
			what->needs = MDB_NEED_MIN;
			break;
		case MDB_AGG_MAX:
			what->needs = MDB_NEED_MAX;
			break;
		case MDB_AGG_BOOL_AND:
		case MDB_AGG_BOOL_OR:
			what->needs = MDB_NEED_TRUE;
			return type == MDB_VEC_BOOL;
		case MDB_AGG_FIRST:
			what->needs = MDB_NEED_FIRST;
			return type != MDB_VEC_OTHER;
		case MDB_AGG_LAST:
			what->needs = MDB_NEED_LAST;
			return type != MDB_VEC_OTHER;
		default:
			what->needs = MDB_NEED_SQUARES | (type == MDB_VEC_INT ? MDB_NEED_SUM : MDB_NEED_AVG);
			break;
	}
	return type == MDB_VEC_INT || type == MDB_VEC_F64 || type == MDB_VEC_F32;
}

/*
 * mdb_agg_recognise - can an aggregate be computed from vectors?  If so: what it is, its argument, and what is
 * to be kept of it.
 */
bool
mdb_agg_recognise(const MdbTable *table, Index varno, Aggref *aggref, MdbAggWhat *what)
{
	memset(what, 0, sizeof(*what));
	if (aggref->aggdistinct != NIL || aggref->aggorder != NIL || aggref->aggdirectargs != NIL ||
		aggref->aggvariadic || aggref->aggkind != AGGKIND_NORMAL || aggref->agglevelsup != 0)
		return false;
	if (aggref->aggfilter)
	{
		MdbVecExpr *filter = mdb_vec_compile(table, varno, (Node *) aggref->aggfilter, NULL);

		if (filter == NULL || mdb_vec_type_of(filter) != MDB_VEC_BOOL)
			return false;
	}
	what->own = mdb_own_recognise(table, varno, aggref, &what->arg, &what->constants);
	if (what->own)
	{
		what->kind = MDB_AGG_OWN;
		return true;
	}
	if (!has_vectors(table, varno, aggref, what))
	{
		memset(what, 0, sizeof(*what));
		what->kind = MDB_AGG_CALLED;
		return mdb_called_recognise(table, varno, aggref, &what->in_workers);
	}
	return true;
}
