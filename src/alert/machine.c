/*
 * machine.c
 *	  What an observation makes of an instance: the only place that decides it.
 *
 * States that are told (firing, recovering, nodata, error) go over into each other with the start they had, so that a
 * receiver sees one alert, and leave only by being resolved.  Nothing here allocates, fails or asks the clock.
 *
 *	inactive, resolved	holds: pending, or firing if it need not hold for long
 *	pending				holds for long enough: firing; holds not: inactive
 *	told				holds: firing; between: recovering; holds not: recovering for keep_firing_for, then resolved
 *	any					absent, failed: as the policy says
 *	resolved			for resolved_for: inactive
 */
#include "postgres.h"

#include "alert/machine.h"

static const char *const state_names[] = {
	[MDB_STATE_INACTIVE] = "inactive", [MDB_STATE_PENDING] = "pending",
	[MDB_STATE_FIRING] = "firing",     [MDB_STATE_RECOVERING] = "recovering",
	[MDB_STATE_RESOLVED] = "resolved", [MDB_STATE_NODATA] = "nodata",
	[MDB_STATE_ERROR] = "error"};

/*
 * mdb_alert_state_name - as it is stored and shown.
 */
const char *
mdb_alert_state_name(MdbState state)
{
	return state_names[state];
}

/*
 * mdb_alert_state_parse - the state of a name; false if it is none.
 */
bool
mdb_alert_state_parse(const char *name, MdbState *state)
{
	for (int i = 0; i < lengthof(state_names); i++)
		if (strcmp(name, state_names[i]) == 0)
		{
			*state = (MdbState) i;
			return true;
		}
	return false;
}

/*
 * mdb_state_told - is an alert of this state told to targets as firing?
 */
bool
mdb_state_told(MdbState state)
{
	return state == MDB_STATE_FIRING || state == MDB_STATE_RECOVERING || state == MDB_STATE_NODATA ||
		   state == MDB_STATE_ERROR;
}

/*
 * mdb_machine_keeps - is an instance to be remembered?  One that is inactive is if its absence is to be noticed.
 */
bool
mdb_machine_keeps(const MdbPolicy *policy, const MdbInstance *in)
{
	return in->state != MDB_STATE_INACTIVE || (in->last_seen != 0 && (policy->absent == MDB_ABSENT_FIRING ||
																	  policy->absent == MDB_ABSENT_NODATA));
}

/* An instance that is told from now on, or has been. */
static void
tell(MdbInstance *in, MdbState state, TimestampTz at)
{
	if (!mdb_state_told(in->state))
	{
		in->starts_at = at;
		in->ends_at = 0;
	}
	in->keep_since = 0;
	in->state = state;
}

static void
forget_condition(MdbInstance *in, MdbState state)
{
	in->state = state;
	in->active_since = 0;
	in->keep_since = 0;
}

static void
holds(const MdbPolicy *policy, MdbInstance *in, bool long_enough, TimestampTz at)
{
	if (in->active_since == 0 || in->state == MDB_STATE_INACTIVE || in->state == MDB_STATE_RESOLVED)
		in->active_since = at;
	if (mdb_state_told(in->state) || long_enough || at - in->active_since >= policy->hold)
		tell(in, MDB_STATE_FIRING, at);
	else
	{
		in->state = MDB_STATE_PENDING;
		in->starts_at = in->ends_at = 0;
	}
}

static void
holds_not(const MdbPolicy *policy, MdbInstance *in, TimestampTz at)
{
	if (mdb_state_told(in->state))
	{
		if (in->keep_since == 0)
			in->keep_since = at;
		if (at - in->keep_since < policy->keep_firing_for)
		{
			in->state = MDB_STATE_RECOVERING;
			return;
		}
		in->ends_at = at;
		forget_condition(in, MDB_STATE_RESOLVED);
	}
	else if (in->state == MDB_STATE_PENDING ||
			 (in->state == MDB_STATE_RESOLVED && at - in->ends_at >= policy->resolved_for))
	{
		forget_condition(in, MDB_STATE_INACTIVE);
		in->starts_at = in->ends_at = 0;
	}
}

/* It has not recovered, if it was firing. */
static void
between(const MdbPolicy *policy, MdbInstance *in, TimestampTz at)
{
	if (!mdb_state_told(in->state) || in->active_since == 0)
		holds_not(policy, in, at);
	else
	{
		in->state = MDB_STATE_RECOVERING;
		in->keep_since = 0;
	}
}

static void
apply(const MdbPolicy *policy, MdbInstance *in, MdbCondition seen, TimestampTz at)
{
	if (policy->holds_of > 0)
	{
		bool held = seen == MDB_HOLDS || (seen == MDB_BETWEEN && mdb_state_told(in->state));
		uint64 mask = policy->of >= 64 ? PG_UINT64_MAX : (UINT64CONST(1) << policy->of) - 1;
		int count = 0;

		in->recent = in->recent << 1 | (held ? 1 : 0);
		for (uint64 bits = in->recent & mask; bits != 0; bits &= bits - 1)
			count++;
		if (count >= policy->holds_of)
			holds(policy, in, true, at);
		else if (count > 0 && (in->state == MDB_STATE_PENDING || (held && !mdb_state_told(in->state))))
		{
			if (in->state != MDB_STATE_PENDING)
				in->active_since = at;
			in->state = MDB_STATE_PENDING;
			in->starts_at = in->ends_at = 0;
		}
		else
			holds_not(policy, in, at);
		return;
	}
	in->recent = in->recent << 1 | (seen == MDB_HOLDS ? 1 : 0);
	if (seen == MDB_HOLDS)
		holds(policy, in, false, at);
	else if (seen == MDB_BETWEEN)
		between(policy, in, at);
	else
		holds_not(policy, in, at);
}

/* It is not known how it is, which is told once it has been so for as long as the condition would have to hold. */
static void
unknown(const MdbPolicy *policy, MdbInstance *in, MdbState state, TimestampTz at)
{
	if (in->last_seen == 0)
		in->last_seen = at;
	if (in->state == MDB_STATE_NODATA || in->state == MDB_STATE_ERROR || at - in->last_seen >= policy->hold)
		tell(in, state, at);
}

/* As it was when it was last seen. */
static void
stay(const MdbPolicy *policy, MdbInstance *in, TimestampTz at)
{
	if (in->state == MDB_STATE_RESOLVED || (in->state == MDB_STATE_RECOVERING && in->keep_since != 0))
		holds_not(policy, in, at);
	else if (in->state == MDB_STATE_NODATA || in->state == MDB_STATE_ERROR)
	{
		if (in->active_since != 0)
			tell(in, MDB_STATE_FIRING, at);
		else
			holds_not(policy, in, at);
	}
}

static void
absent(const MdbPolicy *policy, MdbInstance *in, TimestampTz at)
{
	if (policy->absent != MDB_ABSENT_RESOLVE && policy->absent_for > 0 && in->last_seen != 0 &&
		at - in->last_seen >= policy->absent_for)
	{
		/* It is gone for good. */
		apply(policy, in, MDB_HOLDS_NOT, at);
		if (in->state == MDB_STATE_INACTIVE)
			in->last_seen = 0;
		return;
	}
	switch (policy->absent)
	{
		case MDB_ABSENT_RESOLVE:
			apply(policy, in, MDB_HOLDS_NOT, at);
			break;
		case MDB_ABSENT_KEEP:
			stay(policy, in, at);
			break;
		case MDB_ABSENT_FIRING:
			apply(policy, in, MDB_HOLDS, at);
			break;
		case MDB_ABSENT_NODATA:
			unknown(policy, in, MDB_STATE_NODATA, at);
			break;
	}
}

static void
failed(const MdbPolicy *policy, MdbInstance *in, TimestampTz at)
{
	switch (policy->error)
	{
		case MDB_ERROR_KEEP:
			break;
		case MDB_ERROR_FIRING:
			apply(policy, in, MDB_HOLDS, at);
			break;
		case MDB_ERROR_ERROR:
			unknown(policy, in, MDB_STATE_ERROR, at);
			break;
	}
}

/*
 * mdb_machine_step - what an observation at a time makes of an instance, which is all zero if it is new.  Returns the
 * state of before; the instance is to be forgotten unless mdb_machine_keeps().
 */
MdbState
mdb_machine_step(const MdbPolicy *policy, MdbInstance *in, MdbCondition seen, double value, TimestampTz at)
{
	MdbState before = in->state;

	if (seen == MDB_ABSENT)
		absent(policy, in, at);
	else if (seen == MDB_FAILED)
		failed(policy, in, at);
	else
	{
		apply(policy, in, seen, at);
		in->value = value;
		in->last_seen = at;
	}
	return before;
}

/*
 * mdb_machine_rule_changed - the rule was edited: what fires and has not held for as long as it has to now is pending
 * again, as in Prometheus.
 */
void
mdb_machine_rule_changed(const MdbPolicy *policy, MdbInstance *in, TimestampTz at)
{
	if ((in->state == MDB_STATE_FIRING || in->state == MDB_STATE_RECOVERING) && policy->holds_of == 0 &&
		at - in->active_since < policy->hold)
	{
		in->state = MDB_STATE_PENDING;
		in->keep_since = 0;
		in->starts_at = 0;
		in->ends_at = at;
	}
}

/*
 * mdb_machine_unseen - for so long nobody has looked at an instance: what has to be so for some time has not been so
 * meanwhile, as far as anybody knows.
 */
void
mdb_machine_unseen(MdbInstance *in, int64 us)
{
	if (in->state == MDB_STATE_PENDING)
		in->active_since += us;
	if (in->keep_since != 0)
		in->keep_since += us;
	if (in->last_seen != 0)
		in->last_seen += us;
}
