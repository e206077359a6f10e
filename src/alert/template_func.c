/*
 * template_func.c
 *	  The functions of templates: those of Prometheus (template/template.go) and of Go's text/template, as far as they
 *	  need nothing but their arguments.  They print what these print.
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "catalog/pg_collation.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/formatting.h"
#include "utils/timestamp.h"

#include "alert/alert.h"
#include "alert/template.h"

typedef MdbTemplateValue Value;

MdbTemplateValue
mdb_template_of_text(const char *text)
{
	return (Value){.kind = MDB_TEMPLATE_TEXT, .text = text};
}

static Value
of_boolean(bool b)
{
	return (Value){.kind = MDB_TEMPLATE_BOOLEAN, .boolean = b};
}

/* A template may name a label very often: of one that is longer it sees as much, and nothing of more labels than this. */
#define LABEL_SHOWN  (16 * 1024)
#define LABELS_SHOWN (64 * 1024)

/*
 * mdb_template_label - the value of a label, empty if there is none.
 */
const char *
mdb_template_label(const Jsonb *labels, const char *name)
{
	JsonbValue v;
	const char *value;

	if (labels == NULL || !JB_ROOT_IS_OBJECT(labels) ||
		getKeyJsonValueFromContainer(unconstify(JsonbContainer *, &labels->root), name, strlen(name), &v) ==
			NULL)
		return "";
	if (v.type == jbvString && v.val.string.len > LABEL_SHOWN)
		v.val.string.len = pg_mbcliplen(v.val.string.val, v.val.string.len, LABEL_SHOWN);
	value = v.type == jbvBinary ? NULL : mdb_json_scalar(&v);
	return value ? value : "";
}

/* ---- numbers as Go prints them ---- */

static const char *
not_finite(double v)
{
	return isnan(v) ? "NaN" : v > 0 ? "+Inf" : "-Inf";
}

/* %v and %g: the fewest digits that read back as the number; an exponent below -4, and from 6 on */
static char *
shortest(double v)
{
	char digits[DOUBLE_SHORTEST_DECIMAL_LEN];
	char buf[DOUBLE_SHORTEST_DECIMAL_LEN];
	StringInfoData out;
	int n = 0;
	int point = 0; /* digits before it */
	bool fraction = false;
	char *p = buf;

	initStringInfo(&out);
	if (isnan(v) || isinf(v))
		return pstrdup(not_finite(v));
	double_to_shortest_decimal_buf(fabs(v), buf);
	for (; *p && *p != 'e'; p++)
	{
		if (*p == '.')
			fraction = true;
		else
		{
			if (n > 0 || *p != '0')
				digits[n++] = *p;
			if (!fraction ? n > 0 : n == 0)
				point += fraction ? -1 : 1;
		}
	}
	if (*p == 'e')
		point += atoi(p + 1);
	while (n > 0 && digits[n - 1] == '0')
		n--;
	if (signbit(v))
		appendStringInfoChar(&out, '-');
	if (n == 0)
		appendStringInfoChar(&out, '0');
	else if (point - 1 < -4 || point - 1 >= 6)
	{
		appendStringInfo(&out, "%c%s%.*se%c%02d", digits[0], n > 1 ? "." : "", n - 1, digits + 1,
						 point - 1 < 0 ? '-' : '+', abs(point - 1));
	}
	else if (point <= 0)
	{
		appendStringInfoString(&out, "0.");
		for (int i = point; i < 0; i++)
			appendStringInfoChar(&out, '0');
		appendBinaryStringInfo(&out, digits, n);
	}
	else
	{
		for (int i = 0; i < Max(n, point); i++)
		{
			if (i == point)
				appendStringInfoChar(&out, '.');
			appendStringInfoChar(&out, i < n ? digits[i] : '0');
		}
	}
	return out.data;
}

static char *
four_digits(double v, const char *unit)
{
	return psprintf("%s%s", isnan(v) || isinf(v) ? not_finite(v) : psprintf("%.4g", v), unit);
}

/*
 * mdb_template_text - a value as it is printed.
 */
const char *
mdb_template_text(const Value *v)
{
	switch (v->kind)
	{
		case MDB_TEMPLATE_TEXT:
			return v->text;
		case MDB_TEMPLATE_NUMBER:
			return shortest(v->number);
		case MDB_TEMPLATE_BOOLEAN:
			return v->boolean ? "true" : "false";
		case MDB_TEMPLATE_LABELS:
			if (v->labels && VARSIZE(v->labels) > LABELS_SHOWN)
				return "{...}";
			return v->labels ? JsonbToCString(NULL, unconstify(JsonbContainer *, &v->labels->root),
											  VARSIZE(v->labels))
							 : "{}";
		case MDB_TEMPLATE_ROOT:
			break;
	}
	return "";
}

/*
 * mdb_template_truth - what is empty or zero does not hold.
 */
bool
mdb_template_truth(const Value *v)
{
	switch (v->kind)
	{
		case MDB_TEMPLATE_TEXT:
			return v->text[0] != '\0';
		case MDB_TEMPLATE_NUMBER:
			return v->number != 0;
		case MDB_TEMPLATE_BOOLEAN:
			return v->boolean;
		case MDB_TEMPLATE_LABELS:
			return v->labels != NULL && JB_ROOT_COUNT(v->labels) > 0;
		case MDB_TEMPLATE_ROOT:
			break;
	}
	return true;
}

/* A number, or a text that is one. */
static bool
number_of(const Value *v, double *number)
{
	char *end;

	if (v->kind == MDB_TEMPLATE_NUMBER)
	{
		*number = v->number;
		return true;
	}
	if (v->kind != MDB_TEMPLATE_TEXT || v->text[0] == '\0')
		return false;
	*number = strtod(v->text, &end);
	return *end == '\0';
}

/* ---- humanize ---- */

static const char *const smaller[] = {"m", "u", "n", "p", "f", "a", "z", "y"};

static const char *
scale_down(double *v)
{
	const char *prefix = "";

	for (int i = 0; i < lengthof(smaller) && fabs(*v) < 1; i++)
	{
		prefix = smaller[i];
		*v *= 1000;
	}
	return prefix;
}

static const char *
scale_up(double *v, double base, const char *const *prefixes)
{
	const char *prefix = "";

	for (int i = 0; i < 8 && fabs(*v) >= base; i++)
	{
		prefix = prefixes[i];
		*v /= base;
	}
	return prefix;
}

static Value
humanize(const Value *args, int n)
{
	static const char *const larger[] = {"k", "M", "G", "T", "P", "E", "Z", "Y"};
	double v;
	const char *prefix = "";

	if (!number_of(&args[0], &v))
		return args[0];
	if (v != 0 && !isnan(v) && !isinf(v))
		prefix = fabs(v) >= 1 ? scale_up(&v, 1000, larger) : scale_down(&v);
	return mdb_template_of_text(four_digits(v, prefix));
}

static Value
humanize1024(const Value *args, int n)
{
	static const char *const larger[] = {"ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"};
	double v;
	const char *prefix = "";

	if (!number_of(&args[0], &v))
		return args[0];
	if (fabs(v) > 1 && !isinf(v))
		prefix = scale_up(&v, 1024, larger);
	return mdb_template_of_text(four_digits(v, prefix));
}

static Value
humanize_duration(const Value *args, int n)
{
	double v;
	const char *prefix;
	const char *sign;
	int64 whole;
	int s, m, h;

	if (!number_of(&args[0], &v))
		return args[0];
	if (isnan(v) || isinf(v))
		return mdb_template_of_text(four_digits(v, ""));
	if (v == 0)
		return mdb_template_of_text("0s");
	if (fabs(v) < 1)
	{
		prefix = scale_down(&v);
		return mdb_template_of_text(four_digits(v, psprintf("%ss", prefix)));
	}
	sign = v < 0 ? "-" : "";
	v = fabs(v);
	whole = v < 9e18 ? (int64) v : PG_INT64_MAX;
	s = (int) (whole % 60);
	m = (int) (whole / 60 % 60);
	h = (int) (whole / 3600 % 24);
	if (whole >= 86400)
		return mdb_template_of_text(
			psprintf("%s" INT64_FORMAT "d %dh %dm %ds", sign, whole / 86400, h, m, s));
	if (h > 0)
		return mdb_template_of_text(psprintf("%s%dh %dm %ds", sign, h, m, s));
	if (m > 0)
		return mdb_template_of_text(psprintf("%s%dm %ds", sign, m, s));
	return mdb_template_of_text(psprintf("%s%.4gs", sign, v));
}

static Value
humanize_percentage(const Value *args, int n)
{
	double v;

	return number_of(&args[0], &v) ? mdb_template_of_text(four_digits(v * 100, "%")) : args[0];
}

/* Seconds since 1970, to the millisecond. */
static Value
humanize_timestamp(const Value *args, int n)
{
	double v;
	int64 ms;
	struct pg_tm tm;
	fsec_t fsec;
	StringInfoData out;

	if (!number_of(&args[0], &v))
		return args[0];
	if (isnan(v) || isinf(v) || fabs(v) > 2e11)
		return mdb_template_of_text(four_digits(v, ""));
	ms = (int64) floor(v * 1000);
	if (timestamp2tm(ms * 1000 - (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY, NULL, &tm,
					 &fsec, NULL, NULL) != 0)
		return mdb_template_of_text(four_digits(v, ""));
	initStringInfo(&out);
	appendStringInfo(&out, "%04d-%02d-%02d %02d:%02d:%02d", tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour,
					 tm.tm_min, tm.tm_sec);
	if (fsec != 0)
	{
		appendStringInfo(&out, ".%03d", (int) fsec / 1000);
		while (out.data[out.len - 1] == '0')
			out.data[--out.len] = '\0';
	}
	appendStringInfoString(&out, " +0000 UTC");
	return mdb_template_of_text(out.data);
}

/* ---- texts ---- */

static Value
to_upper(const Value *args, int n)
{
	const char *s = mdb_template_text(&args[0]);

	return mdb_template_of_text(str_toupper(s, strlen(s), DEFAULT_COLLATION_OID));
}

static Value
to_lower(const Value *args, int n)
{
	const char *s = mdb_template_text(&args[0]);

	return mdb_template_of_text(str_tolower(s, strlen(s), DEFAULT_COLLATION_OID));
}

/* The first letter of each word, of ASCII. */
static Value
title(const Value *args, int n)
{
	char *s = pstrdup(mdb_template_text(&args[0]));
	bool within = false;

	for (char *p = s; *p; p++)
	{
		if (!within)
			*p = (char) pg_ascii_toupper((unsigned char) *p);
		within = *p == '\'' || *p == '_' || IS_HIGHBIT_SET(*p) || isalnum((unsigned char) *p);
	}
	return mdb_template_of_text(s);
}

/* Where :port begins; the end if there is none. */
static const char *
port_of(const char *s)
{
	const char *colon = strrchr(s, ':');

	if (colon == NULL || colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return s + strlen(s);
	/* An address of IPv6 without brackets. */
	return colon > s && colon[-1] != ']' && strchr(s, ':') != colon ? s + strlen(s) : colon;
}

static Value
strip_port(const Value *args, int n)
{
	const char *s = mdb_template_text(&args[0]);

	return mdb_template_of_text(pnstrdup(s, port_of(s) - s));
}

static Value
strip_domain(const Value *args, int n)
{
	const char *s = mdb_template_text(&args[0]);
	const char *port = port_of(s);
	size_t host = strcspn(s, ".");

	if (s[0] == '[' || strspn(s, "0123456789.") == (size_t) (port - s) || s + host > port)
		return mdb_template_of_text(s);
	return mdb_template_of_text(psprintf("%.*s%s", (int) host, s, port));
}

static Value
urlquery(const Value *args, int n)
{
	StringInfoData out;

	initStringInfo(&out);
	for (const char *p = mdb_template_text(&args[0]); *p; p++)
	{
		if (isalnum((unsigned char) *p) && !IS_HIGHBIT_SET(*p))
			appendStringInfoChar(&out, *p);
		else if (*p == ' ')
			appendStringInfoChar(&out, '+');
		else if (strchr("-_.~", *p))
			appendStringInfoChar(&out, *p);
		else
			appendStringInfo(&out, "%%%02X", (unsigned char) *p);
	}
	return mdb_template_of_text(out.data);
}

static Value
print(const Value *args, int n)
{
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < n; i++)
	{
		/* Blanks between those that are both no texts, says Go. */
		if (i > 0 && args[i].kind != MDB_TEMPLATE_TEXT && args[i - 1].kind != MDB_TEMPLATE_TEXT)
			appendStringInfoChar(&out, ' ');
		appendStringInfoString(&out, mdb_template_text(&args[i]));
	}
	return mdb_template_of_text(out.data);
}

/* ---- printf ---- */

static const char *
type_name(const Value *v)
{
	switch (v->kind)
	{
		case MDB_TEMPLATE_TEXT:
			return "string";
		case MDB_TEMPLATE_NUMBER:
			return v->integer ? "int" : "float64";
		case MDB_TEMPLATE_BOOLEAN:
			return "bool";
		default:
			return "map[string]string";
	}
}

static char *
quoted(const char *s)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '"');
	for (; *s; s++)
	{
		if (*s == '"' || *s == '\\')
			appendStringInfoChar(&out, '\\');
		if (*s == '\n')
			appendStringInfoString(&out, "\\n");
		else if (*s == '\t')
			appendStringInfoString(&out, "\\t");
		else
			appendStringInfoChar(&out, *s);
	}
	appendStringInfoChar(&out, '"');
	return out.data;
}

/* A number by one of e, f, g, d, with flags and width of a format; NULL if the verb is not for it. */
static char *
formatted_number(const Value *v, const char *flags, int width, int precision, char verb)
{
	char format[32];

	if (verb == 'd' && v->integer)
	{
		snprintf(format, sizeof(format), "%%%s*lld", flags);
		return psprintf(format, width, (long long) v->number);
	}
	if (strchr("eEfFgG", verb) == NULL || v->integer)
		return NULL;
	if (isnan(v->number) || isinf(v->number))
		return psprintf("%*s", strchr(flags, '-') ? -width : width,
						isnan(v->number) && strchr(flags, '+') ? "+NaN" : not_finite(v->number));
	if (precision < 0 && (verb == 'g' || verb == 'G'))
		return psprintf("%*s", strchr(flags, '-') ? -width : width, shortest(v->number));
	snprintf(format, sizeof(format), "%%%s*.*%c", flags, verb == 'F' ? 'f' : verb);
	return psprintf(format, width, precision < 0 ? 6 : precision, v->number);
}

/* One argument by one verb, as Go does, what it cannot do included. */
static void
put_formatted(StringInfo out, const Value *v, const char *flags, int width, int precision, char verb)
{
	const char *text = NULL;

	if (v->kind == MDB_TEMPLATE_NUMBER)
		text = formatted_number(v, flags, width, precision, verb);
	if (text)
	{
		appendStringInfoString(out, text);
		return;
	}
	if (verb == 'v' || (verb == 's' && v->kind == MDB_TEMPLATE_TEXT) ||
		(verb == 't' && v->kind == MDB_TEMPLATE_BOOLEAN))
		text = mdb_template_text(v);
	else if (verb == 'q' && v->kind == MDB_TEMPLATE_TEXT)
		text = quoted(v->text);
	else
	{
		appendStringInfo(out, "%%!%c(%s=%s)", verb, type_name(v), mdb_template_text(v));
		return;
	}
	if (precision >= 0 && verb == 's')
		text = pnstrdup(text, pg_mbcliplen(text, strlen(text), precision));
	appendStringInfo(out, "%*s", strchr(flags, '-') ? -width : width, text);
}

static int
digits(const char **p)
{
	int n = 0;

	for (; **p >= '0' && **p <= '9'; (*p)++)
		n = Min(n * 10 + (**p - '0'), 1000);
	return n;
}

static Value
printf_function(const Value *args, int n)
{
	StringInfoData out;
	int next = 1;

	initStringInfo(&out);
	for (const char *p = args[0].text; *p; p++)
	{
		char flags[6];
		int nflags = 0;
		int width;
		int precision = -1;

		if (*p != '%')
		{
			appendStringInfoChar(&out, *p);
			continue;
		}
		for (p++; *p && strchr("+-# 0", *p); p++)
			if (nflags < 5 && strchr("+-0", *p))
				flags[nflags++] = *p;
		flags[nflags] = '\0';
		width = digits(&p);
		if (*p == '.')
		{
			p++;
			precision = digits(&p);
		}
		if (*p == '\0')
		{
			appendStringInfoString(&out, "%!(NOVERB)");
			break;
		}
		if (*p == '%')
			appendStringInfoChar(&out, '%');
		else if (next >= n)
			appendStringInfo(&out, "%%!%c(MISSING)", *p);
		else
			put_formatted(&out, &args[next++], flags, width, precision, *p);
	}
	if (next < n)
	{
		appendStringInfoString(&out, "%!(EXTRA ");
		for (int i = next; i < n; i++)
			appendStringInfo(&out, "%s%s=%s", i > next ? ", " : "", type_name(&args[i]),
							 mdb_template_text(&args[i]));
		appendStringInfoChar(&out, ')');
	}
	return mdb_template_of_text(out.data);
}

/* ---- comparisons and logic ---- */

/* NaN is unlike, and neither below nor above, all. */
static int
order(const Value *a, const Value *b, bool *unordered)
{
	*unordered = false;
	if (a->kind == MDB_TEMPLATE_NUMBER && b->kind == MDB_TEMPLATE_NUMBER)
	{
		*unordered = isnan(a->number) || isnan(b->number);
		return a->number < b->number ? -1 : a->number > b->number;
	}
	return strcmp(mdb_template_text(a), mdb_template_text(b));
}

static Value
eq(const Value *args, int n)
{
	bool unordered;

	for (int i = 1; i < n; i++)
		if (order(&args[0], &args[i], &unordered) == 0 && !unordered)
			return of_boolean(true);
	return of_boolean(false);
}

static Value
ne(const Value *args, int n)
{
	return of_boolean(!eq(args, n).boolean);
}

static Value
lt(const Value *args, int n)
{
	bool unordered;
	int o = order(&args[0], &args[1], &unordered);

	return of_boolean(o < 0 && !unordered);
}

static Value
le(const Value *args, int n)
{
	bool unordered;
	int o = order(&args[0], &args[1], &unordered);

	return of_boolean(o <= 0 && !unordered);
}

static Value
gt(const Value *args, int n)
{
	bool unordered;
	int o = order(&args[0], &args[1], &unordered);

	return of_boolean(o > 0 && !unordered);
}

static Value
ge(const Value *args, int n)
{
	bool unordered;
	int o = order(&args[0], &args[1], &unordered);

	return of_boolean(o >= 0 && !unordered);
}

/* The first that does not hold, or the last. */
static Value
and_function(const Value *args, int n)
{
	for (int i = 0; i < n - 1; i++)
		if (!mdb_template_truth(&args[i]))
			return args[i];
	return args[n - 1];
}

static Value
or_function(const Value *args, int n)
{
	for (int i = 0; i < n - 1; i++)
		if (mdb_template_truth(&args[i]))
			return args[i];
	return args[n - 1];
}

static Value
not_function(const Value *args, int n)
{
	return of_boolean(!mdb_template_truth(&args[0]));
}

static Value
index_function(const Value *args, int n)
{
	return args[0].kind == MDB_TEMPLATE_LABELS
			   ? mdb_template_of_text(mdb_template_label(args[0].labels, mdb_template_text(&args[1])))
			   : mdb_template_of_text("");
}

static Value
len(const Value *args, int n)
{
	Value v = {.kind = MDB_TEMPLATE_NUMBER, .integer = true};

	v.number = args[0].kind == MDB_TEMPLATE_LABELS ? (args[0].labels ? JB_ROOT_COUNT(args[0].labels) : 0)
												   : (double) strlen(mdb_template_text(&args[0]));
	return v;
}

/*
 * mdb_template_function - the function of a name, or NULL.
 */
const MdbTemplateFunction *
mdb_template_function(const char *name)
{
	static const MdbTemplateFunction functions[] = {
		{"humanize", 1, 1, humanize},
		{"humanize1024", 1, 1, humanize1024},
		{"humanizeDuration", 1, 1, humanize_duration},
		{"humanizePercentage", 1, 1, humanize_percentage},
		{"humanizeTimestamp", 1, 1, humanize_timestamp},
		{"printf", 1, -1, printf_function},
		{"print", 0, -1, print},
		{"title", 1, 1, title},
		{"toUpper", 1, 1, to_upper},
		{"toLower", 1, 1, to_lower},
		{"stripPort", 1, 1, strip_port},
		{"stripDomain", 1, 1, strip_domain},
		{"urlquery", 1, 1, urlquery},
		{"index", 2, 2, index_function},
		{"len", 1, 1, len},
		{"eq", 2, -1, eq},
		{"ne", 2, 2, ne},
		{"lt", 2, 2, lt},
		{"le", 2, 2, le},
		{"gt", 2, 2, gt},
		{"ge", 2, 2, ge},
		{"and", 1, -1, and_function},
		{"or", 1, -1, or_function},
		{"not", 1, 1, not_function},
	};

	for (int i = 0; i < lengthof(functions); i++)
		if (strcmp(functions[i].name, name) == 0)
			return &functions[i];
	return NULL;
}
