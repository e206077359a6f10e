/*
 * runs.c
 *	  What the evaluator keeps of each rule: read at its start, and again when the rule has changed or its tables may say
 *	  something else than we remember.
 *
 * A change of metricsdb.alert_rule invalidates its relcache entry, which costs nothing to notice.  Then only numbers and
 * versions of all rules are read, and what has changed.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "alert/evaluate.h"
#include "metricsdb.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(mdb_alert_rules_changed);

static MemoryContext runs_mcxt = NULL;
static HTAB *runs = NULL;
static uint32 turn = 0;
static bool changed = true;
static bool just_begun = true;

/* When rules that could not be read are tried again, by the clock; 0 = there are none. */
static TimestampTz retry_at = 0;

#define RETRY_US (10 * USECS_PER_SEC)

static Oid rule_table = InvalidOid;

static void
invalidated(Oid relid)
{
	if (!OidIsValid(relid) || relid == rule_table)
		changed = true;
}

/*
 * mdb_alert_rules_changed - metricsdb.alert_rules_changed(), a trigger on metricsdb.alert_rule.
 */
Datum
mdb_alert_rules_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("metricsdb.alert_rules_changed() is a trigger")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}

static void
begin(void)
{
	HASHCTL ctl = {.keysize = sizeof(int32), .entrysize = sizeof(MdbRun)};

	if (runs_mcxt != NULL)
		return;
	rule_table = mdb_catalog_relid("alert_rule", false);
	mdb_on_relation_change(invalidated);
	runs_mcxt = AllocSetContextCreate(TopMemoryContext, "metricsdb rules", ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = runs_mcxt;
	runs = hash_create("metricsdb rules", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * mdb_runs - all rules that are evaluated, by their ids; NULL if none was read yet.
 */
HTAB *
mdb_runs(void)
{
	return runs;
}

/*
 * mdb_run_find - what is kept of a rule; NULL if it is not evaluated.
 */
MdbRun *
mdb_run_find(int32 rule_id)
{
	return runs ? hash_search(runs, &rule_id, HASH_FIND, NULL) : NULL;
}

static void
remove_run(MdbRun *run)
{
	int32 rule_id = run->rule_id;

	mdb_due_remove(run);
	mdb_query_forget(rule_id);
	mdb_recording_forget(rule_id);
	mdb_live_rule_remove(rule_id);
	if (run->mcxt)
		MemoryContextDelete(run->mcxt);
	(void) hash_search(runs, &rule_id, HASH_REMOVE, NULL);
}

/* ---- what tables say ---- */

static Datum
column(uint64 row, int i, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, i, isnull);
}

static TimestampTz
time_column(uint64 row, int i)
{
	bool isnull;
	Datum v = column(row, i, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(v);
}

static void
select_for(const char *sql, Datum ids)
{
	Oid type = INT4ARRAYOID;

	(void) mdb_execute_own(sql, 1, &type, &ids, NULL);
}

static void
read_ticks(Datum ids)
{
	select_for(
		"SELECT t.rule_id, last_tick, evaluated_at, duration, missed, health, last_error, last_error_at,"
		" p.watermark, strikes FROM metricsdb.alert_tick AS t JOIN metricsdb.alert_rule AS r USING (rule_id)"
		" LEFT JOIN metricsdb.alert_progress AS p"
		" ON p.source OPERATOR(pg_catalog.=) coalesce(r.source::pg_catalog.oid, 0)"
		" WHERE t.rule_id OPERATOR(pg_catalog.=) ANY ($1)",
		ids);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;
		MdbRun *run = mdb_run_find(DatumGetInt32(column(i, 1, &isnull)));
		MdbTick *tick;
		Datum v;

		if (run == NULL || run->rule == NULL || run->turn != turn)
			continue;
		tick = &run->tick;
		/* All ticks up to where we were at have been taken, though their rows do not say so. */
		tick->last_tick = Max(tick->last_tick, time_column(i, 2));
		if (just_begun)
			tick->last_tick = Max(tick->last_tick, time_column(i, 9));
		tick->evaluated_at = time_column(i, 3);
		v = column(i, 4, &isnull);
		tick->duration = isnull ? 0 : mdb_interval_us(DatumGetIntervalP(v));
		tick->missed = Max(tick->missed, DatumGetInt64(column(i, 5, &isnull)));
		tick->health = mdb_health_parse(TextDatumGetCString(column(i, 6, &isnull)));
		v = column(i, 7, &isnull);
		tick->last_error = isnull ? NULL : MemoryContextStrdup(run->mcxt, TextDatumGetCString(v));
		tick->last_error_at = time_column(i, 8);
		tick->strikes = DatumGetInt32(column(i, 10, &isnull));
		run->stored = *tick;
		run->written_at = Max(tick->evaluated_at, 1);
	}
}

static void
read_instances(Datum ids)
{
	select_for(
		"SELECT rule_id, labels, state, value, active_since, starts_at, keep_since, ends_at, last_seen, recent,"
		" updated_at FROM metricsdb.alert_instance WHERE rule_id OPERATOR(pg_catalog.=) ANY ($1)",
		ids);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;
		MdbRun *run = mdb_run_find(DatumGetInt32(column(i, 1, &isnull)));
		MdbAlert *alert;
		MdbInstance *in;
		Datum value;

		if (run == NULL || run->rule == NULL || run->turn != turn)
			continue;
		alert = mdb_alerts_add(run->alerts, DatumGetJsonbP(column(i, 2, &isnull)));
		in = &alert->now;
		(void) mdb_alert_state_parse(TextDatumGetCString(column(i, 3, &isnull)), &in->state);
		value = column(i, 4, &alert->isnull);
		in->value = alert->isnull ? NAN : DatumGetFloat8(value);
		in->active_since = time_column(i, 5);
		in->starts_at = time_column(i, 6);
		in->keep_since = time_column(i, 7);
		in->ends_at = time_column(i, 8);
		in->last_seen = time_column(i, 9);
		in->recent = (uint64) DatumGetInt64(column(i, 10, &isnull));
		alert->written_at = Max(time_column(i, 11), 1);
		alert->stored = *in;
		/* It may have been seen until a moment ago, which is not written. */
		if (in->last_seen != 0)
			in->last_seen = Max(in->last_seen, run->tick.last_tick);
	}
}

/* ---- looking at all rules ---- */

static Datum *
changed_ids(int *count)
{
	Datum *ids;
	int n = 0;

	(void) mdb_execute_own("SELECT rule_id, version FROM metricsdb.alert_rule WHERE enabled", 0, NULL, NULL,
						   NULL);
	/* It outlasts the connection. */
	ids = SPI_palloc(sizeof(Datum) * Max(1, SPI_processed));
	turn++;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull, found;
		int32 id = DatumGetInt32(column(i, 1, &isnull));
		int64 version = DatumGetInt64(column(i, 2, &isnull));
		MdbRun *run = hash_search(runs, &id, HASH_ENTER, &found);

		if (!found)
		{
			memset((char *) run + sizeof(int32), 0, sizeof(MdbRun) - sizeof(int32));
			run->rule_id = id;
		}
		if (run->rule == NULL || run->rule->version != version || run->is_stale)
			ids[n++] = Int32GetDatum(id);
		else
			run->turn = turn;
	}
	*count = n;
	return ids;
}

/* For who looks at metricsdb.alert_status. */
static void
tell_unreadable(int32 id, const char *message)
{
	Oid types[] = {INT4OID, TEXTOID, TIMESTAMPTZOID};
	Datum args[] = {Int32GetDatum(id), CStringGetTextDatum(psprintf("the rule cannot be read: %s", message)),
					TimestampTzGetDatum(GetCurrentTimestamp())};

	/* Who changes it at this moment is not waited for. */
	(void) mdb_execute_own(
		"UPDATE metricsdb.alert_tick SET health = 'error', last_error = $2, last_error_at = $3"
		" WHERE rule_id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT rule_id FROM metricsdb.alert_tick"
		" WHERE rule_id OPERATOR(pg_catalog.=) $1 FOR NO KEY UPDATE SKIP LOCKED))",
		3, types, args, NULL);
}

/* One that cannot be read must not keep others from being evaluated: NULL; it is tried again. */
static MdbRule *
load_rule(int32 id, MemoryContext mcxt)
{
	MemoryContext before = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	MdbRule *volatile rule = NULL;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(mcxt);
	PG_TRY();
	{
		rule = mdb_rule_load(id);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(before);
		error = CopyErrorData();
		errcontext("alert rule %d", id);
		EmitErrorReport();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(before);
	CurrentResourceOwner = owner;
	if (error)
	{
		retry_at = GetCurrentTimestamp() + RETRY_US;
		tell_unreadable(id, error->message ? error->message : "unknown error");
	}
	return rule;
}

/* A rule anew, without what the tables say of it. */
static void
read_rule(MdbRun *run)
{
	MemoryContext mcxt = AllocSetContextCreate(runs_mcxt, "metricsdb rule", ALLOCSET_SMALL_SIZES);
	MdbRule *rule = load_rule(run->rule_id, mcxt);
	TimestampTz last_tick = run->tick.last_tick;
	int64 missed = run->tick.missed;

	if (rule == NULL || !rule->enabled)
	{
		MemoryContextDelete(mcxt);
		return;
	}
	/* Its source may have other times. */
	if (run->rule != NULL && run->rule->source != rule->source)
		last_tick = 0;
	mdb_due_remove(run);
	if (run->mcxt)
		MemoryContextDelete(run->mcxt);
	run->mcxt = mcxt;
	run->rule = rule;
	run->alerts = mdb_alerts_create(mcxt);
	memset(&run->tick, 0, sizeof(run->tick));
	run->tick.last_tick = last_tick;
	run->tick.missed = missed;
	run->written_at = 0;
	run->is_stale = false;
	run->turn = turn;
}

static void
remove_others(void)
{
	HASH_SEQ_STATUS scan;
	MdbRun *run;

	hash_seq_init(&scan, runs);
	while ((run = hash_seq_search(&scan)) != NULL)
		if (run->turn != turn)
			remove_run(run);
}

/*
 * mdb_runs_look - have rules changed?  Read what has, in the caller's transaction.
 *
 * After an error all is read anew: mdb_runs_forget().
 */
void
mdb_runs_look(void)
{
	Datum *ids;
	Datum array;
	int n;

	begin();
	AcceptInvalidationMessages();
	if (!changed && (retry_at == 0 || GetCurrentTimestamp() < retry_at))
		return;
	changed = false;
	retry_at = 0;
	SPI_connect();
	ids = changed_ids(&n);
	for (int i = 0; i < n; i++)
		read_rule(mdb_run_find(DatumGetInt32(ids[i])));
	remove_others();
	if (n > 0)
	{
		array = PointerGetDatum(construct_array(ids, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
		read_ticks(array);
		read_instances(array);
	}
	SPI_finish();
	for (int i = 0; i < n; i++)
	{
		MdbRun *run = mdb_run_find(DatumGetInt32(ids[i]));

		if (run == NULL)
			continue;
		run->next =
			run->tick.last_tick ? mdb_rule_tick(run->rule, run->tick.last_tick) + run->rule->every : 0;
		if (run->retry_at != 0)
		{
			run->is_slow = true;
			run->not_before = run->retry_at;
			run->retry_at = 0;
		}
		mdb_due_add(run);
	}
	just_begun = false;
}

/*
 * mdb_run_stale - what is remembered of a rule may differ from its tables: it is read again before it is evaluated.
 */
void
mdb_run_stale(MdbRun *run)
{
	run->is_stale = true;
	changed = true;
}

/*
 * mdb_runs_forget - forget all: after an error that is nobody's.
 */
void
mdb_runs_forget(void)
{
	HASH_SEQ_STATUS scan;
	MdbRun *run;

	if (runs == NULL)
		return;
	hash_seq_init(&scan, runs);
	while ((run = hash_seq_search(&scan)) != NULL)
		remove_run(run);
	changed = just_begun = true;
}
