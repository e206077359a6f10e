/*
 * fuzz_codec_time.c
 *	  Fuzz target: timestamp chunks; see codec_fuzz.h.
 */
#include "codec_fuzz.h"

NUMBER_TARGET(int64_t, mdb_time_encode, mdb_time_decode, mdb_i64_bound)
