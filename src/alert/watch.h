/*
 * watch.h
 *	  Which series of a table are watched by which of its threshold and dead-man rules.
 */
#ifndef MDB_WATCH_H
#define MDB_WATCH_H

#include "postgres.h"

#include "alert/threshold.h"

/* A rule, as far as the table's rows matter to it. */
typedef struct MdbWatchRule
{
	int32 id;
	int64 version;
	Oid owner;
	MdbThreshold *t; /* NULL: it cannot be, for this reason */
	char *error;
	AttrNumber column; /* see mdb_threshold_column */
	int next;          /* of those under the same term; -1: none */
} MdbWatchRule;

/* A column that says which series a row is of. */
typedef struct MdbWatchColumn
{
	AttrNumber attno;
	MdbBytes name;
	bool text;
	bool jsonb;
	bool boolean;
	Oid output; /* function */
} MdbWatchColumn;

typedef struct MdbWatch
{
	MemoryContext mcxt; /* all of it */
	Oid relid;
	int64 storage_id;
	MdbTable *table;
	AttrNumber metric; /* the column with the metric's name, or 0 */
	AttrNumber tags;   /* and that with its labels */
	int ncolumns;
	MdbWatchColumn *columns; /* series columns */
	int nrules;
	MdbWatchRule *rules; /* by id */
	HTAB *terms;         /* label and value that must be there, to the rules for which it must */
	int others;          /* first of the rules that have none */
	int64 longest;       /* window or silence, microseconds */
	int nvalues;
	AttrNumber *values; /* columns that some rule is about, 0 first if there is one that takes any row */
	/* of metricsdb.alert_watch */
	bool followed;
	TimestampTz until;
	TimestampTz ticked;
	TimestampTz read_at;
} MdbWatch;

/* Labels of a series, of which values are texts. */
typedef struct MdbLabels
{
	int n;
	int room;
	MdbBytes *names;
	MdbBytes *values;
} MdbLabels;

/* mdb_watch_build - what is watched of a table now; a memory context of its own, below CurrentMemoryContext. */
extern MdbWatch *mdb_watch_build(Relation rel);

/* mdb_watch_labels - the labels of a key; the metric's name is __name__.  In CurrentMemoryContext. */
extern void mdb_watch_labels(const MdbWatch *w, const char *key, uint32 len, MdbLabels *labels);

/* mdb_watch_match - tell of each rule that watches a series with these labels. */
typedef void (*MdbWatchFound)(void *arg, MdbWatchRule *rule);
extern void mdb_watch_match(const MdbWatch *w, const MdbLabels *labels, MdbWatchFound found, void *arg);

/* mdb_watch_holds - does a rule watch a series with these labels? */
extern bool mdb_watch_holds(const MdbWatch *w, const MdbWatchRule *rule, const MdbLabels *labels);

/* mdb_watch_label - a label's value; empty if there is none. */
extern MdbBytes mdb_watch_label(const MdbLabels *labels, MdbBytes name);

/*
 * mdb_watch_mark - read, or write, in metricsdb.alert_watch: until when who writes to a table shall say so, and the
 * lowest of the rules' last ticks.
 */
extern bool mdb_watch_mark_read(Oid relid, TimestampTz *until, TimestampTz *ticked);
extern void mdb_watch_mark_write(Oid relid, TimestampTz until, TimestampTz ticked);

#endif /* MDB_WATCH_H */
