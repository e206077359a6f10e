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

/* A question about a table. */
typedef struct MdbSeriesInfo
{
	FunctionCallInfo fcinfo;
	Relation rel;
	MdbTable *table;
	MdbDict *dict;
	AttrNumber name; /* the column with the metric's name; 0: the table is one metric, */
	AttrNumber tags; /* and the series columns are its tags */
	Snapshot latest;
	bool in_time; /* rows with from <= time < to */
	int64 from;   /* times in the table's unit, both inclusive */
	int64 to;
	bool bound[2]; /* the same as timestamptz, where they were given */
	Datum bounds[2];
	const text *metric; /* NULL = any */
	MdbIds *ids;        /* registered series that are asked about; NULL = all */
	HTAB *known_keys;   /* hashes of those that follow */
	int nkeys;
	int keys_cap;
	MdbText *keys; /* others */
	int ntexts;
	int texts_cap;
	MdbText *texts; /* the result, if it is one of texts */
} MdbSeriesInfo;

extern MdbSeriesInfo *mdb_series_info_begin(FunctionCallInfo fcinfo, bool has_metric);
extern void mdb_series_info_end(MdbSeriesInfo *info);
extern void mdb_series_info_gather(MdbSeriesInfo *info, uint32 id);
extern bool mdb_series_info_is_tag(const MdbSeriesInfo *info, AttrNumber attno);
extern bool mdb_series_info_column(const MdbText *key, AttrNumber attno, const char **bytes, uint32 *n);
extern int mdb_text_cmp(const void *a, const void *b);

/* ---- series_list.c ---- */

extern int64 mdb_series_matching(Relation rel, MdbTable *table, MdbSeriesTest *test);

#endif /* MDB_SERIES_INFO_H */
