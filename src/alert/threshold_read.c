/*
 * threshold_read.c
 *	  Definitions of threshold and dead-man rules: what they say, of which tables they can be, who may have them.
 *
 * Called when a rule is made, by whoever writes samples (watch.c), and by the evaluation.
 */
#include "postgres.h"

#include <math.h>

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"

#include "alert/define.h"
#include "alert/threshold.h"
#include "series/guard.h"

/* Beyond this a roll-up is what is wanted. */
#define WINDOW_MAX (7 * USECS_PER_DAY)

/* Who is silent for so long is taken for gone, unless the definition says something else. */
#define FORGET_AFTER (7 * USECS_PER_DAY)

static const struct
{
	const char *name;
	MdbWindowAggregate aggregate;
} aggregates[] = {{"avg", MDB_WINDOW_AVG},
				  {"sum", MDB_WINDOW_SUM},
				  {"min", MDB_WINDOW_MIN},
				  {"max", MDB_WINDOW_MAX},
				  {"count", MDB_WINDOW_COUNT},
				  {"stddev", MDB_WINDOW_STDDEV},
				  {"stddev_pop", MDB_WINDOW_STDDEV_POP},
				  {"first", MDB_WINDOW_FIRST},
				  {"last", MDB_WINDOW_LAST},
				  {"rate", MDB_WINDOW_RATE},
				  {"increase", MDB_WINDOW_INCREASE},
				  {"delta", MDB_WINDOW_DELTA}};

static MdbWindowAggregate
aggregate_of(const char *name)
{
	for (int i = 0; i < lengthof(aggregates); i++)
		if (strcmp(name, aggregates[i].name) == 0)
			return aggregates[i].aggregate;
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("a threshold rule cannot have the aggregate \"%s\"", name),
					errdetail("It can have avg, sum, min, max, count, stddev, stddev_pop, first, last, rate, "
							  "increase and delta."),
					errhint("Give the rule a query: it can have any aggregate.")));
}

/* A length of time: whole seconds, at least one. */
static int64
seconds_of(const Jsonb *definition, const char *name, int64 otherwise)
{
	int64 us = mdb_json_interval(definition, name, otherwise);

	if (us <= 0 || us % USECS_PER_SEC != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s of a rule must be whole seconds, and at least one", name),
				 mdb_json_text(definition, name) ? errdetail("It is \"%s\".", mdb_json_text(definition, name))
												 : errdetail("It is not given.")));
	return us;
}

/*
 * mdb_threshold_read - see threshold.h.
 */
MdbThreshold *
mdb_threshold_read(MdbRuleKind kind, const Jsonb *definition)
{
	MdbThreshold *t = palloc0(sizeof(MdbThreshold));
	char *by = mdb_json_text(definition, "by");
	char *without = mdb_json_text(definition, "without");
	char *aggregate = mdb_json_text(definition, "aggregate");

	t->deadman = kind == MDB_RULE_DEADMAN;
	t->metric = mdb_json_text(definition, "metric");
	t->matchers = mdb_json_text(definition, "matchers");
	if (t->matchers)
		t->selector = mdb_selector_of(t->matchers, strlen(t->matchers), CurrentMemoryContext, false);
	t->column = mdb_json_text(definition, "column");
	if (by && without)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a rule cannot have both \"by\" and \"without\"")));
	t->grouped = by || without;
	t->without = without != NULL;
	t->names = mdb_json_texts(definition, by ? "by" : "without");
	if (t->deadman)
	{
		t->aggregate = MDB_WINDOW_LAST;
		t->silent_for = mdb_json_interval(definition, "silent_for", 0);
		t->forget_after =
			mdb_json_interval(definition, "forget_after", Max(FORGET_AFTER, 10 * t->silent_for));
		if (t->silent_for <= 0 || t->forget_after <= t->silent_for)
			ereport(
				ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("silent_for of a rule must be longer than no time, and shorter than forget_after")));
		return t;
	}
	t->aggregate = aggregate_of(aggregate ? aggregate : "avg");
	t->window = seconds_of(definition, "window", 0);
	if (t->window > WINDOW_MAX)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("the window of a threshold rule is longer than 7 days"),
						errhint("Give the rule a query over a continuous aggregate.")));
	if (!mdb_comparison_read(definition, &t->compare))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a threshold rule needs a comparison"), errhint("Give op and threshold.")));
	if (isnan(t->compare.threshold))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a threshold rule needs a threshold that is a number")));
	return t;
}

/* A column of values by its name; 0 if there is none. */
static AttrNumber
find_column(Relation rel, const MdbTable *table, const char *name, int *count)
{
	TupleDesc desc = RelationGetDescr(rel);
	AttrNumber found = 0;

	*count = 0;
	for (int i = 0; i < table->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || table->columns[i].role != MDB_ROLE_VALUE ||
			!mdb_is_number_type(getBaseType(att->atttypid)) ||
			(name && strcmp(NameStr(att->attname), name) != 0))
			continue;
		found = att->attnum;
		(*count)++;
	}
	return found;
}

/*
 * mdb_threshold_column - see threshold.h.
 *
 * Where no column has the metric's name, a metric that is named is one of the columns with values, or the table.
 */
AttrNumber
mdb_threshold_column(const MdbThreshold *t, Relation rel, const MdbTable *table)
{
	const char *name = t->column;
	AttrNumber metric, tags;
	AttrNumber found;
	int count;

	if (table->time_type != TIMESTAMPTZOID && table->time_type != TIMESTAMPOID)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("table \"%s\" cannot have threshold and dead-man rules",
							   RelationGetRelationName(rel)),
						errdetail("It has no time column of type timestamp with or without time zone."),
						errhint("Give the rule a query.")));
	mdb_guard_shape(rel, table, &metric, &tags);
	if (name == NULL && metric == 0 && t->metric && strcmp(t->metric, RelationGetRelationName(rel)) != 0)
		name = t->metric;
	if (name == NULL && t->deadman)
		return 0;
	found = find_column(rel, table, name, &count);
	if (count == 1)
		return found;
	if (name)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
						errmsg("table \"%s\" has no column \"%s\" of numbers that are values",
							   RelationGetRelationName(rel), name)));
	ereport(ERROR, (errcode(ERRCODE_AMBIGUOUS_COLUMN),
					errmsg("it is not clear which column of table \"%s\" the rule is about",
						   RelationGetRelationName(rel)),
					errdetail("It has %d columns of numbers that are values.", count),
					errhint("Give the rule a column.")));
}

/*
 * mdb_threshold_refused - why the owner of a rule may not have one of these kinds of the table; NULL: he may.
 *
 * What is watched is all rows of the table, so there must be no policies for the owner, and he needs the privilege on
 * all of it or on each of its columns.
 */
const char *
mdb_threshold_refused(Oid owner, Oid relid, const char **hint)
{
	*hint = NULL;
	if (pg_class_aclcheck(relid, owner, ACL_SELECT) != ACLCHECK_OK &&
		pg_attribute_aclcheck_all(relid, owner, ACL_SELECT, ACLMASK_ALL) != ACLCHECK_OK)
		return psprintf("permission denied for table %s", get_rel_name(relid));
	if (check_enable_rls(relid, owner, true) != RLS_ENABLED)
		return NULL;
	*hint = "Give the rule a query: that runs under its owner's policies.";
	return psprintf("row-level security applies to role \"%s\" on table \"%s\"",
					GetUserNameFromId(owner, true), get_rel_name(relid));
}
