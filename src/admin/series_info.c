/*
 * series_info.c
 *	  What is asked of the series of a table: which are registered, and which keys have to be looked at.
 *
 * Of a partitioned table its partitions are looked at one after the other, with the caller's rights on what he
 * named; rows of those that are no metricsdb tables as the delta's are.
 *
 * Registered series are found by the index over series; with a time range, those of them that have rows in
 * parts then.  Rows of the delta have series that may not be registered yet: their keys are gathered, and
 * looked at one by one.  Where row-level security applies to the caller, the index is not asked at all: a query
 * of the caller's own gathers the keys of the rows that he sees.  Of a distributed table nodes tell, see
 * series_elsewhere.c.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "admin/admin.h"
#include "admin/series_info.h"
#include "metricsdb.h"
#include "series/guard.h"


/* ---------- keys ---------- */

/*
 * mdb_series_info_column - where a key has the bytes of a column, and their number + 1; false if NULL.
 */
bool
mdb_series_info_column(const MdbText *key, AttrNumber attno, const char **bytes, uint32 *n)
{
	const char *p = key->bytes;
	uint32 a;

	while (mdb_key_next(&p, key->bytes + key->len, &a, bytes, n))
		if (a == (uint32) attno)
			return *n > 0;
	return false;
}

static bool
of_metric(const MdbSeriesInfo *info, const MdbText *key)
{
	const char *bytes;
	uint32 n;

	if (info->metric == NULL || info->name == 0)
		return true;
	return mdb_series_info_column(key, info->name, &bytes, &n) && n - 1 == VARSIZE_ANY_EXHDR(info->metric) &&
		   memcmp(bytes, VARDATA_ANY(info->metric), n - 1) == 0;
}

typedef struct Told
{
	AttrNumber attno;
	const char *bytes;
	uint32 n;
} Told;

static int
told_cmp(const void *a, const void *b)
{
	return ((const Told *) a)->attno - ((const Told *) b)->attno;
}

/* What tells a key from others as they are told: columns that were dropped do not. */
static uint64
hash_of(const MdbSeriesInfo *info, const MdbText *key)
{
	uint64 hash = 0;
	Told *columns;
	const char *p = key->bytes;
	const char *bytes;
	uint32 attno, n;
	int count = 0;

	if (info->as_is)
		return hash_bytes_extended((const unsigned char *) key->bytes, (int) key->len, 0);
	columns = palloc(sizeof(Told) * Max(info->table->nseries_columns, 1));
	while (count < info->table->nseries_columns &&
		   mdb_key_next(&p, key->bytes + key->len, &attno, &bytes, &n))
		if (n > 0 && attno <= info->table->natts && info->told[attno - 1] > 0)
			columns[count++] = (Told){info->told[attno - 1], bytes, n};
	qsort(columns, count, sizeof(Told), told_cmp);
	for (int i = 0; i < count; i++)
		hash = hash_bytes_extended((const unsigned char *) columns[i].bytes, (int) columns[i].n - 1,
								   hash_combine64(hash, columns[i].attno));
	pfree(columns);
	return hash;
}

/*
 * mdb_series_info_is_new - is this the first time that such a key is met?
 */
bool
mdb_series_info_is_new(MdbSeriesInfo *info, const MdbText *key)
{
	uint64 hash = hash_of(info, key);
	bool found;

	hash_search(info->known_keys, &hash, HASH_ENTER, &found);
	return !found;
}

/* A key that is to be looked at by itself, unless it was there before. */
static void
gather(MdbSeriesInfo *info, const char *bytes, uint32 len)
{
	MdbText key = {bytes, len};

	if (!of_metric(info, &key) || !mdb_series_info_is_new(info, &key))
		return;
	if (info->nkeys == info->keys_cap)
	{
		info->keys_cap = Max(64, info->keys_cap * 2);
		info->keys = info->keys ? repalloc_huge(info->keys, info->keys_cap * sizeof(MdbText))
								: MemoryContextAlloc(info->rel_mcxt, info->keys_cap * sizeof(MdbText));
	}
	key.bytes = memcpy(MemoryContextAlloc(info->rel_mcxt, Max(len, 1)), bytes, len);
	info->keys[info->nkeys++] = key;
}

/*
 * mdb_series_info_gather - the key of a registered series, likewise.
 */
void
mdb_series_info_gather(MdbSeriesInfo *info, uint32 id)
{
	uint32 len;
	const char *key = mdb_dict_key(info->dict, id, info->latest, &len);

	gather(info, key, len);
}

/* The key of a row, unless its time is outside of the range. */
static void
gather_row(MdbSeriesInfo *info, Datum *values, bool *isnull, StringInfo key)
{
	if (info->in_time)
	{
		AttrNumber attno = info->table->time_attno;
		int64 t;

		if (isnull[attno - 1])
			return;
		t = mdb_push_time(info->table, values[attno - 1]);
		if (t < info->from || t > info->to)
			return;
	}
	resetStringInfo(key);
	mdb_key_build(info->table, values, isnull, key);
	gather(info, key->data, key->len);
}

/* The keys of the delta's rows. */
static void
gather_delta(MdbSeriesInfo *info)
{
	TableScanDesc scan = table_beginscan(info->rel, GetActiveSnapshot(), 0, NULL);
	TupleTableSlot *slot = table_slot_create(info->rel, NULL);
	StringInfoData key;

	initStringInfo(&key);
	while (mdb_scan_next_delta(scan, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		gather_row(info, slot->tts_values, slot->tts_isnull, &key);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	pfree(key.data);
}

/* The keys of the rows of a partition that is no metricsdb table, as if they were of this one. */
static void
gather_other(MdbSeriesInfo *info, Oid relid)
{
	Relation other = table_open(relid, NoLock);
	TupleDesc desc = RelationGetDescr(info->rel);
	int natts = info->table->natts;
	Datum *values = palloc0(sizeof(Datum) * natts);
	bool *isnull = palloc(sizeof(bool) * natts);
	AttrNumber *from = palloc0(sizeof(AttrNumber) * natts);
	TableScanDesc scan;
	TupleTableSlot *slot;
	StringInfoData key;

	for (int i = 0; i < natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			from[i] = get_attnum(relid, NameStr(TupleDescAttr(desc, i)->attname));
	initStringInfo(&key);
	slot = table_slot_create(other, NULL);
	scan = table_beginscan(other, GetActiveSnapshot(), 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < natts; i++)
		{
			isnull[i] = true;
			if (from[i] > 0 && info->table->columns[i].role != MDB_ROLE_VALUE)
				values[i] = slot_getattr(slot, from[i], &isnull[i]);
		}
		gather_row(info, values, isnull, &key);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(other, NoLock);
	pfree(key.data);
}

/* The keys of the rows that the caller sees. */
static void
gather_seen(MdbSeriesInfo *info)
{
	TupleDesc desc = RelationGetDescr(info->rel);
	MemoryContext mcxt = CurrentMemoryContext;
	Datum *values = palloc0(sizeof(Datum) * info->table->natts);
	bool *isnull = palloc(sizeof(bool) * info->table->natts);
	Oid types[2] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	char nulls[2] = {info->bound[0] ? ' ' : 'n', info->bound[1] ? ' ' : 'n'};
	const char *where = " WHERE";
	StringInfoData query, key;
	SPIPlanPtr plan;
	Portal portal;
	bool more;

	initStringInfo(&query);
	initStringInfo(&key);
	/* Nodes send what is different: values that are equal and no two series tell are one. */
	appendStringInfoString(&query, info->elsewhere ? "SELECT DISTINCT " : "SELECT ");
	for (int i = 0; i < info->table->nseries_columns; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, info->table->series_attnos[i] - 1);

		appendStringInfo(&query, "%s%s", i > 0 ? ", " : "",
						 att->attisdropped ? "NULL::text" : quote_identifier(NameStr(att->attname)));
	}
	appendStringInfo(&query, " FROM %s%s", info->asked == info->rel ? "ONLY " : "",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(info->asked)),
												RelationGetRelationName(info->asked)));
	for (int i = 0; i < 2; i++)
		if (info->bound[i])
		{
			appendStringInfo(
				&query, "%s %s OPERATOR(pg_catalog.%s) $%d", where,
				quote_identifier(NameStr(TupleDescAttr(desc, info->table->time_attno - 1)->attname)),
				i == 0 ? ">=" : "<", i + 1);
			where = " AND";
		}
	SPI_connect();
	plan = SPI_prepare(query.data, 2, types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, info->bounds, nulls, true);
	do
	{
		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, 1000);
		for (uint64 row = 0; row < SPI_processed; row++)
		{
			MemoryContext old;

			for (int i = 0; i < info->table->nseries_columns; i++)
			{
				AttrNumber attno = info->table->series_attnos[i];

				values[attno - 1] =
					SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, i + 1, &isnull[attno - 1]);
			}
			resetStringInfo(&key);
			mdb_key_build(info->table, values, isnull, &key);
			old = MemoryContextSwitchTo(mcxt);
			gather(info, key.data, key.len);
			MemoryContextSwitchTo(old);
		}
		more = SPI_processed > 0;
		SPI_freetuptable(SPI_tuptable);
	} while (more);
	SPI_cursor_close(portal);
	SPI_finish();
}

/* ---------- what is asked ---------- */

/* A moment as times of the table are kept: the first that is not before it. */
static int64
time_from(const MdbTable *table, TimestampTz t)
{
	DateADT date;

	switch (table->time_type)
	{
		case TIMESTAMPTZOID:
			return t;
		case DATEOID:
			date = DatumGetDateADT(DirectFunctionCall1(timestamptz_date, TimestampTzGetDatum(t)));
			if (DATE_NOT_FINITE(date))
				return date;
			return DatumGetTimestampTz(DirectFunctionCall1(date_timestamptz, DateADTGetDatum(date))) < t
					   ? date + 1
					   : date;
		default:
			return DatumGetTimestamp(DirectFunctionCall1(timestamptz_timestamp, TimestampTzGetDatum(t)));
	}
}

static void
read_range(MdbSeriesInfo *info)
{
	FunctionCallInfo fcinfo = info->fcinfo;
	int64 *ends[2] = {&info->from, &info->to};

	info->in_time = info->bound[0] = info->bound[1] = false;
	info->from = PG_INT64_MIN;
	info->to = PG_INT64_MAX;
	for (int i = 0; i < 2; i++)
	{
		int arg = PG_NARGS() - 2 + i;

		if (PG_ARGISNULL(arg))
			continue;
		if (info->table->time_attno == 0 ||
			info->table->columns[info->table->time_attno - 1].role != MDB_ROLE_TIME)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("table \"%s\" has no time column", RelationGetRelationName(info->rel)),
							errhint("Leave the time range out.")));
		info->in_time = info->bound[i] = true;
		info->bounds[i] = PG_GETARG_DATUM(arg);
		*ends[i] = time_from(info->table, PG_GETARG_TIMESTAMPTZ(arg));
	}
	/* The end is not in the range; without one infinity is. */
	if (info->bound[1] && info->to == PG_INT64_MIN)
		info->from = PG_INT64_MAX;
	else if (info->bound[1])
		info->to--;
}

static bool
find_dead(void *arg, int64 first, uint32 n, uint8 *dead)
{
	MdbSeriesInfo *info = arg;

	return mdb_rows_dead(info->shadows, info->table->storage_id, first, n, GetActiveSnapshot(), dead);
}

/* The registered series that are asked about. */
static void
find_ids(MdbSeriesInfo *info)
{
	MdbIds *of_name;
	MdbTerm term;
	uint32 n = 0;

	if (info->in_time)
	{
		MdbPartList *list = mdb_parts_visible(info->table, GetActiveSnapshot());
		MdbPartRows rows = {.from = info->from, .to = info->to, .find_dead = find_dead, .arg = info};

		info->shadows = list->count > 0 ? mdb_shadows_open(info->rel, info->table) : NULL;
		info->ids = mdb_ids_create();
		for (int i = 0; i < list->count; i++)
			mdb_part_add_ids(info->rel, &list->parts[i], &rows, info->ids);
		mdb_shadows_close(info->shadows);
		mdb_ids_sort(info->ids);
	}
	if (info->metric && info->name > 0)
	{
		const char *metric = VARDATA_ANY(info->metric);
		uint32 len = VARSIZE_ANY_EXHDR(info->metric);

		of_name = mdb_ids_create();
		mdb_term_value(&term, info->name, metric, len);
		mdb_postings_find(info->table->storage_id, info->latest, &term, of_name);
		mdb_ids_sort(of_name);
		info->ids = info->ids ? mdb_ids_intersect(info->ids, of_name) : of_name;
		if (len > MDB_TERM_VALUE_MAX)
		{
			/* Others may have the same term. */
			for (uint32 i = 0; i < info->ids->n; i++)
			{
				MdbText key;

				CHECK_FOR_INTERRUPTS();

				key.bytes = mdb_dict_key(info->dict, info->ids->v[i], info->latest, &key.len);
				if (of_metric(info, &key))
					info->ids->v[n++] = info->ids->v[i];
			}
			info->ids->n = n;
		}
	}
}

/* Is a table that is one metric asked about another? */
static bool
is_another(const MdbSeriesInfo *info)
{
	const char *name = RelationGetRelationName(info->asked);

	return info->metric && info->name == 0 &&
		   (strlen(name) != VARSIZE_ANY_EXHDR(info->metric) ||
			memcmp(name, VARDATA_ANY(info->metric), strlen(name)) != 0);
}

/* Which tables are to be looked at. */
static void
find_parts(MdbSeriesInfo *info)
{
	ListCell *lc;

	if (info->asked->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
	{
		info->parts = list_make1_oid(RelationGetRelid(info->asked));
		return;
	}
	foreach (lc, find_all_inheritors(RelationGetRelid(info->asked), AccessShareLock, NULL))
	{
		Relation rel = relation_open(lfirst_oid(lc), NoLock);

		if (mdb_is_metricsdb(rel))
			info->parts = lappend_oid(info->parts, lfirst_oid(lc));
		else if (rel->rd_rel->relkind == RELKIND_RELATION)
			info->others = lappend_oid(info->others, lfirst_oid(lc));
		else if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("series of partition \"%s\" of table \"%s\" cannot be told",
								   RelationGetRelationName(rel), RelationGetRelationName(info->asked)),
							errdetail("It is a foreign table."), errhint("Ask about the other partitions.")));
		relation_close(rel, NoLock);
	}
	if (info->parts == NIL && info->others != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("no partition of \"%s\" is a metricsdb table", RelationGetRelationName(info->asked)),
				 errhint("Convert them with ALTER TABLE ... SET ACCESS METHOD metricsdb.")));
	/* The caller's own query returns the rows of all. */
	if (info->hide && list_length(info->parts) > 1)
		info->parts = list_make1_oid(linitial_oid(info->parts));
}

/*
 * mdb_series_info_begin - understand a question whose arguments are the table, the metric if has_metric, and at
 * the end the time range.  mdb_series_info_next has to follow.
 */
MdbSeriesInfo *
mdb_series_info_begin(FunctionCallInfo fcinfo, bool has_metric)
{
	MdbSeriesInfo *info = palloc0(sizeof(MdbSeriesInfo));
	HASHCTL ctl = {0};

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the table must not be NULL")));
	info->fcinfo = fcinfo;
	info->asked = mdb_open_asked(PG_GETARG_OID(0), true, &info->hide);
	info->elsewhere = mdb_is_distributed(PG_GETARG_OID(0));
	if (!info->elsewhere)
		mdb_refuse_elsewhere(PG_GETARG_OID(0), NULL);
	if (has_metric && !PG_ARGISNULL(1))
		info->metric = PG_GETARG_TEXT_PP(1);
	find_parts(info);
	info->latest = mdb_latest_snapshot();
	info->mcxt = CurrentMemoryContext;
	info->rel_mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb series of a table", ALLOCSET_DEFAULT_SIZES);
	ctl.keysize = ctl.entrysize = sizeof(uint64);
	ctl.hcxt = CurrentMemoryContext;
	info->known_keys = hash_create("metricsdb keys", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return info;
}

/* Open a table that is to be looked at. */
static void
open_part(MdbSeriesInfo *info, Oid relid)
{
	bool named = relid == RelationGetRelid(info->asked);

	info->rel = named ? info->asked : table_open(relid, NoLock);
	info->table = mdb_table(info->rel);
	info->dict = mdb_dict_open(info->table);
	mdb_guard_shape(info->rel, info->table, &info->name, &info->tags);
	info->as_is = named;
	info->told = palloc0(sizeof(AttrNumber) * Max(info->table->natts, 1));
	for (int i = 0; i < info->table->nseries_columns; i++)
	{
		AttrNumber attno = info->table->series_attnos[i];
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(info->rel), attno - 1);

		if (att->attisdropped)
			info->as_is = false;
		else
			info->told[attno - 1] =
				named ? attno : get_attnum(RelationGetRelid(info->asked), NameStr(att->attname));
	}
}

static void
close_part(MdbSeriesInfo *info)
{
	if (info->rel != NULL && info->rel != info->asked)
		table_close(info->rel, NoLock);
	info->rel = NULL;
	info->ids = NULL;
	info->keys = NULL;
	info->nkeys = info->keys_cap = 0;
	MemoryContextReset(info->rel_mcxt);
}

/*
 * mdb_series_info_next - go to the table, or to its next partition.  False if there is no more.
 */
bool
mdb_series_info_next(MdbSeriesInfo *info)
{
	MemoryContext old;
	ListCell *lc;

	close_part(info);
	if (info->next == list_length(info->parts) || mdb_series_of_nodes(info))
		return false;
	old = MemoryContextSwitchTo(info->rel_mcxt);
	open_part(info, list_nth_oid(info->parts, info->next++));
	read_range(info);
	if (info->table->nseries_columns == 0 || is_another(info))
		info->ids = mdb_ids_create();
	else if (info->hide)
	{
		info->ids = mdb_ids_create();
		gather_seen(info);
	}
	else
	{
		find_ids(info);
		gather_delta(info);
		if (info->next == 1)
			foreach (lc, info->others)
				gather_other(info, lfirst_oid(lc));
	}
	if (info->ids)
		mdb_ids_index(info->ids);
	MemoryContextSwitchTo(old);
	return true;
}

/*
 * mdb_series_info_end - it is answered.
 */
void
mdb_series_info_end(MdbSeriesInfo *info)
{
	UnregisterSnapshot(info->latest);
	relation_close(info->asked, AccessShareLock);
}

/*
 * mdb_series_info_is_tag - is a series column one whose values are tags?
 */
bool
mdb_series_info_is_tag(const MdbSeriesInfo *info, AttrNumber attno)
{
	return attno <= info->table->natts && info->table->columns[attno - 1].role == MDB_ROLE_SERIES &&
		   (info->tags == 0 || attno == info->tags);
}

/*
 * mdb_text_cmp - texts in order of bytes.
 */
int
mdb_text_cmp(const void *a, const void *b)
{
	const MdbText *x = a, *y = b;

	return mdb_term_cmp(x->bytes, x->len, y->bytes, y->len);
}
