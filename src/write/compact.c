/*
 * compact.c
 *	  Background work on a table: the delta's rows into parts, parts into bigger ones.
 *
 * Nothing here waits for a user's transaction: locks that others may hold are taken if they are
 * free, else the work is left for later.  Each step is a transaction of its own; a crash between
 * two leaves a state that the next run goes on from.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/heap.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/procarray.h"
#include "tcop/pquery.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "metricsdb.h"
#include "write/write.h"

/* Pages of a delta heap from which on the background moves it into parts. */
#define DELTA_PAGES_MIN 64

/* Rows moved from a delta into parts at a time. */
#define DELTA_ROWS_MAX (1024 * 1024)

PG_FUNCTION_INFO_V1(mdb_compact_sql);

/*
 * Open the table for compaction if nobody is in the way.  Waits only when asked to by a user.
 */
static Relation
open_table(Oid relid, bool wait)
{
	Relation rel;

	if (wait)
		LockRelationOid(relid, ShareUpdateExclusiveLock);
	else if (!ConditionalLockRelationOid(relid, ShareUpdateExclusiveLock))
		return NULL;
	rel = try_relation_open(relid, NoLock);
	if (rel != NULL && !mdb_is_metricsdb(rel))
	{
		relation_close(rel, ShareUpdateExclusiveLock);
		return NULL;
	}
	return rel;
}

static BlockNumber
delta_pages(Oid relid)
{
	Relation delta = table_open(relid, AccessShareLock);
	BlockNumber n = RelationGetNumberOfBlocks(delta);

	table_close(delta, AccessShareLock);
	return n;
}

/* Move the rows of a slot that nobody writes to any more into parts, and retire it. */
static bool
retire_slot(Relation rel, const MdbDeltaInfo *info)
{
	Relation delta;
	Snapshot snapshot;
	TableScanDesc scan;
	TupleTableSlot *heapslot;
	TupleTableSlot *rowslot;
	MdbAppend *append;
	MemoryContext tmp;

	/* A writer that has not ended, or a prepared transaction: come back later. */
	if (!ConditionalLockRelationOid(info->relid, ShareLock))
		return false;
	delta = table_open(info->relid, NoLock);
	append = mdb_append_create();
	mdb_append_open(append, rel);
	heapslot = table_slot_create(delta, NULL);
	rowslot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
	tmp = AllocSetContextCreate(CurrentMemoryContext, "metricsdb delta rows", ALLOCSET_DEFAULT_SIZES);

	/* Only a snapshot taken now is sure to see all that was committed. */
	snapshot = mdb_latest_snapshot();
	scan = table_beginscan(delta, snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, heapslot))
	{
		MemoryContext old = MemoryContextSwitchTo(tmp);

		CHECK_FOR_INTERRUPTS();
		ExecStoreMinimalTuple(mdb_delta_tuple(heapslot), rowslot, false);
		MemoryContextSwitchTo(old);
		mdb_append_slots(append, &rowslot, 1);
		ExecClearTuple(rowslot);
		MemoryContextReset(tmp);
		if (mdb_append_nrows(append) >= DELTA_ROWS_MAX ||
			mdb_append_bytes(append) > (Size) mdb_write_buffer * 1024)
			mdb_append_write(append, GetCurrentCommandId(true), 0, false, 0, 0);
	}
	table_endscan(scan);
	mdb_append_write(append, GetCurrentCommandId(true), 0, false, 0, 0);
	UnregisterSnapshot(snapshot);
	mdb_delta_set_live(info, false);
	CommandCounterIncrement();

	MemoryContextDelete(tmp);
	ExecDropSingleTupleTableSlot(heapslot);
	ExecDropSingleTupleTableSlot(rowslot);
	mdb_append_free(append);
	table_close(delta, NoLock);
	return true;
}

/* Empty a retired heap once no snapshot, here or on a standby, can see it live. */
static bool
truncate_slot(int64 storage_id, const MdbDeltaInfo *info)
{
	Relation delta;
	bool removable;

	if (delta_pages(info->relid) == 0)
		return false;
	if (!ConditionalLockRelationOid(info->relid, AccessExclusiveLock))
		return false;
	delta = table_open(info->relid, NoLock);
	removable = TransactionIdPrecedes(info->xmin, GetOldestNonRemovableTransactionId(delta)) ||
				!TransactionIdIsNormal(info->xmin);
	removable = removable && mdb_delta_history_gone(storage_id, info);
	if (removable)
		heap_truncate_one_rel(delta);
	table_close(delta, removable ? NoLock : AccessExclusiveLock);
	return removable;
}

static void
begin_step(void)
{
	if (!ActiveSnapshotSet())
		PushActiveSnapshot(GetTransactionSnapshot());
}

/*
 * Direct writers to a slot that was made live by a transaction which has ended: so has its lock
 * on the table, and another compaction may have retired the slot, empty as it is, since then.
 */
static void
switch_slot(Relation rel, int16 slot)
{
	MdbTable *table = mdb_table(rel);
	Snapshot snapshot = mdb_latest_snapshot();
	MdbDeltaInfo *deltas;
	int count;

	mdb_delta_list(table->storage_id, snapshot, &deltas, &count);
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < count; i++)
		if (deltas[i].slot == slot && deltas[i].live)
			mdb_meta_set_delta_slot(rel, slot);
}

/*
 * One step on the delta.  *next_slot is set if writers are to be switched to that slot after this
 * transaction has committed.
 */
static bool
delta_step(Relation rel, MdbCompactGoal *goal, int *next_slot)
{
	MdbTable *table = mdb_table(rel);
	MdbMeta meta;
	MdbDeltaInfo *deltas;
	int count;
	int current = -1;
	int free_slot = -1;
	int nlive = 0;
	Snapshot snapshot = mdb_latest_snapshot();

	mdb_storage_revive(rel);
	if (mdb_storage_forget_void(rel))
		return true;
	mdb_meta_read(rel, &meta);
	mdb_delta_list(table->storage_id, snapshot, &deltas, &count);
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < count; i++)
	{
		if (deltas[i].slot == meta.delta_slot)
			current = i;
		else if (deltas[i].live)
		{
			nlive++;
			if (retire_slot(rel, &deltas[i]))
				return true;
		}
		else if (delta_pages(deltas[i].relid) == 0)
			free_slot = i;
		else if (truncate_slot(table->storage_id, &deltas[i]))
			return true;
	}
	if (current < 0 || nlive > 0)
		return false;
	if (delta_pages(deltas[current].relid) < (goal ? 1 : DELTA_PAGES_MIN) || (goal && goal->delta_done))
		return false;
	if (goal)
		goal->delta_done = true;
	if (free_slot >= 0)
	{
		mdb_delta_set_live(&deltas[free_slot], true);
		*next_slot = deltas[free_slot].slot;
		return true;
	}
	if (count >= MDB_DELTA_SLOTS)
		return false;
	(void) mdb_delta_create(rel, rel->rd_rel->relpersistence, table->storage_id, (int16) count);
	*next_slot = count;
	return true;
}

/*
 * mdb_compact_relation - do one thing for a table, or all there is to do if full.
 *
 * Called in a transaction; commit() ends it and begins another.  True if something was done.
 */
bool
mdb_compact_relation(Oid relid, bool full, MdbCommitFunction commit)
{
	MdbCompactGoal everything = {0};
	MdbCompactGoal *goal = full ? &everything : NULL;
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext step =
		full ? AllocSetContextCreate(outer, "metricsdb compaction step", ALLOCSET_DEFAULT_SIZES) : NULL;
	bool any = false;
	bool done;

	everything.mcxt = outer;
	do
	{
		Relation rel;
		int next_slot = -1;

		CHECK_FOR_INTERRUPTS();
		/* A transaction's end does not free what is allocated here: of many steps, one's is enough. */
		if (step)
		{
			MemoryContextReset(step);
			MemoryContextSwitchTo(step);
		}
		begin_step();
		rel = open_table(relid, full);
		if (rel == NULL)
			break;
		done = delta_step(rel, goal, &next_slot) || mdb_merge_step(rel, goal) || mdb_space_step(rel, goal);
		relation_close(rel, NoLock);
		if (step)
			MemoryContextSwitchTo(outer);
		if (done)
			commit();
		any |= done;
		if (next_slot >= 0)
		{
			begin_step();
			rel = open_table(relid, full);
			if (rel == NULL)
				break;
			switch_slot(rel, (int16) next_slot);
			relation_close(rel, NoLock);
			commit();
		}
	} while (done && full);
	if (step)
	{
		MemoryContextSwitchTo(outer);
		MemoryContextDelete(step);
	}
	return any;
}

static void
commit_worker(void)
{
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
	StartTransactionCommand();
	begin_step();
}

/* The permanent tables of this database that the access method stores. */
static List *
list_tables(void)
{
	Oid am = mdb_am_oid(true);
	Relation pg_class;
	SysScanDesc scan;
	HeapTuple tuple;
	List *relids = NIL;

	if (!OidIsValid(am) || !OidIsValid(mdb_catalog_relid("part", true)))
		return NIL;
	pg_class = table_open(RelationRelationId, AccessShareLock);
	scan = systable_beginscan(pg_class, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->relam == am && form->relpersistence != RELPERSISTENCE_TEMP)
			relids = lappend_oid(relids, form->oid);
	}
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
	return relids;
}

/* Seconds from one look for orphans to the next. */
#define ORPHANS_INTERVAL 600

/* Is there no such heap?  Not so if it was made just now: its maker holds a lock until all can see it. */
static bool
heap_is_gone(Oid relid)
{
	bool gone;

	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)) ||
		!ConditionalLockRelationOid(relid, AccessShareLock))
		return false;
	gone = !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid));
	UnlockRelationOid(relid, AccessShareLock);
	return gone;
}

/*
 * Forget storages whose delta heaps are gone: those of temporary tables of a backend that
 * crashed, whose files core removes without telling us.
 */
static void
collect_orphans(void)
{
	static TimestampTz last = 0;
	TimestampTz now = GetCurrentTimestamp();
	int64 *ids;
	int count;

	if (last != 0 && now < last + ORPHANS_INTERVAL * USECS_PER_SEC)
		return;
	last = now;
	if (!OidIsValid(mdb_catalog_relid("storage", true)))
		return;
	mdb_decoding_hide_all();
	mdb_storage_list(&ids, &count);
	for (int i = 0; i < count; i++)
	{
		MdbDeltaInfo *deltas;
		int ndeltas;
		bool gone = false;
		Snapshot snapshot = mdb_latest_snapshot();

		mdb_delta_list(ids[i], snapshot, &deltas, &ndeltas);
		UnregisterSnapshot(snapshot);
		for (int k = 0; k < ndeltas; k++)
			gone |= heap_is_gone(deltas[k].relid);
		if (!gone)
			continue;
		ereport(LOG, (errmsg("metricsdb forgets storage %lld, whose table is gone", (long long) ids[i])));
		mdb_delta_drop_all(ids[i]);
		mdb_storage_forget(ids[i]);
	}
}

/* Tables whose compaction failed, and when it is tried again. */
#define FAILED_MAX   32
#define FAILED_PAUSE (60 * USECS_PER_SEC)

static struct
{
	Oid relid;
	TimestampTz until;
} failed[FAILED_MAX];
static int next_failed = 0;

static bool
failed_lately(Oid relid)
{
	for (int i = 0; i < FAILED_MAX; i++)
		if (failed[i].relid == relid && failed[i].until > GetCurrentTimestamp())
			return true;
	return false;
}

/*
 * Do one thing for a table.  What fails is reported and left alone for a while: a damaged table
 * must not keep the others from being compacted.
 */
static bool
compact_guarded(Oid relid, MemoryContext mcxt)
{
	volatile bool done = false;

	PG_TRY();
	{
		done = mdb_compact_relation(relid, false, commit_worker);
		/* Locks are not kept from one table to the next. */
		commit_worker();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(mcxt);
		HOLD_INTERRUPTS();
		errcontext("compaction of table with OID %u", relid);
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		RESUME_INTERRUPTS();
		StartTransactionCommand();
		begin_step();
		failed[next_failed].relid = relid;
		failed[next_failed].until = GetCurrentTimestamp() + FAILED_PAUSE;
		next_failed = (next_failed + 1) % FAILED_MAX;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(mcxt);
	return done;
}

/*
 * mdb_compact_step - see metricsdb.h.
 */
bool
mdb_compact_step(void)
{
	MemoryContext mcxt =
		AllocSetContextCreate(TopMemoryContext, "metricsdb compaction", ALLOCSET_DEFAULT_SIZES);
	List *relids;
	ListCell *lc;
	bool any = false;

	StartTransactionCommand();
	begin_step();
	MemoryContextSwitchTo(mcxt);
	collect_orphans();
	commit_worker();
	MemoryContextSwitchTo(mcxt);
	relids = list_tables();
	foreach (lc, relids)
		if (!failed_lately(lfirst_oid(lc)))
			any |= compact_guarded(lfirst_oid(lc), mcxt);
	if (ActiveSnapshotSet())
		PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextDelete(mcxt);
	return any;
}

static void
commit_procedure(void)
{
	SPI_commit();
	EnsurePortalSnapshotExists();
}

/*
 * mdb_compact_sql - CALL metricsdb.compact(table regclass): move its delta into parts and merge
 * the parts of each partition into one, committing after each step.
 *
 * Raises ERRCODE_INVALID_TRANSACTION_STATE inside a transaction block, ERRCODE_WRONG_OBJECT_TYPE
 * for another kind of table, and a permission error unless the caller owns the table.
 */
Datum
mdb_compact_sql(PG_FUNCTION_ARGS)
{
	Oid relid = PG_GETARG_OID(0);
	bool nonatomic = fcinfo->context && IsA(fcinfo->context, CallContext) &&
					 !castNode(CallContext, fcinfo->context)->atomic;
	char *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table with OID %u does not exist", relid)));
	if (!mdb_owns_table(relid))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)), name);
	if (!mdb_is_metricsdb_oid(relid))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a metricsdb table", name),
						errhint("Convert it with ALTER TABLE ... SET ACCESS METHOD metricsdb.")));
	if (!nonatomic)
		ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE),
						errmsg("metricsdb.compact() cannot run inside a transaction block"),
						errdetail("It commits after each merge."), errhint("Call it on its own.")));

	mdb_decoding_hide_all();
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	mdb_compact_relation(relid, true, commit_procedure);
	SPI_finish();
	PG_RETURN_VOID();
}
