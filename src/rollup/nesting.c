/*
 * nesting.c
 *	  What a bucket expression says, and whether the buckets of one are made of whole buckets of another.
 *
 * Known are time_bucket, date_bin and date_trunc with arguments that are fixed.  Where buckets follow a zone's
 * clocks finer ones must fit between all changes of its offset from UTC since 1970.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "common/int.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "exec/rollup_scan.h"
#include "metricsdb.h"
#include "rollup/language.h"

/* Monday, 3 January 2000: where buckets of time_bucket and weeks begin. */
#define MONDAY (2 * USECS_PER_DAY)

/* The bucket before today's, and the one after, must be times. */
#define MAX_WIDTH_MONTHS (1000 * 12)

/* ---------- arguments ---------- */

/* The value of an argument that does not depend on anything; false if there is none, or it is NULL. */
static bool
fixed_value(Node *node, Oid type, Datum *value)
{
	Const *c = (Const *) eval_const_expressions(NULL, copyObject(node));

	if (!IsA(c, Const) || c->constisnull || c->consttype != type)
		return false;
	*value = c->constvalue;
	return true;
}

static bool
is_fixed_null(Node *node)
{
	Const *c = (Const *) eval_const_expressions(NULL, copyObject(node));

	return IsA(c, Const) && c->constisnull;
}

/*
 * A zone of a region, by name.  Names of letters alone may be abbreviations, whose meaning is a setting.
 */
static bool
fixed_zone(Node *node, char **zone)
{
	Datum value;

	if (!fixed_value(node, TEXTOID, &value))
		return false;
	*zone = TextDatumGetCString(value);
	return (strchr(*zone, '/') != NULL || pg_strcasecmp(*zone, "UTC") == 0 ||
			pg_strcasecmp(*zone, "GMT") == 0) &&
		   pg_tzset(*zone) != NULL;
}

static int64
floor_mod(int64 a, int64 b)
{
	int64 m = a % b;

	return m < 0 ? m + b : m;
}

static int64
month_of(Timestamp t)
{
	int year, month, day;

	j2date((int) (t / USECS_PER_DAY - (t % USECS_PER_DAY < 0)) + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	return ((int64) year - 2000) * 12 + month - 1;
}

/* ---------- functions ---------- */

/* Width and origin of a rule, the latter a time; false if buckets like these cannot be. */
static bool
set_width(MdbBucketRule *r, Datum width, int64 origin)
{
	Interval *w = DatumGetIntervalP(width);

	if (w->month != 0)
	{
		if (w->month < 0 || w->month > MAX_WIDTH_MONTHS || w->day != 0 || w->time != 0)
			return false;
		r->months = w->month;
		r->origin = floor_mod(month_of(origin), w->month);
		return true;
	}
	if (pg_mul_s64_overflow(w->day, USECS_PER_DAY, &r->size) ||
		pg_add_s64_overflow(r->size, w->time, &r->size) || r->size <= 0 ||
		r->size > MAX_WIDTH_MONTHS * 31 * USECS_PER_DAY)
		return false;
	r->origin = floor_mod(origin, r->size);
	return true;
}

/* time_bucket(width, time [, origin or offset]) of integers */
static bool
integer_bucket(MdbBucketRule *r, List *args)
{
	int64 v[2] = {0, 0};
	int at[2] = {0, 2};

	for (int i = 0; i < 2 && at[i] < list_length(args); i++)
	{
		Datum value;

		if (!fixed_value(list_nth(args, at[i]), r->time_type, &value))
			return false;
		v[i] = r->time_type == INT2OID   ? DatumGetInt16(value)
			   : r->time_type == INT4OID ? DatumGetInt32(value)
										 : DatumGetInt64(value);
	}
	if (v[0] <= 0)
		return false;
	r->size = v[0];
	r->origin = floor_mod(v[1], v[0]);
	return true;
}

/* An origin in microseconds of UTC, or, in a zone, of its local time. */
static bool
fixed_origin(MdbBucketRule *r, Node *node, int64 *origin)
{
	Datum value;

	if (!fixed_value(node, r->time_type, &value))
		return false;
	if (r->time_type == DATEOID)
		value = DirectFunctionCall1(date_timestamp, value);
	else if (r->zone)
		value = DirectFunctionCall2(timestamptz_zone, CStringGetTextDatum(r->zone), value);
	*origin = DatumGetTimestamp(value);
	return !TIMESTAMP_NOT_FINITE(*origin);
}

/* The other forms of time_bucket; an offset is as good as an origin, unless it is of months or moves clocks. */
static bool
time_bucket_rule(MdbBucketRule *r, List *args)
{
	Node *third = list_length(args) > 2 ? lthird(args) : NULL;
	Node *origin_arg = NULL;
	Node *offset_arg = NULL;
	int64 origin = MONDAY;
	Datum width, offset;

	if (r->time_type == INT2OID || r->time_type == INT4OID || r->time_type == INT8OID)
		return integer_bucket(r, args);
	if (!fixed_value(linitial(args), INTERVALOID, &width))
		return false;
	if (third != NULL && exprType(third) == TEXTOID)
	{
		if (!fixed_zone(third, &r->zone) || list_length(args) != 5)
			return false;
		if (!is_fixed_null(lfourth(args)))
			origin_arg = lfourth(args);
		if (!is_fixed_null(list_nth(args, 4)))
			offset_arg = list_nth(args, 4);
	}
	else if (third != NULL && exprType(third) == INTERVALOID)
		offset_arg = third;
	else
		origin_arg = third;
	if (DatumGetIntervalP(width)->month != 0)
		origin = 0;
	if (origin_arg && !fixed_origin(r, origin_arg, &origin))
		return false;
	if (offset_arg)
	{
		Interval *o;

		if (!fixed_value(offset_arg, INTERVALOID, &offset))
			return false;
		o = DatumGetIntervalP(offset);
		if (o->month != 0 || r->zone || DatumGetIntervalP(width)->month != 0)
			r->nests = false;
		else
			origin += o->day * USECS_PER_DAY + o->time;
	}
	return set_width(r, width, origin);
}

/* date_trunc(unit, time [, zone]) */
static bool
date_trunc_rule(MdbBucketRule *r, List *args)
{
	static const struct
	{
		const char *name;
		int64 size;
		int32 months;
	} units[] = {{"microsecond", 1},       {"microseconds", 1},       {"millisecond", 1000},
				 {"milliseconds", 1000},   {"second", USECS_PER_SEC}, {"minute", USECS_PER_MINUTE},
				 {"hour", USECS_PER_HOUR}, {"day", USECS_PER_DAY},    {"week", 7 * USECS_PER_DAY},
				 {"month", 0, 1},          {"quarter", 0, 3},         {"year", 0, 12}};
	Datum unit;

	if (!fixed_value(linitial(args), TEXTOID, &unit) ||
		(list_length(args) == 3 && !fixed_zone(lthird(args), &r->zone)))
		return false;
	for (int i = 0; i < lengthof(units); i++)
		if (pg_strcasecmp(units[i].name, TextDatumGetCString(unit)) == 0)
		{
			r->size = units[i].size;
			r->months = units[i].months;
			r->origin = r->size == 7 * USECS_PER_DAY ? MONDAY : 0;
			return true;
		}
	return false;
}

static bool
date_bin_rule(MdbBucketRule *r, List *args)
{
	Datum width;
	int64 origin;

	return fixed_value(linitial(args), INTERVALOID, &width) && DatumGetIntervalP(width)->month == 0 &&
		   fixed_origin(r, lthird(args), &origin) && set_width(r, width, origin);
}

static bool
is_time_bucket(Oid function)
{
	char *name = function < FirstNormalObjectId ? NULL : get_func_name(function);

	return name != NULL && strcmp(name, "time_bucket") == 0 &&
		   get_func_namespace(function) == get_namespace_oid(MDB_SCHEMA, true);
}

/*
 * mdb_bucket_rule - what a bucket expression over the time column says.
 *
 * False, with the reason, if it is none that a continuous aggregate can have.
 */
bool
mdb_bucket_rule(Node *expr, Index varno, AttrNumber time_attno, MdbBucketRule *rule, MdbReason *reason)
{
	FuncExpr *f;
	Var *time;
	bool ok = false;

	memset(rule, 0, sizeof(*rule));
	rule->nests = true;
	reason->hint =
		"Group by metricsdb.time_bucket('1 hour', time), with a time zone if it is to be days of one: "
		"time_bucket('1 day', time, 'Europe/Berlin').";
	reason->detail = "It is no time_bucket(), date_bin() or date_trunc() of the time column.";
	/* What is constant is computed here, by whoever reads the definition. */
	if (!mdb_bucket_is_safe(expr, false))
		return false;
	/* With the defaults of arguments that were left out. */
	f = (FuncExpr *) eval_const_expressions(NULL, copyObject(expr));
	if (!IsA(f, FuncExpr) || list_length(f->args) < 2)
		return false;
	time = (Var *) lsecond(f->args);
	if (!IsA(time, Var) || time->varno != varno || time->varattno != time_attno || time->varlevelsup != 0)
		return false;
	rule->function = f->funcid;
	rule->time_type = time->vartype;
	reason->detail =
		"Its other arguments must be constants, its width not more than a thousand years, and zones those of a region, by name.";
	switch (f->funcid)
	{
		case F_DATE_BIN_INTERVAL_TIMESTAMP_TIMESTAMP:
		case F_DATE_BIN_INTERVAL_TIMESTAMPTZ_TIMESTAMPTZ:
			ok = date_bin_rule(rule, f->args);
			break;
		case F_DATE_TRUNC_TEXT_TIMESTAMPTZ:
			reason->detail = "It depends on the session's time zone.";
			reason->hint =
				"Name one: date_trunc('day', time, 'Europe/Berlin'), or use metricsdb.time_bucket().";
			return false;
		case F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT:
		case F_DATE_TRUNC_TEXT_TIMESTAMP:
			ok = date_trunc_rule(rule, f->args);
			break;
		default:
			if (is_time_bucket(f->funcid))
				ok = time_bucket_rule(rule, f->args);
			else
				reason->detail = "It is no time_bucket(), date_bin() or date_trunc() of the time column.";
			break;
	}
	/* Dates are days. */
	if (ok && rule->time_type == DATEOID && rule->months == 0)
	{
		if (rule->size % USECS_PER_DAY != 0)
			ok = false;
		rule->size /= USECS_PER_DAY;
		rule->origin /= USECS_PER_DAY;
	}
	return ok;
}

/* ---------- nesting ---------- */

static int64
day_of(const MdbBucketRule *r)
{
	return r->time_type == DATEOID ? 1 : USECS_PER_DAY;
}

/* Are all offsets of a zone from UTC since 1970 multiples of so many microseconds? */
static bool
offsets_fit(const char *zone, int64 size)
{
	pg_tz *tz = pg_tzset(zone);
	pg_time_t at = 0, boundary;
	long before, after;
	int isdst;
	int changed;

	if (tz == NULL)
		return false;
	while ((changed = pg_next_dst_boundary(&at, &before, &isdst, &boundary, &after, &isdst, tz)) >= 0)
	{
		if ((int64) before * USECS_PER_SEC % size != 0)
			return false;
		if (changed == 0)
			break;
		if ((int64) after * USECS_PER_SEC % size != 0)
			return false;
		/* Rules repeat themselves after 400 years. */
		if (boundary <= at || boundary > INT64CONST(400) * 366 * SECS_PER_DAY)
			break;
		at = boundary;
	}
	return changed >= 0;
}

static bool
same_zone(const char *a, const char *b)
{
	return (a == NULL && b == NULL) || (a != NULL && b != NULL && pg_strcasecmp(a, b) == 0);
}

/* Buckets by the same clock, or by none. */
static bool
nests_alike(const MdbBucketRule *coarse, const MdbBucketRule *fine)
{
	if (coarse->months == 0)
		return fine->months == 0 && coarse->size % fine->size == 0 &&
			   (coarse->origin - fine->origin) % fine->size == 0;
	if (fine->months != 0)
		return coarse->months % fine->months == 0 && (coarse->origin - fine->origin) % fine->months == 0;
	/* Months begin at any day's midnight. */
	return day_of(fine) % fine->size == 0 && fine->origin % fine->size == 0;
}

/*
 * mdb_bucket_nests - is each bucket of one rule made of whole buckets of another?
 */
bool
mdb_bucket_nests(const MdbBucketRule *coarse, const MdbBucketRule *fine)
{
	if (!coarse->nests || !fine->nests || coarse->time_type != fine->time_type)
		return false;
	if (coarse->zone == NULL && fine->zone == NULL)
		return nests_alike(coarse, fine);
	if (fine->zone != NULL)
	{
		bool days = fine->months != 0 || fine->size % day_of(fine) == 0;

		/* Hours of a clock that is set back come twice. */
		return same_zone(coarse->zone, fine->zone) && days && coarse->function == fine->function &&
			   nests_alike(coarse, fine);
	}
	/* Midnights of a zone lie on boundaries of fixed buckets. */
	if (coarse->months == 0 && coarse->size % day_of(coarse) != 0)
		return false;
	return fine->months == 0 && day_of(fine) % fine->size == 0 && fine->origin % fine->size == 0 &&
		   (coarse->months != 0 || coarse->origin % fine->size == 0) && offsets_fit(coarse->zone, fine->size);
}

/*
 * mdb_bucket_granularity - width of buckets in units of the time; if it is not fixed, that of a day.
 */
int64
mdb_bucket_granularity(const MdbBucketRule *rule)
{
	if (rule->months != 0 || (rule->zone != NULL && rule->size > day_of(rule)))
		return day_of(rule);
	return rule->size;
}
