/*
 * value_filter.c
 *	  Conditions on value columns that a scan decides by itself, block by block.
 *
 * Blocks whose ranges of values exclude all of their rows are not read; of the others the columns of the
 * conditions are decoded, and rows that do not pass are left out.  What remains has passed, exactly: the plan
 * does not ask again, but for rows of the delta.
 *
 * Invariants:
 *	1. A condition is taken only if it may move, see pushdown.c, and cannot fail: so that there is no error, and
 *	   no leak, that would not be there if it were asked in its turn.  If none is left to the plan, those that
 *	   may fail are taken, too, and asked in the order in which the plan would.
 *	2. A condition is asked only of rows that were not left out before.
 */
#include "postgres.h"

#include "optimizer/cost.h"
#include "utils/memutils.h"

#include "exec/kernels.h"
#include "exec/value_filter.h"
#include "exec/vector.h"

struct MdbValueFilter
{
	const MdbTable *table;
	MemoryContext mcxt;
	int n;
	MdbVecExpr **exprs;
	MdbVecBlock vec;
	uint8 *active; /* rows that were not left out so far */

	/* the block that a verdict is asked about */
	MdbPart *part;
	int block;
};

/* ---------- planning ---------- */

/*
 * mdb_find_value_filters - which of the conditions that are not pushed as those on time and series are can be
 * decided by blocks?  Returns clauses.
 */
List *
mdb_find_value_filters(RelOptInfo *rel, const MdbTable *table, const MdbPushed *pushed)
{
	List *safe = NIL, *all = NIL;
	bool every = true;
	ListCell *lc;

	foreach (lc, pushed->rest)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		MdbVecExpr *e = NULL;

		if (rinfo->pseudoconstant)
			continue;
		if (mdb_clause_may_move(rel, rinfo))
			e = mdb_vec_compile(table, rel->relid, (Node *) rinfo->clause, NULL);
		if (e == NULL || mdb_vec_type_of(e) != MDB_VEC_BOOL)
		{
			every = false;
			continue;
		}
		all = lappend(all, rinfo->clause);
		if (mdb_vec_cannot_fail(e))
			safe = lappend(safe, rinfo->clause);
	}
	return every ? all : safe;
}

/* ---------- execution ---------- */

static const int64 *
vec_times(void *arg)
{
	return mdb_block_times(((MdbValueFilter *) arg)->vec.block);
}

/*
 * mdb_value_filter_create - make conditions, an implicit AND, ready to run.  Lives as long as the query.
 */
MdbValueFilter *
mdb_value_filter_create(PlanState *ps, const MdbTable *table, TupleDesc desc, Index varno, List *clauses)
{
	MemoryContext mcxt =
		AllocSetContextCreate(ps->state->es_query_cxt, "metricsdb value filter", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	MdbValueFilter *f = palloc0(sizeof(MdbValueFilter));
	ListCell *lc;

	f->mcxt = mcxt;
	f->table = table;
	f->exprs = palloc0(sizeof(MdbVecExpr *) * Max(1, list_length(clauses)));
	f->active = palloc(MDB_VECTOR_ROOM);
	foreach (lc, clauses)
	{
		MdbVecExpr *e = mdb_vec_compile(table, varno, lfirst(lc), ps);

		if (e == NULL)
			elog(ERROR, "MetricsScan does not know a condition");
		f->exprs[f->n++] = e;
	}
	mdb_vec_block_init(&f->vec, table, desc, mcxt);
	f->vec.times = vec_times;
	f->vec.times_arg = f;
	MemoryContextSwitchTo(old);
	return f;
}

static void
range_of(void *arg, AttrNumber attno, MdbVecRange *range)
{
	MdbValueFilter *f = arg;

	mdb_range_of(f->table, f->part, f->block, attno, range);
}

/* May a row of a block pass, as far as the directory tells? */
static bool
block_wanted(void *arg, MdbPart *part, int block)
{
	MdbValueFilter *f = arg;

	f->part = part;
	f->block = block;
	for (int i = 0; i < f->n; i++)
		if (mdb_vec_verdict(f->exprs[i], range_of, f) == MDB_NONE)
			return false;
	return true;
}

/* Mark rows of a block that do not pass. */
static void
leave_out(void *arg, MdbBlock *block, uint8 *out)
{
	MdbValueFilter *f = arg;
	uint32 n = block->nrows;
	uint32 left = n;
	bool any = memchr(out, 1, n) != NULL;

	f->part = block->part;
	f->block = block->block;
	mdb_vec_block_set(&f->vec, block, 0, n);
	if (any)
	{
		for (uint32 i = 0; i < n; i++)
			f->active[i] = !out[i];
		left = mdb_count_valid(f->active, n);
	}
	for (int i = 0; i < f->n && left > 0; i++)
	{
		MdbVec v;

		if (mdb_vec_verdict(f->exprs[i], range_of, f) == MDB_ALL)
			continue;
		mdb_vec_eval(f->exprs[i], &f->vec, any ? f->active : NULL, &v);
		if (v.constant)
		{
			if (v.isnull || *(const uint8 *) v.values == 0)
				memset(out, 1, n);
			else
				continue;
			return;
		}
		if (!any)
			memset(f->active, 1, n);
		any = true;
		left = mdb_and(f->active, v.values, false, n);
	}
	if (any)
		for (uint32 i = 0; i < n; i++)
			out[i] = !f->active[i];
}

/*
 * mdb_value_filter_prepare - take the values of this moment, and fill in a scan's filter.
 */
void
mdb_value_filter_prepare(MdbValueFilter *f, ExprContext *econtext, MdbScanFilter *filter)
{
	for (int i = 0; i < f->n; i++)
		mdb_vec_prepare(f->exprs[i], econtext);
	filter->block_wanted = block_wanted;
	filter->leave_out = leave_out;
	filter->values_arg = f;
}
