/*
 * threshold_query.c
 *	  A threshold or dead-man rule as the query that it is equal to, over the rows of its table.
 *
 * It is how history is asked about: the evaluation itself follows what is written, and reads no rows.  All names are
 * qualified.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "alert/define.h"
#include "func/match.h"
#include "metricsdb.h"
#include "series/guard.h"
#include "store/store.h"

/* A series that is silent for as long is not missed any more. */
#define FORGET_AFTER (7 * USECS_PER_DAY)

typedef struct Source
{
	Relation rel;
	MdbTable *table;
	AttrNumber name;
	AttrNumber tags;
	const char *time; /* its column, quoted */
} Source;

static const char *
column(const Source *s, AttrNumber attno)
{
	return quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(s->rel), attno - 1)->attname));
}

static bool
is_named(List *names, const char *name)
{
	ListCell *lc;

	foreach (lc, names)
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	return false;
}

/* An object with the labels of the row's group. */
static void
put_labels(StringInfo sql, const Source *s, const Jsonb *definition)
{
	List *by = mdb_json_texts(definition, "by");
	List *without = mdb_json_texts(definition, "without");
	bool grouped = mdb_json_text(definition, "by") != NULL;
	ListCell *lc;
	const char *comma = "";

	if (s->tags > 0 && !grouped)
	{
		appendStringInfo(sql, "coalesce(%s, '{}'::pg_catalog.jsonb)", column(s, s->tags));
		foreach (lc, without)
			appendStringInfo(sql, " OPERATOR(pg_catalog.-) %s::pg_catalog.text",
							 quote_literal_cstr(lfirst(lc)));
		return;
	}
	appendStringInfoString(sql, "pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(");
	if (s->tags > 0)
		foreach (lc, by)
		{
			const char *name = quote_literal_cstr(lfirst(lc));

			if (strcmp(lfirst(lc), MDB_MATCH_NAME) == 0)
				appendStringInfo(sql, "%s%s, %s", comma, name, column(s, s->name));
			else
				appendStringInfo(sql, "%s%s, %s OPERATOR(pg_catalog.->>) %s", comma, name, column(s, s->tags),
								 name);
			comma = ", ";
		}
	else
		for (int i = 0; i < s->table->nseries_columns; i++)
		{
			const char *name =
				NameStr(TupleDescAttr(RelationGetDescr(s->rel), s->table->series_attnos[i] - 1)->attname);

			if (grouped ? !is_named(by, name) : is_named(without, name))
				continue;
			appendStringInfo(sql, "%s%s, %s::pg_catalog.text", comma, quote_literal_cstr(name),
							 quote_identifier(name));
			comma = ", ";
		}
	appendStringInfoString(sql, "))");
}

/* The columns that tell one series from another. */
static void
put_series(StringInfo sql, const Source *s)
{
	for (int i = 0; i < s->table->nseries_columns; i++)
		appendStringInfo(sql, "%s%s", i > 0 ? ", " : "", column(s, s->table->series_attnos[i]));
}

static void
put_conditions(StringInfo sql, const Source *s, const Jsonb *definition)
{
	char *metric = mdb_json_text(definition, "metric");
	char *matchers = mdb_json_text(definition, "matchers");

	if (metric && s->name > 0)
		appendStringInfo(sql, " AND %s OPERATOR(pg_catalog.=) %s::pg_catalog.text", column(s, s->name),
						 quote_literal_cstr(metric));
	if (matchers == NULL)
		return;
	appendStringInfo(sql, " AND %s.match(", MDB_SCHEMA);
	if (s->name > 0)
		appendStringInfo(sql, "%s, %s, %s)", column(s, s->name), column(s, s->tags),
						 quote_literal_cstr(matchers));
	else
	{
		appendStringInfoString(sql, quote_literal_cstr(matchers));
		for (int i = 0; i < s->table->nseries_columns; i++)
		{
			const char *name =
				NameStr(TupleDescAttr(RelationGetDescr(s->rel), s->table->series_attnos[i] - 1)->attname);

			appendStringInfo(sql, ", %s, %s::pg_catalog.text", quote_literal_cstr(name),
							 quote_identifier(name));
		}
		appendStringInfoChar(sql, ')');
	}
}

/* FROM and WHERE: rows of the last so many microseconds, of the series. */
static void
put_rows(StringInfo sql, const Source *s, const Jsonb *definition, int64 span, const char *value)
{
	const char *type = s->table->time_type == TIMESTAMPOID ? " AT TIME ZONE 'UTC'" : "";

	appendStringInfo(
		sql,
		" FROM ONLY %s WHERE %s OPERATOR(pg_catalog.>) (%s.eval_time() OPERATOR(pg_catalog.-) %s)%s"
		" AND %s OPERATOR(pg_catalog.<=) %s.eval_time()%s",
		quote_qualified_identifier(get_namespace_name(RelationGetNamespace(s->rel)),
								   RelationGetRelationName(s->rel)),
		s->time, MDB_SCHEMA, psprintf("pg_catalog.interval '" INT64_FORMAT " us'", span), type, s->time,
		MDB_SCHEMA, type);
	if (value)
		appendStringInfo(sql, " AND %s IS NOT NULL", value);
	put_conditions(sql, s, definition);
}

/* Of counters each series by itself, and the sum of a group's. */
static void
put_counters(StringInfo sql, const Source *s, const Jsonb *definition, const char *aggregate,
			 const char *value, int64 window)
{
	const char *zone = s->table->time_type == TIMESTAMPOID ? " AT TIME ZONE 'UTC'" : "";

	appendStringInfoString(sql, "SELECT labels, pg_catalog.sum(value) AS value FROM (SELECT ");
	put_labels(sql, s, definition);
	appendStringInfo(sql,
					 " AS labels, %s.%s(%s%s, %s::pg_catalog.float8, %s.eval_time() OPERATOR(pg_catalog.-)"
					 " pg_catalog.interval '" INT64_FORMAT " us', %s.eval_time()) AS value",
					 MDB_SCHEMA, aggregate, s->time, zone, value, MDB_SCHEMA, window, MDB_SCHEMA);
	put_rows(sql, s, definition, window, value);
	appendStringInfoString(sql, " GROUP BY ");
	if (s->table->nseries_columns > 0)
		put_series(sql, s);
	else
		appendStringInfoString(sql, "()");
	appendStringInfoString(sql, ") series GROUP BY labels");
}

static void
put_aggregate(StringInfo sql, const Source *s, const char *aggregate, const char *value)
{
	if (strcmp(aggregate, "first") == 0 || strcmp(aggregate, "last") == 0)
		appendStringInfo(sql, "%s.%s(%s::pg_catalog.float8, %s)", MDB_SCHEMA, aggregate, value, s->time);
	else
		appendStringInfo(sql, "pg_catalog.%s(%s::pg_catalog.float8)", aggregate, value);
}

static void
put_threshold(StringInfo sql, const Source *s, const Jsonb *definition)
{
	char *aggregate = mdb_json_text(definition, "aggregate");
	const char *value = quote_identifier(mdb_json_text(definition, "column"));
	int64 window = mdb_json_interval(definition, "window", 0);

	if (strcmp(aggregate, "rate") == 0 || strcmp(aggregate, "increase") == 0 ||
		strcmp(aggregate, "delta") == 0)
	{
		put_counters(sql, s, definition, aggregate, value, window);
		return;
	}
	appendStringInfoString(sql, "SELECT ");
	put_labels(sql, s, definition);
	appendStringInfoString(sql, " AS labels, ");
	put_aggregate(sql, s, aggregate, value);
	appendStringInfoString(sql, " AS value");
	put_rows(sql, s, definition, window, value);
	appendStringInfoString(sql, " GROUP BY 1");
}

/* For how many seconds nothing has come. */
static void
put_deadman(StringInfo sql, const Source *s, const Jsonb *definition)
{
	int64 silent_for = mdb_json_interval(definition, "silent_for", 0);
	const char *zone = s->table->time_type == TIMESTAMPOID ? " AT TIME ZONE 'UTC'" : "";

	appendStringInfoString(sql, "SELECT labels, value, value OPERATOR(pg_catalog.>) ");
	appendStringInfo(sql, "%.6f::pg_catalog.float8 AS firing FROM (SELECT ",
					 (double) silent_for / USECS_PER_SEC);
	put_labels(sql, s, definition);
	appendStringInfo(sql,
					 " AS labels, pg_catalog.date_part('epoch', %s.eval_time() OPERATOR(pg_catalog.-)"
					 " pg_catalog.max(%s)%s) AS value",
					 MDB_SCHEMA, s->time, zone);
	put_rows(sql, s, definition,
			 mdb_json_interval(definition, "forget_after", Max(FORGET_AFTER, 10 * silent_for)), NULL);
	appendStringInfoString(sql, " GROUP BY 1) series");
}

/*
 * mdb_threshold_query - a SELECT whose rows are what the rule observes at metricsdb.eval_time().
 *
 * Raises ERRCODE_UNDEFINED_TABLE if the rule's table is gone.
 */
char *
mdb_threshold_query(const MdbRule *rule)
{
	StringInfoData sql;
	Source s;

	if (!OidIsValid(rule->source) || !mdb_is_metricsdb_oid(rule->source))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("the table of alert rule \"%s\" does not exist", rule->name)));
	initStringInfo(&sql);
	s.rel = table_open(rule->source, AccessShareLock);
	s.table = mdb_table(s.rel);
	mdb_guard_shape(s.rel, s.table, &s.name, &s.tags);
	s.time = column(&s, s.table->time_attno);
	if (rule->kind == MDB_RULE_DEADMAN)
		put_deadman(&sql, &s, rule->definition);
	else
		put_threshold(&sql, &s, rule->definition);
	table_close(s.rel, NoLock);
	return sql.data;
}
