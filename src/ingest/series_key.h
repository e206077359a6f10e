/*
 * series_key.h
 *	  A series of name and tags as a key of the table's dictionary (src/series/README.md), and what is read from one.
 */
#ifndef MDB_SERIES_KEY_H
#define MDB_SERIES_KEY_H

#include "postgres.h"

#include "access/attnum.h"
#include "ingest/proto.h"
#include "lib/stringinfo.h"

/* The series columns of a table that has no others than name and tags. */
typedef struct MdbSeriesColumns
{
	AttrNumber name;
	AttrNumber tags;
	bool name_first; /* in the order of series */
} MdbSeriesColumns;

/* mdb_series_key_put - append the key to a buffer. */
extern void mdb_series_key_put(const MdbSeriesColumns *columns, const MdbProtoSeries *series, StringInfo key);

/*
 * mdb_series_key_fingerprint - of the series that has this key, see fingerprint.h.  False: it is none that a point
 * could be of, as a tag is no string.
 */
extern bool mdb_series_key_fingerprint(const MdbSeriesColumns *columns, const char *key, uint32 len,
									   uint64 *fingerprint);

#endif /* MDB_SERIES_KEY_H */
