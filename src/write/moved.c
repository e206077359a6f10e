/*
 * moved.c
 *	  Where rows went that were given new numbers.
 *
 * Merges, and the delta's way into parts, give rows new identities.  A transaction whose snapshot, or
 * cursor, or wait for a lock, is older than that still knows a row by its old one, and must neither
 * miss it nor fail when it comes to change it.  So each move leaves a map in metricsdb.moved, for as
 * long as a snapshot may be older than it.
 *
 * A map is a list of runs: rows whose old identities followed each other, and whose new ones do.
 * Rows that are in no run were dead when the others were moved.  A row of the catalog holds up to
 * RUNS_MAX runs as three vectors of integers, each as its length (4 bytes) and a chunk of the integer
 * codec: the gap from the end of the run before to the begin of this, in old identities; the length
 * of the run; the same gap in new row numbers.  They begin at the columns "first" and "base".
 *
 * An old identity is a row number, or for a row of the delta 2^62 + slot * 2^56 + block * 2^16 + offset.
 *
 * A row number is not given out again while a map leads from it, but places in heaps are taken again, and
 * so are numbers that maps lead to, if the row was dead when their part was merged; maps may still be there by
 * then.  Who needs a map has a snapshot that does not see the move, and so keeps the places that it leads
 * to from being taken again; maps that all snapshots of this process see say nothing.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/predicate.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "stop.h"
#include "write/write.h"

#define RUNS_MAX MDB_BLOCK_ROWS_MAX

#define IN_HEAP  (INT64CONST(1) << 62)

enum
{
	Anum_moved_storage_id = 1,
	Anum_moved_first,
	Anum_moved_last,
	Anum_moved_base,
	Anum_moved_payload,
	Natts_moved = Anum_moved_payload
};

/* A row of the catalog to be. */
typedef struct Piece
{
	int64 first;
	int64 last;
	bytea *payload;
} Piece;

struct MdbMoves
{
	MemoryContext mcxt;
	int64 storage_id;
	int64 *gap; /* [RUNS_MAX] of the runs not yet encoded */
	int64 *length;
	int64 *to_gap;
	uint32 n;
	int64 first;    /* of these runs */
	int64 from_end; /* where the last run ends */
	int64 to_end;
	Size bytes;
	int npieces;
	int capacity;
	Piece *pieces;
};

/*
 * mdb_moves_begin - start a map, in CurrentMemoryContext.
 */
MdbMoves *
mdb_moves_begin(int64 storage_id)
{
	MdbMoves *m = palloc0(sizeof(MdbMoves));

	m->mcxt = CurrentMemoryContext;
	m->storage_id = storage_id;
	m->gap = palloc(sizeof(int64) * RUNS_MAX);
	m->length = palloc(sizeof(int64) * RUNS_MAX);
	m->to_gap = palloc(sizeof(int64) * RUNS_MAX);
	return m;
}

static void
put(StringInfo out, const int64 *v, uint32 n)
{
	MdbCodecHint hint = {0};
	uint32 len;

	enlargeStringInfo(out, (int) (sizeof(uint32) + mdb_i64_bound(n)));
	len = (uint32) mdb_i64_encode(v, n, (uint8 *) out->data + out->len + sizeof(uint32), &hint);
	memcpy(out->data + out->len, &len, sizeof(len));
	out->len += sizeof(uint32) + len;
}

/* Encode the runs collected so far. */
static void
end_piece(MdbMoves *m)
{
	MemoryContext old;
	StringInfoData out;
	Piece *piece;

	if (m->n == 0)
		return;
	old = MemoryContextSwitchTo(m->mcxt);
	if (m->npieces == m->capacity)
	{
		m->capacity = Max(4, m->capacity * 2);
		m->pieces = m->pieces ? repalloc(m->pieces, sizeof(Piece) * m->capacity)
							  : palloc(sizeof(Piece) * m->capacity);
	}
	piece = &m->pieces[m->npieces++];
	initStringInfo(&out);
	appendStringInfoSpaces(&out, VARHDRSZ);
	appendBinaryStringInfo(&out, (char *) &m->n, sizeof(m->n));
	put(&out, m->gap, m->n);
	put(&out, m->length, m->n);
	put(&out, m->to_gap, m->n);
	SET_VARSIZE(out.data, out.len);
	piece->first = m->first;
	piece->last = m->from_end - 1;
	piece->payload = (bytea *) repalloc(out.data, out.len);
	m->bytes += out.len;
	m->n = 0;
	MemoryContextSwitchTo(old);
}

/*
 * mdb_moves_add - n rows have moved from consecutive old identities, higher than those before, to
 * consecutive row numbers, relative to the base that mdb_moves_write() is told.
 */
void
mdb_moves_add(MdbMoves *m, int64 from, int64 to, uint32 n)
{
	if (m->n > 0 && from == m->from_end && to == m->to_end)
	{
		m->length[m->n - 1] += n;
		m->from_end += n;
		m->to_end += n;
		return;
	}
	if (m->n == RUNS_MAX)
		end_piece(m);
	if (m->n == 0)
	{
		m->first = m->from_end = from;
		m->to_end = 0;
	}
	m->gap[m->n] = from - m->from_end;
	m->length[m->n] = n;
	m->to_gap[m->n] = to - m->to_end;
	m->n++;
	m->from_end = from + n;
	m->to_end = to + n;
}

/*
 * mdb_moves_bytes - how much memory the map takes.
 */
Size
mdb_moves_bytes(const MdbMoves *m)
{
	return m->bytes;
}

/*
 * mdb_moves_write - write the map, in the transaction that moves the rows, and forget it.
 */
void
mdb_moves_write(MdbMoves *m, int64 base)
{
	end_piece(m);
	if (m->npieces > 0)
	{
		Relation rel = mdb_catalog_open("moved", RowExclusiveLock);

		for (int i = 0; i < m->npieces; i++)
		{
			Datum v[Natts_moved];
			bool n[Natts_moved] = {0};

			v[Anum_moved_storage_id - 1] = Int64GetDatum(m->storage_id);
			v[Anum_moved_first - 1] = Int64GetDatum(m->pieces[i].first);
			v[Anum_moved_last - 1] = Int64GetDatum(m->pieces[i].last);
			v[Anum_moved_base - 1] = Int64GetDatum(base);
			v[Anum_moved_payload - 1] = PointerGetDatum(m->pieces[i].payload);
			mdb_catalog_insert(rel, v, n, GetCurrentCommandId(true), 0);
			pfree(m->pieces[i].payload);
			MDB_STOP("moved.map");
		}
		table_close(rel, NoLock);
		pfree(m->pieces);
	}
	pfree(m->gap);
	pfree(m->length);
	pfree(m->to_gap);
	pfree(m);
}

/*
 * mdb_moved_identity - an identity as maps have it.
 */
int64
mdb_moved_identity(int16 slot, ItemPointer heap)
{
	return IN_HEAP | ((int64) slot << 56) | ((int64) ItemPointerGetBlockNumberNoCheck(heap) << 16) |
		   ItemPointerGetOffsetNumberNoCheck(heap);
}

/*
 * mdb_moved_in_heap - the reverse; false if it is a row number.
 */
bool
mdb_moved_in_heap(int64 identity, int16 *slot, ItemPointer heap)
{
	if (!(identity & IN_HEAP))
		return false;
	*slot = (int16) ((identity >> 56) & 0x3f);
	ItemPointerSet(heap, (BlockNumber) ((identity >> 16) & 0xffffffff), (OffsetNumber) (identity & 0xffff));
	return true;
}

static const uint8 *
get(const uint8 *p, const uint8 *end, uint32 n, int64 *v)
{
	uint32 len;

	if (end - p >= (ptrdiff_t) sizeof(len))
	{
		memcpy(&len, p, sizeof(len));
		p += sizeof(len);
		if (len <= end - p && mdb_i64_decode(p, len, n, v) == MDB_CODEC_OK)
			return p + len;
	}
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a map of moved rows cannot be decoded")));
	return NULL;
}

/* The runs of one row's payload. */
typedef struct Runs
{
	uint32 n;
	int64 *gap;
	int64 *length;
	int64 *to_gap;
} Runs;

static void
decode_runs(bytea *payload, Runs *r)
{
	const uint8 *p = (const uint8 *) VARDATA_ANY(payload);
	const uint8 *end = p + VARSIZE_ANY_EXHDR(payload);

	r->n = 0;
	if (end - p >= (ptrdiff_t) sizeof(r->n))
		memcpy(&r->n, p, sizeof(r->n));
	if (r->n == 0 || r->n > RUNS_MAX)
		ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a map of moved rows cannot be decoded")));
	p += sizeof(r->n);
	r->gap = palloc(sizeof(int64) * (r->n + MDB_DECODE_SLACK));
	r->length = palloc(sizeof(int64) * (r->n + MDB_DECODE_SLACK));
	r->to_gap = palloc(sizeof(int64) * (r->n + MDB_DECODE_SLACK));
	p = get(p, end, r->n, r->gap);
	p = get(p, end, r->n, r->length);
	(void) get(p, end, r->n, r->to_gap);
}

static void
free_runs(Runs *r)
{
	pfree(r->gap);
	pfree(r->length);
	pfree(r->to_gap);
}

/* Look an identity up in one row's payload: its new row number, or -1.  Or, backwards, the reverse. */
static int64
look_up(bytea *payload, int64 first, int64 base, int64 wanted, bool backwards)
{
	int64 from = first;
	int64 to = base;
	int64 result = -1;
	Runs r;

	decode_runs(payload, &r);
	for (uint32 i = 0; i < r.n; i++)
	{
		int64 begin;

		from += r.gap[i];
		to += r.to_gap[i];
		begin = backwards ? to : from;
		if (wanted >= begin && wanted < begin + r.length[i])
		{
			result = (backwards ? from : to) + wanted - begin;
			break;
		}
		from += r.length[i];
		to += r.length[i];
	}
	free_runs(&r);
	return result;
}

/*
 * mdb_moves_find - where a row went by a map that is being made, relative to its base; -1 if nowhere.
 */
int64
mdb_moves_find(MdbMoves *m, int64 from)
{
	end_piece(m);
	for (int i = 0; i < m->npieces; i++)
		if (from >= m->pieces[i].first && from <= m->pieces[i].last)
			return look_up(m->pieces[i].payload, m->pieces[i].first, 0, from, false);
	return -1;
}

/* Do all snapshots of this process see what a transaction that has committed did? */
static bool
seen_by_all(TransactionId xid)
{
	return !TransactionIdIsNormal(xid) ||
		   (TransactionIdIsValid(MyProc->xmin) && TransactionIdPrecedes(xid, MyProc->xmin));
}

/*
 * mdb_moved_seen - does the active snapshot see what a transaction moved that has committed?
 */
bool
mdb_moved_seen(TransactionId by)
{
	Snapshot snapshot = ActiveSnapshotSet() ? GetActiveSnapshot() : NULL;

	if (!TransactionIdIsNormal(by))
		return true;
	return snapshot && IsMVCCSnapshot(snapshot) && !XidInMVCCSnapshot(by, snapshot);
}

/*
 * mdb_moved_find - where a row is now that is not any more where its old identity says: its row number,
 * or -1 if it was dead when the others were moved, or was not moved.
 *
 * *by, unless by is NULL, is the transaction that moved it.
 */
int64
mdb_moved_find(int64 storage_id, int64 identity, TransactionId *by)
{
	Relation rel = mdb_catalog_open("moved", AccessShareLock);
	Snapshot snapshot = mdb_latest_snapshot();
	int64 result = -1;
	ScanKeyData keys[2];
	MdbCatalogScan scan;
	HeapTuple tuple;

	ScanKeyInit(&keys[0], Anum_moved_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	ScanKeyInit(&keys[1], Anum_moved_last, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(identity));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 2, keys);
	while (result < 0 && HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		TransactionId xmin = HeapTupleHeaderGetXmin(tuple->t_data);
		Datum v[Natts_moved];
		bool n[Natts_moved];
		bytea *payload;

		if (seen_by_all(xmin))
			continue;
		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		if (DatumGetInt64(v[Anum_moved_first - 1]) > identity)
			continue;
		if (by)
			*by = xmin;
		payload = DatumGetByteaPP(v[Anum_moved_payload - 1]);
		result = look_up(payload, DatumGetInt64(v[Anum_moved_first - 1]),
						 DatumGetInt64(v[Anum_moved_base - 1]), identity, false);
		if ((Pointer) payload != DatumGetPointer(v[Anum_moved_payload - 1]))
			pfree(payload);
	}
	mdb_catalog_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return result;
}

/*
 * mdb_moved_or_moving - may a row with this identity have been moved by a transaction that is in progress, or
 * whose commit not all snapshots of this process see?
 */
bool
mdb_moved_or_moving(int64 storage_id, int64 identity)
{
	Relation rel = mdb_catalog_open("moved", AccessShareLock);
	bool result = false;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&keys[0], Anum_moved_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	ScanKeyInit(&keys[1], Anum_moved_last, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(identity));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, SnapshotAny, 2, keys);
	while (!result && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TransactionId xmin = HeapTupleHeaderGetXmin(tuple->t_data);
		bool isnull;

		if (seen_by_all(xmin) || (!TransactionIdIsInProgress(xmin) && !TransactionIdDidCommit(xmin)))
			continue;
		/* Its payload need not be read: a lock too many is no harm. */
		result =
			DatumGetInt64(heap_getattr(tuple, Anum_moved_first, RelationGetDescr(rel), &isnull)) <= identity;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

/*
 * mdb_moved_locks - a map of rows that move was written: serializable transactions that have read some of
 * them by their old identities get a lock on the whole table, as when a table is clustered.
 */
void
mdb_moved_locks(Relation rel)
{
	TransferPredicateLocksToHeapRelation(rel);
}

/* A row of the catalog, without its runs. */
typedef struct Head
{
	int64 first;
	int64 last;
	int64 base;
	int64 least; /* of first, of this one and those after it */
	TransactionId by;
	ItemPointerData tid;
} Head;

struct MdbMovedMaps
{
	Relation rel;
	Snapshot snapshot;
	int n;
	Head *heads; /* by rising last */
};

static int
head_cmp(const void *a, const void *b)
{
	const Head *x = a, *y = b;

	return x->last < y->last ? -1 : x->last > y->last;
}

/*
 * mdb_moved_maps_open - all maps of a storage, for who looks many rows up and keeps others from moving any.  In
 * CurrentMemoryContext.
 */
MdbMovedMaps *
mdb_moved_maps_open(int64 storage_id)
{
	MdbMovedMaps *maps = palloc0(sizeof(MdbMovedMaps));
	int capacity = 64;
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;

	maps->rel = mdb_catalog_open("moved", AccessShareLock);
	maps->snapshot = mdb_latest_snapshot();
	maps->heads = palloc(sizeof(Head) * capacity);
	ScanKeyInit(&key, Anum_moved_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	mdb_catalog_scan_begin(&scan, maps->rel, maps->snapshot, false, 1, &key);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		Datum v[Natts_moved];
		bool isnull[Natts_moved];
		Head *head;

		CHECK_FOR_INTERRUPTS();
		if (maps->n == capacity)
		{
			capacity *= 2;
			maps->heads = repalloc_huge(maps->heads, sizeof(Head) * capacity);
		}
		heap_deform_tuple(tuple, RelationGetDescr(maps->rel), v, isnull);
		head = &maps->heads[maps->n++];
		head->first = DatumGetInt64(v[Anum_moved_first - 1]);
		head->last = DatumGetInt64(v[Anum_moved_last - 1]);
		head->base = DatumGetInt64(v[Anum_moved_base - 1]);
		head->by = HeapTupleHeaderGetXmin(tuple->t_data);
		head->tid = tuple->t_self;
	}
	mdb_catalog_scan_end(&scan);
	qsort(maps->heads, maps->n, sizeof(Head), head_cmp);
	for (int i = maps->n - 1; i >= 0; i--)
		maps->heads[i].least =
			i == maps->n - 1 ? maps->heads[i].first : Min(maps->heads[i].first, maps->heads[i + 1].least);
	return maps;
}

void
mdb_moved_maps_close(MdbMovedMaps *maps)
{
	UnregisterSnapshot(maps->snapshot);
	table_close(maps->rel, AccessShareLock);
	pfree(maps->heads);
	pfree(maps);
}

static int
run_cmp(const void *a, const void *b)
{
	const MdbMovedRun *x = a, *y = b;

	if (x->by != y->by)
		return x->by < y->by ? -1 : 1;
	return x->from < y->from ? -1 : x->from > y->from;
}

/* Add the runs of a map that have identities between two. */
static void
add_runs(MdbMovedMaps *maps, const Head *head, int64 first, int64 last, MdbMovedRuns *runs, int *capacity)
{
	HeapTupleData tuple = {.t_self = head->tid};
	int64 from = head->first;
	int64 to = head->base;
	Buffer buf;
	bool isnull;
	bytea *stored, *payload;
	Runs r;

	if (!heap_fetch(maps->rel, maps->snapshot, &tuple, &buf, false))
		elog(ERROR, "a map of moved rows is gone");
	stored = (bytea *) DatumGetPointer(
		heap_getattr(&tuple, Anum_moved_payload, RelationGetDescr(maps->rel), &isnull));
	payload = DatumGetByteaPP(PointerGetDatum(stored));
	decode_runs(payload, &r);
	if (payload != stored)
		pfree(payload);
	ReleaseBuffer(buf);
	for (uint32 i = 0; i < r.n; i++)
	{
		from += r.gap[i];
		to += r.to_gap[i];
		if (from <= last && from + r.length[i] > first)
		{
			if (runs->n == *capacity)
			{
				*capacity = Max(64, *capacity * 2);
				runs->runs = runs->runs ? repalloc_huge(runs->runs, sizeof(MdbMovedRun) * *capacity)
										: palloc(sizeof(MdbMovedRun) * *capacity);
			}
			runs->runs[runs->n].from = from;
			runs->runs[runs->n].to = to;
			runs->runs[runs->n].length = r.length[i];
			runs->runs[runs->n++].by = head->by;
		}
		from += r.length[i];
		to += r.length[i];
	}
	free_runs(&r);
}

/*
 * mdb_moved_runs - all moves of rows that had identities between two.  In CurrentMemoryContext.
 */
void
mdb_moved_runs(MdbMovedMaps *maps, int64 first, int64 last, MdbMovedRuns *runs)
{
	int capacity = 0;
	int lo = 0, hi = maps->n;

	memset(runs, 0, sizeof(*runs));
	while (lo < hi)
	{
		int mid = (lo + hi) / 2;

		if (maps->heads[mid].last < first)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < maps->n && maps->heads[lo].least <= last; lo++)
	{
		CHECK_FOR_INTERRUPTS();
		if (maps->heads[lo].first <= last)
			add_runs(maps, &maps->heads[lo], first, last, runs, &capacity);
	}
	if (runs->n > 1)
		qsort(runs->runs, runs->n, sizeof(MdbMovedRun), run_cmp);
}

/*
 * mdb_moved_to - the row number that a transaction gave to a row which had another identity, one of those that
 * the runs were asked for; -1 if it did not move it.
 */
int64
mdb_moved_to(const MdbMovedRuns *runs, int64 identity, TransactionId by)
{
	int lo = 0, hi = runs->n;
	const MdbMovedRun *run;

	/* Behind the last run of the same mover that does not begin later. */
	while (lo < hi)
	{
		int mid = (lo + hi) / 2;

		run = &runs->runs[mid];
		if (run->by < by || (run->by == by && run->from <= identity))
			lo = mid + 1;
		else
			hi = mid;
	}
	run = lo > 0 ? &runs->runs[lo - 1] : NULL;
	return run && run->by == by && identity < run->from + run->length ? run->to + identity - run->from : -1;
}

/*
 * mdb_moved_origin - the identity that the row with this number had before it was moved, or -1.
 *
 * Reads all maps of the storage: for what is rare.
 */
int64
mdb_moved_origin(int64 storage_id, int64 row)
{
	Relation rel = mdb_catalog_open("moved", AccessShareLock);
	Snapshot snapshot = mdb_latest_snapshot();
	int64 result = -1;
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_moved_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 1, &key);
	while (result < 0 && HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		Datum v[Natts_moved];
		bool n[Natts_moved];
		bytea *payload;

		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		payload = DatumGetByteaPP(v[Anum_moved_payload - 1]);
		result = look_up(payload, DatumGetInt64(v[Anum_moved_first - 1]),
						 DatumGetInt64(v[Anum_moved_base - 1]), row, true);
		if ((Pointer) payload != DatumGetPointer(v[Anum_moved_payload - 1]))
			pfree(payload);
	}
	mdb_catalog_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return result;
}

/*
 * mdb_moved_expire - forget the maps of a storage that no transaction can need any more.  True if there
 * were some.
 */
bool
mdb_moved_expire(int64 storage_id)
{
	Relation rel = mdb_catalog_open("moved", RowExclusiveLock);
	TransactionId horizon = GetOldestNonRemovableTransactionId(rel);
	Snapshot snapshot = mdb_latest_snapshot();
	bool any = false;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_moved_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	scan = systable_beginscan(rel, mdb_catalog_index(rel), true, snapshot, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TransactionId xmin = HeapTupleHeaderGetXmin(tuple->t_data);

		if (TransactionIdIsNormal(xmin) && !TransactionIdPrecedes(xmin, horizon))
			continue;
		simple_heap_delete(rel, &tuple->t_self);
		MDB_STOP("moved.expire");
		any = true;
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, NoLock);
	return any;
}
