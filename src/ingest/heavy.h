/*
 * heavy.h
 *	  Which metrics most points of a partition are of: a few counters, of samples.
 */
#ifndef MDB_HEAVY_H
#define MDB_HEAVY_H

#include "ingest/proto.h"

#define MDB_HEAVY_METRICS 8
#define MDB_HEAVY_NAME    63 /* bytes of a name that are kept */

typedef struct MdbHeavy
{
	double total;
	struct MdbHeavyMetric
	{
		double points; /* 0 = free */
		uint8_t len;
		char name[MDB_HEAVY_NAME];
	} metrics[MDB_HEAVY_METRICS];
} MdbHeavy;

/* mdb_heavy_add - so many points are of that metric, or likely so. */
extern void mdb_heavy_add(MdbHeavy *heavy, MdbProtoBytes name, double points);

/* mdb_heavy_top - the metric that has most, and its part of all, 0 to 1; NULL = none is known. */
extern const struct MdbHeavyMetric *mdb_heavy_top(const MdbHeavy *heavy, double *part);

#endif /* MDB_HEAVY_H */
