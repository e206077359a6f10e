/*
 * schema.c
 *	  What distributed tables are on their nodes follows what they are here: columns, names, options.
 *
 * Columns are told by what they are once the statement was run here; indexes, constraints, triggers, policies, privileges
 * and owners are nobody's affair but the coordinator's, or the node's.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "commands/seclabel.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "dist/admin.h"
#include "metricsdb.h"
#include "store/store.h"

static ProcessUtility_hook_type next_process_utility = NULL;

/* ---------- columns ---------- */

/* Is there a row? */
static bool
finds(MdbSession *s, const char *sql)
{
	PGresult *res = mdb_session_run(s, sql);
	bool found = PQntuples(res) > 0;

	PQclear(res);
	return found;
}

static bool
has_column(MdbSession *s, const char *table, const char *column, const char *condition)
{
	return finds(s, psprintf("SELECT FROM pg_catalog.pg_attribute WHERE attrelid = %s::pg_catalog.regclass "
							 "AND attname = %s AND attnum > 0 AND NOT attisdropped AND %s",
							 quote_literal_cstr(table), quote_literal_cstr(column), condition));
}

typedef struct Altered
{
	char *table;
	AlterTableStmt *stmt;
	Relation rel;
} Altered;

/* One command's column on a node, as it is here now. */
static void
alter_column(MdbSession *s, const Altered *a, const AlterTableCmd *cmd)
{
	const char *name = cmd->subtype == AT_AddColumn ? ((ColumnDef *) cmd->def)->colname : cmd->name;
	char *alter = psprintf("ALTER TABLE %s", a->table);
	AttrNumber attno = get_attnum(RelationGetRelid(a->rel), name);
	Form_pg_attribute att = attno > 0 ? TupleDescAttr(RelationGetDescr(a->rel), attno - 1) : NULL;
	char *sql = NULL;

	name = quote_identifier(name);
	if (cmd->subtype == AT_DropColumn)
		sql = psprintf("%s DROP COLUMN IF EXISTS %s%s", alter, name,
					   cmd->behavior == DROP_CASCADE ? " CASCADE" : "");
	/* A later command of the statement may have dropped it. */
	else if (att == NULL)
		return;
	else if (cmd->subtype == AT_AddColumn)
		sql = psprintf("%s ADD COLUMN IF NOT EXISTS %s", alter, mdb_column_definition(a->rel, att, true));
	else if (cmd->subtype == AT_AlterColumnType)
	{
		if (has_column(s, a->table, NameStr(att->attname),
					   psprintf("pg_catalog.format_type(atttypid, atttypmod) OPERATOR(pg_catalog.<>) %s",
								quote_literal_cstr(mdb_column_type(att)))))
			sql = psprintf("%s ALTER COLUMN %s TYPE %s", alter, name, mdb_column_type(att));
	}
	else if (cmd->subtype == AT_SetNotNull || cmd->subtype == AT_DropNotNull)
		sql = psprintf("%s ALTER COLUMN %s %s NOT NULL", alter, name, att->attnotnull ? "SET" : "DROP");
	if (sql)
		PQclear(mdb_session_run(s, sql));
}

static bool
is_of_nodes(const AlterTableCmd *cmd)
{
	switch (cmd->subtype)
	{
		case AT_AddColumn:
		case AT_DropColumn:
		case AT_AlterColumnType:
		case AT_SetNotNull:
		case AT_DropNotNull:
			return true;
		default:
			return false;
	}
}

static void
alter_table(MdbSession *s, void *arg)
{
	const Altered *a = arg;
	ListCell *lc;

	foreach (lc, a->stmt->cmds)
		if (is_of_nodes(lfirst_node(AlterTableCmd, lc)))
			alter_column(s, a, lfirst_node(AlterTableCmd, lc));
}

/* ---------- names ---------- */

typedef struct Renamed
{
	char *schema; /* as it was */
	char *table;
	char *new_schema; /* as it is; NULL: it is a column */
	char *new_table;
	char *column;
	char *new_column;
	bool is_view;
} Renamed;

static void
rename_table(MdbSession *s, const Renamed *r)
{
	const char *kind = r->is_view ? "VIEW" : "TABLE";
	char *name = quote_qualified_identifier(r->schema, r->table);

	/* It may be done, or never have been there. */
	if (finds(s, psprintf("SELECT WHERE pg_catalog.to_regclass(%s) IS NULL OR pg_catalog.to_regclass(%s) IS "
						  "NOT NULL",
						  quote_literal_cstr(name),
						  quote_literal_cstr(quote_qualified_identifier(r->new_schema, r->new_table)))))
		return;
	if (strcmp(r->schema, r->new_schema) != 0)
	{
		PQclear(mdb_session_run(s, psprintf("CREATE SCHEMA IF NOT EXISTS %s; ALTER %s %s SET SCHEMA %s",
											quote_identifier(r->new_schema), kind, name,
											quote_identifier(r->new_schema))));
		name = quote_qualified_identifier(r->new_schema, r->table);
	}
	if (strcmp(r->table, r->new_table) != 0)
		PQclear(mdb_session_run(
			s, psprintf("ALTER %s %s RENAME TO %s", kind, name, quote_identifier(r->new_table))));
}

static void
rename_on_node(MdbSession *s, void *arg)
{
	const Renamed *r = arg;
	char *name = quote_qualified_identifier(r->schema, r->table);

	if (r->new_table)
		rename_table(s, r);
	else if (has_column(s, name, r->column, "true") && !has_column(s, name, r->new_column, "true"))
		PQclear(mdb_session_run(s, psprintf("ALTER TABLE %s RENAME COLUMN %s TO %s", name,
											quote_identifier(r->column), quote_identifier(r->new_column))));
}

/* ---------- options ---------- */

/*
 * mdb_label_statement - that gives a table on a node the options that it has here.
 */
char *
mdb_label_statement(Oid relid)
{
	ObjectAddress address;
	char *label;

	ObjectAddressSet(address, RelationRelationId, relid);
	label = GetSecurityLabel(&address, MDB_EXTENSION);
	return psprintf("SECURITY LABEL FOR metricsdb ON TABLE %s IS %s", mdb_table_name(relid),
					label ? quote_literal_cstr(label) : "NULL");
}

/*
 * mdb_dist_options - options of a distributed table have changed.
 */
void
mdb_dist_options(Oid relid)
{
	mdb_change_all(mdb_label_statement(relid));
}

/* ---------- the hook ---------- */

/* The distributed table, or view of an aggregate on nodes, that goes by a name, locked; InvalidOid if it is something else. */
static Oid
find_ours(const RangeVar *name, bool *is_view)
{
	Oid relid = name ? RangeVarGetRelid(name, NoLock, true) : InvalidOid;
	char kind = OidIsValid(relid) ? get_rel_relkind(relid) : '\0';

	*is_view = kind == RELKIND_VIEW;
	if (kind == RELKIND_RELATION && mdb_is_metricsdb_oid(relid) && mdb_is_distributed(relid))
		return relid;
	return kind == RELKIND_VIEW && mdb_is_view_of_nodes(relid) ? relid : InvalidOid;
}

/* A statement, and what it is about as it was before. */
typedef struct Command
{
	Oid relid;
	bool is_view;
	char *schema;
	char *name;
} Command;

static void
refuse_commands(const AlterTableStmt *stmt, Oid relid)
{
	ListCell *lc;

	foreach (lc, stmt->cmds)
	{
		const AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if (cmd->subtype == AT_AlterColumnType && castNode(ColumnDef, cmd->def)->raw_default)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot change values of the distributed table \"%s\"", get_rel_name(relid)),
					 errdetail("Nodes are not told of USING."),
					 errhint("Add a column, and drop the old one.")));
		if (cmd->subtype == AT_SetAccessMethod || cmd->subtype == AT_AddInherit)
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("cannot change access method or parents of the distributed table \"%s\"",
								   get_rel_name(relid)),
							errhint("SELECT metricsdb.undistribute('%s') first.", mdb_table_name(relid))));
	}
}

/* Nodes have the schema's other tables, too, so that it is not renamed there. */
static void
refuse_schema(const char *schema)
{
	ListCell *lc;

	foreach (lc, mdb_distributed_tables())
	{
		const char *own = get_namespace_name(get_rel_namespace(lfirst_oid(lc)));

		if (own && strcmp(own, schema) == 0)
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("cannot rename schema \"%s\", which has distributed tables", schema),
							errhint("Move them with ALTER TABLE ... SET SCHEMA.")));
	}
}

/* Before it is run. */
static void
look(Node *stmt, Command *c)
{
	switch (nodeTag(stmt))
	{
		case T_AlterTableStmt:
			c->relid = find_ours(((AlterTableStmt *) stmt)->relation, &c->is_view);
			if (OidIsValid(c->relid) && !c->is_view)
				refuse_commands((AlterTableStmt *) stmt, c->relid);
			break;
		case T_RenameStmt:
			if (((RenameStmt *) stmt)->renameType == OBJECT_SCHEMA)
				refuse_schema(((RenameStmt *) stmt)->subname);
			c->relid = find_ours(((RenameStmt *) stmt)->relation, &c->is_view);
			break;
		case T_AlterObjectSchemaStmt:
			c->relid = find_ours(((AlterObjectSchemaStmt *) stmt)->relation, &c->is_view);
			break;
		case T_SecLabelStmt:
		{
			SecLabelStmt *s = (SecLabelStmt *) stmt;

			if (s->objtype == OBJECT_TABLE &&
				(s->provider == NULL || strcmp(s->provider, MDB_EXTENSION) == 0))
				c->relid = find_ours(makeRangeVarFromNameList(castNode(List, s->object)), &c->is_view);
			break;
		}
		default:
			break;
	}
	if (OidIsValid(c->relid))
	{
		c->schema = get_namespace_name(get_rel_namespace(c->relid));
		c->name = get_rel_name(c->relid);
	}
}

/* Nodes follow. */
static void
follow(Node *stmt, const Command *c)
{
	if (get_rel_name(c->relid) == NULL)
		return;
	switch (nodeTag(stmt))
	{
		case T_AlterTableStmt:
		{
			Altered a = {.table = mdb_table_name(c->relid), .stmt = (AlterTableStmt *) stmt};
			bool any = false;
			ListCell *lc;

			foreach (lc, a.stmt->cmds)
				any = any || is_of_nodes(lfirst_node(AlterTableCmd, lc));
			if (!any || c->is_view)
				return;
			a.rel = relation_open(c->relid, AccessShareLock);
			mdb_change_nodes(mdb_changing_nodes(), alter_table, &a);
			relation_close(a.rel, NoLock);
			break;
		}
		case T_RenameStmt:
		{
			RenameStmt *s = (RenameStmt *) stmt;
			Renamed r = {.schema = c->schema,
						 .table = c->name,
						 .column = s->subname,
						 .new_column = s->newname,
						 .is_view = c->is_view};

			if (s->renameType == OBJECT_COLUMN && c->is_view)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot rename columns of continuous aggregate \"%s\", which is on nodes",
								get_rel_name(c->relid)),
						 errhint("Drop it, and create it anew.")));
			if (s->renameType == OBJECT_TABLE || s->renameType == OBJECT_VIEW ||
				s->renameType == OBJECT_MATVIEW)
			{
				r.new_schema = c->schema;
				r.new_table = get_rel_name(c->relid);
			}
			else if (s->renameType != OBJECT_COLUMN)
				return;
			mdb_change_nodes(mdb_changing_nodes(), rename_on_node, &r);
			break;
		}
		case T_AlterObjectSchemaStmt:
		{
			Renamed r = {.schema = c->schema,
						 .table = c->name,
						 .new_schema = get_namespace_name(get_rel_namespace(c->relid)),
						 .new_table = c->name,
						 .is_view = c->is_view};

			mdb_change_nodes(mdb_changing_nodes(), rename_on_node, &r);
			break;
		}
		case T_SecLabelStmt:
			mdb_dist_options(c->relid);
			break;
		default:
			break;
	}
}

static void
run(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree, ProcessUtilityContext context,
	ParamListInfo params, QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	ProcessUtility_hook_type next = next_process_utility ? next_process_utility : standard_ProcessUtility;

	next(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	Command c = {0};
	List *dropped = NIL;

	/* In a transaction that has failed nothing can be looked up. */
	if (IsTransactionState() && OidIsValid(mdb_catalog_relid("node_view", true)))
	{
		if (mdb_create_view_of_nodes(pstmt->utilityStmt) || mdb_change_view_of_nodes(pstmt->utilityStmt))
			return;
		if (IsA(pstmt->utilityStmt, DropStmt))
			pstmt = mdb_drop_views_of_nodes(pstmt, &dropped);
		look(pstmt->utilityStmt, &c);
	}
	run(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	if (OidIsValid(c.relid))
		follow(pstmt->utilityStmt, &c);
	mdb_views_of_nodes_dropped(dropped);
}

/*
 * mdb_schema_init - at load: see the statements.
 */
void
mdb_schema_init(void)
{
	next_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
