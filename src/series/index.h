/*
 * index.h
 *	  The inverted index over series: from values of series columns to ids.
 *
 * See README.md in this folder for what a term is, and what the index is good for.
 */
#ifndef MDB_INDEX_H
#define MDB_INDEX_H

#include "nodes/bitmapset.h"

#include "series/postings.h"
#include "series/series.h"

/* ---- term.c ---- */

/* The first two bytes of a term are the number of its column, then comes of what kind it is. */
enum
{
	MDB_TERM_NULL = 0,  /* the column is NULL */
	MDB_TERM_VALUE,     /* a value: its bytes */
	MDB_TERM_PAIR,      /* a pair of a jsonb object: key, 0, type of the value, its text */
	MDB_TERM_LONG,      /* a long value: first bytes, hash */
	MDB_TERM_LONG_PAIR, /* a pair with a long key: its hash */
	MDB_TERM_OTHER,     /* jsonb that is no object */
	MDB_TERM_EMPTY      /* a jsonb object without pairs */
};

/* Types of the values of pairs: what ->> returns is the text, but for null. */
#define MDB_PAIR_STRING    's'
#define MDB_PAIR_NUMBER    'n'
#define MDB_PAIR_BOOL      'b'
#define MDB_PAIR_NULL      'z'
#define MDB_PAIR_NESTED    'c'
#define MDB_PAIR_LONG      'L' /* of any type: first bytes of the text, hash */

#define MDB_TERM_HEAD      3
#define MDB_TERM_VALUE_MAX (MDB_TERM_MAX - MDB_TERM_HEAD)
#define MDB_TERM_KEY_MAX   200
#define MDB_TERM_TEXT_MAX  (MDB_TERM_MAX - MDB_TERM_HEAD - MDB_TERM_KEY_MAX - 2)

/* A term, or what terms begin with. */
typedef struct MdbTerm
{
	uint32 len;
	uint8 bytes[MDB_TERM_MAX];
} MdbTerm;

typedef void (*MdbTermCallback)(void *arg, const MdbTerm *term);

extern Bitmapset *mdb_terms_jsonb(const MdbTable *table);
extern void mdb_term_column(MdbTerm *term, AttrNumber attno, int kind);
extern void mdb_term_value(MdbTerm *term, AttrNumber attno, const char *bytes, uint32 len);
extern void mdb_term_key(MdbTerm *term, AttrNumber attno, const char *key, uint32 len);
extern void mdb_term_pair(MdbTerm *term, AttrNumber attno, const char *key, uint32 keylen, char type,
						  const char *text, uint32 len);
extern bool mdb_term_has_prefix(const uint8 *term, uint32 len, const MdbTerm *prefix);
extern void mdb_terms_of_key(const Bitmapset *jsonb, const char *key, uint32 len, MdbTermCallback callback,
							 void *arg);

/* ---- ids.c ---- */

/* A set of ids, rising. */
typedef struct MdbIds
{
	uint32 n;
	uint32 cap;
	uint32 *v;
	uint64 *bits; /* made by mdb_ids_index */
	uint32 base;
} MdbIds;

extern MdbIds *mdb_ids_create(void);
extern void mdb_ids_reserve(MdbIds *ids, uint32 n);
extern void mdb_ids_add(MdbIds *ids, const uint32 *v, uint32 n);
extern void mdb_ids_sort(MdbIds *ids);
extern MdbIds *mdb_ids_intersect(const MdbIds *a, const MdbIds *b);
extern MdbIds *mdb_ids_subtract(const MdbIds *a, const MdbIds *b);
extern void mdb_ids_index(MdbIds *ids);
extern bool mdb_ids_has(const MdbIds *ids, uint32 id);
extern uint32 mdb_ids_from(const uint32 *v, uint32 n, uint32 at, uint32 id);
extern bool mdb_ids_any_between(const MdbIds *ids, int64 first, int64 last);

/* ---- posting_write.c ---- */

/* What a payload begins with: version, flags, and if compressed the bytes of the page (4). */
#define MDB_POSTING_VERSION 1
#define MDB_POSTING_ZSTD    0x01
#define MDB_POSTING_RAW_MAX (64 * 1024)

typedef struct MdbPostingWriter MdbPostingWriter;

extern MdbPostingWriter *mdb_posting_writer(int64 storage_id, int64 run_ids, CommandId cid, int options);
extern void mdb_posting_add(MdbPostingWriter *w, const void *term, uint32 len, const uint32 *ids, uint32 n);
extern void mdb_posting_finish(MdbPostingWriter *w);
extern void mdb_postings_write(int64 storage_id, const Bitmapset *jsonb, const MdbSegmentEntry *entries,
							   uint32 count, CommandId cid, int options);

/* ---- posting_scan.c ---- */

/* A walk through the entries of all runs, run by run, in order of terms within each. */
typedef struct MdbPostingScan
{
	Relation rel;
	int64 storage_id;
	Snapshot snapshot;
	MemoryContext mcxt; /* of the row that is being read */
	MdbTerm from;       /* entries from this term on */
	MdbTerm prefix;     /* that begin so, */
	bool whole;         /* or are that term */
	int64 only;         /* of this run, unless -1 */
	bool names_only;    /* ids may not be asked for */
	union
	{
		bytea bytes;
		int32 align;
		char space[VARHDRSZ + MDB_TERM_MAX];
	} key; /* that the index is searched for */
	bool in_run;
	int64 run;
	bool open;
	MdbCatalogScan scan;
	bool in_row;
	MdbPostingReader reader;
} MdbPostingScan;

extern void mdb_posting_scan_begin(MdbPostingScan *s, int64 storage_id, Snapshot snapshot,
								   const MdbTerm *prefix);
extern bool mdb_posting_scan_next(MdbPostingScan *s);
extern void mdb_posting_scan_skip(MdbPostingScan *s, const MdbTerm *prefix);
extern void mdb_posting_scan_pass(MdbPostingScan *s);
extern void mdb_posting_scan_leave(MdbPostingScan *s);
extern void mdb_posting_scan_ids(MdbPostingScan *s, MdbIds *ids);
extern bool mdb_posting_scan_any(const MdbPostingScan *s, const MdbIds *ids);
extern void mdb_posting_scan_end(MdbPostingScan *s);
extern void mdb_postings_find(int64 storage_id, Snapshot snapshot, const MdbTerm *term, MdbIds *ids);
extern MdbIds *mdb_postings_all(const MdbTable *table, Snapshot snapshot);
extern int64 mdb_postings_bytes(int64 storage_id, Snapshot snapshot);
extern void mdb_posting_page(Datum payload, MdbPostingReader *reader);
pg_noreturn extern void mdb_posting_damaged(void);

/* ---- posting_cache.c ---- */

typedef struct MdbPostingCache MdbPostingCache;

extern MdbPostingCache *mdb_posting_cache_create(int64 storage_id, Snapshot snapshot, Size limit);
extern void mdb_posting_cache_find(MdbPostingCache *c, const MdbTerm *term, MdbIds *ids);

/* ---- posting_merge.c ---- */

extern bool mdb_postings_pile(int64 storage_id);
extern bool mdb_postings_merge(int64 storage_id, bool all, const MdbIds *leave_out);
extern void mdb_postings_rebuild(const MdbTable *table);

/* ---- dict_rows.c ---- */

extern MdbIds *mdb_dict_ids(int64 storage_id, Snapshot snapshot);

/* ---- leaving.c ---- */

extern int64 mdb_leaving_read(int64 storage_id, Snapshot snapshot, MdbIds *ids);
extern void mdb_leaving_write(Relation table_rel, int64 storage_id, const MdbIds *ids);
extern void mdb_dict_remove(int64 storage_id, const MdbIds *ids);

/* ---- twins.c ---- */

/* An id with the key of another, the lowest that has it. */
typedef struct MdbTwin
{
	uint32 first;
	uint32 id;
} MdbTwin;

typedef struct MdbTwins
{
	int64 nids; /* ids of the dictionary */
	uint32 n;
	MdbTwin *v; /* by rising first, id */
} MdbTwins;

extern const MdbTwins *mdb_twins(MdbDict *dict, int64 storage_id, Snapshot latest);
extern bool mdb_twins_settle(const MdbTable *table, bool often);
extern int64 mdb_twins_among(const MdbTwins *twins, const MdbIds *ids);

/* ---- part_ids.c ---- */

/* Rows of parts: those with from <= time <= to that are not dead. */
typedef struct MdbPartRows
{
	int64 from;
	int64 to;
	/* Which of the rows first .. first + n - 1 of the storage are dead: 1 or 0.  False if none, dead is not touched. */
	bool (*find_dead)(void *arg, int64 first, uint32 n, uint8 *dead);
	void *arg;
} MdbPartRows;

extern void mdb_part_add_ids(Relation rel, const MdbPartInfo *info, const MdbPartRows *rows, MdbIds *ids);

#endif /* MDB_INDEX_H */
