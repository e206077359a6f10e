/*
 * match_regex_parse.c
 *	  The parser of regular expressions, in RE2's syntax as Go has it, but for Unicode's classes.
 *
 * A dot matches a newline, too, unless (?-s) says otherwise, as in Prometheus 3.  Lazy repetition and (?U) decide how
 * a match is found, not whether, and are passed over.  With (?i) ASCII letters match both cases, and K and S the two
 * characters elsewhere in Unicode that are the same letter.
 */
#include "func/match_regex.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 250 /* of groups */

typedef struct Parser
{
	const MdbMatchMemory *memory;
	MdbMatchError *error;
	bool utf8;
	const char *begin;
	const char *p;
	const char *end;
	int depth;
	bool fold;      /* (?i) */
	bool dot_nl;    /* (?s) */
	bool multiline; /* (?m) */
} Parser;

/* A set of characters in the making. */
typedef struct Ranges
{
	int n;
	int cap;
	MdbRange *v;
} Ranges;

static void *
make(Parser *s, size_t size)
{
	return memset(s->memory->alloc(s->memory->arg, size), 0, size);
}

/* Note what is wrong, at which byte; the first is kept. */
static bool
fail(Parser *s, const char *at, const char *what, const char *hint)
{
	if (s->error->what == NULL)
		*s->error = (MdbMatchError){.at = (size_t) (at - s->begin), .what = what, .hint = hint};
	return false;
}

/* ---------- characters ---------- */

/*
 * mdb_rune_decode - the character at s, of which len > 0 bytes follow; its length, or 0 if the bytes are none.
 */
size_t
mdb_rune_decode(bool utf8, const char *s, size_t len, uint32_t *rune)
{
	const unsigned char *b = (const unsigned char *) s;
	static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n;

	*rune = b[0];
	if (b[0] < 0x80 || !utf8)
		return 1;
	n = b[0] >= 0xf0 && b[0] < 0xf8   ? 4
		: b[0] >= 0xe0 && b[0] < 0xf0 ? 3
		: b[0] >= 0xc0 && b[0] < 0xe0 ? 2
									  : 0;
	if (n == 0 || n > len)
		return 0;
	*rune = b[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++)
	{
		if ((b[i] & 0xc0) != 0x80)
			return 0;
		*rune = *rune << 6 | (b[i] & 0x3f);
	}
	return *rune < lowest[n] || *rune > MDB_RUNE_MAX || (*rune >= 0xd800 && *rune < 0xe000) ? 0 : n;
}

/*
 * mdb_rune_encode - the bytes of a character, up to 4; 0 if it has none.
 */
size_t
mdb_rune_encode(bool utf8, uint32_t rune, char *dst)
{
	if (rune < 0x80 || (!utf8 && rune <= 0xff))
	{
		dst[0] = (char) rune;
		return 1;
	}
	if (!utf8 || rune > MDB_RUNE_MAX || (rune >= 0xd800 && rune < 0xe000))
		return 0;
	if (rune < 0x800)
	{
		dst[0] = (char) (0xc0 | rune >> 6);
		dst[1] = (char) (0x80 | (rune & 0x3f));
		return 2;
	}
	if (rune < 0x10000)
	{
		dst[0] = (char) (0xe0 | rune >> 12);
		dst[1] = (char) (0x80 | (rune >> 6 & 0x3f));
		dst[2] = (char) (0x80 | (rune & 0x3f));
		return 3;
	}
	dst[0] = (char) (0xf0 | rune >> 18);
	dst[1] = (char) (0x80 | (rune >> 12 & 0x3f));
	dst[2] = (char) (0x80 | (rune >> 6 & 0x3f));
	dst[3] = (char) (0x80 | (rune & 0x3f));
	return 4;
}

static bool
next_rune(Parser *s, uint32_t *rune)
{
	size_t n = mdb_rune_decode(s->utf8, s->p, (size_t) (s->end - s->p), rune);

	if (n == 0)
		return fail(s, s->p, "the bytes are not UTF-8", NULL);
	s->p += n;
	return true;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int
hex_value(char c)
{
	return is_digit(c)            ? c - '0'
		   : c >= 'a' && c <= 'f' ? c - 'a' + 10
		   : c >= 'A' && c <= 'F' ? c - 'A' + 10
								  : -1;
}

/* ---------- sets of characters ---------- */

static void
add_range(Parser *s, Ranges *r, uint32_t lo, uint32_t hi)
{
	if (r->n == r->cap)
	{
		MdbRange *old = r->v;

		r->cap = r->cap ? r->cap * 2 : 4;
		r->v = make(s, sizeof(MdbRange) * (size_t) r->cap);
		if (r->n > 0)
			memcpy(r->v, old, sizeof(MdbRange) * (size_t) r->n);
	}
	r->v[r->n++] = (MdbRange){lo, hi};
}

static int
range_cmp(const void *a, const void *b)
{
	uint32_t x = ((const MdbRange *) a)->lo, y = ((const MdbRange *) b)->lo;

	return x < y ? -1 : x > y;
}

/* Put ranges in order, and those together that touch. */
static void
settle(Ranges *r)
{
	int n = 0;

	if (r->n > 1)
		qsort(r->v, (size_t) r->n, sizeof(MdbRange), range_cmp);
	for (int i = 0; i < r->n; i++)
		if (n > 0 && r->v[i].lo <= r->v[n - 1].hi + 1)
			r->v[n - 1].hi = r->v[i].hi > r->v[n - 1].hi ? r->v[i].hi : r->v[n - 1].hi;
		else
			r->v[n++] = r->v[i];
	r->n = n;
}

/* Add what differs from a character of the set in case alone. */
static void
fold(Parser *s, Ranges *r)
{
	static const MdbRange letters[2] = {{'A', 'Z'}, {'a', 'z'}};
	int n = r->n;
	bool k = false, long_s = false;

	for (int i = 0; i < n; i++)
	{
		MdbRange range = r->v[i];

		for (int from = 0; from < 2; from++)
		{
			uint32_t lo = range.lo > letters[from].lo ? range.lo : letters[from].lo;
			uint32_t hi = range.hi < letters[from].hi ? range.hi : letters[from].hi;

			if (lo <= hi)
				add_range(s, r, lo ^ 0x20, hi ^ 0x20);
		}
		for (const char *c = "Kk"; *c; c++)
			k |= range.lo <= (uint32_t) *c && (uint32_t) *c <= range.hi;
		for (const char *c = "Ss"; *c; c++)
			long_s |= range.lo <= (uint32_t) *c && (uint32_t) *c <= range.hi;
		if (s->utf8 && range.lo <= 0x212a && range.hi >= 0x212a)
		{
			add_range(s, r, 'K', 'K');
			add_range(s, r, 'k', 'k');
		}
		if (s->utf8 && range.lo <= 0x17f && range.hi >= 0x17f)
		{
			add_range(s, r, 'S', 'S');
			add_range(s, r, 's', 's');
		}
	}
	if (s->utf8 && k)
		add_range(s, r, 0x212a, 0x212a);
	if (s->utf8 && long_s)
		add_range(s, r, 0x17f, 0x17f);
}

/* All other characters. */
static void
negate(Parser *s, Ranges *r)
{
	Ranges result = {0};
	uint32_t from = 0;

	settle(r);
	for (int i = 0; i < r->n; i++)
	{
		if (r->v[i].lo > from)
			add_range(s, &result, from, r->v[i].lo - 1);
		from = r->v[i].hi + 1;
	}
	if (from <= MDB_RUNE_MAX)
		add_range(s, &result, from, MDB_RUNE_MAX);
	*r = result;
}

/* Add a named set: pairs of the first and last characters. */
static void
add_named(Parser *s, Ranges *r, const char *pairs, size_t len, bool negated)
{
	Ranges named = {0};

	for (size_t i = 0; i + 1 < len; i += 2)
		add_range(s, &named, (unsigned char) pairs[i], (unsigned char) pairs[i + 1]);
	if (s->fold)
		fold(s, &named);
	if (negated)
		negate(s, &named);
	for (int i = 0; i < named.n; i++)
		add_range(s, r, named.v[i].lo, named.v[i].hi);
}

/* A letter that stands for a set: \d and the like.  False if it does not. */
static bool
add_perl(Parser *s, Ranges *r, char c)
{
	switch (c)
	{
		case 'd':
		case 'D':
			add_named(s, r, "09", 2, c == 'D');
			return true;
		case 's':
		case 'S':
			add_named(s, r, "\t\n\f\r  ", 6, c == 'S');
			return true;
		case 'w':
		case 'W':
			add_named(s, r, "09AZ__az", 8, c == 'W');
			return true;
	}
	return false;
}

static MdbNode *
make_node(Parser *s, MdbNodeKind kind)
{
	MdbNode *node = make(s, sizeof(MdbNode));

	node->kind = kind;
	return node;
}

static MdbNode *
make_class(Parser *s, Ranges *r)
{
	MdbNode *node = make_node(s, MDB_NODE_CLASS);
	MdbClass *class = make(s, sizeof(MdbClass));

	settle(r);
	class->n = r->n;
	class->v = r->v;
	for (int i = 0; i < r->n; i++)
		for (uint32_t c = r->v[i].lo; c <= r->v[i].hi && c < 128; c++)
			class->ascii[c / 64] |= UINT64_C(1) << c % 64;
	node->class = class;
	return node;
}

static MdbNode *
make_literal(Parser *s, uint32_t rune)
{
	Ranges r = {0};

	add_range(s, &r, rune, rune);
	if (s->fold)
		fold(s, &r);
	return make_class(s, &r);
}

/* ---------- escapes ---------- */

#define HINT_UNICODE \
	"Classes of Unicode's characters are not supported; name the characters, or ranges of them: [a-zà-ÿ]."

/* Behind a backslash: a character.  Fails if there is none that it may stand for. */
static bool
parse_escape(Parser *s, uint32_t *rune)
{
	const char *at = s->p - 1;
	char c;

	if (s->p == s->end)
		return fail(s, at, "there is nothing behind the backslash", NULL);
	c = *s->p++;
	*rune = 0;
	switch (c)
	{
		case 'a':
			*rune = '\a';
			return true;
		case 'f':
			*rune = '\f';
			return true;
		case 'n':
			*rune = '\n';
			return true;
		case 'r':
			*rune = '\r';
			return true;
		case 't':
			*rune = '\t';
			return true;
		case 'v':
			*rune = '\v';
			return true;
		case 'x':
			if (s->p < s->end && *s->p == '{')
			{
				const char *digits = ++s->p;

				while (s->p < s->end && hex_value(*s->p) >= 0 && *rune <= MDB_RUNE_MAX)
					*rune = *rune * 16 + (uint32_t) hex_value(*s->p++);
				if (s->p > digits && s->p < s->end && *s->p == '}' && *rune <= MDB_RUNE_MAX)
				{
					s->p++;
					return true;
				}
			}
			else if (s->end - s->p >= 2 && hex_value(s->p[0]) >= 0 && hex_value(s->p[1]) >= 0)
			{
				*rune = (uint32_t) (hex_value(s->p[0]) * 16 + hex_value(s->p[1]));
				s->p += 2;
				return true;
			}
			return fail(s, at, "there are no two digits, or digits in braces, behind \\x", NULL);
		case 'p':
		case 'P':
			return fail(s, at, "\\p is not supported", HINT_UNICODE);
	}
	if (c >= '0' && c <= '7')
	{
		/* Without another digit it would refer to a group. */
		if (c != '0' && (s->p == s->end || *s->p < '0' || *s->p > '7'))
			return fail(s, at, "references to groups are not supported", NULL);
		*rune = (uint32_t) (c - '0');
		for (int i = 0; i < 2 && s->p < s->end && *s->p >= '0' && *s->p <= '7'; i++)
			*rune = *rune * 8 + (uint32_t) (*s->p++ - '0');
		return true;
	}
	if ((unsigned char) c < 0x80 && !is_digit(c) && !is_letter(c))
	{
		*rune = (unsigned char) c;
		return true;
	}
	return fail(s, at, "this character has no meaning behind a backslash", NULL);
}

/* ---------- sets in brackets ---------- */

/* [:alpha:] and the like, at s->p.  False if it is none; s->error if there is no set of that name. */
static bool
parse_posix(Parser *s, Ranges *r)
{
	static const struct
	{
		const char *name;
		const char *pairs;
		size_t len;
	} sets[] = {{"alnum", "09AZaz", 6},
				{"alpha", "AZaz", 4},
				{"ascii", "\0\x7f", 2},
				{"blank", "\t\t  ", 4},
				{"cntrl", "\0\x1f\x7f\x7f", 4},
				{"digit", "09", 2},
				{"graph", "!~", 2},
				{"lower", "az", 2},
				{"print", " ~", 2},
				{"punct", "!/:@[`{~", 8},
				{"space", "\t\r  ", 4},
				{"upper", "AZ", 2},
				{"word", "09AZ__az", 8},
				{"xdigit", "09AFaf", 6}};
	const char *name = s->p + 2;
	const char *close;
	bool negated;

	if (s->end - s->p < 2 || s->p[0] != '[' || s->p[1] != ':')
		return false;
	for (close = name; close + 1 < s->end && (close[0] != ':' || close[1] != ']'); close++)
		;
	if (close + 1 >= s->end)
		return false;
	negated = *name == '^';
	name += negated;
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		if (strlen(sets[i].name) == (size_t) (close - name) &&
			memcmp(sets[i].name, name, (size_t) (close - name)) == 0)
		{
			add_named(s, r, sets[i].pairs, sets[i].len, negated);
			s->p = close + 2;
			return true;
		}
	return fail(s, s->p, "there is no set of characters with this name", NULL);
}

/* A character of a set. */
static bool
parse_class_rune(Parser *s, uint32_t *rune)
{
	if (s->p < s->end && *s->p == '\\')
	{
		s->p++;
		return parse_escape(s, rune);
	}
	return s->p < s->end && next_rune(s, rune);
}

/* A set, behind its bracket. */
static MdbNode *
parse_class(Parser *s)
{
	const char *open = s->p - 1;
	bool negated = s->p < s->end && *s->p == '^';
	bool first = true;
	Ranges r = {0};

	s->p += negated;
	for (; s->p < s->end && (*s->p != ']' || first); first = false)
	{
		const char *at = s->p;
		uint32_t lo, hi;
		Ranges one = {0};

		if (parse_posix(s, &r))
			continue;
		if (s->error->what)
			return NULL;
		if (s->end - s->p >= 2 && s->p[0] == '\\' && add_perl(s, &r, s->p[1]))
		{
			s->p += 2;
			continue;
		}
		if (!parse_class_rune(s, &lo))
			return NULL;
		hi = lo;
		if (s->end - s->p >= 2 && s->p[0] == '-' && s->p[1] != ']')
		{
			s->p++;
			if (!parse_class_rune(s, &hi))
				return NULL;
			if (hi < lo)
			{
				fail(s, at, "the range of characters ends before it begins", NULL);
				return NULL;
			}
		}
		add_range(s, &one, lo, hi);
		if (s->fold)
			fold(s, &one);
		for (int i = 0; i < one.n; i++)
			add_range(s, &r, one.v[i].lo, one.v[i].hi);
	}
	if (s->p == s->end)
	{
		fail(s, open, "the bracket is not closed", NULL);
		return NULL;
	}
	s->p++;
	if (negated)
		negate(s, &r);
	return make_class(s, &r);
}

/* ---------- expressions ---------- */

static MdbNode *parse_alternatives(Parser *s);

static MdbNode *
make_assertion(Parser *s, MdbAssertion assertion)
{
	MdbNode *node = make_node(s, MDB_NODE_ASSERT);

	node->assertion = assertion;
	return node;
}

/* Flags behind "(?", up to and with the colon or parenthesis; *group: it was a colon. */
static bool
parse_flags(Parser *s, bool *group)
{
	const char *at = s->p - 2;
	bool on = true, any = false;

	for (; s->p < s->end; s->p++)
		switch (*s->p)
		{
			case 'i':
				s->fold = on;
				any = true;
				break;
			case 'm':
				s->multiline = on;
				any = true;
				break;
			case 's':
				s->dot_nl = on;
				any = true;
				break;
			case 'U':
				any = true;
				break;
			case '-':
				if (!on)
					return fail(s, at, "these flags are unknown", NULL);
				on = false;
				any = false;
				break;
			case ':':
			case ')':
				if (!any && (!on || *s->p == ')'))
					return fail(s, at, "these flags are unknown", NULL);
				*group = *s->p++ == ':';
				return true;
			default:
				return fail(s, at, "these flags are unknown",
							"There are i, m, s and U, and no looking around.");
		}
	return fail(s, at, "the parenthesis is not closed", NULL);
}

/* A group, behind its parenthesis; NULL without an error: it was flags alone. */
static MdbNode *
parse_group(Parser *s)
{
	const char *open = s->p - 1;
	bool flags[3] = {s->fold, s->dot_nl, s->multiline};
	bool group = true;
	MdbNode *node;

	if (s->end - s->p >= 2 && s->p[0] == '?')
	{
		s->p++;
		if (*s->p == '<' || (*s->p == 'P' && s->end - s->p >= 2 && s->p[1] == '<'))
		{
			const char *name = s->p += *s->p == 'P' ? 2 : 1;

			while (s->p < s->end && (is_letter(*s->p) || is_digit(*s->p) || *s->p == '_'))
				s->p++;
			if (s->p == name || s->p == s->end || *s->p++ != '>')
			{
				fail(s, open, "the group has no name", NULL);
				return NULL;
			}
		}
		else if (!parse_flags(s, &group) || !group)
			return NULL;
	}
	if (++s->depth > DEPTH_MAX)
	{
		fail(s, open, "groups are nested too deeply", NULL);
		return NULL;
	}
	node = parse_alternatives(s);
	s->depth--;
	if (node == NULL)
		return NULL;
	if (s->p == s->end)
	{
		fail(s, open, "the parenthesis is not closed", NULL);
		return NULL;
	}
	s->p++;
	s->fold = flags[0];
	s->dot_nl = flags[1];
	s->multiline = flags[2];
	return node;
}

/* Digits without a leading zero; -1 if there are none.  Above the limit any number above it. */
static int
parse_count(Parser *s)
{
	const char *at = s->p;
	int n = 0;

	while (s->p < s->end && is_digit(*s->p))
	{
		if (n <= MDB_REPEAT_MAX)
			n = n * 10 + (*s->p - '0');
		s->p++;
	}
	return s->p == at || (s->p - at > 1 && *at == '0') ? -1 : n;
}

/* {n}, {n,} or {n,m} at s->p.  False if it is none of these: the brace stands for itself. */
static bool
parse_repeat(Parser *s, int *min, int *max)
{
	const char *at = s->p++;

	*min = *max = parse_count(s);
	if (*min >= 0 && s->p < s->end && *s->p == ',')
	{
		s->p++;
		*max = s->p < s->end && *s->p == '}' ? -1 : parse_count(s);
		if (*max < 0 && (s->p == s->end || s->p[-1] != ','))
			*min = -1;
	}
	if (*min < 0 || s->p == s->end || *s->p != '}')
	{
		s->p = at;
		return false;
	}
	s->p++;
	return true;
}

/* What stands for itself, a set, or a group; NULL without an error: nothing. */
static MdbNode *
parse_atom(Parser *s)
{
	Ranges r = {0};
	uint32_t rune;
	char c = *s->p++;

	switch (c)
	{
		case '(':
			return parse_group(s);
		case '[':
			return parse_class(s);
		case '.':
			if (!s->dot_nl)
				add_range(s, &r, '\n', '\n');
			negate(s, &r);
			return make_class(s, &r);
		case '^':
			return make_assertion(s, s->multiline ? MDB_AT_LINE_BEGIN : MDB_AT_BEGIN);
		case '$':
			return make_assertion(s, s->multiline ? MDB_AT_LINE_END : MDB_AT_END);
		case '\\':
			break;
		default:
			s->p--;
			return next_rune(s, &rune) ? make_literal(s, rune) : NULL;
	}
	if (s->p < s->end)
	{
		if (add_perl(s, &r, *s->p))
		{
			s->p++;
			return make_class(s, &r);
		}
		switch (*s->p)
		{
			case 'A':
				s->p++;
				return make_assertion(s, MDB_AT_BEGIN);
			case 'z':
				s->p++;
				return make_assertion(s, MDB_AT_END);
			case 'b':
				s->p++;
				return make_assertion(s, MDB_AT_WORD);
			case 'B':
				s->p++;
				return make_assertion(s, MDB_NOT_AT_WORD);
		}
	}
	return parse_escape(s, &rune) ? make_literal(s, rune) : NULL;
}

/* A sequence, up to a bar, the parenthesis that closes the group, or the end. */
static MdbNode *
parse_sequence(Parser *s)
{
	MdbNode *cat = make_node(s, MDB_NODE_CAT);
	MdbNode **tail = &cat->kids;
	MdbNode **last = NULL; /* what a repetition refers to */
	bool repeated = false;
	bool quoted = false;

	while (s->p < s->end && (quoted || (*s->p != '|' && *s->p != ')')))
	{
		const char *at = s->p;
		MdbNode *node;
		int min = 0, max = -1;
		bool repeat = true;
		uint32_t rune;

		if (s->end - s->p >= 2 && s->p[0] == '\\' && s->p[1] == (quoted ? 'E' : 'Q'))
		{
			s->p += 2;
			quoted = !quoted;
			repeated = false;
			continue;
		}
		if (quoted)
		{
			if (!next_rune(s, &rune))
				return NULL;
			last = tail;
			*tail = make_literal(s, rune);
			tail = &(*tail)->next;
			repeated = false;
			continue;
		}
		switch (*s->p)
		{
			case '*':
				s->p++;
				break;
			case '+':
				min = 1;
				s->p++;
				break;
			case '?':
				max = 1;
				s->p++;
				break;
			case '{':
				repeat = parse_repeat(s, &min, &max);
				break;
			default:
				repeat = false;
		}
		if (repeat)
		{
			if (last == NULL)
			{
				fail(s, at, "there is nothing to repeat", NULL);
				return NULL;
			}
			if (repeated)
			{
				fail(s, at, "what is repeated cannot be repeated again", "Put parentheses around it.");
				return NULL;
			}
			if (min > MDB_REPEAT_MAX || max > MDB_REPEAT_MAX || (max >= 0 && min > max))
			{
				fail(s, at, "this is no number of times",
					 "It is at most 1000, and the second not below the first.");
				return NULL;
			}
			if (s->p < s->end && *s->p == '?')
				s->p++;
			node = make_node(s, MDB_NODE_REPEAT);
			node->min = min;
			node->max = max;
			node->kids = *last;
			*last = node;
			tail = &node->next;
			repeated = true;
			continue;
		}
		node = parse_atom(s);
		if (s->error->what)
			return NULL;
		if (node == NULL)
		{
			/* Flags stand between two repetitions of one thing. */
			repeated = false;
			continue;
		}
		last = tail;
		*tail = node;
		tail = &node->next;
		repeated = false;
	}
	return cat;
}

static MdbNode *
parse_alternatives(Parser *s)
{
	MdbNode *alt = make_node(s, MDB_NODE_ALT);
	MdbNode **tail = &alt->kids;

	for (;;)
	{
		if ((*tail = parse_sequence(s)) == NULL)
			return NULL;
		tail = &(*tail)->next;
		if (s->p == s->end || *s->p != '|')
			break;
		s->p++;
	}
	return alt->kids->next ? alt : alt->kids;
}

/*
 * mdb_regex_parse - the tree of an expression; NULL: *error says why.
 */
MdbNode *
mdb_regex_parse(const MdbMatchMemory *memory, bool utf8, const char *re, size_t len, MdbMatchError *error)
{
	Parser s = {.memory = memory,
				.error = error,
				.utf8 = utf8,
				.begin = re,
				.p = re,
				.end = re + len,
				.dot_nl = true};
	MdbNode *node;

	error->what = NULL;
	node = parse_alternatives(&s);
	if (node && s.p < s.end)
		fail(&s, s.p, "there is no parenthesis that this one closes", NULL);
	return error->what ? NULL : node;
}
