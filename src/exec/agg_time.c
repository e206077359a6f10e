/*
 * agg_time.c
 *	  Stretches of time in which all grouping expressions over the time are constant, and the runs of rows
 *	  of a block that lie in one.
 *
 * Blocks of a part that were sampled at the same times share their times, and with them the runs, so these
 * are kept for a while.  What a stretch's expressions come to is only asked for when a row of it counts.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "common/int.h"
#include "utils/memutils.h"

#include "exec/agg_node.h"

#define NPLANS      1024 /* a power of two */
#define PLANS_BYTES (8 * 1024 * 1024)

typedef struct Stretch
{
	int64 first;
	int64 last;
	int64 seen;    /* one that a row has */
	uint32 number; /* of its bucket, + 1; 0 = not known yet */
	uint32 next;   /* where times went on to from here; a guess */
} Stretch;

struct MdbTimes
{
	MdbBucketing *bucketing; /* NULL: the time is no key */
	MemoryContext mcxt;
	MemoryContext plan_mcxt;

	uint32 count;
	uint32 capacity;
	Stretch *stretches;
	uint32 nslots; /* a power of two */
	uint32 *slots; /* by first: number of a stretch + 1 */
	uint32 present;

	MdbTimePlan *plans[NPLANS];
	Size plan_bytes;
	int64 *scratch;
};

/*
 * mdb_times_create - in mcxt; bucketing is NULL where the time is no key of the grouping.
 */
MdbTimes *
mdb_times_create(MemoryContext mcxt, MdbBucketing *bucketing)
{
	MdbTimes *t = MemoryContextAllocZero(mcxt, sizeof(MdbTimes));

	t->bucketing = bucketing;
	t->mcxt = AllocSetContextCreate(mcxt, "metricsdb stretches of time", ALLOCSET_DEFAULT_SIZES);
	t->plan_mcxt = AllocSetContextCreate(mcxt, "metricsdb runs of rows", ALLOCSET_DEFAULT_SIZES);
	t->scratch = MemoryContextAlloc(mcxt, sizeof(int64) * MDB_VECTOR_ROOM);
	return t;
}

/*
 * mdb_times_prepare - begin anew, with the values of this moment.
 */
void
mdb_times_prepare(MdbTimes *t, ExprContext *econtext)
{
	MemoryContextReset(t->mcxt);
	MemoryContextReset(t->plan_mcxt);
	memset(t->plans, 0, sizeof(t->plans));
	t->plan_bytes = 0;
	if (t->bucketing)
		mdb_bucketing_prepare(t->bucketing, econtext);
	t->capacity = 64;
	t->nslots = 256;
	t->stretches = MemoryContextAllocZero(t->mcxt, sizeof(Stretch) * t->capacity);
	t->slots = MemoryContextAllocZero(t->mcxt, sizeof(uint32) * t->nslots);
	/* The first is that of rows without a time; no time lies in it. */
	t->stretches[MDB_NO_TIME].first = PG_INT64_MAX;
	t->stretches[MDB_NO_TIME].last = PG_INT64_MIN;
	t->count = 1;
	t->present = MDB_NO_TIME;
}

static uint32
slot_of(const MdbTimes *t, int64 first)
{
	return (uint32) murmurhash32((uint32) first ^ (uint32) (first >> 32)) & (t->nslots - 1);
}

static void
grow(MdbTimes *t)
{
	if (t->count == t->capacity)
	{
		t->capacity *= 2;
		t->stretches = repalloc_huge(t->stretches, sizeof(Stretch) * t->capacity);
	}
	if (t->count * 2 < t->nslots)
		return;
	pfree(t->slots);
	t->nslots *= 2;
	t->slots =
		MemoryContextAllocExtended(t->mcxt, sizeof(uint32) * t->nslots, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 i = 1; i < t->count; i++)
	{
		uint32 s = slot_of(t, t->stretches[i].first);

		while (t->slots[s] != 0)
			s = (s + 1) & (t->nslots - 1);
		t->slots[s] = i + 1;
	}
}

/*
 * mdb_times_stretch - the stretch that a time lies in.
 */
uint32
mdb_times_stretch(MdbTimes *t, int64 time)
{
	Stretch *s = &t->stretches[t->present];
	int64 first = PG_INT64_MIN, last = PG_INT64_MAX;
	uint32 slot, found;

	if (time >= s->first && time <= s->last)
		return t->present;
	if (t->stretches[s->next].first <= time && time <= t->stretches[s->next].last)
		return t->present = s->next;
	if (t->bucketing)
		mdb_bucket_of(t->bucketing, time, &first, &last);
	for (slot = slot_of(t, first); t->slots[slot] != 0; slot = (slot + 1) & (t->nslots - 1))
	{
		found = t->slots[slot] - 1;
		if (t->stretches[found].first == first && t->stretches[found].last == last)
			return t->present = t->stretches[t->present].next = found;
	}
	grow(t);
	for (slot = slot_of(t, first); t->slots[slot] != 0; slot = (slot + 1) & (t->nslots - 1))
		;
	t->slots[slot] = t->count + 1;
	t->stretches[t->count] = (Stretch){.first = first, .last = last, .seen = time};
	t->stretches[t->present].next = t->count;
	return t->present = t->count++;
}

/*
 * mdb_times_in - the first time of a stretch, and its last.
 */
int64
mdb_times_in(const MdbTimes *t, uint32 stretch, int64 *last)
{
	*last = t->stretches[stretch].last;
	return t->stretches[stretch].first;
}

/*
 * mdb_times_seen - one of a stretch's times that a row has: those of no row may be out of range.
 */
int64
mdb_times_seen(const MdbTimes *t, uint32 stretch)
{
	return t->stretches[stretch].seen;
}

/*
 * mdb_times_number - where the number of a stretch's bucket is kept, + 1.  Good until the next stretch.
 */
uint32 *
mdb_times_number(MdbTimes *t, uint32 stretch)
{
	return &t->stretches[stretch].number;
}

/*
 * mdb_times_bytes - memory that stretches take.
 */
Size
mdb_times_bytes(const MdbTimes *t)
{
	return sizeof(Stretch) * t->capacity + sizeof(uint32) * t->nslots;
}

/* ---------- blocks ---------- */

/* Number of rows, of a block with a step, whose time is below a bound. */
static uint32
rows_below(const MdbTimePlan *p, int64 bound)
{
	uint32 lo = 0, hi = p->nrows;

	while (lo < hi)
	{
		uint32 mid = (lo + hi) / 2;

		if ((p->stepped ? p->first + (int64) mid * p->step : p->times[mid]) < bound)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static inline int64
time_at(const MdbTimePlan *p, uint32 row)
{
	return p->stepped ? p->first + (int64) row * p->step : p->times[row];
}

/* Of the plan's rows only those pass whose times are in a set: leave out what comes before and behind them. */
static void
cut_to(MdbTimePlan *p, const MdbTimeSet *set)
{
	const MdbTimeRange *ranges = set->ranges;

	if (set->n == 0)
	{
		p->end = p->begin;
		return;
	}
	p->begin = Max(p->begin, rows_below(p, ranges[0].first));
	if (ranges[set->n - 1].last < PG_INT64_MAX)
		p->end = Min(p->end, rows_below(p, ranges[set->n - 1].last + 1));
	p->end = Max(p->end, p->begin);
	p->gaps = p->begin < p->end && !mdb_time_set_covers(set, time_at(p, p->begin), time_at(p, p->end - 1));
}

static void
make_runs(MdbTimes *t, MdbTimePlan *p)
{
	MdbRun runs[MDB_BLOCK_ROWS_MAX];
	uint32 n = 0;

	for (uint32 row = p->begin; row < p->end;)
	{
		uint32 stretch = mdb_times_stretch(t, time_at(p, row));
		int64 last = t->stretches[stretch].last;
		uint32 begin = row;

		if (time_at(p, p->end - 1) <= last)
			row = p->end;
		else if (p->stepped && p->step > 0)
			row = Max(begin, (uint32) ((last - p->first) / p->step)) + 1;
		else
		{
			do
				row++;
			while (row < p->end && time_at(p, row) <= last);
		}
		runs[n++] = (MdbRun){.begin = begin, .end = row, .stretch = stretch};
	}
	p->nruns = n;
	p->runs = MemoryContextAlloc(t->plan_mcxt, sizeof(MdbRun) * Max(1, n));
	memcpy(p->runs, runs, sizeof(MdbRun) * n);
	t->plan_bytes += sizeof(MdbRun) * n;
}

/*
 * mdb_times_plan - of a block of one series, in a part with times: which rows pass the filter by their times, or the
 * range that these lie in, and its runs.  Good until the next call.
 */
MdbTimePlan *
mdb_times_plan(MdbTimes *t, MdbPart *part, int block, const MdbScanFilter *filter)
{
	int source = block - (int) part->time_source[block];
	MdbTimePlan **place = &t->plans[source & (NPLANS - 1)];
	MdbTimePlan *p = *place;

	if (p != NULL && p->part_id == part->info.part_id && p->source == source)
		return p;
	if (t->plan_bytes > PLANS_BYTES)
	{
		MemoryContextReset(t->plan_mcxt);
		memset(t->plans, 0, sizeof(t->plans));
		t->plan_bytes = 0;
	}
	p = *place = MemoryContextAllocZero(t->plan_mcxt, sizeof(MdbTimePlan));
	t->plan_bytes += sizeof(MdbTimePlan);
	p->part_id = part->info.part_id;
	p->source = source;
	p->nrows = (uint32) part->block_rows[block];
	p->stepped = mdb_part_read_steps(part, block, &p->first, &p->step, t->scratch);
	if (p->stepped)
	{
		int64 end;

		if (p->step < 0 || pg_mul_s64_overflow(p->step, p->nrows - 1, &end) ||
			pg_add_s64_overflow(end, p->first, &end))
			mdb_part_damaged(part, "Times of a series are not in order.");
	}
	else
	{
		p->times = MemoryContextAlloc(t->plan_mcxt, sizeof(int64) * p->nrows);
		t->plan_bytes += sizeof(int64) * p->nrows;
		memcpy(p->times, t->scratch, sizeof(int64) * p->nrows);
		for (uint32 i = 1; i < p->nrows; i++)
			if (p->times[i] < p->times[i - 1])
				mdb_part_damaged(part, "Times of a series are not in order.");
	}
	p->end = p->nrows;
	if (filter->has_time)
	{
		p->begin = rows_below(p, filter->time_min);
		if (filter->time_max < PG_INT64_MAX)
			p->end = rows_below(p, filter->time_max + 1);
		p->end = Max(p->end, p->begin);
	}
	if (filter->part_times)
		cut_to(p, mdb_part_times_find(filter->part_times, p->part_id));
	if (t->bucketing)
		make_runs(t, p);
	return p;
}

/*
 * mdb_times_of - the times themselves.
 */
const int64 *
mdb_times_of(MdbTimes *t, MdbTimePlan *p)
{
	if (p->times == NULL)
	{
		p->times = MemoryContextAlloc(t->plan_mcxt, sizeof(int64) * p->nrows);
		t->plan_bytes += sizeof(int64) * p->nrows;
		for (uint32 i = 0; i < p->nrows; i++)
			p->times[i] = p->first + (int64) i * p->step;
	}
	return p->times;
}
