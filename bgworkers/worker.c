/*
 * worker.c
 *	  The frame that all background workers share, and the register of those that run.
 *
 * The register is a small array in shared memory.  Who starts a worker takes a slot and passes
 * its number; the worker enters its process id, and clears the slot when it ends.
 *
 * Invariants:
 *	1. A slot is taken, entered and freed under the register's lock; nothing else happens there.
 *	2. There is at most one worker for each (kind, database, source), for a slot says so from
 *	   before it is started until after it has ended.  (Kafka offsets do not rest on this.)
 *	3. A slot whose worker did not come within START_TIME is free again; the turn number keeps a
 *	   latecomer from entering it.
 *	4. No worker is started in a database that somebody asked to leave, for LEAVE_TIME.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "metricsdb.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(mdb_running_workers);
PG_FUNCTION_INFO_V1(mdb_wake_launcher);

#define SLOTS            256
#define LEAVES           16
#define START_TIME       (30 * USECS_PER_SEC)
#define LEAVE_TIME       (10 * USECS_PER_SEC)
#define WANTED_TIME      (5 * USECS_PER_SEC)
#define REGISTER_TRANCHE "metricsdb_workers"

typedef struct Slot
{
	bool taken;
	uint32 turn; /* counts how often the slot was taken */
	MdbWorkerKind kind;
	Oid database;
	int32 source_id;
	pid_t pid; /* 0 = not there yet */
	TimestampTz since;
} Slot;

typedef struct Register
{
	Slot slots[SLOTS];
	struct
	{
		Oid database;
		TimestampTz until;
	} leaves[LEAVES];
	uint32 wakes;
	pid_t launcher;
	TimestampTz wanted_at; /* a database had no maintainer for want of a worker process */
} Register;

bool mdb_workers_enabled = true;

static Register *reg = NULL;
static LWLock *reg_lock = NULL;
static int my_slot = -1;

static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

static const char *const main_functions[] = {"mdb_launcher_main",     "mdb_maintainer_main",
											 "mdb_kafka_worker_main", "mdb_rollup_worker_main",
											 "mdb_alert_worker_main", "mdb_alert_sender_main"};
static const char *const kind_names[] = {"metricsdb launcher",     "metricsdb maintainer",
										 "metricsdb kafka worker", "metricsdb roll-up worker",
										 "metricsdb alert worker", "metricsdb alert sender"};

static void
register_shmem_request(void)
{
	if (next_shmem_request)
		next_shmem_request();
	RequestAddinShmemSpace(sizeof(Register));
	RequestNamedLWLockTranche(REGISTER_TRANCHE, 1);
}

static void
register_shmem_startup(void)
{
	bool found;

	if (next_shmem_startup)
		next_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	reg = ShmemInitStruct("metricsdb workers", sizeof(Register), &found);
	reg_lock = &GetNamedLWLockTranche(REGISTER_TRANCHE)->lock;
	if (!found)
		memset(reg, 0, sizeof(Register));
	LWLockRelease(AddinShmemInitLock);
}

/*
 * describe - fill in what is common to all workers.
 */
static void
describe(BackgroundWorker *worker, MdbWorkerKind kind, const char *name)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, MDB_EXTENSION, BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, main_functions[kind], BGW_MAXLEN);
	strlcpy(worker->bgw_type, kind_names[kind], BGW_MAXLEN);
	if (name)
		snprintf(worker->bgw_name, BGW_MAXLEN, "%s: %s", kind_names[kind], name);
	else
		strlcpy(worker->bgw_name, kind_names[kind], BGW_MAXLEN);
}

/*
 * mdb_workers_init - settings, the register, and the launcher, if the server is just starting.
 */
void
mdb_workers_init(void)
{
	BackgroundWorker launcher;

	DefineCustomBoolVariable(
		"metricsdb.workers",
		"Run background workers: compaction, continuous aggregates, Kafka ingestion, alerts.",
		"Turn it off in a copy that must not consume from Kafka, nor send alerts.", &mdb_workers_enabled,
		true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	if (!process_shared_preload_libraries_in_progress)
		return;

	next_shmem_request = shmem_request_hook;
	shmem_request_hook = register_shmem_request;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = register_shmem_startup;
	mdb_worker_hooks_init();

	describe(&launcher, MDB_WORKER_LAUNCHER, NULL);
	launcher.bgw_restart_time = 5;
	RegisterBackgroundWorker(&launcher);
}

/*
 * occupied - is the slot taken by a worker that runs, or may still come?
 */
static bool
occupied(const Slot *slot)
{
	return slot->taken && (slot->pid != 0 || GetCurrentTimestamp() - slot->since < START_TIME);
}

static int
find_slot(MdbWorkerKind kind, Oid database, int32 source_id)
{
	for (int i = 0; i < SLOTS; i++)
		if (occupied(&reg->slots[i]) && reg->slots[i].kind == kind && reg->slots[i].database == database &&
			reg->slots[i].source_id == source_id)
			return i;
	return -1;
}

static bool
being_left(Oid database)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < LEAVES; i++)
		if (reg->leaves[i].database == database && reg->leaves[i].until > now)
			return true;
	return false;
}

bool
mdb_worker_present(MdbWorkerKind kind, Oid database, int32 source_id)
{
	bool found;

	LWLockAcquire(reg_lock, LW_SHARED);
	found = find_slot(kind, database, source_id) >= 0;
	LWLockRelease(reg_lock);
	return found;
}

bool
mdb_worker_start(MdbWorkerKind kind, Oid database, int32 source_id, const char *name)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;
	uint32 turn = 0;
	int at = -1;

	LWLockAcquire(reg_lock, LW_EXCLUSIVE);
	if (find_slot(kind, database, source_id) < 0 && !being_left(database))
	{
		for (at = 0; at < SLOTS && occupied(&reg->slots[at]); at++)
			;
		if (at < SLOTS)
		{
			Slot *slot = &reg->slots[at];

			turn = (slot->turn + 1) & 0x3fffff;
			slot->taken = true;
			slot->turn = turn;
			slot->kind = kind;
			slot->database = database;
			slot->source_id = source_id;
			slot->pid = 0;
			slot->since = GetCurrentTimestamp();
		}
	}
	LWLockRelease(reg_lock);
	if (at < 0 || at == SLOTS)
		return false;

	describe(&worker, kind, name);
	worker.bgw_main_arg = Int32GetDatum((int32) (turn << 8 | at));
	if (RegisterDynamicBackgroundWorker(&worker, &handle))
		return true;

	LWLockAcquire(reg_lock, LW_EXCLUSIVE);
	if (reg->slots[at].turn == turn)
		reg->slots[at].taken = false;
	if (kind == MDB_WORKER_MAINTAINER)
		reg->wanted_at = GetCurrentTimestamp();
	LWLockRelease(reg_lock);
	return false;
}

bool
mdb_worker_make_room(void)
{
	bool wanted;

	LWLockAcquire(reg_lock, LW_EXCLUSIVE);
	wanted = reg->wanted_at > GetCurrentTimestamp() - WANTED_TIME;
	reg->wanted_at = 0;
	LWLockRelease(reg_lock);
	return wanted;
}

static void
leave_register(int code, Datum arg)
{
	LWLockAcquire(reg_lock, LW_EXCLUSIVE);
	if (my_slot >= 0 && reg->slots[my_slot].pid == MyProcPid)
		reg->slots[my_slot].taken = false;
	if (reg->launcher == MyProcPid)
		reg->launcher = 0;
	LWLockRelease(reg_lock);
}

/*
 * enter_register - take up the slot that was reserved for us; leave at once if it is not any more.
 */
static Slot
enter_register(MdbWorkerKind kind, Datum arg)
{
	uint32 number = (uint32) DatumGetInt32(arg);
	Slot copy = {0};

	LWLockAcquire(reg_lock, LW_EXCLUSIVE);
	if (kind == MDB_WORKER_LAUNCHER)
	{
		reg->launcher = MyProcPid;
		for (int i = 0; i < SLOTS && my_slot < 0; i++)
			if (!occupied(&reg->slots[i]))
				my_slot = i;
		if (my_slot >= 0)
		{
			Slot *slot = &reg->slots[my_slot];

			slot->taken = true;
			slot->turn++;
			slot->kind = kind;
			slot->database = InvalidOid;
			slot->source_id = 0;
		}
	}
	else
	{
		Slot *slot = &reg->slots[number & 0xff];

		if (slot->taken && slot->turn == number >> 8 && slot->kind == kind && !being_left(slot->database))
			my_slot = number & 0xff;
	}
	if (my_slot >= 0)
	{
		reg->slots[my_slot].pid = MyProcPid;
		reg->slots[my_slot].since = GetCurrentTimestamp();
		copy = reg->slots[my_slot];
	}
	LWLockRelease(reg_lock);
	if (my_slot < 0 && kind != MDB_WORKER_LAUNCHER)
		proc_exit(0);
	before_shmem_exit(leave_register, (Datum) 0);
	return copy;
}

/*
 * be_ourselves - what ALTER DATABASE ... SET says of session_authorization and role is not meant for us: we serve all
 * users, and become whom we work for.
 */
static void
be_ourselves(void)
{
	StartTransactionCommand();
	if (GetSessionUserId() != BOOTSTRAP_SUPERUSERID)
		SetConfigOption("session_authorization", GetUserNameFromId(BOOTSTRAP_SUPERUSERID, false), PGC_USERSET,
						PGC_S_SESSION);
	SetConfigOption("role", "none", PGC_USERSET, PGC_S_SESSION);
	CommitTransactionCommand();
}

int32
mdb_worker_begin(MdbWorkerKind kind, Datum arg)
{
	/* Settings of the database or the server that are not meant for us. */
	static const char *const settings[][2] = {{"search_path", "pg_catalog"},
											  {"default_transaction_isolation", "read committed"},
											  {"default_transaction_read_only", "off"},
											  {"default_transaction_deferrable", "off"},
											  {"statement_timeout", "0"},
											  {"lock_timeout", "0"},
											  {"idle_in_transaction_session_timeout", "0"},
											  {"row_security", "on"},
											  {NULL, NULL}};
	Slot slot;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, StatementCancelHandler);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();

	slot = enter_register(kind, arg);
	if (kind == MDB_WORKER_LAUNCHER)
		BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	else
		BackgroundWorkerInitializeConnectionByOid(slot.database, InvalidOid, 0);

	for (int i = 0; settings[i][0]; i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION);
	be_ourselves();
	mdb_no_transaction_timeout();
	pgstat_report_appname(MyBgworkerEntry->bgw_name);
	pgstat_report_activity(STATE_IDLE, NULL);
	return slot.source_id;
}

void
mdb_worker_wait(long ms)
{
	int rc = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);

	if (rc & WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

void
mdb_worker_recover(MemoryContext context)
{
	HOLD_INTERRUPTS();
	EmitErrorReport();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(context);
	FlushErrorState();
	pgstat_report_activity(STATE_IDLE, NULL);
	RESUME_INTERRUPTS();
}

long
mdb_worker_backoff(int failures)
{
	return Min(120L, 1L << Min(Max(failures - 1, 0), 7)) * 1000L;
}

void
mdb_worker_rounds(MdbWorkerKind kind, Datum slot, const char *activity, long (*step)(void),
				  void (*recover)(void), bool gives_way)
{
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "metricsdb worker", ALLOCSET_DEFAULT_SIZES);
	volatile int failures = 0;

	mdb_worker_begin(kind, slot);
	while (mdb_workers_enabled)
	{
		volatile long wait_ms = 0;

		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		PG_TRY();
		{
			pgstat_report_activity(STATE_RUNNING, activity);
			wait_ms = step();
			pgstat_report_stat(false);
			pgstat_report_activity(STATE_IDLE, NULL);
			failures = 0;
		}
		PG_CATCH();
		{
			mdb_worker_recover(context);
			if (recover)
				recover();
			failures++;
			wait_ms = mdb_worker_backoff(failures);
		}
		PG_END_TRY();
		if (wait_ms < 0 || (gives_way && wait_ms > 0 && mdb_worker_make_room()))
			proc_exit(0);
		mdb_worker_wait(Max(wait_ms, 1));
	}
}

void
mdb_workers_leave(Oid database)
{
	TimestampTz now = GetCurrentTimestamp();
	int oldest = 0;

	if (reg == NULL)
		return;
	LWLockAcquire(reg_lock, LW_EXCLUSIVE);
	for (int i = 1; i < LEAVES; i++)
		if (reg->leaves[i].until < reg->leaves[oldest].until)
			oldest = i;
	reg->leaves[oldest].database = database;
	reg->leaves[oldest].until = now + LEAVE_TIME;
	for (int i = 0; i < SLOTS; i++)
	{
		Slot *slot = &reg->slots[i];

		/* A slot with a pid is cleared by that process before it is gone. */
		if (slot->taken && slot->database == database && slot->pid != 0)
			kill(slot->pid, SIGTERM);
		else if (slot->taken && slot->database == database)
			slot->taken = false;
	}
	LWLockRelease(reg_lock);

	/* They mostly need some milliseconds; who does not come to an end is waited for by the caller. */
	for (int tries = 0; tries < 200; tries++)
	{
		bool gone = true;

		LWLockAcquire(reg_lock, LW_SHARED);
		for (int i = 0; i < SLOTS; i++)
			if (reg->slots[i].taken && reg->slots[i].database == database && reg->slots[i].pid != 0)
				gone = false;
		LWLockRelease(reg_lock);
		if (gone)
			break;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(10000L);
	}
}

void
mdb_workers_wake(void)
{
	pid_t launcher;

	if (reg == NULL)
		return;
	LWLockAcquire(reg_lock, LW_EXCLUSIVE);
	reg->wakes++;
	for (int i = 0; i < LEAVES; i++)
		if (reg->leaves[i].database == MyDatabaseId)
			reg->leaves[i].until = 0;
	launcher = reg->launcher;
	LWLockRelease(reg_lock);

	/* SIGHUP sets its latch; that it reads its configuration again does no harm. */
	if (launcher != 0)
		kill(launcher, SIGHUP);
}

uint32
mdb_workers_wakes(void)
{
	uint32 wakes;

	LWLockAcquire(reg_lock, LW_SHARED);
	wakes = reg->wakes;
	LWLockRelease(reg_lock);
	return wakes;
}

/* The transaction created the extension. */
static bool wake_pending = false;

/*
 * wake_at_commit - the extension is visible from now on: somebody has to look.
 */
static void
wake_at_commit(XactEvent event, void *arg)
{
	if (wake_pending && event == XACT_EVENT_COMMIT)
		mdb_workers_wake();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		wake_pending = false;
}

/*
 * mdb_wake_launcher - metricsdb.wake_launcher(): called when the extension is created.
 */
Datum
mdb_wake_launcher(PG_FUNCTION_ARGS)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(wake_at_commit, NULL);
	registered = true;
	wake_pending = true;
	PG_RETURN_VOID();
}

/*
 * mdb_running_workers - metricsdb.running_workers() RETURNS SETOF record
 */
Datum
mdb_running_workers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (reg == NULL)
		return (Datum) 0;

	LWLockAcquire(reg_lock, LW_SHARED);
	for (int i = 0; i < SLOTS; i++)
	{
		const Slot *slot = &reg->slots[i];
		Datum values[5];
		bool nulls[5] = {false};

		if (!occupied(slot))
			continue;
		values[0] = Int32GetDatum(slot->pid);
		values[1] = CStringGetTextDatum(kind_names[slot->kind]);
		values[2] = ObjectIdGetDatum(slot->database);
		values[3] = Int32GetDatum(slot->source_id);
		values[4] = TimestampTzGetDatum(slot->since);
		nulls[0] = (slot->pid == 0);
		nulls[2] = !OidIsValid(slot->database);
		nulls[3] = (slot->kind != MDB_WORKER_KAFKA);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	LWLockRelease(reg_lock);
	return (Datum) 0;
}
