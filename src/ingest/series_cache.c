/*
 * series_cache.c
 *	  From the bytes that say name and tags to a series of the target table, quickly.
 *
 * Two tables of byte strings lie on top of each other:
 *
 *	spellings	the key of a point as it was sent -> series.  One memcmp, no parsing.
 *	series		the canonical key -> series; its index is the series' number in this cache.  The
 *				same series may be spelled in many ways, for the order of a map is not defined.
 *
 * and ids[series] is what the table's dictionary calls it, if it was asked yet.
 *
 * Invariants:
 *	1. Equal hashes never make two series equal: bytes are compared, always.
 *	2. A series of the cache stays valid until mdb_key_cache_clear, so that a batch may refer to
 *	   it across polls; that is why the cache is cleared as a whole and entries are never evicted.
 *	3. ids[] holds only what a committed transaction, or the current one, obtained under the
 *	   table's present generation.
 *	4. Each series was read in full and checked once; a spelling is known only for such a series.
 *
 * Most of the time here is spent waiting for memory: bucket, entry, bytes.  Two ways around it are
 * taken.  A partition whose producer sends series in the same order each time is served by
 * guessing the successor, without hashing.  Others are looked up in groups, each stage
 * prefetching for the next.  Which one serves is measured for each partition as it goes.
 *
 * Called by decode.c (lookup, add) and flush.c (ids).
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "ingest/series_cache.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define ARENA_CHUNK (256 * 1024)
#define MIN_BUCKETS 1024
#define MIN_WINDOW  4096
#define WINDOWS_OFF 8 /* how many windows a losing strategy stays off */
#define ID_REFUSED  (PG_UINT32_MAX - 1)

/* A byte string and what it stands for. */
typedef struct Entry
{
	const uint8 *key;
	uint32 len;
	uint32 series;
	uint64 hash;
	uint32 next; /* spellings: the entry that followed the last time */
} Entry;

typedef struct Bucket
{
	uint32 entry; /* MDB_NO_SERIES = empty */
	uint32 check; /* high half of the hash */
} Bucket;

typedef struct KeyTable
{
	Bucket *buckets;
	uint64 mask;
	Entry *entries;
	uint32 n;
	uint32 room;
} KeyTable;

struct MdbKeyCache
{
	MemoryContext context; /* the cache's content */
	MemoryContext scratch; /* datums of one series */
	Size limit;
	uint32 generation; /* counts the clears */
	uint64 table_generation;
	char *arena;
	Size arena_left;
	KeyTable spellings;
	KeyTable series;
	uint32 *ids;       /* by series; room as series.room */
	uint32 *tentative; /* series whose ids this transaction asked for */
	uint32 ntentative;
	uint32 tentative_room;
	uint32 asking; /* the series mdb_append_series was called for */
	uint32 nrefused;
	uint32 *refused;
	const char **reasons;
	MdbGuarding *guarding;
	StringInfoData dict_key;
	uint8 canonical[MDB_PROTO_MAX_KEY];
	MdbProtoSeries parsed;
};

static void
table_init(KeyTable *table, MemoryContext context)
{
	table->mask = MIN_BUCKETS - 1;
	table->buckets = MemoryContextAlloc(context, MIN_BUCKETS * sizeof(Bucket));
	memset(table->buckets, 0xff, MIN_BUCKETS * sizeof(Bucket));
	table->room = MIN_BUCKETS / 2;
	table->entries = MemoryContextAlloc(context, table->room * sizeof(Entry));
	table->n = 0;
}

/*
 * table_find - the entry with these bytes, or MDB_NO_SERIES.
 */
static inline uint32
table_find(const KeyTable *table, const uint8 *key, uint32 len, uint64 hash)
{
	uint64 b = hash & table->mask;

	for (;; b = (b + 1) & table->mask)
	{
		const Bucket *bucket = &table->buckets[b];

		if (bucket->entry == MDB_NO_SERIES)
			return MDB_NO_SERIES;
		if (bucket->check == (uint32) (hash >> 32))
		{
			const Entry *entry = &table->entries[bucket->entry];

			if (entry->len == len && memcmp(entry->key, key, len) == 0)
				return bucket->entry;
		}
	}
}

static void
table_put(KeyTable *table, uint32 n)
{
	uint64 hash = table->entries[n].hash;
	uint64 b = hash & table->mask;

	while (table->buckets[b].entry != MDB_NO_SERIES)
		b = (b + 1) & table->mask;
	table->buckets[b].entry = n;
	table->buckets[b].check = (uint32) (hash >> 32);
}

/*
 * table_add - a new entry; key must live as long as the table.
 */
static uint32
table_add(KeyTable *table, const uint8 *key, uint32 len, uint64 hash, uint32 series)
{
	Entry *entry;

	if (table->n == table->room)
	{
		uint64 nbuckets = (table->mask + 1) * 2;

		table->entries = repalloc_huge(table->entries, (Size) table->room * 2 * sizeof(Entry));
		table->room *= 2;
		table->buckets = repalloc_huge(table->buckets, nbuckets * sizeof(Bucket));
		memset(table->buckets, 0xff, nbuckets * sizeof(Bucket));
		table->mask = nbuckets - 1;
		for (uint32 i = 0; i < table->n; i++)
			table_put(table, i);
	}
	entry = &table->entries[table->n];
	entry->key = key;
	entry->len = len;
	entry->series = series;
	entry->hash = hash;
	entry->next = MDB_NO_SERIES;
	table_put(table, table->n);
	return table->n++;
}

/*
 * keep_bytes - a copy of the key in the cache's own memory.
 */
static const uint8 *
keep_bytes(MdbKeyCache *cache, const uint8 *key, uint32 len)
{
	uint8 *copy;

	if (len > cache->arena_left)
	{
		Size size = Max((Size) len, ARENA_CHUNK);

		cache->arena = MemoryContextAlloc(cache->context, size);
		cache->arena_left = size;
	}
	copy = (uint8 *) cache->arena;
	memcpy(copy, key, len);
	cache->arena += len;
	cache->arena_left -= len;
	return copy;
}

MdbKeyCache *
mdb_key_cache_create(Size limit, MdbGuarding *guarding)
{
	MdbKeyCache *cache = palloc0(sizeof(MdbKeyCache));

	cache->limit = limit;
	cache->guarding = guarding;
	initStringInfo(&cache->dict_key);
	cache->context =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb series cache", ALLOCSET_DEFAULT_SIZES);
	cache->scratch =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb new series", ALLOCSET_DEFAULT_SIZES);
	mdb_key_cache_clear(cache);
	return cache;
}

void
mdb_key_cache_clear(MdbKeyCache *cache)
{
	MemoryContextReset(cache->context);
	mdb_guarding_cleared(cache->guarding);
	cache->generation++;
	cache->arena_left = 0;
	table_init(&cache->spellings, cache->context);
	table_init(&cache->series, cache->context);
	cache->ids = MemoryContextAlloc(cache->context, cache->series.room * sizeof(uint32));
	cache->tentative_room = 1024;
	cache->tentative = MemoryContextAlloc(cache->context, cache->tentative_room * sizeof(uint32));
	cache->ntentative = 0;
	cache->asking = MDB_NO_SERIES;
	cache->nrefused = 0;
	cache->refused = NULL;
	cache->reasons = NULL;
}

bool
mdb_key_cache_full(const MdbKeyCache *cache)
{
	return MemoryContextMemAllocated(cache->context, true) > cache->limit;
}

uint32
mdb_key_cache_size(const MdbKeyCache *cache)
{
	return cache->series.n;
}

/*
 * hint_begin - void the hint if the cache was cleared, and close its windows when they are over.
 */
static void
hint_begin(const MdbKeyCache *cache, MdbSeriesHint *hint, int n)
{
	uint32 window = Max(cache->spellings.n, MIN_WINDOW);

	if (hint->generation != cache->generation)
	{
		memset(hint, 0, sizeof(*hint));
		hint->generation = cache->generation;
		hint->last = MDB_NO_SERIES;
	}

	if (hint->rest > 0)
	{
		hint->rest -= Min(hint->rest, n);
		hint->last = MDB_NO_SERIES;
	}
	else if (hint->guesses >= window)
	{
		if (hint->right < hint->guesses / 2)
			hint->rest = window * WINDOWS_OFF;
		hint->guesses = hint->right = 0;
	}

	if (hint->bypass > 0)
		hint->bypass -= Min(hint->bypass, n);
	else if (hint->lookups >= window)
	{
		if (hint->reordered > hint->lookups / 2)
			hint->bypass = window * WINDOWS_OFF;
		hint->lookups = hint->reordered = 0;
	}
}

/*
 * lookup_guess - one by one, the successor of the last time first.
 */
static void
lookup_guess(MdbKeyCache *cache, MdbSeriesHint *hint, int n, const MdbProtoPoint *points, uint32 *series)
{
	Entry *entries = cache->spellings.entries;
	uint32 last = hint->last;

	for (int i = 0; i < n; i++)
	{
		const MdbProtoBytes *key = &points[i].key;
		uint32 slot = MDB_NO_SERIES;

		if (last != MDB_NO_SERIES && entries[last].next != MDB_NO_SERIES)
		{
			const Entry *guess = &entries[entries[last].next];

			hint->guesses++;
			if (guess->len == key->len && memcmp(guess->key, key->data, key->len) == 0)
			{
				slot = entries[last].next;
				hint->right++;
			}
		}
		if (slot == MDB_NO_SERIES)
		{
			slot = table_find(&cache->spellings, key->data, key->len, XXH3_64bits(key->data, key->len));
			if (last != MDB_NO_SERIES)
				entries[last].next = slot;
		}
		series[i] = (slot == MDB_NO_SERIES) ? MDB_NO_SERIES : entries[slot].series;
		last = slot;
	}
	hint->last = last;
}

/*
 * lookup_group - all together, stage by stage.
 */
static void
lookup_group(MdbKeyCache *cache, int n, const MdbProtoPoint *points, uint32 *series)
{
	const KeyTable *table = &cache->spellings;
	uint64 hashes[MDB_SERIES_GROUP];
	uint32 slots[MDB_SERIES_GROUP];

	for (int i = 0; i < n; i++)
	{
		hashes[i] = XXH3_64bits(points[i].key.data, points[i].key.len);
		__builtin_prefetch(&table->buckets[hashes[i] & table->mask]);
	}
	for (int i = 0; i < n; i++)
	{
		slots[i] = table->buckets[hashes[i] & table->mask].entry;
		if (slots[i] != MDB_NO_SERIES)
			__builtin_prefetch(&table->entries[slots[i]]);
	}
	for (int i = 0; i < n; i++)
		if (slots[i] != MDB_NO_SERIES)
		{
			const uint8 *key = table->entries[slots[i]].key;

			__builtin_prefetch(key);
			__builtin_prefetch(key + 64);
		}
	for (int i = 0; i < n; i++)
	{
		uint32 slot = table_find(table, points[i].key.data, points[i].key.len, hashes[i]);

		series[i] = (slot == MDB_NO_SERIES) ? MDB_NO_SERIES : table->entries[slot].series;
	}
}

void
mdb_key_cache_lookup(MdbKeyCache *cache, MdbSeriesHint *hint, int n, const MdbProtoPoint *points,
					 uint32 *series)
{
	Assert(n <= MDB_SERIES_GROUP);
	hint_begin(cache, hint, n);
	hint->lookups += n;

	if (hint->bypass > 0)
		memset(series, 0xff, n * sizeof(uint32));
	else if (hint->rest > 0)
		lookup_group(cache, n, points, series);
	else
		lookup_guess(cache, hint, n, points, series);
}

MdbProtoStatus
mdb_key_cache_add(MdbKeyCache *cache, MdbSeriesHint *hint, const MdbProtoPoint *point, uint32 *series)
{
	bool remember = !point->scattered && hint->bypass == 0;
	uint64 spelled = 0;
	uint64 hash;
	size_t len;
	MdbProtoStatus status;

	/* An equal point of the same group may have been added just before. */
	if (remember)
	{
		uint32 slot;

		spelled = XXH3_64bits(point->key.data, point->key.len);
		slot = table_find(&cache->spellings, point->key.data, point->key.len, spelled);
		if (slot != MDB_NO_SERIES)
		{
			*series = cache->spellings.entries[slot].series;
			return MDB_PROTO_OK;
		}
	}

	status = mdb_proto_series(point->key, &cache->parsed);
	if (status != MDB_PROTO_OK)
		return status;
	for (bool reduced = false;; reduced = true)
	{
		MdbAdmission admission;

		len = mdb_proto_canonical(&cache->parsed, cache->canonical, sizeof(cache->canonical));
		if (len == 0)
			return MDB_PROTO_LONG_KEY;
		hash = XXH3_64bits(cache->canonical, len);
		*series = table_find(&cache->series, cache->canonical, len, hash);
		if (*series != MDB_NO_SERIES)
			break;
		admission = mdb_guarding_admit(cache->guarding, &cache->parsed, reduced);
		if (admission == MDB_ADMISSION_GRANTED)
			break;
		/* What is refused, or comes in another form, is not remembered: there may be millions. */
		remember = false;
		if (admission == MDB_ADMISSION_REFUSED)
		{
			*series = MDB_CLOSED_SERIES;
			return MDB_PROTO_OK;
		}
	}
	if (*series == MDB_NO_SERIES)
	{
		uint32 room = cache->series.room;

		*series =
			table_add(&cache->series, keep_bytes(cache, cache->canonical, len), len, hash, cache->series.n);
		if (cache->series.room != room)
			cache->ids = repalloc_huge(cache->ids, (Size) cache->series.room * sizeof(uint32));
		cache->ids[*series] = MDB_NO_SERIES;
	}
	else if (hint->bypass == 0 && remember)
		hint->reordered++;

	if (remember)
		table_add(&cache->spellings, keep_bytes(cache, point->key.data, point->key.len), point->key.len,
				  spelled, *series);
	return MDB_PROTO_OK;
}

/*
 * text_value - a string of the series as a part of a jsonb value.
 */
static JsonbValue *
text_value(JsonbValue *value, MdbProtoBytes text)
{
	value->type = jbvString;
	value->val.string.val = (char *) text.data;
	value->val.string.len = text.len;
	return value;
}

/*
 * ask_id - build the series' datums and ask the table's dictionary for its id.
 */
static uint32
ask_id(MdbKeyCache *cache, MdbAppend *append, const MdbTarget *target, uint32 series)
{
	const Entry *entry = &cache->series.entries[series];
	MdbProtoSeries *parsed = &cache->parsed;
	Datum values[MDB_TARGET_COLUMNS] = {0};
	bool isnull[MDB_TARGET_COLUMNS];
	JsonbParseState *state = NULL;
	JsonbValue *object;
	JsonbValue value;
	MemoryContext before;
	uint32 id;

	mdb_proto_canonical_read(entry->key, entry->len, parsed);

	/* In most tables the key is made of name and tags, and nothing else. */
	resetStringInfo(&cache->dict_key);
	if (mdb_guarding_key(cache->guarding, parsed, &cache->dict_key))
	{
		if (!mdb_append_registered(append, cache->dict_key.data, cache->dict_key.len))
			mdb_guarding_register(cache->guarding, parsed->name);
		return mdb_append_key(append, cache->dict_key.data, cache->dict_key.len);
	}

	before = MemoryContextSwitchTo(cache->scratch);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < parsed->ntags; i++)
	{
		pushJsonbValue(&state, WJB_KEY, text_value(&value, parsed->tags[i].key));
		pushJsonbValue(&state, WJB_VALUE, text_value(&value, parsed->tags[i].value));
	}
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);

	memset(isnull, true, sizeof(isnull));
	values[target->name - 1] =
		PointerGetDatum(cstring_to_text_with_len((const char *) parsed->name.data, parsed->name.len));
	isnull[target->name - 1] = false;
	values[target->tags - 1] = JsonbPGetDatum(JsonbValueToJsonb(object));
	isnull[target->tags - 1] = false;
	id = mdb_append_series(append, values, isnull);
	MemoryContextSwitchTo(before);
	MemoryContextReset(cache->scratch);
	return id;
}

void
mdb_key_cache_ids(MdbKeyCache *cache, MdbAppend *append, uint64 generation, const MdbTarget *target, uint32 n,
				  const uint32 *series, uint32 *ids)
{
	if (generation != cache->table_generation)
	{
		memset(cache->ids, 0xff, cache->series.n * sizeof(uint32));
		cache->nrefused = 0;
		cache->table_generation = generation;
	}

	for (uint32 i = 0; i < n; i++)
	{
		uint32 s = series[i];

		if (unlikely(cache->ids[s] >= ID_REFUSED))
		{
			if (cache->ntentative == cache->tentative_room)
			{
				cache->tentative_room *= 2;
				cache->tentative =
					repalloc_huge(cache->tentative, (Size) cache->tentative_room * sizeof(uint32));
			}
			cache->asking = s;
			cache->ids[s] = ask_id(cache, append, target, s);
			cache->asking = MDB_NO_SERIES;
			cache->tentative[cache->ntentative++] = s;
			if (cache->ntentative % 1024 == 0)
				CHECK_FOR_INTERRUPTS();
		}
		ids[i] = cache->ids[s];
	}

	if (mdb_guarding_watch(cache->guarding))
		for (uint32 s = 0; s < cache->series.n; s++)
			if (cache->ids[s] >= ID_REFUSED)
			{
				const Entry *entry = &cache->series.entries[s];

				mdb_proto_canonical_read(entry->key, entry->len, &cache->parsed);
				mdb_guarding_admitted(cache->guarding, &cache->parsed);
			}
}

void
mdb_key_cache_committed(MdbKeyCache *cache)
{
	cache->ntentative = 0;
}

void
mdb_key_cache_aborted(MdbKeyCache *cache)
{
	for (uint32 i = 0; i < cache->ntentative; i++)
		cache->ids[cache->tentative[i]] = MDB_NO_SERIES;
	cache->ntentative = 0;
	cache->asking = MDB_NO_SERIES;
	MemoryContextReset(cache->scratch);
}

bool
mdb_key_cache_refuse(MdbKeyCache *cache, const char *reason)
{
	MemoryContext before;

	if (cache->asking == MDB_NO_SERIES)
		return false;
	before = MemoryContextSwitchTo(cache->context);
	if (cache->refused == NULL)
	{
		cache->refused = palloc(sizeof(uint32));
		cache->reasons = palloc(sizeof(char *));
	}
	else
	{
		cache->refused = repalloc(cache->refused, (cache->nrefused + 1) * sizeof(uint32));
		cache->reasons = repalloc(cache->reasons, (cache->nrefused + 1) * sizeof(char *));
	}
	cache->refused[cache->nrefused] = cache->asking;
	cache->reasons[cache->nrefused++] = pstrdup(reason);
	cache->ids[cache->asking] = ID_REFUSED;
	MemoryContextSwitchTo(before);
	return true;
}

const char *
mdb_key_cache_refused(const MdbKeyCache *cache, uint32 series)
{
	if (likely(cache->nrefused == 0) || cache->ids[series] != ID_REFUSED)
		return NULL;
	for (uint32 i = 0; i < cache->nrefused; i++)
		if (cache->refused[i] == series)
			return cache->reasons[i];
	return "refused";
}
