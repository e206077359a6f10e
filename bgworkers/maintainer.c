/*
 * maintainer.c
 *	  Cares for one database: starts its Kafka workers and its roll-up worker, and compacts its tables.
 *
 * Invariants:
 *	1. It leaves as soon as the database does not have the extension (any more).
 *	2. It looks at the Kafka sources and for continuous aggregates at least each second while compaction goes on, within the
 *	   length of one step of it; a failing compaction does not keep it from doing so.
 *	3. It holds no lock and no snapshot while it waits.
 *	4. Where there are more databases than worker processes it makes room for another's maintainer, once
 *	   there is nothing to do or it has had its time, and comes back later; but not as long as there are
 *	   Kafka sources to care for.  So does the roll-up worker, when there is nothing to do.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "ingest/source.h"
#include "metricsdb.h"
#include "rollup/apply.h"
#include "worker.h"

#define ROUND_MS 1000

/* While others have no maintainer we stay for so long, if there is something to do. */
#define STAY_US (30 * USECS_PER_SEC)

/* A source whose worker we started, or 0 for the roll-up worker; lives as long as the maintainer. */
typedef struct Started
{
	int32 source_id; /* hash key */
	int failures;
	TimestampTz started_at; /* 0 = not since it was last seen to have ended */
	TimestampTz next_at;
} Started;

/*
 * care_for - start the worker of a source, or that for roll-ups, if it has none and it is time.
 */
static void
care_for(HTAB *started, MdbWorkerKind kind, int32 source_id, const char *name)
{
	TimestampTz now = GetCurrentTimestamp();
	bool found;
	Started *source = hash_search(started, &source_id, HASH_ENTER, &found);

	if (!found)
	{
		source->failures = 0;
		source->started_at = source->next_at = 0;
	}
	if (mdb_worker_present(kind, MyDatabaseId, source_id))
		return;
	if (source->started_at != 0)
	{
		/* It ended.  At once if it had run for a while: it was paused, or changed. */
		source->failures = (now - source->started_at > 10 * USECS_PER_SEC) ? 0 : source->failures + 1;
		source->next_at = source->failures > 1 ? now + mdb_worker_backoff(source->failures - 1) * 1000 : now;
		source->started_at = 0;
	}
	if (now < source->next_at)
		return;
	if (mdb_worker_start(kind, MyDatabaseId, source_id, name))
		source->started_at = now;
	else
	{
		source->next_at = now + 10 * USECS_PER_SEC;
		ereport(LOG, (kind == MDB_WORKER_KAFKA
						  ? errmsg("could not start the worker of Kafka source \"%s\"", name)
						  : errmsg("could not start the roll-up worker of database \"%s\"", name),
					  errhint("You might need to increase max_worker_processes.")));
	}
}

/*
 * look_at_sources - start what is to run and does not.  False if the extension is gone.
 */
static bool
look_at_sources(HTAB *started, HTAB *rollup)
{
	bool exists;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	exists = OidIsValid(get_extension_oid(MDB_EXTENSION, true));
	if (exists)
	{
		Oid type = TEXTOID;
		Datum home = CStringGetTextDatum(mdb_home());

		SPI_connect();
		SPI_execute_with_args("SELECT source_id, name FROM metricsdb.kafka_source"
							  " WHERE state = 'running' AND home = $1",
							  1, &type, &home, NULL, true, 0);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			bool isnull;

			care_for(started, MDB_WORKER_KAFKA,
					 DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)),
					 SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2));
		}
		SPI_finish();
		if (mdb_rollup_wanted())
			care_for(rollup, MDB_WORKER_ROLLUP, 0, get_database_name(MyDatabaseId));
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
	return exists;
}

/*
 * compact - compaction for about a second; true if there is more to do.
 */
static bool
compact(void)
{
	bool more;

	pgstat_report_activity(STATE_RUNNING, "compaction");
	more = mdb_compact_step();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return more;
}

void
mdb_maintainer_main(Datum arg)
{
	HASHCTL ctl = {.keysize = sizeof(int32), .entrysize = sizeof(Started)};
	HTAB *started = hash_create("metricsdb Kafka sources", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	HTAB *rollup = hash_create("metricsdb roll-up worker", 4, &ctl, HASH_ELEM | HASH_BLOBS);
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "metricsdb maintainer", ALLOCSET_DEFAULT_SIZES);
	volatile int source_failures = 0;
	volatile int compact_failures = 0;
	volatile TimestampTz compact_at = 0;
	TimestampTz came_at = GetCurrentTimestamp();

	mdb_worker_begin(MDB_WORKER_MAINTAINER, arg);
	while (mdb_workers_enabled)
	{
		volatile bool exists = true;
		volatile bool more = false;

		MemoryContextReset(context);
		MemoryContextSwitchTo(context);
		PG_TRY();
		{
			exists = look_at_sources(started, rollup);
			source_failures = 0;
		}
		PG_CATCH();
		{
			mdb_worker_recover(context);
			source_failures++;
		}
		PG_END_TRY();
		if (!exists)
			proc_exit(0);

		if (GetCurrentTimestamp() >= compact_at)
		{
			MemoryContextSwitchTo(context);
			PG_TRY();
			{
				more = compact();
				compact_failures = 0;
			}
			PG_CATCH();
			{
				mdb_worker_recover(context);
				compact_failures++;
				compact_at = GetCurrentTimestamp() + mdb_worker_backoff(compact_failures) * 1000;
			}
			PG_END_TRY();
		}
		if ((!more || GetCurrentTimestamp() - came_at > STAY_US) && hash_get_num_entries(started) == 0 &&
			mdb_worker_make_room())
			proc_exit(0);
		if (source_failures > 0)
			mdb_worker_wait(mdb_worker_backoff(source_failures));
		else
			mdb_worker_wait(more ? 1 : ROUND_MS);
	}
}
