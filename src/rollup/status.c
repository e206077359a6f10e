/*
 * status.c
 *	  What is told about continuous aggregates: where they stand, and which of their buckets are not exact.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "admin/admin.h"
#include "rollup/apply.h"

PG_FUNCTION_INFO_V1(mdb_all_aggregates);
PG_FUNCTION_INFO_V1(mdb_all_inexact);

/* May the caller read the view? */
static bool
is_shown(const MdbAggregate *a)
{
	bool is_missing = false;

	if (pg_class_aclcheck_ext(a->view, GetUserId(), ACL_SELECT, &is_missing) == ACLCHECK_OK)
		return !is_missing;
	return !is_missing && SearchSysCacheExists1(RELOID, ObjectIdGetDatum(a->view)) &&
		   pg_attribute_aclcheck_all(a->view, GetUserId(), ACL_SELECT, ACLMASK_ANY) == ACLCHECK_OK;
}

/* Open a table of ours; NULL if it has gone, or become another kind. */
static Relation
open_ours(Oid relid)
{
	Relation rel = try_relation_open(relid, AccessShareLock);

	if (rel != NULL && (!mdb_is_metricsdb(rel) || mdb_table(rel)->time_attno <= 0))
	{
		relation_close(rel, AccessShareLock);
		return NULL;
	}
	return rel;
}

#define NCOLUMNS 23

static void
put_time(Datum *v, bool *n, TimestampTz time)
{
	*v = TimestampTzGetDatum(time);
	*n = time == 0;
}

static void
put_aggregate(ReturnSetInfo *rsinfo, const MdbAggregate *a, Relation source, Relation states)
{
	TimestampTz now = GetCurrentTimestamp();
	Snapshot snapshot = GetActiveSnapshot();
	Datum v[NCOLUMNS] = {0};
	bool n[NCOLUMNS] = {0};
	MdbDue due;
	int i = 0;

	mdb_aggregate_due(a, source, snapshot, &due);
	v[i++] = ObjectIdGetDatum(a->view);
	v[i++] = ObjectIdGetDatum(a->source);
	v[i++] = ObjectIdGetDatum(a->aggregate);
	v[i++] = BoolGetDatum(a->attached);
	if (due.since == 0)
		due.since = now;
	v[i++] = DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(Max(now, due.since)),
								 TimestampTzGetDatum(due.since));
	v[i++] = Int64GetDatum(due.parts);
	v[i++] = Int64GetDatum(due.rows);
	v[i++] = Int64GetDatum(due.dirty);
	v[i++] = Int64GetDatum(due.flagged);
	v[i++] = Int64GetDatum((int64) mdb_approximate_rows(states));
	v[i++] = Int64GetDatum(mdb_table_bytes(states));
	put_time(&v[i], &n[i], a->last_applied_at);
	i++;
	v[i++] = Int32GetDatum(a->failures);
	n[i] = a->last_error == NULL;
	v[i++] = a->last_error ? CStringGetTextDatum(a->last_error) : (Datum) 0;
	put_time(&v[i], &n[i], a->last_error_at);
	i++;
	put_time(&v[i], &n[i], a->retry_at);
	i++;
	v[i++] = BoolGetDatum(a->backfill);
	put_time(&v[i], &n[i], a->created_at);
	i++;
	v[i++] = Int64GetDatum(due.source_parts);
	v[i++] = Int64GetDatum(due.source_rows);
	v[i++] = Int64GetDatum(due.old_parts);
	v[i++] = Int64GetDatum(due.old_rows);
	v[i++] = Int32GetDatum(mdb_rollup_batch_rows);
	Assert(i == NCOLUMNS);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, n);
}

/*
 * mdb_all_aggregates - rows of the views metricsdb.aggregate_status and aggregate_progress: of those that the caller
 * may read.
 */
Datum
mdb_all_aggregates(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MdbAggregate *list;
	int n;

	InitMaterializedSRF(fcinfo, 0);
	list = mdb_aggregates_all(GetActiveSnapshot(), &n);
	for (int i = 0; i < n; i++)
	{
		Relation source, states;

		CHECK_FOR_INTERRUPTS();
		if (!is_shown(&list[i]))
			continue;
		source = open_ours(list[i].source);
		states = open_ours(list[i].aggregate);
		if (source && states)
			put_aggregate(rsinfo, &list[i], source, states);
		if (source)
			relation_close(source, AccessShareLock);
		if (states)
			relation_close(states, AccessShareLock);
	}
	return (Datum) 0;
}

/* ---- buckets that are not exact ---- */

/* A bucket as a timestamptz that is shown as what it is; NULL if it is a number. */
static Datum
bucket_as_timestamptz(Oid type, int64 bucket, bool *isnull)
{
	switch (type)
	{
		case DATEOID:
			return DirectFunctionCall1(date_timestamptz, DateADTGetDatum((DateADT) bucket));
		case INT2OID:
		case INT4OID:
		case INT8OID:
			*isnull = true;
			return (Datum) 0;
		case TIMESTAMPOID:
			return DirectFunctionCall1(timestamp_timestamptz, TimestampGetDatum(bucket));
		default:
			return TimestampTzGetDatum(bucket);
	}
}

/* The times of the source that its parts have. */
static bool
extent(Relation source, int64 *lo, int64 *hi)
{
	MdbPartList *list = mdb_parts_visible(mdb_table(source), GetActiveSnapshot());

	*lo = PG_INT64_MAX;
	*hi = PG_INT64_MIN;
	for (int i = 0; i < list->count; i++)
		if (list->parts[i].days > 0)
		{
			*lo = Min(*lo, list->parts[i].time_min);
			*hi = Max(*hi, list->parts[i].time_max);
		}
	return *lo <= *hi;
}

/*
 * A row for each bucket that touches a range, of one without bounds as far as there are rows; not for those up to *done,
 * which is moved on.
 */
static void
put_buckets(ReturnSetInfo *rsinfo, const MdbAggregate *a, Relation source, Oid type, MdbRollupBucket *b,
			const MdbDirty *range, int64 *done)
{
	int64 time = range->time_from;
	int64 last = range->time_to == PG_INT64_MAX ? PG_INT64_MAX : range->time_to - 1;
	int64 lo, hi;

	if (time == PG_INT64_MIN || last == PG_INT64_MAX)
	{
		if (!extent(source, &lo, &hi))
			return;
		time = Max(time, lo);
		last = Min(last, hi);
	}
	while (*done < PG_INT64_MAX && Max(time, *done + 1) <= last)
	{
		Datum v[2] = {ObjectIdGetDatum(a->view)};
		bool n[2] = {0};

		CHECK_FOR_INTERRUPTS();
		time = Max(time, *done + 1);
		v[1] = bucket_as_timestamptz(type, mdb_rollup_bucket_value(b, time), &n[1]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, n);
		*done = mdb_rollup_bucket_last(b, time);
	}
}

/*
 * mdb_all_inexact - rows of the view metricsdb.aggregate_inexact: of those that the caller may read.
 */
Datum
mdb_all_inexact(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MdbAggregate *list;
	int n;

	InitMaterializedSRF(fcinfo, 0);
	list = mdb_aggregates_all(GetActiveSnapshot(), &n);
	for (int i = 0; i < n; i++)
	{
		MdbDirtyList *ranges = mdb_dirty_list(list[i].aggregate, GetActiveSnapshot(), true);
		MdbRollupBucket *b = NULL;
		Relation source, states;
		int64 done = PG_INT64_MIN;

		CHECK_FOR_INTERRUPTS();
		if (ranges->count == 0 || !is_shown(&list[i]))
			continue;
		source = open_ours(list[i].source);
		states = open_ours(list[i].aggregate);
		for (int k = 0; source && states && k < ranges->count; k++)
		{
			if (!ranges->rows[k].flagged)
				continue;
			if (b == NULL)
				b = mdb_rollup_bucket(&list[i]);
			put_buckets(rsinfo, &list[i], source, mdb_table(states)->time_type, b, &ranges->rows[k], &done);
		}
		if (source)
			relation_close(source, AccessShareLock);
		if (states)
			relation_close(states, AccessShareLock);
	}
	return (Datum) 0;
}
