/*
 * move.c
 *	  All rows of a shard are moved to others, so that its nodes can go.
 *
 * In one transaction on all of them (write_send.c): of each distributed table the rows of one replica are copied to the
 * shards that take rows, and the table is truncated on all replicas.  On the coordinator the table is locked, at last against
 * readers, too, until nodes have heard of the commit: nobody who asks here finds rows twice, or misses some.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/tablecmds.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "access/table.h"
#include "dist/admin.h"
#include "dist/together.h"
#include "dist/write.h"
#include "store/store.h"

/* Nodes of the shard that hold its rows; NIL if one of them is not drained: then rows stay there. */
static List *
drained_replicas(const char *shard)
{
	List *list = NIL;
	ListCell *lc;

	foreach (lc, mdb_nodes())
	{
		MdbNode *node = lfirst(lc);

		if (strcmp(node->shard, shard) != 0 || !mdb_node_is(node, MDB_NODE_WHOLE))
			continue;
		if (!node->draining)
			return NIL;
		list = lappend(list, node);
	}
	return list;
}

/* What comes from Kafka must have come to its end. */
static void
check_sources(List *sessions, const char *table)
{
	ListCell *lc;

	foreach (lc, sessions)
	{
		MdbSession *s = lfirst(lc);
		PGresult *res = mdb_session_run(
			s,
			psprintf(
				"SELECT k.source FROM metricsdb.kafka_status k JOIN metricsdb.kafka_sources s USING (source) WHERE "
				"s.target = %s::pg_catalog.regclass AND k.partition IS NOT NULL AND (k.to_offset IS NULL OR "
				"k.next_offset < k.to_offset) LIMIT 1",
				quote_literal_cstr(table)));
		char *source = PQntuples(res) > 0 ? pstrdup(PQgetvalue(res, 0, 0)) : NULL;

		PQclear(res);
		if (source)
			ereport(
				ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("node \"%s\" still reads partitions of Kafka source \"%s\"", s->node, source),
				 errhint(
					 "Drain it without move_rows, call metricsdb.assign_partitions('%s'), and move rows when it has "
					 "come to the end.",
					 source)));
	}
}

/* Where series columns are in a line of COPY: whether the i-th is one. */
static bool *
series_fields(Relation rel, int *n)
{
	TupleDesc desc = RelationGetDescr(rel);
	MdbTable *table = mdb_table(rel);
	bool *fields = palloc0(sizeof(bool) * Max(1, desc->natts));

	*n = 0;
	for (int i = 0; i < desc->natts; i++)
	{
		if (!mdb_is_written(TupleDescAttr(desc, i)))
			continue;
		for (int j = 0; j < table->nseries_columns; j++)
			fields[*n] = fields[*n] || table->series_attnos[j] == i + 1;
		(*n)++;
	}
	return fields;
}

/* The hash of a line, the same as that of a row that is inserted (write.c). */
static uint64
hash_line(const char *line, int len, const bool *fields, int nfields, StringInfo key)
{
	const char *p = line, *end = line + len;

	resetStringInfo(key);
	for (int i = 0; i < nfields && p < end; i++)
	{
		const char *stop = p;

		while (stop < end && *stop != '\t' && *stop != '\n')
			stop++;
		if (fields[i])
		{
			appendBinaryStringInfo(key, p, stop - p);
			appendStringInfoChar(key, '\t');
		}
		p = stop + 1;
	}
	if (key->len == 0)
		return DatumGetUInt64(hash_any_extended((const unsigned char *) line, len, 0));
	return DatumGetUInt64(hash_any_extended((unsigned char *) key->data, key->len, 0));
}

/* Copy the rows of a table on one node to shards that take rows; how many. */
static uint64
copy_rows(MdbSession *from, Relation rel)
{
	MdbWritten w = {.relid = RelationGetRelid(rel), .user = GetUserId(), .copy = mdb_write_copy(rel, false)};
	int nfields;
	bool *fields = series_fields(rel, &nfields);
	StringInfoData key;
	uint64 rows = 0;
	PGresult *res;

	initStringInfo(&key);
	if (!mdb_session_settle(from) || !PQsendQuery(from->conn, mdb_write_copy(rel, true)))
	{
		mdb_session_fail(from, NULL);
		mdb_node_error(from->node, from->shard, from->error, NULL);
	}
	for (;;)
	{
		char *line;
		int len;

		/* The first result says that rows come. */
		while (PQisBusy(from->conn))
		{
			mdb_session_wait(from, -1);
			if (!PQconsumeInput(from->conn))
				break;
		}
		res = PQgetResult(from->conn);
		if (res == NULL || PQresultStatus(res) != PGRES_COPY_OUT)
		{
			mdb_session_fail(from, res);
			PQclear(res);
			mdb_node_error(from->node, from->shard, from->error, NULL);
		}
		PQclear(res);
		while ((len = PQgetCopyData(from->conn, &line, true)) >= 0)
		{
			if (len == 0)
			{
				mdb_session_wait(from, -1);
				if (!PQconsumeInput(from->conn))
					break;
				continue;
			}
			/* What is not libpq's lives until the rows are sent. */
			mdb_sending_line(&w, hash_line(line, len, fields, nfields, &key), line, len);
			PQfreemem(line);
			rows++;
			CHECK_FOR_INTERRUPTS();
		}
		break;
	}
	if (!mdb_together_receive(from, &res))
	{
		PQclear(res);
		mdb_node_error(from->node, from->shard, from->error, NULL);
	}
	PQclear(res);
	mdb_sending_end(&w);
	return rows;
}

/*
 * mdb_move_shard - move the rows of all distributed tables from the shard of a node that is drained to others, when this
 * transaction commits.
 */
void
mdb_move_shard(const MdbNode *node)
{
	List *replicas = drained_replicas(node->shard), *tables = mdb_distributed_tables(), *sessions = NIL;
	uint64 rows = 0;
	ListCell *lt;

	if (replicas == NIL || tables == NIL)
	{
		ereport(NOTICE,
				(errmsg("rows of node \"%s\" are on other nodes, too, which are not drained", node->name)));
		return;
	}
	/* Of an exception block that fails half of it would remain. */
	if (GetCurrentTransactionNestLevel() > 1)
		ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
						errmsg("rows of nodes cannot be moved inside a subtransaction")));
	/* What it has read of these nodes it holds on to, and would wait for itself. */
	if (IsolationUsesXactSnapshot())
		ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
						errmsg("rows of nodes cannot be moved in a transaction with one snapshot"),
						errhint("Move them in one that is READ COMMITTED.")));
	/* Rows may have gone to these nodes, in a transaction that this one would wait for. */
	if (mdb_write_pending())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("rows of two shards cannot be moved in one transaction"),
						errhint("Commit it first.")));
	/* Writers wait: what they have begun to send may come to these nodes. */
	foreach (lt, tables)
		LockRelationOid(lfirst_oid(lt), ExclusiveLock);
	foreach (lt, replicas)
		sessions = lappend(sessions, mdb_sending_join(lfirst(lt)));
	foreach (lt, tables)
	{
		Relation rel = table_open(lfirst_oid(lt), NoLock);
		char *name = mdb_table_name(RelationGetRelid(rel));

		/* A cursor is in the middle of rows of these nodes. */
		CheckTableNotInUse(rel, "metricsdb.drain_node()");
		check_sources(sessions, name);
		mdb_together_same(sessions, psprintf("LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE", name));
		rows += copy_rows(linitial(sessions), rel);
		mdb_together_same(sessions, psprintf("TRUNCATE %s", name));
		table_close(rel, NoLock);
	}
	foreach (lt, tables)
		LockRelationOid(lfirst_oid(lt), AccessExclusiveLock);
	ereport(NOTICE, (errmsg(UINT64_FORMAT " rows of shard \"%s\" are moved to others", rows, node->shard)));
}
