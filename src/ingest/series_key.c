/*
 * series_key.c
 *	  A series of name and tags as a key of the table's dictionary, and back; see series_key.h.
 *
 * Called by guarding.c.
 */
#include "postgres.h"

#include "utils/jsonb.h"

#include "ingest/fingerprint.h"
#include "ingest/series_key.h"
#include "series/series.h"

static void
put_varint(StringInfo key, uint32 v)
{
	while (v >= 0x80)
	{
		appendStringInfoCharMacro(key, (char) (v | 0x80));
		v >>= 7;
	}
	appendStringInfoCharMacro(key, (char) v);
}

/* jsonb has its keys by length, then by bytes. */
static int
jsonb_key_cmp(const void *a, const void *b)
{
	const MdbProtoTag *x = *(const MdbProtoTag *const *) a;
	const MdbProtoTag *y = *(const MdbProtoTag *const *) b;

	if (x->key.len != y->key.len)
		return x->key.len < y->key.len ? -1 : 1;
	return memcmp(x->key.data, y->key.data, x->key.len);
}

/*
 * The tags as the bytes of a jsonb object of strings, without its length word: what JsonbValueToJsonb makes
 * of them, in a tenth of the time.  See jsonb.h for the layout.
 */
static void
put_jsonb(StringInfo key, const MdbProtoSeries *series)
{
	const MdbProtoTag *order[MDB_PROTO_MAX_TAGS];
	int n = series->ntags;
	bool sorted = true;
	uint32 offset = 0;
	uint32 at;
	uint32 header = (uint32) n | JB_FOBJECT;

	for (int i = 0; i < n; i++)
	{
		order[i] = &series->tags[i];
		sorted = sorted && (i == 0 || jsonb_key_cmp(&order[i - 1], &order[i]) < 0);
	}
	if (!sorted)
		qsort(order, n, sizeof(order[0]), jsonb_key_cmp);
	appendBinaryStringInfo(key, (const char *) &header, sizeof(header));
	at = key->len;
	enlargeStringInfo(key, 2 * n * sizeof(JEntry));
	key->len += 2 * n * sizeof(JEntry);
	/* All keys, then all values; of each JB_OFFSET_STRIDE'th is kept where it ends, of others how long it is. */
	for (int i = 0; i < 2 * n; i++)
	{
		MdbProtoBytes bytes = i < n ? order[i]->key : order[i - n]->value;
		JEntry entry = JENTRY_ISSTRING | bytes.len;

		offset += bytes.len;
		if (i % JB_OFFSET_STRIDE == 0)
			entry = JENTRY_ISSTRING | offset | JENTRY_HAS_OFF;
		memcpy(key->data + at + i * sizeof(JEntry), &entry, sizeof(JEntry));
		appendBinaryStringInfo(key, (const char *) bytes.data, bytes.len);
	}
}

void
mdb_series_key_put(const MdbSeriesColumns *columns, const MdbProtoSeries *series, StringInfo key)
{
	uint32 jsonb_len = sizeof(uint32) + 2 * series->ntags * sizeof(JEntry);

	for (int i = 0; i < series->ntags; i++)
		jsonb_len += series->tags[i].key.len + series->tags[i].value.len;
	for (int i = 0; i < 2; i++)
		if ((i == 0) == columns->name_first)
		{
			put_varint(key, columns->name);
			put_varint(key, series->name.len + 1);
			appendBinaryStringInfo(key, (const char *) series->name.data, series->name.len);
		}
		else
		{
			put_varint(key, columns->tags);
			put_varint(key, jsonb_len + 1);
			put_jsonb(key, series);
		}
}

/* What put_jsonb has written, added up.  False: it was not put_jsonb. */
static bool
jsonb_fingerprint(const uint8 *data, uint32 len, uint64 *sum)
{
	uint32 header, n, offset;
	uint32 ends[2 * MDB_PROTO_MAX_TAGS];
	const uint8 *texts;

	if (len < sizeof(header))
		return false;
	memcpy(&header, data, sizeof(header));
	n = header & JB_CMASK;
	if ((header & ~JB_CMASK) != JB_FOBJECT || n > MDB_PROTO_MAX_TAGS ||
		len < sizeof(header) + 2 * n * sizeof(JEntry))
		return false;
	texts = data + sizeof(header) + 2 * n * sizeof(JEntry);
	len -= texts - data;
	offset = 0;
	for (uint32 i = 0; i < 2 * n; i++)
	{
		JEntry entry;

		memcpy(&entry, data + sizeof(header) + i * sizeof(JEntry), sizeof(JEntry));
		if ((entry & JENTRY_TYPEMASK) != JENTRY_ISSTRING)
			return false;
		offset = (entry & JENTRY_OFFLENMASK) + (JBE_HAS_OFF(entry) ? 0 : offset);
		if (offset > len || (i > 0 && offset < ends[i - 1]))
			return false;
		ends[i] = offset;
	}
	for (uint32 i = 0; i < n; i++)
	{
		uint32 from = i > 0 ? ends[i - 1] : 0;
		MdbProtoBytes tag = {texts + from, ends[i] - from};
		MdbProtoBytes value = {texts + ends[n + i - 1], ends[n + i] - ends[n + i - 1]};

		*sum += mdb_fingerprint_add(tag, value);
	}
	return true;
}

bool
mdb_series_key_fingerprint(const MdbSeriesColumns *columns, const char *key, uint32 len, uint64 *fingerprint)
{
	const char *p = key;
	const char *bytes;
	uint32 attno, n;
	bool named = false;

	*fingerprint = 0;
	while (p < key + len && mdb_key_next(&p, key + len, &attno, &bytes, &n))
	{
		if (n == 0)
			continue;
		if (attno == columns->name)
		{
			*fingerprint += mdb_fingerprint_begin((MdbProtoBytes){(const uint8 *) bytes, n - 1});
			named = true;
		}
		else if (attno == columns->tags && !jsonb_fingerprint((const uint8 *) bytes, n - 1, fingerprint))
			return false;
	}
	return named;
}
