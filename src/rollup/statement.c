/*
 * statement.c
 *	  The statements that bring a table of states up to date: its definition's SELECT, into it; and DELETE.
 *
 * Which rows of the source is_pending() is true for, this process says meanwhile (exec/rollup_scan.h), and nobody else's
 * condition is left.  They are run as the owner of the states, to whom the caller has turned.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "func/func.h"
#include "rollup/language.h"
#include "rollup/statement.h"
#include "rollup/torn.h"
#include "stop.h"

struct MdbStatement
{
	const MdbAggregate *a;
	char *states; /* qualified name */
	char *insert;
	char *torn;        /* finds buckets whose states cannot be combined; NULL: there are none such */
	AttrNumber bucket; /* its column of the states */
	Oid bucket_type;
};

/* Without is_clean(): what the finer states have is taken, be it what it may; see README.md. */
static void
take_all_states(Query *feed)
{
	List *quals = make_ands_implicit((Expr *) feed->jointree->quals);
	ListCell *lc;

	foreach (lc, quals)
	{
		Oid aggregate;
		Node *time;

		if (mdb_marker_of(lfirst(lc), &aggregate, &time) == MDB_MARKER_CLEAN)
			quals = foreach_delete_current (quals, lc);
	}
	feed->jointree->quals = (Node *) make_ands_explicit(quals);
}

/* Settings that hold until the owner is left again: the caller has begun a level of them. */
static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * mdb_statement_open - those of an aggregate.
 *
 * Called as its owner, by mdb_owner_begin(), with locks on its tables.  Raises ERRCODE_WRONG_OBJECT_TYPE if its view is
 * not that of an aggregate any more.
 */
MdbStatement *
mdb_statement_open(const MdbAggregate *a)
{
	MdbStatement *s = palloc0(sizeof(MdbStatement));
	MdbDefinition *def;
	StringInfoData buf;
	bool first = true;
	ListCell *lc;

	set_local("search_path", "pg_catalog, pg_temp");
	set_local("extra_float_digits", "1");
	set_local("DateStyle", "ISO");
	set_local("IntervalStyle", "postgres");
	set_local("metricsdb.enable_custom_scan", "on");
	set_local("metricsdb.enable_vector_agg", "on");
	set_local("metricsdb.rollup_routing", "off");
	set_local("jit", "off");
	set_local("work_mem", psprintf("%d", Max(work_mem, maintenance_work_mem)));
	def = mdb_definition_read(a->view);
	s->a = a;
	s->states = quote_qualified_identifier(get_namespace_name(get_rel_namespace(a->aggregate)),
										   get_rel_name(a->aggregate));
	s->bucket = (AttrNumber) linitial_int(def->columns);
	s->bucket_type = get_atttype(a->aggregate, s->bucket);
	take_all_states(def->feed);
	initStringInfo(&buf);
	appendStringInfo(&buf, "INSERT INTO %s (", s->states);
	foreach (lc, def->columns)
	{
		appendStringInfo(&buf, "%s%s", first ? "" : ", ",
						 quote_identifier(get_attname(a->aggregate, (AttrNumber) lfirst_int(lc), false)));
		first = false;
	}
	appendStringInfo(&buf, ") %s", pg_get_querydef(def->feed, false));
	s->insert = buf.data;
	s->torn = mdb_torn_query(def, s->states);
	return s;
}

/* Run a statement by a snapshot; how many rows it was about. */
static uint64
run(const char *sql, int nargs, Oid *types, Datum *values, int expected, Snapshot snapshot)
{
	SPIPlanPtr plan;
	uint64 n;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	plan = SPI_prepare(sql, nargs, types);
	if (plan == NULL ||
		SPI_execute_snapshot(plan, values, NULL, snapshot, InvalidSnapshot, false, true, 0) != expected)
		elog(ERROR, "SPI failed: %s", sql);
	n = SPI_processed;
	SPI_finish();
	return n;
}

/* After an error the end of the transaction forgets what is_pending() meant. */
static uint64
insert(MdbStatement *s, Snapshot snapshot)
{
	uint64 n = run(s->insert, 0, NULL, NULL, SPI_OK_INSERT, snapshot);

	mdb_pending_override_clear();
	return n;
}

static Datum
bucket_datum(const MdbStatement *s, int64 bucket)
{
	return mdb_units_time(bucket, getBaseType(s->bucket_type));
}

/* Buckets of what was taken that have got states which do not go together with those that were there. */
static void
mark_torn(MdbStatement *s, const MdbPartInterval *parts, int n)
{
	MdbRollupBucket *buckets = mdb_rollup_bucket(s->a);
	int64 first = PG_INT64_MAX, last = PG_INT64_MIN;
	Oid types[2] = {s->bucket_type, s->bucket_type};
	Datum values[2];

	for (int i = 0; i < n; i++)
	{
		first = Min(first, parts[i].time_from);
		last = Max(last, parts[i].time_to);
	}
	CommandCounterIncrement();
	values[0] = bucket_datum(s, mdb_rollup_bucket_value(buckets, first));
	values[1] = bucket_datum(s, mdb_rollup_bucket_value(buckets, last == PG_INT64_MAX ? last : last - 1));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(s->torn, 2, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI failed: %s", s->torn);
	mdb_torn_mark(s->a, buckets, getBaseType(s->bucket_type));
	SPI_finish();
}

/*
 * mdb_statement_take - put rows of some parts into the states; how many states that are.
 */
uint64
mdb_statement_take(MdbStatement *s, const MdbPartInterval *parts, int n, Snapshot snapshot)
{
	uint64 taken;

	if (n == 0)
		return 0;
	mdb_pending_override(s->a->aggregate, parts, n);
	taken = insert(s, snapshot);
	if (s->torn != NULL)
		mark_torn(s, parts, n);
	return taken;
}

/* Delete the states of buckets in a range of times of the source. */
static void
delete_range(MdbStatement *s, MdbRollupBucket *buckets, const MdbTimeRange *range, Snapshot snapshot)
{
	const char *column = quote_identifier(get_attname(s->a->aggregate, s->bucket, false));
	Oid types[2] = {s->bucket_type, s->bucket_type};
	Datum values[2] = {bucket_datum(s, mdb_rollup_bucket_value(buckets, range->first)),
					   bucket_datum(s, mdb_rollup_bucket_value(buckets, range->last))};

	(void) run(psprintf("DELETE FROM %s WHERE %s >= $1 AND %s <= $2", s->states, column, column), 2, types,
			   values, SPI_OK_DELETE, snapshot);
}

/*
 * mdb_statement_again - the states of whole buckets go, and are made of all rows of the source that are not pending;
 * how many there are.
 */
uint64
mdb_statement_again(MdbStatement *s, MdbRollupBucket *buckets, const MdbTimeRange *ranges, int n,
					Snapshot snapshot)
{
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		delete_range(s, buckets, &ranges[i], snapshot);
	}
	MDB_STOP("rollup.cleared");
	mdb_pending_override_applied(s->a->aggregate, ranges, n);
	return insert(s, snapshot);
}
