/*
 * guarding.c
 *	  The cardinality guard at work in a Kafka worker.
 *
 * Invariants:
 *	1. A series with a row in the table's dictionary is never refused: the dictionary is in this
 *	   process's memory and asked first, and brought up to what others have committed in each
 *	   transaction that is to store refusals.
 *	2. Pending is what the cache holds of series that were admitted and are not committed.  What the
 *	   transaction claims are those that the dictionary in truth does not have.
 *	3. What is refused enters no cache.
 *	4. Once a metric has refused many in an hour, all fingerprints of the dictionary and of the cache are known
 *	   (known.h), and a point of such a metric with another one is refused without being read in full.
 *	5. A batch is read again at most once in a row because a refused series was found to be known, and
 *	   otherwise only if a claim failed, after which the counts are those of all writers.
 *
 * Called by series_cache.c (admit, register), decode.c (refused), flush.c (begin to aborted).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "ingest/fingerprint.h"
#include "ingest/guarding.h"
#include "ingest/known.h"
#include "ingest/series_key.h"

struct MdbGuarding
{
	MemoryContext mcxt;
	MdbGuard *guard;
	int64 storage_id; /* whose dictionary is kept; 0 = none */
	bool two_columns; /* the series columns are name and tags: */
	MdbSeriesColumns columns;
	StringInfoData key;
	MdbCardMetric *refused; /* last */
	bool any_refused;       /* in this batch */
	bool found;             /* a pair of a metric that was closed has turned up */
	bool again;             /* the batch was read again because of that */
	bool claimed;           /* in the present transaction */
	MdbTable *table;        /* in the present transaction */
	bool flooded;           /* a metric has refused so many in this hour that it is worth while */
	bool watching;          /* to have the fingerprints of all series, */
	MdbKnown known;         /* these */
};

MdbGuarding *
mdb_guarding_create(void)
{
	MdbGuarding *g = palloc0(sizeof(MdbGuarding));

	g->mcxt = CurrentMemoryContext;
	g->guard = mdb_guard_create(false);
	initStringInfo(&g->key);
	return g;
}

bool
mdb_guarding_key(MdbGuarding *g, const MdbProtoSeries *series, StringInfo key)
{
	if (!g->two_columns)
		return false;
	mdb_series_key_put(&g->columns, series, key);
	return true;
}

/* ---- admission ---- */

static MdbCardMetric *
metric_of(MdbGuarding *g, MdbProtoBytes name)
{
	return mdb_guard_metric(g->guard, (MdbCardBytes){name.data, name.len});
}

static void
look(MdbGuarding *g, MdbCardMetric *metric, const MdbProtoSeries *series)
{
	MdbCardTag tags[MDB_PROTO_MAX_TAGS];

	for (int i = 0; i < series->ntags; i++)
		tags[i] = (MdbCardTag){{series->tags[i].key.data, series->tags[i].key.len},
							   {series->tags[i].value.data, series->tags[i].value.len}};
	mdb_card_look(g->guard->card, metric, series->ntags, tags);
}

/* Take the tag out of the series.  False if it does not have it. */
static bool
drop_tag(MdbProtoSeries *series, const MdbCardBytes *tag)
{
	for (int i = 0; i < series->ntags; i++)
	{
		if (series->tags[i].key.len != tag->len || memcmp(series->tags[i].key.data, tag->data, tag->len) != 0)
			continue;
		memmove(&series->tags[i], &series->tags[i + 1], (series->ntags - i - 1) * sizeof(MdbProtoTag));
		series->ntags--;
		return true;
	}
	return false;
}

static MdbAdmission
refuse(MdbGuarding *g, MdbCardMetric *metric)
{
	g->refused = metric;
	g->any_refused = true;
	g->flooded |= metric->refused_in_hour > MDB_CARD_LOOKED_AT;
	return MDB_ADMISSION_REFUSED;
}

MdbAdmission
mdb_guarding_admit(MdbGuarding *g, MdbProtoSeries *series, bool again)
{
	MdbCardMetric *metric;

	if (g->storage_id == 0)
		return MDB_ADMISSION_GRANTED;
	metric = metric_of(g, series->name);
	if (metric->rule.limit < 0)
		return MDB_ADMISSION_GRANTED;
	resetStringInfo(&g->key);
	if (!mdb_guarding_key(g, series, &g->key) || mdb_dict_peek(g->storage_id, g->key.data, g->key.len) != 0)
		return MDB_ADMISSION_GRANTED;

	if (again)
	{
		if (!mdb_card_admit_reduced(metric))
			return refuse(g, metric);
		mdb_guarding_admitted(g, series);
		return MDB_ADMISSION_GRANTED;
	}
	look(g, metric, series);
	switch (mdb_card_admit(metric))
	{
		case MDB_CARD_ADMITTED:
			mdb_guarding_admitted(g, series);
			return MDB_ADMISSION_GRANTED;
		case MDB_CARD_REDUCE:
			if (drop_tag(series, &metric->rule.drop_tag))
				return MDB_ADMISSION_REDUCED;
			mdb_card_refuse(metric);
			break;
		case MDB_CARD_REFUSED:
			break;
	}
	return refuse(g, metric);
}

/* ---- floods ---- */

static void
learn(void *arg, uint32 id, const char *key, uint32 len)
{
	MdbGuarding *g = arg;
	uint64 fingerprint;

	if (mdb_series_key_fingerprint(&g->columns, key, len, &fingerprint))
		mdb_known_add(&g->known, fingerprint);
}

static void
stop_watching(MdbGuarding *g)
{
	if (g->watching)
		mdb_dict_watch(g->storage_id, NULL, NULL);
	mdb_known_free(&g->known);
	g->watching = g->flooded = false;
}

bool
mdb_guarding_impatient(const MdbGuarding *g)
{
	return g->flooded && !g->watching && g->two_columns;
}

bool
mdb_guarding_watch(MdbGuarding *g)
{
	MemoryContext before;

	if (!mdb_guarding_impatient(g))
		return false;
	before = MemoryContextSwitchTo(g->mcxt);
	mdb_known_free(&g->known);
	mdb_known_init(&g->known);
	MemoryContextSwitchTo(before);
	return g->watching = mdb_dict_watch(g->storage_id, learn, g);
}

void
mdb_guarding_admitted(MdbGuarding *g, const MdbProtoSeries *series)
{
	uint64 fingerprint;

	if (!g->watching)
		return;
	fingerprint = mdb_fingerprint_begin(series->name);
	for (int i = 0; i < series->ntags; i++)
		fingerprint += mdb_fingerprint_add(series->tags[i].key, series->tags[i].value);
	mdb_known_add(&g->known, fingerprint);
}

bool
mdb_guarding_turn_away(MdbGuarding *g, MdbProtoBytes key)
{
	MdbCardMetric *metric = g->refused;
	MdbFingerprint fingerprint;
	MdbCardBytes tag;
	MdbProtoBytes value;

	if (!g->watching || !mdb_fingerprint_key(key, &fingerprint))
		return false;
	if (metric == NULL || metric->name_len != fingerprint.name.len ||
		memcmp(metric->name, fingerprint.name.data, metric->name_len) != 0)
		metric = metric_of(g, fingerprint.name);
	if (!mdb_card_one_tag(metric, &tag) || !mdb_card_closed(metric) ||
		metric->rule.action != MDB_CARD_REJECT || mdb_known_has(&g->known, fingerprint.hash))
		return false;
	if (tag.len > 0 && mdb_fingerprint_tag(&fingerprint, (MdbProtoBytes){tag.data, (uint32) tag.len}, &value))
		mdb_card_look_value(metric, (MdbCardBytes){value.data, value.len});
	mdb_card_refuse(metric);
	refuse(g, metric);
	return true;
}

bool
mdb_guarding_any(const MdbGuarding *g)
{
	return g->any_refused;
}

MdbCardMetric *
mdb_guarding_refused(const MdbGuarding *g)
{
	return g->refused;
}

const char *
mdb_guarding_reason(const MdbGuarding *g, const MdbCardMetric *metric)
{
	MdbCardBytes tag;
	int64 values = mdb_card_top(metric, &tag);

	if (tag.data == NULL)
		return psprintf("metric has reached its limit of %lld new series an hour",
						(long long) metric->rule.limit);
	return psprintf("metric has reached its limit of %lld new series an hour; tag \"%.*s\" grows most, about "
					"%lld different values",
					(long long) metric->rule.limit, (int) tag.len, (const char *) tag.data,
					(long long) values);
}

void
mdb_guarding_clock(MdbGuarding *g, TimestampTz now)
{
	if (g->storage_id != 0 && mdb_guard_hour(g->guard, now))
	{
		g->refused = NULL;
		stop_watching(g);
	}
}

/* ---- transactions ---- */

void
mdb_guarding_tick(MdbGuarding *g)
{
	if (g->storage_id != 0)
		mdb_guard_read_limits(g->guard);
}

/* A pair that others have registered: is its metric one that is closed to new series? */
static void
turned_up(void *arg, uint32 id, const char *key, uint32 len)
{
	MdbGuarding *g = arg;
	Datum *values;
	bool *isnull;
	MdbCardMetric *metric;
	text *name;

	if (g->found || !g->two_columns)
		return;
	values = palloc(sizeof(Datum) * g->table->natts);
	isnull = palloc(sizeof(bool) * g->table->natts);
	mdb_key_decode(g->table, key, len, values, isnull);
	if (!isnull[g->columns.name - 1])
	{
		name = DatumGetTextPP(values[g->columns.name - 1]);
		metric = metric_of(g, (MdbProtoBytes){(const uint8_t *) VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)});
		g->found = metric->refused > 0;
	}
	pfree(values);
	pfree(isnull);
}

bool
mdb_guarding_begin(MdbGuarding *g, Relation rel)
{
	MemoryContext before = MemoryContextSwitchTo(g->mcxt);
	MdbSeriesColumns columns;
	MdbDict *dict;
	TimestampTz hour = g->guard->hour;

	if (g->table)
		pfree(g->table);
	g->table = mdb_table(rel);
	mdb_guard_open(g->guard, rel, g->table);
	/* With the hour all metrics have gone, of which one is remembered. */
	if (g->guard->hour != hour)
	{
		g->refused = NULL;
		stop_watching(g);
	}
	columns.name = g->guard->name;
	columns.tags = g->guard->tags;
	columns.name_first = columns.name != 0 && g->table->series_attnos[0] == columns.name;
	if (g->storage_id != g->table->storage_id || columns.name != g->columns.name ||
		columns.tags != g->columns.tags)
		stop_watching(g);
	g->columns = columns;
	g->two_columns = columns.name != 0;

	dict = mdb_dict_open(g->table);
	if (g->storage_id != g->table->storage_id)
	{
		if (g->storage_id != 0)
			mdb_dict_let_go(g->storage_id);
		g->storage_id = g->table->storage_id;
		g->refused = NULL;
	}
	g->found = false;
	mdb_dict_keep(dict);
	if (g->any_refused)
		mdb_dict_refresh(dict, turned_up, g);
	MemoryContextSwitchTo(before);
	if (g->found && !g->again)
	{
		g->again = true;
		return false;
	}
	return true;
}

void
mdb_guarding_register(MdbGuarding *g, MdbProtoBytes name)
{
	MdbCardMetric *metric = metric_of(g, name);

	/* What is not limited is not counted. */
	if (metric->rule.limit >= 0)
		metric->fresh++;
}

bool
mdb_guarding_claim(MdbGuarding *g)
{
	g->claimed = mdb_guard_claim(g->guard);
	return g->claimed;
}

void
mdb_guarding_committed(MdbGuarding *g)
{
	mdb_guard_committed(g->guard);
	g->any_refused = g->again = g->claimed = false;
}

void
mdb_guarding_aborted(MdbGuarding *g)
{
	MdbCardMetric *metric;
	uint32_t at = 0;

	/* The batch will be read again, and what it says of refusals with it. */
	while ((metric = mdb_card_next(g->guard->card, &at)) != NULL)
	{
		metric->refused_in_hour -= Min(metric->refused_in_hour, metric->refused);
		if (g->claimed)
			metric->used -= metric->fresh;
		metric->fresh = metric->refused = 0;
	}
	g->any_refused = g->claimed = false;
}

void
mdb_guarding_cleared(MdbGuarding *g)
{
	MdbCardMetric *metric;
	uint32_t at = 0;

	while ((metric = mdb_card_next(g->guard->card, &at)) != NULL)
		metric->pending = 0;
}
