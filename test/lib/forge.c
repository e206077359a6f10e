/*
 * forge.c
 *	  Makes a part lie: changes what it says of its rows, or their order, with every checksum right.
 *
 *		forge FILE PAGE_FIRST NBYTES WHAT [ATTNO]
 *
 * FILE is a table's main fork, its server stopped; the part's extent and size are those of its row in
 * metricsdb.part.  Prints "NBYTES CHECKSUM" for that row.  WHAT, always of block 0:
 *
 *		show				nothing changes
 *		rows nulls			a count, one more
 *		min max sum first last extra	of the column ATTNO; extra is the NaNs or the sum's high half
 *		time-min time-max	of the block
 *		order				its first two rows change their times
 *
 * links: src/codec/[a-z]*.c -lzstd
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"

#define PAGE        8192
#define PAGE_HEADER 24
#define PAYLOAD     (PAGE - PAGE_HEADER - 16)
#define GROUP       4096
#define BLOCKS_MAX  GROUP /* one group a vector is enough for tests */
#define COLUMNS_MAX 64

/* As in src/store/layout.h. */
typedef struct
{
	uint32_t magic;
	uint16_t format, flags;
	uint32_t nblocks, ncolumns;
	int64_t time_offset, series_offset;
	uint32_t columns_offset, reserved;
} Head;

typedef struct
{
	int16_t attno, attlen;
	uint8_t phys, flags;
	uint16_t reserved;
	int64_t offset, nbytes;
	uint32_t dir_offset, dir_len;
} Column;

typedef struct
{
	bool is_float;
	int64_t v[BLOCKS_MAX + MDB_DECODE_SLACK];
} Vec;

static void
die(const char *what)
{
	fprintf(stderr, "forge: %s\n", what);
	exit(1);
}

static uint32_t
crc32c(const uint8_t *p, size_t n)
{
	uint32_t crc = 0xffffffff;

	while (n-- > 0)
	{
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

static uint8_t *dir;
static uint32_t at;
static uint32_t nblocks;
static uint8_t out[1 << 20]; /* the new directory */
static uint32_t out_len;

static Vec *
get(bool is_float)
{
	Vec *vec = calloc(1, sizeof(Vec));
	uint32_t len;

	vec->is_float = is_float;
	memcpy(&len, dir + at, 4);
	if ((is_float ? mdb_f64_decode(dir + at + 4, len, nblocks, (double *) vec->v)
				  : mdb_i64_decode(dir + at + 4, len, nblocks, vec->v)) != MDB_CODEC_OK)
		die("a vector cannot be decoded");
	at += 4 + len;
	return vec;
}

static void
put(const Vec *vec)
{
	MdbCodecHint hint = {0};
	uint32_t len = vec->is_float
					   ? (uint32_t) mdb_f64_encode((const double *) vec->v, nblocks, out + out_len + 4, &hint)
					   : (uint32_t) mdb_i64_encode(vec->v, nblocks, out + out_len + 4, &hint);

	memcpy(out + out_len, &len, 4);
	out_len += 4 + len;
}

static void
bump(Vec *vec)
{
	if (vec->is_float)
	{
		double d;

		memcpy(&d, vec->v, sizeof(d));
		d += 1;
		memcpy(vec->v, &d, sizeof(d));
	}
	else
		vec->v[0]++;
}

int
main(int argc, char **argv)
{
	static const char *const stats[] = {"min", "max", "sum", "first", "last", "extra"};
	FILE *f;
	long first, nbytes;
	long npages;
	const char *what;
	int attno = argc > 5 ? atoi(argv[5]) : 0;
	uint8_t *payload, *data;
	uint32_t trailer[2];
	Head head;
	Column columns[COLUMNS_MAX];
	Vec *block[8];
	Vec *column[COLUMNS_MAX][8];
	int nvec = 0, rows_at = 0, times_at = -1, length_at = -1;
	uint8_t *chunk = NULL;
	size_t chunk_len = 0, old_len = 0;
	bool done;

	if (argc < 5)
		die("usage: forge FILE PAGE_FIRST NBYTES WHAT [ATTNO]");
	first = atol(argv[2]);
	nbytes = atol(argv[3]);
	what = argv[4];
	npages = (nbytes + PAYLOAD - 1) / PAYLOAD;
	done = strcmp(what, "show") == 0;
	f = fopen(argv[1], "r+b");
	if (f == NULL)
		die("cannot open the file");

	/* The payload off its pages. */
	payload = calloc(npages + 2, PAYLOAD);
	for (long i = 0; i < npages; i++)
		if (fseek(f, (first + i) * PAGE + PAGE_HEADER, SEEK_SET) != 0 ||
			fread(payload + i * PAYLOAD, PAYLOAD, 1, f) != 1)
			die("cannot read a page");
	memcpy(trailer, payload + nbytes - 8, 8);
	dir = payload + nbytes - 8 - trailer[0];
	if (trailer[0] > (size_t) nbytes || crc32c(dir, trailer[0]) != trailer[1])
		die("the directory is damaged already");
	memcpy(&head, dir, sizeof(head));
	nblocks = head.nblocks;
	if (nblocks > BLOCKS_MAX || head.ncolumns > COLUMNS_MAX)
		die("too large a part");
	at = sizeof(head);
	block[nvec++] = get(false); /* rows */
	block[nvec++] = get(false); /* first series */
	if (!(head.flags & 1))
	{
		block[nvec++] = get(false); /* last series */
		block[nvec++] = get(false); /* length of the ids */
	}
	if (head.flags & 2)
	{
		times_at = nvec;
		block[nvec++] = get(false); /* lowest time */
		block[nvec++] = get(false); /* highest time */
		block[nvec++] = get(false); /* where the times are */
		length_at = nvec;
		block[nvec++] = get(false); /* their length */
	}
	memcpy(columns, dir + head.columns_offset, head.ncolumns * sizeof(Column));
	for (uint32_t i = 0; i < head.ncolumns; i++)
	{
		int n = 0;

		at = columns[i].dir_offset;
		column[i][n++] = get(false); /* length */
		column[i][n++] = get(false); /* NULLs */
		for (; n < 8 && columns[i].phys != 3; n++)
			column[i][n] = get(columns[i].phys != 0 && n < 7);
		if (columns[i].attno != attno)
			continue;
		if (strcmp(what, "nulls") == 0)
			bump(column[i][1]), done = true;
		for (int s = 0; s < 6; s++)
			if (columns[i].phys != 3 && strcmp(what, stats[s]) == 0)
				bump(column[i][2 + s]), done = true;
	}
	if (strcmp(what, "rows") == 0)
		bump(block[rows_at]), done = true;
	if (times_at >= 0 && strcmp(what, "time-min") == 0)
		bump(block[times_at]), done = true;
	if (times_at >= 0 && strcmp(what, "time-max") == 0)
		bump(block[times_at + 1]), done = true;
	if (times_at >= 0 && strcmp(what, "order") == 0)
	{
		static int64_t t[MDB_BLOCK_ROWS_MAX + MDB_DECODE_SLACK];
		uint32_t n = (uint32_t) block[rows_at]->v[0];
		int64_t swap;
		MdbCodecHint hint = {0};
		uint32_t crc;

		old_len = (size_t) block[length_at]->v[0];
		if (mdb_time_decode(payload + head.time_offset, old_len - 4, n, t) != MDB_CODEC_OK)
			die("times cannot be decoded");
		swap = t[0];
		t[0] = t[1];
		t[1] = swap;
		chunk = malloc(mdb_i64_bound(n) + 4);
		chunk_len = mdb_time_encode(t, n, chunk, &hint);
		crc = crc32c(chunk, chunk_len);
		memcpy(chunk + chunk_len, &crc, 4);
		chunk_len += 4;
		block[length_at]->v[0] = (int64_t) chunk_len;
		done = true;
	}
	if (!done)
		die("nothing of that name in the part");

	/* The data before the directory, with the new chunk in place of the first. */
	{
		size_t data_len = (size_t) (nbytes - 8) - trailer[0];
		size_t tail_len = data_len - old_len;
		uint32_t crc;

		data = calloc(npages + 2, PAYLOAD);
		memcpy(data, chunk ? chunk : payload, chunk_len);
		memcpy(data + chunk_len, payload + old_len, tail_len);
		data_len = chunk_len + tail_len;
		head.series_offset += (int64_t) chunk_len - (int64_t) old_len;
		out_len = sizeof(head);
		for (int i = 0; i < nvec; i++)
			put(block[i]);
		for (uint32_t i = 0; i < head.ncolumns; i++)
		{
			columns[i].offset += (int64_t) chunk_len - (int64_t) old_len;
			columns[i].dir_offset = out_len;
			for (int n = 0; n < (columns[i].phys == 3 ? 2 : 8); n++)
				put(column[i][n]);
			columns[i].dir_len = out_len - columns[i].dir_offset;
		}
		head.columns_offset = out_len;
		memcpy(out, &head, sizeof(head));
		memcpy(out + out_len, columns, head.ncolumns * sizeof(Column));
		out_len += head.ncolumns * sizeof(Column);
		crc = crc32c(out, out_len);
		if ((long) (data_len + out_len + 8 + PAYLOAD - 1) / PAYLOAD != npages)
			die("the part would need another number of pages");
		memcpy(data + data_len, out, out_len);
		memcpy(data + data_len + out_len, &out_len, 4);
		memcpy(data + data_len + out_len + 4, &crc, 4);
		nbytes = (long) (data_len + out_len + 8);
		for (long i = 0; i < npages; i++)
		{
			long here = nbytes - i * PAYLOAD < PAYLOAD ? nbytes - i * PAYLOAD : PAYLOAD;
			uint16_t lower = (uint16_t) (PAGE_HEADER + here);

			if (fseek(f, (first + i) * PAGE + PAGE_HEADER, SEEK_SET) != 0 ||
				fwrite(data + i * PAYLOAD, PAYLOAD, 1, f) != 1 ||
				fseek(f, (first + i) * PAGE + 12, SEEK_SET) != 0 || fwrite(&lower, 2, 1, f) != 1)
				die("cannot write a page");
		}
		printf("%ld %u\n", nbytes, crc);
	}
	return fclose(f) == 0 ? 0 : 1;
}
