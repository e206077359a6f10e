/*
 * walk.h
 *	  The fleet that the demo and the benchmarks play: hosts with ten tags each, and ten CPU usages
 *	  for each host that walk between 0 and 100 (after TSBS's cpu-only use case).
 */
#ifndef WALK_H
#define WALK_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define USAGES 10
#define TAGS   10

typedef struct Host
{
	char tags[TAGS][24];
	double levels[USAGES]; /* where each walk is */
} Host;

/* Sorted, as a good client sends them. */
static const char *tag_names[TAGS]
	__attribute__((unused)) = {"arch",    "datacenter",          "hostname",        "os",  "rack", "region",
							   "service", "service_environment", "service_version", "team"};
static const char *usages[USAGES] __attribute__((unused)) = {
	"usage_user", "usage_system",  "usage_idle",  "usage_nice",  "usage_iowait",
	"usage_irq",  "usage_softirq", "usage_steal", "usage_guest", "usage_guest_nice"};
static const char *regions[] = {"us-east-1",      "us-west-1",      "us-west-2",
								"eu-west-1",      "eu-central-1",   "ap-southeast-1",
								"ap-southeast-2", "ap-northeast-1", "sa-east-1"};
static const char *systems[] = {"Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10"};
static const char *arches[] = {"x64", "x86"};
static const char *teams[] = {"SF", "NYC", "LON", "CHI"};
static const char *environments[] = {"production", "staging", "test"};

/* splitmix64: small, fast, good enough for a walk. */
static uint64_t random_state;

static inline uint64_t
random_u64(void)
{
	uint64_t z = (random_state += 0x9E3779B97F4A7C15u);

	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}

static inline double
random_unit(void)
{
	return (double) (random_u64() >> 11) * 0x1.0p-53;
}

/* A normal deviate, two at a time (Marsaglia's polar method). */
static inline double
random_normal(void)
{
	static double spare;
	static int have_spare;
	double u, v, q;

	if (have_spare)
	{
		have_spare = 0;
		return spare;
	}
	do
	{
		u = 2 * random_unit() - 1;
		v = 2 * random_unit() - 1;
		q = u * u + v * v;
	} while (q >= 1 || q == 0);
	q = sqrt(-2 * log(q) / q);
	spare = v * q;
	have_spare = 1;
	return u * q;
}

static const char *
pick(const char *const *list, int n)
{
	return list[random_u64() % (uint64_t) n];
}

#define PICK(list) pick(list, sizeof(list) / sizeof(list[0]))

/* Fills in a host: its tags and where its walks begin. */
static void
make_host(Host *host, long number)
{
	const char *region = PICK(regions);
	size_t room = sizeof(host->tags[0]);

	snprintf(host->tags[0], room, "%s", PICK(arches));
	snprintf(host->tags[1], room, "%s%c", region, (char) ('a' + random_u64() % 3));
	snprintf(host->tags[2], room, "host_%ld", number);
	snprintf(host->tags[3], room, "%s", PICK(systems));
	snprintf(host->tags[4], room, "%d", (int) (random_u64() % 100));
	snprintf(host->tags[5], room, "%s", region);
	snprintf(host->tags[6], room, "%d", (int) (random_u64() % 20));
	snprintf(host->tags[7], room, "%s", PICK(environments));
	snprintf(host->tags[8], room, "%d", (int) (random_u64() % 2));
	snprintf(host->tags[9], room, "%s", PICK(teams));
	for (int u = 0; u < USAGES; u++)
		host->levels[u] = random_unit() * 100;
}

/*
 * The next value of a walk: one normal step, kept inside [0, 100].  Precision: -1 = integers,
 * 0..15 = decimals (scale is the power of ten), 17 = every bit.
 */
static inline double
walk(double *level, int precision, double scale)
{
	double v = *level + random_normal();

	*level = v = v > 100 ? 100 : v < 0 ? 0 : v;
	if (precision < 0)
		return trunc(v);
	return precision >= 17 ? v : nearbyint(v * scale) / scale;
}

/*
 * A counter that grows by 20 to 2,000 a step on average, each series by its own rate, and by the half to one
 * and a half of that.  Returns the new value; *rate is made up at first, when it is 0.
 */
static inline double
count_up(double *level, double *rate)
{
	if (*rate == 0)
	{
		*rate = floor(20 * exp(random_unit() * log(100)));
		*level = floor(*level * 1e4);
	}
	return *level += floor(*rate / 2) + (double) (random_u64() % (uint64_t) *rate);
}

/*
 * How many bytes a sample the values have at least: the order-0 entropy of the steps from one value of a
 * series to the next, counted over all series.  For counters the mean of what their uniform steps have; for
 * full doubles that of a normal step at the resolution of each value.
 */
#define ENTROPY_BINS (1 << 21) /* steps counted by their hundredths */

static long *entropy_bins;
static double entropy_bits, entropy_steps;

static inline void
entropy_of_step(double before, double v, int precision, double scale)
{
	int exponent;
	long bin;

	entropy_steps++;
	if (precision >= 17)
	{
		(void) frexp(v, &exponent);
		entropy_bits += 0.5 * log2(2 * M_PI * M_E) + (v == 0 ? 0 : 53 - exponent);
		return;
	}
	if (entropy_bins == NULL)
		entropy_bins = calloc(ENTROPY_BINS, sizeof(long));
	bin = ENTROPY_BINS / 2 + lrint((v - before) * (precision > 0 ? scale : 1));
	if (bin >= 0 && bin < ENTROPY_BINS)
		entropy_bins[bin]++;
}

static inline void
entropy_of_count(double rate)
{
	entropy_steps++;
	entropy_bits += log2(rate);
}

static inline double
entropy_bytes(void)
{
	double bits = entropy_bits;

	for (long b = 0; entropy_bins && b < ENTROPY_BINS; b++)
		if (entropy_bins[b])
			bits -= (double) entropy_bins[b] * log2((double) entropy_bins[b] / entropy_steps);
	return entropy_steps == 0 ? 0 : bits / entropy_steps / 8;
}

#endif /* WALK_H */
