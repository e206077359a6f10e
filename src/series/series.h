/*
 * series.h
 *	  The series dictionary: the values of the series columns to a dense integer id, and back.
 *
 * See README.md in this folder for the registration rule and its invariants.
 */
#ifndef MDB_SERIES_H
#define MDB_SERIES_H

#include "store/store.h"

typedef struct MdbDict MdbDict;

/* ---- key.c ---- */

/* Longest key, in bytes: together with what fills a segment up, less than a segment may hold. */
#define MDB_KEY_MAX (128 * 1024 * 1024)

pg_noreturn extern void mdb_key_too_long(Relation rel, uint64 len);
extern void mdb_key_build(const MdbTable *table, const Datum *values, const bool *isnull, StringInfo key);
extern void mdb_key_decode(const MdbTable *table, const char *key, uint32 len, Datum *values, bool *isnull);

extern bool mdb_key_next(const char **p, const char *end, uint32 *attno, const char **bytes, uint32 *n);
extern Datum mdb_key_datum(const MdbColumn *column, const char *bytes, uint32 len);
extern bool mdb_key_is_valid(const MdbTable *table, const char *key, uint32 len);

/* ---- segment.c ---- */

#define MDB_SEGMENT_PAIRS 256                  /* pairs in one row of metricsdb.series */
#define MDB_SEGMENT_BYTES ((Size) 1024 * 1024) /* of keys, from which on a row is closed */
#define MDB_SEGMENT_GAP   4096                 /* ids that a row may leave out at once */

typedef struct MdbSegmentEntry
{
	uint32 id;
	uint32 len;
	const char *key;
} MdbSegmentEntry;

/* What whoever writes rows knows of others: see twins.c. */
typedef struct MdbSegmentOrigin
{
	int64 registrar; /* the lowest id that it has given; 0 = it does not know what ids these are */
	uint64 horizon;  /* it has read all rows of transactions below */
} MdbSegmentOrigin;

typedef void (*MdbSegmentCallback)(void *arg, uint32 id, const char *key, uint32 len);

extern bytea *mdb_segment_encode(const MdbSegmentEntry *entries, int count);
extern void mdb_segment_decode(const bytea *payload, uint32 id_min, MdbSegmentCallback callback, void *arg);

extern void mdb_segments_write(Relation rel, int64 storage_id, const MdbSegmentEntry *entries, uint32 n,
							   const MdbSegmentOrigin *origin, CommandId cid, int options);

/* ---- dict_rows.c ---- */

extern int64 mdb_dict_bytes(const MdbTable *table, Snapshot snapshot, int64 *nseries);

/* ---- dict.c ---- */

extern MdbDict *mdb_dict_open(const MdbTable *table);
extern int64 mdb_dict_sync(MdbDict *dict, Relation rel);
extern uint32 mdb_dict_intern(MdbDict *dict, Relation rel, const char *key, uint32 len);
extern bool mdb_dict_registered(MdbDict *dict, const char *key, uint32 len);
extern void mdb_dict_refresh(MdbDict *dict, MdbSegmentCallback callback, void *arg);
extern void mdb_dict_keep(MdbDict *dict);
extern void mdb_dict_let_go(int64 storage_id);
extern bool mdb_dict_watch(int64 storage_id, MdbSegmentCallback callback, void *arg);
extern int mdb_dict_peek(int64 storage_id, const char *key, uint32 len);
extern void mdb_dict_register(MdbDict *dict, Relation rel, const MdbSegmentEntry *keys, int count,
							  CommandId cid);
extern void mdb_dict_flush(MdbDict *dict, CommandId cid, int options);
extern const char *mdb_dict_key(MdbDict *dict, uint32 id, Snapshot snapshot, uint32 *len);

#endif /* MDB_SERIES_H */
