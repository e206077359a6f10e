/*
 * torn.c
 *	  Buckets whose states cannot be combined, as their samples interleave.
 *
 * The summary of a counter is one of samples that follow each other.  Late samples lie between those that it has been
 * made of, so that a bucket's states with and without them do not make one: they are made again of all of its rows.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "func/func.h"
#include "metricsdb.h"
#include "rollup/statement.h"
#include "rollup/torn.h"

/*
 * mdb_torn_query - a statement that finds the buckets from $1 to $2 with such states; NULL if a definition has none.
 */
char *
mdb_torn_query(const MdbDefinition *def, const char *states)
{
	StringInfoData buf, having;
	int nkeys = list_length(def->keys);

	initStringInfo(&buf);
	initStringInfo(&having);
	for (int i = 0; i < list_length(def->partials); i++)
	{
		const char *column;

		if (!mdb_partial_is_ordered(list_nth_node(Aggref, def->partials, i)))
			continue;
		column = quote_identifier(get_attname(def->states, mdb_definition_column(def, i), false));
		appendStringInfo(&having, "%s(pg_catalog.count(%s) > 1 AND %s.combine_summaries(%s) IS NULL)",
						 having.len > 0 ? " OR " : "", column, MDB_SCHEMA, column);
	}
	if (having.len == 0)
		return NULL;
	for (int i = 0; i <= nkeys; i++)
	{
		const char *column =
			quote_identifier(get_attname(def->states, (AttrNumber) list_nth_int(def->columns, i), false));

		if (i == 0)
			appendStringInfo(&buf, "SELECT DISTINCT %s FROM ONLY %s WHERE %s >= $1 AND %s <= $2 GROUP BY %s",
							 column, states, column, column, column);
		else
			appendStringInfo(&buf, ", %s", column);
	}
	appendStringInfo(&buf, " HAVING %s", having.data);
	return buf.data;
}

/*
 * mdb_torn_mark - buckets that a query has found, in SPI's table, are dirty.
 */
void
mdb_torn_mark(const MdbAggregate *a, MdbRollupBucket *buckets, Oid type)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;
		Datum value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		int64 begin, last;

		if (isnull)
			continue;
		begin = mdb_time_units(value, type);
		last = mdb_rollup_bucket_last(buckets, begin);
		mdb_dirty_insert(a->aggregate, begin, last == PG_INT64_MAX ? last : last + 1, false,
						 GetCurrentCommandId(true));
	}
}
