/*
 * promql_func.c
 *	  What SQL that was made of an expression of Prometheus calls: arithmetic of IEEE 754, labels, checks.
 *
 * PostgreSQL's operators raise errors where a division by zero is to be Inf or NaN, and hold NaN to be equal to itself
 * and above all else.  Results are those of Prometheus 2.42 (promql/engine.go, promql/functions.go).
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"

#include "compat.h"
#include "func/func.h"
#include "func/over_time.h"

PG_FUNCTION_INFO_V1(mdb_promql_op);
PG_FUNCTION_INFO_V1(mdb_promql_compare);
PG_FUNCTION_INFO_V1(mdb_promql_math);
PG_FUNCTION_INFO_V1(mdb_promql_stale);
PG_FUNCTION_INFO_V1(mdb_promql_one);
PG_FUNCTION_INFO_V1(mdb_promql_labels);
PG_FUNCTION_INFO_V1(mdb_promql_by);

/* ---------- arithmetic ---------- */

static float8
add(float8 a, float8 b, float8 unused)
{
	return a + b;
}

static float8
subtract(float8 a, float8 b, float8 unused)
{
	return a - b;
}

static float8
multiply(float8 a, float8 b, float8 unused)
{
	return a * b;
}

static float8
divide(float8 a, float8 b, float8 unused)
{
	return a / b;
}

static float8
modulo(float8 a, float8 b, float8 unused)
{
	return fmod(a, b);
}

static float8
power(float8 a, float8 b, float8 unused)
{
	return pow(a, b);
}

static float8
angle(float8 a, float8 b, float8 unused)
{
	return atan2(a, b);
}

static float8
is_equal(float8 a, float8 b, float8 unused)
{
	return a == b;
}

static float8
is_not_equal(float8 a, float8 b, float8 unused)
{
	return a != b;
}

static float8
is_less(float8 a, float8 b, float8 unused)
{
	return a < b;
}

static float8
is_less_or_equal(float8 a, float8 b, float8 unused)
{
	return a <= b;
}

static float8
is_greater(float8 a, float8 b, float8 unused)
{
	return a > b;
}

static float8
is_greater_or_equal(float8 a, float8 b, float8 unused)
{
	return a >= b;
}

/* Go's math.Max: an infinity is above NaN, which is above all else. */
static float8
clamp_min(float8 v, float8 least, float8 unused)
{
	if (v == get_float8_infinity() || least == get_float8_infinity())
		return get_float8_infinity();
	if (isnan(v) || isnan(least))
		return get_float8_nan();
	return v > least ? v : least;
}

static float8
clamp_max(float8 v, float8 most, float8 unused)
{
	if (v == -get_float8_infinity() || most == -get_float8_infinity())
		return -get_float8_infinity();
	if (isnan(v) || isnan(most))
		return get_float8_nan();
	return v < most ? v : most;
}

static float8
clamp(float8 v, float8 least, float8 most)
{
	return clamp_min(clamp_max(v, most, 0), least, 0);
}

static float8
round_to(float8 v, float8 nearest, float8 unused)
{
	float8 inverse = 1.0 / nearest;

	return floor(v * inverse + 0.5) / inverse;
}

#define OF_ONE(name, expression)                     \
	static float8 name(float8 v, float8 a, float8 b) \
	{                                                \
		return expression;                           \
	}

OF_ONE(math_abs, fabs(v))
OF_ONE(math_acos, acos(v))
OF_ONE(math_acosh, acosh(v))
OF_ONE(math_asin, asin(v))
OF_ONE(math_asinh, asinh(v))
OF_ONE(math_atan, atan(v))
OF_ONE(math_atanh, atanh(v))
OF_ONE(math_ceil, ceil(v))
OF_ONE(math_cos, cos(v))
OF_ONE(math_cosh, cosh(v))
OF_ONE(math_deg, v * 180 / M_PI)
OF_ONE(math_exp, exp(v))
OF_ONE(math_floor, floor(v))
OF_ONE(math_ln, log(v))
OF_ONE(math_log10, log10(v))
OF_ONE(math_log2, log2(v))
OF_ONE(math_rad, v *M_PI / 180)
OF_ONE(math_sgn, v<0 ? -1 : v> 0 ? 1 : v)
OF_ONE(math_sin, sin(v))
OF_ONE(math_sinh, sinh(v))
OF_ONE(math_sqrt, sqrt(v))
OF_ONE(math_tan, tan(v))
OF_ONE(math_tanh, tanh(v))

/* ---------- calendar ---------- */

typedef struct Date
{
	int jd; /* Julian day */
	int year;
	int month;
	int day;
	int64 second; /* of the day */
} Date;

/* Seconds since 1970 in UTC, towards zero, as a date; false if there is none. */
static bool
date_of(float8 v, Date *date)
{
	int64 seconds, days;

	/* A million years is more than dates have. */
	if (!(fabs(v) < 3.0e13))
		return false;
	seconds = (int64) v;
	days = seconds / SECS_PER_DAY - (seconds % SECS_PER_DAY < 0);
	date->second = seconds - days * SECS_PER_DAY;
	days += UNIX_EPOCH_JDATE;
	if (days < 0 || days > POSTGRES_EPOCH_JDATE + (int64) 100000000)
		return false;
	date->jd = (int) days;
	j2date(date->jd, &date->year, &date->month, &date->day);
	return true;
}

#define OF_DATE(name, expression)                                         \
	static float8 name(float8 v, float8 a, float8 b)                      \
	{                                                                     \
		Date d;                                                           \
		return date_of(v, &d) ? (float8) (expression) : get_float8_nan(); \
	}

OF_DATE(date_day_of_month, d.day)
OF_DATE(date_day_of_week, j2day(d.jd))
OF_DATE(date_day_of_year, d.jd - date2j(d.year, 1, 1) + 1)
OF_DATE(date_days_in_month, day_tab[isleap(d.year)][d.month - 1])
OF_DATE(date_hour, d.second / SECS_PER_HOUR)
OF_DATE(date_minute, d.second % SECS_PER_HOUR / SECS_PER_MINUTE)
OF_DATE(date_month, d.month)
OF_DATE(date_year, d.year)

/* ---------- by name ---------- */

typedef struct Op
{
	const char *name;
	float8 (*of)(float8 v, float8 a, float8 b);
} Op;

static const Op operators[] = {{"+", add},    {"-", subtract}, {"*", multiply},  {"/", divide},
							   {"%", modulo}, {"^", power},    {"atan2", angle}, {NULL}};

static const Op comparisons[] = {
	{"==", is_equal},  {"!=", is_not_equal},        {"<", is_less}, {"<=", is_less_or_equal},
	{">", is_greater}, {">=", is_greater_or_equal}, {NULL}};

static const Op functions[] = {{"abs", math_abs},
							   {"acos", math_acos},
							   {"acosh", math_acosh},
							   {"asin", math_asin},
							   {"asinh", math_asinh},
							   {"atan", math_atan},
							   {"atanh", math_atanh},
							   {"ceil", math_ceil},
							   {"clamp", clamp},
							   {"clamp_max", clamp_max},
							   {"clamp_min", clamp_min},
							   {"cos", math_cos},
							   {"cosh", math_cosh},
							   {"day_of_month", date_day_of_month},
							   {"day_of_week", date_day_of_week},
							   {"day_of_year", date_day_of_year},
							   {"days_in_month", date_days_in_month},
							   {"deg", math_deg},
							   {"exp", math_exp},
							   {"floor", math_floor},
							   {"hour", date_hour},
							   {"ln", math_ln},
							   {"log10", math_log10},
							   {"log2", math_log2},
							   {"minute", date_minute},
							   {"month", date_month},
							   {"rad", math_rad},
							   {"round", round_to},
							   {"sgn", math_sgn},
							   {"sin", math_sin},
							   {"sinh", math_sinh},
							   {"sqrt", math_sqrt},
							   {"tan", math_tan},
							   {"tanh", math_tanh},
							   {"year", date_year},
							   {NULL}};

/* What an argument names, remembered where it is the same for all rows. */
static const Op *
op_of(FunctionCallInfo fcinfo, int argno, const Op *all)
{
	const Op *op = fcinfo->flinfo->fn_extra;
	text *name;

	if (op)
		return op;
	name = PG_GETARG_TEXT_PP(argno);
	for (op = all; op->name; op++)
		if (strlen(op->name) == VARSIZE_ANY_EXHDR(name) &&
			memcmp(op->name, VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)) == 0)
			break;
	if (op->name == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("there is no operator or function \"%s\"", text_to_cstring(name))));
	if (get_fn_expr_arg_stable(fcinfo->flinfo, argno))
		fcinfo->flinfo->fn_extra = unconstify(Op *, op);
	return op;
}

/*
 * mdb_promql_op - metricsdb.promql_op(a, operator, b).
 */
Datum
mdb_promql_op(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(op_of(fcinfo, 1, operators)->of(PG_GETARG_FLOAT8(0), PG_GETARG_FLOAT8(2), 0));
}

/*
 * mdb_promql_compare - metricsdb.promql_compare(a, operator, b).
 */
Datum
mdb_promql_compare(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(op_of(fcinfo, 1, comparisons)->of(PG_GETARG_FLOAT8(0), PG_GETARG_FLOAT8(2), 0) != 0);
}

/*
 * mdb_promql_math - metricsdb.promql_math(function, value, a, b).
 */
Datum
mdb_promql_math(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(
		op_of(fcinfo, 0, functions)->of(PG_GETARG_FLOAT8(1), PG_GETARG_FLOAT8(2), PG_GETARG_FLOAT8(3)));
}

/*
 * mdb_promql_stale - metricsdb.promql_stale(value): is it the marker of a series' end?
 */
Datum
mdb_promql_stale(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(mdb_is_stale(PG_GETARG_FLOAT8(0)));
}

/*
 * mdb_promql_one - metricsdb.promql_one(count, message): true, if there is only one of some labels.  Else
 * ERRCODE_CARDINALITY_VIOLATION.
 */
Datum
mdb_promql_one(PG_FUNCTION_ARGS)
{
	if (PG_GETARG_INT64(0) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_CARDINALITY_VIOLATION), errmsg("%s", text_to_cstring(PG_GETARG_TEXT_PP(1))),
				 errdetail("There are " INT64_FORMAT " of the same labels.", PG_GETARG_INT64(0))));
	PG_RETURN_BOOL(true);
}

/* ---------- labels ---------- */

/* Are all values texts that are not empty? */
static bool
is_normal(Jsonb *labels)
{
	JsonbIterator *it = JsonbIteratorInit(&labels->root);
	JsonbIteratorToken token;
	JsonbValue v;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		if (token == WJB_VALUE && (v.type != jbvString || v.val.string.len == 0))
			return false;
	return true;
}

/*
 * mdb_promql_labels - metricsdb.promql_labels(jsonb): tags as labels.  Values are texts; none is empty or null.
 */
Datum
mdb_promql_labels(PG_FUNCTION_ARGS)
{
	Jsonb *labels = PG_GETARG_JSONB_P(0);
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue key, v;
	JsonbParseState *state = NULL;
	MdbBytes text;

	if (!JB_ROOT_IS_OBJECT(labels))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("labels must be a JSON object")));
	if (is_normal(labels))
		PG_RETURN_JSONB_P(labels);
	it = JsonbIteratorInit(&labels->root);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = v;
		if (token != WJB_VALUE)
			continue;
		text = mdb_label_text(&v);
		if (text.len == 0)
			continue;
		v.type = jbvString;
		v.val.string.val = unconstify(char *, text.p);
		v.val.string.len = (int) text.len;
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &v);
	}
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

/*
 * mdb_promql_by - metricsdb.promql_by(labels jsonb, VARIADIC names text[]): those of these names.
 */
Datum
mdb_promql_by(PG_FUNCTION_ARGS)
{
	Jsonb *labels = PG_GETARG_JSONB_P(0);
	Datum *names;
	bool *nulls;
	int n;
	JsonbParseState *state = NULL;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &n);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < n && JB_ROOT_IS_OBJECT(labels); i++)
	{
		JsonbValue key = {.type = jbvString};
		JsonbValue *v;

		if (nulls[i])
			continue;
		key.val.string.val = VARDATA_ANY(DatumGetPointer(names[i]));
		key.val.string.len = (int) VARSIZE_ANY_EXHDR(DatumGetPointer(names[i]));
		v = findJsonbValueFromContainer(&labels->root, JB_FOBJECT, &key);
		if (v == NULL)
			continue;
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, v);
	}
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}
