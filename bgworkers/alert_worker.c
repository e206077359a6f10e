/*
 * alert_worker.c
 *	  Evaluates the rules of one database.
 *
 * What is due, and what fails, src/alert/step.c sees to.  The maintainer starts it when there is a rule, and it leaves
 * when there is none, and nothing of one that was.
 */
#include "postgres.h"

#include "alert/alert.h"
#include "worker.h"

void
mdb_alert_worker_main(Datum arg)
{
	mdb_worker_rounds(MDB_WORKER_ALERT, arg, "alerts", mdb_alert_step, mdb_alert_recover, false);
}
