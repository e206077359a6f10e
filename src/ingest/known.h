/*
 * known.h
 *	  A set of fingerprints: 32 bits of each, so who is in it may be so by chance; who is not, is not.
 */
#ifndef MDB_KNOWN_H
#define MDB_KNOWN_H

#include "postgres.h"

typedef struct MdbKnown
{
	MemoryContext mcxt;
	uint32 *slots; /* open addressing; 0 = empty */
	uint32 nslots;
	uint32 n;
} MdbKnown;

/* mdb_known_init - empty, in CurrentMemoryContext; mdb_known_free - empty again, without memory. */
extern void mdb_known_init(MdbKnown *known);
extern void mdb_known_free(MdbKnown *known);

extern void mdb_known_add(MdbKnown *known, uint64 fingerprint);

static inline uint32
mdb_known_what(uint64 fingerprint)
{
	uint32 what = (uint32) (fingerprint >> 32);

	return what != 0 ? what : 1;
}

static inline bool
mdb_known_has(const MdbKnown *known, uint64 fingerprint)
{
	uint32 mask = known->nslots - 1;
	uint32 what = mdb_known_what(fingerprint);

	for (uint32 i = what & mask; known->slots[i] != 0; i = (i + 1) & mask)
		if (known->slots[i] == what)
			return true;
	return false;
}

#endif /* MDB_KNOWN_H */
