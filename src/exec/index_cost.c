/*
 * index_cost.c
 *	  What it costs to read rows of parts by an index, and whether bitmaps can name them.
 *
 * PostgreSQL counts pages and rows.  But of a block that has a row that is wanted whole chunks are decoded, thousands
 * of values, and few pages hold many blocks.  So indexes of tables with parts cost more than they say, by the blocks
 * that their rows are likely to lie in: each once, as a bitmap scan comes to them.
 */
#include "postgres.h"

#include <math.h>

#include "access/amapi.h"
#include "access/table.h"
#include "nodes/pathnodes.h"
#include "optimizer/optimizer.h"
#include "optimizer/plancat.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "metricsdb.h"
#include "exec/metrics_scan.h"
#include "store/store.h"

/* To decode a value, as a share of what an operator costs. */
#define DECODE_SHARE 0.25

static get_relation_info_hook_type prev_get_relation_info = NULL;

static void
estimate_cost(PlannerInfo *root, IndexPath *path, double loop_count, Cost *startup, Cost *total,
			  Selectivity *selectivity, double *correlation, double *pages)
{
	IndexOptInfo *index = path->indexinfo;
	IndexAmRoutine *routine = GetIndexAmRoutineByAmId(index->relam, false);
	double blocks = Max(1.0, index->rel->tuples / MDB_SERIES_BLOCK_ROWS);
	double rows, apart, together, ordered;

	routine->amcostestimate(root, path, loop_count, startup, total, selectivity, correlation, pages);
	pfree(routine);
	rows = *selectivity * index->rel->tuples;
	apart = blocks * (1.0 - exp(-rows / blocks));
	together = Min(apart, 1.0 + rows / MDB_SERIES_BLOCK_ROWS);
	ordered = *correlation * *correlation;
	*total += (ordered * together + (1.0 - ordered) * apart) * MDB_SERIES_BLOCK_ROWS * cpu_operator_cost *
			  DECODE_SHARE;
}

static void
get_relation_info_of_parts(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)
{
	if (prev_get_relation_info)
		prev_get_relation_info(root, relid, inhparent, rel);
	if (rel->indexlist != NIL && !inhparent && mdb_is_metricsdb_oid(relid))
	{
		Relation table = table_open(relid, NoLock);
		bool has_parts = RelationGetNumberOfBlocks(table) > MDB_META_BLOCK + 1;
		bool fits_bitmaps = mdb_rows_fit_bitmaps(table);
		ListCell *lc;

		foreach (lc, rel->indexlist)
		{
			IndexOptInfo *index = lfirst_node(IndexOptInfo, lc);

			if (has_parts)
				index->amcostestimate = estimate_cost;
			index->amhasgetbitmap = index->amhasgetbitmap && fits_bitmaps;
		}
		table_close(table, NoLock);
	}
}

/*
 * mdb_index_cost_init - at load: the planner's hook.
 */
void
mdb_index_cost_init(void)
{
	prev_get_relation_info = get_relation_info_hook;
	get_relation_info_hook = get_relation_info_of_parts;
}
