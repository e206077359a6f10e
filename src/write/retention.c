/*
 * retention.c
 *	  How long a table keeps its rows: which class a row is of, and when a class is too old.
 *
 * The class of a row is that of its series, as the metric's name is a series column; so it is found
 * once a series.  See retention.h for the numbers of classes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "series/guard.h"
#include "series/series.h"
#include "write/retention.h"

/* With a policy no partition is wider than one of so many parts of the time that rows are kept. */
#define KEEP_PARTITIONS 8

/* In the place of a class that was not looked for yet. */
#define NOT_LOOKED_UP PG_INT16_MIN

MdbRetentionLoader mdb_retention_loader = NULL;

/*
 * mdb_retention_load - the policy of a table, or NULL; in CurrentMemoryContext.
 */
MdbRetention *
mdb_retention_load(Relation rel)
{
	return mdb_retention_loader ? mdb_retention_loader(rel) : NULL;
}

/*
 * mdb_retention_has_keep - does any row ever become too old?
 */
bool
mdb_retention_has_keep(const MdbRetention *r)
{
	return r != NULL && (r->has_keep || r->nclasses > 0);
}

/*
 * mdb_glob_match - does a string match a pattern, in which * stands for any characters and ? for one?
 *
 * Goes back to the last * alone, as a shorter match of earlier ones does not help; so the time is at most
 * the product of the lengths.
 */
bool
mdb_glob_match(const char *pattern, const char *s, int len)
{
	const char *end = s + len;
	const char *star = NULL;
	const char *star_s = NULL;

	while (s < end)
	{
		if (*pattern == '*')
		{
			star = ++pattern;
			star_s = s;
			continue;
		}
		if (*pattern == '?')
		{
			pattern++;
			s += Min(pg_mblen(s), end - s);
			continue;
		}
		if (*pattern == '\\' && pattern[1] != '\0' ? pattern[1] == *s : *pattern == *s && *pattern != '\0')
		{
			pattern += *pattern == '\\' && pattern[1] != '\0' ? 2 : 1;
			s++;
			continue;
		}
		if (star == NULL)
			return false;
		pattern = star;
		star_s += Min(pg_mblen(star_s), end - star_s);
		s = star_s;
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

/* Characters of a pattern that stand for themselves. */
static int
literals(const char *pattern)
{
	int n = 0;

	for (const char *p = pattern; *p; p++)
	{
		if (*p == '*' || *p == '?')
			continue;
		if (*p == '\\' && p[1] != '\0')
			p++;
		n++;
	}
	return n;
}

static int
class_cmp(const void *a, const void *b)
{
	const MdbRetentionClass *x = a, *y = b;
	int nx = literals(x->metric), ny = literals(y->metric);

	if (nx != ny)
		return nx > ny ? -1 : 1;
	return strcmp(x->metric, y->metric);
}

/*
 * mdb_retention_sort - the order in which classes are tried: more characters that stand for themselves
 * first; of as many, by the pattern's bytes.  So it does not depend on when each was set.
 */
void
mdb_retention_sort(MdbRetention *r)
{
	qsort(r->classes, r->nclasses, sizeof(MdbRetentionClass), class_cmp);
}

/*
 * mdb_retention_same_classes - have two policies the same patterns?
 */
bool
mdb_retention_same_classes(const MdbRetention *a, const MdbRetention *b)
{
	if (a->nclasses != b->nclasses)
		return false;
	for (int i = 0; i < a->nclasses; i++)
		if (strcmp(a->classes[i].metric, b->classes[i].metric) != 0)
			return false;
	return true;
}

/*
 * mdb_retention_is_current - was a part of this class written by the present patterns?
 */
bool
mdb_retention_is_current(const MdbRetention *r, int16 class)
{
	return class >= r->base && class <= r->base + r->nclasses;
}

/*
 * mdb_retention_class - the class of rows of a metric; NULL: of rows without one.
 */
int16
mdb_retention_class(const MdbRetention *r, const char *metric, int len)
{
	for (int i = 0; metric != NULL && i < r->nclasses; i++)
		if (mdb_glob_match(r->classes[i].metric, metric, len))
			return (int16) (r->base + 1 + i);
	return (int16) r->base;
}

/*
 * mdb_retention_column - the column with the metric's name, or 0 if the table is not of that kind.
 */
AttrNumber
mdb_retention_column(Relation rel, const MdbTable *table)
{
	AttrNumber name, tags;

	mdb_guard_shape(rel, table, &name, &tags);
	return name;
}

/*
 * mdb_retention_dated - does the table's time column say how old a row is?
 */
bool
mdb_retention_dated(const MdbTable *table)
{
	return table->time_type == TIMESTAMPTZOID || table->time_type == TIMESTAMPOID ||
		   table->time_type == DATEOID;
}

/*
 * mdb_retention_horizon - rows with a time before this are too old, in the time column's units.
 *
 * A time without a zone is of the session's, as in "time < now() - keep".  A date is too old when the
 * whole day is.  Raises ERRCODE_DATETIME_VALUE_OUT_OF_RANGE.
 */
int64
mdb_retention_horizon(const MdbTable *table, const Interval *keep, TimestampTz now)
{
	Datum at =
		DirectFunctionCall2(timestamptz_mi_interval, TimestampTzGetDatum(now), IntervalPGetDatum(keep));

	switch (table->time_type)
	{
		case TIMESTAMPTZOID:
			return DatumGetTimestampTz(at);
		case TIMESTAMPOID:
			return DatumGetTimestamp(DirectFunctionCall1(timestamptz_timestamp, at));
		case DATEOID:
			return DatumGetDateADT(DirectFunctionCall1(timestamptz_date, at));
	}
	return PG_INT64_MIN;
}

static int64
interval_days(const Interval *i)
{
	return (int64) i->month * DAYS_PER_MONTH + i->day + i->time / USECS_PER_DAY;
}

/*
 * mdb_retention_days - how wide partitions may be, so that rows do not wait much longer for their part to
 * be too old than they are kept.
 */
int32
mdb_retention_days(const MdbRetention *r)
{
	int64 days = PG_INT32_MAX;

	if (!mdb_retention_has_keep(r))
		return PG_INT32_MAX;
	if (r->has_keep)
		days = Min(days, interval_days(&r->keep) / KEEP_PARTITIONS);
	for (int i = 0; i < r->nclasses; i++)
		days = Min(days, interval_days(&r->classes[i].keep) / KEEP_PARTITIONS);
	return (int32) Max(days, 1);
}

/*
 * mdb_horizons - those of all classes, in CurrentMemoryContext.
 */
MdbHorizons *
mdb_horizons(const MdbRetention *r, const MdbTable *table, TimestampTz now)
{
	MdbHorizons *h = palloc0(sizeof(MdbHorizons));

	h->retention = r;
	h->classes = palloc(sizeof(int64) * (r->nclasses + 1));
	for (int i = 0; i <= r->nclasses; i++)
	{
		const Interval *keep = i > 0 ? &r->classes[i - 1].keep : r->has_keep ? &r->keep : NULL;

		h->classes[i] = keep ? mdb_retention_horizon(table, keep, now) : PG_INT64_MIN;
		h->longest = i == 0 ? h->classes[0] : Min(h->longest, h->classes[i]);
	}
	return h;
}

/*
 * mdb_horizon_of - that of a class; of one that the policy does not have, whose rows may be of any class,
 * that of the class that is kept for longest.
 */
int64
mdb_horizon_of(const MdbHorizons *h, int16 class)
{
	return mdb_retention_is_current(h->retention, class) ? h->classes[class - h->retention->base]
														 : h->longest;
}

/* ---- classes of series ---- */

/* There is one at a time: that of the table that was written to last.  Series ids never change hands. */
struct MdbClassifier
{
	int64 storage_id;
	AttrNumber column;
	MdbRetention retention;
	MdbDict *dict;
	int16 *classes; /* by series id */
	uint32 nclasses;
};

static MemoryContext classifier_mcxt = NULL;
static MdbClassifier *last = NULL;

/*
 * mdb_classifier - what tells the classes of a table's series; until the next call, or the transaction's end.
 */
MdbClassifier *
mdb_classifier(Relation rel, const MdbTable *table, const MdbRetention *r)
{
	AttrNumber column = mdb_retention_column(rel, table);

	if (last == NULL || last->storage_id != table->storage_id || last->column != column ||
		last->retention.base != r->base || !mdb_retention_same_classes(&last->retention, r))
	{
		MemoryContext old;

		last = NULL;
		if (classifier_mcxt == NULL)
			classifier_mcxt = AllocSetContextCreate(TopMemoryContext, "metricsdb classes of series",
													ALLOCSET_DEFAULT_SIZES);
		MemoryContextReset(classifier_mcxt);
		old = MemoryContextSwitchTo(classifier_mcxt);
		last = palloc0(sizeof(MdbClassifier));
		last->storage_id = table->storage_id;
		last->column = column;
		last->retention = *r;
		last->retention.classes = palloc(sizeof(MdbRetentionClass) * Max(1, r->nclasses));
		for (int i = 0; i < r->nclasses; i++)
		{
			last->retention.classes[i] = r->classes[i];
			last->retention.classes[i].metric = pstrdup(r->classes[i].metric);
		}
		last->nclasses = 1024;
		last->classes = palloc(sizeof(int16) * last->nclasses);
		for (uint32 i = 0; i < last->nclasses; i++)
			last->classes[i] = NOT_LOOKED_UP;
		MemoryContextSwitchTo(old);
	}
	last->dict = mdb_dict_open(table);
	return last;
}

/* The class of a series by its key. */
static int16
class_of_key(const MdbClassifier *c, uint32 id)
{
	Snapshot snapshot = mdb_latest_snapshot();
	uint32 len;
	const char *p = mdb_dict_key(c->dict, id, snapshot, &len);
	const char *end = p + len;
	const char *bytes;
	uint32 attno, n;
	int16 class = (int16) c->retention.base;

	while (mdb_key_next(&p, end, &attno, &bytes, &n))
		if (attno == (uint32) c->column)
			class = mdb_retention_class(&c->retention, n > 0 ? bytes : NULL, (int) n - 1);
	UnregisterSnapshot(snapshot);
	return class;
}

/*
 * mdb_class_of_series - the class of a series' rows.
 */
int16
mdb_class_of_series(MdbClassifier *c, uint32 id)
{
	if (c->retention.nclasses == 0)
		return (int16) c->retention.base;
	if (c->column == 0)
		return MDB_CLASS_UNKNOWN;
	if (id >= c->nclasses)
	{
		uint32 n = (uint32) Min((uint64) c->nclasses * 2, (uint64) PG_UINT32_MAX);

		n = Max(n, id + 1);
		c->classes = repalloc_huge(c->classes, sizeof(int16) * (Size) n);
		for (uint32 i = c->nclasses; i < n; i++)
			c->classes[i] = NOT_LOOKED_UP;
		c->nclasses = n;
	}
	if (c->classes[id] == NOT_LOOKED_UP)
		c->classes[id] = class_of_key(c, id);
	return c->classes[id];
}
