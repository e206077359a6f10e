/*
 * hll.h
 *	  HyperLogLog: how many different values there are, of their hashes.
 *
 * Of 2^bits registers each keeps the longest run of zeros of the hashes that fall to it.  Registers only
 * grow, and sets are united by taking the greater of each: the same values make the same bytes in any order
 * and by any tree of merges.  As long as few registers are in use, only these are kept.
 *
 * P. Flajolet et al., "HyperLogLog", 2007; the estimate is that of O. Ertl, "New cardinality estimation
 * algorithms for HyperLogLog sketches", 2017, which needs no corrections.
 *
 * Plain C, no PostgreSQL.  Reading survives any bytes.
 */
#ifndef MDB_HLL_H
#define MDB_HLL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MDB_HLL_VERSION  1
#define MDB_HLL_BITS_MIN 4
#define MDB_HLL_BITS_MAX 18

typedef struct MdbHll
{
	/* Makes room: of size bytes, with what was at old, which was of old_size and may be NULL.  Never fails. */
	void *(*grow)(void *arg, void *old, size_t old_size, size_t size);
	void *arg;

	int bits;
	uint8_t *dense;   /* NULL: only entries */
	uint32_t *sparse; /* register << 6 | its value, in any order, some of them twice */
	uint32_t n;
	uint32_t room;
} MdbHll;

extern void mdb_hll_init(MdbHll *h, int bits);
extern void mdb_hll_add(MdbHll *h, uint64_t hash);
extern void mdb_hll_merge(MdbHll *h, const MdbHll *other); /* of as many bits */
extern double mdb_hll_estimate(MdbHll *h);
extern size_t mdb_hll_bound(const MdbHll *h);
extern size_t mdb_hll_write(MdbHll *h, uint8_t *dst);
extern bool mdb_hll_read(MdbHll *h, const uint8_t *p, size_t len);

#endif /* MDB_HLL_H */
