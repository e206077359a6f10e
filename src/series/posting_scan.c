/*
 * posting_scan.c
 *	  Reading the index over series.
 *
 * The index finds a run's rows by their last terms, so a term costs two descents and a row a run.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "series/index.h"

/*
 * mdb_posting_damaged - raise ERRCODE_DATA_CORRUPTED.
 */
void
mdb_posting_damaged(void)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_DATA_CORRUPTED), errmsg("a row of the index over series is damaged"),
		 errhint(
			 "metricsdb.check() finds the table, metricsdb.rebuild_series_index() makes the index anew.")));
}

/*
 * mdb_posting_page - make ready to read the entries of a row, in CurrentMemoryContext.  Raises
 * ERRCODE_DATA_CORRUPTED.
 */
void
mdb_posting_page(Datum payload, MdbPostingReader *reader)
{
	struct varlena *datum = PG_DETOAST_DATUM_PACKED(payload);
	const uint8 *p = (const uint8 *) VARDATA_ANY(datum);
	Size len = VARSIZE_ANY_EXHDR(datum);
	uint32 raw_len;
	uint8 *raw;

	if (len < 2)
		mdb_posting_damaged();
	if (p[0] != MDB_POSTING_VERSION)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("a row of the index over series has version %d, this library reads version %d",
							   p[0], MDB_POSTING_VERSION),
						errhint("Install a newer release of metricsdb.")));
	if (!(p[1] & MDB_POSTING_ZSTD))
	{
		mdb_posting_begin(reader, p + 2, len - 2);
		return;
	}
	if (len < 6)
		mdb_posting_damaged();
	memcpy(&raw_len, p + 2, sizeof(raw_len));
	if (raw_len > MDB_POSTING_RAW_MAX)
		mdb_posting_damaged();
	raw = palloc(raw_len + 1);
	if (!mdb_inflate(p + 6, len - 6, raw, raw_len))
		mdb_posting_damaged();
	mdb_posting_begin(reader, raw, raw_len);
}

/*
 * mdb_posting_scan_begin - walk through the entries whose terms begin with prefix, in CurrentMemoryContext.
 * To be told before the first: s->whole, s->only, s->names_only.
 */
void
mdb_posting_scan_begin(MdbPostingScan *s, int64 storage_id, Snapshot snapshot, const MdbTerm *prefix)
{
	memset(s, 0, offsetof(MdbPostingScan, reader));
	s->rel = mdb_catalog_open("posting", AccessShareLock);
	s->storage_id = storage_id;
	s->snapshot = snapshot;
	s->mcxt = AllocSetContextCreate(CurrentMemoryContext, "metricsdb posting row", ALLOCSET_DEFAULT_SIZES);
	s->prefix = *prefix;
	s->run = s->only = -1;
}

static void
close_scan(MdbPostingScan *s)
{
	if (s->open)
		mdb_catalog_scan_end(&s->scan);
	s->open = false;
	s->in_row = false;
}

static void
leave_run(MdbPostingScan *s)
{
	close_scan(s);
	s->in_run = false;
}

/* The next row of the run, from s->from on; of the next run if we are in none. */
static HeapTuple
next_row(MdbPostingScan *s, bool seek)
{
	ScanKeyData keys[3];

	if (seek)
	{
		close_scan(s);
		ScanKeyInit(&keys[0], Anum_posting_storage_id, BTEqualStrategyNumber, F_INT8EQ,
					Int64GetDatum(s->storage_id));
		if (s->in_run)
		{
			bytea *from = &s->key.bytes;

			SET_VARSIZE(from, VARHDRSZ + s->from.len);
			memcpy(VARDATA(from), s->from.bytes, s->from.len);
			ScanKeyInit(&keys[1], Anum_posting_run, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(s->run));
			ScanKeyInit(&keys[2], Anum_posting_last_term, BTGreaterEqualStrategyNumber, F_BYTEAGE,
						PointerGetDatum(from));
		}
		else
			ScanKeyInit(&keys[1], Anum_posting_run, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(s->run));
		mdb_catalog_scan_begin(&s->scan, s->rel, s->snapshot, false, s->in_run ? 3 : 2, keys);
		s->open = true;
	}
	return mdb_catalog_scan_next(&s->scan);
}

static int
compare(Datum term, const MdbTerm *with)
{
	const bytea *b = DatumGetByteaPP(term);

	return mdb_term_cmp(VARDATA_ANY(b), VARSIZE_ANY_EXHDR(b), with->bytes, with->len);
}

/* Is a term none of those that are looked for, nor below them? */
static bool
is_beyond(const MdbPostingScan *s, const uint8 *term, uint32 len)
{
	if (mdb_term_has_prefix(term, len, &s->prefix))
		return s->whole && len > s->prefix.len;
	return mdb_term_cmp(term, len, s->prefix.bytes, s->prefix.len) > 0;
}

/* Go to the next row that may have entries.  False if there is none in any run. */
static bool
advance(MdbPostingScan *s)
{
	bool seek = !s->open;

	for (;;)
	{
		HeapTuple tuple;
		Datum v[Natts_posting];
		bool n[Natts_posting];
		const bytea *first;
		MemoryContext old;
		int64 run;

		CHECK_FOR_INTERRUPTS();
		if (s->only >= 0 && !s->in_run)
		{
			if (s->run >= 0)
				return false;
			s->in_run = true;
			s->run = s->only;
			s->from = s->prefix;
		}
		tuple = next_row(s, seek);
		seek = false;
		if (!HeapTupleIsValid(tuple))
		{
			if (!s->in_run)
				return false;
			leave_run(s);
			seek = true;
			continue;
		}
		heap_deform_tuple(tuple, RelationGetDescr(s->rel), v, n);
		run = DatumGetInt64(v[Anum_posting_run - 1]);
		if (s->in_run && run != s->run)
		{
			leave_run(s);
			seek = true;
			continue;
		}
		if (!s->in_run)
		{
			s->in_run = true;
			s->run = run;
			s->from = s->prefix;
		}
		if (compare(v[Anum_posting_last_term - 1], &s->from) < 0)
		{
			seek = true;
			continue;
		}
		first = DatumGetByteaPP(v[Anum_posting_first_term - 1]);
		if (is_beyond(s, (const uint8 *) VARDATA_ANY(first), VARSIZE_ANY_EXHDR(first)))
		{
			leave_run(s);
			seek = true;
			continue;
		}
		MemoryContextReset(s->mcxt);
		if (s->names_only && VARSIZE_ANY_EXHDR(first) <= MDB_TERM_MAX &&
			datumIsEqual(v[Anum_posting_first_term - 1], v[Anum_posting_last_term - 1], false, -1))
		{
			/* One long list: its ids are not even read. */
			s->reader.term_len = VARSIZE_ANY_EXHDR(first);
			memcpy(s->reader.term, VARDATA_ANY(first), s->reader.term_len);
			return true;
		}
		old = MemoryContextSwitchTo(s->mcxt);
		mdb_posting_page(v[Anum_posting_payload - 1], &s->reader);
		MemoryContextSwitchTo(old);
		s->in_row = true;
		return true;
	}
}

/*
 * mdb_posting_scan_next - the next entry, in s->reader.  False if there is none.
 */
bool
mdb_posting_scan_next(MdbPostingScan *s)
{
	for (;;)
	{
		int more = 0;

		while (s->in_row && (more = mdb_posting_next(&s->reader)) == 1)
		{
			if (mdb_term_cmp(s->reader.term, s->reader.term_len, s->from.bytes, s->from.len) < 0)
				continue;
			if (!is_beyond(s, s->reader.term, s->reader.term_len))
				return true;
			leave_run(s);
		}
		if (more < 0)
			mdb_posting_damaged();
		s->in_row = false;
		if (!advance(s))
			return false;
		if (!s->in_row)
			return true;
	}
}

/*
 * mdb_posting_scan_skip - in this run, go on behind all terms that begin so.
 */
void
mdb_posting_scan_skip(MdbPostingScan *s, const MdbTerm *prefix)
{
	s->from = *prefix;
	while (s->from.len > 0 && s->from.bytes[s->from.len - 1] == 0xff)
		s->from.len--;
	if (s->from.len > 0)
		s->from.bytes[s->from.len - 1]++;
	else
		leave_run(s);
}

/*
 * mdb_posting_scan_pass - in this run, go on behind the entries of the present term.
 */
void
mdb_posting_scan_pass(MdbPostingScan *s)
{
	s->from.len = s->reader.term_len;
	memcpy(s->from.bytes, s->reader.term, s->from.len);
	if (s->from.len < MDB_TERM_MAX)
		s->from.bytes[s->from.len++] = 0;
}

/*
 * mdb_posting_scan_leave - go on with the next run.
 */
void
mdb_posting_scan_leave(MdbPostingScan *s)
{
	leave_run(s);
}

/*
 * mdb_posting_scan_ids - add the ids of the entry to a set.
 */
void
mdb_posting_scan_ids(MdbPostingScan *s, MdbIds *ids)
{
	uint32 n = s->reader.n;

	mdb_ids_reserve(ids, n);
	if (!mdb_posting_ids(&s->reader, ids->v + ids->n))
		mdb_posting_damaged();
	ids->n += n;
}

/*
 * mdb_posting_scan_any - has the entry an id of a set, for which mdb_ids_index has made bits?
 */
bool
mdb_posting_scan_any(const MdbPostingScan *s, const MdbIds *ids)
{
	int any = mdb_posting_any(&s->reader, ids->bits, ids->base, ids->v[ids->n - 1]);

	if (any < 0)
		mdb_posting_damaged();
	return any == 1;
}

/*
 * mdb_posting_scan_end - finish it.
 */
void
mdb_posting_scan_end(MdbPostingScan *s)
{
	close_scan(s);
	table_close(s->rel, AccessShareLock);
	MemoryContextDelete(s->mcxt);
}

/*
 * mdb_postings_find - add the ids that have a term.
 */
void
mdb_postings_find(int64 storage_id, Snapshot snapshot, const MdbTerm *term, MdbIds *ids)
{
	MdbPostingScan s;

	mdb_posting_scan_begin(&s, storage_id, snapshot, term);
	s.whole = true;
	while (mdb_posting_scan_next(&s))
		mdb_posting_scan_ids(&s, ids);
	mdb_posting_scan_end(&s);
}

/*
 * mdb_postings_all - all ids of a table, in CurrentMemoryContext.
 */
MdbIds *
mdb_postings_all(const MdbTable *table, Snapshot snapshot)
{
	MdbIds *ids = mdb_ids_create();
	MdbTerm prefix;
	MdbPostingScan s;
	AttrNumber attno;

	if (table->nseries_columns == 0)
		return ids;
	/* Each has a term of every column, of one that is not jsonb only one. */
	attno = table->series_attnos[0];
	for (int i = 1; i < table->nseries_columns && table->columns[attno - 1].jsonb; i++)
		attno = table->series_attnos[i];
	mdb_term_column(&prefix, attno, 0);
	prefix.len = 2;
	mdb_posting_scan_begin(&s, table->storage_id, snapshot, &prefix);
	while (mdb_posting_scan_next(&s))
		mdb_posting_scan_ids(&s, ids);
	mdb_posting_scan_end(&s);
	mdb_ids_sort(ids);
	return ids;
}

/*
 * mdb_postings_bytes - bytes of the index's rows that a snapshot sees.
 */
int64
mdb_postings_bytes(int64 storage_id, Snapshot snapshot)
{
	Relation rel = mdb_catalog_open("posting", AccessShareLock);
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;
	int64 bytes = 0;

	ScanKeyInit(&key, Anum_posting_storage_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(storage_id));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 1, &key);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		bool isnull;
		Datum payload = heap_getattr(tuple, Anum_posting_payload, RelationGetDescr(rel), &isnull);

		bytes += tuple->t_len;
		if (VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(payload)))
			bytes += toast_datum_size(payload);
	}
	mdb_catalog_scan_end(&scan);
	table_close(rel, AccessShareLock);
	return bytes;
}
