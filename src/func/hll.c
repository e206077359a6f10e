/*
 * hll.c
 *	  HyperLogLog; see hll.h.
 *
 *		bytes = version (1) | bits (1) | form (1) | registers
 *		form 0: entries by rising register, each less the one before, varints
 *		form 1: all registers, six bits each, low ones first
 *
 * An entry is register * 64 + value.  The shorter form is written, the first if they are equally long, and
 * no other is read.
 */
#include "func/hll.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SPARSE 0
#define DENSE  1
#define HEADER 3

void
mdb_hll_init(MdbHll *h, int bits)
{
	h->bits = bits;
	h->dense = NULL;
	h->sparse = NULL;
	h->n = h->room = 0;
}

static int
entry_cmp(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

	return x < y ? -1 : x > y;
}

/* Sort the entries, and keep of each register the greatest. */
static void
tidy(MdbHll *h)
{
	uint32_t to = 0;

	if (h->n < 2)
		return;
	qsort(h->sparse, h->n, sizeof(uint32_t), entry_cmp);
	for (uint32_t i = 1; i < h->n; i++)
	{
		if (h->sparse[i] >> 6 != h->sparse[to] >> 6)
			to++;
		h->sparse[to] = h->sparse[i];
	}
	h->n = to + 1;
}

static void
put(MdbHll *h, uint32_t entry)
{
	uint32_t m = UINT32_C(1) << h->bits;

	if (h->dense == NULL && h->n == h->room)
	{
		tidy(h);
		if (h->n > m / 8)
		{
			h->dense = h->grow(h->arg, NULL, 0, m);
			memset(h->dense, 0, m);
			for (uint32_t i = 0; i < h->n; i++)
				h->dense[h->sparse[i] >> 6] = h->sparse[i] & 63;
		}
		else if (h->n >= h->room / 2)
		{
			uint32_t room = h->room < 8 ? 8 : h->room * 2;

			h->sparse = h->grow(h->arg, h->sparse, h->room * sizeof(uint32_t), room * sizeof(uint32_t));
			h->room = room;
		}
	}
	if (h->dense)
	{
		if (h->dense[entry >> 6] < (entry & 63))
			h->dense[entry >> 6] = entry & 63;
	}
	else
		h->sparse[h->n++] = entry;
}

/*
 * mdb_hll_add - add a value, of its hash.
 */
void
mdb_hll_add(MdbHll *h, uint64_t hash)
{
	uint64_t rest = hash << h->bits | UINT64_C(1) << (h->bits - 1); /* not 0 */

	put(h, (uint32_t) (hash >> (64 - h->bits)) << 6 | (uint32_t) (__builtin_clzll(rest) + 1));
}

/*
 * mdb_hll_merge - add all values of another, which has as many registers.
 */
void
mdb_hll_merge(MdbHll *h, const MdbHll *other)
{
	if (other->dense)
	{
		for (uint32_t i = 0; i < UINT32_C(1) << h->bits; i++)
			if (other->dense[i] > 0)
				put(h, i << 6 | other->dense[i]);
	}
	else
		for (uint32_t i = 0; i < other->n; i++)
			put(h, other->sparse[i]);
}

static double
sigma(double x)
{
	double y = 1, z = x, was;

	if (x == 1)
		return INFINITY;
	do
	{
		x *= x;
		was = z;
		z += x * y;
		y += y;
	} while (z != was);
	return z;
}

static double
tau(double x)
{
	double y = 1, z = 1 - x, was;

	if (x == 0 || x == 1)
		return 0;
	do
	{
		x = sqrt(x);
		was = z;
		y *= 0.5;
		z -= (1 - x) * (1 - x) * y;
	} while (z != was);
	return z / 3;
}

/*
 * mdb_hll_estimate - how many different values there were, to about 1.04 / sqrt(registers).
 */
double
mdb_hll_estimate(MdbHll *h)
{
	uint32_t m = UINT32_C(1) << h->bits;
	int q = 64 - h->bits;
	uint32_t count[66] = {0};
	double z;

	if (h->dense)
	{
		for (uint32_t i = 0; i < m; i++)
			count[h->dense[i]]++;
	}
	else
	{
		tidy(h);
		for (uint32_t i = 0; i < h->n; i++)
			count[h->sparse[i] & 63]++;
		count[0] = m - h->n;
	}
	z = m * tau(1 - (double) count[q + 1] / m);
	for (int k = q; k >= 1; k--)
		z = 0.5 * (z + count[k]);
	z += m * sigma((double) count[0] / m);
	return 0.5 / 0.69314718055994531 * m * m / z;
}

/* ---- bytes ---- */

static size_t
dense_bytes(int bits)
{
	return ((size_t) 6 << bits) / 8;
}

/*
 * mdb_hll_bound - it takes no more bytes.
 */
size_t
mdb_hll_bound(const MdbHll *h)
{
	return HEADER + dense_bytes(h->bits);
}

/* Entries as they are written, up to a length that they must not exceed; 0 if they do. */
static size_t
put_entries(const MdbHll *h, uint8_t *dst, size_t most)
{
	uint32_t before = 0, i = 0;
	size_t len = 0;

	for (;; i++)
	{
		uint32_t entry, step;

		if (h->dense)
		{
			while (i < UINT32_C(1) << h->bits && h->dense[i] == 0)
				i++;
			if (i == UINT32_C(1) << h->bits)
				return len;
			entry = i << 6 | h->dense[i];
		}
		else
		{
			if (i == h->n)
				return len;
			entry = h->sparse[i];
		}
		step = entry - before;
		before = entry;
		do
		{
			if (len == most)
				return SIZE_MAX;
			dst[len++] = (uint8_t) (step >= 0x80 ? step | 0x80 : step);
			step >>= 7;
		} while (step > 0);
	}
}

/*
 * mdb_hll_write - as bytes, into room for mdb_hll_bound(); returns how many.
 */
size_t
mdb_hll_write(MdbHll *h, uint8_t *dst)
{
	size_t most = dense_bytes(h->bits);
	size_t len;

	tidy(h);
	dst[0] = MDB_HLL_VERSION;
	dst[1] = (uint8_t) h->bits;
	dst[2] = SPARSE;
	len = put_entries(h, dst + HEADER, most);
	if (len <= most)
		return HEADER + len;
	dst[2] = DENSE;
	memset(dst + HEADER, 0, most);
	for (uint32_t i = 0; i < UINT32_C(1) << h->bits; i++)
	{
		uint32_t value = 0;
		size_t bit = (size_t) i * 6;

		if (h->dense)
			value = h->dense[i];
		else
		{
			/* Entries are sorted, but too many to be shorter; look this one up. */
			uint32_t lo = 0, hi = h->n;

			while (lo < hi)
			{
				uint32_t mid = (lo + hi) / 2;

				if (h->sparse[mid] >> 6 < i)
					lo = mid + 1;
				else
					hi = mid;
			}
			if (lo < h->n && h->sparse[lo] >> 6 == i)
				value = h->sparse[lo] & 63;
		}
		dst[HEADER + bit / 8] |= (uint8_t) (value << (bit % 8));
		if (bit % 8 > 2)
			dst[HEADER + bit / 8 + 1] |= (uint8_t) (value >> (8 - bit % 8));
	}
	return HEADER + most;
}

/* Entries that rise by registers, of values that there may be, in varints of the least length. */
static bool
get_entries(MdbHll *h, const uint8_t *p, const uint8_t *end)
{
	uint64_t entry = 0;
	bool first = true;

	while (p < end)
	{
		uint64_t step = 0, was = entry;
		int shift = 0;
		uint8_t c;

		do
		{
			if (p == end || shift > 28)
				return false;
			c = *p++;
			step |= (uint64_t) (c & 0x7f) << shift;
			shift += 7;
		} while (c >= 0x80);
		if (c == 0 && shift > 7)
			return false;
		entry += step;
		if (entry >> 6 >= UINT64_C(1) << h->bits || (entry & 63) == 0 || (int) (entry & 63) > 65 - h->bits ||
			(!first && entry >> 6 == was >> 6))
			return false;
		first = false;
		put(h, (uint32_t) entry);
	}
	return true;
}

/*
 * mdb_hll_read - of bytes that mdb_hll_write() has written; of any others it is false.
 *
 * grow and arg must be set already.
 */
bool
mdb_hll_read(MdbHll *h, const uint8_t *p, size_t len)
{
	uint8_t *again;

	mdb_hll_init(h, MDB_HLL_BITS_MIN);
	if (len < HEADER || p[0] != MDB_HLL_VERSION || p[1] < MDB_HLL_BITS_MIN || p[1] > MDB_HLL_BITS_MAX)
		return false;
	mdb_hll_init(h, p[1]);
	if (p[2] == SPARSE)
		return len - HEADER <= dense_bytes(h->bits) && get_entries(h, p + HEADER, p + len);
	if (p[2] != DENSE || len != HEADER + dense_bytes(h->bits))
		return false;
	h->dense = h->grow(h->arg, NULL, 0, (size_t) 1 << h->bits);
	for (uint32_t i = 0; i < UINT32_C(1) << h->bits; i++)
	{
		size_t bit = (size_t) i * 6;
		uint32_t value = p[HEADER + bit / 8] >> (bit % 8);

		if (bit % 8 > 2)
			value |= (uint32_t) p[HEADER + bit / 8 + 1] << (8 - bit % 8);
		h->dense[i] = value & 63;
		if (h->dense[i] > 65 - h->bits)
			return false;
	}
	/* As entries it must be longer. */
	again = h->grow(h->arg, NULL, 0, dense_bytes(h->bits));
	h->sparse = (uint32_t *) again;
	return put_entries(h, again, dense_bytes(h->bits)) == SIZE_MAX;
}
