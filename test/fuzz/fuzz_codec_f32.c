/*
 * fuzz_codec_f32.c
 *	  Fuzz target: chunks of floats; see codec_fuzz.h.
 */
#include "codec_fuzz.h"

NUMBER_TARGET(float, mdb_f32_encode, mdb_f32_decode, mdb_f32_bound)
