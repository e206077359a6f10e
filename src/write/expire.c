/*
 * expire.c
 *	  Rows that are older than their table keeps them go.
 *
 * Parts whose newest row is too old lose their rows of metricsdb.part, all in one short transaction;
 * nothing of them is read.  So older snapshots still see them, here and on standbys, and their pages and
 * row numbers are free once nobody can (src/store/space.c, rows.c), as if a merge had left them.  A part
 * that has a newer row, too, stays until that is too old; none spans more than a day, or an eighth of the
 * time that rows are kept (partition.c).  Rows of the delta, which are few, are deleted one by one, by time
 * and class.  In the end the free end of the file is cut, if nobody is using the table.
 *
 * Nobody is waited for: a part at whose rows somebody's transaction is goes another time, and so does a row
 * of the delta that is locked.  A part that a continuous aggregate needs stays (needs.c); and of a table that has
 * some old rows of the delta do not go, but are moved into parts, from where aggregates take them.  Triggers
 * are not fired.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/multixact.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "commands/vacuum.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "stop.h"
#include "store/aggregates.h"
#include "write/write.h"

/* Rows of the delta that are deleted in one transaction. */
#define ROWS_MAX (64 * 1024)

/* Do foreign keys refer to the table? */
static bool
is_referenced(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
		if (RI_FKey_trigger_type(triggers->triggers[i].tgfoid) == RI_TRIGGER_PK)
			return true;
	return false;
}

/*
 * mdb_refuse_referenced - raise ERRCODE_FEATURE_NOT_SUPPORTED if they do, or tell and return true.
 */
bool
mdb_refuse_referenced(Relation rel, int elevel)
{
	bool is = is_referenced(rel);

	if (is)
		ereport(elevel, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("retention is not possible for table \"%s\" because foreign keys refer to it",
								RelationGetRelationName(rel)),
						 errdetail("Rows go without a look at those that refer to them."),
						 errhint("Drop the foreign keys, or delete old rows with DELETE.")));
	return is;
}

/* The statistics follow at once: planner's and autovacuum's. */
static void
count_dropped(Relation rel, double before, double dropped)
{
	Form_pg_class class = rel->rd_rel;
	BlockNumber pages = RelationGetNumberOfBlocks(rel);

	pgstat_count_heap_delete(rel);
	if (pgstat_should_count_relation(rel))
		rel->pgstat_info->trans->tuples_deleted += (int64) dropped - 1;
	/* The file is as long as it was: it has fewer rows a page now. */
	if (class->reltuples > 0 && class->relpages > 0)
		mdb_update_relstats(rel, pages,
							class->reltuples / class->relpages * pages * Max(0, before - dropped) / before,
							class->relhasindex, InvalidTransactionId, InvalidMultiXactId);
}

/*
 * Parts whose newest row is too old, and at whose rows nobody is: they are claimed, so that nobody comes to them
 * from here on.
 */
static int
claim_due(const MdbTable *table, const MdbHorizons *horizons, MdbPartList *list, MdbPartInfo **due,
		  MdbExpired *result)
{
	int n = 0;

	*due = palloc_extended(sizeof(MdbPartInfo) * Max(1, list->count), MCXT_ALLOC_HUGE);
	for (int i = 0; i < list->count; i++)
	{
		const MdbPartInfo *p = &list->parts[i];

		CHECK_FOR_INTERRUPTS();
		if (p->days == 0 || p->time_max >= mdb_horizon_of(horizons, p->class))
			continue;
		if (mdb_part_claim(p))
			(*due)[n++] = *p;
		else
			result->busy++;
	}
	return n;
}

/* Parts whose newest row is too old go, but for those that aggregates need. */
static void
drop_parts(Relation rel, const MdbTable *table, const MdbHorizons *horizons, MdbExpired *result)
{
	Snapshot snapshot;
	MdbPartList *list;
	MdbPartInfo *due;
	MdbNeeds *needs = NULL;
	int64 rows = 0;
	int64 newest = PG_INT64_MIN;
	int n;

	/* Whoever changes parts of an aggregate's states has locked the aggregate before. */
	(void) mdb_aggregate_lock(RelationGetRelid(rel), LockWaitBlock);
	snapshot = mdb_latest_snapshot(); /* newer than our locks */
	list = mdb_parts_visible(table, snapshot);
	UnregisterSnapshot(snapshot);
	n = claim_due(table, horizons, list, &due, result);
	if (n > 0)
		needs = mdb_needs_begin(rel, table);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (mdb_needs_part(needs, &due[i]))
			result->needed++;
		else if (!mdb_needs_drop(needs, &due[i]))
			result->busy++;
		else
		{
			if (rows == 0)
				CheckTableForSerializableConflictIn(rel);
			mdb_part_delete(&due[i]);
			MDB_STOP("expire.part");
			result->parts++;
			rows += due[i].nrows;
			newest = Max(newest, due[i].time_max);
		}
	}
	mdb_needs_end(needs);
	if (rows == 0)
		return;
	/* They may be states, which queries on the aggregate's table must not take for all there were. */
	mdb_aggregate_raise_kept(RelationGetRelid(rel), newest == PG_INT64_MAX ? newest : newest + 1);
	count_dropped(rel, (double) list->nrows, (double) rows);
	result->rows += rows;
	CommandCounterIncrement();
	MDB_STOP("expire.end");
}

static int64
time_of(const MdbColumn *column, Datum v)
{
	return column->attlen == 8 ? DatumGetInt64(v) : DatumGetInt32(v);
}

/* Is a row of the delta, whose time is told, too old? */
static bool
is_old(const MdbTable *table, const MdbHorizons *horizons, AttrNumber metric, TupleTableSlot *row,
	   int64 *time)
{
	const MdbRetention *r = horizons->retention;
	int16 class = (int16) r->base;
	bool isnull;
	Datum v = slot_getattr(row, table->time_attno, &isnull);

	if (isnull)
		return false;
	*time = time_of(&table->columns[table->time_attno - 1], v);
	if (r->nclasses > 0 && metric == 0)
		class = MDB_CLASS_UNKNOWN;
	else if (r->nclasses > 0)
	{
		v = slot_getattr(row, metric, &isnull);
		if (!isnull)
		{
			struct varlena *name = PG_DETOAST_DATUM_PACKED(v);

			class = mdb_retention_class(r, VARDATA_ANY(name), (int) VARSIZE_ANY_EXHDR(name));
		}
	}
	return *time < mdb_horizon_of(horizons, class);
}

/* Delete old rows of a heap of the delta, some at a time; how many, and the newest time.  Or only look for them. */
static int64
old_rows_of(Relation rel, const MdbTable *table, const MdbHorizons *horizons, Relation heap,
			Snapshot snapshot, int64 limit, bool look, int64 *newest)
{
	MemoryContext tmp =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb old rows", ALLOCSET_DEFAULT_SIZES);
	AttrNumber metric = mdb_retention_column(rel, table);
	TupleTableSlot *heapslot = table_slot_create(heap, NULL);
	TupleTableSlot *row = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
	TableScanDesc scan = table_beginscan(heap, snapshot, 0, NULL);
	int64 n = 0;

	while (n < limit && table_scan_getnextslot(scan, ForwardScanDirection, heapslot))
	{
		MemoryContext old = MemoryContextSwitchTo(tmp);
		MinimalTuple tuple = mdb_delta_tuple(heapslot);
		bool too_old = false;
		int64 time = PG_INT64_MIN;

		CHECK_FOR_INTERRUPTS();
		if (tuple != NULL)
		{
			ExecStoreMinimalTuple(tuple, row, false);
			too_old = is_old(table, horizons, metric, row, &time);
			ExecClearTuple(row);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(tmp);
		if (too_old && look)
			n++;
		else if (too_old)
		{
			ItemPointerData tid = heapslot->tts_tid;
			TM_FailureData tmfd;

			if (heap_delete(heap, &tid, GetCurrentCommandId(true), InvalidSnapshot, false, &tmfd, false) !=
				TM_Ok)
				continue;
			pgstat_count_heap_delete(rel);
			MDB_STOP("expire.row");
			*newest = Max(*newest, time);
			n++;
		}
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(heapslot);
	ExecDropSingleTupleTableSlot(row);
	MemoryContextDelete(tmp);
	return n;
}

/* Old rows of the delta: at most limit are deleted, or only looked for; how many. */
static int64
old_rows(Relation rel, const MdbTable *table, const MdbHorizons *horizons, int64 limit, bool look)
{
	int64 newest = PG_INT64_MIN;
	LOCKMODE lockmode = look ? AccessShareLock : RowExclusiveLock;
	Snapshot snapshot;
	MdbDeltaInfo *live;
	int count;
	int64 n = 0;

	if (!look)
		(void) mdb_aggregate_lock(RelationGetRelid(rel), LockWaitBlock);
	snapshot = mdb_latest_snapshot(); /* newer than our lock */
	mdb_delta_live(table, snapshot, &live, &count);
	for (int i = 0; i < count && n < limit; i++)
	{
		Relation heap;

		/* As whoever deletes does: to the end of the transaction. */
		if (!ConditionalLockRelationOid(live[i].relid, lockmode))
			continue;
		heap = table_open(live[i].relid, NoLock);
		n += old_rows_of(rel, table, horizons, heap, snapshot, limit - n, look, &newest);
		table_close(heap, look ? lockmode : NoLock);
	}
	UnregisterSnapshot(snapshot);
	/* As of parts. */
	if (newest > PG_INT64_MIN)
		mdb_aggregate_raise_kept(RelationGetRelid(rel), newest == PG_INT64_MAX ? newest : newest + 1);
	return n;
}

typedef enum Stage
{
	EXPIRE_LOOK, /* for rows of the delta that aggregates have not taken */
	EXPIRE_MOVE, /* these into parts */
	EXPIRE_PARTS,
	EXPIRE_ROWS,
	EXPIRE_SPACE,
	EXPIRE_DONE
} Stage;

/* One transaction's work on a table; what is to be done next. */
static Stage
expire_step(Relation rel, Stage stage, bool one_of_many, MdbExpired *result)
{
	const MdbTable *table = mdb_table(rel);
	MdbRetention *retention = mdb_retention_load(rel);
	MdbHorizons *horizons;

	if (!mdb_retention_has_keep(retention) || !mdb_retention_dated(table))
		return EXPIRE_DONE;
	if (mdb_refuse_referenced(rel, one_of_many ? WARNING : ERROR))
		return EXPIRE_DONE;
	horizons = mdb_horizons(retention, table, GetCurrentTimestamp());
	mdb_catalog_keep("part");
	mdb_catalog_keep("pending");
	switch (stage)
	{
		case EXPIRE_LOOK:
			if (mdb_has_aggregates(rel) && old_rows(rel, table, horizons, 1, true) > 0)
				return EXPIRE_MOVE;
			return EXPIRE_PARTS;
		case EXPIRE_PARTS:
			mdb_storage_revive(rel);
			drop_parts(rel, table, horizons, result);
			return EXPIRE_ROWS;
		case EXPIRE_ROWS:
			/* Aggregates take them from parts alone. */
			if (!mdb_has_aggregates(rel))
			{
				int64 n = old_rows(rel, table, horizons, ROWS_MAX, false);

				result->rows += n;
				CommandCounterIncrement();
				if (n >= ROWS_MAX)
					return EXPIRE_ROWS;
			}
			return result->parts > 0 ? EXPIRE_SPACE : EXPIRE_DONE;
		case EXPIRE_SPACE:
			/* If some snapshot still needs the pages, compaction or VACUUM cuts them off later. */
			mdb_space_prune(table);
			(void) mdb_space_truncate(rel, table);
			return EXPIRE_DONE;
		case EXPIRE_MOVE:
		case EXPIRE_DONE:
			break;
	}
	return EXPIRE_DONE;
}

/*
 * mdb_expire_relation - remove what is older than a table's policy keeps it, if it has one.
 *
 * Called in a transaction; commit() ends it and begins another, begin() gives it a snapshot if it has none.
 * wait: for who holds a lock on the table that is in our way; else false if there was somebody.  Raises
 * ERRCODE_FEATURE_NOT_SUPPORTED if foreign keys refer to the table; warns of it if that is one of many.
 */
bool
mdb_expire_relation(Oid relid, bool wait, bool one_of_many, MdbTransactionFunction begin,
					MdbTransactionFunction commit, MdbExpired *result)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext mcxt = AllocSetContextCreate(outer, "metricsdb retention", ALLOCSET_DEFAULT_SIZES);
	Stage stage = EXPIRE_LOOK;
	bool locked = true;

	memset(result, 0, sizeof(*result));
	while (stage != EXPIRE_DONE && locked)
	{
		Relation rel;

		if (stage == EXPIRE_MOVE)
		{
			(void) mdb_compact_relation(relid, MDB_COMPACT_DELTA_IDLE, false, begin, commit);
			commit();
			stage = EXPIRE_PARTS;
		}
		if (wait)
			LockRelationOid(relid, ShareUpdateExclusiveLock);
		else if (!ConditionalLockRelationOid(relid, ShareUpdateExclusiveLock))
			locked = false;
		if (!locked)
			break;
		begin();
		rel = try_relation_open(relid, NoLock);
		if (rel != NULL && mdb_is_metricsdb(rel))
		{
			MemoryContextSwitchTo(mcxt);
			stage = expire_step(rel, stage, one_of_many, result);
			MemoryContextSwitchTo(outer);
			MemoryContextReset(mcxt);
		}
		else
			stage = EXPIRE_DONE;
		if (rel != NULL)
			relation_close(rel, NoLock);
		commit();
	}
	MemoryContextDelete(mcxt);
	return locked || result->parts > 0;
}
