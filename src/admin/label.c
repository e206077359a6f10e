/*
 * label.c
 *	  The options of a table, kept as the text of a security label.
 *
 *		SECURITY LABEL FOR metricsdb ON TABLE cpu IS '{"time": "time", "series": ["host", "region"]}'
 *
 * Why a label: pg_dump writes it behind CREATE TABLE and before the data, it goes with the table,
 * and it is transactional.  "time": "" says that there is no time column; what is missing or null
 * is inferred.  Columns are named; a column that is renamed or dropped is so in the label, too.
 * "retention" is written by retention.c, "floor" and "days", of states of continuous aggregates, by mdb_floor_store()
 * and mdb_days_store().
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "commands/seclabel.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "admin/admin.h"
#include "store/aggregates.h"
#include "store/elsewhere.h"

static object_access_hook_type prev_object_access = NULL;

/*
 * mdb_options_to_json - options as the text of a label.
 */
char *
mdb_options_to_json(const MdbOptions *options)
{
	StringInfoData buf;
	ListCell *lc;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	if (options->time_given)
	{
		appendStringInfoString(&buf, "\"time\": ");
		escape_json(&buf, options->time ? options->time : "");
	}
	if (options->series_given)
	{
		appendStringInfoString(&buf, options->time_given ? ", \"series\": [" : "\"series\": [");
		foreach (lc, options->series)
		{
			if (lc != list_head(options->series))
				appendStringInfoString(&buf, ", ");
			escape_json(&buf, lfirst(lc));
		}
		appendStringInfoChar(&buf, ']');
	}
	if (options->retention)
	{
		appendStringInfoString(&buf, options->time_given || options->series_given ? ", \"retention\": "
																				  : "\"retention\": ");
		mdb_retention_to_json(options->retention, &buf);
	}
	if (options->floor_given)
		appendStringInfo(&buf, "%s\"floor\": \"" INT64_FORMAT "\"", buf.len > 1 ? ", " : "", options->floor);
	if (options->days > 0)
		appendStringInfo(&buf, "%s\"days\": %d", buf.len > 1 ? ", " : "", options->days);
	appendStringInfoChar(&buf, '}');
	return buf.data;
}

/*
 * mdb_options_malformed - raise ERRCODE_INVALID_PARAMETER_VALUE: a label is not what we write.
 */
void
mdb_options_malformed(const char *json, const char *detail)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid metricsdb table options: %s", json), errdetail("%s", detail),
					errhint("Example: {\"time\": \"ts\", \"series\": [\"host\", \"region\"]}.  "
							"metricsdb.set_options() writes it for you.")));
}

static char *
string_value(const JsonbValue *v)
{
	return pnstrdup(v->val.string.val, v->val.string.len);
}

static List *
string_array(const char *json, const JsonbValue *v)
{
	JsonbIterator *it = JsonbIteratorInit(v->val.binary.data);
	JsonbIteratorToken token;
	JsonbValue e;
	List *list = NIL;

	while ((token = JsonbIteratorNext(&it, &e, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (e.type != jbvString)
			mdb_options_malformed(json, "\"series\" is not an array of strings.");
		list = lappend(list, string_value(&e));
	}
	return list;
}

/*
 * mdb_options_from_json - parse the text of a label.
 *
 * Raises ERRCODE_INVALID_TEXT_REPRESENTATION if it is not JSON, ERRCODE_INVALID_PARAMETER_VALUE
 * if it is not what mdb_options_to_json writes.
 */
void
mdb_options_from_json(const char *json, MdbOptions *options)
{
	Jsonb *jb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue v;
	char *key = NULL;

	memset(options, 0, sizeof(*options));
	if (!JB_ROOT_IS_OBJECT(jb))
		mdb_options_malformed(json, "It is not a JSON object.");
	it = JsonbIteratorInit(&jb->root);
	token = JsonbIteratorNext(&it, &v, false);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = string_value(&v);
		if (token != WJB_VALUE)
			continue;
		if (strcmp(key, "time") == 0)
		{
			if (v.type == jbvNull)
				continue;
			if (v.type != jbvString)
				mdb_options_malformed(json, "\"time\" is not a string.");
			options->time_given = true;
			options->time = v.val.string.len > 0 ? string_value(&v) : NULL;
		}
		else if (strcmp(key, "series") == 0)
		{
			if (v.type == jbvNull)
				continue;
			if (v.type != jbvBinary || !JsonContainerIsArray(v.val.binary.data))
				mdb_options_malformed(json, "\"series\" is not an array of strings.");
			options->series_given = true;
			options->series = string_array(json, &v);
		}
		else if (strcmp(key, "retention") == 0)
		{
			if (v.type != jbvNull)
				options->retention = mdb_retention_from_json(json, &v);
		}
		else if (strcmp(key, "floor") == 0)
		{
			if (v.type == jbvNull)
				continue;
			if (v.type != jbvString)
				mdb_options_malformed(json, "\"floor\" is not a string.");
			options->floor_given = true;
			options->floor = DatumGetInt64(DirectFunctionCall1(int8in, CStringGetDatum(string_value(&v))));
		}
		else if (strcmp(key, "days") == 0)
		{
			if (v.type == jbvNull)
				continue;
			if (v.type != jbvNumeric)
				mdb_options_malformed(json, "\"days\" is not a number.");
			options->days = DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(v.val.numeric)));
			if (options->days < 1)
				mdb_options_malformed(json, "\"days\" is less than one.");
		}
		else
			mdb_options_malformed(json, psprintf("There is no option \"%s\".", key));
	}
}

/*
 * mdb_options_load - the options of a table, false if it has none.
 */
bool
mdb_options_load(Oid relid, MdbOptions *options)
{
	ObjectAddress address;
	char *json;

	ObjectAddressSet(address, RelationRelationId, relid);
	json = GetSecurityLabel(&address, MDB_LABEL_PROVIDER);
	if (json == NULL)
		return false;
	mdb_options_from_json(json, options);
	return true;
}

/*
 * mdb_options_store - record the options of a table, or that it has none.
 */
void
mdb_options_store(Oid relid, const MdbOptions *options)
{
	ObjectAddress address;

	ObjectAddressSet(address, RelationRelationId, relid);
	SetSecurityLabel(&address, MDB_LABEL_PROVIDER,
					 options->time_given || options->series_given || options->retention ||
							 options->floor_given || options->days > 0
						 ? mdb_options_to_json(options)
						 : NULL);
	CommandCounterIncrement();
	if (mdb_is_distributed(relid))
		mdb_elsewhere->options(relid);
}

/*
 * mdb_floor_store - record in the label of an aggregate's states from when on its table has all its rows, so that a
 * restored copy knows it; PG_INT64_MIN: nothing was ever removed.
 */
void
mdb_floor_store(Oid relid, int64 floor)
{
	MdbOptions options = {0};

	(void) mdb_options_load(relid, &options);
	options.floor_given = floor != PG_INT64_MIN;
	options.floor = floor;
	mdb_options_store(relid, &options);
}

/*
 * mdb_days_store - record in the label of a table how many days its partitions of time are to have at least.
 */
void
mdb_days_store(Oid relid, int32 days)
{
	MdbOptions options = {0};

	(void) mdb_options_load(relid, &options);
	options.days = days;
	mdb_options_store(relid, &options);
}

/*
 * SECURITY LABEL, by a user or by pg_restore.  Core has checked that the caller owns the table,
 * holds it open, and stores the label when we return.
 */
static void
check_label(const ObjectAddress *object, const char *json)
{
	MdbOptions options = {0};

	if (object->classId != RelationRelationId || object->objectSubId != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("metricsdb security labels are for tables only"),
				 errdetail("They hold the options of a table.")));
	if (json)
		mdb_options_from_json(json, &options);
	mdb_options_apply(object->objectId, &options, 2);
	mdb_retention_check_label(object->objectId, options.retention);
}

/* Name of a column as this command leaves it; NULL if it is gone. */
static char *
new_column_name(Oid relid, AttrNumber attno)
{
	Relation rel = table_open(AttributeRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tuple;
	char *name = NULL;

	ScanKeyInit(&keys[0], Anum_pg_attribute_attrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[1], Anum_pg_attribute_attnum, BTEqualStrategyNumber, F_INT2EQ, Int16GetDatum(attno));
	scan = systable_beginscan(rel, AttributeRelidNumIndexId, true, SnapshotSelf, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		name = pstrdup(NameStr(((Form_pg_attribute) GETSTRUCT(tuple))->attname));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return name;
}

/* A column was renamed, or is about to be dropped (to = NULL). */
static void
column_changed(Oid relid, const char *from, const char *to)
{
	MdbOptions options;
	bool changed = false;
	List *series = NIL;
	ListCell *lc;

	if (from == NULL || (to != NULL && strcmp(from, to) == 0) || !mdb_options_load(relid, &options))
		return;
	if (options.time != NULL && strcmp(options.time, from) == 0)
	{
		options.time = unconstify(char *, to);
		changed = true;
	}
	foreach (lc, options.series)
	{
		char *name = lfirst(lc);

		if (strcmp(name, from) == 0)
		{
			name = unconstify(char *, to);
			changed = true;
		}
		if (name != NULL)
			series = lappend(series, name);
	}
	options.series = series;
	if (changed)
	{
		ObjectAddress address;

		ObjectAddressSet(address, RelationRelationId, relid);
		SetSecurityLabel(&address, MDB_LABEL_PROVIDER, mdb_options_to_json(&options));
	}
}

static void
object_access(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classId, objectId, subId, arg);
	if (classId != RelationRelationId || subId <= 0)
		return;
	/* The syscache still has the name that this command found. */
	if (access == OAT_POST_ALTER)
		column_changed(objectId, get_attname(objectId, subId, true), new_column_name(objectId, subId));
	else if (access == OAT_DROP)
		column_changed(objectId, get_attname(objectId, subId, true), NULL);
}

/*
 * mdb_label_init - at load: provide the labels, and follow the columns that they name.
 */
void
mdb_label_init(void)
{
	mdb_floor_raised = mdb_floor_store;
	register_label_provider(MDB_LABEL_PROVIDER, check_label);
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
}
