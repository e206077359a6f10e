/*
 * bucket.c
 *	  Expressions over the time column that are constant for stretches of time: which, and for how long.
 *
 * Known are calls of time_bucket, date_bin, date_trunc, extract and date_part, casts to date, and
 * floor(extract(epoch from t) / w), also with the time AT TIME ZONE; and whatever is computed of these.
 * The value of such an expression is only ever computed by PostgreSQL's own functions, for one time of a
 * stretch; here is only told how far it holds.  Stretches may be shorter than they could be.
 */
#include "postgres.h"

#include <math.h>

#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "exec/bucket.h"
#include "exec/pushdown.h"
#include "metricsdb.h"

/* Seconds from 1970 from which on floor(extract(epoch from t) / w) may round over a boundary. */
#define EPOCH_LIMIT (INT64CONST(5000000000))

#define UNIX_EPOCH  ((UNIX_EPOCH_JDATE - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY)

/* Monday, 3 January 2000: where buckets of time_bucket begin. */
#define MONDAY (2 * USECS_PER_DAY)

/* One call that makes stretches of times. */
typedef struct Step
{
	MdbBucketCall call;

	ExprState *zone_state, *width_state, *origin_state, *offset_state;
	pg_tz *tz;     /* NULL: none */
	int64 size;    /* 0: each time for itself */
	int64 first;   /* a boundary, in local time */
	int64 margin;  /* so near to the ends of time local or moved times may be out of range: each for itself */
	int64 span_lo; /* times of the same offset from UTC, as far as is known */
	int64 span_hi;
	int64 gmtoff;
} Step;

struct MdbBucketing
{
	int nsteps;
	Step **steps;
	ExprContext *pending; /* to take the values of widths, origins and zones from; NULL: they are known */
};

typedef struct Finding
{
	const MdbTable *table;
	Index varno;
	List *steps;
} Finding;

/* ---------- recognising ---------- */

static bool
is_time(const Finding *f, Node *node)
{
	Var *var = (Var *) mdb_strip_relabel(node);

	return var != NULL && IsA(var, Var) && var->varno == f->varno && var->varattno == f->table->time_attno &&
		   var->varlevelsup == 0 && var->varattno > 0;
}

static bool
is_fixed(Node *node)
{
	return !contain_var_clause(node) && !contain_volatile_functions(node) && !contain_subplans(node);
}

/* The function and arguments of a call. */
static Oid
call_of(Node *node, List **args)
{
	if (IsA(node, FuncExpr))
	{
		*args = ((FuncExpr *) node)->args;
		return ((FuncExpr *) node)->funcid;
	}
	if (IsA(node, OpExpr))
	{
		OpExpr *op = (OpExpr *) node;

		*args = op->args;
		return OidIsValid(op->opfuncid) ? op->opfuncid : get_opcode(op->opno);
	}
	return InvalidOid;
}

/* The time, perhaps as local time of a zone. */
static bool
time_argument(const Finding *f, Node *node, Step *s)
{
	List *args;
	Oid function = call_of(mdb_strip_relabel(node), &args);

	if (is_time(f, node))
		return true;
	if (function == F_TIMEZONE_TEXT_TIMESTAMPTZ && is_fixed(linitial(args)) && is_time(f, lsecond(args)))
	{
		s->call.zoned = true;
		s->call.zone = linitial(args);
		return true;
	}
	if (function == F_TIMESTAMP_TIMESTAMPTZ && is_time(f, linitial(args)))
	{
		s->call.zoned = true;
		return true;
	}
	return false;
}

/*
 * A zone can be followed only where its name is not one of the abbreviations, which PostgreSQL looks up
 * first.  They consist of letters alone.
 */
static bool
zone_is_known(Node *zone)
{
	char *name;

	if (zone == NULL)
		return true;
	if (!IsA(zone, Const) || ((Const *) zone)->constisnull)
		return false;
	name = TextDatumGetCString(((Const *) zone)->constvalue);
	return (strchr(name, '/') != NULL || pg_strcasecmp(name, "UTC") == 0 ||
			pg_strcasecmp(name, "GMT") == 0) &&
		   pg_tzset(name) != NULL;
}

/* time_bucket or time_bucket_gapfill, which is the same here? */
static bool
is_time_bucket(Oid function, bool *gapfill)
{
	char *name = function < FirstNormalObjectId ? NULL : get_func_name(function);

	*gapfill = name != NULL && strcmp(name, "time_bucket_gapfill") == 0;
	return name != NULL && (*gapfill || strcmp(name, "time_bucket") == 0) &&
		   get_func_namespace(function) == get_namespace_oid(MDB_SCHEMA, true);
}

/* The other forms of time_bucket: what comes behind the time tells which it is. */
static bool
time_bucket_arguments(Finding *f, List *args, bool gapfill, Step *s)
{
	Node *third = list_length(args) > 2 ? lthird(args) : NULL;

	s->call.kind = MDB_STEP_WIDTH;
	s->call.width = linitial(args);
	if (exprType(s->call.width) != INTERVALOID)
		return false;
	for (int i = 2; i < list_length(args); i++)
		if (!is_fixed(list_nth(args, i)))
			return false;
	if (third == NULL)
		return true;
	if (gapfill)
	{
		/* width, time, perhaps zone, and the range to be filled, which is nothing to us */
		if (list_length(args) < 5)
			return true;
		if (s->call.zoned)
			return false;
		s->call.zoned = s->call.zone_of_origin = true;
		s->call.zone = third;
	}
	else if (exprType(third) == INTERVALOID)
		s->call.offset = third;
	else if (exprType(third) != TEXTOID)
		s->call.origin = third;
	else
	{
		/* width, time, zone, origin, offset */
		if (s->call.zoned || list_length(args) != 5)
			return false;
		s->call.zoned = true;
		s->call.zone = third;
		s->call.origin = lfourth(args);
		s->call.offset = list_nth(args, 4);
		s->call.zone_of_origin = true;
	}
	return true;
}

/* Is this a call that makes stretches? */
static Step *
step_of(Finding *f, Node *node)
{
	Step *s = palloc0(sizeof(Step));
	List *args = NIL;
	List *inner;
	Oid function = call_of(node, &args);
	Oid time_type = f->table->time_type;
	bool ok = false, gapfill;

	if (!OidIsValid(function))
		return NULL;
	switch (function)
	{
		case F_DATE_BIN_INTERVAL_TIMESTAMP_TIMESTAMP:
		case F_DATE_BIN_INTERVAL_TIMESTAMPTZ_TIMESTAMPTZ:
			s->call.kind = MDB_STEP_WIDTH;
			s->call.width = linitial(args);
			s->call.origin = lthird(args);
			ok = is_fixed(s->call.origin) && time_argument(f, lsecond(args), s);
			break;
		case F_DATE_TRUNC_TEXT_TIMESTAMPTZ:
			s->call.kind = MDB_STEP_UNIT;
			s->call.width = linitial(args);
			s->call.zoned = true;
			ok = is_time(f, lsecond(args));
			break;
		case F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT:
			s->call.kind = MDB_STEP_UNIT;
			s->call.width = linitial(args);
			s->call.zoned = true;
			s->call.zone = lthird(args);
			ok = is_time(f, lsecond(args));
			break;
		case F_DATE_TRUNC_TEXT_TIMESTAMP:
			s->call.kind = MDB_STEP_UNIT;
			s->call.width = linitial(args);
			ok = time_argument(f, lsecond(args), s);
			break;
		case F_EXTRACT_TEXT_TIMESTAMPTZ:
		case F_DATE_PART_TEXT_TIMESTAMPTZ:
			s->call.kind = MDB_STEP_UNIT;
			s->call.extract = true;
			s->call.width = linitial(args);
			s->call.zoned = true;
			ok = is_time(f, lsecond(args));
			break;
		case F_EXTRACT_TEXT_TIMESTAMP:
		case F_DATE_PART_TEXT_TIMESTAMP:
			s->call.kind = MDB_STEP_UNIT;
			s->call.extract = true;
			s->call.width = linitial(args);
			ok = time_argument(f, lsecond(args), s);
			break;
		case F_DATE_TIMESTAMPTZ:
			s->call.kind = MDB_STEP_UNIT;
			s->call.zoned = true;
			ok = is_time(f, linitial(args));
			break;
		case F_DATE_TIMESTAMP:
			s->call.kind = MDB_STEP_UNIT;
			ok = time_argument(f, linitial(args), s);
			break;
		case F_FLOOR_NUMERIC:
		case F_FLOOR_FLOAT8:
		{
			/* Of extract(epoch from t) / w? */
			Oid divide = call_of(linitial(args), &args);
			Oid extract = divide == F_NUMERIC_DIV || divide == F_FLOAT8DIV ? call_of(linitial(args), &inner)
																		   : InvalidOid;

			if (extract != F_EXTRACT_TEXT_TIMESTAMPTZ && extract != F_DATE_PART_TEXT_TIMESTAMPTZ &&
				extract != F_EXTRACT_TEXT_TIMESTAMP && extract != F_DATE_PART_TEXT_TIMESTAMP)
				return NULL;
			s->call.kind = MDB_STEP_EPOCH;
			s->call.width = lsecond(args);
			ok = IsA(linitial(inner), Const) && !linitial_node(Const, inner)->constisnull &&
				 pg_strcasecmp(TextDatumGetCString(linitial_node(Const, inner)->constvalue), "epoch") == 0 &&
				 is_time(f, lsecond(inner));
			break;
		}
		default:
			if (is_time_bucket(function, &gapfill))
				ok = time_argument(f, lsecond(args), s) && time_bucket_arguments(f, args, gapfill, s);
			break;
	}
	if (!ok || (s->call.width && !is_fixed(s->call.width)) || (s->call.zoned && !zone_is_known(s->call.zone)))
		return NULL;
	/* A date is as good as its own stretch; and the zone of a timestamp without one is none of ours. */
	if (time_type != TIMESTAMPTZOID && (time_type != TIMESTAMPOID || s->call.zoned))
		return NULL;
	return s;
}

/* Collects steps; true if the time comes in otherwise. */
static bool
find_steps(Node *node, Finding *f)
{
	Step *s;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return true;
	s = step_of(f, node);
	if (s)
	{
		f->steps = lappend(f->steps, s);
		return false;
	}
	return expression_tree_walker(node, find_steps, f);
}

static List *
steps_of(const MdbTable *table, Index varno, Node *expr)
{
	Finding f = {.table = table, .varno = varno};
	Node *inner = expr;
	bool gapfill;

	/* Only the planner takes it for volatile. */
	if (IsA(expr, FuncExpr) && is_time_bucket(((FuncExpr *) expr)->funcid, &gapfill) && gapfill)
		inner = (Node *) ((FuncExpr *) expr)->args;
	if (!mdb_uses_only(inner, varno, table, MDB_ROLE_TIME))
		return NIL;
	/* Each time for itself: the time alone, or anything of a date, of which there are few. */
	if (is_time(&f, expr) || table->time_type == DATEOID)
		return list_make1(palloc0(sizeof(Step)));
	if (find_steps(expr, &f))
		return NIL;
	return f.steps;
}

/*
 * mdb_bucket_supported - is this an expression over the time that is constant for stretches of it?
 */
bool
mdb_bucket_supported(const MdbTable *table, Index varno, Node *expr)
{
	return steps_of(table, varno, expr) != NIL;
}

/*
 * mdb_bucket_calls - the calls of a supported expression that make its stretches, MdbBucketCall; NIL if it is not
 * supported, or each time is a stretch.
 */
List *
mdb_bucket_calls(const MdbTable *table, Index varno, Node *expr)
{
	List *calls = NIL;
	ListCell *lc;

	foreach (lc, steps_of(table, varno, expr))
	{
		Step *s = lfirst(lc);

		if (s->call.kind == MDB_STEP_EXACT)
			return NIL;
		calls = lappend(calls, &s->call);
	}
	return calls;
}

/* Is this an interval that is known, and of days and times alone? */
static bool
is_without_months(Node *node)
{
	Const *c = (Const *) node;

	return c != NULL && IsA(c, Const) && !c->constisnull && DatumGetIntervalP(c->constvalue)->month == 0;
}

/*
 * mdb_bucket_rises - does a supported expression never fall when the time rises, and is it constant for whole
 * stretches?  Known of time_bucket and date_bin of a fixed length, in no zone.  Not if buckets are moved by months:
 * a month before the last days of March is always the end of February.
 */
bool
mdb_bucket_rises(const MdbTable *table, Index varno, Node *expr)
{
	Finding f = {.table = table, .varno = varno};
	Step *s = table->time_type == DATEOID ? NULL : step_of(&f, expr);

	return s != NULL && s->call.kind == MDB_STEP_WIDTH && !s->call.zoned &&
		   is_without_months(s->call.width) && (s->call.offset == NULL || is_without_months(s->call.offset));
}

/* Longest units of date_trunc, in days; 0: not known. */
static int64
unit_days(const char *unit)
{
	static const struct
	{
		const char *name;
		int64 days;
	} units[] = {{"microseconds", 1},   {"milliseconds", 1}, {"second", 1},    {"minute", 1},
				 {"hour", 1},           {"day", 1},          {"week", 7},      {"month", 31},
				 {"quarter", 92},       {"year", 366},       {"decade", 3653}, {"century", 36525},
				 {"millennium", 365250}};

	for (int i = 0; i < lengthof(units); i++)
		if (pg_strcasecmp(unit, units[i].name) == 0)
			return units[i].days;
	return 0;
}

/* How long is an interval that is known, at most?  False if it is not known, or not longer than nothing. */
static bool
longest(Node *node, int64 *usecs)
{
	Const *c = (Const *) node;
	Interval *w;
	int64 days;

	if (c == NULL || !IsA(c, Const) || c->constisnull)
		return false;
	w = DatumGetIntervalP(c->constvalue);
	if (w->month < 0 || w->day < 0 || w->time < 0 || mdb_interval_is_infinite(w))
		return false;
	days = (int64) w->month * 31 + w->day;
	return days < PG_INT64_MAX / 4 / USECS_PER_DAY && w->time < PG_INT64_MAX / 4 &&
		   (*usecs = days * USECS_PER_DAY + w->time) > 0;
}

/*
 * mdb_bucket_truncates - is an expression the beginning of a bucket that the time lies in, in the time's own type?
 *
 * Then it is at most *ahead microseconds greater than the time, where clocks change, and less than *behind before it;
 * *rises: it never falls when the time rises.  Known of time_bucket, date_bin and date_trunc of a constant length.
 */
bool
mdb_bucket_truncates(const MdbTable *table, Index varno, Node *expr, int64 *ahead, int64 *behind, bool *rises)
{
	Finding f = {.table = table, .varno = varno};
	Step *s = table->time_type == DATEOID ? NULL : step_of(&f, expr);
	Const *unit;

	if (s == NULL || s->call.extract || exprType(expr) != table->time_type ||
		contain_volatile_functions(expr))
		return false;
	*ahead = s->call.zoned ? USECS_PER_DAY : 0;
	switch (s->call.kind)
	{
		case MDB_STEP_UNIT:
			unit = (Const *) s->call.width;
			if (unit == NULL || !IsA(unit, Const) || unit->constisnull)
				return false;
			*behind = unit_days(TextDatumGetCString(unit->constvalue)) * USECS_PER_DAY;
			*rises = true;
			break;
		case MDB_STEP_WIDTH:
			if (!longest(s->call.width, behind) || (s->call.offset && !is_without_months(s->call.offset)))
				return false;
			*rises = !s->call.zoned;
			break;
		default:
			return false;
	}
	if (*behind == 0)
		return false;
	*behind += 2 * *ahead;
	return true;
}

/* ---------- how long ---------- */

static Datum
value_of(ExprState *state, ExprContext *econtext, bool *isnull)
{
	*isnull = true;
	return state ? ExecEvalExprSwitchContext(state, econtext, isnull) : (Datum) 0;
}

/* Microseconds of the stretches that a unit makes; 0 if it is not known. */
static int64
unit_size(const char *unit, bool extract)
{
	static const struct
	{
		const char *name;
		int64 size;
		int64 field; /* how long extract() of it stays the same */
	} units[] = {{"microsecond", 1, 1},
				 {"microseconds", 1, 1},
				 {"millisecond", 1000, 1},
				 {"milliseconds", 1000, 1},
				 {"second", USECS_PER_SEC, 1},
				 {"minute", USECS_PER_MINUTE, USECS_PER_MINUTE},
				 {"hour", USECS_PER_HOUR, USECS_PER_HOUR},
				 {"day", USECS_PER_DAY, USECS_PER_DAY},
				 {"week", USECS_PER_DAY, USECS_PER_DAY},
				 {"month", USECS_PER_DAY, USECS_PER_DAY},
				 {"quarter", USECS_PER_DAY, USECS_PER_DAY},
				 {"year", USECS_PER_DAY, USECS_PER_DAY},
				 {"decade", USECS_PER_DAY, USECS_PER_DAY},
				 {"century", USECS_PER_DAY, USECS_PER_DAY},
				 {"millennium", USECS_PER_DAY, USECS_PER_DAY},
				 {"dow", 0, USECS_PER_DAY},
				 {"isodow", 0, USECS_PER_DAY},
				 {"doy", 0, USECS_PER_DAY},
				 {"isoyear", 0, USECS_PER_DAY}};

	for (int i = 0; i < lengthof(units); i++)
		if (pg_strcasecmp(unit, units[i].name) == 0)
			return extract ? units[i].field : units[i].size;
	return 0;
}

/* Microseconds of the days and times of an interval; false if they are too many. */
static bool
usecs_of(const Interval *i, int64 *usecs)
{
	return !pg_mul_s64_overflow(i->day, USECS_PER_DAY, usecs) && !pg_add_s64_overflow(*usecs, i->time, usecs);
}

/* Size and boundary of stretches of a given interval. */
static void
prepare_width(Step *s, Datum width, Datum origin, bool origin_null, Datum offset, bool offset_null)
{
	Interval *w = DatumGetIntervalP(width);
	Interval *o = offset_null ? NULL : DatumGetIntervalP(offset);
	int64 size, by = 0;

	if (!usecs_of(w, &size))
		return;
	/* Months begin at midnight. */
	s->first = w->month != 0 ? 0 : MONDAY;
	if (!origin_null && w->month == 0)
	{
		s->first = DatumGetTimestamp(origin);
		if (TIMESTAMP_NOT_FINITE(s->first))
			return;
	}
	/* An offset moves the times.  It is the same to move the boundaries, but for months and clocks. */
	if (o != NULL && (o->month != 0 || s->call.zone_of_origin || !usecs_of(o, &by) ||
					  pg_add_s64_overflow(s->first, by, &s->first)))
		return;
	s->margin = by > -END_TIMESTAMP && by < END_TIMESTAMP
					? Min(s->margin + (by < 0 ? -by : by), END_TIMESTAMP)
					: END_TIMESTAMP;
	s->size = w->month != 0 ? USECS_PER_DAY : Max(size, 0);
}

static double
seconds_of(ExprState *state, ExprContext *econtext, Oid type, bool *isnull)
{
	Datum value = value_of(state, econtext, isnull);

	if (*isnull)
		return 0;
	return type == NUMERICOID ? DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, value))
							  : DatumGetFloat8(value);
}

static void
prepare_step(Step *s, ExprContext *econtext)
{
	bool isnull, origin_null, offset_null;
	Datum value, origin, offset;

	s->tz = NULL;
	s->span_lo = PG_INT64_MAX;
	s->span_hi = PG_INT64_MIN;
	s->size = 0;
	s->first = 0;
	s->margin = 0;
	if (s->call.zoned)
	{
		s->margin = 2 * USECS_PER_DAY;
		s->tz = session_timezone;
		if (s->zone_state)
		{
			value = value_of(s->zone_state, econtext, &isnull);
			s->tz = isnull ? NULL : pg_tzset(TextDatumGetCString(value));
			if (s->tz == NULL)
				return;
		}
	}
	switch (s->call.kind)
	{
		case MDB_STEP_EXACT:
			break;
		case MDB_STEP_UNIT:
			if (s->call.width == NULL)
			{
				s->size = USECS_PER_DAY;
				break;
			}
			value = value_of(s->width_state, econtext, &isnull);
			if (!isnull)
				s->size = unit_size(TextDatumGetCString(value), s->call.extract);
			break;
		case MDB_STEP_EPOCH:
		{
			double w = seconds_of(s->width_state, econtext, exprType(s->call.width), &isnull) * USECS_PER_SEC;

			s->first = UNIX_EPOCH;
			if (!isnull && w >= 1 && w < 1e17 && w == rint(w))
				s->size = (int64) w;
			break;
		}
		case MDB_STEP_WIDTH:
			value = value_of(s->width_state, econtext, &isnull);
			origin = value_of(s->origin_state, econtext, &origin_null);
			offset = value_of(s->offset_state, econtext, &offset_null);
			if (isnull || (origin_null && s->call.origin && !s->call.zone_of_origin) ||
				(offset_null && s->call.offset && !s->call.zone_of_origin))
				break;
			if (!origin_null && s->call.zone_of_origin)
				origin =
					DirectFunctionCall2(timestamptz_zone, value_of(s->zone_state, econtext, &isnull), origin);
			if (!origin_null && s->call.origin && exprType(s->call.origin) == DATEOID)
				break;
			prepare_width(s, value, origin, origin_null, offset, offset_null);
			break;
	}
}

/*
 * mdb_bucketing_create - for the expressions of a grouping, each of them supported.
 */
MdbBucketing *
mdb_bucketing_create(const MdbTable *table, Index varno, List *exprs, PlanState *ps)
{
	MdbBucketing *b = palloc0(sizeof(MdbBucketing));
	List *steps = NIL;
	ListCell *lc;

	foreach (lc, exprs)
		steps = list_concat(steps, steps_of(table, varno, lfirst(lc)));
	b->steps = palloc(sizeof(Step *) * Max(1, list_length(steps)));
	foreach (lc, steps)
	{
		Step *s = lfirst(lc);

		s->zone_state = ExecInitExpr((Expr *) s->call.zone, ps);
		s->width_state = ExecInitExpr((Expr *) s->call.width, ps);
		s->origin_state = ExecInitExpr((Expr *) s->call.origin, ps);
		s->offset_state = ExecInitExpr((Expr *) s->call.offset, ps);
		b->steps[b->nsteps++] = s;
	}
	return b;
}

/*
 * mdb_bucketing_prepare - from now on widths, origins and zones have the values of this moment.  To evaluate them may
 * be an error, and waits until there is a time to be placed.
 */
void
mdb_bucketing_prepare(MdbBucketing *b, ExprContext *econtext)
{
	b->pending = econtext;
}

/*
 * mdb_bucket_width - microseconds that an expression is constant for, as far as can be told when planning;
 * 1 if nothing can.
 */
double
mdb_bucket_width(const MdbTable *table, Index varno, Node *expr)
{
	double width = 1e18;
	ListCell *lc;

	foreach (lc, steps_of(table, varno, expr))
	{
		Step *s = lfirst(lc);
		Const *c = (Const *) s->call.width;
		double size = 1;

		if (s->call.kind == MDB_STEP_UNIT && s->call.width == NULL)
			size = USECS_PER_DAY;
		else if (table->time_type == DATEOID)
			size = 1; /* a day */
		else if (c != NULL && IsA(c, Const) && !c->constisnull)
		{
			if (s->call.kind == MDB_STEP_UNIT)
				size = unit_size(TextDatumGetCString(c->constvalue), s->call.extract);
			else if (s->call.kind == MDB_STEP_WIDTH)
			{
				Interval *w = DatumGetIntervalP(c->constvalue);

				size = w->month * 30.0 * USECS_PER_DAY + w->day * (double) USECS_PER_DAY + w->time;
			}
			else if (s->call.kind == MDB_STEP_EPOCH)
				size = 1e6 *
					   (c->consttype == NUMERICOID
							? DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, c->constvalue))
							: DatumGetFloat8(c->constvalue));
		}
		else if (s->call.kind != MDB_STEP_EXACT)
			size = USECS_PER_MINUTE; /* a parameter */
		width = Min(width, Max(size, 1));
	}
	return width;
}

static int64
floor_div(int64 a, int64 b)
{
	int64 q = a / b;

	return q - (a % b < 0);
}

/* Find the offset of a zone from UTC at a time, and for how long it holds. */
static void
find_span(Step *s, int64 time)
{
	pg_time_t t =
		floor_div(time, USECS_PER_SEC) + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (pg_time_t) SECS_PER_DAY;
	pg_time_t boundary;
	long before, after;
	int before_dst, after_dst;
	int rc = pg_next_dst_boundary(&t, &before, &before_dst, &boundary, &after, &after_dst, s->tz);

	s->gmtoff = rc >= 0 ? before : 0;
	if (pg_mul_s64_overflow(floor_div(time, USECS_PER_SEC), USECS_PER_SEC, &s->span_lo))
		s->span_lo = time;
	/* The zone may change in years that no timestamp reaches. */
	if (rc <= 0 ||
		pg_mul_s64_overflow(boundary - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (pg_time_t) SECS_PER_DAY,
							USECS_PER_SEC, &s->span_hi))
		s->span_hi = PG_INT64_MAX;
	if (rc < 0)
		s->span_hi = time + 1;
}

static void
step_bounds(Step *s, int64 time, int64 *first, int64 *last)
{
	int64 local = time;
	int64 off = 0;
	int64 k, lo, hi;
	bool crossed = false;

	if (s->size <= 1 || (s->call.kind == MDB_STEP_EPOCH && (time > UNIX_EPOCH + EPOCH_LIMIT * USECS_PER_SEC ||
															time < UNIX_EPOCH - EPOCH_LIMIT * USECS_PER_SEC)))
	{
		*first = *last = time;
		return;
	}
	if (s->tz)
	{
		if (time < s->span_lo || time >= s->span_hi)
			find_span(s, time);
		off = s->gmtoff * USECS_PER_SEC;
	}
	if (pg_add_s64_overflow(time, off, &local) || pg_sub_s64_overflow(local, s->first, &k))
	{
		*first = *last = time;
		return;
	}
	k = floor_div(k, s->size);
	if (pg_mul_s64_overflow(k, s->size, &lo) || pg_add_s64_overflow(lo, s->first, &lo) ||
		pg_sub_s64_overflow(lo, off, &lo) || pg_add_s64_overflow(lo, s->size - 1, &hi))
	{
		*first = *last = time;
		return;
	}
	if (s->tz)
	{
		/* Of the same offset it is known to be from span_lo on only; look further back once. */
		if (lo < s->span_lo)
		{
			int64 hi_was = s->span_hi;
			int64 off_was = s->gmtoff;

			find_span(s, lo);
			if (s->span_hi != hi_was || s->gmtoff != off_was)
			{
				/* The zone has changed in between: begin at this time. */
				find_span(s, time);
				lo = s->span_lo;
				crossed = true;
			}
		}
		hi = Min(hi, s->span_hi - 1);
		/* Where clocks change, by a day at most, time_bucket sees to it that no bucket begins behind its times. */
		if (s->call.zone_of_origin && s->span_hi < PG_INT64_MAX)
			hi = Min(hi, s->span_hi - USECS_PER_DAY - 1);
		if (s->call.zone_of_origin && (crossed || time > hi))
			lo = hi = time;
	}
	/* Not cut off at the margin: a stretch of more than one time ends where its bucket does. */
	if (s->margin > 0 && (lo < MIN_TIMESTAMP + s->margin || hi >= END_TIMESTAMP - s->margin))
		lo = hi = time;
	*first = lo;
	*last = hi;
}

/*
 * mdb_bucket_of - the times around one, itself included, for which all expressions have the same values.
 */
void
mdb_bucket_of(MdbBucketing *b, int64 time, int64 *first, int64 *last)
{
	*first = PG_INT64_MIN;
	*last = PG_INT64_MAX;
	/* Infinity is a stretch of its own. */
	if (time == PG_INT64_MIN || time == PG_INT64_MAX)
	{
		*first = *last = time;
		return;
	}
	for (int i = 0; i < b->nsteps && b->pending; i++)
		prepare_step(b->steps[i], b->pending);
	b->pending = NULL;
	for (int i = 0; i < b->nsteps; i++)
	{
		int64 lo, hi;

		step_bounds(b->steps[i], time, &lo, &hi);
		*first = Max(*first, lo);
		*last = Min(*last, hi);
	}
	/* Callers go from stretch to stretch: each has at least the time that was asked for. */
	Assert(*first <= time && time <= *last);
	*first = Min(Max(*first, PG_INT64_MIN + 1), time);
	*last = Max(Min(*last, PG_INT64_MAX - 1), time);
}
