/*
 * text.c
 *	  The query of a continuous aggregate's view, as text.
 *
 * All names are qualified: whoever calls has set search_path to pg_catalog alone, so that ruleutils does.
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "metricsdb.h"
#include "rollup/define.h"

/*
 * mdb_qualified_name - of a relation, quoted where it must be.
 */
char *
mdb_qualified_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/*
 * mdb_marker_text - is_clean() or is_pending() of states, about a column.
 */
void
mdb_marker_text(StringInfo buf, const char *function, Oid states, const char *column)
{
	appendStringInfo(buf, "%s.%s(%s::pg_catalog.regclass, %s)", MDB_SCHEMA, function,
					 quote_literal_cstr(mdb_qualified_name(states)), quote_identifier(column));
}

/* Groups of a branch are its first columns, and what else the branch is to keep apart. */
static void
group_by_first(StringInfo buf, int n, const char *also)
{
	appendStringInfoString(buf, "\n  GROUP BY ");
	for (int i = 1; i <= n; i++)
		appendStringInfo(buf, i == 1 ? "%d" : ", %d", i);
	if (also)
		appendStringInfo(buf, ", %s", also);
}

/*
 * Summaries of counters must not interleave.  Each bucket of a finer aggregate is in one branch of the view, which must
 * not make one summary of several that others lie between.
 */
static bool
is_ordered(const MdbPlan *plan)
{
	ListCell *lc;

	foreach (lc, plan->partials)
		if (mdb_partial_is_ordered(lfirst_node(Aggref, lc)))
			return true;
	return false;
}

/* SELECT expressions AS names */
static void
select_list(StringInfo buf, List *exprs, List *names, List *context)
{
	ListCell *expr, *name;

	appendStringInfoString(buf, "SELECT ");
	forboth (expr, exprs, name, names)
		appendStringInfo(buf, "%s%s AS %s", foreach_current_index(expr) == 0 ? "" : ",\n    ",
						 deparse_expression(lfirst(expr), context, false, false),
						 quote_identifier(lfirst(name)));
}

static void
states_branch(StringInfo buf, Oid states, List *names, bool materialized_only)
{
	ListCell *lc;

	appendStringInfoString(buf, "SELECT ");
	foreach (lc, names)
		appendStringInfo(buf, "%s%s", foreach_current_index(lc) == 0 ? "" : ", ",
						 quote_identifier(lfirst(lc)));
	appendStringInfo(buf, "\n  FROM %s", mdb_qualified_name(states));
	if (materialized_only)
		return;
	appendStringInfoString(buf, "\n  WHERE ");
	mdb_marker_text(buf, "is_clean", states, linitial(names));
}

static void
raw_branch(StringInfo buf, const MdbPlan *plan, Oid states, List *names, const MdbAggregate *finest,
		   bool materialized_only)
{
	List *context = deparse_context_for(get_rel_name(plan->raw), plan->raw);
	List *exprs = list_concat(list_make1(plan->bucket), plan->keys);
	char *also = NULL;
	ListCell *lc;

	select_list(buf, list_concat(exprs, plan->partials), names, context);
	appendStringInfo(buf, "\n  FROM ONLY %s\n  WHERE %s", mdb_qualified_name(plan->raw),
					 materialized_only ? "false AND " : "");
	mdb_marker_text(buf, "is_pending", states, get_attname(plan->raw, plan->time_attno, false));
	foreach (lc, plan->where)
		appendStringInfo(buf, "\n    AND (%s)", deparse_expression(lfirst(lc), context, false, false));
	if (finest && is_ordered(plan))
		also = deparse_expression(mdb_definition_read(finest->view)->bucket, context, false, false);
	group_by_first(buf, 1 + list_length(plan->keys), also);
}

/* The states of each finer aggregate, those of the next finer one pending for it; the finest one. */
static const MdbAggregate *
finer_branches(StringInfo buf, const MdbPlan *plan, Oid states, List *names, const MdbAggregate *finer,
			   bool materialized_only)
{
	const MdbAggregate *finest = NULL;

	for (; finer != NULL; finer = OidIsValid(finer->parent) ? mdb_aggregate_get(finer->parent, NULL) : NULL)
	{
		List *exprs = mdb_stack_targets(plan, finer);
		List *context = deparse_context_for(get_rel_name(finer->aggregate), finer->aggregate);
		const char *bucket = get_attname(finer->aggregate, mdb_stack_bucket(finer), false);
		ListCell *lc;

		appendStringInfoString(buf, "\n  UNION ALL\n  ");
		select_list(buf, exprs, names, context);
		appendStringInfo(buf, "\n  FROM %s\n  WHERE %s", mdb_qualified_name(finer->aggregate),
						 materialized_only ? "false AND " : "");
		mdb_marker_text(buf, "is_pending", states, bucket);
		appendStringInfoString(buf, "\n    AND ");
		mdb_marker_text(buf, "is_clean", finer->aggregate, bucket);
		foreach (lc, mdb_stack_conditions(plan, finer))
			appendStringInfo(buf, "\n    AND (%s)", deparse_expression(lfirst(lc), context, false, false));
		group_by_first(buf, 1 + list_length(plan->keys), is_ordered(plan) ? quote_identifier(bucket) : NULL);
		states = finer->aggregate;
		finest = finer;
	}
	return finest;
}

/*
 * mdb_view_query - the SELECT of the view over states that are there, with columns of these names, and over a finer
 * aggregate's, or raw if that is NULL.
 */
char *
mdb_view_query(const MdbPlan *plan, Oid states, List *names, const MdbAggregate *finer,
			   bool materialized_only)
{
	StringInfoData buf;
	List *context = deparse_context_for("s", states);
	const MdbAggregate *finest;
	ListCell *lc;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT ");
	foreach (lc, plan->outputs)
	{
		TargetEntry *tle = lfirst(lc);

		appendStringInfo(&buf, "%s%s AS %s", foreach_current_index(lc) == 0 ? "" : ",\n  ",
						 deparse_expression((Node *) tle->expr, context, true, false),
						 quote_identifier(tle->resname));
	}
	appendStringInfoString(&buf, "\nFROM (\n  ");
	states_branch(&buf, states, names, materialized_only);
	finest = finer_branches(&buf, plan, states, names, finer, materialized_only);
	appendStringInfoString(&buf, "\n  UNION ALL\n  ");
	raw_branch(&buf, plan, finest ? finest->aggregate : states, names, finest, materialized_only);
	appendStringInfoString(&buf, "\n) s\nGROUP BY ");
	for (int i = 0; i <= list_length(plan->keys); i++)
		appendStringInfo(&buf, "%ss.%s", i == 0 ? "" : ", ", quote_identifier(list_nth(names, i)));
	if (plan->having)
		appendStringInfo(&buf, "\nHAVING %s", deparse_expression(plan->having, context, true, false));
	return buf.data;
}
