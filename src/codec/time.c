/*
 * time.c
 *	  Timestamps: integer chunks, among which a constant step is the one that matters, and a grid.
 *
 * A series scraped every ten seconds is (first, step): MDB_ID_INT, order 1, width 0, about 14
 * bytes for any number of rows, and readers go from a time range to row numbers by arithmetic.
 *
 * Where scrapes jitter around their due times, or some are missing, differences are poor: each
 * carries the jitter of two rows.  A grid chunk stores the distance to the due time instead:
 *
 *	v[i] = first + step * (i + jumps up to row i) + r[i]
 *
 *	id			MDB_ID_INT | MDB_INT_GRID << 5
 *	varint		zigzag of first
 *	varint		zigzag of step
 *	varint		number of jumps, then if there are any:
 *	 [varint	bytes of the next chunk
 *	  chunk		gaps between the rows that jump
 *	  varint	bytes of the next chunk
 *	  chunk		how far]
 *	chunk		r
 *
 * Invariants
 *	1. Any chunk of mdb_i64_encode is a time chunk and the reverse; only the choice differs.
 *	2. Row numbers on the grid are a matter of size only: r takes whatever they leave.
 */
#include "codec_internal.h"

#define GRID_LEAST 16 /* rows, and bytes of the integer chunk, to try the grid for */
#define JUMPS_MAX  (MDB_BLOCK_ROWS_MAX / 8)
#define SAMPLES    31

/* The step most rows keep: the median of some, 0 if that is no forward step. */
static uint64_t
usual_step(const uint64_t *v, uint32_t n)
{
	int64_t s[SAMPLES];
	uint32_t count = n - 1 < SAMPLES ? n - 1 : SAMPLES;

	for (uint32_t i = 0; i < count; i++)
	{
		uint64_t at = (uint64_t) i * (n - 1) / count;
		int64_t y = (int64_t) (v[at + 1] - v[at]);
		uint32_t j = i;

		for (; j > 0 && s[j - 1] > y; j--)
			s[j] = s[j - 1];
		s[j] = y;
	}
	return s[count / 2] > 0 ? (uint64_t) s[count / 2] : 0;
}

static size_t
grid_encode(const uint64_t *v, uint32_t n, bool cold, uint8_t *out, size_t cap)
{
	uint64_t r[MDB_BLOCK_ROWS_MAX];
	uint64_t gaps[JUMPS_MAX];
	uint64_t jumps[JUMPS_MAX];
	const MdbAim within = {MDB_DEPTH_COMPOSITE + 1, cold};
	uint64_t step = usual_step(v, n);
	uint64_t due = v[0];
	uint32_t count = 0, last = 0;
	uint8_t *p = out, *end = out + cap;
	size_t size;

	if (step == 0 || cap < 3 * MDB_VARINT_MAX)
		return 0;
	r[0] = 0;
	for (uint32_t i = 1; i < n; i++)
	{
		int64_t late;

		due += step;
		late = (int64_t) (v[i] - due + step / 2);
		if (late < 0 || (uint64_t) late >= step)
		{
			uint64_t jump = (uint64_t) (late / (int64_t) step) - (late < 0);

			if (count == JUMPS_MAX || count > n / 8)
				return 0;
			gaps[count] = i - last - 1;
			jumps[count++] = jump;
			last = i;
			due += jump * step;
		}
		r[i] = v[i] - due;
	}

	*p++ = MDB_ID_INT | MDB_INT_GRID << MDB_VARIANT_SHIFT;
	p = mdb_put_varint(p, mdb_zigzag(v[0]));
	p = mdb_put_varint(p, mdb_zigzag(step));
	p = mdb_put_varint(p, count);
	if (count > 0)
	{
		p = mdb_put_sized(MDB_KIND_INT, gaps, count, within, p, end);
		if (p != NULL)
			p = mdb_put_sized(MDB_KIND_INT, jumps, count, within, p, end);
		if (p == NULL)
			return 0;
	}
	size = mdb_chunk_encode(MDB_KIND_INT, r, n, within, p, (size_t) (end - p), NULL);
	return size == 0 ? 0 : (size_t) (p - out) + size;
}

/* mdb_grid_decode - timestamps near a grid; the chunks within are plain integers. */
bool
mdb_grid_decode(const uint8_t *in, size_t len, uint32_t n, uint64_t *out)
{
	uint64_t part[2][JUMPS_MAX + MDB_DECODE_SLACK];
	const uint8_t *p = in + 1, *end = in + len;
	uint64_t first, step;
	uint32_t count, row = 0;

	p = mdb_get_varint(p, end, &first);
	if (p != NULL)
		p = mdb_get_varint(p, end, &step);
	if (p != NULL)
		p = mdb_get_bounded(p, end, n - 1 < JUMPS_MAX ? n - 1 : JUMPS_MAX, &count);
	if (p == NULL)
		return false;
	first = mdb_unzigzag(first);
	step = mdb_unzigzag(step);
	for (int i = 0; i < 2 && count > 0; i++)
	{
		const uint8_t *chunk;
		size_t size;

		p = mdb_get_sized(p, end, &chunk, &size);
		if (p == NULL ||
			!mdb_chunk_decode(MDB_KIND_INT, chunk, size, count, MDB_DEPTH_COMPOSITE + 1, part[i]))
			return false;
	}
	if (!mdb_chunk_decode(MDB_KIND_INT, p, (size_t) (end - p), n, MDB_DEPTH_COMPOSITE + 1, out))
		return false;

	/* from jump to jump the due times are a line */
	for (uint32_t j = 0; j < count; j++)
	{
		uint32_t stop;

		/* gaps count from the row behind: row 0 never jumps */
		if (part[0][j] >= n)
			return false;
		stop = row + (uint32_t) part[0][j] + 1;
		if (stop >= n)
			return false;
		mdb_add_line(out + row, stop - row, first, step);
		first += (stop - row + part[1][j]) * step;
		row = stop;
	}
	mdb_add_line(out + row, n - row, first, step);
	return true;
}

/* mdb_time_encode - n timestamps in the order of the rows; room as mdb_i64_bound. */
size_t
mdb_time_encode(const int64_t *v, uint32_t n, uint8_t *out, MdbCodecHint *hint)
{
	uint8_t trial[MDB_CHUNK_MAX];
	uint64_t back[MDB_WORDS_MAX];
	size_t size = mdb_i64_encode(v, n, out, hint);
	size_t grid;

	if (n < GRID_LEAST || n > MDB_BLOCK_ROWS_MAX || size <= GRID_LEAST)
		return size;
	grid = grid_encode((const uint64_t *) v, n, hint != NULL && hint->cold, trial, size - 1);
	if (grid == 0)
		return size;
	if (!mdb_chunk_decode(MDB_KIND_INT, trial, grid, n, 0, back) || memcmp(back, v, (size_t) n * 8) != 0)
	{
		MDB_BUG();
		return size;
	}
	memcpy(out, trial, grid);
	return grid;
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
	uint64_t v[2 + MDB_DECODE_SLACK];
	uint32_t divided;

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
	if (n >= 2 && len >= 3 && in[0] == (MDB_ID_INT | MDB_INT_DELTA << MDB_VARIANT_SHIFT) && in[1] == 0 &&
		mdb_int_decode(in, len, 2, 0, &divided, v))
	{
		*first = (int64_t) v[0];
		*step = (int64_t) (v[1] - v[0]);
		return 1;
	}
	return 0;
}
