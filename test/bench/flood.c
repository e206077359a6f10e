/*
 * flood.c
 *	  One metric whose every point is a new series: a request's id has come among its tags.
 *
 *	flood BROKERS TOPIC POINTS RATE
 *
 * The other tags are those of a hundred hosts.  RATE points a second, 0 = as fast as it goes.
 */
#include "walk.h"
#include "wire.h"

#include <time.h>
#include <unistd.h>

#define HOSTS   100
#define A_BATCH 90

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

int
main(int argc, char **argv)
{
	static uint8_t tags[HOSTS][1024], series[2048], room[A_BATCH * 2048];
	size_t lens[HOSTS];
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;
	long points, sent = 0, messages = 0;
	double began = now(), rate;
	int partitions;

	if (argc < 5)
		die("usage", "flood BROKERS TOPIC POINTS RATE");
	points = atol(argv[3]);
	rate = atof(argv[4]);
	random_state = 0x2545F4914F6CDD1Du;
	for (int h = 0; h < HOSTS; h++)
	{
		Wire w = {tags[h], 0};
		Host host;

		make_host(&host, h);
		for (int t = 0; t < TAGS; t++)
			wire_tag(&w, tag_names[t], host.tags[t]);
		lens[h] = w.len;
	}
	rk = producer_open(argv[1], "lz4", "5");
	topic = rd_kafka_topic_new(rk, argv[2], NULL);
	partitions = producer_partitions(rk, topic);
	while (sent < points)
	{
		Wire w = {room, 0};

		for (int i = 0; i < A_BATCH && sent < points; i++, sent++)
		{
			Wire s = {series, 0};
			char id[40];
			int h = (int) (sent % HOSTS);

			snprintf(id, sizeof(id), "%016llx%016llx", (unsigned long long) sent * 0x9E3779B97F4A7C15ull,
					 (unsigned long long) sent);
			wire_bytes(&s, 1, "http_requests", 13);
			wire_tag(&s, "request_id", id);
			memcpy(s.data + s.len, tags[h], lens[h]);
			s.len += lens[h];
			wire_point(&w, series, s.len, (int64_t) (now() * 1000), 1.0);
		}
		producer_send(rk, topic, (int) (messages++ % partitions), NULL, &w);
		while (rate > 0 && now() < began + (double) sent / rate)
			usleep(1000);
	}
	rd_kafka_flush(rk, 60000);
	if (undelivered || rd_kafka_outq_len(rk))
		die("flood", "some messages were not delivered");
	printf("sent %ld points in %.2f s\n", sent, now() - began);
	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(rk);
	return 0;
}
