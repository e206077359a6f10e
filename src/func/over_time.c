/*
 * over_time.c
 *	  Aggregates of the values of samples, as Prometheus has them: avg_over_time(value), quantile_over_time(q,
 *	  value) and the like.
 *
 * A row whose value is NULL or the marker of a series that has ended is no sample.  Other NaN are.  Where there is
 * no sample the result is NULL.  What they are follows Prometheus 2.42: deviations are those of a population,
 * the least and greatest of values are NaN only if all are, sums are compensated.
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "utils/float.h"
#include "utils/memutils.h"

#include "compat.h"
#include "func/func.h"
#include "func/over_time.h"

/* ---------- moments ---------- */

/* Neumaier's sum. */
static void
add_to_sum(MdbMoments *m, double v)
{
	double t = m->sum + v;

	if (fabs(m->sum) >= fabs(v))
		m->sum_lost += (m->sum - t) + v;
	else
		m->sum_lost += (v - t) + m->sum;
	m->sum = t;
}

void
mdb_moments_add(MdbMoments *m, double v)
{
	double d;

	if (mdb_is_stale(v))
		return;
	m->n++;
	add_to_sum(m, v);
	d = v - m->mean;
	m->mean = m->n == 1 ? v : v / m->n + m->mean * ((double) (m->n - 1) / m->n);
	if (m->n > 1)
		m->squares += d * (v - m->mean);
	else if (!isfinite(v))
		m->squares = get_float8_nan();
	if (m->n == 1 || v < m->min || isnan(m->min))
		m->min = v;
	if (m->n == 1 || v > m->max || isnan(m->max))
		m->max = v;
}

/*
 * mdb_moments_merge - add what is kept of other values (Chan, Golub, LeVeque: updating formulae, 1979).
 */
void
mdb_moments_merge(MdbMoments *m, const MdbMoments *o)
{
	double n, d;

	if (o->n == 0)
		return;
	if (m->n == 0)
	{
		*m = *o;
		return;
	}
	n = (double) m->n + o->n;
	d = o->mean - m->mean;
	add_to_sum(m, o->sum);
	m->sum_lost += o->sum_lost;
	m->squares += o->squares + d * d * ((double) m->n * o->n / n);
	m->mean = m->mean * (m->n / n) + o->mean * (o->n / n);
	if (o->min < m->min || isnan(m->min))
		m->min = o->min;
	if (o->max > m->max || isnan(m->max))
		m->max = o->max;
	m->n += o->n;
}

/*
 * mdb_moments_result - of at least one value.
 */
Datum
mdb_moments_result(const MdbMoments *m, MdbMoment which)
{
	double sum = isinf(m->sum) || isnan(m->sum) ? m->sum : m->sum + m->sum_lost;

	switch (which)
	{
		case MDB_MOMENT_AVG:
			/* The sum may overflow where the mean does not. */
			return Float8GetDatum(isinf(sum) && isfinite(m->mean) ? m->mean : sum / m->n);
		case MDB_MOMENT_SUM:
			return Float8GetDatum(sum);
		case MDB_MOMENT_COUNT:
			return Int64GetDatum(m->n);
		case MDB_MOMENT_MIN:
			return Float8GetDatum(m->min);
		case MDB_MOMENT_MAX:
			return Float8GetDatum(m->max);
		case MDB_MOMENT_STDVAR:
			return Float8GetDatum(m->squares / m->n);
		case MDB_MOMENT_STDDEV:
			return Float8GetDatum(sqrt(m->squares / m->n));
		default:
			return Float8GetDatum(1);
	}
}

bytea *
mdb_moments_serialize(const MdbMoments *m)
{
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendint64(&buf, m->n);
	pq_sendfloat8(&buf, m->sum);
	pq_sendfloat8(&buf, m->sum_lost);
	pq_sendfloat8(&buf, m->mean);
	pq_sendfloat8(&buf, m->squares);
	pq_sendfloat8(&buf, m->min);
	pq_sendfloat8(&buf, m->max);
	return pq_endtypsend(&buf);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_over_time_transition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_over_time_combine);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_over_time_serial);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_over_time_deserial);

Datum
mdb_over_time_transition(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	MdbMoments *m = PG_ARGISNULL(0) ? NULL : (MdbMoments *) PG_GETARG_POINTER(0);

	if (!PG_ARGISNULL(1))
	{
		if (m == NULL)
			m = MemoryContextAllocZero(mcxt, sizeof(MdbMoments));
		mdb_moments_add(m, PG_GETARG_FLOAT8(1));
	}
	if (m == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(m);
}

Datum
mdb_over_time_combine(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	MdbMoments *m = PG_ARGISNULL(0) ? NULL : (MdbMoments *) PG_GETARG_POINTER(0);

	if (!PG_ARGISNULL(1))
	{
		if (m == NULL)
			m = MemoryContextAllocZero(mcxt, sizeof(MdbMoments));
		mdb_moments_merge(m, (MdbMoments *) PG_GETARG_POINTER(1));
	}
	if (m == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(m);
}

Datum
mdb_over_time_serial(PG_FUNCTION_ARGS)
{
	(void) mdb_aggregate_context(fcinfo);
	PG_RETURN_BYTEA_P(mdb_moments_serialize((MdbMoments *) PG_GETARG_POINTER(0)));
}

/* A message over the bytes of a serialised state. */
static StringInfoData
message_of(bytea *b)
{
	StringInfoData buf = {
		.data = VARDATA_ANY(b), .len = VARSIZE_ANY_EXHDR(b), .maxlen = VARSIZE_ANY_EXHDR(b), .cursor = 0};

	return buf;
}

Datum
mdb_over_time_deserial(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	StringInfoData buf = message_of(PG_GETARG_BYTEA_PP(0));
	MdbMoments *m = MemoryContextAllocZero(mcxt, sizeof(MdbMoments));

	m->n = pq_getmsgint64(&buf);
	m->sum = pq_getmsgfloat8(&buf);
	m->sum_lost = pq_getmsgfloat8(&buf);
	m->mean = pq_getmsgfloat8(&buf);
	m->squares = pq_getmsgfloat8(&buf);
	m->min = pq_getmsgfloat8(&buf);
	m->max = pq_getmsgfloat8(&buf);
	pq_getmsgend(&buf);
	PG_RETURN_POINTER(m);
}

#define MOMENT_FINAL(name, which)                                                     \
	PGDLLEXPORT PG_FUNCTION_INFO_V1(name);                                            \
	Datum name(PG_FUNCTION_ARGS)                                                      \
	{                                                                                 \
		MdbMoments *m = PG_ARGISNULL(0) ? NULL : (MdbMoments *) PG_GETARG_POINTER(0); \
                                                                                      \
		(void) mdb_aggregate_context(fcinfo);                                         \
		if (m == NULL || m->n == 0)                                                   \
			PG_RETURN_NULL();                                                         \
		return mdb_moments_result(m, which);                                          \
	}

MOMENT_FINAL(mdb_avg_over_time, MDB_MOMENT_AVG)
MOMENT_FINAL(mdb_sum_over_time, MDB_MOMENT_SUM)
MOMENT_FINAL(mdb_count_over_time, MDB_MOMENT_COUNT)
MOMENT_FINAL(mdb_min_over_time, MDB_MOMENT_MIN)
MOMENT_FINAL(mdb_max_over_time, MDB_MOMENT_MAX)
MOMENT_FINAL(mdb_stdvar_over_time, MDB_MOMENT_STDVAR)
MOMENT_FINAL(mdb_stddev_over_time, MDB_MOMENT_STDDEV)
MOMENT_FINAL(mdb_present_over_time, MDB_MOMENT_PRESENT)

/* ---------- quantiles ---------- */

/* NaN first, as Prometheus sorts them. */
static int
value_cmp(const void *a, const void *b, void *arg)
{
	double x = *(const double *) a, y = *(const double *) b;

	/* There may be millions. */
	CHECK_FOR_INTERRUPTS();
	if (isnan(x) || isnan(y))
		return isnan(y) - isnan(x);
	return x < y ? -1 : x > y;
}

static double
quantile_of_sorted(const double *v, int64 n, double q)
{
	double rank, low, weight;
	int64 i;

	if (isnan(q))
		return q;
	if (q < 0 || q > 1)
		return q < 0 ? -get_float8_infinity() : get_float8_infinity();
	rank = q * (double) (n - 1);
	low = floor(rank);
	weight = rank - low;
	i = (int64) low;
	return v[i] * (1 - weight) + v[Min(i + 1, n - 1)] * weight;
}

static double *
sorted_copy(const MdbValues *values)
{
	double *v = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(double) * values->n);

	memcpy(v, values->v, sizeof(double) * values->n);
	qsort_interruptible(v, values->n, sizeof(double), value_cmp, NULL);
	return v;
}

/*
 * mdb_values_quantile - of at least one value.
 */
double
mdb_values_quantile(const MdbValues *values, double q)
{
	double *v = sorted_copy(values);
	double result = quantile_of_sorted(v, values->n, q);

	pfree(v);
	return result;
}

/*
 * mdb_values_mad - the median of values' distances from their median.
 */
double
mdb_values_mad(const MdbValues *values)
{
	double *v = sorted_copy(values);
	double median = quantile_of_sorted(v, values->n, 0.5);
	double result;

	for (int64 i = 0; i < values->n; i++)
		v[i] = fabs(v[i] - median);
	qsort_interruptible(v, values->n, sizeof(double), value_cmp, NULL);
	result = quantile_of_sorted(v, values->n, 0.5);
	pfree(v);
	return result;
}

bytea *
mdb_values_serialize(const MdbValues *values, double q)
{
	Size size = VARHDRSZ + sizeof(double) * (values->n + 1);
	bytea *b;
	char *p;

	if (!AllocSizeIsValid(size))
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many values for a quantile"),
						errdetail("A worker has %lld values of one group.", (long long) values->n),
						errhint("Set max_parallel_workers_per_gather to 0, or make smaller groups.")));
	b = palloc(size);
	SET_VARSIZE(b, size);
	p = VARDATA(b);
	memcpy(p, &q, sizeof(q));
	memcpy(p + sizeof(q), values->v, sizeof(double) * values->n);
	return b;
}

typedef struct QuantileState
{
	MdbValues values;
	double q;
} QuantileState;

static QuantileState *
new_quantile(MemoryContext mcxt, double q)
{
	QuantileState *s = MemoryContextAllocZero(mcxt, sizeof(QuantileState));

	s->q = q;
	return s;
}

static void
add_values(QuantileState *s, MemoryContext mcxt, const double *v, int64 n)
{
	MdbValues *to = &s->values;

	if (to->n + n > to->room)
	{
		to->room = Max(Max(16, to->room * 2), to->n + n);
		to->v = to->v ? repalloc_huge(to->v, sizeof(double) * to->room)
					  : MemoryContextAllocHuge(mcxt, sizeof(double) * to->room);
	}
	memcpy(to->v + to->n, v, sizeof(double) * n);
	to->n += n;
}

static void
check_same_quantile(double a, double b)
{
	if (a != b && !(isnan(a) && isnan(b)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("quantile differs among rows of a group"),
				 errdetail("It is %g, and %g in another row.", a, b),
				 errhint("Group by the quantile, or call the aggregate once for each.")));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_quantile_transition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_mad_transition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_quantile_combine);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_quantile_serial);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_quantile_deserial);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_quantile_over_time);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_mad_over_time);

static Datum
take_value(FunctionCallInfo fcinfo, double q, int arg)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	QuantileState *s = PG_ARGISNULL(0) ? NULL : (QuantileState *) PG_GETARG_POINTER(0);
	double v = PG_ARGISNULL(arg) ? 0 : PG_GETARG_FLOAT8(arg);

	if (!PG_ARGISNULL(arg) && !mdb_is_stale(v))
	{
		if (s == NULL)
			s = new_quantile(mcxt, q);
		check_same_quantile(s->q, q);
		add_values(s, mcxt, &v, 1);
	}
	if (s == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(s);
}

/* (state, q, value): a row without q is no sample */
Datum
mdb_quantile_transition(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	return take_value(fcinfo, PG_GETARG_FLOAT8(1), 2);
}

Datum
mdb_mad_transition(PG_FUNCTION_ARGS)
{
	return take_value(fcinfo, 0.5, 1);
}

Datum
mdb_quantile_combine(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	QuantileState *a = PG_ARGISNULL(0) ? NULL : (QuantileState *) PG_GETARG_POINTER(0);
	QuantileState *b = PG_ARGISNULL(1) ? NULL : (QuantileState *) PG_GETARG_POINTER(1);

	if (b)
	{
		if (a == NULL)
			a = new_quantile(mcxt, b->q);
		check_same_quantile(a->q, b->q);
		add_values(a, mcxt, b->values.v, b->values.n);
	}
	if (a == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(a);
}

Datum
mdb_quantile_serial(PG_FUNCTION_ARGS)
{
	QuantileState *s = (QuantileState *) PG_GETARG_POINTER(0);

	(void) mdb_aggregate_context(fcinfo);
	PG_RETURN_BYTEA_P(mdb_values_serialize(&s->values, s->q));
}

Datum
mdb_quantile_deserial(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	bytea *b = PG_GETARG_BYTEA_PP(0);
	int64 n = VARSIZE_ANY_EXHDR(b) / sizeof(double) - 1;
	double q;
	QuantileState *s;

	memcpy(&q, VARDATA_ANY(b), sizeof(q));
	s = new_quantile(mcxt, q);
	s->values.n = s->values.room = n;
	s->values.v = MemoryContextAllocHuge(mcxt, sizeof(double) * n);
	memcpy(s->values.v, VARDATA_ANY(b) + sizeof(q), sizeof(double) * n);
	PG_RETURN_POINTER(s);
}

static Datum
finish_quantile(FunctionCallInfo fcinfo, bool mad)
{
	QuantileState *s = PG_ARGISNULL(0) ? NULL : (QuantileState *) PG_GETARG_POINTER(0);

	(void) mdb_aggregate_context(fcinfo);
	if (s == NULL)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(mad ? mdb_values_mad(&s->values) : mdb_values_quantile(&s->values, s->q));
}

Datum
mdb_quantile_over_time(PG_FUNCTION_ARGS)
{
	return finish_quantile(fcinfo, false);
}

Datum
mdb_mad_over_time(PG_FUNCTION_ARGS)
{
	return finish_quantile(fcinfo, true);
}
