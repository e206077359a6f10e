/*
 * fingerprint.c
 *	  A hash of a series from the bytes that say name and tags; see fingerprint.h.
 *
 * It is the sum of the hashes of the fields, as protobuf encoders write them: the name, then an entry for each
 * tag, of key and value.  A sum does not ask for their order, so nothing is sorted, copied or looked up.
 *
 * Invariants:
 *	1. mdb_fingerprint_key takes only what has a single reading: one name, which comes first; entries that
 *	   consist of key and value, neither of them empty; lengths in as few bytes as they need; no key twice;
 *	   valid texts.  Else the sum might not be that of the same series in another spelling.
 *	2. No byte outside the key is read, whatever the bytes say.
 */
#include "ingest/fingerprint.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Series beyond these are read in full. */
#define MAX_TAGS   64
#define MAX_KEY    8192

#define NAME_FIELD 0x0a /* of a Metric: string, field 1 */
#define TAGS_FIELD 0x12 /* entry, field 2 */
#define KEY_FIELD  0x0a /* of an entry: string, field 1 */
#define VAL_FIELD  0x12

#define NAME_SEED  UINT64_C(0x9E3779B97F4A7C15)

#define SEEN_BITS  1024

/* A length of one or two bytes, no more of them than it needs, and not 0.  NULL: it is not. */
static inline const uint8_t *
read_length(const uint8_t *p, const uint8_t *end, uint32_t *len)
{
	if (p == end)
		return NULL;
	*len = *p++;
	if (*len >= 0x80)
	{
		if (p == end || *p == 0 || *p >= 0x80)
			return NULL;
		*len = (*len & 0x7f) | (uint32_t) *p++ << 7;
	}
	return *len > 0 && *len <= (uint32_t) (end - p) ? p : NULL;
}

/* A field of bytes with this tag.  The position behind it, NULL if it is none. */
static inline const uint8_t *
read_field(const uint8_t *p, const uint8_t *end, uint8_t field, MdbProtoBytes *bytes)
{
	if (p == NULL || p == end || *p != field || (p = read_length(p + 1, end, &bytes->len)) == NULL)
		return NULL;
	bytes->data = p;
	return p + bytes->len;
}

/* Are these bytes ASCII without NUL?  Then so are all texts among them. */
static bool
all_ascii(MdbProtoBytes bytes)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	const uint8_t *p = bytes.data;
	uint32_t n = bytes.len;
	uint64_t odd = 0;
	uint64_t word;

	/* A byte that is 0 turns into 0xff, one above 0x80 has its high bit already. */
	for (; n >= 8; n -= 8, p += 8)
	{
		memcpy(&word, p, 8);
		odd |= word | (word - ones);
	}
	for (; n > 0; n--, p++)
		odd |= (uint64_t) (*p | (uint8_t) (*p - 1));
	return (odd & (ones << 7)) == 0;
}

/* What tells keys of tags apart, mostly: their length, first and last bytes. */
static inline uint32_t
key_bit(MdbProtoBytes key)
{
	uint32_t a = 0, b = 0;

	if (key.len >= 4)
	{
		memcpy(&a, key.data, 4);
		memcpy(&b, key.data + key.len - 4, 4);
	}
	else
	{
		a = key.data[0];
		b = key.data[key.len - 1] | (uint32_t) key.data[key.len / 2] << 8;
	}
	return ((a ^ (b << 15 | b >> 17) ^ key.len) * UINT32_C(0x9E3779B1)) >> 22;
}

static bool
any_twice(const MdbProtoBytes *keys, int n)
{
	for (int i = 1; i < n; i++)
		for (int j = 0; j < i; j++)
			if (keys[i].len == keys[j].len && memcmp(keys[i].data, keys[j].data, keys[i].len) == 0)
				return true;
	return false;
}

bool
mdb_fingerprint_key(MdbProtoBytes key, MdbFingerprint *fingerprint)
{
	const uint8_t *end = key.data + key.len;
	const uint8_t *p = read_field(key.data, end, NAME_FIELD, &fingerprint->name);
	MdbProtoBytes keys[MAX_TAGS];
	uint64_t seen[SEEN_BITS / 64] = {0};
	bool ascii;
	bool collided = false;
	uint64_t hash;
	int n = 0;

	if (p == NULL || key.len > MAX_KEY)
		return false;
	ascii = all_ascii(key);
	if (!ascii && !mdb_proto_is_text(fingerprint->name))
		return false;
	fingerprint->tags.data = p;
	fingerprint->tags.len = (uint32_t) (end - p);
	hash = XXH3_64bits_withSeed(fingerprint->name.data, fingerprint->name.len, NAME_SEED);
	for (; p < end; n++)
	{
		MdbProtoBytes entry, value;
		uint32_t bit;

		if (n == MAX_TAGS || (p = read_field(p, end, TAGS_FIELD, &entry)) == NULL)
			return false;
		if (read_field(read_field(entry.data, p, KEY_FIELD, &keys[n]), p, VAL_FIELD, &value) != p)
			return false;
		if (!ascii && !(mdb_proto_is_text(keys[n]) && mdb_proto_is_text(value)))
			return false;
		bit = key_bit(keys[n]);
		collided |= (seen[bit / 64] >> bit % 64) & 1;
		seen[bit / 64] |= UINT64_C(1) << bit % 64;
		hash += XXH3_64bits(entry.data, entry.len);
	}
	fingerprint->hash = hash;
	return !(collided && any_twice(keys, n));
}

bool
mdb_fingerprint_tag(const MdbFingerprint *fingerprint, MdbProtoBytes tag, MdbProtoBytes *value)
{
	const uint8_t *p = fingerprint->tags.data;
	const uint8_t *end = p + fingerprint->tags.len;

	while (p < end)
	{
		MdbProtoBytes entry, key;

		p = read_field(p, end, TAGS_FIELD, &entry);
		if (p == NULL)
			return false;
		/* Most are not of that length. */
		if (entry.len < tag.len)
			continue;
		if (read_field(read_field(entry.data, p, KEY_FIELD, &key), p, VAL_FIELD, value) == p &&
			key.len == tag.len && memcmp(key.data, tag.data, tag.len) == 0)
			return true;
	}
	return false;
}

uint64_t
mdb_fingerprint_begin(MdbProtoBytes name)
{
	return XXH3_64bits_withSeed(name.data, name.len, NAME_SEED);
}

static uint8_t *
put_field(uint8_t *out, uint8_t field, MdbProtoBytes bytes)
{
	*out++ = field;
	if (bytes.len >= 0x80)
		*out++ = (uint8_t) (bytes.len | 0x80);
	*out++ = (uint8_t) (bytes.len >= 0x80 ? bytes.len >> 7 : bytes.len);
	memcpy(out, bytes.data, bytes.len);
	return out + bytes.len;
}

uint64_t
mdb_fingerprint_add(MdbProtoBytes key, MdbProtoBytes value)
{
	uint8_t entry[MAX_KEY + 8];

	/* Nothing that mdb_fingerprint_key would take. */
	if (key.len == 0 || value.len == 0 || (size_t) key.len + value.len > MAX_KEY)
		return 0;
	return XXH3_64bits(entry,
					   (size_t) (put_field(put_field(entry, KEY_FIELD, key), VAL_FIELD, value) - entry));
}
