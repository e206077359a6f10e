/*
 * promql_lex.c
 *	  Tokens of expressions of Prometheus.
 *
 * As its lexer has them: names may have colons; a number that has a unit behind it is a duration; comments go from # to
 * the end of the line.  What keywords mean is the parser's affair, as they may be names, too.
 */
#include "alert/promql.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * mdb_prom_fail - an error at a byte of the input; returns false.  The first one counts.
 */
bool
mdb_prom_fail(const MdbMatchMemory *memory, MdbMatchError *error, size_t at, const char *hint,
			  const char *format, ...)
{
	va_list args;
	char buf[200];
	size_t len;
	char *what;

	if (error->what)
		return false;
	va_start(args, format);
	vsnprintf(buf, sizeof(buf), format, args);
	va_end(args);
	len = strlen(buf);
	/* What was cut ends with a character. */
	while (len == sizeof(buf) - 1 && len > 0 && ((unsigned char) buf[len - 1] & 0xc0) == 0x80)
		len--;
	if (len < strlen(buf))
		len--;
	what = memory->alloc(memory->arg, len + 1);
	memcpy(what, buf, len);
	what[len] = '\0';
	*error = (MdbMatchError){.at = at, .what = what, .hint = hint};
	return false;
}

/*
 * mdb_bytes_are - are these bytes this text, whatever the case of its letters?
 */
bool
mdb_bytes_are(MdbBytes bytes, const char *text)
{
	if (bytes.len != strlen(text))
		return false;
	for (size_t i = 0; i < bytes.len; i++)
		if (tolower((unsigned char) bytes.p[i]) != (unsigned char) text[i])
			return false;
	return true;
}

/*
 * mdb_prom_is - is the token this operator, bracket or keyword?
 */
bool
mdb_prom_is(const MdbPromLexer *s, const char *text)
{
	return (s->token == MDB_TOK_OP || s->token == MDB_TOK_NAME) && mdb_bytes_are(s->text, text);
}

static bool
is_name_char(char c, bool first)
{
	return c == '_' || c == ':' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		   (!first && c >= '0' && c <= '9');
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* How many bytes are a number. */
static size_t
number_length(const char *p, const char *end, bool hex)
{
	const char *from = p;
	bool digits = false;

	if (hex && end - p > 2 && p[0] == '0' && (p[1] == 'x' || p[1] == 'X') && isxdigit((unsigned char) p[2]))
	{
		for (p += 2; p < end && isxdigit((unsigned char) *p); p++)
			;
		return (size_t) (p - from);
	}
	for (; p < end && is_digit(*p); p++)
		digits = true;
	if (p < end && *p == '.')
		for (p++; p < end && is_digit(*p); p++)
			digits = true;
	if (!digits)
		return 0;
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		const char *exponent = p + 1;

		if (exponent < end && (*exponent == '+' || *exponent == '-'))
			exponent++;
		if (exponent < end && is_digit(*exponent))
		{
			for (p = exponent; p < end && is_digit(*p); p++)
				;
		}
	}
	return (size_t) (p - from);
}

/*
 * mdb_prom_number - all of a text as a number: decimal, hexadecimal, Inf or NaN, without a sign.
 */
bool
mdb_prom_number(const char *text, size_t len, double *value)
{
	MdbBytes all = {text, len};
	char buf[400];

	if (mdb_bytes_are(all, "inf") || mdb_bytes_are(all, "nan"))
	{
		*value = tolower((unsigned char) text[0]) == 'i' ? INFINITY : NAN;
		return true;
	}
	if (len == 0 || len >= sizeof(buf) || number_length(text, text + len, true) != len)
		return false;
	memcpy(buf, text, len);
	buf[len] = '\0';
	*value = strtod(buf, NULL);
	return true;
}

/*
 * mdb_prom_duration - all of a text as a duration: 1h30m, largest units first, years of 365 days; or 0.
 */
bool
mdb_prom_duration(const char *text, size_t len, int64_t *ms)
{
	static const struct
	{
		const char *unit;
		int64_t ms;
	} units[] = {{"y", INT64_C(365) * 86400000},
				 {"w", INT64_C(7) * 86400000},
				 {"d", 86400000},
				 {"h", 3600000},
				 {"m", 60000},
				 {"s", 1000},
				 {"ms", 1}};
	const char *p = text, *end = text + len;
	int next = 0;

	*ms = 0;
	if (len == 1 && text[0] == '0')
		return true;
	if (len == 0)
		return false;
	while (p < end)
	{
		int64_t n = 0;
		const char *digits = p;
		size_t unit_len = 0;

		/* Ten years and more in milliseconds are far from an overflow. */
		for (; p < end && is_digit(*p) && n < INT64_C(100000000000); p++)
			n = n * 10 + (*p - '0');
		if (p == digits)
			return false;
		while (p + unit_len < end && isalpha((unsigned char) p[unit_len]))
			unit_len++;
		while (next < 7 &&
			   !(strlen(units[next].unit) == unit_len && memcmp(units[next].unit, p, unit_len) == 0))
			next++;
		if (next == 7 || __builtin_mul_overflow(n, units[next].ms, &n) ||
			__builtin_add_overflow(*ms, n, ms) || *ms > INT64_C(100) * 365 * 86400000)
			return false;
		next++;
		p += unit_len;
	}
	return true;
}

static void
skip_space(MdbPromLexer *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r' || *s->p == '#'))
		if (*s->p++ == '#')
			while (s->p < s->end && *s->p != '\n')
				s->p++;
}

static void
bad_token(MdbPromLexer *s, const char *at, const char *what)
{
	mdb_prom_fail(s->memory, s->error, (size_t) (at - s->begin), NULL, "%s", what);
	s->token = MDB_TOK_BAD;
}

/* A number, or a duration if it has units. */
static void
next_number(MdbPromLexer *s)
{
	const char *from = s->p;
	size_t len = number_length(s->p, s->end, true);

	s->p += len;
	if (s->p == s->end || !is_name_char(*s->p, false))
	{
		s->token = MDB_TOK_NUMBER;
		s->text = (MdbBytes){from, len};
		if (!mdb_prom_number(from, len, &s->number))
			bad_token(s, from, "the number is too long");
		return;
	}
	while (s->p < s->end && is_name_char(*s->p, false) && *s->p != ':')
		s->p++;
	s->text = (MdbBytes){from, (size_t) (s->p - from)};
	s->token = MDB_TOK_DURATION;
	if (!mdb_prom_duration(from, s->text.len, &s->duration))
		bad_token(s, from, "this is neither a number nor a duration");
}

/*
 * mdb_prom_next - the next token.
 */
void
mdb_prom_next(MdbPromLexer *s)
{
	static const char *const ops[] = {"==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "^", "<",
									  ">",  "(",  ")",  "{",  "}", "[", "]", ",", ":", "@"};
	const char *from;

	if (s->token == MDB_TOK_BAD)
		return;
	skip_space(s);
	from = s->p;
	s->text = (MdbBytes){from, 0};
	if (from == s->end)
	{
		s->token = MDB_TOK_END;
		return;
	}
	if (*from == '"' || *from == '\'' || *from == '`')
	{
		size_t len =
			mdb_string_parse(s->memory, s->utf8, from, (size_t) (s->end - from), &s->string, s->error);

		s->token = len > 0 ? MDB_TOK_STRING : MDB_TOK_BAD;
		if (len == 0)
			s->error->at += (size_t) (from - s->begin);
		s->text.len = len;
		s->p += len;
		return;
	}
	if (is_digit(*from) || (*from == '.' && s->end - from > 1 && is_digit(from[1])))
	{
		next_number(s);
		return;
	}
	/* A colon alone stands between a range and a step. */
	if (is_name_char(*from, true) && (*from != ':' || (s->end - from > 1 && is_name_char(from[1], true))))
	{
		while (s->p < s->end && is_name_char(*s->p, false))
			s->p++;
		s->text.len = (size_t) (s->p - from);
		s->token = MDB_TOK_NAME;
		return;
	}
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
	{
		size_t len = strlen(ops[i]);

		if ((size_t) (s->end - from) >= len && memcmp(from, ops[i], len) == 0)
		{
			s->text.len = len;
			s->p += len;
			s->token = MDB_TOK_OP;
			return;
		}
	}
	bad_token(s, from, "this character is none of an expression");
}
