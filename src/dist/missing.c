/*
 * missing.c
 *	  Results without some of the shards: metricsdb.partial_results, and which shards those are.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "dist/dist.h"

PG_FUNCTION_INFO_V1(mdb_missing_shards);

bool mdb_partial_results = false;
bool mdb_dist_enabled = true;

static List *missing = NIL; /* of char *, in TopTransactionContext */

static void
forget_missing(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		missing = NIL;
}

/*
 * mdb_missing_note - a query does without a shard.
 */
void
mdb_missing_note(const char *shard)
{
	MemoryContext old;
	ListCell *lc;

	foreach (lc, missing)
		if (strcmp(lfirst(lc), shard) == 0)
			return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	missing = lappend(missing, pstrdup(shard));
	MemoryContextSwitchTo(old);
}

/*
 * mdb_missing_shards - shards that queries of this transaction have done without.
 */
Datum
mdb_missing_shards(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell *lc;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	foreach (lc, missing)
	{
		Datum value = CStringGetTextDatum(lfirst(lc));
		bool isnull = false;

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	}
	return (Datum) 0;
}

/*
 * mdb_missing_init - at load: the setting.
 */
void
mdb_missing_init(void)
{
	DefineCustomBoolVariable(
		"metricsdb.partial_results",
		"Lets queries on distributed tables do without shards that do not answer.",
		"metricsdb.missing_shards() tells in the same transaction which these are; off: the query fails.",
		&mdb_partial_results, false, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("metricsdb.distributed_tables", "Lets tables be distributed over nodes.",
							 "Tables that are distributed stay so, whatever it says.", &mdb_dist_enabled,
							 true, PGC_SUSET, 0, NULL, NULL, NULL);
	RegisterXactCallback(forget_missing, NULL);
}
