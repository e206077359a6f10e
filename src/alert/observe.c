/*
 * observe.c
 *	  What evaluations of all kinds are made of: lists of observations, the labels of an instance, comparisons with a
 *	  threshold, and fields of a rule's definition and options.
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "alert/alert.h"
#include "alert/define.h"

/* ---- fields of an object ---- */

static bool
find_field(const Jsonb *object, const char *name, JsonbValue *value)
{
	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
		return false;
	return getKeyJsonValueFromContainer(unconstify(JsonbContainer *, &object->root), name, strlen(name),
										value) != NULL &&
		   value->type != jbvNull;
}

/*
 * mdb_json_scalar - a value of JSON as text, palloc'd; NULL for null.
 */
char *
mdb_json_scalar(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return NULL;
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		case jbvBinary:
			return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
		default:
		{
			Jsonb *whole = JsonbValueToJsonb(unconstify(JsonbValue *, value));

			return JsonbToCString(NULL, &whole->root, VARSIZE(whole));
		}
	}
}

/*
 * mdb_json_text - a field of an object as text, palloc'd; NULL if there is none, or null.
 */
char *
mdb_json_text(const Jsonb *object, const char *name)
{
	JsonbValue value;

	return find_field(object, name, &value) ? mdb_json_scalar(&value) : NULL;
}

/*
 * mdb_json_texts - the elements of a field of an object that is an array, as texts; NIL if there is none.
 */
List *
mdb_json_texts(const Jsonb *object, const char *name)
{
	JsonbValue array;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue v;
	List *texts = NIL;

	if (!find_field(object, name, &array) || array.type != jbvBinary ||
		!JsonContainerIsArray(array.val.binary.data))
		return NIL;
	it = JsonbIteratorInit(array.val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		if (token == WJB_ELEM && v.type != jbvNull)
			texts = lappend(texts, mdb_json_scalar(&v));
	return texts;
}

/*
 * mdb_json_number - a field of an object as a number: of JSON, or text that is one; otherwise if there is none.
 *
 * Raises ERRCODE_INVALID_TEXT_REPRESENTATION for text that is none.
 */
double
mdb_json_number(const Jsonb *object, const char *name, double otherwise)
{
	char *text = mdb_json_text(object, name);

	return text ? DatumGetFloat8(DirectFunctionCall1(float8in, CStringGetDatum(text))) : otherwise;
}

/*
 * mdb_json_interval - a field of an object, text that is an interval, in microseconds, a month as 30 days.
 *
 * Raises ERRCODE_INVALID_DATETIME_FORMAT for text that is none.
 */
int64
mdb_json_interval(const Jsonb *object, const char *name, int64 otherwise)
{
	char *text = mdb_json_text(object, name);

	if (text == NULL)
		return otherwise;
	return mdb_interval_us(DatumGetIntervalP(DirectFunctionCall3(
		interval_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1))));
}

/*
 * mdb_interval_us - an interval in microseconds, a month as 30 days.
 */
int64
mdb_interval_us(const Interval *interval)
{
	return (interval->month * INT64CONST(30) + interval->day) * USECS_PER_DAY + interval->time;
}

/* ---- observations ---- */

/*
 * mdb_observe - one more observation; labels, and their key if it is known, else NULL, are kept, not copied.
 */
void
mdb_observe(MdbObservations *seen, Jsonb *labels, const uint8 *key, double value, bool isnull,
			MdbCondition holds)
{
	MdbObservation *o;

	if (seen->count == seen->room)
	{
		seen->room = Max(16, seen->room * 2);
		seen->of = seen->of ? repalloc_huge(seen->of, sizeof(MdbObservation) * seen->room)
							: palloc(sizeof(MdbObservation) * seen->room);
	}
	o = &seen->of[seen->count++];
	o->labels = labels;
	o->key = key;
	o->value = value;
	o->isnull = isnull;
	o->holds = holds;
}

/* ---- labels ---- */

static void
push_label(JsonbParseState **state, const char *name, const char *value)
{
	JsonbValue v = {.type = jbvString};

	v.val.string.val = unconstify(char *, name);
	v.val.string.len = strlen(name);
	(void) pushJsonbValue(state, WJB_KEY, &v);
	v.val.string.val = unconstify(char *, value);
	v.val.string.len = strlen(value);
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

/* Has the rule a label of that name?  Then it wins. */
static bool
is_of_rule(const MdbRule *rule, const char *name)
{
	JsonbValue value;

	return strcmp(name, "alertname") == 0 || find_field(rule->labels, name, &value);
}

/* What was observed, without the values that are empty. */
static Jsonb *
labels_of(int n, char **names, char **values)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < n; i++)
		if (values[i] && values[i][0] != '\0')
			push_label(&state, names[i], values[i]);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * mdb_labels_make - the labels of an instance: n of what was observed, those of the rule, in which what was observed and
 * the value are filled in, and alertname, which is the rule's name unless the rule has a label of that name.
 *
 * Values that are NULL or empty are left out.  What was observed under a name that the rule has a label of is called
 * exported_NAME.  A name that comes twice: the last one counts.
 */
Jsonb *
mdb_labels_make(const MdbRule *rule, int n, char **names, char **values, double value)
{
	JsonbParseState *state = NULL;
	Jsonb *observed = NULL;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue v;
	bool named = false;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < n; i++)
		if (values[i] && values[i][0] != '\0')
			push_label(&state, is_of_rule(rule, names[i]) ? psprintf("exported_%s", names[i]) : names[i],
					   values[i]);
	if (rule->labels && JB_ROOT_IS_OBJECT(rule->labels))
	{
		char *name = NULL;

		it = JsonbIteratorInit(&rule->labels->root);
		while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		{
			char *text;

			if (token == WJB_KEY)
				name = pnstrdup(v.val.string.val, v.val.string.len);
			if (token != WJB_VALUE || (text = mdb_json_scalar(&v)) == NULL)
				continue;
			if (strstr(text, "{{") != NULL)
			{
				if (observed == NULL)
					observed = labels_of(n, names, values);
				text = mdb_template_expand(text, observed, value);
			}
			if (text[0] == '\0')
				continue;
			push_label(&state, name, text);
			named = named || strcmp(name, "alertname") == 0;
		}
	}
	if (!named)
		push_label(&state, "alertname", rule->name);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* ---- comparisons ---- */

/*
 * mdb_comparison_read - op, threshold and recover of an object: a rule's definition or options.
 *
 * False if it has none.  Raises ERRCODE_INVALID_PARAMETER_VALUE for an op that is none of > >= < <= = == != <>.
 */
bool
mdb_comparison_read(const Jsonb *object, MdbComparison *c)
{
	static const struct
	{
		const char *name;
		MdbCompareOp op;
	} ops[] = {{">", MDB_OP_GT}, {">=", MDB_OP_GE}, {"<", MDB_OP_LT},  {"<=", MDB_OP_LE},
			   {"=", MDB_OP_EQ}, {"==", MDB_OP_EQ}, {"!=", MDB_OP_NE}, {"<>", MDB_OP_NE}};
	char *op = mdb_json_text(object, "op");

	if (op == NULL)
		return false;
	c->threshold = mdb_json_number(object, "threshold", NAN);
	c->recover = mdb_json_number(object, "recover", c->threshold);
	for (int i = 0; i < lengthof(ops); i++)
		if (strcmp(op, ops[i].name) == 0)
		{
			c->op = ops[i].op;
			return true;
		}
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" is no comparison", op),
					errhint("Use one of >, >=, <, <=, = and !=.")));
}

/* As C does: nothing but != is true of NaN, as in Prometheus. */
static bool
compare(MdbCompareOp op, double value, double with)
{
	switch (op)
	{
		case MDB_OP_GT:
			return value > with;
		case MDB_OP_GE:
			return value >= with;
		case MDB_OP_LT:
			return value < with;
		case MDB_OP_LE:
			return value <= with;
		case MDB_OP_EQ:
			return value == with;
		case MDB_OP_NE:
			return value != with;
	}
	return false;
}

/*
 * mdb_compare - does a comparison hold of a value, or is it between the two thresholds?
 */
MdbCondition
mdb_compare(const MdbComparison *c, double value)
{
	if (compare(c->op, value, c->threshold))
		return MDB_HOLDS;
	return c->op <= MDB_OP_LE && compare(c->op, value, c->recover) ? MDB_BETWEEN : MDB_HOLDS_NOT;
}
