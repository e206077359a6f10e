/*
 * composite_check.c
 *	  Is an expression over rules one?  Are there such rules, may the owner ask for them, and do they not in turn ask for
 *	  the rule itself?
 *
 * What is not there is a warning, for it may come; the evaluation says so, too.  A circle made by two who change rules at
 * the same moment is not found: its rules go by each other's last states.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "alert/composite.h"
#include "alert/define.h"
#include "metricsdb.h"

typedef struct Walk
{
	const MdbDraft *draft;
	List *seen; /* of char *, rules that were followed */
} Walk;

static void follow(Walk *walk, const MdbComposite *node, const char *path);

/* The expression that a rule is, as far as it is another than the draft's; NULL if it is none, or there is no rule. */
static char *
expression_of(const Walk *walk, const char *name)
{
	Oid types[] = {TEXTOID, INT4OID};
	Datum args[] = {CStringGetTextDatum(name), Int32GetDatum(walk->draft->id)};

	if (mdb_execute_own("SELECT definition OPERATOR(pg_catalog.->>) 'expression' FROM metricsdb.alert_rule"
						" WHERE name OPERATOR(pg_catalog.=) $1 AND rule_id OPERATOR(pg_catalog.<>) $2"
						" AND kind OPERATOR(pg_catalog.=) 'composite'",
						2, types, args, NULL) == 0)
		return NULL;
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

static void
follow_rule(Walk *walk, const char *name, const char *path)
{
	char *expression;
	ListCell *lc;

	path = psprintf("%s, which asks for \"%s\"", path, name);
	if (strcmp(name, walk->draft->name) == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("alert rule \"%s\" would ask for itself", name), errdetail("%s.", path)));
	foreach (lc, walk->seen)
		if (strcmp(lfirst(lc), name) == 0)
			return;
	walk->seen = lappend(walk->seen, pstrdup(name));
	expression = expression_of(walk, name);
	if (expression)
		follow(walk, mdb_composite_parse(expression), path);
}

static void
follow(Walk *walk, const MdbComposite *node, const char *path)
{
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (node == NULL)
		return;
	if (node->op == MDB_COMPOSITE_ALERT)
		follow_rule(walk, node->rule, path);
	follow(walk, node->left, path);
	follow(walk, node->right, path);
}

/* What the expression itself names. */
static void
check_alert(const MdbDraft *draft, const MdbComposite *node)
{
	Oid type = TEXTOID;
	Datum name = CStringGetTextDatum(node->rule);
	bool isnull;

	if (node->matchers)
		mdb_composite_check_matchers(node->matchers);
	if (strcmp(node->rule, draft->name) == 0)
		return; /* which follow() refuses */
	if (mdb_execute_own(
			"SELECT owner::pg_catalog.oid FROM metricsdb.alert_rule WHERE name OPERATOR(pg_catalog.=) $1", 1,
			&type, &name, NULL) == 0)
		ereport(WARNING, (errmsg("alert rule \"%s\" asks for rule \"%s\", which does not exist", draft->name,
								 node->rule),
						  errhint("Its evaluations fail until there is one.")));
	else if (!has_privs_of_role(draft->owner, DatumGetObjectId(SPI_getbinval(
												  SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull))))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for alert rule \"%s\"", node->rule),
						errdetail("Its states are not role \"%s\"'s to see.",
								  GetUserNameFromId(draft->owner, false))));
}

static void
check(const MdbDraft *draft, const MdbComposite *node)
{
	check_stack_depth();
	if (node == NULL)
		return;
	if (node->op == MDB_COMPOSITE_ALERT)
		check_alert(draft, node);
	check(draft, node->left);
	check(draft, node->right);
}

/*
 * mdb_composite_check - is what a draft says an expression over rules that its owner may ask for?  Raises
 * ERRCODE_SYNTAX_ERROR, ERRCODE_INSUFFICIENT_PRIVILEGE, and ERRCODE_INVALID_PARAMETER_VALUE for a circle.
 */
void
mdb_composite_check(const MdbDraft *draft)
{
	MdbComposite *node = mdb_composite_parse(draft->p[MDB_P_EXPRESSION].text);
	Walk walk = {.draft = draft};

	SPI_connect();
	check(draft, node);
	follow(&walk, node, psprintf("It is \"%s\"", draft->name));
	SPI_finish();
}
