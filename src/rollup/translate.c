/*
 * translate.c
 *	  A SELECT from another continuous aggregate, as the one from raw that means the same.
 *
 * Columns of the other one's view are its bucket, its keys, or aggregates.  The first two stand for their
 * expressions over raw.  An aggregate over the third kind is the aggregate over raw that it amounts to: a sum of
 * sums or counts, the least of least values, rollup() of a sketch.  Others are refused: avg() of avg() is no mean.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "metricsdb.h"
#include "rollup/define.h"
#include "store/store.h"

/* What a column of the other view is. */
typedef enum ColumnKind
{
	COLUMN_OTHER, /* computed of aggregates */
	COLUMN_BUCKET,
	COLUMN_KEY,
	COLUMN_PARTIAL
} ColumnKind;

typedef struct Column
{
	ColumnKind kind;
	Node *raw; /* the expression over raw */
} Column;

typedef struct Translation
{
	const char *name; /* of the view to be */
	Index varno;      /* of the other view in it */
	MdbDefinition *def;
	AttrNumber time_attno;
	Column *columns;
} Translation;

pg_noreturn static void
refuse(const Translation *t, const char *detail, const char *hint)
{
	mdb_refuse(t->name, ERRCODE_FEATURE_NOT_SUPPORTED, detail, hint);
}

static char *
column_name(const Translation *t, AttrNumber attno)
{
	return get_attname(t->def->view, attno, false);
}

/* ---------- columns of the other view ---------- */

static Index
states_varno(Query *view)
{
	return linitial_node(RangeTblRef, view->jointree->fromlist)->rtindex;
}

/* The columns of the subquery in the other view that are states. */
static List *
inner_states(const MdbDefinition *def, Index varno)
{
	List *vars = NIL;
	ListCell *lc;

	foreach (lc, def->partials)
	{
		int column = 2 + list_length(def->keys) + foreach_current_index(lc);

		vars = lappend(vars, makeVar(varno, column, exprType(lfirst(lc)), exprTypmod(lfirst(lc)),
									 exprCollation(lfirst(lc)), 0));
	}
	return vars;
}

static void
find_columns(Translation *t)
{
	MdbDefinition *def = t->def;
	Query *view = def->query;
	Index varno = states_varno(view);
	List *states = inner_states(def, varno);
	List *combined = NIL;
	ListCell *lc;

	foreach (lc, def->partials)
		combined = lappend(combined, mdb_combine_partial(lfirst(lc), def->partials, states));
	t->columns = palloc0(sizeof(Column) * list_length(view->targetList));
	foreach (lc, view->targetList)
	{
		TargetEntry *tle = lfirst(lc);
		Column *c = &t->columns[tle->resno - 1];
		Var *var = (Var *) mdb_group_expr(view, (Node *) tle->expr);
		int at;

		if (tle->resjunk)
			continue;
		at = mdb_find_equal(combined, (Node *) var);
		if (at >= 0)
		{
			c->kind = COLUMN_PARTIAL;
			c->raw = list_nth(def->partials, at);
		}
		else if (IsA(var, Var) && var->varno == varno && var->varattno == 1)
		{
			c->kind = COLUMN_BUCKET;
			c->raw = def->bucket;
		}
		else if (IsA(var, Var) && var->varno == varno && var->varattno <= 1 + list_length(def->keys))
		{
			c->kind = COLUMN_KEY;
			c->raw = list_nth(def->keys, var->varattno - 2);
		}
	}
}

static Column *
column_of(const Translation *t, Node *node)
{
	Var *var = (Var *) node;

	if (!IsA(var, Var) || var->varno != t->varno || var->varlevelsup != 0 || var->varattno <= 0)
		return NULL;
	return &t->columns[var->varattno - 1];
}

/* ---------- aggregates ---------- */

static bool
is_function(Oid function, const char *name)
{
	char *found = get_func_name(function);

	return found != NULL && strcmp(found, name) == 0;
}

/* What an aggregate over an aggregate amounts to; NULL if to nothing. */
static Node *
amounts_to(const Translation *t, Aggref *agg)
{
	Node *first = agg->args == NIL ? NULL : (Node *) linitial_node(TargetEntry, agg->args)->expr;
	Column *c = first ? column_of(t, first) : NULL;
	Aggref *inner;

	if (c == NULL || c->kind != COLUMN_PARTIAL)
		return NULL;
	inner = copyObject((Aggref *) c->raw);
	if (is_function(agg->aggfnoid, "sum") &&
		(is_function(inner->aggfnoid, "count") || is_function(inner->aggfnoid, "sum")))
		return (Node *) inner;
	if (is_function(agg->aggfnoid, "rollup") && agg->aggtype == inner->aggtype)
		return (Node *) inner;
	if (is_function(agg->aggfnoid, "sum_histograms") && is_function(inner->aggfnoid, "histogram"))
		return (Node *) inner;
	if (is_function(agg->aggfnoid, "first") || is_function(agg->aggfnoid, "last"))
	{
		Column *time = column_of(t, (Node *) lsecond_node(TargetEntry, agg->args)->expr);
		Var *of =
			(Var *) (list_length(inner->args) == 2 ? lsecond_node(TargetEntry, inner->args)->expr : NULL);

		/* Buckets come in the order of their times. */
		return agg->aggfnoid == inner->aggfnoid && time && time->kind == COLUMN_BUCKET && of &&
					   IsA(of, Var) && of->varattno == t->time_attno
				   ? (Node *) inner
				   : NULL;
	}
	if (agg->aggfnoid == inner->aggfnoid && list_length(agg->args) == 1 &&
		(is_function(agg->aggfnoid, "min") || is_function(agg->aggfnoid, "max") ||
		 is_function(agg->aggfnoid, "bool_and") || is_function(agg->aggfnoid, "bool_or") ||
		 is_function(agg->aggfnoid, "every")))
		return (Node *) inner;
	return NULL;
}

static Node *
translate_aggregate(const Translation *t, Aggref *agg)
{
	Node *raw;

	if (agg->aggfilter || agg->aggorder || agg->aggdistinct)
		refuse(t, "An aggregate over another continuous aggregate has FILTER, ORDER BY or DISTINCT.",
			   "Write the condition as FILTER of an aggregate of the table itself.");
	raw = amounts_to(t, agg);
	if (raw == NULL)
		refuse(
			t,
			psprintf("%s() over what \"%s\" has is not the same as an aggregate over its table.",
					 get_func_name(agg->aggfnoid), get_rel_name(t->def->view)),
			"Sums of sums and counts, least and greatest values, first(value, bucket), last(value, bucket) and "
			"rollup() of sketches are; for a mean use sum(sum) / sum(count).  Or select from the table: the "
			"aggregate is made of the finer one all the same.");
	if (exprType(raw) == agg->aggtype)
		return raw;
	return coerce_to_target_type(NULL, raw, exprType(raw), agg->aggtype, -1, COERCION_EXPLICIT,
								 COERCE_EXPLICIT_CAST, -1);
}

/* ---------- expressions ---------- */

static Node *
raw_of_var(Translation *t, Var *var)
{
	Column *c = column_of(t, (Node *) var);

	if (c == NULL)
		refuse(t, "Its query uses a whole row or a system column of a view.", NULL);
	if (c->kind == COLUMN_PARTIAL || c->kind == COLUMN_OTHER)
		refuse(t,
			   psprintf("Its query uses column \"%s\" of \"%s\", an aggregate, as a value.",
						column_name(t, var->varattno), get_rel_name(t->def->view)),
			   "Group by what the other aggregate groups by, and aggregate the rest.");
	return copyObject(c->raw);
}

static bool
is_bucket_column(const Translation *t, Node *node)
{
	Column *c = column_of(t, node);

	return c != NULL && c->kind == COLUMN_BUCKET;
}

/* A coarser bucket of the other one's buckets is one of the times, if it is made of whole ones. */
static Node *
coarser_bucket(const Translation *t, FuncExpr *f)
{
	MdbBucketRule rule;
	MdbReason reason;
	FuncExpr *copy;

	if (list_length(f->args) < 2 || !is_bucket_column(t, lsecond(f->args)))
		return NULL;
	copy = copyObject(f);
	lsecond(copy->args) = copyObject(lsecond(((FuncExpr *) t->def->bucket)->args));
	if (!mdb_bucket_rule((Node *) copy, t->varno, t->time_attno, &rule, &reason))
		return NULL;
	if (!mdb_bucket_nests(&rule, &t->def->rule))
		mdb_refuse(
			t->name, ERRCODE_INVALID_TABLE_DEFINITION,
			psprintf("Its buckets are not made of whole buckets of \"%s\".", get_rel_name(t->def->view)),
			"Choose a multiple of that width, with the same origin, or select from the table itself.");
	return (Node *) copy;
}

static Node *
translate_mutator(Node *node, void *context)
{
	Translation *t = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Aggref))
		return translate_aggregate(t, (Aggref *) node);
	if (IsA(node, FuncExpr))
	{
		Node *bucket = coarser_bucket(t, (FuncExpr *) node);

		if (bucket)
			return bucket;
	}
	if (IsA(node, Var))
		return raw_of_var(t, (Var *) node);
	return expression_tree_mutator(node, translate_mutator, context);
}

static void
translate_list(Translation *t, List *list)
{
	ListCell *lc;

	foreach (lc, list)
	{
		TargetEntry *tle = lfirst(lc);

		tle->expr = (Expr *) translate_mutator((Node *) tle->expr, t);
	}
}

/*
 * mdb_translate - make a SELECT from a continuous aggregate's view one from raw; its states are noted.
 *
 * False if the view is none of these.  Raises what mdb_plan_make() does.
 */
bool
mdb_translate(Query *query, const char *name, Oid *states)
{
	Translation t = {.name = name};
	RangeTblEntry *rte;
	Relation raw;

	t.varno = linitial_node(RangeTblRef, query->jointree->fromlist)->rtindex;
	rte = rt_fetch(t.varno, query->rtable);
	if (mdb_rollup_of_view(rte->relid) == NULL)
		return false;
	t.def = mdb_definition_read(rte->relid);
	raw = relation_open(t.def->raw, AccessShareLock);
	t.time_attno = mdb_table(raw)->time_attno;
	relation_close(raw, NoLock);
	if (t.def->query->havingQual)
		refuse(&t, psprintf("\"%s\" has HAVING.", get_rel_name(rte->relid)), "Select from the table itself.");
	/* The table takes the view's place in the query. */
	ChangeVarNodes(t.def->bucket, 1, t.varno, 0);
	ChangeVarNodes((Node *) t.def->keys, 1, t.varno, 0);
	ChangeVarNodes((Node *) t.def->partials, 1, t.varno, 0);
	ChangeVarNodes((Node *) t.def->where, 1, t.varno, 0);
	find_columns(&t);
	translate_list(&t, query->targetList);
	query->havingQual = translate_mutator(query->havingQual, &t);
	query->jointree->quals = translate_mutator(query->jointree->quals, &t);
	if (t.def->where != NIL)
		query->jointree->quals = (Node *) make_ands_explicit(
			list_concat(copyObject(t.def->where), make_ands_implicit((Expr *) query->jointree->quals)));
	rte->relid = t.def->raw;
	rte->relkind = RELKIND_RELATION;
	*states = t.def->states;
	return true;
}
