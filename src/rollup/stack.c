/*
 * stack.c
 *	  From which finer aggregate another one can be made, and how.
 *
 * It reads the same table, keeps all that is wanted, groups by what the wanted groups and conditions can be computed
 * of, and its buckets are whole parts of the wanted ones.  Of several the coarsest is taken.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "rollup/define.h"
#include "store/store.h"

/* ---------- expressions over finer states ---------- */

typedef struct Mapping
{
	const MdbDefinition *def;
	bool missing; /* something is left that only raw has */
} Mapping;

static Node *
states_var(const MdbDefinition *def, int column)
{
	AttrNumber attno = (AttrNumber) list_nth_int(def->columns, column);
	Oid type, collation;
	int32 typmod;

	get_atttypetypmodcoll(def->states, attno, &type, &typmod, &collation);
	return (Node *) makeVar(1, attno, type, typmod, collation, 0);
}

static Node *
map_mutator(Node *node, void *context)
{
	Mapping *m = context;
	int at;

	if (node == NULL)
		return NULL;
	if (equal(node, m->def->bucket))
		return states_var(m->def, 0);
	at = mdb_find_equal(m->def->keys, node);
	if (at >= 0)
		return states_var(m->def, 1 + at);
	if (IsA(node, Var))
		m->missing = true;
	return expression_tree_mutator(node, map_mutator, context);
}

/* An expression over raw as one over finer states; NULL if their keys do not suffice. */
static Node *
over_finer(const MdbDefinition *def, Node *expr)
{
	Mapping m = {.def = def};
	Node *result = map_mutator(expr, &m);

	return m.missing ? NULL : result;
}

/* The bucket of a finer bucket: that of its beginning. */
static Node *
bucket_over_finer(const MdbDefinition *def, Node *bucket)
{
	FuncExpr *copy = copyObject((FuncExpr *) bucket);

	lsecond(copy->args) = states_var(def, 0);
	return (Node *) copy;
}

/*
 * mdb_stack_bucket - the number of the column of an aggregate's states that is the bucket.
 */
AttrNumber
mdb_stack_bucket(const MdbAggregate *a)
{
	return (AttrNumber) linitial_int(mdb_definition_read(a->view)->columns);
}

/*
 * mdb_stack_targets - bucket, keys and partials of a plan, of a finer aggregate's states, which are varno 1.
 */
List *
mdb_stack_targets(const MdbPlan *plan, const MdbAggregate *finer)
{
	MdbDefinition *def = mdb_definition_read(finer->view);
	List *states = mdb_definition_states(def, 1);
	List *targets = list_make1(bucket_over_finer(def, plan->bucket));
	ListCell *lc;

	foreach (lc, plan->keys)
		targets = lappend(targets, over_finer(def, lfirst(lc)));
	foreach (lc, plan->partials)
		targets = lappend(targets, mdb_combine_partial(lfirst(lc), def->partials, states));
	return targets;
}

/*
 * mdb_stack_conditions - those of a plan's conditions that a finer aggregate does not have, on its states.
 */
List *
mdb_stack_conditions(const MdbPlan *plan, const MdbAggregate *finer)
{
	MdbDefinition *def = mdb_definition_read(finer->view);
	List *conditions = NIL;
	ListCell *lc;

	foreach (lc, list_difference(plan->where, def->where))
		conditions = lappend(conditions, over_finer(def, lfirst(lc)));
	return conditions;
}

/* ---------- choosing ---------- */

static bool
has_ordered(List *partials)
{
	ListCell *lc;

	foreach (lc, partials)
		if (mdb_partial_is_ordered(lfirst(lc)))
			return true;
	return false;
}

static bool
serves(const MdbPlan *plan, const MdbDefinition *def)
{
	ListCell *lc;

	/* It must have all rows, and its keys tell which of them are wanted. */
	if (list_difference(def->where, plan->where) != NIL || !mdb_bucket_nests(&plan->rule, &def->rule) ||
		list_difference(plan->partials, def->partials) != NIL)
		return false;
	foreach (lc, list_difference(plan->where, def->where))
		if (over_finer(def, lfirst(lc)) == NULL)
			return false;
	foreach (lc, plan->keys)
		if (over_finer(def, lfirst(lc)) == NULL)
			return false;
	/* Samples of several series interleave. */
	return !has_ordered(plan->partials) || list_difference(def->keys, plan->keys) == NIL;
}

static bool
is_coarser(const MdbBucketRule *a, const MdbBucketRule *b)
{
	if (a->months != b->months)
		return a->months > b->months;
	return a->size > b->size;
}

/*
 * mdb_stack_choose - the aggregate that a new one is best made of; NULL: of raw.
 *
 * Raises ERRCODE_INVALID_TABLE_DEFINITION if there is none though the user has named one.
 */
MdbAggregate *
mdb_stack_choose(const MdbPlan *plan)
{
	int n;
	MdbAggregate *all = mdb_aggregates_by(MDB_AGGREGATE_RAW, plan->raw, NULL, &n);
	MdbAggregate *best = NULL;
	MdbBucketRule rule = {0};

	for (int i = 0; i < n; i++)
	{
		MdbDefinition *def;

		/* Whose it is may read it. */
		if (!mdb_owns_table(all[i].aggregate))
			continue;
		LockRelationOid(all[i].view, AccessShareLock);
		def = mdb_definition_read(all[i].view);
		if (!serves(plan, def) || (best != NULL && !is_coarser(&def->rule, &rule)))
			continue;
		best = &all[i];
		rule = def->rule;
	}
	return best;
}
