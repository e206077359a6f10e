/*
 * mock_broker.c
 *	  librdkafka's mock cluster as a process, for machines where Maven reaches no Kafka jars.
 *
 *	mock_broker TOPIC PARTITIONS [TOPIC PARTITIONS ...]
 *
 * Prints its bootstrap address, then lives until stdin closes or it is told to stop.  It keeps only
 * the newest 5 MiB of each partition, so a producer must wait for its consumer.
 */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int
main(int argc, char **argv)
{
	char err[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	rd_kafka_mock_cluster_t *cluster;

	rd_kafka_conf_set(conf, "log_level", "3", err, sizeof(err));
	if ((rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, err, sizeof(err))) == NULL)
	{
		fprintf(stderr, "mock_broker: %s\n", err);
		return 1;
	}
	cluster = rd_kafka_mock_cluster_new(rk, 1);
	for (int i = 1; i + 1 < argc; i += 2)
	{
		rd_kafka_resp_err_t e = rd_kafka_mock_topic_create(cluster, argv[i], atoi(argv[i + 1]), 1);

		if (e)
		{
			fprintf(stderr, "mock_broker: %s: %s\n", argv[i], rd_kafka_err2str(e));
			return 1;
		}
	}
	printf("%s\n", rd_kafka_mock_cluster_bootstraps(cluster));
	fflush(stdout);
	for (;;)
		pause();
}
