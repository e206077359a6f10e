/*
 * series_tags.c
 *	  metricsdb.metric_names(), tag_keys(), tag_values(): texts, each once, in order of bytes.
 */
#include "postgres.h"

#include "access/relation.h"
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

PG_FUNCTION_INFO_V1(mdb_metric_names);
PG_FUNCTION_INFO_V1(mdb_tag_keys);
PG_FUNCTION_INFO_V1(mdb_tag_values);

static void
put_text(MdbSeriesInfo *info, const char *bytes, uint32 len)
{
	const MdbText *last = info->ntexts > 0 ? &info->texts[info->ntexts - 1] : NULL;

	if (last && last->len == len && memcmp(last->bytes, bytes, len) == 0)
		return;
	if (info->ntexts == info->texts_cap)
	{
		info->texts_cap = Max(64, info->texts_cap * 2);
		info->texts = info->texts ? repalloc_huge(info->texts, info->texts_cap * sizeof(MdbText))
								  : MemoryContextAlloc(info->mcxt, info->texts_cap * sizeof(MdbText));
	}
	info->texts[info->ntexts].bytes = memcpy(MemoryContextAlloc(info->mcxt, Max(len, 1)), bytes, len);
	info->texts[info->ntexts++].len = len;
}

static void
put_text_of_node(void *info, Datum *values, bool *isnull)
{
	if (!isnull[0])
		put_text(info, VARDATA_ANY(DatumGetPointer(values[0])),
				 VARSIZE_ANY_EXHDR(DatumGetPointer(values[0])));
}

/* Put what nodes tell, if they are asked. */
static void
put_texts_of_nodes(MdbSeriesInfo *info, const char *function)
{
	const Oid types[] = {TEXTOID};

	if (mdb_series_of_nodes(info))
		mdb_series_ask(psprintf("SELECT * FROM %s", mdb_series_call(info, function, NULL)), 1, types,
					   put_text_of_node, info);
}

/* All texts, each once, in order of bytes. */
static Datum
return_texts(MdbSeriesInfo *info)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) info->fcinfo->resultinfo;
	bool rising = true;

	InitMaterializedSRF(info->fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (int i = 1; i < info->ntexts && rising; i++)
		rising = mdb_text_cmp(&info->texts[i - 1], &info->texts[i]) < 0;
	if (!rising)
		qsort(info->texts, info->ntexts, sizeof(MdbText), mdb_text_cmp);
	for (int i = 0; i < info->ntexts; i++)
	{
		Datum v;
		bool isnull = false;

		CHECK_FOR_INTERRUPTS();
		if (i > 0 && mdb_text_cmp(&info->texts[i - 1], &info->texts[i]) == 0)
			continue;
		v = PointerGetDatum(cstring_to_text_with_len(info->texts[i].bytes, (int) info->texts[i].len));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &v, &isnull);
		pfree(DatumGetPointer(v));
	}
	mdb_series_info_end(info);
	return (Datum) 0;
}

/* Has a series that is asked about the term that the walk is at? */
static bool
is_asked(MdbSeriesInfo *info, MdbPostingScan *s, MdbIds *scratch)
{
	if (info->ids == NULL)
		return true;
	if (info->ids->n == 0)
		return false;
	if (info->ids->bits)
		return mdb_posting_scan_any(s, info->ids);
	scratch->n = 0;
	mdb_posting_scan_ids(s, scratch);
	for (uint32 i = 0; i < scratch->n; i++)
		if (mdb_ids_has(info->ids, scratch->v[i]))
			return true;
	return false;
}

/* Gather the keys of the series that are asked about and have a term that begins so; of each term one, or all. */
static void
gather_terms(MdbSeriesInfo *info, const MdbTerm *prefix, bool all)
{
	MdbIds *ids = mdb_ids_create();
	MdbPostingScan s;

	mdb_posting_scan_begin(&s, info->table->storage_id, info->latest, prefix);
	while (mdb_posting_scan_next(&s))
	{
		ids->n = 0;
		mdb_posting_scan_ids(&s, ids);
		for (uint32 i = 0; i < ids->n; i++)
			if (info->ids == NULL || mdb_ids_has(info->ids, ids->v[i]))
			{
				mdb_series_info_gather(info, ids->v[i]);
				if (!all)
					break;
			}
	}
	mdb_posting_scan_end(&s);
}

/* Put the text of a value of a column. */
static void
put_value(MdbSeriesInfo *info, AttrNumber attno, const char *bytes, uint32 len)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(info->rel), attno - 1);
	Oid output;
	bool is_varlena;
	char *value;

	if (att->atttypid == TEXTOID)
	{
		put_text(info, bytes, len);
		return;
	}
	getTypeOutputInfo(att->atttypid, &output, &is_varlena);
	value = OidOutputFunctionCall(output, mdb_key_datum(&info->table->columns[attno - 1], bytes, len));
	put_text(info, value, strlen(value));
}

/* Put the values of a column. */
static void
put_values(MdbSeriesInfo *info, AttrNumber attno)
{
	MdbIds *scratch = mdb_ids_create();
	MdbPostingScan s;
	MdbTerm prefix;

	mdb_term_column(&prefix, attno, MDB_TERM_VALUE);
	mdb_posting_scan_begin(&s, info->table->storage_id, info->latest, &prefix);
	s.names_only = info->ids == NULL;
	while (mdb_posting_scan_next(&s))
		if (is_asked(info, &s, scratch))
		{
			put_value(info, attno, (const char *) s.reader.term + MDB_TERM_HEAD,
					  s.reader.term_len - MDB_TERM_HEAD);
			mdb_posting_scan_pass(&s);
		}
	mdb_posting_scan_end(&s);
	mdb_term_column(&prefix, attno, MDB_TERM_LONG);
	gather_terms(info, &prefix, false);
}

/* Is any registered series asked about? */
static bool
is_any(MdbSeriesInfo *info)
{
	MdbPostingScan s;
	MdbTerm prefix;
	bool result;

	if (info->ids)
		return info->ids->n > 0;
	prefix.len = 0;
	mdb_posting_scan_begin(&s, info->table->storage_id, info->latest, &prefix);
	s.names_only = true;
	result = mdb_posting_scan_next(&s);
	mdb_posting_scan_end(&s);
	return result;
}

/*
 * mdb_metric_names - metricsdb.metric_names("table" regclass, "from" timestamptz, "to" timestamptz).
 */
Datum
mdb_metric_names(PG_FUNCTION_ARGS)
{
	MdbSeriesInfo *info = mdb_series_info_begin(fcinfo, false);
	const char *bytes;
	uint32 n;

	put_texts_of_nodes(info, "metric_names");
	while (mdb_series_info_next(info))
	{
		if (info->name > 0)
		{
			put_values(info, info->name);
			for (int i = 0; i < info->nkeys; i++)
				if (mdb_series_info_column(&info->keys[i], info->name, &bytes, &n))
					put_text(info, bytes, n - 1);
		}
		else if (info->nkeys > 0 || is_any(info))
			put_text(info, RelationGetRelationName(info->asked),
					 strlen(RelationGetRelationName(info->asked)));
	}
	return return_texts(info);
}

/* ---------- tags ---------- */

typedef void (*PairCallback)(MdbSeriesInfo *info, const MdbText *key, const JsonbValue *value, void *arg);

/* Call back with each pair of a jsonb object, given without its header. */
static void
each_pair(MdbSeriesInfo *info, const char *bytes, uint32 len, PairCallback callback, void *arg)
{
	Jsonb *jb = palloc(len + VARHDRSZ);
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue v;
	MdbText key = {0};

	SET_VARSIZE(jb, len + VARHDRSZ);
	memcpy(VARDATA(jb), bytes, len);
	if (JB_ROOT_IS_OBJECT(jb))
	{
		it = JsonbIteratorInit(&jb->root);
		while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		{
			if (token == WJB_KEY)
				key = (MdbText){v.val.string.val, v.val.string.len};
			else if (token == WJB_VALUE)
				callback(info, &key, &v, arg);
		}
	}
	pfree(jb);
}

static void
put_key(MdbSeriesInfo *info, const MdbText *key, const JsonbValue *value, void *arg)
{
	put_text(info, key->bytes, key->len);
}

/* Put the text of a value, if it is that of the key that is asked for. */
static void
put_value_of(MdbSeriesInfo *info, const MdbText *key, const JsonbValue *value, void *arg)
{
	char *p;

	if (mdb_text_cmp(key, arg) != 0)
		return;
	switch (value->type)
	{
		case jbvString:
			put_text(info, value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			p = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
			put_text(info, p, strlen(p));
			break;
		case jbvBool:
			put_text(info, value->val.boolean ? "true" : "false", value->val.boolean ? 4 : 5);
			break;
		case jbvBinary:
			p = JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
			put_text(info, p, strlen(p));
			break;
		default:
			break;
	}
}

static const char *
column_name(const MdbSeriesInfo *info, AttrNumber attno)
{
	return NameStr(TupleDescAttr(RelationGetDescr(info->rel), attno - 1)->attname);
}

/* Put the keys of a jsonb column. */
static void
put_keys(MdbSeriesInfo *info, AttrNumber attno)
{
	MdbIds *scratch = mdb_ids_create();
	MdbPostingScan s;
	MdbTerm prefix;

	mdb_term_column(&prefix, attno, MDB_TERM_PAIR);
	mdb_posting_scan_begin(&s, info->table->storage_id, info->latest, &prefix);
	s.names_only = info->ids == NULL;
	while (mdb_posting_scan_next(&s))
	{
		const char *key = (const char *) s.reader.term + MDB_TERM_HEAD;
		uint32 len = strnlen(key, s.reader.term_len - MDB_TERM_HEAD);
		MdbTerm done;

		if (!is_asked(info, &s, scratch))
			continue;
		put_text(info, key, len);
		mdb_term_key(&done, attno, key, len);
		mdb_posting_scan_skip(&s, &done);
	}
	mdb_posting_scan_end(&s);
	mdb_term_column(&prefix, attno, MDB_TERM_LONG_PAIR);
	gather_terms(info, &prefix, true);
}

/* Has a series that is asked about a value in a column? */
static bool
has_values(MdbSeriesInfo *info, AttrNumber attno)
{
	MdbIds *nulls;
	MdbPostingScan s;
	MdbTerm term;
	bool any = false;

	if (info->ids && info->ids->n == 0)
		return false;
	if (info->ids)
	{
		nulls = mdb_ids_create();
		mdb_term_column(&term, attno, MDB_TERM_NULL);
		mdb_postings_find(info->table->storage_id, info->latest, &term, nulls);
		mdb_ids_sort(nulls);
		return mdb_ids_intersect(info->ids, nulls)->n < info->ids->n;
	}
	for (int kind = MDB_TERM_VALUE; kind <= MDB_TERM_LONG && !any; kind += MDB_TERM_LONG - MDB_TERM_VALUE)
	{
		mdb_term_column(&term, attno, kind);
		mdb_posting_scan_begin(&s, info->table->storage_id, info->latest, &term);
		s.names_only = true;
		any = mdb_posting_scan_next(&s);
		mdb_posting_scan_end(&s);
	}
	return any;
}

/* Put the keys of the tags of the table that is looked at. */
static void
put_tag_keys(MdbSeriesInfo *info)
{
	const char *bytes;
	uint32 n;

	for (int c = 0; c < info->table->nseries_columns; c++)
	{
		AttrNumber attno = info->table->series_attnos[c];
		bool jsonb = mdb_series_info_is_tag(info, attno) && info->table->columns[attno - 1].jsonb;
		bool any;

		if (!mdb_series_info_is_tag(info, attno))
			continue;
		if (jsonb)
			put_keys(info, attno);
		any = !jsonb && has_values(info, attno);
		for (int i = 0; i < info->nkeys && !any; i++)
			if (mdb_series_info_column(&info->keys[i], attno, &bytes, &n))
			{
				if (jsonb)
					each_pair(info, bytes, n - 1, put_key, NULL);
				else
					any = true;
			}
		if (any)
			put_text(info, column_name(info, attno), strlen(column_name(info, attno)));
	}
}

/*
 * mdb_tag_keys - metricsdb.tag_keys("table" regclass, metric text, "from" timestamptz, "to" timestamptz).
 */
Datum
mdb_tag_keys(PG_FUNCTION_ARGS)
{
	MdbSeriesInfo *info = mdb_series_info_begin(fcinfo, true);

	put_texts_of_nodes(info, "tag_keys");
	while (mdb_series_info_next(info))
		put_tag_keys(info);
	return return_texts(info);
}

/* Put the values of a key of a jsonb column. */
static void
put_pairs(MdbSeriesInfo *info, AttrNumber attno, const MdbText *key)
{
	MdbIds *scratch = mdb_ids_create();
	MdbPostingScan s;
	MdbTerm prefix;
	uint32 head;

	if (key->len > MDB_TERM_KEY_MAX)
	{
		mdb_term_key(&prefix, attno, key->bytes, key->len);
		gather_terms(info, &prefix, true);
		return;
	}
	for (const char *type = "bcns"; *type; type++)
	{
		mdb_term_key(&prefix, attno, key->bytes, key->len);
		prefix.bytes[prefix.len++] = *type;
		head = prefix.len;
		mdb_posting_scan_begin(&s, info->table->storage_id, info->latest, &prefix);
		s.names_only = info->ids == NULL;
		while (mdb_posting_scan_next(&s))
			if (is_asked(info, &s, scratch))
			{
				put_text(info, (const char *) s.reader.term + head, s.reader.term_len - head);
				mdb_posting_scan_pass(&s);
			}
		mdb_posting_scan_end(&s);
	}
	mdb_term_key(&prefix, attno, key->bytes, key->len);
	prefix.bytes[prefix.len++] = MDB_PAIR_LONG;
	gather_terms(info, &prefix, false);
}

/* Put the values of a tag of the table that is looked at. */
static void
put_tag_values(MdbSeriesInfo *info, MdbText *key)
{
	const char *bytes;
	uint32 n;

	for (int c = 0; c < info->table->nseries_columns; c++)
	{
		AttrNumber attno = info->table->series_attnos[c];
		bool jsonb = mdb_series_info_is_tag(info, attno) && info->table->columns[attno - 1].jsonb;
		MdbText name;

		if (!mdb_series_info_is_tag(info, attno))
			continue;
		name = (MdbText){column_name(info, attno), strlen(column_name(info, attno))};
		if (jsonb)
			put_pairs(info, attno, key);
		else if (mdb_text_cmp(&name, key) == 0)
			put_values(info, attno);
		else
			continue;
		for (int i = 0; i < info->nkeys; i++)
			if (mdb_series_info_column(&info->keys[i], attno, &bytes, &n))
			{
				if (jsonb)
					each_pair(info, bytes, n - 1, put_value_of, key);
				else
					put_value(info, attno, bytes, n - 1);
			}
	}
}

/*
 * mdb_tag_values - metricsdb.tag_values("table" regclass, metric text, key text, "from" timestamptz,
 * "to" timestamptz).
 */
Datum
mdb_tag_values(PG_FUNCTION_ARGS)
{
	MdbSeriesInfo *info;
	MdbText key;

	if (PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the key must not be NULL")));
	key.bytes = VARDATA_ANY(PG_GETARG_TEXT_PP(2));
	key.len = VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(2));
	info = mdb_series_info_begin(fcinfo, true);
	put_texts_of_nodes(info, "tag_values");
	while (mdb_series_info_next(info))
		put_tag_values(info, &key);
	return return_texts(info);
}
