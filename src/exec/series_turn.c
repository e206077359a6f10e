/*
 * series_turn.c
 *	  What of a condition on series columns may be evaluated before its turn.
 *
 * The index over series is asked when a scan starts, core's plan evaluates a condition when a row comes to it: of
 * some OR perhaps never.  So what might fail is left to core: fixed expressions under OR, patterns that are no
 * patterns, selectors that are none (series_match.c).  Constants have been looked at by the planner, as they are for
 * heaps.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "optimizer/optimizer.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "exec/series_turn.h"

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
