/*
 * import.c
 *	  metricsdb.import_prometheus_rules(): rule files of Prometheus become rules.
 *
 * Each rule by itself: one that cannot be translated, or is refused by create_alert(), is told with the reason, and
 * nothing of it is left.  Rules are created by create_alert(), as the caller.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "alert/alert.h"
#include "alert/promql_rules.h"
#include "alert/promql_sql.h"
#include "compat.h"

PG_FUNCTION_INFO_V1(mdb_import_prometheus_rules);

typedef struct Import
{
	Oid source;
	MdbPromSource *columns; /* what that has */
	Datum targets;
	bool no_targets;
	const char *prefix;
	int64 every; /* milliseconds, of groups that do not say it */
	List *names; /* of char *: those of alerts and records so far */
} Import;

static Datum
interval_of(int64 ms)
{
	Interval *interval = palloc0(sizeof(Interval));

	interval->time = ms * 1000;
	return IntervalPGetDatum(interval);
}

/*
 * The name of a rule.  In Prometheus several may be called alike; here the second is "name#2", and its alerts are still
 * called "name".
 */
static char *
rule_name(Import *import, const MdbPromRule *rule)
{
	ListCell *lc;
	int n = 1;

	foreach (lc, import->names)
		if (strcmp(lfirst(lc), rule->name) == 0)
			n++;
	import->names = lappend(import->names, rule->name);
	return n == 1 ? psprintf("%s%s", import->prefix, rule->name)
				  : psprintf("%s%s#%d", import->prefix, rule->name, n);
}

/* Labels, and what alerts are called if it is not the rule's name. */
static Jsonb *
labels_of(const MdbPromRule *rule, const char *name)
{
	JsonbParseState *state = NULL;
	JsonbValue v = {.type = jbvString};

	if (rule->records || strcmp(name, rule->name) == 0)
		return rule->labels;
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	v.val.string.val = "alertname";
	v.val.string.len = strlen("alertname");
	(void) pushJsonbValue(&state, WJB_KEY, &v);
	v.val.string.val = rule->name;
	v.val.string.len = (int) strlen(rule->name);
	(void) pushJsonbValue(&state, WJB_VALUE, &v);
	return DatumGetJsonbP(
		DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(rule->labels),
							JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)))));
}

/* By create_alert(). */
static void
create(const Import *import, const MdbPromGroup *group, const MdbPromRule *rule, const char *name,
	   const char *query)
{
	Oid types[] = {TEXTOID,  TEXTOID,      INTERVALOID, INTERVALOID, INTERVALOID, JSONBOID,
				   JSONBOID, TEXTARRAYOID, TEXTOID,     REGCLASSOID, INT4OID};
	Datum values[lengthof(types)];
	char nulls[lengthof(types) + 1] = "           ";

	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(query);
	values[2] = interval_of(group->interval ? group->interval : import->every);
	values[3] = interval_of(rule->hold);
	values[4] = interval_of(rule->keep_firing_for);
	values[5] = JsonbPGetDatum(labels_of(rule, name));
	values[6] = JsonbPGetDatum(rule->annotations);
	values[7] = import->targets;
	values[8] = CStringGetTextDatum(rule->name);
	values[9] = ObjectIdGetDatum(import->source);
	values[10] = Int32GetDatum((int32) group->limit);
	if (rule->records)
		nulls[3] = nulls[4] = nulls[6] = nulls[7] = 'n';
	else
		nulls[8] = nulls[9] = 'n';
	if (import->no_targets)
		nulls[7] = 'n';
	if (group->limit == 0)
		nulls[10] = 'n';
	SPI_connect();
	SPI_execute_with_args(
		"SELECT metricsdb.create_alert(name => $1, query => $2, every => $3, hold => $4, "
		"keep_firing_for => $5, labels => $6, annotations => $7, targets => $8, record => $9, "
		"into_table => $10, max_rows => $11, search_path => 'pg_catalog, metricsdb')",
		lengthof(types), types, values, nulls, false, 0);
	SPI_finish();
}

/* The query of a rule. */
static char *
query_of(const Import *import, const MdbPromRule *rule)
{
	MdbPromQuestion question = {.text = rule->expr,
								.source = import->columns,
								.at = "metricsdb.eval_time()",
								.lookback = 300000,
								.step = import->every};

	return mdb_prom_sql(&question, mdb_prom_parsed(rule->expr));
}

/* A rule that is to be created. */
typedef struct Wanted
{
	const Import *import;
	const MdbPromGroup *group;
	const MdbPromRule *rule;
	const char *name;
} Wanted;

static void
create_wanted(void *arg)
{
	Wanted *wanted = arg;

	create(wanted->import, wanted->group, wanted->rule, wanted->name, query_of(wanted->import, wanted->rule));
}

/*
 * mdb_import_prometheus_rules - metricsdb.import_prometheus_rules(rules, source, targets, prefix, every): a row for each
 * rule.  Raises ERRCODE_INVALID_PARAMETER_VALUE for what is no rule file.
 */
Datum
mdb_import_prometheus_rules(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Import import = {0};
	List *groups;
	ListCell *lg, *lr;

	for (int i = 0; i < 5; i++)
		if (PG_ARGISNULL(i) && i != 2)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("argument %d must not be NULL", i + 1)));
	InitMaterializedSRF(fcinfo, 0);
	import.source = PG_GETARG_OID(1);
	import.no_targets = PG_ARGISNULL(2);
	import.targets = import.no_targets ? (Datum) 0 : PG_GETARG_DATUM(2);
	import.prefix = text_to_cstring(PG_GETARG_TEXT_PP(3));
	import.every = mdb_interval_us(PG_GETARG_INTERVAL_P(4)) / 1000;
	groups = mdb_prom_rule_file(text_to_cstring(PG_GETARG_TEXT_PP(0)), "rule file");
	import.columns = mdb_prom_source(import.source);
	foreach (lg, groups)
	{
		MdbPromGroup *group = lfirst(lg);

		foreach (lr, group->rules)
		{
			MdbPromRule *rule = lfirst(lr);
			char *name = rule_name(&import, rule);
			Wanted wanted = {&import, group, rule, name};
			char *reason;
			Datum values[5];
			bool nulls[5] = {0};

			CHECK_FOR_INTERRUPTS();
			reason = mdb_prom_try(create_wanted, &wanted);
			values[0] = CStringGetTextDatum(group->name);
			values[1] = CStringGetTextDatum(name);
			values[2] = CStringGetTextDatum(rule->records ? "recording" : "query");
			values[3] = CStringGetTextDatum(reason ? "refused" : "created");
			nulls[4] = reason == NULL;
			values[4] = reason ? CStringGetTextDatum(reason) : (Datum) 0;
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
	return (Datum) 0;
}
