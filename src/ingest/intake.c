/*
 * intake.c
 *	  What was read from Kafka and is not stored yet.
 *
 * Invariants:
 *	1. A batch is a prefix: it holds all points of each partition's messages from next_offset up
 *	   to position, as points or as dead letters, and nothing else.
 *	2. For each partition, counts.consumed = counts.stored + counts.dead_letters.
 *	3. A batch lives outside transactions; it is stored as a whole (flush.c) or thrown away.
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "ingest/intake.h"

#define FIRST_POINTS 16384
#define FIRST_DEAD   64

/* Keys are short; of payloads no more than this is kept in one batch, the rest is only counted. */
#define MAX_KEY_BYTES  1024
#define PAYLOAD_BUDGET (16 * 1024 * 1024)

/* A dead letter that goes on to take points. */
typedef struct FloodKey
{
	uint64 what;
	int32 partition;
	int32 padding;
} FloodKey;

typedef struct MdbFlood
{
	FloodKey key;
	uint32 dead; /* index */
} MdbFlood;

MdbIntake *
mdb_intake_create(void)
{
	MdbIntake *batch = palloc0(sizeof(MdbIntake));

	batch->context =
		AllocSetContextCreate(CurrentMemoryContext, "metricsdb dead letters", ALLOCSET_DEFAULT_SIZES);
	batch->room = FIRST_POINTS;
	batch->series = palloc(batch->room * sizeof(uint32));
	batch->times = palloc(batch->room * sizeof(int64));
	batch->values = palloc(batch->room * sizeof(double));
	batch->dead_room = FIRST_DEAD;
	batch->dead = palloc(batch->dead_room * sizeof(MdbDeadLetter));
	return batch;
}

void
mdb_intake_reset(MdbIntake *batch)
{
	MemoryContextReset(batch->context);
	batch->npoints = 0;
	batch->ndead = 0;
	batch->dead_bytes = 0;
	batch->floods = NULL;
	batch->flood = NULL;
	batch->messages = 0;
	batch->bytes = 0;
	batch->since = 0;
}

void
mdb_intake_reserve(MdbIntake *batch, uint32 n)
{
	if (batch->npoints + n <= batch->room)
		return;
	while (batch->npoints + n > batch->room)
		batch->room *= 2;
	batch->series = repalloc_huge(batch->series, (Size) batch->room * sizeof(uint32));
	batch->times = repalloc_huge(batch->times, (Size) batch->room * sizeof(int64));
	batch->values = repalloc_huge(batch->values, (Size) batch->room * sizeof(double));
}

static bytea *
copy_bytes(MemoryContext context, const uint8 *data, uint32 len)
{
	bytea *copy = MemoryContextAlloc(context, VARHDRSZ + len);

	SET_VARSIZE(copy, VARHDRSZ + len);
	if (len > 0)
		memcpy(VARDATA(copy), data, len);
	return copy;
}

MdbDeadLetter *
mdb_intake_dead(MdbIntake *batch, const MdbSource *source, int partition, const MdbMessage *message,
				int32 point, MdbProtoBytes payload, const char *code, const char *reason)
{
	uint32 keep = Min(payload.len, (uint32) source->options.dead_letter_bytes);
	MdbDeadLetter *dead;

	if (batch->ndead == batch->dead_room)
	{
		batch->dead_room *= 2;
		batch->dead = repalloc_huge(batch->dead, (Size) batch->dead_room * sizeof(MdbDeadLetter));
	}
	dead = &batch->dead[batch->ndead++];
	dead->partition = partition;
	dead->offset = message->offset;
	dead->point = point;
	dead->message_ms = message->timestamp_ms;
	dead->code = code;
	dead->reason = reason;
	dead->key = NULL;
	dead->payload = NULL;
	dead->payload_length = payload.len;
	dead->points = 1;
	dead->last_offset = message->offset;
	if (batch->dead_bytes + keep <= PAYLOAD_BUDGET)
	{
		if (message->key != NULL)
			dead->key = copy_bytes(batch->context, message->key, Min(message->key_length, MAX_KEY_BYTES));
		dead->payload = copy_bytes(batch->context, payload.data, keep);
		batch->dead_bytes += keep + (dead->key ? VARSIZE(dead->key) : 0);
	}
	return dead;
}

void
mdb_intake_flood_begins(MdbIntake *batch, const MdbDeadLetter *dead, uint64 what)
{
	FloodKey key = {what, dead->partition, 0};
	MdbFlood *flood;

	if (batch->floods == NULL)
	{
		HASHCTL ctl = {.keysize = sizeof(FloodKey), .entrysize = sizeof(MdbFlood), .hcxt = batch->context};

		batch->floods = hash_create("metricsdb floods", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	flood = hash_search(batch->floods, &key, HASH_ENTER, NULL);
	flood->dead = dead - batch->dead;
}

MdbDeadLetter *
mdb_intake_flood(MdbIntake *batch, int partition, uint64 what)
{
	FloodKey key = {what, partition, 0};

	if (batch->floods == NULL)
		return NULL;
	/* The next is of the same flood, mostly. */
	if (batch->flood == NULL || memcmp(&batch->flood->key, &key, sizeof(key)) != 0)
		batch->flood = hash_search(batch->floods, &key, HASH_FIND, NULL);
	return batch->flood ? &batch->dead[batch->flood->dead] : NULL;
}

const char *
mdb_intake_text(MdbIntake *batch, const char *text)
{
	return MemoryContextStrdup(batch->context, text);
}
