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
#include "series/index.h"
#include "stop.h"
#include "write/merge.h"

/* Pages of a delta heap from which on the background moves it into parts. */
#define DELTA_PAGES_MIN 64

/* In a table with indexes parts of so many rows are merged by CALL only, or if many of these are dead. */
#define INDEXED_ROWS_MAX (1024 * 1024)

/* How often merges of one CALL give way to others. */
#define GIVE_WAY_MAX 3

PG_FUNCTION_INFO_V1(mdb_compact_sql);

/*
 * Open the table for compaction if nobody is in the way.  Waits only when asked to by a user, and without a
 * snapshot: CREATE INDEX CONCURRENTLY, which may have the lock, waits for who has an older one.
 */
static Relation
open_table(Oid relid, bool wait)
{
	Relation rel;

	Assert(!wait || !ActiveSnapshotSet());
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

/* Empty a retired heap once no snapshot, here or on a standby, can see it live. */
static bool
truncate_slot(Relation rel, int64 storage_id, const MdbDeltaInfo *info)
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
	{
		mdb_indexes_forget_slot(rel, info->slot);
		MDB_STOP("empty.before");
		heap_truncate_one_rel(delta);
		MDB_STOP("empty.after");
	}
	table_close(delta, removable ? NoLock : AccessExclusiveLock);
	return removable;
}

/*
 * mdb_compact_begin - what a transaction of compaction begins with.
 */
void
mdb_compact_begin(void)
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
		{
			MDB_STOP("seal.before");
			mdb_meta_set_delta_slot(rel, slot);
			MDB_STOP("seal.after");
		}
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
	Snapshot snapshot;

	mdb_storage_revive(rel);
	if (mdb_storage_forget_void(rel))
		return true;
	mdb_meta_read(rel, &meta);
	snapshot = mdb_latest_snapshot();
	mdb_delta_list(table->storage_id, snapshot, &deltas, &count);
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < count; i++)
	{
		if (deltas[i].slot == meta.delta_slot)
			current = i;
		else if (deltas[i].slot == MDB_ROWS_SLOT)
			continue;
		else if (deltas[i].live)
		{
			nlive++;
			if (mdb_retire_slot(rel, &deltas[i]))
				return true;
		}
		else if (delta_pages(deltas[i].relid) == 0)
			free_slot = i;
		else if (truncate_slot(rel, table->storage_id, &deltas[i]))
			return true;
	}
	if (mdb_moved_expire(table->storage_id) | mdb_shadows_collect(rel, table))
		return true;
	if (current < 0 || nlive > 0)
		return mdb_move_rows(rel, table, goal);
	if (goal && goal->delta_done)
		return mdb_move_rows(rel, table, goal);
	/* A table with hardly any rows needs no ring: they move out of the row heap. */
	if (delta_pages(deltas[current].relid) < (goal && deltas[current].slot != MDB_ROWS_SLOT ? 1
											  : goal                                        ? DELTA_PAGES_MIN
													 : mdb_indexes_worth(rel, DELTA_PAGES_MIN)))
		return mdb_move_rows(rel, table, goal);
	if (goal)
		goal->delta_done = true;
	if (free_slot >= 0)
	{
		mdb_delta_set_live(&deltas[free_slot], true);
		MDB_STOP("seal.live");
		*next_slot = deltas[free_slot].slot;
		return true;
	}
	if (count >= MDB_DELTA_SLOTS)
		return false;
	/* The row heap is one of them. */
	(void) mdb_delta_create(rel, rel->rd_rel->relpersistence, table->storage_id, (int16) (count - 1));
	*next_slot = count - 1;
	return true;
}

/* A part that a call with this goal has made. */
static void
goal_add(MdbCompactGoal *goal, int64 part_id)
{
	if (goal->own == NULL)
		goal->own = MemoryContextAlloc(goal->mcxt, sizeof(int64));
	else
		goal->own = repalloc(goal->own, sizeof(int64) * (goal->nown + 1));
	goal->own[goal->nown++] = part_id;
}

static bool
goal_owns(const MdbCompactGoal *goal, int64 part_id)
{
	for (int i = 0; i < goal->nown; i++)
		if (goal->own[i] == part_id)
			return true;
	return false;
}

/* Leave only those parts that the goal is about. */
static void
goal_filter(MdbCompactGoal *goal, MdbPartList *list)
{
	int n = 0;

	if (goal->part_limit == 0)
		goal->part_limit = list->count > 0 ? list->parts[list->count - 1].part_id + 1 : 1;
	for (int i = 0; i < list->count; i++)
		if (list->parts[i].part_id < goal->part_limit || goal_owns(goal, list->parts[i].part_id))
			list->parts[n++] = list->parts[i];
	list->count = n;
}

/* A merge, or a move of parts, which may meet damage. */
typedef struct Work
{
	Relation rel;
	const MdbTable *table;
	MdbMergeSet set;
	MdbMergeResult result;
	bool may_give_way;
	MdbCompactGoal *goal;
	const MdbPartList *list;
	bool done;
} Work;

static void
do_merge(void *arg)
{
	Work *w = arg;

	w->done = mdb_merge_parts(w->rel, w->table, &w->set, w->may_give_way, &w->result);
}

static void
do_move(void *arg)
{
	Work *w = arg;

	w->done = mdb_space_step(w->rel, w->goal, w->list);
}

/* Those parts of a list that are worth to be merged by themselves if each row costs entries of indexes. */
static MdbPartList *
small_parts(const MdbPartList *list)
{
	MdbPartList *small = palloc0(sizeof(MdbPartList));

	small->parts = palloc_extended(sizeof(MdbPartInfo) * Max(1, list->count), MCXT_ALLOC_HUGE);
	for (int i = 0; i < list->count; i++)
		if (list->parts[i].nrows < INDEXED_ROWS_MAX)
			small->parts[small->count++] = list->parts[i];
	return small;
}

/* Sorting parts by class, which may meet damage, too. */
typedef struct Sorting
{
	Relation rel;
	const MdbTable *table;
	const MdbRetention *retention;
	const MdbFits *fits;
	const MdbPartList *all;
	const MdbPartList *stale;
	int64 rows_max;
	MdbMergeSet *set;
	bool found;
	bool done;
} Sorting;

static void
do_choose_stale(void *arg)
{
	Sorting *s = arg;

	s->found = mdb_reclass_choose(s->rel, s->table, s->retention, s->fits, s->all, s->stale, s->rows_max,
								  s->set, &s->done);
}

/*
 * What is to be merged next, if anything is; or all is done that some parts needed (*done).  Parts whose
 * retention class is not up to date are not merged with others before they are sorted by class.
 */
static bool
choose(Relation rel, MdbCompactGoal *goal, const MdbPartList *all, MdbPartList *idle, TimestampTz now,
	   MdbMergeSet *set, bool *done)
{
	MdbTable *table = mdb_table(rel);
	MdbRetention *retention = mdb_retention_load(rel);
	bool sparing = rel->rd_rel->relhasindex && goal == NULL;
	MdbPartList stale = {0};
	MdbFits *fits = mdb_fits_load(rel, table);
	Sorting sorting = {.rel = rel,
					   .table = table,
					   .retention = retention,
					   .fits = fits,
					   .all = all,
					   .stale = &stale,
					   .set = set};

	*done = false;
	memset(set, 0, sizeof(*set));
	if (retention)
		mdb_reclass_split(retention, idle, &stale);
	if (mdb_merge_choose(table, sparing ? small_parts(idle) : idle, fits, goal ? goal->how : MDB_COMPACT_DUE,
						 now, set) ||
		mdb_merge_choose_dead(rel, table, idle, goal != NULL, set))
		return true;
	if (stale.count == 0)
		return false;
	sorting.rows_max = sparing ? INDEXED_ROWS_MAX : PG_INT64_MAX;
	*done = !mdb_sound_do(rel, table, do_choose_stale, &sorting) || sorting.done;
	return sorting.found;
}

/*
 * Merge one set of parts of a list, if there is one that should be.  all are the table's.
 */
static MdbStep
merge_step(Relation rel, MdbCompactGoal *goal, const MdbPartList *all, const MdbPartList *list,
		   bool may_give_way)
{
	MdbTable *table = mdb_table(rel);
	TimestampTz began = GetCurrentTimestamp();
	bool indexed = rel->rd_rel->relhasindex;
	Work work = {.rel = rel, .table = table, .goal = goal};
	MdbPartList idle = *list;
	bool done;

	/* Parts that somebody changes rows of are left for later. */
	idle.parts = palloc_extended(sizeof(MdbPartInfo) * Max(1, list->count), MCXT_ALLOC_HUGE);
	idle.count = 0;
	for (int i = 0; i < list->count; i++)
		if (!mdb_part_busy(&list->parts[i]))
			idle.parts[idle.count++] = list->parts[i];
	if (!choose(rel, goal, all, &idle, began, &work.set, &done))
		return done ? MDB_STEP_DONE : MDB_STEP_NOTHING;
	work.may_give_way = goal ? goal->gave_way < GIVE_WAY_MAX : may_give_way;
	/* With one part less to choose from there may be another set. */
	if (!mdb_sound_do(rel, table, do_merge, &work))
		return MDB_STEP_DONE;
	if (!work.done)
	{
		if (goal && goal->gave_way++ > 2 * GIVE_WAY_MAX)
			return MDB_STEP_NOTHING;
		return MDB_STEP_GAVE_WAY;
	}
	mdb_books_merge(table->storage_id, &work.set, &work.result, began);
	/* VACUUM is to remove the old entries. */
	if (indexed)
		pgstat_update_heap_dead_tuples(rel,
									   -(int) Min(work.result.nrows + work.result.ndropped, PG_INT32_MAX));
	for (int i = 0; goal && i < work.result.nparts; i++)
		goal_add(goal, work.result.parts[i]);
	return MDB_STEP_DONE;
}

/* Merge parts, else give pages back. */
static MdbStep
parts_step(Relation rel, MdbCompactGoal *goal, bool may_give_way)
{
	Snapshot snapshot = mdb_latest_snapshot(); /* newer than our lock */
	MdbTable *table = mdb_table(rel);
	MdbPartList *list = mdb_parts_visible(table, snapshot);
	Work work = {.rel = rel, .table = table, .goal = goal, .list = list};
	MdbPartList wanted;
	MdbStep step;

	UnregisterSnapshot(snapshot);
	/* Who calls wants to hear of what is damaged now. */
	if (goal && goal->part_limit == 0)
		mdb_damaged_forget(table->storage_id);
	mdb_sound_parts(table, list);
	wanted = *list;
	if (goal)
	{
		wanted.parts = palloc_extended(sizeof(MdbPartInfo) * Max(1, list->count), MCXT_ALLOC_HUGE);
		memcpy(wanted.parts, list->parts, sizeof(MdbPartInfo) * list->count);
		goal_filter(goal, &wanted);
	}
	step = merge_step(rel, goal, list, &wanted, may_give_way);
	if (step == MDB_STEP_NOTHING && (!mdb_sound_do(rel, table, do_move, &work) || work.done))
		step = MDB_STEP_DONE;
	return step;
}

/* How often, and how long, CALL waits for dead rows that still cover a good part of the file. */
#define SPACE_WAITS   40
#define SPACE_WAIT_MS 50

/*
 * mdb_compact_relation - do one thing for a table that is due, or all there is to do.
 *
 * Called in a transaction; commit() ends it and begins another, begin() gives it a snapshot if it has none.  A
 * caller who wants all to be done has none.  may_give_way: a merge ends without
 * a result if somebody waits long for a lock that is in its way.
 */
MdbStep
mdb_compact_relation(Oid relid, MdbCompactHow how, bool may_give_way, MdbTransactionFunction begin,
					 MdbTransactionFunction commit)
{
	bool full = how != MDB_COMPACT_DUE;
	bool wait = full && how != MDB_COMPACT_DELTA_IDLE;
	bool parts = how != MDB_COMPACT_DELTA && how != MDB_COMPACT_DELTA_IDLE;
	MdbCompactGoal everything = {.how = how};
	MdbCompactGoal *goal = full ? &everything : NULL;
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext step_mcxt =
		full ? AllocSetContextCreate(outer, "metricsdb compaction step", ALLOCSET_DEFAULT_SIZES) : NULL;
	MdbStep step;
	bool again;

	everything.mcxt = outer;
	do
	{
		Relation rel;
		MdbBefore before;
		int next_slot = -1;

		CHECK_FOR_INTERRUPTS();
		/* A transaction's end does not free what is allocated here: of many steps, one's is enough. */
		if (step_mcxt)
		{
			MemoryContextReset(step_mcxt);
			MemoryContextSwitchTo(step_mcxt);
		}
		step = MDB_STEP_NOTHING;
		again = false;
		rel = open_table(relid, wait);
		if (rel == NULL)
			break;
		begin();
		/* Lists of their rows are good for the step. */
		mdb_catalog_keep("part");
		mdb_catalog_keep("delta");
		mdb_catalog_keep("pending");
		mdb_owner_begin(rel, &before);
		/* Where there is always something else to do, the index over series must not wait for its end. */
		if (!full && mdb_postings_pile(mdb_table(rel)->storage_id) &&
			mdb_postings_merge(mdb_table(rel)->storage_id, false, NULL))
			step = MDB_STEP_DONE;
		else if (delta_step(rel, goal, &next_slot))
			step = MDB_STEP_DONE;
		else if (parts)
			step = parts_step(rel, goal, may_give_way);
		if (step == MDB_STEP_NOTHING && parts &&
			mdb_postings_merge(mdb_table(rel)->storage_id, goal != NULL, NULL))
			step = MDB_STEP_DONE;
		if (step == MDB_STEP_NOTHING && parts && mdb_twins_settle(mdb_table(rel), goal != NULL))
			step = MDB_STEP_DONE;
		again = goal && step != MDB_STEP_NOTHING;
		if (goal && !again && goal->waits < SPACE_WAITS && goal->pages_wait)
		{
			goal->waits++;
			again = true;
		}
		mdb_owner_end(&before);
		relation_close(rel, NoLock);
		if (step_mcxt)
			MemoryContextSwitchTo(outer);
		if (step != MDB_STEP_NOTHING || again)
			commit();
		if (step != MDB_STEP_NOTHING)
			MDB_STOP("compact.committed");
		if (again && step == MDB_STEP_NOTHING)
			pg_usleep(SPACE_WAIT_MS * 1000L);
		if (next_slot >= 0)
		{
			rel = open_table(relid, wait);
			if (rel == NULL)
				break;
			begin();
			switch_slot(rel, (int16) next_slot);
			relation_close(rel, NoLock);
			commit();
		}
	} while (again);
	if (step_mcxt)
	{
		MemoryContextSwitchTo(outer);
		MemoryContextDelete(step_mcxt);
	}
	return step;
}

static void
commit_procedure(void)
{
	SPI_commit();
}

/*
 * mdb_compact_sql - CALL metricsdb.compact(table regclass, full boolean): move its delta into parts and
 * merge the parts of each partition into one, committing after each step.  full: as small as can be,
 * which takes much longer.
 *
 * Raises ERRCODE_INVALID_TRANSACTION_STATE inside a transaction block, ERRCODE_WRONG_OBJECT_TYPE
 * for another kind of table, and a permission error unless the caller owns the table.
 */
Datum
mdb_compact_sql(PG_FUNCTION_ARGS)
{
	Oid relid = PG_GETARG_OID(0);
	bool cold = PG_GETARG_BOOL(1);
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
	mdb_refuse_elsewhere(relid, "Call it on each node.");
	if (!nonatomic)
		ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE),
						errmsg("metricsdb.compact() cannot run inside a transaction block"),
						errdetail("It commits after each merge."), errhint("Call it on its own.")));

	mdb_decoding_hide_all();
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* CALL has come with a snapshot. */
	commit_procedure();
	(void) mdb_compact_relation(relid, cold ? MDB_COMPACT_COLD : MDB_COMPACT_FULL, true,
								EnsurePortalSnapshotExists, commit_procedure);
	SPI_finish();
	PG_RETURN_VOID();
}
