/*
 * agg_group.c
 *	  Groups of MetricsAgg: numbers for distinct keys, and a state for each pair of numbers.
 *
 * A group is a pair: the number of its values of expressions over series columns, and of those over the
 * time.  Numbers are given out by MdbKeys, where equality is that of the grouping's operators.  States lie
 * in pages of neighbouring times' numbers, as they are given out as time goes on.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "exec/agg.h"

/* ---------- keys ---------- */

struct MdbKeys
{
	MemoryContext parent;
	MemoryContext mcxt;
	int nkeys;
	FmgrInfo *equal;
	FmgrInfo *hash;
	Oid *collations;
	int16 *typlen;
	bool *typbyval;

	uint32 count;
	uint32 capacity;
	Datum *values; /* [count * nkeys] */
	bool *isnull;
	uint32 *hashes; /* [count] */
	uint32 nslots;  /* a power of two */
	uint32 *slots;  /* number + 1, 0 = empty */
};

static void
keys_clear(MdbKeys *k)
{
	MemoryContext old = MemoryContextSwitchTo(k->mcxt);

	k->count = 0;
	k->capacity = 16;
	k->nslots = 64;
	k->values = palloc(sizeof(Datum) * k->capacity * Max(1, k->nkeys));
	k->isnull = palloc(sizeof(bool) * k->capacity * Max(1, k->nkeys));
	k->hashes = palloc(sizeof(uint32) * k->capacity);
	k->slots = palloc0(sizeof(uint32) * k->nslots);
	MemoryContextSwitchTo(old);
}

/*
 * mdb_keys_create - numbers for distinct keys of nkeys values; equality is that of the operators.
 */
MdbKeys *
mdb_keys_create(MemoryContext mcxt, int nkeys, const Oid *types, const Oid *eqops, const Oid *collations)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	MdbKeys *k = palloc0(sizeof(MdbKeys));

	k->parent = mcxt;
	k->nkeys = nkeys;
	k->equal = palloc0(sizeof(FmgrInfo) * Max(1, nkeys));
	k->hash = palloc0(sizeof(FmgrInfo) * Max(1, nkeys));
	k->collations = palloc0(sizeof(Oid) * Max(1, nkeys));
	k->typlen = palloc0(sizeof(int16) * Max(1, nkeys));
	k->typbyval = palloc0(sizeof(bool) * Max(1, nkeys));
	for (int i = 0; i < nkeys; i++)
	{
		RegProcedure left, right;

		if (!get_op_hash_functions(eqops[i], &left, &right))
			elog(ERROR, "operator %u cannot be hashed", eqops[i]);
		fmgr_info_cxt(get_opcode(eqops[i]), &k->equal[i], mcxt);
		fmgr_info_cxt(right, &k->hash[i], mcxt);
		k->collations[i] = collations[i];
		get_typlenbyval(types[i], &k->typlen[i], &k->typbyval[i]);
	}
	k->mcxt = AllocSetContextCreate(mcxt, "metricsdb keys", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(old);
	keys_clear(k);
	return k;
}

/*
 * mdb_keys_reset - forget all keys.
 */
void
mdb_keys_reset(MdbKeys *k)
{
	MemoryContextReset(k->mcxt);
	keys_clear(k);
}

static bool
keys_equal(MdbKeys *k, uint32 number, const Datum *values, const bool *isnull)
{
	const Datum *v = &k->values[(Size) number * k->nkeys];
	const bool *n = &k->isnull[(Size) number * k->nkeys];

	for (int i = 0; i < k->nkeys; i++)
	{
		if (n[i] != isnull[i])
			return false;
		if (!n[i] && !DatumGetBool(FunctionCall2Coll(&k->equal[i], k->collations[i], v[i], values[i])))
			return false;
	}
	return true;
}

static void
keys_grow(MdbKeys *k)
{
	if (k->count == k->capacity)
	{
		k->capacity *= 2;
		k->values = repalloc_huge(k->values, sizeof(Datum) * k->capacity * Max(1, k->nkeys));
		k->isnull = repalloc_huge(k->isnull, sizeof(bool) * k->capacity * Max(1, k->nkeys));
		k->hashes = repalloc_huge(k->hashes, sizeof(uint32) * k->capacity);
	}
	if ((k->count + 1) * 2 <= k->nslots)
		return;
	pfree(k->slots);
	k->nslots *= 2;
	k->slots =
		MemoryContextAllocExtended(k->mcxt, sizeof(uint32) * k->nslots, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 i = 0; i < k->count; i++)
	{
		uint32 s = k->hashes[i] & (k->nslots - 1);

		while (k->slots[s] != 0)
			s = (s + 1) & (k->nslots - 1);
		k->slots[s] = i + 1;
	}
}

/*
 * mdb_keys_find - the number of a key, a new one if it was not seen before.
 */
uint32
mdb_keys_find(MdbKeys *k, const Datum *values, const bool *isnull)
{
	uint32 hash = 0;
	uint32 s;
	MemoryContext old;

	for (int i = 0; i < k->nkeys; i++)
	{
		hash = pg_rotate_left32(hash, 1);
		if (!isnull[i])
			hash ^= DatumGetUInt32(FunctionCall1Coll(&k->hash[i], k->collations[i], values[i]));
	}
	hash = murmurhash32(hash);
	for (s = hash & (k->nslots - 1); k->slots[s] != 0; s = (s + 1) & (k->nslots - 1))
	{
		uint32 number = k->slots[s] - 1;

		if (k->hashes[number] == hash && keys_equal(k, number, values, isnull))
			return number;
	}
	keys_grow(k);
	for (s = hash & (k->nslots - 1); k->slots[s] != 0; s = (s + 1) & (k->nslots - 1))
		;
	k->slots[s] = k->count + 1;
	k->hashes[k->count] = hash;
	old = MemoryContextSwitchTo(k->mcxt);
	for (int i = 0; i < k->nkeys; i++)
	{
		Size at = (Size) k->count * k->nkeys + i;

		k->isnull[at] = isnull[i];
		k->values[at] = isnull[i] ? (Datum) 0 : datumCopy(values[i], k->typbyval[i], k->typlen[i]);
	}
	MemoryContextSwitchTo(old);
	return k->count++;
}

/*
 * mdb_keys_values - the key that has a number.
 */
const Datum *
mdb_keys_values(const MdbKeys *k, uint32 number, const bool **isnull)
{
	*isnull = &k->isnull[(Size) number * k->nkeys];
	return &k->values[(Size) number * k->nkeys];
}

uint32
mdb_keys_count(const MdbKeys *k)
{
	return k->count;
}

Size
mdb_keys_bytes(const MdbKeys *k)
{
	return MemoryContextMemAllocated(k->mcxt, false);
}

/* ---------- states ---------- */

typedef struct SeriesGroups
{
	uint32 npages;
	char **pages;
} SeriesGroups;

struct MdbGroups
{
	MemoryContext mcxt;
	Size state_size;
	uint32 shift; /* buckets a page: 2^shift */
	uint32 nseries;
	uint32 capacity;
	SeriesGroups *series;
	Size bytes; /* of states, what leads to them and what they hold */
	void (*drop)(void *arg, char *state);
	void *drop_arg;

	/* where mdb_groups_next stands */
	uint32 at_series;
	uint32 at_bucket;
};

/*
 * mdb_groups_create - states of state_size bytes, the first eight of which are the number of rows; 0 means
 * that there is no such group.  Without bucketed the second number is always 0.
 */
MdbGroups *
mdb_groups_create(MemoryContext mcxt, Size state_size, bool bucketed)
{
	MdbGroups *g = MemoryContextAllocZero(mcxt, sizeof(MdbGroups));

	g->mcxt = AllocSetContextCreate(mcxt, "metricsdb groups", ALLOCSET_DEFAULT_SIZES);
	g->state_size = state_size;
	g->shift = bucketed ? 4 : 0;
	return g;
}

/*
 * mdb_groups_on_drop - have a function called for each group that is dropped while others stay.
 */
void
mdb_groups_on_drop(MdbGroups *g, void (*drop)(void *arg, char *state), void *arg)
{
	g->drop = drop;
	g->drop_arg = arg;
}

/*
 * mdb_groups_alloc - memory that a state points to, new or for what p had, which may be NULL.  It is counted
 * among the groups', and goes when all of them do.
 */
void *
mdb_groups_alloc(MdbGroups *g, void *p, Size size)
{
	if (p)
	{
		g->bytes -= GetMemoryChunkSpace(p);
		p = repalloc_huge(p, size);
	}
	else
		p = MemoryContextAllocHuge(g->mcxt, size);
	g->bytes += GetMemoryChunkSpace(p);
	return p;
}

void
mdb_groups_free(MdbGroups *g, void *p)
{
	g->bytes -= GetMemoryChunkSpace(p);
	pfree(p);
}

/*
 * mdb_groups_child - a context for what one state keeps; it goes with all groups, unless it is deleted before.  What it
 * takes is counted among the groups' by mdb_groups_count.
 */
MemoryContext
mdb_groups_child(MdbGroups *g)
{
	return AllocSetContextCreate(g->mcxt, "metricsdb state of a group", 0, 1024, ALLOCSET_DEFAULT_MAXSIZE);
}

void
mdb_groups_count(MdbGroups *g, Size was, Size now)
{
	g->bytes += now - was;
}

void
mdb_groups_reset(MdbGroups *g)
{
	MemoryContextReset(g->mcxt);
	g->nseries = g->capacity = 0;
	g->bytes = 0;
	g->series = NULL;
	g->at_series = g->at_bucket = 0;
}

/* Off the hot path: the page is not there yet. */
static pg_noinline char *
make_state(MdbGroups *g, uint32 series, uint32 bucket)
{
	uint32 page = bucket >> g->shift;
	SeriesGroups *s;

	if (series >= g->capacity)
	{
		uint32 n = Max(64, g->capacity);

		while (n <= series)
			n *= 2;
		g->series = g->series ? repalloc_huge(g->series, sizeof(SeriesGroups) * n)
							  : MemoryContextAllocHuge(g->mcxt, sizeof(SeriesGroups) * n);
		memset(g->series + g->capacity, 0, sizeof(SeriesGroups) * (n - g->capacity));
		g->bytes += sizeof(SeriesGroups) * (n - g->capacity);
		g->capacity = n;
	}
	g->nseries = Max(g->nseries, series + 1);
	s = &g->series[series];
	if (page >= s->npages)
	{
		uint32 n = Max(4, s->npages);

		while (n <= page)
			n *= 2;
		s->pages = s->pages ? repalloc_huge(s->pages, sizeof(char *) * n)
							: MemoryContextAllocHuge(g->mcxt, sizeof(char *) * n);
		memset(s->pages + s->npages, 0, sizeof(char *) * (n - s->npages));
		g->bytes += sizeof(char *) * (n - s->npages);
		s->npages = n;
	}
	if (s->pages[page] == NULL)
	{
		s->pages[page] = MemoryContextAllocZero(g->mcxt, g->state_size << g->shift);
		g->bytes += g->state_size << g->shift;
	}
	return s->pages[page] + (bucket & ((1 << g->shift) - 1)) * g->state_size;
}

/*
 * mdb_groups_state - the state of a group, all zeros at first.
 */
char *
mdb_groups_state(MdbGroups *g, uint32 series, uint32 bucket)
{
	uint32 page = bucket >> g->shift;

	if (likely(series < g->nseries && page < g->series[series].npages &&
			   g->series[series].pages[page] != NULL))
		return g->series[series].pages[page] + (bucket & ((1 << g->shift) - 1)) * g->state_size;
	return make_state(g, series, bucket);
}

Size
mdb_groups_bytes(const MdbGroups *g)
{
	return g->bytes;
}

uint32
mdb_groups_series(const MdbGroups *g)
{
	return g->nseries;
}

/* States of a page, from one on, are to go. */
static void
drop_states(MdbGroups *g, char *page, uint32 from)
{
	for (uint32 i = from; g->drop && i < 1u << g->shift; i++)
		if (*(int64 *) (page + i * g->state_size) != 0)
			g->drop(g->drop_arg, page + i * g->state_size);
}

/*
 * mdb_groups_drop - forget a group.
 */
void
mdb_groups_drop(MdbGroups *g, uint32 series, uint32 bucket)
{
	uint32 page = bucket >> g->shift;
	char *state;

	if (series >= g->nseries || page >= g->series[series].npages || g->series[series].pages[page] == NULL)
		return;
	state = g->series[series].pages[page] + (bucket & ((1 << g->shift) - 1)) * g->state_size;
	if (g->drop && *(int64 *) state != 0)
		g->drop(g->drop_arg, state);
	memset(state, 0, g->state_size);
}

/*
 * mdb_groups_drop_from - forget the groups of all series numbers from this one on.
 */
void
mdb_groups_drop_from(MdbGroups *g, uint32 series)
{
	for (uint32 i = series; i < g->nseries; i++)
	{
		SeriesGroups *s = &g->series[i];

		for (uint32 p = 0; p < s->npages; p++)
			if (s->pages[p])
			{
				drop_states(g, s->pages[p], 0);
				pfree(s->pages[p]);
				g->bytes -= g->state_size << g->shift;
			}
		if (s->pages)
			pfree(s->pages);
		g->bytes -= sizeof(char *) * s->npages;
		memset(s, 0, sizeof(*s));
	}
	g->nseries = Min(g->nseries, series);
}

/*
 * mdb_groups_drop_buckets - forget the groups of a series number whose second number is this or higher.
 */
void
mdb_groups_drop_buckets(MdbGroups *g, uint32 series, uint32 bucket)
{
	SeriesGroups *s;
	uint32 page = bucket >> g->shift;

	if (series >= g->nseries)
		return;
	s = &g->series[series];
	if (page < s->npages && s->pages[page])
	{
		uint32 keep = bucket & ((1 << g->shift) - 1);

		drop_states(g, s->pages[page], keep);
		memset(s->pages[page] + keep * g->state_size, 0, ((1 << g->shift) - keep) * g->state_size);
		page++;
	}
	for (; page < s->npages; page++)
		if (s->pages[page])
		{
			drop_states(g, s->pages[page], 0);
			pfree(s->pages[page]);
			s->pages[page] = NULL;
			g->bytes -= g->state_size << g->shift;
		}
}

/*
 * mdb_groups_next - go through all groups, once.
 */
bool
mdb_groups_next(MdbGroups *g, uint32 *series, uint32 *bucket, char **state)
{
	for (; g->at_series < g->nseries; g->at_series++, g->at_bucket = 0)
	{
		SeriesGroups *s = &g->series[g->at_series];

		while ((g->at_bucket >> g->shift) < s->npages)
		{
			uint32 b = g->at_bucket++;
			char *page = s->pages[b >> g->shift];

			if (page == NULL)
			{
				g->at_bucket = ((b >> g->shift) + 1) << g->shift;
				continue;
			}
			*state = page + (b & ((1 << g->shift) - 1)) * g->state_size;
			if (*(int64 *) *state == 0)
				continue;
			*series = g->at_series;
			*bucket = b;
			return true;
		}
	}
	return false;
}
