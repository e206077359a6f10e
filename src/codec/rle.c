/*
 * rle.c
 *	  Runs of equal values: the lengths as integers, the values as a chunk of their own kind.
 *
 *	id			MDB_ID_RLE
 *	varint		number of runs, 1..n
 *	varint		bytes of the next chunk
 *	chunk		run lengths, less one
 *	chunk		run values
 *
 * Invariants
 *	1. The lengths add up to n exactly.
 *	2. Equal means equal bits: a run never joins 0.0 and -0.0.
 */
#include "codec_internal.h"

/* Encoders give up beyond this many runs: nothing is left to gain, and it bounds the stack. */
#define RUNS_MAX (MDB_BLOCK_ROWS_MAX / 4)

MDB_CLONES uint32_t
mdb_count_runs(const uint64_t *v, uint32_t n)
{
	uint64_t changes = 0;

	for (uint32_t i = 1; i < n; i++)
		changes += v[i] != v[i - 1];
	return (uint32_t) changes + 1;
}

size_t
mdb_rle_encode(MdbKind kind, const uint64_t *v, uint32_t n, uint32_t nruns, MdbAim aim, uint8_t *out,
			   size_t cap)
{
	uint64_t lengths[RUNS_MAX];
	uint64_t values[RUNS_MAX];
	uint8_t *p = out, *end = out + cap;
	uint32_t run = 0, start = 0;
	size_t size;

	if (nruns > RUNS_MAX || cap < 4)
		return 0;
	for (uint32_t i = 1; i <= n; i++)
	{
		if (i < n && v[i] == v[i - 1])
			continue;
		lengths[run] = i - start - 1;
		values[run++] = v[start];
		start = i;
	}

	*p++ = MDB_ID_RLE;
	p = mdb_put_varint(p, nruns);
	p = mdb_put_sized(MDB_KIND_INT, lengths, nruns, mdb_within(aim), p, end);
	if (p == NULL)
		return 0;
	size = mdb_chunk_encode(kind, values, nruns, mdb_within(aim), p, (size_t) (end - p), NULL);
	return size == 0 ? 0 : (size_t) (p - out) + size;
}

bool
mdb_rle_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, int depth, uint64_t *out)
{
	uint64_t lengths[MDB_WORDS_MAX];
	uint64_t values[MDB_WORDS_MAX];
	const uint8_t *p = in + 1, *end = in + len;
	uint32_t nruns;
	const uint8_t *chunk;
	size_t size;
	uint32_t done = 0;

	p = mdb_get_bounded(p, end, n, &nruns);
	if (p == NULL || nruns == 0)
		return false;
	p = mdb_get_sized(p, end, &chunk, &size);
	if (p == NULL || !mdb_chunk_decode(MDB_KIND_INT, chunk, size, nruns, depth + 1, lengths) ||
		!mdb_chunk_decode(kind, p, (size_t) (end - p), nruns, depth + 1, values))
		return false;
	for (uint32_t run = 0; run < nruns; run++)
	{
		uint64_t value = values[run];

		if (lengths[run] >= n - done)
			return false;
		for (uint32_t stop = done + (uint32_t) lengths[run]; done <= stop; done++)
			out[done] = value;
	}
	return done == n;
}
