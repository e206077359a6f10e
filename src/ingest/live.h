/*
 * live.h
 *	  What Kafka workers are doing at this moment, in shared memory.
 */
#ifndef MDB_LIVE_H
#define MDB_LIVE_H

#include "postgres.h"

#include "datatype/timestamp.h"

typedef enum MdbPhase
{
	MDB_PHASE_NONE, /* no worker */
	MDB_PHASE_STARTING,
	MDB_PHASE_CONNECTING, /* the brokers did not answer yet, or do not any more */
	MDB_PHASE_RUNNING,
	MDB_PHASE_FLUSHING,   /* a transaction is open */
	MDB_PHASE_BACKING_OFF /* after an error, see last_error */
} MdbPhase;

extern void mdb_live_init(void);

/* mdb_live_available - is there shared memory, that is, was the library preloaded? */
extern bool mdb_live_available(void);

/* mdb_live_begin - this process is the worker of that source; undone at its exit. */
extern void mdb_live_begin(int32 source_id, Oid owner);

extern void mdb_live_phase(MdbPhase phase);
extern void mdb_live_pending(uint64 points, uint64 messages);
extern void mdb_live_rate(double points_per_second);
extern void mdb_live_watermarks(int32 partition, int64 low, int64 high);
extern void mdb_live_error(const char *message);

/*
 * mdb_live_complete - of a partition, all that the brokers had at that time lies before an offset, and was read.  Later
 * calls for a partition are about later times.
 */
extern void mdb_live_complete(int32 partition, int64 offset, TimestampTz at);

/* What another process knows of a worker: see mdb_live_look. */
typedef struct MdbLiveSeen
{
	bool worker; /* is there one? */
	MdbPhase phase;
	int npartitions;
	struct MdbLivePartitionSeen
	{
		int32 partition;
		int64 offset;   /* all that there was at that time lies before it, and was read */
		TimestampTz at; /* 0 = not known */
	} * partitions;     /* in no order */
} MdbLiveSeen;

/* mdb_live_look - a source of this database, by any process; what is told of partitions outlives the worker. */
extern void mdb_live_look(int32 source_id, MdbLiveSeen *seen);

#endif /* MDB_LIVE_H */
