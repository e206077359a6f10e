/*
 * gapfill_plan.c
 *	  MetricsGapFill, planning: a node above the grouping of queries that group by time_bucket_gapfill.
 *
 * Each of core's and our own paths of the grouping is sorted by the other keys and then the bucket, and gets the
 * node on top, which makes rows for buckets that have none.  The grouping below computes keys, aggregates and the
 * arguments of locf and interpolate; the node computes what the query makes of these, in rows of both kinds.
 *
 * Invariants:
 *	1. No path of the grouping without the node is left.
 *	2. What stands above the grouping finds each call of locf and interpolate in the node's output, and never
 *	   evaluates one.
 *	3. Conditions of an outer query on a subquery that fills gaps stay outside of it.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planner.h"
#include "optimizer/prep.h"
#include "optimizer/tlist.h"
#include "parser/parse_oper.h"
#include "utils/lsyscache.h"
#include "utils/selfuncs.h"

#include "compat.h"
#include "exec/gapfill.h"
#include "exec/pushdown.h"
#include "func/func.h"
#include "metricsdb.h"

static create_upper_paths_hook_type prev_create_upper_paths = NULL;
static planner_hook_type prev_planner = NULL;

static Plan *plan_gapfill(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses,
						  List *custom_plans);

static const CustomPathMethods path_methods = {.CustomName = "MetricsGapFill",
											   .PlanCustomPath = plan_gapfill};

/* A query that fills gaps. */
typedef struct Filling
{
	PlannerInfo *root;
	FuncExpr *bucket; /* the call of time_bucket_gapfill */
	Index bucket_ref;
	Oid time_type;
	Expr *zone;        /* NULL: none */
	List *bounds;      /* expressions */
	List *ops;         /* their strategies */
	List *calls;       /* of locf and interpolate */
	List *keys;        /* expressions */
	PathTarget *child; /* what the grouping computes */
	List *shown;       /* its columns that others may refer to, ... */
	List *columns;     /* ... MdbGapColumn of each of its columns */
} Filling;

/* ---------- finding the calls ---------- */

typedef enum CallKind
{
	NO_CALL,
	BUCKET_CALL,
	LOCF_CALL,
	INTERPOLATE_CALL
} CallKind;

static CallKind
call_kind(Node *node)
{
	Oid function = node && IsA(node, FuncExpr) ? ((FuncExpr *) node)->funcid : InvalidOid;
	CallKind kind = NO_CALL;
	char *name;

	if (function < FirstNormalObjectId || (name = get_func_name(function)) == NULL)
		return NO_CALL;
	if (strcmp(name, "time_bucket_gapfill") == 0)
		kind = BUCKET_CALL;
	else if (strcmp(name, "locf") == 0)
		kind = LOCF_CALL;
	else if (strcmp(name, "interpolate") == 0)
		kind = INTERPOLATE_CALL;
	return kind != NO_CALL && get_func_namespace(function) == get_namespace_oid(MDB_SCHEMA, true) ? kind
																								  : NO_CALL;
}

typedef struct Calls
{
	List *buckets; /* different ones */
	List *fills;   /* locf and interpolate */
	Oid within;    /* of these, the one that is being looked through */
} Calls;

pg_noreturn static void
not_there(const char *what, Oid function)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg(what, get_func_name(function)),
					errhint("Call it on an aggregate, in the SELECT that groups by time_bucket_gapfill.")));
}

static bool
find_calls(Node *node, Calls *calls)
{
	CallKind kind = call_kind(node);

	if (node == NULL)
		return false;
	if (kind == BUCKET_CALL)
		calls->buckets = list_append_unique(calls->buckets, node);
	if (kind == LOCF_CALL || kind == INTERPOLATE_CALL)
	{
		Oid function = ((FuncExpr *) node)->funcid;

		if (OidIsValid(calls->within))
			not_there("%s must not be nested in another locf or interpolate", function);
		calls->fills = list_append_unique(calls->fills, node);
		calls->within = function;
		(void) expression_tree_walker(node, find_calls, calls);
		calls->within = InvalidOid;
		return false;
	}
	if (IsA(node, WindowFunc) && OidIsValid(calls->within))
		not_there("window functions must not be below %s", calls->within);
	if (IsA(node, Aggref))
	{
		Calls below = {NIL};

		(void) expression_tree_walker(node, find_calls, &below);
		if (below.fills != NIL)
			not_there("aggregate functions must be below %s", linitial_node(FuncExpr, below.fills)->funcid);
		calls->buckets = list_concat_unique(calls->buckets, below.buckets);
		return false;
	}
	return expression_tree_walker(node, find_calls, calls);
}

/* ---------- the range ---------- */

pg_noreturn static void
bad_argument(const char *name, const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid time_bucket_gapfill argument: %s %s", name, what),
					errhint("It must be the same for all rows: a constant, a parameter, now(), a subquery "
							"that stands alone.")));
}

/* Can it be evaluated once, before there is a row? */
static bool
is_simple(Node *node)
{
	return !contain_var_clause(node) && !contain_volatile_functions(node) && !contain_subplans(node) &&
		   !contain_agg_clause(node);
}

static void
add_bound(Filling *f, Expr *bound, int strategy)
{
	f->bounds = lappend(f->bounds, bound);
	f->ops = lappend_int(f->ops, strategy);
}

static bool
known_type(Oid time_type, Oid type)
{
	if (time_type == INT2OID || time_type == INT4OID || time_type == INT8OID)
		return type == INT2OID || type == INT4OID || type == INT8OID;
	return type == DATEOID || type == TIMESTAMPOID || type == TIMESTAMPTZOID;
}

/* Is this a condition on the time that bounds it? */
static void
bound_of_clause(Filling *f, Node *clause, Node *time, bool lower, bool upper)
{
	OpExpr *op = (OpExpr *) clause;
	Oid opclass = GetDefaultOpClass(f->time_type, BTREE_AM_OID);
	Node *left, *right;
	Oid opno;
	int strategy;

	if (!IsA(clause, OpExpr) || list_length(op->args) != 2)
		return;
	opno = op->opno;
	left = linitial(op->args);
	right = lsecond(op->args);
	if (!equal(mdb_strip_relabel(left), time))
	{
		Node *swap = left;

		left = right;
		right = swap;
		opno = get_commutator(opno);
	}
	if (!OidIsValid(opno) || !equal(mdb_strip_relabel(left), time) || !is_simple(right) ||
		!known_type(f->time_type, exprType(right)))
		return;
	strategy = get_op_opfamily_strategy(opno, get_opclass_family(opclass));
	if ((lower && strategy >= BTEqualStrategyNumber) ||
		(upper && strategy != 0 && strategy <= BTEqualStrategyNumber))
		add_bound(f, (Expr *) right, strategy);
}

/* Conditions that hold for all rows that are grouped. */
static void
bounds_of_quals(Filling *f, Node *jtnode, Node *time, bool lower, bool upper)
{
	Node *quals = NULL;
	ListCell *lc;

	if (jtnode == NULL)
		return;
	if (IsA(jtnode, FromExpr))
	{
		foreach (lc, ((FromExpr *) jtnode)->fromlist)
			bounds_of_quals(f, lfirst(lc), time, lower, upper);
		quals = ((FromExpr *) jtnode)->quals;
	}
	else if (IsA(jtnode, JoinExpr))
	{
		JoinExpr *j = (JoinExpr *) jtnode;

		if (j->jointype == JOIN_INNER || j->jointype == JOIN_LEFT || j->jointype == JOIN_SEMI ||
			j->jointype == JOIN_ANTI)
			bounds_of_quals(f, j->larg, time, lower, upper);
		if (j->jointype == JOIN_INNER)
			bounds_of_quals(f, j->rarg, time, lower, upper);
		if (j->jointype == JOIN_INNER || j->jointype == JOIN_SEMI)
			quals = j->quals;
	}
	/* The planner has made lists of what was ANDed. */
	if (quals && !IsA(quals, List))
		quals = (Node *) make_ands_implicit((Expr *) quals);
	foreach (lc, (List *) quals)
		bound_of_clause(f, lfirst(lc), time, lower, upper);
}

static bool
has_bound(const Filling *f, bool lower)
{
	ListCell *lc;

	foreach (lc, f->ops)
		if (lower ? lfirst_int(lc) >= BTEqualStrategyNumber : lfirst_int(lc) <= BTEqualStrategyNumber)
			return true;
	return false;
}

/* From the arguments start and finish, or from WHERE where they are NULL. */
static void
find_range(Filling *f)
{
	List *args = f->bucket->args;
	int n = list_length(args);
	Node *time = mdb_strip_relabel(lsecond(args));
	bool missing[2];

	if (!is_simple(linitial(args)))
		bad_argument("bucket_width", "must be a simple expression");
	if (f->zone && !is_simple((Node *) f->zone))
		bad_argument("timezone", "must be a simple expression");
	for (int i = 0; i < 2; i++)
	{
		Node *bound = list_nth(args, n - 2 + i);

		missing[i] = IsA(bound, Const) && ((Const *) bound)->constisnull;
		if (missing[i])
			continue;
		if (!is_simple(bound))
			bad_argument(i == 0 ? "start" : "finish", "must be a simple expression");
		add_bound(f, (Expr *) bound, i == 0 ? BTGreaterEqualStrategyNumber : BTLessStrategyNumber);
	}
	if (!missing[0] && !missing[1])
		return;
	bounds_of_quals(f, (Node *) f->root->parse->jointree, time, missing[0], missing[1]);
	for (int i = 0; i < 2; i++)
		if (!has_bound(f, i == 0))
			ereport(
				ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 !IsA(time, Var)
					 ? errmsg("invalid time_bucket_gapfill argument: ts needs to refer to a single column "
							  "if no start or finish is supplied")
					 : errmsg("missing time_bucket_gapfill argument: could not infer %s from WHERE clause",
							  i == 0 ? "start" : "finish"),
				 errhint("Specify start and finish as arguments or in the WHERE clause.")));
}

/* How many buckets there will be, as far as constants tell; else 0. */
static double
estimate_buckets(const Filling *f)
{
	MdbGapRange range = {0};
	Const *width = (Const *) estimate_expression_value(f->root, linitial(f->bucket->args));
	ListCell *lb, *lo;
	MdbBuckets b;
	double size;

	if (!IsA(width, Const) || width->constisnull)
		return 0;
	forboth (lb, f->bounds, lo, f->ops)
	{
		Const *c = (Const *) estimate_expression_value(f->root, lfirst(lb));

		if (IsA(c, Const) && !c->constisnull)
			mdb_gapfill_narrow(&range, f->time_type, c->constvalue, c->consttype, lfirst_int(lo));
	}
	mdb_buckets_init(&b, f->time_type, width->constvalue, NULL);
	size = b.size > 0 ? b.size : b.width.month * 30.0 * USECS_PER_DAY;
	if (f->time_type == DATEOID)
		size /= USECS_PER_DAY;
	if (!range.has_lo || !range.has_hi || range.hi <= range.lo)
		return 0;
	return ((double) range.hi - range.lo) / size + 1;
}

/* ---------- what the grouping computes ---------- */

static void
add_column(Filling *f, Expr *expr, Index ref, MdbGapColumn column)
{
	add_column_to_pathtarget(f->child, expr, ref);
	f->columns = lappend_int(f->columns, column);
	if (column != MDB_GAP_HIDDEN)
		f->shown = lappend(f->shown, expr);
}

/* Aggregates and columns that an expression needs, but for keys and calls of locf and interpolate. */
static bool
add_needed(Node *node, Filling *f)
{
	if (node == NULL || list_member(f->shown, node) || list_member(f->calls, node))
		return false;
	if (IsA(node, Aggref) || IsA(node, GroupingFunc))
	{
		add_column(f, (Expr *) node, 0, IsA(node, Aggref) ? MDB_GAP_EMPTY : MDB_GAP_CARRIED);
		return false;
	}
	if (IsA(node, Var) || IsA(node, PlaceHolderVar))
	{
		/* A column that the keys determine. */
		add_column(f, (Expr *) node, 0, MDB_GAP_CARRIED);
		return false;
	}
	return expression_tree_walker(node, add_needed, f);
}

/* Is it the output of the query, to the last column? */
static bool
is_final(PlannerInfo *root, const PathTarget *target)
{
	ListCell *le, *lt;

	if (list_length(target->exprs) != list_length(root->processed_tlist))
		return false;
	forboth (le, target->exprs, lt, root->processed_tlist)
		if (!equal(lfirst(le), lfirst_node(TargetEntry, lt)->expr))
			return false;
	return true;
}

/* Keys first, then what the output needs, then arguments of locf and interpolate. */
static void
make_columns(Filling *f, RelOptInfo *grouped)
{
	Query *parse = f->root->parse;
	ListCell *lc;

	f->child = create_empty_pathtarget();
	foreach (lc, parse->groupClause)
	{
		SortGroupClause *sgc = lfirst_node(SortGroupClause, lc);
		Expr *key = (Expr *) get_sortgroupclause_expr(sgc, f->root->processed_tlist);

		f->keys = lappend(f->keys, key);
		add_column(f, key, sgc->tleSortGroupRef, equal(key, f->bucket) ? MDB_GAP_TIME : MDB_GAP_CARRIED);
	}
	/* The planner may have put calls off until after a sort or window functions, but only the node computes them. */
	if (!is_final(f->root, grouped->reltarget))
		foreach (lc, f->calls)
			add_new_column_to_pathtarget(grouped->reltarget, lfirst(lc));
	(void) add_needed((Node *) grouped->reltarget->exprs, f);
	foreach (lc, f->calls)
		(void) add_needed((Node *) list_copy_tail(lfirst_node(FuncExpr, lc)->args, 1), f);
	foreach (lc, f->calls)
	{
		Expr *argument = linitial(lfirst_node(FuncExpr, lc)->args);

		if (!list_member(f->child->exprs, argument))
			add_column(f, argument, 0, MDB_GAP_HIDDEN);
	}
	set_pathtarget_cost_width(f->root, f->child);
}

static int
column_of(List *exprs, void *expr)
{
	int n = 0;
	ListCell *lc;

	foreach (lc, exprs)
	{
		if (equal(lfirst(lc), expr))
			return n;
		n++;
	}
	elog(ERROR, "an expression is not in the output of the grouping");
}

/* custom_private and custom_exprs of the plan, see MdbGapPrivate. */
static List *
make_private(Filling *f)
{
	List *keys = NIL, *equal_ops = NIL, *collations = NIL, *calls = NIL, *around = NIL;
	ListCell *lc;

	foreach (lc, mdb_group_clause(f->root))
	{
		SortGroupClause *sgc = lfirst_node(SortGroupClause, lc);
		Node *key = get_sortgroupclause_expr(sgc, f->root->processed_tlist);

		if (equal(key, f->bucket))
			continue;
		keys = lappend_int(keys, column_of(f->child->exprs, key));
		equal_ops = lappend_oid(equal_ops, sgc->eqop);
		collations = lappend_oid(collations, exprCollation(key));
	}
	foreach (lc, f->calls)
	{
		FuncExpr *call = lfirst_node(FuncExpr, lc);
		bool locf = call_kind((Node *) call) == LOCF_CALL;
		Const *last = lthird(call->args);

		if (locf && !IsA(last, Const))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("invalid locf argument: treat_null_as_missing must be a BOOL literal")));
		calls = lappend_int(calls, column_of(f->child->exprs, linitial(call->args)));
		calls = lappend_int(calls, locf);
		calls = lappend_int(calls, locf && !last->constisnull && DatumGetBool(last->constvalue));
		around = lappend(around, list_make2(lsecond(call->args), locf ? NULL : lthird(call->args)));
	}
	return list_make3(list_concat_copy(f->shown, f->calls),
					  list_make3(list_make2(linitial(f->bucket->args), f->zone), f->bounds, around),
					  list_concat(list_make4(f->columns, keys, equal_ops, collations),
								  list_make3(f->ops, calls, list_make1_int(list_length(f->keys) == 1))));
}

/* ---------- paths ---------- */

/* By the other keys, in any order, then by the bucket, upwards. */
static List *
wanted_order(Filling *f)
{
	List *clauses = NIL;
	SortGroupClause *last = NULL;
	ListCell *lc;

	foreach (lc, f->root->parse->groupClause)
	{
		SortGroupClause *sgc = lfirst_node(SortGroupClause, lc);

		if (equal(get_sortgroupclause_expr(sgc, f->root->processed_tlist), f->bucket))
		{
			last = copyObject(sgc);
			get_sort_group_operators(f->time_type, true, false, false, &last->sortop, NULL, NULL, NULL);
			last->nulls_first = false;
			mdb_sort_upwards(last);
		}
		else if (!OidIsValid(sgc->sortop))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("time_bucket_gapfill cannot be used in a grouping by a type without an order"),
					 errdetail("Groups are sorted to find their gaps.")));
		else if (list_member(mdb_group_clause(f->root), sgc))
			clauses = lappend(clauses, sgc);
	}
	return make_pathkeys_for_sortclauses(f->root, lappend(clauses, last), f->root->processed_tlist);
}

/*
 * Can a path of the grouping compute what the node needs of it?  Groupings of partitions that are put together were
 * made to compute the query's output, and do not know what it consists of.
 */
static bool
computes(const Filling *f, Path *path)
{
	ListCell *lc;

	if (IsA(path, AggPath) || IsA(path, GroupPath) ||
		(IsA(path, CustomPath) && (((CustomPath *) path)->flags & CUSTOMPATH_SUPPORT_PROJECTION) != 0))
		return true;
	foreach (lc, f->child->exprs)
		if (!list_member(path->pathtarget->exprs, lfirst(lc)))
			return false;
	return f->calls == NIL;
}

/* A grouping of core's by sorting, should there be no path that could be used. */
static Path *
plain_grouping(Filling *f, RelOptInfo *input, RelOptInfo *grouped)
{
	PlannerInfo *root = f->root;
	Query *parse = root->parse;
	Path *path = input->cheapest_total_path;
	AggClauseCosts costs = {0};
	double groups = Max(1, path->rows / 10);

	if (!pathkeys_contained_in(root->group_pathkeys, path->pathkeys))
		path = (Path *) create_sort_path(root, grouped, path, root->group_pathkeys, -1);
	if (!parse->hasAggs)
		return (Path *) create_group_path(root, grouped, path, mdb_group_clause(root),
										  (List *) parse->havingQual, groups);
	get_agg_clause_costs(root, AGGSPLIT_SIMPLE, &costs);
	return (Path *) create_agg_path(root, grouped, path, f->child, AGG_SORTED, AGGSPLIT_SIMPLE,
									mdb_group_clause(root), (List *) parse->havingQual, &costs, groups);
}

static void
add_filling_path(Filling *f, RelOptInfo *grouped, Path *child, List *pathkeys, List *private, double rows)
{
	CustomPath *path = makeNode(CustomPath);

	child = apply_projection_to_path(f->root, grouped, child, f->child);
	if (!pathkeys_contained_in(pathkeys, child->pathkeys))
		child = (Path *) create_sort_path(f->root, grouped, child, pathkeys, -1);
	path->path.pathtype = T_CustomScan;
	path->path.parent = grouped;
	path->path.pathtarget = grouped->reltarget;
	path->path.rows = Max(rows, child->rows);
	path->path.startup_cost = child->startup_cost;
	path->path.total_cost = child->total_cost + cpu_tuple_cost * path->path.rows;
	mdb_path_disabled_like(&path->path, child);
	path->path.pathkeys = pathkeys;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->custom_paths = list_make1(child);
	path->custom_private = private;
	path->methods = &path_methods;
	add_path(grouped, &path->path);
}

static void
fill_gaps(PlannerInfo *root, RelOptInfo *input, RelOptInfo *grouped)
{
	Query *parse = root->parse;
	Filling f = {.root = root};
	Calls calls = {NIL}, having = {NIL};
	List *paths = grouped->pathlist;
	List *pathkeys, *private, *others = NIL;
	ListCell *lc;
	double rows;

	(void) find_calls((Node *) root->processed_tlist, &calls);
	(void) find_calls(parse->havingQual, &having);
	if (calls.buckets == NIL && calls.fills == NIL && having.fills == NIL)
		return;
	if (having.fills != NIL)
		not_there("%s must not be used in HAVING", linitial_node(FuncExpr, having.fills)->funcid);
	if (calls.buckets == NIL)
		mdb_gapfill_misplaced(linitial_node(FuncExpr, calls.fills)->funcid);
	if (list_length(calls.buckets) > 1)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("multiple time_bucket_gapfill calls not allowed"),
						errhint("Call it once, and refer to its column by number or by name.")));
	if (parse->groupingSets != NIL)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("time_bucket_gapfill cannot be used with grouping sets")));
	if (root->parent_root != NULL && parse->limitCount == NULL && parse->limitOffset == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a subquery with time_bucket_gapfill was planned before metricsdb was loaded"),
				 errhint("It is loaded now, so that the query can be repeated. To have it loaded in all "
						 "sessions add metricsdb to shared_preload_libraries.")));
	f.bucket = linitial(calls.buckets);
	foreach (lc, parse->groupClause)
		if (equal(get_sortgroupclause_expr(lfirst(lc), root->processed_tlist), f.bucket))
			f.bucket_ref = lfirst_node(SortGroupClause, lc)->tleSortGroupRef;
		else
			others = lappend(others, get_sortgroupclause_expr(lfirst(lc), root->processed_tlist));
	if (f.bucket_ref == 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("no top level time_bucket_gapfill in group by clause"),
						errhint("Group by the call itself; compute with it in a query around this one.")));
	f.time_type = exprType(lsecond(f.bucket->args));
	f.zone = list_length(f.bucket->args) == 5 ? lthird(f.bucket->args) : NULL;
	f.calls = calls.fills;
	find_range(&f);
	make_columns(&f, grouped);
	pathkeys = wanted_order(&f);
	private = make_private(&f);
	rows = estimate_buckets(&f);
	if (others != NIL)
		rows *= estimate_num_groups(root, others, Max(1, input->rows), NULL, NULL);

	grouped->pathlist = grouped->partial_pathlist = NIL;
	foreach (lc, paths)
		if (computes(&f, lfirst(lc)))
			add_filling_path(&f, grouped, lfirst(lc), pathkeys, private, rows);
	if (grouped->pathlist == NIL)
		add_filling_path(&f, grouped, plain_grouping(&f, input, grouped), pathkeys, private, rows);
}

static void
create_upper_paths(PlannerInfo *root, UpperRelationKind stage, RelOptInfo *input, RelOptInfo *output,
				   void *extra)
{
	if (prev_create_upper_paths)
		prev_create_upper_paths(root, stage, input, output, extra);
	if (stage == UPPERREL_GROUP_AGG && output->reloptkind == RELOPT_UPPER_REL &&
		root->parse->groupClause != NIL)
		fill_gaps(root, input, output);
}

/* ---------- path to plan ---------- */

static Plan *
plan_gapfill(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *tlist, List *clauses,
			 List *custom_plans)
{
	CustomScan *cscan = makeNode(CustomScan);
	ListCell *lc;
	int n = 0;

	cscan->scan.plan.targetlist = tlist;
	cscan->flags = path->flags;
	cscan->custom_plans = custom_plans;
	foreach (lc, (List *) linitial(path->custom_private))
		cscan->custom_scan_tlist =
			lappend(cscan->custom_scan_tlist, makeTargetEntry(copyObject(lfirst(lc)), ++n, NULL, false));
	cscan->custom_exprs = copyObject(lsecond(path->custom_private));
	cscan->custom_private = lthird(path->custom_private);
	cscan->methods = &mdb_gapfill_scan_methods;
	return (Plan *) cscan;
}

/* ---------- subqueries ---------- */

static bool
groups_by_gapfill(Query *query)
{
	ListCell *lc;

	foreach (lc, query->groupClause)
		if (call_kind(mdb_group_expr(query, get_sortgroupclause_expr(lfirst(lc), query->targetList))) ==
			BUCKET_CALL)
			return true;
	return false;
}

/*
 * A condition on a subquery's output moves into it where it can; on one that fills gaps it would then be asked
 * before there are the rows in them.  A subquery with a LIMIT is left alone, and NULL is none.
 */
static bool
guard_subqueries(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query *query = (Query *) node;

		if (context != NULL && query->limitCount == NULL && query->limitOffset == NULL &&
			groups_by_gapfill(query))
			query->limitCount =
				(Node *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64), (Datum) 0, true, FLOAT8PASSBYVAL);
		/* Only expressions with subqueries need to be gone through. */
		return query->hasSubLinks ? query_tree_walker(query, guard_subqueries, query, 0)
								  : range_table_walker(query->rtable, guard_subqueries, query, 0) ||
										guard_subqueries((Node *) query->cteList, query);
	}
	return expression_tree_walker(node, guard_subqueries, context);
}

static PlannedStmt *
plan_query(Query *parse, const char *query_string, int cursor_options, ParamListInfo params)
{
	(void) guard_subqueries((Node *) parse, NULL);
	return prev_planner ? prev_planner(parse, query_string, cursor_options, params)
						: standard_planner(parse, query_string, cursor_options, params);
}

/*
 * mdb_gapfill_init - at load, after MetricsAgg, whose paths are to be filled, too.
 *
 * The library may be loaded by the planner of the first query that calls one of the functions: that is in time for
 * the grouping, but not for the planner's own hook.
 */
void
mdb_gapfill_init(void)
{
	RegisterCustomScanMethods(&mdb_gapfill_scan_methods);
	prev_create_upper_paths = create_upper_paths_hook;
	create_upper_paths_hook = create_upper_paths;
	prev_planner = planner_hook;
	planner_hook = plan_query;
}
