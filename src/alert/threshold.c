/*
 * threshold.c
 *	  The evaluation of threshold and dead-man rules: of windows in memory, which follow what is written.
 *
 * A tick costs what its rule's groups have of buckets in their windows; nothing of the table is read but, once, a
 * rule's history.  If an error comes where what is in memory may be incomplete, all of the table is forgotten.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "alert/evaluate.h"
#include "alert/follow.h"
#include "alert/gather.h"

/* Groups whose memory is asked for while others are evaluated. */
#define AHEAD 16

/* ---- taking in ---- */

static void
take_in(MdbFollowed *f, void *arg)
{
	PG_TRY();
	{
		Relation rel = mdb_followed_open(f);

		if (rel)
		{
			Snapshot snapshot = mdb_latest_snapshot();

			*(int64 *) arg += mdb_followed_take_in(f, rel, snapshot);
			UnregisterSnapshot(snapshot);
			mdb_followed_tidy(f);
			relation_close(rel, AccessShareLock);
		}
		else if (!f->blocked)
			mdb_followed_drop(f);
	}
	PG_CATCH();
	{
		mdb_followed_drop(f);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/*
 * mdb_states_take_in - see alert.h.
 */
int64
mdb_states_take_in(void)
{
	int64 count = 0;

	mdb_followed_each(take_in, &count);
	mdb_orphans_delete();
	return count;
}

/*
 * mdb_states_forget - see alert.h.
 */
void
mdb_states_forget(void)
{
	mdb_followed_forget_all();
}

/* ---- getting a rule ready ---- */

/* What read_history() is to do. */
typedef struct Loading
{
	MdbFollowed *f;
	Relation rel;
	MdbFollowedRule *r;
	Snapshot snapshot;
} Loading;

static const Loading *loading;

static void
read_history(const MdbRule *rule, MdbObservations *seen)
{
	mdb_history_read(loading->f, loading->rel, loading->r, rule->every, seen->at, loading->snapshot);
}

/*
 * The rule as it is kept, ready to be evaluated at a tick; NULL: seen->error says why it is not.
 */
static MdbFollowedRule *
make_ready(const MdbRule *rule, MdbObservations *seen, MdbFollowed *f, Relation rel)
{
	Snapshot snapshot;
	MdbFollowedRule *r;
	Loading l = {.f = f, .rel = rel};

	mdb_followed_reach(f, rel, seen->at);
	snapshot = mdb_latest_snapshot();
	(void) mdb_followed_take_in(f, rel, snapshot);
	UnregisterSnapshot(snapshot);
	r = mdb_followed_rule(f, rule->id);
	if (r == NULL || r->version != rule->version)
	{
		seen->error = "the rule has changed";
		seen->not_yet = true;
		return NULL;
	}
	if (r->watch->t == NULL)
	{
		seen->error = pstrdup(r->watch->error);
		return NULL;
	}
	if (r->state == MDB_FOLLOW_LOADED && (r->width != mdb_followed_width(r->watch->t, rule->every) ||
										  seen->at < r->tick || (seen->at - r->phase) % r->width != 0))
		mdb_followed_rule_reset(r);
	if (r->state == MDB_FOLLOW_LOADED)
		return r;
	if (!mdb_mark_begin(f, rel) || !mdb_mark_writers_know(r, f))
	{
		seen->error = "the rule begins when transactions that may not know of it have ended";
		seen->not_yet = true;
		return NULL;
	}
	/* All that those have written is seen now; what is written later comes by metricsdb.alert_batch. */
	snapshot = mdb_latest_snapshot();
	(void) mdb_followed_take_in(f, rel, snapshot);
	l.r = r;
	l.snapshot = snapshot;
	loading = &l;
	if (!mdb_run_as_owner(rule, seen, true, read_history))
	{
		mdb_followed_rule_reset(r);
		r = NULL;
	}
	UnregisterSnapshot(snapshot);
	return r;
}

/* The rule, ready; as make_ready(). */
static MdbFollowedRule *
ready_rule(const MdbRule *rule, MdbObservations *seen)
{
	MdbFollowed *f = mdb_followed_get(rule->source);
	MdbFollowedRule *r = NULL;
	const char *hint;
	const char *why = NULL;

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(rule->source)))
	{
		mdb_followed_drop(f);
		seen->error = "the table was dropped";
		return NULL;
	}
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(rule->owner)))
		why = "the owner of the rule does not exist any more";
	else
		why = mdb_threshold_refused(rule->owner, rule->source, &hint);
	if (why)
	{
		/* What nobody looks at is not kept; it is read anew when he may again. */
		if (!f->stale && f->watch && (r = mdb_followed_rule(f, rule->id)) != NULL)
			mdb_followed_rule_reset(r);
		seen->error = pstrdup(why);
		return NULL;
	}
	if (!f->stale && !f->blocked && f->seen.xmax != 0 && mdb_covers_of(seen->at) <= f->covers)
		r = mdb_followed_rule(f, rule->id);
	if (r && r->state == MDB_FOLLOW_LOADED && r->version == rule->version && seen->at >= r->tick &&
		(seen->at - r->phase) % r->width == 0)
		return r;
	PG_TRY();
	{
		Relation rel = mdb_followed_open(f);

		r = NULL;
		if (rel)
		{
			r = make_ready(rule, seen, f, rel);
			relation_close(rel, AccessShareLock);
		}
		else
			seen->error = f->blocked
							  ? psprintf("somebody has locked table \"%s\"", get_rel_name(rule->source))
							  : pstrdup("the table is not a metricsdb table");
	}
	PG_CATCH();
	{
		mdb_followed_drop(f);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return r;
}

/* ---- evaluating ---- */

/* Are labels the same whatever the value is? */
static bool
labels_are_fixed(const MdbRule *rule)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue v;

	if (rule->labels == NULL || !JB_ROOT_IS_OBJECT(rule->labels))
		return true;
	it = JsonbIteratorInit(&rule->labels->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		if (token == WJB_VALUE && v.type == jbvString &&
			memchr(v.val.string.val, '{', v.val.string.len) != NULL)
			return false;
	return true;
}

static Jsonb *
labels_of(const MdbRule *rule, MdbFollowedRule *r, MdbWindowGroup *g, bool fixed, double value)
{
	MemoryContext old;
	Jsonb *labels = g->labels;

	if (labels)
		return labels;
	labels = mdb_labels_make(rule, g->n, g->names, g->values, value);
	if (!fixed)
		return labels;
	mdb_labels_key(labels, g->key);
	old = MemoryContextSwitchTo(r->mcxt);
	g->labels = (Jsonb *) datumCopy(PointerGetDatum(labels), false, -1);
	MemoryContextSwitchTo(old);
	r->distinct = false;
	return g->labels;
}

static int
key_cmp(const void *a, const void *b)
{
	return memcmp((*(MdbWindowGroup *const *) a)->key, (*(MdbWindowGroup *const *) b)->key, MDB_LABELS_KEY);
}

/* Have no two groups whose labels are made the same? */
static bool
labels_are_distinct(const MdbFollowedRule *r)
{
	MdbWindowGroup **sorted = palloc_extended(sizeof(MdbWindowGroup *) * Max(r->ngroups, 1), MCXT_ALLOC_HUGE);
	bool distinct = true;
	int n = 0;

	for (int i = 0; i < r->ngroups; i++)
		if (r->list[i]->labels)
			sorted[n++] = r->list[i];
	qsort(sorted, n, sizeof(MdbWindowGroup *), key_cmp);
	for (int i = 1; i < n && distinct; i++)
		distinct = key_cmp(&sorted[i - 1], &sorted[i]) != 0;
	pfree(sorted);
	return distinct;
}

/* Sums of what series of a group have. */
static void
add_members(MdbFollowedRule *r, TimestampTz at)
{
	const MdbThreshold *t = r->watch->t;
	HASH_SEQ_STATUS seq;
	MdbMember *m;

	for (int i = 0; i < r->ngroups; i++)
	{
		r->list[i]->sum = 0;
		r->list[i]->any = r->list[i]->known = false;
	}
	hash_seq_init(&seq, r->members);
	while ((m = hash_seq_search(&seq)) != NULL)
	{
		double value;
		bool isnull;

		mdb_ring_expire(&m->ring, t->aggregate, at - t->window);
		if (!mdb_ring_value(&m->ring, t->aggregate, at, t->window, &value, &isnull))
			continue;
		m->group->any = true;
		if (isnull)
			continue;
		m->group->known = true;
		m->group->sum += value;
	}
}

/* A group's value; false if it has no sample. */
static bool
group_value(MdbFollowedRule *r, MdbWindowGroup *g, TimestampTz at, double *value, bool *isnull)
{
	const MdbThreshold *t = r->watch->t;

	if (r->members)
	{
		*value = g->sum;
		*isnull = !g->known;
		return g->any;
	}
	mdb_ring_expire(&g->ring, t->aggregate, at - t->window);
	return mdb_ring_value(&g->ring, t->aggregate, at, t->window, value, isnull);
}

/* For how long nothing has come of a group, in seconds; false if that interests nobody any more. */
static bool
group_silence(MdbFollowedRule *r, MdbWindowGroup *g, TimestampTz at, double *value)
{
	g->last = Max(g->last, mdb_ring_newest(&g->ring, at));
	mdb_ring_expire(&g->ring, MDB_WINDOW_LAST, at);
	/* Who is silent for so long does not exist any more, and resolves as one that is absent. */
	if (g->last == PG_INT64_MIN || at - g->last > r->watch->t->forget_after)
		return false;
	*value = (at - g->last) / (double) USECS_PER_SEC;
	return true;
}

/*
 * mdb_threshold_evaluate - see alert.h.  Groups of whose series no sample is in the window are absent.
 * mdb_deadman_evaluate - see alert.h.  The value is for how many seconds nothing has come.
 */
void
mdb_threshold_evaluate(const MdbRule *rule, MdbObservations *seen)
{
	MdbFollowedRule *r = ready_rule(rule, seen);
	bool fixed = labels_are_fixed(rule);

	mdb_alert_counters.evaluations++;
	if (r == NULL)
		return;
	r->tick = seen->at;
	if (r->error)
	{
		seen->error = pstrdup(r->error);
		return;
	}
	if (r->members)
		add_members(r, seen->at);
	for (int i = 0; i < r->ngroups; i++)
	{
		const MdbThreshold *t = r->watch->t;
		MdbWindowGroup *g = r->list[i];
		MdbCondition holds;
		Jsonb *labels;
		double value;
		bool isnull = false;

		/* What comes next is rarely in the processor's cache. */
		if (i + AHEAD < r->ngroups)
			mdb_prefetch(&r->list[i + AHEAD]->ring);
		if (i + AHEAD / 2 < r->ngroups)
			mdb_ring_prefetch(&r->list[i + AHEAD / 2]->ring, t->aggregate, true);

		if (t->deadman ? !group_silence(r, g, seen->at, &value)
					   : !group_value(r, g, seen->at, &value, &isnull))
			continue;
		if (isnull)
			value = NAN;
		if (t->deadman)
			holds = seen->at - g->last > t->silent_for ? MDB_HOLDS : MDB_HOLDS_NOT;
		else
			holds = isnull ? MDB_HOLDS_NOT : mdb_compare(&t->compare, value);
		labels = labels_of(rule, r, g, fixed, value);
		mdb_observe(seen, labels, fixed ? g->key : NULL, value, isnull, holds);
	}
	if (fixed)
		seen->distinct = r->distinct = r->distinct || labels_are_distinct(r);
}

void
mdb_deadman_evaluate(const MdbRule *rule, MdbObservations *seen)
{
	mdb_threshold_evaluate(rule, seen);
}
