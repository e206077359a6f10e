/*
 * decode.c
 *	  From a message's bytes to points in the batch.
 *
 * Points are collected in a small group that may span messages, then their series are looked up
 * together: the group hides the time the lookups wait for memory.
 *
 * Invariants:
 *	1. Every point of a message is counted once: stored, or as a dead letter.  One bad point
 *	   rejects none of its neighbours.
 *	2. Nothing here touches the database or raises an error because of what a message says.
 *
 * Called by ingest.c, outside transactions.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/timestamp.h"

#include "ingest/fingerprint.h"
#include "ingest/intake.h"

/* Points of a metric's new series that are told one by one in an hour. */
#define TOLD_ONE_BY_ONE 1000

/* A point may be so much newer than its message, and the clock, and still count for the partition's newest time. */
#define BELIEVED         USECS_PER_SEC

#define EPOCH_DIFFERENCE ((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

struct MdbDecoder
{
	const MdbSource *source;
	MdbKeyCache *cache;
	MdbGuarding *guarding;
	MdbIntake *batch;

	/* Timestamps as sent are accepted from low to low + span, then become microseconds. */
	int64 low;
	uint64 span;
	int64 multiplier; /* 0 = nanoseconds, to be divided */
	int64 clock_ms;   /* since 1970 */

	/* The group: all of one partition. */
	MdbPartition *at;
	int partition;
	int sampled;
	int n;
	MdbProtoPoint points[MDB_SERIES_GROUP];
	MdbProtoBytes raw[MDB_SERIES_GROUP];
	const MdbMessage *messages[MDB_SERIES_GROUP];
	int32 indexes[MDB_SERIES_GROUP];
};

MdbDecoder *
mdb_decoder_create(const MdbSource *source, MdbKeyCache *cache, MdbGuarding *guarding, MdbIntake *batch)
{
	MdbDecoder *decoder = palloc0(sizeof(MdbDecoder));

	decoder->source = source;
	decoder->cache = cache;
	decoder->guarding = guarding;
	decoder->batch = batch;
	switch (source->unit)
	{
		case MDB_UNIT_S:
			decoder->multiplier = USECS_PER_SEC;
			break;
		case MDB_UNIT_MS:
			decoder->multiplier = 1000;
			break;
		case MDB_UNIT_US:
			decoder->multiplier = 1;
			break;
		case MDB_UNIT_NS:
			decoder->multiplier = 0;
			break;
	}
	mdb_decode_window(decoder, GetCurrentTimestamp());
	mdb_decode_clock(decoder, GetCurrentTimestamp());
	return decoder;
}

/*
 * to_unit - microseconds since 1970 in the source's unit, toward the window's inside; where that
 * does not fit 64 bits, the nearest that does.
 */
static int64
to_unit(const MdbDecoder *decoder, int64 us, bool up)
{
	int64 result;

	if (decoder->multiplier == 0)
	{
		if (us > PG_INT64_MAX / 1000)
			return PG_INT64_MAX;
		if (us < PG_INT64_MIN / 1000)
			return PG_INT64_MIN;
		return us * 1000;
	}
	result = us / decoder->multiplier;
	if (up && us % decoder->multiplier > 0)
		result++;
	else if (!up && us % decoder->multiplier < 0)
		result--;
	return result;
}

void
mdb_decode_window(MdbDecoder *decoder, TimestampTz now)
{
	const MdbSourceOptions *options = &decoder->source->options;
	TimestampTz low = MIN_TIMESTAMP;
	TimestampTz high = END_TIMESTAMP - 1;

	if (options->max_age != PG_INT64_MAX)
		low = Max(low, now - options->max_age);
	if (options->max_future != PG_INT64_MAX)
		high = Min(high, now + options->max_future);
	decoder->low = to_unit(decoder, low + EPOCH_DIFFERENCE, true);
	decoder->span = (uint64) to_unit(decoder, high + EPOCH_DIFFERENCE, false) - (uint64) decoder->low;
}

void
mdb_decode_clock(MdbDecoder *decoder, TimestampTz now)
{
	decoder->clock_ms = (now + EPOCH_DIFFERENCE) / 1000;
}

/*
 * believed - the time of a point, but not much later than its message came to the broker, nor than now: one
 * host whose clock is wrong must not make others' points late.
 */
static TimestampTz
believed(const MdbDecoder *decoder, const MdbMessage *message, TimestampTz at)
{
	int64 ms = decoder->clock_ms;

	if (message->timestamp_ms >= 0)
		ms = Min(ms, message->timestamp_ms);
	return Min(at, ms * 1000 - EPOCH_DIFFERENCE + BELIEVED);
}

static inline bool
in_window(const MdbDecoder *decoder, int64 timestamp)
{
	return (uint64) timestamp - (uint64) decoder->low <= decoder->span;
}

static inline TimestampTz
to_timestamptz(const MdbDecoder *decoder, int64 timestamp)
{
	if (likely(decoder->multiplier != 0))
		return timestamp * decoder->multiplier - EPOCH_DIFFERENCE;
	/* Toward the past, as the other units do by themselves. */
	return (timestamp >= 0 ? timestamp / 1000 : -((-(timestamp + 1)) / 1000) - 1) - EPOCH_DIFFERENCE;
}

static void
dead_letter(MdbDecoder *decoder, const MdbMessage *message, int32 point, MdbProtoBytes payload,
			const char *code, const char *reason)
{
	mdb_intake_dead(decoder->batch, decoder->source, decoder->partition, message, point, payload, code,
					reason);
	decoder->at->counts.consumed++;
	decoder->at->counts.dead_letters++;
}

/*
 * closed - a point of a new series that the cardinality guard refuses.  Some are told one by one, so that
 * people can see what they are; a flood of them by one dead letter for each partition, metric and batch.
 */
static void
closed(MdbDecoder *decoder, const MdbMessage *message, int32 point, MdbProtoBytes payload)
{
	MdbCardMetric *metric = mdb_guarding_refused(decoder->guarding);
	MdbIntake *batch = decoder->batch;
	MdbDeadLetter *dead;

	decoder->at->counts.consumed++;
	decoder->at->counts.dead_letters++;
	dead = mdb_intake_flood(batch, decoder->partition, metric->hash);
	if (dead != NULL)
	{
		dead->points++;
		dead->last_offset = message->offset;
		return;
	}
	if (metric->told < TOLD_ONE_BY_ONE)
		metric->told++;
	dead = mdb_intake_dead(batch, decoder->source, decoder->partition, message, point, payload, "cardinality",
						   NULL);
	dead->reason = mdb_intake_text(batch, mdb_guarding_reason(decoder->guarding, metric));
	if (metric->told == TOLD_ONE_BY_ONE)
		mdb_intake_flood_begins(batch, dead, metric->hash);
}

/*
 * turn_away - where most points of a partition are turned away, that is asked before they are looked for in vain.
 */
static void
turn_away(MdbDecoder *decoder)
{
	int n = 0;

	for (int i = 0; i < decoder->n; i++)
	{
		if (mdb_guarding_turn_away(decoder->guarding, decoder->points[i].key))
		{
			closed(decoder, decoder->messages[i], decoder->indexes[i], decoder->raw[i]);
			continue;
		}
		decoder->points[n] = decoder->points[i];
		decoder->raw[n] = decoder->raw[i];
		decoder->messages[n] = decoder->messages[i];
		decoder->indexes[n++] = decoder->indexes[i];
	}
	decoder->at->flooded = n < decoder->n / 2;
	decoder->n = n;
}

/* sample - one of the group's points, another one each time, stands for all of it. */
static void
sample(MdbDecoder *decoder)
{
	MdbFingerprint fingerprint;

	decoder->sampled = (decoder->sampled + 7) % MDB_SERIES_GROUP;
	if (mdb_fingerprint_key(decoder->points[decoder->sampled % decoder->n].key, &fingerprint))
		mdb_heavy_add(&decoder->at->heavy, fingerprint.name, decoder->n);
}

void
mdb_decode_drain(MdbDecoder *decoder)
{
	MdbIntake *batch = decoder->batch;
	uint32 series[MDB_SERIES_GROUP];
	int turned_away = 0;
	int n;

	if (unlikely(decoder->n > 0 && decoder->at->flooded))
		turn_away(decoder);
	n = decoder->n;
	if (n == 0)
		return;
	sample(decoder);
	mdb_intake_reserve(batch, n);
	mdb_key_cache_lookup(decoder->cache, &decoder->at->hint, n, decoder->points, series);

	for (int i = 0; i < n; i++)
	{
		const MdbProtoPoint *point = &decoder->points[i];
		const char *refused;
		TimestampTz at;

		if (unlikely(series[i] == MDB_NO_SERIES))
		{
			MdbProtoStatus status = MDB_PROTO_OK;

			if (mdb_guarding_turn_away(decoder->guarding, point->key))
			{
				series[i] = MDB_CLOSED_SERIES;
				turned_away++;
			}
			else
				status = mdb_key_cache_add(decoder->cache, &decoder->at->hint, point, &series[i]);

			if (status != MDB_PROTO_OK)
			{
				dead_letter(decoder, decoder->messages[i], decoder->indexes[i], decoder->raw[i],
							mdb_proto_code(status), mdb_proto_reason(status));
				continue;
			}
			if (series[i] == MDB_CLOSED_SERIES)
			{
				closed(decoder, decoder->messages[i], decoder->indexes[i], decoder->raw[i]);
				continue;
			}
		}
		refused = mdb_key_cache_refused(decoder->cache, series[i]);
		if (unlikely(refused != NULL))
		{
			dead_letter(decoder, decoder->messages[i], decoder->indexes[i], decoder->raw[i], "refused_series",
						refused);
			continue;
		}
		batch->series[batch->npoints] = series[i];
		at = to_timestamptz(decoder, point->timestamp);
		if (unlikely(at > decoder->at->newest))
			decoder->at->newest = Max(decoder->at->newest, believed(decoder, decoder->messages[i], at));
		batch->times[batch->npoints] = at;
		batch->values[batch->npoints] = point->value;
		batch->npoints++;
		decoder->at->counts.consumed++;
		decoder->at->counts.stored++;
	}
	decoder->at->flooded |= turned_away > n / 2;
	decoder->n = 0;
}

void
mdb_decode_reset(MdbDecoder *decoder)
{
	decoder->n = 0;
}

/*
 * decode_point - one Metric: into the group, or to the dead letters.
 */
static inline void
decode_point(MdbDecoder *decoder, const MdbMessage *message, int32 index, MdbProtoBytes raw)
{
	MdbProtoPoint *point = &decoder->points[decoder->n];
	MdbProtoStatus status = mdb_proto_metric(raw.data, raw.len, point);

	if (unlikely(status != MDB_PROTO_OK))
		dead_letter(decoder, message, index, raw, mdb_proto_code(status), mdb_proto_reason(status));
	else if (unlikely(!in_window(decoder, point->timestamp)))
	{
		if (point->timestamp < decoder->low)
			dead_letter(decoder, message, index, raw, "too_old",
						"timestamp is further in the past than max_age allows, or in another unit");
		else
			dead_letter(decoder, message, index, raw, "too_new",
						"timestamp is further in the future than max_future allows, or in another unit");
	}
	else
	{
		decoder->raw[decoder->n] = raw;
		decoder->messages[decoder->n] = message;
		decoder->indexes[decoder->n] = index;
		if (++decoder->n == MDB_SERIES_GROUP)
			mdb_decode_drain(decoder);
	}
}

/*
 * decode_batch - the Metrics of a MetricBatch.
 */
static void
decode_batch(MdbDecoder *decoder, const MdbMessage *message)
{
	MdbProtoBatch it;
	MdbProtoBytes raw;
	MdbProtoStatus status;
	int32 index = 0;

	mdb_proto_batch_begin(&it, message->payload, message->length);
	while ((status = mdb_proto_batch_next(&it, &raw)) == MDB_PROTO_OK)
	{
		if (unlikely(index == decoder->source->options.max_points))
		{
			raw.len = it.end - raw.data;
			dead_letter(decoder, message, -1, raw, "too_many_points",
						"message has more points than max_points allows");
			return;
		}
		decode_point(decoder, message, index++, raw);
	}
	if (status != MDB_PROTO_END)
	{
		MdbProtoBytes rest = {it.p, it.end - it.p};

		dead_letter(decoder, message, -1, rest, mdb_proto_code(status), mdb_proto_reason(status));
	}
}

void
mdb_decode(MdbDecoder *decoder, MdbPartition *partitions, int partition, const MdbMessage *message)
{
	if (decoder->n > 0 && decoder->partition != partition)
		mdb_decode_drain(decoder);
	decoder->partition = partition;
	decoder->at = &partitions[partition];
	decoder->at->counts.messages++;
	decoder->at->counts.bytes += message->length;

	/* A tombstone, and an empty batch: nothing to store. */
	if (message->length == 0)
		return;
	if (decoder->source->format == MDB_FORMAT_METRIC)
	{
		MdbProtoBytes raw = {message->payload, message->length};

		decode_point(decoder, message, 0, raw);
	}
	else
		decode_batch(decoder, message);
}
