/*
 * intake.h
 *	  What was read from Kafka and is not stored yet: points as flat columns, dead letters, and
 *	  how far each partition has been read.
 */
#ifndef MDB_INTAKE_H
#define MDB_INTAKE_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "ingest/heavy.h"
#include "ingest/proto.h"
#include "ingest/series_cache.h"
#include "ingest/source.h"

/* A message, as lent by the consumer until mdb_decode_drain. */
typedef struct MdbMessage
{
	int64 offset;
	int64 timestamp_ms; /* since 1970; -1 = none */
	const uint8 *payload;
	uint32 length;
	const uint8 *key;
	uint32 key_length;
} MdbMessage;

/* What became of a partition's messages; each sum is of whole numbers and must balance. */
typedef struct MdbCounts
{
	int64 messages;
	int64 consumed; /* points seen, a message that cannot be read counting as one */
	int64 stored;
	int64 dead_letters;
	int64 skipped; /* offsets that Kafka had no more */
	int64 bytes;   /* of payload */
} MdbCounts;

/* A partition, from its row in metricsdb.kafka_offset on. */
typedef struct MdbPartition
{
	int32 partition;
	int64 next_offset; /* in the table */
	int64 to;          /* the first offset that is not ours; PG_INT64_MAX = all are */
	int64 position;    /* after the batch; >= next_offset */
	MdbCounts counts;  /* of the batch */
	int64 last_message_ms;
	int64 stored_ms;    /* time of the last message that was stored when the row was read, -1 = not known */
	TimestampTz newest; /* of the points of the batch, as far as it is believed; DT_NOBEGIN = none */
	int64 end;          /* all messages before this were given to us; may be behind what is not a message */
	int64 looked_at;    /* position when ends.c looked last */
	int64 high;         /* watermarks, -1 = not known */
	int64 low;
	const char *stalled;       /* why it is not read, NULL = it is */
	TimestampTz suspect_since; /* its offset looked out of range; 0 = no */
	bool failed;               /* something of it could not be read since it was assigned */
	TimestampTz damaged_since; /* what comes next is damaged; 0 = no */
	const char *damage;        /* how, as of this assignment; NULL = it is not */
	MdbSeriesHint hint;
	MdbHeavy heavy;
	bool flooded; /* most of its points are turned away by the cardinality guard */
} MdbPartition;

/* mdb_partition_finished - is all that is ours of it stored? */
static inline bool
mdb_partition_finished(const MdbPartition *p)
{
	return p->next_offset >= p->to;
}

typedef struct MdbDeadLetter
{
	int partition; /* index in the array of partitions */
	int64 offset;
	int32 point; /* in the message; -1 = the message, or its rest */
	int64 message_ms;
	const char *code;
	const char *reason;
	bytea *key;     /* NULL = none */
	bytea *payload; /* the point's bytes, or the message's; NULL = over budget */
	int32 payload_length;
	int32 points;      /* that it stands for */
	int64 last_offset; /* of the last of them */
} MdbDeadLetter;

typedef struct MdbIntake
{
	MemoryContext context; /* of the dead letters' bytes */
	uint32 npoints;
	uint32 room;
	uint32 *series; /* of the series cache */
	int64 *times;   /* PostgreSQL's microseconds */
	double *values;
	uint32 ndead;
	uint32 dead_room;
	MdbDeadLetter *dead;
	Size dead_bytes;
	struct HTAB *floods;    /* dead letters that go on to take points; NULL = none, */
	struct MdbFlood *flood; /* and the one that did last */
	int64 messages;
	int64 bytes;       /* of payload */
	TimestampTz since; /* when its first message was read; 0 = empty */
} MdbIntake;

extern MdbIntake *mdb_intake_create(void);
extern void mdb_intake_reset(MdbIntake *batch);

/* mdb_intake_reserve - room for n points more. */
extern void mdb_intake_reserve(MdbIntake *batch, uint32 n);

/* mdb_intake_dead - add a dead letter; good until the next one is added. */
extern MdbDeadLetter *mdb_intake_dead(MdbIntake *batch, const MdbSource *source, int partition,
									  const MdbMessage *message, int32 point, MdbProtoBytes payload,
									  const char *code, const char *reason);

/*
 * mdb_intake_flood_begins - the dead letter that was added last stands for all further points of its partition
 * that what is the hash of.  mdb_intake_flood - the dead letter for that, or NULL.
 * mdb_intake_text - a copy of a text that lives as long as the batch.
 */
extern void mdb_intake_flood_begins(MdbIntake *batch, const MdbDeadLetter *dead, uint64 what);
extern MdbDeadLetter *mdb_intake_flood(MdbIntake *batch, int partition, uint64 what);
extern const char *mdb_intake_text(MdbIntake *batch, const char *text);

/* decode.c */
typedef struct MdbDecoder MdbDecoder;

extern MdbDecoder *mdb_decoder_create(const MdbSource *source, MdbKeyCache *cache, MdbGuarding *guarding,
									  MdbIntake *batch);

/* mdb_decode_window - set the bounds of acceptable timestamps by this clock. */
extern void mdb_decode_window(MdbDecoder *decoder, TimestampTz now);

/* mdb_decode_clock - it is now this late: points from later do not count for MdbPartition.newest. */
extern void mdb_decode_clock(MdbDecoder *decoder, TimestampTz now);

/*
 * mdb_decode - the points of one message into the batch.  Message and payload must stay until
 * mdb_decode_drain, which must be called before the batch is looked at.
 */
extern void mdb_decode(MdbDecoder *decoder, MdbPartition *partitions, int partition,
					   const MdbMessage *message);
extern void mdb_decode_drain(MdbDecoder *decoder);

/* mdb_decode_reset - forget what was not drained, after an error. */
extern void mdb_decode_reset(MdbDecoder *decoder);

#endif /* MDB_INTAKE_H */
