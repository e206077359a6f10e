/*
 * fuzz_codec_bytes.c
 *	  Fuzz target: byte strings; see codec_fuzz.h.
 */
#include "codec_fuzz.h"

#define CAP (1 << 20)

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	MdbCodecHint cold = {.cold = 1};
	uint32_t n = take_count(&data, &size);
	uint8_t *in = malloc(size ? size : 1);
	uint32_t *ends = malloc((n + size + 1) * sizeof(uint32_t));
	uint32_t *back = malloc((n + size + 1) * sizeof(uint32_t));
	size_t total;
	uint32_t count = 0;

	REQUIRE(in != NULL && ends != NULL && back != NULL);
	memcpy(in, data, size);
	if (mdb_bytes_size(in, size, n, &total) == MDB_CODEC_OK && total <= CAP)
	{
		uint8_t *text = malloc(total ? total : 1);

		REQUIRE(text != NULL);
		if (mdb_bytes_decode(in, size, n, text, total, ends) == MDB_CODEC_OK && n > 0)
		{
			uint8_t *out = malloc(mdb_bytes_bound(n, total));
			uint8_t *again = malloc(total ? total : 1);
			size_t len;

			REQUIRE(out != NULL && again != NULL);
			REQUIRE(ends[n - 1] == total);
			for (uint32_t i = 1; i < n; i++)
				REQUIRE(ends[i] >= ends[i - 1]);
			len = mdb_bytes_encode(text, ends, n, out, size & 1 ? NULL : &cold);
			REQUIRE(len <= mdb_bytes_bound(n, total));
			REQUIRE(mdb_bytes_decode(out, len, n, again, total, back) == MDB_CODEC_OK);
			REQUIRE(memcmp(text, again, total) == 0);
			REQUIRE(memcmp(ends, back, n * sizeof(uint32_t)) == 0);
			free(again);
			free(out);
		}
		free(text);
	}

	/* the body as strings, each up to the next newline */
	for (size_t i = 0; i < size && count < MDB_BLOCK_ROWS_MAX; i++)
	{
		if (in[i] == '\n' || i + 1 == size)
			ends[count++] = (uint32_t) i + 1;
	}
	if (count > 0)
	{
		uint8_t *out;
		uint8_t *again;
		size_t len;

		total = ends[count - 1];
		out = malloc(mdb_bytes_bound(count, total));
		again = malloc(total);
		REQUIRE(out != NULL && again != NULL);
		len = mdb_bytes_encode(in, ends, count, out, size & 1 ? NULL : &cold);
		REQUIRE(mdb_bytes_decode(out, len, count, again, total, back) == MDB_CODEC_OK);
		REQUIRE(memcmp(in, again, total) == 0);
		REQUIRE(memcmp(ends, back, count * sizeof(uint32_t)) == 0);
		free(again);
		free(out);
	}
	free(back);
	free(ends);
	free(in);
	return 0;
}
