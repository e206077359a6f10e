/*
 * consumer.c
 *	  The seam to librdkafka.
 *
 * Invariants:
 *	1. No function of PostgreSQL is called on a thread of librdkafka: there are no callbacks, all
 *	   it has to say is fetched from queues by the one thread that is PostgreSQL's.
 *	2. Its threads take no signals: all are blocked while they are made.  A thread that took
 *	   SIGURG would eat the wake-ups of our latch; one that took SIGTERM would run our handler.
 *	3. It never decides where to read: partitions and offsets are assigned, it commits nothing,
 *	   stores nothing and resets nothing.
 *	4. No thread of its is left when the process runs its exit handlers.
 *
 * Messages are taken from the consumer queue in batches, with no time-out: that call would wait
 * for a full batch otherwise.  Both queues write a byte into a pipe when they stop being empty.
 */
#include "postgres.h"

#include <fcntl.h>
#include <librdkafka/rdkafka.h>
#include <signal.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "ingest/consumer.h"

#define POLL_MESSAGES 512
#define LOG_LINES     20 /* at most, in each LOG_PERIOD */
#define LOG_PERIOD    (10 * USECS_PER_SEC)

struct MdbConsumer
{
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;
	rd_kafka_queue_t *messages;
	rd_kafka_queue_t *events;
	char *topic_name;
	int pipe[2];
	int nraw;
	rd_kafka_message_t *raw[POLL_MESSAGES];
	MdbPolled polled[POLL_MESSAGES];
	TimestampTz log_since;
	int log_lines;
	char error[512];
};

/* The one of this process, for its exit. */
static MdbConsumer *the_consumer = NULL;

/* Before the user's properties: good values for a stream of metrics. */
static const char *const defaults[][2] = {{"client.id", "metricsdb"},
										  {"check.crcs", "true"},
										  {"fetch.wait.max.ms", "100"},
										  {"fetch.message.max.bytes", "4194304"},
										  {"fetch.error.backoff.ms", "200"},
										  {"fetch.queue.backoff.ms", "20"}, /* librdkafka 2.2 and later */
										  {"queued.min.messages", "1000000"},
										  {"queued.max.messages.kbytes", "262144"},
										  {"reconnect.backoff.max.ms", "2000"},
										  {"socket.keepalive.enable", "true"},
										  {"log.connection.close", "false"},
										  {"isolation.level", "read_committed"},
										  {NULL, NULL}};

/* After them: what exactly-once delivery rests on. */
static const char *const fixed[][2] = {{"enable.auto.commit", "false"},
									   {"enable.auto.offset.store", "false"},
									   {"auto.offset.reset", "error"},
									   {"enable.partition.eof", "true"},
									   {"allow.auto.create.topics", "false"},
									   {"log.queue", "true"},
									   {NULL, NULL}};

/*
 * configure - the configuration of a client for this source.
 */
static rd_kafka_conf_t *
configure(const MdbSource *source)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	const MdbSourceOptions *options = &source->options;
	char text[NAMEDATALEN + 32];
	char problem[512] = "";

	for (int i = 0; defaults[i][0]; i++)
		rd_kafka_conf_set(conf, defaults[i][0], defaults[i][1], NULL, 0);
	snprintf(text, sizeof(text), "metricsdb-%u-%d", MyDatabaseId, source->id);
	rd_kafka_conf_set(conf, "group.id", text, NULL, 0);
	snprintf(text, sizeof(text), "%d", Max(options->metadata_ms, 1000));
	rd_kafka_conf_set(conf, "topic.metadata.refresh.interval.ms", text, NULL, 0);

	for (int i = 0; i < options->nproperties; i++)
	{
		const MdbProperty *property = &options->properties[i];

		if (rd_kafka_conf_set(conf, property->name, property->value, problem, sizeof(problem)) !=
			RD_KAFKA_CONF_OK)
		{
			rd_kafka_conf_destroy(conf);
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("librdkafka refuses property \"%s\"", property->name),
							property->secret ? 0 : errdetail("%s", problem)));
		}
	}

	for (int i = 0; fixed[i][0]; i++)
		if (rd_kafka_conf_set(conf, fixed[i][0], fixed[i][1], problem, sizeof(problem)) != RD_KAFKA_CONF_OK)
			elog(ERROR, "librdkafka refuses property \"%s\": %s", fixed[i][0], problem);
	if (rd_kafka_conf_set(conf, "bootstrap.servers", source->brokers, problem, sizeof(problem)) !=
		RD_KAFKA_CONF_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid brokers of Kafka source \"%s\"", source->name), errdetail("%s", problem)));
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_ERROR);
	return conf;
}

static void
consumer_at_exit(int code, Datum arg)
{
	if (the_consumer != NULL)
		mdb_consumer_destroy(the_consumer);
}

MdbConsumer *
mdb_consumer_create(const MdbSource *source)
{
	static bool registered = false;
	rd_kafka_conf_t *conf = configure(source);
	MdbConsumer *consumer;
	sigset_t all;
	sigset_t before;
	char problem[512] = "";

	Assert(the_consumer == NULL);
	if (!registered)
	{
		before_shmem_exit(consumer_at_exit, (Datum) 0);
		registered = true;
	}

	consumer = palloc0(sizeof(MdbConsumer));
	consumer->topic_name = pstrdup(source->topic);
	if (pipe(consumer->pipe) != 0 || fcntl(consumer->pipe[0], F_SETFL, O_NONBLOCK) != 0 ||
		fcntl(consumer->pipe[1], F_SETFL, O_NONBLOCK) != 0 ||
		fcntl(consumer->pipe[0], F_SETFD, FD_CLOEXEC) != 0 ||
		fcntl(consumer->pipe[1], F_SETFD, FD_CLOEXEC) != 0)
	{
		rd_kafka_conf_destroy(conf);
		ereport(ERROR,
				(errcode_for_socket_access(), errmsg("could not create a pipe for the Kafka client: %m")));
	}

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	consumer->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, problem, sizeof(problem));
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (consumer->rk == NULL)
	{
		rd_kafka_conf_destroy(conf);
		close(consumer->pipe[0]);
		close(consumer->pipe[1]);
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("could not create the client of Kafka source \"%s\"", source->name),
						errdetail("%s", problem)));
	}
	the_consumer = consumer;

	rd_kafka_set_log_queue(consumer->rk, NULL);
	consumer->topic = rd_kafka_topic_new(consumer->rk, source->topic, NULL);
	consumer->events = rd_kafka_queue_get_main(consumer->rk);
	consumer->messages = rd_kafka_queue_get_consumer(consumer->rk);
	rd_kafka_queue_io_event_enable(consumer->events, consumer->pipe[1], "e", 1);
	rd_kafka_queue_io_event_enable(consumer->messages, consumer->pipe[1], "m", 1);
	return consumer;
}

void
mdb_consumer_destroy(MdbConsumer *consumer)
{
	the_consumer = NULL;
	mdb_consumer_release(consumer);
	rd_kafka_queue_io_event_enable(consumer->events, -1, NULL, 0);
	rd_kafka_queue_io_event_enable(consumer->messages, -1, NULL, 0);
	rd_kafka_queue_destroy(consumer->events);
	rd_kafka_queue_destroy(consumer->messages);
	if (consumer->topic)
		rd_kafka_topic_destroy(consumer->topic);
	rd_kafka_destroy_flags(consumer->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	close(consumer->pipe[0]);
	close(consumer->pipe[1]);
}

int
mdb_consumer_fd(const MdbConsumer *consumer)
{
	return consumer->pipe[0];
}

void
mdb_consumer_drain_fd(MdbConsumer *consumer)
{
	char buffer[256];

	while (read(consumer->pipe[0], buffer, sizeof(buffer)) == (ssize_t) sizeof(buffer))
		;
}

int
mdb_consumer_partitions(MdbConsumer *consumer, const char **problem)
{
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t err;
	int n = -1;

	*problem = NULL;
	err = rd_kafka_metadata(consumer->rk, 0, consumer->topic, &metadata, MDB_REQUEST_MS);
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		*problem = rd_kafka_err2str(err);
		return -1;
	}
	if (metadata->topic_cnt == 1)
	{
		err = metadata->topics[0].err;
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
			n = metadata->topics[0].partition_cnt;
		else
		{
			*problem = rd_kafka_err2str(err);
			if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)
				n = 0;
		}
	}
	rd_kafka_metadata_destroy(metadata);
	return n;
}

/*
 * ask_offset - the offset of a time, or of one end.  False if the broker did not say, in ms.
 *
 * Not by rd_kafka_query_watermark_offsets(), which waits for a broker that is away for minutes, whatever time it is given.
 */
static bool
ask_offset(MdbConsumer *consumer, int32 partition, int64 at, int ms, int64 *offset)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_add(list, consumer->topic_name, partition);
	bool told;

	p->offset = at;
	told = rd_kafka_offsets_for_times(consumer->rk, list, ms) == RD_KAFKA_RESP_ERR_NO_ERROR &&
		   p->err == RD_KAFKA_RESP_ERR_NO_ERROR && (p->offset != at || at == RD_KAFKA_OFFSET_END);
	*offset = told && p->offset >= 0 ? p->offset : -1;
	rd_kafka_topic_partition_list_destroy(list);
	return told;
}

bool
mdb_consumer_watermarks(MdbConsumer *consumer, int32 partition, int ms, int64 *low, int64 *high)
{
	int64 first;
	int64 next;

	if (!ask_offset(consumer, partition, RD_KAFKA_OFFSET_BEGINNING, ms, &first) || first < 0 ||
		!ask_offset(consumer, partition, RD_KAFKA_OFFSET_END, ms, &next) || next < 0)
		return false;
	*low = first;
	*high = next;
	return true;
}

bool
mdb_consumer_known_watermarks(MdbConsumer *consumer, int32 partition, int64 *low, int64 *high)
{
	int64_t first;
	int64_t next;

	if (rd_kafka_get_watermark_offsets(consumer->rk, consumer->topic_name, partition, &first, &next) !=
			RD_KAFKA_RESP_ERR_NO_ERROR ||
		next < 0)
		return false;
	*low = first;
	*high = next;
	return true;
}

bool
mdb_consumer_ends(MdbConsumer *consumer, int n, const int32 *partitions, int64 *ends)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(Max(n, 1));
	rd_kafka_resp_err_t err;
	bool any = false;

	/* What is asked for is the first offset at or after a time, of which this one means the end. */
	for (int i = 0; i < n; i++)
		rd_kafka_topic_partition_list_add(list, consumer->topic_name, partitions[i])->offset =
			RD_KAFKA_OFFSET_END;
	err = rd_kafka_offsets_for_times(consumer->rk, list, MDB_REQUEST_MS);
	for (int i = 0; i < n; i++)
	{
		const rd_kafka_topic_partition_t *p =
			rd_kafka_topic_partition_list_find(list, consumer->topic_name, partitions[i]);

		ends[i] = -1;
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR && p != NULL && p->err == RD_KAFKA_RESP_ERR_NO_ERROR &&
			p->offset >= 0)
		{
			ends[i] = p->offset;
			any = true;
		}
	}
	rd_kafka_topic_partition_list_destroy(list);
	return any;
}

bool
mdb_consumer_offset_at(MdbConsumer *consumer, int32 partition, int64 ms, int64 *offset)
{
	return ask_offset(consumer, partition, ms, MDB_REQUEST_MS, offset);
}

void
mdb_consumer_assign(MdbConsumer *consumer, int n, const MdbPartition *partitions)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(Max(n, 1));
	rd_kafka_resp_err_t err;

	for (int i = 0; i < n; i++)
		if (partitions[i].stalled == NULL && partitions[i].suspect_since == 0 &&
			!mdb_partition_finished(&partitions[i]))
			rd_kafka_topic_partition_list_add(list, consumer->topic_name, partitions[i].partition)->offset =
				partitions[i].position;
	err = rd_kafka_assign(consumer->rk, list);
	rd_kafka_topic_partition_list_destroy(list);
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		ereport(ERROR, (errcode(ERRCODE_FDW_ERROR),
						errmsg("could not start reading from Kafka: %s", rd_kafka_err2str(err))));
}

int
mdb_consumer_poll(MdbConsumer *consumer, const MdbPolled **polled)
{
	ssize_t n;

	Assert(consumer->nraw == 0);
	n = rd_kafka_consume_batch_queue(consumer->messages, 0, consumer->raw, POLL_MESSAGES);
	consumer->nraw = n > 0 ? (int) n : 0;
	for (int i = 0; i < consumer->nraw; i++)
	{
		const rd_kafka_message_t *raw = consumer->raw[i];
		MdbPolled *out = &consumer->polled[i];
		rd_kafka_timestamp_type_t type;

		out->partition = raw->partition;
		out->end = raw->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
		out->error = out->end || raw->err == RD_KAFKA_RESP_ERR_NO_ERROR ? NULL : rd_kafka_message_errstr(raw);
		out->damaged = raw->err == RD_KAFKA_RESP_ERR__BAD_MSG ||
					   raw->err == RD_KAFKA_RESP_ERR__BAD_COMPRESSION ||
					   raw->err == RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED;
		out->message.offset = raw->offset;
		out->message.payload = raw->payload;
		out->message.length = raw->payload ? raw->len : 0;
		out->message.key = raw->key;
		out->message.key_length = raw->key_len;
		out->message.timestamp_ms = rd_kafka_message_timestamp(raw, &type);
		if (type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE)
			out->message.timestamp_ms = -1;
	}
	*polled = consumer->polled;
	return consumer->nraw;
}

void
mdb_consumer_release(MdbConsumer *consumer)
{
	for (int i = 0; i < consumer->nraw; i++)
		rd_kafka_message_destroy(consumer->raw[i]);
	consumer->nraw = 0;
}

/*
 * may_log - hold a client that repeats itself to a bounded number of lines.
 */
static bool
may_log(MdbConsumer *consumer)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now - consumer->log_since > LOG_PERIOD)
	{
		consumer->log_since = now;
		consumer->log_lines = 0;
	}
	return consumer->log_lines++ < LOG_LINES;
}

const char *
mdb_consumer_events(MdbConsumer *consumer, bool *disconnected)
{
	const char *error = NULL;
	rd_kafka_event_t *event;

	while ((event = rd_kafka_queue_poll(consumer->events, 0)) != NULL)
	{
		if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR)
		{
			rd_kafka_resp_err_t err = rd_kafka_event_error(event);

			if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
				*disconnected = true;
			strlcpy(consumer->error, rd_kafka_event_error_string(event), sizeof(consumer->error));
			error = consumer->error;
		}
		else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_LOG)
		{
			const char *facility;
			const char *text;
			int level;

			if (rd_kafka_event_log(event, &facility, &text, &level) == 0 && may_log(consumer))
				ereport(level <= 4 ? LOG : DEBUG1, (errmsg("Kafka client: %s: %s", facility, text)));
		}
		rd_kafka_event_destroy(event);
	}
	return error;
}
