/*
 * write.h
 *	  From rows to parts: the appender's inner face, the delta heaps, and merging.
 */
#ifndef MDB_WRITE_H
#define MDB_WRITE_H

#include "executor/tuptable.h"
#include "series/series.h"
#include "store/store.h"
#include "write/append.h"

/* ---- append.c ---- */

extern void mdb_append_free(MdbAppend *a);
extern void mdb_append_rebind(MdbAppend *a, Relation rel);
extern void mdb_append_slots(MdbAppend *a, TupleTableSlot **slots, int nslots);
extern uint32 mdb_append_nrows(const MdbAppend *a);
extern Size mdb_append_bytes(const MdbAppend *a);
extern const MdbBatch *mdb_append_batch(const MdbAppend *a);
extern const MdbTable *mdb_append_table(const MdbAppend *a);
extern void mdb_append_write(MdbAppend *a, CommandId cid, int options, bool allow_delta, int32 source_id,
							 int64 epoch);

/* ---- partition.c ---- */

/* Rows of a batch that belong into one part. */
typedef struct MdbPartition
{
	int32 day;
	int32 days;
	uint32 first; /* in the array of row numbers */
	uint32 nrows;
} MdbPartition;

extern int32 mdb_day_of(const MdbTable *table, int64 time);
extern MdbPartition *mdb_partition_rows(const MdbTable *table, const MdbBatch *batch, uint32 *rows,
										int *count);
extern void mdb_sort_rows(const MdbBatch *batch, uint32 *rows, uint32 n);
extern uint32 mdb_count_series(const MdbBatch *batch, const uint32 *rows, uint32 n);

/* Series with fewer rows than this on average share their blocks. */
#define MDB_ONE_SERIES_MIN_ROWS 96

/* ---- delta.c ---- */

#define MDB_DELTA_SLOTS 4

extern Oid mdb_delta_create(Relation rel, char persistence, int64 storage_id, int16 slot);
extern void mdb_delta_drop_all(int64 storage_id);
extern void mdb_delta_insert(Relation rel, const MdbTable *table, MinimalTuple *tuples, int ntuples,
							 CommandId cid, int options);
extern MinimalTuple mdb_delta_form(TupleDesc desc, const Datum *values, const bool *isnull);
extern void mdb_delta_insert_batch(Relation rel, const MdbTable *table, MdbDict *dict, const MdbBatch *batch,
								   const uint32 *rows, uint32 n, CommandId cid, int options);
extern MinimalTuple mdb_delta_tuple(TupleTableSlot *heapslot);
extern void mdb_delta_live(const MdbTable *table, Snapshot snapshot, MdbDeltaInfo **live, int *count);

/* ---- merge_policy.c, merge.c, move.c: see merge.h, too ---- */

/*
 * How far CALL metricsdb.compact() goes: what was there when it began, so that it ends on a table
 * that is written to all the time.
 */
typedef struct MdbCompactGoal
{
	bool delta_done;    /* the delta was switched once */
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

/* ---- compact.c ---- */

typedef void (*MdbCommitFunction)(void);

typedef enum MdbStep
{
	MDB_STEP_NOTHING,
	MDB_STEP_DONE,
	MDB_STEP_GAVE_WAY
} MdbStep;

extern void mdb_compact_begin(void);
extern MdbStep mdb_compact_relation(Oid relid, bool full, bool may_give_way, MdbCommitFunction commit);

#endif /* MDB_WRITE_H */
