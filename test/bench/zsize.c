/*
 * zsize.c
 *	  What zstd makes of raw doubles: numbers as text on stdin, one a line.
 * links: -lzstd
 *
 *	zsize [LEVEL]      prints how many there were, and the bytes of a zstd frame (level 3) around all
 */
#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

int
main(int argc, char **argv)
{
	int level = argc > 1 ? atoi(argv[1]) : 3;
	size_t n = 0, room = 0, size;
	double *v = NULL;
	char line[128];
	void *out;

	while (fgets(line, sizeof(line), stdin))
	{
		if (n == room)
		{
			room = room ? 2 * room : 1 << 20;
			v = realloc(v, room * sizeof(double));
			if (v == NULL)
				return 1;
		}
		v[n++] = strtod(line, NULL);
	}
	size = ZSTD_compressBound(n * sizeof(double));
	out = malloc(size);
	if (out == NULL)
		return 1;
	size = ZSTD_compress(out, size, v, n * sizeof(double), level);
	if (ZSTD_isError(size))
		return 1;
	printf("%zu %zu\n", n, size);
	return 0;
}
