/*
 * nodes.c
 *	  Nodes and their shards: the catalog metricsdb.node, and the functions that change it.
 *
 * Read when a scan starts, so that no plan knows of nodes.  In which order those of a shard are asked is a matter of how
 * they do (health.c), and of their numbers.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_foreign_server.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "dist/admin.h"
#include "dist/dist.h"
#include "dist/health.h"
#include "dist/write.h"
#include "metricsdb.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(mdb_add_node);
PG_FUNCTION_INFO_V1(mdb_remove_node);
PG_FUNCTION_INFO_V1(mdb_drain_node);

#define LAG_STEP_MS 5000 /* less makes no difference */

enum
{
	Anum_node_name = 1,
	Anum_node_shard,
	Anum_node_replica,
	Anum_node_draining,
	Anum_node_own_server,
	Anum_node_added_at,
	Anum_node_state,
	Natts_node = Anum_node_state
};

/* ---------- the catalog ---------- */

static int
node_cmp(const ListCell *a, const ListCell *b)
{
	const MdbNode *x = lfirst(a), *y = lfirst(b);
	int c = strcmp(x->shard, y->shard);

	return c != 0 ? c : (x->replica > y->replica) - (x->replica < y->replica);
}

/*
 * mdb_nodes - all nodes, MdbNode, by shard and replica, in CurrentMemoryContext.
 */
List *
mdb_nodes(void)
{
	Relation rel = mdb_catalog_open("node", AccessShareLock);
	Snapshot snapshot = mdb_latest_snapshot();
	MdbCatalogScan scan;
	HeapTuple tuple;
	List *list = NIL;

	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 0, NULL);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		MdbNode *node = palloc0(sizeof(MdbNode));
		Datum v[Natts_node];
		bool n[Natts_node];

		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		node->name = TextDatumGetCString(v[Anum_node_name - 1]);
		node->shard = TextDatumGetCString(v[Anum_node_shard - 1]);
		node->replica = DatumGetInt32(v[Anum_node_replica - 1]);
		node->draining = DatumGetBool(v[Anum_node_draining - 1]);
		node->own_server = DatumGetBool(v[Anum_node_own_server - 1]);
		node->state = TextDatumGetCString(v[Anum_node_state - 1]);
		node->server = get_foreign_server_oid(node->name, true);
		list = lappend(list, node);
	}
	mdb_catalog_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	list_sort(list, node_cmp);
	return list;
}

/* A replica, and what speaks for it: less is better. */
typedef struct Choice
{
	MdbNode *node;
	int failing;
	int64 lag;
	int32 number;
} Choice;

static int
choice_cmp(const void *a, const void *b)
{
	const Choice *x = a, *y = b;

	if (x->failing != y->failing)
		return x->failing - y->failing;
	if (x->lag != y->lag)
		return x->lag < y->lag ? -1 : 1;
	return x->number - y->number;
}

/* Healthy ones first, of them those that are least behind; one whose breaker is half-open gets its chance. */
static void
order_replicas(MdbShard *shard)
{
	int n = list_length(shard->nodes);
	Choice *choices = palloc(sizeof(Choice) * n);
	List *ordered = NIL;
	ListCell *lc;

	if (n == 1)
		return;
	foreach (lc, shard->nodes)
	{
		MdbNode *node = lfirst(lc);
		MdbHealth h = mdb_node_health(node->name, true);

		choices[foreach_current_index(lc)] = (Choice){.node = node,
													  .failing = h.state == MDB_BREAKER_OPEN || h.probed,
													  .lag = h.lag_ms / LAG_STEP_MS,
													  .number = foreach_current_index(lc)};
	}
	qsort(choices, n, sizeof(Choice), choice_cmp);
	for (int i = 0; i < n; i++)
		ordered = lappend(ordered, choices[i].node);
	shard->nodes = ordered;
}

/*
 * mdb_node_is - is a node in that state?
 */
bool
mdb_node_is(const MdbNode *node, const char *state)
{
	return strcmp(node->state, state) == 0;
}

/*
 * mdb_all_shards - all shards, MdbShard, with their nodes by number.
 */
List *
mdb_all_shards(void)
{
	List *shards = NIL;
	ListCell *ln;

	foreach (ln, mdb_nodes())
	{
		MdbNode *node = lfirst(ln);
		MdbShard *shard = shards == NIL ? NULL : llast(shards);

		if (!mdb_node_is(node, MDB_NODE_WHOLE))
			continue;
		if (shard == NULL || strcmp(shard->name, node->shard) != 0)
		{
			shard = palloc0(sizeof(MdbShard));
			shard->name = node->shard;
			shards = lappend(shards, shard);
		}
		shard->nodes = lappend(shard->nodes, node);
	}
	return shards;
}

/*
 * mdb_shards - the same for who is going to ask a node of each: in the order in which they are to be asked.
 */
List *
mdb_shards(void)
{
	List *shards = mdb_all_shards();
	ListCell *lc;

	foreach (lc, shards)
		order_replicas(lfirst(lc));
	return shards;
}

static MdbNode *
find_node(List *nodes, const char *name)
{
	ListCell *lc;

	foreach (lc, nodes)
		if (strcmp(((MdbNode *) lfirst(lc))->name, name) == 0)
			return lfirst(lc);
	return NULL;
}

/*
 * mdb_run_sql - statements of the extension's own, as who calls; names in them are whole.
 */
uint64
mdb_run_sql(const char *sql)
{
	uint64 rows;
	int rc;

	SPI_connect();
	rc = SPI_execute(sql, false, 0);
	if (rc < 0)
		elog(ERROR, "statement failed: %s: %s", SPI_result_code_string(rc), sql);
	rows = SPI_processed;
	SPI_finish();
	return rows;
}

static void
need_superuser(void)
{
	if (!superuser())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be superuser to change which nodes there are")));
}

/* Nobody else changes nodes, or which tables are distributed, until the end of the transaction. */
static void
lock_nodes(void)
{
	table_close(mdb_catalog_open("node", ShareRowExclusiveLock), NoLock);
}

/* ---------- servers ---------- */

/* Is it one for user mappings? */
static bool
is_of_user(const char *keyword)
{
	return strcmp(keyword, "user") == 0 || strcmp(keyword, "password") == 0 ||
		   strcmp(keyword, "sslpassword") == 0;
}

static void
append_option(StringInfo buf, const char *verb, const char *name, const char *value)
{
	if (buf->len > 0)
		appendStringInfoString(buf, ", ");
	appendStringInfo(buf, "%s%s %s", verb, quote_identifier(name), quote_literal_cstr(value));
}

static bool
has_option(List *options, const char *name)
{
	ListCell *lc;

	foreach (lc, options)
		if (strcmp(lfirst_node(DefElem, lc)->defname, name) == 0)
			return true;
	return false;
}

static const char *
verb_for(bool exists, List *options, const char *name)
{
	return !exists ? "" : has_option(options, name) ? "SET " : "ADD ";
}

/* Options of the caller's mapping for a server; *exists: is there one of his own? */
static List *
mapping_options(Oid server, bool *exists)
{
	UserMapping *mapping;
	uint64 n;

	*exists = false;
	if (!OidIsValid(server))
		return NIL;
	n = mdb_run_sql(psprintf("SELECT FROM pg_catalog.pg_user_mapping WHERE umserver = %u AND umuser = %u",
							 server, GetUserId()));
	if (n == 0)
		return NIL;
	*exists = true;
	mapping = GetUserMapping(GetUserId(), server);
	return mapping->options;
}

static bool
is_postgres_fdw(Oid server)
{
	ForeignServer *s = GetForeignServer(server);

	return strcmp(GetForeignDataWrapper(s->fdwid)->fdwname, "postgres_fdw") == 0;
}

/* Make a server and the caller's user mapping of a connection string, or change them to it. */
static bool
make_server(const char *name, const char *conninfo)
{
	Oid server = get_foreign_server_oid(name, true);
	bool exists = OidIsValid(server), mapped, has_user = false, has_dbname = false;
	List *server_options = exists ? GetForeignServer(server)->options : NIL;
	List *user_options = mapping_options(server, &mapped);
	StringInfoData s, u;
	char *message = NULL;
	PQconninfoOption *all = PQconninfoParse(conninfo, &message);

	if (all == NULL)
	{
		char *copy = pstrdup(message ? message : "out of memory");

		PQfreemem(message);
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR), errmsg("connection string of node \"%s\" is malformed", name),
				 errdetail_internal("%s", pchomp(copy))));
	}
	initStringInfo(&s);
	initStringInfo(&u);
	for (PQconninfoOption *o = all; o->keyword; o++)
	{
		if (o->val == NULL)
			continue;
		has_user = has_user || strcmp(o->keyword, "user") == 0;
		has_dbname = has_dbname || strcmp(o->keyword, "dbname") == 0;
		if (is_of_user(o->keyword))
			append_option(&u, verb_for(mapped, user_options, o->keyword), o->keyword, o->val);
		else
			append_option(&s, verb_for(exists, server_options, o->keyword), o->keyword, o->val);
	}
	PQconninfoFree(all);
	if (!has_dbname && !has_option(server_options, "dbname"))
		append_option(&s, exists ? "ADD " : "", "dbname", get_database_name(MyDatabaseId));
	if (!has_user && !has_option(user_options, "user"))
		append_option(&u, mapped ? "ADD " : "", "user", GetUserNameFromId(GetUserId(), false));
	if (!exists)
		mdb_run_sql(psprintf("CREATE SERVER %s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (%s)",
							 quote_identifier(name), s.data));
	else if (s.len > 0)
		mdb_run_sql(psprintf("ALTER SERVER %s OPTIONS (%s)", quote_identifier(name), s.data));
	if (!mapped)
		mdb_run_sql(psprintf("CREATE USER MAPPING FOR CURRENT_USER SERVER %s OPTIONS (%s)",
							 quote_identifier(name), u.data));
	else if (u.len > 0)
		mdb_run_sql(psprintf("ALTER USER MAPPING FOR CURRENT_USER SERVER %s OPTIONS (%s)",
							 quote_identifier(name), u.data));
	CommandCounterIncrement();
	return !exists;
}

/* The server and what mappings it has go, unless foreign tables are there. */
static void
drop_server(const char *name, Oid server)
{
	if (mdb_run_sql(psprintf("SELECT FROM pg_catalog.pg_foreign_table WHERE ftserver = %u", server)) > 0)
	{
		ereport(NOTICE, (errmsg("server \"%s\" stays, as there are foreign tables on it", name)));
		return;
	}
	mdb_run_sql(psprintf("DROP SERVER %s CASCADE", quote_identifier(name)));
}

/* ---------- functions ---------- */

static int32
next_replica(List *nodes, const char *shard)
{
	int32 next = 1;
	ListCell *lc;

	foreach (lc, nodes)
	{
		const MdbNode *node = lfirst(lc);

		if (strcmp(node->shard, shard) == 0)
			next = Max(next, node->replica + 1);
	}
	return next;
}

static char *
text_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static void
insert_node(const MdbNode *node)
{
	Relation rel = mdb_catalog_open("node", RowExclusiveLock);
	Datum values[Natts_node] = {CStringGetTextDatum(node->name), CStringGetTextDatum(node->shard),
								Int32GetDatum(node->replica),    BoolGetDatum(node->draining),
								BoolGetDatum(node->own_server),  TimestampTzGetDatum(GetCurrentTimestamp()),
								CStringGetTextDatum(node->state)};
	bool nulls[Natts_node] = {false};

	(void) mdb_catalog_insert(rel, values, nulls, GetCurrentCommandId(true), 0);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

/* A replica of what others have counts when it has it, too: see evict.c. */
static char *
state_of_new(List *nodes, const char *shard)
{
	ListCell *lc;

	if (mdb_distributed_tables() != NIL)
		foreach (lc, nodes)
		{
			const MdbNode *other = lfirst(lc);

			if (strcmp(other->shard, shard) == 0 && mdb_node_is(other, MDB_NODE_WHOLE))
				return MDB_NODE_JOINING;
		}
	return MDB_NODE_WHOLE;
}

/*
 * mdb_add_node - add_node(name, conninfo, shard, replica).
 */
Datum
mdb_add_node(PG_FUNCTION_ARGS)
{
	char *name = text_arg(fcinfo, 0), *conninfo = text_arg(fcinfo, 1), *shard = text_arg(fcinfo, 2);
	List *nodes;
	MdbNode *old, node = {0};
	ListCell *lc;

	need_superuser();
	if (name == NULL || name[0] == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a node must have a name"),
						errdetail("It is that of its server: 1 to %d bytes.", NAMEDATALEN - 1)));
	if (!OidIsValid(get_foreign_data_wrapper_oid("postgres_fdw", true)))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("extension \"postgres_fdw\" is not installed"),
						errdetail("Nodes are servers of it."), errhint("CREATE EXTENSION postgres_fdw")));
	lock_nodes();
	nodes = mdb_nodes();
	old = find_node(nodes, name);
	shard = shard ? shard : old ? old->shard : name;
	node.name = name;
	node.shard = shard;
	node.state = old ? old->state : state_of_new(nodes, shard);
	node.replica = !PG_ARGISNULL(3) ? PG_GETARG_INT32(3) : old ? old->replica : next_replica(nodes, shard);
	if (old && (strcmp(old->shard, shard) != 0 || old->replica != node.replica))
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("node \"%s\" exists already", name),
						errdetail("It is replica %d of shard \"%s\".", old->replica, old->shard),
						errhint("Call metricsdb.remove_node('%s') first.", name)));
	foreach (lc, nodes)
	{
		const MdbNode *other = lfirst(lc);

		if (other != old && strcmp(other->shard, shard) == 0 && other->replica == node.replica)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("replica %d of shard \"%s\" is node \"%s\"", node.replica, shard, other->name)));
	}
	if (conninfo)
		node.own_server = make_server(name, conninfo);
	node.server = get_foreign_server_oid(name, true);
	if (!OidIsValid(node.server) || !is_postgres_fdw(node.server))
		ereport(
			ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no server \"%s\" of postgres_fdw", name),
			 errhint("Make it with CREATE SERVER and CREATE USER MAPPING, or pass a connection string.")));
	if (!old)
		insert_node(&node);
	mdb_prepare_nodes(list_make1(&node), mdb_distributed_tables(), false);
	if (!old && mdb_node_is(&node, MDB_NODE_JOINING))
		ereport(NOTICE, (errmsg("node \"%s\" does not count yet", name),
						 errdetail("Other nodes of shard \"%s\" may have rows that it lacks.", shard),
						 errhint("Call metricsdb.assign_partitions() for each Kafka source, and "
								 "metricsdb.rejoin_node('%s') when it has all.",
								 name)));
	PG_RETURN_VOID();
}

/*
 * mdb_remove_node - remove_node(name, force).
 */
Datum
mdb_remove_node(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	List *nodes, *tables;
	MdbNode *node;
	bool is_last = true;
	ListCell *lc;

	need_superuser();
	lock_nodes();
	nodes = mdb_nodes();
	node = find_node(nodes, name);
	if (node == NULL)
		PG_RETURN_BOOL(false);
	foreach (lc, nodes)
		is_last =
			is_last && (lfirst(lc) == node || strcmp(((MdbNode *) lfirst(lc))->shard, node->shard) != 0);
	tables = mdb_distributed_tables();
	if (is_last && tables != NIL && !PG_GETARG_BOOL(1))
		mdb_check_empty(node, tables);
	mdb_run_sql(psprintf("DELETE FROM metricsdb.node WHERE name OPERATOR(pg_catalog.=) %s",
						 quote_literal_cstr(name)));
	if (node->own_server && OidIsValid(node->server))
		drop_server(name, node->server);
	PG_RETURN_BOOL(true);
}

/*
 * mdb_drain_node - drain_node(name, drain, move_rows).
 */
Datum
mdb_drain_node(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool drain = PG_GETARG_BOOL(1);
	MdbNode *node;

	need_superuser();
	lock_nodes();
	node = find_node(mdb_nodes(), name);
	if (node == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("node \"%s\" does not exist", name)));
	if (PG_GETARG_BOOL(2) && !drain)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("rows are moved from a node that is drained only")));
	if (node->draining != drain)
	{
		mdb_run_sql(psprintf("UPDATE metricsdb.node SET draining = %s WHERE name OPERATOR(pg_catalog.=) %s",
							 drain ? "true" : "false", quote_literal_cstr(name)));
		CommandCounterIncrement();
	}
	if (PG_GETARG_BOOL(2))
		mdb_move_shard(node);
	PG_RETURN_BOOL(node->draining != drain);
}
