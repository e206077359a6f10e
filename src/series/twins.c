/*
 * twins.c
 *	  Ids of one key: two sessions that register it at once give it two.
 *
 * To find them all, keys have to be compared; but of most rows of the dictionary it is known that they share none with
 * any other.  A row tells of whoever wrote it
 *
 *	registrar	who it was: the lowest id that this process has given since it knows the dictionary,
 *	xid			in which transaction,
 *	horizon		and that it had read all rows of transactions below before it gave the ids.
 *
 * So two rows may share a key, or an id, only if neither's transaction is below the other's horizon, and they are of
 * different registrars: a process gives a key one id, and writes that once, else it says that it does not know (horizon
 * 0).  Rows that may share keys are compared by whoever asks, and if there are many by maintenance, once: it settles
 * a row by raising its horizon above its xid.  Those that do share some then have the registrar TWIN_BEARER.
 *
 * What was found is remembered by the process as long as the catalog has the same rows.
 */
#include "postgres.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/indexing.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplesort.h"

#include "series/index.h"

/* Of so many dictionaries it is remembered. */
#define KNOWN_MAX 256

typedef struct Known
{
	int64 storage_id; /* hash key */
	uint64 signature; /* of the catalog's rows */
	MdbTwins twins;
	TimestampTz settled_at; /* when it was last looked for rows to settle */
} Known;

static HTAB *known = NULL;

/* Of rows that were compared, and share keys or ids with each other. */
#define TWIN_BEARER (-1)

/* Maintenance compares rows with so many pairs; with less anybody does, in a few milliseconds. */
#define SETTLE_PAIRS       4096
#define SETTLE_INTERVAL_MS 60000

typedef struct Row
{
	ItemPointerData tid;
	TransactionId xmin; /* frozen or not */
	int32 npairs;
	bool compare;
	bool settled;
	int64 id_min;
	int64 id_max;
	int64 registrar; /* a negative number of its own if it is not known */
	uint64 start;    /* what the row has not seen reaches from here, */
	uint64 end;      /* to here: see mark() */
} Row;

typedef struct Rows
{
	Row *v;
	uint32 n;
	uint32 cap;
	uint64 signature; /* of the catalog's rows */
	int64 ncompare;   /* pairs in rows that have to be compared, */
	int64 nothers;    /* and in others */
} Rows;

/* The span of transactions of which a row knows nothing, in which its own is. */
static void
read_claims(TupleDesc desc, const Datum *v, const bool *n, Row *row, uint32 number)
{
	uint64 xid, horizon;

	row->registrar = -(int64) number - 2;
	row->start = 0;
	row->end = PG_UINT64_MAX;
	row->settled = false;
	/* The catalog of an older release has no such columns. */
	if (desc->natts < Natts_series || n[Anum_series_registrar - 1] || n[Anum_series_xid - 1] ||
		n[Anum_series_horizon - 1])
		return;
	xid = (uint64) DatumGetInt64(v[Anum_series_xid - 1]);
	horizon = (uint64) DatumGetInt64(v[Anum_series_horizon - 1]);
	if (DatumGetInt64(v[Anum_series_registrar - 1]) != 0)
		row->registrar = DatumGetInt64(v[Anum_series_registrar - 1]);
	row->settled = horizon > xid;
	row->end = 4 * xid + (row->settled ? 3 : 2);
	row->start = row->settled ? row->end : 4 * horizon;
}

/* All rows of a dictionary, but for their keys. */
static void
read_rows(Relation rel, int64 storage_id, Snapshot snapshot, Rows *rows)
{
	struct
	{
		ItemPointerData tid;
		uint16 zero;
		TransactionId xmin;
		uint64 before;
	} image = {0};
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;

	memset(rows, 0, sizeof(Rows));
	ScanKeyInit(&key, Anum_series_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 1, &key);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		Datum v[Natts_series];
		bool n[Natts_series];
		Row *row;

		CHECK_FOR_INTERRUPTS();
		if (rows->n == rows->cap)
		{
			rows->cap = Max(64, rows->cap * 2);
			rows->v =
				rows->v ? repalloc_huge(rows->v, rows->cap * sizeof(Row)) : palloc(rows->cap * sizeof(Row));
		}
		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		row = &rows->v[rows->n];
		row->tid = image.tid = tuple->t_self;
		row->xmin = HeapTupleHeaderGetXmin(tuple->t_data);
		image.xmin = HeapTupleHeaderGetRawXmin(tuple->t_data);
		row->npairs = DatumGetInt32(v[Anum_series_nseries - 1]);
		row->id_min = DatumGetInt64(v[Anum_series_id_min - 1]);
		row->id_max = DatumGetInt64(v[Anum_series_id_max - 1]);
		read_claims(RelationGetDescr(rel), v, n, row, rows->n++);
		image.before = XXH3_64bits(&image, sizeof(image));
	}
	mdb_catalog_scan_end(&scan);
	rows->signature = image.before;
}

static int
start_cmp(const void *a, const void *b, void *arg)
{
	const Row *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/*
 * Mark the rows that have to be compared, which puts rows in order of their spans.  Two may share keys if they are of
 * different registrars and their spans overlap.  A settled row's span is a point behind its transaction, which those
 * have in theirs that are newer and have not seen it.  Numbers are four times those of transactions, so that spans end
 * between these, and points lie behind them.
 */
static void
mark(Rows *rows)
{
	/* Of rows before the one that is looked at the one that reaches farthest, and of those of others the next. */
	const Row *far = NULL, *far_other = NULL;
	/* Of rows behind it the nearest, and of those of others the next. */
	const Row *near = NULL, *near_other = NULL;

	if (rows->n > 0)
		qsort_interruptible(rows->v, rows->n, sizeof(Row), start_cmp, NULL);
	for (uint32 i = 0; i < rows->n; i++)
	{
		Row *row = &rows->v[i];
		const Row *other = far && far->registrar == row->registrar ? far_other : far;

		row->compare = row->start == 0 || row->registrar == TWIN_BEARER || (other && other->end > row->start);
		if (far == NULL || row->end > far->end)
		{
			if (far && far->registrar != row->registrar)
				far_other = far;
			far = row;
		}
		else if (row->registrar != far->registrar && (far_other == NULL || row->end > far_other->end))
			far_other = row;
	}
	for (uint32 i = rows->n; i-- > 0;)
	{
		Row *row = &rows->v[i];
		const Row *other = near && near->registrar == row->registrar ? near_other : near;

		row->compare |= other && other->start < row->end;
		if (near && near->registrar != row->registrar)
			near_other = near;
		near = row;
		if (row->compare)
			rows->ncompare += row->npairs;
		else
			rows->nothers += row->npairs;
	}
}

/* Half of a key's hash, and its id. */
static void
put_pair(void *arg, uint32 id, const char *key, uint32 len)
{
	uint64 hash = XXH3_64bits(key, len);

	tuplesort_putdatum(arg, Int64GetDatum((int64) ((hash & ~(uint64) PG_UINT32_MAX) | id)), false);
}

/* A row again: the snapshot that saw it keeps it there.  With another than this there would be predicate locks. */
static void
fetch(Relation rel, const Row *row, TupleTableSlot *slot)
{
	ItemPointerData tid = row->tid;

	if (!table_tuple_fetch_row_version(rel, &tid, SnapshotAny, slot))
		elog(ERROR, "a row of the series dictionary has gone");
}

/* The pairs of rows that have to be compared, in order of that. */
static Tuplesortstate *
sort_pairs(Relation rel, const Rows *rows)
{
	Tuplesortstate *sort =
		tuplesort_begin_datum(INT8OID, Int8LessOperator, InvalidOid, false, work_mem, NULL, TUPLESORT_NONE);
	MemoryContext segment =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb dictionary segment", ALLOCSET_DEFAULT_SIZES);
	TupleTableSlot *slot = table_slot_create(rel, NULL);

	for (uint32 i = 0; i < rows->n; i++)
	{
		MemoryContext old;
		Datum payload;
		bool isnull;

		if (!rows->v[i].compare)
			continue;
		CHECK_FOR_INTERRUPTS();
		fetch(rel, &rows->v[i], slot);
		old = MemoryContextSwitchTo(segment);
		payload = slot_getattr(slot, Anum_series_payload, &isnull);
		mdb_segment_decode(DatumGetByteaPP(payload), (uint32) rows->v[i].id_min, put_pair, sort);
		MemoryContextSwitchTo(old);
		MemoryContextReset(segment);
		ExecClearTuple(slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(segment);
	tuplesort_performsort(sort);
	return sort;
}

static bool
same_key(MdbDict *dict, Snapshot snapshot, uint32 a, uint32 b)
{
	uint32 alen, blen;
	const char *akey = mdb_dict_key(dict, a, snapshot, &alen);
	const char *bkey = mdb_dict_key(dict, b, snapshot, &blen);

	return alen == blen && memcmp(akey, bkey, alen) == 0;
}

/* Add an id to the firsts of its hash, or to the twins if it has the key of one of these. */
static void
add_id(MdbDict *dict, Snapshot snapshot, MdbIds *firsts, uint32 id, MdbTwins *twins)
{
	for (uint32 i = 0; i < firsts->n; i++)
	{
		if (!same_key(dict, snapshot, firsts->v[i], id))
			continue;
		if (twins->n % 64 == 0)
			twins->v = twins->v ? repalloc_huge(twins->v, (twins->n + 64) * sizeof(MdbTwin))
								: palloc(64 * sizeof(MdbTwin));
		twins->v[twins->n++] = (MdbTwin){.id = id, .first = firsts->v[i]};
		return;
	}
	mdb_ids_add(firsts, &id, 1);
}

static int
twin_cmp(const void *a, const void *b)
{
	const MdbTwin *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* Compare the keys of rows that are marked.  Ids that are in several are added to repeated, which may be NULL. */
static void
find(Relation rel, MdbDict *dict, const Rows *rows, Snapshot snapshot, MdbTwins *twins, MdbIds *repeated)
{
	Tuplesortstate *sort = sort_pairs(rel, rows);
	MdbIds *firsts = mdb_ids_create();
	uint64 last = 0;
	bool any = false;
	bool isnull;
	Datum value;

	while (mdb_sorted_datum(sort, &value, &isnull))
	{
		uint64 pair = (uint64) DatumGetInt64(value);
		uint32 id = (uint32) pair;

		CHECK_FOR_INTERRUPTS();
		/* An id may have several rows. */
		if (any && pair == last)
		{
			if (repeated)
				mdb_ids_add(repeated, &id, 1);
			continue;
		}
		if (!any || pair >> 32 != last >> 32)
			firsts->n = 0;
		add_id(dict, snapshot, firsts, id, twins);
		any = true;
		last = pair;
		twins->nids++;
	}
	tuplesort_end(sort);
	twins->nids += rows->nothers;
	if (twins->n > 0)
		qsort(twins->v, twins->n, sizeof(MdbTwin), twin_cmp);
}

static void
forget_all(void)
{
	HASH_SEQ_STATUS seq;
	Known *k;

	hash_seq_init(&seq, known);
	while ((k = hash_seq_search(&seq)) != NULL)
		if (k->twins.v)
			pfree(k->twins.v);
	hash_destroy(known);
	known = NULL;
}

/* What is remembered of a dictionary, or will be. */
static Known *
remembered(int64 storage_id)
{
	bool found;
	Known *k;

	if (known && hash_get_num_entries(known) >= KNOWN_MAX)
		forget_all();
	if (known == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(int64), .entrysize = sizeof(Known), .hcxt = CacheMemoryContext};

		known = hash_create("metricsdb twins", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	k = hash_search(known, &storage_id, HASH_ENTER, &found);
	if (!found)
		memset((char *) k + sizeof(int64), 0, sizeof(Known) - sizeof(int64));
	return k;
}

/*
 * mdb_twins - the ids of a dictionary, as the latest snapshot has it, that have the key of another; the result is good
 * until the next call.  Sorts within work_mem.
 */
const MdbTwins *
mdb_twins(MdbDict *dict, int64 storage_id, Snapshot latest)
{
	Relation rel = mdb_catalog_open("series", AccessShareLock);
	MdbTwins twins = {0};
	Rows rows;
	Known *k;

	read_rows(rel, storage_id, latest, &rows);
	k = remembered(storage_id);
	if (k->signature != rows.signature)
	{
		mark(&rows);
		find(rel, dict, &rows, latest, &twins, NULL);
		if (twins.n > 0)
			twins.v = memcpy(MemoryContextAllocHuge(CacheMemoryContext, twins.n * sizeof(MdbTwin)), twins.v,
							 twins.n * sizeof(MdbTwin));
		if (k->twins.v)
			pfree(k->twins.v);
		k->signature = rows.signature;
		k->twins = twins;
	}
	if (rows.v)
		pfree(rows.v);
	table_close(rel, AccessShareLock);
	return &k->twins;
}

/*
 * The transaction of a row, if all up to it have ended: so each of their rows that there will ever be is among those
 * that were compared.  0 = not yet.
 */
static uint64
ended_xid(const Row *row, uint64 xmin)
{
	if (row->settled)
		return 0;
	/* Of a row that does not tell, no more is known than that it is over. */
	if (row->end == PG_UINT64_MAX)
		return TransactionIdIsNormal(row->xmin) && !TransactionIdPrecedes(row->xmin, (TransactionId) xmin)
				   ? 0
				   : xmin - 1;
	return row->end / 4 < xmin ? row->end / 4 : 0;
}

/* Write down that a row was compared with all others. */
static void
settle_row(Relation rel, const Row *row, uint64 xid, bool bears_twins, TupleTableSlot *slot)
{
	ItemPointerData tid = row->tid;
	Datum v[Natts_series] = {0};
	bool n[Natts_series] = {0};
	bool replace[Natts_series] = {0};
	HeapTuple old;

	fetch(rel, row, slot);
	old = ExecFetchSlotHeapTuple(slot, false, NULL);
	v[Anum_series_registrar - 1] = Int64GetDatum(bears_twins ? TWIN_BEARER : Max(row->registrar, 0));
	v[Anum_series_xid - 1] = Int64GetDatum((int64) xid);
	v[Anum_series_horizon - 1] = Int64GetDatum((int64) xid + 1);
	replace[Anum_series_registrar - 1] = replace[Anum_series_xid - 1] = replace[Anum_series_horizon - 1] =
		true;
	CatalogTupleUpdate(rel, &tid, heap_modify_tuple(old, RelationGetDescr(rel), v, n, replace));
	ExecClearTuple(slot);
}

/*
 * mdb_twins_settle - compare rows of the dictionary that may share keys, if there are many, and write down which do.
 * True if something was done.  often: also if a process has looked for them shortly before.  The caller has a lock on
 * the table that keeps others from this, and from removing rows.
 */
bool
mdb_twins_settle(const MdbTable *table, bool often)
{
	TimestampTz now = GetCurrentTimestamp();
	Known *k = remembered(table->storage_id);
	MemoryContext mcxt, old;
	Snapshot snapshot;
	Relation rel;
	int64 pairs = 0;
	uint64 xmin;
	Rows rows;

	if (!often && !TimestampDifferenceExceeds(k->settled_at, now, SETTLE_INTERVAL_MS))
		return false;
	k->settled_at = now;
	mcxt = AllocSetContextCreate(CurrentMemoryContext, "metricsdb twins", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(mcxt);
	rel = mdb_catalog_open("series", RowExclusiveLock);
	snapshot = mdb_latest_snapshot();
	xmin = mdb_full_xid(snapshot->xmin);
	if (RelationGetDescr(rel)->natts >= Natts_series)
	{
		read_rows(rel, table->storage_id, snapshot, &rows);
		mark(&rows);
		for (uint32 i = 0; i < rows.n; i++)
			if (rows.v[i].compare && ended_xid(&rows.v[i], xmin) > 0)
				pairs += rows.v[i].npairs;
	}
	if (pairs >= SETTLE_PAIRS)
	{
		TupleTableSlot *slot = table_slot_create(rel, NULL);
		MdbIds *shared = mdb_ids_create();
		MdbTwins twins = {0};

		find(rel, mdb_dict_open(table), &rows, snapshot, &twins, shared);
		for (uint32 i = 0; i < twins.n; i++)
		{
			mdb_ids_add(shared, &twins.v[i].id, 1);
			mdb_ids_add(shared, &twins.v[i].first, 1);
		}
		mdb_ids_sort(shared);
		for (uint32 i = 0; i < rows.n; i++)
		{
			const Row *row = &rows.v[i];
			bool bears_twins = row->compare && mdb_ids_any_between(shared, row->id_min, row->id_max);
			uint64 xid = ended_xid(row, xmin);

			CHECK_FOR_INTERRUPTS();
			if (row->compare && xid > 0)
				settle_row(rel, row, xid, bears_twins, slot);
			/* Another that bears the twins of one that is settled now. */
			else if (row->settled && bears_twins && row->registrar != TWIN_BEARER)
				settle_row(rel, row, row->end / 4, true, slot);
		}
		ExecDropSingleTupleTableSlot(slot);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(mcxt);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	return pairs >= SETTLE_PAIRS;
}

/*
 * mdb_twins_among - so many ids of a set have the key of another of the set.
 */
int64
mdb_twins_among(const MdbTwins *twins, const MdbIds *ids)
{
	int64 count = 0;

	for (uint32 i = 0, end; i < twins->n; i = end)
	{
		int64 there = mdb_ids_has(ids, twins->v[i].first);

		for (end = i; end < twins->n && twins->v[end].first == twins->v[i].first; end++)
			there += mdb_ids_has(ids, twins->v[end].id);
		count += Max(there - 1, 0);
	}
	return count;
}
