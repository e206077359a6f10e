/*
 * create.c
 *	  CREATE MATERIALIZED VIEW ... WITH (metricsdb.continuous) AS SELECT ...
 *
 * Makes the table of states and the view over it and the source, registers the aggregate, and has the rows that are
 * there pending for it.  All of it is SQL that the user could have written, run with his rights.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/heap.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parser.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "admin/admin.h"
#include "compat.h"
#include "metricsdb.h"
#include "rollup/define.h"

/* Rows are late by so much, ordinarily. */
#define DEFAULT_LATENESS (10 * USECS_PER_SEC)

/* ---------- options ---------- */

/* The clock less this must be a time. */
#define MAX_LATENESS_MONTHS (100 * 12)

/*
 * mdb_rollup_lateness - what a text says.
 *
 * Raises ERRCODE_INVALID_PARAMETER_VALUE if it is negative or absurd, and as interval_in does.
 */
Interval
mdb_rollup_lateness(const char *text)
{
	Interval *i = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text),
														ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));

	if (mdb_interval_is_infinite(i) || i->month < 0 || i->day < 0 || i->time < 0 ||
		i->month > MAX_LATENESS_MONTHS || i->day > MAX_LATENESS_MONTHS * 31 ||
		i->time > MAX_LATENESS_MONTHS * 31 * USECS_PER_DAY)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid value for option \"%s.lateness\": \"%s\"", MDB_SCHEMA, text),
						errdetail("It is an interval that is not negative, of 100 years at most.")));
	return *i;
}

/*
 * mdb_rollup_take_options - move options of a continuous aggregate from a list to *options; the rest is returned.
 *
 * Raises ERRCODE_INVALID_PARAMETER_VALUE for those of our namespace that are none, or have a wrong value, and
 * ERRCODE_FEATURE_NOT_SUPPORTED for TimescaleDB's.
 */
List *
mdb_rollup_take_options(List *list, MdbRollupOptions *options)
{
	List *rest = NIL;
	ListCell *lc;

	foreach (lc, list)
	{
		DefElem *def = lfirst_node(DefElem, lc);
		int given;

		if (def->defnamespace == NULL || strcmp(def->defnamespace, MDB_SCHEMA) != 0)
		{
			rest = lappend(rest, def);
			continue;
		}
		if (strcmp(def->defname, "continuous") == 0)
		{
			given = MDB_ROLLUP_CONTINUOUS;
			options->continuous = defGetBoolean(def);
		}
		else if (strcmp(def->defname, "materialized_only") == 0)
		{
			given = MDB_ROLLUP_MATERIALIZED_ONLY;
			options->materialized_only = defGetBoolean(def);
		}
		else if (strcmp(def->defname, "stack") == 0)
		{
			given = MDB_ROLLUP_STACK;
			options->stack = defGetBoolean(def);
		}
		else if (strcmp(def->defname, "lateness") == 0)
		{
			given = MDB_ROLLUP_LATENESS;
			options->lateness = mdb_rollup_lateness(defGetString(def));
		}
		else
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("unrecognized parameter \"%s.%s\"", MDB_SCHEMA, def->defname),
							errhint("The options of a continuous aggregate are %s.continuous, "
									"materialized_only, lateness and stack.",
									MDB_SCHEMA)));
		if (options->given & given)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("parameter \"%s.%s\" specified more than once", MDB_SCHEMA, def->defname)));
		options->given |= given;
	}
	return rest;
}

/* ---------- running SQL ---------- */

/*
 * mdb_rollup_run - run statements, each of whose names is qualified.
 */
void
mdb_rollup_run(const char *sql)
{
	int rc;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	rc = SPI_execute(sql, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI failed (%d): %s", rc, sql);
	SPI_finish();
	CommandCounterIncrement();
}

/* ---------- the table of states ---------- */

/*
 * mdb_states_column_name - a name that no other column has.
 */
char *
mdb_states_column_name(List *names, const char *wanted)
{
	char *name = pnstrdup(wanted, NAMEDATALEN - 1);
	int n = 1;

	for (;;)
	{
		bool taken = SystemAttributeByName(name) != NULL;
		ListCell *lc;

		foreach (lc, names)
			taken = taken || strcmp(lfirst(lc), name) == 0;
		if (!taken)
			return name;
		name = psprintf("%.*s_%d", NAMEDATALEN - 8, wanted, ++n);
	}
}

/* Names of the columns of states: those that the view gives to bucket and keys, others after what they are of. */
static List *
column_names(const MdbPlan *plan)
{
	List *names = list_make1(mdb_states_column_name(NIL, plan->bucket_name));
	ListCell *lc, *name;

	forboth (lc, plan->keys, name, plan->key_names)
	{
		Var *var = lfirst(lc);
		char *wanted = lfirst(name);

		if (wanted == NULL)
			wanted = IsA(var, Var) ? get_attname(plan->raw, var->varattno, false) : "key";
		names = lappend(names, mdb_states_column_name(names, wanted));
	}
	foreach (lc, plan->partials)
		names = lappend(names, mdb_states_column_name(names, mdb_state_name(lfirst(lc), plan->raw)));
	return names;
}

/*
 * mdb_states_column_text - the definition of a column that keeps an expression.
 */
void
mdb_states_column_text(StringInfo buf, const char *name, Node *expr)
{
	Oid collation = exprCollation(expr);

	appendStringInfo(buf, "%s %s", quote_identifier(name),
					 format_type_with_typemod(exprType(expr), exprTypmod(expr)));
	if (OidIsValid(collation) && collation != get_typcollation(exprType(expr)))
		appendStringInfo(buf, " COLLATE %s", generate_collation_name(collation));
}

/* Nobody but the owner gets at the states, whatever default privileges say: policies of raw are not theirs. */
static void
revoke_all(Oid relid)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	bool isnull;
	Datum datum = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relacl, &isnull);
	Acl *acl = isnull ? NULL : DatumGetAclPCopy(datum);

	ReleaseSysCache(tuple);
	for (int i = 0; acl && i < ACL_NUM(acl); i++)
	{
		Oid grantee = ACL_DAT(acl)[i].ai_grantee;

		if (grantee != owner)
			mdb_rollup_run(psprintf(
				"REVOKE ALL ON TABLE %s FROM %s", mdb_qualified_name(relid),
				grantee == ACL_ID_PUBLIC ? "PUBLIC" : quote_identifier(GetUserNameFromId(grantee, false))));
	}
}

static Oid
create_states(const MdbPlan *plan, IntoClause *into, Oid schema, List *names)
{
	char *relname = ChooseRelationName(into->rel->relname, NULL, "states", schema, false);
	List *exprs = list_concat(list_make1(plan->bucket), plan->keys);
	StringInfoData buf, series;
	ListCell *name, *expr;
	Oid relid;

	initStringInfo(&buf);
	initStringInfo(&series);
	appendStringInfo(&buf, "CREATE TABLE %s (\n  ",
					 quote_qualified_identifier(get_namespace_name(schema), relname));
	exprs = list_concat(exprs, plan->partials);
	forboth (name, names, expr, exprs)
	{
		int at = foreach_current_index(name);

		if (at > 0)
			appendStringInfoString(&buf, ",\n  ");
		mdb_states_column_text(&buf, lfirst(name), lfirst(expr));
		if (at > 0 && at <= list_length(plan->keys))
			appendStringInfo(&series, "%s\"", at == 1 ? "" : ", ");
		for (const char *p = lfirst(name); at > 0 && at <= list_length(plan->keys); p++)
		{
			if (*p == '\0' || *p == '"')
				appendStringInfoChar(&series, '"');
			if (*p == '\0')
				break;
			appendStringInfoChar(&series, *p);
		}
	}
	appendStringInfo(&buf, "\n) USING %s WITH (%s.time = %s, %s.series = %s)", MDB_AM_NAME, MDB_SCHEMA,
					 quote_literal_cstr(psprintf("\"%s\"", (char *) linitial(names))), MDB_SCHEMA,
					 quote_literal_cstr(series.data));
	if (into->tableSpaceName)
		appendStringInfo(&buf, " TABLESPACE %s", quote_identifier(into->tableSpaceName));
	mdb_rollup_run(buf.data);
	relid = get_relname_relid(relname, schema);
	revoke_all(relid);
	return relid;
}

/* ---------- the statement ---------- */

static void
check_into(IntoClause *into, List *options)
{
	const char *name = into->rel->relname;

	if (options != NIL)
	{
		DefElem *def = linitial(options);

		mdb_refuse(name, ERRCODE_INVALID_PARAMETER_VALUE,
				   psprintf("It has no storage parameter \"%s\".", def->defname),
				   "Its table of states can have some, set by ALTER TABLE.");
	}
	if (into->accessMethod && strcmp(into->accessMethod, MDB_AM_NAME) != 0)
		mdb_refuse(name, ERRCODE_FEATURE_NOT_SUPPORTED,
				   psprintf("Its states cannot be stored by access method \"%s\".", into->accessMethod),
				   "Leave out USING.");
	if (into->rel->relpersistence == RELPERSISTENCE_UNLOGGED ||
		into->rel->relpersistence == RELPERSISTENCE_TEMP)
		mdb_refuse(name, ERRCODE_FEATURE_NOT_SUPPORTED, "It cannot be temporary or unlogged.", NULL);
}

/* Names in parentheses behind the view's. */
static void
rename_columns(MdbPlan *plan, List *names)
{
	ListCell *lc, *output;

	if (list_length(names) > list_length(plan->outputs))
		mdb_refuse(plan->name, ERRCODE_SYNTAX_ERROR, "Too many column names were specified.", NULL);
	forboth (lc, names, output, plan->outputs)
	{
		TargetEntry *tle = lfirst(output);
		Var *var = (Var *) tle->expr;

		tle->resname = pstrdup(strVal(lfirst(lc)));
		if (!IsA(var, Var))
			continue;
		if (var->varattno == 1)
			plan->bucket_name = tle->resname;
		else
			lfirst(list_nth_cell(plan->key_names, var->varattno - 2)) = tle->resname;
	}
}

static void
check_names(const MdbPlan *plan)
{
	ListCell *lc;

	foreach (lc, plan->outputs)
		for (int i = 0; i < foreach_current_index(lc); i++)
			if (strcmp(list_nth_node(TargetEntry, plan->outputs, i)->resname,
					   lfirst_node(TargetEntry, lc)->resname) == 0)
				ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN),
								errmsg("column \"%s\" specified more than once",
									   lfirst_node(TargetEntry, lc)->resname),
								errhint("Name it otherwise by AS.")));
}

static MdbAggregate *
choose_source(const MdbPlan *plan, const MdbRollupOptions *options)
{
	MdbAggregate *finer = options->stack ? mdb_stack_choose(plan) : NULL;

	if (finer == NULL && OidIsValid(plan->given) && options->stack)
		mdb_refuse(plan->name, ERRCODE_FEATURE_NOT_SUPPORTED,
				   "The aggregate that it selects from does not keep what it takes.",
				   "Select from the table itself.");
	if (finer)
		LockRelationOid(finer->aggregate, ShareRowExclusiveLock);
	return finer;
}

/* Is there a relation of that name already? */
static bool
exists_already(IntoClause *into, bool if_not_exists, Oid *schema)
{
	Oid existing;

	*schema = RangeVarGetAndCheckCreationNamespace(into->rel, NoLock, &existing);
	if (!OidIsValid(existing))
		return false;
	if (!if_not_exists)
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_TABLE),
						errmsg("relation \"%s\" already exists", into->rel->relname)));
	ereport(NOTICE, (errcode(ERRCODE_DUPLICATE_TABLE),
					 errmsg("relation \"%s\" already exists, skipping", into->rel->relname)));
	return true;
}

static MdbAggregate
new_aggregate(const MdbPlan *plan, const MdbAggregate *finer, const MdbRollupOptions *options, Oid states,
			  Oid view)
{
	MdbAggregate a = {0};

	a.aggregate = states;
	a.view = view;
	a.source = finer ? finer->aggregate : plan->raw;
	a.raw = plan->raw;
	a.parent = finer ? finer->aggregate : InvalidOid;
	a.granularity = mdb_bucket_granularity(&plan->rule);
	a.materialized_only = options->materialized_only;
	a.backfill = options->backfill;
	a.lateness = options->lateness;
	a.attached = true;
	a.floor = PG_INT64_MIN;
	a.created_at = GetCurrentTimestamp();
	return a;
}

/* The trigger on the view.  A function of its own, lest compilers fear that longjmp() clobbers variables. */
static pg_noinline void
create_trigger(Oid view, const Interval *lateness)
{
	mdb_rollup_creating = true;
	PG_TRY();
	{
		mdb_rollup_run(mdb_rollup_trigger_text(view, lateness));
	}
	PG_FINALLY();
	{
		mdb_rollup_creating = false;
	}
	PG_END_TRY();
}

/*
 * Partitions of the states in days.  A day has few states of a group where buckets are long, and a block of one group's,
 * which is what queries about few groups read, needs a hundred.
 */
static int32
partition_days(const MdbPlan *plan)
{
	int64 day = plan->rule.time_type == DATEOID ? 1 : USECS_PER_DAY;
	double states = (double) day / (double) Max(1, mdb_bucket_granularity(&plan->rule));

	return states >= 96 ? 1 : states >= 3 ? 32 : 1024;
}

static void
create(CreateTableAsStmt *stmt, MdbRollupOptions *options, Oid schema)
{
	IntoClause *into = stmt->into;
	MdbPlan *plan = mdb_plan_make(castNode(Query, copyObject(stmt->query)), into->rel->relname);
	MdbAggregate *finer;
	MdbAggregate a;
	List *names;
	Oid states, view;
	char *view_name = quote_qualified_identifier(get_namespace_name(schema), into->rel->relname);

	rename_columns(plan, into->colNames);
	check_names(plan);
	/* From here on nobody writes rows that he does not know to be wanted by this aggregate. */
	LockRelationOid(plan->raw, ShareRowExclusiveLock);
	finer = choose_source(plan, options);
	names = column_names(plan);
	states = create_states(plan, into, schema, names);
	if (partition_days(plan) > 1)
		mdb_days_store(states, partition_days(plan));
	mdb_rollup_run(psprintf("CREATE VIEW %s AS\n%s", view_name,
							mdb_view_query(plan, states, names, finer, options->materialized_only)));
	view = get_relname_relid(into->rel->relname, schema);
	create_trigger(view, &options->lateness);
	a = new_aggregate(plan, finer, options, states, view);
	mdb_rollup_register(&a, PG_INT64_MIN);
}

/*
 * mdb_rollup_create - run the statement.
 *
 * Raises what mdb_plan_make() does, and what CREATE TABLE and CREATE VIEW do.
 */
void
mdb_rollup_create(CreateTableAsStmt *stmt, const MdbRollupOptions *given)
{
	MdbRollupOptions options = *given;
	Oid schema;
	int level;

	check_into(stmt->into, stmt->into->options);
	if (exists_already(stmt->into, stmt->if_not_exists, &schema))
		return;
	options.backfill = !stmt->into->skipData;
	if (!(options.given & MDB_ROLLUP_STACK))
		options.stack = true;
	if (!(options.given & MDB_ROLLUP_LATENESS))
		options.lateness = (Interval){.time = DEFAULT_LATENESS};
	level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	create(stmt, &options, schema);
	AtEOXact_GUC(true, level);
}
