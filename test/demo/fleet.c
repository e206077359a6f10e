/*
 * fleet.c
 *	  Plays a fleet of machines: ten CPU usages for each host, walking between 0 and 100.
 *
 *	fleet BROKERS TOPIC [option=value]...
 *
 *	hosts=1000       machines; ten series each
 *	interval=10      seconds between a host's points
 *	history=3600     seconds of the past, sent as fast as it goes (or as rate allows)
 *	start=UNIX       where the history begins; default: now - history
 *	live=0           seconds to go on in real time after it; -1 = until told to stop
 *	points=0         stop after so many points; 0 = no limit
 *	batch=90         points a message, rounded up to whole hosts
 *	precision=2      decimals of a value; -1 = integers (as TSBS), 17 = all 53 bits
 *	counters=0       1: counters that grow by integers instead of walks
 *	entropy=0        1: adds the entropy of the values to what is said at the end, bytes a sample
 *	rate=0           points a second at most; 0 = no limit
 *	codec=lz4        none, lz4, zstd, snappy, gzip
 *	seed=1           same seed, same fleet and same values
 *	follow=FILE window=1000000   waits while it is so many points ahead of the number in FILE
 *	progress=0       1: a line a second on stderr
 *
 * A series always goes to the same partition.  Ends with "sent N points in S s" on stdout.
 */
#include "walk.h"
#include "wire.h"

#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

typedef struct Series
{
	uint8_t *bytes; /* name and tags as they go over the wire */
	size_t len;
	double level; /* of the walk */
	double value; /* the last one */
	double rate;  /* of a counter */
} Series;

/* Options, by name; see the head of this file. */
typedef struct Option
{
	const char *name;
	const char *value;
} Option;

static Option options[] = {{"hosts", "1000"},     {"interval", "10"}, {"history", "3600"}, {"start", "0"},
						   {"live", "0"},         {"points", "0"},    {"batch", "90"},     {"precision", "2"},
						   {"rate", "0"},         {"codec", "lz4"},   {"seed", "1"},       {"follow", NULL},
						   {"window", "1000000"}, {"progress", "0"},  {"counters", "0"},   {"entropy", "0"},
						   {NULL, NULL}};

static volatile sig_atomic_t stopping;

static void
on_signal(int signo)
{
	stopping = 1;
}

static const char *
option(const char *name)
{
	for (Option *o = options; o->name; o++)
		if (!strcmp(o->name, name))
			return o->value;
	return NULL;
}

static long
number(const char *name)
{
	return atol(option(name));
}

static void
set_option(char *arg)
{
	char *value = strchr(arg, '=');

	for (Option *o = options; value && o->name; o++)
		if (strlen(o->name) == (size_t) (value - arg) && !strncmp(o->name, arg, value - arg))
		{
			o->value = value + 1;
			return;
		}
	die(arg, "no such option, see the head of fleet.c");
}

/* The series of all hosts, USAGES in a row for each, with their bytes prepared. */
static Series *
make_fleet(long hosts)
{
	Series *fleet = calloc((size_t) hosts * USAGES, sizeof(Series));
	uint8_t room[1024];

	for (long h = 0; h < hosts; h++)
	{
		Host host;

		make_host(&host, h);
		for (int u = 0; u < USAGES; u++)
		{
			Series *s = &fleet[h * USAGES + u];
			Wire w = {room, 0};

			wire_bytes(&w, 1, usages[u], strlen(usages[u]));
			for (int t = 0; t < TAGS; t++)
				wire_tag(&w, tag_names[t], host.tags[t]);
			s->len = w.len;
			s->bytes = memcpy(malloc(w.len), room, w.len);
			s->level = host.levels[u];
		}
	}
	return fleet;
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

static void
wait_until(double when)
{
	double left;

	while (!stopping && (left = when - now()) > 0)
		usleep((useconds_t) ((left > 0.2 ? 0.2 : left) * 1e6) + 1);
}

/* Waits while we are more than a window ahead of the number in the file. */
static void
wait_for_follower(long sent)
{
	const char *path = option("follow");
	long seen;
	FILE *f;

	while (path && !stopping)
	{
		seen = 0;
		if ((f = fopen(path, "r")))
		{
			if (fscanf(f, "%ld", &seen) != 1)
				seen = 0;
			fclose(f);
		}
		if (sent - seen < number("window"))
			return;
		usleep(100000);
	}
}

int
main(int argc, char **argv)
{
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;

	if (argc < 3)
		die("usage", "fleet BROKERS TOPIC [option=value]...");
	for (int i = 3; i < argc; i++)
		set_option(argv[i]);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);

	random_state = (uint64_t) number("seed") * 0x2545F4914F6CDD1Du;
	rk = producer_open(argv[1], option("codec"), "5");
	topic = rd_kafka_topic_new(rk, argv[2], NULL);

	const long hosts = number("hosts"), interval = number("interval") > 0 ? number("interval") : 1,
			   history = number("history"), live = number("live"), limit = number("points"),
			   hosts_a_message = (number("batch") + USAGES - 1) / USAGES;
	const int precision = (int) number("precision"), partitions = producer_partitions(rk, topic);
	const bool counters = number("counters") != 0, entropy = number("entropy") != 0;
	const double rate = atof(option("rate")), scale = pow(10, precision), began = now();
	/* Times on whole intervals; the history ends with the last one that has passed. */
	const int64_t first =
		(number("start") ? number("start") : (int64_t) began - history) / interval * interval;
	Series *fleet = make_fleet(hosts);
	Wire w = {malloc((size_t) hosts_a_message * USAGES * 1024), 0};
	long sent = 0, ticks = (history + interval - 1) / interval;
	double reported = began, live_since = 0;

	for (long tick = 0; !stopping && (limit == 0 || sent < limit); tick++)
	{
		int64_t at = first + tick * interval;

		if (tick >= ticks)
		{
			if (live_since == 0)
				live_since = now();
			if (live >= 0 && now() - live_since >= (double) live)
				break;
			wait_until((double) at);
		}
		for (long h = 0; h < hosts && !stopping && (limit == 0 || sent < limit); h += hosts_a_message)
		{
			long end = h + hosts_a_message < hosts ? h + hosts_a_message : hosts;

			w.len = 0;
			for (Series *s = fleet + h * USAGES; s < fleet + end * USAGES && (limit == 0 || sent < limit);
				 s++)
			{
				double before = s->value;

				s->value = counters ? count_up(&s->level, &s->rate) : walk(&s->level, precision, scale);
				wire_point(&w, s->bytes, s->len, at * 1000, s->value);
				sent++;
				if (entropy && tick > 0 && counters)
					entropy_of_count(s->rate);
				else if (entropy && tick > 0)
					entropy_of_step(before, s->value, precision, scale);
			}
			producer_send(rk, topic, (int) (h / hosts_a_message % partitions), NULL, &w);
			if (rate > 0 && tick < ticks)
				wait_until(began + (double) sent / rate);
		}
		wait_for_follower(sent);
		if (number("progress") && now() - reported >= 1)
		{
			reported = now();
			fprintf(stderr, "%ld points, %.0f/s\n", sent, (double) sent / (reported - began));
		}
	}
	rd_kafka_flush(rk, 60000);
	printf("sent %ld points in %.2f s, %.0f points/s", sent, now() - began, (double) sent / (now() - began));
	if (entropy)
		printf(", entropy %.3f", entropy_bytes());
	putchar('\n');
	if (undelivered || rd_kafka_outq_len(rk))
		die("fleet", "some messages were not delivered");
	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(rk);
	return 0;
}
