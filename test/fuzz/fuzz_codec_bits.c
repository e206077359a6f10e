/*
 * fuzz_codec_bits.c
 *	  Fuzz target: flags; see codec_fuzz.h.
 */
#include "codec_fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t n = take_count(&data, &size);
	uint8_t *in = malloc(size ? size : 1);
	uint8_t *flags = malloc(n ? n : 1);
	uint8_t *back = malloc(n ? n : 1);
	uint8_t *out = malloc(mdb_bits_bound(n));

	REQUIRE(in != NULL && flags != NULL && back != NULL && out != NULL);
	memcpy(in, data, size);
	if (mdb_bits_decode(in, size, n, flags) == MDB_CODEC_OK)
	{
		for (uint32_t i = 0; i < n; i++)
			REQUIRE(flags[i] <= 1);
		REQUIRE(mdb_bits_decode(out, mdb_bits_encode(flags, n, out), n, back) == MDB_CODEC_OK);
		REQUIRE(memcmp(flags, back, n) == 0);
	}
	free(out);

	/* the body as flags: its bits, so that runs of any kind come up */
	free(flags);
	free(back);
	n = size * 8 < MDB_BLOCK_ROWS_MAX ? (uint32_t) size * 8 : MDB_BLOCK_ROWS_MAX;
	flags = malloc(n ? n : 1);
	back = malloc(n ? n : 1);
	out = malloc(mdb_bits_bound(n));
	REQUIRE(flags != NULL && back != NULL && out != NULL);
	for (uint32_t i = 0; i < n; i++)
		flags[i] = (in[i / 8] >> (i % 8)) & 1;
	REQUIRE(mdb_bits_decode(out, mdb_bits_encode(flags, n, out), n, back) == MDB_CODEC_OK);
	REQUIRE(memcmp(flags, back, n) == 0);
	free(out);
	free(back);
	free(flags);
	free(in);
	return 0;
}
