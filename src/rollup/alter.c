/*
 * alter.c
 *	  Continuous aggregates that change: options, and columns that are added; owner, schema and name, which the states
 *	  take over from the view.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "rewrite/rewriteManip.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "metricsdb.h"
#include "rollup/define.h"
#include "store/store.h"

/* Ranges of time in which buckets are made again. */
#define RANGES_AGAIN 100

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_add_aggregate);

/*
 * mdb_rollup_of_view - the aggregate whose view this is; NULL if it is none's.
 */
MdbAggregate *
mdb_rollup_of_view(Oid view)
{
	int n;
	MdbAggregate *list = mdb_aggregates_by(MDB_AGGREGATE_VIEW, view, NULL, &n);

	return n > 0 ? list : NULL;
}

/* ---------- what the states take over ---------- */

/* The beginning of the states' name is the view's. */
static void
follow_name(const MdbAggregate *a)
{
	char *view = get_rel_name(a->view);
	char *states = get_rel_name(a->aggregate);
	Oid schema = get_rel_namespace(a->aggregate);
	char *wanted = makeObjectName(view, NULL, "states");

	/* It may have a number, if another table has the name. */
	if (strncmp(states, wanted, strlen(wanted)) == 0)
		return;
	RenameRelationInternal(a->aggregate, ChooseRelationName(view, NULL, "states", schema, false), false,
						   false);
	CommandCounterIncrement();
}

/* Who owns the view reads the table, and rows of that wait for what he has it keep. */
static void
check_owner(const MdbAggregate *a, Oid owner)
{
	Relation raw = relation_open(a->raw, AccessShareLock);
	Oid needed = raw->rd_rel->relowner;

	relation_close(raw, NoLock);
	if (!has_privs_of_role(owner, needed))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("\"%s\" cannot own continuous aggregate \"%s\"", GetUserNameFromId(owner, false),
						get_rel_name(a->view)),
				 errdetail("Its owner must also be one of table \"%s\", or a member of the role that is.",
						   get_rel_name(a->raw)),
				 errhint("Change the table's owner first.")));
}

/*
 * mdb_rollup_follow - a view may have got another owner, schema or name: so do its states.
 */
void
mdb_rollup_follow(Oid view)
{
	MdbAggregate *a = mdb_rollup_of_view(view);
	Relation rel, states;
	Oid owner, schema;

	if (a == NULL)
		return;
	rel = relation_open(view, AccessShareLock);
	owner = rel->rd_rel->relowner;
	schema = RelationGetNamespace(rel);
	relation_close(rel, NoLock);
	states = relation_open(a->aggregate, AccessExclusiveLock);
	if (states->rd_rel->relowner != owner)
	{
		check_owner(a, owner);
		ATExecChangeOwner(a->aggregate, owner, true, AccessExclusiveLock);
		CommandCounterIncrement();
	}
	if (RelationGetNamespace(states) != schema)
	{
		ObjectAddresses *moved = new_object_addresses();

		/* Whoever has the name there already keeps it. */
		if (OidIsValid(get_relname_relid(RelationGetRelationName(states), schema)))
		{
			RenameRelationInternal(a->aggregate,
								   ChooseRelationName(get_rel_name(view), NULL, "states", schema, false),
								   false, false);
			CommandCounterIncrement();
		}
		AlterTableNamespaceInternal(states, RelationGetNamespace(states), schema, moved);
		free_object_addresses(moved);
		CommandCounterIncrement();
	}
	relation_close(states, NoLock);
	follow_name(a);
}

/* ---------- the view, anew ---------- */

static List *
names_of_columns(const MdbDefinition *def)
{
	List *names = NIL;
	ListCell *lc;

	foreach (lc, def->columns)
		names = lappend(names, get_attname(def->states, (AttrNumber) lfirst_int(lc), false));
	return names;
}

/* What a view's rule says, as of a SELECT that was just analysed. */
static MdbPlan *
plan_of(const MdbDefinition *def)
{
	MdbPlan *plan = palloc0(sizeof(MdbPlan));
	Query *query = def->query;
	Index varno = linitial_node(RangeTblRef, query->jointree->fromlist)->rtindex;
	Relation raw = table_open(def->raw, AccessShareLock);
	ListCell *lc;

	plan->name = get_rel_name(def->view);
	plan->raw = def->raw;
	plan->time_attno = mdb_table(raw)->time_attno;
	table_close(raw, NoLock);
	plan->bucket = def->bucket;
	plan->rule = def->rule;
	plan->keys = def->keys;
	plan->partials = list_copy(def->partials);
	plan->where = def->where;
	foreach (lc, query->targetList)
	{
		TargetEntry *tle = flatCopyTargetEntry(lfirst(lc));

		tle->expr = (Expr *) mdb_ungroup(query, (Node *) tle->expr);
		ChangeVarNodes((Node *) tle->expr, varno, 1, 0);
		if (!tle->resjunk)
			plan->outputs = lappend(plan->outputs, tle);
	}
	plan->having = mdb_ungroup(query, query->havingQual);
	ChangeVarNodes(plan->having, varno, 1, 0);
	return plan;
}

static int
restrict_path(void)
{
	int level = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	return level;
}

static void
replace_view(const MdbPlan *plan, const MdbAggregate *a, List *names, bool materialized_only)
{
	MdbAggregate *finer = OidIsValid(a->parent) ? mdb_aggregate_get(a->parent, NULL) : NULL;

	mdb_rollup_creating = true;
	PG_TRY();
	{
		mdb_rollup_run(psprintf("CREATE OR REPLACE VIEW %s AS\n%s", mdb_qualified_name(a->view),
								mdb_view_query(plan, a->aggregate, names, finer, materialized_only)));
	}
	PG_FINALLY();
	{
		mdb_rollup_creating = false;
	}
	PG_END_TRY();
}

/* Lock an aggregate for a change of its definition, which is the owner's. */
static MdbAggregate *
open_for_change(Oid view)
{
	MdbAggregate *a = mdb_rollup_of_view(view);

	if (a == NULL)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" is not a continuous aggregate", get_rel_name(view))));
	if (!mdb_owns_table(view))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_VIEW, get_rel_name(view));
	LockRelationOid(view, AccessExclusiveLock);
	/* Also from who applies it. */
	LockRelationOid(a->aggregate, AccessExclusiveLock);
	a = mdb_aggregate_lock(a->aggregate, LockWaitBlock);
	if (a == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("the continuous aggregate was dropped")));
	return a;
}

/*
 * mdb_rollup_alter - ALTER MATERIALIZED VIEW ... SET (metricsdb.materialized_only = ..., metricsdb.lateness = ...).
 */
void
mdb_rollup_alter(Oid view, const MdbRollupOptions *options)
{
	MdbAggregate *a = open_for_change(view);
	bool only =
		options->given & MDB_ROLLUP_MATERIALIZED_ONLY ? options->materialized_only : a->materialized_only;
	Interval lateness = options->given & MDB_ROLLUP_LATENESS ? options->lateness : a->lateness;
	int level = restrict_path();

	if (options->given & (MDB_ROLLUP_CONTINUOUS | MDB_ROLLUP_STACK))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("options \"%s.continuous\" and \"%s.stack\" cannot be changed", MDB_SCHEMA,
							   MDB_SCHEMA),
						errhint("Drop the aggregate and create it anew.")));
	if (only != a->materialized_only)
	{
		MdbDefinition *def = mdb_definition_read(view);

		replace_view(plan_of(def), a, names_of_columns(def), only);
	}
	if (options->given & MDB_ROLLUP_LATENESS)
	{
		mdb_rollup_creating = true;
		PG_TRY();
		{
			mdb_rollup_run(mdb_rollup_trigger_text(view, &lateness));
		}
		PG_FINALLY();
		{
			mdb_rollup_creating = false;
		}
		PG_END_TRY();
	}
	mdb_aggregate_set_options(a->aggregate, only, a->backfill, &lateness);
	AtEOXact_GUC(true, level);
	CommandCounterIncrement();
}

/* ---------- add_aggregate() ---------- */

/* An expression over raw's columns, of the user's text; it is looked up by his search_path. */
static Node *
parse_expression(const MdbPlan *plan, const char *text)
{
	char *sql = psprintf("SELECT %s FROM ONLY %s", text, mdb_qualified_name(plan->raw));
	List *parsed = raw_parser(sql, RAW_PARSE_DEFAULT);
	SelectStmt *select =
		list_length(parsed) == 1 ? (SelectStmt *) linitial_node(RawStmt, parsed)->stmt : NULL;
	Query *query;

	if (select == NULL || !IsA(select, SelectStmt) || list_length(select->targetList) != 1 ||
		list_length(select->fromClause) != 1 || select->whereClause || select->groupClause ||
		select->havingClause || select->sortClause || select->limitCount || select->op != SETOP_NONE)
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("\"%s\" is not one expression", text),
						errhint("Example: max(usage_user).")));
	query = parse_analyze_fixedparams(linitial_node(RawStmt, parsed), sql, NULL, 0, NULL);
	if (!query->hasAggs || query->hasSubLinks || query->hasWindowFuncs || query->hasTargetSRFs ||
		list_length(query->jointree->fromlist) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("\"%s\" cannot be added to a continuous aggregate", text),
				 errdetail("It must be an aggregate, or an expression over some, without subqueries, window "
						   "functions or functions that return sets.")));
	return (Node *) linitial_node(TargetEntry, query->targetList)->expr;
}

/* What a finer aggregate does not keep, a coarser one cannot be made of. */
static void
check_finer(const MdbPlan *plan, const MdbAggregate *a, int before)
{
	MdbAggregate *finer = OidIsValid(a->parent) ? mdb_aggregate_get(a->parent, NULL) : NULL;
	MdbDefinition *def;
	ListCell *lc;

	if (finer == NULL)
		return;
	def = mdb_definition_read(finer->view);
	for_each_from(lc, plan->partials, before) if (mdb_find_equal(def->partials, lfirst(lc)) < 0) ereport(
		ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("continuous aggregate \"%s\" does not keep what is needed", get_rel_name(finer->view)),
				errdetail("\"%s\" is made of it.", plan->name),
				errhint("Add the aggregate to \"%s\" first.", get_rel_name(finer->view))));
}

/* Buckets of which the source has all rows are made again, in so many ranges that each is one transaction's work. */
static void
make_again(const MdbAggregate *a)
{
	Relation source = table_open(a->source, AccessShareLock);
	const MdbTable *table = mdb_table(source);
	Snapshot snapshot = mdb_latest_snapshot();
	MdbPartList *parts = mdb_parts_visible(table, snapshot);
	int64 lo = PG_INT64_MAX, hi = PG_INT64_MIN;
	int64 step;

	UnregisterSnapshot(snapshot);
	table_close(source, NoLock);
	for (int i = 0; i < parts->count; i++)
		if (parts->parts[i].nrows > 0 && parts->parts[i].time_min <= parts->parts[i].time_max)
		{
			lo = Min(lo, parts->parts[i].time_min);
			hi = Max(hi, parts->parts[i].time_max);
		}
	if (lo > hi)
		return;
	lo = Max(lo, a->floor);
	step = Max(a->granularity, (int64) (((uint64) hi - (uint64) lo) / RANGES_AGAIN) + 1);
	for (;;)
	{
		int64 end = (uint64) hi - (uint64) lo < (uint64) step ? PG_INT64_MAX : lo + step;

		mdb_dirty_insert(a->aggregate, lo, end, false, GetCurrentCommandId(true));
		if (end == PG_INT64_MAX || end > hi)
			break;
		lo = end;
	}
}

/*
 * mdb_add_aggregate - metricsdb.add_aggregate(view regclass, aggregate text, name name): see its COMMENT.
 *
 * Raises ERRCODE_WRONG_OBJECT_TYPE for another kind of view, ERRCODE_FEATURE_NOT_SUPPORTED if the aggregate cannot be
 * kept, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if the finer aggregate does not keep it.
 */
Datum
mdb_add_aggregate(PG_FUNCTION_ARGS)
{
	Oid view = PG_GETARG_OID(0);
	char *aggregate = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char *name = pstrdup(NameStr(*PG_GETARG_NAME(2)));
	MdbAggregate *a = open_for_change(view);
	MdbDefinition *def = mdb_definition_read(view);
	MdbPlan *plan = plan_of(def);
	List *names = names_of_columns(def);
	int before = list_length(plan->partials);
	Node *expr = parse_expression(plan, aggregate);
	int level = restrict_path();
	ListCell *lc;

	foreach (lc, plan->outputs)
		if (strcmp(lfirst_node(TargetEntry, lc)->resname, name) == 0)
			ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN),
							errmsg("column \"%s\" of \"%s\" already exists", name, plan->name)));
	mdb_plan_add_output(plan, expr, name);
	check_finer(plan, a, before);
	LockRelationOid(a->source, ShareRowExclusiveLock);
	for_each_from(lc, plan->partials, before)
	{
		char *column = mdb_states_column_name(names, mdb_state_name(lfirst(lc), plan->raw));
		StringInfoData buf;

		initStringInfo(&buf);
		appendStringInfo(&buf, "ALTER TABLE %s ADD COLUMN ", mdb_qualified_name(a->aggregate));
		mdb_states_column_text(&buf, column, lfirst(lc));
		mdb_rollup_run(buf.data);
		names = lappend(names, column);
	}
	replace_view(plan, a, names, a->materialized_only);
	if (list_length(plan->partials) > before)
		make_again(a);
	AtEOXact_GUC(true, level);
	PG_RETURN_VOID();
}
