/*
 * rule_sql.c
 *	  The SQL functions that define rules.
 *
 * Invariants:
 *	1. A rule is owned by the role that created it, and only roles with that role's privileges may change it.  Each
 *	   function here checks that itself before it touches a table.
 *	2. Rules are written with the extension's rights by fixed statements.
 *	3. Who changes a rule has its lock, and does to its instances and to what was told of them what follows
 *	   (rule_change.c), in the same transaction.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "alert/define.h"
#include "compat.h"
#include "metricsdb.h"

PG_FUNCTION_INFO_V1(mdb_create_alert);
PG_FUNCTION_INFO_V1(mdb_alter_alert);
PG_FUNCTION_INFO_V1(mdb_drop_alert);
PG_FUNCTION_INFO_V1(mdb_enable_alert);
PG_FUNCTION_INFO_V1(mdb_disable_alert);

/* Columns that a draft fills, in the order of RULE_COLUMNS. */
#define RULE_COLUMNS                                                                                     \
	"name, owner, kind, source, definition, every, hold, keep_firing_for, labels, annotations, options," \
	" max_new_instances, targets, enabled"
#define NRULE_COLUMNS 14

static Datum
interval_datum(int64 us)
{
	Interval *interval = palloc0(sizeof(Interval));

	interval->time = us;
	return IntervalPGetDatum(interval);
}

static void
row_of_draft(const MdbDraft *draft, Oid *types, Datum *values, char *nulls)
{
	const MdbParam *p = draft->p;
	Datum *targets = palloc(sizeof(Datum) * Max(1, draft->ntargets));
	static const Oid column_types[NRULE_COLUMNS] = {
		TEXTOID,     OIDOID,   TEXTOID,  OIDOID,   JSONBOID, INTERVALOID,  INTERVALOID,
		INTERVALOID, JSONBOID, JSONBOID, JSONBOID, INT4OID,  INT4ARRAYOID, BOOLOID};

	for (int i = 0; i < draft->ntargets; i++)
		targets[i] = Int32GetDatum(draft->targets[i]);
	memcpy(types, column_types, sizeof(column_types));
	memset(nulls, ' ', NRULE_COLUMNS);
	values[0] = CStringGetTextDatum(draft->name);
	values[1] = ObjectIdGetDatum(draft->owner);
	values[2] = CStringGetTextDatum(mdb_rule_kind_name(draft->kind));
	values[3] = ObjectIdGetDatum(p[MDB_P_SOURCE].oid);
	if (!p[MDB_P_SOURCE].given)
		nulls[3] = 'n';
	values[4] = JsonbPGetDatum(mdb_draft_definition(draft));
	values[5] = interval_datum(p[MDB_P_EVERY].us);
	values[6] = interval_datum(p[MDB_P_HOLD].us);
	values[7] = interval_datum(p[MDB_P_KEEP_FIRING_FOR].us);
	values[8] = JsonbPGetDatum(p[MDB_P_LABELS].jsonb);
	values[9] = JsonbPGetDatum(p[MDB_P_ANNOTATIONS].jsonb);
	values[10] = JsonbPGetDatum(mdb_draft_options(draft));
	values[11] = Int32GetDatum(p[MDB_P_MAX_NEW_INSTANCES].integer);
	values[12] = PointerGetDatum(
		construct_array(targets, draft->ntargets, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	values[13] = BoolGetDatum(p[MDB_P_ENABLED].boolean);
}

/*
 * mdb_create_alert - metricsdb.create_alert(name, ...) RETURNS integer, the id
 */
Datum
mdb_create_alert(PG_FUNCTION_ARGS)
{
	MdbDraft draft = {0};
	Oid types[NRULE_COLUMNS];
	Datum values[NRULE_COLUMNS];
	char nulls[NRULE_COLUMNS + 1] = {0};
	bool isnull;
	int32 id;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the name of a rule must not be NULL")));
	draft.name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	draft.owner = GetUserId();
	mdb_draft_read(&draft, fcinfo, 1);
	mdb_draft_check(&draft);
	row_of_draft(&draft, types, values, nulls);
	SPI_connect();
	if (mdb_execute_own("INSERT INTO metricsdb.alert_rule (" RULE_COLUMNS ")"
						" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
						" ON CONFLICT (name) DO NOTHING RETURNING rule_id",
						NRULE_COLUMNS, types, values, nulls) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("alert rule \"%s\" already exists", draft.name),
				 errhint("Change it by %s.alter_alert(), or drop it first.", MDB_SCHEMA)));
	id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	mdb_rules_changed();
	mdb_rule_warn_unmatched(&draft);
	PG_RETURN_INT32(id);
}

/* The rule of a name, NULL if there is none; an error if it is not the caller's. */
static MdbRule *
look_up(const char *name)
{
	Oid type = TEXTOID;
	Datum arg = CStringGetTextDatum(name);
	MdbRule *rule = NULL;
	bool isnull;
	int32 id = 0;

	SPI_connect();
	if (mdb_execute_own("SELECT rule_id FROM metricsdb.alert_rule WHERE name = $1", 1, &type, &arg, NULL) ==
		1)
		id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	if (id != 0)
		rule = mdb_rule_load(id);
	if (rule && !has_privs_of_role(GetUserId(), rule->owner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be owner of alert rule \"%s\"", name)));
	return rule;
}

pg_noreturn static void
no_rule(const char *name)
{
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("alert rule \"%s\" does not exist", name),
					errhint("%s.alert_rules lists those you may see.", MDB_SCHEMA)));
}

/*
 * mdb_rule_find - the rule of a name.  Raises ERRCODE_UNDEFINED_OBJECT if there is none, ERRCODE_INSUFFICIENT_PRIVILEGE
 * if it is not the caller's.
 */
MdbRule *
mdb_rule_find(const char *name)
{
	MdbRule *rule = look_up(name);

	if (rule == NULL)
		no_rule(name);
	return rule;
}

/*
 * find_rule - the same, locked, to change it.
 */
static MdbRule *
find_rule(const char *name)
{
	MdbRule *rule = look_up(name);

	if (rule)
	{
		mdb_rule_lock_exclusive(rule->id);
		/* As it is now that nobody else changes it. */
		rule = mdb_rule_load(rule->id);
	}
	if (rule == NULL || strcmp(rule->name, name) != 0)
		no_rule(name);
	return rule;
}

/* Check a draft with the rights of the rule's owner, who need not be who changes it. */
static void
check_as_owner(MdbDraft *draft)
{
	Oid user;
	int context;

	GetUserIdAndSecContext(&user, &context);
	if (user != draft->owner)
		SetUserIdAndSecContext(draft->owner,
							   context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	mdb_draft_check(draft);
	SetUserIdAndSecContext(user, context);
}

/* The row of a rule from a draft of it; returns the rule. */
static MdbRule *
store_draft(const MdbDraft *draft)
{
	Oid types[NRULE_COLUMNS + 1];
	Datum values[NRULE_COLUMNS + 1];
	char nulls[NRULE_COLUMNS + 2] = {0};

	row_of_draft(draft, types, values, nulls);
	types[NRULE_COLUMNS] = INT4OID;
	values[NRULE_COLUMNS] = Int32GetDatum(draft->id);
	nulls[NRULE_COLUMNS] = ' ';
	SPI_connect();
	if (mdb_execute_own("SELECT FROM metricsdb.alert_rule WHERE name OPERATOR(pg_catalog.=) $1"
						" AND rule_id OPERATOR(pg_catalog.<>) $15",
						NRULE_COLUMNS + 1, types, values, nulls) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("alert rule \"%s\" already exists", draft->name)));
	mdb_execute_own("UPDATE metricsdb.alert_rule SET (" RULE_COLUMNS ", version)"
					" = ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,"
					" version OPERATOR(pg_catalog.+) 1) WHERE rule_id OPERATOR(pg_catalog.=) $15",
					NRULE_COLUMNS + 1, types, values, nulls);
	/* One that was put aside gets another chance. */
	mdb_execute_own("UPDATE metricsdb.alert_tick SET strikes = 0 WHERE rule_id OPERATOR(pg_catalog.=) $15"
					" AND strikes OPERATOR(pg_catalog.>) 0",
					NRULE_COLUMNS + 1, types, values, nulls);
	SPI_finish();
	mdb_rules_changed();
	return mdb_rule_load(draft->id);
}

/*
 * change_rule - let a rule be as a draft of it says, and see to its instances.
 */
static void
change_rule(const MdbRule *before, MdbDraft *draft)
{
	bool same = strcmp(before->name, draft->name) == 0;
	MdbRule *rule;

	check_as_owner(draft);
	same = same && draft->p[MDB_P_ENABLED].boolean && before->kind == draft->kind &&
		   compareJsonbContainers(&before->labels->root, &draft->p[MDB_P_LABELS].jsonb->root) == 0;
	if (!same)
		mdb_rule_end_instances(before->id);
	rule = store_draft(draft);
	if (same)
		mdb_rule_apply_change(rule);
	if (rule->enabled)
		mdb_rule_warn_unmatched(draft);
}

/*
 * mdb_alter_alert - metricsdb.alter_alert(name, ..., new_name, new_owner, reset)
 */
Datum
mdb_alter_alert(PG_FUNCTION_ARGS)
{
	MdbRule *before;
	MdbDraft draft;
	int next = 1 + MDB_NPARAMS;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the name of a rule must not be NULL")));
	before = find_rule(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	mdb_draft_of_rule(&draft, before);
	if (!PG_ARGISNULL(next + 2))
	{
		Datum *names;
		bool *isnull;
		int n;

		deconstruct_array(PG_GETARG_ARRAYTYPE_P(next + 2), TEXTOID, -1, false, TYPALIGN_INT, &names, &isnull,
						  &n);
		for (int i = 0; i < n; i++)
			if (!isnull[i])
				mdb_draft_reset(&draft, TextDatumGetCString(names[i]));
	}
	mdb_draft_read(&draft, fcinfo, 1);
	draft.new_query = !PG_ARGISNULL(1 + MDB_P_QUERY) && PG_ARGISNULL(1 + MDB_P_SOURCE);
	if (!PG_ARGISNULL(next))
		draft.name = text_to_cstring(PG_GETARG_TEXT_PP(next));
	if (!PG_ARGISNULL(next + 1) && PG_GETARG_OID(next + 1) != draft.owner)
	{
		draft.owner = PG_GETARG_OID(next + 1);
		mdb_check_can_become(GetUserId(), draft.owner);
	}
	change_rule(before, &draft);
	PG_RETURN_VOID();
}

/*
 * mdb_enable_alert - metricsdb.enable_alert(name text): it begins anew
 */
Datum
mdb_enable_alert(PG_FUNCTION_ARGS)
{
	MdbRule *before = find_rule(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	MdbDraft draft;

	mdb_draft_of_rule(&draft, before);
	draft.p[MDB_P_ENABLED].boolean = true;
	change_rule(before, &draft);
	PG_RETURN_VOID();
}

/* A statement about the rule of an id, after which others look at the rules again. */
static void
execute_on_rule(const char *sql, int32 rule_id)
{
	Oid type = INT4OID;
	Datum id = Int32GetDatum(rule_id);

	SPI_connect();
	mdb_execute_own(sql, 1, &type, &id, NULL);
	SPI_finish();
	mdb_rules_changed();
}

/*
 * mdb_disable_alert - metricsdb.disable_alert(name text)
 */
Datum
mdb_disable_alert(PG_FUNCTION_ARGS)
{
	MdbRule *rule = find_rule(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	mdb_rule_end_instances(rule->id);
	execute_on_rule(
		"UPDATE metricsdb.alert_rule SET enabled = false, version = version OPERATOR(pg_catalog.+) 1"
		" WHERE rule_id OPERATOR(pg_catalog.=) $1",
		rule->id);
	PG_RETURN_VOID();
}

/*
 * mdb_drop_alert - metricsdb.drop_alert(name text)
 */
Datum
mdb_drop_alert(PG_FUNCTION_ARGS)
{
	MdbRule *rule = find_rule(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	mdb_rule_end_instances(rule->id);
	execute_on_rule("DELETE FROM metricsdb.alert_rule WHERE rule_id OPERATOR(pg_catalog.=) $1", rule->id);
	PG_RETURN_VOID();
}
