/*
 * match.c
 *	  metricsdb.match(): does a series meet a selector of Prometheus?
 *
 * A label that there is not has an empty value, as it has in Prometheus; so has one that is NULL.  A selector is parsed
 * once for each place in a query, or when it changes there.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "compat.h"
#include "func/func.h"

PG_FUNCTION_INFO_V1(mdb_match_tags);
PG_FUNCTION_INFO_V1(mdb_match_metric);
PG_FUNCTION_INFO_V1(mdb_match_labels);

static void *
take(void *arg, size_t size)
{
	return MemoryContextAllocHuge(arg, size);
}

static void
check_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
}

/*
 * mdb_selector_of - a text to a selector, in a memory context.  One that is none: NULL, or ERRCODE_INVALID_PARAMETER_VALUE
 * unless missing_ok.
 */
MdbSelector *
mdb_selector_of(const char *text, Size len, MemoryContext mcxt, bool missing_ok)
{
	MdbMatchMemory memory = {.alloc = take, .arg = mcxt, .check = check_interrupts};
	MdbMatchError error;
	MdbSelector *selector = mdb_selector_parse(&memory, GetDatabaseEncoding() == PG_UTF8, text, len, &error);

	if (selector == NULL && missing_ok)
		return NULL;
	if (selector == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("selector is invalid at character %d: %s",
							   pg_mbstrlen_with_len(text, (int) error.at) + 1, error.what),
						errdetail("The selector is: %.*s", pg_mbcliplen(text, (int) len, 1000), text),
						error.hint ? errhint("%s", error.hint) : 0));
	/* Bytes that escapes have made are characters of UTF-8; of another encoding they may be anything. */
	for (int i = 0; i < selector->n && GetDatabaseEncoding() != PG_UTF8; i++)
	{
		if (!pg_verifymbstr(selector->v[i].label.p, (int) selector->v[i].label.len, missing_ok) ||
			!pg_verifymbstr(selector->v[i].value.p, (int) selector->v[i].value.len, missing_ok))
			return NULL;
	}
	return selector;
}

/* The selector of a call site. */
typedef struct Site
{
	MemoryContext mcxt; /* of what follows */
	bool known;
	bool fixed; /* it is a constant */
	char *text;
	Size len;
	MdbSelector *selector;
} Site;

/*
 * Is an argument a constant?  Parameters are not, though they are fixed while a query runs: PL/pgSQL keeps a simple
 * expression's state, and with it the call site, from one value of its variables to the next.
 */
static bool
is_constant(FunctionCallInfo fcinfo, int argno)
{
	FuncExpr *call = (FuncExpr *) fcinfo->flinfo->fn_expr;

	return call != NULL && IsA(call, FuncExpr) && IsA(list_nth(call->args, argno), Const);
}

static MdbSelector *
selector_of_call(FunctionCallInfo fcinfo, int argno)
{
	Site *site = fcinfo->flinfo->fn_extra;
	text *selector;

	if (site == NULL)
	{
		site = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Site));
		site->mcxt =
			AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "metricsdb selector", ALLOCSET_SMALL_SIZES);
		site->fixed = is_constant(fcinfo, argno);
		fcinfo->flinfo->fn_extra = site;
	}
	if (site->known && site->fixed)
		return site->selector;
	selector = PG_GETARG_TEXT_PP(argno);
	if (site->known && site->len == VARSIZE_ANY_EXHDR(selector) &&
		memcmp(site->text, VARDATA_ANY(selector), site->len) == 0)
		return site->selector;
	site->known = false;
	MemoryContextReset(site->mcxt);
	site->len = VARSIZE_ANY_EXHDR(selector);
	site->text = MemoryContextAllocHuge(site->mcxt, site->len + 1);
	memcpy(site->text, VARDATA_ANY(selector), site->len);
	site->selector = mdb_selector_of(site->text, site->len, site->mcxt, false);
	site->known = true;
	return site->selector;
}

/*
 * mdb_label_text - the value of a pair of a jsonb object as text, which for null is empty.
 */
MdbBytes
mdb_label_text(const JsonbValue *v)
{
	char *text;

	switch (v->type)
	{
		case jbvString:
			return (MdbBytes){v->val.string.val, (size_t) v->val.string.len};
		case jbvNumeric:
			text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(v->val.numeric)));
			return (MdbBytes){text, strlen(text)};
		case jbvBool:
			return v->val.boolean ? (MdbBytes){"true", 4} : (MdbBytes){"false", 5};
		case jbvBinary:
			text = JsonbToCString(NULL, v->val.binary.data, v->val.binary.len);
			return (MdbBytes){text, strlen(text)};
		default:
			return (MdbBytes){"", 0};
	}
}

static MdbBytes
label_of_tags(const Jsonb *tags, MdbBytes label)
{
	JsonbValue v;

	if (tags == NULL || !JB_ROOT_IS_OBJECT(tags) ||
		getKeyJsonValueFromContainer((JsonbContainer *) &tags->root, label.p, (int) label.len, &v) == NULL)
		return (MdbBytes){"", 0};
	return mdb_label_text(&v);
}

/* Do the tags, and the name unless it is among these, meet a selector? */
static bool
tags_match(const MdbSelector *selector, const Jsonb *tags, const MdbBytes *name)
{
	for (int i = 0; i < selector->n; i++)
	{
		const MdbMatcher *m = &selector->v[i];
		MdbBytes value = name && mdb_is_metric_label(m->label) ? *name : label_of_tags(tags, m->label);

		if (!mdb_matcher_holds(m, value.p, value.len))
			return false;
	}
	return true;
}

/*
 * mdb_match_tags - metricsdb.match(tags jsonb, selector text).
 */
Datum
mdb_match_tags(PG_FUNCTION_ARGS)
{
	MdbSelector *selector;

	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	selector = selector_of_call(fcinfo, 1);
	PG_RETURN_BOOL(tags_match(selector, PG_ARGISNULL(0) ? NULL : PG_GETARG_JSONB_P(0), NULL));
}

/*
 * mdb_match_metric - metricsdb.match(metric_name text, tags jsonb, selector text).
 */
Datum
mdb_match_metric(PG_FUNCTION_ARGS)
{
	MdbSelector *selector;
	MdbBytes name = {"", 0};

	if (PG_ARGISNULL(2))
		PG_RETURN_NULL();
	selector = selector_of_call(fcinfo, 2);
	if (!PG_ARGISNULL(0))
	{
		text *t = PG_GETARG_TEXT_PP(0);

		name = (MdbBytes){VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t)};
	}
	PG_RETURN_BOOL(tags_match(selector, PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1), &name));
}

/*
 * mdb_match_labels - metricsdb.match(selector text, VARIADIC labels text[]): names and values in turn; of a name that
 * comes again the first counts.
 */
Datum
mdb_match_labels(PG_FUNCTION_ARGS)
{
	MdbSelector *selector;
	Datum *labels;
	bool *isnull;
	int n;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	selector = selector_of_call(fcinfo, 0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT, &labels, &isnull, &n);
	if (n % 2 != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a label has no value"),
				 errdetail("There are %d names and values.", n),
				 errhint("Names and values of labels follow each other: match(selector, 'host', host).")));
	for (int i = 0; i < n; i += 2)
		if (isnull[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the name of a label is NULL")));
	for (int i = 0; i < selector->n; i++)
	{
		const MdbMatcher *m = &selector->v[i];
		MdbBytes value = {"", 0};

		for (int k = 0; k < n; k += 2)
			if (VARSIZE_ANY_EXHDR(labels[k]) == m->label.len &&
				memcmp(VARDATA_ANY(labels[k]), m->label.p, m->label.len) == 0)
			{
				if (!isnull[k + 1])
					value = (MdbBytes){VARDATA_ANY(labels[k + 1]), VARSIZE_ANY_EXHDR(labels[k + 1])};
				break;
			}
		if (!mdb_matcher_holds(m, value.p, value.len))
			PG_RETURN_BOOL(false);
	}
	PG_RETURN_BOOL(true);
}
