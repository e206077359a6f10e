/*
 * am.h
 *	  The table access method: slots, scans, the write buffer, and what commands demand.
 */
#ifndef MDB_AM_H
#define MDB_AM_H

#include "access/relscan.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "nodes/nodes.h"
#include "port/atomics.h"
#include "write/write.h"

/* ---- block.c: a block's columns, decoded when first asked for ---- */

/* Values of the series columns, by series id, as long as the scan lives. */
typedef struct MdbSeriesCache MdbSeriesCache;

extern MdbSeriesCache *mdb_series_cache_create(const MdbTable *table, Snapshot snapshot);
extern const Datum *mdb_series_values(MdbSeriesCache *cache, uint32 id, const bool **isnull);

typedef struct MdbBlock
{
	const MdbTable *table;
	TupleDesc desc;
	MdbSeriesCache *series_cache;
	MemoryContext mcxt;    /* reset for each block */
	MdbPart *part;         /* where it is from; NULL for rows still in the write buffer */
	const MdbBatch *batch; /* the rows of the write buffer */
	int block;
	int64 row_first;    /* row number of its first row, -1 = it has none */
	const bool *wanted; /* [natts] columns that are asked for; NULL = all */
	bool sparse;        /* hardly more than one row will be */
	uint32 nrows;
	uint32 *series;
	int64 *times;
	MdbVector *vectors; /* [natts] */
	Datum **datums;     /* [natts], of by-reference columns */
	uint8 *state;       /* [natts] */
} MdbBlock;

extern MdbBlock *mdb_block_create(const MdbTable *table, TupleDesc desc, MdbSeriesCache *cache);
extern void mdb_block_clear(MdbBlock *b);
extern void mdb_block_set(MdbBlock *b, MdbPart *part, int block);
extern void mdb_block_set_batch(MdbBlock *b, const MdbBatch *batch, uint32 nrows);
extern uint32 mdb_block_series(MdbBlock *b, uint32 row);
extern const uint32 *mdb_block_ids(MdbBlock *b);
extern const int64 *mdb_block_times(MdbBlock *b);
extern int64 mdb_block_time(MdbBlock *b, uint32 row);
extern Datum mdb_block_value(MdbBlock *b, uint32 row, int att, bool *isnull);
extern void mdb_block_load(MdbBlock *b);
extern Size mdb_block_memory(const MdbBlock *b);

/* ---- buffer.c ---- */

/* Who takes rows of distributed tables; set at load. */
extern void (*mdb_insert_elsewhere)(Relation rel, TupleTableSlot **slots, int nslots);

/* ---- slot.c ---- */

extern const TupleTableSlotOps TTSOpsMetricsDB;
extern void mdb_slot_store_row(TupleTableSlot *slot, MdbBlock *block, uint32 row);
extern bool mdb_slot_is_of_block(const TupleTableSlot *slot);
extern void mdb_slot_store_tuple(TupleTableSlot *slot, MinimalTuple tuple);
extern void mdb_slot_set_xmax(TupleTableSlot *slot, HeapTupleHeader header);
extern void mdb_slot_set_header(TupleTableSlot *slot, HeapTupleHeader header);

/* ---- scan.c ---- */

#define MDB_SKIP_SHARED 64 /* damaged parts that processes tell each other of */

typedef struct MdbParallelScan
{
	ParallelTableScanDescData base;
	pg_atomic_uint64 next;                    /* next chunk of units to hand out */
	pg_atomic_uint64 warned[MDB_SKIP_SHARED]; /* damaged parts that a process has warned of; 0 = none */
	int ndeltas;
	MdbDeltaInfo deltas[2 * MDB_DELTA_SLOTS];
} MdbParallelScan;

extern TableScanDesc mdb_scan_begin(Relation rel, Snapshot snapshot, int nkeys, struct ScanKeyData *key,
									ParallelTableScanDesc pscan, uint32 flags);
extern void mdb_scan_end(TableScanDesc scan);
extern void mdb_scan_rescan(TableScanDesc scan, struct ScanKeyData *key, bool set_params, bool allow_strat,
							bool allow_sync, bool allow_pagemode);
extern bool mdb_scan_getnextslot(TableScanDesc scan, ScanDirection direction, TupleTableSlot *slot);
extern Size mdb_parallelscan_estimate(Relation rel);
extern Size mdb_parallelscan_initialize(Relation rel, ParallelTableScanDesc pscan);
extern void mdb_parallelscan_reinitialize(Relation rel, ParallelTableScanDesc pscan);

/* ---- scan_times.c: which times of each part ---- */

/* Times, both inclusive. */
typedef struct MdbTimeRange
{
	int64 first;
	int64 last;
} MdbTimeRange;

/* Ranges in order that neither overlap nor touch, and whether rows without a time are let through, too. */
typedef struct MdbTimeSet
{
	int n;
	const MdbTimeRange *ranges;
	bool no_time;
} MdbTimeSet;

/* What of each part is let through. */
typedef struct MdbPartTimes
{
	int count;
	const int64 *part_ids; /* in order */
	const MdbTimeSet *sets;
	int last; /* the one that was found last */
} MdbPartTimes;

extern const MdbTimeSet *mdb_part_times_find(MdbPartTimes *times, int64 part_id);
extern MdbTimeSet mdb_time_set_make(MdbTimeRange *ranges, int n, bool no_time);
extern MdbTimeSet mdb_time_set_and(const MdbTimeSet *a, const MdbTimeSet *b);
extern MdbTimeSet mdb_time_set_or(const MdbTimeSet *a, const MdbTimeSet *b);
extern MdbTimeSet mdb_time_set_not(const MdbTimeSet *a);
extern MdbTimeSet mdb_time_set_near(const MdbTimeSet *a, int64 first, int64 last);
extern bool mdb_time_set_touches(const MdbTimeSet *set, int64 first, int64 last);
extern bool mdb_time_set_covers(const MdbTimeSet *set, int64 first, int64 last);
extern bool mdb_time_set_has(const MdbTimeSet *set, int64 time);
extern void mdb_time_set_leave_out(const MdbTimeSet *set, const int64 *times, uint32 n, uint8 *out);

/* ---- delta_times.c: at what times the delta has rows ---- */

typedef void (*MdbTimeFunction)(int64 time, void *arg);

extern void mdb_delta_each_time(const MdbTable *table, TupleDesc desc, Snapshot snapshot,
								MdbTimeFunction each, void *arg);
extern MdbTimeSet mdb_delta_times(Relation rel, int64 step, Snapshot snapshot);

/*
 * What rows a scan may leave out, because its caller would.  Of parts: those with a time outside
 * [time_min, time_max] or without one, those that part_times does not let through, those of series that do not
 * match, those of blocks that are not wanted, and those that are marked by leave_out: out[i] is 0 for rows that
 * were not left out before, and is set to 1 for those that are.  Of the delta: all or none.
 */
typedef struct MdbScanFilter
{
	bool has_time;
	int64 time_min;
	int64 time_max;
	MdbPartTimes *part_times; /* of all parts that the scan sees; NULL = any times */
	bool no_delta;
	const struct MdbIds *series_ids; /* NULL, or no others match, */
	bool series_exact;               /* and these do without being asked for */
	bool (*series_matches)(void *arg, const Datum *values, const bool *isnull);
	void *arg; /* of series_matches */
	bool (*block_wanted)(void *arg, MdbPart *part, int block);
	void (*leave_out)(void *arg, MdbBlock *block, uint8 *out);
	void *values_arg; /* of the other two */
} MdbScanFilter;

/*
 * What came of it, for EXPLAIN.  Where a scan is started over, all starts are added up.  Numbers alone, as they
 * are shared as such: the first ones are alike in all processes of a parallel scan, the others add up.
 */
typedef struct MdbScanCounters
{
	int64 parts;
	int64 parts_pruned;
	int64 blocks;
	int64 blocks_of_pruned; /* of parts that were pruned */
	int64 parts_read;
	int64 blocks_pruned;  /* one by one */
	int64 blocks_headers; /* answered from their headers, by those who can */
	int64 blocks_read;
	int64 rows_decoded; /* of the blocks read */
	int64 rows_filtered;
	int64 rows_delta;
	int64 series_asked;
	int64 series_matched;
	int64 bytes_read;
} MdbScanCounters;

#define MDB_SCAN_TOTALS 4 /* how many of them are alike */

extern bool mdb_scan_series_passes(TableScanDesc scan, uint32 id);
extern void mdb_scan_mark_series(TableScanDesc scan, MdbBlock *b, uint32 begin, uint32 end, uint8 *marks,
								 uint8 mark);
extern void mdb_scan_set_filter(TableScanDesc scan, const MdbScanFilter *filter);
extern bool mdb_filter_outside_time(const MdbScanFilter *filter, int64 part_id, bool has_time, int64 first,
									int64 last, bool *check);
extern void mdb_scan_counters(TableScanDesc scan, MdbScanCounters *counters);

/* A unit of a scan, for those who work on columns instead of rows. */
typedef struct MdbUnit
{
	MdbBlock *block;   /* NULL: rows of the delta */
	const uint8 *dead; /* which rows of the block are not seen; NULL = none */
	bool check_time;
	bool check_series;
} MdbUnit;

extern bool mdb_scan_next_unit(TableScanDesc scan, MdbUnit *unit);
extern bool mdb_scan_unit_next_row(TableScanDesc scan, TupleTableSlot *slot);

/* ---- scan_blocks.c ---- */

/* A block of a scan in the hands of a caller who chooses himself. */
typedef struct MdbHeldBlock
{
	MdbBlock *block;
	const uint8 *out; /* rows that are left out, 1 or 0; NULL = none */
	uint8 *out_space;
	uint32 out_capacity;
} MdbHeldBlock;

extern const MdbPartInfo *mdb_scan_parts(TableScanDesc scan, int *count);
extern int mdb_scan_next_block(TableScanDesc scan, const MdbPart *part, int block);
extern bool mdb_scan_part_wanted(TableScanDesc scan, int part);
extern MdbPart *mdb_scan_hold_part(TableScanDesc scan, int part);
extern void mdb_scan_let_part_go(TableScanDesc scan, int part);
extern bool mdb_scan_block_wanted(TableScanDesc scan, const MdbPart *part, int block);
extern MdbHeldBlock *mdb_scan_hold_block(TableScanDesc scan);
extern bool mdb_scan_set_block(TableScanDesc scan, MdbHeldBlock *h, MdbPart *part, int block);
extern void mdb_scan_store(TableScanDesc scan, const MdbHeldBlock *h, uint32 row, TupleTableSlot *slot);
extern bool mdb_scan_next_delta(TableScanDesc scan, TupleTableSlot *slot);
extern void mdb_scan_want(TableScanDesc scan, const bool *wanted);

/* ---- skip.c ---- */

extern bool mdb_skip_applies(Relation rel);
extern MdbPart *mdb_skip_open_part(Relation rel, const MdbPartInfo *info, MdbParallelScan *shared);
extern bool mdb_skip_load_block(MdbBlock *block, MdbPart *part, int number, MdbParallelScan *shared);

/* ---- bitmap.c ---- */

extern TableScanDesc mdb_bitmap_begin(Relation rel, Snapshot snapshot, uint32 flags);
extern void mdb_bitmap_end(TableScanDesc scan);
extern void mdb_bitmap_rescan(TableScanDesc scan);
extern bool mdb_bitmap_is_new(TableScanDesc scan);
extern void mdb_bitmap_set_block(TableScanDesc scan, BlockNumber block, const OffsetNumber *offsets, int n);
extern bool mdb_bitmap_next_row(TableScanDesc scan, TupleTableSlot *slot);

/* ---- fetch.c ---- */

/* Fetches rows of a table by identity; remembers the block that the last one was in. */
typedef struct MdbFetch MdbFetch;

extern MdbFetch *mdb_fetch_begin(Relation rel);
extern void mdb_fetch_keep_heaps(MdbFetch *f);
extern void mdb_fetch_reset(MdbFetch *f);
extern void mdb_fetch_end(MdbFetch *f);
extern bool mdb_fetch_row(MdbFetch *f, Relation rel, ItemPointer tid, Snapshot snapshot,
						  TupleTableSlot *slot);
extern bool mdb_fetch_entry(MdbFetch *f, Relation rel, ItemPointer tid, Snapshot snapshot,
							TupleTableSlot *slot, bool *again, bool *all_dead);
extern bool mdb_tid_valid(TableScanDesc scan, ItemPointer tid);
extern bool mdb_fetch_row_version(Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot);
extern bool mdb_row_visible(Relation rel, ItemPointer tid, Snapshot snapshot);
extern void mdb_fetch_init(void);

/* ---- index.c ---- */

struct IndexInfo;
struct ValidateIndexState;

extern void mdb_index_init(void);
extern void mdb_index_check_am(const char *table_name, Oid am);
extern IndexFetchTableData *mdb_index_fetch_begin(Relation rel);
extern void mdb_index_fetch_reset(IndexFetchTableData *data);
extern void mdb_index_fetch_end(IndexFetchTableData *data);
extern bool mdb_index_fetch_tuple(IndexFetchTableData *data, ItemPointer tid, Snapshot snapshot,
								  TupleTableSlot *slot, bool *call_again, bool *all_dead);
extern TransactionId mdb_index_delete_tuples(Relation rel, TM_IndexDeleteOp *delstate);
extern double mdb_index_build_range_scan(Relation rel, Relation index, struct IndexInfo *info,
										 bool allow_sync, bool anyvisible, bool progress,
										 BlockNumber start_blockno, BlockNumber numblocks,
										 IndexBuildCallback callback, void *callback_state,
										 TableScanDesc scan);
extern void mdb_index_validate_scan(Relation rel, Relation index, struct IndexInfo *info, Snapshot snapshot,
									struct ValidateIndexState *state);

/* ---- proxy.c ---- */

extern uint64 mdb_proxy_passes(void);

/* ---- modify.c ---- */

extern void mdb_require_tid(Relation rel, ItemPointer tid);
extern void mdb_insert_row(Relation rel, TupleTableSlot *slot, CommandId cid, int options);
extern void mdb_insert_rows(Relation rel, TupleTableSlot **slots, int nslots, CommandId cid, int options);
extern void mdb_insert_speculative(Relation rel, TupleTableSlot *slot, CommandId cid, int options,
								   struct BulkInsertStateData *bistate, uint32 token);
extern void mdb_complete_speculative(Relation rel, TupleTableSlot *slot, uint32 token, bool succeeded);
extern TM_Result mdb_delete_row(Relation rel, ItemPointer tid, CommandId cid, Snapshot snapshot,
								Snapshot crosscheck, bool wait, TM_FailureData *tmfd, bool changing_part);
extern TM_Result mdb_update_row(Relation rel, ItemPointer otid, TupleTableSlot *slot, CommandId cid,
								Snapshot snapshot, Snapshot crosscheck, bool wait, TM_FailureData *tmfd,
								LockTupleMode *lockmode, MdbUpdateIndexes *update_indexes);
extern TM_Result mdb_lock_row(Relation rel, ItemPointer tid, Snapshot snapshot, TupleTableSlot *slot,
							  CommandId cid, LockTupleMode mode, LockWaitPolicy wait_policy, uint8 flags,
							  TM_FailureData *tmfd);
extern void mdb_latest_tid(TableScanDesc scan, ItemPointer tid);
extern bool mdb_row_satisfies(Relation rel, TupleTableSlot *slot, Snapshot snapshot);

/* ---- marks.c ---- */

extern void mdb_mark_row_gone(Relation rel, int64 row, CommandId cid);
extern void mdb_marks_init(void);

/* ---- buffer.c ---- */

extern void mdb_buffer_init(void);
extern void mdb_buffer_insert(Relation rel, TupleTableSlot **slots, int nslots, CommandId cid, int options);
extern void mdb_buffer_flush_relation(Oid relid);
extern void mdb_buffer_flush_all(void);
extern void mdb_buffer_discard(Oid relid);
extern bool mdb_buffer_pending(void);

/* ---- superseded.c ---- */

extern int64 mdb_identity(ItemPointer tid);
extern void mdb_tid_of_identity(int64 identity, ItemPointer tid);
extern void mdb_supersede(int64 storage_id, ItemPointer tid, TransactionId moved_by, CommandId cid);
extern bool mdb_superseded_any(void);
extern bool mdb_superseded(int64 storage_id, int64 identity, Snapshot snapshot);
extern bool mdb_rows_dead(MdbShadows *shadows, int64 storage_id, int64 first, uint32 n, Snapshot snapshot,
						  uint8 *dead);
extern void mdb_superseded_init(void);

/* ---- hooks.c ---- */

extern bool mdb_returning(void);

/* ---- ddl.c ---- */

extern void mdb_set_new_filelocator(Relation rel, const MdbRelFile *file, char persistence,
									TransactionId *freezeXid, MultiXactId *minmulti);
extern void mdb_renew_file(Relation rel);
extern void mdb_nontransactional_truncate(Relation rel);
extern void mdb_copy_data(Relation rel, const MdbRelFile *file);
extern void mdb_drop_storage(Relation rel);
extern void mdb_storage_adopt(Oid from, Oid to);
extern void mdb_infer_roles(TupleDesc desc, MdbRoles *roles);
extern void mdb_infer_series(TupleDesc desc, MdbRoles *roles);

/* How the roles of a table that is being created are found, if not inferred; set by src/admin. */
typedef bool (*MdbRolesHook)(Relation rel, MdbRoles *roles);
extern PGDLLIMPORT MdbRolesHook mdb_roles_hook;

/* ---- feeds.c ---- */

extern void mdb_feeds_note_types(Relation rel, TupleDesc desc);
extern void mdb_feeds_rewritten(Relation old, Oid owner);
extern void mdb_feeds_lock_truncated(Oid relid);
extern void mdb_feeds_truncated(Relation rel);
extern void mdb_feeds_dropped(Oid relid);
extern void mdb_feeds_refuse_leaving(Oid relid);
extern void mdb_feeds_init(void);

/* ---- rewrite.c ---- */

extern void mdb_copy_for_cluster(Relation old, Relation new, Relation index, bool use_sort,
								 TransactionId oldest_xmin, TransactionId *xid_cutoff,
								 MultiXactId *multi_cutoff, double *num_tuples, double *tups_vacuumed,
								 double *tups_recently_dead);

/* ---- maintain.c ---- */

extern void mdb_vacuum(Relation rel, struct VacuumParams *params, BufferAccessStrategy bstrategy);
extern void mdb_estimate_size(Relation rel, int32 *attr_widths, BlockNumber *pages, double *tuples,
							  double *allvisfrac);

/* ---- tid_range.c ---- */

extern void mdb_scan_set_tidrange(TableScanDesc scan, ItemPointer min, ItemPointer max);
extern bool mdb_scan_getnextslot_tidrange(TableScanDesc scan, ScanDirection direction, TupleTableSlot *slot);

/* ---- sample.c ---- */

extern bool mdb_analyze_next_block(TableScanDesc scan, BlockNumber blockno, BufferAccessStrategy bstrategy);
extern bool mdb_analyze_next_tuple(TableScanDesc scan, TransactionId oldest_xmin, double *liverows,
								   double *deadrows, TupleTableSlot *slot);
extern bool mdb_sample_next_block(TableScanDesc scan, struct SampleScanState *state);
extern bool mdb_sample_next_tuple(TableScanDesc scan, struct SampleScanState *state, TupleTableSlot *slot);

#endif /* MDB_AM_H */
