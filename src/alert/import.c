/*
 * import.c
 *	  metricsdb.import_prometheus_rules(): rule files of Prometheus become rules.
 *
 * Each rule by itself: one that cannot be translated, or is refused by create_alert(), is told with the reason, and
 * nothing of it is left.  Rules are created by create_alert(), or changed by alter_alert(), as the caller.
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
	bool incremental;
	bool replace;
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

/* ---------- calling create_alert() ---------- */

#define MAX_ARGUMENTS 16

/* Arguments of create_alert() or alter_alert(), by name. */
typedef struct Call
{
	StringInfoData list;
	int n;
	Oid types[MAX_ARGUMENTS];
	Datum values[MAX_ARGUMENTS];
} Call;

static void
argument(Call *call, const char *name, Oid type, Datum value)
{
	Assert(call->n < MAX_ARGUMENTS);
	appendStringInfo(&call->list, "%s%s => $%d", call->n ? ", " : "", quote_identifier(name), call->n + 1);
	call->types[call->n] = type;
	call->values[call->n++] = value;
}

static void
text_argument(Call *call, const char *name, const char *value)
{
	argument(call, name, TEXTOID, CStringGetTextDatum(value));
}

static Datum
texts_of(List *texts)
{
	Datum *values = palloc(sizeof(Datum) * Max(1, list_length(texts)));
	ListCell *lc;

	foreach (lc, texts)
		values[foreach_current_index(lc)] = CStringGetTextDatum(lfirst(lc));
	return PointerGetDatum(construct_array(values, list_length(texts), TEXTOID, -1, false, TYPALIGN_INT));
}

static void
query_arguments(Call *call, const Import *import, const MdbPromGroup *group, const MdbPromRule *rule,
				const MdbProm *root, List **reset)
{
	MdbPromQuestion question = {.text = rule->expr,
								.source = import->columns,
								.at = "metricsdb.eval_time()",
								.lookback = 300000,
								.step = import->every};

	text_argument(call, "query", mdb_prom_sql(&question, root));
	text_argument(call, "search_path", "pg_catalog, metricsdb");
	if (group->limit > 0)
		argument(call, "max_rows", INT4OID, Int32GetDatum((int32) group->limit));
	else
		*reset = lappend(*reset, "max_rows");
}

static void
threshold_arguments(Call *call, const Import *import, const MdbPromThreshold *t, List **reset)
{
	argument(call, "source", REGCLASSOID, ObjectIdGetDatum(import->source));
	if (t->metric)
		text_argument(call, "metric", t->metric);
	if (t->value_column)
		text_argument(call, "value_column", t->value_column);
	if (t->matchers)
		text_argument(call, "matchers", t->matchers);
	else
		*reset = lappend(*reset, "matchers");
	text_argument(call, "aggregate", t->aggregate);
	argument(call, "window", INTERVALOID, interval_of(t->window));
	text_argument(call, "op", t->op);
	argument(call, "threshold", FLOAT8OID, Float8GetDatum(t->threshold));
	if (t->by)
		argument(call, "by", TEXTARRAYOID, texts_of(t->labels));
	else
		*reset = lappend(*reset, "by");
	if (t->without)
		argument(call, "without", TEXTARRAYOID, texts_of(t->labels));
	else
		*reset = lappend(*reset, "without");
}

/* Has the caller a rule of that name? */
static bool
is_there(const char *name)
{
	Oid type = TEXTOID;
	Datum value = CStringGetTextDatum(name);
	bool there;

	SPI_connect();
	SPI_execute_with_args("SELECT FROM metricsdb.alert_rules WHERE rule OPERATOR(pg_catalog.=) $1", 1, &type,
						  &value, NULL, true, 1);
	there = SPI_processed > 0;
	SPI_finish();
	return there;
}

/* A rule that is to be created. */
typedef struct Wanted
{
	const Import *import;
	const MdbPromGroup *group;
	const MdbPromRule *rule;
	const char *name;
	const char *kind;   /* which it becomes */
	const char *status; /* what is done */
} Wanted;

static void
create_wanted(void *arg)
{
	Wanted *wanted = arg;
	const Import *import = wanted->import;
	const MdbPromRule *rule = wanted->rule;
	Call call = {0};
	MdbPromThreshold threshold;
	List *reset = NIL;
	MdbProm *root = mdb_prom_parsed(rule->expr);
	int64 every = wanted->group->interval ? wanted->group->interval : import->every;

	initStringInfo(&call.list);
	text_argument(&call, "name", wanted->name);
	argument(&call, "every", INTERVALOID, interval_of(every));
	argument(&call, "labels", JSONBOID, JsonbPGetDatum(labels_of(rule, wanted->name)));
	if (rule->records)
	{
		text_argument(&call, "record", rule->name);
		argument(&call, "into_table", REGCLASSOID, ObjectIdGetDatum(import->source));
		text_argument(&call, "absent", "end");
	}
	else
	{
		argument(&call, "hold", INTERVALOID, interval_of(rule->hold));
		argument(&call, "keep_firing_for", INTERVALOID, interval_of(rule->keep_firing_for));
		argument(&call, "annotations", JSONBOID, JsonbPGetDatum(rule->annotations));
		if (!import->no_targets)
			argument(&call, "targets", TEXTARRAYOID, import->targets);
	}
	if (import->incremental && !rule->records && wanted->group->limit == 0 &&
		mdb_prom_threshold(import->columns, root, &threshold))
	{
		wanted->kind = "threshold";
		threshold_arguments(&call, import, &threshold, &reset);
	}
	else
		query_arguments(&call, import, wanted->group, rule, root, &reset);
	if (import->replace && is_there(wanted->name))
	{
		wanted->status = "changed";
		argument(&call, "reset", TEXTARRAYOID, texts_of(reset));
	}
	SPI_connect();
	SPI_execute_with_args(psprintf("SELECT metricsdb.%s(%s)",
								   strcmp(wanted->status, "changed") == 0 ? "alter_alert" : "create_alert",
								   call.list.data),
						  call.n, call.types, call.values, NULL, false, 0);
	SPI_finish();
}

/*
 * mdb_import_prometheus_rules - metricsdb.import_prometheus_rules(rules, source, targets, prefix, every,
 * incremental, replace): a row for each
 * rule.  Raises ERRCODE_INVALID_PARAMETER_VALUE for what is no rule file.
 */
Datum
mdb_import_prometheus_rules(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Import import = {0};
	List *groups;
	ListCell *lg, *lr;

	for (int i = 0; i < 7; i++)
		if (PG_ARGISNULL(i) && i != 2)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("argument %d must not be NULL", i + 1)));
	InitMaterializedSRF(fcinfo, 0);
	import.source = PG_GETARG_OID(1);
	import.no_targets = PG_ARGISNULL(2);
	import.targets = import.no_targets ? (Datum) 0 : PG_GETARG_DATUM(2);
	import.prefix = text_to_cstring(PG_GETARG_TEXT_PP(3));
	import.every = mdb_interval_us(PG_GETARG_INTERVAL_P(4)) / 1000;
	import.incremental = PG_GETARG_BOOL(5);
	import.replace = PG_GETARG_BOOL(6);
	groups = mdb_prom_rule_file(text_to_cstring(PG_GETARG_TEXT_PP(0)), "rule file");
	import.columns = mdb_prom_source(import.source);
	foreach (lg, groups)
	{
		MdbPromGroup *group = lfirst(lg);

		foreach (lr, group->rules)
		{
			MdbPromRule *rule = lfirst(lr);
			char *name = rule_name(&import, rule);
			Wanted wanted = {&import, group, rule, name, rule->records ? "recording" : "query", "created"};
			char *reason;
			Datum values[5];
			bool nulls[5] = {0};

			CHECK_FOR_INTERRUPTS();
			reason = mdb_prom_try(create_wanted, &wanted);
			values[0] = CStringGetTextDatum(group->name);
			values[1] = CStringGetTextDatum(name);
			values[2] = CStringGetTextDatum(wanted.kind);
			values[3] = CStringGetTextDatum(reason ? "refused" : wanted.status);
			nulls[4] = reason == NULL;
			values[4] = reason ? CStringGetTextDatum(reason) : (Datum) 0;
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	}
	return (Datum) 0;
}
