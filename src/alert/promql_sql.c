/*
 * promql_sql.c
 *	  An expression of Prometheus to SQL that tells the same at an instant.
 *
 * A vector is a SELECT of n, the metric's name or NULL, l, the labels as jsonb, and v, the value; a scalar is an
 * expression.  What Prometheus checks of labels while it runs (promql/engine.go) is known here where it can be, by a
 * vector's shape, else it is checked by the SQL.
 *
 * Which samples count is Prometheus' affair, too: of a selector the last one in five minutes, unless that is the marker
 * of a series' end; of a range those in it, both ends included.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/lsyscache.h"

#include "alert/promql_sql.h"
#include "func/func.h"

/* What is known of the rows of a vector. */
typedef struct Shape
{
	bool named;    /* n may be something */
	bool distinct; /* name and labels tell them apart */
	bool unique;   /* labels alone do */
	bool known;    /* they have no labels but these: */
	MdbNames keys;
} Shape;

typedef struct Gen
{
	const MdbPromQuestion *question;
	const char *at; /* SQL for the time of evaluation, which in a subquery is one of its steps */
	int subqueries;
} Gen;

#define SAME_LABELS "vector cannot contain metrics with the same labelset"

static char *vector(Gen *g, const MdbProm *node, Shape *shape);
static char *scalar(Gen *g, const MdbProm *node);

/* ---------- parsing and refusing ---------- */

static void *
take(void *arg, size_t size)
{
	return MemoryContextAllocHuge(CurrentMemoryContext, size);
}

static void
check_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
}

/*
 * mdb_prom_memory - for parsers: all is in CurrentMemoryContext.
 */
const MdbMatchMemory *
mdb_prom_memory(void)
{
	static const MdbMatchMemory memory = {.alloc = take, .check = check_interrupts};

	return &memory;
}

/* Where a byte is, in characters from 1. */
static int
place_of(const char *text, size_t at)
{
	return pg_mbstrlen_with_len(text, (int) at) + 1;
}

/*
 * mdb_prom_parsed - a text as a tree, in CurrentMemoryContext.  Raises ERRCODE_SYNTAX_ERROR.
 */
MdbProm *
mdb_prom_parsed(const char *text)
{
	MdbMatchError error;
	MdbProm *node =
		mdb_prom_parse(mdb_prom_memory(), GetDatabaseEncoding() == PG_UTF8, text, strlen(text), &error);

	if (node == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("expression is invalid at character %d: %s", place_of(text, error.at), error.what),
				 errdetail("The expression is: %.*s", pg_mbcliplen(text, (int) strlen(text), 1000), text),
				 error.hint ? errhint("%s", error.hint) : 0));
	return node;
}

/*
 * mdb_prom_refuse - what cannot be said in SQL, or is not.  Raises ERRCODE_FEATURE_NOT_SUPPORTED.
 */
void
mdb_prom_refuse(const char *text, const MdbProm *node, const char *what, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("%s cannot be translated, at character %d", what, place_of(text, node->at)),
					errdetail("The expression is: %.*s", pg_mbcliplen(text, (int) strlen(text), 1000), text),
					hint ? errhint("%s", hint) : 0));
}

/* ---------- pieces ---------- */

static char *
literal(MdbBytes s)
{
	return quote_literal_cstr(pnstrdup(s.p, s.len));
}

static char *
number(float8 v)
{
	if (isnan(v))
		return "float8 'NaN'";
	if (isinf(v))
		return v > 0 ? "float8 'Infinity'" : "float8 '-Infinity'";
	return psprintf("float8 '%.17g'", v);
}

static char *
interval(int64 ms)
{
	uint64 size = ms < 0 ? -(uint64) ms : (uint64) ms;

	if (size % 1000 == 0)
		return psprintf("interval '%s" UINT64_FORMAT " s'", ms < 0 ? "-" : "", size / 1000);
	return psprintf("interval '%s" UINT64_FORMAT ".%03d s'", ms < 0 ? "-" : "", size / 1000,
					(int) (size % 1000));
}

static const char *
minus(const char *time, int64 ms)
{
	return ms == 0 ? time : psprintf("%s - %s", time, interval(ms));
}

/* The time that a selector or subquery looks at. */
static const char *
time_of(Gen *g, const MdbProm *node)
{
	const char *at = g->at;

	if (node->at_kind == MDB_AT_FIXED)
		at = psprintf("timestamptz '1970-01-01 00:00:00+00' + %s", interval(node->at_time));
	return minus(at, node->offset);
}

static char *
epoch_of(const char *time)
{
	return psprintf("extract(epoch FROM %s)::float8", time);
}

static char *
array_of(const MdbNames *names)
{
	Datum *elements = palloc(sizeof(Datum) * Max(names->n, 1));
	ArrayType *array;
	Oid out;
	bool varlena;

	for (int i = 0; i < names->n; i++)
		elements[i] = PointerGetDatum(cstring_to_text_with_len(names->v[i].p, (int) names->v[i].len));
	array = construct_array(elements, names->n, TEXTOID, -1, false, TYPALIGN_INT);
	getTypeOutputInfo(TEXTARRAYOID, &out, &varlena);
	return psprintf("%s::text[]", quote_literal_cstr(OidOutputFunctionCall(out, PointerGetDatum(array))));
}

static bool
has_name(const MdbNames *names, MdbBytes name)
{
	for (int i = 0; i < names->n; i++)
		if (names->v[i].len == name.len && memcmp(names->v[i].p, name.p, name.len) == 0)
			return true;
	return false;
}

/* Of labels those of these names, or all but these. */
static char *
chosen(const char *labels, const MdbNames *names, bool by)
{
	StringInfoData buf;

	if (!by)
		return names->n ? psprintf("%s - %s", labels, array_of(names)) : pstrdup(labels);
	if (names->n == 0)
		return pstrdup("'{}'::jsonb");
	initStringInfo(&buf);
	appendStringInfo(&buf, "metricsdb.promql_by(%s", labels);
	for (int i = 0; i < names->n; i++)
		appendStringInfo(&buf, ", %s", literal(names->v[i]));
	appendStringInfoChar(&buf, ')');
	return buf.data;
}

/* The metric's name is no label here. */
static void
check_names(Gen *g, const MdbProm *node, const MdbNames *names)
{
	for (int i = 0; i < names->n; i++)
		if (mdb_is_metric_label(names->v[i]))
			mdb_prom_refuse(g->question->text, node, "\"" MDB_MATCH_NAME "\" among labels", NULL);
}

/* Is what is chosen of labels unique? */
static bool
chosen_unique(const Shape *shape, const MdbNames *names, bool by)
{
	if (!shape->unique || (!by && names->n == 0))
		return shape->unique;
	if (!shape->known)
		return false;
	for (int i = 0; i < shape->keys.n; i++)
		if (has_name(names, shape->keys.v[i]) != by)
			return false;
	return true;
}

/* Rows of a vector, checked to be one of each key. */
static char *
one_of_each(const char *sql, const char *key, const char *message)
{
	return psprintf(
		"SELECT s.n, s.l, s.v FROM (SELECT s.n, s.l, s.v, count(*) OVER (PARTITION BY %s) AS c FROM (%s) s) "
		"s WHERE metricsdb.promql_one(s.c, %s)",
		key, sql, quote_literal_cstr(message));
}

/* A vector that is checked to be distinct. */
static char *
checked(char *sql, Shape *shape, const char *message)
{
	if (shape->unique || shape->distinct)
		return sql;
	shape->distinct = true;
	shape->unique = !shape->named;
	return one_of_each(sql, shape->named ? "s.n, s.l" : "s.l", message);
}

/* A vector of other values, s.v being the old ones, without the metric's name. */
static char *
mapped(const char *sql, Shape *shape, const char *value)
{
	shape->named = shape->distinct = false;
	return checked(psprintf("SELECT NULL::text AS n, s.l, %s AS v FROM (%s) s", value, sql), shape,
				   SAME_LABELS);
}

/* ---------- selectors ---------- */

static void
check_selector(Gen *g, const MdbProm *node)
{
	for (int i = 0; i < node->selector->n; i++)
	{
		const MdbMatcher *m = &node->selector->v[i];

		if (mdb_is_metric_label(m->label) && m->op == MDB_MATCH_EQUAL &&
			(mdb_bytes_are(m->value, "alerts") || mdb_bytes_are(m->value, "alerts_for_state")))
			mdb_prom_refuse(g->question->text, node, "the states of alerts as a series",
							"Write a composite rule, or a query over metricsdb.alerts.");
	}
}

/* The column of the values that a selector asks for, not quoted. */
static const char *
value_column(Gen *g, const MdbProm *node)
{
	const char *column = mdb_prom_value_column(g->question->source, node->selector);

	if (column == NULL)
		mdb_prom_refuse(
			g->question->text, node, "the metric of a selector that is no column of the table",
			"The table has no column for metrics' names, so a metric is the name of a column of numbers.");
	return column;
}

static const char *
value_of(Gen *g, const MdbProm *node)
{
	return quote_identifier(value_column(g, node));
}

/* FROM ... WHERE for the samples of a selector in a range, both ends included. */
static void
append_samples(Gen *g, StringInfo buf, const MdbProm *node, const char *from, const char *to)
{
	const MdbPromSource *source = g->question->source;

	appendStringInfo(buf, " FROM %s WHERE %s >= %s AND %s <= %s AND %s IS NOT NULL", source->table,
					 source->time, from, source->time, to, value_of(g, node));
	mdb_prom_append_match(buf, source, node);
}

static void
append_groups(StringInfo buf, const MdbPromSource *source)
{
	ListCell *lc;

	foreach (lc, source->groups)
		appendStringInfo(buf, "%s%s", foreach_current_index(lc) ? ", " : " GROUP BY ", (char *) lfirst(lc));
	/* Without keys there is one series, if there is a sample. */
	if (source->groups == NIL)
		appendStringInfoString(buf, " HAVING count(*) > 0");
}

/* SELECT with the name and the labels of each series. */
static void
append_series(Gen *g, StringInfo buf, const MdbProm *node, bool named)
{
	const MdbPromSource *source = g->question->source;

	appendStringInfoString(buf, "SELECT ");
	if (!named)
		appendStringInfoString(buf, "NULL::text");
	else if (source->metric)
		appendStringInfo(buf, "%s::text", source->metric);
	else
		appendStringInfo(buf, "%s::text", quote_literal_cstr(value_column(g, node)));
	appendStringInfoString(buf, " AS n, ");
	mdb_prom_append_labels(buf, source);
	appendStringInfoString(buf, " AS l");
}

static void
shape_of_selector(const MdbProm *node, Shape *shape)
{
	*shape = (Shape){.named = true, .distinct = true};
	for (int i = 0; i < node->selector->n; i++)
		if (mdb_is_metric_label(node->selector->v[i].label) && node->selector->v[i].op == MDB_MATCH_EQUAL)
			shape->unique = true;
}

/* The last sample of each series; its value, or its time. */
static char *
instant(Gen *g, const MdbProm *node, Shape *shape, bool times)
{
	const char *to = time_of(g, node);
	StringInfoData buf;

	check_selector(g, node);
	shape_of_selector(node, shape);
	initStringInfo(&buf);
	appendStringInfo(&buf, "SELECT s.n, s.l, s.%s AS v FROM (", times ? "t" : "v");
	append_series(g, &buf, node, true);
	appendStringInfo(&buf, ", metricsdb.last(%s::float8, %s) AS v", value_of(g, node),
					 g->question->source->time);
	if (times)
		appendStringInfo(&buf, ", extract(epoch FROM max(%s))::float8 AS t", g->question->source->time);
	append_samples(g, &buf, node, minus(to, g->question->lookback), to);
	append_groups(&buf, g->question->source);
	appendStringInfoString(&buf, ") s WHERE NOT metricsdb.promql_stale(s.v)");
	return buf.data;
}

/* ---------- ranges ---------- */

/* A matrix: what is behind FROM, the expressions of its times and values, and its range. */
typedef struct Range
{
	const char *from;
	const char *to;
	const char *time;
	const char *value;
} Range;

/*
 * An aggregate of each series of a range: "%s" of its call is written by the caller, who learns of the range first.  The
 * result has NULL where there are no samples.
 */
static void
begin_range(Gen *g, const MdbProm *node, Range *range)
{
	range->to = time_of(g, node);
	range->from = minus(range->to, node->range);
	if (node->kind == MDB_PROM_SELECTOR)
	{
		check_selector(g, node);
		range->time = g->question->source->time;
		range->value = psprintf("%s::float8", value_of(g, node));
	}
	else
	{
		range->time = "q.t";
		range->value = "q.v";
	}
}

/* The vector at each step of a subquery, as q. */
static void
append_steps(Gen *g, StringInfo buf, const MdbProm *node, const Range *range, Shape *shape)
{
	int64 step = node->step ? node->step : g->question->step;
	Gen inner = *g;
	char *alias = psprintf("g%d", ++g->subqueries);
	char *sql;

	inner.at = psprintf("%s.t", alias);
	inner.subqueries = g->subqueries;
	sql = vector(&inner, node->args[0], shape);
	g->subqueries = inner.subqueries;
	/* Steps are at multiples of their width. */
	appendStringInfo(
		buf,
		"(SELECT %s.t, x.n, x.l, x.v FROM generate_series(date_bin(%s, %s + %s - interval '1 us', "
		"timestamptz '1970-01-01 00:00:00+00'), %s, %s) %s(t) CROSS JOIN LATERAL (%s) x) q",
		alias, interval(step), range->from, interval(step), range->to, interval(step), alias, sql);
}

static char *
over_range(Gen *g, const MdbProm *node, const Range *range, const char *call, bool named, Shape *shape)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT s.n, s.l, s.v FROM (");
	if (node->kind == MDB_PROM_SELECTOR)
	{
		shape_of_selector(node, shape);
		append_series(g, &buf, node, named);
		appendStringInfo(&buf, ", %s AS v", call);
		append_samples(g, &buf, node, range->from, range->to);
		append_groups(&buf, g->question->source);
	}
	else
	{
		StringInfoData steps;

		initStringInfo(&steps);
		append_steps(g, &steps, node, range, shape);
		appendStringInfo(&buf, "SELECT %s AS n, q.l, %s AS v FROM %s GROUP BY q.n, q.l",
						 named ? "q.n" : "NULL::text", call, steps.data);
	}
	appendStringInfoString(&buf, ") s WHERE s.v IS NOT NULL");
	shape->named &= named;
	shape->distinct = named;
	return checked(buf.data, shape, SAME_LABELS);
}

static char *
range_function(Gen *g, const MdbProm *node, Shape *shape)
{
	const MdbPromFunction *f = node->function;
	bool quantile = f->way == MDB_WAY_QUANTILE;
	const MdbProm *matrix = node->args[quantile ? 1 : 0];
	Range r;
	char *call;

	begin_range(g, matrix, &r);
	switch (f->way)
	{
		case MDB_WAY_VALUES:
			call = psprintf("metricsdb.%s(%s)::float8", f->name, r.value);
			break;
		case MDB_WAY_SAMPLES:
			call = psprintf("metricsdb.%s(%s, %s)::float8", f->name, r.time, r.value);
			break;
		case MDB_WAY_RANGE:
			call = psprintf("metricsdb.%s(%s, %s, %s, %s)", f->name, r.time, r.value, r.from, r.to);
			break;
		case MDB_WAY_QUANTILE:
			call = psprintf("metricsdb.%s(%s, %s)", f->name, scalar(g, node->args[0]), r.value);
			break;
		default:
			/* Ahead of the time of evaluation, whatever the range's offset is. */
			call = psprintf("metricsdb.%s(%s, %s, %s, %s)", f->name, r.time, r.value,
							scalar(g, node->args[1]), g->at);
			break;
	}
	return over_range(g, matrix, &r, call, strcmp(f->name, "last_over_time") == 0, shape);
}

/* ---------- functions ---------- */

/* Labels of what is absent: those that a selector says the value of. */
static char *
absent_labels(const MdbProm *node)
{
	StringInfoData buf;
	const MdbSelector *selector = node->selector;
	int n = 0;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "metricsdb.promql_labels(jsonb_build_object(");
	for (int i = 0; selector && i < selector->n; i++)
	{
		const MdbMatcher *m = &selector->v[i];
		bool only = m->op == MDB_MATCH_EQUAL && !mdb_is_metric_label(m->label);

		for (int j = 0; j < selector->n; j++)
			if (j != i && selector->v[j].label.len == m->label.len &&
				memcmp(selector->v[j].label.p, m->label.p, m->label.len) == 0)
				only = false;
		if (only)
			appendStringInfo(&buf, "%s%s, %s", n++ ? ", " : "", literal(m->label), literal(m->value));
	}
	appendStringInfoString(&buf, "))");
	return n ? buf.data : "'{}'::jsonb";
}

static char *
absent(Gen *g, const MdbProm *node, Shape *shape)
{
	const MdbProm *arg = node->args[0];
	Shape of;
	char *sql;

	if (arg->type == MDB_PROM_MATRIX)
	{
		Range r;

		begin_range(g, arg, &r);
		sql = over_range(g, arg, &r, psprintf("metricsdb.present_over_time(%s)", r.value), true, &of);
	}
	else
		sql = vector(g, arg, &of);
	*shape = (Shape){.unique = true};
	return psprintf(
		"SELECT NULL::text AS n, %s AS l, float8 '1' AS v WHERE (SELECT count(s.v) FROM (%s) s) = 0",
		absent_labels(arg), sql);
}

static char *
histogram_quantile(Gen *g, const MdbProm *node, Shape *shape)
{
	char *q = scalar(g, node->args[0]);
	char *sql = vector(g, node->args[1], shape);

	*shape = (Shape){.unique = true};
	return psprintf(
		"SELECT NULL::text AS n, s.l - 'le' AS l, metricsdb.histogram_quantile(%s, s.l->>'le', s.v) AS v "
		"FROM (%s) s WHERE s.l->>'le' ~ '^[+-]?(([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?|[iI]nf)$' "
		"GROUP BY 2",
		q, sql);
}

static char *
label_join(Gen *g, const MdbProm *node, Shape *shape)
{
	char *sql = vector(g, node->args[0], shape);
	char *to = literal(node->args[1]->text);
	StringInfoData buf;

	for (int i = 1; i < node->nargs; i++)
		if (i != 2 && mdb_is_metric_label(node->args[i]->text))
			mdb_prom_refuse(g->question->text, node->args[i], "\"" MDB_MATCH_NAME "\" among labels", NULL);
	initStringInfo(&buf);
	appendStringInfo(&buf, "SELECT s.n, metricsdb.promql_labels(s.l || jsonb_build_object(%s, concat_ws(%s",
					 to, literal(node->args[2]->text));
	for (int i = 3; i < node->nargs; i++)
		appendStringInfo(&buf, ", coalesce(s.l->>%s, '')", literal(node->args[i]->text));
	appendStringInfo(&buf, "))) AS l, s.v FROM (%s) s", sql);
	shape->distinct = shape->unique = shape->known = false;
	return checked(buf.data, shape, SAME_LABELS);
}

/* A function of each value, and of scalars behind it. */
static char *
math(Gen *g, const MdbProm *node, Shape *shape)
{
	const char *name = node->function->name;
	char *sql;
	StringInfoData buf;
	bool clamps = strcmp(name, "clamp") == 0;

	sql = vector(g, node->args[0], shape);
	initStringInfo(&buf);
	appendStringInfo(&buf, "metricsdb.promql_math('%s', s.v", name);
	for (int i = 1; i < node->nargs; i++)
		appendStringInfo(&buf, ", %s", scalar(g, node->args[i]));
	if (node->nargs == 1 && strcmp(name, "round") == 0)
		appendStringInfoString(&buf, ", 1");
	appendStringInfoChar(&buf, ')');
	sql = mapped(sql, shape, buf.data);
	/* Between bounds that cross there is nothing. */
	if (clamps)
		sql = psprintf("SELECT s.n, s.l, s.v FROM (%s) s WHERE NOT metricsdb.promql_compare(%s, '<', %s)",
					   sql, scalar(g, node->args[2]), scalar(g, node->args[1]));
	return sql;
}

static char *
constant_vector(const char *value, Shape *shape)
{
	*shape = (Shape){.unique = true, .known = true};
	return psprintf("SELECT NULL::text AS n, '{}'::jsonb AS l, %s AS v", value);
}

static char *
call(Gen *g, const MdbProm *node, Shape *shape)
{
	const MdbPromFunction *f = node->function;

	switch (f->way)
	{
		case MDB_WAY_MATH:
			return math(g, node, shape);
		case MDB_WAY_CALENDAR:
			if (node->nargs == 0)
				return constant_vector(psprintf("metricsdb.promql_math('%s', %s)", f->name, epoch_of(g->at)),
									   shape);
			return math(g, node, shape);
		case MDB_WAY_VALUES:
		case MDB_WAY_SAMPLES:
		case MDB_WAY_RANGE:
		case MDB_WAY_QUANTILE:
		case MDB_WAY_PREDICT:
			return range_function(g, node, shape);
		case MDB_WAY_ABSENT:
			return absent(g, node, shape);
		case MDB_WAY_HISTOGRAM:
			return histogram_quantile(g, node, shape);
		case MDB_WAY_JOIN:
			return label_join(g, node, shape);
		case MDB_WAY_SAME:
			return vector(g, node->args[0], shape);
		case MDB_WAY_TIMESTAMP:
			if (node->args[0]->kind == MDB_PROM_SELECTOR)
				return mapped(instant(g, node->args[0], shape, true), shape, "s.v");
			return mapped(vector(g, node->args[0], shape), shape, epoch_of(g->at));
		case MDB_WAY_VECTOR:
			return constant_vector(scalar(g, node->args[0]), shape);
		default:
			mdb_prom_refuse(g->question->text, node, psprintf("function \"%s\"", f->name),
							"Write a rule with a query in SQL.");
	}
}

/* ---------- aggregates ---------- */

static char *
aggregate(Gen *g, const MdbProm *node, Shape *shape)
{
	static const char *const same[] = {"sum", "avg", "min", "max", "stddev", "stdvar"};
	char *parameter = NULL;
	char *sql, *key, *value = NULL;
	Shape of;

	check_names(g, node, &node->labels);
	if (mdb_bytes_are(node->text, "count_values"))
		mdb_prom_refuse(g->question->text, node, "aggregate \"count_values\"",
						"Write a rule with a query in SQL.");
	if (node->nargs == 2)
		parameter = scalar(g, node->args[0]);
	sql = vector(g, node->args[node->nargs - 1], &of);
	key = chosen("s.l", &node->labels, node->by);
	if (mdb_bytes_are(node->text, "topk") || mdb_bytes_are(node->text, "bottomk"))
	{
		*shape = of;
		return psprintf(
			"SELECT s.n, s.l, s.v FROM (SELECT s.n, s.l, s.v, row_number() OVER (PARTITION BY %s ORDER BY s.v = "
			"'NaN', s.v%s, s.l) AS i FROM (%s) s) s WHERE metricsdb.promql_compare(s.i::float8, '<=', %s)",
			key, mdb_bytes_are(node->text, "topk") ? " DESC" : "", sql, parameter);
	}
	for (int i = 0; i < lengthof(same); i++)
		if (mdb_bytes_are(node->text, same[i]))
			value = psprintf("metricsdb.%s_over_time(s.v)", same[i]);
	/* Of one value, be it NaN. */
	if (mdb_bytes_are(node->text, "stddev") || mdb_bytes_are(node->text, "stdvar"))
		value = psprintf("CASE WHEN count(*) = 1 THEN 0 ELSE %s END", value);
	if (mdb_bytes_are(node->text, "count"))
		value = "count(*)::float8";
	else if (mdb_bytes_are(node->text, "group"))
		value = "float8 '1'";
	else if (mdb_bytes_are(node->text, "quantile"))
		value = psprintf("metricsdb.quantile_over_time(%s, s.v)", parameter);
	*shape = (Shape){.unique = true};
	if (node->by)
	{
		shape->known = true;
		shape->keys = node->labels;
	}
	else if (of.known)
	{
		shape->known = true;
		shape->keys.v = palloc(sizeof(MdbBytes) * Max(of.keys.n, 1));
		for (int i = 0; i < of.keys.n; i++)
			if (!has_name(&node->labels, of.keys.v[i]))
				shape->keys.v[shape->keys.n++] = of.keys.v[i];
	}
	return psprintf("SELECT NULL::text AS n, %s AS l, %s AS v FROM (%s) s GROUP BY 2", key, value, sql);
}

/* ---------- operators ---------- */

static char *
compute(const MdbProm *node, const char *a, const char *b)
{
	if (!mdb_prom_compares(node->text))
		return psprintf("metricsdb.promql_op(%s, %s, %s)", a, literal(node->text), b);
	return psprintf("metricsdb.promql_compare(%s, %s, %s)", a, literal(node->text), b);
}

static char *
as_number(const char *boolean)
{
	return psprintf("%s::int::float8", boolean);
}

/* A vector and a scalar: whichever side it is on, a comparison keeps the vector's value. */
static char *
with_scalar(Gen *g, const MdbProm *node, Shape *shape)
{
	bool left = node->args[0]->type == MDB_PROM_VECTOR;
	char *sql = vector(g, node->args[left ? 0 : 1], shape);
	char *other = scalar(g, node->args[left ? 1 : 0]);
	char *value = left ? compute(node, "s.v", other) : compute(node, other, "s.v");

	if (!mdb_prom_compares(node->text))
		return mapped(sql, shape, value);
	if (node->returns_bool)
		return mapped(sql, shape, as_number(value));
	return psprintf("SELECT s.n, s.l, s.v FROM (%s) s WHERE %s", sql, value);
}

/* and, or, unless. */
static char *
set_operator(Gen *g, const MdbProm *node, Shape *shape)
{
	Shape right;
	char *a = vector(g, node->args[0], shape);
	char *b = vector(g, node->args[1], &right);
	char *of_a = chosen("a.l", &node->labels, node->by);
	char *of_b = chosen("b.l", &node->labels, node->by);

	if (!mdb_bytes_are(node->text, "or"))
		return psprintf("SELECT a.n, a.l, a.v FROM (%s) a WHERE %sEXISTS (SELECT FROM (%s) b WHERE %s = %s)",
						a, mdb_bytes_are(node->text, "unless") ? "NOT " : "", b, of_b, of_a);
	shape->named |= right.named;
	shape->distinct &= right.distinct;
	shape->unique &= right.unique;
	shape->known = false;
	return psprintf(
		"SELECT * FROM (WITH a AS MATERIALIZED (%s) SELECT a.n, a.l, a.v FROM a UNION ALL SELECT b.n, b.l, "
		"b.v FROM (%s) b WHERE NOT EXISTS (SELECT FROM a WHERE %s = %s)) s",
		a, b, of_a, of_b);
}

/*
 * The side of which each label set may come once, checked to be so if it is not known.  Prometheus does not look at it
 * where the other side has nothing, which is many.
 */
static char *
one_side(const MdbProm *node, const char *sql, const char *side)
{
	return psprintf(
		"SELECT s.n, s.l, s.v FROM (SELECT s.n, s.l, s.v, count(*) OVER (PARTITION BY %s) AS c FROM (%s) s) s "
		"WHERE metricsdb.promql_one(CASE WHEN EXISTS (SELECT FROM many) THEN s.c ELSE 0 END, %s)",
		chosen("s.l", &node->labels, node->by), sql,
		quote_literal_cstr(psprintf("found duplicate series for the match group on the %s side of the "
									"operation: matching labels must be unique on one side",
									side)));
}

/* Labels of the result of two vectors. */
static char *
result_labels(const MdbProm *node)
{
	const char *many = node->card == MDB_ONE_TO_MANY ? "b.l" : "a.l";
	const char *one = node->card == MDB_ONE_TO_MANY ? "a.l" : "b.l";

	if (node->card == MDB_ONE_TO_ONE)
		return chosen("a.l", &node->labels, node->by);
	if (node->include.n == 0)
		return pstrdup(many);
	return psprintf("(%s - %s) || %s", many, array_of(&node->include), chosen(one, &node->include, true));
}

static char *
vectors(Gen *g, const MdbProm *node, Shape *shape)
{
	int many_side = node->card == MDB_ONE_TO_MANY ? 1 : 0;
	bool compares = mdb_prom_compares(node->text);
	bool filters = compares && !node->returns_bool;
	Shape sides[2];
	Shape *many = &sides[many_side];
	char *sql[2];
	char *labels = result_labels(node);
	char *value = compute(node, "a.v", "b.v");
	const char *with = "";
	bool named, distinct, unique;

	for (int i = 0; i < 2; i++)
		sql[i] = vector(g, node->args[i], &sides[i]);
	if (!chosen_unique(&sides[1 - many_side], &node->labels, node->by))
	{
		with = psprintf("WITH many AS MATERIALIZED (%s) ", sql[many_side]);
		sql[many_side] = "SELECT * FROM many";
		sql[1 - many_side] = one_side(node, sql[1 - many_side], many_side == 0 ? "right" : "left");
	}
	named = filters && many->named && !(node->card == MDB_ONE_TO_ONE && node->by);
	if (node->card == MDB_ONE_TO_ONE)
		distinct = unique = chosen_unique(many, &node->labels, node->by);
	else
	{
		unique = many->unique && node->include.n == 0;
		distinct = unique || (named && many->distinct && node->include.n == 0);
	}
	*shape = (Shape){.named = named, .distinct = distinct, .unique = unique};
	if (node->card == MDB_ONE_TO_ONE && node->by)
	{
		shape->known = true;
		shape->keys = node->labels;
	}
	else if (node->include.n == 0 && many->known)
	{
		shape->known = true;
		shape->keys = many->keys;
	}
	return checked(
		psprintf("%sSELECT %s AS n, %s AS l, %s AS v FROM (%s) a JOIN (%s) b ON %s = %s%s%s", with,
				 named ? many_side == 1 ? "b.n" : "a.n" : "NULL::text", labels,
				 filters    ? "a.v"
				 : compares ? as_number(value)
							: value,
				 sql[0], sql[1], chosen("a.l", &node->labels, node->by),
				 chosen("b.l", &node->labels, node->by), filters ? " WHERE " : "", filters ? value : ""),
		shape,
		node->card == MDB_ONE_TO_ONE
			? "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
			: "multiple matches for labels: grouping labels must ensure unique matches");
}

static char *
binary(Gen *g, const MdbProm *node, Shape *shape)
{
	check_names(g, node, &node->labels);
	check_names(g, node, &node->include);
	if (mdb_prom_is_set(node->text))
		return set_operator(g, node, shape);
	if (node->args[0]->type == MDB_PROM_VECTOR && node->args[1]->type == MDB_PROM_VECTOR)
		return vectors(g, node, shape);
	return with_scalar(g, node, shape);
}

/* ---------- nodes ---------- */

/* A vector: a SELECT of n, l and v. */
static char *
vector(Gen *g, const MdbProm *node, Shape *shape)
{
	check_stack_depth();
	switch (node->kind)
	{
		case MDB_PROM_SELECTOR:
			return instant(g, node, shape, false);
		case MDB_PROM_NEGATE:
			if (node->number > 0)
				return vector(g, node->args[0], shape);
			return mapped(vector(g, node->args[0], shape), shape, "- s.v");
		case MDB_PROM_BINARY:
			return binary(g, node, shape);
		case MDB_PROM_CALL:
			return call(g, node, shape);
		case MDB_PROM_AGGREGATE:
			return aggregate(g, node, shape);
		default:
			elog(ERROR, "node of kind %d is no vector", (int) node->kind);
	}
}

/* A scalar: an expression of type float8. */
static char *
scalar(Gen *g, const MdbProm *node)
{
	Shape shape;

	check_stack_depth();
	switch (node->kind)
	{
		case MDB_PROM_NUMBER:
			return number(node->number);
		case MDB_PROM_NEGATE:
			if (node->number > 0)
				return scalar(g, node->args[0]);
			return psprintf("(- %s)", scalar(g, node->args[0]));
		case MDB_PROM_BINARY:
		{
			char *value = compute(node, scalar(g, node->args[0]), scalar(g, node->args[1]));

			return node->returns_bool ? as_number(value) : value;
		}
		case MDB_PROM_CALL:
			if (node->function->way == MDB_WAY_PI)
				return number(M_PI);
			if (node->function->way == MDB_WAY_TIME)
				return epoch_of(g->at);
			return psprintf("(SELECT CASE WHEN count(*) = 1 THEN min(s.v) ELSE 'NaN' END FROM (%s) s)",
							vector(g, node->args[0], &shape));
		default:
			elog(ERROR, "node of kind %d is no scalar", (int) node->kind);
	}
}

/*
 * mdb_prom_sql - a SELECT of labels and value, and the metric's name before them if that is asked for, in
 * CurrentMemoryContext.  Raises ERRCODE_FEATURE_NOT_SUPPORTED.
 */
char *
mdb_prom_sql(const MdbPromQuestion *question, const MdbProm *root)
{
	Gen g = {.question = question, .at = question->at};
	Shape shape;

	if (root->type == MDB_PROM_SCALAR)
		return psprintf("SELECT %s'{}'::jsonb AS labels, %s AS value",
						question->with_metric ? "NULL::text AS metric, " : "", scalar(&g, root));
	if (root->type != MDB_PROM_VECTOR)
		mdb_prom_refuse(question->text, root,
						root->type == MDB_PROM_STRING ? "a string alone" : "a range alone", NULL);
	return psprintf("SELECT %ss.l AS labels, s.v AS value FROM (%s) s",
					question->with_metric ? "s.n AS metric, " : "", vector(&g, root, &shape));
}
