/*
 * step.c
 *	  The alert worker's round: ticks that are due, one after the other, each in a transaction of its own.
 *
 * A tick reads, as the rule's owner, and writes, as the extension, what has changed: samples of a recording rule, states,
 * history, outbox, and up to where the rule is.  All of it is committed or nothing.  It does not wait until that is flushed:
 * who sends does (src/deliver), once for many rules; what is lost before was told nobody, and is done again.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "alert/count.h"
#include "alert/evaluate.h"
#include "deliver/deliver.h"
#include "metricsdb.h"
#include "stop.h"

/* As long as there is something to do, for about so long; watermarks are asked for in between. */
#define ROUND_US USECS_PER_SEC
#define LOOK_US  (100 * INT64CONST(1000))

/* Until it is looked for rules that are new. */
#define WAIT_MS 1000

/* What is written of a rule's ticks, though its states do not change, is so at most so often. */
#define TELL_US (10 * USECS_PER_SEC)

/* Until rules are looked at for whether they are late. */
#define RUNS_US (5 * USECS_PER_SEC)

/* A rule whose next tick is so much overdue, or by its interval if that is more, is late. */
#define LATE_US (10 * USECS_PER_SEC)

/* Who holds a row of ours for longer is not waited for. */
#define LOCK_TIMEOUT "500ms"

/* After an error that is not of the rule's doing. */
#define RETRY_US USECS_PER_SEC

int mdb_alert_interval = 100;

static MemoryContext step_mcxt = NULL;

/*
 * mdb_alert_worker_init - at load: settings.
 */
void
mdb_alert_worker_init(void)
{
	DefineCustomIntVariable("metricsdb.alert_interval",
							"Until the background looks again for rules whose data is complete.",
							"-1: rules are not evaluated.", &mdb_alert_interval, mdb_alert_interval, -1,
							3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	mdb_housekeeping_init();
	mdb_alert_live_init();
	mdb_alert_count_init();
}

static void
begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true,
							 0, false);
}

static void
commit(void)
{
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(step_mcxt);
}

/* ---- one tick ---- */

static void
observe(const MdbRule *rule, MdbObservations *seen)
{
	switch (rule->kind)
	{
		case MDB_RULE_QUERY:
			mdb_query_evaluate(rule, seen);
			break;
		case MDB_RULE_THRESHOLD:
			mdb_threshold_evaluate(rule, seen);
			break;
		case MDB_RULE_DEADMAN:
			mdb_deadman_evaluate(rule, seen);
			break;
		case MDB_RULE_COMPOSITE:
			mdb_composite_evaluate(rule, seen);
			break;
		case MDB_RULE_RECORDING:
			mdb_recording_evaluate(rule, seen);
			break;
	}
}

static void
set_error(MdbRun *run, const char *error, TimestampTz now)
{
	MdbTick *tick = &run->tick;

	if (tick->health != MDB_HEALTH_ERROR)
		ereport(LOG, (errmsg("evaluation of alert rule \"%s\" failed: %s", run->rule->name, error)));
	tick->health = MDB_HEALTH_ERROR;
	tick->last_error_at = now;
	if (tick->last_error && strcmp(tick->last_error, error) == 0)
		return;
	if (tick->last_error)
		pfree(tick->last_error);
	tick->last_error = MemoryContextStrdup(run->mcxt, error);
}

/* How it went. */
static void
judge(MdbRun *run, const MdbObservations *seen, const MdbSteps *steps, TimestampTz began, TimestampTz ended)
{
	MdbTick *tick = &run->tick;

	tick->last_tick = seen->at;
	tick->evaluated_at = ended;
	tick->duration = ended - began;
	if (seen->error)
		set_error(run, seen->error, ended);
	else if (steps->refused > 0)
		set_error(run,
				  psprintf(INT64_FORMAT
						   " instances were not begun: an evaluation begins max_new_instances = %d at most",
						   steps->refused, run->rule->max_new_instances),
				  ended);
	else
		tick->health = MDB_HEALTH_OK;
}

/* Is there news of how it goes that somebody should find in the table, also after a crash? */
static bool
is_tick_news(const MdbRun *run, TimestampTz now)
{
	const MdbTick *tick = &run->tick;

	if (run->written_at == 0 || tick->health != run->stored.health || tick->strikes != run->stored.strikes)
		return true;
	return (tick->missed != run->stored.missed || tick->last_error_at != run->stored.last_error_at) &&
		   now - run->written_at >= TELL_US;
}

static void
write_tick(MdbRun *run, TimestampTz now)
{
	mdb_tick_write(run->rule, &run->tick);
	run->stored = run->tick;
	run->written_at = now;
}

/* Is the rule what we take it for, and will it stay so until the transaction ends? */
static bool
hold_rule(MdbRun *run)
{
	if (!mdb_rule_lock_shared(run->rule_id) || mdb_rule_version(run->rule_id) != run->rule->version)
		return false;
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true,
							 0, false);
	return true;
}

/* Evaluate a rule at its next tick; what it took, in microseconds, and whether it ran out of time. */
static void
take_tick(MdbRun *run, volatile int64 *took, volatile bool *timed_out)
{
	MdbObservations seen = {.at = run->next};
	TimestampTz began = GetCurrentTimestamp();
	TimestampTz ended;
	MdbSteps steps = {0};
	bool records = run->rule->kind == MDB_RULE_RECORDING;
	bool writes;

	begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(step_mcxt);
	/* Its samples are written before it is known whether they are. */
	if (records && !hold_rule(run))
	{
		mdb_run_stale(run);
		commit();
		return;
	}
	if (run->tick.strikes < MDB_STRIKES_MAX)
	{
		mdb_strikes_watch(run->rule_id);
		mdb_alert_reads_begin(run->rule->kind);
		observe(run->rule, &seen);
		mdb_alert_reads_end();
		mdb_strikes_watch(0);
		run->tick.strikes = 0;
	}
	else
		seen.error = mdb_strikes_error(run->rule);
	mdb_alert_count_of(MDB_COUNT_EVALUATIONS, run->rule->kind, 1);
	ended = GetCurrentTimestamp();
	*took = ended - began;
	*timed_out = seen.error && *took >= run->rule->timeout;
	MDB_STOP("alert.observed");
	if (seen.not_yet)
	{
		/* It is neither this nor that: the next tick will tell. */
		run->tick.missed++;
		mdb_alert_count_of(MDB_COUNT_MISSED, run->rule->kind, 1);
		commit();
		return;
	}
	if (seen.error)
		mdb_alert_count_of(MDB_COUNT_ERRORS, run->rule->kind, 1);
	if (!records)
		mdb_alerts_step(run->alerts, run->rule, &seen, &steps);
	judge(run, &seen, &steps, began, ended);
	writes = mdb_alert_matters(run->rule, &steps, ended);
	if (writes || (records && seen.count > 0) || is_tick_news(run, ended))
	{
		PopActiveSnapshot();
		PushActiveSnapshot(GetLatestSnapshot());
		if (hold_rule(run))
		{
			if (writes)
				mdb_alert_apply(run->rule, &steps, seen.at, ended);
			write_tick(run, ended);
			MDB_STOP("alert.written");
		}
		else
			mdb_run_stale(run);
	}
	commit();
	MDB_STOP("alert.committed");
	if (!run->is_stale)
	{
		mdb_alert_count_of(MDB_COUNT_TRANSITIONS, run->rule->kind, steps.changed);
		mdb_alerts_forget(run->alerts, run->rule, &steps);
		if (records)
			mdb_recording_committed(run->rule_id);
	}
	mdb_live_rule_put(run);
}

/* The error is not the rule's: it could not be written what came of it, for instance.  What it says, in step_mcxt. */
static char *
note_failure(MdbRun *run)
{
	ErrorData *error;

	MemoryContextSwitchTo(step_mcxt);
	error = CopyErrorData();
	HOLD_INTERRUPTS();
	errcontext("alert rule \"%s\"", run->rule->name);
	EmitErrorReport();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	RESUME_INTERRUPTS();
	mdb_strikes_watch(0);
	mdb_alert_count_of(MDB_COUNT_ERRORS, run->rule->kind, 1);
	MemoryContextSwitchTo(step_mcxt);
	mdb_run_stale(run);
	return error->message ? error->message : pstrdup("unknown error");
}

/* A failure that is not the first in a row is told in the rule's health, if that can be written. */
static void
tell_failure(MdbRun *run, const char *error)
{
	TimestampTz now = GetCurrentTimestamp();

	PG_TRY();
	{
		begin();
		PushActiveSnapshot(GetTransactionSnapshot());
		MemoryContextSwitchTo(step_mcxt);
		if (hold_rule(run))
		{
			set_error(run, psprintf("the evaluation could not be completed: %s", error), now);
			write_tick(run, now);
		}
		commit();
		mdb_live_rule_put(run);
	}
	PG_CATCH();
	{
		(void) note_failure(run);
	}
	PG_END_TRY();
}

static void
evaluate(MdbRun *run, int64 skipped)
{
	TimestampTz last_tick = run->tick.last_tick;
	volatile int64 took = 0;
	volatile bool timed_out = false;
	char *volatile failed = NULL;
	int64 gap = skipped * run->rule->every;

	run->tick.missed += skipped;
	mdb_alert_count_of(MDB_COUNT_MISSED, run->rule->kind, skipped);
	/* Not if it always leaves out as much, as it takes long or others do: then that is how often it is looked at. */
	if (gap > Max(MDB_CATCH_UP_US, 2 * run->gap))
		mdb_alerts_unseen(run->alerts, gap);
	run->gap = gap;
	PG_TRY();
	{
		take_tick(run, &took, &timed_out);
	}
	PG_CATCH();
	{
		failed = note_failure(run);
	}
	PG_END_TRY();
	if (!run->is_stale)
	{
		MemoryContextReset(step_mcxt);
		run->failures = 0;
		mdb_due_again(run, took, timed_out);
		return;
	}
	/* It has not come about.  mdb_runs_look() has it wait again, once it has read it. */
	run->tick.last_tick = last_tick;
	if (failed && run->failures > 0)
		tell_failure(run, failed);
	MemoryContextReset(step_mcxt);
	run->failures = failed ? run->failures + 1 : 0;
	run->retry_at = GetCurrentTimestamp() + (failed ? RETRY_US << Min(run->failures, 6) : LOOK_US);
}

/* ---- the round ---- */

/* Of a clock that was put back we have seen more than there is. */
static void
follow_clock(MdbRun *run)
{
	TimestampTz at = run->group->watermark;
	HASH_SEQ_STATUS scan;
	MdbAlert *alert;

	ereport(LOG, (errmsg("alert rule \"%s\" is evaluated from now on again", run->rule->name),
				  errdetail("Its time was put back, from %s.", timestamptz_to_str(run->next))));
	mdb_due_remove(run);
	run->next = mdb_rule_tick(run->rule, at);
	run->tick.last_tick = Min(run->tick.last_tick, at);
	if (run->alerts->by_key)
	{
		hash_seq_init(&scan, run->alerts->by_key);
		while ((alert = hash_seq_search(&scan)) != NULL)
		{
			alert->now.active_since = Min(alert->now.active_since, at);
			alert->now.starts_at = Min(alert->now.starts_at, at);
			alert->now.keep_since = Min(alert->now.keep_since, at);
			alert->now.ends_at = Min(alert->now.ends_at, at);
			alert->now.last_seen = Min(alert->now.last_seen, at);
		}
	}
	mdb_due_add(run);
}

/* Whose next tick is overdue says so. */
static void
note_late(MdbRun *run, TimestampTz now)
{
	char *error;

	if (run->tick.health == MDB_HEALTH_LATE || run->tick.health == MDB_HEALTH_ERROR ||
		run->queue != MDB_QUEUE_WAITING || run->next == 0 ||
		now - run->next < Max(run->rule->every, LATE_US) || !hold_rule(run))
		return;
	error = mdb_late_reason(run);
	run->tick.health = MDB_HEALTH_LATE;
	run->tick.last_error_at = now;
	if (run->tick.last_error)
		pfree(run->tick.last_error);
	run->tick.last_error = MemoryContextStrdup(run->mcxt, error);
	write_tick(run, now);
	mdb_live_rule_put(run);
}

/* Rules that are late, or whose time was put back, a few times a minute. */
static void
look_at_runs(void)
{
	TimestampTz now = GetCurrentTimestamp();
	HASH_SEQ_STATUS scan;
	MdbRun *run;

	if (mdb_runs() == NULL)
		return;
	hash_seq_init(&scan, mdb_runs());
	while ((run = hash_seq_search(&scan)) != NULL)
	{
		if (run->queue == MDB_QUEUE_NONE)
			continue;
		if (mdb_due_clock_went_back(run))
			follow_clock(run);
		else
			note_late(run, now);
	}
}

/* What has changed, and up to when data is complete. */
static void
look(TimestampTz now)
{
	static TimestampTz looked_at = 0;

	begin();
	PushActiveSnapshot(GetTransactionSnapshot());
	MemoryContextSwitchTo(step_mcxt);
	mdb_runs_look();
	mdb_due_look();
	/* Behind the watermarks: what these say is complete is taken in. */
	(void) mdb_states_take_in();
	if (now - looked_at > RUNS_US || now < looked_at)
	{
		looked_at = now;
		look_at_runs();
	}
	commit();
	MemoryContextReset(step_mcxt);
}

/*
 * mdb_alert_step - see alert.h.  Called outside a transaction; runs its own.  Errors of a rule are remembered, others are
 * raised: then all is read anew.
 */
long
mdb_alert_step(void)
{
	static TimestampTz last_step = 0;
	TimestampTz began = GetCurrentTimestamp();
	TimestampTz now = began;
	TimestampTz looked = 0;

	if (mdb_alert_interval < 0)
		return -1;
	if (step_mcxt == NULL)
	{
		step_mcxt = AllocSetContextCreate(TopMemoryContext, "metricsdb alert step", ALLOCSET_DEFAULT_SIZES);
		mdb_evaluation_by_worker();
		mdb_live_rules_begin();
		mdb_strikes_begin();
		mdb_alert_counting();
	}
	MemoryContextSwitchTo(step_mcxt);
	/* Of a clock that was put back we remember times that are not yet. */
	if (began < last_step)
	{
		mdb_alert_recover();
		mdb_due_clock_back();
	}
	last_step = began;
	while (now - began < ROUND_US && now >= began)
	{
		int64 skipped;
		MdbRun *run;

		if (now - looked >= LOOK_US)
		{
			look(now);
			looked = now;
		}
		run = mdb_due_next(&skipped);
		if (run == NULL)
			break;
		evaluate(run, skipped);
		now = GetCurrentTimestamp();
	}
	mdb_housekeeping(step_mcxt);
	if (mdb_runs() == NULL || hash_get_num_entries(mdb_runs()) == 0)
		return mdb_housekeeping_remains(step_mcxt) ? WAIT_MS : -1;
	return mdb_due_in(WAIT_MS, Max(mdb_alert_interval, 1));
}

void
mdb_alert_recover(void)
{
	mdb_runs_forget();
	mdb_states_forget();
}
