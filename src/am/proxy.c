/*
 * proxy.c
 *	  The index access method metricsdb_proxy: an index of a delta heap that holds nothing.
 *
 * Indexes of a metricsdb table name rows of its delta heaps.  To VACUUM, whoever runs it on such a
 * heap (autovacuum against wraparound does not ask), the heap must therefore have an index, or it
 * would give line pointers free that the table's indexes still name.  This one stands for them: what
 * VACUUM wants deleted is deleted from the indexes of the table.  So only a heap that metricsdb.delta names may
 * have one, and one that another has got nevertheless reaches nothing.
 *
 * It is on a column that differs between versions of a row if some index of the table needs an entry for the
 * new one.  So an update of the heap is HOT only if no index does.
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/index.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/pathnodes.h"
#include "optimizer/cost.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "metricsdb.h"
#include "am/am.h"
#include "stop.h"

/* How long VACUUM of a delta heap waits for the table. */
#define LOCK_POLL_MS 50
#define LOCK_WAIT_MS 30000

PG_FUNCTION_INFO_V1(mdb_proxy_handler);

/* What one VACUUM has done so far: to the proxy, and to the indexes that it stands for. */
typedef struct ProxyStats
{
	IndexBulkDeleteResult base;
	int n;
	Oid *indexes;
	IndexBulkDeleteResult **stats;
} ProxyStats;

/*
 * Lock a table against whoever builds an index of it, or vacuums them: neither may see rows of the heap
 * go that the other one has just read of.
 *
 * VACUUM of a delta heap comes here with that heap locked, and who drops the table locks both the other
 * way round.  So this does not queue: who waits for an autovacuum worker can have it cancelled then.
 */
static bool
lock_table(Oid relid, bool wait)
{
	for (int ms = 0;; ms += LOCK_POLL_MS)
	{
		if (ConditionalLockRelationOid(relid, ShareUpdateExclusiveLock))
			return true;
		if (!wait)
			return false;
		if (ms >= LOCK_WAIT_MS)
			ereport(ERROR, (errcode(ERRCODE_LOCK_NOT_AVAILABLE),
							errmsg("could not lock table with OID %u to clean its indexes", relid),
							errdetail("VACUUM of its delta removes entries of rows that are gone.")));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOCK_POLL_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * The indexes of the table that a delta heap belongs to; *table is opened, and locked to the end of the
 * transaction, or NULL.  False if it could not be locked.
 */
static bool
open_table(Relation heap, bool wait, int16 *slot, Relation *table, List **indexes)
{
	int64 storage_id;
	Oid relid;

	*table = NULL;
	*indexes = NIL;
	if (!mdb_delta_identify(heap, &storage_id, slot))
		return true;
	relid = mdb_storage_relid(storage_id);
	if (!OidIsValid(relid))
		return true;
	if (!lock_table(relid, wait))
		return false;
	*table = try_relation_open(relid, NoLock);
	if (*table == NULL)
		return true;
	/* In the middle of a rewrite the catalog is ahead of the file; the rewrite makes indexes anew. */
	if (!mdb_is_metricsdb(*table) || mdb_table(*table)->storage_id != storage_id)
	{
		relation_close(*table, NoLock);
		*table = NULL;
		return true;
	}
	*indexes = RelationGetIndexList(*table);
	return true;
}

typedef struct Callback
{
	int16 slot;
	IndexBulkDeleteCallback callback;
	void *arg;
	MdbGone *gone; /* rows of parts whose entries can go, too; NULL = not known */
} Callback;

static uint64 passes = 0;

/*
 * mdb_proxy_passes - how often this process has removed entries of rows of parts in the course of VACUUM of
 * a row heap.
 */
uint64
mdb_proxy_passes(void)
{
	return passes;
}

static bool
is_dead(ItemPointer tid, void *arg)
{
	Callback *cb = arg;
	ItemPointerData heap_tid;

	if (!mdb_tid_is_delta(tid))
		return cb->gone && mdb_gone_has(cb->gone, mdb_row_of_tid(tid));
	if (mdb_tid_slot(tid) != cb->slot)
		return false;
	mdb_tid_in_heap(tid, &heap_tid);
	return cb->callback(&heap_tid, cb->arg);
}

static IndexBulkDeleteResult **
stats_of(ProxyStats *p, Oid index)
{
	for (int i = 0; i < p->n; i++)
		if (p->indexes[i] == index)
			return &p->stats[i];
	p->indexes = p->indexes ? repalloc(p->indexes, sizeof(Oid) * (p->n + 1)) : palloc(sizeof(Oid));
	p->stats = p->stats ? repalloc(p->stats, sizeof(void *) * (p->n + 1)) : palloc(sizeof(void *));
	p->indexes[p->n] = index;
	p->stats[p->n] = NULL;
	return &p->stats[p->n++];
}

/* Do to each index of the table what VACUUM does to the proxy. */
static IndexBulkDeleteResult *
forward(IndexVacuumInfo *info, IndexBulkDeleteResult *stats, IndexBulkDeleteCallback callback, void *arg)
{
	ProxyStats *p = (ProxyStats *) stats;
	Relation heap = table_open(info->index->rd_index->indrelid, NoLock);
	Relation table;
	int16 slot;
	List *indexes;
	Callback cb = {.callback = callback, .arg = arg};
	MdbBefore before;
	ListCell *lc;

	if (p == NULL)
		p = palloc0(sizeof(ProxyStats));
	/* Entries must go now, before the heap gives places free; tidying up can wait for the next time. */
	if (!open_table(heap, callback != NULL, &slot, &table, &indexes))
	{
		table_close(heap, NoLock);
		return &p->base;
	}
	cb.slot = slot;
	/* Shadows were pruned just now: rows of parts go in the same pass. */
	if (callback && indexes != NIL && slot == MDB_ROWS_SLOT)
	{
		cb.gone = mdb_gone_collect(table, mdb_table(table));
		passes++;
	}
	/* VACUUM of the heap runs as the heap's owner, who is a superuser; the indexes are those of the table's. */
	if (table)
		mdb_owner_begin(table, &before);
	foreach (lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), RowExclusiveLock);

		if (index->rd_index->indisready)
		{
			IndexVacuumInfo one = *info;
			IndexBulkDeleteResult **s = stats_of(p, RelationGetRelid(index));

			one.index = index;
			mdb_vacuum_info_set_heap(&one, table);
			one.estimated_count = true;
			one.num_heap_tuples = table->rd_rel->reltuples;
			*s = callback ? index_bulk_delete(&one, *s, is_dead, &cb) : index_vacuum_cleanup(&one, *s);
			MDB_STOP("index.cleanup");
			if (!callback)
				mdb_index_report(index, *s, info->message_level);
		}
		index_close(index, NoLock);
	}
	list_free(indexes);
	if (cb.gone)
		mdb_gone_free(cb.gone);
	if (table)
	{
		mdb_owner_end(&before);
		table_close(table, NoLock);
	}
	table_close(heap, NoLock);
	return &p->base;
}

static IndexBulkDeleteResult *
bulk_delete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats, IndexBulkDeleteCallback callback, void *arg)
{
	return forward(info, stats, callback, arg);
}

static IndexBulkDeleteResult *
vacuum_cleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	if (info->analyze_only)
		return stats;
	return forward(info, stats, NULL, NULL);
}

/*
 * Building it is nothing to do.  But if it is built because the heap was rewritten, rows have new
 * places there, and what names the old ones would be wrong.
 */
static IndexBuildResult *
build(Relation heap, Relation index, struct IndexInfo *info)
{
	int64 storage_id;
	int16 slot;

	/* pg_upgrade brings the catalogs' rows later. */
	if (!IsBinaryUpgrade && !mdb_delta_identify(heap, &storage_id, &slot))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("access method \"%s\" is for the delta heaps of metricsdb tables alone",
							   MDB_PROXY_AM_NAME),
						errdetail("\"%s\" is none.", RelationGetRelationName(heap)),
						errhint("Use another access method, such as btree.")));
	if (heap->rd_createSubid == InvalidSubTransactionId && mdb_has_new_file(heap) &&
		RelationGetNumberOfBlocks(heap) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot rewrite \"%s\", which is part of a metricsdb table",
						RelationGetRelationName(heap)),
				 errhint("Run VACUUM FULL on the table itself, without naming or including this one.")));
	return palloc0(sizeof(IndexBuildResult));
}

static void
build_empty(Relation index)
{
}

static bool
insert(Relation index, Datum *values, bool *isnull, ItemPointer tid, Relation heap, IndexUniqueCheck check,
	   bool unchanged, struct IndexInfo *info)
{
	return false;
}

static void
cost_estimate(struct PlannerInfo *root, struct IndexPath *path, double loop_count, Cost *startup, Cost *total,
			  Selectivity *selectivity, double *correlation, double *pages)
{
	*startup = *total = disable_cost;
	*selectivity = 1;
	*correlation = 0;
	*pages = 0;
}

static bytea *
options(Datum reloptions, bool validate)
{
	return NULL;
}

static bool
validate(Oid opclass)
{
	return true;
}

/*
 * mdb_proxy_handler - metricsdb.proxy_handler(internal): the index access method's routine.
 */
Datum
mdb_proxy_handler(PG_FUNCTION_ARGS)
{
	IndexAmRoutine *am = makeNode(IndexAmRoutine);

	am->amsearchnulls = true;
	am->amoptionalkey = true;
	am->amkeytype = InvalidOid;
	am->ambuild = build;
	am->ambuildempty = build_empty;
	am->aminsert = insert;
	am->ambulkdelete = bulk_delete;
	am->amvacuumcleanup = vacuum_cleanup;
	am->amcostestimate = cost_estimate;
	am->amoptions = options;
	am->amvalidate = validate;
	PG_RETURN_POINTER(am);
}
