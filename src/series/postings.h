/*
 * postings.h
 *	  Terms and the series that have them, as bytes: the payload of a row of metricsdb.posting.
 *
 * Plain C, no PostgreSQL.  Readers survive any bytes.  README.md in this folder has the layout.
 */
#ifndef MDB_POSTINGS_H
#define MDB_POSTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MDB_TERM_MAX        512  /* bytes of a term */
#define MDB_POSTING_IDS_MAX 8192 /* ids of an entry; a longer list has several */

/* Reads the entries of a page in order; those below are of the one that was read last. */
typedef struct MdbPostingReader
{
	const uint8_t *p;
	const uint8_t *end;
	uint8_t term[MDB_TERM_MAX];
	uint32_t term_len;
	uint32_t n;          /* how many ids */
	const uint8_t *list; /* and where they are */
	const uint8_t *list_end;
} MdbPostingReader;

extern size_t mdb_posting_bound(uint32_t term_len, uint32_t n);
extern size_t mdb_posting_put(uint8_t *dst, const uint8_t *prev, uint32_t prev_len, const uint8_t *term,
							  uint32_t term_len, const uint32_t *ids, uint32_t n);
extern void mdb_posting_begin(MdbPostingReader *r, const void *page, size_t len);
extern int mdb_posting_next(MdbPostingReader *r);
extern bool mdb_posting_ids(const MdbPostingReader *r, uint32_t *ids);
extern int mdb_posting_any(const MdbPostingReader *r, const uint64_t *bits, uint32_t base, uint32_t last);

/* Order of terms. */
extern int mdb_term_cmp(const void *a, uint32_t alen, const void *b, uint32_t blen);

#endif /* MDB_POSTINGS_H */
