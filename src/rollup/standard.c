/*
 * standard.c
 *	  The roll-ups that a table of metrics usually has: create_rollups(), drop_rollups().
 *
 * They are continuous aggregates like any others, made by statements that a user could write.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "rollup/apply.h"

PG_FUNCTION_INFO_V1(mdb_create_rollups);
PG_FUNCTION_INFO_V1(mdb_drop_rollups);

/* One of them. */
typedef struct Level
{
	Interval *width;
	char *suffix;
	Interval *keep;
} Level;

/* ---- widths and names ---- */

/* "10s", "1min", "1h", "1day", "1month"; NULL if a width is nothing of the kind. */
static char *
suffix_of(const Interval *w)
{
	if (w->month > 0 && w->day == 0 && w->time == 0)
		return psprintf("%dmonth", w->month);
	if (w->month == 0 && w->day > 0 && w->time == 0)
		return psprintf("%dday", w->day);
	if (w->month != 0 || w->day != 0 || w->time <= 0 || w->time % USECS_PER_SEC != 0)
		return NULL;
	if (w->time % USECS_PER_HOUR == 0)
		return psprintf(INT64_FORMAT "h", (int64) (w->time / USECS_PER_HOUR));
	if (w->time % USECS_PER_MINUTE == 0)
		return psprintf(INT64_FORMAT "min", (int64) (w->time / USECS_PER_MINUTE));
	return psprintf(INT64_FORMAT "s", (int64) (w->time / USECS_PER_SEC));
}

/* Is the end of a name one of those? */
static bool
is_suffix(const char *s)
{
	static const char *const units[] = {"s", "min", "h", "day", "month"};
	size_t digits = strspn(s, "0123456789");

	for (int i = 0; digits > 0 && i < (int) lengthof(units); i++)
		if (strcmp(s + digits, units[i]) == 0)
			return true;
	return false;
}

static bool
is_calendar(const Interval *w)
{
	return w->month > 0 || w->day > 0;
}

static char *
interval_literal(Interval *i)
{
	return quote_literal_cstr(DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(i))));
}

/* How long buckets of a width are kept if nothing is said. */
static Interval *
usual_keep(const Interval *width)
{
	Interval *keep = palloc0(sizeof(Interval));

	if (is_calendar(width) || width->time >= USECS_PER_HOUR)
		keep->month = MONTHS_PER_YEAR;
	else
		keep->day = width->time >= USECS_PER_MINUTE ? 90 : 7;
	return keep;
}

/* The elements of an array of intervals; NULL for those that are. */
static Interval **
intervals(ArrayType *array, int *count)
{
	Datum *values;
	bool *nulls;
	Interval **list;

	deconstruct_array(array, INTERVALOID, sizeof(Interval), false, TYPALIGN_DOUBLE, &values, &nulls, count);
	list = palloc0(sizeof(Interval *) * Max(1, *count));
	for (int i = 0; i < *count; i++)
		if (!nulls[i])
			list[i] = DatumGetIntervalP(values[i]);
	return list;
}

static int
level_cmp(const void *a, const void *b)
{
	const Level *x = a, *y = b;

	return DatumGetInt32(
		DirectFunctionCall2(interval_cmp, IntervalPGetDatum(x->width), IntervalPGetDatum(y->width)));
}

/* What levels there are to be, the finest first. */
static Level *
levels_of(ArrayType *widths, ArrayType *keeps, int *count)
{
	int nkeeps = 0;
	Interval **w = intervals(widths, count);
	Interval **k = keeps ? intervals(keeps, &nkeeps) : NULL;
	Level *levels = palloc0(sizeof(Level) * Max(1, *count));

	if (*count == 0 || (keeps && nkeeps != *count))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 *count == 0 ? errmsg("there must be at least one level")
							 : errmsg("there are %d levels, but %d times to keep them", *count, nkeeps)));
	for (int i = 0; i < *count; i++)
	{
		levels[i].width = w[i];
		levels[i].suffix = w[i] ? suffix_of(w[i]) : NULL;
		levels[i].keep = keeps ? k[i] : w[i] ? usual_keep(w[i]) : NULL;
		if (levels[i].suffix == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("level %d has no usable width", i + 1),
					 errdetail("Widths are whole seconds, minutes, hours, days or months."),
					 errhint("For others use CREATE MATERIALIZED VIEW ... WITH (metricsdb.continuous).")));
	}
	qsort(levels, *count, sizeof(Level), level_cmp);
	return levels;
}

/* ---- what they consist of ---- */

static bool
is_number(Oid type)
{
	type = getBaseType(type);
	return type == INT2OID || type == INT4OID || type == INT8OID || type == FLOAT4OID || type == FLOAT8OID ||
		   type == NUMERICOID;
}

/* The columns behind the bucket: of series, then aggregates of each value; how many there are of the first. */
static int
put_columns(StringInfo buf, Relation rel, const MdbTable *table, const char *time)
{
	static const char *const aggregates[][3] = {
		{"pg_catalog.count(", ")", "count"}, {"pg_catalog.sum(", ")", "sum"},
		{"pg_catalog.avg(", ")", "avg"},     {"pg_catalog.min(", ")", "min"},
		{"pg_catalog.max(", ")", "max"},     {"metricsdb.first(", NULL, "first"},
		{"metricsdb.last(", NULL, "last"}};
	TupleDesc desc = RelationGetDescr(rel);
	bool any = false;

	for (int i = 0; i < table->nseries_columns; i++)
		appendStringInfo(
			buf, ", %s",
			quote_identifier(NameStr(TupleDescAttr(desc, table->series_attnos[i] - 1)->attname)));
	appendStringInfoString(buf, ", pg_catalog.count(*) AS row_count");
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const char *name = NameStr(att->attname);

		if (att->attisdropped || i >= table->natts || table->columns[i].role != MDB_ROLE_VALUE ||
			!is_number(att->atttypid))
			continue;
		any = true;
		for (int k = 0; k < (int) lengthof(aggregates); k++)
		{
			appendStringInfo(buf, ", %s%s", aggregates[k][0], quote_identifier(name));
			if (aggregates[k][1])
				appendStringInfoString(buf, aggregates[k][1]);
			else
				appendStringInfo(buf, ", %s)", time);
			appendStringInfo(buf, " AS %s", quote_identifier(psprintf("%s_%s", name, aggregates[k][2])));
		}
	}
	if (!any)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no value column that is a number", RelationGetRelationName(rel)),
				 errhint("metricsdb.describe() shows what its columns are.")));
	return table->nseries_columns;
}

static char *
create_statement(Relation rel, const MdbTable *table, const Level *level, const char *view, char *zone)
{
	const char *time =
		quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(rel), table->time_attno - 1)->attname));
	StringInfoData buf;
	int nkeys;

	initStringInfo(&buf);
	appendStringInfo(
		&buf,
		"CREATE MATERIALIZED VIEW %s WITH (metricsdb.continuous) AS SELECT metricsdb.time_bucket(%s::"
		"pg_catalog.interval, %s",
		view, interval_literal(level->width), time);
	if (is_calendar(level->width) && table->time_type == TIMESTAMPTZOID)
		appendStringInfo(&buf, ", %s::pg_catalog.text", quote_literal_cstr(zone));
	appendStringInfoString(&buf, ") AS bucket");
	nkeys = put_columns(&buf, rel, table, time);
	appendStringInfo(&buf, " FROM %s GROUP BY 1",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												RelationGetRelationName(rel)));
	for (int i = 0; i < nkeys; i++)
		appendStringInfo(&buf, ", %d", i + 2);
	return buf.data;
}

static void
execute(const char *sql)
{
	if (SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "SPI failed: %s", sql);
}

static void
keep(const char *table, Interval *time)
{
	execute(psprintf("SELECT metricsdb.set_retention(%s::pg_catalog.regclass, %s::pg_catalog.interval)",
					 quote_literal_cstr(table), interval_literal(time)));
}

/* The caller's table, which may have roll-ups. */
static Relation
open_table(Oid relid)
{
	Relation rel = try_relation_open(relid, AccessShareLock);

	if (rel == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table with OID %u does not exist", relid)));
	if (!mdb_owns_table(relid))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(rel->rd_rel->relkind),
					   RelationGetRelationName(rel));
	if (!mdb_is_metricsdb(rel) || rel->rd_rel->relkind != RELKIND_RELATION || mdb_table(rel)->time_attno <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a metricsdb table that has a time", RelationGetRelationName(rel))));
	return rel;
}

/* The aggregates of a table. */
static MdbAggregate *
aggregates_of(Oid raw, int *count)
{
	Snapshot snapshot = mdb_latest_snapshot();
	MdbAggregate *list = mdb_aggregates_by(MDB_AGGREGATE_RAW, raw, snapshot, count);

	UnregisterSnapshot(snapshot);
	return list;
}

static bool
is_aggregate_of(Oid view, Oid raw)
{
	int n;
	MdbAggregate *list = aggregates_of(raw, &n);

	for (int i = 0; i < n; i++)
		if (list[i].view == view)
			return true;
	return false;
}

/*
 * mdb_create_rollups - metricsdb.create_rollups("table" regclass, raw_keep interval, levels interval[],
 * keep interval[], timezone text): see its COMMENT.
 *
 * Raises ERRCODE_WRONG_OBJECT_TYPE, ERRCODE_INVALID_PARAMETER_VALUE, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if there
 * is nothing to roll up, a permission error unless the caller owns the table, and what the statements do that it runs.
 */
Datum
mdb_create_rollups(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char *zone = PG_ARGISNULL(4) ? "UTC" : text_to_cstring(PG_GETARG_TEXT_PP(4));
	MdbTable *table;
	Level *levels;
	Relation rel;
	char *schema;
	int n;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("the table and the levels must not be NULL")));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	levels = levels_of(PG_GETARG_ARRAYTYPE_P(2), PG_ARGISNULL(3) ? NULL : PG_GETARG_ARRAYTYPE_P(3), &n);
	rel = open_table(PG_GETARG_OID(0));
	table = mdb_table(rel);
	schema = get_namespace_name(RelationGetNamespace(rel));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	for (int i = 0; i < n; i++)
	{
		char *name = psprintf("%s_%s", RelationGetRelationName(rel), levels[i].suffix);
		char *view = quote_qualified_identifier(schema, name);
		Datum v;
		bool isnull = false;
		Oid found;

		if (strlen(name) >= NAMEDATALEN)
			ereport(ERROR, (errcode(ERRCODE_NAME_TOO_LONG), errmsg("the name \"%s\" is too long", name)));
		found = get_relname_relid(name, RelationGetNamespace(rel));
		if (OidIsValid(found) && is_aggregate_of(found, RelationGetRelid(rel)))
			ereport(NOTICE, (errmsg("roll-up \"%s\" is there already", name)));
		else
			execute(create_statement(rel, table, &levels[i], view, zone));
		if (levels[i].keep)
			keep(view, levels[i].keep);
		v = ObjectIdGetDatum(get_relname_relid(name, RelationGetNamespace(rel)));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &v, &isnull);
	}
	if (!PG_ARGISNULL(1))
		keep(quote_qualified_identifier(schema, RelationGetRelationName(rel)), PG_GETARG_INTERVAL_P(1));
	SPI_finish();
	relation_close(rel, NoLock);
	return (Datum) 0;
}

/* Is an aggregate a roll-up by its name? */
static bool
is_rollup(const MdbAggregate *a, Relation rel)
{
	char *name = get_rel_name(a->view);
	const char *table = RelationGetRelationName(rel);
	size_t len = strlen(table);

	return name && get_rel_namespace(a->view) == RelationGetNamespace(rel) &&
		   strncmp(name, table, len) == 0 && name[len] == '_' && is_suffix(name + len + 1);
}

/* Is there one that is made of it? */
static bool
is_made_of(const MdbAggregate *list, int n, Oid aggregate)
{
	for (int i = 0; i < n; i++)
		if (list[i].parent == aggregate)
			return true;
	return false;
}

/*
 * mdb_drop_rollups - metricsdb.drop_rollups("table" regclass): what create_rollups() has made, coarser ones first.
 *
 * Raises ERRCODE_WRONG_OBJECT_TYPE, a permission error unless the caller owns the table, and whatever to drop them does.
 */
Datum
mdb_drop_rollups(PG_FUNCTION_ARGS)
{
	Relation rel = open_table(PG_GETARG_OID(0));
	bool any = true;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	while (any)
	{
		int n;
		MdbAggregate *list = aggregates_of(RelationGetRelid(rel), &n);

		any = false;
		for (int i = 0; i < n && !any; i++)
			if (is_rollup(&list[i], rel) && !is_made_of(list, n, list[i].aggregate))
			{
				execute(
					psprintf("DROP MATERIALIZED VIEW %s",
							 quote_qualified_identifier(get_namespace_name(get_rel_namespace(list[i].view)),
														get_rel_name(list[i].view))));
				any = true;
			}
	}
	SPI_finish();
	relation_close(rel, NoLock);
	PG_RETURN_VOID();
}
