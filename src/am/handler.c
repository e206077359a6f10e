/*
 * handler.c
 *	  The table access method's routine.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "fmgr.h"
#include "nodes/tidbitmap.h"
#include "utils/rel.h"

#include "am/am.h"

PG_FUNCTION_INFO_V1(mdb_handler);

static const TupleTableSlotOps *
slot_callbacks(Relation rel)
{
	return &TTSOpsMetricsDB;
}

/*
 * Rows are buffered unless somebody needs to know at once where they are: indexes, AFTER ROW
 * triggers, which fetch them again, and RETURNING.
 */
static bool
needs_place(Relation rel)
{
	return rel->rd_rel->relhasindex || (rel->trigdesc && rel->trigdesc->trig_insert_after_row) ||
		   mdb_returning();
}

/* New series may be too many.  What fills a file that nobody refers to yet is a load: let it pass. */
static inline void
guard(Relation rel, TupleTableSlot **slots, int nslots, int options)
{
	if (!(options & HEAP_INSERT_FROZEN))
		mdb_guard_rows(rel, slots, nslots);
}

static void
tuple_insert(Relation rel, TupleTableSlot *slot, CommandId cid, int options, BulkInsertState bistate)
{
	slot->tts_tableOid = RelationGetRelid(rel);
	guard(rel, &slot, 1, options);
	if (needs_place(rel))
		mdb_insert_row(rel, slot, cid, options);
	else
		mdb_buffer_insert(rel, &slot, 1, cid, options & HEAP_INSERT_FROZEN);
}

static void
multi_insert(Relation rel, TupleTableSlot **slots, int nslots, CommandId cid, int options,
			 BulkInsertState bistate)
{
	for (int i = 0; i < nslots; i++)
		slots[i]->tts_tableOid = RelationGetRelid(rel);
	guard(rel, slots, nslots, options);
	if (needs_place(rel))
		mdb_insert_rows(rel, slots, nslots, cid, options);
	else
		mdb_buffer_insert(rel, slots, nslots, cid, options & HEAP_INSERT_FROZEN);
}

static void
finish_bulk_insert(Relation rel, int options)
{
	mdb_buffer_flush_relation(RelationGetRelid(rel));
}

/*
 * Parts hold values of any size, and the delta has a TOAST table of its own.  But what a heap would have there is, also
 * if it stays empty: it has options, and the table may become a heap.
 */
static bool
relation_needs_toast_table(Relation rel)
{
	return GetHeapamTableAmRoutine()->relation_needs_toast_table(rel);
}

static Oid
relation_toast_am(Relation rel)
{
	return HEAP_TABLE_AM_OID;
}

#if PG_VERSION_NUM >= 170000
/* ANALYZE names its blocks by a stream, which can read them as well: not for us. */
static bool
analyze_next_block(TableScanDesc scan, ReadStream *stream)
{
	BufferAccessStrategy strategy;
	BlockNumber block = read_stream_next_block(stream, &strategy);

	return BlockNumberIsValid(block) && mdb_analyze_next_block(scan, block, strategy);
}
#else
#define analyze_next_block mdb_analyze_next_block
#endif

#if PG_VERSION_NUM >= 180000
/* The bitmap is the scan's to read. */
static bool
bitmap_next_tuple(TableScanDesc scan, TupleTableSlot *slot, bool *recheck, uint64 *lossy_pages,
				  uint64 *exact_pages)
{
	while (!mdb_bitmap_next_row(scan, slot))
	{
		OffsetNumber offsets[TBM_MAX_TUPLES_PER_PAGE];
		TBMIterateResult block;
		int n = -1;

		if (!tbm_iterate(&scan->st.rs_tbmiterator, &block))
			return false;
		if (!block.lossy)
			n = tbm_extract_page_tuple(&block, offsets, TBM_MAX_TUPLES_PER_PAGE);
		*(block.lossy ? lossy_pages : exact_pages) += 1;
		*recheck = block.recheck;
		mdb_bitmap_set_block(scan, block.blockno, offsets, n);
	}
	return true;
}
#else
static bool
bitmap_next_block(TableScanDesc scan, TBMIterateResult *block)
{
	if (mdb_bitmap_is_new(scan))
		mdb_bitmap_stop_prefetching(scan);
	mdb_bitmap_set_block(scan, block->blockno, block->offsets, block->ntuples);
	return true;
}

static bool
bitmap_next_tuple(TableScanDesc scan, TBMIterateResult *block, TupleTableSlot *slot)
{
	return mdb_bitmap_next_row(scan, slot);
}
#endif

static const TableAmRoutine routine = {.type = T_TableAmRoutine,

									   .slot_callbacks = slot_callbacks,

									   .scan_begin = mdb_scan_begin,
									   .scan_end = mdb_scan_end,
									   .scan_rescan = mdb_scan_rescan,
									   .scan_getnextslot = mdb_scan_getnextslot,
									   .scan_set_tidrange = mdb_scan_set_tidrange,
									   .scan_getnextslot_tidrange = mdb_scan_getnextslot_tidrange,

									   .parallelscan_estimate = mdb_parallelscan_estimate,
									   .parallelscan_initialize = mdb_parallelscan_initialize,
									   .parallelscan_reinitialize = mdb_parallelscan_reinitialize,

									   .index_fetch_begin = mdb_index_fetch_begin,
									   .index_fetch_reset = mdb_index_fetch_reset,
									   .index_fetch_end = mdb_index_fetch_end,
									   .index_fetch_tuple = mdb_index_fetch_tuple,

									   .tuple_fetch_row_version = mdb_fetch_row_version,
									   .tuple_tid_valid = mdb_tid_valid,
									   .tuple_get_latest_tid = mdb_latest_tid,
									   .tuple_satisfies_snapshot = mdb_row_satisfies,
									   .index_delete_tuples = mdb_index_delete_tuples,

									   .tuple_insert = tuple_insert,
									   .tuple_insert_speculative = mdb_insert_speculative,
									   .tuple_complete_speculative = mdb_complete_speculative,
									   .multi_insert = multi_insert,
									   .tuple_delete = mdb_delete_row,
									   .tuple_update = mdb_update_row,
									   .tuple_lock = mdb_lock_row,
									   .finish_bulk_insert = finish_bulk_insert,

#if PG_VERSION_NUM >= 160000
									   .relation_set_new_filelocator = mdb_set_new_filelocator,
#else
									   .relation_set_new_filenode = mdb_set_new_filelocator,
#endif
									   .relation_nontransactional_truncate = mdb_nontransactional_truncate,
									   .relation_copy_data = mdb_copy_data,
									   .relation_copy_for_cluster = mdb_copy_for_cluster,
									   .relation_vacuum = mdb_vacuum,
									   .scan_analyze_next_block = analyze_next_block,
									   .scan_analyze_next_tuple = mdb_analyze_next_tuple,
									   .index_build_range_scan = mdb_index_build_range_scan,
									   .index_validate_scan = mdb_index_validate_scan,

									   .relation_size = table_block_relation_size,
									   .relation_needs_toast_table = relation_needs_toast_table,
									   .relation_toast_am = relation_toast_am,

									   .relation_estimate_size = mdb_estimate_size,

#if PG_VERSION_NUM < 180000
									   .scan_bitmap_next_block = bitmap_next_block,
#endif
									   .scan_bitmap_next_tuple = bitmap_next_tuple,

									   .scan_sample_next_block = mdb_sample_next_block,
									   .scan_sample_next_tuple = mdb_sample_next_tuple};

/*
 * mdb_handler - metricsdb.handler(internal): the access method's routine.
 */
Datum
mdb_handler(PG_FUNCTION_ARGS)
{
	PG_RETURN_POINTER(&routine);
}
