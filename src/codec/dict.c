/*
 * dict.c
 *	  Few distinct numbers, far apart: the sorted distinct values and an index for each value.
 *
 *	id			MDB_ID_DICT
 *	varint		number of distinct values, 1..n
 *	varint		bytes of the next chunk
 *	chunk		distinct values, ascending by bits
 *	chunk		indexes
 *
 * Invariants
 *	1. Every index is below the number of distinct values.
 */
#include "codec_internal.h"

#define DISTINCT_MAX  512
#define DISTINCT_COLD 2048
#define SLOTS         8192 /* of the hash table: a power of two, at most a quarter full */

typedef struct Entry
{
	uint64_t value;
	uint32_t number;
} Entry;

static inline uint32_t
hash64(uint64_t x)
{
	x *= UINT64_C(0x9e3779b97f4a7c15);
	return (uint32_t) (x >> 51);
}

static int
compare_entries(const Entry *a, const Entry *b)
{
	return a->value < b->value ? -1 : a->value > b->value;
}

/* Shell sort: small, in place, and no worse than n^1.3 on a few hundred entries. */
static void
sort_entries(Entry *e, uint32_t n)
{
	static const uint32_t steps[] = {1577, 701, 301, 132, 57, 23, 10, 4, 1};

	for (unsigned s = 0; s < sizeof(steps) / sizeof(steps[0]); s++)
	{
		uint32_t step = steps[s];

		for (uint32_t i = step; i < n; i++)
		{
			Entry x = e[i];
			uint32_t j = i;

			for (; j >= step && compare_entries(&e[j - step], &x) > 0; j -= step)
				e[j] = e[j - step];
			e[j] = x;
		}
	}
}

size_t
mdb_dict_encode(MdbKind kind, const uint64_t *v, uint32_t n, MdbAim aim, uint8_t *out, size_t cap)
{
	Entry entries[DISTINCT_COLD];
	uint64_t distinct[DISTINCT_COLD];
	uint16_t slots[SLOTS] = {0}; /* entry number + 1, 0 = free */
	uint16_t rank[DISTINCT_COLD];
	uint64_t index[MDB_BLOCK_ROWS_MAX];
	uint8_t *p = out, *end = out + cap;
	uint32_t count = 0;
	uint32_t most = aim.cold ? DISTINCT_COLD : DISTINCT_MAX;
	size_t size;

	if (most > n / 4)
		most = n / 4;
	if (cap < 8)
		return 0;
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t slot = hash64(v[i]);

		while (slots[slot] != 0 && entries[slots[slot] - 1].value != v[i])
			slot = (slot + 1) % SLOTS;
		if (slots[slot] == 0)
		{
			if (count == most)
				return 0;
			entries[count] = (Entry){v[i], count};
			slots[slot] = (uint16_t) ++count;
		}
		index[i] = slots[slot] - 1u;
	}
	sort_entries(entries, count);
	for (uint32_t j = 0; j < count; j++)
	{
		distinct[j] = entries[j].value;
		rank[entries[j].number] = (uint16_t) j;
	}
	for (uint32_t i = 0; i < n; i++)
		index[i] = rank[index[i]];

	*p++ = MDB_ID_DICT;
	p = mdb_put_varint(p, count);
	p = mdb_put_sized(kind, distinct, count, mdb_within(aim), p, end);
	if (p == NULL)
		return 0;
	size = mdb_chunk_encode(MDB_KIND_INT, index, n, mdb_within(aim), p, (size_t) (end - p), NULL);
	return size == 0 ? 0 : (size_t) (p - out) + size;
}

bool
mdb_dict_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, int depth, uint64_t *out)
{
	uint64_t distinct[MDB_WORDS_MAX];
	const uint8_t *p = in + 1, *end = in + len;
	const uint8_t *chunk;
	uint32_t count;
	size_t size;

	p = mdb_get_bounded(p, end, n, &count);
	if (p == NULL || count == 0)
		return false;
	p = mdb_get_sized(p, end, &chunk, &size);
	if (p == NULL || !mdb_chunk_decode(kind, chunk, size, count, depth + 1, distinct) ||
		!mdb_chunk_decode(MDB_KIND_INT, p, (size_t) (end - p), n, depth + 1, out))
		return false;
	for (uint32_t i = 0; i < n; i++)
	{
		if (out[i] >= count)
			return false;
		out[i] = distinct[out[i]];
	}
	return true;
}
