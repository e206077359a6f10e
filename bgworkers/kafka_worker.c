/*
 * kafka_worker.c
 *	  The worker of one Kafka source; all it does is in src/ingest.
 */
#include "postgres.h"

#include "ingest/ingest.h"
#include "worker.h"

static bool
keep_going(void)
{
	return mdb_workers_enabled;
}

void
mdb_kafka_worker_main(Datum arg)
{
	mdb_ingest_run(mdb_worker_begin(MDB_WORKER_KAFKA, arg), keep_going);
}
