/*
 * launcher.c
 *	  Starts a maintainer in each database that has the extension.
 *
 * Whether a database has it can only be seen from within; so a maintainer is started in each
 * database that accepts connections, and leaves at once where there is nothing to do.  Where it
 * did not stay it is tried again with growing pauses, or when CREATE EXTENSION wakes us.
 *
 * Invariants:
 *	1. It is connected to no database and blocks nobody's DROP DATABASE.
 *	2. Templates are left alone: a worker in one would block CREATE DATABASE.
 *	3. At most ONE_ROUND maintainers are started each round, however many databases there are.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "worker.h"

#define ROUND_MS  1000
#define LOOK_EACH (5 * USECS_PER_SEC)
#define ONE_ROUND 4

/* What we know of a database; lives as long as the launcher. */
typedef struct Database
{
	Oid oid;                /* hash key */
	bool seen;              /* in the last look at pg_database */
	int failures;           /* maintainers in a row that did not stay */
	TimestampTz started_at; /* the last one; 0 = it stayed, or there was none */
	TimestampTz next_at;    /* not before */
	NameData name;
} Database;

/*
 * look_at_databases - bring the table up to pg_database.
 */
static void
look_at_databases(HTAB *databases)
{
	HASH_SEQ_STATUS status;
	Database *database;
	Relation rel;
	TableScanDesc scan;
	HeapTuple tuple;

	hash_seq_init(&status, databases);
	while ((database = hash_seq_search(&status)) != NULL)
		database->seen = false;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		bool found;

		if (!form->datallowconn || form->datistemplate)
			continue;
		database = hash_search(databases, &form->oid, HASH_ENTER, &found);
		if (!found)
		{
			database->failures = 0;
			database->started_at = database->next_at = 0;
		}
		database->seen = true;
		database->name = form->datname;
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	PopActiveSnapshot();
	CommitTransactionCommand();

	hash_seq_init(&status, databases);
	while ((database = hash_seq_search(&status)) != NULL)
		if (!database->seen)
			hash_search(databases, &database->oid, HASH_REMOVE, NULL);
}

/*
 * care_for - start the database's maintainer if it has none and it is time.  True if one was
 * started.
 */
static bool
care_for(Database *database, bool woken)
{
	TimestampTz now = GetCurrentTimestamp();

	if (mdb_worker_present(MDB_WORKER_MAINTAINER, database->oid, 0))
	{
		/* One that stays this long has found the extension. */
		if (database->started_at != 0 && now - database->started_at > 60 * USECS_PER_SEC)
			database->failures = 0;
		return false;
	}
	if (database->started_at != 0)
	{
		/* It did not stay. */
		database->failures++;
		database->started_at = 0;
		database->next_at = now + mdb_worker_backoff(database->failures) * 1000;
	}
	if (woken)
	{
		database->failures = 0;
		database->next_at = 0;
	}
	if (now < database->next_at ||
		!mdb_worker_start(MDB_WORKER_MAINTAINER, database->oid, 0, NameStr(database->name)))
		return false;
	database->started_at = now;
	return true;
}

void
mdb_launcher_main(Datum arg)
{
	HASHCTL ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Database)};
	HTAB *databases = hash_create("metricsdb databases", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	TimestampTz look_at = 0;
	uint32 wakes = 0;

	mdb_worker_begin(MDB_WORKER_LAUNCHER, arg);
	for (;;)
	{
		HASH_SEQ_STATUS status;
		Database *database;
		uint32 wakes_now = mdb_workers_wakes();
		bool woken = (wakes_now != wakes);
		int started = 0;

		if (mdb_workers_enabled)
		{
			if (woken || GetCurrentTimestamp() >= look_at)
			{
				look_at_databases(databases);
				look_at = GetCurrentTimestamp() + LOOK_EACH;
			}
			hash_seq_init(&status, databases);
			while ((database = hash_seq_search(&status)) != NULL)
				if ((woken || started < ONE_ROUND) && care_for(database, woken))
					started++;
			wakes = wakes_now;
		}
		mdb_worker_wait(ROUND_MS);
	}
}
