/*
 * hooks.c
 *	  Where the access method hears of what no callback tells it: dropped tables, and the starts and
 *	  ends of statements.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "commands/event_trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "metricsdb.h"
#include "am/am.h"
#include "series/guard.h"

PG_FUNCTION_INFO_V1(mdb_load_library);

static object_access_hook_type prev_object_access = NULL;
static ExecutorStart_hook_type prev_executor_start = NULL;
static ExecutorFinish_hook_type prev_executor_finish = NULL;

static void
relation_dropped(Oid relid)
{
	Relation rel;
	char *name;
	Oid table;
	char kind;

	/* It may have been ours when a limit was set for it. */
	kind = get_rel_relkind(relid);
	if (kind == RELKIND_RELATION || kind == RELKIND_MATVIEW)
		mdb_guard_forget(relid);
	if (!mdb_is_metricsdb_oid(relid))
	{
		/* SET ACCESS METHOD has left its table's old heap here, named by make_new_heap(). */
		name = get_rel_name(relid);
		if (name && sscanf(name, "pg_temp_%u", &table) == 1 && mdb_is_metricsdb_oid(table) &&
			OidIsValid(mdb_catalog_relid("storage", true)))
			mdb_storage_adopt(relid, table);
		return;
	}
	mdb_distributed_forget(relid);
	rel = relation_open(relid, NoLock);
	mdb_drop_storage(rel);
	relation_close(rel, NoLock);
	mdb_feeds_dropped(relid);
}

static bool
system_column_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var *var = (Var *) node;

		return var->varattno < 0 && var->varattno != TableOidAttributeNumber;
	}
	return expression_tree_walker(node, system_column_walker, context);
}

static bool
has_system_column(Node *node)
{
	return system_column_walker(node, NULL);
}

/* A copy of a row of pg_class or pg_index that this very command has made, by OID; NULL if none. */
static HeapTuple
new_catalog_row(Oid catalog, Oid index, AttrNumber key_attno, Oid oid)
{
	Relation rel = table_open(catalog, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, key_attno, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(oid));
	scan = systable_beginscan(rel, index, true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return tuple;
}

/* An index by an access method that does not do is refused before CONCURRENTLY leaves half of it. */
static void
index_created(Oid relid, Oid am)
{
	HeapTuple tuple = new_catalog_row(IndexRelationId, IndexRelidIndexId, Anum_pg_index_indexrelid, relid);
	Oid table;

	if (!HeapTupleIsValid(tuple))
		return;
	table = ((Form_pg_index) GETSTRUCT(tuple))->indrelid;
	heap_freetuple(tuple);
	if (mdb_is_metricsdb_oid(table))
		mdb_index_check_am(get_rel_name(table), am);
}

/* A relation was made: maybe an index, or what SET ACCESS METHOD is about to convert a table to. */
static void
relation_created(Oid relid, bool internal)
{
	HeapTuple tuple;
	Form_pg_class class;
	Oid table;

	if (!OidIsValid(mdb_am_oid(true)))
		return;
	tuple = new_catalog_row(RelationRelationId, ClassOidIndexId, Anum_pg_class_oid, relid);
	if (!HeapTupleIsValid(tuple))
		return;
	class = (Form_pg_class) GETSTRUCT(tuple);
	if (class->relkind == RELKIND_INDEX)
		index_created(relid, class->relam);
	/* Named by make_new_heap() */
	if (internal && (class->relkind == RELKIND_RELATION || class->relkind == RELKIND_MATVIEW) &&
		sscanf(NameStr(class->relname), "pg_temp_%u", &table) == 1 && class->relam != mdb_am_oid(true) &&
		mdb_is_metricsdb_oid(table))
		mdb_feeds_refuse_leaving(table);
	heap_freetuple(tuple);
}

static void
object_access(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classId, objectId, subId, arg);
	if (access == OAT_DROP && classId == RelationRelationId && subId == 0)
		relation_dropped(objectId);
	if (access == OAT_TRUNCATE && classId == RelationRelationId)
	{
		mdb_refuse_distributed(objectId);
		mdb_feeds_lock_truncated(objectId);
	}
	if (access == OAT_POST_CREATE && classId == RelationRelationId && subId == 0)
		relation_created(objectId, ((ObjectAccessPostCreate *) arg)->is_internal);
}

/* Subtransaction-proof: once a transaction has asked for places of new rows it keeps giving them. */
static LocalTransactionId returning_lxid = InvalidLocalTransactionId;

/*
 * mdb_returning - may RETURNING ask for system columns of rows that are being inserted?
 */
bool
mdb_returning(void)
{
	return returning_lxid != InvalidLocalTransactionId && returning_lxid == mdb_my_lxid();
}

/* Does a plan insert rows and return system columns of them? */
static bool
returns_system_columns(PlannedStmt *stmt)
{
	ListCell *lc;

	if (stmt->commandType == CMD_SELECT && !stmt->hasModifyingCTE)
		return false;
	if (stmt->planTree && IsA(stmt->planTree, ModifyTable) &&
		has_system_column((Node *) ((ModifyTable *) stmt->planTree)->returningLists))
		return true;
	foreach (lc, stmt->subplans)
	{
		Plan *plan = lfirst(lc);

		if (plan && IsA(plan, ModifyTable) &&
			has_system_column((Node *) ((ModifyTable *) plan)->returningLists))
			return true;
	}
	return false;
}

static void
executor_start(QueryDesc *queryDesc, int eflags)
{
	if (returns_system_columns(queryDesc->plannedstmt))
		returning_lxid = mdb_my_lxid();
	/* Rows of an outer statement: before a parallel plan forbids writing them. */
	mdb_buffer_flush_all();
	/* Nor do workers know which rows this transaction has superseded.  The plan may be used again later. */
	if (queryDesc->plannedstmt->parallelModeNeeded && (mdb_buffer_pending() || mdb_superseded_any()))
	{
		PlannedStmt *serial = MemoryContextAlloc(GetMemoryChunkContext(queryDesc), sizeof(PlannedStmt));

		*serial = *queryDesc->plannedstmt;
		serial->parallelModeNeeded = false;
		queryDesc->plannedstmt = serial;
	}
	if (prev_executor_start)
		prev_executor_start(queryDesc, eflags);
	else
		standard_ExecutorStart(queryDesc, eflags);
	mdb_bitmap_started(queryDesc, mdb_is_metricsdb);
}

static void
executor_finish(QueryDesc *queryDesc)
{
	/* Before the statement's triggers run, and after what they wrote. */
	mdb_buffer_flush_all();
	if (prev_executor_finish)
		prev_executor_finish(queryDesc);
	else
		standard_ExecutorFinish(queryDesc);
	mdb_buffer_flush_all();
}

/*
 * mdb_load_library - event trigger on ddl_command_start that does nothing.
 *
 * Calling it loads the library, and so installs the hooks above, in a session that drops a table
 * before it used one; without shared_preload_libraries nothing else would.
 */
Datum
mdb_load_library(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function can only be called by an event trigger")));
	PG_RETURN_NULL();
}

/*
 * mdb_am_init - at load: install the hooks.
 */
void
mdb_am_init(void)
{
	mdb_buffer_init();
	mdb_fetch_init();
	mdb_superseded_init();
	mdb_marks_init();
	mdb_feeds_init();
	mdb_index_init();
	mdb_bitmap_init();
	prev_object_access = object_access_hook;
	object_access_hook = object_access;
	prev_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
	prev_executor_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = executor_finish;
}
