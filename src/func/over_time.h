/*
 * over_time.h
 *	  Samples, and the aggregates of their values that Prometheus has: what exec/ needs of them.
 */
#ifndef MDB_OVER_TIME_H
#define MDB_OVER_TIME_H

/* A series that has ended gets this NaN from Prometheus: it is no sample. */
#define MDB_STALE UINT64CONST(0x7ff0000000000002)

static inline bool
mdb_is_stale(double v)
{
	union
	{
		double d;
		uint64 bits;
	} u = {.d = v};

	return unlikely(u.bits == MDB_STALE);
}

/* What is kept of values for all aggregates but quantiles; zeros for none. */
typedef struct MdbMoments
{
	int64 n;
	double sum, sum_lost; /* and what rounding took from it */
	double mean, squares; /* sum of squares of deviations from it */
	double min, max;      /* NaN only if all are */
} MdbMoments;

typedef enum MdbMoment
{
	MDB_MOMENT_AVG,
	MDB_MOMENT_SUM,
	MDB_MOMENT_COUNT,
	MDB_MOMENT_MIN,
	MDB_MOMENT_MAX,
	MDB_MOMENT_STDVAR,
	MDB_MOMENT_STDDEV,
	MDB_MOMENT_PRESENT
} MdbMoment;

extern void mdb_moments_add(MdbMoments *m, double v);
extern void mdb_moments_merge(MdbMoments *m, const MdbMoments *other);
extern Datum mdb_moments_result(const MdbMoments *m, MdbMoment which);
extern bytea *mdb_moments_serialize(const MdbMoments *m);

/* All values, for quantiles. */
typedef struct MdbValues
{
	int64 n;
	int64 room;
	double *v;
} MdbValues;

extern double mdb_values_quantile(const MdbValues *values, double q);
extern double mdb_values_mad(const MdbValues *values);
extern bytea *mdb_values_serialize(const MdbValues *values, double q);

#endif /* MDB_OVER_TIME_H */
