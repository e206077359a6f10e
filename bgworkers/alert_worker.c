/*
 * alert_worker.c
 *	  Evaluates the rules of one database.
 *
 * What is due, and what fails, src/alert/step.c sees to.  The maintainer starts it when there is a rule, and it leaves
 * when there is none, and nothing of one that was.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "alert/alert.h"
#include "worker.h"

void
mdb_alert_worker_main(Datum arg)
{
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "metricsdb alert worker", ALLOCSET_DEFAULT_SIZES);
	volatile int failures = 0;

	mdb_worker_begin(MDB_WORKER_ALERT, arg);
	while (mdb_workers_enabled)
	{
		volatile long wait_ms = 0;

		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		PG_TRY();
		{
			pgstat_report_activity(STATE_RUNNING, "alerts");
			wait_ms = mdb_alert_step();
			pgstat_report_stat(false);
			pgstat_report_activity(STATE_IDLE, NULL);
			failures = 0;
		}
		PG_CATCH();
		{
			mdb_worker_recover(context);
			mdb_alert_recover();
			failures++;
			wait_ms = mdb_worker_backoff(failures);
		}
		PG_END_TRY();
		if (wait_ms < 0)
			proc_exit(0);
		mdb_worker_wait(Max(wait_ms, 1));
	}
}
