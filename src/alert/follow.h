/*
 * follow.h
 *	  What the evaluation keeps in memory of tables that have threshold or dead-man rules: the windows of these.
 */
#ifndef MDB_FOLLOW_H
#define MDB_FOLLOW_H

#include "postgres.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "storage/lock.h"
#include "series/series.h"
#include "utils/hsearch.h"

#include "alert/alert.h"
#include "alert/bytes.h"
#include "alert/watch.h"
#include "alert/window.h"

/* What a snapshot sees, of transactions by their whole numbers. */
typedef struct MdbSeen
{
	uint64 xmin; /* all below have ended */
	uint64 xmax; /* none from here on has */
	uint32 n;
	uint64 *xip; /* those in between that have not */
} MdbSeen;

/* A label set of a rule. */
typedef struct MdbWindowGroup
{
	XXH128_hash_t hash; /* of names and values; hash key */
	int n;
	char **names;
	char **values;
	MdbRing ring;  /* unless the aggregate is one of series; of a dead-man rule what is later than its tick */
	Jsonb *labels; /* with the rule's, made when first told */
	uint8 key[MDB_LABELS_KEY]; /* of these */
	char *metric;              /* of the first series, if each is a group */
	double sum;                /* else: while the rule is evaluated */
	bool any, known;           /* likewise: a sample; a value */
	TimestampTz last;          /* of a dead-man rule, up to the tick */
	TimestampTz held;          /* the last tick at which it did not recover; 0 = never */
} MdbWindowGroup;

/* A series of a rule whose aggregate is one of series. */
typedef struct MdbMember
{
	XXH128_hash_t hash; /* of the key; hash key */
	MdbWindowGroup *group;
	MdbRing ring;
} MdbMember;

/* A row of metricsdb.alert_window that waits for a tick. */
typedef struct MdbPiece
{
	int32 number;
	TimestampTz covers;
} MdbPiece;

typedef enum MdbFollowState
{
	MDB_FOLLOW_NEW,     /* writers may not know that the table is followed */
	MDB_FOLLOW_WAITING, /* some may not know of the rule */
	MDB_FOLLOW_LOADED
} MdbFollowState;

typedef struct MdbFollowedRule
{
	int32 id; /* hash key */
	int64 version;
	MdbWatchRule *watch; /* of the table's watch of now; what each sample needs of that: */
	AttrNumber column;
	bool deadman;
	MdbWindowAggregate aggregate;
	int64 window;
	MdbFollowState state;
	MemoryContext mcxt; /* of what follows; NULL unless it is loaded */
	HTAB *groups;
	int ngroups;
	int groups_room;
	MdbWindowGroup **list; /* of all groups */
	bool distinct;         /* no two groups whose labels are made have the same */
	HTAB *members;
	int64 width; /* of buckets */
	int64 phase; /* they end at multiples of it, and this */
	TimestampTz tick;
	uint64 generation; /* of the table, in which it began, or series were last attached to it */
	MdbSeen seen;      /* its history is of this snapshot */
	int npieces;       /* of it, that are later than all ticks */
	int pieces_room;
	MdbPiece *pieces;
	bool has_it; /* the row of metricsdb.alert_batch at hand is part of its history */
	char *error; /* two series are one instance */
	VirtualTransactionId *waits_for;
	int nwaits;
} MdbFollowedRule;

typedef struct MdbAttach
{
	MdbFollowedRule *rule;
	MdbWindowGroup *group;
	MdbRing *ring;
} MdbAttach;

typedef struct MdbFollowedSeries
{
	XXH128_hash_t hash; /* of the key; hash key */
	char *key;
	uint32 len;
	uint64 generation; /* of the table when it was attached */
	int begun;         /* to so many of the rules that have begun since */
	int n;
	MdbAttach *attach;
	bool touched; /* since the last sweep */
} MdbFollowedSeries;

/* A row of metricsdb.alert_batch that is not needed any more some day. */
typedef struct MdbKept
{
	int64 batch_id;
	uint64 xid;
	TimestampTz covers;
	bool waits; /* not taken in: later than all ticks */
	bool gone;  /* deleted, if that was committed */
} MdbKept;

typedef struct MdbFollowed
{
	Oid relid;    /* hash key */
	bool stale;   /* the table or its rules have changed */
	bool blocked; /* somebody has a lock that keeps us from looking at it */
	MemoryContext mcxt;
	MdbWatch *watch;
	uint64 generation;
	HTAB *rules;
	int nbegun; /* rules that have begun in this generation: */
	int begun_room;
	MdbFollowedRule **begun;
	HTAB *series;
	MdbFollowedSeries **by_id;
	uint32 nids;
	MdbSeen seen;       /* taken in: what this snapshot sees, */
	TimestampTz covers; /* of samples up to here */
	int nkept;
	int kept_room;
	MdbKept *kept;
	bool marked;      /* metricsdb.alert_watch was found good */
	uint64 marked_by; /* the transaction of ours that has written it, if it has not ended as far as we know */
	TimestampTz renew_at;  /* by the clock */
	TimestampTz tidied_at; /* by the clock */
	TimestampTz swept_at;
} MdbFollowed;

/* ---- follow.c ---- */

extern MdbFollowed *mdb_followed_find(Oid relid);
extern MdbFollowed *mdb_followed_get(Oid relid);
extern void mdb_followed_restart(MdbFollowed *f);
extern void mdb_followed_drop(MdbFollowed *f);
extern void mdb_followed_forget_all(void);
extern void mdb_followed_each(void (*fn)(MdbFollowed *f, void *arg), void *arg);
extern void mdb_followed_refresh(MdbFollowed *f, Relation rel);
extern MdbFollowedRule *mdb_followed_rule(MdbFollowed *f, int32 id);
extern int64 mdb_followed_width(const MdbThreshold *t, int64 every);
extern void mdb_followed_rule_begin(MdbFollowedRule *r, MdbFollowed *f, int64 width, TimestampTz at);
extern void mdb_followed_rule_reset(MdbFollowedRule *r);
extern MdbFollowedSeries *mdb_followed_by_key(MdbFollowed *f, const char *key, uint32 len);
extern MdbFollowedSeries *mdb_followed_by_id(MdbFollowed *f, MdbDict *dict, uint32 id);
extern void mdb_followed_prefetch(const MdbFollowed *f, uint32 id, int step);
extern void mdb_followed_add(MdbFollowed *f, MdbFollowedSeries *s, MdbFollowedRule *only, AttrNumber column,
							 int64 time, double value);
extern void mdb_followed_sweep(MdbFollowed *f);

/* ---- taken.c ---- */

extern void mdb_seen_set(MdbSeen *seen, Snapshot snapshot, MemoryContext mcxt);
extern bool mdb_seen_has(const MdbSeen *seen, uint64 xid);
extern Relation mdb_followed_open(MdbFollowed *f);
extern int64 mdb_followed_take_in(MdbFollowed *f, Relation rel, Snapshot snapshot);
extern void mdb_followed_reach(MdbFollowed *f, Relation rel, TimestampTz at);
extern void mdb_followed_tidy(MdbFollowed *f);
extern void mdb_orphans_delete(void);
extern void mdb_followed_add_bytes(MdbFollowed *f, const bytea *bytes, MdbFollowedRule *only);

/* ---- marks.c ---- */

extern bool mdb_mark_is_good(Oid relid);
extern bool mdb_mark_begin(MdbFollowed *f, Relation rel);
extern void mdb_mark_renew(MdbFollowed *f, TimestampTz now, TimestampTz ticked);
extern bool mdb_mark_writers_know(MdbFollowedRule *r, MdbFollowed *f);

/* ---- history.c ---- */

extern void mdb_windows_restore(MdbFollowed *f, Snapshot snapshot);
extern void mdb_windows_reach(MdbFollowed *f, MdbFollowedRule *r, Snapshot snapshot);
extern void mdb_windows_delete(int32 rule_id);
extern void mdb_history_read(MdbFollowed *f, Relation rel, MdbFollowedRule *r, int64 every, TimestampTz at,
							 Snapshot snapshot);

/* ---- counters ---- */

typedef struct MdbAlertCounters
{
	uint64 evaluations;
	uint64 batches;
	uint64 samples;
	uint64 histories;
	uint64 history_rows;
} MdbAlertCounters;

extern MdbAlertCounters mdb_alert_counters;

#endif /* MDB_FOLLOW_H */
