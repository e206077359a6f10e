/*
 * sketch.h
 *	  Sketches of quantiles: how many values lie in each bucket of a logarithmic scale.
 *
 * Buckets are those of OpenTelemetry's exponential histograms: at scale s the base is 2^(2^-s), and
 * bucket i has the values in (base^i, base^(i+1)].  Values below zero have buckets of their own, by
 * magnitude.  A side has at most max_buckets of them; where its values span more, the scale is lowered
 * by the least that will do, for both sides, which unites neighbours.
 *
 * Which buckets there are depends on nothing but the lowest and highest value of a side, and counts are
 * sums: so the same values make the same sketch in any order and by any tree of merges, to the byte.
 *
 * Plain C, no PostgreSQL.  Reading survives any bytes.
 */
#ifndef MDB_SKETCH_H
#define MDB_SKETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MDB_SKETCH_VERSION         1
#define MDB_SKETCH_SCALE_MIN       (-10)
#define MDB_SKETCH_SCALE_MAX       20
#define MDB_SKETCH_BUCKETS_MIN     8
#define MDB_SKETCH_BUCKETS_DEFAULT 160
#define MDB_SKETCH_BUCKETS_MAX     16384
#define MDB_SKETCH_RAW             64 /* so many values are kept as they are, before there are buckets */

/* Buckets first to first + n - 1; those at both ends are not empty. */
typedef struct MdbSketchSide
{
	int32_t first;
	uint32_t n;
	uint32_t room;
	void *counts; /* of the sketch's width */
} MdbSketchSide;

typedef struct MdbSketch
{
	/* Makes room: of size bytes, with what was at old, which was of old_size and may be NULL.  Never fails. */
	void *(*grow)(void *arg, void *old, size_t old_size, size_t size);
	void *arg;

	int scale;
	int width; /* bytes of a count: 2, 4 or 8, as the total needs */
	uint32_t max_buckets;
	uint64_t total; /* all values but NaN */
	uint64_t nan;
	uint64_t neg_inf;
	uint64_t pos_inf;
	uint64_t zero;
	double min; /* of the total, if there is any */
	double max;
	MdbSketchSide pos;
	MdbSketchSide neg;

	double *raw; /* counted in total, but not yet in buckets */
	uint32_t nraw;
	uint32_t raw_room;
} MdbSketch;

/* A bucket, the zeros, or the infinities of a sign: between its bounds there are count values. */
typedef struct MdbSketchStep
{
	double lower; /* the lowest and the highest value that it might have */
	double upper;
	double middle; /* differs from each of them by the sketch's error, relatively, at most */
	uint64_t count;
} MdbSketchStep;

typedef struct MdbSketchWalk
{
	const MdbSketch *s;
	int phase;
	uint32_t at;
} MdbSketchWalk;

/* How many values are in bucket first + i of a side. */
static inline uint64_t
mdb_sketch_count(const MdbSketch *s, const MdbSketchSide *side, uint32_t i)
{
	if (s->width == 2)
		return ((const uint16_t *) side->counts)[i];
	if (s->width == 4)
		return ((const uint32_t *) side->counts)[i];
	return ((const uint64_t *) side->counts)[i];
}

static inline void
mdb_sketch_set_count(const MdbSketch *s, MdbSketchSide *side, uint32_t i, uint64_t count)
{
	if (s->width == 2)
		((uint16_t *) side->counts)[i] = (uint16_t) count;
	else if (s->width == 4)
		((uint32_t *) side->counts)[i] = (uint32_t) count;
	else
		((uint64_t *) side->counts)[i] = count;
}

/* ---- making ---- */
extern void mdb_sketch_init(MdbSketch *s, int scale, uint32_t max_buckets);
extern void mdb_sketch_clear(MdbSketch *s, int scale, uint32_t max_buckets);
extern bool mdb_sketch_add(MdbSketch *s, double value, uint64_t count);
extern bool mdb_sketch_add_run(MdbSketch *s, const double *values, const uint8_t *valid, uint32_t n);
extern bool mdb_sketch_add_last(MdbSketch *s, const double *values, uint32_t n);
extern bool mdb_sketch_add_bucket(MdbSketch *s, bool negative, int32_t index, int scale, uint64_t count);
extern bool mdb_sketch_merge(MdbSketch *s, const MdbSketch *other);
extern void mdb_sketch_settle(MdbSketch *s);
extern void mdb_sketch_reduce(MdbSketch *s, int scale);
extern void mdb_sketch_widen(MdbSketch *s, uint64_t total);
extern size_t mdb_sketch_bytes(const MdbSketch *s);

/* ---- as bytes ---- */
extern size_t mdb_sketch_bound(const MdbSketch *s);
extern size_t mdb_sketch_write(const MdbSketch *s, uint8_t *dst);
extern bool mdb_sketch_read(MdbSketch *s, const uint8_t *p, size_t len);

/* ---- asking ---- */
extern void mdb_sketch_walk(MdbSketchWalk *w, const MdbSketch *s);
extern bool mdb_sketch_step(MdbSketchWalk *w, MdbSketchStep *step);
extern double mdb_sketch_quantile(const MdbSketch *s, double p);
extern double mdb_sketch_rank(const MdbSketch *s, double value);
extern double mdb_sketch_mean(const MdbSketch *s);

/* ---- buckets ---- */
extern int32_t mdb_sketch_index(double magnitude, int scale);
extern double mdb_sketch_lower(int32_t index, int scale);
extern double mdb_sketch_upper(int32_t index, int scale);
extern double mdb_sketch_error(int scale);
extern int mdb_sketch_scale_for(double error);
extern int32_t mdb_sketch_first_index(int scale);
extern int32_t mdb_sketch_last_index(int scale);

#endif /* MDB_SKETCH_H */
