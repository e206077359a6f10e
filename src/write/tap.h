/*
 * tap.h
 *	  Who wants to know of rows that come into a table: rules of src/alert, which are above.
 *
 * It is told of rows as they are written, within the subtransaction that writes them; not of what merges and moves
 * from the delta write, nor of rewrites, whose table is another one.  Of rows that an UPDATE has changed it is not told.
 */
#ifndef MDB_TAP_H
#define MDB_TAP_H

#include "executor/tuptable.h"
#include "series/series.h"
#include "store/store.h"

typedef struct MdbTap
{
	/* Is anybody interested in this table? */
	bool (*wanted)(Relation rel);
	/* Rows that come as columns; their series have ids of dict. */
	void (*batch)(Relation rel, const MdbTable *table, MdbDict *dict, const MdbBatch *batch);
	/* A row, by its columns' values. */
	void (*row)(Relation rel, const MdbTable *table, const Datum *values, const bool *isnull);
	/* The last moment at which rows of this transaction can be written. */
	void (*before_commit)(void);
} MdbTap;

/* Set by src/alert; NULL: nobody is. */
extern PGDLLIMPORT const MdbTap *mdb_tap;

extern void mdb_tap_batch(Relation rel, const MdbTable *table, MdbDict *dict, const MdbBatch *batch);
extern void mdb_tap_tuples(Relation rel, const MdbTable *table, MinimalTuple *tuples, int ntuples);
extern void mdb_tap_slots(Relation rel, TupleTableSlot **slots, int nslots);
extern void mdb_tap_before_commit(void);

#endif /* MDB_TAP_H */
