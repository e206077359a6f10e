/*
 * source.c
 *	  A Kafka source: its row in metricsdb.kafka_source, read and checked.
 *
 * Invariants:
 *	1. What a source's options may contain is decided here alone, when it is created and again
 *	   each time a worker loads it.
 *	2. The value of a secret appears in no message.
 *	3. A property that decides about exactly-once delivery cannot be set by users.
 *
 * Called by source_sql.c, and by ingest.c in the worker.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include <librdkafka/rdkafka.h>

#include "ingest/source.h"
#include "metricsdb.h"

#define PROPERTY_PREFIX "librdkafka."

/* Ours to set: they decide where reading starts, what is read, and how we learn of it. */
static const char *const reserved_properties[] = {"allow.auto.create.topics",
												  "auto.commit.enable",
												  "auto.commit.interval.ms",
												  "auto.offset.reset",
												  "bootstrap.servers",
												  "enable.auto.commit",
												  "enable.auto.offset.store",
												  "enable.partition.eof",
												  "enable.random.seed",
												  "enabled_events",
												  "internal.termination.signal",
												  "interceptors",
												  "log.queue",
												  "log.thread.name",
												  "metadata.broker.list",
												  "offset.store.method",
												  "offset.store.path",
												  "opaque",
												  "default_topic_conf",
												  "group.instance.id",
												  "partition.assignment.strategy",
												  NULL};

/*
 * They reach the server's files, processes or memory.  The principal and the keytab are put into a command line that a
 * shell runs, as they are.
 */
static const char *const trusted_properties[] = {"plugin.library.paths",
												 "sasl.kerberos.kinit.cmd",
												 "sasl.kerberos.keytab",
												 "sasl.kerberos.principal",
												 "ssl.engine.location",
												 "ssl.engine.id",
												 "ssl.providers",
												 "sasl.oauthbearer.config",
												 "sasl.oauthbearer.method",
												 "sasl.oauthbearer.token.endpoint.url",
												 "sasl.oauthbearer.extensions",
												 "sasl.oauthbearer.scope",
												 "enable.sasl.oauthbearer.unsecure.jwt",
												 "debug",
												 NULL};

static const char *const file_properties[] = {"ssl.key.location",      "ssl.certificate.location",
											  "ssl.ca.location",       "ssl.crl.location",
											  "ssl.keystore.location", NULL};

/* They may be given as secrets only. */
static const char *const secret_properties[] = {"sasl.password",
												"ssl.key.password",
												"ssl.keystore.password",
												"ssl.key.pem",
												"ssl_key",
												"sasl.oauthbearer.client.secret",
												NULL};

static bool
listed(const char *const *list, const char *name)
{
	for (; *list != NULL; list++)
		if (strcmp(*list, name) == 0)
			return true;
	return false;
}

MdbFormat
mdb_format_parse(const char *word)
{
	if (strcmp(word, "metric") == 0)
		return MDB_FORMAT_METRIC;
	if (strcmp(word, "metric_batch") == 0)
		return MDB_FORMAT_METRIC_BATCH;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown message format \"%s\"", word),
					errhint("Use \"metric\" for one point a message, or \"metric_batch\" for many.")));
}

MdbTimeUnit
mdb_time_unit_parse(const char *word)
{
	if (strcmp(word, "s") == 0)
		return MDB_UNIT_S;
	if (strcmp(word, "ms") == 0)
		return MDB_UNIT_MS;
	if (strcmp(word, "us") == 0)
		return MDB_UNIT_US;
	if (strcmp(word, "ns") == 0)
		return MDB_UNIT_NS;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown timestamp unit \"%s\"", word),
					errhint("Use \"s\", \"ms\", \"us\" or \"ns\".")));
}

static void
bad_option(const char *name, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid value for option \"%s\" of a Kafka source", name), errhint("%s", hint)));
}

/*
 * scalar_text - a jsonb scalar as text.
 */
static char *
scalar_text(const char *name, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			bad_option(name, "Options are strings, numbers or booleans.");
			return NULL; /* not reached */
	}
}

/*
 * interval_option - an interval in microseconds, within bounds; "none" where allowed.
 */
static int64
interval_option(const char *name, const char *text, bool may_be_none, int64 min, int64 max)
{
	Interval *span;
	int64 us;

	if (may_be_none && strcmp(text, "none") == 0)
		return PG_INT64_MAX;
	span = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text),
												 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	us = span->time + ((int64) span->day + (int64) span->month * DAYS_PER_MONTH) * USECS_PER_DAY;
	if (us < min || us > max)
		bad_option(name, psprintf("Give an interval between %g and %g seconds.", min / 1e6, max / 1e6));
	return us;
}

static int
integer_option(const char *name, const char *text, int min, int max)
{
	int value = pg_strtoint32(text);

	if (value < min || value > max)
		bad_option(name, psprintf("Give a number between %d and %d.", min, max));
	return value;
}

static void
own_option(MdbSourceOptions *out, const char *name, const char *text)
{
	if (strcmp(name, "start") == 0)
	{
		if (strcmp(text, "earliest") != 0 && strcmp(text, "latest") != 0)
			bad_option(name, "Use \"earliest\" or \"latest\".");
		out->start_latest = (strcmp(text, "latest") == 0);
	}
	else if (strcmp(name, "on_gap") == 0)
	{
		if (strcmp(text, "stall") != 0 && strcmp(text, "skip") != 0)
			bad_option(name, "Use \"stall\" or \"skip\".");
		out->skip_gaps = (strcmp(text, "skip") == 0);
	}
	else if (strcmp(name, "assigned") == 0)
	{
		if (!parse_bool(text, &out->assigned))
			bad_option(name, "Use true or false.");
	}
	else if (strcmp(name, "max_age") == 0)
		out->max_age = interval_option(name, text, true, 0, USECS_PER_DAY * 365250);
	else if (strcmp(name, "max_future") == 0)
		out->max_future = interval_option(name, text, true, 0, USECS_PER_DAY * 365250);
	else if (strcmp(name, "lateness") == 0)
		out->lateness = interval_option(name, text, false, 0, USECS_PER_DAY);
	else if (strcmp(name, "flush_interval") == 0)
		out->flush_ms = interval_option(name, text, false, 10000, 60 * USECS_PER_SEC) / 1000;
	else if (strcmp(name, "metadata_interval") == 0)
		out->metadata_ms = interval_option(name, text, false, 100000, USECS_PER_HOUR) / 1000;
	else if (strcmp(name, "max_points") == 0)
		out->max_points = integer_option(name, text, 1, 10000000);
	else if (strcmp(name, "dead_letter_bytes") == 0)
		out->dead_letter_bytes = integer_option(name, text, 0, 16 * 1024 * 1024);
	else if (strcmp(name, "synchronous_commit") == 0)
	{
		if (strcmp(text, "off") != 0 && strcmp(text, "local") != 0 && strcmp(text, "remote_write") != 0 &&
			strcmp(text, "on") != 0 && strcmp(text, "remote_apply") != 0)
			bad_option(name, "Use a value of the setting synchronous_commit.");
		out->synchronous_commit = pstrdup(text);
	}
	else
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown option \"%s\" of a Kafka source", name),
			 errhint(
				 "Options are start, on_gap, max_age, max_future, lateness, flush_interval, "
				 "metadata_interval, max_points, dead_letter_bytes, synchronous_commit, assigned, and " PROPERTY_PREFIX
				 "* "
				 "for the settings of librdkafka.")));
}

/* What librdkafka has for its own tests: servers within this process, and pointers given as text. */
static bool
for_tests(const char *name)
{
	return strncmp(name, "test.", 5) == 0 || strncmp(name, "ut_", 3) == 0;
}

/*
 * check_property - may this role set this property of librdkafka, and does it exist?
 */
static void
check_property(const MdbProperty *property, Oid role)
{
	const char *name = property->name;
	size_t len = strlen(name);
	rd_kafka_conf_t *conf;
	rd_kafka_conf_res_t result;
	char problem[512] = "";

	if (for_tests(name))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("property \"%s\" of librdkafka cannot be set", name),
						errdetail("It is there for librdkafka's own tests.")));
	if (listed(reserved_properties, name) || (len > 3 && strcmp(name + len - 3, "_cb") == 0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("property \"%s\" of librdkafka cannot be set", name),
						errdetail("metricsdb needs it to deliver each point exactly once.")));

	if ((listed(trusted_properties, name) && !superuser_arg(role)) ||
		((listed(file_properties, name) || (len > 9 && strcmp(name + len - 9, ".location") == 0)) &&
		 !has_privs_of_role(role, ROLE_PG_READ_SERVER_FILES)))
		ereport(
			ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to set property \"%s\" of librdkafka", name),
			 errdetail("It reaches the server's files or processes."),
			 errhint("Certificates can be given as text: ssl.ca.pem, ssl.certificate.pem, ssl.key.pem.")));

	if (!property->secret && listed(secret_properties, name))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("property \"%s\" is a secret and cannot be given as an option", name),
						errhint("Give it in the argument \"secrets\".")));

	conf = rd_kafka_conf_new();
	result = rd_kafka_conf_set(conf, name, property->value, problem, sizeof(problem));
	rd_kafka_conf_destroy(conf);
	if (result != RD_KAFKA_CONF_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("librdkafka refuses property \"%s\"", name),
				 property->secret ? 0 : errdetail("%s", problem)));
}

/*
 * read_object - the pairs of a jsonb object: options of ours into *out, properties into its list.
 */
static void
read_object(Jsonb *object, bool secret, Oid role, MdbSourceOptions *out)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue value;
	char *name = NULL;

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a Kafka source must be a JSON object", secret ? "secrets" : "options")));

	out->properties =
		repalloc(out->properties, (out->nproperties + JB_ROOT_COUNT(object) + 1) * sizeof(MdbProperty));
	it = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE)
		{
			bool prefixed = strncmp(name, PROPERTY_PREFIX, strlen(PROPERTY_PREFIX)) == 0;
			char *text = scalar_text(name, &value);

			if (secret || prefixed)
			{
				MdbProperty *property = &out->properties[out->nproperties];

				property->name = prefixed ? name + strlen(PROPERTY_PREFIX) : name;
				property->value = text;
				property->secret = secret;
				check_property(property, role);
				out->nproperties++;
			}
			else
				own_option(out, name, text);
		}
	}
}

void
mdb_source_options(Jsonb *options, Jsonb *secrets, Oid role, MdbSourceOptions *out)
{
	memset(out, 0, sizeof(*out));
	out->max_age = INT64CONST(30) * 365 * USECS_PER_DAY;
	out->max_future = USECS_PER_DAY;
	out->lateness = USECS_PER_SEC;
	out->flush_ms = 1000;
	out->metadata_ms = 30000;
	out->max_points = 1000000;
	out->dead_letter_bytes = 65536;
	out->synchronous_commit = "off";
	out->properties = palloc(sizeof(MdbProperty));
	if (options)
		read_object(options, false, role, out);
	if (secrets)
		read_object(secrets, true, role, out);
}

/*
 * value_of - a column of the only row of SPI's result, NULL if it is null.
 */
static char *
value_of(const char *column)
{
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
						SPI_fnumber(SPI_tuptable->tupdesc, column));
}

MdbSource *
mdb_source_load(int32 id)
{
	MemoryContext caller = CurrentMemoryContext;
	MdbSource *source = NULL;
	Oid type = INT4OID;
	Datum arg = Int32GetDatum(id);

	SPI_connect();
	(void) mdb_execute_own(
		"SELECT s.name, s.owner::pg_catalog.oid AS owner, s.target::pg_catalog.oid AS target,"
		" s.brokers, s.topic, s.format, s.timestamp_unit, s.state, s.home, s.options,"
		" x.secrets, s.xmin::pg_catalog.text || '/' || coalesce(x.xmin::pg_catalog.text, '') AS version"
		" FROM metricsdb.kafka_source s LEFT JOIN metricsdb.kafka_secret x USING (source_id)"
		" WHERE s.source_id OPERATOR(pg_catalog.=) $1",
		1, &type, &arg, NULL);
	if (SPI_processed == 1)
	{
		HeapTuple row = SPI_tuptable->vals[0];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool no_options;
		bool no_secrets;
		Datum options = SPI_getbinval(row, desc, SPI_fnumber(desc, "options"), &no_options);
		Datum secrets = SPI_getbinval(row, desc, SPI_fnumber(desc, "secrets"), &no_secrets);
		MemoryContext spi = MemoryContextSwitchTo(caller);

		source = palloc0(sizeof(MdbSource));
		source->id = id;
		source->name = pstrdup(value_of("name"));
		source->owner = atooid(value_of("owner"));
		source->target = atooid(value_of("target"));
		source->brokers = pstrdup(value_of("brokers"));
		source->topic = pstrdup(value_of("topic"));
		source->format = mdb_format_parse(value_of("format"));
		source->unit = mdb_time_unit_parse(value_of("timestamp_unit"));
		source->running =
			strcmp(value_of("state"), "running") == 0 && strcmp(value_of("home"), mdb_home()) == 0;
		source->version = pstrdup(value_of("version"));
		source->raw_options = no_options ? NULL : DatumGetJsonbPCopy(options);
		source->raw_secrets = no_secrets ? NULL : DatumGetJsonbPCopy(secrets);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return source;
}

const char *
mdb_source_version(int32 id)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext caller = CurrentMemoryContext;
	const char *version = "";
	Datum args[2];

	SPI_connect();
	if (plan == NULL)
	{
		Oid types[] = {INT4OID, TEXTOID};

		plan = SPI_prepare(
			"SELECT s.xmin::pg_catalog.text || '/' || coalesce(x.xmin::pg_catalog.text, '')"
			" FROM metricsdb.kafka_source s LEFT JOIN metricsdb.kafka_secret x USING (source_id)"
			" WHERE s.source_id OPERATOR(pg_catalog.=) $1 AND s.state OPERATOR(pg_catalog.=) 'running'"
			" AND s.home OPERATOR(pg_catalog.=) $2",
			2, types);
		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare the look at a Kafka source");
	}
	args[0] = Int32GetDatum(id);
	args[1] = CStringGetTextDatum(mdb_home());
	SPI_execute_plan(plan, args, NULL, true, 1);
	if (SPI_processed == 1)
		version = MemoryContextStrdup(caller, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	SPI_finish();
	return version;
}

void
mdb_source_stop(int32 id, const char *reason)
{
	Oid types[] = {INT4OID, TEXTOID};
	Datum args[2];

	SPI_connect();
	args[0] = Int32GetDatum(id);
	args[1] = CStringGetTextDatum(reason);
	SPI_execute_with_args("UPDATE metricsdb.kafka_source SET state = 'stopped', reason = $2"
						  " WHERE source_id OPERATOR(pg_catalog.=) $1",
						  2, types, args, NULL, false, 0);
	SPI_finish();
}
