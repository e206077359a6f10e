/*
 * threshold_sql.c
 *	  Threshold and dead-man rules as SQL sees them: what one observes at a time, in this session; figures.
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "alert/follow.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(mdb_threshold_observe);
PG_FUNCTION_INFO_V1(mdb_threshold_counters);

static const char *
condition_name(MdbCondition c)
{
	return c == MDB_HOLDS       ? "holds"
		   : c == MDB_HOLDS_NOT ? "holds not"
		   : c == MDB_BETWEEN   ? "between"
								: "absent";
}

/*
 * mdb_threshold_observe - metricsdb.threshold_observe(rule_id, at): what the rule observes, by windows of this session.
 */
Datum
mdb_threshold_observe(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MdbObservations seen = {.at = PG_GETARG_TIMESTAMPTZ(1)};
	MdbRule *rule = mdb_rule_load(PG_GETARG_INT32(0));

	if (rule == NULL || (rule->kind != MDB_RULE_THRESHOLD && rule->kind != MDB_RULE_DEADMAN))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("there is no threshold or dead-man rule %d", PG_GETARG_INT32(0))));
	InitMaterializedSRF(fcinfo, 0);
	(void) mdb_states_take_in();
	if (rule->kind == MDB_RULE_DEADMAN)
		mdb_deadman_evaluate(rule, &seen);
	else
		mdb_threshold_evaluate(rule, &seen);
	if (seen.error)
	{
		Datum v[4] = {0, 0, CStringGetTextDatum(seen.not_yet ? "not yet" : "failed"),
					  CStringGetTextDatum(seen.error)};
		bool n[4] = {true, true, false, false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, n);
	}
	for (int i = 0; i < seen.count && seen.error == NULL; i++)
	{
		Datum v[4] = {JsonbPGetDatum(seen.of[i].labels), Float8GetDatum(seen.of[i].value),
					  CStringGetTextDatum(condition_name(seen.of[i].holds)), 0};
		bool n[4] = {false, seen.of[i].isnull, false, true};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, n);
	}
	return (Datum) 0;
}

/*
 * mdb_threshold_counters - metricsdb.threshold_counters(): what this session has done of such evaluations.
 */
Datum
mdb_threshold_counters(PG_FUNCTION_ARGS)
{
	TupleDesc desc;
	Datum v[5];
	bool n[5] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	v[0] = Int64GetDatum((int64) mdb_alert_counters.evaluations);
	v[1] = Int64GetDatum((int64) mdb_alert_counters.batches);
	v[2] = Int64GetDatum((int64) mdb_alert_counters.samples);
	v[3] = Int64GetDatum((int64) mdb_alert_counters.histories);
	v[4] = Int64GetDatum((int64) mdb_alert_counters.history_rows);
	return HeapTupleGetDatum(heap_form_tuple(desc, v, n));
}
