/*
 * series_filter.c
 *	  Conditions on series columns to sets of ids, by the inverted index over series.
 *
 * A condition is resolved in one of these ways.  Those that ask for equality, or for pairs and keys of a
 * jsonb object, by looking up terms.  Those on one column, or on one key of a jsonb column, by being evaluated
 * for each of its distinct values.  Selectors by both, see series_match.c.  All others are not: they are evaluated
 * for the series that are met.
 *
 * Invariants:
 *	1. A set never lacks a series that matches.  It may have others unless it is said to be exact.
 *	2. The values in the dictionary are also those of rows that the query does not see.  So they are given
 *	   only to functions that cannot fail for a value, and cannot tell: leakproof ones, and some that match
 *	   patterns.
 *	3. Two values are looked up as equal only if the operator holds that equal bytes are equal values.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "exec/pushdown.h"
#include "exec/series_filter.h"
#include "exec/series_match.h"
#include "exec/series_turn.h"

/* So many look-ups are worth to remember rows of the index. */
#define MANY_TERMS 4

#define LONG_FIRST 64 /* as in series/term.c */

/* What is looked up. */
typedef enum LookUp
{
	LOOKUP_EQUAL,
	LOOKUP_ANY, /* of an array */
	LOOKUP_NULL,
	LOOKUP_CONTAINED, /* in the jsonb object */
	LOOKUP_SAME,      /* as the jsonb object */
	LOOKUP_KEY
} LookUp;

/* A column, or with a key what col ->> key has. */
typedef struct Field
{
	AttrNumber attno;
	const char *key; /* NULL = the column itself */
	uint32 keylen;
} Field;

struct MdbSeriesCond
{
	MdbSeriesHow how;
	List *args; /* of AND, OR */
	Field field;
	LookUp lookup;
	ExprState *value;   /* what is looked up, or the condition on a value */
	ExprState *pattern; /* what they match, or NULL */
	bool prefixed;      /* they begin with what it begins with */
	Oid match;          /* the function that takes it */
	Oid collation;
	MdbSeriesMatch *selector;
	int64 terms; /* looked at, the last time */
};

/* ---------- which conditions can be resolved ---------- */

static bool
match_column(const MdbTable *table, Node *node, AttrNumber *attno)
{
	Var *var = (Var *) mdb_strip_relabel(node);

	if (var == NULL || !IsA(var, Var) || IS_SPECIAL_VARNO(var->varno) || var->varlevelsup != 0 ||
		var->varattno <= 0 || var->varattno > table->natts ||
		table->columns[var->varattno - 1].role != MDB_ROLE_SERIES)
		return false;
	*attno = var->varattno;
	return true;
}

static bool
match_field(const MdbTable *table, Node *node, Field *field)
{
	Oid funcid = InvalidOid;
	List *args = NIL;
	Const *key;

	memset(field, 0, sizeof(Field));
	node = mdb_strip_relabel(node);
	if (match_column(table, node, &field->attno))
		return true;
	if (IsA(node, OpExpr))
	{
		set_opfuncid((OpExpr *) node);
		funcid = ((OpExpr *) node)->opfuncid;
		args = ((OpExpr *) node)->args;
	}
	else if (IsA(node, FuncExpr))
	{
		funcid = ((FuncExpr *) node)->funcid;
		args = ((FuncExpr *) node)->args;
	}
	if (funcid != F_JSONB_OBJECT_FIELD_TEXT || !match_column(table, linitial(args), &field->attno) ||
		!table->columns[field->attno - 1].jsonb)
		return false;
	key = (Const *) mdb_strip_relabel(lsecond(args));
	if (!IsA(key, Const) || key->constisnull)
		return false;
	field->keylen = VARSIZE_ANY_EXHDR(DatumGetTextPP(key->constvalue));
	field->key = pnstrdup(VARDATA_ANY(DatumGetTextPP(key->constvalue)), field->keylen);
	return true;
}

/* Is the column itself meant, and is it jsonb?  Its terms do not have its values. */
static bool
is_whole_jsonb(const MdbTable *table, const Field *field)
{
	return field->key == NULL && table->columns[field->attno - 1].jsonb;
}

static bool
has_exec_params(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXEC)
		return true;
	if (IsA(node, Var) && IS_SPECIAL_VARNO(((Var *) node)->varno))
		return true;
	return expression_tree_walker(node, has_exec_params, context);
}

/* Does an operator hold for values whose bytes are equal, and for no others? */
static bool
is_equality(const MdbTable *table, const Field *field, Oid opno, Oid collation)
{
	Oid left, right, opclass, family, proc;

	op_input_types(opno, &left, &right);
	/* Trailing blanks do not count, although its operator class says that an image is enough. */
	if (left == BPCHAROID)
		return false;
	opclass = left == right ? GetDefaultOpClass(left, BTREE_AM_OID) : InvalidOid;
	if (!OidIsValid(opclass) ||
		(field->key == NULL && get_typlen(left) != table->columns[field->attno - 1].attlen))
		return false;
	family = get_opclass_family(opclass);
	if (get_op_opfamily_strategy(opno, family) != BTEqualStrategyNumber)
		return false;
	left = get_opclass_input_type(opclass);
	proc = get_opfamily_proc(family, left, left, BTEQUALIMAGE_PROC);
	return OidIsValid(proc) && DatumGetBool(OidFunctionCall1Coll(proc, collation, ObjectIdGetDatum(left)));
}

static MdbSeriesCond *
make_cond(MdbSeriesHow how)
{
	MdbSeriesCond *cond = palloc0(sizeof(MdbSeriesCond));

	cond->how = how;
	return cond;
}

/* A condition that is answered by looking up terms, or NULL. */
static MdbSeriesCond *
match_terms(const MdbTable *table, Node *clause, PlanState *ps)
{
	MdbSeriesCond *cond;
	Field field;
	LookUp lookup;
	Node *value = NULL;

	if (IsA(clause, NullTest))
	{
		NullTest *test = (NullTest *) clause;

		if (test->nulltesttype != IS_NULL || test->argisrow ||
			!match_field(table, (Node *) test->arg, &field) || field.key != NULL)
			return NULL;
		lookup = LOOKUP_NULL;
	}
	else if (IsA(clause, ScalarArrayOpExpr))
	{
		ScalarArrayOpExpr *op = (ScalarArrayOpExpr *) clause;

		value = lsecond(op->args);
		if (!op->useOr || !match_field(table, linitial(op->args), &field) || is_whole_jsonb(table, &field) ||
			!is_equality(table, &field, op->opno, op->inputcollid))
			return NULL;
		lookup = LOOKUP_ANY;
	}
	else if (IsA(clause, OpExpr) && list_length(((OpExpr *) clause)->args) == 2)
	{
		OpExpr *op = (OpExpr *) clause;
		Node *left = linitial(op->args);

		value = lsecond(op->args);
		set_opfuncid(op);
		if (!match_field(table, left, &field))
		{
			Node *swap = left;

			left = value;
			value = swap;
			if (!match_field(table, left, &field) || get_commutator(op->opno) != op->opno)
				return NULL;
		}
		if (is_whole_jsonb(table, &field))
		{
			if (op->opfuncid == F_JSONB_CONTAINS)
				lookup = LOOKUP_CONTAINED;
			else if (op->opfuncid == F_JSONB_EQ)
				lookup = LOOKUP_SAME;
			else if (op->opfuncid == F_JSONB_EXISTS)
				lookup = LOOKUP_KEY;
			else
				return NULL;
		}
		else if (is_equality(table, &field, op->opno, op->inputcollid))
			lookup = LOOKUP_EQUAL;
		else
			return NULL;
	}
	else
		return NULL;
	if (value != NULL && mdb_turn_has_vars(value))
		return NULL;
	cond = make_cond(MDB_SERIES_TERMS);
	cond->field = field;
	cond->lookup = lookup;
	cond->value = value ? ExecInitExpr((Expr *) value, ps) : NULL;
	return cond;
}

typedef struct Replacing
{
	const MdbTable *table;
	Field field;
	bool any;
	bool failed;
} Replacing;

/* The expression, with a CaseTestExpr where the field is. */
static Node *
replace_field(Node *node, Replacing *r)
{
	Field field;

	if (node == NULL || r->failed)
		return node;
	if (match_field(r->table, node, &field))
	{
		CaseTestExpr *place = makeNode(CaseTestExpr);

		if (is_whole_jsonb(r->table, &field) ||
			(r->any && (field.attno != r->field.attno || (field.key == NULL) != (r->field.key == NULL) ||
						field.keylen != r->field.keylen ||
						(field.key && memcmp(field.key, r->field.key, field.keylen) != 0))))
			r->failed = true;
		r->field = field;
		r->any = true;
		place->typeId = exprType(node);
		place->typeMod = exprTypmod(node);
		place->collation = exprCollation(node);
		return (Node *) place;
	}
	if (IsA(node, Var) && !IS_SPECIAL_VARNO(((Var *) node)->varno))
		r->failed = true;
	if (IsA(node, CaseTestExpr) || IsA(node, CaseExpr) || IsA(node, ArrayCoerceExpr))
		r->failed = true;
	return expression_tree_mutator(node, replace_field, r);
}

/* May a function be given any value? */
static bool
is_harmless(Oid funcid)
{
	switch (funcid)
	{
		case F_TEXTLIKE:
		case F_TEXTNLIKE:
		case F_TEXTICLIKE:
		case F_TEXTICNLIKE:
		case F_TEXTREGEXEQ:
		case F_TEXTREGEXNE:
		case F_TEXTICREGEXEQ:
		case F_TEXTICREGEXNE:
		case F_STARTS_WITH:
		case F_LOWER_TEXT:
		case F_UPPER_TEXT:
		case F_LENGTH_TEXT:
			return true;
	}
	return get_func_leakproof(funcid);
}

static bool
has_place(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return IsA(node, CaseTestExpr) || expression_tree_walker(node, has_place, context);
}

static bool
is_harmful(Node *node, void *context)
{
	/* What does not depend on the value is evaluated anyhow. */
	if (node == NULL || !has_place(node, NULL))
		return false;
	switch (nodeTag(node))
	{
		case T_CaseTestExpr:
		case T_RelabelType:
		case T_BoolExpr:
		case T_BooleanTest:
		case T_CoalesceExpr:
		case T_List:
			break;
		case T_NullTest:
			if (((NullTest *) node)->argisrow)
				return true;
			break;
		case T_FuncExpr:
			if (!is_harmless(((FuncExpr *) node)->funcid) || ((FuncExpr *) node)->funcvariadic)
				return true;
			break;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			set_opfuncid((OpExpr *) node);
			if (!is_harmless(((OpExpr *) node)->opfuncid))
				return true;
			break;
		case T_ScalarArrayOpExpr:
			set_sa_opfuncid((ScalarArrayOpExpr *) node);
			if (!is_harmless(((ScalarArrayOpExpr *) node)->opfuncid))
				return true;
			break;
		default:
			return true;
	}
	return expression_tree_walker(node, is_harmful, context);
}

/* A condition that is evaluated for each distinct value of a field, or NULL. */
static MdbSeriesCond *
match_values(const MdbTable *table, Node *clause, PlanState *ps)
{
	Replacing r = {.table = table};
	Node *on_value = replace_field(clause, &r);
	MdbSeriesCond *cond;

	/* OR, AND and the like stop when they know what comes of them. */
	if (!IsA(clause, OpExpr) && !IsA(clause, FuncExpr) && !IsA(clause, ScalarArrayOpExpr) &&
		mdb_turn_may_fail(clause))
		return NULL;
	if (r.failed || !r.any || is_harmful(on_value, NULL) || mdb_turn_pattern_fails(on_value, on_value))
		return NULL;
	cond = make_cond(MDB_SERIES_VALUES);
	cond->field = r.field;
	cond->value = ExecInitExpr((Expr *) on_value, ps);
	if (IsA(on_value, OpExpr) || IsA(on_value, FuncExpr))
	{
		List *args = IsA(on_value, OpExpr) ? ((OpExpr *) on_value)->args : ((FuncExpr *) on_value)->args;

		cond->match =
			IsA(on_value, OpExpr) ? ((OpExpr *) on_value)->opfuncid : ((FuncExpr *) on_value)->funcid;
		cond->collation = exprInputCollation(on_value);
		if (mdb_turn_matches_pattern(cond->match) && has_place(lsecond(args), NULL))
			return NULL;
		if (mdb_turn_matches_pattern(cond->match) || cond->match == F_STARTS_WITH)
			cond->pattern = ExecInitExpr(lsecond(args), ps);
		/* To other collations values may match that begin with other bytes. */
		cond->prefixed =
			cond->pattern && IsA(linitial(args), CaseTestExpr) && !has_place(lsecond(args), NULL) &&
			OidIsValid(cond->collation) && get_collation_isdeterministic(cond->collation) &&
			(cond->match == F_TEXTLIKE || cond->match == F_STARTS_WITH || cond->match == F_TEXTREGEXEQ);
	}
	return cond;
}

static MdbSeriesCond *
match_clause(const MdbTable *table, Node *clause, PlanState *ps)
{
	MdbSeriesCond *cond = NULL;
	MdbSeriesMatch *selector;

	if (is_andclause(clause) || is_orclause(clause))
	{
		ListCell *lc;
		bool each = false;

		cond = make_cond(is_andclause(clause) ? MDB_SERIES_AND : MDB_SERIES_OR);
		foreach (lc, ((BoolExpr *) clause)->args)
		{
			MdbSeriesCond *arg = cond->how == MDB_SERIES_OR && mdb_turn_may_fail(lfirst(lc))
									 ? make_cond(MDB_SERIES_EACH)
									 : match_clause(table, lfirst(lc), ps);

			each |= arg->how == MDB_SERIES_EACH;
			cond->args = lappend(cond->args, arg);
		}
		if (cond->how == MDB_SERIES_AND || !each)
			return cond;
		cond = NULL;
	}
	selector = mdb_series_match_begin(table, clause, ps);
	if (selector)
	{
		cond = make_cond(MDB_SERIES_SELECTOR);
		cond->selector = selector;
		return cond;
	}
	cond = match_terms(table, clause, ps);
	if (cond == NULL)
		cond = match_values(table, clause, ps);
	return cond ? cond : make_cond(MDB_SERIES_EACH);
}

/*
 * mdb_series_filter_begin - make conditions ready to be resolved, in CurrentMemoryContext.  ps may be NULL.
 */
MdbSeriesFilter *
mdb_series_filter_begin(List *clauses, PlanState *ps, ExprContext *econtext, const MdbTable *table)
{
	MdbSeriesFilter *f = palloc0(sizeof(MdbSeriesFilter));
	ListCell *lc;

	f->table = table;
	f->econtext = econtext;
	f->mcxt = AllocSetContextCreate(CurrentMemoryContext, "metricsdb series filter", ALLOCSET_DEFAULT_SIZES);
	f->fixed = !has_exec_params((Node *) clauses, NULL);
	foreach (lc, clauses)
		f->conds = lappend(f->conds, match_clause(table, lfirst(lc), ps));
	return f;
}

/*
 * mdb_series_cond_how - how a condition will be resolved.
 */
MdbSeriesHow
mdb_series_cond_how(const MdbSeriesCond *cond)
{
	return cond->how;
}

/*
 * mdb_series_cond_terms - how many terms were looked up, or values tried, when it was resolved last.
 */
int64
mdb_series_cond_terms(const MdbSeriesCond *cond)
{
	int64 terms = cond->terms;
	ListCell *lc;

	foreach (lc, cond->args)
		terms += mdb_series_cond_terms(lfirst(lc));
	return terms;
}

/* ---------- looking up terms ---------- */

typedef struct Resolving
{
	MdbSeriesFilter *f;
	Snapshot snapshot;
	MdbPostingCache *cache; /* NULL = each term is looked up by itself */
	MdbSeriesCond *cond;
	MdbIds *ids;
	bool exact;
} Resolving;

static void
find_term(Resolving *r, const MdbTerm *term)
{
	if (r->cache)
		mdb_posting_cache_find(r->cache, term, r->ids);
	else
		mdb_postings_find(r->f->table->storage_id, r->snapshot, term, r->ids);
	r->cond->terms++;
}

static void
find_column(Resolving *r, int kind)
{
	MdbTerm term;

	mdb_term_column(&term, r->cond->field.attno, kind);
	find_term(r, &term);
}

/* All terms that begin so. */
static void
find_prefix(Resolving *r, const MdbTerm *prefix)
{
	MdbPostingScan s;

	mdb_posting_scan_begin(&s, r->f->table->storage_id, r->snapshot, prefix);
	while (mdb_posting_scan_next(&s))
	{
		mdb_posting_scan_ids(&s, r->ids);
		r->cond->terms++;
	}
	mdb_posting_scan_end(&s);
}

static void
find_pair(Resolving *r, const char *key, uint32 keylen, char type, const char *text, uint32 len)
{
	MdbTerm term;

	mdb_term_pair(&term, r->cond->field.attno, key, keylen, type, text, len);
	find_term(r, &term);
	if (keylen > MDB_TERM_KEY_MAX || len > MDB_TERM_TEXT_MAX)
		r->exact = false;
}

/* Series whose field equals a value: of type text if it is of a key, else of the column's. */
static void
find_equal(Resolving *r, Datum value)
{
	const Field *field = &r->cond->field;
	const MdbColumn *column = &r->f->table->columns[field->attno - 1];
	const char *bytes;
	uint32 len;
	MdbTerm term;

	if (field->key == NULL && column->attlen != -1)
	{
		bytes = column->attbyval ? (const char *) &value : DatumGetPointer(value);
		len = column->attlen == -2 ? strlen(bytes) : column->attlen;
	}
	else
	{
		struct varlena *v = PG_DETOAST_DATUM_PACKED(value);

		bytes = VARDATA_ANY(v);
		len = VARSIZE_ANY_EXHDR(v);
	}
	if (field->key == NULL)
	{
		mdb_term_value(&term, field->attno, bytes, len);
		find_term(r, &term);
		r->exact &= len <= MDB_TERM_VALUE_MAX;
		return;
	}
	/* Values of any type may have this text. */
	find_pair(r, field->key, field->keylen, MDB_PAIR_STRING, bytes, len);
	if (field->keylen > MDB_TERM_KEY_MAX || len == 0 || len > MDB_TERM_TEXT_MAX)
		return;
	if (bytes[0] == '-' || (bytes[0] >= '0' && bytes[0] <= '9'))
		find_pair(r, field->key, field->keylen, MDB_PAIR_NUMBER, bytes, len);
	if ((len == 4 && memcmp(bytes, "true", 4) == 0) || (len == 5 && memcmp(bytes, "false", 5) == 0))
		find_pair(r, field->key, field->keylen, MDB_PAIR_BOOL, bytes, len);
	if (bytes[0] == '{' || bytes[0] == '[')
		find_pair(r, field->key, field->keylen, MDB_PAIR_NESTED, bytes, len);
}

static void
find_any(Resolving *r, Datum value)
{
	ArrayType *array = DatumGetArrayTypeP(value);
	int16 typlen;
	bool typbyval, *nulls;
	char typalign;
	Datum *elems;
	int n;

	get_typlenbyvalalign(ARR_ELEMTYPE(array), &typlen, &typbyval, &typalign);
	deconstruct_array(array, ARR_ELEMTYPE(array), typlen, typbyval, typalign, &elems, &nulls, &n);
	if (r->cache == NULL && n >= MANY_TERMS)
		r->cache = mdb_posting_cache_create(r->f->table->storage_id, r->snapshot, (Size) work_mem * 1024);
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			find_equal(r, elems[i]);
}

static void
find_key(Resolving *r, const char *key, uint32 len)
{
	MdbTerm term;

	mdb_term_key(&term, r->cond->field.attno, key, len);
	find_prefix(r, &term);
	r->exact &= len <= MDB_TERM_KEY_MAX;
}

/*
 * Series with all pairs of an object.  Numbers and nested values are compared by the operator itself.
 * False if any series may be meant.
 */
static bool
find_object(Resolving *r, Datum value)
{
	Jsonb *jb = DatumGetJsonbP(value);
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue v;
	MdbIds *all = NULL;
	char *key = NULL;
	uint32 keylen = 0;

	if (!JB_ROOT_IS_OBJECT(jb) || JB_ROOT_COUNT(jb) == 0)
	{
		if (r->cond->lookup != LOOKUP_SAME)
			return false;
		find_column(r, JB_ROOT_IS_OBJECT(jb) ? MDB_TERM_EMPTY : MDB_TERM_OTHER);
		r->exact &= JB_ROOT_IS_OBJECT(jb);
		return true;
	}
	if (r->cond->lookup == LOOKUP_SAME)
		r->exact = false;
	it = JsonbIteratorInit(&jb->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			key = v.val.string.val;
			keylen = v.val.string.len;
		}
		if (token != WJB_VALUE)
			continue;
		r->ids = mdb_ids_create();
		if (v.type == jbvString)
			find_pair(r, key, keylen, MDB_PAIR_STRING, v.val.string.val, v.val.string.len);
		else if (v.type == jbvBool)
			find_pair(r, key, keylen, MDB_PAIR_BOOL, v.val.boolean ? "true" : "false", v.val.boolean ? 4 : 5);
		else if (v.type == jbvNull)
			find_pair(r, key, keylen, MDB_PAIR_NULL, "", 0);
		else
		{
			find_key(r, key, keylen);
			r->exact = false;
		}
		mdb_ids_sort(r->ids);
		all = all ? mdb_ids_intersect(all, r->ids) : r->ids;
	}
	r->ids = all;
	return true;
}

static bool
resolve_terms(Resolving *r)
{
	MdbSeriesCond *cond = r->cond;
	bool isnull = false;
	Datum value = 0;

	if (cond->value)
		value = ExecEvalExpr(cond->value, r->f->econtext, &isnull);
	/* Comparisons with NULL are never true. */
	if (isnull)
		return true;
	switch (cond->lookup)
	{
		case LOOKUP_NULL:
			find_column(r, MDB_TERM_NULL);
			break;
		case LOOKUP_EQUAL:
			find_equal(r, value);
			break;
		case LOOKUP_ANY:
			find_any(r, value);
			break;
		case LOOKUP_CONTAINED:
		case LOOKUP_SAME:
			return find_object(r, value);
		case LOOKUP_KEY:
		{
			uint32 others;

			find_key(r, VARDATA_ANY(DatumGetTextPP(value)), VARSIZE_ANY_EXHDR(DatumGetTextPP(value)));
			/* The operator looks into arrays and strings, too. */
			others = r->ids->n;
			find_column(r, MDB_TERM_OTHER);
			r->exact &= r->ids->n == others;
			break;
		}
	}
	return true;
}

/* ---------- each distinct value ---------- */

/* With what do values begin that match the pattern?  As far as that is known, in at most size bytes. */
static uint32
fixed_prefix(Resolving *r, char *prefix, uint32 size)
{
	MdbSeriesCond *cond = r->cond;
	bool isnull;
	Datum value;
	const char *p;
	uint32 len, n = 0;

	if (!cond->prefixed)
		return 0;
	value = ExecEvalExpr(cond->pattern, r->f->econtext, &isnull);
	if (isnull)
		return 0;
	if (cond->match == F_TEXTREGEXEQ)
	{
		bool exact;
		char *known = regexp_fixed_prefix(DatumGetTextPP(value), false, cond->collation, &exact);

		n = known ? Min(strlen(known), size) : 0;
		if (n > 0)
			memcpy(prefix, known, n);
		return n;
	}
	p = VARDATA_ANY(DatumGetTextPP(value));
	len = VARSIZE_ANY_EXHDR(DatumGetTextPP(value));
	while (n < len && n < size &&
		   (cond->match == F_STARTS_WITH || (p[n] != '%' && p[n] != '_' && p[n] != '\\')))
	{
		prefix[n] = p[n];
		n++;
	}
	return n;
}

/* What is no pattern is left to core, which says so when a row comes to it. */
static bool
is_valid(Resolving *r)
{
	MdbSeriesCond *cond = r->cond;
	bool isnull;
	Datum value;

	if (cond->pattern == NULL || !mdb_turn_matches_pattern(cond->match))
		return true;
	value = ExecEvalExpr(cond->pattern, r->f->econtext, &isnull);
	return isnull || mdb_turn_pattern_is_valid(cond->match, value, cond->collation);
}

static bool
holds_for(Resolving *r, Datum value, bool value_is_null)
{
	ExprContext *econtext = r->f->econtext;
	Datum saved = econtext->caseValue_datum;
	bool saved_null = econtext->caseValue_isNull;
	bool isnull;
	Datum result;

	econtext->caseValue_datum = value;
	econtext->caseValue_isNull = value_is_null;
	result = ExecEvalExprSwitchContext(r->cond->value, econtext, &isnull);
	econtext->caseValue_datum = saved;
	econtext->caseValue_isNull = saved_null;
	r->cond->terms++;
	return !isnull && DatumGetBool(result);
}

/* Values whose terms begin so; the bytes of a value follow after head. */
static void
try_values(Resolving *r, MdbTerm *prefix, uint32 head, bool is_long, const char *fixed, uint32 nfixed)
{
	static const MdbColumn text_column = {.attlen = -1};
	const Field *field = &r->cond->field;
	const MdbColumn *column = field->key ? &text_column : &r->f->table->columns[field->attno - 1];
	MemoryContext tmp = r->f->econtext->ecxt_per_tuple_memory;
	MdbPostingScan s;

	if (is_long)
		nfixed = Min(nfixed, LONG_FIRST);
	memcpy(prefix->bytes + head, fixed, nfixed);
	prefix->len = head + nfixed;
	mdb_posting_scan_begin(&s, r->f->table->storage_id, r->snapshot, prefix);
	while (mdb_posting_scan_next(&s))
	{
		MemoryContext old;
		bool holds = true;

		if (is_long)
			r->exact = false;
		else
		{
			old = MemoryContextSwitchTo(tmp);
			holds = holds_for(
				r, mdb_key_datum(column, (const char *) s.reader.term + head, s.reader.term_len - head),
				false);
			MemoryContextSwitchTo(old);
			MemoryContextReset(tmp);
		}
		if (holds)
			mdb_posting_scan_ids(&s, r->ids);
	}
	mdb_posting_scan_end(&s);
}

static bool
resolve_values(Resolving *r)
{
	const Field *field = &r->cond->field;
	char fixed[MDB_TERM_TEXT_MAX];
	uint32 nfixed;
	bool null_holds;
	MdbTerm prefix;

	if (!is_valid(r))
		return false;
	null_holds = holds_for(r, (Datum) 0, true);
	nfixed = fixed_prefix(r, fixed, sizeof(fixed));
	if (field->key == NULL)
	{
		if (null_holds)
			find_column(r, MDB_TERM_NULL);
		mdb_term_column(&prefix, field->attno, MDB_TERM_VALUE);
		try_values(r, &prefix, prefix.len, false, fixed, nfixed);
		mdb_term_column(&prefix, field->attno, MDB_TERM_LONG);
		try_values(r, &prefix, prefix.len, true, fixed, nfixed);
		return true;
	}
	/* Series without the key have no term for it. */
	if (null_holds)
		return false;
	mdb_term_key(&prefix, field->attno, field->key, field->keylen);
	if (field->keylen > MDB_TERM_KEY_MAX)
	{
		find_prefix(r, &prefix);
		r->exact = false;
		return true;
	}
	for (const char *type = "Lbcns"; *type; type++)
	{
		mdb_term_key(&prefix, field->attno, field->key, field->keylen);
		prefix.bytes[prefix.len++] = *type;
		try_values(r, &prefix, prefix.len, *type == MDB_PAIR_LONG, fixed, nfixed);
	}
	return true;
}

/* ---------- sets ---------- */

static MdbIds *
unite(MdbIds *a, MdbIds *b)
{
	if (a == NULL)
		return b;
	mdb_ids_add(a, b->v, b->n);
	mdb_ids_sort(a);
	return a;
}

/*
 * Resolve conditions of which all must hold: first those that cost little.  Where few series are left, the
 * rest is not worth while.
 */
static MdbIds *
resolve_all(MdbSeriesFilter *f, List *conds, Snapshot snapshot, bool *exact)
{
	MdbIds *ids = NULL;
	ListCell *lc;

	*exact = true;
	for (int pass = 0; pass < 2; pass++)
		foreach (lc, conds)
		{
			MdbSeriesCond *cond = lfirst(lc);
			bool cheap = cond->how == MDB_SERIES_TERMS;
			bool this_exact;
			MdbIds *these;

			if (cheap != (pass == 0))
				continue;
			if (pass > 0 && ids != NULL && ids->n <= MDB_FEW_SERIES)
			{
				*exact = false;
				continue;
			}
			these = mdb_series_cond_resolve(f, cond, snapshot, &this_exact);
			*exact &= this_exact;
			if (these)
				ids = ids ? mdb_ids_intersect(ids, these) : these;
		}
	return ids;
}

/*
 * mdb_series_cond_resolve - the series that may meet a condition, in CurrentMemoryContext; NULL = any.  exact:
 * they all do.
 */
MdbIds *
mdb_series_cond_resolve(MdbSeriesFilter *f, MdbSeriesCond *cond, Snapshot snapshot, bool *exact)
{
	Resolving r = {.f = f, .snapshot = snapshot, .cache = f->cache, .cond = cond, .exact = true};
	MdbIds *ids = NULL;
	bool any = true;
	ListCell *lc;

	cond->terms = 0;
	*exact = false;
	switch (cond->how)
	{
		case MDB_SERIES_EACH:
			return NULL;
		case MDB_SERIES_AND:
			return resolve_all(f, cond->args, snapshot, exact);
		case MDB_SERIES_SELECTOR:
			return mdb_series_match_resolve(cond->selector, f->econtext, snapshot, exact, &cond->terms);
		case MDB_SERIES_OR:
			*exact = true;
			foreach (lc, cond->args)
			{
				bool this_exact;
				MdbIds *these = mdb_series_cond_resolve(f, lfirst(lc), snapshot, &this_exact);

				*exact &= this_exact;
				if (these == NULL)
				{
					*exact = false;
					return NULL;
				}
				ids = unite(ids, these);
			}
			return ids;
		case MDB_SERIES_TERMS:
		case MDB_SERIES_VALUES:
			r.ids = mdb_ids_create();
			any = cond->how == MDB_SERIES_TERMS ? resolve_terms(&r) : resolve_values(&r);
			break;
	}
	if (!any)
		return NULL;
	*exact = r.exact;
	mdb_ids_sort(r.ids);
	return r.ids;
}

/*
 * A scan that is started over looks up one value after the other: from the second time on in one snapshot, which is
 * newer than the query's, so that rows of the index may be remembered.
 */
static void
remember_rows(MdbSeriesFilter *f)
{
	MemoryContext old = MemoryContextSwitchTo(MemoryContextGetParent(f->mcxt));

	f->owner = CurrentResourceOwner;
	f->snapshot = mdb_latest_snapshot();
	f->cache = mdb_posting_cache_create(f->table->storage_id, f->snapshot, (Size) work_mem * 1024);
	MemoryContextSwitchTo(old);
}

/*
 * mdb_series_filter_resolve - find f->ids and f->exact, with the values of this moment.
 */
void
mdb_series_filter_resolve(MdbSeriesFilter *f)
{
	Snapshot snapshot;
	MemoryContext old;

	/* Who wants to read what is left reads it without the index, which may be damaged, too. */
	if ((f->resolved && f->fixed) || mdb_on_corruption == MDB_CORRUPTION_SKIP)
		return;
	MemoryContextReset(f->mcxt);
	if (f->resolved && f->cache == NULL)
		remember_rows(f);
	old = MemoryContextSwitchTo(f->mcxt);
	snapshot = f->cache ? f->snapshot : mdb_latest_snapshot();
	f->ids = resolve_all(f, f->conds, snapshot, &f->exact);
	if (!f->cache)
		UnregisterSnapshot(snapshot);
	if (f->ids)
		mdb_ids_index(f->ids);
	MemoryContextSwitchTo(old);
	f->resolved = true;
}

/*
 * mdb_series_filter_end - let go of what is not memory.
 */
void
mdb_series_filter_end(MdbSeriesFilter *f)
{
	if (f->cache)
		UnregisterSnapshotFromOwner(f->snapshot, f->owner);
	f->cache = NULL;
}
