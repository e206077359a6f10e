/*
 * gather.c
 *	  Whoever writes rows gathers the samples that rules watch, and writes these down beside the rows.
 *
 * Invariants:
 *	1. What is gathered belongs to the subtransaction that wrote the rows: it is handed to the outer one when that
 *	   commits, dropped when it aborts, and written to metricsdb.alert_batch before the transaction commits or is
 *	   prepared, or before, in the subtransaction, if it is much.  So a row of a table and its samples here are visible to the
 *	   same snapshots.
 *	2. Whose lock on the table is younger than a rule, or a row of metricsdb.alert_watch, knows of it: both go with an
 *	   invalidation of the table's cache entry.  Those whose locks are older are waited for before the rule's history
 *	   is read (states.c).
 *	3. Nothing is gathered past the time in metricsdb.alert_watch: nobody evaluates the rules, and rows would pile up.
 *	   It is read anew before that is believed.
 */
#include "postgres.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "alert/gather.h"
#include "alert/watch.h"
#include "func/over_time.h"
#include "metricsdb.h"
#include "write/tap.h"

/* Samples in a row of metricsdb.alert_batch. */
#define ROW_SAMPLES 65536

/* Keys and ids of which it is remembered which columns are watched. */
#define MEMO_KEYS 65536
#define MASKS     250

/* How often metricsdb.alert_watch is read for what only saves work. */
#define READ_AGAIN USECS_PER_MINUTE

/* What MdbTable.watched says. */
enum
{
	WATCHED_UNKNOWN = 0,
	WATCHED_NOT,
	WATCHED_MAYBE
};

typedef struct MemoKey
{
	XXH128_hash_t hash; /* hash key */
	uint8 mask;
} MemoKey;

/* A table that this process has written to. */
typedef struct Watched
{
	Oid relid; /* hash key */
	bool valid;
	bool lapsed;
	MdbWatch *watch;
	/* which columns are watched: 0 = not known yet, 1 + index into masks; bits are indexes into watch->values */
	MemoryContext memo_mcxt;
	uint8 *by_id;
	uint32 nids;
	HTAB *by_key;
	int nmasks;
	uint64 masks[MASKS];
} Watched;

/* What a subtransaction has written. */
typedef struct Gathered
{
	struct Gathered *next;
	Oid relid;
	int64 storage_id;
	SubTransactionId subid;
	MemoryContext mcxt;
	uint32 n;
	uint32 room;
	MdbTapped *samples;
	uint32 nkeys;
	uint32 keys_room;
	MdbTappedKey *keys;
	HTAB *numbers; /* of keys */
} Gathered;

typedef struct KeyNumber
{
	XXH128_hash_t hash; /* hash key */
	uint32 number;
} KeyNumber;

static HTAB *watched = NULL;
static MemoryContext watched_mcxt = NULL;
static Gathered *gathered = NULL; /* in TopTransactionContext */

/* ---- numbers and times ---- */

/*
 * mdb_covers_of - the end of the quarter of an hour that a time is in: (end - MDB_COVERS, end].
 */
int64
mdb_covers_of(int64 time)
{
	int64 end = (time / MDB_COVERS) * MDB_COVERS;

	return end < time ? end + MDB_COVERS : end;
}

/*
 * mdb_number_of - see gather.h.
 */
double
mdb_number_of(Oid type, uint8 phys, int16 attlen, Datum value)
{
	switch (phys)
	{
		case MDB_F64:
			return DatumGetFloat8(value);
		case MDB_F32:
			return DatumGetFloat4(value);
		case MDB_I64:
			return attlen == 8   ? (double) DatumGetInt64(value)
				   : attlen == 4 ? (double) DatumGetInt32(value)
								 : (double) DatumGetInt16(value);
		default:
			return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, value));
	}
}

/* ---- which tables, which series ---- */

static void
relcache_callback(Oid relid)
{
	HASH_SEQ_STATUS seq;
	Watched *w;

	if (watched == NULL)
		return;
	if (OidIsValid(relid))
	{
		w = hash_search(watched, &relid, HASH_FIND, NULL);
		if (w)
			w->valid = false;
		return;
	}
	hash_seq_init(&seq, watched);
	while ((w = hash_seq_search(&seq)) != NULL)
		w->valid = false;
}

static void
drop_watch(Watched *w)
{
	if (w->watch)
		MemoryContextDelete(w->watch->mcxt);
	if (w->memo_mcxt)
		MemoryContextDelete(w->memo_mcxt);
	w->watch = NULL;
	w->memo_mcxt = NULL;
	w->by_id = NULL;
	w->by_key = NULL;
	w->nids = 0;
	w->nmasks = 0;
	w->lapsed = false;
}

static Watched *
watched_of(Relation rel)
{
	Oid relid = RelationGetRelid(rel);
	Watched *w;
	bool found;
	MemoryContext old;

	if (watched == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Watched)};

		watched_mcxt =
			AllocSetContextCreate(CacheMemoryContext, "metricsdb watched tables", ALLOCSET_DEFAULT_SIZES);
		ctl.hcxt = watched_mcxt;
		watched = hash_create("metricsdb watched tables", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	w = hash_search(watched, &relid, HASH_ENTER, &found);
	if (!found)
		memset((char *) w + sizeof(Oid), 0, sizeof(*w) - sizeof(Oid));
	if (found && w->valid && w->watch)
		return w;
	drop_watch(w);
	/* What comes while it is read makes it invalid again. */
	w->valid = true;
	old = MemoryContextSwitchTo(watched_mcxt);
	w->watch = mdb_watch_build(rel);
	w->memo_mcxt = AllocSetContextCreate(watched_mcxt, "metricsdb columns of series", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(old);
	return w;
}

/* Does somebody evaluate the rules? */
static bool
is_followed(Watched *w)
{
	TimestampTz now;

	if (w->lapsed)
		return false;
	now = GetCurrentTimestamp();
	if (now >= w->watch->until || now - w->watch->read_at > READ_AGAIN)
	{
		w->watch->followed = mdb_watch_mark_read(w->relid, &w->watch->until, &w->watch->ticked);
		w->watch->read_at = now;
		/* Who puts it off again afterwards invalidates the entry. */
		w->lapsed = !w->watch->followed || now >= w->watch->until;
	}
	return !w->lapsed;
}

static bool
is_wanted(Relation rel)
{
	uint8 state = mdb_table_peek(rel)->watched;

	if (unlikely(state == WATCHED_UNKNOWN))
	{
		Watched *w;

		/* While the extension is being made or dropped there are no rules. */
		if (!OidIsValid(mdb_catalog_relid("alert_watch", true)) ||
			!OidIsValid(mdb_catalog_relid("alert_rule_source", true)))
			return false;
		w = watched_of(rel);
		state = w->watch->nvalues > 0 && w->watch->followed ? WATCHED_MAYBE : WATCHED_NOT;
		if (mdb_table_peek(rel) == rel->rd_amcache)
			((MdbTable *) rel->rd_amcache)->watched = state;
		/* Nothing is kept for those that have none. */
		if (state == WATCHED_NOT)
			drop_watch(w);
	}
	return state == WATCHED_MAYBE && is_followed(watched_of(rel));
}

static void
found_rule(void *arg, MdbWatchRule *rule)
{
	*(uint64 *) arg |= UINT64CONST(1) << (rule->column % 64);
}

/* Which columns of a key are watched: as found_rule() says, to a number of w->masks. */
static uint8
mask_of_key(Watched *w, const char *key, uint32 len)
{
	static MemoryContext mcxt = NULL;
	MemoryContext old;
	MdbLabels labels = {0};
	uint64 mask = 0;

	if (mcxt == NULL)
		mcxt = AllocSetContextCreate(CacheMemoryContext, "metricsdb labels", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(mcxt);
	old = MemoryContextSwitchTo(mcxt);
	mdb_watch_labels(w->watch, key, len, &labels);
	mdb_watch_match(w->watch, &labels, found_rule, &mask);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < w->nmasks; i++)
		if (w->masks[i] == mask)
			return i + 1;
	/* Too many kinds: what nobody wants is taken along. */
	if (w->nmasks == MASKS)
	{
		w->masks[MASKS - 1] |= mask;
		return MASKS;
	}
	w->masks[w->nmasks++] = mask;
	return w->nmasks;
}

static uint64
columns_of_key(Watched *w, const char *key, uint32 len, XXH128_hash_t hash)
{
	MemoKey *memo;
	bool found;

	if (w->by_key && hash_get_num_entries(w->by_key) >= MEMO_KEYS)
	{
		hash_destroy(w->by_key);
		w->by_key = NULL;
	}
	if (w->by_key == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(XXH128_hash_t), .entrysize = sizeof(MemoKey), .hcxt = w->memo_mcxt};

		w->by_key =
			hash_create("metricsdb columns of keys", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	memo = hash_search(w->by_key, &hash, HASH_FIND, NULL);
	if (memo == NULL)
	{
		uint8 mask = mask_of_key(w, key, len);

		memo = hash_search(w->by_key, &hash, HASH_ENTER, &found);
		memo->mask = mask;
	}
	return w->masks[memo->mask - 1];
}

static uint64
columns_of_id(Watched *w, MdbDict *dict, uint32 id)
{
	if (unlikely(id >= w->nids))
	{
		uint32 room = Max(1024, w->nids);

		while (room <= id)
			room = room > PG_UINT32_MAX / 2 ? PG_UINT32_MAX : room * 2;
		w->by_id = w->by_id ? repalloc_huge(w->by_id, room)
							: MemoryContextAllocExtended(w->memo_mcxt, room, MCXT_ALLOC_HUGE);
		memset(w->by_id + w->nids, 0, room - w->nids);
		w->nids = room;
	}
	if (w->by_id[id] == 0)
	{
		uint32 len;
		const char *key = mdb_dict_key(dict, id, NULL, &len);

		w->by_id[id] = mask_of_key(w, key, len);
	}
	return w->masks[w->by_id[id] - 1];
}

static inline bool
is_in(uint64 mask, AttrNumber column)
{
	return (mask >> (column % 64)) & 1;
}

/* ---- what is gathered ---- */

static Gathered *
find_gathered(Gathered *from, Oid relid, int64 storage_id, SubTransactionId subid)
{
	while (from && (from->relid != relid || from->storage_id != storage_id || from->subid != subid))
		from = from->next;
	return from;
}

static void
make_room(Gathered *g, uint32 n)
{
	if (g->n + n <= g->room)
		return;
	g->room = Max(Max(64, g->room * 2), g->n + n);
	g->samples = g->samples ? repalloc_huge(g->samples, sizeof(MdbTapped) * g->room)
							: MemoryContextAllocHuge(g->mcxt, sizeof(MdbTapped) * g->room);
}

static uint64 number_of_key(Gathered *g, const char *key, uint32 len, XXH128_hash_t hash);

/* All of one to another, which has it as a whole or not at all. */
static void
take_over(Gathered *to, const Gathered *from)
{
	uint64 *numbers = palloc(sizeof(uint64) * Max(from->nkeys, 1));

	make_room(to, from->n);
	for (uint32 i = 0; i < from->nkeys; i++)
		numbers[i] = number_of_key(to, from->keys[i].bytes, from->keys[i].len,
								   XXH3_128bits(from->keys[i].bytes, from->keys[i].len));
	for (uint32 i = 0; i < from->n; i++)
	{
		MdbTapped *s = &to->samples[to->n + i];

		*s = from->samples[i];
		if (s->series & MDB_SERIES_BY_KEY)
			s->series = numbers[(uint32) s->series];
	}
	to->n += from->n;
	pfree(numbers);
}

/* What inner subtransactions have left to an outer one is put together with what that has. */
static void
put_together(void)
{
	for (Gathered *g = gathered; g; g = g->next)
	{
		Gathered **p = &g->next;
		Gathered *other;

		while ((other = *p) != NULL)
		{
			if (other->relid != g->relid || other->storage_id != g->storage_id || other->subid != g->subid)
			{
				p = &other->next;
				continue;
			}
			take_over(g, other);
			*p = other->next;
			MemoryContextDelete(other->mcxt);
		}
	}
}

static Gathered *
gathered_for(Oid relid, int64 storage_id)
{
	SubTransactionId subid = GetCurrentSubTransactionId();
	MemoryContext mcxt;
	Gathered *g = find_gathered(gathered, relid, storage_id, subid);

	if (g)
		return g;
	put_together();
	mcxt =
		AllocSetContextCreate(TopTransactionContext, "metricsdb samples for rules", ALLOCSET_DEFAULT_SIZES);
	g = MemoryContextAllocZero(mcxt, sizeof(Gathered));
	g->relid = relid;
	g->storage_id = storage_id;
	g->subid = subid;
	g->mcxt = mcxt;
	g->next = gathered;
	gathered = g;
	return g;
}

static uint64
number_of_key(Gathered *g, const char *key, uint32 len, XXH128_hash_t hash)
{
	KeyNumber *number;
	bool found;

	if (g->numbers == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(XXH128_hash_t), .entrysize = sizeof(KeyNumber), .hcxt = g->mcxt};

		g->numbers =
			hash_create("metricsdb keys for rules", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	number = hash_search(g->numbers, &hash, HASH_ENTER, &found);
	if (!found)
	{
		char *copy = MemoryContextAlloc(g->mcxt, Max(len, 1));

		number->number = g->nkeys;
		memcpy(copy, key, len);
		if (g->nkeys == g->keys_room)
		{
			g->keys_room = Max(64, g->keys_room * 2);
			g->keys = g->keys ? repalloc_huge(g->keys, sizeof(MdbTappedKey) * g->keys_room)
							  : MemoryContextAlloc(g->mcxt, sizeof(MdbTappedKey) * g->keys_room);
		}
		g->keys[g->nkeys++] = (MdbTappedKey){copy, len};
	}
	return MDB_SERIES_BY_KEY | number->number;
}

/*
 * mdb_tapped_cmp - the order in which samples are written: by quarter of an hour, column, series, time.
 */
int
mdb_tapped_cmp(const void *a, const void *b)
{
	const MdbTapped *x = a;
	const MdbTapped *y = b;
	int64 cx = mdb_covers_of(x->time);
	int64 cy = mdb_covers_of(y->time);

	if (cx != cy)
		return cx < cy ? -1 : 1;
	if (x->column != y->column)
		return x->column < y->column ? -1 : 1;
	if (x->series != y->series)
		return x->series < y->series ? -1 : 1;
	return x->time < y->time ? -1 : x->time > y->time;
}

static void
insert_row(Relation rel, const Gathered *g, const MdbTapped *samples, uint32 n)
{
	Datum v[Natts_batch];
	bool nulls[Natts_batch] = {false};
	bytea *bytes = mdb_tapped_encode(samples, n, g->keys);

	v[Anum_batch_batch_id - 1] =
		Int64GetDatum(nextval_internal(mdb_catalog_relid("alert_batch_id_seq", false), false));
	v[Anum_batch_source - 1] = ObjectIdGetDatum(g->relid);
	v[Anum_batch_storage_id - 1] = Int64GetDatum(g->storage_id);
	v[Anum_batch_xid - 1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	v[Anum_batch_covers - 1] = TimestampTzGetDatum(mdb_covers_of(samples[0].time));
	v[Anum_batch_states - 1] = PointerGetDatum(bytes);
	v[Anum_batch_written_at - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	mdb_catalog_insert(rel, v, nulls, GetCurrentCommandId(true), 0);
	pfree(bytes);
}

/* Write down what was gathered, and forget it. */
static void
write_down(Gathered *g)
{
	MemoryContext tmp;
	MemoryContext old;
	Relation rel;

	if (g->n == 0)
		return;
	tmp = AllocSetContextCreate(CurrentMemoryContext, "metricsdb samples for rules", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(tmp);
	rel = mdb_catalog_open("alert_batch", RowExclusiveLock);
	qsort(g->samples, g->n, sizeof(MdbTapped), mdb_tapped_cmp);
	for (uint32 first = 0; first < g->n;)
	{
		int64 covers = mdb_covers_of(g->samples[first].time);
		uint32 n = 1;

		CHECK_FOR_INTERRUPTS();
		while (first + n < g->n && mdb_covers_of(g->samples[first + n].time) == covers)
			n++;
		insert_row(rel, g, g->samples + first, n);
		first += n;
	}
	table_close(rel, NoLock);
	g->n = 0;
	g->nkeys = 0;
	if (g->numbers)
		hash_destroy(g->numbers);
	g->numbers = NULL;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(tmp);
}

static void
add_sample(Gathered *g, uint64 series, AttrNumber column, int64 time, double value)
{
	make_room(g, 1);
	g->samples[g->n++] = (MdbTapped){.series = series, .time = time, .value = value, .column = column};
}

/* Samples from here on may matter to somebody. */
static int64
oldest_wanted(const MdbWatch *w)
{
	return TIMESTAMP_NOT_FINITE(w->ticked) ? PG_INT64_MIN : w->ticked - MDB_TICKS_APART - w->longest;
}

static bool
vector_value(const MdbBatch *batch, const MdbTable *table, AttrNumber attno, uint32 row, double *value)
{
	const MdbVector *vec = &batch->columns[batch->column_of[attno - 1]];

	if (vec->nulls && vec->nulls[row])
		return false;
	if (vec->phys == MDB_F64)
		*value = ((const double *) vec->values)[row];
	else if (vec->phys == MDB_F32)
		*value = ((const float *) vec->values)[row];
	else if (vec->phys == MDB_I64)
		*value = (double) ((const int64 *) vec->values)[row];
	else
		*value = mdb_number_of(InvalidOid, vec->phys, vec->attlen,
							   mdb_vector_datum(vec, &table->columns[attno - 1], row));
	return !mdb_is_stale(*value);
}

static void
tap_batch(Relation rel, const MdbTable *table, MdbDict *dict, const MdbBatch *batch)
{
	Watched *w = watched_of(rel);
	const MdbWatch *watch = w->watch;
	int64 oldest = oldest_wanted(watch);
	Gathered *g = gathered_for(RelationGetRelid(rel), table->storage_id);
	uint64 the_series = 0;

	/* A table without series columns has one series, of which the dictionary knows nothing. */
	if (table->nseries_columns == 0)
		the_series = number_of_key(g, "", 0, XXH3_128bits("", 0));
	for (uint32 row = 0; row < batch->nrows; row++)
	{
		uint32 id = batch->series[row];
		int64 time = batch->times[row];
		uint64 mask;

		if ((batch->time_nulls && batch->time_nulls[row]) || TIMESTAMP_NOT_FINITE(time) || time <= oldest)
			continue;
		mask = table->nseries_columns == 0 ? columns_of_key(w, "", 0, XXH3_128bits("", 0))
										   : columns_of_id(w, dict, id);
		for (int i = 0; i < watch->nvalues && mask != 0; i++)
		{
			AttrNumber column = watch->values[i];
			double value = 0;

			if (is_in(mask, column) && (column == 0 || vector_value(batch, table, column, row, &value)))
				add_sample(g, table->nseries_columns == 0 ? the_series : id, column, time, value);
		}
		if (g->n >= ROW_SAMPLES)
		{
			write_down(g);
			if (table->nseries_columns == 0)
				the_series = number_of_key(g, "", 0, XXH3_128bits("", 0));
		}
	}
}

static void
tap_row(Relation rel, const MdbTable *table, const Datum *values, const bool *isnull)
{
	static MemoryContext mcxt = NULL;
	Watched *w = watched_of(rel);
	const MdbWatch *watch = w->watch;
	AttrNumber time_attno = table->time_attno;
	int64 time;
	StringInfoData key;
	XXH128_hash_t hash;
	MemoryContext old;
	uint64 mask;

	if (isnull[time_attno - 1])
		return;
	time = DatumGetInt64(values[time_attno - 1]);
	if (TIMESTAMP_NOT_FINITE(time) || time <= oldest_wanted(watch))
		return;
	if (mcxt == NULL)
		mcxt = AllocSetContextCreate(CacheMemoryContext, "metricsdb row for rules", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(mcxt);
	old = MemoryContextSwitchTo(mcxt);
	initStringInfo(&key);
	mdb_key_build(table, values, isnull, &key);
	hash = XXH3_128bits(key.data, key.len);
	mask = columns_of_key(w, key.data, key.len, hash);
	if (mask != 0)
	{
		Gathered *g = gathered_for(RelationGetRelid(rel), table->storage_id);
		uint64 series = number_of_key(g, key.data, key.len, hash);

		for (int i = 0; i < watch->nvalues; i++)
		{
			AttrNumber column = watch->values[i];
			const MdbColumn *c = column > 0 ? &table->columns[column - 1] : NULL;
			double value = 0;

			if (!is_in(mask, column) || (c && isnull[column - 1]))
				continue;
			if (c)
				value = mdb_number_of(InvalidOid, c->phys, c->attlen, values[column - 1]);
			if (c == NULL || !mdb_is_stale(value))
				add_sample(g, series, column, time, value);
		}
		if (g->n >= ROW_SAMPLES)
			write_down(g);
	}
	MemoryContextSwitchTo(old);
}

/* ---- transactions ---- */

static void
before_commit(void)
{
	/* All subtransactions have ended. */
	put_together();
	for (Gathered *g = gathered; g; g = g->next)
		write_down(g);
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT)
		gathered = NULL;
}

static void
subxact_callback(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	for (Gathered **p = &gathered; *p;)
	{
		Gathered *g = *p;

		if (g->subid == subid && event == SUBXACT_EVENT_ABORT_SUB)
		{
			*p = g->next;
			MemoryContextDelete(g->mcxt);
			continue;
		}
		if (g->subid == subid)
			g->subid = parent;
		p = &g->next;
	}
}

static const MdbTap tap = {
	.wanted = is_wanted, .batch = tap_batch, .row = tap_row, .before_commit = before_commit};

/*
 * mdb_gather_init - at load: follow writers and transactions.
 */
void
mdb_gather_init(void)
{
	mdb_tap = &tap;
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
	mdb_on_relation_change(relcache_callback);
}
