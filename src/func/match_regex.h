/*
 * match_regex.h
 *	  Regular expressions between their parser and what runs them.
 */
#ifndef MDB_MATCH_REGEX_H
#define MDB_MATCH_REGEX_H

#include "func/match.h"

#define MDB_RUNE_MAX 0x10FFFF

typedef struct MdbRange
{
	uint32_t lo;
	uint32_t hi;
} MdbRange;

/* A set of characters: ranges that rise and do not touch. */
typedef struct MdbClass
{
	int n;
	MdbRange *v;
	uint64_t ascii[2];
} MdbClass;

typedef enum MdbAssertion
{
	MDB_AT_BEGIN,
	MDB_AT_END,
	MDB_AT_LINE_BEGIN,
	MDB_AT_LINE_END,
	MDB_AT_WORD,
	MDB_NOT_AT_WORD
} MdbAssertion;

typedef enum MdbNodeKind
{
	MDB_NODE_EMPTY,
	MDB_NODE_CLASS,
	MDB_NODE_ASSERT,
	MDB_NODE_CAT,
	MDB_NODE_ALT,
	MDB_NODE_REPEAT
} MdbNodeKind;

#define MDB_REPEAT_MAX 1000

typedef struct MdbNode
{
	MdbNodeKind kind;
	const MdbClass *class;
	MdbAssertion assertion;
	int min; /* of REPEAT */
	int max; /* -1 = any number */
	struct MdbNode *kids;
	struct MdbNode *next; /* among its siblings */
} MdbNode;

extern MdbNode *mdb_regex_parse(const MdbMatchMemory *memory, bool utf8, const char *re, size_t len,
								MdbMatchError *error);
extern size_t mdb_rune_decode(bool utf8, const char *s, size_t len, uint32_t *rune);
extern size_t mdb_rune_encode(bool utf8, uint32_t rune, char *dst);

#endif /* MDB_MATCH_REGEX_H */
