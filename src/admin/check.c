/*
 * check.c
 *	  metricsdb.check(): is all of a table as it must be?
 *
 * One row for each finding, none if all is well.  It reads everything there is: the catalogs, each
 * page of each part, each chunk, the dictionary, the deltas' heaps; and compares what is said twice.
 *
 * Invariants:
 *	1. It never stops at a finding.  Reads are guarded (store/fault.c), and what cannot be read is
 *	   one finding, in one place: a page that is bad is not reported again for each chunk on it.
 *	2. It writes nothing, locks the table like a SELECT, and works on standbys.
 *	3. A table that is written to, merged and vacuumed meanwhile has no findings for it.  Parts are
 *	   those of one snapshot, held to the end, so their pages stay; the metapage, whose counters only
 *	   rise, is read after the snapshot was taken, and the file's length before the metapage.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "admin/check.h"
#include "metricsdb.h"

PG_FUNCTION_INFO_V1(mdb_check_sql);

enum
{
	FOUND_SEVERITY,
	FOUND_KIND,
	FOUND_PART,
	FOUND_BLOCK,
	FOUND_COLUMN,
	FOUND_PAGE,
	FOUND_MESSAGE,
	FOUND_COLUMNS
};

/*
 * mdb_check_found - add a finding to the result.
 */
void
mdb_check_found(MdbCheck *c, const char *severity, const char *kind, MdbPlace at, const char *fmt, ...)
{
	TupleDesc desc = RelationGetDescr(c->rel);
	Datum v[FOUND_COLUMNS] = {0};
	bool n[FOUND_COLUMNS] = {0};
	StringInfoData text;

	initStringInfo(&text);
	for (;;)
	{
		va_list args;
		int needed;

		va_start(args, fmt);
		needed = appendStringInfoVA(&text, fmt, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&text, needed);
	}
	v[FOUND_SEVERITY] = CStringGetTextDatum(severity);
	v[FOUND_KIND] = CStringGetTextDatum(kind);
	v[FOUND_PART] = Int64GetDatum(at.part);
	n[FOUND_PART] = at.part == 0;
	v[FOUND_BLOCK] = Int32GetDatum(at.block);
	n[FOUND_BLOCK] = at.block < 0;
	n[FOUND_COLUMN] =
		at.attno <= 0 || at.attno > desc->natts || TupleDescAttr(desc, at.attno - 1)->attisdropped;
	if (!n[FOUND_COLUMN])
		v[FOUND_COLUMN] = NameGetDatum(&TupleDescAttr(desc, at.attno - 1)->attname);
	v[FOUND_PAGE] = Int64GetDatum(at.page);
	n[FOUND_PAGE] = at.page == 0;
	v[FOUND_MESSAGE] = CStringGetTextDatum(text.data);
	tuplestore_putvalues(c->rsinfo->setResult, c->rsinfo->setDesc, v, n);
	pfree(text.data);
}

/* The table, for its owner and superusers alone: findings tell of rows that policies may hide. */
static Relation
open_checked(Oid relid)
{
	char *name = get_rel_name(relid);
	Relation rel;

	if (name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table with OID %u does not exist", relid)));
	if (!mdb_owns_table(relid))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)), name);
	rel = relation_open(relid, AccessShareLock);
	if (!mdb_is_metricsdb(rel))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a metricsdb table", name),
				 rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE
					 ? errhint("Ask about its partitions: SELECT relid, c.* FROM pg_partition_tree('%s') "
							   "CROSS JOIN LATERAL metricsdb.check(relid) c WHERE isleaf.",
							   name)
					 : 0));
	if (RELATION_IS_OTHER_TEMP(rel))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot access temporary tables of other sessions")));
	return rel;
}

static void
read_metapage(void *arg)
{
	MdbCheck *c = arg;

	c->table = mdb_table(c->rel);
	mdb_meta_read(c->rel, &c->meta);
}

static void
read_parts(void *arg)
{
	MdbCheck *c = arg;

	mdb_check_catalog(c);
}

static void
check_table(MdbCheck *c, bool decode, bool list_free)
{
	BlockNumber npages;
	ErrorData *error;
	int n = 0;

	error = mdb_guard(read_metapage, c);
	if (error)
	{
		mdb_check_found(c, "error", "metapage", MDB_PLACE_TABLE, "The metapage cannot be read: %s.",
						error->message);
		return;
	}
	c->snapshot = RegisterSnapshot(GetLatestSnapshot());
	npages = RelationGetNumberOfBlocks(c->rel);
	mdb_meta_read(c->rel, &c->meta);

	mdb_check_series(c);
	mdb_check_postings(c);
	c->retention = mdb_retention_load(c->rel);
	if (c->retention && c->retention->nclasses > 0 && !c->dictionary_damaged &&
		mdb_retention_column(c->rel, c->table) != 0)
		c->classifier = mdb_classifier(c->rel, c->table, c->retention);
	error = mdb_guard(read_parts, c);
	if (error)
		mdb_check_found(c, "error", "catalog", MDB_PLACE_TABLE, "metricsdb.part cannot be read: %s.",
						error->message);
	/* While the list has all parts, also those that are damaged. */
	mdb_check_pending(c);
	if (c->list)
	{
		/* Those that cannot be true were reported, and nothing more is to be had from them. */
		for (int i = 0; i < c->list->count; i++)
			if (mdb_part_implausible(&c->list->parts[i]) == NULL &&
				c->list->parts[i].incarnation == c->table->incarnation)
				c->list->parts[n++] = c->list->parts[i];
		c->list->count = n;
		mdb_check_overlaps(c);
		for (int i = 0; i < c->list->count; i++)
		{
			MemoryContext old = MemoryContextSwitchTo(c->tmp);
			Bitmapset *bad;

			CHECK_FOR_INTERRUPTS();
			bad = mdb_check_pages(c, &c->list->parts[i]);
			mdb_check_part(c, &c->list->parts[i], bad, decode);
			MemoryContextSwitchTo(old);
			MemoryContextReset(c->tmp);
		}
	}
	mdb_check_file(c, npages, list_free);
	mdb_check_delta(c);
	mdb_check_shadows(c);
	UnregisterSnapshot(c->snapshot);
}

/*
 * mdb_check_sql - metricsdb.check("table" regclass, decode bool, free bool): a row for each finding.
 *
 * decode: also decode every block, else only pages and directories are read.  free: also list the
 * pages that are free.  Raises ERRCODE_INSUFFICIENT_PRIVILEGE, ERRCODE_WRONG_OBJECT_TYPE or
 * ERRCODE_UNDEFINED_TABLE; damage is a finding, not an error.
 */
Datum
mdb_check_sql(PG_FUNCTION_ARGS)
{
	MdbCheck c = {0};
	bool decode, list_free;

	/* No rows would look like a table in good order. */
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("arguments of metricsdb.check() must not be NULL")));
	decode = PG_GETARG_BOOL(1);
	list_free = PG_GETARG_BOOL(2);
	c.rel = open_checked(PG_GETARG_OID(0));
	c.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	InitMaterializedSRF(fcinfo, 0);
	c.tmp = AllocSetContextCreate(CurrentMemoryContext, "metricsdb check", ALLOCSET_DEFAULT_SIZES);
	check_table(&c, decode, list_free);
	MemoryContextDelete(c.tmp);
	relation_close(c.rel, AccessShareLock);
	return (Datum) 0;
}
