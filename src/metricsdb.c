/*
 * metricsdb.c
 *	  Module start-up, and nothing else.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "metricsdb.h"
#include "stop.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

/*
 * _PG_init - called when the library is loaded: settings first, then hooks, then workers.
 */
void
_PG_init(void)
{
#ifdef MDB_TESTING
	mdb_stop_init();
#endif
	mdb_store_init();
	mdb_series_init();
	mdb_guard_init();
	mdb_write_init();
	mdb_am_init();
	mdb_exec_init();
	mdb_route_init();
	mdb_admin_init();
	mdb_rollup_init();
	mdb_ingest_init();
	mdb_time_init();
	mdb_apply_init();
	mdb_dist_init();
	mdb_deliver_init();
	mdb_alert_init();
	mdb_alert_worker_init();
	mdb_gather_init();
	mdb_workers_init();

	MarkGUCPrefixReserved("metricsdb");
}
