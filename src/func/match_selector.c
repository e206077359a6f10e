/*
 * match_selector.c
 *	  The parser of selectors, as Prometheus has them: name{label="value", ...}.
 *
 * What stands before the braces, or in them as a string alone, is a matcher of the label __name__.  Names of labels
 * may be strings, too.  There may be no matcher at all, which Prometheus refuses: {} matches everything.
 */
#include "func/match.h"
#include "func/match_regex.h"

#include <string.h>

typedef struct Parser
{
	const MdbMatchMemory *memory;
	MdbMatchError *error;
	bool utf8;
	const char *begin;
	const char *p;
	const char *end;
	MdbSelector *selector;
} Parser;

static bool
fail(Parser *s, const char *at, const char *what, const char *hint)
{
	*s->error = (MdbMatchError){.at = (size_t) (at - s->begin), .what = what, .hint = hint};
	return false;
}

static bool
at(const Parser *s, char c)
{
	return s->p < s->end && *s->p == c;
}

/* Go behind blanks and comments. */
static void
skip_space(Parser *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r' || *s->p == '#'))
		if (*s->p++ == '#')
			while (s->p < s->end && *s->p != '\n')
				s->p++;
}

/* A name that needs no quotes; empty if there is none. */
static MdbBytes
parse_name(Parser *s, bool colons)
{
	const char *from = s->p;

	while (s->p < s->end && (*s->p == '_' || (colons && *s->p == ':') || (*s->p >= 'a' && *s->p <= 'z') ||
							 (*s->p >= 'A' && *s->p <= 'Z') || (s->p > from && *s->p >= '0' && *s->p <= '9')))
		s->p++;
	return (MdbBytes){from, (size_t) (s->p - from)};
}

/*
 * mdb_match_room - an array of n that has room for one more: at powers of two another one, of the double size.
 */
void *
mdb_match_room(const MdbMatchMemory *memory, void *array, int n, size_t size)
{
	void *more;

	if (n & (n - 1))
		return array;
	more = memory->alloc(memory->arg, size * (size_t) (n ? 2 * n : 1));
	if (n > 0)
		memcpy(more, array, size * (size_t) n);
	return more;
}

/* ---------- strings ---------- */

static int
digit_value(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
		   : c >= 'a' && c <= 'f' ? c - 'a' + 10
		   : c >= 'A' && c <= 'F' ? c - 'A' + 10
								  : 99;
}

/* So many digits of a base. */
static bool
parse_digits(Parser *s, const char *from, int n, int base, uint32_t *value)
{
	*value = 0;
	for (int i = 0; i < n; i++, s->p++)
	{
		if (s->p == s->end || digit_value(*s->p) >= base)
			return fail(s, from, "there are too few digits behind the backslash", NULL);
		*value = *value * (uint32_t) base + (uint32_t) digit_value(*s->p);
	}
	return true;
}

/* Behind a backslash in a string that has this quote: its bytes at *dst. */
static bool
parse_escape(Parser *s, char quote, char **dst)
{
	static const char letters[] = "abfnrtv\\", meant[] = "\a\b\f\n\r\t\v\\";
	const char *from = s->p - 1;
	const char *letter;
	uint32_t value;
	char c;
	size_t n = 1;
	bool is_byte = true;

	if (s->p == s->end)
		return fail(s, from, "there is nothing behind the backslash", NULL);
	c = *s->p++;
	letter = c ? strchr(letters, c) : NULL;
	if (letter || c == quote)
	{
		*(*dst)++ = letter ? meant[letter - letters] : quote;
		return true;
	}
	if (c == 'x')
	{
		if (!parse_digits(s, from, 2, 16, &value))
			return false;
	}
	else if (c == 'u' || c == 'U')
	{
		is_byte = false;
		if (!parse_digits(s, from, c == 'u' ? 4 : 8, 16, &value))
			return false;
	}
	else if (c >= '0' && c <= '7')
	{
		s->p--;
		if (!parse_digits(s, from, 3, 8, &value))
			return false;
		if (value > 255)
			return fail(s, from, "there is no such byte", NULL);
	}
	else
		return fail(
			s, from, "this character has no meaning behind a backslash in a string",
			"Write the backslash twice, or the string between backticks, where it stands for itself.");
	if (value == 0)
		return fail(s, from, "a string cannot have a zero", NULL);
	if (is_byte)
		**dst = (char) value;
	else if ((n = mdb_rune_encode(s->utf8, value, *dst)) == 0)
		return fail(s, from, "there is no such character", NULL);
	*dst += n;
	return true;
}

/* Are these bytes characters? */
static bool
is_text(const Parser *s, const char *p, size_t len)
{
	uint32_t rune;

	for (size_t n; len > 0; p += n, len -= n)
		if ((n = mdb_rune_decode(s->utf8, p, len, &rune)) == 0)
			return false;
	return true;
}

/* A string, at its quote; *plain: its bytes are those between the quotes. */
static bool
parse_string(Parser *s, MdbBytes *value, bool *plain)
{
	const char *from = s->p;
	char quote = *s->p++;
	char *dst = s->memory->alloc(s->memory->arg, (size_t) (s->end - s->p) + 1);

	value->p = dst;
	*plain = true;
	while (s->p < s->end && *s->p != quote && (quote == '`' || *s->p != '\n'))
	{
		char c = *s->p++;

		if (c != '\\' || quote == '`')
			*dst++ = c;
		else
		{
			*plain = false;
			if (!parse_escape(s, quote, &dst))
				return false;
		}
	}
	if (!at(s, quote))
		return fail(s, from, "the string is not closed", NULL);
	s->p++;
	value->len = (size_t) (dst - value->p);
	if (!is_text(s, value->p, value->len))
		return fail(s, from, "the bytes of the string are not UTF-8", NULL);
	return true;
}

/*
 * mdb_string_parse - the string that a text begins with, at its quote; returns of how many bytes it is, quotes and all,
 * 0: *error says why it is none.
 */
size_t
mdb_string_parse(const MdbMatchMemory *memory, bool utf8, const char *text, size_t len, MdbBytes *value,
				 MdbMatchError *error)
{
	Parser s = {.memory = memory, .error = error, .utf8 = utf8, .begin = text, .p = text, .end = text + len};
	bool plain;

	return parse_string(&s, value, &plain) ? (size_t) (s.p - text) : 0;
}

/* ---------- matchers ---------- */

static MdbMatcher *
add_matcher(Parser *s)
{
	MdbSelector *sel = s->selector;

	sel->v = mdb_match_room(s->memory, sel->v, sel->n, sizeof(MdbMatcher));
	memset(&sel->v[sel->n], 0, sizeof(MdbMatcher));
	return &sel->v[sel->n++];
}

static void
add_metric(Parser *s, MdbBytes name)
{
	*add_matcher(s) = (MdbMatcher){.label = {MDB_MATCH_NAME, strlen(MDB_MATCH_NAME)}, .value = name};
}

static bool
parse_op(Parser *s, MdbMatchOp *op)
{
	char a = s->p < s->end ? s->p[0] : 0;
	char b = s->end - s->p >= 2 ? s->p[1] : 0;

	if ((a == '=' || a == '!') && b == '~')
		*op = a == '=' ? MDB_MATCH_REGEX : MDB_MATCH_NOT_REGEX;
	else if (a == '!' && b == '=')
		*op = MDB_MATCH_NOT_EQUAL;
	else if (a == '=')
		*op = MDB_MATCH_EQUAL;
	else
		return false;
	s->p += *op == MDB_MATCH_EQUAL ? 1 : 2;
	return true;
}

/*
 * mdb_is_metric_label - is a label the metric's name?
 */
bool
mdb_is_metric_label(MdbBytes label)
{
	return label.len == strlen(MDB_MATCH_NAME) && memcmp(label.p, MDB_MATCH_NAME, label.len) == 0;
}

/* What stands between commas; *metric: the name of the metric is known. */
static bool
parse_matcher(Parser *s, bool *metric)
{
	const char *from = s->p;
	MdbMatcher *matcher;
	MdbBytes label, value;
	MdbMatchOp op;
	bool quoted = at(s, '"') || at(s, '\'') || at(s, '`');
	bool plain;
	const char *string;

	if (quoted)
	{
		if (!parse_string(s, &label, &plain))
			return false;
	}
	else
		label = parse_name(s, false);
	if (!quoted && label.len == 0)
		return fail(s, from, "there is no name of a label", "Names with other characters stand in quotes.");
	skip_space(s);
	if (!parse_op(s, &op))
	{
		if (!quoted || s->p == s->end || (*s->p != ',' && *s->p != '}'))
			return fail(s, s->p, "there is none of the operators =, !=, =~ and !~", NULL);
		if (*metric)
			return fail(s, from, "the name of the metric is given twice", NULL);
		*metric = true;
		add_metric(s, label);
		return true;
	}
	if (*metric && mdb_is_metric_label(label))
		return fail(s, from, "the name of the metric is given twice", NULL);
	skip_space(s);
	string = s->p;
	if (!at(s, '"') && !at(s, '\'') && !at(s, '`'))
		return fail(s, s->p, "there is no string behind the operator",
					"Strings stand in quotes: job=\"api\".");
	if (!parse_string(s, &value, &plain))
		return false;
	matcher = add_matcher(s);
	*matcher = (MdbMatcher){.label = label, .op = op, .value = value};
	if (op != MDB_MATCH_REGEX && op != MDB_MATCH_NOT_REGEX)
		return true;
	matcher->re = mdb_regex_compile(s->memory, s->utf8, value.p, value.len, s->error);
	if (matcher->re)
		return true;
	/* Where the error is in the string is known unless there are escapes before it. */
	s->error->at = (size_t) (string - s->begin) + (plain ? 1 + s->error->at : 0);
	return false;
}

/* The braces and what is in them. */
static bool
parse_braces(Parser *s, bool metric)
{
	s->p++;
	for (;;)
	{
		skip_space(s);
		if (at(s, '}'))
			break;
		if (s->p == s->end)
			return fail(s, s->p, "the brace is not closed", NULL);
		if (!parse_matcher(s, &metric))
			return false;
		skip_space(s);
		if (at(s, ','))
			s->p++;
		else if (!at(s, '}'))
			return fail(s, s->p,
						s->p == s->end ? "the brace is not closed"
									   : "there is neither a comma nor the brace's end",
						NULL);
	}
	s->p++;
	return true;
}

/*
 * mdb_selector_parse - a text to matchers, all of which must hold; NULL: *error says why not.  utf8 false: characters
 * are bytes.
 */
MdbSelector *
mdb_selector_parse(const MdbMatchMemory *memory, bool utf8, const char *text, size_t len,
				   MdbMatchError *error)
{
	Parser s = {.memory = memory, .error = error, .utf8 = utf8, .begin = text, .p = text, .end = text + len};
	MdbBytes name;

	memset(error, 0, sizeof(MdbMatchError));
	s.selector = memory->alloc(memory->arg, sizeof(MdbSelector));
	memset(s.selector, 0, sizeof(MdbSelector));
	skip_space(&s);
	name = parse_name(&s, true);
	if (name.len > 0)
		add_metric(&s, name);
	skip_space(&s);
	if (name.len == 0 && !at(&s, '{'))
		return fail(&s, s.p, "there is neither the name of a metric nor a brace", "Write {label=\"value\"}."),
			   NULL;
	if (at(&s, '{') && !parse_braces(&s, name.len > 0))
		return NULL;
	skip_space(&s);
	if (s.p < s.end)
		return fail(&s, s.p, "there is something behind the selector",
					"A selector has no range, no offset and no function around it."),
			   NULL;
	return s.selector;
}

/*
 * mdb_matcher_holds - does it hold for the value of its label, which is empty if there is none?
 */
bool
mdb_matcher_holds(const MdbMatcher *matcher, const char *value, size_t len)
{
	switch (matcher->op)
	{
		case MDB_MATCH_EQUAL:
		case MDB_MATCH_NOT_EQUAL:
			return (len == matcher->value.len && (len == 0 || memcmp(value, matcher->value.p, len) == 0)) ==
				   (matcher->op == MDB_MATCH_EQUAL);
		case MDB_MATCH_REGEX:
		case MDB_MATCH_NOT_REGEX:
			return mdb_regex_matches(matcher->re, value, len) == (matcher->op == MDB_MATCH_REGEX);
	}
	return false;
}
