/*
 * recording.c
 *	  Rules whose result is stored: each row of the query is a sample of the tick's time.
 *
 * Samples are written as the rule's owner, in the transaction that says up to where the rule is: each tick's once, whatever
 * is killed.  Labels go to the columns of their names, those without one to tags or labels, a column of jsonb.
 *
 * A rule with absent => 'end' writes Prometheus' marker of a series' end where it recorded something at its last tick and
 * does not any more.  What that was is remembered by the process alone, as in Prometheus.
 */
#include "postgres.h"

#include <math.h>

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/varlena.h"

#include "alert/evaluate.h"
#include "alert/promql.h"
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

/* ---- what has ended ---- */

/* A series that was recorded. */
typedef struct Series
{
	uint8 key[16]; /* hash key: of its labels */
	Jsonb *labels;
	uint32 turn; /* of the last evaluation that had it */
} Series;

/* What a rule has recorded at its last tick; what could not be committed may be among it. */
typedef struct Recorded
{
	int32 rule_id; /* hash key */
	MemoryContext mcxt;
	char *into;
	char *metric;
	HTAB *series;
	uint32 turn;
	bool is_stored; /* what the last evaluation had, and what it has ended, if that is committed */
} Recorded;

static HTAB *recorded = NULL;

/*
 * mdb_recording_forget - what a rule has recorded that is not evaluated any more.
 */
void
mdb_recording_forget(int32 rule_id)
{
	Recorded *r = recorded ? hash_search(recorded, &rule_id, HASH_FIND, NULL) : NULL;

	if (r == NULL)
		return;
	MemoryContextDelete(r->mcxt);
	(void) hash_search(recorded, &rule_id, HASH_REMOVE, NULL);
}

static bool
same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* What is known of a rule; nothing if it is new, or records something else by now. */
static Recorded *
recorded_by(const MdbRule *rule)
{
	HASHCTL ctl = {.keysize = sizeof(((Series *) 0)->key), .entrysize = sizeof(Series)};
	char *into = mdb_json_text(rule->definition, "into");
	char *metric = mdb_json_text(rule->definition, "metric");
	MemoryContext mcxt;
	Recorded *r;

	if (recorded == NULL)
	{
		HASHCTL all = {.keysize = sizeof(int32), .entrysize = sizeof(Recorded)};

		recorded = hash_create("metricsdb recording rules", 64, &all, HASH_ELEM | HASH_BLOBS);
	}
	r = hash_search(recorded, &rule->id, HASH_FIND, NULL);
	if (r && same_text(r->into, into) && same_text(r->metric, metric))
		return r;
	mdb_recording_forget(rule->id);
	mcxt = AllocSetContextCreate(TopMemoryContext, "metricsdb recorded series", ALLOCSET_SMALL_SIZES);
	into = into ? MemoryContextStrdup(mcxt, into) : NULL;
	metric = metric ? MemoryContextStrdup(mcxt, metric) : NULL;
	ctl.hcxt = mcxt;
	r = hash_search(recorded, &rule->id, HASH_ENTER, NULL);
	r->mcxt = mcxt;
	r->into = into;
	r->metric = metric;
	r->series = hash_create("metricsdb recorded series", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	r->turn = 0;
	r->is_stored = false;
	return r;
}

/* Markers for what is not observed any more, behind what is. */
static void
add_ends(const MdbRule *rule, MdbObservations *seen)
{
	Recorded *r = recorded_by(rule);
	int count = seen->count;
	uint64 bits = MDB_PROM_STALE;
	HASH_SEQ_STATUS scan;
	double stale;
	Series *series;

	memcpy(&stale, &bits, sizeof(stale));
	r->turn++;
	r->is_stored = false;
	for (int i = 0; i < count; i++)
	{
		const Jsonb *labels = seen->of[i].labels;
		uint8 key[16];
		Jsonb *copy;
		bool found;

		if (seen->of[i].isnull)
			continue;
		mdb_labels_key(labels, key);
		series = hash_search(r->series, key, HASH_FIND, NULL);
		if (series == NULL)
		{
			copy = MemoryContextAlloc(r->mcxt, VARSIZE(labels));
			memcpy(copy, labels, VARSIZE(labels));
			series = hash_search(r->series, key, HASH_ENTER, &found);
			series->labels = copy;
		}
		series->turn = r->turn;
	}
	hash_seq_init(&scan, r->series);
	while ((series = hash_seq_search(&scan)) != NULL)
		if (series->turn != r->turn)
			mdb_observe(seen, series->labels, NULL, stale, false, MDB_HOLDS);
}

/*
 * mdb_recording_committed - what the last evaluation of a rule has written is there: what has ended was told so.
 */
void
mdb_recording_committed(int32 rule_id)
{
	Recorded *r = recorded ? hash_search(recorded, &rule_id, HASH_FIND, NULL) : NULL;
	HASH_SEQ_STATUS scan;
	Series *series;

	if (r == NULL || !r->is_stored)
		return;
	hash_seq_init(&scan, r->series);
	while ((series = hash_seq_search(&scan)) != NULL)
		if (series->turn != r->turn)
		{
			pfree(series->labels);
			(void) hash_search(r->series, series->key, HASH_REMOVE, NULL);
		}
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
	if (seen->error == NULL && rule->marks_ends)
		add_ends(rule, seen);
	if (seen->error == NULL && seen->count > 0)
		(void) mdb_run_as_owner(rule, seen, false, store);
	if (seen->error == NULL && rule->marks_ends)
		recorded_by(rule)->is_stored = true;
}
