/*
 * distribute.c
 *	  distribute() and undistribute(): a table of the coordinator, and those of its name on the nodes.
 *
 * The table is made on each node that lacks it, with its columns and options, by the caller's user mapping; on the others
 * it must have the same columns.  Nodes commit with the transaction here; distribute() of a table that is distributed mends
 * what one that failed then lacks.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "dist/admin.h"
#include "dist/write.h"
#include "metricsdb.h"
#include "store/aggregates.h"
#include "store/store.h"

PG_FUNCTION_INFO_V1(mdb_distribute);
PG_FUNCTION_INFO_V1(mdb_undistribute);

#define Anum_kafka_source_target 4 /* of metricsdb.kafka_source */

/* ---------- statements for nodes ---------- */

/*
 * mdb_table_name - a table's name with its schema, quoted.
 */
char *
mdb_table_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/*
 * mdb_column_type - a column's type, which search_path does not matter to.
 */
char *
mdb_column_type(Form_pg_attribute att)
{
	return format_type_extended(att->atttypid, att->atttypmod,
								FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

/* A column's default, or what it is generated of, as SQL; NULL if there is none. */
static char *
default_text(Relation rel, AttrNumber attno)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;
	int nest = mdb_fix_settings();
	char *text = NULL;

	for (int i = 0; constr && i < constr->num_defval; i++)
		if (constr->defval[i].adnum == attno)
			text = deparse_expression(
				stringToNode(constr->defval[i].adbin),
				deparse_context_for(RelationGetRelationName(rel), RelationGetRelid(rel)), false, false);
	AtEOXact_GUC(true, nest);
	return text;
}

/*
 * mdb_column_definition - a column as in CREATE TABLE; with_default: as rows that are there get it.
 */
char *
mdb_column_definition(Relation rel, Form_pg_attribute att, bool with_default)
{
	char *text = with_default ? default_text(rel, att->attnum) : NULL;
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "%s %s", quote_identifier(NameStr(att->attname)), mdb_column_type(att));
	if (OidIsValid(att->attcollation) && att->attcollation != get_typcollation(att->atttypid))
		appendStringInfo(&buf, " COLLATE %s", generate_collation_name(att->attcollation));
	if (text)
		appendStringInfo(&buf, att->attgenerated ? " GENERATED ALWAYS AS (%s) STORED" : " DEFAULT %s", text);
	if (att->attnotnull)
		appendStringInfoString(&buf, " NOT NULL");
	return buf.data;
}

/* CREATE TABLE, with the label that has its options. */
static char *
create_statement(Relation rel)
{
	TupleDesc desc = RelationGetDescr(rel);
	StringInfoData buf;
	const char *comma = "";

	initStringInfo(&buf);
	appendStringInfo(&buf, "CREATE SCHEMA IF NOT EXISTS %s; CREATE TABLE %s (",
					 quote_identifier(get_namespace_name(RelationGetNamespace(rel))),
					 mdb_table_name(RelationGetRelid(rel)));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		appendStringInfo(&buf, "%s%s", comma, mdb_column_definition(rel, att, att->attgenerated != '\0'));
		comma = ", ";
	}
	appendStringInfo(&buf, ") USING metricsdb; %s", mdb_label_statement(RelationGetRelid(rel)));
	return buf.data;
}

/* The node's columns must have the names and types of ours. */
static void
check_columns(MdbSession *s, Relation rel)
{
	TupleDesc desc = RelationGetDescr(rel);
	PGresult *res = mdb_session_run(
		s,
		psprintf(
			"SELECT attname, pg_catalog.format_type(atttypid, atttypmod), relkind, attgenerated <> '' FROM "
			"pg_catalog.pg_attribute JOIN pg_catalog.pg_class c ON c.oid = attrelid WHERE attrelid = "
			"%s::pg_catalog.regclass AND attnum > 0 AND NOT attisdropped",
			quote_literal_cstr(mdb_table_name(RelationGetRelid(rel)))));
	int n = PQntuples(res);
	char *problem = NULL;

	if (n > 0 && strchr("rp", PQgetvalue(res, 0, 2)[0]) == NULL)
		problem = pstrdup("It is no table there.");
	for (int i = 0; i < desc->natts && problem == NULL; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		char *type;
		int row;

		if (att->attisdropped)
			continue;
		type = mdb_column_type(att);
		for (row = 0; row < n && strcmp(PQgetvalue(res, row, 0), NameStr(att->attname)) != 0; row++)
			;
		/* Names of types without schemas are those of pg_catalog: that is all of search_path. */
		if (row == n)
			problem = psprintf("Column \"%s\" is missing there.", NameStr(att->attname));
		else if (strcmp(PQgetvalue(res, row, 1), type) != 0 &&
				 strcmp(PQgetvalue(res, row, 1), format_type_with_typemod(att->atttypid, att->atttypmod)) !=
					 0)
			problem = psprintf("Column \"%s\" is of type %s there, and %s here.", NameStr(att->attname),
							   PQgetvalue(res, row, 1), type);
		/* Only nodes compute it. */
		else if ((PQgetvalue(res, row, 3)[0] == 't') != (att->attgenerated != '\0'))
			problem = psprintf("Column \"%s\" is generated on one of both alone.", NameStr(att->attname));
	}
	PQclear(res);
	if (problem)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("table \"%s\" is another one on node \"%s\"", RelationGetRelationName(rel), s->node),
				 errdetail_internal("%s", problem)));
}

/* What a node's table has to be given to be as it is here, after statements that did not reach the node. */
static void
mend_table(MdbSession *s, Relation rel)
{
	TupleDesc desc = RelationGetDescr(rel);
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			appendStringInfo(&buf, "ALTER TABLE %s ADD COLUMN IF NOT EXISTS %s; ",
							 mdb_table_name(RelationGetRelid(rel)),
							 mdb_column_definition(rel, TupleDescAttr(desc, i), true));
	appendStringInfoString(&buf, mdb_label_statement(RelationGetRelid(rel)));
	PQclear(mdb_session_run(s, buf.data));
}

/* Make a table on a node if it is not there, and its aggregates. */
static void
prepare_table(MdbSession *s, Relation rel, bool mend)
{
	PGresult *res = mdb_session_run(s, psprintf("SELECT pg_catalog.to_regclass(%s) IS NULL",
												quote_literal_cstr(mdb_table_name(RelationGetRelid(rel)))));
	bool missing = strcmp(PQgetvalue(res, 0, 0), "t") == 0;
	ListCell *lc;

	PQclear(res);
	if (missing)
		PQclear(mdb_session_run(s, create_statement(rel)));
	else if (mend)
		mend_table(s, rel);
	check_columns(s, rel);
	foreach (lc, mdb_view_statements(RelationGetRelid(rel)))
		PQclear(mdb_session_run(s, lfirst(lc)));
}

/* A node must not be this very database. */
static void
check_is_another(MdbSession *s)
{
	PGresult *res = mdb_session_run(
		s,
		"SELECT system_identifier::pg_catalog.text || '/' || (SELECT oid FROM pg_catalog.pg_database WHERE "
		"datname = pg_catalog.current_database()) FROM pg_catalog.pg_control_system()");
	bool same = strcmp(PQgetvalue(res, 0, 0),
					   psprintf(UINT64_FORMAT "/%u", GetSystemIdentifier(), MyDatabaseId)) == 0;

	PQclear(res);
	if (same)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("node \"%s\" is the coordinator itself", s->node),
						errhint("Let it connect to another cluster, or to another database.")));
}

typedef struct Preparing
{
	List *tables;
	bool mend;
} Preparing;

static void
prepare_node(MdbSession *s, void *arg)
{
	const Preparing *p = arg;
	ListCell *lc;

	check_is_another(s);
	foreach (lc, p->tables)
	{
		Relation rel = table_open(lfirst_oid(lc), AccessShareLock);

		prepare_table(s, rel, p->mend);
		table_close(rel, NoLock);
	}
}

/*
 * mdb_prepare_nodes - make sure that nodes can be reached, and have tables, once this transaction commits; mend: they
 * should have been there, so what columns they lack they get.  Raises errors that name the node.
 */
void
mdb_prepare_nodes(List *nodes, List *tables, bool mend)
{
	Preparing p = {.tables = tables, .mend = mend};

	mdb_change_nodes(nodes, prepare_node, &p);
}

/*
 * mdb_check_empty - raise an error if a node has rows of tables, or cannot say.
 */
void
mdb_check_empty(const MdbNode *node, List *tables)
{
	MdbReading *r = mdb_reading_begin(CurrentMemoryContext);
	MdbSession *s;
	ListCell *lc;

	/* It would wait for this very transaction. */
	mdb_refuse_changed();
	mdb_dist_refuse_unsent();
	s = mdb_session_take(r, node, GetUserId(), true);
	mdb_sessions_establish(list_make1(s));
	mdb_refuse_prepared(s);
	foreach (lc, tables)
	{
		char *name = mdb_table_name(lfirst_oid(lc));
		PGresult *res = mdb_session_run(s, psprintf("SELECT EXISTS (SELECT FROM %s)", name));
		bool has_rows = strcmp(PQgetvalue(res, 0, 0), "t") == 0;

		PQclear(res);
		if (has_rows)
			ereport(
				ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("node \"%s\" has rows of \"%s\" that no other node has", node->name,
						get_rel_name(lfirst_oid(lc))),
				 errhint("Undistribute the table first, or call metricsdb.remove_node('%s', force => true).",
						 node->name)));
	}
	mdb_reading_end(r);
}

/* ---------- functions ---------- */

static void
refuse(const char *table, const char *detail, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("cannot distribute table \"%s\"", table),
					errdetail_internal("%s", detail), hint ? errhint("%s", hint) : 0));
}

static bool
is_fed_by_kafka(Oid relid)
{
	Relation rel = mdb_catalog_open("kafka_source", AccessShareLock);
	Snapshot snapshot = mdb_latest_snapshot();
	MdbCatalogScan scan;
	HeapTuple tuple;
	bool found = false;

	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 0, NULL);
	while (!found && HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		bool isnull;

		found = DatumGetObjectId(
					heap_getattr(tuple, Anum_kafka_source_target, RelationGetDescr(rel), &isnull)) == relid;
	}
	mdb_catalog_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return found;
}

/* Whatever policies would hide. */
static bool
has_rows(Relation rel)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	bool found = table_scan_getnextslot(scan, ForwardScanDirection, slot);

	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	return found;
}

/* May a table be made one whose rows are elsewhere? */
static void
check_table(Relation rel)
{
	const char *name = RelationGetRelationName(rel);
	int n;

	if (rel->rd_rel->relkind != RELKIND_RELATION || !mdb_is_metricsdb(rel))
		refuse(name, "It is no table of the access method metricsdb.", NULL);
	if (rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		refuse(name, "It is temporary or unlogged.", NULL);
	if (rel->rd_rel->relispartition || rel->rd_rel->relhassubclass || has_superclass(RelationGetRelid(rel)))
		refuse(name, "It is part of a hierarchy of tables.", NULL);
	(void) mdb_aggregates_by(MDB_AGGREGATE_SOURCE, RelationGetRelid(rel), GetActiveSnapshot(), &n);
	if (n > 0)
		refuse(name, "It has continuous aggregates here.",
			   "Have them on the nodes, where queries find them.");
	if (is_fed_by_kafka(RelationGetRelid(rel)))
		refuse(name, "A Kafka source writes to it here.", "Have the nodes read from Kafka.");
	if (has_rows(rel))
		refuse(name, "It has rows of its own, which nobody would see.",
			   "Move them to a node, and TRUNCATE it.");
}

static Relation
open_owned(Oid relid)
{
	Relation rel;

	if (get_rel_name(relid) == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table with OID %u does not exist", relid)));
	if (!mdb_owns_table(relid))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relid)), get_rel_name(relid));
	rel = relation_open(relid, AccessExclusiveLock);
	return rel;
}

/*
 * mdb_distribute - distribute("table").
 */
Datum
mdb_distribute(PG_FUNCTION_ARGS)
{
	Oid relid = PG_GETARG_OID(0);
	Relation rel = open_owned(relid);
	List *nodes;
	bool is_new = !mdb_is_distributed(relid);

	if (!mdb_dist_enabled)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("tables may not be distributed here"),
						errdetail("\"%s\" is off.", "metricsdb.distributed_tables")));
	table_close(mdb_catalog_open("node", AccessShareLock), NoLock);
	LockRelationOid(mdb_catalog_relid("node", false), ShareRowExclusiveLock);
	if (is_new)
		check_table(rel);
	nodes = mdb_changing_nodes();
	if (nodes == NIL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("there are no nodes"),
						errhint("Add one with metricsdb.add_node().")));
	mdb_prepare_nodes(nodes, list_make1_oid(relid), !is_new);
	if (is_new)
		mdb_distributed_set(relid, true);
	relation_close(rel, NoLock);
	PG_RETURN_BOOL(is_new);
}

/*
 * mdb_undistribute - undistribute("table").
 */
Datum
mdb_undistribute(PG_FUNCTION_ARGS)
{
	Oid relid = PG_GETARG_OID(0);
	Relation rel = open_owned(relid);
	bool was = mdb_is_distributed(relid);

	if (was)
	{
		mdb_forget_views_of_nodes(relid);
		mdb_distributed_set(relid, false);
	}
	relation_close(rel, NoLock);
	PG_RETURN_BOOL(was);
}
