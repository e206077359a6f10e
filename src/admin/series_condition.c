/*
 * series_condition.c
 *	  Conditions on series columns that a user gives as text; metricsdb.explain_series().
 *
 * Such a condition is an expression as behind WHERE, with the series columns of one table and nothing
 * else of it, without subqueries and volatile functions.  It is evaluated as its user.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "optimizer/prep.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"

#include "admin/admin.h"
#include "admin/series_info.h"
#include "exec/series_turn.h"
#include "metricsdb.h"

PG_FUNCTION_INFO_V1(mdb_explain_series);

pg_noreturn static void
bad_condition(const char *condition, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("\"%s\" is not a condition on series columns", condition), errhint("%s", hint)));
}

/* The expression of a text, not yet analysed. */
static Node *
parse_text(const char *condition)
{
	List *parsed = raw_parser(condition, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = (SelectStmt *) linitial_node(RawStmt, parsed)->stmt;
	ResTarget *target;

	if (!IsA(select, SelectStmt) || list_length(select->targetList) != 1 || select->distinctClause ||
		select->intoClause || select->fromClause || select->whereClause || select->groupClause ||
		select->havingClause || select->windowClause || select->valuesLists || select->sortClause ||
		select->limitOffset || select->limitCount || select->lockingClause || select->withClause ||
		select->op != SETOP_NONE)
		bad_condition(condition, "Write it as behind WHERE: host = 'a' AND region LIKE 'eu%'.");
	target = linitial_node(ResTarget, select->targetList);
	if (target->name != NULL || target->indirection != NIL)
		bad_condition(condition, "Write it as behind WHERE: host = 'a' AND region LIKE 'eu%'.");
	return target->val;
}

/*
 * mdb_parse_series_condition - a text to conditions of which all must hold.  Raises
 * ERRCODE_INVALID_PARAMETER_VALUE and what the parser raises.
 */
List *
mdb_parse_series_condition(Relation rel, const MdbTable *table, const char *condition)
{
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *item = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, NULL, false, true);
	Node *expr;
	List *clauses;
	ListCell *lc;

	pstate->p_sourcetext = condition;
	addNSItemToQuery(pstate, item, true, true, true);
	expr = transformExpr(pstate, parse_text(condition), EXPR_KIND_WHERE);
	expr = coerce_to_boolean(pstate, expr, "WHERE");
	assign_expr_collations(pstate, expr);
	if (pstate->p_hasSubLinks)
		bad_condition(condition, "Subqueries are not supported.");
	expr = eval_const_expressions(NULL, expr);
	clauses = make_ands_implicit((Expr *) canonicalize_qual((Expr *) expr, false));
	foreach (lc, clauses)
	{
		if (contain_volatile_functions(lfirst(lc)))
			bad_condition(condition, "Volatile functions are not supported.");
		if (!IsA(lfirst(lc), Const) && !mdb_uses_only(lfirst(lc), 1, table, MDB_ROLE_SERIES))
			bad_condition(condition, "Each condition must use series columns of the table, and no others.");
	}
	free_parsestate(pstate);
	return clauses;
}

/*
 * mdb_series_test_begin - make conditions ready to be evaluated, in CurrentMemoryContext.
 */
MdbSeriesTest *
mdb_series_test_begin(Relation rel, MdbTable *table, List *clauses)
{
	MdbSeriesTest *test = palloc0(sizeof(MdbSeriesTest));

	test->table = table;
	test->estate = CreateExecutorState();
	test->econtext = GetPerTupleExprContext(test->estate);
	test->qual = ExecInitQual(clauses, NULL);
	test->filter = mdb_series_filter_begin(clauses, NULL, test->econtext, table);
	test->slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsVirtual);
	test->mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb series condition", ALLOCSET_DEFAULT_SIZES);
	return test;
}

/*
 * mdb_series_test - does a series meet them?
 */
bool
mdb_series_test(MdbSeriesTest *test, const char *key, uint32 len)
{
	TupleTableSlot *slot = test->slot;
	MemoryContext old = MemoryContextSwitchTo(test->mcxt);
	bool result;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts);
	mdb_key_decode(test->table, key, len, slot->tts_values, slot->tts_isnull);
	ExecStoreVirtualTuple(slot);
	test->econtext->ecxt_scantuple = slot;
	result = ExecQual(test->qual, test->econtext);
	ResetExprContext(test->econtext);
	ExecClearTuple(slot);
	MemoryContextSwitchTo(old);
	MemoryContextReset(test->mcxt);
	return result;
}

/*
 * mdb_series_test_end - let go of what is not memory.
 */
void
mdb_series_test_end(MdbSeriesTest *test)
{
	ExecDropSingleTupleTableSlot(test->slot);
	FreeExecutorState(test->estate);
}

/* ---------- metricsdb.explain_series() ---------- */

enum
{
	EXPLAIN_CONDITION,
	EXPLAIN_RESOLVED,
	EXPLAIN_LOOKED_AT,
	EXPLAIN_SERIES,
	EXPLAIN_COLUMNS
};

static const char *
how_text(MdbSeriesHow how)
{
	switch (how)
	{
		case MDB_SERIES_EACH:
			return "each series";
		case MDB_SERIES_TERMS:
			return "index";
		case MDB_SERIES_VALUES:
			return "each value";
		case MDB_SERIES_SELECTOR:
			return "selector";
		case MDB_SERIES_AND:
		case MDB_SERIES_OR:
			return "index, several";
	}
	return NULL;
}

static void
put_row(ReturnSetInfo *rsinfo, const char *condition, const char *how, int64 looked_at, int64 series)
{
	Datum v[EXPLAIN_COLUMNS] = {0};
	bool n[EXPLAIN_COLUMNS] = {0};

	v[EXPLAIN_CONDITION] = CStringGetTextDatum(condition);
	v[EXPLAIN_RESOLVED] = CStringGetTextDatum(how);
	v[EXPLAIN_LOOKED_AT] = Int64GetDatum(looked_at);
	n[EXPLAIN_LOOKED_AT] = looked_at < 0;
	v[EXPLAIN_SERIES] = Int64GetDatum(series);
	n[EXPLAIN_SERIES] = series < 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, n);
}

/* What nodes tell of a condition. */
typedef struct Told
{
	char *condition;
	char *resolved;
	int64 looked_at; /* of all nodes; -1 = not told */
	int64 series;
} Told;

static void
add_told(int64 *sum, Datum value, bool isnull)
{
	*sum = isnull || *sum < 0 ? -1 : *sum + DatumGetInt64(value);
}

static void
add_row_of_node(void *arg, Datum *values, bool *isnull)
{
	List **told = arg;
	int n = (int) DatumGetInt64(values[4]) - 1;
	Told *t;

	/* Rows of a node come in their order. */
	if (n == list_length(*told))
	{
		t = palloc0(sizeof(Told));
		t->condition = TextDatumGetCString(values[0]);
		t->resolved = TextDatumGetCString(values[1]);
		*told = lappend(*told, t);
	}
	t = list_nth(*told, n);
	add_told(&t->looked_at, values[2], isnull[2]);
	add_told(&t->series, values[3], isnull[3]);
}

/* Of a distributed table nodes tell, each of its own series; or that rows have to, if the conditions are not sent. */
static void
put_rows_of_nodes(ReturnSetInfo *rsinfo, Relation rel, List *clauses)
{
	const Oid types[] = {TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID};
	TupleDesc desc = CreateTemplateTupleDesc(lengthof(types));
	char *condition = mdb_elsewhere->condition(rel, clauses);
	List *told = NIL;
	ListCell *lc;

	if (condition == NULL)
	{
		put_row(rsinfo, "all", "rows of nodes", -1, -1);
		return;
	}
	for (int i = 0; i < lengthof(types); i++)
		TupleDescInitEntry(desc, i + 1, NULL, types[i], -1, 0);
	mdb_elsewhere->ask(
		psprintf("SELECT * FROM metricsdb.explain_series(%s, %s) WITH ORDINALITY",
				 quote_literal_cstr(quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
															   RelationGetRelationName(rel))),
				 quote_literal_cstr(condition)),
		desc, add_row_of_node, &told);
	foreach (lc, told)
	{
		Told *t = lfirst(lc);

		put_row(rsinfo, t->condition, t->resolved, t->looked_at, t->series);
	}
}

/*
 * mdb_explain_series - metricsdb.explain_series("table" regclass, condition text): how each condition is
 * resolved, and how many series are left.  Numbers are NULL where row-level security applies to the caller.
 */
Datum
mdb_explain_series(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char *condition;
	bool hide;
	Relation rel;
	MdbTable *table;
	List *clauses, *context;
	MdbSeriesTest *test;
	Snapshot snapshot;
	ListCell *lc, *lf;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("arguments of metricsdb.explain_series() must not be NULL")));
	InitMaterializedSRF(fcinfo, 0);
	condition = text_to_cstring(PG_GETARG_TEXT_PP(1));
	rel = mdb_open_shown(PG_GETARG_OID(0), &hide);
	table = mdb_table(rel);
	clauses = mdb_parse_series_condition(rel, table, condition);
	if (mdb_is_distributed(RelationGetRelid(rel)) && !hide)
	{
		put_rows_of_nodes(rsinfo, rel, clauses);
		relation_close(rel, AccessShareLock);
		return (Datum) 0;
	}
	context = deparse_context_for(RelationGetRelationName(rel), RelationGetRelid(rel));
	test = mdb_series_test_begin(rel, table, clauses);
	snapshot = mdb_latest_snapshot();
	forboth (lc, clauses, lf, test->filter->conds)
	{
		MdbSeriesCond *cond = lfirst(lf);
		char *text = deparse_expression(lfirst(lc), context, false, false);
		MdbIds *ids = NULL;
		bool exact;

		if (!hide)
			ids = mdb_series_cond_resolve(test->filter, cond, snapshot, &exact);
		/* Queries are more careful with errors. */
		put_row(rsinfo, text,
				mdb_turn_clause_may_fail(lfirst(lc), 1) ? "each series, in its turn"
														: how_text(mdb_series_cond_how(cond)),
				ids ? mdb_series_cond_terms(cond) : -1, ids ? (int64) ids->n : -1);
	}
	UnregisterSnapshot(snapshot);
	if (!hide)
		put_row(rsinfo, "all", "", -1, mdb_series_matching(rel, table, test));
	else
		put_row(rsinfo, "all", "", -1, -1);
	mdb_series_test_end(test);
	relation_close(rel, AccessShareLock);
	return (Datum) 0;
}
