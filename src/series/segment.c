/*
 * segment.c
 *	  The payload of a row of metricsdb.series: some (id, key) pairs.
 *
 *		version (1 byte) | flags (1 byte) | [raw length, 4 bytes, if compressed] | body
 *		body = count varint, then for each pair, by rising id:
 *			id - previous id varint | bytes shared with the previous key varint |
 *			bytes that follow varint | those bytes
 *
 * The body is compressed by zstd where that makes it smaller.
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"

#include "series/series.h"
#include "stop.h"

#define SEGMENT_VERSION 1
#define SEGMENT_ZSTD    0x01
#define SEGMENT_RAW_MAX (256 * 1024 * 1024)

static void
put_varint(StringInfo buf, uint32 v)
{
	while (v >= 0x80)
	{
		appendStringInfoCharMacro(buf, (char) (v | 0x80));
		v >>= 7;
	}
	appendStringInfoCharMacro(buf, (char) v);
}

pg_noreturn static void
damaged(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED), errmsg("a segment of the series dictionary is damaged")));
}

static uint32
get_varint(const uint8 **p, const uint8 *end)
{
	uint32 result = 0;

	for (int shift = 0; shift < 35 && *p < end; shift += 7)
	{
		uint8 c = *(*p)++;

		result |= (uint32) (c & 0x7f) << shift;
		if (c < 0x80)
			return result;
	}
	damaged();
}

/*
 * mdb_segment_encode - entries, by rising id, to a payload.
 */
bytea *
mdb_segment_encode(const MdbSegmentEntry *entries, int count)
{
	StringInfoData body;
	uint32 prev_id = entries[0].id;
	const char *prev = NULL;
	uint32 prev_len = 0;
	bytea *result;
	uint8 *p;
	size_t n = 0;

	initStringInfo(&body);
	put_varint(&body, count);
	for (int i = 0; i < count; i++)
	{
		const MdbSegmentEntry *e = &entries[i];
		uint32 shared = 0;

		while (shared < prev_len && shared < e->len && prev[shared] == e->key[shared])
			shared++;
		put_varint(&body, e->id - prev_id);
		put_varint(&body, shared);
		put_varint(&body, e->len - shared);
		appendBinaryStringInfo(&body, e->key + shared, e->len - shared);
		prev_id = e->id;
		prev = e->key;
		prev_len = e->len;
	}

	result = palloc(VARHDRSZ + 6 + body.len);
	p = (uint8 *) VARDATA(result);
	p[0] = SEGMENT_VERSION;
	if (body.len >= 64)
		n = mdb_deflate((const uint8 *) body.data, body.len, 3, p + 6, body.len - 5);
	if (n > 0)
	{
		uint32 raw = body.len;

		p[1] = SEGMENT_ZSTD;
		memcpy(p + 2, &raw, sizeof(raw));
		SET_VARSIZE(result, VARHDRSZ + 6 + n);
	}
	else
	{
		p[1] = 0;
		memcpy(p + 2, body.data, body.len);
		SET_VARSIZE(result, VARHDRSZ + 2 + body.len);
	}
	pfree(body.data);
	return result;
}

/*
 * mdb_segment_decode - call back with each pair.  id_min is that of the row.  The key is good
 * for the time of the call only.  Raises ERRCODE_DATA_CORRUPTED.
 */
void
mdb_segment_decode(const bytea *payload, uint32 id_min, MdbSegmentCallback callback, void *arg)
{
	const uint8 *p = (const uint8 *) VARDATA_ANY(payload);
	const uint8 *end = p + VARSIZE_ANY_EXHDR(payload);
	uint8 *raw = NULL;
	uint32 count;
	uint32 id = id_min;
	StringInfoData key;

	if (end - p < 2)
		damaged();
	if (p[0] != SEGMENT_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a segment of the series dictionary has version %d, this library reads version %d",
						p[0], SEGMENT_VERSION),
				 errhint("Install a newer release of metricsdb.")));
	if (p[1] & SEGMENT_ZSTD)
	{
		uint32 raw_len;

		if (end - p < 6)
			damaged();
		memcpy(&raw_len, p + 2, sizeof(raw_len));
		if (raw_len > SEGMENT_RAW_MAX)
			damaged();
		raw = palloc(raw_len + 1);
		if (!mdb_inflate(p + 6, end - p - 6, raw, raw_len))
			damaged();
		p = raw;
		end = raw + raw_len;
	}
	else
		p += 2;

	initStringInfo(&key);
	count = get_varint(&p, end);
	while (count-- > 0)
	{
		uint32 shared, rest;

		id += get_varint(&p, end);
		shared = get_varint(&p, end);
		rest = get_varint(&p, end);
		if (shared > (uint32) key.len || rest > (uint32) (end - p))
			damaged();
		key.len = shared;
		appendBinaryStringInfo(&key, (const char *) p, rest);
		p += rest;
		callback(arg, id, key.data, key.len);
	}
	pfree(key.data);
	if (raw)
		pfree(raw);
}

/*
 * mdb_segments_write - write rows for some pairs, which come by rising id, as of command cid.  origin: NULL if
 * nothing is known of other rows that may have these keys or ids.
 */
void
mdb_segments_write(Relation rel, int64 storage_id, const MdbSegmentEntry *entries, uint32 n,
				   const MdbSegmentOrigin *origin, CommandId cid, int options)
{
	for (uint32 at = 0, count; at < n; at += count)
	{
		Datum v[Natts_series];
		bool nulls[Natts_series] = {0};
		Size bytes = 0;
		bytea *payload;

		CHECK_FOR_INTERRUPTS();
		for (count = 0; count < MDB_SEGMENT_PAIRS && at + count < n && bytes < MDB_SEGMENT_BYTES; count++)
		{
			/* Ids of another range: whoever looks for one between would have to look here, too. */
			if (count > 0 && entries[at + count].id - entries[at + count - 1].id > MDB_SEGMENT_GAP)
				break;
			bytes += entries[at + count].len;
		}
		payload = mdb_segment_encode(&entries[at], count);
		v[Anum_series_storage_id - 1] = Int64GetDatum(storage_id);
		v[Anum_series_id_min - 1] = Int64GetDatum(entries[at].id);
		v[Anum_series_id_max - 1] = Int64GetDatum(entries[at + count - 1].id);
		v[Anum_series_nseries - 1] = Int32GetDatum(count);
		v[Anum_series_payload - 1] = PointerGetDatum(payload);
		v[Anum_series_registrar - 1] = Int64GetDatum(origin ? origin->registrar : 0);
		v[Anum_series_xid - 1] = Int64GetDatum((int64) U64FromFullTransactionId(GetTopFullTransactionId()));
		v[Anum_series_horizon - 1] = Int64GetDatum(origin ? (int64) origin->horizon : 0);
		mdb_catalog_insert(rel, v, nulls, cid, options);
		MDB_STOP("series.segment");
		pfree(payload);
	}
}
