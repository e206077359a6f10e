/*
 * agg_window.c
 *	  MetricsAgg in order of a bucket of time: the groups of a window of time, then those of the next one, so that
 *	  a LIMIT ends it early.
 *
 * The first window has as many buckets as groups are likely to be asked for, each further one several times as
 * many.  A window ends where a bucket does, so no group is in two of them.  Rows without a time are none of the
 * query's: the planner has seen to that.
 *
 * Invariants:
 *	1. The bucket's value never falls when the time rises, so windows follow each other as their buckets do.
 *	2. The outermost windows are open to the outside: rows of the delta may lie beyond all parts.
 *	3. If the groups of a window do not fit into memory it is halved, but for one of a single stretch, whose
 *	   groups are equal in this order and may come in several passes.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "exec/agg_node.h"

#define WINDOW_GROWTH 4
#define WINDOW_MAX    1000000 /* stretches */

typedef struct WindowGroup
{
	int64 time; /* some time of its bucket */
	uint32 series;
	uint32 bucket;
	char *state;
} WindowGroup;

struct MdbWindows
{
	MdbScanFilter whole; /* what the query asks for */
	bool descending;
	uint32 first_stretches; /* of the first window */
	uint32 stretches;       /* of the present one */
	int64 lo, hi;           /* times of rows of parts that no window has had, both inclusive */
	int64 edge;             /* where the present window begins: its last time if descending, else its first */
	int64 end;              /* and where it ends */
	bool last;

	int64 *times; /* by number of a bucket: some time of it */
	uint32 ntimes;
	WindowGroup *groups; /* of the window, in order */
	uint32 ngroups;
	uint32 capacity;
	uint32 next;
};

/*
 * mdb_windows_create - in the state's memory.
 */
MdbWindows *
mdb_windows_create(MetricsAggState *state, bool descending, int first_stretches)
{
	MdbWindows *w = MemoryContextAllocZero(state->mcxt, sizeof(MdbWindows));

	w->descending = descending;
	w->first_stretches = (uint32) Max(1, Min(first_stretches, WINDOW_MAX));
	return w;
}

/*
 * mdb_windows_note - a time of a bucket, once for each.
 */
void
mdb_windows_note(MetricsAggState *state, uint32 bucket, int64 time)
{
	MdbWindows *w = state->windows;

	if (bucket >= w->ntimes)
	{
		uint32 n = Max(bucket + 1, Max(64, w->ntimes * 2));

		w->times = w->times ? repalloc_huge(w->times, sizeof(int64) * n)
							: MemoryContextAllocHuge(state->mcxt, sizeof(int64) * n);
		w->ntimes = n;
	}
	w->times[bucket] = time;
}

/* Read the rows from the edge on: as many stretches as the window has. */
static void
set_window(MetricsAggState *state)
{
	MdbWindows *w = state->windows;
	MdbScanFilter *filter = &state->push.filter;
	int64 t = w->descending ? Min(w->edge, w->hi) : Max(w->edge, w->lo);
	int64 first = t, last = t;

	w->last = w->lo > w->hi;
	for (uint32 i = 0; i < w->stretches && !w->last; i++)
	{
		mdb_bucket_of(state->bucketing, t, &first, &last);
		/* A stretch of one time need not be the whole bucket: then all that is left is one window. */
		w->last = first == last || (w->descending ? first <= w->lo : last >= w->hi);
		t = w->descending ? first - 1 : last + 1;
	}
	*filter = w->whole;
	filter->has_time = true;
	if (w->last)
		w->end = w->descending ? w->whole.time_min : w->whole.time_max;
	else
		w->end = w->descending ? first : last;
	filter->time_min = Max(filter->time_min, w->descending ? w->end : w->edge);
	filter->time_max = Min(filter->time_max, w->descending ? w->edge : w->end);
	mdb_scan_set_filter(state->scan, filter);
	table_rescan(state->scan, NULL);
	/* What is known of times is known of those within the filter. */
	mdb_times_prepare(state->times, state->css.ss.ps.ps_ExprContext);
	mdb_keys_reset(state->bucket_numbers);
	state->series_from = state->bucket_from = 0;
	state->series_to = state->bucket_to = MDB_NO_GROUP;
	w->ngroups = w->next = 0;
}

/*
 * mdb_windows_start - go to the first window, with the filter and the values that the state has now.
 */
void
mdb_windows_start(MetricsAggState *state)
{
	MdbWindows *w = state->windows;
	int n;
	const MdbPartInfo *parts = mdb_scan_parts(state->scan, &n);

	w->whole = state->push.filter;
	w->lo = PG_INT64_MAX;
	w->hi = PG_INT64_MIN;
	for (int i = 0; i < n; i++)
		if (parts[i].days != 0 && mdb_scan_part_wanted(state->scan, i))
		{
			w->lo = Min(w->lo, parts[i].time_min);
			w->hi = Max(w->hi, parts[i].time_max);
		}
	w->lo = Max(w->lo, w->whole.time_min);
	w->hi = Min(w->hi, w->whole.time_max);
	w->edge = w->descending ? w->whole.time_max : w->whole.time_min;
	w->stretches = w->first_stretches;
	set_window(state);
}

static int
group_cmp(const void *a, const void *b)
{
	const WindowGroup *x = a, *y = b;

	/* There may be millions. */
	CHECK_FOR_INTERRUPTS();
	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return x->series < y->series ? -1 : x->series > y->series;
}

/*
 * mdb_windows_filled - the groups of the window, or of a pass over it, are complete: put them in order.  False if
 * they are not, as memory was full, and the window is a smaller one now.
 */
bool
mdb_windows_filled(MetricsAggState *state)
{
	MdbWindows *w = state->windows;
	WindowGroup g;

	if (state->more && w->stretches > 1)
	{
		w->stretches /= 2;
		set_window(state);
		return false;
	}
	w->ngroups = w->next = 0;
	while (mdb_groups_next(state->groups, &g.series, &g.bucket, &g.state))
	{
		if (w->ngroups == w->capacity)
		{
			w->capacity = Max(256, w->capacity * 2);
			w->groups = w->groups ? repalloc_huge(w->groups, sizeof(WindowGroup) * w->capacity)
								  : MemoryContextAllocHuge(state->mcxt, sizeof(WindowGroup) * w->capacity);
		}
		g.time = w->times[g.bucket];
		w->groups[w->ngroups++] = g;
	}
	if (w->ngroups > 1)
		qsort(w->groups, w->ngroups, sizeof(WindowGroup), group_cmp);
	return true;
}

/*
 * mdb_windows_next - the next group; false after the last one of the window.
 */
bool
mdb_windows_next(MetricsAggState *state, uint32 *series, uint32 *bucket, char **group)
{
	MdbWindows *w = state->windows;
	WindowGroup *g;

	if (w->next == w->ngroups)
		return false;
	g = &w->groups[w->descending ? w->ngroups - 1 - w->next : w->next];
	w->next++;
	*series = g->series;
	*bucket = g->bucket;
	*group = g->state;
	return true;
}

/*
 * mdb_windows_advance - go to the next window; false if there is none.
 */
bool
mdb_windows_advance(MetricsAggState *state)
{
	MdbWindows *w = state->windows;

	if (w->last)
		return false;
	w->edge = w->descending ? w->end - 1 : w->end + 1;
	w->stretches = Min(w->stretches * WINDOW_GROWTH, WINDOW_MAX);
	set_window(state);
	return true;
}
