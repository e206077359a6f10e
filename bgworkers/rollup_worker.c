/*
 * rollup_worker.c
 *	  Keeps the continuous aggregates of one database up to date.
 *
 * What is due, and what fails, src/rollup/turns.c sees to.  The maintainer starts it when there is an aggregate, and
 * it leaves when there is none, or when it has nothing to do and another database lacks a maintainer.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "rollup/apply.h"
#include "worker.h"

void
mdb_rollup_worker_main(Datum arg)
{
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "metricsdb roll-up worker", ALLOCSET_DEFAULT_SIZES);
	volatile int failures = 0;

	mdb_worker_begin(MDB_WORKER_ROLLUP, arg);
	while (mdb_workers_enabled)
	{
		volatile long wait_ms = 0;

		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		PG_TRY();
		{
			pgstat_report_activity(STATE_RUNNING, "continuous aggregates");
			wait_ms = mdb_rollup_step();
			pgstat_report_stat(false);
			pgstat_report_activity(STATE_IDLE, NULL);
			failures = 0;
		}
		PG_CATCH();
		{
			mdb_worker_recover(context);
			failures++;
			wait_ms = mdb_worker_backoff(failures);
		}
		PG_END_TRY();
		if (wait_ms < 0 || (wait_ms > 0 && mdb_worker_make_room()))
			proc_exit(0);
		if (wait_ms > 0)
			mdb_worker_wait(wait_ms);
		else
			mdb_worker_wait(1);
	}
}
