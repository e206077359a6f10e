/*
 * instances.c
 *	  The instances of a rule, in memory, and what an evaluation makes of all of them.
 *
 * Nothing here reads or writes tables: the worker does so in apply.c; rehearsals (backtests, unit tests of rules) do not.
 */
#include "postgres.h"

#include <math.h>

#include "common/hashfn.h"
#include "utils/memutils.h"

#include "alert/evaluate.h"

/*
 * mdb_alerts_create - no instances yet.
 */
MdbAlerts *
mdb_alerts_create(MemoryContext parent)
{
	MemoryContext mcxt = AllocSetContextCreate(parent, "metricsdb instances of a rule", ALLOCSET_SMALL_SIZES);
	MdbAlerts *alerts = MemoryContextAllocZero(mcxt, sizeof(MdbAlerts));

	alerts->mcxt = mcxt;
	return alerts;
}

/* Most rules have none most of the time. */
static HTAB *
table_of(MdbAlerts *alerts)
{
	if (alerts->by_key == NULL)
	{
		HASHCTL ctl = {
			.keysize = sizeof(((MdbAlert *) 0)->key), .entrysize = sizeof(MdbAlert), .hcxt = alerts->mcxt};

		alerts->by_key = hash_create("metricsdb instances", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	return alerts->by_key;
}

static MdbAlert *
find(MdbAlerts *alerts, const uint8 *key)
{
	return alerts->by_key ? hash_search(alerts->by_key, key, HASH_FIND, NULL) : NULL;
}

static MdbAlert *
enter(MdbAlerts *alerts, const uint8 *key, const Jsonb *labels)
{
	MdbAlert *alert = hash_search(table_of(alerts), key, HASH_ENTER, NULL);
	Size keysize = sizeof(alert->key);

	memset((char *) alert + keysize, 0, sizeof(MdbAlert) - keysize);
	alert->labels = MemoryContextAlloc(alerts->mcxt, VARSIZE(labels));
	memcpy(alert->labels, labels, VARSIZE(labels));
	return alert;
}

/*
 * mdb_alerts_add - one that was there before, all zero but for its labels.
 */
MdbAlert *
mdb_alerts_add(MdbAlerts *alerts, const Jsonb *labels)
{
	uint8 key[MDB_LABELS_KEY];

	mdb_labels_key(labels, key);
	return enter(alerts, key, labels);
}

static void
forget(MdbAlerts *alerts, MdbAlert *alert)
{
	pfree(alert->labels);
	(void) hash_search(alerts->by_key, alert->key, HASH_REMOVE, NULL);
}

/* ---- an evaluation ---- */

static int
key_cmp(const void *a, const void *b)
{
	const MdbObservation *x = *(const MdbObservation *const *) a;
	const MdbObservation *y = *(const MdbObservation *const *) b;

	return memcmp(x->key, y->key, MDB_LABELS_KEY);
}

/* See to it that all observations have their keys. */
static void
make_keys(MdbObservations *seen)
{
	for (int i = 0; i < seen->count; i++)
	{
		uint8 *key;

		if (seen->of[i].key)
			continue;
		key = palloc(MDB_LABELS_KEY);
		mdb_labels_key(seen->of[i].labels, key);
		seen->of[i].key = key;
	}
}

/*
 * mdb_alerts_check - all observations have their keys; seen->error is set if two have the same labels.
 */
void
mdb_alerts_check(MdbObservations *seen)
{
	const MdbObservation **sorted;

	make_keys(seen);
	if (seen->distinct || seen->count < 2)
		return;
	sorted = palloc_extended(sizeof(MdbObservation *) * seen->count, MCXT_ALLOC_HUGE);
	for (int i = 0; i < seen->count; i++)
		sorted[i] = &seen->of[i];
	qsort(sorted, seen->count, sizeof(MdbObservation *), key_cmp);
	seen->distinct = true;
	for (int i = 1; i < seen->count && seen->distinct; i++)
		if (key_cmp(&sorted[i - 1], &sorted[i]) == 0)
		{
			Jsonb *labels = sorted[i]->labels;

			seen->error = psprintf("two rows have the same labels %s",
								   JsonbToCString(NULL, &labels->root, VARSIZE(labels)));
			seen->distinct = false;
		}
	pfree(sorted);
}

static void
step(const MdbPolicy *policy, MdbSteps *steps, MdbAlert *alert, MdbCondition holds, double value,
	 TimestampTz at)
{
	MdbStepped *s = &steps->of[steps->count++];

	s->alert = alert;
	s->before = mdb_machine_step(policy, &alert->now, holds, value, at);
}

/* Room for what is there, and for n that may come. */
static void
make_room(MdbSteps *steps, const MdbAlerts *alerts, int n)
{
	int64 room = (alerts->by_key ? hash_get_num_entries(alerts->by_key) : 0) + (int64) n + 1;

	steps->of = palloc_extended(sizeof(MdbStepped) * room, MCXT_ALLOC_HUGE);
}

/* The instance that tells of the rule itself. */
static MdbAlert *
for_all(MdbAlerts *alerts, const MdbRule *rule, bool make)
{
	Jsonb *labels = mdb_labels_make(rule, 0, NULL, NULL, NAN);
	MdbAlert *alert;
	uint8 key[MDB_LABELS_KEY];

	mdb_labels_key(labels, key);
	alert = find(alerts, key);
	if (alert == NULL && make)
	{
		alert = enter(alerts, key, labels);
		alert->is_for_all = alert->isnull = true;
		alert->now.value = NAN;
	}
	pfree(labels);
	return alert;
}

/* All stay what they are, or as the rule's policy says; if there is none, one may say that the rule fails. */
static void
all_failed(MdbAlerts *alerts, const MdbRule *rule, TimestampTz at, MdbSteps *steps)
{
	HASH_SEQ_STATUS scan;
	MdbAlert *alert;

	make_room(steps, alerts, 1);
	if (rule->policy.error != MDB_ERROR_KEEP &&
		(alerts->by_key == NULL || hash_get_num_entries(alerts->by_key) == 0))
		(void) for_all(alerts, rule, true);
	if (alerts->by_key == NULL)
		return;
	hash_seq_init(&scan, alerts->by_key);
	while ((alert = hash_seq_search(&scan)) != NULL)
		step(&rule->policy, steps, alert, MDB_FAILED, alert->now.value, at);
}

/* Is an instance that is not there worth being made? */
static bool
is_worth(const MdbRule *rule, const MdbObservation *o)
{
	return o->holds == MDB_HOLDS || rule->policy.absent == MDB_ABSENT_FIRING ||
		   rule->policy.absent == MDB_ABSENT_NODATA;
}

static void
all_seen(MdbAlerts *alerts, const MdbRule *rule, const MdbObservations *seen, MdbSteps *steps)
{
	int64 begun = 0;

	for (int i = 0; i < seen->count; i++)
	{
		const MdbObservation *o = &seen->of[i];
		MdbAlert *alert = find(alerts, o->key);

		if (alert == NULL)
		{
			if (!is_worth(rule, o))
				continue;
			if (begun >= rule->max_new_instances)
			{
				steps->refused++;
				continue;
			}
			begun++;
			alert = enter(alerts, o->key, o->labels);
		}
		alert->turn = alerts->turn;
		alert->isnull = o->isnull;
		alert->is_for_all = false;
		step(&rule->policy, steps, alert, o->holds, o->isnull ? NAN : o->value, seen->at);
	}
}

static void
others_absent(MdbAlerts *alerts, const MdbRule *rule, const MdbObservations *seen, MdbSteps *steps)
{
	bool nothing = seen->count == 0 && rule->nodata_alert;
	MdbAlert *own, *alert;
	HASH_SEQ_STATUS scan;

	if (alerts->by_key == NULL && !nothing)
		return;
	own = for_all(alerts, rule, nothing);
	hash_seq_init(&scan, alerts->by_key);
	while ((alert = hash_seq_search(&scan)) != NULL)
	{
		alert->waits = alert == own && nothing;
		if (alert->turn == alerts->turn)
			continue;
		if (alert->waits)
		{
			MdbPolicy policy = rule->policy;

			policy.absent = MDB_ABSENT_NODATA;
			policy.absent_for = 0;
			step(&policy, steps, alert, MDB_ABSENT, NAN, seen->at);
		}
		else if (alert == own && (alert->is_for_all || alert->now.state == MDB_STATE_ERROR ||
								  alert->now.state == MDB_STATE_NODATA))
			step(&rule->policy, steps, alert, MDB_HOLDS_NOT, NAN, seen->at);
		else
			step(&rule->policy, steps, alert, MDB_ABSENT, alert->now.value, seen->at);
	}
}

/*
 * mdb_alerts_step - what an evaluation makes of a rule's instances: each that it was about is in *steps afterwards, in
 * CurrentMemoryContext, also those that are not to be remembered, which mdb_alerts_forget() forgets.
 *
 * Two observations with the same labels are an error: seen->error is set.
 */
void
mdb_alerts_step(MdbAlerts *alerts, const MdbRule *rule, MdbObservations *seen, MdbSteps *steps)
{
	memset(steps, 0, sizeof(*steps));
	alerts->turn++;
	if (seen->error == NULL)
		mdb_alerts_check(seen);
	if (seen->error != NULL)
	{
		all_failed(alerts, rule, seen->at, steps);
		return;
	}
	make_room(steps, alerts, seen->count);
	all_seen(alerts, rule, seen, steps);
	others_absent(alerts, rule, seen, steps);
}

/*
 * mdb_alerts_unseen - for so long, in microseconds, a rule was not evaluated.
 */
void
mdb_alerts_unseen(MdbAlerts *alerts, int64 us)
{
	HASH_SEQ_STATUS scan;
	MdbAlert *alert;

	if (alerts->by_key == NULL)
		return;
	hash_seq_init(&scan, alerts->by_key);
	while ((alert = hash_seq_search(&scan)) != NULL)
		mdb_machine_unseen(&alert->now, us);
}

/*
 * mdb_alert_is_kept - is it to be remembered?
 */
bool
mdb_alert_is_kept(const MdbRule *rule, const MdbAlert *alert)
{
	if (alert->is_for_all && alert->now.state == MDB_STATE_INACTIVE)
		return alert->waits;
	return mdb_machine_keeps(&rule->policy, &alert->now);
}

/*
 * mdb_alerts_forget - forget those that are not to be remembered: *steps must not be used any more.
 */
void
mdb_alerts_forget(MdbAlerts *alerts, const MdbRule *rule, const MdbSteps *steps)
{
	for (int i = 0; i < steps->count; i++)
	{
		MdbAlert *alert = steps->of[i].alert;

		if (!mdb_alert_is_kept(rule, alert))
			forget(alerts, alert);
	}
}
