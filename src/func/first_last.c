/*
 * first_last.c
 *	  The aggregates first(value, time) and last(value, time).
 *
 * The value of the row with the lowest or highest time; it may be NULL.  Rows whose time is NULL do not
 * count; among rows with the same time any may be taken.
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "utils/datum.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "func/func.h"

/* A type, and what is to be known of it. */
typedef struct EndType
{
	Oid type;
	int16 len;
	bool byval;
} EndType;

typedef struct End
{
	EndType value_type;
	EndType time_type;
	Datum value;
	bool value_null;
	Datum time;
	bool set;
	FmgrInfo less; /* of times, once it was needed */
} End;

static void
look_up(EndType *t, Oid type)
{
	if (t->type == type)
		return;
	t->type = type;
	get_typlenbyval(type, &t->len, &t->byval);
}

static void
replace(Datum *place, bool *place_null, const EndType *t, Datum value, bool isnull, bool had)
{
	if (had && !t->byval && !*place_null)
		pfree(DatumGetPointer(*place));
	*place_null = isnull;
	*place = isnull ? (Datum) 0 : datumCopy(value, t->byval, t->len);
}

static void
take(End *end, Datum value, bool value_null, Datum time, MemoryContext mcxt)
{
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	bool no = false;

	replace(&end->value, &end->value_null, &end->value_type, value, value_null, end->set);
	replace(&end->time, &no, &end->time_type, time, false, end->set);
	end->set = true;
	MemoryContextSwitchTo(old);
}

/* Is a before b? */
static bool
less(End *end, Datum a, Datum b, Oid collation, MemoryContext mcxt)
{
	if (!OidIsValid(end->less.fn_oid))
	{
		TypeCacheEntry *cache = lookup_type_cache(end->time_type.type, TYPECACHE_LT_OPR);

		if (!OidIsValid(cache->lt_opr))
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
							errmsg("could not identify an ordering operator for type %s",
								   format_type_be(end->time_type.type))));
		fmgr_info_cxt(get_opcode(cache->lt_opr), &end->less, mcxt);
	}
	return DatumGetBool(FunctionCall2Coll(&end->less, collation, a, b));
}

static Datum
transition(FunctionCallInfo fcinfo, bool last)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	End *end = PG_ARGISNULL(0) ? NULL : (End *) PG_GETARG_POINTER(0);
	Datum time;

	if (PG_ARGISNULL(2))
	{
		if (end == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(end);
	}
	if (end == NULL)
	{
		end = MemoryContextAllocZero(mcxt, sizeof(End));
		look_up(&end->value_type, get_fn_expr_argtype(fcinfo->flinfo, 1));
		look_up(&end->time_type, get_fn_expr_argtype(fcinfo->flinfo, 2));
	}
	time = PG_GETARG_DATUM(2);
	if (!end->set || (last ? less(end, end->time, time, PG_GET_COLLATION(), mcxt)
						   : less(end, time, end->time, PG_GET_COLLATION(), mcxt)))
		take(end, PG_ARGISNULL(1) ? (Datum) 0 : PG_GETARG_DATUM(1), PG_ARGISNULL(1), time, mcxt);
	PG_RETURN_POINTER(end);
}

static Datum
combine(FunctionCallInfo fcinfo, bool last)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	End *a = PG_ARGISNULL(0) ? NULL : (End *) PG_GETARG_POINTER(0);
	End *b = PG_ARGISNULL(1) ? NULL : (End *) PG_GETARG_POINTER(1);

	if (b == NULL || !b->set)
	{
		if (a == NULL)
			PG_RETURN_NULL();
		PG_RETURN_POINTER(a);
	}
	if (a == NULL)
	{
		a = MemoryContextAllocZero(mcxt, sizeof(End));
		a->value_type = b->value_type;
		a->time_type = b->time_type;
	}
	if (!a->set || (last ? less(a, a->time, b->time, PG_GET_COLLATION(), mcxt)
						 : less(a, b->time, a->time, PG_GET_COLLATION(), mcxt)))
		take(a, b->value, b->value_null, b->time, mcxt);
	PG_RETURN_POINTER(a);
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_first_transition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_first_combine);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_last_transition);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_last_combine);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_end_final);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_end_serial);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_end_deserial);

Datum
mdb_first_transition(PG_FUNCTION_ARGS)
{
	return transition(fcinfo, false);
}

Datum
mdb_last_transition(PG_FUNCTION_ARGS)
{
	return transition(fcinfo, true);
}

Datum
mdb_first_combine(PG_FUNCTION_ARGS)
{
	return combine(fcinfo, false);
}

Datum
mdb_last_combine(PG_FUNCTION_ARGS)
{
	return combine(fcinfo, true);
}

Datum
mdb_end_final(PG_FUNCTION_ARGS)
{
	End *end = PG_ARGISNULL(0) ? NULL : (End *) PG_GETARG_POINTER(0);

	(void) mdb_aggregate_context(fcinfo);
	if (end == NULL || !end->set || end->value_null)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(end->value);
}

/*
 * mdb_end_serialize - the state that serialising makes, of a value and its time.
 *
 * Both types' OIDs, then the value and the time as datumSerialize() writes them.
 */
Datum
mdb_end_serialize(Oid value_type, Datum value, bool value_null, Oid time_type, Datum time)
{
	StringInfoData buf;
	EndType v = {0}, t = {0};
	Size size;
	char *p;

	look_up(&v, value_type);
	look_up(&t, time_type);
	pq_begintypsend(&buf);
	pq_sendint32(&buf, value_type);
	pq_sendint32(&buf, time_type);
	size = datumEstimateSpace(value, value_null, v.byval, v.len) +
		   datumEstimateSpace(time, false, t.byval, t.len);
	enlargeStringInfo(&buf, (int) size);
	p = buf.data + buf.len;
	datumSerialize(value, value_null, v.byval, v.len, &p);
	datumSerialize(time, false, t.byval, t.len, &p);
	buf.len = (int) (p - buf.data);
	return PointerGetDatum(pq_endtypsend(&buf));
}

Datum
mdb_end_serial(PG_FUNCTION_ARGS)
{
	End *end = (End *) PG_GETARG_POINTER(0);

	(void) mdb_aggregate_context(fcinfo);
	return mdb_end_serialize(end->value_type.type, end->value, end->value_null, end->time_type.type,
							 end->time);
}

Datum
mdb_end_deserial(PG_FUNCTION_ARGS)
{
	MemoryContext mcxt = mdb_aggregate_context(fcinfo);
	bytea *state = PG_GETARG_BYTEA_PP(0);
	End *end = MemoryContextAllocZero(mcxt, sizeof(End));
	MemoryContext old;
	char *p = VARDATA_ANY(state);
	uint32 types[2];
	bool isnull;

	memcpy(types, p, sizeof(types));
	p += sizeof(types);
	look_up(&end->value_type, pg_ntoh32(types[0]));
	look_up(&end->time_type, pg_ntoh32(types[1]));
	old = MemoryContextSwitchTo(mcxt);
	end->value = datumRestore(&p, &end->value_null);
	end->time = datumRestore(&p, &isnull);
	MemoryContextSwitchTo(old);
	end->set = true;
	PG_RETURN_POINTER(end);
}
