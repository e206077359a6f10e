/*
 * fuzz_proto.c
 *	  libFuzzer target for src/ingest/proto.c and fingerprint.c: no byte outside the input is read, and the
 *	  invariants of the decoder hold for whatever is accepted.
 */
#include <stdlib.h>
#include <string.h>

#include "ingest/fingerprint.h"

#define REQUIRE(cond) \
	do                \
	{                 \
		if (!(cond))  \
			abort();  \
	} while (0)

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
same_series(const MdbProtoSeries *a, const MdbProtoSeries *b)
{
	REQUIRE(a->name.len == b->name.len && a->ntags == b->ntags);
	REQUIRE(memcmp(a->name.data, b->name.data, a->name.len) == 0);
	for (int i = 0; i < a->ntags; i++)
	{
		REQUIRE(a->tags[i].key.len == b->tags[i].key.len);
		REQUIRE(a->tags[i].value.len == b->tags[i].value.len);
		if (a->tags[i].key.len > 0)
			REQUIRE(memcmp(a->tags[i].key.data, b->tags[i].key.data, a->tags[i].key.len) == 0);
		if (a->tags[i].value.len > 0)
			REQUIRE(memcmp(a->tags[i].value.data, b->tags[i].value.data, a->tags[i].value.len) == 0);
	}
}

/* The fingerprint of a key, if it has one, is that of the series. */
static void
same_fingerprint(MdbProtoBytes key)
{
	MdbFingerprint fingerprint;
	MdbProtoSeries series;
	uint64_t hash;

	if (!mdb_fingerprint_key(key, &fingerprint))
		return;
	REQUIRE(mdb_proto_series(key, &series) == MDB_PROTO_OK);
	REQUIRE(series.name.len == fingerprint.name.len);
	REQUIRE(memcmp(series.name.data, fingerprint.name.data, series.name.len) == 0);
	hash = mdb_fingerprint_begin(series.name);
	for (int i = 0; i < series.ntags; i++)
	{
		MdbProtoBytes value;

		hash += mdb_fingerprint_add(series.tags[i].key, series.tags[i].value);
		REQUIRE(mdb_fingerprint_tag(&fingerprint, series.tags[i].key, &value));
		REQUIRE(value.data == series.tags[i].value.data && value.len == series.tags[i].value.len);
	}
	REQUIRE(hash == fingerprint.hash);
}

static void
one_metric(const uint8_t *data, size_t size)
{
	static uint8_t canonical[MDB_PROTO_MAX_KEY];
	MdbProtoPoint point;
	MdbProtoSeries series;
	MdbProtoSeries other;
	MdbProtoBytes whole = {data, (uint32_t) size};
	size_t len;

	if (mdb_proto_metric(data, size, &point) != MDB_PROTO_OK)
		return;
	REQUIRE(point.key.data >= data && point.key.data + point.key.len <= data + size);
	same_fingerprint(point.key);

	/* The key says the same as the whole message (invariant 3). */
	if (mdb_proto_series(point.key, &series) != MDB_PROTO_OK)
	{
		REQUIRE(mdb_proto_series(whole, &other) != MDB_PROTO_OK);
		return;
	}
	REQUIRE(mdb_proto_series(whole, &other) == MDB_PROTO_OK);
	same_series(&series, &other);

	/* The canonical form goes both ways. */
	len = mdb_proto_canonical(&series, canonical, sizeof(canonical));
	REQUIRE(len > 0);
	mdb_proto_canonical_read(canonical, len, &other);
	same_series(&series, &other);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	MdbProtoBatch batch;
	MdbProtoBytes metric;
	MdbProtoSeries series;
	const uint8_t *before = data;

	one_metric(data, size);
	same_fingerprint((MdbProtoBytes){data, (uint32_t) size});

	mdb_proto_batch_begin(&batch, data, size);
	while (mdb_proto_batch_next(&batch, &metric) == MDB_PROTO_OK)
	{
		REQUIRE(batch.p > before && batch.p <= batch.end);
		before = batch.p;
		one_metric(metric.data, metric.len);
	}

	/* Never bytes of ours, but it must be as safe. */
	mdb_proto_canonical_read(data, size, &series);
	return 0;
}
