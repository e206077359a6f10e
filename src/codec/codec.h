/*
 * codec.h
 *	  Block codecs: arrays of values to bytes and back, lossless to the bit.
 *
 * Pure C without PostgreSQL types, so that fuzzers, unit tests and the gateway can use it.
 * Nothing here allocates beyond what it is handed, keeps state between calls (but for the
 * thread-local zstd contexts) or reports errors other than by its result.
 *
 * Rules that hold for every codec:
 *	1. decode(encode(x)) == x, compared by bits (NaN payloads, -0.0, infinities, subnormals).
 *	2. A chunk describes itself but for the number of its values, which the caller knows.
 *	3. A decoder never reads outside in[0 .. len) and never writes outside the output's
 *	   stated capacity, whatever the bytes are; it returns MDB_CODEC_CORRUPT.
 *	4. Encoders may write up to the stated bound; decoders may scribble on the
 *	   MDB_DECODE_SLACK elements behind the n values asked for.
 */
#ifndef MDB_CODEC_H
#define MDB_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MDB_BLOCK_ROWS_MAX 8192 /* most values in one chunk */
#define MDB_DECODE_SLACK   64   /* elements of scratch room behind an output array */

#define MDB_CODEC_OK       0
#define MDB_CODEC_CORRUPT  (-1)

/*
 * What the encoder learnt from the column's previous block; zero-initialised by the caller
 * before the first one.  It changes only how fast a choice is made, never what is legal.
 */
typedef struct MdbCodecHint
{
	uint8_t codec;    /* last codec chosen */
	uint8_t exponent; /* last decimal exponent k */
	uint8_t misses;   /* how often the sticky choice failed lately */
	uint8_t cold;     /* set by the caller: as small as can be found, at several times the price */
	uint8_t opaque[12];
} MdbCodecHint;

/* 64-bit integers: any by-value datum, series ids, lengths, directory fields. */
extern size_t mdb_i64_bound(uint32_t n);
extern size_t mdb_i64_encode(const int64_t *v, uint32_t n, uint8_t *out, MdbCodecHint *hint);
extern int mdb_i64_decode(const uint8_t *in, size_t len, uint32_t n, int64_t *out);

/* Timestamps: as integers, with constant step and delta-of-delta among the choices. */
extern size_t mdb_time_encode(const int64_t *v, uint32_t n, uint8_t *out, MdbCodecHint *hint);
extern int mdb_time_decode(const uint8_t *in, size_t len, uint32_t n, int64_t *out);

/* True if the chunk is (first, step) and needs no decoding: v[i] = *first + i * *step. */
extern int mdb_time_const_step(const uint8_t *in, size_t len, uint32_t n, int64_t *first, int64_t *step);

/* Doubles and floats, by their bits. */
extern size_t mdb_f64_bound(uint32_t n);
extern size_t mdb_f64_encode(const double *v, uint32_t n, uint8_t *out, MdbCodecHint *hint);
extern int mdb_f64_decode(const uint8_t *in, size_t len, uint32_t n, double *out);
extern size_t mdb_f32_bound(uint32_t n);
extern size_t mdb_f32_encode(const float *v, uint32_t n, uint8_t *out, MdbCodecHint *hint);
extern int mdb_f32_decode(const uint8_t *in, size_t len, uint32_t n, float *out);

/*
 * Byte strings: value i is data[ends[i - 1] .. ends[i]) with ends[-1] = 0; n values, at most
 * 1 GiB together.  Dictionary, constant, raw, or zstd, by size.  bytes_size reads the total of
 * the decoded bytes from the chunk, so that the caller can make room (it must bound it itself).
 */
extern size_t mdb_bytes_bound(uint32_t n, size_t total);
extern size_t mdb_bytes_encode(const uint8_t *data, const uint32_t *ends, uint32_t n, uint8_t *out,
							   MdbCodecHint *hint);
extern int mdb_bytes_size(const uint8_t *in, size_t len, uint32_t n, size_t *total);
extern int mdb_bytes_decode(const uint8_t *in, size_t len, uint32_t n, uint8_t *data, size_t cap,
							uint32_t *ends);

/* Flags, one byte each, 0 or 1 (which rows are NULL): constant, runs or packed bits. */
extern size_t mdb_bits_bound(uint32_t n);
extern size_t mdb_bits_encode(const uint8_t *flags, uint32_t n, uint8_t *out);
extern int mdb_bits_decode(const uint8_t *in, size_t len, uint32_t n, uint8_t *flags);

/*
 * zstd frames by themselves, with contexts that are made once: a frame in at most cap bytes, or 0; and a
 * frame to exactly total bytes.
 */
extern size_t mdb_deflate(const uint8_t *in, size_t len, int level, uint8_t *out, size_t cap);
extern bool mdb_inflate(const uint8_t *in, size_t len, uint8_t *out, size_t total);

/* Name of the codec that a chunk uses, for statistics: "const", "gorilla", "decimal", ... */
extern const char *mdb_codec_name(const uint8_t *in, size_t len);

#endif /* MDB_CODEC_H */
