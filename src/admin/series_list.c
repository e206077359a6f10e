/*
 * series_list.c
 *	  metricsdb.series() and cardinality().
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "admin/series_info.h"

PG_FUNCTION_INFO_V1(mdb_series_sql);
PG_FUNCTION_INFO_V1(mdb_cardinality_sql);

/* So many keys of the delta are looked up one by one. */
#define FEW_KEYS 500

/* All registered series, or those that are asked about. */
static MdbIds *
all_ids(MdbSeriesInfo *info)
{
	return info->ids ? info->ids : mdb_postings_all(info->table, info->latest);
}

/* The tags of a key as a jsonb object. */
static Datum
tags_datum(MdbSeriesInfo *info, const MdbText *key, bool *isnull)
{
	JsonbParseState *state = NULL;
	const char *bytes;
	uint32 n;

	if (info->tags > 0)
	{
		*isnull = !mdb_series_info_column(key, info->tags, &bytes, &n);
		return *isnull ? (Datum) 0 : mdb_key_datum(&info->table->columns[info->tags - 1], bytes, n - 1);
	}
	*isnull = false;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int c = 0; c < info->table->nseries_columns; c++)
	{
		AttrNumber attno = info->table->series_attnos[c];
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(info->rel), attno - 1);
		JsonbValue v;
		Datum value;
		Oid output;
		bool is_varlena;

		if (!mdb_series_info_is_tag(info, attno) || !mdb_series_info_column(key, attno, &bytes, &n))
			continue;
		v.type = jbvString;
		v.val.string.val = NameStr(att->attname);
		v.val.string.len = strlen(NameStr(att->attname));
		pushJsonbValue(&state, WJB_KEY, &v);
		value = mdb_key_datum(&info->table->columns[attno - 1], bytes, n - 1);
		if (info->table->columns[attno - 1].jsonb)
		{
			Jsonb *jb = DatumGetJsonbP(value);

			if (JB_ROOT_IS_SCALAR(jb))
				JsonbExtractScalar(&jb->root, &v);
			else
			{
				v.type = jbvBinary;
				v.val.binary.data = &jb->root;
				v.val.binary.len = VARSIZE_ANY_EXHDR(jb);
			}
		}
		else if (getBaseType(att->atttypid) == BOOLOID)
		{
			v.type = jbvBool;
			v.val.boolean = DatumGetBool(value);
		}
		else
		{
			getTypeOutputInfo(att->atttypid, &output, &is_varlena);
			v.val.string.val = OidOutputFunctionCall(output, value);
			v.val.string.len = strlen(v.val.string.val);
		}
		pushJsonbValue(&state, WJB_VALUE, &v);
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static void
put_series(MdbSeriesInfo *info, const MdbText *key)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) info->fcinfo->resultinfo;
	Datum v[2] = {0};
	bool n[2] = {0};
	const char *bytes;
	uint32 len;

	if (info->name == 0)
		v[0] = CStringGetTextDatum(RelationGetRelationName(info->asked));
	else if (mdb_series_info_column(key, info->name, &bytes, &len))
		v[0] = PointerGetDatum(cstring_to_text_with_len(bytes, (int) len - 1));
	else
		n[0] = true;
	v[1] = tags_datum(info, key, &n[1]);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, n);
}

/* Put the series of the table that is looked at, if they meet a condition, which may be NULL. */
static void
put_matching(MdbSeriesInfo *info, const char *condition)
{
	MdbSeriesTest *test = NULL;
	MdbIds *ids;
	MemoryContext row_mcxt, old;
	int nkeys = info->nkeys;

	if (condition)
	{
		test = mdb_series_test_begin(info->rel, info->table,
									 mdb_parse_series_condition(info->rel, info->table, condition));
		if (info->ids == NULL || info->ids->n > 0)
			mdb_series_filter_resolve(test->filter);
	}
	ids = test && test->filter->ids ? test->filter->ids : NULL;
	ids = ids == NULL ? all_ids(info) : info->ids ? mdb_ids_intersect(ids, info->ids) : ids;
	row_mcxt = AllocSetContextCreate(CurrentMemoryContext, "metricsdb series", ALLOCSET_DEFAULT_SIZES);
	for (int64 i = 0; i < (int64) ids->n + nkeys; i++)
	{
		MdbText key;

		CHECK_FOR_INTERRUPTS();
		if (i < nkeys)
			key = info->keys[i];
		else
		{
			key.bytes = mdb_dict_key(info->dict, ids->v[i - nkeys], info->latest, &key.len);
			/* A key may have several ids, and be in the delta. */
			if (!mdb_series_info_is_new(info, &key))
				continue;
		}
		if (test && !(i >= nkeys && test->filter->exact) && !mdb_series_test(test, key.bytes, key.len))
			continue;
		old = MemoryContextSwitchTo(row_mcxt);
		put_series(info, &key);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_mcxt);
	}
	if (test)
		mdb_series_test_end(test);
	MemoryContextDelete(row_mcxt);
}

/* Is it the first time that a node tells of this one? */
static bool
is_first(MdbSeriesInfo *info, uint64 hash)
{
	bool found;

	(void) hash_search(info->known_keys, &hash, HASH_ENTER, &found);
	return !found;
}

static uint64
hash_of_value(Datum value, bool isnull, uint64 seed)
{
	struct varlena *v = isnull ? NULL : PG_DETOAST_DATUM_PACKED(value);

	return isnull ? seed + 1
				  : hash_bytes_extended((const unsigned char *) VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v), seed);
}

static void
put_series_of_node(void *arg, Datum *values, bool *isnull)
{
	MdbSeriesInfo *info = arg;
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) info->fcinfo->resultinfo;

	if (is_first(info, hash_of_value(values[1], isnull[1], hash_of_value(values[0], isnull[0], 0))))
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
}

/* Put what nodes tell, if they are asked; else the caller's rows have to. */
static void
put_series_of_nodes(MdbSeriesInfo *info, const char *condition)
{
	const Oid types[] = {TEXTOID, JSONBOID};
	char *sent = NULL;

	if (!mdb_series_of_nodes(info))
		return;
	if (condition)
		sent = mdb_elsewhere->condition(
			info->asked, mdb_parse_series_condition(info->asked, mdb_table(info->asked), condition));
	if (condition && sent == NULL)
		info->hide = true;
	else
		mdb_series_ask(psprintf("SELECT * FROM %s", mdb_series_call(info, "series", sent)), 2, types,
					   put_series_of_node, info);
}

/*
 * mdb_series_sql - metricsdb.series("table" regclass, metric text, condition text, "from" timestamptz,
 * "to" timestamptz): name and tags of each series.
 */
Datum
mdb_series_sql(PG_FUNCTION_ARGS)
{
	MdbSeriesInfo *info;
	const char *condition = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));

	InitMaterializedSRF(fcinfo, 0);
	info = mdb_series_info_begin(fcinfo, true);
	put_series_of_nodes(info, condition);
	while (mdb_series_info_next(info))
		put_matching(info, condition);
	mdb_series_info_end(info);
	return (Datum) 0;
}

/*
 * mdb_series_matching - how many registered series meet conditions.
 */
int64
mdb_series_matching(Relation rel, MdbTable *table, MdbSeriesTest *test)
{
	MdbSeriesInfo info = {.table = table, .dict = mdb_dict_open(table)};
	int64 count = 0;
	MdbIds *ids;

	mdb_series_filter_resolve(test->filter);
	if (test->filter->ids && test->filter->exact)
		return test->filter->ids->n;
	info.latest = mdb_latest_snapshot();
	ids = test->filter->ids ? test->filter->ids : all_ids(&info);
	for (uint32 i = 0; i < ids->n; i++)
	{
		uint32 len;
		const char *key = mdb_dict_key(info.dict, ids->v[i], info.latest, &len);

		CHECK_FOR_INTERRUPTS();
		count += mdb_series_test(test, key, len);
	}
	UnregisterSnapshot(info.latest);
	return count;
}

typedef struct Finding
{
	MdbSeriesInfo *info;
	MdbIds *ids; /* that have all terms so far; NULL = no term yet */
} Finding;

static void
find_term(void *arg, const MdbTerm *term)
{
	Finding *f = arg;
	MdbIds *ids;

	if (f->ids && f->ids->n == 0)
		return;
	ids = mdb_ids_create();
	mdb_postings_find(f->info->table->storage_id, f->info->latest, term, ids);
	mdb_ids_sort(ids);
	f->ids = f->ids ? mdb_ids_intersect(f->ids, ids) : ids;
}

/* Is a key of the delta that of a registered series that is counted? */
static bool
is_counted(MdbSeriesInfo *info, const Bitmapset *jsonb, const MdbText *key)
{
	Finding f = {.info = info};

	if (info->nkeys > FEW_KEYS && info->ids == NULL)
		return mdb_dict_registered(info->dict, key->bytes, key->len);
	mdb_terms_of_key(jsonb, key->bytes, key->len, find_term, &f);
	for (uint32 i = 0; f.ids && i < f.ids->n; i++)
	{
		uint32 len;
		const char *other = mdb_dict_key(info->dict, f.ids->v[i], info->latest, &len);

		if (len == key->len && memcmp(other, key->bytes, len) == 0 &&
			(info->ids == NULL || mdb_ids_has(info->ids, f.ids->v[i])))
			return true;
	}
	return false;
}

/* How many series the table that is looked at has, apart from keys that were met before. */
static int64
count_one_by_one(MdbSeriesInfo *info)
{
	MdbIds *ids = all_ids(info);
	int64 count = info->nkeys;

	for (uint32 i = 0; i < ids->n; i++)
	{
		MdbText key;

		CHECK_FOR_INTERRUPTS();
		key.bytes = mdb_dict_key(info->dict, ids->v[i], info->latest, &key.len);
		count += mdb_series_info_is_new(info, &key);
	}
	return count;
}

/* The same where keys tell series apart as they are, and there is no other table. */
static int64
count_ids(MdbSeriesInfo *info)
{
	Bitmapset *jsonb = mdb_terms_jsonb(info->table);
	MemoryContext tmp =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb cardinality", ALLOCSET_DEFAULT_SIZES);
	bool none = info->ids && info->ids->n == 0;
	int64 count = 0;

	if (!none)
	{
		const MdbTwins *twins = mdb_twins(info->dict, info->table->storage_id, info->latest);

		count = info->ids ? (int64) info->ids->n - mdb_twins_among(twins, info->ids) : twins->nids - twins->n;
	}
	for (int i = 0; i < info->nkeys; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(tmp);

		CHECK_FOR_INTERRUPTS();
		if (none || !is_counted(info, jsonb, &info->keys[i]))
			count++;
		MemoryContextSwitchTo(old);
		MemoryContextReset(tmp);
	}
	MemoryContextDelete(tmp);
	return count;
}

typedef struct Counting
{
	MdbSeriesInfo *info;
	int64 count;
} Counting;

static void
count_series_of_node(void *arg, Datum *values, bool *isnull)
{
	Counting *c = arg;

	c->count += is_first(c->info, DatumGetInt64(values[0]));
}

/* How many series nodes tell of, where one may be on several of them. */
static int64
count_of_nodes(MdbSeriesInfo *info)
{
	const Oid types[] = {INT8OID};
	Counting c = {.info = info};
	char *call = mdb_series_call(info, "series", NULL);

	mdb_series_ask(
		psprintf("SELECT pg_catalog.hashtextextended(coalesce(s.tags::pg_catalog.text, '') COLLATE \"C\", "
				 "CASE WHEN s.metric_name IS NULL THEN 1 ELSE "
				 "pg_catalog.hashtextextended(s.metric_name COLLATE \"C\", 0) END) FROM %s s",
				 call),
		1, types, count_series_of_node, &c);
	return c.count;
}

/*
 * mdb_cardinality_sql - metricsdb.cardinality("table" regclass, metric text, "from" timestamptz,
 * "to" timestamptz): how many series.
 */
Datum
mdb_cardinality_sql(PG_FUNCTION_ARGS)
{
	MdbSeriesInfo *info = mdb_series_info_begin(fcinfo, true);
	int64 count = mdb_series_of_nodes(info) ? count_of_nodes(info) : 0;

	while (mdb_series_info_next(info))
		count += info->as_is ? count_ids(info) : count_one_by_one(info);
	mdb_series_info_end(info);
	PG_RETURN_INT64(count);
}
