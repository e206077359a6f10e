/*
 * agg_torn.c
 *	  MetricsAgg: groups that turn out to need all of their rows.
 *
 * Some of the extension's own aggregates depend on the order of rows in time.  They sum up each run of rows, which
 * is enough where the runs of a group follow each other; where they interleave, as where parts overlap, the group
 * is torn.  Torn groups are not returned with the others: the table is read once more, under the same snapshot, for
 * them alone, and this time all of their rows are kept.  If these do not fit into memory, it is read once more for
 * the rest of them.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "utils/memutils.h"

#include "exec/agg_node.h"
#include "exec/agg_own.h"

struct MdbTorn
{
	uint64 *groups; /* series number, then bucket number, in order */
	uint32 n;
	uint32 room;
	uint32 from, to; /* those of this pass */
	bool more;       /* what the state said before */
};

static inline uint64
key_of(uint32 series, uint32 bucket)
{
	return (uint64) series << 32 | bucket;
}

static void
keep_all(MetricsAggState *state, bool whole)
{
	for (int i = 0; i < state->ninputs; i++)
		for (MdbOwn *own = state->inputs[i].owns; own; own = own->next)
			own->whole = whole;
}

/*
 * mdb_torn_start - at the start, or when starting over.
 *
 * Groups in order cannot wait for others: all rows are kept from the start.
 */
void
mdb_torn_start(MetricsAggState *state)
{
	state->whole = false;
	if (state->torn)
		state->torn->n = 0;
	keep_all(state, state->windows != NULL);
}

/*
 * mdb_torn_note - is a group torn?  It is remembered then.  Groups come in the order of their numbers.
 */
bool
mdb_torn_note(MetricsAggState *state, uint32 series, uint32 bucket, const char *group)
{
	MdbTorn *t = state->torn;
	bool torn = false;

	if (!state->can_tear || state->whole || state->windows)
		return false;
	for (int i = 0; i < state->ninputs; i++)
		for (MdbOwn *own = state->inputs[i].owns; own; own = own->next)
			torn = torn || (own->kind->torn && own->kind->torn(group + own->offset));
	if (!torn)
		return false;
	if (t == NULL)
		t = state->torn = MemoryContextAllocZero(state->mcxt, sizeof(MdbTorn));
	if (t->n == t->room)
	{
		t->room = Max(64, t->room * 2);
		t->groups = t->groups ? repalloc_huge(t->groups, sizeof(uint64) * t->room)
							  : MemoryContextAllocHuge(state->mcxt, sizeof(uint64) * t->room);
	}
	t->groups[t->n++] = key_of(series, bucket);
	return true;
}

/*
 * mdb_torn_has - is a group one of those that are collected now?
 */
bool
mdb_torn_has(const MetricsAggState *state, uint32 series, uint32 bucket)
{
	const MdbTorn *t = state->torn;
	uint64 key = key_of(series, bucket);
	uint32 lo = t->from, hi = t->to;

	while (lo < hi)
	{
		uint32 mid = lo + (hi - lo) / 2;

		if (t->groups[mid] < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < t->to && t->groups[lo] == key;
}

/*
 * mdb_torn_next - all groups of a pass were returned: go over the table for torn ones; false if there are none left.
 */
bool
mdb_torn_next(MetricsAggState *state)
{
	MdbTorn *t = state->torn;

	if (t == NULL || t->n == 0)
		return false;
	if (state->whole)
		t->from = t->to;
	else
	{
		t->from = 0;
		t->more = state->more;
		state->whole = true;
		keep_all(state, true);
	}
	t->to = t->n;
	if (t->from == t->to)
	{
		t->n = 0;
		state->more = t->more;
		state->whole = false;
		keep_all(state, false);
		return false;
	}
	table_rescan(state->scan, NULL);
	mdb_groups_reset(state->groups);
	state->filled = false;
	state->counters.passes++;
	return true;
}

/*
 * mdb_torn_leave_some - too much for memory: leave half of them to another pass.
 */
void
mdb_torn_leave_some(MetricsAggState *state)
{
	MdbTorn *t = state->torn;
	uint32 middle = t->from + (t->to - t->from + 1) / 2;

	for (uint32 i = middle; i < t->to; i++)
		mdb_groups_drop(state->groups, (uint32) (t->groups[i] >> 32), (uint32) t->groups[i]);
	t->to = middle;
}
