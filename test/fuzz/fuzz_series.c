/*
 * fuzz_series.c
 *	  Fuzz target: a row of the series dictionary, and the keys in it, from any bytes.  What could be read is written again
 *	  and must read alike.
 *
 * segment.c and key.c are the server's: what they call of it is here, as little as they need.  An error ends the input.
 */
#include "postgres.h"

#include <setjmp.h>

#include "fmgr.h"
#include "lib/stringinfo.h"

#include "series/series.h"

#define REQUIRE(x)   \
	do               \
	{                \
		if (!(x))    \
			abort(); \
	} while (0)

#define PAIRS_MAX  4096
#define CHUNKS     65536
#define SIZE_LIMIT ((Size) 1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---------- of the server ---------- */

static void *chunks[CHUNKS];
static int nchunks;
static jmp_buf on_error;

static void *
allocate(Size size)
{
	/* A length that is claimed: there need not be so much. */
	if (size > SIZE_LIMIT)
		longjmp(on_error, 1);
	REQUIRE(nchunks < CHUNKS);
	REQUIRE((chunks[nchunks] = malloc(size ? size : 1)) != NULL);
	return chunks[nchunks++];
}

void *
palloc(Size size)
{
	return allocate(size);
}

void
pfree(void *p)
{
	for (int i = nchunks - 1; i >= 0; i--)
		if (chunks[i] == p)
		{
			chunks[i] = chunks[--nchunks];
			free(p);
			return;
		}
	abort();
}

static void
free_all(void)
{
	while (nchunks > 0)
		free(chunks[--nchunks]);
}

void
initStringInfo(StringInfo str)
{
	str->maxlen = 64;
	str->data = allocate(str->maxlen);
	str->len = 0;
}

void
enlargeStringInfo(StringInfo str, int needed)
{
	char *more;

	if (str->len + needed < str->maxlen)
		return;
	str->maxlen = 2 * (str->len + needed) + 1;
	more = allocate(str->maxlen);
	memcpy(more, str->data, str->len);
	pfree(str->data);
	str->data = more;
}

void
appendBinaryStringInfo(StringInfo str, const char *data, int len)
{
	enlargeStringInfo(str, len);
	memcpy(str->data + str->len, data, len);
	str->len += len;
}

void
appendStringInfoChar(StringInfo str, char c)
{
	appendBinaryStringInfo(str, &c, 1);
}

struct varlena *
pg_detoast_datum_packed(struct varlena *datum)
{
	return datum;
}

bool
errstart(int elevel, const char *domain)
{
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return true;
}

int
errcode(int code)
{
	REQUIRE(code == ERRCODE_DATA_CORRUPTED || code == ERRCODE_FEATURE_NOT_SUPPORTED);
	return 0;
}

int
errmsg(const char *format, ...)
{
	return 0;
}

int
errhint(const char *format, ...)
{
	return 0;
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	longjmp(on_error, 1);
}

/* ---------- what is asked ---------- */

static MdbSegmentEntry all_pairs[PAIRS_MAX];
static const MdbSegmentEntry *pairs; /* those still to come the second time */
static uint32 npairs;

static MdbColumn columns[] = {
	{.attlen = -1, .role = MDB_ROLE_SERIES},
	{.attlen = 8, .attbyval = true, .role = MDB_ROLE_SERIES},
	{.attlen = 16, .role = MDB_ROLE_SERIES},
	{.attlen = -1, .role = MDB_ROLE_DROPPED},
	{.attlen = 1, .attbyval = true, .role = MDB_ROLE_SERIES},
};
static AttrNumber attnos[] = {1, 2, 3, 4, 5};

static void
keep(void *arg, uint32 id, const char *key, uint32 len)
{
	const MdbTable table = {.natts = lengthof(columns),
							.columns = columns,
							.nseries_columns = lengthof(attnos),
							.series_attnos = attnos};
	Datum values[lengthof(columns)] = {0}, again[lengthof(columns)] = {0};
	bool isnull[lengthof(columns)] = {true, true, true, true, true}, still[lengthof(columns)];
	StringInfoData built;

	if (mdb_key_is_valid(&table, key, len))
	{
		mdb_key_decode(&table, key, len, values, isnull);
		initStringInfo(&built);
		mdb_key_build(&table, values, isnull, &built);
		REQUIRE(mdb_key_is_valid(&table, built.data, built.len));
		mdb_key_decode(&table, built.data, built.len, again, still);
		for (int i = 0; i < (int) lengthof(columns); i++)
		{
			REQUIRE(isnull[i] == still[i]);
			if (!isnull[i] && columns[i].attbyval)
				REQUIRE(values[i] == again[i]);
			else if (!isnull[i] && columns[i].attlen == -1)
				REQUIRE(VARSIZE(DatumGetPointer(values[i])) == VARSIZE(DatumGetPointer(again[i])) &&
						memcmp(DatumGetPointer(values[i]), DatumGetPointer(again[i]),
							   VARSIZE(DatumGetPointer(values[i]))) == 0);
			else if (!isnull[i])
				REQUIRE(memcmp(DatumGetPointer(values[i]), DatumGetPointer(again[i]), columns[i].attlen) ==
						0);
		}
	}
	if (arg != NULL)
	{
		/* The second time: the same pairs. */
		REQUIRE(npairs > 0 && pairs->id == id && pairs->len == len && memcmp(pairs->key, key, len) == 0);
		pairs++;
		npairs--;
	}
	else if (npairs < PAIRS_MAX)
	{
		all_pairs[npairs].id = id;
		all_pairs[npairs].len = len;
		all_pairs[npairs++].key = memcpy(allocate(len), key, len);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bytea *payload;

	if (setjmp(on_error) != 0)
	{
		free_all();
		return 0;
	}
	payload = allocate(VARHDRSZ + size);
	SET_VARSIZE(payload, VARHDRSZ + size);
	memcpy(VARDATA(payload), data, size);
	pairs = all_pairs;
	npairs = 0;
	mdb_segment_decode(payload, 1, keep, NULL);
	if (npairs > 0 && npairs < PAIRS_MAX)
		mdb_segment_decode(mdb_segment_encode(pairs, npairs), pairs->id, keep, &npairs);
	REQUIRE(npairs == 0 || npairs == PAIRS_MAX);
	free_all();
	return 0;
}
