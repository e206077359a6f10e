/*
 * rawsum.c
 *	  The limit of queries over everything: how long it takes to add up raw doubles from memory.
 *
 *	rawsum SAMPLES	prints the median milliseconds of 11 passes over so many doubles
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PASSES 11

static int
cmp(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;

	return x < y ? -1 : x > y;
}

static double
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

int
main(int argc, char **argv)
{
	size_t n = argc > 1 ? (size_t) atol(argv[1]) : 0;
	double *v = malloc(n * sizeof(double));
	double ms[PASSES];
	volatile double sink = 0;

	if (n < 8 || v == NULL)
	{
		fprintf(stderr, "usage: rawsum SAMPLES\n");
		return 1;
	}
	for (size_t i = 0; i < n; i++)
		v[i] = (double) (i * 7919 % 101);
	for (int p = 0; p < PASSES; p++)
	{
		double s[8] = {0};
		double began = now_ms();

		for (size_t i = 0; i + 8 <= n; i += 8)
			for (int k = 0; k < 8; k++)
				s[k] += v[i + k];
		sink = s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7];
		ms[p] = now_ms() - began;
	}
	(void) sink;
	qsort(ms, PASSES, sizeof(double), cmp);
	printf("%.2f\n", ms[PASSES / 2]);
	return 0;
}
