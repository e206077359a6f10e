/*
 * proto.h
 *	  Reads the protobuf messages of metricsdb.proto, by hand and within bounds.
 *
 * Pure C: no PostgreSQL types, no allocation, no global state.  Everything returned points into
 * the caller's bytes.  There are two depths of reading, because nearly every point belongs to a
 * series that was seen before:
 *
 *	mdb_proto_metric	walks over a Metric: finds the timestamp, the value, and the span of bytes
 *						that holds name and tags, without looking into them.  Equal spans are
 *						equal series, so the caller can look the span up in a cache.
 *	mdb_proto_series	reads such a span in full: name, and tags sorted and without duplicates.
 *						Only this one checks encoding and limits.
 */
#ifndef MDB_PROTO_H
#define MDB_PROTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More tags on one series, or more bytes of name and tags, than these are refused. */
#define MDB_PROTO_MAX_TAGS 128
#define MDB_PROTO_MAX_KEY  16384

typedef enum MdbProtoStatus
{
	MDB_PROTO_OK = 0,
	MDB_PROTO_END, /* of the batch: not an error */
	MDB_PROTO_TRUNCATED,
	MDB_PROTO_BAD_TAG,
	MDB_PROTO_BAD_VARINT,
	MDB_PROTO_BAD_GROUP,
	MDB_PROTO_CONFLUENT,
	MDB_PROTO_NO_NAME,
	MDB_PROTO_NO_TIMESTAMP,
	MDB_PROTO_BAD_UTF8,
	MDB_PROTO_NUL_BYTE,
	MDB_PROTO_MANY_TAGS,
	MDB_PROTO_LONG_KEY
} MdbProtoStatus;

typedef struct MdbProtoBytes
{
	const uint8_t *data;
	uint32_t len;
} MdbProtoBytes;

typedef struct MdbProtoPoint
{
	MdbProtoBytes key; /* the bytes that say name and tags */
	bool scattered;    /* the key is the whole message: of no use to a cache */
	int64_t timestamp;
	double value;
} MdbProtoPoint;

typedef struct MdbProtoTag
{
	MdbProtoBytes key;
	MdbProtoBytes value;
} MdbProtoTag;

typedef struct MdbProtoSeries
{
	MdbProtoBytes name;
	int ntags;
	MdbProtoTag tags[MDB_PROTO_MAX_TAGS]; /* by key: memcmp, then length; each key once */
} MdbProtoSeries;

typedef struct MdbProtoBatch
{
	const uint8_t *p; /* next field; after an error: the bytes not understood */
	const uint8_t *end;
} MdbProtoBatch;

/*
 * mdb_proto_metric - walk over one Metric of len bytes.
 *
 * MDB_PROTO_OK fills *point.  Its key is the contiguous run of name and tag fields; where a
 * producer wrote another field between them, it is the whole message, which says the same.
 */
extern MdbProtoStatus mdb_proto_metric(const uint8_t *data, size_t len, MdbProtoPoint *point);

/* mdb_proto_series - read name and tags in full from a key that mdb_proto_metric returned. */
extern MdbProtoStatus mdb_proto_series(MdbProtoBytes key, MdbProtoSeries *series);

/*
 * mdb_proto_batch_begin, mdb_proto_batch_next - the Metrics of a MetricBatch, one by one.
 *
 * Next returns MDB_PROTO_OK with the bytes of one Metric (not yet looked at), MDB_PROTO_END, or
 * what is wrong with the batch; then batch->p .. batch->end is what could not be read, and the
 * Metrics returned before are good.
 */
extern void mdb_proto_batch_begin(MdbProtoBatch *batch, const uint8_t *data, size_t len);
extern MdbProtoStatus mdb_proto_batch_next(MdbProtoBatch *batch, MdbProtoBytes *metric);

/*
 * mdb_proto_canonical - write a series as bytes that are equal iff the series are equal.
 *
 * Returns the length, or 0 if room is too small; MDB_PROTO_MAX_KEY is always enough for what
 * mdb_proto_series returned.  mdb_proto_canonical_read is the way back.
 */
extern size_t mdb_proto_canonical(const MdbProtoSeries *series, uint8_t *out, size_t room);
extern void mdb_proto_canonical_read(const uint8_t *key, size_t len, MdbProtoSeries *series);

/* mdb_proto_is_text - is this valid UTF-8 without NUL? */
extern bool mdb_proto_is_text(MdbProtoBytes text);

/* mdb_proto_code - a short stable word for a status; mdb_proto_reason - a sentence. */
extern const char *mdb_proto_code(MdbProtoStatus status);
extern const char *mdb_proto_reason(MdbProtoStatus status);

#endif /* MDB_PROTO_H */
