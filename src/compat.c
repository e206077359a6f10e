/*
 * compat.c
 *	  Differences between PostgreSQL versions that need more than a macro.
 */
#include "compat.h"

#include "access/heapam.h"
#include "access/relscan.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_relation.h"
#include "storage/bufmgr.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "storage/standby.h"
#include "utils/rel.h"
#include "utils/resowner.h"

/*
 * mdb_extend_file - a page at the end of a file that only we know of, locked.
 */
Buffer
mdb_extend_file(struct SMgrRelationData *srel, const MdbRelFile *file, char persistence)
{
#if PG_VERSION_NUM >= 160000
	return ExtendBufferedRel(BMR_SMGR(srel, persistence), MAIN_FORKNUM, NULL,
							 EB_SKIP_EXTENSION_LOCK | EB_LOCK_FIRST);
#else
	return ReadBufferWithoutRelcache(*file, MAIN_FORKNUM, P_NEW, RBM_ZERO_AND_LOCK, NULL,
									 persistence == RELPERSISTENCE_PERMANENT);
#endif
}

/*
 * mdb_xmin_horizon - the horizon that a session with this xmin holds.  PostgreSQL 15 has a setting that keeps it back.
 */
TransactionId
mdb_xmin_horizon(TransactionId xmin)
{
#if PG_VERSION_NUM < 160000
	xmin -= vacuum_defer_cleanup_age;
	while (!TransactionIdIsNormal(xmin))
		xmin--;
#endif
	return xmin;
}

/*
 * A page is known to have something to prune from when on a row of it is deleted or updated, not from one that was
 * inserted and rolled back.  Say so of such ones, too.
 */
static void
hint_rolled_back(Buffer buf)
{
	Page page = BufferGetPage(buf);
	TransactionId oldest = InvalidTransactionId;

	if (RecoveryInProgress())
		return;
	LockBuffer(buf, BUFFER_LOCK_EXCLUSIVE);
	for (OffsetNumber off = FirstOffsetNumber; off <= PageGetMaxOffsetNumber(page); off++)
	{
		ItemId item = PageGetItemId(page, off);
		HeapTupleHeader tuple;
		TransactionId xmin;

		if (!ItemIdIsNormal(item))
			continue;
		tuple = (HeapTupleHeader) PageGetItem(page, item);
		xmin = HeapTupleHeaderGetRawXmin(tuple);
		if (HeapTupleHeaderXminCommitted(tuple) || !TransactionIdIsNormal(xmin) ||
			TransactionIdIsInProgress(xmin) || TransactionIdDidCommit(xmin))
			continue;
		if (!TransactionIdIsValid(oldest) || TransactionIdPrecedes(xmin, oldest))
			oldest = xmin;
	}
	if (TransactionIdIsValid(oldest))
	{
		PageSetPrunable(page, oldest);
		MarkBufferDirtyHint(buf, true);
	}
	LockBuffer(buf, BUFFER_LOCK_UNLOCK);
}

/*
 * mdb_heap_prune_page - prune a heap page if it has something to prune and nobody is in the way.
 *
 * heap_page_prune_opt() does so only when the page has less free space than the fill factor
 * leaves, and what is under it changes its arguments even between minor releases.  So it is
 * called with a copy of the relation whose fill factor makes any page look full.
 */
void
mdb_heap_prune_page(Relation rel, Buffer buf)
{
	RelationData copy = *rel;
	StdRdOptions options = {0};

	hint_rolled_back(buf);
	options.fillfactor = 1;
	copy.rd_options = (bytea *) &options;
	SET_VARSIZE(&options, sizeof(options));
	heap_page_prune_opt(&copy, buf);
}

/*
 * mdb_index_create - an index on one column of an empty heap, as part of the heap.
 */
void
mdb_index_create(Relation heap, const char *name, struct IndexInfo *info, struct List *columns, Oid am,
				 Oid tablespace, Oid opclass)
{
	Oid collation = InvalidOid;
	int16 option = 0;

#if PG_VERSION_NUM >= 170000
	index_create(heap, name, InvalidOid, InvalidOid, InvalidOid, InvalidRelFileNumber, info, columns, am,
				 tablespace, &collation, &opclass, NULL, &option, NULL, (Datum) 0, 0, 0, true, true, NULL);
#else
	index_create(heap, name, InvalidOid, InvalidOid, InvalidOid, InvalidOid, info, columns, am, tablespace,
				 &collation, &opclass, &option, (Datum) 0, 0, 0, true, true, NULL);
#endif
}

/*
 * mdb_group_expr - an expression of a query that was not planned yet, where it may be a column of the grouping.
 */
struct Node *
mdb_group_expr(struct Query *query, struct Node *expr)
{
#if PG_VERSION_NUM >= 180000
	Var *var = (Var *) expr;

	if (IsA(var, Var) && var->varlevelsup == 0)
	{
		RangeTblEntry *rte = list_nth(query->rtable, var->varno - 1);

		if (rte->rtekind == RTE_GROUP)
			return list_nth(rte->groupexprs, var->varattno - 1);
	}
#endif
	return expr;
}

/*
 * mdb_group_exprs - the place where a query that was not planned yet keeps the expressions of its grouping, apart from
 * its target list; NULL if it does not.
 */
struct List **
mdb_group_exprs(struct Query *query)
{
#if PG_VERSION_NUM >= 180000
	ListCell *lc;

	foreach (lc, query->rtable)
		if (lfirst_node(RangeTblEntry, lc)->rtekind == RTE_GROUP)
			return &lfirst_node(RangeTblEntry, lc)->groupexprs;
#endif
	return NULL;
}

/*
 * mdb_view_of_subquery - the view whose rule put this subquery into a query; InvalidOid if none did.  *user: as whom
 * the view is read, InvalidOid is the current user.
 */
Oid
mdb_view_of_subquery(struct Query *query, struct RangeTblEntry *rte, Oid *user)
{
#if PG_VERSION_NUM >= 160000
	if (!OidIsValid(rte->relid) || rte->perminfoindex == 0)
		return InvalidOid;
	*user = getRTEPermissionInfo(query->rteperminfos, rte)->checkAsUser;
	return rte->relid;
#else
	/* The rule's entry for the old row of the view has what was asked of the view. */
	RangeTblEntry *old = rte->subquery->rtable ? linitial(rte->subquery->rtable) : NULL;

	if (old == NULL || old->rtekind != RTE_RELATION || old->relkind != RELKIND_VIEW)
		return InvalidOid;
	*user = old->checkAsUser;
	return old->relid;
#endif
}

/*
 * mdb_read_as - as whom a table is read; InvalidOid is the current user.
 */
Oid
mdb_read_as(struct Query *query, struct RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	return rte->perminfoindex ? getRTEPermissionInfo(query->rteperminfos, rte)->checkAsUser : InvalidOid;
#else
	return rte->checkAsUser;
#endif
}

/*
 * mdb_copy_permissions - what is to be checked for an entry of a query's range table is to be checked for its copy in
 * another query, which has no other entry.
 */
void
mdb_copy_permissions(struct Query *from, struct Query *to, struct RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	if (rte->perminfoindex == 0)
		return;
	to->rteperminfos = list_make1(copyObject(getRTEPermissionInfo(from->rteperminfos, rte)));
	rte->perminfoindex = 1;
#endif
}

/*
 * mdb_set_permissions - an entry of a query's range table, which has no other, is to be read as a user.
 */
void
mdb_set_permissions(struct Query *query, struct RangeTblEntry *rte, Oid user)
{
#if PG_VERSION_NUM >= 160000
	RTEPermissionInfo *info = addRTEPermissionInfo(&query->rteperminfos, rte);

	info->requiredPerms = ACL_SELECT;
	info->checkAsUser = user;
#else
	rte->requiredPerms = ACL_SELECT;
	rte->checkAsUser = user;
#endif
}

/*
 * mdb_set_unchecked - to read an entry of a query's range table, which has no other, nobody needs a right.  The planner
 * of PostgreSQL 16 demands that it be said.
 */
void
mdb_set_unchecked(struct Query *query, struct RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	(void) addRTEPermissionInfo(&query->rteperminfos, rte);
#endif
}

/*
 * mdb_forget_unchecked - a plan's executor is not bothered with tables for which nobody must have anything: PostgreSQL
 * 16 asserts that there are none.
 */
void
mdb_forget_unchecked(struct PlannedStmt *stmt)
{
#if PG_VERSION_NUM >= 160000
	Index *to = palloc0(sizeof(Index) * (list_length(stmt->permInfos) + 1));
	List *kept = NIL;
	ListCell *lc;

	foreach (lc, stmt->permInfos)
		if (lfirst_node(RTEPermissionInfo, lc)->requiredPerms != 0)
		{
			kept = lappend(kept, lfirst(lc));
			to[foreach_current_index(lc) + 1] = list_length(kept);
		}
	foreach (lc, stmt->rtable)
		lfirst_node(RangeTblEntry, lc)->perminfoindex = to[lfirst_node(RangeTblEntry, lc)->perminfoindex];
	stmt->permInfos = kept;
	pfree(to);
#endif
}

/*
 * mdb_wait_set - a set of events to wait for, which has the latch and the postmaster's death among nevents.  The caller
 * frees it, also where PostgreSQL 17 would after an error.
 */
struct WaitEventSet *
mdb_wait_set(int nevents)
{
#if PG_VERSION_NUM >= 170000
	WaitEventSet *set = CreateWaitEventSet(CurrentResourceOwner, nevents);
#else
	WaitEventSet *set = CreateWaitEventSet(CurrentMemoryContext, nevents);
#endif

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	return set;
}

/*
 * Up to PostgreSQL 17 it is the executor's node that reads a bitmap, and that prefetches its blocks from the table's
 * file.  Those of metricsdb tables are none of the file: it would be an error.  So nodes are told not to, when a query
 * has started: before anything of it runs, as all processes of a parallel scan must agree on it.  Plans that are run
 * anew for rows that others have changed meanwhile start later, and a scan is not told which node it is of: that is
 * looked for among the queries that are running.
 */
#if PG_VERSION_NUM < 180000

typedef struct Running
{
	QueryDesc *query;
	struct Running *outer;
} Running;

/* Which nodes: that of a scan, or all of certain tables. */
typedef struct Prefetching
{
	void *scan;
	bool (*applies)(Relation rel);
} Prefetching;

static Running *running = NULL; /* the innermost */
static ExecutorRun_hook_type prev_executor_run = NULL;
static ExecutorFinish_hook_type prev_executor_finish = NULL;

static bool stop_in_node(PlanState *node, void *which);

/* True if the scan was found. */
static bool
stop_in_query(PlanState *top, EState *estate, Prefetching *which)
{
	ListCell *lc;

	if (top && stop_in_node(top, which))
		return true;
	foreach (lc, estate->es_subplanstates)
		if (lfirst(lc) && stop_in_node(lfirst(lc), which))
			return true;
	return false;
}

/* In a plan that is run anew for rows that others have changed meanwhile. */
static bool
stop_in_recheck(EPQState *epq, Prefetching *which)
{
	return epq->recheckestate && stop_in_query(epq->recheckplanstate, epq->recheckestate, which);
}

static bool
stop_in_node(PlanState *node, void *context)
{
	Prefetching *which = context;

	if (IsA(node, BitmapHeapScanState))
	{
		BitmapHeapScanState *bitmap = (BitmapHeapScanState *) node;

		if (which->scan ? (void *) bitmap->ss.ss_currentScanDesc == which->scan
						: which->applies(bitmap->ss.ss_currentRelation))
		{
			bitmap->prefetch_maximum = 0;
			if (which->scan)
				return true;
		}
	}
	if (IsA(node, ModifyTableState) && stop_in_recheck(&((ModifyTableState *) node)->mt_epqstate, which))
		return true;
	if (IsA(node, LockRowsState) && stop_in_recheck(&((LockRowsState *) node)->lr_epqstate, which))
		return true;
	return planstate_tree_walker(node, stop_in_node, which);
}

static void
executor_run(QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once)
{
	Running r = {.query = query, .outer = running};

	running = &r;
	PG_TRY();
	{
		if (prev_executor_run)
			prev_executor_run(query, direction, count, execute_once);
		else
			standard_ExecutorRun(query, direction, count, execute_once);
	}
	PG_FINALLY();
	{
		running = r.outer;
	}
	PG_END_TRY();
}

static void
executor_finish(QueryDesc *query)
{
	Running r = {.query = query, .outer = running};

	running = &r;
	PG_TRY();
	{
		if (prev_executor_finish)
			prev_executor_finish(query);
		else
			standard_ExecutorFinish(query);
	}
	PG_FINALLY();
	{
		running = r.outer;
	}
	PG_END_TRY();
}
#endif

/*
 * mdb_bitmap_stop_prefetching - before a bitmap scan's first block: keep its node from prefetching.
 */
void
mdb_bitmap_stop_prefetching(struct TableScanDescData *scan)
{
#if PG_VERSION_NUM < 180000
	Prefetching which = {.scan = scan};

	for (Running *r = running; r; r = r->outer)
		if (stop_in_query(r->query->planstate, r->query->estate, &which))
			return;
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("bitmap scan of table \"%s\" is not run by PostgreSQL's executor",
						   RelationGetRelationName(scan->rs_rd)),
					errhint("Set enable_bitmapscan to off.")));
#endif
}

/*
 * mdb_bitmap_started - a query has started: keep its bitmap scans of tables to which this applies from prefetching.
 */
void
mdb_bitmap_started(QueryDesc *query, bool (*applies)(Relation rel))
{
#if PG_VERSION_NUM < 180000
	Prefetching which = {.applies = applies};

	(void) stop_in_query(query->planstate, query->estate, &which);
#endif
}

/*
 * mdb_bitmap_init - at load: follow which queries are running.
 */
void
mdb_bitmap_init(void)
{
#if PG_VERSION_NUM < 180000
	prev_executor_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
	prev_executor_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = executor_finish;
#endif
}
