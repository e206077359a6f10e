/*
 * bucket.h
 *	  Expressions over the time column that are constant for stretches of time.
 */
#ifndef MDB_BUCKET_H
#define MDB_BUCKET_H

#include "nodes/execnodes.h"
#include "nodes/pg_list.h"

#include "store/store.h"

typedef struct MdbBucketing MdbBucketing;

typedef enum MdbStepKind
{
	MDB_STEP_EXACT, /* each time for itself */
	MDB_STEP_WIDTH, /* interval and origin are given */
	MDB_STEP_UNIT,  /* a unit is named; none: a day */
	MDB_STEP_EPOCH  /* floor(extract(epoch from t) / w) */
} MdbStepKind;

/* A call that makes stretches of times, by its arguments, which are not evaluated yet. */
typedef struct MdbBucketCall
{
	MdbStepKind kind;
	bool zoned;          /* boundaries lie in the local time of a zone */
	bool extract;        /* the unit is a field: its values change with the next smaller unit */
	Node *zone;          /* its name; NULL: the session's */
	Node *width;         /* interval; unit; seconds */
	Node *origin;        /* NULL: a Monday for time_bucket */
	Node *offset;        /* interval that moves the boundaries */
	bool zone_of_origin; /* the origin is a timestamptz, and the boundaries are local */
} MdbBucketCall;

extern bool mdb_bucket_supported(const MdbTable *table, Index varno, Node *expr);
extern bool mdb_bucket_rises(const MdbTable *table, Index varno, Node *expr);
extern List *mdb_bucket_calls(const MdbTable *table, Index varno, Node *expr);
extern bool mdb_bucket_truncates(const MdbTable *table, Index varno, Node *expr, int64 *ahead, int64 *behind,
								 bool *rises);
extern double mdb_bucket_width(const MdbTable *table, Index varno, Node *expr);
extern MdbBucketing *mdb_bucketing_create(const MdbTable *table, Index varno, List *exprs, PlanState *ps);
extern void mdb_bucketing_prepare(MdbBucketing *b, ExprContext *econtext);
extern void mdb_bucket_of(MdbBucketing *b, int64 time, int64 *first, int64 *last);

#endif /* MDB_BUCKET_H */
