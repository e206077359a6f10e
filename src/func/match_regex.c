/*
 * match_regex.c
 *	  Regular expressions that must match all of a text.
 *
 * An expression becomes a program, and all ways through it are followed at once, as by K. Thompson, "Regular
 * expression search algorithm", CACM 11 (1968): the time is that of the text times the program, whatever they are.
 * What is known of matches without running it, their words if there are only some, else what they begin with, is for
 * those who look values up.
 */
#include "func/match_regex.h"

#include <string.h>

#define PROGRAM_MAX 10000 /* instructions */
#define WORDS_MAX   64
#define WORD_MAX    256   /* bytes */
#define CHECK_EVERY 65536 /* steps */

typedef enum Op
{
	OP_CLASS,  /* a character of the set, then the next instruction */
	OP_SPLIT,  /* x and y */
	OP_JUMP,   /* x */
	OP_ASSERT, /* then the next one */
	OP_MATCH
} Op;

typedef struct Instruction
{
	Op op;
	int x;
	int y;
	MdbAssertion assertion;
	const MdbClass *class;
} Instruction;

/* Instructions that wait for the next character. */
typedef struct Threads
{
	int n;
	int *v;
} Threads;

struct MdbRegex
{
	bool utf8;
	void (*check)(void);
	int n;
	Instruction *program;
	int nwords; /* -1 = more than can be told */
	MdbBytes *words;
	MdbBytes prefix;
	Threads now;
	Threads then;
	int *stack;
	uint64_t *seen; /* [n] the step in which an instruction was come to last */
	uint64_t step;
	uint64_t work;
};

/* ---------- words, and what matches begin with ---------- */

typedef struct Words
{
	int n;
	MdbBytes v[WORDS_MAX];
} Words;

static MdbBytes
joined(const MdbMatchMemory *memory, MdbBytes a, const char *p, size_t len)
{
	char *bytes = memory->alloc(memory->arg, a.len + len + 1);

	if (a.len > 0)
		memcpy(bytes, a.p, a.len);
	if (len > 0)
		memcpy(bytes + a.len, p, len);
	return (MdbBytes){bytes, a.len + len};
}

static bool
add_words(Words *w, const Words *more)
{
	if (w->n + more->n > WORDS_MAX)
		return false;
	for (int i = 0; i < more->n; i++)
		w->v[w->n++] = more->v[i];
	return true;
}

/* Each of the words with each character of a set behind it. */
static bool
append_class(const MdbMatchMemory *memory, bool utf8, Words *w, const MdbClass *class)
{
	Words result = {0};

	for (int i = 0; i < w->n; i++)
		for (int r = 0; r < class->n; r++)
			for (uint32_t c = class->v[r].lo; c <= class->v[r].hi; c++)
			{
				char bytes[4];
				size_t n = mdb_rune_encode(utf8, c, bytes);

				if (result.n == WORDS_MAX || w->v[i].len + n > WORD_MAX)
					return false;
				/* What is no character is in no text. */
				if (n > 0)
					result.v[result.n++] = joined(memory, w->v[i], bytes, n);
			}
	*w = result;
	return true;
}

/* Each of the words with all that a node matches behind it; false if that is too much. */
static bool
append_words(const MdbMatchMemory *memory, bool utf8, Words *w, const MdbNode *node)
{
	Words before = *w, result = {0};

	switch (node->kind)
	{
		case MDB_NODE_EMPTY:
			return true;
		case MDB_NODE_CLASS:
			return append_class(memory, utf8, w, node->class);
		case MDB_NODE_ASSERT:
			return false;
		case MDB_NODE_CAT:
			for (const MdbNode *kid = node->kids; kid; kid = kid->next)
				if (!append_words(memory, utf8, w, kid))
					return false;
			return true;
		case MDB_NODE_ALT:
			for (const MdbNode *kid = node->kids; kid; kid = kid->next)
			{
				Words these = before;

				if (!append_words(memory, utf8, &these, kid) || !add_words(&result, &these))
					return false;
			}
			*w = result;
			return true;
		case MDB_NODE_REPEAT:
			if (node->max < 0 || node->max > WORDS_MAX)
				return false;
			for (int i = 0; i <= node->max; i++)
			{
				if (i >= node->min && !add_words(&result, w))
					return false;
				if (i < node->max && !append_words(memory, utf8, w, node->kids))
					return false;
			}
			*w = result;
			return true;
	}
	return false;
}

/* Append to the prefix what all matches of a node begin with; true if that is all of it. */
static bool
append_prefix(bool utf8, const MdbNode *node, char *prefix, size_t *len)
{
	size_t n;

	switch (node->kind)
	{
		case MDB_NODE_EMPTY:
			return true;
		case MDB_NODE_CLASS:
			if (node->class->n != 1 || node->class->v[0].lo != node->class->v[0].hi || *len + 4 > WORD_MAX)
				return false;
			n = mdb_rune_encode(utf8, node->class->v[0].lo, prefix + *len);
			*len += n;
			return n > 0;
		case MDB_NODE_ASSERT:
			return node->assertion == MDB_AT_BEGIN && *len == 0;
		case MDB_NODE_CAT:
			for (const MdbNode *kid = node->kids; kid; kid = kid->next)
				if (!append_prefix(utf8, kid, prefix, len))
					return false;
			return true;
		case MDB_NODE_ALT:
			return false;
		case MDB_NODE_REPEAT:
			for (int i = 0; i < node->min; i++)
				if (!append_prefix(utf8, node->kids, prefix, len))
					return false;
			return node->max == node->min;
	}
	return false;
}

/* Take off what asserts the ends of the text, which a match has anyhow: ^...$. */
static void
take_off_ends(MdbNode *node)
{
	MdbNode **link;

	if (node->kind != MDB_NODE_CAT)
		return;
	while (node->kids && node->kids->kind == MDB_NODE_ASSERT && node->kids->assertion == MDB_AT_BEGIN)
		node->kids = node->kids->next;
	for (link = &node->kids; *link && (*link)->next; link = &(*link)->next)
		;
	if (*link && (*link)->kind == MDB_NODE_ASSERT && (*link)->assertion == MDB_AT_END)
		*link = NULL;
}

static void
find_words(const MdbMatchMemory *memory, MdbRegex *re, const MdbNode *tree)
{
	Words words = {.n = 1, .v = {{"", 0}}};
	char *prefix;

	re->nwords = -1;
	if (append_words(memory, re->utf8, &words, tree))
	{
		re->nwords = words.n;
		re->words = memory->alloc(memory->arg, sizeof(MdbBytes) * (size_t) (words.n + 1));
		memcpy(re->words, words.v, sizeof(MdbBytes) * (size_t) words.n);
		return;
	}
	prefix = memory->alloc(memory->arg, WORD_MAX);
	re->prefix.p = prefix;
	(void) append_prefix(re->utf8, tree, prefix, &re->prefix.len);
}

/* ---------- programs ---------- */

/* So many instructions, or more than there may be. */
static uint64_t
size_of(const MdbNode *node)
{
	uint64_t size = 0;

	switch (node->kind)
	{
		case MDB_NODE_EMPTY:
			break;
		case MDB_NODE_CLASS:
		case MDB_NODE_ASSERT:
			return 1;
		case MDB_NODE_CAT:
		case MDB_NODE_ALT:
			for (const MdbNode *kid = node->kids; kid && size <= PROGRAM_MAX; kid = kid->next)
				size += size_of(kid) + (node->kind == MDB_NODE_ALT && kid->next ? 2 : 0);
			break;
		case MDB_NODE_REPEAT:
			size = size_of(node->kids) + 2;
			size *= (uint64_t) (node->max < 0 ? node->min + 1 : node->max);
			break;
	}
	return size <= PROGRAM_MAX ? size : PROGRAM_MAX + 1;
}

static int
put(MdbRegex *re, Op op)
{
	re->program[re->n].op = op;
	return re->n++;
}

static void
emit(MdbRegex *re, const MdbNode *node)
{
	int at, last, splits[MDB_REPEAT_MAX];

	switch (node->kind)
	{
		case MDB_NODE_EMPTY:
			break;
		case MDB_NODE_CLASS:
			at = put(re, OP_CLASS);
			re->program[at].class = node->class;
			break;
		case MDB_NODE_ASSERT:
			at = put(re, OP_ASSERT);
			re->program[at].assertion = node->assertion;
			break;
		case MDB_NODE_CAT:
			for (const MdbNode *kid = node->kids; kid; kid = kid->next)
				emit(re, kid);
			break;
		case MDB_NODE_ALT:
			/* Jumps to the end are a chain until it is known. */
			last = -1;
			for (const MdbNode *kid = node->kids; kid; kid = kid->next)
			{
				at = kid->next ? put(re, OP_SPLIT) : -1;
				emit(re, kid);
				if (at < 0)
					break;
				re->program[at].x = at + 1;
				re->program[re->n].x = last;
				last = put(re, OP_JUMP);
				re->program[at].y = re->n;
			}
			while (last >= 0)
			{
				at = re->program[last].x;
				re->program[last].x = re->n;
				last = at;
			}
			break;
		case MDB_NODE_REPEAT:
			for (int i = 0; i < node->min; i++)
				emit(re, node->kids);
			if (node->max < 0)
			{
				at = put(re, OP_SPLIT);
				emit(re, node->kids);
				last = put(re, OP_JUMP);
				re->program[last].x = at;
				re->program[at].x = at + 1;
				re->program[at].y = re->n;
				break;
			}
			for (int i = node->min; i < node->max; i++)
			{
				splits[i] = put(re, OP_SPLIT);
				re->program[splits[i]].x = re->n;
				emit(re, node->kids);
			}
			for (int i = node->min; i < node->max; i++)
				re->program[splits[i]].y = re->n;
			break;
	}
}

/*
 * mdb_regex_compile - make an expression ready; NULL: *error says why it cannot be.  utf8 false: of bytes.
 */
MdbRegex *
mdb_regex_compile(const MdbMatchMemory *memory, bool utf8, const char *text, size_t len, MdbMatchError *error)
{
	MdbNode *tree = mdb_regex_parse(memory, utf8, text, len, error);
	MdbRegex *re;
	size_t size;

	if (tree == NULL)
		return NULL;
	size = (size_t) size_of(tree) + 1;
	if (size > PROGRAM_MAX)
	{
		*error =
			(MdbMatchError){0, "the regular expression is too large", "Use smaller numbers of repetitions."};
		return NULL;
	}
	take_off_ends(tree);
	re = memory->alloc(memory->arg, sizeof(MdbRegex));
	memset(re, 0, sizeof(MdbRegex));
	re->utf8 = utf8;
	re->check = memory->check;
	find_words(memory, re, tree);
	if (re->nwords >= 0)
		return re;
	re->program = memory->alloc(memory->arg, size * sizeof(Instruction));
	memset(re->program, 0, size * sizeof(Instruction));
	re->now.v = memory->alloc(memory->arg, size * sizeof(int));
	re->then.v = memory->alloc(memory->arg, size * sizeof(int));
	/* An instruction is put there once in each step, beside the one that it came from. */
	re->stack = memory->alloc(memory->arg, (2 * size + 1) * sizeof(int));
	re->seen = memory->alloc(memory->arg, size * sizeof(uint64_t));
	memset(re->seen, 0, size * sizeof(uint64_t));
	emit(re, tree);
	put(re, OP_MATCH);
	return re;
}

/*
 * mdb_regex_words - all that the expression matches, *n of them, in no order and perhaps some several times; *n is -1
 * if that is too much to be told.
 */
const MdbBytes *
mdb_regex_words(const MdbRegex *re, int *n)
{
	*n = re->nwords;
	return re->words;
}

/*
 * mdb_regex_prefix - what all its matches begin with, if they are more than can be told.
 */
MdbBytes
mdb_regex_prefix(const MdbRegex *re)
{
	return re->prefix;
}

/* ---------- running ---------- */

#define NO_RUNE UINT32_MAX

static bool
is_word(uint32_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Does it hold between two characters?  NO_RUNE: that is an end of the text. */
static bool
holds(MdbAssertion assertion, uint32_t before, uint32_t after)
{
	switch (assertion)
	{
		case MDB_AT_BEGIN:
			return before == NO_RUNE;
		case MDB_AT_END:
			return after == NO_RUNE;
		case MDB_AT_LINE_BEGIN:
			return before == NO_RUNE || before == '\n';
		case MDB_AT_LINE_END:
			return after == NO_RUNE || after == '\n';
		case MDB_AT_WORD:
			return is_word(before) != is_word(after);
		case MDB_NOT_AT_WORD:
			return is_word(before) == is_word(after);
	}
	return false;
}

static bool
has(const MdbClass *class, uint32_t c)
{
	int lo = 0, hi = class->n;

	if (c < 128)
		return (class->ascii[c / 64] >> c % 64) & 1;
	while (lo < hi)
	{
		int mid = lo + (hi - lo) / 2;

		if (class->v[mid].hi < c)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < class->n && class->v[lo].lo <= c;
}

/* Add an instruction, and those that are come to from it without a character; true if one of them is the match. */
static bool
follow(MdbRegex *re, Threads *threads, int start, uint32_t before, uint32_t after)
{
	int depth = 0;
	bool matched = false;

	re->stack[depth++] = start;
	while (depth > 0)
	{
		int at = re->stack[--depth];
		const Instruction *i = &re->program[at];

		if (re->seen[at] == re->step)
			continue;
		re->seen[at] = re->step;
		re->work++;
		switch (i->op)
		{
			case OP_CLASS:
				threads->v[threads->n++] = at;
				break;
			case OP_SPLIT:
				re->stack[depth++] = i->y;
				re->stack[depth++] = i->x;
				break;
			case OP_JUMP:
				re->stack[depth++] = i->x;
				break;
			case OP_ASSERT:
				if (holds(i->assertion, before, after))
					re->stack[depth++] = at + 1;
				break;
			case OP_MATCH:
				matched = true;
				break;
		}
	}
	return matched;
}

/* The character at s, and how many bytes it has; what is none counts as a byte that no set has. */
static size_t
read_rune(const MdbRegex *re, const char *s, size_t len, uint32_t *rune)
{
	size_t n;

	*rune = NO_RUNE;
	if (len == 0)
		return 0;
	n = mdb_rune_decode(re->utf8, s, len, rune);
	if (n == 0)
		*rune = MDB_RUNE_MAX + 1;
	return n > 0 ? n : 1;
}

/*
 * mdb_regex_matches - does it match all of a text?
 */
bool
mdb_regex_matches(MdbRegex *re, const char *s, size_t len)
{
	uint32_t before = NO_RUNE, c, after;
	size_t at = 0, n, next;
	bool matched;

	for (int i = 0; i < re->nwords; i++)
		if (re->words[i].len == len && (len == 0 || memcmp(re->words[i].p, s, len) == 0))
			return true;
	if (re->nwords >= 0 || len < re->prefix.len ||
		(re->prefix.len > 0 && memcmp(s, re->prefix.p, re->prefix.len) != 0))
		return false;
	re->step++;
	re->now.n = 0;
	n = read_rune(re, s, len, &c);
	matched = follow(re, &re->now, 0, before, c);
	while (at < len)
	{
		Threads swap;

		if (re->now.n == 0)
			return false;
		if (re->work >= CHECK_EVERY)
		{
			re->work = 0;
			if (re->check)
				re->check();
		}
		next = read_rune(re, s + at + n, len - at - n, &after);
		re->step++;
		re->then.n = 0;
		matched = false;
		for (int i = 0; i < re->now.n; i++)
			if (has(re->program[re->now.v[i]].class, c))
				matched |= follow(re, &re->then, re->now.v[i] + 1, c, after);
		swap = re->now;
		re->now = re->then;
		re->then = swap;
		at += n;
		n = next;
		c = after;
	}
	return matched;
}
