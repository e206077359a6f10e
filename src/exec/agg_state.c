/*
 * agg_state.c
 *	  Aggregates of MetricsAgg: what a group keeps for them, and what comes of it.
 *
 * Aggregates of the same argument share what is kept of it (MdbAggInput).  Results are those of
 * PostgreSQL's own transition and final functions, but for the order in which floats are added; partial
 * states are those that its combine functions take.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "libpq/pqformat.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "exec/agg_node.h"
#include "exec/agg_own.h"
#include "func/func.h"

/* Up to this magnitude neither sums nor sums of squares of as many values as there can be overflow. */
#define TAME 1e140

/*
 * mdb_agg_place - where in a group's state each input keeps what it needs; returns the state's size.
 *
 * The first eight bytes are the number of rows of the group.
 */
int
mdb_agg_place(MdbAggInput *inputs, int ninputs)
{
	int at = sizeof(int64);

	for (int i = 0; i < ninputs; i++)
	{
		MdbAggInput *in = &inputs[i];
		bool whole = in->vec_type == MDB_VEC_INT;

		in->off_n = at;
		at += sizeof(int64);
		if (in->needs & (MDB_NEED_SUM | MDB_NEED_AVG))
		{
			in->off_sum = at;
			at += whole ? sizeof(int128) : sizeof(double);
		}
		if ((in->needs & MDB_NEED_SQUARES) || (in->needs & MDB_NEED_AVG))
		{
			in->off_squares = at;
			at += whole ? sizeof(MdbSquares) : sizeof(double);
		}
		if (in->needs & MDB_NEED_MIN)
		{
			in->off_min = at;
			at += sizeof(int64);
		}
		if (in->needs & MDB_NEED_MAX)
		{
			in->off_max = at;
			at += sizeof(int64);
		}
		if (in->needs & MDB_NEED_TRUE)
		{
			in->off_true = at;
			at += sizeof(int64);
		}
		if (in->needs & MDB_NEED_FIRST)
		{
			in->off_first = at;
			at += sizeof(MdbEnd);
		}
		if (in->needs & MDB_NEED_LAST)
		{
			in->off_last = at;
			at += sizeof(MdbEnd);
		}
		for (MdbOwn *own = in->owns; own; own = own->next)
		{
			at = MAXALIGN(at);
			own->offset = at;
			at += own->kind->state_size;
		}
	}
	return MAXALIGN(at);
}

#define FIELD(T, state, off) (*(T *) ((state) + (off)))

/* ---------- updates ---------- */

static inline bool
row_is(const uint8 *mask, uint32 i)
{
	return mask == NULL || mask[i];
}

/* A value of a float at a time, as float8_accum and float8pl would take it. */
static void
add_float(const MdbAggInput *in, char *state, double v, int64 n)
{
	double *sum = &FIELD(double, state, in->off_sum);
	double was = *sum;

	if (in->needs & MDB_NEED_AVG)
	{
		double *squares = &FIELD(double, state, in->off_squares);

		*sum += v;
		if (n > 1)
		{
			double d = v * n - *sum;

			*squares += d * d / ((double) n * (n - 1));
			if (isinf(*sum) || isinf(*squares))
			{
				if (!isinf(was) && !isinf(v))
					float_overflow_error();
				*squares = get_float8_nan();
			}
		}
		else if (isnan(v) || isinf(v))
			*squares = get_float8_nan();
		if (isinf(*sum) && !isinf(was) && !isinf(v))
			float_overflow_error();
	}
	else
		*sum = float8_pl(was, v);
}

static void
update_floats(const MdbAggInput *in, char *state, int64 before, uint32 n, uint32 begin, uint32 end)
{
	const double *v = (const double *) in->values + begin;
	const uint8 *valid = in->valid ? in->valid + begin : NULL;
	uint32 len = end - begin;

	if (in->needs & (MDB_NEED_SUM | MDB_NEED_AVG))
	{
		MdbSumF64 s;

		mdb_sum_f64(v, valid, len, &s);
		if (!(s.largest < TAME) || isnan(s.sum))
		{
			for (uint32 i = 0; i < len; i++)
				if (row_is(valid, i))
					add_float(in, state, v[i], ++before);
			before -= n;
		}
		else
		{
			double *sum = &FIELD(double, state, in->off_sum);
			double was = *sum;

			if (in->needs & MDB_NEED_SQUARES)
			{
				double *squares = &FIELD(double, state, in->off_squares);
				double mean = s.sum / n;
				double more = mdb_sum_squares_f64(v, valid, len, mean);

				if (before > 0)
				{
					double d = was / before - mean;
					double both = *squares + more + (double) before * n * d * d / (before + n);

					if (isinf(both) && !isinf(*squares) && isfinite(was))
						float_overflow_error();
					*squares = isfinite(both) ? both : get_float8_nan();
				}
				else
					*squares = more;
			}
			*sum = was + s.sum;
			if (isinf(*sum) && !isinf(was))
				float_overflow_error();
		}
	}
	if (in->needs & (MDB_NEED_MIN | MDB_NEED_MAX))
	{
		MdbRangeF64 r;
		double min, max;

		mdb_range_f64(v, valid, len, &r);
		min = r.nans == n ? get_float8_nan() : r.min;
		max = r.nans > 0 ? get_float8_nan() : r.max;
		if ((in->needs & MDB_NEED_MIN) && (before == 0 || float8_lt(min, FIELD(double, state, in->off_min))))
			FIELD(double, state, in->off_min) = min;
		if ((in->needs & MDB_NEED_MAX) && (before == 0 || float8_gt(max, FIELD(double, state, in->off_max))))
			FIELD(double, state, in->off_max) = max;
	}
}

static inline void
add_square(MdbSquares *s, int64 v)
{
	uint64 a = v < 0 ? 0 - (uint64) v : (uint64) v;
	unsigned __int128 sum = (unsigned __int128) a * a;
	unsigned __int128 low = (unsigned __int128) s->lo + (uint64) sum;

	s->lo = (uint64) low;
	low = (unsigned __int128) s->mid + (uint64) (sum >> 64) + (uint64) (low >> 64);
	s->mid = (uint64) low;
	s->hi += (uint64) (low >> 64);
}

static void
update_ints(const MdbAggInput *in, char *state, int64 before, uint32 begin, uint32 end)
{
	const int64 *v = (const int64 *) in->values + begin;
	const uint8 *valid = in->valid ? in->valid + begin : NULL;
	uint32 len = end - begin;

	if (in->needs & MDB_NEED_SUM)
		FIELD(int128, state, in->off_sum) += mdb_sum_int(v, valid, len);
	if (in->needs & MDB_NEED_SQUARES)
	{
		MdbSquares *s = &FIELD(MdbSquares, state, in->off_squares);

		for (uint32 i = 0; i < len; i++)
			if (row_is(valid, i))
				add_square(s, v[i]);
	}
	if (in->needs & (MDB_NEED_MIN | MDB_NEED_MAX))
	{
		int64 min, max;

		mdb_range_int(v, valid, len, &min, &max);
		if ((in->needs & MDB_NEED_MIN) && (before == 0 || min < FIELD(int64, state, in->off_min)))
			FIELD(int64, state, in->off_min) = min;
		if ((in->needs & MDB_NEED_MAX) && (before == 0 || max > FIELD(int64, state, in->off_max)))
			FIELD(int64, state, in->off_max) = max;
	}
}

/*
 * mdb_agg_update_end - a row of a group with a time: is it the first or last?
 */
void
mdb_agg_update_end(const MdbAggInput *in, char *state, int64 time, int64 value, bool isnull)
{
	if (in->needs & MDB_NEED_FIRST)
	{
		MdbEnd *e = &FIELD(MdbEnd, state, in->off_first);

		if (!e->set || time < e->time)
			*e = (MdbEnd){.time = time, .value = value, .set = true, .isnull = isnull};
	}
	if (in->needs & MDB_NEED_LAST)
	{
		MdbEnd *e = &FIELD(MdbEnd, state, in->off_last);

		if (!e->set || time > e->time)
			*e = (MdbEnd){.time = time, .value = value, .set = true, .isnull = isnull};
	}
}

static inline int64
bits_of(const MdbAggInput *in, uint32 i)
{
	return in->vec_type == MDB_VEC_BOOL ? ((const uint8 *) in->values)[i] : ((const int64 *) in->values)[i];
}

/* Where there are no values at all they are NULL, as of an argument that is so for the whole scan. */
static inline bool
is_null(const MdbAggInput *in, uint32 i)
{
	return in->values == NULL || (in->nulls && in->nulls[i]);
}

static void
update_ends(const MdbAggInput *in, char *state, uint32 begin, uint32 end, const int64 *times,
			const uint8 *nulls)
{
	uint32 first = end, last = end;

	for (uint32 i = begin; i < end; i++)
	{
		if (!row_is(in->selected, i) || (nulls && nulls[i]))
			continue;
		if (first == end || times[i] < times[first])
			first = i;
		if (last == end || times[i] > times[last])
			last = i;
	}
	if (first == end)
		return;
	mdb_agg_update_end(in, state, times[first], is_null(in, first) ? 0 : bits_of(in, first),
					   is_null(in, first));
	if (last != first)
		mdb_agg_update_end(in, state, times[last], is_null(in, last) ? 0 : bits_of(in, last),
						   is_null(in, last));
}

/*
 * mdb_agg_update_run - add rows of a block, all of the same group, to its state.
 *
 * times is NULL where rows have none, or where no input needs them.
 */
void
mdb_agg_update_run(const MdbAggInput *in, char *state, uint32 begin, uint32 end, const int64 *times)
{
	int64 before = FIELD(int64, state, in->off_n);
	uint32 n;

	if (in->by_values)
		update_ends(in, state, begin, end, in->by_values, in->by_nulls);
	else if ((in->needs & MDB_NEED_TIME) && times && in->by == NULL)
		update_ends(in, state, begin, end, times, NULL);
	if (in->none)
		return;
	n = in->valid ? mdb_count_valid(in->valid + begin, end - begin) : end - begin;
	if (n == 0)
		return;
	FIELD(int64, state, in->off_n) = before + n;
	if (in->owns)
		mdb_own_add(in, state, begin, end, times);
	if ((in->needs & ~MDB_NEED_TIME) == 0)
		return;
	switch (in->vec_type)
	{
		case MDB_VEC_F64:
		case MDB_VEC_F32:
			update_floats(in, state, before, n, begin, end);
			break;
		case MDB_VEC_INT:
			update_ints(in, state, before, begin, end);
			break;
		default:
			if (in->needs & MDB_NEED_TRUE)
				for (uint32 i = begin; i < end; i++)
					FIELD(int64, state, in->off_true) +=
						row_is(in->valid, i) && ((const uint8 *) in->values)[i];
			break;
	}
}

/*
 * mdb_agg_update_datum - add one row, of the delta, that has passed the input's filter.
 */
void
mdb_agg_update_datum(const MdbAggInput *in, char *state, Datum value, bool isnull, bool has_time, int64 time)
{
	MdbAggInput one = *in;
	union
	{
		int64 i;
		double d;
		uint8 b;
	} v = {0};

	if (!isnull && in->arg)
		switch (getBaseType(in->type))
		{
			case INT2OID:
				v.i = DatumGetInt16(value);
				break;
			case INT4OID:
			case DATEOID:
				v.i = DatumGetInt32(value);
				break;
			case FLOAT4OID:
				v.d = DatumGetFloat4(value);
				break;
			case FLOAT8OID:
				v.d = DatumGetFloat8(value);
				break;
			case BOOLOID:
				v.b = DatumGetBool(value);
				break;
			default:
				v.i = in->vec_type == MDB_VEC_OTHER ? 0 : DatumGetInt64(value);
				break;
		}
	if ((in->needs & MDB_NEED_TIME) && has_time)
		mdb_agg_update_end(in, state, time, v.i, isnull);
	if (isnull)
		return;
	one.values = &v;
	one.valid = NULL;
	one.none = false;
	one.sorted = true;
	one.needs &= ~MDB_NEED_TIME;
	one.by_values = NULL;
	mdb_agg_update_run(&one, state, 0, 1, has_time ? &time : NULL);
}

/*
 * mdb_agg_add_stats - add all of a block's values of a column, by what its directory says of them.
 *
 * nvalues of them are not NULL; the times are those of the first and last row.  False, and nothing was
 * added, if the directory does not tell exactly: where there are NaN, or values so large that sums of
 * them might overflow.
 */
bool
mdb_agg_add_stats(const MdbAggInput *in, char *state, const MdbBlockStats *stats, int block, int64 nvalues,
				  int64 first_time, int64 last_time)
{
	int64 before = FIELD(int64, state, in->off_n);
	bool whole = in->vec_type == MDB_VEC_INT;
	int64 first, last;

	if (nvalues == 0)
		return (in->needs & MDB_NEED_TIME) == 0;
	if (in->vec_type != MDB_VEC_INT && in->vec_type != MDB_VEC_F64 && in->vec_type != MDB_VEC_F32)
		return false;
	if (!whole && (stats->nnans[block] > 0 || !(stats->fmax[block] < TAME) || !(stats->fmin[block] > -TAME)))
		return false;
	FIELD(int64, state, in->off_n) = before + nvalues;
	if (whole)
	{
		if (in->needs & MDB_NEED_SUM)
			FIELD(int128, state, in->off_sum) +=
				((int128) stats->isum_hi[block] << 64) + (uint64) stats->isum_lo[block];
		if ((in->needs & MDB_NEED_MIN) &&
			(before == 0 || stats->imin[block] < FIELD(int64, state, in->off_min)))
			FIELD(int64, state, in->off_min) = stats->imin[block];
		if ((in->needs & MDB_NEED_MAX) &&
			(before == 0 || stats->imax[block] > FIELD(int64, state, in->off_max)))
			FIELD(int64, state, in->off_max) = stats->imax[block];
		first = stats->ifirst[block];
		last = stats->ilast[block];
	}
	else
	{
		if (in->needs & (MDB_NEED_SUM | MDB_NEED_AVG))
		{
			double *sum = &FIELD(double, state, in->off_sum);
			double was = *sum;

			*sum += stats->fsum[block];
			if (isinf(*sum) && !isinf(was))
				float_overflow_error();
		}
		if ((in->needs & MDB_NEED_MIN) &&
			(before == 0 || float8_lt(stats->fmin[block], FIELD(double, state, in->off_min))))
			FIELD(double, state, in->off_min) = stats->fmin[block];
		if ((in->needs & MDB_NEED_MAX) &&
			(before == 0 || float8_gt(stats->fmax[block], FIELD(double, state, in->off_max))))
			FIELD(double, state, in->off_max) = stats->fmax[block];
		memcpy(&first, &stats->ffirst[block], sizeof(first));
		memcpy(&last, &stats->flast[block], sizeof(last));
	}
	if (in->needs & MDB_NEED_TIME)
	{
		mdb_agg_update_end(in, state, first_time, first, false);
		mdb_agg_update_end(in, state, last_time, last, false);
	}
	return true;
}

/* ---------- results ---------- */

/* A value as an input has it, as a datum of its type. */
static Datum
datum_of(Oid type, int64 bits)
{
	union
	{
		int64 i;
		double d;
	} v = {.i = bits};

	switch (getBaseType(type))
	{
		case INT2OID:
			return Int16GetDatum((int16) v.i);
		case INT4OID:
		case DATEOID:
			return Int32GetDatum((int32) v.i);
		case FLOAT4OID:
			return Float4GetDatum((float4) v.d);
		case FLOAT8OID:
			return Float8GetDatum(v.d);
		case BOOLOID:
			return BoolGetDatum(v.i != 0);
		default:
			return Int64GetDatum(v.i);
	}
}

/*
 * mdb_agg_order - of a row of the delta, econtext's scan tuple: what it is ordered by instead of its time; false if
 * that is NULL.
 */
bool
mdb_agg_order(const MdbAggInput *in, ExprContext *econtext, int64 *order)
{
	bool isnull;
	Datum value = ExecEvalExpr(in->by_state, econtext, &isnull);

	if (isnull)
		return false;
	switch (getBaseType(exprType((Node *) in->by)))
	{
		case INT2OID:
			*order = DatumGetInt16(value);
			break;
		case INT4OID:
		case DATEOID:
			*order = DatumGetInt32(value);
			break;
		default:
			*order = DatumGetInt64(value);
			break;
	}
	return true;
}

/*
 * mdb_agg_datum - a value of a vector as a datum of its type.
 */
Datum
mdb_agg_datum(Oid type, const void *values, uint32 i)
{
	return datum_of(type, mdb_vec_type(type) == MDB_VEC_BOOL ? ((const uint8 *) values)[i]
															 : ((const int64 *) values)[i]);
}

static Datum
numeric_of_int128(int128 v)
{
	char buf[48];
	char *p = buf + sizeof(buf);
	bool negative = v < 0;
	unsigned __int128 a = negative ? 0 - (unsigned __int128) v : (unsigned __int128) v;

	if (v >= PG_INT64_MIN && v <= PG_INT64_MAX)
		return NumericGetDatum(int64_to_numeric((int64) v));
	*--p = '\0';
	do
	{
		*--p = '0' + (int) (a % 10);
		a /= 10;
	} while (a != 0);
	if (negative)
		*--p = '-';
	return DirectFunctionCall3(numeric_in, CStringGetDatum(p), ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(-1));
}

/*
 * A whole number as numeric's serialised states have it: digits, weight, sign, scale, then the digits, of
 * base 10,000.  The number is given by its magnitude in words of 64 bits, low ones first, which are used up.
 */
static void
send_whole(StringInfo buf, uint64 *words, int nwords, bool negative)
{
	int16 digits[32];
	int n = 0;
	int skip = 0;

	for (;;)
	{
		unsigned __int128 rest = 0;
		bool zero = true;

		for (int i = nwords - 1; i >= 0; i--)
		{
			rest = (rest << 64) | words[i];
			words[i] = (uint64) (rest / 10000);
			rest %= 10000;
			zero = zero && words[i] == 0;
		}
		digits[n++] = (int16) rest;
		if (zero)
			break;
	}
	if (n == 1 && digits[0] == 0)
	{
		pq_sendint32(buf, 0);
		pq_sendint32(buf, 0);
		pq_sendint32(buf, 0);
		pq_sendint32(buf, 0);
		return;
	}
	while (digits[skip] == 0)
		skip++;
	pq_sendint32(buf, n - skip);
	pq_sendint32(buf, n - 1);
	pq_sendint32(buf, negative ? 0x4000 : 0);
	pq_sendint32(buf, 0);
	for (int i = n - 1; i >= skip; i--)
		pq_sendint16(buf, digits[i]);
}

static void
send_int128(StringInfo buf, int128 v)
{
	unsigned __int128 a = v < 0 ? 0 - (unsigned __int128) v : (unsigned __int128) v;
	uint64 words[2] = {(uint64) a, (uint64) (a >> 64)};

	send_whole(buf, words, 2, v < 0);
}

/* The serialised state of core's aggregates of integers: of int8_avg_, numeric_poly_ or numeric_serialize. */
static Datum
int_state(const MdbAggCall *call, const MdbAggInput *in, const char *state)
{
	StringInfoData buf;
	int64 n = FIELD(int64, state, in->off_n);

	pq_begintypsend(&buf);
	pq_sendint64(&buf, n);
	send_int128(&buf, FIELD(int128, state, in->off_sum));
	if (call->kind >= MDB_AGG_VAR_POP)
	{
		MdbSquares s = FIELD(MdbSquares, state, in->off_squares);
		uint64 words[3] = {s.lo, s.mid, s.hi};

		send_whole(&buf, words, 3, false);
		if (getBaseType(in->type) == INT8OID)
		{
			pq_sendint32(&buf, 0); /* scale */
			pq_sendint64(&buf, n); /* how many have it */
			pq_sendint64(&buf, 0); /* NaN, infinities */
			pq_sendint64(&buf, 0);
			pq_sendint64(&buf, 0);
		}
	}
	return PointerGetDatum(pq_endtypsend(&buf));
}

static Datum
float_state(double n, double sum, double squares)
{
	Datum v[3] = {Float8GetDatum(n), Float8GetDatum(sum), Float8GetDatum(squares)};

	return PointerGetDatum(
		construct_array(v, 3, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Have core's functions finish a state that is core's own business. */
static Datum
finish_int_state(MdbAggCall *call, const MdbAggInput *in, const char *state, AggState *fake, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum internal;

	if (call->final_fn.fn_oid == InvalidOid)
	{
		bool small = getBaseType(in->type) != INT8OID;
		Oid final;

		switch (call->kind)
		{
			case MDB_AGG_VAR_POP:
				final = small ? F_NUMERIC_POLY_VAR_POP : F_NUMERIC_VAR_POP;
				break;
			case MDB_AGG_VAR_SAMP:
				final = small ? F_NUMERIC_POLY_VAR_SAMP : F_NUMERIC_VAR_SAMP;
				break;
			case MDB_AGG_STDDEV_POP:
				final = small ? F_NUMERIC_POLY_STDDEV_POP : F_NUMERIC_STDDEV_POP;
				break;
			default:
				final = small ? F_NUMERIC_POLY_STDDEV_SAMP : F_NUMERIC_STDDEV_SAMP;
				break;
		}
		fmgr_info_cxt(small ? F_NUMERIC_POLY_DESERIALIZE : F_NUMERIC_DESERIALIZE, &call->deserial_fn,
					  fake->ss.ps.state->es_query_cxt);
		fmgr_info_cxt(final, &call->final_fn, fake->ss.ps.state->es_query_cxt);
	}
	InitFunctionCallInfoData(*fcinfo, &call->deserial_fn, 2, InvalidOid, (Node *) fake, NULL);
	fcinfo->args[0].value = int_state(call, in, state);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = (Datum) 0;
	fcinfo->args[1].isnull = false;
	internal = FunctionCallInvoke(fcinfo);
	InitFunctionCallInfoData(*fcinfo, &call->final_fn, 1, InvalidOid, (Node *) fake, NULL);
	fcinfo->args[0].value = internal;
	fcinfo->args[0].isnull = false;
	internal = FunctionCallInvoke(fcinfo);
	*isnull = fcinfo->isnull;
	return internal;
}

static Datum
sum_of(const MdbAggInput *in, const char *state)
{
	switch (getBaseType(in->type))
	{
		case FLOAT8OID:
			return Float8GetDatum(FIELD(double, state, in->off_sum));
		case FLOAT4OID:
		{
			double sum = FIELD(double, state, in->off_sum);
			float4 narrow = (float4) sum;

			if (isinf(narrow) && !isinf(sum))
				float_overflow_error();
			return Float4GetDatum(narrow);
		}
		case INT8OID:
			return numeric_of_int128(FIELD(int128, state, in->off_sum));
		default:
			return Int64GetDatum((int64) FIELD(int128, state, in->off_sum));
	}
}

/*
 * mdb_agg_result - what an aggregate is for a group.  fake is the aggregate node that core's functions are
 * to believe they are called by; the result lives in the current memory context.
 */
Datum
mdb_agg_result(MdbAggCall *call, const MdbAggInput *in, const char *state, AggState *fake, bool *isnull)
{
	int64 n;
	double squares;

	if (call->called)
		return mdb_called_result(call->called, state, isnull);
	*isnull = false;
	if (in == NULL)
		return Int64GetDatum(FIELD(int64, state, 0));
	if (call->own)
		return mdb_own_result(call, state, isnull);
	n = FIELD(int64, state, in->off_n);
	if (call->kind == MDB_AGG_COUNT)
		return Int64GetDatum(n);
	if (call->kind == MDB_AGG_FIRST || call->kind == MDB_AGG_LAST)
	{
		const MdbEnd *e =
			&FIELD(const MdbEnd, state, call->kind == MDB_AGG_FIRST ? in->off_first : in->off_last);

		*isnull = !e->set || e->isnull;
		return *isnull ? (Datum) 0 : datum_of(in->type, e->value);
	}
	if (n == 0)
	{
		*isnull = true;
		return (Datum) 0;
	}
	switch (call->kind)
	{
		case MDB_AGG_SUM:
			return sum_of(in, state);
		case MDB_AGG_AVG:
			if (in->vec_type == MDB_VEC_INT)
				return DirectFunctionCall2(numeric_div, numeric_of_int128(FIELD(int128, state, in->off_sum)),
										   NumericGetDatum(int64_to_numeric(n)));
			return Float8GetDatum(FIELD(double, state, in->off_sum) / n);
		case MDB_AGG_MIN:
			return datum_of(in->type, FIELD(int64, state, in->off_min));
		case MDB_AGG_MAX:
			return datum_of(in->type, FIELD(int64, state, in->off_max));
		case MDB_AGG_BOOL_AND:
			return BoolGetDatum(FIELD(int64, state, in->off_true) == n);
		case MDB_AGG_BOOL_OR:
			return BoolGetDatum(FIELD(int64, state, in->off_true) > 0);
		default:
			break;
	}
	if (in->vec_type == MDB_VEC_INT)
		return finish_int_state(call, in, state, fake, isnull);
	squares = FIELD(double, state, in->off_squares);
	if (call->kind == MDB_AGG_VAR_SAMP || call->kind == MDB_AGG_STDDEV_SAMP)
	{
		if (n < 2)
		{
			*isnull = true;
			return (Datum) 0;
		}
		squares /= n - 1;
	}
	else
		squares /= n;
	if (call->kind == MDB_AGG_STDDEV_POP || call->kind == MDB_AGG_STDDEV_SAMP)
		squares = sqrt(squares);
	return Float8GetDatum(squares);
}

/*
 * mdb_agg_partial - the state of an aggregate for a group, as its combine function takes it.
 */
Datum
mdb_agg_partial(const MdbAggCall *call, const MdbAggInput *in, const char *state, bool *isnull)
{
	int64 n;

	if (call->called)
		return mdb_called_partial(call->called, state, isnull);
	*isnull = false;
	if (in == NULL)
		return Int64GetDatum(FIELD(int64, state, 0));
	if (call->own)
		return mdb_own_partial(call, state, isnull);
	n = FIELD(int64, state, in->off_n);
	switch (call->kind)
	{
		case MDB_AGG_COUNT:
			return Int64GetDatum(n);
		case MDB_AGG_AVG:
			if (in->vec_type == MDB_VEC_INT)
			{
				Datum v[2];

				if (getBaseType(in->type) == INT8OID)
					return int_state(call, in, state);
				v[0] = Int64GetDatum(n);
				v[1] = Int64GetDatum((int64) FIELD(int128, state, in->off_sum));
				return PointerGetDatum(
					construct_array(v, 2, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
			}
			return float_state(n, FIELD(double, state, in->off_sum), FIELD(double, state, in->off_squares));
		case MDB_AGG_VAR_POP:
		case MDB_AGG_VAR_SAMP:
		case MDB_AGG_STDDEV_POP:
		case MDB_AGG_STDDEV_SAMP:
			if (in->vec_type == MDB_VEC_INT)
				return int_state(call, in, state);
			return float_state(n, FIELD(double, state, in->off_sum), FIELD(double, state, in->off_squares));
		case MDB_AGG_FIRST:
		case MDB_AGG_LAST:
		{
			const MdbEnd *e =
				&FIELD(const MdbEnd, state, call->kind == MDB_AGG_FIRST ? in->off_first : in->off_last);
			Oid time_type = exprType((Node *) lsecond_node(TargetEntry, call->aggref->args)->expr);

			*isnull = !e->set;
			if (!e->set)
				return (Datum) 0;
			return mdb_end_serialize(in->type, e->isnull ? (Datum) 0 : datum_of(in->type, e->value),
									 e->isnull, time_type, datum_of(time_type, e->time));
		}
		case MDB_AGG_SUM:
			*isnull = n == 0;
			if (*isnull)
				return (Datum) 0;
			return getBaseType(in->type) == INT8OID ? int_state(call, in, state) : sum_of(in, state);
		default:
			return mdb_agg_result((MdbAggCall *) call, in, state, NULL, isnull);
	}
}
