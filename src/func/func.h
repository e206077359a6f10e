/*
 * func.h
 *	  Functions for queries: what C code elsewhere needs of them.
 */
#ifndef MDB_FUNC_H
#define MDB_FUNC_H

#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "func/match.h"
#include "func/sketch.h"

/* aggregate.c */
extern MemoryContext mdb_aggregate_context(FunctionCallInfo fcinfo);

/* first_last.c */
extern Datum mdb_end_serialize(Oid value_type, Datum value, bool value_null, Oid time_type, Datum time);

/* How fine a sketch is at first, and how many buckets a side may have. */
typedef struct MdbSketchLimits
{
	int scale;
	uint32 max_buckets;
} MdbSketchLimits;

/* sketch_type.c */
extern void mdb_sketch_begin(MdbSketch *s, MemoryContext mcxt, int scale, uint32 max_buckets);
extern void mdb_sketch_of_datum(MdbSketch *s, MemoryContext mcxt, Datum datum);
extern Datum mdb_datum_of_sketch(MdbSketch *s);
extern uint32 mdb_sketch_checked_buckets(int32 max_buckets);
extern MdbSketchLimits mdb_sketch_limits(const int32 *max_buckets, const float8 *error);
pg_noreturn extern void mdb_sketch_full(void);

/* match.c */
extern MdbBytes mdb_label_text(const JsonbValue *v);
extern MdbSelector *mdb_selector_of(const char *text, Size len, MemoryContext mcxt, bool missing_ok);

/* time_bucket.c: buckets of one width, in integers, microseconds or days */
typedef struct MdbBuckets
{
	Oid type; /* of the times */
	Interval width;
	int64 size; /* of integers, or in microseconds; 0: months */
	text *zone; /* NULL: none */
} MdbBuckets;

extern Timestamp mdb_time_bucket(const Interval *width, Timestamp t);
extern void mdb_buckets_init(MdbBuckets *b, Oid type, Datum width, text *zone);
extern int64 mdb_bucket_begin(const MdbBuckets *b, int64 t);
extern bool mdb_bucket_next(const MdbBuckets *b, int64 *t);

/* gapfill.c */
extern int64 mdb_time_units(Datum value, Oid type);
extern Datum mdb_units_time(int64 t, Oid type);
extern bool mdb_time_is_finite(int64 t, Oid type);
pg_noreturn extern void mdb_gapfill_misplaced(Oid function);

#endif /* MDB_FUNC_H */
