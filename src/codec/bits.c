/*
 * bits.c
 *	  Flags: which rows are NULL.
 *
 *	constant	id MDB_ID_CONST | flag << 5, one byte in all
 *	runs		id MDB_ID_RLE | first flag << 5, varint number of runs (>= 2),
 *				integer chunk of run lengths, less one; the flags alternate
 *	packed		id MDB_ID_RAW, one bit a flag from the low bit of the first byte
 *
 * Invariants
 *	1. A flag is stored as 0 or 1; an encoder takes any non-zero byte for 1.
 *	2. Run lengths add up to n exactly; bits behind the last flag are zero.
 */
#include "codec_internal.h"

/* mdb_bits_bound - room mdb_bits_encode needs for n flags. */
size_t
mdb_bits_bound(uint32_t n)
{
	return 1 + ((size_t) n + 7) / 8 + MDB_OUT_SLACK;
}

/* mdb_bits_encode - n flags, at most MDB_BLOCK_ROWS_MAX. */
size_t
mdb_bits_encode(const uint8_t *flags, uint32_t n, uint8_t *out)
{
	uint64_t lengths[MDB_BLOCK_ROWS_MAX / 8 + 1];
	uint32_t runs = 0, start = 0;
	size_t packed = 1 + ((size_t) n + 7) / 8;
	unsigned first;

	if (n == 0 || n > MDB_BLOCK_ROWS_MAX)
		return 0;
	first = flags[0] != 0;

	/* a run costs two bits at the very least: beyond n / 8 of them packing wins or nearly so */
	for (uint32_t i = 1; i <= n && runs <= n / 8; i++)
	{
		if (i < n && !flags[i] == !flags[i - 1])
			continue;
		lengths[runs++] = i - start - 1;
		start = i;
	}
	if (start == n && runs == 1)
	{
		out[0] = (uint8_t) (MDB_ID_CONST | first << MDB_VARIANT_SHIFT);
		return 1;
	}
	if (start == n && packed > 3)
	{
		uint8_t buf[MDB_BLOCK_ROWS_MAX / 8 + 1 + MDB_OUT_SLACK];
		uint8_t *p = buf;
		size_t size;

		*p++ = (uint8_t) (MDB_ID_RLE | first << MDB_VARIANT_SHIFT);
		p = mdb_put_varint(p, runs);
		size = mdb_chunk_encode(MDB_KIND_INT, lengths, runs, (MdbAim){MDB_DEPTH_COMPOSITE + 1, false}, p,
								packed - (size_t) (p - buf), NULL);
		if (size != 0)
		{
			size += (size_t) (p - buf);
			memcpy(out, buf, size);
			return size;
		}
	}
	memset(out, 0, packed);
	out[0] = MDB_ID_RAW;
	for (uint32_t i = 0; i < n; i++)
		out[1 + i / 8] |= (uint8_t) ((flags[i] != 0) << (i % 8));
	return packed;
}

/* mdb_bits_decode - the n flags of a chunk, each 0 or 1. */
int
mdb_bits_decode(const uint8_t *in, size_t len, uint32_t n, uint8_t *flags)
{
	unsigned variant;

	if (n == 0)
		return len == 0 ? MDB_CODEC_OK : MDB_CODEC_CORRUPT;
	if (n > MDB_BLOCK_ROWS_MAX || len == 0)
		return MDB_CODEC_CORRUPT;
	variant = in[0] >> MDB_VARIANT_SHIFT;
	if (variant > 1)
		return MDB_CODEC_CORRUPT;
	switch (in[0] & 0x1f)
	{
		case MDB_ID_CONST:
			if (len != 1)
				return MDB_CODEC_CORRUPT;
			memset(flags, (int) variant, n);
			return MDB_CODEC_OK;
		case MDB_ID_RLE:
		{
			uint64_t lengths[MDB_WORDS_MAX];
			const uint8_t *p;
			uint32_t runs, done = 0;

			p = mdb_get_bounded(in + 1, in + len, n, &runs);
			if (p == NULL || runs < 2 ||
				!mdb_chunk_decode(MDB_KIND_INT, p, (size_t) (in + len - p), runs, MDB_DEPTH_COMPOSITE + 1,
								  lengths))
				return MDB_CODEC_CORRUPT;
			for (uint32_t run = 0; run < runs; run++)
			{
				if (lengths[run] >= n - done)
					return MDB_CODEC_CORRUPT;
				memset(flags + done, (int) ((variant + run) & 1), lengths[run] + 1);
				done += (uint32_t) lengths[run] + 1;
			}
			return done == n ? MDB_CODEC_OK : MDB_CODEC_CORRUPT;
		}
		case MDB_ID_RAW:
			if (variant != 0 || len != 1 + ((size_t) n + 7) / 8 ||
				(n % 8 != 0 && in[len - 1] >> (n % 8) != 0))
				return MDB_CODEC_CORRUPT;
			for (uint32_t i = 0; i < n; i++)
				flags[i] = (in[1 + i / 8] >> (i % 8)) & 1;
			return MDB_CODEC_OK;
	}
	return MDB_CODEC_CORRUPT;
}
