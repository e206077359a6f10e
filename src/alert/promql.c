/*
 * promql.c
 *	  metricsdb.promql() and promql_to_sql(): expressions of Prometheus asked of tables.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "alert/promql_sql.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(mdb_promql_to_sql);
PG_FUNCTION_INFO_V1(mdb_promql);

/* An interval argument in milliseconds, which must be more than 0. */
static int64
milliseconds(FunctionCallInfo fcinfo, int argno, const char *what)
{
	Interval *i = PG_GETARG_INTERVAL_P(argno);
	int64 ms = i->time / 1000 + i->day * (USECS_PER_DAY / 1000);

	if (i->month != 0 || ms <= 0 || ms > INT64CONST(100) * 365 * USECS_PER_DAY / 1000)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be a millisecond or more, and have no months", what)));
	return ms;
}

/* The SQL of arguments 0 to 4: expression, source, time, look-back and step. */
static char *
sql_of_arguments(FunctionCallInfo fcinfo, bool with_metric)
{
	MdbPromQuestion question = {.with_metric = with_metric, .at = "metricsdb.eval_time()"};
	MdbProm *root;

	for (int i = 0; i < 5; i++)
		if (PG_ARGISNULL(i) && i != 2)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("argument %d must not be NULL", i + 1)));
	question.text = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(2))
	{
		TimestampTz at = PG_GETARG_TIMESTAMPTZ(2);

		if (TIMESTAMP_NOT_FINITE(at))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("time must be finite")));
		question.at = psprintf("timestamptz %s", quote_literal_cstr(timestamptz_to_str(at)));
	}
	question.lookback = milliseconds(fcinfo, 3, "look-back");
	question.step = milliseconds(fcinfo, 4, "step");
	root = mdb_prom_parsed(question.text);
	question.source = mdb_prom_source(PG_GETARG_OID(1));
	return mdb_prom_sql(&question, root);
}

/*
 * mdb_promql_to_sql - metricsdb.promql_to_sql(expression, source, at, lookback, step).
 */
Datum
mdb_promql_to_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(sql_of_arguments(fcinfo, false)));
}

/*
 * mdb_promql - metricsdb.promql(expression, source, at, lookback, step): rows of metric, labels and value.
 */
Datum
mdb_promql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char *sql = sql_of_arguments(fcinfo, true);
	SPIPlanPtr plan;
	Portal portal;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	plan = SPI_prepare(sql, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	do
	{
		SPI_cursor_fetch(portal, true, 1000);
		for (uint64 i = 0; i < SPI_processed; i++)
			tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
		SPI_freetuptable(SPI_tuptable);
	} while (SPI_processed > 0);
	SPI_cursor_close(portal);
	SPI_finish();
	return (Datum) 0;
}
