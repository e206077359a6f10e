/*
 * recording.c
 *	  Rules whose result is stored: each row of the query is a sample of the tick's time.
 *
 * Samples are written as the rule's owner, in the transaction that says up to where the rule is: each tick's once, whatever
 * is killed.  Labels go to the columns of their names, those without one to tags or labels, a column of jsonb.
 */
#include "postgres.h"

#include <math.h>

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"

#include "alert/evaluate.h"
#include "store/store.h"

/* Where samples go. */
typedef struct Target
{
	Relation rel;
	const char *time;
	const char *value;
	const char *name; /* of the metric; NULL = none */
	const char *tags; /* jsonb; NULL = none */
	int count;        /* columns that are labels */
	const char **columns;
	Oid *types;
} Target;

static Relation
open_target(const MdbRule *rule)
{
	char *into = mdb_json_text(rule->definition, "into");

	if (into == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("rule \"%s\" does not say where to record", rule->name)));
	return relation_openrv(makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(into))),
						   RowExclusiveLock);
}

static bool
is_one_of(const char *name, const char *a, const char *b)
{
	return strcmp(name, a) == 0 || strcmp(name, b) == 0;
}

static void
find_columns(Target *t, bool named)
{
	TupleDesc desc = RelationGetDescr(t->rel);
	AttrNumber time = mdb_is_metricsdb(t->rel) ? mdb_table(t->rel)->time_attno : 0;

	t->columns = palloc(sizeof(char *) * desc->natts);
	t->types = palloc(sizeof(Oid) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const char *name = NameStr(att->attname);
		Oid type = getBaseType(att->atttypid);

		if (att->attisdropped || att->attgenerated)
			continue;
		if (time > 0 ? att->attnum == time : strcmp(name, "time") == 0)
			t->time = name;
		else if (strcmp(name, "value") == 0)
			t->value = name;
		else if (named && t->name == NULL && is_one_of(name, "metric_name", "metric"))
			t->name = name;
		else if (type == JSONBOID && is_one_of(name, "tags", "labels"))
			t->tags = name;
		else if (type == FLOAT8OID && t->value == NULL)
			t->value = name;
		else
		{
			t->columns[t->count] = name;
			t->types[t->count++] = att->atttypid;
		}
	}
	if (t->time == NULL || t->value == NULL || (named && t->name == NULL))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("table \"%s\" has no column for the %s of what is recorded",
							   RelationGetRelationName(t->rel),
							   t->time == NULL    ? "time"
							   : t->value == NULL ? "value"
												  : "name"),
						errhint("It is called \"%s\".", t->time == NULL    ? "time"
														: t->value == NULL ? "value"
																		   : "metric_name")));
}

/* ---- rows as arrays, a column each ---- */

typedef struct Columns
{
	int rows;
	Datum *values; /* of the value */
	Datum *tags;
	Datum **texts; /* of each label column, as text */
	bool **nulls;
} Columns;

static int
column_of(const Target *t, const char *name, int len)
{
	for (int i = 0; i < t->count; i++)
		if (strlen(t->columns[i]) == len && strncmp(t->columns[i], name, len) == 0)
			return i;
	return -1;
}

/* The labels of one row to its columns.  What it is called itself is not of what was observed. */
static void
put_labels(const Target *t, Columns *c, const Jsonb *labels)
{
	JsonbIterator *it = JsonbIteratorInit(unconstify(JsonbContainer *, &labels->root));
	JsonbParseState *state = NULL;
	JsonbIteratorToken token;
	JsonbValue key = {0}, v;
	int column = -1;
	bool skip = false;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	(void) JsonbIteratorNext(&it, &v, true);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			key = v;
			column = column_of(t, v.val.string.val, v.val.string.len);
			skip = v.val.string.len == strlen("alertname") &&
				   strncmp(v.val.string.val, "alertname", v.val.string.len) == 0;
		}
		else if (token == WJB_VALUE && column >= 0)
		{
			c->texts[column][c->rows] = CStringGetTextDatum(mdb_json_scalar(&v));
			c->nulls[column][c->rows] = false;
		}
		else if (token == WJB_VALUE && !skip)
		{
			if (t->tags == NULL)
				ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
								errmsg("table \"%s\" has no column for label \"%s\"",
									   RelationGetRelationName(t->rel),
									   pnstrdup(key.val.string.val, key.val.string.len)),
								errhint("Add a column of this name, or a column \"tags\" of type jsonb.")));
			(void) pushJsonbValue(&state, WJB_KEY, &key);
			(void) pushJsonbValue(&state, WJB_VALUE, &v);
		}
	}
	c->tags[c->rows] = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static void
fill(const Target *t, const MdbObservations *seen, Columns *c)
{
	memset(c, 0, sizeof(*c));
	c->values = palloc(sizeof(Datum) * seen->count);
	c->tags = palloc(sizeof(Datum) * seen->count);
	c->texts = palloc(sizeof(Datum *) * Max(1, t->count));
	c->nulls = palloc(sizeof(bool *) * Max(1, t->count));
	for (int i = 0; i < t->count; i++)
	{
		c->texts[i] = palloc0(sizeof(Datum) * seen->count);
		c->nulls[i] = palloc(sizeof(bool) * seen->count);
		memset(c->nulls[i], true, seen->count);
	}
	for (int i = 0; i < seen->count; i++)
		if (!seen->of[i].isnull)
		{
			put_labels(t, c, seen->of[i].labels);
			c->values[c->rows++] = Float8GetDatum(seen->of[i].value);
		}
}

static Datum
text_array(Datum *texts, bool *nulls, int n)
{
	int lower = 1;

	return PointerGetDatum(construct_md_array(texts, nulls, 1, &n, &lower, TEXTOID, -1, false, TYPALIGN_INT));
}

/* INSERT INTO t (time, value, name, tags, label...) SELECT $1, v, $3, g, l4::type... FROM unnest($2, $4, ...) */
static void
insert(const MdbRule *rule, const Target *t, const MdbObservations *seen, Columns *c)
{
	int room = t->count + 4;
	Oid *types = palloc(sizeof(Oid) * room);
	Datum *values = palloc(sizeof(Datum) * room);
	StringInfoData into, what, from;
	int n = 0;

	initStringInfo(&into);
	initStringInfo(&what);
	initStringInfo(&from);
	appendStringInfo(&into, "INSERT INTO %s (%s, %s",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(t->rel)),
												RelationGetRelationName(t->rel)),
					 quote_identifier(t->time), quote_identifier(t->value));
	types[n] = TIMESTAMPTZOID;
	values[n++] = TimestampTzGetDatum(seen->at);
	types[n] = FLOAT8ARRAYOID;
	values[n++] = PointerGetDatum(
		construct_array(c->values, c->rows, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	appendStringInfoString(&what, " SELECT $1, u.c2");
	appendStringInfoString(&from, " FROM ROWS FROM (pg_catalog.unnest($2)");
	if (t->name)
	{
		char *metric = mdb_json_text(rule->definition, "metric");

		appendStringInfo(&into, ", %s", quote_identifier(t->name));
		types[n] = TEXTOID;
		values[n++] = CStringGetTextDatum(metric);
		appendStringInfo(&what, ", $%d", n);
	}
	if (t->tags)
	{
		appendStringInfo(&into, ", %s", quote_identifier(t->tags));
		types[n] = JSONBARRAYOID;
		values[n++] = PointerGetDatum(construct_array(c->tags, c->rows, JSONBOID, -1, false, TYPALIGN_INT));
		appendStringInfo(&what, ", u.c%d", n);
		appendStringInfo(&from, ", pg_catalog.unnest($%d)", n);
	}
	for (int i = 0; i < t->count; i++)
	{
		appendStringInfo(&into, ", %s", quote_identifier(t->columns[i]));
		types[n] = TEXTARRAYOID;
		values[n++] = text_array(c->texts[i], c->nulls[i], c->rows);
		appendStringInfo(&what, ", u.c%d::%s", n, format_type_be_qualified(t->types[i]));
		appendStringInfo(&from, ", pg_catalog.unnest($%d)", n);
	}
	appendStringInfoString(&from, ") AS u (c2");
	for (int i = t->name ? 4 : 3; i <= n; i++)
		appendStringInfo(&from, ", c%d", i);
	appendStringInfo(&into, ")%s%s)", what.data, from.data);
	if (SPI_execute_with_args(into.data, n, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "SPI failed: %s", SPI_result_code_string(SPI_result));
}

static void
store(const MdbRule *rule, MdbObservations *seen)
{
	Target t = {0};
	Columns c;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	t.rel = open_target(rule);
	find_columns(&t, mdb_json_text(rule->definition, "metric") != NULL);
	fill(&t, seen, &c);
	if (c.rows > 0)
		insert(rule, &t, seen, &c);
	relation_close(t.rel, NoLock);
	SPI_finish();
}

/*
 * mdb_recording_evaluate - run the query of a rule and store its rows, as its owner, at the tick seen->at, in the caller's
 * transaction.
 *
 * Errors are told in seen->error; then nothing is stored.
 */
void
mdb_recording_evaluate(const MdbRule *rule, MdbObservations *seen)
{
	mdb_query_evaluate(rule, seen);
	if (seen->error == NULL)
		mdb_alerts_check(seen);
	if (seen->error == NULL && seen->count > 0)
		(void) mdb_run_as_owner(rule, seen, false, store);
}
