/*
 * gather.h
 *	  Whoever writes rows gathers the samples that rules watch.
 */
#ifndef MDB_GATHER_H
#define MDB_GATHER_H

#include "postgres.h"

#include "alert/bytes.h"

/* Rows of metricsdb.alert_batch: at most a quarter of an hour of samples, (after, covers]. */
#define MDB_COVERS (15 * USECS_PER_MINUTE)

extern int64 mdb_covers_of(int64 time);
extern int mdb_tapped_cmp(const void *a, const void *b);

/* Samples older than the lowest of the rules' last ticks by so much, and by the longest window, interest nobody. */
#define MDB_TICKS_APART USECS_PER_HOUR

/* A column's value as a number. */
extern double mdb_number_of(Oid type, uint8 phys, int16 attlen, Datum value);

/* Columns of metricsdb.alert_batch. */
enum
{
	Anum_batch_batch_id = 1,
	Anum_batch_source,
	Anum_batch_storage_id,
	Anum_batch_xid,
	Anum_batch_covers,
	Anum_batch_states,
	Anum_batch_written_at,
	Natts_batch = Anum_batch_written_at
};

#endif /* MDB_GATHER_H */
