/*
 * codec_fuzz.h
 *	  What the codec fuzz targets share.
 *
 * An input is two bytes of n (up to MDB_BLOCK_ROWS_MAX) and a body.  The body is decoded as a chunk
 * of n values, in memory of just its length; then it is taken as an array of values, encoded and
 * decoded again, which must give it back to the bit, cold half of the time.  A decoder that accepted the bytes must also
 * give the same answer twice: nothing it returns may depend on what was in memory before.
 */
#ifndef CODEC_FUZZ_H
#define CODEC_FUZZ_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"

#define REQUIRE(x)   \
	do               \
	{                \
		if (!(x))    \
			abort(); \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline uint32_t
take_count(const uint8_t **data, size_t *size)
{
	uint32_t n = 0;

	if (*size >= 2)
	{
		n = (uint32_t) ((*data)[0] | (*data)[1] << 8) % (MDB_BLOCK_ROWS_MAX + 1);
		*data += 2;
		*size -= 2;
	}
	return n;
}

/*
 * A fuzz target for an array type: decode the body, then round-trip it.
 */
#define NUMBER_TARGET(T, encode, decode, bound)                  \
	int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) \
	{                                                            \
		static MdbCodecHint hint;                                \
		uint32_t n = take_count(&data, &size);                   \
		uint8_t *in = malloc(size ? size : 1);                   \
		T *a = malloc((n + MDB_DECODE_SLACK) * sizeof(T));       \
		T *b = malloc((n + MDB_DECODE_SLACK) * sizeof(T));       \
                                                                 \
		REQUIRE(in != NULL && a != NULL && b != NULL);           \
		memcpy(in, data, size);                                  \
		memset(a, 0x55, n * sizeof(T));                          \
		memset(b, 0xaa, n * sizeof(T));                          \
		if (decode(in, size, n, a) == MDB_CODEC_OK)              \
		{                                                        \
			uint8_t *out = malloc(bound(n));                     \
			size_t len;                                          \
                                                                 \
			REQUIRE(out != NULL);                                \
			REQUIRE(decode(in, size, n, b) == MDB_CODEC_OK);     \
			REQUIRE(memcmp(a, b, n * sizeof(T)) == 0);           \
			hint.cold = (uint8_t) (size & 1);                    \
			len = encode(a, n, out, size & 2 ? NULL : &hint);    \
			REQUIRE(len <= 1 + n * sizeof(T));                   \
			REQUIRE(decode(out, len, n, b) == MDB_CODEC_OK);     \
			REQUIRE(memcmp(a, b, n * sizeof(T)) == 0);           \
			free(out);                                           \
		}                                                        \
		free(b);                                                 \
		free(a);                                                 \
		(void) mdb_codec_name(in, size);                         \
                                                                 \
		n = (uint32_t) (size / sizeof(T));                       \
		if (n > 0 && n <= MDB_BLOCK_ROWS_MAX)                    \
		{                                                        \
			T *v = malloc(n * sizeof(T));                        \
			T *w = malloc((n + MDB_DECODE_SLACK) * sizeof(T));   \
			uint8_t *out = malloc(bound(n));                     \
			size_t len;                                          \
                                                                 \
			REQUIRE(v != NULL && w != NULL && out != NULL);      \
			memcpy(v, in, n * sizeof(T));                        \
			hint.cold = in[0] & 1;                               \
			len = encode(v, n, out, &hint);                      \
			REQUIRE(decode(out, len, n, w) == MDB_CODEC_OK);     \
			REQUIRE(memcmp(v, w, n * sizeof(T)) == 0);           \
			free(out);                                           \
			free(w);                                             \
			free(v);                                             \
		}                                                        \
		free(in);                                                \
		return 0;                                                \
	}

#endif /* CODEC_FUZZ_H */
