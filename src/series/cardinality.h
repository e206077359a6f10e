/*
 * cardinality.h
 *	  The arithmetic of the cardinality guard: how many new series a metric may still get, and which
 *	  of its tags grows.
 *
 * Plain C without PostgreSQL's types, for programs outside of the server, too.  One MdbCard stands for
 * one table, and one hour, as one process knows them.  It does no I/O: who uses it tells it what all
 * writers have counted together (used, reduced), and takes from it what is to be entered into the books.
 *
 * Memory is bounded: MDB_CARD_METRICS metrics, of which MDB_CARD_SKETCHES have a sketch of at most
 * MDB_CARD_TAGS tags.  Metrics beyond that number share one entry, without a name, and its limit.
 */
#ifndef MDB_CARDINALITY_H
#define MDB_CARDINALITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MDB_CARD_METRICS   65536
#define MDB_CARD_SKETCHES  256
#define MDB_CARD_TAGS      32
#define MDB_CARD_REGISTERS 512 /* of a tag's sketch: estimates are good to about 5 % */
#define MDB_CARD_NAME_MAX  256 /* bytes of a name that are kept */
#define MDB_CARD_UNLIMITED (-1)

/* Refused series whose tags are all looked at, each hour; of more only the tag that grew most by then. */
#define MDB_CARD_LOOKED_AT 65536

typedef struct MdbCardBytes
{
	const void *data;
	size_t len;
} MdbCardBytes;

/* What a series is made of, beside its metric. */
typedef struct MdbCardTag
{
	MdbCardBytes key;
	MdbCardBytes value;
} MdbCardTag;

typedef enum MdbCardAction
{
	MDB_CARD_REJECT = 0,
	MDB_CARD_DROP_TAG
} MdbCardAction;

typedef struct MdbCardRule
{
	int64_t limit; /* new series an hour, MDB_CARD_UNLIMITED = any number */
	MdbCardAction action;
	MdbCardBytes drop_tag; /* not copied: lives as long as the rule is used */
} MdbCardRule;

typedef enum MdbCardVerdict
{
	MDB_CARD_ADMITTED = 0,
	MDB_CARD_REFUSED,
	MDB_CARD_REDUCE /* look for the series without the tag, and ask mdb_card_admit_reduced if it is new */
} MdbCardVerdict;

typedef struct MdbCardSketch MdbCardSketch;

typedef struct MdbCardMetric
{
	uint64_t hash; /* of the whole name: what tells metrics apart */
	char *name;    /* its first bytes, whole characters */
	uint32_t name_len;
	MdbCardRule rule;
	int64_t used;            /* new series of all writers, as last heard; those without a tag, too */
	int64_t pending;         /* admitted here and not yet in used */
	int64_t refused;         /* here, and not yet entered into the books */
	int64_t refused_in_hour; /* here */
	int64_t save_at;         /* when there are so many, the sketch is worth writing again */
	int64_t told;            /* for who uses it: refusals that were told one by one */
	int64_t fresh;           /* for who uses it: to be claimed now */
	void *letters;           /* for who uses it */
	MdbCardSketch *sketch;   /* NULL = none */
} MdbCardMetric;

/* Where memory comes from; alloc never returns NULL, and gives zeroed bytes. */
typedef struct MdbCardMemory
{
	void *(*alloc)(void *arg, size_t size);
	void (*release)(void *arg, void *p);
	void *arg;
} MdbCardMemory;

typedef struct MdbCard MdbCard;

extern MdbCard *mdb_card_create(const MdbCardMemory *memory);

/* mdb_card_reset - another hour, or another table: forget all metrics. */
extern void mdb_card_reset(MdbCard *card);

/* mdb_card_hash - of a metric's name. */
extern uint64_t mdb_card_hash(MdbCardBytes name);

/*
 * mdb_card_metric - the metric of that name; *made is set if it was not known, and its rule and counts
 * are to be filled in.
 */
extern MdbCardMetric *mdb_card_metric(MdbCard *card, MdbCardBytes name, bool *made);

/* mdb_card_metric_hashed - the same, for who has only the hash and the first bytes of the name. */
extern MdbCardMetric *mdb_card_metric_hashed(MdbCard *card, uint64_t hash, MdbCardBytes name, bool *made);

/* mdb_card_next - all metrics, one after the other; *at is 0 to begin with.  NULL after the last. */
extern MdbCardMetric *mdb_card_next(MdbCard *card, uint32_t *at);

/* mdb_card_left - how many new series the metric may still get; INT64_MAX if any number. */
extern int64_t mdb_card_left(const MdbCardMetric *metric);

/* mdb_card_closed - none? */
extern bool mdb_card_closed(const MdbCardMetric *metric);

/*
 * mdb_card_admit - may there be one more new series?  Admitted ones are counted as pending, refused ones
 * as refused.
 */
extern MdbCardVerdict mdb_card_admit(MdbCardMetric *metric);

/*
 * mdb_card_admit_reduced - may there be one more without its tag?  As many again as the limit, so that
 * another tag that explodes is stopped, too.
 */
extern bool mdb_card_admit_reduced(MdbCardMetric *metric);

/* mdb_card_refuse - count a refusal. */
extern void mdb_card_refuse(MdbCardMetric *metric);

/* mdb_card_look - take note of the tags of a series that is new, admitted or not. */
extern void mdb_card_look(MdbCard *card, MdbCardMetric *metric, int ntags, const MdbCardTag *tags);

/*
 * mdb_card_one_tag - of a metric that has refused so many that only one tag is looked at: true, and its key, which is
 * empty if that has no name.  mdb_card_look_value - mdb_card_look, for who has the value of that tag.
 */
extern bool mdb_card_one_tag(const MdbCardMetric *metric, MdbCardBytes *key);
extern void mdb_card_look_value(MdbCardMetric *metric, MdbCardBytes value);

/*
 * mdb_card_top - the tag with the most different values among the new series, and the estimate of their
 * number; 0 and no tag if nothing is known.
 */
extern int64_t mdb_card_top(const MdbCardMetric *metric, MdbCardBytes *tag);

/*
 * mdb_card_save - the sketch as bytes, into room for MDB_CARD_SKETCH_MAX; returns how many.
 * mdb_card_merge - add what such bytes say; false if they make no sense.
 */
#define MDB_CARD_SKETCH_MAX (2 + MDB_CARD_TAGS * (1 + MDB_CARD_NAME_MAX + 2 + MDB_CARD_REGISTERS))

extern size_t mdb_card_save(const MdbCardMetric *metric, uint8_t *out);
extern bool mdb_card_merge(MdbCard *card, MdbCardMetric *metric, const uint8_t *data, size_t len);

/* mdb_card_clip - how many of len bytes to keep for at most max, not cutting a UTF-8 character. */
extern size_t mdb_card_clip(const char *text, size_t len, size_t max);

#endif /* MDB_CARDINALITY_H */
