/*
 * views.c
 *	  Continuous aggregates of distributed tables: kept by each node of its own rows.
 *
 * Here such an aggregate is an ordinary view with the user's query over the distributed table.  A query of either has nodes
 * group, and these route what they are asked to their aggregates: whatever is pending, or missing, on one of them.  What they
 * are for is the node's to check; its errors come with its name.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parser.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "dist/admin.h"
#include "metricsdb.h"
#include "store/store.h"

enum
{
	Anum_node_view_view = 1,
	Anum_node_view_table,
	Anum_node_view_options,
	Natts_node_view = Anum_node_view_options
};

/* ---------- the catalog ---------- */

typedef struct NodeView
{
	Oid view;
	Oid table;
	char *options;
	ItemPointerData tid;
} NodeView;

/* Rows of the catalog, also of views that are gone. */
static List *
read_views(void)
{
	Relation rel = mdb_catalog_open("node_view", AccessShareLock);
	Snapshot snapshot = mdb_latest_snapshot();
	MdbCatalogScan scan;
	HeapTuple tuple;
	List *list = NIL;

	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 0, NULL);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		NodeView *v = palloc(sizeof(NodeView));
		Datum values[Natts_node_view];
		bool nulls[Natts_node_view];

		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		v->view = DatumGetObjectId(values[Anum_node_view_view - 1]);
		v->table = DatumGetObjectId(values[Anum_node_view_table - 1]);
		v->options = TextDatumGetCString(values[Anum_node_view_options - 1]);
		v->tid = tuple->t_self;
		list = lappend(list, v);
	}
	mdb_catalog_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return list;
}

/* Forget views of a table, or, if it is InvalidOid, those that are gone. */
static void
forget_views(Oid table)
{
	ListCell *lc;

	mdb_catalog_keep("node_view");
	foreach (lc, read_views())
	{
		NodeView *v = lfirst(lc);

		if (OidIsValid(table) ? v->table == table : get_rel_name(v->view) == NULL)
			mdb_catalog_delete_row("node_view", &v->tid);
	}
	CommandCounterIncrement();
}

static NodeView *
find_view(Oid view)
{
	ListCell *lc;

	foreach (lc, read_views())
		if (((NodeView *) lfirst(lc))->view == view)
			return lfirst(lc);
	return NULL;
}

/*
 * mdb_is_view_of_nodes - is a view here an aggregate on nodes?
 */
bool
mdb_is_view_of_nodes(Oid relid)
{
	return find_view(relid) != NULL;
}

/*
 * mdb_forget_views_of_nodes - a table is not distributed any more: its aggregates are ordinary views.
 */
void
mdb_forget_views_of_nodes(Oid table)
{
	forget_views(table);
}

/* ---------- statements for nodes ---------- */

/* CREATE MATERIALIZED VIEW for nodes, made of the view here. */
static char *
create_statement(const NodeView *v, bool with_data)
{
	int nest = mdb_fix_settings(), len;
	char *query;

	/* It may have been made just now. */
	PushActiveSnapshot(GetLatestSnapshot());
	query = TextDatumGetCString(DirectFunctionCall1(pg_get_viewdef, ObjectIdGetDatum(v->view)));
	PopActiveSnapshot();
	AtEOXact_GUC(true, nest);
	len = strlen(query);
	while (len > 0 && (query[len - 1] == ';' || isspace((unsigned char) query[len - 1])))
		query[--len] = '\0';
	return psprintf(
		"CREATE SCHEMA IF NOT EXISTS %s; CREATE MATERIALIZED VIEW IF NOT EXISTS %s WITH (%s) AS %s "
		"WITH %sDATA",
		quote_identifier(get_namespace_name(get_rel_namespace(v->view))), mdb_table_name(v->view), v->options,
		query, with_data ? "" : "NO ");
}

/*
 * mdb_view_statements - what makes the aggregates of a table on a node, where they are not there.
 */
List *
mdb_view_statements(Oid table)
{
	List *sqls = NIL;
	ListCell *lc;

	foreach (lc, read_views())
	{
		NodeView *v = lfirst(lc);

		if (v->table == table && get_rel_name(v->view) != NULL)
			sqls = lappend(sqls, create_statement(v, true));
	}
	return sqls;
}

/* ---------- CREATE MATERIALIZED VIEW WITH (metricsdb.continuous) ---------- */

/* The distributed table of which a query is, itself or by another such view; InvalidOid if it is of none. */
static Oid
table_of_query(const Query *query)
{
	ListCell *lc;

	foreach (lc, query->rtable)
	{
		const RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);
		NodeView *v;

		if (rte->relid == InvalidOid)
			continue;
		if (rte->relkind == RELKIND_RELATION && mdb_is_metricsdb_oid(rte->relid) &&
			mdb_is_distributed(rte->relid))
			return rte->relid;
		if (rte->relkind == RELKIND_VIEW && (v = find_view(rte->relid)) != NULL)
			return v->table;
	}
	return InvalidOid;
}

static bool
is_continuous(List *options)
{
	ListCell *lc;

	foreach (lc, options)
	{
		DefElem *def = lfirst_node(DefElem, lc);

		if (def->defnamespace && strcmp(def->defnamespace, MDB_SCHEMA) == 0 &&
			strcmp(def->defname, "continuous") == 0)
			return true;
	}
	return false;
}

/* Options as behind WITH. */
static char *
options_text(List *options)
{
	StringInfoData buf;
	ListCell *lc;

	initStringInfo(&buf);
	foreach (lc, options)
	{
		DefElem *def = lfirst_node(DefElem, lc);

		if (buf.len > 0)
			appendStringInfoString(&buf, ", ");
		if (def->defnamespace)
			appendStringInfo(&buf, "%s.", quote_identifier(def->defnamespace));
		appendStringInfoString(&buf, quote_identifier(def->defname));
		if (def->arg)
			appendStringInfo(&buf, " = %s", quote_literal_cstr(defGetString(def)));
	}
	return buf.data;
}

static void
insert_view(const NodeView *v)
{
	Relation rel = mdb_catalog_open("node_view", RowExclusiveLock);
	Datum values[Natts_node_view] = {ObjectIdGetDatum(v->view), ObjectIdGetDatum(v->table),
									 CStringGetTextDatum(v->options)};
	bool nulls[Natts_node_view] = {false};

	(void) mdb_catalog_insert(rel, values, nulls, GetCurrentCommandId(true), 0);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

/* The view here. */
static void
create_view(const CreateTableAsStmt *stmt, const char *name)
{
	StringInfoData buf;
	ListCell *lc;

	initStringInfo(&buf);
	appendStringInfo(&buf, "CREATE VIEW %s", name);
	foreach (lc, stmt->into->colNames)
		appendStringInfo(&buf, "%s%s", lc == list_head(stmt->into->colNames) ? " (" : ", ",
						 quote_identifier(strVal(lfirst(lc))));
	if (stmt->into->colNames)
		appendStringInfoChar(&buf, ')');
	appendStringInfo(&buf, " AS %s", mdb_remote_sql(castNode(Query, stmt->query), NIL));
	mdb_run_sql(buf.data);
	CommandCounterIncrement();
}

/*
 * mdb_create_view_of_nodes - is a statement one that makes an aggregate of a distributed table?  Then it is done.
 */
bool
mdb_create_view_of_nodes(Node *node)
{
	CreateTableAsStmt *stmt = (CreateTableAsStmt *) node;
	NodeView v, *old;
	Oid schema;
	char *name;

	if (!IsA(stmt, CreateTableAsStmt) || stmt->objtype != OBJECT_MATVIEW ||
		!is_continuous(stmt->into->options) || !IsA(stmt->query, Query))
		return false;
	v.table = table_of_query((Query *) stmt->query);
	if (!OidIsValid(v.table))
		return false;
	if (!mdb_owns_table(v.table))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(v.table));
	schema = RangeVarGetAndCheckCreationNamespace(stmt->into->rel, NoLock, NULL);
	name = quote_qualified_identifier(get_namespace_name(schema), stmt->into->rel->relname);
	v.view = get_relname_relid(stmt->into->rel->relname, schema);
	if (OidIsValid(v.view) && stmt->if_not_exists)
	{
		ereport(NOTICE, (errcode(ERRCODE_DUPLICATE_TABLE),
						 errmsg("relation \"%s\" already exists, skipping", stmt->into->rel->relname)));
		/* Nodes may lack it. */
		if ((old = find_view(v.view)) != NULL)
			mdb_change_all(create_statement(old, !stmt->into->skipData));
		return true;
	}
	forget_views(InvalidOid);
	v.options = options_text(stmt->into->options);
	create_view(stmt, name);
	v.view = get_relname_relid(stmt->into->rel->relname, schema);
	insert_view(&v);
	mdb_change_all(create_statement(&v, !stmt->into->skipData));
	return true;
}

/* ---------- DROP ---------- */

/*
 * mdb_drop_views_of_nodes - a DROP that is about to be run: such views, which users call materialized, are ordinary ones
 * here.  Their names in *dropped.
 */
PlannedStmt *
mdb_drop_views_of_nodes(PlannedStmt *pstmt, List **dropped)
{
	DropStmt *stmt = castNode(DropStmt, pstmt->utilityStmt);
	int others = 0;
	ListCell *lc;

	if (stmt->removeType != OBJECT_MATVIEW && stmt->removeType != OBJECT_VIEW)
		return pstmt;
	foreach (lc, stmt->objects)
	{
		Oid relid = RangeVarGetRelid(makeRangeVarFromNameList(lfirst(lc)), NoLock, true);

		if (OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_VIEW && mdb_is_view_of_nodes(relid))
			*dropped = lappend(*dropped, mdb_table_name(relid));
		else
			others++;
	}
	if (*dropped == NIL || stmt->removeType == OBJECT_VIEW)
		return pstmt;
	if (others > 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot drop views of distributed tables together with others"),
						errhint("Drop them by statements of their own.")));
	pstmt = copyObject(pstmt);
	((DropStmt *) pstmt->utilityStmt)->removeType = OBJECT_VIEW;
	return pstmt;
}

/*
 * mdb_views_of_nodes_dropped - they have gone here.
 */
void
mdb_views_of_nodes_dropped(List *dropped)
{
	ListCell *lc;

	if (dropped == NIL)
		return;
	foreach (lc, dropped)
		mdb_change_all(psprintf("DROP MATERIALIZED VIEW IF EXISTS %s", (char *) lfirst(lc)));
	forget_views(InvalidOid);
}

/* ---------- REFRESH, and options that change ---------- */

/* Options that an aggregate was made with, and those that were set since. */
static char *
merge_options(const char *before, List *set)
{
	List *parsed =
		raw_parser(psprintf("CREATE MATERIALIZED VIEW v WITH (%s) AS SELECT", before), RAW_PARSE_DEFAULT);
	List *all = castNode(CreateTableAsStmt, linitial_node(RawStmt, parsed)->stmt)->into->options;
	List *result = NIL;
	ListCell *lc, *ls;

	foreach (lc, all)
	{
		bool is_set = false;

		foreach (ls, set)
			is_set =
				is_set || strcmp(lfirst_node(DefElem, ls)->defname, lfirst_node(DefElem, lc)->defname) == 0;
		if (!is_set)
			result = lappend(result, lfirst(lc));
	}
	return options_text(list_concat(result, set));
}

static void
set_options(NodeView *v, const AlterTableStmt *stmt)
{
	ListCell *lc;

	foreach (lc, stmt->cmds)
	{
		const AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if (cmd->subtype != AT_SetRelOptions)
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("cannot change continuous aggregate \"%s\" so, which is on nodes",
								   get_rel_name(v->view)),
							errhint("ALTER MATERIALIZED VIEW ... SET is sent to them.")));
		mdb_change_all(psprintf("ALTER MATERIALIZED VIEW %s SET (%s)", mdb_table_name(v->view),
								options_text(castNode(List, cmd->def))));
		v->options = merge_options(v->options, castNode(List, cmd->def));
	}
	mdb_catalog_delete_row("node_view", &v->tid);
	insert_view(v);
}

/*
 * mdb_change_view_of_nodes - is a statement one that refreshes an aggregate on nodes, or sets its options?  Then it is done.
 */
bool
mdb_change_view_of_nodes(Node *node)
{
	RangeVar *name = IsA(node, RefreshMatViewStmt) ? ((RefreshMatViewStmt *) node)->relation
					 : IsA(node, AlterTableStmt) && ((AlterTableStmt *) node)->objtype == OBJECT_MATVIEW
						 ? ((AlterTableStmt *) node)->relation
						 : NULL;
	Oid view = name ? RangeVarGetRelid(name, NoLock, true) : InvalidOid;
	NodeView *v = OidIsValid(view) && get_rel_relkind(view) == RELKIND_VIEW ? find_view(view) : NULL;

	if (v == NULL)
		return false;
	if (!mdb_owns_table(view))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_MATVIEW, get_rel_name(view));
	if (IsA(node, AlterTableStmt))
		set_options(v, (AlterTableStmt *) node);
	else
		mdb_change_all(psprintf("REFRESH MATERIALIZED VIEW %s%s%s",
								((RefreshMatViewStmt *) node)->concurrent ? "CONCURRENTLY " : "",
								mdb_table_name(view),
								((RefreshMatViewStmt *) node)->skipData ? " WITH NO DATA" : ""));
	return true;
}
