/*
 * composite.c
 *	  Rules over the states of other rules.
 *
 * An alert('...') is the set of a rule's instances that fire, each with its labels, but for those that the rule itself
 * has added, and its value.  AND, OR and UNLESS (AND NOT) are Prometheus' on such sets: what is compared are all labels,
 * those in on (...), or all but those in ignoring (...); labels and value are those of the left side.  NOT of a set is one
 * element without labels if the set is empty.
 *
 * States are read from the tables: they are those that were committed.  A rule may ask about those of owners whose rights
 * its own owner has.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "alert/composite.h"
#include "alert/evaluate.h"
#include "func/match.h"
#include "metricsdb.h"

/* Labels in the order of their names. */
typedef struct Element
{
	int count;
	char **names;
	char **values;
	double value;
	bool isnull;
} Element;

typedef struct Set
{
	int count;
	int room;
	Element *of;
} Set;

static Element *
add(Set *set)
{
	if (set->count == set->room)
	{
		set->room = Max(8, set->room * 2);
		set->of =
			set->of ? repalloc(set->of, sizeof(Element) * set->room) : palloc(sizeof(Element) * set->room);
	}
	return memset(&set->of[set->count++], 0, sizeof(Element));
}

/* ---- an alert ---- */

static void *
matcher_alloc(void *arg, size_t size)
{
	return palloc(size);
}

static void
matcher_check(void)
{
	CHECK_FOR_INTERRUPTS();
}

static MdbSelector *
parse_matchers(const char *text)
{
	MdbMatchMemory memory = {.alloc = matcher_alloc, .check = matcher_check};
	MdbMatchError error = {0};
	MdbSelector *selector =
		mdb_selector_parse(&memory, GetDatabaseEncoding() == PG_UTF8, text, strlen(text), &error);

	if (selector == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR), errmsg("invalid matchers \"%s\": %s", text, error.what),
				 error.hint ? errhint("%s", error.hint) : 0));
	return selector;
}

void
mdb_composite_check_matchers(const char *text)
{
	(void) parse_matchers(text);
}

static bool
matches(const MdbSelector *selector, const Element *e)
{
	for (int i = 0; selector && i < selector->n; i++)
	{
		const MdbMatcher *m = &selector->v[i];
		const char *value = "";

		for (int k = 0; k < e->count; k++)
			if (strlen(e->names[k]) == m->label.len && memcmp(e->names[k], m->label.p, m->label.len) == 0)
				value = e->values[k];
		if (!mdb_matcher_holds(m, value, strlen(value)))
			return false;
	}
	return true;
}

/* What an instance has of its own, not of its rule. */
static void
read_labels(Element *e, const Jsonb *labels, const Jsonb *of_rule)
{
	JsonbIterator *it = JsonbIteratorInit(unconstify(JsonbContainer *, &labels->root));
	JsonbIteratorToken token;
	JsonbValue v;
	char *name = NULL;

	e->names = palloc(sizeof(char *) * (JB_ROOT_COUNT(labels) + 1));
	e->values = palloc(sizeof(char *) * (JB_ROOT_COUNT(labels) + 1));
	(void) JsonbIteratorNext(&it, &v, true);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		if (token == WJB_KEY)
			name = pnstrdup(v.val.string.val, v.val.string.len);
		else if (token == WJB_VALUE && strcmp(name, "alertname") != 0 && mdb_json_text(of_rule, name) == NULL)
		{
			e->names[e->count] = name;
			e->values[e->count++] = mdb_json_scalar(&v);
		}
}

static bool
is_asked_for(const MdbComposite *node, const char *state)
{
	ListCell *lc;

	if (node->states == NIL)
		return strcmp(state, "firing") == 0 || strcmp(state, "recovering") == 0;
	foreach (lc, node->states)
		if (strcmp(lfirst(lc), state) == 0)
			return true;
	return false;
}

static Datum
column(uint64 row, int i, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, i, isnull);
}

static Set *
evaluate_alert(const MdbRule *rule, const MdbComposite *node)
{
	MdbSelector *selector = node->matchers ? parse_matchers(node->matchers) : NULL;
	Set *set = palloc0(sizeof(Set));
	Oid type = TEXTOID;
	Datum name = CStringGetTextDatum(node->rule);

	(void) mdb_execute_own(
		"SELECT r.owner::pg_catalog.oid, r.labels, i.labels, i.state, i.value"
		" FROM metricsdb.alert_rule AS r LEFT JOIN metricsdb.alert_instance AS i USING (rule_id)"
		" WHERE r.name OPERATOR(pg_catalog.=) $1",
		1, &type, &name, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;
		Jsonb *of_rule;
		Datum labels, value;
		Element *e;

		CHECK_FOR_INTERRUPTS();
		if (!has_privs_of_role(rule->owner, DatumGetObjectId(column(i, 1, &isnull))))
			ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
							errmsg("permission denied for alert rule \"%s\"", node->rule)));
		labels = column(i, 3, &isnull);
		if (isnull || !is_asked_for(node, TextDatumGetCString(column(i, 4, &isnull))))
			continue;
		of_rule = DatumGetJsonbP(column(i, 2, &isnull));
		e = add(set);
		read_labels(e, DatumGetJsonbP(labels), of_rule);
		value = column(i, 5, &e->isnull);
		e->value = e->isnull ? NAN : DatumGetFloat8(value);
		if (!matches(selector, e))
			set->count--;
	}
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("alert rule \"%s\" does not exist", node->rule)));
	return set;
}

/* ---- matching ---- */

static bool
is_compared(const MdbComposite *node, const char *name)
{
	ListCell *lc;

	foreach (lc, node->labels)
		if (strcmp(lfirst(lc), name) == 0)
			return node->on;
	return !node->on;
}

/* Equal labels have equal keys. */
static char *
key_of(const MdbComposite *node, const Element *e)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < e->count; i++)
		if (is_compared(node, e->names[i]))
			appendStringInfo(&buf, "%zu:%s%zu:%s", strlen(e->names[i]), e->names[i], strlen(e->values[i]),
							 e->values[i]);
	return buf.data;
}

static int
key_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static char **
sorted_keys(const MdbComposite *node, const Set *set)
{
	char **keys = palloc(sizeof(char *) * Max(1, set->count));

	for (int i = 0; i < set->count; i++)
		keys[i] = key_of(node, &set->of[i]);
	qsort(keys, set->count, sizeof(char *), key_cmp);
	return keys;
}

/* Add those of a set that have a match in another, or that have none. */
static void
add_matching(Set *result, const MdbComposite *node, const Set *set, const Set *other, bool wanted)
{
	char **keys = sorted_keys(node, other);

	for (int i = 0; i < set->count; i++)
	{
		char *key = key_of(node, &set->of[i]);

		if ((bsearch(&key, keys, other->count, sizeof(char *), key_cmp) != NULL) == wanted)
			*add(result) = set->of[i];
	}
}

static Set *
evaluate(const MdbRule *rule, const MdbComposite *node)
{
	Set *left, *right, *result;

	check_stack_depth();
	if (node->op == MDB_COMPOSITE_ALERT)
		return evaluate_alert(rule, node);
	left = evaluate(rule, node->left);
	result = palloc0(sizeof(Set));
	if (node->op == MDB_COMPOSITE_NOT)
	{
		if (left->count == 0)
			add(result)->value = 1;
		return result;
	}
	right = evaluate(rule, node->right);
	if (node->op == MDB_COMPOSITE_OR)
	{
		for (int i = 0; i < left->count; i++)
			*add(result) = left->of[i];
		add_matching(result, node, right, left, false);
	}
	else
		add_matching(result, node, left, right, node->op == MDB_COMPOSITE_AND);
	return result;
}

static void
run(const MdbRule *rule, MdbObservations *seen)
{
	MemoryContext caller = CurrentMemoryContext;
	char *expression = mdb_json_text(rule->definition, "expression");
	Set *set;

	if (expression == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("rule \"%s\" has no expression", rule->name)));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	set = evaluate(rule, mdb_composite_parse(expression));
	MemoryContextSwitchTo(caller);
	for (int i = 0; i < set->count; i++)
	{
		const Element *e = &set->of[i];

		mdb_observe(seen, mdb_labels_make(rule, e->count, e->names, e->values, e->value), NULL, e->value,
					e->isnull, MDB_HOLDS);
	}
	SPI_finish();
}

/*
 * mdb_composite_evaluate - the expression of a rule at the tick seen->at.  Errors are told in seen->error.
 */
void
mdb_composite_evaluate(const MdbRule *rule, MdbObservations *seen)
{
	(void) mdb_run_as_owner(rule, seen, true, run);
}
