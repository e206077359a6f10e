/*
 * decoding.c
 *	  Keeps the engine's own heaps, catalogs and deltas, out of logical decoding.
 *
 * They are ordinary tables, so a publication FOR ALL TABLES would send their rows: to a subscriber
 * that does not have them, where replication stops, or that has the extension, whose catalogs they
 * would spoil.  Decoding passes over tables with pg_class.relrewrite set, which are meant to be the
 * transient ones of a rewrite; nothing else in PostgreSQL looks at it.  Ours have their own OID there.
 *
 * The extension's script marks the catalogs, mdb_delta_register() each delta.  pg_upgrade does not
 * bring the mark along, so compaction looks for those that lack it.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "storage/lmgr.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "metricsdb.h"
#include "store/store.h"

/* Mark one table; returns its TOAST table. */
static Oid
mark(Relation pg_class, Oid relid)
{
	HeapTuple tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class form;
	Oid toast;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	form = (Form_pg_class) GETSTRUCT(tuple);
	toast = form->reltoastrelid;
	if (!OidIsValid(form->relrewrite))
	{
		form->relrewrite = relid;
		CatalogTupleUpdate(pg_class, &tuple->t_self, tuple);
	}
	heap_freetuple(tuple);
	return toast;
}

/* The TOAST table of a table, or InvalidOid. */
static Oid
toast_of(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid toast;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	toast = ((Form_pg_class) GETSTRUCT(tuple))->reltoastrelid;
	ReleaseSysCache(tuple);
	return toast;
}

/*
 * mdb_decoding_hide - logical decoding is to pass over this table.  The caller has a lock on it that
 * keeps VACUUM away, which changes rows of pg_class in their places; autovacuum may be at the TOAST table alone.
 */
void
mdb_decoding_hide(Oid relid)
{
	Relation pg_class = table_open(RelationRelationId, RowExclusiveLock);
	Oid toast = mark(pg_class, relid);

	if (OidIsValid(toast))
	{
		LockRelationOid(toast, ShareUpdateExclusiveLock);
		mark(pg_class, toast);
	}
	table_close(pg_class, RowExclusiveLock);
}

/*
 * mdb_decoding_hide_all - the same for all tables of the engine that are not marked.  Those that are
 * locked by others, or whose TOAST tables are, are left for the next time.
 */
void
mdb_decoding_hide_all(void)
{
	Oid nsp = get_namespace_oid(MDB_SCHEMA, true);
	Relation pg_class;
	SysScanDesc scan;
	HeapTuple tuple;
	List *relids = NIL;
	ListCell *lc;

	if (!OidIsValid(nsp))
		return;
	pg_class = table_open(RelationRelationId, AccessShareLock);
	scan = systable_beginscan(pg_class, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (form->relnamespace == nsp && form->relkind == RELKIND_RELATION && !OidIsValid(form->relrewrite))
			relids = lappend_oid(relids, form->oid);
	}
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
	foreach (lc, relids)
	{
		Oid toast;

		if (!ConditionalLockRelationOid(lfirst_oid(lc), ShareUpdateExclusiveLock))
			continue;
		/* Both, or none: the mark of the table says that its TOAST table has one. */
		toast = toast_of(lfirst_oid(lc));
		if (!OidIsValid(toast) || ConditionalLockRelationOid(toast, ShareUpdateExclusiveLock))
			mdb_decoding_hide(lfirst_oid(lc));
	}
}
