/*
 * vector_time.c
 *	  Expressions over the time column that are constant for stretches of it, as columns of a block.
 *
 * Values are computed by PostgreSQL, once for a stretch of time, and remembered for the blocks that follow: they are
 * mostly of the same times.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "optimizer/optimizer.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "exec/bucket.h"
#include "exec/vector_internal.h"

#define REMEMBERED 256 /* stretches, a power of two */

/* Between these times no bucket of a usual length is out of range: the years 1900 and 2200. */
#define USUAL_FIRST (INT64CONST(-36524) * USECS_PER_DAY)
#define USUAL_LAST  (INT64CONST(73049) * USECS_PER_DAY)

typedef union Value
{
	int64 i;
	double d;
	uint8 b;
} Value;

typedef struct Remembered
{
	bool used;
	bool isnull;
	int64 first, last;
	Value value;
} Remembered;

typedef struct MdbVecOfTime
{
	const MdbTable *table;
	ExprState *state;
	MdbBucketing *bucketing;
	ExprContext *econtext;
	TupleTableSlot *slot;
	bool rises; /* its value never falls when the time rises */
	Remembered stretches[REMEMBERED];
} MdbVecOfTime;

/*
 * mdb_vec_of_time - make e, whose type is set, one for an expression of this kind; false if it is none.
 */
bool
mdb_vec_of_time(MdbVecExpr *e, const MdbTable *table, Index varno, Node *node, PlanState *ps)
{
	MdbVecOfTime *t;
	int64 ahead, behind;
	bool rises;

	if (table->time_attno <= 0 || contain_volatile_functions(node) ||
		!mdb_bucket_supported(table, varno, node))
		return false;
	e->attno = table->time_attno;
	if (ps == NULL)
		return true;
	t = e->of_time = palloc0(sizeof(MdbVecOfTime));
	t->table = table;
	t->state = ExecInitExpr((Expr *) node, ps);
	t->bucketing = mdb_bucketing_create(table, varno, list_make1(node), ps);
	t->econtext = CreateExprContext(ps->state);
	t->rises = mdb_bucket_truncates(table, varno, node, &ahead, &behind, &rises) && rises;
	return true;
}

/*
 * mdb_vec_of_time_prepare - from now on widths, origins and zones have the values of this moment.
 */
void
mdb_vec_of_time_prepare(MdbVecExpr *e, ExprContext *econtext)
{
	MdbVecOfTime *t = e->of_time;

	mdb_bucketing_prepare(t->bucketing, econtext);
	/* What rows of another table say is said there. */
	t->econtext->ecxt_outertuple = econtext->ecxt_outertuple;
	memset(t->stretches, 0, sizeof(t->stretches));
}

static Value
value_of(const MdbVecExpr *e, Datum datum)
{
	Value v = {0};

	switch (e->type)
	{
		case MDB_VEC_F64:
			v.d = DatumGetFloat8(datum);
			break;
		case MDB_VEC_F32:
			v.d = DatumGetFloat4(datum);
			break;
		case MDB_VEC_BOOL:
			v.b = DatumGetBool(datum);
			break;
		default:
			v.i = e->base_type == INT2OID                              ? DatumGetInt16(datum)
				  : e->base_type == INT4OID || e->base_type == DATEOID ? DatumGetInt32(datum)
																	   : DatumGetInt64(datum);
			break;
	}
	return v;
}

/* Let s be a stretch with the value of a time that lies in it; of none if it ends before it begins. */
static void
evaluate(const MdbVecExpr *e, int64 time, Remembered *s)
{
	MdbVecOfTime *t = e->of_time;
	TupleTableSlot *slot = t->slot;
	Datum datum;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts);
	if (s->first <= s->last)
	{
		slot->tts_values[e->attno - 1] = mdb_time_datum(t->table, time);
		slot->tts_isnull[e->attno - 1] = false;
	}
	ExecStoreVirtualTuple(slot);
	t->econtext->ecxt_scantuple = slot;
	ResetExprContext(t->econtext);
	datum = ExecEvalExprSwitchContext(t->state, t->econtext, &s->isnull);
	s->value = s->isnull ? (Value){0} : value_of(e, datum);
	s->used = true;
}

static Remembered *
stretch_of(const MdbVecExpr *e, int64 time)
{
	MdbVecOfTime *t = e->of_time;
	int64 first, last;
	Remembered *s;

	mdb_bucket_of(t->bucketing, time, &first, &last);
	s = &t->stretches[((uint64) first * UINT64CONST(0x9E3779B97F4A7C15)) >> 56];
	if (s->used && s->first == first && s->last == last)
		return s;
	s->used = false;
	s->first = first;
	s->last = last;
	evaluate(e, time, s);
	return s;
}

/* The value of a stretch is that of a row, which begins with 0 and not NULL. */
static inline void
put(const MdbVecExpr *e, uint32 i, const Remembered *s)
{
	if (s->isnull)
		e->null_space[i] = 1;
	else if (e->type == MDB_VEC_BOOL)
		((uint8 *) e->space)[i] = s->value.b;
	else
		((int64 *) e->space)[i] = s->value.i;
}

/*
 * mdb_vec_of_time_eval - its values for the rows of a block that are active.
 */
void
mdb_vec_of_time_eval(MdbVecExpr *e, MdbVecBlock *b, const uint8 *active, MdbVec *out)
{
	MdbVecOfTime *t = e->of_time;
	const int64 *times;
	Remembered s = {.first = PG_INT64_MAX, .last = PG_INT64_MIN};

	if (t->slot == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(b->mcxt);

		t->slot = MakeSingleTupleTableSlot(CreateTupleDescCopy(b->desc), &TTSOpsVirtual);
		MemoryContextSwitchTo(old);
	}
	if (e->space == NULL)
		e->space = MemoryContextAlloc(b->mcxt, MDB_VECTOR_ROOM * sizeof(int64));
	if (e->null_space == NULL)
		e->null_space = MemoryContextAlloc(b->mcxt, MDB_VECTOR_ROOM);
	memset(e->null_space + b->begin, 0, b->end - b->begin);
	if (e->type == MDB_VEC_BOOL)
		memset((uint8 *) e->space + b->begin, 0, b->end - b->begin);
	out->values = e->space;
	out->nulls = e->null_space;
	if (!b->block->part->has_time)
	{
		/* Of no time there is a value, too. */
		for (uint32 i = b->begin; i < b->end; i++)
			if (active == NULL || active[i])
			{
				if (!s.used)
					evaluate(e, 0, &s);
				put(e, i, &s);
			}
		return;
	}
	times = b->times(b->times_arg);
	b->decoded++;
	for (uint32 i = b->begin; i < b->end; i++)
	{
		if (active && !active[i])
			continue;
		if (times[i] < s.first || times[i] > s.last)
			s = *stretch_of(e, times[i]);
		put(e, i, &s);
	}
}

/*
 * mdb_vec_of_time_range - from a range of times, both of rows, to one of values; false if it is not known.
 */
bool
mdb_vec_of_time_range(const MdbVecExpr *e, MdbVecRange *range)
{
	MdbVecOfTime *t = e->of_time;
	Remembered *s;
	int64 first, last, min, max;

	if (!t->rises || t->slot == NULL || range->min.i < USUAL_FIRST || range->max.i > USUAL_LAST)
		return false;
	/* A stretch of a single time may be one of a width that is an error. */
	mdb_bucket_of(t->bucketing, range->min.i, &first, &last);
	if (first == last)
		return false;
	s = stretch_of(e, range->min.i);
	min = s->value.i;
	if (s->isnull)
		return false;
	s = stretch_of(e, range->max.i);
	max = s->value.i;
	if (s->isnull)
		return false;
	range->min.i = min;
	range->max.i = max;
	return true;
}
