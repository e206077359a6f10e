/*
 * fuzz_promql.c
 *	  Fuzz target: an expression of Prometheus, the values of a series of a test, or YAML, from any bytes.
 *
 * What is parsed lies within its text; an error has a place within it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "alert/promql.h"
#include "alert/yaml_tree.h"

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
look_at(const MdbProm *node, size_t len, int depth)
{
	REQUIRE(node->at <= node->end && node->end <= len);
	REQUIRE(depth <= 2 * MDB_PROM_DEPTH + 2);
	REQUIRE((node->kind == MDB_PROM_SELECTOR) == (node->selector != NULL));
	for (int i = 0; i < node->nargs; i++)
		look_at(node->args[i], len, depth + 1);
}

static void
look_at_yaml(const MdbYaml *node, size_t len, int depth)
{
	REQUIRE(depth <= MDB_YAML_DEPTH * 2);
	REQUIRE(node->kind != MDB_YAML_SCALAR || strlen(node->text.p) == node->text.len);
	/* Aliases make of a tree what is no tree: not all paths are gone. */
	for (int i = 0; i < node->n && depth < 6; i++)
		look_at_yaml(node->values[i], len, depth + 1);
	for (int i = 0; i < node->n && node->kind == MDB_YAML_MAP; i++)
		REQUIRE(node->keys[i]->kind == MDB_YAML_SCALAR);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Piece *pieces = NULL;
	MdbMatchMemory memory = {.alloc = take, .arg = &pieces};
	uint8_t what = size ? data[0] % 4 : 0;
	size_t len = size ? size - 1 : 0;
	/* Of this length exactly, so that a read beyond it is seen. */
	char *text = malloc(len ? len : 1);

	REQUIRE(text != NULL);
	if (len > 0)
		memcpy(text, data + 1, len);
	if (what < 2)
	{
		MdbMatchError error;
		MdbProm *node = mdb_prom_parse(&memory, what == 0, text, len, &error);

		REQUIRE((node == NULL) == (error.what != NULL));
		REQUIRE(node || error.at <= len);
		if (node)
			look_at(node, len, 0);
	}
	else if (what == 2)
	{
		MdbMatchError error;
		MdbPromValues values;
		bool done = mdb_prom_values(&memory, text, len, &values, &error);

		REQUIRE(done == (error.what == NULL));
		REQUIRE(done || error.at <= len);
		REQUIRE(values.n <= MDB_PROM_VALUES_MAX);
	}
	else
	{
		MdbYamlError error;
		MdbYaml **documents;
		int n;
		bool done = mdb_yaml_read(&memory, text, len, &n, &documents, &error);

		REQUIRE(done == (error.what == NULL));
		for (int i = 0; done && i < n; i++)
			look_at_yaml(documents[i], len, 0);
	}
	free(text);
	while (pieces)
	{
		Piece *next = pieces->next;

		free(pieces);
		pieces = next;
	}
	return 0;
}
