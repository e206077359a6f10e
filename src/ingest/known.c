/*
 * known.c
 *	  A set of fingerprints; see known.h.
 *
 * Called by guarding.c.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "ingest/known.h"

#define FIRST_SLOTS 1024

void
mdb_known_init(MdbKnown *known)
{
	known->mcxt = CurrentMemoryContext;
	known->n = 0;
	known->nslots = FIRST_SLOTS;
	known->slots = palloc0(FIRST_SLOTS * sizeof(uint32));
}

void
mdb_known_free(MdbKnown *known)
{
	if (known->slots)
		pfree(known->slots);
	known->slots = NULL;
	known->nslots = known->n = 0;
}

static void
put(uint32 *slots, uint32 mask, uint32 what)
{
	uint32 i = what & mask;

	while (slots[i] != 0)
		i = (i + 1) & mask;
	slots[i] = what;
}

void
mdb_known_add(MdbKnown *known, uint64 fingerprint)
{
	if (mdb_known_has(known, fingerprint))
		return;
	if ((known->n + 1) * (uint64) 2 > known->nslots)
	{
		uint32 n = known->nslots * 2;
		uint32 *grown =
			MemoryContextAllocExtended(known->mcxt, n * sizeof(uint32), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

		for (uint32 i = 0; i < known->nslots; i++)
			if (known->slots[i] != 0)
				put(grown, n - 1, known->slots[i]);
		pfree(known->slots);
		known->slots = grown;
		known->nslots = n;
	}
	put(known->slots, known->nslots - 1, mdb_known_what(fingerprint));
	known->n++;
}
