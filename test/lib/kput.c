/*
 * kput.c
 *	  Puts messages into a Kafka topic as they are: what a test of strange payloads needs.
 *
 *	kput BROKERS TOPIC [TRANSACTION]
 *
 * Each line of stdin is "PARTITION KEY PAYLOAD [MILLISECONDS]": both in hex, "-" means none, and the message's
 * time, or now.  With the id of a transaction they are one, which is committed when stdin ends.  Ends with
 * "sent N messages" when the broker has all of them.
 */
#include <ctype.h>
#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long delivered;

static void
on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	if (message->err)
	{
		fprintf(stderr, "kput: %s\n", rd_kafka_err2str(message->err));
		exit(1);
	}
	delivered++;
}

/* End, if a step of a transaction has failed. */
static void
check(rd_kafka_error_t *error)
{
	if (error == NULL)
		return;
	fprintf(stderr, "kput: %s\n", rd_kafka_error_string(error));
	exit(1);
}

/* The bytes of a word in hex, NULL for "-". */
static void *
bytes(const char *word, size_t *len)
{
	unsigned char *out;
	unsigned int byte;

	*len = 0;
	if (!strcmp(word, "-"))
		return NULL;
	out = malloc(strlen(word) / 2 + 1);
	for (; word[0] && word[1]; word += 2)
	{
		if (sscanf(word, "%2x", &byte) != 1)
		{
			fprintf(stderr, "kput: not hex: %s\n", word);
			exit(1);
		}
		out[(*len)++] = (unsigned char) byte;
	}
	return out;
}

int
main(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;
	char err[256];
	char *line = NULL;
	size_t room = 0;
	long sent = 0;

	if (argc != 3 && argc != 4)
	{
		fputs("usage: kput BROKERS TOPIC [TRANSACTION] <LINES\n", stderr);
		return 1;
	}
	rd_kafka_conf_set(conf, "bootstrap.servers", argv[1], NULL, 0);
	rd_kafka_conf_set(conf, "enable.idempotence", "true", NULL, 0);
	rd_kafka_conf_set(conf, "linger.ms", "5", NULL, 0);
	if (argc == 4)
		rd_kafka_conf_set(conf, "transactional.id", argv[3], NULL, 0);
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, err, sizeof(err));
	if (rk == NULL)
	{
		fprintf(stderr, "kput: %s\n", err);
		return 1;
	}
	topic = rd_kafka_topic_new(rk, argv[2], NULL);
	if (argc == 4)
	{
		check(rd_kafka_init_transactions(rk, 30000));
		check(rd_kafka_begin_transaction(rk));
	}

	while (getline(&line, &room, stdin) > 0)
	{
		char *partition = strtok(line, " \n");
		char *key = strtok(NULL, " \n");
		char *payload = strtok(NULL, " \n");
		char *at = strtok(NULL, " \n");
		size_t key_len, len;
		void *k, *p;

		if (payload == NULL)
			continue;
		k = bytes(key, &key_len);
		p = bytes(payload, &len);
		while (rd_kafka_producev(rk, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(atoi(partition)),
								 RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_VALUE(p, len),
								 RD_KAFKA_V_KEY(k, key_len), RD_KAFKA_V_TIMESTAMP(at ? atoll(at) : 0),
								 RD_KAFKA_V_END))
		{
			if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			{
				fprintf(stderr, "kput: %s\n", rd_kafka_err2str(rd_kafka_last_error()));
				return 1;
			}
			rd_kafka_poll(rk, 50);
		}
		free(k);
		free(p);
		sent++;
	}
	if (argc == 4)
		check(rd_kafka_commit_transaction(rk, 30000));
	if (rd_kafka_flush(rk, 30000) || delivered != sent)
	{
		fprintf(stderr, "kput: %ld of %ld messages were delivered\n", delivered, sent);
		return 1;
	}
	printf("sent %ld messages\n", sent);
	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(rk);
	return 0;
}
