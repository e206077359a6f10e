/*
 * picks.c
 *	  The aggregates topk(k, value [, label]), bottomk(k, value [, label]) and lttb(time, value, resolution).
 *
 * topk and bottomk keep k values, in a heap whose first is the one that leaves next.  NaN is behind all
 * others in both, as in Prometheus; of equal values those of lower labels, by bytes, are in front, so that
 * results do not depend on the order of rows.
 *
 * lttb keeps all rows until the end: largest triangle, three buckets, of S. Steinarsson, "Downsampling Time
 * Series for Visual Representation", 2013, section 4.2.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "compat.h"
#include "func/func.h"

#define K_MAX 100000

typedef struct Pick
{
	float8 value;
	text *label; /* NULL: none */
} Pick;

typedef struct Picks
{
	int32 k;
	bool lowest; /* bottomk */
	int32 n;
	int32 room;
	Pick *picks;
} Picks;

static int
label_cmp(const text *a, const text *b)
{
	int alen, blen, c;

	if (a == NULL || b == NULL)
		return (a == NULL) - (b == NULL);
	alen = (int) VARSIZE_ANY_EXHDR(a);
	blen = (int) VARSIZE_ANY_EXHDR(b);
	c = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(alen, blen));
	return c != 0 ? c : alen - blen;
}

/* Less than 0 if a comes before b in the result. */
static int
pick_cmp(const Pick *a, const Pick *b, bool lowest)
{
	if (isnan(a->value) || isnan(b->value))
	{
		if (isnan(a->value) != isnan(b->value))
			return isnan(a->value) ? 1 : -1;
	}
	else if (a->value != b->value)
		return (a->value < b->value) == lowest ? -1 : 1;
	return label_cmp(a->label, b->label);
}

static int
pick_cmp_arg(const void *a, const void *b, void *arg)
{
	return pick_cmp(a, b, *(bool *) arg);
}

/* ---------- the heap ---------- */

static void
sift_up(Picks *p, int32 i)
{
	while (i > 0 && pick_cmp(&p->picks[i], &p->picks[(i - 1) / 2], p->lowest) > 0)
	{
		Pick parent = p->picks[(i - 1) / 2];

		p->picks[(i - 1) / 2] = p->picks[i];
		p->picks[i] = parent;
		i = (i - 1) / 2;
	}
}

static void
sift_down(Picks *p)
{
	int32 i = 0;

	for (;;)
	{
		int32 child = 2 * i + 1;
		Pick down;

		if (child >= p->n)
			return;
		if (child + 1 < p->n && pick_cmp(&p->picks[child + 1], &p->picks[child], p->lowest) > 0)
			child++;
		if (pick_cmp(&p->picks[child], &p->picks[i], p->lowest) <= 0)
			return;
		down = p->picks[i];
		p->picks[i] = p->picks[child];
		p->picks[child] = down;
		i = child;
	}
}

/* The label is copied if it is kept. */
static void
add_pick(Picks *p, float8 value, const text *label, MemoryContext mcxt)
{
	Pick pick = {.value = value, .label = unconstify(text *, label)};
	bool full = p->n == p->k;

	if (full && pick_cmp(&pick, &p->picks[0], p->lowest) >= 0)
		return;
	if (label)
	{
		pick.label = MemoryContextAlloc(mcxt, VARSIZE_ANY(label));
		memcpy(pick.label, label, VARSIZE_ANY(label));
	}
	if (full)
	{
		if (p->picks[0].label)
			pfree(p->picks[0].label);
		p->picks[0] = pick;
		sift_down(p);
		return;
	}
	if (p->n == p->room)
	{
		p->room = Min(p->k, p->room * 2);
		p->picks = repalloc(p->picks, sizeof(Pick) * p->room);
	}
	p->picks[p->n++] = pick;
	sift_up(p, p->n - 1);
}

static Picks *
new_picks(MemoryContext mcxt, int32 k, bool lowest)
{
	Picks *p = MemoryContextAlloc(mcxt, sizeof(Picks));

	p->k = k;
	p->lowest = lowest;
	p->n = 0;
	p->room = Min(k, 8);
	p->picks = MemoryContextAlloc(mcxt, sizeof(Pick) * p->room);
	return p;
}

static void
check_k(const Picks *p, int32 k)
{
	if (p->k != k)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("number of values to keep must be the same for all rows"),
						errdetail("It is %d in one and %d in another.", p->k, k)));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_topk_transition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_bottomk_transition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_picks_combine);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_picks_final);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_picks_labelled_final);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_picks_serial);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_picks_deserial);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_lttb_transition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_lttb_combine);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_lttb_final);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_lttb_serial);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_lttb_deserial);

/* (state, k, value [, label]); rows without a value do not count */
static Datum
transition(FunctionCallInfo fcinfo, bool lowest)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	Picks *p = PG_ARGISNULL(0) ? NULL : (Picks *) PG_GETARG_POINTER(0);
	int32 k;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
	{
		if (p == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(p);
	}
	k = PG_GETARG_INT32(1);
	if (p == NULL)
	{
		if (k < 1 || k > K_MAX)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("invalid number of values to keep: %d", k),
							errdetail("It must be between 1 and %d.", K_MAX)));
		p = new_picks(mcxt, k, lowest);
	}
	check_k(p, k);
	add_pick(p, PG_GETARG_FLOAT8(2), PG_NARGS() > 3 && !PG_ARGISNULL(3) ? PG_GETARG_TEXT_PP(3) : NULL, mcxt);
	PG_RETURN_POINTER(p);
}

Datum
mdb_topk_transition(PG_FUNCTION_ARGS)
{
	return transition(fcinfo, false);
}

Datum
mdb_bottomk_transition(PG_FUNCTION_ARGS)
{
	return transition(fcinfo, true);
}

Datum
mdb_picks_combine(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	Picks *a = PG_ARGISNULL(0) ? NULL : (Picks *) PG_GETARG_POINTER(0);
	Picks *b = PG_ARGISNULL(1) ? NULL : (Picks *) PG_GETARG_POINTER(1);

	if (b == NULL)
	{
		if (a == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(a);
	}
	if (a == NULL)
		a = new_picks(mcxt, b->k, b->lowest);
	check_k(a, b->k);
	for (int32 i = 0; i < b->n; i++)
		add_pick(a, b->picks[i].value, b->picks[i].label, mcxt);
	PG_RETURN_POINTER(a);
}

/* In the order of the result, a copy: a window goes on with the state. */
static Pick *
sorted(const Picks *p)
{
	Pick *picks = palloc(sizeof(Pick) * p->n);
	bool lowest = p->lowest;

	memcpy(picks, p->picks, sizeof(Pick) * p->n);
	qsort_interruptible(picks, p->n, sizeof(Pick), pick_cmp_arg, &lowest);
	return picks;
}

Datum
mdb_picks_final(PG_FUNCTION_ARGS)
{
	Picks *p = PG_ARGISNULL(0) ? NULL : (Picks *) PG_GETARG_POINTER(0);
	Pick *picks;
	Datum *values;

	(void) mdb_aggregate_context(fcinfo);
	if (p == NULL)
		PG_RETURN_NULL();
	picks = sorted(p);
	values = palloc(sizeof(Datum) * p->n);
	for (int32 i = 0; i < p->n; i++)
		values[i] = Float8GetDatum(picks[i].value);
	PG_RETURN_ARRAYTYPE_P(
		construct_array(values, p->n, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* The rows of the array that the calling function returns. */
static TupleDesc
row_type(FunctionCallInfo fcinfo, Oid *type)
{
	*type = get_element_type(get_func_rettype(fcinfo->flinfo->fn_oid));
	return lookup_rowtype_tupdesc_copy(*type, -1);
}

Datum
mdb_picks_labelled_final(PG_FUNCTION_ARGS)
{
	Picks *p = PG_ARGISNULL(0) ? NULL : (Picks *) PG_GETARG_POINTER(0);
	Pick *picks;
	Datum *rows;
	Oid type;
	TupleDesc desc;

	(void) mdb_aggregate_context(fcinfo);
	if (p == NULL)
		PG_RETURN_NULL();
	picks = sorted(p);
	rows = palloc(sizeof(Datum) * p->n);
	desc = row_type(fcinfo, &type);
	for (int32 i = 0; i < p->n; i++)
	{
		Datum values[2] = {Float8GetDatum(picks[i].value), PointerGetDatum(picks[i].label)};
		bool nulls[2] = {false, picks[i].label == NULL};

		rows[i] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(rows, p->n, type, -1, false, TYPALIGN_DOUBLE));
}

/* k, which end, then values and labels */
Datum
mdb_picks_serial(PG_FUNCTION_ARGS)
{
	Picks *p = (Picks *) PG_GETARG_POINTER(0);
	StringInfoData buf;

	(void) mdb_aggregate_context(fcinfo);
	pq_begintypsend(&buf);
	pq_sendint32(&buf, p->k);
	pq_sendint8(&buf, p->lowest);
	for (int32 i = 0; i < p->n; i++)
	{
		const text *label = p->picks[i].label;

		pq_sendfloat8(&buf, p->picks[i].value);
		pq_sendint32(&buf, label ? (uint32) VARSIZE_ANY_EXHDR(label) : PG_UINT32_MAX);
		if (label)
			pq_sendbytes(&buf, VARDATA_ANY(label), (int) VARSIZE_ANY_EXHDR(label));
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

Datum
mdb_picks_deserial(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	bytea *bytes = PG_GETARG_BYTEA_PP(0);
	StringInfoData buf;
	Picks *p;
	int32 k;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), (int) VARSIZE_ANY_EXHDR(bytes));
	k = (int32) pq_getmsgint(&buf, 4);
	p = new_picks(mcxt, k, pq_getmsgbyte(&buf) != 0);
	while (buf.cursor < buf.len)
	{
		float8 value = pq_getmsgfloat8(&buf);
		uint32 len = pq_getmsgint(&buf, 4);
		text *label = len == PG_UINT32_MAX
						  ? NULL
						  : cstring_to_text_with_len(pq_getmsgbytes(&buf, (int) len), (int) len);

		add_pick(p, value, label, mcxt);
	}
	pfree(buf.data);
	PG_RETURN_POINTER(p);
}

/* ---------- lttb ---------- */

typedef struct Point
{
	int64 time;
	float8 value;
} Point;

typedef struct Points
{
	int32 resolution;
	int64 n;
	int64 room;
	Point *points;
} Points;

static int
point_cmp(const void *a, const void *b, void *arg)
{
	const Point *x = a, *y = b;

	if (x->time != y->time)
		return x->time < y->time ? -1 : 1;
	return x->value < y->value ? -1 : x->value > y->value;
}

static Points *
new_points(MemoryContext mcxt, int32 resolution, int64 room)
{
	Points *p = MemoryContextAlloc(mcxt, sizeof(Points));

	p->resolution = resolution;
	p->n = 0;
	p->room = room;
	p->points = MemoryContextAllocHuge(mcxt, sizeof(Point) * room);
	return p;
}

static void
add_points(Points *p, const Point *points, int64 n)
{
	if (p->n + n > p->room)
	{
		p->room = Max(p->room * 2, p->n + n);
		p->points = repalloc_huge(p->points, sizeof(Point) * p->room);
	}
	memcpy(p->points + p->n, points, sizeof(Point) * n);
	p->n += n;
}

static void
check_resolution(const Points *p, int32 resolution)
{
	if (p->resolution != resolution)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("resolution must be the same for all rows"),
				 errdetail("It is %d in one and %d in another.", p->resolution, resolution)));
}

/* (state, time, value, resolution); rows without a time or a value do not count, nor do NaN */
Datum
mdb_lttb_transition(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	Points *p = PG_ARGISNULL(0) ? NULL : (Points *) PG_GETARG_POINTER(0);
	Point point;
	int32 resolution;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3) || isnan(PG_GETARG_FLOAT8(2)))
	{
		if (p == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(p);
	}
	point.time = PG_GETARG_TIMESTAMPTZ(1);
	point.value = PG_GETARG_FLOAT8(2);
	resolution = PG_GETARG_INT32(3);
	if (p == NULL)
	{
		if (resolution < 3)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid resolution: %d", resolution),
					 errdetail("It must be 3 or more: the first point, the last, and one between them.")));
		p = new_points(mcxt, resolution, 64);
	}
	check_resolution(p, resolution);
	add_points(p, &point, 1);
	PG_RETURN_POINTER(p);
}

Datum
mdb_lttb_combine(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	Points *a = PG_ARGISNULL(0) ? NULL : (Points *) PG_GETARG_POINTER(0);
	Points *b = PG_ARGISNULL(1) ? NULL : (Points *) PG_GETARG_POINTER(1);

	if (b == NULL)
	{
		if (a == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(a);
	}
	if (a == NULL)
		a = new_points(mcxt, b->resolution, Max(64, b->n));
	check_resolution(a, b->resolution);
	add_points(a, b->points, b->n);
	PG_RETURN_POINTER(a);
}

/*
 * Keep resolution of n sorted points, more than that; returns how many.
 *
 * But for the first and the last, points are divided into as many buckets as are to be kept; of each that one
 * stays which makes the largest triangle with the one that stayed before and the mean of the bucket behind.
 */
static int64
largest_triangles(Point *points, int64 n, int32 resolution)
{
	double every = (double) (n - 2) / (resolution - 2);
	int64 kept = 1;
	Point last = points[0]; /* the one that stayed */
	double origin = (double) points[0].time;

	for (int32 i = 0; i < resolution - 2; i++)
	{
		int64 from = (int64) floor(i * every) + 1;
		int64 to = (int64) floor((i + 1) * every) + 1;
		int64 behind = Min((int64) floor((i + 2) * every) + 1, n);
		int64 pick = from;
		double time = 0, value = 0, largest = -1;

		CHECK_FOR_INTERRUPTS();
		for (int64 k = to; k < behind; k++)
		{
			time += (double) points[k].time - origin;
			value += points[k].value;
		}
		time = time / (behind - to) + origin;
		value /= behind - to;
		for (int64 k = from; k < to; k++)
		{
			double area = fabs(((double) last.time - time) * (points[k].value - last.value) -
							   ((double) last.time - (double) points[k].time) * (value - last.value));

			if (area > largest)
			{
				largest = area;
				pick = k;
			}
		}
		last = points[pick];
		points[kept++] = last;
	}
	points[kept++] = points[n - 1];
	return kept;
}

Datum
mdb_lttb_final(PG_FUNCTION_ARGS)
{
	Points *p = PG_ARGISNULL(0) ? NULL : (Points *) PG_GETARG_POINTER(0);
	Point *points;
	int64 n;
	Datum *rows;
	Oid type;
	TupleDesc desc;

	(void) mdb_aggregate_context(fcinfo);
	if (p == NULL)
		PG_RETURN_NULL();
	qsort_interruptible(p->points, p->n, sizeof(Point), point_cmp, NULL);
	n = p->n;
	points = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Point) * n);
	memcpy(points, p->points, sizeof(Point) * n);
	if (n > p->resolution)
		n = largest_triangles(points, n, p->resolution);
	rows = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * n);
	desc = row_type(fcinfo, &type);
	for (int64 i = 0; i < n; i++)
	{
		Datum values[2] = {TimestampTzGetDatum(points[i].time), Float8GetDatum(points[i].value)};
		bool nulls[2] = {false, false};

		rows[i] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(rows, (int) n, type, -1, false, TYPALIGN_DOUBLE));
}

/* The resolution, then times and values */
Datum
mdb_lttb_serial(PG_FUNCTION_ARGS)
{
	Points *p = (Points *) PG_GETARG_POINTER(0);
	StringInfoData buf;

	(void) mdb_aggregate_context(fcinfo);
	pq_begintypsend(&buf);
	pq_sendint32(&buf, p->resolution);
	for (int64 i = 0; i < p->n; i++)
	{
		pq_sendint64(&buf, p->points[i].time);
		pq_sendfloat8(&buf, p->points[i].value);
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

Datum
mdb_lttb_deserial(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	bytea *bytes = PG_GETARG_BYTEA_PP(0);
	StringInfoData buf;
	Points *p;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(bytes), (int) VARSIZE_ANY_EXHDR(bytes));
	p = new_points(mcxt, (int32) pq_getmsgint(&buf, 4), Max(64, buf.len / 16));
	while (buf.cursor < buf.len)
	{
		Point point = {.time = pq_getmsgint64(&buf)};

		point.value = pq_getmsgfloat8(&buf);
		add_points(p, &point, 1);
	}
	pfree(buf.data);
	PG_RETURN_POINTER(p);
}
