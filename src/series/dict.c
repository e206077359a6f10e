/*
 * dict.c
 *	  The dictionary as a process sees it: a cache of (id, key) pairs, and registration.
 *
 * Registration never waits for another transaction.  Ids come from ranges that a process
 * reserves for itself in the table's metapage; a transaction that needs a key whose row it
 * cannot see writes its own row, with an id of its own.  So a key may have several ids and an id
 * several rows, all of them right: an id never means two keys, because a range is never given
 * out twice.  From that follows what the cache relies on:
 *
 *	1. An (id, key) pair once seen, in whatever state its row was, stays true.
 *	2. What may become untrue is that the pair has a row.  Each entry knows: UNWRITTEN (none that
 *	   is sure to stay), QUEUED (will be written before the rows that use it), WRITTEN.
 *	3. An abort takes back what the transaction wrote: such entries are queued (subtransaction:
 *	   an outer one may rely on them) or unwritten (transaction) again.  PREPARE counts as an
 *	   abort here: how it ends is not known to this process.
 *
 * The cache is private to the process; its dictionaries are dropped between transactions when
 * together they exceed a bound.
 */
#include "postgres.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "access/detoast.h"
#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "metricsdb.h"
#include "series/index.h"
#include "stop.h"

#define DICT_PAGE      1024 /* ids a page of the id -> entry array */
#define ONES_MAX       1024 /* rows that one pair is taken of: whoever wants more wants all */
#define NEWS_SHARE     50   /* who registers looks for news in one of so many parts of its time */
#define DICT_CACHE_MAX ((Size) 512 * 1024 * 1024)

typedef enum EntryState
{
	ENTRY_UNWRITTEN = 0,
	ENTRY_QUEUED,
	ENTRY_WRITTEN
} EntryState;

typedef struct Entry
{
	uint32 hash;
	uint32 id;
	uint32 len : 29;
	uint32 fresh : 1; /* this process has given the id, and the first row with it is to come, or stays */
	uint32 state : 2;
	char key[FLEXIBLE_ARRAY_MEMBER];
} Entry;

typedef struct EntryList
{
	Entry **v;
	uint32 n;
	uint32 cap;
} EntryList;

/* Entries written by one subtransaction. */
typedef struct Written
{
	SubTransactionId subid;
	EntryList entries;
	struct Written *next;
} Written;

struct MdbDict
{
	int64 storage_id; /* hash key */
	MemoryContext mcxt;
	Entry ***pages; /* id / DICT_PAGE -> page of entries */
	uint32 npages;
	bool hashed;   /* keys are found by the slots: only who registers needs that */
	Entry **slots; /* open addressing by hash of the key */
	uint32 nslots;
	Entry **grown; /* twice as many, being filled; NULL = none */
	uint32 nentries;
	int64 epoch;     /* of what is remembered, */
	Oid relid;       /* and the table that tells when there is a new one */
	bool stale;      /* there may be: look before anything is relied on */
	MdbIds *leaving; /* ids that are not to be used any more */
	bool loaded;     /* all rows of the catalog were read once, */
	uint64 horizon;  /* and those of all transactions below are known */
	TimestampTz next_news;
	int64 registrar;          /* the lowest id that was given since it is empty; 0 = none yet */
	bool kept;                /* not dropped for want of memory, */
	MdbSegmentCallback watch; /* and somebody is told of its pairs; NULL = nobody */
	void *watch_arg;
	int64 reserved_next;
	int64 reserved_end;
	int64 reserve_step;
	Bitmapset *jsonb; /* columns of that type */
	uint64 *touched;  /* a bit for each MDB_SEGMENT_PAIRS ids of which one was asked for */
	uint32 nones;     /* of how many rows one pair was taken */
	uint32 ntouched;
	EntryList queue;
	Written *written;
	char *arena; /* where entries are cut from */
	Size arena_left;
};

static HTAB *dicts = NULL;
static MemoryContext dict_mcxt = NULL;

static void
list_add(MemoryContext mcxt, EntryList *list, Entry *e)
{
	if (list->n == list->cap)
	{
		list->cap = Max(16, list->cap * 2);
		list->v = list->v ? repalloc_huge(list->v, list->cap * sizeof(Entry *))
						  : MemoryContextAlloc(mcxt, list->cap * sizeof(Entry *));
	}
	list->v[list->n++] = e;
}

static void
make_empty(MdbDict *dict)
{
	dict->pages = NULL;
	dict->npages = 0;
	dict->hashed = dict->loaded = false;
	dict->grown = NULL;
	dict->nentries = 0;
	dict->nslots = 64;
	dict->slots = MemoryContextAllocZero(dict->mcxt, dict->nslots * sizeof(Entry *));
	dict->touched = NULL;
	dict->ntouched = dict->nones = 0;
	dict->leaving = NULL;
	dict->horizon = 0;
	dict->next_news = 0;
	dict->registrar = 0;
	dict->queue = (EntryList){0};
	dict->arena_left = 0;
}

/*
 * mdb_dict_open - the dictionary of a table's storage.  Good until the end of the transaction.
 */
MdbDict *
mdb_dict_open(const MdbTable *table)
{
	MdbDict *dict;
	MemoryContext old;
	bool found;

	if (dicts == NULL)
	{
		HASHCTL ctl = {0};

		dict_mcxt =
			AllocSetContextCreate(CacheMemoryContext, "metricsdb dictionaries", ALLOCSET_DEFAULT_SIZES);
		ctl.keysize = sizeof(int64);
		ctl.entrysize = sizeof(MdbDict);
		ctl.hcxt = dict_mcxt;
		dicts = hash_create("metricsdb dictionaries", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	dict = hash_search(dicts, &table->storage_id, HASH_ENTER, &found);
	if (!found)
	{
		memset(dict, 0, sizeof(*dict));
		dict->storage_id = table->storage_id;
		dict->mcxt = AllocSetContextCreate(dict_mcxt, "metricsdb dictionary", ALLOCSET_DEFAULT_SIZES);
		make_empty(dict);
		dict->stale = true;
		dict->reserve_step = 64;
		old = MemoryContextSwitchTo(dict->mcxt);
		dict->jsonb = mdb_terms_jsonb(table);
		MemoryContextSwitchTo(old);
	}
	return dict;
}

static void
slots_put(MdbDict *dict, Entry *e)
{
	uint32 mask = dict->nslots - 1;
	uint32 i = e->hash & mask;

	while (dict->slots[i] != NULL)
		i = (i + 1) & mask;
	dict->slots[i] = e;
}

static Entry *
find_key(MdbDict *dict, uint32 hash, const char *key, uint32 len)
{
	uint32 mask = dict->nslots - 1;

	for (uint32 i = hash & mask; dict->slots[i] != NULL; i = (i + 1) & mask)
	{
		Entry *e = dict->slots[i];

		if (e->hash == hash && e->len == len && memcmp(e->key, key, len) == 0)
			return e;
	}
	return NULL;
}

static Entry *
find_id(MdbDict *dict, uint32 id)
{
	uint32 page = id / DICT_PAGE;

	if (page >= dict->npages || dict->pages[page] == NULL)
		return NULL;
	return dict->pages[page][id % DICT_PAGE];
}

/* Twice as many slots.  An interrupt on the way leaves the old ones in use. */
static void
grow_slots(MdbDict *dict)
{
	Entry **old = dict->slots;
	uint32 n = dict->nslots;
	uint32 mask = 2 * n - 1;
	Entry **grown;

	if (dict->grown)
		pfree(dict->grown);
	grown = dict->grown = MemoryContextAllocExtended(dict->mcxt, 2 * (Size) n * sizeof(Entry *),
													 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 k = 0; k < n; k++)
	{
		uint32 i;

		if (k % 65536 == 0)
			CHECK_FOR_INTERRUPTS();
		if (old[k] == NULL)
			continue;
		for (i = old[k]->hash & mask; grown[i] != NULL; i = (i + 1) & mask)
			;
		grown[i] = old[k];
	}
	dict->slots = grown;
	dict->nslots = 2 * n;
	dict->grown = NULL;
	pfree(old);
}

/* Have an entry found by its key, unless another is. */
static void
hash_entry(MdbDict *dict, Entry *e)
{
	if (find_key(dict, e->hash, e->key, e->len) != NULL ||
		(dict->leaving && mdb_ids_has(dict->leaving, e->id)))
		return;
	if ((dict->nentries + 1) * 2 > dict->nslots)
		grow_slots(dict);
	dict->nentries++;
	slots_put(dict, e);
}

/* From now on entries are found by their keys.  An interrupt on the way does no harm. */
static void
hash_all(MdbDict *dict)
{
	if (dict->hashed)
		return;
	for (uint32 page = 0; page < dict->npages; page++)
	{
		CHECK_FOR_INTERRUPTS();
		for (uint32 i = 0; dict->pages[page] && i < DICT_PAGE; i++)
			if (dict->pages[page][i])
				hash_entry(dict, dict->pages[page][i]);
	}
	dict->hashed = true;
}

/* Make an entry.  If the key has one already, this one is found by its id only. */
static Entry *
add_entry(MdbDict *dict, uint32 id, uint32 hash, const char *key, uint32 len, EntryState state)
{
	Size size = MAXALIGN(offsetof(Entry, key) + len);
	uint32 page = id / DICT_PAGE;
	Entry *e;

	if (size > dict->arena_left)
	{
		Size chunk = Max(size, (Size) 65536 - 64);

		dict->arena = MemoryContextAllocHuge(dict->mcxt, chunk);
		dict->arena_left = chunk;
	}
	e = (Entry *) dict->arena;
	dict->arena += size;
	dict->arena_left -= size;
	e->hash = hash;
	e->id = id;
	e->len = len;
	e->fresh = 0;
	e->state = state;
	memcpy(e->key, key, len);

	if (page >= dict->npages)
	{
		uint32 n = Max(16, dict->npages);

		while (n <= page)
			n *= 2;
		dict->pages = dict->pages ? repalloc_huge(dict->pages, n * sizeof(Entry **))
								  : MemoryContextAlloc(dict->mcxt, n * sizeof(Entry **));
		memset(dict->pages + dict->npages, 0, (n - dict->npages) * sizeof(Entry **));
		dict->npages = n;
	}
	if (dict->pages[page] == NULL)
		dict->pages[page] = MemoryContextAllocZero(dict->mcxt, DICT_PAGE * sizeof(Entry *));
	dict->pages[page][id % DICT_PAGE] = e;

	if (unlikely(dict->watch != NULL))
		dict->watch(dict->watch_arg, id, key, len);
	if (dict->hashed)
		hash_entry(dict, e);
	return e;
}

static uint32
key_hash(const char *key, uint32 len)
{
	return (uint32) XXH3_64bits(key, len);
}

typedef struct LoadState
{
	MdbDict *dict;
	EntryState state;
	bool one; /* only this pair is wanted */
	uint32 id;
	bool news;                   /* rows below the horizon are known, */
	MdbSegmentCallback callback; /* and whoever wants to is told of pairs that were not */
	void *arg;
} LoadState;

/* The entry by which a key is found is one whose row stays. */
static void
prefer_written(MdbDict *dict, Entry *e)
{
	uint32 mask = dict->nslots - 1;

	for (uint32 i = e->hash & mask; dict->slots[i] != NULL; i = (i + 1) & mask)
	{
		Entry *other = dict->slots[i];

		if (other == e)
			return;
		if (other->hash == e->hash && other->len == e->len && memcmp(other->key, e->key, e->len) == 0)
		{
			if (other->state == ENTRY_UNWRITTEN)
				dict->slots[i] = e;
			return;
		}
	}
}

static void
load_entry(void *arg, uint32 id, const char *key, uint32 len)
{
	LoadState *load = arg;
	Entry *e;

	if (load->one && id != load->id)
		return;
	e = find_id(load->dict, id);
	if (e != NULL && !(load->news && e->state == ENTRY_UNWRITTEN))
		return;
	if (e == NULL)
		e = add_entry(load->dict, id, key_hash(key, len), key, len, load->state);
	if (load->news)
	{
		e->state = load->state;
		prefer_written(load->dict, e);
		if (load->callback)
			load->callback(load->arg, id, key, len);
	}
}

/* Was a row read when all were, by a snapshot that saw the end of its transaction? */
static bool
row_known(const MdbDict *dict, TupleDesc desc, const Datum *v, const bool *n)
{
	return desc->natts >= Natts_series && !n[Anum_series_xid - 1] &&
		   (uint64) DatumGetInt64(v[Anum_series_xid - 1]) < dict->horizon;
}

/*
 * Read all rows into the cache; or, if one pair is asked for, the row that has it: of those whose ids reach as
 * far it is one of the first.
 */
static void
load_rows(MdbDict *dict, Snapshot snapshot, LoadState load)
{
	Relation rel = mdb_catalog_open("series", AccessShareLock);
	MemoryContext tmp =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb dictionary load", ALLOCSET_DEFAULT_SIZES);
	ScanKeyData keys[2];
	MdbCatalogScan scan;
	HeapTuple tuple;

	ScanKeyInit(&keys[0], Anum_series_storage_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(dict->storage_id));
	ScanKeyInit(&keys[1], Anum_series_id_max, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(load.id));
	mdb_catalog_scan_begin(&scan, rel, snapshot, false, 2, keys);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_next(&scan)))
	{
		Datum v[Natts_series];
		bool n[Natts_series];
		MemoryContext old;

		heap_deform_tuple(tuple, RelationGetDescr(rel), v, n);
		if (load.id > 0 && DatumGetInt64(v[Anum_series_id_min - 1]) > load.id)
			continue;
		if (load.news && row_known(dict, RelationGetDescr(rel), v, n))
			continue;
		/* Only what is decoded: the scan itself lives in the context of the caller. */
		old = MemoryContextSwitchTo(tmp);
		mdb_segment_decode(DatumGetByteaPP(v[Anum_series_payload - 1]),
						   (uint32) DatumGetInt64(v[Anum_series_id_min - 1]), load_entry, &load);
		MemoryContextSwitchTo(old);
		MemoryContextReset(tmp);
		if (load.id > 0 && find_id(dict, load.id) != NULL)
			break;
	}
	mdb_catalog_scan_end(&scan);
	table_close(rel, AccessShareLock);
	MemoryContextDelete(tmp);
}

/*
 * Read the row of an id.  The first time that one of its neighbourhood is asked for, only that pair is
 * taken: queries that find series by the index want a few here and there.
 */
static void
load_id(MdbDict *dict, uint32 id, Snapshot snapshot, EntryState state)
{
	uint32 bit = id / MDB_SEGMENT_PAIRS;
	LoadState load = {.dict = dict, .state = state, .id = id};

	if (bit / 64 >= dict->ntouched)
	{
		uint32 n = Max(16, dict->ntouched);

		while (n <= bit / 64)
			n *= 2;
		dict->touched = dict->touched ? repalloc_huge(dict->touched, n * sizeof(uint64))
									  : MemoryContextAlloc(dict->mcxt, n * sizeof(uint64));
		memset(dict->touched + dict->ntouched, 0, (n - dict->ntouched) * sizeof(uint64));
		dict->ntouched = n;
	}
	load.one = dict->nones < ONES_MAX && (dict->touched[bit / 64] & (UINT64CONST(1) << bit % 64)) == 0;
	dict->nones += load.one;
	dict->touched[bit / 64] |= UINT64CONST(1) << bit % 64;
	load_rows(dict, snapshot, load);
}

/*
 * All rows were read by a snapshot.  What is queued is written with the horizon under which it was found to be
 * without a row.
 */
static void
all_read(MdbDict *dict, Snapshot snapshot)
{
	if (!dict->loaded || dict->queue.n == 0)
		dict->horizon = mdb_full_xid(snapshot->xmin);
	dict->loaded = true;
}

/* All rows that any transaction committed by now, once. */
static void
load_all(MdbDict *dict)
{
	Snapshot snapshot;

	if (dict->loaded)
		return;
	snapshot = mdb_latest_snapshot();
	load_rows(dict, snapshot, (LoadState){.dict = dict, .state = ENTRY_WRITTEN});
	all_read(dict, snapshot);
	UnregisterSnapshot(snapshot);
}

/* Those that came since. */
static void
load_news(MdbDict *dict, MdbSegmentCallback callback, void *arg)
{
	TimestampTz began = GetCurrentTimestamp(), ended;
	Snapshot snapshot = mdb_latest_snapshot();

	load_rows(
		dict, snapshot,
		(LoadState){.dict = dict, .state = ENTRY_WRITTEN, .news = true, .callback = callback, .arg = arg});
	all_read(dict, snapshot);
	UnregisterSnapshot(snapshot);
	ended = GetCurrentTimestamp();
	dict->next_news = ended + (ended - began) * NEWS_SHARE;
}

/*
 * Ids that are removed from the dictionary are made known by a new epoch, whose transaction is over before
 * anybody who might rely on one of them locks the table to write.  So what was remembered of an older one is
 * forgotten.  Nothing in this transaction relies on it: its lock would have kept the epoch from coming.  What is
 * queued then is what a subtransaction has left that was rolled back, and with it its lock.
 */
static void
catch_up(MdbDict *dict)
{
	Snapshot snapshot;
	MdbIds *leaving;
	int64 epoch;

	/* Who has written has the lock: there is no new one. */
	if (!dict->stale || dict->written != NULL)
		return;
	snapshot = mdb_latest_snapshot();
	leaving = mdb_ids_create();
	epoch = mdb_leaving_read(dict->storage_id, snapshot, leaving);
	UnregisterSnapshot(snapshot);
	if (epoch != dict->epoch)
	{
		MemoryContext old = MemoryContextSwitchTo(dict_mcxt);
		Bitmapset *jsonb = bms_copy(dict->jsonb);

		MemoryContextReset(dict->mcxt);
		MemoryContextSwitchTo(dict->mcxt);
		make_empty(dict);
		dict->jsonb = bms_copy(jsonb);
		dict->leaving = mdb_ids_create();
		mdb_ids_add(dict->leaving, leaving->v, leaving->n);
		mdb_ids_index(dict->leaving);
		MemoryContextSwitchTo(old);
		bms_free(jsonb);
		dict->epoch = epoch;
	}
	dict->stale = false;
	if (dict->kept)
		load_all(dict);
}

/*
 * mdb_dict_sync - from now on messages about this table tell of new epochs; which one is it?
 */
int64
mdb_dict_sync(MdbDict *dict, Relation rel)
{
	dict->relid = RelationGetRelid(rel);
	catch_up(dict);
	return dict->epoch;
}

/* A table was changed, or what processes remember of it. */
static void
relcache_callback(Oid relid)
{
	HASH_SEQ_STATUS seq;
	MdbDict *dict;

	if (dicts == NULL)
		return;
	hash_seq_init(&seq, dicts);
	while ((dict = hash_seq_search(&seq)) != NULL)
		if (!OidIsValid(relid) || !OidIsValid(dict->relid) || dict->relid == relid)
			dict->stale = true;
}

/*
 * Before a key gets an id: others may have given it one.  Whoever did not look makes twins, so that is not only a
 * question of speed; but it is not worth while for every key.
 */
static Entry *
look_for_key(MdbDict *dict, uint32 hash, const char *key, uint32 len)
{
	if (!dict->loaded)
		load_all(dict);
	else if (dict->queue.n == 0 && GetCurrentTimestamp() >= dict->next_news)
		load_news(dict, NULL, NULL);
	else
		return NULL;
	return find_key(dict, hash, key, len);
}

/* An id for a key that has none, queued. */
static Entry *
give_id(MdbDict *dict, Relation rel, uint32 hash, const char *key, uint32 len)
{
	Entry *e;

	if (dict->reserved_next == dict->reserved_end)
	{
		mdb_storage_revive(rel);
		dict->reserved_next = mdb_meta_reserve_series(rel, dict->reserve_step);
		dict->reserved_end = dict->reserved_next + dict->reserve_step;
		dict->reserve_step = Min(dict->reserve_step * 4, 65536);
	}
	e = add_entry(dict, (uint32) dict->reserved_next++, hash, key, len, ENTRY_UNWRITTEN);
	list_add(dict->mcxt, &dict->queue, e);
	e->state = ENTRY_QUEUED;
	/* The key of an id that is leaving has a row still. */
	e->fresh = dict->leaving == NULL || dict->leaving->n == 0;
	if (e->fresh && dict->registrar == 0)
		dict->registrar = e->id;
	return e;
}

/*
 * mdb_dict_intern - the id of a key, which mdb_dict_flush will write if it has no row yet.
 */
uint32
mdb_dict_intern(MdbDict *dict, Relation rel, const char *key, uint32 len)
{
	uint32 hash = key_hash(key, len);
	Entry *e;

	if (len > MDB_KEY_MAX)
		mdb_key_too_long(rel, len);
	if (unlikely(dict->stale))
		mdb_dict_sync(dict, rel);
	hash_all(dict);
	e = find_key(dict, hash, key, len);
	if (e == NULL)
		e = look_for_key(dict, hash, key, len);
	if (e == NULL)
		e = give_id(dict, rel, hash, key, len);
	if (e->state == ENTRY_UNWRITTEN)
	{
		list_add(dict->mcxt, &dict->queue, e);
		e->state = ENTRY_QUEUED;
	}
	return e->id;
}

static bool
is_registered(MdbDict *dict, const char *key, uint32 len)
{
	uint32 hash = key_hash(key, len);
	Entry *e;

	hash_all(dict);
	e = find_key(dict, hash, key, len);
	if (e == NULL && !dict->loaded)
	{
		load_all(dict);
		e = find_key(dict, hash, key, len);
	}
	return e != NULL && e->state == ENTRY_WRITTEN;
}

/*
 * mdb_dict_registered - does a key have a row that stays, as far as this process knows?
 */
bool
mdb_dict_registered(MdbDict *dict, const char *key, uint32 len)
{
	catch_up(dict);
	return is_registered(dict, key, len);
}

/*
 * mdb_dict_refresh - learn what others have registered since, telling callback (may be NULL) of each pair.
 */
void
mdb_dict_refresh(MdbDict *dict, MdbSegmentCallback callback, void *arg)
{
	catch_up(dict);
	hash_all(dict);
	load_news(dict, callback, arg);
}

/*
 * mdb_dict_keep - load a dictionary, and have it stay in memory: it may be peeked at between transactions.
 * mdb_dict_let_go - no more.
 */
void
mdb_dict_keep(MdbDict *dict)
{
	catch_up(dict);
	load_all(dict);
	dict->kept = true;
}

void
mdb_dict_let_go(int64 storage_id)
{
	MdbDict *dict = dicts ? hash_search(dicts, &storage_id, HASH_FIND, NULL) : NULL;

	if (dict)
	{
		dict->kept = false;
		dict->watch = NULL;
	}
}

/*
 * mdb_dict_watch - tell callback of all pairs of a dictionary that is kept, and from now on of each that comes to
 * be known, until it is let go, or callback is NULL.  A pair may be told more than once.  False: it is not kept.
 */
bool
mdb_dict_watch(int64 storage_id, MdbSegmentCallback callback, void *arg)
{
	MdbDict *dict = dicts ? hash_search(dicts, &storage_id, HASH_FIND, NULL) : NULL;

	if (dict == NULL || !dict->kept)
		return false;
	for (uint32 page = 0; callback && page < dict->npages; page++)
	{
		CHECK_FOR_INTERRUPTS();
		for (uint32 i = 0; dict->pages[page] && i < DICT_PAGE; i++)
			if (dict->pages[page][i])
				callback(arg, dict->pages[page][i]->id, dict->pages[page][i]->key, dict->pages[page][i]->len);
	}
	dict->watch = callback;
	dict->watch_arg = arg;
	return true;
}

/*
 * mdb_dict_peek - mdb_dict_registered for a dictionary that is kept, in or out of a transaction: 1 = yes,
 * 0 = no, -1 = it is not kept.
 */
int
mdb_dict_peek(int64 storage_id, const char *key, uint32 len)
{
	MdbDict *dict = dicts ? hash_search(dicts, &storage_id, HASH_FIND, NULL) : NULL;

	if (dict == NULL || !dict->kept)
		return -1;
	return is_registered(dict, key, len) ? 1 : 0;
}

static int
entry_cmp(const void *a, const void *b, void *arg)
{
	uint32 x = (*(Entry *const *) a)->id, y = (*(Entry *const *) b)->id;

	return x < y ? -1 : x > y;
}

static Written *
written_list(MdbDict *dict)
{
	SubTransactionId subid = GetCurrentSubTransactionId();

	if (dict->written == NULL || dict->written->subid != subid)
	{
		Written *w = MemoryContextAllocZero(dict->mcxt, sizeof(Written));

		w->subid = subid;
		w->next = dict->written;
		dict->written = w;
	}
	return dict->written;
}

/* Write the rows of some entries that are queued, as of command cid. */
static void
write_entries(MdbDict *dict, EntryList *list, CommandId cid, int options)
{
	MdbSegmentOrigin origin = {.registrar = dict->registrar, .horizon = dict->horizon};
	Relation rel;
	Written *written;
	MdbSegmentEntry *entries;

	rel = mdb_catalog_open("series", RowExclusiveLock);
	entries = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(MdbSegmentEntry) * list->n);
	qsort_interruptible(list->v, list->n, sizeof(Entry *), entry_cmp, NULL);
	for (int fresh = 0; fresh < 2; fresh++)
	{
		uint32 n = 0;

		for (uint32 i = 0; i < list->n; i++)
			if (list->v[i]->fresh == fresh)
				entries[n++] = (MdbSegmentEntry){list->v[i]->id, list->v[i]->len, list->v[i]->key};
		mdb_segments_write(rel, dict->storage_id, entries, n, fresh ? &origin : NULL, cid, options);
	}
	table_close(rel, NoLock);
	for (uint32 i = 0; i < list->n; i++)
		entries[i] = (MdbSegmentEntry){list->v[i]->id, list->v[i]->len, list->v[i]->key};
	mdb_postings_write(dict->storage_id, dict->jsonb, entries, list->n, cid, options);
	pfree(entries);

	/* Only now: had an error come in between, all of them would still be queued. */
	written = written_list(dict);
	for (uint32 i = 0; i < list->n; i++)
	{
		list->v[i]->state = ENTRY_WRITTEN;
		list_add(dict->mcxt, &written->entries, list->v[i]);
	}
}

/*
 * mdb_dict_flush - write the rows of what was interned, as of command cid.
 */
void
mdb_dict_flush(MdbDict *dict, CommandId cid, int options)
{
	if (dict->queue.n == 0)
		return;
	write_entries(dict, &dict->queue, cid, options);
	dict->queue.n = 0;
}

/*
 * mdb_dict_register - intern some keys, and write the rows of those that have none at once, and of no others.
 */
void
mdb_dict_register(MdbDict *dict, Relation rel, const MdbSegmentEntry *keys, int count, CommandId cid)
{
	EntryList list = {0};
	uint32 left = 0;

	for (int i = 0; i < count; i++)
	{
		Entry *e;

		(void) mdb_dict_intern(dict, rel, keys[i].key, keys[i].len);
		e = find_key(dict, key_hash(keys[i].key, keys[i].len), keys[i].key, keys[i].len);
		if (e->state == ENTRY_QUEUED)
			list_add(CurrentMemoryContext, &list, e);
	}
	if (list.n == 0)
		return;
	/* A key may have come twice. */
	qsort_interruptible(list.v, list.n, sizeof(Entry *), entry_cmp, NULL);
	for (uint32 i = 0; i < list.n; i++)
		if (i == 0 || list.v[i] != list.v[left - 1])
			list.v[left++] = list.v[i];
	list.n = left;
	write_entries(dict, &list, cid, 0);
	left = 0;
	for (uint32 i = 0; i < dict->queue.n; i++)
		if (dict->queue.v[i]->state == ENTRY_QUEUED)
			dict->queue.v[left++] = dict->queue.v[i];
	dict->queue.n = left;
	pfree(list.v);
}

/*
 * mdb_dict_key - the key of an id that a visible part names.
 *
 * Raises ERRCODE_DATA_CORRUPTED if there is none: no part may be without its series.
 */
const char *
mdb_dict_key(MdbDict *dict, uint32 id, Snapshot snapshot, uint32 *len)
{
	Entry *e = find_id(dict, id);

	if (e == NULL)
	{
		Snapshot latest = mdb_latest_snapshot();

		load_id(dict, id, latest, ENTRY_WRITTEN);
		UnregisterSnapshot(latest);
		e = find_id(dict, id);
	}
	if (e == NULL)
	{
		/* Written by this transaction, or a part whose dictionary row is about to be removed. */
		load_id(dict, id, SnapshotAny, ENTRY_UNWRITTEN);
		e = find_id(dict, id);
	}
	if (e == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED), errmsg("series %u of storage %lld is not in the dictionary",
														 id, (long long) dict->storage_id)));
	*len = e->len;
	return e->key;
}

/* What this subtransaction wrote is the parent's now. */
static void
subxact_committed(MdbDict *dict, SubTransactionId subid, SubTransactionId parent)
{
	/* There are several if it took over a child's. */
	for (Written *w = dict->written; w && w->subid == subid; w = w->next)
		w->subid = parent;
}

static void
free_written(Written *w)
{
	if (w->entries.v)
		pfree(w->entries.v);
	pfree(w);
}

/* What it wrote is gone: whoever relies on it still must write it again. */
static void
subxact_aborted(MdbDict *dict, SubTransactionId subid)
{
	while (dict->written && dict->written->subid == subid)
	{
		Written *w = dict->written;

		for (uint32 i = 0; i < w->entries.n; i++)
		{
			w->entries.v[i]->state = ENTRY_QUEUED;
			w->entries.v[i]->fresh = 0;
			list_add(dict->mcxt, &dict->queue, w->entries.v[i]);
		}
		dict->written = w->next;
		free_written(w);
	}
}

/* An entry has no row that is sure to stay, and others may write one before it is written again. */
static void
forget_row(Entry *e)
{
	e->state = ENTRY_UNWRITTEN;
	e->fresh = 0;
}

static void
xact_ended(MdbDict *dict, bool committed)
{
	while (dict->written != NULL)
	{
		Written *w = dict->written;

		for (uint32 i = 0; i < w->entries.n && !committed; i++)
			forget_row(w->entries.v[i]);
		dict->written = w->next;
		free_written(w);
	}
	for (uint32 i = 0; i < dict->queue.n; i++)
		forget_row(dict->queue.v[i]);
	dict->queue.n = 0;
}

static void
xact_callback(XactEvent event, void *arg)
{
	HASH_SEQ_STATUS seq;
	MdbDict *dict;
	bool committed = event == XACT_EVENT_COMMIT || event == XACT_EVENT_PARALLEL_COMMIT;
	bool evict;

	if (dicts == NULL || !(committed || event == XACT_EVENT_ABORT || event == XACT_EVENT_PARALLEL_ABORT ||
						   event == XACT_EVENT_PREPARE))
		return;
	evict = MemoryContextMemAllocated(dict_mcxt, true) > DICT_CACHE_MAX;
	hash_seq_init(&seq, dicts);
	while ((dict = hash_seq_search(&seq)) != NULL)
	{
		xact_ended(dict, committed);
		if (evict && !dict->kept)
		{
			MemoryContextDelete(dict->mcxt);
			hash_search(dicts, &dict->storage_id, HASH_REMOVE, NULL);
		}
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	HASH_SEQ_STATUS seq;
	MdbDict *dict;

	if (dicts == NULL || (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB))
		return;
	hash_seq_init(&seq, dicts);
	while ((dict = hash_seq_search(&seq)) != NULL)
	{
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			subxact_committed(dict, subid, parent);
		else
			subxact_aborted(dict, subid);
	}
}

/*
 * mdb_series_init - at load: follow the ends of transactions.
 */
void
mdb_series_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
	mdb_on_relation_change(relcache_callback);
}
