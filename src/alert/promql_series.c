/*
 * promql_series.c
 *	  The values of a series of a unit test, as promtool has them: 1+2x5 _x3 stale NaN -Inf.
 *
 * a+bxn is n+1 values, each by b more than the one before; axn likewise n+1 times the same; _ is no value, _xn so many;
 * stale is the marker of a series' end.  They stand between blanks.
 */
#include "alert/promql.h"

#include <ctype.h>
#include <string.h>

typedef struct Reader
{
	const MdbMatchMemory *memory;
	MdbMatchError *error;
	const char *begin;
	const char *p;
	const char *end;
	MdbPromValues *values;
} Reader;

static bool
fail(Reader *s, const char *at, const char *what)
{
	return mdb_prom_fail(s->memory, s->error, (size_t) (at - s->begin), NULL, "%s", what);
}

static bool
put(Reader *s, double v, bool missing)
{
	MdbPromValues *values = s->values;

	if (values->n >= MDB_PROM_VALUES_MAX)
		return fail(s, s->p, "the series has too many values");
	values->v = mdb_match_room(s->memory, values->v, (int) values->n, sizeof(double));
	values->missing = mdb_match_room(s->memory, values->missing, (int) values->n, sizeof(bool));
	values->v[values->n] = v;
	values->missing[values->n++] = missing;
	return true;
}

static bool
at(const Reader *s, char c)
{
	return s->p < s->end && *s->p == c;
}

/* A number, which may be NaN or Inf, up to where something else begins. */
static bool
read_number(Reader *s, double *value)
{
	const char *from = s->p;

	if (s->p < s->end && isalpha((unsigned char) *s->p))
		while (s->p < s->end && isalpha((unsigned char) *s->p) && *s->p != 'x')
			s->p++;
	else
		while (s->p < s->end &&
			   (isdigit((unsigned char) *s->p) || *s->p == '.' || *s->p == 'e' || *s->p == 'E' ||
				((*s->p == '+' || *s->p == '-') && s->p > from && (s->p[-1] == 'e' || s->p[-1] == 'E'))))
			s->p++;
	return mdb_prom_number(from, (size_t) (s->p - from), value) || fail(s, from, "there is no number");
}

/* xn, or nothing: 0. */
static bool
read_times(Reader *s, size_t *times)
{
	const char *from = s->p;

	*times = 0;
	if (!at(s, 'x'))
		return true;
	for (s->p++; s->p < s->end && isdigit((unsigned char) *s->p); s->p++)
		if ((*times = *times * 10 + (size_t) (*s->p - '0')) > MDB_PROM_VALUES_MAX)
			return fail(s, from, "the series has too many values");
	return s->p > from + 1 || fail(s, from, "there is no number of times behind the x");
}

/* What stands between blanks. */
static bool
read_item(Reader *s)
{
	double value, step = 0;
	size_t times;
	bool minus = at(s, '-');

	if (at(s, '_'))
	{
		bool once = (s->p++, !at(s, 'x'));

		if (!read_times(s, &times))
			return false;
		for (size_t i = 0; i < (once ? 1 : times); i++)
			if (!put(s, 0, true))
				return false;
		return true;
	}
	if (s->end - s->p >= 5 && memcmp(s->p, "stale", 5) == 0)
	{
		uint64_t bits = MDB_PROM_STALE;

		memcpy(&value, &bits, sizeof(value));
		s->p += 5;
		return put(s, value, false);
	}
	if (minus || at(s, '+'))
		s->p++;
	if (!read_number(s, &value))
		return false;
	value = minus ? -value : value;
	if (at(s, '+') || at(s, '-'))
	{
		minus = *s->p++ == '-';
		if (!read_number(s, &step))
			return false;
		step = minus ? -step : step;
		if (!at(s, 'x'))
			return fail(s, s->p, "there is no x and a number of times behind the step");
	}
	if (!read_times(s, &times))
		return false;
	/* Added up, as promtool does. */
	for (size_t i = 0; i <= times; i++, value += step)
		if (!put(s, value, false))
			return false;
	return true;
}

/*
 * mdb_prom_values - a text to values; false: *error says why not.
 */
bool
mdb_prom_values(const MdbMatchMemory *memory, const char *text, size_t len, MdbPromValues *values,
				MdbMatchError *error)
{
	Reader s = {
		.memory = memory, .error = error, .begin = text, .p = text, .end = text + len, .values = values};

	memset(error, 0, sizeof(MdbMatchError));
	memset(values, 0, sizeof(MdbPromValues));
	for (;;)
	{
		while (s.p < s.end && isspace((unsigned char) *s.p))
			s.p++;
		if (s.p == s.end)
			return true;
		if (!read_item(&s))
			return false;
		if (s.p < s.end && !isspace((unsigned char) *s.p))
			return fail(&s, s.p, "this is no part of a series' values");
	}
}
