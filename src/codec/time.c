/*
 * time.c
 *	  Timestamps: integer chunks, among which a constant step is the one that matters, and a grid.
 *
 * A series scraped every ten seconds is (first, step): MDB_ID_INT, order 1, width 0, about 14
 * bytes for any number of rows, and readers go from a time range to row numbers by arithmetic.
 *
 * Invariants
 *	1. Any chunk of mdb_i64_encode is a time chunk and the reverse; only the choice differs.
 */
#include "codec_internal.h"

/* mdb_time_encode - n timestamps in the order of the rows; room as mdb_i64_bound. */
size_t
mdb_time_encode(const int64_t *v, uint32_t n, uint8_t *out, MdbCodecHint *hint)
{
	return mdb_i64_encode(v, n, out, hint);
}

/* mdb_time_decode - the n timestamps of a chunk. */
int
mdb_time_decode(const uint8_t *in, size_t len, uint32_t n, int64_t *out)
{
	return mdb_i64_decode(in, len, n, out);
}

/* mdb_time_const_step - see codec.h; a chunk that is corrupt is not (first, step). */
int
mdb_time_const_step(const uint8_t *in, size_t len, uint32_t n, int64_t *first, int64_t *step)
{
	uint64_t	v[2 + MDB_DECODE_SLACK];
	uint32_t	divided;

	if (n == 0 || n > MDB_BLOCK_ROWS_MAX || len == 0)
		return 0;
	if (in[0] == MDB_ID_CONST)
	{
		if (!mdb_chunk_decode(MDB_KIND_INT, in, len, 1, 0, v))
			return 0;
		*first = (int64_t) v[0];
		*step = 0;
		return 1;
	}
	/* with no bits per value and no patches the first two rows tell all others */
	if (n >= 2 && len >= 3 && in[0] == (MDB_ID_INT | MDB_INT_DELTA << MDB_VARIANT_SHIFT) &&
		in[1] == 0 && mdb_int_decode(in, len, 2, 0, &divided, v))
	{
		*first = (int64_t) v[0];
		*step = (int64_t) (v[1] - v[0]);
		return 1;
	}
	return 0;
}

bool
mdb_grid_decode(const uint8_t *in, size_t len, uint32_t n, uint64_t *out)
{
	(void) in;
	(void) len;
	(void) n;
	(void) out;
	return false;
}
