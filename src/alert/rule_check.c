/*
 * rule_check.c
 *	  Is what a user has said a rule?  It is completed and made uniform, or refused with what would do.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/namespace.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "alert/define.h"
#include "metricsdb.h"
#include "store/store.h"

#define MAX_NAME_LENGTH           200

#define EVERY_DEFAULT             (15 * USECS_PER_SEC)
#define MAX_NEW_INSTANCES_DEFAULT 1000

static const char *const kind_names[] = {[MDB_RULE_QUERY] = "query",
										 [MDB_RULE_THRESHOLD] = "threshold",
										 [MDB_RULE_DEADMAN] = "deadman",
										 [MDB_RULE_COMPOSITE] = "composite",
										 [MDB_RULE_RECORDING] = "recording"};

static const char *const absent_names[] = {[MDB_ABSENT_RESOLVE] = "resolve",
										   [MDB_ABSENT_KEEP] = "keep",
										   [MDB_ABSENT_FIRING] = "firing",
										   [MDB_ABSENT_NODATA] = "nodata"};

/* Of what is recorded. */
static const char *const ending_names[] = {"leave", "end"};

static const char *const error_names[] = {
	[MDB_ERROR_KEEP] = "keep", [MDB_ERROR_FIRING] = "firing", [MDB_ERROR_ERROR] = "error"};

static const char *const nodata_names[] = {"ok", "alert"};

static const char *const aggregate_names[] = {"avg",   "min",    "max",        "sum",  "count",    "last",
											  "first", "stddev", "stddev_pop", "rate", "increase", "delta"};

/*
 * mdb_rule_kind_name - as it is stored and shown.
 */
const char *
mdb_rule_kind_name(MdbRuleKind kind)
{
	return kind_names[kind];
}

static int
find_name(const char *const *names, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	return -1;
}

/*
 * mdb_absent_parse, mdb_error_parse - a policy of its name; false if it is none.
 */
bool
mdb_absent_parse(const char *name, MdbWhenAbsent *absent)
{
	int i = find_name(absent_names, lengthof(absent_names), name);

	*absent = Max(i, 0);
	return i >= 0;
}

bool
mdb_error_parse(const char *name, MdbWhenError *error)
{
	int i = find_name(error_names, lengthof(error_names), name);

	*error = Max(i, 0);
	return i >= 0;
}

/* ---- what is wrong ---- */

pg_noreturn static void
bad_param(MdbParamId id, const char *value, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid value for \"%s\": %s", mdb_param_name(id), value), errhint("%s", hint)));
}

static void
need(const MdbDraft *draft, MdbParamId id)
{
	if (!draft->p[id].given)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("alert rule \"%s\" lacks \"%s\"", draft->name, mdb_param_name(id)),
						errdetail("It is a rule of kind \"%s\".", kind_names[draft->kind])));
}

/* One of a list of words; stored as the list has it. */
static void
check_word(MdbDraft *draft, MdbParamId id, const char *const *words, int n)
{
	MdbParam *p = &draft->p[id];
	StringInfoData hint;

	if (!p->given)
		return;
	p->text = asc_tolower(p->text, strlen(p->text));
	if (find_name(words, n, p->text) >= 0)
		return;
	initStringInfo(&hint);
	for (int i = 0; i < n; i++)
		appendStringInfo(&hint, "%s%s", i == 0 ? "Use one of " : i == n - 1 ? " and " : ", ", words[i]);
	appendStringInfoChar(&hint, '.');
	bad_param(id, psprintf("\"%s\"", p->text), hint.data);
}

static void
check_us(MdbDraft *draft, MdbParamId id, int64 min, int64 max, bool whole, const char *hint)
{
	MdbParam *p = &draft->p[id];

	if (p->given && (p->us < min || p->us > max || (whole && p->us % USECS_PER_SEC != 0)))
		bad_param(id, psprintf("%g seconds", (double) p->us / USECS_PER_SEC), hint);
}

static void
check_integer(MdbDraft *draft, MdbParamId id, int32 min, int32 max)
{
	MdbParam *p = &draft->p[id];

	if (p->given && (p->integer < min || p->integer > max))
		bad_param(id, psprintf("%d", p->integer), psprintf("It is from %d to %d.", min, max));
}

/* ---- which kind ---- */

static MdbRuleKind
kind_of(const MdbDraft *draft)
{
	const MdbParam *p = draft->p;

	if (p[MDB_P_RECORD].given || p[MDB_P_INTO_TABLE].given)
		return MDB_RULE_RECORDING;
	if (p[MDB_P_QUERY].given)
		return MDB_RULE_QUERY;
	if (p[MDB_P_EXPRESSION].given)
		return MDB_RULE_COMPOSITE;
	if (p[MDB_P_SILENT_FOR].given)
		return MDB_RULE_DEADMAN;
	if (p[MDB_P_AGGREGATE].given || p[MDB_P_WINDOW].given || p[MDB_P_THRESHOLD].given ||
		p[MDB_P_METRIC].given)
		return MDB_RULE_THRESHOLD;
	ereport(
		ERROR,
		(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		 errmsg("alert rule \"%s\" says nothing to watch", draft->name),
		 errhint(
			 "Give a \"query\"; or \"source\", \"metric\", \"aggregate\", \"window\", \"op\" and \"threshold\"; or "
			 "\"source\", \"metric\" and \"silent_for\"; or an \"expression\" over other rules.")));
}

static void
check_kind(MdbDraft *draft)
{
	draft->kind = kind_of(draft);
	for (int i = 0; i < MDB_NPARAMS; i++)
		if (draft->p[i].given && !mdb_param_is_of(i, draft->kind))
			ereport(
				ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a rule of kind \"%s\" has no \"%s\"", kind_names[draft->kind], mdb_param_name(i)),
				 errdetail("Alert rule \"%s\" would be of this kind, by its other arguments.", draft->name)));
}

/* ---- labels and annotations ---- */

/* An object whose values are texts: scalars become those, NULL and what is empty goes.  Templates are parsed. */
static Jsonb *
texts_object(const MdbDraft *draft, MdbParamId id, bool *uses_value)
{
	const Jsonb *object = draft->p[id].jsonb;
	JsonbParseState *state = NULL;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue v, name;

	if (!JB_ROOT_IS_OBJECT(object))
		bad_param(id, JsonbToCString(NULL, unconstify(JsonbContainer *, &object->root), VARSIZE(object)),
				  "It is an object of names and values: {\"severity\": \"page\"}.");
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	it = JsonbIteratorInit(unconstify(JsonbContainer *, &object->root));
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		char *text;

		if (token == WJB_KEY)
			name = v;
		if (token != WJB_VALUE)
			continue;
		if (v.type == jbvBinary)
			bad_param(id, psprintf("\"%s\" is no text", pnstrdup(name.val.string.val, name.val.string.len)),
					  "Values are texts, numbers or booleans.");
		text = mdb_json_scalar(&v);
		if (name.val.string.len == 0)
			bad_param(id, "a name is empty", "Give each value a name.");
		if (text == NULL || text[0] == '\0')
			continue;
		mdb_template_check(text,
						   psprintf("%s \"%s\"", id == MDB_P_LABELS ? "label" : "annotation",
									pnstrdup(name.val.string.val, name.val.string.len)),
						   uses_value);
		(void) pushJsonbValue(&state, WJB_KEY, &name);
		v.type = jbvString;
		v.val.string.val = text;
		v.val.string.len = strlen(text);
		(void) pushJsonbValue(&state, WJB_VALUE, &v);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static Jsonb *
empty_object(void)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
check_labels(MdbDraft *draft)
{
	MdbParam *labels = &draft->p[MDB_P_LABELS];
	MdbParam *annotations = &draft->p[MDB_P_ANNOTATIONS];
	bool uses_value = false;
	bool ignored = false;

	labels->jsonb = labels->given ? texts_object(draft, MDB_P_LABELS, &uses_value) : empty_object();
	annotations->jsonb =
		annotations->given ? texts_object(draft, MDB_P_ANNOTATIONS, &ignored) : empty_object();
	if (uses_value)
		ereport(WARNING, (errmsg("a label of alert rule \"%s\" depends on the value", draft->name),
						  errdetail("With each other value it is another alert, which begins anew."),
						  errhint("Use $value in annotations only.")));
}

/* ---- policies ---- */

static void
check_policies(MdbDraft *draft)
{
	MdbParam *p = draft->p;

	if (draft->kind == MDB_RULE_RECORDING)
		check_word(draft, MDB_P_ABSENT, ending_names, lengthof(ending_names));
	else
		check_word(draft, MDB_P_ABSENT, absent_names, lengthof(absent_names));
	check_word(draft, MDB_P_ERROR, error_names, lengthof(error_names));
	check_word(draft, MDB_P_NODATA, nodata_names, lengthof(nodata_names));
	if (p[MDB_P_ABSENT_FOR].given && (!p[MDB_P_ABSENT].given || strcmp(p[MDB_P_ABSENT].text, "resolve") == 0))
		bad_param(MDB_P_ABSENT_FOR, "what is absent is resolved at once",
				  "Give \"absent\", too: keep, firing or nodata.");
	check_integer(draft, MDB_P_OF, 1, 64);
	check_integer(draft, MDB_P_HOLDS_OF, 1, p[MDB_P_OF].given ? p[MDB_P_OF].integer : 64);
	if (p[MDB_P_HOLDS_OF].given != p[MDB_P_OF].given)
		bad_param(p[MDB_P_OF].given ? MDB_P_OF : MDB_P_HOLDS_OF, "it is given alone",
				  "M of the last N evaluations: holds_of => M, \"of\" => N.");
	if (p[MDB_P_HOLDS_OF].given && p[MDB_P_HOLD].given && p[MDB_P_HOLD].us > 0)
		bad_param(MDB_P_HOLDS_OF, "the rule has a \"hold\"",
				  "Either a condition has to hold for all of \"hold\", or in \"holds_of\" of the last \"of\" "
				  "evaluations.");
}

static void
check_times(MdbDraft *draft)
{
	MdbParam *p = draft->p;

	if (!p[MDB_P_EVERY].given)
		p[MDB_P_EVERY].us = EVERY_DEFAULT;
	check_us(draft, MDB_P_EVERY, USECS_PER_SEC, USECS_PER_DAY, true,
			 "It is a whole number of seconds, from one second to one day.");
	check_us(draft, MDB_P_TIMEOUT, 10000, p[MDB_P_EVERY].us, false,
			 "It is from 10 milliseconds to what \"every\" is.");
	check_us(
		draft, MDB_P_WINDOW, USECS_PER_SEC, 7 * USECS_PER_DAY, true,
		"It is a whole number of seconds, of seven days at most. For longer ones write a \"query\", over a "
		"continuous aggregate.");
	check_us(draft, MDB_P_SILENT_FOR, USECS_PER_SEC, 366 * USECS_PER_DAY, false,
			 "It is from one second to one year.");
	check_us(
		draft, MDB_P_FORGET_AFTER, p[MDB_P_SILENT_FOR].us + 1, 10 * 366 * USECS_PER_DAY, false,
		"It is longer than \"silent_for\", and ten years at most: who is silent for so long is not missed any more.");
	check_us(draft, MDB_P_ABSENT_FOR, 1, PG_INT64_MAX, false, "It is longer than no time.");
}

static void
check_comparison(MdbDraft *draft)
{
	MdbParam *p = draft->p;
	double threshold = p[MDB_P_THRESHOLD].number;
	double recover = p[MDB_P_RECOVER].number;

	if (draft->kind == MDB_RULE_THRESHOLD)
	{
		need(draft, MDB_P_OP);
		need(draft, MDB_P_THRESHOLD);
	}
	if (p[MDB_P_OP].given != p[MDB_P_THRESHOLD].given || (p[MDB_P_RECOVER].given && !p[MDB_P_OP].given))
		bad_param(
			p[MDB_P_OP].given ? MDB_P_OP : MDB_P_THRESHOLD,
			"a comparison needs both \"op\" and \"threshold\"",
			"Give op => '>', threshold => 90, and recover => 80 if it shall be resolved below that only.");
	if (!p[MDB_P_OP].given)
		return;
	if (strcmp(p[MDB_P_OP].text, "==") == 0)
		p[MDB_P_OP].text = "=";
	else if (strcmp(p[MDB_P_OP].text, "!=") == 0)
		p[MDB_P_OP].text = "<>";
	if (find_name((const char *const[]){">", ">=", "<", "<=", "=", "<>"}, 6, p[MDB_P_OP].text) < 0)
		bad_param(MDB_P_OP, psprintf("\"%s\"", p[MDB_P_OP].text), "Use one of >, >=, <, <=, = and <>.");
	if (isnan(threshold))
		bad_param(MDB_P_THRESHOLD, "NaN", "Nothing compares with it.");
	if (p[MDB_P_RECOVER].given)
	{
		if (p[MDB_P_OP].text[0] == '=' || p[MDB_P_OP].text[1] == '>')
			bad_param(MDB_P_RECOVER, "the comparison is for equality",
					  "A second threshold is for >, >=, < and <=.");
		if (isnan(recover) || (p[MDB_P_OP].text[0] == '>' ? recover > threshold : recover < threshold))
			bad_param(MDB_P_RECOVER, psprintf("%g", recover),
					  psprintf("What fires when it is %s %g recovers at a %s value.", p[MDB_P_OP].text,
							   threshold, p[MDB_P_OP].text[0] == '>' ? "lower" : "higher"));
	}
}

/* ---- targets ---- */

/* The target that a statement has found, if the rule's owner may use it. */
static int32
usable_target(const MdbDraft *draft)
{
	HeapTuple row = SPI_tuptable->vals[0];
	TupleDesc desc = SPI_tuptable->tupdesc;
	bool isnull;

	if (!has_privs_of_role(draft->owner, DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull))))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for alert target \"%s\"", SPI_getvalue(row, desc, 3)),
				 errdetail("It is not role \"%s\"'s to use.", GetUserNameFromId(draft->owner, false))));
	return DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
}

#define SELECT_TARGET "SELECT target_id, owner::pg_catalog.oid, name FROM metricsdb.alert_target WHERE "

/* Names to ids; what the rule has already is looked at again.  Raises ERRCODE_UNDEFINED_OBJECT, ERRCODE_INSUFFICIENT_PRIVILEGE. */
static void
check_targets(MdbDraft *draft)
{
	const MdbParam *p = &draft->p[MDB_P_TARGETS];
	int n = p->given ? list_length(p->texts) : draft->ntargets;
	int32 *ids = palloc(sizeof(int32) * Max(1, n));
	int count = 0;

	SPI_connect();
	for (int i = 0; i < n; i++)
	{
		Oid type = p->given ? TEXTOID : INT4OID;
		char *name = p->given ? list_nth(p->texts, i) : NULL;
		Datum arg = p->given ? CStringGetTextDatum(name) : Int32GetDatum(draft->targets[i]);
		bool known = false;
		int32 id;

		if (mdb_execute_own(p->given ? SELECT_TARGET "name = $1 FOR KEY SHARE"
									 : SELECT_TARGET "target_id = $1 FOR KEY SHARE",
							1, &type, &arg, NULL) == 0)
		{
			/* One of the rule's was dropped. */
			if (name == NULL)
				continue;
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("alert target \"%s\" does not exist", name),
					 errhint("Create it by %s.create_alert_target().", MDB_SCHEMA)));
		}
		id = usable_target(draft);
		for (int k = 0; k < count; k++)
			known = known || ids[k] == id;
		if (!known)
			ids[count++] = id;
	}
	SPI_finish();
	draft->targets = ids;
	draft->ntargets = count;
}

/* ---- kinds ---- */

static void
check_threshold(MdbDraft *draft)
{
	const char *aggregate;

	need(draft, MDB_P_SOURCE);
	need(draft, MDB_P_AGGREGATE);
	need(draft, MDB_P_WINDOW);
	aggregate = draft->p[MDB_P_AGGREGATE].text;
	if (pg_strcasecmp(aggregate, "quantile") == 0 || pg_strcasecmp(aggregate, "median") == 0 ||
		pg_strcasecmp(aggregate, "percentile") == 0)
		bad_param(MDB_P_AGGREGATE, psprintf("\"%s\"", aggregate),
				  "It cannot be computed from the states of a window's parts. Write a \"query\" instead.");
	check_word(draft, MDB_P_AGGREGATE, aggregate_names, lengthof(aggregate_names));
	mdb_series_source_check(draft);
}

static void
check_recording(MdbDraft *draft)
{
	Oid into = draft->p[MDB_P_INTO_TABLE].oid;

	need(draft, MDB_P_QUERY);
	need(draft, MDB_P_RECORD);
	need(draft, MDB_P_INTO_TABLE);
	if (!mdb_is_metricsdb_oid(into))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"%s\" is not a metricsdb table", get_rel_name(into)),
						errhint("Make one by %s.create_metrics_table().", MDB_SCHEMA)));
	if (pg_class_aclcheck(into, draft->owner, ACL_INSERT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, get_rel_name(into));
}

static void
check_composite(MdbDraft *draft)
{
	if (draft->p[MDB_P_EXPRESSION].text[strspn(draft->p[MDB_P_EXPRESSION].text, " \t\n")] == '\0')
		bad_param(MDB_P_EXPRESSION, "it is empty",
				  "Write one like alert('high_cpu') AND NOT alert('maintenance').");
	mdb_composite_check(draft);
}

/* What search_path the query is to be read with: as the session has it, and our functions in any case. */
static void
check_path(MdbDraft *draft)
{
	MdbParam *p = &draft->p[MDB_P_SEARCH_PATH];
	List *names;
	ListCell *lc;
	bool ours = false;

	if (!p->given)
		p->text = pstrdup(namespace_search_path);
	if (!SplitIdentifierString(pstrdup(p->text), ',', &names))
		bad_param(MDB_P_SEARCH_PATH, psprintf("\"%s\"", p->text), "It is a list of names of schemas.");
	foreach (lc, names)
		ours = ours || strcmp(lfirst(lc), MDB_SCHEMA) == 0;
	if (!ours)
		p->text = names == NIL ? pstrdup(MDB_SCHEMA) : psprintf("%s, %s", p->text, MDB_SCHEMA);
	p->given = true;
}

/*
 * mdb_draft_check - complete a rule and make it uniform.
 *
 * Raises ERRCODE_INVALID_PARAMETER_VALUE and others for what is no rule, and what is not the owner's to use.  The
 * current user is who defines it.
 */
void
mdb_draft_check(MdbDraft *draft)
{
	if (draft->name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the name of a rule must not be empty")));
	if (strlen(draft->name) > MAX_NAME_LENGTH)
		ereport(ERROR, (errcode(ERRCODE_NAME_TOO_LONG),
						errmsg("name of an alert rule is longer than %d bytes", MAX_NAME_LENGTH)));
	check_kind(draft);
	check_times(draft);
	check_policies(draft);
	check_comparison(draft);
	check_labels(draft);
	check_targets(draft);
	if (!draft->p[MDB_P_MAX_NEW_INSTANCES].given)
		draft->p[MDB_P_MAX_NEW_INSTANCES].integer = MAX_NEW_INSTANCES_DEFAULT;
	check_integer(draft, MDB_P_MAX_NEW_INSTANCES, 1, 1000000);
	check_integer(draft, MDB_P_MAX_ROWS, 1, 1000000);
	if (!draft->p[MDB_P_ENABLED].given)
		draft->p[MDB_P_ENABLED].boolean = true;
	switch (draft->kind)
	{
		case MDB_RULE_RECORDING:
			check_recording(draft);
			/* FALLTHROUGH */
		case MDB_RULE_QUERY:
			check_path(draft);
			mdb_query_check(draft);
			break;
		case MDB_RULE_THRESHOLD:
			check_threshold(draft);
			break;
		case MDB_RULE_DEADMAN:
			need(draft, MDB_P_SOURCE);
			mdb_series_source_check(draft);
			break;
		case MDB_RULE_COMPOSITE:
			check_composite(draft);
			break;
	}
}
