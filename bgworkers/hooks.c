/*
 * hooks.c
 *	  Makes our workers leave a database that somebody wants to have to himself.
 *
 * PostgreSQL refuses DROP DATABASE, ALTER DATABASE ... RENAME or SET TABLESPACE and CREATE DATABASE
 * ... TEMPLATE while anybody is connected to the database; its own autovacuum workers give way,
 * and so do ours.  DROP EXTENSION would only have to wait for them, but might wait crosswise.
 *
 * Invariant: nobody can end our workers who could not do what he says; the rights are checked here
 * before, and by the command after.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/syscache.h"

#include "metricsdb.h"
#include "worker.h"

static ProcessUtility_hook_type next_process_utility = NULL;

/*
 * leave_database - if the user owns it.
 */
static void
leave_database(const char *name)
{
	Oid database = get_database_oid(name, true);
	HeapTuple tuple;
	bool allowed;

	if (!OidIsValid(database) || database == MyDatabaseId)
		return;
	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	if (!HeapTupleIsValid(tuple))
		return;
	allowed = has_privs_of_role(GetUserId(), ((Form_pg_database) GETSTRUCT(tuple))->datdba);
	ReleaseSysCache(tuple);
	if (allowed)
		mdb_workers_leave(database);
}

/*
 * make_room - look for the statements that need a database alone.
 */
static void
make_room(Node *statement)
{
	if (IsA(statement, DropdbStmt))
		leave_database(((DropdbStmt *) statement)->dbname);
	else if (IsA(statement, RenameStmt) && ((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
		leave_database(((RenameStmt *) statement)->subname);
	else if (IsA(statement, AlterDatabaseStmt))
	{
		ListCell *cell;

		foreach (cell, ((AlterDatabaseStmt *) statement)->options)
			if (strcmp(((DefElem *) lfirst(cell))->defname, "tablespace") == 0)
				leave_database(((AlterDatabaseStmt *) statement)->dbname);
	}
	else if (IsA(statement, CreatedbStmt))
	{
		ListCell *cell;

		foreach (cell, ((CreatedbStmt *) statement)->options)
		{
			DefElem *option = lfirst(cell);

			if (strcmp(option->defname, "template") == 0 && option->arg != NULL && IsA(option->arg, String))
				leave_database(strVal(option->arg));
		}
	}
	else if (IsA(statement, DropStmt) && ((DropStmt *) statement)->removeType == OBJECT_EXTENSION)
	{
		ListCell *cell;

		foreach (cell, ((DropStmt *) statement)->objects)
			if (strcmp(strVal(lfirst(cell)), MDB_EXTENSION) == 0 &&
				OidIsValid(get_extension_oid(MDB_EXTENSION, true)) && superuser())
				mdb_workers_leave(MyDatabaseId);
	}
}

static void
worker_process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
					   ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *queryEnv,
					   DestReceiver *dest, QueryCompletion *qc)
{
	make_room(pstmt->utilityStmt);
	if (next_process_utility)
		next_process_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
}

void
mdb_worker_hooks_init(void)
{
	next_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = worker_process_utility;
}
