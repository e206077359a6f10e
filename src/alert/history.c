/*
 * history.c
 *	  What a rule's window has when it begins: from the table, once; afterwards from metricsdb.alert_window.
 *
 * The history of a rule is read by one query, as the rule's owner, under a snapshot of which all samples that writers have
 * written down are taken in: so the history has what that snapshot sees, and all that comes later comes by
 * metricsdb.alert_batch.  It is kept, with the snapshot, in metricsdb.alert_window, so that another process, after a
 * restart or on a standby that was promoted, need not read the table again.
 *
 * Of dead-man rules only the last time of each group is wanted, which is read anew.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "alert/count.h"
#include "alert/follow.h"
#include "alert/gather.h"
#include "func/over_time.h"
#include "metricsdb.h"

/* How far ahead of a rule's first tick samples count that were there before it. */
#define AHEAD USECS_PER_DAY

/* Samples in a row of metricsdb.alert_window, and rows that are fetched at once. */
#define PIECE_SAMPLES 65536
#define FETCH_ROWS    10000

enum
{
	Anum_window_rule_id = 1,
	Anum_window_piece,
	Anum_window_version,
	Anum_window_storage_id,
	Anum_window_width,
	Anum_window_at,
	Anum_window_covers,
	Anum_window_seen,
	Anum_window_states,
	Natts_window = Anum_window_states
};

/* ---- metricsdb.alert_window ---- */

static bytea *
seen_to_bytes(const MdbSeen *seen)
{
	Size len = sizeof(uint64) * (2 + seen->n);
	bytea *b = palloc(VARHDRSZ + len);
	uint64 ends[2] = {seen->xmin, seen->xmax};

	SET_VARSIZE(b, VARHDRSZ + len);
	memcpy(VARDATA(b), ends, sizeof(ends));
	memcpy(VARDATA(b) + sizeof(ends), seen->xip, sizeof(uint64) * seen->n);
	return b;
}

static void
seen_from_bytes(MdbSeen *seen, const bytea *b, MemoryContext mcxt)
{
	Size len = VARSIZE_ANY_EXHDR(b);
	uint64 ends[2];

	if (len < sizeof(ends) || len % sizeof(uint64) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED), errmsg("a snapshot of metricsdb.alert_window is damaged")));
	memcpy(ends, VARDATA_ANY(b), sizeof(ends));
	seen->xmin = ends[0];
	seen->xmax = ends[1];
	seen->n = len / sizeof(uint64) - 2;
	seen->xip = MemoryContextAlloc(mcxt, sizeof(uint64) * Max(seen->n, 1));
	memcpy(seen->xip, VARDATA_ANY(b) + sizeof(ends), sizeof(uint64) * seen->n);
}

/*
 * mdb_windows_delete - forget what a rule's history was.
 */
void
mdb_windows_delete(int32 rule_id)
{
	Relation rel = mdb_catalog_open("alert_window", RowExclusiveLock);
	Snapshot snapshot = mdb_latest_snapshot();
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_window_rule_id, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(rule_id));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 1, &key);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
		simple_heap_delete(rel, &tuple->t_self);
	mdb_catalog_scan_end(&scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, RowExclusiveLock);
	CommandCounterIncrement();
}

/* Samples that are to be written. */
typedef struct Pieces
{
	MemoryContext mcxt;
	Relation rel;
	const MdbFollowed *f;
	MdbFollowedRule *r;
	int32 number;
	uint32 n;
	uint32 nkeys;
	uint32 keys_room;
	MdbTapped *samples;
	MdbTappedKey *keys;
} Pieces;

static void
wait_for(MdbFollowedRule *r, int32 number, TimestampTz covers)
{
	if (r->npieces == r->pieces_room)
	{
		r->pieces_room = Max(16, r->pieces_room * 2);
		r->pieces = r->pieces ? repalloc(r->pieces, sizeof(MdbPiece) * r->pieces_room)
							  : MemoryContextAlloc(r->mcxt, sizeof(MdbPiece) * r->pieces_room);
	}
	r->pieces[r->npieces++] = (MdbPiece){.number = number, .covers = covers};
}

static void
write_piece(Pieces *p, const MdbTapped *samples, uint32 n, TimestampTz covers)
{
	Datum v[Natts_window];
	bool nulls[Natts_window] = {false};
	bytea *states = mdb_tapped_encode(samples, n, p->keys);

	v[Anum_window_rule_id - 1] = Int32GetDatum(p->r->id);
	v[Anum_window_piece - 1] = Int32GetDatum(p->number);
	v[Anum_window_version - 1] = Int64GetDatum(p->r->version);
	v[Anum_window_storage_id - 1] = Int64GetDatum(p->f->watch->storage_id);
	v[Anum_window_width - 1] = Int64GetDatum(p->r->width);
	v[Anum_window_at - 1] = TimestampTzGetDatum(p->r->tick);
	v[Anum_window_covers - 1] = TimestampTzGetDatum(covers);
	v[Anum_window_seen - 1] = PointerGetDatum(seen_to_bytes(&p->r->seen));
	v[Anum_window_states - 1] = PointerGetDatum(states);
	mdb_catalog_insert(p->rel, v, nulls, GetCurrentCommandId(true), 0);
	pfree(states);
	if (covers > p->f->covers)
		wait_for(p->r, p->number, covers);
	p->number++;
}

/* What there are ticks for in one piece, what is later by quarters of an hour. */
static void
write_pieces(Pieces *p)
{
	uint32 first = 0;

	qsort(p->samples, p->n, sizeof(MdbTapped), mdb_tapped_cmp);
	while (first < p->n && mdb_covers_of(p->samples[first].time) <= p->f->covers)
		first++;
	/* Also of no samples: that there are none is known. */
	if (first > 0 || p->number == 0)
		write_piece(p, p->samples, first, p->f->covers);
	while (first < p->n)
	{
		TimestampTz covers = mdb_covers_of(p->samples[first].time);
		uint32 n = 1;

		while (first + n < p->n && mdb_covers_of(p->samples[first + n].time) == covers)
			n++;
		write_piece(p, p->samples + first, n, covers);
		first += n;
	}
	p->n = 0;
	p->nkeys = 0;
}

/* Samples of one series follow each other in no particular way: keys are not looked for but in the last one. */
static uint64
piece_key(Pieces *p, const MdbFollowedSeries *s)
{
	if (p->nkeys > 0 && p->keys[p->nkeys - 1].bytes == s->key)
		return MDB_SERIES_BY_KEY | (p->nkeys - 1);
	if (p->nkeys == p->keys_room)
	{
		p->keys_room = Max(256, p->keys_room * 2);
		p->keys = p->keys ? repalloc(p->keys, sizeof(MdbTappedKey) * p->keys_room)
						  : MemoryContextAlloc(p->mcxt, sizeof(MdbTappedKey) * p->keys_room);
	}
	p->keys[p->nkeys] = (MdbTappedKey){s->key, s->len};
	return MDB_SERIES_BY_KEY | p->nkeys++;
}

static void
restore_rule(MdbFollowed *f, Relation rel, MdbWatchRule *watch, Snapshot snapshot)
{
	TupleDesc desc = RelationGetDescr(rel);
	MdbFollowedRule *r = NULL;
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;

	ScanKeyInit(&key, Anum_window_rule_id, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(watch->id));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 1, &key);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		Datum v[Natts_window];
		bool n[Natts_window];
		TimestampTz covers;

		heap_deform_tuple(tuple, desc, v, n);
		if (DatumGetInt64(v[Anum_window_version - 1]) != watch->version ||
			DatumGetInt64(v[Anum_window_storage_id - 1]) != f->watch->storage_id)
			break;
		if (r == NULL)
		{
			r = mdb_followed_rule(f, watch->id);
			mdb_followed_rule_begin(r, f, DatumGetInt64(v[Anum_window_width - 1]),
									DatumGetTimestampTz(v[Anum_window_at - 1]));
			seen_from_bytes(&r->seen, DatumGetByteaPP(v[Anum_window_seen - 1]), r->mcxt);
		}
		covers = DatumGetTimestampTz(v[Anum_window_covers - 1]);
		if (covers > f->covers)
			wait_for(r, DatumGetInt32(v[Anum_window_piece - 1]), covers);
		else
			mdb_followed_add_bytes(f, DatumGetByteaPP(v[Anum_window_states - 1]), r);
	}
	mdb_catalog_scan_end(&scan);
}

/*
 * mdb_windows_reach - pieces of a rule's history that there are ticks for now.
 */
void
mdb_windows_reach(MdbFollowed *f, MdbFollowedRule *r, Snapshot snapshot)
{
	Relation rel = NULL;
	int left = 0;

	for (int i = 0; i < r->npieces; i++)
	{
		ScanKeyData keys[2];
		HeapTuple tuple;
		bool isnull;

		if (r->pieces[i].covers > f->covers)
		{
			r->pieces[left++] = r->pieces[i];
			continue;
		}
		if (rel == NULL)
			rel = mdb_catalog_open("alert_window", AccessShareLock);
		ScanKeyInit(&keys[0], Anum_window_rule_id, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(r->id));
		ScanKeyInit(&keys[1], Anum_window_piece, BTEqualStrategyNumber, F_INT4EQ,
					Int32GetDatum(r->pieces[i].number));
		tuple = mdb_catalog_find(rel, snapshot, 2, keys);
		if (!HeapTupleIsValid(tuple))
			continue;
		mdb_followed_add_bytes(
			f, DatumGetByteaPP(heap_getattr(tuple, Anum_window_states, RelationGetDescr(rel), &isnull)), r);
		heap_freetuple(tuple);
	}
	r->npieces = left;
	if (rel)
		table_close(rel, AccessShareLock);
}

/*
 * mdb_windows_restore - the histories of all rules of a table that are kept, if nothing was missed since.
 */
void
mdb_windows_restore(MdbFollowed *f, Snapshot snapshot)
{
	Relation rel;
	MemoryContext tmp;
	MemoryContext old;

	if (!mdb_mark_is_good(f->relid))
	{
		for (int i = 0; i < f->watch->nrules; i++)
			mdb_windows_delete(f->watch->rules[i].id);
		return;
	}
	f->marked = true;
	rel = mdb_catalog_open("alert_window", AccessShareLock);
	tmp = AllocSetContextCreate(CurrentMemoryContext, "metricsdb windows", ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < f->watch->nrules; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (f->watch->rules[i].t == NULL)
			continue;
		old = MemoryContextSwitchTo(tmp);
		restore_rule(f, rel, &f->watch->rules[i], snapshot);
		MemoryContextSwitchTo(old);
		MemoryContextReset(tmp);
	}
	MemoryContextDelete(tmp);
	table_close(rel, AccessShareLock);
}

/* ---- the query ---- */

static void
append_column(StringInfo sql, Relation rel, AttrNumber attno)
{
	appendStringInfoString(
		sql, quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(rel), attno - 1)->attname)));
}

/* What the index over series can be asked; which series match is seen to by watch.c in any case. */
static void
append_conditions(StringInfo sql, const MdbWatch *w, Relation rel, const MdbThreshold *t)
{
	bool jsonb = false;

	if (w->metric != 0 && t->metric)
	{
		appendStringInfoString(sql, " AND ");
		append_column(sql, rel, w->metric);
		appendStringInfo(sql, " OPERATOR(pg_catalog.=) %s", quote_literal_cstr(t->metric));
	}
	if (t->matchers == NULL)
		return;
	if (w->metric != 0)
	{
		appendStringInfo(sql, " AND %s.match(", MDB_SCHEMA);
		append_column(sql, rel, w->metric);
		appendStringInfoString(sql, ", ");
		append_column(sql, rel, w->tags);
		appendStringInfo(sql, ", %s)", quote_literal_cstr(t->matchers));
		return;
	}
	for (int i = 0; i < w->ncolumns; i++)
		jsonb |= w->columns[i].jsonb;
	if (jsonb || w->ncolumns == 0)
		return;
	appendStringInfo(sql, " AND %s.match(%s", MDB_SCHEMA, quote_literal_cstr(t->matchers));
	for (int i = 0; i < w->ncolumns; i++)
	{
		appendStringInfo(sql, ", %s, ", quote_literal_cstr(w->columns[i].name.p));
		append_column(sql, rel, w->columns[i].attno);
		appendStringInfoString(sql, w->columns[i].text ? "" : "::pg_catalog.text");
	}
	appendStringInfoString(sql, ")");
}

/* Rows with times in a range of two parameters, of which the series columns are selected, and what is given. */
static void
append_select(StringInfo sql, const MdbWatch *w, Relation rel, const MdbWatchRule *rule, const char *what,
			  const char *from, const char *to)
{
	appendStringInfoString(sql, "SELECT ");
	for (int i = 0; i < w->ncolumns; i++)
	{
		append_column(sql, rel, w->columns[i].attno);
		appendStringInfoString(sql, ", ");
	}
	appendStringInfo(
		sql, what,
		quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(rel), w->table->time_attno - 1)->attname)));
	if (!rule->t->deadman)
	{
		appendStringInfoString(sql, ", ");
		append_column(sql, rel, rule->column);
	}
	appendStringInfo(sql, " FROM ONLY %s WHERE ",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												RelationGetRelationName(rel)));
	append_column(sql, rel, w->table->time_attno);
	appendStringInfo(sql, " OPERATOR(pg_catalog.>) %s AND ", from);
	append_column(sql, rel, w->table->time_attno);
	appendStringInfo(sql, " OPERATOR(pg_catalog.<=) %s", to);
	if (rule->column != 0)
	{
		appendStringInfoString(sql, " AND ");
		append_column(sql, rel, rule->column);
		appendStringInfoString(sql, " IS NOT NULL");
	}
	append_conditions(sql, w, rel, rule->t);
}

/* $1: where the window begins; $2: the last time of which all is taken in; $3: the tick. */
static char *
make_query(const MdbWatch *w, Relation rel, const MdbWatchRule *rule)
{
	StringInfoData sql;

	initStringInfo(&sql);
	if (!rule->t->deadman)
	{
		append_select(&sql, w, rel, rule, "%s", "$1", "$2");
		return sql.data;
	}
	/* Of times up to the tick the last, which is found without reading them all. */
	append_select(&sql, w, rel, rule, "pg_catalog.max(%s)", "$1", "$3");
	if (w->ncolumns > 0)
		appendStringInfoString(&sql, " GROUP BY ");
	for (int i = 0; i < w->ncolumns; i++)
		appendStringInfo(&sql, "%s%d", i > 0 ? ", " : "", i + 1);
	appendStringInfoString(&sql, " UNION ALL ");
	append_select(&sql, w, rel, rule, "%s", "$3", "$2");
	return sql.data;
}

typedef struct Reading
{
	MdbFollowed *f;
	Relation rel;
	MdbFollowedRule *r;
	Pieces pieces;
	Datum *values;
	bool *isnull;
	StringInfoData key;
} Reading;

static void
take_tuple(Reading *reading, HeapTuple tuple, TupleDesc desc)
{
	MdbFollowed *f = reading->f;
	const MdbWatch *w = f->watch;
	const MdbWatchRule *rule = reading->r->watch;
	MdbFollowedSeries *s;
	Datum time, value;
	bool null;
	double number = 0;

	for (int i = 0; i < w->ncolumns; i++)
	{
		AttrNumber attno = w->columns[i].attno;

		reading->values[attno - 1] = heap_getattr(tuple, i + 1, desc, &reading->isnull[attno - 1]);
	}
	time = heap_getattr(tuple, w->ncolumns + 1, desc, &null);
	/* Of no rows there is no last one. */
	if (null)
		return;
	if (!rule->t->deadman)
	{
		const MdbColumn *c = &w->table->columns[rule->column - 1];

		value = heap_getattr(tuple, w->ncolumns + 2, desc, &null);
		number = mdb_number_of(InvalidOid, c->phys, c->attlen, value);
		if (mdb_is_stale(number))
			return;
	}
	resetStringInfo(&reading->key);
	mdb_key_build(w->table, reading->values, reading->isnull, &reading->key);
	s = mdb_followed_by_key(f, reading->key.data, reading->key.len);
	if (rule->t->deadman || DatumGetInt64(time) <= f->covers)
		mdb_followed_add(f, s, reading->r, rule->column, DatumGetInt64(time), number);
	mdb_alert_counters.history_rows++;
	if (rule->t->deadman)
		return;
	reading->pieces.samples[reading->pieces.n] = (MdbTapped){.series = piece_key(&reading->pieces, s),
															 .time = DatumGetInt64(time),
															 .value = number,
															 .column = rule->column};
	if (++reading->pieces.n == PIECE_SAMPLES)
		write_pieces(&reading->pieces);
}

/*
 * mdb_history_read - what a snapshot, of which all is taken in, sees of a rule's window at a tick.
 *
 * As whoever the caller is.  Rows of metricsdb.alert_window are written; they go with the caller's subtransaction.
 */
void
mdb_history_read(MdbFollowed *f, Relation rel, MdbFollowedRule *r, int64 every, TimestampTz at,
				 Snapshot snapshot)
{
	const MdbThreshold *t = r->watch->t;
	Reading reading = {.f = f, .rel = rel, .r = r};
	MemoryContext rows = AllocSetContextCreate(CurrentMemoryContext, "metricsdb rows of a rule's history",
											   ALLOCSET_DEFAULT_SIZES);
	Oid types[3] = {f->watch->table->time_type, f->watch->table->time_type, f->watch->table->time_type};
	Datum args[3];
	Portal portal;

	mdb_alert_reads_history();
	mdb_windows_delete(r->id);
	mdb_followed_rule_begin(r, f, mdb_followed_width(t, every), at);
	mdb_seen_set(&r->seen, snapshot, r->mcxt);
	reading.values = palloc0(sizeof(Datum) * f->watch->table->natts);
	reading.isnull = palloc(sizeof(bool) * f->watch->table->natts);
	memset(reading.isnull, true, sizeof(bool) * f->watch->table->natts);
	initStringInfo(&reading.key);
	reading.pieces = (Pieces){.mcxt = CurrentMemoryContext, .f = f, .r = r};
	if (!t->deadman)
	{
		reading.pieces.rel = mdb_catalog_open("alert_window", RowExclusiveLock);
		reading.pieces.samples = palloc(sizeof(MdbTapped) * PIECE_SAMPLES);
	}
	args[0] = TimestampTzGetDatum(at - (t->deadman ? t->forget_after : t->window));
	args[1] = TimestampTzGetDatum(f->covers + AHEAD);
	args[2] = TimestampTzGetDatum(at);
	PushActiveSnapshot(snapshot);
	SPI_connect();
	portal = SPI_cursor_open_with_args(NULL, make_query(f->watch, rel, r->watch), 3, types, args, NULL, true,
									   CURSOR_OPT_NO_SCROLL);
	do
	{
		MemoryContext old;

		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		old = MemoryContextSwitchTo(rows);
		for (uint64 i = 0; i < SPI_processed; i++)
			take_tuple(&reading, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		MemoryContextSwitchTo(old);
		MemoryContextReset(rows);
		SPI_freetuptable(SPI_tuptable);
	} while (SPI_processed > 0);
	SPI_cursor_close(portal);
	SPI_finish();
	PopActiveSnapshot();
	if (!t->deadman)
	{
		write_pieces(&reading.pieces);
		table_close(reading.pieces.rel, NoLock);
	}
	mdb_alert_counters.histories++;
	MemoryContextDelete(rows);
}
