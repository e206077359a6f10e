/*
 * target.c
 *	  A target of alerts: its row in metricsdb.alert_target, read and checked.
 *
 * Invariants:
 *	1. What a target may be told to do is decided here alone, when it is defined and again each time the sender loads it.
 *	2. The value of a secret appears in no message.
 *	3. Whatever reaches the server's files needs pg_read_server_files.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "alert/alert.h"
#include "deliver/target.h"
#include "metricsdb.h"

#define ALERTMANAGER (1 << MDB_TARGET_ALERTMANAGER)
#define WEBHOOK      (1 << MDB_TARGET_WEBHOOK)
#define NOTIFY       (1 << MDB_TARGET_NOTIFY)
#define HTTP         (ALERTMANAGER | WEBHOOK)

#define MAX_URLS     16

/* All options and secrets, and the kinds of targets that have them. */
static const struct
{
	const char *name;
	bool secret;
	int kinds;
	bool file;
} settings[] = {{"timeout", false, HTTP},
				{"connect_timeout", false, HTTP},
				{"parallel", false, WEBHOOK},
				{"repeat_interval", false, WEBHOOK | NOTIFY},
				{"generator_url", false, HTTP | NOTIFY},
				{"headers", false, HTTP},
				{"user", false, HTTP},
				{"ca_pem", false, HTTP},
				{"ca_file", false, HTTP, true},
				{"cert_pem", false, HTTP},
				{"cert_file", false, HTTP, true},
				{"key_file", false, HTTP, true},
				{"password", true, HTTP},
				{"token", true, HTTP},
				{"headers", true, HTTP},
				{"key_pem", true, HTTP},
				{"key_password", true, HTTP},
				{"hmac_key", true, WEBHOOK},
				{"url", true, WEBHOOK}};

/* Ours, or libcurl's. */
static const char *const reserved_headers[] = {"connection",
											   "content-length",
											   "content-type",
											   "expect",
											   "host",
											   "te",
											   "trailer",
											   "transfer-encoding",
											   "upgrade",
											   "x-metricsdb-timestamp",
											   "x-metricsdb-signature"};

MdbTargetKind
mdb_target_kind(const char *name)
{
	if (strcmp(name, "alertmanager") == 0)
		return MDB_TARGET_ALERTMANAGER;
	if (strcmp(name, "webhook") == 0)
		return MDB_TARGET_WEBHOOK;
	if (strcmp(name, "notify") == 0)
		return MDB_TARGET_NOTIFY;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown kind of target \"%s\"", name),
					errhint("Use \"alertmanager\", \"webhook\" or \"notify\".")));
}

static void
bad_setting(const char *name, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid value for \"%s\" of a target of alerts", name), errhint("%s", hint)));
}

/* interval_of - microseconds, within bounds. */
static int64
interval_of(const char *name, const char *text, int64 min, int64 max)
{
	Interval *span = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text),
														   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	int64 us = mdb_interval_us(span);

	if (us < min || us > max)
		bad_setting(name, psprintf("Give an interval between %g and %g seconds.", min / 1e6, max / 1e6));
	return us;
}

/* one_line - what goes into a header must not end it. */
static void
one_line(const char *name, const char *text)
{
	for (const char *c = text; *c != '\0'; c++)
		if ((unsigned char) *c < ' ' || *c == 0x7f)
			bad_setting(name, "It must not have control characters.");
}

static void
add_secret(MdbAlertTarget *target, const char *text)
{
	target->has_credentials = true;
	if (strlen(text) >= 4)
		target->secrets = lappend(target->secrets, unconstify(char *, text));
}

static void
add_header(MdbAlertTarget *target, const char *name, const char *value, bool secret)
{
	if (name[0] == '\0' ||
		name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")])
		bad_setting("headers", "Names consist of letters, digits, hyphens and underscores.");
	for (int i = 0; i < lengthof(reserved_headers); i++)
		if (pg_strcasecmp(name, reserved_headers[i]) == 0)
			bad_setting("headers", psprintf("\"%s\" cannot be set.", name));
	if (!secret && (pg_strcasecmp(name, "authorization") == 0 || pg_strcasecmp(name, "cookie") == 0))
		bad_setting("headers", psprintf("Give \"%s\" among the secrets.", name));
	one_line("headers", value);
	if (secret)
		add_secret(target, value);
	/* To libcurl a name without value means to leave a header out, so it wants another separator. */
	target->headers =
		lappend(target->headers, value[0] ? psprintf("%s: %s", name, value) : psprintf("%s;", name));
}

static void
read_headers(MdbAlertTarget *target, JsonbValue *object, bool secret)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue v;
	char *name = NULL;

	if (object->type != jbvBinary || !JsonContainerIsObject(object->val.binary.data))
		bad_setting("headers", "Give an object of names and values.");
	it = JsonbIteratorInit(object->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(v.val.string.val, v.val.string.len);
		else if (token == WJB_VALUE)
		{
			char *text = v.type == jbvBinary ? NULL : mdb_json_scalar(&v);

			if (text == NULL)
				bad_setting("headers", "Values are strings, numbers or booleans.");
			add_header(target, name, text, secret);
		}
	}
}

static const char *
pem(const char *name, const char *text)
{
	if (strstr(text, "-----BEGIN ") == NULL)
		bad_setting(name, "Give text in PEM format, which has a line \"-----BEGIN ...\".");
	return text;
}

static void
set(MdbAlertTarget *target, const char *name, char *text)
{
	MdbHttpSettings *http = &target->http;

	if (strcmp(name, "timeout") == 0)
		http->timeout_ms = interval_of(name, text, 100000, 300 * USECS_PER_SEC) / 1000;
	else if (strcmp(name, "connect_timeout") == 0)
		http->connect_timeout_ms = interval_of(name, text, 100000, 300 * USECS_PER_SEC) / 1000;
	else if (strcmp(name, "parallel") == 0)
	{
		target->parallel = pg_strtoint32(text);
		if (target->parallel < 1 || target->parallel > 16)
			bad_setting(name, "Give a number between 1 and 16.");
	}
	else if (strcmp(name, "repeat_interval") == 0)
		target->repeat = interval_of(name, text, USECS_PER_SEC, 365 * USECS_PER_DAY);
	else if (strcmp(name, "generator_url") == 0)
	{
		if (mdb_url_problem(text) != NULL)
			bad_setting(name, mdb_url_problem(text));
		target->generator_url = text;
	}
	else if (strcmp(name, "user") == 0)
	{
		one_line(name, text);
		if (strchr(text, ':') != NULL)
			bad_setting(name, "It must not have a colon.");
		http->user = text;
	}
	else if (strcmp(name, "ca_pem") == 0)
		http->ca_pem = pem(name, text);
	else if (strcmp(name, "ca_file") == 0)
		http->ca_file = text;
	else if (strcmp(name, "cert_pem") == 0)
		http->cert_pem = pem(name, text);
	else if (strcmp(name, "cert_file") == 0)
		http->cert_file = text;
	else if (strcmp(name, "key_file") == 0)
		http->key_file = text;
	else if (strcmp(name, "password") == 0)
	{
		one_line(name, text);
		http->password = text;
	}
	else if (strcmp(name, "token") == 0)
	{
		one_line(name, text);
		target->headers = lappend(target->headers, psprintf("Authorization: Bearer %s", text));
	}
	else if (strcmp(name, "key_pem") == 0)
		http->key_pem = pem(name, text);
	else if (strcmp(name, "key_password") == 0)
		http->key_password = text;
	else if (strcmp(name, "hmac_key") == 0)
		target->hmac_key = text;
	else if (strcmp(name, "url") == 0)
		target->secret_url = text;
	else
		elog(ERROR, "setting \"%s\" is not known here", name);
}

/* find_setting - its place in the list; an error if the kind of target has none of that name. */
static int
find_setting(MdbTargetKind kind, const char *name, bool secret)
{
	int other = -1;

	for (int i = 0; i < lengthof(settings); i++)
		if (strcmp(settings[i].name, name) == 0 && (settings[i].kinds & (1 << kind)) != 0)
		{
			if (settings[i].secret == secret)
				return i;
			other = i;
		}
	if (other >= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						secret ? errmsg("\"%s\" of a target of alerts is not a secret", name)
							   : errmsg("\"%s\" of a target of alerts is a secret", name),
						secret ? errhint("Give it in \"options\".") : errhint("Give it in \"secrets\".")));
	else
	{
		StringInfoData names;

		initStringInfo(&names);
		for (int i = 0; i < lengthof(settings); i++)
			if (settings[i].secret == secret && (settings[i].kinds & (1 << kind)) != 0)
				appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", settings[i].name);
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						secret ? errmsg("unknown secret \"%s\" of a target of alerts", name)
							   : errmsg("unknown option \"%s\" of a target of alerts", name),
						names.len > 0 ? errhint("Such a target has: %s.", names.data)
									  : errhint("Such a target has none.")));
	}
}

/* read_object - options or secrets. */
static void
read_object(MdbAlertTarget *target, Jsonb *object, bool secret, Oid role)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue v;
	char *name = NULL;

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a target of alerts must be a JSON object", secret ? "secrets" : "options")));
	it = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		char *text;
		int i;

		if (token == WJB_KEY)
			name = pnstrdup(v.val.string.val, v.val.string.len);
		if (token != WJB_VALUE)
			continue;
		i = find_setting(target->kind, name, secret);
		if (settings[i].file && !has_privs_of_role(role, ROLE_PG_READ_SERVER_FILES))
			ereport(
				ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set option \"%s\" of a target of alerts", name),
				 errdetail(
					 "It reaches the server's files, for which the privileges of role \"%s\" are needed.",
					 "pg_read_server_files"),
				 errhint("Certificates can be given as text: ca_pem, cert_pem, and the secret key_pem.")));
		if (strcmp(name, "headers") == 0)
		{
			read_headers(target, &v, secret);
			continue;
		}
		text = v.type == jbvBinary ? NULL : mdb_json_scalar(&v);
		if (text == NULL || text[0] == '\0')
			bad_setting(name, "Give a string, a number or a boolean that is not empty.");
		if (secret)
			add_secret(target, text);
		set(target, name, text);
	}
}

static void
check_url(MdbTargetKind kind, const char *url, bool secret)
{
	const char *problem = mdb_url_problem(url);

	if (problem == NULL && kind == MDB_TARGET_ALERTMANAGER && strchr(url, '?') != NULL)
		problem = "Alertmanager's must not have a query.";
	if (problem != NULL)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 /* A URL may well hold what nobody should read. */
			 errmsg("invalid URL of a target of alerts"), errdetail("%s", problem),
			 errhint("User and password are the option \"user\" and the secret \"password\"; a webhook's URL "
					 "that is itself a secret is the secret \"url\".")));
}

/* check_urls - how many and which a kind of target has. */
static void
check_urls(MdbAlertTarget *target)
{
	if (target->kind == MDB_TARGET_NOTIFY)
	{
		if (target->nurls != 1 || target->urls[0][0] == '\0' || strlen(target->urls[0]) >= NAMEDATALEN)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a target of kind \"notify\" has one channel"),
					 errhint("Give it as urls => '{name}'; it is shorter than %d bytes.", NAMEDATALEN)));
		return;
	}
	if (target->secret_url != NULL)
	{
		check_url(target->kind, target->secret_url, true);
		if (target->nurls > 1 ||
			(target->nurls == 1 && strcmp(target->urls[0], mdb_url_shown(target->secret_url)) != 0))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("a target of alerts whose URL is a secret has no others")));
		target->nurls = 1;
		target->urls = palloc(sizeof(char *));
		target->urls[0] = mdb_url_shown(target->secret_url);
		return;
	}
	if (target->nurls < 1 || target->nurls > MAX_URLS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a target of alerts has between 1 and %d URLs", MAX_URLS)));
	for (int i = 0; i < target->nurls; i++)
	{
		check_url(target->kind, target->urls[i], false);
		for (int k = 0; k < i; k++)
			if (strcmp(target->urls[i], target->urls[k]) == 0)
				ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
								errmsg("a target of alerts has the same URL twice")));
	}
}

void
mdb_target_parse(MdbAlertTarget *target, MdbTargetKind kind, int nurls, char **urls, Jsonb *options,
				 Jsonb *secrets, Oid role)
{
	MdbHttpSettings *http = &target->http;
	const char *problem = NULL;

	memset(target, 0, sizeof(*target));
	target->kind = kind;
	target->nurls = nurls;
	target->urls = urls;
	target->parallel = kind == MDB_TARGET_WEBHOOK ? 4 : 1;
	http->timeout_ms = 10000;
	http->connect_timeout_ms = 5000;
	if (options)
		read_object(target, options, false, role);
	if (secrets)
		read_object(target, secrets, true, role);
	check_urls(target);

	if (http->password && !http->user)
		problem = "A password needs the option \"user\".";
	for (ListCell *lc = list_head(target->headers); lc != NULL && http->user; lc = lnext(target->headers, lc))
		if (pg_strncasecmp(lfirst(lc), "authorization", 13) == 0)
			problem = "A user does not go together with a token or a header \"Authorization\".";
	if ((http->ca_file && http->ca_pem) || (http->cert_file && http->cert_pem) ||
		(http->key_file && http->key_pem))
		problem = "Give a certificate or key as text or as a file, not both.";
	if ((http->cert_file || http->cert_pem) != (http->key_file || http->key_pem))
		problem = "A certificate needs its key, and a key its certificate.";
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("settings of a target of alerts contradict each other"), errdetail("%s", problem)));

	/* As a receiver may repeat it. */
	if (http->user && http->password)
	{
		char *pair = psprintf("%s:%s", http->user, http->password);
		bytea *bytes = (bytea *) cstring_to_text(pair);

		target->secrets = lappend(
			target->secrets, TextDatumGetCString(DirectFunctionCall2(binary_encode, PointerGetDatum(bytes),
																	 CStringGetTextDatum("base64"))));
	}
}

const char *
mdb_target_url(const MdbAlertTarget *target, int n)
{
	const char *url = target->secret_url && n == 0 ? target->secret_url : target->urls[n];

	if (target->kind == MDB_TARGET_ALERTMANAGER)
	{
		size_t length = strlen(url);

		while (length > 0 && url[length - 1] == '/')
			length--;
		return psprintf("%.*s/api/v2/alerts", (int) length, url);
	}
	return url;
}

char *
mdb_target_hide(const MdbAlertTarget *target, const char *text)
{
	char *out = pstrdup(text);
	ListCell *lc;

	foreach (lc, target->secrets)
	{
		const char *secret = lfirst(lc);
		size_t length = strlen(secret);

		for (char *at = strstr(out, secret); at != NULL; at = strstr(at, secret))
		{
			memmove(at + 3, at + length, strlen(at + length) + 1);
			memcpy(at, "***", 3);
			at += 3;
		}
	}
	return out;
}

char **
mdb_texts(ArrayType *array, int *n)
{
	Datum *elements;
	bool *nulls;
	char **texts;

	*n = 0;
	if (array == NULL)
		return NULL;
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, n);
	texts = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		if (nulls[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("URLs must not be null")));
		texts[i] = TextDatumGetCString(elements[i]);
	}
	return texts;
}

MdbAlertTarget *
mdb_target_load(int32 id)
{
	MemoryContext caller = CurrentMemoryContext;
	MdbAlertTarget *target = NULL;
	Oid types[] = {INT4OID, TEXTOID};
	Datum args[2] = {Int32GetDatum(id)};

	SPI_connect();
	args[1] = CStringGetTextDatum(mdb_home());
	mdb_execute_own("SELECT t.name, t.owner::pg_catalog.oid, t.kind, t.urls, t.options, x.secrets,"
					" t.enabled AND t.home OPERATOR(pg_catalog.=) $2"
					" FROM metricsdb.alert_target t LEFT JOIN metricsdb.alert_secret x USING (target_id)"
					" WHERE t.target_id OPERATOR(pg_catalog.=) $1",
					2, types, args, NULL);
	if (SPI_processed == 1)
	{
		MemoryContext spi = MemoryContextSwitchTo(caller);
		HeapTuple row = SPI_tuptable->vals[0];
		TupleDesc desc = SPI_tuptable->tupdesc;
		Datum values[7];
		bool nulls[7];
		Oid owner;
		int nurls;
		char **urls;

		for (int i = 0; i < 7; i++)
			values[i] = SPI_getbinval(row, desc, i + 1, &nulls[i]);
		owner = DatumGetObjectId(values[1]);
		urls = mdb_texts(DatumGetArrayTypePCopy(values[3]), &nurls);
		target = palloc0(sizeof(MdbAlertTarget));
		mdb_target_parse(target, mdb_target_kind(TextDatumGetCString(values[2])), nurls, urls,
						 nulls[4] ? NULL : DatumGetJsonbPCopy(values[4]),
						 nulls[5] ? NULL : DatumGetJsonbPCopy(values[5]), owner);
		target->id = id;
		target->name = TextDatumGetCString(values[0]);
		target->owner = owner;
		target->running = DatumGetBool(values[6]);
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return target;
}
