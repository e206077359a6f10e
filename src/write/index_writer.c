/*
 * index_writer.c
 *	  Entries of a table's indexes for rows that are given new identities, and no more for those whose
 *	  identities are about to be given to others.
 *
 * Nothing is checked: rows that move were unique, and met constraints, where they were.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/multixact.h"
#include "access/table.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "commands/vacuum.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "write/write.h"

/* Pages of indexes that are read for each page of rows that leave the delta. */
#define INDEX_PAGES_EACH 4

MdbPartIndexer mdb_part_indexer = NULL;

struct MdbIndexWriter
{
	Relation rel;
	int count;
	Relation *indexes;
	IndexInfo **infos;
	ExprState **predicates;
	EState *estate;
	MdbBefore before;
};

/*
 * mdb_index_writer_begin - open the indexes of a table, in CurrentMemoryContext; NULL if it has none.
 *
 * Until mdb_index_writer_end() the process is the table's owner in a security-restricted operation.
 */
MdbIndexWriter *
mdb_index_writer_begin(Relation rel)
{
	List *oids = RelationGetIndexList(rel);
	MdbIndexWriter *w;
	ListCell *lc;

	if (oids == NIL)
		return NULL;
	w = palloc0(sizeof(MdbIndexWriter));
	w->rel = rel;
	w->indexes = palloc(sizeof(Relation) * list_length(oids));
	w->infos = palloc(sizeof(IndexInfo *) * list_length(oids));
	w->predicates = palloc(sizeof(ExprState *) * list_length(oids));
	/* Before anything that looks at expressions: constants in them are folded, by calls. */
	mdb_owner_begin(rel, &w->before);
	w->estate = CreateExecutorState();
	foreach (lc, oids)
	{
		Relation index = index_open(lfirst_oid(lc), RowExclusiveLock);
		IndexInfo *info;

		if (!index->rd_index->indisready)
		{
			index_close(index, RowExclusiveLock);
			continue;
		}
		info = BuildIndexInfo(index);
		w->predicates[w->count] = ExecPrepareQual(info->ii_Predicate, w->estate);
		w->infos[w->count] = info;
		w->indexes[w->count++] = index;
	}
	list_free(oids);
	return w;
}

/*
 * mdb_index_writer_insert - make entries for the row in a slot, which has its identity in tts_tid.
 */
void
mdb_index_writer_insert(MdbIndexWriter *w, TupleTableSlot *slot)
{
	ExprContext *econtext = GetPerTupleExprContext(w->estate);
	MemoryContext old;

	ResetPerTupleExprContext(w->estate);
	econtext->ecxt_scantuple = slot;
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(w->estate));
	for (int i = 0; i < w->count; i++)
	{
		Datum values[INDEX_MAX_KEYS];
		bool isnull[INDEX_MAX_KEYS];

		if (w->predicates[i] && !ExecQual(w->predicates[i], econtext))
			continue;
		FormIndexDatum(w->infos[i], slot, w->estate, values, isnull);
		index_insert(w->indexes[i], values, isnull, &slot->tts_tid, w->rel, UNIQUE_CHECK_NO, false,
					 w->infos[i]);
	}
	MemoryContextSwitchTo(old);
}

/*
 * mdb_index_writer_end - close them.
 */
void
mdb_index_writer_end(MdbIndexWriter *w)
{
	if (w == NULL)
		return;
	for (int i = 0; i < w->count; i++)
	{
		mdb_index_insert_end(w->indexes[i], w->infos[i]);
		index_close(w->indexes[i], NoLock);
	}
	FreeExecutorState(w->estate);
	mdb_owner_end(&w->before);
	pfree(w->indexes);
	pfree(w->infos);
	pfree(w->predicates);
	pfree(w);
}

/*
 * mdb_index_report - note, and tell, what VACUUM found in an index.
 */
void
mdb_index_report(Relation index, const IndexBulkDeleteResult *stats, int elevel)
{
	if (stats == NULL)
		return;
	ereport(elevel, (errmsg("index \"%s\": %.0f entries removed, %.0f remain in %u pages",
							RelationGetRelationName(index), stats->tuples_removed, stats->num_index_tuples,
							stats->num_pages)));
	if (!stats->estimated_count)
		mdb_update_relstats(index, stats->num_pages, stats->num_index_tuples, false, InvalidTransactionId,
							InvalidMultiXactId);
}

/*
 * mdb_indexes_delete - remove the entries that a callback names from all indexes of a table, which is
 * locked ShareUpdateExclusiveLock.  Without a callback: have GIN indexes work off what is pending, alone.
 */
void
mdb_indexes_delete(Relation rel, IndexBulkDeleteCallback callback, void *arg, int elevel,
				   BufferAccessStrategy strategy)
{
	List *oids = RelationGetIndexList(rel);
	MdbBefore before;
	ListCell *lc;

	/* BRIN evaluates expressions when it summarizes what is new. */
	mdb_owner_begin(rel, &before);
	foreach (lc, oids)
	{
		Relation index = index_open(lfirst_oid(lc), RowExclusiveLock);

		if (index->rd_index->indisready && (callback || index->rd_rel->relam == GIN_AM_OID))
		{
			IndexVacuumInfo info = {0};
			IndexBulkDeleteResult *stats = NULL;

			info.index = index;
			mdb_vacuum_info_set_heap(&info, rel);
			info.estimated_count = true;
			info.message_level = elevel;
			info.num_heap_tuples = rel->rd_rel->reltuples;
			info.strategy = strategy;
			if (callback)
				stats = index_bulk_delete(&info, NULL, callback, arg);
			stats = index_vacuum_cleanup(&info, stats);
			mdb_index_report(index, stats, elevel);
			if (stats)
				pfree(stats);
		}
		index_close(index, NoLock);
	}
	mdb_owner_end(&before);
	list_free(oids);
}

static bool
is_of_slot(ItemPointer tid, void *arg)
{
	return mdb_tid_is_delta(tid) && mdb_tid_slot(tid) == *(int16 *) arg;
}

/*
 * mdb_indexes_forget_slot - remove the entries of all rows of a heap of the ring that is about to be
 * emptied: others will have their identities.
 */
void
mdb_indexes_forget_slot(Relation rel, int16 slot)
{
	if (rel->rd_rel->relhasindex)
		mdb_indexes_delete(rel, is_of_slot, &slot, DEBUG1, GetAccessStrategy(BAS_VACUUM));
}

/*
 * mdb_indexes_worth - how many pages of rows should leave the delta at a time: least, or more if the table
 * has large indexes, as they will be read from end to end to remove the rows' old entries.
 */
BlockNumber
mdb_indexes_worth(Relation rel, BlockNumber least)
{
	BlockNumber pages = 0;
	List *oids;
	ListCell *lc;

	if (!rel->rd_rel->relhasindex)
		return least;
	oids = RelationGetIndexList(rel);
	foreach (lc, oids)
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		pages += RelationGetNumberOfBlocks(index) / INDEX_PAGES_EACH;
		index_close(index, AccessShareLock);
	}
	list_free(oids);
	return Max(least, pages);
}

/*
 * mdb_index_new_part - make entries for the rows of a part that this transaction has written, of rows
 * that were elsewhere before.
 */
void
mdb_index_new_part(Relation rel, const MdbPartInfo *part)
{
	if (rel->rd_rel->relhasindex && part->nrows > 0)
		mdb_part_indexer(rel, part);
}
