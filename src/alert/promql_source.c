/*
 * promql_source.c
 *	  A table as a source of Prometheus' series: which column is what, and selectors as conditions on them.
 *
 * The time and the series columns are those of the table.  A series column metric_name, __name__ or metric has the
 * metric's name; the values are then those of the column value, or of the only one that is a number.  Without such a
 * column each column of numbers is a metric of its own.  The other series columns are labels; those that are jsonb have
 * several each, of which there may be one.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "alert/promql_sql.h"
#include "am/am.h"
#include "store/store.h"

static bool
is_number(Oid type)
{
	type = getBaseType(type);
	return type == FLOAT8OID || type == FLOAT4OID || type == INT2OID || type == INT4OID || type == INT8OID ||
		   type == NUMERICOID;
}

/* Which columns tell series apart, and which is the time. */
static void
find_roles(Relation rel, MdbRoles *roles)
{
	memset(roles, 0, sizeof(MdbRoles));
	if (mdb_is_metricsdb(rel))
	{
		MdbTable *table = mdb_table(rel);

		roles->time_attno = table->time_attno;
		roles->nseries_columns = table->nseries_columns;
		memcpy(roles->series_attnos, table->series_attnos, sizeof(AttrNumber) * table->nseries_columns);
	}
	else
		mdb_infer_roles(RelationGetDescr(rel), roles);
}

static void
take_series_column(MdbPromSource *source, Form_pg_attribute att)
{
	char *name = pstrdup(NameStr(att->attname));

	source->groups = lappend(source->groups, (void *) quote_identifier(name));
	if (getBaseType(att->atttypid) == JSONBOID)
	{
		if (source->tags)
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("table %s has several columns of tags", source->table)));
		source->tags = pstrdup(quote_identifier(name));
	}
	else if (source->metric == NULL && (strcmp(name, "metric_name") == 0 || strcmp(name, "metric") == 0 ||
										strcmp(name, MDB_MATCH_NAME) == 0))
		source->metric = pstrdup(quote_identifier(name));
	else
		source->labels = lappend(source->labels, name);
}

static bool
is_series_column(const MdbRoles *roles, AttrNumber attno)
{
	for (int i = 0; i < roles->nseries_columns; i++)
		if (roles->series_attnos[i] == attno)
			return true;
	return false;
}

/* The value column of a table that has a column for the metric's name. */
static void
find_value(MdbPromSource *source)
{
	ListCell *lc;

	foreach (lc, source->values)
		if (strcmp(lfirst(lc), "value") == 0)
			source->value = lfirst(lc);
	if (source->value == NULL && list_length(source->values) == 1)
		source->value = linitial(source->values);
	if (source->value == NULL)
		ereport(
			ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("table %s has no column of values", source->table),
			 errdetail("It has a column for the metric's name, so one column has the values of all metrics: "
					   "\"value\", or the only one that is a number.")));
}

/*
 * mdb_prom_source - a table as a source, in CurrentMemoryContext.  Raises ERRCODE_UNDEFINED_TABLE,
 * ERRCODE_INSUFFICIENT_PRIVILEGE, ERRCODE_WRONG_OBJECT_TYPE or ERRCODE_FEATURE_NOT_SUPPORTED.
 */
MdbPromSource *
mdb_prom_source(Oid relid)
{
	MdbPromSource *source = palloc0(sizeof(MdbPromSource));
	MdbRoles *roles = palloc(sizeof(MdbRoles));
	Relation rel = table_open(relid, AccessShareLock);
	TupleDesc desc = RelationGetDescr(rel);

	if (pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK &&
		pg_attribute_aclcheck_all(relid, GetUserId(), ACL_SELECT, ACLMASK_ANY) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(rel->rd_rel->relkind),
					   RelationGetRelationName(rel));
	source->relid = relid;
	source->table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
											   RelationGetRelationName(rel));
	find_roles(rel, roles);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (att->attnum == roles->time_attno && getBaseType(att->atttypid) == TIMESTAMPTZOID)
			source->time = pstrdup(quote_identifier(NameStr(att->attname)));
		else if (is_series_column(roles, att->attnum))
			take_series_column(source, att);
		else if (is_number(att->atttypid))
			source->values = lappend(source->values, pstrdup(NameStr(att->attname)));
	}
	if (source->time == NULL)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("table %s has no time column of type timestamptz", source->table)));
	if (source->metric)
		find_value(source);
	table_close(rel, NoLock);
	pfree(roles);
	return source;
}

static bool
is_label_column(const MdbPromSource *source, MdbBytes label)
{
	ListCell *lc;

	foreach (lc, source->labels)
		if (strlen(lfirst(lc)) == label.len && memcmp(lfirst(lc), label.p, label.len) == 0)
			return true;
	return false;
}

/*
 * mdb_prom_value_column - the column that has the values a selector asks for, as it is; NULL if there is none.
 */
const char *
mdb_prom_value_column(const MdbPromSource *source, const MdbSelector *selector)
{
	const MdbMatcher *name = NULL;
	ListCell *lc;

	if (source->metric)
		return source->value;
	for (int i = 0; i < selector->n; i++)
		if (mdb_is_metric_label(selector->v[i].label))
		{
			if (name || selector->v[i].op != MDB_MATCH_EQUAL)
				return NULL;
			name = &selector->v[i];
		}
	foreach (lc, source->values)
		if (name && strlen(lfirst(lc)) == name->value.len &&
			memcmp(lfirst(lc), name->value.p, name->value.len) == 0)
			return lfirst(lc);
	return NULL;
}

/* 'name', name, ... for each column that is a label. */
static void
append_pairs(StringInfo buf, const MdbPromSource *source, bool as_text)
{
	ListCell *lc;

	foreach (lc, source->labels)
		appendStringInfo(buf, "%s%s, %s%s", foreach_current_index(lc) ? ", " : "",
						 quote_literal_cstr(lfirst(lc)), quote_identifier(lfirst(lc)),
						 as_text ? "::text" : "");
}

/*
 * mdb_prom_append_labels - SQL for all labels of a row as jsonb, without the metric's name.
 */
void
mdb_prom_append_labels(StringInfo buf, const MdbPromSource *source)
{
	appendStringInfoString(buf, "metricsdb.promql_labels(");
	if (source->tags)
		appendStringInfo(buf, "coalesce(%s, '{}')", source->tags);
	if (source->labels)
	{
		appendStringInfo(buf, "%sjsonb_build_object(", source->tags ? " || " : "");
		append_pairs(buf, source, false);
		appendStringInfoChar(buf, ')');
	}
	if (source->tags == NULL && source->labels == NIL)
		appendStringInfoString(buf, "'{}'");
	appendStringInfoChar(buf, ')');
}

static void
append_string(StringInfo buf, MdbBytes s)
{
	appendStringInfoChar(buf, '"');
	for (size_t i = 0; i < s.len; i++)
	{
		if (s.p[i] == '\n')
			appendStringInfoString(buf, "\\n");
		else
		{
			if (s.p[i] == '"' || s.p[i] == '\\')
				appendStringInfoChar(buf, '\\');
			appendStringInfoChar(buf, s.p[i]);
		}
	}
	appendStringInfoChar(buf, '"');
}

/* Matchers of columns, or those of tags, as a selector; returns how many. */
static int
write_matchers(StringInfo buf, const MdbPromSource *source, const MdbSelector *selector, bool of_columns)
{
	static const char *const ops[] = {"=", "!=", "=~", "!~"};
	int n = 0;

	appendStringInfoChar(buf, '{');
	for (int i = 0; i < selector->n; i++)
	{
		const MdbMatcher *m = &selector->v[i];
		bool is_name = mdb_is_metric_label(m->label);

		if (is_name && source->metric == NULL)
			continue;
		if ((is_name || is_label_column(source, m->label) || source->tags == NULL) != of_columns)
			continue;
		if (n++ > 0)
			appendStringInfoString(buf, ", ");
		append_string(buf, m->label);
		appendStringInfoString(buf, ops[m->op]);
		append_string(buf, m->value);
	}
	appendStringInfoChar(buf, '}');
	return n;
}

/*
 * mdb_prom_append_match - " AND ..." for a selector: conditions that the index over series resolves.
 */
void
mdb_prom_append_match(StringInfo buf, const MdbPromSource *source, const MdbProm *node)
{
	StringInfoData columns, tags;
	int n;

	/* The usual table takes a selector as it is. */
	if (source->metric && source->tags && source->labels == NIL)
	{
		appendStringInfo(buf, " AND metricsdb.match(%s, %s, %s)", source->metric, source->tags,
						 quote_literal_cstr(pnstrdup(node->text.p, node->text.len)));
		return;
	}
	initStringInfo(&columns);
	initStringInfo(&tags);
	n = write_matchers(&columns, source, node->selector, true);
	if (n > 0)
	{
		appendStringInfo(buf, " AND metricsdb.match(%s", quote_literal_cstr(columns.data));
		if (source->metric)
			appendStringInfo(buf, ", '%s', %s::text", MDB_MATCH_NAME, source->metric);
		if (source->labels)
			appendStringInfoString(buf, ", ");
		append_pairs(buf, source, true);
		appendStringInfoChar(buf, ')');
	}
	if (source->tags && write_matchers(&tags, source, node->selector, false) > 0)
		appendStringInfo(buf, " AND metricsdb.match(%s, %s)", source->tags, quote_literal_cstr(tags.data));
}

/*
 * mdb_prom_matchers - a selector without the metric's name; NULL if nothing is left.
 */
char *
mdb_prom_matchers(const MdbPromSource *source, const MdbSelector *selector)
{
	MdbSelector rest = {.v = palloc(sizeof(MdbMatcher) * Max(selector->n, 1))};
	StringInfoData buf;

	for (int i = 0; i < selector->n; i++)
		if (!mdb_is_metric_label(selector->v[i].label))
			rest.v[rest.n++] = selector->v[i];
	initStringInfo(&buf);
	write_matchers(&buf, source, &rest, source->tags == NULL);
	return rest.n > 0 ? buf.data : NULL;
}
