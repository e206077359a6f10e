/*
 * key.c
 *	  The key of a series: the values of its series columns as bytes.
 *
 *		{ attno varint, length + 1 varint (0 = NULL), bytes } for each series column
 *
 * The bytes are those of the datum: by-value types in their own width, little end first; varlena
 * payloads without header and uncompressed; other by-reference types as they are.  Two keys are
 * the same series iff their bytes are equal, so that what is read back is what was written even
 * where the type's equality is coarser than that.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "series/series.h"

/* Keys are built for every row that is written: into room that was made before, by pointer. */
static inline char *
put_varint(char *p, uint32 v)
{
	while (v >= 0x80)
	{
		*p++ = (char) (v | 0x80);
		v >>= 7;
	}
	*p++ = (char) v;
	return p;
}

#define VARINT_MAX 5

static bool
get_varint(const char **p, const char *end, uint32 *v)
{
	uint32 result = 0;

	for (int shift = 0; shift < 35 && *p < end; shift += 7)
	{
		uint8 c = (uint8) * (*p)++;

		result |= (uint32) (c & 0x7f) << shift;
		if (c < 0x80)
		{
			*v = result;
			return true;
		}
	}
	return false;
}

/*
 * mdb_key_build - append the key of the series with these values, indexed by attno - 1, to key.
 */
void
mdb_key_build(const MdbTable *table, const Datum *values, const bool *isnull, StringInfo key)
{
	for (int i = 0; i < table->nseries_columns; i++)
	{
		AttrNumber attno = table->series_attnos[i];
		const MdbColumn *column = &table->columns[attno - 1];
		Datum value = values[attno - 1];
		struct varlena *detoasted = NULL;
		const char *data;
		uint32 len;
		char *p;

		if (column->role == MDB_ROLE_DROPPED || isnull[attno - 1])
		{
			enlargeStringInfo(key, 2 * VARINT_MAX);
			p = put_varint(key->data + key->len, attno);
			*p++ = 0;
			key->len = p - key->data;
			continue;
		}
		if (column->attbyval)
		{
			data = (const char *) &value;
			len = column->attlen;
		}
		else if (column->attlen == -1)
		{
			detoasted = PG_DETOAST_DATUM_PACKED(value);
			data = VARDATA_ANY(detoasted);
			len = VARSIZE_ANY_EXHDR(detoasted);
		}
		else
		{
			data = DatumGetPointer(value);
			len = column->attlen == -2 ? strlen(data) : column->attlen;
		}
		enlargeStringInfo(key, (int) len + 2 * VARINT_MAX);
		p = put_varint(key->data + key->len, attno);
		p = put_varint(p, len + 1);
		memcpy(p, data, len);
		key->len = (p - key->data) + len;
		if (detoasted && (Pointer) detoasted != DatumGetPointer(value))
			pfree(detoasted);
	}
}

/*
 * mdb_key_next - the next column of a key: where its bytes are, and length + 1, or 0 for NULL.  False if there
 * is none, or the key is damaged: then *p has not come to its end.
 */
bool
mdb_key_next(const char **p, const char *end, uint32 *attno, const char **bytes, uint32 *n)
{
	const char *q = *p;

	if (q == end || !get_varint(&q, end, attno) || !get_varint(&q, end, n) || *attno == 0 ||
		*attno > MaxAttrNumber || (*n > 0 && *n - 1 > (uint32) (end - q)))
		return false;
	*bytes = q;
	*p = *n > 0 ? q + *n - 1 : q;
	return true;
}

/*
 * mdb_key_datum - a value of a column from the bytes that a key has of it, in CurrentMemoryContext.
 */
Datum
mdb_key_datum(const MdbColumn *column, const char *bytes, uint32 len)
{
	if (column->attbyval)
	{
		Datum v = 0;

		memcpy(&v, bytes, Min(len, sizeof(v)));
		switch (column->attlen)
		{
			case 1:
				return CharGetDatum((char) v);
			case 2:
				return Int16GetDatum((int16) v);
			case 4:
				return Int32GetDatum((int32) v);
		}
		return v;
	}
	if (column->attlen == -1)
	{
		struct varlena *v = palloc(len + VARHDRSZ);

		SET_VARSIZE(v, len + VARHDRSZ);
		memcpy(VARDATA(v), bytes, len);
		return PointerGetDatum(v);
	}
	else
	{
		char *v = palloc(len + 1);

		memcpy(v, bytes, len);
		v[len] = '\0';
		return PointerGetDatum(v);
	}
}

/*
 * mdb_key_decode - set values[attno - 1] and isnull[attno - 1] of the series columns; others are
 * left alone.  By-reference values are made in CurrentMemoryContext.
 */
void
mdb_key_decode(const MdbTable *table, const char *key, uint32 len, Datum *values, bool *isnull)
{
	const char *p = key;
	const char *end = key + len;

	while (p < end)
	{
		uint32 attno, n;
		const char *bytes;
		const MdbColumn *column;

		if (!mdb_key_next(&p, end, &attno, &bytes, &n) || attno > (uint32) table->natts ||
			(n > 0 && table->columns[attno - 1].attlen > 0 &&
			 table->columns[attno - 1].role != MDB_ROLE_DROPPED &&
			 n - 1 != (uint32) table->columns[attno - 1].attlen))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("key of a series in storage %lld is damaged", (long long) table->storage_id)));
		column = &table->columns[attno - 1];
		isnull[attno - 1] = n == 0 || column->role == MDB_ROLE_DROPPED;
		values[attno - 1] = isnull[attno - 1] ? (Datum) 0 : mdb_key_datum(column, bytes, n - 1);
	}
}

/*
 * mdb_key_is_valid - can mdb_key_decode make values of it?
 */
bool
mdb_key_is_valid(const MdbTable *table, const char *key, uint32 len)
{
	const char *p = key;
	const char *end = key + len;

	while (p < end)
	{
		uint32 attno, n;
		const char *bytes;
		const MdbColumn *column;

		if (!mdb_key_next(&p, end, &attno, &bytes, &n) || attno > (uint32) table->natts)
			return false;
		column = &table->columns[attno - 1];
		if (n > 0 && column->role != MDB_ROLE_DROPPED && column->attlen > 0 &&
			n - 1 != (uint32) column->attlen)
			return false;
	}
	return true;
}

/*
 * mdb_key_too_long - refuse a row: ERRCODE_PROGRAM_LIMIT_EXCEEDED.
 */
void
mdb_key_too_long(Relation rel, uint64 len)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("series columns of a row for table \"%s\" are too long", RelationGetRelationName(rel)),
			 errdetail("They take %llu bytes, the limit is %d.", (unsigned long long) len, MDB_KEY_MAX),
			 errhint("Make long columns value columns: see metricsdb.set_options().")));
}
