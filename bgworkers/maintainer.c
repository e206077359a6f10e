/*
 * maintainer.c
 *	  Cares for one database: starts its workers for Kafka, roll-ups and alerts, and compacts its tables.
 *
 * Invariants:
 *	1. It leaves as soon as the database does not have the extension (any more).
 *	2. It looks for what needs a worker at least each second while compaction goes on, within the length of one step of
 *	   it; a failing compaction does not keep it from doing so.
 *	3. It holds no lock and no snapshot while it waits.
 *	4. Where there are more databases than worker processes it makes room for another's maintainer, once
 *	   there is nothing to do or it has had its time, and comes back later; but not as long as there are
 *	   Kafka sources or alerts to care for.  So does the roll-up worker, when there is nothing to do.
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

#include "alert/alert.h"
#include "deliver/deliver.h"
#include "metricsdb.h"
#include "rollup/apply.h"
#include "worker.h"

#define ROUND_MS 1000

/* While others have no maintainer we stay for so long, if there is something to do. */
#define STAY_US (30 * USECS_PER_SEC)

/* A worker that we started; lives as long as the maintainer. */
typedef struct StartedKey
{
	int32 kind;
	int32 source_id; /* 0 for all but Kafka workers */
} StartedKey;

typedef struct Started
{
	StartedKey key;
	int failures;
	TimestampTz started_at; /* 0 = not since it was last seen to have ended */
	TimestampTz next_at;
} Started;

/*
 * care_for - start a worker, if there is none and it is time.  what and name say in the log whose it is.
 */
static void
care_for(HTAB *workers, MdbWorkerKind kind, int32 source_id, const char *what, const char *name)
{
	TimestampTz now = GetCurrentTimestamp();
	StartedKey key = {kind, source_id};
	bool found;
	Started *worker = hash_search(workers, &key, HASH_ENTER, &found);

	if (!found)
	{
		worker->failures = 0;
		worker->started_at = worker->next_at = 0;
	}
	if (mdb_worker_present(kind, MyDatabaseId, source_id))
		return;
	if (worker->started_at != 0)
	{
		/* It ended.  At once if it had run for a while: it was paused, or changed. */
		worker->failures = (now - worker->started_at > 10 * USECS_PER_SEC) ? 0 : worker->failures + 1;
		worker->next_at = worker->failures > 1 ? now + mdb_worker_backoff(worker->failures - 1) * 1000 : now;
		worker->started_at = 0;
	}
	if (now < worker->next_at)
		return;
	if (mdb_worker_start(kind, MyDatabaseId, source_id, name))
		worker->started_at = now;
	else
	{
		worker->next_at = now + 10 * USECS_PER_SEC;
		ereport(LOG, (errmsg("could not start the worker of %s \"%s\"", what, name),
					  errhint("You might need to increase max_worker_processes.")));
	}
}

/*
 * care_for_sources - the Kafka sources that are to run; true if there are any.  SPI is connected.
 */
static bool
care_for_sources(HTAB *workers)
{
	Oid type = TEXTOID;
	Datum home = CStringGetTextDatum(mdb_home());

	SPI_execute_with_args("SELECT source_id, name FROM metricsdb.kafka_source"
						  " WHERE state = 'running' AND home = $1",
						  1, &type, &home, NULL, true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;

		care_for(workers, MDB_WORKER_KAFKA,
				 DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)),
				 "Kafka source", SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2));
	}
	return SPI_processed > 0;
}

/*
 * look_at_workers - start what is to run and does not.  False if the extension is gone.  *stay: there is what needs a
 * maintainer at all times.
 */
static bool
look_at_workers(HTAB *workers, volatile bool *stay)
{
	bool exists;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	*stay = false;
	exists = OidIsValid(get_extension_oid(MDB_EXTENSION, true));
	if (exists)
	{
		const char *database = get_database_name(MyDatabaseId);

		SPI_connect();
		*stay = care_for_sources(workers);
		if (mdb_alert_wanted())
		{
			care_for(workers, MDB_WORKER_ALERT, 0, "alerts of database", database);
			*stay = true;
		}
		SPI_finish();
		if (mdb_rollup_wanted())
			care_for(workers, MDB_WORKER_ROLLUP, 0, "continuous aggregates of database", database);
		if (mdb_deliver_wanted())
		{
			care_for(workers, MDB_WORKER_ALERT_SENDER, 0, "targets of alerts of database", database);
			*stay = true;
		}
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
	HASHCTL ctl = {.keysize = sizeof(StartedKey), .entrysize = sizeof(Started)};
	HTAB *workers = hash_create("metricsdb workers of a database", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "metricsdb maintainer", ALLOCSET_DEFAULT_SIZES);
	volatile int failures = 0;
	volatile bool stay = false;
	volatile int compact_failures = 0;
	volatile TimestampTz compact_at = 0;
	volatile int recover_failures = 0;
	volatile TimestampTz recover_at = 0;
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
			exists = look_at_workers(workers, &stay);
			failures = 0;
		}
		PG_CATCH();
		{
			mdb_worker_recover(context);
			failures++;
		}
		PG_END_TRY();
		if (!exists)
			proc_exit(0);

		if (GetCurrentTimestamp() >= recover_at)
		{
			MemoryContextSwitchTo(context);
			PG_TRY();
			{
				mdb_dist_recover_step();
				mdb_dist_count_step();
				recover_failures = 0;
			}
			PG_CATCH();
			{
				mdb_worker_recover(context);
				recover_failures++;
				recover_at = GetCurrentTimestamp() + mdb_worker_backoff(recover_failures) * 1000;
			}
			PG_END_TRY();
		}
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
		if ((!more || GetCurrentTimestamp() - came_at > STAY_US) && !stay && mdb_worker_make_room())
			proc_exit(0);
		if (failures > 0)
			mdb_worker_wait(mdb_worker_backoff(failures));
		else
			mdb_worker_wait(more ? 1 : ROUND_MS);
	}
}
