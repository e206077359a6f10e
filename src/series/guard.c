/*
 * guard.c
 *	  The cardinality guard in the database: which limits apply, and the books of new series.
 *
 * The books, metricsdb.cardinality, get a row for each metric in each transaction that registers new
 * series of it (a claim), in that transaction: so they survive what it survives, and are rolled back
 * with it.  Rows are only inserted; the maintainer puts those of an hour together and removes old ones
 * (mdb_guard_tidy).
 *
 * Invariants:
 *	1. Who claims reads all rows of the metric and the hour, also those of transactions in progress,
 *	   and inserts his own, under a lock that is held for just these two steps.  So claims that stand
 *	   or may yet stand never exceed a limit, and nobody waits for another's transaction.
 *	2. The maintainer takes the same lock, to the end of its own small transaction, if it is to be had
 *	   at once: so no claimer reads rows both before and after they were put together.
 *	3. Only keys without a row in the dictionary are claimed: known series never ask the guard.
 *
 * Called by src/write for SQL, by src/ingest for Kafka, by src/admin.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "metricsdb.h"
#include "series/guard.h"
#include "stop.h"

int mdb_max_new_series = 100000;
int mdb_max_new_series_sql = 0;
bool mdb_cardinality_guard = true;

/* Rows of an hour and metric from which on the maintainer puts them together; how often it looks. */
#define TIDY_ROWS     8
#define TIDY_INTERVAL (10 * USECS_PER_SEC)

/* The present hour and the one before it are kept. */
#define HOURS_KEPT 2

/* ---- limits ---- */

/*
 * mdb_guard_home - what tells this database from one that its dump was restored into.
 */
const char *
mdb_guard_home(void)
{
	return psprintf(UINT64_FORMAT "/%u", GetSystemIdentifier(), MyDatabaseId);
}

/*
 * mdb_guard_limits - the limits that were set for a table, by rising name; in CurrentMemoryContext.
 */
MdbLimit *
mdb_guard_limits(Oid relid, int *count)
{
	Oid catalog = mdb_catalog_relid("cardinality_limit", true);
	MdbLimit *limits = NULL;
	int capacity = 0;
	Relation rel;
	Snapshot snapshot;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	*count = 0;
	if (!OidIsValid(catalog))
		return NULL;
	rel = table_open(catalog, AccessShareLock);
	snapshot = mdb_latest_snapshot();
	ScanKeyInit(&key, Anum_cardinality_limit_table, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Datum v[Natts_cardinality_limit];
		bool n[Natts_cardinality_limit];
		MdbLimit *limit;

		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		if (*count == capacity)
		{
			capacity = Max(8, capacity * 2);
			limits =
				limits ? repalloc(limits, capacity * sizeof(MdbLimit)) : palloc(capacity * sizeof(MdbLimit));
		}
		limit = &limits[(*count)++];
		limit->metric = TextDatumGetCString(v[Anum_cardinality_limit_metric - 1]);
		limit->new_per_hour = n[Anum_cardinality_limit_new_per_hour - 1]
								  ? MDB_CARD_UNLIMITED
								  : DatumGetInt64(v[Anum_cardinality_limit_new_per_hour - 1]);
		limit->action = strcmp(TextDatumGetCString(v[Anum_cardinality_limit_action - 1]), "drop_tag") == 0
							? MDB_CARD_DROP_TAG
							: MDB_CARD_REJECT;
		limit->drop_tag = n[Anum_cardinality_limit_drop_tag - 1]
							  ? NULL
							  : TextDatumGetCString(v[Anum_cardinality_limit_drop_tag - 1]);
		limit->at_home =
			strcmp(TextDatumGetCString(v[Anum_cardinality_limit_home - 1]), mdb_guard_home()) == 0;
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return limits;
}

/*
 * mdb_guard_setting - what applies to metrics of a table for which nobody has set a limit: the setting or, from Kafka, the
 * table's share of that of a coordinator.
 */
int64
mdb_guard_setting(Oid relid, bool sql)
{
	int64 setting = sql ? mdb_max_new_series_sql : mdb_max_new_series;
	Oid catalog = sql ? InvalidOid : mdb_catalog_relid("cardinality_share", true);
	Relation rel;
	Snapshot snapshot;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	if (setting == 0)
		setting = MDB_CARD_UNLIMITED;
	if (!OidIsValid(catalog))
		return setting;
	rel = table_open(catalog, AccessShareLock);
	snapshot = mdb_latest_snapshot();
	ScanKeyInit(&key, Anum_cardinality_share_table, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, snapshot, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;

		setting = DatumGetInt64(
			heap_getattr(tuple, Anum_cardinality_share_new_per_hour, RelationGetDescr(rel), &isnull));
		if (isnull)
			setting = MDB_CARD_UNLIMITED;
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return setting;
}

/*
 * mdb_guard_rule - what applies to a metric: its own limit, else the table's, else the setting, mdb_guard_setting().
 *
 * Limits that came with a restored dump do not apply to SQL: they would stop the restore of the rows.
 */
MdbCardRule
mdb_guard_rule(const MdbLimit *limits, int nlimits, MdbCardBytes name, int64 setting, bool sql)
{
	MdbCardRule rule = {setting, MDB_CARD_REJECT, {NULL, 0}};
	const MdbLimit *found = NULL;

	for (int i = 0; i < nlimits; i++)
	{
		const MdbLimit *limit = &limits[i];

		if (sql && !limit->at_home)
			continue;
		if (strlen(limit->metric) == name.len && memcmp(limit->metric, name.data, name.len) == 0)
		{
			found = limit;
			break;
		}
		if (limit->metric[0] == '\0')
			found = limit;
	}
	if (found)
	{
		rule.limit = found->new_per_hour;
		rule.action = found->action;
		if (found->drop_tag)
		{
			rule.drop_tag.data = found->drop_tag;
			rule.drop_tag.len = strlen(found->drop_tag);
		}
	}
	return rule;
}

/* Tables that SQL writes to: is there a limit?  Forgotten when the relation cache is told to forget. */
typedef struct Guarded
{
	Oid relid; /* hash key */
	bool guarded;
} Guarded;

static HTAB *guarded_tables = NULL;

static void
forget_guarded(Oid relid)
{
	if (guarded_tables == NULL)
		return;
	if (OidIsValid(relid))
		hash_search(guarded_tables, &relid, HASH_REMOVE, NULL);
	else
	{
		hash_destroy(guarded_tables);
		guarded_tables = NULL;
	}
}

/*
 * mdb_guard_for_sql - may rows that SQL writes to the table be refused?  Asked for each row, so quick.
 */
bool
mdb_guard_for_sql(Relation rel)
{
	Oid relid = RelationGetRelid(rel);
	Guarded *entry;
	MdbLimit *limits;
	int count;
	bool answer = false;

	if (!mdb_cardinality_guard)
		return false;
	if (mdb_max_new_series_sql > 0)
		return true;
	entry = guarded_tables ? hash_search(guarded_tables, &relid, HASH_FIND, NULL) : NULL;
	if (entry)
		return entry->guarded;

	limits = mdb_guard_limits(relid, &count);
	for (int i = 0; i < count; i++)
		answer |= limits[i].at_home && limits[i].new_per_hour != MDB_CARD_UNLIMITED;
	/* What was read may have made the cache forget. */
	if (guarded_tables == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Guarded)};

		guarded_tables = hash_create("metricsdb guarded tables", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	}
	entry = hash_search(guarded_tables, &relid, HASH_ENTER, NULL);
	entry->guarded = answer;
	return answer;
}

/* Delete the rows of a catalog whose first column is a table. */
static void
forget_in(const char *name, Oid relid)
{
	Oid catalog = mdb_catalog_relid(name, true);
	Relation rel;
	Snapshot snapshot;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	if (!OidIsValid(catalog) || catalog == relid)
		return;
	rel = table_open(catalog, RowExclusiveLock);
	snapshot = mdb_latest_snapshot();
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	/* Not by the index, which may be gone before it when the extension is dropped. */
	scan = systable_beginscan(rel, InvalidOid, false, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		CatalogTupleDelete(rel, &tuple->t_self);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
}

/*
 * mdb_guard_forget - a relation is being dropped: so are the limits that were set for it.
 */
void
mdb_guard_forget(Oid relid)
{
	forget_in("cardinality_limit", relid);
	forget_in("cardinality_share", relid);
}

/*
 * mdb_guard_shape - which column has the metric's name and which its tags: of tables with one series
 * column of type text and one of type jsonb.  Else 0: the table is one metric, its series columns the tags.
 */
void
mdb_guard_shape(Relation rel, const MdbTable *table, AttrNumber *name, AttrNumber *tags)
{
	*name = *tags = 0;
	if (table->nseries_columns != 2)
		return;
	for (int i = 0; i < 2; i++)
	{
		AttrNumber attno = table->series_attnos[i];
		Oid type = TupleDescAttr(RelationGetDescr(rel), attno - 1)->atttypid;

		if (type == TEXTOID)
			*name = attno;
		else if (type == JSONBOID)
			*tags = attno;
	}
	if (*name == 0 || *tags == 0)
		*name = *tags = 0;
}

/* ---- one table ---- */

static void *
guard_alloc(void *arg, size_t size)
{
	return MemoryContextAllocExtended(arg, size, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

static void
guard_free(void *arg, void *p)
{
	pfree(p);
}

static MdbCard *
make_card(MemoryContext mcxt)
{
	MdbCardMemory memory = {guard_alloc, guard_free, mcxt};

	return mdb_card_create(&memory);
}

/*
 * mdb_guard_create - a guard that is not for any table yet, in CurrentMemoryContext.  sql: for rows that
 * SQL writes, else for those of Kafka.
 */
MdbGuard *
mdb_guard_create(bool sql)
{
	MdbGuard *g = palloc0(sizeof(MdbGuard));

	g->mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb cardinality guard", ALLOCSET_DEFAULT_SIZES);
	g->limits_mcxt = AllocSetContextCreate(g->mcxt, "metricsdb cardinality limits", ALLOCSET_SMALL_SIZES);
	g->sql = sql;
	g->card = make_card(g->mcxt);
	return g;
}

static bool
same_limits(const MdbLimit *a, int na, const MdbLimit *b, int nb)
{
	if (na != nb)
		return false;
	for (int i = 0; i < na; i++)
		if (strcmp(a[i].metric, b[i].metric) != 0 || a[i].new_per_hour != b[i].new_per_hour ||
			a[i].action != b[i].action || a[i].at_home != b[i].at_home ||
			strcmp(a[i].drop_tag ? a[i].drop_tag : "", b[i].drop_tag ? b[i].drop_tag : "") != 0)
			return false;
	return true;
}

static MdbCardBytes
metric_name(const MdbCardMetric *metric)
{
	return (MdbCardBytes){metric->name, metric->name_len};
}

/*
 * mdb_guard_read_limits - read the limits, in a transaction; those of metrics that are known follow.
 */
void
mdb_guard_read_limits(MdbGuard *g)
{
	MemoryContext fresh =
		AllocSetContextCreate(g->mcxt, "metricsdb cardinality limits", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(fresh);
	int64 setting = mdb_guard_setting(g->relid, g->sql);
	MdbLimit *limits;
	int count;
	uint32_t at = 0;
	MdbCardMetric *metric;

	limits = mdb_guard_limits(g->relid, &count);
	MemoryContextSwitchTo(old);
	if (g->setting == setting && same_limits(limits, count, g->limits, g->nlimits))
	{
		MemoryContextDelete(fresh);
		return;
	}
	g->limits = limits;
	g->nlimits = count;
	g->setting = setting;
	while ((metric = mdb_card_next(g->card, &at)) != NULL)
		metric->rule = mdb_guard_rule(limits, count, metric_name(metric), setting, g->sql);
	MemoryContextDelete(g->limits_mcxt);
	g->limits_mcxt = fresh;
}

/*
 * mdb_guard_metric - a metric by its name, with the rule that applies to it.
 */
MdbCardMetric *
mdb_guard_metric(MdbGuard *g, MdbCardBytes name)
{
	bool made;
	MdbCardMetric *metric = mdb_card_metric(g->card, name, &made);

	if (made)
		metric->rule = mdb_guard_rule(g->limits, g->nlimits, name, g->setting, g->sql);
	return metric;
}

static void
merge_sketch(MdbCard *card, MdbCardMetric *metric, Datum sketch)
{
	bytea *b = DatumGetByteaPP(sketch);

	(void) mdb_card_merge(card, metric, (const uint8_t *) VARDATA_ANY(b), VARSIZE_ANY_EXHDR(b));
}

/* What the books say of the hour: a metric each. */
static void
read_books(MdbGuard *g)
{
	Relation rel = mdb_catalog_open("cardinality", AccessShareLock);
	Snapshot snapshot = mdb_latest_snapshot();
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&keys[0], Anum_cardinality_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(g->storage_id));
	ScanKeyInit(&keys[1], Anum_cardinality_hour, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ,
				TimestampTzGetDatum(g->hour));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, snapshot, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Datum v[Natts_cardinality];
		bool n[Natts_cardinality];
		text *name;
		MdbCardBytes bytes;
		MdbCardMetric *metric;
		bool made;

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		name = DatumGetTextPP(v[Anum_cardinality_metric - 1]);
		bytes.data = VARDATA_ANY(name);
		bytes.len = VARSIZE_ANY_EXHDR(name);
		metric = mdb_card_metric_hashed(
			g->card, (uint64_t) DatumGetInt64(v[Anum_cardinality_metric_hash - 1]), bytes, &made);
		if (made)
			metric->rule = mdb_guard_rule(g->limits, g->nlimits, bytes, g->setting, g->sql);
		metric->used += DatumGetInt64(v[Anum_cardinality_new_series - 1]);
		if (!n[Anum_cardinality_sketch - 1])
			merge_sketch(g->card, metric, v[Anum_cardinality_sketch - 1]);
		/* What is in the books need not be written into them again soon. */
		metric->save_at = metric->used + metric->used / 8 + 1;
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
}

static TimestampTz
hour_of(TimestampTz now)
{
	TimestampTz hour = now - now % USECS_PER_HOUR;

	return hour > now ? hour - USECS_PER_HOUR : hour;
}

/*
 * mdb_guard_hour - has another hour begun?  Then all counts are forgotten.
 */
bool
mdb_guard_hour(MdbGuard *g, TimestampTz now)
{
	if (g->hour == hour_of(now))
		return false;
	mdb_card_reset(g->card);
	g->hour = hour_of(now);
	return true;
}

/*
 * mdb_guard_open - bring a guard up to its table, in a transaction: limits, and what was counted before.
 */
void
mdb_guard_open(MdbGuard *g, Relation rel, const MdbTable *table)
{
	bool other = g->relid != RelationGetRelid(rel) || g->storage_id != table->storage_id;

	if (other)
	{
		mdb_card_reset(g->card);
		g->hour = 0;
		g->relid = RelationGetRelid(rel);
		g->storage_id = table->storage_id;
		g->limits = NULL;
		g->nlimits = 0;
	}
	mdb_guard_shape(rel, table, &g->name, &g->tags);
	mdb_guard_read_limits(g);
	if (mdb_guard_hour(g, GetCurrentTimestamp()) || other)
		read_books(g);
}

/* ---- claims ---- */

/* Ends of transactions and subtransactions that took claims back. */
static uint64 aborts = 0;

/* New series of a metric in this hour, of transactions in progress, too; under the lock they are exact. */
static int64
claimed(Relation rel, const MdbGuard *g, const MdbCardMetric *metric)
{
	SnapshotData dirty;
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple tuple;
	int64 sum = 0;

	InitDirtySnapshot(dirty);
	ScanKeyInit(&keys[0], Anum_cardinality_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(g->storage_id));
	ScanKeyInit(&keys[1], Anum_cardinality_hour, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ,
				TimestampTzGetDatum(g->hour));
	ScanKeyInit(&keys[2], Anum_cardinality_metric_hash, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum((int64) metric->hash));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, &dirty, 3, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;

		sum +=
			DatumGetInt64(heap_getattr(tuple, Anum_cardinality_new_series, RelationGetDescr(rel), &isnull));
	}
	systable_endscan(scan);
	return sum;
}

static BlockNumber
lock_number(int64 storage_id)
{
	return (BlockNumber) storage_id;
}

/*
 * mdb_guard_reread - learn how much of a metric's limit is taken at this moment.
 */
void
mdb_guard_reread(MdbGuard *g, MdbCardMetric *metric)
{
	Relation rel = mdb_catalog_open("cardinality", RowExclusiveLock);

	LockPage(rel, lock_number(g->storage_id), ExclusiveLock);
	metric->used = claimed(rel, g, metric);
	UnlockPage(rel, lock_number(g->storage_id), ExclusiveLock);
	table_close(rel, NoLock);
}

static void
insert_row(Relation rel, int64 storage_id, TimestampTz hour, const MdbCardMetric *metric, int64 new_series,
		   int64 refused, bool sketch)
{
	Datum v[Natts_cardinality];
	bool n[Natts_cardinality] = {0};
	bytea *bytes = NULL;

	v[Anum_cardinality_storage_id - 1] = Int64GetDatum(storage_id);
	v[Anum_cardinality_hour - 1] = TimestampTzGetDatum(hour);
	v[Anum_cardinality_metric_hash - 1] = Int64GetDatum((int64) metric->hash);
	v[Anum_cardinality_metric - 1] =
		PointerGetDatum(cstring_to_text_with_len(metric->name, metric->name_len));
	v[Anum_cardinality_new_series - 1] = Int64GetDatum(new_series);
	v[Anum_cardinality_refused - 1] = Int64GetDatum(refused);
	n[Anum_cardinality_sketch - 1] = !sketch;
	if (sketch)
	{
		bytes = palloc(VARHDRSZ + MDB_CARD_SKETCH_MAX);
		SET_VARSIZE(bytes, VARHDRSZ + mdb_card_save(metric, (uint8_t *) VARDATA(bytes)));
	}
	v[Anum_cardinality_sketch - 1] = PointerGetDatum(bytes);
	mdb_catalog_insert(rel, v, n, GetCurrentCommandId(true), 0);
	pfree(DatumGetPointer(v[Anum_cardinality_metric - 1]));
	if (bytes)
		pfree(bytes);
}

/* The most that may be taken: without the tag as many again. */
static int64
most(const MdbCardRule *rule)
{
	if (rule->limit < 0)
		return PG_INT64_MAX;
	return rule->action == MDB_CARD_DROP_TAG && rule->limit < PG_INT64_MAX / 2 ? rule->limit * 2
																			   : rule->limit;
}

/*
 * mdb_guard_claim - enter into the books what each metric's fresh and refused say, in this transaction.
 *
 * False if others have taken so much meanwhile that the new series would exceed a limit: then used of the
 * metrics says how much is taken, and nothing was entered.
 */
bool
mdb_guard_claim(MdbGuard *g)
{
	Relation rel;
	MdbCardMetric *metric;
	uint32_t at = 0;
	bool any = false;
	bool fits = true;

	while (!any && (metric = mdb_card_next(g->card, &at)) != NULL)
		any = metric->fresh > 0 || metric->refused > 0;
	if (!any)
		return true;

	rel = mdb_catalog_open("cardinality", RowExclusiveLock);
	LockPage(rel, lock_number(g->storage_id), ExclusiveLock);
	at = 0;
	while ((metric = mdb_card_next(g->card, &at)) != NULL)
	{
		/* Sketches that were written may be gone. */
		if (g->aborts != aborts)
			metric->save_at = 0;
		if (metric->fresh == 0 && metric->refused == 0)
			continue;
		metric->used = claimed(rel, g, metric);
		if (metric->fresh > 0 && metric->used + metric->fresh > most(&metric->rule))
			fits = false;
	}
	g->aborts = aborts;
	at = 0;
	while (fits && (metric = mdb_card_next(g->card, &at)) != NULL)
	{
		int64 weight = metric->used + metric->fresh + metric->refused_in_hour;
		bool sketch = weight >= metric->save_at;

		if (metric->fresh == 0 && metric->refused == 0)
			continue;
		if (sketch)
			metric->save_at = weight + weight / 8 + 1;
		insert_row(rel, g->storage_id, g->hour, metric, metric->fresh, metric->refused, sketch);
		metric->used += metric->fresh;
	}
	UnlockPage(rel, lock_number(g->storage_id), ExclusiveLock);
	table_close(rel, NoLock);
	MDB_STOP("guard.claimed");
	return fits;
}

/*
 * mdb_guard_committed - what was claimed stands: nothing is left to be entered.
 */
void
mdb_guard_committed(MdbGuard *g)
{
	MdbCardMetric *metric;
	uint32_t at = 0;

	while ((metric = mdb_card_next(g->card, &at)) != NULL)
		metric->fresh = metric->refused = metric->pending = 0;
}

/*
 * mdb_guard_estimate - unite a metric's sketch with what the books say, for a message about it.
 */
void
mdb_guard_estimate(MdbGuard *g, MdbCardMetric *metric)
{
	Relation rel = mdb_catalog_open("cardinality", AccessShareLock);
	Snapshot snapshot = mdb_latest_snapshot();
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&keys[0], Anum_cardinality_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(g->storage_id));
	ScanKeyInit(&keys[1], Anum_cardinality_hour, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ,
				TimestampTzGetDatum(g->hour));
	ScanKeyInit(&keys[2], Anum_cardinality_metric_hash, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum((int64) metric->hash));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, snapshot, 3, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;
		Datum sketch = heap_getattr(tuple, Anum_cardinality_sketch, RelationGetDescr(rel), &isnull);

		if (!isnull)
			merge_sketch(g->card, metric, sketch);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT)
		aborts++;
}

static void
subxact_callback(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		aborts++;
}

/* ---- upkeep ---- */

typedef struct TidyGroup
{
	int64 storage_id;
	TimestampTz hour; /* DT_NOBEGIN: all that are too old */
	int64 hash;
} TidyGroup;

/*
 * Put the rows of a metric and hour together, or delete old ones.  Left for later if somebody claims at
 * this moment, or drops the table.
 */
static void
tidy_group(Relation rel, const TidyGroup *group, TimestampTz oldest, MemoryContext mcxt)
{
	bool old_hours = group->hour == DT_NOBEGIN;
	MdbCard *card;
	MdbCardMetric *metric = NULL;
	Snapshot snapshot;
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple tuple;
	int64 new_series = 0;
	int64 refused = 0;
	MemoryContext old;

	/* To the end of the transaction, see the second invariant. */
	if (!ConditionalLockPage(rel, lock_number(group->storage_id), ExclusiveLock))
		return;
	old = MemoryContextSwitchTo(mcxt);
	card = make_card(mcxt);
	snapshot = mdb_latest_snapshot();
	ScanKeyInit(&keys[0], Anum_cardinality_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(group->storage_id));
	ScanKeyInit(&keys[1], Anum_cardinality_hour, old_hours ? BTLessStrategyNumber : BTEqualStrategyNumber,
				old_hours ? F_TIMESTAMPTZ_LT : F_TIMESTAMPTZ_EQ,
				TimestampTzGetDatum(old_hours ? oldest : group->hour));
	ScanKeyInit(&keys[2], Anum_cardinality_metric_hash, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(group->hash));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, snapshot, old_hours ? 2 : 3, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Datum v[Natts_cardinality];
		bool n[Natts_cardinality];

		CHECK_FOR_INTERRUPTS();
		simple_heap_delete(rel, &tuple->t_self);
		if (old_hours)
			continue;
		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		if (metric == NULL)
		{
			text *name = DatumGetTextPP(v[Anum_cardinality_metric - 1]);
			bool made;

			metric =
				mdb_card_metric_hashed(card, (uint64_t) group->hash,
									   (MdbCardBytes){VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)}, &made);
		}
		new_series += DatumGetInt64(v[Anum_cardinality_new_series - 1]);
		refused += DatumGetInt64(v[Anum_cardinality_refused - 1]);
		if (!n[Anum_cardinality_sketch - 1])
			merge_sketch(card, metric, v[Anum_cardinality_sketch - 1]);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	if (metric)
		insert_row(rel, group->storage_id, group->hour, metric, new_series, refused, metric->sketch != NULL);
	MemoryContextSwitchTo(old);
}

/*
 * mdb_guard_tidy - remove old hours from the books, and put rows of the present ones together.
 *
 * For the maintainer, in a transaction that does nothing else; does nothing if it was called just now.
 */
void
mdb_guard_tidy(void)
{
	static TimestampTz last = 0;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz oldest = hour_of(now) - (HOURS_KEPT - 1) * USECS_PER_HOUR;
	Oid relid = mdb_catalog_relid("cardinality", true);
	MemoryContext mcxt;
	Relation rel;
	Relation index;
	Snapshot snapshot;
	SysScanDesc scan;
	HeapTuple tuple;
	TidyGroup *groups;
	TidyGroup at = {0};
	int ngroups = 0;
	int capacity = 64;
	int rows = 0;

	if (!OidIsValid(relid) || (last != 0 && now >= last && now < last + TIDY_INTERVAL))
		return;
	last = now;
	/* Who waits for the lock is not to wait for the disk, or for a standby. */
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true,
							 0, false);
	mcxt = AllocSetContextCreate(CurrentMemoryContext, "metricsdb cardinality books", ALLOCSET_DEFAULT_SIZES);
	groups = MemoryContextAlloc(mcxt, capacity * sizeof(TidyGroup));
	rel = table_open(relid, RowExclusiveLock);
	index = index_open(mdb_catalog_index(rel), AccessShareLock);
	snapshot = mdb_latest_snapshot();
	scan = systable_beginscan_ordered(rel, index, snapshot, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		Datum v[Natts_cardinality];
		bool n[Natts_cardinality];
		TidyGroup group;

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		group.storage_id = DatumGetInt64(v[Anum_cardinality_storage_id - 1]);
		group.hour = DatumGetTimestampTz(v[Anum_cardinality_hour - 1]);
		group.hash = DatumGetInt64(v[Anum_cardinality_metric_hash - 1]);
		if (group.hour < oldest)
		{
			group.hour = DT_NOBEGIN;
			group.hash = 0;
		}
		if (group.storage_id != at.storage_id || group.hour != at.hour || group.hash != at.hash)
			rows = 0;
		at = group;
		if (++rows != (group.hour == DT_NOBEGIN ? 1 : TIDY_ROWS))
			continue;
		if (ngroups == capacity)
		{
			capacity *= 2;
			groups = repalloc_huge(groups, capacity * sizeof(TidyGroup));
		}
		groups[ngroups++] = group;
	}
	systable_endscan_ordered(scan);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	for (int i = 0; i < ngroups; i++)
	{
		MemoryContext one = AllocSetContextCreate(mcxt, "metricsdb cardinality rows", ALLOCSET_DEFAULT_SIZES);

		CHECK_FOR_INTERRUPTS();
		tidy_group(rel, &groups[i], oldest, one);
		MemoryContextDelete(one);
	}
	table_close(rel, NoLock);
	MemoryContextDelete(mcxt);
}

/*
 * mdb_guard_init - at load: settings, and the relation cache's word.
 */
void
mdb_guard_init(void)
{
	DefineCustomIntVariable(
		"metricsdb.max_new_series", "New series that each metric may get from Kafka in an hour.",
		"Points of further ones become dead letters. 0 means any number. metricsdb.set_cardinality_limit() "
		"says otherwise for a table or metric.",
		&mdb_max_new_series, 100000, 0, PG_INT32_MAX, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"metricsdb.max_new_series_sql", "New series that each metric may get from SQL in an hour.",
		"0 means any number, but where metricsdb.set_cardinality_limit() has set a limit.",
		&mdb_max_new_series_sql, 0, 0, PG_INT32_MAX, PGC_SUSET, 0, NULL, NULL, NULL);
	/* Not for everybody: a limit is the owner's word. */
	DefineCustomBoolVariable("metricsdb.cardinality_guard",
							 "Whether limits of new series apply to what this session writes.", NULL,
							 &mdb_cardinality_guard, true, PGC_SUSET, 0, NULL, NULL, NULL);
	mdb_on_relation_change(forget_guarded);
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
