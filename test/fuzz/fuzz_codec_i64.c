/*
 * fuzz_codec_i64.c
 *	  Fuzz target: integer chunks; see codec_fuzz.h.
 */
#include "codec_fuzz.h"

NUMBER_TARGET(int64_t, mdb_i64_encode, mdb_i64_decode, mdb_i64_bound)
