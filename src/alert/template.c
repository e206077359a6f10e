/*
 * template.c
 *	  Texts with {{ }} in them, in the language of Prometheus' annotations, which is Go's text/template:
 *
 *		{{ $labels.host }} {{ .Labels.host }} {{ $value | humanize }} {{ printf "%.2f" $value }}
 *		{{ if gt $value 90.0 }} ... {{ else if ... }} ... {{ else }} ... {{ end }}
 *		{{ with $labels.cluster }} in {{ . }} {{ end }}  {{- trims -}}
 *
 * A text is read and expanded in one go.  When a rule is defined it is read as a whole, branches that are not taken, too,
 * and what is not known is refused: so expanding it later cannot fail.  What a function cannot do with its arguments is
 * shown as Go does, not raised.  A label that is not there is empty.
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/float.h"

#include "alert/define.h"
#include "alert/template.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(mdb_expand_template);

#define MAX_ARGUMENTS 32

/* What is longer is cut: a label that is put into a text often must not be too much for who expands it. */
#define MAX_EXPANDED (256 * 1024)

#define MAX_TEMPLATE (64 * 1024)

/* How a piece of text ended. */
typedef enum Ending
{
	AT_END_OF_TEXT,
	AT_END,
	AT_ELSE /* and what follows it in its braces */
} Ending;

typedef struct Run
{
	const char *text;
	const char *p;
	const char *what; /* whose template it is, for errors */
	const Jsonb *labels;
	double value;
	bool trim; /* the braces before end with -}} */
	bool uses_value;
	StringInfoData out;
} Run;

typedef MdbTemplateValue Value;

pg_noreturn static void
bad(Run *run, const char *at, const char *problem, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid template in %s, at character %d: %s", run->what,
						   (int) (at - run->text) + 1, problem),
					errdetail("The template is: %s", run->text), hint ? errhint("%s", hint) : 0));
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool
is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
		   IS_HIGHBIT_SET(c);
}

static void
skip_blanks(Run *run)
{
	while (is_blank(*run->p))
		run->p++;
}

/* Is a word next?  Then it is passed. */
static bool
take_word(Run *run, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(run->p, word, len) != 0 || is_word(run->p[len]))
		return false;
	run->p += len;
	return true;
}

static char *
word(Run *run)
{
	const char *from = run->p;

	while (is_word(*run->p))
		run->p++;
	return pnstrdup(from, run->p - from);
}

static bool
at_closing(Run *run)
{
	return strncmp(run->p, "}}", 2) == 0 || strncmp(run->p, "-}}", 3) == 0;
}

static void
close_braces(Run *run)
{
	skip_blanks(run);
	run->trim = *run->p == '-';
	if (!at_closing(run))
		bad(run, run->p, *run->p ? "\"}}\" is missing" : "it ends within {{", NULL);
	run->p += run->trim ? 3 : 2;
}

/* ---- values ---- */

static Value pipeline(Run *run, const Value *dot);

/* "..." or `...` */
static Value
string(Run *run)
{
	const char *from = run->p;
	char quote = *run->p++;
	StringInfoData buf;

	initStringInfo(&buf);
	for (; *run->p != quote; run->p++)
	{
		char c = *run->p;

		if (c == '\0' || (c == '\n' && quote == '"'))
			bad(run, from, "a string has no end", NULL);
		if (c == '\\' && quote == '"')
			switch (c = *++run->p)
			{
				case 'n':
					c = '\n';
					break;
				case 't':
					c = '\t';
					break;
				case '\\':
				case '"':
					break;
				default:
					bad(run, run->p - 1, "this escape is not supported",
						"Strings know \\n, \\t, \\\\ and \\\".");
			}
		appendStringInfoChar(&buf, c);
	}
	run->p++;
	return mdb_template_of_text(buf.data);
}

static Value
number(Run *run)
{
	Value v = {.kind = MDB_TEMPLATE_NUMBER};
	const char *from = run->p;
	char *end;

	v.number = strtod(from, &end);
	if (end == from || is_word(*end))
		bad(run, from, "this is not a number", NULL);
	run->p = end;
	v.integer = true;
	for (; from < end; from++)
		v.integer = v.integer && strchr(".eExX", *from) == NULL;
	return v;
}

static Value
value_of_alert(Run *run)
{
	Value v = {.kind = MDB_TEMPLATE_NUMBER, .number = run->value};

	run->uses_value = true;
	return v;
}

/* .name behind a value */
static Value
field(Run *run, Value v)
{
	while (*run->p == '.' && is_word(run->p[1]))
	{
		const char *from = run->p++;
		char *name = word(run);

		if (v.kind == MDB_TEMPLATE_LABELS)
			v = mdb_template_of_text(mdb_template_label(v.labels, name));
		else if (v.kind == MDB_TEMPLATE_ROOT && strcmp(name, "Labels") == 0)
			v = (Value){.kind = MDB_TEMPLATE_LABELS, .labels = run->labels};
		else if (v.kind == MDB_TEMPLATE_ROOT && strcmp(name, "Value") == 0)
			v = value_of_alert(run);
		else
			bad(run, from, psprintf("there is no \".%s\"", name),
				"There are .Labels and .Value, $labels.NAME and $value.");
	}
	return v;
}

static Value
variable(Run *run)
{
	const char *from = run->p++;
	char *name = word(run);

	if (strcmp(name, "value") == 0)
		return value_of_alert(run);
	if (strcmp(name, "labels") == 0)
		return field(run, (Value){.kind = MDB_TEMPLATE_LABELS, .labels = run->labels});
	if (name[0] == '\0')
		return field(run, (Value){.kind = MDB_TEMPLATE_ROOT});
	bad(run, from, psprintf("there is no variable \"$%s\"", name),
		"There are $labels and $value. What is the same for all alerts is a label of the rule.");
}

static Value
operand(Run *run, const Value *dot)
{
	Value v;

	check_stack_depth();
	switch (*run->p)
	{
		case '$':
			return variable(run);
		case '.':
			if (is_word(run->p[1]))
				return field(run, *dot);
			run->p++;
			return *dot;
		case '"':
		case '`':
			return string(run);
		case '(':
			run->p++;
			v = pipeline(run, dot);
			skip_blanks(run);
			if (*run->p != ')')
				bad(run, run->p, "\")\" is missing", NULL);
			run->p++;
			return field(run, v);
		default:
			if (take_word(run, "true"))
				return (Value){.kind = MDB_TEMPLATE_BOOLEAN, .boolean = true};
			if (take_word(run, "false"))
				return (Value){.kind = MDB_TEMPLATE_BOOLEAN};
			return number(run);
	}
}

static bool
at_operand(Run *run)
{
	skip_blanks(run);
	return *run->p != '\0' && *run->p != '|' && *run->p != ')' && !at_closing(run);
}

/* A function and its arguments, the last of which may be what was before |. */
static Value
function_call(Run *run, const Value *dot, const Value *piped)
{
	const char *from = run->p;
	char *name = word(run);
	const MdbTemplateFunction *function = mdb_template_function(name);
	Value args[MAX_ARGUMENTS];
	int n = 0;

	if (function == NULL)
		bad(run, from, psprintf("function \"%s\" is not supported", name),
			"Supported are humanize, humanize1024, humanizeDuration, humanizePercentage, humanizeTimestamp, printf, "
			"print, title, toUpper, toLower, stripPort, stripDomain, urlquery, index, len, eq, ne, lt, le, gt, ge, and, "
			"or, not; if, else, with and end.");
	while (at_operand(run))
	{
		if (n == MAX_ARGUMENTS - 1)
			bad(run, run->p, "a function has too many arguments", NULL);
		args[n++] = operand(run, dot);
	}
	if (piped)
		args[n++] = *piped;
	if (n < function->min || (function->max >= 0 && n > function->max))
		bad(run, from, psprintf("function \"%s\" has %d arguments", name, n),
			function->min == function->max ? psprintf("It takes %d.", function->min) : NULL);
	if (strcmp(name, "printf") == 0 && args[0].kind != MDB_TEMPLATE_TEXT)
		bad(run, from, "the first argument of printf is not a string", NULL);
	return function->call(args, n);
}

static Value
command(Run *run, const Value *dot, const Value *piped)
{
	const char *from;
	Value v;

	skip_blanks(run);
	from = run->p;
	if (!at_operand(run))
		bad(run, from, "a value is missing", NULL);
	if (((*from >= 'a' && *from <= 'z') || (*from >= 'A' && *from <= 'Z')) &&
		!(strncmp(from, "true", 4) == 0 && !is_word(from[4])) &&
		!(strncmp(from, "false", 5) == 0 && !is_word(from[5])))
		return function_call(run, dot, piped);
	v = operand(run, dot);
	if (piped || at_operand(run))
		bad(run, piped ? from : run->p, "this is not a function's argument",
			"Write the name of a function first.");
	return v;
}

static Value
pipeline(Run *run, const Value *dot)
{
	Value v = command(run, dot, NULL);

	for (skip_blanks(run); *run->p == '|'; skip_blanks(run))
	{
		run->p++;
		v = command(run, dot, &v);
	}
	return v;
}

/* ---- texts ---- */

static Ending piece(Run *run, bool active, const Value *dot, bool inner);

/* {{ if }} or {{ with }}, up to its {{ end }}. */
static void
conditional(Run *run, bool with, bool active, const Value *dot)
{
	const char *from = run->p;
	bool taken = false;
	bool more = true;

	while (more)
	{
		Value condition = pipeline(run, dot);
		bool holds = active && !taken && mdb_template_truth(&condition);
		Ending ending;

		close_braces(run);
		ending = piece(run, holds, with ? &condition : dot, true);
		taken = taken || holds;
		more = false;
		if (ending == AT_ELSE)
		{
			skip_blanks(run);
			if (take_word(run, "if"))
			{
				more = true;
				with = false;
				continue;
			}
			close_braces(run);
			ending = piece(run, active && !taken, dot, true);
			if (ending == AT_ELSE)
				bad(run, run->p, "a second {{ else }}", NULL);
		}
		if (ending == AT_END_OF_TEXT)
			bad(run, from, "{{ end }} is missing", NULL);
	}
}

static void
put(Run *run, const char *text, size_t len)
{
	size_t room = MAX_EXPANDED - run->out.len;

	if (len > room)
		len = pg_mbcliplen(text, (int) len, (int) room);
	appendBinaryStringInfo(&run->out, text, (int) len);
}

static void
literal(Run *run, const char *from, const char *to, bool active, bool trim_right)
{
	if (run->trim)
		while (from < to && is_blank(*from))
			from++;
	if (trim_right)
		while (from < to && is_blank(to[-1]))
			to--;
	if (active)
		put(run, from, to - from);
}

static void
comment(Run *run)
{
	const char *end = strstr(run->p, "*/");

	if (end == NULL)
		bad(run, run->p, "a comment has no end", NULL);
	run->p = end + 2;
	close_braces(run);
}

/* Text up to its end, or to {{ end }} or {{ else }} of what it is within. */
static Ending
piece(Run *run, bool active, const Value *dot, bool inner)
{
	check_stack_depth();
	for (;;)
	{
		const char *from = run->p;
		const char *open = strstr(from, "{{");
		bool trim;
		Value v;

		if (open == NULL)
		{
			literal(run, from, from + strlen(from), active, false);
			run->p = from + strlen(from);
			return AT_END_OF_TEXT;
		}
		trim = open[2] == '-' && is_blank(open[3]);
		literal(run, from, open, active, trim);
		run->p = open + (trim ? 3 : 2);
		skip_blanks(run);
		from = run->p;
		if (strncmp(run->p, "/*", 2) == 0)
			comment(run);
		else if (take_word(run, "if"))
			conditional(run, false, active, dot);
		else if (take_word(run, "with"))
			conditional(run, true, active, dot);
		else if (take_word(run, "end"))
		{
			close_braces(run);
			if (!inner)
				bad(run, from, "{{ end }} ends nothing", NULL);
			return AT_END;
		}
		else if (take_word(run, "else"))
		{
			if (!inner)
				bad(run, from, "{{ else }} is not within {{ if }}", NULL);
			return AT_ELSE;
		}
		else
		{
			v = pipeline(run, dot);
			if (*run->p == ':' || *run->p == '=')
				bad(run, run->p, "variables are not supported", NULL);
			close_braces(run);
			if (active)
			{
				const char *text = mdb_template_text(&v);

				put(run, text, strlen(text));
			}
		}
	}
}

static void
run_template(Run *run, const char *text, const char *what, const Jsonb *labels, double value)
{
	Value root = {.kind = MDB_TEMPLATE_ROOT};

	memset(run, 0, sizeof(*run));
	run->text = run->p = text;
	run->what = what;
	run->labels = labels;
	run->value = value;
	initStringInfo(&run->out);
	piece(run, true, &root, false);
}

/*
 * mdb_template_check - is a text a template that can be expanded?  what says whose it is.  Sets *uses_value if it does.
 *
 * Raises ERRCODE_INVALID_PARAMETER_VALUE, ERRCODE_PROGRAM_LIMIT_EXCEEDED.
 */
void
mdb_template_check(const char *text, const char *what, bool *uses_value)
{
	Run run;

	if (strlen(text) > MAX_TEMPLATE)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("template of %s is longer than %d kB", what, MAX_TEMPLATE / 1024)));
	run_template(&run, text, what, NULL, 0);
	*uses_value = *uses_value || run.uses_value;
}

/*
 * mdb_template_expand - a template that was checked, with labels and a value in it.
 */
char *
mdb_template_expand(const char *text, const Jsonb *labels, double value)
{
	Run run;

	if (strstr(text, "{{") == NULL)
		return pstrdup(text);
	run_template(&run, text, "a rule", labels, value);
	return run.out.data;
}

/*
 * mdb_annotations_make - the rule's annotations for an instance.
 */
Jsonb *
mdb_annotations_make(const MdbRule *rule, const Jsonb *labels, double value)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it = JsonbIteratorInit(&rule->annotations->root);
	JsonbIteratorToken token;
	JsonbValue v;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		char *text;

		if (token == WJB_KEY)
			(void) pushJsonbValue(&state, WJB_KEY, &v);
		if (token != WJB_VALUE)
			continue;
		text = mdb_json_scalar(&v);
		text = mdb_template_expand(text ? text : "", labels, value);
		v.type = jbvString;
		v.val.string.val = text;
		v.val.string.len = strlen(text);
		(void) pushJsonbValue(&state, WJB_VALUE, &v);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * mdb_expand_template - metricsdb.expand_template(template text, labels jsonb, value float8) RETURNS text
 */
Datum
mdb_expand_template(PG_FUNCTION_ARGS)
{
	char *template = PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0));
	Jsonb *labels = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);
	Run run;

	run_template(&run, template, "the argument", labels,
				 PG_ARGISNULL(2) ? get_float8_nan() : PG_GETARG_FLOAT8(2));
	PG_RETURN_TEXT_P(cstring_to_text(run.out.data));
}
