/*
 * promql_parse.c
 *	  The parser of expressions of Prometheus.
 *
 * By precedence, as in its grammar (promql/parser/generated_parser.y of 2.42): or; and, unless; comparisons; + and -;
 * *, /, % and atan2; signs; ^, from the right; what stands behind an operand: ranges, offset and @.  Keywords are names
 * where they cannot be meant.
 */
#include "alert/promql.h"

#include <math.h>
#include <string.h>

typedef struct Parser
{
	MdbPromLexer lex;
	int depth;
} Parser;

static MdbProm *parse_binary(Parser *s, int least);

static MdbProm *
fail(Parser *s, size_t at, const char *what)
{
	mdb_prom_fail(s->lex.memory, s->lex.error, at, NULL, "%s", what);
	return NULL;
}

static size_t
here(const Parser *s)
{
	return (size_t) (s->lex.text.p - s->lex.begin);
}

static size_t
token_end(const Parser *s)
{
	return here(s) + s->lex.text.len;
}

/* What is wrong with a token. */
static MdbProm *
unexpected(Parser *s, const char *wanted)
{
	if (s->lex.token == MDB_TOK_END)
		mdb_prom_fail(s->lex.memory, s->lex.error, here(s), NULL, "the expression ends where %s should be",
					  wanted);
	else if (s->lex.token != MDB_TOK_BAD)
		mdb_prom_fail(s->lex.memory, s->lex.error, here(s), NULL, "there is \"%.*s\" where %s should be",
					  (int) (s->lex.text.len < 60 ? s->lex.text.len : 60), s->lex.text.p, wanted);
	return NULL;
}

static bool
take(Parser *s, const char *text)
{
	if (!mdb_prom_is(&s->lex, text))
		return false;
	mdb_prom_next(&s->lex);
	return true;
}

static bool
demand(Parser *s, const char *text, const char *what)
{
	if (take(s, text))
		return true;
	unexpected(s, what);
	return false;
}

static MdbProm *
new_node(Parser *s, MdbPromKind kind, MdbPromType type, size_t at)
{
	MdbProm *node = s->lex.memory->alloc(s->lex.memory->arg, sizeof(MdbProm));

	memset(node, 0, sizeof(MdbProm));
	node->kind = kind;
	node->type = type;
	node->at = at;
	node->end = token_end(s);
	return node;
}

static void
add_arg(Parser *s, MdbProm *node, MdbProm *arg)
{
	node->args = mdb_match_room(s->lex.memory, node->args, node->nargs, sizeof(MdbProm *));
	node->args[node->nargs++] = arg;
}

/* (a, b, ...), which may end with a comma. */
static bool
parse_names(Parser *s, MdbNames *names)
{
	if (!demand(s, "(", "a parenthesis"))
		return false;
	while (!mdb_prom_is(&s->lex, ")"))
	{
		if (s->lex.token != MDB_TOK_NAME || memchr(s->lex.text.p, ':', s->lex.text.len))
		{
			unexpected(s, "the name of a label");
			return false;
		}
		names->v = mdb_match_room(s->lex.memory, names->v, names->n, sizeof(MdbBytes));
		names->v[names->n++] = s->lex.text;
		mdb_prom_next(&s->lex);
		if (!mdb_prom_is(&s->lex, ")") && !demand(s, ",", "a comma or a parenthesis"))
			return false;
	}
	mdb_prom_next(&s->lex);
	return true;
}

/* ---------- operands ---------- */

/* Behind the brace at p: where the braces end, not in strings or comments; NULL if they do not. */
static const char *
braces_end(const char *p, const char *end)
{
	while (p < end && *p != '}')
	{
		char quote = *p++;

		if (quote == '#')
			while (p < end && *p != '\n')
				p++;
		if (quote != '"' && quote != '\'' && quote != '`')
			continue;
		while (p < end && *p != quote)
			p += *p == '\\' && quote != '`' && end - p > 1 ? 2 : 1;
		if (p < end)
			p++;
	}
	return p < end ? p + 1 : NULL;
}

/* A selector chooses nothing by chance: some matcher must not match an empty value. */
static bool
chooses(const MdbSelector *selector)
{
	for (int i = 0; i < selector->n; i++)
		if (!mdb_matcher_holds(&selector->v[i], "", 0))
			return true;
	return false;
}

/* At the name of a metric, or a brace. */
static MdbProm *
parse_selector(Parser *s)
{
	MdbProm *node = new_node(s, MDB_PROM_SELECTOR, MDB_PROM_VECTOR, here(s));
	const char *from = s->lex.text.p;
	const char *behind = s->lex.p;
	MdbMatchError error;
	bool braces;

	if (s->lex.token == MDB_TOK_NAME)
		mdb_prom_next(&s->lex);
	braces = mdb_prom_is(&s->lex, "{");
	if (braces)
		behind = braces_end(s->lex.p, s->lex.end);
	if (behind == NULL)
		return fail(s, here(s), "the brace is not closed");
	node->text = (MdbBytes){from, (size_t) (behind - from)};
	node->selector = mdb_selector_parse(s->lex.memory, s->lex.utf8, from, node->text.len, &error);
	if (node->selector == NULL)
	{
		mdb_prom_fail(s->lex.memory, s->lex.error, node->at + error.at, error.hint, "%s", error.what);
		return NULL;
	}
	if (!chooses(node->selector))
		return fail(
			s, node->at,
			"the selector would choose all series: one of its matchers must not match an empty value");
	node->end = node->at + node->text.len;
	if (braces)
	{
		s->lex.p = behind;
		mdb_prom_next(&s->lex);
	}
	return node;
}

/* ( a, b, ... ): arguments of a call. */
static bool
parse_args(Parser *s, MdbProm *call)
{
	if (!demand(s, "(", "a parenthesis"))
		return false;
	while (!mdb_prom_is(&s->lex, ")"))
	{
		MdbProm *arg;

		if (call->nargs > 0 && !demand(s, ",", "a comma or a parenthesis"))
			return false;
		arg = parse_binary(s, 0);
		if (arg == NULL)
			return false;
		add_arg(s, call, arg);
	}
	call->end = token_end(s);
	mdb_prom_next(&s->lex);
	return true;
}

static MdbProm *
parse_aggregate(Parser *s)
{
	MdbProm *node = new_node(s, MDB_PROM_AGGREGATE, MDB_PROM_VECTOR, here(s));

	node->text = s->lex.text;
	node->by = true;
	mdb_prom_next(&s->lex);
	for (int side = 0; side < 2; side++)
	{
		if (!node->matched && (mdb_prom_is(&s->lex, "by") || mdb_prom_is(&s->lex, "without")))
		{
			node->by = mdb_prom_is(&s->lex, "by");
			node->matched = true;
			mdb_prom_next(&s->lex);
			if (!parse_names(s, &node->labels))
				return NULL;
			node->end = (size_t) (s->lex.text.p - s->lex.begin);
		}
		if (side == 0 && !parse_args(s, node))
			return NULL;
	}
	return node;
}

static MdbProm *
parse_call(Parser *s, MdbBytes name, size_t at)
{
	MdbProm *node = new_node(s, MDB_PROM_CALL, MDB_PROM_VECTOR, at);

	node->text = name;
	node->function = mdb_prom_function(name);
	if (node->function == NULL)
	{
		mdb_prom_fail(s->lex.memory, s->lex.error, at, NULL, "there is no function \"%.*s\"",
					  (int) (name.len < 60 ? name.len : 60), name.p);
		return NULL;
	}
	node->type = node->function->type;
	return parse_args(s, node) ? node : NULL;
}

/* Does this stand behind the token? */
static bool
followed_by(const Parser *s, const char *text)
{
	Parser ahead = *s;
	MdbMatchError ignored = {0};

	ahead.lex.error = &ignored;
	mdb_prom_next(&ahead.lex);
	return mdb_prom_is(&ahead.lex, text);
}

static MdbProm *
parse_operand(Parser *s)
{
	MdbProm *node;
	size_t at = here(s);

	switch (s->lex.token)
	{
		case MDB_TOK_NUMBER:
			node = new_node(s, MDB_PROM_NUMBER, MDB_PROM_SCALAR, at);
			node->number = s->lex.number;
			mdb_prom_next(&s->lex);
			return node;
		case MDB_TOK_STRING:
			node = new_node(s, MDB_PROM_TEXT, MDB_PROM_STRING, at);
			node->text = s->lex.string;
			mdb_prom_next(&s->lex);
			return node;
		case MDB_TOK_NAME:
			if (mdb_prom_is(&s->lex, "inf") || mdb_prom_is(&s->lex, "nan"))
			{
				node = new_node(s, MDB_PROM_NUMBER, MDB_PROM_SCALAR, at);
				node->number = mdb_prom_is(&s->lex, "inf") ? INFINITY : NAN;
				mdb_prom_next(&s->lex);
				return node;
			}
			if (mdb_prom_is_aggregate(s->lex.text) &&
				(followed_by(s, "(") || followed_by(s, "by") || followed_by(s, "without")))
				return parse_aggregate(s);
			if (followed_by(s, "("))
			{
				MdbBytes name = s->lex.text;

				mdb_prom_next(&s->lex);
				return parse_call(s, name, at);
			}
			return parse_selector(s);
		default:
			break;
	}
	if (mdb_prom_is(&s->lex, "{"))
		return parse_selector(s);
	if (!take(s, "("))
		return unexpected(s, "an expression");
	node = parse_binary(s, 0);
	if (node == NULL || !demand(s, ")", "a parenthesis"))
		return NULL;
	return node;
}

/* ---------- what stands behind operands ---------- */

static bool
parse_range(Parser *s, MdbProm **node, bool parenthesized)
{
	size_t at = here(s);
	MdbProm *sub;
	int64_t range;

	mdb_prom_next(&s->lex);
	if (s->lex.token != MDB_TOK_DURATION || s->lex.duration == 0)
	{
		unexpected(s, "a duration above 0");
		return false;
	}
	range = s->lex.duration;
	mdb_prom_next(&s->lex);
	if (mdb_prom_is(&s->lex, "]"))
	{
		if ((*node)->kind != MDB_PROM_SELECTOR || parenthesized || (*node)->type != MDB_PROM_VECTOR)
			return fail(s, at, "a range stands behind a selector"), false;
		if ((*node)->offset != 0 || (*node)->at_kind != MDB_AT_EVALUATION)
			return fail(s, at, "a range stands before offset and @"), false;
		(*node)->range = range;
		(*node)->type = MDB_PROM_MATRIX;
		(*node)->end = token_end(s);
		mdb_prom_next(&s->lex);
		return true;
	}
	if (!demand(s, ":", "a bracket, or a colon and a step"))
		return false;
	sub = new_node(s, MDB_PROM_SUBQUERY, MDB_PROM_MATRIX, (*node)->at);
	sub->range = range;
	if (s->lex.token == MDB_TOK_DURATION && s->lex.duration > 0)
	{
		sub->step = s->lex.duration;
		mdb_prom_next(&s->lex);
	}
	sub->end = token_end(s);
	if (!demand(s, "]", "a step or a bracket"))
		return false;
	add_arg(s, sub, *node);
	*node = sub;
	return true;
}

static bool
parse_sign(Parser *s)
{
	if (take(s, "-"))
		return true;
	take(s, "+");
	return false;
}

static bool
parse_offset(Parser *s, MdbProm *node)
{
	bool minus = (mdb_prom_next(&s->lex), parse_sign(s));

	if (s->lex.token != MDB_TOK_DURATION &&
		!(s->lex.token == MDB_TOK_NUMBER && s->lex.text.len == 1 && s->lex.number == 0))
	{
		unexpected(s, "a duration");
		return false;
	}
	if (node->offset != 0)
		return fail(s, here(s), "offset is given twice"), false;
	node->offset = s->lex.token == MDB_TOK_NUMBER ? 0 : minus ? -s->lex.duration : s->lex.duration;
	node->end = token_end(s);
	mdb_prom_next(&s->lex);
	return true;
}

static bool
parse_at(Parser *s, MdbProm *node, bool *given)
{
	bool minus;

	mdb_prom_next(&s->lex);
	if (*given)
		return fail(s, here(s), "@ is given twice"), false;
	*given = true;
	if (mdb_prom_is(&s->lex, "start") || mdb_prom_is(&s->lex, "end"))
	{
		mdb_prom_next(&s->lex);
		if (!demand(s, "(", "a parenthesis"))
			return false;
		node->end = token_end(s);
		return demand(s, ")", "a parenthesis");
	}
	minus = parse_sign(s);
	if (s->lex.token != MDB_TOK_NUMBER)
	{
		unexpected(s, "a time in seconds, start() or end()");
		return false;
	}
	/* Times until the year 9999. */
	if (!(s->lex.number < 253402300800.0) || (minus && s->lex.number > 62135596800.0))
		return fail(s, here(s), "there is no such time"), false;
	node->at_kind = MDB_AT_FIXED;
	node->at_time = (int64_t) round((minus ? -s->lex.number : s->lex.number) * 1000);
	node->end = token_end(s);
	mdb_prom_next(&s->lex);
	return true;
}

static MdbProm *
parse_postfix(Parser *s)
{
	bool parenthesized = mdb_prom_is(&s->lex, "(");
	bool at_given = false;
	MdbProm *node = parse_operand(s);

	while (node)
	{
		bool is_at = mdb_prom_is(&s->lex, "@");

		if (mdb_prom_is(&s->lex, "["))
		{
			/* Ranges of ranges of ... are as deep as parentheses. */
			if (++s->depth > MDB_PROM_DEPTH)
				return fail(s, here(s), "the expression is nested too deeply");
			if (!parse_range(s, &node, parenthesized))
				return NULL;
			parenthesized = at_given = false;
		}
		else if (is_at || mdb_prom_is(&s->lex, "offset"))
		{
			if ((node->kind != MDB_PROM_SELECTOR && node->kind != MDB_PROM_SUBQUERY) || parenthesized)
				return fail(s, here(s), "offset and @ stand behind a selector, a range or a subquery");
			if (!(is_at ? parse_at(s, node, &at_given) : parse_offset(s, node)))
				return NULL;
		}
		else
			return node;
	}
	return NULL;
}

/* ---------- operators ---------- */

#define SIGN_PRECEDENCE 5

/* How strongly an operator binds, 1 to 6; 0: it is none. */
static int
precedence(const MdbPromLexer *lex)
{
	static const char *const of[][7] = {
		{"or"},     {"and", "unless"},        {"==", "!=", "<", ">", "<=", ">="},
		{"+", "-"}, {"*", "/", "%", "atan2"}, {"^"}};

	for (int i = 0; i < 6; i++)
		for (int j = 0; j < 7 && of[i][j]; j++)
			if (mdb_prom_is(lex, of[i][j]))
				return i + 1;
	return 0;
}

/* bool, on or ignoring, group_left or group_right. */
static bool
parse_modifiers(Parser *s, MdbProm *node)
{
	if (mdb_prom_is(&s->lex, "bool"))
	{
		node->returns_bool = true;
		if (!mdb_prom_compares(node->text))
			return fail(s, here(s), "bool stands behind comparisons alone"), false;
		mdb_prom_next(&s->lex);
	}
	if (!mdb_prom_is(&s->lex, "on") && !mdb_prom_is(&s->lex, "ignoring"))
		return true;
	node->matched = true;
	node->by = mdb_prom_is(&s->lex, "on");
	mdb_prom_next(&s->lex);
	if (!parse_names(s, &node->labels))
		return false;
	if (mdb_prom_is(&s->lex, "group_left") || mdb_prom_is(&s->lex, "group_right"))
	{
		node->card = mdb_prom_is(&s->lex, "group_left") ? MDB_MANY_TO_ONE : MDB_ONE_TO_MANY;
		mdb_prom_next(&s->lex);
		if (mdb_prom_is(&s->lex, "(") && !parse_names(s, &node->include))
			return false;
	}
	return true;
}

static MdbProm *
parse_signed(Parser *s)
{
	size_t at = here(s);
	bool minus = mdb_prom_is(&s->lex, "-");
	MdbProm *node, *arg;

	if (!minus && !mdb_prom_is(&s->lex, "+"))
		return parse_postfix(s);
	mdb_prom_next(&s->lex);
	arg = parse_binary(s, SIGN_PRECEDENCE + 1);
	if (arg == NULL)
		return NULL;
	if (arg->type != MDB_PROM_SCALAR && arg->type != MDB_PROM_VECTOR)
		return fail(s, at, "a sign stands before scalars and vectors");
	/* A plus sign changes nothing, and still is no part of a selector. */
	node = new_node(s, MDB_PROM_NEGATE, arg->type, at);
	node->end = arg->end;
	node->number = minus ? -1 : 1;
	add_arg(s, node, arg);
	return node;
}

/* Operators that bind at least so. */
static MdbProm *
parse_binary(Parser *s, int least)
{
	MdbProm *left;
	int prec;
	int depth = s->depth;

	if (++s->depth > MDB_PROM_DEPTH)
		return fail(s, here(s), "the expression is nested too deeply");
	left = parse_signed(s);
	while (left && (prec = precedence(&s->lex)) > 0 && prec >= least)
	{
		MdbProm *node = new_node(s, MDB_PROM_BINARY, MDB_PROM_SCALAR, left->at);
		MdbProm *right;

		/* A chain of operators is a tree as deep as it is long. */
		if (++s->depth > MDB_PROM_DEPTH)
			return fail(s, here(s), "the expression is nested too deeply");
		node->text = s->lex.text;
		mdb_prom_next(&s->lex);
		if (!parse_modifiers(s, node))
			return NULL;
		/* ^ from the right, all others from the left. */
		right = parse_binary(s, prec == 6 ? prec : prec + 1);
		if (right == NULL)
			return NULL;
		add_arg(s, node, left);
		add_arg(s, node, right);
		node->end = right->end;
		if (left->type == MDB_PROM_VECTOR || right->type == MDB_PROM_VECTOR)
			node->type = MDB_PROM_VECTOR;
		left = node;
	}
	s->depth = depth;
	return left;
}

/*
 * mdb_prom_parse - a text to a tree, whose types are right; NULL: *error says why not.  utf8 false: characters are bytes.
 */
MdbProm *
mdb_prom_parse(const MdbMatchMemory *memory, bool utf8, const char *text, size_t len, MdbMatchError *error)
{
	Parser s = {
		.lex = {.memory = memory, .error = error, .utf8 = utf8, .begin = text, .p = text, .end = text + len}};
	MdbProm *node;

	memset(error, 0, sizeof(MdbMatchError));
	mdb_prom_next(&s.lex);
	node = parse_binary(&s, 0);
	if (node && s.lex.token != MDB_TOK_END)
		node = unexpected(&s, "an operator");
	if (node && mdb_prom_check(memory, error, node))
		return node;
	/* A token that is none was told of when it was read. */
	if (error->what == NULL)
		mdb_prom_fail(memory, error, here(&s), NULL, "this is no expression");
	return NULL;
}
