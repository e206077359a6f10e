/*
 * bucket.h
 *	  Expressions over the time column that are constant for stretches of time.
 */
#ifndef MDB_BUCKET_H
#define MDB_BUCKET_H

#include "nodes/execnodes.h"

#include "store/store.h"

typedef struct MdbBucketing MdbBucketing;

extern bool mdb_bucket_supported(const MdbTable *table, Index varno, Node *expr);
extern bool mdb_bucket_rises(const MdbTable *table, Index varno, Node *expr);
extern double mdb_bucket_width(const MdbTable *table, Index varno, Node *expr);
extern MdbBucketing *mdb_bucketing_create(const MdbTable *table, Index varno, List *exprs, PlanState *ps);
extern void mdb_bucketing_prepare(MdbBucketing *b, ExprContext *econtext);
extern void mdb_bucket_of(MdbBucketing *b, int64 time, int64 *first, int64 *last);

#endif /* MDB_BUCKET_H */
