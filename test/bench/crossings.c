/*
 * crossings.c
 *	  Plays a fleet in steady state, of which some series rise above a threshold, and come back, at instants that it notes.
 *
 *	crossings BROKERS TOPIC FILE [option=value]...
 *
 *	series=100000    in metrics=10, of hosts in clusters=100: metric m3 of host h17 in cluster c17
 *	rate=100000      points a second, evenly; each series in turn
 *	begin=FILE       nothing rises before that is there; then it goes on for
 *	seconds=60       in which some rise, and
 *	calm=15          in which those come back, and no more rise; no such file: none rise at all
 *	crossings=20     a second
 *	high=3           seconds that one is high
 *	apart=60         seconds until the same may rise again
 *	seed=1
 *
 * Values are 0 to 50; of those that are high 100000, so that an average rises with the first.  A sample's time is that of
 * its production.  FILE has a line for each time that a series was high, separated by tabs: metric, host, and the times of the first and
 * last high sample in seconds since the epoch.  Ends with "sent N points in S s; D ms behind at most" on stdout.
 */
#include "wire.h"

#include <signal.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE 50 /* points */

typedef struct Series
{
	uint8_t *bytes; /* name and tags as they go over the wire */
	size_t len;
	bool rising;  /* is to be high from its next sample on */
	double until; /* high until then; 0 = it is not */
	double free_at;
	int64_t first; /* high samples, in milliseconds */
	int64_t last;
} Series;

typedef struct Option
{
	const char *name;
	const char *value;
} Option;

static Option options[] = {{"series", "100000"}, {"metrics", "10"}, {"clusters", "100"}, {"rate", "100000"},
						   {"begin", NULL},      {"seconds", "60"}, {"calm", "15"},      {"crossings", "20"},
						   {"high", "3"},        {"apart", "60"},   {"seed", "1"},       {NULL, NULL}};

static volatile sig_atomic_t stopping;
static uint64_t random_state;

static void
on_signal(int signo)
{
	stopping = 1;
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
	die(arg, "no such option, see the head of crossings.c");
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

static uint64_t
next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (double) t.tv_sec + (double) t.tv_nsec * 1e-9;
}

static Series *
make_fleet(long n, long metrics, long clusters)
{
	Series *fleet = calloc((size_t) n, sizeof(Series));
	uint8_t room[256];

	for (long i = 0; i < n; i++)
	{
		long host = i / metrics;
		Wire w = {room, 0};
		char name[32];

		snprintf(name, sizeof(name), "m%ld", i % metrics);
		wire_bytes(&w, 1, name, strlen(name));
		snprintf(name, sizeof(name), "c%ld", host % clusters);
		wire_tag(&w, "cluster", name);
		snprintf(name, sizeof(name), "h%ld", host);
		wire_tag(&w, "host", name);
		wire_tag(&w, "region", host % 3 ? "eu-west-1" : "us-east-1");
		fleet[i].len = w.len;
		fleet[i].bytes = memcpy(malloc(w.len), room, w.len);
	}
	return fleet;
}

/* The value of a series' next sample; what it is to be noted of it goes to the file. */
static double
next_value(Series *fleet, long i, int64_t at_ms, FILE *notes)
{
	Series *s = &fleet[i];
	double at = (double) at_ms / 1000;
	long metrics = number("metrics");

	if (s->rising)
	{
		s->rising = false;
		s->until = at + atof(option("high"));
		s->first = at_ms;
	}
	if (s->until > at)
	{
		s->last = at_ms;
		return 100000;
	}
	if (s->until != 0)
	{
		fprintf(notes, "m%ld\th%ld\t%.3f\t%.3f\n", i % metrics, i / metrics, (double) s->first / 1000,
				(double) s->last / 1000);
		s->until = 0;
		s->free_at = at + atof(option("apart"));
	}
	return (double) (next_random() % 5000) / 100;
}

/* One that is neither high nor was so lately is to rise. */
static void
have_one_rise(Series *fleet, long n, double at)
{
	for (int tries = 0; tries < 100; tries++)
	{
		Series *s = &fleet[next_random() % (uint64_t) n];

		if (s->rising || s->until != 0 || s->free_at > at)
			continue;
		s->rising = true;
		return;
	}
}

int
main(int argc, char **argv)
{
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic;
	FILE *notes;

	if (argc < 4)
		die("usage", "crossings BROKERS TOPIC FILE [option=value]...");
	for (int i = 4; i < argc; i++)
		set_option(argv[i]);
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	if ((notes = fopen(argv[3], "w")) == NULL)
		die(argv[3], "cannot be written to");
	random_state = (uint64_t) number("seed") * 0x2545F4914F6CDD1Du;
	rk = producer_open(argv[1], "lz4", "5");
	topic = rd_kafka_topic_new(rk, argv[2], NULL);

	const long n = number("series");
	const int partitions = producer_partitions(rk, topic);
	const double rate = atof(option("rate")), each = 1 / atof(option("crossings"));
	Series *fleet = make_fleet(n, number("metrics"), number("clusters"));
	Wire w = {malloc(MESSAGE * 512), 0};
	double began = now(), rises_at = 0, over = 0, looked = 0, behind = 0;
	long sent = 0, at = 0;

	while (!stopping)
	{
		double t = now();

		if (over == 0 && option("begin") && t - looked > 0.1)
		{
			looked = t;
			if (access(option("begin"), F_OK) == 0)
			{
				rises_at = t;
				over = t + atof(option("seconds"));
			}
		}
		if (over != 0 && t > over + atof(option("calm")))
			break;
		while (over != 0 && rises_at < t && rises_at < over)
		{
			have_one_rise(fleet, n, t);
			rises_at += each;
		}
		if ((double) sent > (t - began) * rate)
		{
			usleep(2000);
			rd_kafka_poll(rk, 0);
			continue;
		}
		if ((t - began) - (double) sent / rate > behind && sent > 0)
			behind = (t - began) - (double) sent / rate;
		w.len = 0;
		for (long end = at + MESSAGE; at < end && at < n; at++, sent++)
		{
			int64_t ms = (int64_t) (t * 1000);
			double value = next_value(fleet, at, ms, notes);

			wire_point(&w, fleet[at].bytes, fleet[at].len, ms, value);
		}
		producer_send(rk, topic, (int) ((at - 1) / MESSAGE % partitions), NULL, &w);
		if (at == n)
			at = 0;
	}
	rd_kafka_flush(rk, 60000);
	fclose(notes);
	printf("sent %ld points in %.2f s, %.0f points/s; %.0f ms behind at most\n", sent, now() - began,
		   (double) sent / (now() - began), behind * 1000);
	if (undelivered || rd_kafka_outq_len(rk))
		die("crossings", "some messages were not delivered");
	rd_kafka_topic_destroy(topic);
	rd_kafka_destroy(rk);
	return 0;
}
