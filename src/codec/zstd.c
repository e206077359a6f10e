/*
 * zstd.c
 *	  zstd frames: this thread's contexts, and whole chunks of numbers in a frame.
 *
 * Numbers in a frame
 *
 *	id			MDB_ID_RAW | MDB_ID_ZSTD
 *	varint		bytes of the chunk within
 *	frame		any chunk of numbers but one of this kind
 *
 * Bit-packed residuals that repeat, as those of averages and of flags do, and values that come again in
 * the same order, are what zstd finds and the other codecs do not.
 *
 * Invariants
 *	1. A frame inflates to exactly the size that stands before it, which is checked first.
 *	2. Contexts live as long as their thread; where memory for one is lacking, encoders go without.
 */
#include "codec_internal.h"

#include <zstd.h>

static _Thread_local ZSTD_CCtx *compressor;
static _Thread_local ZSTD_DCtx *decompressor;

/* mdb_compressor - the thread's context, ready for a frame without its size; NULL if there is no memory. */
ZSTD_CCtx *
mdb_compressor(int level)
{
	if (compressor == NULL)
	{
		compressor = ZSTD_createCCtx();
		if (compressor == NULL)
			return NULL;
		/* the chunk holds the size itself */
		ZSTD_CCtx_setParameter(compressor, ZSTD_c_contentSizeFlag, 0);
	}
	ZSTD_CCtx_reset(compressor, ZSTD_reset_session_only);
	ZSTD_CCtx_setParameter(compressor, ZSTD_c_compressionLevel, level);
	return compressor;
}

/* mdb_deflate - a frame in at most cap bytes, or 0. */
size_t
mdb_deflate(const uint8_t *in, size_t len, int level, uint8_t *out, size_t cap)
{
	ZSTD_CCtx *cctx = mdb_compressor(level);
	size_t frame = cctx ? ZSTD_compress2(cctx, out, cap, in, len) : 0;

	return ZSTD_isError(frame) ? 0 : frame;
}

/* mdb_inflate - a frame to exactly total bytes. */
bool
mdb_inflate(const uint8_t *in, size_t len, uint8_t *out, size_t total)
{
	if (decompressor == NULL)
		decompressor = ZSTD_createDCtx();
	if (decompressor == NULL)
		return false;
	return ZSTD_decompressDCtx(decompressor, out, total, in, len) == total;
}

/*
 * mdb_frame_encode - a chunk in a frame, or 0 if that takes more than cap.
 */
size_t
mdb_frame_encode(const uint8_t *chunk, size_t size, int level, uint8_t *out, size_t cap)
{
	size_t head = 1 + mdb_varint_size(size);
	ZSTD_CCtx *cctx;
	size_t frame;

	if (cap <= head || (cctx = mdb_compressor(level)) == NULL)
		return 0;
	frame = ZSTD_compress2(cctx, out + head, cap - head, chunk, size);
	if (ZSTD_isError(frame))
		return 0;
	out[0] = MDB_ID_RAW | MDB_ID_ZSTD;
	(void) mdb_put_varint(out + 1, size);
	return head + frame;
}

/*
 * mdb_frame_decode - the numbers of a chunk in a frame.
 */
bool
mdb_frame_decode(MdbKind kind, const uint8_t *in, size_t len, uint32_t n, uint64_t *out)
{
	uint8_t chunk[MDB_CHUNK_MAX];
	const uint8_t *p, *end = in + len;
	uint32_t size;

	p = mdb_get_bounded(in + 1, end, 1 + (uint64_t) n * mdb_kind_bytes(kind), &size);
	if (p == NULL || size == 0 || !mdb_inflate(p, (size_t) (end - p), chunk, size))
		return false;
	return !(chunk[0] & MDB_ID_ZSTD) && mdb_chunk_decode(kind, chunk, size, n, MDB_DEPTH_COMPOSITE, out);
}
