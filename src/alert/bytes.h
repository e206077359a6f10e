/*
 * bytes.h
 *	  Samples of watched series as bytes: what a row of metricsdb.alert_batch and of metricsdb.alert_window has.
 */
#ifndef MDB_ALERT_BYTES_H
#define MDB_ALERT_BYTES_H

#include "compat.h"

#include "access/attnum.h"

/* A sample.  Its series is an id of the table's dictionary, or, with this bit, the number of a key that comes along. */
#define MDB_SERIES_BY_KEY (UINT64CONST(1) << 32)

typedef struct MdbTapped
{
	uint64 series;
	int64 time;
	double value;
	AttrNumber column; /* 0: there was a row, whatever was in it */
} MdbTapped;

typedef struct MdbTappedKey
{
	const char *bytes;
	uint32 len;
} MdbTappedKey;

/* mdb_tapped_encode - n samples, in CurrentMemoryContext; keys are those that series by key are numbers of. */
extern bytea *mdb_tapped_encode(const MdbTapped *samples, uint32 n, const MdbTappedKey *keys);

/*
 * mdb_tapped_decode - the samples, and the keys, in CurrentMemoryContext; keys point into the bytes.
 *
 * Raises ERRCODE_DATA_CORRUPTED.
 */
extern uint32 mdb_tapped_decode(const bytea *bytes, MdbTapped **samples, uint32 *nkeys, MdbTappedKey **keys);

#endif /* MDB_ALERT_BYTES_H */
