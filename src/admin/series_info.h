/*
 * series_info.h
 *	  What series a table has: what the functions that tell it share.
 */
#ifndef MDB_SERIES_INFO_H
#define MDB_SERIES_INFO_H

#include "fmgr.h"
#include "utils/hsearch.h"

#include "exec/pushdown.h"
#include "exec/series_filter.h"
#include "store/elsewhere.h"

/* Conditions on series columns, ready to be evaluated. */
typedef struct MdbSeriesTest
{
	MdbTable *table;
	EState *estate;
	ExprContext *econtext;
	ExprState *qual;
	MdbSeriesFilter *filter;
	TupleTableSlot *slot;
	MemoryContext mcxt;
} MdbSeriesTest;

/* ---- series_condition.c ---- */

extern List *mdb_parse_series_condition(Relation rel, const MdbTable *table, const char *condition);
extern MdbSeriesTest *mdb_series_test_begin(Relation rel, MdbTable *table, List *clauses);
extern bool mdb_series_test(MdbSeriesTest *test, const char *key, uint32 len);
extern void mdb_series_test_end(MdbSeriesTest *test);

/* ---- series_info.c ---- */

typedef struct MdbText
{
	const char *bytes;
	uint32 len;
} MdbText;

/* A question about a table, and what is known of it, or of one of its partitions after the other. */
typedef struct MdbSeriesInfo
{
	FunctionCallInfo fcinfo;
	Relation asked;     /* what was named */
	bool hide;          /* row-level security applies to the caller: rows that he sees tell */
	bool elsewhere;     /* rows are on nodes */
	const text *metric; /* NULL = any */
	Snapshot latest;
	MemoryContext mcxt; /* of the whole */
	List *parts;        /* OIDs of the metricsdb tables that are to be looked at */
	List *others;       /* and of partitions that are none, looked at with the first of these */
	int next;           /* of parts */
	HTAB *known_keys;   /* hashes of keys that were gathered from any */
	int ntexts;
	int texts_cap;
	MdbText *texts; /* the result, if it is one of texts */

	/* of the table that is looked at */
	MemoryContext rel_mcxt;
	Relation rel;
	MdbTable *table;
	MdbDict *dict;
	AttrNumber name;  /* the column with the metric's name; 0: the table is one metric, */
	AttrNumber tags;  /* and the series columns are its tags */
	AttrNumber *told; /* [natts] what was named has the column as this one; 0 = it was dropped */
	bool as_is;       /* keys tell series apart as they are */
	bool in_time;     /* rows with from <= time < to */
	int64 from;       /* times in the table's unit, both inclusive */
	int64 to;
	bool bound[2]; /* the same as timestamptz, where they were given */
	Datum bounds[2];
	MdbShadows *shadows;
	MdbIds *ids; /* registered series that are asked about; NULL = all */
	int nkeys;
	int keys_cap;
	MdbText *keys; /* others */
} MdbSeriesInfo;

extern MdbSeriesInfo *mdb_series_info_begin(FunctionCallInfo fcinfo, bool has_metric);
extern bool mdb_series_info_next(MdbSeriesInfo *info);
extern void mdb_series_info_end(MdbSeriesInfo *info);
extern void mdb_series_info_gather(MdbSeriesInfo *info, uint32 id);
extern bool mdb_series_info_is_new(MdbSeriesInfo *info, const MdbText *key);
extern bool mdb_series_info_is_tag(const MdbSeriesInfo *info, AttrNumber attno);
extern bool mdb_series_info_column(const MdbText *key, AttrNumber attno, const char **bytes, uint32 *n);
extern int mdb_text_cmp(const void *a, const void *b);

/* ---- series_elsewhere.c ---- */

extern bool mdb_series_of_nodes(const MdbSeriesInfo *info);
extern char *mdb_series_call(MdbSeriesInfo *info, const char *function, const char *condition);
extern void mdb_series_ask(const char *sql, int ncolumns, const Oid *types, MdbRowCallback callback,
						   void *arg);

/* ---- series_list.c ---- */

extern int64 mdb_series_matching(Relation rel, MdbTable *table, MdbSeriesTest *test);

#endif /* MDB_SERIES_INFO_H */
