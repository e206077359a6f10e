/*
 * window.c
 *	  The samples of one group, or series, in a rule's window.
 *
 * A ring is an array of entries by rising time, which grows at its end and is eaten from its beginning.  An entry is
 * a bucket that has samples, with as much of them as the aggregate needs; buckets end where windows may begin and end.  Of a
 * counter or gauge it is a sample, for what has increased between two is not known of each alone.
 *
 * Nothing is ever subtracted: a value is made of the entries anew, so it does not drift, and late samples are added
 * where they belong.
 */
#include "postgres.h"

#include <math.h>

#include "utils/memutils.h"

#include "alert/window.h"
#include "func/counter.h"

/* What begins each entry. */
typedef struct Entry
{
	int64 at; /* the bucket's end, or the sample's time */
} Entry;

typedef struct CountEntry
{
	int64 at;
	int64 n;
} CountEntry;

typedef struct ValueEntry /* min, max; samples */
{
	int64 at;
	double value;
} ValueEntry;

typedef struct EndEntry /* first, last */
{
	int64 at;
	int64 time;
	double value;
} EndEntry;

typedef struct MomentsEntry
{
	int64 at;
	MdbMoments m;
} MomentsEntry;

static inline Size
entry_size(MdbWindowAggregate aggregate)
{
	switch (aggregate)
	{
		case MDB_WINDOW_COUNT:
			return sizeof(CountEntry);
		case MDB_WINDOW_FIRST:
		case MDB_WINDOW_LAST:
			return sizeof(EndEntry);
		case MDB_WINDOW_MIN:
		case MDB_WINDOW_MAX:
		case MDB_WINDOW_RATE:
		case MDB_WINDOW_INCREASE:
		case MDB_WINDOW_DELTA:
			return sizeof(ValueEntry);
		default:
			return sizeof(MomentsEntry);
	}
}

static inline Entry *
entry_at(const MdbRing *ring, Size size, int i)
{
	return (Entry *) (ring->data + (Size) (ring->first + i) * size);
}

/*
 * mdb_ring_prefetch - see window.h.
 */
void
mdb_ring_prefetch(const MdbRing *ring, MdbWindowAggregate aggregate, bool whole)
{
	Size size = entry_size(aggregate);
	const char *p = ring->data + ring->first * size;
	const char *end = p + Min(ring->n * size, 1024);

	if (ring->n == 0)
		return;
	if (!whole)
		p = (const char *) entry_at(ring, size, ring->n - 1);
	for (; p < end; p += 64)
		mdb_prefetch(p);
}

/* The first entry that is not before a time. */
static int
find_entry(const MdbRing *ring, Size size, int64 at)
{
	int lo = 0;
	int hi = ring->n;

	/* Mostly it comes at the end. */
	if (hi > 0 && entry_at(ring, size, hi - 1)->at < at)
		return hi;
	while (lo < hi)
	{
		int mid = (lo + hi) / 2;

		if (entry_at(ring, size, mid)->at < at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Room for a new entry before the i-th. */
static Entry *
open_entry(MdbRing *ring, Size size, MemoryContext mcxt, int i)
{
	if (ring->first + ring->n == ring->room && ring->first > ring->n)
	{
		memmove(ring->data, ring->data + ring->first * size, ring->n * size);
		ring->first = 0;
	}
	if (ring->first + ring->n == ring->room)
	{
		int32 room = ring->room == 0 ? 4 : ring->room + ring->room / 2 + 1;

		ring->data = ring->data ? repalloc_huge(ring->data, (Size) room * size)
								: MemoryContextAlloc(mcxt, (Size) room * size);
		ring->room = room;
	}
	memmove(entry_at(ring, size, i + 1), entry_at(ring, size, i), (Size) (ring->n - i) * size);
	ring->n++;
	memset(entry_at(ring, size, i), 0, size);
	return entry_at(ring, size, i);
}

/* Of several samples at one time that with the highest value counts, NaN only alone: as counters are read elsewhere. */
static inline bool
wins(double value, double over)
{
	return value > over || (isnan(over) && !isnan(value));
}

/* What a sample makes of an entry; fresh: it has none yet. */
static void
add_to_entry(Entry *entry, MdbWindowAggregate aggregate, bool fresh, int64 time, double value)
{
	switch (aggregate)
	{
		case MDB_WINDOW_COUNT:
			((CountEntry *) entry)->n++;
			break;
		case MDB_WINDOW_MIN:
		{
			ValueEntry *e = (ValueEntry *) entry;

			if (fresh || value < e->value || isnan(e->value))
				e->value = value;
			break;
		}
		case MDB_WINDOW_MAX:
		case MDB_WINDOW_RATE:
		case MDB_WINDOW_INCREASE:
		case MDB_WINDOW_DELTA:
		{
			ValueEntry *e = (ValueEntry *) entry;

			if (fresh || wins(value, e->value))
				e->value = value;
			break;
		}
		case MDB_WINDOW_FIRST:
		case MDB_WINDOW_LAST:
		{
			EndEntry *e = (EndEntry *) entry;

			if (fresh || (aggregate == MDB_WINDOW_FIRST ? time < e->time : time > e->time) ||
				(time == e->time && wins(value, e->value)))
			{
				e->time = time;
				e->value = value;
			}
			break;
		}
		default:
			mdb_moments_add(&((MomentsEntry *) entry)->m, value);
	}
}

/*
 * mdb_ring_add - see window.h.
 */
void
mdb_ring_add(MdbRing *ring, MdbWindowAggregate aggregate, MemoryContext mcxt, int64 end, int64 time,
			 double value)
{
	Size size = entry_size(aggregate);
	int64 at = mdb_window_by_series(aggregate) ? time : end;
	int i = find_entry(ring, size, at);
	bool fresh = i == ring->n || entry_at(ring, size, i)->at != at;
	Entry *entry = fresh ? open_entry(ring, size, mcxt, i) : entry_at(ring, size, i);

	entry->at = at;
	add_to_entry(entry, aggregate, fresh, time, value);
}

/*
 * mdb_ring_expire - see window.h.
 */
void
mdb_ring_expire(MdbRing *ring, MdbWindowAggregate aggregate, int64 upto)
{
	Size size = entry_size(aggregate);
	int i = 0;

	while (i < ring->n && entry_at(ring, size, i)->at <= upto)
		i++;
	ring->first += i;
	ring->n -= i;
	if (ring->n == 0)
	{
		ring->first = 0;
		/* Who comes no more keeps nothing. */
		if (ring->data)
			pfree(ring->data);
		ring->data = NULL;
		ring->room = 0;
	}
}

/*
 * mdb_ring_newest - see window.h.
 */
int64
mdb_ring_newest(const MdbRing *ring, int64 at)
{
	int64 newest = PG_INT64_MIN;

	for (int i = 0; i < ring->n; i++)
	{
		const EndEntry *e = (const EndEntry *) entry_at(ring, sizeof(EndEntry), i);

		if (e->at > at)
			break;
		newest = Max(newest, e->time);
	}
	return newest;
}

/* What is told of a counter or gauge, as Prometheus does: extrapolated to the window. */
static double
counter_value(const MdbRing *ring, MdbWindowAggregate aggregate, int n, int64 at, int64 window, bool *isnull)
{
	MdbCounterArgs args = {.has_range = true, .start = at - window, .end = at};
	MdbCounterWhat what = aggregate == MDB_WINDOW_RATE       ? MDB_RATE
						  : aggregate == MDB_WINDOW_INCREASE ? MDB_INCREASE
															 : MDB_DELTA;
	MdbCounter c = {0};
	Datum d;

	for (int i = 0; i < n; i++)
	{
		const ValueEntry *e = (const ValueEntry *) entry_at(ring, sizeof(ValueEntry), i);

		mdb_counter_add(&c, e->at, e->value, MDB_ENDS);
	}
	d = mdb_counter_result(&c, what, &args, isnull);
	return *isnull ? 0 : DatumGetFloat8(d);
}

static double
moments_value(const MdbRing *ring, MdbWindowAggregate aggregate, int n, bool *isnull)
{
	MdbMoments m = {0};

	for (int i = 0; i < n; i++)
		mdb_moments_merge(&m, &((const MomentsEntry *) entry_at(ring, sizeof(MomentsEntry), i))->m);
	switch (aggregate)
	{
		case MDB_WINDOW_AVG:
			return DatumGetFloat8(mdb_moments_result(&m, MDB_MOMENT_AVG));
		case MDB_WINDOW_SUM:
			return DatumGetFloat8(mdb_moments_result(&m, MDB_MOMENT_SUM));
		case MDB_WINDOW_STDDEV_POP:
			return DatumGetFloat8(mdb_moments_result(&m, MDB_MOMENT_STDDEV));
		default:
			*isnull = m.n < 2;
			return *isnull ? 0 : sqrt(m.squares / (m.n - 1));
	}
}

/*
 * mdb_ring_value - see window.h.
 */
bool
mdb_ring_value(const MdbRing *ring, MdbWindowAggregate aggregate, int64 at, int64 window, double *value,
			   bool *isnull)
{
	Size size = entry_size(aggregate);
	int n = ring->n;
	int64 count = 0;

	*isnull = false;
	/* What is later than the tick waits for its own. */
	while (n > 0 && entry_at(ring, size, n - 1)->at > at)
		n--;
	if (n == 0)
		return false;
	switch (aggregate)
	{
		case MDB_WINDOW_COUNT:
			for (int i = 0; i < n; i++)
				count += ((const CountEntry *) entry_at(ring, size, i))->n;
			*value = (double) count;
			return true;
		case MDB_WINDOW_MIN:
		case MDB_WINDOW_MAX:
			*value = ((const ValueEntry *) entry_at(ring, size, 0))->value;
			for (int i = 1; i < n; i++)
			{
				double v = ((const ValueEntry *) entry_at(ring, size, i))->value;

				if ((aggregate == MDB_WINDOW_MIN ? v < *value : v > *value) || isnan(*value))
					*value = v;
			}
			return true;
		case MDB_WINDOW_FIRST:
			*value = ((const EndEntry *) entry_at(ring, size, 0))->value;
			return true;
		case MDB_WINDOW_LAST:
			*value = ((const EndEntry *) entry_at(ring, size, n - 1))->value;
			return true;
		case MDB_WINDOW_RATE:
		case MDB_WINDOW_INCREASE:
		case MDB_WINDOW_DELTA:
			*value = counter_value(ring, aggregate, n, at, window, isnull);
			return true;
		default:
			*value = moments_value(ring, aggregate, n, isnull);
			return true;
	}
}
