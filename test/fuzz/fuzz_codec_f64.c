/*
 * fuzz_codec_f64.c
 *	  Fuzz target: chunks of doubles, Gorilla and decimals among them; see codec_fuzz.h.
 */
#include "codec_fuzz.h"

NUMBER_TARGET(double, mdb_f64_encode, mdb_f64_decode, mdb_f64_bound)
