/*
 * route_bounds.c
 *	  Which buckets of an aggregate lie wholly inside of a query's bounds.
 *
 * The bounds need not be known before the query is executed, nor be those of buckets: it is the first bucket at or
 * behind a lower one, and the last before an upper one, that are computed.  They are written with the aggregate's own
 * bucket expression, so that they are its boundaries.  That fewer buckets are inside than could be is no mistake: the
 * rest is read from what is finer.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_func.h"
#include "parser/parse_node.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "exec/pushdown.h"
#include "metricsdb.h"
#include "rollup/route.h"

/* So near to the last time that there is nothing may be added to a time any more. */
#define NEAR_END (1000 * INT64CONST(366))

static bool
is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

/* A constant of the time column's type. */
static Const *
time_const(Oid type, int64 value)
{
	if (type == DATEOID)
		value = value < PG_INT32_MIN ? DATEVAL_NOBEGIN : value > PG_INT32_MAX ? DATEVAL_NOEND : value;
	return makeConst(type, -1, InvalidOid, get_typlen(type),
					 type == INT2OID                      ? Int16GetDatum((int16) value)
					 : type == INT4OID || type == DATEOID ? Int32GetDatum((int32) value)
														  : Int64GetDatum(value),
					 false, get_typbyval(type));
}

/* x + by, in units of the time */
static Node *
moved(Oid type, Node *x, int64 by)
{
	ParseState *pstate = make_parsestate(NULL);
	Node *amount, *result;

	if (type == TIMESTAMPOID || type == TIMESTAMPTZOID)
	{
		Interval *i = palloc0(sizeof(Interval));

		i->time = by;
		amount = (Node *) makeConst(INTERVALOID, -1, InvalidOid, sizeof(Interval), IntervalPGetDatum(i),
									false, false);
	}
	else
		amount = (Node *) time_const(type == DATEOID ? INT4OID : type, by);
	result = (Node *) make_op(pstate, list_make2(makeString("pg_catalog"), makeString("+")), copyObject(x),
							  amount, NULL, -1);
	free_parsestate(pstate);
	return result;
}

static Node *
replace_mutator(Node *node, void *x)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
		return copyObject((Node *) x);
	return expression_tree_mutator(node, replace_mutator, x);
}

/* The beginning of the bucket that a time lies in. */
static Node *
bucket_of(const MdbDefinition *def, Node *x)
{
	return replace_mutator(def->bucket, x);
}

static bool
is_fixed(const MdbDefinition *def)
{
	return def->rule.months == 0 && def->rule.zone == NULL;
}

/* The beginning of the bucket behind the one that begins at x: some time after that begin, surely inside of it. */
static Node *
next_bucket(const MdbDefinition *def, Oid type, Node *x)
{
	int64 day = type == DATEOID ? 1 : USECS_PER_DAY;

	return bucket_of(def, moved(type, bucket_of(def, x),
								(def->rule.months ? def->rule.months * 31 * day : def->rule.size) + day / 2));
}

/* All buckets from here on begin at x or later; if x itself is inside. */
static Node *
first_inside(const MdbDefinition *def, Oid type, Node *x, bool inclusive)
{
	if (is_fixed(def))
		return bucket_of(def, moved(type, x, def->rule.size - inclusive));
	return next_bucket(def, type, inclusive ? moved(type, x, -1) : x);
}

/* All buckets before here end before x. */
static Node *
end_inside(const MdbDefinition *def, Oid type, Node *x, bool inclusive)
{
	if (inclusive && is_fixed(def) && !is_integer(type))
		x = moved(type, x, 1);
	return bucket_of(def, x);
}

/* What is known now is computed now; its functions may be stable by name, but depend on no setting here. */
static bool
add_boundary(const MdbRoute *r, Node *x, Node *boundary, List **list)
{
	boundary = eval_const_expressions(r->root, boundary);
	if (IsA(eval_const_expressions(r->root, copyObject(x)), Const))
		boundary = estimate_expression_value(r->root, boundary);
	*list = list_append_unique(*list, boundary);
	return true;
}

/* Could arithmetic around this bound fail? */
static bool
is_near_end(const MdbRoute *r, Node *x)
{
	Oid type = r->table->time_type;
	Const *c = (Const *) eval_const_expressions(r->root, copyObject(x));
	int64 t;

	if (!IsA(c, Const) || c->constisnull)
		return false;
	if (type == INT2OID || type == INT4OID)
		return false;
	t = type == INT8OID ? DatumGetInt64(c->constvalue) : mdb_push_time(r->table, c->constvalue);
	switch (type)
	{
		case DATEOID:
			return !DATE_NOT_FINITE(t) && (t > DATE_END_JULIAN - POSTGRES_EPOCH_JDATE - NEAR_END ||
										   t < DATETIME_MIN_JULIAN - POSTGRES_EPOCH_JDATE + NEAR_END);
		case INT8OID:
			return t > PG_INT64_MAX / 2 || t < PG_INT64_MIN / 2;
		default:
			return !TIMESTAMP_NOT_FINITE(t) && (t > END_TIMESTAMP - NEAR_END * USECS_PER_DAY ||
												t < MIN_TIMESTAMP + NEAR_END * USECS_PER_DAY);
	}
}

/* rollup_valid_from(zone, width, begin) for the buckets */
static Node *
valid_from_call(const MdbStretch *bucket)
{
	Oid types[3] = {TEXTOID, INT8OID, INT8OID};
	Oid function =
		LookupFuncName(list_make2(makeString(MDB_SCHEMA), makeString("rollup_valid_from")), 3, types, false);
	Node *zone = bucket->zone ? (Node *) makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1,
												   CStringGetTextDatum(bucket->zone), false, false)
							  : (Node *) makeNullConst(TEXTOID, -1, DEFAULT_COLLATION_OID);

	return (Node *) makeFuncExpr(
		function, TIMESTAMPTZOID,
		list_make3(zone, time_const(INT8OID, bucket->size), time_const(INT8OID, bucket->first)), InvalidOid,
		InvalidOid, COERCE_EXPLICIT_CALL);
}

/*
 * mdb_route_inside - expressions for the buckets of an aggregate that lie wholly inside of the query's bounds, and
 * each in one of its groups.
 *
 * False if there is no telling.
 */
bool
mdb_route_inside(const MdbRoute *r, const MdbDefinition *def, MdbRouteInside *inside)
{
	Oid type = r->table->time_type;
	List *bucket = mdb_stretches_of(NULL, r->table, 1, def->bucket);
	ListCell *lc;

	inside->from = inside->to = NIL;
	if (list_length(bucket) != 1)
		return false;
	foreach (lc, r->bounds)
	{
		MdbRouteBound *b = lfirst(lc);

		if (is_near_end(r, b->value))
			return false;
		if (b->strategy >= BTGreaterEqualStrategyNumber)
			add_boundary(r, b->value,
						 first_inside(def, type, b->value, b->strategy == BTGreaterEqualStrategyNumber),
						 &inside->from);
		else
			add_boundary(r, b->value,
						 end_inside(def, type, b->value, b->strategy == BTLessEqualStrategyNumber),
						 &inside->to);
	}
	foreach (lc, r->stretches)
	{
		int64 from, to;
		bool session;
		Node *x;

		if (!mdb_stretch_covers(linitial(bucket), lfirst(lc), &from, &to, &session))
			return false;
		if (session)
		{
			x = valid_from_call(linitial(bucket));
			add_boundary(r, x, first_inside(def, type, x, true), &inside->from);
		}
		if (from != PG_INT64_MIN)
		{
			x = (Node *) time_const(type, from);
			add_boundary(r, x, first_inside(def, type, x, true), &inside->from);
		}
		if (to != PG_INT64_MAX)
		{
			x = (Node *) time_const(type, to);
			add_boundary(r, x, end_inside(def, type, x, false), &inside->to);
		}
	}
	return true;
}

/*
 * mdb_route_range - how much time there probably is between the query's bounds; as much as can be if there are none.
 */
double
mdb_route_range(const MdbRoute *r)
{
	double lo = -1e300, hi = 1e300;
	ListCell *lc;

	foreach (lc, r->bounds)
	{
		MdbRouteBound *b = lfirst(lc);
		Const *c = (Const *) estimate_expression_value(r->root, copyObject(b->value));
		double t;

		if (!IsA(c, Const) || c->constisnull)
			continue;
		t = r->table->time_type == INT2OID   ? DatumGetInt16(c->constvalue)
			: r->table->time_type == INT4OID ? DatumGetInt32(c->constvalue)
											 : (double) mdb_push_time(r->table, c->constvalue);
		if (b->strategy >= BTGreaterEqualStrategyNumber)
			lo = Max(lo, t);
		else
			hi = Min(hi, t);
	}
	return hi - lo;
}
