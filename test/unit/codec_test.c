/*
 * codec_test.c
 *	  Unit and property tests of src/codec: what goes in comes out to the bit, whatever it is.
 *
 *	codec_test [seed [rounds]]
 *
 * Every array is encoded into a buffer with canaries, decoded into one with canaries behind the
 * promised slack, and compared by bits.  Then the chunk is truncated, flipped and spliced: the
 * decoder may answer anything, but must stay within its buffers (run it under a sanitizer too).
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codec/codec.h"

#define CANARY     0xa5
#define CANARY_LEN 64

static uint64_t seed;
static uint64_t state[2];
static unsigned long passed;
static unsigned long failed;

/*
 * Digest of all chunks and of all that damaged ones decoded to: equal for equal seeds in every
 * build, with vector units or without.
 */
static uint64_t digest = UINT64_C(0xcbf29ce484222325);

static void
digest_bytes(const void *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		digest = (digest ^ ((const uint8_t *) p)[i]) * UINT64_C(0x100000001b3);
}

static uint64_t
next(void)
{
	uint64_t a = state[0], b = state[1], r = a + b;

	b ^= a;
	state[0] = (a << 24 | a >> 40) ^ b ^ (b << 16);
	state[1] = b << 37 | b >> 27;
	return r;
}

static uint64_t
below(uint64_t n)
{
	return next() % n;
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

static void
check(int ok, const char *what, const char *kind, uint32_t n)
{
	if (ok)
		passed++;
	else
	{
		failed++;
		if (failed < 30)
			printf("not ok: %s, %s, n = %" PRIu32 "\n", what, kind, n);
	}
}

/* A buffer of exactly the stated size, canaries behind. */
static uint8_t *
guarded(size_t size)
{
	uint8_t *p = malloc(size + CANARY_LEN);

	if (p == NULL)
		abort();
	memset(p + size, CANARY, CANARY_LEN);
	return p;
}

static int
intact(const uint8_t *p, size_t size)
{
	for (size_t i = 0; i < CANARY_LEN; i++)
	{
		if (p[size + i] != CANARY)
			return 0;
	}
	return 1;
}

/* A chunk in memory of just its size, so that a sanitizer sees any read behind it. */
static uint8_t *
exact_copy(const uint8_t *p, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (copy == NULL)
		abort();
	memcpy(copy, p, len);
	return copy;
}

typedef enum Type
{
	I64,
	TIME,
	F64,
	F32
} Type;

static const size_t width_of[] = {8, 8, 8, 4};

static size_t
encode(Type type, const void *v, uint32_t n, uint8_t *out, MdbCodecHint *hint)
{
	switch (type)
	{
		case I64:
			return mdb_i64_encode(v, n, out, hint);
		case TIME:
			return mdb_time_encode(v, n, out, hint);
		case F64:
			return mdb_f64_encode(v, n, out, hint);
		default:
			return mdb_f32_encode(v, n, out, hint);
	}
}

static int
decode(Type type, const uint8_t *in, size_t len, uint32_t n, void *out)
{
	switch (type)
	{
		case I64:
			return mdb_i64_decode(in, len, n, out);
		case TIME:
			return mdb_time_decode(in, len, n, out);
		case F64:
			return mdb_f64_decode(in, len, n, out);
		default:
			return mdb_f32_decode(in, len, n, out);
	}
}

static size_t
bound(Type type, uint32_t n)
{
	return type == F64 ? mdb_f64_bound(n) : type == F32 ? mdb_f32_bound(n) : mdb_i64_bound(n);
}

/* The last chunk of any type, to splice with. */
static uint8_t spare[80000];
static size_t spare_len;

static void
damage(Type type, const uint8_t *chunk, size_t len, uint32_t n, const char *name)
{
	size_t w = width_of[type];
	size_t room = ((size_t) n + MDB_DECODE_SLACK) * w;
	uint8_t *out = guarded(room);
	int ok = 1;

	for (int round = 0; round < 6; round++)
	{
		size_t part = len;
		uint8_t *bad;

		if (round == 0)
			part = below(len + 1);
		bad = exact_copy(chunk, part);
		if (round >= 1 && round <= 3)
		{
			for (uint64_t flips = 1 + below(3); flips > 0 && part > 0; flips--)
				bad[below(round == 1 && part > 12 ? 12 : part)] ^= (uint8_t) (1u << below(8));
		}
		if (round == 4 && part > 0)
			bad[below(part > 8 ? 8 : part)] = (uint8_t) next();
		if (round == 5 && spare_len > 0 && part > 1)
		{
			size_t from = below(part);
			size_t count = part - from < spare_len ? part - from : spare_len;

			memcpy(bad + from, spare, count);
		}
		if (decode(type, bad, part, n, out) == MDB_CODEC_OK)
			digest_bytes(out, n * w);
		(void) mdb_codec_name(bad, part);
		if (type == TIME)
		{
			int64_t first, step;

			(void) mdb_time_const_step(bad, part, n, &first, &step);
		}
		ok = ok && intact(out, room);
		free(bad);
	}
	/* other kinds' decoders on the same bytes, and another count */
	{
		uint8_t *copy = exact_copy(chunk, len);
		uint8_t *wide = guarded(((size_t) n + MDB_DECODE_SLACK) * 8);

		(void) decode((Type) below(4), copy, len, n, wide);
		(void) decode(type, copy, len, (uint32_t) below((uint64_t) n + 1), wide);
		ok = ok && intact(wide, ((size_t) n + MDB_DECODE_SLACK) * 8);
		free(wide);
		free(copy);
	}
	check(ok, "damaged chunk stays within its buffers", name, n);
	free(out);
}

/*
 * With CODEC_CORPUS=directory each chunk that is not too long also becomes a file there, in the form
 * the fuzz targets take, so that fuzzing starts from chunks of every codec.
 */
static void
save_seed(Type type, const uint8_t *chunk, size_t len, uint32_t n)
{
	static const char *const targets[] = {"i64", "time", "f64", "f32"};
	static unsigned count;
	const char *dir = getenv("CODEC_CORPUS");
	char path[1024];
	uint8_t head[2] = {(uint8_t) n, (uint8_t) (n >> 8)};
	FILE *f;

	if (dir == NULL || len > 1500)
		return;
	snprintf(path, sizeof(path), "%s/codec_%s/seed-%u", dir, targets[type], count++);
	f = fopen(path, "wb");
	if (f == NULL)
		return;
	fwrite(head, 1, 2, f);
	fwrite(chunk, 1, len, f);
	fclose(f);
}

static size_t
round_trip(Type type, const void *v, uint32_t n, MdbCodecHint *hint, const char *name)
{
	size_t w = width_of[type];
	size_t room = bound(type, n);
	uint8_t *chunk = guarded(room);
	size_t len = encode(type, v, n, chunk, hint);
	uint8_t *copy;
	uint8_t *out;
	size_t out_room = ((size_t) n + MDB_DECODE_SLACK) * w;

	digest_bytes(chunk, len);
	save_seed(type, chunk, len, n);
	check(intact(chunk, room), "encoder stays within the bound", name, n);
	check(len <= 1 + n * w, "chunk no longer than raw", name, n);
	copy = exact_copy(chunk, len);
	out = guarded(out_room);
	check(decode(type, copy, len, n, out) == MDB_CODEC_OK, "decodes", name, n);
	check(n == 0 || memcmp(out, v, n * w) == 0, "comes back to the bit", name, n);
	check(intact(out, out_room), "decoder stays within its slack", name, n);
	if (type == TIME)
	{
		int64_t first, step;

		if (mdb_time_const_step(copy, len, n, &first, &step))
		{
			int same = 1;

			for (uint32_t i = 0; i < n; i++)
				same = same && (uint64_t) ((const int64_t *) v)[i] == (uint64_t) first + i * (uint64_t) step;
			check(same, "first and step tell every row", name, n);
		}
	}
	damage(type, chunk, len, n, name);
	if (len <= sizeof(spare))
	{
		memcpy(spare, chunk, len);
		spare_len = len;
	}
	free(out);
	free(copy);
	free(chunk);
	return len;
}

/* ---- what goes in ---- */

static const uint64_t odd_doubles[] = {0,
									   UINT64_C(1) << 63, /* 0.0, -0.0 */
									   UINT64_C(0x7ff0000000000000),
									   UINT64_C(0xfff0000000000000), /* infinities */
									   UINT64_C(0x7ff0000000000002), /* stale NaN (signalling) */
									   UINT64_C(0x7ff8000000000000),
									   UINT64_C(0xfff8000000000001),
									   UINT64_C(0x7fffffffffffffff),
									   1,
									   UINT64_C(0x800fffffffffffff),
									   UINT64_C(0x0010000000000000), /* subnormal edges */
									   UINT64_C(0x7fefffffffffffff), /* DBL_MAX */
									   UINT64_C(0x433fffffffffffff),
									   UINT64_C(0x4340000000000000),
									   UINT64_C(0x4340000000000001), /* 2^53 */
									   UINT64_C(0x4330000000000000),
									   UINT64_C(0x432fffffffffffff), /* 2^52 */
									   UINT64_C(0xc340000000000000),
									   UINT64_C(0x43e0000000000000),
									   UINT64_C(0xc3e0000000000000), /* 2^63 */
									   UINT64_C(0x3fb999999999999a),
									   UINT64_C(0x3ff0000000000000)};

static const int64_t odd_integers[] = {0,
									   1,
									   -1,
									   INT64_MAX,
									   INT64_MIN,
									   INT64_MAX - 1,
									   INT64_MIN + 1,
									   (INT64_C(1) << 53) + 1,
									   (INT64_C(1) << 53) - 1,
									   INT64_C(1) << 31,
									   INT64_C(1) << 32,
									   -(INT64_C(1) << 31)};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static double
as_double(uint64_t bits)
{
	double d;

	memcpy(&d, &bits, 8);
	return d;
}

#define INTEGER_KINDS 18

static const char *
make_integers(int kind, int64_t *v, uint32_t n)
{
	int64_t x = (int64_t) below(1000000);
	int64_t step = (int64_t) below(100000) - 50000;
	unsigned bits = (unsigned) below(65);
	uint64_t mask = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;

	for (uint32_t i = 0; i < n; i++)
	{
		switch (kind)
		{
			case 0:
				v[i] = (int64_t) next();
				break;
			case 1:
				v[i] = odd_integers[below(COUNT(odd_integers))];
				break;
			case 2:
				v[i] = x;
				break;
			case 3:
				v[i] = x += step;
				break;
			case 4:
				v[i] = x += (int64_t) (normal() * 3);
				break;
			case 5:
				v[i] = x = (int64_t) ((uint64_t) x + (below(50) == 0 ? next() : 1));
				break;
			case 6:
				v[i] = (int64_t) (next() & mask);
				break;
			case 7:
				v[i] = (int64_t) ((uint64_t) x + (uint64_t) i * i * (uint64_t) step);
				break;
			case 8:
				v[i] = below(40) == 0 ? (x = (int64_t) next()) : x;
				break;
			case 9:
				v[i] = (int64_t) (below(8) * UINT64_C(0x123456789abcdef));
				break;
			case 10:
				v[i] = (int64_t) (mask >> below(64)) * (below(2) ? 1 : -1);
				break;
			case 11:
				v[i] = INT64_C(1700000000000000) + (int64_t) i * 10000000 + (int64_t) (normal() * 2000);
				break;
			case 12:
				v[i] = INT64_C(1700000000000000) +
					   (x += 10000000 * (int64_t) (1 + (below(100) == 0) * below(50)));
				break;
			case 13: /* few are not 0 */
				v[i] = below(1 + mask % 4096) == 0;
				break;
			case 14: /* each half as frequent as the one before, and most multiples missing */
				v[i] = x + (int64_t) __builtin_ctzll(next() | UINT64_C(1) << 40) * (step % 30);
				break;
			case 15: /* a bell over many low bits */
				v[i] = (int64_t) ((uint64_t) x + (uint64_t) (int64_t) (normal() * (double) (mask >> 8)));
				break;
			case 16: /* all bytes */
				v[i] = (int64_t) (next() & 255 & (next() | mask));
				break;
			default:
				v[i] = below(100) == 0 ? odd_integers[below(COUNT(odd_integers))]
									   : (int64_t) ((uint64_t) x + below(17));
		}
	}
	return "integers";
}

#define DOUBLE_KINDS 20

static const char *
make_doubles(int kind, double *v, uint32_t n)
{
	static const char *const names[DOUBLE_KINDS] = {"random bits",
													"odd values",
													"constant",
													"decimals",
													"decimals with odd ones",
													"walk, ints",
													"walk, 2 decimals",
													"walk, full",
													"counter",
													"averages",
													"runs",
													"few distinct",
													"stale",
													"near 2^53",
													"subnormals",
													"random bits, one exponent",
													"all stale",
													"multiples of a power of two",
													"integers, and rates",
													"hundreds of distinct"};
	int digits = (int) below(16);
	double p = pow(10, digits);
	double x = uniform() * 100;
	double rate = uniform() * 1000;

	for (uint32_t i = 0; i < n; i++)
	{
		switch (kind)
		{
			case 0:
				v[i] = as_double(next());
				break;
			case 1:
				v[i] = as_double(odd_doubles[below(COUNT(odd_doubles))]);
				break;
			case 2:
				v[i] = x;
				break;
			case 3:
			case 4:
				v[i] = round((uniform() - 0.5) * 1000 * p) / p;
				if (kind == 4 && below(20) == 0)
					v[i] = as_double(odd_doubles[below(COUNT(odd_doubles))]);
				break;
			case 5:
			case 6:
			case 7:
				x += normal();
				x = x < 0 ? 0 : x > 100 ? 100 : x;
				v[i] = kind == 5 ? floor(x) : kind == 6 ? round(x * 100) / 100 : x;
				break;
			case 8:
				v[i] = x = floor(x + rate * uniform());
				break;
			case 9:
				v[i] = (double) below(100000) / 1000 + (double) below(3) * 7.105427357601002e-15;
				break;
			case 10:
				v[i] = x = below(50) == 0 ? as_double(next()) : x;
				break;
			case 11:
				v[i] = 1.0 / (double) (1 + below(10));
				break;
			case 12:
				x += normal();
				v[i] = below(30) == 0 ? as_double(odd_doubles[4]) : round(x * 10) / 10;
				break;
			case 13:
				v[i] = 9007199254740992.0 + (double) below(5) - 2 * (double) below(3);
				break;
			case 14:
				v[i] = as_double(next() >> 13);
				break;
			case 15:
				v[i] = as_double((next() >> 12) | UINT64_C(0x3ff0000000000000));
				break;
			case 16:
				v[i] = as_double(odd_doubles[4]);
				break;
			case 17:
				x = floor(x) + (double) below(200) - 100;
				v[i] = below(300) == 0 ? as_double(odd_doubles[below(COUNT(odd_doubles))])
									   : x * (double) (UINT64_C(1) << (8 + digits));
				break;
			case 18:
				v[i] = (double) below(5000) / (below(3) ? 1 : 0.999 + 0.001 * (double) below(4));
				break;
			default:
				v[i] = sqrt((double) below(3000));
		}
	}
	return names[kind];
}

static const uint32_t sizes[] = {0,   1,   2,   3,   4,   7,    8,    9,    31,   50,   64,   65,
								 255, 256, 257, 511, 512, 1000, 1023, 1024, 1025, 4097, 8191, 8192};

static uint32_t
any_size(void)
{
	return below(4) == 0 ? (uint32_t) below(MDB_BLOCK_ROWS_MAX + 1)
		   : below(2)    ? sizes[below(COUNT(sizes))]
						 : (uint32_t) below(300);
}

/* Half of all chunks are cold ones. */
static void
any_effort(MdbCodecHint *hint)
{
	for (int i = 0; i < 4; i++)
		hint[i].cold = (uint8_t) below(2);
}

static void
test_numbers(uint32_t n, MdbCodecHint *hint)
{
	static int64_t iv[MDB_BLOCK_ROWS_MAX];
	static double dv[MDB_BLOCK_ROWS_MAX];
	static float fv[MDB_BLOCK_ROWS_MAX];

	for (int kind = 0; kind < INTEGER_KINDS; kind++)
	{
		const char *name = make_integers(kind, iv, n);

		any_effort(hint);
		round_trip(I64, iv, n, below(2) ? &hint[0] : NULL, name);
		round_trip(TIME, iv, n, below(2) ? &hint[1] : NULL, name);
	}
	for (int kind = 0; kind < DOUBLE_KINDS; kind++)
	{
		const char *name = make_doubles(kind, dv, n);

		any_effort(hint);
		round_trip(F64, dv, n, below(2) ? &hint[2] : NULL, name);
		for (uint32_t i = 0; i < n; i++)
		{
			uint32_t bits = (uint32_t) next();

			if (kind == 0)
				memcpy(&fv[i], &bits, 4);
			else
				fv[i] = (float) dv[i];
		}
		round_trip(F32, fv, n, below(2) ? &hint[3] : NULL, name);
	}
}

/* Hints may hold anything: they come from the caller's memory and speed a choice, no more. */
static void
test_hints(void)
{
	MdbCodecHint hint[4];

	for (int round = 0; round < 20; round++)
	{
		for (size_t i = 0; i < sizeof(hint); i++)
			((uint8_t *) hint)[i] = (uint8_t) next();
		test_numbers((uint32_t) below(400), hint);
	}
}

static void
test_bits(uint32_t n)
{
	uint8_t flags[MDB_BLOCK_ROWS_MAX];

	for (int kind = 0; kind < 6; kind++)
	{
		size_t room = mdb_bits_bound(n);
		uint8_t *chunk = guarded(room);
		uint8_t *out = guarded(n);
		uint8_t *copy;
		size_t len;
		uint8_t x = 0;

		for (uint32_t i = 0; i < n; i++)
		{
			if (kind >= 2 && below(kind == 2 ? 2 : kind == 3 ? 100 : kind == 4 ? 1000 : 9) == 0)
				x ^= 1;
			flags[i] = kind < 2 ? (uint8_t) kind : x;
		}
		len = mdb_bits_encode(flags, n, chunk);
		check(intact(chunk, room), "encoder stays within the bound", "bits", n);
		copy = exact_copy(chunk, len);
		check(mdb_bits_decode(copy, len, n, out) == MDB_CODEC_OK && memcmp(out, flags, n) == 0, "comes back",
			  "bits", n);
		check(kind >= 2 || len <= 1, "constant flags take a byte", "bits", n);
		for (int round = 0; round < 6 && len > 0; round++)
		{
			if (round > 0)
				copy[below(len)] ^= (uint8_t) (1u << below(8));
			(void) mdb_bits_decode(copy, round == 0 ? below(len) : len, n, out);
		}
		check(intact(out, n), "decoder stays within n", "bits", n);
		free(copy);
		free(out);
		free(chunk);
	}
}

static void
test_bytes(uint32_t n)
{
	static uint8_t data[MDB_BLOCK_ROWS_MAX * 40 + 5000];
	static uint32_t ends[MDB_BLOCK_ROWS_MAX];
	static uint32_t got[MDB_BLOCK_ROWS_MAX];

	for (int kind = 0; kind < 7; kind++)
	{
		uint32_t total = 0;
		size_t size = 0, room, len;
		uint8_t *chunk, *copy, *out;

		for (uint32_t i = 0; i < n; i++)
		{
			uint8_t *p = data + total;
			uint32_t bytes = 0;

			switch (kind)
			{
				case 0: /* random */
					bytes = (uint32_t) below(30);
					for (uint32_t j = 0; j < bytes; j++)
						p[j] = (uint8_t) next();
					break;
				case 1: /* constant */
					bytes = 9;
					memcpy(p, "us-east-1", 9);
					break;
				case 2: /* few */
					bytes = (uint32_t) sprintf((char *) p, "host_%d", (int) below(20));
					break;
				case 3: /* many, alike */
					bytes = (uint32_t) sprintf((char *) p, "/api/v1/items/%d", (int) (i * 37));
					break;
				case 4: /* empty */
					break;
				case 5: /* empty or not, runs */
					bytes = (i / 10) % 3;
					memset(p, 'x', bytes);
					break;
				default: /* dictionary of long entries */
					bytes = (uint32_t) sprintf((char *) p, "{\"number\": %d, \"x\": \"abc\"}",
											   (int) below(1 + n / 4));
			}
			ends[i] = total += bytes;
		}
		room = mdb_bytes_bound(n, total);
		chunk = guarded(room);
		len = mdb_bytes_encode(data, ends, n, chunk, below(2) ? NULL : &(MdbCodecHint){.cold = 1});
		check(intact(chunk, room), "encoder stays within the bound", "bytes", n);
		copy = exact_copy(chunk, len);
		check(mdb_bytes_size(copy, len, n, &size) == MDB_CODEC_OK && size == total, "size", "bytes", n);
		out = guarded(total);
		check(mdb_bytes_decode(copy, len, n, out, total, got) == MDB_CODEC_OK &&
				  memcmp(out, data, total) == 0 && memcmp(got, ends, n * sizeof(*ends)) == 0,
			  "comes back", "bytes", n);
		for (int round = 0; round < 8 && len > 0; round++)
		{
			size_t part = round == 0 ? below(len) : len;

			if (round > 0)
				copy[below(round < 4 && len > 16 ? 16 : len)] ^= (uint8_t) (1u << below(8));
			if (mdb_bytes_size(copy, part, n, &size) == MDB_CODEC_OK &&
				mdb_bytes_decode(copy, part, n, out, total, got) == MDB_CODEC_OK)
				check(size <= total && got[n - 1] == size, "damaged, but consistent", "bytes", n);
		}
		check(intact(out, total), "decoder stays within cap", "bytes", n);
		free(out);
		free(copy);
		free(chunk);
	}
}

/* ---- sizes, in bytes a value over blocks of 1024, cold ones of 8192 (one column's hint carried along) ---- */

typedef struct Budget
{
	const char *name;
	double most;
	double cold;
} Budget;

enum
{
	S_WALK_INT,
	S_WALK_2,
	S_WALK_FULL,
	S_COUNTER,
	S_CONST,
	S_STALE,
	S_TIME,
	S_TIME_JITTER,
	S_TIME_GAPS,
	S_KINDS
};

static const Budget budgets[S_KINDS] = {
	{"TSBS integers", 0.36, 0.275},  {"two decimals", 1.20, 1.095},
	{"full doubles", 6.47, 6.32},    {"counter", 1.05, 0.85},
	{"constant", 0.01, 0.002},       {"two decimals, 1 % stale", 1.24, 1.11},
	{"regular time", 0.02, 0.002},   {"time with jitter", 0.54, 0.425},
	{"time with gaps", 0.045, 0.022}};

static void
test_sizes(int cold)
{
	static double dv[MDB_BLOCK_ROWS_MAX];
	static int64_t tv[MDB_BLOCK_ROWS_MAX];
	const uint32_t rows = cold ? MDB_BLOCK_ROWS_MAX : 1024;
	const uint32_t blocks = (256 << 10) / rows;
	uint8_t *chunk = malloc(mdb_f64_bound(rows));

	if (chunk == NULL)
		abort();
	/* the same data whatever the seed: how far a walk strays moves its size by some percent */
	state[0] = UINT64_C(0x9e3779b97f4a7c15);
	state[1] = UINT64_C(0xbf58476d1ce4e5b9);
	for (int kind = 0; kind < S_KINDS; kind++)
	{
		MdbCodecHint hint = {.cold = (uint8_t) cold};
		size_t bytes = 0;
		double x = 50, counter = 0, per, most;
		int64_t t = INT64_C(1700000000000);

		for (uint32_t b = 0; b < blocks; b++)
		{
			for (uint32_t i = 0; i < rows; i++)
			{
				x += normal();
				x = x < 0 ? 0 : x > 100 ? 100 : x;
				counter += floor(100 + 100 * uniform());
				t += 10000;
				if (kind == S_TIME_GAPS && below(100) == 0)
					t += 10000 * (int64_t) (1 + below(20));
				tv[i] = kind == S_TIME_JITTER ? t + (int64_t) round(2 * normal()) : t;
				dv[i] = kind == S_WALK_FULL  ? x
						: kind == S_WALK_INT ? floor(x)
						: kind == S_COUNTER  ? counter
						: kind == S_CONST    ? 0.1
											 : round(x * 100) / 100;
				if (kind == S_STALE && below(100) == 0)
					dv[i] = as_double(odd_doubles[4]);
			}
			bytes += kind >= S_TIME ? mdb_time_encode(tv, rows, chunk, &hint)
									: mdb_f64_encode(dv, rows, chunk, &hint);
		}
		per = (double) bytes / ((double) rows * blocks);
		most = cold ? budgets[kind].cold : budgets[kind].most;
		printf("%-24s %.4f bytes a value, %s (at most %.3f)\n", budgets[kind].name, per,
			   cold ? "cold" : "hot", most);
		check(per <= most, "size", budgets[kind].name, rows);
	}

	/* short arrays: headers weigh */
	for (uint32_t i = 0; i < 1024; i++)
	{
		tv[i] = INT64_C(1700000000000000) + (int64_t) i * 10000000;
		dv[i] = 99.5;
	}
	check(mdb_time_encode(tv, 1024, chunk, NULL) <= 16, "regular time in 16 bytes", "short", 1024);
	check(mdb_time_encode(tv, 3, chunk, NULL) <= 16, "regular time in 16 bytes", "short", 3);
	check(mdb_f64_encode(dv, 50, chunk, NULL) <= 9, "constant in 9 bytes", "short", 50);
	for (uint32_t i = 0; i < 50; i++)
		tv[i] = 300 + (int64_t) (i * 37 % 50);
	check(mdb_i64_encode(tv, 50, chunk, NULL) <= 4 + 38, "50 lengths in 42 bytes", "short", 50);
	free(chunk);
}

int
main(int argc, char **argv)
{
	MdbCodecHint hint[4];
	unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 0) : 30;

	seed = argc > 1 ? strtoull(argv[1], NULL, 0) : UINT64_C(20240607);
	printf("seed %" PRIu64 ", %lu rounds\n", seed, rounds);
	state[0] = UINT64_C(0x9e3779b97f4a7c15) ^ seed;
	state[1] = UINT64_C(0xbf58476d1ce4e5b9);
	for (int i = 0; i < 16; i++)
		next();

	memset(hint, 0, sizeof(hint));
	for (size_t i = 0; i < COUNT(sizes); i++)
	{
		test_numbers(sizes[i], hint);
		test_bits(sizes[i]);
		test_bytes(sizes[i]);
	}
	for (unsigned long round = 0; round < rounds; round++)
	{
		uint32_t n = any_size();

		test_numbers(n, hint);
		test_bits(n);
		test_bytes(n);
	}
	test_hints();
	test_sizes(0);
	test_sizes(1);
	printf("digest %016" PRIx64 "\n", digest);
	printf("%lu passed, %lu failed\n", passed, failed);
	return failed != 0;
}
