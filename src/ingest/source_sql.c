/*
 * source_sql.c
 *	  The SQL functions that create, drop, pause and resume Kafka sources.
 *
 * Invariants:
 *	1. A source is owned by the role that created it; only roles with that role's privileges
 *	   may change it.  Each function here checks that itself before it touches a table.
 *	2. The tables of sources belong to the extension and are written with the bootstrap
 *	   superuser's rights, by the fixed statements of this file alone.
 *
 * Workers see a change when they look at their row again: within a second, and in any case
 * before they commit anything.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/rel.h"

#include "ingest/live.h"
#include "ingest/source.h"
#include "ingest/target.h"
#include "metricsdb.h"

PG_FUNCTION_INFO_V1(mdb_create_kafka_source);
PG_FUNCTION_INFO_V1(mdb_drop_kafka_source);
PG_FUNCTION_INFO_V1(mdb_pause_kafka_source);
PG_FUNCTION_INFO_V1(mdb_resume_kafka_source);
PG_FUNCTION_INFO_V1(mdb_seek_kafka_source);
PG_FUNCTION_INFO_V1(mdb_set_kafka_secrets);
PG_FUNCTION_INFO_V1(mdb_kafka_secrets);
PG_FUNCTION_INFO_V1(mdb_kafka_home);
PG_FUNCTION_INFO_V1(mdb_purge_kafka_dead_letters);

#define MAX_NAME_LENGTH 200

int32
mdb_source_find(const char *name)
{
	Oid type = TEXTOID;
	Datum arg = CStringGetTextDatum(name);
	bool isnull;
	int32 id;
	Oid owner;

	mdb_execute_own("SELECT source_id, owner::pg_catalog.oid FROM metricsdb.kafka_source"
					" WHERE name OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE",
					1, &type, &arg, NULL);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("Kafka source \"%s\" does not exist", name),
				 errhint("SELECT DISTINCT source FROM metricsdb.kafka_status lists those you may see.")));
	id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be owner of Kafka source \"%s\"", name)));
	return id;
}

/*
 * text_argument - an argument that must be given and not be empty.
 */
static char *
text_argument(FunctionCallInfo fcinfo, int n, const char *name)
{
	char *value = PG_ARGISNULL(n) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(n));

	if (value[0] == '\0' || strlen(value) > 8192)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("argument \"%s\" of a Kafka source is missing, empty or too long", name)));
	return value;
}

static Jsonb *
jsonb_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_JSONB_P(n);
}

/*
 * store_secrets - replace the secrets of a source; NULL = it has none.
 */
static void
store_secrets(int32 id, Jsonb *secrets)
{
	Oid types[] = {INT4OID, JSONBOID};
	Datum args[] = {Int32GetDatum(id), JsonbPGetDatum(secrets)};

	mdb_execute_own("DELETE FROM metricsdb.kafka_secret WHERE source_id OPERATOR(pg_catalog.=) $1", 1, types,
					args, NULL);
	if (secrets)
		mdb_execute_own("INSERT INTO metricsdb.kafka_secret (source_id, secrets) VALUES ($1, $2)", 2, types,
						args, NULL);
}

/*
 * mdb_create_kafka_source - metricsdb.create_kafka_source(...) RETURNS integer
 */
Datum
mdb_create_kafka_source(PG_FUNCTION_ARGS)
{
	char *name = text_argument(fcinfo, 0, "name");
	char *brokers = text_argument(fcinfo, 1, "brokers");
	char *topic = text_argument(fcinfo, 2, "topic");
	char *format = text_argument(fcinfo, 4, "format");
	char *unit = text_argument(fcinfo, 5, "timestamp_unit");
	Jsonb *options = jsonb_argument(fcinfo, 6);
	Jsonb *secrets = jsonb_argument(fcinfo, 7);
	MdbSourceOptions parsed;
	MdbTarget target;
	Relation rel;
	Datum args[9];
	Oid types[] = {TEXTOID, OIDOID, OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, TEXTOID};
	bool isnull;
	int32 id;

	if (strlen(name) > MAX_NAME_LENGTH)
		ereport(ERROR, (errcode(ERRCODE_NAME_TOO_LONG),
						errmsg("name of a Kafka source is longer than %d bytes", MAX_NAME_LENGTH)));
	if (GetDatabaseEncoding() != PG_UTF8)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("a Kafka source needs a database with encoding UTF8"),
						errdetail("Metric names and tags in protobuf are UTF-8; this database uses %s.",
								  GetDatabaseEncodingName())));
	if (PG_ARGISNULL(3))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("target of a Kafka source must not be null")));
	mdb_format_parse(format);
	mdb_time_unit_parse(unit);
	mdb_source_options(options, secrets, GetUserId(), &parsed);

	rel = table_open(PG_GETARG_OID(3), AccessShareLock);
	mdb_target_check_role(rel, GetUserId());
	mdb_target_check(rel, &target);
	table_close(rel, NoLock);

	SPI_connect();
	args[0] = CStringGetTextDatum(name);
	args[1] = ObjectIdGetDatum(GetUserId());
	args[2] = PG_GETARG_DATUM(3);
	args[3] = CStringGetTextDatum(brokers);
	args[4] = CStringGetTextDatum(topic);
	args[5] = CStringGetTextDatum(format);
	args[6] = CStringGetTextDatum(unit);
	args[7] = options ? JsonbPGetDatum(options) : (Datum) 0;
	args[8] = CStringGetTextDatum(mdb_home());
	mdb_execute_own("INSERT INTO metricsdb.kafka_source"
					" (name, owner, target, brokers, topic, format, timestamp_unit, options, home)"
					" VALUES ($1, $2::pg_catalog.regrole, $3::pg_catalog.regclass, $4, $5, $6, $7,"
					" coalesce($8, '{}'), $9)"
					" ON CONFLICT (name) DO NOTHING RETURNING source_id",
					9, types, args, options ? NULL : "       n ");
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("Kafka source \"%s\" already exists", name)));
	id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	if (secrets)
		store_secrets(id, secrets);
	SPI_finish();

	if (!mdb_live_available())
		ereport(WARNING, (errmsg("Kafka source \"%s\" will not run yet", name),
						  errdetail("The library metricsdb is not loaded at server start."),
						  errhint("Add metricsdb to shared_preload_libraries and restart the server.")));
	PG_RETURN_INT32(id);
}

/*
 * mdb_drop_kafka_source - metricsdb.drop_kafka_source(name text)
 *
 * Offsets, dead letters and secrets go with it; the points stay.
 */
Datum
mdb_drop_kafka_source(PG_FUNCTION_ARGS)
{
	Oid type = INT4OID;
	Datum id;

	SPI_connect();
	id = Int32GetDatum(mdb_source_find(text_to_cstring(PG_GETARG_TEXT_PP(0))));
	mdb_execute_own("DELETE FROM metricsdb.kafka_source WHERE source_id OPERATOR(pg_catalog.=) $1", 1, &type,
					&id, NULL);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * mdb_pause_kafka_source - metricsdb.pause_kafka_source(name text)
 */
Datum
mdb_pause_kafka_source(PG_FUNCTION_ARGS)
{
	Oid type = INT4OID;
	Datum id;

	SPI_connect();
	id = Int32GetDatum(mdb_source_find(text_to_cstring(PG_GETARG_TEXT_PP(0))));
	mdb_execute_own("UPDATE metricsdb.kafka_source SET state = 'paused', reason = NULL"
					" WHERE source_id OPERATOR(pg_catalog.=) $1",
					1, &type, &id, NULL);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * mdb_resume_kafka_source - metricsdb.resume_kafka_source(name text)
 *
 * Also makes a source of a restored copy run here: saying so is what this function is for.
 */
Datum
mdb_resume_kafka_source(PG_FUNCTION_ARGS)
{
	Oid types[] = {INT4OID, TEXTOID};
	Datum args[2];

	SPI_connect();
	args[0] = Int32GetDatum(mdb_source_find(text_to_cstring(PG_GETARG_TEXT_PP(0))));
	args[1] = CStringGetTextDatum(mdb_home());
	mdb_execute_own("UPDATE metricsdb.kafka_source SET state = 'running', reason = NULL, home = $2"
					" WHERE source_id OPERATOR(pg_catalog.=) $1",
					2, types, args, NULL);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * mdb_seek_kafka_source - metricsdb.seek_kafka_source(name text, partition integer, next_offset bigint)
 *
 * The way on for a stalled partition, and back for who wants points again.  A running worker is
 * fenced by the change and takes the new offset up.
 */
Datum
mdb_seek_kafka_source(PG_FUNCTION_ARGS)
{
	Oid types[] = {INT4OID, INT4OID, INT8OID};
	Datum args[3];

	if (PG_GETARG_INT64(2) < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("offset must not be negative")));
	SPI_connect();
	args[0] = Int32GetDatum(mdb_source_find(text_to_cstring(PG_GETARG_TEXT_PP(0))));
	args[1] = PG_GETARG_DATUM(1);
	args[2] = PG_GETARG_DATUM(2);
	if (mdb_execute_own("UPDATE metricsdb.kafka_offset SET next_offset = $3, stalled = NULL"
						" WHERE source_id OPERATOR(pg_catalog.=) $1 AND partition OPERATOR(pg_catalog.=) $2",
						3, types, args, NULL) == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("Kafka source \"%s\" has no partition %d",
							   text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT32(1))));
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * mdb_set_kafka_secrets - metricsdb.set_kafka_secrets(name text, secrets jsonb)
 *
 * New secrets, or the ones that a restored dump does not have.  NULL removes them.
 */
Datum
mdb_set_kafka_secrets(PG_FUNCTION_ARGS)
{
	char *name = text_argument(fcinfo, 0, "name");
	Jsonb *secrets = jsonb_argument(fcinfo, 1);
	MdbSourceOptions parsed;

	mdb_source_options(NULL, secrets, GetUserId(), &parsed);
	SPI_connect();
	store_secrets(mdb_source_find(name), secrets);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * mdb_kafka_secrets - metricsdb.kafka_secrets(name text) RETURNS jsonb: for the owner only
 */
Datum
mdb_kafka_secrets(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid type = INT4OID;
	Datum arg;
	Datum secrets = (Datum) 0;
	bool isnull = true;

	SPI_connect();
	arg = Int32GetDatum(mdb_source_find(text_to_cstring(PG_GETARG_TEXT_PP(0))));
	if (mdb_execute_own(
			"SELECT secrets FROM metricsdb.kafka_secret WHERE source_id OPERATOR(pg_catalog.=) $1", 1, &type,
			&arg, NULL) == 1)
	{
		secrets = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		if (!isnull)
		{
			MemoryContext spi = MemoryContextSwitchTo(caller);

			secrets = JsonbPGetDatum(DatumGetJsonbPCopy(secrets));
			MemoryContextSwitchTo(spi);
		}
	}
	SPI_finish();
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(secrets);
}

/*
 * mdb_kafka_home - metricsdb.kafka_home() RETURNS text
 */
Datum
mdb_kafka_home(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(mdb_home()));
}

/*
 * mdb_purge_kafka_dead_letters - metricsdb.purge_kafka_dead_letters(source text, before timestamptz)
 *
 * The counters keep counting them: the books balance with what was, not with what is left.
 */
Datum
mdb_purge_kafka_dead_letters(PG_FUNCTION_ARGS)
{
	Oid types[] = {INT4OID, TIMESTAMPTZOID};
	Datum args[2];
	uint64 n;

	SPI_connect();
	args[0] = Int32GetDatum(mdb_source_find(text_to_cstring(PG_GETARG_TEXT_PP(0))));
	args[1] = PG_GETARG_DATUM(1);
	n = mdb_execute_own("DELETE FROM metricsdb.kafka_dead_letter WHERE source_id OPERATOR(pg_catalog.=) $1"
						" AND created_at OPERATOR(pg_catalog.<=) $2",
						2, types, args, NULL);
	SPI_finish();
	PG_RETURN_INT64((int64) n);
}
