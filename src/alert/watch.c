/*
 * watch.c
 *	  Which series of a table are watched by which of its threshold and dead-man rules.
 *
 * A rule that demands a label to have a value is looked at only for series where it has: so what a series costs
 * follows the rules that may be about it, not all.  Of several such labels that counts which the fewest rules have.
 *
 * Who writes samples does so for rules only while somebody evaluates these: until the time in metricsdb.alert_watch,
 * which the evaluation puts off as it goes.
 */
#include "postgres.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

#include "alert/watch.h"
#include "series/guard.h"

/* Columns of metricsdb.alert_rule that matter here. */
enum
{
	Anum_rule_id = 1,
	Anum_rule_name,
	Anum_rule_owner,
	Anum_rule_kind,
	Anum_rule_source,
	Anum_rule_definition
};

/* Of metricsdb.alert_watch. */
enum
{
	Anum_watch_source = 1,
	Anum_watch_until,
	Anum_watch_ticked,
	Natts_watch = Anum_watch_ticked
};

typedef struct Term
{
	uint64 hash; /* of label and value; hash key */
	int first;   /* rule */
	int count;
} Term;

static const MdbBytes name_label = {MDB_MATCH_NAME, sizeof(MDB_MATCH_NAME) - 1};

static bool
same_bytes(MdbBytes a, MdbBytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static uint64
term_hash(MdbBytes label, MdbBytes value)
{
	return XXH3_64bits_withSeed(value.p, value.len, XXH3_64bits(label.p, label.len));
}

/* ---- labels ---- */

static void
add_label(MdbLabels *l, MdbBytes name, MdbBytes value)
{
	if (value.len == 0)
		return;
	if (l->n == l->room)
	{
		l->room = Max(16, l->room * 2);
		l->names =
			l->names ? repalloc(l->names, sizeof(MdbBytes) * l->room) : palloc(sizeof(MdbBytes) * l->room);
		l->values =
			l->values ? repalloc(l->values, sizeof(MdbBytes) * l->room) : palloc(sizeof(MdbBytes) * l->room);
	}
	l->names[l->n] = name;
	l->values[l->n++] = value;
}

static MdbBytes
bytes_of(const char *text)
{
	return (MdbBytes){text, strlen(text)};
}

static void
add_tags(MdbLabels *l, Jsonb *tags)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue v;
	MdbBytes name = {"", 0};

	if (!JB_ROOT_IS_OBJECT(tags))
		return;
	it = JsonbIteratorInit(&tags->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = (MdbBytes){v.val.string.val, v.val.string.len};
		else if (token == WJB_VALUE && v.type == jbvString)
			add_label(l, name, (MdbBytes){v.val.string.val, v.val.string.len});
		else if (token == WJB_VALUE && v.type != jbvNull)
			add_label(l, name, bytes_of(mdb_json_scalar(&v)));
	}
}

/*
 * mdb_watch_labels - see watch.h.
 */
void
mdb_watch_labels(const MdbWatch *w, const char *key, uint32 len, MdbLabels *labels)
{
	Datum *values = palloc(sizeof(Datum) * w->table->natts);
	bool *isnull = palloc(sizeof(bool) * w->table->natts);

	memset(isnull, true, sizeof(bool) * w->table->natts);
	mdb_key_decode(w->table, key, len, values, isnull);
	labels->n = 0;
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < w->ncolumns; i++)
		{
			const MdbWatchColumn *c = &w->columns[i];
			Datum v = values[c->attno - 1];

			/* A column wins over a pair of the same name. */
			if (isnull[c->attno - 1] || c->jsonb != (pass == 1))
				continue;
			if (c->jsonb)
				add_tags(labels, DatumGetJsonbP(v));
			else if (c->text)
				add_label(labels, c->name,
						  (MdbBytes){VARDATA_ANY(DatumGetPointer(v)), VARSIZE_ANY_EXHDR(DatumGetPointer(v))});
			else if (c->boolean)
				add_label(labels, c->name, bytes_of(DatumGetBool(v) ? "true" : "false"));
			else
				add_label(labels, c->name, bytes_of(OidOutputFunctionCall(c->output, v)));
		}
	pfree(values);
	pfree(isnull);
}

/*
 * mdb_watch_label - see watch.h.
 */
MdbBytes
mdb_watch_label(const MdbLabels *labels, MdbBytes name)
{
	for (int i = 0; i < labels->n; i++)
		if (same_bytes(labels->names[i], name))
			return labels->values[i];
	return (MdbBytes){"", 0};
}

/* ---- matching ---- */

/*
 * mdb_watch_holds - see watch.h.
 */
bool
mdb_watch_holds(const MdbWatch *w, const MdbWatchRule *rule, const MdbLabels *labels)
{
	const MdbThreshold *t = rule->t;

	if (w->metric != 0 && t->metric && !same_bytes(mdb_watch_label(labels, name_label), bytes_of(t->metric)))
		return false;
	for (int i = 0; t->selector && i < t->selector->n; i++)
	{
		const MdbMatcher *m = &t->selector->v[i];
		MdbBytes value = mdb_watch_label(labels, m->label);

		if (!mdb_matcher_holds(m, value.p, value.len))
			return false;
	}
	return true;
}

static void
match_list(const MdbWatch *w, int first, const MdbLabels *labels, MdbWatchFound found, void *arg)
{
	for (int i = first; i >= 0; i = w->rules[i].next)
		if (mdb_watch_holds(w, &w->rules[i], labels))
			found(arg, &w->rules[i]);
}

/*
 * mdb_watch_match - see watch.h.
 */
void
mdb_watch_match(const MdbWatch *w, const MdbLabels *labels, MdbWatchFound found, void *arg)
{
	match_list(w, w->others, labels, found, arg);
	for (int i = 0; i < labels->n; i++)
	{
		uint64 hash = term_hash(labels->names[i], labels->values[i]);
		const Term *term = hash_search(w->terms, &hash, HASH_FIND, NULL);

		if (term)
			match_list(w, term->first, labels, found, arg);
	}
}

/* ---- what is watched ---- */

/* The labels that a rule demands, in turn: true as long as there are some. */
static bool
next_term(const MdbWatch *w, const MdbWatchRule *rule, int *at, uint64 *hash)
{
	const MdbSelector *s = rule->t->selector;

	if (*at == 0)
	{
		(*at)++;
		if (w->metric != 0 && rule->t->metric)
		{
			*hash = term_hash(name_label, bytes_of(rule->t->metric));
			return true;
		}
	}
	while (s && *at <= s->n)
	{
		const MdbMatcher *m = &s->v[(*at)++ - 1];

		if (m->op == MDB_MATCH_EQUAL && m->value.len > 0)
		{
			*hash = term_hash(m->label, m->value);
			return true;
		}
	}
	return false;
}

static void
index_rules(MdbWatch *w)
{
	HASHCTL ctl = {.keysize = sizeof(uint64), .entrysize = sizeof(Term), .hcxt = w->mcxt};

	w->terms = hash_create("metricsdb watched terms", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	w->others = -1;
	for (int pass = 0; pass < 2; pass++)
		for (int i = 0; i < w->nrules; i++)
		{
			MdbWatchRule *rule = &w->rules[i];
			Term *best = NULL;
			uint64 hash;
			int at = 0;

			if (rule->t == NULL)
				continue;
			while (next_term(w, rule, &at, &hash))
			{
				bool found;
				Term *term = hash_search(w->terms, &hash, HASH_ENTER, &found);

				if (!found)
				{
					term->first = -1;
					term->count = 0;
				}
				if (pass == 0)
					term->count++;
				else if (best == NULL || term->count < best->count)
					best = term;
			}
			if (pass == 0)
				continue;
			rule->next = best ? best->first : w->others;
			*(best ? &best->first : &w->others) = i;
		}
}

static void
add_values_column(MdbWatch *w, AttrNumber column)
{
	int i = 0;

	while (i < w->nvalues && w->values[i] < column)
		i++;
	if (i < w->nvalues && w->values[i] == column)
		return;
	memmove(&w->values[i + 1], &w->values[i], sizeof(AttrNumber) * (w->nvalues - i));
	w->values[i] = column;
	w->nvalues++;
}

/* A rule's definition; what is wrong with it is kept. */
static void
read_rule(MdbWatch *w, Relation rel, MdbWatchRule *rule, MdbRuleKind kind, const Jsonb *definition)
{
	MemoryContext mcxt = CurrentMemoryContext;

	PG_TRY();
	{
		MdbThreshold *t = mdb_threshold_read(kind, definition);

		rule->column = mdb_threshold_column(t, rel, w->table);
		rule->t = t;
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(mcxt);
		error = CopyErrorData();
		/* Reading a definition holds nothing, so there is nothing to be undone; what is not of its kind goes on. */
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_OUT_OF_MEMORY ||
			ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION ||
			ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INTERNAL_ERROR)
			PG_RE_THROW();
		FlushErrorState();
		rule->error = error->message;
	}
	PG_END_TRY();
	if (rule->t == NULL)
		return;
	add_values_column(w, rule->column);
	w->longest = Max(w->longest, rule->t->deadman ? rule->t->forget_after : rule->t->window);
}

static void
read_rules(MdbWatch *w, Relation rel)
{
	Relation rules = mdb_catalog_open("alert_rule", AccessShareLock);
	TupleDesc desc = RelationGetDescr(rules);
	AttrNumber enabled = get_attnum(RelationGetRelid(rules), "enabled");
	AttrNumber version = get_attnum(RelationGetRelid(rules), "version");
	Snapshot snapshot = mdb_latest_snapshot();
	Relation index = index_open(mdb_catalog_relid("alert_rule_source", false), AccessShareLock);
	ScanKeyData key;
	MdbCatalogScan scan;
	HeapTuple tuple;
	int room = 0;

	ScanKeyInit(&key, Anum_rule_source, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(w->relid));
	mdb_catalog_scan_begin_at(&scan, rules, index, snapshot, false, 1, &key);
	while (HeapTupleIsValid(tuple = mdb_catalog_scan_back(&scan)))
	{
		MdbWatchRule *rule;
		bool isnull;
		char *kind = TextDatumGetCString(heap_getattr(tuple, Anum_rule_kind, desc, &isnull));
		bool deadman = strcmp(kind, "deadman") == 0;

		CHECK_FOR_INTERRUPTS();
		if ((!deadman && strcmp(kind, "threshold") != 0) ||
			!DatumGetBool(heap_getattr(tuple, enabled, desc, &isnull)))
			continue;
		if (w->nrules == room)
		{
			room = Max(16, room * 2);
			w->rules = w->rules ? repalloc_huge(w->rules, sizeof(MdbWatchRule) * room)
								: palloc(sizeof(MdbWatchRule) * room);
			w->values = w->values ? repalloc(w->values, sizeof(AttrNumber) * (room + 1))
								  : palloc(sizeof(AttrNumber) * (room + 1));
		}
		rule = &w->rules[w->nrules++];
		memset(rule, 0, sizeof(*rule));
		rule->id = DatumGetInt32(heap_getattr(tuple, Anum_rule_id, desc, &isnull));
		rule->owner = DatumGetObjectId(heap_getattr(tuple, Anum_rule_owner, desc, &isnull));
		rule->version = DatumGetInt64(heap_getattr(tuple, version, desc, &isnull));
		read_rule(w, rel, rule, deadman ? MDB_RULE_DEADMAN : MDB_RULE_THRESHOLD,
				  DatumGetJsonbP(heap_getattr(tuple, Anum_rule_definition, desc, &isnull)));
	}
	mdb_catalog_scan_end_at(&scan);
	index_close(index, AccessShareLock);
	UnregisterSnapshot(snapshot);
	table_close(rules, AccessShareLock);
}

static void
read_columns(MdbWatch *w, Relation rel)
{
	w->columns = palloc(sizeof(MdbWatchColumn) * Max(w->table->nseries_columns, 1));
	for (int i = 0; i < w->table->nseries_columns; i++)
	{
		AttrNumber attno = w->table->series_attnos[i];
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attno - 1);
		MdbWatchColumn *c = &w->columns[w->ncolumns];
		bool varlena;
		Oid type;

		if (att->attisdropped)
			continue;
		type = getBaseType(att->atttypid);
		c->attno = attno;
		c->name = attno == w->metric ? name_label : bytes_of(pstrdup(NameStr(att->attname)));
		c->text = type == TEXTOID || type == VARCHAROID;
		c->jsonb = type == JSONBOID;
		c->boolean = type == BOOLOID;
		if (!c->text && !c->jsonb)
			getTypeOutputInfo(att->atttypid, &c->output, &varlena);
		w->ncolumns++;
	}
}

/*
 * mdb_watch_build - see watch.h.
 */
MdbWatch *
mdb_watch_build(Relation rel)
{
	MemoryContext mcxt =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb watched series", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(mcxt);
	MdbWatch *w = palloc0(sizeof(MdbWatch));

	w->mcxt = mcxt;
	w->relid = RelationGetRelid(rel);
	w->table = mdb_table(rel);
	w->storage_id = w->table->storage_id;
	mdb_guard_shape(rel, w->table, &w->metric, &w->tags);
	read_columns(w, rel);
	read_rules(w, rel);
	index_rules(w);
	w->followed = mdb_watch_mark_read(w->relid, &w->until, &w->ticked);
	w->read_at = GetCurrentTimestamp();
	MemoryContextSwitchTo(old);
	return w;
}

/* ---- metricsdb.alert_watch ---- */

static HeapTuple
find_mark(Relation rel, Oid relid, Snapshot snapshot)
{
	ScanKeyData key;

	ScanKeyInit(&key, Anum_watch_source, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	return mdb_catalog_find(rel, snapshot, 1, &key);
}

/*
 * mdb_watch_mark_read - see watch.h.  False if there is no row, as committed by now.
 */
bool
mdb_watch_mark_read(Oid relid, TimestampTz *until, TimestampTz *ticked)
{
	Relation rel = mdb_catalog_open("alert_watch", AccessShareLock);
	Snapshot snapshot = mdb_latest_snapshot();
	HeapTuple tuple = find_mark(rel, relid, snapshot);
	bool isnull;
	bool found = HeapTupleIsValid(tuple);

	if (found)
	{
		*until = DatumGetTimestampTz(heap_getattr(tuple, Anum_watch_until, RelationGetDescr(rel), &isnull));
		*ticked = DatumGetTimestampTz(heap_getattr(tuple, Anum_watch_ticked, RelationGetDescr(rel), &isnull));
		heap_freetuple(tuple);
	}
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return found;
}

/*
 * mdb_watch_mark_write - see watch.h.  The caller is the only one who writes the row.
 */
void
mdb_watch_mark_write(Oid relid, TimestampTz until, TimestampTz ticked)
{
	Relation rel = mdb_catalog_open("alert_watch", RowExclusiveLock);
	Snapshot snapshot = mdb_latest_snapshot();
	HeapTuple tuple = find_mark(rel, relid, snapshot);
	Datum v[Natts_watch] = {ObjectIdGetDatum(relid), TimestampTzGetDatum(until), TimestampTzGetDatum(ticked)};
	bool n[Natts_watch] = {false};
	HeapTuple new = heap_form_tuple(RelationGetDescr(rel), v, n);

	if (HeapTupleIsValid(tuple))
		CatalogTupleUpdate(rel, &tuple->t_self, new);
	else
		CatalogTupleInsert(rel, new);
	CommandCounterIncrement();
	UnregisterSnapshot(snapshot);
	table_close(rel, RowExclusiveLock);
}

PG_FUNCTION_INFO_V1(mdb_alert_rule_changed);

static void
tell_writers(HeapTuple tuple, TupleDesc desc)
{
	bool isnull;
	Oid relid = DatumGetObjectId(heap_getattr(tuple, Anum_rule_source, desc, &isnull));

	if (!isnull && SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		CacheInvalidateRelcacheByRelid(relid);
}

/*
 * mdb_alert_rule_changed - metricsdb.alert_rule_changed(), a trigger: at commit, who writes to the table of a rule hears
 * that its rules have changed.
 */
Datum
mdb_alert_rule_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by the trigger manager", "alert_rule_changed")));
	tell_writers(trigger->tg_trigtuple, RelationGetDescr(trigger->tg_relation));
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		tell_writers(trigger->tg_newtuple, RelationGetDescr(trigger->tg_relation));
	return PointerGetDatum(NULL);
}
