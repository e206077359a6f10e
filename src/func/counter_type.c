/*
 * counter_type.c
 *	  The types countersummary and gaugesummary: their text and binary forms, and rollup() of them.
 *
 * Both forms begin with a version.  Their numbers follow in the order of fields below; times are microseconds from
 * 1970 in the text, from 2000 in the binary form.  Whatever is read is checked: what the other functions rely on
 * holds for all values of the types.
 */
#include "postgres.h"

#include <math.h>

#include "libpq/pqformat.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "func/counter.h"
#include "func/func.h"

#define UNIX_EPOCH ((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

typedef enum FieldKind
{
	FIELD_COUNT,
	FIELD_TIME,
	FIELD_FLOAT
} FieldKind;

static const struct
{
	FieldKind kind;
	Size at;
} fields[] = {{FIELD_COUNT, offsetof(MdbSummary, c.n)},
			  {FIELD_TIME, offsetof(MdbSummary, c.first.time)},
			  {FIELD_FLOAT, offsetof(MdbSummary, c.first.value)},
			  {FIELD_TIME, offsetof(MdbSummary, c.second.time)},
			  {FIELD_FLOAT, offsetof(MdbSummary, c.second.value)},
			  {FIELD_TIME, offsetof(MdbSummary, c.penultimate.time)},
			  {FIELD_FLOAT, offsetof(MdbSummary, c.penultimate.value)},
			  {FIELD_TIME, offsetof(MdbSummary, c.last.time)},
			  {FIELD_FLOAT, offsetof(MdbSummary, c.last.value)},
			  {FIELD_COUNT, offsetof(MdbSummary, c.resets)},
			  {FIELD_COUNT, offsetof(MdbSummary, c.changes)},
			  {FIELD_FLOAT, offsetof(MdbSummary, c.reset_sum)},
			  {FIELD_FLOAT, offsetof(MdbSummary, c.mean_time)},
			  {FIELD_FLOAT, offsetof(MdbSummary, c.mean_value)},
			  {FIELD_FLOAT, offsetof(MdbSummary, c.time_squares)},
			  {FIELD_FLOAT, offsetof(MdbSummary, c.value_squares)},
			  {FIELD_FLOAT, offsetof(MdbSummary, c.products)},
			  /* only of those with bounds */
			  {FIELD_TIME, offsetof(MdbSummary, start)},
			  {FIELD_TIME, offsetof(MdbSummary, end)}};

#define NFIELDS        ((int) lengthof(fields))
#define INT_AT(s, i)   (*(int64 *) ((char *) (s) + fields[i].at))
#define FLOAT_AT(s, i) (*(double *) ((char *) (s) + fields[i].at))

static MdbSummary *
new_summary(bool counter)
{
	MdbSummary *s = palloc0(sizeof(MdbSummary));

	SET_VARSIZE(s, sizeof(MdbSummary));
	s->version = MDB_SUMMARY_VERSION;
	s->counter = counter;
	return s;
}

/*
 * mdb_summary_make - a value of the type, of at least one sample.
 */
MdbSummary *
mdb_summary_make(const MdbCounter *c, bool counter)
{
	MdbSummary *s = new_summary(counter);

	s->c = *c;
	return s;
}

static const char *
type_name(const MdbSummary *s)
{
	return s->counter ? "countersummary" : "gaugesummary";
}

static bool
same(MdbSample a, MdbSample b)
{
	return a.time == b.time && (a.value == b.value || (isnan(a.value) && isnan(b.value)));
}

/* What is wrong with a summary; NULL if nothing is. */
static const char *
find_fault(const MdbSummary *s)
{
	const MdbCounter *c = &s->c;

	if (c->n < 1)
		return "It has no samples.";
	for (int i = 0; i < NFIELDS - (s->bounded ? 0 : 2); i++)
		if (fields[i].kind == FIELD_TIME && !IS_VALID_TIMESTAMP(INT_AT(s, i)))
			return "A time is out of range.";
	if (c->resets < 0 || c->changes < c->resets || c->changes > c->n - 1)
		return "Numbers of resets and changes do not fit the number of samples.";
	if (c->n == 1 &&
		(!same(c->first, c->last) || !same(c->first, c->second) || !same(c->first, c->penultimate)))
		return "It has several samples, but is of one.";
	if (c->n > 1 && (c->second.time <= c->first.time || c->penultimate.time >= c->last.time ||
					 c->second.time > c->last.time || c->penultimate.time < c->first.time))
		return "Its samples are not in order of time.";
	if (c->n == 2 && (!same(c->second, c->last) || !same(c->penultimate, c->first)))
		return "It has more samples than two, but is of two.";
	if (c->n - 1 > (uint64) c->last.time - (uint64) c->first.time)
		return "It has more samples than its times have microseconds.";
	if (c->n == 3 && !same(c->second, c->penultimate))
		return "It has more samples than three, but is of three.";
	if (c->n > 3 && c->second.time >= c->penultimate.time)
		return "Its samples are not in order of time.";
	if (c->mean_time < 0 || isnan(c->mean_time) || isnan(c->time_squares) || c->time_squares < 0 ||
		c->value_squares < 0 || (c->n > 1 && c->time_squares == 0))
		return "Its sums of squares cannot be such.";
	if (s->bounded && (s->start > c->first.time || s->end < c->last.time))
		return "Samples lie outside of its bounds.";
	return NULL;
}

static void
check(const MdbSummary *s, int code)
{
	const char *fault = find_fault(s);

	if (fault)
		ereport(ERROR,
				(errcode(code), errmsg("invalid value of type %s", type_name(s)), errdetail("%s", fault)));
}

/* ---------- text ---------- */

pg_noreturn static void
bad_text(const MdbSummary *s, const char *text)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					errmsg("invalid input syntax for type %s: \"%s\"", type_name(s), text)));
}

static Datum
from_text(const char *text, bool counter)
{
	MdbSummary *s = new_summary(counter);
	char *copy = pstrdup(text);
	char *parts[NFIELDS + 1];
	int n = 0;
	Size len = strlen(copy);

	if (len < 2 || copy[0] != '(' || copy[len - 1] != ')')
		bad_text(s, text);
	copy[len - 1] = '\0';
	for (char *p = copy + 1; p;)
	{
		if (n > NFIELDS)
			bad_text(s, text);
		parts[n++] = p;
		p = strchr(p, ',');
		if (p)
			*p++ = '\0';
	}
	if (strcmp(parts[0], "1") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
						errmsg("unknown version \"%s\" of type %s", parts[0], type_name(s)),
						errdetail("This version of metricsdb knows version %d.", MDB_SUMMARY_VERSION)));
	if (n != NFIELDS + 1 && n != NFIELDS - 1)
		bad_text(s, text);
	s->bounded = n == NFIELDS + 1;
	for (int i = 0; i < n - 1; i++)
	{
		if (fields[i].kind == FIELD_FLOAT)
			FLOAT_AT(s, i) = DatumGetFloat8(DirectFunctionCall1(float8in, CStringGetDatum(parts[i + 1])));
		else
			INT_AT(s, i) = DatumGetInt64(DirectFunctionCall1(int8in, CStringGetDatum(parts[i + 1])));
		if (fields[i].kind == FIELD_TIME)
			INT_AT(s, i) = (int64) ((uint64) INT_AT(s, i) - (uint64) UNIX_EPOCH);
	}
	check(s, ERRCODE_INVALID_TEXT_REPRESENTATION);
	PG_RETURN_POINTER(s);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_countersummary_in);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_gaugesummary_in);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_summary_out);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_countersummary_recv);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_gaugesummary_recv);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_summary_send);

Datum
mdb_countersummary_in(PG_FUNCTION_ARGS)
{
	return from_text(PG_GETARG_CSTRING(0), true);
}

Datum
mdb_gaugesummary_in(PG_FUNCTION_ARGS)
{
	return from_text(PG_GETARG_CSTRING(0), false);
}

Datum
mdb_summary_out(PG_FUNCTION_ARGS)
{
	MdbSummary *s = (MdbSummary *) PG_DETOAST_DATUM(PG_GETARG_DATUM(0));
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "(%d", s->version);
	for (int i = 0; i < NFIELDS - (s->bounded ? 0 : 2); i++)
	{
		if (fields[i].kind == FIELD_FLOAT)
			appendStringInfo(&buf, ",%s", float8out_internal(FLOAT_AT(s, i)));
		else
			appendStringInfo(&buf, "," INT64_FORMAT,
							 INT_AT(s, i) + (fields[i].kind == FIELD_TIME ? UNIX_EPOCH : 0));
	}
	appendStringInfoChar(&buf, ')');
	PG_RETURN_CSTRING(buf.data);
}

/* ---------- binary ---------- */

static Datum
from_bytes(StringInfo buf, bool counter)
{
	MdbSummary *s = new_summary(counter);
	int version = pq_getmsgbyte(buf);

	if (version != MDB_SUMMARY_VERSION)
		ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
						errmsg("unknown version \"%d\" of type %s", version, type_name(s)),
						errdetail("This version of metricsdb knows version %d.", MDB_SUMMARY_VERSION)));
	s->bounded = pq_getmsgbyte(buf) != 0;
	for (int i = 0; i < NFIELDS - (s->bounded ? 0 : 2); i++)
	{
		if (fields[i].kind == FIELD_FLOAT)
			FLOAT_AT(s, i) = pq_getmsgfloat8(buf);
		else
			INT_AT(s, i) = pq_getmsgint64(buf);
	}
	pq_getmsgend(buf);
	check(s, ERRCODE_INVALID_BINARY_REPRESENTATION);
	PG_RETURN_POINTER(s);
}

Datum
mdb_countersummary_recv(PG_FUNCTION_ARGS)
{
	return from_bytes((StringInfo) PG_GETARG_POINTER(0), true);
}

Datum
mdb_gaugesummary_recv(PG_FUNCTION_ARGS)
{
	return from_bytes((StringInfo) PG_GETARG_POINTER(0), false);
}

Datum
mdb_summary_send(PG_FUNCTION_ARGS)
{
	MdbSummary *s = (MdbSummary *) PG_DETOAST_DATUM(PG_GETARG_DATUM(0));
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendbyte(&buf, s->version);
	pq_sendbyte(&buf, s->bounded);
	for (int i = 0; i < NFIELDS - (s->bounded ? 0 : 2); i++)
	{
		if (fields[i].kind == FIELD_FLOAT)
			pq_sendfloat8(&buf, FLOAT_AT(s, i));
		else
			pq_sendint64(&buf, INT_AT(s, i));
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/* ---------- rollup ---------- */

typedef struct Rollup
{
	int64 n;
	int64 room;
	MdbSummary *s;
} Rollup;

static Rollup *
add_summaries(Rollup *r, MemoryContext mcxt, const MdbSummary *s, int64 n)
{
	if (r == NULL)
		r = MemoryContextAllocZero(mcxt, sizeof(Rollup));
	if (r->n + n > r->room)
	{
		r->room = Max(Max(4, r->room * 2), r->n + n);
		r->s = r->s ? repalloc_huge(r->s, sizeof(MdbSummary) * r->room)
					: MemoryContextAllocHuge(mcxt, sizeof(MdbSummary) * r->room);
	}
	memcpy(r->s + r->n, s, sizeof(MdbSummary) * n);
	r->n += n;
	return r;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_rollup_transition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_rollup_combine);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_rollup_serial);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_rollup_deserial);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_rollup_final);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_combine_summaries_final);

Datum
mdb_rollup_transition(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	Rollup *r = PG_ARGISNULL(0) ? NULL : (Rollup *) PG_GETARG_POINTER(0);

	if (!PG_ARGISNULL(1))
		r = add_summaries(r, mcxt, (MdbSummary *) PG_DETOAST_DATUM(PG_GETARG_DATUM(1)), 1);
	if (r == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(r);
}

Datum
mdb_rollup_combine(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	Rollup *a = PG_ARGISNULL(0) ? NULL : (Rollup *) PG_GETARG_POINTER(0);
	Rollup *b = PG_ARGISNULL(1) ? NULL : (Rollup *) PG_GETARG_POINTER(1);

	if (b)
		a = add_summaries(a, mcxt, b->s, b->n);
	if (a == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(a);
}

Datum
mdb_rollup_serial(PG_FUNCTION_ARGS)
{
	Rollup *r = (Rollup *) PG_GETARG_POINTER(0);
	Size size = VARHDRSZ + sizeof(MdbSummary) * r->n;
	bytea *b;

	(void) mdb_aggregate_context(fcinfo);
	if (!AllocSizeIsValid(size))
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("too many summaries in a group"),
						errhint("Set max_parallel_workers_per_gather to 0, or make smaller groups.")));
	b = palloc(size);
	SET_VARSIZE(b, size);
	memcpy(VARDATA(b), r->s, sizeof(MdbSummary) * r->n);
	PG_RETURN_BYTEA_P(b);
}

Datum
mdb_rollup_deserial(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	bytea *b = PG_GETARG_BYTEA_PP(0);

	PG_RETURN_POINTER(
		add_summaries(NULL, mcxt, (MdbSummary *) VARDATA_ANY(b), VARSIZE_ANY_EXHDR(b) / sizeof(MdbSummary)));
}

static int
summary_cmp(const void *a, const void *b, void *arg)
{
	const MdbSummary *x = a, *y = b;

	return x->c.first.time < y->c.first.time ? -1 : x->c.first.time > y->c.first.time;
}

/* One summary of all; NULL where they interleave, if that is no error. */
static MdbSummary *
roll_up(Rollup *r, bool strict)
{
	MdbSummary *s;

	qsort_interruptible(r->s, r->n, sizeof(MdbSummary), summary_cmp, NULL);
	s = new_summary(r->s[0].counter);
	s->bounded = true;
	s->start = PG_INT64_MAX;
	s->end = PG_INT64_MIN;
	for (int64 i = 0; i < r->n; i++)
	{
		const MdbSummary *next = &r->s[i];

		if (i > 0 && next->c.first.time <= s->c.last.time)
		{
			if (!strict)
				return NULL;
			ereport(
				ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("summaries whose times interleave cannot be rolled up"),
				 errdetail("One begins at %s, another one ends at %s.",
						   pstrdup(timestamptz_to_str(next->c.first.time)),
						   pstrdup(timestamptz_to_str(s->c.last.time))),
				 errhint("Compute the summary from the samples, or group by what tells the series apart.")));
		}
		mdb_counter_append(&s->c, &next->c, s->counter ? MDB_COUNTER : MDB_GAUGE);
		s->bounded = s->bounded && next->bounded;
		s->start = Min(s->start, next->start);
		s->end = Max(s->end, next->end);
	}
	if (!s->bounded)
		s->start = s->end = 0;
	return s;
}

static Datum
finish_rollup(FunctionCallInfo fcinfo, bool strict)
{
	Rollup *r = PG_ARGISNULL(0) ? NULL : (Rollup *) PG_GETARG_POINTER(0);
	MdbSummary *s;

	(void) mdb_aggregate_context(fcinfo);
	s = r ? roll_up(r, strict) : NULL;
	if (s == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(s);
}

Datum
mdb_rollup_final(PG_FUNCTION_ARGS)
{
	return finish_rollup(fcinfo, true);
}

/* Of a continuous aggregate's states: those that interleave are made again soon. */
Datum
mdb_combine_summaries_final(PG_FUNCTION_ARGS)
{
	return finish_rollup(fcinfo, false);
}
