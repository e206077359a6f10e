/*
 * published.c
 *	  Tables that subscribers follow are not written to: logical decoding does not see parts.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_publication.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "write/write.h"

/*
 * mdb_check_published - refuse to change what subscribers would not hear of.
 *
 * Raises ERRCODE_FEATURE_NOT_SUPPORTED.
 */
void
mdb_check_published(Relation rel, CmdType command)
{
	PublicationDesc desc;
	bool published;

	if (!XLogLogicalInfoActive() || !RelationNeedsWAL(rel))
		return;
	RelationBuildPublicationDesc(rel, &desc);
	published = command == CMD_INSERT   ? desc.pubactions.pubinsert
				: command == CMD_UPDATE ? desc.pubactions.pubupdate
										: desc.pubactions.pubdelete;
	if (!published)
		return;
	ereport(
		ERROR,
		(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		 errmsg("cannot %s metricsdb table \"%s\" because it is in a publication",
				command == CMD_INSERT   ? "insert into"
				: command == CMD_UPDATE ? "update"
										: "delete from",
				RelationGetRelationName(rel)),
		 errdetail("Logical decoding does not see compressed parts, so subscribers would lose rows."),
		 errhint(
			 "Take the table out of the publication; use physical replication, or consume the same Kafka topic.")));
}
