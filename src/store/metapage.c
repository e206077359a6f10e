/*
 * metapage.c
 *	  The first page of a metricsdb file: who the file is, how its columns are used, and the
 *	  counters from which parts, rows, series ids and pages are taken.
 *
 * Invariants:
 *	1. Counters only rise, but for that of row numbers, which come round (rows.c).  What an aborted transaction
 *	   took is not given back.
 *	2. A change is WAL-logged before anything that depends on it can be, so after a crash no
 *	   number is handed out twice to data that survived.
 *	3. Roles of columns are those that the file was made with: other roles need a new file.
 *
 * The in-memory copy in rd_amcache holds only what never changes for a relfilenode, but for
 * the incarnation of an unlogged file, which changes under an exclusive buffer lock once after
 * a crash; readers that hold the old one see no parts, which is right: there are none.
 */
#include "postgres.h"

#include "access/generic_xlog.h"
#include "access/relation.h"
#include "access/xloginsert.h"
#include "access/htup_details.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "catalog/storage.h"
#include "catalog/storage_xlog.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/smgr.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "metricsdb.h"
#include "stop.h"
#include "store/store.h"

#define MDB_META_MAGIC   0x4d444253 /* "MDBS" */
#define MDB_META_VERSION 2          /* 1: rows of parts had other ctids */

/*
 * mdb_am_oid - OID of the access method, or InvalidOid if missing_ok and the extension is not there.
 */
Oid
mdb_am_oid(bool missing_ok)
{
	return get_table_am_oid(MDB_AM_NAME, missing_ok);
}

/*
 * mdb_is_metricsdb - is this a table that the access method stores?
 */
bool
mdb_is_metricsdb(Relation rel)
{
	return rel->rd_rel->relam != InvalidOid &&
		   (rel->rd_rel->relkind == RELKIND_RELATION || rel->rd_rel->relkind == RELKIND_MATVIEW) &&
		   rel->rd_rel->relam == mdb_am_oid(true);
}

/*
 * mdb_is_metricsdb_oid - the same by OID, false if there is no such relation.
 */
bool
mdb_is_metricsdb_oid(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool result = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		result = OidIsValid(form->relam) && form->relam == mdb_am_oid(true) &&
				 (form->relkind == RELKIND_RELATION || form->relkind == RELKIND_MATVIEW);
		ReleaseSysCache(tuple);
	}
	return result;
}

/*
 * mdb_phys - how values of a column are kept: by the base type of a domain.
 */
MdbPhys
mdb_phys(Form_pg_attribute att)
{
	Oid base;

	if (!att->attbyval)
		return MDB_BYTES;
	if (att->attlen == 2 || att->attlen == 1)
		return MDB_I64;
	base = att->atttypid < FirstNormalObjectId ? att->atttypid : getBaseType(att->atttypid);
	if (base == FLOAT8OID)
		return MDB_F64;
	if (base == FLOAT4OID)
		return MDB_F32;
	return MDB_I64;
}

static void
meta_check(Relation rel, const MdbMeta *meta)
{
	if (meta->magic != MDB_META_MAGIC)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("file of table \"%s\" has no valid metapage", RelationGetRelationName(rel))));
	if (meta->version != MDB_META_VERSION)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("file of table \"%s\" has format version %d, this library reads version %d",
							   RelationGetRelationName(rel), meta->version, MDB_META_VERSION),
						meta->version > MDB_META_VERSION
							? errhint("Install a newer release of metricsdb.")
							: errhint("Dump the table with the release that made it, and restore it.")));
	/* While pg_upgrade makes tables, their files are no storages yet. */
	if (meta->storage_id < (IsBinaryUpgrade ? 0 : 1) || meta->time_attno < 0 || meta->natts < 0 ||
		meta->nseries_columns < 0 || meta->nseries_columns > MDB_MAX_SERIES_COLUMNS ||
		meta->next_page <= MDB_META_BLOCK || meta->next_part < 1 || meta->next_row < 0 ||
		meta->row_limit > MDB_ROWS_END || meta->next_series < 1)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("metapage of table \"%s\" is damaged", RelationGetRelationName(rel)),
						errhint("Restore the table from a backup.")));
}

static MdbMeta *
meta_of_page(Page page)
{
	return (MdbMeta *) PageGetContents(page);
}

static void
meta_fill(Page page, int64 storage_id, int32 incarnation, const MdbRoles *roles, int natts)
{
	MdbMeta *meta;

	PageInit(page, BLCKSZ, 0);
	meta = meta_of_page(page);
	meta->magic = MDB_META_MAGIC;
	meta->version = MDB_META_VERSION;
	meta->storage_id = storage_id;
	meta->incarnation = incarnation;
	meta->delta_slot = MDB_ROWS_SLOT;
	meta->next_page = MDB_META_BLOCK + 1;
	meta->next_part = 1;
	meta->next_row = 0;
	meta->row_limit = mdb_rows_end();
	meta->next_series = 1;
	meta->time_attno = roles->time_attno;
	meta->nseries_columns = roles->nseries_columns;
	meta->natts = natts;
	for (int i = 0; i < roles->nseries_columns; i++)
		meta->series_attnos[i] = roles->series_attnos[i];
	((PageHeader) page)->pd_lower = ((char *) &meta->series_attnos[roles->nseries_columns]) - (char *) page;
}

/*
 * mdb_meta_create - make the storage of a new file and write its metapage.
 *
 * rel may still have its old file (TRUNCATE); file is the new one.  An unlogged file gets an
 * init fork whose incarnation is 0: what a crash leaves of it is empty.
 */
void
mdb_meta_create(Relation rel, const MdbRelFile *file, char persistence, int64 storage_id,
				const MdbRoles *roles)
{
	SMgrRelation srel = RelationCreateStorage(*file, persistence, true);
	int natts = RelationGetNumberOfAttributes(rel);
	int32 incarnation = 1;

	if (persistence == RELPERSISTENCE_TEMP)
	{
		PGAlignedBlock block;

		meta_fill((Page) block.data, storage_id, incarnation, roles, natts);
		PageSetChecksumInplace((Page) block.data, MDB_META_BLOCK);
		smgrextend(srel, MAIN_FORKNUM, MDB_META_BLOCK, block.data, true);
	}
	else
	{
		Buffer buf = mdb_extend_file(srel, file, persistence);

		START_CRIT_SECTION();
		meta_fill(BufferGetPage(buf), storage_id, incarnation, roles, natts);
		MarkBufferDirty(buf);
		if (persistence == RELPERSISTENCE_PERMANENT && !mdb_file_skips_wal(*file))
			log_newpage_buffer(buf, true);
		END_CRIT_SECTION();
		UnlockReleaseBuffer(buf);
	}

	if (persistence == RELPERSISTENCE_UNLOGGED)
	{
		PGAlignedBlock block;

		smgrcreate(srel, INIT_FORKNUM, false);
		log_smgrcreate(file, INIT_FORKNUM);
		meta_fill((Page) block.data, storage_id, 0, roles, natts);
		log_newpage((MdbRelFile *) file, INIT_FORKNUM, MDB_META_BLOCK, block.data, true);
		PageSetChecksumInplace((Page) block.data, MDB_META_BLOCK);
		smgrextend(srel, INIT_FORKNUM, MDB_META_BLOCK, block.data, true);
		smgrimmedsync(srel, INIT_FORKNUM);
	}
	smgrclose(srel);
}

/*
 * mdb_meta_read - copy the metapage's fixed part.  meta->series_attnos is not filled.
 */
void
mdb_meta_read(Relation rel, MdbMeta *meta)
{
	Buffer buf = ReadBuffer(rel, MDB_META_BLOCK);

	LockBuffer(buf, BUFFER_LOCK_SHARE);
	memcpy(meta, meta_of_page(BufferGetPage(buf)), offsetof(MdbMeta, series_attnos));
	UnlockReleaseBuffer(buf);
	meta_check(rel, meta);
}

/* Lock the metapage for a change; meta_end() makes it. */
static MdbMeta *
meta_begin(Relation rel, GenericXLogState **state, Buffer *buf)
{
	Page page;
	MdbMeta *meta;

	*buf = ReadBuffer(rel, MDB_META_BLOCK);
	LockBuffer(*buf, BUFFER_LOCK_EXCLUSIVE);
	*state = GenericXLogStart(rel);
	page = GenericXLogRegisterBuffer(*state, *buf, 0);
	meta = meta_of_page(page);
	meta_check(rel, meta);
	return meta;
}

static void
meta_end(GenericXLogState *state, Buffer buf)
{
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buf);
}

/* Pages at the end; aborts the change of the metapage and raises an error if there are none. */
static int64
take_pages(Relation rel, MdbMeta *meta, GenericXLogState *state, Buffer buf, int64 npages)
{
	int64 first = meta->next_page;

	if (first + npages >= (int64) MaxBlockNumber)
	{
		GenericXLogAbort(state);
		UnlockReleaseBuffer(buf);
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("table \"%s\" has reached its largest size", RelationGetRelationName(rel)),
						errhint("Partition the table, or drop old data.")));
	}
	meta->next_page += npages;
	return first;
}

/*
 * mdb_meta_place_part - take the next part id, row numbers and, unless the extent was found
 * already, pages for a part; called under the allocation lock of space.c.
 */
void
mdb_meta_place_part(Relation rel, MdbPartInfo *info)
{
	GenericXLogState *state;
	Buffer buf;
	MdbMeta *meta = meta_begin(rel, &state, &buf);
	bool widens = false;

	if (info->page_first == 0)
		info->page_first = take_pages(rel, meta, state, buf, info->npages);
	info->incarnation = meta->incarnation;
	info->part_id = meta->next_part++;
	info->row_first = meta->next_row;
	meta->next_row += info->nrows;
	if (!meta->has_wide && meta->next_row > mdb_narrow_blocks() * MDB_NARROW_ROWS)
	{
		meta->has_wide = true;
		widens = true;
	}
	meta_end(state, buf);
	/* Plans may have bitmap scans. */
	if (widens)
		CacheInvalidateRelcache(rel);
}

/*
 * mdb_meta_take_pages - pages at the end of the file; under the allocation lock, too.
 */
int64
mdb_meta_take_pages(Relation rel, int64 npages)
{
	GenericXLogState *state;
	Buffer buf;
	MdbMeta *meta = meta_begin(rel, &state, &buf);
	int64 first = take_pages(rel, meta, state, buf, npages);

	meta_end(state, buf);
	return first;
}

/*
 * mdb_meta_skip_rows - give out no row numbers below next_row any more; called under the allocation lock.
 */
void
mdb_meta_skip_rows(Relation rel, int64 next_row)
{
	GenericXLogState *state;
	Buffer buf;
	MdbMeta *meta = meta_begin(rel, &state, &buf);

	meta->next_row = Min(Max(meta->next_row, next_row), meta->row_limit);
	meta_end(state, buf);
}

/*
 * mdb_meta_set_window - give out the row numbers from next_row to before row_limit from now on; called under the
 * allocation lock.
 */
void
mdb_meta_set_window(Relation rel, int64 next_row, int64 row_limit)
{
	GenericXLogState *state;
	Buffer buf;
	MdbMeta *meta = meta_begin(rel, &state, &buf);

	meta->next_row = next_row;
	meta->row_limit = row_limit;
	meta_end(state, buf);
}

/*
 * mdb_meta_reserve_series - take count consecutive series ids; returns the first.
 */
int64
mdb_meta_reserve_series(Relation rel, int64 count)
{
	GenericXLogState *state;
	Buffer buf;
	MdbMeta *meta = meta_begin(rel, &state, &buf);
	int64 first = meta->next_series;

	if (first + count > (int64) PG_UINT32_MAX)
	{
		GenericXLogAbort(state);
		UnlockReleaseBuffer(buf);
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("table \"%s\" has run out of series ids", RelationGetRelationName(rel)),
						errhint("Rewrite the table with VACUUM FULL.")));
	}
	meta->next_series = first + count;
	meta_end(state, buf);
	MDB_STOP("series.reserved");
	return first;
}

/*
 * mdb_meta_set_delta_slot - direct writers to another slot of the delta ring.
 */
void
mdb_meta_set_delta_slot(Relation rel, int16 slot)
{
	GenericXLogState *state;
	Buffer buf;
	MdbMeta *meta = meta_begin(rel, &state, &buf);

	meta->delta_slot = slot;
	meta_end(state, buf);
}

/*
 * mdb_meta_restart - begin a new incarnation of a file that was reset, with counters from where
 * nothing was handed out; see reset.c.
 */
void
mdb_meta_restart(Relation rel, const MdbMeta *values)
{
	GenericXLogState *state;
	Buffer buf;
	MdbMeta *meta = meta_begin(rel, &state, &buf);

	meta->incarnation = values->incarnation;
	meta->delta_slot = values->delta_slot;
	meta->next_part = values->next_part;
	meta->next_row = values->next_row;
	meta->row_limit = values->row_limit;
	meta->next_series = values->next_series;
	meta_end(state, buf);
}

/*
 * mdb_meta_lower_end - after the file was cut at next_page: pages from there on are unallocated.
 */
void
mdb_meta_lower_end(Relation rel, BlockNumber next_page)
{
	GenericXLogState *state;
	Buffer buf;
	MdbMeta *meta = meta_begin(rel, &state, &buf);

	if (next_page < meta->next_page)
		meta->next_page = next_page;
	meta_end(state, buf);
}

static MdbTable *
build_table(Relation rel, TupleDesc desc, MemoryContext mcxt)
{
	int natts = desc->natts;
	MdbTable *table;
	Buffer buf;
	MdbMeta *meta;
	Size size;
	int nseries;

	buf = ReadBuffer(rel, MDB_META_BLOCK);
	LockBuffer(buf, BUFFER_LOCK_SHARE);
	meta = palloc(BLCKSZ);
	memcpy(meta, meta_of_page(BufferGetPage(buf)), BLCKSZ - MAXALIGN(SizeOfPageHeaderData));
	UnlockReleaseBuffer(buf);
	meta_check(rel, meta);

	nseries = meta->nseries_columns;
	size = MAXALIGN(sizeof(MdbTable)) + MAXALIGN(sizeof(AttrNumber) * nseries) + sizeof(MdbColumn) * natts;
	table = MemoryContextAllocZero(mcxt, size);
	table->size = size;
	table->storage_id = meta->storage_id;
	table->incarnation = meta->incarnation;
	table->time_attno = meta->time_attno;
	table->nseries_columns = nseries;
	table->natts = natts;
	table->series_attnos = (AttrNumber *) ((char *) table + MAXALIGN(sizeof(MdbTable)));
	table->columns = (MdbColumn *) ((char *) table->series_attnos + MAXALIGN(sizeof(AttrNumber) * nseries));
	for (int i = 0; i < natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		MdbColumn *column = &table->columns[i];

		column->attlen = att->attlen;
		column->attbyval = att->attbyval;
		column->attalign = att->attalign;
		column->role = att->attisdropped ? MDB_ROLE_DROPPED : MDB_ROLE_VALUE;
		column->phys = att->attisdropped ? (att->attbyval ? MDB_I64 : MDB_BYTES) : mdb_phys(att);
		column->jsonb =
			!att->attisdropped && att->attlen == -1 &&
			(att->atttypid < FirstNormalObjectId ? att->atttypid : getBaseType(att->atttypid)) == JSONBOID;
	}
	for (int i = 0; i < nseries; i++)
	{
		if (meta->series_attnos[i] <= 0)
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
							errmsg("metapage of table \"%s\" is damaged", RelationGetRelationName(rel)),
							errhint("Restore the table from a backup.")));
		table->series_attnos[i] = meta->series_attnos[i];
		if (meta->series_attnos[i] <= natts &&
			table->columns[meta->series_attnos[i] - 1].role == MDB_ROLE_VALUE)
			table->columns[meta->series_attnos[i] - 1].role = MDB_ROLE_SERIES;
	}
	if (meta->time_attno > natts || (meta->time_attno > 0 && !table->columns[meta->time_attno - 1].attbyval))
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("metapage of table \"%s\" is damaged", RelationGetRelationName(rel)),
						errhint("Restore the table from a backup.")));
	if (meta->time_attno > 0)
	{
		/* The times stay with the parts when the column is dropped: they order the rows. */
		if (table->columns[meta->time_attno - 1].role == MDB_ROLE_VALUE)
		{
			table->columns[meta->time_attno - 1].role = MDB_ROLE_TIME;
			table->time_type = getBaseType(TupleDescAttr(desc, meta->time_attno - 1)->atttypid);
		}
		else
			table->time_type = TIMESTAMPTZOID;
	}
	pfree(meta);
	return table;
}

static MdbTable *
table_copy(const MdbTable *table, MemoryContext mcxt)
{
	MdbTable *copy = MemoryContextAlloc(mcxt, table->size);

	memcpy(copy, table, table->size);
	copy->series_attnos = (AttrNumber *) ((char *) copy + MAXALIGN(sizeof(MdbTable)));
	copy->columns =
		(MdbColumn *) ((char *) copy->series_attnos + MAXALIGN(sizeof(AttrNumber) * copy->nseries_columns));
	return copy;
}

/*
 * mdb_table_peek - what is known of a table, as cached: it may go with the next invalidation message
 * that is taken in, so look and go.
 */
const MdbTable *
mdb_table_peek(Relation rel)
{
	MdbTable *table;

	if (rel->rd_amcache == NULL)
	{
		table = build_table(rel, RelationGetDescr(rel), CurrentMemoryContext);
		/* Only a reset file may change under us: do not remember that one. */
		if (table->incarnation == 0)
			return table;
		rel->rd_amcache = table_copy(table, CacheMemoryContext);
		pfree(table);
	}
	return rel->rd_amcache;
}

/*
 * mdb_table - what the code needs to know about the table, from the relation's cache.
 *
 * The result is a copy in CurrentMemoryContext: the cached one may go at any invalidation.
 */
MdbTable *
mdb_table(Relation rel)
{
	return table_copy(mdb_table_peek(rel), CurrentMemoryContext);
}

/*
 * mdb_table_described - the same for another description of the columns than the relation's
 * present one: a rewrite reads the rows by the old types after the catalog has the new ones.
 */
MdbTable *
mdb_table_described(Relation rel, TupleDesc desc)
{
	return build_table(rel, desc, CurrentMemoryContext);
}
