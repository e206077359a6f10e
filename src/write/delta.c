/*
 * delta.c
 *	  The delta: ordinary heaps that take the writes too small for a part.
 *
 * A storage has up to MDB_DELTA_SLOTS heaps.  A row is one column of bytes in them (a minimal tuple
 * without its length), so that a heap outlives ADD and DROP COLUMN just as heap tuples do.  One
 * slot, named by the metapage, is written to; every live slot is read.
 *
 * The slot MDB_ROWS_SLOT, the row heap, is made with the table and lives as long.  It takes the
 * writes of a table that has not been compacted yet, the new versions of rows of parts, and the
 * shadows by which these are deleted and locked (shadow.c).  The others are a ring that compaction
 * makes and directs writers to: their rows move to parts by whole heaps.
 *
 * Invariants:
 *	1. A writer locks the heap (RowExclusiveLock, to the end of its transaction) and then looks
 *	   again whether it is still the slot to write to.  So once the slot has been switched and a
 *	   ShareLock on the old heap was got, no more rows can come into it.
 *	2. A slot is live in metricsdb.delta before the metapage names it, and stays so until its
 *	   rows have moved into parts, in the transaction that inserts those parts.
 *	3. A heap is truncated only when no snapshot can see it live with rows in it.
 *
 * The heaps belong to the extension (pg_dump does not see them) and to the bootstrap superuser:
 * nobody gets at rows but through the table.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/toast_internals.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/heap.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_tablespace.h"
#include "catalog/pg_type.h"
#include "catalog/toasting.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "metricsdb.h"
#include "stop.h"
#include "write/write.h"

/*
 * The index that keeps line pointers of a delta heap from being taken again while an index of the
 * table still names them, and those updates from being HOT that must not be; see src/am/proxy.c.
 */
static void
create_proxy_index(Oid relid, const char *heap_name)
{
	Relation heap = table_open(relid, ShareLock);
	IndexInfo *info = makeNode(IndexInfo);
	Oid am = get_index_am_oid(MDB_PROXY_AM_NAME, false);
	char name[NAMEDATALEN];
	Oid opclass = GetDefaultOpClass(INT8OID, am);

	if (!OidIsValid(opclass))
		elog(ERROR, "access method \"%s\" has no operator class", MDB_PROXY_AM_NAME);
	info->ii_NumIndexAttrs = 1;
	info->ii_NumIndexKeyAttrs = 1;
	info->ii_IndexAttrNumbers[0] = Anum_delta_version;
	info->ii_ReadyForInserts = true;
	info->ii_Am = am;
	info->ii_Context = CurrentMemoryContext;
	snprintf(name, sizeof(name), "%s_proxy", heap_name);
	mdb_index_create(heap, name, info, list_make1("version"), am, heap->rd_rel->reltablespace, opclass);
	table_close(heap, NoLock);
	CommandCounterIncrement();
}

/*
 * mdb_delta_create - make the heap of a slot and register it as live.
 *
 * Temporary ones live in the session's temporary schema: elsewhere autovacuum would take them for
 * what a crashed session left and drop them.  DISCARD and the end of the session drop what is in it
 * by falling OID, so the heap, which is always younger, goes before the table that it belongs to,
 * and is not looked for any more when that goes.
 */
Oid
mdb_delta_create(Relation rel, char persistence, int64 storage_id, int16 slot)
{
	char name[NAMEDATALEN];
	TupleDesc desc = CreateTemplateTupleDesc(Natts_delta_row);
	Oid nsp = persistence == RELPERSISTENCE_TEMP ? LookupCreationNamespace("pg_temp")
												 : get_namespace_oid(MDB_SCHEMA, false);
	Oid relid;
	ObjectAddress delta;
	ObjectAddress extension;

	TupleDescInitEntry(desc, Anum_delta_row, "row", BYTEAOID, -1, 0);
	TupleDescInitEntry(desc, Anum_delta_shadow, "shadow", INT8OID, -1, 0);
	TupleDescInitEntry(desc, Anum_delta_version, "version", INT8OID, -1, 0);
	snprintf(name, sizeof(name), "delta_%lld_%d", (long long) storage_id, slot);
	relid = heap_create_with_catalog(name, nsp, rel->rd_rel->reltablespace, InvalidOid, InvalidOid,
									 InvalidOid, BOOTSTRAP_SUPERUSERID, HEAP_TABLE_AM_OID, desc, NIL,
									 RELKIND_RELATION, persistence, false, false, ONCOMMIT_NOOP, (Datum) 0,
									 false, true, true, InvalidOid, NULL);
	CommandCounterIncrement();
	NewRelationCreateToastTable(relid, (Datum) 0);
	MDB_STOP("delta.created");
	/* The index is refused to heaps that are not registered. */
	mdb_delta_register(storage_id, slot, relid);
	CommandCounterIncrement();
	create_proxy_index(relid, name);

	if (persistence != RELPERSISTENCE_TEMP)
	{
		ObjectAddressSet(delta, RelationRelationId, relid);
		ObjectAddressSet(extension, ExtensionRelationId, get_extension_oid(MDB_EXTENSION, false));
		recordDependencyOn(&delta, &extension, DEPENDENCY_EXTENSION);
	}
	CommandCounterIncrement();
	return relid;
}

/*
 * mdb_delta_identify - which storage and slot a delta heap is for; false if it is none.
 *
 * Its name says where to look in the catalog, and no more than that: anybody can give a table of his that name.
 */
bool
mdb_delta_identify(Relation delta, int64 *storage_id, int16 *slot)
{
	long long id;
	int n;
	MdbDeltaInfo *deltas;
	int count;
	Snapshot snapshot;
	bool found = false;

	if (sscanf(RelationGetRelationName(delta), "delta_%lld_%d", &id, &n) != 2 ||
		!OidIsValid(mdb_catalog_relid("delta", true)))
		return false;
	snapshot = mdb_latest_snapshot();
	mdb_delta_list(id, snapshot, &deltas, &count);
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < count && !found; i++)
		found = deltas[i].slot == n && deltas[i].relid == RelationGetRelid(delta);
	pfree(deltas);
	*storage_id = id;
	*slot = (int16) n;
	return found;
}

/*
 * mdb_delta_drop_all - drop the heaps of a storage; the catalog's rows are the caller's.
 *
 * What somebody has made of them (a view needs no more than to know their name) goes with them, with a notice: it
 * must not keep others from dropping, emptying or rewriting their tables.
 */
void
mdb_delta_drop_all(int64 storage_id)
{
	MdbDeltaInfo *deltas;
	int count;
	Snapshot snapshot;

	if (!OidIsValid(mdb_catalog_relid("delta", true)))
		return;
	snapshot = mdb_latest_snapshot();
	mdb_delta_list(storage_id, snapshot, &deltas, &count);
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < count; i++)
	{
		ObjectAddress address;

		/* It is gone already where the whole extension is being dropped. */
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(deltas[i].relid)))
			continue;
		ObjectAddressSet(address, RelationRelationId, deltas[i].relid);
		performDeletion(&address, DROP_CASCADE, PERFORM_DELETION_INTERNAL | PERFORM_DELETION_SKIP_EXTENSIONS);
	}
}

static void
context_is_gone(void *arg)
{
	*(MemoryContext *) arg = NULL;
}

/*
 * mdb_row_context - a memory context for one row at a time, empty; *kept is where it is remembered, to the end of
 * the transaction.  A session does not keep what its largest row has taken.
 */
MemoryContext
mdb_row_context(MemoryContext *kept)
{
	if (*kept == NULL)
	{
		MemoryContextCallback *callback;

		*kept = AllocSetContextCreate(TopTransactionContext, "metricsdb row", ALLOCSET_DEFAULT_SIZES);
		callback = MemoryContextAlloc(TopTransactionContext, sizeof(MemoryContextCallback));
		callback->func = context_is_gone;
		callback->arg = kept;
		/* Not its own, which would be called when it is reset. */
		MemoryContextRegisterResetCallback(TopTransactionContext, callback);
	}
	MemoryContextReset(*kept);
	return *kept;
}

/*
 * mdb_delta_form - a row as a minimal tuple that needs no other table's TOAST.
 */
MinimalTuple
mdb_delta_form(TupleDesc desc, const Datum *values, const bool *isnull)
{
	Datum *flat = NULL;
	MinimalTuple tuple;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (isnull[i] || att->attlen != -1 || !VARATT_IS_EXTERNAL(DatumGetPointer(values[i])))
			continue;
		if (flat == NULL)
		{
			flat = palloc(sizeof(Datum) * desc->natts);
			memcpy(flat, values, sizeof(Datum) * desc->natts);
		}
		flat[i] = PointerGetDatum(detoast_external_attr((struct varlena *) DatumGetPointer(values[i])));
	}
	tuple = mdb_form_minimal_tuple(desc, flat ? flat : (Datum *) values, (bool *) isnull, 0);
	if (flat)
		pfree(flat);
	return tuple;
}

/*
 * mdb_delta_bytes - a row's bytes as a datum for the first column, in CurrentMemoryContext.
 */
Datum
mdb_delta_bytes(MinimalTuple tuple)
{
	Size len = tuple->t_len - MINIMAL_TUPLE_DATA_OFFSET;
	bytea *b = palloc(VARHDRSZ + len);

	SET_VARSIZE(b, VARHDRSZ + len);
	memcpy(VARDATA(b), (char *) tuple + MINIMAL_TUPLE_DATA_OFFSET, len);
	return PointerGetDatum(b);
}

/*
 * mdb_delta_heap_tuple - a row as a tuple to insert into a delta heap, in CurrentMemoryContext.
 */
HeapTuple
mdb_delta_heap_tuple(Relation delta, MinimalTuple tuple)
{
	Datum values[Natts_delta_row] = {0};
	bool isnull[Natts_delta_row] = {false, true, true};
	HeapTuple result;

	values[Anum_delta_row - 1] = mdb_delta_bytes(tuple);
	result = heap_form_tuple(RelationGetDescr(delta), values, isnull);
	pfree(DatumGetPointer(values[Anum_delta_row - 1]));
	return result;
}

/*
 * mdb_delta_tuple - the row in a slot that holds a tuple of a delta heap, in CurrentMemoryContext;
 * NULL if it is a shadow.
 */
MinimalTuple
mdb_delta_tuple(TupleTableSlot *heapslot)
{
	bool isnull;
	Datum d = slot_getattr(heapslot, Anum_delta_row, &isnull);

	return isnull ? NULL : mdb_delta_row(d);
}

/*
 * mdb_delta_row - a row from its bytes, in CurrentMemoryContext.
 */
MinimalTuple
mdb_delta_row(Datum d)
{
	bytea *b = DatumGetByteaPP(d);
	Size len = VARSIZE_ANY_EXHDR(b);
	MinimalTuple tuple = palloc(MINIMAL_TUPLE_DATA_OFFSET + len);

	tuple->t_len = MINIMAL_TUPLE_DATA_OFFSET + len;
	memcpy((char *) tuple + MINIMAL_TUPLE_DATA_OFFSET, VARDATA_ANY(b), len);
	if ((Pointer) b != DatumGetPointer(d))
		pfree(b);
	return tuple;
}

/*
 * mdb_delta_relid - the heap of a slot, live or not: looked up in the catalog, the last answer
 * remembered.
 */
Oid
mdb_delta_relid(int64 storage_id, int16 slot)
{
	static int64 last_storage = 0;
	static int16 last_slot;
	static Oid last_relid;
	MdbDeltaInfo *deltas;
	int count;
	Snapshot snapshot;

	if (last_storage == storage_id && last_slot == slot)
		return last_relid;
	snapshot = mdb_latest_snapshot();
	mdb_delta_list(storage_id, snapshot, &deltas, &count);
	UnregisterSnapshot(snapshot);
	for (int i = 0; i < count; i++)
	{
		if (deltas[i].slot != slot)
			continue;
		last_storage = storage_id;
		last_slot = slot;
		last_relid = deltas[i].relid;
		pfree(deltas);
		return last_relid;
	}
	elog(ERROR, "slot %d of the delta of storage %lld is not in the catalog", slot, (long long) storage_id);
	return InvalidOid;
}

/*
 * mdb_delta_open_for_write - open the heap to write to, under the first invariant, with a lock for
 * the rest of the transaction.  Its slot comes back in *written.
 */
Relation
mdb_delta_open_for_write(Relation rel, const MdbTable *table, int16 *written)
{
	mdb_storage_revive(rel);
	for (;;)
	{
		MdbMeta meta;
		int16 slot;
		Oid relid;

		mdb_meta_read(rel, &meta);
		slot = meta.delta_slot;
		relid = mdb_delta_relid(table->storage_id, slot);
		if (!ConditionalLockRelationOid(relid, RowExclusiveLock))
		{
			/* Compaction has it for long if the slot was switched since we looked: do not wait then. */
			mdb_meta_read(rel, &meta);
			if (meta.delta_slot != slot)
				continue;
			LockRelationOid(relid, RowExclusiveLock);
		}
		mdb_meta_read(rel, &meta);
		if (meta.delta_slot == slot)
		{
			*written = slot;
			return table_open(relid, NoLock);
		}
		UnlockRelationOid(relid, RowExclusiveLock);
	}
}

/*
 * mdb_delta_check - what enters the delta must be fit to leave it: keys that the dictionary would refuse are refused
 * here.  Only a large tuple can hold one, even compressed.
 */
#define LARGE_TUPLE (MDB_KEY_MAX / 512)

void
mdb_delta_check(Relation rel, const MdbTable *table, MinimalTuple tuple)
{
	TupleTableSlot *slot;
	uint64 len = 0;

	if (tuple->t_len < LARGE_TUPLE)
		return;
	slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
	ExecStoreMinimalTuple(tuple, slot, false);
	slot_getallattrs(slot);
	for (int i = 0; i < table->nseries_columns; i++)
	{
		AttrNumber attno = table->series_attnos[i];

		if (table->columns[attno - 1].attlen == -1 && !slot->tts_isnull[attno - 1])
			len += toast_raw_datum_size(slot->tts_values[attno - 1]);
	}
	ExecDropSingleTupleTableSlot(slot);
	/* with room for what is not counted: headers, short columns */
	if (len + 65536 > MDB_KEY_MAX)
		mdb_key_too_long(rel, len);
}

/*
 * mdb_delta_insert - put rows into the delta, as of command cid.
 */
void
mdb_delta_insert(Relation rel, const MdbTable *table, MinimalTuple *tuples, int ntuples, CommandId cid,
				 int options)
{
	Relation delta;
	int16 slot;
	MemoryContext tmp;
	MemoryContext old;

	if (ntuples == 0)
		return;
	for (int i = 0; i < ntuples; i++)
		mdb_delta_check(rel, table, tuples[i]);
	delta = mdb_delta_open_for_write(rel, table, &slot);
	MDB_STOP("delta.before");
	tmp = AllocSetContextCreate(CurrentMemoryContext, "metricsdb delta insert", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(tmp);
	if (ntuples == 1)
	{
		heap_insert(delta, mdb_delta_heap_tuple(delta, tuples[0]), cid, options, NULL);
	}
	else
	{
#define DELTA_BATCH 100
		TupleTableSlot *slots[DELTA_BATCH];
		BulkInsertState bistate = GetBulkInsertState();

		for (int i = 0; i < Min(ntuples, DELTA_BATCH); i++)
			slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(delta), &TTSOpsHeapTuple);
		for (int at = 0; at < ntuples; at += DELTA_BATCH)
		{
			int n = Min(DELTA_BATCH, ntuples - at);

			CHECK_FOR_INTERRUPTS();
			for (int i = 0; i < n; i++)
			{
				ExecStoreHeapTuple(mdb_delta_heap_tuple(delta, tuples[at + i]), slots[i], true);
			}
			heap_multi_insert(delta, slots, n, cid, options, bistate);
		}
		for (int i = 0; i < Min(ntuples, DELTA_BATCH); i++)
			ExecDropSingleTupleTableSlot(slots[i]);
		FreeBulkInsertState(bistate);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(tmp);
	MDB_STOP("delta.after");
	table_close(delta, NoLock);
}

/*
 * mdb_delta_insert_batch - put some rows of a batch into the delta.
 */
void
mdb_delta_insert_batch(Relation rel, const MdbTable *table, MdbDict *dict, const MdbBatch *batch,
					   const uint32 *rows, uint32 n, CommandId cid, int options)
{
	TupleDesc desc = RelationGetDescr(rel);
	MinimalTuple *tuples = palloc(sizeof(MinimalTuple) * n);
	Datum *values = palloc(sizeof(Datum) * desc->natts);
	bool *isnull = palloc(sizeof(bool) * desc->natts);

	for (uint32 i = 0; i < n; i++)
	{
		uint32 row = rows[i];
		uint32 len;
		const char *key;

		memset(isnull, true, desc->natts);
		if (table->nseries_columns > 0)
		{
			key = mdb_dict_key(dict, batch->series[row], GetActiveSnapshot(), &len);
			mdb_key_decode(table, key, len, values, isnull);
		}
		if (table->time_attno > 0 && table->columns[table->time_attno - 1].role == MDB_ROLE_TIME &&
			!(batch->time_nulls && batch->time_nulls[row]))
		{
			isnull[table->time_attno - 1] = false;
			values[table->time_attno - 1] = mdb_time_datum(table, batch->times[row]);
		}
		for (int c = 0; c < batch->ncolumns; c++)
		{
			MdbVector *vec = &batch->columns[c];

			isnull[vec->attno - 1] = vec->nulls != NULL && vec->nulls[row];
			if (!isnull[vec->attno - 1])
				values[vec->attno - 1] = mdb_vector_datum(vec, &table->columns[vec->attno - 1], row);
		}
		tuples[i] = mdb_delta_form(desc, values, isnull);
	}
	mdb_delta_insert(rel, table, tuples, n, cid, options);
}

/*
 * mdb_delta_live - the heaps that a scan under this snapshot must read: at most 2 *
 * MDB_DELTA_SLOTS.
 *
 * Those it sees live, and those live by now: its own transaction may have written to one that
 * became live after the snapshot was taken.
 */
void
mdb_delta_live(const MdbTable *table, Snapshot snapshot, MdbDeltaInfo **live, int *count)
{
	MdbDeltaInfo *deltas;
	int n;
	Snapshot snapshots[2];

	*live = palloc(sizeof(MdbDeltaInfo) * 2 * MDB_DELTA_SLOTS);
	*count = 0;
	snapshots[0] = snapshot;
	snapshots[1] = mdb_latest_snapshot();
	for (int s = 0; s < 2; s++)
	{
		if (snapshots[s]->snapshot_type != SNAPSHOT_MVCC)
			continue;
		mdb_delta_list(table->storage_id, snapshots[s], &deltas, &n);
		for (int i = 0; i < n; i++)
		{
			bool seen = false;

			for (int k = 0; k < *count; k++)
				seen |= (*live)[k].relid == deltas[i].relid;
			if (!seen && deltas[i].live && *count < 2 * MDB_DELTA_SLOTS)
				(*live)[(*count)++] = deltas[i];
		}
		pfree(deltas);
	}
	UnregisterSnapshot(snapshots[1]);
}
