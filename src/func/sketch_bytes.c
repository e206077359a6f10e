/*
 * sketch_bytes.c
 *	  Sketches of quantiles as bytes, which the type quantile_sketch is made of.
 *
 *		sketch = version (1) | what there is (1) | scale (1) | most buckets a side | numbers of NaN, -Infinity,
 *				 Infinity, zeros | lowest and highest value (16) | positive side | negative side
 *		side   = first bucket, zigzag | how many | items
 *		item   = 2 n: n + 1 empty buckets; or 2 n + 1: one with n + 1 values
 *
 * What is not there takes no bytes; a side begins and ends with a bucket that is not empty.  Numbers are
 * varints of the least length, doubles have their low byte first.  A sketch can be written in one way only,
 * and no other is read, so equal sketches are equal bytes.
 */
#include "func/sketch.h"

#include <float.h>
#include <math.h>
#include <string.h>

#define HAS_NAN     0x01
#define HAS_NEG_INF 0x02
#define HAS_POS_INF 0x04
#define HAS_ZERO    0x08
#define HAS_POS     0x10
#define HAS_NEG     0x20
#define HAS_BUCKETS 0x40 /* their number is not the default */
#define HAS_VALUES  (HAS_NEG_INF | HAS_POS_INF | HAS_ZERO | HAS_POS | HAS_NEG)
#define VARINT_MAX  10

static uint8_t *
put_varint(uint8_t *p, uint64_t v)
{
	while (v >= 0x80)
	{
		*p++ = (uint8_t) (v | 0x80);
		v >>= 7;
	}
	*p++ = (uint8_t) v;
	return p;
}

static bool
get_varint(const uint8_t **p, const uint8_t *end, uint64_t *v)
{
	*v = 0;
	if (*p < end && **p < 0x80)
	{
		*v = *(*p)++;
		return true;
	}
	for (int shift = 0; shift < 64 && *p < end; shift += 7)
	{
		uint8_t c = *(*p)++;

		if (shift == 63 && c > 1)
			return false;
		*v |= (uint64_t) (c & 0x7f) << shift;
		if (c < 0x80)
			return c != 0 || shift == 0;
	}
	return false;
}

static uint8_t *
put_double(uint8_t *p, double d)
{
	uint64_t bits;

	memcpy(&bits, &d, sizeof(bits));
	for (int i = 0; i < 8; i++)
		*p++ = (uint8_t) (bits >> (8 * i));
	return p;
}

static bool
get_double(const uint8_t **p, const uint8_t *end, double *d)
{
	uint64_t bits = 0;

	if (end - *p < 8)
		return false;
	for (int i = 0; i < 8; i++)
		bits |= (uint64_t) * (*p)++ << (8 * i);
	memcpy(d, &bits, sizeof(bits));
	return true;
}

#define USED_BITS(type)                                          \
	do                                                           \
	{                                                            \
		const type *counts = (const type *) side->counts + from; \
                                                                 \
		for (uint32_t i = 0; i < n; i++)                         \
			used |= (uint64_t) (counts[i] != 0) << i;            \
	} while (0)

/* Which of n buckets, 64 at most, are not empty. */
static uint64_t
used_bits(const MdbSketch *s, const MdbSketchSide *side, uint32_t from, uint32_t n)
{
	uint64_t used = 0;

	if (s->width == 2)
		USED_BITS(uint16_t);
	else if (s->width == 4)
		USED_BITS(uint32_t);
	else
		USED_BITS(uint64_t);
	return used;
}

static uint8_t *
put_side(uint8_t *p, const MdbSketch *s, const MdbSketchSide *side)
{
	uint32_t at = 0;

	p = put_varint(p,
				   ((uint64_t) (uint32_t) side->first << 1) ^ (side->first < 0 ? UINT64_C(0x1ffffffff) : 0));
	p = put_varint(p, side->n);
	for (uint32_t from = 0; from < side->n; from += 64)
	{
		uint64_t used = used_bits(s, side, from, side->n - from < 64 ? side->n - from : 64);

		for (; used != 0; used &= used - 1)
		{
			uint32_t i = from + (uint32_t) __builtin_ctzll(used);
			uint64_t count = mdb_sketch_count(s, side, i);

			/* Whether buckets lie side by side cannot be foreseen, so there is no branch on that. */
			if (i - at <= 64 && count <= 64)
			{
				*p = (uint8_t) ((i - at - 1) * 2);
				p += i > at;
				*p++ = (uint8_t) (count * 2 - 1);
			}
			else
			{
				if (i > at)
					p = put_varint(p, (uint64_t) (i - at - 1) * 2);
				p = put_varint(p, count * 2 - 1);
			}
			at = i + 1;
		}
	}
	return p;
}

static bool
get_side(MdbSketch *s, MdbSketchSide *side, const uint8_t **p, const uint8_t *end)
{
	uint64_t v, n;
	int64_t first;
	uint32_t at = 0;
	bool empty = true; /* the last item was, or there is none yet */

	if (!get_varint(p, end, &v) || v > UINT64_C(0x1ffffffff) || !get_varint(p, end, &n))
		return false;
	first = (int64_t) (v >> 1) ^ -(int64_t) (v & 1);
	if (n == 0 || n > s->max_buckets || first < mdb_sketch_first_index(s->scale) ||
		first + (int64_t) n - 1 > mdb_sketch_last_index(s->scale))
		return false;
	side->first = (int32_t) first;
	side->n = side->room = (uint32_t) n;
	side->counts = s->grow(s->arg, NULL, 0, (size_t) n * s->width);
	memset(side->counts, 0, (size_t) n * s->width);
	while (at < n)
	{
		uint64_t item, count;
		bool gap;

		if (!get_varint(p, end, &item))
			return false;
		gap = item % 2 == 0;
		item = item / 2 + 1;
		if ((gap & empty) | (item > n - at - gap && gap))
			return false;
		count = gap ? 0 : item;
		if (count > (uint64_t) INT64_MAX - s->total - s->nan)
			return false;
		s->total += count;
		if (s->total > UINT16_MAX)
			mdb_sketch_widen(s, s->total);
		mdb_sketch_set_count(s, side, at, count);
		at += gap ? (uint32_t) item : 1;
		empty = gap;
	}
	return true;
}

/* Is the lowest or highest value one that the buckets have? */
static bool
end_fits(const MdbSketch *s, double v, bool highest)
{
	const MdbSketchSide *side = v < 0 ? &s->neg : &s->pos;
	bool far = highest == (v > 0); /* the bucket of the greatest magnitude, not of the least */

	if (v == 0)
		return s->zero > 0 && !signbit(v);
	if (v > DBL_MAX || v < -DBL_MAX)
		return v > 0 ? s->pos_inf > 0 : s->neg_inf > 0;
	return side->n > 0 &&
		   mdb_sketch_index(fabs(v), s->scale) == side->first + (far ? (int32_t) side->n - 1 : 0);
}

/* And are there none beyond it? */
static bool
ends_fit(const MdbSketch *s)
{
	if (!(s->min <= s->max) || !end_fits(s, s->min, false) || !end_fits(s, s->max, true))
		return false;
	if ((s->neg_inf > 0 && s->min >= -DBL_MAX) || (s->neg.n > 0 && s->min >= 0) ||
		(s->zero > 0 && s->min > 0) || (s->pos.n > 0 && s->min > DBL_MAX))
		return false;
	return !((s->pos_inf > 0 && s->max <= DBL_MAX) || (s->pos.n > 0 && s->max <= 0) ||
			 (s->zero > 0 && s->max < 0) || (s->neg.n > 0 && s->max < -DBL_MAX));
}

/*
 * mdb_sketch_bound - it takes no more bytes.
 */
size_t
mdb_sketch_bound(const MdbSketch *s)
{
	size_t item = 1;

	/* Of a bucket with all values; empty ones take no more than a byte each. */
	for (uint64_t v = s->total * 2; v >= 0x80; v >>= 7)
		item++;
	return 3 + 5 * VARINT_MAX + 2 * sizeof(double) + 4 * VARINT_MAX + item * (s->pos.n + s->neg.n);
}

/*
 * mdb_sketch_write - a sketch that has settled as bytes, into room for mdb_sketch_bound(); returns how many.
 */
size_t
mdb_sketch_write(const MdbSketch *s, uint8_t *dst)
{
	uint8_t *p = dst;

	*p++ = MDB_SKETCH_VERSION;
	*p++ = (uint8_t) ((s->nan > 0 ? HAS_NAN : 0) | (s->neg_inf > 0 ? HAS_NEG_INF : 0) |
					  (s->pos_inf > 0 ? HAS_POS_INF : 0) | (s->zero > 0 ? HAS_ZERO : 0) |
					  (s->pos.n > 0 ? HAS_POS : 0) | (s->neg.n > 0 ? HAS_NEG : 0) |
					  (s->max_buckets != MDB_SKETCH_BUCKETS_DEFAULT ? HAS_BUCKETS : 0));
	*p++ = (uint8_t) (int8_t) s->scale;
	if (s->max_buckets != MDB_SKETCH_BUCKETS_DEFAULT)
		p = put_varint(p, s->max_buckets);
	if (s->nan > 0)
		p = put_varint(p, s->nan);
	if (s->neg_inf > 0)
		p = put_varint(p, s->neg_inf);
	if (s->pos_inf > 0)
		p = put_varint(p, s->pos_inf);
	if (s->zero > 0)
		p = put_varint(p, s->zero);
	if (s->total > 0)
	{
		p = put_double(p, s->min);
		p = put_double(p, s->max);
	}
	if (s->pos.n > 0)
		p = put_side(p, s, &s->pos);
	if (s->neg.n > 0)
		p = put_side(p, s, &s->neg);
	return (size_t) (p - dst);
}

/* A number that is there if its flag is, and then not 0. */
static bool
get_number(const uint8_t **p, const uint8_t *end, bool there, uint64_t *v)
{
	*v = 0;
	return !there || (get_varint(p, end, v) && *v > 0 && *v <= (uint64_t) INT64_MAX);
}

/*
 * mdb_sketch_read - a sketch of bytes that mdb_sketch_write() has written; of any others it is false.
 *
 * grow and arg must be set already.
 */
bool
mdb_sketch_read(MdbSketch *s, const uint8_t *p, size_t len)
{
	const uint8_t *end = p + len;
	int flags, scale;
	uint64_t max_buckets = MDB_SKETCH_BUCKETS_DEFAULT;

	if (len < 3 || p[0] != MDB_SKETCH_VERSION)
		return false;
	flags = p[1];
	scale = (int8_t) p[2];
	p += 3;
	if (flags > 0x7f || scale < MDB_SKETCH_SCALE_MIN || scale > MDB_SKETCH_SCALE_MAX)
		return false;
	if ((flags & HAS_BUCKETS) &&
		(!get_varint(&p, end, &max_buckets) || max_buckets < MDB_SKETCH_BUCKETS_MIN ||
		 max_buckets > MDB_SKETCH_BUCKETS_MAX || max_buckets == MDB_SKETCH_BUCKETS_DEFAULT))
		return false;
	mdb_sketch_init(s, scale, (uint32_t) max_buckets);
	if (!get_number(&p, end, flags & HAS_NAN, &s->nan) ||
		!get_number(&p, end, flags & HAS_NEG_INF, &s->neg_inf) ||
		!get_number(&p, end, flags & HAS_POS_INF, &s->pos_inf) ||
		!get_number(&p, end, flags & HAS_ZERO, &s->zero))
		return false;
	if (s->neg_inf > INT64_MAX - s->nan)
		return false;
	s->total = s->neg_inf;
	if (s->pos_inf > INT64_MAX - s->nan - s->total)
		return false;
	s->total += s->pos_inf;
	if (s->zero > INT64_MAX - s->nan - s->total)
		return false;
	s->total += s->zero;
	mdb_sketch_widen(s, s->total);
	if ((flags & HAS_VALUES) && (!get_double(&p, end, &s->min) || !get_double(&p, end, &s->max)))
		return false;
	if (((flags & HAS_POS) && !get_side(s, &s->pos, &p, end)) ||
		((flags & HAS_NEG) && !get_side(s, &s->neg, &p, end)))
		return false;
	return p == end && (s->total == 0 || ends_fit(s));
}
