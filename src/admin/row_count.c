/*
 * row_count.c
 *	  metricsdb.approximate_row_count(): about how many rows a table has, in little time.
 *
 * Of metricsdb tables, what their parts say, and a sample of the delta; rows of parts that were deleted count until
 * they are merged away.  Of other tables, what the last VACUUM or ANALYZE found, in proportion to their size now.  Of distributed tables, the sum of what nodes say.
 */
#include "postgres.h"

#include <math.h>

#include "access/heapam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

#include "admin/admin.h"
#include "store/elsewhere.h"
#include "write/write.h"

/* Pages of a delta's heap that are counted. */
#define SAMPLE_PAGES 128

PG_FUNCTION_INFO_V1(mdb_approximate_row_count);

/* Rows at the beginning of a heap of the delta, and in proportion behind it. */
static double
rows_of_delta(Oid relid, Snapshot snapshot)
{
	Relation delta = table_open(relid, AccessShareLock);
	BlockNumber pages = RelationGetNumberOfBlocks(delta);
	TupleTableSlot *slot = table_slot_create(delta, NULL);
	TableScanDesc scan = table_beginscan_strat(delta, snapshot, 0, NULL, true, false);
	double rows = 0;

	if (pages > SAMPLE_PAGES)
		heap_setscanlimits(scan, 0, SAMPLE_PAGES);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		rows += !slot_attisnull(slot, Anum_delta_row);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(delta, AccessShareLock);
	return pages > SAMPLE_PAGES ? rows * pages / SAMPLE_PAGES : rows;
}

/*
 * mdb_approximate_rows - about how many rows a table of ours has, for the active snapshot.
 */
double
mdb_approximate_rows(Relation rel)
{
	const MdbTable *table = mdb_table(rel);
	Snapshot snapshot = GetActiveSnapshot();
	double rows = mdb_parts_visible(table, snapshot)->nrows;
	MdbDeltaInfo *deltas;
	int count;

	mdb_delta_live(table, snapshot, &deltas, &count);
	for (int i = 0; i < count; i++)
		rows += rows_of_delta(deltas[i].relid, snapshot);
	return rows;
}

static double
rows_of_heap(Relation rel)
{
	BlockNumber now, pages;
	double rows, allvisible;

	if (!RELKIND_HAS_STORAGE(rel->rd_rel->relkind))
		return Max(0, rel->rd_rel->reltuples);
	now = RelationGetNumberOfBlocks(rel);
	if (now == 0)
		return 0;
	/* The planner takes small tables that were never counted for larger than they are. */
	estimate_rel_size(rel, NULL, &pages, &rows, &allvisible);
	return pages > now ? rows * now / pages : rows;
}

typedef struct Sum
{
	int64 rows;
	bool hidden; /* a node does not tell */
} Sum;

static void
add_node(void *arg, Datum *values, bool *isnull)
{
	Sum *sum = arg;

	sum->hidden = sum->hidden || isnull[0];
	sum->rows += isnull[0] ? 0 : DatumGetInt64(values[0]);
}

/* What the nodes say, which have rows of the distributed table. */
static Datum
rows_of_nodes(FunctionCallInfo fcinfo, Oid relid)
{
	TupleDesc desc = CreateTemplateTupleDesc(1);
	Sum sum = {0};

	TupleDescInitEntry(desc, 1, "rows", INT8OID, -1, 0);
	mdb_elsewhere->ask(psprintf("SELECT metricsdb.approximate_row_count(%s)",
								quote_literal_cstr(quote_qualified_identifier(
									get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid)))),
					   desc, add_node, &sum);
	if (sum.hidden)
		PG_RETURN_NULL();
	PG_RETURN_INT64(sum.rows);
}

/*
 * mdb_approximate_row_count - metricsdb.approximate_row_count(relation regclass), with partitions and children.
 *
 * NULL where row-level security hides rows from the caller.  Raises ERRCODE_UNDEFINED_TABLE,
 * ERRCODE_INSUFFICIENT_PRIVILEGE or ERRCODE_WRONG_OBJECT_TYPE.
 */
Datum
mdb_approximate_row_count(PG_FUNCTION_ARGS)
{
	Oid relid = PG_GETARG_OID(0);
	char *name = get_rel_name(relid);
	char kind = get_rel_relkind(relid);
	AclResult acl;
	double rows = 0;
	ListCell *lc;

	if (name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table with OID %u does not exist", relid)));
	acl = pg_class_aclcheck(relid, GetUserId(), ACL_SELECT);
	if (acl != ACLCHECK_OK)
		aclcheck_error(acl, get_relkind_objtype(kind), name);
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE && kind != RELKIND_MATVIEW &&
		kind != RELKIND_FOREIGN_TABLE)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a table", name),
						errhint("Count its rows by SELECT count(*).")));
	if (check_enable_rls(relid, InvalidOid, true) == RLS_ENABLED)
		PG_RETURN_NULL();
	relation_close(relation_open(relid, AccessShareLock), NoLock);
	if (mdb_is_distributed(relid))
		return rows_of_nodes(fcinfo, relid);
	mdb_refuse_elsewhere(relid, NULL);
	foreach (lc, find_all_inheritors(relid, AccessShareLock, NULL))
	{
		Relation rel = relation_open(lfirst_oid(lc), NoLock);

		CHECK_FOR_INTERRUPTS();
		if (RELATION_IS_OTHER_TEMP(rel))
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("cannot access temporary tables of other sessions")));
		if (mdb_is_metricsdb(rel))
			rows += mdb_approximate_rows(rel);
		else if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
			rows += rows_of_heap(rel);
		relation_close(rel, AccessShareLock);
	}
	PG_RETURN_INT64((int64) rint(rows));
}
