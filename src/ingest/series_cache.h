/*
 * series_cache.h
 *	  From the bytes that say name and tags to a series of the target table, quickly.
 */
#ifndef MDB_SERIES_CACHE_H
#define MDB_SERIES_CACHE_H

#include "postgres.h"

#include "ingest/guarding.h"
#include "ingest/proto.h"
#include "ingest/target.h"
#include "write/append.h"

#define MDB_NO_SERIES PG_UINT32_MAX

/* Not one of the cache: the cardinality guard lets no more new ones in. */
#define MDB_CLOSED_SERIES (PG_UINT32_MAX - 1)

/* At most so many points are looked up at once. */
#define MDB_SERIES_GROUP 32

typedef struct MdbKeyCache MdbKeyCache;

/*
 * What the cache remembers of one partition: producers send the same list of series again and
 * again, so the series that followed the last time is tried first.  All zero to begin with.
 */
typedef struct MdbSeriesHint
{
	uint32 generation; /* of the cache; another one voids the rest */
	uint32 last;       /* slot of the point before */
	uint32 guesses;    /* in this window */
	uint32 right;
	uint32 rest;      /* look-ups until guessing is tried again */
	uint32 lookups;   /* in this window */
	uint32 reordered; /* of them: a known series in bytes not seen before */
	uint32 bypass;    /* look-ups until bytes are remembered again */
} MdbSeriesHint;

/* mdb_key_cache_create - a cache of at most limit bytes, which asks the guard about series it does not know. */
extern MdbKeyCache *mdb_key_cache_create(Size limit, MdbGuarding *guarding);

/*
 * mdb_key_cache_lookup - the series of n <= MDB_SERIES_GROUP points, MDB_NO_SERIES for those
 * whose bytes are not known: mdb_key_cache_add is to be called for these, in order.
 */
extern void mdb_key_cache_lookup(MdbKeyCache *cache, MdbSeriesHint *hint, int n, const MdbProtoPoint *points,
								 uint32 *series);

/*
 * mdb_key_cache_add - read the point's key in full and find or make its series.  Anything but
 * MDB_PROTO_OK: there is no such series, the point is to be refused with that reason.  The series is
 * MDB_CLOSED_SERIES if it is new and the guard refuses it: then mdb_guarding_refused() says why.
 */
extern MdbProtoStatus mdb_key_cache_add(MdbKeyCache *cache, MdbSeriesHint *hint, const MdbProtoPoint *point,
										uint32 *series);

/* Beyond its limit?  Then store what refers to series of the cache, and clear it. */
extern bool mdb_key_cache_full(const MdbKeyCache *cache);
extern void mdb_key_cache_clear(MdbKeyCache *cache);
extern uint32 mdb_key_cache_size(const MdbKeyCache *cache);

/*
 * mdb_key_cache_ids - translate n series to the ids of the table, in the transaction for which
 * append was opened; generation is what mdb_append_open returned.
 *
 * Ids asked for in a transaction hold from its commit on: one of the last two functions must be
 * called when it has ended.
 */
extern void mdb_key_cache_ids(MdbKeyCache *cache, MdbAppend *append, uint64 generation,
							  const MdbTarget *target, uint32 n, const uint32 *series, uint32 *ids);
extern void mdb_key_cache_committed(MdbKeyCache *cache);
extern void mdb_key_cache_aborted(MdbKeyCache *cache);

/*
 * mdb_key_cache_refuse - if the error that ended the last mdb_key_cache_ids was raised for a
 * single series, mark it refused with this reason and return true; its points become dead letters.
 * mdb_key_cache_refused - the reason, or NULL.
 */
extern bool mdb_key_cache_refuse(MdbKeyCache *cache, const char *reason);
extern const char *mdb_key_cache_refused(const MdbKeyCache *cache, uint32 series);

#endif /* MDB_SERIES_CACHE_H */
