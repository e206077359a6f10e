/*
 * assign.c
 *	  Which shard reads which of a topic's partitions: what the coordinator tells the nodes.
 *
 * Nodes have the epochs (src/ingest/assign.c) and go on by themselves.  Here they are compared and changed:
 *
 *	1. All nodes that are not evicted are asked what they have, and locked against others who change it.
 *	2. What a node lacks of its shard's epochs it is told.
 *	3. For each partition that is to go to another shard all replicas of the one before are told an end, until all have
 *	   the same: none lies before what any of them has stored.  This is committed.
 *	4. Then the new shard's replicas are told to begin there.
 *
 * Whatever is interrupted, the next call goes on: an end without a beginning is completed by 4, a beginning that not all
 * replicas have by 2.  As all nodes are asked, nothing is concluded from our own copy; a node that does not answer must be
 * evicted first, and nothing of it counts then: what it has read is read again by others.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/tuplestore.h"

#include "dist/admin.h"
#include "dist/together.h"
#include "metricsdb.h"
#include "series/guard.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(mdb_create_distributed_source);
PG_FUNCTION_INFO_V1(mdb_drop_distributed_source);
PG_FUNCTION_INFO_V1(mdb_assign_partitions);
PG_FUNCTION_INFO_V1(mdb_pause_distributed_source);
PG_FUNCTION_INFO_V1(mdb_resume_distributed_source);
PG_FUNCTION_INFO_V1(mdb_seek_distributed_source);
PG_FUNCTION_INFO_V1(mdb_distributed_source_status);

#define OPEN (-1) /* an end that is not known */

static const char begin_sql[] =
	"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL synchronous_commit = on; "
	"SET LOCAL idle_in_transaction_session_timeout = '1min'";

typedef struct Epoch
{
	int32 partition;
	int64 epoch;
	char *shard;
	int64 from;
	int64 to; /* OPEN, or the most that a replica says */
} Epoch;

/* A node, and what it has. */
typedef struct Holder
{
	MdbNode *node;
	MdbSession *session;
	List *epochs; /* of Epoch */
	StringInfoData todo;
} Holder;

/* A partition that is to be read by another shard. */
typedef struct Move
{
	int32 partition;
	Epoch *before; /* NULL: nobody has read it */
	char *shard;
	int64 at;
} Move;

typedef struct Source
{
	char *name;
	Oid table;
	char *brokers;
	char *topic;
	char *format;
	char *unit;
	char *options;
	char *secrets; /* NULL: none, or not known */
	List *holders;
	List *sessions; /* theirs */
	List *epochs;   /* of Epoch: what all nodes have, by partition and epoch */
	int npartitions;
	int64 *low;
	int64 *high;
} Source;

/* ---------- epochs ---------- */

static Epoch *
find_epoch(List *epochs, int32 partition, int64 epoch)
{
	ListCell *lc;

	foreach (lc, epochs)
	{
		Epoch *e = lfirst(lc);

		if (e->partition == partition && e->epoch == epoch)
			return e;
	}
	return NULL;
}

/* The last one of a partition. */
static Epoch *
last_epoch(List *epochs, int32 partition)
{
	Epoch *last = NULL;
	ListCell *lc;

	foreach (lc, epochs)
	{
		Epoch *e = lfirst(lc);

		if (e->partition == partition && (last == NULL || e->epoch > last->epoch))
			last = e;
	}
	return last;
}

static int
epoch_cmp(const ListCell *a, const ListCell *b)
{
	const Epoch *x = lfirst(a), *y = lfirst(b);

	if (x->partition != y->partition)
		return x->partition < y->partition ? -1 : 1;
	return (x->epoch > y->epoch) - (x->epoch < y->epoch);
}

static int64
result_int8(const PGresult *res, int row, int column)
{
	return PQgetisnull(res, row, column) ? OPEN : strtoll(PQgetvalue(res, row, column), NULL, 10);
}

/* What a node has, into its list and that of all. */
static void
take_epochs(Source *src, Holder *h, const PGresult *res)
{
	for (int i = 0; i < PQntuples(res); i++)
	{
		Epoch *e = palloc0(sizeof(Epoch)), *known;

		e->partition = atoi(PQgetvalue(res, i, 0));
		e->epoch = result_int8(res, i, 1);
		e->shard = pstrdup(PQgetvalue(res, i, 2));
		e->from = result_int8(res, i, 3);
		e->to = result_int8(res, i, 4);
		h->epochs = lappend(h->epochs, e);
		known = find_epoch(src->epochs, e->partition, e->epoch);
		if (known && (strcmp(known->shard, e->shard) != 0 || known->from != e->from))
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
							errmsg("nodes differ about epoch " INT64_FORMAT
								   " of partition %d of Kafka source \"%s\"",
								   e->epoch, e->partition, src->name),
							errdetail("Node \"%s\" has it for shard \"%s\" from offset " INT64_FORMAT
									  ", others for \"%s\" from " INT64_FORMAT ".",
									  h->node->name, e->shard, e->from, known->shard, known->from)));
		if (strcmp(e->shard, h->node->shard) != 0)
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
							errmsg("node \"%s\" has epochs of shard \"%s\"", h->node->name, e->shard),
							errdetail("It is one of shard \"%s\".", h->node->shard)));
		if (known)
			known->to = Max(known->to, e->to);
		else
		{
			known = palloc(sizeof(Epoch));
			*known = *e;
			src->epochs = lappend(src->epochs, known);
		}
	}
}

/* ---------- nodes ---------- */

static List *
holders_of(Source *src, const char *shard)
{
	List *list = NIL;
	ListCell *lc;

	foreach (lc, src->holders)
		if (strcmp(((Holder *) lfirst(lc))->node->shard, shard) == 0)
			list = lappend(list, lfirst(lc));
	return list;
}

/* Sessions with all nodes that are not evicted. */
static void
connect(Source *src, MdbReading *r)
{
	ListCell *lc;

	foreach (lc, mdb_nodes())
	{
		Holder *h;

		if (mdb_node_is(lfirst(lc), MDB_NODE_EVICTED))
			continue;
		h = palloc0(sizeof(Holder));
		h->node = lfirst(lc);
		h->session = mdb_session_take(r, h->node, GetUserId(), true);
		initStringInfo(&h->todo);
		src->holders = lappend(src->holders, h);
		src->sessions = lappend(src->sessions, h->session);
	}
	mdb_sessions_establish(src->sessions);
	foreach (lc, src->sessions)
	{
		MdbSession *s = lfirst(lc);

		if (s->state != MDB_SESSION_READY)
			ereport(ERROR,
					(errcode(s->error->sqlstate), errmsg("node \"%s\": %s", s->node, s->error->message),
					 errdetail("What it reads is not known, so that nobody else can be told what to read."),
					 errhint("Wait until it is back, or call metricsdb.evict_node('%s').", s->node)));
	}
}

/* Run what each node is to do, and hand the results to fn if there is one.  Errors do not say what that was: secrets. */
static void
do_it(Source *src, void (*fn)(Source *, Holder *, const PGresult *))
{
	List *sqls = NIL;
	PGresult **results;
	ListCell *lc;

	foreach (lc, src->holders)
	{
		Holder *h = lfirst(lc);

		sqls = lappend(sqls, h->todo.len > 0 ? pstrdup(h->todo.data) : NULL);
		resetStringInfo(&h->todo);
	}
	results = mdb_together(src->sessions, sqls, false);
	foreach (lc, src->holders)
		if (fn && results[foreach_current_index(lc)])
			fn(src, lfirst(lc), results[foreach_current_index(lc)]);
	mdb_together_clear(results, list_length(src->sessions));
}

static void
all_do(Source *src, const char *sql)
{
	ListCell *lc;

	foreach (lc, src->holders)
		appendStringInfoString(&((Holder *) lfirst(lc))->todo, sql);
}

static void
commit(Source *src)
{
	mdb_together_same(src->sessions, "COMMIT");
	mdb_together_writing(src->sessions, false);
}

static void
begin(Source *src)
{
	mdb_together_writing(src->sessions, true);
	mdb_together_same(src->sessions, begin_sql);
}

/* ---------- the source on each node ---------- */

/* Does a node have a source of that name?  One that is another is an error. */
static void
check_source(Source *src, Holder *h, const PGresult *res)
{
	const char *expected[] = {src->brokers, src->topic, src->format,
							  src->unit,    "true",     mdb_table_name(src->table)};

	/* What is missing is made next. */
	if (PQntuples(res) == 0)
	{
		appendStringInfo(
			&h->todo,
			"SELECT metricsdb.create_kafka_source(%s, %s, %s, %s::pg_catalog.regclass, %s, %s, "
			"%s::pg_catalog.jsonb || '{\"assigned\": true}', %s::pg_catalog.jsonb)",
			quote_literal_cstr(src->name), quote_literal_cstr(src->brokers), quote_literal_cstr(src->topic),
			quote_literal_cstr(expected[5]), quote_literal_cstr(src->format), quote_literal_cstr(src->unit),
			quote_literal_cstr(src->options), src->secrets ? quote_literal_cstr(src->secrets) : "NULL");
		return;
	}
	for (int i = 0; i < lengthof(expected); i++)
		if (strcmp(PQgetvalue(res, 0, i), expected[i]) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("Kafka source \"%s\" is another one on node \"%s\"", src->name, h->node->name),
					 errdetail("It has %s there, and %s here.", PQgetvalue(res, 0, i), expected[i])));
}

static void
take_secrets(Source *src, Holder *h, const PGresult *res)
{
	if (src->secrets == NULL && PQntuples(res) == 1 && !PQgetisnull(res, 0, 0))
		src->secrets = pstrdup(PQgetvalue(res, 0, 0));
}

static void
take_watermarks(Source *src, Holder *h, const PGresult *res)
{
	src->npartitions = PQntuples(res);
	src->low = palloc(sizeof(int64) * Max(1, src->npartitions));
	src->high = palloc(sizeof(int64) * Max(1, src->npartitions));
	for (int i = 0; i < src->npartitions; i++)
	{
		src->low[i] = result_int8(res, i, 1);
		src->high[i] = result_int8(res, i, 2);
	}
}

/* All nodes have the source; the first one asks the brokers. */
static void
prepare_sources(Source *src)
{
	char *name = quote_literal_cstr(src->name);

	if (src->holders == NIL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("there is no node that could read Kafka source \"%s\"", src->name),
						errhint("Add one with metricsdb.add_node().")));
	begin(src);
	/* Secrets are on nodes only. */
	all_do(src,
		   psprintf("SELECT metricsdb.kafka_secrets(source) FROM metricsdb.kafka_sources WHERE source = %s",
					name));
	do_it(src, take_secrets);
	all_do(
		src,
		psprintf(
			"SELECT brokers, topic, format, timestamp_unit, coalesce(options ->> 'assigned', 'false'), "
			"(SELECT pg_catalog.quote_ident(nspname) || '.' || pg_catalog.quote_ident(relname) FROM "
			"pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace WHERE c.oid = target) "
			"FROM metricsdb.kafka_sources WHERE source = %s",
			name));
	do_it(src, check_source);
	do_it(src, NULL);
	appendStringInfo(&((Holder *) linitial(src->holders))->todo,
					 "SELECT * FROM metricsdb.kafka_watermarks(%s) ORDER BY partition", name);
	do_it(src, take_watermarks);
	commit(src);
}

/* ---------- plans ---------- */

static void
tell_epoch(Source *src, Holder *h, int32 partition, int64 epoch, int64 from, int64 to)
{
	appendStringInfo(
		&h->todo, "%s metricsdb.assign_kafka_partition(%s, %d, " INT64_FORMAT ", %s, " INT64_FORMAT ", %s)",
		h->todo.len > 0 ? "," : "SELECT", quote_literal_cstr(src->name), partition, epoch,
		quote_literal_cstr(h->node->shard), from, to == OPEN ? "NULL" : psprintf(INT64_FORMAT, to));
}

/* What nodes lack of the epochs of their shards. */
static void
complete_replicas(Source *src)
{
	ListCell *le, *lh;

	foreach (le, src->epochs)
	{
		Epoch *e = lfirst(le);

		foreach (lh, holders_of(src, e->shard))
		{
			Holder *h = lfirst(lh);

			if (find_epoch(h->epochs, e->partition, e->epoch) != NULL)
				continue;
			tell_epoch(src, h, e->partition, e->epoch, e->from, e->to);
			h->epochs = lappend(h->epochs, e);
		}
	}
	do_it(src, NULL);
}

/* Shards that take new data, a list of names; none of their nodes is drained. */
static List *
taking_shards(Source *src)
{
	List *shards = NIL;
	ListCell *ls, *lh;

	foreach (ls, mdb_all_shards())
	{
		MdbShard *shard = lfirst(ls);
		bool takes = true;

		foreach (lh, holders_of(src, shard->name))
			takes = takes && !((Holder *) lfirst(lh))->node->draining;
		if (takes)
			shards = lappend(shards, shard->name);
	}
	if (shards == NIL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("there is no shard that could read Kafka source \"%s\"", src->name),
						errdetail("All are drained."), errhint("Add a node with metricsdb.add_node().")));
	return shards;
}

static int
position_of(List *names, const char *name)
{
	ListCell *lc;

	foreach (lc, names)
		if (strcmp(lfirst(lc), name) == 0)
			return foreach_current_index(lc);
	return -1;
}

static int
lightest(const int *load, int n)
{
	int best = 0;

	for (int i = 1; i < n; i++)
		if (load[i] < load[best])
			best = i;
	return best;
}

static int
heaviest(const int *load, int n)
{
	int best = 0;

	for (int i = 1; i < n; i++)
		if (load[i] > load[best])
			best = i;
	return best;
}

/* Which partitions are to go where, a list of Move. */
static List *
plan_moves(Source *src)
{
	List *shards = taking_shards(src), *moves = NIL;
	int n = list_length(shards);
	int *load = palloc0(sizeof(int) * n);
	int *now = palloc(sizeof(int) * Max(1, src->npartitions));
	int *then = palloc(sizeof(int) * Max(1, src->npartitions));

	/* Where nobody reads, or has been told to end, somebody must begin. */
	for (int p = 0; p < src->npartitions; p++)
	{
		Epoch *last = last_epoch(src->epochs, p);

		now[p] = last && last->to == OPEN ? position_of(shards, last->shard) : -1;
		then[p] = now[p];
		if (now[p] >= 0)
			load[now[p]]++;
	}
	for (int p = 0; p < src->npartitions; p++)
		if (then[p] < 0)
		{
			then[p] = lightest(load, n);
			load[then[p]]++;
		}
	for (;;)
	{
		int from = heaviest(load, n), to = lightest(load, n), p = src->npartitions - 1;

		if (load[from] - load[to] <= 1)
			break;
		while (then[p] != from)
			p--;
		then[p] = to;
		load[from]--;
		load[to]++;
	}
	for (int p = 0; p < src->npartitions; p++)
		if (then[p] != now[p])
		{
			Move *m = palloc0(sizeof(Move));

			m->partition = p;
			m->before = last_epoch(src->epochs, p);
			m->shard = list_nth(shards, then[p]);
			moves = lappend(moves, m);
		}
	return moves;
}

/* ---------- handing over ---------- */

static void
take_ends(Source *src, Holder *h, const PGresult *res)
{
	for (int i = 0; i < PQntuples(res); i++)
	{
		Epoch *e = find_epoch(src->epochs, atoi(PQgetvalue(res, i, 0)), result_int8(res, i, 1));

		e->to = Max(e->to, result_int8(res, i, 2));
	}
}

/* Tell all replicas of what is read now an end; done when all have the same. */
static void
end_epochs(Source *src, List *moves)
{
	/* The second time none can have come further than it was told the first time. */
	for (int round = 0; round < 2; round++)
	{
		ListCell *lm, *lh;

		foreach (lm, moves)
		{
			Epoch *e = ((Move *) lfirst(lm))->before;

			if (e == NULL)
				continue;
			foreach (lh, holders_of(src, e->shard))
				appendStringInfo(
					&((Holder *) lfirst(lh))->todo,
					"%s SELECT %d, " INT64_FORMAT ", metricsdb.close_kafka_partition(%s, %d, " INT64_FORMAT
					", " INT64_FORMAT ")",
					((Holder *) lfirst(lh))->todo.len > 0 ? " UNION ALL" : "", e->partition, e->epoch,
					quote_literal_cstr(src->name), e->partition, e->epoch, Max(e->to, 0));
		}
		do_it(src, take_ends);
	}
}

/* The new shards' replicas begin where the ones before end. */
static void
begin_epochs(Source *src, List *moves, bool from_end)
{
	ListCell *lm, *lh;

	foreach (lm, moves)
	{
		Move *m = lfirst(lm);
		Epoch *e = palloc0(sizeof(Epoch));

		e->partition = m->partition;
		e->epoch = m->before ? m->before->epoch + 1 : 1;
		e->shard = m->shard;
		e->from = m->before ? m->before->to : from_end ? src->high[m->partition] : src->low[m->partition];
		e->to = OPEN;
		foreach (lh, holders_of(src, m->shard))
			tell_epoch(src, lfirst(lh), e->partition, e->epoch, e->from, OPEN);
		src->epochs = lappend(src->epochs, e);
	}
	do_it(src, NULL);
}

/* Offsets that nobody has whose rows count. */
static void
warn_of_holes(Source *src)
{
	Epoch *before = NULL;
	ListCell *lc;

	list_sort(src->epochs, epoch_cmp);
	foreach (lc, src->epochs)
	{
		Epoch *e = lfirst(lc);

		if (before && before->partition == e->partition && before->to != e->from)
			ereport(WARNING, (errmsg("no node has offsets " INT64_FORMAT " to " INT64_FORMAT
									 " of partition %d of Kafka source \"%s\"",
									 before->to, e->from - 1, e->partition, src->name),
							  errdetail("A shard of which no node is left had read them.")));
		before = e;
	}
}

static void
write_copy(Source *src)
{
	Oid types[] = {TEXTOID, INT4OID, INT8OID, TEXTOID, INT8OID, INT8OID};
	Datum args[lengthof(types)];
	ListCell *lc;

	SPI_connect();
	args[0] = CStringGetTextDatum(src->name);
	(void) mdb_execute_own("DELETE FROM metricsdb.distributed_epoch WHERE source = $1", 1, types, args, NULL);
	foreach (lc, src->epochs)
	{
		Epoch *e = lfirst(lc);

		args[1] = Int32GetDatum(e->partition);
		args[2] = Int64GetDatum(e->epoch);
		args[3] = CStringGetTextDatum(e->shard);
		args[4] = Int64GetDatum(e->from);
		args[5] = Int64GetDatum(e->to);
		(void) mdb_execute_own("INSERT INTO metricsdb.distributed_epoch VALUES ($1, $2, $3, $4, $5, $6)",
							   lengthof(types), types, args, e->to == OPEN ? "     n" : NULL);
	}
	SPI_finish();
}

/*
 * Tell all nodes their share of metricsdb.max_new_series, alike for replicas.  Before a shard that is new begins to read, so
 * that shares never add up to more, but by one for each while others take their places.  Without: they have their own again.
 */
static void
tell_shares(Source *src, bool shared)
{
	const char *before = NULL;
	int shards = 0, shard = -1;
	ListCell *lc;

	/* By shard, as mdb_nodes() tells them. */
	foreach (lc, src->holders)
	{
		const char *name = ((Holder *) lfirst(lc))->node->shard;

		shards += before == NULL || strcmp(name, before) != 0;
		before = name;
	}
	before = NULL;
	foreach (lc, src->holders)
	{
		Holder *h = lfirst(lc);
		int share;

		shard += before == NULL || strcmp(h->node->shard, before) != 0;
		before = h->node->shard;
		share = mdb_max_new_series / shards + (shard < mdb_max_new_series % shards);
		appendStringInfo(&h->todo, "SELECT metricsdb.set_cardinality_share(%s, %s, %s)",
						 quote_literal_cstr(mdb_table_name(src->table)),
						 mdb_max_new_series > 0 ? psprintf("%d", share) : "NULL", shared ? "true" : "false");
	}
	do_it(src, NULL);
}

/* Compare and change what nodes have; how many partitions somebody else reads then. */
static int64
assign(Source *src, bool from_end)
{
	List *moves;

	begin(src);
	all_do(src,
		   psprintf("SELECT * FROM metricsdb.lock_kafka_assignments(%s)", quote_literal_cstr(src->name)));
	do_it(src, take_epochs);
	list_sort(src->epochs, epoch_cmp);
	complete_replicas(src);
	tell_shares(src, true);
	moves = plan_moves(src);
	end_epochs(src, moves);
	commit(src);
	begin(src);
	begin_epochs(src, moves, from_end);
	commit(src);
	warn_of_holes(src);
	write_copy(src);
	return list_length(moves);
}

/* ---------- functions ---------- */

/* Nobody else assigns, or changes nodes, until the end of the transaction. */
static void
lock_nodes(void)
{
	LockRelationOid(mdb_catalog_relid("node", false), ShareRowExclusiveLock);
}

/* The source of that name, which must be one of the caller's. */
static Source *
find_source(const char *name)
{
	MemoryContext caller = CurrentMemoryContext, spi;
	Oid type = TEXTOID;
	Datum arg = CStringGetTextDatum(name);
	Source *src;
	char *v[6];

	SPI_connect();
	if (mdb_execute_own("SELECT \"table\"::oid, brokers, topic, format, timestamp_unit, options::text"
						" FROM metricsdb.distributed_source WHERE name = $1",
						1, &type, &arg, NULL) == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("Kafka source \"%s\" of a distributed table does not exist", name)));
	spi = MemoryContextSwitchTo(caller);
	src = palloc0(sizeof(Source));
	src->name = pstrdup(name);
	for (int i = 0; i < lengthof(v); i++)
		v[i] = pstrdup(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1));
	MemoryContextSwitchTo(spi);
	SPI_finish();
	src->table = atooid(v[0]);
	src->brokers = v[1];
	src->topic = v[2];
	src->format = v[3];
	src->unit = v[4];
	src->options = v[5];
	if (get_rel_name(src->table) == NULL || !mdb_is_distributed(src->table))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the table of Kafka source \"%s\" is not distributed any more", name),
						errhint("Drop the source with metricsdb.drop_kafka_source() on the nodes.")));
	if (!mdb_owns_table(src->table))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(src->table));
	return src;
}

/* The same, while nobody else assigns.  Who is not its owner makes nobody wait. */
static Source *
lock_source(const char *name)
{
	(void) find_source(name);
	lock_nodes();
	return find_source(name);
}

static bool
starts_latest(const Source *src)
{
	Datum start = DirectFunctionCall1(jsonb_in, CStringGetDatum(src->options));
	JsonbValue buffer, *value;

	value = getKeyJsonValueFromContainer(&DatumGetJsonbP(start)->root, "start", strlen("start"), &buffer);
	return value && value->type == jbvString && value->val.string.len == 6 &&
		   memcmp(value->val.string.val, "latest", 6) == 0;
}

static char *
text_arg(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("argument \"%s\" of a Kafka source must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static char *
jsonb_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : DatumGetCString(DirectFunctionCall1(jsonb_out, PG_GETARG_DATUM(n)));
}

static void
insert_source(const Source *src)
{
	Oid types[] = {TEXTOID, OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum args[] = {CStringGetTextDatum(src->name),    ObjectIdGetDatum(src->table),
					CStringGetTextDatum(src->brokers), CStringGetTextDatum(src->topic),
					CStringGetTextDatum(src->format),  CStringGetTextDatum(src->unit),
					CStringGetTextDatum(src->options)};

	SPI_connect();
	if (mdb_execute_own(
			"INSERT INTO metricsdb.distributed_source (name, \"table\", brokers, topic, format, timestamp_unit,"
			" options) VALUES ($1, $2::regclass, $3, $4, $5, $6, $7::jsonb) ON CONFLICT DO NOTHING",
			lengthof(types), types, args, NULL) == 0)
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("Kafka source \"%s\" of a distributed table already exists", src->name)));
	SPI_finish();
}

/*
 * mdb_create_distributed_source - metricsdb.create_distributed_source(...): the arguments of create_kafka_source()
 */
Datum
mdb_create_distributed_source(PG_FUNCTION_ARGS)
{
	MdbReading *r = mdb_reading_begin(CurrentMemoryContext);
	Source *src = palloc0(sizeof(Source));

	src->name = text_arg(fcinfo, 0, "name");
	src->brokers = text_arg(fcinfo, 1, "brokers");
	src->topic = text_arg(fcinfo, 2, "topic");
	src->table = PG_ARGISNULL(3) ? InvalidOid : PG_GETARG_OID(3);
	src->format = text_arg(fcinfo, 4, "format");
	src->unit = text_arg(fcinfo, 5, "timestamp_unit");
	src->options = jsonb_arg(fcinfo, 6);
	src->options = src->options ? src->options : "{}";
	src->secrets = jsonb_arg(fcinfo, 7);
	if (!OidIsValid(src->table) || get_rel_name(src->table) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE), errmsg("the table of a Kafka source does not exist")));
	if (!mdb_owns_table(src->table))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(src->table)),
					   get_rel_name(src->table));
	LockRelationOid(src->table, AccessShareLock);
	if (!mdb_is_distributed(src->table))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("table \"%s\" is not distributed", get_rel_name(src->table)),
						errhint("Use metricsdb.create_kafka_source(), or metricsdb.distribute() before.")));
	lock_nodes();
	insert_source(src);
	connect(src, r);
	prepare_sources(src);
	(void) assign(src, starts_latest(src));
	mdb_reading_end(r);
	PG_RETURN_INT64(src->npartitions);
}

/*
 * mdb_assign_partitions - metricsdb.assign_partitions(source)
 */
Datum
mdb_assign_partitions(PG_FUNCTION_ARGS)
{
	MdbReading *r = mdb_reading_begin(CurrentMemoryContext);
	Source *src = lock_source(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	int64 n;

	connect(src, r);
	prepare_sources(src);
	/* A partition that was made since has been empty then: nothing of it is old. */
	n = assign(src, false);
	mdb_reading_end(r);
	PG_RETURN_INT64(n);
}

/*
 * mdb_drop_distributed_source - metricsdb.drop_distributed_source(name)
 */
Datum
mdb_drop_distributed_source(PG_FUNCTION_ARGS)
{
	MdbReading *r = mdb_reading_begin(CurrentMemoryContext);
	Oid type = TEXTOID;
	Datum arg = PG_GETARG_DATUM(0);
	Source *src = lock_source(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	Oid table_type = REGCLASSOID;
	Datum table = ObjectIdGetDatum(src->table);
	bool last;

	connect(src, r);
	begin(src);
	all_do(
		src,
		psprintf("SELECT metricsdb.drop_kafka_source(source) FROM metricsdb.kafka_sources WHERE source = %s",
				 quote_literal_cstr(src->name)));
	do_it(src, NULL);
	SPI_connect();
	(void) mdb_execute_own("DELETE FROM metricsdb.distributed_source WHERE name = $1", 1, &type, &arg, NULL);
	last = mdb_execute_own("SELECT FROM metricsdb.distributed_source WHERE \"table\" = $1", 1, &table_type,
						   &table, NULL) == 0;
	SPI_finish();
	if (last)
		tell_shares(src, false);
	commit(src);
	mdb_reading_end(r);
	PG_RETURN_VOID();
}

/* A function of nodes' own sources, called on all of them. */
static void
call_on_nodes(const char *name, const char *function)
{
	MdbReading *r = mdb_reading_begin(CurrentMemoryContext);
	Source *src = lock_source(name);

	connect(src, r);
	begin(src);
	all_do(src, psprintf("SELECT metricsdb.%s(source) FROM metricsdb.kafka_sources WHERE source = %s",
						 function, quote_literal_cstr(name)));
	do_it(src, NULL);
	commit(src);
	mdb_reading_end(r);
}

/*
 * mdb_pause_distributed_source - metricsdb.pause_distributed_source(name)
 */
Datum
mdb_pause_distributed_source(PG_FUNCTION_ARGS)
{
	call_on_nodes(text_to_cstring(PG_GETARG_TEXT_PP(0)), "pause_kafka_source");
	PG_RETURN_VOID();
}

/*
 * mdb_resume_distributed_source - metricsdb.resume_distributed_source(name)
 */
Datum
mdb_resume_distributed_source(PG_FUNCTION_ARGS)
{
	call_on_nodes(text_to_cstring(PG_GETARG_TEXT_PP(0)), "resume_kafka_source");
	PG_RETURN_VOID();
}

/* Nodes that have an epoch without an end, and those of them that read it. */
static int64 open_epochs, read_epochs;

static void
take_readers(Source *src, Holder *h, const PGresult *res)
{
	open_epochs += result_int8(res, 0, 0);
	read_epochs += result_int8(res, 0, 1);
}

/*
 * mdb_seek_distributed_source - metricsdb.seek_distributed_source(name, partition, next_offset)
 */
Datum
mdb_seek_distributed_source(PG_FUNCTION_ARGS)
{
	MdbReading *r = mdb_reading_begin(CurrentMemoryContext);
	Source *src = lock_source(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	int32 partition = PG_GETARG_INT32(1);
	int64 offset = PG_GETARG_INT64(2);
	char *epochs =
		psprintf("FROM metricsdb.kafka_assignments a LEFT JOIN metricsdb.kafka_status k USING (source, "
				 "partition) WHERE source = %s AND partition = %d AND a.to_offset IS NULL AND "
				 "a.from_offset <= " INT64_FORMAT,
				 quote_literal_cstr(src->name), partition, offset);

	connect(src, r);
	begin(src);
	open_epochs = read_epochs = 0;
	all_do(src,
		   psprintf("SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE k.epoch = a.epoch) %s",
					epochs));
	do_it(src, take_readers);
	/* What lies before belongs to others, and replicas go alike. */
	if (open_epochs == 0 || read_epochs < open_epochs)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("no shard reads partition %d of Kafka source \"%s\" at offset " INT64_FORMAT,
							   partition, src->name, offset),
						errdetail("Its last epoch begins behind it, or not all replicas have come to that."),
						errhint("SELECT * FROM metricsdb.distributed_source_status('%s')", src->name)));
	all_do(src, psprintf("SELECT metricsdb.seek_kafka_source(source, partition, " INT64_FORMAT ") %s", offset,
						 epochs));
	do_it(src, NULL);
	commit(src);
	mdb_reading_end(r);
	PG_RETURN_VOID();
}

/* Rows of one node, for the result that is being made. */
static ReturnSetInfo *status_result;

static void
take_status(Source *src, Holder *h, const PGresult *res)
{
	AttInMetadata *attin = TupleDescGetAttInMetadata(status_result->setDesc);

	for (int i = 0; i < PQntuples(res); i++)
	{
		char *values[18] = {h->node->name, h->node->shard};

		for (int c = 0; c < PQnfields(res); c++)
			values[2 + c] = PQgetisnull(res, i, c) ? NULL : PQgetvalue(res, i, c);
		tuplestore_puttuple(status_result->setResult, BuildTupleFromCStrings(attin, values));
	}
}

/*
 * mdb_distributed_source_status - metricsdb.distributed_source_status(source)
 */
Datum
mdb_distributed_source_status(PG_FUNCTION_ARGS)
{
	MdbReading *r = mdb_reading_begin(CurrentMemoryContext);
	Source *src = find_source(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	InitMaterializedSRF(fcinfo, 0);
	status_result = (ReturnSetInfo *) fcinfo->resultinfo;
	connect(src, r);
	all_do(
		src,
		psprintf(
			"SELECT partition, epoch, state, next_offset, to_offset, lag_messages, messages, consumed, stored, "
			"dead_letters, skipped, last_error, load_points, load_bytes, top_metric, top_part FROM metricsdb.kafka_status WHERE source = %s ORDER BY partition",
			quote_literal_cstr(src->name)));
	do_it(src, take_status);
	mdb_reading_end(r);
	return (Datum) 0;
}
