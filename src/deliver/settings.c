/*
 * settings.c
 *	  Settings of delivery, and how its worker is woken: each database's sender enters its process id in shared memory,
 *	  and who has committed something for it sets its latch.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/guc.h"

#include "deliver/deliver.h"
#include "deliver/deliver_internal.h"
#include "metricsdb.h"

#define SENDERS        256 /* as many as there are slots for workers */
#define SENDER_TRANCHE "metricsdb_alert_senders"

typedef struct Sender
{
	Oid database;
	pid_t pid; /* 0 = the slot is free */
} Sender;

int mdb_alert_resend_delay = 60 * 1000;
int mdb_alert_resolved_retention = 15 * 60;

static Sender *senders = NULL;
static LWLock *senders_lock = NULL;
static bool wake_pending = false;

static shmem_request_hook_type next_shmem_request = NULL;
static shmem_startup_hook_type next_shmem_startup = NULL;

static void
senders_shmem_request(void)
{
	if (next_shmem_request)
		next_shmem_request();
	RequestAddinShmemSpace(SENDERS * sizeof(Sender));
	RequestNamedLWLockTranche(SENDER_TRANCHE, 1);
}

static void
senders_shmem_startup(void)
{
	bool found;

	if (next_shmem_startup)
		next_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	senders = ShmemInitStruct("metricsdb alert senders", SENDERS * sizeof(Sender), &found);
	senders_lock = &GetNamedLWLockTranche(SENDER_TRANCHE)->lock;
	if (!found)
		memset(senders, 0, SENDERS * sizeof(Sender));
	LWLockRelease(AddinShmemInitLock);
}

/*
 * mdb_deliver_init - at load: settings and shared memory.
 */
void
mdb_deliver_init(void)
{
	DefineCustomIntVariable("metricsdb.alert_resend_delay",
							"How often an Alertmanager is told of an alert that fires.",
							"If it hears nothing for four times as long, it takes the alert for resolved.",
							&mdb_alert_resend_delay, mdb_alert_resend_delay, 100, 3600 * 1000, PGC_SIGHUP,
							GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("metricsdb.alert_resolved_retention",
							"For how long an Alertmanager is told that an alert was resolved.", NULL,
							&mdb_alert_resolved_retention, mdb_alert_resolved_retention, 0, 24 * 3600,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	if (!process_shared_preload_libraries_in_progress)
		return;
	next_shmem_request = shmem_request_hook;
	shmem_request_hook = senders_shmem_request;
	next_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = senders_shmem_startup;
}

static void
leave_senders(int code, Datum arg)
{
	LWLockAcquire(senders_lock, LW_EXCLUSIVE);
	for (int i = 0; i < SENDERS; i++)
		if (senders[i].pid == MyProcPid)
			senders[i].pid = 0;
	LWLockRelease(senders_lock);
}

void
mdb_deliver_enter(void)
{
	LWLockAcquire(senders_lock, LW_EXCLUSIVE);
	for (int i = 0; i < SENDERS; i++)
		if (senders[i].pid == 0)
		{
			senders[i].pid = MyProcPid;
			senders[i].database = MyDatabaseId;
			break;
		}
	LWLockRelease(senders_lock);
	before_shmem_exit(leave_senders, (Datum) 0);
}

static void
wake(void)
{
	LWLockAcquire(senders_lock, LW_SHARED);
	for (int i = 0; i < SENDERS; i++)
		if (senders[i].pid != 0 && senders[i].database == MyDatabaseId)
		{
			PGPROC *proc = BackendPidGetProc(senders[i].pid);

			if (proc != NULL)
				SetLatch(&proc->procLatch);
		}
	LWLockRelease(senders_lock);
}

static void
wake_at_commit(XactEvent event, void *arg)
{
	if (wake_pending && event == XACT_EVENT_COMMIT)
		wake();
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		wake_pending = false;
}

void
mdb_deliver_wake_at_commit(void)
{
	static bool registered = false;

	if (senders == NULL)
		return;
	if (!registered)
		RegisterXactCallback(wake_at_commit, NULL);
	registered = true;
	wake_pending = true;
}
