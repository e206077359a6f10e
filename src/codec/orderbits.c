/*
 * orderbits.c
 *	  True doubles: their bits, mapped so that integer order is numeric order, as integers.
 *
 *	id			MDB_ID_BITS
 *	chunk		MDB_ID_INT of the ordered bits
 *
 * Neighbours that are close as numbers are close as ordered bits, so the steps save what sign,
 * exponent and leading mantissa bits have in common.
 *
 * Invariants
 *	1. The mapping is a bijection of the 64 (or 32) bits; of a float's integer only the low half
 *	   is looked at.
 */
#include "codec_internal.h"

/* Positive numbers get the sign bit, negative ones are complemented. */
static MDB_CLONES void
order64(const uint64_t *restrict v, uint32_t n, uint64_t *restrict x)
{
	for (uint32_t i = 0; i < n; i++)
		x[i] = v[i] ^ (((uint64_t) ((int64_t) v[i] >> 63)) >> 1);
}

static MDB_CLONES void
order64_undo(uint64_t *x, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		x[i] ^= ((uint64_t) ((int64_t) x[i] >> 63)) >> 1;
}

size_t
mdb_orderbits_encode(MdbKind kind, const uint64_t *v, uint32_t n, bool cold, uint8_t *out, size_t cap)
{
	uint64_t x[MDB_BLOCK_ROWS_MAX];
	size_t size;

	if (cap < 4)
		return 0;
	if (kind == MDB_KIND_F32)
	{
		for (uint32_t i = 0; i < n; i++)
		{
			int32_t y = (int32_t) v[i];

			y ^= (int32_t) ((uint32_t) (y >> 31) >> 1);
			x[i] = (uint64_t) (int64_t) y;
		}
	}
	else
		order64(v, n, x);
	size = mdb_int_encode(x, n, cold, out + 1, cap - 1);
	out[0] = MDB_ID_BITS;
	return size == 0 ? 0 : size + 1;
}

bool
mdb_orderbits_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, uint64_t *out)
{
	uint32_t divided;

	if (len < 2 || (in[1] & (MDB_ID_MASK | MDB_ID_ZSTD)) != MDB_ID_INT ||
		!mdb_int_decode(in + 1, len - 1, n, 0, &divided, out))
		return false;
	if (kind == MDB_KIND_F32)
	{
		for (uint32_t i = 0; i < n; i++)
		{
			int32_t y = (int32_t) out[i];

			out[i] = (uint32_t) (y ^ (int32_t) ((uint32_t) (y >> 31) >> 1));
		}
	}
	else
		order64_undo(out, n);
	return true;
}
