/*
 * follow.c
 *	  What the evaluation keeps in memory of tables with threshold or dead-man rules: rules, series, groups.
 *
 * A series is matched with the rules when its first sample comes, and again when the rules have changed (a generation), with
 * those that have begun since when there are some: then its samples are added to what it is attached to.  Which snapshot has been taken in is taken.c's business; when a rule has its
 * history is history.c's.
 *
 * An error may come between any two changes: who calls this drops all of the table then.
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "alert/follow.h"
#include "metricsdb.h"

/* So many rules begin one after the other before it is better to look for all that a series has. */
#define BEGUN_MAX 1000

MdbAlertCounters mdb_alert_counters;

static HTAB *followed = NULL;
static MemoryContext followed_mcxt = NULL;

/* ---- tables ---- */

static void
relcache_callback(Oid relid)
{
	HASH_SEQ_STATUS seq;
	MdbFollowed *f;

	if (followed == NULL)
		return;
	hash_seq_init(&seq, followed);
	while ((f = hash_seq_search(&seq)) != NULL)
		if (!OidIsValid(relid) || f->relid == relid)
			f->stale = true;
}

static HTAB *
make_hash(MemoryContext mcxt, const char *name, Size keysize, Size entrysize)
{
	HASHCTL ctl = {.keysize = keysize, .entrysize = entrysize, .hcxt = mcxt};

	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/*
 * mdb_followed_find - what is kept of a table, NULL if nothing is.
 */
MdbFollowed *
mdb_followed_find(Oid relid)
{
	return followed ? hash_search(followed, &relid, HASH_FIND, NULL) : NULL;
}

/* Nothing is known of it. */
static void
begin_table(MdbFollowed *f)
{
	Oid relid = f->relid;
	MemoryContext mcxt = f->mcxt;

	MemoryContextReset(mcxt);
	memset(f, 0, sizeof(*f));
	f->relid = relid;
	f->mcxt = mcxt;
	f->stale = true;
	f->covers = PG_INT64_MIN;
	f->rules = make_hash(mcxt, "metricsdb followed rules", sizeof(int32), sizeof(MdbFollowedRule));
	f->series =
		make_hash(mcxt, "metricsdb followed series", sizeof(XXH128_hash_t), sizeof(MdbFollowedSeries));
}

/*
 * mdb_followed_restart - forget all that is known of a table.
 */
void
mdb_followed_restart(MdbFollowed *f)
{
	begin_table(f);
}

/*
 * mdb_followed_get - the same, made if need be: it is stale then.
 */
MdbFollowed *
mdb_followed_get(Oid relid)
{
	static bool registered = false;
	MdbFollowed *f = mdb_followed_find(relid);
	bool found;

	if (f)
		return f;
	if (!registered)
		mdb_on_relation_change(relcache_callback);
	registered = true;
	if (followed == NULL)
	{
		followed_mcxt =
			AllocSetContextCreate(TopMemoryContext, "metricsdb followed tables", ALLOCSET_DEFAULT_SIZES);
		followed = make_hash(followed_mcxt, "metricsdb followed tables", sizeof(Oid), sizeof(MdbFollowed));
	}
	f = hash_search(followed, &relid, HASH_ENTER, &found);
	memset(f, 0, sizeof(*f));
	f->relid = relid;
	f->mcxt = AllocSetContextCreate(followed_mcxt, "metricsdb followed table", ALLOCSET_DEFAULT_SIZES);
	begin_table(f);
	return f;
}

/*
 * mdb_followed_drop - forget a table.
 */
void
mdb_followed_drop(MdbFollowed *f)
{
	MemoryContext mcxt = f->mcxt;
	Oid relid = f->relid;

	hash_search(followed, &relid, HASH_REMOVE, NULL);
	MemoryContextDelete(mcxt);
}

/*
 * mdb_followed_forget_all - forget all tables.
 */
void
mdb_followed_forget_all(void)
{
	if (followed_mcxt)
		MemoryContextDelete(followed_mcxt);
	followed = NULL;
	followed_mcxt = NULL;
}

/*
 * mdb_followed_each - call a function, which may drop it, for each table.
 */
void
mdb_followed_each(void (*fn)(MdbFollowed *f, void *arg), void *arg)
{
	HASH_SEQ_STATUS seq;
	MdbFollowed *f;
	Oid *relids;
	int n = 0;

	if (followed == NULL)
		return;
	relids = palloc(sizeof(Oid) * Max(hash_get_num_entries(followed), 1));
	hash_seq_init(&seq, followed);
	while ((f = hash_seq_search(&seq)) != NULL)
		relids[n++] = f->relid;
	for (int i = 0; i < n; i++)
		if ((f = mdb_followed_find(relids[i])) != NULL)
			fn(f, arg);
	pfree(relids);
}

/* All series are to be attached anew. */
static void
next_generation(MdbFollowed *f)
{
	f->generation++;
	f->nbegun = 0;
}

static MdbWatchRule *
find_watched(const MdbWatch *w, int32 id)
{
	for (int i = 0; i < w->nrules; i++)
		if (w->rules[i].id == id)
			return &w->rules[i];
	return NULL;
}

static int
watched_cmp(const void *a, const void *b)
{
	int32 x = (*(MdbWatchRule *const *) a)->id;
	int32 y = (*(MdbWatchRule *const *) b)->id;

	return x < y ? -1 : x > y;
}

static void
set_watch(MdbFollowedRule *r, MdbWatchRule *watch)
{
	r->watch = watch;
	r->column = watch->column;
	/* It cannot be evaluated on the table as it is. */
	if (watch->t == NULL)
	{
		mdb_followed_rule_reset(r);
		return;
	}
	r->deadman = watch->t->deadman;
	r->aggregate = watch->t->aggregate;
	r->window = watch->t->window;
}

/* Rules that were changed, or are gone, are forgotten; the others go on.  True if there were some. */
static bool
renew_rules(MdbFollowed *f)
{
	bool forgotten = false;
	HASH_SEQ_STATUS seq;
	MdbFollowedRule *r;
	MdbWatch *w = f->watch;
	MdbWatchRule **sorted = palloc(sizeof(MdbWatchRule *) * Max(w->nrules, 1));

	for (int i = 0; i < w->nrules; i++)
		sorted[i] = &w->rules[i];
	qsort(sorted, w->nrules, sizeof(MdbWatchRule *), watched_cmp);
	hash_seq_init(&seq, f->rules);
	while ((r = hash_seq_search(&seq)) != NULL)
	{
		MdbWatchRule probe = {.id = r->id};
		MdbWatchRule *p = &probe;
		MdbWatchRule **found = bsearch(&p, sorted, w->nrules, sizeof(MdbWatchRule *), watched_cmp);

		if (found && (*found)->version == r->version)
		{
			set_watch(r, *found);
			continue;
		}
		forgotten = true;
		mdb_followed_rule_reset(r);
		hash_search(f->rules, &r->id, HASH_REMOVE, NULL);
	}
	pfree(sorted);
	return forgotten;
}

/* Are the labels of series made of the same columns? */
static bool
same_labels(const MdbWatch *a, const MdbWatch *b)
{
	if (a->metric != b->metric || a->tags != b->tags || a->ncolumns != b->ncolumns)
		return false;
	for (int i = 0; i < a->ncolumns; i++)
		if (a->columns[i].attno != b->columns[i].attno || a->columns[i].name.len != b->columns[i].name.len ||
			memcmp(a->columns[i].name.p, b->columns[i].name.p, a->columns[i].name.len) != 0)
			return false;
	return true;
}

static MdbWatch *
build_watch(MdbFollowed *f, Relation rel)
{
	MemoryContext old = MemoryContextSwitchTo(f->mcxt);
	MdbWatch *watch;

	/* What comes while it is built makes it stale again. */
	f->stale = false;
	watch = mdb_watch_build(rel);
	MemoryContextSwitchTo(old);
	return watch;
}

/*
 * mdb_followed_refresh - learn what has become of the table, which is locked, and its rules.
 *
 * A new file of the table has other series, and maybe other rows, and columns of other names other labels: nothing of what
 * was known is kept then.
 */
void
mdb_followed_refresh(MdbFollowed *f, Relation rel)
{
	MdbWatch *watch;

	if (f->watch && f->watch->storage_id != mdb_table_peek(rel)->storage_id)
		begin_table(f);
	watch = build_watch(f, rel);
	if (f->watch && !same_labels(f->watch, watch))
	{
		begin_table(f);
		watch = build_watch(f, rel);
	}
	if (f->watch)
		MemoryContextDelete(f->watch->mcxt);
	f->watch = watch;
	if (renew_rules(f) || f->generation == 0)
		next_generation(f);
}

/* ---- rules ---- */

/*
 * mdb_followed_rule - what is kept of a rule; NULL if the table has no such rule, as far as is known.
 */
MdbFollowedRule *
mdb_followed_rule(MdbFollowed *f, int32 id)
{
	bool found;
	MdbFollowedRule *r = hash_search(f->rules, &id, HASH_FIND, NULL);
	MdbWatchRule *watch;

	if (r)
		return r;
	watch = find_watched(f->watch, id);
	if (watch == NULL)
		return NULL;
	r = hash_search(f->rules, &id, HASH_ENTER, &found);
	memset(r, 0, sizeof(*r));
	r->id = id;
	r->version = watch->version;
	set_watch(r, watch);
	return r;
}

/*
 * mdb_followed_width - how wide buckets can be, for windows to begin and end where some do.
 */
int64
mdb_followed_width(const MdbThreshold *t, int64 every)
{
	int64 a = Max(every, 1);
	int64 b = t->deadman ? a : t->window;

	while (b != 0)
	{
		int64 c = a % b;

		a = b;
		b = c;
	}
	return a;
}

/* Series are to be attached to a rule, too; anew, if they may be attached to groups that it had before. */
static void
note_begun(MdbFollowed *f, MdbFollowedRule *r)
{
	if (r->generation == f->generation || f->nbegun == BEGUN_MAX)
		next_generation(f);
	r->generation = f->generation;
	if (f->nbegun == f->begun_room)
	{
		f->begun_room = Max(16, f->begun_room * 2);
		f->begun = f->begun ? repalloc(f->begun, sizeof(MdbFollowedRule *) * f->begun_room)
							: MemoryContextAlloc(f->mcxt, sizeof(MdbFollowedRule *) * f->begun_room);
	}
	f->begun[f->nbegun++] = r;
}

/*
 * mdb_followed_rule_begin - a rule has windows from now on, empty ones; it has a tick at this time, and buckets end there.
 */
void
mdb_followed_rule_begin(MdbFollowedRule *r, MdbFollowed *f, int64 width, TimestampTz at)
{
	const MdbThreshold *t = r->watch->t;

	mdb_followed_rule_reset(r);
	r->mcxt = AllocSetContextCreate(f->mcxt, "metricsdb windows of a rule", ALLOCSET_SMALL_SIZES);
	r->groups = make_hash(r->mcxt, "metricsdb groups", sizeof(XXH128_hash_t), sizeof(MdbWindowGroup));
	if (!t->deadman && mdb_window_by_series(t->aggregate))
		r->members = make_hash(r->mcxt, "metricsdb members", sizeof(XXH128_hash_t), sizeof(MdbMember));
	r->width = width;
	r->phase = ((at % r->width) + r->width) % r->width;
	r->state = MDB_FOLLOW_LOADED;
	r->tick = at;
	note_begun(f, r);
}

/*
 * mdb_followed_rule_reset - a rule has no windows any more: its history is to be read again.
 */
void
mdb_followed_rule_reset(MdbFollowedRule *r)
{
	if (r->mcxt)
		MemoryContextDelete(r->mcxt);
	if (r->waits_for)
		pfree(r->waits_for);
	r->waits_for = NULL;
	r->nwaits = 0;
	r->mcxt = NULL;
	r->groups = NULL;
	r->list = NULL;
	r->ngroups = r->groups_room = 0;
	r->distinct = false;
	r->members = NULL;
	r->error = NULL;
	r->pieces = NULL;
	r->npieces = r->pieces_room = 0;
	memset(&r->seen, 0, sizeof(r->seen));
	r->state = MDB_FOLLOW_NEW;
}

/* ---- series ---- */

/*
 * mdb_followed_by_key - the series of a key.
 */
MdbFollowedSeries *
mdb_followed_by_key(MdbFollowed *f, const char *key, uint32 len)
{
	XXH128_hash_t hash = XXH3_128bits(key, len);
	MdbFollowedSeries *s = hash_search(f->series, &hash, HASH_FIND, NULL);
	bool found;
	char *copy;

	if (s)
		return s;
	copy = MemoryContextAlloc(f->mcxt, Max(len, 1));
	memcpy(copy, key, len);
	s = hash_search(f->series, &hash, HASH_ENTER, &found);
	memset((char *) s + sizeof(hash), 0, sizeof(*s) - sizeof(hash));
	s->key = copy;
	s->len = len;
	return s;
}

/*
 * mdb_followed_by_id - the series of an id of the table's dictionary.  Several ids may have one key.
 */
MdbFollowedSeries *
mdb_followed_by_id(MdbFollowed *f, MdbDict *dict, uint32 id)
{
	if (unlikely(id >= f->nids))
	{
		uint32 room = Max(1024, f->nids);

		while (room <= id)
			room = room > PG_UINT32_MAX / 2 ? PG_UINT32_MAX : room * 2;
		f->by_id = f->by_id ? repalloc_huge(f->by_id, sizeof(MdbFollowedSeries *) * room)
							: MemoryContextAllocHuge(f->mcxt, sizeof(MdbFollowedSeries *) * room);
		memset(f->by_id + f->nids, 0, sizeof(MdbFollowedSeries *) * (room - f->nids));
		f->nids = room;
	}
	if (unlikely(f->by_id[id] == NULL))
	{
		uint32 len;
		const char *key = mdb_dict_key(dict, id, NULL, &len);

		f->by_id[id] = mdb_followed_by_key(f, key, len);
	}
	return f->by_id[id];
}

/* ---- groups ---- */

typedef struct Attaching
{
	MdbFollowed *f;
	MdbFollowedSeries *series;
	const MdbLabels *labels;
	int room;
} Attaching;

static bool
named(List *names, MdbBytes name)
{
	ListCell *lc;

	foreach (lc, names)
		if (strlen(lfirst(lc)) == name.len && memcmp(lfirst(lc), name.p, name.len) == 0)
			return true;
	return false;
}

/* Does a label tell groups of a rule apart?  The metric's name does only if the rule says so. */
static bool
is_of_group(const MdbThreshold *t, MdbBytes name)
{
	if (t->grouped && !t->without)
		return named(t->names, name);
	return !mdb_is_metric_label(name) && !named(t->names, name);
}

static int
label_cmp(const void *a, const void *b, void *arg)
{
	const MdbLabels *l = arg;
	MdbBytes x = l->names[*(const int *) a];
	MdbBytes y = l->names[*(const int *) b];
	int c = memcmp(x.p, y.p, Min(x.len, y.len));

	return c != 0 ? c : x.len < y.len ? -1 : x.len > y.len;
}

static char *
copy_bytes(MemoryContext mcxt, MdbBytes b)
{
	char *p = MemoryContextAlloc(mcxt, b.len + 1);

	memcpy(p, b.p, b.len);
	p[b.len] = '\0';
	return p;
}

static void
put_on_list(MdbFollowedRule *r, MdbWindowGroup *g)
{
	if (r->ngroups == r->groups_room)
	{
		r->groups_room = Max(4, r->groups_room * 2);
		r->list = r->list ? repalloc_huge(r->list, sizeof(MdbWindowGroup *) * r->groups_room)
						  : MemoryContextAlloc(r->mcxt, sizeof(MdbWindowGroup *) * r->groups_room);
	}
	r->list[r->ngroups++] = g;
}

/* A rule's group of a series with these labels. */
static MdbWindowGroup *
group_of(MdbFollowedRule *r, const MdbLabels *labels)
{
	const MdbThreshold *t = r->watch->t;
	int *order = palloc(sizeof(int) * Max(labels->n, 1));
	int n = 0;
	StringInfoData bytes;
	XXH128_hash_t hash;
	MdbWindowGroup *g;
	bool found;
	MdbBytes metric = mdb_watch_label(labels, (MdbBytes){MDB_MATCH_NAME, sizeof(MDB_MATCH_NAME) - 1});

	for (int i = 0; i < labels->n; i++)
		if (is_of_group(t, labels->names[i]))
			order[n++] = i;
	qsort_arg(order, n, sizeof(int), label_cmp, unconstify(MdbLabels *, labels));
	initStringInfo(&bytes);
	for (int i = 0; i < n; i++)
	{
		MdbBytes part[2] = {labels->names[order[i]], labels->values[order[i]]};

		for (int k = 0; k < 2; k++)
		{
			uint32 len = (uint32) part[k].len;

			appendBinaryStringInfo(&bytes, (const char *) &len, sizeof(len));
			appendBinaryStringInfo(&bytes, part[k].p, (int) len);
		}
	}
	hash = XXH3_128bits(bytes.data, bytes.len);
	g = hash_search(r->groups, &hash, HASH_FIND, NULL);
	if (g == NULL)
	{
		char **names = MemoryContextAlloc(r->mcxt, sizeof(char *) * Max(2 * n, 1));

		for (int i = 0; i < n; i++)
		{
			names[i] = copy_bytes(r->mcxt, labels->names[order[i]]);
			names[n + i] = copy_bytes(r->mcxt, labels->values[order[i]]);
		}
		g = hash_search(r->groups, &hash, HASH_ENTER, &found);
		memset((char *) g + sizeof(hash), 0, sizeof(*g) - sizeof(hash));
		g->n = n;
		g->names = names;
		g->values = names + n;
		g->last = PG_INT64_MIN;
		g->metric = t->grouped ? NULL : copy_bytes(r->mcxt, metric);
		put_on_list(r, g);
	}
	else if (g->metric && r->error == NULL &&
			 (strlen(g->metric) != metric.len || memcmp(g->metric, metric.p, metric.len) != 0))
		r->error = MemoryContextStrdup(r->mcxt,
									   psprintf("series of metrics \"%s\" and \"%.*s\" have the same labels",
												g->metric, (int) metric.len, metric.p));
	pfree(bytes.data);
	pfree(order);
	return g;
}

static MdbRing *
member_ring(MdbFollowedRule *r, const MdbFollowedSeries *s, MdbWindowGroup *g)
{
	bool found;
	MdbMember *m = hash_search(r->members, &s->hash, HASH_ENTER, &found);

	if (!found)
		memset(&m->ring, 0, sizeof(m->ring));
	m->group = g;
	return &m->ring;
}

static void
attach_rule(void *arg, MdbWatchRule *rule)
{
	Attaching *a = arg;
	MdbFollowedSeries *s = a->series;
	MdbFollowedRule *r = hash_search(a->f->rules, &rule->id, HASH_FIND, NULL);
	MdbAttach *attach;

	if (r == NULL || r->state != MDB_FOLLOW_LOADED)
		return;
	r->generation = a->f->generation;
	if (s->n == a->room)
	{
		a->room = Max(2, a->room * 2);
		s->attach = s->attach ? repalloc(s->attach, sizeof(MdbAttach) * a->room)
							  : MemoryContextAlloc(a->f->mcxt, sizeof(MdbAttach) * a->room);
	}
	attach = &s->attach[s->n];
	attach->rule = r;
	attach->group = group_of(r, a->labels);
	attach->ring = r->members ? member_ring(r, s, attach->group) : &attach->group->ring;
	s->n++;
}

/* Find the rules that watch a series: all, or those that have begun since. */
static void
attach_series(MdbFollowed *f, MdbFollowedSeries *s)
{
	MemoryContext tmp =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb labels of a series", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(tmp);
	MdbLabels labels = {0};
	Attaching a = {.f = f, .series = s, .labels = &labels};
	bool more = s->generation == f->generation;

	mdb_watch_labels(f->watch, s->key, s->len, &labels);
	/* If an error comes on the way, all of it is done anew. */
	s->generation = 0;
	if (more)
	{
		a.room = s->n;
		for (int i = s->begun; i < f->nbegun; i++)
		{
			const MdbFollowedRule *r = f->begun[i];

			if (r->state == MDB_FOLLOW_LOADED && mdb_watch_holds(f->watch, r->watch, &labels))
				attach_rule(&a, r->watch);
		}
	}
	else
	{
		if (s->attach)
			pfree(s->attach);
		s->attach = NULL;
		s->n = 0;
		mdb_watch_match(f->watch, &labels, attach_rule, &a);
	}
	s->generation = f->generation;
	s->begun = f->nbegun;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(tmp);
}

/*
 * mdb_followed_prefetch - a sample of a series comes soon, in so many steps: 3 to 0.  Series, what they are attached to and
 * windows are all over the memory, so that each would be waited for.
 */
void
mdb_followed_prefetch(const MdbFollowed *f, uint32 id, int step)
{
	const MdbFollowedSeries *s = id < f->nids ? f->by_id[id] : NULL;
	const MdbAttach *a;

	if (s == NULL)
		return;
	if (step == 3)
		mdb_prefetch(s);
	else if (step == 2)
		mdb_prefetch(s->attach);
	else if (s->generation == f->generation && s->n > 0)
	{
		a = &s->attach[0];
		if (a->rule->state != MDB_FOLLOW_LOADED)
			return;
		if (step == 1)
			mdb_prefetch(a->ring);
		else
			mdb_ring_prefetch(a->ring, a->rule->aggregate, false);
	}
}

/*
 * mdb_followed_add - a sample of a series comes into the windows of the rules that watch it, or of one alone.
 */
void
mdb_followed_add(MdbFollowed *f, MdbFollowedSeries *s, MdbFollowedRule *only, AttrNumber column, int64 time,
				 double value)
{
	if (unlikely(s->generation != f->generation || s->begun != f->nbegun))
		attach_series(f, s);
	if (!s->touched)
		s->touched = true;
	for (int i = 0; i < s->n; i++)
	{
		const MdbAttach *a = &s->attach[i];
		MdbFollowedRule *r = a->rule;

		/* Of one that was reset groups are gone. */
		if (r->state != MDB_FOLLOW_LOADED || r->column != column || r->has_it || (only && r != only))
			continue;
		if (r->deadman && time <= r->tick)
			a->group->last = Max(a->group->last, time);
		else
		{
			int64 behind = (time - r->phase) % r->width;
			int64 end = behind == 0 ? time : time + (behind > 0 ? r->width : 0) - behind;

			/* What is too late for the window of the last tick is so for all that come. */
			if (end > r->tick - r->window)
				mdb_ring_add(a->ring, r->aggregate, r->mcxt, end, time, value);
		}
	}
}

/* ---- what is not needed any more ---- */

/* True if something of it is gone that series were attached to. */
static bool
sweep_rule(MdbFollowedRule *r)
{
	HASH_SEQ_STATUS seq;
	MdbWindowGroup *g;
	MdbMember *m;
	const MdbThreshold *t;
	int n = r->ngroups;
	bool gone = false;

	if (r->state != MDB_FOLLOW_LOADED)
		return false;
	t = r->watch->t;
	/* If it is so still, that is found when series are attached. */
	gone = r->error != NULL;
	r->error = NULL;
	for (int k = 0; k < n; k++)
	{
		g = r->list[k];
		g->any = (t->deadman && g->last > r->tick - t->forget_after) || (r->members == NULL && g->ring.n > 0);
	}
	if (r->members)
	{
		hash_seq_init(&seq, r->members);
		while ((m = hash_seq_search(&seq)) != NULL)
		{
			mdb_ring_expire(&m->ring, t->aggregate, r->tick - t->window);
			if (m->ring.n > 0)
				m->group->any = true;
			else
			{
				hash_search(r->members, &m->hash, HASH_REMOVE, NULL);
				gone = true;
			}
		}
	}
	r->ngroups = 0;
	for (int k = 0; k < n; k++)
	{
		g = r->list[k];
		if (g->any)
		{
			put_on_list(r, g);
			continue;
		}
		gone = true;
		for (int i = 0; i < 2 * g->n; i++)
			pfree(g->names[i]);
		pfree(g->names);
		if (g->metric)
			pfree(g->metric);
		if (g->labels)
			pfree(g->labels);
		hash_search(r->groups, &g->hash, HASH_REMOVE, NULL);
	}
	return gone;
}

/*
 * mdb_followed_sweep - forget groups that have no samples, and series of which none came since the last time: if
 * something was attached to what is gone, all are attached anew.
 */
void
mdb_followed_sweep(MdbFollowed *f)
{
	HASH_SEQ_STATUS seq;
	MdbFollowedRule *r;
	MdbFollowedSeries *s;
	bool gone = false;

	hash_seq_init(&seq, f->rules);
	while ((r = hash_seq_search(&seq)) != NULL)
		gone |= sweep_rule(r);
	if (gone)
		next_generation(f);
	for (uint32 i = 0; i < f->nids; i++)
		if (f->by_id[i] && !f->by_id[i]->touched)
			f->by_id[i] = NULL;
	hash_seq_init(&seq, f->series);
	while ((s = hash_seq_search(&seq)) != NULL)
	{
		if (s->touched)
		{
			s->touched = false;
			continue;
		}
		pfree(s->key);
		if (s->attach)
			pfree(s->attach);
		hash_search(f->series, &s->hash, HASH_REMOVE, NULL);
	}
}
