/*
 * backtest.c
 *	  metricsdb.backtest(): what a rule would have done, tick by tick, over the rows that there are.
 *
 * The same evaluation and the same machine as ever, with instances of its own, of which nothing is stored or told.
 * Threshold and dead-man rules are evaluated by the query that they are equal to.  Rows that came late are there from the
 * start, for history does not tell when they came.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "alert/define.h"
#include "alert/evaluate.h"
#include "metricsdb.h"

PG_FUNCTION_INFO_V1(mdb_backtest);

#define MAX_TICKS 10000000

/* The rule as one with a query. */
static MdbRule *
as_query(const MdbRule *rule)
{
	MdbRule *query = palloc(sizeof(MdbRule));
	JsonbParseState *state = NULL;
	JsonbValue v = {.type = jbvString};
	JsonbIterator *it;
	JsonbIteratorToken token;

	*query = *rule;
	/* Its plan is not that of the rule. */
	query->id = -rule->id;
	if (rule->kind == MDB_RULE_QUERY)
		return query;
	query->kind = MDB_RULE_QUERY;
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	it = JsonbIteratorInit(&rule->definition->root);
	for (token = JsonbIteratorNext(&it, &v, true); token != WJB_DONE;
		 token = JsonbIteratorNext(&it, &v, true))
		if (token == WJB_KEY || token == WJB_VALUE)
			(void) pushJsonbValue(&state, token, &v);
	v.type = jbvString;
	v.val.string.val = "query";
	v.val.string.len = strlen("query");
	(void) pushJsonbValue(&state, WJB_KEY, &v);
	v.val.string.val = mdb_threshold_query(rule);
	v.val.string.len = strlen(v.val.string.val);
	(void) pushJsonbValue(&state, WJB_VALUE, &v);
	query->definition = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	return query;
}

/* Changes of states go to the result. */
static void
put_changes(ReturnSetInfo *rsinfo, const MdbRule *rule, const MdbSteps *steps, TimestampTz at)
{
	for (int i = 0; i < steps->count; i++)
	{
		const MdbStepped *s = &steps->of[i];
		const MdbInstance *in = &s->alert->now;
		Datum values[6];
		bool nulls[6] = {0};

		if (in->state == s->before || (s->before == MDB_STATE_RESOLVED && in->state == MDB_STATE_INACTIVE))
			continue;
		values[0] = TimestampTzGetDatum(at);
		values[1] = JsonbPGetDatum(s->alert->labels);
		values[2] = CStringGetTextDatum(mdb_alert_state_name(s->before));
		values[3] = CStringGetTextDatum(mdb_alert_state_name(in->state));
		values[4] = Float8GetDatum(in->value);
		nulls[4] = s->alert->isnull;
		values[5] = JsonbPGetDatum(mdb_annotations_make(rule, s->alert->labels, in->value));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

typedef struct Failures
{
	int64 count;
	TimestampTz first;
	char *error;
} Failures;

static void
run_ticks(ReturnSetInfo *rsinfo, const MdbRule *rule, TimestampTz from, TimestampTz to, Failures *failures)
{
	MdbRule *query = as_query(rule);
	MdbAlerts *alerts = mdb_alerts_create(CurrentMemoryContext);
	MemoryContext before = CurrentMemoryContext;
	MemoryContext tick =
		AllocSetContextCreate(before, "metricsdb tick of a backtest", ALLOCSET_DEFAULT_SIZES);

	for (TimestampTz at = from; at <= to; at += rule->every)
	{
		MdbObservations seen = {.at = at};
		MdbSteps steps;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(tick);
		mdb_query_evaluate(query, &seen);
		mdb_alerts_step(alerts, rule, &seen, &steps);
		if (seen.error && failures->count++ == 0)
		{
			failures->first = at;
			failures->error = MemoryContextStrdup(before, seen.error);
		}
		put_changes(rsinfo, rule, &steps, at);
		mdb_alerts_forget(alerts, rule, &steps);
		MemoryContextSwitchTo(before);
		MemoryContextReset(tick);
	}
	mdb_query_forget(query->id);
	MemoryContextDelete(tick);
}

/*
 * mdb_backtest - metricsdb.backtest(rule text, "from" timestamptz, "to" timestamptz): changes of states in their order.
 *
 * Raises ERRCODE_UNDEFINED_OBJECT, ERRCODE_INSUFFICIENT_PRIVILEGE, ERRCODE_FEATURE_NOT_SUPPORTED,
 * ERRCODE_INVALID_PARAMETER_VALUE.
 */
Datum
mdb_backtest(PG_FUNCTION_ARGS)
{
	MdbRule *rule = mdb_rule_find(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	TimestampTz from = PG_GETARG_TIMESTAMPTZ(1);
	TimestampTz to = PG_GETARG_TIMESTAMPTZ(2);
	Failures failures = {0};
	TimestampTz first;

	if (rule->kind == MDB_RULE_COMPOSITE || rule->kind == MDB_RULE_RECORDING)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("rules of kind \"%s\" have no backtest", mdb_rule_kind_name(rule->kind)),
						errdetail("It is for rules that observe a table.")));
	if (TIMESTAMP_NOT_FINITE(from) || TIMESTAMP_NOT_FINITE(to) || (to - from) / rule->every > MAX_TICKS)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a backtest has %d evaluations at most", MAX_TICKS)));
	InitMaterializedSRF(fcinfo, 0);
	first = mdb_rule_tick(rule, from);
	run_ticks((ReturnSetInfo *) fcinfo->resultinfo, rule, first < from ? first + rule->every : first, to,
			  &failures);
	if (failures.count > 0)
		ereport(WARNING,
				(errmsg(INT64_FORMAT " evaluations of alert rule \"%s\" failed", failures.count, rule->name),
				 errdetail("The first, of %s: %s", timestamptz_to_str(failures.first), failures.error)));
	return (Datum) 0;
}
