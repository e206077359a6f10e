/*
 * describe.c
 *	  metricsdb.describe() and the view metricsdb.parts: what a table's columns are for, and what
 *	  its parts are.
 *
 * Who may not SELECT from a table learns nothing of it here.  Where row-level security applies to
 * the caller, what would tell of rows that are hidden (counts, times) is NULL; sizes are shown, as
 * they are by pg_relation_size.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "admin/admin.h"
#include "metricsdb.h"

PG_FUNCTION_INFO_V1(mdb_describe);
PG_FUNCTION_INFO_V1(mdb_parts_sql);

/*
 * mdb_open_asked - open, AccessShareLock, a table that a function is asked about: a metricsdb table, or if
 * partitioned a partitioned one.
 *
 * *hide_values: row-level security applies to the caller.  Raises ERRCODE_UNDEFINED_TABLE,
 * ERRCODE_INSUFFICIENT_PRIVILEGE or ERRCODE_WRONG_OBJECT_TYPE.
 */
Relation
mdb_open_asked(Oid relid, bool partitioned, bool *hide_values)
{
	char *name = get_rel_name(relid);
	AclResult acl;
	Relation rel;

	if (name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table with OID %u does not exist", relid)));
	acl = pg_class_aclcheck(relid, GetUserId(), ACL_SELECT);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, get_relkind_objtype(get_rel_relkind(relid)), name);
	rel = relation_open(relid, AccessShareLock);
	if (!mdb_is_metricsdb(rel) && !(partitioned && rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a metricsdb table", name),
						rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE
							? errhint("Ask about its partitions.")
							: errhint("Convert it with ALTER TABLE ... SET ACCESS METHOD metricsdb.")));
	if (RELATION_IS_OTHER_TEMP(rel))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot access temporary tables of other sessions")));
	*hide_values = check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED;
	return rel;
}

/*
 * mdb_open_shown - the same for metricsdb tables alone.
 */
Relation
mdb_open_shown(Oid relid, bool *hide_values)
{
	return mdb_open_asked(relid, false, hide_values);
}

/*
 * mdb_role_name - a role as users see it.
 */
const char *
mdb_role_name(MdbRole role)
{
	switch (role)
	{
		case MDB_ROLE_VALUE:
			return "value";
		case MDB_ROLE_TIME:
			return "time";
		case MDB_ROLE_SERIES:
			return "series";
		case MDB_ROLE_DROPPED:
			return "dropped";
	}
	return NULL;
}

static const char *
storage_name(const MdbColumn *column)
{
	if (column->role == MDB_ROLE_TIME)
		return "time";
	if (column->role == MDB_ROLE_SERIES)
		return "dictionary";
	switch ((MdbPhys) column->phys)
	{
		case MDB_I64:
			return "integer";
		case MDB_F64:
			return "float8";
		case MDB_F32:
			return "float4";
		case MDB_BYTES:
			return "bytes";
	}
	return NULL;
}

/* Was the column's role said by options, rather than inferred? */
static bool
is_declared(const MdbOptions *options, const char *name, MdbRole role)
{
	ListCell *lc;

	if (role == MDB_ROLE_TIME)
		return options->time_given;
	if (role == MDB_ROLE_VALUE)
		return options->series_given;
	foreach (lc, options->series)
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	return false;
}

/*
 * mdb_describe - metricsdb.describe("table" regclass): a row for each column.
 */
Datum
mdb_describe(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool hide;
	Relation rel = mdb_open_shown(PG_GETARG_OID(0), &hide);
	TupleDesc desc = RelationGetDescr(rel);
	MdbTable *table = mdb_table(rel);
	MdbOptions options = {0};

	InitMaterializedSRF(fcinfo, 0);
	mdb_options_load(RelationGetRelid(rel), &options);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const MdbColumn *column = &table->columns[i];
		Datum values[6];
		bool nulls[6] = {0};

		if (att->attisdropped)
			continue;
		values[0] = NameGetDatum(&att->attname);
		values[1] = CStringGetTextDatum(format_type_with_typemod(att->atttypid, att->atttypmod));
		values[2] = CStringGetTextDatum(mdb_role_name(column->role));
		values[3] = CStringGetTextDatum(storage_name(column));
		values[4] = BoolGetDatum(is_declared(&options, NameStr(att->attname), column->role));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	relation_close(rel, AccessShareLock);
	return (Datum) 0;
}

/* A time in the time column's units as timestamptz; those without a zone as in the session's. */
static Datum
time_as_timestamptz(const MdbTable *table, int64 time, bool *isnull)
{
	int overflow;

	*isnull = false;
	switch (table->time_type)
	{
		case TIMESTAMPTZOID:
			return TimestampTzGetDatum(time);
		case TIMESTAMPOID:
			return TimestampTzGetDatum(timestamp2timestamptz_opt_overflow(time, &overflow));
		case DATEOID:
			return TimestampTzGetDatum(date2timestamptz_opt_overflow((DateADT) time, &overflow));
	}
	*isnull = true;
	return (Datum) 0;
}

/* Midnight of a day, for the bounds of a partition; beyond what a time can be: infinity. */
static Datum
day_as_timestamptz(const MdbTable *table, int64 day, bool *isnull)
{
	if (table->time_type == DATEOID)
		return time_as_timestamptz(table, Max(Min(day, (int64) PG_INT32_MAX), (int64) PG_INT32_MIN), isnull);
	if (day <= MIN_TIMESTAMP / USECS_PER_DAY)
		return time_as_timestamptz(table, DT_NOBEGIN, isnull);
	if (day >= END_TIMESTAMP / USECS_PER_DAY)
		return time_as_timestamptz(table, DT_NOEND, isnull);
	return time_as_timestamptz(table, day * USECS_PER_DAY, isnull);
}

static void
put_part(ReturnSetInfo *rsinfo, Oid relid, const MdbTable *table, const MdbPartInfo *p, bool hide)
{
	Datum v[16] = {0};
	bool n[16] = {0};

	v[0] = ObjectIdGetDatum(relid);
	v[1] = Int64GetDatum(p->part_id);
	v[2] = Int32GetDatum(p->level);
	n[3] = n[4] = n[5] = n[6] = true;
	if (p->days > 0 && !hide)
	{
		/* The widest partition is all of time. */
		int64 end = p->days == PG_INT32_MAX ? PG_INT64_MAX : (int64) p->day + p->days;

		v[3] = day_as_timestamptz(table, p->day, &n[3]);
		v[4] = day_as_timestamptz(table, end, &n[4]);
		v[5] = time_as_timestamptz(table, p->time_min, &n[5]);
		v[6] = time_as_timestamptz(table, p->time_max, &n[6]);
	}
	v[7] = Int64GetDatum(p->nrows);
	v[8] = Int32GetDatum(p->nblocks);
	v[9] = Int64GetDatum(p->nseries);
	n[7] = n[8] = n[9] = hide;
	v[10] = Int64GetDatum(p->nbytes);
	v[11] = Int32GetDatum(p->npages);
	v[12] = Int32GetDatum(p->format);
	v[13] = TimestampTzGetDatum(p->created_at);
	v[14] = Int32GetDatum(p->source_id);
	v[15] = Int64GetDatum(p->epoch);
	n[14] = n[15] = p->source_id == 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, n);
}

/*
 * mdb_shown_tables - OIDs of the metricsdb tables that the caller may SELECT from.
 */
List *
mdb_shown_tables(void)
{
	Oid am = mdb_am_oid(true);
	Relation pg_class = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(pg_class, InvalidOid, false, NULL, 0, NULL);
	HeapTuple tuple;
	List *relids = NIL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);
		bool is_missing = false;

		/* Others may drop tables while we look. */
		if (form->relam == am &&
			pg_class_aclcheck_ext(form->oid, GetUserId(), ACL_SELECT, &is_missing) == ACLCHECK_OK)
			relids = lappend_oid(relids, form->oid);
	}
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
	return relids;
}

/*
 * mdb_parts_sql - rows of the view metricsdb.parts.
 */
Datum
mdb_parts_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach (lc, mdb_shown_tables())
	{
		Oid relid = lfirst_oid(lc);
		Relation rel = try_relation_open(relid, AccessShareLock);
		bool hide;
		MdbTable *table;
		MdbPartList *list;

		CHECK_FOR_INTERRUPTS();
		if (rel == NULL)
			continue;
		/* Dropped, or converted, while we waited for the lock; or not ours to read. */
		if (!mdb_is_metricsdb(rel) || RELATION_IS_OTHER_TEMP(rel) ||
			rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		{
			relation_close(rel, AccessShareLock);
			continue;
		}
		hide = check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED;
		table = mdb_table(rel);
		list = mdb_parts_visible(table, GetActiveSnapshot());
		for (int i = 0; i < list->count; i++)
			put_part(rsinfo, relid, table, &list->parts[i], hide);
		pfree(list->parts);
		pfree(list);
		relation_close(rel, AccessShareLock);
	}
	return (Datum) 0;
}
