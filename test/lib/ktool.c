/*
 * ktool.c
 *	  What the scripts need to say to a Kafka broker; the JVM's own tools take seconds each.
 *
 *	ktool port                            print a free loopback port
 *	ktool wait BROKERS SECONDS            until the broker answers
 *	ktool create BROKERS TOPIC PARTITIONS
 *	ktool grow BROKERS TOPIC PARTITIONS   to that many partitions
 *	ktool delete BROKERS TOPIC
 *	ktool offsets BROKERS TOPIC           "partition low high" lines
 */
#include <arpa/inet.h>
#include <librdkafka/rdkafka.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_MS 20000

static void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

static void
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("ktool: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

/* No log lines while a broker is still starting: the results say what matters. */
static void
silent(const rd_kafka_t *rk, int level, const char *fac, const char *buf)
{
}

static rd_kafka_t *
client(const char *brokers)
{
	char err[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;

	rd_kafka_conf_set_log_cb(conf, silent);
	if (rd_kafka_conf_set(conf, "bootstrap.servers", brokers, err, sizeof(err)) ||
		rd_kafka_conf_set(conf, "reconnect.backoff.max.ms", "200", err, sizeof(err)))
		die("%s", err);
	if ((rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, err, sizeof(err))) == NULL)
		die("%s", err);
	return rk;
}

/* The kernel's choice of port; bound and let go, so it is free for a moment at least. */
static int
free_port(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *) &addr, len) ||
		getsockname(fd, (struct sockaddr *) &addr, &len))
		die("no free port");
	close(fd);
	return ntohs(addr.sin_port);
}

/* One admin operation; dies if the broker refuses it. */
static void
admin(const char *verb, const char *brokers, const char *topic, int partitions)
{
	char err[512];
	rd_kafka_t *rk = client(brokers);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_ANY);
	const rd_kafka_topic_result_t **results = NULL;
	rd_kafka_event_t *event;
	size_t n = 0;

	rd_kafka_AdminOptions_set_operation_timeout(options, TIMEOUT_MS, err, sizeof(err));
	rd_kafka_AdminOptions_set_request_timeout(options, TIMEOUT_MS, err, sizeof(err));

	if (!strcmp(verb, "create"))
	{
		rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(topic, partitions, 1, err, sizeof(err));

		if (!t)
			die("%s", err);
		rd_kafka_CreateTopics(rk, &t, 1, options, queue);
		rd_kafka_NewTopic_destroy(t);
	}
	else if (!strcmp(verb, "grow"))
	{
		rd_kafka_NewPartitions_t *p = rd_kafka_NewPartitions_new(topic, partitions, err, sizeof(err));

		if (!p)
			die("%s", err);
		rd_kafka_CreatePartitions(rk, &p, 1, options, queue);
		rd_kafka_NewPartitions_destroy(p);
	}
	else
	{
		rd_kafka_DeleteTopic_t *d = rd_kafka_DeleteTopic_new(topic);

		rd_kafka_DeleteTopics(rk, &d, 1, options, queue);
		rd_kafka_DeleteTopic_destroy(d);
	}

	event = rd_kafka_queue_poll(queue, TIMEOUT_MS + 1000);
	if (!event)
		die("%s %s: no answer", verb, topic);
	if (rd_kafka_event_error(event))
		die("%s %s: %s", verb, topic, rd_kafka_event_error_string(event));
	switch (rd_kafka_event_type(event))
	{
		case RD_KAFKA_EVENT_CREATETOPICS_RESULT:
			results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n);
			break;
		case RD_KAFKA_EVENT_CREATEPARTITIONS_RESULT:
			results =
				rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(event), &n);
			break;
		default:
			results = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &n);
	}
	for (size_t i = 0; i < n; i++)
		if (rd_kafka_topic_result_error(results[i]))
			die("%s %s: %s", verb, topic, rd_kafka_err2str(rd_kafka_topic_result_error(results[i])));
	rd_kafka_event_destroy(event);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_queue_destroy(queue);
	rd_kafka_destroy(rk);
}

static void
wait_for_broker(const char *brokers, int seconds)
{
	rd_kafka_t *rk = client(brokers);
	const struct rd_kafka_metadata *md;

	for (int i = 0; i < seconds * 10; i++)
	{
		if (rd_kafka_metadata(rk, 0, NULL, &md, 1000) == 0)
		{
			int n = md->broker_cnt;

			rd_kafka_metadata_destroy(md);
			if (n > 0)
			{
				rd_kafka_destroy(rk);
				return;
			}
		}
		usleep(100000);
	}
	die("no broker answers at %s after %d s", brokers, seconds);
}

static void
offsets(const char *brokers, const char *topic)
{
	rd_kafka_t *rk = client(brokers);
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, topic, NULL);
	const struct rd_kafka_metadata *md;
	rd_kafka_resp_err_t err = rd_kafka_metadata(rk, 0, rkt, &md, TIMEOUT_MS);

	if (err || (err = md->topics[0].err))
		die("%s: %s", topic, rd_kafka_err2str(err));
	for (int p = 0; p < md->topics[0].partition_cnt; p++)
	{
		int64_t low, high;

		if ((err = rd_kafka_query_watermark_offsets(rk, topic, p, &low, &high, TIMEOUT_MS)))
			die("%s: %s", topic, rd_kafka_err2str(err));
		printf("%d %lld %lld\n", p, (long long) low, (long long) high);
	}
	rd_kafka_metadata_destroy(md);
	rd_kafka_topic_destroy(rkt);
	rd_kafka_destroy(rk);
}

int
main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	if (!strcmp(verb, "port"))
		printf("%d\n", free_port());
	else if (!strcmp(verb, "wait") && argc == 4)
		wait_for_broker(argv[2], atoi(argv[3]));
	else if ((!strcmp(verb, "create") || !strcmp(verb, "grow")) && argc == 5)
		admin(verb, argv[2], argv[3], atoi(argv[4]));
	else if (!strcmp(verb, "delete") && argc == 4)
		admin(verb, argv[2], argv[3], 0);
	else if (!strcmp(verb, "offsets") && argc == 4)
		offsets(argv[2], argv[3]);
	else
		die("usage: ktool port | wait BROKERS SECONDS | create|grow BROKERS TOPIC PARTITIONS |"
			" delete|offsets BROKERS TOPIC");
	return 0;
}
