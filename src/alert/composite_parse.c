/*
 * composite_parse.c
 *	  The parser of expressions over rules:
 *
 *	or     := and { OR [match] and }
 *	and    := unary { (AND [NOT] | UNLESS) [match] unary }
 *	unary  := NOT unary | "(" or ")" | alert
 *	alert  := alert ( 'rule' [, '{matchers}' [, 'state' ...]] )
 *	match  := (ON | IGNORING) ( [label {, label}] )
 *
 * Words may be in either case; strings are in single quotes, doubled within.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "alert/composite.h"
#include "alert/machine.h"
#include "compat.h"

typedef struct Parser
{
	const char *all;
	const char *at;
} Parser;

static void
skip_space(Parser *p)
{
	while (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r')
		p->at++;
}

pg_noreturn static void
fail(const Parser *p, const char *expected)
{
	if (*p->at == '\0')
		ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR), errmsg("the expression over rules ends too early"),
						errdetail("Expected was %s.", expected)));
	ereport(ERROR, (errcode(ERRCODE_SYNTAX_ERROR),
					errmsg("syntax error in the expression over rules at or near \"%.*s\"",
						   pg_mbcliplen(p->at, strlen(p->at), 20), p->at),
					errdetail("Expected was %s, at character %d.", expected, (int) (p->at - p->all) + 1),
					errhint("An example: alert('slow') AND NOT on (host) alert('maintenance')")));
}

static bool
is_word_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool
take_word(Parser *p, const char *word)
{
	size_t len = strlen(word);

	skip_space(p);
	if (pg_strncasecmp(p->at, word, len) != 0 || is_word_char(p->at[len]))
		return false;
	p->at += len;
	return true;
}

static bool
take_char(Parser *p, char c)
{
	skip_space(p);
	if (*p->at != c)
		return false;
	p->at++;
	return true;
}

static void
need_char(Parser *p, char c)
{
	char expected[] = {'"', c, '"', '\0'};

	if (!take_char(p, c))
		fail(p, expected);
}

static char *
need_string(Parser *p, const char *what)
{
	StringInfoData buf;

	if (!take_char(p, '\''))
		fail(p, what);
	initStringInfo(&buf);
	for (;; p->at++)
	{
		if (*p->at == '\0')
			fail(p, "the end of a string");
		if (*p->at == '\'' && *++p->at != '\'')
			return buf.data;
		appendStringInfoChar(&buf, *p->at);
	}
}

static MdbComposite *
make(MdbCompositeOp op, MdbComposite *left, MdbComposite *right)
{
	MdbComposite *node = palloc0(sizeof(MdbComposite));

	node->op = op;
	node->left = left;
	node->right = right;
	return node;
}

/* Names of labels in parentheses. */
static List *
take_labels(Parser *p)
{
	List *labels = NIL;

	need_char(p, '(');
	if (take_char(p, ')'))
		return NIL;
	do
	{
		const char *start;

		skip_space(p);
		start = p->at;
		while (is_word_char(*p->at))
			p->at++;
		if (p->at == start)
			fail(p, "the name of a label");
		labels = lappend(labels, pnstrdup(start, p->at - start));
	} while (take_char(p, ','));
	need_char(p, ')');
	return labels;
}

static void
take_match(Parser *p, MdbComposite *node)
{
	if (take_word(p, "on"))
		node->on = true;
	else if (!take_word(p, "ignoring"))
		return;
	node->labels = take_labels(p);
}

static MdbComposite *
parse_alert(Parser *p)
{
	MdbComposite *node = make(MDB_COMPOSITE_ALERT, NULL, NULL);

	need_char(p, '(');
	node->rule = need_string(p, "the name of a rule in single quotes");
	if (take_char(p, ','))
		node->matchers = need_string(p, "matchers in single quotes");
	while (node->matchers && take_char(p, ','))
	{
		char *name = need_string(p, "a state in single quotes");
		MdbState state;

		if (!mdb_alert_state_parse(name, &state))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("there is no state \"%s\" of alerts", name)));
		node->states = lappend(node->states, name);
	}
	need_char(p, ')');
	return node;
}

static MdbComposite *parse_or(Parser *p);

static MdbComposite *
parse_unary(Parser *p)
{
	MdbComposite *node;

	check_stack_depth();
	if (take_word(p, "not"))
		return make(MDB_COMPOSITE_NOT, parse_unary(p), NULL);
	if (take_char(p, '('))
	{
		node = parse_or(p);
		need_char(p, ')');
		return node;
	}
	if (!take_word(p, "alert"))
		fail(p, "alert('...'), NOT or an opening parenthesis");
	return parse_alert(p);
}

static MdbComposite *
parse_and(Parser *p)
{
	MdbComposite *node = parse_unary(p);

	for (;;)
	{
		if (take_word(p, "unless"))
			node = make(MDB_COMPOSITE_UNLESS, node, NULL);
		else if (take_word(p, "and"))
			node = make(take_word(p, "not") ? MDB_COMPOSITE_UNLESS : MDB_COMPOSITE_AND, node, NULL);
		else
			return node;
		take_match(p, node);
		node->right = parse_unary(p);
	}
}

static MdbComposite *
parse_or(Parser *p)
{
	MdbComposite *node = parse_and(p);

	while (take_word(p, "or"))
	{
		node = make(MDB_COMPOSITE_OR, node, NULL);
		take_match(p, node);
		node->right = parse_and(p);
	}
	return node;
}

MdbComposite *
mdb_composite_parse(const char *expression)
{
	Parser p = {.all = expression, .at = expression};
	MdbComposite *node = parse_or(&p);

	skip_space(&p);
	if (*p.at != '\0')
		fail(&p, "AND, OR, UNLESS or the end");
	return node;
}
