/*
 * complete.h
 *	  Up to when the points that Kafka brings to a table are all there.
 */
#ifndef MDB_COMPLETE_H
#define MDB_COMPLETE_H

#include "postgres.h"

#include "datatype/timestamp.h"

/*
 * mdb_sources_complete - the time up to which the Kafka sources of a table have brought all points, with their
 * lateness taken off: DT_NOBEGIN if it is not known, and DT_NOEND if the table has no source.
 *
 * Within a transaction, by its active snapshot.  What is told is true of any snapshot that is as new, or newer.
 * *reason, in CurrentMemoryContext, is NULL as long as nothing is in the way.
 */
extern TimestampTz mdb_sources_complete(Oid table, TimestampTz now, const char **reason);

#endif /* MDB_COMPLETE_H */
