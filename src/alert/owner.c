/*
 * owner.c
 *	  The frame in which what a rule says is run: as the rule's owner, for so long and not longer.
 *
 * The owner's rights and row-level policies hold, nobody else's; the transaction is read-only, or is not for the rows of a
 * recording rule; no setting, advisory lock, prepared statement or error gets out.  A function that catches the time-out
 * is asked again each second, and ends the worker if it goes on: strikes.c.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/prepare.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "alert/evaluate.h"

#define DEFAULT_WORK_MEM   "16MB"
#define DEFAULT_TEMP_FILES "1GB"

/* So often a cancellation may be caught, a second apart. */
#define CAUGHT_MAX 3

/* Set by the handler. */
static volatile sig_atomic_t fired = 0;
static bool in_worker = false;

static void
time_is_out(void)
{
	fired++;
	if (in_worker && fired > CAUGHT_MAX)
		ProcDiePending = true;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/*
 * mdb_evaluation_by_worker - this process is the alert worker: it may be ended by a rule that does not end.
 */
void
mdb_evaluation_by_worker(void)
{
	in_worker = true;
}

/*
 * mdb_evaluation_would_not_end - is this process ended because a rule would not be cancelled?
 */
bool
mdb_evaluation_would_not_end(void)
{
	return in_worker && fired > CAUGHT_MAX;
}

static TimeoutId timer = 0;

static void
start_timer(const MdbRule *rule)
{
	if (timer == 0)
		timer = RegisterTimeout(USER_TIMEOUT, time_is_out);
	fired = 0;
	enable_timeout_every(timer, GetCurrentTimestamp() + rule->timeout, 1000);
}

/* A cancellation that comes too late is none. */
static void
stop_timer(void)
{
	disable_timeout(timer, false);
	if (fired > 0)
		QueryCancelPending = false;
}

static void
set_local(const char *name, const char *value, GucContext context)
{
	(void) set_config_option(name, value, context, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

static void
settings(const MdbRule *rule)
{
	char *memory = mdb_json_text(rule->options, "work_mem");

	set_local("search_path", rule->search_path, PGC_USERSET);
	set_local("work_mem", memory ? memory : DEFAULT_WORK_MEM, PGC_USERSET);
	set_local("temp_file_limit", DEFAULT_TEMP_FILES, PGC_SUSET);
	set_local("max_parallel_workers_per_gather", "0", PGC_USERSET);
	set_local("jit", "off", PGC_USERSET);
	set_local("row_security", "on", PGC_USERSET);
	set_local("DateStyle", "ISO", PGC_USERSET);
	set_local("IntervalStyle", "postgres", PGC_USERSET);
	set_local("extra_float_digits", "1", PGC_USERSET);
	set_local("default_tablespace", "", PGC_USERSET);
}

/* Why it failed, in one line. */
static char *
reason(const MdbRule *rule, const ErrorData *error)
{
	if (fired > 0 && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		return psprintf("the evaluation took longer than its time-out of %lld ms",
						(long long) (rule->timeout / 1000));
	if (error->detail)
		return psprintf("%s: %s", error->message, error->detail);
	return pstrdup(error->message ? error->message : "unknown error");
}

/* What the owner's functions may have left behind in the session. */
static void
clean_session(void)
{
	if (!in_worker)
		return;
	LockReleaseSession(USER_LOCKMETHOD);
	DropAllPreparedStatements();
}

/*
 * mdb_run_as_owner - call run() as a rule's owner at the tick seen->at, with a snapshot, in a subtransaction.
 *
 * An error of it is told in seen->error, in the caller's context, and no observations are left then; false.  Only what
 * cancels a session's own command is raised.
 */
bool
mdb_run_as_owner(const MdbRule *rule, MdbObservations *seen, bool read_only, MdbEvaluation run)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	TimestampTz before = mdb_eval_time_set(seen->at);
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		Oid user;
		int sec_context, level;

		if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(rule->owner)))
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
							errmsg("the owner of rule \"%s\" does not exist any more", rule->name)));
		level = NewGUCNestLevel();
		settings(rule);
		GetUserIdAndSecContext(&user, &sec_context);
		SetUserIdAndSecContext(rule->owner, SECURITY_RESTRICTED_OPERATION | SECURITY_LOCAL_USERID_CHANGE);
		if (read_only)
			XactReadOnly = true;
		start_timer(rule);
		PushActiveSnapshot(GetTransactionSnapshot());
		run(rule, seen);
		PopActiveSnapshot();
		stop_timer();
		SetUserIdAndSecContext(user, sec_context);
		AtEOXact_GUC(false, level);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		stop_timer();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	(void) mdb_eval_time_set(before);
	clean_session();
	if (error == NULL)
		return true;
	if (!in_worker && fired == 0 && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	seen->count = 0;
	seen->error = reason(rule, error);
	FreeErrorData(error);
	return false;
}
