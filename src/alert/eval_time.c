/*
 * eval_time.c
 *	  metricsdb.eval_time(): the tick at which a rule is evaluated, as its query sees it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/timestamp.h"

#include "alert/alert.h"

PG_FUNCTION_INFO_V1(mdb_eval_time);

/* 0 = no evaluation. */
static TimestampTz eval_time = 0;

TimestampTz
mdb_eval_time_set(TimestampTz at)
{
	TimestampTz before = eval_time;

	eval_time = at;
	return before;
}

/*
 * mdb_eval_time - metricsdb.eval_time(): outside of an evaluation it is now(), so that a query can be tried.
 */
Datum
mdb_eval_time(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(eval_time ? eval_time : GetCurrentTransactionStartTimestamp());
}
