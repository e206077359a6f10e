/*
 * series_match.c
 *	  Selectors of Prometheus, metricsdb.match(), to sets of series, by the inverted index over series.
 *
 * The matchers of a label are taken together.  If an empty value does not meet them, their series have one of the
 * label's values that do: looked up where they are known, by =, or by an expression that has only some matches, else
 * tried one by one.  If an empty value does, series without the label do, too, which no term tells: then the series
 * are found that have a value that does not, and taken off.
 *
 * Values are tried although the query may not see their rows: the functions of src/func/match_*.c cannot fail for a
 * value, and cannot tell.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "exec/pushdown.h"
#include "exec/series_match.h"
#include "func/func.h"
#include "metricsdb.h"

/* Where the values of a label are. */
typedef struct Source
{
	MdbBytes name;    /* of the label; .p NULL = of all others */
	AttrNumber attno; /* 0 = that cannot be told */
	bool pairs;       /* pairs of a jsonb object */
} Source;

struct MdbSeriesMatch
{
	const MdbTable *table;
	ExprState *selector;
	int nsources;
	Source *sources;
	MemoryContext mcxt; /* of the selector that was resolved last */
	bytea *text;
	MdbSelector *parsed;
};

/* The matchers of one label. */
typedef struct Matchers
{
	const Source *source; /* NULL = no series has such a label */
	MdbBytes label;
	int n;
	const MdbMatcher **v;
	bool empty_holds;
	const MdbBytes *values; /* that meet them, or if an empty one does that do not, if these are known */
	int nvalues;            /* -1 = they are not */
} Matchers;

typedef struct Resolving
{
	MdbSeriesMatch *m;
	Snapshot snapshot;
	const Matchers *group;
	MdbIds *ids;
	bool exact;
	int64 *terms;
} Resolving;

/* ---------- which selectors can be resolved ---------- */

static bool
is_series_column(const MdbTable *table, Node *node, bool jsonb, AttrNumber *attno)
{
	Var *var = (Var *) mdb_strip_relabel(node);

	if (var == NULL || !IsA(var, Var) || IS_SPECIAL_VARNO(var->varno) || var->varlevelsup != 0 ||
		var->varattno <= 0 || var->varattno > table->natts)
		return false;
	*attno = var->varattno;
	return table->columns[var->varattno - 1].role == MDB_ROLE_SERIES &&
		   table->columns[var->varattno - 1].jsonb == jsonb;
}

/* The names and values that stand in a call of the variadic form. */
static bool
find_labels(MdbSeriesMatch *m, Node *node)
{
	ArrayExpr *array = (ArrayExpr *) node;

	if (!IsA(node, ArrayExpr) || array->multidims || list_length(array->elements) % 2 != 0)
		return false;
	m->sources = palloc0(sizeof(Source) * Max(list_length(array->elements) / 2, 1));
	for (int i = 0; i < list_length(array->elements); i += 2)
	{
		Const *name = (Const *) mdb_strip_relabel(list_nth(array->elements, i));
		Source *source = &m->sources[m->nsources++];
		text *t;

		if (!IsA(name, Const) || name->constisnull)
			return false;
		t = DatumGetTextPP(name->constvalue);
		source->name = (MdbBytes){VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t)};
		if (!is_series_column(m->table, list_nth(array->elements, i + 1), false, &source->attno))
			source->attno = 0;
	}
	return true;
}

static bool
find_tags(MdbSeriesMatch *m, Node *name, Node *tags)
{
	static const MdbBytes metric = {MDB_MATCH_NAME, sizeof(MDB_MATCH_NAME) - 1};

	m->sources = palloc0(sizeof(Source) * 2);
	if (name)
	{
		m->sources[m->nsources].name = metric;
		if (!is_series_column(m->table, name, false, &m->sources[m->nsources++].attno))
			return false;
	}
	m->sources[m->nsources].pairs = true;
	return is_series_column(m->table, tags, true, &m->sources[m->nsources++].attno);
}

/*
 * mdb_series_match_begin - is a condition metricsdb.match() with columns of a table's series?  NULL if not, or if it
 * cannot be resolved.
 */
MdbSeriesMatch *
mdb_series_match_begin(const MdbTable *table, Node *clause, PlanState *ps)
{
	FuncExpr *call = (FuncExpr *) clause;
	MdbSeriesMatch *m;
	char *name;
	Node *selector;
	bool ok;
	int nargs;

	if (!IsA(clause, FuncExpr) || call->funcretset)
		return NULL;
	name = get_func_name(call->funcid);
	if (name == NULL || strcmp(name, "match") != 0 ||
		get_func_namespace(call->funcid) != get_namespace_oid(MDB_SCHEMA, true))
		return NULL;
	m = palloc0(sizeof(MdbSeriesMatch));
	m->table = table;
	nargs = list_length(call->args);
	if (nargs == 2 && exprType(lsecond(call->args)) == TEXTARRAYOID)
	{
		selector = linitial(call->args);
		ok = find_labels(m, lsecond(call->args));
	}
	else
	{
		selector = llast(call->args);
		ok = nargs == 3 ? find_tags(m, linitial(call->args), lsecond(call->args))
						: find_tags(m, NULL, linitial(call->args));
	}
	if (!ok || contain_var_clause(selector))
		return NULL;
	m->selector = ExecInitExpr((Expr *) selector, ps);
	m->mcxt = AllocSetContextCreate(CurrentMemoryContext, "metricsdb selector", ALLOCSET_SMALL_SIZES);
	return m;
}

/* ---------- the matchers of a label ---------- */

static bool
same(MdbBytes a, MdbBytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

static bool
holds(const Matchers *group, const char *value, size_t len)
{
	for (int i = 0; i < group->n; i++)
		if (!mdb_matcher_holds(group->v[i], value, len))
			return false;
	return true;
}

/* All values that a matcher names, those that meet = and =~ or do not meet != and !~; -1 if they are too many. */
static const MdbBytes *
named_values(const MdbMatcher *matcher, int *n)
{
	*n = 1;
	if (matcher->op == MDB_MATCH_EQUAL || matcher->op == MDB_MATCH_NOT_EQUAL)
		return &matcher->value;
	return mdb_regex_words(matcher->re, n);
}

/* Which values are to be looked up. */
static void
find_values(Matchers *group)
{
	MdbBytes *values;
	int total = 0;

	group->nvalues = -1;
	for (int i = 0; i < group->n; i++)
	{
		bool positive = group->v[i]->op == MDB_MATCH_EQUAL || group->v[i]->op == MDB_MATCH_REGEX;
		const MdbBytes *named;
		int n;

		named = named_values(group->v[i], &n);
		if (!group->empty_holds)
		{
			/* What meets all of them meets this one. */
			if (positive && n >= 0 && (group->nvalues < 0 || n < group->nvalues))
			{
				group->values = named;
				group->nvalues = n;
			}
			continue;
		}
		/* What does not meet one of them is named by that. */
		if (positive || n < 0)
			return;
		total += n;
	}
	if (!group->empty_holds)
		return;
	values = palloc(sizeof(MdbBytes) * (total + 1));
	group->nvalues = 0;
	for (int i = 0; i < group->n; i++)
	{
		int n;
		const MdbBytes *named = named_values(group->v[i], &n);

		for (int k = 0; k < n; k++)
			values[group->nvalues++] = named[k];
	}
	group->values = values;
}

static const Source *
source_of(const MdbSeriesMatch *m, MdbBytes label)
{
	for (int i = 0; i < m->nsources; i++)
		if (m->sources[i].name.p == NULL || same(m->sources[i].name, label))
			return &m->sources[i];
	return NULL;
}

/* The selector's matchers by their labels. */
static Matchers *
group_matchers(const MdbSeriesMatch *m, int *ngroups)
{
	const MdbSelector *selector = m->parsed;
	Matchers *groups = palloc0(sizeof(Matchers) * Max(selector->n, 1));

	*ngroups = 0;
	for (int i = 0; i < selector->n; i++)
	{
		MdbBytes label = selector->v[i].label;
		Matchers *group = groups;

		while (group < groups + *ngroups && !same(group->label, label))
			group++;
		if (group == groups + *ngroups)
		{
			group->label = label;
			group->source = source_of(m, label);
			group->v = palloc(sizeof(MdbMatcher *) * selector->n);
			(*ngroups)++;
		}
		group->v[group->n++] = &selector->v[i];
	}
	for (int i = 0; i < *ngroups; i++)
	{
		groups[i].empty_holds = holds(&groups[i], "", 0);
		find_values(&groups[i]);
	}
	return groups;
}

/* ---------- looking up ---------- */

static void
find_term(Resolving *r, const MdbTerm *term)
{
	mdb_postings_find(r->m->table->storage_id, r->snapshot, term, r->ids);
	(*r->terms)++;
}

/*
 * The series that have a value.  One whose term is a hash may be another: then those of it are taken, or if they
 * are to be taken off none.
 */
static void
find_value(Resolving *r, MdbBytes value)
{
	const Source *source = r->group->source;
	MdbBytes label = r->group->label;
	const char *types = "s";
	MdbTerm term;

	if (!source->pairs)
	{
		if (value.len > MDB_TERM_VALUE_MAX)
			r->exact = false;
		if (value.len > MDB_TERM_VALUE_MAX && r->group->empty_holds)
			return;
		mdb_term_value(&term, source->attno, value.p, (uint32) value.len);
		find_term(r, &term);
		return;
	}
	if (label.len > MDB_TERM_KEY_MAX || value.len > MDB_TERM_TEXT_MAX)
	{
		r->exact = false;
		if (r->group->empty_holds)
			return;
	}
	else if (value.len > 0)
	{
		/* Values of any type may have this text. */
		if (value.p[0] == '-' || (value.p[0] >= '0' && value.p[0] <= '9'))
			types = "sn";
		else if (value.p[0] == '{' || value.p[0] == '[')
			types = "sc";
		else if (same(value, (MdbBytes){"true", 4}) || same(value, (MdbBytes){"false", 5}))
			types = "sb";
	}
	for (; *types; types++)
	{
		mdb_term_pair(&term, source->attno, label.p, (uint32) label.len, *types, value.p, (uint32) value.len);
		find_term(r, &term);
		/* The term of a long key has the key alone. */
		if (label.len > MDB_TERM_KEY_MAX)
			break;
	}
}

/* The longest text that all values begin with that are looked for. */
static MdbBytes
prefix_of(const Matchers *group)
{
	MdbBytes prefix = {"", 0};

	for (int i = 0; i < group->n && !group->empty_holds; i++)
	{
		MdbBytes this = {"", 0};

		if (group->v[i]->op == MDB_MATCH_REGEX)
			this = mdb_regex_prefix(group->v[i]->re);
		if (this.len > prefix.len)
			prefix = this;
	}
	return prefix;
}

/* The series with values whose terms begin so, the bytes of a value following, that are looked for. */
static void
try_values(Resolving *r, MdbTerm *term)
{
	MdbBytes prefix = prefix_of(r->group);
	uint32 head = term->len;
	MdbPostingScan s;

	prefix.len = Min(prefix.len, MDB_TERM_MAX - head);
	if (prefix.len > 0)
		memcpy(term->bytes + head, prefix.p, prefix.len);
	term->len += prefix.len;
	mdb_posting_scan_begin(&s, r->m->table->storage_id, r->snapshot, term);
	while (mdb_posting_scan_next(&s))
	{
		(*r->terms)++;
		if (holds(r->group, (const char *) s.reader.term + head, s.reader.term_len - head) !=
			r->group->empty_holds)
			mdb_posting_scan_ids(&s, r->ids);
	}
	mdb_posting_scan_end(&s);
}

/* Those with long values: they are taken, or if they are to be taken off not, and are to be looked at. */
static void
take_long(Resolving *r, const MdbTerm *term)
{
	MdbPostingScan s;

	mdb_posting_scan_begin(&s, r->m->table->storage_id, r->snapshot, term);
	while (mdb_posting_scan_next(&s))
	{
		(*r->terms)++;
		r->exact = false;
		if (r->group->empty_holds)
			break;
		mdb_posting_scan_ids(&s, r->ids);
	}
	mdb_posting_scan_end(&s);
}

/* The series of a label: those that meet its matchers, or if an empty value does those that do not. */
static MdbIds *
find_label(Resolving *r)
{
	const Source *source = r->group->source;
	MdbBytes label = r->group->label;
	MdbTerm term;

	r->ids = mdb_ids_create();
	if (r->group->nvalues >= 0)
	{
		for (int i = 0; i < r->group->nvalues; i++)
			if (r->group->values[i].len > 0 &&
				holds(r->group, r->group->values[i].p, r->group->values[i].len) != r->group->empty_holds)
				find_value(r, r->group->values[i]);
	}
	else if (!source->pairs)
	{
		mdb_term_column(&term, source->attno, MDB_TERM_VALUE);
		try_values(r, &term);
		mdb_term_column(&term, source->attno, MDB_TERM_LONG);
		take_long(r, &term);
	}
	else if (label.len > MDB_TERM_KEY_MAX)
	{
		mdb_term_key(&term, source->attno, label.p, (uint32) label.len);
		take_long(r, &term);
	}
	else
	{
		for (const char *type = "bcns"; *type; type++)
		{
			mdb_term_key(&term, source->attno, label.p, (uint32) label.len);
			term.bytes[term.len++] = *type;
			try_values(r, &term);
		}
		mdb_term_key(&term, source->attno, label.p, (uint32) label.len);
		term.bytes[term.len++] = MDB_PAIR_LONG;
		take_long(r, &term);
	}
	mdb_ids_sort(r->ids);
	return r->ids;
}

/* What a group costs: 0 = some terms, 1 = a part of the values, 2 = all values, 3, 4 = to take off, likewise. */
static int
cost_of(const Matchers *group)
{
	if (group->empty_holds)
		return group->nvalues >= 0 ? 3 : 4;
	return group->nvalues >= 0 ? 0 : prefix_of(group).len > 0 ? 1 : 2;
}

static void
parse(MdbSeriesMatch *m, Datum value)
{
	text *t = DatumGetTextPP(value);
	Size len = VARSIZE_ANY_EXHDR(t);
	MemoryContext old;

	if (m->parsed && VARSIZE_ANY_EXHDR(m->text) == len &&
		memcmp(VARDATA_ANY(m->text), VARDATA_ANY(t), len) == 0)
		return;
	m->parsed = NULL;
	MemoryContextReset(m->mcxt);
	old = MemoryContextSwitchTo(m->mcxt);
	m->text = cstring_to_text_with_len(VARDATA_ANY(t), (int) len);
	m->parsed = mdb_selector_of(VARDATA_ANY(m->text), len, m->mcxt, true);
	MemoryContextSwitchTo(old);
}

/*
 * mdb_series_match_resolve - the series that may meet a selector, in CurrentMemoryContext; NULL = any.  *exact: they
 * all do; *terms: so many were looked at.
 */
MdbIds *
mdb_series_match_resolve(MdbSeriesMatch *m, ExprContext *econtext, Snapshot snapshot, bool *exact,
						 int64 *terms)
{
	Resolving r = {.m = m, .snapshot = snapshot, .exact = true, .terms = terms};
	MdbIds *ids = NULL;
	Matchers *groups;
	int ngroups;
	bool isnull;
	Datum value = ExecEvalExpr(m->selector, econtext, &isnull);

	*exact = true;
	if (isnull)
		return mdb_ids_create();
	parse(m, value);
	/* Core says so when a row comes to it. */
	if (m->parsed == NULL)
	{
		*exact = false;
		return NULL;
	}
	groups = group_matchers(m, &ngroups);
	for (int i = 0; i < ngroups; i++)
		if (groups[i].source == NULL && !groups[i].empty_holds)
			return mdb_ids_create();
	for (int cost = 0; cost <= 4; cost++)
		for (int i = 0; i < ngroups; i++)
		{
			MdbIds *these;

			CHECK_FOR_INTERRUPTS();
			r.group = &groups[i];
			if (r.group->source == NULL || cost_of(r.group) != cost)
				continue;
			if (r.group->source->attno == 0 || (cost > 0 && ids && ids->n <= MDB_FEW_SERIES))
			{
				r.exact = false;
				continue;
			}
			these = find_label(&r);
			if (cost < 3)
				ids = ids ? mdb_ids_intersect(ids, these) : these;
			else if (these->n > 0)
				ids = mdb_ids_subtract(ids ? ids : mdb_postings_all(m->table, snapshot), these);
		}
	*exact = r.exact && ids != NULL;
	return ids;
}
