/*
 * count.h
 *	  What the evaluation and the delivery of alerts have done, for metricsdb.alert_counters.
 */
#ifndef MDB_ALERT_COUNT_H
#define MDB_ALERT_COUNT_H

#include "postgres.h"

#include "alert/alert.h"

typedef enum MdbCount
{
	/* by the kind of rule */
	MDB_COUNT_EVALUATIONS,
	MDB_COUNT_ERRORS,
	MDB_COUNT_MISSED,      /* ticks */
	MDB_COUNT_TRANSITIONS, /* of instances */
	MDB_COUNT_PARTS,       /* of tables, that evaluations have read */
	MDB_COUNT_BLOCKS,      /* of these */
	MDB_COUNT_ROWS,
	MDB_COUNT_BYTES,

	/* what was taken in of what is written for threshold and dead-man rules */
	MDB_COUNT_BATCHES,
	MDB_COUNT_SAMPLES,

	/* alerts, to a URL each */
	MDB_COUNT_SENT,
	MDB_COUNT_FAILED,
	MDB_COUNT_REFUSED,
	MDB_NCOUNTS
} MdbCount;

extern void mdb_alert_count_init(void);
extern void mdb_alert_counting(void);
extern void mdb_alert_count(MdbCount count, uint64 n);
extern void mdb_alert_count_of(MdbCount count, MdbRuleKind kind, uint64 n);
extern void mdb_alert_reads_begin(MdbRuleKind kind);
extern void mdb_alert_reads_history(void);
extern void mdb_alert_reads_end(void);

#endif /* MDB_ALERT_COUNT_H */
