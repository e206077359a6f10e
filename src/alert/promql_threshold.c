/*
 * promql_threshold.c
 *	  Expressions that compare an aggregate over a range with a number: rules of kind threshold say the same.
 *
 *		selector > 5                            the last value in five minutes
 *		avg_over_time(selector[5m]) > 5         of each series: avg, min, max, sum, count, last, rate, increase, delta
 *		sum by (job) (rate(selector[5m])) > 5   of groups: sums of rate, increase, delta, sums and counts; max and min of these
 */
#include "postgres.h"

#include "alert/promql_sql.h"

/* Of each series, and of a group's series together, which is NULL if there is no such. */
static const struct
{
	const char *function;
	const char *aggregate;
	const char *of_groups;
} aggregates[] = {{"avg_over_time", "avg", NULL},           {"min_over_time", "min", "min"},
				  {"max_over_time", "max", "max"},          {"sum_over_time", "sum", "sum"},
				  {"count_over_time", "count", "sum"},      {"last_over_time", "last", NULL},
				  {"stddev_over_time", "stddev_pop", NULL}, {"rate", "rate", "sum"},
				  {"increase", "increase", "sum"},          {"delta", "delta", "sum"}};

/* A number that is written as one. */
static bool
is_number(const MdbProm *node, double *value)
{
	if (node->kind == MDB_PROM_NEGATE && is_number(node->args[0], value))
	{
		*value *= node->number;
		return true;
	}
	*value = node->number;
	return node->kind == MDB_PROM_NUMBER;
}

/* What is compared with a number, and how. */
static const MdbProm *
compared(const MdbProm *root, MdbPromThreshold *t)
{
	static const char *const turned[][2] = {{">", "<"}, {"<", ">"}, {">=", "<="}, {"<=", ">="}};
	const MdbProm *vector;

	if (root->kind != MDB_PROM_BINARY || !mdb_prom_compares(root->text) || root->returns_bool)
		return NULL;
	t->op = pnstrdup(root->text.p, root->text.len);
	if (is_number(root->args[1], &t->threshold))
		vector = root->args[0];
	else if (is_number(root->args[0], &t->threshold))
	{
		vector = root->args[1];
		for (int i = 0; i < lengthof(turned); i++)
			if (mdb_bytes_are(root->text, turned[i][0]))
				t->op = pstrdup(turned[i][1]);
	}
	else
		return NULL;
	return vector->type == MDB_PROM_VECTOR ? vector : NULL;
}

/* A selector of one metric at the time of evaluation, of a table whose series it can name. */
static bool
take_selector(const MdbPromSource *source, const MdbProm *node, MdbPromThreshold *t)
{
	const MdbMatcher *name = NULL;

	if (node->kind != MDB_PROM_SELECTOR || node->offset != 0 || node->at_kind != MDB_AT_EVALUATION)
		return false;
	for (int i = 0; i < node->selector->n; i++)
		if (mdb_is_metric_label(node->selector->v[i].label))
		{
			if (name || node->selector->v[i].op != MDB_MATCH_EQUAL || node->selector->v[i].value.len == 0)
				return false;
			name = &node->selector->v[i];
		}
	if (name == NULL)
		return false;
	if (source->metric && source->tags && source->labels == NIL)
		t->metric = pnstrdup(name->value.p, name->value.len);
	else if (source->metric == NULL && source->tags == NULL)
	{
		const char *column = mdb_prom_value_column(source, node->selector);

		if (column == NULL)
			return false;
		t->value_column = pstrdup(column);
	}
	else
		return false;
	t->matchers = mdb_prom_matchers(source, node->selector);
	return true;
}

/*
 * mdb_prom_threshold - is an expression one that a rule of kind threshold says, too?  Of what?
 */
bool
mdb_prom_threshold(const MdbPromSource *source, const MdbProm *root, MdbPromThreshold *t)
{
	const MdbProm *node;
	const MdbProm *group = NULL;

	memset(t, 0, sizeof(MdbPromThreshold));
	node = compared(root, t);
	if (node && node->kind == MDB_PROM_AGGREGATE && node->nargs == 1)
	{
		group = node;
		node = node->args[0];
		t->by = group->by;
		t->without = !group->by;
		for (int i = 0; i < group->labels.n; i++)
		{
			if (mdb_is_metric_label(group->labels.v[i]))
				return false;
			t->labels = lappend(t->labels, pnstrdup(group->labels.v[i].p, group->labels.v[i].len));
		}
	}
	if (node && node->kind == MDB_PROM_SELECTOR && group == NULL)
	{
		t->aggregate = "last";
		t->window = 300000;
		return take_selector(source, node, t);
	}
	if (node == NULL || node->kind != MDB_PROM_CALL || node->nargs != 1)
		return false;
	for (int i = 0; i < lengthof(aggregates); i++)
		if (mdb_bytes_are(node->text, aggregates[i].function) &&
			(group == NULL ||
			 (aggregates[i].of_groups && mdb_bytes_are(group->text, aggregates[i].of_groups))))
		{
			t->aggregate = aggregates[i].aggregate;
			t->window = node->args[0]->range;
			return take_selector(source, node->args[0], t);
		}
	return false;
}
