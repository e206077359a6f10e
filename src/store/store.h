/*
 * store.h
 *	  The part store: tables' files, their catalogs, and immutable parts of encoded blocks.
 *
 * See README.md in this folder for the invariants and the layout of the bytes.
 */
#ifndef MDB_STORE_H
#define MDB_STORE_H

#include "compat.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "nodes/lockoptions.h"
#include "storage/block.h"
#include "storage/buf.h"
#include "storage/bufmgr.h"
#include "storage/itemptr.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

#include "codec/codec.h"

/*
 * Formats of a part.  They are laid out alike; a cold one has chunks that readers of the first do not
 * know, and longer blocks.
 */
#define MDB_PART_FORMAT       1
#define MDB_PART_FORMAT_COLD  2
#define MDB_SERIES_BLOCK_ROWS 1024              /* rows in a block that holds one series, unless cold */
#define MDB_BLOCK_BYTES_MAX   (4 * 1024 * 1024) /* a block is cut past this many raw bytes */

/* How a column's values are kept in memory and encoded. */
typedef enum MdbPhys
{
	MDB_I64 = 0, /* any by-value datum that is not a float */
	MDB_F64 = 1,
	MDB_F32 = 2,
	MDB_BYTES = 3 /* by reference: varlena payloads, fixed bytes, C strings */
} MdbPhys;

typedef enum MdbRole
{
	MDB_ROLE_VALUE = 0,
	MDB_ROLE_TIME,
	MDB_ROLE_SERIES,
	MDB_ROLE_DROPPED
} MdbRole;

typedef struct MdbColumn
{
	int16 attlen;
	bool attbyval;
	char attalign;
	uint8 phys; /* MdbPhys */
	uint8 role; /* MdbRole */
	bool jsonb; /* or a domain over it */
} MdbColumn;

/*
 * What the code needs to know about a table's file: a copy of the metapage's fixed part and the
 * role of each column.  One chunk of memory, cached in rd_amcache.
 */
typedef struct MdbTable
{
	Size size; /* of this chunk */
	int64 storage_id;
	int32 incarnation;
	Oid time_type;         /* base type of the time column; InvalidOid if there is none */
	AttrNumber time_attno; /* 0 = no time column */
	int nseries_columns;
	int natts;
	uint8 feeds;               /* MdbFeeds; of the cached one alone, see aggregates.c */
	uint8 watched;             /* likewise, see src/alert/watch.c */
	AttrNumber *series_attnos; /* points into this chunk */
	MdbColumn *columns;        /* [natts], points into this chunk */
} MdbTable;

/* ---- metapage.c ---- */

struct MdbPartInfo;

#define MDB_META_BLOCK         0
#define MDB_DELTA_SLOTS        4 /* heaps of the delta */
#define MDB_ROWS_SLOT          3 /* the row heap; the others are the ring */
#define MDB_MAX_SERIES_COLUMNS 1600

typedef struct MdbMeta
{
	uint32 magic;
	uint16 version;
	int16 delta_slot; /* the slot that writers use now */
	int64 storage_id;
	int32 incarnation; /* 0 = an unlogged file was just reset */
	uint32 next_page;  /* pages from here on were never allocated */
	int64 next_part;
	int64 next_row;
	int64 next_series;
	int64 row_limit; /* from next_row up to here numbers are free, see rows.c */
	int16 time_attno;
	int16 nseries_columns;
	int16 natts;    /* columns that existed when the roles were fixed */
	int16 has_wide; /* numbers of wide blocks have been given out */
	int16 series_attnos[FLEXIBLE_ARRAY_MEMBER];
} MdbMeta;

typedef struct MdbRoles
{
	AttrNumber time_attno;
	int nseries_columns;
	AttrNumber series_attnos[MDB_MAX_SERIES_COLUMNS];
} MdbRoles;

extern MdbTable *mdb_table(Relation rel);
extern const MdbTable *mdb_table_peek(Relation rel);
extern MdbTable *mdb_table_described(Relation rel, TupleDesc desc);
extern MdbPhys mdb_phys(Form_pg_attribute att);
extern void mdb_meta_create(Relation rel, const MdbRelFile *file, char persistence, int64 storage_id,
							const MdbRoles *roles);
extern void mdb_meta_read(Relation rel, MdbMeta *meta);
extern void mdb_meta_set_delta_slot(Relation rel, int16 slot);
extern void mdb_meta_skip_rows(Relation rel, int64 next_row);
extern void mdb_meta_set_window(Relation rel, int64 next_row, int64 row_limit);
extern int64 mdb_meta_reserve_series(Relation rel, int64 count);
extern void mdb_meta_place_part(Relation rel, struct MdbPartInfo *info);
extern int64 mdb_meta_take_pages(Relation rel, int64 npages);
extern void mdb_meta_restart(Relation rel, const MdbMeta *values);
extern void mdb_meta_lower_end(Relation rel, BlockNumber next_page);
extern bool mdb_is_metricsdb(Relation rel);
extern bool mdb_is_metricsdb_oid(Oid relid);
extern Oid mdb_am_oid(bool missing_ok);

/* ---- catalog.c ---- */

/* Columns of metricsdb.series, which src/series fills. */
enum
{
	Anum_series_storage_id = 1,
	Anum_series_id_min,
	Anum_series_id_max,
	Anum_series_nseries,
	Anum_series_payload,
	Anum_series_registrar,
	Anum_series_xid,
	Anum_series_horizon,
	Natts_series = Anum_series_horizon
};

/* Of metricsdb.posting, which src/series fills. */
enum
{
	Anum_posting_storage_id = 1,
	Anum_posting_run,
	Anum_posting_last_term,
	Anum_posting_first_term,
	Anum_posting_run_ids,
	Anum_posting_nentries,
	Anum_posting_payload,
	Natts_posting = Anum_posting_payload
};

/* Of metricsdb.leaving_series, likewise. */
enum
{
	Anum_leaving_storage_id = 1,
	Anum_leaving_epoch,
	Anum_leaving_ids,
	Natts_leaving = Anum_leaving_ids
};

enum
{
	Anum_part_storage_id = 1,
	Anum_part_part_id,
	Anum_part_incarnation,
	Anum_part_format,
	Anum_part_level,
	Anum_part_class,
	Anum_part_day,
	Anum_part_days,
	Anum_part_row_first,
	Anum_part_nrows,
	Anum_part_nblocks,
	Anum_part_page_first,
	Anum_part_npages,
	Anum_part_nbytes,
	Anum_part_series_min,
	Anum_part_series_max,
	Anum_part_nseries,
	Anum_part_time_min,
	Anum_part_time_max,
	Anum_part_checksum,
	Anum_part_overlaps,
	Anum_part_merged_into,
	Anum_part_created_at,
	Anum_part_source_id,
	Anum_part_epoch,
	Natts_part = Anum_part_epoch
};

/* Of metricsdb.compaction, which src/write fills. */
enum
{
	Anum_compaction_storage_id = 1,
	Anum_compaction_since,
	Anum_compaction_merges,
	Anum_compaction_merged_rows,
	Anum_compaction_merged_bytes,
	Anum_compaction_level0_bytes,
	Anum_compaction_moved_bytes,
	Anum_compaction_last_merge_at,
	Anum_compaction_last_seconds,
	Anum_compaction_last_inputs,
	Anum_compaction_last_rows,
	Anum_compaction_last_bytes,
	Anum_compaction_failures,
	Anum_compaction_last_error,
	Anum_compaction_last_error_at,
	Anum_compaction_retry_at,
	Natts_compaction = Anum_compaction_retry_at
};

/* Row numbers whose shadows (see src/write) share a page: as many as fit. */
#define MDB_RUN_ROWS 224

/*
 * Row numbers are blocks and offsets for whoever knows rows by a ctid (src/write/tid.h): first MDB_NARROW_BLOCKS with as many
 * rows as a page of a heap may have, as PostgreSQL's bitmaps have room for no more, then MDB_WIDE_BLOCKS with as many as
 * an offset can tell.
 */
#define MDB_NARROW_BLOCKS INT64CONST(0x10000000)
#define MDB_WIDE_BLOCKS   (INT64CONST(0x7fffffff) - MDB_NARROW_BLOCKS)
#define MDB_NARROW_ROWS   MaxHeapTuplesPerPage
#define MDB_WIDE_ROWS     2047

/* Row numbers lie below: as many as have a ctid, in whole runs. */
#define MDB_ROWS_END \
	((MDB_NARROW_BLOCKS * MDB_NARROW_ROWS + MDB_WIDE_BLOCKS * MDB_WIDE_ROWS) / MDB_RUN_ROWS * MDB_RUN_ROWS)

typedef struct MdbPartInfo
{
	ItemPointerData tid; /* of the catalog row */
	TransactionId xmin;  /* of it: who wrote the part, frozen or not */
	int64 storage_id;
	int64 part_id;
	int32 incarnation;
	int16 format;
	int16 level;
	int16 class;
	int32 day;
	int32 days;
	int64 row_first;
	int64 nrows;
	int32 nblocks;
	int64 page_first;
	int32 npages;
	int64 nbytes;
	int64 series_min;
	int64 series_max;
	int64 nseries;
	int64 time_min;
	int64 time_max;
	int64 checksum;
	bool overlaps;
	TimestampTz created_at;
	int32 source_id; /* 0 = none */
	int64 epoch;
} MdbPartInfo;

typedef struct MdbDeltaInfo
{
	ItemPointerData tid;
	TransactionId xmin; /* of the catalog row */
	int16 slot;
	Oid relid;
	bool live;
} MdbDeltaInfo;

typedef struct MdbPartList
{
	int count;
	MdbPartInfo *parts; /* in order of part_id */
	int64 nrows;
	int64 nblocks;
} MdbPartList;

/* Row numbers of a part, in whatever state its row in the catalog is. */
typedef struct MdbRowRange
{
	int64 first;
	int64 end;
} MdbRowRange;

extern Snapshot mdb_latest_snapshot(void);
extern uint64 mdb_full_xid(TransactionId xid);
extern Oid mdb_catalog_relid(const char *name, bool missing_ok);
extern Relation mdb_catalog_open(const char *name, LOCKMODE lockmode);
extern Oid mdb_catalog_index(Relation rel);
extern ItemPointerData mdb_catalog_insert(Relation rel, Datum *values, bool *nulls, CommandId cid,
										  int options);

extern void mdb_catalog_delete(const char *catalog, int64 storage_id);

/* ---- storage_id.c ---- */

extern int64 mdb_storage_new_id(void);

/* ---- catalog_scan.c ---- */

typedef struct MdbCatalogScan
{
	Relation rel;
	struct SysScanDescData *scan;
	Snapshot snapshot;
	bool conflicts;
	bool by_hand; /* rows' visibility is seen to here */
} MdbCatalogScan;

struct ScanKeyData;

extern void mdb_catalog_scan_begin(MdbCatalogScan *s, Relation rel, Snapshot snapshot, bool conflicts,
								   int nkeys, struct ScanKeyData *keys);
extern HeapTuple mdb_catalog_scan_next(MdbCatalogScan *s);
extern void mdb_catalog_scan_end(MdbCatalogScan *s);
extern HeapTuple mdb_catalog_find(Relation rel, Snapshot snapshot, int nkeys, struct ScanKeyData *keys);
extern void mdb_catalog_scan_begin_at(MdbCatalogScan *s, Relation rel, Relation index, Snapshot snapshot,
									  bool conflicts, int nkeys, struct ScanKeyData *keys);
extern HeapTuple mdb_catalog_scan_back(MdbCatalogScan *s);
extern void mdb_catalog_scan_end_at(MdbCatalogScan *s);

/* ---- catalog.c, again ---- */

extern void mdb_part_from_tuple(MdbPartInfo *p, HeapTuple tuple, TupleDesc desc);
extern MdbPartList *mdb_parts_visible(const MdbTable *table, Snapshot snapshot);
extern MdbPartList *mdb_parts_in_any_state(const MdbTable *table);
extern int mdb_row_range_cmp(const void *a, const void *b);
extern void mdb_part_ranges(const MdbTable *table, MdbRowRange **ranges, int *count);
extern bool mdb_part_covering(const MdbTable *table, int64 row, Snapshot snapshot, MdbPartInfo *info);
extern MdbPartList *mdb_parts_recorded(const MdbTable *table, Snapshot snapshot, bool by_index);
extern bool mdb_part_is_live(int64 storage_id, int64 part_id);
extern MdbPartList *mdb_parts_leaving(const MdbTable *table, TransactionId oldest_xmin);
extern void mdb_part_insert(Relation partrel, const MdbPartInfo *info, CommandId cid, int options);
extern void mdb_part_delete(const MdbPartInfo *info);
extern void mdb_delta_list(int64 storage_id, Snapshot snapshot, MdbDeltaInfo **deltas, int *count);
extern void mdb_delta_register(int64 storage_id, int16 slot, Oid relid);
extern void mdb_delta_set_live(const MdbDeltaInfo *delta, bool live);
extern bool mdb_delta_history_gone(int64 storage_id, const MdbDeltaInfo *delta);
extern void mdb_storage_register(int64 storage_id, Oid relid, CommandId cid);
extern void mdb_storage_list(int64 **ids, int *count);
extern bool mdb_storage_is_seen(int64 storage_id, Snapshot snapshot);
extern void mdb_storage_orphans(int64 **ids, int *count);
extern int64 mdb_storage_find(Oid relid);
extern Oid mdb_storage_relid(int64 storage_id);
extern void mdb_storage_set_relid(int64 storage_id, Oid relid);
extern void mdb_storage_forget(int64 storage_id);

/* ---- catalog_change.c ---- */

extern void mdb_catalog_keep(const char *catalog);
extern void mdb_catalog_delete_row(const char *catalog, const ItemPointerData *tid);
extern bool mdb_catalog_lock(Relation rel, ItemPointer tid, LockTupleMode mode, LockWaitPolicy wait,
							 TupleTableSlot *slot);
extern void mdb_part_set_place(const MdbPartInfo *info, int64 page_first);
extern void mdb_part_set_class(const MdbPartInfo *info, int16 class, int16 level);

/* ---- life.c ---- */

/* From when to when a row is there. */
typedef struct MdbLife
{
	TransactionId xmin; /* FrozenTransactionId: for ever */
	TransactionId xmax; /* InvalidTransactionId: it does not end */
	CommandId cmin;     /* if they are of this transaction */
	CommandId cmax;
} MdbLife;

typedef struct MdbPartLife
{
	MdbPartInfo info;
	MdbLife life;
} MdbPartLife;

extern void mdb_life_of(HeapTupleHeader tuple, bool ends, TransactionId oldest_xmin, MdbLife *life);
extern void mdb_life_end(MdbLife *life, HeapTupleHeader tuple);
extern bool mdb_life_is_empty(const MdbLife *life);
extern void mdb_life_put(const MdbLife *life, HeapTupleHeader tuple);
extern MdbPartLife *mdb_part_lives(const MdbTable *table, TransactionId oldest_xmin, int *count);
extern void mdb_heap_change_begin(Relation heap, Buffer buf, Buffer map);
extern void mdb_heap_change_end(Relation heap, Buffer buf);
extern void mdb_part_set_life(const MdbPartInfo *part, const MdbLife *life);

/* decoding.c */
extern void mdb_decoding_hide(Oid relid);
extern void mdb_decoding_hide_all(void);

/* ---- rows.c ---- */

extern int64 mdb_rows_end(void);
extern void mdb_rows_demand(Relation rel, int64 nrows);
extern bool mdb_rows_open_window(Relation rel, const MdbTable *table, int64 nrows, const MdbRowRange *also,
								 int nalso);
extern bool mdb_rows_low(Relation rel);
extern bool mdb_rows_fit_bitmaps(Relation rel);
#ifdef MDB_TESTING
extern int mdb_rows_end_kilo;
/* Tests have fewer row numbers, and a narrow block of four. */
#define mdb_narrow_blocks() \
	(mdb_rows_end_kilo > 0 ? mdb_rows_end_kilo * INT64CONST(1000) / MDB_NARROW_ROWS / 4 : MDB_NARROW_BLOCKS)
#else
#define mdb_narrow_blocks() MDB_NARROW_BLOCKS
#endif

/* ---- space.c ---- */

typedef struct MdbExtent
{
	int64 first;
	int64 npages;
} MdbExtent;

extern MdbExtent *mdb_space_covered(const MdbTable *table, int *count);
extern void mdb_space_place_part(Relation rel, MdbPartInfo *info, CommandId cid, int options);
extern int mdb_space_move_parts(Relation rel, const MdbPartInfo *parts, int count, int64 *targets);
extern int mdb_space_clear_parts(Relation rel, const MdbPartInfo *parts, int nparts, int64 *targets,
								 int *count);
extern BlockNumber mdb_space_end(Relation rel, const MdbTable *table);
extern void mdb_space_prune(const MdbTable *table);
extern bool mdb_space_truncate(Relation rel, const MdbTable *table);
extern void mdb_space_lock(Relation rel);
extern void mdb_space_unlock(Relation rel);

/* ---- reset.c ---- */

extern void mdb_storage_revive(Relation rel);
extern bool mdb_storage_forget_void(Relation rel);

/* ---- fault.c ---- */

/* What the damage was about that was met last: says more than its SQLSTATE. */
typedef enum MdbFault
{
	MDB_FAULT_NONE,     /* not found by us: a page that cannot be read at all */
	MDB_FAULT_CATALOG,  /* the part's catalog row cannot be true */
	MDB_FAULT_PAGE,     /* a page belongs to somebody else */
	MDB_FAULT_CHECKSUM, /* bytes have changed */
	MDB_FAULT_COUNT,    /* numbers of rows, blocks or NULLs contradict each other */
	MDB_FAULT_FORMAT    /* bytes that nobody has changed make no sense */
} MdbFault;

extern MdbFault mdb_last_fault;
extern int64 mdb_last_part; /* the part that was read last */

/* What this process has read of parts since it began: who wants to know what something costs looks before and after. */
typedef struct MdbReads
{
	uint64 parts;  /* that scans have begun with */
	uint64 blocks; /* of these */
	uint64 rows;   /* of blocks that were not left out */
	uint64 bytes;  /* by whomever */
} MdbReads;

extern MdbReads mdb_reads;
extern bool mdb_is_damage(int sqlerrcode);
/* A part that was found damaged is left alone by merges for so long. */
#define MDB_DAMAGED_PAUSE (INT64CONST(3600) * USECS_PER_SEC)

extern void mdb_damaged_note(int64 storage_id, int64 part_id);
extern bool mdb_damaged_known(int64 storage_id, int64 part_id);
extern void mdb_damaged_forget(int64 storage_id);
extern ErrorData *mdb_guard(void (*fn)(void *), void *arg);

/* ---- page_io.c ---- */

/* What a page says of itself. */
typedef struct MdbPageState
{
	bool zero; /* nothing was ever written to it */
	bool part; /* it is of a part */
	int64 part_id;
	uint32 page_no; /* within the part */
	int payload;    /* bytes that its header lays claim to, -1 = the header makes no sense */
} MdbPageState;

extern int64 mdb_pages_for(int64 nbytes);
extern int mdb_page_payload(const MdbPartInfo *info, int32 page_no);
extern void mdb_page_range(int64 offset, int64 len, int32 *first, int32 *last);
extern void mdb_page_state(Relation rel, BlockNumber block, BufferAccessStrategy strategy,
						   MdbPageState *state);
/* Hands out the next n bytes of a part's payload. */
typedef void (*MdbPayloadFunction)(void *state, char *dst, int64 n);

extern void mdb_pages_write(Relation rel, const MdbPartInfo *info, MdbPayloadFunction read, void *state);
extern void mdb_pages_read(Relation rel, const MdbPartInfo *info, int64 offset, int64 len, char *dst);

/* ---- batch.c ---- */

/*
 * Values of one column.  For MDB_BYTES value i is data[ends[i - 1] .. ends[i]); a NULL takes no
 * bytes.  nulls is NULL as long as no value is.
 */
typedef struct MdbVector
{
	uint8 phys;
	int16 attlen;
	AttrNumber attno;
	uint32 nnulls;
	void *values; /* int64[], double[] or float[] */
	uint8 *nulls;
	uint8 *data;
	uint32 *ends;
	Size datalen;
	Size datacap;
} MdbVector;

/* Rows in columns.  Series ids are always there, times unless the table has none. */
typedef struct MdbBatch
{
	MemoryContext mcxt;
	uint32 nrows;
	uint32 capacity;
	uint32 *series;
	int64 *times;
	uint8 *time_nulls; /* NULL = none */
	int ncolumns;
	MdbVector *columns; /* value columns, by rising attno */
	int16 *column_of;   /* attno - 1 -> index into columns, or -1 */
} MdbBatch;

extern MdbBatch *mdb_batch_create(const MdbTable *table, uint32 capacity);
extern void mdb_batch_reset(MdbBatch *batch);
extern void mdb_batch_reserve(MdbBatch *batch, uint32 nrows);
extern Size mdb_batch_bytes(const MdbBatch *batch);
extern void mdb_vector_append_datum(MdbBatch *batch, MdbVector *vec, uint32 row, Datum value, bool isnull);
extern void mdb_vector_append_bytes(MdbBatch *batch, MdbVector *vec, uint32 row, const void *data, Size len);
extern void mdb_vector_set_null(MdbBatch *batch, MdbVector *vec, uint32 row);
extern void mdb_vector_copy_run(MdbBatch *dst, MdbVector *to, uint32 row, const MdbVector *from, uint32 first,
								uint32 n);
extern void mdb_batch_gather(MdbBatch *dst, const MdbBatch *src, const uint32 *rows, uint32 n);
extern Datum mdb_time_datum(const MdbTable *table, int64 time);
extern Datum mdb_vector_datum(const MdbVector *vec, const MdbColumn *column, uint32 row);

/* ---- writer.c ---- */

typedef struct MdbPartWriter MdbPartWriter;

extern MdbPartWriter *mdb_writer_begin(const MdbTable *table, bool one_series, bool cold);
extern void mdb_writer_add(MdbPartWriter *w, const MdbBatch *block);
extern int64 mdb_writer_rows(const MdbPartWriter *w);
extern Size mdb_writer_bytes(const MdbPartWriter *w);
extern Size mdb_writer_directory(const MdbPartWriter *w);
extern void mdb_writer_finish(MdbPartWriter *w, Relation rel, MdbPartInfo *info, CommandId cid, int options);
extern void mdb_writer_free(MdbPartWriter *w);

/* ---- reader.c ---- */

typedef struct MdbPart MdbPart;

/* Statistics of one column, block by block; NULL where the type has none. */
typedef struct MdbBlockStats
{
	double *fmin, *fmax, *fsum, *ffirst, *flast;
	int64 *nnans;
	int64 *imin, *imax, *isum_lo, *isum_hi, *ifirst, *ilast;
} MdbBlockStats;

/* What a part keeps of one column. */
typedef struct MdbPartColumn
{
	AttrNumber attno;
	uint8 phys;
	int16 attlen;
	int64 offset;      /* of the column's region in the payload */
	int64 nbytes;      /* its length */
	uint32 dir_offset; /* of its vectors in the directory */
	uint32 dir_len;
	bool loaded;          /* the vectors below are read when first wanted */
	int64 *chunk_end;     /* [nblocks] relative to offset */
	int64 *nnulls;        /* [nblocks] */
	MdbBlockStats *stats; /* read when first wanted */
} MdbPartColumn;

#define MDB_SCRATCH_KEEP (1024 * 1024) /* what mdb_part_release leaves */

/* Shared by all who have the part open, see directory_cache.c. */
typedef struct MdbDirectory MdbDirectory;

struct MdbPart
{
	MemoryContext mcxt;
	Relation rel;                 /* valid for as long as the part is open */
	MemoryContext directory_mcxt; /* where what is read of the directory goes */
	MdbDirectory *shared;         /* NULL: it is this part's own */
	MdbPartInfo info;
	bool one_series;
	bool has_time;
	int nblocks;
	int64 *block_rows;
	int64 *block_first;  /* number of the first row in the storage */
	int64 *series_first; /* one_series: the series; else the lowest in the block */
	int64 *series_last;
	int64 *time_first; /* lowest time of the block */
	int64 *time_last;
	int64 *time_source; /* block whose time chunk this one shares */
	int64 *time_end;    /* chunk ends, relative to time_offset */
	int64 *series_end;  /* chunk ends, relative to series_offset */
	int64 time_offset;
	int64 series_offset;
	int ncolumns;
	MdbPartColumn *columns;
	char *directory;
	uint32 directory_len;
	char *scratch; /* encoded bytes of the chunk being read */
	Size scratch_size;
	uint64 bytes_read;
};

extern MdbPart *mdb_part_open(Relation rel, const MdbPartInfo *info);
extern void mdb_part_close(MdbPart *part);
extern void mdb_part_release(MdbPart *part);
extern Size mdb_directory_bytes(int64 nblocks, int ncolumns);
pg_noreturn extern void mdb_part_damaged(const MdbPart *part, const char *what);
extern int mdb_part_column_index(const MdbPart *part, AttrNumber attno);
extern void mdb_part_read_series(MdbPart *part, int block, uint32 *series);
extern void mdb_part_read_times(MdbPart *part, int block, int64 *times);
extern void mdb_part_read_column(MdbPart *part, int column, int block, MdbVector *vec, MemoryContext mcxt);
extern bool mdb_part_read_steps(MdbPart *part, int block, int64 *first, int64 *step, int64 *times);
extern uint32 mdb_part_decode_numbers(MdbPart *part, int column, int block, void *values, uint8 *nulls);
extern void mdb_part_load_column(MdbPart *part, int column);
extern const MdbBlockStats *mdb_part_stats(MdbPart *part, int column);
extern const char *mdb_part_chunk_codec(MdbPart *part, int column, int block);
extern bool mdb_part_readable(const MdbPartInfo *info);
extern const char *mdb_part_implausible(const MdbPartInfo *info);

#define MDB_CHUNK_TIMES  (-1) /* in the place of a column's index */
#define MDB_CHUNK_SERIES (-2)

extern void mdb_part_chunk_place(const MdbPart *part, int column, int block, int64 *offset, int64 *len);

/* ---- directory_cache.c ---- */

extern MdbPart *mdb_part_open_cached(Relation rel, const MdbPartInfo *info);
extern void mdb_directory_forget(MdbDirectory *directory);

/* ---- settings.c ---- */

typedef enum MdbOnCorruption
{
	MDB_CORRUPTION_ERROR,
	MDB_CORRUPTION_SKIP
} MdbOnCorruption;

extern int mdb_on_corruption; /* metricsdb.on_corruption */

extern int mdb_cold_after;         /* metricsdb.cold_after, in seconds; -1 = never */
extern int mdb_retention_interval; /* metricsdb.retention_interval, in seconds; -1 = not by itself */
extern int mdb_directory_cache;    /* metricsdb.directory_cache, in kB */
extern int mdb_direct_rows;        /* metricsdb.direct_rows */
extern int mdb_write_buffer;       /* metricsdb.write_buffer, in kB */

/* ---- distributed.c ---- */

extern bool mdb_is_distributed(Oid relid);
extern bool mdb_is_sharded(Oid relid);
extern void mdb_refuse_distributed(Oid relid);
extern void mdb_refuse_elsewhere(Oid relid, const char *hint);
extern void mdb_distributed_set(Oid relid, bool distributed);
extern void mdb_distributed_forget(Oid relid);
extern struct List *mdb_distributed_tables(void);

#endif /* MDB_STORE_H */
