/*
 * agg_own.c
 *	  MetricsAgg: the extension's own aggregates: which there are, and their states in the groups.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/namespace.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "exec/agg_own.h"
#include "metricsdb.h"

/* Each ends with an entry without a name. */
static const MdbOwnAgg *const tables[] = {mdb_own_counter, mdb_own_over_time, mdb_own_sketch,
										  mdb_own_histogram};

/* ---------- which ---------- */

static bool
types_match(const MdbOwnAgg *agg, const Aggref *aggref)
{
	ListCell *lc;
	int i = 0;

	if (list_length(aggref->aggargtypes) != agg->nargs || list_length(aggref->args) != agg->nargs)
		return false;
	foreach (lc, aggref->aggargtypes)
	{
		if (OidIsValid(agg->types[i]) && agg->types[i] != lfirst_oid(lc))
			return false;
		i++;
	}
	return true;
}

static const MdbOwnAgg *
find_agg(const Aggref *aggref)
{
	char *name;

	if (aggref->aggfnoid < FirstNormalObjectId ||
		get_func_namespace(aggref->aggfnoid) != get_namespace_oid(MDB_SCHEMA, true))
		return NULL;
	name = get_func_name(aggref->aggfnoid);
	if (name == NULL)
		return NULL;
	for (int t = 0; t < lengthof(tables); t++)
		for (const MdbOwnAgg *agg = tables[t]; agg->name; agg++)
			if (strcmp(name, agg->name) == 0 && types_match(agg, aggref))
				return agg;
	return NULL;
}

/*
 * mdb_own_recognise - the aggregate of ours that an expression calls, with its argument of values and its fixed
 * ones; NULL if there is none, or if it cannot be computed from vectors: its time is not the table's, another
 * argument not fixed while the query runs, or there is no vector of its values.
 */
const MdbOwnAgg *
mdb_own_recognise(const MdbTable *table, Index varno, const Aggref *aggref, Expr **value, List **constants)
{
	const MdbOwnAgg *agg = find_agg(aggref);
	ListCell *lc;
	int i = 0;

	if (agg == NULL)
		return NULL;
	*constants = NIL;
	foreach (lc, aggref->args)
	{
		Node *arg = (Node *) lfirst_node(TargetEntry, lc)->expr;

		if (i == agg->value_arg)
		{
			MdbVecExpr *e = mdb_vec_compile(table, varno, arg, NULL);

			if (e == NULL || mdb_vec_type_of(e) == MDB_VEC_OTHER)
				return NULL;
			*value = (Expr *) arg;
		}
		else if (i == agg->time_arg)
		{
			Var *time = (Var *) mdb_strip_relabel(arg);

			if (!IsA(time, Var) || time->varno != varno || time->varattno != table->time_attno ||
				time->varattno <= 0)
				return NULL;
		}
		else if (contain_var_clause(arg) || contain_volatile_functions(arg) || contain_subplans(arg))
			return NULL;
		else
			*constants = lappend(*constants, arg);
		i++;
	}
	return agg;
}

/* ---------- states ---------- */

/*
 * mdb_own_find - what an input keeps for an aggregate: that of another one of its kind, or new.
 */
MdbOwn *
mdb_own_find(MdbAggInput *in, const MdbOwnAgg *agg, List *constants, PlanState *ps)
{
	MdbOwn **place = &in->owns;
	MdbOwn *own;

	for (; *place; place = &(*place)->next)
		if ((*place)->kind == agg->kind && equal((*place)->exprs, constants))
			return *place;
	own = palloc0(sizeof(MdbOwn));
	own->kind = agg->kind;
	own->vec_type = in->vec_type;
	own->value_type = in->type;
	own->exprs = constants;
	own->states = ExecInitExprList(constants, ps);
	own->constants = palloc0(sizeof(Datum) * Max(1, list_length(constants)));
	own->nulls = palloc0(sizeof(bool) * Max(1, list_length(constants)));
	own->econtext = ps->ps_ExprContext;
	own->mcxt = AllocSetContextCreate(CurrentMemoryContext, "metricsdb aggregate", ALLOCSET_SMALL_SIZES);
	*place = own;
	return own;
}

/*
 * mdb_own_start - forget the values of fixed arguments: the node starts, or starts over.
 */
void
mdb_own_start(MdbOwn *own)
{
	own->ready = false;
	own->prepared = NULL;
	MemoryContextReset(own->mcxt);
}

/* With the first value, and not before: where none comes that far there are no errors. */
static void
make_ready(MdbOwn *own)
{
	MemoryContext old = MemoryContextSwitchTo(own->mcxt);
	ListCell *lc, *le;
	int i = 0;

	forboth (lc, own->states, le, own->exprs)
	{
		int16 len;
		bool byval;
		Datum d = ExecEvalExpr((ExprState *) lfirst(lc), own->econtext, &own->nulls[i]);

		get_typlenbyval(exprType(lfirst(le)), &len, &byval);
		own->constants[i] = own->nulls[i] ? (Datum) 0 : datumCopy(d, byval, len);
		i++;
	}
	if (own->kind->prepare)
		own->prepared = own->kind->prepare(own);
	own->ready = true;
	MemoryContextSwitchTo(old);
}

/*
 * mdb_own_add - add rows of an input, all of one group, of which at least one is valid.
 */
void
mdb_own_add(const MdbAggInput *in, char *group, uint32 begin, uint32 end, const int64 *times)
{
	MdbOwnRun run = {.values = in->values,
					 .valid = in->valid,
					 .times = times,
					 .begin = begin,
					 .end = end,
					 .sorted = in->sorted};

	for (MdbOwn *own = in->owns; own; own = own->next)
	{
		if (unlikely(!own->ready))
			make_ready(own);
		own->kind->add(own, group + own->offset, &run);
	}
}

/*
 * mdb_own_drop - a group goes before its time: free what its states hold.
 */
void
mdb_own_drop(const MdbAggInput *inputs, int ninputs, char *group)
{
	for (int i = 0; i < ninputs; i++)
		for (MdbOwn *own = inputs[i].owns; own; own = own->next)
			if (own->kind->drop)
				own->kind->drop(own, group + own->offset);
}

/*
 * mdb_own_result - what an aggregate is for a group; NULL where not one value has come.
 */
Datum
mdb_own_result(const MdbAggCall *call, const char *group, bool *isnull)
{
	*isnull = !call->own->ready;
	return *isnull ? (Datum) 0 : call->own_agg->result(call->own, group + call->own->offset, isnull);
}

Datum
mdb_own_partial(const MdbAggCall *call, const char *group, bool *isnull)
{
	*isnull = !call->own->ready;
	return *isnull ? (Datum) 0 : call->own_agg->partial(call->own, group + call->own->offset, isnull);
}

/* ---------- memory ---------- */

void *
mdb_own_alloc(MdbOwn *own, Size size)
{
	return mdb_groups_alloc(own->groups, NULL, size);
}

void *
mdb_own_realloc(MdbOwn *own, void *p, Size size)
{
	return mdb_groups_alloc(own->groups, p, size);
}

void
mdb_own_free(MdbOwn *own, void *p)
{
	mdb_groups_free(own->groups, p);
}
