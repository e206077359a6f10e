/*
 * remote.c
 *	  The query that is sent to the nodes: made of what was planned, and written as SQL.
 *
 * It is kept as a Query over the one table, varno 1, in which Params stand for what the coordinator evaluates; when a scan
 * starts they become constants, and PostgreSQL's own ruleutils.c writes the text, with names that pg_catalog alone in
 * search_path makes whole.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/datetime.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "dist/dist.h"

/*
 * mdb_ship_conditions - conditions on a table: those that are sent, in their form, and those that are not, RestrictInfos.
 *
 * A condition that may leak is not sent where policies or security barriers come before it, as who knows what the node
 * evaluates first.  True if all are sent.
 */
bool
mdb_ship_conditions(MdbShipping *s, RelOptInfo *rel, List **shipped, List **kept)
{
	ListCell *lc;

	*shipped = *kept = NIL;
	foreach (lc, rel->baserestrictinfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		Node *sent = NULL;

		if (rinfo->security_level <= rel->baserestrict_min_security || rinfo->leakproof)
			sent = mdb_ship(s, (Node *) rinfo->clause);
		if (sent)
			*shipped = lappend(*shipped, sent);
		else
			*kept = lappend(*kept, rinfo);
	}
	return *kept == NIL;
}

/* The table, as the only one of a query. */
static RangeTblEntry *
make_entry(Oid relid)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	Relation rel = table_open(relid, NoLock);
	List *names = NIL;

	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		names = lappend(names, makeString(att->attisdropped ? pstrdup("") : pstrdup(NameStr(att->attname))));
	}
	rte->rtekind = RTE_RELATION;
	rte->relid = relid;
	rte->relkind = rel->rd_rel->relkind;
	rte->rellockmode = AccessShareLock;
	rte->eref = makeAlias(RelationGetRelationName(rel), names);
	rte->inh = true;
	rte->inFromCl = true;
	table_close(rel, NoLock);
	return rte;
}

/*
 * mdb_remote_query - SELECT targets FROM the table WHERE conditions: TargetEntries and expressions that were shipped.
 * They may have columns of the planner's numbers; the query has its own.
 */
Query *
mdb_remote_query(MdbShipping *s, List *targets, List *conditions)
{
	Query *q = makeNode(Query);
	RangeTblRef *ref = makeNode(RangeTblRef);

	ref->rtindex = 1;
	q->commandType = CMD_SELECT;
	q->querySource = QSRC_ORIGINAL;
	q->canSetTag = true;
	q->rtable = list_make1(make_entry(planner_rt_fetch(s->rti, s->root)->relid));
	q->targetList = copyObject(targets);
	q->jointree = makeFromExpr(list_make1(ref),
							   conditions ? (Node *) make_ands_explicit(copyObject(conditions)) : NULL);
	ChangeVarNodes((Node *) q->targetList, s->rti, 1, 0);
	ChangeVarNodes(q->jointree->quals, s->rti, 1, 0);
	q->hasAggs = contain_aggs_of_level((Node *) q->targetList, 0);
	return q;
}

/*
 * mdb_limit_and_offset - how many rows are enough, given a query's LIMIT, which it has, and OFFSET: an expression.
 *
 * Where OFFSET is NULL, so is the sum: then all rows come.
 */
Node *
mdb_limit_and_offset(const Query *parse)
{
	Node *limit = copyObject(parse->limitCount);

	if (parse->limitOffset)
		limit = (Node *) makeFuncExpr(F_INT8PL, INT8OID, list_make2(limit, copyObject(parse->limitOffset)),
									  InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
	return limit;
}

/*
 * mdb_ship_limit - the same in the form in which it is sent; NULL if there is no LIMIT that can be.
 */
Node *
mdb_ship_limit(MdbShipping *s, const Query *parse)
{
	Node *limit = parse->limitCount ? eval_const_expressions(s->root, mdb_limit_and_offset(parse)) : NULL;

	if (limit == NULL || (IsA(limit, Const) && ((Const *) limit)->constisnull))
		return NULL;
	return mdb_ship(s, limit);
}

static Node *
values_mutator(Node *node, List *values)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN)
	{
		Node *value = list_nth(values, ((Param *) node)->paramid - 1);

		return value ? copyObject(value) : copyObject(node);
	}
	if (IsA(node, Query))
		return (Node *) query_tree_mutator((Query *) node, values_mutator, values, 0);
	return expression_tree_mutator(node, values_mutator, values);
}

/* On one line: ruleutils.c breaks lines, and so may strings and names, which stay as they are. */
static char *
join_lines(const char *sql)
{
	char *result = palloc(strlen(sql) + 1), *out = result;
	char quote = '\0';

	while (*sql == ' ')
		sql++;
	for (; *sql; sql++)
	{
		if (quote == '\0' && (*sql == '\'' || *sql == '"'))
			quote = *sql;
		else if (*sql == quote)
			quote = '\0';
		if (quote == '\0' && *sql == '\n')
		{
			while (sql[1] == ' ')
				sql++;
			*out++ = ' ';
		}
		else
			*out++ = *sql;
	}
	*out = '\0';
	return result;
}

/*
 * mdb_fix_settings - let SQL and values be written as they are read on any node, until AtEOXact_GUC() of the result.
 */
int
mdb_fix_settings(void)
{
	int nest = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
							 0, false);
	if (DateStyle != USE_ISO_DATES)
		(void) set_config_option("datestyle", "ISO", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
	if (IntervalStyle != INTSTYLE_POSTGRES)
		(void) set_config_option("intervalstyle", "postgres", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
								 true, 0, false);
	if (extra_float_digits < 3)
		(void) set_config_option("extra_float_digits", "3", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
								 0, false);
	return nest;
}

/*
 * mdb_remote_sql - a query as text, with values, Consts, in the place of its Params; of those that are NULL the Param is
 * shown.
 */
char *
mdb_remote_sql(Query *query, List *values)
{
	Query *q = (Query *) values_mutator((Node *) query, values);
	int nest = mdb_fix_settings();
	char *sql = pg_get_querydef(q, false);

	AtEOXact_GUC(true, nest);
	return join_lines(sql);
}

/* What the coordinator evaluates, as Consts. */
static List *
evaluate(List *exprs)
{
	EState *estate = CreateExecutorState();
	List *values = NIL;
	ListCell *lc;

	foreach (lc, exprs)
	{
		Node *expr = lfirst(lc);
		ExprState *state = ExecPrepareExpr((Expr *) expr, estate);
		Oid type = exprType(expr);
		bool isnull, byval;
		int16 len;
		Datum value = ExecEvalExpr(state, GetPerTupleExprContext(estate), &isnull);

		get_typlenbyval(type, &len, &byval);
		if (!isnull)
			value = len == -1 ? PointerGetDatum(PG_DETOAST_DATUM_COPY(value)) : datumCopy(value, byval, len);
		values = lappend(values,
						 makeConst(type, exprTypmod(expr), exprCollation(expr), len, value, isnull, byval));
	}
	/* Values may be in its memory: it goes with the caller's. */
	return values;
}

/*
 * mdb_remote_condition - conditions on a table, whose columns have varno 1, as text for nodes; NULL if they are not sent.
 */
char *
mdb_remote_condition(Relation rel, List *clauses)
{
	MdbShipping s = {.rti = 1};
	List *context = deparse_context_for(RelationGetRelationName(rel), RelationGetRelid(rel));
	Node *expr = clauses == NIL ? makeBoolConst(true, false) : (Node *) make_ands_explicit(clauses);
	char *sql;
	int nest;

	expr = mdb_ship(&s, expr);
	if (expr == NULL)
		return NULL;
	expr = values_mutator(expr, evaluate(s.folded));
	nest = mdb_fix_settings();
	sql = deparse_expression(expr, context, false, false);
	AtEOXact_GUC(true, nest);
	return join_lines(sql);
}
