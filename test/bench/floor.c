/*
 * floor.c
 *	  What reading points costs before anything is known of them: a topic's messages are taken from Kafka, as the
 *	  workers take them, and each point is walked over.  Prints the seconds of CPU, of all threads.
 *
 *	floor BROKERS TOPIC POINTS
 *
 * links: src/ingest/proto.c
 */
#include "ingest/proto.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define A_TIME 1000

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char problem[256];

	if (rd_kafka_conf_set(conf, name, value, problem, sizeof(problem)) != RD_KAFKA_CONF_OK)
		die("floor", problem);
}

/* Points of a message, walked over. */
static long
walk(const rd_kafka_message_t *message, int64_t *sum)
{
	MdbProtoBatch batch;
	MdbProtoBytes metric;
	MdbProtoPoint point;
	long n = 0;

	mdb_proto_batch_begin(&batch, message->payload, message->len);
	for (; mdb_proto_batch_next(&batch, &metric) == MDB_PROTO_OK; n++)
		if (mdb_proto_metric(metric.data, metric.len, &point) == MDB_PROTO_OK)
			*sum += point.timestamp;
	return n;
}

int
main(int argc, char **argv)
{
	static rd_kafka_message_t *messages[A_TIME];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
	const struct rd_kafka_metadata *metadata;
	rd_kafka_queue_t *queue;
	rd_kafka_topic_t *topic;
	rd_kafka_t *rk;
	char problem[256];
	long points = 0;
	int64_t sum = 0;

	if (argc < 4)
		die("usage", "floor BROKERS TOPIC POINTS");
	set(conf, "bootstrap.servers", argv[1]);
	set(conf, "group.id", "floor");
	set(conf, "enable.auto.commit", "false");
	set(conf, "queued.max.messages.kbytes", "262144");
	rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, problem, sizeof(problem));
	if (rk == NULL)
		die("floor", problem);
	rd_kafka_poll_set_consumer(rk);
	topic = rd_kafka_topic_new(rk, argv[2], NULL);
	if (rd_kafka_metadata(rk, 0, topic, &metadata, 10000) != RD_KAFKA_RESP_ERR_NO_ERROR)
		die("floor", "no metadata");
	for (int p = 0; p < metadata->topics[0].partition_cnt; p++)
		rd_kafka_topic_partition_list_add(list, argv[2], p)->offset = RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_metadata_destroy(metadata);
	rd_kafka_assign(rk, list);
	queue = rd_kafka_queue_get_consumer(rk);
	while (points < atol(argv[3]))
	{
		ssize_t n = rd_kafka_consume_batch_queue(queue, 30000, messages, A_TIME);

		if (n <= 0)
			die("floor", "nothing more comes");
		for (ssize_t i = 0; i < n; i++)
		{
			if (messages[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR)
				points += walk(messages[i], &sum);
			rd_kafka_message_destroy(messages[i]);
		}
	}
	/* The sum is printed so that the walk is not left out. */
	fprintf(stderr, "%ld points, %lld\n", points, (long long) sum);
	printf("%.2f\n", (double) clock() / CLOCKS_PER_SEC);
	return 0;
}
