/*
 * stretch.c
 *	  Expressions over the time of which each value holds for whole buckets of an aggregate.
 *
 * A query is answered from buckets only if no bucket lies in two of its groups.  For widths that are fixed that is
 * arithmetic.  In the local time of a zone it is so from some time on: when its offset from UTC, and the times at
 * which its clocks change, are multiples of the bucket's width.  (Up to some year of the 19th or 20th century local
 * time was that of the sun.)  What is earlier is left to the raw rows.
 *
 * The session's zone may be another one when a plan is executed than it was when it was made, so
 * rollup_valid_from() answers that then.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "exec/bucket.h"
#include "exec/pushdown.h"
#include "metricsdb.h"
#include "rollup/stretch.h"

/* Where buckets of time_bucket begin. */
#define MONDAY_DAYS 2

/* From here on floor(extract(epoch from t) / w) may round over a boundary. */
#define EPOCH_LIMIT (INT64CONST(5000000000) * USECS_PER_SEC)
#define UNIX_EPOCH  ((UNIX_EPOCH_JDATE - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY)

/* Rules of zones are looked at from here, before which there were none, to here, when they repeat for long. */
#define ZONES_BEGIN (INT64CONST(-5364662400)) /* 1800, in seconds from 1970 */
#define ZONES_END   (INT64CONST(7258118400))  /* 2200 */

/* ---------- reading expressions ---------- */

static bool
const_of(PlannerInfo *root, Node *node, Datum *value)
{
	Const *c = (Const *) eval_const_expressions(root, copyObject(node));

	if (c == NULL || !IsA(c, Const) || c->constisnull)
		return false;
	*value = c->constvalue;
	return true;
}

static char *
text_of(PlannerInfo *root, Node *node)
{
	Datum value;

	return const_of(root, node, &value) ? TextDatumGetCString(value) : NULL;
}

/* Days and times of an interval without months, in the time's units. */
static bool
interval_size(const MdbStretch *s, const Interval *i, int64 *size)
{
	if (i->month != 0 || pg_mul_s64_overflow(i->day, USECS_PER_DAY, size) ||
		pg_add_s64_overflow(*size, i->time, size))
		return false;
	if (s->day == 1)
	{
		if (*size % USECS_PER_DAY != 0)
			return false;
		*size /= USECS_PER_DAY;
	}
	return true;
}

/* Months from January 2000 of a local time. */
static int32
month_of(const MdbStretch *s, int64 t)
{
	int64 day = t / s->day - (t % s->day < 0);
	int year, month, mday;

	j2date((int) day + POSTGRES_EPOCH_JDATE, &year, &month, &mday);
	return (year - 2000) * 12 + month - 1;
}

static bool
is_finite_time(Oid type, int64 t)
{
	return type == DATEOID ? !DATE_NOT_FINITE(t) : !TIMESTAMP_NOT_FINITE(t);
}

/* Widths that are intervals: time_bucket, date_bin. */
static bool
width_stretch(PlannerInfo *root, Oid time_type, const MdbBucketCall *call, MdbStretch *s)
{
	Datum value;
	Interval *width;
	int64 by;

	if (!const_of(root, call->width, &value))
		return false;
	width = DatumGetIntervalP(value);
	s->first = call->origin ? 0 : MONDAY_DAYS * s->day;
	if (call->origin && !const_of(root, call->origin, &value))
	{
		/* time_bucket(width, time, zone, NULL, NULL) has none. */
		Const *c = (Const *) eval_const_expressions(root, copyObject(call->origin));

		if (!IsA(c, Const) || !c->constisnull || !call->zone_of_origin)
			return false;
		s->first = MONDAY_DAYS * s->day;
	}
	else if (call->origin)
	{
		if (call->zone_of_origin)
			value =
				DirectFunctionCall2(timestamptz_zone, CStringGetTextDatum(s->zone ? s->zone : "UTC"), value);
		s->first = mdb_push_time(&(MdbTable){.time_type = time_type}, value);
		if (!is_finite_time(time_type, s->first))
			return false;
	}
	if (call->offset)
	{
		Const *c = (Const *) eval_const_expressions(root, copyObject(call->offset));

		if (!IsA(c, Const))
			return false;
		if (!c->constisnull)
		{
			if (call->zone_of_origin || width->month != 0 ||
				!interval_size(s, DatumGetIntervalP(c->constvalue), &by) ||
				pg_add_s64_overflow(s->first, by, &s->first))
				return false;
		}
		else if (!call->zone_of_origin)
			return false;
	}
	if (width->month != 0)
	{
		s->first_month = call->origin ? month_of(s, s->first) : 0;
		s->months = width->month;
		s->size = s->day;
		s->first = 0;
		return width->month > 0 && width->day == 0 && width->time == 0;
	}
	return interval_size(s, width, &s->size) && s->size > 0;
}

/* Units that are named: date_trunc, extract, casts to date. */
static bool
unit_stretch(PlannerInfo *root, const MdbBucketCall *call, MdbStretch *s)
{
	static const struct
	{
		const char *name;
		int64 size;
		int months;
		int first_month;
		bool truncates; /* else it is for extract() alone */
	} units[] = {{"second", USECS_PER_SEC, .truncates = true},
				 {"minute", USECS_PER_MINUTE, .truncates = true},
				 {"hour", USECS_PER_HOUR, .truncates = true},
				 {"day", USECS_PER_DAY, .truncates = true},
				 {"dow", USECS_PER_DAY},
				 {"isodow", USECS_PER_DAY},
				 {"doy", USECS_PER_DAY},
				 {"week", 7 * USECS_PER_DAY, .truncates = true},
				 {"isoyear", 7 * USECS_PER_DAY},
				 {"month", 0, 1, 0, true},
				 {"quarter", 0, 3, 0, true},
				 {"year", 0, 12, 0, true},
				 {"decade", 0, 120, 0, true},
				 {"century", 0, 1200, 12, true},
				 {"millennium", 0, 12000, 12, true}};
	char *unit = call->width ? text_of(root, call->width) : "day";

	for (int i = 0; unit && i < lengthof(units); i++)
	{
		if (pg_strcasecmp(unit, units[i].name) != 0)
			continue;
		/* Seconds are told with their fractions. */
		if (call->extract ? units[i].size == USECS_PER_SEC : !units[i].truncates)
			return false;
		s->months = units[i].months;
		s->first_month = units[i].first_month;
		s->size = s->months ? USECS_PER_DAY : units[i].size;
		s->first = units[i].size == 7 * USECS_PER_DAY ? MONDAY_DAYS * USECS_PER_DAY : 0;
		return true;
	}
	return false;
}

/* floor(extract(epoch from t) / w), of whole microseconds */
static bool
epoch_stretch(PlannerInfo *root, const MdbBucketCall *call, MdbStretch *s)
{
	Datum value;
	double seconds;

	if (!const_of(root, call->width, &value))
		return false;
	seconds = exprType(call->width) == NUMERICOID
				  ? DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, value))
				  : DatumGetFloat8(value);
	if (!(seconds >= 1e-3 && seconds <= 1e9) || rint(seconds * 1000) != seconds * 1000)
		return false;
	s->size = (int64) rint(seconds * 1000) * 1000;
	s->first = UNIX_EPOCH;
	s->valid_from = UNIX_EPOCH - EPOCH_LIMIT;
	s->valid_to = UNIX_EPOCH + EPOCH_LIMIT;
	return true;
}

static MdbStretch *
stretch_of_call(PlannerInfo *root, Oid time_type, const MdbBucketCall *call)
{
	MdbStretch *s = palloc0(sizeof(MdbStretch));
	bool ok = false;

	s->day = time_type == DATEOID ? 1 : USECS_PER_DAY;
	s->valid_from = PG_INT64_MIN;
	s->valid_to = PG_INT64_MAX;
	s->zoned = call->zoned;
	if (call->zone)
	{
		s->zone = text_of(root, call->zone);
		if (s->zone == NULL)
			return NULL;
		/* There local time is UTC, always. */
		if (pg_strcasecmp(s->zone, "UTC") == 0 || pg_strcasecmp(s->zone, "GMT") == 0 ||
			pg_strcasecmp(s->zone, "Etc/UTC") == 0)
		{
			s->zoned = false;
			s->zone = NULL;
		}
	}
	switch (call->kind)
	{
		case MDB_STEP_EXACT:
			break;
		case MDB_STEP_WIDTH:
			ok = width_stretch(root, time_type, call, s);
			break;
		case MDB_STEP_UNIT:
			ok = unit_stretch(root, call, s);
			break;
		case MDB_STEP_EPOCH:
			ok = epoch_stretch(root, call, s);
			break;
	}
	return ok ? s : NULL;
}

/* ---------- times that are integers or dates, of which bucket.c knows nothing ---------- */

typedef struct Search
{
	PlannerInfo *root;
	const MdbTable *table;
	Index varno;
	List *found;
} Search;

static bool
is_time(const Search *search, Node *node)
{
	Var *var = (Var *) mdb_strip_relabel(node);

	return IsA(var, Var) && var->varno == search->varno && var->varattno == search->table->time_attno &&
		   var->varlevelsup == 0;
}

static int64
integer_of(Oid type, Datum value)
{
	return type == INT2OID   ? DatumGetInt16(value)
		   : type == INT4OID ? DatumGetInt32(value)
							 : DatumGetInt64(value);
}

/* time_bucket(width, time [, offset]) of integers, time_bucket(width, time [, origin | offset]) of dates */
static MdbStretch *
plain_stretch(const Search *search, FuncExpr *call)
{
	Oid type = search->table->time_type;
	Node *third = list_length(call->args) == 3 ? lthird(call->args) : NULL;
	MdbStretch *s;
	Datum value;
	char *name = get_func_name(call->funcid);

	if (name == NULL || strcmp(name, "time_bucket") != 0 ||
		get_func_namespace(call->funcid) != get_namespace_oid(MDB_SCHEMA, true) ||
		list_length(call->args) > 3 || !is_time(search, lsecond(call->args)))
		return NULL;
	if (type == DATEOID)
	{
		MdbBucketCall c = {.kind = MDB_STEP_WIDTH, .width = linitial(call->args)};

		if (third && exprType(third) == INTERVALOID)
			c.offset = third;
		else
			c.origin = third;
		return stretch_of_call(search->root, type, &c);
	}
	s = palloc0(sizeof(MdbStretch));
	s->valid_from = PG_INT64_MIN;
	s->valid_to = PG_INT64_MAX;
	if (!const_of(search->root, linitial(call->args), &value))
		return NULL;
	s->size = integer_of(type, value);
	if (third && !const_of(search->root, third, &value))
		return NULL;
	s->first = third ? integer_of(type, value) : 0;
	return s->size > 0 ? s : NULL;
}

/* Collects stretches; true if the time comes in otherwise. */
static bool
find_plain(Node *node, Search *search)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return true;
	if (IsA(node, FuncExpr))
	{
		MdbStretch *s =
			list_length(((FuncExpr *) node)->args) >= 2 ? plain_stretch(search, (FuncExpr *) node) : NULL;

		if (s)
		{
			search->found = lappend(search->found, s);
			return false;
		}
	}
	return expression_tree_walker(node, find_plain, search);
}

/*
 * mdb_stretches_of - the stretches that an expression over the time alone is constant for, MdbStretch: within all
 * of them its value is one.  NIL if there are none, or they are not known.
 *
 * With root the values of parameters count, for a plan that is made for these alone.
 */
List *
mdb_stretches_of(PlannerInfo *root, const MdbTable *table, Index varno, Node *expr)
{
	List *result = NIL;
	ListCell *lc;

	/* Arguments that have defaults come in. */
	expr = eval_const_expressions(root, copyObject(expr));
	if (table->time_type != TIMESTAMPOID && table->time_type != TIMESTAMPTZOID)
	{
		Search search = {.root = root, .table = table, .varno = varno};

		if (!mdb_uses_only(expr, varno, table, MDB_ROLE_TIME) || find_plain(expr, &search))
			return NIL;
		return search.found;
	}
	foreach (lc, mdb_bucket_calls(table, varno, expr))
	{
		MdbStretch *s = stretch_of_call(root, table->time_type, lfirst(lc));

		if (s == NULL)
			return NIL;
		result = lappend(result, s);
	}
	return result;
}

/* ---------- which hold whole buckets ---------- */

/* Are a stretch's boundaries among the bucket's, both in the same local time? */
static bool
boundaries_fit(const MdbStretch *bucket, const MdbStretch *s)
{
	int64 apart;

	if (bucket->months != 0)
		return s->months != 0 && s->months % bucket->months == 0 &&
			   (s->first_month - bucket->first_month) % bucket->months == 0;
	/* Those of months are midnights. */
	return s->size % bucket->size == 0 && !pg_sub_s64_overflow(s->first, bucket->first, &apart) &&
		   apart % bucket->size == 0;
}

/*
 * From which time on is local time an offset from UTC that is a multiple of the bucket's width, and do clocks
 * change where a bucket begins?  PG_INT64_MAX: it never is.
 */
static int64
zone_fits_from(pg_tz *tz, int64 size, int64 first)
{
	int64 from = PG_INT64_MIN;
	pg_time_t t = ZONES_BEGIN;
	pg_time_t boundary;
	long before, after;
	int isdst_before, isdst_after;

	if (tz == NULL)
		return PG_INT64_MAX;
	for (;;)
	{
		int found = pg_next_dst_boundary(&t, &before, &isdst_before, &boundary, &after, &isdst_after, tz);
		int64 at;

		if (found < 0)
			return PG_INT64_MAX;
		if (found == 0 || boundary > ZONES_END)
			return before * USECS_PER_SEC % size == 0 ? from : PG_INT64_MAX;
		at = boundary * USECS_PER_SEC + UNIX_EPOCH;
		if (before * USECS_PER_SEC % size != 0)
			from = at;
		if (before != after && (at - first) % size != 0)
			from = at + size;
		t = boundary;
	}
}

/* The same where buckets lie in the local time of a zone: of another one they do not fit. */
static int64
fits_from(const MdbStretch *bucket, pg_tz *tz)
{
	if (!bucket->zoned)
		return zone_fits_from(tz, bucket->size, bucket->first);
	return bucket->zone && tz && pg_strcasecmp(pg_get_timezone_name(tz), bucket->zone) == 0 ? PG_INT64_MIN
																							: PG_INT64_MAX;
}

/*
 * mdb_stretch_covers - does each bucket of an aggregate lie in one stretch?
 *
 * If so, it is known for buckets in [*from, *to); with *session, for those from rollup_valid_from() on, too.
 */
bool
mdb_stretch_covers(const MdbStretch *bucket, const MdbStretch *stretch, int64 *from, int64 *to, bool *session)
{
	*from = Max(bucket->valid_from, stretch->valid_from);
	*to = Min(bucket->valid_to, stretch->valid_to);
	*session = stretch->zoned && stretch->zone == NULL;
	if (!boundaries_fit(bucket, stretch))
		return false;
	if (bucket->zoned)
	{
		/* Hours of a zone are not all the same. */
		if (bucket->zone == NULL || (bucket->months == 0 && bucket->size % bucket->day != 0) ||
			!stretch->zoned)
			return false;
		if (stretch->zone)
			return pg_strcasecmp(stretch->zone, bucket->zone) == 0;
	}
	else if (bucket->months != 0)
		return !stretch->zoned;
	if (stretch->zoned)
	{
		int64 fits = fits_from(bucket, stretch->zone ? pg_tzset(stretch->zone) : session_timezone);

		if (!*session)
			*from = Max(*from, fits);
		return fits != PG_INT64_MAX;
	}
	return true;
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_rollup_valid_from);

/* (zone of buckets or NULL, their width, the beginning of one): from when on local times of the session fit */
Datum
mdb_rollup_valid_from(PG_FUNCTION_ARGS)
{
	MdbStretch bucket = {.zoned = !PG_ARGISNULL(0), .day = USECS_PER_DAY};
	int64 from;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_GETARG_INT64(1) <= 0)
		PG_RETURN_TIMESTAMPTZ(DT_NOEND);
	if (bucket.zoned)
		bucket.zone = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bucket.size = PG_GETARG_INT64(1);
	bucket.first = PG_GETARG_INT64(2);
	from = fits_from(&bucket, session_timezone);
	PG_RETURN_TIMESTAMPTZ(from == PG_INT64_MIN ? DT_NOBEGIN : from == PG_INT64_MAX ? DT_NOEND : from);
}
