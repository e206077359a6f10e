/*
 * promql_test.c
 *	  Tests of the parsers of Prometheus' expressions, of values of its unit tests, and of YAML, which need no server.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "alert/promql.h"
#include "alert/yaml_tree.h"

static int passed, failed;

static void *
take(void *arg, size_t size)
{
	(void) arg;
	return malloc(size ? size : 1);
}

static const MdbMatchMemory memory = {.alloc = take};
static char shown[10000];

static void
say(const char *text, size_t len)
{
	snprintf(shown + strlen(shown), sizeof(shown) - strlen(shown), "%.*s", (int) len, text);
}

static void
say_names(const char *word, const MdbNames *names)
{
	say(word, strlen(word));
	for (int i = 0; i < names->n; i++)
	{
		say(i ? "," : "(", 1);
		say(names->v[i].p, names->v[i].len);
	}
	say(names->n ? ")" : "()", names->n ? 1 : 2);
}

/* A tree with all its parentheses. */
static void
show(const MdbProm *node)
{
	char buf[100];

	switch (node->kind)
	{
		case MDB_PROM_NUMBER:
			snprintf(buf, sizeof(buf), "%g", node->number);
			say(buf, strlen(buf));
			break;
		case MDB_PROM_TEXT:
			say("'", 1);
			say(node->text.p, node->text.len);
			say("'", 1);
			break;
		case MDB_PROM_SELECTOR:
			say(node->text.p, node->text.len);
			break;
		case MDB_PROM_NEGATE:
			say(node->number < 0 ? "-(" : "+(", 2);
			show(node->args[0]);
			say(")", 1);
			break;
		case MDB_PROM_BINARY:
			say("(", 1);
			show(node->args[0]);
			snprintf(buf, sizeof(buf), " %.*s%s ", (int) node->text.len, node->text.p,
					 node->returns_bool ? " bool" : "");
			say(buf, strlen(buf));
			if (node->matched)
				say_names(node->by ? "on" : "ignoring", &node->labels);
			if (node->card != MDB_ONE_TO_ONE)
				say_names(node->card == MDB_MANY_TO_ONE ? "left" : "right", &node->include);
			show(node->args[1]);
			say(")", 1);
			break;
		case MDB_PROM_SUBQUERY:
			show(node->args[0]);
			break;
		case MDB_PROM_CALL:
		case MDB_PROM_AGGREGATE:
			say(node->text.p, node->text.len);
			if (node->kind == MDB_PROM_AGGREGATE && node->matched)
				say_names(node->by ? " by" : " without", &node->labels);
			say("(", 1);
			for (int i = 0; i < node->nargs; i++)
			{
				say(",", i > 0);
				show(node->args[i]);
			}
			say(")", 1);
			break;
	}
	if (node->range)
	{
		snprintf(buf, sizeof(buf),
				 node->kind == MDB_PROM_SUBQUERY ? "[%" PRId64 ":%" PRId64 "]" : "[%" PRId64 "]", node->range,
				 node->step);
		say(buf, strlen(buf));
	}
	if (node->offset)
	{
		snprintf(buf, sizeof(buf), " offset %" PRId64, node->offset);
		say(buf, strlen(buf));
	}
	if (node->at_kind == MDB_AT_FIXED)
	{
		snprintf(buf, sizeof(buf), " @ %" PRId64, node->at_time);
		say(buf, strlen(buf));
	}
}

static void
is(const char *input, const char *want)
{
	if (strcmp(shown, want) == 0)
		passed++;
	else
	{
		failed++;
		printf("%s\n  is   %s\n  want %s\n", input, shown, want);
	}
}

/* An expression is this tree. */
static void
tree(const char *text, const char *want)
{
	MdbMatchError error;
	MdbProm *node = mdb_prom_parse(&memory, true, text, strlen(text), &error);

	shown[0] = '\0';
	if (node)
		show(node);
	else
		snprintf(shown, sizeof(shown), "%zu: %s", error.at, error.what);
	is(text, want);
}

/* A series has these values. */
static void
values(const char *text, const char *want)
{
	MdbMatchError error;
	MdbPromValues v;

	shown[0] = '\0';
	if (!mdb_prom_values(&memory, text, strlen(text), &v, &error))
		snprintf(shown, sizeof(shown), "%zu: %s", error.at, error.what);
	else
		for (size_t i = 0; i < v.n; i++)
		{
			char buf[50];
			uint64_t bits;

			memcpy(&bits, &v.v[i], sizeof(bits));
			snprintf(buf, sizeof(buf), "%s%g", i ? " " : "", v.v[i]);
			if (v.missing[i] || bits == MDB_PROM_STALE)
				snprintf(buf, sizeof(buf), "%s%s", i ? " " : "", v.missing[i] ? "_" : "stale");
			say(buf, strlen(buf));
		}
	is(text, want);
}

static void
show_yaml(const MdbYaml *node)
{
	if (node->kind == MDB_YAML_SCALAR)
	{
		say(mdb_yaml_is_null(node) ? "null" : node->text.p, 1000);
		return;
	}
	say(node->kind == MDB_YAML_MAP ? "{" : "[", 1);
	for (int i = 0; i < node->n; i++)
	{
		say(", ", i ? 2 : 0);
		if (node->kind == MDB_YAML_MAP)
		{
			say(node->keys[i]->text.p, node->keys[i]->text.len);
			say(": ", 2);
		}
		show_yaml(node->values[i]);
	}
	say(node->kind == MDB_YAML_MAP ? "}" : "]", 1);
}

static void
yaml(const char *text, const char *want)
{
	MdbYamlError error;
	MdbYaml **documents;
	int n;

	shown[0] = '\0';
	if (!mdb_yaml_read(&memory, text, strlen(text), &n, &documents, &error))
		snprintf(shown, sizeof(shown), "%d: %s", error.line, error.what);
	else
		for (int i = 0; i < n; i++)
		{
			say("; ", i ? 2 : 0);
			show_yaml(documents[i]);
		}
	is(text, want);
}

static void
test_trees(void)
{
	tree("1 + 2 * 3 ^ 2 ^ x", "(1 + (2 * (3 ^ (2 ^ x))))");
	tree("-x ^ 2 * y", "(-((x ^ 2)) * y)");
	tree("a or b and c unless d", "(a or ((b and c) unless d))");
	tree("a + b > bool c or d", "(((a + b) > bool c) or d)");
	tree("a - b - c", "((a - b) - c)");
	tree("a atan2 b % c", "((a atan2 b) % c)");
	tree("a / on(x, y,) group_left(z) b", "(a / on(x,y)left(z)b)");
	tree("a * IGNORING (x) GROUP_RIGHT b", "(a * ignoring(x)right()b)");
	tree("sum(x)", "sum(x)");
	tree("sum by (a, by) (rate(m{b=\"}\"}[5m]))", "sum by(a,by)(rate(m{b=\"}\"}[300000]))");
	tree("SUM(x) without ()", "SUM without()(x)");
	tree("topk(3, x)", "topk(3,x)");
	tree("sum", "sum");
	tree("sum{a=\"b\"} # nothing", "sum{a=\"b\"}");
	tree("{__name__=~\"a|b\"} offset 1h30m", "{__name__=~\"a|b\"} offset 5400000");
	tree("x[5m] offset -1w", "x[300000] offset -604800000");
	tree("x @ 12.5 offset 5s", "x offset 5000 @ 12500");
	tree("x @ end()", "x");
	tree("max_over_time(rate(x[1m])[1h:5s])", "max_over_time(rate(x[60000])[3600000:5000])");
	tree("max_over_time((a + b)[1h:])", "max_over_time((a + b)[3600000:0])");
	tree("by", "by");
	tree("offset offset 5m", "offset offset 300000");
	tree("job:x:rate5m > 0x10 + .5e1 - Inf", "(job:x:rate5m > ((16 + 5) - inf))");
	tree("vector(time())", "vector(time())");
	tree("label_join(x, 'a', \"-\", `b`, 'c')", "label_join(x,'a','-','b','c')");
	tree("round(x)", "round(x)");
	tree("x == on() y", "(x == on()y)");
	tree("(((x)))[5m:1m] offset 1m", "x[300000:60000] offset 60000");
}

static void
test_refusals(void)
{
	tree("", "0: the expression ends where an expression should be");
	tree("x +", "3: the expression ends where an expression should be");
	tree("x y", "2: there is \"y\" where an operator should be");
	tree("rate(x)", "5: \"rate\" takes a range vector here, and this is an instant vector");
	tree("rate(x[5m], 1)", "0: \"rate\" takes 1 argument, and has 2");
	tree("nothing(x)", "0: there is no function \"nothing\"");
	tree("1 > 2", "0: a comparison of scalars is no filter");
	tree("x + bool y", "4: bool stands behind comparisons alone");
	tree("1 and x", "0: \"and\" takes instant vectors on both sides");
	tree("x and on(a) group_left y", "0: \"and\" takes neither group_left nor group_right");
	tree("x * on(a) group_left(a) y", "0: label \"a\" is in on and in the group, too");
	tree("x * on(a) 1", "0: labels are matched between instant vectors alone");
	tree("{}", "0: the selector would choose all series: one of its matchers must not match an empty value");
	tree("x{a=~\"(\"}", "6: the parenthesis is not closed");
	tree("x{a=\"b\"", "1: the brace is not closed");
	tree("(x)[5m]", "3: a range stands behind a selector");
	tree("x offset 5m [5m]", "12: a range stands before offset and @");
	tree("x[5]", "2: there is \"5\" where a duration above 0 should be");
	tree("x[5m1h]", "2: this is neither a number nor a duration");
	tree("(x) offset 5m", "4: offset and @ stand behind a selector, a range or a subquery");
	tree("x $ y", "2: this character is none of an expression");
	tree("'open", "0: the string is not closed");
	tree("sum by (a:b) (x)", "8: there is \"a:b\" where the name of a label should be");
	tree("topk(x)", "0: \"topk\" takes 2 arguments, and has 1");
	tree("-x[5m]", "0: a sign stands before scalars and vectors");
	tree("count_values(1, x)", "13: \"count_values\" takes a string here, and this is a scalar");
	{
		char deep[3000] = "";

		for (int i = 0; i < 1000; i++)
			strcat(deep, "(");
		tree(deep, "200: the expression is nested too deeply");
		deep[0] = '\0';
		for (int i = 0; i < 500; i++)
			strcat(deep, "1+");
		tree(deep, "398: the expression is nested too deeply");
	}
}

static void
test_values(void)
{
	values("1 2.5 -3 +4", "1 2.5 -3 4");
	values("1+2x3", "1 3 5 7");
	values("10-2.5x2", "10 7.5 5");
	values("-1-1x1 5x2", "-1 -2 5 5 5");
	values("0x3", "0 0 0 0");
	values(" _ _x2 1 _x0 stale", "_ _ _ 1 stale");
	values("NaN Inf -inf 1e3x1", "nan inf -inf 1000 1000");
	values("1 2y", "3: this is no part of a series' values");
	values("1+2", "3: there is no x and a number of times behind the step");
	values("1x", "1: there is no number of times behind the x");
	values("a", "0: there is no number");
	values("0x10000000", "1: the series has too many values");
	values("0+1x999999 1", "12: the series has too many values");
}

static void
test_yaml(void)
{
	yaml("a: 1\nb: [x, 'y']\nc:\n  - d: ~\n", "{a: 1, b: [x, y], c: [{d: null}]}");
	yaml("--- a\n--- b\n", "a; b");
	yaml("", "");
	yaml("a: &x {b: 1, c: 2}\nd: *x\ne: {<<: *x, c: 3}",
		 "{a: {b: 1, c: 2}, d: {b: 1, c: 2}, e: {c: 3, b: 1}}");
	yaml("a: 1\na: 2", "2: this key is there twice");
	yaml("a: &x [*x]", "1: an alias stands inside of its own anchor");
	yaml("a: *x", "1: there is no such anchor");
	yaml("a: [b", "2: did not find expected ',' or ']'");
	yaml("? [a]\n: b", "1: a key is a text here");
	yaml("a: \"b\\0c\"", "1: a text cannot have a zero in it");
	yaml("a: |\n  b\n  c\n", "{a: b\nc\n}");
}

int
main(void)
{
	test_trees();
	test_refusals();
	test_values();
	test_yaml();
	printf("promql: %d passed, %d failed\n", passed, failed);
	return failed != 0;
}
