/*
 * attach.c
 *	  An aggregate is registered: when it is made, and when a dump of it is restored.
 *
 * pg_dump knows a view, a table of states with its rows, and a trigger on the view, which it restores behind all data.
 * The trigger keeps writers off the view, with a clear error; that it is made registers the aggregate.  Of what the
 * states have not taken the dump tells nothing.  So where raw is there they are made again: states from the first
 * bucket on that raw has wholly are removed, and raw's rows from there on are pending.  Older states, of which raw
 * is gone, stay as they are.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_func.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "admin/admin.h"
#include "compat.h"
#include "exec/rollup_scan.h"
#include "func/func.h"
#include "metricsdb.h"
#include "rollup/define.h"
#include "store/store.h"
#include "write/write.h"

#define LATENESS "lateness="

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_continuous_view);

bool mdb_rollup_creating = false;

/* ---------- the trigger ---------- */

/*
 * mdb_continuous_view - INSTEAD OF trigger on the view of a continuous aggregate: an error.
 */
Datum
mdb_continuous_view(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function can only be called by a trigger")));
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("cannot change rows of continuous aggregate \"%s\"",
						   RelationGetRelationName(data->tg_relation)),
					errdetail("They are computed from the rows of its table."),
					errhint("Change those; the aggregate follows.")));
}

/*
 * mdb_rollup_trigger_text - the statement that makes a view's trigger; its arguments are the options that its rule
 * does not tell.
 */
char *
mdb_rollup_trigger_text(Oid view, const Interval *lateness)
{
	int level = NewGUCNestLevel();
	char *text;

	(void) set_config_option("IntervalStyle", "postgres", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
							 0, false);
	text = DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(lateness)));
	AtEOXact_GUC(true, level);

	return psprintf("CREATE OR REPLACE TRIGGER %s INSTEAD OF INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW "
					"EXECUTE FUNCTION %s.continuous_view(%s)",
					MDB_VIEW_TRIGGER, mdb_qualified_name(view), MDB_SCHEMA,
					quote_literal_cstr(psprintf(LATENESS "%s", text)));
}

/*
 * mdb_rollup_trigger_function - the function of the trigger on aggregates' views; InvalidOid if there is none.
 */
Oid
mdb_rollup_trigger_function(void)
{
	return LookupFuncName(list_make2(makeString(MDB_SCHEMA), makeString("continuous_view")), 0, NULL, true);
}

/*
 * mdb_rollup_has_trigger - does a view have that trigger?
 */
bool
mdb_rollup_has_trigger(Oid view)
{
	Oid function = mdb_rollup_trigger_function();
	Relation rel = try_relation_open(view, AccessShareLock);
	bool found = false;

	if (rel == NULL)
		return false;
	for (int i = 0; rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
		found = found || rel->trigdesc->triggers[i].tgfoid == function;
	relation_close(rel, NoLock);
	return found;
}

/* The lateness that the view's trigger says. */
static Interval
lateness_of(Relation view)
{
	Oid trigger = mdb_rollup_trigger_function();
	Interval lateness = {0};

	for (int i = 0; view->trigdesc && i < view->trigdesc->numtriggers; i++)
	{
		const Trigger *t = &view->trigdesc->triggers[i];

		if (t->tgfoid != trigger)
			continue;
		for (int n = 0; n < t->tgnargs; n++)
			if (strncmp(t->tgargs[n], LATENESS, strlen(LATENESS)) == 0)
				lateness = mdb_rollup_lateness(t->tgargs[n] + strlen(LATENESS));
	}
	return lateness;
}

/* ---------- registering ---------- */

/*
 * mdb_rollup_register - record an aggregate; rows of its source from a time on are pending.
 *
 * The source is locked against writers.
 */
void
mdb_rollup_register(const MdbAggregate *a, int64 from)
{
	Relation source = table_open(a->source, NoLock);
	MdbTable *table = mdb_table(source);
	Snapshot snapshot = mdb_latest_snapshot();
	MdbPartList *parts = mdb_parts_visible(table, snapshot);

	UnregisterSnapshot(snapshot);
	mdb_aggregate_insert(a);
	for (int i = 0; i < parts->count; i++)
	{
		const MdbPartInfo *part = &parts->parts[i];
		MdbPending p = {.storage_id = table->storage_id,
						.part_id = part->part_id,
						.aggregate = a->aggregate,
						.time_from = from,
						.time_to = PG_INT64_MAX,
						.backfill = true};

		/* Rows without a time are never taken, and always pending. */
		if (part->days == 0)
			p.time_from = PG_INT64_MIN;
		if (part->days == 0 || from == PG_INT64_MIN || part->time_max >= from)
			mdb_pending_insert(&p, GetCurrentCommandId(true));
	}
	table_close(source, NoLock);
	CommandCounterIncrement();
}

/* ---------- a restored aggregate ---------- */

/* The least time of a table; false if it has none. */
static bool
least_time(Relation rel, AttrNumber attno, int64 *time)
{
	char *sql = psprintf("SELECT pg_catalog.min(%s) FROM ONLY %s",
						 quote_identifier(get_attname(RelationGetRelid(rel), attno, false)),
						 mdb_qualified_name(RelationGetRelid(rel)));
	Datum value;
	bool isnull;

	if (SPI_execute(sql, false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "SPI failed: %s", sql);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		*time = mdb_time_units(value, getBaseType(SPI_gettypeid(SPI_tuptable->tupdesc, 1)));
	return !isnull;
}

/* Remove states of buckets from a time on. */
static void
remove_states(const MdbDefinition *def, int64 from)
{
	AttrNumber bucket = (AttrNumber) linitial_int(def->columns);
	Oid type = get_atttype(def->states, bucket);
	Datum value = mdb_units_time(from, type);
	char *sql = psprintf("DELETE FROM ONLY %s WHERE %s >= $1", mdb_qualified_name(def->states),
						 quote_identifier(get_attname(def->states, bucket, false)));

	if (SPI_execute_with_args(sql, 1, &type, &value, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "SPI failed: %s", sql);
}

/*
 * Rows of the source's delta are always pending.  So those that are older than what is to be taken again, as the states
 * have them, become a part.
 */
static void
move_rows(Relation source, int64 from)
{
	MdbCompactGoal goal = {0};
	AttrNumber attno = mdb_table(source)->time_attno;
	Oid type = get_atttype(RelationGetRelid(source), attno);
	Datum value = mdb_units_time(from, getBaseType(type));
	char *sql = psprintf("SELECT 1 FROM ONLY %s WHERE %s < $1 AND ctid < '(2147483648,0)'::pg_catalog.tid",
						 mdb_qualified_name(RelationGetRelid(source)),
						 quote_identifier(get_attname(RelationGetRelid(source), attno, false)));

	while (mdb_move_rows(source, mdb_table(source), &goal))
		CHECK_FOR_INTERRUPTS();
	if (SPI_execute_with_args(sql, 1, &type, &value, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "SPI failed: %s", sql);
	if (SPI_processed > 0)
		ereport(
			ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" has old rows that are in no part yet", RelationGetRelationName(source)),
			 errdetail("They are in the states of the continuous aggregate already, and must be told from "
					   "new ones."),
			 errhint("CALL metricsdb.compact('%s'), then create the trigger.",
					 mdb_qualified_name(RelationGetRelid(source)))));
}

/*
 * From when on the states are to be made again: the first bucket that begins where, or after, the source has all its
 * rows, or will have them again, if its own are being made from what is below it.  False if there are none.
 */
static bool
begin_of_source(const MdbDefinition *def, const MdbAggregate *a, int64 *from)
{
	MdbRollupBucket *buckets = mdb_rollup_bucket(a);
	bool found = false;
	int64 begin;
	ListCell *lc;

	*from = PG_INT64_MAX;
	foreach (lc, def->sources)
	{
		Relation rel = table_open(lfirst_oid(lc), AccessShareLock);

		if (mdb_is_metricsdb(rel) && least_time(rel, mdb_table(rel)->time_attno, &begin))
		{
			found = true;
			*from = Min(*from, begin);
		}
		table_close(rel, NoLock);
	}
	if (!found)
		return false;
	*from = mdb_rollup_bucket_value(buckets, *from);
	if (a->floor > *from)
	{
		begin = mdb_rollup_bucket_value(buckets, a->floor);
		*from = begin >= a->floor ? begin : mdb_rollup_bucket_last(buckets, a->floor) + 1;
	}
	return true;
}

/* Are the states a table of their own, with the bucket as their time? */
static bool
has_own_states(const MdbDefinition *def)
{
	Relation rel = table_open(def->states, AccessShareLock);
	bool ok = mdb_is_metricsdb(rel) && mdb_table(rel)->time_attno == linitial_int(def->columns);
	int n;

	table_close(rel, NoLock);
	if (list_member_oid(def->sources, def->states))
		return false;
	(void) mdb_aggregates_by(MDB_AGGREGATE_RAW, def->states, NULL, &n);
	return ok && n == 0;
}

static void
check_restored(const MdbDefinition *def)
{
	Oid relids[] = {def->view, def->states, def->source, def->raw};

	for (int i = 0; i < lengthof(relids); i++)
		if (!mdb_owns_table(relids[i]))
			aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(relids[i])),
						   get_rel_name(relids[i]));
	if (!mdb_is_metricsdb_oid(def->states) || !mdb_is_metricsdb_oid(def->source))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" cannot become a continuous aggregate", get_rel_name(def->view)),
						errdetail("Its states and its source must be metricsdb tables.")));
	if (!has_own_states(def))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" cannot become a continuous aggregate", get_rel_name(def->view)),
						errdetail("Its states must be a table of their own, whose time is the bucket.")));
	if (mdb_rollup_of_view(def->view) != NULL || mdb_aggregate_get(def->states, NULL) != NULL)
		ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT),
						errmsg("\"%s\" is a continuous aggregate already", get_rel_name(def->view))));
}

/*
 * mdb_rollup_restored - a view got the trigger, by the dump's CREATE TRIGGER, or its states got their rows later:
 * register it.
 *
 * Raises ERRCODE_WRONG_OBJECT_TYPE if it is not the view of a continuous aggregate, ERRCODE_DUPLICATE_OBJECT if it is
 * registered, and ERRCODE_INSUFFICIENT_PRIVILEGE if it and its tables are not the user's.
 */
void
mdb_rollup_restored(Oid relid)
{
	MdbDefinition *def;
	MdbAggregate a = {0};
	MdbOptions options;
	MdbBefore before;
	Relation view, states, source;
	int64 from;

	/* pg_upgrade brings the catalogs along. */
	if (mdb_rollup_creating || IsBinaryUpgrade)
		return;
	view = relation_open(relid, AccessShareLock);
	def = mdb_definition_read(relid);
	check_restored(def);
	source = table_open(def->source, ShareRowExclusiveLock);
	states = table_open(def->states, ShareRowExclusiveLock);
	a.aggregate = def->states;
	a.view = relid;
	a.source = def->source;
	a.raw = def->raw;
	a.parent = def->source == def->raw ? InvalidOid : def->source;
	a.granularity = mdb_bucket_granularity(&def->rule);
	a.materialized_only = def->materialized_only;
	a.backfill = true;
	a.lateness = lateness_of(view);
	a.attached = true;
	a.floor = mdb_options_load(def->states, &options) && options.floor_given ? options.floor : PG_INT64_MIN;
	a.created_at = GetCurrentTimestamp();
	mdb_owner_begin(states, &before);
	SPI_connect();
	if (begin_of_source(def, &a, &from))
	{
		move_rows(source, from);
		remove_states(def, from);
		CommandCounterIncrement();
		mdb_rollup_register(&a, from);
	}
	else
		mdb_rollup_register(&a, PG_INT64_MAX);
	SPI_finish();
	mdb_owner_end(&before);
	table_close(states, NoLock);
	table_close(source, NoLock);
	relation_close(view, NoLock);
}
