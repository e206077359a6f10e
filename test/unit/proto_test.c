/*
 * proto_test.c
 *	  Unit tests of src/ingest/proto.c and fingerprint.c: a plain program.  Last line: "N passed, N failed".
 *
 * Messages are built by a little encoder below, so that each test says what it means; every
 * message is also cut at each byte and copied to exactly sized memory, for the sanitizers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/fingerprint.h"

static int passed;
static int failed;

static void
check(bool ok, const char *what, int line)
{
	if (ok)
		passed++;
	else
	{
		failed++;
		printf("not ok: line %d: %s\n", line, what);
	}
}

#define CHECK(cond) check((cond), #cond, __LINE__)

/* A message under construction. */
typedef struct Msg
{
	uint8_t data[65536];
	size_t len;
} Msg;

static void
put(Msg *m, const void *data, size_t len)
{
	memcpy(m->data + m->len, data, len);
	m->len += len;
}

static void
byte(Msg *m, int b)
{
	m->data[m->len++] = (uint8_t) b;
}

static void
varint(Msg *m, uint64_t v)
{
	while (v >= 0x80)
	{
		byte(m, (int) (v | 0x80) & 0xff);
		v >>= 7;
	}
	byte(m, (int) v);
}

static void
bytes_field(Msg *m, int number, const void *data, size_t len)
{
	varint(m, (uint64_t) number << 3 | 2);
	varint(m, len);
	put(m, data, len);
}

static void
text_field(Msg *m, int number, const char *text)
{
	bytes_field(m, number, text, strlen(text));
}

static void
tag_field(Msg *m, const char *key, const char *value)
{
	Msg e = {.len = 0};

	if (key)
		text_field(&e, 1, key);
	if (value)
		text_field(&e, 2, value);
	bytes_field(m, 2, e.data, e.len);
}

static void
timestamp_field(Msg *m, int64_t t)
{
	byte(m, 0x18);
	varint(m, (uint64_t) t);
}

static void
value_field(Msg *m, double v)
{
	byte(m, 0x21);
	put(m, &v, 8); /* the tests run on little-endian machines */
}

static void
plain(Msg *m)
{
	m->len = 0;
	text_field(m, 1, "cpu.user");
	tag_field(m, "host", "web-1");
	tag_field(m, "region", "eu");
	timestamp_field(m, 1700000000123);
	value_field(m, 42.5);
}

/* The point and, through its key, the series of a message. */
static MdbProtoStatus
read_all(const Msg *m, MdbProtoPoint *pt, MdbProtoSeries *s)
{
	MdbProtoStatus status = mdb_proto_metric(m->data, m->len, pt);

	if (status == MDB_PROTO_OK)
		status = mdb_proto_series(pt->key, s);
	return status;
}

static bool
is(MdbProtoBytes b, const char *text)
{
	return b.len == strlen(text) && memcmp(b.data, text, b.len) == 0;
}

static void
test_plain(void)
{
	static Msg m;
	MdbProtoPoint pt;
	MdbProtoSeries s;

	plain(&m);
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK);
	CHECK(pt.timestamp == 1700000000123 && pt.value == 42.5 && !pt.scattered);
	CHECK(is(s.name, "cpu.user") && s.ntags == 2);
	CHECK(is(s.tags[0].key, "host") && is(s.tags[0].value, "web-1"));
	CHECK(is(s.tags[1].key, "region") && is(s.tags[1].value, "eu"));
	/* The key leaves out timestamp and value. */
	CHECK(pt.key.data == m.data && pt.key.len < m.len);
}

static void
test_order(void)
{
	static Msg m;
	MdbProtoPoint pt;
	MdbProtoSeries s;

	/* Timestamp and value first: the key is still one run. */
	m.len = 0;
	value_field(&m, -1.0);
	timestamp_field(&m, 5);
	tag_field(&m, "b", "2");
	tag_field(&m, "a", "1");
	text_field(&m, 1, "n");
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK && !pt.scattered);
	CHECK(pt.timestamp == 5 && pt.value == -1.0);
	CHECK(is(s.name, "n") && s.ntags == 2 && is(s.tags[0].key, "a") && is(s.tags[1].key, "b"));

	/* The timestamp between name and tags: the key is the message, the series the same. */
	m.len = 0;
	text_field(&m, 1, "n");
	timestamp_field(&m, 5);
	tag_field(&m, "a", "1");
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK && pt.scattered && pt.key.len == m.len);
	CHECK(is(s.name, "n") && s.ntags == 1 && is(s.tags[0].value, "1"));
}

static void
test_repeats(void)
{
	static Msg m;
	MdbProtoPoint pt;
	MdbProtoSeries s;

	m.len = 0;
	text_field(&m, 1, "first");
	text_field(&m, 1, "last");
	tag_field(&m, "k", "old");
	tag_field(&m, "z", "z");
	tag_field(&m, "k", "new");
	timestamp_field(&m, 1);
	timestamp_field(&m, 2);
	value_field(&m, 1);
	value_field(&m, 2);
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK);
	CHECK(pt.timestamp == 2 && pt.value == 2.0);
	CHECK(is(s.name, "last") && s.ntags == 2);
	CHECK(is(s.tags[0].key, "k") && is(s.tags[0].value, "new"));

	/* Within a map entry too. */
	{
		Msg e = {.len = 0};

		text_field(&e, 1, "x");
		text_field(&e, 2, "1");
		text_field(&e, 1, "y");
		text_field(&e, 2, "2");
		m.len = 0;
		text_field(&m, 1, "n");
		bytes_field(&m, 2, e.data, e.len);
		timestamp_field(&m, 1);
	}
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK && s.ntags == 1);
	CHECK(is(s.tags[0].key, "y") && is(s.tags[0].value, "2"));
}

static void
test_missing(void)
{
	static Msg m;
	MdbProtoPoint pt;
	MdbProtoSeries s;

	m.len = 0;
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_NO_NAME);

	m.len = 0;
	timestamp_field(&m, 1);
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_NO_NAME);
	tag_field(&m, "a", "b");
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_NO_NAME);
	text_field(&m, 1, "");
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_NO_NAME);

	m.len = 0;
	text_field(&m, 1, "n");
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_NO_TIMESTAMP);
	timestamp_field(&m, 0);
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK);
	CHECK(pt.value == 0.0 && pt.timestamp == 0 && s.ntags == 0);

	/* A map entry without key, without value, without both. */
	tag_field(&m, NULL, "v");
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK);
	CHECK(s.ntags == 1 && s.tags[0].key.len == 0 && is(s.tags[0].value, "v"));
	tag_field(&m, "k", NULL);
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK && s.ntags == 2);
	CHECK(is(s.tags[1].key, "k") && s.tags[1].value.len == 0);
	tag_field(&m, NULL, NULL);
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK && s.ntags == 2 && s.tags[0].value.len == 0);
}

static void
test_unknown(void)
{
	static Msg m;
	static Msg mid;
	MdbProtoPoint pt;
	MdbProtoSeries s;

	for (int where = 0; where < 3; where++)
	{
		mid.len = 0;
		varint(&mid, 5 << 3 | 0);
		varint(&mid, UINT64_MAX);
		varint(&mid, 6 << 3 | 1);
		put(&mid, "12345678", 8);
		text_field(&mid, 7, "unknown");
		varint(&mid, 8 << 3 | 5);
		put(&mid, "1234", 4);
		varint(&mid, (uint64_t) 536870911 << 3 | 3); /* the greatest number; a group */
		varint(&mid, 1 << 3 | 3);                    /* a group in it, numbered like the name */
		text_field(&mid, 1, "no");
		varint(&mid, 1 << 3 | 4);
		varint(&mid, (uint64_t) 536870911 << 3 | 4);
		varint(&mid, 1 << 3 | 0); /* the name's number with another wire type */
		varint(&mid, 7);
		varint(&mid, 4 << 3 | 2); /* the value's number with another wire type */
		varint(&mid, 0);

		m.len = 0;
		if (where == 0)
			put(&m, mid.data, mid.len);
		text_field(&m, 1, "n");
		if (where == 1)
			put(&m, mid.data, mid.len);
		tag_field(&m, "a", "1");
		timestamp_field(&m, 3);
		value_field(&m, 4.0);
		if (where == 2)
			put(&m, mid.data, mid.len);
		CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK);
		CHECK(pt.scattered == (where == 1));
		CHECK(is(s.name, "n") && s.ntags == 1 && pt.timestamp == 3 && pt.value == 4.0);
	}

	/* An unknown field inside a map entry. */
	mid.len = 0;
	text_field(&mid, 1, "k");
	text_field(&mid, 3, "what");
	text_field(&mid, 2, "v");
	m.len = 0;
	text_field(&m, 1, "n");
	bytes_field(&m, 2, mid.data, mid.len);
	timestamp_field(&m, 1);
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK && s.ntags == 1 && is(s.tags[0].value, "v"));

	/* Known fields with longer tags than need be. */
	m.len = 0;
	put(&m, "\x8a\x00\x01n", 4);
	put(&m, "\x98\x80\x00\x07", 4);
	put(&m, "\xa1\x00\0\0\0\0\0\0\xf0\x3f", 10);
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK);
	CHECK(is(s.name, "n") && pt.timestamp == 7 && pt.value == 1.0);
}

static void
test_groups(void)
{
	static Msg m;
	MdbProtoPoint pt;

	plain(&m);
	varint(&m, 9 << 3 | 3);
	CHECK(mdb_proto_metric(m.data, m.len, &pt) == MDB_PROTO_TRUNCATED);
	varint(&m, 10 << 3 | 4);
	CHECK(mdb_proto_metric(m.data, m.len, &pt) == MDB_PROTO_BAD_GROUP);

	plain(&m);
	varint(&m, 9 << 3 | 4);
	CHECK(mdb_proto_metric(m.data, m.len, &pt) == MDB_PROTO_BAD_GROUP);

	plain(&m);
	for (int i = 0; i < 64; i++)
		varint(&m, 9 << 3 | 3);
	for (int i = 0; i < 64; i++)
		varint(&m, 9 << 3 | 4);
	CHECK(mdb_proto_metric(m.data, m.len, &pt) == MDB_PROTO_OK);

	plain(&m);
	for (int i = 0; i < 10000; i++)
		varint(&m, 9 << 3 | 3);
	CHECK(mdb_proto_metric(m.data, m.len, &pt) == MDB_PROTO_BAD_GROUP);
}

static void
test_varints(void)
{
	static Msg m;
	MdbProtoPoint pt;
	int64_t times[] = {0, 1, 127, 128, -1, -1700000000123, INT64_MAX, INT64_MIN};

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
	{
		m.len = 0;
		text_field(&m, 1, "n");
		timestamp_field(&m, times[i]);
		CHECK(mdb_proto_metric(m.data, m.len, &pt) == MDB_PROTO_OK && pt.timestamp == times[i]);
	}

	/* Ten bytes but more than 64 bits; eleven bytes; longer than need be. */
	m.len = 0;
	text_field(&m, 1, "n");
	put(&m, "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11);
	CHECK(mdb_proto_metric(m.data, m.len, &pt) == MDB_PROTO_BAD_VARINT);
	m.len = 0;
	text_field(&m, 1, "n");
	put(&m, "\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00", 12);
	CHECK(mdb_proto_metric(m.data, m.len, &pt) == MDB_PROTO_BAD_VARINT);
	m.len = 0;
	text_field(&m, 1, "n");
	put(&m, "\x18\x81\x80\x80\x80\x80\x80\x80\x80\x80\x00", 11);
	CHECK(mdb_proto_metric(m.data, m.len, &pt) == MDB_PROTO_OK && pt.timestamp == 1);

	/* Lengths that point out of the message, up to ones that would wrap a pointer. */
	m.len = 0;
	put(&m,
		"\x0a\x05"
		"abc",
		5);
	CHECK(mdb_proto_metric(m.data, m.len, &pt) == MDB_PROTO_TRUNCATED);
	m.len = 0;
	put(&m, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
	CHECK(mdb_proto_metric(m.data, m.len, &pt) == MDB_PROTO_TRUNCATED);

	/* Field number 0, a tag of more than 32 bits, wire types 6 and 7. */
	plain(&m);
	byte(&m, 0x02);
	CHECK(mdb_proto_metric(m.data, m.len, &pt) == MDB_PROTO_BAD_TAG);
	plain(&m);
	varint(&m, (uint64_t) 1 << 32);
	CHECK(mdb_proto_metric(m.data, m.len, &pt) == MDB_PROTO_BAD_TAG);
	plain(&m);
	varint(&m, 9 << 3 | 6);
	CHECK(mdb_proto_metric(m.data, m.len, &pt) == MDB_PROTO_BAD_TAG);
	plain(&m);
	varint(&m, 9 << 3 | 7);
	CHECK(mdb_proto_metric(m.data, m.len, &pt) == MDB_PROTO_BAD_TAG);

	m.len = 0;
	put(&m, "\x00\x00\x00\x00\x07\x00\x0a\x01n", 9);
	CHECK(mdb_proto_metric(m.data, m.len, &pt) == MDB_PROTO_CONFLUENT);
}

static MdbProtoStatus
text_status(const char *text, size_t len, bool as_value)
{
	static Msg m;
	MdbProtoPoint pt;
	MdbProtoSeries s;

	m.len = 0;
	if (as_value)
	{
		Msg e = {.len = 0};

		text_field(&m, 1, "n");
		text_field(&e, 1, "k");
		bytes_field(&e, 2, text, len);
		bytes_field(&m, 2, e.data, e.len);
	}
	else
		bytes_field(&m, 1, text, len);
	timestamp_field(&m, 1);
	return read_all(&m, &pt, &s);
}

static void
test_text(void)
{
	static const struct
	{
		const char *text;
		MdbProtoStatus status;
	} cases[] = {
		{"plain", MDB_PROTO_OK},
		{"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", MDB_PROTO_OK},
		{"\xf4\x8f\xbf\xbf", MDB_PROTO_OK},
		{"\xed\x9f\xbf\xee\x80\x80", MDB_PROTO_OK},
		{"\xff", MDB_PROTO_BAD_UTF8},
		{"\x80", MDB_PROTO_BAD_UTF8},
		{"\xc0\x80", MDB_PROTO_BAD_UTF8},
		{"\xc1\xbf", MDB_PROTO_BAD_UTF8},
		{"\xe0\x9f\xbf", MDB_PROTO_BAD_UTF8},
		{"\xed\xa0\x80", MDB_PROTO_BAD_UTF8},
		{"\xf0\x8f\xbf\xbf", MDB_PROTO_BAD_UTF8},
		{"\xf4\x90\x80\x80", MDB_PROTO_BAD_UTF8},
		{"\xf5\x80\x80\x80", MDB_PROTO_BAD_UTF8},
		{"a\xe2\x82", MDB_PROTO_BAD_UTF8},
		{"a\xf0\x9f\x98", MDB_PROTO_BAD_UTF8},
		{"\xc3"
		 "a",
		 MDB_PROTO_BAD_UTF8},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (int v = 0; v < 2; v++)
			CHECK(text_status(cases[i].text, strlen(cases[i].text), v) == cases[i].status);
	CHECK(text_status("a\0b", 3, false) == MDB_PROTO_NUL_BYTE);
	CHECK(text_status("a\0b", 3, true) == MDB_PROTO_NUL_BYTE);
}

static void
test_limits(void)
{
	static Msg m;
	static char big[MDB_PROTO_MAX_KEY + 1];
	MdbProtoPoint pt;
	MdbProtoSeries s;
	char key[16];

	m.len = 0;
	text_field(&m, 1, "n");
	timestamp_field(&m, 1);
	for (int i = MDB_PROTO_MAX_TAGS; i > 0; i--)
	{
		snprintf(key, sizeof(key), "k%04d", i);
		tag_field(&m, key, "v");
	}
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK && s.ntags == MDB_PROTO_MAX_TAGS);
	CHECK(is(s.tags[0].key, "k0001") && is(s.tags[MDB_PROTO_MAX_TAGS - 1].key, "k0128"));
	tag_field(&m, "k0001", "again");
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK && is(s.tags[0].value, "again"));
	tag_field(&m, "one more", "v");
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_MANY_TAGS);

	memset(big, 'x', sizeof(big));
	m.len = 0;
	bytes_field(&m, 1, big, MDB_PROTO_MAX_KEY - 3);
	timestamp_field(&m, 1);
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK);
	m.len = 0;
	bytes_field(&m, 1, big, MDB_PROTO_MAX_KEY - 2);
	timestamp_field(&m, 1);
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_LONG_KEY);
}

static void
test_canonical(void)
{
	static Msg m;
	static uint8_t a[MDB_PROTO_MAX_KEY];
	static uint8_t b[MDB_PROTO_MAX_KEY];
	MdbProtoPoint pt;
	MdbProtoSeries s;
	MdbProtoSeries back;
	size_t na;
	size_t nb;
	char text[200];

	memset(text, 'v', sizeof(text));
	text[199] = 0;
	m.len = 0;
	text_field(&m, 1, "n");
	tag_field(&m, "b", text);
	tag_field(&m, "a", "");
	timestamp_field(&m, 1);
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK);
	na = mdb_proto_canonical(&s, a, sizeof(a));
	mdb_proto_canonical_read(a, na, &back);
	CHECK(is(back.name, "n") && back.ntags == 2);
	CHECK(is(back.tags[0].key, "a") && is(back.tags[0].value, ""));
	CHECK(is(back.tags[1].key, "b") && is(back.tags[1].value, text));

	m.len = 0;
	tag_field(&m, "a", "x");
	tag_field(&m, "a", NULL);
	tag_field(&m, "b", text);
	timestamp_field(&m, 1);
	text_field(&m, 1, "n");
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK);
	nb = mdb_proto_canonical(&s, b, sizeof(b));
	CHECK(na == nb && memcmp(a, b, na) == 0);

	/* What differs only in where a text ends is another series. */
	m.len = 0;
	tag_field(&m, "ab", "c");
	text_field(&m, 1, "n");
	timestamp_field(&m, 1);
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK);
	na = mdb_proto_canonical(&s, a, sizeof(a));
	m.len = 0;
	tag_field(&m, "a", "bc");
	text_field(&m, 1, "n");
	timestamp_field(&m, 1);
	CHECK(read_all(&m, &pt, &s) == MDB_PROTO_OK);
	nb = mdb_proto_canonical(&s, b, sizeof(b));
	CHECK(na == nb && memcmp(a, b, na) != 0);
	CHECK(mdb_proto_canonical(&s, b, 3) == 0);
}

static void
test_batch(void)
{
	static Msg m;
	static Msg one;
	MdbProtoBatch it;
	MdbProtoBytes metric;
	MdbProtoPoint pt;
	size_t good;

	mdb_proto_batch_begin(&it, m.data, 0);
	CHECK(mdb_proto_batch_next(&it, &metric) == MDB_PROTO_END);

	m.len = 0;
	plain(&one);
	bytes_field(&m, 1, one.data, one.len);
	bytes_field(&m, 1, "\xff\xff", 2); /* a bad point */
	text_field(&m, 2, "an unknown field");
	bytes_field(&m, 1, one.data, one.len);
	mdb_proto_batch_begin(&it, m.data, m.len);
	CHECK(mdb_proto_batch_next(&it, &metric) == MDB_PROTO_OK);
	CHECK(mdb_proto_metric(metric.data, metric.len, &pt) == MDB_PROTO_OK);
	CHECK(mdb_proto_batch_next(&it, &metric) == MDB_PROTO_OK);
	CHECK(mdb_proto_metric(metric.data, metric.len, &pt) == MDB_PROTO_TRUNCATED);
	CHECK(mdb_proto_batch_next(&it, &metric) == MDB_PROTO_OK);
	CHECK(mdb_proto_metric(metric.data, metric.len, &pt) == MDB_PROTO_OK);
	CHECK(mdb_proto_batch_next(&it, &metric) == MDB_PROTO_END);

	/* Cut inside the fourth: three points, then the rest named. */
	good = m.len;
	bytes_field(&m, 1, one.data, one.len);
	mdb_proto_batch_begin(&it, m.data, m.len - 1);
	for (int i = 0; i < 3; i++)
		CHECK(mdb_proto_batch_next(&it, &metric) == MDB_PROTO_OK);
	CHECK(mdb_proto_batch_next(&it, &metric) == MDB_PROTO_TRUNCATED);
	CHECK(it.p == m.data + good && it.end == m.data + m.len - 1);

	mdb_proto_batch_begin(&it, (const uint8_t *) "\0\0\0\0\1", 5);
	CHECK(mdb_proto_batch_next(&it, &metric) == MDB_PROTO_CONFLUENT);
}

/* Cut messages at every byte, in memory of just that size: no status but a refusal or fewer fields. */
static void
test_cuts(void)
{
	static Msg m;
	MdbProtoPoint pt;
	MdbProtoSeries s;
	int ok = 0;

	plain(&m);
	for (size_t cut = 0; cut <= m.len; cut++)
	{
		uint8_t *copy = malloc(cut ? cut : 1);
		MdbProtoStatus status;

		memcpy(copy, m.data, cut);
		status = mdb_proto_metric(copy, cut, &pt);
		if (status == MDB_PROTO_OK && mdb_proto_series(pt.key, &s) == MDB_PROTO_OK)
			ok++;
		free(copy);
	}
	CHECK(ok == 2); /* whole, and without the value */
}

/* The fingerprint of a message's series; false if it has none. */
static bool
fingerprint_of(const Msg *m, MdbFingerprint *f)
{
	MdbProtoPoint pt;

	CHECK(mdb_proto_metric(m->data, m->len, &pt) == MDB_PROTO_OK);
	return mdb_fingerprint_key(pt.key, f);
}

static void
begin_series(Msg *m, const char *name)
{
	m->len = 0;
	varint(m, 3 << 3);
	varint(m, 1700000000000);
	text_field(m, 1, name);
}

static void
test_fingerprints(void)
{
	static Msg m, n;
	MdbFingerprint a, b;
	MdbProtoBytes value;
	char text[300];
	uint64_t sum;

	begin_series(&m, "cpu");
	tag_field(&m, "host", "a");
	tag_field(&m, "datacenter", "eu");
	begin_series(&n, "cpu");
	tag_field(&n, "datacenter", "eu");
	tag_field(&n, "host", "a");
	CHECK(fingerprint_of(&m, &a) && fingerprint_of(&n, &b) && a.hash == b.hash);
	sum = mdb_fingerprint_begin((MdbProtoBytes){(const uint8_t *) "cpu", 3});
	sum += mdb_fingerprint_add((MdbProtoBytes){(const uint8_t *) "host", 4},
							   (MdbProtoBytes){(const uint8_t *) "a", 1});
	sum += mdb_fingerprint_add((MdbProtoBytes){(const uint8_t *) "datacenter", 10},
							   (MdbProtoBytes){(const uint8_t *) "eu", 2});
	CHECK(a.hash == sum);
	CHECK(mdb_fingerprint_tag(&a, (MdbProtoBytes){(const uint8_t *) "host", 4}, &value) && value.len == 1 &&
		  value.data[0] == 'a');
	CHECK(!mdb_fingerprint_tag(&a, (MdbProtoBytes){(const uint8_t *) "hos", 3}, &value));
	CHECK(!mdb_fingerprint_tag(&a, (MdbProtoBytes){(const uint8_t *) "datacentre", 10}, &value));

	/* Another name, another value, one tag less: other series. */
	begin_series(&n, "cpv");
	tag_field(&n, "host", "a");
	tag_field(&n, "datacenter", "eu");
	CHECK(fingerprint_of(&n, &b) && a.hash != b.hash);
	begin_series(&n, "cpu");
	tag_field(&n, "host", "b");
	tag_field(&n, "datacenter", "eu");
	CHECK(fingerprint_of(&n, &b) && a.hash != b.hash);
	begin_series(&n, "cpu");
	tag_field(&n, "host", "a");
	CHECK(fingerprint_of(&n, &b) && a.hash != b.hash);
	/* Values that have changed places */
	begin_series(&m, "cpu");
	tag_field(&m, "x", "1");
	tag_field(&m, "y", "2");
	begin_series(&n, "cpu");
	tag_field(&n, "x", "2");
	tag_field(&n, "y", "1");
	CHECK(fingerprint_of(&m, &a) && fingerprint_of(&n, &b) && a.hash != b.hash);

	/* A key twice, of which the last counts, an empty value, which may be left out, and what comes before the name. */
	begin_series(&m, "cpu");
	tag_field(&m, "host", "a");
	tag_field(&m, "host", "b");
	CHECK(!fingerprint_of(&m, &a));
	begin_series(&m, "cpu");
	tag_field(&m, "host", "");
	CHECK(!fingerprint_of(&m, &a));
	m.len = 0;
	tag_field(&m, "host", "a");
	text_field(&m, 1, "cpu");
	varint(&m, 3 << 3);
	varint(&m, 1);
	CHECK(!fingerprint_of(&m, &a));

	/* Other characters, long values; what is no text. */
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	begin_series(&m, "cpu");
	tag_field(&m, "host", "m\xc3\xbcnchen");
	tag_field(&m, "path", text);
	CHECK(fingerprint_of(&m, &a));
	CHECK(mdb_fingerprint_tag(&a, (MdbProtoBytes){(const uint8_t *) "path", 4}, &value) && value.len == 299);
	begin_series(&m, "cpu");
	tag_field(&m, "host", "m\xc3nchen");
	CHECK(!fingerprint_of(&m, &a));

	/* Sixty-four tags, of which many look alike; one more is too many. */
	begin_series(&m, "cpu");
	for (int i = 0; i < 65; i++)
	{
		if (i == 64)
			CHECK(fingerprint_of(&m, &a));
		snprintf(text, sizeof(text), "key_%02d_key", i);
		tag_field(&m, text, "v");
	}
	CHECK(!fingerprint_of(&m, &a));
}

static void
test_words(void)
{
	for (int i = 0; i <= MDB_PROTO_LONG_KEY; i++)
	{
		CHECK(strcmp(mdb_proto_code(i), "unknown") != 0);
		CHECK(strcmp(mdb_proto_reason(i), "unknown error") != 0);
	}
}

int
main(void)
{
	test_plain();
	test_order();
	test_repeats();
	test_missing();
	test_unknown();
	test_groups();
	test_varints();
	test_text();
	test_limits();
	test_canonical();
	test_batch();
	test_cuts();
	test_fingerprints();
	test_words();
	printf("%d passed, %d failed\n", passed, failed);
	return failed != 0;
}
