/*
 * sketch_type.c
 *	  The type quantile_sketch, and what sketches can be asked.
 *
 * Its bytes are those of sketch_bytes.c.  As text it is words: v1, then names and numbers,
 *
 *		v1 scale 8 buckets 320 nan 1 -inf 1 +inf 1 zero 3 min 0.5 max 99 pos -256 1,0*30,2 neg 7 1
 *
 * where only v1 and the scale are always there, 0*30 stands for thirty empty buckets, and the first number
 * after pos and neg is that of the bucket which the first count is of.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "parser/scansup.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"

#include "compat.h"
#include "func/func.h"

static void *
grow(void *arg, void *old, size_t old_size, size_t size)
{
	return old ? repalloc(old, size) : MemoryContextAlloc((MemoryContext) arg, size);
}

/*
 * mdb_sketch_begin - a sketch of nothing, whose counts will be in a memory context.
 */
void
mdb_sketch_begin(MdbSketch *s, MemoryContext mcxt, int scale, uint32 max_buckets)
{
	s->grow = grow;
	s->arg = mcxt;
	mdb_sketch_init(s, scale, max_buckets);
}

/* Errors of bytes that are no sketch: from a client, or of a format of another version. */
pg_noreturn static void
not_a_sketch(const uint8 *p, size_t len)
{
	if (len > 0 && p[0] != MDB_SKETCH_VERSION)
		ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
						errmsg("version %d of quantile_sketch is not known", p[0]),
						errdetail("This version of metricsdb reads version %d.", MDB_SKETCH_VERSION)));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION), errmsg("invalid bytes of a quantile_sketch")));
}

/*
 * mdb_sketch_of_datum - read a value of the type; its counts will be in a memory context.
 *
 * Raises an error if it is none, or one of another version.
 */
void
mdb_sketch_of_datum(MdbSketch *s, MemoryContext mcxt, Datum datum)
{
	struct varlena *v = PG_DETOAST_DATUM_PACKED(datum);
	const uint8 *p = (const uint8 *) VARDATA_ANY(v);

	s->grow = grow;
	s->arg = mcxt;
	if (!mdb_sketch_read(s, p, VARSIZE_ANY_EXHDR(v)))
		not_a_sketch(p, VARSIZE_ANY_EXHDR(v));
	if ((Pointer) v != DatumGetPointer(datum))
		pfree(v);
}

/*
 * mdb_datum_of_sketch - a value of the type, in the current memory context.
 */
Datum
mdb_datum_of_sketch(MdbSketch *s)
{
	struct varlena *v;
	size_t len;

	mdb_sketch_settle(s);
	v = palloc(VARHDRSZ + mdb_sketch_bound(s));
	len = mdb_sketch_write(s, (uint8 *) VARDATA(v));
	SET_VARSIZE(v, VARHDRSZ + len);
	return PointerGetDatum(v);
}

void
mdb_sketch_full(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE), errmsg("too many values for a quantile_sketch"),
			 errdetail("It counts as many as a bigint can.")));
}

uint32
mdb_sketch_checked_buckets(int32 max_buckets)
{
	if (max_buckets < MDB_SKETCH_BUCKETS_MIN || max_buckets > MDB_SKETCH_BUCKETS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid number of buckets of a sketch"),
				 errdetail("It must be between %d and %d.", MDB_SKETCH_BUCKETS_MIN, MDB_SKETCH_BUCKETS_MAX)));
	return (uint32) max_buckets;
}

/*
 * mdb_sketch_limits - of a number of buckets and a relative error that were asked for; NULL is none.
 *
 * With an error alone there may be so many buckets that values span 256 octaves at 1 %, 32 at 0.1 %.
 */
MdbSketchLimits
mdb_sketch_limits(const int32 *max_buckets, const float8 *error)
{
	MdbSketchLimits limits = {MDB_SKETCH_SCALE_MAX, MDB_SKETCH_BUCKETS_DEFAULT};

	if (error)
	{
		if (!(*error > 0 && *error < 1))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid relative error of a sketch"),
					 errdetail("It must be greater than 0 and less than 1."),
					 errhint("0.01 is one percent.")));
		limits.scale = mdb_sketch_scale_for(*error);
		limits.max_buckets = MDB_SKETCH_BUCKETS_MAX;
	}
	if (max_buckets)
		limits.max_buckets = mdb_sketch_checked_buckets(*max_buckets);
	return limits;
}

/* ---------- as text ---------- */

static void
put_number(StringInfo buf, const char *name, uint64 v)
{
	if (v > 0)
		appendStringInfo(buf, " %s " UINT64_FORMAT, name, v);
}

static void
put_double(StringInfo buf, const char *name, double v)
{
	char digits[DOUBLE_SHORTEST_DECIMAL_LEN];

	double_to_shortest_decimal_buf(v, digits);
	appendStringInfo(buf, " %s %s", name, digits);
}

static void
put_side(StringInfo buf, const char *name, const MdbSketch *s, const MdbSketchSide *side)
{
	if (side->n == 0)
		return;
	appendStringInfo(buf, " %s %d ", name, side->first);
	for (uint32 i = 0; i < side->n;)
	{
		uint32 empty = 0;

		if (i > 0)
			appendStringInfoChar(buf, ',');
		while (mdb_sketch_count(s, side, i + empty) == 0)
			empty++;
		if (empty > 1)
			appendStringInfo(buf, "0*%u", empty);
		else
			appendStringInfo(buf, UINT64_FORMAT, mdb_sketch_count(s, side, i));
		i += empty > 1 ? empty : 1;
	}
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_out);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_in);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_recv);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_send);

Datum
mdb_sketch_out(PG_FUNCTION_ARGS)
{
	StringInfoData buf;
	MdbSketch s;

	mdb_sketch_of_datum(&s, CurrentMemoryContext, PG_GETARG_DATUM(0));
	initStringInfo(&buf);
	appendStringInfo(&buf, "v%d scale %d", MDB_SKETCH_VERSION, s.scale);
	if (s.max_buckets != MDB_SKETCH_BUCKETS_DEFAULT)
		put_number(&buf, "buckets", s.max_buckets);
	put_number(&buf, "nan", s.nan);
	put_number(&buf, "-inf", s.neg_inf);
	put_number(&buf, "+inf", s.pos_inf);
	put_number(&buf, "zero", s.zero);
	if (s.total > 0)
	{
		put_double(&buf, "min", s.min);
		put_double(&buf, "max", s.max);
	}
	put_side(&buf, "pos", &s, &s.pos);
	put_side(&buf, "neg", &s, &s.neg);
	PG_RETURN_CSTRING(buf.data);
}

pg_noreturn static void
bad_text(const char *text, const char *detail)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					errmsg("invalid input syntax for type %s: \"%.100s\"", "quantile_sketch", text),
					detail ? errdetail("%s", detail) : 0));
}

/* Is this the next word?  Then go on behind it. */
static bool
take_word(const char **p, const char *word)
{
	size_t len = strlen(word);

	while (scanner_isspace(**p))
		(*p)++;
	if (strncmp(*p, word, len) != 0 || ((*p)[len] != '\0' && !scanner_isspace((*p)[len])))
		return false;
	*p += len;
	return true;
}

static bool
take_digits(const char **p, uint64 *v)
{
	const char *from = *p;

	*v = 0;
	for (; **p >= '0' && **p <= '9'; (*p)++)
	{
		int digit = **p - '0';

		if (*v > (uint64) (PG_INT64_MAX - digit) / 10)
			return false;
		*v = *v * 10 + digit;
	}
	return *p > from;
}

static bool
take_int(const char **p, int64 *v)
{
	uint64 digits;
	bool negative;

	while (scanner_isspace(**p))
		(*p)++;
	negative = **p == '-';
	*p += negative;
	if (!take_digits(p, &digits))
		return false;
	*v = negative ? -(int64) digits : (int64) digits;
	return true;
}

/* A count that may be left out, but is not 0. */
static void
take_count(const char *text, const char **p, const char *name, uint64 *v)
{
	int64 count;

	*v = 0;
	if (!take_word(p, name))
		return;
	if (!take_int(p, &count) || count <= 0)
		bad_text(text, NULL);
	*v = (uint64) count;
}

static double
take_double(const char *text, const char **p)
{
	char *word;
	size_t len;
	double v;

	while (scanner_isspace(**p))
		(*p)++;
	len = strcspn(*p, " \t\n\r\f\v");
	if (len == 0)
		bad_text(text, NULL);
	word = pnstrdup(*p, len);
	v = DatumGetFloat8(DirectFunctionCall1(float8in, CStringGetDatum(word)));
	*p += len;
	return v;
}

/* Counts of a side, which begins with an empty sketch's.  That both ends are not 0 is seen later. */
static void
take_side(const char *text, const char **p, MdbSketch *s, MdbSketchSide *side)
{
	int64 first;
	uint64 count, times;

	if (!take_int(p, &first) || first < PG_INT32_MIN || first > PG_INT32_MAX)
		bad_text(text, NULL);
	side->first = (int32) first;
	side->counts = palloc0(sizeof(uint64) * s->max_buckets);
	side->room = s->max_buckets;
	do
	{
		while (scanner_isspace(**p) || **p == ',')
			(*p)++;
		if (!take_digits(p, &count))
			bad_text(text, NULL);
		times = 1;
		if (**p == '*')
		{
			(*p)++;
			if (!take_digits(p, &times) || times == 0)
				bad_text(text, NULL);
		}
		if (times > s->max_buckets - side->n)
			bad_text(text, "A side has more buckets than the sketch may have.");
		while (times-- > 0)
		{
			if (count > (uint64) PG_INT64_MAX - s->total)
				bad_text(text, "There are more values than a bigint can count.");
			s->total += count;
			((uint64 *) side->counts)[side->n++] = count;
		}
	} while (**p == ',');
}

/*
 * mdb_sketch_in - from text; what makes no sense is found by reading the bytes that it comes to.
 */
Datum
mdb_sketch_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	const char *p = text;
	MdbSketch s, check;
	int64 scale, max_buckets = MDB_SKETCH_BUCKETS_DEFAULT;
	Datum datum;

	if (!take_word(&p, "v1"))
		bad_text(text, "It must begin with the version, \"v1\".");
	if (!take_word(&p, "scale") || !take_int(&p, &scale))
		bad_text(text, NULL);
	if (scale < MDB_SKETCH_SCALE_MIN || scale > MDB_SKETCH_SCALE_MAX)
		bad_text(text, "The scale is out of range.");
	if (take_word(&p, "buckets") && !take_int(&p, &max_buckets))
		bad_text(text, NULL);
	if (max_buckets < MDB_SKETCH_BUCKETS_MIN || max_buckets > MDB_SKETCH_BUCKETS_MAX)
		bad_text(text, "The number of buckets is out of range.");
	mdb_sketch_begin(&s, CurrentMemoryContext, (int) scale, (uint32) max_buckets);
	s.width = 8;
	take_count(text, &p, "nan", &s.nan);
	take_count(text, &p, "-inf", &s.neg_inf);
	take_count(text, &p, "+inf", &s.pos_inf);
	take_count(text, &p, "zero", &s.zero);
	if (take_word(&p, "min"))
	{
		s.min = take_double(text, &p);
		if (!take_word(&p, "max"))
			bad_text(text, NULL);
		s.max = take_double(text, &p);
		if (take_word(&p, "pos"))
			take_side(text, &p, &s, &s.pos);
		if (take_word(&p, "neg"))
			take_side(text, &p, &s, &s.neg);
		s.total = PG_INT64_MAX; /* not written, but there is room for such counts */
	}
	while (scanner_isspace(*p))
		p++;
	if (*p != '\0')
		bad_text(text, NULL);
	datum = mdb_datum_of_sketch(&s);
	check = s;
	if (!mdb_sketch_read(&check, (uint8 *) VARDATA(DatumGetPointer(datum)),
						 VARSIZE(DatumGetPointer(datum)) - VARHDRSZ))
		bad_text(text, "Its numbers contradict each other.");
	PG_RETURN_DATUM(datum);
}

Datum
mdb_sketch_recv(PG_FUNCTION_ARGS)
{
	StringInfo buf = (StringInfo) PG_GETARG_POINTER(0);
	int len = buf->len - buf->cursor;
	const uint8 *p = (const uint8 *) pq_getmsgbytes(buf, len);
	struct varlena *v;
	MdbSketch s = {.grow = grow, .arg = CurrentMemoryContext};

	if (!mdb_sketch_read(&s, p, len))
		not_a_sketch(p, len);
	v = palloc(VARHDRSZ + len);
	memcpy(VARDATA(v), p, len);
	SET_VARSIZE(v, VARHDRSZ + len);
	PG_RETURN_POINTER(v);
}

Datum
mdb_sketch_send(PG_FUNCTION_ARGS)
{
	StringInfoData buf;
	struct varlena *v = PG_GETARG_VARLENA_PP(0);

	pq_begintypsend(&buf);
	pq_sendbytes(&buf, VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/* ---------- asking ---------- */

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_approx_percentile);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_approx_percentile_array);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_approx_percentile_rank);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_num_vals);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_num_nan);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_mean_value);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_min);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_max);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_scale);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_relative_error);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_error_of_scale);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_sketch_buckets);

static float8
checked_share(float8 p)
{
	if (!(p >= 0 && p <= 1))
		ereport(ERROR, (errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
						errmsg("percentile value %g is not between 0 and 1", p)));
	return p;
}

/* (p, sketch); NULL of no values */
Datum
mdb_approx_percentile(PG_FUNCTION_ARGS)
{
	float8 p = checked_share(PG_GETARG_FLOAT8(0));
	MdbSketch s;

	mdb_sketch_of_datum(&s, CurrentMemoryContext, PG_GETARG_DATUM(1));
	if (s.total == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(mdb_sketch_quantile(&s, p));
}

/* (p[], sketch): an array of the same shape */
Datum
mdb_approx_percentile_array(PG_FUNCTION_ARGS)
{
	ArrayType *a = PG_GETARG_ARRAYTYPE_P(0);
	Datum *shares, *results;
	bool *nulls;
	int n;
	MdbSketch s;

	mdb_sketch_of_datum(&s, CurrentMemoryContext, PG_GETARG_DATUM(1));
	deconstruct_array(a, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &shares, &nulls, &n);
	if (n == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(FLOAT8OID));
	results = palloc(n * sizeof(Datum));
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			checked_share(DatumGetFloat8(shares[i]));
		nulls[i] = nulls[i] || s.total == 0;
		results[i] = Float8GetDatum(nulls[i] ? 0 : mdb_sketch_quantile(&s, DatumGetFloat8(shares[i])));
	}
	PG_RETURN_ARRAYTYPE_P(construct_md_array(results, nulls, ARR_NDIM(a), ARR_DIMS(a), ARR_LBOUND(a),
											 FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* (value, sketch): NaN for NaN, which has no place among the values */
Datum
mdb_approx_percentile_rank(PG_FUNCTION_ARGS)
{
	float8 value = PG_GETARG_FLOAT8(0);
	MdbSketch s;

	mdb_sketch_of_datum(&s, CurrentMemoryContext, PG_GETARG_DATUM(1));
	if (s.total == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(isnan(value) ? value : mdb_sketch_rank(&s, value));
}

Datum
mdb_sketch_num_vals(PG_FUNCTION_ARGS)
{
	MdbSketch s;

	mdb_sketch_of_datum(&s, CurrentMemoryContext, PG_GETARG_DATUM(0));
	PG_RETURN_INT64((int64) s.total);
}

Datum
mdb_sketch_num_nan(PG_FUNCTION_ARGS)
{
	MdbSketch s;

	mdb_sketch_of_datum(&s, CurrentMemoryContext, PG_GETARG_DATUM(0));
	PG_RETURN_INT64((int64) s.nan);
}

Datum
mdb_sketch_mean_value(PG_FUNCTION_ARGS)
{
	MdbSketch s;

	mdb_sketch_of_datum(&s, CurrentMemoryContext, PG_GETARG_DATUM(0));
	if (s.total == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(mdb_sketch_mean(&s));
}

Datum
mdb_sketch_min(PG_FUNCTION_ARGS)
{
	MdbSketch s;

	mdb_sketch_of_datum(&s, CurrentMemoryContext, PG_GETARG_DATUM(0));
	if (s.total == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(s.min);
}

Datum
mdb_sketch_max(PG_FUNCTION_ARGS)
{
	MdbSketch s;

	mdb_sketch_of_datum(&s, CurrentMemoryContext, PG_GETARG_DATUM(0));
	if (s.total == 0)
		PG_RETURN_NULL();
	PG_RETURN_FLOAT8(s.max);
}

Datum
mdb_sketch_scale(PG_FUNCTION_ARGS)
{
	MdbSketch s;

	mdb_sketch_of_datum(&s, CurrentMemoryContext, PG_GETARG_DATUM(0));
	PG_RETURN_INT32(s.scale);
}

Datum
mdb_sketch_relative_error(PG_FUNCTION_ARGS)
{
	MdbSketch s;

	mdb_sketch_of_datum(&s, CurrentMemoryContext, PG_GETARG_DATUM(0));
	PG_RETURN_FLOAT8(mdb_sketch_error(s.scale));
}

Datum
mdb_sketch_error_of_scale(PG_FUNCTION_ARGS)
{
	int32 scale = PG_GETARG_INT32(0);

	if (scale < MDB_SKETCH_SCALE_MIN || scale > MDB_SKETCH_SCALE_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid scale of a sketch: %d", scale),
				 errdetail("It must be between %d and %d.", MDB_SKETCH_SCALE_MIN, MDB_SKETCH_SCALE_MAX)));
	PG_RETURN_FLOAT8(mdb_sketch_error(scale));
}

/* (sketch): a set of (lower, upper, count), of what is not empty, low values first */
Datum
mdb_sketch_buckets(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MdbSketch s;
	MdbSketchWalk walk;
	MdbSketchStep step;

	mdb_sketch_of_datum(&s, CurrentMemoryContext, PG_GETARG_DATUM(0));
	InitMaterializedSRF(fcinfo, 0);
	mdb_sketch_walk(&walk, &s);
	while (mdb_sketch_step(&walk, &step))
	{
		Datum values[3] = {Float8GetDatum(step.lower), Float8GetDatum(step.upper),
						   Int64GetDatum((int64) step.count)};
		bool nulls[3] = {false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	PG_RETURN_NULL();
}
