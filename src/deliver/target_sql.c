/*
 * target_sql.c
 *	  The SQL functions that define targets of alerts, and try them.
 *
 * Invariants:
 *	1. A target is owned by the role that created it; only roles with that role's privileges may change or try it.  Each
 *	   function here checks that itself before it touches a table.
 *	2. The tables belong to the extension and are written with the bootstrap superuser's rights, by the fixed statements
 *	   of this file alone, which call everything by its schema.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "deliver/deliver.h"
#include "deliver/deliver_internal.h"
#include "deliver/payload.h"
#include "metricsdb.h"

PG_FUNCTION_INFO_V1(mdb_create_alert_target);
PG_FUNCTION_INFO_V1(mdb_alter_alert_target);
PG_FUNCTION_INFO_V1(mdb_drop_alert_target);
PG_FUNCTION_INFO_V1(mdb_set_alert_secrets);
PG_FUNCTION_INFO_V1(mdb_alert_secrets);
PG_FUNCTION_INFO_V1(mdb_resume_alert_targets);
PG_FUNCTION_INFO_V1(mdb_test_alert_target);
PG_FUNCTION_INFO_V1(mdb_alert_outbox_wake);

#define MAX_NAME_LENGTH 200

/* A row of alert_target, and its secrets. */
typedef struct Row
{
	int32 id;
	Oid owner;
	MdbTargetKind kind;
	int nurls;
	char **urls;
	Jsonb *options;
	Jsonb *secrets; /* NULL = there are none */
	bool at_home;
} Row;

/*
 * find_target - the target of that name, locked against others who change it; an error if there is none, or it is not
 * the caller's.  SPI is connected; the result is in the caller's memory context of before.
 */
static void
find_target(const char *name, bool drop, Row *row, MemoryContext caller)
{
	Oid types[] = {TEXTOID, TEXTOID};
	Datum args[2] = {CStringGetTextDatum(name), CStringGetTextDatum(mdb_home())};
	MemoryContext spi;
	Datum values[7];
	bool nulls[7];

	/* A lock that lets the sender go on, but where the target is to go. */
	mdb_execute_own(
		drop
			? "SELECT t.target_id, t.owner::pg_catalog.oid, t.kind, t.urls, t.options, NULL::pg_catalog.jsonb,"
			  " t.home OPERATOR(pg_catalog.=) $2 FROM metricsdb.alert_target t"
			  " WHERE t.name OPERATOR(pg_catalog.=) $1 FOR UPDATE"
			: "SELECT t.target_id, t.owner::pg_catalog.oid, t.kind, t.urls, t.options, x.secrets,"
			  " t.home OPERATOR(pg_catalog.=) $2"
			  " FROM metricsdb.alert_target t LEFT JOIN metricsdb.alert_secret x USING (target_id)"
			  " WHERE t.name OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE OF t",
		2, types, args, NULL);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("target of alerts \"%s\" does not exist", name),
				 errhint("SELECT name FROM metricsdb.alert_targets lists those you may see.")));
	spi = MemoryContextSwitchTo(caller);
	for (int i = 0; i < 7; i++)
		values[i] = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &nulls[i]);
	row->id = DatumGetInt32(values[0]);
	row->owner = DatumGetObjectId(values[1]);
	if (!has_privs_of_role(GetUserId(), row->owner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be owner of target of alerts \"%s\"", name)));
	row->kind = mdb_target_kind(TextDatumGetCString(values[2]));
	row->urls = mdb_texts(DatumGetArrayTypePCopy(values[3]), &row->nurls);
	row->options = DatumGetJsonbPCopy(values[4]);
	row->secrets = nulls[5] ? NULL : DatumGetJsonbPCopy(values[5]);
	row->at_home = DatumGetBool(values[6]);
	MemoryContextSwitchTo(spi);
}

/* text_argument - one that must be given and not be empty. */
static char *
text_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	char *value = PG_ARGISNULL(n) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(n));

	if (value[0] == '\0' || strlen(value) > MAX_NAME_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" of a target of alerts is missing, empty or longer than %d bytes",
						name, MAX_NAME_LENGTH)));
	return value;
}

static Jsonb *
jsonb_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_JSONB_P(n);
}

static Datum
texts_datum(int n, char **texts)
{
	Datum *values = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		values[i] = CStringGetTextDatum(texts[i]);
	return PointerGetDatum(construct_array(values, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* store_secrets - replace those of a target; NULL = it has none. */
static void
store_secrets(int32 id, Jsonb *secrets)
{
	Oid types[] = {INT4OID, JSONBOID};
	Datum args[] = {Int32GetDatum(id), JsonbPGetDatum(secrets)};

	mdb_execute_own("DELETE FROM metricsdb.alert_secret WHERE target_id OPERATOR(pg_catalog.=) $1", 1, types,
					args, NULL);
	if (secrets)
		mdb_execute_own("INSERT INTO metricsdb.alert_secret (target_id, secrets) VALUES ($1, $2)", 2, types,
						args, NULL);
}

/* leave_secret_url - where the URL is a secret, the old one's place is taken by the new one's. */
static void
leave_secret_url(Row *row)
{
	if (row->nurls == 1 && strstr(row->urls[0], "/***") != NULL)
		row->nurls = 0;
}

/* warn_unencrypted - whoever listens on the way reads what is secret. */
static void
warn_unencrypted(const MdbAlertTarget *target)
{
	if (!target->has_credentials)
		return;
	for (int i = 0; i < target->nurls; i++)
		if (pg_strncasecmp(target->urls[i], "http://", 7) == 0)
		{
			ereport(WARNING, (errmsg("secrets of this target of alerts are sent unencrypted"),
							  errhint("Use a URL that begins with https://.")));
			return;
		}
}

/*
 * mdb_create_alert_target - metricsdb.create_alert_target(name, kind, urls, options, secrets) RETURNS integer
 */
Datum
mdb_create_alert_target(PG_FUNCTION_ARGS)
{
	char *name = text_argument(fcinfo, 0, "name");
	char *kind = text_argument(fcinfo, 1, "kind");
	ArrayType *array = PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2);
	Jsonb *options = jsonb_argument(fcinfo, 3);
	Jsonb *secrets = jsonb_argument(fcinfo, 4);
	Oid types[] = {TEXTOID, OIDOID, TEXTOID, TEXTARRAYOID, JSONBOID, TEXTOID};
	MdbAlertTarget target;
	Datum args[6];
	char **urls;
	int nurls;
	int32 id;
	bool isnull;

	urls = mdb_texts(array, &nurls);
	mdb_target_parse(&target, mdb_target_kind(kind), nurls, urls, options, secrets, GetUserId());
	warn_unencrypted(&target);

	SPI_connect();
	args[0] = CStringGetTextDatum(name);
	args[1] = ObjectIdGetDatum(GetUserId());
	args[2] = CStringGetTextDatum(kind);
	args[3] = texts_datum(target.nurls, target.urls);
	args[4] = options ? JsonbPGetDatum(options) : (Datum) 0;
	args[5] = CStringGetTextDatum(mdb_home());
	mdb_execute_own("INSERT INTO metricsdb.alert_target (name, owner, kind, urls, options, home)"
					" VALUES ($1, $2::pg_catalog.regrole, $3, $4, coalesce($5, '{}'), $6)"
					" ON CONFLICT (name) DO NOTHING RETURNING target_id",
					6, types, args, options ? NULL : "    n ");
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("target of alerts \"%s\" already exists", name)));
	id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (secrets)
		store_secrets(id, secrets);
	SPI_finish();
	mdb_deliver_wake_at_commit();
	PG_RETURN_INT32(id);
}

/* merged - options with others put over them; what is null goes.  NULL others = as they are. */
static Jsonb *
merged(Jsonb *options, Jsonb *others)
{
	Oid types[] = {JSONBOID, JSONBOID};
	Datum args[] = {JsonbPGetDatum(options), JsonbPGetDatum(others)};
	bool isnull;

	if (others == NULL)
		return options;
	if (!JB_ROOT_IS_OBJECT(others))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("options of a target of alerts must be a JSON object")));
	mdb_execute_own("SELECT pg_catalog.jsonb_strip_nulls($1 OPERATOR(pg_catalog.||) $2)", 2, types, args,
					NULL);
	return DatumGetJsonbPCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/*
 * mdb_alter_alert_target - metricsdb.alter_alert_target(name, urls, options, enabled, secrets)
 *
 * What is null stays.  Options are put over those that there are; one that is null goes.  Secrets take the place of those
 * that there are: some go together with options, so that neither could be changed first.
 */
Datum
mdb_alter_alert_target(PG_FUNCTION_ARGS)
{
	char *name = text_argument(fcinfo, 0, "name");
	ArrayType *array = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
	Jsonb *secrets = jsonb_argument(fcinfo, 4);
	Oid types[] = {INT4OID, TEXTARRAYOID, JSONBOID, BOOLOID};
	MdbAlertTarget target;
	Datum args[4];
	Row row;

	SPI_connect();
	find_target(name, false, &row, CurrentMemoryContext);
	if (array != NULL)
		row.urls = mdb_texts(array, &row.nurls);
	else if (secrets)
		leave_secret_url(&row);
	row.options = merged(row.options, jsonb_argument(fcinfo, 2));
	mdb_target_parse(&target, row.kind, row.nurls, row.urls, row.options, secrets ? secrets : row.secrets,
					 GetUserId());
	warn_unencrypted(&target);
	if (secrets)
		store_secrets(row.id, secrets);
	args[0] = Int32GetDatum(row.id);
	args[1] = texts_datum(target.nurls, target.urls);
	args[2] = JsonbPGetDatum(row.options);
	args[3] = PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3);
	mdb_execute_own(
		"UPDATE metricsdb.alert_target SET urls = $2, options = $3, enabled = coalesce($4, enabled)"
		" WHERE target_id OPERATOR(pg_catalog.=) $1",
		4, types, args, PG_ARGISNULL(3) ? "   n" : NULL);
	SPI_finish();
	mdb_deliver_wake_at_commit();
	PG_RETURN_VOID();
}

/*
 * mdb_drop_alert_target - metricsdb.drop_alert_target(name)
 *
 * What is still to be told to it goes, too.  Refused as long as a rule tells it anything.
 */
Datum
mdb_drop_alert_target(PG_FUNCTION_ARGS)
{
	char *name = text_argument(fcinfo, 0, "name");
	Oid type = INT4OID;
	Datum id;
	Row row;

	SPI_connect();
	find_target(name, true, &row, CurrentMemoryContext);
	id = Int32GetDatum(row.id);
	/* Who defines a rule has locked its targets, and has ended by now: his rule is seen, whatever our snapshot. */
	if (mdb_query_own_now(
			"SELECT name FROM metricsdb.alert_rule WHERE $1 OPERATOR(pg_catalog.=) ANY (targets)", 1, &type,
			&id) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop target of alerts \"%s\": rules tell it what they find", name),
				 errdetail_plural("It is a target of " UINT64_FORMAT " rule.",
								  "It is a target of " UINT64_FORMAT " rules.", SPI_processed, SPI_processed),
				 errhint("Take it from their targets with metricsdb.alter_alert() first, or disable it with "
						 "metricsdb.alter_alert_target().")));
	mdb_execute_own("DELETE FROM metricsdb.alert_target WHERE target_id OPERATOR(pg_catalog.=) $1", 1, &type,
					&id, NULL);
	SPI_finish();
	mdb_deliver_wake_at_commit();
	PG_RETURN_VOID();
}

/*
 * mdb_set_alert_secrets - metricsdb.set_alert_secrets(name, secrets jsonb)
 *
 * New secrets, or the ones that a restored dump does not have.  NULL removes them.
 */
Datum
mdb_set_alert_secrets(PG_FUNCTION_ARGS)
{
	char *name = text_argument(fcinfo, 0, "name");
	Jsonb *secrets = jsonb_argument(fcinfo, 1);
	Oid types[] = {INT4OID, TEXTARRAYOID};
	MdbAlertTarget target;
	Datum args[2];
	Row row;

	SPI_connect();
	find_target(name, false, &row, CurrentMemoryContext);
	leave_secret_url(&row);
	mdb_target_parse(&target, row.kind, row.nurls, row.urls, row.options, secrets, GetUserId());
	warn_unencrypted(&target);
	store_secrets(row.id, secrets);
	args[0] = Int32GetDatum(row.id);
	args[1] = texts_datum(target.nurls, target.urls);
	mdb_execute_own("UPDATE metricsdb.alert_target SET urls = $2 WHERE target_id OPERATOR(pg_catalog.=) $1",
					2, types, args, NULL);
	SPI_finish();
	mdb_deliver_wake_at_commit();
	PG_RETURN_VOID();
}

/*
 * mdb_alert_secrets - metricsdb.alert_secrets(name) RETURNS jsonb: for the owner only
 */
Datum
mdb_alert_secrets(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Row row;

	SPI_connect();
	find_target(text_to_cstring(PG_GETARG_TEXT_PP(0)), false, &row, caller);
	SPI_finish();
	if (row.secrets == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(row.secrets);
}

/*
 * mdb_resume_alert_targets - metricsdb.resume_alert_targets() RETURNS integer
 *
 * Makes the caller's targets of a restored copy targets of this database: saying so is what this function is for.
 * Returns how many.
 */
Datum
mdb_resume_alert_targets(PG_FUNCTION_ARGS)
{
	Oid types[] = {TEXTOID, OIDOID};
	Datum args[2];
	uint64 n;

	SPI_connect();
	args[0] = CStringGetTextDatum(mdb_home());
	args[1] = ObjectIdGetDatum(GetUserId());
	n = mdb_execute_own("UPDATE metricsdb.alert_target SET home = $1 WHERE home OPERATOR(pg_catalog.<>) $1"
						" AND pg_catalog.pg_has_role($2, owner::pg_catalog.oid, 'USAGE')",
						2, types, args, NULL);
	SPI_finish();
	mdb_deliver_wake_at_commit();
	PG_RETURN_INT32((int32) n);
}

/* test_alert - one that only says that it is a test, and ends by itself in a minute. */
static void
test_alert(MdbAlert *alert, const char *target)
{
	JsonbParseState *state = NULL;
	const char *pairs[][2] = {{"alertname", "MetricsdbTest"}, {"severity", "none"}, {"target", target}};

	memset(alert, 0, sizeof(*alert));
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < lengthof(pairs); i++)
		for (int k = 0; k < 2; k++)
		{
			JsonbValue v = {.type = jbvString};

			v.val.string.val = unconstify(char *, pairs[i][k]);
			v.val.string.len = strlen(pairs[i][k]);
			(void) pushJsonbValue(&state, k == 0 ? WJB_KEY : WJB_VALUE, &v);
		}
	alert->labels = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	alert->annotations = DatumGetJsonbP(
		DirectFunctionCall1(jsonb_in, CStringGetDatum("{\"summary\": \"a test of this target\"}")));
	alert->id.key = (bytea *) cstring_to_text("test");
	alert->rule = "MetricsdbTest";
	alert->firing = true;
	alert->no_value = true;
	alert->starts_at = GetCurrentTimestamp();
	alert->ends_at = alert->starts_at + 60 * USECS_PER_SEC;
}

/*
 * mdb_test_alert_target - metricsdb.test_alert_target(name) RETURNS SETOF record
 *
 * Sends a test to each URL of a target, from this session, and says what was answered.
 */
Datum
mdb_test_alert_target(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext caller = CurrentMemoryContext;
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	MdbAlertTarget *target;
	MdbHttpAnswer answer;
	MdbHttp *http;
	MdbAlert alert;
	Row row;
	char *body;
	List *headers;
	TimestampTz began;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	find_target(name, false, &row, caller);
	SPI_finish();
	if (!row.at_home)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("target of alerts \"%s\" belongs to another database, of which this is a copy", name),
				 errhint("SELECT metricsdb.resume_alert_targets() if alerts are to be sent from here.")));
	target = palloc(sizeof(MdbAlertTarget));
	mdb_target_parse(target, row.kind, row.nurls, row.urls, row.options, row.secrets, row.owner);
	target->name = name;
	test_alert(&alert, name);
	if (target->kind == MDB_TARGET_NOTIFY)
	{
		Datum values[4] = {CStringGetTextDatum(target->urls[0]), BoolGetDatum(true),
						   CStringGetTextDatum("will be told when this transaction commits"),
						   Float8GetDatum(0)};
		bool nulls[4] = {false};

		Async_Notify(target->urls[0], mdb_payload_notify(target, &alert));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		return (Datum) 0;
	}

	if (target->kind == MDB_TARGET_ALERTMANAGER)
	{
		body = mdb_payload_alertmanager(target, 1, &alert);
		headers = target->headers;
	}
	else
	{
		body = mdb_payload_webhook(target, &alert);
		headers = mdb_webhook_headers(target, &alert, body);
	}
	/* It ends with this call's memory, whatever happens. */
	http = mdb_http_create(&target->http);
	began = GetCurrentTimestamp();
	for (int i = 0; i < target->nurls; i++)
	{
		const char *error;

		if (!mdb_http_post(http, mdb_target_url(target, i), body, strlen(body), headers, target->urls[i],
						   &error))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("cannot send to target of alerts \"%s\"", name),
							errdetail("%s", mdb_target_hide(target, error))));
	}
	while (mdb_http_pending(http) > 0)
	{
		mdb_http_wait(&http, 1, 1000);
		while (mdb_http_done(http, &answer))
		{
			char *why;
			bool good = mdb_answer_verdict(target, &answer, &why) == MDB_GOOD;
			Datum values[4] = {CStringGetTextDatum((char *) answer.request), BoolGetDatum(good),
							   CStringGetTextDatum(good ? psprintf("HTTP %d", answer.status) : why),
							   Float8GetDatum((GetCurrentTimestamp() - began) / 1e6)};
			bool nulls[4] = {false};

			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
	mdb_http_destroy(http);
	return (Datum) 0;
}

/*
 * mdb_alert_outbox_wake - trigger of metricsdb.alert_outbox: the sender looks when this transaction has committed
 */
Datum
mdb_alert_outbox_wake(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("this function is for triggers")));
	mdb_deliver_wake_at_commit();
	return PointerGetDatum(NULL);
}
