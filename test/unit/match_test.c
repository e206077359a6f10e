/*
 * match_test.c
 *	  Tests of selectors and their regular expressions, which need no server.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "func/match.h"

static int passed, failed;

static void *
take(void *arg, size_t size)
{
	(void) arg;
	return malloc(size ? size : 1);
}

static const MdbMatchMemory memory = {.alloc = take};

static void
note(bool ok, const char *what, const char *detail)
{
	passed += ok;
	failed += !ok;
	if (!ok)
		printf("not as expected: %s: %s\n", what, detail);
}

/* Does an expression match what follows, up to NULL, and not what follows that? */
static void
regex(const char *re, const char *const *texts)
{
	MdbMatchError error;
	MdbRegex *compiled = mdb_regex_compile(&memory, true, re, strlen(re), &error);
	bool want = true;

	note(compiled != NULL, re, "compiles");
	for (int nulls = 0; compiled && nulls < 2; texts++)
		if (*texts == NULL)
		{
			nulls++;
			want = false;
		}
		else
			note(mdb_regex_matches(compiled, *texts, strlen(*texts)) == want, re, *texts);
}

#define REGEX(re, ...) regex(re, (const char *const[]){__VA_ARGS__, NULL})

static void
bad_regex(const char *re, size_t at)
{
	MdbMatchError error = {0};
	MdbRegex *compiled = mdb_regex_compile(&memory, true, re, strlen(re), &error);

	note(compiled == NULL && error.what && error.at == at, re, error.what ? error.what : "compiles");
}

static void
words(const char *re, int want, const char *prefix)
{
	MdbMatchError error;
	MdbRegex *compiled = mdb_regex_compile(&memory, true, re, strlen(re), &error);
	int n = -2;

	if (compiled)
		(void) mdb_regex_words(compiled, &n);
	note(n == want, re, "number of words");
	if (n < 0 && compiled)
	{
		MdbBytes is = mdb_regex_prefix(compiled);

		note(is.len == strlen(prefix) && memcmp(is.p, prefix, is.len) == 0, re, "prefix");
	}
}

/* A selector as it is understood: label op value, each with a blank behind it. */
static void
selector(const char *text, const char *want)
{
	static const char *const ops[] = {"=", "!=", "=~", "!~"};
	MdbMatchError error;
	MdbSelector *s = mdb_selector_parse(&memory, true, text, strlen(text), &error);
	char is[1000] = "";

	for (int i = 0; s && i < s->n; i++)
		snprintf(is + strlen(is), sizeof(is) - strlen(is), "%.*s%s%.*s ", (int) s->v[i].label.len,
				 s->v[i].label.p, ops[s->v[i].op], (int) s->v[i].value.len, s->v[i].value.p);
	note(s && strcmp(is, want) == 0, text, s ? is : error.what);
}

static void
bad_selector(const char *text, size_t at)
{
	MdbMatchError error = {0};
	MdbSelector *s = mdb_selector_parse(&memory, true, text, strlen(text), &error);

	note(s == NULL && error.at == at, text, s ? "is understood" : error.what);
	if (s == NULL && error.at != at)
		printf("    at %zu, not %zu\n", error.at, at);
}

int
main(void)
{
	/* What is anchored, and what a dot is */
	REGEX("", "", NULL, "a");
	REGEX("api", "api", NULL, "apis", "xapi", "", "API");
	REGEX("api.*", "api", "api-1", "api\nx", NULL, "xapi");
	REGEX("(?-s)api.*", "api", "api-1", NULL, "api\nx");
	REGEX("a|bc", "a", "bc", NULL, "abc", "ac", "b");
	REGEX("(a|b)c", "ac", "bc", NULL, "a", "abc");
	REGEX("a|", "a", "", NULL, "aa");
	REGEX(".+", "a", "\xc3\xa4", NULL, "");
	REGEX(".", "a", "\xc3\xa4", "\xf0\x9f\x98\x80", NULL, "", "ab");
	REGEX("^a$", "a", NULL, "ab", "");
	/* Repetition */
	REGEX("a*", "", "a", "aaaa", NULL, "b", "ab");
	REGEX("a+?b??", "a", "aab", NULL, "", "b");
	REGEX("a{2}", "aa", NULL, "a", "aaa");
	REGEX("a{2,}", "aa", "aaaaa", NULL, "a");
	REGEX("a{2,3}b", "aab", "aaab", NULL, "ab", "aaaab");
	REGEX("(ab){0}c", "c", NULL, "abc");
	REGEX("(a*)*b", "b", "aab", NULL, "a", "aabb");
	REGEX("(a{1,3}){2}.*", "aa", "aaaaaax", NULL, "a", "xaa");
	REGEX("()*", "", NULL, "a");
	REGEX("a{,2}", "a{,2}", NULL, "a");
	REGEX("a{01}x{", "a{01}x{", NULL, "ax");
	REGEX(
		"(a|aa){100}b?",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		NULL, "a");
	/* Sets */
	REGEX("[abc]", "a", "c", NULL, "d", "", "ab");
	REGEX("[^abc]", "d", "\xc3\xa4", "\n", NULL, "a", "");
	REGEX("[]a]", "]", "a", NULL, "b");
	REGEX("[^]a]", "b", NULL, "]");
	REGEX("[a-c-e]", "b", "-", "e", NULL, "d");
	REGEX("[\\d.-]+", "1.2-3", NULL, "a");
	REGEX("[^\\D5]", "4", NULL, "5", "a");
	REGEX("[[:alpha:]_]+", "ab_Z", NULL, "1", "\xc3\xa4");
	REGEX("[[:^digit:]]", "a", "\xc3\xa4", NULL, "1");
	REGEX("[\\x41-\\x{43}]", "A", "C", NULL, "D");
	REGEX("[\xc3\xa0-\xc3\xbf]", "\xc3\xa4", NULL, "a", "\xc3\x84");
	REGEX("[[:x]", "[", ":", "x", NULL, "a");
	/* Escapes */
	REGEX("\\d+\\.\\w", "12.a", "1._", NULL, "12a", "12.-");
	REGEX("\\D\\S\\W", "ab-", "\xc3\xa4\xc3\xa4\xc3\xa4", NULL, "1b-", "a -", "abc");
	REGEX("\\s", " ", "\t", "\n", NULL, "\v", "a");
	REGEX("\\Qa.b*\\E+", "a.b*", "a.b***", NULL, "axb");
	REGEX("\\Qa|b", "a|b", NULL, "a");
	REGEX("\\012\\x0a\\n", "\n\n\n", NULL, "\n");
	REGEX("\\Aa\\z", "a", NULL, "b");
	REGEX("a\\b.c", "a-c", NULL, "abc");
	REGEX("a\\Bb", "ab", NULL, "a");
	REGEX("\\_\\-\\/", "_-/", NULL, "");
	/* Flags */
	REGEX("(?i)abc", "ABC", "aBc", NULL, "abd");
	REGEX("a(?i)b|c", "aB", "C", NULL, "AB");
	REGEX("a(?i:b)c", "aBc", "abc", NULL, "aBC", "Abc");
	REGEX("(a(?i)b)c", "aBc", NULL, "aBC");
	REGEX("(?i)[^x]", "y", NULL, "X", "x");
	REGEX("(?i)k", "K", "\xe2\x84\xaa", NULL, "s");
	REGEX("(?i)\xc5\xbf", "S", "s", NULL, "k");
	REGEX("(?m)a$\n^b", "a\nb", NULL, "ab");
	REGEX("(?P<x>a)(?<y>b)(?:c)", "abc", NULL, "ab");
	REGEX("(?U)a*", "aa", NULL, "b");
	REGEX("a(?i)*", "aaa", NULL, "b");
	REGEX("a*(?i)*?b", "aab", NULL, "a");
	/* What is wrong, and where */
	bad_regex("a(b", 1);
	bad_regex("ab)", 2);
	bad_regex("[a", 0);
	bad_regex("x[b-a]", 2);
	bad_regex("*a", 0);
	bad_regex("a|*", 2);
	bad_regex("a**", 2);
	bad_regex("a{2}{3}", 4);
	bad_regex("a{1001}", 1);
	bad_regex("a{3,2}", 1);
	bad_regex("((a{100}){100}){100}", 0);
	bad_regex("a\\", 1);
	bad_regex("\\pL", 0);
	bad_regex("[\\p{Greek}]", 1);
	bad_regex("(a)\\1", 3);
	bad_regex("(?=a)", 0);
	bad_regex("(?z)a", 0);
	bad_regex("(?P<>a)", 0);
	bad_regex("[[:none:]]", 1);
	bad_regex("\\y", 0);
	bad_regex("a\xff", 1);
	/* What is known without running */
	words("api", 1, "");
	words("api|web-[12]|db(x|y)?", 6, "");
	words("^api$", 1, "");
	words("a{0,3}", 4, "");
	words("[a-z]{2}", -1, "");
	words("api-.*", -1, "api-");
	words("^(api-1)+", -1, "api-1");
	words("(?i)api.*", -1, "");
	words("ap(i.*|j)", -1, "ap");
	words("", 1, "");
	/* Selectors */
	selector("up", "__name__=up ");
	selector("a:b_1 # comment\n{}", "__name__=a:b_1 ");
	selector("{}", "");
	selector(" http_requests_total{job=~\"api.*\", env!='dev' , x !~ `a\\.b`,}",
			 "__name__=http_requests_total job=~api.* env!=dev x!~a\\.b ");
	selector("{\"a.b\"='x', \"metric\"}", "a.b=x __name__=metric ");
	selector("{__name__=~\"x.*\",__name__!=\"xy\"}", "__name__=~x.* __name__!=xy ");
	selector("{a=\"\\\"\\x41\\101\\u00e4\\n\",b='\\'\"'}", "a=\"AA\xc3\xa4\n b='\" ");
	selector("{a=\"\\xc3\\xa4\"}", "a=\xc3\xa4 ");
	bad_selector("", 0);
	bad_selector("  1a", 2);
	bad_selector("{a=b}", 3);
	bad_selector("{a=\"b\"", 6);
	bad_selector("{a=\"b}", 3);
	bad_selector("{a=\"b\nc\"}", 3);
	bad_selector("{a~\"b\"}", 2);
	bad_selector("{,}", 1);
	bad_selector("{a=\"b\" b=\"c\"}", 7);
	bad_selector("up{__name__=\"x\"}", 3);
	bad_selector("up{\"x\"}", 3);
	bad_selector("{\"x\",'y'}", 5);
	bad_selector("up[5m]", 2);
	bad_selector("up{} offset 5m", 5);
	bad_selector("{a=\"\\d\"}", 4);
	bad_selector("{a='\\\"'}", 4);
	bad_selector("{a=\"\\x4\"}", 4);
	bad_selector("{a=\"\\000\"}", 4);
	bad_selector("{a=\"\\xff\"}", 3);
	bad_selector("{a=\"\\ud800\"}", 4);
	bad_selector("{a=~\"x(\"}", 6);
	bad_selector("{a=~\"\\\\(\\n(\"}", 4);
	bad_selector("{a:b=\"x\"}", 2);
	printf("%d passed, %d failed\n", passed, failed);
	return failed > 0;
}
