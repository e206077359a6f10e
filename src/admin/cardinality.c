/*
 * cardinality.c
 *	  Limits of new series by SQL, and the view metricsdb.cardinality_status.
 *
 * Limits are for the table's owner to set; the view shows a table to its owner and to members of
 * pg_monitor.  What they mean: src/series/guard.c.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "admin/admin.h"
#include "metricsdb.h"
#include "series/guard.h"

PG_FUNCTION_INFO_V1(mdb_set_cardinality_limit);
PG_FUNCTION_INFO_V1(mdb_drop_cardinality_limit);
PG_FUNCTION_INFO_V1(mdb_all_cardinality);
PG_FUNCTION_INFO_V1(mdb_set_cardinality_share);

#define NCOLUMNS 12

/* Longer names cannot have a limit of their own: an index entry is to hold them. */
#define METRIC_MAX 1024

/* The table that an argument names, locked; its owner is asking, or else there is an error. */
static Relation
open_owned(FunctionCallInfo fcinfo)
{
	Oid relid;
	char *name;
	Relation rel;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the table must not be NULL")));
	relid = PG_GETARG_OID(0);
	name = get_rel_name(relid);
	if (name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table with OID %u does not exist", relid)));
	if (!mdb_owns_table(relid))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)), name);
	if (!mdb_is_metricsdb_oid(relid))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a metricsdb table", name),
						get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE
							? errhint("Set the limits of its partitions.")
							: errhint("Convert it with ALTER TABLE ... SET ACCESS METHOD metricsdb.")));
	rel = relation_open(relid, ShareUpdateExclusiveLock);
	mdb_refuse_elsewhere(relid, "Set the limits on each node.");
	/* It may have been given to somebody else while we waited. */
	if (!mdb_owns_table(relid))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(rel->rd_rel->relkind), name);
	return rel;
}

static char *
metric_argument(FunctionCallInfo fcinfo, Relation rel)
{
	char *metric = PG_ARGISNULL(1) ? pstrdup("") : text_to_cstring(PG_GETARG_TEXT_PP(1));
	MdbTable *table = mdb_table(rel);
	AttrNumber name;
	AttrNumber tags;

	if (strlen(metric) > METRIC_MAX)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("name of a metric is too long"),
						errdetail("It has %zu bytes, a limit can be set for up to %d.", strlen(metric),
								  METRIC_MAX)));
	mdb_guard_shape(rel, table, &name, &tags);
	if (name == 0 && metric[0] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("table \"%s\" has no metrics of its own", RelationGetRelationName(rel)),
				 errdetail("Only tables whose series columns are one of type text and one of type jsonb do."),
				 errhint("Give NULL for the metric: the limit is that of the table.")));
	return metric;
}

/* Delete the row of a table and metric.  False if there is none. */
static bool
delete_limit(Relation catalog, Oid relid, const char *metric)
{
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&keys[0], Anum_cardinality_limit_table, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[1], Anum_cardinality_limit_metric, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(metric));
	keys[1].sk_collation =
		TupleDescAttr(RelationGetDescr(catalog), Anum_cardinality_limit_metric - 1)->attcollation;
	/* One statement may call us often. */
	scan = systable_beginscan(catalog, mdb_catalog_index(catalog), true, SnapshotSelf, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		CatalogTupleDelete(catalog, &tuple->t_self);
	systable_endscan(scan);
	return HeapTupleIsValid(tuple);
}

/* Is there a series column, or can there be a tag, of that name? */
static void
check_tag(Relation rel, const char *tag)
{
	MdbTable *table = mdb_table(rel);
	AttrNumber name;
	AttrNumber tags;

	mdb_guard_shape(rel, table, &name, &tags);
	if (name != 0)
		return;
	for (int i = 0; i < table->nseries_columns; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), table->series_attnos[i] - 1);

		if (att->attisdropped || strcmp(NameStr(att->attname), tag) != 0)
			continue;
		if (att->attnotnull)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("column \"%s\" of table \"%s\" cannot be dropped from series", tag,
								   RelationGetRelationName(rel)),
							errdetail("It would become NULL, which it must not be.")));
		return;
	}
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
					errmsg("table \"%s\" has no series column \"%s\"", RelationGetRelationName(rel), tag),
					errhint("SELECT * FROM metricsdb.describe() shows which columns name the series.")));
}

/*
 * mdb_set_cardinality_limit - metricsdb.set_cardinality_limit("table" regclass, metric text,
 * new_per_hour int8, action text, drop_tag text): see its COMMENT.
 */
Datum
mdb_set_cardinality_limit(PG_FUNCTION_ARGS)
{
	Relation rel = open_owned(fcinfo);
	char *metric = metric_argument(fcinfo, rel);
	char *action = PG_ARGISNULL(3) ? pstrdup("reject") : text_to_cstring(PG_GETARG_TEXT_PP(3));
	bool drops = strcmp(action, "drop_tag") == 0;
	Datum v[Natts_cardinality_limit];
	bool n[Natts_cardinality_limit] = {0};
	Relation catalog;
	HeapTuple tuple;

	if (!PG_ARGISNULL(2) && PG_GETARG_INT64(2) < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a limit of new series must not be negative"),
						errhint("NULL allows any number, 0 allows none.")));
	if (!drops && strcmp(action, "reject") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("unknown action \"%s\" of a cardinality limit", action),
						errhint("Use \"reject\" or \"drop_tag\".")));
	if (drops != !PG_ARGISNULL(4))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						drops ? errmsg("action \"drop_tag\" needs the name of a tag")
							  : errmsg("a tag to drop needs the action \"drop_tag\"")));
	if (drops)
		check_tag(rel, text_to_cstring(PG_GETARG_TEXT_PP(4)));

	catalog = mdb_catalog_open("cardinality_limit", RowExclusiveLock);
	(void) delete_limit(catalog, RelationGetRelid(rel), metric);
	v[Anum_cardinality_limit_table - 1] = ObjectIdGetDatum(RelationGetRelid(rel));
	v[Anum_cardinality_limit_metric - 1] = CStringGetTextDatum(metric);
	v[Anum_cardinality_limit_new_per_hour - 1] = PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2);
	n[Anum_cardinality_limit_new_per_hour - 1] = PG_ARGISNULL(2);
	v[Anum_cardinality_limit_action - 1] = CStringGetTextDatum(action);
	v[Anum_cardinality_limit_drop_tag - 1] = drops ? PG_GETARG_DATUM(4) : (Datum) 0;
	n[Anum_cardinality_limit_drop_tag - 1] = !drops;
	v[Anum_cardinality_limit_home - 1] = CStringGetTextDatum(mdb_guard_home());
	tuple = heap_form_tuple(RelationGetDescr(catalog), v, n);
	CatalogTupleInsert(catalog, tuple);
	table_close(catalog, NoLock);
	CacheInvalidateRelcache(rel);
	relation_close(rel, NoLock);
	PG_RETURN_VOID();
}

/*
 * mdb_drop_cardinality_limit - metricsdb.drop_cardinality_limit("table" regclass, metric text): see its
 * COMMENT.
 */
Datum
mdb_drop_cardinality_limit(PG_FUNCTION_ARGS)
{
	Relation rel = open_owned(fcinfo);
	char *metric = metric_argument(fcinfo, rel);
	Relation catalog = mdb_catalog_open("cardinality_limit", RowExclusiveLock);
	bool found = delete_limit(catalog, RelationGetRelid(rel), metric);

	table_close(catalog, NoLock);
	CacheInvalidateRelcache(rel);
	relation_close(rel, NoLock);
	PG_RETURN_BOOL(found);
}

/*
 * mdb_set_cardinality_share - metricsdb.set_cardinality_share("table" regclass, new_per_hour int8, shared bool): see its
 * COMMENT.
 */
Datum
mdb_set_cardinality_share(PG_FUNCTION_ARGS)
{
	Relation rel = open_owned(fcinfo);
	Oid types[] = {OIDOID, INT8OID};
	Datum args[] = {ObjectIdGetDatum(RelationGetRelid(rel)),
					PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1)};
	bool shared = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	uint64 n;

	if (!PG_ARGISNULL(1) && PG_GETARG_INT64(1) < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a limit of new series must not be negative"),
						errhint("NULL allows any number, 0 allows none.")));
	SPI_connect();
	n = shared ? mdb_execute_own("INSERT INTO metricsdb.cardinality_share AS s VALUES ($1::regclass, $2) "
								 "ON CONFLICT (\"table\") DO UPDATE SET new_per_hour = excluded.new_per_hour "
								 "WHERE s.new_per_hour IS DISTINCT FROM excluded.new_per_hour",
								 lengthof(types), types, args, PG_ARGISNULL(1) ? " n" : NULL)
			   : mdb_execute_own("DELETE FROM metricsdb.cardinality_share WHERE \"table\" = $1::regclass", 1,
								 types, args, NULL);
	SPI_finish();
	relation_close(rel, NoLock);
	PG_RETURN_BOOL(n > 0);
}

/* ---- the view ---- */

typedef struct Line
{
	TimestampTz hour;
	MdbCardMetric *metric;
	int64 refused;
	struct Line *next;
} Line;

/* The books of a storage, a line for each hour and metric, and cards with their sketches. */
static Line *
read_lines(int64 storage_id)
{
	MdbGuard *g = mdb_guard_create(false);
	Relation rel = mdb_catalog_open("cardinality", AccessShareLock);
	Line *lines = NULL;
	Line *line = NULL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_cardinality_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(storage_id));
	/* Rows of a metric and hour come one after the other. */
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, GetActiveSnapshot(), 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Datum v[Natts_cardinality];
		bool n[Natts_cardinality];
		TimestampTz hour;
		uint64 hash;

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		hour = DatumGetTimestampTz(v[Anum_cardinality_hour - 1]);
		hash = (uint64) DatumGetInt64(v[Anum_cardinality_metric_hash - 1]);
		if (line == NULL || line->hour != hour || line->metric->hash != hash)
		{
			text *name = DatumGetTextPP(v[Anum_cardinality_metric - 1]);
			bool made;

			/* Another hour is another card: a metric has one sketch in each. */
			if (line == NULL || line->hour != hour)
				g = mdb_guard_create(false);
			line = palloc0(sizeof(Line));
			line->hour = hour;
			line->metric = mdb_card_metric_hashed(
				g->card, hash, (MdbCardBytes){VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)}, &made);
			line->next = lines;
			lines = line;
		}
		line->metric->used += DatumGetInt64(v[Anum_cardinality_new_series - 1]);
		line->refused += DatumGetInt64(v[Anum_cardinality_refused - 1]);
		if (!n[Anum_cardinality_sketch - 1])
		{
			bytea *sketch = DatumGetByteaPP(v[Anum_cardinality_sketch - 1]);

			(void) mdb_card_merge(g->card, line->metric, (const uint8_t *) VARDATA_ANY(sketch),
								  VARSIZE_ANY_EXHDR(sketch));
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return lines;
}

static void
put_limit(Datum *v, bool *n, int at, int64 limit)
{
	v[at] = Int64GetDatum(limit);
	n[at] = limit < 0;
}

static void
put_line(ReturnSetInfo *rsinfo, Relation rel, bool named, const MdbLimit *limits, int nlimits, int64 setting,
		 MdbCardBytes name, const Line *line, TimestampTz this_hour)
{
	MdbCardRule rule = mdb_guard_rule(limits, nlimits, name, setting, false);
	MdbCardRule sql =
		mdb_guard_rule(limits, nlimits, name, mdb_guard_setting(RelationGetRelid(rel), true), true);
	Datum v[NCOLUMNS] = {0};
	bool n[NCOLUMNS] = {0};
	int64 used = line ? line->metric->used : 0;
	MdbCardBytes tag = {NULL, 0};
	int64 estimate = line ? mdb_card_top(line->metric, &tag) : 0;

	v[0] = ObjectIdGetDatum(RelationGetRelid(rel));
	v[1] = PointerGetDatum(cstring_to_text_with_len(name.data, name.len));
	n[1] = !named || name.len == 0;
	v[2] = TimestampTzGetDatum(line ? line->hour : this_hour);
	put_limit(v, n, 3, rule.limit);
	v[4] = Int64GetDatum(used);
	v[5] = Int64GetDatum(line ? line->refused : 0);
	v[6] = CStringGetTextDatum(rule.action == MDB_CARD_DROP_TAG ? "drop_tag" : "reject");
	n[7] = rule.drop_tag.data == NULL;
	if (!n[7])
		v[7] = PointerGetDatum(cstring_to_text_with_len(rule.drop_tag.data, rule.drop_tag.len));
	n[8] = n[9] = tag.data == NULL;
	if (!n[8])
		v[8] = PointerGetDatum(cstring_to_text_with_len(tag.data, tag.len));
	v[9] = Int64GetDatum(estimate);
	v[10] =
		BoolGetDatum(rule.limit >= 0 && used >= rule.limit && (line ? line->hour : this_hour) == this_hour);
	put_limit(v, n, 11, sql.limit);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, n);
}

static void
put_table(ReturnSetInfo *rsinfo, Relation rel)
{
	MdbTable *table = mdb_table(rel);
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz this_hour = now - now % USECS_PER_HOUR;
	int nlimits;
	MdbLimit *limits = mdb_guard_limits(RelationGetRelid(rel), &nlimits);
	int64 setting = mdb_guard_setting(RelationGetRelid(rel), false);
	Line *lines = read_lines(table->storage_id);
	AttrNumber name;
	AttrNumber tags;

	mdb_guard_shape(rel, table, &name, &tags);
	for (Line *line = lines; line; line = line->next)
		put_line(rsinfo, rel, name != 0, limits, nlimits, setting,
				 (MdbCardBytes){line->metric->name, line->metric->name_len}, line, this_hour);
	/* Limits of what had nothing new in this hour */
	for (int i = 0; i < nlimits; i++)
	{
		MdbCardBytes metric = {limits[i].metric, strlen(limits[i].metric)};
		bool shown = false;

		for (Line *line = lines; line && !shown; line = line->next)
			shown = line->hour == this_hour && line->metric->hash == mdb_card_hash(metric);
		if (!shown)
			put_line(rsinfo, rel, name != 0, limits, nlimits, setting, metric, NULL, this_hour);
	}
}

/*
 * mdb_all_cardinality - rows of the view metricsdb.cardinality_status.
 */
Datum
mdb_all_cardinality(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext mcxt;
	ListCell *lc;

	InitMaterializedSRF(fcinfo, 0);
	mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb cardinality status", ALLOCSET_DEFAULT_SIZES);
	foreach (lc, mdb_watched_tables())
	{
		MemoryContext old;
		Relation rel;

		CHECK_FOR_INTERRUPTS();
		/* A monitor does not wait for those it watches. */
		if (!ConditionalLockRelationOid(lfirst_oid(lc), AccessShareLock))
			continue;
		rel = try_relation_open(lfirst_oid(lc), NoLock);
		if (rel == NULL)
			continue;
		old = MemoryContextSwitchTo(mcxt);
		if (mdb_is_metricsdb(rel) && !RELATION_IS_OTHER_TEMP(rel))
			put_table(rsinfo, rel);
		MemoryContextSwitchTo(old);
		MemoryContextReset(mcxt);
		relation_close(rel, AccessShareLock);
	}
	return (Datum) 0;
}
