/*
 * rollup_markers.c
 *	  is_clean(states, bucket) and is_pending(states, time), the conditions that tell a view which rows of the states
 *	  and of their source belong together.
 *
 * is_clean() can be asked anywhere.  Of which rows is_pending() is true only a scan of the source knows
 * (rollup_scan.c): there it is not called at all.  Elsewhere it is an error, unless nothing is known of the
 * aggregate, as while a dump is restored; then all buckets are clean and nothing is pending.
 *
 * Who applies an aggregate says himself what is_pending() means for it (mdb_pending_override), until he has done so,
 * or his transaction or subtransaction ends.  Workers of a parallel query would not know of it, so there are
 * none then.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "nodes/supportnodes.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "exec/pushdown.h"
#include "exec/rollup_scan.h"
#include "func/func.h"
#include "metricsdb.h"

/*
 * mdb_marker_of - is a condition one of the two functions, of states that are known when planning?
 */
MdbMarker
mdb_marker_of(const Node *clause, Oid *aggregate, Node **time)
{
	const FuncExpr *call = (const FuncExpr *) clause;
	const Const *states;
	MdbMarker marker = MDB_MARKER_NONE;
	char *name;

	if (clause == NULL || !IsA(clause, FuncExpr) || call->funcid < FirstNormalObjectId ||
		call->funcresulttype != BOOLOID || list_length(call->args) < 2)
		return MDB_MARKER_NONE;
	states = linitial(call->args);
	if (!IsA(states, Const) || states->consttype != REGCLASSOID || states->constisnull)
		return MDB_MARKER_NONE;
	name = get_func_name(call->funcid);
	if (name && strcmp(name, "is_pending") == 0)
		marker = MDB_MARKER_PENDING;
	else if (name && strcmp(name, "is_clean") == 0)
		marker = MDB_MARKER_CLEAN;
	if (marker == MDB_MARKER_NONE || get_func_namespace(call->funcid) != get_namespace_oid(MDB_SCHEMA, true))
		return MDB_MARKER_NONE;
	*aggregate = DatumGetObjectId(states->constvalue);
	*time = lsecond(call->args);
	return marker;
}

/* ---------- what it means to who applies ---------- */

static MdbPendingOverride override;
static MemoryContext override_mcxt = NULL;
static SubTransactionId override_subid = InvalidSubTransactionId;

static void
begin_override(Oid aggregate)
{
	mdb_pending_override_clear();
	if (override_mcxt == NULL)
		override_mcxt =
			AllocSetContextCreate(TopMemoryContext, "metricsdb pending override", ALLOCSET_SMALL_SIZES);
	override_subid = GetCurrentSubTransactionId();
	override.aggregate = aggregate;
}

static int
part_cmp(const void *a, const void *b)
{
	const MdbPartInterval *x = a, *y = b;

	return x->part_id < y->part_id ? -1 : x->part_id > y->part_id;
}

/*
 * mdb_pending_override - from now on is_pending() of an aggregate is true of the rows of exactly these parts that have
 * exactly these times, and of none of the delta.
 *
 * Rows without a time count with a part whose interval has no bounds.  To be called before the query is planned;
 * a scan that does not see one of the parts raises an error.
 */
void
mdb_pending_override(Oid aggregate, const MdbPartInterval *parts, int n)
{
	begin_override(aggregate);
	override.parts = MemoryContextAllocHuge(override_mcxt, sizeof(MdbPartInterval) * Max(1, n));
	memcpy(override.parts, parts, sizeof(MdbPartInterval) * n);
	override.nparts = n;
	qsort(override.parts, n, sizeof(MdbPartInterval), part_cmp);
}

/*
 * mdb_pending_override_applied - from now on it is true of the rows of parts that are not pending and have one of these
 * times, and of none of the delta.
 */
void
mdb_pending_override_applied(Oid aggregate, const MdbTimeRange *ranges, int n)
{
	MdbTimeRange *copy;

	begin_override(aggregate);
	copy = MemoryContextAllocHuge(override_mcxt, sizeof(MdbTimeRange) * Max(1, n));
	memcpy(copy, ranges, sizeof(MdbTimeRange) * n);
	override.applied = true;
	override.times = mdb_time_set_make(copy, n, false);
}

/*
 * mdb_pending_override_clear - it means again what it says.
 */
void
mdb_pending_override_clear(void)
{
	memset(&override, 0, sizeof(override));
	override_subid = InvalidSubTransactionId;
	if (override_mcxt)
		MemoryContextReset(override_mcxt);
}

/*
 * mdb_pending_override_of - what it means for an aggregate in this backend; NULL: what it says.
 */
const MdbPendingOverride *
mdb_pending_override_of(Oid aggregate)
{
	return OidIsValid(aggregate) && override.aggregate == aggregate ? &override : NULL;
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		mdb_pending_override_clear();
}

static void
subxact_callback(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	if (subid != override_subid)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		mdb_pending_override_clear();
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		override_subid = parent;
}

/*
 * mdb_markers_init - at load: follow transactions.
 */
void
mdb_markers_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}

/* ---------- the functions ---------- */

/* What a snapshot sees depends on these. */
typedef struct SnapshotKey
{
	TransactionId xmin, xmax;
	uint32 xcnt;
	CommandId curcid;
	SubTransactionId subid;
} SnapshotKey;

/* What is known of the last aggregate that a call was asked about. */
typedef struct MarkerCache
{
	MemoryContext mcxt;
	Oid aggregate;
	SnapshotKey key;
	bool known;
	Oid type; /* of the bucket */
	MdbTimeSet dirty;
	int64 kept_from;
} MarkerCache;

static Snapshot
query_snapshot(void)
{
	return ActiveSnapshotSet() ? GetActiveSnapshot() : GetTransactionSnapshot();
}

static void
fill_cache(MarkerCache *cache, Oid aggregate, Snapshot snapshot)
{
	MemoryContext old;
	MdbAggregate *a;

	/* If an error comes in between it is empty. */
	cache->aggregate = InvalidOid;
	MemoryContextReset(cache->mcxt);
	old = MemoryContextSwitchTo(cache->mcxt);
	a = mdb_aggregate_get(aggregate, snapshot);
	cache->known = a != NULL;
	cache->dirty = a ? mdb_rollup_dirty_buckets(a, snapshot) : (MdbTimeSet){0};
	cache->kept_from = a ? a->kept_from : PG_INT64_MIN;
	MemoryContextSwitchTo(old);
	cache->aggregate = aggregate;
}

/* What is known of an aggregate under the query's snapshot.  A call may outlive the query, as in PL/pgSQL. */
static MarkerCache *
cached(FunctionCallInfo fcinfo, Oid aggregate)
{
	MarkerCache *cache = fcinfo->flinfo->fn_extra;
	Snapshot snapshot = query_snapshot();
	SnapshotKey key;

	memset(&key, 0, sizeof(key));
	key.xmin = snapshot->xmin;
	key.xmax = snapshot->xmax;
	key.xcnt = snapshot->xcnt;
	key.curcid = snapshot->curcid;
	key.subid = GetCurrentSubTransactionId();
	if (cache == NULL)
	{
		cache = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(MarkerCache));
		cache->mcxt =
			AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "metricsdb marker", ALLOCSET_SMALL_SIZES);
		fcinfo->flinfo->fn_extra = cache;
	}
	if (cache->aggregate != aggregate || memcmp(&cache->key, &key, sizeof(key)) != 0)
	{
		fill_cache(cache, aggregate, snapshot);
		cache->key = key;
	}
	return cache;
}

/* A time as it is kept; its type must be one of times. */
static int64
time_of(FunctionCallInfo fcinfo, int arg)
{
	Oid type = getBaseType(get_fn_expr_argtype(fcinfo->flinfo, arg));

	switch (type)
	{
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return mdb_time_units(PG_GETARG_DATUM(arg), type);
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH), errmsg("type %s is none of times", format_type_be(type)),
			 errhint("Buckets are timestamps, dates or integers.")));
}

PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_is_clean);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_is_pending);
PGDLLEXPORT PG_FUNCTION_INFO_V1(mdb_marker_support);

/*
 * (states regclass, bucket anyelement [, kept bool]): may the bucket be taken from the states?  With a third argument,
 * whatever it is, not if retention may have removed some of its states.  NULL is no bucket that is dirty.
 */
Datum
mdb_is_clean(PG_FUNCTION_ARGS)
{
	MarkerCache *cache;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_BOOL(true);
	cache = cached(fcinfo, PG_GETARG_OID(0));
	if (PG_NARGS() == 3 && cache->kept_from != PG_INT64_MIN && time_of(fcinfo, 1) < cache->kept_from)
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(cache->dirty.n == 0 || !mdb_time_set_has(&cache->dirty, time_of(fcinfo, 1)));
}

/*
 * (states regclass, "time" anyelement [, from, to]): is a row of the source one that the states do not have, or that is
 * not to be taken from them, as it lies outside of times?  The latter form is for those who see only states that they
 * know.
 */
Datum
mdb_is_pending(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || !cached(fcinfo, PG_GETARG_OID(0))->known)
		PG_RETURN_BOOL(PG_NARGS() == 4);
	ereport(
		ERROR,
		(errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("is_pending() cannot be asked of a single row"),
		 errdetail("Which rows are pending only a scan of the table that the aggregate is made of knows."),
		 errhint("It must be a condition of its own in WHERE, is_pending('states', \"time\"), with the "
				 "time column of that table.")));
}

/* ---------- for the planner ---------- */

/* How much of a part's times lies in an interval? */
static double
share_of(const MdbPartInfo *part, int64 from, int64 to)
{
	double first = Max(from, part->time_min), last = Min(to - 1.0, (double) part->time_max);

	if (part->days == 0)
		return 1;
	return last < first ? 0 : (last - first + 1) / ((double) part->time_max - (double) part->time_min + 1);
}

/* A bound of what is taken from the states, as far as it is known by now. */
static int64
bound_of(PlannerInfo *root, const MdbTable *table, List *args, int n, int64 none)
{
	Const *c = list_length(args) == 4 ? (Const *) estimate_expression_value(root, list_nth(args, n)) : NULL;

	return c && IsA(c, Const) && !c->constisnull ? mdb_push_time(table, c->constvalue) : none;
}

/* The share of a source's rows that is pending, or outside of times; beside those of parts, all of the delta. */
static double
pending_share(const MdbTable *table, Oid aggregate, double tuples, int64 from, int64 to)
{
	Snapshot snapshot = query_snapshot();
	MdbPartList *parts = mdb_parts_visible(table, snapshot);
	MdbPendingList *pending = mdb_pending_list(table->storage_id, aggregate, snapshot);
	double rows = Max(0, tuples - parts->nrows);
	int next = 0;

	for (int i = 0; i < parts->count; i++)
	{
		if (from != PG_INT64_MIN || to != PG_INT64_MAX)
			rows += parts->parts[i].nrows * (1 - share_of(&parts->parts[i], from, to));
		while (next < pending->count && pending->rows[next].part_id < parts->parts[i].part_id)
			next++;
		if (next < pending->count && pending->rows[next].part_id == parts->parts[i].part_id)
			rows += parts->parts[i].nrows *
					share_of(&parts->parts[i], pending->rows[next].time_from, pending->rows[next].time_to);
	}
	return Min(1, Max(rows, 1) / Max(tuples, 1));
}

static double
selectivity(SupportRequestSelectivity *request, Oid aggregate, const Node *time)
{
	const Var *var = (const Var *) mdb_strip_relabel(unconstify(Node *, time));
	RelOptInfo *rel;
	RangeTblEntry *rte;
	Relation relation;
	double share = 0.1;

	if (!IsA(var, Var) || var->varlevelsup != 0 || mdb_pending_override_of(aggregate) != NULL)
		return share;
	rel = find_base_rel(request->root, var->varno);
	rte = planner_rt_fetch(rel->relid, request->root);
	if (rte->rtekind != RTE_RELATION || rte->inh)
		return share;
	relation = table_open(rte->relid, NoLock);
	if (mdb_is_metricsdb(relation))
	{
		const MdbTable *table = mdb_table(relation);

		share = pending_share(table, aggregate, rel->tuples,
							  bound_of(request->root, table, request->args, 2, PG_INT64_MIN),
							  bound_of(request->root, table, request->args, 3, PG_INT64_MAX));
	}
	table_close(relation, NoLock);
	return share;
}

/* (internal): how many rows pass. */
Datum
mdb_marker_support(PG_FUNCTION_ARGS)
{
	Node *node = (Node *) PG_GETARG_POINTER(0);
	SupportRequestSelectivity *request = (SupportRequestSelectivity *) node;
	FuncExpr call = {.xpr.type = T_FuncExpr, .funcresulttype = BOOLOID};
	Oid aggregate;
	Node *time;

	if (!IsA(node, SupportRequestSelectivity))
		PG_RETURN_POINTER(NULL);
	call.funcid = request->funcid;
	call.args = request->args;
	switch (mdb_marker_of((Node *) &call, &aggregate, &time))
	{
		case MDB_MARKER_CLEAN:
			request->selectivity = 1;
			break;
		case MDB_MARKER_PENDING:
			request->selectivity = selectivity(request, aggregate, time);
			break;
		default:
			PG_RETURN_POINTER(NULL);
	}
	PG_RETURN_POINTER(request);
}
