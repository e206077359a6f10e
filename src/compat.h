/*
 * compat.h
 *	  Every difference between PostgreSQL 15, 16, 17 and 18 that the code meets.
 *
 * No other file but am/handler.c looks at PG_VERSION_NUM.
 */
#ifndef MDB_COMPAT_H
#define MDB_COMPAT_H

#include "postgres.h"

#include "storage/buf.h"
#include "storage/proc.h"
#include "utils/relcache.h"

#if PG_VERSION_NUM < 150000
#error "metricsdb needs PostgreSQL 15 or later"
#endif

/* PostgreSQL 16 renamed relfilenodes to relfile locators, and postgres.h no longer brings varlenas. */
#if PG_VERSION_NUM >= 160000
#include "storage/relfilelocator.h"
#include "varatt.h"
#define MdbRelFile                 RelFileLocator
#define mdb_rel_file(rel)          ((rel)->rd_locator)
#define mdb_rel_file_space(f)      ((f).spcOid)
#define mdb_new_file_subid(rel)    ((rel)->rd_newRelfilelocatorSubid)
#define mdb_file_skips_wal(f)      RelFileLocatorSkippingWAL(f)
#define mdb_rel_file_equals(a, b)  RelFileLocatorEquals(a, b)
#define MdbUpdateIndexes           TU_UpdateIndexes
#define MDB_UPDATE_ALL_INDEXES     TU_All
#define MDB_UPDATE_NO_INDEXES      TU_None
#define MDB_HOT_BLOCKING           INDEX_ATTR_BITMAP_HOT_BLOCKING
#define mdb_count_update(rel, hot) pgstat_count_heap_update(rel, hot, false)
#define mdb_stat_dead_rows(entry)  ((entry)->dead_tuples)
/* Reads that failed are ended with their resource owner. */
#define mdb_abort_buffer_io() ((void) 0)
#else
#include "storage/relfilenode.h"
#define MdbRelFile                 RelFileNode
#define mdb_rel_file(rel)          ((rel)->rd_node)
#define mdb_rel_file_space(f)      ((f).spcNode)
#define mdb_new_file_subid(rel)    ((rel)->rd_newRelfilenodeSubid)
#define mdb_file_skips_wal(f)      RelFileNodeSkippingWAL(f)
#define mdb_rel_file_equals(a, b)  RelFileNodeEquals(a, b)
#define MdbUpdateIndexes           bool
#define MDB_UPDATE_ALL_INDEXES     true
#define MDB_UPDATE_NO_INDEXES      false
#define MDB_HOT_BLOCKING           INDEX_ATTR_BITMAP_ALL
#define mdb_count_update(rel, hot) pgstat_count_heap_update(rel, hot)
#define mdb_stat_dead_rows(entry)  ((entry)->n_dead_tuples)
#define mdb_abort_buffer_io()      AbortBufferIO()
#endif

#define mdb_has_new_file(rel) (mdb_new_file_subid(rel) != InvalidSubTransactionId)

/* PostgreSQL 16 made ownership checks generic. */
#if PG_VERSION_NUM >= 160000
#define mdb_owns_table(relid) object_ownercheck(RelationRelationId, (relid), GetUserId())
#define mdb_may_use_schema(nspid) \
	(object_aclcheck(NamespaceRelationId, (nspid), GetUserId(), ACL_USAGE) == ACLCHECK_OK)
#define mdb_new_file(rel) RelationSetNewRelfilenumber((rel), (rel)->rd_rel->relpersistence)
#else
#define mdb_owns_table(relid)     pg_class_ownercheck((relid), GetUserId())
#define mdb_may_use_schema(nspid) (pg_namespace_aclcheck((nspid), GetUserId(), ACL_USAGE) == ACLCHECK_OK)
#define mdb_new_file(rel)         RelationSetNewRelfilenode((rel), (rel)->rd_rel->relpersistence)
#endif

/* PostgreSQL 16 names relations, not their numbers, when expressions on a table become those on a child. */
#if PG_VERSION_NUM >= 160000
#define mdb_adjust_for_child(root, node, child) \
	adjust_appendrel_attrs_multilevel((root), (node), (child), (child)->top_parent)
#else
#define mdb_adjust_for_child(root, node, child) \
	adjust_appendrel_attrs_multilevel((root), (node), (child)->relids, (child)->top_parent_relids)
#endif

/* PostgreSQL 17 has intervals without end. */
#if PG_VERSION_NUM >= 170000
#define mdb_interval_is_infinite(i) INTERVAL_NOT_FINITE(i)
#else
#define mdb_interval_is_infinite(i) ((void) (i), false)
#endif

/* PostgreSQL 17 tells REINDEX of a table whose command it is. */
#if PG_VERSION_NUM >= 170000
#define mdb_reindex_relation(relid, params) \
	((void) reindex_relation(NULL, (relid), REINDEX_REL_PROCESS_TOAST, (params)))
#else
#define mdb_reindex_relation(relid, params) \
	((void) reindex_relation((relid), REINDEX_REL_PROCESS_TOAST, (params)))
#endif

/* PostgreSQL 17 keeps virtual transaction ids in a struct. */
#if PG_VERSION_NUM >= 170000
#define mdb_my_lxid() (MyProc->vxid.lxid)
#else
#define mdb_my_lxid() (MyProc->lxid)
#endif

/* PostgreSQL 16 lets the caller of a sort say whether it wants copies. */
#if PG_VERSION_NUM >= 160000
#define mdb_sorted_datum(sort, value, isnull) tuplesort_getdatum((sort), true, true, (value), (isnull), NULL)
#else
#define mdb_sorted_datum(sort, value, isnull) tuplesort_getdatum((sort), true, (value), (isnull), NULL)
#endif

/* PostgreSQL 17 has maintenance commands run with a safe search_path. */
#if PG_VERSION_NUM >= 170000
#define mdb_restrict_search_path() RestrictSearchPath()
#else
#define mdb_restrict_search_path() ((void) 0)
#endif

/* PostgreSQL 17 has a time-out for transactions; needs utils/guc.h. */
#if PG_VERSION_NUM >= 170000
#define mdb_no_transaction_timeout() SetConfigOption("transaction_timeout", "0", PGC_USERSET, PGC_S_SESSION)
#else
#define mdb_no_transaction_timeout() ((void) 0)
#endif

/* PostgreSQL 16 tells the vacuum of an index its table. */
#if PG_VERSION_NUM >= 160000
#define mdb_vacuum_info_set_heap(info, rel) ((info)->heaprel = (rel))
#else
#define mdb_vacuum_info_set_heap(info, rel) ((void) 0)
#endif

/* PostgreSQL 17 lets indexes keep things from one insertion to the next. */
#if PG_VERSION_NUM >= 170000
#define mdb_index_insert_end(index, info) index_insert_cleanup((index), (info))
#else
#define mdb_index_insert_end(index, info) ((void) 0)
#endif

/* PostgreSQL 17 has no error of its own for snapshots that are too old. */
#ifndef ERRCODE_SNAPSHOT_TOO_OLD
#define ERRCODE_SNAPSHOT_TOO_OLD MAKE_SQLSTATE('7', '2', '0', '0', '0')
#endif

/* PostgreSQL 17 asks a slot whether this transaction has made its row, instead of for xmin. */
#if PG_VERSION_NUM >= 170000
#define MDB_SLOT_SYSTEM(attribute, current_xact) \
	.getsysattr = (attribute), .is_current_xact_tuple = (current_xact)
#else
#define MDB_SLOT_SYSTEM(attribute, current_xact) .getsysattr = (attribute)
#endif

/* PostgreSQL 18 names the file that is scanned in parallel, can have room before minimal tuples, ... */
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#define mdb_parallel_scan_set(scan, rel) ((scan)->phs_locator = (rel)->rd_locator)
#define MDB_COPY_MINIMAL_ARGS            TupleTableSlot *slot, Size extra
#define mdb_form_minimal_tuple(desc, values, isnull, extra) \
	heap_form_minimal_tuple((desc), (values), (isnull), (extra))
/* ... counts pages that are all frozen, and the time that VACUUM takes, */
#define mdb_update_relstats(rel, pages, rows, indexed, xid, multi) \
	vac_update_relstats((rel), (pages), (rows), 0, 0, (indexed), (xid), (multi), NULL, NULL, false)
#define mdb_report_vacuum(rel, live, dead, started) \
	pgstat_report_vacuum(RelationGetRelid(rel), (rel)->rd_rel->relisshared, (live), (dead), (started))
/* ... and has paths count what is disabled in them, where it was a matter of costs. */
#define mdb_path_disabled_like(path, other) ((path)->disabled_nodes = (other)->disabled_nodes)
#else
#define mdb_parallel_scan_set(scan, rel) ((scan)->phs_relid = RelationGetRelid(rel))
#define MDB_COPY_MINIMAL_ARGS            TupleTableSlot *slot
#define mdb_form_minimal_tuple(desc, values, isnull, extra) \
	heap_form_minimal_tuple((desc), (values), (isnull))
#define mdb_update_relstats(rel, pages, rows, indexed, xid, multi) \
	vac_update_relstats((rel), (pages), (rows), 0, (indexed), (xid), (multi), NULL, NULL, false)
#define mdb_report_vacuum(rel, live, dead, started) \
	((void) (started),                              \
	 pgstat_report_vacuum(RelationGetRelid(rel), (rel)->rd_rel->relisshared, (live), (dead)))
#define mdb_path_disabled_like(path, other) ((void) 0)
#endif

/* PostgreSQL 18 tells VACUUM's delay from that of ANALYZE. */
#if PG_VERSION_NUM >= 180000
#define mdb_vacuum_delay() vacuum_delay_point(false)
#else
#define mdb_vacuum_delay() vacuum_delay_point()
#endif

/* PostgreSQL 18 counts the groups of a query among its tables. */
#if PG_VERSION_NUM >= 180000
#define mdb_explained_tables(es) ((es)->rtable_size)
#else
#define mdb_explained_tables(es) list_length((es)->rtable)
#endif

/* PostgreSQL 18 says how rows are ordered without naming btree's strategies. */
#if PG_VERSION_NUM >= 180000
#define MdbOrdering               CompareType
#define mdb_pathkey_ordering(key) ((key)->pk_cmptype)
/* A clause whose operator is "less than" by now says so in a second place. */
#define mdb_sort_upwards(clause) ((clause)->reverse_sort = false)
#define mdb_is_descending(o)     ((o) == COMPARE_GT)
#else
#define MdbOrdering               int16
#define mdb_pathkey_ordering(key) ((key)->pk_strategy)
#define mdb_sort_upwards(clause)  ((void) 0)
#define mdb_is_descending(o)      ((o) == BTGreaterStrategyNumber)
#endif

/* There are more of the kind in PostgreSQL 18, so that these have got longer names. */
#if PG_VERSION_NUM >= 180000
#define MDB_F_REVERSE               F_REVERSE_TEXT
#define mdb_is_index_operator(opno) (get_op_index_interpretation(opno) != NIL)
#else
#define MDB_F_REVERSE               F_REVERSE
#define mdb_is_index_operator(opno) (get_op_btree_interpretation(opno) != NIL)
#endif

/* PostgreSQL 18 spells it so. */
#ifndef pg_noreturn
#define pg_noreturn pg_attribute_noreturn()
#endif

/* PostgreSQL 16 leaves out grouping columns that others determine. */
#if PG_VERSION_NUM >= 160000
#define mdb_group_clause(root) ((root)->processed_groupClause)
#else
#define mdb_group_clause(root) ((root)->parse->groupClause)
#endif

/* Up to PostgreSQL 16 rows may be removed that old snapshots see. */
#if PG_VERSION_NUM >= 170000
#define mdb_old_snapshots_expire() false
#else
#define mdb_old_snapshots_expire() (old_snapshot_threshold >= 0)
#endif

/* PostgreSQL 16 wants the planner's state, or NULL. */
#if PG_VERSION_NUM >= 160000
#define mdb_flatten_joins(query, node) flatten_join_alias_vars(NULL, (query), (node))
#else
#define mdb_flatten_joins(query, node) flatten_join_alias_vars((query), (node))
#endif

/* PostgreSQL 18 keeps the expressions of a query's grouping apart: those in a node, in their places. */
#if PG_VERSION_NUM >= 180000
#define mdb_flatten_groups(query, node) flatten_group_exprs(NULL, (query), (node))
#else
#define mdb_flatten_groups(query, node) (node)
#endif

/* PostgreSQL 16 tells to be a member of a role from to may become it. */
#if PG_VERSION_NUM >= 160000
#define mdb_check_can_become(user, role) check_can_set_role((user), (role))
#else
#define mdb_check_can_become(user, role) check_is_member_of_role((user), (role))
#endif

/* PostgreSQL 17 numbers backends by their slots. */
#if PG_VERSION_NUM >= 170000
#define mdb_proc_of(vxid) ProcNumberGetProc((vxid)->procNumber)
#else
#define mdb_proc_of(vxid) BackendIdGetProc((vxid)->backendId)
#endif

/* PostgreSQL 16 renamed the look at the n-th backend, counted from one. */
#if PG_VERSION_NUM >= 160000
#define mdb_backend_entry(n) pgstat_get_local_beentry_by_index(n)
#else
#define mdb_backend_entry(n) pgstat_fetch_stat_local_beentry(n)
#endif

/* PostgreSQL 17 ties sets of events to resource owners instead of memory; needs storage/latch.h. */
#if PG_VERSION_NUM >= 170000
#define mdb_wait_event_set(n) CreateWaitEventSet(NULL, (n))
#else
#define mdb_wait_event_set(n) CreateWaitEventSet(TopMemoryContext, (n))
#endif

struct IndexInfo;
struct List;
struct Node;
struct PlannedStmt;
struct Query;
struct RangeTblEntry;
struct SMgrRelationData;
struct TableScanDescData;

extern void mdb_index_create(Relation heap, const char *name, struct IndexInfo *info, struct List *columns,
							 Oid am, Oid tablespace, Oid opclass);
extern Buffer mdb_extend_file(struct SMgrRelationData *srel, const MdbRelFile *file, char persistence);
extern TransactionId mdb_xmin_horizon(TransactionId xmin);
extern void mdb_heap_prune_page(Relation rel, Buffer buf);
extern struct Node *mdb_group_expr(struct Query *query, struct Node *expr);
extern struct List **mdb_group_exprs(struct Query *query);
extern Oid mdb_view_of_subquery(struct Query *query, struct RangeTblEntry *rte, Oid *user);
extern Oid mdb_read_as(struct Query *query, struct RangeTblEntry *rte);
extern void mdb_copy_permissions(struct Query *from, struct Query *to, struct RangeTblEntry *rte);
extern void mdb_set_permissions(struct Query *query, struct RangeTblEntry *rte, Oid user);
extern void mdb_set_unchecked(struct Query *query, struct RangeTblEntry *rte);
extern void mdb_forget_unchecked(struct PlannedStmt *stmt);
extern struct WaitEventSet *mdb_wait_set(int nevents);
extern void mdb_bitmap_stop_prefetching(struct TableScanDescData *scan);
struct QueryDesc;
extern void mdb_bitmap_started(struct QueryDesc *query, bool (*applies)(struct RelationData *rel));
extern void mdb_bitmap_init(void);

/* PostgreSQL 16 renamed the figures of a table. */
#if PG_VERSION_NUM >= 160000
#define mdb_stat_changes(entry) ((entry)->mod_since_analyze)
#else
#define mdb_stat_changes(entry) ((entry)->changes_since_analyze)
#endif

#endif /* MDB_COMPAT_H */
