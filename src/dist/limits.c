/*
 * limits.c
 *	  How many distributed queries a role may have at once: metricsdb.max_distributed_queries, which superusers set for it.
 *
 * Who asks nodes holds one of so many locks of the role until its transaction ends, however it ends: nothing is left
 * behind by what fails, and nobody counts.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/guc.h"

#include "dist/dist.h"

#define LOCK_CLASS 0x6d64 /* of advisory locks, of which SQL knows 1 and 2 */

static int max_queries = 0;

/*
 * mdb_limit_queries - somebody is about to ask nodes.  Raises ERRCODE_CONFIGURATION_LIMIT_EXCEEDED if his role has as many
 * transactions that do as it may.
 */
void
mdb_limit_queries(void)
{
	static int mine = 0;

	/* The one that it has first, if it has. */
	for (int i = 0; i < max_queries; i++)
	{
		int n = (mine + i) % max_queries;
		LOCKTAG tag;

		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, GetSessionUserId(), (uint32) n, LOCK_CLASS);
		if (LockAcquire(&tag, ExclusiveLock, false, true) == LOCKACQUIRE_NOT_AVAIL)
			continue;
		mine = n;
		return;
	}
	if (max_queries == 0)
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
		 errmsg("too many distributed queries of role \"%s\"", GetUserNameFromId(GetSessionUserId(), false)),
		 errdetail(
			 "It may have %d at once (metricsdb.max_distributed_queries); a transaction counts from its first one until it ends.",
			 max_queries),
		 errhint("Try again when one has ended, or have a superuser raise the limit with ALTER ROLE.")));
}

/*
 * mdb_limits_init - at load.
 */
void
mdb_limits_init(void)
{
	DefineCustomIntVariable("metricsdb.max_distributed_queries",
							"Most distributed queries of a role at once, 0 is no limit.",
							"For superusers to set, by ALTER ROLE ... SET.", &max_queries, 0, 0, 10000,
							PGC_SUSET, 0, NULL, NULL, NULL);
}
