/*
 * unmatched.c
 *	  A rule that can match no series there is, is told so when it is defined: it would never fire, as the name of a
 *	  metric or the value of a label is misspelt.
 *
 * Conditions on series columns alone, of a query or of matchers, are given to metricsdb.series(), as the rule's owner;
 * what it cannot answer is passed over.  Of those that compare a label with a text the nearest that there is is named.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/rls.h"
#include "utils/ruleutils.h"
#include "utils/varlena.h"

#include "alert/define.h"
#include "func/func.h"
#include "metricsdb.h"
#include "series/guard.h"
#include "store/store.h"

/* A label that has to be a text. */
typedef struct Equal
{
	char *label; /* MDB_MATCH_NAME: the metric's name */
	char *value;
} Equal;

/* What series of a table have to meet. */
typedef struct Condition
{
	Oid relid;
	char *text; /* an expression on series columns */
	List *equals;
} Condition;

/* ---- from a query ---- */

typedef struct Table
{
	Relation rel;
	MdbTable *table;
	AttrNumber name;
	AttrNumber tags;
	int varno;
	bool of_series; /* all columns that were met are series columns of it */
	int vars;
} Table;

static bool
is_series_column(const Table *t, AttrNumber attno)
{
	for (int i = 0; i < t->table->nseries_columns; i++)
		if (t->table->series_attnos[i] == attno)
			return true;
	return false;
}

static bool
look_at_columns(Node *node, Table *t)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var *var = (Var *) node;

		t->vars++;
		t->of_series = t->of_series && var->varno == t->varno && var->varlevelsup == 0 &&
					   is_series_column(t, var->varattno);
	}
	else if (IsA(node, SubLink) || IsA(node, Param) || IsA(node, Aggref) || IsA(node, WindowFunc))
		t->of_series = false;
	return expression_tree_walker(node, look_at_columns, t);
}

/* The conditions of a query that all of its rows meet. */
static List *
conditions_of(Node *jointree, List *list)
{
	ListCell *lc;

	if (IsA(jointree, FromExpr))
	{
		FromExpr *from = (FromExpr *) jointree;

		foreach (lc, from->fromlist)
			list = conditions_of(lfirst(lc), list);
		return list_concat(list, make_ands_implicit((Expr *) from->quals));
	}
	if (IsA(jointree, JoinExpr) && ((JoinExpr *) jointree)->jointype == JOIN_INNER)
	{
		JoinExpr *join = (JoinExpr *) jointree;

		list = conditions_of(join->larg, conditions_of(join->rarg, list));
		return list_concat(list, make_ands_implicit((Expr *) join->quals));
	}
	return list;
}

static List *
add_equal(List *equals, const char *label, char *value)
{
	Equal *e = palloc(sizeof(Equal));

	e->label = pstrdup(label);
	e->value = value;
	return lappend(equals, e);
}

static char *
text_constant(Node *node)
{
	Const *c = (Const *) node;

	return IsA(node, Const) && c->consttype == TEXTOID && !c->constisnull ? TextDatumGetCString(c->constvalue)
																		  : NULL;
}

/* Equalities of a selector. */
static List *
equals_of_selector(List *equals, const char *text)
{
	MdbSelector *selector = mdb_selector_of(text, strlen(text), CurrentMemoryContext, true);

	for (int i = 0; selector && i < selector->n; i++)
	{
		MdbMatcher *m = &selector->v[i];

		if (m->op == MDB_MATCH_EQUAL && m->value.len > 0)
			equals = add_equal(
				equals, mdb_is_metric_label(m->label) ? MDB_MATCH_NAME : pnstrdup(m->label.p, m->label.len),
				pnstrdup(m->value.p, m->value.len));
	}
	return equals;
}

/* The label that an expression is: a column, or an element of tags. */
static char *
label_of(const Table *t, Node *node)
{
	if (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	if (IsA(node, Var))
	{
		AttrNumber attno = ((Var *) node)->varattno;

		return attno == t->name ? MDB_MATCH_NAME : get_attname(RelationGetRelid(t->rel), attno, true);
	}
	if (IsA(node, OpExpr) && ((OpExpr *) node)->opfuncid == F_JSONB_OBJECT_FIELD_TEXT)
		return text_constant(lsecond(((OpExpr *) node)->args));
	return NULL;
}

static List *
equals_of(const Table *t, Node *node, List *equals)
{
	if (IsA(node, OpExpr) && ((OpExpr *) node)->opno == TextEqualOperator)
	{
		Node *left = linitial(((OpExpr *) node)->args);
		Node *right = lsecond(((OpExpr *) node)->args);
		char *value = text_constant(right);
		char *label = label_of(t, value ? left : right);

		value = value ? value : text_constant(left);
		if (label && value)
			equals = add_equal(equals, label, value);
	}
	else if (IsA(node, FuncExpr) && list_length(((FuncExpr *) node)->args) == 3 &&
			 strcmp(get_func_name(((FuncExpr *) node)->funcid), "match") == 0)
	{
		char *selector = text_constant(llast(((FuncExpr *) node)->args));

		if (selector)
			equals = equals_of_selector(equals, selector);
	}
	return equals;
}

/* What a query asks of the series of one of its tables; NULL for nothing. */
static Condition *
condition_of(const Table *t, List *quals)
{
	Condition *c = palloc0(sizeof(Condition));
	StringInfoData buf;
	ListCell *lc;

	initStringInfo(&buf);
	c->relid = RelationGetRelid(t->rel);
	foreach (lc, quals)
	{
		Node *qual = lfirst(lc);
		Table look = *t;

		look.of_series = true;
		look.vars = 0;
		look_at_columns(qual, &look);
		if (!look.of_series || look.vars == 0 || contain_volatile_functions(qual))
			continue;
		c->equals = equals_of(t, qual, c->equals);
		qual = copyObject(qual);
		ChangeVarNodes(qual, t->varno, 1, 0);
		appendStringInfo(&buf, "%s(%s)", buf.len > 0 ? " AND " : "",
						 deparse_expression(qual,
											deparse_context_for(RelationGetRelationName(t->rel), c->relid),
											false, false));
	}
	c->text = buf.data;
	return buf.len > 0 ? c : NULL;
}

/*
 * mdb_query_series_conditions - add what a query asks of series of metricsdb tables to those of a rule.
 */
void
mdb_query_series_conditions(MdbDraft *draft, Query *query)
{
	List *quals = query->jointree ? conditions_of((Node *) query->jointree, NIL) : NIL;
	int nest;
	ListCell *lc;

	if (quals == NIL)
		return;
	/* So that all names are qualified. */
	nest = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
							 0, false);
	foreach (lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst(lc);
		Table t = {.varno = foreach_current_index(lc) + 1};
		Condition *c;

		if (rte->rtekind != RTE_RELATION || !mdb_is_metricsdb_oid(rte->relid))
			continue;
		t.rel = table_open(rte->relid, NoLock);
		t.table = mdb_table(t.rel);
		mdb_guard_shape(t.rel, t.table, &t.name, &t.tags);
		c = condition_of(&t, quals);
		if (c)
			draft->conditions = lappend(draft->conditions, c);
		table_close(t.rel, NoLock);
	}
	AtEOXact_GUC(true, nest);
}

/* ---- from matchers ---- */

/* What a threshold or dead-man rule asks. */
static Condition *
condition_of_matchers(const MdbDraft *draft)
{
	Condition *c = palloc0(sizeof(Condition));
	const MdbParam *p = draft->p;
	Table t = {0};
	StringInfoData buf;

	initStringInfo(&buf);
	c->relid = p[MDB_P_SOURCE].oid;
	t.rel = table_open(c->relid, AccessShareLock);
	t.table = mdb_table(t.rel);
	mdb_guard_shape(t.rel, t.table, &t.name, &t.tags);
	if (t.name > 0 && p[MDB_P_METRIC].given)
	{
		c->equals = add_equal(NIL, MDB_MATCH_NAME, p[MDB_P_METRIC].text);
		appendStringInfo(&buf, "%s OPERATOR(pg_catalog.=) %s",
						 quote_identifier(get_attname(c->relid, t.name, false)),
						 quote_literal_cstr(p[MDB_P_METRIC].text));
	}
	if (p[MDB_P_MATCHERS].given)
	{
		const char *selector = quote_literal_cstr(p[MDB_P_MATCHERS].text);

		c->equals = equals_of_selector(c->equals, p[MDB_P_MATCHERS].text);
		if (buf.len > 0)
			appendStringInfoString(&buf, " AND ");
		if (t.name > 0)
			appendStringInfo(&buf, "%s.match(%s, %s, %s)", MDB_SCHEMA,
							 quote_identifier(get_attname(c->relid, t.name, false)),
							 quote_identifier(get_attname(c->relid, t.tags, false)), selector);
		else
		{
			appendStringInfo(&buf, "%s.match(%s", MDB_SCHEMA, selector);
			for (int i = 0; i < t.table->nseries_columns; i++)
			{
				char *column = get_attname(c->relid, t.table->series_attnos[i], false);

				appendStringInfo(&buf, ", %s, %s::pg_catalog.text", quote_literal_cstr(column),
								 quote_identifier(column));
			}
			appendStringInfoChar(&buf, ')');
		}
	}
	table_close(t.rel, NoLock);
	c->text = buf.data;
	return c;
}

/* ---- asking ---- */

static bool
exists(const char *sql, Oid relid, const char *arg)
{
	Oid types[] = {REGCLASSOID, TEXTOID};
	Datum args[2] = {ObjectIdGetDatum(relid), arg ? CStringGetTextDatum(arg) : (Datum) 0};
	bool isnull;

	SPI_execute_with_args(sql, 2, types, args, arg ? NULL : " n", true, 1);
	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * Is a name among those that a query returns?  Else *nearest is the one that most looks like it, if one does.
 */
static bool
is_known(const char *sql, Oid relid, const char *metric, const char *key, const char *name, char **nearest)
{
	Oid types[] = {REGCLASSOID, TEXTOID, TEXTOID};
	Datum args[3] = {ObjectIdGetDatum(relid), metric ? CStringGetTextDatum(metric) : (Datum) 0,
					 key ? CStringGetTextDatum(key) : (Datum) 0};
	char nulls[] = {' ', metric ? ' ' : 'n', key ? ' ' : 'n', '\0'};
	int best = (int) strlen(name) / 2 + 2;

	*nearest = NULL;
	SPI_execute_with_args(sql, 3, types, args, nulls, true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char *other = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		int distance;

		CHECK_FOR_INTERRUPTS();
		if (other == NULL)
			continue;
		if (strcmp(other, name) == 0)
			return true;
		if (strlen(other) > 255 || strlen(name) > 255)
			continue;
		distance =
			varstr_levenshtein_less_equal(name, strlen(name), other, strlen(other), 1, 1, 1, best, true);
		if (distance < best)
		{
			best = distance;
			*nearest = other;
		}
	}
	return false;
}

/* Say which of the equalities no series meets, and what looks like it. */
static void
explain(const Condition *c, StringInfo detail, StringInfo hint)
{
	const char *metric = NULL;
	char *nearest;
	ListCell *lc;

	foreach (lc, c->equals)
		if (strcmp(((Equal *) lfirst(lc))->label, MDB_MATCH_NAME) == 0)
			metric = ((Equal *) lfirst(lc))->value;
	if (metric &&
		!is_known("SELECT n FROM metricsdb.metric_names($1) AS n", c->relid, NULL, NULL, metric, &nearest))
	{
		appendStringInfo(detail, "There is no metric \"%s\".", metric);
		if (nearest)
			appendStringInfo(hint, "The nearest is \"%s\".", nearest);
		return;
	}
	foreach (lc, c->equals)
	{
		Equal *e = lfirst(lc);

		if (strcmp(e->label, MDB_MATCH_NAME) == 0)
			continue;
		if (!is_known("SELECT k FROM metricsdb.tag_keys($1, $2) AS k", c->relid, metric, NULL, e->label,
					  &nearest))
			appendStringInfo(detail, "No series has a label \"%s\".", e->label);
		else if (!is_known("SELECT v FROM metricsdb.tag_values($1, $2, $3) AS v", c->relid, metric, e->label,
						   e->value, &nearest))
			appendStringInfo(detail, "No series has \"%s\" as label \"%s\".", e->value, e->label);
		else
			continue;
		if (nearest)
			appendStringInfo(hint, "The nearest is \"%s\".", nearest);
		return;
	}
	appendStringInfo(detail, "They would have to meet: %s", c->text);
}

static void
ask(const MdbDraft *draft, const Condition *c)
{
	StringInfoData detail, hint;

	if (check_enable_rls(c->relid, draft->owner, true) == RLS_ENABLED)
		return;
	if (exists("SELECT EXISTS (SELECT FROM metricsdb.series($1, NULL, $2))", c->relid,
			   c->text[0] ? c->text : NULL))
		return;
	if (!exists("SELECT EXISTS (SELECT FROM metricsdb.series($1, NULL, $2))", c->relid, NULL))
	{
		ereport(NOTICE, (errmsg("table \"%s\" has no series yet for alert rule \"%s\" to watch",
								get_rel_name(c->relid), draft->name)));
		return;
	}
	initStringInfo(&detail);
	initStringInfo(&hint);
	explain(c, &detail, &hint);
	ereport(WARNING, (errmsg("alert rule \"%s\" matches no known series of table \"%s\"", draft->name,
							 get_rel_name(c->relid)),
					  errdetail("%s", detail.data), hint.len > 0 ? errhint("%s", hint.data) : 0));
}

/* What cannot be asked is not: in a subtransaction. */
static void
try_to_ask(const MdbDraft *draft, const Condition *c)
{
	MemoryContext mcxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(mcxt);
	PG_TRY();
	{
		SPI_connect();
		ask(draft, c);
		SPI_finish();
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(mcxt);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(mcxt);
		CurrentResourceOwner = owner;
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		ereport(DEBUG1, (errmsg_internal("series of alert rule \"%s\" were not looked for: %s", draft->name,
										 error->message)));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(mcxt);
	CurrentResourceOwner = owner;
}

/*
 * mdb_rule_warn_unmatched - warn of what a rule can match no series by.  As its owner.
 */
void
mdb_rule_warn_unmatched(const MdbDraft *draft)
{
	List *conditions = draft->conditions;
	Oid user;
	int context;
	int nest;
	ListCell *lc;

	if (draft->kind == MDB_RULE_THRESHOLD || draft->kind == MDB_RULE_DEADMAN)
		conditions = list_make1(condition_of_matchers(draft));
	if (conditions == NIL)
		return;
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(draft->owner,
						   context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	nest = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
							 0, false);
	foreach (lc, conditions)
		try_to_ask(draft, lfirst(lc));
	AtEOXact_GUC(true, nest);
	SetUserIdAndSecContext(user, context);
}
