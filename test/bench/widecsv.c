/*
 * widecsv.c
 *	  The fleet as a wide table in CSV: time, ten tags, ten usages; for COPY.
 *
 *	widecsv HOSTS INTERVAL ROUNDS START_UNIX PRECISION [SEED]
 *
 * On stderr: the order-0 entropy of the deltas from one value of a series to the next, in bytes a
 * sample: what a perfect coder of single deltas would need for the values.
 */
#include "walk.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static void
print_value(double v, int precision)
{
	if (precision < 0)
		printf("%d", (int) v);
	else if (precision >= 17)
		printf("%.17g", v);
	else
		printf("%.*f", precision, v);
}

int
main(int argc, char **argv)
{
	static char buffer[1 << 20];
	long hosts, rounds;
	int precision;
	double scale;
	Host *fleet;
	double *last;

	if (argc < 6)
	{
		fprintf(stderr, "usage: widecsv HOSTS INTERVAL ROUNDS START_UNIX PRECISION [SEED]\n");
		return 1;
	}
	hosts = atol(argv[1]);
	rounds = atol(argv[3]);
	precision = atoi(argv[5]);
	scale = precision > 0 ? pow(10, precision) : 1;
	random_state = (uint64_t) (argc > 6 ? atol(argv[6]) : 1) * 0x2545F4914F6CDD1Du;
	fleet = calloc((size_t) hosts, sizeof(Host));
	last = calloc((size_t) hosts * USAGES, sizeof(double));
	for (long h = 0; h < hosts; h++)
		make_host(&fleet[h], h);
	setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));

	for (long r = 0; r < rounds; r++)
	{
		time_t t = atol(argv[4]) + r * atol(argv[2]);
		char stamp[32];

		strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S+00", gmtime(&t));
		for (long h = 0; h < hosts; h++)
		{
			fputs(stamp, stdout);
			for (int i = 0; i < TAGS; i++)
			{
				putchar_unlocked(',');
				fputs(fleet[h].tags[i], stdout);
			}
			for (int u = 0; u < USAGES; u++)
			{
				double v = walk(&fleet[h].levels[u], precision, scale), *before = &last[h * USAGES + u];

				if (r > 0)
					entropy_of_step(*before, v, precision, scale);
				*before = v;
				putchar_unlocked(',');
				print_value(v, precision);
			}
			putchar_unlocked('\n');
		}
	}
	fprintf(stderr, "%.3f\n", entropy_bytes());
	return 0;
}
