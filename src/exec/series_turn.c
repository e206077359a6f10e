/*
 * series_turn.c
 *	  What of a condition on series columns may be evaluated before its turn.
 *
 * The index over series is asked when a scan starts, core's plan evaluates a condition when a row comes to it: of
 * some OR perhaps never.  So what might fail is left to core: fixed expressions under OR, patterns that are no
 * patterns, selectors that are none (series_match.c).  Constants have been looked at by the planner, as they are for
 * heaps.
 *
 * So is a condition that might fail for some value of the columns: it would be evaluated for series that have no row
 * which the query sees, or whose rows other conditions leave out.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "optimizer/optimizer.h"
#include "regex/regex.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "exec/series_turn.h"
#include "metricsdb.h"

static bool
has_vars(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return !IS_SPECIAL_VARNO(((Var *) node)->varno);
	return expression_tree_walker(node, has_vars, context);
}

/*
 * mdb_turn_has_vars - has an expression columns of the table, as opposed to values that other scans give it?
 */
bool
mdb_turn_has_vars(Node *node)
{
	return has_vars(node, NULL);
}

static bool
may_fail(Node *node, void *context)
{
	if (node == NULL || IsA(node, Const) || IsA(node, Param) || IsA(node, Var))
		return false;
	if (!has_vars(node, NULL))
		switch (nodeTag(node))
		{
			case T_FuncExpr:
				if (!get_func_leakproof(((FuncExpr *) node)->funcid))
					return true;
				break;
			case T_OpExpr:
				set_opfuncid((OpExpr *) node);
				if (!get_func_leakproof(((OpExpr *) node)->opfuncid))
					return true;
				break;
			case T_RelabelType:
			case T_ArrayExpr:
			case T_List:
				break;
			default:
				return true;
		}
	return expression_tree_walker(node, may_fail, context);
}

/*
 * mdb_turn_may_fail - might what is fixed in a condition, but no constant, raise an error?
 */
bool
mdb_turn_may_fail(Node *node)
{
	return may_fail(node, NULL);
}

static bool
is_regex(Oid funcid)
{
	return funcid == F_TEXTREGEXEQ || funcid == F_TEXTREGEXNE || funcid == F_TEXTICREGEXEQ ||
		   funcid == F_TEXTICREGEXNE;
}

/*
 * mdb_turn_matches_pattern - does a function take a pattern that may be none?
 */
bool
mdb_turn_matches_pattern(Oid funcid)
{
	return is_regex(funcid) || funcid == F_TEXTLIKE || funcid == F_TEXTNLIKE || funcid == F_TEXTICLIKE ||
		   funcid == F_TEXTICNLIKE;
}

static bool
pattern_fails(Node *node, void *top)
{
	Oid funcid = InvalidOid;
	List *args = NIL;

	if (node == NULL)
		return false;
	if (IsA(node, OpExpr))
	{
		set_opfuncid((OpExpr *) node);
		funcid = ((OpExpr *) node)->opfuncid;
		args = ((OpExpr *) node)->args;
	}
	else if (IsA(node, ScalarArrayOpExpr))
	{
		set_sa_opfuncid((ScalarArrayOpExpr *) node);
		funcid = ((ScalarArrayOpExpr *) node)->opfuncid;
		args = ((ScalarArrayOpExpr *) node)->args;
	}
	else if (IsA(node, FuncExpr))
	{
		funcid = ((FuncExpr *) node)->funcid;
		args = ((FuncExpr *) node)->args;
	}
	if (mdb_turn_matches_pattern(funcid) && node != top && list_length(args) == 2)
	{
		Const *pattern = lsecond(args);

		if (!IsA(pattern, Const))
			return true;
		if (!pattern->constisnull && !IsA(node, ScalarArrayOpExpr) &&
			!mdb_turn_pattern_is_valid(funcid, pattern->constvalue, exprInputCollation(node)))
			return true;
	}
	return expression_tree_walker(node, pattern_fails, top);
}

/*
 * mdb_turn_pattern_fails - might a pattern in a condition be none?  Not that of top itself, which is looked at when it
 * is known.
 */
bool
mdb_turn_pattern_fails(Node *node, Node *top)
{
	return pattern_fails(node, top);
}

/*
 * mdb_turn_pattern_is_valid - is a text a pattern for such a function?
 */
bool
mdb_turn_pattern_is_valid(Oid funcid, Datum pattern, Oid collation)
{
	text *t = DatumGetTextPP(pattern);
	const char *p = VARDATA_ANY(t);
	int len = (int) VARSIZE_ANY_EXHDR(t);
	int backslashes = 0;
	pg_wchar *wide;
	regex_t re;
	bool valid;

	if (!is_regex(funcid))
	{
		/* It must not end with one that says nothing of what follows. */
		while (backslashes < len && p[len - 1 - backslashes] == '\\')
			backslashes++;
		return backslashes % 2 == 0;
	}
	wide = palloc((Size) (len + 1) * sizeof(pg_wchar));
	valid =
		pg_regcomp(&re, wide, (size_t) pg_mb2wchar_with_len(p, wide, len),
				   REG_ADVANCED | (funcid == F_TEXTICREGEXEQ || funcid == F_TEXTICREGEXNE ? REG_ICASE : 0) |
					   REG_NOSUB,
				   collation) == REG_OKAY;
	if (valid)
		pg_regfree(&re);
	pfree(wide);
	return valid;
}

/* ---------- conditions that cannot fail ---------- */

/* Is a divisor known, and one by which any number can be divided? */
static bool
divides_any(Node *node, bool modulo)
{
	Const *c = (Const *) node;
	int64 v;

	if (!IsA(c, Const) || c->constisnull)
		return false;
	v = c->consttype == INT8OID   ? DatumGetInt64(c->constvalue)
		: c->consttype == INT4OID ? DatumGetInt32(c->constvalue)
								  : DatumGetInt16(c->constvalue);
	return v != 0 && (modulo || v != -1);
}

/* Is each of some texts a pattern? */
static bool
patterns_are_valid(Oid funcid, const Const *patterns, Oid collation)
{
	Datum *elems;
	bool *nulls;
	int n;

	if (patterns->constisnull)
		return true;
	if (patterns->consttype == TEXTOID)
		return mdb_turn_pattern_is_valid(funcid, patterns->constvalue, collation);
	if (patterns->consttype != TEXTARRAYOID)
		return false;
	deconstruct_array(DatumGetArrayTypeP(patterns->constvalue), TEXTOID, -1, false, TYPALIGN_INT, &elems,
					  &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i] && !mdb_turn_pattern_is_valid(funcid, elems[i], collation))
			return false;
	return true;
}

/* A function that matches patterns, as the one of texts that takes the same patterns. */
static Oid
of_texts(Oid funcid)
{
	switch (funcid)
	{
		case F_BPCHARLIKE:
		case F_NAMELIKE:
			return F_TEXTLIKE;
		case F_BPCHARNLIKE:
		case F_NAMENLIKE:
			return F_TEXTNLIKE;
		case F_BPCHARICLIKE:
		case F_NAMEICLIKE:
			return F_TEXTICLIKE;
		case F_BPCHARICNLIKE:
		case F_NAMEICNLIKE:
			return F_TEXTICNLIKE;
		case F_BPCHARREGEXEQ:
		case F_NAMEREGEXEQ:
			return F_TEXTREGEXEQ;
		case F_BPCHARREGEXNE:
		case F_NAMEREGEXNE:
			return F_TEXTREGEXNE;
		case F_BPCHARICREGEXEQ:
		case F_NAMEICREGEXEQ:
			return F_TEXTICREGEXEQ;
		case F_BPCHARICREGEXNE:
		case F_NAMEICREGEXNE:
			return F_TEXTICREGEXNE;
	}
	return funcid;
}

/* May a function be an error for some values of a table's columns, short of memory? */
static bool
function_may_fail(Oid funcid, List *args, Oid collation, Index varno)
{
	Node *second = list_length(args) == 2 ? lsecond(args) : NULL;

	funcid = of_texts(funcid);
	/* A pattern that is fixed, but no constant, is as good as what is fixed elsewhere. */
	if (mdb_turn_matches_pattern(funcid))
		return second == NULL ||
			   (IsA(second, Const) ? !patterns_are_valid(funcid, (Const *) second, collation)
								   : bms_is_member(varno, pull_varnos(NULL, second)));
	switch (funcid)
	{
		/* texts */
		case F_STARTS_WITH:
		case F_LOWER_TEXT:
		case F_UPPER_TEXT:
		case F_LENGTH_TEXT:
		case F_TEXT_BPCHAR:
		case F_TEXT_NAME:
		case F_TEXTCAT:
		case F_MD5_TEXT:
		case F_BTRIM_TEXT:
		case F_LTRIM_TEXT:
		case F_RTRIM_TEXT:
		case MDB_F_REVERSE:
		case F_STRPOS:
		case F_LEFT:
		case F_RIGHT:
		case F_REPLACE:
		/* jsonb */
		case F_JSONB_OBJECT_FIELD:
		case F_JSONB_OBJECT_FIELD_TEXT:
		case F_JSONB_ARRAY_ELEMENT:
		case F_JSONB_ARRAY_ELEMENT_TEXT:
		case F_JSONB_EXTRACT_PATH:
		case F_JSONB_EXTRACT_PATH_TEXT:
		case F_JSONB_CONTAINS:
		case F_JSONB_CONTAINED:
		case F_JSONB_EXISTS:
		case F_JSONB_EXISTS_ANY:
		case F_JSONB_EXISTS_ALL:
		case F_JSONB_TYPEOF:
		/* numbers of wider types */
		case F_FLOAT8_INT2:
		case F_FLOAT8_INT4:
		case F_FLOAT8_INT8:
		case F_FLOAT8_FLOAT4:
		case F_NUMERIC_INT2:
		case F_NUMERIC_INT4:
		case F_NUMERIC_INT8:
		case F_INT4_INT2:
		case F_INT8_INT2:
		case F_INT8_INT4:
			return false;
		case F_INT2MOD:
		case F_INT4MOD:
		case F_INT8MOD:
			return second == NULL || !divides_any(second, true);
		case F_INT2DIV:
		case F_INT4DIV:
		case F_INT8DIV:
			return second == NULL || !divides_any(second, false);
	}
	if (get_func_leakproof(funcid))
		return false;
	/* Selectors: see series_match.c. */
	if (funcid >= FirstNormalObjectId && get_func_namespace(funcid) == get_namespace_oid(MDB_SCHEMA, true))
	{
		char *name = get_func_name(funcid);

		return name == NULL || strcmp(name, "match") != 0;
	}
	return true;
}

/* The same of an operator.  Comparisons of PostgreSQL's own types are no errors, though not all are leakproof. */
static bool
operator_may_fail(Oid opno, Oid funcid, List *args, Oid collation, Index varno)
{
	return !(opno < FirstNormalObjectId && mdb_is_index_operator(opno)) &&
		   function_may_fail(funcid, args, collation, varno);
}

static bool
clause_may_fail(Node *node, Index *varno)
{
	/* What is fixed is evaluated once, when the scan starts. */
	if (node == NULL || !bms_is_member(*varno, pull_varnos(NULL, node)))
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
			return false;
		case T_RelabelType:
		case T_BoolExpr:
		case T_BooleanTest:
		case T_NullTest:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_ArrayExpr:
		case T_PlaceHolderVar:
		case T_List:
			break;
		case T_FuncExpr:
			if (function_may_fail(((FuncExpr *) node)->funcid, ((FuncExpr *) node)->args,
								  exprInputCollation(node), *varno))
				return true;
			break;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
		{
			OpExpr *op = (OpExpr *) node;

			set_opfuncid(op);
			if (operator_may_fail(op->opno, op->opfuncid, op->args, op->inputcollid, *varno))
				return true;
			break;
		}
		case T_ScalarArrayOpExpr:
		{
			ScalarArrayOpExpr *op = (ScalarArrayOpExpr *) node;

			set_sa_opfuncid(op);
			if (operator_may_fail(op->opno, op->opfuncid, op->args, op->inputcollid, *varno))
				return true;
			break;
		}
		case T_SubscriptingRef:
			/* To fetch what is not there is NULL. */
			if (((SubscriptingRef *) node)->refassgnexpr != NULL)
				return true;
			break;
		case T_CoerceViaIO:
			if (((CoerceViaIO *) node)->resulttype != TEXTOID)
				return true;
			break;
		default:
			return true;
	}
	return expression_tree_walker(node, clause_may_fail, varno);
}

/*
 * mdb_turn_clause_may_fail - might a condition be an error for some values of a table's columns?  As far as is known.
 */
bool
mdb_turn_clause_may_fail(Node *clause, Index varno)
{
	return clause_may_fail(clause, &varno);
}
