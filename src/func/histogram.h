/*
 * histogram.h
 *	  What a histogram counts, and where; func/histogram.c for rows, exec/agg_histogram.c for vectors.
 */
#ifndef MDB_HISTOGRAM_H
#define MDB_HISTOGRAM_H

#include <math.h>

/* So that the counts of one group are bounded. */
#define MDB_HISTOGRAM_MAX 1000000

typedef struct MdbHistogramBounds
{
	double min, max;
	int32 nbuckets;
} MdbHistogramBounds;

extern void mdb_histogram_check(const MdbHistogramBounds *b);
pg_noreturn extern void mdb_histogram_nan(void);
extern Datum mdb_histogram_array(const int64 *counts, int32 nbuckets);
extern bytea *mdb_histogram_serialize(const int64 *counts, int32 nbuckets);

/*
 * mdb_histogram_place - 0: below min; nbuckets + 1: from max on; as width_bucket() counts.  The value is not NaN.
 */
static inline int32
mdb_histogram_place(const MdbHistogramBounds *b, double v)
{
	double width = b->max - b->min;
	double share;

	if (v < b->min)
		return 0;
	if (v >= b->max)
		return b->nbuckets + 1;
	/* Halves, where the difference is beyond what there is. */
	share = isinf(width) ? (v / 2 - b->min / 2) / (b->max / 2 - b->min / 2) : (v - b->min) / width;
	share *= b->nbuckets;
	return share >= b->nbuckets ? b->nbuckets : (int32) share + 1;
}

#endif /* MDB_HISTOGRAM_H */
