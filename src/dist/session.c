/*
 * session.c
 *	  Connections to nodes: made, kept, given to queries, taken back.
 *
 * Servers and user mappings are postgres_fdw's, which exports nothing of its connections; so these are ours, and its checks
 * are repeated here: who is no superuser must have a password in his mapping, and the node must have asked for it, unless a
 * superuser has said otherwise (password_required).  None of a session's statements writes, but those of
 * mdb_session_run().
 *
 * A query has a node for itself, for one read-only transaction.  Whether a query ends or fails, the memory of its
 * executor goes, and a callback gives back what it had: a session in the middle of rows is closed, which the node notices
 * within half a second (client_connection_check_interval) however long it has nothing to send; another one is sent
 * COMMIT, of which the result is read when it is used again.  The callback raises no error and waits for nobody.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_database.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "dist/dist.h"
#include "dist/health.h"
#include "metricsdb.h"

/* Unless the server's options say otherwise. */
#define CONNECT_SECONDS 10
#define UNACKNOWLEDGED  "3000" /* ms after which what was sent is lost, and the connection with it */

static MdbSession *sessions = NULL;
static MdbReading *readings = NULL;

/* ---------- errors ---------- */

static MdbNodeError *
make_error(MemoryContext mcxt, bool lost, int sqlstate, const char *message)
{
	MdbNodeError *e = MemoryContextAllocZero(mcxt, sizeof(MdbNodeError));

	e->lost = lost;
	e->sqlstate = sqlstate;
	e->message = pchomp(message);
	if (mcxt != CurrentMemoryContext)
		e->message = MemoryContextStrdup(mcxt, e->message);
	return e;
}

/* Errors of a node that another one need not have. */
static bool
is_lost(int sqlstate)
{
	return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_CONNECTION_EXCEPTION ||
		   sqlstate == ERRCODE_ADMIN_SHUTDOWN || sqlstate == ERRCODE_CRASH_SHUTDOWN ||
		   sqlstate == ERRCODE_CANNOT_CONNECT_NOW || sqlstate == ERRCODE_TOO_MANY_CONNECTIONS;
}

static char *
field(MemoryContext mcxt, const PGresult *res, int code)
{
	const char *text = res ? PQresultErrorField(res, code) : NULL;

	return text ? MemoryContextStrdup(mcxt, text) : NULL;
}

/*
 * mdb_session_fail - remember what the node, or libpq if res says nothing, has against it.  The session is of no use
 * any more.
 */
void
mdb_session_fail(MdbSession *s, const PGresult *res)
{
	const char *state = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
	char *message = field(s->mcxt, res, PG_DIAG_MESSAGE_PRIMARY);
	int sqlstate =
		state ? MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]) : ERRCODE_CONNECTION_FAILURE;

	s->error = make_error(s->mcxt, is_lost(sqlstate), sqlstate, message ? message : PQerrorMessage(s->conn));
	if (s->error->message[0] == '\0')
		s->error->message = MemoryContextStrdup(s->mcxt, "connection was lost");
	s->error->detail = field(s->mcxt, res, PG_DIAG_MESSAGE_DETAIL);
	s->error->hint = field(s->mcxt, res, PG_DIAG_MESSAGE_HINT);
	s->state = MDB_SESSION_FAILED;
}

/*
 * mdb_node_error - raise what a node has said; sql: what it was asked, or NULL.
 */
void
mdb_node_error(const char *node, const char *shard, const MdbNodeError *e, const char *sql)
{
	ereport(ERROR, (errcode(e->sqlstate), errmsg("node \"%s\": %s", node, e->message),
					e->detail ? errdetail_internal("%s", e->detail) : 0, e->hint ? errhint("%s", e->hint) : 0,
					sql ? (errcontext("query on node \"%s\" of shard \"%s\": %s", node, shard, sql))
						: (errcontext("node \"%s\" of shard \"%s\"", node, shard))));
}

/* ---------- settings ---------- */

/*
 * mdb_session_settings - statements that give a node those settings of this session which results depend on.
 *
 * The zone is what it is here; the rest is fixed, so that values are read back as they were.
 */
const char *
mdb_session_settings(void)
{
	const char *routing = GetConfigOption("metricsdb.rollup_routing", true, false);

	return psprintf("SET timezone = %s; SET metricsdb.rollup_routing = %s",
					quote_literal_cstr(pg_get_timezone_name(session_timezone)),
					quote_literal_cstr(routing ? routing : "exact"));
}

/* Where the network is cut in the middle of something the node would keep its locks for hours, but for keepalives. */
static const char setup_sql[] =
	"SET search_path = pg_catalog; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; "
	"SET extra_float_digits = 3; SET bytea_output = 'hex'; SET client_connection_check_interval = '500ms'; "
	"SET idle_in_transaction_session_timeout = 0; SET default_transaction_read_only = on; "
	"SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3; "
	"SELECT e.extversion, pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, d.datlocprovider::text, "
	"CASE WHEN pg_is_in_recovery() AND pg_last_wal_receive_lsn() IS DISTINCT FROM pg_last_wal_replay_lsn() THEN "
	"coalesce(ceil(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000), 0) ELSE 0 "
	"END::int8 FROM pg_database d LEFT JOIN pg_extension e ON e.extname = 'metricsdb' WHERE d.datname = current_database()";

/* Is what the node says of itself what we need?  Sets s->alike. */
static void
check_node(MdbSession *s, const PGresult *res)
{
	HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(MyDatabaseId));
	Form_pg_database form;
	Datum collate;
	Datum ctype;
	bool isnull;
	char *version = NULL;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for database %u", MyDatabaseId);
	form = (Form_pg_database) GETSTRUCT(tuple);
	collate = SysCacheGetAttr(DATABASEOID, tuple, Anum_pg_database_datcollate, &isnull);
	ctype = SysCacheGetAttr(DATABASEOID, tuple, Anum_pg_database_datctype, &isnull);
	if (PQgetisnull(res, 0, 0))
		s->error = make_error(s->mcxt, false, ERRCODE_UNDEFINED_OBJECT,
							  "extension \"metricsdb\" is not installed in its database");
	else if (strcmp(PQgetvalue(res, 0, 1), pg_encoding_to_char(form->encoding)) != 0 ||
			 strcmp(PQgetvalue(res, 0, 2), TextDatumGetCString(collate)) != 0 ||
			 strcmp(PQgetvalue(res, 0, 3), TextDatumGetCString(ctype)) != 0 ||
			 PQgetvalue(res, 0, 4)[0] != form->datlocprovider)
	{
		s->error = make_error(s->mcxt, false, ERRCODE_COLLATION_MISMATCH,
							  "encoding or collation of its database is another one");
		s->error->detail =
			MemoryContextStrdup(s->mcxt, psprintf("The node has %s, %s, %s; the coordinator has %s, %s, %s.",
												  PQgetvalue(res, 0, 1), PQgetvalue(res, 0, 2),
												  PQgetvalue(res, 0, 3), pg_encoding_to_char(form->encoding),
												  TextDatumGetCString(collate), TextDatumGetCString(ctype)));
	}
	ReleaseSysCache(tuple);
	if (s->error)
	{
		s->state = MDB_SESSION_FAILED;
		return;
	}
	version = PQgetvalue(res, 0, 0);
	mdb_node_lags(s->node, atoll(PQgetvalue(res, 0, 5)));
	s->alike =
		PQserverVersion(s->conn) / 10000 == PG_VERSION_NUM / 10000 && strcmp(version, MDB_VERSION) == 0;
}

/* ---------- closing ---------- */

static void
unlink_session(MdbSession *s)
{
	for (MdbSession **p = &sessions; *p; p = &(*p)->next)
		if (*p == s)
		{
			*p = s->next;
			break;
		}
}

/* Close the connection, whatever it is doing. */
static void
disconnect(MdbSession *s)
{
	if (s->row)
		PQfreemem(s->row);
	s->row = NULL;
	if (s->conn)
	{
		PQfinish(s->conn);
		ReleaseExternalFD();
	}
	s->conn = NULL;
}

/*
 * mdb_session_abandon - close a connection in the middle of something; the session stays, of no use, until its reading
 * ends, as others may point to it.
 */
void
mdb_session_abandon(MdbSession *s)
{
	disconnect(s);
	s->stream = NULL;
	if (s->error == NULL)
		s->error = make_error(s->mcxt, true, ERRCODE_CONNECTION_DOES_NOT_EXIST, "connection was closed");
	s->state = MDB_SESSION_FAILED;
}

/*
 * mdb_session_orphan - nobody wants the rows that come any more.  Raises nothing and waits for nobody.  A transaction with
 * one snapshot keeps the connection.
 */
void
mdb_session_orphan(MdbSession *s)
{
	s->stream = NULL;
	if (s->reading && s->reading->whole)
		s->orphan = true;
	else
		mdb_session_abandon(s);
}

/*
 * mdb_session_close - close a connection, whatever it is doing; the session is gone.
 */
void
mdb_session_close(MdbSession *s)
{
	unlink_session(s);
	disconnect(s);
	MemoryContextDelete(s->mcxt);
}

static void
invalidate(Datum arg, int cacheid, uint32 hash)
{
	for (MdbSession *s = sessions; s; s = s->next)
		if (hash == 0 || (cacheid == FOREIGNSERVEROID && s->server_hash == hash) ||
			(cacheid == USERMAPPINGOID && s->mapping_hash == hash))
			s->stale = true;
}

/* ---------- connecting ---------- */

/* Is it one of libpq's, and not of those that are ours to set? */
static bool
is_libpq_option(const char *name)
{
	static PQconninfoOption *all = NULL;

	if (all == NULL)
		all = PQconndefaults();
	if (all == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"),
						errdetail("libpq could not list its options.")));
	if (strcmp(name, "client_encoding") == 0 || strcmp(name, "fallback_application_name") == 0)
		return false;
	for (PQconninfoOption *o = all; o->keyword; o++)
		if (strcmp(o->keyword, name) == 0)
			return strchr(o->dispchar, 'D') == NULL;
	return false;
}

static bool
password_not_required(UserMapping *mapping)
{
	ListCell *lc;

	foreach (lc, mapping->options)
		if (strcmp(lfirst_node(DefElem, lc)->defname, "password_required") == 0)
			return !defGetBoolean(lfirst_node(DefElem, lc));
	return false;
}

/* Notices of nodes are nobody's. */
static void
ignore_notice(void *arg, const char *message)
{
}

/* Is it not even tried, as its breaker is open, and trying would take long? */
static bool
is_shut(MdbSession *s)
{
	MdbHealth h = mdb_node_health(s->node, false);

	if (h.state != MDB_BREAKER_OPEN || !h.slow)
		return false;
	s->error = make_error(s->mcxt, true, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION, h.error);
	s->shut = true;
	s->error->detail = MemoryContextStrdup(
		s->mcxt, psprintf("It was not asked, since it had failed at %s.", timestamptz_to_str(h.failed_at)));
	s->state = MDB_SESSION_FAILED;
	return true;
}

/* Start to connect.  Raises an error if the user may not: connections without password are the server's own rights. */
static void
start_connecting(MdbSession *s, ForeignServer *server, UserMapping *mapping)
{
	int n = 0, seconds = CONNECT_SECONDS;
	int most = list_length(server->options) + list_length(mapping->options) + 7;
	const char **keywords = palloc(sizeof(char *) * most);
	const char **values = palloc(sizeof(char *) * most);
	bool has_password = false, keepalives = false, user_timeout = false;
	List *options = list_concat_copy(server->options, mapping->options);
	ListCell *lc;

	foreach (lc, options)
	{
		DefElem *def = lfirst_node(DefElem, lc);

		if (!is_libpq_option(def->defname))
			continue;
		keywords[n] = def->defname;
		values[n++] = defGetString(def);
		if (strcmp(def->defname, "password") == 0)
			has_password = defGetString(def)[0] != '\0';
		else if (strcmp(def->defname, "connect_timeout") == 0)
		{
			seconds = atoi(defGetString(def));
			s->patient = true;
		}
		else if (strcmp(def->defname, "tcp_user_timeout") == 0)
			user_timeout = true;
		else if (strncmp(def->defname, "keepalives", 10) == 0)
			keepalives = true;
	}
	s->checks_password = !superuser_arg(s->user) && !password_not_required(mapping);
	if (s->checks_password && !has_password)
		ereport(ERROR, (errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
						errmsg("password is required to read from node \"%s\"", s->node),
						errdetail("Who is no superuser must provide a password in the user mapping."),
						errhint("ALTER USER MAPPING ... OPTIONS (ADD password ...)")));
	if (!keepalives)
	{
		keywords[n] = "keepalives_idle";
		values[n++] = "2";
		keywords[n] = "keepalives_interval";
		values[n++] = "1";
		keywords[n] = "keepalives_count";
		values[n++] = "3";
	}
	if (!user_timeout)
	{
		keywords[n] = "tcp_user_timeout";
		values[n++] = UNACKNOWLEDGED;
	}
	keywords[n] = "fallback_application_name";
	values[n++] = MDB_EXTENSION;
	keywords[n] = "client_encoding";
	values[n++] = GetDatabaseEncodingName();
	keywords[n] = values[n] = NULL;

	if (!AcquireExternalFD())
		ereport(ERROR, (errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
						errmsg("could not connect to node \"%s\"", s->node),
						errdetail("There are too many open files on the local server."),
						errhint("Raise the server's max_files_per_process and/or \"ulimit -n\" limits.")));
	s->conn = PQconnectStartParams(keywords, values, false);
	if (s->conn == NULL)
	{
		ReleaseExternalFD();
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	}
	(void) PQsetNoticeProcessor(s->conn, ignore_notice, NULL);
	s->state = MDB_SESSION_CONNECTING;
	s->polling = PGRES_POLLING_WRITING;
	s->give_up = seconds <= 0 ? DT_NOEND : TimestampTzPlusMilliseconds(GetCurrentTimestamp(), seconds * 1000);
	if (PQstatus(s->conn) == CONNECTION_BAD)
		mdb_session_fail(s, NULL);
}

static MdbSession *
new_session(const MdbNode *node, Oid user, bool insist)
{
	ForeignServer *server;
	UserMapping *mapping;
	MemoryContext mcxt;
	MdbSession *s;

	if (!OidIsValid(node->server))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("node \"%s\" has no server any more", node->name),
				 errhint("Make the server anew, or call metricsdb.remove_node('%s').", node->name)));
	server = GetForeignServer(node->server);
	mapping = GetUserMapping(user, node->server);
	mcxt = AllocSetContextCreate(TopMemoryContext, "metricsdb node", ALLOCSET_SMALL_SIZES);
	s = MemoryContextAllocZero(mcxt, sizeof(MdbSession));
	s->mcxt = mcxt;
	s->server = node->server;
	s->user = user;
	s->node = MemoryContextStrdup(mcxt, node->name);
	s->shard = MemoryContextStrdup(mcxt, node->shard);
	s->server_hash = GetSysCacheHashValue1(FOREIGNSERVEROID, ObjectIdGetDatum(server->serverid));
	s->mapping_hash = GetSysCacheHashValue1(USERMAPPINGOID, ObjectIdGetDatum(mapping->umid));
	s->asked_at = GetCurrentTimestamp();
	s->next = sessions;
	sessions = s;
	if (!insist && is_shut(s))
		return s;
	PG_TRY();
	{
		start_connecting(s, server, mapping);
	}
	PG_CATCH();
	{
		mdb_session_close(s);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return s;
}

/* Read what has come of the first statements. */
static void
continue_setting_up(MdbSession *s)
{
	PGresult *res;

	if (!PQconsumeInput(s->conn))
	{
		mdb_session_fail(s, NULL);
		return;
	}
	while (s->state == MDB_SESSION_SETTING_UP && !PQisBusy(s->conn))
	{
		res = PQgetResult(s->conn);
		if (res == NULL)
			s->state = MDB_SESSION_READY;
		else if (PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == 1)
			check_node(s, res);
		else if (PQresultStatus(res) != PGRES_COMMAND_OK)
			mdb_session_fail(s, res);
		PQclear(res);
	}
}

static void
continue_connecting(MdbSession *s)
{
	if (s->state == MDB_SESSION_SETTING_UP)
	{
		continue_setting_up(s);
		return;
	}
	s->polling = PQconnectPoll(s->conn);
	if (s->polling == PGRES_POLLING_FAILED)
		mdb_session_fail(s, NULL);
	else if (s->polling == PGRES_POLLING_OK)
	{
		if (s->checks_password && !PQconnectionUsedPassword(s->conn))
		{
			s->error = make_error(s->mcxt, false, ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED,
								  "password is required");
			s->error->detail = MemoryContextStrdup(s->mcxt, "The node did not ask for one.");
			s->error->hint = MemoryContextStrdup(s->mcxt, "Its authentication method must be changed.");
			s->state = MDB_SESSION_FAILED;
		}
		else if (!PQsendQuery(s->conn, setup_sql))
			mdb_session_fail(s, NULL);
		else
			s->state = MDB_SESSION_SETTING_UP;
	}
}

static bool
is_connecting(const MdbSession *s)
{
	return s->state == MDB_SESSION_CONNECTING || s->state == MDB_SESSION_SETTING_UP;
}

/* Wait for what comes next on any of the sessions; the first one that gives up in vain does. */
static void
wait_connecting(List *list)
{
	WaitEventSet *set = mdb_wait_set(list_length(list) + 2);
	WaitEvent events[16];
	TimestampTz first = DT_NOEND;
	long timeout = -1;
	ListCell *lc;
	int n;

	foreach (lc, list)
	{
		MdbSession *s = lfirst(lc);

		if (!is_connecting(s))
			continue;
		first = Min(first, s->give_up);
		AddWaitEventToSet(set,
						  s->state == MDB_SESSION_CONNECTING && s->polling == PGRES_POLLING_WRITING
							  ? WL_SOCKET_WRITEABLE
							  : WL_SOCKET_READABLE,
						  PQsocket(s->conn), NULL, s);
	}
	if (first != DT_NOEND)
		timeout = Max(0, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), first));
	n = WaitEventSetWait(set, timeout, events, lengthof(events), PG_WAIT_EXTENSION);
	FreeWaitEventSet(set);
	for (int i = 0; i < n; i++)
		if (events[i].events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		else
			continue_connecting(events[i].user_data);
	CHECK_FOR_INTERRUPTS();
	foreach (lc, list)
	{
		MdbSession *s = lfirst(lc);

		if (is_connecting(s) && s->give_up != DT_NOEND && GetCurrentTimestamp() >= s->give_up)
		{
			s->error = make_error(s->mcxt, true, ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
								  "connecting has taken too long");
			s->state = MDB_SESSION_FAILED;
		}
	}
}

/*
 * mdb_sessions_establish - wait until each session of a list is ready or has failed; all connect at once.
 */
void
mdb_sessions_establish(List *list)
{
	for (;;)
	{
		bool waits = false;
		ListCell *lc;

		foreach (lc, list)
			waits = waits || is_connecting(lfirst(lc));
		if (!waits)
			return;
		wait_connecting(list);
	}
}

/*
 * mdb_session_hurry - wait no longer than that for a connection, unless the server's options say how long.
 */
void
mdb_session_hurry(MdbSession *s, int milliseconds)
{
	if (s->state == MDB_SESSION_CONNECTING && !s->patient)
		s->give_up = Min(s->give_up, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds));
}

/*
 * mdb_session_blame - tell the node's breaker of a session that was lost, or could not be had.  One that was not tried, as
 * the breaker is open, is no news.
 */
void
mdb_session_blame(const MdbSession *s)
{
	if (s->error && s->error->lost && !s->shut)
		mdb_node_failed(s->node, s->error->message, s->asked_at);
}

/* ---------- transactions ---------- */

/*
 * mdb_session_wait - wait for something to be read from a node; milliseconds: no longer than that, -1 = for ever.
 */
void
mdb_session_wait(MdbSession *s, long milliseconds)
{
	int events = WaitLatchOrSocket(MyLatch,
								   WL_LATCH_SET | WL_SOCKET_READABLE | WL_EXIT_ON_PM_DEATH |
									   (milliseconds >= 0 ? WL_TIMEOUT : 0),
								   PQsocket(s->conn), milliseconds, PG_WAIT_EXTENSION);

	if (events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Read rows and forget them; true at their end, false if one must wait for some. */
static bool
discard_rows(MdbSession *s)
{
	char *row;
	int n;

	while ((n = PQgetCopyData(s->conn, &row, true)) > 0)
	{
		PQfreemem(row);
		CHECK_FOR_INTERRUPTS();
	}
	return n != 0;
}

/*
 * mdb_session_settle - read what is left of the statements before; false if the connection turns out to be dead.
 */
bool
mdb_session_settle(MdbSession *s)
{
	while (s->unsettled || s->orphan)
	{
		ExecStatusType status;
		PGresult *res;

		if (!PQconsumeInput(s->conn))
			return false;
		if (PQisBusy(s->conn))
		{
			mdb_session_wait(s, -1);
			continue;
		}
		res = PQgetResult(s->conn);
		status = res ? PQresultStatus(res) : PGRES_EMPTY_QUERY;
		PQclear(res);
		if (res == NULL)
			s->unsettled = s->orphan = false;
		else if (status == PGRES_COPY_OUT && s->orphan)
		{
			if (!discard_rows(s))
				mdb_session_wait(s, -1);
		}
		else if (status != PGRES_COMMAND_OK && !s->orphan)
			return false;
	}
	return PQstatus(s->conn) == CONNECTION_OK;
}

/*
 * mdb_session_run - one or more statements, in order, with their last result; the caller clears it.
 *
 * For what is not read in streams.  Raises the node's error.
 */
PGresult *
mdb_session_run(MdbSession *s, const char *sql)
{
	PGresult *last = NULL;

	if (s->state != MDB_SESSION_READY)
		mdb_node_error(s->node, s->shard, s->error, NULL);
	if (!mdb_session_settle(s) || !PQsendQuery(s->conn, sql))
	{
		mdb_session_fail(s, NULL);
		mdb_node_error(s->node, s->shard, s->error, NULL);
	}
	for (;;)
	{
		PGresult *res;

		while (PQisBusy(s->conn))
		{
			mdb_session_wait(s, -1);
			if (!PQconsumeInput(s->conn))
			{
				mdb_session_fail(s, NULL);
				mdb_node_error(s->node, s->shard, s->error, NULL);
			}
		}
		res = PQgetResult(s->conn);
		if (res == NULL)
			return last;
		PQclear(last);
		last = res;
		if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK)
		{
			mdb_session_fail(s, res);
			PQclear(res);
			mdb_node_error(s->node, s->shard, s->error, sql);
		}
	}
}

/* ---------- readings ---------- */

/* Is there another session like this one that nobody has? */
static bool
has_free_one(const MdbSession *s)
{
	for (MdbSession *o = sessions; o; o = o->next)
		if (o != s && o->reading == NULL && o->server == s->server && o->user == s->user)
			return true;
	return false;
}

/* Give back a session.  Raises nothing, waits for nothing. */
static void
release(MdbSession *s)
{
	s->reading = NULL;
	s->told = false;
	if (s->row)
		PQfreemem(s->row);
	s->row = NULL;
	if (s->state != MDB_SESSION_READY || s->stream != NULL || s->stale || s->writes || proc_exit_inprogress ||
		PQstatus(s->conn) != CONNECTION_OK || PQtransactionStatus(s->conn) == PQTRANS_INERROR ||
		(!s->unsettled && PQtransactionStatus(s->conn) == PQTRANS_ACTIVE))
	{
		mdb_session_close(s);
		return;
	}
	/* Who must have a connection of his own would leave one more each time. */
	if (s->own && has_free_one(s))
	{
		mdb_session_close(s);
		return;
	}
	s->kept = true;
	if (!s->in_xact)
		return;
	s->in_xact = false;
	s->unsettled = true;
	if (!PQsendQuery(s->conn, "COMMIT"))
		mdb_session_close(s);
}

static void
reading_gone(void *arg)
{
	MdbReading *r = arg;

	for (MdbSession *s = sessions, *next; s; s = next)
	{
		next = s->next;
		if (s->reading == r)
			release(s);
	}
	for (MdbReading **p = &readings; *p; p = &(*p)->next)
		if (*p == r)
		{
			*p = r->next;
			break;
		}
}

/*
 * mdb_reading_begin - a reading that lasts as long as a memory context.
 */
MdbReading *
mdb_reading_begin(MemoryContext mcxt)
{
	static bool registered = false;
	MdbReading *r = MemoryContextAllocZero(mcxt, sizeof(MdbReading));

	if (!registered)
	{
		CacheRegisterSyscacheCallback(FOREIGNSERVEROID, invalidate, (Datum) 0);
		CacheRegisterSyscacheCallback(USERMAPPINGOID, invalidate, (Datum) 0);
		registered = true;
	}
	r->callback.func = reading_gone;
	r->callback.arg = r;
	r->next = readings;
	readings = r;
	MemoryContextRegisterResetCallback(mcxt, &r->callback);
	return r;
}

/*
 * mdb_reading_end - before its time: sessions are given back, and nothing may be read with it any more.
 */
void
mdb_reading_end(MdbReading *r)
{
	reading_gone(r);
}

/*
 * mdb_reading_of - what an executor reads with.  In a transaction with one snapshot all its queries read with the same.
 */
MdbReading *
mdb_reading_of(EState *estate)
{
	bool whole = IsolationUsesXactSnapshot();
	MdbReading *r;

	if (whole)
		estate = NULL;
	for (r = readings; r; r = r->next)
		if (r->whole == whole && r->estate == estate)
			return r;
	r = mdb_reading_begin(whole ? TopTransactionContext : estate->es_query_cxt);
	r->estate = estate;
	r->whole = whole;
	return r;
}

/*
 * mdb_session_of_shard - the session with which a reading reads a shard; NULL if it has none.
 *
 * Raises an error if it had one, has used rows of it, and has lost it: another one has another snapshot.
 */
MdbSession *
mdb_session_of_shard(const MdbReading *r, const char *shard, Oid user)
{
	for (MdbSession *s = sessions; s; s = s->next)
	{
		if (s->reading != r || s->user != user || strcmp(s->shard, shard) != 0)
			continue;
		if (s->state != MDB_SESSION_FAILED)
			return s;
		if (s->told)
			mdb_node_error(s->node, s->shard, s->error, NULL);
	}
	return NULL;
}

/*
 * mdb_session_take - a session with a node for a reading; fresh: a connection of its own, none that was kept.
 *
 * It may be connecting still: mdb_sessions_establish().
 */
MdbSession *
mdb_session_take(MdbReading *r, const MdbNode *node, Oid user, bool fresh)
{
	MdbSession *s, *next;

	for (s = sessions; s && !fresh; s = next)
	{
		next = s->next;
		if (s->reading != NULL || s->server != node->server || s->user != user)
			continue;
		if (s->stale || s->state != MDB_SESSION_READY || PQstatus(s->conn) != CONNECTION_OK ||
			strcmp(s->shard, node->shard) != 0 || strcmp(s->node, node->name) != 0)
		{
			mdb_session_close(s);
			continue;
		}
		s->reading = r;
		return s;
	}
	s = new_session(node, user, r->insists);
	s->own = fresh;
	s->reading = r;
	return s;
}
