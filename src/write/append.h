/*
 * append.h
 *	  The way in for batches that come as columns: what the Kafka worker uses, and what the
 *	  access method's own write buffer ends in.
 *
 * An MdbAppend lives as long as its memory context and survives transactions; it never holds
 * rows from one transaction to the next.  The cycle within a transaction is
 *
 *		mdb_append_open(a, rel)			rel locked RowExclusiveLock by the caller
 *		id = mdb_append_series(a, ...)	for keys whose id the caller does not know yet
 *		mdb_append_rows(a, ...)			any number of times
 *		mdb_append_finish(a, ...)		the parts are written
 *		mdb_append_close(a)				(or the transaction aborts: call mdb_append_reset)
 *
 * Series ids obtained in a transaction that aborts must be asked for again: the dictionary row
 * went with the abort.  The id that comes back is the same or another; both are right.
 */
#ifndef MDB_APPEND_H
#define MDB_APPEND_H

#include "postgres.h"
#include "utils/rel.h"

typedef struct MdbAppend MdbAppend;

/* Values of one column, one for each row: by-value datums widened to 64 bits, or doubles' bits. */
typedef struct MdbAppendColumn
{
	AttrNumber attno;   /* column of the table: not the time, not a series column */
	const void *values; /* int64[], double[], or Datum[] for by-reference types */
	const bool *isnull; /* NULL = none is */
} MdbAppendColumn;

/*
 * mdb_append_create - an appender for a table USING metricsdb, in CurrentMemoryContext.
 */
extern MdbAppend *mdb_append_create(void);

/*
 * mdb_append_open - bind it to the open relation for the current transaction.
 *
 * Returns a generation number: when it differs from that of the previous open, the table got
 * new storage (TRUNCATE, rewrite) and every series id the caller remembers is void.
 */
extern uint64 mdb_append_open(MdbAppend *a, Relation rel);

/*
 * mdb_append_series - the id of the series with these series-column values, registering it in
 * the current transaction if need be.  values/isnull are indexed by attnum - 1; other columns
 * than the series columns are not looked at.
 */
extern uint32 mdb_append_series(MdbAppend *a, const Datum *values, const bool *isnull);

/*
 * mdb_append_key - the same for the key's bytes, as mdb_key_build makes them.
 * mdb_append_registered - does the key have a row of the dictionary that stays?
 */
extern uint32 mdb_append_key(MdbAppend *a, const char *key, uint32 len);
extern bool mdb_append_registered(MdbAppend *a, const char *key, uint32 len);

/* mdb_append_rows - add n rows.  times may be NULL if the table has no time column. */
extern void mdb_append_rows(MdbAppend *a, uint32 n, const uint32 *series, const int64 *times, int ncolumns,
							const MdbAppendColumn *columns);

/* mdb_append_finish - write what was added as parts; source_id 0 = not from a source. */
extern void mdb_append_finish(MdbAppend *a, int32 source_id, int64 epoch);

/* mdb_append_close - unbind at the end of the transaction; mdb_append_reset - after an abort. */
extern void mdb_append_close(MdbAppend *a);
extern void mdb_append_reset(MdbAppend *a);

#endif /* MDB_APPEND_H */
