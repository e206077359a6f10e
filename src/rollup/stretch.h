/*
 * stretch.h
 *	  Stretches of time that expressions over the time are constant for, and which hold whole buckets of an aggregate.
 */
#ifndef MDB_STRETCH_H
#define MDB_STRETCH_H

#include "nodes/pathnodes.h"

#include "store/store.h"

/* Where an expression's value may change, in the time column's own units. */
typedef struct MdbStretch
{
	int64 day;         /* a day in these units; 0: times are integers */
	int64 size;        /* at multiples of it ... */
	int64 first;       /* ... counted from here; */
	int32 months;      /* or, if not 0, at the beginning of every so many months ... */
	int32 first_month; /* ... counted from this one, which is counted from January 2000 */
	bool zoned;        /* in local time, and where the zone's clocks change, */
	char *zone;        /* of this zone; NULL: the session's */
	int64 valid_from;  /* and so for times from here ... */
	int64 valid_to;    /* ... to here, without it */
} MdbStretch;

extern List *mdb_stretches_of(PlannerInfo *root, const MdbTable *table, Index varno, Node *expr);
extern bool mdb_stretch_covers(const MdbStretch *bucket, const MdbStretch *stretch, int64 *from, int64 *to,
							   bool *session);

#endif /* MDB_STRETCH_H */
