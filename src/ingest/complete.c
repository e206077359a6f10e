/*
 * complete.c
 *	  Up to when the points that Kafka brings to a table are all there: what alerts take for the time.
 *
 * A partition is complete up to the newest time that it has brought (metricsdb.kafka_offset.newest_time, which was
 * committed together with the points), or, if that is later, up to the time at which its broker had nothing that is
 * not stored by now (ends.c).  A source is complete up to the least of its partitions less its lateness: by how much
 * points may come later than newer ones, or than they were measured.  So a quiet partition holds nothing up, and one
 * that lags does.
 *
 * Invariants:
 *	1. What is told is at most what is true of the caller's snapshot: its offsets, its newest times.  Shared memory only
 *	   says what an offset means.
 *	2. A source that is not read makes its table wait: paused, stopped, stalled, without a worker or a broker.  Partitions
 *	   that were handed over to other nodes are theirs to wait for.
 *	3. Nothing is written here.
 *
 * Called by src/alert/time.c.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "ingest/complete.h"
#include "ingest/live.h"
#include "metricsdb.h"

/* A source that is behind by more than its lateness and this has something in the way. */
#define USUAL_DELAY (3 * USECS_PER_SEC)

/* Columns of the statement below. */
enum
{
	SOURCE_ID = 1,
	NAME,
	STATE,
	AT_HOME,
	LATENESS,
	PARTITION,
	NEXT_OFFSET,
	NEWEST,
	STALLED
};

/* It runs with more rights than the caller's, whose search_path must not matter. */
static const char *const statement =
	"SELECT s.source_id, s.name, s.state, s.home OPERATOR(pg_catalog.=) $2,"
	" (extract(epoch FROM coalesce(s.options OPERATOR(pg_catalog.->>) 'lateness', '1 s')::pg_catalog.interval)"
	" OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8,"
	" o.partition, o.next_offset, o.newest_time, o.stalled"
	" FROM metricsdb.kafka_source s LEFT JOIN metricsdb.kafka_offset o"
	" ON o.source_id OPERATOR(pg_catalog.=) s.source_id"
	" AND (o.to_offset IS NULL OR o.next_offset OPERATOR(pg_catalog.<) o.to_offset)"
	" WHERE s.target::pg_catalog.oid OPERATOR(pg_catalog.=) ANY ($1)"
	" AND (o.partition IS NOT NULL"
	" OR NOT coalesce((s.options OPERATOR(pg_catalog.->>) 'assigned')::pg_catalog.bool, false))"
	" ORDER BY s.source_id, o.partition";

/*
 * look - run the statement, with the rights of the tables' owner.
 */
static void
look(List *tables)
{
	static SPIPlanPtr plan = NULL;
	Datum *oids = palloc(list_length(tables) * sizeof(Datum));
	Datum args[2];
	ListCell *lc;
	Oid user;
	int context;

	foreach (lc, tables)
		oids[foreach_current_index(lc)] = ObjectIdGetDatum(lfirst_oid(lc));
	args[0] =
		PointerGetDatum(construct_array(oids, list_length(tables), OIDOID, sizeof(Oid), true, TYPALIGN_INT));
	args[1] = CStringGetTextDatum(mdb_home());
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	if (plan == NULL)
	{
		Oid types[] = {OIDARRAYOID, TEXTOID};
		SPIPlanPtr fresh = SPI_prepare(statement, lengthof(types), types);

		if (fresh == NULL || SPI_keepplan(fresh) != 0)
			elog(ERROR, "could not prepare the look at the Kafka sources of a table");
		plan = fresh;
	}
	SPI_execute_plan(plan, args, NULL, true, 0);
	SetUserIdAndSecContext(user, context);
}

static Datum
column(int row, int number, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, isnull);
}

/*
 * partition_complete - up to when a partition is complete, as it stands in a row; DT_NOBEGIN = not known.
 */
static TimestampTz
partition_complete(int row, const MdbLiveSeen *seen)
{
	bool isnull;
	int32 partition = DatumGetInt32(column(row, PARTITION, &isnull));
	int64 next_offset = DatumGetInt64(column(row, NEXT_OFFSET, &isnull));
	TimestampTz newest = DatumGetTimestampTz(column(row, NEWEST, &isnull));

	if (isnull)
		newest = DT_NOBEGIN;
	for (int i = 0; i < seen->npartitions; i++)
	{
		if (seen->partitions[i].partition != partition)
			continue;
		if (seen->partitions[i].at != 0 && seen->partitions[i].offset <= next_offset)
			newest = Max(newest, seen->partitions[i].at);
		break;
	}
	return newest;
}

/*
 * why_late - what keeps a source where it is, by the row of its latest partition.
 */
static const char *
why_late(int row, const MdbLiveSeen *seen)
{
	char *name = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, NAME);
	char *state = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, STATE);
	bool isnull;
	int32 partition;

	if (strcmp(state, "running") != 0)
		return psprintf("Kafka source \"%s\" is %s", name, state);
	if (!DatumGetBool(column(row, AT_HOME, &isnull)))
		return psprintf("Kafka source \"%s\" is a restored copy, and not resumed", name);
	if (!seen->worker)
		return psprintf("Kafka source \"%s\" has no worker", name);
	if (seen->phase == MDB_PHASE_BACKING_OFF)
		return psprintf("Kafka source \"%s\" waits after an error", name);
	if (seen->phase == MDB_PHASE_CONNECTING || seen->phase == MDB_PHASE_STARTING)
		return psprintf("Kafka source \"%s\" has no connection to its brokers", name);
	partition = DatumGetInt32(column(row, PARTITION, &isnull));
	if (isnull)
		return psprintf("Kafka source \"%s\" has not been read yet", name);
	(void) column(row, STALLED, &isnull);
	if (!isnull)
		return psprintf("partition %d of Kafka source \"%s\" has stalled", partition, name);
	return psprintf("partition %d of Kafka source \"%s\" lags", partition, name);
}

TimestampTz
mdb_sources_complete(List *tables, TimestampTz now, const char **reason)
{
	MemoryContext caller = CurrentMemoryContext;
	TimestampTz complete = DT_NOEND;
	const char *why = NULL;
	int32 source_id = 0;
	MdbLiveSeen seen = {0};

	*reason = NULL;
	SPI_connect();
	look(tables);
	for (int row = 0; row < SPI_processed; row++)
	{
		bool isnull;
		int32 id = DatumGetInt32(column(row, SOURCE_ID, &isnull));
		int64 lateness = DatumGetInt64(column(row, LATENESS, &isnull));
		TimestampTz at = DT_NOBEGIN;

		if (id != source_id)
			mdb_live_look(id, &seen);
		source_id = id;
		(void) column(row, PARTITION, &isnull);
		if (!isnull)
			at = partition_complete(row, &seen);
		if (!TIMESTAMP_NOT_FINITE(at))
			at = Min(at, now) - lateness;
		if (at >= complete)
			continue;
		complete = at;
		why = at < now - lateness - USUAL_DELAY ? why_late(row, &seen) : NULL;
	}
	if (why)
		*reason = MemoryContextStrdup(caller, why);
	SPI_finish();
	return complete;
}
