/*
 * retention.h
 *	  How long a table keeps its rows: its policy, classes of rows, and what is too old.
 */
#ifndef MDB_RETENTION_H
#define MDB_RETENTION_H

#include "datatype/timestamp.h"
#include "store/store.h"

/* Rows of metrics that match a pattern are kept for another time than the table's others. */
typedef struct MdbRetentionClass
{
	char *metric; /* pattern: * any characters, ? one, \ takes the next one as it is */
	Interval keep;
} MdbRetentionClass;

/*
 * The policy of a table.  Rows that match no class are of class number base, those of classes[i] of
 * base + 1 + i.  Whenever the patterns change all get new numbers: a part whose number is none of these
 * was written by other patterns, and rows of any class may be in it.
 */
typedef struct MdbRetention
{
	bool has_keep; /* else rows that match no class are kept for ever */
	Interval keep;
	int32 days; /* that partitions are to have at least, if that is not too long for what is kept; 0 = one */
	int base;
	int nclasses;
	MdbRetentionClass *classes; /* the most specific first, in the order in which they are tried */
} MdbRetention;

#define MDB_CLASS_MAX     PG_INT16_MAX
#define MDB_CLASS_UNKNOWN (-1) /* the table has classes, but no column with a metric's name any more */
#define MDB_CLASSES_MAX   1000 /* of a table */

/* The policy of a table, in CurrentMemoryContext, or NULL: set by src/admin, which knows where it is kept. */
typedef MdbRetention *(*MdbRetentionLoader)(Relation rel);
extern PGDLLIMPORT MdbRetentionLoader mdb_retention_loader;

/* ---- retention.c ---- */

extern MdbRetention *mdb_retention_load(Relation rel);
extern bool mdb_retention_has_keep(const MdbRetention *r);
extern bool mdb_glob_match(const char *pattern, const char *s, int len);
extern void mdb_retention_sort(MdbRetention *r);
extern bool mdb_retention_same_classes(const MdbRetention *a, const MdbRetention *b);
extern bool mdb_retention_is_current(const MdbRetention *r, int16 class);
extern int16 mdb_retention_class(const MdbRetention *r, const char *metric, int len);
extern AttrNumber mdb_retention_column(Relation rel, const MdbTable *table);
extern bool mdb_retention_dated(const MdbTable *table);
extern int64 mdb_retention_horizon(const MdbTable *table, const Interval *keep, TimestampTz now);
extern int32 mdb_retention_days(const MdbRetention *r);

/* Before when rows of each class are too old, in the time column's units; PG_INT64_MIN: never. */
typedef struct MdbHorizons
{
	const MdbRetention *retention;
	int64 *classes; /* [nclasses + 1], that of base first */
	int64 longest;
} MdbHorizons;

extern MdbHorizons *mdb_horizons(const MdbRetention *r, const MdbTable *table, TimestampTz now);
extern int64 mdb_horizon_of(const MdbHorizons *h, int16 class);

/* Classes of series, remembered by this process. */
typedef struct MdbClassifier MdbClassifier;

extern MdbClassifier *mdb_classifier(Relation rel, const MdbTable *table, const MdbRetention *r);
extern int16 mdb_class_of_series(MdbClassifier *c, uint32 id);

/* ---- expire.c ---- */

/* What was removed, and what was in the way. */
typedef struct MdbExpired
{
	int64 parts;
	int64 rows;   /* of parts, and of the delta */
	int64 busy;   /* parts at whose rows somebody's transaction is */
	int64 needed; /* parts that a continuous aggregate has not taken yet */
} MdbExpired;

extern bool mdb_refuse_referenced(Relation rel, int elevel);

#endif /* MDB_RETENTION_H */
