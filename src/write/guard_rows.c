/*
 * guard_rows.c
 *	  The cardinality guard for rows that SQL writes.
 *
 * Where a limit applies (mdb_guard_for_sql), the series of each row is looked up before the row is kept
 * anywhere.  Those without a row in the dictionary are new: they are claimed, and registered at once, also
 * if the row itself is bound for the delta, so that they are known from then on.  A claim that would
 * exceed a limit is an error of the whole statement, or the series lose a tag.
 *
 * Before anything is refused, the dictionary is brought up to what others have committed, and the delta is
 * searched, whose rows may have series that are not in the dictionary yet: known series never suffer.
 *
 * Called by src/am for each row, or some, of INSERT, COPY and UPDATE; not for rewrites and compaction.
 */
#include "postgres.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "series/guard.h"
#include "write/write.h"

/* So often a claim is tried while others take what we hoped for. */
#define CLAIM_TRIES 10

/* Tables whose guards are remembered. */
#define GUARDS_MAX 64

/* A row whose series is new. */
typedef struct NewRow
{
	TupleTableSlot *slot;
	char *key;
	uint32 len;
} NewRow;

typedef struct NewRows
{
	Relation rel;
	MdbTable *table;
	MdbDict *dict;
	MdbGuard *guard;
	NewRow *rows;
	int n;
	HTAB *seen;  /* hashes of keys that were counted in this try */
	bool looked; /* the dictionary and the delta are as of now */
	StringInfo scratch;
} NewRows;

typedef struct GuardEntry
{
	int64 storage_id; /* hash key */
	MdbGuard *guard;
} GuardEntry;

static HTAB *guards = NULL;
static MemoryContext guards_mcxt = NULL;

/* This process's guard of a table, opened. */
static MdbGuard *
guard_of(Relation rel, const MdbTable *table)
{
	GuardEntry *entry;
	bool found;

	if (guards && hash_get_num_entries(guards) >= GUARDS_MAX)
	{
		MemoryContextDelete(guards_mcxt);
		guards = NULL;
	}
	if (guards == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(int64), .entrysize = sizeof(GuardEntry)};

		guards_mcxt =
			AllocSetContextCreate(TopMemoryContext, "metricsdb guarded tables", ALLOCSET_DEFAULT_SIZES);
		ctl.hcxt = guards_mcxt;
		guards = hash_create("metricsdb guards", GUARDS_MAX, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(guards, &table->storage_id, HASH_ENTER, &found);
	if (!found)
	{
		MemoryContext old = MemoryContextSwitchTo(guards_mcxt);

		entry->guard = NULL;
		entry->guard = mdb_guard_create(true);
		MemoryContextSwitchTo(old);
	}
	mdb_guard_open(entry->guard, rel, table);
	return entry->guard;
}

/* The row's key, in CurrentMemoryContext. */
static void
build_key(NewRows *n, NewRow *row)
{
	resetStringInfo(n->scratch);
	mdb_key_build(n->table, row->slot->tts_values, row->slot->tts_isnull, n->scratch);
	row->len = n->scratch->len;
	row->key = palloc(Max(row->len, 1));
	memcpy(row->key, n->scratch->data, row->len);
}

static MdbCardBytes
metric_of(const NewRows *n, const NewRow *row)
{
	AttrNumber attno = n->guard->name;
	MdbCardBytes name = {"", 0};

	if (attno != 0 && !row->slot->tts_isnull[attno - 1])
	{
		text *t = DatumGetTextPP(row->slot->tts_values[attno - 1]);

		name.data = VARDATA_ANY(t);
		name.len = VARSIZE_ANY_EXHDR(t);
	}
	return name;
}

static MdbCardBytes
value_bytes(const JsonbValue *value)
{
	if (value->type == jbvString)
		return (MdbCardBytes){value->val.string.val, value->val.string.len};
	if (value->type == jbvNumeric)
		return (MdbCardBytes){value->val.numeric, VARSIZE_ANY(value->val.numeric)};
	if (value->type == jbvBool)
		return (MdbCardBytes){&value->val.boolean, sizeof(bool)};
	if (value->type == jbvBinary)
		return (MdbCardBytes){value->val.binary.data, value->val.binary.len};
	return (MdbCardBytes){"", 0};
}

/* The tags of a row: members of its jsonb object, or its series columns.  Returns how many. */
static int
tags_of(const NewRows *n, const NewRow *row, MdbCardTag *tags, int room)
{
	AttrNumber attno = n->guard->tags;
	int count = 0;

	if (attno != 0)
	{
		JsonbIterator *it;
		JsonbIteratorToken token;
		JsonbValue value;
		Jsonb *object;

		if (row->slot->tts_isnull[attno - 1])
			return 0;
		object = DatumGetJsonbP(row->slot->tts_values[attno - 1]);
		if (!JB_ROOT_IS_OBJECT(object))
			return 0;
		it = JsonbIteratorInit(&object->root);
		while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE && count < room)
		{
			if (token == WJB_KEY)
				tags[count].key = (MdbCardBytes){value.val.string.val, value.val.string.len};
			else if (token == WJB_VALUE)
				tags[count++].value = value_bytes(&value);
		}
		return count;
	}
	for (int i = 0; i < n->table->nseries_columns && count < room; i++)
	{
		AttrNumber column = n->table->series_attnos[i];
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(n->rel), column - 1);
		Datum *value = &row->slot->tts_values[column - 1];

		if (att->attisdropped || row->slot->tts_isnull[column - 1])
			continue;
		tags[count].key = (MdbCardBytes){NameStr(att->attname), strlen(NameStr(att->attname))};
		if (att->attbyval)
			tags[count].value = (MdbCardBytes){value, sizeof(Datum)};
		else if (att->attlen == -1)
		{
			struct varlena *v = PG_DETOAST_DATUM_PACKED(*value);

			tags[count].value = (MdbCardBytes){VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v)};
		}
		else
			tags[count].value =
				(MdbCardBytes){DatumGetPointer(*value),
							   att->attlen == -2 ? strlen(DatumGetCString(*value)) : (size_t) att->attlen};
		count++;
	}
	return count;
}

/* Take the tag out of the row.  False if it does not have it. */
static bool
drop_tag(NewRows *n, NewRow *row, const MdbCardRule *rule)
{
	AttrNumber attno = n->guard->tags;
	const char *name = rule->drop_tag.data;

	if (attno != 0)
	{
		Jsonb *object;
		JsonbValue key = {.type = jbvString};

		if (row->slot->tts_isnull[attno - 1])
			return false;
		object = DatumGetJsonbP(row->slot->tts_values[attno - 1]);
		key.val.string.val = (char *) name;
		key.val.string.len = rule->drop_tag.len;
		if (!JB_ROOT_IS_OBJECT(object) ||
			findJsonbValueFromContainer(&object->root, JB_FOBJECT, &key) == NULL)
			return false;
		row->slot->tts_values[attno - 1] =
			DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(object), CStringGetTextDatum(name));
		return true;
	}
	for (int i = 0; i < n->table->nseries_columns; i++)
	{
		AttrNumber column = n->table->series_attnos[i];
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(n->rel), column - 1);

		if (att->attisdropped || strcmp(NameStr(att->attname), name) != 0)
			continue;
		if (row->slot->tts_isnull[column - 1] || att->attnotnull)
			return false;
		row->slot->tts_isnull[column - 1] = true;
		row->slot->tts_values[column - 1] = (Datum) 0;
		return true;
	}
	return false;
}

pg_noreturn static void
refuse(NewRows *n, MdbCardMetric *metric)
{
	const char *table = RelationGetRelationName(n->rel);
	MdbCardBytes tag;
	int64 values;
	char *detail;

	mdb_guard_estimate(n->guard, metric);
	values = mdb_card_top(metric, &tag);
	detail = psprintf("%lld new series an hour are allowed; there were %lld since %s.",
					  (long long) metric->rule.limit, (long long) metric->used,
					  timestamptz_to_str(n->guard->hour));
	if (tag.data)
		detail = psprintf("%s Tag \"%.*s\" grows most: about %lld different values.", detail, (int) tag.len,
						  (const char *) tag.data, (long long) values);
	ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					n->guard->name != 0
						? errmsg("metric \"%.*s\" of table \"%s\" has reached its limit of new series",
								 (int) metric->name_len, metric->name, table)
						: errmsg("table \"%s\" has reached its limit of new series", table),
					errdetail_internal("%s", detail),
					errhint("Series that are known can be written as before. Do without the tag, or have "
							"metricsdb.set_cardinality_limit() allow more, or drop the tag.")));
}

/* ---- what is known after all ---- */

/* New series that rows of the delta have: register these, without counting. */
static void
search_delta(NewRows *n)
{
	Snapshot snapshot = mdb_latest_snapshot();
	TupleTableSlot *rowslot = MakeSingleTupleTableSlot(RelationGetDescr(n->rel), &TTSOpsMinimalTuple);
	MemoryContext tmp =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb guarded delta", ALLOCSET_DEFAULT_SIZES);
	HASHCTL ctl = {.keysize = sizeof(uint64), .entrysize = sizeof(uint64), .hcxt = tmp};
	MdbSegmentEntry *known = palloc(sizeof(MdbSegmentEntry) * n->n);
	int nknown = 0;
	HTAB *wanted = hash_create("metricsdb new series", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	MemoryContext row_mcxt = AllocSetContextCreate(tmp, "metricsdb delta row", ALLOCSET_DEFAULT_SIZES);
	MdbDeltaInfo *deltas;
	int count;

	for (int i = 0; i < n->n; i++)
	{
		uint64 hash = XXH3_64bits(n->rows[i].key, n->rows[i].len);

		hash_search(wanted, &hash, HASH_ENTER, NULL);
	}
	mdb_delta_live(n->table, snapshot, &deltas, &count);
	for (int i = 0; i < count; i++)
	{
		Relation heap = table_open(deltas[i].relid, AccessShareLock);
		TableScanDesc scan = table_beginscan(heap, snapshot, 0, NULL);
		TupleTableSlot *heapslot = table_slot_create(heap, NULL);

		while (table_scan_getnextslot(scan, ForwardScanDirection, heapslot))
		{
			MemoryContext old = MemoryContextSwitchTo(row_mcxt);
			MinimalTuple tuple = mdb_delta_tuple(heapslot);
			uint64 hash;

			CHECK_FOR_INTERRUPTS();
			if (tuple != NULL)
			{
				ExecStoreMinimalTuple(tuple, rowslot, false);
				slot_getallattrs(rowslot);
				resetStringInfo(n->scratch);
				mdb_key_build(n->table, rowslot->tts_values, rowslot->tts_isnull, n->scratch);
				hash = XXH3_64bits(n->scratch->data, n->scratch->len);
				if (hash_search(wanted, &hash, HASH_REMOVE, NULL))
				{
					MdbSegmentEntry *entry = &known[nknown++];

					entry->len = n->scratch->len;
					entry->key =
						memcpy(MemoryContextAlloc(tmp, entry->len + 1), n->scratch->data, entry->len);
				}
				ExecClearTuple(rowslot);
			}
			MemoryContextSwitchTo(old);
			MemoryContextReset(row_mcxt);
		}
		ExecDropSingleTupleTableSlot(heapslot);
		table_endscan(scan);
		table_close(heap, NoLock);
	}
	mdb_dict_register(n->dict, n->rel, known, nknown, GetCurrentCommandId(true));
	ExecDropSingleTupleTableSlot(rowslot);
	UnregisterSnapshot(snapshot);
	MemoryContextDelete(tmp);
}

/* Before anything is refused: who is known to others is known. */
static void
look_again(NewRows *n)
{
	int left = 0;

	mdb_dict_refresh(n->dict, NULL, NULL);
	for (int pass = 0; pass < 2; pass++)
	{
		left = 0;
		for (int i = 0; i < n->n; i++)
			if (!mdb_dict_registered(n->dict, n->rows[i].key, n->rows[i].len))
				n->rows[left++] = n->rows[i];
		n->n = left;
		if (left == 0 || pass == 1)
			break;
		search_delta(n);
	}
	for (int i = 0; i < n->n; i++)
		mdb_guard_reread(n->guard, mdb_guard_metric(n->guard, metric_of(n, &n->rows[i])));
	n->looked = true;
}

/* ---- claims ---- */

/* Counted already in this try? */
static bool
seen(NewRows *n, const NewRow *row)
{
	uint64 hash = XXH3_64bits(row->key, row->len);
	bool found;

	hash_search(n->seen, &hash, HASH_ENTER, &found);
	return found;
}

static void
begin_try(NewRows *n)
{
	HASHCTL ctl = {.keysize = sizeof(uint64), .entrysize = sizeof(uint64), .hcxt = CurrentMemoryContext};

	if (n->seen)
		hash_destroy(n->seen);
	n->seen = hash_create("metricsdb new series", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	mdb_guard_committed(n->guard);
}

/*
 * Count the new series by metric, take tags out where they are too many.  False if it must begin again,
 * because more of them may be known; else an error if there are too many.
 */
static bool
count_new(NewRows *n)
{
	begin_try(n);
	for (int i = 0; i < n->n; i++)
	{
		NewRow *row = &n->rows[i];
		MdbCardMetric *metric = mdb_guard_metric(n->guard, metric_of(n, row));
		const MdbCardRule *rule = &metric->rule;
		MdbCardTag tags[MDB_CARD_TAGS];

		/* What is not limited is not counted. */
		if (rule->limit < 0 || seen(n, row))
			continue;
		mdb_card_look(n->guard->card, metric, tags_of(n, row, tags, MDB_CARD_TAGS), tags);
		if (metric->used + metric->fresh < rule->limit)
		{
			metric->fresh++;
			continue;
		}
		if (!n->looked)
		{
			look_again(n);
			return false;
		}
		if (rule->action != MDB_CARD_DROP_TAG || !drop_tag(n, row, rule))
			refuse(n, metric);
		build_key(n, row);
		if (seen(n, row) || mdb_dict_registered(n->dict, row->key, row->len))
			continue;
		if (metric->used + metric->fresh >= 2 * rule->limit)
			refuse(n, metric);
		metric->fresh++;
	}
	return true;
}

static void
register_new(NewRows *n)
{
	MdbSegmentEntry *keys = palloc(sizeof(MdbSegmentEntry) * Max(n->n, 1));
	int count = 0;

	mdb_guard_committed(n->guard);
	for (int i = 0; i < n->n; i++)
		if (mdb_guard_metric(n->guard, metric_of(n, &n->rows[i]))->rule.limit >= 0)
			keys[count++] = (MdbSegmentEntry){.key = n->rows[i].key, .len = n->rows[i].len};
	mdb_dict_register(n->dict, n->rel, keys, count, GetCurrentCommandId(true));
}

/*
 * mdb_guard_rows - rows that SQL is about to write to the table: make their series known, or refuse them.
 *
 * Rows may lose a tag: their slots say what is to be written.  What is put there lives until the next call.
 * Raises ERRCODE_CONFIGURATION_LIMIT_EXCEEDED.
 */
void
mdb_guard_rows(Relation rel, TupleTableSlot **slots, int nslots)
{
	static MemoryContext mcxt = NULL;
	MemoryContext old;
	NewRows n = {.rel = rel};

	if (!mdb_guard_for_sql(rel))
		return;
	old = MemoryContextSwitchTo(mdb_row_context(&mcxt));
	n.table = mdb_table(rel);
	if (n.table->nseries_columns == 0)
	{
		MemoryContextSwitchTo(old);
		return;
	}
	n.dict = mdb_dict_open(n.table);
	n.scratch = makeStringInfo();
	n.rows = palloc(nslots * sizeof(NewRow));
	for (int i = 0; i < nslots; i++)
	{
		NewRow *row = &n.rows[n.n];

		slot_getallattrs(slots[i]);
		row->slot = slots[i];
		resetStringInfo(n.scratch);
		mdb_key_build(n.table, slots[i]->tts_values, slots[i]->tts_isnull, n.scratch);
		if (mdb_dict_registered(n.dict, n.scratch->data, n.scratch->len))
			continue;
		build_key(&n, row);
		n.n++;
	}
	if (n.n > 0)
	{
		n.guard = guard_of(rel, n.table);
		for (int i = 0;; i++)
		{
			if (!count_new(&n))
				continue;
			if (mdb_guard_claim(n.guard))
				break;
			/* Others took it meanwhile; their rows may be what we thought new. */
			n.looked = false;
			if (i >= CLAIM_TRIES)
				ereport(
					ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not register new series of table \"%s\"", RelationGetRelationName(rel)),
					 errdetail("Others register so many at this moment that their limit is nearly reached."),
					 errhint("Try again.")));
		}
		register_new(&n);
	}
	MemoryContextSwitchTo(old);
}
