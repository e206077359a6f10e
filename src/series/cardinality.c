/*
 * cardinality.c
 *	  The arithmetic of the cardinality guard; see cardinality.h.
 *
 * A tag's sketch is a HyperLogLog of 512 registers of a byte, with linear counting while it is sparse.
 * Registers only grow, and two sketches are united by taking the greater of each: so what several
 * processes and several rows of the books saw can be put together in any order.
 *
 * A sketch as bytes:
 *
 *		version, 1 (1) | number of tags (1) | for each of them:
 *		length of the name (1) | name | registers that are not 0 (2) | those
 *
 * and the registers are all 512 where half of them or more are set, else pairs of number (2) and value (1);
 * numbers have the low byte first.
 */
#include "series/cardinality.h"

#include <math.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SKETCH_VERSION 1
#define TAG_NAME_MAX   63

/* Tags beyond those that have a sketch share the last one, under this name. */
#define FURTHER_TAGS "(further tags)"

typedef struct SketchTag
{
	uint64_t hash; /* of the name as it is kept */
	uint8_t len;
	char name[TAG_NAME_MAX];
	uint8_t registers[MDB_CARD_REGISTERS];
} SketchTag;

struct MdbCardSketch
{
	MdbCardMetric *owner;
	int ntags;
	int top; /* once only one tag is looked at: which */
	SketchTag *tags[MDB_CARD_TAGS];
};

struct MdbCard
{
	MdbCardMemory memory;
	MdbCardMetric **slots; /* open addressing */
	uint32_t nslots;
	uint32_t nmetrics;
	MdbCardMetric *others; /* shared by all that come when there are too many */
	int nsketches;
	MdbCardSketch *sketches[MDB_CARD_SKETCHES];
};

#define FIRST_SLOTS 64

static void *
get(MdbCard *card, size_t size)
{
	return card->memory.alloc(card->memory.arg, size);
}

static void
drop(MdbCard *card, void *p)
{
	card->memory.release(card->memory.arg, p);
}

MdbCard *
mdb_card_create(const MdbCardMemory *memory)
{
	MdbCard *card = memory->alloc(memory->arg, sizeof(MdbCard));

	card->memory = *memory;
	card->nslots = FIRST_SLOTS;
	card->slots = get(card, FIRST_SLOTS * sizeof(MdbCardMetric *));
	return card;
}

static void
free_metric(MdbCard *card, MdbCardMetric *metric)
{
	if (metric->name)
		drop(card, metric->name);
	if (metric->letters)
		drop(card, metric->letters);
	drop(card, metric);
}

void
mdb_card_reset(MdbCard *card)
{
	for (uint32_t i = 0; i < card->nslots; i++)
		if (card->slots[i])
			free_metric(card, card->slots[i]);
	drop(card, card->slots);
	card->nslots = FIRST_SLOTS;
	card->slots = get(card, FIRST_SLOTS * sizeof(MdbCardMetric *));
	card->nmetrics = 0;
	card->others = NULL;
	for (int i = 0; i < card->nsketches; i++)
	{
		card->sketches[i]->owner = NULL;
		card->sketches[i]->ntags = 0;
		card->sketches[i]->top = -1;
	}
}

uint64_t
mdb_card_hash(MdbCardBytes name)
{
	return XXH3_64bits(name.data, name.len);
}

size_t
mdb_card_clip(const char *text, size_t len, size_t max)
{
	if (len <= max)
		return len;
	len = max;
	while (len > 0 && ((uint8_t) text[len] & 0xc0) == 0x80)
		len--;
	return len;
}

static void
slots_put(MdbCardMetric **slots, uint32_t nslots, MdbCardMetric *metric)
{
	uint32_t i = (uint32_t) metric->hash & (nslots - 1);

	while (slots[i])
		i = (i + 1) & (nslots - 1);
	slots[i] = metric;
}

static MdbCardMetric *
find(const MdbCard *card, uint64_t hash)
{
	for (uint32_t i = (uint32_t) hash & (card->nslots - 1); card->slots[i]; i = (i + 1) & (card->nslots - 1))
		if (card->slots[i]->hash == hash)
			return card->slots[i];
	return NULL;
}

MdbCardMetric *
mdb_card_metric(MdbCard *card, MdbCardBytes name, bool *made)
{
	return mdb_card_metric_hashed(card, mdb_card_hash(name), name, made);
}

MdbCardMetric *
mdb_card_metric_hashed(MdbCard *card, uint64_t hash, MdbCardBytes name, bool *made)
{
	MdbCardMetric *metric = find(card, hash);

	*made = false;
	if (metric)
		return metric;
	if (card->nmetrics >= MDB_CARD_METRICS && card->others)
		return card->others;
	if (card->nmetrics >= MDB_CARD_METRICS)
	{
		name.len = 0;
		hash = mdb_card_hash(name);
		if ((metric = find(card, hash)) != NULL)
			return card->others = metric;
	}

	metric = get(card, sizeof(MdbCardMetric));
	metric->hash = hash;
	metric->name_len = (uint32_t) mdb_card_clip(name.data, name.len, MDB_CARD_NAME_MAX);
	metric->name = get(card, metric->name_len + 1);
	if (metric->name_len > 0)
		memcpy(metric->name, name.data, metric->name_len);
	metric->rule.limit = MDB_CARD_UNLIMITED;
	metric->save_at = 1;

	if ((card->nmetrics + 1) * 2 > card->nslots)
	{
		uint32_t n = card->nslots * 2;
		MdbCardMetric **grown = get(card, n * sizeof(MdbCardMetric *));

		for (uint32_t i = 0; i < card->nslots; i++)
			if (card->slots[i])
				slots_put(grown, n, card->slots[i]);
		drop(card, card->slots);
		card->slots = grown;
		card->nslots = n;
	}
	slots_put(card->slots, card->nslots, metric);
	if (++card->nmetrics > MDB_CARD_METRICS)
		card->others = metric;
	*made = true;
	return metric;
}

MdbCardMetric *
mdb_card_next(MdbCard *card, uint32_t *at)
{
	while (*at < card->nslots)
	{
		MdbCardMetric *metric = card->slots[(*at)++];

		if (metric)
			return metric;
	}
	return NULL;
}

int64_t
mdb_card_left(const MdbCardMetric *metric)
{
	int64_t taken = metric->used + metric->pending;

	if (metric->rule.limit < 0)
		return INT64_MAX;
	return taken < metric->rule.limit ? metric->rule.limit - taken : 0;
}

bool
mdb_card_closed(const MdbCardMetric *metric)
{
	return mdb_card_left(metric) == 0;
}

void
mdb_card_refuse(MdbCardMetric *metric)
{
	metric->refused++;
	metric->refused_in_hour++;
}

MdbCardVerdict
mdb_card_admit(MdbCardMetric *metric)
{
	if (!mdb_card_closed(metric))
	{
		metric->pending++;
		return MDB_CARD_ADMITTED;
	}
	if (metric->rule.action == MDB_CARD_DROP_TAG)
		return MDB_CARD_REDUCE;
	mdb_card_refuse(metric);
	return MDB_CARD_REFUSED;
}

bool
mdb_card_admit_reduced(MdbCardMetric *metric)
{
	int64_t limit = metric->rule.limit;

	if (limit < 0 || metric->used + metric->pending < (limit > INT64_MAX / 2 ? INT64_MAX : 2 * limit))
	{
		metric->pending++;
		return true;
	}
	mdb_card_refuse(metric);
	return false;
}

/* ---- sketches ---- */

/* How much a metric has grown, for who is to have a sketch. */
static int64_t
weight(const MdbCardMetric *metric)
{
	return metric->used + metric->pending + metric->refused_in_hour;
}

/* A sketch for the metric: a new one, or that of one that has grown much less.  NULL: it gets none. */
static MdbCardSketch *
get_sketch(MdbCard *card, MdbCardMetric *metric)
{
	MdbCardSketch *sketch = NULL;

	if (metric->sketch)
		return metric->sketch;
	for (int i = 0; i < card->nsketches && sketch == NULL; i++)
		if (card->sketches[i]->owner == NULL)
			sketch = card->sketches[i];
	if (sketch == NULL && card->nsketches < MDB_CARD_SKETCHES)
	{
		sketch = get(card, sizeof(MdbCardSketch));
		card->sketches[card->nsketches++] = sketch;
	}
	if (sketch == NULL)
	{
		int64_t own = weight(metric);

		/* All are looked at: not each time. */
		if ((own & (own - 1)) != 0)
			return NULL;
		sketch = card->sketches[0];
		for (int i = 1; i < card->nsketches; i++)
			if (weight(card->sketches[i]->owner) < weight(sketch->owner))
				sketch = card->sketches[i];
		if (weight(sketch->owner) > own / 2)
			return NULL;
		sketch->owner->sketch = NULL;
	}
	sketch->owner = metric;
	sketch->ntags = 0;
	sketch->top = -1;
	metric->sketch = sketch;
	return sketch;
}

static SketchTag *
find_tag(const MdbCardSketch *sketch, uint64_t hash)
{
	for (int i = 0; i < sketch->ntags; i++)
		if (sketch->tags[i]->hash == hash)
			return sketch->tags[i];
	return NULL;
}

/*
 * The tag of that name, made if need be; the last one takes all for which there is no room.  Names are told apart by
 * what is kept and saved of them, so that a sketch that is read again has the tags it was saved with.
 */
static SketchTag *
sketch_tag(MdbCard *card, MdbCardSketch *sketch, MdbCardBytes key, int guess)
{
	uint64_t hash;
	SketchTag *tag;

	key.len = mdb_card_clip(key.data, key.len, TAG_NAME_MAX);
	hash = XXH3_64bits(key.data, key.len);

	/* Series name their tags in the same order, mostly. */
	if (guess < sketch->ntags && sketch->tags[guess]->hash == hash)
		return sketch->tags[guess];
	if ((tag = find_tag(sketch, hash)) != NULL)
		return tag;
	if (sketch->ntags == MDB_CARD_TAGS)
		return sketch->tags[MDB_CARD_TAGS - 1];
	if (sketch->ntags == MDB_CARD_TAGS - 1)
	{
		key.data = FURTHER_TAGS;
		key.len = strlen(FURTHER_TAGS);
		hash = XXH3_64bits(key.data, key.len);
		/* A tag may be called that. */
		if ((tag = find_tag(sketch, hash)) != NULL)
			return tag;
	}
	if (sketch->tags[sketch->ntags] == NULL)
		sketch->tags[sketch->ntags] = get(card, sizeof(SketchTag));
	tag = sketch->tags[sketch->ntags++];
	tag->hash = hash;
	tag->len = (uint8_t) key.len;
	if (tag->len > 0)
		memcpy(tag->name, key.data, tag->len);
	memset(tag->registers, 0, sizeof(tag->registers));
	return tag;
}

static inline void
tag_add(SketchTag *tag, uint64_t hash)
{
	uint32_t i = hash % MDB_CARD_REGISTERS;
	uint64_t rest = hash / MDB_CARD_REGISTERS;
	uint8_t rank = 1;

	/* Leading zeroes of what is left, from the low end. */
	while (rank < 48 && (rest & 1) == 0)
	{
		rest >>= 1;
		rank++;
	}
	if (tag->registers[i] < rank)
		tag->registers[i] = rank;
}

static double
tag_estimate(const SketchTag *tag)
{
	const double m = MDB_CARD_REGISTERS;
	double sum = 0;
	int zeroes = 0;
	double estimate;

	for (int i = 0; i < MDB_CARD_REGISTERS; i++)
	{
		sum += ldexp(1.0, -tag->registers[i]);
		zeroes += tag->registers[i] == 0;
	}
	estimate = 0.7213 / (1 + 1.079 / m) * m * m / sum;
	if (estimate < 2.5 * m && zeroes > 0)
		estimate = m * log(m / zeroes);
	return estimate;
}

static int
top_tag(const MdbCardSketch *sketch, double *estimate)
{
	int top = -1;

	*estimate = 0;
	for (int i = 0; i < sketch->ntags; i++)
	{
		double e = tag_estimate(sketch->tags[i]);

		if (e > *estimate)
		{
			*estimate = e;
			top = i;
		}
	}
	return top;
}

/* Further tags are told apart by their names, too: it may be these that explode. */
static uint64_t
value_hash(const MdbCardTag *tag, bool further)
{
	uint64_t hash = XXH3_64bits(tag->value.data, tag->value.len);

	return further ? hash ^ (XXH3_64bits(tag->key.data, tag->key.len) * UINT64_C(0x9E3779B97F4A7C15)) : hash;
}

bool
mdb_card_one_tag(const MdbCardMetric *metric, MdbCardBytes *key)
{
	const MdbCardSketch *sketch = metric->sketch;

	*key = (MdbCardBytes){NULL, 0};
	if (metric->refused_in_hour <= MDB_CARD_LOOKED_AT || sketch == NULL || sketch->top < 0)
		return false;
	if (sketch->top < MDB_CARD_TAGS - 1)
		*key = (MdbCardBytes){sketch->tags[sketch->top]->name, sketch->tags[sketch->top]->len};
	return true;
}

void
mdb_card_look_value(MdbCardMetric *metric, MdbCardBytes value)
{
	tag_add(metric->sketch->tags[metric->sketch->top], XXH3_64bits(value.data, value.len));
}

void
mdb_card_look(MdbCard *card, MdbCardMetric *metric, int ntags, const MdbCardTag *tags)
{
	MdbCardSketch *sketch = get_sketch(card, metric);

	if (sketch == NULL)
		return;
	if (metric->refused_in_hour > MDB_CARD_LOOKED_AT)
	{
		MdbCardBytes key;
		double estimate;

		if (sketch->top < 0)
			sketch->top = top_tag(sketch, &estimate);
		if (!mdb_card_one_tag(metric, &key) || key.data == NULL)
			return;
		for (int i = 0; i < ntags; i++)
			if (mdb_card_clip(tags[i].key.data, tags[i].key.len, TAG_NAME_MAX) == key.len &&
				memcmp(tags[i].key.data, key.data, key.len) == 0)
				mdb_card_look_value(metric, tags[i].value);
		return;
	}
	for (int i = 0; i < ntags; i++)
	{
		SketchTag *tag = sketch_tag(card, sketch, tags[i].key, i);

		tag_add(tag, value_hash(&tags[i], tag == sketch->tags[MDB_CARD_TAGS - 1]));
	}
}

int64_t
mdb_card_top(const MdbCardMetric *metric, MdbCardBytes *tag)
{
	double estimate;
	int top;

	tag->data = NULL;
	tag->len = 0;
	if (metric->sketch == NULL || (top = top_tag(metric->sketch, &estimate)) < 0)
		return 0;
	tag->data = metric->sketch->tags[top]->name;
	tag->len = metric->sketch->tags[top]->len;
	return (int64_t) (estimate + 0.5);
}

size_t
mdb_card_save(const MdbCardMetric *metric, uint8_t *out)
{
	uint8_t *p = out;
	const MdbCardSketch *sketch = metric->sketch;

	*p++ = SKETCH_VERSION;
	*p++ = sketch ? (uint8_t) sketch->ntags : 0;
	for (int i = 0; sketch && i < sketch->ntags; i++)
	{
		const SketchTag *tag = sketch->tags[i];
		uint32_t set = 0;

		*p++ = tag->len;
		memcpy(p, tag->name, tag->len);
		p += tag->len;
		for (int r = 0; r < MDB_CARD_REGISTERS; r++)
			set += tag->registers[r] != 0;
		*p++ = (uint8_t) set;
		*p++ = (uint8_t) (set >> 8);
		if (set * 3 >= MDB_CARD_REGISTERS)
		{
			memcpy(p, tag->registers, MDB_CARD_REGISTERS);
			p += MDB_CARD_REGISTERS;
			continue;
		}
		for (int r = 0; r < MDB_CARD_REGISTERS; r++)
			if (tag->registers[r] != 0)
			{
				*p++ = (uint8_t) r;
				*p++ = (uint8_t) (r >> 8);
				*p++ = tag->registers[r];
			}
	}
	return (size_t) (p - out);
}

bool
mdb_card_merge(MdbCard *card, MdbCardMetric *metric, const uint8_t *data, size_t len)
{
	const uint8_t *p = data;
	const uint8_t *end = data + len;
	MdbCardSketch *sketch;
	int ntags;

	if (end - p < 2 || *p++ != SKETCH_VERSION)
		return false;
	ntags = *p++;
	if (ntags == 0)
		return true;
	sketch = get_sketch(card, metric);
	for (int i = 0; i < ntags; i++)
	{
		MdbCardBytes key;
		SketchTag *tag = NULL;
		uint32_t set;

		if (end - p < 1 || end - p < 1 + *p + 2)
			return false;
		key.len = *p++;
		key.data = p;
		p += key.len;
		set = p[0] | (uint32_t) p[1] << 8;
		p += 2;
		if (set > MDB_CARD_REGISTERS ||
			end - p < (set * 3 >= MDB_CARD_REGISTERS ? MDB_CARD_REGISTERS : (long) set * 3))
			return false;
		if (sketch)
			tag = sketch_tag(card, sketch, key, i);
		if (set * 3 >= MDB_CARD_REGISTERS)
		{
			for (int r = 0; tag && r < MDB_CARD_REGISTERS; r++)
				if (tag->registers[r] < p[r])
					tag->registers[r] = p[r] > 64 ? 64 : p[r];
			p += MDB_CARD_REGISTERS;
			continue;
		}
		for (; set > 0; set--, p += 3)
		{
			uint32_t r = p[0] | (uint32_t) p[1] << 8;

			if (r >= MDB_CARD_REGISTERS)
				return false;
			if (tag && tag->registers[r] < p[2])
				tag->registers[r] = p[2] > 64 ? 64 : p[2];
		}
	}
	return p == end;
}
