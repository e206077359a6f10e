/*
 * merge.h
 *	  Merging, within src/write: which parts, the merge itself, moving for space, and the books.
 */
#ifndef MDB_MERGE_H
#define MDB_MERGE_H

#include "write/write.h"

/*
 * Bounds of one merge.  Memory: decoded values of the inputs' blocks, the directories of the inputs
 * and of the output; a block of each input, and of the output, may exceed the first where single
 * values are larger.
 */
#define MDB_MERGE_INPUTS_MAX    64
#define MDB_MERGE_ROWS_MAX      (INT64CONST(1024) * 1024 * 1024)
#define MDB_MERGE_BYTES_MAX     (INT64CONST(1024) * 1024 * 1024) /* encoded; stays below 2^31 */
#define MDB_MERGE_VALUES_MAX    ((Size) 64 * 1024 * 1024)
#define MDB_MERGE_DIRECTORY_MAX ((Size) 64 * 1024 * 1024)
#define MDB_MERGE_MAPS_MAX      ((Size) 64 * 1024 * 1024)

#define MDB_LEVEL_MAX           1000

/* A partition, or a table, to which nothing was added for so long rests. */
#define MDB_REST_US (INT64CONST(600) * USECS_PER_SEC)

/* Parts to be merged, in the order in which their rows were written. */
typedef struct MdbMergeSet
{
	int count;
	MdbPartInfo *parts;
	int16 level; /* of the output */
	bool cold;   /* the output is to be as small as can be */
	bool forced; /* aggregates have not taken the same times of all of them, but do not stand in the way */
	/* The output is divided by retention classes, of which it has these; NULL: it is of its inputs' class. */
	MdbClassifier *classifier;
	int nclasses;
	int16 *classes;
} MdbMergeSet;

/* What came of it. */
typedef struct MdbMergeResult
{
	MemoryContext mcxt;
	int nparts;
	int64 *parts; /* their ids */
	int64 nrows;
	int64 ndropped; /* rows that were deleted */
	int64 nbytes;
} MdbMergeResult;

/* merge_pending.c: what continuous aggregates have not taken of a table's parts */
typedef struct MdbFits MdbFits;
typedef struct MdbMergePending MdbMergePending;

extern MdbFits *mdb_fits_load(Relation rel, const MdbTable *table);
extern bool mdb_fits(const MdbFits *f, const MdbPartInfo *parts, int n);
extern int mdb_fits_prefix(const MdbFits *f, const MdbPartInfo *parts, int n);
extern bool mdb_merge_pending_claim(Relation rel, const MdbTable *table, const MdbMergeSet *set,
									MdbMergePending **result);
extern void mdb_merge_pending_placed(const MdbMergePending *m, const MdbPartInfo *part);

/* merge_policy.c */
extern int mdb_written_cmp(const void *a, const void *b);
extern bool mdb_same_partition(const MdbPartInfo *x, const MdbPartInfo *y);
extern int mdb_newest_that_fit(const MdbTable *table, const MdbPartInfo *parts, int n);
extern bool mdb_merge_choose(const MdbTable *table, const MdbPartList *list, const MdbFits *fits,
							 MdbCompactHow how, TimestampTz now, MdbMergeSet *set);

/* merge_rows.c: deleted rows, and where the others go */
typedef struct MdbMergeRows MdbMergeRows;

extern MdbMergeRows *mdb_merge_rows_begin(Relation rel, const MdbTable *table, int ninputs);
extern const uint8 *mdb_merge_rows_dead(MdbMergeRows *r, int64 first, uint32 n, int input);
extern void mdb_merge_rows_taken(MdbMergeRows *r, int input, int64 first, uint32 n);
extern bool mdb_merge_rows_full(const MdbMergeRows *r);
extern bool mdb_merge_rows_claim(MdbMergeRows *r, const MdbPartInfo *inputs, const int64 *taken_to);
extern void mdb_merge_rows_placed(MdbMergeRows *r, int64 row_first);
extern void mdb_merge_rows_end(MdbMergeRows *r);
extern bool mdb_merge_choose_dead(Relation rel, const MdbTable *table, const MdbPartList *list, bool full,
								  MdbMergeSet *set);

/* merge.c */
#ifdef MDB_TESTING
extern int mdb_merge_directory; /* bytes, instead of MDB_MERGE_DIRECTORY_MAX */
#endif
extern bool mdb_merge_parts(Relation rel, const MdbTable *table, const MdbMergeSet *set, bool may_give_way,
							MdbMergeResult *result);

/* reclass.c */
extern void mdb_reclass_split(const MdbRetention *r, MdbPartList *list, MdbPartList *stale);
extern bool mdb_reclass_choose(Relation rel, const MdbTable *table, const MdbRetention *r,
							   const MdbFits *fits, const MdbPartList *all, const MdbPartList *stale,
							   int64 rows_max, MdbMergeSet *set, bool *done);

/* sound.c */
extern bool mdb_sound_do(Relation rel, const MdbTable *table, void (*fn)(void *), void *arg);
extern void mdb_sound_parts(const MdbTable *table, MdbPartList *list);

/* books.c */
extern void mdb_books_merge(int64 storage_id, const MdbMergeSet *inputs, const MdbMergeResult *result,
							TimestampTz began);
extern void mdb_books_moved(int64 storage_id, int64 nbytes);
extern bool mdb_books_may_move(int64 storage_id, const MdbPartList *list);
extern void mdb_books_failure(int64 storage_id, int failures, const char *message, TimestampTz retry_at);

#endif /* MDB_MERGE_H */
