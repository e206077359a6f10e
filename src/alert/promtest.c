/*
 * promtest.c
 *	  metricsdb.run_alert_tests(): unit tests of rules in the format of promtool.
 *
 * The series of a test are put into a temporary table, from 1970 on, as promtool does.  Rules are then evaluated over it at
 * each interval, by what evaluates rules at all, and move instances through the states of all rules; what is recorded goes
 * into the table.  Checks are promtool's, of 2.42 (cmd/promtool/unittest.go): an alert's at a time are those that fire
 * after the last evaluation up to it.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "alert/define.h"
#include "alert/evaluate.h"
#include "alert/promql_rules.h"
#include "alert/promql_sql.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(mdb_run_alert_tests);

#define WHAT         "test file"
#define TABLE        "pg_temp.metricsdb_test_samples"
#define MINUTE       60000
#define MAX_TICKS    1000000
#define MAX_SAMPLES  5000000
#define RESOLVED_FOR (15 * USECS_PER_MINUTE)
#define MAX_DURATION (10 * USECS_PER_MINUTE)
#define SEARCH_PATH  "pg_catalog, metricsdb"

/* A rule under test. */
typedef struct Tested
{
	const MdbPromRule *rule;
	MdbRule as; /* what is evaluated */
	MdbAlerts *alerts;
	List *recorded; /* labels of the last evaluation, of Jsonb * */
	bool failed;    /* which was told */
} Tested;

typedef struct Test
{
	const MdbYaml *node;
	char *name;
	int64 every; /* milliseconds between evaluations */
	List *rules; /* of Tested * */
	MdbPromSource *source;
	SPIPlanPtr insert;
	int64 nsamples;
	ReturnSetInfo *result;
	MemoryContext mcxt; /* of what lasts as long as the test */
} Test;

static TimestampTz
time_of(int64 ms)
{
	return ms * 1000 - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

static void
tell(Test *test, const char *what, const char *problem)
{
	Datum values[3];
	bool nulls[3] = {0};

	values[0] = CStringGetTextDatum(psprintf("%s: %s", test->name, what));
	values[1] = BoolGetDatum(problem == NULL);
	values[2] = problem ? CStringGetTextDatum(problem) : (Datum) 0;
	nulls[2] = problem == NULL;
	tuplestore_putvalues(test->result->setResult, test->result->setDesc, values, nulls);
}

static char *
show(const Jsonb *object)
{
	return JsonbToCString(NULL, unconstify(JsonbContainer *, &object->root), VARSIZE(object));
}

/* ---------- series ---------- */

static void
put_sample(Test *test, const char *metric, Jsonb *labels, int64 ms, double value)
{
	Datum values[4];

	if (++test->nsamples > MAX_SAMPLES)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("a test has more than %d samples", MAX_SAMPLES)));
	values[0] = CStringGetTextDatum(metric);
	values[1] = JsonbPGetDatum(labels);
	values[2] = TimestampTzGetDatum(time_of(ms));
	values[3] = Float8GetDatum(value);
	SPI_execute_plan(test->insert, values, NULL, false, 0);
}

static void
make_table(Test *test)
{
	static Oid types[] = {TEXTOID, JSONBOID, TIMESTAMPTZOID, FLOAT8OID};
	bool isnull;
	Oid relid;

	SPI_execute("CREATE TABLE " TABLE
				" (metric_name text, tags jsonb, \"time\" timestamptz NOT NULL, value float8) "
				"USING heap ON COMMIT DROP",
				false, 0);
	SPI_execute("SELECT '" TABLE "'::regclass::oid", false, 0);
	relid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	test->insert = SPI_prepare("INSERT INTO " TABLE " VALUES ($1, $2, $3, $4)", 4, types);
	if (test->insert == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	MemoryContextSwitchTo(test->mcxt);
	test->source = mdb_prom_source(relid);
}

/* A series as {a="b"} or name{a="b"}: its labels, and its name, NULL if it has none. */
static Jsonb *
read_series(const char *text, int line, char **name)
{
	MdbMatchError error;
	MdbSelector *selector = mdb_selector_parse(mdb_prom_memory(), true, text, strlen(text), &error);
	JsonbParseState *state = NULL;

	*name = NULL;
	if (selector == NULL)
		mdb_prom_bad_file(WHAT, line, psprintf("\"%s\" is no series: %s", text, error.what));
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < selector->n; i++)
	{
		const MdbMatcher *m = &selector->v[i];
		JsonbValue v = {.type = jbvString};

		if (m->op != MDB_MATCH_EQUAL)
			mdb_prom_bad_file(WHAT, line, psprintf("\"%s\" is no series: labels have values by =", text));
		if (mdb_is_metric_label(m->label))
		{
			*name = pnstrdup(m->value.p, m->value.len);
			continue;
		}
		if (m->value.len == 0)
			continue;
		v.val.string.val = unconstify(char *, m->label.p);
		v.val.string.len = (int) m->label.len;
		(void) pushJsonbValue(&state, WJB_KEY, &v);
		v.val.string.val = unconstify(char *, m->value.p);
		v.val.string.len = (int) m->value.len;
		(void) pushJsonbValue(&state, WJB_VALUE, &v);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
load_series(Test *test)
{
	static const char *const keys[] = {"series", "values", NULL};
	const MdbYaml *list = mdb_prom_list(test->node, WHAT, "input_series");
	int64 interval = mdb_prom_time(test->node, WHAT, "interval", test->every);

	if (interval == 0)
		interval = test->every;
	for (int i = 0; list && i < list->n; i++)
	{
		const MdbYaml *node = list->values[i];
		char *series, *values, *name;
		Jsonb *labels;
		MdbPromValues v;
		MdbMatchError error;

		mdb_prom_known_keys(node, WHAT, keys);
		series = mdb_prom_string(node, WHAT, "series");
		values = mdb_prom_string(node, WHAT, "values");
		if (series == NULL || values == NULL)
			mdb_prom_bad_file(WHAT, node->line, "there should be \"series\" and \"values\"");
		labels = read_series(series, node->line, &name);
		if (name == NULL)
			mdb_prom_bad_file(WHAT, node->line, psprintf("series \"%s\" has no name", series));
		if (!mdb_prom_values(mdb_prom_memory(), values, strlen(values), &v, &error))
			mdb_prom_bad_file(WHAT, node->line,
							  psprintf("values are wrong at character %zu: %s", error.at + 1, error.what));
		for (size_t n = 0; n < v.n; n++)
		{
			CHECK_FOR_INTERRUPTS();
			if (!v.missing[n])
				put_sample(test, name, labels, (int64) n * interval, v.v[n]);
		}
	}
}

/* ---------- rules ---------- */

static Jsonb *
query_definition(char *query)
{
	JsonbParseState *state = NULL;
	JsonbValue v = {.type = jbvString};

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	v.val.string.val = "query";
	v.val.string.len = strlen("query");
	(void) pushJsonbValue(&state, WJB_KEY, &v);
	v.val.string.val = query;
	v.val.string.len = (int) strlen(query);
	(void) pushJsonbValue(&state, WJB_VALUE, &v);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
check_templates(const Jsonb *object, const char *what)
{
	JsonbIterator *it = JsonbIteratorInit(unconstify(JsonbContainer *, &object->root));
	JsonbIteratorToken token;
	JsonbValue v;
	bool uses_value = false;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		if (token == WJB_VALUE)
			mdb_template_check(mdb_json_scalar(&v), what, &uses_value);
}

typedef struct Preparing
{
	Test *test;
	Tested *tested;
	const MdbPromGroup *group;
} Preparing;

/* A rule as one that can be evaluated.  Raises what is wrong with it. */
static void
prepare_rule(void *arg)
{
	static int64 version = 0;
	Preparing *p = arg;
	const MdbPromRule *rule = p->tested->rule;
	MdbRule *as = &p->tested->as;
	MdbPromQuestion question = {.text = rule->expr,
								.source = p->test->source,
								.at = "metricsdb.eval_time()",
								.lookback = 5 * MINUTE,
								.step = p->test->every};

	/* Its plan is kept from one tick to the next, as an id's and a version's; no rule of a table has such. */
	as->id = -1 - list_length(p->test->rules);
	as->version = ++version;
	as->name = rule->name;
	as->owner = GetUserId();
	as->kind = MDB_RULE_QUERY;
	as->definition = query_definition(mdb_prom_sql(&question, mdb_prom_parsed(rule->expr)));
	as->every = p->test->every * 1000;
	as->policy.hold = rule->hold * 1000;
	as->policy.keep_firing_for = rule->keep_firing_for * 1000;
	as->policy.resolved_for = RESOLVED_FOR;
	as->labels = rule->labels;
	as->annotations = rule->annotations;
	as->max_rows = p->group->limit ? (int32) p->group->limit : PG_INT32_MAX;
	as->max_new_instances = PG_INT32_MAX;
	as->timeout = MAX_DURATION;
	as->search_path = SEARCH_PATH;
	check_templates(rule->labels, "a label");
	check_templates(rule->annotations, "an annotation");
}

static void
prepare_rules(Test *test, List *groups)
{
	ListCell *lg, *lr;

	foreach (lg, groups)
	{
		const MdbPromGroup *group = lfirst(lg);

		foreach (lr, group->rules)
		{
			Preparing p = {.test = test, .tested = palloc0(sizeof(Tested)), .group = group};
			char *problem;

			p.tested->rule = lfirst(lr);
			problem = mdb_prom_try(prepare_rule, &p);
			if (problem)
				tell(test, psprintf("rule %s", p.tested->rule->name), problem);
			else
			{
				p.tested->alerts = mdb_alerts_create(test->mcxt);
				test->rules = lappend(test->rules, p.tested);
			}
		}
	}
}

static bool
among(List *all, const Jsonb *labels)
{
	ListCell *lc;

	foreach (lc, all)
	{
		Jsonb *one = lfirst(lc);

		if (VARSIZE(one) == VARSIZE(labels) && memcmp(one, labels, VARSIZE(labels)) == 0)
			return true;
	}
	return false;
}

/* What a rule has recorded goes into the table; what it recorded before and does not any more has ended. */
static void
record(Test *test, Tested *tested, const MdbObservations *seen, int64 ms)
{
	List *now = NIL;
	ListCell *lc;
	uint64 bits = MDB_PROM_STALE;
	double stale;

	memcpy(&stale, &bits, sizeof(stale));
	for (int i = 0; i < seen->count; i++)
	{
		Jsonb *labels = DatumGetJsonbP(DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(seen->of[i].labels),
														   CStringGetTextDatum("alertname")));
		MemoryContext before;

		put_sample(test, tested->rule->name, labels, ms, seen->of[i].value);
		before = MemoryContextSwitchTo(test->mcxt);
		now = lappend(now, memcpy(palloc(VARSIZE(labels)), labels, VARSIZE(labels)));
		MemoryContextSwitchTo(before);
	}
	foreach (lc, tested->recorded)
		if (!among(now, lfirst(lc)))
			put_sample(test, tested->rule->name, lfirst(lc), ms, stale);
	list_free_deep(tested->recorded);
	tested->recorded = now;
}

static void
evaluate(Test *test, Tested *tested, int64 ms)
{
	MdbObservations seen = {.at = time_of(ms)};
	MdbSteps steps = {0};

	mdb_query_evaluate(&tested->as, &seen);
	if (seen.error && !tested->failed)
	{
		tested->failed = true;
		tell(test, psprintf("rule %s", tested->rule->name),
			 psprintf("its evaluation at %g s fails: %s", (double) ms / 1000, seen.error));
	}
	if (tested->rule->records)
	{
		record(test, tested, &seen, ms);
		return;
	}
	mdb_alerts_step(tested->alerts, &tested->as, &seen, &steps);
	mdb_alerts_forget(tested->alerts, &tested->as, &steps);
}

/* ---------- checks ---------- */

static int
compare_texts(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

static char *
joined(List *texts)
{
	StringInfoData buf;
	ListCell *lc;

	initStringInfo(&buf);
	foreach (lc, texts)
		appendStringInfo(&buf, "%s%s", foreach_current_index(lc) ? "; " : "", (char *) lfirst(lc));
	return texts ? buf.data : "none";
}

/* NULL if two lists of texts are the same in any order, else what differs. */
static char *
difference(List *got, List *wanted)
{
	char *is, *should;

	list_sort(got, compare_texts);
	list_sort(wanted, compare_texts);
	is = joined(got);
	should = joined(wanted);
	return strcmp(is, should) == 0 ? NULL : psprintf("there is %s, and should be %s", is, should);
}

static Jsonb *
with_text(const Jsonb *object, char *name, char *value)
{
	JsonbParseState *state = NULL;
	JsonbValue v = {.type = jbvString};

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	v.val.string.val = name;
	v.val.string.len = (int) strlen(name);
	(void) pushJsonbValue(&state, WJB_KEY, &v);
	v.val.string.val = value;
	v.val.string.len = (int) strlen(value);
	(void) pushJsonbValue(&state, WJB_VALUE, &v);
	return DatumGetJsonbP(
		DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(object),
							JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)))));
}

static List *
firing(Test *test, const char *alertname)
{
	List *got = NIL;
	ListCell *lc;

	foreach (lc, test->rules)
	{
		Tested *tested = lfirst(lc);
		HASH_SEQ_STATUS scan;
		MdbAlert *alert;

		/* There is no table before there is an instance. */
		if (tested->alerts->by_key == NULL || tested->rule->records ||
			strcmp(tested->rule->name, alertname) != 0)
			continue;
		hash_seq_init(&scan, tested->alerts->by_key);
		while ((alert = hash_seq_search(&scan)) != NULL)
			if (mdb_state_told(alert->now.state) && !alert->is_for_all)
				got = lappend(
					got, psprintf("%s, annotations %s", show(alert->labels),
								  show(mdb_annotations_make(&tested->as, alert->labels, alert->now.value))));
	}
	return got;
}

static void
check_alert(Test *test, const MdbYaml *node, int64 at)
{
	static const char *const keys[] = {"exp_labels", "exp_annotations", NULL};
	char *alertname = mdb_prom_string(node, WHAT, "alertname");
	const MdbYaml *list = mdb_prom_list(node, WHAT, "exp_alerts");
	List *wanted = NIL;

	for (int i = 0; list && i < list->n; i++)
	{
		Jsonb *labels, *annotations;

		mdb_prom_known_keys(list->values[i], WHAT, keys);
		labels = mdb_prom_texts(list->values[i], WHAT, "exp_labels");
		annotations = mdb_prom_texts(list->values[i], WHAT, "exp_annotations");
		wanted =
			lappend(wanted, psprintf("%s, annotations %s", show(with_text(labels, "alertname", alertname)),
									 show(annotations)));
	}
	tell(test, psprintf("alert %s at %g s", alertname, (double) at / 1000),
		 difference(firing(test, alertname), wanted));
}

typedef struct Asking
{
	Test *test;
	const MdbYaml *node;
	char *expr;
	int64 at;
	List *labels; /* of char *: what was told */
	List *values; /* of float8 * */
} Asking;

static void
ask(void *arg)
{
	Asking *asking = arg;
	MdbPromQuestion question = {.text = asking->expr,
								.source = asking->test->source,
								.lookback = 5 * MINUTE,
								.step = asking->test->every,
								.with_metric = true};

	question.at =
		psprintf("timestamptz '1970-01-01 00:00:00+00' + interval '%lld ms'", (long long) asking->at);
	/* With a snapshot that sees the samples. */
	SPI_execute(mdb_prom_sql(&question, mdb_prom_parsed(asking->expr)), false, 0);
	MemoryContextSwitchTo(asking->test->mcxt);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		char *metric = SPI_getvalue(row, desc, 1);
		bool isnull;
		Jsonb *labels = DatumGetJsonbP(SPI_getbinval(row, desc, 2, &isnull));
		float8 *value = palloc(sizeof(float8));

		*value = DatumGetFloat8(SPI_getbinval(row, desc, 3, &isnull));
		asking->labels =
			lappend(asking->labels, show(metric ? with_text(labels, MDB_MATCH_NAME, metric) : labels));
		asking->values = lappend(asking->values, value);
	}
}

static bool
same_value(double a, double b)
{
	return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= 1e-12 * Max(fabs(a), fabs(b));
}

static double
read_value(const MdbYaml *node)
{
	char *text = mdb_prom_string(node, WHAT, "value");
	double value;
	bool minus = text && text[0] == '-';

	if (text == NULL)
		return 0;
	if (text[0] == '-' || text[0] == '+')
		text++;
	/* YAML has a point before these. */
	if (pg_strcasecmp(text, ".inf") == 0 || pg_strcasecmp(text, ".nan") == 0)
		text++;
	if (!mdb_prom_number(text, strlen(text), &value))
		mdb_prom_bad_file(WHAT, node->line, "\"value\" should be a number");
	return minus ? -value : value;
}

static void
check_expr(Test *test, const MdbYaml *node, int64 at)
{
	static const char *const keys[] = {"labels", "value", NULL};
	Asking asking = {.test = test, .node = node, .at = at, .expr = mdb_prom_string(node, WHAT, "expr")};
	const MdbYaml *list = mdb_prom_list(node, WHAT, "exp_samples");
	List *got = NIL, *wanted = NIL;
	char *problem = mdb_prom_try(ask, &asking);
	ListCell *ll, *lv;

	MemoryContextSwitchTo(test->mcxt);
	forboth (ll, asking.labels, lv, asking.values)
		got = lappend(got, psprintf("%s %.17g", (char *) lfirst(ll), *(float8 *) lfirst(lv)));
	for (int i = 0; problem == NULL && list && i < list->n; i++)
	{
		char *labels, *text, *name;
		double value;

		mdb_prom_known_keys(list->values[i], WHAT, keys);
		text = mdb_prom_string(list->values[i], WHAT, "labels");
		name = NULL;
		labels = "{}";
		if (text && text[0] != '\0')
		{
			Jsonb *of = read_series(text, list->values[i]->line, &name);

			labels = show(name ? with_text(of, MDB_MATCH_NAME, name) : of);
		}
		value = read_value(list->values[i]);
		/* What is as good as the same is shown alike. */
		forboth (ll, asking.labels, lv, asking.values)
			if (strcmp(lfirst(ll), labels) == 0 && same_value(value, *(float8 *) lfirst(lv)))
				value = *(float8 *) lfirst(lv);
		wanted = lappend(wanted, psprintf("%s %.17g", labels, value));
	}
	tell(test, psprintf("%s at %g s", asking.expr, (double) at / 1000),
		 problem ? problem : difference(got, wanted));
}

/* ---------- the whole ---------- */

/* The time of a check. */
static int64
check_time(const MdbYaml *node, const char *const *keys, const char *needed)
{
	mdb_prom_known_keys(node, WHAT, keys);
	if (mdb_prom_string(node, WHAT, needed) == NULL)
		mdb_prom_bad_file(WHAT, node->line, psprintf("there should be \"%s\"", needed));
	return mdb_prom_time(node, WHAT, "eval_time", 0);
}

static void
run_checks(Test *test)
{
	static const char *const alert_keys[] = {"eval_time", "alertname", "exp_alerts", NULL};
	static const char *const expr_keys[] = {"expr", "eval_time", "exp_samples", NULL};
	const MdbYaml *alerts = mdb_prom_list(test->node, WHAT, "alert_rule_test");
	const MdbYaml *exprs = mdb_prom_list(test->node, WHAT, "promql_expr_test");
	int64 last = 0;
	MemoryContext tick =
		AllocSetContextCreate(test->mcxt, "metricsdb tick of a test", ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; alerts && i < alerts->n; i++)
		last = Max(last, check_time(alerts->values[i], alert_keys, "alertname"));
	for (int i = 0; exprs && i < exprs->n; i++)
		last = Max(last, check_time(exprs->values[i], expr_keys, "expr"));
	if (last / test->every > MAX_TICKS)
		mdb_prom_bad_file(WHAT, test->node->line, "the test has too many evaluations");
	for (int64 ms = 0; ms <= last; ms += test->every)
	{
		ListCell *lc;

		CHECK_FOR_INTERRUPTS();
		foreach (lc, test->rules)
		{
			MemoryContextSwitchTo(tick);
			evaluate(test, lfirst(lc), ms);
		}
		MemoryContextSwitchTo(tick);
		for (int i = 0; alerts && i < alerts->n; i++)
		{
			int64 at = mdb_prom_time(alerts->values[i], WHAT, "eval_time", 0);

			if (at >= ms && at < ms + test->every)
				check_alert(test, alerts->values[i], at);
		}
		MemoryContextReset(tick);
	}
	MemoryContextSwitchTo(test->mcxt);
	for (int i = 0; exprs && i < exprs->n; i++)
		check_expr(test, exprs->values[i], mdb_prom_time(exprs->values[i], WHAT, "eval_time", 0));
}

static void
run_test(const MdbYaml *node, int number, int64 every, List *groups, ReturnSetInfo *result)
{
	static const char *const keys[] = {
		"name",         "interval", "input_series", "alert_rule_test", "promql_expr_test", "external_labels",
		"external_url", NULL};
	Test test = {.node = node, .every = every, .result = result};
	MemoryContext before = CurrentMemoryContext;
	char *name;

	mdb_prom_known_keys(node, WHAT, keys);
	test.mcxt = AllocSetContextCreate(before, "metricsdb test of rules", ALLOCSET_DEFAULT_SIZES);
	name = mdb_prom_string(node, WHAT, "name");
	test.name = name ? name : psprintf("test %d", number);
	SPI_connect();
	make_table(&test);
	MemoryContextSwitchTo(test.mcxt);
	load_series(&test);
	prepare_rules(&test, groups);
	run_checks(&test);
	for (int i = 0; i < list_length(test.rules); i++)
		mdb_query_forget(-1 - i);
	SPI_execute("DROP TABLE " TABLE, false, 0);
	SPI_finish();
	MemoryContextSwitchTo(before);
	MemoryContextDelete(test.mcxt);
}

/* Groups in the order that the file says; what it does not name comes first. */
static List *
in_order(List *groups, const MdbYaml *order)
{
	List *sorted = NIL;
	ListCell *lc;

	for (int i = 0; order && i < order->n; i++)
		if (order->values[i]->kind != MDB_YAML_SCALAR)
			mdb_prom_bad_file(WHAT, order->line, "\"group_eval_order\" should be a list of names");
	for (int i = -1; i < (order ? order->n : 0); i++)
		foreach (lc, groups)
		{
			int place = -1;

			for (int j = 0; order && j < order->n; j++)
				if (strcmp(order->values[j]->text.p, ((MdbPromGroup *) lfirst(lc))->name) == 0)
					place = j;
			if (place == i)
				sorted = lappend(sorted, lfirst(lc));
		}
	return sorted;
}

/*
 * mdb_run_alert_tests - metricsdb.run_alert_tests(tests, rules): a row for each check, and for each rule that fails.
 *
 * Raises ERRCODE_INVALID_PARAMETER_VALUE for what is no file of tests, or of rules.
 */
Datum
mdb_run_alert_tests(PG_FUNCTION_ARGS)
{
	static const char *const keys[] = {"rule_files", "evaluation_interval", "group_eval_order", "tests",
									   NULL};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MdbYaml **documents;
	List *groups = NIL;
	int n, number = 0;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the tests must not be NULL")));
	InitMaterializedSRF(fcinfo, 0);
	if (!PG_ARGISNULL(1))
		groups = mdb_prom_rule_file(text_to_cstring(PG_GETARG_TEXT_PP(1)), "rule file");
	n = mdb_prom_yaml(text_to_cstring(PG_GETARG_TEXT_PP(0)), WHAT, &documents);
	for (int d = 0; d < n; d++)
	{
		const MdbYaml *file = documents[d];
		const MdbYaml *tests;
		int64 every;

		if (mdb_yaml_is_null(file))
			continue;
		mdb_prom_known_keys(file, WHAT, keys);
		tests = mdb_prom_list(file, WHAT, "tests");
		every = mdb_prom_time(file, WHAT, "evaluation_interval", MINUTE);
		if (every == 0)
			every = MINUTE;
		for (int i = 0; tests && i < tests->n; i++)
			run_test(tests->values[i], ++number, every,
					 in_order(groups, mdb_prom_list(file, WHAT, "group_eval_order")), rsinfo);
	}
	return (Datum) 0;
}
