/*
 * counter.h
 *	  Samples of a counter or gauge, and what is told of them: what the files of func/ and exec/ share.
 */
#ifndef MDB_COUNTER_H
#define MDB_COUNTER_H

#include <math.h>

#include "datatype/timestamp.h"
#include "fmgr.h"

#include "func/over_time.h"

typedef struct MdbSample
{
	int64 time;
	double value;
} MdbSample;

/*
 * A summary of samples at times that rise.  All that is told of a counter or gauge is told of this, so it does not
 * matter whether it was made sample by sample or of summaries of stretches of time that do not interleave.
 *
 * The regression is that of values over seconds from the first sample.  For a counter each value has what was
 * counted before resets added to it.  The latter part is not kept by all: see exec/agg_counter.c.
 */
typedef struct MdbCounter
{
	int64 n;
	MdbSample first, last;
	int64 resets;     /* values that are less than the one before */
	int64 changes;    /* values that differ from the one before */
	double reset_sum; /* of the values before resets */
	MdbSample second, penultimate;
	/* from here on only where the regression is wanted */
	double mean_time, mean_value;
	double time_squares, value_squares, products; /* sums of those of deviations */
} MdbCounter;

#define MDB_COUNTER_NO_REGRESSION offsetof(MdbCounter, mean_time)

/* What a summary is of, and how much of it is wanted. */
typedef enum MdbCounterMode
{
	MDB_ENDS,   /* no regression */
	MDB_GAUGE,  /* of values as they are */
	MDB_COUNTER /* of values with what was counted before resets */
} MdbCounterMode;

/* All samples, in any order. */
typedef struct MdbSamples
{
	int64 n;
	int64 room;
	MdbSample *s;
	bool rising; /* in order, and no two at the same time */
} MdbSamples;

/* What is asked for. */
typedef enum MdbCounterWhat
{
	MDB_RATE,
	MDB_INCREASE,
	MDB_DELTA,
	MDB_IRATE,
	MDB_IDELTA,
	MDB_RESETS,
	MDB_CHANGES,
	MDB_DERIV,
	MDB_PREDICT,
	MDB_LAST
} MdbCounterWhat;

/* The arguments beside time and value. */
typedef struct MdbCounterArgs
{
	bool has_width;
	bool has_range;
	bool has_at;
	Interval width;
	int64 start, end;
	double ahead; /* seconds */
	int64 at;
} MdbCounterArgs;

extern double mdb_seconds_between(int64 from, int64 to);
extern void mdb_counter_add(MdbCounter *c, int64 time, double value, MdbCounterMode mode);
extern void mdb_counter_append(MdbCounter *c, const MdbCounter *later, MdbCounterMode mode);
extern double mdb_counter_extrapolate(const MdbCounter *c, bool counter, int64 start, int64 end);
extern double mdb_counter_slope(const MdbCounter *c);
extern double mdb_counter_predict(const MdbCounter *c, int64 time);
extern double mdb_counter_step(MdbSample a, MdbSample b, bool counter);
extern void mdb_counter_check_args(const MdbCounterArgs *args);
extern Datum mdb_counter_result(const MdbCounter *c, MdbCounterWhat what, const MdbCounterArgs *args,
								bool *isnull);

static inline bool
mdb_is_sample(int64 time, double value)
{
	return !TIMESTAMP_NOT_FINITE(time) && !mdb_is_stale(value);
}

extern void mdb_samples_sort(MdbSamples *samples);
extern void mdb_samples_summarise(MdbSamples *samples, MdbCounterMode mode, MdbCounter *c);

/* A sample behind others, in room that is there. */
static inline void
mdb_samples_put(MdbSamples *to, int64 time, double value)
{
	to->rising = to->n == 0 || (to->rising && time > to->s[to->n - 1].time);
	to->s[to->n++] = (MdbSample){.time = time, .value = value};
}

/* ---------- the types countersummary and gaugesummary ---------- */

#define MDB_SUMMARY_VERSION 1

typedef struct MdbSummary
{
	int32 vl_len_;
	uint8 version;
	bool counter; /* else of a gauge */
	bool bounded; /* start and end are given */
	uint8 unused;
	MdbCounter c;
	int64 start, end;
} MdbSummary;

extern MdbSummary *mdb_summary_make(const MdbCounter *c, bool counter);

#endif /* MDB_COUNTER_H */
