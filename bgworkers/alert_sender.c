/*
 * alert_sender.c
 *	  Tells the targets of one database what its outbox has of alerts.
 *
 * What is sent when src/deliver sees to.  The maintainer starts it when there is a target, and it leaves when there is none.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "deliver/deliver.h"
#include "worker.h"

void
mdb_alert_sender_main(Datum arg)
{
	MemoryContext context =
		AllocSetContextCreate(TopMemoryContext, "metricsdb alert sender", ALLOCSET_DEFAULT_SIZES);
	volatile int failures = 0;

	mdb_worker_begin(MDB_WORKER_ALERT_SENDER, arg);
	while (mdb_workers_enabled)
	{
		volatile bool wanted = true;

		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		PG_TRY();
		{
			wanted = mdb_deliver_step();
			pgstat_report_stat(false);
			failures = 0;
		}
		PG_CATCH();
		{
			mdb_worker_recover(context);
			mdb_deliver_reset();
			failures++;
		}
		PG_END_TRY();
		if (!wanted)
			proc_exit(0);
		if (failures > 0)
			mdb_worker_wait(mdb_worker_backoff(failures));
		else if (ConfigReloadPending)
			mdb_worker_wait(0);
	}
}
