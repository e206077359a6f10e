/*
 * draft.c
 *	  The arguments that define a rule, from the call or the rule as it is, to its row's definition and options.
 *
 * The table below is all there is to an argument: its type, where it is kept, and of which kinds of rules it is.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/ruleutils.h"
#include "utils/timestamp.h"

#include "alert/define.h"
#include "compat.h"

typedef enum ParamType
{
	AS_TEXT,
	AS_INTERVAL,
	AS_NUMBER,
	AS_INTEGER,
	AS_TEXTS,
	AS_OBJECT,
	AS_TABLE,
	AS_BOOLEAN
} ParamType;

typedef enum Place
{
	IN_COLUMN,
	IN_DEFINITION,
	IN_OPTIONS
} Place;

/* Kinds of rules. */
#define OF(kind) (1U << (kind))
#define Q        OF(MDB_RULE_QUERY)
#define T        OF(MDB_RULE_THRESHOLD)
#define D        OF(MDB_RULE_DEADMAN)
#define C        OF(MDB_RULE_COMPOSITE)
#define R        OF(MDB_RULE_RECORDING)
#define A        (Q | T | D | C) /* all that alert */
#define ALL      (A | R)

static const struct
{
	const char *name;
	ParamType type;
	Place place;
	uint32 kinds;
	const char *key; /* in the definition, if it is another */
} params[] = {
	[MDB_P_QUERY] = {"query", AS_TEXT, IN_DEFINITION, Q | R},
	[MDB_P_EVERY] = {"every", AS_INTERVAL, IN_COLUMN, ALL},
	[MDB_P_HOLD] = {"hold", AS_INTERVAL, IN_COLUMN, A},
	[MDB_P_KEEP_FIRING_FOR] = {"keep_firing_for", AS_INTERVAL, IN_COLUMN, A},
	[MDB_P_LABELS] = {"labels", AS_OBJECT, IN_COLUMN, ALL},
	[MDB_P_ANNOTATIONS] = {"annotations", AS_OBJECT, IN_COLUMN, A},
	[MDB_P_TARGETS] = {"targets", AS_TEXTS, IN_COLUMN, A},
	[MDB_P_OP] = {"op", AS_TEXT, IN_DEFINITION, Q | T},
	[MDB_P_THRESHOLD] = {"threshold", AS_NUMBER, IN_DEFINITION, Q | T},
	[MDB_P_RECOVER] = {"recover", AS_NUMBER, IN_DEFINITION, Q | T},
	[MDB_P_SOURCE] = {"source", AS_TABLE, IN_COLUMN, ALL},
	[MDB_P_METRIC] = {"metric", AS_TEXT, IN_DEFINITION, T | D},
	[MDB_P_MATCHERS] = {"matchers", AS_TEXT, IN_DEFINITION, T | D},
	[MDB_P_VALUE_COLUMN] = {"value_column", AS_TEXT, IN_DEFINITION, T, "column"},
	[MDB_P_AGGREGATE] = {"aggregate", AS_TEXT, IN_DEFINITION, T},
	[MDB_P_WINDOW] = {"window", AS_INTERVAL, IN_DEFINITION, T},
	[MDB_P_BY] = {"by", AS_TEXTS, IN_DEFINITION, T | D},
	[MDB_P_WITHOUT] = {"without", AS_TEXTS, IN_DEFINITION, T | D},
	[MDB_P_SILENT_FOR] = {"silent_for", AS_INTERVAL, IN_DEFINITION, D},
	[MDB_P_FORGET_AFTER] = {"forget_after", AS_INTERVAL, IN_DEFINITION, D},
	[MDB_P_EXPRESSION] = {"expression", AS_TEXT, IN_DEFINITION, C},
	[MDB_P_RECORD] = {"record", AS_TEXT, IN_DEFINITION, R, "metric"},
	[MDB_P_INTO_TABLE] = {"into_table", AS_TABLE, IN_DEFINITION, R, "into"},
	[MDB_P_ABSENT] = {"absent", AS_TEXT, IN_OPTIONS, ALL},
	[MDB_P_ABSENT_FOR] = {"absent_for", AS_INTERVAL, IN_OPTIONS, A},
	[MDB_P_NODATA] = {"nodata", AS_TEXT, IN_OPTIONS, A},
	[MDB_P_ERROR] = {"error", AS_TEXT, IN_OPTIONS, A},
	[MDB_P_HOLDS_OF] = {"holds_of", AS_INTEGER, IN_OPTIONS, A},
	[MDB_P_OF] = {"of", AS_INTEGER, IN_OPTIONS, A},
	[MDB_P_MAX_NEW_INSTANCES] = {"max_new_instances", AS_INTEGER, IN_COLUMN, A},
	[MDB_P_TIMEOUT] = {"timeout", AS_INTERVAL, IN_OPTIONS, Q | R},
	[MDB_P_MAX_ROWS] = {"max_rows", AS_INTEGER, IN_OPTIONS, Q | R},
	[MDB_P_SEARCH_PATH] = {"search_path", AS_TEXT, IN_OPTIONS, Q | R},
	[MDB_P_ENABLED] = {"enabled", AS_BOOLEAN, IN_COLUMN, ALL},
};

StaticAssertDecl(lengthof(params) == MDB_NPARAMS, "each argument has its line");

/*
 * mdb_param_name - as users write it.
 */
const char *
mdb_param_name(MdbParamId id)
{
	return params[id].name;
}

/*
 * mdb_param_is_of - has a rule of that kind such an argument?
 */
bool
mdb_param_is_of(MdbParamId id, MdbRuleKind kind)
{
	return (params[id].kinds & OF(kind)) != 0;
}

static const char *
key_of(MdbParamId id)
{
	return params[id].key ? params[id].key : params[id].name;
}

/* ---- from a call ---- */

/* Raises ERRCODE_INVALID_PARAMETER_VALUE if an interval is none that a time can be moved by. */
static int64
interval_argument(const char *name, const Interval *interval)
{
	int64 us;

	if (mdb_interval_is_infinite(interval) || interval->month > 1200 || interval->month < -1200 ||
		interval->day > 36525 || interval->day < -36525)
		us = -1;
	else
		us = mdb_interval_us(interval);
	if (us < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for \"%s\": %s", name,
						DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(interval)))),
				 errdetail("It is an interval that is not negative, of 100 years at most.")));
	return us;
}

static List *
texts_argument(const char *name, ArrayType *array)
{
	List *texts = NIL;
	Datum *values;
	bool *isnull;
	int n;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &values, &isnull, &n);
	for (int i = 0; i < n; i++)
	{
		if (isnull[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("\"%s\" of a rule must not contain NULL", name)));
		texts = lappend(texts, TextDatumGetCString(values[i]));
	}
	return texts;
}

/*
 * mdb_draft_read - take the arguments of a call that are not NULL, from one on.
 *
 * Raises ERRCODE_INVALID_PARAMETER_VALUE, ERRCODE_NULL_VALUE_NOT_ALLOWED.
 */
void
mdb_draft_read(MdbDraft *draft, FunctionCallInfo fcinfo, int first)
{
	for (int i = 0; i < MDB_NPARAMS; i++)
	{
		MdbParam *p = &draft->p[i];
		int n = first + i;

		if (PG_ARGISNULL(n))
			continue;
		p->given = true;
		switch (params[i].type)
		{
			case AS_TEXT:
				p->text = text_to_cstring(PG_GETARG_TEXT_PP(n));
				break;
			case AS_INTERVAL:
				p->us = interval_argument(params[i].name, PG_GETARG_INTERVAL_P(n));
				break;
			case AS_NUMBER:
				p->number = PG_GETARG_FLOAT8(n);
				break;
			case AS_INTEGER:
				p->integer = PG_GETARG_INT32(n);
				break;
			case AS_TEXTS:
				p->texts = texts_argument(params[i].name, PG_GETARG_ARRAYTYPE_P(n));
				break;
			case AS_OBJECT:
				p->jsonb = PG_GETARG_JSONB_P_COPY(n);
				break;
			case AS_TABLE:
				p->oid = PG_GETARG_OID(n);
				break;
			case AS_BOOLEAN:
				p->boolean = PG_GETARG_BOOL(n);
				break;
		}
	}
}

/* ---- from the rule as it is ---- */

static Oid
table_of_text(const char *name)
{
	return DatumGetObjectId(DirectFunctionCall1(to_regclass, CStringGetTextDatum(name)));
}

/* What an object says of an argument. */
static void
read_field(MdbParam *p, MdbParamId id, const Jsonb *object)
{
	const char *key = key_of(id);
	char *text = mdb_json_text(object, key);

	if (text == NULL)
		return;
	p->given = true;
	switch (params[id].type)
	{
		case AS_TEXT:
			p->text = text;
			break;
		case AS_INTERVAL:
			p->us = mdb_json_interval(object, key, 0);
			break;
		case AS_NUMBER:
			p->number = mdb_json_number(object, key, 0);
			break;
		case AS_INTEGER:
			p->integer = (int32) mdb_json_number(object, key, 0);
			break;
		case AS_TEXTS:
			p->texts = mdb_json_texts(object, key);
			break;
		case AS_TABLE:
			p->oid = table_of_text(text);
			break;
		default:
			elog(ERROR, "argument \"%s\" has no field", params[id].name);
	}
}

/*
 * mdb_draft_of_rule - what would have to be said to define a rule as it is.
 */
void
mdb_draft_of_rule(MdbDraft *draft, const MdbRule *rule)
{
	MdbParam *p = draft->p;

	memset(draft, 0, sizeof(*draft));
	draft->id = rule->id;
	draft->name = rule->name;
	draft->owner = rule->owner;
	draft->kind = rule->kind;
	draft->ntargets = rule->ntargets;
	draft->targets = rule->targets;
	for (int i = 0; i < MDB_NPARAMS; i++)
		if (mdb_param_is_of(i, rule->kind) && params[i].place != IN_COLUMN)
			read_field(&p[i], i, params[i].place == IN_DEFINITION ? rule->definition : rule->options);
	p[MDB_P_EVERY].us = rule->every;
	p[MDB_P_HOLD].us = rule->policy.hold;
	p[MDB_P_KEEP_FIRING_FOR].us = rule->policy.keep_firing_for;
	p[MDB_P_LABELS].jsonb = rule->labels;
	p[MDB_P_ANNOTATIONS].jsonb = rule->annotations;
	p[MDB_P_SOURCE].oid = rule->source;
	p[MDB_P_MAX_NEW_INSTANCES].integer = rule->max_new_instances;
	p[MDB_P_ENABLED].boolean = rule->enabled;
	for (int i = 0; i < MDB_NPARAMS; i++)
		if (params[i].place == IN_COLUMN)
			p[i].given = mdb_param_is_of(i, rule->kind) && i != MDB_P_TARGETS &&
						 (i != MDB_P_SOURCE || OidIsValid(rule->source));
}

/*
 * mdb_draft_reset - an argument is as if it had never been given.
 *
 * Raises ERRCODE_INVALID_PARAMETER_VALUE if there is none of that name.
 */
void
mdb_draft_reset(MdbDraft *draft, const char *param)
{
	for (int i = 0; i < MDB_NPARAMS; i++)
		if (strcmp(params[i].name, param) == 0)
		{
			memset(&draft->p[i], 0, sizeof(MdbParam));
			if (i == MDB_P_TARGETS)
				draft->ntargets = 0;
			return;
		}
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a rule has no option \"%s\"", param),
					errhint("Options are the arguments of %s.create_alert(), by their names.", "metricsdb")));
}

/* ---- to the row ---- */

/* An interval in the shortest of the ways that are read alike whatever IntervalStyle is. */
static char *
interval_text(int64 us)
{
	if (us % USECS_PER_SEC == 0)
		return psprintf(INT64_FORMAT " s", us / USECS_PER_SEC);
	return psprintf(INT64_FORMAT ".%06d s", us / USECS_PER_SEC, (int) (us % USECS_PER_SEC));
}

static JsonbValue
string_value(char *text)
{
	JsonbValue v = {.type = jbvString};

	v.val.string.val = text;
	v.val.string.len = strlen(text);
	return v;
}

static JsonbValue
numeric_value(Datum numeric)
{
	JsonbValue v = {.type = jbvNumeric};

	v.val.numeric = DatumGetNumeric(numeric);
	return v;
}

/* What JSON has no numbers for is text. */
static JsonbValue
float_value(double number)
{
	if (isnan(number) || isinf(number))
		return string_value(DatumGetCString(DirectFunctionCall1(float8out, Float8GetDatum(number))));
	return numeric_value(DirectFunctionCall3(numeric_in,
											 DirectFunctionCall1(float8out, Float8GetDatum(number)),
											 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

static void
push_param(JsonbParseState **state, MdbParamId id, const MdbParam *p)
{
	JsonbValue v = string_value(unconstify(char *, key_of(id)));
	ListCell *lc;

	(void) pushJsonbValue(state, WJB_KEY, &v);
	switch (params[id].type)
	{
		case AS_TEXT:
			v = string_value(p->text);
			break;
		case AS_INTERVAL:
			v = string_value(interval_text(p->us));
			break;
		case AS_NUMBER:
			v = float_value(p->number);
			break;
		case AS_INTEGER:
			v = numeric_value(DirectFunctionCall1(int4_numeric, Int32GetDatum(p->integer)));
			break;
		case AS_TEXTS:
			(void) pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
			foreach (lc, p->texts)
			{
				v = string_value(lfirst(lc));
				(void) pushJsonbValue(state, WJB_ELEM, &v);
			}
			(void) pushJsonbValue(state, WJB_END_ARRAY, NULL);
			return;
		case AS_TABLE:
			v = string_value(quote_qualified_identifier(get_namespace_name(get_rel_namespace(p->oid)),
														get_rel_name(p->oid)));
			break;
		default:
			elog(ERROR, "argument \"%s\" has no field", params[id].name);
	}
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

static Jsonb *
object_of(const MdbDraft *draft, Place place)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < MDB_NPARAMS; i++)
		if (params[i].place == place && draft->p[i].given)
			push_param(&state, i, &draft->p[i]);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * mdb_draft_definition, mdb_draft_options - as the row of a checked rule has them.
 */
Jsonb *
mdb_draft_definition(const MdbDraft *draft)
{
	return object_of(draft, IN_DEFINITION);
}

Jsonb *
mdb_draft_options(const MdbDraft *draft)
{
	return object_of(draft, IN_OPTIONS);
}
