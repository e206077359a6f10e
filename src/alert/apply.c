/*
 * apply.c
 *	  What an evaluation has changed, to tables: states, history, the outbox, and how the evaluations go.
 *
 * A row is written if its state, or since when it has it, has changed; one that is told also if its value has and it was
 * not written for metricsdb.alert_resend_delay.  So what goes on as it was costs nothing, and a rule without instances
 * never writes.  Who may lock rows against us locks the rule first (alert.h) or is not waited for (targets).
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "alert/evaluate.h"
#include "deliver/deliver.h"
#include "stop.h"

/* ---- statements ---- */

/* One statement of ours, planned once in a process. */
typedef struct Statement
{
	const char *sql;
	int nargs;
	Oid types[14];
	int expected;
	SPIPlanPtr plan;
} Statement;

static Statement put_instance = {
	"INSERT INTO metricsdb.alert_instance AS i (rule_id, key, labels, annotations, state, value, active_since, starts_at,"
	" keep_since, ends_at, last_seen, recent, updated_at)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
	" ON CONFLICT (rule_id, key) DO UPDATE SET annotations = excluded.annotations, state = excluded.state,"
	" value = excluded.value, active_since = excluded.active_since, starts_at = excluded.starts_at,"
	" keep_since = excluded.keep_since, ends_at = excluded.ends_at, last_seen = excluded.last_seen,"
	" recent = excluded.recent, updated_at = excluded.updated_at",
	13,
	{INT4OID, BYTEAOID, JSONBOID, JSONBOID, TEXTOID, FLOAT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	 TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID},
	SPI_OK_INSERT};

static Statement remove_instance = {
	"DELETE FROM metricsdb.alert_instance WHERE rule_id OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2",
	2,
	{INT4OID, BYTEAOID},
	SPI_OK_DELETE};

static Statement put_event = {
	"INSERT INTO metricsdb.alert_event (rule_id, rule, owner, labels, from_state, to_state, at, value, happened_at)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
	9,
	{INT4OID, TEXTOID, OIDOID, JSONBOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, FLOAT8OID, TIMESTAMPTZOID},
	SPI_OK_INSERT};

/* A target that somebody is dropping is told if he does not; see is_incomplete. */
static Statement tell_firing = {
	"WITH t AS MATERIALIZED (SELECT target_id FROM metricsdb.alert_target"
	" WHERE target_id OPERATOR(pg_catalog.=) ANY ($1) FOR KEY SHARE SKIP LOCKED)"
	" INSERT INTO metricsdb.alert_outbox AS o (target_id, rule_id, key, rule, owner, state, labels, annotations, value,"
	" starts_at, ends_at, valid_for, seq, queued_at)"
	" SELECT target_id, $2, $3, $4, $5, 'firing', $6, $7, $8, $9, NULL, $10,"
	" pg_catalog.nextval('metricsdb.alert_event_id_seq'), $11 FROM t"
	" ON CONFLICT (target_id, rule_id, key) DO UPDATE SET state = 'firing', annotations = excluded.annotations,"
	" value = excluded.value, starts_at = excluded.starts_at, ends_at = NULL, valid_for = excluded.valid_for,"
	" seq = excluded.seq, queued_at = excluded.queued_at",
	11,
	{INT4ARRAYOID, INT4OID, BYTEAOID, TEXTOID, OIDOID, JSONBOID, JSONBOID, FLOAT8OID, TIMESTAMPTZOID,
	 INTERVALOID, TIMESTAMPTZOID},
	SPI_OK_INSERT};

/* A clock that was put back since it began has nothing end before. */
static Statement tell_resolved = {
	"UPDATE metricsdb.alert_outbox SET state = 'resolved', annotations = $3, value = $4, ends_at = $5,"
	" starts_at = least(starts_at, $5),"
	" seq = pg_catalog.nextval('metricsdb.alert_event_id_seq'), queued_at = $6"
	" WHERE target_id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT target_id FROM metricsdb.alert_target))"
	" AND rule_id OPERATOR(pg_catalog.=) $1 AND key OPERATOR(pg_catalog.=) $2"
	" AND state OPERATOR(pg_catalog.=) 'firing'",
	6,
	{INT4OID, BYTEAOID, JSONBOID, FLOAT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID},
	SPI_OK_UPDATE};

static Statement count_targets = {
	"SELECT FROM metricsdb.alert_target WHERE target_id OPERATOR(pg_catalog.=) ANY ($1)",
	1,
	{INT4ARRAYOID},
	SPI_OK_SELECT};

/* What a rule of the same name has left that is gone by now, where it is told anew. */
static Statement supersede = {
	"DELETE FROM metricsdb.alert_outbox AS o WHERE rule OPERATOR(pg_catalog.=) $1 AND rule_id OPERATOR(pg_catalog.<>) $2"
	" AND key OPERATOR(pg_catalog.=) $3 AND target_id OPERATOR(pg_catalog.=) ANY ($4) AND NOT EXISTS (SELECT FROM metricsdb.alert_rule AS r"
	" WHERE r.rule_id OPERATOR(pg_catalog.=) o.rule_id)",
	4,
	{TEXTOID, INT4OID, BYTEAOID, INT4ARRAYOID},
	SPI_OK_DELETE};

static Statement put_tick = {
	"INSERT INTO metricsdb.alert_tick AS t (rule_id, last_tick, evaluated_at, duration, missed, health, last_error,"
	" last_error_at, strikes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
	" ON CONFLICT (rule_id) DO UPDATE SET last_tick = excluded.last_tick, evaluated_at = excluded.evaluated_at,"
	" duration = excluded.duration, missed = excluded.missed, health = excluded.health,"
	" last_error = excluded.last_error, last_error_at = excluded.last_error_at, strikes = excluded.strikes",
	9,
	{INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INTERVALOID, INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID,
	 INT4OID},
	SPI_OK_INSERT};

/* How many rows it was about.  SPI is connected. */
static uint64
execute(Statement *s, Datum *values, const char *nulls)
{
	int result;

	if (s->plan == NULL)
	{
		SPIPlanPtr plan = SPI_prepare(s->sql, s->nargs, s->types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", s->sql, SPI_result_code_string(SPI_result));
		s->plan = plan;
	}
	result = SPI_execute_plan(s->plan, values, nulls, false, 0);
	if (result != s->expected)
		elog(ERROR, "could not execute \"%s\": %s", s->sql, SPI_result_code_string(result));
	return SPI_processed;
}

/* Arguments of a statement, one after the other. */
typedef struct Arguments
{
	int count;
	Datum values[14];
	char nulls[15];
} Arguments;

static void
put(Arguments *a, Datum value, bool isnull)
{
	a->values[a->count] = value;
	a->nulls[a->count++] = isnull ? 'n' : ' ';
}

static void
put_text(Arguments *a, const char *text)
{
	put(a, text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL);
}

static void
put_time(Arguments *a, TimestampTz time)
{
	put(a, TimestampTzGetDatum(time), time == 0);
}

static void
put_value(Arguments *a, const MdbAlert *alert)
{
	put(a, Float8GetDatum(alert->now.value), alert->isnull);
}

static void
put_interval(Arguments *a, int64 us)
{
	Interval *interval = palloc0(sizeof(Interval));

	interval->time = us;
	put(a, IntervalPGetDatum(interval), false);
}

static void
put_key(Arguments *a, const MdbAlert *alert)
{
	bytea *key = palloc(VARHDRSZ + sizeof(alert->key));

	SET_VARSIZE(key, VARHDRSZ + sizeof(alert->key));
	memcpy(VARDATA(key), alert->key, sizeof(alert->key));
	put(a, PointerGetDatum(key), false);
}

static Datum
targets_of(const MdbRule *rule)
{
	Datum *ids = palloc(sizeof(Datum) * Max(1, rule->ntargets));

	for (int i = 0; i < rule->ntargets; i++)
		ids[i] = Int32GetDatum(rule->targets[i]);
	return PointerGetDatum(construct_array(ids, rule->ntargets, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

/* ---- what has changed ---- */

static bool
same_state(const MdbInstance *a, const MdbInstance *b)
{
	return a->state == b->state && a->active_since == b->active_since && a->starts_at == b->starts_at &&
		   a->keep_since == b->keep_since && a->ends_at == b->ends_at;
}

/* Has its value changed that targets are told, or what decides over it after a restart, and not just now? */
static bool
is_to_be_refreshed(const MdbRule *rule, const MdbAlert *alert, TimestampTz now)
{
	bool value = mdb_state_told(alert->now.state) && alert->now.value != alert->stored.value &&
				 !(isnan(alert->now.value) && isnan(alert->stored.value));
	bool recent = rule->policy.holds_of > 0 && alert->now.recent != alert->stored.recent;

	return (value || recent) && now - alert->written_at >= mdb_alert_resend_delay * INT64CONST(1000);
}

typedef struct Change
{
	bool row;      /* the row of the instance is to be written */
	bool gone;     /* it is to be deleted */
	bool event;    /* the state has changed */
	bool firing;   /* targets are to be told so */
	bool resolved; /* or this */
} Change;

static bool
what_changed(const MdbRule *rule, const MdbStepped *s, TimestampTz now, Change *c)
{
	const MdbAlert *alert = s->alert;
	bool refresh = is_to_be_refreshed(rule, alert, now);
	bool told = mdb_state_told(alert->now.state);
	bool was_told = mdb_state_told(s->before);

	memset(c, 0, sizeof(*c));
	if (!mdb_alert_is_kept(rule, alert))
		c->gone = alert->written_at != 0;
	else
		c->row = alert->written_at == 0 || refresh || !same_state(&alert->now, &alert->stored);
	c->event = alert->now.state != s->before &&
			   !(s->before == MDB_STATE_RESOLVED && alert->now.state == MDB_STATE_INACTIVE);
	c->firing = told && (!was_told || refresh || alert->is_incomplete);
	c->resolved = was_told && !told;
	return c->row || c->gone || c->event || c->firing || c->resolved;
}

/*
 * mdb_alert_matters - is there anything for mdb_alert_apply() to write?
 */
bool
mdb_alert_matters(const MdbRule *rule, const MdbSteps *steps, TimestampTz now)
{
	Change c;

	for (int i = 0; i < steps->count; i++)
		if (what_changed(rule, &steps->of[i], now, &c))
			return true;
	return false;
}

/* ---- writing ---- */

static void
write_row(const MdbRule *rule, const MdbAlert *alert, const Jsonb *annotations, TimestampTz now)
{
	const MdbInstance *in = &alert->now;
	Arguments a = {0};

	put(&a, Int32GetDatum(rule->id), false);
	put_key(&a, alert);
	put(&a, JsonbPGetDatum(alert->labels), false);
	put(&a, JsonbPGetDatum(annotations), false);
	put_text(&a, mdb_alert_state_name(in->state));
	put_value(&a, alert);
	put_time(&a, in->active_since);
	put_time(&a, in->starts_at);
	put_time(&a, in->keep_since);
	put_time(&a, in->ends_at);
	put_time(&a, in->last_seen);
	put(&a, Int64GetDatum((int64) in->recent), false);
	put_time(&a, now);
	(void) execute(&put_instance, a.values, a.nulls);
}

static void
delete_row(const MdbRule *rule, const MdbAlert *alert)
{
	Arguments a = {0};

	put(&a, Int32GetDatum(rule->id), false);
	put_key(&a, alert);
	(void) execute(&remove_instance, a.values, a.nulls);
}

static void
write_event(const MdbRule *rule, const MdbStepped *s, TimestampTz at, TimestampTz now)
{
	Arguments a = {0};

	put(&a, Int32GetDatum(rule->id), false);
	put_text(&a, rule->name);
	put(&a, ObjectIdGetDatum(rule->owner), false);
	put(&a, JsonbPGetDatum(s->alert->labels), false);
	put_text(&a, mdb_alert_state_name(s->before));
	put_text(&a, mdb_alert_state_name(s->alert->now.state));
	put_time(&a, at);
	put_value(&a, s->alert);
	put_time(&a, now);
	(void) execute(&put_event, a.values, a.nulls);
}

/* A receiver that hears no more may take it for resolved after this: as Prometheus has it. */
static int64
valid_for(const MdbRule *rule)
{
	return 4 * Max(rule->every, mdb_alert_resend_delay * INT64CONST(1000));
}

static void
write_firing(const MdbRule *rule, MdbAlert *alert, const Jsonb *annotations, Datum targets, TimestampTz now)
{
	Arguments a = {0};
	Arguments old = {0};

	put_text(&old, rule->name);
	put(&old, Int32GetDatum(rule->id), false);
	put_key(&old, alert);
	put(&old, targets, false);
	(void) execute(&supersede, old.values, old.nulls);
	put(&a, targets, false);
	put(&a, Int32GetDatum(rule->id), false);
	put_key(&a, alert);
	put_text(&a, rule->name);
	put(&a, ObjectIdGetDatum(rule->owner), false);
	put(&a, JsonbPGetDatum(alert->labels), false);
	put(&a, JsonbPGetDatum(annotations), false);
	put_value(&a, alert);
	put_time(&a, alert->now.starts_at);
	put_interval(&a, valid_for(rule));
	put_time(&a, now);
	alert->is_incomplete = execute(&tell_firing, a.values, a.nulls) < execute(&count_targets, &targets, NULL);
}

static void
write_resolved(const MdbRule *rule, const MdbAlert *alert, const Jsonb *annotations, TimestampTz at,
			   TimestampTz now)
{
	Arguments a = {0};

	put(&a, Int32GetDatum(rule->id), false);
	put_key(&a, alert);
	put(&a, JsonbPGetDatum(annotations), false);
	put_value(&a, alert);
	put_time(&a, alert->now.ends_at ? alert->now.ends_at : at);
	put_time(&a, now);
	(void) execute(&tell_resolved, a.values, a.nulls);
}

/*
 * mdb_alert_apply - write what an evaluation at a tick has changed, in the caller's transaction, under the rule's shared
 * lock.  now is the clock's time.  Nobody is told before what was written is flushed: see
 * src/deliver/outbox.c.
 *
 * The instances take it for written, so if the transaction fails they are to be read again.
 */
void
mdb_alert_apply(const MdbRule *rule, MdbSteps *steps, TimestampTz at, TimestampTz now)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext row = AllocSetContextCreate(caller, "metricsdb alert", ALLOCSET_DEFAULT_SIZES);
	Datum targets;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	targets = targets_of(rule);
	for (int i = 0; i < steps->count; i++)
	{
		const MdbStepped *s = &steps->of[i];
		MdbAlert *alert = s->alert;
		Jsonb *annotations;
		Change c;

		if (!what_changed(rule, s, now, &c))
			continue;
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(row);
		MemoryContextSwitchTo(row);
		annotations = mdb_annotations_make(rule, alert->labels, alert->now.value);
		if (c.event)
			write_event(rule, s, at, now);
		steps->changed += c.event;
		if (c.gone)
			delete_row(rule, alert);
		if (c.row)
		{
			write_row(rule, alert, annotations, now);
			alert->stored = alert->now;
			alert->written_at = now;
		}
		MDB_STOP("alert.instance");
		if (c.firing && rule->ntargets > 0)
			write_firing(rule, alert, annotations, targets, now);
		if (c.resolved)
			write_resolved(rule, alert, annotations, at, now);
		MDB_STOP("alert.outbox");
	}
	MemoryContextSwitchTo(caller);
	SPI_finish();
	MemoryContextDelete(row);
}

/* ---- how evaluations go ---- */

static const char *const health_names[] = {"unknown", "ok", "late", "error"};

/*
 * mdb_health_name - as it is stored and shown.
 */
const char *
mdb_health_name(MdbHealth health)
{
	return health_names[health];
}

/*
 * mdb_health_parse - the health of a name; unknown if it is none.
 */
MdbHealth
mdb_health_parse(const char *name)
{
	for (int i = 0; i < lengthof(health_names); i++)
		if (strcmp(name, health_names[i]) == 0)
			return (MdbHealth) i;
	return MDB_HEALTH_UNKNOWN;
}

/*
 * mdb_tick_write - write a rule's row of metricsdb.alert_tick, in the caller's transaction, under its shared lock.
 */
void
mdb_tick_write(const MdbRule *rule, const MdbTick *tick)
{
	Arguments a = {0};

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	put(&a, Int32GetDatum(rule->id), false);
	put_time(&a, tick->last_tick);
	put_time(&a, tick->evaluated_at);
	put_interval(&a, tick->duration);
	put(&a, Int64GetDatum(tick->missed), false);
	put_text(&a, mdb_health_name(tick->health));
	put_text(&a, tick->last_error);
	put_time(&a, tick->last_error_at);
	put(&a, Int32GetDatum(tick->strikes), false);
	(void) execute(&put_tick, a.values, a.nulls);
	SPI_finish();
}
