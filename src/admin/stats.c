/*
 * stats.c
 *	  metricsdb.relation_stats(), column_stats() and relation_size(): where a table's bytes go.
 *
 * Figures come from the directories of the parts and from a scan of the delta: nothing of the
 * values is decoded.  All bytes add up to relation_size(), which is what the table takes on disk:
 * its file, its delta heaps with their TOAST, and its rows of the series dictionary.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/smgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "admin/admin.h"
#include "store/layout.h"
#include "write/write.h"

PG_FUNCTION_INFO_V1(mdb_relation_size);
PG_FUNCTION_INFO_V1(mdb_relation_stats);
PG_FUNCTION_INFO_V1(mdb_column_stats);

/* About so many chunks of a column are looked at for their codecs. */
#define CODEC_SAMPLE 2000
#define CODECS_MAX   32

typedef struct CodecCount
{
	const char *name;
	int64 chunks;
} CodecCount;

typedef struct ColumnFigures
{
	int64 bytes;
	int64 values; /* not NULL, in parts and in the delta */
	int ncodecs;
	CodecCount codecs[CODECS_MAX];
} ColumnFigures;

typedef struct Figures
{
	int64 main_bytes;
	int64 delta_bytes;
	int64 dictionary_bytes;
	int64 nseries;
	int64 nparts;
	int64 nrows; /* in parts */
	int64 delta_rows;
	int64 part_pages;
	int64 part_bytes; /* payload */
	int64 series_id_bytes;
	int64 directory_bytes;
	int64 dropped_bytes;    /* of columns that were dropped since */
	ColumnFigures *columns; /* [natts]; NULL if not wanted */
} Figures;

static int64
total_bytes(const Figures *f)
{
	return f->main_bytes + f->delta_bytes + f->dictionary_bytes;
}

static void
measure_files(Relation rel, const MdbTable *table, bool series, Figures *f)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	MdbDeltaInfo *deltas;
	int count;

	for (ForkNumber fork = 0; fork <= MAX_FORKNUM; fork++)
		if (fork == MAIN_FORKNUM || smgrexists(RelationGetSmgr(rel), fork))
			f->main_bytes += (int64) RelationGetNumberOfBlocksInFork(rel, fork) * BLCKSZ;
	/* Retired slots of the ring take room, too. */
	mdb_delta_list(table->storage_id, snapshot, &deltas, &count);
	for (int i = 0; i < count; i++)
		f->delta_bytes +=
			DatumGetInt64(DirectFunctionCall1(pg_total_relation_size, ObjectIdGetDatum(deltas[i].relid)));
	f->dictionary_bytes = mdb_dict_bytes(table, snapshot, series ? &f->nseries : NULL);
	UnregisterSnapshot(snapshot);
}

static void
count_codec(ColumnFigures *c, const char *name)
{
	int i = 0;

	while (i < c->ncodecs && strcmp(c->codecs[i].name, name) != 0)
		i++;
	if (i == CODECS_MAX)
		return;
	if (i == c->ncodecs)
	{
		c->codecs[i].name = name;
		c->codecs[i].chunks = 0;
		c->ncodecs++;
	}
	c->codecs[i].chunks++;
}

/* What one part keeps of each column.  Looks at the codec of each stride-th block. */
static void
measure_part(MdbPart *part, TupleDesc desc, const MdbTable *table, Figures *f, int64 *block, int64 stride)
{
	int last = part->nblocks - 1;

	f->directory_bytes += part->directory_len + sizeof(MdbPartTrailer);
	if (!part->one_series)
		f->series_id_bytes += part->series_end[last];
	if (part->has_time && table->time_attno > 0)
	{
		ColumnFigures *c = &f->columns[table->time_attno - 1];

		c->bytes += part->time_end[last];
		c->values += part->info.nrows;
	}
	for (int i = 0; i < part->ncolumns; i++)
	{
		AttrNumber attno = part->columns[i].attno;
		ColumnFigures *c;

		if (attno > table->natts || table->columns[attno - 1].role != MDB_ROLE_VALUE)
		{
			f->dropped_bytes += part->columns[i].nbytes;
			continue;
		}
		c = &f->columns[attno - 1];
		c->bytes += part->columns[i].nbytes;
		c->values += part->info.nrows;
		mdb_part_load_column(part, i);
		for (int b = 0; b < part->nblocks; b++)
		{
			c->values -= part->columns[i].nnulls[b];
			if ((*block + b) % stride == 0)
				count_codec(c, mdb_part_chunk_codec(part, i, b));
		}
	}
	/* Columns that came later have the default that ADD COLUMN gave them. */
	for (int i = 0; i < table->natts; i++)
	{
		bool isnull;

		if (table->columns[i].role != MDB_ROLE_VALUE || mdb_part_column_index(part, i + 1) >= 0)
			continue;
		(void) getmissingattr(desc, i + 1, &isnull);
		if (!isnull)
			f->columns[i].values += part->info.nrows;
	}
	*block += part->nblocks;
}

static void
measure_delta(Relation rel, const MdbTable *table, Snapshot snapshot, Figures *f)
{
	TupleTableSlot *rowslot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
	MdbDeltaInfo *deltas;
	int count;

	mdb_delta_live(table, snapshot, &deltas, &count);
	for (int i = 0; i < count; i++)
	{
		Relation delta = table_open(deltas[i].relid, AccessShareLock);
		TupleTableSlot *heapslot = table_slot_create(delta, NULL);
		TableScanDesc scan = table_beginscan(delta, snapshot, 0, NULL);

		while (table_scan_getnextslot(scan, ForwardScanDirection, heapslot))
		{
			MinimalTuple tuple = mdb_delta_tuple(heapslot);

			CHECK_FOR_INTERRUPTS();
			if (tuple == NULL)
				continue;
			f->delta_rows++;
			if (f->columns == NULL)
			{
				pfree(tuple);
				continue;
			}
			ExecStoreMinimalTuple(tuple, rowslot, true);
			slot_getallattrs(rowslot);
			for (int a = 0; a < table->natts; a++)
				f->columns[a].values += !rowslot->tts_isnull[a] && table->columns[a].role != MDB_ROLE_SERIES;
			ExecClearTuple(rowslot);
		}
		table_endscan(scan);
		ExecDropSingleTupleTableSlot(heapslot);
		table_close(delta, NoLock);
	}
	ExecDropSingleTupleTableSlot(rowslot);
}

/* Everything, as the query's snapshot sees it; sizes as they are now. */
static void
measure(Relation rel, const MdbTable *table, bool codecs, Figures *f)
{
	Snapshot snapshot = GetActiveSnapshot();
	MdbPartList *list = mdb_parts_visible(table, snapshot);
	MemoryContext tmp =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb statistics", ALLOCSET_DEFAULT_SIZES);
	int64 stride = codecs ? Max(1, list->nblocks / CODEC_SAMPLE) : PG_INT64_MAX;
	int64 block = codecs ? 0 : 1;

	f->columns = palloc0(sizeof(ColumnFigures) * Max(1, table->natts));
	measure_files(rel, table, true, f);
	f->nparts = list->count;
	f->nrows = list->nrows;
	for (int i = 0; i < list->count; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(tmp);

		CHECK_FOR_INTERRUPTS();
		f->part_pages += list->parts[i].npages;
		f->part_bytes += list->parts[i].nbytes;
		measure_part(mdb_part_open(rel, &list->parts[i]), RelationGetDescr(rel), table, f, &block, stride);
		MemoryContextSwitchTo(old);
		MemoryContextReset(tmp);
	}
	MemoryContextDelete(tmp);
	measure_delta(rel, table, snapshot, f);
}

/* A quotient with as many digits as people read; NULL if there is none. */
static Datum
ratio(int64 a, int64 b, bool *isnull)
{
	*isnull = b == 0;
	return Float8GetDatum(b == 0 ? 0 : rint((double) a / b * 1e4) / 1e4);
}

/*
 * mdb_table_bytes - of a table on disk, with its delta and its dictionary.
 */
int64
mdb_table_bytes(Relation rel)
{
	Figures f = {0};

	measure_files(rel, mdb_table(rel), false, &f);
	return total_bytes(&f);
}

/*
 * mdb_relation_size - metricsdb.relation_size("table" regclass): bytes on disk.
 */
Datum
mdb_relation_size(PG_FUNCTION_ARGS)
{
	bool hide;
	Relation rel = mdb_open_shown(PG_GETARG_OID(0), &hide);
	int64 bytes = mdb_table_bytes(rel);

	relation_close(rel, AccessShareLock);
	PG_RETURN_INT64(bytes);
}

/*
 * mdb_relation_stats - metricsdb.relation_stats("table" regclass): one row.
 */
Datum
mdb_relation_stats(PG_FUNCTION_ARGS)
{
	bool hide;
	Relation rel = mdb_open_shown(PG_GETARG_OID(0), &hide);
	MdbTable *table = mdb_table(rel);
	Figures f = {0};
	int64 samples = 0;
	TupleDesc desc;
	Datum v[11];
	bool n[11] = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	measure(rel, table, false, &f);
	for (int i = 0; i < table->natts; i++)
		if (table->columns[i].role == MDB_ROLE_VALUE)
			samples += f.columns[i].values;
	v[0] = Int64GetDatum(f.nrows + f.delta_rows);
	v[1] = Int64GetDatum(samples);
	v[2] = Int64GetDatum(f.nseries);
	v[3] = Int64GetDatum(f.nparts);
	v[4] = Int64GetDatum(f.delta_rows);
	v[5] = Int64GetDatum(total_bytes(&f));
	v[6] = Int64GetDatum(f.main_bytes);
	v[7] = Int64GetDatum(f.delta_bytes);
	v[8] = Int64GetDatum(f.dictionary_bytes);
	v[9] = ratio(total_bytes(&f), samples, &n[9]);
	v[10] = ratio(total_bytes(&f), f.nrows + f.delta_rows, &n[10]);
	if (hide)
		n[0] = n[1] = n[2] = n[4] = n[9] = n[10] = true;
	relation_close(rel, AccessShareLock);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), v, n)));
}

static Datum
codecs_as_jsonb(const ColumnFigures *c)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < c->ncodecs; i++)
		appendStringInfo(&buf, "%c\"%s\": %lld", i == 0 ? '{' : ',', c->codecs[i].name,
						 (long long) c->codecs[i].chunks);
	appendStringInfoChar(&buf, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(buf.data));
}

/* A row for bytes that belong to no one column. */
static void
put_other(ReturnSetInfo *rsinfo, const char *what, int64 bytes, int64 total)
{
	Datum v[7] = {0};
	bool n[7] = {true, false, false, true, true, false, true};

	if (bytes == 0)
		return;
	v[1] = CStringGetTextDatum(what);
	v[2] = Int64GetDatum(bytes);
	v[5] = ratio(bytes, total, &n[5]);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, n);
}

/*
 * mdb_column_stats - metricsdb.column_stats("table" regclass): a row for each column, and for what
 * else takes bytes.
 */
Datum
mdb_column_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	bool hide;
	Relation rel = mdb_open_shown(PG_GETARG_OID(0), &hide);
	TupleDesc desc = RelationGetDescr(rel);
	MdbTable *table = mdb_table(rel);
	Figures f = {0};
	int64 total;

	InitMaterializedSRF(fcinfo, 0);
	measure(rel, table, !hide, &f);
	total = total_bytes(&f);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const ColumnFigures *c = &f.columns[i];
		bool series = table->columns[i].role == MDB_ROLE_SERIES;
		Datum v[7] = {0};
		bool n[7] = {0};

		if (att->attisdropped)
		{
			f.dropped_bytes += c->bytes;
			continue;
		}
		v[0] = NameGetDatum(&att->attname);
		v[1] = CStringGetTextDatum(mdb_role_name(table->columns[i].role));
		v[2] = Int64GetDatum(c->bytes);
		v[3] = Int64GetDatum(c->values);
		v[4] = ratio(c->bytes, c->values, &n[4]);
		v[5] = ratio(c->bytes, total, &n[5]);
		/* The values of series columns are in the dictionary, all together. */
		n[2] = n[5] = series;
		n[3] = n[4] = series || hide || n[4];
		n[6] = hide || c->ncodecs == 0;
		if (!n[6])
			v[6] = codecs_as_jsonb(c);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, n);
	}
	put_other(rsinfo, "dropped columns", f.dropped_bytes, total);
	put_other(rsinfo, "series ids", f.series_id_bytes, total);
	put_other(rsinfo, "directories", f.directory_bytes, total);
	put_other(rsinfo, "page headers and ends", f.part_pages * BLCKSZ - f.part_bytes, total);
	put_other(rsinfo, "free and not yet removed pages", f.main_bytes - f.part_pages * BLCKSZ, total);
	put_other(rsinfo, "delta", f.delta_bytes, total);
	put_other(rsinfo, "dictionary", f.dictionary_bytes, total);
	relation_close(rel, AccessShareLock);
	return (Datum) 0;
}
