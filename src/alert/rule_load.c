/*
 * rule_load.c
 *	  Rules as their rows have them; their locks; how others hear that they have changed.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

#include "alert/define.h"
#include "metricsdb.h"
#include "store/store.h"

/* Prometheus', and what a receiver that was away needs to hear of it. */
#define RESOLVED_FOR     (15 * USECS_PER_MINUTE)

#define TIMEOUT_DEFAULT  (5 * USECS_PER_SEC)
#define MAX_ROWS_DEFAULT 10000

/* ---- a row ---- */

static Datum
column(HeapTuple row, TupleDesc desc, const char *name, bool *isnull)
{
	return SPI_getbinval(row, desc, SPI_fnumber(desc, name), isnull);
}

static char *
column_text(HeapTuple row, TupleDesc desc, const char *name)
{
	bool isnull;

	return TextDatumGetCString(column(row, desc, name, &isnull));
}

static int64
column_us(HeapTuple row, TupleDesc desc, const char *name)
{
	bool isnull;

	return mdb_interval_us(DatumGetIntervalP(column(row, desc, name, &isnull)));
}

static Jsonb *
column_jsonb(HeapTuple row, TupleDesc desc, const char *name)
{
	bool isnull;

	return DatumGetJsonbPCopy(column(row, desc, name, &isnull));
}

static MdbRuleKind
kind_of(const char *name)
{
	for (int kind = MDB_RULE_QUERY; kind <= MDB_RULE_RECORDING; kind++)
		if (strcmp(name, mdb_rule_kind_name(kind)) == 0)
			return kind;
	elog(ERROR, "unknown kind of rule \"%s\"", name);
}

static void
read_policy(MdbRule *rule)
{
	MdbPolicy *policy = &rule->policy;
	char *absent = mdb_json_text(rule->options, "absent");
	char *error = mdb_json_text(rule->options, "error");

	if (rule->kind == MDB_RULE_RECORDING)
		rule->marks_ends = absent && strcmp(absent, "end") == 0;
	else if (absent && !mdb_absent_parse(absent, &policy->absent))
		elog(ERROR, "unknown policy \"%s\"", absent);
	if (error && !mdb_error_parse(error, &policy->error))
		elog(ERROR, "unknown policy \"%s\"", error);
	policy->absent_for = mdb_json_interval(rule->options, "absent_for", 0);
	policy->resolved_for = RESOLVED_FOR;
	policy->holds_of = (int32) mdb_json_number(rule->options, "holds_of", 0);
	policy->of = (int32) mdb_json_number(rule->options, "of", 0);
}

static void
read_options(MdbRule *rule)
{
	char *nodata = mdb_json_text(rule->options, "nodata");

	read_policy(rule);
	rule->nodata_alert = nodata && strcmp(nodata, "alert") == 0;
	rule->timeout = mdb_json_interval(rule->options, "timeout", Min(rule->every, TIMEOUT_DEFAULT));
	rule->max_rows = (int32) mdb_json_number(rule->options, "max_rows", MAX_ROWS_DEFAULT);
	rule->search_path = mdb_json_text(rule->options, "search_path");
	if (rule->search_path == NULL)
		rule->search_path = pstrdup("pg_catalog, metricsdb");
}

static void
read_targets(MdbRule *rule, ArrayType *array)
{
	Datum *values;
	bool *isnull;

	deconstruct_array(array, INT4OID, sizeof(int32), true, TYPALIGN_INT, &values, &isnull, &rule->ntargets);
	rule->targets = palloc(sizeof(int32) * Max(1, rule->ntargets));
	for (int i = 0; i < rule->ntargets; i++)
		rule->targets[i] = DatumGetInt32(values[i]);
}

static MdbRule *
read_rule(HeapTuple row, TupleDesc desc)
{
	MdbRule *rule = palloc0(sizeof(MdbRule));
	Datum source;
	bool isnull;

	rule->id = DatumGetInt32(column(row, desc, "rule_id", &isnull));
	rule->name = column_text(row, desc, "name");
	rule->owner = DatumGetObjectId(column(row, desc, "owner", &isnull));
	rule->kind = kind_of(column_text(row, desc, "kind"));
	source = column(row, desc, "source", &isnull);
	rule->source = isnull ? InvalidOid : DatumGetObjectId(source);
	rule->definition = column_jsonb(row, desc, "definition");
	rule->labels = column_jsonb(row, desc, "labels");
	rule->annotations = column_jsonb(row, desc, "annotations");
	rule->options = column_jsonb(row, desc, "options");
	rule->every = column_us(row, desc, "every");
	rule->policy.hold = column_us(row, desc, "hold");
	rule->policy.keep_firing_for = column_us(row, desc, "keep_firing_for");
	rule->max_new_instances = DatumGetInt32(column(row, desc, "max_new_instances", &isnull));
	read_targets(rule, DatumGetArrayTypeP(column(row, desc, "targets", &isnull)));
	rule->enabled = DatumGetBool(column(row, desc, "enabled", &isnull));
	rule->version = DatumGetInt64(column(row, desc, "version", &isnull));
	read_options(rule);
	return rule;
}

static List *
load(const char *sql, int nargs, Oid *types, Datum *args)
{
	MemoryContext caller = CurrentMemoryContext;
	List *rules = NIL;

	SPI_connect();
	mdb_execute_own(sql, nargs, types, args, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);

		rules = lappend(rules, read_rule(SPI_tuptable->vals[i], SPI_tuptable->tupdesc));
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return rules;
}

List *
mdb_rules_load(void)
{
	return load("SELECT * FROM metricsdb.alert_rule ORDER BY rule_id", 0, NULL, NULL);
}

MdbRule *
mdb_rule_load(int32 id)
{
	Oid type = INT4OID;
	Datum arg = Int32GetDatum(id);
	List *rules =
		load("SELECT * FROM metricsdb.alert_rule WHERE rule_id OPERATOR(pg_catalog.=) $1", 1, &type, &arg);

	return rules == NIL ? NULL : linitial(rules);
}

/* ---- changes ---- */

static bool
lock_rule(int32 id, LOCKMODE mode, bool wait)
{
	LOCKTAG tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, mdb_catalog_relid("alert_rule", false), (uint32) id, 0);
	return LockAcquire(&tag, mode, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

bool
mdb_rule_lock_shared(int32 id)
{
	return lock_rule(id, ShareLock, false);
}

void
mdb_rule_lock_exclusive(int32 id)
{
	lock_rule(id, ExclusiveLock, true);
}

int64
mdb_rule_version(int32 id)
{
	static SPIPlanPtr plan = NULL;
	Oid type = INT4OID;
	Datum arg = Int32GetDatum(id);
	int64 version = 0;
	bool isnull;

	SPI_connect();
	if (plan == NULL)
	{
		SPIPlanPtr fresh = SPI_prepare("SELECT version FROM metricsdb.alert_rule"
									   " WHERE rule_id OPERATOR(pg_catalog.=) $1 AND enabled",
									   1, &type);

		if (fresh == NULL || SPI_keepplan(fresh) != 0)
			elog(ERROR, "could not prepare the look at a rule's version");
		plan = fresh;
	}
	if (SPI_execute_plan(plan, &arg, NULL, false, 1) == SPI_OK_SELECT && SPI_processed == 1)
		version = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return version;
}

void
mdb_rules_changed(void)
{
	CacheInvalidateRelcacheByRelid(mdb_catalog_relid("alert_rule", false));
}
