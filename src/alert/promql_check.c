/*
 * promql_check.c
 *	  The functions of Prometheus 2.42, and what is allowed where in its expressions.
 */
#include "alert/promql.h"

#include <string.h>

#define V MDB_PROM_VECTOR
#define S MDB_PROM_SCALAR

static const MdbPromFunction functions[] = {
	{"abs", "v", 0, V, MDB_WAY_MATH},
	{"absent", "v", 0, V, MDB_WAY_ABSENT},
	{"absent_over_time", "m", 0, V, MDB_WAY_ABSENT},
	{"acos", "v", 0, V, MDB_WAY_MATH},
	{"acosh", "v", 0, V, MDB_WAY_MATH},
	{"asin", "v", 0, V, MDB_WAY_MATH},
	{"asinh", "v", 0, V, MDB_WAY_MATH},
	{"atan", "v", 0, V, MDB_WAY_MATH},
	{"atanh", "v", 0, V, MDB_WAY_MATH},
	{"avg_over_time", "m", 0, V, MDB_WAY_VALUES},
	{"ceil", "v", 0, V, MDB_WAY_MATH},
	{"changes", "m", 0, V, MDB_WAY_SAMPLES},
	{"clamp", "vss", 0, V, MDB_WAY_MATH},
	{"clamp_max", "vs", 0, V, MDB_WAY_MATH},
	{"clamp_min", "vs", 0, V, MDB_WAY_MATH},
	{"cos", "v", 0, V, MDB_WAY_MATH},
	{"cosh", "v", 0, V, MDB_WAY_MATH},
	{"count_over_time", "m", 0, V, MDB_WAY_VALUES},
	{"day_of_month", "v", 1, V, MDB_WAY_CALENDAR},
	{"day_of_week", "v", 1, V, MDB_WAY_CALENDAR},
	{"day_of_year", "v", 1, V, MDB_WAY_CALENDAR},
	{"days_in_month", "v", 1, V, MDB_WAY_CALENDAR},
	{"deg", "v", 0, V, MDB_WAY_MATH},
	{"delta", "m", 0, V, MDB_WAY_RANGE},
	{"deriv", "m", 0, V, MDB_WAY_SAMPLES},
	{"exp", "v", 0, V, MDB_WAY_MATH},
	{"floor", "v", 0, V, MDB_WAY_MATH},
	{"histogram_count", "v", 0, V, MDB_WAY_NONE},
	{"histogram_fraction", "ssv", 0, V, MDB_WAY_NONE},
	{"histogram_quantile", "sv", 0, V, MDB_WAY_HISTOGRAM},
	{"histogram_sum", "v", 0, V, MDB_WAY_NONE},
	{"holt_winters", "mss", 0, V, MDB_WAY_NONE},
	{"hour", "v", 1, V, MDB_WAY_CALENDAR},
	{"idelta", "m", 0, V, MDB_WAY_SAMPLES},
	{"increase", "m", 0, V, MDB_WAY_RANGE},
	{"irate", "m", 0, V, MDB_WAY_SAMPLES},
	{"label_join", "vttt", -1, V, MDB_WAY_JOIN},
	{"label_replace", "vtttt", 0, V, MDB_WAY_REPLACE},
	{"last_over_time", "m", 0, V, MDB_WAY_SAMPLES},
	{"ln", "v", 0, V, MDB_WAY_MATH},
	{"log10", "v", 0, V, MDB_WAY_MATH},
	{"log2", "v", 0, V, MDB_WAY_MATH},
	{"max_over_time", "m", 0, V, MDB_WAY_VALUES},
	{"min_over_time", "m", 0, V, MDB_WAY_VALUES},
	{"minute", "v", 1, V, MDB_WAY_CALENDAR},
	{"month", "v", 1, V, MDB_WAY_CALENDAR},
	{"pi", "", 0, S, MDB_WAY_PI},
	{"predict_linear", "ms", 0, V, MDB_WAY_PREDICT},
	{"present_over_time", "m", 0, V, MDB_WAY_VALUES},
	{"quantile_over_time", "sm", 0, V, MDB_WAY_QUANTILE},
	{"rad", "v", 0, V, MDB_WAY_MATH},
	{"rate", "m", 0, V, MDB_WAY_RANGE},
	{"resets", "m", 0, V, MDB_WAY_SAMPLES},
	{"round", "vs", 1, V, MDB_WAY_MATH},
	{"scalar", "v", 0, S, MDB_WAY_SCALAR},
	{"sgn", "v", 0, V, MDB_WAY_MATH},
	{"sin", "v", 0, V, MDB_WAY_MATH},
	{"sinh", "v", 0, V, MDB_WAY_MATH},
	{"sort", "v", 0, V, MDB_WAY_SAME},
	{"sort_desc", "v", 0, V, MDB_WAY_SAME},
	{"sqrt", "v", 0, V, MDB_WAY_MATH},
	{"stddev_over_time", "m", 0, V, MDB_WAY_VALUES},
	{"stdvar_over_time", "m", 0, V, MDB_WAY_VALUES},
	{"sum_over_time", "m", 0, V, MDB_WAY_VALUES},
	{"tan", "v", 0, V, MDB_WAY_MATH},
	{"tanh", "v", 0, V, MDB_WAY_MATH},
	{"time", "", 0, S, MDB_WAY_TIME},
	{"timestamp", "v", 0, V, MDB_WAY_TIMESTAMP},
	{"vector", "s", 0, V, MDB_WAY_VECTOR},
	{"year", "v", 1, V, MDB_WAY_CALENDAR},
};

#undef V
#undef S

/*
 * mdb_prom_function - by its name; NULL if there is none.
 */
const MdbPromFunction *
mdb_prom_function(MdbBytes name)
{
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++)
		if (strlen(functions[i].name) == name.len && memcmp(functions[i].name, name.p, name.len) == 0)
			return &functions[i];
	return NULL;
}

/*
 * mdb_prom_is_aggregate - is this the name of an aggregate over series?
 */
bool
mdb_prom_is_aggregate(MdbBytes name)
{
	static const char *const names[] = {"sum",    "avg",    "count", "min",     "max",      "group",
										"stddev", "stdvar", "topk",  "bottomk", "quantile", "count_values"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (mdb_bytes_are(name, names[i]))
			return true;
	return false;
}

/*
 * mdb_prom_has_parameter - does this aggregate have one?
 */
bool
mdb_prom_has_parameter(MdbBytes aggregate)
{
	return mdb_bytes_are(aggregate, "topk") || mdb_bytes_are(aggregate, "bottomk") ||
		   mdb_bytes_are(aggregate, "quantile") || mdb_bytes_are(aggregate, "count_values");
}

/*
 * mdb_prom_compares - is the operator a comparison?
 */
bool
mdb_prom_compares(MdbBytes op)
{
	return op.len > 0 && strchr("=!<>", op.p[0]) != NULL;
}

/*
 * mdb_prom_is_set - is it and, or, or unless?
 */
bool
mdb_prom_is_set(MdbBytes op)
{
	return mdb_bytes_are(op, "and") || mdb_bytes_are(op, "or") || mdb_bytes_are(op, "unless");
}

static const char *
type_name(MdbPromType type)
{
	switch (type)
	{
		case MDB_PROM_SCALAR:
			return "a scalar";
		case MDB_PROM_VECTOR:
			return "an instant vector";
		case MDB_PROM_MATRIX:
			return "a range vector";
		case MDB_PROM_STRING:
			return "a string";
	}
	return "nothing";
}

static bool
want(const MdbMatchMemory *memory, MdbMatchError *error, const MdbProm *node, MdbPromType type, MdbBytes of)
{
	if (node->type == type)
		return true;
	return mdb_prom_fail(memory, error, node->at, NULL, "\"%.*s\" takes %s here, and this is %s",
						 (int) of.len, of.p, type_name(type), type_name(node->type));
}

static bool
check_call(const MdbMatchMemory *memory, MdbMatchError *error, const MdbProm *node)
{
	const MdbPromFunction *f = node->function;
	int most = (int) strlen(f->args);
	int least = f->optional >= 0 ? most - f->optional : most - 1;

	if (node->nargs < least || (node->nargs > most && f->optional >= 0))
		return mdb_prom_fail(memory, error, node->at, NULL, "\"%s\" takes %s%d argument%s, and has %d",
							 f->name, f->optional ? "at least " : "", least, least == 1 ? "" : "s",
							 node->nargs);
	for (int i = 0; i < node->nargs; i++)
	{
		char letter = f->args[i < most ? i : most - 1];

		if (!want(memory, error, node->args[i],
				  letter == 's'   ? MDB_PROM_SCALAR
				  : letter == 'v' ? MDB_PROM_VECTOR
				  : letter == 'm' ? MDB_PROM_MATRIX
								  : MDB_PROM_STRING,
				  node->text))
			return false;
	}
	return true;
}

static bool
check_aggregate(const MdbMatchMemory *memory, MdbMatchError *error, const MdbProm *node)
{
	int nargs = mdb_prom_has_parameter(node->text) ? 2 : 1;

	if (node->nargs != nargs)
		return mdb_prom_fail(memory, error, node->at, NULL, "\"%.*s\" takes %d argument%s, and has %d",
							 (int) node->text.len, node->text.p, nargs, nargs == 1 ? "" : "s", node->nargs);
	return want(memory, error, node->args[nargs - 1], MDB_PROM_VECTOR, node->text) &&
		   (nargs == 1 ||
			want(memory, error, node->args[0],
				 mdb_bytes_are(node->text, "count_values") ? MDB_PROM_STRING : MDB_PROM_SCALAR, node->text));
}

static bool
check_binary(const MdbMatchMemory *memory, MdbMatchError *error, const MdbProm *node)
{
	const MdbProm *left = node->args[0], *right = node->args[1];
	bool vectors = left->type == MDB_PROM_VECTOR && right->type == MDB_PROM_VECTOR;

	for (int i = 0; i < 2; i++)
		if (node->args[i]->type != MDB_PROM_SCALAR && node->args[i]->type != MDB_PROM_VECTOR)
			return mdb_prom_fail(memory, error, node->args[i]->at, NULL,
								 "an operator takes scalars and instant vectors, and this is %s",
								 type_name(node->args[i]->type));
	if (mdb_prom_is_set(node->text) && !vectors)
		return mdb_prom_fail(memory, error, node->at, NULL, "\"%.*s\" takes instant vectors on both sides",
							 (int) node->text.len, node->text.p);
	if (mdb_prom_is_set(node->text) && node->card != MDB_ONE_TO_ONE)
		return mdb_prom_fail(memory, error, node->at, NULL,
							 "\"%.*s\" takes neither group_left nor group_right", (int) node->text.len,
							 node->text.p);
	if (mdb_prom_compares(node->text) && node->type == MDB_PROM_SCALAR && !node->returns_bool)
		return mdb_prom_fail(memory, error, node->at, "Write bool behind the operator.",
							 "a comparison of scalars is no filter");
	if (!vectors && node->labels.n > 0)
		return mdb_prom_fail(memory, error, node->at, NULL,
							 "labels are matched between instant vectors alone");
	for (int i = 0; node->by && i < node->labels.n; i++)
		for (int j = 0; j < node->include.n; j++)
			if (node->labels.v[i].len == node->include.v[j].len &&
				memcmp(node->labels.v[i].p, node->include.v[j].p, node->labels.v[i].len) == 0)
				return mdb_prom_fail(memory, error, node->at, NULL,
									 "label \"%.*s\" is in on and in the group, too",
									 (int) node->labels.v[i].len, node->labels.v[i].p);
	return true;
}

/*
 * mdb_prom_check - are the types of all of a tree right?  False: *error says what is not.
 */
bool
mdb_prom_check(const MdbMatchMemory *memory, MdbMatchError *error, const MdbProm *node)
{
	for (int i = 0; i < node->nargs; i++)
		if (!mdb_prom_check(memory, error, node->args[i]))
			return false;
	switch (node->kind)
	{
		case MDB_PROM_CALL:
			return check_call(memory, error, node);
		case MDB_PROM_AGGREGATE:
			return check_aggregate(memory, error, node);
		case MDB_PROM_BINARY:
			return check_binary(memory, error, node);
		case MDB_PROM_SUBQUERY:
			return want(memory, error, node->args[0], MDB_PROM_VECTOR, (MdbBytes){"a subquery", 10});
		default:
			return true;
	}
}
