/*
 * probe.c
 *	  Sends one point at a time whose value is the moment of its sending: latency.sql watches for it.
 *
 *	probe BROKERS TOPIC EVERY_MS COUNT
 */
#include "wire.h"

#include <time.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
	uint8_t room[256], series[128];
	Wire s = {series, 0};
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;

	if (argc < 5)
		die("usage", "probe BROKERS TOPIC EVERY_MS COUNT");
	wire_bytes(&s, 1, "probe", 5);
	wire_tag(&s, "hostname", "probe");
	rk = producer_open(argv[1], "lz4", "0");
	topic = rd_kafka_topic_new(rk, argv[2], NULL);
	producer_partitions(rk, topic);
	for (long i = 0; i < atol(argv[4]); i++)
	{
		struct timespec t;
		Wire w = {room, 0};

		clock_gettime(CLOCK_REALTIME, &t);
		wire_point(&w, series, s.len, (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000,
				   (double) t.tv_sec + (double) t.tv_nsec * 1e-9);
		producer_send(rk, topic, RD_KAFKA_PARTITION_UA, "probe", &w);
		usleep((useconds_t) atol(argv[3]) * 1000);
	}
	rd_kafka_flush(rk, 10000);
	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(rk);
	return undelivered != 0;
}
