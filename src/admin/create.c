/*
 * create.c
 *	  CREATE TABLE ... WITH (metricsdb.time = 'ts', metricsdb.series = 'host, region').
 *
 * PostgreSQL refuses options of a namespace it does not know before it looks up the access
 * method.  So they are taken out of the statement before it runs, kept for the moment at which the
 * table's file is made, and recorded as the table's label afterwards.  This needs the library to be
 * loaded before the statement: shared_preload_libraries or session_preload_libraries.
 *
 * The same for CREATE TABLE AS, CREATE MATERIALIZED VIEW, and EXPLAIN ANALYZE of them.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/defrem.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "admin/admin.h"
#include "metricsdb.h"

/* A statement that creates a table with our options, while it runs. */
typedef struct Creation
{
	struct Creation *outer;
	RangeVar *name;
	MdbOptions options;
	Oid relid; /* the table, once it is being made */
} Creation;

/* Where the parts of such a statement are. */
typedef struct Target
{
	RangeVar *name;
	List **options;
	char *am;
	bool decided;        /* is the access method known before the statement runs? */
	bool may_not_create; /* may it end well without a new table? */
} Target;

static Creation *creating = NULL;
static ProcessUtility_hook_type prev_process_utility = NULL;

static bool
find_target(Node *stmt, Target *t)
{
	if (stmt == NULL)
		return false;
	switch (nodeTag(stmt))
	{
		case T_CreateStmt:
		{
			CreateStmt *s = (CreateStmt *) stmt;

			t->name = s->relation;
			t->options = &s->options;
			t->am = s->accessMethod;
			t->decided = s->partbound == NULL;
			t->may_not_create = s->if_not_exists;
			return true;
		}
		case T_CreateTableAsStmt:
		{
			CreateTableAsStmt *s = (CreateTableAsStmt *) stmt;

			t->name = s->into->rel;
			t->options = &s->into->options;
			t->am = s->into->accessMethod;
			t->decided = true;
			t->may_not_create = s->if_not_exists;
			return true;
		}
		case T_ExplainStmt:
		{
			Query *query = (Query *) ((ExplainStmt *) stmt)->query;

			if (!IsA(query, Query) || query->commandType != CMD_UTILITY ||
				!IsA(query->utilityStmt, CreateTableAsStmt) || !find_target(query->utilityStmt, t))
				return false;
			t->may_not_create = true;
			return true;
		}
		default:
			return false;
	}
}

static bool
is_ours(DefElem *def)
{
	return def->defnamespace != NULL && strcmp(def->defnamespace, MDB_SCHEMA) == 0;
}

static bool
has_ours(List *options)
{
	ListCell *lc;

	foreach (lc, options)
		if (is_ours(lfirst_node(DefElem, lc)))
			return true;
	return false;
}

/* Names by the rules of SQL: a, "B", c.  A bare word in place of a string is one name as it is. */
static List *
names_of(DefElem *def)
{
	char *value = defGetString(def);
	List *names;
	List *copies = NIL;
	ListCell *lc;

	if (def->arg && IsA(def->arg, TypeName))
		return list_make1(value);
	if (!SplitIdentifierString(pstrdup(value), ',', &names))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid list of columns in option \"%s.%s\": %s", MDB_SCHEMA, def->defname, value),
				 errhint("Separate names by commas; put a name with capitals or blanks in double quotes.")));
	foreach (lc, names)
		copies = lappend(copies, pstrdup(lfirst(lc)));
	return copies;
}

/* Move our options from the statement's list to *options. */
static List *
take_options(List *list, MdbOptions *options)
{
	List *rest = NIL;
	ListCell *lc;

	foreach (lc, list)
	{
		DefElem *def = lfirst_node(DefElem, lc);
		bool is_time;
		List *names;

		if (!is_ours(def))
		{
			rest = lappend(rest, def);
			continue;
		}
		is_time = strcmp(def->defname, "time") == 0;
		if (!is_time && strcmp(def->defname, "series") != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unrecognized parameter \"%s.%s\"", MDB_SCHEMA, def->defname),
					 errhint("The options of a table are %s.time and %s.series.", MDB_SCHEMA, MDB_SCHEMA)));
		if (is_time ? options->time_given : options->series_given)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("parameter \"%s.%s\" specified more than once", MDB_SCHEMA, def->defname)));
		names = names_of(def);
		if (!is_time)
		{
			options->series_given = true;
			options->series = names;
			continue;
		}
		if (list_length(names) > 1)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("parameter \"%s.time\" names more than one column", MDB_SCHEMA)));
		options->time_given = true;
		options->time = names == NIL ? NULL : linitial(names);
	}
	return rest;
}

pg_noreturn static void
not_ours(const Target *t)
{
	ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
					errmsg("options \"%s.*\" are for metricsdb tables, which \"%s\" would not be", MDB_SCHEMA,
						   t->name->relname),
					errhint("Add USING metricsdb to the statement.")));
}

/* Run a statement from which our options were taken, and record them. */
static void
run_creation(Creation *c, PlannedStmt *pstmt, const char *queryString, ProcessUtilityContext context,
			 ParamListInfo params, QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	c->outer = creating;
	creating = c;
	PG_TRY();
	{
		ProcessUtility_hook_type next = prev_process_utility ? prev_process_utility : standard_ProcessUtility;

		next(pstmt, queryString, false, context, params, queryEnv, dest, qc);
	}
	PG_FINALLY();
	{
		creating = c->outer;
	}
	PG_END_TRY();

	if (!OidIsValid(c->relid))
		return;
	CommandCounterIncrement();
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(c->relid)))
		mdb_options_store(c->relid, &c->options);
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	Target target;
	Creation creation = {0};

	if (!find_target(pstmt->utilityStmt, &target) || !has_ours(*target.options))
	{
		if (prev_process_utility)
			prev_process_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		else
			standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
		return;
	}
	if (readOnlyTree)
	{
		pstmt = copyObject(pstmt);
		find_target(pstmt->utilityStmt, &target);
	}
	*target.options = take_options(*target.options, &creation.options);
	if (target.decided && strcmp(target.am ? target.am : default_table_access_method, MDB_AM_NAME) != 0)
		not_ours(&target);
	creation.name = target.name;
	run_creation(&creation, pstmt, queryString, context, params, queryEnv, dest, qc);
	if (!OidIsValid(creation.relid) && !target.may_not_create)
		not_ours(&target);
}

/*
 * mdb_create_options - the options that the running CREATE statement gives to the table whose
 * file is being made, if it is the statement's table, or the one by which PostgreSQL 17 fills a
 * materialized view that the statement has made: REFRESH's.
 */
bool
mdb_create_options(Relation rel, MdbOptions *options)
{
	Creation *c = creating;
	Oid source;

	if (c == NULL)
		return false;
	if (!OidIsValid(c->relid))
	{
		if (strcmp(c->name->relname, RelationGetRelationName(rel)) != 0 ||
			RangeVarGetCreationNamespace(c->name) != RelationGetNamespace(rel))
			return false;
		c->relid = RelationGetRelid(rel);
	}
	else if (sscanf(RelationGetRelationName(rel), "pg_temp_%u", &source) != 1 || source != c->relid)
		return false;
	*options = c->options;
	return true;
}

/*
 * mdb_create_init - at load: see the statements.
 */
void
mdb_create_init(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
