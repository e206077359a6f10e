/*
 * evict.c
 *	  Nodes that are out of reach: nothing of them counts any more, until they have what their shard has.
 *
 * An evicted node may have read what others were told to read since, and has missed rows and changes of tables.  So it comes
 * back empty, reads its shard's epochs from Kafka like a new replica, and counts when it is shown to have the same: the same
 * epochs, as far as the replica that counts had them when it was asked, and as many rows that did not come from Kafka.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "dist/admin.h"
#include "dist/write.h"
#include "metricsdb.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(mdb_evict_node);
PG_FUNCTION_INFO_V1(mdb_rejoin_node);

/* The node of that name, while nobody else changes nodes. */
static MdbNode *
lock_node(const char *name)
{
	ListCell *lc;

	if (!superuser())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("must be superuser to change which nodes there are")));
	LockRelationOid(mdb_catalog_relid("node", false), ShareRowExclusiveLock);
	foreach (lc, mdb_nodes())
		if (strcmp(((MdbNode *) lfirst(lc))->name, name) == 0)
			return lfirst(lc);
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("node \"%s\" does not exist", name)));
}

static void
set_state(const char *name, const char *state)
{
	(void) mdb_run_sql(psprintf("UPDATE metricsdb.node SET state = %s WHERE name OPERATOR(pg_catalog.=) %s",
								quote_literal_cstr(state), quote_literal_cstr(name)));
}

/*
 * mdb_evict_node - evict_node(name, force).
 */
Datum
mdb_evict_node(PG_FUNCTION_ARGS)
{
	MdbNode *node = lock_node(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	bool is_last = true;
	ListCell *lc;

	if (mdb_node_is(node, MDB_NODE_EVICTED))
		PG_RETURN_BOOL(false);
	foreach (lc, mdb_nodes())
	{
		const MdbNode *other = lfirst(lc);

		is_last = is_last && (strcmp(other->name, node->name) == 0 ||
							  strcmp(other->shard, node->shard) != 0 || !mdb_node_is(other, MDB_NODE_WHOLE));
	}
	if (is_last && mdb_node_is(node, MDB_NODE_WHOLE) && !PG_GETARG_BOOL(1))
		ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
						errmsg("node \"%s\" is the last one that has the rows of shard \"%s\"", node->name,
							   node->shard),
						errdetail("Queries would answer without them, and say nothing of it."),
						errhint("If it will not come back, call metricsdb.evict_node('%s', force => true).",
								node->name)));
	set_state(node->name, MDB_NODE_EVICTED);
	PG_RETURN_BOOL(true);
}

/* ---------- coming back ---------- */

/* Names of the Kafka sources of distributed tables. */
static List *
distributed_sources(void)
{
	MemoryContext caller = CurrentMemoryContext;
	List *names = NIL;

	SPI_connect();
	(void) mdb_execute_own("SELECT name FROM metricsdb.distributed_source ORDER BY 1", 0, NULL, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char *name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		MemoryContext spi = MemoryContextSwitchTo(caller);

		names = lappend(names, pstrdup(name));
		MemoryContextSwitchTo(spi);
	}
	SPI_finish();
	return names;
}

static MdbSession *
connect_to(MdbReading *r, const MdbNode *node)
{
	MdbSession *s = mdb_session_take(r, node, GetUserId(), true);

	mdb_sessions_establish(list_make1(s));
	return s;
}

/* An evicted node begins anew: it must be empty, and forgets what it has read. */
static void
begin_anew(MdbSession *s)
{
	ListCell *lc;

	foreach (lc, mdb_distributed_tables())
	{
		char *name = mdb_table_name(lfirst_oid(lc));
		PGresult *res =
			mdb_session_run(s, psprintf("SELECT pg_catalog.to_regclass(%s)", quote_literal_cstr(name)));
		bool has_rows = !PQgetisnull(res, 0, 0);

		/* metricsdb.distribute() makes what is missing. */
		PQclear(res);
		if (!has_rows)
			continue;
		res = mdb_session_run(s, psprintf("SELECT EXISTS (SELECT FROM %s)", name));
		has_rows = strcmp(PQgetvalue(res, 0, 0), "t") == 0;
		PQclear(res);
		if (has_rows)
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("node \"%s\" has rows of \"%s\"", s->node, get_rel_name(lfirst_oid(lc))),
							errdetail("They may not be those that its shard has by now."),
							errhint("TRUNCATE the table there.")));
	}
	PQclear(mdb_session_run(s, "BEGIN READ WRITE"));
	s->writes = true;
	foreach (lc, distributed_sources())
		PQclear(mdb_session_run(
			s, psprintf("SELECT metricsdb.drop_kafka_source(source) FROM metricsdb.kafka_sources "
						"WHERE source = %s",
						quote_literal_cstr(lfirst(lc)))));
	PQclear(mdb_session_run(s, "COMMIT"));
	s->writes = false;
}

/* Has a node read what the other one had when it was asked, and nothing else? */
static void
compare_source(MdbSession *s, MdbSession *whole, const char *source)
{
	char *sql = psprintf(
		"SELECT partition, a.epoch, from_offset, a.to_offset, a.next_offset, skipped FROM "
		"metricsdb.kafka_assignments a LEFT JOIN metricsdb.kafka_status USING (source, partition) WHERE "
		"source = %s ORDER BY 1, 2",
		quote_literal_cstr(source));
	PGresult *theirs = mdb_session_run(whole, sql), *own = mdb_session_run(s, sql);
	bool same = PQntuples(theirs) == PQntuples(own), behind = false, lacks = false;

	for (int i = 0; same && i < PQntuples(own); i++)
	{
		for (int c = 0; c < 4; c++)
			same = same && strcmp(PQgetvalue(own, i, c), PQgetvalue(theirs, i, c)) == 0;
		behind =
			behind || strtoll(PQgetvalue(own, i, 4), NULL, 10) < strtoll(PQgetvalue(theirs, i, 4), NULL, 10);
		lacks =
			lacks || strtoll(PQgetvalue(own, i, 5), NULL, 10) > strtoll(PQgetvalue(theirs, i, 5), NULL, 10);
	}
	PQclear(theirs);
	PQclear(own);
	if (!same)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("node \"%s\" has other epochs of Kafka source \"%s\" than node \"%s\"",
							   s->node, source, whole->node),
						errhint("Call metricsdb.assign_partitions('%s').", source)));
	if (lacks)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("node \"%s\" has skipped offsets of Kafka source \"%s\" that node \"%s\" has read",
						s->node, source, whole->node),
				 errdetail("Kafka does not have them any more."),
				 errhint("Move the shard's rows with metricsdb.drain_node().")));
	if (behind)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("node \"%s\" has not read yet what node \"%s\" has of Kafka source \"%s\"",
							   s->node, whole->node, source),
						errhint("Try again when it has.")));
}

/* Rows that did not come from Kafka. */
static int64
other_rows(MdbSession *s, const char *table)
{
	PGresult *res = mdb_session_run(
		s, psprintf(
			   "SELECT (SELECT pg_catalog.count(*) FROM %s) - coalesce((SELECT pg_catalog.sum(k.stored) FROM "
			   "metricsdb.kafka_status k JOIN metricsdb.kafka_sources USING (source) WHERE target = "
			   "%s::pg_catalog.regclass), 0)::pg_catalog.int8",
			   table, quote_literal_cstr(table)));
	int64 rows = strtoll(PQgetvalue(res, 0, 0), NULL, 10);

	PQclear(res);
	return rows;
}

/* Raise an error unless a node has what another one has that counts. */
static void
prove_whole(MdbSession *s, MdbSession *whole)
{
	ListCell *lc;

	/* Rows that others are about to commit have chosen their nodes already. */
	foreach (lc, mdb_distributed_tables())
		LockRelationOid(lfirst_oid(lc), ShareLock);
	mdb_refuse_prepared(whole);
	foreach (lc, distributed_sources())
		compare_source(s, whole, lfirst(lc));
	foreach (lc, mdb_distributed_tables())
	{
		char *table = mdb_table_name(lfirst_oid(lc));
		int64 theirs = other_rows(whole, table), own = other_rows(s, table);

		if (theirs != own)
			ereport(
				ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("node \"%s\" does not have the rows of \"%s\" that node \"%s\" has", s->node,
						get_rel_name(lfirst_oid(lc)), whole->node),
				 errdetail("Rows that did not come from Kafka, less those that retention took: " INT64_FORMAT
						   " there, " INT64_FORMAT " here.",
						   own, theirs)));
	}
}

/*
 * mdb_rejoin_node - rejoin_node(name).
 */
Datum
mdb_rejoin_node(PG_FUNCTION_ARGS)
{
	MdbNode *node = lock_node(text_to_cstring(PG_GETARG_TEXT_PP(0))), *other = NULL;
	MdbReading *r;
	MdbSession *s;
	ListCell *lc;

	if (mdb_node_is(node, MDB_NODE_WHOLE))
		PG_RETURN_BOOL(true);
	mdb_dist_refuse_unsent();
	foreach (lc, mdb_shards())
		if (strcmp(((MdbShard *) lfirst(lc))->name, node->shard) == 0)
			other = linitial(((MdbShard *) lfirst(lc))->nodes);
	r = mdb_reading_begin(CurrentMemoryContext);
	s = connect_to(r, node);
	if (mdb_node_is(node, MDB_NODE_EVICTED))
	{
		begin_anew(s);
		set_state(node->name, other ? MDB_NODE_JOINING : MDB_NODE_WHOLE);
	}
	else if (other)
	{
		prove_whole(s, connect_to(r, other));
		set_state(node->name, MDB_NODE_WHOLE);
	}
	mdb_reading_end(r);
	PG_RETURN_BOOL(other == NULL || mdb_node_is(node, MDB_NODE_JOINING));
}
