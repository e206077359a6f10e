/*
 * language.c
 *	  Aggregates taken apart: what of them is kept, how that is combined, and what is made of it.
 *
 * The same three questions are asked when an aggregate is defined, when it is applied and when a query is routed
 * to it, so here is the only place that knows the answers.  Results equal those of the definition's own aggregate,
 * to the digit for integers, numeric, times and whatever is picked; sums of floats within the order of additions.
 *
 * Nodes are made by the parser's own functions, with names that are qualified: they are what the parser would make
 * of the text that ruleutils makes of them, so that definitions which were stored, dumped and restored are equal().
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_func.h"
#include "parser/parse_node.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "metricsdb.h"
#include "rollup/language.h"

/* How partials are combined. */
typedef enum Combine
{
	COMBINE_NONE,     /* it is no partial */
	COMBINE_SELF,     /* the same aggregate over its results */
	COMBINE_COUNT,    /* their sum; 0 if there are none */
	COMBINE_SUM,      /* their sum, in the partial's type */
	COMBINE_END,      /* first or last by a companion, the least or greatest time */
	COMBINE_VARIANCE, /* by companions, number and sum of values */
	COMBINE_ROLLUP,   /* rollup() */
	COMBINE_SUMMARY,  /* rollup() of counters and gauges, where their samples do not interleave */
	COMBINE_BUCKETS   /* element by element */
} Combine;

/* What an aggregate is split into. */
typedef enum SplitKind
{
	SPLIT_SELF, /* it is itself a partial */
	SPLIT_AVG,
	SPLIT_VARIANCE,
	SPLIT_END,
	SPLIT_COUNTER, /* of a counter's summary */
	SPLIT_GAUGE,   /* of a gauge's */
	SPLIT_AVG_OVER_TIME,
	SPLIT_VARIANCE_OVER_TIME
} SplitKind;

typedef struct Known
{
	const char *schema;
	const char *name;
	SplitKind split;
	Combine combine;
	bool sample;          /* of variances: that of a sample */
	bool root;            /* its square root */
	const char *accessor; /* of summaries */
	int samples;          /* how many there must be, where the accessor takes fewer */
} Known;

#define CORE "pg_catalog"
#define OURS MDB_SCHEMA

static const Known known[] = {
	{CORE, "count", SPLIT_SELF, COMBINE_COUNT},
	{CORE, "sum", SPLIT_SELF, COMBINE_SUM},
	{CORE, "min", SPLIT_SELF, COMBINE_SELF},
	{CORE, "max", SPLIT_SELF, COMBINE_SELF},
	{CORE, "bool_and", SPLIT_SELF, COMBINE_SELF},
	{CORE, "bool_or", SPLIT_SELF, COMBINE_SELF},
	{CORE, "every", SPLIT_SELF, COMBINE_SELF},
	{CORE, "bit_and", SPLIT_SELF, COMBINE_SELF},
	{CORE, "bit_or", SPLIT_SELF, COMBINE_SELF},
	{CORE, "bit_xor", SPLIT_SELF, COMBINE_SELF},
	{CORE, "any_value", SPLIT_SELF, COMBINE_SELF},
	{CORE, "avg", SPLIT_AVG},
	/* Of floats alone: it is the state for the others. */
	{CORE, "var_pop", SPLIT_VARIANCE, COMBINE_VARIANCE},
	{CORE, "var_samp", SPLIT_VARIANCE, .sample = true},
	{CORE, "variance", SPLIT_VARIANCE, .sample = true},
	{CORE, "stddev_pop", SPLIT_VARIANCE, .root = true},
	{CORE, "stddev_samp", SPLIT_VARIANCE, .sample = true, .root = true},
	{CORE, "stddev", SPLIT_VARIANCE, .sample = true, .root = true},
	{OURS, "first", SPLIT_END, COMBINE_END},
	{OURS, "last", SPLIT_END, COMBINE_END},
	{OURS, "histogram", SPLIT_SELF, COMBINE_BUCKETS},
	{OURS, "sketch_agg", SPLIT_SELF, COMBINE_ROLLUP},
	{OURS, "percentile_agg", SPLIT_SELF, COMBINE_ROLLUP},
	{OURS, "uddsketch", SPLIT_SELF, COMBINE_ROLLUP},
	{OURS, "approx_count_distinct", SPLIT_SELF, COMBINE_ROLLUP},
	{OURS, "hyperloglog", SPLIT_SELF, COMBINE_ROLLUP},
	{OURS, "rollup", SPLIT_SELF, COMBINE_ROLLUP},
	{OURS, "counter_agg", SPLIT_SELF, COMBINE_SUMMARY},
	{OURS, "gauge_agg", SPLIT_SELF, COMBINE_SUMMARY},
	{OURS, "rate", SPLIT_COUNTER, .accessor = "rate"},
	{OURS, "increase", SPLIT_COUNTER, .accessor = "increase", .samples = 2},
	{OURS, "irate", SPLIT_COUNTER, .accessor = "irate_right"},
	{OURS, "resets", SPLIT_COUNTER, .accessor = "num_resets"},
	{OURS, "changes", SPLIT_COUNTER, .accessor = "num_changes"},
	{OURS, "delta", SPLIT_GAUGE, .accessor = "delta", .samples = 2},
	{OURS, "idelta", SPLIT_GAUGE, .accessor = "idelta_right", .samples = 2},
	{OURS, "deriv", SPLIT_GAUGE, .accessor = "slope"},
	{OURS, "last_over_time", SPLIT_GAUGE, .accessor = "last_val"},
	{OURS, "count_over_time", SPLIT_SELF, COMBINE_SUM},
	{OURS, "sum_over_time", SPLIT_SELF, COMBINE_SUM},
	{OURS, "min_over_time", SPLIT_SELF, COMBINE_SELF},
	{OURS, "max_over_time", SPLIT_SELF, COMBINE_SELF},
	{OURS, "present_over_time", SPLIT_SELF, COMBINE_SELF},
	{OURS, "avg_over_time", SPLIT_AVG_OVER_TIME},
	{OURS, "stdvar_over_time", SPLIT_VARIANCE_OVER_TIME, COMBINE_VARIANCE},
	{OURS, "stddev_over_time", SPLIT_VARIANCE_OVER_TIME, .root = true},
};

/* One aggregate being taken apart, or combined. */
typedef struct Work
{
	ParseState *pstate;
	const Aggref *agg;
	MdbSplit *split;
} Work;

/* ---------- making nodes ---------- */

static List *
qualified(const char *schema, const char *name)
{
	return list_make2(makeString(pstrdup(schema)), makeString(pstrdup(name)));
}

static Node *
call(Work *w, const char *schema, const char *name, List *args)
{
	FuncCall *fn = makeFuncCall(qualified(schema, name), NIL, COERCE_EXPLICIT_CALL, -1);

	fn->agg_star = args == NIL;
	return ParseFuncOrColumn(w->pstate, fn->funcname, copyObject(args), NULL, fn, false, -1);
}

static Node *
op(Work *w, const char *name, Node *left, Node *right)
{
	return (Node *) make_op(w->pstate, qualified(CORE, name), copyObject(left), copyObject(right), NULL, -1);
}

static Node *
cast(Work *w, Node *node, Oid type)
{
	if (exprType(node) == type)
		return node;
	return coerce_to_target_type(w->pstate, node, exprType(node), type, -1, COERCION_EXPLICIT,
								 COERCE_EXPLICIT_CAST, -1);
}

static Node *
int8_const(int64 value)
{
	return (Node *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(value), false,
							  FLOAT8PASSBYVAL);
}

/* CASE WHEN condition THEN result END */
static Node *
result_when(Node *condition, Node *result)
{
	CaseExpr *c = makeNode(CaseExpr);
	CaseWhen *when = makeNode(CaseWhen);

	when->expr = (Expr *) condition;
	when->result = (Expr *) result;
	when->location = -1;
	c->casetype = exprType(result);
	c->args = list_make1(when);
	c->defresult = (Expr *) makeNullConst(c->casetype, -1, InvalidOid);
	c->location = -1;
	return (Node *) c;
}

/* COALESCE(node, 0::bigint) */
static Node *
or_zero(Node *node)
{
	CoalesceExpr *c = makeNode(CoalesceExpr);

	c->coalescetype = INT8OID;
	c->args = list_make2(node, int8_const(0));
	c->location = -1;
	return (Node *) c;
}

static Node *
with_collations(Work *w, Node *node)
{
	assign_expr_collations(w->pstate, node);
	return node;
}

/* ---------- what is known ---------- */

static const Known *
known_of(const Aggref *agg)
{
	char *name = get_func_name(agg->aggfnoid);
	Oid schema = get_func_namespace(agg->aggfnoid);
	bool core = schema == PG_CATALOG_NAMESPACE;

	if (name == NULL || (!core && schema != get_namespace_oid(MDB_SCHEMA, true)))
		return NULL;
	for (int i = 0; i < lengthof(known); i++)
		if (core == (strcmp(known[i].schema, CORE) == 0) && strcmp(known[i].name, name) == 0)
			return &known[i];
	return NULL;
}

static Node *
argument(const Aggref *agg, int n)
{
	return (Node *) list_nth_node(TargetEntry, agg->args, n)->expr;
}

/* The arguments without the entries of a target list. */
static List *
arguments(const Aggref *agg)
{
	List *list = NIL;
	ListCell *lc;

	foreach (lc, agg->args)
		list = lappend(list, lfirst_node(TargetEntry, lc)->expr);
	return list;
}

/*
 * mdb_find_equal - which element of a list is equal to a node, from 0; -1 if none is.
 */
int
mdb_find_equal(List *list, Node *node)
{
	ListCell *lc;

	foreach (lc, list)
		if (equal(lfirst(lc), node))
			return foreach_current_index(lc);
	return -1;
}

static bool
is_rollup_of_summaries(const Aggref *partial, const Known *k)
{
	return k->combine == COMBINE_ROLLUP && strstr(format_type_be(partial->aggtype), "summary") != NULL;
}

/*
 * mdb_partial_is_ordered - can states only be combined where their rows' times do not interleave?
 *
 * Late rows of a bucket that has such a state demand that the bucket be made from the source again.
 */
bool
mdb_partial_is_ordered(const Aggref *partial)
{
	const Known *k = known_of(partial);

	return k != NULL && (k->combine == COMBINE_SUMMARY || is_rollup_of_summaries(partial, k));
}

/* ---------- taking apart ---------- */

/* An aggregate over the source of the same rows; its place in the split's list. */
static Node *
keep(Work *w, Node *partial)
{
	Aggref *agg = (Aggref *) partial;
	Param *p = makeNode(Param);
	int at;

	if (agg != w->agg)
	{
		agg->aggfilter = copyObject(w->agg->aggfilter);
		with_collations(w, partial);
	}
	at = mdb_find_equal(w->split->partials, partial);
	if (at < 0)
	{
		at = list_length(w->split->partials);
		w->split->partials = lappend(w->split->partials, copyObject(partial));
	}
	p->paramkind = PARAM_EXTERN;
	p->paramid = at + 1;
	p->paramtype = agg->aggtype;
	p->paramtypmod = -1;
	p->paramcollid = agg->aggcollid;
	p->location = -1;
	return (Node *) p;
}

static Node *
keep_call(Work *w, const char *schema, const char *name, Node *arg)
{
	return keep(w, call(w, schema, name, list_make1(arg)));
}

static bool
is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

static bool
split_avg(Work *w, const char **why)
{
	Node *x = argument(w->agg, 0);
	Oid type = exprType(x);
	Node *sum, *count;

	/* avg() adds up reals as doubles. */
	if (type == FLOAT4OID)
		x = cast(w, x, type = FLOAT8OID);
	if (!is_integer(type) && type != NUMERICOID && type != FLOAT8OID && type != INTERVALOID)
	{
		*why = "It is not known how the mean of such values is made.";
		return false;
	}
	sum = keep_call(w, CORE, "sum", x);
	count = keep_call(w, CORE, "count", argument(w->agg, 0));
	/* There is no sum where there is nothing to count, so that nothing is divided by zero. */
	if (type == FLOAT8OID || type == INTERVALOID)
		count = cast(w, count, FLOAT8OID);
	else
	{
		sum = cast(w, sum, NUMERICOID);
		count = cast(w, count, NUMERICOID);
	}
	w->split->final = op(w, "/", sum, count);
	return true;
}

/* Of floats: number, sum and variance, that of the population. */
static void
split_float_variance(Work *w, const Known *k, Node *count, Node *variance)
{
	Node *n = cast(w, copyObject(count), FLOAT8OID);
	Node *result = variance;

	if (k->sample)
		result = op(w, "/", op(w, "*", variance, n), op(w, "-", n, cast(w, int8_const(1), FLOAT8OID)));
	if (k->root)
		result = call(w, CORE, "sqrt", list_make1(result));
	w->split->final = k->sample ? result_when(op(w, ">", count, int8_const(1)), result) : result;
}

/* Of others: number, sum and sum of squares, which are exact. */
static void
split_exact_variance(Work *w, const Known *k, Node *x)
{
	Oid type = exprType(x);
	/* What an integer of four bytes squared always fits into is quicker. */
	Node *wide = cast(w, copyObject(x), type == INT2OID || type == INT4OID ? INT8OID : NUMERICOID);
	Node *count = keep_call(w, CORE, "count", x);
	Node *sum = keep_call(w, CORE, "sum", x);
	Node *squares = keep_call(w, CORE, "sum", op(w, "*", wide, wide));
	List *args = list_make4(count, cast(w, sum, NUMERICOID), cast(w, squares, NUMERICOID),
							makeBoolConst(k->sample, false));

	w->split->final = call(w, OURS, k->root ? "stddev_of_sums" : "variance_of_sums", args);
}

static bool
split_variance(Work *w, const Known *k, const char **why)
{
	Node *x = argument(w->agg, 0);
	Oid type = exprType(x);
	Node *count, *variance;

	if (is_integer(type) || type == NUMERICOID)
	{
		split_exact_variance(w, k, x);
		return true;
	}
	if (type != FLOAT4OID && type != FLOAT8OID)
	{
		*why = "It is not known how the variance of such values is made.";
		return false;
	}
	x = cast(w, x, FLOAT8OID);
	count = keep_call(w, CORE, "count", x);
	(void) keep_call(w, CORE, "sum", x);
	variance = keep_call(w, CORE, "var_pop", x);
	split_float_variance(w, k, count, variance);
	return true;
}

static bool
split_end(Work *w, const Known *k, const char **why)
{
	Oid type = getBaseType(exprType(argument(w->agg, 1)));
	FuncDetailCode found;
	Oid function, result;
	Oid *types;
	int nvargs;
	Oid vatype;
	bool set;
	List *defaults = NIL;
	const char *limit = strcmp(k->name, "first") == 0 ? "min" : "max";

	found = func_get_detail(qualified(CORE, limit), NIL, NIL, 1, &type, false, false, false, &function,
							&result, &set, &nvargs, &vatype, &types, &defaults);
	if (found != FUNCDETAIL_AGGREGATE)
	{
		*why = "Its second argument has no least and greatest value that could be kept.";
		return false;
	}
	w->split->final = keep(w, (Node *) w->agg);
	(void) keep_call(w, CORE, limit, argument(w->agg, 1));
	return true;
}

/* An interval that is not of months, as one of hours alone, of which clocks that change make no difference. */
static Node *
fixed_width(Node *width)
{
	Const *c = (Const *) eval_const_expressions(NULL, width);
	Interval *w, *fixed;

	if (!IsA(c, Const) || c->constisnull || c->consttype != INTERVALOID)
		return NULL;
	w = DatumGetIntervalP(c->constvalue);
	if (w->month != 0)
		return NULL;
	fixed = palloc0(sizeof(Interval));
	fixed->time = w->time + w->day * USECS_PER_DAY;
	return (Node *) makeConst(INTERVALOID, -1, InvalidOid, sizeof(Interval), IntervalPGetDatum(fixed), false,
							  false);
}

/*
 * What PromQL's functions tell of samples is told of their summary.  With a width it is extrapolated to the bucket
 * in which the samples lie; with the ends of a range samples outside of it would not count, and the summary has
 * them.
 */
static bool
split_samples(Work *w, const Known *k, const char **why)
{
	List *args = arguments(w->agg);
	Node *state, *result;
	const char *maker = k->split == SPLIT_COUNTER ? "counter_agg" : "gauge_agg";

	state = keep(w, call(w, OURS, maker, list_make2(linitial(args), lsecond(args))));
	if (list_length(args) == 2)
		result = call(w, OURS, k->accessor, list_make1(state));
	else if (list_length(args) == 3 && fixed_width(lthird(args)) != NULL)
	{
		Node *width = fixed_width(lthird(args));
		Node *start =
			call(w, OURS, "time_bucket", list_make2(width, call(w, OURS, "first_time", list_make1(state))));
		Node *method = (Node *) makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1,
										  PointerGetDatum(cstring_to_text("prometheus")), false, false);

		result = call(w, OURS, strcmp(k->name, "rate") == 0 ? "extrapolated_rate" : "extrapolated_delta",
					  list_make4(state, method, start, op(w, "+", start, width)));
	}
	else
	{
		*why = "Samples of a range, or of months, cannot be told from what is kept of a bucket.";
		return false;
	}
	if (k->samples > 0)
		result = result_when(
			op(w, ">=", call(w, OURS, "num_elements", list_make1(state)), int8_const(k->samples)), result);
	w->split->final = result;
	return true;
}

static void
split_over_time(Work *w, const Known *k)
{
	Node *x = argument(w->agg, 0);
	Node *count = keep_call(w, OURS, "count_over_time", x);
	Node *sum = keep_call(w, OURS, "sum_over_time", x);

	if (k->split == SPLIT_AVG_OVER_TIME)
		w->split->final = op(w, "/", sum, cast(w, count, FLOAT8OID));
	else
		split_float_variance(w, k, count, keep_call(w, OURS, "stdvar_over_time", x));
}

/* Why is an aggregate out of the question, whichever it is? */
static const char *
general_obstacle(const Aggref *agg, const char **hint)
{
	if (agg->aggdistinct != NIL)
	{
		*hint = "approx_count_distinct() can be kept.";
		return "Of DISTINCT values all would have to be kept.";
	}
	if (AGGKIND_IS_ORDERED_SET(agg->aggkind))
	{
		*hint = "sketch_agg() can be kept, and approx_percentile() is computed from it.";
		return "All values would have to be kept.";
	}
	if (agg->aggorder != NIL)
	{
		*hint = "first(value, time) and last(value, time) can be kept.";
		return "With ORDER BY all values would have to be kept.";
	}
	if (agg->aggvariadic)
		return "VARIADIC arguments are not known here.";
	if (contain_mutable_functions((Node *) agg->args) || contain_mutable_functions((Node *) agg->aggfilter))
	{
		*hint = "Use functions that are IMMUTABLE, with time zones that are named.";
		return "Its value depends on settings or on the time when it is computed.";
	}
	return NULL;
}

/*
 * mdb_split_aggregate - the partials of an aggregate, and what its value is made of.
 *
 * NULL if it cannot be kept, with the reason.
 */
MdbSplit *
mdb_split_aggregate(Aggref *agg, MdbReason *reason)
{
	const Known *k = known_of(agg);
	Work w = {.pstate = make_parsestate(NULL), .agg = agg, .split = palloc0(sizeof(MdbSplit))};
	bool ok = true;

	reason->hint = NULL;
	reason->detail = general_obstacle(agg, &reason->hint);
	if (reason->detail)
		return NULL;
	if (k == NULL)
	{
		reason->detail = "There is no state of it that could be merged with others.";
		reason->hint =
			"count, sum, avg, min, max, first, last, stddev, variance, counter_agg, sketch_agg and "
			"histogram can be kept.";
		return NULL;
	}
	w.pstate->p_expr_kind = EXPR_KIND_SELECT_TARGET;
	switch (k->split)
	{
		case SPLIT_SELF:
			w.split->final = keep(&w, (Node *) agg);
			break;
		case SPLIT_AVG:
			ok = split_avg(&w, &reason->detail);
			break;
		case SPLIT_VARIANCE:
			ok = split_variance(&w, k, &reason->detail);
			break;
		case SPLIT_END:
			ok = split_end(&w, k, &reason->detail);
			break;
		case SPLIT_COUNTER:
		case SPLIT_GAUGE:
			ok = split_samples(&w, k, &reason->detail);
			break;
		case SPLIT_AVG_OVER_TIME:
		case SPLIT_VARIANCE_OVER_TIME:
			split_over_time(&w, k);
			break;
	}
	if (!ok)
		return NULL;
	/* What was made must be what was asked for. */
	w.split->final = with_collations(&w, cast(&w, w.split->final, agg->aggtype));
	free_parsestate(w.pstate);
	return w.split;
}

static Node *
finish_mutator(Node *node, void *combined)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN)
		return copyObject(list_nth((List *) combined, ((Param *) node)->paramid - 1));
	return expression_tree_mutator(node, finish_mutator, combined);
}

/*
 * mdb_split_finish - the aggregate's value, of its partials' combined states.
 */
Node *
mdb_split_finish(const MdbSplit *split, List *combined)
{
	return finish_mutator(split->final, combined);
}

/* ---------- combining ---------- */

/* The state of another aggregate over the same rows, which splitting has put beside this one. */
static Node *
companion(Work *w, List *partials, List *states, Node *partial)
{
	int at;

	((Aggref *) partial)->aggfilter = copyObject(w->agg->aggfilter);
	at = mdb_find_equal(partials, with_collations(w, partial));
	return at < 0 ? NULL : list_nth(states, at);
}

static Node *
combine_end(Work *w, const Known *k, List *partials, List *states, Node *state)
{
	const char *limit = strcmp(k->name, "first") == 0 ? "min" : "max";
	Node *time = companion(w, partials, states, call(w, CORE, limit, list_make1(argument(w->agg, 1))));

	return time ? call(w, OURS, k->name, list_make2(state, time)) : NULL;
}

static Node *
combine_variance(Work *w, const Known *k, List *partials, List *states, Node *state)
{
	List *x = list_make1(argument(w->agg, 0));
	bool samples = k->split == SPLIT_VARIANCE_OVER_TIME;
	Node *count = companion(w, partials, states,
							samples ? call(w, OURS, "count_over_time", x) : call(w, CORE, "count", x));
	Node *sum =
		companion(w, partials, states, samples ? call(w, OURS, "sum_over_time", x) : call(w, CORE, "sum", x));

	return count && sum ? call(w, OURS, "combine_variance", list_make3(count, sum, state)) : NULL;
}

/*
 * mdb_combine_partial - what a partial is over all rows of several states: an expression with one aggregate over
 * columns of states.
 *
 * states are such columns, in the order of partials, which has the one that is wanted and those that were split
 * off with it.  NULL if the latter are not there, or it is none that can be combined.
 */
Node *
mdb_combine_partial(Aggref *partial, List *partials, List *states)
{
	const Known *k = known_of(partial);
	Work w = {.pstate = make_parsestate(NULL), .agg = partial};
	int at = mdb_find_equal(partials, (Node *) partial);
	Node *state = at < 0 ? NULL : list_nth(states, at);
	Node *result = NULL;

	if (k == NULL || state == NULL)
		return NULL;
	w.pstate->p_expr_kind = EXPR_KIND_SELECT_TARGET;
	switch (k->combine)
	{
		case COMBINE_NONE:
			break;
		case COMBINE_SELF:
			result = call(&w, k->schema, k->name, list_make1(state));
			break;
		case COMBINE_COUNT:
			result = or_zero(cast(&w, call(&w, CORE, "sum", list_make1(state)), INT8OID));
			break;
		case COMBINE_SUM:
			result = cast(&w, call(&w, CORE, "sum", list_make1(state)), partial->aggtype);
			break;
		case COMBINE_END:
			result = combine_end(&w, k, partials, states, state);
			break;
		case COMBINE_VARIANCE:
			result = combine_variance(&w, k, partials, states, state);
			break;
		case COMBINE_ROLLUP:
		case COMBINE_SUMMARY:
			result = call(&w, OURS, mdb_partial_is_ordered(partial) ? "combine_summaries" : "rollup",
						  list_make1(state));
			break;
		case COMBINE_BUCKETS:
			result = call(&w, OURS, "sum_histograms", list_make1(state));
			break;
	}
	if (result)
		with_collations(&w, result);
	free_parsestate(w.pstate);
	return result;
}

/* ---------- names ---------- */

/*
 * mdb_state_name - a name for the column that keeps a partial: sum_usage_user.  Not yet one of its own.
 */
char *
mdb_state_name(const Aggref *partial, Oid relid)
{
	StringInfoData buf;
	List *vars = pull_var_clause((Node *) partial->args, 0);
	ListCell *lc;

	initStringInfo(&buf);
	appendStringInfoString(&buf, get_func_name(partial->aggfnoid));
	foreach (lc, vars)
	{
		Var *var = lfirst(lc);
		char *name = IsA(var, Var) ? get_attname(relid, var->varattno, true) : NULL;

		if (name)
			appendStringInfo(&buf, "_%s", name);
	}
	/* Room for what tells it from another one. */
	buf.data[pg_mbcliplen(buf.data, buf.len, NAMEDATALEN - 8)] = '\0';
	return buf.data;
}
