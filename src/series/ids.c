/*
 * ids.c
 *	  Sets of series ids.
 */
#include "postgres.h"

#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "series/index.h"

#define BITS_MAX ((uint32) 1 << 27) /* ids from the lowest to the highest, up to which a set gets a bitmap */

/*
 * mdb_ids_create - an empty set, in CurrentMemoryContext.
 */
MdbIds *
mdb_ids_create(void)
{
	return palloc0(sizeof(MdbIds));
}

/*
 * mdb_ids_reserve - make room for so many more.
 */
void
mdb_ids_reserve(MdbIds *ids, uint32 n)
{
	MemoryContext mcxt = GetMemoryChunkContext(ids);

	if (ids->n + n <= ids->cap)
		return;
	ids->cap = Max(ids->n + n, Max(64, ids->cap * 2));
	ids->v = ids->v ? repalloc_huge(ids->v, sizeof(uint32) * ids->cap)
					: MemoryContextAllocHuge(mcxt, sizeof(uint32) * ids->cap);
}

/*
 * mdb_ids_add - add ids at the end.  If they are not above those that are there, mdb_ids_sort has to follow.
 */
void
mdb_ids_add(MdbIds *ids, const uint32 *v, uint32 n)
{
	if (n == 0)
		return;
	mdb_ids_reserve(ids, n);
	memcpy(ids->v + ids->n, v, sizeof(uint32) * n);
	ids->n += n;
}

static int
id_cmp(const void *a, const void *b)
{
	uint32 x = *(const uint32 *) a, y = *(const uint32 *) b;

	return x < y ? -1 : x > y;
}

/* Sort many ids that lie close together: mark them. */
static bool
sort_by_marks(MdbIds *ids, uint32 lo, uint32 hi)
{
	Size words = ((Size) hi - lo) / 64 + 1;
	uint64 *bits;
	uint32 n = 0;

	if (ids->n < 256 || words > ids->n)
		return false;
	bits = palloc0(words * sizeof(uint64));
	for (uint32 i = 0; i < ids->n; i++)
		bits[(ids->v[i] - lo) / 64] |= UINT64CONST(1) << (ids->v[i] - lo) % 64;
	for (Size w = 0; w < words; w++)
		for (uint64 b = bits[w]; b != 0; b &= b - 1)
			ids->v[n++] = lo + (uint32) (w * 64) + pg_rightmost_one_pos64(b);
	ids->n = n;
	pfree(bits);
	return true;
}

/*
 * mdb_ids_sort - put them in order, each once.
 */
void
mdb_ids_sort(MdbIds *ids)
{
	bool rising = true;
	uint32 lo = PG_UINT32_MAX, hi = 0;
	uint32 n = 0;

	for (uint32 i = 0; i < ids->n; i++)
	{
		rising &= i == 0 || ids->v[i] > ids->v[i - 1];
		lo = Min(lo, ids->v[i]);
		hi = Max(hi, ids->v[i]);
	}
	if (rising || sort_by_marks(ids, lo, hi))
		return;
	qsort(ids->v, ids->n, sizeof(uint32), id_cmp);
	for (uint32 i = 0; i < ids->n; i++)
		if (n == 0 || ids->v[n - 1] != ids->v[i])
			ids->v[n++] = ids->v[i];
	ids->n = n;
}

/*
 * mdb_ids_from - the place of the first of n rising ids, which may repeat, from at on that is not below an id.  It is
 * quick where that is near.
 */
uint32
mdb_ids_from(const uint32 *v, uint32 n, uint32 at, uint32 id)
{
	uint32 step = 1, lo = at, hi;

	if (at >= n || v[at] >= id)
		return at;
	while (lo + step < n && v[lo + step] < id)
	{
		lo += step;
		step *= 2;
	}
	hi = Min(n, lo + step);
	while (lo + 1 < hi)
	{
		uint32 mid = lo + (hi - lo) / 2;

		if (v[mid] < id)
			lo = mid;
		else
			hi = mid;
	}
	return hi;
}

static uint32
first_from(const MdbIds *ids, uint32 at, uint32 id)
{
	return mdb_ids_from(ids->v, ids->n, at, id);
}

/*
 * mdb_ids_intersect - a new set of the ids that two have in common.
 */
MdbIds *
mdb_ids_intersect(const MdbIds *a, const MdbIds *b)
{
	MdbIds *result = mdb_ids_create();
	uint32 at = 0;

	if (a->n > b->n)
	{
		const MdbIds *swap = a;

		a = b;
		b = swap;
	}
	for (uint32 i = 0; i < a->n; i++)
	{
		at = first_from(b, at, a->v[i]);
		if (at == b->n)
			break;
		if (b->v[at] == a->v[i])
			mdb_ids_add(result, &a->v[i], 1);
	}
	return result;
}

/*
 * mdb_ids_subtract - a new set of the ids of one that are not in another.
 */
MdbIds *
mdb_ids_subtract(const MdbIds *a, const MdbIds *b)
{
	MdbIds *result = mdb_ids_create();
	uint32 at = 0;

	mdb_ids_reserve(result, a->n);
	for (uint32 i = 0; i < a->n; i++)
	{
		at = first_from(b, at, a->v[i]);
		if (at == b->n || b->v[at] != a->v[i])
			result->v[result->n++] = a->v[i];
	}
	return result;
}

/*
 * mdb_ids_index - make mdb_ids_has quick.
 */
void
mdb_ids_index(MdbIds *ids)
{
	uint32 span;

	if (ids->n < 16 || ids->bits != NULL || (span = ids->v[ids->n - 1] - ids->v[0]) > BITS_MAX)
		return;
	ids->base = ids->v[0];
	ids->bits = MemoryContextAllocExtended(GetMemoryChunkContext(ids), (span / 64 + 1) * sizeof(uint64),
										   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 i = 0; i < ids->n; i++)
		ids->bits[(ids->v[i] - ids->base) / 64] |= UINT64CONST(1) << (ids->v[i] - ids->base) % 64;
}

/*
 * mdb_ids_has - is an id in the set?
 */
bool
mdb_ids_has(const MdbIds *ids, uint32 id)
{
	uint32 at;

	if (ids->n == 0 || id < ids->v[0] || id > ids->v[ids->n - 1])
		return false;
	if (ids->bits)
		return (ids->bits[(id - ids->base) / 64] >> (id - ids->base) % 64) & 1;
	at = first_from(ids, 0, id);
	return at < ids->n && ids->v[at] == id;
}

/*
 * mdb_ids_any_between - is any id between two, including these, in the set?
 */
bool
mdb_ids_any_between(const MdbIds *ids, int64 first, int64 last)
{
	uint32 at;

	if (ids->n == 0 || first > ids->v[ids->n - 1])
		return false;
	at = first_from(ids, 0, (uint32) Max(first, 0));
	return at < ids->n && ids->v[at] <= last;
}
