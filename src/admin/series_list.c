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
	MdbTerm prefix;
	MdbPostingScan s;
	MdbIds *ids;

	if (info->ids)
		return info->ids;
	ids = mdb_ids_create();
	if (info->table->nseries_columns == 0)
		return ids;
	/* Each has a term of the first column. */
	mdb_term_column(&prefix, info->table->series_attnos[0], 0);
	prefix.len = 2;
	mdb_posting_scan_begin(&s, info->table->storage_id, info->latest, &prefix);
	while (mdb_posting_scan_next(&s))
		mdb_posting_scan_ids(&s, ids);
	mdb_posting_scan_end(&s);
	mdb_ids_sort(ids);
	return ids;
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
		v[0] = CStringGetTextDatum(RelationGetRelationName(info->rel));
	else if (mdb_series_info_column(key, info->name, &bytes, &len))
		v[0] = PointerGetDatum(cstring_to_text_with_len(bytes, (int) len - 1));
	else
		n[0] = true;
	v[1] = tags_datum(info, key, &n[1]);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, n);
}

/*
 * mdb_series_sql - metricsdb.series("table" regclass, metric text, condition text, "from" timestamptz,
 * "to" timestamptz): name and tags of each series.
 */
Datum
mdb_series_sql(PG_FUNCTION_ARGS)
{
	MdbSeriesInfo *info;
	MdbSeriesTest *test = NULL;
	MdbIds *ids;
	MemoryContext row_mcxt, old;
	int nkeys;

	InitMaterializedSRF(fcinfo, 0);
	info = mdb_series_info_begin(fcinfo, true);
	if (!PG_ARGISNULL(2))
	{
		List *clauses =
			mdb_parse_series_condition(info->rel, info->table, text_to_cstring(PG_GETARG_TEXT_PP(2)));

		test = mdb_series_test_begin(info->rel, info->table, clauses);
		if (info->ids == NULL || info->ids->n > 0)
			mdb_series_filter_resolve(test->filter);
	}
	ids = test && test->filter->ids ? test->filter->ids : NULL;
	ids = ids == NULL ? all_ids(info) : info->ids ? mdb_ids_intersect(ids, info->ids) : ids;
	row_mcxt = AllocSetContextCreate(CurrentMemoryContext, "metricsdb series", ALLOCSET_DEFAULT_SIZES);
	nkeys = info->nkeys;
	for (int64 i = 0; i < (int64) ids->n + nkeys; i++)
	{
		MdbText key;
		bool found;
		uint64 hash;

		CHECK_FOR_INTERRUPTS();
		if (i < nkeys)
			key = info->keys[i];
		else
		{
			key.bytes = mdb_dict_key(info->dict, ids->v[i - nkeys], info->latest, &key.len);
			/* A key may have several ids, and be in the delta. */
			hash = hash_bytes_extended((const unsigned char *) key.bytes, (int) key.len, 0);
			hash_search(info->known_keys, &hash, HASH_ENTER, &found);
			if (found)
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
	mdb_series_info_end(info);
	return (Datum) 0;
}

/*
 * mdb_series_matching - how many registered series meet conditions.
 */
int64
mdb_series_matching(Relation rel, MdbTable *table, MdbSeriesTest *test)
{
	MdbSeriesInfo info = {.rel = rel, .table = table, .dict = mdb_dict_open(table)};
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

/*
 * mdb_cardinality_sql - metricsdb.cardinality("table" regclass, metric text, "from" timestamptz,
 * "to" timestamptz): how many series.
 */
Datum
mdb_cardinality_sql(PG_FUNCTION_ARGS)
{
	MdbSeriesInfo *info = mdb_series_info_begin(fcinfo, true);
	Bitmapset *jsonb = mdb_terms_jsonb(info->table);
	MemoryContext tmp =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb cardinality", ALLOCSET_DEFAULT_SIZES);
	int64 count = info->ids ? (int64) info->ids->n : mdb_dict_count(info->table->storage_id, info->latest);

	for (int i = 0; i < info->nkeys; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(tmp);

		CHECK_FOR_INTERRUPTS();
		if ((info->ids && info->ids->n == 0) || !is_counted(info, jsonb, &info->keys[i]))
			count++;
		MemoryContextSwitchTo(old);
		MemoryContextReset(tmp);
	}
	mdb_series_info_end(info);
	PG_RETURN_INT64(count);
}
