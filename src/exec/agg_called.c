/*
 * agg_called.c
 *	  MetricsAgg: aggregates that are computed by calling their own functions, row by row.
 *
 * What has no vectors, such as numeric, summaries and sketches, or several arguments, still has to be looked up in no
 * hash table, and comes from columns without rows being made of them.  A group's state is the one that the
 * aggregate's transition function keeps, in a context of its own, so that it can be given up by itself.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parse_agg.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "exec/agg_node.h"
#include "metricsdb.h"

/* Of a group; zeros at first. */
typedef struct CalledState
{
	MemoryContext mcxt; /* NULL: nothing has come */
	Datum trans;
	Size counted; /* of the context, among what groups take */
	bool isnull;
	bool empty; /* strict, and still to become its first value */
} CalledState;

typedef struct CalledArg
{
	Oid type;
	ExprState *state; /* for rows of the delta, and of what is fixed */
	AttrNumber attno; /* a column without a vector, */
	MdbVecExpr *vec;  /* or an expression with one; else fixed */
	MdbVec values;    /* of the present block */
	bool byval;
	int16 len;
	Datum fixed;
	bool fixed_null;
} CalledArg;

struct MdbCalled
{
	int offset; /* in a group's state */
	int nargs;
	CalledArg *args;
	FmgrInfo transition, final, serial;
	FunctionCallInfo fcinfo;
	int final_args;
	Oid collation;
	bool strict;
	bool trans_byval;
	int16 trans_len;
	Datum initial;
	bool initial_null;
	bool has_fixed; /* their values are taken */
	uint64 serial_of_block;
	MdbGroups *groups;
	AggState *fake;     /* whom functions believe to be called by */
	MemoryContext mcxt; /* of values of fixed arguments */
	MemoryContext row_mcxt;
};

/* ---------- which ---------- */

static bool
is_called(Oid function)
{
	switch (function)
	{
		case F_SUM_NUMERIC:
		case F_AVG_NUMERIC:
		case F_MIN_NUMERIC:
		case F_MAX_NUMERIC:
			return true;
	}
	return function >= FirstNormalObjectId &&
		   get_func_namespace(function) == get_namespace_oid(MDB_SCHEMA, true);
}

static bool
is_fixed(Node *arg)
{
	return !contain_var_clause(arg) && !contain_volatile_functions(arg) && !contain_subplans(arg);
}

static AttrNumber
plain_column(const MdbTable *table, Index varno, Node *arg)
{
	Var *var = (Var *) mdb_strip_relabel(arg);

	if (!IsA(var, Var) || var->varno != varno || var->varlevelsup != 0 || var->varattno <= 0 ||
		var->varattno > table->natts || table->columns[var->varattno - 1].role == MDB_ROLE_DROPPED)
		return 0;
	return var->varattno;
}

static MdbVecExpr *
vector_of(const MdbTable *table, Index varno, Node *arg, PlanState *ps)
{
	MdbVecExpr *e = mdb_vec_compile(table, varno, arg, ps);

	return e != NULL && mdb_vec_type_of(e) != MDB_VEC_OTHER ? e : NULL;
}

/*
 * mdb_called_recognise - can an aggregate be computed in this way, and *in_workers: in parts?
 */
bool
mdb_called_recognise(const MdbTable *table, Index varno, const Aggref *aggref, bool *in_workers)
{
	HeapTuple tuple;
	Form_pg_aggregate agg;
	ListCell *lc;

	if (!is_called(aggref->aggfnoid) || aggref->args == NIL || list_length(aggref->args) >= FUNC_MAX_ARGS - 1)
		return false;
	foreach (lc, aggref->args)
	{
		Node *arg = (Node *) lfirst_node(TargetEntry, lc)->expr;

		if (!is_fixed(arg) && plain_column(table, varno, arg) == 0 &&
			vector_of(table, varno, arg, NULL) == NULL)
			return false;
	}
	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggref->aggfnoid));
	if (!HeapTupleIsValid(tuple))
		return false;
	agg = (Form_pg_aggregate) GETSTRUCT(tuple);
	*in_workers = agg->aggtranstype != INTERNALOID || OidIsValid(agg->aggserialfn);
	ReleaseSysCache(tuple);
	return true;
}

/*
 * mdb_called_size, mdb_called_held - what a group keeps, and about how much memory beside that.
 */
Size
mdb_called_size(void)
{
	return MAXALIGN(sizeof(CalledState));
}

Size
mdb_called_held(void)
{
	return 1400;
}

/* ---------- beginning ---------- */

static void
init_args(MdbCalled *c, const MdbTable *table, Index varno, const Aggref *aggref, PlanState *ps)
{
	ListCell *lc;

	c->args = palloc0(sizeof(CalledArg) * list_length(aggref->args));
	foreach (lc, aggref->args)
	{
		Expr *expr = lfirst_node(TargetEntry, lc)->expr;
		CalledArg *arg = &c->args[c->nargs++];

		arg->type = exprType((Node *) expr);
		arg->state = ExecInitExpr(expr, ps);
		get_typlenbyval(arg->type, &arg->len, &arg->byval);
		if (is_fixed((Node *) expr))
			continue;
		arg->vec = vector_of(table, varno, (Node *) expr, ps);
		if (arg->vec == NULL)
			arg->attno = plain_column(table, varno, (Node *) expr);
	}
}

static void
init_initial(MdbCalled *c, HeapTuple tuple, Oid transtype)
{
	Oid input, param;
	Datum initial = SysCacheGetAttr(AGGFNOID, tuple, Anum_pg_aggregate_agginitval, &c->initial_null);

	if (c->initial_null)
		return;
	getTypeInputInfo(transtype, &input, &param);
	c->initial = OidInputFunctionCall(input, TextDatumGetCString(initial), param, -1);
}

static void
init_functions(MdbCalled *c, const Aggref *aggref, const Form_pg_aggregate agg, Oid transtype)
{
	Oid types[FUNC_MAX_ARGS];
	int n = get_aggregate_argtypes(unconstify(Aggref *, aggref), types);
	Expr *expr, *unused;

	fmgr_info(agg->aggtransfn, &c->transition);
	build_aggregate_transfn_expr(types, n, 0, false, transtype, aggref->inputcollid, agg->aggtransfn,
								 InvalidOid, &expr, &unused);
	fmgr_info_set_expr((Node *) expr, &c->transition);
	c->strict = c->transition.fn_strict;
	if (OidIsValid(agg->aggfinalfn))
	{
		c->final_args = 1 + (agg->aggfinalextra ? n : 0);
		fmgr_info(agg->aggfinalfn, &c->final);
		build_aggregate_finalfn_expr(types, c->final_args, transtype, aggref->aggtype, aggref->inputcollid,
									 agg->aggfinalfn, &expr);
		fmgr_info_set_expr((Node *) expr, &c->final);
	}
	if (OidIsValid(agg->aggserialfn) && transtype == INTERNALOID)
		fmgr_info(agg->aggserialfn, &c->serial);
}

/*
 * mdb_called_create - make an aggregate ready, in CurrentMemoryContext.
 *
 * That the user may execute the aggregate PostgreSQL has seen to.
 */
MdbCalled *
mdb_called_create(const MdbTable *table, Index varno, const Aggref *aggref, PlanState *ps)
{
	MdbCalled *c = palloc0(sizeof(MdbCalled));
	HeapTuple tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggref->aggfnoid));
	Oid transtype = aggref->aggtranstype;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", aggref->aggfnoid);
	init_args(c, table, varno, aggref, ps);
	get_typlenbyval(transtype, &c->trans_len, &c->trans_byval);
	init_functions(c, aggref, (Form_pg_aggregate) GETSTRUCT(tuple), transtype);
	init_initial(c, tuple, transtype);
	ReleaseSysCache(tuple);
	c->collation = aggref->inputcollid;
	c->fcinfo = palloc0(SizeForFunctionCallInfo(FUNC_MAX_ARGS));
	c->fake = makeNode(AggState);
	c->fake->ss.ps.state = ps->state;
	c->fake->curaggcontext = makeNode(ExprContext);
	c->mcxt = AllocSetContextCreate(CurrentMemoryContext, "metricsdb fixed arguments", ALLOCSET_SMALL_SIZES);
	c->row_mcxt = AllocSetContextCreate(CurrentMemoryContext, "metricsdb transition", ALLOCSET_DEFAULT_SIZES);
	return c;
}

/*
 * mdb_called_place - where in a group's state it keeps its own, and whose groups they are.
 */
void
mdb_called_place(MdbCalled *c, int offset, MdbGroups *groups)
{
	c->offset = offset;
	c->groups = groups;
}

/*
 * mdb_called_start - what is fixed is to be taken anew: the node starts, or starts over.
 */
void
mdb_called_start(MdbCalled *c, ExprContext *econtext)
{
	for (int i = 0; i < c->nargs; i++)
		if (c->args[i].vec)
			mdb_vec_prepare(c->args[i].vec, econtext);
	c->has_fixed = false;
	c->serial_of_block = 0;
	MemoryContextReset(c->mcxt);
}

/* With the first row, and not before: where none comes that far there are no errors. */
static void
take_fixed(MdbCalled *c, ExprContext *econtext)
{
	for (int i = 0; i < c->nargs; i++)
	{
		CalledArg *arg = &c->args[i];
		MemoryContext old;

		if (arg->vec || arg->attno > 0)
			continue;
		arg->fixed = ExecEvalExprSwitchContext(arg->state, econtext, &arg->fixed_null);
		old = MemoryContextSwitchTo(c->mcxt);
		if (!arg->fixed_null)
			arg->fixed = datumCopy(arg->fixed, arg->byval, arg->len);
		MemoryContextSwitchTo(old);
	}
	c->has_fixed = true;
}

/* ---------- rows ---------- */

static CalledState *
state_of(MdbCalled *c, char *group)
{
	CalledState *s = (CalledState *) (group + c->offset);
	MemoryContext old;

	if (likely(s->mcxt != NULL))
		return s;
	s->mcxt = mdb_groups_child(c->groups);
	s->isnull = c->initial_null;
	s->empty = c->initial_null && c->strict;
	old = MemoryContextSwitchTo(s->mcxt);
	if (!c->initial_null)
		s->trans = datumCopy(c->initial, c->trans_byval, c->trans_len);
	MemoryContextSwitchTo(old);
	return s;
}

/* What came of a call, as the state of a group, in its context. */
static void
keep(MdbCalled *c, CalledState *s, Datum value, bool isnull)
{
	if (!c->trans_byval && (isnull != s->isnull || DatumGetPointer(value) != DatumGetPointer(s->trans)))
	{
		MemoryContext old = MemoryContextSwitchTo(s->mcxt);
		Datum copy = isnull ? (Datum) 0 : datumCopy(value, false, c->trans_len);

		MemoryContextSwitchTo(old);
		if (!s->isnull)
			pfree(DatumGetPointer(s->trans));
		value = copy;
	}
	s->trans = value;
	s->isnull = isnull;
}

/* A row, whose arguments are in fcinfo. */
static void
advance(MdbCalled *c, CalledState *s)
{
	FunctionCallInfo fcinfo = c->fcinfo;
	MemoryContext old;
	Datum value;

	if (c->strict)
	{
		for (int i = 1; i <= c->nargs; i++)
			if (fcinfo->args[i].isnull)
				return;
		if (s->empty)
		{
			old = MemoryContextSwitchTo(s->mcxt);
			s->trans = datumCopy(fcinfo->args[1].value, c->trans_byval, c->trans_len);
			MemoryContextSwitchTo(old);
			s->isnull = s->empty = false;
			return;
		}
		/* A transition function has said NULL: that is what it stays. */
		if (s->isnull)
			return;
	}
	c->fake->curaggcontext->ecxt_per_tuple_memory = s->mcxt;
	InitFunctionCallInfoData(*fcinfo, &c->transition, c->nargs + 1, c->collation, (Node *) c->fake, NULL);
	fcinfo->args[0].value = s->trans;
	fcinfo->args[0].isnull = s->isnull;
	MemoryContextReset(c->row_mcxt);
	old = MemoryContextSwitchTo(c->row_mcxt);
	value = FunctionCallInvoke(fcinfo);
	MemoryContextSwitchTo(old);
	keep(c, s, value, fcinfo->isnull);
}

static void
count_memory(MdbCalled *c, CalledState *s)
{
	Size now = MemoryContextMemAllocated(s->mcxt, false);

	mdb_groups_count(c->groups, s->counted, now);
	s->counted = now;
}

/* Values of the present block's rows that count. */
static void
take_block(MdbCalled *c, MetricsAggState *state, const uint8 *mask)
{
	if (!c->has_fixed)
		take_fixed(c, state->css.ss.ps.ps_ExprContext);
	for (int i = 0; i < c->nargs; i++)
		if (c->args[i].vec)
			mdb_vec_eval(c->args[i].vec, &state->vec, mask, &c->args[i].values);
	c->serial_of_block = state->vec.serial;
	/* Columns that are read otherwise are read, too. */
	state->vec.decoded++;
}

static inline void
set_arg(CalledArg *arg, MdbBlock *b, uint32 row, NullableDatum *to)
{
	if (arg->attno > 0)
		to->value = mdb_block_value(b, row, arg->attno - 1, &to->isnull);
	else if (arg->vec == NULL)
	{
		to->value = arg->fixed;
		to->isnull = arg->fixed_null;
	}
	else
	{
		uint32 i = arg->values.constant ? 0 : row;

		to->isnull = arg->values.isnull || (arg->values.nulls != NULL && arg->values.nulls[i]);
		to->value = to->isnull ? (Datum) 0 : mdb_agg_datum(arg->type, arg->values.values, i);
	}
}

/*
 * mdb_called_add - add rows begin to end of the present block, all of one group, that are in mask; NULL = all.
 */
void
mdb_called_add(MdbCalled *c, MetricsAggState *state, char *group, uint32 begin, uint32 end, const uint8 *mask)
{
	MdbBlock *b = state->unit.block;
	CalledState *s = NULL;

	for (uint32 row = begin; row < end; row++)
	{
		if (mask && !mask[row])
			continue;
		if (s == NULL)
		{
			if (c->serial_of_block != state->vec.serial)
				take_block(c, state, mask);
			s = state_of(c, group);
		}
		for (int i = 0; i < c->nargs; i++)
			set_arg(&c->args[i], b, row, &c->fcinfo->args[i + 1]);
		advance(c, s);
	}
	if (s)
		count_memory(c, s);
}

/*
 * mdb_called_add_row - add a row of the delta, econtext's scan tuple.
 */
void
mdb_called_add_row(MdbCalled *c, char *group, ExprContext *econtext)
{
	CalledState *s;

	/* Before arguments of the row, as these may lie in memory that it makes free. */
	s = state_of(c, group);
	for (int i = 0; i < c->nargs; i++)
	{
		NullableDatum *to = &c->fcinfo->args[i + 1];

		to->value = ExecEvalExpr(c->args[i].state, econtext, &to->isnull);
	}
	advance(c, s);
	count_memory(c, s);
}

/*
 * mdb_called_drop - a group goes before its time.
 */
void
mdb_called_drop(MdbCalled *c, char *group)
{
	CalledState *s = (CalledState *) (group + c->offset);

	if (s->mcxt == NULL)
		return;
	mdb_groups_count(c->groups, s->counted, 0);
	MemoryContextDelete(s->mcxt);
	s->mcxt = NULL;
}

/* ---------- results ---------- */

/* Call a function with a state. */
static Datum
call_with(MdbCalled *c, FmgrInfo *function, int nargs, const CalledState *s, bool *isnull)
{
	FunctionCallInfo fcinfo = c->fcinfo;
	Datum value;

	c->fake->curaggcontext->ecxt_per_tuple_memory = s->mcxt ? s->mcxt : CurrentMemoryContext;
	InitFunctionCallInfoData(*fcinfo, function, nargs, c->collation, (Node *) c->fake, NULL);
	fcinfo->args[0].value = s->mcxt ? s->trans : c->initial;
	fcinfo->args[0].isnull = s->mcxt ? s->isnull : c->initial_null;
	for (int i = 1; i < nargs; i++)
		fcinfo->args[i] = (NullableDatum){.isnull = true};
	*isnull = true;
	for (int i = 0; i < nargs && function->fn_strict; i++)
		if (fcinfo->args[i].isnull)
			return (Datum) 0;
	value = FunctionCallInvoke(fcinfo);
	*isnull = fcinfo->isnull;
	return value;
}

static Datum
bare_state(const MdbCalled *c, const CalledState *s, bool *isnull)
{
	*isnull = s->mcxt ? s->isnull : c->initial_null;
	return s->mcxt ? s->trans : c->initial;
}

/*
 * mdb_called_result - what the aggregate is for a group; in CurrentMemoryContext, or the group's.
 */
Datum
mdb_called_result(MdbCalled *c, const char *group, bool *isnull)
{
	const CalledState *s = (const CalledState *) (group + c->offset);

	return c->final_args > 0 ? call_with(c, &c->final, c->final_args, s, isnull) : bare_state(c, s, isnull);
}

/*
 * mdb_called_partial - its state, as the combine function, or the deserialising one before it, takes it.
 */
Datum
mdb_called_partial(MdbCalled *c, const char *group, bool *isnull)
{
	const CalledState *s = (const CalledState *) (group + c->offset);

	return OidIsValid(c->serial.fn_oid) ? call_with(c, &c->serial, 1, s, isnull) : bare_state(c, s, isnull);
}
