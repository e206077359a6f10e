/*
 * term.c
 *	  Terms: what a series can be found by.
 *
 *		column, 2, high byte first | kind, 1 | ...
 *		NULL		nothing more			VALUE	the bytes that the key has
 *		PAIR		key, 0, type, text		LONG	first bytes of the value, hash
 *		LONG_PAIR	hash of the key			OTHER, EMPTY	nothing more
 *
 * A term that holds all of a value stands for equal values; those with a hash may stand for several, so that
 * who finds a series by one has to look at the series itself.
 */
#include "postgres.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "series/index.h"

#define LONG_FIRST 64 /* bytes of a long value that its term begins with */

static void
put(MdbTerm *term, const void *bytes, uint32 len)
{
	Assert(term->len + len <= MDB_TERM_MAX);
	memcpy(term->bytes + term->len, bytes, len);
	term->len += len;
}

static void
put_hash(MdbTerm *term, const char *bytes, uint32 len)
{
	uint64 hash = XXH3_64bits(bytes, len);

	for (int shift = 56; shift >= 0; shift -= 8)
		term->bytes[term->len++] = (uint8) (hash >> shift);
}

/*
 * mdb_terms_jsonb - which series columns of a table are jsonb, in CurrentMemoryContext.
 */
Bitmapset *
mdb_terms_jsonb(const MdbTable *table)
{
	Bitmapset *jsonb = NULL;

	for (int i = 0; i < table->nseries_columns; i++)
	{
		AttrNumber attno = table->series_attnos[i];

		if (attno <= table->natts && table->columns[attno - 1].jsonb)
			jsonb = bms_add_member(jsonb, attno);
	}
	return jsonb;
}

/*
 * mdb_term_column - what all terms of one kind of a column begin with.
 */
void
mdb_term_column(MdbTerm *term, AttrNumber attno, int kind)
{
	term->bytes[0] = (uint8) (attno >> 8);
	term->bytes[1] = (uint8) attno;
	term->bytes[2] = (uint8) kind;
	term->len = MDB_TERM_HEAD;
}

/*
 * mdb_term_value - the term of a value of a column that is not jsonb.
 */
void
mdb_term_value(MdbTerm *term, AttrNumber attno, const char *bytes, uint32 len)
{
	mdb_term_column(term, attno, len <= MDB_TERM_VALUE_MAX ? MDB_TERM_VALUE : MDB_TERM_LONG);
	if (len <= MDB_TERM_VALUE_MAX)
		put(term, bytes, len);
	else
	{
		put(term, bytes, LONG_FIRST);
		put_hash(term, bytes, len);
	}
}

/*
 * mdb_term_key - what all terms of a key of a jsonb column begin with.
 */
void
mdb_term_key(MdbTerm *term, AttrNumber attno, const char *key, uint32 len)
{
	mdb_term_column(term, attno, len <= MDB_TERM_KEY_MAX ? MDB_TERM_PAIR : MDB_TERM_LONG_PAIR);
	if (len <= MDB_TERM_KEY_MAX)
	{
		put(term, key, len);
		term->bytes[term->len++] = 0;
	}
	else
		put_hash(term, key, len);
}

/*
 * mdb_term_pair - the term of a pair.
 */
void
mdb_term_pair(MdbTerm *term, AttrNumber attno, const char *key, uint32 keylen, char type, const char *text,
			  uint32 len)
{
	mdb_term_key(term, attno, key, keylen);
	if (keylen > MDB_TERM_KEY_MAX)
		return;
	term->bytes[term->len++] = len <= MDB_TERM_TEXT_MAX ? type : MDB_PAIR_LONG;
	if (len <= MDB_TERM_TEXT_MAX)
		put(term, text, len);
	else
	{
		put(term, text, LONG_FIRST);
		put_hash(term, text, len);
	}
}

/*
 * mdb_term_has_prefix - does a term begin with another?
 */
bool
mdb_term_has_prefix(const uint8 *term, uint32 len, const MdbTerm *prefix)
{
	return len >= prefix->len && memcmp(term, prefix->bytes, prefix->len) == 0;
}

/* The terms of a jsonb value, whose bytes are without their header. */
static void
terms_of_jsonb(MdbTerm *term, AttrNumber attno, const char *bytes, uint32 len, MdbTermCallback callback,
			   void *arg)
{
	Jsonb *jb = palloc(len + VARHDRSZ);
	JsonbIterator *it;
	JsonbValue v;
	JsonbIteratorToken token;
	bool any = false;
	char *key = NULL;
	uint32 keylen = 0;

	SET_VARSIZE(jb, len + VARHDRSZ);
	memcpy(VARDATA(jb), bytes, len);
	if (!JB_ROOT_IS_OBJECT(jb))
	{
		mdb_term_column(term, attno, MDB_TERM_OTHER);
		callback(arg, term);
		pfree(jb);
		return;
	}
	it = JsonbIteratorInit(&jb->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		char *text = NULL;

		if (token == WJB_KEY)
		{
			key = v.val.string.val;
			keylen = v.val.string.len;
		}
		if (token != WJB_VALUE)
			continue;
		any = true;
		switch (v.type)
		{
			case jbvString:
				mdb_term_pair(term, attno, key, keylen, MDB_PAIR_STRING, v.val.string.val, v.val.string.len);
				break;
			case jbvNumeric:
				text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(v.val.numeric)));
				mdb_term_pair(term, attno, key, keylen, MDB_PAIR_NUMBER, text, strlen(text));
				break;
			case jbvBool:
				mdb_term_pair(term, attno, key, keylen, MDB_PAIR_BOOL, v.val.boolean ? "true" : "false",
							  v.val.boolean ? 4 : 5);
				break;
			case jbvBinary:
				text = JsonbToCString(NULL, v.val.binary.data, v.val.binary.len);
				mdb_term_pair(term, attno, key, keylen, MDB_PAIR_NESTED, text, strlen(text));
				break;
			default:
				mdb_term_pair(term, attno, key, keylen, MDB_PAIR_NULL, "", 0);
				break;
		}
		if (text)
			pfree(text);
		callback(arg, term);
	}
	if (!any)
	{
		mdb_term_column(term, attno, MDB_TERM_EMPTY);
		callback(arg, term);
	}
	pfree(jb);
}

/*
 * mdb_terms_of_key - call back with each term of a series; jsonb says which columns are of that type.
 */
void
mdb_terms_of_key(const Bitmapset *jsonb, const char *key, uint32 len, MdbTermCallback callback, void *arg)
{
	const char *p = key;
	const char *end = key + len;
	uint32 attno, n;
	const char *bytes;
	MdbTerm term;

	while (mdb_key_next(&p, end, &attno, &bytes, &n))
	{
		if (n > 0 && bms_is_member(attno, jsonb))
		{
			terms_of_jsonb(&term, attno, bytes, n - 1, callback, arg);
			continue;
		}
		if (n == 0)
			mdb_term_column(&term, attno, MDB_TERM_NULL);
		else
			mdb_term_value(&term, attno, bytes, n - 1);
		callback(arg, &term);
	}
}
