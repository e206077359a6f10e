/*
 * query_check.c
 *	  Is the query of a rule one: a single SELECT whose columns are labels and a value, and which does not read the clock?
 *
 * It is looked at as it is after views were expanded.  What functions in it do is not known: one of the user's own may
 * read the clock.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "alert/define.h"
#include "metricsdb.h"
#include "store/aggregates.h"
#include "store/store.h"

typedef struct Look
{
	const char *text;
	MdbDraft *draft; /* to note conditions on series in; NULL = do not */
	List *sources;   /* OIDs of metricsdb tables that are read, but states of continuous aggregates */
} Look;

/* ---- errors are of the query, not of the statement that defines the rule ---- */

typedef struct Context
{
	const MdbDraft *draft;
	const char *text;
} Context;

static void
error_context(void *arg)
{
	Context *context = arg;
	int position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(context->text);
	}
	errcontext("query of alert rule \"%s\"", context->draft->name);
}

pg_noreturn static void
bad_query(const char *detail, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("this is no query of a rule"),
					errdetail("%s", detail), hint ? errhint("%s", hint) : 0));
}

/* ---- the clock ---- */

pg_noreturn static void
reads_clock(const char *what, int location)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the query of a rule must not read the clock by %s", what),
			 errdetail(
				 "It is evaluated when the data is complete up to a time, which need not be now, and perhaps "
				 "again for times that are long past."),
			 errhint("Use %s.eval_time() instead.", MDB_SCHEMA),
			 errposition(location < 0 ? 0 : location + 1)));
}

static const char *
clock_function(Oid function)
{
	switch (function)
	{
		case F_NOW:
		case F_TRANSACTION_TIMESTAMP:
		case F_STATEMENT_TIMESTAMP:
		case F_CLOCK_TIMESTAMP:
		case F_TIMEOFDAY:
		case F_AGE_TIMESTAMPTZ:
		case F_AGE_TIMESTAMP:
			return psprintf("%s()", get_func_name(function));
		default:
			return NULL;
	}
}

static const char *
clock_keyword(SQLValueFunctionOp op)
{
	switch (op)
	{
		case SVFOP_CURRENT_DATE:
			return "CURRENT_DATE";
		case SVFOP_CURRENT_TIME:
		case SVFOP_CURRENT_TIME_N:
			return "CURRENT_TIME";
		case SVFOP_CURRENT_TIMESTAMP:
		case SVFOP_CURRENT_TIMESTAMP_N:
			return "CURRENT_TIMESTAMP";
		case SVFOP_LOCALTIME:
		case SVFOP_LOCALTIME_N:
			return "LOCALTIME";
		case SVFOP_LOCALTIMESTAMP:
		case SVFOP_LOCALTIMESTAMP_N:
			return "LOCALTIMESTAMP";
		default:
			return NULL;
	}
}

/* A constant of a time that was written as 'now' or the like: it has become what that is by now. */
static bool
is_clock_constant(const Const *c, const char *text)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};
	const char *p;

	if (c->consttype != TIMESTAMPTZOID && c->consttype != TIMESTAMPOID && c->consttype != DATEOID &&
		c->consttype != TIMEOID && c->consttype != TIMETZOID)
		return false;
	if (c->location < 0 || c->location >= (int) strlen(text))
		return false;
	/* It begins with the string, or with the name of the type. */
	p = text + c->location;
	while (*p && *p != '\'' && *p != ',' && *p != ')')
		p++;
	if (*p != '\'')
		return false;
	p++;
	p += strspn(p, " \t\n");
	for (int i = 0; i < lengthof(words); i++)
		if (pg_strncasecmp(p, words[i], strlen(words[i])) == 0 &&
			!isalpha((unsigned char) p[strlen(words[i])]))
			return true;
	return false;
}

static bool look_at_query(Query *query, Look *look);

static bool
look_at(Node *node, Look *look)
{
	const char *clock = NULL;

	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr))
		clock = clock_function(((FuncExpr *) node)->funcid);
	else if (IsA(node, SQLValueFunction))
		clock = clock_keyword(((SQLValueFunction *) node)->op);
	else if (IsA(node, Const) && is_clock_constant((Const *) node, look->text))
		clock = "a word such as 'now'";
	else if (IsA(node, Query))
		return look_at_query((Query *) node, look);
	if (clock)
		reads_clock(clock, exprLocation(node));
	return expression_tree_walker(node, look_at, look);
}

static bool
look_at_query(Query *query, Look *look)
{
	ListCell *lc;

	if (query->commandType != CMD_SELECT || query->hasModifyingCTE)
		bad_query("It writes.", "Use SELECT alone.");
	if (query->rowMarks != NIL)
		bad_query("It locks rows.", "Leave out FOR UPDATE and FOR SHARE.");
	foreach (lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);

		/* Policies are not the query's. */
		rte->securityQuals = NIL;
		if (rte->rtekind == RTE_RELATION && mdb_is_metricsdb_oid(rte->relid) &&
			mdb_aggregate_get(rte->relid, NULL) == NULL)
			look->sources = list_append_unique_oid(look->sources, rte->relid);
	}
	if (look->draft)
		mdb_query_series_conditions(look->draft, query);
	return query_tree_walker(query, look_at, look, 0);
}

/* ---- columns ---- */

/* What an evaluation would refuse, and what the rule needs. */
static void
check_columns(const MdbDraft *draft, List *targets)
{
	TupleDesc desc = ExecCleanTypeFromTL(targets);
	MdbColumnRole *roles = palloc(sizeof(MdbColumnRole) * Max(1, desc->natts));
	bool compares = draft->p[MDB_P_OP].given;
	bool has_value = false;

	mdb_query_columns(desc, roles);
	for (int i = 0; i < desc->natts; i++)
	{
		has_value = has_value || roles[i] == MDB_COLUMN_VALUE;
		if (roles[i] == MDB_COLUMN_FIRING && compares)
			bad_query("It has a column \"firing\", and the rule a comparison.", "Leave out one of them.");
		for (int k = 0; k < i; k++)
			if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), NameStr(TupleDescAttr(desc, k)->attname)) ==
				0)
				bad_query(psprintf("It has two columns \"%s\".", NameStr(TupleDescAttr(desc, i)->attname)),
						  "Name them otherwise by AS.");
	}
	if (!has_value && (compares || draft->kind == MDB_RULE_RECORDING))
		bad_query("It has no column that is a number.", "Name the value by AS value.");
}

/* ---- the whole ---- */

static Query *
analyse(const char *text)
{
	List *parsed = raw_parser(text, RAW_PARSE_DEFAULT);
	RawStmt *raw;

	if (list_length(parsed) != 1)
		bad_query(parsed == NIL ? "It is empty." : "It is more than one statement.", NULL);
	raw = linitial_node(RawStmt, parsed);
	if (!IsA(raw->stmt, SelectStmt) || ((SelectStmt *) raw->stmt)->intoClause != NULL)
		bad_query("It is no SELECT.", "Use a single SELECT, which may begin with WITH.");
	return parse_analyze_fixedparams(raw, text, NULL, 0, NULL);
}

/* Have the privileges checked, and the plan made: the owner finds out now rather than at the first evaluation. */
static void
explain(const char *text)
{
	SPI_connect();
	SPI_execute(psprintf("EXPLAIN %s", text), false, 0);
	SPI_finish();
}

static void
check(MdbDraft *draft, Look *look)
{
	Query *query = analyse(look->text);
	List *rewritten;

	/* Before views are expanded positions are known. */
	look_at((Node *) query, look);
	list_free(look->sources);
	look->sources = NIL;
	check_columns(draft, query->targetList);
	rewritten = QueryRewrite(copyObject(query));
	look->draft = draft;
	look_at_query(linitial_node(Query, rewritten), look);
	explain(look->text);
}

/*
 * mdb_query_check - is the query of a rule one?  If it reads one metricsdb table, that is the source, unless another was
 * given.
 *
 * Raises ERRCODE_INVALID_PARAMETER_VALUE, and whatever the parser, the planner and missing privileges raise.
 */
void
mdb_query_check(MdbDraft *draft)
{
	MdbParam *source = &draft->p[MDB_P_SOURCE];
	Look look = {.text = draft->p[MDB_P_QUERY].text};
	Context context = {draft, look.text};
	ErrorContextCallback callback = {error_context_stack, error_context, &context};
	int nest = NewGUCNestLevel();

	error_context_stack = &callback;
	(void) set_config_option("search_path", draft->p[MDB_P_SEARCH_PATH].text, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	check(draft, &look);
	AtEOXact_GUC(true, nest);
	error_context_stack = callback.previous;
	if (source->given && !mdb_is_metricsdb_oid(source->oid))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" is not a metricsdb table", get_rel_name(source->oid)),
						errdetail("A rule follows the times of the data that its source has.")));
	if ((!source->given || draft->new_query) && list_length(look.sources) == 1)
	{
		source->given = true;
		source->oid = linitial_oid(look.sources);
	}
	else if (!source->given && list_length(look.sources) > 1)
		ereport(NOTICE, (errmsg("alert rule \"%s\" follows the clock", draft->name),
						 errdetail("Its query reads several metricsdb tables."),
						 errhint("Name the one whose data it shall wait for by \"source\".")));
}
