/*
 * fuzz_match.c
 *	  Fuzz target: a selector, a zero, and a value, from any bytes.  What is known of an expression without running it
 *	  must be what running it says.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "func/match.h"

#define REQUIRE(x)   \
	do               \
	{                \
		if (!(x))    \
			abort(); \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Piece
{
	struct Piece *next;
	max_align_t bytes[];
} Piece;

static void *
take(void *arg, size_t size)
{
	Piece *piece = malloc(sizeof(Piece) + size);

	REQUIRE(piece != NULL);
	piece->next = *(Piece **) arg;
	*(Piece **) arg = piece;
	return piece->bytes;
}

static void
try_regex(MdbRegex *re, const char *value, size_t len)
{
	int n;
	const MdbBytes *words = mdb_regex_words(re, &n);
	MdbBytes prefix = mdb_regex_prefix(re);
	bool matches = mdb_regex_matches(re, value, len);
	bool is_word = false;

	for (int i = 0; i < n; i++)
	{
		REQUIRE(mdb_regex_matches(re, words[i].p, words[i].len));
		is_word |= words[i].len == len && memcmp(words[i].p, value, len) == 0;
	}
	if (n >= 0)
		REQUIRE(is_word == matches);
	else if (matches)
		REQUIRE(len >= prefix.len && memcmp(value, prefix.p, prefix.len) == 0);
	REQUIRE(mdb_regex_matches(re, value, len) == matches);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Piece *pieces = NULL;
	MdbMatchMemory memory = {.alloc = take, .arg = &pieces};
	bool utf8 = size == 0 || data[0] != 0xff;
	const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
	size_t len = zero ? (size_t) (zero - data) : size;
	char *text = take(&pieces, len + 1);
	size_t value_len = zero ? size - len - 1 : 0;
	char *value = take(&pieces, value_len + 1);
	MdbMatchError error;
	MdbSelector *selector;

	if (len > 0)
		memcpy(text, data, len);
	if (value_len > 0)
		memcpy(value, zero + 1, value_len);
	selector = mdb_selector_parse(&memory, utf8, text, len, &error);
	REQUIRE((selector == NULL) == (error.what != NULL));
	REQUIRE(selector || error.at <= len);
	for (int i = 0; selector && i < selector->n; i++)
	{
		MdbMatcher *m = &selector->v[i];
		MdbMatcher opposite = *m;

		opposite.op ^= 1;
		REQUIRE(mdb_matcher_holds(m, value, value_len) != mdb_matcher_holds(&opposite, value, value_len));
		if (m->re)
			try_regex(m->re, value, value_len);
	}
	while (pieces)
	{
		Piece *next = pieces->next;

		free(pieces);
		pieces = next;
	}
	return 0;
}
