/*
 * refresh.c
 *	  Bringing a continuous aggregate up to date because somebody says so: refresh(), REFRESH MATERIALIZED VIEW.
 *
 * Finer aggregates that it is made of come first.  Of each, rows that lie in the source's delta become parts, for only
 * those are taken; then what of the range is pending is taken and what is dirty is made again, whether its bucket is
 * closed or not, and whether a worker would.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/pquery.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "func/func.h"
#include "rollup/apply.h"
#include "rollup/define.h"
#include "store/elsewhere.h"

PG_FUNCTION_INFO_V1(mdb_refresh_sql);
PG_FUNCTION_INFO_V1(mdb_attach_aggregate);
PG_FUNCTION_INFO_V1(mdb_detach_aggregate);

/* While others are at the parts. */
#define WAIT_MS 20

/*
 * mdb_aggregate_of_view - the aggregate that a view is of; the caller must own it.
 *
 * Raises ERRCODE_WRONG_OBJECT_TYPE, ERRCODE_UNDEFINED_TABLE or a permission error.
 */
MdbAggregate *
mdb_aggregate_of_view(Oid view)
{
	char *name = get_rel_name(view);
	Snapshot snapshot;
	MdbAggregate *list;
	int n;

	if (name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("view with OID %u does not exist", view)));
	if (!mdb_owns_table(view))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(view)), name);
	snapshot = mdb_latest_snapshot();
	list = mdb_aggregates_by(MDB_AGGREGATE_VIEW, view, snapshot, &n);
	UnregisterSnapshot(snapshot);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a continuous aggregate", name),
				 errhint("The view metricsdb.aggregate_status shows those that there are.")));
	return list;
}

/* ---- how transactions end ---- */

static void
commit_procedure(void)
{
	SPI_commit();
}

/* Inside a transaction that is the user's. */
static void
commit_not(void)
{
	CommandCounterIncrement();
}

static void
begin_not(void)
{
}

typedef struct Refresh
{
	bool own; /* are transactions ours to end? */
	MdbTransactionFunction begin;
	MdbTransactionFunction commit;
} Refresh;

/* ---- refreshing ---- */

/* A range of times, and the type of them. */
typedef struct Asked
{
	int64 from;
	int64 to;
	Oid time_type;
} Asked;

static Oid
time_type_of(Oid relid)
{
	Relation rel = relation_open(relid, AccessShareLock);
	Oid type = mdb_is_metricsdb(rel) ? mdb_table(rel)->time_type : InvalidOid;

	relation_close(rel, NoLock);
	return type;
}

/* All that is to be done for one aggregate in a range. */
static void
refresh_one(const MdbAggregate *a, const Asked *asked, const Refresh *r)
{
	MdbApplyGoal goal = {.what = MDB_APPLY_ASKED, .from = asked->from, .to = asked->to};
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext mcxt = AllocSetContextCreate(outer, "metricsdb refresh", ALLOCSET_DEFAULT_SIZES);
	MdbStep step;

	if (r->own)
		(void) mdb_compact_relation(a->source, MDB_COMPACT_DELTA, true, r->begin, r->commit);
	do
	{
		CHECK_FOR_INTERRUPTS();
		r->begin();
		MemoryContextReset(mcxt);
		MemoryContextSwitchTo(mcxt);
		step = mdb_aggregate_apply(a->aggregate, &goal, true);
		MemoryContextSwitchTo(outer);
		r->commit();
		if (step == MDB_STEP_GAVE_WAY)
			pg_usleep(WAIT_MS * 1000L);
	} while (step != MDB_STEP_NOTHING && !(step == MDB_STEP_GAVE_WAY && !r->own));
	if (step == MDB_STEP_GAVE_WAY)
		ereport(NOTICE, (errmsg("some rows were not taken because others are at the parts that they lie in"),
						 errhint("Outside a transaction block CALL metricsdb.refresh() waits for them.")));
	MemoryContextDelete(mcxt);
}

/* One and the finer ones that it is made of, these first. */
static void
refresh_chain(const MdbAggregate *a, const Asked *asked, const Refresh *r)
{
	check_stack_depth();
	if (OidIsValid(a->parent))
	{
		Snapshot snapshot;
		MdbAggregate *finer;
		Asked whole = *asked;

		r->begin();
		snapshot = mdb_latest_snapshot();
		finer = mdb_aggregate_get(a->parent, snapshot);
		UnregisterSnapshot(snapshot);
		if (finer && SearchSysCacheExists1(RELOID, ObjectIdGetDatum(finer->source)))
		{
			MdbRollupBucket *b = mdb_rollup_bucket(a);

			/* Whole buckets of ours; where times of both are not the same thing, everything. */
			if (whole.from > PG_INT64_MIN)
				whole.from = mdb_rollup_bucket_first(b, whole.from);
			if (whole.to < PG_INT64_MAX)
				whole.to = mdb_rollup_bucket_last(b, whole.to - 1);
			if (whole.to < PG_INT64_MAX)
				whole.to++;
			if (time_type_of(finer->source) != asked->time_type)
			{
				whole.from = PG_INT64_MIN;
				whole.to = PG_INT64_MAX;
				whole.time_type = time_type_of(finer->source);
			}
			r->commit();
			refresh_chain(finer, &whole, r);
		}
		else
			r->commit();
	}
	refresh_one(a, asked, r);
}

static void
refresh(const MdbAggregate *a, const Asked *asked, bool own)
{
	Refresh r = {.own = own,
				 .begin = own ? EnsurePortalSnapshotExists : begin_not,
				 .commit = own ? commit_procedure : commit_not};

	if (SPI_connect_ext(own ? SPI_OPT_NONATOMIC : 0) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	/* CALL has come with a snapshot. */
	r.commit();
	refresh_chain(a, asked, &r);
	SPI_finish();
}

/* An argument as a time of the source. */
static int64
time_argument(FunctionCallInfo fcinfo, int n, Oid type, int64 otherwise)
{
	Oid given = get_fn_expr_argtype(fcinfo->flinfo, n);
	Oid input, ioparam, output;
	bool varlena;
	char *text;
	Datum value;

	if (PG_ARGISNULL(n))
		return otherwise;
	if (given == UNKNOWNOID)
		text = PG_GETARG_CSTRING(n);
	else
	{
		getTypeOutputInfo(given, &output, &varlena);
		text = OidOutputFunctionCall(output, PG_GETARG_DATUM(n));
	}
	getTypeInputInfo(type, &input, &ioparam);
	value = OidInputFunctionCall(input, text, ioparam, -1);
	return mdb_time_units(value, type);
}

/* Is it an aggregate that nodes keep?  Then they have refreshed it. */
static bool
refresh_on_nodes(FunctionCallInfo fcinfo)
{
	Oid view = PG_GETARG_OID(0);

	if (get_rel_relkind(view) != RELKIND_VIEW || !mdb_elsewhere->is_view(view))
		return false;
	if (!mdb_owns_table(view))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_MATVIEW, get_rel_name(view));
	if (!PG_ARGISNULL(1) || !PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot refresh a range of continuous aggregate \"%s\", which is on nodes",
							   get_rel_name(view)),
						errhint("Refresh all of it, or call metricsdb.refresh() on the nodes.")));
	mdb_elsewhere->change(psprintf("REFRESH MATERIALIZED VIEW %s", mdb_qualified_name(view)));
	return true;
}

/*
 * mdb_refresh_sql - CALL metricsdb.refresh(view regclass, "from" any, "to" any): see its COMMENT.
 *
 * Raises ERRCODE_INVALID_TRANSACTION_STATE inside a transaction block, ERRCODE_WRONG_OBJECT_TYPE for another kind of
 * view, ERRCODE_INVALID_PARAMETER_VALUE for an empty range, a permission error unless the caller owns it, and whatever
 * the definition does.
 */
Datum
mdb_refresh_sql(PG_FUNCTION_ARGS)
{
	bool nonatomic = fcinfo->context && IsA(fcinfo->context, CallContext) &&
					 !castNode(CallContext, fcinfo->context)->atomic;
	MdbAggregate *a;
	Asked asked;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the view must not be NULL")));
	if (refresh_on_nodes(fcinfo))
		PG_RETURN_VOID();
	a = mdb_aggregate_of_view(PG_GETARG_OID(0));
	if (!nonatomic)
		ereport(ERROR, (errcode(ERRCODE_INVALID_TRANSACTION_STATE),
						errmsg("metricsdb.refresh() cannot run inside a transaction block"),
						errdetail("It commits after each batch."),
						errhint("Call it on its own, or use REFRESH MATERIALIZED VIEW.")));
	asked.time_type = time_type_of(a->source);
	asked.from = time_argument(fcinfo, 1, asked.time_type, PG_INT64_MIN);
	asked.to = time_argument(fcinfo, 2, asked.time_type, PG_INT64_MAX);
	if (asked.from >= asked.to)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the range to be refreshed is empty"),
				 errdetail("Its end must be later than its beginning.")));
	mdb_decoding_hide_all();
	refresh(a, &asked, true);
	PG_RETURN_VOID();
}

/*
 * mdb_refresh_view - REFRESH MATERIALIZED VIEW of an aggregate's view: all of it.
 *
 * top_level: the statement is one that the client has sent.  Outside a transaction block transactions are ended as
 * CALL metricsdb.refresh() does; inside, all is done in the user's, and rows of the source's delta are not taken.
 */
void
mdb_refresh_view(Oid view, bool top_level)
{
	MdbAggregate *a = mdb_aggregate_of_view(view);
	Asked asked = {.from = PG_INT64_MIN, .to = PG_INT64_MAX, .time_type = time_type_of(a->source)};

	refresh(a, &asked, !IsInTransactionBlock(top_level));
}

/* ---- attaching ---- */

static void
set_attached(Oid view, bool attached)
{
	MdbAggregate *a;

	/* Its states were restored when it was there already: begin anew. */
	if (attached && mdb_rollup_of_view(view) == NULL && mdb_rollup_has_trigger(view))
	{
		mdb_rollup_restored(view);
		return;
	}
	a = mdb_aggregate_of_view(view);
	mdb_aggregate_set_attached(a->aggregate, attached);
}

/*
 * mdb_attach_aggregate, mdb_detach_aggregate - metricsdb.attach_aggregate(view regclass), detach_aggregate: is it to be
 * kept up to date?
 *
 * Raise ERRCODE_WRONG_OBJECT_TYPE for another kind of view, and a permission error unless the caller owns it.
 */
Datum
mdb_attach_aggregate(PG_FUNCTION_ARGS)
{
	set_attached(PG_GETARG_OID(0), true);
	PG_RETURN_VOID();
}

Datum
mdb_detach_aggregate(PG_FUNCTION_ARGS)
{
	set_attached(PG_GETARG_OID(0), false);
	PG_RETURN_VOID();
}
