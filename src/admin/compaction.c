/*
 * compaction.c
 *	  metricsdb.compaction_status: what there is to compact, what was done, what went wrong.
 *
 * A table's row is for its owner and for members of pg_monitor.  What is in the way of compaction
 * comes from PostgreSQL's own views, see sql/90_views.sql.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "admin/admin.h"
#include "write/merge.h"

PG_FUNCTION_INFO_V1(mdb_all_compaction);

#define NCOLUMNS 25

/* Pages of a delta heap whose rows are counted; more are estimated from these. */
#define DELTA_SAMPLE 256

/* A row heap is left alone below that. */
#define ROWS_PAGES_MIN 64

static double
count_rows(Relation delta, Snapshot snapshot)
{
	BlockNumber pages = RelationGetNumberOfBlocks(delta);
	BlockNumber sample = Min(pages, DELTA_SAMPLE);
	TableScanDesc scan;
	HeapTuple tuple;
	double rows = 0;

	if (pages == 0)
		return 0;
	scan = table_beginscan_strat(delta, snapshot, 0, NULL, true, false);
	heap_setscanlimits(scan, 0, sample);
	/* Shadows of rows in parts are no rows. */
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
		rows += !heap_attisnull(tuple, Anum_delta_row, RelationGetDescr(delta));
	table_endscan(scan);
	return rows * pages / sample;
}

/* Rows and bytes of the live heaps, and which of them are only waiting to be emptied. */
static void
measure_delta(Relation rel, const MdbTable *table, Snapshot snapshot, Datum *v)
{
	MdbDeltaInfo *deltas;
	Datum *sealed;
	int nsealed = 0;
	int count;
	MdbMeta meta;
	double rows = 0;
	int64 bytes = 0;

	mdb_meta_read(rel, &meta);
	mdb_delta_list(table->storage_id, snapshot, &deltas, &count);
	sealed = palloc(sizeof(Datum) * Max(1, count));
	for (int i = 0; i < count; i++)
	{
		Relation delta = try_relation_open(deltas[i].relid, AccessShareLock);

		if (delta == NULL)
			continue;
		bytes += (int64) RelationGetNumberOfBlocks(delta) * BLCKSZ;
		if (deltas[i].live)
			rows += count_rows(delta, snapshot);
		if (deltas[i].live && deltas[i].slot != meta.delta_slot &&
			(deltas[i].slot != MDB_ROWS_SLOT || RelationGetNumberOfBlocks(delta) >= ROWS_PAGES_MIN))
			sealed[nsealed++] = ObjectIdGetDatum(deltas[i].relid);
		relation_close(delta, AccessShareLock);
	}
	v[0] = Int64GetDatum((int64) rows);
	v[1] = Int64GetDatum(bytes);
	v[2] = PointerGetDatum(construct_array(sealed, nsealed, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
}

/* {"0": 12, "1": 3}: parts of each level. */
static Datum
levels_as_jsonb(const MdbPartList *list)
{
	StringInfoData buf;
	int left = list->count;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	for (int level = 0; left > 0; level++)
	{
		int n = 0;

		for (int i = 0; i < list->count; i++)
			n += list->parts[i].level == level;
		if (n > 0)
			appendStringInfo(&buf, "%s\"%d\": %d", left == list->count ? "" : ", ", level, n);
		left -= n;
	}
	appendStringInfoChar(&buf, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data));
}

/* Bytes of the parts that would be merged now, if there was time, and if no aggregate was waited for. */
static int64
bytes_waiting(const MdbTable *table, const MdbPartList *all)
{
	MdbPartList list = *all;
	MdbMergeSet set;
	int64 bytes = 0;

	list.parts = palloc_extended(sizeof(MdbPartInfo) * Max(1, all->count), MCXT_ALLOC_HUGE);
	memcpy(list.parts, all->parts, sizeof(MdbPartInfo) * all->count);
	while (mdb_merge_choose(table, &list, NULL, MDB_COMPACT_DUE, GetCurrentTimestamp(), &set))
	{
		int n = 0;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < list.count; i++)
		{
			bool chosen = false;

			for (int k = 0; k < set.count && !chosen; k++)
				chosen = set.parts[k].part_id == list.parts[i].part_id;
			if (chosen)
				bytes += list.parts[i].nbytes;
			else
				list.parts[n++] = list.parts[i];
		}
		list.count = n;
	}
	return bytes;
}

/* What the books say of a storage: v[0 ..] from merges on, and then the write amplification. */
static void
read_books(int64 storage_id, const MdbPartList *list, Snapshot snapshot, Datum *v, bool *n)
{
	static const int columns[] = {
		Anum_compaction_merges,       Anum_compaction_last_merge_at, Anum_compaction_last_seconds,
		Anum_compaction_last_inputs,  Anum_compaction_last_rows,     Anum_compaction_last_bytes,
		Anum_compaction_merged_bytes, Anum_compaction_moved_bytes,   Anum_compaction_failures,
		Anum_compaction_last_error,   Anum_compaction_last_error_at, Anum_compaction_retry_at};
	Relation rel = mdb_catalog_open("compaction", AccessShareLock);
	int64 level0 = 0;
	int64 merged = 0;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	for (int i = 0; i < list->count; i++)
		if (list->parts[i].level == 0)
			level0 += list->parts[i].nbytes;
	for (int i = 0; i < (int) lengthof(columns); i++)
		n[i] = true;
	ScanKeyInit(&key, Anum_compaction_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, snapshot, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Datum all[Natts_compaction];
		bool nulls[Natts_compaction];

		tuple = heap_copytuple(tuple);
		heap_deform_tuple(tuple, RelationGetDescr(rel), all, nulls);
		for (int i = 0; i < (int) lengthof(columns); i++)
		{
			v[i] = all[columns[i] - 1];
			n[i] = nulls[columns[i] - 1];
		}
		level0 += DatumGetInt64(all[Anum_compaction_level0_bytes - 1]);
		merged = DatumGetInt64(all[Anum_compaction_merged_bytes - 1]);
	}
	else
	{
		v[0] = v[6] = v[7] = Int64GetDatum(0);
		v[8] = Int32GetDatum(0);
		n[0] = n[6] = n[7] = n[8] = false;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	n[lengthof(columns)] = level0 == 0;
	v[lengthof(columns)] = Float8GetDatum(level0 > 0 ? (double) (level0 + merged) / level0 : 0);
}

static void
put_table(ReturnSetInfo *rsinfo, Relation rel)
{
	MdbTable *table = mdb_table(rel);
	Snapshot snapshot = GetActiveSnapshot();
	MdbPartList *list = mdb_parts_visible(table, snapshot);
	int64 pages = RelationGetNumberOfBlocks(rel);
	int64 used = 1;
	int64 bytes = 0;
	int64 cold_parts = 0;
	int64 cold_bytes = 0;
	Datum v[NCOLUMNS] = {0};
	bool n[NCOLUMNS] = {0};

	for (int i = 0; i < list->count; i++)
	{
		used += list->parts[i].npages;
		bytes += list->parts[i].nbytes;
		if (list->parts[i].format >= MDB_PART_FORMAT_COLD)
		{
			cold_parts++;
			cold_bytes += list->parts[i].nbytes;
		}
	}
	v[0] = ObjectIdGetDatum(RelationGetRelid(rel));
	v[1] = Int64GetDatum(list->count);
	v[2] = levels_as_jsonb(list);
	v[3] = Int64GetDatum(bytes);
	measure_delta(rel, table, snapshot, &v[4]);
	v[7] = Int64GetDatum(bytes_waiting(table, list));
	v[8] = Int64GetDatum(pages);
	v[9] = Int64GetDatum(Max(pages - used, 0));
	read_books(table->storage_id, list, snapshot, &v[10], &n[10]);
	v[23] = Int64GetDatum(cold_parts);
	v[24] = Int64GetDatum(cold_bytes);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, n);
}

/*
 * mdb_watched_tables - OIDs of the metricsdb tables that the caller owns, or of all if he monitors the server.
 */
List *
mdb_watched_tables(void)
{
	Oid am = mdb_am_oid(true);
	bool all = has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
	Relation pg_class = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(pg_class, InvalidOid, false, NULL, 0, NULL);
	HeapTuple tuple;
	List *relids = NIL;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->relam == am && form->relkind != RELKIND_PARTITIONED_TABLE &&
			(all || has_privs_of_role(GetUserId(), form->relowner)))
			relids = lappend_oid(relids, form->oid);
	}
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
	return relids;
}

/*
 * mdb_all_compaction - rows of the view metricsdb.compaction_status, but for what is in the way.
 */
Datum
mdb_all_compaction(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach (lc, mdb_watched_tables())
	{
		Relation rel;

		CHECK_FOR_INTERRUPTS();
		/* A monitor does not wait for those it watches. */
		if (!ConditionalLockRelationOid(lfirst_oid(lc), AccessShareLock))
			continue;
		rel = try_relation_open(lfirst_oid(lc), NoLock);
		if (rel == NULL)
			continue;
		if (mdb_is_metricsdb(rel) && !RELATION_IS_OTHER_TEMP(rel))
			put_table(rsinfo, rel);
		relation_close(rel, AccessShareLock);
	}
	return (Datum) 0;
}
