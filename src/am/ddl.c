/*
 * ddl.c
 *	  Files come and go: CREATE, TRUNCATE, rewrites, SET TABLESPACE, DROP.
 *
 * A new file is a new storage with an id of its own.  The old one's rows in the catalogs are
 * deleted by the same transaction that gives the table its new file, so a rollback restores
 * both.  A rewrite fills a transient table and swaps files: as everything is keyed by the id in
 * the metapage, nothing needs to be renamed, and dropping the transient table drops the old
 * storage.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/multixact.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/heap.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "catalog/storage.h"
#include "catalog/storage_xlog.h"
#include "commands/event_trigger.h"
#include "commands/tablecmds.h"
#include "commands/tablespace.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "am/am.h"
#include "stop.h"

MdbRolesHook mdb_roles_hook = NULL;

/* Kinds of columns that identify a series rather than measure something. */
static bool
is_series_type(Form_pg_attribute att)
{
	Oid base = getBaseType(att->atttypid);
	char category;
	bool preferred;

	switch (base)
	{
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
		case JSONBOID:
		case UUIDOID:
		case BOOLOID:
		case INETOID:
		case CIDROID:
		case MACADDROID:
			return true;
	}
	if (get_typtype(base) == TYPTYPE_ENUM)
		return true;
	get_type_category_preferred(base, &category, &preferred);
	return category == TYPCATEGORY_STRING && base != CHAROID;
}

/*
 * mdb_infer_roles - what the columns are for, where nobody said.
 *
 * The first timestamptz, else timestamp, else date is the time.  With a time column, text-like,
 * jsonb, uuid, boolean and enum columns are the series; without one nothing is, and the table is
 * a columnar table of values.
 */
void
mdb_infer_roles(TupleDesc desc, MdbRoles *roles)
{
	static const Oid time_types[] = {TIMESTAMPTZOID, TIMESTAMPOID, DATEOID};

	roles->time_attno = 0;
	for (int t = 0; t < (int) lengthof(time_types) && roles->time_attno == 0; t++)
		for (int i = 0; i < desc->natts && roles->time_attno == 0; i++)
		{
			Form_pg_attribute att = TupleDescAttr(desc, i);

			if (!att->attisdropped && !att->attgenerated && getBaseType(att->atttypid) == time_types[t])
				roles->time_attno = i + 1;
		}
	mdb_infer_series(desc, roles);
}

/*
 * mdb_infer_series - the same for the series columns, where the time column is known.
 */
void
mdb_infer_series(TupleDesc desc, MdbRoles *roles)
{
	roles->nseries_columns = 0;
	if (roles->time_attno == 0)
		return;
	for (int i = 0; i < desc->natts && roles->nseries_columns < MDB_MAX_SERIES_COLUMNS; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && is_series_type(att))
			roles->series_attnos[roles->nseries_columns++] = i + 1;
	}
}

typedef struct Reading
{
	Relation rel;
	MdbMeta meta;
} Reading;

static void
read_meta(void *arg)
{
	Reading *r = arg;

	mdb_meta_read(r->rel, &r->meta);
}

/*
 * The storage that the file of a table is, or 0 if it is not known.
 *
 * A table whose file cannot be read must go all the same: then the catalog knows.  But not of what a rewrite has
 * swapped: for whom a file was made is not whose it is then.
 */
static int64
storage_of(Relation rel)
{
	Reading r = {.rel = rel};
	ErrorData *error;

	/* Who cleans up after a temporary table of another session, or of before a crash, has no file. */
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP &&
		(RELATION_IS_OTHER_TEMP(rel) || !smgrexists(RelationGetSmgr(rel), MAIN_FORKNUM) ||
		 RelationGetNumberOfBlocks(rel) == 0))
		return mdb_storage_find(RelationGetRelid(rel));
	error = mdb_guard(read_meta, &r);
	if (error == NULL)
		return r.meta.storage_id;
	if (rel->rd_createSubid != InvalidSubTransactionId)
		ReThrowError(error);
	ereport(WARNING, (errcode(ERRCODE_DATA_CORRUPTED),
					  errmsg("the file of table \"%s\" cannot be read", RelationGetRelationName(rel)),
					  errdetail("%s", error->message),
					  errhint("What belongs to the table is removed by the catalogs.")));
	FreeErrorData(error);
	return mdb_storage_find(RelationGetRelid(rel));
}

/*
 * mdb_drop_storage - the table's file is about to go: forget its parts, dictionary and deltas.
 *
 * A rewrite has swapped the files of the table and of a transient one, which is then dropped.
 * What was made for the transient one belongs to the table from there on.
 */
void
mdb_drop_storage(Relation rel)
{
	int64 storage_id;
	Oid owner;

	mdb_buffer_discard(RelationGetRelid(rel));
	if (!OidIsValid(mdb_catalog_relid("storage", true)))
		return;
	storage_id = storage_of(rel);
	if (storage_id == 0)
		return;
	owner = mdb_storage_relid(storage_id);
	if (OidIsValid(owner) && owner != RelationGetRelid(rel))
		mdb_feeds_rewritten(rel, owner);
	MDB_STOP("drop.before");
	mdb_delta_drop_all(storage_id);
	MDB_STOP("drop.deltas");
	mdb_storage_forget(storage_id);
	MDB_STOP("drop.after");
	if (OidIsValid(owner) && owner != RelationGetRelid(rel))
		mdb_storage_adopt(RelationGetRelid(rel), owner);
}

/*
 * mdb_storage_adopt - what was made for one table belongs to another.
 */
void
mdb_storage_adopt(Oid from, Oid to)
{
	int64 storage_id = mdb_storage_find(from);

	if (storage_id == 0)
		return;
	mdb_storage_set_relid(storage_id, to);
	CommandCounterIncrement();
}

/* The new file is not because the rows of the old one are to go. */
static bool renewing = false;

/*
 * mdb_renew_file - an empty table gets a new file, to which other roles may apply.  No TRUNCATE: continuous aggregates
 * keep what they have taken.
 */
void
mdb_renew_file(Relation rel)
{
	renewing = true;
	PG_TRY();
	{
		mdb_new_file(rel);
	}
	PG_FINALLY();
	{
		renewing = false;
	}
	PG_END_TRY();
}

/*
 * mdb_set_new_filelocator - a table gets a new, empty file.
 */
void
mdb_set_new_filelocator(Relation rel, const MdbRelFile *file, char persistence, TransactionId *freezeXid,
						MultiXactId *minmulti)
{
	MdbRoles *roles = palloc(sizeof(MdbRoles));
	int64 storage_id;

	/* The file holds no transaction ids; catalogs and deltas are heaps that are frozen as such. */
	*freezeXid = InvalidTransactionId;
	*minmulti = InvalidMultiXactId;

	if (!mdb_rel_file_equals(mdb_rel_file(rel), *file))
	{
		mdb_drop_storage(rel);
		if (!renewing)
			mdb_feeds_truncated(rel);
		MDB_STOP("file.old_dropped");
	}

	if (mdb_roles_hook == NULL || !mdb_roles_hook(rel, roles))
		mdb_infer_roles(RelationGetDescr(rel), roles);
	storage_id = IsBinaryUpgrade ? 0 : mdb_storage_new_id();
	mdb_meta_create(rel, file, persistence, storage_id, roles);
	MDB_STOP("file.metapage");
	pfree(roles);
	/* pg_upgrade brings the catalogs' and the deltas' files along with the table's. */
	if (IsBinaryUpgrade)
		return;
	mdb_storage_register(storage_id, RelationGetRelid(rel), GetCurrentCommandId(true));
	MDB_STOP("file.registered");
	mdb_delta_create(rel, persistence, storage_id, MDB_ROWS_SLOT);
	MDB_STOP("file.delta");
}

/*
 * mdb_nontransactional_truncate - empty a file that no other transaction has ever seen.
 *
 * The dictionary stays: what processes remember of it must remain true for the storage.
 */
void
mdb_nontransactional_truncate(Relation rel)
{
	MdbTable *table = mdb_table(rel);
	MdbDeltaInfo *deltas;
	int ndeltas;
	Snapshot snapshot;
	MdbPartList *list;

	mdb_buffer_discard(RelationGetRelid(rel));
	CommandCounterIncrement();
	mdb_catalog_keep("part");
	snapshot = mdb_latest_snapshot();
	list = mdb_parts_visible(table, snapshot);
	for (int i = 0; i < list->count; i++)
		mdb_part_delete(&list->parts[i]);
	mdb_delta_list(table->storage_id, snapshot, &deltas, &ndeltas);
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < ndeltas; i++)
	{
		Relation delta = table_open(deltas[i].relid, AccessExclusiveLock);

		heap_truncate_one_rel(delta);
		MDB_STOP("file.emptied");
		table_close(delta, NoLock);
	}
	mdb_shadows_forget(table->storage_id);
	mdb_catalog_delete("pending", table->storage_id);
	CommandCounterIncrement();
	mdb_feeds_truncated(rel);
}

/*
 * The heaps of the delta go where the table goes: else its old tablespace could not be dropped.
 *
 * They are the bootstrap superuser's, so his rights are borrowed; what the user may do was checked
 * for the table.  Event triggers hear of the table alone.
 */
static void
move_deltas(Relation rel, Oid tablespace)
{
	AlterTableCmd *cmd = makeNode(AlterTableCmd);
	Snapshot snapshot = mdb_latest_snapshot();
	MdbDeltaInfo *deltas;
	int ndeltas;
	Oid user;
	int context;

	mdb_delta_list(mdb_table(rel)->storage_id, snapshot, &deltas, &ndeltas);
	UnregisterSnapshot(snapshot);
	cmd->subtype = AT_SetTableSpace;
	cmd->name = get_tablespace_name(tablespace);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	EventTriggerInhibitCommandCollection();
	PG_TRY();
	{
		for (int i = 0; i < ndeltas; i++)
		{
			Relation delta = table_open(deltas[i].relid, AccessExclusiveLock);
			List *relids = lcons_oid(deltas[i].relid, list_copy(RelationGetIndexList(delta)));
			ListCell *lc;

			table_close(delta, NoLock);
			foreach (lc, relids)
				AlterTableInternal(lfirst_oid(lc), list_make1(cmd), false);
		}
	}
	PG_FINALLY();
	{
		EventTriggerUndoInhibitCommandCollection();
	}
	PG_END_TRY();
	SetUserIdAndSecContext(user, context);
}

/*
 * mdb_copy_data - the file moves, byte by byte, and the delta with it (SET TABLESPACE).
 */
void
mdb_copy_data(Relation rel, const MdbRelFile *file)
{
	SMgrRelation dst;

	FlushRelationBuffers(rel);
	dst = RelationCreateStorage(*file, rel->rd_rel->relpersistence, true);
	RelationCopyStorage(RelationGetSmgr(rel), dst, MAIN_FORKNUM, rel->rd_rel->relpersistence);
	for (ForkNumber fork = MAIN_FORKNUM + 1; fork <= MAX_FORKNUM; fork++)
	{
		if (!smgrexists(RelationGetSmgr(rel), fork))
			continue;
		smgrcreate(dst, fork, false);
		if (RelationIsPermanent(rel) ||
			(rel->rd_rel->relpersistence == RELPERSISTENCE_UNLOGGED && fork == INIT_FORKNUM))
			log_smgrcreate(file, fork);
		RelationCopyStorage(RelationGetSmgr(rel), dst, fork, rel->rd_rel->relpersistence);
	}
	MDB_STOP("file.copied");
	RelationDropStorage(rel);
	smgrclose(dst);
	move_deltas(rel, mdb_rel_file_space(*file));
}
