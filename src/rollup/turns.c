/*
 * turns.c
 *	  All continuous aggregates of a database, step by step: which is next, and what becomes of one that fails.
 *
 * Finer ones come first, so that the coarser ones have what they are made of.  History is filled back when nothing is
 * due, a batch at a time.  One that fails is tried again later, longer each time, and given up after so many
 * failures in a row: then merges and retention of its source do not wait for it any more.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "metricsdb.h"
#include "rollup/apply.h"
#include "stop.h"

/* As long as there is something to do, for about so long. */
#define ROUND_US (1 * USECS_PER_SEC)

/* After the first failure, doubled with each. */
#define RETRY_US     (1 * USECS_PER_SEC)
#define RETRY_MAX_US (120 * USECS_PER_SEC)

int mdb_rollup_max_failures = 10;
int mdb_rollup_interval = 500;

/*
 * mdb_apply_init - at load: settings.
 */
void
mdb_apply_init(void)
{
	DefineCustomIntVariable(
		"metricsdb.rollup_batch_rows", "About how many rows a continuous aggregate takes in one transaction.",
		"Whole parts and buckets are taken, so that it may be more.", &mdb_rollup_batch_rows,
		mdb_rollup_batch_rows, 1, INT_MAX, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("metricsdb.rollup_interval",
							"Until the background looks again for what continuous aggregates are to take.",
							"-1: it does not; metricsdb.refresh() does.", &mdb_rollup_interval,
							mdb_rollup_interval, -1, 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("metricsdb.rollup_max_failures",
							"Failures in a row after which a continuous aggregate is detached.",
							"metricsdb.attach_aggregate() attaches it again; 0: it never is detached.",
							&mdb_rollup_max_failures, 10, 0, INT_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static void
begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit(MemoryContext mcxt)
{
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(mcxt);
}

/* Coarser ones behind those that they are made of; n is small. */
static void
sort_by_level(MdbAggregate *list, int n)
{
	for (int i = 0; i < n; i++)
	{
		int next = i;

		for (int k = i; k < n; k++)
		{
			bool ready = true;

			for (int m = i; m < n; m++)
				if (list[m].aggregate == list[k].parent)
					ready = false;
			if (ready)
			{
				next = k;
				break;
			}
		}
		if (next != i)
		{
			MdbAggregate a = list[next];

			list[next] = list[i];
			list[i] = a;
		}
	}
}

/* Those that are to be kept up to date, in mcxt. */
static MdbAggregate *
list_aggregates(MemoryContext mcxt, int *count)
{
	MdbAggregate *list = NULL;
	int n = 0;

	begin();
	MemoryContextSwitchTo(mcxt);
	if (OidIsValid(mdb_catalog_relid("continuous_aggregate", true)))
		list = mdb_aggregates_all(GetActiveSnapshot(), count);
	else
		*count = 0;
	for (int i = 0; i < *count; i++)
		if (list[i].attached)
			list[n++] = list[i];
	*count = n;
	commit(mcxt);
	sort_by_level(list, n);
	return list;
}

/* An attempt has ended in an error: it is remembered, and perhaps the aggregate given up. */
static void
note_failure(MdbAggregate *a, MemoryContext mcxt)
{
	ErrorData *error;
	char *name;

	MemoryContextSwitchTo(mcxt);
	HOLD_INTERRUPTS();
	errcontext("continuous aggregate with states %u", a->aggregate);
	error = CopyErrorData();
	EmitErrorReport();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	RESUME_INTERRUPTS();

	a->failures++;
	a->retry_at = GetCurrentTimestamp() + Min(RETRY_MAX_US, RETRY_US << Min(a->failures - 1, 10));
	begin();
	name = get_rel_name(a->view);
	if (mdb_aggregate_lock(a->aggregate, LockWaitSkip) != NULL)
	{
		mdb_aggregate_note_failure(a->aggregate, a->failures, error->message ? error->message : "",
								   a->retry_at);
		if (mdb_rollup_max_failures > 0 && a->failures >= mdb_rollup_max_failures)
		{
			mdb_aggregate_set_attached(a->aggregate, false);
			a->attached = false;
			ereport(LOG, (errmsg("continuous aggregate \"%s\" is detached after %d failures in a row",
								 name ? name : "?", a->failures),
						  errdetail("The last one: %s", error->message ? error->message : ""),
						  errhint("SELECT metricsdb.attach_aggregate() when it is mended.")));
		}
		MDB_STOP("rollup.failure");
	}
	commit(mcxt);
}

/* One transaction for an aggregate. */
static MdbStep
take_turn(MdbAggregate *a, MdbApplyWhat what, MemoryContext mcxt)
{
	MdbApplyGoal goal = {.what = what, .from = PG_INT64_MIN, .to = PG_INT64_MAX};
	volatile MdbStep step = MDB_STEP_NOTHING;

	if (!a->attached || (a->retry_at != 0 && a->retry_at > GetCurrentTimestamp()))
		return MDB_STEP_NOTHING;
	PG_TRY();
	{
		begin();
		step = mdb_aggregate_apply(a->aggregate, &goal, false);
		commit(mcxt);
		if (step == MDB_STEP_DONE)
		{
			a->failures = 0;
			a->retry_at = 0;
			MDB_STOP("rollup.committed");
		}
	}
	PG_CATCH();
	{
		note_failure(a, mcxt);
		step = MDB_STEP_NOTHING;
	}
	PG_END_TRY();
	CHECK_FOR_INTERRUPTS();
	return step;
}

/* What is due of all of them; true if something was. */
static bool
round_of_due(MdbAggregate *list, int n, TimestampTz until, MemoryContext mcxt)
{
	bool any = false;

	for (int i = 0; i < n; i++)
		while (take_turn(&list[i], MDB_APPLY_DUE, mcxt) == MDB_STEP_DONE)
		{
			any = true;
			if (GetCurrentTimestamp() >= until)
				break;
		}
	return any;
}

/*
 * mdb_rollup_wanted - is there an aggregate to be kept up to date?  Called in a transaction with a snapshot.
 */
bool
mdb_rollup_wanted(void)
{
	MdbAggregate *list;
	int n;

	if (mdb_rollup_interval < 0 || !OidIsValid(mdb_catalog_relid("continuous_aggregate", true)))
		return false;
	list = mdb_aggregates_all(GetActiveSnapshot(), &n);
	for (int i = 0; i < n; i++)
		if (list[i].attached)
			return true;
	return false;
}

/*
 * mdb_rollup_step - bring the aggregates of the current database up to date, for about a second.
 *
 * Called outside a transaction; runs its own.  Milliseconds until there may be something to do; -1 if there is nothing to
 * be kept up to date.  Errors of an aggregate are reported and remembered; others are raised.
 */
long
mdb_rollup_step(void)
{
	/* Outlives transactions, and errors. */
	static MemoryContext mcxt = NULL;
	TimestampTz until = GetCurrentTimestamp() + ROUND_US;
	MdbAggregate *list;
	bool any = false;
	int n;

	if (mcxt == NULL)
		mcxt = AllocSetContextCreate(TopMemoryContext, "metricsdb aggregates", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(mcxt);
	list = list_aggregates(mcxt, &n);
	if (n == 0 || mdb_rollup_interval < 0)
		return -1;
	do
	{
		any = round_of_due(list, n, until, mcxt);
		for (int i = 0; !any && i < n; i++)
			any = take_turn(&list[i], MDB_APPLY_HISTORY, mcxt) == MDB_STEP_DONE;
	} while (any && GetCurrentTimestamp() < until);
	return any ? 0 : Max(mdb_rollup_interval, 1);
}
