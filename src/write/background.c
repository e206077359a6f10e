/*
 * background.c
 *	  Which table's turn it is: compaction of a whole database, step by step.
 *
 * Time is what is shared: of the tables that may have something to do, the one that has had the
 * least of it is next.  So a table with much to merge costs the others one step's length, whatever
 * comes into it.
 *
 * What fails is reported, entered into the books and left alone for a while, longer each time: a
 * damaged table must not keep the others from being compacted.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "metricsdb.h"
#include "series/guard.h"
#include "write/merge.h"

/* Tables are stepped through for about so long before others of the worker's duties have their turn. */
#define ROUND_US (1 * USECS_PER_SEC)

/* A table with nothing to do is looked at again after 1 s, 2 s, ... */
#define IDLE_MAX_US (8 * USECS_PER_SEC)

/* One that failed, after 15 s, 30 s, ...; one that gave way to somebody, after 2 s, 4 s, ... */
#define FAILED_US     (15 * USECS_PER_SEC)
#define FAILED_MAX_US (900 * USECS_PER_SEC)
#define GAVE_WAY_US   (2 * USECS_PER_SEC)

/* So often in a row it gives way; then it is somebody else's turn to wait. */
#define GIVE_WAY_MAX 5

/* Seconds from one look for orphans to the next. */
#define ORPHANS_INTERVAL 600

/* Series that have left are looked for in a table that has nothing else to do, seldom: much has to be read. */
#define COLLECT_FIRST_US (600 * USECS_PER_SEC)
#define COLLECT_US       (6 * 3600 * USECS_PER_SEC)
#define COLLECT_RETRY_US (60 * USECS_PER_SEC)

/* Old rows that somebody was in the way of are looked for again after that. */
#define EXPIRE_RETRY_US (60 * USECS_PER_SEC)

/* What is known of a table; lives as long as the process. */
typedef struct Turn
{
	Oid relid;    /* hash key */
	bool seen;    /* in the last list of tables */
	int64 used;   /* microseconds, of its own or given to a newcomer */
	int idle;     /* looks in a row that found nothing */
	int failures; /* in a row */
	int gave_way; /* in a row */
	TimestampTz next_at;
	TimestampTz collect_at; /* when series that have left are looked for */
	TimestampTz expired_at; /* when rows that are too old were looked for; 0 = not yet */
	bool expire_again;      /* and somebody was in the way */
} Turn;

static HTAB *turns = NULL;

#ifdef MDB_TESTING
int mdb_testing_collect_ms = 0;
#define COLLECT_AFTER(us) (mdb_testing_collect_ms > 0 ? mdb_testing_collect_ms * INT64CONST(1000) : (us))
#else
#define COLLECT_AFTER(us) (us)
#endif

/* As SPI's commit does, it leaves the caller in the memory context that he was in, which must not be the transaction's. */
static void
commit_worker(void)
{
	MemoryContext outer = CurrentMemoryContext;

	Assert(outer != CurTransactionContext && outer != TopTransactionContext);
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
	StartTransactionCommand();
	mdb_compact_begin();
	MemoryContextSwitchTo(outer);
}

/* Bring the turns up to the permanent tables of this database that the access method stores. */
static void
list_tables(void)
{
	Oid am = mdb_am_oid(true);
	HASH_SEQ_STATUS status;
	Relation pg_class;
	SysScanDesc scan;
	HeapTuple tuple;
	Turn *turn;
	int64 least = -1;

	if (turns == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Turn)};

		turns = hash_create("metricsdb compaction turns", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	hash_seq_init(&status, turns);
	while ((turn = hash_seq_search(&status)) != NULL)
	{
		turn->seen = false;
		if (least < 0 || turn->used < least)
			least = turn->used;
	}
	if (OidIsValid(am) && OidIsValid(mdb_catalog_relid("part", true)))
	{
		pg_class = table_open(RelationRelationId, AccessShareLock);
		scan = systable_beginscan(pg_class, InvalidOid, false, NULL, 0, NULL);
		while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);
			bool found;

			if (form->relam != am || form->relpersistence == RELPERSISTENCE_TEMP ||
				form->relkind == RELKIND_PARTITIONED_TABLE)
				continue;
			turn = hash_search(turns, &form->oid, HASH_ENTER, &found);
			if (!found)
			{
				memset((char *) turn + sizeof(Oid), 0, sizeof(Turn) - sizeof(Oid));
				turn->used = Max(least, 0);
			}
			turn->seen = true;
		}
		systable_endscan(scan);
		table_close(pg_class, AccessShareLock);
	}
	hash_seq_init(&status, turns);
	while ((turn = hash_seq_search(&status)) != NULL)
		if (!turn->seen)
			hash_search(turns, &turn->relid, HASH_REMOVE, NULL);
}

/*
 * Of the tables whose time has come, the one that has had the least; NULL if there is none.
 *
 * What others have had while a table had nothing to do is not made up for.
 */
static Turn *
next_turn(void)
{
	static int64 clock = 0;
	TimestampTz now = GetCurrentTimestamp();
	HASH_SEQ_STATUS status;
	Turn *turn;
	Turn *best = NULL;

	hash_seq_init(&status, turns);
	while ((turn = hash_seq_search(&status)) != NULL)
	{
		if (turn->next_at > now)
			continue;
		turn->used = Max(turn->used, clock);
		if (best == NULL || turn->used < best->used ||
			(turn->used == best->used && turn->next_at < best->next_at))
			best = turn;
	}
	if (best)
		clock = best->used;
	return best;
}

/* Is there no such heap?  Not so if it was made just now: its maker holds a lock until all can see it. */
static bool
heap_is_gone(Oid relid)
{
	bool gone;

	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)) ||
		!ConditionalLockRelationOid(relid, AccessShareLock))
		return false;
	gone = !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid));
	UnlockRelationOid(relid, AccessShareLock);
	return gone;
}

/*
 * Forget storages whose delta heaps are gone: those of temporary tables of a backend that
 * crashed, whose files core removes without telling us.  And what an aborted rewrite has left.
 */
static void
collect_orphans(void)
{
	static TimestampTz last = 0;
	TimestampTz now = GetCurrentTimestamp();
	int64 *ids;
	int count;

	if (last != 0 && now < last + ORPHANS_INTERVAL * USECS_PER_SEC)
		return;
	last = now;
	if (!OidIsValid(mdb_catalog_relid("storage", true)))
		return;
	mdb_decoding_hide_all();
	mdb_storage_list(&ids, &count);
	for (int i = 0; i < count; i++)
	{
		MdbDeltaInfo *deltas;
		int ndeltas;
		bool gone = false;
		Snapshot snapshot = mdb_latest_snapshot();

		mdb_delta_list(ids[i], snapshot, &deltas, &ndeltas);
		UnregisterSnapshot(snapshot);
		for (int k = 0; k < ndeltas; k++)
			gone |= heap_is_gone(deltas[k].relid);
		if (!gone)
			continue;
		ereport(LOG, (errmsg("metricsdb forgets storage %lld, whose table is gone", (long long) ids[i])));
		mdb_delta_drop_all(ids[i]);
		mdb_storage_forget(ids[i]);
	}
	mdb_storage_orphans(&ids, &count);
	for (int i = 0; i < count; i++)
		mdb_storage_forget(ids[i]);
}

/* Enter a failure into the books, or that there is none any more, if nobody else is at work there. */
static void
enter_failure(Oid relid, int failures, const char *message, TimestampTz retry_at)
{
	int64 storage_id;

	if (!ConditionalLockRelationOid(relid, ShareUpdateExclusiveLock))
		return;
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)) && (storage_id = mdb_storage_find(relid)) != 0)
		mdb_books_failure(storage_id, failures, message, retry_at);
	commit_worker();
}

/* A turn has ended in an error: forget what was begun, and do not try again soon. */
static void
turn_failed(Turn *turn, MemoryContext mcxt)
{
	ErrorData *error;

	MemoryContextSwitchTo(mcxt);
	HOLD_INTERRUPTS();
	errcontext("compaction of table with OID %u", turn->relid);
	error = CopyErrorData();
	EmitErrorReport();
	FlushErrorState();
	/* A merge runs in a subtransaction. */
	AbortOutOfAnyTransaction();
	RESUME_INTERRUPTS();
	turn->failures++;
	turn->next_at = GetCurrentTimestamp() + Min(FAILED_MAX_US, FAILED_US << Min(turn->failures - 1, 10));
	StartTransactionCommand();
	mdb_compact_begin();
	MemoryContextSwitchTo(mcxt);
	enter_failure(turn->relid, turn->failures, error->message ? error->message : "", turn->next_at);
}

/* Remove series that no part has any more, if it is time to look for them. */
static void
collect_series(Turn *turn)
{
	TimestampTz now = GetCurrentTimestamp();
	bool in_the_way;

	if (turn->collect_at == 0)
		turn->collect_at = now + COLLECT_AFTER(COLLECT_FIRST_US);
	if (now < turn->collect_at)
		return;
	/* Also after an error. */
	turn->collect_at = now + COLLECT_AFTER(COLLECT_RETRY_US);
	(void) mdb_collect_series(turn->relid, false, mdb_compact_begin, commit_worker, &in_the_way);
	if (!in_the_way)
		turn->collect_at = now + COLLECT_AFTER(COLLECT_US);
}

/* Remove rows that are older than the table's policy keeps them, if it is time to look for them. */
static void
expire(Turn *turn)
{
	TimestampTz now = GetCurrentTimestamp();
	int64 pause = mdb_retention_interval * USECS_PER_SEC;
	MdbExpired expired;

	if (turn->expire_again)
		pause = Min(pause, EXPIRE_RETRY_US);
	if (mdb_retention_interval < 0 || (turn->expired_at != 0 && now < turn->expired_at + pause))
		return;
	turn->expired_at = now;
	turn->expire_again =
		!mdb_expire_relation(turn->relid, false, true, mdb_compact_begin, commit_worker, &expired);
	turn->expire_again |= expired.busy > 0;
	if (expired.rows > 0)
		ereport(LOG, (errmsg("retention has removed %lld rows of table with OID %u, with %lld parts",
							 (long long) expired.rows, turn->relid, (long long) expired.parts)));
	if (expired.needed > 0)
		ereport(
			LOG,
			(errmsg(
				"%lld old parts of table with OID %u stay because a continuous aggregate has not taken them yet",
				(long long) expired.needed, turn->relid)));
}

/* Do one thing for a table.  True if something was done. */
static bool
take_turn(Turn *turn, MemoryContext mcxt)
{
	TimestampTz began = GetCurrentTimestamp();
	volatile MdbStep step = MDB_STEP_NOTHING;
	volatile bool failed = false;

	PG_TRY();
	{
		expire(turn);
		step = mdb_compact_relation(turn->relid, MDB_COMPACT_DUE, turn->gave_way < GIVE_WAY_MAX,
									mdb_compact_begin, commit_worker);
		/* Locks are not kept from one table to the next. */
		commit_worker();
		if (step == MDB_STEP_NOTHING)
			collect_series(turn);
		if (turn->failures > 0)
			enter_failure(turn->relid, 0, NULL, 0);
	}
	PG_CATCH();
	{
		turn_failed(turn, mcxt);
		failed = true;
	}
	PG_END_TRY();
	turn->used += GetCurrentTimestamp() - began;
	if (failed)
		return false;
	turn->failures = 0;
	turn->idle = step == MDB_STEP_NOTHING ? turn->idle + 1 : 0;
	turn->gave_way = step == MDB_STEP_GAVE_WAY ? turn->gave_way + 1 : 0;
	turn->next_at = GetCurrentTimestamp();
	if (step == MDB_STEP_NOTHING)
		turn->next_at += Min(IDLE_MAX_US, USECS_PER_SEC << Min(turn->idle - 1, 10));
	else if (step == MDB_STEP_GAVE_WAY)
		turn->next_at += GAVE_WAY_US << Min(turn->gave_way - 1, 10);
	return step == MDB_STEP_DONE;
}

/*
 * mdb_compact_step - see metricsdb.h.
 */
bool
mdb_compact_step(void)
{
	/* Outlives transactions, and errors. */
	static MemoryContext mcxt = NULL;
	TimestampTz until = GetCurrentTimestamp() + ROUND_US;
	Turn *turn;
	bool any = false;

	if (mcxt == NULL)
		mcxt = AllocSetContextCreate(TopMemoryContext, "metricsdb compaction", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(mcxt);
	StartTransactionCommand();
	mdb_compact_begin();
	MemoryContextSwitchTo(mcxt);
	collect_orphans();
	commit_worker();
	mdb_guard_tidy();
	commit_worker();
	list_tables();
	while (GetCurrentTimestamp() < until && (turn = next_turn()) != NULL)
	{
		any |= take_turn(turn, mcxt);
		MemoryContextReset(mcxt);
	}
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
	return any;
}
