/*
 * consumer.h
 *	  The seam to librdkafka: nothing else includes its header, source.c's check of properties
 *	  aside.
 */
#ifndef MDB_CONSUMER_H
#define MDB_CONSUMER_H

#include "postgres.h"

#include "ingest/intake.h"
#include "ingest/source.h"

typedef struct MdbConsumer MdbConsumer;

/* What a poll brought: a message, a complaint about a partition, or that there is no more at message.offset. */
typedef struct MdbPolled
{
	int32 partition;
	const char *error; /* NULL = none */
	bool damaged;      /* it is of what the broker has, not of the way there */
	bool end;          /* of the partition, for now; no message */
	MdbMessage message;
} MdbPolled;

/*
 * mdb_consumer_create - a client for the source; there can be one in a process.  Destroyed by
 * mdb_consumer_destroy or at the exit of the process.
 */
extern MdbConsumer *mdb_consumer_create(const MdbSource *source);
extern void mdb_consumer_destroy(MdbConsumer *consumer);

/* mdb_consumer_fd - becomes readable when something has come; mdb_consumer_drain_fd - reset that. */
extern int mdb_consumer_fd(const MdbConsumer *consumer);
extern void mdb_consumer_drain_fd(MdbConsumer *consumer);

/*
 * mdb_consumer_partitions - number of partitions of the topic by the brokers' word, -1 if they do
 * not answer within a second, 0 if there is no such topic; *problem says more.
 */
extern int mdb_consumer_partitions(MdbConsumer *consumer, const char **problem);

/* For so long an answer is waited for. */
#define MDB_REQUEST_MS 1000

/* mdb_consumer_watermarks - first and next offset of a partition, asked of its broker, which has ms to answer. */
extern bool mdb_consumer_watermarks(MdbConsumer *consumer, int32 partition, int ms, int64 *low, int64 *high);

/* mdb_consumer_known_watermarks - the same as last heard, without asking. */
extern bool mdb_consumer_known_watermarks(MdbConsumer *consumer, int32 partition, int64 *low, int64 *high);

/*
 * mdb_consumer_ends - where partitions end at this moment, asked of their brokers at once: of each, the offset behind
 * its last message that is committed, or -1 if its broker did not say.  False if none answers within a second.
 */
extern bool mdb_consumer_ends(MdbConsumer *consumer, int n, const int32 *partitions, int64 *ends);

/*
 * mdb_consumer_offset_at - the first message of a partition with that time, in milliseconds from 1970, or a later one; -1
 * if there is none.  False if the broker did not say.
 */
extern bool mdb_consumer_offset_at(MdbConsumer *consumer, int32 partition, int64 ms, int64 *offset);

/* mdb_consumer_assign - read from here on the n partitions, those that are stalled or finished left out, at position. */
extern void mdb_consumer_assign(MdbConsumer *consumer, int n, const MdbPartition *partitions);

/*
 * mdb_consumer_poll - what has come, at once; lent until mdb_consumer_release, which must be
 * called before the next poll.
 */
extern int mdb_consumer_poll(MdbConsumer *consumer, const MdbPolled **polled);
extern void mdb_consumer_release(MdbConsumer *consumer);

/*
 * mdb_consumer_events - log what librdkafka has to say.  Returns the text of the last error since
 * the last call, or NULL; *disconnected is set if no broker can be reached.
 */
extern const char *mdb_consumer_events(MdbConsumer *consumer, bool *disconnected);

#endif /* MDB_CONSUMER_H */
