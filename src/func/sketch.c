/*
 * sketch.c
 *	  Sketches of quantiles: adding values, merging, asking.
 *
 * NaN are counted and nothing else.  Infinities are values like others, but for their buckets.  A few
 * values are kept as they are: the range of all of them is known before there is a bucket.
 */
#include "func/sketch.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define MAX_TOTAL ((uint64_t) INT64_MAX)

/*
 * mdb_sketch_init - a sketch of nothing.  grow and arg must be set already.
 */
void
mdb_sketch_init(MdbSketch *s, int scale, uint32_t max_buckets)
{
	MdbSketch empty = {.grow = s->grow, .arg = s->arg};

	*s = empty;
	s->scale = scale;
	s->width = 2;
	s->max_buckets = max_buckets;
}

/*
 * mdb_sketch_clear - make it one of nothing again, which keeps its room.
 */
void
mdb_sketch_clear(MdbSketch *s, int scale, uint32_t max_buckets)
{
	MdbSketch was = *s;

	mdb_sketch_init(s, scale, max_buckets);
	s->pos.room = was.pos.room;
	s->pos.counts = was.pos.counts;
	s->neg.room = was.neg.room;
	s->neg.counts = was.neg.counts;
	s->raw = was.raw;
	s->raw_room = was.raw_room;
}

/*
 * mdb_sketch_bytes - what it has asked for.
 */
size_t
mdb_sketch_bytes(const MdbSketch *s)
{
	return (size_t) s->width * (s->pos.room + s->neg.room) + sizeof(double) * s->raw_room;
}

/* ---- room, scale, width ---- */

/*
 * mdb_sketch_widen - make counts wide enough for a total: no bucket has more.
 */
void
mdb_sketch_widen(MdbSketch *s, uint64_t total)
{
	int was = s->width;
	int width = total <= UINT16_MAX ? 2 : total <= UINT32_MAX ? 4 : 8;
	MdbSketchSide *sides[2] = {&s->pos, &s->neg};

	if (width <= was)
		return;
	for (int k = 0; k < 2; k++)
	{
		MdbSketchSide *side = sides[k];

		if (side->room == 0)
			continue;
		side->counts = s->grow(s->arg, side->counts, (size_t) was * side->room, (size_t) width * side->room);
		for (uint32_t i = side->n; i-- > 0;)
		{
			uint64_t count;

			s->width = was;
			count = mdb_sketch_count(s, side, i);
			s->width = width;
			mdb_sketch_set_count(s, side, i, count);
		}
	}
	s->width = width;
}

static void
reduce_side(MdbSketch *s, MdbSketchSide *side, int by)
{
	int32_t first = side->first >> by;
	uint32_t n = 0;

	for (uint32_t i = 0; i < side->n; i++)
	{
		uint32_t to = (uint32_t) (((side->first + (int32_t) i) >> by) - first);
		uint64_t count = mdb_sketch_count(s, side, i);

		if (to == n)
		{
			mdb_sketch_set_count(s, side, to, count);
			n++;
		}
		else
			mdb_sketch_set_count(s, side, to, mdb_sketch_count(s, side, to) + count);
	}
	side->first = first;
	side->n = n;
}

/*
 * mdb_sketch_reduce - lower the scale, if it is higher than that.
 */
void
mdb_sketch_reduce(MdbSketch *s, int scale)
{
	int by = s->scale - scale;

	if (by <= 0)
		return;
	reduce_side(s, &s->pos, by);
	reduce_side(s, &s->neg, by);
	s->scale = scale;
}

/* What a side spans, and what is to come to it. */
typedef struct Span
{
	bool set;
	int32_t lo;
	int32_t hi;
} Span;

static void
span_add(Span *span, int32_t lo, int32_t hi)
{
	if (!span->set || lo < span->lo)
		span->lo = lo;
	if (!span->set || hi > span->hi)
		span->hi = hi;
	span->set = true;
}

static void
make_room(MdbSketch *s, MdbSketchSide *side, const Span *span)
{
	uint32_t n = (uint32_t) (span->hi - span->lo) + 1;
	uint32_t before = side->n > 0 ? (uint32_t) (side->first - span->lo) : 0;

	if (n > side->room)
	{
		uint32_t room = side->room < 8 ? 8 : side->room * 2;

		while (room < n)
			room *= 2;
		if (room > s->max_buckets)
			room = s->max_buckets;
		side->counts =
			s->grow(s->arg, side->counts, (size_t) s->width * side->room, (size_t) s->width * room);
		side->room = room;
	}
	if (before > 0)
		memmove((char *) side->counts + (size_t) before * s->width, side->counts,
				(size_t) side->n * s->width);
	memset(side->counts, 0, (size_t) before * s->width);
	memset((char *) side->counts + (size_t) (before + side->n) * s->width, 0,
		   (size_t) (n - before - side->n) * s->width);
	side->first = span->lo;
	side->n = n;
}

/*
 * Have both sides reach over what is to come, whose buckets are told at the present scale, and lower the
 * scale as far as that needs.  Returns by how much.
 */
static int
fit(MdbSketch *s, Span pos, Span neg)
{
	Span *spans[2] = {&pos, &neg};
	MdbSketchSide *sides[2] = {&s->pos, &s->neg};
	int by = 0;

	for (int k = 0; k < 2; k++)
	{
		if (!spans[k]->set)
			continue;
		if (sides[k]->n > 0)
			span_add(spans[k], sides[k]->first, sides[k]->first + (int32_t) sides[k]->n - 1);
		while ((int64_t) (spans[k]->hi >> by) - (spans[k]->lo >> by) >= s->max_buckets)
			by++;
	}
	mdb_sketch_reduce(s, s->scale - by);
	for (int k = 0; k < 2; k++)
	{
		if (!spans[k]->set)
			continue;
		spans[k]->lo >>= by;
		spans[k]->hi >>= by;
		if (sides[k]->n == 0 || spans[k]->lo != sides[k]->first ||
			spans[k]->hi - spans[k]->lo + 1 != (int32_t) sides[k]->n)
			make_room(s, sides[k], spans[k]);
	}
	return by;
}

/* ---- adding ---- */

static void
take_range(MdbSketch *s, double lo, double hi)
{
	if (s->total == 0 || lo < s->min)
		s->min = lo;
	if (s->total == 0 || hi > s->max)
		s->max = hi;
}

/* Is there room for so many more? */
static bool
countable(const MdbSketch *s, uint64_t count)
{
	return count <= MAX_TOTAL && s->total + s->nan <= MAX_TOTAL - count;
}

#define COUNT_RUN(type)                                               \
	do                                                                \
	{                                                                 \
		type *pos = s->pos.counts, *neg = s->neg.counts;              \
                                                                      \
		for (uint32_t i = 0; i < n; i++)                              \
		{                                                             \
			double v = values[i];                                     \
                                                                      \
			if (valid && !valid[i])                                   \
				continue;                                             \
			if (v > 0 && v <= DBL_MAX)                                \
				pos[mdb_sketch_index(v, s->scale) - s->pos.first]++;  \
			else if (v < 0 && v >= -DBL_MAX)                          \
				neg[mdb_sketch_index(-v, s->scale) - s->neg.first]++; \
		}                                                             \
	} while (0)

/* Put values into buckets; total, minimum and maximum are not its business. */
static void
bucket_run(MdbSketch *s, const double *values, const uint8_t *valid, uint32_t n)
{
	double pos_lo = DBL_MAX, pos_hi = 0, neg_lo = DBL_MAX, neg_hi = 0;
	Span pos = {0}, neg = {0};

	for (uint32_t i = 0; i < n; i++)
	{
		double v = values[i];

		if (valid && !valid[i])
			continue;
		if (v > 0 && v <= DBL_MAX)
		{
			pos_lo = v < pos_lo ? v : pos_lo;
			pos_hi = v > pos_hi ? v : pos_hi;
		}
		else if (v < 0 && v >= -DBL_MAX)
		{
			neg_lo = -v < neg_lo ? -v : neg_lo;
			neg_hi = -v > neg_hi ? -v : neg_hi;
		}
		else if (v == 0)
			s->zero++;
		else if (v > 0)
			s->pos_inf++;
		else if (v < 0)
			s->neg_inf++;
	}
	if (pos_hi > 0)
		span_add(&pos, mdb_sketch_index(pos_lo, s->scale), mdb_sketch_index(pos_hi, s->scale));
	if (neg_hi > 0)
		span_add(&neg, mdb_sketch_index(neg_lo, s->scale), mdb_sketch_index(neg_hi, s->scale));
	fit(s, pos, neg);
	if (s->width == 2)
		COUNT_RUN(uint16_t);
	else if (s->width == 4)
		COUNT_RUN(uint32_t);
	else
		COUNT_RUN(uint64_t);
}

/*
 * mdb_sketch_settle - have all values in buckets.
 */
void
mdb_sketch_settle(MdbSketch *s)
{
	uint32_t n = s->nraw;

	s->nraw = 0;
	if (n > 0)
		bucket_run(s, s->raw, NULL, n);
}

/* A few values are kept as they are, if that is wanted. */
static bool
add_run(MdbSketch *s, const double *values, const uint8_t *valid, uint32_t n, bool keep)
{
	double lo = INFINITY, hi = -INFINITY;
	uint64_t nnan = 0, count = 0;

	if (!countable(s, n))
		return false;
	for (uint32_t i = 0; i < n; i++)
	{
		double v = values[i];

		if (valid && !valid[i])
			continue;
		if (v != v)
		{
			nnan++;
			continue;
		}
		count++;
		lo = v < lo ? v : lo;
		hi = v > hi ? v : hi;
	}
	s->nan += nnan;
	if (count == 0)
		return true;
	take_range(s, lo + 0.0, hi + 0.0); /* no -0 */
	mdb_sketch_widen(s, s->total + count);
	if (keep && s->total == s->nraw && s->nraw + count <= MDB_SKETCH_RAW)
	{
		if (s->nraw + count > s->raw_room)
		{
			uint32_t room = s->raw_room == 0 ? 4 : s->raw_room;

			while (room < s->nraw + count)
				room *= 2;
			s->raw = s->grow(s->arg, s->raw, s->raw_room * sizeof(double), room * sizeof(double));
			s->raw_room = room;
		}
		for (uint32_t i = 0; i < n; i++)
			if ((!valid || valid[i]) && values[i] == values[i])
				s->raw[s->nraw++] = values[i];
	}
	else
	{
		mdb_sketch_settle(s);
		bucket_run(s, values, valid, n);
	}
	s->total += count;
	return true;
}

/*
 * mdb_sketch_add_run - add those of n values that are valid; valid is NULL where all are.
 *
 * False, and nothing was added, if there would be more than a bigint can count.
 */
bool
mdb_sketch_add_run(MdbSketch *s, const double *values, const uint8_t *valid, uint32_t n)
{
	return add_run(s, values, valid, n, true);
}

/*
 * mdb_sketch_add_last - add values that no others are likely to follow.
 */
bool
mdb_sketch_add_last(MdbSketch *s, const double *values, uint32_t n)
{
	return add_run(s, values, NULL, n, false);
}

static void
add_to_side(MdbSketch *s, bool negative, int32_t index, uint64_t count)
{
	MdbSketchSide *side = negative ? &s->neg : &s->pos;
	Span span = {0}, none = {0};
	uint32_t at;

	span_add(&span, index, index);
	index >>= fit(s, negative ? none : span, negative ? span : none);
	at = (uint32_t) (index - side->first);
	mdb_sketch_set_count(s, side, at, mdb_sketch_count(s, side, at) + count);
}

/*
 * mdb_sketch_add - add a value, count times.  False, and nothing was added, if there would be too many.
 */
bool
mdb_sketch_add(MdbSketch *s, double value, uint64_t count)
{
	if (count == 1)
		return mdb_sketch_add_run(s, &value, NULL, 1);
	if (!countable(s, count))
		return false;
	if (count == 0)
		return true;
	if (value != value)
	{
		s->nan += count;
		return true;
	}
	mdb_sketch_settle(s);
	mdb_sketch_widen(s, s->total + count);
	take_range(s, value + 0.0, value + 0.0);
	s->total += count;
	if (value == 0)
		s->zero += count;
	else if (value > DBL_MAX)
		s->pos_inf += count;
	else if (value < -DBL_MAX)
		s->neg_inf += count;
	else
		add_to_side(s, value < 0, mdb_sketch_index(fabs(value), s->scale), count);
	return true;
}

/*
 * mdb_sketch_add_bucket - add count values of which no more is known than their bucket, at a scale that is
 * not lower than the sketch's.
 *
 * As if one of them were the lowest double of it, another the highest.  The index must be between
 * mdb_sketch_first_index() and mdb_sketch_last_index().  False if there would be too many.
 */
bool
mdb_sketch_add_bucket(MdbSketch *s, bool negative, int32_t index, int scale, uint64_t count)
{
	double lo = mdb_sketch_lower(index, scale);
	double hi = mdb_sketch_upper(index, scale);

	if (!countable(s, count))
		return false;
	if (count == 0)
		return true;
	if (lo > hi) /* among the very smallest numbers a bucket may have none */
		lo = hi;
	mdb_sketch_settle(s);
	mdb_sketch_widen(s, s->total + count);
	take_range(s, negative ? -hi : lo, negative ? -lo : hi);
	s->total += count;
	add_to_side(s, negative, mdb_sketch_index(hi, s->scale), count);
	return true;
}

/*
 * mdb_sketch_merge - add all that another has.  False, and nothing was added, if there would be too many.
 */
bool
mdb_sketch_merge(MdbSketch *s, const MdbSketch *other)
{
	Span spans[2] = {{0}, {0}};
	MdbSketchSide *sides[2] = {&s->pos, &s->neg};
	const MdbSketchSide *from[2] = {&other->pos, &other->neg};
	bool raw = other->total == other->nraw;

	if (!countable(s, other->total) || !countable(s, other->total + other->nan))
		return false;
	mdb_sketch_settle(s);
	if (other->max_buckets < s->max_buckets)
		s->max_buckets = other->max_buckets;
	mdb_sketch_reduce(s, other->scale);
	for (int k = 0; k < 2; k++)
		if (sides[k]->n > 0)
			span_add(&spans[k], sides[k]->first, sides[k]->first + (int32_t) sides[k]->n - 1);
	fit(s, spans[0], spans[1]); /* fewer buckets, perhaps */
	if (raw)
	{
		s->nan += other->nan;
		return mdb_sketch_add_run(s, other->raw, NULL, other->nraw);
	}
	mdb_sketch_widen(s, s->total + other->total);
	for (int k = 0; k < 2; k++)
	{
		int by = other->scale - s->scale;

		spans[k].set = from[k]->n > 0;
		spans[k].lo = from[k]->first >> by;
		spans[k].hi = (from[k]->first + (int32_t) from[k]->n - 1) >> by;
	}
	fit(s, spans[0], spans[1]);
	for (int k = 0; k < 2; k++)
		for (uint32_t i = 0; i < from[k]->n; i++)
		{
			uint64_t count = mdb_sketch_count(other, from[k], i);
			uint32_t to =
				(uint32_t) (((from[k]->first + (int32_t) i) >> (other->scale - s->scale)) - sides[k]->first);

			if (count > 0)
				mdb_sketch_set_count(s, sides[k], to, mdb_sketch_count(s, sides[k], to) + count);
		}
	if (other->total > 0)
		take_range(s, other->min, other->max);
	s->total += other->total;
	s->nan += other->nan;
	s->neg_inf += other->neg_inf;
	s->pos_inf += other->pos_inf;
	s->zero += other->zero;
	return true;
}

/* ---- asking; of a sketch that has settled ---- */

/*
 * mdb_sketch_walk, mdb_sketch_step - its buckets that are not empty, those of lower values first.
 */
void
mdb_sketch_walk(MdbSketchWalk *w, const MdbSketch *s)
{
	w->s = s;
	w->phase = 0;
	w->at = 0;
}

static void
set_bucket(MdbSketchStep *step, const MdbSketch *s, bool negative, int32_t index)
{
	double lower = mdb_sketch_lower(index, s->scale);
	double upper = mdb_sketch_upper(index, s->scale);
	double middle = lower * (2 / (1 + exp2(-ldexp(1, -s->scale))));

	middle = middle > upper ? upper : middle;
	step->lower = negative ? -upper : lower;
	step->upper = negative ? -lower : upper;
	step->middle = negative ? -middle : middle;
}

bool
mdb_sketch_step(MdbSketchWalk *w, MdbSketchStep *step)
{
	const MdbSketch *s = w->s;

	for (;;)
	{
		const MdbSketchSide *side = w->phase == 1 ? &s->neg : &s->pos;
		uint32_t i;

		if (w->phase == 1 || w->phase == 3)
		{
			if (w->at >= side->n)
			{
				w->phase++;
				w->at = 0;
				continue;
			}
			i = w->phase == 1 ? side->n - 1 - w->at : w->at;
			w->at++;
			step->count = mdb_sketch_count(s, side, i);
			if (step->count == 0)
				continue;
			set_bucket(step, s, w->phase == 1, side->first + (int32_t) i);
			return true;
		}
		switch (w->phase++)
		{
			case 0:
				step->count = s->neg_inf;
				step->middle = -INFINITY;
				break;
			case 2:
				step->count = s->zero;
				step->middle = 0;
				break;
			case 4:
				step->count = s->pos_inf;
				step->middle = INFINITY;
				break;
			default:
				return false;
		}
		step->lower = step->upper = step->middle;
		if (step->count > 0)
			return true;
	}
}

static double
within(double v, double lo, double hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

/*
 * mdb_sketch_quantile - a value that differs from the p-th quantile by the sketch's error at most.
 *
 * The quantile is the lowest value to which p of all values, in [0, 1], are equal or below: that of
 * percentile_disc().  There must be values.
 */
double
mdb_sketch_quantile(const MdbSketch *s, double p)
{
	double place = ceil(p * (double) s->total);
	uint64_t rank = place < 1 ? 1 : place >= (double) s->total ? s->total : (uint64_t) place;
	MdbSketchStep step;

	if (rank == 1)
		return s->min;
	if (rank == s->total)
		return s->max;
	if (rank <= s->neg_inf)
		return -INFINITY;
	rank -= s->neg_inf;
	for (uint32_t i = s->neg.n; i-- > 0;)
	{
		uint64_t count = mdb_sketch_count(s, &s->neg, i);

		if (rank <= count)
		{
			set_bucket(&step, s, true, s->neg.first + (int32_t) i);
			return within(step.middle, s->min, s->max);
		}
		rank -= count;
	}
	if (rank <= s->zero)
		return 0;
	rank -= s->zero;
	for (uint32_t i = 0; i < s->pos.n; i++)
	{
		uint64_t count = mdb_sketch_count(s, &s->pos, i);

		if (rank <= count)
		{
			set_bucket(&step, s, false, s->pos.first + (int32_t) i);
			return within(step.middle, s->min, s->max);
		}
		rank -= count;
	}
	return s->max;
}

/*
 * mdb_sketch_rank - the share of values, in [0, 1], that are equal to a number or below.
 *
 * Those of the number's own bucket are taken to be spread evenly.  There must be values.
 */
double
mdb_sketch_rank(const MdbSketch *s, double value)
{
	MdbSketchWalk w;
	MdbSketchStep step;
	double below = 0;

	if (value < s->min)
		return 0;
	if (value >= s->max)
		return 1;
	mdb_sketch_walk(&w, s);
	while (mdb_sketch_step(&w, &step))
	{
		double lower = within(step.lower, s->min, s->max);
		double upper = within(step.upper, s->min, s->max);

		if (value >= upper)
		{
			below += (double) step.count;
			continue;
		}
		if (value >= lower)
			below += (double) step.count * ((value - lower) / (upper - lower));
		break;
	}
	return below / (double) s->total;
}

/*
 * mdb_sketch_mean - the mean of the middles of the buckets.  There must be values.
 */
double
mdb_sketch_mean(const MdbSketch *s)
{
	MdbSketchWalk w;
	MdbSketchStep step;
	double mean = 0;

	mdb_sketch_walk(&w, s);
	while (mdb_sketch_step(&w, &step))
		mean += within(step.middle, s->min, s->max) * ((double) step.count / (double) s->total);
	return mean;
}
