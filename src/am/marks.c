/*
 * marks.c
 *	  Rows of parts that are deleted or updated: continuous aggregates of the table have to make their buckets again.
 *
 * Each such row is told to each aggregate, as a range of time in metricsdb.dirty, whether the aggregate has taken
 * it or not: so who deletes a row and who applies it need not know of each other.  The new version of an
 * updated row is in the delta, which no aggregate has taken; nor what is deleted there.  Rows that merges and
 * retention take away are not told.
 *
 * What was marked by a transaction is not marked again.  A range is as wide as a bucket at first; after some
 * ranges of a width those that follow are wider, so that however many rows a transaction deletes, it marks
 * some hundred ranges for an aggregate at most.
 *
 * A row without a time is in no bucket that was made: aggregates never take it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/int.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "am/am.h"
#include "store/aggregates.h"

/* So many ranges of a width, and then others that are so many times as wide. */
#define MARKS_OF_WIDTH 64
#define WIDTH_SHIFT    4

/* A range that was marked: times from number times the level's width on. */
typedef struct MarkKey
{
	int64 number;
	Oid aggregate;
	int32 level;
} MarkKey;

typedef struct Mark
{
	MarkKey key;
	SubTransactionId subid; /* the mark is gone when this one aborts */
	CommandId cid;          /* earlier commands do not see it */
} Mark;

/* What is known of an aggregate. */
typedef struct Marking
{
	Oid aggregate; /* the key */
	int64 width;   /* of a bucket */
	int32 level;
	int marks; /* of this level */
	/* what was marked last */
	bool has_last;
	int64 last_from;
	int64 last_to;
	CommandId last_cid;
} Marking;

/* These live as long as the transaction. */
static MemoryContext marks_mcxt = NULL;
static HTAB *marks = NULL;
static HTAB *markings = NULL;

/* The aggregates of the table that was asked for last, as of a command. */
static Oid list_relid = InvalidOid;
static CommandId list_cid;
static Marking **list = NULL;
static int list_count = 0;

/* The times of the block of a part that was asked for last. */
static int64 times_storage = 0;
static int64 times_first; /* row number */
static int64 times_count;
static bool times_known; /* its rows have one */
static int64 *times = NULL;

static void
forget_all(void)
{
	if (marks_mcxt)
		MemoryContextDelete(marks_mcxt);
	marks_mcxt = NULL;
	marks = markings = NULL;
	list_relid = InvalidOid;
	list = NULL;
	list_count = 0;
	times_storage = 0;
	times = NULL;
}

static void
set_up(void)
{
	HASHCTL ctl = {.keysize = sizeof(MarkKey), .entrysize = sizeof(Mark)};

	if (marks_mcxt)
		return;
	marks_mcxt = AllocSetContextCreate(TopTransactionContext, "metricsdb marks", ALLOCSET_DEFAULT_SIZES);
	ctl.hcxt = marks_mcxt;
	marks = hash_create("metricsdb marks", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(Marking);
	markings = hash_create("metricsdb marking", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* The aggregates to tell.  None is made while a command changes rows of their table, but by this transaction. */
static void
use_list(Relation rel, CommandId cid)
{
	Snapshot snapshot;
	MdbAggregate *aggregates;
	int count;

	if (list_relid == RelationGetRelid(rel) && list_cid == cid)
		return;
	snapshot = mdb_latest_snapshot();
	aggregates = mdb_aggregates_by(MDB_AGGREGATE_SOURCE, RelationGetRelid(rel), snapshot, &count);
	UnregisterSnapshot(snapshot);
	if (list)
		pfree(list);
	list = MemoryContextAlloc(marks_mcxt, sizeof(Marking *) * Max(1, count));
	for (int i = 0; i < count; i++)
	{
		bool found;
		Marking *m = hash_search(markings, &aggregates[i].aggregate, HASH_ENTER, &found);

		if (!found)
		{
			m->width = Max(1, aggregates[i].granularity);
			m->level = m->marks = 0;
			m->has_last = false;
		}
		list[i] = m;
	}
	list_count = count;
	list_relid = RelationGetRelid(rel);
	list_cid = cid;
}

/* Have the times of the block that holds a row at hand. */
static void
use_times(Relation rel, int64 row)
{
	MdbTable *table = mdb_table(rel);
	Snapshot snapshot = mdb_latest_snapshot();
	MdbPartInfo info;
	MdbPart *part;
	int lo = 0, hi;

	/* It is locked, so it stays. */
	if (!mdb_part_covering(table, row, snapshot, &info))
		elog(ERROR, "row %lld of table \"%s\" is of no part", (long long) row, RelationGetRelationName(rel));
	UnregisterSnapshot(snapshot);
	times_storage = 0;
	if (times)
		pfree(times);
	times = NULL;
	times_known = info.days > 0;
	times_first = info.row_first;
	times_count = info.nrows;
	if (times_known)
	{
		part = mdb_part_open_cached(rel, &info);
		hi = info.nblocks;
		while (hi - lo > 1)
		{
			int mid = (lo + hi) / 2;

			if (part->block_first[mid] <= row)
				lo = mid;
			else
				hi = mid;
		}
		times_first = part->block_first[lo];
		times_count = part->block_rows[lo];
		times = MemoryContextAlloc(marks_mcxt, sizeof(int64) * times_count + MDB_DECODE_SLACK);
		mdb_part_read_times(part, lo, times);
		mdb_part_close(part);
	}
	times_storage = table->storage_id;
	pfree(table);
}

/* The range of a level that a time is in. */
static void
range_of(const Marking *m, int32 level, int64 time, int64 *number, int64 *from, int64 *to)
{
	int64 width = m->width;

	for (int32 i = 0; i < level; i++)
		width = width > PG_INT64_MAX >> WIDTH_SHIFT ? PG_INT64_MAX : width << WIDTH_SHIFT;
	*number = time / width - (time % width < 0);
	if (pg_mul_s64_overflow(*number, width, from))
		*from = PG_INT64_MIN;
	if (pg_mul_s64_overflow(*number + 1, width, to))
		*to = PG_INT64_MAX;
}

static void
remember_last(Marking *m, int64 from, int64 to, CommandId cid)
{
	m->has_last = true;
	m->last_from = from;
	m->last_to = to;
	m->last_cid = cid;
}

/* Mark the bucket of a time for an aggregate, unless it is. */
static void
mark(Marking *m, int64 time, CommandId cid)
{
	int64 from, to;
	MarkKey key = {.aggregate = m->aggregate};
	Mark *entry;
	bool found;

	if (m->has_last && time >= m->last_from && time < m->last_to && m->last_cid <= cid)
		return;
	for (key.level = 0; key.level <= m->level; key.level++)
	{
		range_of(m, key.level, time, &key.number, &from, &to);
		entry = hash_search(marks, &key, HASH_FIND, NULL);
		if (entry && entry->cid <= cid)
		{
			remember_last(m, from, to, entry->cid);
			return;
		}
	}
	if (m->marks >= MARKS_OF_WIDTH &&
		m->width << (m->level * WIDTH_SHIFT) < PG_INT64_MAX >> (2 * WIDTH_SHIFT))
	{
		m->level++;
		m->marks = 0;
	}
	key.level = m->level;
	range_of(m, key.level, time, &key.number, &from, &to);
	mdb_dirty_insert(m->aggregate, from, to, false, cid);
	entry = hash_search(marks, &key, HASH_ENTER, &found);
	entry->subid = GetCurrentSubTransactionId();
	entry->cid = cid;
	m->marks++;
	remember_last(m, from, to, cid);
}

/*
 * mdb_mark_row_gone - the row of a part that has this number was deleted, or updated, by a command; -1: it was none
 * of a part.  The caller has locked the part.
 */
void
mdb_mark_row_gone(Relation rel, int64 row, CommandId cid)
{
	int64 storage_id;

	if (row < 0 || !mdb_has_aggregates(rel))
		return;
	storage_id = mdb_table_peek(rel)->storage_id;
	set_up();
	use_list(rel, cid);
	if (times_storage != storage_id || row < times_first || row >= times_first + times_count)
		use_times(rel, row);
	for (int i = 0; i < list_count && times_known; i++)
		mark(list[i], times[row - times_first], cid);
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		forget_all();
}

static void
subxact_callback(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	HASH_SEQ_STATUS seq;
	Marking *m;
	Mark *entry;

	if (marks == NULL || (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB))
		return;
	hash_seq_init(&seq, markings);
	while ((m = hash_seq_search(&seq)) != NULL)
		m->has_last = false;
	list_relid = InvalidOid;
	times_storage = 0;
	hash_seq_init(&seq, marks);
	while ((entry = hash_seq_search(&seq)) != NULL)
	{
		if (entry->subid != subid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			entry->subid = parent;
		else
			hash_search(marks, &entry->key, HASH_REMOVE, NULL);
	}
}

/*
 * mdb_marks_init - at load: follow transactions.
 */
void
mdb_marks_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
