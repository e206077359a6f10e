/*
 * taken.c
 *	  Samples that writers have put into metricsdb.alert_batch, taken into the windows of rules: each once.
 *
 * Invariants:
 *	1. What has been taken in of a table are the rows that one snapshot sees, and no others: the next time those
 *	   that a newer snapshot sees and this does not, by the transactions that wrote them.  So neither the order of commits nor
 *	   that of ids matters.
 *	2. Rows that are later than all ticks wait, in the table; that is known of each.  They are a quarter of an hour
 *	   each, so neither clocks that are wrong nor partitions that lag fill the memory.
 *	3. The history of a rule is read by a snapshot that has been taken in (history.c): of a row that waited since then
 *	   it has the samples.
 *	4. A row is deleted when the windows of all ticks that come begin behind it.
 *	5. If an error comes, all that is known of the table is forgotten.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "alert/count.h"
#include "alert/follow.h"
#include "alert/gather.h"

/* How often rows that are not needed are deleted, and what is not needed in memory is forgotten; by the clock. */
#define TIDY_EVERY  (10 * USECS_PER_SEC)
#define SWEEP_EVERY (5 * USECS_PER_MINUTE)

/* Samples between the steps of mdb_followed_prefetch(). */
#define AHEAD 12

/* ---- what a snapshot sees ---- */

static int
xid_cmp(const void *a, const void *b)
{
	uint64 x = *(const uint64 *) a;
	uint64 y = *(const uint64 *) b;

	return x < y ? -1 : x > y;
}

/*
 * mdb_seen_set - what a snapshot sees of other transactions; of this one it is taken to see nothing.
 */
void
mdb_seen_set(MdbSeen *seen, Snapshot snapshot, MemoryContext mcxt)
{
	FullTransactionId own = GetTopFullTransactionIdIfAny();
	uint64 *xip = MemoryContextAlloc(mcxt, sizeof(uint64) * (snapshot->xcnt + 1));
	uint32 n = 0;

	for (uint32 i = 0; i < snapshot->xcnt; i++)
		xip[n++] = mdb_full_xid(snapshot->xip[i]);
	seen->xmin = mdb_full_xid(snapshot->xmin);
	seen->xmax = mdb_full_xid(snapshot->xmax);
	if (FullTransactionIdIsValid(own))
	{
		xip[n++] = U64FromFullTransactionId(own);
		seen->xmin = Min(seen->xmin, U64FromFullTransactionId(own));
	}
	qsort(xip, n, sizeof(uint64), xid_cmp);
	if (seen->xip)
		pfree(seen->xip);
	seen->xip = xip;
	seen->n = n;
}

/*
 * mdb_seen_has - was a transaction that has committed seen?
 */
bool
mdb_seen_has(const MdbSeen *seen, uint64 xid)
{
	if (xid < seen->xmin)
		return true;
	if (xid >= seen->xmax)
		return false;
	return bsearch(&xid, seen->xip, seen->n, sizeof(uint64), xid_cmp) == NULL;
}

/* ---- the table ---- */

/*
 * mdb_followed_open - open the table with a lock that keeps its file, and learn what is new of it; NULL if somebody
 * has a stronger one, or it is gone.
 *
 * Nobody is waited for: one table's DDL must not keep other tables' rules from being evaluated.
 */
Relation
mdb_followed_open(MdbFollowed *f)
{
	Relation rel;

	f->blocked = !ConditionalLockRelationOid(f->relid, AccessShareLock);
	if (f->blocked)
		return NULL;
	rel = try_relation_open(f->relid, NoLock);
	if (rel != NULL && !mdb_is_metricsdb(rel))
	{
		relation_close(rel, NoLock);
		rel = NULL;
	}
	if (rel == NULL)
	{
		UnlockRelationOid(f->relid, AccessShareLock);
		return NULL;
	}
	if (f->stale || f->watch == NULL || f->watch->storage_id != mdb_table_peek(rel)->storage_id)
		mdb_followed_refresh(f, rel);
	return rel;
}

/* ---- rows ---- */

static MdbKept *
keep(MdbFollowed *f, int64 batch_id, uint64 xid, TimestampTz covers)
{
	if (f->nkept == f->kept_room)
	{
		f->kept_room = Max(64, f->kept_room * 2);
		f->kept = f->kept ? repalloc_huge(f->kept, sizeof(MdbKept) * f->kept_room)
						  : MemoryContextAlloc(f->mcxt, sizeof(MdbKept) * f->kept_room);
	}
	f->kept[f->nkept] = (MdbKept){.batch_id = batch_id, .xid = xid, .covers = covers};
	return &f->kept[f->nkept++];
}

/* Samples of a row, or of a rule's history, into windows. */
static void
add_samples(MdbFollowed *f, MdbDict *dict, const bytea *bytes, MdbFollowedRule *only)
{
	MdbTapped *samples;
	MdbTappedKey *keys;
	MdbFollowedSeries **by_key;
	uint32 nkeys;
	uint32 n = mdb_tapped_decode(bytes, &samples, &nkeys, &keys);

	by_key = palloc(sizeof(MdbFollowedSeries *) * Max(nkeys, 1));
	for (uint32 i = 0; i < nkeys; i++)
		by_key[i] = mdb_followed_by_key(f, keys[i].bytes, keys[i].len);
	for (uint32 i = 0; i < n; i++)
	{
		const MdbTapped *s = &samples[i];

		if (i % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		for (uint32 step = 0, k = AHEAD; step < 4 && i + k < n; step++, k += AHEAD)
			if (!(s[k].series & MDB_SERIES_BY_KEY))
				mdb_followed_prefetch(f, (uint32) s[k].series, step);
		mdb_followed_add(f,
						 s->series & MDB_SERIES_BY_KEY ? by_key[(uint32) s->series]
													   : mdb_followed_by_id(f, dict, (uint32) s->series),
						 only, s->column, s->time, s->value);
	}
	mdb_alert_counters.samples += n;
	mdb_alert_count(MDB_COUNT_SAMPLES, n);
}

/*
 * mdb_followed_add_bytes - the same, for history.c.
 */
void
mdb_followed_add_bytes(MdbFollowed *f, const bytea *bytes, MdbFollowedRule *only)
{
	add_samples(f, mdb_dict_open(f->watch->table), bytes, only);
}

/* Whose history has what a transaction has written?  No transaction, 0: nobody's. */
static void
find_who_has_it(MdbFollowed *f, uint64 xid)
{
	HASH_SEQ_STATUS seq;
	MdbFollowedRule *r;

	hash_seq_init(&seq, f->rules);
	while ((r = hash_seq_search(&seq)) != NULL)
		r->has_it = xid != 0 && r->state == MDB_FOLLOW_LOADED && mdb_seen_has(&r->seen, xid);
}

static void
take_row(MdbFollowed *f, MdbDict *dict, HeapTuple tuple, TupleDesc desc)
{
	bool isnull;
	Datum states = heap_getattr(tuple, Anum_batch_states, desc, &isnull);
	bytea *bytes = DatumGetByteaPP(states);

	add_samples(f, dict, bytes, NULL);
	mdb_alert_counters.batches++;
	mdb_alert_count(MDB_COUNT_BATCHES, 1);
	if ((Pointer) bytes != DatumGetPointer(states))
		pfree(bytes);
}

/*
 * mdb_followed_take_in - the rows that a snapshot sees and that were not seen before; how many.
 *
 * The table is open: so its series are those of its file, and no new file can come.
 */
int64
mdb_followed_take_in(MdbFollowed *f, Relation table, Snapshot snapshot)
{
	Relation rel = mdb_catalog_open("alert_batch", AccessShareLock);
	Relation index = index_open(mdb_catalog_relid("alert_batch_source", false), AccessShareLock);
	TupleDesc desc = RelationGetDescr(rel);
	FullTransactionId own = GetTopFullTransactionIdIfAny();
	bool first_time = f->seen.xmax == 0;
	MemoryContext tmp =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb samples taken in", ALLOCSET_DEFAULT_SIZES);
	MdbDict *dict = mdb_dict_open(f->watch->table);
	ScanKeyData keys[2];
	MdbCatalogScan scan;
	HeapTuple tuple;
	int64 count = 0;

	if (first_time)
		mdb_windows_restore(f, snapshot);
	ScanKeyInit(&keys[0], Anum_batch_source, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(f->relid));
	ScanKeyInit(&keys[1], Anum_batch_xid, BTGreaterEqualStrategyNumber, F_XID8GE,
				FullTransactionIdGetDatum(FullTransactionIdFromU64(f->seen.xmin)));
	mdb_catalog_scan_begin_at(&scan, rel, index, snapshot, false, 2, keys);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_back(&scan)))
	{
		MemoryContext old = MemoryContextSwitchTo(tmp);
		bool isnull;
		int64 id = DatumGetInt64(heap_getattr(tuple, Anum_batch_batch_id, desc, &isnull));
		int64 storage_id = DatumGetInt64(heap_getattr(tuple, Anum_batch_storage_id, desc, &isnull));
		FullTransactionId fxid =
			DatumGetFullTransactionId(heap_getattr(tuple, Anum_batch_xid, desc, &isnull));
		uint64 xid = U64FromFullTransactionId(fxid);
		TimestampTz covers = DatumGetTimestampTz(heap_getattr(tuple, Anum_batch_covers, desc, &isnull));

		CHECK_FOR_INTERRUPTS();
		/* What this transaction writes it takes in when it has committed. */
		if (!FullTransactionIdEquals(fxid, own) && (first_time || !mdb_seen_has(&f->seen, xid)))
		{
			/* Of another file: nobody needs it. */
			if (storage_id != f->watch->storage_id)
				keep(f, id, xid, PG_INT64_MIN);
			else if (covers > f->covers)
				keep(f, id, xid, covers)->waits = true;
			else
			{
				if (first_time)
					find_who_has_it(f, xid);
				take_row(f, dict, tuple, desc);
				keep(f, id, xid, covers);
				count++;
			}
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(tmp);
	}
	mdb_catalog_scan_end_at(&scan);
	if (first_time)
		find_who_has_it(f, 0);
	mdb_seen_set(&f->seen, snapshot, f->mcxt);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	MemoryContextDelete(tmp);
	return count;
}

static HeapTuple
find_row(Relation rel, int64 batch_id, Snapshot snapshot)
{
	ScanKeyData key;

	ScanKeyInit(&key, Anum_batch_batch_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(batch_id));
	return mdb_catalog_find(rel, snapshot, 1, &key);
}

/*
 * mdb_followed_reach - there are ticks of this time now: rows that waited for it are taken in.
 */
void
mdb_followed_reach(MdbFollowed *f, Relation table, TimestampTz at)
{
	MdbDict *dict = mdb_dict_open(f->watch->table);
	HASH_SEQ_STATUS seq;
	MdbFollowedRule *r;
	Relation rel;
	Snapshot snapshot;

	if (mdb_covers_of(at) <= f->covers)
		return;
	f->covers = mdb_covers_of(at);
	rel = mdb_catalog_open("alert_batch", AccessShareLock);
	snapshot = mdb_latest_snapshot();
	for (int i = 0; i < f->nkept; i++)
	{
		HeapTuple tuple;

		if (!f->kept[i].waits || f->kept[i].covers > f->covers)
			continue;
		f->kept[i].waits = false;
		tuple = find_row(rel, f->kept[i].batch_id, snapshot);
		if (!HeapTupleIsValid(tuple))
			continue;
		/* Rules that began while it waited have it. */
		find_who_has_it(f, f->kept[i].xid);
		take_row(f, dict, tuple, RelationGetDescr(rel));
		heap_freetuple(tuple);
	}
	find_who_has_it(f, 0);
	hash_seq_init(&seq, f->rules);
	while ((r = hash_seq_search(&seq)) != NULL)
		mdb_windows_reach(f, r, snapshot);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
}

/* ---- what is not needed any more ---- */

/* No window of a tick that comes has samples up to here. */
static TimestampTz
needed_after(const MdbFollowed *f, TimestampTz *ticked)
{
	HASH_SEQ_STATUS seq;
	MdbFollowedRule *r;
	TimestampTz after = PG_INT64_MAX;

	*ticked = PG_INT64_MAX;
	hash_seq_init(&seq, f->rules);
	while ((r = hash_seq_search(&seq)) != NULL)
	{
		if (r->state != MDB_FOLLOW_LOADED)
			continue;
		*ticked = Min(*ticked, r->tick);
		if (!r->watch->t->deadman)
			after = Min(after, r->tick - r->watch->t->window);
	}
	if (*ticked == PG_INT64_MAX)
		*ticked = DT_NOBEGIN;
	return after;
}

static void
delete_rows(MdbFollowed *f, TimestampTz after)
{
	Relation rel = mdb_catalog_open("alert_batch", RowExclusiveLock);
	Snapshot snapshot = mdb_latest_snapshot();
	int left = 0;

	for (int i = 0; i < f->nkept; i++)
	{
		MdbKept *k = &f->kept[i];
		HeapTuple tuple;

		if (k->waits || k->covers > after)
		{
			f->kept[left++] = *k;
			continue;
		}
		CHECK_FOR_INTERRUPTS();
		tuple = find_row(rel, k->batch_id, snapshot);
		/* The transaction that deleted it may not have committed: it is looked for once more. */
		if (!HeapTupleIsValid(tuple))
			continue;
		simple_heap_delete(rel, &tuple->t_self);
		heap_freetuple(tuple);
		f->kept[left++] = *k;
	}
	f->nkept = left;
	UnregisterSnapshot(snapshot);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

/*
 * mdb_followed_tidy - now and then: delete rows, forget what is not needed, and see to it that writers go on to
 * write.
 */
void
mdb_followed_tidy(MdbFollowed *f)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz ticked;
	TimestampTz after;

	if (now < f->tidied_at + TIDY_EVERY)
		return;
	f->tidied_at = now;
	after = needed_after(f, &ticked);
	if (f->nkept > 0)
		delete_rows(f, after);
	mdb_mark_renew(f, now, ticked);
	if (now < f->swept_at + SWEEP_EVERY)
		return;
	if (f->swept_at != 0)
		mdb_followed_sweep(f);
	f->swept_at = now;
}

/* Has a table rules of these kinds, and is there? */
static bool
has_rules(Oid relid)
{
	Relation rel;
	MdbWatch *w;
	bool has;

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		return false;
	if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return true;
	rel = try_relation_open(relid, NoLock);
	if (rel == NULL || !mdb_is_metricsdb(rel))
		has = false;
	else
	{
		w = mdb_watch_build(rel);
		has = w->nrules > 0;
		MemoryContextDelete(w->mcxt);
	}
	if (rel)
		relation_close(rel, NoLock);
	UnlockRelationOid(relid, AccessShareLock);
	return has;
}

/* Rows of a catalog, whose column has OIDs of tables, of those that have no rules: nobody takes these in. */
static void
delete_orphans_of(const char *catalog, AttrNumber attno, List **with, List **without)
{
	Relation rel = mdb_catalog_open(catalog, RowExclusiveLock);
	Snapshot snapshot = mdb_latest_snapshot();
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, snapshot, 0, NULL);
	HeapTuple tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool isnull;
		Oid relid = DatumGetObjectId(heap_getattr(tuple, attno, RelationGetDescr(rel), &isnull));

		CHECK_FOR_INTERRUPTS();
		if (mdb_followed_find(relid) || list_member_oid(*with, relid))
			continue;
		if (!list_member_oid(*without, relid))
		{
			if (has_rules(relid))
			{
				*with = lappend_oid(*with, relid);
				continue;
			}
			*without = lappend_oid(*without, relid);
		}
		simple_heap_delete(rel, &tuple->t_self);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, RowExclusiveLock);
}

/*
 * mdb_orphans_delete - now and then: what is left of tables that are gone, or have no rules any more.
 */
void
mdb_orphans_delete(void)
{
	static TimestampTz looked_at = 0;
	TimestampTz now = GetCurrentTimestamp();
	List *with = NIL;
	List *without = NIL;

	if (now < looked_at + SWEEP_EVERY)
		return;
	looked_at = now;
	delete_orphans_of("alert_batch", Anum_batch_source, &with, &without);
	delete_orphans_of("alert_watch", 1, &with, &without);
	CommandCounterIncrement();
	list_free(with);
	list_free(without);
}
