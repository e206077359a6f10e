/*
 * series_elsewhere.c
 *	  What series a distributed table has: its nodes are asked the same function, and their answers united by who calls.
 *
 * Not where row-level security applies to the caller, as policies are the coordinator's; nor where a condition cannot be
 * sent: then rows tell, see series_info.c.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "admin/series_info.h"
#include "store/store.h"

/*
 * mdb_series_of_nodes - is a question one for the nodes?
 */
bool
mdb_series_of_nodes(const MdbSeriesInfo *info)
{
	return info->elsewhere && !info->hide;
}

/* An argument of the function that was called, as SQL. */
static char *
argument(MdbSeriesInfo *info, int n, Oid type)
{
	FunctionCallInfo fcinfo = info->fcinfo;
	char buf[MAXDATELEN + 1];

	if (PG_ARGISNULL(n))
		return "NULL";
	if (type == TIMESTAMPTZOID)
		return quote_literal_cstr(JsonEncodeDateTime(buf, PG_GETARG_DATUM(n), TIMESTAMPTZOID, NULL));
	return quote_literal_cstr(text_to_cstring(PG_GETARG_TEXT_PP(n)));
}

/*
 * mdb_series_call - the call of a function on nodes, with the table and all else that this one was called with;
 * condition: in the place of the argument of that name, NULL = none.
 */
char *
mdb_series_call(MdbSeriesInfo *info, const char *function, const char *condition)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(info->fcinfo->flinfo->fn_oid));
	StringInfoData buf;
	Oid *types;
	char **names, *modes;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", info->fcinfo->flinfo->fn_oid);
	(void) get_func_arg_info(tuple, &types, &names, &modes);
	ReleaseSysCache(tuple);
	initStringInfo(&buf);
	appendStringInfo(
		&buf, "metricsdb.%s(%s::pg_catalog.regclass", function,
		quote_literal_cstr(quote_qualified_identifier(get_namespace_name(RelationGetNamespace(info->asked)),
													  RelationGetRelationName(info->asked))));
	for (int i = 1; i < info->fcinfo->nargs; i++)
		if (strcmp(names[i], "condition") != 0)
			appendStringInfo(&buf, ", %s => %s", quote_identifier(names[i]), argument(info, i, types[i]));
	if (condition)
		appendStringInfo(&buf, ", condition => %s", quote_literal_cstr(condition));
	appendStringInfoChar(&buf, ')');
	return buf.data;
}

/*
 * mdb_series_ask - ask a node of each shard for rows of columns of such types.
 */
void
mdb_series_ask(const char *sql, int ncolumns, const Oid *types, MdbRowCallback callback, void *arg)
{
	TupleDesc desc = CreateTemplateTupleDesc(ncolumns);

	for (int i = 0; i < ncolumns; i++)
		TupleDescInitEntry(desc, i + 1, NULL, types[i], -1, 0);
	mdb_elsewhere->ask(sql, desc, callback, arg);
}
