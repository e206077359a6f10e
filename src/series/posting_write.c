/*
 * posting_write.c
 *	  Rows of metricsdb.posting: a run of them for some series that are registered, or for several runs.
 *
 * A run has a number of its own, made of that of the transaction, and its rows cover terms one after the
 * other: the last of one is not above the first of the next.
 */
#include "postgres.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "series/index.h"
#include "stop.h"

#define ROW_BYTES   (16 * 1024) /* raw, from which on a row is closed */
#define RUN_ENTRIES 131072      /* series of a run that a registration writes */
#define LONG_LIST   2048 /* ids of a term that gets rows of its own: who wants its name need not read them */

struct MdbPostingWriter
{
	Relation rel;
	int64 storage_id;
	int64 run;
	int64 run_ids;
	CommandId cid;
	int options;
	MdbTerm first;
	MdbTerm last;
	int32 nentries;
	StringInfoData body;
};

/* A number that no other run has or had. */
static int64
new_run(void)
{
	static FullTransactionId xid;
	static uint32 count;
	FullTransactionId now = GetTopFullTransactionId();

	if (!FullTransactionIdEquals(now, xid))
		count = 0;
	xid = now;
	return (int64) (U64FromFullTransactionId(xid) << 24) + (int64) (count++ & 0xffffff);
}

/*
 * mdb_posting_writer - begin a run that will have about so many ids.
 */
MdbPostingWriter *
mdb_posting_writer(int64 storage_id, int64 run_ids, CommandId cid, int options)
{
	MdbPostingWriter *w = palloc(sizeof(MdbPostingWriter));

	w->rel = mdb_catalog_open("posting", RowExclusiveLock);
	w->storage_id = storage_id;
	w->run = new_run();
	w->run_ids = run_ids;
	w->cid = cid;
	w->options = options;
	w->nentries = 0;
	w->last.len = 0;
	initStringInfo(&w->body);
	return w;
}

static Datum
term_datum(const MdbTerm *term)
{
	bytea *b = palloc(VARHDRSZ + term->len);

	SET_VARSIZE(b, VARHDRSZ + term->len);
	memcpy(VARDATA(b), term->bytes, term->len);
	return PointerGetDatum(b);
}

/* The body with its header, compressed where that makes it smaller. */
static bytea *
make_payload(const StringInfoData *body)
{
	bytea *result = palloc(VARHDRSZ + 6 + body->len);
	uint8 *p = (uint8 *) VARDATA(result);
	size_t n = 0;

	p[0] = MDB_POSTING_VERSION;
	if (body->len >= 64)
		n = mdb_deflate((const uint8 *) body->data, body->len, 3, p + 6, body->len - 5);
	if (n > 0)
	{
		uint32 raw = body->len;

		p[1] = MDB_POSTING_ZSTD;
		memcpy(p + 2, &raw, sizeof(raw));
		SET_VARSIZE(result, VARHDRSZ + 6 + n);
		return result;
	}
	p[1] = 0;
	memcpy(p + 2, body->data, body->len);
	SET_VARSIZE(result, VARHDRSZ + 2 + body->len);
	return result;
}

static void
write_row(MdbPostingWriter *w)
{
	Datum v[Natts_posting];
	bool n[Natts_posting] = {0};

	CHECK_FOR_INTERRUPTS();
	v[Anum_posting_storage_id - 1] = Int64GetDatum(w->storage_id);
	v[Anum_posting_run - 1] = Int64GetDatum(w->run);
	v[Anum_posting_last_term - 1] = term_datum(&w->last);
	v[Anum_posting_first_term - 1] = term_datum(&w->first);
	v[Anum_posting_run_ids - 1] = Int64GetDatum(w->run_ids);
	v[Anum_posting_nentries - 1] = Int32GetDatum(w->nentries);
	v[Anum_posting_payload - 1] = PointerGetDatum(make_payload(&w->body));
	mdb_catalog_insert(w->rel, v, n, w->cid, w->options);
	MDB_STOP("series.posting");
	pfree(DatumGetPointer(v[Anum_posting_last_term - 1]));
	pfree(DatumGetPointer(v[Anum_posting_first_term - 1]));
	pfree(DatumGetPointer(v[Anum_posting_payload - 1]));
	w->nentries = 0;
	w->last.len = 0;
	resetStringInfo(&w->body);
}

/*
 * mdb_posting_add - add a term and its ids, which rise.  Terms come in order.
 */
void
mdb_posting_add(MdbPostingWriter *w, const void *term, uint32 len, const uint32 *ids, uint32 n)
{
	if (n >= LONG_LIST && w->nentries > 0)
		write_row(w);
	for (uint32 at = 0, count; at < n; at += count)
	{
		count = Min(n - at, MDB_POSTING_IDS_MAX);
		enlargeStringInfo(&w->body, (int) mdb_posting_bound(len, count));
		w->body.len += (int) mdb_posting_put((uint8 *) w->body.data + w->body.len, w->last.bytes, w->last.len,
											 term, len, ids + at, count);
		if (w->nentries++ == 0)
		{
			w->first.len = len;
			memcpy(w->first.bytes, term, len);
		}
		w->last.len = len;
		memcpy(w->last.bytes, term, len);
		if (w->body.len >= ROW_BYTES || n >= LONG_LIST)
			write_row(w);
	}
}

/*
 * mdb_posting_finish - write what is left.
 */
void
mdb_posting_finish(MdbPostingWriter *w)
{
	if (w->nentries > 0)
		write_row(w);
	table_close(w->rel, NoLock);
	pfree(w->body.data);
	pfree(w);
}

/* ---------- the index of some series ---------- */

typedef struct Term
{
	const uint8 *bytes;
	uint32 len;
	uint32 hash;
	uint32 count;
	uint32 start; /* of its ids */
} Term;

typedef struct Collector
{
	MemoryContext mcxt;
	uint32 id; /* of the series whose terms come now */
	Term *terms;
	uint32 nterms;
	uint32 cap;
	uint32 *slots; /* by hash: number of the term + 1 */
	uint32 nslots;
	uint32 *term_of; /* for each pair of term and id */
	uint32 *id_of;
	Size npairs;
	Size pairs_cap;
	uint8 *arena;
	Size arena_left;
} Collector;

static void
grow_terms(Collector *c)
{
	c->cap *= 2;
	c->terms = repalloc_huge(c->terms, c->cap * sizeof(Term));
	c->nslots = c->cap * 2;
	pfree(c->slots);
	c->slots =
		MemoryContextAllocExtended(c->mcxt, c->nslots * sizeof(uint32), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 i = 0; i < c->nterms; i++)
	{
		uint32 s = c->terms[i].hash & (c->nslots - 1);

		while (c->slots[s] != 0)
			s = (s + 1) & (c->nslots - 1);
		c->slots[s] = i + 1;
	}
}

static uint32
term_number(Collector *c, const MdbTerm *term)
{
	uint32 hash = (uint32) XXH3_64bits(term->bytes, term->len);
	uint32 s = hash & (c->nslots - 1);
	Term *t;

	for (; c->slots[s] != 0; s = (s + 1) & (c->nslots - 1))
	{
		t = &c->terms[c->slots[s] - 1];
		if (t->hash == hash && t->len == term->len && memcmp(t->bytes, term->bytes, term->len) == 0)
			return c->slots[s] - 1;
	}
	if (term->len > c->arena_left)
	{
		c->arena_left = 64 * 1024;
		c->arena = MemoryContextAlloc(c->mcxt, c->arena_left);
	}
	memcpy(c->arena, term->bytes, term->len);
	t = &c->terms[c->nterms];
	*t = (Term){c->arena, term->len, hash, 0, 0};
	c->arena += term->len;
	c->arena_left -= term->len;
	c->slots[s] = ++c->nterms;
	if (c->nterms == c->cap)
		grow_terms(c);
	return c->nterms - 1;
}

static void
take_term(void *arg, const MdbTerm *term)
{
	Collector *c = arg;
	uint32 number = term_number(c, term);

	if (c->npairs == c->pairs_cap)
	{
		c->pairs_cap *= 2;
		c->term_of = repalloc_huge(c->term_of, c->pairs_cap * sizeof(uint32));
		c->id_of = repalloc_huge(c->id_of, c->pairs_cap * sizeof(uint32));
	}
	c->term_of[c->npairs] = number;
	c->id_of[c->npairs++] = c->id;
	c->terms[number].count++;
}

static int
number_cmp(const void *a, const void *b, void *arg)
{
	const Term *x = &((const Term *) arg)[*(const uint32 *) a];
	const Term *y = &((const Term *) arg)[*(const uint32 *) b];

	return mdb_term_cmp(x->bytes, x->len, y->bytes, y->len);
}

/* A run for some series. */
static void
write_run(int64 storage_id, const Bitmapset *jsonb, const MdbSegmentEntry *entries, uint32 count,
		  CommandId cid, int options)
{
	Collector c = {0};
	MdbPostingWriter *w;
	MemoryContext old;
	uint32 *order, *ids;
	uint32 start = 0;

	c.mcxt = AllocSetContextCreate(CurrentMemoryContext, "metricsdb postings", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(c.mcxt);
	c.cap = 256;
	c.terms = palloc(c.cap * sizeof(Term));
	c.nslots = c.cap * 2;
	c.slots = palloc0(c.nslots * sizeof(uint32));
	c.pairs_cap = 1024;
	c.term_of = palloc(c.pairs_cap * sizeof(uint32));
	c.id_of = palloc(c.pairs_cap * sizeof(uint32));
	for (uint32 i = 0; i < count; i++)
	{
		if (i % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
		if (i > 0 && entries[i].id == entries[i - 1].id)
			continue;
		c.id = entries[i].id;
		mdb_terms_of_key(jsonb, entries[i].key, entries[i].len, take_term, &c);
	}
	if (c.nterms > 0)
	{
		for (uint32 i = 0; i < c.nterms; i++)
		{
			c.terms[i].start = start;
			start += c.terms[i].count;
			c.terms[i].count = 0;
		}
		ids = MemoryContextAllocHuge(c.mcxt, c.npairs * sizeof(uint32));
		for (Size i = 0; i < c.npairs; i++)
		{
			Term *t = &c.terms[c.term_of[i]];

			ids[t->start + t->count++] = c.id_of[i];
		}
		order = MemoryContextAllocHuge(c.mcxt, c.nterms * sizeof(uint32));
		for (uint32 i = 0; i < c.nterms; i++)
			order[i] = i;
		qsort_interruptible(order, c.nterms, sizeof(uint32), number_cmp, c.terms);
		w = mdb_posting_writer(storage_id, c.npairs, cid, options);
		for (uint32 i = 0; i < c.nterms; i++)
		{
			const Term *t = &c.terms[order[i]];

			mdb_posting_add(w, t->bytes, t->len, ids + t->start, t->count);
		}
		mdb_posting_finish(w);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(c.mcxt);
}

/*
 * mdb_postings_write - enter series into the index, as of command cid.  They come by rising id, each once.
 */
void
mdb_postings_write(int64 storage_id, const Bitmapset *jsonb, const MdbSegmentEntry *entries, uint32 count,
				   CommandId cid, int options)
{
	for (uint32 at = 0; at < count; at += RUN_ENTRIES)
		write_run(storage_id, jsonb, entries + at, Min(count - at, RUN_ENTRIES), cid, options);
}
