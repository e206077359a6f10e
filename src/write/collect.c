/*
 * collect.c
 *	  Series that no part has rows of any more leave the dictionary.
 *
 * Whoever writes may rely on a row of the dictionary that he has read once.  So it is done in two
 * transactions:
 *
 *	1. Ids that no part names are *marked*, in a new epoch of the dictionary.  This is done under a lock
 *	   that no writer holds at that moment: those before have ended, and those after hear of the epoch
 *	   when they lock the table, and take new ids for such keys.
 *	2. Of the marked ids those that no part names still are removed, with their entries in the index.
 *
 * A part names an id as long as its row is there in any state: so also for old snapshots, here, and on
 * standbys, which hear of the pruning of the part's row before they hear of the removal.  Rows of the delta
 * have no ids.
 *
 * A crash between the two leaves marked ids, which the next call goes on with.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/objectaddress.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/pquery.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "metricsdb.h"
#include "series/index.h"
#include "stop.h"
#include "write/merge.h"

/* In the background so many series, and one in so many, must have left before it is worth while. */
#define WORTH_SERIES 1000
#define WORTH_SHARE  10

/* CALL waits so long for a moment without writers. */
#define WAITS   200
#define WAIT_MS 50

PG_FUNCTION_INFO_V1(mdb_collect_series_sql);
PG_FUNCTION_INFO_V1(mdb_rebuild_series_index);

/* The ids that parts name; NULL if that cannot be told yet. */
static MdbIds *
named_ids(Relation rel, const MdbTable *table)
{
	/* Parts that are deleted while we look stay where they are. */
	Snapshot snapshot = mdb_latest_snapshot();
	MdbIds *ids = mdb_ids_create();
	MdbPartList *list;

	mdb_space_prune(table);
	list = mdb_parts_in_any_state(table);
	for (int i = 0; list && i < list->count; i++)
	{
		mdb_part_add_ids(rel, &list->parts[i], NULL, ids);
		/* Many parts name the same. */
		if (ids->n > 4 * 1024 * 1024)
			mdb_ids_sort(ids);
	}
	UnregisterSnapshot(snapshot);
	if (list == NULL)
		return NULL;
	mdb_ids_sort(ids);
	mdb_ids_index(ids);
	return ids;
}

/* Of some ids those that are not named. */
static MdbIds *
not_named(const MdbIds *ids, const MdbIds *named)
{
	MdbIds *result = mdb_ids_create();

	for (uint32 i = 0; i < ids->n; i++)
		if (!mdb_ids_has(named, ids->v[i]))
			mdb_ids_add(result, &ids->v[i], 1);
	mdb_ids_index(result);
	return result;
}

/* Get the lock that no writer holds. */
static bool
lock_out_writers(Relation rel, bool wait)
{
	for (int i = 0;; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConditionalLockRelation(rel, ShareRowExclusiveLock))
			return true;
		if (!wait || i >= WAITS)
			return false;
		pg_usleep(WAIT_MS * 1000L);
	}
}

typedef enum Step
{
	COLLECT_NOTHING,
	COLLECT_AGAIN,
	COLLECT_IN_THE_WAY,
	COLLECT_BUSY /* somebody has a lock on the table */
} Step;

/* The first transaction: mark, or the second: remove, if some are marked.  *removed is added to. */
static Step
collect_step(Relation rel, bool wait, int64 *removed)
{
	const MdbTable *table = mdb_table(rel);
	Snapshot snapshot = mdb_latest_snapshot();
	MdbIds *marked = mdb_ids_create();
	MdbIds *all, *named, *dead;

	(void) mdb_leaving_read(table->storage_id, snapshot, marked);
	all = marked->n > 0 ? marked : mdb_dict_ids(table->storage_id, snapshot);
	UnregisterSnapshot(snapshot);
	if (all->n == 0)
		return COLLECT_NOTHING;
	named = named_ids(rel, table);
	if (named == NULL)
		return COLLECT_IN_THE_WAY;
	dead = not_named(all, named);
	if (marked->n == 0)
	{
		if (dead->n == 0 || (!wait && (dead->n < WORTH_SERIES || dead->n < all->n / WORTH_SHARE)))
			return COLLECT_NOTHING;
		if (!lock_out_writers(rel, wait))
			return COLLECT_IN_THE_WAY;
		mdb_leaving_write(rel, table->storage_id, dead);
		MDB_STOP("collect.marked");
		return COLLECT_AGAIN;
	}
	if (dead->n > 0)
	{
		mdb_dict_remove(table->storage_id, dead);
		MDB_STOP("collect.dictionary");
		mdb_postings_merge(table->storage_id, true, dead);
	}
	*removed += dead->n;
	mdb_leaving_write(rel, table->storage_id, mdb_ids_create());
	MDB_STOP("collect.removed");
	return COLLECT_NOTHING;
}

/* One transaction for a table.  What it allocates is in mcxt, and freed. */
static Step
collect_once(Oid relid, bool wait, MdbTransactionFunction begin, MemoryContext mcxt, int64 *removed)
{
	Step step = COLLECT_NOTHING;
	Relation rel;

	if (wait)
		LockRelationOid(relid, ShareUpdateExclusiveLock);
	else if (!ConditionalLockRelationOid(relid, ShareUpdateExclusiveLock))
		return COLLECT_BUSY;
	begin();
	rel = try_relation_open(relid, NoLock);
	if (rel == NULL)
		return step;
	if (mdb_is_metricsdb(rel) && mdb_table(rel)->nseries_columns > 0)
	{
		MemoryContext outer = MemoryContextSwitchTo(mcxt);
		MdbBefore before;

		mdb_owner_begin(rel, &before);
		mdb_storage_revive(rel);
		step = collect_step(rel, wait, removed);
		mdb_owner_end(&before);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(mcxt);
	}
	relation_close(rel, NoLock);
	return step;
}

/*
 * mdb_collect_series - remove the series of a table that have no rows in parts; returns how many.
 *
 * Called in a transaction; commit() ends it and begins another, begin() gives it a snapshot if it has none.
 * wait: whatever their number, and others are waited for, so the caller has no snapshot; *in_the_way if that was
 * not enough.
 */
int64
mdb_collect_series(Oid relid, bool wait, MdbTransactionFunction begin, MdbTransactionFunction commit,
				   bool *in_the_way)
{
	/* Not below a context of the caller's: it may be the transaction's, which ends. */
	MemoryContext mcxt =
		AllocSetContextCreate(TopMemoryContext, "metricsdb collection of series", ALLOCSET_DEFAULT_SIZES);
	int64 removed = 0;
	volatile Step step = COLLECT_NOTHING;

	PG_TRY();
	{
		do
		{
			step = collect_once(relid, wait, begin, mcxt, &removed);
			/* What has not got the lock has begun nothing. */
			if (step != COLLECT_BUSY)
				commit();
		} while (step == COLLECT_AGAIN);
	}
	PG_FINALLY();
	{
		MemoryContextDelete(mcxt);
	}
	PG_END_TRY();
	*in_the_way = step == COLLECT_IN_THE_WAY || step == COLLECT_BUSY;
	return removed;
}

/* Is this a table of ours, and the caller's? */
static void
check_table(Oid relid)
{
	char *name;

	if (!OidIsValid(relid))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the table must not be NULL")));
	name = get_rel_name(relid);
	if (name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table with OID %u does not exist", relid)));
	if (!mdb_owns_table(relid))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)), name);
	if (!mdb_is_metricsdb_oid(relid))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a metricsdb table", name),
						errhint("Convert it with ALTER TABLE ... SET ACCESS METHOD metricsdb.")));
}

static void
commit_procedure(void)
{
	SPI_commit();
}

/*
 * mdb_collect_series_sql - CALL metricsdb.collect_series("table" regclass, INOUT removed int8).
 *
 * Raises ERRCODE_INVALID_TRANSACTION_STATE inside a transaction block, ERRCODE_WRONG_OBJECT_TYPE for another
 * kind of table, ERRCODE_LOCK_NOT_AVAILABLE if writers are in the way for too long, and a permission error
 * unless the caller owns the table.
 */
Datum
mdb_collect_series_sql(PG_FUNCTION_ARGS)
{
	Oid relid = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	bool nonatomic = fcinfo->context && IsA(fcinfo->context, CallContext) &&
					 !castNode(CallContext, fcinfo->context)->atomic;
	TupleDesc desc;
	Datum v;
	bool isnull = false;
	bool in_the_way;

	check_table(relid);
	if (!nonatomic)
		ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE),
						errmsg("metricsdb.collect_series() cannot run inside a transaction block"),
						errdetail("It commits in between."), errhint("Call it on its own.")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* CALL has come with a snapshot. */
	commit_procedure();
	v = Int64GetDatum(
		mdb_collect_series(relid, true, EnsurePortalSnapshotExists, commit_procedure, &in_the_way));
	SPI_finish();
	EnsurePortalSnapshotExists();
	if (in_the_way)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("series of table \"%s\" could not be collected", get_rel_name(relid)),
				 errdetail("There was no moment without a transaction that writes to the table, or one that "
						   "is old enough to need parts that were deleted."),
				 errhint("Try again; the background does so, too.")));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), &v, &isnull)));
}

/*
 * mdb_rebuild_series_index - metricsdb.rebuild_series_index("table" regclass): make the index over series anew
 * from the dictionary.  Errors as above.
 */
Datum
mdb_rebuild_series_index(PG_FUNCTION_ARGS)
{
	Oid relid = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	Relation rel;

	check_table(relid);
	rel = relation_open(relid, ShareUpdateExclusiveLock);
	mdb_postings_rebuild(mdb_table(rel));
	relation_close(rel, NoLock);
	PG_RETURN_VOID();
}
