/*
 * options.c
 *	  Options of a table: which column is the time, which columns name the series.
 *
 * The roles of columns are in the metapage of the table's file and never change for a file.  To
 * change them the table gets a new, empty file, as by TRUNCATE, which takes them from its label.
 * So the change is transactional, and only an empty table can be changed.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "admin/admin.h"
#include "am/am.h"
#include "metricsdb.h"

PG_FUNCTION_INFO_V1(mdb_set_options);

/* Options being applied to a table, while it gets its new file; the label is stored later. */
static Oid applying_relid = InvalidOid;
static const MdbOptions *applying = NULL;

static AttrNumber
find_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return i + 1;
	}
	return InvalidAttrNumber;
}

static AttrNumber
need_column(const char *relname, TupleDesc desc, const char *name, const char *option)
{
	AttrNumber attno = find_column(desc, name);

	if (attno == InvalidAttrNumber)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("column \"%s\" of table \"%s\" does not exist", name, relname),
						errdetail("The option \"%s\" names it.", option)));
	return attno;
}

static bool
can_be_time(Oid type)
{
	switch (getBaseType(type))
	{
		case TIMESTAMPTZOID:
		case TIMESTAMPOID:
		case DATEOID:
		case INT8OID:
		case INT4OID:
		case INT2OID:
			return true;
	}
	return false;
}

/*
 * mdb_options_resolve - from names to column numbers; what was not given is inferred.
 *
 * strict: for options that are being set.  Raises ERRCODE_UNDEFINED_COLUMN,
 * ERRCODE_DATATYPE_MISMATCH, ERRCODE_DUPLICATE_COLUMN or ERRCODE_INVALID_PARAMETER_VALUE.  Else
 * names that do not fit are passed over.
 */
void
mdb_options_resolve(const char *relname, TupleDesc desc, const MdbOptions *options, bool strict,
					MdbRoles *roles)
{
	int n = 0;
	ListCell *lc;

	mdb_infer_roles(desc, roles);
	if (options->time_given)
	{
		roles->time_attno = 0;
		if (options->time != NULL)
			roles->time_attno =
				strict ? need_column(relname, desc, options->time, "time") : find_column(desc, options->time);
		if (roles->time_attno > 0 && !can_be_time(TupleDescAttr(desc, roles->time_attno - 1)->atttypid))
		{
			if (strict)
				ereport(
					ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of table \"%s\" cannot be its time column", options->time,
							relname),
					 errdetail("It is of type %s.",
							   format_type_be(TupleDescAttr(desc, roles->time_attno - 1)->atttypid)),
					 errhint(
						 "A time column is of type timestamptz, timestamp, date, bigint, integer or smallint.")));
			roles->time_attno = 0;
		}
		mdb_infer_series(desc, roles);
	}
	if (options->series_given)
	{
		foreach (lc, options->series)
		{
			const char *name = lfirst(lc);
			AttrNumber attno = strict ? need_column(relname, desc, name, "series") : find_column(desc, name);

			for (int i = 0; i < n; i++)
				if (roles->series_attnos[i] == attno)
				{
					if (strict)
						ereport(ERROR,
								(errcode(ERRCODE_DUPLICATE_COLUMN),
								 errmsg("column \"%s\" is named twice in the option \"series\"", name)));
					attno = InvalidAttrNumber;
				}
			if (attno != InvalidAttrNumber)
				roles->series_attnos[n++] = attno;
		}
		roles->nseries_columns = n;
	}

	/* A column has one role: what was said goes before what was inferred. */
	n = 0;
	for (int i = 0; i < roles->nseries_columns; i++)
	{
		if (roles->series_attnos[i] != roles->time_attno)
			roles->series_attnos[n++] = roles->series_attnos[i];
		else if (options->series_given && !options->time_given)
		{
			roles->time_attno = 0;
			roles->series_attnos[n++] = roles->series_attnos[i];
		}
		else if (options->series_given && strict)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("column \"%s\" cannot be both the time and a series column", options->time)));
	}
	roles->nseries_columns = n;
}

/*
 * The roles of a table whose file is being made, unless they are to be inferred: see am.h.
 */
static bool
roles_hook(Relation rel, MdbRoles *roles)
{
	const char *relname = RelationGetRelationName(rel);
	MdbOptions options;
	Oid source;

	if (applying != NULL && applying_relid == RelationGetRelid(rel))
	{
		mdb_options_resolve(relname, RelationGetDescr(rel), applying, true, roles);
		return true;
	}
	if (mdb_create_options(rel, &options))
	{
		mdb_options_resolve(relname, RelationGetDescr(rel), &options, true, roles);
		return true;
	}
	if (!mdb_options_load(RelationGetRelid(rel), &options))
	{
		/* A rewrite fills a table named after the one whose file it will become. */
		if (sscanf(relname, "pg_temp_%u", &source) != 1 || !mdb_options_load(source, &options))
			return false;
	}
	mdb_options_resolve(relname, RelationGetDescr(rel), &options, false, roles);
	return true;
}

/* No row that anybody could see, and none of this transaction's own. */
static bool
is_empty(Relation rel, const MdbTable *table)
{
	Snapshot snapshot;
	bool empty;
	MdbDeltaInfo *deltas;
	int count;

	mdb_buffer_flush_relation(RelationGetRelid(rel));
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	empty = mdb_parts_visible(table, snapshot)->count == 0;
	mdb_delta_live(table, snapshot, &deltas, &count);
	for (int i = 0; i < count && empty; i++)
	{
		Relation delta = table_open(deltas[i].relid, AccessShareLock);
		TableScanDesc scan = table_beginscan(delta, snapshot, 0, NULL);
		TupleTableSlot *slot = table_slot_create(delta, NULL);

		empty = !table_scan_getnextslot(scan, ForwardScanDirection, slot);
		ExecDropSingleTupleTableSlot(slot);
		table_endscan(scan);
		table_close(delta, NoLock);
	}
	UnregisterSnapshot(snapshot);
	return empty;
}

static bool
same_roles(const MdbTable *table, const MdbRoles *roles)
{
	return table->time_attno == roles->time_attno && table->nseries_columns == roles->nseries_columns &&
		   memcmp(table->series_attnos, roles->series_attnos, sizeof(AttrNumber) * roles->nseries_columns) ==
			   0;
}

/*
 * mdb_options_apply - check options that are about to be recorded for a table, and give it a new
 * file if they change anything.  The caller checked that the user owns it.
 *
 * A table of another access method takes them, too: for its ALTER TABLE ... SET ACCESS METHOD.
 * refcount: how often the relation is open by this command, once it is opened here.  Raises what
 * mdb_options_resolve does, ERRCODE_WRONG_OBJECT_TYPE, ERRCODE_OBJECT_IN_USE, and
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if the table is not empty.
 */
void
mdb_options_apply(Oid relid, const MdbOptions *options, int refcount)
{
	Relation rel = relation_open(relid, AccessExclusiveLock);
	const char *relname = RelationGetRelationName(rel);
	MdbRoles *roles = palloc(sizeof(MdbRoles));
	MdbTable *table;

	if (rel->rd_rel->relkind != RELKIND_RELATION && rel->rd_rel->relkind != RELKIND_MATVIEW)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" is not a table or materialized view", relname),
						rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE
							? errhint("Set the options of its partitions.")
							: 0));
	if (IsCatalogRelation(rel))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied: \"%s\" is a system catalog", relname)));
	mdb_options_resolve(relname, RelationGetDescr(rel), options, true, roles);
	/* pg_upgrade brings the file along, with the roles in it. */
	if (!mdb_is_metricsdb(rel) || IsBinaryUpgrade)
	{
		relation_close(rel, NoLock);
		return;
	}

	table = mdb_table(rel);
	if (!same_roles(table, roles))
	{
		if (!is_empty(rel, table))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot change the options of table \"%s\" because it is not empty", relname),
					 errdetail("The rows it holds are stored by the present options."),
					 errhint("Set options before the first row; or create a new table, fill it from this one "
							 "by INSERT ... SELECT, and rename it.")));
		if (rel->rd_refcnt > refcount || AfterTriggerPendingOnRel(relid))
			ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
							errmsg("cannot change the options of table \"%s\" while it is in use", relname),
							errdetail("A query or a cursor of this session reads it.")));
		applying_relid = relid;
		applying = options;
		PG_TRY();
		{
			mdb_renew_file(rel);
		}
		PG_FINALLY();
		{
			applying = NULL;
			applying_relid = InvalidOid;
		}
		PG_END_TRY();
		CommandCounterIncrement();
	}
	relation_close(rel, NoLock);
}

static List *
text_array(ArrayType *array)
{
	Datum *elems;
	bool *nulls;
	int n;
	List *list = NIL;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("names of series columns must not be NULL")));
		list = lappend(list, TextDatumGetCString(elems[i]));
	}
	return list;
}

/*
 * mdb_set_options - metricsdb.set_options("table" regclass, "time" text, series text[]): see
 * its COMMENT.  Raises what mdb_options_apply does, and a permission error unless the caller
 * owns the table.
 */
Datum
mdb_set_options(PG_FUNCTION_ARGS)
{
	MdbOptions options = {0};
	MdbOptions before;
	Oid relid;
	char *name;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the table must not be NULL")));
	relid = PG_GETARG_OID(0);
	name = get_rel_name(relid);
	if (name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table with OID %u does not exist", relid)));
	if (!mdb_owns_table(relid))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)), name);
	if (!PG_ARGISNULL(1))
	{
		options.time_given = true;
		options.time = text_to_cstring(PG_GETARG_TEXT_PP(1));
		if (options.time[0] == '\0')
			options.time = NULL;
	}
	if (!PG_ARGISNULL(2))
	{
		options.series_given = true;
		options.series = text_array(PG_GETARG_ARRAYTYPE_P(2));
	}
	mdb_options_apply(relid, &options, 1);
	if (mdb_options_load(relid, &before))
	{
		options.retention = before.retention;
		options.floor_given = before.floor_given;
		options.floor = before.floor;
		options.days = before.days;
	}
	mdb_options_store(relid, &options);
	PG_RETURN_VOID();
}

/*
 * mdb_options_init - at load: tell the access method of the options.
 */
void
mdb_options_init(void)
{
	mdb_roles_hook = roles_hook;
}

/*
 * mdb_admin_init - at load: table options.
 */
void
mdb_admin_init(void)
{
	mdb_label_init();
	mdb_options_init();
	mdb_retention_init();
	mdb_create_init();
}
