/*
 * guard.h
 *	  The cardinality guard in the database: limits of tables and metrics, and the books of new series.
 *
 * cardinality.h has the arithmetic; here are the catalogs.  README.md in this folder says how writers at
 * once share a limit.
 */
#ifndef MDB_GUARD_H
#define MDB_GUARD_H

#include "postgres.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "series/cardinality.h"
#include "series/series.h"

/* Settings */
extern int mdb_max_new_series;     /* metricsdb.max_new_series, 0 = any number */
extern int mdb_max_new_series_sql; /* metricsdb.max_new_series_sql, 0 = any number */
extern bool mdb_cardinality_guard; /* metricsdb.cardinality_guard: does it apply to SQL? */

/* Columns of metricsdb.cardinality and metricsdb.cardinality_limit. */
enum
{
	Anum_cardinality_storage_id = 1,
	Anum_cardinality_hour,
	Anum_cardinality_metric_hash,
	Anum_cardinality_metric,
	Anum_cardinality_new_series,
	Anum_cardinality_refused,
	Anum_cardinality_sketch,
	Natts_cardinality = Anum_cardinality_sketch
};

enum
{
	Anum_cardinality_limit_table = 1,
	Anum_cardinality_limit_metric,
	Anum_cardinality_limit_new_per_hour,
	Anum_cardinality_limit_action,
	Anum_cardinality_limit_drop_tag,
	Anum_cardinality_limit_home,
	Natts_cardinality_limit = Anum_cardinality_limit_home
};

/* A row of metricsdb.cardinality_limit. */
typedef struct MdbLimit
{
	char *metric;       /* "" = all that have no row of their own */
	int64 new_per_hour; /* MDB_CARD_UNLIMITED = any number */
	MdbCardAction action;
	char *drop_tag;
	bool at_home; /* set in this database, not restored into it */
} MdbLimit;

/* Columns of metricsdb.cardinality_share. */
enum
{
	Anum_cardinality_share_table = 1,
	Anum_cardinality_share_new_per_hour,
	Natts_cardinality_share = Anum_cardinality_share_new_per_hour
};

/* One table as a process guards it, for SQL or for Kafka; lives as long as its memory context. */
typedef struct MdbGuard
{
	MemoryContext mcxt;
	MemoryContext limits_mcxt;
	bool sql;
	Oid relid;
	int64 storage_id;
	TimestampTz hour; /* when it began */
	AttrNumber name;  /* the column with the metric's name, or 0: the table is the metric */
	AttrNumber tags;  /* a jsonb object, or 0: the series columns are the tags */
	int nlimits;
	MdbLimit *limits;
	int64 setting; /* that was in force when rules were made */
	MdbCard *card;
	uint64 aborts; /* how many there had been at the last claim */
} MdbGuard;

extern MdbGuard *mdb_guard_create(bool sql);
extern void mdb_guard_open(MdbGuard *g, Relation rel, const MdbTable *table);
extern void mdb_guard_read_limits(MdbGuard *g);
extern bool mdb_guard_hour(MdbGuard *g, TimestampTz now);
extern MdbCardMetric *mdb_guard_metric(MdbGuard *g, MdbCardBytes name);
extern void mdb_guard_reread(MdbGuard *g, MdbCardMetric *metric);
extern bool mdb_guard_claim(MdbGuard *g);
extern void mdb_guard_committed(MdbGuard *g);
extern void mdb_guard_estimate(MdbGuard *g, MdbCardMetric *metric);
extern void mdb_guard_shape(Relation rel, const MdbTable *table, AttrNumber *name, AttrNumber *tags);
extern bool mdb_guard_for_sql(Relation rel);
extern MdbLimit *mdb_guard_limits(Oid relid, int *count);
extern int64 mdb_guard_setting(Oid relid, bool sql);
extern MdbCardRule mdb_guard_rule(const MdbLimit *limits, int nlimits, MdbCardBytes name, int64 setting,
								  bool sql);
extern const char *mdb_guard_home(void);
extern void mdb_guard_forget(Oid relid);
extern void mdb_guard_tidy(void);
extern void mdb_guard_init(void);

#endif /* MDB_GUARD_H */
