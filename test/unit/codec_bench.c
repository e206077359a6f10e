/*
 * codec_bench.c
 *	  What the codecs cost: bytes and nanoseconds a value for each kind of data, beside a plain
 *	  sum over raw doubles from memory in the same run, which is the limit of any scan.
 *
 *	codec_bench [block [passes [cold]]]
 *
 * Each kind is SERIES series of PER_SERIES values cut into blocks.  Encoding carries a hint from
 * block to block of a column, as the writer does; decoding goes into one block's buffer, warm in
 * the cache, as the reader does.  Times are CPU time, the best of several passes: noise only adds.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "codec/codec.h"

#define SERIES     32
#define PER_SERIES 8192
#define VALUES     (SERIES * PER_SERIES)

static uint64_t state[2] = {UINT64_C(0x9e3779b97f4a7c15), UINT64_C(0xbf58476d1ce4e5b9)};

static uint64_t
next(void)
{
	uint64_t a = state[0], b = state[1], r = a + b;

	b ^= a;
	state[0] = (a << 24 | a >> 40) ^ b ^ (b << 16);
	state[1] = b << 37 | b >> 27;
	return r;
}

static double
uniform(void)
{
	return (double) (next() >> 11) * 0x1p-53;
}

static double
normal(void)
{
	return sqrt(-2 * log(1 - uniform())) * cos(6.283185307179586 * uniform());
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
}

static int cold;

static double values[VALUES];
static int64_t integers[VALUES];

typedef enum Data
{
	WALK_INT,
	WALK_2,
	WALK_FULL,
	COUNTER_INT,
	COUNTER_SEC,
	COUNTER_FULL,
	CONSTANT,
	FLAT,
	SPIKES,
	STALE,
	AVERAGES,
	FEW,
	LEVEL0_INT,
	LEVEL0_2,
	TIME_REGULAR,
	TIME_JITTER,
	TIME_GAPS,
	TIME_JITTER_GAPS,
	IDS,
	KINDS
} Data;

static const char *const names[KINDS] = {"walk, integers (TSBS)",
										 "walk, 2 decimals",
										 "walk, full doubles",
										 "counter, integers",
										 "counter, seconds",
										 "counter, full doubles",
										 "constant",
										 "0.5 % changes",
										 "1 % spikes",
										 "2 decimals, 1 % stale",
										 "averages (ulps)",
										 "12 distinct",
										 "level 0, integers",
										 "level 0, 2 decimals",
										 "time, regular",
										 "time, jitter 2 ms",
										 "time, 1 % gaps",
										 "time, jitter and gaps",
										 "ids, ascending"};

static int
is_time(Data kind)
{
	return kind >= TIME_REGULAR;
}

static double
clamp(double x)
{
	return x < 0 ? 0 : x > 100 ? 100 : x;
}

static void
generate(Data kind)
{
	for (int s = 0; s < SERIES; s++)
	{
		double x = uniform() * 100, flat = floor(uniform() * 1000), rate = exp(uniform() * 8);
		int64_t t = INT64_C(1700000000000) + (int64_t) (uniform() * 10000);
		int64_t id = 0;

		for (int i = 0; i < PER_SERIES; i++)
		{
			double *v = &values[s * PER_SERIES + i];
			int64_t *w = &integers[s * PER_SERIES + i];

			x = clamp(x + normal());
			t += 10000;
			if ((kind == TIME_GAPS || kind == TIME_JITTER_GAPS) && next() % 100 == 0)
				t += 10000 * (int64_t) (1 + next() % 20);
			id += 1 + (int64_t) (next() % 30);
			switch (kind)
			{
				case WALK_INT:
					*v = floor(x);
					break;
				case WALK_2:
					*v = round(x * 100) / 100;
					break;
				case WALK_FULL:
					*v = x;
					break;
				case COUNTER_INT:
					*v = flat = floor(flat + rate * (0.5 + uniform()));
					break;
				case COUNTER_SEC:
					flat += uniform() * 10;
					*v = round(flat * 100) / 100;
					break;
				case COUNTER_FULL:
					*v = flat += rate * uniform();
					break;
				case CONSTANT:
					*v = flat;
					break;
				case FLAT:
					*v = flat = next() % 200 == 0 ? floor(uniform() * 1000) : flat;
					break;
				case SPIKES:
					*v = next() % 100 == 0 ? floor(uniform() * 1000) : flat;
					break;
				case STALE:
					if (next() % 100 == 0)
					{
						uint64_t stale = UINT64_C(0x7ff0000000000002);

						memcpy(v, &stale, 8);
					}
					else
						*v = round(x * 100) / 100;
					break;
				case AVERAGES:
				{
					uint64_t bits;

					*v = round(x * 1000) / 1000;
					memcpy(&bits, v, 8);
					bits += next() % 3;
					memcpy(v, &bits, 8);
				}
				break;
				case FEW:
					*v = sqrt((double) (next() % 12));
					break;
				case LEVEL0_INT:
					*v = floor(uniform() * 101);
					break;
				case LEVEL0_2:
					*v = floor(uniform() * 10001) / 100;
					break;
				case TIME_REGULAR:
				case TIME_GAPS:
					*w = t;
					break;
				case TIME_JITTER:
				case TIME_JITTER_GAPS:
					*w = t + (int64_t) round(normal() * 2);
					break;
				default:
					*w = id;
			}
		}
	}
}

/* Sixteen sums side by side, so that the additions do not wait for each other. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__)
__attribute__((target_clones("avx2", "default")))
#endif
static double
sum_of(const double *v, size_t n)
{
	double part[16] = {0};
	size_t i;

	for (i = 0; i + 16 <= n; i += 16)
	{
		for (int j = 0; j < 16; j++)
			part[j] += v[i + j];
	}
	for (; i < n; i++)
		part[0] += v[i];
	for (int j = 1; j < 16; j++)
		part[0] += part[j];
	return part[0];
}

static void
run(Data kind, uint32_t block, int passes)
{
	size_t room = mdb_f64_bound(block);
	uint32_t blocks = VALUES / block;
	uint8_t *chunks = malloc(room * blocks);
	size_t *lengths = malloc(sizeof(*lengths) * blocks);
	double *out = malloc((block + MDB_DECODE_SLACK) * sizeof(double));
	const char *name = "";
	size_t bytes = 0;
	double encode = 1e300, decode = 1e300, fused = 1e300;
	volatile double sink;

	if (chunks == NULL || lengths == NULL || out == NULL)
		abort();
	generate(kind);
	for (int pass = 0; pass < passes; pass++)
	{
		MdbCodecHint hint = {.cold = (uint8_t) cold};
		double start = now();
		double sum = 0;

		bytes = 0;
		for (uint32_t b = 0; b < blocks; b++)
		{
			uint8_t *chunk = chunks + room * b;

			lengths[b] = is_time(kind) ? mdb_time_encode(integers + (size_t) b * block, block, chunk, &hint)
									   : mdb_f64_encode(values + (size_t) b * block, block, chunk, &hint);
			bytes += lengths[b];
		}
		start = (now() - start) / VALUES;
		encode = start < encode ? start : encode;
		name = mdb_codec_name(chunks, lengths[0]);

		/* twice: once for decoding alone, once with a sum of each block while it is warm */
		for (int with_sum = 0; with_sum < 2; with_sum++)
		{
			start = now();
			for (uint32_t b = 0; b < blocks; b++)
			{
				int rc = is_time(kind)
							 ? mdb_time_decode(chunks + room * b, lengths[b], block, (int64_t *) out)
							 : mdb_f64_decode(chunks + room * b, lengths[b], block, out);

				if (rc != MDB_CODEC_OK)
					abort();
				if (with_sum)
					sum += sum_of(out, block);
			}
			start = (now() - start) / VALUES;
			if (with_sum)
				fused = start < fused ? start : fused;
			else
				decode = start < decode ? start : decode;
		}
		sink = sum;
	}
	(void) sink;
	printf("%-24s %-15s %8.4f %9.2f %9.3f %9.3f %9.2f %9.2f\n", names[kind], name, (double) bytes / VALUES,
		   encode, decode, fused, 1 / decode, 1 / fused);
	free(out);
	free(lengths);
	free(chunks);
}

static void
limit(void)
{
	size_t n = (size_t) 32 << 20; /* 256 MB: well beyond the caches */
	double *v = malloc(n * sizeof(double));
	double best = 1e300;
	volatile double sink;

	if (v == NULL)
		abort();
	for (size_t i = 0; i < n; i++)
		v[i] = (double) i;
	for (int pass = 0; pass < 5; pass++)
	{
		double start = now();

		sink = sum_of(v, n);
		start = (now() - start) / (double) n;
		best = start < best ? start : best;
	}
	(void) sink;
	printf("%-24s %-15s %8.4f %9s %9s %9.3f %9s %9.2f\n", "limit: sum from memory", "none", 8.0, "-", "-",
		   best, "-", 1 / best);
	free(v);
}

int
main(int argc, char **argv)
{
	uint32_t block = argc > 1 ? (uint32_t) strtoul(argv[1], NULL, 0) : 1024;
	int passes = argc > 2 ? atoi(argv[2]) : 7;

	cold = argc > 3 && strcmp(argv[3], "cold") == 0;

	if (block == 0 || block > MDB_BLOCK_ROWS_MAX)
		return 2;
	printf("blocks of %" PRIu32 "%s; ns a value\n%-24s %-15s %8s %9s %9s %9s %9s %9s\n", block,
		   cold ? ", cold" : "", "data", "codec", "B/value", "encode", "decode", "dec+sum", "G/s dec",
		   "G/s sum");
	limit();
	for (int kind = 0; kind < KINDS; kind++)
		run((Data) kind, block, passes);
	return 0;
}
