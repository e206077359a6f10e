/*
 * skip.c
 *	  metricsdb.on_corruption = skip: scans that leave out what cannot be read.
 *
 * Invariants:
 *	1. A block is returned whole or not at all, whatever columns a query asks for: it is decoded
 *	   before its first row is returned.  So count(*) and SELECT * agree on what there is.
 *	2. Nothing is skipped where the result would replace the table or be relied on for it: under a
 *	   lock that maintenance takes (index builds, rewrites, validation of constraints, ANALYZE).
 *	   Merges do not read through scans at all.
 *	3. One warning for each damaged part and statement, however many scans and processes it has.
 */
#include "postgres.h"

#include "access/xact.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "am/am.h"

/*
 * mdb_skip_applies - may a scan of this table, in this process, leave out what is damaged?
 */
bool
mdb_skip_applies(Relation rel)
{
	return mdb_on_corruption == MDB_CORRUPTION_SKIP &&
		   !CheckRelationLockedByMe(rel, ShareUpdateExclusiveLock, true);
}

/* Parts that the present statement has warned of in this process. */
static struct
{
	TimestampTz statement;
	int count;
	int capacity;
	struct
	{
		int64 storage_id;
		int64 part_id;
	} * parts;
} warned;

static bool
warned_here(int64 storage_id, int64 part_id)
{
	TimestampTz statement = GetCurrentStatementStartTimestamp();

	if (warned.statement != statement)
		warned.count = 0;
	warned.statement = statement;
	for (int i = 0; i < warned.count; i++)
		if (warned.parts[i].storage_id == storage_id && warned.parts[i].part_id == part_id)
			return true;
	if (warned.count == warned.capacity)
	{
		int capacity = Max(16, warned.capacity * 2);

		warned.parts = warned.parts ? repalloc(warned.parts, capacity * sizeof(*warned.parts))
									: MemoryContextAlloc(TopMemoryContext, capacity * sizeof(*warned.parts));
		warned.capacity = capacity;
	}
	warned.parts[warned.count].storage_id = storage_id;
	warned.parts[warned.count].part_id = part_id;
	warned.count++;
	return false;
}

/* Has another process of the parallel scan warned of it?  If there are too many, each does. */
static bool
warned_elsewhere(MdbParallelScan *shared, int64 part_id)
{
	if (shared == NULL)
		return false;
	for (int i = 0; i < MDB_SKIP_SHARED; i++)
	{
		uint64 expected = 0;

		if (pg_atomic_compare_exchange_u64(&shared->warned[i], &expected, (uint64) part_id))
			return false;
		if (expected == (uint64) part_id)
			return true;
	}
	return false;
}

static void
warn(Relation rel, const MdbPartInfo *info, MdbParallelScan *shared, ErrorData *error)
{
	if (!warned_here(info->storage_id, info->part_id) && !warned_elsewhere(shared, info->part_id))
		ereport(WARNING, (errcode(ERRCODE_DATA_CORRUPTED),
						  errmsg("skipping damaged rows in part %lld of table \"%s\"",
								 (long long) info->part_id, RelationGetRelationName(rel)),
						  errdetail("%s", error->detail ? error->detail : error->message),
						  errhint("SELECT * FROM metricsdb.check('%s') tells all that is damaged.",
								  RelationGetRelationName(rel))));
	FreeErrorData(error);
}

typedef struct Reading
{
	Relation rel;
	const MdbPartInfo *info;
	MdbPart *part;
	MdbBlock *block;
	int number;
} Reading;

static void
open_part(void *arg)
{
	Reading *r = arg;

	r->part = mdb_part_open(r->rel, r->info);
}

static void
load_block(void *arg)
{
	Reading *r = arg;

	mdb_block_set(r->block, r->part, r->number);
	mdb_block_load(r->block);
}

/*
 * mdb_skip_open_part - mdb_part_open(), or NULL if it is damaged.
 */
MdbPart *
mdb_skip_open_part(Relation rel, const MdbPartInfo *info, MdbParallelScan *shared)
{
	Reading r = {.rel = rel, .info = info};
	ErrorData *error = mdb_guard(open_part, &r);

	if (error == NULL)
		return r.part;
	warn(rel, info, shared, error);
	return NULL;
}

/*
 * mdb_skip_load_block - mdb_block_set(), and decode all of it; false if it is damaged.
 */
bool
mdb_skip_load_block(MdbBlock *block, MdbPart *part, int number, MdbParallelScan *shared)
{
	Reading r = {.part = part, .block = block, .number = number};
	ErrorData *error = mdb_guard(load_block, &r);

	if (error == NULL)
		return true;
	warn(part->rel, &part->info, shared, error);
	return false;
}
