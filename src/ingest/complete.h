/*
 * complete.h
 *	  Up to when the points that Kafka brings to a table are all there.
 */
#ifndef MDB_COMPLETE_H
#define MDB_COMPLETE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/*
 * mdb_sources_complete - the time up to which the Kafka sources of tables (a list of OIDs) have brought all points, with
 * their lateness taken off: DT_NOBEGIN if it is not known, and DT_NOEND if none of the tables has a source.
 *
 * Within a transaction, by its active snapshot.  What is told is true of any snapshot that is as new, or newer.
 * *reason, in CurrentMemoryContext, is NULL as long as nothing is in the way.
 */
extern TimestampTz mdb_sources_complete(List *tables, TimestampTz now, const char **reason);

#endif /* MDB_COMPLETE_H */
