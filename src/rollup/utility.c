/*
 * utility.c
 *	  Commands about continuous aggregates.
 *
 * To PostgreSQL the view of one is an ordinary view.  Users say MATERIALIZED VIEW, as they do elsewhere: such commands
 * are handed on as those about a view, and what they mean for the states follows.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "metricsdb.h"
#include "rollup/apply.h"
#include "rollup/define.h"
#include "store/store.h"

static ProcessUtility_hook_type next_process_utility = NULL;

/* ---------- of what is the statement? ---------- */

/* The view of an aggregate that goes by a name; InvalidOid if it is something else. */
static Oid
our_view(const RangeVar *name)
{
	Oid relid = RangeVarGetRelid(name, NoLock, true);

	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_VIEW || mdb_rollup_of_view(relid) == NULL)
		return InvalidOid;
	return relid;
}

static Oid
our_view_of_list(List *name)
{
	return our_view(makeRangeVarFromNameList(name));
}

static bool
has_option(List *options, const char *schema, const char *name)
{
	ListCell *lc;

	foreach (lc, options)
	{
		DefElem *def = lfirst_node(DefElem, lc);

		if (def->defnamespace && strcmp(def->defnamespace, schema) == 0 &&
			(name == NULL || strcmp(def->defname, name) == 0))
			return true;
	}
	return false;
}

/* ---------- CREATE ---------- */

/*
 * CREATE MATERIALIZED VIEW WITH (metricsdb.continuous)?  Then it is done here.
 */
static bool
create_aggregate(CreateTableAsStmt *stmt)
{
	MdbRollupOptions options = {0};
	CreateTableAsStmt *copy;

	if (stmt->objtype != OBJECT_MATVIEW)
		return false;
	if (has_option(stmt->into->options, "timescaledb", "continuous") &&
		!OidIsValid(get_extension_oid("timescaledb", true)))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("unrecognized parameter namespace \"timescaledb\""),
						errhint("Write WITH (%s.continuous).", MDB_SCHEMA)));
	if (!has_option(stmt->into->options, MDB_SCHEMA, "continuous"))
		return false;
	copy = copyObject(stmt);
	copy->into->options = mdb_rollup_take_options(copy->into->options, &options);
	if (!options.continuous)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("option \"%s.continuous\" cannot be off", MDB_SCHEMA),
						errhint("Leave it out for an ordinary materialized view.")));
	mdb_rollup_create(copy, &options);
	return true;
}

/* The dump's trigger was made: the aggregate is there. */
static void
trigger_made(const CreateTrigStmt *stmt)
{
	Oid function = mdb_rollup_trigger_function();
	Oid relid;

	if (!OidIsValid(function) || LookupFuncName(stmt->funcname, 0, NULL, true) != function)
		return;
	relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	if (OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_VIEW)
		mdb_rollup_restored(relid);
}

/* ---------- COPY ---------- */

/*
 * Somebody has put states beside those that were computed: a dump's rows, restored behind its definitions.  Rows of the
 * table that they stand for would count twice.
 */
static void
states_restored(const CopyStmt *stmt, uint64 rows)
{
	Oid relid = rows > 0 && stmt->is_from && stmt->relation ? RangeVarGetRelid(stmt->relation, NoLock, true)
															: InvalidOid;
	MdbAggregate *a = OidIsValid(relid) ? mdb_aggregate_get(relid, NULL) : NULL;

	if (a == NULL)
		return;
	mdb_rollup_forget(relid);
	ereport(WARNING,
			(errmsg("continuous aggregate \"%s\" shows the states that were restored, and nothing else",
					get_rel_name(a->view)),
			 errhint("SELECT metricsdb.attach_aggregate('%s') once the rows of its table are there.",
					 mdb_qualified_name(a->view))));
}

/* ---------- ALTER ---------- */

/* Take our options out of ALTER ... SET (...); what is left of the commands may be nothing. */
static bool
take_set_options(AlterTableStmt *stmt, MdbRollupOptions *options)
{
	bool found = false;
	ListCell *lc;

	foreach (lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if (cmd->subtype != AT_SetRelOptions || !has_option((List *) cmd->def, MDB_SCHEMA, NULL))
			continue;
		found = true;
		cmd->def = (Node *) mdb_rollup_take_options((List *) cmd->def, options);
		if (cmd->def == NULL)
			stmt->cmds = foreach_delete_current (stmt->cmds, lc);
	}
	return found;
}

/* ---------- REFRESH ---------- */

static bool
refresh_aggregate(RefreshMatViewStmt *stmt, bool top_level)
{
	Oid view = our_view(stmt->relation);

	if (!OidIsValid(view))
		return false;
	if (stmt->skipData)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("continuous aggregate \"%s\" cannot be emptied", stmt->relation->relname),
						errhint("Drop it, and create it WITH NO DATA.")));
	if (!mdb_owns_table(view))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_VIEW, stmt->relation->relname);
	mdb_refresh_view(view, top_level);
	return true;
}

/* ---------- DROP ---------- */

/* The objects of DROP MATERIALIZED VIEW that are aggregates' views, and those that are not. */
static void
divide_objects(List *objects, List **views, List **rest)
{
	ListCell *lc;

	*views = *rest = NIL;
	foreach (lc, objects)
		if (OidIsValid(our_view_of_list(lfirst(lc))))
			*views = lappend(*views, lfirst(lc));
		else
			*rest = lappend(*rest, lfirst(lc));
}

/* The views of aggregates whose triggers a statement drops, which are what keeps them registered. */
static List *
views_of_triggers(DropStmt *stmt)
{
	List *views = NIL;
	ListCell *lc;

	foreach (lc, stmt->objects)
	{
		List *name = lfirst(lc);
		Oid view = list_length(name) < 2 ? InvalidOid
										 : our_view_of_list(list_copy_head(name, list_length(name) - 1));

		if (OidIsValid(view))
			views = list_append_unique_oid(views, view);
	}
	return views;
}

/* As pg_dump --clean has it: the trigger goes first, then the view, then the states. */
static void
triggers_dropped(List *views)
{
	ListCell *lc;

	foreach (lc, views)
	{
		MdbAggregate *a = mdb_rollup_of_view(lfirst_oid(lc));

		if (a == NULL || mdb_rollup_has_trigger(lfirst_oid(lc)))
			continue;
		mdb_rollup_forget(a->aggregate);
		ereport(WARNING, (errmsg("view \"%s\" is no continuous aggregate any more", get_rel_name(a->view)),
						  errdetail("It shows the states that there are, in table \"%s\", and nothing else.",
									get_rel_name(a->aggregate)),
						  errhint("DROP MATERIALIZED VIEW drops an aggregate.")));
	}
}

static DropBehavior
behavior_of(Node *stmt)
{
	ListCell *lc;

	if (IsA(stmt, DropStmt))
		return ((DropStmt *) stmt)->behavior;
	if (IsA(stmt, DropOwnedStmt))
		return ((DropOwnedStmt *) stmt)->behavior;
	if (IsA(stmt, AlterTableStmt))
		foreach (lc, ((AlterTableStmt *) stmt)->cmds)
			if (lfirst_node(AlterTableCmd, lc)->behavior == DROP_CASCADE)
				return DROP_CASCADE;
	return DROP_RESTRICT;
}

/* ---------- the hook ---------- */

/* One statement, and what is to be done with it. */
typedef struct Command
{
	PlannedStmt *pstmt;
	bool copied;
	bool done;  /* nothing is left of it for PostgreSQL */
	Oid follow; /* view whose states follow it */
	Oid alter;  /* view whose options change */
	MdbRollupOptions options;
	List *untriggered;   /* views of aggregates that may lose their triggers */
	List *other_objects; /* of DROP MATERIALIZED VIEW: ordinary ones, to be dropped as well */
	bool top_level;
} Command;

/* The statement, to be changed. */
static Node *
own_copy(Command *c)
{
	if (!c->copied)
		c->pstmt = copyObject(c->pstmt);
	c->copied = true;
	return c->pstmt->utilityStmt;
}

/* What says MATERIALIZED VIEW of an aggregate says VIEW from here on. */
static void
prepare(Command *c)
{
	Node *stmt = c->pstmt->utilityStmt;

	switch (nodeTag(stmt))
	{
		case T_CreateTableAsStmt:
			c->done = create_aggregate((CreateTableAsStmt *) stmt);
			break;
		case T_ViewStmt:
			if (((ViewStmt *) stmt)->replace && !mdb_rollup_creating &&
				OidIsValid(our_view(((ViewStmt *) stmt)->view)))
				ereport(
					ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("cannot replace continuous aggregate \"%s\"", ((ViewStmt *) stmt)->view->relname),
					 errhint(
						 "metricsdb.add_aggregate() adds a column.  For other changes drop it and create it "
						 "anew.")));
			break;
		case T_RuleStmt:
			if (OidIsValid(our_view(((RuleStmt *) stmt)->relation)))
				ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
								errmsg("cannot make a rule on continuous aggregate \"%s\"",
									   ((RuleStmt *) stmt)->relation->relname)));
			break;
		case T_DropStmt:
			if (((DropStmt *) stmt)->removeType == OBJECT_TRIGGER)
				c->untriggered = views_of_triggers((DropStmt *) stmt);
			else if (((DropStmt *) stmt)->removeType == OBJECT_MATVIEW)
			{
				List *views, *rest;

				divide_objects(((DropStmt *) stmt)->objects, &views, &rest);
				if (views != NIL)
				{
					DropStmt *drop = (DropStmt *) own_copy(c);

					drop->removeType = OBJECT_VIEW;
					drop->objects = copyObject(views);
					c->other_objects = copyObject(rest);
				}
			}
			break;
		case T_RenameStmt:
		{
			RenameStmt *s = (RenameStmt *) stmt;

			if (s->relation && (s->renameType == OBJECT_MATVIEW || s->renameType == OBJECT_VIEW ||
								s->renameType == OBJECT_TABLE))
				c->follow = our_view(s->relation);
			if (OidIsValid(c->follow) && s->renameType == OBJECT_MATVIEW)
				((RenameStmt *) own_copy(c))->renameType = OBJECT_VIEW;
			break;
		}
		case T_AlterObjectSchemaStmt:
		{
			AlterObjectSchemaStmt *s = (AlterObjectSchemaStmt *) stmt;

			if (s->relation)
				c->follow = our_view(s->relation);
			if (OidIsValid(c->follow) && s->objectType == OBJECT_MATVIEW)
				((AlterObjectSchemaStmt *) own_copy(c))->objectType = OBJECT_VIEW;
			break;
		}
		case T_AlterTableStmt:
			c->follow = our_view(((AlterTableStmt *) stmt)->relation);
			if (OidIsValid(c->follow))
			{
				AlterTableStmt *s = (AlterTableStmt *) own_copy(c);

				if (s->objtype == OBJECT_MATVIEW)
					s->objtype = OBJECT_VIEW;
				if (take_set_options(s, &c->options))
				{
					c->alter = c->follow;
					c->done = s->cmds == NIL;
				}
			}
			break;
		case T_RefreshMatViewStmt:
			c->done = refresh_aggregate((RefreshMatViewStmt *) stmt, c->top_level);
			break;
		case T_CommentStmt:
			if (((CommentStmt *) stmt)->objtype == OBJECT_MATVIEW &&
				OidIsValid(our_view_of_list(castNode(List, ((CommentStmt *) stmt)->object))))
				((CommentStmt *) own_copy(c))->objtype = OBJECT_VIEW;
			break;
		case T_SecLabelStmt:
			if (((SecLabelStmt *) stmt)->objtype == OBJECT_MATVIEW &&
				OidIsValid(our_view_of_list(castNode(List, ((SecLabelStmt *) stmt)->object))))
				((SecLabelStmt *) own_copy(c))->objtype = OBJECT_VIEW;
			break;
		default:
			break;
	}
}

static void
run(Command *c, const char *queryString, bool readOnlyTree, ProcessUtilityContext context,
	ParamListInfo params, QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	if (next_process_utility)
		next_process_utility(c->pstmt, queryString, readOnlyTree && !c->copied, context, params, queryEnv,
							 dest, qc);
	else
		standard_ProcessUtility(c->pstmt, queryString, readOnlyTree && !c->copied, context, params, queryEnv,
								dest, qc);
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	Command c = {.pstmt = pstmt, .top_level = context == PROCESS_UTILITY_TOPLEVEL};
	/* In a transaction that has failed nothing can be looked up; nor is there anything without the extension. */
	bool ours = IsTransactionState() && OidIsValid(mdb_catalog_relid("continuous_aggregate", true));

	if (ours)
		prepare(&c);
	if (!c.done)
		run(&c, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	if (!ours)
		return;
	if (c.other_objects != NIL)
	{
		DropStmt *drop = (DropStmt *) c.pstmt->utilityStmt;

		drop->removeType = OBJECT_MATVIEW;
		drop->objects = c.other_objects;
		run(&c, queryString, false, context, params, queryEnv, dest, qc);
	}
	if (IsA(c.pstmt->utilityStmt, CopyStmt) && qc)
		states_restored((CopyStmt *) c.pstmt->utilityStmt, qc->nprocessed);
	triggers_dropped(c.untriggered);
	if (IsA(c.pstmt->utilityStmt, CreateTrigStmt))
		trigger_made((CreateTrigStmt *) c.pstmt->utilityStmt);
	if (OidIsValid(c.alter))
		mdb_rollup_alter(c.alter, &c.options);
	if (OidIsValid(c.follow))
		mdb_rollup_follow(c.follow);
	if (mdb_rollup_has_orphans())
		mdb_rollup_drop_states(behavior_of(c.pstmt->utilityStmt));
}

/*
 * mdb_rollup_init - at load: see the statements, and views go.
 */
void
mdb_rollup_init(void)
{
	mdb_rollup_drop_init();
	next_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
