/*
 * write.h
 *	  From rows to parts: the appender's inner face, the delta heaps, and merging.
 */
#ifndef MDB_WRITE_H
#define MDB_WRITE_H

#include "access/genam.h"
#include "executor/tuptable.h"
#include "nodes/nodes.h"
#include "series/series.h"
#include "store/store.h"
#include "write/append.h"
#include "write/retention.h"
#include "write/tid.h"

/* ---- append.c ---- */

extern void mdb_append_free(MdbAppend *a);
extern void mdb_append_rebind(MdbAppend *a, Relation rel);
extern void mdb_append_tap(MdbAppend *a);
extern void mdb_append_slots(MdbAppend *a, TupleTableSlot **slots, int nslots);
extern uint32 mdb_append_nrows(const MdbAppend *a);
extern Size mdb_append_bytes(const MdbAppend *a);
extern const MdbBatch *mdb_append_batch(const MdbAppend *a);
extern const MdbTable *mdb_append_table(const MdbAppend *a);
/* Told of rows of the batch, in order of their part, when that is written. */
typedef void (*MdbPlaced)(void *arg, const uint32 *rows, uint32 n, const MdbPartInfo *part);

extern void mdb_append_on_placed(MdbAppend *a, MdbPlaced placed, void *arg);
extern void mdb_append_write(MdbAppend *a, CommandId cid, int options, bool allow_delta, int32 source_id,
							 int64 epoch);

/* ---- partition.c ---- */

/* Rows of a batch that belong into one part. */
typedef struct MdbPartition
{
	int32 day;
	int32 days;
	int16 class;
	uint32 first; /* in the array of row numbers */
	uint32 nrows;
} MdbPartition;

extern int32 mdb_day_of(const MdbTable *table, int64 time);
extern MdbPartition *mdb_partition_rows(const MdbTable *table, const MdbBatch *batch, uint32 *rows,
										int32 min_days, int32 max_days, int *count);
extern MdbPartition *mdb_partition_classes(MdbClassifier *classes, const MdbBatch *batch, uint32 *rows,
										   MdbPartition *parts, int *count);
extern void mdb_sort_rows(const MdbBatch *batch, uint32 *rows, uint32 n);
extern uint32 mdb_count_series(const MdbBatch *batch, const uint32 *rows, uint32 n);

/* Series with fewer rows than this on average share their blocks. */
#define MDB_ONE_SERIES_MIN_ROWS 96

/* ---- delta.c ---- */

/* Columns of a delta heap. */
enum
{
	Anum_delta_row = 1, /* NULL: a shadow */
	Anum_delta_shadow,  /* the row number that it stands for, see shadow.c */
	Anum_delta_version, /* differs between versions of a row unless an update may be HOT */
	Natts_delta_row = Anum_delta_version
};

extern Oid mdb_delta_create(Relation rel, char persistence, int64 storage_id, int16 slot);
extern bool mdb_delta_identify(Relation delta, int64 *storage_id, int16 *slot);
extern void mdb_delta_drop_all(int64 storage_id);
extern MemoryContext mdb_row_context(MemoryContext *kept);
extern void mdb_delta_insert(Relation rel, const MdbTable *table, MinimalTuple *tuples, int ntuples,
							 CommandId cid, int options);
extern MinimalTuple mdb_delta_form(TupleDesc desc, const Datum *values, const bool *isnull);
extern void mdb_delta_insert_batch(Relation rel, const MdbTable *table, MdbDict *dict, const MdbBatch *batch,
								   const uint32 *rows, uint32 n, CommandId cid, int options);
extern void mdb_delta_check(Relation rel, const MdbTable *table, MinimalTuple tuple);
extern Relation mdb_delta_open_for_write(Relation rel, const MdbTable *table, int16 *written);
extern Oid mdb_delta_relid(int64 storage_id, int16 slot);
extern Datum mdb_delta_bytes(MinimalTuple tuple);
extern HeapTuple mdb_delta_heap_tuple(Relation delta, MinimalTuple tuple);
extern MinimalTuple mdb_delta_tuple(TupleTableSlot *heapslot);
extern MinimalTuple mdb_delta_row(Datum d);
extern void mdb_delta_live(const MdbTable *table, Snapshot snapshot, MdbDeltaInfo **live, int *count);

/* ---- feed.c ---- */

extern void mdb_feed_part(Relation rel, const MdbPartInfo *part, CommandId cid, int options);

/* ---- guard_rows.c ---- */

extern void mdb_guard_rows(Relation rel, TupleTableSlot **slots, int nslots);

/* ---- shadow.c ---- */

/* A row of metricsdb.shadow, as it is. */
typedef struct MdbShadowRun
{
	int64 run;
	int64 block;
	ItemPointerData tid;
} MdbShadowRun;

extern int mdb_shadow_runs(int64 storage_id, Snapshot snapshot, MdbShadowRun **runs);

typedef struct MdbShadows MdbShadows;

/* What has become of a row. */
enum
{
	MDB_ROW_LIVE = 0,
	MDB_ROW_DEAD = 1,   /* to all, or to the snapshot that was asked about */
	MDB_ROW_LEAVING = 2 /* dead, but maybe not to all */
};

extern int64 mdb_shadow_of(HeapTupleHeader tuple);
extern bool mdb_shadows_exist(int64 storage_id);
extern void mdb_shadows_forget(int64 storage_id);
extern MdbShadows *mdb_shadows_open(Relation rel, const MdbTable *table);
extern void mdb_shadows_close(MdbShadows *s);
extern bool mdb_shadows_dead(MdbShadows *s, int64 first, uint32 n, Snapshot snapshot, uint8 *dead);
extern bool mdb_shadows_fates(MdbShadows *s, int64 first, uint32 n, TransactionId oldest_xmin, uint8 *fate);
extern bool mdb_shadows_gone(MdbShadows *s, int64 first, uint32 n, uint8 *gone);
extern bool mdb_shadow_tid(Relation heap, int64 storage_id, int64 row, bool make, ItemPointer tid);
extern bool mdb_shadows_collect(Relation rel, const MdbTable *table);
extern bool mdb_shadow_header(Relation heap, int64 storage_id, int64 row, HeapTupleHeader header);
extern bool mdb_shadow_alive(Relation rel, Relation heap, int64 storage_id, int64 row, Snapshot snapshot,
							 bool *gone);

extern BlockNumber mdb_shadow_block(int64 storage_id, int64 run);
extern bool mdb_shadow_lock_run(Relation heap, int64 run);
extern void mdb_shadow_unlock_run(Relation heap, int64 run);

/* ---- shadow_free.c ---- */

extern int mdb_shadows_free(Relation rel, const MdbTable *table, Relation heap,
							BufferAccessStrategy strategy);

/* ---- gone.c ---- */

typedef struct MdbGone MdbGone;

extern void mdb_gone_renew_window(const MdbGone *g, Relation rel, const MdbTable *table);
extern MdbGone *mdb_gone_collect(Relation rel, const MdbTable *table);
extern int64 mdb_gone_count(const MdbGone *g);
extern int64 mdb_gone_shadows(const MdbGone *g);
extern bool mdb_gone_has(const MdbGone *g, int64 row);
extern void mdb_gone_free(MdbGone *g);

/* ---- published.c ---- */

extern void mdb_check_published(Relation rel, CmdType command);

/* ---- owner.c ---- */

/* Who a process was before it became a table's owner. */
typedef struct MdbBefore
{
	Oid user;
	int sec_context;
	int guc_level;
} MdbBefore;

extern void mdb_owner_begin(Relation rel, MdbBefore *before);
extern void mdb_owner_end(const MdbBefore *before);

/* ---- index_writer.c ---- */

typedef struct MdbIndexWriter MdbIndexWriter;

extern MdbIndexWriter *mdb_index_writer_begin(Relation rel);
extern void mdb_index_writer_insert(MdbIndexWriter *w, TupleTableSlot *slot);
extern void mdb_index_writer_end(MdbIndexWriter *w);
extern void mdb_index_report(Relation index, const IndexBulkDeleteResult *stats, int elevel);
extern void mdb_indexes_delete(Relation rel, IndexBulkDeleteCallback callback, void *arg, int elevel,
							   BufferAccessStrategy strategy);
extern void mdb_indexes_forget_slot(Relation rel, int16 slot);
extern BlockNumber mdb_indexes_worth(Relation rel, BlockNumber least);
extern void mdb_index_new_part(Relation rel, const MdbPartInfo *part);

/* Makes entries for all rows of a part; set by src/am, which knows how to read rows. */
typedef void (*MdbPartIndexer)(Relation rel, const MdbPartInfo *part);
extern PGDLLIMPORT MdbPartIndexer mdb_part_indexer;

/* ---- part_lock.c ---- */

extern bool mdb_part_lock(Relation rel, const MdbTable *table, int64 row, CommandId cid);
extern bool mdb_part_busy(const MdbPartInfo *info);
extern bool mdb_part_claim(const MdbPartInfo *info);

/* ---- moved.c ---- */

typedef struct MdbMoves MdbMoves;

extern MdbMoves *mdb_moves_begin(int64 storage_id);
extern void mdb_moves_add(MdbMoves *m, int64 from, int64 to, uint32 n);
extern int64 mdb_moves_find(MdbMoves *m, int64 from);
extern Size mdb_moves_bytes(const MdbMoves *m);
extern void mdb_moves_write(MdbMoves *m, int64 base);
extern bool mdb_moved_or_moving(int64 storage_id, int64 identity);
extern void mdb_moved_locks(Relation rel);
extern int64 mdb_moved_identity(int16 slot, ItemPointer heap);
extern bool mdb_moved_in_heap(int64 identity, int16 *slot, ItemPointer heap);
extern bool mdb_moved_seen(TransactionId xid);
extern int64 mdb_moved_find(int64 storage_id, int64 identity, TransactionId *by);
extern int64 mdb_moved_origin(int64 storage_id, int64 row);
extern bool mdb_moved_expire(int64 storage_id);

/* Rows that followed each other before and after a move. */
typedef struct MdbMovedRun
{
	int64 from;
	int64 to;
	int64 length;
	TransactionId by;
} MdbMovedRun;

/* By who moved the rows, then by from. */
typedef struct MdbMovedRuns
{
	int n;
	MdbMovedRun *runs;
} MdbMovedRuns;

typedef struct MdbMovedMaps MdbMovedMaps;

extern MdbMovedMaps *mdb_moved_maps_open(int64 storage_id);
extern void mdb_moved_runs(MdbMovedMaps *maps, int64 first, int64 last, MdbMovedRuns *runs);
extern int64 mdb_moved_to(const MdbMovedRuns *runs, int64 identity, TransactionId by);
extern void mdb_moved_maps_close(MdbMovedMaps *maps);

/* ---- merge_policy.c, merge.c, move.c: see merge.h, too ---- */

/* What is to be merged. */
typedef enum MdbCompactHow
{
	MDB_COMPACT_DUE,        /* what should be by now */
	MDB_COMPACT_DELTA_IDLE, /* nothing: rows of the delta go into parts, if nobody is in the way; */
	MDB_COMPACT_DELTA,      /* in any case */
	MDB_COMPACT_FULL,       /* all: each partition to one part, or to full ones */
	MDB_COMPACT_COLD        /* and these as small as can be */
} MdbCompactHow;

/*
 * How far CALL metricsdb.compact() goes: what was there when it began, so that it ends on a table
 * that is written to all the time.
 */
typedef struct MdbCompactGoal
{
	MdbCompactHow how;
	bool delta_done;    /* the delta was switched once */
	bool rows_done;     /* the row heap was gone through */
	int64 part_limit;   /* parts from this one on came later; 0 = not known yet */
	MemoryContext mcxt; /* where it lives, across transactions */
	int64 *own;         /* parts that this call has made: they are merged on */
	int nown;
	bool moves_counted;
	int moves_left;  /* parts that may still be moved to the front */
	int gave_way;    /* how often a merge gave way to somebody else */
	bool pages_wait; /* a good part of the file is free but for dead rows of the catalog */
	int waits;       /* how often they were waited for */
} MdbCompactGoal;

extern bool mdb_space_step(Relation rel, MdbCompactGoal *goal, const MdbPartList *list);

/* ---- mover.c ---- */

extern bool mdb_retire_slot(Relation rel, const MdbDeltaInfo *info);
extern bool mdb_move_rows(Relation rel, const MdbTable *table, MdbCompactGoal *goal);

/* ---- compact.c ---- */

/* Begins or commits; leaves the caller in the memory context that he was in, which outlives transactions. */
typedef void (*MdbTransactionFunction)(void);

typedef enum MdbStep
{
	MDB_STEP_NOTHING,
	MDB_STEP_DONE,
	MDB_STEP_GAVE_WAY
} MdbStep;

extern void mdb_compact_begin(void);
extern MdbStep mdb_compact_relation(Oid relid, MdbCompactHow how, bool may_give_way,
									MdbTransactionFunction begin, MdbTransactionFunction commit);

/* ---- needs.c ---- */

typedef struct MdbNeeds MdbNeeds;

extern MdbNeeds *mdb_needs_begin(Relation rel, const MdbTable *table);
extern MdbNeeds *mdb_needs_look(Relation rel, const MdbTable *table);
extern bool mdb_needs_part(const MdbNeeds *n, const MdbPartInfo *part);
extern bool mdb_needs_drop(MdbNeeds *n, const MdbPartInfo *part);
extern void mdb_needs_end(const MdbNeeds *n);

/* ---- expire.c ---- */

extern bool mdb_expire_relation(Oid relid, bool wait, bool one_of_many, MdbTransactionFunction begin,
								MdbTransactionFunction commit, MdbExpired *result);

/* ---- collect.c ---- */

#ifdef MDB_TESTING
extern int mdb_testing_collect_ms; /* metricsdb.testing_collect: how soon the background looks for them */
#endif

extern int64 mdb_collect_series(Oid relid, bool wait, MdbTransactionFunction begin,
								MdbTransactionFunction commit, bool *in_the_way);

#endif /* MDB_WRITE_H */
