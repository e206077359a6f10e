/*
 * gapfill_exec.c
 *	  MetricsGapFill, execution: rows of a grouping, and between them rows for the buckets that have none.
 *
 * The grouping below comes sorted by group and bucket.  A row of it is kept back until all buckets of its group
 * before it have had theirs; the last row of a group is followed by the buckets that are left.  Rows outside of the
 * range are passed on.  Of a group one row is kept, for the columns that are the same in all of them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "compat.h"
#include "exec/gapfill.h"
#include "func/func.h"

/* A value at a time. */
typedef struct Sample
{
	bool set;
	int64 time;
	Datum value;
} Sample;

/* A call of locf or interpolate. */
typedef struct Fill
{
	int argument; /* column of the grouping */
	bool locf;
	bool null_is_missing;
	Oid type;
	int16 len;
	bool byval;
	ExprState *prev, *next;
	Sample before; /* what the last row had */
	Sample after;  /* of interpolate, behind the last row of the group: next, once it was evaluated */
	bool asked_after;
} Fill;

typedef struct GapFillState
{
	CustomScanState css;
	PlanState *child;
	Oid time_type;
	int time_column; /* of the grouping */
	bool alone;      /* the bucket is the only key */
	int ncolumns;
	MdbGapColumn *columns;
	int nshown; /* columns of the grouping that are output, before those of the calls */
	int *shown;
	ExprState *same_group;
	TupleTableSlot *group; /* a row of the group */
	MemoryContext mcxt;    /* values of the calls */
	ExprState *width, *zone;
	int nbounds;
	ExprState **bounds;
	Oid *bound_types;
	int *strategies;
	int nfills;
	Fill *fills;

	bool started;
	MdbBuckets buckets;
	int64 first, end;    /* first bucket; end of the range */
	int64 due;           /* the next bucket that has to have a row */
	TupleTableSlot *row; /* of the grouping, not returned yet; NULL: there are no more */
	bool row_used;       /* or it was, and the next is to be fetched */
	bool in_group;
	bool row_in_group; /* the row is one of the group's */
	int64 filled;
} GapFillState;

/* ---------- the range ---------- */

/*
 * mdb_gapfill_narrow - let a range end at a bound: time op bound holds within.
 *
 * An infinite bound is none.  A date has no part of a day: what is behind its midnight is rounded up.
 */
void
mdb_gapfill_narrow(MdbGapRange *range, Oid time_type, Datum bound, Oid type, int strategy)
{
	bool rest = false;
	bool lower = strategy >= BTEqualStrategyNumber, upper = strategy <= BTEqualStrategyNumber;
	int64 t;

	if (time_type == TIMESTAMPTZOID && type == TIMESTAMPOID)
		bound = DirectFunctionCall1(timestamp_timestamptz, bound);
	else if (time_type == TIMESTAMPTZOID && type == DATEOID)
		bound = DirectFunctionCall1(date_timestamptz, bound);
	else if (time_type == TIMESTAMPOID && type == DATEOID)
		bound = DirectFunctionCall1(date_timestamp, bound);
	else if (time_type != TIMESTAMPTZOID && type == TIMESTAMPTZOID)
		bound = DirectFunctionCall1(timestamptz_timestamp, bound);
	if (time_type == DATEOID && type != DATEOID)
	{
		Timestamp exact = DatumGetTimestamp(bound);

		bound = DirectFunctionCall1(timestamp_date, bound);
		rest = !TIMESTAMP_NOT_FINITE(exact) &&
			   exact != DatumGetTimestamp(DirectFunctionCall1(date_timestamp, bound));
	}
	t = mdb_time_units(
		bound, time_type == INT2OID || time_type == INT4OID || time_type == INT8OID ? type : time_type);
	if (!mdb_time_is_finite(t, time_type))
		return;
	/* From t on, or behind it?  Ranges of integers may end where there are no more. */
	if (lower)
	{
		int64 lo = t + (strategy == BTGreaterStrategyNumber || rest);

		if (lo >= t && (!range->has_lo || lo > range->lo))
			range->lo = lo;
		range->has_lo = true;
	}
	if (upper)
	{
		int64 hi = t + (strategy != BTLessStrategyNumber || rest);

		if (hi < t)
			hi = PG_INT64_MAX;
		if (!range->has_hi || hi < range->hi)
			range->hi = hi;
		range->has_hi = true;
	}
}

static Datum
argument(GapFillState *state, ExprState *expr, const char *name)
{
	bool isnull;
	Datum value = ExecEvalExprSwitchContext(expr, state->css.ss.ps.ps_ExprContext, &isnull);

	if (isnull)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid time_bucket_gapfill argument: %s cannot be NULL", name),
						expr == state->width || expr == state->zone
							? 0
							: errhint("Specify start and finish as arguments or in the WHERE clause.")));
	return value;
}

/* Take the values of this moment of the arguments. */
static void
find_range(GapFillState *state)
{
	MdbGapRange range = {0};
	MemoryContext old;
	Datum width = argument(state, state->width, "bucket_width");
	text *zone = NULL;

	if (state->zone)
	{
		zone = DatumGetTextPP(argument(state, state->zone, "timezone"));
		old = MemoryContextSwitchTo(state->css.ss.ps.state->es_query_cxt);
		zone = DatumGetTextP(datumCopy(PointerGetDatum(zone), false, -1));
		MemoryContextSwitchTo(old);
	}
	mdb_buckets_init(&state->buckets, state->time_type, width, zone);
	for (int i = 0; i < state->nbounds; i++)
		mdb_gapfill_narrow(&range, state->time_type,
						   argument(state, state->bounds[i],
									state->strategies[i] >= BTEqualStrategyNumber ? "start" : "finish"),
						   state->bound_types[i], state->strategies[i]);
	if (!range.has_lo || !range.has_hi)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid time_bucket_gapfill argument: %s must be finite",
							   range.has_lo ? "finish" : "start"),
						errhint("Specify start and finish as arguments or in the WHERE clause.")));
	/* Of an empty range no bucket is the first. */
	state->first = state->end = PG_INT64_MIN;
	if (range.lo < range.hi)
	{
		state->first = mdb_bucket_begin(&state->buckets, range.lo);
		state->end = range.hi;
	}
}

/* ---------- values in gaps ---------- */

static void
forget(Fill *fill, Sample *sample)
{
	if (sample->set && !fill->byval)
		pfree(DatumGetPointer(sample->value));
	sample->set = false;
}

static void
remember(GapFillState *state, Fill *fill, Sample *sample, int64 time, Datum value)
{
	MemoryContext old = MemoryContextSwitchTo(state->mcxt);
	Datum copy = datumCopy(value, fill->byval, fill->len);

	MemoryContextSwitchTo(old);
	forget(fill, sample);
	sample->set = true;
	sample->time = time;
	sample->value = copy;
}

/* The record (time, value) that an expression gives, if it gives one. */
static void
look_up_record(GapFillState *state, Fill *fill, ExprState *expr, Sample *sample)
{
	bool isnull;
	Datum record = ExecEvalExprSwitchContext(expr, state->css.ss.ps.ps_ExprContext, &isnull);
	HeapTupleHeader header;
	HeapTupleData tuple;
	TupleDesc desc;
	Datum values[2];
	bool nulls[2];

	if (isnull)
		return;
	header = DatumGetHeapTupleHeader(record);
	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	if (desc->natts != 2)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("interpolate RECORD arguments must have 2 elements")));
	if (TupleDescAttr(desc, 0)->atttypid != state->time_type)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("first argument of interpolate returned record must match used timestamp datatype"),
			 errdetail("Returned type %s does not match expected type %s.",
					   format_type_be(TupleDescAttr(desc, 0)->atttypid), format_type_be(state->time_type))));
	if (TupleDescAttr(desc, 1)->atttypid != fill->type)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("second argument of interpolate returned record must match used interpolate datatype"),
			 errdetail("Returned type %s does not match expected type %s.",
					   format_type_be(TupleDescAttr(desc, 1)->atttypid), format_type_be(fill->type))));
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, values, nulls);
	if (!nulls[0] && !nulls[1])
		remember(state, fill, sample, mdb_time_units(values[0], state->time_type), values[1]);
	ReleaseTupleDesc(desc);
}

static int64
as_int(Datum value, Oid type)
{
	return type == INT2OID   ? DatumGetInt16(value)
		   : type == INT4OID ? DatumGetInt32(value)
							 : DatumGetInt64(value);
}

/* On the line from one sample to another; integers are cut off towards zero. */
static Datum
on_line(const Sample *a, const Sample *b, int64 time, Oid type)
{
	if (type == FLOAT4OID || type == FLOAT8OID)
	{
		double y0 = type == FLOAT4OID ? DatumGetFloat4(a->value) : DatumGetFloat8(a->value);
		double y1 = type == FLOAT4OID ? DatumGetFloat4(b->value) : DatumGetFloat8(b->value);
		double from = (double) (time - a->time), to = (double) (b->time - time);
		double y = a->time == b->time ? y0 : (y0 * to + y1 * from) / (double) (b->time - a->time);

		/* The products may be too large where the result is not. */
		if (isinf(y) && !isinf(y0) && !isinf(y1))
			y = y0 * (to / (from + to)) + y1 * (from / (from + to));
		return type == FLOAT4OID ? Float4GetDatum((float4) y) : Float8GetDatum(y);
	}
	else
	{
		int64 y0 = as_int(a->value, type), y1 = as_int(b->value, type);
		int64 y = y0;

		if (a->time != b->time)
#ifdef HAVE_INT128
			y = (int64) (((int128) y0 * (b->time - time) + (int128) y1 * (time - a->time)) /
						 ((int128) b->time - a->time));
#else
			y = (int64) (((long double) y0 * (b->time - time) + (long double) y1 * (time - a->time)) /
						 ((long double) b->time - a->time));
#endif
		return type == INT2OID   ? Int16GetDatum((int16) y)
			   : type == INT4OID ? Int32GetDatum((int32) y)
								 : Int64GetDatum(y);
	}
}

/* What locf gives for a bucket without a value. */
static Datum
carried(GapFillState *state, Fill *fill, int64 time, bool *isnull)
{
	if (!fill->before.set && time == state->first && fill->prev)
	{
		Datum value = ExecEvalExprSwitchContext(fill->prev, state->css.ss.ps.ps_ExprContext, isnull);

		if (!*isnull)
			remember(state, fill, &fill->before, time, value);
	}
	*isnull = !fill->before.set;
	return fill->before.value;
}

/* What interpolate gives for a bucket without a row. */
static Datum
interpolated(GapFillState *state, Fill *fill, int64 time, bool *isnull)
{
	Sample after = {false};
	bool none = true;

	if (!fill->before.set && time == state->first && fill->prev)
		look_up_record(state, fill, fill->prev, &fill->before);
	*isnull = true;
	/* A row without a time is no neighbour. */
	if (state->row_in_group)
	{
		Datum row_time = slot_getattr(state->row, state->time_column + 1, &none);

		after.time = none ? 0 : mdb_time_units(row_time, state->time_type);
	}
	if (!none)
	{
		after.value = slot_getattr(state->row, fill->argument + 1, &none);
		after.set = !none;
	}
	else
	{
		if (!fill->asked_after && fill->next)
			look_up_record(state, fill, fill->next, &fill->after);
		fill->asked_after = true;
		after = fill->after;
	}
	if (!fill->before.set || !after.set)
		return (Datum) 0;
	*isnull = false;
	return on_line(&fill->before, &after, time, fill->type);
}

/* ---------- rows ---------- */

/*
 * A row for the output: the grouping's, or one for a bucket that has none, where columns that are the same in the
 * group come from its row.
 */
static TupleTableSlot *
make_row(GapFillState *state, TupleTableSlot *row, int64 time, bool has_time)
{
	TupleTableSlot *slot = state->css.ss.ss_ScanTupleSlot;
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	bool gap = row == NULL;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	for (int i = 0; i < state->nshown; i++)
	{
		int c = state->shown[i];

		if (!gap)
			slot->tts_values[i] = slot_getattr(row, c + 1, &slot->tts_isnull[i]);
		else if (c == state->time_column)
		{
			slot->tts_values[i] = mdb_units_time(time, state->time_type);
			slot->tts_isnull[i] = false;
		}
		else if (state->columns[c] == MDB_GAP_CARRIED && !TTS_EMPTY(state->group))
			slot->tts_values[i] = slot_getattr(state->group, c + 1, &slot->tts_isnull[i]);
	}
	ExecStoreVirtualTuple(slot);
	/* prev and next are evaluated on what there is of the row. */
	econtext->ecxt_scantuple = slot;
	for (int i = 0; i < state->nfills; i++)
	{
		Fill *fill = &state->fills[i];
		bool *isnull = &slot->tts_isnull[state->nshown + i];
		Datum *value = &slot->tts_values[state->nshown + i];

		if (gap)
			*value =
				fill->locf ? carried(state, fill, time, isnull) : interpolated(state, fill, time, isnull);
		else
		{
			*value = slot_getattr(row, fill->argument + 1, isnull);
			if (*isnull && fill->null_is_missing && has_time)
				*value = carried(state, fill, time, isnull);
			else if (*isnull || !has_time)
				forget(fill, &fill->before);
			else
				remember(state, fill, &fill->before, time, *value);
		}
	}
	return slot;
}

static void
begin_group(GapFillState *state)
{
	state->in_group = true;
	state->due = state->first;
	for (int i = 0; i < state->nfills; i++)
	{
		forget(&state->fills[i], &state->fills[i].before);
		forget(&state->fills[i], &state->fills[i].after);
		state->fills[i].asked_after = false;
	}
}

/* The next row of the grouping, and whether it is of the same group. */
static void
fetch(GapFillState *state)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;

	state->row = ExecProcNode(state->child);
	state->row_used = false;
	if (TupIsNull(state->row))
		state->row = NULL;
	state->row_in_group = false;
	if (state->row == NULL || !state->in_group)
		return;
	state->row_in_group = true;
	if (state->same_group)
	{
		econtext->ecxt_innertuple = state->row;
		econtext->ecxt_outertuple = state->group;
		state->row_in_group = ExecQual(state->same_group, econtext);
	}
}

/* The next row, into the scan slot; false at the end. */
static bool
next_row(GapFillState *state)
{
	if (!state->started)
	{
		find_range(state);
		state->started = true;
		state->row_used = true;
		state->in_group = false;
		ExecClearTuple(state->group);
	}
	if (state->row_used)
	{
		bool first = TTS_EMPTY(state->group);

		fetch(state);
		/* Without other keys there is one group, even of no rows. */
		if (first && state->row == NULL && state->alone)
			begin_group(state);
	}
	for (;;)
	{
		bool has_time = false;
		int64 time = 0;

		CHECK_FOR_INTERRUPTS();
		if (!state->in_group)
		{
			if (state->row == NULL)
				return false;
			ExecCopySlot(state->group, state->row);
			begin_group(state);
			state->row_in_group = true;
		}
		if (state->row_in_group)
		{
			bool isnull;
			Datum value = slot_getattr(state->row, state->time_column + 1, &isnull);

			has_time = !isnull;
			time = isnull ? 0 : mdb_time_units(value, state->time_type);
		}
		if (state->due < state->end && (!has_time || state->due < time))
		{
			(void) make_row(state, NULL, state->due, true);
			if (!mdb_bucket_next(&state->buckets, &state->due))
				state->due = state->end;
			state->filled++;
			return true;
		}
		if (state->row_in_group)
		{
			(void) make_row(state, state->row, time, has_time);
			if (has_time && time == state->due && state->due < state->end &&
				!mdb_bucket_next(&state->buckets, &state->due))
				state->due = state->end;
			state->row_used = true;
			return true;
		}
		state->in_group = false;
	}
}

static TupleTableSlot *
exec_gapfill(CustomScanState *css)
{
	GapFillState *state = (GapFillState *) css;
	ExprContext *econtext = css->ss.ps.ps_ExprContext;
	ProjectionInfo *project = css->ss.ps.ps_ProjInfo;

	ResetExprContext(econtext);
	if (!next_row(state))
		return project ? ExecClearTuple(project->pi_state.resultslot) : NULL;
	econtext->ecxt_scantuple = css->ss.ss_ScanTupleSlot;
	return project ? ExecProject(project) : css->ss.ss_ScanTupleSlot;
}

/* ---------- beginning and end ---------- */

static void
init_columns(GapFillState *state, List *private)
{
	TupleDesc desc = ExecGetResultType(state->child);
	List *keys = list_nth(private, MDB_GAP_KEYS);
	int nkeys = list_length(keys);
	AttrNumber *attnos = palloc(sizeof(AttrNumber) * Max(1, nkeys));
	Oid *equal_ops = palloc(sizeof(Oid) * Max(1, nkeys));
	Oid *collations = palloc(sizeof(Oid) * Max(1, nkeys));
	ListCell *lc;

	state->columns = palloc(sizeof(MdbGapColumn) * desc->natts);
	state->shown = palloc(sizeof(int) * desc->natts);
	foreach (lc, (List *) list_nth(private, MDB_GAP_COLUMNS))
	{
		MdbGapColumn column = lfirst_int(lc);

		if (column == MDB_GAP_TIME)
			state->time_column = state->ncolumns;
		if (column != MDB_GAP_HIDDEN)
			state->shown[state->nshown++] = state->ncolumns;
		state->columns[state->ncolumns++] = column;
	}
	if (state->ncolumns > desc->natts)
		elog(ERROR, "the grouping lacks columns");
	state->time_type = TupleDescAttr(desc, state->time_column)->atttypid;
	for (int i = 0; i < nkeys; i++)
	{
		attnos[i] = list_nth_int(keys, i) + 1;
		equal_ops[i] = list_nth_oid(list_nth(private, MDB_GAP_EQUAL), i);
		collations[i] = list_nth_oid(list_nth(private, MDB_GAP_COLLATIONS), i);
	}
	if (nkeys > 0)
		state->same_group =
			execTuplesMatchPrepare(desc, nkeys, attnos, equal_ops, collations, &state->css.ss.ps);
	state->group = ExecInitExtraTupleSlot(state->css.ss.ps.state, desc, &TTSOpsMinimalTuple);
}

static void
init_fills(GapFillState *state, List *calls, List *around)
{
	TupleDesc desc = ExecGetResultType(state->child);

	state->nfills = list_length(around);
	state->fills = palloc0(sizeof(Fill) * Max(1, state->nfills));
	for (int i = 0; i < state->nfills; i++)
	{
		Fill *fill = &state->fills[i];
		List *exprs = list_nth(around, i);

		fill->argument = list_nth_int(calls, i * 3);
		fill->locf = list_nth_int(calls, i * 3 + 1) != 0;
		fill->null_is_missing = list_nth_int(calls, i * 3 + 2) != 0;
		fill->type = TupleDescAttr(desc, fill->argument)->atttypid;
		get_typlenbyval(fill->type, &fill->len, &fill->byval);
		fill->prev = ExecInitExpr(linitial(exprs), &state->css.ss.ps);
		fill->next = ExecInitExpr(lsecond(exprs), &state->css.ss.ps);
	}
}

static void
begin_gapfill(CustomScanState *css, EState *estate, int eflags)
{
	GapFillState *state = (GapFillState *) css;
	CustomScan *cscan = (CustomScan *) css->ss.ps.plan;
	List *arguments = linitial(cscan->custom_exprs), *bounds = lsecond(cscan->custom_exprs);
	PlanState *ps = &css->ss.ps;

	state->child = ExecInitNode(linitial(cscan->custom_plans), estate, eflags);
	css->custom_ps = list_make1(state->child);
	state->mcxt = AllocSetContextCreate(estate->es_query_cxt, "MetricsGapFill", ALLOCSET_SMALL_SIZES);
	init_columns(state, cscan->custom_private);
	init_fills(state, list_nth(cscan->custom_private, MDB_GAP_CALLS), lthird(cscan->custom_exprs));
	state->alone = linitial_int(list_nth(cscan->custom_private, MDB_GAP_ALONE)) != 0;
	state->width = ExecInitExpr(linitial(arguments), ps);
	state->zone = ExecInitExpr(lsecond(arguments), ps);
	state->nbounds = list_length(bounds);
	state->bounds = palloc(sizeof(ExprState *) * state->nbounds);
	state->bound_types = palloc(sizeof(Oid) * state->nbounds);
	state->strategies = palloc(sizeof(int) * state->nbounds);
	for (int i = 0; i < state->nbounds; i++)
	{
		state->bounds[i] = ExecInitExpr(list_nth(bounds, i), ps);
		state->bound_types[i] = exprType(list_nth(bounds, i));
		state->strategies[i] = list_nth_int(list_nth(cscan->custom_private, MDB_GAP_STRATEGIES), i);
	}
}

static void
rescan_gapfill(CustomScanState *css)
{
	GapFillState *state = (GapFillState *) css;

	state->started = false;
	if (css->ss.ps.chgParam != NULL)
		UpdateChangedParamSet(state->child, css->ss.ps.chgParam);
	if (state->child->chgParam == NULL)
		ExecReScan(state->child);
}

static void
end_gapfill(CustomScanState *css)
{
	ExecEndNode(((GapFillState *) css)->child);
}

static void
explain_gapfill(CustomScanState *css, List *ancestors, ExplainState *es)
{
	if (es->analyze)
		ExplainPropertyInteger("Gaps Filled", NULL, ((GapFillState *) css)->filled, es);
}

static const CustomExecMethods exec_methods = {.CustomName = "MetricsGapFill",
											   .BeginCustomScan = begin_gapfill,
											   .ExecCustomScan = exec_gapfill,
											   .EndCustomScan = end_gapfill,
											   .ReScanCustomScan = rescan_gapfill,
											   .ExplainCustomScan = explain_gapfill};

static Node *
create_state(CustomScan *cscan)
{
	GapFillState *state = (GapFillState *) newNode(sizeof(GapFillState), T_CustomScanState);

	state->css.flags = cscan->flags;
	state->css.methods = &exec_methods;
	return (Node *) state;
}

const CustomScanMethods mdb_gapfill_scan_methods = {.CustomName = "MetricsGapFill",
													.CreateCustomScanState = create_state};
