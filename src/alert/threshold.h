/*
 * threshold.h
 *	  Rules that are evaluated from what is written, as it is written: thresholds of an aggregate over a window, and
 *	  dead-man rules.
 */
#ifndef MDB_THRESHOLD_H
#define MDB_THRESHOLD_H

#include "postgres.h"

#include "alert/alert.h"
#include "func/func.h"
#include "store/store.h"

/* What is told of the samples of a group, or of a series, in a window. */
typedef enum MdbWindowAggregate
{
	MDB_WINDOW_AVG,
	MDB_WINDOW_SUM,
	MDB_WINDOW_MIN,
	MDB_WINDOW_MAX,
	MDB_WINDOW_COUNT,
	MDB_WINDOW_STDDEV,     /* of a sample, as SQL's */
	MDB_WINDOW_STDDEV_POP, /* of a population, as Prometheus' */
	MDB_WINDOW_FIRST,
	MDB_WINDOW_LAST,
	MDB_WINDOW_RATE, /* from here on: of each series; a group has their sum */
	MDB_WINDOW_INCREASE,
	MDB_WINDOW_DELTA
} MdbWindowAggregate;

static inline bool
mdb_window_by_series(MdbWindowAggregate aggregate)
{
	return aggregate >= MDB_WINDOW_RATE;
}

/* A definition of metricsdb.alert_rule, read. */
typedef struct MdbThreshold
{
	bool deadman;
	char *metric;          /* NULL: any */
	char *matchers;        /* NULL: any */
	MdbSelector *selector; /* of matchers */
	char *column;          /* NULL: the only one with values */
	bool grouped;          /* by or without was given, else each series is a group */
	bool without;          /* the names are those of labels to leave out */
	List *names;           /* of labels, char * */
	/* thresholds */
	MdbWindowAggregate aggregate;
	int64 window; /* microseconds; samples at T - window < time <= T count at T */
	MdbComparison compare;
	/* dead-man rules */
	int64 silent_for;   /* microseconds */
	int64 forget_after; /* who is silent for longer is not missed any more */
} MdbThreshold;

/*
 * mdb_threshold_read - what a definition says, in CurrentMemoryContext.
 *
 * Raises ERRCODE_INVALID_PARAMETER_VALUE and others for what makes no sense, ERRCODE_FEATURE_NOT_SUPPORTED for what needs the
 * query form.
 */
extern MdbThreshold *mdb_threshold_read(MdbRuleKind kind, const Jsonb *definition);

/*
 * mdb_threshold_column - the column of the table that it is about; 0: a row is enough, whatever is in it.
 *
 * Raises an error for tables of which rules of these kinds cannot be.
 */
extern AttrNumber mdb_threshold_column(const MdbThreshold *t, Relation rel, const MdbTable *table);

/* mdb_threshold_refused - why the owner may not have such a rule of a table; NULL: he may. */
extern const char *mdb_threshold_refused(Oid owner, Oid relid, const char **hint);

#endif /* MDB_THRESHOLD_H */
