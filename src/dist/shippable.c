/*
 * shippable.c
 *	  Which expressions nodes may be asked to evaluate, and in what form they are sent.
 *
 * An expression over columns of the distributed table is sent if it means the same on each node: it is made of kinds of
 * nodes that are listed here, of PostgreSQL's own functions, operators and types and this extension's; of functions that
 * are IMMUTABLE, or that depend on no setting but the zone, which nodes are told (TimeZone); and of collations that are the
 * same everywhere: the database's, of which sessions make sure, and C.
 *
 * What has no columns (now(), parameters, results of subqueries that are run once) is the coordinator's to evaluate: it
 * is put aside as a whole, and a Param takes its place.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "dist/dist.h"
#include "metricsdb.h"

typedef struct Work
{
	MdbShipping *shipping;
	Oid schema; /* ours */
	bool ok;
} Work;

/* Functions that are STABLE for the sake of the zone alone. */
static bool
depends_on_zone_alone(Oid function)
{
	switch (function)
	{
		case F_DATE_TRUNC_TEXT_TIMESTAMPTZ:
		case F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT:
		case F_DATE_PART_TEXT_TIMESTAMPTZ:
		case F_EXTRACT_TEXT_TIMESTAMPTZ:
		case F_TIMESTAMPTZ_PL_INTERVAL:
		case F_TIMESTAMPTZ_MI_INTERVAL:
		case F_DATE_TIMESTAMPTZ:
		case F_TIMESTAMPTZ_DATE:
		case F_TIME_TIMESTAMPTZ:
		case F_TIMESTAMP_TIMESTAMPTZ:
		case F_TIMESTAMPTZ_TIMESTAMP:
		case F_DATE_LT_TIMESTAMPTZ:
		case F_DATE_LE_TIMESTAMPTZ:
		case F_DATE_EQ_TIMESTAMPTZ:
		case F_DATE_GT_TIMESTAMPTZ:
		case F_DATE_GE_TIMESTAMPTZ:
		case F_DATE_NE_TIMESTAMPTZ:
		case F_TIMESTAMPTZ_LT_DATE:
		case F_TIMESTAMPTZ_LE_DATE:
		case F_TIMESTAMPTZ_EQ_DATE:
		case F_TIMESTAMPTZ_GT_DATE:
		case F_TIMESTAMPTZ_GE_DATE:
		case F_TIMESTAMPTZ_NE_DATE:
		case F_TIMESTAMP_LT_TIMESTAMPTZ:
		case F_TIMESTAMP_LE_TIMESTAMPTZ:
		case F_TIMESTAMP_EQ_TIMESTAMPTZ:
		case F_TIMESTAMP_GT_TIMESTAMPTZ:
		case F_TIMESTAMP_GE_TIMESTAMPTZ:
		case F_TIMESTAMP_NE_TIMESTAMPTZ:
		case F_TIMESTAMPTZ_LT_TIMESTAMP:
		case F_TIMESTAMPTZ_LE_TIMESTAMP:
		case F_TIMESTAMPTZ_EQ_TIMESTAMP:
		case F_TIMESTAMPTZ_GT_TIMESTAMP:
		case F_TIMESTAMPTZ_GE_TIMESTAMP:
		case F_TIMESTAMPTZ_NE_TIMESTAMP:
			return true;
		default:
			return false;
	}
}

static bool
function_is_known(Oid function, void *context)
{
	Work *w = context;
	char volatility;

	if (function >= FirstGenbkiObjectId && get_func_namespace(function) != w->schema)
		return true;
	volatility = func_volatile(function);
	return volatility != PROVOLATILE_IMMUTABLE &&
		   !(volatility == PROVOLATILE_STABLE && depends_on_zone_alone(function));
}

static bool
type_is_known(Work *w, Oid type)
{
	Oid element;

	if (type < FirstGenbkiObjectId)
		switch (type)
		{
			case RECORDOID:
			case REGPROCOID:
			case REGPROCEDUREOID:
			case REGOPEROID:
			case REGOPERATOROID:
			case REGTYPEOID:
			case REGCLASSOID:
			case REGCONFIGOID:
			case REGDICTIONARYOID:
			case REGNAMESPACEOID:
			case REGROLEOID:
			case REGCOLLATIONOID:
			case MONEYOID:
				return false;
			default:
				return true;
		}
	element = get_element_type(type);
	if (OidIsValid(element))
		return type_is_known(w, element);
	{
		HeapTuple tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
		bool ours = HeapTupleIsValid(tuple) && ((Form_pg_type) GETSTRUCT(tuple))->typnamespace == w->schema;

		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
		return ours;
	}
}

static bool
collation_is_known(Oid collation)
{
	return !OidIsValid(collation) || collation == DEFAULT_COLLATION_OID || collation == C_COLLATION_OID;
}

/* Does the text of a value depend on settings that may differ here? */
static bool
text_is_settled(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
		case UUIDOID:
		case JSONOID:
		case JSONBOID:
			return true;
		default:
			return false;
	}
}

static bool
kind_is_known(Node *node)
{
	switch (nodeTag(node))
	{
		case T_Var:
		case T_Const:
		case T_FuncExpr:
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
		case T_ScalarArrayOpExpr:
		case T_BoolExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_CaseExpr:
		case T_CaseTestExpr:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_ArrayExpr:
		case T_RelabelType:
		case T_ArrayCoerceExpr:
		case T_SubscriptingRef:
		case T_Aggref:
			return true;
		case T_CoerceViaIO:
		{
			CoerceViaIO *c = (CoerceViaIO *) node;

			return text_is_settled(exprType((Node *) c->arg)) && text_is_settled(c->resulttype);
		}
		default:
			return false;
	}
}

/* Does it depend on a row? */
static bool
finds_row(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref) || IsA(node, GroupingFunc) || IsA(node, WindowFunc) || IsA(node, CaseTestExpr) ||
		IsA(node, PlaceHolderVar) || (IsA(node, Var) && ((Var *) node)->varlevelsup == 0))
		return true;
	return expression_tree_walker(node, finds_row, context);
}

static bool
finds_subquery(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, SubLink) || IsA(node, SubPlan) || IsA(node, AlternativeSubPlan) || IsA(node, Query))
		return true;
	return expression_tree_walker(node, finds_subquery, context);
}

static bool
finds_other_param(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param))
		return ((Param *) node)->paramkind != PARAM_EXTERN && ((Param *) node)->paramkind != PARAM_EXEC;
	return expression_tree_walker(node, finds_other_param, context);
}

/* A value that the coordinator computes. */
static Node *
fold(Work *w, Node *node)
{
	Param *p = makeNode(Param);

	/* Params of subqueries that were not planned yet are none of ours. */
	if (finds_other_param(node, NULL) || contain_volatile_functions(node) || finds_subquery(node, NULL) ||
		expression_returns_set(node))
	{
		w->ok = false;
		return node;
	}
	w->shipping->folded = lappend(w->shipping->folded, node);
	p->paramkind = PARAM_EXTERN;
	p->paramid = list_length(w->shipping->folded);
	p->paramtype = exprType(node);
	p->paramtypmod = exprTypmod(node);
	p->paramcollid = exprCollation(node);
	p->location = -1;
	return (Node *) p;
}

static Node *
ship_mutator(Node *node, Work *w)
{
	if (node == NULL || !w->ok)
		return node;
	if (IsA(node, List) || IsA(node, TargetEntry) || IsA(node, CaseWhen) || IsA(node, SortGroupClause))
		return expression_tree_mutator(node, ship_mutator, w);
	if (!type_is_known(w, exprType(node)) || !collation_is_known(exprCollation(node)))
	{
		w->ok = false;
		return node;
	}
	if (!IsA(node, Const) && !finds_row(node, NULL))
		return fold(w, node);
	w->ok = kind_is_known(node) && collation_is_known(exprInputCollation(node)) &&
			!check_functions_in_node(node, function_is_known, w);
	if (IsA(node, Var))
		w->ok = ((Var *) node)->varno == w->shipping->rti && ((Var *) node)->varattno > 0 &&
				((Var *) node)->varlevelsup == 0;
	else if (IsA(node, Aggref))
		w->ok =
			w->ok && ((Aggref *) node)->agglevelsup == 0 && ((Aggref *) node)->aggsplit == AGGSPLIT_SIMPLE;
	return w->ok ? expression_tree_mutator(node, ship_mutator, w) : node;
}

/*
 * mdb_ship - an expression in the form in which it is sent; NULL if it is not.
 */
Node *
mdb_ship(MdbShipping *s, Node *expr)
{
	Work w = {.shipping = s, .schema = get_namespace_oid(MDB_SCHEMA, true), .ok = true};
	int before = list_length(s->folded);

	expr = ship_mutator(expr, &w);
	if (!w.ok)
		s->folded = list_truncate(s->folded, before);
	return w.ok ? expr : NULL;
}
