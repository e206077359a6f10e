/*
 * sample.c
 *	  What the planner is told of distributed tables: ANALYZE takes a sample of the rows that nodes have, and keeps it where
 *	  it keeps those of other tables; planning asks no node.
 *
 * Nobody counts here what nodes write.  So they are asked now and then how many rows they have, and what has come counts
 * as inserted here: then autovacuum finds out by itself when it is time for ANALYZE.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "dist/admin.h"
#include "dist/dist.h"
#include "metricsdb.h"
#include "store/store.h"

/* metricsdb.dist_statistics_interval, in seconds */
static int statistics_interval = 300;

/* ---------- how many rows ---------- */

static void
add_count(void *arg, Datum *values, bool *isnull)
{
	*(double *) arg += isnull[0] ? 0 : (double) DatumGetInt64(values[0]);
}

/* About how many rows nodes have, as the current user. */
static double
count_rows(Oid relid)
{
	TupleDesc desc = CreateTemplateTupleDesc(1);
	double rows = 0;

	TupleDescInitEntry(desc, 1, "rows", INT8OID, -1, 0);
	mdb_ask_nodes(
		psprintf("SELECT metricsdb.approximate_row_count(%s)", quote_literal_cstr(mdb_table_name(relid))),
		desc, add_count, &rows);
	return rows;
}

/*
 * mdb_known_rows - rows of a table as ANALYZE has found them; 0: it has not.
 */
double
mdb_known_rows(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	double rows = 0;

	if (HeapTupleIsValid(tuple))
	{
		rows = Max(0, ((Form_pg_class) GETSTRUCT(tuple))->reltuples);
		ReleaseSysCache(tuple);
	}
	return rows;
}

/* ---------- a sample ---------- */

typedef struct Sample
{
	int natts;
	int *attnos; /* of the columns that are sent, from 0 */
	Datum *values;
	bool *isnull;
	MdbRowCallback callback;
	void *arg;
} Sample;

static void
pass_on(void *arg, Datum *values, bool *isnull)
{
	Sample *s = arg;

	for (int i = 0; i < s->natts; i++)
	{
		s->values[s->attnos[i]] = values[i];
		s->isnull[s->attnos[i]] = isnull[i];
	}
	s->callback(s->arg, s->values, s->isnull);
}

/*
 * mdb_dist_sample - call back with about so many rows, each with the table's columns, of all that nodes have; returns how
 * many that are.  Each row is as likely as any other one.
 */
double
mdb_dist_sample(Relation rel, int rows, MdbRowCallback callback, void *arg)
{
	TupleDesc all = RelationGetDescr(rel);
	Sample s = {.callback = callback, .arg = arg};
	double total = count_rows(RelationGetRelid(rel));
	StringInfoData sql;
	TupleDesc desc;

	s.attnos = palloc(sizeof(int) * Max(1, all->natts));
	s.values = palloc0(sizeof(Datum) * Max(1, all->natts));
	s.isnull = palloc(sizeof(bool) * Max(1, all->natts));
	memset(s.isnull, true, sizeof(bool) * all->natts);
	initStringInfo(&sql);
	for (int i = 0; i < all->natts; i++)
		if (!TupleDescAttr(all, i)->attisdropped)
		{
			appendStringInfo(&sql, "%s%s", s.natts ? ", " : "SELECT ",
							 quote_identifier(NameStr(TupleDescAttr(all, i)->attname)));
			s.attnos[s.natts++] = i;
		}
	if (s.natts == 0 || total <= 0)
		return total;
	desc = CreateTemplateTupleDesc(s.natts);
	for (int i = 0; i < s.natts; i++)
		TupleDescCopyEntry(desc, i + 1, all, s.attnos[i] + 1);
	appendStringInfo(&sql, " FROM %s", mdb_table_name(RelationGetRelid(rel)));
	if (total > rows)
		appendStringInfo(&sql, " TABLESAMPLE BERNOULLI (%.9f)", Max(100.0 * rows / total, 1e-9));
	mdb_ask_nodes(sql.data, desc, pass_on, &s);
	return total;
}

/* ---------- when ---------- */

/* Rows of a table that have come since it was last counted, or analysed, count as inserted. */
static void
note_growth(Oid relid)
{
	Relation rel = try_table_open(relid, AccessShareLock);
	PgStat_StatTabEntry *stats;
	Oid user;
	int context;
	double rows, known;

	if (rel == NULL)
		return;
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(rel->rd_rel->relowner, context | SECURITY_RESTRICTED_OPERATION);
	rows = count_rows(relid);
	SetUserIdAndSecContext(user, context);
	stats = pgstat_fetch_stat_tabentry(relid);
	known = mdb_known_rows(relid) + (stats ? mdb_stat_changes(stats) : 0);
	if (rows > known)
		pgstat_count_heap_insert(rel, (PgStat_Counter) (rows - known));
	table_close(rel, AccessShareLock);
}

/*
 * mdb_dist_count_step - in the maintainer, outside of transactions: if it is time, ask nodes how many rows they have.
 */
void
mdb_dist_count_step(void)
{
	static TimestampTz counted_at = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (statistics_interval == 0 ||
		now < TimestampTzPlusMilliseconds(counted_at, statistics_interval * INT64CONST(1000)))
		return;
	/* If this fails, too, the next time is an interval from now. */
	counted_at = now;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (OidIsValid(mdb_am_oid(true)) && mdb_nodes() != NIL)
	{
		ListCell *lc;

		foreach (lc, mdb_distributed_tables())
			note_growth(lfirst_oid(lc));
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
}

/*
 * mdb_dist_sample_init - at load.
 */
void
mdb_dist_sample_init(void)
{
	DefineCustomIntVariable("metricsdb.dist_statistics_interval",
							"How often nodes are asked how many rows of distributed tables they have.",
							"By what has come autovacuum decides when to analyze them. 0: never.",
							&statistics_interval, 300, 0, 86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}
