/*
 * vector_series.c
 *	  Expressions over series columns alone, among those that are evaluated for whole blocks: once for each series.
 *
 * An expression is evaluated for a series when the first row of it that is active comes to it, and never for others.
 * So it may be one that is an error for some series, as long as conditions are asked in the order in which a plan
 * of core's would.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "exec/pushdown.h"
#include "exec/series_turn.h"
#include "exec/vector_internal.h"

#define PAGE_IDS 4096

/* What is known of a series. */
enum
{
	SERIES_UNKNOWN = 0,
	SERIES_NULL,
	SERIES_FALSE, /* or any value that is not boolean */
	SERIES_TRUE
};

typedef struct SeriesPage
{
	uint8 state[PAGE_IDS];
	union
	{
		int64 i;
		double d;
	} value[FLEXIBLE_ARRAY_MEMBER]; /* [PAGE_IDS], unless they are booleans */
} SeriesPage;

struct MdbVecSeries
{
	MemoryContext mcxt;
	MemoryContext tmp; /* of an evaluation */
	uint32 npages;
	SeriesPage **pages;
	ExprContext *econtext;
	TupleTableSlot *slot; /* NULL until it is needed */
};

/*
 * mdb_vec_series_fits - can an expression be evaluated once for each series?
 */
bool
mdb_vec_series_fits(const MdbTable *table, Index varno, Node *node)
{
	return mdb_vec_type(exprType(node)) != MDB_VEC_OTHER && !contain_agg_clause(node) &&
		   mdb_uses_only(node, varno, table, MDB_ROLE_SERIES);
}

/*
 * mdb_vec_series_begin - what is remembered of series, in CurrentMemoryContext.
 */
MdbVecSeries *
mdb_vec_series_begin(void)
{
	MdbVecSeries *s = palloc0(sizeof(MdbVecSeries));

	s->mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb values of series", ALLOCSET_DEFAULT_SIZES);
	s->tmp =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb value of a series", ALLOCSET_DEFAULT_SIZES);
	return s;
}

/*
 * mdb_vec_series_prepare - from now on parameters have the values of this moment; econtext is there as long.
 */
void
mdb_vec_series_prepare(MdbVecSeries *s, ExprContext *econtext)
{
	MemoryContextReset(s->mcxt);
	s->npages = 0;
	s->pages = NULL;
	s->econtext = econtext;
}

static SeriesPage *
page_of(MdbVecExpr *e, uint32 id)
{
	MdbVecSeries *s = e->series;
	uint32 page = id / PAGE_IDS;

	if (page >= s->npages)
	{
		uint32 n = Max(16, s->npages);

		while (n <= page)
			n *= 2;
		s->pages = s->pages ? repalloc_huge(s->pages, n * sizeof(SeriesPage *))
							: MemoryContextAllocHuge(s->mcxt, n * sizeof(SeriesPage *));
		memset(s->pages + s->npages, 0, (n - s->npages) * sizeof(SeriesPage *));
		s->npages = n;
	}
	if (s->pages[page] == NULL)
	{
		Size values = e->type == MDB_VEC_BOOL ? 0 : PAGE_IDS * sizeof(int64);

		s->pages[page] = MemoryContextAlloc(s->mcxt, offsetof(SeriesPage, value) + values);
		memset(s->pages[page]->state, SERIES_UNKNOWN, PAGE_IDS);
	}
	return s->pages[page];
}

/* Evaluate the expression for a series. */
static void
find_value(MdbVecExpr *e, MdbVecBlock *b, uint32 id, SeriesPage *page)
{
	MdbVecSeries *s = e->series;
	TupleTableSlot *before = s->econtext->ecxt_scantuple;
	uint32 at = id % PAGE_IDS;
	const bool *isnull;
	const Datum *values = mdb_series_values(b->block->series_cache, id, &isnull);
	MemoryContext old;
	bool null;
	Datum value;

	CHECK_FOR_INTERRUPTS();
	if (s->slot == NULL)
	{
		old = MemoryContextSwitchTo(GetMemoryChunkContext(s));
		/* A copy need not be let go of. */
		s->slot = MakeSingleTupleTableSlot(CreateTupleDescCopy(b->desc), &TTSOpsMetricsDB);
		MemoryContextSwitchTo(old);
	}
	ExecClearTuple(s->slot);
	memcpy(s->slot->tts_values, values, sizeof(Datum) * b->table->natts);
	memcpy(s->slot->tts_isnull, isnull, sizeof(bool) * b->table->natts);
	ExecStoreVirtualTuple(s->slot);
	s->econtext->ecxt_scantuple = s->slot;
	old = MemoryContextSwitchTo(s->tmp);
	value = ExecEvalExpr(e->state, s->econtext, &null);
	MemoryContextSwitchTo(old);
	s->econtext->ecxt_scantuple = before;

	if (null)
		page->state[at] = SERIES_NULL;
	else if (e->type == MDB_VEC_BOOL)
		page->state[at] = DatumGetBool(value) ? SERIES_TRUE : SERIES_FALSE;
	else
	{
		page->state[at] = SERIES_FALSE;
		if (e->type == MDB_VEC_F64)
			page->value[at].d = DatumGetFloat8(value);
		else if (e->type == MDB_VEC_F32)
			page->value[at].d = DatumGetFloat4(value);
		else
			page->value[at].i = mdb_vec_int_of(e->fixed_type, value);
	}
	MemoryContextReset(s->tmp);
}

static bool
any_active(const MdbVecBlock *b, const uint8 *active)
{
	return active == NULL || memchr(active + b->begin, 1, b->end - b->begin) != NULL;
}

/* The same value for all rows of the block. */
static void
eval_one(MdbVecExpr *e, MdbVecBlock *b, const uint8 *active, MdbVec *out)
{
	uint32 id = (uint32) b->block->part->series_first[b->block->block];
	SeriesPage *page;
	uint8 state;

	out->constant = true;
	memset(&e->fixed, 0, sizeof(e->fixed));
	out->values = &e->fixed;
	out->isnull = true;
	if (!any_active(b, active))
		return;
	page = page_of(e, id);
	if (page->state[id % PAGE_IDS] == SERIES_UNKNOWN)
		find_value(e, b, id, page);
	state = page->state[id % PAGE_IDS];
	out->isnull = state == SERIES_NULL;
	if (e->type == MDB_VEC_BOOL)
		e->fixed.b = state == SERIES_TRUE;
	else if (!out->isnull)
		memcpy(&e->fixed, &page->value[id % PAGE_IDS], sizeof(int64));
}

/*
 * mdb_vec_series_eval - the values for rows begin to end of a block, as mdb_vec_eval; values and nulls have room for
 * them.
 */
void
mdb_vec_series_eval(MdbVecExpr *e, MdbVecBlock *b, const uint8 *active, void *values, uint8 *nulls,
					MdbVec *out)
{
	bool flags = e->type == MDB_VEC_BOOL;

	if (b->block->part->one_series)
	{
		eval_one(e, b, active, out);
		return;
	}
	for (uint32 i = b->begin; i < b->end; i++)
	{
		uint32 id, at;
		SeriesPage *page;

		nulls[i] = 1;
		if (flags)
			((uint8 *) values)[i] = 0;
		else
			((int64 *) values)[i] = 0;
		if (active && !active[i])
			continue;
		id = mdb_block_series(b->block, i);
		at = id % PAGE_IDS;
		page = page_of(e, id);
		if (page->state[at] == SERIES_UNKNOWN)
			find_value(e, b, id, page);
		nulls[i] = page->state[at] == SERIES_NULL;
		if (flags)
			((uint8 *) values)[i] = page->state[at] == SERIES_TRUE;
		else if (!nulls[i])
			((int64 *) values)[i] = page->value[at].i;
	}
	out->values = values;
	out->nulls = nulls;
}
