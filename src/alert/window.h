/*
 * window.h
 *	  The samples of one group, or series, in a rule's window: in order of time, put together by buckets.
 */
#ifndef MDB_WINDOW_H
#define MDB_WINDOW_H

#include "postgres.h"

#include "alert/threshold.h"

/* Have the processor fetch what is needed in a moment. */
#define mdb_prefetch(p) __builtin_prefetch(p)

/* All zero: empty. */
typedef struct MdbRing
{
	char *data;
	int32 first; /* entry */
	int32 n;
	int32 room;
} MdbRing;

/* mdb_ring_prefetch - of a ring that is to be evaluated, or, if it is not whole, to be added to. */
extern void mdb_ring_prefetch(const MdbRing *ring, MdbWindowAggregate aggregate, bool whole);

/* mdb_ring_add - a sample, in the bucket that ends at end, which it includes; memory from mcxt. */
extern void mdb_ring_add(MdbRing *ring, MdbWindowAggregate aggregate, MemoryContext mcxt, int64 end,
						 int64 time, double value);

/* mdb_ring_expire - forget what is not later than a time, at which a bucket ends. */
extern void mdb_ring_expire(MdbRing *ring, MdbWindowAggregate aggregate, int64 upto);

/*
 * mdb_ring_value - the aggregate of what is in the window that ends at a time, at which a bucket ends.
 *
 * False if there is no sample.  *isnull: there are too few.
 */
extern bool mdb_ring_value(const MdbRing *ring, MdbWindowAggregate aggregate, int64 at, int64 window,
						   double *value, bool *isnull);

/* mdb_ring_newest - of the ring of MDB_WINDOW_LAST: the latest time in buckets up to one; PG_INT64_MIN if there is none. */
extern int64 mdb_ring_newest(const MdbRing *ring, int64 at);

#endif /* MDB_WINDOW_H */
