/*
 * guarding.h
 *	  The cardinality guard at work in a Kafka worker: which new series are admitted.
 *
 * A new series is decided on when its first point is decoded, outside of transactions, by what the
 * last transaction heard of the limits; the transaction that stores the batch claims what was admitted.
 */
#ifndef MDB_GUARDING_H
#define MDB_GUARDING_H

#include "postgres.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "ingest/proto.h"
#include "lib/stringinfo.h"
#include "series/guard.h"

typedef struct MdbGuarding MdbGuarding;

typedef enum MdbAdmission
{
	MDB_ADMISSION_GRANTED, /* or the series is known to the table */
	MDB_ADMISSION_REDUCED, /* the series has lost a tag: look it up again, and ask again if it is new */
	MDB_ADMISSION_REFUSED
} MdbAdmission;

/* mdb_guarding_create - in CurrentMemoryContext; admits everything until the first begin. */
extern MdbGuarding *mdb_guarding_create(void);

/*
 * mdb_guarding_key - append to key what the table's dictionary calls the series.  False if the table is
 * not one whose keys are made of name and tags, or not known yet.
 */
extern bool mdb_guarding_key(MdbGuarding *g, const MdbProtoSeries *series, StringInfo key);

/* mdb_guarding_admit - a series that the cache does not know: may it come in?  again: it was reduced before. */
extern MdbAdmission mdb_guarding_admit(MdbGuarding *g, MdbProtoSeries *series, bool again);

/*
 * mdb_guarding_turn_away - true: the point with this key is of a new series that is refused.  False, always if
 * nothing was refused for long: that is not known yet, the cache and mdb_guarding_admit will say.
 */
extern bool mdb_guarding_turn_away(MdbGuarding *g, MdbProtoBytes key);

/* mdb_guarding_impatient - is a flood coming in, and mdb_guarding_watch would help?  Then store soon. */
extern bool mdb_guarding_impatient(const MdbGuarding *g);

/*
 * mdb_guarding_watch - in the transaction that stores, when all its series have ids: true if points are turned away
 * from now on.  Then mdb_guarding_admitted is to be called for what the cache has and the dictionary does not.
 */
extern bool mdb_guarding_watch(MdbGuarding *g);
extern void mdb_guarding_admitted(MdbGuarding *g, const MdbProtoSeries *series);

/* mdb_guarding_any - was something refused in this batch? */
extern bool mdb_guarding_any(const MdbGuarding *g);

/* mdb_guarding_refused - the metric that was refused last. */
extern MdbCardMetric *mdb_guarding_refused(const MdbGuarding *g);

/* mdb_guarding_reason - what a dead letter says of it, in CurrentMemoryContext. */
extern const char *mdb_guarding_reason(const MdbGuarding *g, const MdbCardMetric *metric);

/* mdb_guarding_clock - what time it is: an hour may have ended. */
extern void mdb_guarding_clock(MdbGuarding *g, TimestampTz now);

/* mdb_guarding_tick - in a transaction, once a second: limits may have changed. */
extern void mdb_guarding_tick(MdbGuarding *g);

/*
 * mdb_guarding_begin - in the transaction that is to store a batch: read limits, learn what others have
 * registered.  False: a series that was refused in this batch may be known after all, read it again.
 */
extern bool mdb_guarding_begin(MdbGuarding *g, Relation rel);

/* mdb_guarding_register - a series that the dictionary does not have is about to be asked of it. */
extern void mdb_guarding_register(MdbGuarding *g, MdbProtoBytes name);

/*
 * mdb_guarding_claim - after all of them.  False: others have taken what was hoped for.  The batch is to be
 * thrown away, the cache to be cleared, and everything to be decoded again.
 */
extern bool mdb_guarding_claim(MdbGuarding *g);
extern void mdb_guarding_committed(MdbGuarding *g);
extern void mdb_guarding_aborted(MdbGuarding *g);

/* mdb_guarding_cleared - the cache does not know any more what was admitted. */
extern void mdb_guarding_cleared(MdbGuarding *g);

#endif /* MDB_GUARDING_H */
