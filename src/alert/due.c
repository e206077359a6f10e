/*
 * due.c
 *	  Which rule is to be evaluated next, and at which tick.
 *
 * A rule's ticks are the multiples of its interval, moved by whole seconds that its id decides, so that rules are spread.
 * Rules wait, by source, until the source's watermark has come to their next tick; then they are ready, in the order
 * of their ticks.  Those that take long stand apart: one of them is taken when no other rule is ready, and then as much
 * time is left to the others as it has taken; but each second one may go first, so that none is forgotten.
 *
 * A rule that has missed ticks, as its source or the server was away, takes each of them; but if its turn comes so late that it
 * cannot keep up, only the last, so that what is told is of now.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "alert/evaluate.h"

#define SLOW_US     (500 * INT64CONST(1000))
#define SLOW_FIRST  USECS_PER_SEC
#define BACKOFF_MAX (5 * 60 * USECS_PER_SEC)

/* So much before its next tick the clock must have gone back. */
#define GONE_BACK_US (60 * USECS_PER_SEC)

static MemoryContext due_mcxt = NULL;
static HTAB *groups = NULL;
static pairingheap *ready = NULL;
static dlist_head slow = DLIST_STATIC_INIT(slow);
static TimestampTz slow_next = 0;   /* not before, by the clock */
static TimestampTz slow_served = 0; /* when the last one was taken */

/* ---- ticks ---- */

/*
 * mdb_rule_tick - a rule's last tick at or before a time.
 */
TimestampTz
mdb_rule_tick(const MdbRule *rule, TimestampTz at)
{
	int64 seconds = rule->every / USECS_PER_SEC;
	int64 offset = seconds > 1 ? hash_bytes_uint32((uint32) rule->id) % seconds * USECS_PER_SEC : 0;
	int64 n = (at - offset) / rule->every;

	if ((at - offset) % rule->every < 0)
		n--;
	return n * rule->every + offset;
}

/* ---- queues ---- */

static int
by_next(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const MdbRun *x = pairingheap_const_container(MdbRun, node, a);
	const MdbRun *y = pairingheap_const_container(MdbRun, node, b);

	if (x->next != y->next)
		return x->next < y->next ? 1 : -1;
	/* What looks at other rules comes behind them. */
	return (y->rule->kind == MDB_RULE_COMPOSITE) - (x->rule->kind == MDB_RULE_COMPOSITE);
}

static MdbGroup *
group_of(Oid source)
{
	MdbGroup *group;
	bool found;

	if (due_mcxt == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(MdbGroup)};
		MemoryContext before;

		due_mcxt =
			AllocSetContextCreate(TopMemoryContext, "metricsdb rules that wait", ALLOCSET_DEFAULT_SIZES);
		ctl.hcxt = due_mcxt;
		groups = hash_create("metricsdb sources of rules", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		before = MemoryContextSwitchTo(due_mcxt);
		ready = pairingheap_allocate(by_next, NULL);
		MemoryContextSwitchTo(before);
	}
	group = hash_search(groups, &source, HASH_ENTER, &found);
	if (!found)
	{
		MemoryContext before = MemoryContextSwitchTo(due_mcxt);

		group->waiting = pairingheap_allocate(by_next, NULL);
		group->watermark = DT_NOBEGIN;
		group->lag = 0;
		group->runs = 0;
		group->written = 0;
		MemoryContextSwitchTo(before);
	}
	return group;
}

static void
become_ready(MdbRun *run)
{
	pairingheap_add(ready, &run->node);
	run->queue = MDB_QUEUE_READY;
	run->ready_at = GetCurrentTimestamp();
}

/*
 * mdb_due_add - a rule waits for its next tick.
 */
void
mdb_due_add(MdbRun *run)
{
	MdbGroup *group = group_of(run->rule->source);

	Assert(run->queue == MDB_QUEUE_NONE);
	run->group = group;
	if (run->is_slow)
	{
		dlist_push_tail(&slow, &run->link);
		run->queue = MDB_QUEUE_SLOW;
	}
	else if (run->next != 0 && run->next <= group->watermark)
		become_ready(run);
	else
	{
		pairingheap_add(group->waiting, &run->node);
		run->queue = MDB_QUEUE_WAITING;
	}
	group->runs++;
}

/*
 * mdb_due_remove - it does not any more.
 */
void
mdb_due_remove(MdbRun *run)
{
	if (run->queue == MDB_QUEUE_NONE)
		return;
	if (run->queue == MDB_QUEUE_SLOW)
		dlist_delete(&run->link);
	else
		pairingheap_remove(run->queue == MDB_QUEUE_READY ? ready : run->group->waiting, &run->node);
	run->queue = MDB_QUEUE_NONE;
	run->group->runs--;
}

/* ---- watermarks ---- */

/* A rule that has never been evaluated begins with the last tick that is complete. */
static void
look_who_is_ready(MdbGroup *group)
{
	while (!pairingheap_is_empty(group->waiting))
	{
		MdbRun *run = pairingheap_container(MdbRun, node, pairingheap_first(group->waiting));

		if (run->next == 0)
		{
			if (TIMESTAMP_NOT_FINITE(group->watermark))
				break;
		}
		else if (run->next > group->watermark)
			break;
		(void) pairingheap_remove_first(group->waiting);
		if (run->next == 0)
			run->next = mdb_rule_tick(run->rule, group->watermark);
		become_ready(run);
	}
}

/*
 * mdb_due_look - ask for the watermark of each source, in a transaction; those whose tick has come are ready then.
 */
void
mdb_due_look(void)
{
	HASH_SEQ_STATUS scan;
	MdbGroup *group;

	if (groups == NULL)
		return;
	hash_seq_init(&scan, groups);
	while ((group = hash_seq_search(&scan)) != NULL)
	{
		Oid source = group->source;

		if (group->runs == 0)
			continue;
		/* Of a table that is gone the rule's own query says so. */
		if (OidIsValid(source) && !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(source)))
			source = InvalidOid;
		group->watermark = mdb_watermark(source, &group->lag, NULL);
		look_who_is_ready(group);
	}
}

/*
 * mdb_due_groups - all sources of rules, one call after the other: begin with hash_seq_init() of it; NULL if there are none.
 */
HTAB *
mdb_due_groups(void)
{
	return groups;
}

/* ---- whose turn it is ---- */

/* The slow rule that waits longest of those that may be taken. */
static MdbRun *
pick_slow(TimestampTz now)
{
	dlist_iter it;

	if (now < slow_next)
		return NULL;
	dlist_foreach (it, &slow)
	{
		MdbRun *run = dlist_container(MdbRun, link, it.cur);

		if (run->not_before <= now && run->next <= run->group->watermark)
			return run;
	}
	return NULL;
}

/*
 * mdb_due_next - the rule whose turn it is, which is in no queue any more; NULL if there is none.
 *
 * Its next is the tick to be evaluated; *skipped says how many before it are not.
 */
MdbRun *
mdb_due_next(int64 *skipped)
{
	TimestampTz now = GetCurrentTimestamp();
	MdbRun *run = NULL;
	TimestampTz newest;
	bool any;

	if (groups == NULL)
		return NULL;
	any = !pairingheap_is_empty(ready);
	if (!any || now - slow_served > SLOW_FIRST)
		run = pick_slow(now);
	if (run != NULL)
		slow_served = now;
	else if (any)
		run = pairingheap_container(MdbRun, node, pairingheap_first(ready));
	else
		return NULL;
	mdb_due_remove(run);
	*skipped = 0;
	newest = mdb_rule_tick(run->rule, run->group->watermark);
	if (run->next == 0)
		run->next = newest;
	else if (newest > run->next &&
			 (run->is_slow || newest - run->next > MDB_CATCH_UP_US || now - run->ready_at > run->rule->every))
	{
		*skipped = (newest - run->next) / run->rule->every;
		run->next = newest;
	}
	return run;
}

/*
 * mdb_due_clock_back - times by the clock that are remembered may be far away.
 */
void
mdb_due_clock_back(void)
{
	slow_next = slow_served = 0;
}

/*
 * mdb_due_again - a rule was evaluated, which took so many microseconds; timed_out: it was not done then.
 */
void
mdb_due_again(MdbRun *run, int64 took, bool timed_out)
{
	TimestampTz now = GetCurrentTimestamp();

	run->timeouts = timed_out ? run->timeouts + 1 : 0;
	run->is_slow = took > SLOW_US || timed_out;
	run->not_before = now;
	if (timed_out)
		run->not_before += Min(BACKOFF_MAX, Max(run->rule->every, took) << Min(run->timeouts, 10));
	if (run->is_slow)
		slow_next = now + took;
	run->next += run->rule->every;
	mdb_due_add(run);
}

/*
 * mdb_late_reason - why a rule's next tick has not come.
 */
char *
mdb_late_reason(const MdbRun *run)
{
	Oid source = run->rule->source;
	const char *reason = NULL;
	TimestampTz watermark = mdb_watermark(source, NULL, &reason);
	char *name = OidIsValid(source) ? get_rel_name(source) : NULL;

	if (TIMESTAMP_NOT_FINITE(watermark))
		return psprintf("waiting for data of table \"%s\"%s%s", name ? name : "?", reason ? ": " : "",
						reason ? reason : "");
	return psprintf("waiting for data of table \"%s\" after %s%s%s", name ? name : "?",
					timestamptz_to_str(watermark), reason ? ": " : "", reason ? reason : "");
}

/*
 * mdb_due_clock_went_back - is a rule's next tick so far away that the clock must have been put back?
 */
bool
mdb_due_clock_went_back(const MdbRun *run)
{
	TimestampTz watermark = run->group->watermark;

	return run->next != 0 && !TIMESTAMP_NOT_FINITE(watermark) &&
		   run->next - watermark > run->rule->every + GONE_BACK_US;
}

/*
 * mdb_due_in - milliseconds until some rule may be ready; at most as many as given.
 *
 * Of a source it is not known when its watermark moves: it is asked each alert_interval once the tick has come by the
 * clock.
 */
long
mdb_due_in(long most, long interval)
{
	TimestampTz now = GetCurrentTimestamp();
	HASH_SEQ_STATUS scan;
	MdbGroup *group;
	dlist_iter it;

	if (groups == NULL)
		return most;
	if (!pairingheap_is_empty(ready))
		return 0;
	dlist_foreach (it, &slow)
	{
		MdbRun *run = dlist_container(MdbRun, link, it.cur);
		TimestampTz at = Max(Max(run->not_before, slow_next), run->next);

		most = Min(most, Max(interval, (long) ((at - now) / 1000)));
	}
	hash_seq_init(&scan, groups);
	while ((group = hash_seq_search(&scan)) != NULL)
	{
		TimestampTz next;

		if (pairingheap_is_empty(group->waiting))
			continue;
		next = pairingheap_container(MdbRun, node, pairingheap_first(group->waiting))->next;
		if (!OidIsValid(group->source) && !TIMESTAMP_NOT_FINITE(group->watermark))
			next += group->lag;
		most = Min(most, Max(interval, (long) ((next - now) / 1000)));
	}
	return Max(most, 0);
}
