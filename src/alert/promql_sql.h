/*
 * promql_sql.h
 *	  Expressions of Prometheus as SQL over a table.
 */
#ifndef MDB_PROMQL_SQL_H
#define MDB_PROMQL_SQL_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

#include "alert/promql.h"
#include "compat.h"

/* ---- promql_source.c: what a table has ---- */

typedef struct MdbPromSource
{
	Oid relid;
	char *table;  /* its name, with the schema's, quoted */
	char *time;   /* columns' names, quoted: the time */
	char *tags;   /* labels as jsonb, NULL = none */
	char *metric; /* the metric's name, NULL = names of metrics are those of value columns */
	List *labels; /* of char *: columns that are labels, their names as they are */
	List *values; /* of char *: columns that are numbers, likewise */
	char *value;  /* the one of them that has the values, if there is a column of the metric's name */
	List *groups; /* of char *: all columns that tell series apart, quoted */
} MdbPromSource;

extern MdbPromSource *mdb_prom_source(Oid relid);
extern const char *mdb_prom_value_column(const MdbPromSource *source, const MdbSelector *selector);
extern void mdb_prom_append_labels(StringInfo buf, const MdbPromSource *source);
extern char *mdb_prom_matchers(const MdbPromSource *source, const MdbSelector *selector);
extern void mdb_prom_append_match(StringInfo buf, const MdbPromSource *source, const MdbProm *selector);

/* ---- promql_sql.c: what is asked of it ---- */

/* What is asked, and how. */
typedef struct MdbPromQuestion
{
	const char *text; /* of the expression */
	MdbPromSource *source;
	const char *at;   /* SQL for the time of evaluation */
	int64 lookback;   /* milliseconds */
	int64 step;       /* of subqueries that do not say theirs */
	bool with_metric; /* is the metric's name a column of the result? */
} MdbPromQuestion;

extern MdbProm *mdb_prom_parsed(const char *text);
pg_noreturn extern void mdb_prom_refuse(const char *text, const MdbProm *node, const char *what,
										const char *hint);
extern char *mdb_prom_sql(const MdbPromQuestion *question, const MdbProm *root);
extern const MdbMatchMemory *mdb_prom_memory(void);

/* ---- promql_threshold.c: those that are rules of kind threshold ---- */

typedef struct MdbPromThreshold
{
	char *metric;       /* NULL: the metric is a column, */
	char *value_column; /* which is then this one */
	char *matchers;     /* NULL = none */
	const char *aggregate;
	int64 window; /* milliseconds */
	char *op;
	double threshold;
	bool by;
	bool without;
	List *labels; /* of char *: by or without them */
} MdbPromThreshold;

extern bool mdb_prom_threshold(const MdbPromSource *source, const MdbProm *root, MdbPromThreshold *threshold);

#endif /* MDB_PROMQL_SQL_H */
