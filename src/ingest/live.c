/*
 * live.c
 *	  What Kafka workers are doing at this moment, in shared memory.
 *
 * A slot belongs to a source of a database; it stays when its worker ends, so that the last error
 * can still be seen, until another source needs the room.
 *
 * Invariants:
 *	1. Only the worker writes its slot.  Numbers are written without a lock, each atomically; a
 *	   worker that is stopped or killed at any point blocks no reader.
 *	2. Names and texts (who, last error) are read and written under the lock.
 *	3. Nothing depends on these figures, but for how far a partition was complete at which time: watermarks do.  That
 *	   pair is written offset first, and read time first: who reads a time has an offset at least as late.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "ingest/live.h"

PG_FUNCTION_INFO_V1(mdb_kafka_live);
PG_FUNCTION_INFO_V1(mdb_kafka_live_partitions);

#define LIVE_SOURCES      64
#define LIVE_PARTITIONS   256
#define LIVE_ERROR_LENGTH 512
#define LIVE_TRANCHE      "metricsdb_kafka"

typedef struct LivePartition
{
	pg_atomic_uint32 partition; /* + 1; 0 = free */
	pg_atomic_uint64 low;
	pg_atomic_uint64 high;
	pg_atomic_uint64 complete_offset;
	pg_atomic_uint64 complete_at; /* 0 = not known */
} LivePartition;

typedef struct LiveSource
{
	/* under the lock */
	Oid database;
	int32 source_id;
	Oid owner;
	pid_t pid; /* 0 = no worker */
	TimestampTz since;
	TimestampTz error_at;
	char error[LIVE_ERROR_LENGTH];

	/* by the worker, at any time */
	pg_atomic_uint32 phase;
	pg_atomic_uint64 pending_points;
	pg_atomic_uint64 pending_messages;
	pg_atomic_uint64 points_per_second;
	LivePartition partitions[LIVE_PARTITIONS];
} LiveSource;

static LiveSource *live = NULL; /* LIVE_SOURCES of them */
static LWLock *live_lock = NULL;
static LiveSource *mine = NULL;

static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

static void
live_shmem_request(void)
{
	if (next_shmem_request)
		next_shmem_request();
	RequestAddinShmemSpace(mul_size(LIVE_SOURCES, sizeof(LiveSource)));
	RequestNamedLWLockTranche(LIVE_TRANCHE, 1);
}

static void
live_shmem_startup(void)
{
	bool found;

	if (next_shmem_startup)
		next_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	live = ShmemInitStruct("metricsdb Kafka workers", mul_size(LIVE_SOURCES, sizeof(LiveSource)), &found);
	live_lock = &GetNamedLWLockTranche(LIVE_TRANCHE)->lock;
	if (!found)
	{
		memset(live, 0, LIVE_SOURCES * sizeof(LiveSource));
		for (int i = 0; i < LIVE_SOURCES; i++)
		{
			pg_atomic_init_u32(&live[i].phase, MDB_PHASE_NONE);
			pg_atomic_init_u64(&live[i].pending_points, 0);
			pg_atomic_init_u64(&live[i].pending_messages, 0);
			pg_atomic_init_u64(&live[i].points_per_second, 0);
			for (int p = 0; p < LIVE_PARTITIONS; p++)
			{
				pg_atomic_init_u32(&live[i].partitions[p].partition, 0);
				pg_atomic_init_u64(&live[i].partitions[p].low, 0);
				pg_atomic_init_u64(&live[i].partitions[p].high, 0);
				pg_atomic_init_u64(&live[i].partitions[p].complete_offset, 0);
				pg_atomic_init_u64(&live[i].partitions[p].complete_at, 0);
			}
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

void
mdb_live_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = live_shmem_request;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = live_shmem_startup;
}

bool
mdb_live_available(void)
{
	return live != NULL;
}

static void
live_end(int code, Datum arg)
{
	LWLockAcquire(live_lock, LW_EXCLUSIVE);
	mine->pid = 0;
	pg_atomic_write_u32(&mine->phase, MDB_PHASE_NONE);
	pg_atomic_write_u64(&mine->pending_points, 0);
	pg_atomic_write_u64(&mine->pending_messages, 0);
	pg_atomic_write_u64(&mine->points_per_second, 0);
	LWLockRelease(live_lock);
	mine = NULL;
}

/*
 * mdb_live_begin - take the slot that was this source's, or a free one, or one without a worker.
 * If all are taken the worker runs unseen.
 */
void
mdb_live_begin(int32 source_id, Oid owner)
{
	LiveSource *free_slot = NULL;
	LiveSource *idle = NULL;

	if (live == NULL || mine != NULL)
		return;
	LWLockAcquire(live_lock, LW_EXCLUSIVE);
	for (int i = 0; i < LIVE_SOURCES && mine == NULL; i++)
	{
		LiveSource *slot = &live[i];

		if (slot->database == MyDatabaseId && slot->source_id == source_id && slot->pid == 0)
			mine = slot;
		else if (slot->database == InvalidOid && free_slot == NULL)
			free_slot = slot;
		else if (slot->pid == 0 && idle == NULL)
			idle = slot;
	}
	if (mine == NULL)
	{
		mine = free_slot ? free_slot : idle;
		if (mine != NULL)
		{
			mine->error[0] = '\0';
			mine->error_at = 0;
			for (int p = 0; p < LIVE_PARTITIONS; p++)
				pg_atomic_write_u32(&mine->partitions[p].partition, 0);
		}
	}
	if (mine != NULL)
	{
		mine->database = MyDatabaseId;
		mine->source_id = source_id;
		mine->owner = owner;
		mine->pid = MyProcPid;
		mine->since = GetCurrentTimestamp();
		pg_atomic_write_u32(&mine->phase, MDB_PHASE_STARTING);
	}
	LWLockRelease(live_lock);
	if (mine != NULL)
		before_shmem_exit(live_end, (Datum) 0);
}

void
mdb_live_phase(MdbPhase phase)
{
	if (mine != NULL)
		pg_atomic_write_u32(&mine->phase, phase);
}

void
mdb_live_pending(uint64 points, uint64 messages)
{
	if (mine == NULL)
		return;
	pg_atomic_write_u64(&mine->pending_points, points);
	pg_atomic_write_u64(&mine->pending_messages, messages);
}

void
mdb_live_rate(double points_per_second)
{
	if (mine != NULL)
		pg_atomic_write_u64(&mine->points_per_second, (uint64) points_per_second);
}

/*
 * my_partition - the slot of a partition of our source, or a free one, which is to be taken when its figures are
 * written; NULL if there is none.
 */
static LivePartition *
my_partition(int32 partition)
{
	for (int p = 0; mine != NULL && p < LIVE_PARTITIONS; p++)
	{
		LivePartition *slot = &mine->partitions[p];
		uint32 taken = pg_atomic_read_u32(&slot->partition);

		if (taken == (uint32) partition + 1)
			return slot;
		if (taken == 0)
		{
			pg_atomic_write_u64(&slot->complete_at, 0);
			return slot;
		}
	}
	return NULL;
}

void
mdb_live_watermarks(int32 partition, int64 low, int64 high)
{
	LivePartition *slot = my_partition(partition);

	if (slot == NULL)
		return;
	pg_atomic_write_u64(&slot->low, (uint64) low);
	pg_atomic_write_u64(&slot->high, (uint64) high);
	pg_atomic_write_u32(&slot->partition, (uint32) partition + 1);
}

void
mdb_live_complete(int32 partition, int64 offset, TimestampTz at)
{
	LivePartition *slot = my_partition(partition);

	/* Not before its watermarks are known. */
	if (slot == NULL || pg_atomic_read_u32(&slot->partition) == 0)
		return;
	pg_atomic_write_u64(&slot->complete_offset, (uint64) offset);
	pg_write_barrier();
	pg_atomic_write_u64(&slot->complete_at, (uint64) at);
}

void
mdb_live_error(const char *message)
{
	if (mine == NULL)
		return;
	LWLockAcquire(live_lock, LW_EXCLUSIVE);
	strlcpy(mine->error, message, LIVE_ERROR_LENGTH);
	mine->error[pg_mbcliplen(mine->error, strlen(mine->error), LIVE_ERROR_LENGTH - 1)] = '\0';
	mine->error_at = GetCurrentTimestamp();
	LWLockRelease(live_lock);
}

static const char *
phase_name(uint32 phase)
{
	static const char *const names[] = {"none",    "starting", "connecting",
										"running", "flushing", "backing off"};

	return phase < lengthof(names) ? names[phase] : "?";
}

void
mdb_live_look(int32 source_id, MdbLiveSeen *seen)
{
	memset(seen, 0, sizeof(*seen));
	if (live == NULL)
		return;
	seen->partitions = palloc(LIVE_PARTITIONS * sizeof(*seen->partitions));
	LWLockAcquire(live_lock, LW_SHARED);
	for (int i = 0; i < LIVE_SOURCES; i++)
	{
		LiveSource *slot = &live[i];

		if (slot->database != MyDatabaseId || slot->source_id != source_id)
			continue;
		seen->worker = (slot->pid != 0);
		seen->phase = (MdbPhase) pg_atomic_read_u32(&slot->phase);
		for (int p = 0; p < LIVE_PARTITIONS; p++)
		{
			LivePartition *part = &slot->partitions[p];
			uint32 taken = pg_atomic_read_u32(&part->partition);

			if (taken == 0)
				break;
			seen->partitions[p].partition = (int32) taken - 1;
			seen->partitions[p].at = (TimestampTz) pg_atomic_read_u64(&part->complete_at);
			pg_read_barrier();
			seen->partitions[p].offset = (int64) pg_atomic_read_u64(&part->complete_offset);
			seen->npartitions++;
		}
		break;
	}
	LWLockRelease(live_lock);
}

/*
 * may_see - is it a source of this database, and the user its owner or a monitor?
 */
static bool
may_see(const LiveSource *slot)
{
	return slot->database == MyDatabaseId &&
		   (has_privs_of_role(GetUserId(), ROLE_PG_MONITOR) || has_privs_of_role(GetUserId(), slot->owner));
}

/*
 * mdb_kafka_live - metricsdb.kafka_live() RETURNS SETOF record: one row a source
 */
Datum
mdb_kafka_live(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (live == NULL)
		return (Datum) 0;

	LWLockAcquire(live_lock, LW_SHARED);
	for (int i = 0; i < LIVE_SOURCES; i++)
	{
		LiveSource *slot = &live[i];
		Datum values[9];
		bool nulls[9] = {false};

		if (!may_see(slot))
			continue;
		values[0] = Int32GetDatum(slot->source_id);
		values[1] = Int32GetDatum(slot->pid);
		values[2] = CStringGetTextDatum(phase_name(pg_atomic_read_u32(&slot->phase)));
		values[3] = TimestampTzGetDatum(slot->since);
		values[4] = Int64GetDatum(pg_atomic_read_u64(&slot->pending_points));
		values[5] = Int64GetDatum(pg_atomic_read_u64(&slot->pending_messages));
		values[6] = Int64GetDatum(pg_atomic_read_u64(&slot->points_per_second));
		values[7] = CStringGetTextDatum(slot->error);
		values[8] = TimestampTzGetDatum(slot->error_at);
		nulls[1] = (slot->pid == 0);
		nulls[7] = nulls[8] = (slot->error_at == 0);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	LWLockRelease(live_lock);
	return (Datum) 0;
}

/*
 * mdb_kafka_live_partitions - metricsdb.kafka_live_partitions() RETURNS SETOF record
 */
Datum
mdb_kafka_live_partitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (live == NULL)
		return (Datum) 0;

	LWLockAcquire(live_lock, LW_SHARED);
	for (int i = 0; i < LIVE_SOURCES; i++)
	{
		LiveSource *slot = &live[i];

		/* Figures of a worker that has ended are old, the table's are better. */
		if (!may_see(slot) || slot->pid == 0)
			continue;
		for (int p = 0; p < LIVE_PARTITIONS; p++)
		{
			LivePartition *part = &slot->partitions[p];
			uint32 taken = pg_atomic_read_u32(&part->partition);
			Datum values[4];
			bool nulls[4] = {false};

			if (taken == 0)
				break;
			values[0] = Int32GetDatum(slot->source_id);
			values[1] = Int32GetDatum((int32) taken - 1);
			values[2] = Int64GetDatum((int64) pg_atomic_read_u64(&part->low));
			values[3] = Int64GetDatum((int64) pg_atomic_read_u64(&part->high));
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
	LWLockRelease(live_lock);
	return (Datum) 0;
}
