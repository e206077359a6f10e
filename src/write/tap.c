/*
 * tap.c
 *	  Rows that come into a table, shown to whoever watches it: see tap.h.
 *
 * Costs nothing but a look at the relation's cache entry where nobody does.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/rel.h"

#include "write/tap.h"
#include "write/write.h"

const MdbTap *mdb_tap = NULL;

/*
 * mdb_tap_batch - rows that are to be written as parts, or to the delta, all of them.
 */
void
mdb_tap_batch(Relation rel, const MdbTable *table, MdbDict *dict, const MdbBatch *batch)
{
	if (mdb_tap && batch->nrows > 0 && mdb_tap->wanted(rel))
		mdb_tap->batch(rel, table, dict, batch);
}

/*
 * mdb_tap_tuples - tuples that are written to the delta.
 */
void
mdb_tap_tuples(Relation rel, const MdbTable *table, MinimalTuple *tuples, int ntuples)
{
	TupleTableSlot *slot;

	if (mdb_tap == NULL || !mdb_tap->wanted(rel))
		return;
	slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), &TTSOpsMinimalTuple);
	for (int i = 0; i < ntuples; i++)
	{
		ExecStoreMinimalTuple(tuples[i], slot, false);
		slot_getallattrs(slot);
		mdb_tap->row(rel, table, slot->tts_values, slot->tts_isnull);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * mdb_tap_slots - rows that were written to the delta.
 */
void
mdb_tap_slots(Relation rel, TupleTableSlot **slots, int nslots)
{
	MdbTable *table;

	if (mdb_tap == NULL || !mdb_tap->wanted(rel))
		return;
	table = mdb_table(rel);
	for (int i = 0; i < nslots; i++)
	{
		slot_getallattrs(slots[i]);
		mdb_tap->row(rel, table, slots[i]->tts_values, slots[i]->tts_isnull);
	}
	pfree(table);
}

/*
 * mdb_tap_before_commit - the transaction is about to commit, or to be prepared: no more rows come.
 */
void
mdb_tap_before_commit(void)
{
	if (mdb_tap)
		mdb_tap->before_commit();
}
