/*
 * rollup_worker.c
 *	  Keeps the continuous aggregates of one database up to date.
 *
 * What is due, and what fails, src/rollup/turns.c sees to.  The maintainer starts it when there is an aggregate, and
 * it leaves when there is none, or when it has nothing to do and another database lacks a maintainer.
 */
#include "postgres.h"

#include "rollup/apply.h"
#include "worker.h"

void
mdb_rollup_worker_main(Datum arg)
{
	mdb_worker_rounds(MDB_WORKER_ROLLUP, arg, "continuous aggregates", mdb_rollup_step, NULL, true);
}
