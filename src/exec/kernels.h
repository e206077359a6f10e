/*
 * kernels.h
 *	  Loops over the values of a run of rows.
 *
 * valid has a byte a row, 0 or 1: which rows count; NULL = all do.
 */
#ifndef MDB_KERNELS_H
#define MDB_KERNELS_H

/* Compiled for AVX2 and for plain x86-64, see codec_internal.h. */
#ifndef MDB_CLONES
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__) && \
	!defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(MDB_NO_CLONES)
#define MDB_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define MDB_CLONES
#endif
#endif

typedef struct MdbSumF64
{
	double sum;
	double largest; /* by magnitude, NaN aside */
} MdbSumF64;

typedef struct MdbRangeF64
{
	double min, max; /* NaN aside */
	uint32 nans;
} MdbRangeF64;

/* From each value to the next. */
typedef struct MdbSteps
{
	uint32 resets;  /* values that are less than the one before */
	uint32 changes; /* values that differ from the one before; NaN always does */
	uint32 nans;
	uint32 stuck; /* times that do not rise */
} MdbSteps;

extern uint32 mdb_count_valid(const uint8 *valid, uint32 n);
extern void mdb_sum_f64(const double *v, const uint8 *valid, uint32 n, MdbSumF64 *out);
extern double mdb_sum_squares_f64(const double *v, const uint8 *valid, uint32 n, double mean);
extern void mdb_range_f64(const double *v, const uint8 *valid, uint32 n, MdbRangeF64 *out);
extern int128 mdb_sum_int(const int64 *v, const uint8 *valid, uint32 n);
extern void mdb_range_int(const int64 *v, const uint8 *valid, uint32 n, int64 *min, int64 *max);
extern void mdb_steps(const double *v, const int64 *t, uint32 n, MdbSteps *out);
extern void mdb_widen_f32(const float *v, uint32 n, double *out);
extern uint32 mdb_and(uint8 *mask, const uint8 *other, bool negate, uint32 n);

#ifdef MDB_TESTING
extern bool mdb_kernel_fault; /* metricsdb.kernel_fault: sums leave out the last value of long runs */
#endif

#endif /* MDB_KERNELS_H */
