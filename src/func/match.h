/*
 * match.h
 *	  Selectors of series as Prometheus has them: name{label="value",other=~"re.*"}.
 *
 * Plain C without PostgreSQL's types, for programs outside of the server, too.  All bytes are UTF-8 unless it is said
 * that they are single-byte characters.
 */
#ifndef MDB_MATCH_H
#define MDB_MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where memory comes from, which lasts as long as what is made in it; alloc never returns NULL. */
typedef struct MdbMatchMemory
{
	void *(*alloc)(void *arg, size_t size);
	void *arg;
	void (*check)(void); /* called now and then by what may take long; may not return */
} MdbMatchMemory;

typedef struct MdbMatchError
{
	size_t at; /* byte of the input, from 0 */
	const char *what;
	const char *hint; /* or NULL */
} MdbMatchError;

typedef struct MdbBytes
{
	const char *p;
	size_t len;
} MdbBytes;

/* ---- match_regex.c ---- */

typedef struct MdbRegex MdbRegex;

extern MdbRegex *mdb_regex_compile(const MdbMatchMemory *memory, bool utf8, const char *re, size_t len,
								   MdbMatchError *error);
extern bool mdb_regex_matches(MdbRegex *re, const char *s, size_t len);
extern const MdbBytes *mdb_regex_words(const MdbRegex *re, int *n);
extern MdbBytes mdb_regex_prefix(const MdbRegex *re);

/* ---- match_selector.c ---- */

#define MDB_MATCH_NAME "__name__" /* the label that is the metric's name */

typedef enum MdbMatchOp
{
	MDB_MATCH_EQUAL,     /* = */
	MDB_MATCH_NOT_EQUAL, /* != */
	MDB_MATCH_REGEX,     /* =~ */
	MDB_MATCH_NOT_REGEX  /* !~ */
} MdbMatchOp;

typedef struct MdbMatcher
{
	MdbBytes label;
	MdbMatchOp op;
	MdbBytes value;
	MdbRegex *re; /* of the last two */
} MdbMatcher;

typedef struct MdbSelector
{
	int n;
	MdbMatcher *v;
} MdbSelector;

extern void *mdb_match_room(const MdbMatchMemory *memory, void *array, int n, size_t size);
extern size_t mdb_string_parse(const MdbMatchMemory *memory, bool utf8, const char *text, size_t len,
							   MdbBytes *value, MdbMatchError *error);
extern MdbSelector *mdb_selector_parse(const MdbMatchMemory *memory, bool utf8, const char *text, size_t len,
									   MdbMatchError *error);
extern bool mdb_is_metric_label(MdbBytes label);
extern bool mdb_matcher_holds(const MdbMatcher *matcher, const char *value, size_t len);

#endif /* MDB_MATCH_H */
