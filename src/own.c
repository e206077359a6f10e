/*
 * own.c
 *	  What functions that define sources, rules and targets have in common: where we are, and statements about our tables.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "metricsdb.h"

const char *
mdb_home(void)
{
	return psprintf(UINT64_FORMAT "/%u", GetSystemIdentifier(), MyDatabaseId);
}

static uint64
execute(const char *sql, int nargs, Oid *types, Datum *args, const char *nulls, bool read_only)
{
	Oid user;
	int context;
	int result;
	int nest = NewGUCNestLevel();

	/* Operators of joins and comparisons are looked up by it. */
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	result = SPI_execute_with_args(sql, nargs, types, args, nulls, read_only, 0);
	SetUserIdAndSecContext(user, context);
	AtEOXact_GUC(true, nest);
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
	return SPI_processed;
}

uint64
mdb_execute_own(const char *sql, int nargs, Oid *types, Datum *args, const char *nulls)
{
	return execute(sql, nargs, types, args, nulls, false);
}

uint64
mdb_query_own_now(const char *sql, int nargs, Oid *types, Datum *args)
{
	uint64 n;

	PushActiveSnapshot(GetLatestSnapshot());
	n = execute(sql, nargs, types, args, NULL, true);
	PopActiveSnapshot();
	return n;
}
