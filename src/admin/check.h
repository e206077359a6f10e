/*
 * check.h
 *	  metricsdb.check(): what its parts share.
 */
#ifndef MDB_CHECK_H
#define MDB_CHECK_H

#include "nodes/execnodes.h"
#include "nodes/bitmapset.h"
#include "utils/hsearch.h"

#include "series/series.h"
#include "write/write.h"

/* A set of series ids, kept by pages, and with each a hash of its key. */
typedef struct MdbKnownSeries
{
	HTAB *pages;
	Bitmapset *jsonb; /* columns of that type */
} MdbKnownSeries;

typedef struct MdbCheck
{
	Relation rel;
	MdbTable *table;
	Snapshot snapshot;
	ReturnSetInfo *rsinfo;
	MemoryContext tmp; /* reset for each part */
	MdbPartList *list;
	MdbExtent *shared; /* page ranges that several parts lay claim to */
	int nshared;
	MdbKnownSeries *known; /* NULL if the table has no series columns */
	bool dictionary_damaged;
	MdbRetention *retention;   /* NULL if the table has no policy */
	MdbClassifier *classifier; /* NULL if all its rows are of one class, or it is not known which */
	MdbMeta meta;              /* newer than what the snapshot sees; ends in a flexible array */
} MdbCheck;

/* Where a finding belongs; what does not apply is 0, blocks -1. */
typedef struct MdbPlace
{
	int64 part;
	int block;
	AttrNumber attno;
	int64 page;
} MdbPlace;

#define MDB_PLACE_PART(p)        ((MdbPlace){(p), -1, 0, 0})
#define MDB_PLACE_BLOCK(p, b)    ((MdbPlace){(p), (b), 0, 0})
#define MDB_PLACE_CHUNK(p, b, a) ((MdbPlace){(p), (b), (a), 0})
#define MDB_PLACE_PAGE(p, n)     ((MdbPlace){(p), -1, 0, (n)})
#define MDB_PLACE_TABLE          ((MdbPlace){0, -1, 0, 0})

/* ---- check.c ---- */

extern void mdb_check_found(MdbCheck *c, const char *severity, const char *kind, MdbPlace at, const char *fmt,
							...) pg_attribute_printf(5, 6);

/* ---- check_space.c: pages and counters ---- */

extern void mdb_check_catalog(MdbCheck *c);
extern void mdb_check_overlaps(MdbCheck *c);
extern Bitmapset *mdb_check_pages(MdbCheck *c, const MdbPartInfo *info);
extern void mdb_check_file(MdbCheck *c, BlockNumber npages, bool list_free);
extern void mdb_check_delta(MdbCheck *c);

/* ---- check_part.c: what a part's bytes say ---- */

extern void mdb_check_part(MdbCheck *c, const MdbPartInfo *info, const Bitmapset *bad_pages, bool decode);

/* ---- check_shadow.c: rows that were deleted, updated or locked ---- */

extern void mdb_check_shadows(MdbCheck *c);

/* ---- check_pending.c: what continuous aggregates have not taken ---- */

extern void mdb_check_pending(MdbCheck *c);

/* ---- check_series.c: the dictionary ---- */

extern void mdb_check_series(MdbCheck *c);
extern bool mdb_check_series_known(const MdbKnownSeries *known, uint32 id);
extern struct MdbKnownTerms *mdb_check_series_terms(const MdbKnownSeries *known, uint32 id);
extern void mdb_check_series_each(const MdbKnownSeries *known,
								  void (*callback)(void *arg, uint32 id, const struct MdbKnownTerms *terms),
								  void *arg);

/* ---- check_posting.c: the index over series ---- */

/* Terms of a series, as the dictionary has them and as the index has: their number, a sum of hashes. */
typedef struct MdbKnownTerms
{
	uint64 sum;
	uint64 found_sum;
	uint32 count;
	uint32 found;
} MdbKnownTerms;

extern void mdb_check_expect_terms(MdbCheck *c, MdbKnownTerms *terms, const char *key, uint32 len);
extern void mdb_check_postings(MdbCheck *c);

#endif /* MDB_CHECK_H */
