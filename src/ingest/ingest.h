/*
 * ingest.h
 *	  A Kafka source at work: the state of its worker.
 */
#ifndef MDB_INGEST_H
#define MDB_INGEST_H

#include "postgres.h"

#include "ingest/intake.h"
#include "ingest/consumer.h"
#include "ingest/guarding.h"
#include "ingest/series_cache.h"
#include "ingest/source.h"
#include "write/append.h"

typedef struct MdbIngest
{
	MemoryContext context;    /* all of this */
	MemoryContext assignment; /* partitions[] */
	const MdbSource *source;
	MdbConsumer *consumer;
	MdbKeyCache *cache;
	MdbGuarding *guarding;
	bool met_guard;  /* it knows the target */
	bool read_again; /* the last flush has stored nothing: the batch is to be decoded anew */
	MdbIntake *batch;
	MdbDecoder *decoder;
	MdbAppend *append;
	uint32 *ids; /* scratch of the flush */
	uint32 ids_room;

	int npartitions;
	MdbPartition *partitions; /* ordered by number */
	bool assigned;            /* partitions[] is what the consumer reads */
	bool reassign;            /* the consumer has given a partition up */
	bool recheck;             /* compare offsets with watermarks soon */
	int64 recheck_after;
	int failures; /* in a row */

	TimestampTz round_at;    /* the clock at the last round */
	TimestampTz looked_at;   /* at the source's row, the last time */
	TimestampTz topology_at; /* next look at the topic's partitions */
	TimestampTz ends_at;     /* next look at where they end */
	TimestampTz tick_at;
	int64 stored_since_tick;
	double rate;
} MdbIngest;

/* Settings */
extern int mdb_kafka_flush_points;
extern int mdb_kafka_cache_kb;

/*
 * mdb_ingest_run - be the worker of this source until it is paused, changed or dropped, or
 * keep_going returns false.
 *
 * The process is connected to its database, with a latch and the usual signal handlers.
 */
extern void mdb_ingest_run(int32 source_id, bool (*keep_going)(void));

/*
 * mdb_flush - store the batch in one transaction (flush.c).  False: the source is not to run any
 * more, or not as we know it, and nothing was stored.  Nor was it if read_again is set.
 */
extern bool mdb_flush(MdbIngest *ingest);

/*
 * mdb_ends_look - if it is time, see which partitions have nothing that was not read, and tell others so (ends.c).
 */
extern void mdb_ends_look(MdbIngest *ingest, TimestampTz now);

/* mdb_source_alive - within a transaction: is the source as we loaded it, and to run? */
extern bool mdb_source_alive(MdbIngest *ingest);

#endif /* MDB_INGEST_H */
