/*
 * wire.h
 *	  What the producers share: protobuf bytes by hand, and a Kafka producer that loses nothing.
 *
 *	message Metric      { string name = 1; map<string, string> tags = 2; int64 timestamp = 3; double value = 4; }
 *	message MetricBatch { repeated Metric metrics = 1; }
 *
 * The name and the tags of a series are laid down once; a point is these bytes, its time and value.
 */
#ifndef WIRE_H
#define WIRE_H

#include <librdkafka/rdkafka.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes under construction; the room must be there. */
typedef struct Wire
{
	uint8_t *data;
	size_t len;
} Wire;

static inline void
wire_varint(Wire *w, uint64_t v)
{
	while (v >= 0x80)
	{
		w->data[w->len++] = (uint8_t) (v | 0x80);
		v >>= 7;
	}
	w->data[w->len++] = (uint8_t) v;
}

static inline size_t
varint_size(uint64_t v)
{
	size_t n = 1;

	while (v >>= 7)
		n++;
	return n;
}

static inline void
wire_bytes(Wire *w, int field, const void *data, size_t len)
{
	wire_varint(w, (uint64_t) (field << 3 | 2));
	wire_varint(w, len);
	memcpy(w->data + w->len, data, len);
	w->len += len;
}

/* One entry of Metric.tags. */
static inline void
wire_tag(Wire *w, const char *key, const char *value)
{
	size_t klen = strlen(key), vlen = strlen(value);

	wire_varint(w, 2 << 3 | 2);
	wire_varint(w, 2 + varint_size(klen) + klen + varint_size(vlen) + vlen);
	wire_bytes(w, 1, key, klen);
	wire_bytes(w, 2, value, vlen);
}

/* One Metric inside a MetricBatch; series holds its name and tags. */
static inline void
wire_point(Wire *w, const uint8_t *series, size_t len, int64_t time_ms, double value)
{
	wire_varint(w, 1 << 3 | 2);
	wire_varint(w, len + 1 + varint_size((uint64_t) time_ms) + 9);
	memcpy(w->data + w->len, series, len);
	w->len += len;
	w->data[w->len++] = 3 << 3;
	wire_varint(w, (uint64_t) time_ms);
	w->data[w->len++] = 4 << 3 | 1;
	memcpy(w->data + w->len, &value, 8); /* little-endian machines only, as the wire is */
	w->len += 8;
}

static void __attribute__((noreturn)) die(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

/* Messages the broker did not take. */
static long undelivered;

static void
delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	if (message->err)
		undelivered++;
}

/* Idempotent and endlessly patient: a broker that dies costs time, not points, and repeats none. */
static rd_kafka_t *
producer_open(const char *brokers, const char *compression, const char *linger_ms)
{
	char err[256];
	const char *settings[][2] = {{"bootstrap.servers", brokers},
								 {"compression.codec", compression},
								 {"linger.ms", linger_ms},
								 {"enable.idempotence", "true"},
								 {"message.timeout.ms", "0"},
								 {"queue.buffering.max.kbytes", "131072"},
								 {"log_level", "3"}};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], err, sizeof(err)))
			die(settings[i][0], err);
	rd_kafka_conf_set_dr_msg_cb(conf, delivered);
	if ((rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, err, sizeof(err))) == NULL)
		die("producer", err);
	return rk;
}

/* How many partitions the topic has. */
static int
producer_partitions(rd_kafka_t *rk, rd_kafka_topic_t *topic)
{
	const struct rd_kafka_metadata *md;
	rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, topic, &md, 10000);
	int n;

	if (err || (err = md->topics[0].err))
		die(rd_kafka_topic_name(topic), rd_kafka_err2str(err));
	n = md->topics[0].partition_cnt;
	rd_kafka_metadata_destroy(md);
	return n;
}

/* Sends one message, waiting while the queue is full. */
static void
producer_send(rd_kafka_t *rk, rd_kafka_topic_t *topic, int partition, const char *key, const Wire *w)
{
	while (rd_kafka_produce(topic, partition, RD_KAFKA_MSG_F_COPY, w->data, w->len, key,
							key ? strlen(key) : 0, NULL))
	{
		if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			die("produce", rd_kafka_err2str(rd_kafka_last_error()));
		rd_kafka_poll(rk, 50);
	}
	rd_kafka_poll(rk, 0);
}

#endif /* WIRE_H */
