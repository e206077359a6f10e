/*
 * fuzz_codec_tans.c
 *	  Fuzz target: entropy-coded symbols by themselves; see codec_fuzz.h.
 */
#include "codec_fuzz.h"

#include "codec/codec_internal.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t n = take_count(&data, &size);
	uint32_t count[256] = {0};
	unsigned alphabet;
	uint8_t *in, *a, *b;

	n = n == 0 ? 1 : n;
	in = malloc(size ? size : 1);
	a = malloc(n);
	b = malloc(n);
	REQUIRE(in != NULL && a != NULL && b != NULL);
	memcpy(in, data, size);
	memset(a, 0x55, n);
	memset(b, 0xaa, n);
	if (mdb_tans_decode(in, size, n, &alphabet, a))
	{
		REQUIRE(mdb_tans_decode(in, size, n, &alphabet, b));
		REQUIRE(memcmp(a, b, n) == 0);
		for (uint32_t i = 0; i < n; i++)
			REQUIRE(a[i] < alphabet);
	}
	free(b);
	free(a);

	/* the body as symbols, the first byte as a mask, so that small alphabets come up */
	if (size > 1 && size <= MDB_BLOCK_ROWS_MAX)
	{
		size_t room = 4 * size + 1024;
		uint8_t *out = malloc(room);
		uint8_t *back = malloc(size);
		size_t len;

		REQUIRE(out != NULL && back != NULL);
		for (size_t i = 1; i < size; i++)
		{
			in[i] &= in[0];
			count[in[i]]++;
		}
		alphabet = 256;
		while (count[alphabet - 1] == 0)
			alphabet--;
		n = (uint32_t) size - 1;
		len = mdb_tans_encode(in + 1, n, count, alphabet, out, room);
		REQUIRE(len != 0);
		REQUIRE(mdb_tans_decode(out, len, n, &alphabet, back));
		REQUIRE(memcmp(in + 1, back, n) == 0);
		REQUIRE(mdb_tans_encode(in + 1, n, count, alphabet, out, len) == len);
		REQUIRE(mdb_tans_encode(in + 1, n, count, alphabet, out, len - 1) == 0);
		free(back);
		free(out);
	}
	free(in);
	return 0;
}
