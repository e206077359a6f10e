/*
 * proto.c
 *	  Reads the protobuf messages of metricsdb.proto, by hand and within bounds.
 *
 * Invariants:
 *	1. No byte outside [data, data + len) is read, whatever the bytes say.
 *	2. A Metric means the same as in any other protobuf implementation: fields in any order,
 *	   unknown fields of every wire type skipped, the last of repeated scalars and of equal map
 *	   keys wins, an absent map key or value is the empty string.
 *	3. mdb_proto_series gives the same answer for the key that mdb_proto_metric returns as for
 *	   the whole Metric; so a cache may be keyed by the key's bytes.
 *	4. Time is linear in len, but for the sort of at most MDB_PROTO_MAX_TAGS tags.
 *
 * Called by decode.c; a gateway process may use it as it is.
 */
#include "proto.h"

#include <string.h>

/* Wire types */
#define WT_VARINT           0
#define WT_FIXED64          1
#define WT_BYTES            2
#define WT_GROUP            3
#define WT_END_GROUP        4
#define WT_FIXED32          5

#define FIELD(number, type) ((uint32_t) ((number) << 3 | (type)))

#define METRIC_NAME         FIELD(1, WT_BYTES)
#define METRIC_TAGS         FIELD(2, WT_BYTES)
#define METRIC_TIMESTAMP    FIELD(3, WT_VARINT)
#define METRIC_VALUE        FIELD(4, WT_FIXED64)
#define TAG_KEY             FIELD(1, WT_BYTES)
#define TAG_VALUE           FIELD(2, WT_BYTES)
#define BATCH_METRIC        FIELD(1, WT_BYTES)

#define MAX_GROUP_DEPTH     64

typedef struct Cursor
{
	const uint8_t *p;
	const uint8_t *end;
} Cursor;

/*
 * read_varint - a base-128 varint of at most ten bytes and 64 bits.
 */
static MdbProtoStatus
read_varint(Cursor *c, uint64_t *value)
{
	const uint8_t *p = c->p;
	uint64_t v = 0;

	for (int shift = 0; shift < 70; shift += 7)
	{
		uint8_t byte;

		if (p == c->end)
			return MDB_PROTO_TRUNCATED;
		byte = *p++;
		if (shift == 63 && byte > 1)
			return MDB_PROTO_BAD_VARINT;
		v |= (uint64_t) (byte & 0x7f) << shift;
		if (byte < 0x80)
		{
			c->p = p;
			*value = v;
			return MDB_PROTO_OK;
		}
	}
	return MDB_PROTO_BAD_VARINT;
}

/*
 * read_tag - field number and wire type; the number is within what protobuf allows.
 */
static MdbProtoStatus
read_tag(Cursor *c, uint32_t *tag)
{
	uint64_t v;
	MdbProtoStatus status = read_varint(c, &v);

	if (status != MDB_PROTO_OK)
		return status;
	if (v > UINT32_MAX || (v >> 3) == 0)
		return MDB_PROTO_BAD_TAG;
	*tag = (uint32_t) v;
	return MDB_PROTO_OK;
}

/*
 * read_bytes - a length and that many bytes.
 */
static MdbProtoStatus
read_bytes(Cursor *c, MdbProtoBytes *bytes)
{
	uint64_t len;
	MdbProtoStatus status = read_varint(c, &len);

	if (status != MDB_PROTO_OK)
		return status;
	if (len > (uint64_t) (c->end - c->p) || len > INT32_MAX)
		return MDB_PROTO_TRUNCATED;
	bytes->data = c->p;
	bytes->len = (uint32_t) len;
	c->p += len;
	return MDB_PROTO_OK;
}

/*
 * skip_plain - step over the value of a field that is not a group.
 */
static MdbProtoStatus
skip_plain(Cursor *c, uint32_t tag)
{
	MdbProtoBytes bytes;
	uint64_t v;
	size_t width;

	switch (tag & 7)
	{
		case WT_VARINT:
			return read_varint(c, &v);
		case WT_BYTES:
			return read_bytes(c, &bytes);
		case WT_FIXED64:
			width = 8;
			break;
		case WT_FIXED32:
			width = 4;
			break;
		default:
			return MDB_PROTO_BAD_TAG;
	}
	if ((size_t) (c->end - c->p) < width)
		return MDB_PROTO_TRUNCATED;
	c->p += width;
	return MDB_PROTO_OK;
}

/*
 * skip_field - step over the value of any field, nested groups included.
 */
static MdbProtoStatus
skip_field(Cursor *c, uint32_t tag)
{
	uint32_t open[MAX_GROUP_DEPTH];
	int depth = 0;

	for (;;)
	{
		MdbProtoStatus status = MDB_PROTO_OK;

		if ((tag & 7) == WT_GROUP)
		{
			if (depth == MAX_GROUP_DEPTH)
				return MDB_PROTO_BAD_GROUP;
			open[depth++] = tag >> 3;
		}
		else if ((tag & 7) == WT_END_GROUP)
		{
			if (depth == 0 || open[--depth] != tag >> 3)
				return MDB_PROTO_BAD_GROUP;
		}
		else
			status = skip_plain(c, tag);

		if (status != MDB_PROTO_OK || depth == 0)
			return status;
		status = read_tag(c, &tag);
		if (status != MDB_PROTO_OK)
			return status;
	}
}

MdbProtoStatus
mdb_proto_metric(const uint8_t *data, size_t len, MdbProtoPoint *point)
{
	Cursor c = {data, data + len};
	const uint8_t *key = NULL;
	const uint8_t *key_end = NULL;
	bool has_name = false;
	bool has_timestamp = false;
	bool scattered = false;

	if (len > INT32_MAX)
		return MDB_PROTO_LONG_KEY;
	if (len > 0 && data[0] == 0)
		return MDB_PROTO_CONFLUENT;
	point->value = 0.0;

	while (c.p < c.end)
	{
		const uint8_t *field = c.p;
		MdbProtoStatus status = MDB_PROTO_OK;
		MdbProtoBytes bytes;
		uint64_t v;
		uint32_t tag = *c.p;

		/* All four fields have tags of one byte; only odd encoders write them longer. */
		if (tag < 0x80 && tag > 7)
			c.p++;
		else if ((status = read_tag(&c, &tag)) != MDB_PROTO_OK)
			return status;

		switch (tag)
		{
			case METRIC_NAME:
			case METRIC_TAGS:
				/* A length below 128 is the common case, by far. */
				if (c.p < c.end && *c.p < 0x80)
				{
					if (*c.p >= c.end - c.p)
						return MDB_PROTO_TRUNCATED;
					c.p += 1 + *c.p;
				}
				else
					status = read_bytes(&c, &bytes);
				if (key == NULL)
					key = field;
				else if (field != key_end)
					scattered = true;
				key_end = c.p;
				has_name |= (tag == METRIC_NAME);
				break;

			case METRIC_TIMESTAMP:
				status = read_varint(&c, &v);
				if (status == MDB_PROTO_OK)
				{
					point->timestamp = (int64_t) v;
					has_timestamp = true;
				}
				break;

			case METRIC_VALUE:
				if (c.end - c.p < 8)
					return MDB_PROTO_TRUNCATED;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
				v = 0;
				for (int i = 7; i >= 0; i--)
					v = v << 8 | c.p[i];
				memcpy(&point->value, &v, 8);
#else
				memcpy(&point->value, c.p, 8);
#endif
				c.p += 8;
				break;

			default:
				status = skip_field(&c, tag);
				break;
		}
		if (status != MDB_PROTO_OK)
			return status;
	}

	if (!has_name)
		return MDB_PROTO_NO_NAME;
	if (!has_timestamp)
		return MDB_PROTO_NO_TIMESTAMP;
	if (scattered)
	{
		key = data;
		key_end = data + len;
	}
	point->scattered = scattered;
	point->key.data = key;
	point->key.len = (uint32_t) (key_end - key);
	return MDB_PROTO_OK;
}

/*
 * compare_bytes - memcmp, then the shorter first.
 */
static int
compare_bytes(MdbProtoBytes a, MdbProtoBytes b)
{
	uint32_t n = a.len < b.len ? a.len : b.len;
	int cmp = n > 0 ? memcmp(a.data, b.data, n) : 0;

	return cmp != 0 ? cmp : (a.len > b.len) - (a.len < b.len);
}

/*
 * add_tag - put a tag where it belongs in the sorted array; an equal key is replaced.
 *
 * Producers mostly write tags in order, so the search starts from the end.
 */
static MdbProtoStatus
add_tag(MdbProtoSeries *series, const MdbProtoTag *tag)
{
	int i = series->ntags;

	while (i > 0)
	{
		int cmp = compare_bytes(tag->key, series->tags[i - 1].key);

		if (cmp == 0)
		{
			series->tags[i - 1] = *tag;
			return MDB_PROTO_OK;
		}
		if (cmp > 0)
			break;
		i--;
	}
	if (series->ntags == MDB_PROTO_MAX_TAGS)
		return MDB_PROTO_MANY_TAGS;
	memmove(&series->tags[i + 1], &series->tags[i], (series->ntags - i) * sizeof(MdbProtoTag));
	series->tags[i] = *tag;
	series->ntags++;
	return MDB_PROTO_OK;
}

/*
 * read_tag_entry - one entry of the tags map, itself a small message.
 */
static MdbProtoStatus
read_tag_entry(MdbProtoBytes entry, MdbProtoTag *out)
{
	Cursor c = {entry.data, entry.data + entry.len};

	out->key.data = out->value.data = entry.data;
	out->key.len = out->value.len = 0;

	while (c.p < c.end)
	{
		uint32_t tag;
		MdbProtoStatus status = read_tag(&c, &tag);

		if (status == MDB_PROTO_OK)
		{
			if (tag == TAG_KEY)
				status = read_bytes(&c, &out->key);
			else if (tag == TAG_VALUE)
				status = read_bytes(&c, &out->value);
			else
				status = skip_field(&c, tag);
		}
		if (status != MDB_PROTO_OK)
			return status;
	}
	return MDB_PROTO_OK;
}

/*
 * check_text - is this valid UTF-8 (RFC 3629: shortest forms, no surrogates) without NUL?
 */
static MdbProtoStatus
check_text(MdbProtoBytes text)
{
	const uint8_t *p = text.data;
	const uint8_t *end = p + text.len;

	while (p < end)
	{
		uint8_t c = *p++;
		uint8_t low = 0x80;
		uint8_t high = 0xbf;
		int more;

		if (c == 0)
			return MDB_PROTO_NUL_BYTE;
		if (c < 0x80)
			continue;
		if (c >= 0xc2 && c <= 0xdf)
			more = 1;
		else if (c >= 0xe0 && c <= 0xef)
			more = 2;
		else if (c >= 0xf0 && c <= 0xf4)
			more = 3;
		else
			return MDB_PROTO_BAD_UTF8;
		if (more > end - p)
			return MDB_PROTO_BAD_UTF8;

		/* The first byte that follows has a narrower range after these. */
		if (c == 0xe0)
			low = 0xa0;
		else if (c == 0xed)
			high = 0x9f;
		else if (c == 0xf0)
			low = 0x90;
		else if (c == 0xf4)
			high = 0x8f;
		for (; more > 0; more--)
		{
			if (*p < low || *p > high)
				return MDB_PROTO_BAD_UTF8;
			low = 0x80;
			high = 0xbf;
			p++;
		}
	}
	return MDB_PROTO_OK;
}

bool
mdb_proto_is_text(MdbProtoBytes text)
{
	return check_text(text) == MDB_PROTO_OK;
}

MdbProtoStatus
mdb_proto_series(MdbProtoBytes key, MdbProtoSeries *series)
{
	Cursor c = {key.data, key.data + key.len};
	MdbProtoStatus status;
	size_t total;

	series->name.data = key.data;
	series->name.len = 0;
	series->ntags = 0;

	while (c.p < c.end)
	{
		MdbProtoBytes entry;
		MdbProtoTag pair;
		uint32_t tag;

		status = read_tag(&c, &tag);
		if (status == MDB_PROTO_OK)
		{
			if (tag == METRIC_NAME)
				status = read_bytes(&c, &series->name);
			else if (tag == METRIC_TAGS)
			{
				status = read_bytes(&c, &entry);
				if (status == MDB_PROTO_OK)
					status = read_tag_entry(entry, &pair);
				if (status == MDB_PROTO_OK)
					status = add_tag(series, &pair);
			}
			else
				status = skip_field(&c, tag);
		}
		if (status != MDB_PROTO_OK)
			return status;
	}

	if (series->name.len == 0)
		return MDB_PROTO_NO_NAME;
	status = check_text(series->name);
	total = 3 + series->name.len;
	for (int i = 0; i < series->ntags && status == MDB_PROTO_OK; i++)
	{
		status = check_text(series->tags[i].key);
		if (status == MDB_PROTO_OK)
			status = check_text(series->tags[i].value);
		total += 6 + series->tags[i].key.len + (size_t) series->tags[i].value.len;
	}
	if (status == MDB_PROTO_OK && total > MDB_PROTO_MAX_KEY)
		status = MDB_PROTO_LONG_KEY;
	return status;
}

void
mdb_proto_batch_begin(MdbProtoBatch *batch, const uint8_t *data, size_t len)
{
	batch->p = data;
	batch->end = data + len;
}

MdbProtoStatus
mdb_proto_batch_next(MdbProtoBatch *batch, MdbProtoBytes *metric)
{
	Cursor c = {batch->p, batch->end};

	if (c.p < c.end && *c.p == 0)
		return MDB_PROTO_CONFLUENT;

	while (c.p < c.end)
	{
		uint32_t tag;
		MdbProtoStatus status = read_tag(&c, &tag);

		if (status == MDB_PROTO_OK)
			status = (tag == BATCH_METRIC) ? read_bytes(&c, metric) : skip_field(&c, tag);
		if (status != MDB_PROTO_OK)
			return status; /* batch->p stays before the field */
		batch->p = c.p;
		if (tag == BATCH_METRIC)
			return MDB_PROTO_OK;
	}
	return MDB_PROTO_END;
}

/*
 * The canonical form: for name, then each tag's key and value: length in three 7-bit digits, or
 * one byte where it is below 128, and the bytes.  MDB_PROTO_MAX_KEY bounds every length.
 */
static size_t
put_text(uint8_t *out, MdbProtoBytes text)
{
	size_t n = 0;
	uint32_t len = text.len;

	while (len >= 0x80)
	{
		out[n++] = (uint8_t) (len | 0x80);
		len >>= 7;
	}
	out[n++] = (uint8_t) len;
	if (text.len > 0)
		memcpy(out + n, text.data, text.len);
	return n + text.len;
}

size_t
mdb_proto_canonical(const MdbProtoSeries *series, uint8_t *out, size_t room)
{
	size_t need = 3 + (size_t) series->name.len;
	size_t n;

	for (int i = 0; i < series->ntags; i++)
		need += 6 + (size_t) series->tags[i].key.len + series->tags[i].value.len;
	if (need > room)
		return 0;

	n = put_text(out, series->name);
	for (int i = 0; i < series->ntags; i++)
	{
		n += put_text(out + n, series->tags[i].key);
		n += put_text(out + n, series->tags[i].value);
	}
	return n;
}

void
mdb_proto_canonical_read(const uint8_t *key, size_t len, MdbProtoSeries *series)
{
	Cursor c = {key, key + len};

	series->ntags = 0;
	if (read_bytes(&c, &series->name) != MDB_PROTO_OK)
		series->name.len = 0; /* not what mdb_proto_canonical wrote */
	while (series->ntags < MDB_PROTO_MAX_TAGS &&
		   read_bytes(&c, &series->tags[series->ntags].key) == MDB_PROTO_OK &&
		   read_bytes(&c, &series->tags[series->ntags].value) == MDB_PROTO_OK)
		series->ntags++;
}

const char *
mdb_proto_code(MdbProtoStatus status)
{
	switch (status)
	{
		case MDB_PROTO_OK:
		case MDB_PROTO_END:
			return "ok";
		case MDB_PROTO_TRUNCATED:
			return "truncated";
		case MDB_PROTO_BAD_TAG:
		case MDB_PROTO_BAD_VARINT:
		case MDB_PROTO_BAD_GROUP:
			return "malformed";
		case MDB_PROTO_CONFLUENT:
			return "confluent_prefix";
		case MDB_PROTO_NO_NAME:
			return "missing_name";
		case MDB_PROTO_NO_TIMESTAMP:
			return "missing_timestamp";
		case MDB_PROTO_BAD_UTF8:
			return "invalid_utf8";
		case MDB_PROTO_NUL_BYTE:
			return "nul_byte";
		case MDB_PROTO_MANY_TAGS:
			return "too_many_tags";
		case MDB_PROTO_LONG_KEY:
			return "key_too_long";
	}
	return "unknown";
}

const char *
mdb_proto_reason(MdbProtoStatus status)
{
	switch (status)
	{
		case MDB_PROTO_OK:
		case MDB_PROTO_END:
			return "no error";
		case MDB_PROTO_TRUNCATED:
			return "message ends inside a field";
		case MDB_PROTO_BAD_TAG:
			return "not a protobuf message: invalid field number or wire type";
		case MDB_PROTO_BAD_VARINT:
			return "not a protobuf message: number longer than 64 bits";
		case MDB_PROTO_BAD_GROUP:
			return "not a protobuf message: group that is not closed, or nested too deeply";
		case MDB_PROTO_CONFLUENT:
			return "message starts with the prefix of a schema registry; "
				   "send plain protobuf, without a schema registry serializer";
		case MDB_PROTO_NO_NAME:
			return "point has no metric name";
		case MDB_PROTO_NO_TIMESTAMP:
			return "point has no timestamp";
		case MDB_PROTO_BAD_UTF8:
			return "metric name or tag is not valid UTF-8";
		case MDB_PROTO_NUL_BYTE:
			return "metric name or tag contains a NUL byte";
		case MDB_PROTO_MANY_TAGS:
			return "point has more than 128 tags";
		case MDB_PROTO_LONG_KEY:
			return "metric name and tags are longer than 16 kB";
	}
	return "unknown error";
}
